"""Loading of Qwen3-VL's checkpoints, as transformers saves them."""

import warnings

import keras

from keras_stts.formats.checkpoint import Checkpoint
from keras_stts.formats.qwen3_vl.files import Files
from keras_stts.formats.qwen3_vl.weights import HEAD
from keras_stts.formats.qwen3_vl.weights import SCORER
from keras_stts.formats.qwen3_vl.weights import backbone_table
from keras_stts.formats.qwen3_vl.weights import head_table
from keras_stts.formats.qwen3_vl.weights import scorer_table
from keras_stts.language.language_model import LanguageModel
from keras_stts.language.tied_head import no_place_for_head
from keras_stts.layers.initializers import draw_kernels
from keras_stts.layers.initializers import weights_to_be_loaded
from keras_stts.models import sizes
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.qwen3_vl.converter import Qwen3VLVideoConverter
from keras_stts.preprocessing.qwen3_vl.preprocessor import Qwen3VLPreprocessor
from keras_stts.preprocessing.qwen3_vl.tokenizer import Qwen3VLTokenizer
from keras_stts.presets.files import read_once
from keras_stts.towers.qwen3_vl import Qwen3VLVisionEncoder
from keras_stts.towers.qwen3_vl_connector import Qwen3VLConnector

FAMILY = "Qwen3-VL"
# What is not an argument of the language model.
NOT_OF_TEXT = ("vision_", "connector_", "image_token", "video_token")


def share(preset, arguments):
    """Give the backbone the buckets of the preprocessor."""
    files = read_once(Files, preset)
    converter, given = arguments["converter"], arguments["preprocessor"]
    if "buckets" not in given:
        given["buckets"] = files.buckets(converter)
    frames, blocks = (max(side) for side in zip(*given["buckets"]))
    backbone = arguments["backbone"]
    # `num_frames` was for the converter: frames, of which a patch has two.
    has_videos = {**files.saved["video_converter"], **converter}
    has_videos = has_videos.get("num_frames", frames) > 0
    backbone["num_frames"] = frames if has_videos else 0
    backbone.setdefault("vision_num_blocks", blocks)
    if {**files.saved["backbone"], **backbone}.get("num_images"):
        if "num_image_blocks" not in given:
            given["num_image_blocks"] = files.num_image_blocks(converter)
        number = given["num_image_blocks"]
        backbone.setdefault("vision_num_image_blocks", number)


def backbone_config(preset):
    """The config of a `VideoVLMBackbone`, of buckets for all its videos."""
    files = read_once(Files, preset)
    model, buckets = files.model, files.buckets({})
    vision = {
        name.removeprefix("vision_"): value
        for name, value in model.items()
        if name.startswith("vision_")
    }
    text = {n: v for n, v in model.items() if not n.startswith(NOT_OF_TEXT)}
    connector = {
        "hidden_dim": vision["hidden_dim"],
        "output_dim": model["connector_output_dim"],
        "num_additions": len(vision["deepstack_layers"]),
        "window": vision["window"],
    }
    num_frames, vision["num_blocks"] = (max(side) for side in zip(*buckets))
    if files.saved["backbone"].get("num_images"):
        vision["num_image_blocks"] = files.num_image_blocks({})
    parts = {
        "vision_encoder": (Qwen3VLVisionEncoder, vision),
        "connector": (Qwen3VLConnector, connector),
        "language_model": (
            LanguageModel,
            {**text, "additional_vocabulary_size": 0},
        ),
    }
    config = {
        **{name: _part(name, *part) for name, part in parts.items()},
        "num_frames": num_frames,
        "image_patch_id": model["image_token_id"],
        "video_patch_id": model["video_token_id"],
        "vision_token_ids": [],
    }
    return _as_saved(config, files.saved)


def _as_saved(config, saved):
    """A config with what is in no file of transformers."""
    settings = dict(saved["backbone"])
    methods = {n: settings.pop(n) for n in ("pruning",) if n in settings}
    settings |= saved["video_converter"]
    return {**sizes.changed(config, settings), **methods}


def _part(name, cls, config):
    return {
        "class_name": cls.__name__,
        "registered_name": keras.saving.get_registered_name(cls),
        "config": {"name": name, **config},
    }


def load(cls, preset, *, load_weights=True, **kwargs):
    """Implements `from_preset` for the classes of this family."""
    if issubclass(cls, VideoVLMBackbone):
        return load_backbone(
            preset, load_weights=load_weights, cls=cls, **kwargs
        )
    files = read_once(Files, preset)
    if issubclass(cls, Qwen3VLTokenizer):
        return cls(**{**files.tokenizer, **kwargs})
    if issubclass(cls, Qwen3VLVideoConverter):
        return cls(**{**files.converter, **kwargs})
    return load_preprocessor(preset, kwargs, cls=cls)


def load_backbone(preset, *, load_weights=True, cls=VideoVLMBackbone, **kwargs):
    """The backbone of a checkpoint, with changed arguments."""
    config = sizes.changed(backbone_config(preset), kwargs)
    with weights_to_be_loaded(load_weights):
        backbone = cls.from_config(config)
    if not load_weights:
        return backbone
    checkpoint = Checkpoint(preset, family=FAMILY)
    table, scorer = backbone_table(backbone), scorer_table(backbone)
    if checkpoint.has(SCORER):
        table |= scorer
    elif scorer:
        _draw_scorer(backbone, preset)
    # A scorer is left where another method prunes.
    also = checkpoint.names_of(SCORER)
    checkpoint.assign(table, also=(HEAD, *also))
    return backbone


def _draw_scorer(backbone, preset):
    """Random weights of a scorer, which the published files do not have."""
    draw_kernels(backbone.pruning.scorer.weights)
    if backbone.prune_ratio:
        warnings.warn(
            f"{preset} holds no token scorer, so it starts untrained. Train it "
            "before you prune, or load with prune_ratio=0."
        )


def load_head(model, preset):
    """Load the output head of a `VideoVLM`, if it is not the embedding."""
    files = read_once(Files, preset)
    tied = files.model["tie_embeddings"]
    if model.backbone.language_model.tie_embeddings:
        if not tied:
            raise no_place_for_head(preset)
        return
    checkpoint = Checkpoint(preset, family=FAMILY)
    checkpoint.assign(head_table(model, tied=tied), partial=True)


def load_preprocessor(preset, kwargs, converter=(), cls=Qwen3VLPreprocessor):
    """Load the preprocessor; `converter` has arguments of its converter."""
    files = read_once(Files, preset)
    parts = {**files.preprocessor, **kwargs}
    if "tokenizer" not in parts:
        parts["tokenizer"] = Qwen3VLTokenizer(**files.tokenizer)
    arguments = {**files.converter, **dict(converter)}
    if "video_converter" not in parts:
        parts["video_converter"] = Qwen3VLVideoConverter(**arguments)
    if "buckets" not in parts:
        parts["buckets"] = files.buckets(dict(converter))
    return cls(**parts)
