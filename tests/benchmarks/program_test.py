"""Reports are read from the compiler's text rightly."""

import pytest

from benchmarks.aot import contents
from benchmarks.aot import report
from benchmarks.aot import targets

pytestmark = pytest.mark.once

# ruff: noqa: E501
PROGRAM = """HloModule jit_run, is_scheduled=true

%fused_computation (p.0: f32[8,729,729]) -> f32[8,729,729] {
  %p.0 = f32[8,729,729]{2,1,0} parameter(0)
  ROOT %e = f32[8,1000,1000]{2,1,0} exponential(%p.0)
}

%body (s: (s32[], bf16[729,72])) -> (s32[], bf16[729,72]) {
  %s = (s32[], bf16[729,72]{1,0}) parameter(0)
  %k = bf16[729,72]{1,0:T(8,128)(2,1)} custom-call(%s), custom_call_target="__cudnn$fmhaSoftmax"
  %g = f32[64,10]{1,0} all-gather(%k), dimensions={0}
  ROOT %t = (s32[], bf16[729,72]{1,0}) tuple(%s, %k)
}

%cond (s: (s32[], bf16[729,72])) -> pred[] {
  %s = (s32[], bf16[729,72]{1,0}) parameter(0)
  ROOT %c = pred[] constant(true)
}

ENTRY %main.1 (x: f32[8,729,729]) -> f32[8,729,729] {
  %x = f32[8,729,729]{2,1,0} parameter(0)
  %w = (s32[], bf16[729,72]{1,0}) while(%x), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %n = custom-call(%x), custom_call_target="AllocateBuffer"
  %v = f32[900,900]{1,0:T(8,128)S(1)} copy(%x)
  ROOT %f = f32[8,729,736]{2,1,0} fusion(%x), kind=kLoop, calls=%fused_computation, metadata={op_name="jit(run)/block/exp"}
}
"""
OTHER = "Ran out of memory on HBM, the total memory required for HLO "
OTHER += "temporaries (23.02G) exceeds available HBM (15.75G)."
LONG = """Ran out of memory in memory space hbm. Used 19.31G of 15.75G hbm.
  1. Size: 2.0G
     Operator: op_name="jit(run)/block_0/dot_general"
     Shape: f32[64,16,729,729]{3,2,1,0:T(8,128)}
     Unpadded size: 1.9G
"""


def test_buffers_are_those_of_the_entry_and_of_loops():
    rows = contents.buffers(PROGRAM)
    found = {row["array"]: row["bytes"] for row in rows}
    assert found["f32[8,729,736]"] == 8 * 729 * 736 * 4
    assert found["bf16[729,72]"] == 736 * 128 * 2  # Tiles are whole.
    assert "f32[8,1000,1000]" not in found  # Inside of a fusion.
    assert "f32[900,900]" not in found  # In another memory.
    assert "f32[8,729,729]" not in found  # A parameter.
    assert rows[0]["source"] == "jit(run)/block/exp"
    assert contents.buffers(PROGRAM, top=1) == rows[:1]


def test_kernels_and_collectives_count_as_often_as_they_run():
    assert contents.kernels(PROGRAM) == {"__cudnn$fmhaSoftmax": 5}
    (row,) = contents.collectives(PROGRAM)
    assert row == {
        "kind": "all-gather",
        "array": "f32[64,10]",
        "bytes": 64 * 10 * 4,
        "count": 5,
    }


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ([64, 16, 729, 729], True),
        ([729, 736], True),  # One of them rounded up.
        ([1, 3233, 3328], True),
        ([64, 729, 1152], False),
        ([1, 512, 3233], False),  # A chunk of queries.
        ([1, 203, 203], False),  # Shorter than one.
        ([729, 3233], False),
        ([3584, 3584], True),  # Rounded up far, both.
        ([3233, 3584], False),  # That may be a width.
    ],
)
def test_squares_of_lengths_are_found(shape, found):
    row = {"shape": shape}
    lengths = {729, 3233, 203}
    assert contents.forbidden([row], lengths) == [row] * found


class Lowered:
    def as_text(self):
        return (
            "%1 = stablehlo.dot_general %a, %b : (tensor<4xf32>, "
            "tensor<4xf32>) -> tensor<16x729x729xf32>\n"
        )


def test_what_does_not_fit_is_said_with_its_buffers():
    target = targets.get("v5e")
    found = report.refused(LONG, Lowered(), target)
    assert not found["fits"] and found["needs"] == int(19.31 * 1024**3)
    assert found["buffers"][0]["array"] == "f32[64,16,729,729]"
    assert found["buffers"][0]["source"] == "jit(run)/block_0/dot_general"
    found = report.refused(OTHER, Lowered(), target)
    assert found["needs"] == int(23.02 * 1024**3)
    assert found["buffers"][0]["array"] == "f32[16,729,729]"
    assert found["buffers_are"] == "traced"
    with pytest.raises(RuntimeError, match="v5e refuses.*another thing"):
        report.refused("another thing", Lowered(), target)


def test_targets_and_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="v5e, v6e, v5p, h100.*'v4'"):
        targets.get("v4")
    with pytest.raises(ValueError, match="topology of v5p: 1, 4, 8.*chips=3"):
        targets.devices(targets.get("v5p"), 3)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda name: None)
    with pytest.raises(targets.MissingCompiler, match=r"libtpu.*compilers\]"):
        targets.devices(targets.get("v5e"))
