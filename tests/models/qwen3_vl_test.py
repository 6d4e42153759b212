"""Qwen3-VL beside transformers', and pruned."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_stts
from keras_stts import pruning
from keras_stts.compiling import compiled
from keras_stts.models.encoding import frames_of
from keras_stts.ops import Reach
from tests.gradients import loss_and_gradients
from tests.harness import to_numpy
from tests.models import qwen3_vl
from tests.models import tiny
from tests.models.qwen3_vl import Sample
from tests.models.tiny import run
from tests.pruning.contrast import Contrast

SAMPLES = {
    "video": Sample((3, 2, 3)),
    "wide video": Sample((2, 1, 5), seed=1),
    "image": Sample(images=[(3, 4)], seed=2),
    "both": Sample((2, 3, 2), images=[(2, 2), (1, 3)], seed=3),
    "text": Sample(seed=4),
}
EVERY = list(SAMPLES.values())
LENGTH = 60  # Of what precedes the texts: a shape is compiled once.
METHODS = {
    "stts": lambda: pruning.STTS(0.5, layer=0),
    "frame_similarity": lambda: pruning.FrameSimilarity(0.5, layer=0),
    "evs": lambda: pruning.EVS(0.5),
    "vidcom2": lambda: pruning.VidCom2(0.5),
    "contrast": lambda: Contrast(ratio=0.5),
}
OTHERS = {
    "tome": lambda: pruning.ToMe(0.4),
    "random": lambda: pruning.Random(0.5),
}
INSIDE = {
    "fastv": lambda: pruning.FastV(2, 0.5),
    "feather": lambda: pruning.Feather((1, 2), 0.6, stride=2),
    "stts and feather": lambda: [
        pruning.STTS(0.5, layer=0),
        pruning.Feather((1, 2), 0.6, stride=2),
    ],
}

# Each is compiled twice, which JAX takes long for.
ALL = [None, *METHODS, *INSIDE]
BUCKETS = ALL[-1:] if keras.config.backend() == "jax" else ALL


@pytest.fixture(scope="module")
def reference():
    return qwen3_vl.reference()


@pytest.fixture(scope="module")
def whole(reference):
    model = qwen3_vl.model()
    qwen3_vl.load(model, reference)
    return model


@pytest.fixture(scope="module")
def wanted(reference):
    """transformers' logits of each sample."""
    return [
        sample.logits(reference).detach().numpy() for sample in SAMPLES.values()
    ]


@pytest.fixture(scope="module")
def pruned(reference, whole):
    """Function of the name of a method: a model that prunes by it."""

    @functools.cache
    def make(name):
        if name is None:
            return whole
        model = qwen3_vl.model(pruning=(METHODS | OTHERS | INSIDE)[name]())
        qwen3_vl.load(model, reference)
        return model

    return make


@functools.cache
def outputs_of(model):
    """Its outputs, compiled once for each shape."""

    def outputs(x):
        found = model.backbone(x)
        return {**found, "logits": model.lm_head(found["hidden_states"])}

    if keras.config.backend() == "jax":
        return compiled(model, outputs)
    return outputs


def inputs(model, samples=EVERY, *, vision_length=LENGTH, **kwargs):
    x = qwen3_vl.inputs(samples, vision_length=vision_length, **kwargs)
    return {name: x[name] for name in model.backbone.input}


def outputs(model, samples=EVERY, changes=None, **kwargs):
    x = {**inputs(model, samples, **kwargs), **(changes or {})}
    x = {name: ops.convert_to_tensor(value) for name, value in x.items()}
    return to_numpy(outputs_of(model)(x))


def logits(model, samples=EVERY, **kwargs):
    return outputs(model, samples, **kwargs)["logits"]


def test_logits_are_transformers(whole, wanted):
    found = logits(whole)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_padding_does_not_matter(whole, wanted):
    names = list(SAMPLES)
    for name in ("video", "both"):
        found = logits(whole, [SAMPLES[name]], vision_length=80)
        place = names.index(name)
        np.testing.assert_allclose(found[0], wanted[place], atol=1e-4)


@pytest.mark.parametrize("name", [*METHODS, "tome", *INSIDE])
def test_each_alone_is_as_in_a_batch(pruned, name):
    model = pruned(name)
    for sample, found in zip(EVERY, logits(model)):
        # Of the same shape, which is compiled once.
        alone = logits(model, [sample] * len(EVERY))
        np.testing.assert_allclose(alone[0], found, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_budget(pruned, name):
    kept = outputs(pruned(name))["kept"]
    for row, sample in zip(kept, EVERY):
        frames, *grid = sample.video or (0, 0, 0)
        number, size = frames * int(np.prod(grid)), int(np.prod(grid))
        assert row.sum() == max(number - number // 2, size)
        assert row[0, :size].all()
        assert not row[:, size:].any() and not row[frames:].any()


@pytest.mark.parametrize("name", ["stts", "frame_similarity"])
def test_packed_layers_are_layers_that_see_kept_patches_alone(pruned, name):
    model = pruned(name)
    tower, method = model.backbone.vision_encoder, model.backbone.pruning
    x = inputs(model, [SAMPLES["video"], SAMPLES["both"]])

    def encode(x):
        frames = frames_of(x)
        found = tower(x["videos"], frames, pruning=method)
        kept = found["selection"].kept
        patches = ops.repeat(kept, 4, axis=-1)
        seen = ops.reshape(patches, (-1, patches.shape[-1]))
        seen = seen | ~ops.any(seen, axis=-1, keepdims=True)
        x = tower.embed(x["videos"], frames)
        shape = (-1, *x.shape[1:])
        x = ops.reshape(x, (-1, *x.shape[2:]))
        attend = tower.attend_frames(frames, 48)
        hidden = tower.run(x, tower.blocks[:1], also={0}, attend=attend)
        x = hidden[0]
        bias = method.attention_bias(found["scores"], frames)
        if bias is not None:
            bias = ops.reshape(ops.repeat(bias, 4, axis=-1), (-1, 1, 1, 48))
        hidden |= tower.run(
            x, tower.blocks[1:2], also={1}, attend=attend, bias=bias
        )
        attend = tower.attend_frames(frames, 48, Reach(marked=seen))
        hidden |= tower.run(hidden[1], tower.blocks[2:], attend=attend)
        hidden = {i: ops.reshape(h, shape) for i, h in hidden.items()}
        return found, tower.features_of_frames(hidden)["features"]

    found, features = run(model, encode, x)
    for row in range(2):
        mask, index = found["selection"].mask[row], found["selection"].index
        np.testing.assert_allclose(
            found["features"][row][mask],
            features[row][index[row][mask]],
            atol=1e-4,
        )


@pytest.mark.parametrize("name", [None, "stts", "evs", "stts and feather"])
def test_prefill_and_steps_are_the_training_graph(pruned, name):
    model = pruned(name)
    graph, x = logits(model), inputs(model)

    def steps(x):
        hidden, prefix, cache = model.prefill(x)
        found = [model.lm_head(hidden)]
        for place in range(2, 4):
            token = x["token_ids"][:, place : place + 1]
            logits, _, cache = model.decode(token, place, cache, prefix)
            found.append(logits)
        return found

    prefill, *later = run(model, steps, x)
    np.testing.assert_allclose(prefill, graph, atol=1e-4)
    for place, found in zip((2, 3), later):
        np.testing.assert_allclose(found, graph[:, place], atol=1e-4)


def training_batch(model):
    x = inputs(model, [SAMPLES["video"], SAMPLES["both"]])
    y = np.roll(x["token_ids"], -1, axis=1)
    return x, y, np.array([[0, 1, 1, 0]] * 2, "float32")


def test_gradients_are_transformers(reference, pruned):
    """Of the loss of two samples: vision, mergers and language model."""
    import torch

    model = pruned(None)
    x, y, _ = training_batch(model)
    samples = [SAMPLES["video"], SAMPLES["both"]]
    loss = 0.0
    for sample, labels in zip(samples, y):
        logits = sample.logits(reference)[1:3]
        labels = torch.tensor(labels[1:3]).long()
        loss = loss + torch.nn.functional.cross_entropy(logits, labels)
    reference.zero_grad()
    (loss / 2).backward()
    wanted = {
        name: weight.grad.numpy()
        for name, weight in reference.named_parameters()
        if weight.grad is not None
    }
    tower, text = "model.visual.", "model.language_model."
    backbone = model.backbone
    names = {
        tower + "pos_embed.weight": backbone.vision_encoder.position_embedding,
        tower + "blocks.0.mlp.linear_fc1.weight": (
            backbone.vision_encoder.blocks[0].mlp_up.kernel
        ),
        tower + "deepstack_merger_list.1.linear_fc2.weight": (
            backbone.connector.mergers[1].down.kernel
        ),
        text + "layers.1.self_attn.k_proj.weight": (
            backbone.language_model.transformer_layers[1].key.kernel
        ),
    }
    x = {name: ops.convert_to_tensor(value) for name, value in x.items()}

    def loss_of(scale):
        logits = model(x)[:, 1:3] * scale
        each = keras.losses.sparse_categorical_crossentropy(
            y[:, 1:3], logits, from_logits=True
        )
        return ops.mean(each)

    found = loss_and_gradients(loss_of, np.float32(1), list(names.values()))[2]
    for name, slope in zip(names, found):
        slope = slope if name.endswith("pos_embed.weight") else slope.T
        scale = np.abs(wanted[name]).max()
        np.testing.assert_allclose(slope, wanted[name], atol=1e-3 * scale)


def test_fit_trains_the_scorer_by_both_losses():
    model = qwen3_vl.model(shallow=True, pruning=pruning.STTS(0.5, layer=0))
    tiny.compile_to_train(model, rate=0.01)
    x, y, weights = training_batch(model)
    scorer = model.backbone.pruning.scorer
    before = [to_numpy(w) for w in scorer.weights]
    history = model.fit(
        x, y, sample_weight=weights, batch_size=2, epochs=4, verbose=0
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert all(value > 0 for value in history["aux_loss"])
    for one, other in zip(before, scorer.weights):
        assert (one != to_numpy(other)).any()


def test_preset(pruned, tmp_path):
    model = pruned("stts")
    model.save_to_preset(tmp_path)
    again = keras_stts.VideoVLM.from_preset(str(tmp_path))
    np.testing.assert_allclose(logits(again), logits(model), atol=1e-6)
    other = keras_stts.VideoVLM.from_preset(
        str(tmp_path), pruning="evs", prune_ratio=0.3
    )
    assert isinstance(other.backbone.pruning, pruning.EVS)
    assert other.backbone.prune_ratio == 0.3


def test_counts(pruned):
    whole, half = pruned(None), pruned("stts")
    ratio = half.flops()["total"] / whole.flops()["total"]
    assert 0.4 < ratio < 0.9
    assert half.flops(prune_ratio=0.0)["total"] == whole.flops()["total"]
    numbers = sum(int(np.prod(weight.shape)) for weight in whole.weights)
    assert whole.memory()["weights"] == 4 * numbers


def test_merging_does_not_see_padding(reference, pruned):
    """A tower that was made for larger frames merges as one without room."""
    sample = SAMPLES["video"]
    small = qwen3_vl.model(
        num_blocks=6, num_images=0, pruning=pruning.ToMe(0.4)
    )
    qwen3_vl.load(small, reference)
    wanted = logits(small, [sample], num_blocks=6)[0]
    found = logits(pruned("tome"))[list(SAMPLES).index("video")]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("name", BUCKETS)
def test_a_smaller_bucket_is_the_same(pruned, name):
    model = pruned(name)
    small = logits(model, num_blocks=6, vision_length=LENGTH - 18)
    np.testing.assert_allclose(small, logits(model), atol=1e-4)


def test_random_keeps_real_blocks(pruned):
    kept = outputs(pruned("random"))["kept"]
    assert kept[0].sum() == 9 and kept[1].sum() == 5
    assert kept[0, 0, :6].all() and not kept[0, :, 6:].any()


def test_bad_inputs_are_refused(pruned):
    model = pruned("stts")
    x = inputs(model, [SAMPLES["video"]])
    large = np.full_like(x["frame_grids"], 4)
    cases = {
        "at most 12 blocks": {"frame_grids": large},
        "placeholder": {"frame_grids": np.ones_like(large)},
        "must have room": {
            name: x[name][:, :30]
            for name in ("vision_token_ids", "vision_mask", "vision_positions")
        },
    }
    for message, changes in cases.items():
        with pytest.raises(ValueError, match=message):
            model.predict({**x, **changes}, verbose=0)


def test_kept_tokens_keep_their_positions(pruned):
    """Numbered anew they would lie elsewhere, and answers would differ."""
    model = pruned("stts")
    x, plain = inputs(model), outputs(model)
    kept = plain["kept"][0, :, :6]
    ids, mask = x["vision_token_ids"][0], x["vision_mask"][0].copy()
    mask[np.flatnonzero(ids == qwen3_vl.VIDEO)] = kept.ravel()
    _, prefix, _ = run(model, model.prefill, x)
    real = prefix["masks"][0][0]
    found = prefix["positions"][0][0][real]
    assert (found == x["vision_positions"][0][mask]).all()
    assert prefix["length"][0] == x["vision_positions"][0].max() + 1
    anew = x["vision_positions"].copy()
    anew[0, mask] = np.arange(mask.sum())[:, None]
    anew[0, ~mask] = 0
    other = outputs(model, changes={"vision_positions": anew})
    assert np.abs(plain["logits"] - other["logits"])[0].max() > 0.01


def as_published(embeddings, ratio):
    """Which blocks EVS keeps of a video (T, P, D), as vLLM defines it."""
    frames, blocks = embeddings.shape[:2]
    count = max(blocks, int(frames * blocks * (1 - ratio)))
    norm = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    unit = embeddings / norm
    change = 1 - (unit[1:] * unit[:-1]).sum(-1)
    # The first frame comes before all others.
    scores = np.concatenate([np.full((1, blocks), 255.0), change]).ravel()
    kept = np.zeros(scores.size, bool)
    kept[np.argsort(-scores, kind="stable")[:count]] = True
    return kept.reshape(frames, blocks)


@pytest.mark.parametrize("ratio", [0.5, 0.3])
def test_evs_keeps_what_vllm_does(reference, whole, ratio):
    """Of the mergers' output, whatever else is in the batch."""
    model = qwen3_vl.model(pruning=pruning.EVS(ratio))
    qwen3_vl.load(model, reference)
    kept = outputs(model)["kept"]
    x = {n: ops.convert_to_tensor(v) for n, v in inputs(whole).items()}
    seen = whole.backbone.vision_encoder(x["videos"], frames_of(x))
    embeddings, *_ = whole.backbone.connector(seen["features"])
    embeddings = ops.convert_to_numpy(embeddings)
    for row, sample in enumerate(EVERY):
        if sample.video is None:
            continue
        number, *grid = sample.video
        each = embeddings[row].reshape(len(kept[row]), -1, 48)
        each = each[:number, : np.prod(grid)]
        wanted, found = as_published(each, ratio), kept[row]
        found = found[:number, : np.prod(grid)]
        # The budget here may have one block more.
        assert 0 <= found.sum() - wanted.sum() <= 1
        assert found[wanted].all() and kept[row].sum() == found.sum()
