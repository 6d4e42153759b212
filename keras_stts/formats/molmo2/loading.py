"""Loading of checkpoints in the format of Molmo2's authors."""

import functools
import warnings

from keras_stts import _hub_compat as hub
from keras_stts.formats.checkpoint import Checkpoint
from keras_stts.formats.molmo2 import chat_files
from keras_stts.formats.molmo2 import generation as molmo2_generation
from keras_stts.formats.molmo2 import processor as molmo2_processor
from keras_stts.formats.molmo2 import saved as molmo2_saved
from keras_stts.formats.molmo2 import tokenizer as molmo2_tokenizer
from keras_stts.formats.molmo2.config import backbone_config
from keras_stts.formats.molmo2.tokenizer import has_tokenizer
from keras_stts.formats.molmo2.weights import SCORER
from keras_stts.formats.molmo2.weights import backbone_table
from keras_stts.formats.molmo2.weights import head_table
from keras_stts.formats.molmo2.weights import transformers_names
from keras_stts.layers.initializers import draw_kernels
from keras_stts.layers.initializers import weights_to_be_loaded
from keras_stts.models import sizes
from keras_stts.models.backbone_bounds import check_backbone
from keras_stts.models.backbone_bounds import check_fits
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.preprocessing.video_vlm_tokenizer import VideoVLMTokenizer
from keras_stts.preprocessing.video_vlm_video_converter import (
    VideoVLMVideoConverter,
)
from keras_stts.presets import files as preset_files
from keras_stts.presets.files import read_once


class Files:
    """The files of a checkpoint as arguments of this package's classes.

    Args:
        preset: Str. Handle or directory.

    Raises:
        ValueError: If a file has an unknown field or an unsupported value, see
            `keras_stts.formats.molmo2.settings`.
    """

    def __init__(self, preset):
        self.preset = preset
        self.config = preset_files.read_json(preset, hub.CONFIG_FILE)
        self.saved = molmo2_saved.read(self.config, preset)

    @functools.cached_property
    def tokenizer(self):
        """Arguments of `VideoVLMTokenizer`, or `None`."""
        if not has_tokenizer(self.preset):
            return None
        return molmo2_tokenizer.load(self.preset)

    @functools.cached_property
    def _architecture(self):
        vocabulary = self.tokenizer and self.tokenizer["vocabulary"]
        config = backbone_config(self.config, vocabulary, self.preset)
        room = config["vocabulary_size"] + config["additional_vocabulary_size"]
        molmo2_tokenizer.check_ids(vocabulary or {}, room, self.preset)
        return config

    @functools.cached_property
    def _processor(self):
        config = self._architecture
        return molmo2_processor.load(
            self.preset, self.config, config["image_size"], config["patch_size"]
        )

    @functools.cached_property
    def _generation(self):
        size = self._architecture["vocabulary_size"]
        return molmo2_generation.load(self.preset, self.config, size)

    @property
    def backbone(self):
        """Arguments of `VideoVLMBackbone`."""
        shared = self._processor[0]
        return {**self._architecture, **shared, **self.saved["backbone"]}

    @property
    def preprocessor(self):
        """Arguments of `VideoVLMPreprocessor`, without its parts."""
        template = chat_files.load(self.preset)
        return {
            **self._processor[1],
            **({} if template is None else {"chat_template": template}),
            "special_tokens": chat_files.special_tokens(self.preset) or None,
            "stop_token_ids": self._generation[1],
            **self.saved["preprocessor"],
        }

    @property
    def converter(self):
        """Arguments of `VideoVLMVideoConverter`."""
        return {**self._processor[2], **self.saved["video_converter"]}

    @property
    def task(self):
        """Arguments of `VideoVLM`, without its parts."""
        return {**self._generation[0], **self.saved["task"]}


def load(cls, preset, *, load_weights=True, **kwargs):
    """Implements `from_preset` for the classes of this package."""
    if issubclass(cls, VideoVLMBackbone):
        return load_backbone(
            preset, load_weights=load_weights, cls=cls, **kwargs
        )
    if issubclass(cls, VideoVLMTokenizer):
        return load_tokenizer(preset, cls=cls, **kwargs)
    if issubclass(cls, VideoVLMVideoConverter):
        return cls(**{**read_once(Files, preset).converter, **kwargs})
    return load_preprocessor(preset, kwargs, cls=cls)


def load_backbone(preset, *, load_weights=True, cls=VideoVLMBackbone, **kwargs):
    """The backbone of a checkpoint, with changed arguments."""
    config = read_once(Files, preset).backbone
    checkpoint = Checkpoint(preset) if load_weights else None
    if load_weights:
        check_backbone(config, f"the files of {preset}")
        check_backbone(kwargs)
        arguments = sizes.changed(config, kwargs)
        check_fits(arguments, checkpoint.num_bytes, str(preset))
    with weights_to_be_loaded(load_weights):
        backbone = cls.from_sizes(**sizes.changed(config, kwargs))
    if not load_weights:
        return backbone
    table = backbone_table(backbone)
    if not checkpoint.has(SCORER):
        missing = [keys for keys in table if keys[0].startswith(SCORER)]
        for keys in missing:
            draw_kernels(table.pop(keys))
        if missing and backbone.prune_ratio:
            warnings.warn(
                f"{preset} holds no token scorer, so it starts untrained. "
                "Train it before you prune, or load with prune_ratio=0."
            )
    # A scorer is left where another method prunes.
    also = checkpoint.names_of(SCORER)
    table = _as_named(checkpoint, table)
    checkpoint.assign(table, also=("lm_head.weight", *also))
    return backbone


def _as_named(checkpoint, table):
    """A table by the names of transformers, if the files have these."""
    if not checkpoint.has("model.language_model."):
        return table
    return {transformers_names(keys): table[keys] for keys in table}


def load_head(model, preset):
    """Load the output head of a `VideoVLM`."""
    checkpoint = Checkpoint(preset)
    table = _as_named(checkpoint, head_table(model))
    checkpoint.assign(table, partial=True)


def load_tokenizer(preset, cls=VideoVLMTokenizer, **kwargs):
    arguments = read_once(Files, preset).tokenizer or molmo2_tokenizer.load(
        preset
    )
    return cls(**{**arguments, **kwargs})


def load_preprocessor(preset, kwargs, converter=(), cls=VideoVLMPreprocessor):
    """Load the preprocessor; `converter` has arguments of its converter."""
    files = read_once(Files, preset)
    parts = {**files.preprocessor, **kwargs}
    if "tokenizer" not in parts:
        parts["tokenizer"] = load_tokenizer(preset)
    if "video_converter" not in parts:
        arguments = {**files.converter, **dict(converter)}
        parts["video_converter"] = VideoVLMVideoConverter(**arguments)
    return cls(**parts)


def task_arguments(preset):
    """Arguments of `VideoVLM`, but for its parts."""
    return read_once(Files, preset).task
