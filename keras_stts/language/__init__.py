from keras_stts.language.decoder_block import DecoderBlock
from keras_stts.language.language_model import LanguageModel

__all__ = ["DecoderBlock", "LanguageModel"]
