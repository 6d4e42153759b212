"""What JAX would run on an NVIDIA GPU with cuDNN, traced without one."""

import functools

import keras
import numpy as np
import pytest

from keras_stts import config
from keras_stts import ops
from tests.tiny import tiny_batch
from tests.tiny import tiny_model

FORWARD, BACKWARD = (
    f"dot_product_attention_{way}_wrapper" for way in ("fwd", "bwd")
)

if keras.config.backend() != "jax":
    pytest.skip("It is about JAX.", allow_module_level=True)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Answers for the driver: a Hopper with cuDNN 9.11."""
    module = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    answers = {
        "check_cudnn_version": lambda: 91100,
        "check_compute_capability": lambda capability: True,
        "is_cuda_compute_capability_equal": lambda capability: False,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(module, name, answer)
    config.set_attention("cudnn", elsewhere=True)
    yield
    config.set_attention("auto")


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Keras logs each kernel that it tried in vain."""
    yield
    logged = [record.getMessage() for record in caplog.get_records("call")]
    assert not [line for line in logged if "Failed to apply" in line]


def traced(function, *args):
    return str(jax.make_jaxpr(function)(*args))


def heads(seed, length):
    x = np.random.default_rng(seed).normal(size=(2, length, 2, 8))
    return jnp.asarray(x, "bfloat16")


def attended(query, key, length, given):
    """The sum of attention with a mask or bias of the kind that is given."""
    seen = jnp.arange(length) < length - 1
    options = {
        None: {},
        "row": {"mask": seen[None, None, None]},
        "square": {"mask": (seen[:, None] | seen)[None, None]},
        "bias": {"bias": jnp.where(seen, 0.0, -2.0)[None, None, None]},
        "lengths": {"reach": ops.Reach(stop=jnp.full((2, 1), length - 1))},
        "marked": {"reach": ops.Reach(marked=seen[None])},
        "reach": {"reach": ops.Reach(stop=1 + jnp.arange(length)[None])},
    }
    out = ops.attention(query, key, key, **options[given])
    return jnp.sum(jnp.square(out.astype("float32")))


GIVEN = [None, "row", "square", "bias", "lengths", "marked", "reach"]


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize("remat", [False, True])
def test_attention(length, given, remat):
    """Fused, and its gradient, at odd lengths and with masks, too."""
    run = functools.partial(attended, length=length, given=given)
    run = jax.checkpoint(run) if remat else run
    query, key = heads(0, length), heads(1, length)
    assert FORWARD in traced(run, query, key)
    slope = traced(jax.grad(run, argnums=(0, 1)), query, key)
    assert BACKWARD in slope


def test_wide_heads_with_marked_keys_run_in_chunks():
    """A feature more is one too many."""
    query = jnp.zeros((2, 8, 2, 128), "bfloat16")
    reach = ops.Reach(marked=jnp.arange(8)[None] < 7)
    run = functools.partial(ops.attention, reach=reach)
    assert FORWARD not in traced(run, query, query, query)
    assert FORWARD in traced(ops.attention, query, query, query)


def test_what_is_not_fused_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr("keras_stts.kernels.choice._said", set())
    query = heads(0, 8).astype("float32")
    for _ in range(2):
        traced(lambda x: ops.attention(x, x, x), query)
    said = [r.getMessage() for r in caplog.records if r.name == "keras_stts"]
    assert len(said) == 1 and "not float32" in said[0]


@pytest.mark.parametrize(
    "rematerialize, prune_ratio, padding",
    [(True, 0, 0), (True, 0, 1), (True, 0.5, 0), (True, 0.5, 1), (False, 0, 0)],
)
def test_train_step(rematerialize, prune_ratio, padding):
    """Frames of 81 patches, and sequences of odd and even lengths."""
    model = tiny_model(
        image_size=18,
        patch_size=2,
        window=3,
        num_frames=3,
        prune_ratio=prune_ratio,
        rematerialize=rematerialize,
        dtype="mixed_bfloat16",
    )
    x, *_ = tiny_batch(model, text_length=6 + padding)
    for name in ("vision_token_ids", "vision_mask"):
        x[name] = np.pad(x[name], [(0, 0), (0, padding)])
    frozen = [v.value for v in model.non_trainable_variables]

    def loss(weights, training):
        logits, *_ = model.stateless_call(weights, frozen, x, training=training)
        return jnp.mean(jnp.square(logits.astype("float32")))

    weights = [v.value for v in model.trainable_variables]
    assert FORWARD in traced(lambda w: loss(w, False), weights)
    assert BACKWARD in traced(jax.grad(lambda w: loss(w, True)), weights)


def test_reports_say_what_is_fused_and_why_not():
    model = tiny_model(dtype="bfloat16", patch_size=2, window=3)
    report = model.attention_report()
    rows = {row["kind"]: row for row in report}
    for kind in ("frames", "frames, score bias", "packed", "prefix"):
        assert rows[kind]["kernel"] == "cudnn" and rows[kind]["reason"] is None
    (run,) = rows["prefix"]["runs"]
    assert run.queries % 8
    assert run.run_queries == run.run_keys == -(-run.queries // 8) * 8
    assert f"{run.run_queries} x {run.run_keys}" in str(report)
    padded, counted = (model.flops(layout=n) for n in ("padded", "packed"))
    assert padded["language_model"] > counted["language_model"]
    assert padded["vision_encoder"] > counted["vision_encoder"]
    assert "'cudnn'" in rows["text"]["reason"]
    report = tiny_model().attention_report()  # In float32.
    assert {row["kernel"] for row in report} == {"chunked", "elementwise"}
    assert "float32" in report[0]["reason"]
    assert "[1] Attention runs in chunks, not fused" in str(report)
