"""The notebooks run, and what is stored beside them is theirs."""

import pytest

from tests import notebooks

pytestmark = pytest.mark.once
# What each prints in its small mode, when it has done what it is for.
PRINTED = {
    "compare_on_your_data": ["STTS 50%", "vision tokens", "prefill, GFLOP"],
    "eight_chips": ["8 devices", "('batch', None)"],
    "first_look": ["half pruned: ", "ms a prefill of 8"],
    "teach_a_question": ["unreadable", "000000.mp4", "of 4 right"],
    "train_a_scorer": ["aux_loss: [", "trained scorer, half", "True"],
}
ONLY_JAX = {"eight_chips"}


def test_names():
    assert notebooks.names() == sorted(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_stored_notebook_is_the_script_and_was_run(name):
    """`python -m tests.notebooks NAME` runs it and writes it anew."""
    script, stored = notebooks.read(name), notebooks.stored(name)
    kinds = [(cell.cell_type, cell.source) for cell in script.cells]
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == kinds
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1))
    assert "MINUTES" not in stored.cells[0].source
    assert "/tmp" not in notebooks.printed(stored)
    assert str(notebooks.ROOT) not in notebooks.printed(stored)
    for cell in code:
        assert all(each.output_type != "error" for each in cell.outputs)


@pytest.mark.parametrize("name", PRINTED)
def test_runs_small(name, tmp_path):
    environment = {"KERAS_BACKEND": "jax"} if name in ONLY_JAX else {}
    notebook = notebooks.read(name)
    notebooks.execute(notebook, tmp_path, SMALL="1", **environment)
    text = notebooks.printed(notebook)
    for words in PRINTED[name]:
        assert words in text
