"""Benchmarks and their questions."""

import dataclasses
import warnings
from collections.abc import Callable

from keras_stts.data.addresses import is_address
from keras_stts.data.paths import as_path
from keras_stts.evaluation.parsers import LETTERS
from keras_stts.evaluation.parsers import PARSERS

# Errors of reading files of an unexpected format.
FORMAT_ERRORS = (
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)
# What the published code does with an answer that cannot be parsed.
UNPARSED = ("wrong", "random", "dropped")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one video.

    Attributes:
        id: Str, unique in the benchmark.
        video: Str. Path of a video file, or of a folder of images.
        prompt: Str, the text that the model gets, or the messages of a
            conversation.
        answer: Int, the index of the right choice; a str without choices.
        choices: Tuple of str.
        categories: Dict such as `{"duration": "short"}`, of str to str or to
            a list of str.
        parse: Function of an answer and the question; see
            `keras_stts.evaluation.parsers`.
        clip: Optional (start, end), in seconds: the part of the video that the
            question is about.
        fps: Optional number, frames per second of a folder of images.
        subtitles: Optional tuple of (start, end, text), in seconds.
        credit: Optional function of a parsed answer and the question, for
            answers that can be partly right: the share, 0 to 1. By default an
            answer is right if it equals `answer`.

    Example:
    ```python
    question = keras_stts.evaluation.Question(
        id="1",
        video="clips/cat.mp4",
        prompt="Who jumps?\\nA. the dog\\nB. the cat\\nAnswer with a letter.",
        answer=1,
        choices=("the dog", "the cat"),
        parse=keras_stts.evaluation.PARSERS["letter"],
    )
    question.parse("b) the cat", question)  # 1
    ```
    """

    id: str
    video: str
    prompt: str | list
    answer: int | str
    choices: tuple = ()
    categories: dict = dataclasses.field(default_factory=dict)
    parse: Callable
    clip: tuple | None = None
    fps: float | None = None
    subtitles: tuple | None = None
    credit: Callable | None = None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """How questions are read from disk, asked and scored.

    Attributes:
        name: Str.
        read: Function of a folder, which is an absolute `pathlib.Path`, or an
            object with its methods for an address. It yields a dict for each
            question: `"id"`, `"video"` (an address, or a path that is
            absolute or relative to the folder), `"question"` and `"answer"`,
            a text. With `"choices"`, a list of str, the answer is the index,
            the letter or the text of the right choice. The dict may also hold
            `"categories"`, `"clip"`, `"fps"`, `"subtitles"`, `"parse"` and
            `"credit"`, see `Question`, and any other name that occurs in the
            prompt.
        prompt: Str, a template with the names that `read` yields and
            `{options}`, by default the choices as lines `A. ...`.
        parse: Str or function that turns the model's text into an answer, see
            `keras_stts.evaluation.parsers`. `"exact"` works with and without
            choices; all others need choices.
        max_new_tokens: Int. Longest answer, in tokens.
        sampling: Optional str. How frames are chosen, see
            `keras_stts.data.sample_indices`. Defaults to the model's.
        size: Optional int. Number of published questions; `load` warns if it
            finds more or fewer.
        group: Str, the mean that this benchmark counts for: `"short"`,
            `"long"` or `""`.
        unparsed: Str. What the authors' code does with an answer that cannot
            be parsed: `"wrong"`, `"random"` (guess) or `"dropped"` (leave the
            question out). It is done with `reference_quirks=True` only.
        figures: Optional function of a list of `Question` and a list of their
            shares of right answers (0 to 1): a dict of str to float, what the
            benchmark's authors report beside accuracy, see
            `keras_stts.evaluation.figures`. `keras_stts.evaluate` returns it
            as `"figures"`, and `table` shows the first.

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
    _: dataclasses.KW_ONLY
    sampling: str | None = None
    size: int | None = None
    group: str = ""
    unparsed: str = "wrong"
    figures: Callable | None = None

    def __post_init__(self):
        _parser(self.parse)
        if self.unparsed not in UNPARSED:
            raise ValueError(
                f"`unparsed` must be one of {', '.join(UNPARSED)}. Received: "
                f"{self.unparsed!r}."
            )

    def load(self, folder):
        """Read all questions.

        Args:
            folder: Path or address of what was downloaded, or of your own
                files.

        Returns:
            List of `Question`.

        Raises:
            FileNotFoundError: If a file of questions is missing.
            ValueError: If there is no question, two have the same id, an
                answer is none of the choices or cannot be returned by the
                parser, or files are not as published.
        """
        folder = as_path(folder).absolute()
        questions = [self._question(row, folder) for row in self._rows(folder)]
        ids = [question.id for question in questions]
        if not ids or len(set(ids)) < len(ids):
            twice = sorted({i for i in ids if ids.count(i) > 1})[:3]
            raise ValueError(
                "A benchmark must have questions, each with an `id` of its "
                f"own. Received: {len(ids)} questions of {self.name} in "
                f"{str(folder)!r}, with repeated ids: {twice}. Check how files "
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
            if "Received: " in str(error):
                raise  # Its message already says what to do.
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
        choices = row.get("choices")
        choices = () if choices is None else tuple(map(str, choices))
        lines = {"options": options(choices), **row}
        question = Question(
            id=str(row["id"]),
            video=_place(folder, row["video"]),
            prompt=self._prompt(lines),
            answer=right(row["answer"], choices, row["id"]),
            choices=choices,
            categories=dict(row.get("categories", {})),
            parse=_parser(row.get("parse", self.parse)),
            clip=row.get("clip"),
            fps=row.get("fps"),
            subtitles=row.get("subtitles"),
            credit=row.get("credit"),
        )
        _check_parser(question)
        return question

    def _prompt(self, lines):
        def filled(words):
            return self.prompt.format(**{**lines, "question": words})

        try:
            return with_words(lines["question"], filled)
        except KeyError as error:
            raise ValueError(
                "`prompt` may name what the rows of questions hold, and "
                f"{{options}}. Received: prompt={self.prompt!r}, and question "
                f"{lines['id']} of {self.name} without {error}."
            ) from None


def with_words(prompt, change):
    """Change the text of a prompt, or the last text of a conversation.

    Args:
        prompt: Str, or a list of messages, see `keras_stts.preprocessing.chat`.
        change: Function of the text.
    """
    if not isinstance(prompt, (list, tuple)):
        return change(prompt)
    *before, last = prompt
    content = last.get("content") if isinstance(last, dict) else None
    if isinstance(content, str):
        return [*before, {**last, "content": change(content)}]
    places = [i for i, part in enumerate(content or ()) if "text" in part]
    if not places:
        raise ValueError(
            "The last message of a conversation must have text. Received: "
            f"{repr(last)[:300]}."
        )
    content = list(content)
    part = content[places[-1]]
    content[places[-1]] = {**part, "text": change(part["text"])}
    return [*before, {**last, "content": content}]


def options(choices):
    """Choices as lines `A. ...`."""
    return "\n".join(f"{x}. {choice}" for x, choice in zip(LETTERS, choices))


def right(answer, choices, name):
    """The number of the right choice; the answer itself without choices."""
    if len(choices) > len(LETTERS):
        raise ValueError(
            f"A question may have at most {len(LETTERS)} choices, one for each "
            f"letter. Received: {len(choices)} of question {name}. Leave "
            "`choices` out to compare the text with the answer."
        )
    if not choices and answer is not None and str(answer).strip():
        return str(answer)
    for known in (choices, tuple(LETTERS[: len(choices)])):
        if isinstance(answer, str) and answer in known:
            return known.index(answer)
    if str(answer).isdigit() and int(answer) < len(choices):
        return int(answer)
    raise ValueError(
        "An answer must be one of the choices, its letter or its number from "
        "0; a text if there are no choices. Received: "
        f"answer={answer!r} of question {name}, choices={list(choices)}."
    )


def _place(folder, video):
    """Path or address of a video that a benchmark names."""
    return str(video) if is_address(str(video)) else str(folder / video)


def _parser(parse):
    """A parser from its name, or the parser itself."""
    if callable(parse):
        return parse
    if parse not in PARSERS:
        raise ValueError(
            f"`parse` must be a function or one of {', '.join(PARSERS)}. "
            f"Received: {parse!r}."
        )
    return PARSERS[parse]


def _check_parser(question):
    """Raise if the parser cannot call any text right."""
    names = {parse: name for name, parse in PARSERS.items()}
    if question.parse not in names:
        return
    said = [str(question.answer)]
    if question.choices:
        letter = LETTERS[question.answer]
        words = question.choices[question.answer]
        said = [letter, f"{letter}.", f"({letter})", words]
    if not any(question.parse(x, question) == question.answer for x in said):
        raise ValueError(
            "A parser must know the right answer. Received: "
            f"parse={names[question.parse]!r}, for question {question.id} with "
            f"answer={question.answer!r}, choices={list(question.choices)}. "
            "Pass `choices` that this parser knows, see "
            "`keras_stts.evaluation.parsers`, or another parser, such as "
            '"exact".'
        )
