"""Text files of other programs, and their encodings."""

import codecs

# Byte order marks, longer ones first.
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
SAVE = (
    "Save it as UTF-8, in a spreadsheet as `CSV UTF-8`, or convert it with "
    "`iconv -f {} -t UTF-8`."
)


def decoded(data, errors="strict"):
    """Decode a file by its byte order mark, without one as UTF-8.

    Args:
        data: Bytes.
        errors: `"strict"`, or `"surrogateescape"`: bytes that are not UTF-8
            become lone surrogates.

    Raises:
        UnicodeDecodeError: If it is in another encoding.
    """
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    return data.decode("utf-8", errors)


def problem(data):
    """Why bytes are not text, and what to do; `None` if they are."""
    marked = any(data.startswith(mark) for mark in MARKS)
    if not marked and b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        # In UTF-16 one byte of each ASCII letter is zero.
        wide = data.count(b"\0") > len(data) // 4
        what = "UTF-16 without a byte order mark" if wide else "not text"
        advice = SAVE.format("UTF-16") if wide else "Write it again."
        return f"which is {what}: line {line} has a zero byte. {advice}"
    try:
        decoded(data)
    except UnicodeDecodeError as error:
        if error.encoding != "utf-8":
            return (
                f"which is marked as {error.encoding.upper()} and is not at "
                f"byte {error.start}. Write it again."
            )
        line = data[: error.start].count(b"\n") + 1
        return (
            f"which is not UTF-8: line {line} has the byte "
            f"0x{data[error.start]:02x}. {SAVE.format(_guess(data))}"
        )
    return None


def _guess(data):
    """The most likely encoding, by its name for `iconv`."""
    try:
        data.decode("windows-1252")
    except UnicodeDecodeError:
        return "SHIFT-JIS"
    return "WINDOWS-1252"


def read_text(path, what):
    """Text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        path: `pathlib.Path` or `Address`.
        what: Str, what an error calls the file.

    Raises:
        ValueError: If it is in another encoding.
    """
    data = path.read_bytes()
    wrong = problem(data)
    if wrong:
        raise ValueError(
            f"{what} must be text in UTF-8. Received: {str(path)!r}, {wrong}"
        )
    return decoded(data)


def is_whole(text):
    """Whether a text has no lone surrogate, and so can be written."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
