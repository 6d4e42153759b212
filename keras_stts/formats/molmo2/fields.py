"""Reads the files of a Molmo2 checkpoint by the tables of `settings`."""

import functools

from keras_stts.formats import fields
from keras_stts.formats.fields import TYPES
from keras_stts.formats.fields import check_type
from keras_stts.formats.fields import require
from keras_stts.formats.molmo2.settings import TABLES

__all__ = ["TYPES", "check_type", "name_of", "parse", "read_file", "require"]

name_of = functools.partial(fields.name_of, tables=TABLES)
parse = functools.partial(fields.parse, tables=TABLES)
read_file = functools.partial(fields.read_file, tables=TABLES)
