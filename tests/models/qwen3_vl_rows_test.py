"""Samples of Qwen3-VL that share a row are run as they are apart."""

import functools

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts import pruning
from keras_stts.data import SampledVideo
from keras_stts.data import plan_rows
from keras_stts.preprocessing.input_checks import check_inputs
from keras_stts.training import padding
from tests.models import qwen3_vl
from tests.models import tiny
from tests.models.segments_test import at_frames
from tests.models.segments_test import loss_and_slopes
from tests.models.segments_test import with_even_scores
from tests.preprocessing.qwen3_vl_cases import picture
from tests.preprocessing.qwen3_vl_preprocessor_test import make

LIMITS = {"min_pixels": 1024, "max_pixels": 10**6}
LIMITS |= {"image_min_pixels": 1024, "image_max_pixels": 10**5}
# Frames, height and width in pixels: grids of 4, 3, 8 and 1 blocks.
SIZES = [(4, 64, 64), (2, 32, 96), None, (6, 64, 128), (2, 32, 32), None]
LENGTHS = [2, 1, 0, 3, 1, 0]
IMAGES = [[], [], [], [], [picture(64, 96)], [picture(32, 64)]]
# In between is a text alone, at the end one with an image.
ROWS = [[0, 2, 1, 4], [3, 5]]
BUCKETS = [(4, 8)]


def video(seed, size):
    if size is None:
        return None
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")
    return SampledVideo(pixels, np.arange(size[0]) / 2)


RAW = {
    "videos": [video(i, size) for i, size in enumerate(SIZES)],
    "images": IMAGES,
    "prompts": ["what?", "and this?", "no film", "how?", "both", "a photo"],
    "responses": ["one", "two", "none", "by foot", "yes", "of it"],
}


def in_rows(x, rows=ROWS):
    return {
        name: [[values[i] for i in row] for row in rows]
        for name, values in x.items()
    }


def make_preprocessor(num_segments=4, sequence_length=72, **arguments):
    given = {"buckets": BUCKETS, "num_videos": 1, "num_image_blocks": 6}
    given |= {"word_tokens": 12, "time_tokens": 24, **arguments}
    return make(
        LIMITS,
        num_segments=num_segments,
        sequence_length=sequence_length,
        **given,
    )


METHODS = {
    "none": lambda: None,
    "stts": lambda: pruning.STTS(0.5, layer=0),
    "evs": lambda: pruning.EVS(0.5),
    "vidcom2": lambda: pruning.VidCom2(0.5),
    "tome": lambda: pruning.ToMe(0.5),
    "random": lambda: pruning.Random(0.5, layer=0),
    "refilled": lambda: pruning.STTS(0.5, layer=0, refill=True),
}


@functools.cache
def models(name):
    """A model of one sample a row, and one of several, same weights."""
    apart, packed = (
        qwen3_vl.model(
            make_preprocessor(*sizes),
            shallow=True,
            text_layers=2,  # With one, prefixes would not see each other.
            pruning=METHODS[name](),
        )
        for sizes in ((1, 24), (4, 72))
    )
    with_even_scores(apart)
    packed.set_weights(apart.get_weights())
    return apart, packed


@functools.cache
def batches():
    apart, packed = models("none")
    return apart.preprocessor(RAW), packed.preprocessor(in_rows(RAW))


@functools.cache
def outputs(name):
    """Logits and what the backbone gives, apart and packed."""
    return [
        tiny.outputs(model, x)
        for model, (x, *_) in zip(models(name), batches())
    ]


def of_texts(values, x):
    """Those at the real tokens of the texts of packed rows, by sample."""
    samples = {}
    for r, row in enumerate(ROWS):
        for i, sample in enumerate(row):
            own = x["padding_mask"][r] & (x["text_segments"][r] == i)
            samples[sample] = values[r][own]
    return [samples[i] for i in sorted(samples)]


@pytest.mark.parametrize("name", METHODS)
def test_logits_and_kept_blocks_are_those_apart(name):
    (x, *_), (packed_x, *_) = batches()
    apart, packed = outputs(name)
    if name != "random":  # It draws other blocks each time.
        found = of_texts(packed["logits"], packed_x)
        for row, logits in enumerate(found):
            wanted = apart["logits"][row][x["padding_mask"][row]]
            np.testing.assert_allclose(logits, wanted, atol=1e-4)
            assert np.abs(wanted).max() > 0.1
    for key in {"kept", "scores", "similarity"} & set(apart):
        found = at_frames(packed[key], LENGTHS, ROWS)
        for row, (one, length) in enumerate(zip(found, LENGTHS)):
            blocks = x["frame_grids"][row].prod(-1)[0]
            alone = apart[key][row, :length, :blocks]
            if key == "kept":
                assert one.sum() == alone.sum()
                assert not one[:, blocks:].any()
            if name == "random":
                continue
            np.testing.assert_allclose(one[:, :blocks], alone, atol=1e-5)
    if "kept" in apart:
        assert packed["kept"].sum() == apart["kept"].sum()
        # Half of 8, 3, 24 and 1, but all of each first frame.
        assert apart["kept"].sum((1, 2)).tolist() == [4, 3, 0, 12, 1, 0]


@pytest.mark.parametrize("name", ["none", "stts"])
def test_loss_and_gradients_are_those_apart(name):
    (value, slopes), (packed_value, packed_slopes) = (
        loss_and_slopes(model, batch)
        for model, batch in zip(models(name), batches())
    )
    np.testing.assert_allclose(packed_value, value, rtol=1e-5)
    assert set(slopes) == set(packed_slopes)
    for path, wanted in slopes.items():
        if wanted is None:
            assert packed_slopes[path] is None
            continue
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(
            packed_slopes[path], wanted, atol=1e-4 * scale, err_msg=path
        )
    named = "scorer" if name == "stts" else "vision_encoder"
    found = [s for p, s in slopes.items() if named in p and s is not None]
    assert max(np.abs(s).max() for s in found) > 1e-3


def test_no_leak_between_the_samples_of_a_row():
    """All that the first sample shows and says is changed; of the others not
    a bit."""
    _, packed = models("stts")
    x, *_ = batches()[1]
    changed = {name: value.copy() for name, value in x.items()}
    first = (x["frame_segments"][0] == 0) & x["frame_mask"][0]
    changed["videos"][0, first] = 255 - x["videos"][0, first]
    first = x["text_segments"][0] == 0
    changed["token_ids"][0, first] = 7
    before, after = (
        tiny.run(packed, lambda x: packed(x), inputs) for inputs in (x, changed)
    )
    real = x["padding_mask"]
    others = real & (x["text_segments"] > 0)
    tiny.same(before[others], after[others])
    tiny.same(before[1], after[1])
    assert (before[0][first] != after[0][first]).any(-1).all()


def test_fit_evaluate_and_generate():
    apart, packed = (tiny.compile_to_train(m, rate=0.0) for m in models("stts"))
    wanted = apart.evaluate(RAW, batch_size=6, verbose=0, return_dict=True)
    rows = in_rows(RAW)
    found = packed.fit(rows, batch_size=2, verbose=0).history
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4)
    questions = {n: RAW[n][:4] for n in ("videos", "images", "prompts")}
    answers = apart.generate(questions, max_length=24)
    assert packed.generate(questions, max_length=24) == answers
    with pytest.raises(ValueError, match="one sample a row. Received: rows of"):
        packed.generate(in_rows(questions, [[0, 1]]))


@pytest.mark.once
@pytest.mark.parametrize("packed", [False, True])
def test_rows_that_fill_up_a_batch_do_not_count(packed):
    model, batch = models("stts")[packed], batches()[packed]
    tiny.compile_to_train(model)

    def evaluate(x, y, weights):
        options = {"batch_size": len(y), "verbose": 0, "return_dict": True}
        return model.evaluate(x, y, sample_weight=weights, **options)

    wanted = evaluate(*batch)
    filled = padding.fill_up(model, batch, parts=4)
    x, _, weights = filled
    count = len(batch[1])
    missing = -count % 4
    assert len(weights) == count + missing and not weights[count:].any()
    assert not x["padding_mask"][count:].any()
    # One real frame, and its placeholders.
    check_inputs(model.backbone, x)
    assert x["frame_mask"][count:].sum(-1).tolist() == [1] * missing
    found = evaluate(*filled)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)


@pytest.mark.once
def test_inputs_are_those_apart():
    (x, y, weights), (packed, packed_y, packed_weights) = batches()
    pairs = [("vision_token_ids", "vision_mask"), ("token_ids", "padding_mask")]
    pairs += [("vision_positions", "vision_mask")]
    order = sum(ROWS, [])
    for name, mask in pairs:
        alone = [x[name][i][x[mask][i]] for i in order]
        tiny.same(packed[name][packed[mask]], np.concatenate(alone))
    for name in ("videos", "frame_grids"):
        alone = [x[name][i][x["frame_mask"][i]] for i in order]
        tiny.same(packed[name][packed["frame_mask"]], np.concatenate(alone))
    assert packed["frame_segments"].tolist() == [[0, 0, 2, 3], [0, 0, 0, 1]]
    found = [y[i][weights[i] > 0] for i in order]
    tiny.same(packed_y[packed_weights > 0], np.concatenate(found))
    shorter = models("none")[1].preprocessor.shorten(packed, 4)
    for name in packed:
        tiny.same(shorter[name], packed[name])


@pytest.mark.once
def test_planned_rows_fit():
    preprocessor = make_preprocessor()
    lengths = preprocessor.text_lengths(RAW)
    rows = plan_rows(LENGTHS, 4, 4, lengths, 72)
    assert sorted(sum(rows, [])) == list(range(6)) and len(rows) == 2
    x, *_ = preprocessor(in_rows(RAW, rows))
    assert x["frame_mask"].sum() == sum(LENGTHS)


@pytest.mark.once
def test_lists_of_videos_and_images_in_rows():
    preprocessor = make_preprocessor(num_videos=2, buckets=[(5, 8)])
    x = {
        "videos": [[[RAW["videos"][0], RAW["videos"][1]], None], None],
        "images": [[IMAGES[4][0], []], None],
        "prompts": [["two films", "none"], "none"],
    }
    inputs = preprocessor(x)
    assert inputs["frame_mask"].sum(1).tolist() == [3, 0]
    assert inputs["frame_grids"][0, :3].tolist() == [[2, 2], [2, 2], [1, 3]]
    assert inputs["image_grids"].any(-1).tolist() == [[True, False]] + [
        [False, False]
    ]
    assert inputs["text_segments"].max(1).tolist() == [1, 0]


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": [["a"] * 5]}, "5 prompts in a list, num_segments=4"),
        (
            {"videos": [[RAW["videos"][3]] * 2]},
            r"shape=\(6, 8\), .* share its temporal patches, see `keras_stts",
        ),
        (
            {"images": [[IMAGES[4] * 2, IMAGES[5]]]},
            "3 images, num_images=2",
        ),
        ({"videos": [[RAW["videos"][1]]]}, 'In "videos", too, .* 1 in a row'),
    ],
)
def test_rows_that_do_not_fit(changes, message):
    x = {"prompts": [["a", "b"]], "videos": [[RAW["videos"][1]] * 2]}
    with pytest.raises(ValueError, match=message):
        make_preprocessor()({**x, **changes})


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "ids", "message"),
    [
        ("text_segments", [0, 2], "must number the samples .* num_segments=4"),
        ("vision_segments", [1, 0], "must number the samples of a row"),
        ("frame_segments", [0, 0], "placeholders in `vision_segments`"),
        ("vision_segments", [0, 3], "Each sample of a row must have a text"),
    ],
)
def test_preprocessed_segments(name, ids, message):
    _, packed = models("none")
    x = {"prompts": [["a", "b"]], "videos": [[RAW["videos"][1]] * 2]}
    x = packed.preprocessor(x)
    packed.predict(x, verbose=0)
    x[name] = np.repeat([ids], [1] + [x[name].shape[1] - 1], axis=1)
    with pytest.raises(ValueError, match=message):
        packed.predict(x, verbose=0)


@pytest.mark.once
def test_preset_and_config(tmp_path):
    _, packed = models("stts")
    packed.save_to_preset(tmp_path)
    again = keras_stts.VideoVLM.from_preset(str(tmp_path))
    assert again.preprocessor.num_segments == 4
    assert again.backbone.num_segments == 4
    twin = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(packed.preprocessor)
    )
    assert twin.get_config() == packed.preprocessor.get_config()
