"""Measurements of videos, made by Apache Beam and kept as they are made."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import tqdm

from keras_stts.data.addresses import is_address
from keras_stts.data.addresses import is_of_this_process
from keras_stts.data.addresses import version_of
from keras_stts.data.measure import files_of
from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.validation import beam
from keras_stts.data.validation import environment
from keras_stts.data.workers import DecodePool

# Videos of one file of what is to be done.
CHUNK = 1000
# Seconds between two looks at what was measured.
LOOK, LOOK_AT_ADDRESS = 0.2, 10.0
# Threads that ask for the versions of what is at addresses.
NUM_ASKING = 16


def measure_all(
    videos,
    path,
    num_workers=2,
    time_limit=60.0,
    *,
    pipeline_options=(),
):
    """Measure videos, but for those measured already.

    Each one is a line of a JSONL file soon after it is done, so that a run
    that was ended goes on where it was. A file that has changed since, and one
    that could not be read, is measured again.

    Args:
        videos: Dict of absolute path or address to frames a second, which
            only folders of images need.
        path: Path or address of the JSONL file.
        num_workers: Int. Processes that measure, of each of Beam's workers.
        time_limit: Number. Seconds that a video may take.
        pipeline_options: Sequence of str, Beam's.

    Returns:
        Dict of path to what `measure_video` returns, or to `{"error": text}`.

    Raises:
        RuntimeError: If Beam is not there, or fails.
    """
    stamps = _stamps(videos)
    kept = _Kept(as_path(path), stamps, list(pipeline_options))
    kept.take_parts()
    todo = [
        {"video": video, "fps": fps, "stamp": stamps[video]}
        for video, fps in videos.items()
        if video not in kept.facts
    ]
    if not todo:
        kept.finish()
        return kept.facts
    request = {"num_workers": num_workers, "time_limit": time_limit}
    request["beam"] = list(pipeline_options)
    kept.is_running = True
    with tqdm.tqdm(
        desc="Measuring videos",
        total=len(videos),
        initial=len(kept.facts),
        unit="video",
        file=sys.stderr,
    ) as progress:
        kept.progress = progress
        try:
            here, elsewhere = [], []
            for each in todo:
                (here if _is_here_alone(each["video"]) else elsewhere).append(
                    each
                )
            _measure_here(here, kept, num_workers, time_limit)
            _measure_by_beam(elsewhere, kept, request)
        finally:
            kept.save()
    lost = [each["video"] for each in todo if each["video"] not in kept.facts]
    if lost:
        raise RuntimeError(
            "What Beam's workers measure must be found at `output`. Received: "
            f"nothing about {len(lost)} videos, {lost[0]!r} among them, in "
            f"{str(kept.place)!r}. Name a folder or an address that all "
            "workers reach."
        )
    kept.finish()
    return kept.facts


def _stamps(videos):
    """Dict of video to what changes with it, `None` if there is none."""
    with concurrent.futures.ThreadPoolExecutor(NUM_ASKING) as threads:
        asked = {
            video: threads.submit(_stamp, video, fps)
            for video, fps in videos.items()
            if is_address(video)
        }
        return {
            video: asked[video].result()
            if video in asked
            else _stamp(video, fps)
            for video, fps in videos.items()
        }


def _stamp(video, fps):
    try:
        if is_address(video):
            return [version_of(video), fps]
        files = [os.stat(file) for file in files_of(video)]
    except (OSError, ValueError):
        return None
    size = sum(file.st_size for file in files)
    latest = max((file.st_mtime_ns for file in files), default=0)
    return [size, latest, fps]


def _is_here_alone(video):
    return is_address(video) and is_of_this_process(video)


class _Kept:
    """What was measured: a file, and parts that workers write beside it.

    Attributes:
        facts: Dict of video to what was measured of it.
        place: Path or address of the folder of the parts.
    """

    def __init__(self, path, stamps, options):
        self.path, self.stamps = path, stamps
        self.place = path.with_name(f".{path.stem}")
        self._temporary = None
        if isinstance(path, Address) and beam.is_local(options):
            # No process of this machine has to reach what only Python does.
            self._temporary = tempfile.TemporaryDirectory()
            self.place = pathlib.Path(self._temporary.name)
        if isinstance(self.place, pathlib.Path):
            self.place = self.place.absolute()
        self.progress = None
        self.is_running = False
        self._read = {}  # Bytes of each part that were taken.
        self._lines = _whole_lines(path)
        self._unsaved, self._saved_at = 0, time.monotonic()
        self.facts = {}
        for line in map(json.loads, self._lines):
            self._learn(line)

    def _learn(self, line):
        """Whether a line says something new."""
        video, facts = line["video"], line["facts"]
        is_known = video in self.facts and "error" not in self.facts[video]
        is_this = video in self.stamps and line["stamp"] == self.stamps[video]
        # Errors of former runs are tried again.
        if (
            is_known
            or not is_this
            or not (self.is_running or "sha256" in facts)
        ):
            return False
        if self.progress is not None and video not in self.facts:
            self.progress.update()
        self.facts[video] = facts
        return True

    def add(self, text):
        """Keep a line, if it says something new."""
        if self._learn(json.loads(text)):
            self._lines.append(text)
            self._unsaved += 1

    def take_parts(self):
        """Read what workers have written since."""
        if not self.place.exists():
            return
        for part in self.place.glob("facts-*.jsonl"):
            if isinstance(part, Address):
                if part in self._read:
                    continue
                data = part.read_bytes()
            else:
                with part.open("rb") as file:
                    file.seek(self._read.get(part, 0))
                    data = file.read()
            whole = data.rfind(b"\n") + 1
            self._read[part] = self._read.get(part, 0) + whole
            for text in data[:whole].decode().splitlines():
                self.add(text)
        if isinstance(self.path, pathlib.Path):
            self.save()
        elif time.monotonic() - self._saved_at > LOOK_AT_ADDRESS:
            self.save()

    def save(self):
        """Write what is new to the file."""
        if self._unsaved:
            new = self._lines[-self._unsaved :]
            if isinstance(self.path, Address):
                self.path.write_text("\n".join(self._lines) + "\n")
            else:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.writelines(text + "\n" for text in new)
        self._unsaved, self._saved_at = 0, time.monotonic()

    def finish(self):
        """All is in the file: remove the parts."""
        self.save()
        if self._temporary is not None:
            self._temporary.cleanup()
        elif isinstance(self.place, pathlib.Path):
            shutil.rmtree(self.place, ignore_errors=True)
        elif self.place.exists():
            for path in self.place.iterdir():
                path.unlink(missing_ok=True)


def _whole_lines(path):
    """Lines of the file; a last one that a kill cut short is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data) and isinstance(path, pathlib.Path):
        os.truncate(path, whole)
    return data[:whole].decode().splitlines()


def _measure_here(todo, kept, num_workers, time_limit):
    """Measure what no other process can reach."""
    if not todo:
        return
    with DecodePool(num_workers, time_limit) as pool:
        futures = [
            pool.submit_facts(each["video"], fps=each["fps"]) for each in todo
        ]
        for each, future in zip(todo, futures):
            try:
                facts = future.result()
            except (ValueError, OSError) as error:
                facts = {"error": str(error)}
            line = {"video": each["video"], "stamp": each["stamp"]}
            kept.add(json.dumps({**line, "facts": facts}))


def _measure_by_beam(todo, kept, request):
    """Let Beam measure, and take what its workers write meanwhile."""
    if not todo:
        return
    kept.place.mkdir(parents=True, exist_ok=True)
    request["place"], request["todo"] = str(kept.place), []
    for start in range(0, len(todo), CHUNK):
        path = kept.place / f"todo-{start:09d}.jsonl"
        lines = [json.dumps(each) for each in todo[start : start + CHUNK]]
        path.write_text("\n".join(lines), encoding="utf-8")
        request["todo"].append(str(path))
    look = LOOK if isinstance(kept.place, pathlib.Path) else LOOK_AT_ADDRESS
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        python = environment.python()
        try:
            with beam.running(python, "measure", work) as process:
                beam.ask(process, work, request)
                while _is_running(process, look):
                    kept.take_parts()
        finally:
            kept.take_parts()


def _is_running(process, seconds):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False
