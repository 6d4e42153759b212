"""Timing a model where it runs."""

import time

import keras
import numpy as np
from keras import ops

from keras_stts.compiling import compiled
from keras_stts.compiling import wait
from keras_stts.training import inputs as model_inputs

__all__ = ["PHASES", "benchmark", "make_runs", "measure", "measure_in_turns"]

PHASES = ("prefill", "decode", "train_step")


def benchmark(model, inputs, phases=("prefill", "decode"), *, repeats=5):
    """Time the phases of a `VideoVLM`, without their compilation.

    Args:
        model: A `VideoVLM`, on which `compile` was called if its train step
            is timed. Or a dict of names to models that are compared: they
            run in turns, so that other load of the machine slows all alike.
        inputs: Dict as `generate` takes it, or `fit` for the train step, or
            already preprocessed.
        phases: Which of `"prefill"` (videos and prompts, once a request),
            `"decode"` (one more token a row) and `"train_step"` (one batch;
            the weights are put back afterwards).
        repeats: Int. Timed runs after one that compiles and one to warm up.

    Returns:
        Dict of phase to a dict of seconds: `"compile"` (the first run),
        `"median"` and `"spread"` (largest minus smallest) of the repeats. For
        a dict of models, a dict of name to such a dict.

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    clip = keras_stts.datasets.shapes.render("test", 0)
    inputs = {"videos": [clip.frames], "prompts": ["how many?"]}
    keras_stts.benchmark(model, inputs)["prefill"]["median"]  # Seconds.
    ```
    """
    unknown = set(phases) - set(PHASES)
    if unknown or repeats < 1:
        raise ValueError(
            f"`phases` must be of {', '.join(PHASES)}, `repeats` at least 1. "
            f"Received: phases={tuple(phases)}, repeats={repeats}."
        )
    models = model if isinstance(model, dict) else {None: model}
    if not models:
        raise ValueError(
            "There must be a model to time. Received: an empty dict."
        )
    runs = {}
    try:
        for name, one in models.items():
            batch = model_inputs.preprocess_batch(one, inputs)
            for phase, run in make_runs(one, batch, phases).items():
                runs.setdefault(phase, {})[name] = run
        times = {p: measure_in_turns(runs[p], repeats) for p in runs}
    finally:
        for run in (run for named in runs.values() for run in named.values()):
            run.restore()
    found = {name: {p: times[p][name] for p in times} for name in models}
    return found if isinstance(model, dict) else found[None]


def measure(run, repeats=5):
    """Seconds of a function's first call, and of those after."""
    return measure_in_turns({None: run}, repeats)[None]


def measure_in_turns(runs, repeats=5):
    """As `measure`, of a dict of name to function; they are called in turns."""
    rounds = [
        {name: _seconds(run) for name, run in runs.items()}
        for _ in range(repeats + 2)
    ]
    return {name: _summary([r[name] for r in rounds]) for name in runs}


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _summary(seconds):
    """Summary of a call that compiles, one that warms up, and the others."""
    first, _, *times = seconds
    return {
        "compile": first,
        "median": float(np.median(times)),
        "spread": max(times) - min(times),
    }


def make_runs(model, batch, phases=PHASES):
    """Functions that run a phase and wait for it, by name."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    x = {name: ops.convert_to_tensor(value) for name, value in x.items()}
    runs = {}
    if "prefill" in phases:
        runs["prefill"] = _Run(model, model.prefill, x)
    if "decode" in phases:
        runs["decode"] = _decode_run(model, x)
    if "train_step" in phases:
        if y is None:
            raise ValueError(
                'To time the train step the inputs need "responses" (or '
                "labels, if they are preprocessed). Received: inputs without."
            )
        runs["train_step"] = _TrainRun(model, (x, y, sample_weight))
    return runs


def _decode_run(model, x):
    _, prefix, cache = compiled(model, model.prefill)(x)
    index = ops.convert_to_tensor(x["token_ids"].shape[1] - 1, "int32")
    token = x["token_ids"][:, -1:]
    return _Run(model, model.decode, token, index, cache, prefix=prefix)


class _Run:
    """Calls a compiled function on fixed arguments and waits."""

    def __init__(self, model, function, *args, **kwargs):
        self.function = compiled(model, function)
        self.args = args
        self.kwargs = kwargs

    def __call__(self):
        wait(self.function(*self.args, **self.kwargs))

    def restore(self):
        pass


class _TrainRun:
    """Trains on one batch; `restore` puts the weights back."""

    def __init__(self, model, batch):
        self.model = model
        self.batch = batch
        self.weights = model.get_weights()

    def __call__(self):
        x, y, sample_weight = self.batch
        keras.Model.train_on_batch(self.model, x, y, sample_weight)

    def restore(self):
        self.model.set_weights(self.weights)
