"""Asking a model the questions of a benchmark, and keeping its answers."""

import pathlib

from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.workers import DecodePool
from keras_stts.evaluation import memory
from keras_stts.evaluation.answering import Answerer
from keras_stts.evaluation.benchmarks import BENCHMARKS
from keras_stts.evaluation.benchmarks import get_benchmark
from keras_stts.evaluation.journal import open_journal
from keras_stts.evaluation.manifests import from_manifest
from keras_stts.evaluation.request import check_budget
from keras_stts.evaluation.request import check_request
from keras_stts.evaluation.run import Run

__all__ = ["evaluate"]


def evaluate(
    model,
    benchmark,
    folder=None,
    *,
    num_frames=None,
    batch_size=8,
    output=None,
    limit=None,
    max_new_tokens=None,
    sampling=None,
    reference_quirks=False,
    on_error="raise",
    num_workers=2,
    time_limit=60.0,
    progress=True,
):
    """Ask a model the questions of a benchmark.

    Videos are decoded ahead in separate processes, once for all questions
    about them. Predictions are written batch by batch: the same call resumes
    a run that was killed. The processes of a job share the questions: all of
    them must make the same call, the first writes, and each returns the results
    of all.

    Args:
        model: A `keras_stts.VideoVLM` with its preprocessor.
        benchmark: Str, a name of `keras_stts.evaluation.BENCHMARKS`; or a
            `keras_stts.evaluation.Benchmark`; or the path of a table of
            videos, prompts and responses, see `keras_stts.data.read_manifest`.
        folder: Path or address of the benchmark's files, see `Benchmark`.
            Defaults to a table's own folder.
        num_frames: Optional int, frames of a video; or a list of ints, which
            are evaluated one after the other with the same weights. Defaults
            to the model's.
        batch_size: Int. Questions that are asked at once, by each process.
        output: Optional path or address of a folder. Its subfolder
            `{benchmark}_{num_frames}_frames/` gets `predictions.jsonl`,
            `settings.json`, `results.json` and, with `on_error="report"`,
            `unreadable.json`.
        limit: Optional int. Ask only this number of questions, from the first.
        max_new_tokens: Optional int. Defaults to the benchmark's.
        sampling: Optional str, see `keras_stts.data.sample_indices`. Defaults
            to the benchmark's.
        reference_quirks: Bool. Whether answers that cannot be parsed are
            guessed or dropped where the authors' code does so, instead of
            counting as wrong. See `Benchmark.unparsed`. It changes the
            results, but not `"right"` in the predictions.
        on_error: What to do with a video that cannot be read or a question
            that cannot be asked: `"raise"` an error; `"skip"` the questions,
            which count neither as right nor as wrong, and return their
            number; or `"report"`, which also writes them to `unreadable.json`.
        num_workers: Int. Number of decoding processes.
        time_limit: Number. Seconds that decoding a video may take.
        progress: Bool. Whether to show a progress bar.

    Returns:
        Dict, see `keras_stts.evaluation.results.summarize`; a list of them
        for a list of `num_frames`.

    Raises:
        ValueError: If an argument is wrong, a video cannot be read, or
            `output` holds predictions of other settings or other videos.
        FileNotFoundError: If files of the benchmark are missing.

    Example:
    ```python
    keras_stts.datasets.shapes.generate("clips", "test", 1)
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    result = keras_stts.evaluate(
        model, "shapes", "clips", output="results", progress=False
    )
    result["accuracy"], result["interval"], result["vision_tokens"]
    ```
    """
    several = isinstance(num_frames, (list, tuple))
    frame_counts = num_frames if several else [num_frames]
    numbers = {"batch_size": [batch_size], "limit": [limit]}
    numbers |= {"max_new_tokens": [max_new_tokens], "num_frames": frame_counts}
    check_request(model, numbers, on_error, output)
    left_out = {}
    benchmark, folder = _find(benchmark, folder, on_error, left_out)
    questions = benchmark.load(folder)
    if sampling is None and model.preprocessor.chooses_sampling:
        sampling = benchmark.sampling
    preprocessors = [
        model.preprocessor.with_frames(frames, sampling)
        for frames in frame_counts
    ]
    for preprocessor in preprocessors:
        check_budget(model.backbone, preprocessor)
    results = []
    for preprocessor in preprocessors:
        memory.reset_peak()
        answerer = Answerer(
            model, preprocessor, max_new_tokens or benchmark.max_new_tokens
        )
        run = Run(model, answerer, benchmark, questions, batch_size)
        run.unreadable |= left_out
        frames = preprocessor.video_converter.num_frames
        name = f"{benchmark.name}_{frames}_frames"
        place = None if output is None else as_path(output) / name
        asked = questions[:limit]
        with open_journal(place, run.settings() if place else {}) as journal:
            with DecodePool(num_workers, time_limit) as pool:
                run.ask(asked, pool, journal, on_error, progress)
            results.append(run.finish(asked, journal, reference_quirks))
    return results if several else results[0]


def _find(benchmark, folder, on_error, left_out):
    """Tuple of a `Benchmark` and its folder."""
    if not _is_table(benchmark):
        found = get_benchmark(benchmark)
        if folder is None:
            raise ValueError(
                "`folder` must hold the benchmark's files, unless it is a "
                f"table. Received: folder=None, benchmark={benchmark!r}."
            )
        return found, folder
    rows = None if on_error == "raise" else left_out
    start = as_path(benchmark).parent if folder is None else folder
    return from_manifest(
        benchmark, may_leave_folder=folder is None, left_out=rows
    ), start


def _is_table(benchmark):
    is_path = isinstance(benchmark, (str, pathlib.Path, Address))
    is_known = is_path and str(benchmark) in BENCHMARKS
    return is_path and not is_known and bool(as_path(benchmark).suffix)
