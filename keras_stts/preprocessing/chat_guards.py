"""What a template's operators, methods and filters would make, beforehand.

Each function raises `LimitError` if that is too much. Those of methods and
filters have the arguments of these.
"""

import re

from keras_stts.preprocessing.chat_limits import BITS
from keras_stts.preprocessing.chat_limits import LimitError

SLOW = 50_000  # Characters, for what takes microseconds each.
DIGITS = 300  # Of decimals.
WORDS = 10_000
ENCODINGS = ("utf-8", "utf8", "ascii", "latin-1", "latin1", "utf-16", "utf-32")
NUMBER = re.compile(r"\d+")
# One before what ends a field of `%`.
WIDTH = re.compile(r"\d+(?=[.\d*]*[hlL]?[a-zA-Z%])")
TEXTS = (str, bytes)


def operate(budget, operator, left, right):
    """Check the operands of an operator of two."""
    if operator == "+":
        budget.fits(budget.weigh(left) + budget.weigh(right))
    elif operator == "*":
        _multiply(budget, left, right)
    elif operator == "**":
        if isinstance(left, int) and isinstance(right, int) and abs(left) > 1:
            _bits(left.bit_length() * right)
    elif operator == "%" and isinstance(left, TEXTS):
        _percent(budget, left, right)


def _multiply(budget, left, right):
    if isinstance(left, int) and isinstance(right, int):
        _bits(left.bit_length() + right.bit_length())
    elif isinstance(left, int):
        budget.fits(budget.weigh(right) * left)
    elif isinstance(right, int):
        budget.fits(budget.weigh(left) * right)


def _bits(bits):
    if bits > BITS:
        raise LimitError(f"makes an integer of more than {BITS:,} bits")


def _percent(budget, text, values):
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    size = sum(map(float, WIDTH.findall(text)))
    if "*" in text:
        given = values if isinstance(values, tuple) else (values,)
        widths = [abs(v) for v in given if isinstance(v, int)]
        size += text.count("*") * max(widths, default=0)
    times = 1 if isinstance(values, tuple) else text.count("%")
    budget.fits(len(text) + size + times * budget.weigh(values))


def field(budget, spec):
    """Check how one field of `str.format` is written."""
    budget.fits(sum(map(float, NUMBER.findall(str(spec)))))


def joined(budget, separator, items):
    """What is joined, as a list if it can be read but once."""
    if not hasattr(items, "__len__"):
        items = list(items)
    size = budget.weigh(separator) * len(items)
    budget.fits(size + budget.weigh(items))
    return items


def _pad(budget, text, width, *rest):
    _width(budget, width)


def _width(budget, width):
    if isinstance(width, int):
        budget.fits(width)


def _expand(budget, text, tabsize=8):
    tab = "\t" if isinstance(text, str) else b"\t"
    if isinstance(tabsize, int):
        budget.fits(text.count(tab) * tabsize)


def _replace(budget, text, old, new, count=-1):
    if isinstance(old, TEXTS) and isinstance(new, TEXTS):
        budget.fits(len(text) + text.count(old) * len(new))


def _translate(budget, text, table):
    budget.fits(len(text) * budget.weigh(table))


def _encode(budget, text, encoding="utf-8", errors="strict"):
    if str(encoding).lower() not in ENCODINGS:
        raise LimitError(f"uses an encoding other than {', '.join(ENCODINGS)}")


def _to_bytes(budget, number, length=1, *rest, **more):
    _width(budget, length)


# Of strings, bytes and integers.
METHODS = {
    "center": _pad,
    "decode": _encode,
    "encode": _encode,
    "expandtabs": _expand,
    "ljust": _pad,
    "replace": _replace,
    "rjust": _pad,
    "to_bytes": _to_bytes,
    "translate": _translate,
    "zfill": _pad,
}


def lorem_ipsum(n=5, html=True, min=20, max=100):
    """Check the arguments of `lipsum`."""
    if not n * max <= WORDS:
        raise LimitError(f"makes more than {WORDS:,} words")


def strftime(format):
    """Check the argument of `strftime_now`."""
    if len(format) > 1000:
        raise LimitError("formats a time with more than 1,000 characters")


def _slow(budget, value, *args, **kwargs):
    if budget.weigh(value) > SLOW:
        raise LimitError(f"uses a slow filter on more than {SLOW:,} characters")


def _center(budget, value, width=80):
    _width(budget, width)


def _columns(budget, value, number, fill_with=None):
    _width(budget, number)
    if isinstance(number, int):
        budget.fits(budget.weigh(fill_with) * number)


def _format(budget, value, *args, **kwargs):
    _percent(budget, str(value), kwargs or args)


def _indent(budget, s, width=4, first=False, blank=False):
    size = len(width) if isinstance(width, str) else width
    budget.fits(len(s) + (s.count("\n") + 1) * size)


def _replace_filter(budget, s, old, new, count=None):
    _replace(budget, str(s), str(old), str(new))


def _round(budget, value, precision=0, method="common"):
    if abs(precision) > DIGITS:
        raise LimitError(f"rounds to more than {DIGITS} digits")


def _to_json(
    budget,
    x,
    ensure_ascii=False,
    indent=None,
    separators=None,
    sort_keys=False,
):
    step = len(indent) if isinstance(indent, str) else 0
    if isinstance(indent, int):
        step = max(indent, 0)
    size, depth = budget.size_and_depth(x)
    rest = sum(map(len, separators or ())) + step * (depth + 1)
    budget.fits(size * (6 if ensure_ascii else 1) + rest * size / 8)


def _urlize(budget, value, *args, **kwargs):
    _slow(budget, [value, *args, *kwargs.values()])


def _wordwrap(
    budget,
    s,
    width=79,
    break_long_words=True,
    wrapstring=None,
    break_on_hyphens=True,
):
    _slow(budget, s)
    budget.fits(len(s) * len(wrapstring or "\n"))


FILTERS = {
    "batch": _columns,
    "center": _center,
    "format": _format,
    "indent": _indent,
    "pprint": _slow,
    "replace": _replace_filter,
    "round": _round,
    "slice": _columns,
    "striptags": _slow,
    "title": _slow,
    "tojson": _to_json,
    "urlize": _urlize,
    "wordwrap": _wordwrap,
    "xmlattr": _slow,
}
