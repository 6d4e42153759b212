"""`VideoVLM.memory` and the warnings that it makes possible."""

import importlib
import pathlib
import warnings

import keras
import numpy as np
import pytest

import keras_stts
from benchmarks.molmo2_4b import IDS
from benchmarks.molmo2_4b import WHOLE
from keras_stts.memory import count_memory
from keras_stts.memory import foresight
from keras_stts.memory import limits
from keras_stts.memory import weights as model_weights
from keras_stts.memory.report import KINDS
from keras_stts.memory.report import PARTS
from keras_stts.memory.report import readable
from keras_stts.models import sizes
from keras_stts.optimizers import PartwiseAdamW
from keras_stts.training import text_loss
from keras_stts.training.parts import part_of
from tests.models import tiny
from tests.tiny import tiny_batch
from tests.tiny import tiny_model

pytestmark = pytest.mark.once

MOLMO2_4B = {**WHOLE, **IDS, "num_frames": 64}


@pytest.fixture(scope="module")
def model():
    """A model that is only asked."""
    return tiny_model()


def whole(**kwargs):
    """Of Molmo2-4B in bfloat16, texts of 256 tokens."""
    settings = {"dtype": "bfloat16", "text_length": 256, **kwargs}
    return keras_stts.VideoVLM.memory_of(MOLMO2_4B, **settings)


def stored(model, trainable=False):
    """Bytes of the weights that a model has."""
    weights = model.trainable_variables if trainable else model.weights
    return sum(
        int(np.prod(v.shape)) * model_weights.itemsize(v.dtype) for v in weights
    )


@pytest.mark.parametrize("mode", [None, "int8", "int4"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "mixed_bfloat16"},
        {"dtype": "bfloat16", "prune_ratio": 0.0, "num_frames": 0},
        {"query_key_norm": "all", "attention_bias": True, "num_images": 1},
    ],
)
def test_weights_are_those_of_the_real_model(settings, mode):
    settings = {"num_images": 0, **settings}
    if settings.get("num_frames") == 0:
        settings["num_images"] = 1
    model = tiny_model(**settings)
    if mode is not None:
        model.quantize(mode)
    config = sizes.of_backbone(model.backbone)
    dtype = settings.get("dtype", "float32")
    variables = model_weights.policy_of(dtype)[0]
    counted = model_weights.weights_of_config(config, variables, mode)
    names = [(w.path, w.shape, w.dtype) for w in counted]
    real = [(v.path, tuple(v.shape), v.dtype) for v in model.weights]
    assert sorted(names) == sorted(real)
    asked = keras_stts.VideoVLM.memory_of(
        config, dtype=dtype, quantization=mode
    )
    assert asked["weights"] == model.memory()["weights"] == stored(model)
    for part in PARTS:
        own = [
            int(np.prod(v.shape)) * model_weights.itemsize(v.dtype)
            for v in model.weights
            if ("head" if "lm_head" in v.path else part_of(v)) == part
        ]
        assert asked.table[part]["weights"] == sum(own)


@pytest.mark.parametrize(
    "optimizer",
    [
        PartwiseAdamW(1e-3),
        keras.optimizers.SGD(0.1),
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.optimizers.Adam(amsgrad=True, use_ema=True),
        PartwiseAdamW(1e-3, gradient_accumulation_steps=4),
    ],
)
def test_optimizer_is_that_of_a_compiled_model(optimizer):
    backbone = tiny_model().backbone
    parts = ["scorer", "connector"]
    model = keras_stts.VideoVLM(backbone, trainable_parts=parts)
    model.compile(optimizer=optimizer.from_config(optimizer.get_config()))
    model.optimizer.build(model.trainable_variables)
    shapes = {tuple(v.shape) for v in model.trainable_variables}
    slots = [v for v in model.optimizer.variables if tuple(v.shape) in shapes]
    real = sum(4 * int(np.prod(v.shape)) for v in slots if v.shape)
    memory = model.memory()
    assert memory["optimizer"] == real
    assert memory["gradients"] == stored(model, trainable=True)
    assert model.memory(optimizer=3)["optimizer"] == 3 * memory["gradients"]
    assert model.memory(optimizer="sgd")["optimizer"] == 0
    assert model.memory(phase="evaluate")["gradients"] == 0


@pytest.mark.parametrize("names", [None, ["token_embedding", "lm_head"]])
def test_lora_counts_factors_and_scorer(names):
    model = tiny_model()
    before = model.memory(
        trainable="lora", lora_rank=3, target_layer_names=names
    )
    model.enable_lora(3, names)
    memory = model.memory()
    assert memory["gradients"] == stored(model, trainable=True)
    assert memory["weights"] == before["weights"] == stored(model)
    assert memory == before
    assert model.memory(trainable="lora") == memory
    named = tiny_model().memory(
        trainable="lora", target_layer_names=["token_embedding", "lm_head"]
    )
    assert named.table["connector"]["gradients"] == 0
    assert named.table["head"]["gradients"] == 4 * 8 * (16 + 40)


def test_sums(model):
    for kwargs in ({}, {"phase": "generate"}, {"trainable": "scorer"}):
        memory = model.memory(**kwargs)
        assert memory["total"] == sum(memory[kind] for kind in KINDS)
        assert memory["total"] == sum(memory[part] for part in PARTS)
        for part in PARTS:
            assert memory[part] == sum(memory.table[part].values())
        assert all(isinstance(size, int) for size in memory.values())


def test_table(model):
    text = str(whole())
    head, kinds, *rows = text.split("\n")
    assert "num_frames=64" in head and "phase=fit" in head
    assert kinds.split() == ["GiB", *KINDS, "total"]
    assert [row.split()[0] for row in rows] == [*PARTS, "total"]
    assert rows[-1].split()[1] == "9.10"
    assert str(model.memory()).split("\n")[1].startswith("KiB")


def test_what_is_trained_is_what_gradients_are_of(model):
    memory = {
        name: model.memory(trainable=name)
        for name in ("all", "scorer", "connector", "language_model", "none")
    }
    assert memory["none"]["gradients"] == memory["none"]["optimizer"] == 0
    for part in ("scorer", "connector"):
        for other in PARTS:
            row = memory[part].table[other]
            trained = row["weights"] if other == part else 0
            assert row["gradients"] == trained
    assert memory["all"] == model.memory()
    both = model.memory(trainable=["scorer", "connector"])
    assert both["gradients"] == sum(
        memory[part]["gradients"] for part in ("scorer", "connector")
    )
    # Below the lowest trained part nothing is kept for a backward pass.
    assert memory["connector"]["activations"] < memory["scorer"]["activations"]
    assert memory["scorer"]["activations"] < memory["all"]["activations"]
    # A scorer that is not run is not trained.
    plain = model.memory(trainable="scorer", prune_ratio=0.0)
    assert plain["gradients"] == 0


def test_compilers_of_the_tables_agree(monkeypatch):
    """Every row of the tables, within 15% of what its program takes."""
    folder = pathlib.Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    found = importlib.import_module("benchmarks.memory").compare_all()
    assert len(found) > 20
    ratios = {name: row["ratio"] for name, row in found.items()}
    assert not {n: r for n, r in ratios.items() if not 0.85 <= r <= 1.15}
    for name, row in found.items():
        counted, compiled = row["counted"], row["compiled"]
        assert counted["total"] == counted["given"] + counted["made"]
        if "given" in compiled:
            # Chips have whole rows of LoRA's narrow factors.
            rel = 0.07 if "--chips" in name and "lora" in name else 0.01
            assert counted["given"] == pytest.approx(compiled["given"], rel=rel)


def test_a_loss_of_ones_own_has_all_logits(monkeypatch):
    monkeypatch.setattr(text_loss, "MOST_BYTES", 2 * 40 * 4)
    model = tiny_model()
    row = 40 * 4 * 2  # Logits and their gradient.
    assert model.memory(text_length=9)["logits"] == 2 * row
    model.compile(loss="sparse_categorical_crossentropy")
    assert model.memory(text_length=9)["logits"] == 9 * row


def test_page_says_what_is_counted(monkeypatch):
    folder = pathlib.Path(__file__).parents[2]
    monkeypatch.syspath_prepend(str(folder / "benchmarks"))
    benchmark = importlib.import_module("benchmarks.memory")
    page = (folder / "docs/memory.md").read_text(encoding="utf-8")
    assert benchmark.table_of_settings() in page
    assert str(benchmark.of_settings(trainable=benchmark.PARTS)) in page


PHASES = ("fit", "evaluate", "prefill", "decode", "generate")


@pytest.mark.parametrize("phase", PHASES)
def test_more_takes_more(phase):
    totals = [whole(num_frames=n, phase=phase)["total"] for n in (32, 64, 128)]
    assert totals == sorted(totals) and len(set(totals)) == 3
    totals = [
        whole(prune_ratio=ratio, phase=phase)["total"]
        for ratio in (0.8, 0.5, 0.3, 0.0)
    ]
    assert totals == sorted(totals)
    one, two, three = (
        whole(batch_size=n, phase=phase, dtype="mixed_bfloat16", text_length=n)
        for n in (8, 16, 24)
    )
    assert one["total"] < two["total"] < three["total"]
    one, two, three = (
        {**whole(batch_size=n, phase=phase)} for n in (8, 16, 24)
    )
    assert two["logits"] <= 2**28
    for kind in set(KINDS) - {"logits"}:
        assert two[kind] - one[kind] == pytest.approx(
            # The worst moment can be another one.
            three[kind] - two[kind],
            rel=0.01,
            abs=10,
        )
    short, long = (whole(text_length=n, phase=phase) for n in (64, 1024))
    assert short["total"] < long["total"]


def test_figures_of_the_docs():
    """Of SGD without moments, blocks run again, as the benchmark trains."""
    page = pathlib.Path(__file__).parents[2] / "docs/benchmarks.md"
    text = page.read_text(encoding="utf-8")
    settings = {"text_length": 64, "optimizer": 0, "rematerialize": True}
    settings["prune_ratio"] = 0.0
    for shape in (
        {"num_frames": 256},
        {"num_frames": 64, "batch_size": 2},
        {"num_frames": 256, "phase": "prefill"},
    ):
        total = whole(**settings, **shape)["total"]
        assert f"{total / 2**30:.0f} GiB" in text
    assert f"{whole()['weights'] / 2**30:.0f} GiB more" in text


def test_ways_out_help():
    plain = whole()
    assert whole(rematerialize=True)["total"] < 0.8 * plain["total"]
    assert whole(trainable="lora")["total"] < plain["total"]
    assert whole(dtype="float32")["weights"] == pytest.approx(
        2 * plain["weights"], rel=1e-3
    )
    mixed = whole(dtype="mixed_bfloat16")
    # Less of their room is left for activations than larger gradients take.
    assert mixed["activations"] <= plain["activations"]
    assert mixed["optimizer"] > 1.9 * plain["optimizer"]
    small = whole(quantization="int8", trainable="scorer")
    assert small["weights"] < 0.52 * plain["weights"]
    smaller = whole(quantization="int4", trainable="scorer")
    assert smaller["weights"] < 0.3 * plain["weights"]
    same = whole(dtype="int8_from_bfloat16", trainable="scorer")
    assert same["weights"] == small["weights"]


def test_a_method_is_told_with_its_ratio():
    """Of a preset that prunes nothing, too."""
    config = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", load_weights=False, prune_ratio=0
    ).backbone.get_config()
    settings = {"pruning": "evs", "prune_ratio": 0.5}
    found = keras_stts.VideoVLM.memory_of(config, **settings)
    assert found == keras_stts.VideoVLM.memory_of("shapes_tiny", **settings)


def test_no_more_gradients_wait_than_blocks_are_there():
    settings = {"prune_ratio": 0.5, "batch_size": 8, "chips": 8}
    by_data, by_weights = (
        keras_stts.VideoVLM.memory_of(
            "shapes_tiny", distribution=name, **settings
        )
        for name in ("data", "fsdp")
    )
    assert by_weights["activations"] < 2 * by_data["activations"]


def test_chips():
    one = whole(batch_size=8, rematerialize=True)
    data, model, fsdp = (
        whole(batch_size=8, rematerialize=True, chips=8, distribution=kind)
        for kind in ("data", "model", "fsdp")
    )
    assert data["weights"] == one["weights"]
    assert data["activations"] == whole(rematerialize=True)["activations"]
    assert model["weights"] == pytest.approx(one["weights"] / 8, rel=0.01)
    assert fsdp["optimizer"] == pytest.approx(one["optimizer"] / 8, rel=0.01)
    assert fsdp["total"] < data["total"] < one["total"]
    assert one["activations"] / 8 < model["activations"] < one["activations"]
    # A batch that chips do not divide is padded.
    padded = whole(batch_size=3, chips=2, phase="prefill")
    assert padded == whole(batch_size=2, phase="prefill")


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("phase", "train", "`phase` must be one of fit, evaluate"),
        ("trainable", "head", "`trainable` must be None.*trainable='head'"),
        ("trainable", ["score"], r"trainable=\['score'\]"),
        ("batch_size", 0, "`batch_size` must be an int, 1 at least"),
        ("batch_size", 1.5, "batch_size=1.5"),
        ("chips", 0, "`chips` must be an int"),
        ("distribution", "pipeline", "`distribution` must be one of data"),
        ("device", "phone", "`device` must be one of gpu, tpu"),
        ("optimizer", "adamx", "`optimizer` must be an optimizer"),
        ("optimizer", -1, "`optimizer` must be an optimizer"),
        ("dtype", "bfloat15", "`dtype` must be a dtype policy"),
        ("quantization", "int3", "`quantization` must be one of None, int8"),
        ("num_frames", -1, "`num_frames` must be an int, 0 at least"),
        ("num_frames", 2.5, "num_frames=2.5"),
        ("prune_ratio", 1.0, r"`prune_ratio` must be in \[0, 1\)"),
        ("prune_ratio", -0.1, r"`prune_ratio` must be in \[0, 1\)"),
        ("text_length", 0, "`text_length` must be an int, 1 at least"),
        ("lora_rank", 0, "`lora_rank` must be an int"),
        ("rematerialize", "yes", "`rematerialize` must be True or False"),
    ],
)
def test_bad_arguments(model, name, value, message):
    with pytest.raises(ValueError, match=message):
        model.memory(**{name: value})
    with pytest.raises(ValueError, match=message):
        whole(**{name: value})


def test_bad_configs():
    with pytest.raises(ValueError, match="without connector_head_dim"):
        keras_stts.VideoVLM.memory_of({})
    with pytest.raises(ValueError, match="`preset` must be a built-in name"):
        keras_stts.VideoVLM.memory_of("molmo3")
    with pytest.raises(TypeError, match="frames=3.*Known are.*num_frames"):
        keras_stts.VideoVLM.memory_of("shapes_tiny", frames=3)
    with pytest.raises(ValueError, match="of which keys is unknown"):
        whole(trainable="lora", target_layer_names=["keys"])


def test_presets_are_asked_before_they_are_loaded():
    asked = keras_stts.VideoVLM.memory_of("shapes_tiny", num_frames=16)
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", num_frames=16)
    length = model.preprocessor.sequence_length
    assert asked["weights"] == model.memory()["weights"]
    assert model.memory() == model.memory(text_length=length)


def test_no_model_is_made_to_be_asked(monkeypatch):
    def made(*args, **kwargs):
        raise AssertionError("a model was made")

    monkeypatch.setattr(sizes, "with_parts", made)
    with pytest.raises(AssertionError, match="a model was made"):
        tiny_model()
    assert whole()["total"] > 0
    assert keras_stts.VideoVLM.memory_of("shapes_tiny")["total"] > 0


def test_a_model_is_not_changed(model):
    before = [(v.path, v.trainable) for v in model.weights]
    model.memory(trainable="lora", quantization="int8", num_frames=64)
    assert [(v.path, v.trainable) for v in model.weights] == before
    assert model.backbone.num_frames == 4


def test_other_methods(model):
    config = sizes.of_backbone(model.backbone)
    whole = sizes.changed(config, {"prune_ratio": 0.0})
    whole = count_memory(whole)["total"]
    for name in ("random", "evs", "tome", "fastv", None):
        method = keras_stts.pruning.FastV(layer=1) if name == "fastv" else name
        changed = sizes.changed(config, {"pruning": method})
        assert 0 < count_memory(changed)["total"] <= whole * 1.01, name


@pytest.mark.parametrize("before", [None, "stts", "evs", "tome"])
def test_methods_inside_of_the_language_model(before):
    """Of a preset as of its model; and blocks that left once do so no more."""
    inside = keras_stts.pruning.FastV(layer=1)
    given = {"prune_ratio": 0.5 if before else 0.0}
    several = {"pruning": [before, inside] if before else inside, **given}
    alone = {"pruning": before or "stts", **given}
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", **several)
    asked, plain = (
        keras_stts.VideoVLM.memory_of("shapes_tiny", phase="prefill", **kwargs)
        for kwargs in (several, alone)
    )
    assert asked == model.memory(phase="prefill", text_length=64)
    assert asked["caches"] < plain["caches"]


def test_blocks_that_no_model_of_the_config_has():
    for pruning in ("fastv", ["stts", "feather"]):
        with pytest.raises(ValueError, match="must prune before layers of"):
            keras_stts.VideoVLM.memory_of("shapes_tiny", pruning=pruning)


def test_inputs_are_bytes_of_a_batch(model):
    x, _, _ = tiny_batch(model, batch_size=2, text_length=6)
    frames = x["videos"].nbytes
    memory = model.memory(batch_size=2, text_length=6)
    assert memory.table["vision_encoder"]["inputs"] == frames


@pytest.fixture
def limit(monkeypatch):
    return lambda text: monkeypatch.setenv("KERAS_STTS_MEMORY_LIMIT", text)


def warnings_of(run):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    text = "estimated to take"
    return [w for w in found if text in str(w.message)]


def test_fit_warns_before_it_begins(limit):
    model = tiny.model(prune_ratio=0.0)
    tiny.compile_to_train(model)

    def fit():
        model.fit(tiny.raw(), batch_size=3, verbose=0)

    need = model.memory(batch_size=3)["total"]
    limit(str(need))
    assert not warnings_of(fit)
    limit(str(need - 1))
    (warning,) = warnings_of(fit)
    assert warning.filename == __file__
    text = str(warning.message)
    remat = model.memory(batch_size=3, rematerialize=True)["total"]
    assert f"`fit` is estimated to take {readable(need)} on each" in text
    assert f"there are {readable(need - 1)}. Ways out: " in text
    assert text.count(" KiB)") + text.count(" MiB)") >= 3
    assert f"rematerialize=True ({readable(remat)})" in text
    assert "enable_lora(8) (" in text
    limit("1KB")
    (warning,) = warnings_of(fit)
    text = str(warning.message)
    assert "All of " in text and "num_frames=1" in text


def test_generate_warns_once_for_a_size(limit):
    model = tiny.model()
    model.compile(sampler="greedy")
    x = tiny.raw((4,), responses=False)
    limit("20 KiB")
    (warning,) = warnings_of(lambda: model.generate(x))
    assert "`generate` is estimated to take" in str(warning.message)
    assert "num_frames=2 (" in str(warning.message)
    assert warning.filename == __file__
    assert not warnings_of(lambda: model.generate(x))


def test_generate_counts_each_size_once(monkeypatch):
    """What is free on a GPU is another number at each batch."""
    free = iter(range(2**40, 2**41))
    monkeypatch.setattr(limits, "device_memory", lambda: next(free))
    asked = []
    monkeypatch.setattr(foresight, "of_model", counting(asked))
    model = tiny.model()
    for batch_size in (1, 2, 1, 2, 1):
        foresight.before_generate(model, batch_size)
    assert asked == [1, 2]


def counting(asked):
    def of_model(model, batch_size, **kwargs):
        asked.append(batch_size)
        return model.memory(batch_size=batch_size)

    return of_model


def test_from_preset_warns_before_it_loads(limit):
    def load(**kwargs):
        keras_stts.VideoVLM.from_preset("shapes_tiny", **kwargs)

    need = keras_stts.VideoVLM.memory_of("shapes_tiny", phase="generate")
    limit(str(need["total"]))
    assert not warnings_of(load)
    limit(str(need["total"] // 2))
    (warning,) = warnings_of(load)
    assert "The model is estimated to take" in str(warning.message)
    assert "dtype='bfloat16' (" in str(warning.message)
    assert warning.filename == __file__
    assert not warnings_of(lambda: load(dtype="bfloat16", num_frames=2))


def test_no_limit_no_warning(monkeypatch):
    monkeypatch.delenv("KERAS_STTS_MEMORY_LIMIT", raising=False)
    assert limits.memory_limit() > 2**30
    model = tiny.model()
    tiny.compile_to_train(model)
    run = {"batch_size": 3, "verbose": 0}
    assert not warnings_of(lambda: model.fit(tiny.raw(), **run))


@pytest.mark.parametrize(
    "text, size",
    [
        ("16GiB", 2**34),
        ("16 GB", 16e9),
        ("1.5kib", 1536),
        ("1000", 1000),
    ],
)
def test_limits_that_are_given(limit, text, size):
    limit(text)
    assert limits.memory_limit() == size


@pytest.mark.parametrize("text", ["much", "16 G", "-1GB", "1GBs"])
def test_limits_that_are_none(limit, text):
    limit(text)
    message = "KERAS_STTS_MEMORY_LIMIT must be"
    model = tiny_model()
    with pytest.raises(ValueError, match=message):
        model.fit(tiny_batch(model), verbose=0)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            model.generate(tiny_batch(model)[0])
    with pytest.raises(ValueError, match=message):
        keras_stts.VideoVLM.from_preset("shapes_tiny")
