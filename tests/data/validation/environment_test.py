"""Where TensorFlow Data Validation is looked for."""

import importlib.util
import pathlib
import re
import shutil
import sys

import pytest

from keras_stts.data import __main__ as command
from keras_stts.data.validation import environment

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv(environment.VARIABLE, str(tmp_path / "there"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_what_to_do_where_it_is_missing(tmp_path, capsys):
    table = tmp_path / "train.jsonl"
    table.write_text('{"video": "a.mp4", "prompt": "?"}\n')
    assert command.main(["validate", str(table)]) == 2
    message = capsys.readouterr().err
    assert "neither here nor in '" + str(tmp_path / "there") in message
    assert "`python -m keras_stts.data install-validation`" in message


def test_an_environment_is_whole_or_not_there(tmp_path):
    (tmp_path / "there" / "bin").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="install-validation"):
        environment.python()
    shutil.copy(environment.REQUIREMENTS, tmp_path / "there")
    assert environment.python() == str(tmp_path / "there" / "bin" / "python")
    (tmp_path / "there" / "requirements.txt").write_text("older==1\n")
    with pytest.raises(RuntimeError, match="in another version"):
        environment.python()


def test_places(monkeypatch, tmp_path):
    assert environment.folder() == tmp_path / "there"
    monkeypatch.delenv(environment.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert environment.folder() == pathlib.Path("/cache/keras_stts/validation")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert environment.folder().is_relative_to(pathlib.Path.home() / ".cache")


def test_beside_keras_it_is_used_there(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "a spec")
    assert environment.python() == sys.executable


def test_without_python_3_11(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    with pytest.raises(RuntimeError, match="no `python3.11` on the PATH"):
        environment.install()
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="could not be made: `false -m venv"):
        environment.install()


def test_all_requirements_are_pinned():
    lines = environment.REQUIREMENTS.read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line) for line in lines)
    assert "tensorflow-data-validation==1.16.1" in lines
