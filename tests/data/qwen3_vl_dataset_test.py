"""From a table of videos of several sizes to batches for Qwen3-VL."""

import json

import keras
import numpy as np
import pytest

from keras_stts.data import DecodePool
from keras_stts.data import FrameCache
from keras_stts.data import SampledVideo
from keras_stts.data import ShardSource
from keras_stts.data import VideoDataset
from keras_stts.data import as_grain_dataset
from keras_stts.data import as_tf_dataset
from keras_stts.data import read_video
from keras_stts.data import sampled_shape
from keras_stts.data import write_shards
from keras_stts.data.sampled import ResizedVideo
from keras_stts.preprocessing.buckets import choose_buckets
from keras_stts.preprocessing.qwen3_vl.sizes import VideoResizing
from keras_stts.preprocessing.qwen3_vl.sizes import video_size
from keras_stts.pruning import STTS
from tests.data.dataset_test import batches
from tests.data.dataset_test import ids_of
from tests.data.dataset_test import same
from tests.data.reading_test import write
from tests.data.video_test import ffmpeg
from tests.models import qwen3_vl
from tests.models import tiny
from tests.preprocessing.qwen3_vl_preprocessor_test import make

# Seconds, size, and what becomes of it: temporal patches, blocks of each.
KINDS = [(1, "64x64", (2, 4)), (3, "128x64", (3, 8)), (6, "64x96", (6, 6))]
BUCKETS = [(2, 4), (3, 8), (6, 6)]
COUNT = 8
LIMITS = {"min_pixels": 4096, "max_pixels": 12 * 64 * 96}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for i in range(COUNT):
        seconds, size, _ = KINDS[i % 3]
        source = "testsrc2" if i % 2 else "testsrc"
        options = {"seconds": seconds, "size": size, "source": source}
        path = write(folder / f"{i}.mp4", "-c:v libx264", rate=8, **options)
        row = {"id": f"row {i}", "video": str(path)}
        rows.append({**row, "prompt": f"question {i}", "response": f"{i}"})
    return rows


def make_preprocessor(buckets=BUCKETS, converter=LIMITS, **arguments):
    given = {"num_images": 0, "num_videos": 1, "word_tokens": 16}
    given |= {"sequence_length": 24, "time_tokens": 24}
    return make(converter, buckets=buckets, **given, **arguments)


@pytest.fixture(scope="module")
def preprocessor():
    return make_preprocessor()


def raw(rows):
    return {
        "videos": [row["video"] for row in rows],
        "prompts": [row["prompt"] for row in rows],
        "responses": [row["response"] for row in rows],
    }


def buckets_of(data):
    """Temporal patches, and blocks of a frame, of each batch."""
    shapes = [x["videos"].shape for x, *_ in batches(data)]
    return [(frames, patches // 4) for _, frames, patches, _ in shapes]


@pytest.mark.once
def test_shapes_are_known_before_frames(rows, preprocessor):
    converter = preprocessor.video_converter
    for row, (*_, wanted) in zip(rows, KINDS):
        rule = (converter.num_frames, 2.0, "qwen3_vl")
        frames, _ = read_video(row["video"], *rule, size=converter.image_size)
        found = sampled_shape(row["video"], *rule, size=converter.image_size)
        assert found == frames.shape[:3]
        assert converter.video_shape(row["video"]) == wanted
        with DecodePool(1) as pool:
            named = dict(zip(("num_frames", "max_fps", "sampling"), rule))
            future = pool.submit_shape(
                row["video"], size=converter.image_size, **named
            )
            assert future.result() == found
    shapes = [converter.video_shape(row["video"]) for row in rows]
    assert choose_buckets(shapes, 3).tolist() == [[2, 4], [3, 8], [6, 6]]


@pytest.mark.once
def test_shape_of_what_is_stored_sideways(tmp_path, rows):
    path = tmp_path / "turned.mp4"
    turn = ["-display_rotation", "90", "-i", rows[1]["video"]]
    ffmpeg(*turn, "-c", "copy", path)
    frames, _ = read_video(path, 4)
    assert sampled_shape(path, 4) == frames.shape[:3] == (4, 128, 64)
    assert sampled_shape(path, 4, size=(20, 30)) == (4, 20, 30)


@pytest.mark.once
def test_batches_are_those_by_hand(rows, preprocessor):
    with VideoDataset(rows, preprocessor, 2, shuffle=False) as data:
        assert data.buckets == tuple(BUCKETS)
        ours = batches(data)
    # Rows 0, 3, 6 are of the first kind; 1, 4, 7 of the second; 2, 5.
    wanted = [(0, 3), (1, 4), (2, 5), (6,), (7,)]
    assert len(ours) == len(wanted)
    for (x, y, weights), numbers in zip(ours, wanted):
        by_hand = preprocessor(raw([rows[i] for i in numbers]))
        count = len(numbers)
        cut = {name: values[:count] for name, values in x.items()}
        same((cut, y[:count], weights[:count]), by_hand)
        assert weights[:count].any(-1).all() and not weights[count:].any()
        assert not x["videos"][count:].any()
        assert (x["frame_mask"][count:].sum(-1) == 1).all()


@pytest.mark.once
def test_each_batch_is_in_a_bucket_and_each_row_once(rows, preprocessor):
    seen, found = [], set()
    for index in range(2):
        with VideoDataset(
            rows, preprocessor, 1, seed=3, shard=(index, 2)
        ) as data:
            seen += sum(ids_of(data), [])
            found.add(tuple(buckets_of(data)))
            data.on_epoch_end()
            again = tuple(buckets_of(data))
    assert len(seen) == len(set(seen)) == COUNT
    assert len(found) == 1 and set(*found) == set(BUCKETS)
    assert again not in found and sorted(again) == sorted(*found)


@pytest.mark.once
@pytest.mark.parametrize("num_segments", [1, 2])
def test_few_buckets_hold_all(rows, num_segments):
    preprocessor = make_preprocessor([(6, 8)], num_segments=num_segments)
    with VideoDataset(rows, preprocessor, 8, shuffle=False) as data:
        assert len(data) == 1
        same(data[0], preprocessor(raw(rows)))


@pytest.mark.once
def test_nothing_is_decoded_twice(rows, preprocessor, tmp_path):
    cache = FrameCache(tmp_path)
    options = {"shuffle": False, "cache": cache}
    with VideoDataset(rows, preprocessor, 2, **options) as data:
        wanted = batches(data)
    refuse = {"submit": None, "submit_shape": None, "submit_times": None}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in refuse.items():
            patch.setattr(DecodePool, name, value)
        with VideoDataset(rows, preprocessor, 2, **options) as data:
            same(batches(data), wanted)


@pytest.mark.once
@pytest.mark.parametrize("buckets", [[(2, 4)], [(2, 4), (3, 8)]])
def test_what_no_bucket_holds_is_refused_or_left_out(rows, tmp_path, buckets):
    preprocessor = make_preprocessor(buckets)
    too_large = [i for i, row in enumerate(rows) if i % 3 >= len(buckets)]
    message = r"fit into one of the buckets. Received: shape=\(.*In row row"
    with pytest.raises(ValueError, match=message):
        with VideoDataset(rows, preprocessor, 2, shuffle=False) as data:
            batches(data)
    report = tmp_path / "report.jsonl"
    options = {"on_error": "report", "report": report, "shuffle": False}
    with VideoDataset(rows, preprocessor, 2, **options) as data:
        left = sum((w.any(-1).sum() for _, _, w in batches(data)))
        assert sorted(data.left_out) == too_large
        assert left == COUNT - len(too_large)
        assert data.progress()["skipped"] == len(too_large)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == [
        rows[i]["id"] for i in too_large
    ]
    assert "\x1b" not in lines[0]["reason"]


@pytest.mark.once
def test_damaged_files_are_left_out_before_batches(
    rows, preprocessor, tmp_path
):
    spoiled = [dict(row) for row in rows]
    (tmp_path / "cut.mp4").write_bytes(
        open(rows[0]["video"], "rb").read()[:2000]
    )
    spoiled[0]["video"] = str(tmp_path / "cut.mp4")
    spoiled[1]["video"] = str(tmp_path / "none.mp4")
    spoiled[2]["subtitles"] = [[0, 1, "hi"]]
    with pytest.raises(ValueError, match="cut.mp4"):
        VideoDataset(spoiled, preprocessor, 2)
    with VideoDataset(spoiled, preprocessor, 2, on_error="skip") as data:
        assert sorted(data.left_out) == [0, 1]
        number = sum(w.any(-1).sum() for _, _, w in batches(data))
        assert "subtitles" in data.left_out[2] and number == COUNT - 3


@pytest.mark.once
@pytest.mark.parametrize("frames", [True, False])
def test_shards(rows, preprocessor, tmp_path, frames):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    converter = preprocessor.video_converter if frames else None
    table = write_shards(
        path, tmp_path / "shards", "tfrecord", converter=converter
    )
    source = ShardSource(table)
    with VideoDataset(rows, preprocessor, 2, shuffle=False) as data:
        wanted = batches(data)
    with VideoDataset(source._rows, preprocessor, 2, shuffle=False) as data:
        same(batches(data), wanted)
    row = source[1]
    x = {"videos": [row["video"]], "prompts": [row["prompt"]]}
    x["responses"] = [row["response"]]
    same(preprocessor(x), preprocessor(raw(rows[1:2])))
    if frames:
        assert row["video"].frames.shape == (6, 64, 128, 3)
        other = make_preprocessor(
            BUCKETS, {**LIMITS, "max_pixels": 6 * 64 * 64}
        )
        # Sampled alike, but resized otherwise.
        with pytest.raises(ValueError, match="Frames of a shard must be"):
            VideoDataset(source._rows, other, 2)
        x = other.video_converter([row["video"]])[0]
        assert x.grid[0] == 3 and np.prod(x.grid[1:]) < 4 * 8


@pytest.mark.once
def test_frames_are_resized_once():
    """A size that the rule made may be too large for it: it is kept."""
    resizing = VideoResizing(min_pixels=4096, max_pixels=12288)
    limits = {"min_pixels": 4096, "max_pixels": 12288}
    first = video_size(3, 40, 250, **limits)
    assert video_size(3, *first, **limits) != first
    converter = make_preprocessor(converter=limits).video_converter
    assert converter.image_size == resizing
    frames = np.zeros((3, *first, 3), "uint8")
    times = np.arange(3) / 2
    grid = (2, first[0] // 16, first[1] // 16)
    seen = converter([ResizedVideo(frames, times, resizing)])[0]
    assert seen.grid == grid
    assert converter([SampledVideo(frames, times)])[0].grid != grid


@pytest.mark.once
def test_buckets_are_the_preprocessors(rows, preprocessor):
    with pytest.raises(ValueError, match="the preprocessor's own buckets"):
        VideoDataset(rows, preprocessor, 2, buckets=(2, 3))


@pytest.mark.once
def test_as_grain_dataset(rows, preprocessor):
    pytest.importorskip("grain")
    with VideoDataset(rows, preprocessor, 2) as data:
        wanted = batches(data)
        for one, other in zip(as_grain_dataset(data), wanted, strict=True):
            same(one, other)


def test_as_tf_dataset(rows, preprocessor):
    pytest.importorskip("tensorflow")
    with VideoDataset(rows, preprocessor, 2) as data:
        wanted = batches(data)
        dataset = as_tf_dataset(data)
        assert dataset.element_spec[0]["videos"].shape == (2, None, None, 1536)
        found = list(dataset.as_numpy_iterator())
        for one, other in zip(found, wanted, strict=True):
            same(one, other)


def test_fit_compiles_once_a_bucket(rows, preprocessor):
    model = qwen3_vl.model(
        preprocessor, shallow=True, pruning=STTS(0.5, layer=0)
    )
    backend = keras.config.backend()
    graph = backend == "tensorflow"
    options = {"run_eagerly": False, "jit_compile": False} if graph else {}
    tiny.compile_to_train(model, **options)
    traces, call = [], model.compute_loss

    def compute_loss(*args, **kwargs):
        traces.append(1)
        return call(*args, **kwargs)

    model.compute_loss = compute_loss
    with VideoDataset(rows, preprocessor, 2) as data:
        history = model.fit(data, epochs=3, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]
        steps = 3 * len(data)
    assert steps == 15
    # Keras asks once more, for the shape of the result.
    most = steps if backend == "torch" else len(BUCKETS)
    assert len(traces) <= most + 1
