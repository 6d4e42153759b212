"""Damaged and hostile presets, and saves that are killed: a small part.

All of it: `python benchmarks/fuzz_presets.py`.
"""

import sys

import keras
import pytest

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "torch" or sys.platform != "linux",
    reason="Forks, which the other backends do not survive.",
)


def test_damaged_presets(tmp_path):
    from tests.models import preset_fuzz

    counts, bad = preset_fuzz.fuzz(tmp_path, 30)
    assert not bad
    assert sum(counter["refused"] for counter in counts.values()) > 18


def test_killed_saves(tmp_path):
    from tests.models import preset_fuzz

    counts = preset_fuzz.kills(tmp_path / "kills", 8)
    assert set(counts) <= {"old", "new", "not killed, new"}
    assert counts["old"] and counts["new"]
