"""What a field of a checkpoint's files can be.

A field is read into an argument of ours, or may have certain values alone, or
has no effect here, for the reason given.
"""

import collections

Field = collections.namedtuple(
    "Field", ["kind", "argument", "type", "default", "allowed", "why"]
)
# A default of fields that every file has.
REQUIRED = object()


def read(argument, type, default=None):
    """A field that becomes an argument."""
    return Field("read", argument, type, default, (), "")


def only(*allowed, why):
    """A field that may be null or of these values."""
    return Field("only", None, None, None, allowed, why)


def unused(why):
    """A field that changes nothing here."""
    return Field("unused", None, None, None, (), why)


ABOUT = unused("says where the file is from, or which class reads it elsewhere")
OUTPUTS = unused("says what transformers returns beside the logits")
SPEED = unused("says how transformers computes, not what")
