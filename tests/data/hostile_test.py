"""Files that name others, leave their folder, or claim to be enormous."""

import os
import struct

import numpy as np
import PIL.Image
import pytest

from keras_stts.data import DecodePool
from keras_stts.data import index_video
from keras_stts.data import read_video
from keras_stts.data import sampled_times
from keras_stts.data import source
from keras_stts.data.image import read_image
from tests.data.damaged_test import png_bomb
from tests.data.reading_test import write

pytestmark = pytest.mark.once

SECRET = "root:x:0:0:very secret"
MPD = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="0"
bandwidth="1" codecs="avc1.4d400c" width="64" height="48">
<BaseURL>clip.mp4</BaseURL><SegmentBase/></Representation></AdaptationSet>
</Period></MPD>
"""
# Names, and texts that name a file beside them.
TEXTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.ts\n"
    "#EXT-X-ENDLIST\n",
    "master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlist.m3u8\n",
    "hidden.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.ts\n",
    "script.txt": "ffconcat version 1.0\nfile clip.mp4\n",
    "script.mp4": "ffconcat version 1.0\nfile 'clip.mp4'\n",
    "manifest.mpd": MPD,
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\n"
    "t=0 0\nm=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "sidecar.idx": "# VobSub index file, v7 (do not modify this line!)\n"
    "size: 720x480\nid: en, index: 0\ntimestamp: 00:00:01:101, filepos: 0\n",
    "radio.pls": "[playlist]\nFile1=clip.mp4\n",
    "list.asx": '<asx><entry><ref href="clip.mp4"/></entry></asx>',
    "list.xspf": '<?xml version="1.0"?><playlist version="1"><trackList><track>'
    "<location>clip.mp4</location></track></trackList></playlist>",
    "list.smil": '<smil><body><video src="clip.mp4"/></body></smil>',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("clip.mp4", "clip.ts", "clip.mov"):
        write(folder / name, "-c:v libx264", seconds=1)
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    (folder / "list.m3u").write_text("clip.mp4\n")
    (folder / "secret.mp4").write_text(SECRET)
    return folder


@pytest.fixture
def opened(monkeypatch):
    """Paths that Python opens."""
    paths = []
    original = open

    def recording(file, *args, **kwargs):
        paths.append(os.fspath(file))
        return original(file, *args, **kwargs)

    monkeypatch.setattr(source, "open", recording, raising=False)
    return paths


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("read", [read_video, sampled_times])
def test_what_names_other_media_is_refused(folder, name, read, opened):
    path = folder / name
    message = f"{name}', which names other media .* pass the media file"
    with pytest.raises(ValueError, match=message) as error:
        read(path, 4)
    assert "clip" not in str(error.value)
    assert set(opened) == {str(path)}
    with pytest.raises(ValueError, match="names other media"):
        read(path.read_bytes(), 4)


def test_no_text_of_a_file_is_in_an_error(folder):
    for name in ("secret.mp4", "list.m3u"):
        for value in (folder / name, open(folder / name, "rb")):
            with pytest.raises(ValueError, match="is not a video") as error:
                read_video(value, 4)
            assert "secret" not in str(error.value).replace(name, "")
            assert "clip" not in str(error.value)
        with pytest.raises(ValueError, match=name) as error:
            read_image(folder / name)
        assert "very" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(b"url ", b"file:///tmp/clip.mp4\0"), (b"alis", bytes(150) + b"clip.mp4")],
)
def test_a_movie_whose_pictures_are_elsewhere(folder, tmp_path, kind, name):
    """The `dref` box of a movie may say that samples are in another file."""
    data = bytearray((folder / "clip.mov").read_bytes())
    place = data.index(b"dref") - 4
    length = struct.unpack(">I", data[place : place + 4])[0]
    entry = struct.pack(">I4sI", 12 + len(name), kind, 0) + name
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    data[place : place + length] = box
    added = len(box) - length
    for outer in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = data.rindex(outer, 0, place) - 4
        size = struct.unpack(">I", data[at : at + 4])[0]
        data[at : at + 4] = struct.pack(">I", size + added)
    path = tmp_path / "reference.mov"
    path.write_bytes(data)
    for read in (read_video, sampled_times):
        with pytest.raises(ValueError, match="reference.mov', which names oth"):
            read(path, 4)
    # Such an entry without a name is of the file itself.
    assert len(read_video(folder / "clip.mov", 4)[0]) == 2


@pytest.fixture
def pictures(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        image = PIL.Image.fromarray(np.full((8, 8, 3), 80 * i, "uint8"))
        image.save(frames / f"{i}.png")
    return frames


def test_links_that_leave_a_folder(pictures, tmp_path):
    secret = tmp_path / "secret.png"
    (pictures / "0.png").rename(secret)
    (pictures / "0.png").symlink_to("../secret.png")
    for read in (read_video, sampled_times):
        message = "0.png', a link that leaves the folder. Copy the image"
        with pytest.raises(ValueError, match=message):
            read(pictures, 4)
    (pictures / "0.png").unlink()
    (pictures / "0.png").symlink_to(secret)
    with DecodePool(1) as pool:
        with pytest.raises(ValueError, match="a link that leaves the folder"):
            pool.submit(pictures, 4).result()
    # Links within a folder, and one to the folder, are its owner's.
    (pictures / "0.png").unlink()
    (pictures / "0.png").symlink_to("1.png")
    (tmp_path / "link").symlink_to(pictures)
    assert len(read_video(tmp_path / "link", 4)[0]) == 3


def test_folders_of_a_hub_cache_hold_links(pictures, tmp_path):
    root = tmp_path / "datasets--some--one"
    (root / "blobs").mkdir(parents=True)
    snapshot = root / "snapshots" / "0123" / "frames"
    snapshot.mkdir(parents=True)
    for i in range(3):
        (pictures / f"{i}.png").rename(root / "blobs" / f"blob{i}")
        (snapshot / f"{i}.png").symlink_to(f"../../../blobs/blob{i}")
    assert len(read_video(snapshot, 4)[0]) == 3
    (snapshot / "3.png").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="3.png', a link that leaves"):
        read_video(snapshot, 4)


def test_hidden_files_are_no_frames(pictures):
    (pictures / "._0.png").write_bytes(b"what macOS leaves on other disks")
    assert len(read_video(pictures, 4)[0]) == 3


def test_pipes_and_devices_are_no_files(tmp_path, pictures):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match="pipe.mp4', which is neither a file"):
        read_video(tmp_path / "pipe.mp4", 4)
    with pytest.raises(ValueError, match="zero', which is neither a file"):
        read_video("/dev/zero", 4)
    os.mkfifo(pictures / "9.png")
    for value in (pictures / "9.png", pictures):
        with pytest.raises(ValueError, match="9.png'.* pipe or a device"):
            read_image(value) if value.suffix else read_video(value, 4)


def jpeg_bomb(side):
    sizes = struct.pack(">HH", side, side)
    parts = (
        b"\xff\xd8\xff\xc0\0\x11\x08" + sizes + b"\3\1\x11\0\2\x11\0\3\x11\0"
    )
    return parts + b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" + bytes(999)


BOMBS = {
    "a.png": png_bomb(60000),
    "a.jpg": jpeg_bomb(60000),
    "a.gif": b"GIF89a" + struct.pack("<HH", 60000, 60000) + b"\0\0\0,"
    + struct.pack("<HHHH", 0, 0, 60000, 60000) + b"\0\2\2\x4c\1\0;",
    "a.bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, 60000,
    60000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(999),
    "a.ppm": b"P6 60000 60000 255\n" + bytes(999),
    "a.webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8L"
    + struct.pack("<I", 9) + b"\x2f" + struct.pack("<I", 0xFFFFFFF) + bytes(5),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.filterwarnings("ignore:The video .* may be damaged")
def test_enormous_pictures_are_not_decoded(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BOMBS[name])
    with pytest.raises(ValueError, match=name):
        read_image(path)
    with DecodePool(1, time_limit=20, memory_limit=2**30) as pool:
        with pytest.raises(ValueError, match=name) as error:
            pool.submit(path, 4).result()
    assert "crash" not in str(error.value)
    assert "time_limit" not in str(error.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mjpeg"])
def test_enormous_videos_are_not_decoded(tmp_path, name):
    path = write(tmp_path / name, "-c:v mjpeg", seconds=1)
    head = b"\xff\xc0\0\x11\x08"  # Height and width of a frame follow it.
    data, size = path.read_bytes(), head + b"\0\x30\0\x40"
    assert size in data
    path.write_bytes(data.replace(size, head + b"\xf0" * 4))
    with DecodePool(1, time_limit=20, memory_limit=2**31) as pool:
        with pytest.raises(ValueError, match=f"{name}', which ") as error:
            pool.submit(path, 4).result()
    assert "time_limit" not in str(error.value)
    assert "crash" not in str(error.value)


def test_no_program_is_run_for_an_image(tmp_path):
    path = tmp_path / "a.eps"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ValueError, match="a.eps' .unknown format"):
        read_image(path)
    with pytest.raises(ValueError, match="a.eps', which is not a video"):
        index_video(path)


def test_grey_images_of_16_bits(tmp_path):
    grey = np.arange(0, 2**16, 2**10, "uint16").reshape(8, 8)
    PIL.Image.fromarray(grey).save(tmp_path / "a.png")
    wanted = np.repeat((grey >> 8).astype("uint8")[..., None], 3, -1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), wanted)
    PIL.Image.fromarray(grey.astype("float32")).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match="a.tiff' .its pixels are of mode F"):
        read_image(tmp_path / "a.tiff")
