"""All layers together, compiled with gradients, under each dtype policy."""

import functools

import keras
import numpy as np
import pytest
from keras import ops as K

from keras_stts.layers import RaggedPacking
from keras_stts.layers import ScoreBias
from keras_stts.layers import TokenPruning
from keras_stts.layers import TokenScorer
from keras_stts.ops import attention
from tests.gradients import loss_and_gradients

B, T, N, D = 2, 3, 16, 8
FRAME_MASK = [[True] * 3, [True, True, False]]


def patches():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, N, D)).astype("float32")


def pipeline(policy):
    """A function of patches, and the scorer that it trains."""
    scorer = TokenScorer(2, 6, 2, aux_coefficient=None, dtype=policy)
    bias = ScoreBias(window=2, dtype=policy)
    prune = TokenPruning(0.5, dtype=policy)
    packing = RaggedPacking(window=2, dtype=policy)
    scorer.build((None, T, N, D))
    packing.build((None, T, N, D))

    def heads(x):
        return K.reshape(x, (-1, x.shape[-2], 2, D // 2))

    def run(x):
        """Attention with the bias, then among what is kept."""
        mask = K.convert_to_tensor(FRAME_MASK)
        scores = scorer(x, frame_mask=mask)
        x = K.cast(x, packing.compute_dtype)
        key_bias = K.reshape(bias(scores), (-1, 1, 1, N))
        x = attention(heads(x), heads(x), heads(x), bias=key_bias)
        selection = prune(scores, frame_mask=mask)
        x = packing(K.reshape(x, (-1, T, N, D)), selection)
        layout = packing.layout(selection)
        x = packing.attention(heads(x), heads(x), heads(x), layout)
        x = packing.unpack(K.reshape(x, (B, -1, D)), selection)
        return x, scores

    return run, scorer


def loss_of(run, scorer, x):
    x, scores = run(x)
    for tensor, dtype in ((scores, "float32"), (x, scorer.compute_dtype)):
        assert keras.backend.standardize_dtype(tensor.dtype) == dtype
    return K.sum(K.square(K.cast(x, "float32")))


@functools.cache
def eager_loss():
    """In float32."""
    keras.utils.set_random_seed(0)
    loss = functools.partial(loss_of, *pipeline("float32"))
    return float(K.convert_to_numpy(loss(K.convert_to_tensor(patches()))))


@pytest.mark.parametrize(
    "policy, tolerance",
    [("float32", 1e-5), ("mixed_bfloat16", 0.03), ("mixed_float16", 0.03)],
)
def test_compiled_gradients(policy, tolerance):
    if keras.config.backend() == "jax" and policy == "mixed_float16":
        pytest.skip("JAX has no such gradient of attention on a CPU")
    wanted = eager_loss()
    keras.utils.set_random_seed(0)
    run, scorer = pipeline(policy)
    value, slope, slopes = loss_and_gradients(
        functools.partial(loss_of, run, scorer),
        patches(),
        scorer.trainable_variables,
        compile=True,
    )
    np.testing.assert_allclose(value, wanted, rtol=tolerance)
    assert np.isfinite(slope).all()
    for variable, gradient in zip(scorer.trainable_variables, slopes):
        assert np.isfinite(gradient).all(), variable.path
        # The bias of the keys cancels in the softmax.
        if not variable.path.endswith("key/bias"):
            assert gradient.any(), variable.path


@pytest.mark.skipif(keras.config.backend() != "torch", reason="torch.compile")
def test_torch_compile():
    import torch

    run, scorer = pipeline("float32")
    loss = functools.partial(loss_of, run, scorer)
    compiled = torch.compile(loss, backend="aot_eager")
    results = []
    for function in (loss, compiled):
        x = torch.tensor(patches(), requires_grad=True)
        value = function(x)
        weights = [v.value for v in scorer.trainable_variables]
        slopes = torch.autograd.grad(value, [x, *weights])
        results.append([value.detach(), *slopes])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
