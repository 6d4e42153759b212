"""What transformers gives chat templates beside Jinja's own."""

import datetime
import json

import jinja2
from jinja2.ext import Extension
from jinja2.ext import loopcontrols
from jinja2.nodes import CallBlock
from jinja2.utils import Namespace
from jinja2.utils import generate_lorem_ipsum

from keras_stts.preprocessing import chat_guards


class Generation(Extension):
    """`{% generation %}`, around what a model is trained to say."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), True)
        call = self.call_method("_same")
        return CallBlock(call, [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def to_json(
    x, ensure_ascii=False, indent=None, separators=None, sort_keys=False
):
    """JSON as it is; Jinja's own filter writes `<` as `\\u003c`."""
    return json.dumps(
        x,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def raise_exception(message):
    raise jinja2.TemplateError(message)


def strftime_now(format):
    chat_guards.strftime(format)
    return datetime.datetime.now().strftime(format)


def lipsum(*args, **kwargs):
    chat_guards.lorem_ipsum(*args, **kwargs)
    return generate_lorem_ipsum(*args, **kwargs)


class TemplateDict:
    """`dict`, without the attributes of a class."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args):
        return dict.fromkeys(*args)


class TemplateNamespace(Namespace):
    """`namespace`, without names that begin with an underscore."""

    def __init__(*args, **kwargs):
        self, *args = args  # So that a template may set `self`.
        values = dict(*args, **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name, value):
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name):
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.TemplateRuntimeError(
            "a namespace has no names that begin with an underscore, "
            f"such as {name!r}"
        )


EXTENSIONS = (Generation, loopcontrols)
FILTERS = {"tojson": to_json}
GLOBALS = {
    "raise_exception": raise_exception,
    "strftime_now": strftime_now,
    "lipsum": lipsum,
    "dict": TemplateDict(),
    "namespace": TemplateNamespace,
}
