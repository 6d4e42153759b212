"""Videos and images from paths, addresses, bytes, files and rows."""

import gzip
import io
import pathlib
import sys
import tempfile
import warnings

import numpy as np
import PIL.Image
import pytest

import keras_stts
from keras_stts.data import DecodePool
from keras_stts.data import FrameCache
from keras_stts.data import VideoDataset
from keras_stts.data import read_manifest
from keras_stts.data import read_video
from keras_stts.data import sampled_times
from keras_stts.data.image import read_image
from tests.data.reading_test import write
from tests.models import tiny

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return write(folder / "clip.mp4", "-c:v libx264", seconds=2)


@pytest.fixture(scope="module")
def wanted(clip):
    return read_video(clip, 4)


@pytest.fixture
def picture():
    image = PIL.Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 20)
    return image.convert("RGB")


def check(source, wanted):
    for _ in range(2):  # A file object may be read again.
        frames, times = read_video(source, 4)
        np.testing.assert_array_equal(frames, wanted.frames)
        np.testing.assert_array_equal(times, wanted.times)
    np.testing.assert_array_equal(sampled_times(source, 4), wanted.times)


def spooled(data):
    file = tempfile.SpooledTemporaryFile()
    file.write(data)
    return file


def rolled(data):
    file = tempfile.SpooledTemporaryFile(10)
    file.write(data)
    return file


def named(data):
    file = tempfile.NamedTemporaryFile()
    file.write(data)
    return file


def made(data):
    path = pathlib.Path(tempfile.mkdtemp(), "made.bin")
    file = open(path, "x+b")
    file.write(data)
    return file


def zipped(data):
    return gzip.open(io.BytesIO(gzip.compress(data)))


def amid(data):
    file = io.BytesIO(data)
    file.seek(1000)
    return file


class Own:
    """What someone writes who knows that files are read and sought."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, size=-1):
        return self._file.read(size)

    def seek(self, place, whence=0):
        self._file.seek(place, whence)

    def tell(self):
        return self._file.tell()


@pytest.mark.parametrize(
    "kind",
    [spooled, rolled, named, made, zipped, amid, Own, io.BytesIO, bytearray,
     memoryview, bytes],
)  # fmt: skip
def test_file_objects_of_any_mode(clip, wanted, kind):
    check(kind(clip.read_bytes()), wanted)


def test_unbuffered_files_and_streams(clip, wanted):
    with open(clip, "rb", buffering=0) as file:
        check(file, wanted)

    class Stream:
        def __init__(self):
            self._file = open(clip, "rb")

        def read(self, size):
            return self._file.read(size)

    frames, _ = read_video(Stream(), 4)
    np.testing.assert_array_equal(frames, wanted.frames)


def test_names_that_ffmpeg_would_take_for_something_else(
    clip, wanted, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    for name in ("a:b.mp4", "http:/x.mp4", "f%03d.mp4", "ü #?&.mp4", "-i.mp4"):
        pathlib.Path(name).write_bytes(clip.read_bytes())
        check(name, wanted)
    check(pathlib.Path("ü #?&.mp4").resolve().as_uri(), wanted)
    check(f"file://localhost{tmp_path}/a:b.mp4", wanted)
    with pytest.raises(ValueError, match="file on another machine"):
        read_video("file://elsewhere/a.mp4", 4)
    with pytest.raises(FileNotFoundError, match="none.mp4"):
        read_video(f"file://{tmp_path}/none.mp4", 4)


def test_rows_of_hugging_face_datasets(clip, wanted, picture, tmp_path):
    data = clip.read_bytes()
    for row in (
        {"path": "some.mp4", "bytes": data},
        {"path": None, "bytes": data},
        {"path": str(clip), "bytes": None},
        {"bytes": data},
    ):
        check(row, wanted)
    with pytest.raises(ValueError, match='"bytes" or a "path".*neither'):
        read_video({"path": None, "bytes": None}, 4)
    with pytest.raises(ValueError, match="some.mp4', which is"):
        read_video({"path": "some.mp4", "bytes": data[:3000]}, 4)
    memory = io.BytesIO()
    picture.save(memory, "png")
    pixels = np.asarray(picture)
    path = tmp_path / "a.png"
    path.write_bytes(memory.getvalue())
    for source in (
        {"path": "a.png", "bytes": memory.getvalue()},
        {"path": str(path), "bytes": None},
        memory.getvalue(),
        memory,
        path.as_uri(),
        picture,
    ):
        np.testing.assert_array_equal(read_image(source), pixels)


def test_addresses_are_read_with_fsspec(clip, wanted, picture):
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.pipe("/clip.mp4", clip.read_bytes())
    memory = io.BytesIO()
    picture.save(memory, "png")
    system.pipe("/a.png", memory.getvalue())
    check("memory://clip.mp4", wanted)
    np.testing.assert_array_equal(
        read_image("memory://a.png"), np.asarray(picture)
    )
    with pytest.raises(FileNotFoundError, match="memory://none.mp4"):
        read_video("memory://none.mp4", 4)
    with pytest.raises(ValueError, match="nosuch://a.mp4', which fsspec can"):
        read_video("nosuch://a.mp4", 4)


@pytest.mark.parametrize("address", ["http://a.b/c.mp4", "s3://a/b.mp4"])
def test_a_missing_fsspec_is_said(monkeypatch, address):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match="needs fsspec.*pip install fsspec"):
        read_video(address, 4)
    with pytest.raises(ValueError, match="needs fsspec.*pip install fsspec"):
        read_image(address)


def test_what_is_no_source(clip):
    with pytest.raises(ValueError, match="must be a path.* Received: int"):
        read_video(5, 4)
    with open(clip) as text:
        with pytest.raises(
            ValueError, match='clip.mp4.*Open it with mode "rb"'
        ):
            read_video(text, 4)
    with open(clip, "rb") as file:
        pass
    with pytest.raises(ValueError, match="clip.mp4.*cannot be read"):
        read_video(file, 4)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/x.bin", "wb") as file:
            with pytest.raises(ValueError, match="x.bin.*cannot be read"):
                read_video(file, 4)
    with pytest.raises(ValueError, match="is empty"):
        read_video(b"", 4)


def test_pools_and_caches_take_all_of_them(clip, wanted, tmp_path):
    data = clip.read_bytes()
    row = {"path": "some.mp4", "bytes": data}
    with DecodePool(num_workers=1) as pool:
        for source in (row, data, io.BytesIO(data), clip.as_uri(), clip):
            frames, _ = pool.submit(source, 4).result()
            np.testing.assert_array_equal(frames, wanted.frames)
            times = pool.submit_times(source, 4).result()
            np.testing.assert_array_equal(times, wanted.times)
        with pytest.raises(ValueError, match="some.mp4', which is"):
            pool.submit({"path": "some.mp4", "bytes": data[:3000]}, 4).result()
    cache = FrameCache(tmp_path)
    assert cache.key(row) == cache.key(data) != cache.key(data + b"\0")
    assert cache.key(clip) == cache.key(clip.as_uri()) != cache.key(row)


def test_a_cached_folder_knows_its_images(tmp_path, picture):
    folder = tmp_path / "frames"
    folder.mkdir()
    picture.save(folder / "1.png")
    cache = FrameCache(tmp_path / "cache")
    before = cache.key(folder)
    picture.transpose(PIL.Image.Transpose.ROTATE_90).save(folder / "1.png")
    assert cache.key(folder) != before


def test_warnings_come_out_of_a_pool(tmp_path):
    options = "-vf setpts=if(eq(N\\,49)\\,N+250\\,N)/25/TB -fps_mode vfr"
    path = write(tmp_path / "a.mp4", f"{options} -c:v libx264", seconds=2)
    data = bytearray(path.read_bytes())
    place = data.index(b"mdhd") + 20  # Where it says how long the track is.
    data[place : place + 4] = (10**8).to_bytes(4, "big")
    path.write_bytes(data)
    with DecodePool(num_workers=1) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="a.mp4.*where its header says"):
            pool.submit(path, 4).result()


def test_tables_and_prompts_take_rows_and_addresses(clip, tmp_path, picture):
    table = tmp_path / "table.csv"
    text = "video,prompt,response\n{},what?,this\n{},what?,that\n"
    table.write_text(text.format(clip.as_uri(), clip))
    rows = read_manifest(table)
    assert rows[0]["video"] == clip.as_uri()
    content = {"path": "some.mp4", "bytes": clip.read_bytes()}
    rows.append(rows[0] | {"id": "row", "video": content})
    rows.append(rows[0] | {"id": "bad", "video": {"bytes": b"\0" * 99}})
    options = {"on_error": "report", "report": tmp_path / "report.jsonl"}
    with VideoDataset(rows, tiny.preprocessor(), 4, **options) as data:
        _, _, weights = data[0]
        assert int(weights.any(-1).sum()) == 3
        assert list(data.left_out) == [3]
    assert "99 bytes" in options["report"].read_text()


def test_a_converter_takes_rows(clip):
    converter = keras_stts.VideoVLMVideoConverter(image_size=28, num_frames=4)
    row = {"path": "some.mp4", "bytes": clip.read_bytes()}
    videos = converter([row, str(clip), io.BytesIO(row["bytes"])])["videos"]
    np.testing.assert_array_equal(videos[0], videos[1])
    np.testing.assert_array_equal(videos[0], videos[2])
