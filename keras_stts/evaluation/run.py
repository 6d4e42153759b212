"""The evaluation of one model on one benchmark with one setting."""

import itertools
import sys
import types

import keras
import numpy as np
import tqdm

from keras_stts.data.sampled import SampledVideo
from keras_stts.evaluation import journal as files
from keras_stts.evaluation.identity import check_same_videos
from keras_stts.evaluation.identity import checksum
from keras_stts.evaluation.identity import environment
from keras_stts.evaluation.identity import file_stamp
from keras_stts.evaluation.identity import fingerprint
from keras_stts.evaluation.identity import model_config
from keras_stts.evaluation.results import summarize
from keras_stts.evaluation.scores import mark
from keras_stts.pruning import serialize
from keras_stts.training import jobs


class Run:
    """The evaluation of one model on one benchmark with one setting.

    Args:
        model: A `VideoVLM`.
        answerer: An `Answerer` of the model, or a function like it.
        benchmark: A `Benchmark`.
        questions: List of all its `Question`s.
        batch_size: Int. Questions that are asked at once.

    Attributes:
        unreadable: Dict of the id of each question that was not asked to the
            reason.
    """

    def __init__(self, model, answerer, benchmark, questions, batch_size):
        self.model = model
        self.benchmark = benchmark
        self.questions = questions
        self.batch_size = batch_size
        self.answerer = answerer
        self.converter = answerer.preprocessor.video_converter
        self.unreadable = {}

    def settings(self):
        """The settings that predictions depend on."""
        asked = [
            (q.id, q.prompt, q.clip, q.fps, q.subtitles) for q in self.questions
        ]
        template = self.answerer.preprocessor.chat_template
        return {
            **self._choices(),
            "backend": keras.config.backend(),
            "questions": checksum(asked),
            "model": checksum([model_config(self.model), template]),
            "weights": fingerprint(self.model),
        }

    def _choices(self):
        backbone = self.model.backbone
        method, inside = backbone.pruning, backbone.language_pruning
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
            "pruning": serialize(method) if method.ratio else None,
            "language_pruning": inside,
        }

    def ask(self, questions, pool, journal, on_error, progress):
        """Ask the questions that are not in the journal."""
        check_same_videos(questions, journal)
        missing = [q for q in questions if q.id not in journal.entries]
        there = [journal.entries.get(q.id, {"right": 0}) for q in questions]
        right = sum(entry["right"] for entry in there)
        done = len(questions) - len(missing)
        own = jobs.own_part(_by_video(missing))
        with tqdm.tqdm(
            desc=self.benchmark.name,
            total=len(questions),
            initial=done,
            unit="question",
            file=sys.stdout,
            disable=not (progress and missing and jobs.is_first()),
        ) as bar:
            for batch in self._batches(self._read(own, pool, on_error)):
                parts = jobs.exchange(self._answer(batch))
                entries = [entry for part in parts for entry in part]
                journal.append(entries)
                done += len(entries)
                right += sum(entry["right"] for entry in entries)
                bar.set_postfix(accuracy=right / done, refresh=False)
                bar.update(done + len(self.unreadable) - bar.n)
        for part in jobs.exchange(list(self.unreadable.items())):
            self.unreadable |= dict(part)
        if on_error == "report":
            journal.write(files.UNREADABLE, list(self.unreadable.values()))

    def _batches(self, read):
        """Yield lists of questions with their frames, as many as in the other
        processes of a job: the last may be empty."""
        while True:
            batch = jobs.together(
                lambda: list(itertools.islice(read, self.batch_size))
            )
            if not any(jobs.exchange(len(batch))):
                return
            yield batch

    def _read(self, questions, pool, on_error):
        """Yield questions with their frames, read ahead."""
        reading, ahead = {}, 2 * self.batch_size
        for i, question in enumerate(questions):
            for later in questions[i : i + ahead + 1]:
                if _source(later) not in reading:
                    reading[_source(later)] = self._submit(pool, later)
            try:
                # Raises errors of its text before it is part of a batch.
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
        """Predictions of a batch, which is padded to keep its shape."""
        filled = batch or [_nothing()]
        filled = filled + filled[-1:] * (self.batch_size - len(filled))
        examples = {
            "videos": [video for _, video in filled],
            "prompts": [question.prompt for question, _ in filled],
        }
        if any(question.subtitles for question, _ in filled):
            examples["subtitles"] = [q.subtitles for q, _ in filled]
        answers = self.answerer(examples)
        return [
            {
                "id": question.id,
                "video": question.video,
                "prompt": question.prompt,
                "choices": question.choices,
                "answer": question.answer,
                "file": file_stamp(question.video),
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
                rule=rule,
                figures=self.benchmark.figures,
            ),
            "environment": environment(),
        }
        journal.write(files.RESULTS, result)
        return result


def _nothing():
    """What a process without questions answers while others have some."""
    question = types.SimpleNamespace(prompt="?", subtitles=None)
    frames = np.zeros((1, 28, 28, 3), "uint8")
    return question, SampledVideo(frames, np.zeros(1))


def _by_video(questions):
    """The same questions, grouped by video."""
    first = {}
    for question in questions:
        first.setdefault(_source(question), len(first))
    return sorted(questions, key=lambda question: first[_source(question)])


def _source(question):
    return question.video, repr(question.clip), question.fps
