"""What PyTorch records on a GPU, recorded without one.

A recording here runs the function again on its own inputs and writes into its
own outputs, as a CUDA graph does. `benchmarks/accelerator.py` compares real
ones on a GPU.
"""

import collections

import keras
import numpy as np
import pytest

from keras_stts import config
from keras_stts.evaluation.answering import Answerer
from keras_stts.models import cuda_graphs
from keras_stts.pruning import METHODS
from keras_stts.pruning import FastV
from keras_stts.pruning import Feather
from tests.models import tiny

if keras.config.backend() != "torch":
    pytest.skip("It is about PyTorch.", allow_module_level=True)

import torch  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

# What waits for the GPU, or copies a number to it. Neither can be recorded.
FORBIDDEN = ("lift_fresh", "_local_scalar_dense", "nonzero", "unique")


WAITS = ("tolist", "item", "numpy", "cpu", "__array__", "__bool__")
WAITS += ("__int__", "__float__", "__index__")


class Waiting(TorchFunctionMode):
    """Refuses what brings tensors to the host."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert getattr(func, "__name__", "") not in WAITS
        return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts what is run by its name."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class Recording:
    """Stands in for that of a GPU."""

    made = 0

    def __init__(self, function, args, tensors, options):
        type(self).made += 1
        self._inputs = [x.clone() for x in tensors]
        args = keras.tree.pack_sequence_as(args, self._inputs)
        constants = cuda_graphs.constants_once()

        def run():
            with constants:
                return function(*args, **options)

        run()
        with Operations() as operations, Waiting():
            outputs = run()
        self._outputs = keras.tree.map_structure(torch.clone, outputs)
        assert not set(FORBIDDEN) & set(operations.counts)
        self._run = run

    def __call__(self, tensors):
        torch._foreach_copy_(self._inputs, tensors)
        own, new = map(keras.tree.flatten, (self._outputs, self._run()))
        for x, value in zip(own, new, strict=True):
            x.copy_(value)
        return self._outputs


@pytest.fixture(autouse=True)
def recordings(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_device_of", lambda model: "cuda")
    monkeypatch.setattr(cuda_graphs, "Recording", Recording)
    monkeypatch.setattr(config, "_graphs", [None])
    monkeypatch.setattr(cuda_graphs, "_said", set())
    monkeypatch.setattr(Recording, "made", 0)


def made():
    """How many recordings were made since this was asked."""
    count, Recording.made = Recording.made, 0
    return count


def answer(model, seeds=(0, 1)):
    x = tiny.raw((4, 3), responses=False)
    x["videos"] = [tiny.video(seed) for seed in seeds]
    return model.generate(x, stop_token_ids=None)


def plain_answer(model, *args):
    config.set_cuda_graphs(False)
    try:
        return answer(model, *args)
    finally:
        config.set_cuda_graphs(True)


def greedy(**kwargs):
    model = tiny.model(sharp=True, **kwargs)
    model.compile(sampler="greedy")
    return model


# Whatever `random` draws anew is no recording.
PRUNING = sorted(set(METHODS) - {"random", "fastv", "feather"})
PRUNING += [FastV(layer=1), ["evs", Feather(layers=(1, 2))]]


@pytest.mark.parametrize("pruning", PRUNING)
def test_recorded_answers_are_the_plain_ones(pruning):
    prompt_mask = not isinstance(pruning, str)  # For the language model.
    processor = tiny.preprocessor(prompt_mask=prompt_mask)
    model = greedy(processor=processor, pruning=pruning, num_layers=3)
    for seeds in ((0, 1), (2, 3), (0, 1)):
        assert answer(model, seeds) == plain_answer(model, seeds)
    assert made() == 2  # The prompt, and a token.


def test_evaluating_is_recorded_as_generating_is(monkeypatch):
    """The prompt once; of tokens, those after each recorded prompt."""
    model = greedy()
    runs = []
    run = Answerer._run
    monkeypatch.setattr(
        Answerer, "_run", lambda self, x: runs.append(0) or run(self, x)
    )
    x = tiny.raw((4, 3), responses=False)
    found = []
    for graphs, count in ((False, 3), (True, 4)):
        config.set_cuda_graphs(graphs)
        answerer = Answerer(model, model.preprocessor, max_new_tokens=4)
        found += [answerer(x), answerer(x)]
        # A first batch is timed once more than it is made ready.
        assert len(runs) == count
        runs.clear()
    names = ("prediction", "answer_tokens", "kept_by_row", "kept_by_time")
    wanted, *others = ([[e[n] for n in names] for e in r] for r in found)
    assert others == [wanted] * 3
    assert made() == 2


@pytest.mark.parametrize("sampler", ["top_k", "beam", "contrastive"])
def test_other_samplers_too(sampler):
    model = tiny.model(sharp=True)
    model.compile(sampler=sampler)
    found = []
    for run in (answer, plain_answer):
        keras.utils.set_random_seed(0)
        model.sampler = type(model.sampler).from_config(
            model.sampler.get_config()
        )
        found.append(run(model))
    assert found[0] == found[1]
    assert made() >= 2


def test_other_shapes_are_recorded_when_they_come_twice():
    model = greedy()
    one, two = tiny.raw((4,), False), tiny.raw((4, 3), False)
    plain = plain_answer(model)
    for x in (one, two, one, two):
        model.generate(x)
    # Of `one` alone the prompt; else a token, from the second on.
    assert made() == 5
    assert answer(model) == plain
    assert made() == 2
    assert answer(model) == plain
    assert made() == 0


def test_new_weights_are_read_and_more_are_recorded_anew():
    model = greedy()
    before = answer(model)
    other = greedy()
    for own, value in zip(model.weights, other.get_weights()):
        own.assign(np.flip(value))
    changed = answer(model)
    assert made() == 2
    assert changed == plain_answer(model) != before
    model.enable_lora(2)
    assert answer(model) == answer(model) == changed
    assert made() == 3
    assert answer(model) == changed
    assert made() == 0


def test_what_waits_is_not_recorded():
    x = torch.arange(3)
    for wait in (x.tolist, x[0].item, x.cpu, x[0].__bool__, x[0].__index__):
        with pytest.raises(AssertionError), Waiting():
            wait()


def test_what_cannot_be_recorded_is_said_and_runs_as_it_is(caplog):
    model = greedy()
    plain = plain_answer(model)
    prefill = model.prefill

    def waits(inputs):
        assert float(torch.sum(torch.as_tensor(inputs["token_ids"]))) > 0
        return prefill(inputs)

    model.prefill = waits
    assert answer(model) == plain == answer(model)
    assert made() == 3  # A prompt in vain, and a token of each.
    (said,) = caplog.records
    assert "No CUDA graph could be made" in said.message
    assert "set_cuda_graphs(False)" in said.message


def test_nothing_is_recorded_where_it_is_not_wanted(monkeypatch):
    model = greedy()
    plain_answer(model)
    with monkeypatch.context() as patch:
        patch.setattr(cuda_graphs, "_device_of", lambda model: "cpu")
        answer(model)
    model.compile(sampler="greedy", run_eagerly=True)
    answer(model)
    model.compile(sampler="greedy")
    monkeypatch.setattr(config, "_graphs", [None])
    monkeypatch.setenv("KERAS_STTS_CUDA_GRAPHS", "0")
    answer(model)
    assert made() == 0
    monkeypatch.setenv("KERAS_STTS_CUDA_GRAPHS", "1")
    answer(model)
    assert made() == 2


@pytest.mark.parametrize("what", ["fit", "compile"])
def test_memory_is_given_back(what):
    model = greedy()
    answer(model)
    assert vars(model)["_recorders"]
    if what == "fit":
        model.fit(tiny.raw(), batch_size=3, verbose=0)
    else:
        model.compile(sampler="greedy")
    assert "_recorders" not in vars(model)
    assert answer(model) == plain_answer(model)


def test_settings_that_there_are_not(monkeypatch):
    with pytest.raises(ValueError, match="must be a bool. Received: 'yes'"):
        config.set_cuda_graphs("yes")
    monkeypatch.setenv("KERAS_STTS_CUDA_GRAPHS", "on")
    with pytest.raises(ValueError, match="0 or 1. Received: 'on'"):
        config.cuda_graphs()


def test_weights_say_where_a_model_runs(monkeypatch):
    monkeypatch.undo()
    assert cuda_graphs._device_of(tiny.model()) == "cpu"
    assert not cuda_graphs.wanted(tiny.model())
