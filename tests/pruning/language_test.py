"""Pruning inside the language model: against the published code, and one path.

`golden/language.json` holds what FEATHER's published code keeps, and the
normalised output at the last token, with `weights` in a Llama whose queries
and keys are normalised as in Qwen3.
"""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_stts
import tests.models.conftest  # noqa: F401  Models are compiled quickly.
from keras_stts.compiling import compiled
from keras_stts.pruning import FastV
from keras_stts.pruning import Feather
from keras_stts.pruning import language
from keras_stts.pruning import language_tokens
from keras_stts.pruning import serialize
from tests.harness import softmax_attention
from tests.models import tiny
from tests.tiny import PATCH_ID
from tests.tiny import tiny_model

GOLDEN = json.loads(
    (pathlib.Path(__file__).parent / "golden/language.json").read_text()
)
FEATHER = {
    "class_name": "feather",
    "config": {"layers": [1, 2], "ratio": 0.4, "stride": 2},
}
PROMPTS = ["what?", "which way does it go?", "how many?"]
NUM_LAYERS = 3


def pruning_model(language_pruning=FEATHER, **kwargs):
    """Weights are the same whatever is pruned."""
    processor = tiny.preprocessor(
        kwargs.get("num_frames", tiny.NUM_FRAMES),
        prompt_mask=language_pruning is not None,
    )
    config = {"num_layers": NUM_LAYERS, "language_pruning": language_pruning}
    return tiny.shallow(True, processor, **{**config, **kwargs})


@pytest.fixture(scope="module")
def model():
    return pruning_model()


@pytest.fixture(scope="module")
def raw():
    return {**tiny.raw((4, 2, 3), responses=False), "prompts": PROMPTS}


@pytest.fixture(scope="module")
def inputs(model, raw):
    return model.preprocessor(raw)


@pytest.fixture(scope="module")
def graph(model):
    """Logits of the training graph."""
    run = compiled(model, lambda x: model(x))
    return lambda x: ops.convert_to_numpy(run(tensors(x)))


@pytest.fixture(scope="module")
def prefilled(model):
    def prefill(x):
        hidden, prefix, cache = model.prefill(x)
        return model.lm_head(hidden), prefix, cache

    run = compiled(model, prefill)
    return lambda x: run(tensors(x))


def tensors(x):
    return {name: ops.convert_to_tensor(value) for name, value in x.items()}


def close(one, other):
    """Large weights make round-off large, above all of 4 frames."""
    tiny.close(one, other, atol=1e-4)


def real(values, inputs):
    return values[inputs["padding_mask"]]


# === Against the published code ===


def weights(seed):
    """Weights of the golden files, float64; `(in, out)` for matrices."""
    draw = np.random.default_rng(seed).standard_normal
    result = {"embedding": draw((48, 32)), "video": draw((81, 32))}
    result["layers"] = [
        {
            "attention_norm": 1 + 0.1 * draw(32),
            "query": 0.5 * draw((32, 32)),
            "key": 0.5 * draw((32, 16)),
            "value": 0.2 * draw((32, 16)),
            "query_norm": 1 + 0.1 * draw(8),
            "key_norm": 1 + 0.1 * draw(8),
            "attention_output": 0.2 * draw((32, 32)),
            "mlp_norm": 1 + 0.1 * draw(32),
            "mlp_gate": 0.2 * draw((32, 24)),
            "mlp_up": 0.2 * draw((32, 24)),
            "mlp_down": 0.2 * draw((24, 32)),
        }
        for _ in range(5)
    ]
    result["layer_norm"] = 1 + 0.1 * draw(32)
    result["text"] = draw.__self__.integers(2, 40, 5)
    return result


def published_sizes(language_pruning):
    """A backbone of one frame of 9x9 tokens, causal as Llama is."""
    backbone = tiny_model(
        num_frames=1,
        image_size=36,
        window=1,
        prune_ratio=0,
        num_layers=5,
        hidden_dim=32,
        num_query_heads=4,
        num_key_value_heads=2,
        rope_max_wavelength=10000.0,
        language_pruning=language_pruning,
    ).backbone
    backbone.sequence_format = dataclasses.replace(
        backbone.sequence_format, vision_token_ids=(-1,)
    )
    return backbone


def run_published_sizes(backbone, seed):
    """Places kept by each stage, and the output at the last token."""
    values = weights(seed)
    backbone.token_embedding.embeddings.assign(values["embedding"])
    backbone.language_model.layer_norm.scale.assign(values["layer_norm"])
    for layer, arrays in zip(backbone.transformer_layers, values["layers"]):
        for name, array in arrays.items():
            getattr(layer, name).weights[0].assign(array)
    ids = np.array([[1] + [PATCH_ID] * 81], "int32")
    text = values["text"][None].astype("int32")
    x = {
        "vision_token_ids": ids,
        "vision_mask": ids > 0,
        "token_ids": text,
        "padding_mask": text > 0,
        "prompt_mask": text > 0,
    }
    video = values["video"][None].astype("float32")

    def encode(x, video):
        hidden, prefix, _ = backbone.encode(x, {"embeddings": video})
        return hidden, prefix["positions"]

    hidden, positions = tiny.run(backbone, encode, x, video)
    layers = [stage.layer for stage in backbone.language_pruning.stages]
    return [positions[i][0, 1:] - 1 for i in layers], hidden[0, -1]


@pytest.mark.parametrize("method", ["fastv", "fastv_norope", "feather"])
def test_published_code(method):
    """Kept tokens at each stage, and what comes of them.

    FEATHER's union is as large as ours where grid and best do not overlap;
    where they do we keep more beside it.
    """
    backbone = None
    for case in (case for case in GOLDEN if case["method"] == method):
        if backbone is None:
            layers, ratio = case["layers"], case["ratio"]
            one = {"layer": layers[0], "ratio": ratio}
            two = {"layers": layers, "ratio": ratio}
            config = two if method == "feather" else one
            backbone = published_sizes({"class_name": method, "config": config})
        kept, hidden = run_published_sizes(backbone, case["seed"])
        counts = backbone.language_pruning.counts(81, backbone.grid)
        assert [len(stage) for stage in kept] == counts[1:]
        if [len(stage) for stage in case["kept"][:1]] == counts[1:2]:
            for ours, theirs in zip(kept, case["kept"]):
                assert ours.tolist() == theirs
            np.testing.assert_allclose(hidden, case["hidden"], atol=1e-4)
        else:
            assert len(case["kept"][0]) == 38 and counts[1] == 41
            assert set(case["kept"][0]) < set(kept[0].tolist())


def test_ranks_are_attention():
    """That of one query, shared out among some keys: values one-hot."""
    rng = np.random.default_rng(0)
    query = rng.standard_normal((2, 1, 4, 8)).astype("float32")
    key = rng.standard_normal((2, 6, 2, 8)).astype("float32")
    ranked = np.array([[0, 1, 1, 0, 1, 1], [1, 1, 0, 0, 0, 0]], bool)
    one_hot = np.broadcast_to(np.eye(6)[None, :, None], (2, 6, 2, 6))
    wanted = softmax_attention(query, key, one_hot, ranked[:, None, None])
    ours = language_tokens.attention_ranks(
        language_tokens.attention_logits(
            ops.convert_to_tensor(query), ops.convert_to_tensor(key)
        ),
        ops.convert_to_tensor(ranked),
    )
    tiny.close(ours, wanted.mean(2)[:, 0])


def test_tokens_that_stay():
    """Of equal ones the earlier, the first before all; never others."""
    ranks = np.array([[0.1, 0.4, 0.1, 0.3, 0.0, 0.1]], "float32")
    ranked = np.array([[1, 1, 1, 0, 1, 1]], bool)
    first = np.array([[0, 0, 0, 1, 1, 0]], bool)

    def places(count, first=None):
        arrays = (ranks, ranked, np.array([count], "int32"), first)
        arrays = [None if a is None else tensor(a) for a in arrays]
        kept = language_tokens.tokens_that_stay(*arrays)
        return np.flatnonzero(ops.convert_to_numpy(kept)).tolist()

    tensor = ops.convert_to_tensor
    assert [places(n) for n in (0, 2, 3)] == [[], [0, 1], [0, 1, 2]]
    assert places(2, first) == [1, 4]
    assert places(9) == [0, 1, 2, 4, 5]
    ranks = 100 * ranks - 50  # Any numbers rank.
    assert [places(n) for n in (0, 2, 3)] == [[], [0, 1], [0, 1, 2]]
    assert places(2, first) == [1, 4]


# === Sizes ===


@pytest.mark.once
def test_counts():
    grid = (9, 9)
    assert language.FastV().counts(729, grid) == [729, 182]
    # 30% and nine of a frame, then 9% of these.
    assert language.Feather().counts(81, grid) == [81, 24 + 9, 2]
    assert language.Feather().counts(810, grid) == [810, 243 + 90, 29]
    assert language.Feather(ratio=0).counts(80, grid) == [80] * 3
    assert language.FastV(ratio=0.9).counts(10, grid) == [10, 1]


def test_as_many_as_said_stay(model, inputs, prefilled):
    """Of a shorter video, what it would keep alone; of the rest, all."""
    _, prefix, _ = prefilled(inputs)
    places = [ops.convert_to_numpy(p) for p in prefix["positions"]]
    masks = [ops.convert_to_numpy(m) for m in prefix["masks"]]
    others = inputs["vision_mask"].sum(1) - [16, 8, 12]
    counts = [[8, 6, 2], [4, 3, 1], [6, 5, 1]]
    pruning = model.backbone.language_pruning
    assert [pruning.counts(n, (2, 2)) for n in (8, 4, 6)] == counts
    for block, stage in enumerate((0, 1, 2)):
        removed = 8 - counts[0][stage]
        assert masks[block].shape[1] == masks[0].shape[1] - removed
        assert prefix["layers"][block][0].shape[1] == masks[block].shape[1]
        kept = [row[stage] for row in counts]
        assert masks[block].sum(1).tolist() == (others + kept).tolist()
        for row in range(3):
            here = places[block][row][masks[block][row]]
            before = places[max(block - 1, 0)][row]
            assert (np.diff(here) > 0).all()  # In order, not renumbered.
            assert set(here) <= set(before[masks[max(block - 1, 0)][row]])


def test_nothing_pruned_is_no_pruning(inputs):
    plain = pruning_model(None)
    none = pruning_model(language.FastV(layer=1, ratio=0))
    wanted = {name: inputs[name] for name in plain.input}
    close(tiny.run(none, none, inputs), tiny.run(plain, plain, wanted))


def test_flops_by_hand(model):
    """Each block as a model of that length counts it."""
    plain, backbone = pruning_model(None), model.backbone
    assert model.flops()["total"] < plain.flops()["total"]
    text, frame = tiny.LENGTH, 2 + model.preprocessor.time_tokens
    lengths = [4 * frame + 1 + n for n in (8, 6, 2)]
    # Queries 16, keys 8, width 16, MLP 24.
    token = 2 * 16 * (2 * 16 + 2 * 8 + 3 * 24)
    wanted = sum(n * (token + 64 * n) for n in lengths[:2])
    wanted += lengths[2] * 2 * 16 * 16
    wanted += sum(text * (token + 64 * (n + text)) for n in lengths)
    wanted += 2 * text * 16 * backbone.vocabulary_size
    # Before each stage: a query, its logits, and keys that are not rotated.
    wanted += sum(2 * (16 * 16 + n * (16 + 16 * 8)) for n in lengths[:2])
    assert model.flops()["language_model"] == wanted


def test_rotated_keys_are_not_counted_twice():
    rotated, plain = (
        pruning_model(FastV(layer=1, rope=rope)).flops()
        for rope in (True, False)
    )
    frames = tiny.NUM_FRAMES
    length = frames * (2 + tiny.preprocessor(frames).time_tokens) + 1 + 8
    more = plain["language_model"] - rotated["language_model"]
    assert more == 2 * length * 16 * 8


def test_flops_after_a_method_that_prunes_after_the_connector():
    """The language model sees as many blocks of either."""
    before, after = (
        pruning_model(FastV(layer=1), pruning=name, prune_ratio=0.5).flops()
        for name in ("stts", "evs")
    )
    assert after["language_model"] == before["language_model"]
    assert after["connector"] > before["connector"]


# === One path ===


def test_graph_equals_prefill_equals_decoding(model, inputs, graph, prefilled):
    wanted = graph(inputs)
    logits, prefix, cache = prefilled(inputs)
    close(logits, wanted)

    def step(token, prefix, cache, index):
        hidden, cache = model.backbone.decode(
            token, prefix, cache=cache, index=index
        )
        return model.lm_head(hidden), cache

    step = compiled(model, step)
    cache = keras.tree.map_structure(ops.zeros_like, cache)
    steps = []
    for i in range(inputs["token_ids"].shape[1]):
        token = ops.convert_to_tensor(inputs["token_ids"][:, i : i + 1])
        index = ops.convert_to_tensor(i, "int32")
        out, cache = step(token, prefix, cache, index)
        steps.append(ops.convert_to_numpy(out))
    steps = np.concatenate(steps, axis=1)
    close(real(steps, inputs), real(wanted, inputs))


def test_the_answer_does_not_rank(model, inputs, raw, graph):
    """In training the prompt decides, as when there is no answer yet."""
    trained, _, weights = model.preprocessor(
        {**raw, "responses": tiny.RESPONSES}
    )
    tiny.same(trained["prompt_mask"], inputs["prompt_mask"])
    assert (trained["padding_mask"] != inputs["padding_mask"]).any()
    close(real(graph(trained), inputs), real(graph(inputs), inputs))
    whole = {**trained, "prompt_mask": trained["padding_mask"]}
    assert np.abs(real(graph(whole) - graph(trained), inputs)).max() > 1e-3


def test_each_video_alone(model, inputs, graph):
    """In a batch of its length, too: padding frames change nothing."""
    wanted = graph(inputs)
    for i in range(3):
        alone = {name: value[[i] * 3] for name, value in inputs.items()}
        close(graph(alone)[0], wanted[i])
    short = pruning_model(num_frames=2)
    short.set_weights(model.get_weights())
    cut = short.preprocessor.shorten(
        {name: value[1:2] for name, value in inputs.items()}, 2
    )
    close(tiny.run(short, short, cut)[0], wanted[1])


def test_generate_equals_the_training_graph(model, inputs, graph):
    model.compile(sampler="greedy")
    processor, model.preprocessor = model.preprocessor, None
    options = {"stop_token_ids": None, "strip_prompt": False}
    try:
        ids = np.array(model.generate(inputs, **options)["token_ids"])
    finally:
        model.preprocessor = processor
    chosen = graph({**inputs, "token_ids": ids}).argmax(-1)[:, :-1]
    new = ~inputs["padding_mask"][:, 1:]
    assert len(np.unique(chosen[new])) > 3
    tiny.same(ids[:, 1:][new], chosen[new])


@pytest.mark.parametrize("method", ["fastv", "fastv_norope"])
def test_each_method_generates(method, raw):
    """Beams, too, share what their prompt kept."""
    config = {"layer": 1}
    pruning = {"class_name": method, "config": config}
    model = pruning_model(pruning, num_layers=2)
    model.compile(sampler="beam" if method == "fastv" else "greedy")
    answers = model.generate(raw, max_length=21)
    assert len(answers) == 3 and all(type(a) is str for a in answers)


def test_fit_lowers_the_loss():
    model = tiny.compile_to_train(pruning_model(), rate=0.02)
    assert model.backbone.prune_ratio == 0.5
    x = tiny.raw((4, 2, 3))
    losses = model.fit(x, batch_size=3, epochs=4, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_images_stay():
    """Tokens of images beside a pruned video are not ranked."""
    settings = {"num_images": 1, "max_crops": 2, "patch_size": 1}
    processor = tiny.preprocessor(
        2, num_blocks=64, sequence_length=32, prompt_mask=True, **settings
    )
    config = {"layer": 1, "ratio": 0.5}
    model = tiny.model(
        True,
        processor,
        num_frames=2,
        language_pruning={"class_name": "fastv", "config": config},
        **settings,
    )
    x = tiny.raw((2, 2), responses=False)
    x = processor({**x, "images": [tiny.video(5, 1)[0], None]})
    masks = tiny.run(model, lambda x: model.prefill(x)[1]["masks"], x)
    assert (masks[0].sum(1) - masks[1].sum(1)).tolist() == [32, 32]


# === Settings ===


def test_save_and_load(model, inputs, tmp_path):
    model.save_to_preset(tmp_path)
    again = keras_stts.VideoVLM.from_preset(tmp_path)
    assert again.backbone.get_config() == model.backbone.get_config()
    close(tiny.run(again, again, inputs), tiny.run(model, model, inputs))
    other = keras_stts.VideoVLM.from_preset(
        tmp_path, language_pruning=language.FastV(layer=2, rope=False)
    )
    assert other.preprocessor.prompt_mask
    assert not other.backbone.language_pruning.rope
    none = keras_stts.VideoVLM.from_preset(tmp_path, language_pruning=None)
    assert not none.preprocessor.prompt_mask
    assert "prompt_mask" not in none.input


@pytest.mark.once
def test_pruning_replaces_what_a_preset_prunes_with(tmp_path):
    load = keras_stts.VideoVLM.from_preset
    fastv, ratio = language.FastV(layer=1), {"prune_ratio": 0.5}
    load("shapes_tiny", pruning=fastv).save_to_preset(tmp_path)
    assert load(tmp_path).backbone.language_pruning.ratio == fastv.ratio
    whole = load(tmp_path, pruning=None).backbone
    assert whole.language_pruning is None and whole.prune_ratio == 0
    evs = load(tmp_path, pruning="evs", **ratio).backbone
    assert evs.language_pruning is None and serialize(evs.pruning) == "evs"
    both = load(tmp_path, pruning=["evs", fastv], **ratio).backbone
    assert type(both.language_pruning) is type(fastv)
    assert both.prune_ratio == 0.5
    for wrong, message in (
        ({"pruning": "stts"}, "told how much. Received: pruning='stts'"),
        ({"pruning": fastv, **ratio}, "have a `ratio` of their own"),
        ({"pruning": None, **ratio}, "Received: pruning=None"),
        ({"pruning": fastv, "language_pruning": "feather"}, "One method may"),
        ({"pruning": "fastv"}, "FastV must prune before layers .* instance"),
    ):
        with pytest.raises(ValueError, match=message):
            load(tmp_path, **wrong)


@pytest.mark.once
def test_names():
    assert language.get(None) is None
    assert language.get("fastv").rope
    assert not language.get("fastv_norope").rope
    feather = language.get("feather")
    assert [stage.layer for stage in feather.stages] == [8, 16]
    config = keras.saving.serialize_keras_object(feather)
    again = language.get(json.loads(json.dumps(config)))
    assert again.get_config() == feather.get_config()


@pytest.mark.once
@pytest.mark.parametrize(
    "wrong, message",
    [
        ("fastvv", "`language_pruning` must be one of fastv, fastv_norope"),
        ({"config": {}}, "one of fastv, fastv_norope, feather"),
        (3, "one of fastv, fastv_norope, feather"),
        ({"class_name": "fastv", "config": {"layer": 0}}, "at least 1"),
        ({"class_name": "fastv", "config": {"ratio": 1.0}}, "lie in"),
        ({"class_name": "feather", "config": {"ratio": -1}}, "lie in"),
        ({"class_name": "feather", "config": {"layers": 8}}, "be two ints"),
        ({"class_name": "feather", "config": {"layers": (8, 8)}}, "come after"),
        ({"class_name": "feather", "config": {"stride": 0}}, "positive int"),
        ("feather", r"layers \[8, 16\], num_layers=2"),
    ],
)
def test_bad_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(language_pruning=wrong)


@pytest.mark.once
@pytest.mark.parametrize("sizes", [{"num_frames": 0}, {"num_segments": 2}])
def test_models_without_one_video_a_row(sizes):
    pruning = language.FastV(layer=1)
    with pytest.raises(ValueError, match="for models of videos, one a row"):
        tiny_model(language_pruning=pruning, **sizes)


def test_bad_inputs(model, inputs):
    backbone = model.backbone
    without = {n: inputs[n] for n in inputs if n != "prompt_mask"}
    with pytest.raises(ValueError, match="without prompt_mask"):
        model.predict(without)
    for mask in (
        ~inputs["prompt_mask"],
        inputs["prompt_mask"] | True,
        inputs["prompt_mask"] & False,
    ):
        with pytest.raises(ValueError, match="`prompt_mask` must be True at"):
            model.predict({**inputs, "prompt_mask": mask})
    with pytest.raises(ValueError, match="Call `encode`"):
        backbone.encode_prefix(*(inputs["vision_token_ids"],) * 2, {})
    with pytest.raises(ValueError, match="must agree on .*prompt_mask"):
        keras_stts.VideoVLM(backbone, tiny.preprocessor())


@pytest.mark.parametrize(
    ("pruning", "before", "inside", "ratio"),
    [
        ("stts", "stts", None, 0.5),
        (None, None, None, 0.0),
        (Feather(layers=(1, 2)), None, Feather, 0.0),
        (["evs", FastV(layer=1)], "evs", FastV, 0.5),
        ((FastV(layer=1), "stts"), "stts", FastV, 0.5),
    ],
)
def test_one_switch(pruning, before, inside, ratio):
    processor = tiny.preprocessor(prompt_mask=inside is not None)
    backbone = tiny.model(
        processor=processor, pruning=pruning, num_layers=3
    ).backbone
    again = type(backbone).from_config(backbone.get_config())
    for one in (backbone, again):
        assert serialize(one.pruning) == before
        assert one.prune_ratio == ratio
        assert type(one.language_pruning) is (inside or type(None))


def test_two_of_a_kind():
    with pytest.raises(ValueError, match="one method before"):
        tiny.model(pruning=["stts", "evs"])
    with pytest.raises(ValueError, match="fastv_norope, feather"):
        tiny.model(pruning="none")
