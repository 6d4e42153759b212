"""Models and batches of the real sizes that take no memory."""

import contextlib
import functools
from unittest import mock

import keras
from keras.src.backend.common import global_state

from . import layouts

WAITING = "uninitialized_variables"
TIME_TOKENS = 8
FRAME_INPUTS = ("videos", "frame_mask", "frame_segments", "frame_grids")
VISION_INPUTS = ("vision_token_ids", "vision_mask", "vision_segments")
VISION_INPUTS += ("vision_positions",)
TEXT_INPUTS = ("token_ids", "padding_mask", "prompt_mask", "text_segments")


@contextlib.contextmanager
def abstract_variables(mapping=()):
    """Variables that are made here have a shape and a dtype, and no value.

    Keras would give them one at the end of its next scope, however large
    they are.

    Args:
        mapping: Pairs of other variables and their values meanwhile.
    """
    with keras.StatelessScope(mapping, initialize_variables=False):
        yield
    global_state.set_global_attribute(WAITING, [])


def make_model(
    sizes,
    num_frames,
    prune_ratio,
    trainable="all",
    lora_rank=16,
    dtype="bfloat16",
    distribution=None,
    quantization=None,
    **kwargs,
):
    """A `VideoVLM` whose variables hold nothing.

    Args:
        sizes: Dict of the widths, depths and ids of a `VideoVLMBackbone`, or
            a function that makes one.
        num_frames: Int.
        prune_ratio: Float.
        trainable: `"all"`, `"lora"` or a list of parts.
        lora_rank: Int.
        dtype: Str.
        distribution: What its weights are spread over, see
            `layouts.make_distribution`.
        quantization: Optional `"int8"`: what all weights but the scorer's
            and those of `trainable` parts are stored as.
        **kwargs: Other arguments of `VideoVLMBackbone`.
    """
    import keras_stts

    parts = trainable if isinstance(trainable, list) else None
    make = sizes
    if not callable(make):
        make = functools.partial(
            keras_stts.VideoVLMBackbone.from_sizes, **sizes
        )
    with abstract_variables():
        backbone = make(
            num_frames=num_frames,
            prune_ratio=prune_ratio,
            dtype=dtype,
            **kwargs,
        )
        model = keras_stts.VideoVLM(
            backbone, trainable_parts=parts, compile=False
        )
        if quantization is not None:
            _quantize(model, quantization, parts or ())
        if trainable == "lora":
            model.enable_lora(lora_rank)
    layouts.lay_out(model, distribution)
    model.compile(sampler="greedy")
    return model


def _quantize(model, mode, kept):
    """`VideoVLM.quantize` of what is not in the kept parts."""
    import jax
    from keras.src.quantizers import quantizers

    whole = {"scorer", *kept}
    quantized = (keras.layers.Dense, keras.layers.Embedding)

    def is_quantized(layer):
        in_whole = whole & set((layer.path or "").split("/"))
        return isinstance(layer, quantized) and not in_whole

    found = quantizers.abs_max_quantize

    def of_shapes(*args):
        return found(*args[:-1])  # By JAX: NumPy has no values to take.

    with mock.patch.object(quantizers, "abs_max_quantize", of_shapes):
        jax.eval_shape(lambda: model.quantize(mode, filters=is_quantized))


def make_batch(model, batch_size, text_length):
    """Tuple (x, y, sample_weight) of shapes, what `fit` is given.

    Args:
        model: A `VideoVLM`.
        batch_size: Int B.
        text_length: Int S', tokens of prompt and response.

    Returns:
        x: Dict of the model's inputs.
        y, sample_weight: (B, S').
    """
    frames = model.backbone.num_frames
    frame = TIME_TOKENS + 2 + model.backbone.num_blocks
    lengths = {
        **dict.fromkeys(FRAME_INPUTS, frames),
        **dict.fromkeys(VISION_INPUTS, 1 + frames * frame),
        **dict.fromkeys(TEXT_INPUTS, text_length),
    }
    patches, _ = model.backbone.vision_encoder.patches_shape
    x = {
        name: struct(
            (batch_size, lengths[name], *(n or patches for n in t.shape[2:])),
            t.dtype,
        )
        for name, t in model.backbone.input.items()
    }
    text = (batch_size, text_length)
    return x, struct(text, "int32"), struct(text, "float32")


def struct(shape, dtype, sharding=None):
    import jax

    return jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=sharding)


def structs(variables):
    """List of shapes, one a variable; with a sharding if it has a layout."""
    layouts = [getattr(v, "_layout", None) for v in variables]
    return [
        struct(v.shape, v.dtype, layout and layout.backend_layout)
        for v, layout in zip(variables, layouts)
    ]


def token_lengths(model):
    """Set of ints: how many tokens attend to each other somewhere.

    Patches of a frame, and tokens of the vision part, whole and kept.
    """
    import keras_stts

    backbone = model.backbone
    frames, blocks = backbone.num_frames, backbone.num_blocks
    kept = keras_stts.ops.num_kept_blocks(blocks, frames, backbone.prune_ratio)
    other = 1 + frames * (TIME_TOKENS + 2)
    patches, _ = backbone.vision_encoder.patches_shape
    return {patches, other + frames * blocks, other + kept}
