"""From a table of videos to batches."""

import json

import keras
import numpy as np
import pytest

from keras_stts.data import FrameCache
from keras_stts.data import VideoDataset
from keras_stts.data import as_grain_dataset
from keras_stts.data import as_tf_dataset
from keras_stts.data import read_video
from keras_stts.data import video_dataset_from_manifest
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


@pytest.mark.once
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


@pytest.mark.once
def test_shards_cover_everything_once(rows, preprocessor):
    seen, lengths = [], set()
    for index in range(3):
        shard = (index, 3)
        with VideoDataset(rows, preprocessor, 2, shard=shard) as data:
            lengths.add(len(data))
            seen += sum(ids_of(data), [])
    assert lengths == {2}
    assert len(seen) == len(set(seen)) == COUNT


@pytest.mark.once
def test_cache_is_read_instead_of_the_video(
    folder, rows, preprocessor, tmp_path
):
    cache = FrameCache(tmp_path)
    with VideoDataset(
        rows, preprocessor, 3, shuffle=False, cache=cache
    ) as data:
        wanted = batches(data)
        data.on_epoch_end()
        data._reader._pool.submit = None  # Nothing is decoded again.
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


@pytest.mark.once
def test_bad_rows_are_reported_and_good_ones_intact(
    rows, preprocessor, tmp_path
):
    with VideoDataset(rows, preprocessor, 7, shuffle=False) as data:
        good = batches(data)[0]
    wanted = spoil(rows, tmp_path)
    report = tmp_path / "report.jsonl"
    options = {"on_error": "report", "report": report}
    with VideoDataset(rows, preprocessor, 7, shuffle=False, **options) as data:
        for _ in range(2):
            x, y, weights = batches(data)[0]
            data.on_epoch_end()
        left_out = {rows[i]["id"]: why for i, why in data.left_out.items()}
    real = [0, 3, 6]
    for name in good[0]:
        np.testing.assert_array_equal(x[name][real], good[0][name][real])
    np.testing.assert_array_equal(weights[real], good[2][real])
    assert not weights[[1, 2, 4, 5]].any()
    assert set(left_out) == set(wanted)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(wanted)
    for line in lines:
        assert wanted[line["id"]] in line["reason"]
        assert line["reason"] == left_out[line["id"]]
        assert "\x1b" not in line["reason"] and "array(" not in line["reason"]


@pytest.mark.once
def test_what_a_prompt_raises_names_its_row(rows, preprocessor):
    rows[1]["prompt"] = "who is <|video|>?"
    with VideoDataset(rows[:2], preprocessor, 2, shuffle=False) as data:
        with pytest.raises(ValueError, match="^Prompts .* In row row 1.$"):
            data[0]


@pytest.mark.once
def test_raising_is_the_default(rows, preprocessor, tmp_path):
    spoil(rows, tmp_path)
    with VideoDataset(rows[:3], preprocessor, 3, shuffle=False) as data:
        with pytest.raises(ValueError, match="cut.mp4"):
            data[0]


def test_fit(rows, tmp_path):
    model = tiny.compile_to_train(tiny.shallow(sharp=True))
    spoil(rows, tmp_path)
    data = VideoDataset(
        rows, model.preprocessor, 2, on_error="skip", cache=tmp_path / "cache"
    )
    with data:
        history = model.fit(data, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["skipped"][-1] == 4 and data.position[0] in (2, 3)
    assert 0 <= history["input_wait"][-1] <= 1


@pytest.mark.once
def test_buckets(rows, preprocessor):
    lengths = [len(read_video(r["video"], tiny.NUM_FRAMES)[1]) for r in rows]
    assert lengths == [2, 4, 4, 4, 4, 4, 4]
    rows = rows[:3] + [{**rows[0], "id": "again"}]
    with VideoDataset(rows, preprocessor, 2, buckets=(2, 3)) as data:
        assert data.buckets == (2, 3, 4)
        short, long = sorted(batches(data), key=lambda b: b[0]["videos"].shape)
        data.on_epoch_end()
        again = sorted(batches(data), key=lambda b: b[0]["videos"].shape)
    assert short[0]["videos"].shape[:2] == (2, 2)
    assert long[0]["videos"].shape[:2] == (2, 4)
    same(short[0]["videos"], again[0][0]["videos"])
    wanted, _, weights = preprocessor(
        {
            "videos": [rows[0]["video"]],
            "prompts": [rows[0]["prompt"]],
            "responses": [rows[0]["response"]],
        }
    )
    length = short[0]["vision_mask"].shape[1]
    assert length < wanted["vision_mask"].shape[1]
    for name in wanted:
        size = {"videos": 2, "frame_mask": 2}.get(name, length)
        np.testing.assert_array_equal(
            short[0][name][0], wanted[name][0][:size], name
        )
    np.testing.assert_array_equal(short[2][0], weights[0])


@pytest.mark.once
def test_buckets_of_unreadable_videos(rows, preprocessor, tmp_path):
    spoil(rows, tmp_path)
    with pytest.raises(ValueError, match="must have a prompt"):
        VideoDataset(rows, preprocessor, 2, buckets=(2,))
    cache = FrameCache(tmp_path / "cache")
    options = {"buckets": (2,), "on_error": "skip", "cache": cache}
    with VideoDataset(rows, preprocessor, 2, **options) as data:
        # An answer that is too long is found when it is cut up.
        assert set(data.left_out) == {1, 2, 4}
        assert len(data) == 3
    cache.write = None  # Lengths are in the cache by now.
    with VideoDataset(rows[3:4], preprocessor, 1, **options) as data:
        assert not data.left_out


def test_fit_on_buckets_compiles_once_a_bucket(rows):
    model = tiny.shallow(sharp=True)
    graph = keras.config.backend() == "tensorflow"
    options = {"run_eagerly": False, "jit_compile": False} if graph else {}
    tiny.compile_to_train(model, **options)
    traces = []
    call = model.compute_loss

    def compute_loss(*args, **kwargs):
        traces.append(1)
        return call(*args, **kwargs)

    model.compute_loss = compute_loss
    with VideoDataset(rows, model.preprocessor, 2, buckets=(2,)) as data:
        history = model.fit(data, epochs=2, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]
        once = len(traces)
        model.fit(data, verbose=0)
    compiled = keras.config.backend() != "torch"
    assert len(traces) == once + (0 if compiled else len(data))


@pytest.mark.once
def test_going_on_in_an_epoch(rows, preprocessor):
    with VideoDataset(rows, preprocessor, 2) as data:
        data.seek(1)
        wanted = batches(data)
        data.seek(1, 2)
        assert len(data) == len(wanted) - 2 == data.batches_per_epoch - 2
        for one, other in zip(batches(data), wanted[2:], strict=True):
            same(one, other)
        data.on_epoch_end()
        assert len(data) == len(wanted)
        with pytest.raises(ValueError, match="one of the epoch"):
            data.seek(0, 5)


def test_as_tf_dataset(rows, preprocessor):
    pytest.importorskip("tensorflow")
    with VideoDataset(rows, preprocessor, 2, buckets=(2,)) as data:
        epochs = []
        for _ in range(2):
            epochs.append(batches(data))
            data.on_epoch_end()
        data.seek(0)
        dataset = as_tf_dataset(data)
        assert dataset.cardinality() == len(data)
        assert dataset.element_spec[0]["videos"].shape[:2] == (2, None)
        for wanted in epochs:
            found = list(dataset.as_numpy_iterator())
            for one, other in zip(found, wanted, strict=True):
                same(one, other)


def test_as_grain_dataset(rows, preprocessor):
    pytest.importorskip("grain")
    with VideoDataset(rows, preprocessor, 2) as data:
        dataset = as_grain_dataset(data)
        first = list(dataset)
        iterator = iter(dataset)
        second = [next(iterator)]
        state = iterator.get_state()
        second += list(iterator)
        assert data.position == (2, 0)
        iterator = iter(dataset)
        iterator.set_state(state)
        for one, other in zip(iterator, second[1:], strict=True):
            same(one, other)
        data.seek(0)
        for one, other in zip(batches(data), first, strict=True):
            same(one, other)


@pytest.mark.parametrize("format", ["tf", "grain"])
def test_fit_from_a_manifest(rows, tmp_path, format):
    pytest.importorskip("tensorflow" if format == "tf" else format)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows[:2]))
    model = tiny.compile_to_train(tiny.shallow(sharp=True))
    data = video_dataset_from_manifest(path, model.preprocessor, 2, format)
    history = model.fit(data, epochs=2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_unknown_format(preprocessor):
    with pytest.raises(ValueError, match="one of keras, tf, grain"):
        video_dataset_from_manifest("a.jsonl", preprocessor, 1, "numpy")


@pytest.mark.once
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
        ({"buckets": (0, 2)}, "`buckets` must be positive"),
    ],
)
@pytest.mark.once
def test_wrong_arguments(rows, preprocessor, change, message):
    arguments = {"batch_size": 2, **change}
    with pytest.raises(ValueError, match=message):
        VideoDataset(rows, preprocessor, **arguments)
    with pytest.raises(ValueError, match="`rows` must not be empty"):
        VideoDataset([], preprocessor, 2)


@pytest.mark.once
def test_conversations_and_numbers(rows):
    """As the same prompts and answers by hand; keys without value go."""
    preprocessor = tiny.preprocessor(sequence_length=64)
    turns = [
        {"role": "user", "content": "who?", "style": None},
        {"role": "assistant", "content": "she"},
        {"role": "user", "content": [{"type": "text", "text": "when?"}]},
    ]
    named = {"role": "user", "content": [{"type": "video", "image": None}]}
    changes = [
        {"prompt": turns, "response": 7},
        {"prompt": np.array([named]), "response": 0, "id": 0},
        {"response": 1.5, "subtitles": [[0, 9, "hi"]]},
    ]
    rows = [{**row, **more} for row, more in zip(rows, changes)]
    with VideoDataset(rows, preprocessor, 3, shuffle=False) as data:
        ours = data[0]
    bare = {"role": "user", "content": [{"type": "video"}]}
    wanted = preprocessor(
        {
            "videos": [row["video"] for row in rows],
            "prompts": [turns, [bare], rows[2]["prompt"]],
            "responses": ["7", "0", "1.5"],
            "subtitles": [None, None, [(0, 9, "hi")]],
        }
    )
    same(ours, wanted)


@pytest.mark.parametrize("policy", ["raise", "report"])
@pytest.mark.once
def test_whatever_a_row_raises(
    rows, preprocessor, tmp_path, policy, monkeypatch
):
    report = tmp_path / "report.jsonl" if policy == "report" else None
    data = VideoDataset(
        rows, preprocessor, 3, shuffle=False, on_error=policy, report=report
    )
    example = data._example

    def fail(row, read, bucket):
        if row["id"] == "row 1":
            raise RecursionError("too deep")
        return example(row, read, bucket)

    monkeypatch.setattr(data, "_example", fail)
    with data:
        if policy == "raise":
            with pytest.raises(ValueError, match="row row 1, which raises Rec"):
                data[0]
            return
        assert data[0][2].any(-1).tolist() == [True, False, True]
    line = json.loads(report.read_text())
    assert line["id"] == "row 1" and "RecursionError" in line["reason"]


@pytest.mark.once
def test_rows_without_ids(rows, preprocessor):
    bare = [{k: v for k, v in row.items() if k != "id"} for row in rows]
    with VideoDataset(bare, preprocessor, 3) as data:
        assert [row["id"] for row in data.rows[:2]] == ["row 1", "row 2"]
    with pytest.raises(ValueError, match="must be dicts.* Received: a str"):
        VideoDataset(["a"], preprocessor, 1)


@pytest.mark.once
def test_a_report_that_cannot_be_written(rows, preprocessor, tmp_path):
    rows[0] = {**rows[0], "prompt": ""}
    report = tmp_path / "none" / "report.jsonl"
    data = VideoDataset(
        rows, preprocessor, 3, on_error="report", report=report, shuffle=False
    )
    with data:
        with pytest.raises(FileNotFoundError, match="choose a .*report.jsonl"):
            data[0]
