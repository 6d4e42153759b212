"""Reads the files of a checkpoint by tables of their fields.

Tables are a dict by file, then by section; an empty section is the top level
of the file.
"""

import math

from keras_stts.formats.field_kinds import REQUIRED
from keras_stts.presets import files as preset_files

# Files in which null means the same as a missing field.
NULLS = ("generation_config.json", "tokenizer.json")


def read_file(preset, name, *, tables):
    """A file's fields as arguments, or `None` if there is no such file.

    Args:
        preset: Str. Handle or directory.
        name: Str, one of `tables`.
        tables: Dict, see above.

    Returns:
        Dict of the table's arguments, with defaults for missing fields.

    Raises:
        ValueError: If a field or its value is unknown; the message has file,
            field and value.
    """
    if not preset_files.has(preset, name):
        return None
    data = preset_files.read_json(preset, name)
    return parse(data, name, preset=preset, tables=tables)


def parse(data, name, section="", preset="a checkpoint", where=None, *, tables):
    """Like `read_file`, for a dict in memory or a part of it."""
    where = where or f"{name} of {preset}"
    table, given = tables[name][section], {}
    check_type("dict", data, section or "the whole file", where)
    for key, value in data.items():
        label = f"{section}.{key}" if section else key
        if key not in table:
            _refuse_unknown(label, value, where)
        field = table[key]
        if field.kind == "only":
            _check_allowed(field, label, value, where)
        elif field.kind == "read" and value is None:
            _check_null(field, label, name, where)
        elif field.kind == "read":
            check_type(field.type, value, label, where)
            _put(given, field.argument, value, label, where)
    values = {argument: value for argument, (value, _) in given.items()}
    return {**_defaults(table, values, section, where), **values}


def name_of(argument, data, name, section, *, tables):
    """The name in a file of the field that becomes an argument."""
    table = tables[name][section]
    names = [key for key in table if table[key].argument == argument]
    key = next((key for key in names if key in data), names[0])
    return f"{section}.{key}" if section else key


def _put(given, argument, value, label, where):
    """Raise if the old and the new name of a field have different values."""
    other, first = given.setdefault(argument, (value, label))
    if other != value:
        raise ValueError(
            f"`{first}` and `{label}` are two names of one field, and must "
            f"agree in {where}. Received: {other!r} and {value!r}. Remove the "
            "wrong one."
        )


def _defaults(table, values, section, where):
    defaults = {}
    for field in table.values():
        if field.kind != "read" or field.argument in values:
            continue
        if field.default is REQUIRED:
            names = [k for k in table if table[k].argument == field.argument]
            part = f"`{section}` in {where}" if section else where
            raise ValueError(
                f"A config must hold {' or '.join(names)}. Received: "
                f"neither, or null, in {part}. Download the file again."
            )
        defaults[field.argument] = field.default
    return defaults


def _refuse_unknown(label, value, where):
    raise ValueError(
        f"What `{label}` in {where} asks for is not known, and no field is "
        f"ignored. Received: {_short(value)}. If it has no effect on what the "
        "model puts out, remove it from the file."
    )


def _check_allowed(field, label, value, where):
    if value is None or any(_equal(value, other) for other in field.allowed):
        return
    allowed = " or ".join([*map(repr, field.allowed), "null"])
    raise ValueError(
        f"`{label}` in {where} must be {allowed}, because {field.why}. "
        f"Received: {_short(value)}. This model cannot be run here as its "
        "files say."
    )


def _check_null(field, label, name, where):
    """Raise if null does not mean the same as a missing field."""
    same = field.default is False or field.default is REQUIRED
    same |= field.default is None and field.type != "bool"
    if not same and name not in NULLS:
        check_type(field.type, None, label, where)


def _equal(value, other):
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _is_list(value, check):
    return isinstance(value, list) and all(check(item) for item in value)


def _is_token(value):
    return isinstance(value, str) or (
        isinstance(value, dict) and isinstance(value.get("content"), str)
    )


# For each type: its test, and its description.
TYPES = {
    "any": (lambda value: True, "anything"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "bool or null": (
        lambda value: value is None or isinstance(value, bool),
        "true, false or null",
    ),
    "dict": (lambda value: isinstance(value, dict), "an object"),
    "ids": (
        lambda value: _is_int(value) or (value and _is_list(value, _is_int)),
        "an integer or a list of them",
    ),
    "int": (_is_int, "an integer"),
    "ints": (lambda value: _is_list(value, _is_int), "a list of integers"),
    "list": (lambda value: isinstance(value, list), "a list"),
    "number": (_is_number, "a number"),
    "numbers": (
        lambda value: _is_number(value) or _is_list(value, _is_number),
        "a number or a list of them",
    ),
    "str": (lambda value: isinstance(value, str), "a string"),
    "token": (_is_token, "a token"),
    "tokens": (
        lambda value: isinstance(value, dict) or _is_list(value, _is_token),
        "a list of tokens, or an object of them",
    ),
}


def check_type(kind, value, label, where):
    """Raise if the value of a field has another type."""
    test, words = TYPES[kind]
    if not test(value):
        raise ValueError(
            f"`{label}` in {where} must be {words}. Received: "
            f"{_short(value)}. Download the file again."
        )


def require(good, rule, label, value, where):
    """Raise unless a rule holds; the message has file, field and value."""
    if not good:
        raise ValueError(
            f"`{label}` in {where} must {rule}. Received: {_short(value)}. "
            "This model cannot be run here as its files say."
        )


def _short(value):
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
