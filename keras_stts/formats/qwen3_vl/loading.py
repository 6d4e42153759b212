"""Loading of Qwen3-VL's checkpoints, as transformers saves them."""

import warnings

import keras

from keras_stts.data.sampling import MIN_FRAMES
from keras_stts.formats.checkpoint import Checkpoint
from keras_stts.formats.qwen3_vl.files import Files
from keras_stts.formats.qwen3_vl.weights import HEAD
from keras_stts.formats.qwen3_vl.weights import backbone_table
from keras_stts.formats.qwen3_vl.weights import head_table
from keras_stts.language.language_model import LanguageModel
from keras_stts.layers.initializers import scorer_initializer
from keras_stts.layers.initializers import weights_to_be_loaded
from keras_stts.models import sizes
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.qwen3_vl.converter import Qwen3VLVideoConverter
from keras_stts.preprocessing.qwen3_vl.preprocessor import Qwen3VLPreprocessor
from keras_stts.preprocessing.qwen3_vl.sizes import video_size
from keras_stts.preprocessing.qwen3_vl.tokenizer import Qwen3VLTokenizer
from keras_stts.presets.files import read_once
from keras_stts.towers.qwen3_vl import Qwen3VLVisionEncoder
from keras_stts.towers.qwen3_vl_connector import Qwen3VLConnector

FAMILY = "Qwen3-VL"
# Fewest temporal patches of a bucket that is made for no one's data.
LEAST_FRAMES = 8
# Width by height of frames that default buckets have room for, and a height
# that all limits make smaller.
ASPECTS = (1, 1.2, 1.25, 4 / 3, 1.5, 1.6, 16 / 9, 2, 2.35, 3, 4, 8, 16)
LARGE = 8192
# What is not an argument of the language model.
NOT_OF_TEXT = ("vision_", "connector_", "image_token", "video_token", "tie_")


def default_buckets(converter):
    """Pairs (T, P) for all videos that a converter makes.

    The pixels of a video are limited as a whole, so that many frames are
    small ones: each bucket has twice the frames of the one before, and room
    for the blocks that a video has which the one before does not hold. Frames
    that are more than `ASPECTS[-1]` times as wide as high may not fit.

    Args:
        converter: Dict of arguments of `Qwen3VLVideoConverter`.
    """
    pairs = converter["temporal_patch_size"]
    most = -(-converter["num_frames"] // pairs)
    lengths = [most]
    while lengths[-1] > LEAST_FRAMES:
        lengths.append(-(-lengths[-1] // 2))
    shorter = [*(n + 1 for n in lengths[1:]), 1]
    return [
        (frames, _most_blocks(converter, max(pairs * fewest, MIN_FRAMES)))
        for frames, fewest in zip(lengths, shorter)
    ][::-1]


def _most_blocks(converter, num_frames):
    """Blocks of the largest frame of a video of so many frames."""
    block = converter["patch_size"] * converter["merge_size"]
    names = ("min_pixels", "max_pixels", "max_frame_blocks")
    limits = {name: converter[name] for name in names}
    temporal = converter["temporal_patch_size"]
    sizes = [
        video_size(
            num_frames,
            LARGE,
            int(LARGE * aspect),
            **limits,
            factor=block,
            temporal_size=temporal,
        )
        for aspect in ASPECTS
    ]
    return max(height * width for height, width in sizes) // block**2


def share(preset, arguments):
    """Give the backbone the buckets of the preprocessor."""
    files = read_once(Files, preset)
    converter = {**files.converter, **arguments["converter"]}
    given = arguments["preprocessor"]
    given.setdefault("buckets", default_buckets(converter))
    frames, blocks = (max(side) for side in zip(*given["buckets"]))
    backbone = arguments["backbone"]
    # `num_frames` was for the converter: frames, of which a patch has two.
    backbone["num_frames"] = frames
    backbone.setdefault("vision_num_blocks", blocks)
    if backbone.get("num_images"):
        side = converter["patch_size"] * converter["merge_size"]
        number = converter["image_max_pixels"] // side**2
        number = given.setdefault("num_image_blocks", number)
        backbone.setdefault("vision_num_image_blocks", number)


def backbone_config(preset):
    """The config of a `VideoVLMBackbone`, of buckets for all its videos."""
    files = read_once(Files, preset)
    model, buckets = files.model, default_buckets(files.converter)
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
    parts = {
        "vision_encoder": (Qwen3VLVisionEncoder, vision),
        "connector": (Qwen3VLConnector, connector),
        "language_model": (
            LanguageModel,
            {**text, "additional_vocabulary_size": 0},
        ),
    }
    return {
        **{name: _part(name, *part) for name, part in parts.items()},
        "num_frames": num_frames,
        "image_patch_id": model["image_token_id"],
        "video_patch_id": model["video_token_id"],
        "vision_token_ids": [],
    }


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
    _draw_scorer(backbone, preset)
    checkpoint = Checkpoint(preset, family=FAMILY)
    checkpoint.assign(backbone_table(backbone), also=(HEAD,))
    return backbone


def _draw_scorer(backbone, preset):
    """Random weights of a scorer, which these files do not have."""
    scorer = getattr(backbone.pruning, "scorer", None)
    if scorer is None:
        return
    for variable in scorer.weights:
        if variable.name == "kernel":
            initializer = scorer_initializer()
            variable.assign(initializer(variable.shape, variable.dtype))
    if backbone.prune_ratio:
        warnings.warn(
            f"{preset} holds no token scorer, so it starts untrained. Train it "
            "before you prune, or load with prune_ratio=0."
        )


def load_head(model, preset):
    """Load the output head of a `VideoVLM`: its own, or the embedding."""
    files = read_once(Files, preset)
    tied = files.model["tie_embeddings"]
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
    parts.setdefault("buckets", default_buckets(arguments))
    return cls(**parts)
