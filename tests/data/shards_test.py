"""Shards: the same examples as from files, in the same order."""

import itertools
import json
import shutil
import struct

import numpy as np
import PIL.Image
import pytest

import keras_stts
from keras_stts.data import FrameCache
from keras_stts.data import ShardSource
from keras_stts.data import VideoDataset
from keras_stts.data import __main__ as command
from keras_stts.data import as_grain_dataset
from keras_stts.data import checksums
from keras_stts.data import examples
from keras_stts.data import read_manifest
from keras_stts.data import read_video
from keras_stts.data import records
from keras_stts.data import tfrecord
from keras_stts.data import video_dataset_from_manifest
from keras_stts.data import write_shards
from tests.data.dataset_test import batches
from tests.data.dataset_test import same
from tests.data.reading_test import write
from tests.models import tiny

pytestmark = pytest.mark.once
COUNT = 5
FORMATS = ("tfrecord", "array_record")


def needs(format):
    if format == "array_record":
        pytest.importorskip("array_record")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Of five videos with two questions each."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for i in range(COUNT):
        write(folder / f"{i} ü.mp4", "-c:v libx264", seconds=1 + i)
        for k in range(2):
            row = {"video": f"{i} ü.mp4", "prompt": f"question {k} {i}"}
            rows.append({**row, "response": f"{i}", "kind": [i, None]})
    rows[0]["prompt"] = [{"role": "user", "content": "hello"}]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def preprocessor():
    return tiny.preprocessor()


def all_batches(table, preprocessor, **options):
    rows = read_manifest(table)
    with VideoDataset(rows, preprocessor, 3, seed=2, **options) as data:
        return batches(data)


WAYS = ({}, {"buckets": (2,)}, {"shard": (1, 2)})


@pytest.fixture(scope="module")
def from_files(table, preprocessor):
    return [all_batches(table, preprocessor, **options) for options in WAYS]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("content", ["files", "frames"])
def test_the_same_examples_in_the_same_order(
    table, from_files, preprocessor, tmp_path, format, content
):
    needs(format)
    converter = preprocessor.video_converter if content == "frames" else None
    found = write_shards(
        table, tmp_path, format, converter=converter, shard_bytes=5000
    )
    assert len(list(tmp_path.glob(f"shard-*.{format}"))) > 1
    for wanted, row in zip(read_manifest(table), read_manifest(found)):
        assert {**row, "video": None} == {**wanted, "video": None}
    for options, theirs in zip(WAYS, from_files):
        ours = all_batches(found, preprocessor, **options)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)


@pytest.mark.parametrize("format", FORMATS)
def test_each_video_is_kept_once_and_as_it_was(table, tmp_path, format):
    needs(format)
    rows = read_manifest(write_shards(table, tmp_path, format))
    assert len({row["video"] for row in rows}) == COUNT
    place = records.parse(rows[4]["video"])
    assert place.number == 2 and place.kind == "video"
    data, name = records.read_video_record(place)
    original = table.parent / "2 ü.mp4"
    assert (data, name) == (original.read_bytes(), str(original))
    frames, times = read_video(rows[4]["video"], 4)
    wanted = read_video(original, 4)
    np.testing.assert_array_equal(frames, wanted.frames)
    cache = FrameCache(tmp_path / "cache")
    before = cache.key(rows[4]["video"])
    assert before != cache.key(rows[2]["video"])
    assert before == cache.key(rows[5]["video"])


@pytest.mark.parametrize("format", FORMATS)
def test_grain(table, preprocessor, tmp_path, format):
    needs(format)
    grain = pytest.importorskip("grain")
    found = write_shards(table, tmp_path, format)
    source = ShardSource(found)
    assert len(source) == 2 * COUNT and str(found) in repr(source)
    data = (
        grain.MapDataset.source(source)
        .shuffle(seed=3)
        .map(lambda row: (row["id"], len(row["video"]["bytes"])))
    )
    sizes = {
        row["id"]: (table.parent / f"{i // 2} ü.mp4").stat().st_size
        for i, row in enumerate(read_manifest(table))
    }
    assert dict(data) == sizes and len(data) == len(sizes)
    with video_dataset_from_manifest(found, preprocessor, 3) as ours:
        wanted = [batches(ours)]
        ours.seek(0)
        for one, other in zip(as_grain_dataset(ours), wanted[0], strict=True):
            same(one, other)


def test_array_record_files_are_grains(table, tmp_path):
    needs("array_record")
    grain = pytest.importorskip("grain")
    write_shards(table, tmp_path, "array_record")
    paths = [str(path) for path in sorted(tmp_path.glob("*.array_record"))]
    source = grain.sources.ArrayRecordDataSource(paths)
    record = examples.decode(source[1])
    assert record["video"] == [(table.parent / "1 ü.mp4").read_bytes()]


def test_tfrecord_files_are_tensorflows(table, tmp_path):
    tf = pytest.importorskip("tensorflow")
    write_shards(table, tmp_path, "tfrecord")
    (path,) = tmp_path.glob("*.tfrecord")
    found = [
        tf.train.Example.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    assert len(found) == COUNT
    features = found[3].features.feature
    video = (table.parent / "3 ü.mp4").read_bytes()
    assert features["video"].bytes_list.value[0] == video
    values = {
        "floats": tf.train.Feature(
            float_list=tf.train.FloatList(value=[0.5, -2.0])
        ),
        "ints": tf.train.Feature(
            int64_list=tf.train.Int64List(value=[-1, 0, 2**62])
        ),
        "none": tf.train.Feature(),
        "text": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=["ü".encode(), b""])
        ),
    }
    example = tf.train.Example(features=tf.train.Features(feature=values))
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        writer.write(example.SerializeToString())
        writer.write(b"")
    with open(tmp_path / "theirs", "rb") as file:
        first, second = map(examples.decode, tfrecord.read_records(file))
    assert first == {
        "floats": [0.5, -2.0],
        "ints": [-1, 0, 2**62],
        "none": [],
        "text": ["ü".encode(), b""],
    }
    assert second == {}


@pytest.mark.parametrize("crc", [checksums._crc32c, checksums.crc32c])
def test_checksums(crc):
    # RFC 3720, appendix B.4.
    assert crc(bytes(32)) == 0x8A9136AA
    assert crc(b"\xff" * 32) == 0x62A8AB43
    assert crc(bytes(range(32))) == 0x46DD794E
    assert crc(b"123456789") == 0xE3069283
    assert crc(b"") == 0
    data = np.random.default_rng(0).bytes(5000)
    for size in (2047, 2048, 2049, 4096, 5000):
        assert crc(data[:size]) == slow_crc(data[:size])


def slow_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (checksums.POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def spoil(path, how):
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 1
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "zeros":
        data[:] = bytes(len(data))
    elif how == "length":
        data[:8] = struct.pack("<Q", 2**60)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("format", "how"),
    [
        *itertools.product(FORMATS, ("flipped", "cut", "zeros")),
        ("tfrecord", "length"),
    ],
)
def test_a_damaged_shard_is_refused_by_name_and_record(
    table, preprocessor, tmp_path, format, how
):
    needs(format)
    found = write_shards(table, tmp_path, format)
    (shard,) = tmp_path.glob("shard-*")
    spoil(shard, how)
    rows = read_manifest(found)
    bad = []
    for row in rows[::2]:
        place = records.parse(row["video"])
        name = f"record {place.number} of '{shard}', which cannot be read"
        try:
            read_video(row["video"], 4)
        except ValueError as error:
            assert name in str(error)
            bad.append(row["video"])
    assert bad
    report = tmp_path / "report.jsonl"
    options = {"on_error": "report", "report": report}
    with VideoDataset(rows, preprocessor, 10, **options) as data:
        _, _, weights = data[0]
    good = sum(row["video"] not in bad for row in rows)
    assert int(weights.any(-1).sum()) == good
    reasons = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["video"] for line in reasons} == set(bad)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="A shard must exist"):
        read_video(rows[0]["video"], 4)


def test_frames_that_were_chosen_otherwise(table, preprocessor, tmp_path):
    converter = preprocessor.video_converter
    found = write_shards(table, tmp_path, "tfrecord", converter=converter)
    rows = read_manifest(found)
    other = tiny.preprocessor(num_frames=3)
    with VideoDataset(rows, other, 1) as data:
        with pytest.raises(ValueError, match="num_frames=4.* for .*frames=3"):
            data[0]
    size, rule = converter.image_size, converter.sampling
    frames, _ = read_video(rows[2]["video"], 4, 2, rule, size=size)
    assert frames.shape == (4, *size, 3)
    for options in ({"size": 8}, {"size": size, "clip": (0, 1)}):
        with pytest.raises(ValueError, match="must be those that are asked"):
            read_video(rows[2]["video"], 4, **options)
    with pytest.raises(ValueError, match="which holds sampled frames"):
        keras_stts.data.sampled_times(rows[0]["video"], 4)
    assert ShardSource(found)[2]["video"].frames.shape == frames.shape


def test_rows_that_are_left_out(table, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(table.parent, folder)
    (folder / "0 ü.mp4").unlink()
    (folder / "1 ü.mp4").write_bytes(b"")
    (folder / "2 ü.mp4").unlink()
    (folder / "2 ü.mp4").mkdir()
    image = PIL.Image.fromarray(tiny.video(0)[0])
    image.save(folder / "2 ü.mp4" / "0.png")
    with open(folder / "rows.jsonl", "a") as file:
        file.write("{no JSON\n")
    source, output = folder / "rows.jsonl", tmp_path / "out"
    with pytest.raises(ValueError, match="is not JSON"):
        write_shards(source, output)
    found = write_shards(source, output, "tfrecord", on_error="report")
    assert len(read_manifest(found)) == 4
    left_out = (output / "left_out.jsonl").read_text().splitlines()
    reasons = [json.loads(line)["reason"] for line in left_out]
    for reason, what in zip(
        reasons[::2],
        ("does not exist", "is empty", "is a folder", "is not JSON"),
    ):
        assert what in reason
    with pytest.raises(ValueError, match="folder without shards.*holds some"):
        write_shards(source, output)
    (folder / "0 ü.mp4").write_bytes(b"no video")
    found = write_shards(
        source,
        tmp_path / "frames",
        "tfrecord",
        converter=tiny.preprocessor().video_converter,
        on_error="report",
    )
    assert len(read_manifest(found)) == 6  # Those of the folder, too.


def test_at_addresses(table, from_files, preprocessor):
    system = pytest.importorskip("fsspec").filesystem("memory")
    found = write_shards(table, "memory://shards/tf", "tfrecord")
    assert str(found) == "memory://shards/tf/rows.jsonl"
    ours = all_batches(found, preprocessor)
    for one, other in zip(ours, from_files[0], strict=True):
        same(one, other)
    name = "/shards/tf/shard-00000.tfrecord"
    data = bytearray(system.cat(name))
    data[40] ^= 1
    system.pipe(name, bytes(data))
    with pytest.raises(ValueError, match="record 0 of 'memory://shards/tf/sh"):
        read_video(read_manifest(found)[0]["video"], 4)
    needs("array_record")
    with pytest.raises(ValueError, match="written on this machine only"):
        write_shards(table, "memory://shards/ar", "array_record")


def test_wrong_arguments(table, tmp_path, monkeypatch):
    for options, message in (
        ({"format": "zip"}, "one of array_record, tfrecord"),
        ({"shard_bytes": 0}, "`shard_bytes` must be positive"),
        ({"on_error": "skip"}, "one of raise, report"),
    ):
        with pytest.raises(ValueError, match=message):
            write_shards(table, tmp_path / "out", **options)
    with pytest.raises(ValueError, match="must name records.*data shard"):
        ShardSource(table)
    monkeypatch.setattr(records.importlib.util, "find_spec", lambda name: None)
    assert records.default_format() == "tfrecord"
    with pytest.raises(ImportError, match=r"`pip install .*\[shards\]"):
        write_shards(table, tmp_path / "out", "array_record")
    assert not (tmp_path / "out").exists()


def test_the_command(table, tmp_path, capsys):
    start = ["shard", str(table)]
    output = str(tmp_path / "out")
    assert command.main([*start, output, "--format", "tfrecord"]) == 0
    assert "10 rows, 1 shards: " in capsys.readouterr().out
    assert command.main([*start, output]) == 2
    assert "which holds some" in capsys.readouterr().err
    frames = ["--num-frames", "4", "--image-size", str(tiny.IMAGE_SIZE)]
    output = str(tmp_path / "frames")
    assert command.main([*start, output, *frames[:2]]) == 2
    assert "--image-size. Received: num_frames" in capsys.readouterr().err
    assert command.main([*start, output, *frames]) == 0
    row = read_manifest(f"{output}/rows.jsonl")[0]
    assert records.is_frames(row["video"])
    assert command.main(["shard", str(tmp_path / "no.csv"), output + "2"]) == 2
