"""From a table of videos to batches."""

import json

import keras
import numpy as np
import pytest

from keras_stts.data import FrameCache
from keras_stts.data import VideoDataset
from keras_stts.data import read_video
from tests.data.reading_test import write
from tests.models import tiny

COUNT = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i in range(COUNT):
        source = "testsrc2" if i % 2 else "testsrc"
        write(folder / f"{i}.mp4", "-c:v libx264", seconds=1 + i, source=source)
    return folder


@pytest.fixture
def rows(folder):
    return [
        {
            "id": f"row {i}",
            "video": str(folder / f"{i}.mp4"),
            "prompt": f"question {i}",
            "response": f"answer {i}",
        }
        for i in range(COUNT)
    ]


@pytest.fixture(scope="module")
def preprocessor():
    return tiny.preprocessor()


def batches(data):
    return [data[i] for i in range(len(data))]


def same(one, other):
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def test_equals_reading_by_hand(rows, preprocessor):
    with VideoDataset(rows, preprocessor, 3, shuffle=False) as data:
        assert len(data) == data.num_batches == 3
        ours = batches(data)
    for i in range(2):
        part = rows[3 * i : 3 * i + 3]
        wanted = preprocessor(
            {
                "videos": [row["video"] for row in part],
                "prompts": [row["prompt"] for row in part],
                "responses": [row["response"] for row in part],
            }
        )
        same(ours[i], wanted)
    x, y, weights = ours[2]
    assert weights[0].any() and not weights[1:].any()
    assert x["frame_mask"][1:].sum(-1).tolist() == [1, 1]
    assert not x["videos"][1:].any()


def ids_of(data):
    """Rows of each batch, by their questions."""
    numbers = []
    for x, _, weights in batches(data):
        tokens = [tuple(row) for row in x["token_ids"]]
        numbers.append([t for t, w in zip(tokens, weights) if w.any()])
    return numbers


def test_order_depends_on_seed_and_epoch_alone(rows, preprocessor):
    def epochs(seed):
        with VideoDataset(rows, preprocessor, 2, seed=seed) as data:
            result = []
            for _ in range(2):
                result.append(ids_of(data))
                data.on_epoch_end()
        return result

    one, again, other = epochs(0), epochs(0), epochs(1)
    assert one == again
    assert one[0] != one[1] and one != other
    flat = [sorted(sum(epoch, [])) for epoch in one + other]
    assert all(rows == flat[0] for rows in flat)
    assert len(flat[0]) == COUNT


def test_shards_cover_everything_once(rows, preprocessor):
    seen, lengths = [], set()
    for index in range(3):
        shard = (index, 3)
        with VideoDataset(rows, preprocessor, 2, shard=shard) as data:
            lengths.add(len(data))
            seen += sum(ids_of(data), [])
    assert lengths == {2}
    assert len(seen) == len(set(seen)) == COUNT


def test_cache_is_read_instead_of_the_video(
    folder, rows, preprocessor, tmp_path
):
    cache = FrameCache(tmp_path)
    with VideoDataset(rows, preprocessor, 3, False, cache=cache) as data:
        wanted = batches(data)
        data.on_epoch_end()
        data._pool.submit = None  # Nothing is decoded again.
        same(batches(data), wanted)


def spoil(rows, tmp_path):
    """Four of seven rows that cannot be used, each in its way."""
    (tmp_path / "cut.mp4").write_bytes(
        open(rows[1]["video"], "rb").read()[:3000]
    )
    rows[1]["video"] = str(tmp_path / "cut.mp4")
    rows[2]["video"] = str(tmp_path / "none.mp4")
    rows[4]["prompt"] = " "
    rows[5]["response"] = "long " * 100
    return {
        "row 1": "cut.mp4",
        "row 2": "none.mp4",
        "row 4": "must have a prompt",
        "row 5": "sequence_length",
    }


def test_bad_rows_are_reported_and_good_ones_intact(
    rows, preprocessor, tmp_path
):
    with VideoDataset(rows, preprocessor, 7, False) as data:
        good = batches(data)[0]
    wanted = spoil(rows, tmp_path)
    report = tmp_path / "report.jsonl"
    options = {"on_error": "report", "report": report}
    with VideoDataset(rows, preprocessor, 7, False, **options) as data:
        for _ in range(2):
            x, y, weights = batches(data)[0]
            data.on_epoch_end()
        skipped = data.skipped
    real = [0, 3, 6]
    for name in good[0]:
        np.testing.assert_array_equal(x[name][real], good[0][name][real])
    np.testing.assert_array_equal(weights[real], good[2][real])
    assert not weights[[1, 2, 4, 5]].any()
    assert set(skipped) == set(wanted)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(wanted)
    for line in lines:
        assert wanted[line["id"]] in line["reason"]
        assert line["reason"] == skipped[line["id"]]


def test_raising_is_the_default(rows, preprocessor, tmp_path):
    spoil(rows, tmp_path)
    with VideoDataset(rows, preprocessor, 7, False) as data:
        with pytest.raises(ValueError, match="cut.mp4"):
            data[0]


def test_fit(rows, tmp_path):
    model = tiny.compile_to_train(tiny.model(sharp=True))
    spoil(rows, tmp_path)
    data = VideoDataset(
        rows, model.preprocessor, 2, on_error="skip", cache=tmp_path / "cache"
    )
    with data:
        history = model.fit(data, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert len(data.skipped) == 4 and data.epoch >= 3


def test_frames_of_a_folder_and_their_rate(tmp_path, preprocessor):
    iio = pytest.importorskip("imageio.v3")
    for i in range(4):
        iio.imwrite(tmp_path / f"{i}.png", tiny.video(i)[0])
    row = {
        "id": 0,
        "video": str(tmp_path),
        "prompt": "a",
        "response": "b",
        "fps": 1.0,
    }
    with VideoDataset([row], preprocessor, 1) as data:
        x, _, _ = data[0]
    frames, _ = read_video(tmp_path, tiny.NUM_FRAMES, fps=1.0)
    np.testing.assert_array_equal(x["videos"][0][: len(frames)], frames)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be positive"),
        ({"shard": (2, 2)}, "0 <= index < count"),
        ({"shard": (0, 9)}, "7 rows"),
        ({"on_error": "ignore"}, "one of raise, skip, report"),
        ({"on_error": "report"}, "`report` is needed"),
        ({"report": "a"}, "`report` is needed"),
    ],
)
def test_wrong_arguments(rows, preprocessor, change, message):
    arguments = {"batch_size": 2, **change}
    with pytest.raises(ValueError, match=message):
        VideoDataset(rows, preprocessor, **arguments)
    with pytest.raises(ValueError, match="`rows` must not be empty"):
        VideoDataset([], preprocessor, 2)
