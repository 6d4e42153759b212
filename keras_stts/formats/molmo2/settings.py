"""Every field of the files of a Molmo2 checkpoint, and its use.

Data only. `fields` reads files by these tables and refuses any other field.
"""

from keras_stts.formats.molmo2.config_fields import ADAPTER
from keras_stts.formats.molmo2.config_fields import CONFIG
from keras_stts.formats.molmo2.config_fields import TEXT
from keras_stts.formats.molmo2.config_fields import VISION
from keras_stts.formats.molmo2.generation_fields import GENERATION
from keras_stts.formats.molmo2.processor_fields import IMAGE_PROCESSOR
from keras_stts.formats.molmo2.processor_fields import PROCESSOR
from keras_stts.formats.molmo2.processor_fields import VIDEO_PROCESSOR
from keras_stts.formats.molmo2.tokenizer_fields import ADDED_TOKEN
from keras_stts.formats.molmo2.tokenizer_fields import SPECIAL_TOKENS
from keras_stts.formats.molmo2.tokenizer_fields import TOKENIZER
from keras_stts.formats.molmo2.tokenizer_fields import TOKENIZER_CONFIG
from keras_stts.formats.molmo2.tokenizer_fields import TOKENIZER_MODEL

# By file, then by section; an empty section is the top level of the file.
TABLES = {
    "config.json": {
        "": CONFIG,
        "vision_config": VISION,
        "vit_config": VISION,
        "adapter_config": ADAPTER,
        "text_config": TEXT,
    },
    "preprocessor_config.json": {"": IMAGE_PROCESSOR},
    "video_preprocessor_config.json": {"": VIDEO_PROCESSOR},
    "processor_config.json": {
        "": PROCESSOR,
        "image_processor": IMAGE_PROCESSOR,
        "video_processor": VIDEO_PROCESSOR,
    },
    "generation_config.json": {"": GENERATION},
    "tokenizer_config.json": {"": TOKENIZER_CONFIG},
    "special_tokens_map.json": {"": SPECIAL_TOKENS},
    "tokenizer.json": {
        "": TOKENIZER,
        "model": TOKENIZER_MODEL,
        "added_tokens": ADDED_TOKEN,
    },
}
