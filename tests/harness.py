"""One call that checks a layer, and functions run as each backend runs them.

`check_layer` is to be called once for every layer. `compiled` and `gradient`
run a function of arrays compiled (JAX: jit, TensorFlow: XLA) or eagerly
(torch) and return NumPy; a shape is compiled once a function.
"""

import inspect
import json
import pathlib
import tempfile

import hypothesis
import keras
import numpy as np
from keras import ops

# The same few examples on every backend.
few_examples = hypothesis.settings(
    max_examples=20, deadline=None, derandomize=True
)

LOW_PRECISION = ("mixed_bfloat16", "mixed_float16")


def to_numpy(structure):
    """A structure of tensors as one of NumPy arrays."""
    return keras.tree.map_structure(_array, structure)


def _array(x):
    if x is None:
        return None
    dtype = keras.backend.standardize_dtype(x.dtype)
    if dtype == "bfloat16":  # NumPy knows it by grace of JAX alone.
        x = ops.cast(x, "float32")
    array = np.array(ops.convert_to_numpy(x))
    return array.astype(dtype) if dtype == "bfloat16" else array


def to_tensors(structure):
    return keras.tree.map_structure(ops.convert_to_tensor, structure)


def compiled(function):
    """`function` of arrays, compiled where the backend compiles."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        run = jax.jit(function)
    elif backend == "tensorflow":
        import tensorflow as tf

        run = tf.function(function, jit_compile=True)
    else:
        import torch

        run = torch.no_grad()(function)
    return lambda *arrays: to_numpy(run(*to_tensors(arrays)))


def gradient(function, compile=True):
    """Gradient of a scalar function in its first argument, as NumPy."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        run = jax.grad(function)
        run = jax.jit(run) if compile else run
    elif backend == "tensorflow":
        import tensorflow as tf

        def run(x, *rest):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x, *rest)
            return tape.gradient(value, x, unconnected_gradients="zero")

        run = tf.function(run, jit_compile=True) if compile else run
    else:
        import torch

        def run(x, *rest):
            x = x.detach().requires_grad_()
            return torch.autograd.grad(function(x, *rest), x)[0]

    return lambda *arrays: to_numpy(run(*to_tensors(arrays)))


def softmax_attention(query, key, value, mask=True):
    """Attention in NumPy; `mask` broadcasts to (B, heads, S, S2)."""
    repeats = query.shape[2] // key.shape[2]
    key, value = (np.repeat(x, repeats, axis=2) for x in (key, value))
    logits = np.einsum("bqhd,bkhd->bhqk", query, key)
    logits = np.where(mask, logits * query.shape[-1] ** -0.5, -np.inf)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, value)


def check_layer(
    layer_class, config, inputs, num_weights, float32=False, fit=True
):
    """Check what every layer must do.

    Args:
        layer_class: The class.
        config: Dict of its arguments. All that the layer takes must be in
            what `get_config` returns, these with these values.
        inputs: Dict of call arguments, NumPy arrays or structures of them.
        num_weights: Int. How many variables the layer has.
        float32: Bool. Whether its outputs are float32 under any policy.
        fit: Bool. Whether a step of `fit` should change its weights, all of
            them, and they be trained through its outputs.

    Returns:
        The layer, built.
    """
    keras.utils.set_random_seed(0)
    check_config(layer_class, config)
    layer = layer_class(**config)
    outputs = layer(**inputs)
    assert len(layer.weights) == num_weights
    check_symbolic(layer_class, config, inputs, outputs, num_weights)
    check_precision(layer_class, config, inputs, float32)
    model = functional(layer, inputs)
    check_saving(model, inputs, outputs)
    if fit:
        check_fit(model, layer, inputs)
    return layer


def check_config(layer_class, config):
    layer = layer_class(**config)
    got = layer.get_config()
    for name, parameter in inspect.signature(layer_class).parameters.items():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert name in got, f"{name} is missing from get_config()"
    for name, value in config.items():
        if not callable(value):
            assert got[name] == value, name
    assert layer_class.from_config(got).get_config() == got
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    twin = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(twin) is layer_class
    assert twin.get_config() == got


def symbols(inputs):
    """Keras inputs like `inputs`, the number of videos open."""
    return keras.tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=x.dtype.name), inputs
    )


def check_symbolic(layer_class, config, inputs, outputs, num_weights):
    """Shapes, dtypes and structure are the same before the run and in it."""
    layer = layer_class(**config)
    symbolic = layer(**symbols(inputs))
    assert len(layer.weights) == num_weights
    assert type(symbolic) is type(outputs) or not isinstance(outputs, tuple)
    keras.tree.assert_same_structure(symbolic, outputs)
    for symbol, output in zip(
        keras.tree.flatten(symbolic), keras.tree.flatten(outputs), strict=True
    ):
        assert symbol.shape == (None, *output.shape[1:])
        dtype = keras.backend.standardize_dtype(output.dtype)
        assert symbol.dtype == dtype


def check_precision(layer_class, config, inputs, float32):
    """Outputs are finite and of the dtype they ought to be."""
    for policy in LOW_PRECISION:
        layer = layer_class(**config, dtype=policy)
        symbolic = keras.tree.flatten(layer(**symbols(inputs)))
        wanted = "float32" if float32 else layer.compute_dtype
        for symbol in symbolic:
            if keras.backend.is_float_dtype(symbol.dtype):
                assert symbol.dtype == wanted, policy
        outputs = compiled(lambda inputs: layer(**inputs))(inputs)
        for output, symbol in zip(keras.tree.flatten(outputs), symbolic):
            assert output.dtype.name == symbol.dtype, policy
            assert np.isfinite(output.astype("float32")).all(), policy


def functional(layer, inputs):
    """A functional model of a layer; its outputs in a flat list."""
    symbolic = symbols(inputs)
    outputs = layer(**symbolic)
    return keras.Model(
        keras.tree.flatten(symbolic), keras.tree.flatten(outputs)
    )


def check_saving(model, inputs, outputs):
    """A `.keras` file gives back a model with the same outputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        twin = keras.saving.load_model(path)
    arrays = keras.tree.flatten(inputs)
    outputs = keras.tree.flatten(outputs)
    for got in (model(arrays), twin(arrays)):
        got = got if isinstance(got, (list, tuple)) else [got]
        for one, other in zip(got, outputs, strict=True):
            np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def check_fit(model, layer, inputs):
    """A step of `fit` changes each trainable weight of the layer."""
    before = to_numpy([v.value for v in layer.trainable_variables])
    output = keras.layers.Flatten()(model.outputs[0])
    model = keras.Model(model.inputs, keras.layers.Dense(1)(output))
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    arrays = keras.tree.flatten(inputs)
    target = np.ones((len(arrays[0]), 1), "float32")
    history = model.fit(arrays, target, batch_size=len(target), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    after = to_numpy([v.value for v in layer.trainable_variables])
    for variable, old, new in zip(layer.trainable_variables, before, after):
        assert np.isfinite(new).all(), variable.path
        # The bias of the keys cancels in the softmax.
        if not variable.path.endswith("key/bias"):
            assert (old != new).any(), variable.path
