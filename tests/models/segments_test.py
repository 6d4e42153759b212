"""Samples that share a row are run as they are apart."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_stts.data import plan_rows
from tests.gradients import loss_and_gradients
from tests.models import tiny

LENGTHS = (3, 1, 4, 2, 2)
ROWS = [[0, 1, 4], [2, 3]]
ROOM = {"num_segments": 3, "num_frames": 8}
RAW = tiny.raw(LENGTHS)


def in_rows(x, rows=ROWS):
    return {
        name: [[values[i] for i in row] for row in rows]
        for name, values in x.items()
    }


@functools.cache
def models(sharp=True, **kwargs):
    """A model of one sample a row, and one of several, same weights."""
    kwargs = {"num_layers": 2, **kwargs}
    apart = tiny.shallow(sharp, **kwargs)
    processor = tiny.preprocessor(
        ROOM["num_frames"], num_segments=3, sequence_length=72
    )
    packed = tiny.shallow(processor=processor, **ROOM, **kwargs)
    packed.set_weights(apart.get_weights())
    return apart, packed


@functools.cache
def batches():
    apart, packed = models()
    return apart.preprocessor(RAW), packed.preprocessor(in_rows(RAW))


@functools.cache
def outputs(**kwargs):
    """Logits and what the backbone gives, apart and packed."""
    return [
        tiny.outputs(model, x)
        for model, (x, *_) in zip(models(**kwargs), batches())
    ]


def at_frames(values, lengths=LENGTHS, rows=ROWS):
    """Those of real frames of a packed batch, sample by sample."""
    samples = {}
    for row, items in zip(values, rows):
        start = 0
        for i in items:
            samples[i] = row[start : start + lengths[i]]
            start += lengths[i]
    return [samples[i] for i in sorted(samples)]


def answers(values, weights, rows=None):
    """Those at the responses, in the order of the samples."""
    if rows is None:
        return np.concatenate([v[w > 0] for v, w in zip(values, weights)])
    apart = batches()[0][2]
    samples = {}
    for row, value, weight in zip(rows, values, weights):
        found, counts = value[weight > 0], [int(apart[i].sum()) for i in row]
        samples |= dict(zip(row, np.split(found, np.cumsum(counts)[:-1])))
    return np.concatenate([samples[i] for i in sorted(samples)])


VARIANTS = [
    {},
    {"pruning": "vidcom2"},
    {"prune_ratio": 0.0},
    {"pruning": "frame_similarity", "positions": "original"},
    {"prune_ratio": 0.3, "refill": True, "rescale_axis": "frame"},
]
each_variant = pytest.mark.parametrize("kwargs", VARIANTS, ids=str)


@each_variant
def test_logits_and_kept_blocks_are_those_apart(kwargs):
    (_, y, weights), (_, packed_y, packed_weights) = batches()
    apart, packed = outputs(**kwargs)
    wanted = answers(apart["logits"], weights)
    tiny.close(answers(packed["logits"], packed_weights, ROWS), wanted)
    assert np.abs(wanted).max() > 0.1
    tiny.same(answers(packed_y, packed_weights, ROWS), answers(y, weights))
    for name in {"kept", "scores", "similarity"} & set(apart):
        found = at_frames(packed[name])
        for got, alone, length in zip(found, apart[name], LENGTHS):
            if name == "kept":
                tiny.same(got, alone[:length])
            else:
                tiny.close(got, alone[:length])
    if "kept" in apart:
        assert packed["kept"].sum() == apart["kept"].sum()


def loss_and_slopes(model, batch):
    """Loss with the auxiliary one, and its gradients in all weights."""
    x, y, weights = keras.tree.map_structure(ops.convert_to_tensor, batch)
    x = {name: x[name] for name in model.input}
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )

    def total(factor):
        logits = model(x, training=True)
        return factor * (loss(y, logits, weights) + sum(model.losses))

    variables = model.trainable_variables
    value, _, slopes = loss_and_gradients(total, np.float32(1.0), variables)
    return value, dict(zip([v.path for v in variables], slopes))


def with_even_scores(model):
    """Weights of which no score is near 0 or 1, where slopes vanish, nor
    near its neighbour's, where that of the bias is too steep to compare."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            weights = rng.normal(size=variable.shape)
            variable.assign(weights / np.sqrt(variable.shape[0]))
    return model


def test_loss_and_gradients_are_those_apart():
    (value, slopes), (packed_value, packed_slopes) = (
        loss_and_slopes(with_even_scores(model), batch)
        for model, batch in zip(models(sharp=False), batches())
    )
    np.testing.assert_allclose(packed_value, value, rtol=1e-5)
    assert set(slopes) == set(packed_slopes)
    for path, wanted in slopes.items():
        if wanted is None:
            assert packed_slopes[path] is None
            continue
        np.testing.assert_allclose(
            packed_slopes[path], wanted, rtol=1e-4, atol=1e-4, err_msg=path
        )
    scorer = [s for p, s in slopes.items() if "scorer" in p and s is not None]
    assert max(np.abs(s).max() for s in scorer) > 1e-3


def test_no_leak_between_the_samples_of_a_row():
    """All that the first sample shows and says is changed; of the others not
    a bit."""
    _, packed = models()
    x, _, weights = batches()[1]
    changed = {name: value.copy() for name, value in x.items()}
    first = x["frame_segments"][0] == 0
    changed["videos"][0, first] = 255 - x["videos"][0, first]
    first = x["text_segments"][0] == 0
    changed["token_ids"][0, first] = 7
    before, after = (
        tiny.run(packed, packed, inputs) for inputs in (x, changed)
    )
    real = x["padding_mask"]
    others = real & (x["text_segments"] > 0)
    tiny.same(before[others], after[others])
    tiny.same(before[1], after[1])
    assert (before[0][first] != after[0][first]).any(-1).all()
    assert weights[others].sum() > 0


def test_row_of_one_sample_is_an_unpacked_row():
    apart, packed = models()
    x, y, weights = packed.preprocessor(RAW)
    assert x["text_segments"].max() == x["frame_segments"].max() == 0
    nested = packed.preprocessor(in_rows(RAW, [[i] for i in range(5)]))
    for one, other in zip(
        keras.tree.flatten(nested), keras.tree.flatten((x, y, weights))
    ):
        tiny.same(one, other)
    x = packed.preprocessor.shorten(x, tiny.NUM_FRAMES)
    found = tiny.run(packed, packed, x)
    wanted = outputs()[0]["logits"]
    tiny.close(answers(found, weights), answers(wanted, batches()[0][2]))
    tiny.same(y[:, : tiny.LENGTH], batches()[0][1])


def test_fit_and_evaluate_rows():
    apart, packed = (tiny.compile_to_train(m, rate=0.0) for m in models())
    wanted = apart.evaluate(RAW, batch_size=5, verbose=0, return_dict=True)
    rows = in_rows(RAW)
    found = packed.fit(rows, batch_size=2, verbose=0).history
    batch = tf.data.Dataset.from_tensor_slices(batches()[1]).batch(2)
    again = packed.fit(batch, verbose=0).history
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4)
        np.testing.assert_allclose(again[name], value, atol=1e-4)
    assert packed.predict(rows, verbose=0).shape == (2, 72, 320)


def test_generate_one_sample_a_row():
    apart, packed = (tiny.compile_to_train(m) for m in models())
    x = {**RAW, "prompts": RAW["prompts"]}
    x.pop("responses")
    wanted = apart.generate(x, max_length=tiny.LENGTH)
    assert packed.generate(x, max_length=tiny.LENGTH) == wanted
    message = "one sample a row. Received: rows of up to 3 samples"
    with pytest.raises(ValueError, match=message):
        packed.generate(in_rows(x))


def test_planned_rows_are_full_and_fit():
    _, packed = models()
    lengths = packed.preprocessor.text_lengths(RAW)
    x = batches()[0][0]
    assert lengths == (x["padding_mask"].sum(1)).tolist()
    rows = plan_rows(LENGTHS, 8, 3, lengths, 72)
    assert sorted(i for row in rows for i in row) == [0, 1, 2, 3, 4]
    assert len(rows) == 2
    x, *_ = packed.preprocessor(in_rows(RAW, rows))
    assert x["frame_mask"].sum() == sum(LENGTHS)


def test_conversations_rates_and_single_samples_in_rows():
    _, packed = models()
    talk = [{"role": "user", "content": "what?"}]
    x = {
        "videos": [[RAW["videos"][0], RAW["videos"][1]], RAW["videos"][3]],
        "prompts": [[talk, "and?"], talk],
        "fps": [[1.0, 2.0], 0.5],
    }
    inputs = packed.preprocessor(x)
    alone = packed.preprocessor(
        {
            "videos": [RAW["videos"][i] for i in (0, 1, 3)],
            "prompts": ["what?", "and?", "what?"],
            "fps": [1.0, 2.0, 0.5],
        }
    )
    for ids, mask in (
        ("vision_token_ids", "vision_mask"),
        ("token_ids", "padding_mask"),
    ):
        tiny.same(inputs[ids][inputs[mask]], alone[ids][alone[mask]])
    assert inputs["frame_segments"][0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert not inputs["frame_segments"][1].any()


ONE = [[RAW["videos"][1]] * 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": [["a"] * 4]}, "4 prompts in a list, num_segments=3"),
        ({"videos": [ONE[0][:1]]}, 'In "videos", too, .* Received: 1 in a row'),
        ({"responses": ["yes"]}, 'In "responses", too, .* Received: str in a'),
        ({"videos": [[tiny.video(0, 8)] * 2]}, r"row of 8 \+ 8 frames, num_f"),
        ({"responses": [["a " * 40] * 2]}, "those of a row together"),
        ({"prompts": [["a"], ["b"]]}, "as many videos as prompts"),
    ],
)
def test_rows_that_do_not_fit(changes, message):
    _, packed = models()
    x = {"videos": ONE, "prompts": [["a", "b"]], "responses": [["c", "d"]]}
    packed.preprocessor(x)
    with pytest.raises(ValueError, match=message):
        packed.preprocessor({**x, **changes})


def test_rows_need_num_segments():
    apart, packed = models()
    message = r"num_segments=1. Load the model with `from_preset\(..., num_seg"
    with pytest.raises(ValueError, match=message):
        apart.preprocessor({"videos": ONE, "prompts": [["a", "b"]]})
    for changes in ({"num_segments": 0}, {"num_segments": 2, "num_images": 1}):
        with pytest.raises(ValueError, match="samples that a row can hold"):
            tiny.shallow(**changes)
    with pytest.raises(ValueError, match="must agree on .*num_segments"):
        tiny.shallow(processor=tiny.preprocessor(8), **ROOM)


@pytest.mark.parametrize(
    ("name", "ids", "message"),
    [
        ("text_segments", [0, 2], "must number the samples .* num_segments=3"),
        ("text_segments", [1, 1], "0, 1, ... one after the other"),
        ("vision_segments", [1, 0], "must number the samples of a row"),
        ("frame_segments", [0, 0], r"\[\[4, 4, 0\]\] placeholders"),
    ],
)
def test_preprocessed_segments(name, ids, message):
    _, packed = models()
    x = {"videos": ONE, "prompts": [["a", "b"]]}
    x = packed.preprocessor(x)
    x[name] = np.repeat([ids], [1] + [x[name].shape[1] - 1], axis=1)
    with pytest.raises(ValueError, match=message):
        packed.predict(x, verbose=0)


def test_rows_in_tf_data_are_refused():
    _, packed = models()
    x = {"videos": [["a.mp4", "b.mp4"]], "prompts": [["a", "b"]]}
    with pytest.raises(ValueError, match="holds one prompt a row"):
        tf.data.Dataset.from_tensor_slices(x).batch(1).map(packed.preprocessor)


def test_preset_is_loaded_with_rows(tmp_path):
    apart, _ = models()
    apart.save_to_preset(tmp_path)
    packed = type(apart).from_preset(
        str(tmp_path), num_segments=3, num_frames=8, sequence_length=72
    )
    assert packed.preprocessor.num_segments == 3
    for one, other in zip(packed.get_weights(), apart.get_weights()):
        tiny.same(one, other)
    twin = type(packed.backbone).from_config(packed.backbone.get_config())
    assert twin.num_segments == 3
    x, *_ = packed.preprocessor(in_rows(RAW))
    got = tiny.run(packed, packed, x)
    real = x["padding_mask"]
    tiny.close(got[real], outputs()[1]["logits"][real])
