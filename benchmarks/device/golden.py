"""The published code's figures and transformers', on this device.

The cases are those of the tests. In float32 they agree to 1e-4; the matrix
products of a GPU are whole then, not TF32.
"""

import functools

import numpy as np

from device import programs
from tests.models import golden_cases as cases


def checks(short):
    """Dict of names to functions that return an error and a bool.

    Args:
        short: Bool. Whether one is enough.
    """
    if short:
        return {"Molmo2, 50% pruned": _pruned}
    names = ("video6_prune80", "refill_video6_prune30")
    return {
        **{f"vision blocks, {n}": functools.partial(_vision, n) for n in names},
        "gradients, video5_prune50": _gradients,
        "Molmo2, whole, as transformers": _unpruned,
        "Molmo2, 50% pruned": _pruned,
    }


def rows(short):
    """One row a case: the largest error, and whether all is right."""
    for name, check in checks(short).items():
        with programs.backend().exact():
            error, same = check()
        yield {
            "case": name,
            "error": error,
            "bound": cases.TOLERANCE,
            "right": bool(same and error <= cases.TOLERANCE),
        }


def _difference(one, other):
    return float(np.max(np.abs(np.asarray(one) - np.asarray(other))))


def _vision(name):
    golden, got = cases.outputs(name)
    same = np.array_equal(got["selection"].kept[0], golden["kept_blocks"])
    kept = golden["kept_tokens"][..., None]
    errors = [_difference(got["scores"][0], golden["scores"])]
    for block in (3, 4, 6):
        wanted = golden[f"hidden_after_block{block}"] * kept
        errors.append(_difference(cases.hidden_after(name, block), wanted))
    return max(errors), same


def _gradients():
    golden, value, patches, gradients = cases.slopes("video5_prune50")
    errors = [
        abs(value - float(golden["loss"])),
        _difference(patches, golden["grad/patches"]),
        *(_difference(gradients[key], golden[key]) for key in gradients),
    ]
    return max(errors), bool(gradients)


def _unpruned():
    golden, logits = cases.unpruned_logits()
    return _difference(logits[0], golden["logits_unpruned"]), True


def _pruned():
    golden, (kept, scores, logits) = cases.pruned_logits()
    same = np.array_equal(kept[0], golden["kept_blocks"])
    errors = [
        _difference(scores[0], golden["scores"]),
        _difference(logits[0], golden["logits"]),
    ]
    return max(errors), same
