"""The tiny model of `tests.tiny` with a tokenizer, and videos for it."""

import functools
import pathlib

import keras
import numpy as np

import keras_stts
from keras_stts.compiling import compiled
from keras_stts.preprocessing.chat import PLAIN_TEMPLATE
from tests.tiny import PACKED
from tests.tiny import SHALLOW
from tests.tiny import tiny_model

GOLDEN = pathlib.Path(__file__).parent / "golden"
MOLMO2 = str(GOLDEN / "molmo2_tiny")

NUM_FRAMES = 4
NUM_BLOCKS = 4
IMAGE_SIZE = 16
LENGTH = 24

PROMPTS = ["what moves?", "which way does it go?", "how many are there?"]
RESPONSES = ["a dot", "left", "three of them"]


def tokenizer():
    return keras_stts.VideoVLMTokenizer.from_preset(MOLMO2)


def preprocessor(num_frames=NUM_FRAMES, **kwargs):
    converter = keras_stts.VideoVLMVideoConverter(IMAGE_SIZE, num_frames)
    config = {
        "num_blocks": NUM_BLOCKS,
        "sequence_length": LENGTH,
        "time_tokens": 6,
        "chat_template": PLAIN_TEMPLATE,
        **kwargs,
    }
    return keras_stts.VideoVLMPreprocessor(tokenizer(), converter, **config)


def model(sharp=False, processor=None, task=None, **kwargs):
    """A `VideoVLM` whose weights are the same each time.

    Args:
        sharp: Bool. Whether they are so large that logits tell tokens apart.
        processor: Optional preprocessor in place of the usual one.
        task: Optional dict of arguments of the `VideoVLM`.
        **kwargs: Arguments of the backbone.
    """
    keras.utils.set_random_seed(0)
    tokens = tokenizer()
    config = {
        "vocabulary_size": 320,
        "additional_vocabulary_size": 16,
        "image_patch_id": tokens.image_patch_token_id,
        "vision_token_ids": tokens.vision_token_ids,
        "rope_max_wavelength": 10000.0,
        **kwargs,
    }
    result = keras_stts.VideoVLM(
        tiny_model(**config).backbone,
        processor or preprocessor(kwargs.get("num_frames", NUM_FRAMES)),
        **(task or {}),
    )
    if sharp:
        for variable in result.trainable_variables:
            # Scores would all become 0 or 1.
            if len(variable.shape) > 1 and "scorer" not in variable.path:
                variable.assign(variable.value * 4)
    return result


def shallow(*args, **kwargs):
    """`model` with fewer layers, for tests of what is not about them."""
    return model(*args, **{**SHALLOW, **kwargs})


def packed(*args, **kwargs):
    """`model` with as few layers as can be of which one runs packed."""
    return model(*args, **{**PACKED, **kwargs})


def compile_to_train(model, rate=0.1, **kwargs):
    """Compile with the optimizer that is quickest to compile.

    TensorFlow runs step by step: making the graph of a train step takes
    longer than the steps of these tests.
    """
    kwargs.setdefault("run_eagerly", keras.config.backend() == "tensorflow")
    model.compile(
        optimizer=keras.optimizers.SGD(rate), sampler="greedy", **kwargs
    )
    return model


def video(seed=0, num_frames=NUM_FRAMES, size=IMAGE_SIZE):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num_frames, size, size, 3), "uint8")


def raw(lengths=(4, 2, 3), responses=True):
    """Videos of these lengths with prompts and responses."""
    count = len(lengths)
    x = {
        "videos": [video(i, length) for i, length in enumerate(lengths)],
        "prompts": (PROMPTS * count)[:count],
    }
    if responses:
        x["responses"] = (RESPONSES * count)[:count]
    return x


def same(one, other):
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
    )


def close(one, other, atol=1e-4):
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(one),
        keras.ops.convert_to_numpy(other),
        rtol=0,
        atol=atol,
    )


@functools.lru_cache(maxsize=4)
def _compiled(model, function):
    """Compiled once for calls that follow each other."""
    return compiled(model, function)


def outputs(model, x):
    """Dict of what a backbone gives, and the logits, as arrays."""

    def forward(x):
        found = dict(model.backbone(x))
        found["logits"] = model.lm_head(found["hidden_states"])
        return found

    return run(model, forward, x)


def run(model, function, *args):
    """`function` of tensors the quick way, as NumPy.

    JAX compiles each operation by itself unless the whole is compiled; for
    the others to compile takes longer than to run.
    """
    if keras.config.backend() == "jax":
        function = _compiled(model, function)
    args = keras.tree.map_structure(keras.ops.convert_to_tensor, args)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, function(*args))
