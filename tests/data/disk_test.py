"""Files that are whole or as they were."""

import errno
import os
import stat

import pytest

from keras_stts.data import disk

pytestmark = pytest.mark.once


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("old")
    with disk.replacing(path) as part:
        part.write_text("new")
        assert part.suffix == ".mp4" and part.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, OSError(errno.ENOSPC, "")]
)
def test_on_an_error_it_is_as_it_was(tmp_path, error):
    path = tmp_path / "cache"
    with pytest.raises((KeyboardInterrupt, OSError)):
        with disk.replacing(path, ending=".part", lasting=False) as part:
            assert part.suffix == ".part"
            part.write_text("half")
            raise error
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="needs modes of files")
def test_others_may_read_it_as_any_other_file(tmp_path):
    with disk.replacing(tmp_path / "replaced") as part:
        part.write_text("new")
    (tmp_path / "written").write_text("new")
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert len(modes) == 1
