"""Where TensorFlow Data Validation is, or is to be put."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

from keras_stts._install import how_to_install
from keras_stts.data.locks import lock

VARIABLE = "KERAS_STTS_VALIDATION"
COMMAND = "python -m keras_stts.data install-validation"
REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")


def folder():
    """Path of the environment, whether it is there or not."""
    if os.environ.get(VARIABLE):
        return pathlib.Path(os.environ[VARIABLE]).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "keras_stts" / "validation"


def python():
    """Path of a Python that has TensorFlow Data Validation.

    Raises:
        RuntimeError: If there is none.
    """
    if importlib.util.find_spec("tensorflow_data_validation"):
        return sys.executable
    if not _is_whole(folder()):
        raise RuntimeError(
            "Validation needs TensorFlow Data Validation. It is neither here "
            f"nor in {str(folder())!r}, or there in another version. Run "
            f"`{COMMAND}` once, which puts it there (1.5 GB; {VARIABLE} names "
            "another place). Where glibc is at least 2.39, and on macOS, the "
            f"extra does, too: {how_to_install('validation')}."
        )
    return str(_inside(folder()))


def install():
    """Make the environment, unless it is there.

    With Python 3.11's venv and pip; without one, with uv, which fetches it.

    Returns:
        Its path.

    Raises:
        RuntimeError: If there is no Python 3.11, or a package can't be had.
    """
    path = folder()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "wb") as file:
        lock(file, wait=True)
        if not _is_whole(path):
            shutil.rmtree(path, ignore_errors=True)
            for command in _commands(path):
                _run(command)
            shutil.copy(REQUIREMENTS, _mark(path))
    return path


def _inside(path):
    """Path of the Python in an environment."""
    if os.name == "nt":
        return path / "Scripts" / "python.exe"
    return path / "bin" / "python"


def _mark(path):
    return path / "requirements.txt"


def _is_whole(path):
    """Whether everything was installed, and these versions."""
    mark = _mark(path)
    return mark.exists() and mark.read_bytes() == REQUIREMENTS.read_bytes()


def _commands(path):
    # All packages are pinned: nothing is to be resolved.
    packages = ["--no-deps", "-r", str(REQUIREMENTS)]
    inside = str(_inside(path))
    python = _python_311()
    beside = str(pathlib.Path(sys.executable).parent)
    uv = shutil.which("uv") or shutil.which("uv", path=beside)
    if python:
        yield [python, "-m", "venv", str(path)]
        yield [inside, "-m", "pip", "install", *packages]
    elif uv:
        yield [uv, "venv", "--python", "3.11", str(path)]
        yield [uv, "pip", "install", "--python", inside, *packages]
    else:
        raise RuntimeError(
            "TensorFlow Data Validation 1.16 runs in Python 3.11. Received: "
            "no `python3.11` on the PATH. Install Python 3.11, or uv, which "
            "fetches it."
        )


def _python_311():
    """Path of a Python 3.11, or `None`."""
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    found = shutil.which("python3.11")
    # A shim may be there without the Python that it stands for.
    if found and not subprocess.run([found, "-c", ""]).returncode:
        return found


def _run(command):
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise RuntimeError(
            "The environment for validation could not be made: "
            f"`{' '.join(command)}` failed, see above."
        )
