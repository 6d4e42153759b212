"""Asks a model the questions of a benchmark, and keeps what it says."""

import importlib.metadata
import itertools
import pathlib
import zlib

import keras
import numpy as np
from keras import ops

from keras_stts import pruning
from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.paths import size
from keras_stts.data.video import SampledVideo
from keras_stts.data.workers import DecodePool
from keras_stts.evaluation import journal as files
from keras_stts.evaluation import memory
from keras_stts.evaluation.answering import Answerer
from keras_stts.evaluation.answering import with_frames
from keras_stts.evaluation.benchmarks import BENCHMARKS
from keras_stts.evaluation.benchmarks import get_benchmark
from keras_stts.evaluation.journal import Journal
from keras_stts.evaluation.manifests import from_manifest
from keras_stts.evaluation.results import summarize
from keras_stts.evaluation.scores import mark
from keras_stts.models.video_vlm import VideoVLM
from keras_stts.ops import num_kept_blocks

POLICIES = ("raise", "skip", "report")


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

    Videos are decoded ahead of the model, in processes of their own, once for
    all questions about them. Predictions are written batch by batch: a run
    that was killed and is started again asks what is missing.

    Args:
        model: A `keras_stts.VideoVLM` with its preprocessor.
        benchmark: Str, a name of `keras_stts.evaluation.BENCHMARKS`; or a
            `keras_stts.evaluation.Benchmark`; or the path of a table of
            videos, prompts and responses, see `keras_stts.data.read_manifest`.
        folder: Path or address of the benchmark's files, see `Benchmark`.
            Defaults to a table's own folder.
        num_frames: Optional int, frames of a video; or a list of ints, to be
            tried one after the other with the same weights. Defaults to the
            model's.
        batch_size: Int. Questions that are asked at once.
        output: Optional path or address of a folder, in which
            `{benchmark}_{num_frames}_frames/` gets `predictions.jsonl`,
            `settings.json`, `results.json` and, if asked to report them,
            `unreadable.json`.
        limit: Optional int. How many questions, from the first, to ask.
        max_new_tokens: Optional int. Defaults to the benchmark's.
        sampling: Optional str, see `keras_stts.data.sample_indices`. Defaults
            to the benchmark's.
        reference_quirks: Bool. Whether answers that cannot be parsed are
            guessed or dropped where the authors' code does so, instead of
            being wrong. See `Benchmark.unparsed`. It changes the results, not
            the predictions, whose `"right"` is without it.
        on_error: What happens with a video that cannot be read, or a question
            that cannot be asked: `"raise"`; or `"skip"` the questions, which
            count neither as right nor as wrong, and say how many; or
            `"report"`, which also writes them to `unreadable.json`.
        num_workers: Int. Processes that decode.
        time_limit: Number. Seconds that a video may take.
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
    _check(model, numbers, on_error, output)
    left_out = {}
    benchmark, folder = _find(benchmark, folder, on_error, left_out)
    questions = benchmark.load(folder)
    results = []
    for frames in frame_counts:
        memory.reset_peak()
        preprocessor = with_frames(
            model.preprocessor, frames, sampling or benchmark.sampling
        )
        run = _Run(
            model,
            preprocessor,
            benchmark,
            questions,
            max_new_tokens or benchmark.max_new_tokens,
            batch_size,
        )
        run.unreadable |= left_out
        name = f"{benchmark.name}_{preprocessor.num_frames}_frames"
        place = None if output is None else as_path(output) / name
        asked = questions[:limit]
        with Journal(place, run.settings() if place else {}) as journal:
            with DecodePool(num_workers, time_limit) as pool:
                run.ask(asked, pool, journal, on_error, progress)
            results.append(run.finish(asked, journal, reference_quirks))
    return results if several else results[0]


class _Run:
    """One benchmark, asked in one way."""

    def __init__(
        self,
        model,
        preprocessor,
        benchmark,
        questions,
        max_new_tokens,
        batch_size,
    ):
        self.model = model
        self.benchmark = benchmark
        self.questions = questions
        self.batch_size = batch_size
        self.converter = preprocessor.video_converter
        self.answerer = Answerer(model, preprocessor, max_new_tokens)
        self.unreadable = {}

    def settings(self):
        """What predictions depend on."""
        asked = [
            (q.id, q.prompt, q.clip, q.fps, q.subtitles) for q in self.questions
        ]
        template = self.answerer.preprocessor.chat_template
        return {
            **self._choices(),
            "backend": keras.config.backend(),
            "questions": _code(asked),
            "model": _code([_model_config(self.model), template]),
            "weights": _fingerprint(self.model),
        }

    def _choices(self):
        backbone = self.model.backbone
        inside = backbone.language_pruning
        if inside is not None:
            inside = {
                "class_name": type(inside).__name__,
                "config": inside.get_config(),
            }
        return {
            "benchmark": self.benchmark.name,
            "num_frames": self.converter.num_frames,
            "sampling": self.converter.sampling,
            "max_fps": self.converter.max_fps,
            "max_new_tokens": self.answerer.max_new_tokens,
            "prune_ratio": backbone.prune_ratio,
            "pruning": backbone.pruning if backbone.prune_ratio else None,
            "language_pruning": inside,
        }

    def ask(self, questions, pool, journal, on_error, progress):
        """Ask what the journal lacks."""
        _check_videos(questions, journal)
        missing = [q for q in questions if q.id not in journal.entries]
        there = [journal.entries.get(q.id, {"right": 0}) for q in questions]
        right = sum(entry["right"] for entry in there)
        done = len(questions) - len(missing)
        bar = keras.utils.Progbar(
            len(questions),
            verbose=int(progress and bool(missing)),
            stateful_metrics=["accuracy"],
            unit_name="question",
        )
        read = self._read(_by_video(missing), pool, on_error)
        while batch := list(itertools.islice(read, self.batch_size)):
            entries = self._answer(batch)
            journal.append(entries)
            done += len(batch)
            right += sum(entry["right"] for entry in entries)
            current = done + len(self.unreadable)
            bar.update(current, [("accuracy", right / done)])
        if on_error == "report":
            journal.write(files.UNREADABLE, list(self.unreadable.values()))

    def _read(self, questions, pool, on_error):
        """Yield questions with their frames, which are read ahead."""
        reading, ahead = {}, 2 * self.batch_size
        for i, question in enumerate(questions):
            for later in questions[i : i + ahead + 1]:
                if _source(later) not in reading:
                    reading[_source(later)] = self._submit(pool, later)
            try:
                # What its words raise, which are asked in batches.
                self.answerer.preprocessor.text_lengths(
                    {"prompts": [question.prompt]}
                )
                video = reading[_source(question)].result()
            except (ValueError, OSError) as error:
                if on_error == "raise":
                    raise
                self.unreadable[question.id] = {
                    "id": question.id,
                    "video": question.video,
                    "reason": str(error),
                }
            else:
                yield question, video
            following = questions[i + 1 : i + 2]
            if not following or _source(following[0]) != _source(question):
                del reading[_source(question)]

    def _submit(self, pool, question):
        return pool.submit(
            question.video,
            self.converter.num_frames,
            max_fps=self.converter.max_fps,
            sampling=self.converter.sampling,
            size=self.converter.image_size,
            fps=question.fps,
            clip=question.clip,
        )

    def _answer(self, batch):
        """Predictions of a batch, which is filled up to keep its shape."""
        filled = batch + batch[-1:] * (self.batch_size - len(batch))
        examples = {
            "videos": [SampledVideo(*video) for _, video in filled],
            "prompts": [question.prompt for question, _ in filled],
        }
        if any(question.subtitles for question, _ in batch):
            examples["subtitles"] = [q.subtitles for q, _ in filled]
        answers = self.answerer(examples)
        return [
            {
                "id": question.id,
                "video": question.video,
                "prompt": question.prompt,
                "choices": question.choices,
                "answer": question.answer,
                "file": _file(question.video),
                "batch_size": self.batch_size,
                **mark(question, answer["prediction"]),
                **answer,
            }
            for (question, _), answer in zip(batch, answers)
        ]

    def finish(self, questions, journal, reference_quirks):
        rule = self.benchmark.unparsed if reference_quirks else "wrong"
        result = {
            **self._choices(),
            "group": self.benchmark.group,
            "reference_quirks": reference_quirks,
            "unreadable": len(self.unreadable),
            "not_asked": len(self.questions) - len(questions),
            **summarize(
                self.model,
                questions,
                journal.entries,
                self.converter.num_frames,
                rule,
            ),
            "environment": _environment(),
        }
        journal.write(files.RESULTS, result)
        return result


def _by_video(questions):
    """The same questions, those about one video side by side."""
    first = {}
    for question in questions:
        first.setdefault(_source(question), len(first))
    return sorted(questions, key=lambda question: first[_source(question)])


def _source(question):
    return question.video, repr(question.clip), question.fps


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
    return from_manifest(benchmark, folder is None, rows), start


def _is_table(benchmark):
    is_path = isinstance(benchmark, (str, pathlib.Path, Address))
    is_known = is_path and str(benchmark) in BENCHMARKS
    return is_path and not is_known and bool(as_path(benchmark).suffix)


def _file(path):
    """Size and a number of the start of a video, or of a folder's files."""
    path = as_path(path)
    if path.is_dir():
        files = sorted(path.iterdir())
        sizes = [size(file) for file in files]
        return [sum(sizes), _code([file.name for file in files])]
    with path.open("rb") as file:
        return [size(path), zlib.crc32(file.read(2**16))]


def _check_videos(questions, journal):
    """Raise if predictions were made of other videos of the same names."""
    known = {}
    for question in questions:
        entry, path = journal.entries.get(question.id), question.video
        if entry is None or not as_path(path).exists():
            continue
        if path not in known:
            known[path] = _file(path)
        if known[path] != entry["file"]:
            raise ValueError(
                "A folder holds predictions about the videos that were there "
                f"then. Received: {path!r}, another one, for predictions in "
                f"{str(journal.folder)!r}. Choose another `output`, or delete "
                "this folder."
            )


def _code(value):
    return zlib.crc32(repr(value).encode())


def _fingerprint(model):
    """A number that other weights do not have."""
    code = 0
    for weight in model.weights:
        code = zlib.crc32(ops.convert_to_numpy(weight).tobytes(), code)
    return code


def _model_config(model):
    """What the model computes, but for what is named among the settings."""
    config = model.backbone.get_config()
    named = {"name", "trainable", "dtype", "rematerialize"}
    named |= {"num_frames", "prune_ratio", "pruning"}
    policy = keras.dtype_policies.serialize(model.backbone.dtype_policy)
    return policy, [(n, config[n]) for n in sorted(set(config) - named)]


def _environment():
    packages = ("keras", "keras-hub", keras.config.backend(), "keras-stts")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None  # Run from its folder.
    return {"backend": keras.config.backend(), "versions": versions}


def _is_count(value):
    """Whether a value is `None` or an int of at least 1."""
    is_int = isinstance(value, (int, np.integer)) and value is not True
    return value is None or (is_int and value >= 1)


def _check_budget(backbone, frames):
    """Raise if a model would have to prune frame 0, which is kept whole."""
    merges = isinstance(pruning.get(backbone.pruning), pruning.ToMe)
    if frames is not None and backbone.prune_ratio and not merges:
        try:
            num_kept_blocks(backbone.num_blocks, frames, backbone.prune_ratio)
        except ValueError as error:
            raise ValueError(
                f"With num_frames={frames}: {error} Ask with more frames."
            ) from error


def _check(model, numbers, on_error, output):
    if not isinstance(model, VideoVLM):
        raise ValueError(
            "`model` must be a `keras_stts.VideoVLM`. Received: "
            f"{model!r}. Load one with `keras_stts.VideoVLM.from_preset`."
        )
    if model.preprocessor is None:
        raise ValueError(
            "`model` must have its preprocessor, which reads questions. "
            "Received: a model with preprocessor=None."
        )
    for name, values in numbers.items():
        if not values or not all(map(_is_count, values)):
            raise ValueError(
                f"`{name}` must be positive, and an int. Received: "
                f"{name}={values}."
            )
    for frames in numbers["num_frames"]:
        _check_budget(model.backbone, frames)
    if on_error not in POLICIES:
        raise ValueError(
            f"`on_error` must be one of {', '.join(POLICIES)}. Received: "
            f"on_error={on_error!r}."
        )
    if on_error == "report" and output is None:
        raise ValueError(
            'on_error="report" writes to `output`. Received: output=None. '
            'Name a folder, or pass on_error="skip".'
        )
