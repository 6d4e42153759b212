"""Subtitles of files and of tables."""

import pytest

from keras_stts.data.subtitles import as_subtitles
from keras_stts.data.subtitles import read_srt

pytestmark = pytest.mark.once

SHOWN = [(1.0, 2.5, "hello big world"), (3661.25, 3662.0, "né")]
PLAIN = (
    "1\n00:00:01,000 --> 00:00:02,500\nhello\nbig world\n\n"
    "2\n01:01:01,250 --> 01:01:02,000\nné\n"
)
FORMS = {
    "plain": PLAIN,
    "no spaces": PLAIN.replace(" --> ", "-->"),
    "positions": PLAIN.replace("2,500", "2,500 X1:40 X2:600 Y1:20 Y2:50"),
    "settings": PLAIN.replace("2,500", "2,500 align:start position:10%"),
    "points": PLAIN.replace(",", "."),
    "short": PLAIN.replace("00:00:0", "0:0"),
    "no hours": PLAIN.replace("00:00:0", "00:0"),
    "tags": PLAIN.replace(
        "hello", '{\\an8}<i>hello</i> <font color="a">'
    ).replace("né", "<B>né</B>"),
    "windows": PLAIN.replace("\n", "\r\n"),
    "no blank lines": PLAIN.replace("\n\n", "\n"),
    "more blank lines": f"\n\n{PLAIN}\n\n".replace("hello\n", "hello\n\n"),
    "no numbers": PLAIN.replace("1\n00:00", "00:00").replace("2\n01", "01"),
}


def write(folder, text, encoding="utf-8"):
    path = folder / "a.srt"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_forms(tmp_path, form):
    assert read_srt(write(tmp_path, FORMS[form])) == SHOWN


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marks(tmp_path, encoding):
    assert read_srt(write(tmp_path, PLAIN, encoding)) == SHOWN


def test_words_that_look_like_marks(tmp_path):
    text = "1\n0:01 --> 0:02\na < b > c\n\n2\n0:03 --> 0:04\n7\n8 2\n"
    assert read_srt(write(tmp_path, text)) == [
        (1.0, 2.0, "a < b > c"),
        (3.0, 4.0, "7 8 2"),
    ]
    assert read_srt(write(tmp_path, "")) == []


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        (PLAIN, "cp1252", "not UTF-8: line 8 has the byte 0xe9. Save it as U"),
        (
            PLAIN,
            "utf-16-le",
            "without a byte order mark: line 1 has a zero",
        ),
        ("hello\n", "utf-8", "has no line with times around"),
        ("a --> b\n", "utf-8", "line 1 has no times: 'a --> b'"),
        (PLAIN + "0:09 -- > 1\n0:1 --> x", "utf-8", "line 10 has no times"),
    ],
)
def test_damage(tmp_path, text, encoding, message):
    with pytest.raises(ValueError, match=f"a.srt', .*{message}"):
        read_srt(write(tmp_path, text, encoding))


def test_of_tables(tmp_path):
    path = write(tmp_path, PLAIN)
    rows = [list(line) for line in SHOWN]
    dicts = [{"start": a, "end": b, "text": text} for a, b, text in SHOWN]
    for value in (path, str(path), rows, dicts):
        assert as_subtitles(value) == SHOWN
    assert as_subtitles([("0:01", "1:02:03,5", "a")]) == [(1.0, 3723.5, "a")]
    assert as_subtitles({"(1, 2.5)": "a"}) == [(1.0, 2.5, "a")]
    for wrong in ("hello", 3, [["a", "b", "c"]], [[1, 2]], [{"start": 1}]):
        with pytest.raises(ValueError, match="Subtitles must be a list of"):
            as_subtitles(wrong)
