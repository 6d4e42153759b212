"""The programs that `fit` and `generate` run, on shapes."""

import dataclasses
import inspect

import keras

from .abstract import abstract_variables
from .abstract import make_batch
from .abstract import struct
from .abstract import structs

STOP = (151645,)


@dataclasses.dataclass(frozen=True)
class Step:
    """A program before it is compiled.

    Args:
        function: What is jitted.
        args: Tuple of what it is called with, shapes in place of arrays.
        roles: Tuple as `args`, what each is: `"weights"` or `"data"`.
        options: Dict of arguments of `jax.jit`.
        keeps: Bool. Whether its last output is its first argument, one step
            later.
    """

    function: object
    args: tuple
    roles: tuple
    options: dict = dataclasses.field(default_factory=dict)
    keeps: bool = False

    def lower(self, args):
        """Trace it, on shapes with shardings."""
        import jax

        options = dict(self.options)
        if self.keeps:
            states = jax.tree.map(lambda leaf: leaf.sharding, args[0])
            options["out_shardings"] = (None, states)
        return jax.jit(self.function, **options).lower(*args)


def make_step(model, phase, batch_size=1, text_length=256):
    """What a phase runs, once for a batch.

    Args:
        model: A `VideoVLM` of `abstract.make_model`.
        phase: `"prefill"`, videos and prompts to the logits of the next token
            and all caches; `"decode"`, one token more; `"generate"`, the
            function that `VideoVLM.generate` compiles; or `"train"`, the one
            that `VideoVLM.fit` does.
        batch_size: Int.
        text_length: Int.

    Raises:
        ValueError: If there is no such phase, or nothing to train.
    """
    makers = {
        "prefill": _prefill,
        "decode": _decode,
        "generate": _generate,
        "train": _train,
    }
    if phase not in makers:
        raise ValueError(
            f"`phase` must be one of {', '.join(makers)}. Received: "
            f"phase={phase!r}."
        )
    return makers[phase](model, make_batch(model, batch_size, text_length))


def _weights(model):
    return structs(model.trainable_variables), structs(
        model.non_trainable_variables
    )


def _holding(model, weights):
    """A scope in which a model's variables have the values of a trace."""
    trainable, fixed = weights
    mapping = [
        *zip(model.trainable_variables, trainable),
        *zip(model.non_trainable_variables, fixed),
    ]
    return keras.StatelessScope(state_mapping=mapping)


def _run_prefill(model):
    def run(weights, x):
        with _holding(model, weights):
            hidden, prefix, cache = model.prefill(x)
            return model.lm_head(hidden[:, -1:]), prefix, cache

    return run


def _prefill(model, batch):
    args = (_weights(model), batch[0])
    return Step(_run_prefill(model), args, ("weights", "data"))


def _decode(model, batch):
    """One more token: what `generate` runs in its loop."""
    import jax

    weights, x = _weights(model), batch[0]
    shapes = jax.eval_shape(_run_prefill(model), weights, x)
    _, prefix, cache = shapes

    def run(weights, token, prefix, cache, index):
        with _holding(model, weights):
            logits, _, cache = model.decode(token, index, cache, prefix)
            return logits, cache

    token = struct((x["token_ids"].shape[0], 1), "int32")
    args = (weights, token, prefix, cache, struct((), "int32"))
    roles = ("weights", "data", "data", "data", "data")
    return Step(run, args, roles, {"donate_argnums": 3})


def _generate(model, batch):
    """KerasHub's own jitted function, of which `generate` holds a wrapper."""
    wrapper = model.make_generate_function()
    inside = inspect.getclosurevars(wrapper).nonlocals
    jitted = inside["compiled_generate_function"]
    state = (structs(model.sampler.variables), *_weights(model))

    def run(state, inputs):
        return jitted(inputs, STOP, state)

    return Step(run, (state, batch[0]), ("weights", "data"))


def _train(model, batch):
    """Keras' own step, jitted as `make_train_function` does."""
    if not model.trainable_variables:
        raise ValueError(
            "There must be something to train. Received: a model without "
            "trainable weights; a scorer is trained only where blocks are "
            "pruned."
        )
    _build_training(model, batch)
    state = (
        structs(model.trainable_variables),
        structs(model.non_trainable_variables),
        structs(model.optimizer.variables),
        structs(model.metrics_variables),
    )
    return Step(
        model.train_step,
        (state, batch),
        ("weights", "data"),
        {"donate_argnums": 0},
        keeps=True,
    )


def _build_training(model, batch):
    """Give optimizer and metrics their variables, without values."""
    import jax

    def build(trainable):
        mapping = list(zip(model.trainable_variables, trainable))
        with abstract_variables(mapping):
            model.optimizer.build(model.trainable_variables)

    if not model.optimizer.built:
        jax.eval_shape(build, structs(model.trainable_variables))
    model._symbolic_build(data_batch=batch)
