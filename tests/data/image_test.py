"""Image files of all sorts."""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from keras_stts.data.image import read_image

pytestmark = pytest.mark.once

SMOOTH = np.stack(
    np.broadcast_arrays(
        np.arange(0, 240, 10)[:, None], np.arange(0, 160, 10)[None], 60
    ),
    axis=-1,
).astype("uint8")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_images_stand_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"image.{suffix}"
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(SMOOTH).save(path, exif=exif, quality=95)
    with PIL.Image.open(path) as image:
        wanted = PIL.ImageOps.exif_transpose(image).convert("RGB")
    np.testing.assert_array_equal(read_image(path), np.asarray(wanted))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    image = PIL.Image.fromarray(SMOOTH).convert(mode)
    image.save(path)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8 and pixels.shape == SMOOTH.shape
    wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels, wanted)


def test_bytes_and_file_objects(tmp_path):
    memory = io.BytesIO()
    PIL.Image.fromarray(SMOOTH).save(memory, "png")
    np.testing.assert_array_equal(read_image(memory.getvalue()), SMOOTH)
    memory.seek(0)
    np.testing.assert_array_equal(read_image(memory), SMOOTH)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.png"):
        read_image(tmp_path / "none.png")
    path = tmp_path / "image.jpg"
    PIL.Image.fromarray(SMOOTH).save(path)
    whole = path.read_bytes()
    for content in (b"", b"not an image", whole[:200]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="that Pillow reads. .*image.jpg"):
            read_image(path)
    with pytest.raises(ValueError, match="Received: bytes"):
        read_image(whole[:100])
