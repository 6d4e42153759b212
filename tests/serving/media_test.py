"""Files that requests name: of the served folders alone."""

import asyncio
import os
import shutil

import numpy as np
import PIL.Image
import pytest

import keras_stts
from keras_stts.serving.limits import Limits
from keras_stts.serving.media import Media
from keras_stts.serving.refusals import Refused
from tests.serving.servers import data_url

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def place(tmp_path_factory, clip):
    """A folder that is served, and one beside it that is not."""
    place = tmp_path_factory.mktemp("place")
    for name in ("served", "secret", "served2"):
        (place / name).mkdir()
        shutil.copy(clip, place / name / "a.mp4")
    (place / "served/link.mp4").symlink_to(place / "secret/a.mp4")
    (place / "served/way").symlink_to(place / "secret")
    (place / "served/inner.mp4").symlink_to(place / "served/a.mp4")
    record = place / "served/x.tfrecord#video=0@0"
    shutil.copy(clip, record)
    os.mkfifo(place / "served/pipe.mp4")
    return place


@pytest.fixture(scope="module")
def read(place):
    """Function of a kind and an address."""
    loop = asyncio.new_event_loop()
    converter = keras_stts.VideoVLMVideoConverter(image_size=28, num_frames=4)
    limits = Limits(decode_workers=1)
    media = Media(converter, limits, [place / "served"])
    yield lambda *args: loop.run_until_complete(media.read(*args))
    loop.run_until_complete(media.close())
    loop.close()


@pytest.mark.parametrize("name", ["a.mp4", "inner.mp4", "%61.mp4"])
def test_a_served_file(read, place, name):
    frames, times = read("video", f"file://{place}/served/{name}")
    wanted = keras_stts.data.read_video(place / "served/a.mp4", 4, size=28)
    np.testing.assert_array_equal(frames, wanted.frames)
    np.testing.assert_array_equal(times, wanted.times)


@pytest.mark.parametrize(
    "name",
    [
        "secret/a.mp4",
        "served2/a.mp4",
        "served/../secret/a.mp4",
        "served/%2e%2e/secret/a.mp4",
        "served/..%2Fsecret%2Fa.mp4",
        "served/%2E%2E%2fsecret/a.mp4",
        "served/link.mp4",
        "served/way/a.mp4",
        "served/pipe.mp4",
        "served",
        "served/",
        "served/missing.mp4",
        "secret/missing.mp4",
        "served/a.mp4%00",
        "served/x.tfrecord%23video=0@0",
        "",
    ],
)
def test_another_file(read, place, name):
    """All of these are refused in the same words."""
    with pytest.raises(Refused, match="folder that is served") as found:
        read("video", f"file://{place}/{name}")
    assert "or does not exist" in str(found.value)


@pytest.mark.parametrize(
    "url", ["file://elsewhere/a.mp4", "file://", "FILE:///etc/passwd", "/etc"]
)
def test_another_place(read, url):
    with pytest.raises(Refused, match="served"):
        read("video", url)


def test_a_path_is_not_told(read, place):
    (place / "served/bad.mp4").write_bytes(b"bad" * 99)
    (place / "served/b.mp4").symlink_to(place / "served/bad.mp4")
    url = f"file://{place}/served/b.mp4"
    with pytest.raises(Refused) as found:
        read("video", url)
    assert "bad.mp4" not in str(found.value)
    assert url[:80] in str(found.value)


def test_data(read, place, tmp_path):
    url = data_url(place / "served/a.mp4")
    frames, _ = read("video", url)
    wanted = keras_stts.data.read_video(place / "served/a.mp4", 4, size=28)
    np.testing.assert_array_equal(frames, wanted.frames)
    picture = np.arange(48, dtype="uint8").reshape(4, 4, 3)
    PIL.Image.fromarray(picture).save(tmp_path / "a.png")
    image = read("image", data_url(tmp_path / "a.png"))
    np.testing.assert_array_equal(image, picture)


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:video/mp4,abc",
        "data:video/mp4;base64,???",
        "data:video/mp4;base64,",
        "data:video/mp4;base64,AAAA",
        "data:text/plain;base64,L2V0Yy9wYXNzd2Q=",
        "data:audio/x-mpegurl;base64,I0VYVE0zVQovZXRjL3Bhc3N3ZAo=",
    ],
)
@pytest.mark.parametrize("kind", ["video", "image"])
def test_bad_data(read, kind, url):
    with pytest.raises(Refused, match="Received: "):
        read(kind, url)


def test_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="--allow-folder"):
        Media(None, Limits(), [tmp_path / "none"])
