"""Where the compilers for TPUs and GPUs are: apart from what is tested.

    python -m tests.compilers

installs the packages of the extra `compilers`. Beside JAX itself the CUDA
plugin would warn at each start of a machine without a GPU.
"""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tomllib

FOLDER = pathlib.Path(sys.prefix) / "compilers"
ROOT = pathlib.Path(__file__).parents[1]


def packages():
    """The requirements of the extra, with their versions."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    return extras["compilers"]


def environment():
    """Variables for a process that compiles, or `None` without compilers."""
    folders = [str(ROOT)]
    if FOLDER.is_dir():
        folders.append(str(FOLDER))
    elif not _installed():
        return None
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _installed():
    """Whether this environment has them all, which works, too."""
    try:
        for package in packages():
            importlib.metadata.version(package.partition("==")[0])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main():
    # What they need, JAX and requests, is there.
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    command += ["--upgrade", "--target", str(FOLDER), *packages()]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
