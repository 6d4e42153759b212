"""Reports of attention say what runs: they are of the code that runs it."""

import re

import keras
import pytest
from keras import ops

from keras_stts import config
from keras_stts.kernels import notes
from tests.tiny import tiny_batch
from tests.tiny import tiny_model

BACKEND = keras.config.backend()
if BACKEND == "jax":
    import jax

# What can be chosen on a CPU, and what runs.
CHOICES = {"auto": "chunked", "chunked": "chunked"}
if BACKEND == "torch":
    CHOICES |= {"auto": "torch", "torch": "torch"}


@pytest.fixture(autouse=True)
def as_before():
    yield
    config._chosen.clear()


@pytest.fixture(scope="module")
def model():
    return tiny_model(vision_num_layers=5)


def by_kind(report):
    return {(row["part"], row["kind"]): row for row in report}


def runs_of(report):
    """Those of all layers in their order, but for decoding and text."""
    return [
        run
        for row in report
        if row["kind"] not in ("text", "decode")
        for _ in row["layers"]
        for run in row["runs"]
    ]


def test_what_is_reported_is_what_runs(model):
    told = runs_of(model.attention_report(batch_size=2, text_length=6))
    x, *_ = tiny_batch(model)

    def run(x):
        vision = model.backbone.encode_vision(x)
        return model.backbone.encode_prefix(
            x["vision_token_ids"], x["vision_mask"], vision
        )["length"]

    run = jax.jit(run) if BACKEND == "jax" else run
    with notes.taken() as ran:
        run({name: ops.convert_to_tensor(x[name]) for name in x})
    # Of a frame's time the report counts 8 tokens, and this batch has one.
    missing = 7 * model.backbone.num_frames
    assert told[-1].queries == ran[-1].queries + missing
    assert told[:-1] == ran[:-1] and told[-1].kernel == ran[-1].kernel


def test_rows_of_a_model_that_prunes(model):
    report = model.attention_report(batch_size=3, text_length=5)
    rows = by_kind(report)
    assert list(rows) == [
        ("vision_encoder", "frames"),
        ("scorer", "pooling"),
        ("vision_encoder", "frames, score bias"),
        ("vision_encoder", "packed"),
        ("connector", "pooling"),
        ("language_model", "prefix"),
        ("language_model", "text"),
        ("language_model", "decode"),
    ]
    blocks = [f"vision_encoder/block_{i}" for i in range(5)]
    assert rows["vision_encoder", "frames"]["layers"] == blocks[:2]
    assert rows["vision_encoder", "frames, score bias"]["layers"] == blocks[2:3]
    packed = rows["vision_encoder", "packed"]
    assert packed["layers"] == blocks[3:]
    found = [(run.rows, run.queries, run.keys) for run in packed["runs"]]
    assert found == [(3, 16, 16), (3, 16, 16), (3, 8, 8), (3, 4, 4)]
    assert len(rows["language_model", "prefix"]["layers"]) == 1
    assert len(rows["language_model", "text"]["layers"]) == 2
    (decode,) = rows["language_model", "decode"]["runs"]
    assert (decode.rows, decode.queries, decode.heads) == (3, 1, 2)
    assert decode.keys == 1 + 4 * 10 + 8 + 5
    lines = str(report).splitlines()
    assert "batch_size=3" in lines[0] and "num_frames=4" in lines[0]
    assert re.search("vision_encoder/block_3 to 4 +packed", str(report))


@pytest.mark.once
def test_sizes_that_are_asked_for(model):
    report = model.attention_report(num_frames=16, prune_ratio=0)
    rows = by_kind(report)
    (run,) = rows["vision_encoder", "frames"]["runs"]
    assert len(rows["vision_encoder", "frames"]["layers"]) == 5
    assert run.rows == 16 and report.facts["prune_ratio"] == 0
    assert ("scorer", "pooling") not in rows
    assert model.backbone.num_frames == 4 and model.backbone.prune_ratio == 0.5
    for wrong in ({"batch_size": 0}, {"text_length": 2.5}, {"num_frames": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.attention_report(**wrong)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.once
def test_padding_costs_operations(model, choice):
    config.set_attention(choice)
    counted = model.flops(600, layout="packed", prune_ratio=0)
    padded = model.flops(600, layout="padded", prune_ratio=0)
    rows = by_kind(model.attention_report(num_frames=600, prune_ratio=0))
    assert rows["vision_encoder", "frames"]["kernel"] == CHOICES[choice]
    prefix = rows["language_model", "prefix"]
    (run,) = prefix["runs"]
    pieces = -(-run.queries // run.pieces) * run.pieces
    assert run.pieces > 1 and run.run_queries >= pieces >= run.queries
    more = (run.run_queries - run.queries) * run.keys * 4 * 2 * 8
    assert padded["language_model"] == counted["language_model"] + more
    assert padded["total"] == counted["total"] + more
    assert padded["vision_encoder"] == counted["vision_encoder"]
    assert model.flops(600, prune_ratio=0) == counted


@pytest.mark.once
def test_methods():
    for kind, kwargs in (
        ("merged", {"pruning": "tome"}),
        ("refilled", {"refill": True}),
        ("images", {"num_images": 1, "max_crops": 1}),
    ):
        rows = by_kind(tiny_model(**kwargs).attention_report())
        assert ("vision_encoder", kind) in rows
    rows = by_kind(tiny_model(num_segments=2).attention_report())
    assert ("language_model", "decode") not in rows
