"""The files of a Qwen3-VL checkpoint as arguments of this package's classes."""

import functools

from keras_stts import _hub_compat as hub
from keras_stts.formats.molmo2 import chat_files
from keras_stts.formats.molmo2 import generation
from keras_stts.formats.molmo2 import tokenizer as byte_pair_files
from keras_stts.formats.qwen3_vl import config as qwen_config
from keras_stts.formats.qwen3_vl import processor
from keras_stts.formats.qwen3_vl import saved
from keras_stts.formats.qwen3_vl.buckets import default_buckets
from keras_stts.formats.qwen3_vl.buckets import most_image_blocks
from keras_stts.preprocessing.qwen3_vl.tokenizer import VISION_TOKENS
from keras_stts.presets import files as preset_files


class Files:
    """The files of a checkpoint as arguments.

    Args:
        preset: Str. Handle or directory.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has an unknown field or an unsupported value, or
            files contradict each other.
    """

    def __init__(self, preset):
        self.preset = preset
        self.config = preset_files.read_json(preset, hub.CONFIG_FILE)
        self.saved = saved.read(self.config, preset)

    @functools.cached_property
    def model(self):
        """Sizes of the parts of a model, see `config.model_config`."""
        return qwen_config.model_config(self.config, self.preset)

    @functools.cached_property
    def tokenizer(self):
        """Arguments of `Qwen3VLTokenizer`."""
        arguments = byte_pair_files.load(self.preset, VISION_TOKENS)
        vocabulary = arguments["vocabulary"]
        wanted = qwen_config.special_token_ids(self.config, self.preset)
        for name, index in wanted.items():
            token = VISION_TOKENS[name]
            if vocabulary.get(token) != index:
                raise ValueError(
                    "Tokenizer and config of a checkpoint must agree on the "
                    f"id of {token}. Received: id {vocabulary.get(token)} in "
                    f"the tokenizer's files, {index} in {hub.CONFIG_FILE} of "
                    f"{self.preset}."
                )
        room = self.model["vocabulary_size"]
        byte_pair_files.check_ids(vocabulary, room, self.preset)
        return arguments

    @property
    def converter(self):
        """Arguments of `Qwen3VLVideoConverter`."""
        found = processor.load(self.preset, self.model)
        return {**found, **self.saved["video_converter"]}

    def buckets(self, changes):
        """Those it was exported with, or else for all that is converted.

        Args:
            changes: Dict of changed arguments of the converter.
        """
        given = self.saved["preprocessor"].get("buckets")
        return given or default_buckets({**self.converter, **changes})

    def num_image_blocks(self, changes):
        """Most blocks of an image, see `buckets`."""
        given = self.saved["preprocessor"].get("num_image_blocks")
        return given or most_image_blocks({**self.converter, **changes})

    @functools.cached_property
    def _generation(self):
        return generation.load(
            self.preset,
            self.config,
            self.model["vocabulary_size"],
            qwen_config.stop_token_ids,
        )

    @property
    def preprocessor(self):
        """Arguments of `Qwen3VLPreprocessor`, without parts and buckets."""
        template = chat_files.load(self.preset)
        return {
            **({} if template is None else {"chat_template": template}),
            "special_tokens": chat_files.special_tokens(self.preset) or None,
            "stop_token_ids": self._generation[1],
            **self.saved["preprocessor"],
        }

    @property
    def task(self):
        """Arguments of `VideoVLM`, without its parts."""
        return {**self._generation[0], **self.saved["task"]}
