"""`python -m keras_stts serve`: its options, and the start of a server."""

import argparse
import importlib.util
import json
import os
import sys
import tempfile

from keras_stts._install import how_to_install
from keras_stts.serving.limits import MIB
from keras_stts.serving.limits import Limits

PACKAGES = ("httpcore2", "prometheus_client", "starlette", "uvicorn")
DEFAULTS = Limits()
HERE = ["127.0.0.1", "localhost"]
# Variables by which replicas are told where metrics are, and their options.
METRICS = "PROMETHEUS_MULTIPROC_DIR"
OPTIONS = "KERAS_STTS_SERVE"
LOADING = 3600  # Seconds that a replica may take to load its model.


def check_installed(packages=PACKAGES):
    """Raise if a package of the extra is missing.

    Raises:
        ValueError: With the command that installs it.
    """
    missing = [n for n in packages if importlib.util.find_spec(n) is None]
    if missing:
        raise ValueError(
            "A server needs the packages of the extra `serve`. Received: an "
            f"environment without {', '.join(missing)}. "
            f"{how_to_install('serve')}."
        )


def add_options(add):
    """Add the options of `serve`.

    Args:
        add: `add_argument` of a parser.
    """
    add("--preset", required=True, help="a built-in name, handle or directory")
    add("--name", help="the model's name for clients; the preset's by default")
    add("--host", default="127.0.0.1", help="0.0.0.0 takes other machines")
    add("--port", type=int, default=8000)
    add("--replicas", type=int, default=1, help="processes, a model each")
    _add_model(add)
    _add_limits(add)
    add(
        "--allow-folder",
        dest="folders",
        action="append",
        default=[],
        help="a folder of which file:// addresses may name files",
    )
    add(
        "--allow-host",
        dest="hosts",
        action="append",
        default=[],
        help="a host that is fetched from although it is not public",
    )


def _add_model(add):
    add("--num-frames", type=int, help="most frames of a video")
    add("--prune-ratio", type=float, help="share of vision tokens to drop")
    add("--num-images", type=int, help="most images of a request")
    add("--sequence-length", type=int, help="tokens of prompt and answer")
    add("--dtype", help="such as bfloat16")


def _add_limits(add):
    add("--max-batch", type=int, default=DEFAULTS.max_batch)
    add(
        "--wait-ms",
        type=float,
        default=1e3 * DEFAULTS.wait_seconds,
        help="how long the first request of a batch waits for others",
    )
    add("--max-queue", type=int, default=DEFAULTS.max_queue)
    add("--max-body-mib", type=float, default=DEFAULTS.max_body / MIB)
    add("--max-download-mib", type=float, default=DEFAULTS.max_download / MIB)
    add("--max-media", type=int, default=DEFAULTS.max_media)
    add("--max-tokens", type=int, help="most tokens of an answer")
    add("--request-seconds", type=float, default=DEFAULTS.request_seconds)
    add("--decode-seconds", type=float, default=DEFAULTS.decode_seconds)
    add("--decode-workers", type=int, default=DEFAULTS.decode_workers)


def limits_of(options):
    """The `Limits` of parsed options."""
    return Limits(
        max_batch=options.max_batch,
        wait_seconds=options.wait_ms / 1e3,
        max_queue=options.max_queue,
        max_body=int(options.max_body_mib * MIB),
        max_download=int(options.max_download_mib * MIB),
        max_media=options.max_media,
        max_tokens=options.max_tokens,
        request_seconds=options.request_seconds,
        decode_seconds=options.decode_seconds,
        decode_workers=options.decode_workers,
    )


def serve(options):
    """Serve until interrupted; returns the exit status.

    Args:
        options: What a parser with `add_options` returned.

    Raises:
        ValueError: If a package is missing, or an option is wrong.
    """
    check_installed()
    limits = limits_of(options)
    settings = {
        "host": options.host,
        "port": options.port,
        "timeout_graceful_shutdown": int(limits.request_seconds) + 1,
    }
    import uvicorn

    if options.replicas < 1:
        raise ValueError(
            "`--replicas` must be 1 at least. Received: "
            f"--replicas {options.replicas}."
        )
    if options.replicas == 1:
        uvicorn.run(app_of(options), **settings)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ[METRICS] = folder
        os.environ[OPTIONS] = json.dumps(vars(options))
        uvicorn.run(
            "keras_stts.serving.command:app_of_environment",
            factory=True,
            workers=options.replicas,
            timeout_worker_healthcheck=LOADING,
            **settings,
        )
    return 0


def app_of_environment():
    """The application of one of several replicas."""
    return app_of(argparse.Namespace(**json.loads(os.environ[OPTIONS])))


def app_of(options):
    """The application that the options ask for."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from keras_stts.serving.app import make_app
    from keras_stts.serving.engine import Engine

    model, limits = load(options), limits_of(options)
    Engine(model, limits).warm_up()
    app = make_app(
        model,
        options.name or options.preset,
        limits,
        folders=options.folders,
        hosts=options.hosts,
    )
    if options.host in HERE:
        # A web page whose name stands for this machine is answered nothing.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=HERE)
    return app


def load(options):
    """The `VideoVLM` that the options name."""
    import keras_stts

    names = ("num_frames", "prune_ratio", "num_images", "sequence_length")
    given = {name: getattr(options, name) for name in (*names, "dtype")}
    given = {name: v for name, v in given.items() if v is not None}
    return keras_stts.VideoVLM.from_preset(options.preset, **given)


def main(arguments=None):
    """Run a command of `python -m keras_stts`; returns the exit status."""
    parser = argparse.ArgumentParser("python -m keras_stts")
    commands = parser.add_subparsers(dest="command", required=True)
    served = commands.add_parser(
        "serve",
        help="answer requests of OpenAI's protocol with a model",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_options(served.add_argument)
    try:
        return serve(parser.parse_args(arguments))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
