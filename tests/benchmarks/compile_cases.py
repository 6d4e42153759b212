"""Compiles Molmo2-4B's widths at the least depth; run by `compile_test.py`.

    python -m tests.benchmarks.compile_cases TARGET,RATIO,PHASE,... ...

prints a line of JSON for each phase, and one for each target: a program that
keeps a square of tokens, as none of the others may.
"""

import json
import sys

import jax
import jax.numpy as jnp

from benchmarks.aot import abstract
from benchmarks.aot import contents
from benchmarks.aot import report
from benchmarks.aot import steps
from benchmarks.aot import targets
from benchmarks.molmo2_4b import IDS
from benchmarks.molmo2_4b import WIDTHS

SIZES = {
    **WIDTHS,
    **IDS,
    "vocabulary_size": 151936,
    "num_layers": 2,  # The last runs for its keys and values alone.
    "vision_num_layers": 3,  # Whole, with bias, and packed.
    "vision_feature_layers": (2, 1),
    "prune_layer": 0,
}
# More tokens than a chunk of queries has, when half are pruned, too; and none
# that is a width, rounded up.
NUM_FRAMES, TEXT_LENGTH = 30, 64


def case(target, ratio, *phases):
    """Print what becomes of a model; returns its numbers of tokens."""
    model = abstract.make_model(
        SIZES, NUM_FRAMES, float(ratio), rematerialize=True
    )
    lengths = abstract.token_lengths(model)
    for phase in phases:
        with targets.force_kernels(target):
            step = steps.make_step(model, phase, 1, TEXT_LENGTH)
        show(step, target, lengths, ratio=float(ratio), phase=phase)
    return lengths


def show(step, target, lengths, **names):
    found = report.compile_step(step, target, quick=True)
    found["forbidden"] = contents.forbidden(found["buffers"], lengths)
    print(json.dumps({"target": target.name, **names, **found}), flush=True)


def planted(x):
    logits = jnp.einsum("nd,md->nm", x, x)
    return jax.nn.softmax(logits.astype("float32")) @ x


def main(*cases):
    lengths = {}
    for text in cases:
        name, *rest = text.split(",")
        lengths[name] = case(targets.get(name), *rest)
    for name, numbers in lengths.items():
        x = abstract.struct((max(numbers), 128), "float32")
        step = steps.Step(planted, (x,), ("data",))
        show(step, targets.get(name), numbers, ratio=None, phase="planted")


if __name__ == "__main__":
    main(*sys.argv[1:])
