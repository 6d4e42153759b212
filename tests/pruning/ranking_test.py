"""Rankings beside plain NumPy, and beside figures of published code."""

import json
import pathlib

import keras
import numpy as np
import pytest

from keras_stts import pruning
from keras_stts.ops import Frames
from tests.harness import compiled
from tests.pruning.contrast import Contrast

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "vidcom2.npz")
METHODS = {
    "random": lambda: pruning.Random(seed=3),
    "frame_similarity": pruning.FrameSimilarity,
    "evs": pruning.EVS,
    "vidcom2": lambda: pruning.VidCom2(channels=0.7, temperature=0.2),
    "contrast": lambda: Contrast(power=3),
}
LENGTHS = (4, 2, 3)


def videos(lengths=LENGTHS, num_frames=4):
    """Blocks (B, T, 9, 16) with noise for padding, and their mask."""
    rng = np.random.default_rng(0)
    shape = (len(lengths), num_frames, 9, 16)
    mask = np.arange(num_frames) < np.array(lengths)[:, None]
    return rng.normal(size=shape).astype("float32"), mask


def similar_frames():
    """As frames of one video are."""
    rng = np.random.default_rng(1)
    still = rng.normal(size=(1, 1, 9, 16))
    return (still + 0.3 * rng.normal(size=(2, 6, 9, 16))).astype("float32")


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def evs(x):
    """Of one video (T, P, F), frame 0 aside."""
    x = unit(x)
    return 1 - (x[1:] * x[:-1]).sum(-1)


def kernels(x, center):
    distance = np.square(x - center).sum(-1)
    return sum(np.exp(-distance / (2 * 2.0**k)) for k in range(-3, 2))


def vidcom2(x, channels, temperature):
    """Kernels (T, P) and shares (T,) of one video (T, P, F)."""
    variance = x.reshape(-1, x.shape[-1]).var(0)
    x = unit(x[..., np.argsort(variance)[: int(len(variance) * channels)]])
    to_video = kernels(x, x.mean((0, 1)))
    to_frame = kernels(x, x.mean(1, keepdims=True))
    logits = -to_video.mean(1) / temperature
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return to_video + to_frame, 1 + p - p.mean()


def vidcom2_scores(kernels, shares):
    rank = np.argsort(np.argsort(kernels, axis=-1), axis=-1)
    return shares[:, None] / (rank + 0.5)


@pytest.mark.parametrize("name", ["evs", "frame_similarity"])
def test_one_minus_the_cosine_with_the_frame_before(name):
    x, _ = videos()
    found = compiled(pruning.get(name))(x)
    for scores, video in zip(found, x):
        np.testing.assert_allclose(scores[1:], evs(video), atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{}, {"channels": 0.75, "temperature": 0.1}, {"channels": 1.0}],
    ids=str,
)
def test_vidcom2_by_its_formula(settings):
    x = similar_frames()
    found = compiled(pruning.VidCom2(**settings))(x)
    settings = {"channels": 0.5, "temperature": 0.01, **settings}
    for scores, video in zip(found, x.astype("float64")):
        wanted = vidcom2_scores(*vidcom2(video, **settings))
        np.testing.assert_allclose(scores, wanted, rtol=1e-3)


def test_vidcom2_has_the_figures_of_the_published_code():
    blocks, kernels, shares = (GOLDEN[name] for name in GOLDEN)
    found = compiled(pruning.VidCom2())(blocks[None])[0]
    np.testing.assert_allclose(
        found, vidcom2_scores(kernels, shares), rtol=1e-4
    )
    assert np.ptp(shares) > 0.05  # Frames differ in what they get.
    # Frames keep what the published budgets give them, within a block.
    total = int(np.round(0.4 * shares * 9).sum())
    kept = found >= np.sort(found.ravel())[-total]
    assert kept.sum() == total
    published = np.round(0.4 * shares * 9)
    assert np.abs(kept.sum(1) - published).max() <= 1


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"random"}))
def test_padding_and_other_videos_of_a_row_do_not_matter(name):
    method = METHODS[name]()
    x, mask = videos()
    alone = [
        compiled(method)(video[None, :length])[0]
        for video, length in zip(x, LENGTHS)
    ]
    padded = compiled(lambda x, mask: method(x, Frames(mask)))(x, mask)
    row = np.concatenate([x[mask], x[0, :2]])[None]
    real = np.arange(len(row[0])) < sum(LENGTHS)
    segments = np.repeat([0, 1, 2, 2], [*LENGTHS, 2])[None].astype("int32")
    packed = compiled(lambda x, mask, ids: method(x, Frames(mask, ids)))(
        row, real[None], segments
    )[0]
    starts = np.cumsum((0, *LENGTHS))
    for scores, one, start, length in zip(padded, alone, starts, LENGTHS):
        np.testing.assert_allclose(scores[:length], one, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            packed[start : start + length], one, rtol=1e-4, atol=1e-5
        )
    assert np.isfinite(packed).all()


def test_random_is_uniform_and_seeded():
    x, _ = videos()
    method = pruning.Random(seed=5)
    draws = [np.array(keras.ops.convert_to_numpy(method(x))) for _ in range(2)]
    assert draws[0].shape == (3, 4, 9)
    assert (draws[0] != draws[1]).any()
    again = keras.ops.convert_to_numpy(pruning.Random(seed=5)(x))
    np.testing.assert_array_equal(again, draws[0])


@pytest.mark.parametrize("name", [*METHODS, "tome", "stts"])
def test_configs_survive_json(name):
    method = METHODS.get(name, lambda: pruning.get(name))()
    config = json.loads(json.dumps(pruning.serialize(method)))
    twin = pruning.get(config)
    assert type(twin) is type(method) and twin is not method
    assert pruning.serialize(twin) == pruning.serialize(method)
    assert pruning.get(method) is method


def test_a_method_can_have_another_place():
    assert pruning.EVS().place == "connector"
    moved = pruning.get(pruning.serialize(pruning.Random(place="connector")))
    assert moved.place == "connector"
    assert pruning.Random().place == "vision_encoder"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pruning.get("best"), "one of stts, random, .*tome.*'best'"),
        (lambda: pruning.get(pruning.EVS), "an instance of one .*class"),
        (lambda: pruning.Random(place="end"), "one of vision_encoder, conn"),
        (lambda: pruning.STTS(place="connector"), "biases the attention"),
        (lambda: pruning.VidCom2(channels=0), "channels=0, temperature=0.01"),
        (lambda: pruning.VidCom2(temperature=0), "temperature=0."),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_ranking_must_rank():
    with pytest.raises(NotImplementedError, match="must implement `call"):
        pruning.Ranking()(videos()[0])
