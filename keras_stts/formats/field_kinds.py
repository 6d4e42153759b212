"""Kinds of fields in a checkpoint's files.

A field is read into an argument of this package, or may have only certain
values, or has no effect here; for the last two a reason is given.
"""

import collections

Field = collections.namedtuple(
    "Field", ["kind", "argument", "type", "default", "allowed", "why"]
)
# Default of fields that every file has.
REQUIRED = object()


def read(argument, type, default=None):
    """A field that becomes an argument."""
    return Field("read", argument, type, default, (), "")


def only(*allowed, why):
    """A field that may be null or have one of these values."""
    return Field("only", None, None, None, allowed, why)


def unused(why):
    """A field that changes nothing here."""
    return Field("unused", None, None, None, (), why)


ABOUT = unused("says where the file is from, or which class reads it elsewhere")
OUTPUTS = unused("says what transformers returns beside the logits")
SPEED = unused("says how transformers computes, not what")
