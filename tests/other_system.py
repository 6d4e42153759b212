"""Plays a system that lacks much of this one: `python -m tests.other_system`.

Hides TensorFlow, and what Python has on POSIX only, from this process; then
does with the package what a first user does, and checks what it says where
something is missing. It runs for real where these are missing, too.
"""

import importlib.machinery
import io
import mmap
import os
import pathlib
import pickle
import select
import signal
import sys
import tempfile
import warnings

MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
TENSORFLOW = ("tensorflow", "tensorflow_text")
NAMES = {
    mmap: "MAP_ANONYMOUS MAP_PRIVATE MAP_SHARED",
    os: "fork forkpty getpgid getuid geteuid killpg pread preadv readv "
    "sched_getaffinity setsid statvfs sysconf uname wait writev",
    select: "epoll poll",
    signal: "SIGALRM SIGHUP alarm setitimer",
}


def hide(modules):
    """Let nobody find modules, whether they are installed or not."""

    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name.partition(".")[0] in modules:
                return None
            return super().find_spec(name, path, target)

    builtin = importlib.machinery.BuiltinImporter
    frozen = importlib.machinery.FrozenImporter
    sys.meta_path[:] = [builtin, frozen, Finder]
    for name in set(modules) & set(sys.modules):
        del sys.modules[name]


def hide_posix():
    hide(MODULES + TENSORFLOW)
    # These do as they are told by `sys.platform`, which stays as it is.
    import av  # noqa: F401
    import imageio.v3  # noqa: F401
    import keras_hub  # noqa: F401

    if keras_backend() == "torch":
        import torch  # noqa: F401
    for module, names in NAMES.items():
        for name in names.split():
            vars(module).pop(name, None)


def first_steps(folder):
    import keras_stts

    model = keras_stts.VideoVLM.from_preset("shapes_tiny", num_frames=4)
    model.compile(sampler="greedy")
    rows = keras_stts.datasets.shapes.generate(folder / "clips", "test", 2)
    paths = [row["video"] for row in rows[:4]]
    prompts = [row["question"] for row in rows[:4]]
    arrays = [keras_stts.data.read_video(path, 4)[0] for path in paths]
    asked = {"videos": arrays, "prompts": prompts}
    answers = model.generate(asked)
    assert len(answers) == 4 and all(answers), answers
    given = asked | {"responses": ["yes", "no", "red", "up"]}
    model.fit(given, batch_size=2, verbose=0)
    model.save_to_preset(folder / "preset")
    again = keras_stts.VideoVLM.from_preset(str(folder / "preset"))
    for one, other in zip(model.get_weights(), again.get_weights()):
        assert (one == other).all()
    return model, paths, prompts


def on_files(folder, model, paths, prompts):
    """Training and evaluation, whose videos other processes decode."""
    import keras_stts

    table = folder / "table.jsonl"
    line = '{"video": "%s", "prompt": "%s", "response": "red"}\n'
    lines = [line % pair for pair in zip(paths, prompts)]
    table.write_text("".join(lines), encoding="utf-8")
    data = keras_stts.data.video_dataset_from_manifest(
        table, model.preprocessor, 2, cache=folder / "cache"
    )
    with data:
        model.fit(data, verbose=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = keras_stts.evaluate(
            model, table, output=folder / "results", progress=False
        )
    assert result["n"] == 4, result
    if "fcntl" not in sys.modules:
        assert any("cannot lock" in str(w.message) for w in said), said
    missing_tensorflow(table, model)


def missing_tensorflow(table, model):
    import keras_stts

    try:
        keras_stts.data.video_dataset_from_manifest(
            table, model.preprocessor, 2, format="tf"
        )
    except ImportError as error:
        assert '".[tensorflow]"`' in str(error), error
    else:
        raise AssertionError("TensorFlow was there.")


def worker_alone(path):
    """A process that decodes, elsewhere than on Linux."""
    from keras_stts.data import _worker

    task = pickle.dumps(("frames", {"source": path, "num_frames": 2}))
    header = _worker.HEADER.pack(len(task))
    reads, writes = os.pipe()
    os.write(writes, header + task)
    os.close(writes)
    os.dup2(reads, 0)
    with tempfile.TemporaryFile() as answers:
        os.dup2(answers.fileno(), 1)
        sys.platform, sys.argv = "darwin", ["_worker.py", "0"]
        _worker.main()
        answers.seek(0)
        kind, value, *_ = pickle.load(io.BytesIO(answers.read()[len(header) :]))
    assert kind == "value" and len(value[0]) == 2, (kind, value)


def keras_backend():
    import keras

    return keras.config.backend()


def main():
    hide_posix()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, paths, prompts = first_steps(folder)
        if keras_backend() == "torch":  # One is enough.
            on_files(folder, model, paths, prompts)
        print("Well, but for what is missing.", flush=True)
        worker_alone(paths[0])


if __name__ == "__main__":
    main()
