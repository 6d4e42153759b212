"""Subtitles of SubRip files."""

import os
import re

from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.text import read_text

CLOCK = r"(?:(\d+):)?(\d+):(\d+)(?:[,.:](\d+))?"
# Some programs write a position after the times.
TIMES = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}(?:\s.*)?")
TAGS = re.compile(
    r"</?(?:b|c|font|i|ruby|rt|s|u|v)(?:[\s.][^<>]*)?>|\{\\[^{}]*\}", re.I
)


def read_srt(path):
    """Read the subtitles of a SubRip file.

    Args:
        path: `pathlib.Path` or `Address` of a file in UTF-8, or in UTF-16
            with a byte order mark.

    Returns:
        List of (start, end, text), in seconds; without tags and positions.

    Raises:
        ValueError: If the file is in another encoding, or a `-->` is not
            between two times.
    """
    lines = read_text(path, "A file of subtitles").splitlines()
    shown, words = [], []
    for number, line in enumerate(lines, 1):
        times = TIMES.fullmatch(line)
        if times is None:
            if "-->" in line:
                _fail(path, f"line {number} has no times: {line.strip()!r}")
            words.append(line)
            continue
        # The number before a line of times is not text of the last subtitle.
        if words and words[-1].strip().isdigit():
            words.pop()
        words = []
        clocks = times.groups()
        shown.append((_seconds(*clocks[:4]), _seconds(*clocks[4:]), words))
    if not shown and any(line.strip() for line in lines):
        _fail(path, "which has no line with times around a `-->`")
    return [(start, end, _text(words)) for start, end, words in shown]


def _fail(path, what):
    raise ValueError(
        "A file of subtitles must be in SubRip's format, with lines such as "
        f"`00:00:01,000 --> 00:00:02,500`. Received: {str(path)!r}, {what}. "
        "Convert it."
    )


def _seconds(hours, minutes, seconds, fraction):
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return whole + float(f"0.{fraction or 0}")


def _text(lines):
    return " ".join(TAGS.sub("", " ".join(lines)).split())


def seconds(clock):
    """Seconds of a number, or of "1:02:03.5" or "1:02:03,5"."""
    if isinstance(clock, (int, float)):
        return float(clock)
    total = 0.0
    for part in str(clock).replace(",", ".").split(":"):
        total = 60 * total + float(part)
    return total


def as_subtitles(value):
    """Subtitles from JSON or a file: a list of (start, end, text).

    Args:
        value: List of triples or of dicts with start, end and text; or a dict
            of "(start, end)" to text; or the path or address of an SRT file.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(value, (str, os.PathLike, Address)):
        path = as_path(value)
        if path.suffix.lower() != ".srt":
            raise ValueError(
                "Subtitles must be a list of (start, end, text) or the path "
                f"of an `.srt` file. Received: {str(value)[:300]!r}."
            )
        return read_srt(path)
    try:
        return _from_json(value)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            "Subtitles must be a list of (start, end, text), in seconds or as "
            f"`0:01:02.5`. Received: {repr(value)[:300]} ({error})."
        ) from error


def _from_json(value):
    if isinstance(value, dict):
        return [
            (*map(float, re.findall(r"\d+\.?\d*", times)[:2]), text)
            for times, text in value.items()
        ]
    if len(value) and isinstance(value[0], dict):
        value = [(line["start"], line["end"], line["text"]) for line in value]
    return [(seconds(a), seconds(b), str(text)) for a, b, text in value]
