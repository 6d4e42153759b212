"""Templates that go on too long or make too much are stopped."""

import threading

import pytest

from keras_stts.preprocessing import chat
from keras_stts.preprocessing.chat_limits import CALLS
from keras_stts.preprocessing.chat_limits import DEPTH
from keras_stts.preprocessing.chat_limits import SOURCE
from tests.models.hostile_templates import GOOD
from tests.models.hostile_templates import HOSTILE
from tests.models.hostile_templates import made
from tests.models.hostile_templates import outcome
from tests.watched import watched

pytestmark = pytest.mark.once
# Those that are harmless after all, as they are to transformers.
HARMLESS = {
    "class by filter",
    "format to class",
    "globals",
    "huge quotient",
    "int of decimals",
    "many loops",
    "many macros",
    "many prints",
    "map to class",
    "not a number",
    "strftime width",
}
SEEDS = 40


def test_hostile():
    """None crashes, hangs, fills the memory or is let through."""
    templates = [*HOSTILE.items(), *((i, made(i)) for i in range(SEEDS))]
    results = {name: result for name, result, _ in watched(outcome, templates)}
    assert set(results.values()) == set(GOOD)
    rendered = {n for n, r in results.items() if r == "rendered"}
    assert rendered & set(HOSTILE) <= HARMLESS


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ 'x' * 10**9 }}", "makes a value of more than 1,00.,... charac"),
        ("{{ 2 ** 9999 }}", "makes an integer of more than 4,096 bits"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", f"than {CALLS} ti"),
        (
            "{{ " + "[" * 150 + "]" * 150 + " }}",
            f"(deeper than {DEPTH}|too deep)",
        ),
        (" " * (SOURCE + 1), "has more than 100,000 characters"),
        (HOSTILE["loops"], "takes more than 0.5 s"),
        (HOSTILE["brackets"], "is nested too deep"),
        (
            HOSTILE["texts kept"].partition("{% set a300")[0],
            "more than 50,0..,... characters",
        ),
    ],
)
def test_limits(template, message):
    with pytest.raises(ValueError, match=f"to limits of time.*{message}"):
        chat.render(template, "a")


def test_threads():
    """Each thread has limits of its own."""
    results = []

    def render():
        for _ in range(20):
            results.append(chat.render("{{ 'ab' * 1000 }}", "a"))
            with pytest.raises(ValueError, match="limits of time"):
                chat.render("{{ 'ab' * 10**9 }}", "a")

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["ab" * 1000] * 80


def test_long_conversations():
    """What may be made grows with what is given."""
    text = "x" * 3_000_000
    messages = [{"role": "user", "content": text}]
    assert chat.render("{{ messages[0].content }}", messages) == text
    messages = [{"role": "user", "content": "hello"}] * 2000
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert chat.render(template, messages) == "hello" * 2000
