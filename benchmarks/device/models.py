"""The model that is measured, whole and pruned, with one set of weights."""

import keras

import keras_stts
from device import programs
from device import sizes


def build(short, ratios=(0.0, sizes.HALF)):
    """Models by their ratio. A model takes any number of frames.

    Their weights are random, bfloat16 on an accelerator; there is one set of
    them.
    """
    backend = programs.backend()
    keras.utils.set_random_seed(0)
    models = {}
    for ratio in ratios:
        models[ratio] = _build(short, ratio, backend.on_accelerator())
        first = models[ratios[0]]
        if models[ratio] is not first:
            share(first, models[ratio])
    backend.release()
    return models


def share(lender, borrower):
    """Let a model use the weights of another."""
    pairs = zip(borrower.weights, lender.weights, strict=True)
    for own, lent in pairs:
        programs.backend().share(own, lent)


def _build(short, ratio, on_accelerator):
    size = sizes.of(short)
    ids = sizes.special_ids(size)
    backbone = keras_stts.VideoVLMBackbone.from_sizes(
        **size,
        num_frames=sizes.shapes(short)[0][0],
        prune_ratio=ratio,
        image_patch_id=ids["patch"],
        vision_token_ids=ids["all"],
        rematerialize=True,
        dtype="bfloat16" if on_accelerator else "float32",
    )
    model = keras_stts.VideoVLM(backbone)
    # No moments: AdamW's of 4.9 billion weights would leave no room.
    model.compile(optimizer=keras.optimizers.SGD(1e-6), sampler="greedy")
    return model
