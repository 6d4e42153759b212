"""Agreement with the published code's figures, gradients included."""

import numpy as np
import pytest
from keras import ops

from keras_stts.ops import auxiliary_loss
from tests.models import golden_cases as cases
from tests.models import tiny
from tests.models.golden_cases import REFILLED
from tests.models.golden_cases import TOLERANCE
from tests.models.golden_cases import VIDEOS


@pytest.mark.parametrize("name", VIDEOS + REFILLED)
def test_scores_and_selection(name):
    golden, got = cases.outputs(name)
    tiny.same(got["selection"].kept[0], golden["kept_blocks"])
    tiny.close(got["scores"][0], golden["scores"], TOLERANCE)
    if name in REFILLED:
        return
    tiny.close(
        got["similarity"][0, 1:], golden["neighbor_similarity"], TOLERANCE
    )


@pytest.mark.parametrize("name", VIDEOS + REFILLED)
def test_hidden_states(name):
    golden, _ = cases.outputs(name)
    kept = golden["kept_tokens"][..., None]
    for block in (3, 4, 6):
        tiny.close(
            cases.hidden_after(name, block),
            golden[f"hidden_after_block{block}"] * kept,
            TOLERANCE,
        )


@pytest.mark.parametrize("name", VIDEOS)
def test_losses(name):
    golden, got = cases.outputs(name)
    task = np.sum(cases.hidden_after(name, 6) * golden["loss_target"])
    task /= golden["kept_tokens"].sum()
    aux = auxiliary_loss(got["scores"], got["similarity"])
    aux = float(ops.convert_to_numpy(aux))
    for value, wanted in (
        (task, "task_loss"),
        (aux, "aux_mse"),
        (task + 0.5 * aux, "loss"),
    ):
        np.testing.assert_allclose(value, golden[wanted], atol=TOLERANCE)


@pytest.mark.parametrize("name", VIDEOS)
def test_gradients(name):
    golden, value, patch_gradient, gradients = cases.slopes(name)
    np.testing.assert_allclose(value, golden["loss"], atol=TOLERANCE)
    tiny.close(patch_gradient, golden["grad/patches"], TOLERANCE)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(
            gradient, golden[key], atol=TOLERANCE, err_msg=key
        )
    parts = ("grad/resblocks", "grad/temporal")
    assert len(gradients) == sum(key.startswith(parts) for key in golden)


def test_molmo2_unpruned_equals_transformers():
    golden, logits = cases.unpruned_logits()
    tiny.close(logits[0], golden["logits_unpruned"], TOLERANCE)


@pytest.mark.filterwarnings("ignore:.*holds no token scorer")
def test_molmo2_pruned():
    golden, (kept, scores, logits) = cases.pruned_logits()
    tiny.same(kept[0], golden["kept_blocks"])
    tiny.close(scores[0], golden["scores"], TOLERANCE)
    tiny.close(logits[0], golden["logits"], TOLERANCE)
