"""Faults of tables are named, whatever format they are in."""

import collections

import pytest

from tests.data.hostile_tables import GOOD
from tests.data.hostile_tables import cases
from tests.data.hostile_tables import made
from tests.data.hostile_tables import outcome
from tests.watched import watched

pytestmark = pytest.mark.once
SEEDS = 60


def test_hostile_tables():
    """None crashes, hangs or loses a row in silence."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("tensorflow")
    tables = [*cases(), *((seed, made(seed)) for seed in range(SEEDS))]
    assert len(tables) >= 250
    results = list(watched(outcome, tables, 60.0))
    wrong = {n: r for n, r, _ in results if r.partition(":")[0] not in GOOD}
    assert not wrong
    counts = collections.Counter(result for _, result, _ in results)
    assert min(counts[kind] for kind in GOOD) > 50
