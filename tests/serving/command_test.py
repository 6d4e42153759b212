"""`python -m keras_stts serve` as a process."""

import argparse
import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys

import keras
import pytest

from keras_stts.serving import command
from tests.serving import servers

DOCS = pathlib.Path(__file__).parents[2] / "docs/serving.md"
ADDRESS = re.compile(r"http://[\d.]+:\d+")


@contextlib.contextmanager
def started(folder, log, *arguments):
    """A process, and the address that it serves."""
    command = [sys.executable, "-m", "keras_stts", "serve", "--port", "0"]
    command += ["--preset", servers.NAME, "--allow-folder", str(folder)]
    with open(log, "w") as file:
        process = subprocess.Popen(
            [*command, *arguments],
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        servers.until(lambda: ADDRESS.search(log.read_text()), seconds=300)
        yield process, ADDRESS.search(log.read_text())[0]
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(
    keras.config.backend() != "torch", reason="One is enough; it is soonest."
)
def test_a_process(folder, clip, tmp_path):
    """Two replicas, which answer what they were asked before they end."""
    body = servers.request_of(clip.as_uri())
    options = ["--replicas", "2"]
    with started(folder, tmp_path / "log", *options) as (process, address):
        servers.until(lambda: servers.is_healthy(address), seconds=300)
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            tasks = [
                threads.submit(servers.post, address, body) for _ in range(8)
            ]
        assert [task.result()[0] for task in tasks] == [200] * 8
        metric = 'keras_stts_requests_total{status="200"}'
        assert servers.counted(address, metric) == 8  # Of both.
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=100) == 0, (tmp_path / "log").read_text()


@pytest.mark.once
def test_a_missing_package():
    command.check_installed()
    with pytest.raises(ValueError, match="pip install") as found:
        command.check_installed(("starlette", "no_such_package"))
    assert "no_such_package" in str(found.value)
    assert "starlette" not in str(found.value)


@pytest.mark.once
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--preset", "no_such_preset"], "no_such_preset"),
        (["--preset", "shapes_tiny", "--max-batch", "0"], "max_batch=0"),
        (["--preset", "shapes_tiny", "--replicas", "0"], "--replicas 0"),
    ],
)
def test_options_are_refused(arguments, message, capsys):
    assert command.main(["serve", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.once
def test_help(capsys):
    with pytest.raises(SystemExit):
        command.main(["serve", "--help"])
    assert "--allow-folder" in capsys.readouterr().out


@pytest.mark.once
def test_options_of_the_docs():
    """Each is there, with the default that is told, and none is missing."""
    parser = argparse.ArgumentParser()
    command.add_options(parser.add_argument)
    known = {
        option: action.default
        for action in vars(parser)["_actions"]
        for option in action.option_strings
        if option not in ("-h", "--help")
    }
    text = DOCS.read_text()
    told = set(re.findall(r"`(--[a-z-]+)", text))
    told |= {"--preset", "--name", "--port"}
    assert told == set(known)
    for option, default in re.findall(r"^\| `(--[\w-]+)` \| (\d+)", text, re.M):
        assert float(default) == float(known[option]), option
