"""Where weights lie on eight devices, in which layouts."""

import re

import keras
import pytest

import keras_stts
from keras_stts.training import distributing
from tests.models import qwen3_vl
from tests.tiny import tiny_model

CUT_NOT = re.compile(r".*(norm/(gamma|beta|scale)|layer_norm/scale|score/.*)")


@pytest.fixture(autouse=True)
def no_distribution():
    yield
    keras.distribution.set_distribution(None)


def mesh(*shape, names=("batch", "model")):
    devices = keras.distribution.list_devices()
    count = shape[0] * shape[1]
    return keras.distribution.DeviceMesh(shape, list(names), devices[:count])


def parallel(*shape, layout_map=None):
    if layout_map is None:
        layout_map = keras_stts.VideoVLMBackbone.get_layout_map(mesh(*shape))
    return keras.distribution.ModelParallel(
        layout_map=layout_map, batch_dim_name="batch"
    )


def spread(model):
    """Dict of a path to what each dimension of the weight is cut over."""
    weights = {v.path: v.value for v in model.weights}
    return {
        path: (*value.sharding.spec, *(None,) * value.ndim)[: value.ndim]
        for path, value in weights.items()
    }


def test_every_key_names_weights_and_every_weight_has_one():
    layout_map = keras_stts.VideoVLMBackbone.get_layout_map(mesh(2, 4))
    models = (tiny_model(), qwen3_vl.model())  # Of all families.
    paths = [weight.path for model in models for weight in model.weights]
    for key in layout_map:
        assert any(re.fullmatch(key, path) for path in paths), key
    for path in paths:
        layout = layout_map[path]  # Raises if two keys name it.
        assert layout is not None, path
        cut = set(layout.axes) != {None}
        replicated = CUT_NOT.fullmatch(path) or path.endswith("/bias")
        assert cut or replicated, path


def test_model_and_batch_axes():
    with parallel(2, 4).scope():
        model = tiny_model(num_query_heads=8, num_key_value_heads=4)
    found = spread(model)
    expected = {
        "vision_encoder/position_embedding": (None, "batch"),
        "vision_encoder/patch_embedding/kernel": (None, "batch"),
        # Two heads, four devices: cut along the width instead.
        "vision_encoder/block_0/query/kernel": ("model", "batch"),
        "vision_encoder/block_0/query/bias": (None,),
        "vision_encoder/block_0/mlp_up/kernel": ("batch", "model"),
        "vision_encoder/block_0/mlp_up/bias": ("model",),
        "vision_encoder/block_0/mlp_down/kernel": ("model", "batch"),
        "vision_encoder/block_0/mlp_down/bias": (None,),
        "pruning/scorer/mlp/hidden_1/kernel": ("batch", "model"),
        "pruning/scorer/mlp/hidden_2/kernel": ("model", "batch"),
        "pruning/scorer/mlp/score/kernel": (None, None),
        "connector/gate/kernel": ("batch", "model"),
        "connector/down/kernel": ("model", "batch"),
        "language_model/token_embedding/embeddings": ("model", "batch"),
        "language_model/transformer_layer_1/query/kernel": ("batch", "model"),
        "language_model/transformer_layer_1/key/kernel": ("batch", "model"),
        "language_model/transformer_layer_1/attention_output/kernel": (
            "model",
            "batch",
        ),
        "language_model/transformer_layer_1/query_norm/scale": (None,),
        "language_model/transformer_layer_1/mlp_gate/kernel": (
            "batch",
            "model",
        ),
        "language_model/transformer_layer_1/mlp_down/kernel": (
            "model",
            "batch",
        ),
        "lm_head/kernel": ("batch", "model"),
    }
    assert {path: found[path] for path in expected} == expected


def test_vocabulary_that_does_not_divide_is_cut_along_the_width():
    with parallel(2, 4).scope():
        model = tiny_model(vocabulary_size=45)  # And 8 more.
    found = spread(model)
    assert found["language_model/token_embedding/embeddings"] == (None, "model")
    assert found["lm_head/kernel"] == ("model", None)


@pytest.mark.parametrize("shape", [(8, 1), (1, 8), (1, 3), (3, 1), (2, 3)])
def test_any_size_of_axis(shape):
    with parallel(*shape).scope():
        model = tiny_model()
    for weight in model.weights:
        piece = weight.value.addressable_shards[0].data.shape
        cut = [n for n, m in zip(weight.shape, piece) if n != m]
        can = [n for n in weight.shape if n % (shape[0] * shape[1]) == 0]
        replicated = CUT_NOT.fullmatch(weight.path) or len(weight.shape) < 2
        if re.fullmatch(".*/(position|patch)_embedding.*", weight.path):
            continue  # All parts of the model need them.
        assert cut or replicated or not can, weight.path


def test_own_layouts_are_kept():
    layout_map = keras_stts.VideoVLMBackbone.get_layout_map(mesh(2, 4))
    del layout_map["lm_head/kernel"]
    layout_map["lm_head/kernel"] = (None, "batch")
    with parallel(layout_map=layout_map).scope():
        model = tiny_model()
    assert spread(model)["lm_head/kernel"] == (None, "batch")


def test_moments_lie_where_their_weights_do():
    with parallel(8, 1).scope():
        model = tiny_model()
        model.compile()
        model.optimizer.build(model.trainable_variables)
    path = "lm_head/kernel"
    (weight,) = [v for v in model.weights if v.path == path]
    moments = [
        v for v in model.optimizer.variables if "lm_head" in v.path and v.ndim
    ]
    assert len(moments) == 2
    for moment in moments:
        assert moment.value.sharding == weight.value.sharding


@pytest.mark.parametrize(
    "names, match",
    [
        (("batch", "heads"), r"axes \['batch', 'heads'\]"),
        (("data", "model"), "data_parallel_dim_name='batch'"),
    ],
)
def test_mesh_without_the_axes(names, match):
    with pytest.raises(ValueError, match=match):
        keras_stts.VideoVLMBackbone.get_layout_map(mesh(2, 4, names=names))
    layout_map = keras_stts.VideoVLMBackbone.get_layout_map(
        mesh(2, 4, names=names), names[1], names[0]
    )
    assert layout_map["lm_head/kernel"].axes == names


def test_bad_mesh():
    get = keras_stts.VideoVLMBackbone.get_layout_map
    with pytest.raises(ValueError, match="must be two axes of the mesh"):
        get(mesh(2, 4), "batch", "batch")
    with pytest.raises(ValueError, match="Received: 8 of type int"):
        get(8)


def test_from_preset():
    load = keras_stts.VideoVLM.from_preset
    model = load("shapes_tiny", distribution="fsdp")
    assert spread(model)["lm_head/kernel"] == ("batch", None)
    distribution = keras.distribution.distribution()
    assert distribution.device_mesh.shape == (8, 1)
    model = load("shapes_tiny", distribution="data")
    assert set(spread(model)["lm_head/kernel"]) == {None}
    assert len(model.lm_head.kernel.value.devices()) == 8
    model = load("shapes_tiny", distribution=distribution)
    assert keras.distribution.distribution() is distribution
    assert spread(model)["lm_head/kernel"] == ("batch", None)


@pytest.mark.parametrize("room, kind", [(2**40, "data"), (2**20, "fsdp")])
def test_auto(monkeypatch, capsys, room, kind):
    monkeypatch.setattr(distributing, "memory_of_a_device", lambda: room)
    load = keras_stts.VideoVLM.from_preset
    load("shapes_tiny", distribution="auto", load_weights=False)
    said = capsys.readouterr().err
    assert said.count("distribution=") == 1
    assert f'distribution="{kind}": weights of ' in said
    distribution = keras.distribution.distribution()
    wanted = "DataParallel" if kind == "data" else "ModelParallel"
    assert type(distribution).__name__ == wanted


def test_weights_bytes():
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", load_weights=False)
    counted = distributing.weights_bytes(model.backbone.get_config())
    assert counted == 4 * model.count_params()


@pytest.mark.parametrize("value", ["tensor", 8, True])
def test_bad_distribution(value):
    with pytest.raises(ValueError, match="'auto', 'data', 'fsdp'"):
        keras_stts.VideoVLM.from_preset("shapes_tiny", distribution=value)
    assert keras.distribution.distribution() is None


def test_distribution_of_a_ready_made_backbone():
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", load_weights=False)
    with pytest.raises(ValueError, match="when they are made"):
        keras_stts.VideoVLM.from_preset(
            "shapes_tiny", backbone=model.backbone, distribution="data"
        )


def test_errors_leave_the_distribution():
    with pytest.raises(Exception, match="num_query_heads"):
        keras_stts.VideoVLM.from_preset(
            "shapes_tiny",
            distribution="data",
            num_query_heads=7,
            load_weights=False,
        )
    assert keras.distribution.distribution() is None
