"""Benchmarks of users' own tables."""

import json

from keras_stts.data.manifest import read_manifest
from keras_stts.data.paths import as_path
from keras_stts.data.rows import check_damage
from keras_stts.data.rows import without_none
from keras_stts.data.source import name_of
from keras_stts.data.subtitles import as_subtitles
from keras_stts.evaluation.questions import Benchmark
from keras_stts.evaluation.questions import options
from keras_stts.evaluation.questions import right
from keras_stts.evaluation.questions import with_words

KNOWN = ("id", "video", "clip", "fps", "categories")
ASK = "{}\n{}\nAnswer with the option's letter from the given choices directly."


def from_manifest(path, *, may_leave_folder=False, left_out=None):
    """A benchmark of the user's own table.

    Args:
        path: Path of a table, see `keras_stts.data.read_manifest`, of videos,
            prompts and responses. An answer is right if it equals the
            response, apart from capitals, spaces and a full stop. Rows with
            `"choices"`, a list (in CSV as JSON, `["red", "blue"]`), are
            multiple-choice questions: the choices are shown as lines `A. ...`,
            and the response is one of them, its letter or its number from 0.
        may_leave_folder: Bool. Whether videos may be outside the folder.
        left_out: Optional dict that collects unusable rows, which otherwise
            raise an error: id to dict of `"id"`, `"video"` and `"reason"`.

    Returns:
        `Benchmark`, whose folder the paths of videos are relative to.
    """
    path = as_path(path)
    on_error = "raise" if left_out is None else "keep"

    def read(folder):
        start = None if may_leave_folder else folder
        for row in read_manifest(path, start, on_error=on_error):
            try:
                yield _question(row)
            except ValueError as error:
                if left_out is None:
                    raise
                name = str(row["id"])
                video = name_of(row.get("video"))
                reason = {"id": name, "video": video, "reason": str(error)}
                left_out[name] = reason

    return Benchmark(path.stem, read)


def _question(row):
    check_damage(row)
    given = {n: row[n] for n in KNOWN if row.get(n) not in (None, "")}
    video = given.get("video")
    if not isinstance(video, str):
        raise ValueError(
            "A table to evaluate must name videos by their paths or "
            f"addresses. Received: row {row['id']} with video="
            f"{repr(video)[:300]}. Copy them here."
        )
    if row.get("subtitles") not in (None, ""):
        given["subtitles"] = tuple(as_subtitles(row["subtitles"]))
    choices = _choices(row)
    prompt, answer = without_none(row["prompt"]), row.get("response")
    if choices:
        answer = _answer(answer, choices)
        given["choices"] = list(map(str, choices))
        right(answer, tuple(given["choices"]), row["id"])
        lines = options(given["choices"])
        prompt = with_words(prompt, lambda words: ASK.format(words, lines))
    return given | {"question": prompt, "answer": answer}


def _choices(row):
    """The choices of a row as a list, empty without choices."""
    choices = row.get("choices")
    if isinstance(choices, str) and choices.strip():
        try:
            choices = json.loads(choices)
        except (ValueError, RecursionError):
            pass  # It is refused below.
    if choices is None or choices == "":
        return []
    if not isinstance(choices, (list, tuple)) or not all(
        isinstance(c, (str, int, float)) and str(c).strip() for c in choices
    ):
        raise ValueError(
            "`choices` must be a list of texts or numbers, in CSV as JSON, "
            f'`["red", "blue"]`. Received: row {row["id"]} with '
            f"choices={repr(row['choices'])[:300]}."
        )
    return list(choices)


def _answer(answer, choices):
    """A number that is a choice is that choice, else an index from 0."""
    is_number = isinstance(answer, (int, float)) and answer == answer
    if is_number and not isinstance(answer, bool):
        numbers = [c for c in choices if not isinstance(c, str)]
        if answer in numbers:
            return str(choices[choices.index(answer)])
        if answer == int(answer):
            return int(answer)
    return answer
