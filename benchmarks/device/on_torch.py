"""Programs under PyTorch, run operation by operation as Keras does."""

import contextlib
import gc
import re
import sys

import keras
import torch

from device.programs import total_of
from keras_stts.models import cuda_graphs

ATTENTION = re.compile(r"fmha|flash|attention|attn|cudnn.*sdpa", re.IGNORECASE)


def on_accelerator():
    return torch.cuda.is_available()


def describe():
    """Name of the device, and versions of what runs it."""
    if not on_accelerator():
        return {"device": "CPU", "torch": torch.__version__}
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "device_memory": properties.total_memory,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def synchronize():
    if on_accelerator():
        torch.cuda.synchronize()


def release():
    """Give memory that nobody holds back to the device."""
    gc.collect()
    if on_accelerator():
        torch.cuda.empty_cache()


def share(own, lent):
    """Make a variable of the values of another: no copy is made."""
    own.value.data = lent.value.data


def exact():
    """A context of matrix products in whole float32, as torch's are."""
    return contextlib.nullcontext()


class Program:
    """A call without arguments that waits for its outputs.

    Args:
        call: Function without arguments.
    """

    def __init__(self, call):
        self._call = call

    def start(self):
        """Nothing is compiled ahead."""

    def __call__(self):
        self._call()
        synchronize()

    def run(self):
        """The same, for its outputs."""
        return self._call()

    def facts(self, peak):
        """What is known of it once it has run; see `programs.measure`.

        `"memory"` is the most that the device held at a time, weights and
        all; of a CPU, the process.
        """
        held = peak["device"] or peak["host"]
        return {"memory": held, "kernels": self._kernels()}

    def _kernels(self):
        """Names of the attention kernels it runs, on a GPU."""
        if not on_accelerator():
            return []
        try:
            activities = [torch.profiler.ProfilerActivity.CUDA]
            with torch.profiler.profile(activities=activities) as profile:
                self()
            names = {event.key for event in profile.key_averages()}
        except Exception as error:  # Not every machine lets one look.
            print(f"no names of kernels: {error}", file=sys.stderr)
            return []
        return sorted(n[:80] for n in names if ATTENTION.search(n))

    def release(self):
        self._call = None
        release()


def quiet(seconds):
    """Nothing is compiled."""


def prepare(programs):
    """Nothing is compiled ahead. Returns a dict of names to errors: none."""
    return {}


def forward(model, function, *args, **still):
    """A program of `function(*args)` without gradients.

    A CUDA graph, where the model would make one.
    """
    run = cuda_graphs.recorded(model, function)

    def call():
        with torch.no_grad():
            return run(*args, **still)

    return Program(call)


def gradient(model, function, *args):
    """A program of the slopes of `function`, in the weights of `model` that
    are trained and in the first argument, a float."""
    x = args[0].detach().clone().requires_grad_()
    sources = [x, *(v.value for v in model.trainable_variables)]

    def call():
        total = total_of(function(x, *args[1:]))
        return torch.autograd.grad(total, sources, allow_unused=True)

    return Program(call)


def train_step(model, batch):
    """A program of one step of a compiled model's training.

    The weights change; the gradients go.
    """

    def call():
        try:
            keras.Model.train_on_batch(model, *batch)
        finally:
            for variable in model.trainable_variables:
                variable.value.grad = None

    return Program(call)


def slopes(function, args, target):
    """Outputs of `function(*args)`, and the slopes of their product with
    `target`, summed, in each argument."""
    args = [x.detach().clone().requires_grad_() for x in args]
    outputs = function(*args)
    total = torch.sum(outputs.float() * target)
    return outputs.detach(), torch.autograd.grad(total, args)
