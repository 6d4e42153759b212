"""What a benchmark is, and what it asks."""

import dataclasses
import pathlib
import warnings
from collections.abc import Callable

from keras_stts.evaluation.parsers import PARSERS

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# What files raise that are of another format than expected.
FORMAT_ERRORS = (
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)
# What becomes of an answer that cannot be parsed in the published code.
UNPARSED = ("wrong", "random", "dropped")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one video.

    Attributes:
        id: Str, unlike any other of the benchmark.
        video: Str. Path of a video file, or of a folder of images.
        prompt: Str, as the model is asked.
        answer: Int, which of the choices is right; or a str.
        choices: Tuple of str.
        categories: Dict such as `{"duration": "short"}`, of str to str or to
            a list of str.
        parse: Function of an answer and the question; see `parsers`.
        clip: Optional (start, end), seconds: the part that is asked about.
        fps: Optional number, frames a second of a folder of images.
        subtitles: Optional tuple of (start, end, text), seconds.
    """

    id: str
    video: str
    prompt: str
    answer: int | str
    choices: tuple = ()
    categories: dict = dataclasses.field(default_factory=dict)
    parse: Callable
    clip: tuple | None = None
    fps: float | None = None
    subtitles: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """How questions are read from disk, asked and marked.

    Attributes:
        name: Str.
        read: Function of a folder, an absolute `pathlib.Path`. It yields, for
            each question, a dict of `"id"`, `"video"` (path, absolute or from
            the folder), `"question"` and `"answer"`: with `"choices"`, a list
            of str, the number of the right one or its letter or its text; the
            text itself without. It may hold `"categories"`, `"clip"`,
            `"fps"`, `"subtitles"` and `"parse"`, see `Question`, and anything
            that the prompt names.
        prompt: Str, a template of what `read` yields, and of `{options}`,
            by default the choices as lines `A. ...`.
        parse: Str or function, what makes an answer of the model's words,
            see `keras_stts.evaluation.parsers`.
        max_new_tokens: Int. Length of an answer.
        sampling: Optional str. How frames are chosen, see
            `keras_stts.data.sample_indices`. Defaults to the model's.
        size: Optional int. How many questions were published; `load` warns
            if it finds more or fewer.
        group: Str, which mean this belongs to: `"short"`, `"long"` or none.
        unparsed: Str. What the authors' code does with an answer that cannot
            be parsed: `"wrong"`, `"random"` (guess) or `"dropped"` (leave the
            question out). It is done with `reference_quirks=True` only.

    Example:
    ```python
    import json


    def read(folder):
        for line in open(folder / "questions.jsonl"):
            row = json.loads(line)
            yield {**row, "video": f"clips/{row['video']}.mp4"}


    mine = keras_stts.evaluation.Benchmark(
        "mine", read, "{question}\\n{options}\\nAnswer with a letter.", "letter"
    )
    ```
    """

    name: str
    read: Callable
    prompt: str = "{question}"
    parse: str | Callable = "exact"
    max_new_tokens: int = 12
    sampling: str | None = None
    size: int | None = None
    group: str = ""
    unparsed: str = "wrong"

    def load(self, folder):
        """Read all questions.

        Args:
            folder: Path of what was downloaded, or of your own files.

        Returns:
            List of `Question`.

        Raises:
            FileNotFoundError: If a file of questions is missing.
            ValueError: If there is no question, two have one id, an answer
                is none of the choices, or files are not as published.
        """
        folder = pathlib.Path(folder).absolute()
        questions = [self._question(row, folder) for row in self._rows(folder)]
        ids = [question.id for question in questions]
        if not ids or len(set(ids)) < len(ids):
            twice = sorted({i for i in ids if ids.count(i) > 1})[:3]
            raise ValueError(
                "A benchmark must have questions, each with an `id` of its "
                f"own. Received: {len(ids)} questions of {self.name} in "
                f"{str(folder)!r}, of one id: {twice}. Check how the files "
                "were written."
            )
        if self.size not in (None, len(ids)):
            warnings.warn(
                f"{self.name} was published with {self.size} questions; "
                f"{len(ids)} were found in {str(folder)!r}.",
                stacklevel=2,
            )
        return questions

    def _rows(self, folder):
        last = None
        try:
            for row in self.read(folder):
                yield row
                last = row.get("id")
        except FORMAT_ERRORS as error:
            raise ValueError(
                f"The annotations of {self.name} must be as published. "
                f"Received: {type(error).__name__}: {error} after question "
                f"{last} in {str(folder)!r}. Download them again, or read "
                "yours with a `Benchmark` of your own."
            ) from error

    def _question(self, row, folder):
        missing = {"id", "video", "question", "answer"} - set(row)
        if missing:
            raise ValueError(
                "A question must have id, video, question and answer. "
                f"Received: one of {self.name} without "
                f"{', '.join(sorted(missing))}: {row}."
            )
        choices = tuple(str(choice) for choice in row.get("choices", ()))
        lines = {"options": options(choices), **row}
        parse = row.get("parse", self.parse)
        return Question(
            id=str(row["id"]),
            video=str(folder / row["video"]),
            prompt=self.prompt.format(**lines),
            answer=_right(row["answer"], choices, row["id"]),
            choices=choices,
            categories=dict(row.get("categories", {})),
            parse=parse if callable(parse) else PARSERS[parse],
            clip=row.get("clip"),
            fps=row.get("fps"),
            subtitles=row.get("subtitles"),
        )


def options(choices):
    """Choices as lines `A. ...`."""
    return "\n".join(f"{x}. {choice}" for x, choice in zip(LETTERS, choices))


def _right(answer, choices, name):
    """The number of the right choice; the answer itself without choices."""
    if not choices:
        return str(answer)
    for known in (choices, LETTERS[: len(choices)]):
        if isinstance(answer, str) and answer in known:
            return known.index(answer)
    if str(answer).isdigit() and int(answer) < len(choices):
        return int(answer)
    raise ValueError(
        "An answer must be one of the choices, its letter or its number from "
        f"0. Received: answer={answer!r} of question {name}, choices="
        f"{list(choices)}."
    )
