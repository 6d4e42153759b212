"""Tables, videos and outputs that fsspec reads and writes."""

import json
import sys

import numpy as np
import pytest

import keras_stts
from keras_stts.data import DecodePool
from keras_stts.data import FrameCache
from keras_stts.data import VideoDataset
from keras_stts.data import read_manifest
from keras_stts.data import read_video
from keras_stts.data import video_dataset_from_manifest
from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.paths import join
from keras_stts.data.subtitles import as_subtitles
from tests.data.reading_test import write
from tests.models import tiny

fsspec = pytest.importorskip("fsspec")
pytestmark = pytest.mark.once
SRT = "1\n00:00:00,500 --> 00:00:01,000\nhello\n"
QUESTION = {"prompt": "what?", "response": "this"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i in range(3):
        write(folder / f"{i}.mp4", "-c:v libx264", seconds=1 + i)
    return folder


@pytest.fixture
def system(clips):
    """Folder `memory://set` with three clips and a table, and no more."""
    system = fsspec.filesystem("memory")
    system.rm("/", recursive=True) if system.ls("/") else None
    for path in clips.iterdir():
        system.pipe(f"/set/videos/{path.name}", path.read_bytes())
    rows = [{"video": f"videos/{i}.mp4", **QUESTION} for i in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    system.pipe("/set/rows.jsonl", text.encode())
    system.pipe("/set/0.srt", SRT.encode())
    return system


def same(one, other):
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.times, other.times)


def test_paths():
    path = as_path("gs://bucket/a/b.tar.gz")
    assert (path.name, path.suffix, path.stem) == ("b.tar.gz", ".gz", "b.tar")
    assert str(path.parent / "../c.mp4") == "gs://bucket/c.mp4"
    assert str(path / "../../../../c") == "gs://c"
    assert str(path.with_suffix(".zip")) == "gs://bucket/a/b.tar.zip"
    assert path == Address("gs://bucket/a/b.tar.gz") != as_path("a/b.tar.gz")
    assert path.is_relative_to(as_path("gs://bucket/a/"))
    assert not path.is_relative_to(as_path("gs://bucket/a/b"))
    assert path / "s3://c/d" == as_path("s3://c/d")
    assert str(as_path("file:///a/b")) == "/a/b"
    assert join("gs://a", "b/c.mp4") == "gs://a/b/c.mp4"
    assert join("gs://a", "/b/c.mp4") == "/b/c.mp4"
    assert join("/a", "gs://b/c") == "gs://b/c" and join("/a", "b") == "/a/b"


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_tables_of_all_kinds(system, clips, ending):
    rows = read_manifest("memory://set/rows.jsonl")
    assert rows[0]["video"] == "memory://set/videos/0.mp4"
    same(read_video(rows[0]["video"], 4), read_video(clips / "0.mp4", 4))
    columns = ("video", "prompt", "response")
    lines = [[f"videos/{i}.mp4", *QUESTION.values()] for i in range(3)]
    if ending == "parquet":
        arrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        with system.open("/set/t.parquet", "wb") as file:
            table = arrow.table(dict(zip(columns, zip(*lines))))
            pyarrow.parquet.write_table(table, file)
    else:
        split = "\t" if ending == "tsv" else ","
        text = "\n".join(split.join(line) for line in (columns, *lines))
        if ending.startswith("json"):
            objects = [json.dumps(dict(zip(columns, line))) for line in lines]
            text = "\n".join(objects)
        if ending == "json":
            text = f"[{','.join(objects)}]"
        system.pipe(f"/set/t.{ending}", text.encode())
    found = read_manifest(f"memory://set/t.{ending}")
    names = [f"t.{ending}:{i}" for i in range(1, 4)]
    assert [row.pop("id") for row in found] == names
    assert found == [{k: v for k, v in r.items() if k != "id"} for r in rows]


def test_folders_and_tables_of_different_places(system, clips, tmp_path):
    table = tmp_path / "rows.jsonl"
    table.write_bytes(system.cat("/set/rows.jsonl"))
    rows = read_manifest(table, "memory://set")
    assert rows[2]["video"] == "memory://set/videos/2.mp4"
    rows = read_manifest("memory://set/rows.jsonl", tmp_path)
    assert rows[2]["video"] == str(tmp_path / "videos/2.mp4")


@pytest.mark.parametrize(
    "video",
    [
        "../else/a.mp4",
        "memory://else/a.mp4",
        "memory://set/../else/a.mp4",
        "memory://settings/a.mp4",
        "/etc/a.mp4",
        "file:///set/a.mp4",
        "s3://set/a.mp4",
    ],
)
def test_what_leads_out_of_a_folder(system, video):
    row = json.dumps({"video": video, **QUESTION})
    system.pipe("/set/rows.jsonl", row.encode())
    with pytest.raises(ValueError, match="leads out of folder='memory://set'"):
        read_manifest("memory://set/rows.jsonl", "memory://set")
    assert len(read_manifest("memory://set/rows.jsonl")) == 1


def test_batches_and_what_is_left_out(system, clips):
    rows = read_manifest("memory://set/rows.jsonl")
    local = [
        row | {"video": str(clips / f"{i}.mp4")} for i, row in enumerate(rows)
    ]
    rows.append({"id": "none", "video": "memory://set/none.mp4", **QUESTION})
    system.pipe("/set/bad.mp4", b"\0" * 99)
    rows.append({"id": "bad", "video": "memory://set/bad.mp4", **QUESTION})
    options = {"shuffle": False, "buckets": (2,)}
    report = "memory://out/left_out.jsonl"
    with (
        VideoDataset(
            rows,
            tiny.preprocessor(),
            5,
            on_error="report",
            report=report,
            **options,
        ) as data,
        VideoDataset(local, tiny.preprocessor(), 5, **options) as wanted,
    ):
        (x, y, _), (local_x, local_y, _) = data[0], wanted[0]
        np.testing.assert_array_equal(x["videos"], local_x["videos"])
        np.testing.assert_array_equal(y, local_y)
        assert list(data.left_out) == [3, 4]
    lines = system.cat("/out/left_out.jsonl").decode().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["none", "bad"]


def test_subtitles(system):
    assert as_subtitles("memory://set/0.srt") == [(0.5, 1.0, "hello")]


def test_a_pool_fetches_what_its_processes_cannot(system, clips):
    wanted = read_video(clips / "1.mp4", 4)
    with DecodePool(num_workers=1) as pool:
        for start in ("", "simplecache::"):
            address = f"{start}memory://set/videos/1.mp4"
            same(pool.submit(address, 4).result(), wanted)
        with pytest.raises(FileNotFoundError, match="memory://set/none.mp4"):
            pool.submit("memory://set/none.mp4", 4).result()
        with pytest.raises(
            ValueError, match="videos', which is a folder. Copy"
        ):
            pool.submit("memory://set/videos", 4).result()


def test_systems_registered_here(system, clips):
    class Bucket(type(system)):
        protocol = "bucket"

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("bucket://", "/"))

    fsspec.register_implementation("bucket", Bucket, clobber=True)
    table = "bucket://set/rows.jsonl"
    with video_dataset_from_manifest(table, tiny.preprocessor(), 3) as data:
        assert data[0][2].any(-1).all()
        assert str(data.rows[0]["video"]) == "bucket://set/videos/0.mp4"


def test_a_cache_knows_what_changed(system, clips, tmp_path):
    cache = FrameCache(tmp_path)
    address = "memory://set/videos/0.mp4"
    before = cache.key(address)
    assert cache.key(address) == before
    system.pipe("/set/videos/0.mp4", (clips / "1.mp4").read_bytes())
    assert cache.key(address) != before


def test_what_is_kept_on_this_machine():
    for make, what in (
        (FrameCache, "A cache of frames"),
        (keras_stts.callbacks.Backup, "A backup"),
    ):
        with pytest.raises(
            ValueError, match=f"{what} must be on this mach.*s3"
        ):
            make("s3://bucket/folder")


@pytest.mark.parametrize(
    ("address", "package"),
    [
        ("gs://a/b", "gcsfs"),
        ("s3://a/b", "s3fs"),
        ("hf://datasets/a/b/c", "huggingface-hub"),
        ("abfs://a/b", "adlfs"),
        ("https://a.b/c", "aiohttp"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, address, package):
    def missing(address, **kwargs):
        raise ImportError("Please install it")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    wanted = f"{address}.*which needs the package {package} .*`pip install "
    wanted += f"{package}`"
    with pytest.raises(ValueError, match=wanted):
        read_manifest(f"{address}.jsonl")
    with pytest.raises(ValueError, match=wanted):
        read_video(f"{address}.mp4", 4)
    with pytest.raises(ValueError, match=wanted):
        as_subtitles(f"{address}.srt")
    # The pool's process may have the others.
    if package not in ("huggingface-hub", "aiohttp"):
        with DecodePool(num_workers=1) as pool:
            with pytest.raises(ValueError, match=wanted):
                pool.submit(f"{address}.mp4", 4).result()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match=f"`pip install fsspec {package}`"):
        read_manifest(f"{address}.jsonl")


def test_what_is_not_there(system):
    with pytest.raises(
        FileNotFoundError, match="memory://set/no.jsonl', which"
    ):
        read_manifest("memory://set/no.jsonl")
    with pytest.raises(ValueError, match="which is a folder"):
        system.pipe("/set/folder.csv/a", b"")
        read_manifest("memory://set/folder.csv")
    with pytest.raises(ValueError, match="must end in one of"):
        read_manifest("memory://set/videos/0.mp4")
    with pytest.raises(
        ValueError, match="nosuch://a.csv', which fsspec cannot"
    ):
        read_manifest("nosuch://a.csv")
    with pytest.raises(FileNotFoundError, match="no.srt"):
        as_subtitles("memory://set/no.srt")
