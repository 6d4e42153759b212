"""Templates of others, run as Hugging Face's tokenizers run them."""

import datetime
import functools
import json

import jinja2
from jinja2.ext import Extension
from jinja2.ext import loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


def render(source, variables):
    """Fill a template in; it can run no code and read no file.

    Args:
        source: Str, Jinja.
        variables: Dict of str to plain values, such as JSON has.

    Returns:
        Str.

    Raises:
        ValueError: If it is no template, or refuses these variables.
    """
    template = _compile(source)
    try:
        return template.render(variables)
    except Exception as error:
        raise ValueError(
            "A chat template must take the messages as they are. Received: "
            f"messages that it refuses ({error}). Change them as it says, or "
            "pass another `chat_template`."
        ) from error


@functools.lru_cache
def _compile(source):
    try:
        return _environment().from_string(source)
    except Exception as error:
        raise ValueError(
            "`chat_template` must be a Jinja template. Received: "
            f"{source!r} ({error})."
        ) from error


def _environment():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return environment


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


def _to_json(
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


def _raise_exception(message):
    raise jinja2.TemplateError(message)


def _strftime_now(format):
    return datetime.datetime.now().strftime(format)


class _Dict:
    """`dict`, without the attributes of a class."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args):
        return dict.fromkeys(*args)


class _Namespace(Namespace):
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
