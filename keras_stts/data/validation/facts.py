"""Measuring videos by Apache Beam."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import tqdm

from keras_stts.data.addresses import is_address
from keras_stts.data.addresses import is_of_this_process
from keras_stts.data.addresses import version_of
from keras_stts.data.measure import files_of
from keras_stts.data.paths import as_path
from keras_stts.data.validation import beam
from keras_stts.data.validation import environment
from keras_stts.data.validation.measurements import LOOK
from keras_stts.data.validation.measurements import LOOK_AT_ADDRESS
from keras_stts.data.validation.measurements import Measurements
from keras_stts.data.workers import DecodePool

# Videos of one file of what is to be done.
CHUNK = 1000
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
    """Measure the videos that were not measured before.

    Each measurement is soon a line of a JSONL file, so that an interrupted run
    can be resumed. Videos that changed since, or that could not be read, are
    measured again.

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
    kept = Measurements(as_path(path), stamps, list(pipeline_options))
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
