"""A preset leads nowhere else, and what is wrong with a file is said."""

import os

import pytest

from keras_stts.presets import files as preset_files
from keras_stts.presets import parsing as preset_json

pytestmark = pytest.mark.once

SECRET = "secret words"


@pytest.fixture
def preset(tmp_path):
    (tmp_path / "secret.json").write_text(SECRET)
    folder = tmp_path / "preset"
    (folder / "assets").mkdir(parents=True)
    (folder / "config.json").write_text('{"a": [1, {"b": null}]}')
    (folder / "assets" / "merges.txt").write_text("a b\n", encoding="utf-8")
    return folder


def test_reading(preset):
    wanted = {"a": [1, {"b": None}]}
    assert preset_files.read_json(str(preset), "config.json") == wanted
    assert preset_files.read_json(preset, "config.json") == wanted
    assert preset_files.read_text(preset, "assets/merges.txt") == "a b\n"
    assert preset_files.has(preset, "config.json")
    assert not preset_files.has(preset, "task.json")
    with pytest.raises(FileNotFoundError, match="without task.json. Download"):
        preset_files.find(preset, "task.json")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "assets/../../secret.json",
        "..\\secret.json",
        "/etc/hostname",
        "C:/secret.json",
        "C:secret.json",
        "config.json\0.txt",
        "config.json:stream",
        "./config.json",
        "assets//merges.txt",
        "... /secret.json",
        "\ud800.json",
        "",
        None,
        ["config.json"],
    ],
)
def test_names_that_lead_out(preset, name):
    for function in (preset_files.find, preset_files.has):
        with pytest.raises(ValueError, match="must lie in its folder") as info:
            function(preset, name)
        assert SECRET not in str(info.value)


def test_links_that_lead_out(preset):
    (preset / "task.json").symlink_to("../secret.json")
    (preset / "gone.json").symlink_to("../no_such_file.json")
    (preset / "more").symlink_to("..")
    (preset / "loop.json").symlink_to("loop.json")
    for name in ("task.json", "gone.json", "more/secret.json"):
        with pytest.raises(ValueError, match=f"{name}.*leads elsewhere"):
            preset_files.read_json(preset, name)
    assert not preset_files.has(preset, "loop.json")


def test_links_within(preset):
    (preset / "copy.json").symlink_to("config.json")
    assert preset_files.read_json(preset, "copy.json")
    link = preset.parent / "link"
    link.symlink_to(preset)
    assert preset_files.read_json(link, "copy.json")


def hugging_face_cache(folder):
    """A snapshot in the layout of Hugging Face's cache."""
    cache = folder / "models--me--model"
    snapshot = cache / "snapshots" / "0a1b"
    (snapshot / "assets").mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "blobs" / "77").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/77")
    (snapshot / "assets" / "a.json").symlink_to("../../../blobs/77")
    return snapshot


def test_links_of_a_hub_cache(tmp_path):
    snapshot = hugging_face_cache(tmp_path)
    assert preset_files.read_json(snapshot, "config.json") == {}
    assert preset_files.read_json(snapshot, "assets/a.json") == {}
    assert preset_files.read_json(snapshot / "assets", "a.json") == {}
    (tmp_path / "secret.json").write_text(SECRET)
    (snapshot / "task.json").symlink_to("../../../secret.json")
    with pytest.raises(ValueError, match="leads elsewhere"):
        preset_files.find(snapshot, "task.json")
    # Nor does a link in the place of that folder.
    blobs = snapshot.parents[1] / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to("../elsewhere")
    with pytest.raises(ValueError, match="leads elsewhere"):
        preset_files.find(snapshot, "config.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Needs pipes.")
def test_what_is_no_regular_file(preset):
    os.mkfifo(preset / "task.json")
    for name in ("task.json", "assets"):
        with pytest.raises(ValueError, match=f"regular files.*{name}"):
            preset_files.read_json(preset, name)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b"[1]", "holds a list"),
        (b"7", "holds a int"),
        (b'"text"', "holds a str"),
        (b"null", "holds a NoneType"),
        (b'{"a": 1, "a": 2}', "names 'a' twice"),
        (b'{"b": {"a": 1, "a": 2}}', "names 'a' twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number that is too long"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "deeper than 64"),
        (b"[" * 1_000_000, "nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b"\xff\xfe{}", "not at byte 0"),
        (b'{"a": "\xe9"}', "not at byte 7"),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
    ],
)
def test_json_that_is_none(preset, data, reason):
    (preset / "config.json").write_bytes(data)
    with pytest.raises(ValueError, match=f"config.json of .*{reason}") as info:
        preset_files.read_json(preset, "config.json")
    assert str(info.value).endswith("Download it or save it again.")


def test_enormous_files(preset):
    with open(preset / "config.json", "wb") as file:
        file.truncate(2**34)
    with pytest.raises(ValueError, match="config.json.*17,179,869,184"):
        preset_files.read_json(preset, "config.json")
    limit = preset_json.LIMIT
    (preset / "assets" / "merges.txt").write_bytes(b"a" * (limit + 1))
    assert len(preset_files.read_text(preset, "assets/merges.txt")) > limit


def test_a_file_that_cannot_be_read(preset, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(preset_json, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match="config.json of .* rights"):
        preset_files.read_json(preset, "config.json")
