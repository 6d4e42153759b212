"""Programs under JAX, compiled ahead, several at a time."""

import concurrent.futures
import functools
import gc
import os
import re
import time

import jax
import keras

from device.programs import total_of

ATTENTION = re.compile(r'custom_call_target="([^"]*)"')
# Programs that are compiled at a time; each also has threads of its own.
POOL = concurrent.futures.ThreadPoolExecutor(
    max(1, min(6, (os.cpu_count() or 1) // 2))
)
_compiling = []
KERNELS = re.compile(r"fmha|flash|splash|attention|cudnn|mosaic|tpu_custom")


def on_accelerator():
    return jax.default_backend() != "cpu"


def describe():
    """Name of the device, and versions of what runs it."""
    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    return {
        "device": device.device_kind if on_accelerator() else "CPU",
        "device_memory": stats.get("bytes_limit"),
        "jax": jax.__version__,
        "platform": device.client.platform_version.replace("\n", " "),
    }


def release():
    gc.collect()


def share(own, lent):
    """Make a variable of the values of another: no copy is made."""
    own.assign(lent.value)


def exact():
    """A context of matrix products in whole float32."""
    return jax.default_matmul_precision("highest")


class Program:
    """A function of weights and arguments, compiled ahead.

    Args:
        function: Function of the lists of values and of arguments.
        variables: List of Keras variables whose values it is given.
        args: List of its other arguments.
        in_place: Bool. Whether its outputs could take the place of weights,
            as in training they do: then they take no memory of their own.
    """

    def __init__(self, function, variables, args, in_place=False):
        self._function = jax.jit(function)
        self._variables = variables
        self._args = args
        self._in_place = in_place
        self._waiting = self._compiled = self._seconds = None

    def _arguments(self):
        return [v.value for v in self._variables], self._args

    def start(self):
        """Trace it, and have it compiled beside what goes on here."""
        if self._waiting is not None:
            return
        start = time.perf_counter()
        try:
            # Tracing is Keras' and not for threads; XLA's part is.
            lowered = self._function.lower(*self._arguments())
            seconds = time.perf_counter() - start
            self._waiting = POOL.submit(_compile, lowered, seconds)
            _compiling.append(self._waiting)
        except Exception as error:
            self._waiting = concurrent.futures.Future()
            self._waiting.set_exception(error)

    def finish(self):
        """Wait until it is compiled; raises what went wrong."""
        self.start()
        self._compiled, self._seconds = self._waiting.result()

    def __call__(self):
        jax.block_until_ready(self.run())

    def run(self):
        """The same, for its outputs, which may not be there yet."""
        return self._compiled(*self._arguments())

    def facts(self, peak):
        """What is known of it once it has run; see `programs.measure`.

        `"memory"` is what the compiler says that it takes, weights and all;
        JAX keeps no peak of a single program.
        """
        facts = {"compile_seconds": self._seconds, "kernels": []}
        found = self._compiled.memory_analysis()
        if found is not None:
            facts["temporaries"] = found.temp_size_in_bytes
            facts["memory"] = found.argument_size_in_bytes
            facts["memory"] += found.temp_size_in_bytes
            if not self._in_place:
                facts["memory"] += found.output_size_in_bytes
        targets = set(ATTENTION.findall(self._compiled.as_text() or ""))
        facts["kernels"] = sorted(t for t in targets if KERNELS.search(t))
        return facts

    def release(self):
        self._waiting = self._compiled = None
        release()


def _compile(lowered, seconds):
    """What is compiled, and what that and tracing took."""
    start = time.perf_counter()
    compiled = lowered.compile()
    return compiled, seconds + time.perf_counter() - start


def quiet(seconds):
    """Wait until nothing is compiled any more, but not longer."""
    concurrent.futures.wait(_compiling, seconds)


def prepare(programs):
    """Compile programs side by side.

    Returns:
        Dict of the names of those that failed to their errors.
    """
    errors = {}
    for program in programs.values():
        program.start()
    for name, program in programs.items():
        try:
            program.finish()
        except Exception as error:
            errors[name] = error
    return errors


def _with_values(variables, values, function, args):
    mapping = list(zip(variables, values))
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
        return function(*args)


def forward(model, function, *args, **still):
    """A program of `function(*args)` without gradients."""
    variables = model.variables

    def run(values, args):
        args, still = args
        given = functools.partial(function, **still)
        return _with_values(variables, values, given, args)

    return Program(run, variables, [list(args), still])


def gradient(model, function, *args):
    """A program of the slopes of `function`, in the weights of `model` that
    are trained and in the first argument, a float."""
    variables = model.trainable_variables

    def total(values, x, rest):
        args = (x, *rest)
        return total_of(_with_values(variables, values, function, args))

    def run(values, args):
        x, *rest = args
        return jax.grad(total, argnums=(0, 1))(values, x, rest)

    return Program(run, variables, list(args))


def train_step(model, batch):
    """A program of one step of a compiled model's training.

    It puts out new weights, which are thrown away, so that other programs
    find theirs.
    """
    trained, frozen = model.trainable_variables, model.non_trainable_variables
    size = len(trained)
    optimizer = model.optimizer
    optimizer.build(trained)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )

    def loss(weights, rest, x, y, sample_weight):
        logits, _, losses = model.stateless_call(
            weights, rest, x, training=True, return_losses=True
        )
        return cross_entropy(y, logits, sample_weight) + sum(losses)

    def run(values, args):
        weights, rest = values[:size], values[size : size + len(frozen)]
        moments = values[size + len(frozen) :]
        value, slopes = jax.value_and_grad(loss)(weights, rest, *args)
        new, moments = optimizer.stateless_apply(moments, slopes, weights)
        return value, new, moments

    variables = [*trained, *frozen, *optimizer.variables]
    return Program(run, variables, list(batch), in_place=True)


def slopes(function, args, target):
    """Outputs of `function(*args)`, and the slopes of their product with
    `target`, summed, in each argument."""

    @jax.jit
    def run(args, target):
        outputs, pullback = jax.vjp(function, *args)
        return outputs, pullback(target.astype(outputs.dtype))

    return run(list(args), target)
