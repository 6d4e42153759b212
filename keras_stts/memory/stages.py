"""What is alive at one time in a program that is a chain of stages."""

from collections import namedtuple

Stage = namedtuple(
    "Stage",
    ["part", "kept", "forward", "backward", "gradients", "zeros"],
    defaults=[0, 0, 0, 0, 0],
)
Stage.__doc__ = """A step of the program, in bytes.

Attributes:
    part: Str.
    kept: What stays for the backward pass.
    forward: What its forward pass works with.
    backward: What its backward pass works with; 0 if it has none.
    gradients: What its backward pass leaves for the optimizer.
    zeros: What a loop of it begins with. XLA makes it for GPUs as soon as the
        first stage of the part begins.
"""


def peak(stages):
    """Most bytes alive at once, by part.

    They run from the first to the last, and those with a backward pass then
    back to the first.

    Args:
        stages: List of `Stage`.

    Returns:
        Dict of part to bytes at the worst moment.
    """
    worst = {}
    alive = dict.fromkeys((stage.part for stage in stages), 0)
    begun = set()
    for i, stage in enumerate(stages):
        if stage.part not in begun:
            begun.add(stage.part)
            alive[stage.part] += _zeros(stages[i:], stage.part)
        worst = _worse(worst, alive, stage.part, stage.forward)
        alive[stage.part] += stage.kept
        if not stage.backward:
            alive[stage.part] -= stage.zeros
    for stage in reversed(stages):
        worst = _worse(worst, alive, stage.part, stage.backward)
        alive[stage.part] += stage.gradients - stage.kept
        if stage.backward:
            alive[stage.part] -= stage.zeros
    return _worse(worst, alive, stage.part, 0) if stages else worst


def _zeros(stages, part):
    return sum(stage.zeros for stage in stages if stage.part == part)


def _worse(worst, alive, part, work):
    moment = {**alive, part: alive[part] + work}
    return max(worst, moment, key=lambda moment: sum(moment.values()))
