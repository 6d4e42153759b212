"""Rows as features; what chance makes of tables of one source."""

import numpy as np
import pytest

from keras_stts.data.validation.comparison import Comparison
from keras_stts.data.validation.comparison import bin_edges
from keras_stts.data.validation.comparison import known_share
from keras_stts.data.validation.comparison import number_by_chance
from keras_stts.data.validation.comparison import words_by_chance
from keras_stts.data.validation.table import Table

pytestmark = pytest.mark.once

FACTS = {
    "seconds": 4.0,
    "fps": 25.0,
    "width": 64,
    "height": 48,
    "frames": 100,
    "brightness": 100.0,
    "bytes": 1000,
}


def table(rows, name="t"):
    rows = [{"id": i, "prompt": "?", **r} for i, r in enumerate(rows)]
    facts = {r["video"]: {**FACTS, "sha256": r["video"]} for r in rows}
    return Table(name, rows, facts)


def test_columns_have_kinds():
    its = table(
        [
            {"video": "/a", "n": 1, "x": 1, "w": "b", "l": [1], "m": "1"},
            {"video": "/b", "n": True, "x": 0.5, "w": "", "l": [2], "m": 2},
        ]
    )
    kinds = {name: its.kinds[name] for name in "nxwlm"}
    bytes_ = dict.fromkeys("wlm", "bytes")
    assert kinds == {"n": "int", "x": "float", **bytes_}
    assert its.features[0]["l"] == "[1]" and its.features[1]["m"] == "2"
    assert its.lacking("w") == ["1"] and its.lacking("response") == ["0", "1"]


def test_names_of_measurements_are_taken():
    with pytest.raises(ValueError, match="Received: video_fps. Rename it."):
        table([{"video": "/a", "video_fps": 3}])


def test_a_video_counts_once():
    first = table([{"video": "/a", "n": i // 5} for i in range(10)])
    assert first.pairs("video_fps") == {("/a", 25.0)}
    assert first.pairs("n") == {("/a", 0), ("/a", 1)}


def test_rows_that_no_video_can_be_measured_of():
    rows = [{"id": "0", "video": None, "prompt": "?", "response": " "}]
    its = Table("t", rows, {})
    assert its.features == [{"prompt_length": 1}]
    assert "A row must have a video" in its.facts[0]["error"]


def test_bins():
    assert bin_edges([25.0] * 9) == [25.0, 25.0]
    assert bin_edges([25.0] * 9 + [30.0]) == [25.0, 27.5, 30.0]
    edges = bin_edges(list(range(1000)))
    assert len(edges) == 11 and edges[1] == 99.5
    # Half of all are one number: it has a bin of its own.
    edges = bin_edges(list(range(100)) + [50] * 100)
    assert {49.5, 50.5} <= set(edges)


def divergence(counts):
    p, q = np.array(counts) / np.sum(counts, axis=1, keepdims=True)
    m = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.nansum(x * np.log2(x / m)) for x in (p, q)]
    return sum(parts) / 2


@pytest.mark.parametrize("sizes", [(10, 5), (100, 20), (300, 300)])
@pytest.mark.parametrize("draw", ["normal", "lognormal", "rates", "words"])
def test_chance_alone_stays_below(sizes, draw):
    rng = np.random.default_rng(0)
    draws = {
        "normal": lambda n: rng.normal(size=n),
        "lognormal": lambda n: np.exp(2 * rng.normal(size=n)),
        "rates": lambda n: rng.choice([24, 25, 30], n, p=[0.1, 0.6, 0.3]),
        "words": lambda n: rng.integers(0, 20, n),
    }
    above = 0
    for _ in range(300):
        a, b = map(draws[draw], sizes)
        if draw == "words":
            counts = [np.bincount(x, minlength=20) / len(x) for x in (a, b)]
            share = np.bincount([*a, *b]).max() / sum(sizes)
            difference = np.abs(counts[0] - counts[1]).max()
            above += difference > words_by_chance(share, *sizes)
            continue
        edges = bin_edges([*a, *b])
        inner = edges[1:-1]
        counts = [
            np.bincount(np.searchsorted(inner, x), minlength=len(edges) - 1)
            for x in (a, b)
        ]
        above += divergence(counts) > number_by_chance(len(edges) - 1, *sizes)
    assert above <= 3


def test_a_difference_is_seen_in_few():
    # All of one rate, then all of another: as different as can be.
    assert number_by_chance(2, 5, 5) < 1
    assert number_by_chance(2, 2, 2) > 1
    assert words_by_chance(0.5, 40, 40) < 0.5


def test_limits():
    rng = np.random.default_rng(0)
    both = [
        table(
            [
                {
                    "video": f"/{name}{i}",
                    "serial": i + start,
                    "score": float("nan") if i == 7 else 0.5,
                    "year": int(rng.integers(2000, 2005)),
                    "response": str(rng.choice(["yes", "no"])),
                }
                for i in range(200)
            ]
        )
        for name, start in (("a", 0), ("b", 1000))
    ]
    comparison = Comparison(both, 0.1, 0.1)
    assert "serial" not in comparison.limits
    assert comparison.limits["year"] == 0.1
    assert 0.1 < comparison.limits["response"] < 0.25
    assert sum(comparison.counts[1]["year"]) == 200
    assert comparison.counts[1]["score"] == [199]
    assert Comparison(both, 0.5, 0.5).limits["response"] == 0.5


def test_known_share():
    assert known_share(["a", "b"] * 50, 100) == 1.0
    # Every answer is new.
    assert known_share([str(i) for i in range(100)], 100) == 0.0
    # Some are rare: a few new ones may come.
    rare = ["a", "b"] * 45 + [str(i) for i in range(10)]
    assert 0.5 < known_share(rare, 100) < 0.9


def test_conversations_and_numbers():
    turns = [
        {"role": "user", "content": "abc"},
        {"role": "assistant", "content": [{"type": "text", "text": "de"}]},
    ]
    its = table([{"video": "/a", "prompt": turns, "response": 0}])
    assert its.features[0]["prompt_length"] == len("abc de")
    assert its.features[0]["response"] == "0"
    assert its.features[0]["response_length"] == 1
