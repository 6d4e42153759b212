"""Predictions on disk: nothing is lost, doubled or mixed up."""

import errno
import os

import pytest

from keras_stts.evaluation import load_results
from keras_stts.evaluation.journal import PREDICTIONS
from keras_stts.evaluation.journal import Journal

SETTINGS = {"num_frames": 4, "model": 12}
ENTRIES = [{"id": str(i), "prediction": "é" * i} for i in range(4)]


def test_a_file_cut_anywhere_holds_its_whole_lines(tmp_path):
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append(ENTRIES[:2])
        journal.append(ENTRIES[2:])
    path = tmp_path / PREDICTIONS
    data = path.read_bytes()
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        with Journal(tmp_path, SETTINGS) as journal:
            whole = data[:length].count(b"\n")
            assert list(journal.entries.values()) == ENTRIES[:whole]
            journal.append(ENTRIES[whole:])
        assert path.read_bytes() == data


def test_without_folder_it_is_in_memory():
    with Journal(None, {}) as journal:
        journal.append(ENTRIES)
        journal.write("results.json", {})
        assert journal.entries["2"] == ENTRIES[2]


def test_other_settings_are_named(tmp_path):
    Journal(tmp_path, SETTINGS).close()
    message = "Received: {'num_frames': 8}.*holds those of {'num_frames': 4}"
    with pytest.raises(ValueError, match=message):
        Journal(tmp_path, SETTINGS | {"num_frames": 8})
    Journal(tmp_path, SETTINGS).close()  # It was not changed, nor is locked.


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    with Journal(tmp_path, SETTINGS):
        with pytest.raises(ValueError, match="to which another one is writing"):
            Journal(tmp_path, SETTINGS)


@pytest.mark.parametrize("line", ["{", "[1]", '{"prediction": "a"}', "7"])
def test_a_damaged_line_is_named(tmp_path, line):
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append(ENTRIES[:1])
    with open(tmp_path / PREDICTIONS, "a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match="Received: line 2 of"):
        Journal(tmp_path, SETTINGS)


def fail(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append(ENTRIES[:1])
        monkeypatch.setattr(os, "fsync", fail)
        message = "28.* Free some space, .*{}"
        with pytest.raises(OSError, match=message.format(PREDICTIONS)):
            journal.append(ENTRIES[1:])
        with pytest.raises(OSError, match=message.format("results.json")):
            journal.write("results.json", {})
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 99_999, "\\"])
def test_damaged_files_are_named(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match="settings.json', which is no JSON"):
        Journal(tmp_path, SETTINGS)
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match="results.json', which is no JSON obj"):
        load_results(tmp_path)
