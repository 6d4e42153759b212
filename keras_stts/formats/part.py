"""A part of a checkpoint's `config.json`, with its checks."""

from keras_stts.formats import fields
from keras_stts.models import backbone_bounds as bounds

FILE = "config.json"
LIMITS = {**bounds.INTS, **bounds.NUMBERS}


class Part:
    """The arguments that a part of a config gives, and their names in it.

    Args:
        data: Dict, the part.
        section: Str, its name in `config.json`.
        preset: Str, what errors call the checkpoint.
        tables: Dict, see `keras_stts.formats.fields`.
    """

    def __init__(self, data, section, preset, tables):
        self.data, self.section, self.tables = data, section, tables
        self.where = f"{FILE} of {preset}"
        self.values = fields.parse(data, FILE, section, preset, tables=tables)
        for name, value in self.values.items():
            if name in LIMITS and not isinstance(value, (list, type(None))):
                least, most = LIMITS[name]
                rule = f"be from {least:,} to {most:,}"
                self.require(name, least <= value <= most, rule)

    def __getitem__(self, argument):
        return self.values[argument]

    def without(self, *arguments):
        return {k: v for k, v in self.values.items() if k not in arguments}

    def name_of(self, argument):
        return fields.name_of(
            argument, self.data, FILE, self.section, tables=self.tables
        )

    def require(self, argument, good, rule):
        name, value = self.name_of(argument), self[argument]
        fields.require(good, rule, name, value, self.where)

    def check(self, argument, function, *args):
        """Call a check of an argument; add file and field to its error."""
        try:
            return function(*args)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"`{self.name_of(argument)}` in {self.where} is not supported. "
                f"Received: {args[-1]!r}. {error}"
            ) from error
