"""Templates of others, run as Hugging Face's tokenizers run them.

A template is code of whoever made a checkpoint. It reads no file and calls
nothing of this process, and it is stopped when it goes on too long or makes
too much, without signals or processes: what its operators, methods and filters
make is counted, beforehand where it may be much.
"""

import functools

from keras_stts.preprocessing.chat_environment import Environment
from keras_stts.preprocessing.chat_limits import SOURCE
from keras_stts.preprocessing.chat_limits import LimitError

SHOWN = 500
ENVIRONMENT = Environment()


def render(source, variables):
    """Fill a template in; it can run no code and read no file.

    Args:
        source: Str, Jinja.
        variables: Dict of str to plain values, such as JSON has.

    Returns:
        Str.

    Raises:
        ValueError: If it is no template, refuses these variables, takes more
            than a second, makes too much or is nested too deep.
    """
    template = _compile(source)
    try:
        with ENVIRONMENT.limited(variables) as budget:
            text = []
            for part in template.generate(variables):
                text.append(budget.make(part))
            return budget.make("".join(text))
    except LimitError as error:
        raise _beyond_limits(error) from error
    except (MemoryError, RecursionError) as error:
        raise _beyond_limits("is nested too deep") from error
    except Exception as error:
        raise ValueError(
            "A chat template must take the messages as they are. Received: "
            f"messages that it refuses ({shortened(error)}). Change them as "
            "it says, or pass another `chat_template`."
        ) from error


@functools.lru_cache
def _compile(source):
    if len(source) > SOURCE:
        raise _beyond_limits(f"has more than {SOURCE:,} characters")
    try:
        with ENVIRONMENT.limited():
            return ENVIRONMENT.template(source)
    except LimitError as error:
        raise _beyond_limits(error) from error
    except (MemoryError, RecursionError) as error:
        raise _beyond_limits("is nested too deep") from error
    except Exception as error:
        raise ValueError(
            "`chat_template` must be a Jinja template. Received: "
            f"{shortened(repr(source))} ({shortened(error)})."
        ) from error


def _beyond_limits(what):
    return ValueError(
        "A chat template must keep to limits of time, size and nesting. "
        f"Received: one that {what}. Pass another `chat_template`."
    )


def shortened(text):
    """The beginning of what an error would show."""
    text = str(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
