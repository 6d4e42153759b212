"""Loads damaged presets, each in a process of its own, and judges what comes.

Forks, so it runs under PyTorch alone.
"""

import collections
import functools
import json
import os
import pathlib
import resource
import shutil
import signal
import sys
import time
import warnings

import keras
import numpy as np
import torch

from keras_stts import VideoVLM
from tests.models import preset_damage
from tests.models import qwen3_vl
from tests.models import tiny
from tests.preprocessing.qwen3_vl_preprocessor_test import make

SECONDS = 20  # A load that takes longer hangs.
MEMORY = 3 * 2**30  # More than this process has.
MAX_TEXT = 3000  # Nobody reads more.
ERRORS = (ValueError, FileNotFoundError, OSError)
# What may come of a damaged preset, and what may not.
GOOD = ("refused", "warned", "unchanged")
BAD = ("silent", "raw", "unnamed", "leaked", "hang", "crash")
PARTS = {"backbone", "head"}

Case = collections.namedtuple("Case", ["base", "damage", "seed"])


def save_bases(folder):
    """Presets in each layout of files: dict of name to folder."""
    model = tiny.model(sharp=True)
    bases = {n: folder / n for n in ("keras", "shards", "molmo2", "parts")}
    model.save_to_preset(str(bases["keras"]))
    model.save_to_preset(str(bases["shards"]), max_shard_size=5e-5)
    model.export_to_transformers(bases["molmo2"])
    model.export_to_transformers(bases["parts"], max_shard_size=50_000)
    bases["qwen3_vl"] = folder / "qwen3_vl"
    processor = make(buckets=[(4, 4)], time_tokens=16)
    model = qwen3_vl.model(processor, shallow=True, tied=True)
    model.export_to_transformers(bases["qwen3_vl"])
    for name in list(bases):
        bare = folder / f"bare {name}"
        shutil.copytree(bases[name], bare)
        (bare / "preset_manifest.json").unlink()
        bases[f"bare {name}"] = bare
    return bases


def cases(bases, number, seed=0):
    """So many cases, all kinds of damage in turn."""
    kinds = [
        (base, damage)
        for base in bases
        for damage in (
            preset_damage.OF_ANY
            if base.startswith("bare")
            else preset_damage.OF_SAVED + preset_damage.OF_ANY
        )
    ]
    rng = np.random.default_rng(seed)
    rng.shuffle(kinds)
    for i in range(number):
        base, damage = kinds[i % len(kinds)]
        yield Case(base, damage, seed * 10**6 + i)


def numbers(model):
    """What a model answers: logits, and what its preprocessor makes."""
    x = model.preprocessor({**tiny.raw(responses=False), "fps": 2.0})
    logits = model(keras.tree.map_structure(keras.ops.convert_to_tensor, x))
    return keras.ops.convert_to_numpy(logits), x


def signature(folder):
    """`numbers`, or `None` for a model without preprocessor."""
    model = VideoVLM.from_preset(str(folder))
    return None if model.preprocessor is None else numbers(model)


def judge(folder, name, wanted):
    """Tuple (one of `GOOD` or `BAD`, details) of loading a folder."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = signature(folder)
        except ERRORS as error:
            return judge_error(error, folder, name)
        except BaseException as error:
            return "raw", f"{type(error).__name__}: {error}"
    messages = [str(w.message) for w in caught]
    if any(str(folder) in message for message in messages):
        return "warned", messages[0]
    if found is None:
        return "silent", "without preprocessor"
    leaves = zip(*map(keras.tree.flatten, (found, wanted)), strict=False)
    same = all(np.array_equal(one, other) for one, other in leaves)
    return ("unchanged", "") if same else ("silent", f"other numbers; {name}")


def judge_error(error, folder, name):
    text = str(error)
    if preset_damage.SECRET in text:
        return "leaked", text
    known = name is None or pathlib.Path(name).name in text
    if not known and str(folder) not in text or len(text) > MAX_TEXT:
        return "unnamed", text
    return "refused", text


def run(case, bases, wanted, folder):
    """The verdict on a case, loaded in a child."""
    target = folder / "case"
    for old in (target, folder / "elsewhere", folder / "secret.h5"):
        shutil.rmtree(old, ignore_errors=True)
        old.unlink(missing_ok=True)
    shutil.copytree(bases[case.base], target)
    rng = np.random.default_rng(case.seed)
    name = case.damage(target, rng)
    return in_child(lambda: judge(target, name, wanted))


def in_child(function):
    """What a function returns in a fork, or that it crashed or hung."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        torch.set_num_threads(1)  # More of them do not survive a fork.
        try:
            resource.setrlimit(resource.RLIMIT_AS, (resident() + MEMORY,) * 2)
            signal.alarm(SECONDS)
            result = function()
        except BaseException as error:
            result = ("raw", f"{type(error).__name__}: {error}")
        result = [
            part[:2000] if isinstance(part, str) else part for part in result
        ]
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    if not data:
        number = os.waitstatus_to_exitcode(status)
        hung = number == -signal.SIGALRM
        return ("hang" if hung else "crash"), f"exit status {number}"
    return tuple(json.loads(data))


def resident():
    """Bytes of memory that this process can address."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def fuzz(folder, number, seed=0, report=None):
    """Dict of (base, damage) to a `Counter` of verdicts, and list of the bad.

    Args:
        folder: Path to work in.
        number: Int. Cases.
        seed: Int.
        report: Optional function of each case and its verdict.
    """
    bases = save_bases(folder)
    wanted = {name: signature(path) for name, path in bases.items()}
    counts = collections.defaultdict(collections.Counter)
    bad = []
    for case in cases(bases, number, seed):
        verdict, detail = run(case, bases, wanted[case.base], folder)
        counts[case.damage.__name__][verdict] += 1
        if report:
            report(case, verdict, detail)
        if verdict in BAD:
            bad.append((case, verdict, detail))
    return counts, bad


def kills(folder, number, seed=0):
    """Counts of what is there after saves over a preset that are killed.

    Args:
        folder: Path to work in.
        number: Int. Kills: half at accesses to the disk, all along the save,
            half at random times.
        seed: Int.

    Returns:
        `Counter` of `"old"`, `"new"` and, if it should be so, other words.
    """
    folder.mkdir()
    bases = save_bases(folder)
    model = tiny.model(sharp=True)
    for variable in model.trainable_variables:
        variable.assign(variable.value * 0.5)
    ways = {
        "keras": lambda path: model.save_to_preset(path, max_shard_size=5e-5),
        "bare shards": lambda path: model.save_to_preset(path),
        "parts": lambda path: model.export_to_transformers(path),
        "bare molmo2": lambda path: model.export_to_transformers(path, 50_000),
    }
    new = numbers(model)
    old = {name: signature(bases[name]) for name in ways}
    counts = collections.Counter()
    rng = np.random.default_rng(seed)
    for i in range(number):
        name = list(ways)[i % len(ways)]
        target = folder / "case"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(bases[name], target)
        (target / "mine.txt").write_text("mine")
        save = functools.partial(ways[name], str(target))
        if i // len(ways) % 2:
            killed = kill_after(save, rng.uniform(0, 0.7))
        else:
            killed = kill_while(save, target, 1 - (i * 0.618) % 1)
        judged = in_child(lambda: (which(target, old[name], new), name))
        counts[judged[0] if killed else f"not killed, {judged[0]}"] += 1
    return counts


def which(folder, old, new):
    """Whose numbers a preset has."""
    try:
        found = signature(folder)
    except Exception as error:
        return f"mixed: {type(error).__name__}: {str(error)[:200]}"
    if not (folder / "mine.txt").exists():
        return "mixed: another's file is gone"
    for name, wanted in (("old", old), ("new", new)):
        leaves = zip(*map(keras.tree.flatten, (found, wanted)), strict=True)
        if all(np.array_equal(a, b) for a, b in leaves):
            left = [p for p in folder.iterdir() if p.name == ".preset_saved"]
            return "mixed: unfinished" if left else name
    return "mixed: other numbers"


def kill_while(function, folder, share):
    """Run a function in a child; kill it at an access to a folder.

    Args:
        function: What saves.
        folder: Path.
        share: Float of [0, 1]. When, of all the times it opens, renames or
            removes a file below the folder. They are counted in a run before,
            on a copy.

    Returns:
        Bool, whether it was killed before it ended.
    """
    copy = folder.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    folder.rename(copy)
    shutil.copytree(copy, folder)
    count, _ = in_child(lambda: (watched(function, folder), ""))
    shutil.rmtree(folder)
    copy.rename(folder)
    moment = int(count * share)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        watched(function, folder, moment)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def watched(function, folder, moment=None):
    """Times that a function accesses a folder; at one it is killed."""
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event.split(".")[0] not in ("open", "os", "shutil"):
            return
        if any(str(folder) in str(argument) for argument in arguments):
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(watch)
    function()
    return count


def kill_after(function, seconds):
    """As `kill_while`, after some time instead."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        function()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
