"""An output head that is the token embedding: one variable."""

import shutil

import keras
import numpy as np
import pytest
from keras import ops

import keras_stts
from keras_stts import language
from tests.harness import to_numpy
from tests.models import from_qwen3_vl_test as cases
from tests.models import qwen3_vl
from tests.models.files_qwen3_vl_test import saved  # noqa: F401
from tests.models.qwen3_vl import Sample
from tests.models.tiny import run

RATE = 0.5
SAMPLE = Sample((3, 2, 3))
LABELS = np.array([[10, 11, 12, 13]])
WEIGHTS = np.array([[0.0, 1.0, 1.0, 0.0]], "float32")


@pytest.fixture(scope="module")
def reference():
    pytest.importorskip("torch")
    return qwen3_vl.reference(tied=True)


def test_a_step_is_transformers(reference):
    """The gradient is the sum of the embedding's and the head's."""
    import torch

    model = qwen3_vl.model(tied=True, pruning=None)
    qwen3_vl.load(model, reference)
    x = qwen3_vl.inputs([SAMPLE])
    x = {name: x[name] for name in model.backbone.input}
    logits = SAMPLE.logits(reference)
    np.testing.assert_allclose(
        to_numpy(run(model, model, x))[0], logits.detach(), atol=1e-4
    )
    losses = torch.nn.functional.cross_entropy(
        logits, torch.tensor(LABELS[0]), reduction="none"
    )
    reference.zero_grad()
    (losses[1:3].mean()).backward()
    model.compile(optimizer=keras.optimizers.SGD(RATE))
    model.fit(x, LABELS, sample_weight=WEIGHTS, batch_size=1, verbose=0)
    decoder = model.backbone.language_model
    found = {
        "embed_tokens.weight": decoder.token_embedding.embeddings,
        "norm.weight": decoder.layer_norm.scale,
    }
    for name, variable in found.items():
        weight = reference.get_parameter(f"model.language_model.{name}")
        wanted = (weight - RATE * weight.grad).detach()
        assert np.abs(weight.grad).max() > 1e-3
        np.testing.assert_allclose(to_numpy(variable), wanted, atol=1e-5)


def test_one_variable():
    tied, own = (qwen3_vl.model(tied=t, pruning=None) for t in (True, False))
    names = {variable.path for variable in own.weights}
    assert names - {v.path for v in tied.weights} == {"lm_head/kernel"}
    assert not tied.lm_head.weights
    table = tied.backbone.token_embedding.embeddings
    hidden = np.random.default_rng(0).normal(size=(2, 3, 48)).astype("float32")
    np.testing.assert_allclose(
        to_numpy(tied.lm_head(ops.convert_to_tensor(hidden))),
        hidden @ to_numpy(table).T,
        atol=1e-5,
    )


def test_ids_that_are_inputs_only_are_refused():
    with pytest.raises(ValueError, match="tie_embeddings=True, additional_v"):
        language.LanguageModel(
            20,
            1,
            8,
            num_query_heads=2,
            num_key_value_heads=1,
            head_dim=4,
            intermediate_dim=8,
            tie_embeddings=True,
        )


@pytest.fixture
def loaded(saved, tmp_path):  # noqa: F811
    """Tuple (folder, ours), tied."""
    folder = tmp_path / "theirs"
    shutil.copytree(saved[0], folder)
    cases.checkpoint(folder, tied=True)
    return folder, load(folder)


def load(folder, **arguments):
    arguments = {"pruning": None, "buckets": cases.BUCKETS, **arguments}
    return keras_stts.VideoVLM.from_preset(str(folder), **arguments)


def logits_of(model):
    x = {"videos": [cases.frames()], "prompts": ["why?"], "fps": 2.0}
    x = model.preprocessor.generate_preprocess(x)
    mask = x["padding_mask"][0]
    return to_numpy(run(model, model, x))[0][mask]


def train(model):
    x = {"videos": [cases.frames()], "prompts": ["why?"], "fps": 2.0}
    model.fit({**x, "responses": ["so"]}, batch_size=1, verbose=0)


@pytest.mark.once
def test_stays_tied_when_trained_saved_and_exported(loaded, tmp_path):
    _, model = loaded
    before = to_numpy(model.backbone.token_embedding.embeddings).copy()
    train(model)
    assert np.abs(
        to_numpy(model.backbone.token_embedding.embeddings) - before
    ).max()
    wanted = logits_of(model)
    model.save_to_preset(tmp_path / "keras")
    model.compile()  # Without what the optimizer keeps.
    model.save_weights(tmp_path / "whole.weights.h5")
    model.export_to_transformers(tmp_path / "exported")
    for folder in ("keras", "exported"):
        again = load(tmp_path / folder)
        assert not again.lm_head.weights
        np.testing.assert_array_equal(logits_of(again), wanted)
    again = load(loaded[0])
    again.load_weights(tmp_path / "whole.weights.h5")
    np.testing.assert_array_equal(logits_of(again), wanted)


@pytest.mark.once
def test_untied_on_request(loaded, tmp_path):
    folder, model = loaded
    own = load(folder, tie_embeddings=False)
    np.testing.assert_allclose(logits_of(own), logits_of(model), atol=1e-5)
    train(own)
    own.export_to_transformers(tmp_path / "own")
    with pytest.raises(ValueError, match="tie_embeddings=True for"):
        load(tmp_path / "own", tie_embeddings=True)
    np.testing.assert_array_equal(
        logits_of(load(tmp_path / "own")), logits_of(own)
    )
    model.save_to_preset(tmp_path / "tied")
    again = load(tmp_path / "tied", tie_embeddings=False)
    assert again.lm_head.weights
    np.testing.assert_allclose(logits_of(again), logits_of(model), atol=1e-5)
    own.save_to_preset(tmp_path / "keras")
    with pytest.raises(ValueError, match="tie_embeddings=True for"):
        load(tmp_path / "keras", tie_embeddings=True)


@pytest.mark.once
def test_factors_of_the_embedding_are_of_both(loaded, tmp_path):
    folder, model = loaded
    with pytest.raises(ValueError, match="lm_head is unknown"):
        model.enable_lora(2, ["lm_head"])
    model.enable_lora(2, ["token_embedding"])
    layer = model.backbone.token_embedding
    layer.lora_embeddings_a.assign(np.full((280, 2), 0.1))
    layer.lora_embeddings_b.assign(np.full((2, 48), 0.3))
    assert np.abs(logits_of(model) - logits_of(load(folder))).max() > 0.1
    model.export_to_transformers(tmp_path / "merged")
    again = load(tmp_path / "merged")
    np.testing.assert_allclose(logits_of(again), logits_of(model), atol=1e-4)
    model.save_lora_weights(tmp_path / "a.lora.h5")
    again = load(folder)
    again.load_lora_weights(tmp_path / "a.lora.h5")
    np.testing.assert_allclose(logits_of(again), logits_of(model), atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantized(mode, loaded, tmp_path):
    folder, model = loaded
    wanted = logits_of(model)
    model.quantize(mode)
    found = logits_of(model)
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 0 < error < (0.1 if mode == "int8" else 0.9)
    model.save_to_preset(tmp_path / "keras")
    np.testing.assert_array_equal(logits_of(load(tmp_path / "keras")), found)
    model.enable_lora(2, ["token_embedding"])
    np.testing.assert_allclose(logits_of(model), found, atol=1e-4)


@pytest.mark.once
def test_memory_counts_it_once(loaded):
    folder, model = loaded
    own = load(folder, tie_embeddings=False)
    for phase in ("fit", "generate"):
        memory = model.memory(phase=phase)
        assert memory.table["head"]["weights"] == 0
        less = own.memory(phase=phase)["weights"] - memory["weights"]
        assert less == 4 * 280 * 48
        asked = {"pruning": None, "phase": phase, "num_frames": 8}
        with_own, tied = (
            keras_stts.VideoVLM.memory_of(str(folder), **asked, **more)
            for more in ({"tie_embeddings": False}, {})
        )
        assert with_own["weights"] - tied["weights"] == less
