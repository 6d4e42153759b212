"""Templates that would never end, fill the memory or crash a process.

`python -m tests.models.hostile_templates --count 2000` tries these and that
many more, made of them at random, each in a process that is watched, and prints
a table of what became of them.
"""

import argparse
import random

from tests.watched import print_table
from tests.watched import watched

N = 10**9
GOOD = ("limit", "refused", "rendered")


def deep(opening, inner, closing, times):
    return opening * times + inner + closing * times


# Doubles a value until something gives.
DOUBLED = (
    "{{% set ns = namespace(x={start}) %}}{{% for _ in range(99999) %}}"
    "{{% set ns.x = {step} %}}{{% endfor %}}{end}"
)


def doubled(step, start="'ab'", end="{{ ns.x }}"):
    return DOUBLED.format(start=start, step=step, end=end)


# A namespace that is short in memory, but of 99 ** 9 parts as text.
GROWN = (
    "".join(f"{{% set a{i} = namespace(v=0) %}}" for i in range(9))
    + "".join(f"{{% set b{i} = [a{i}] * 99 %}}" for i in range(9))
    + "".join(f"{{% set a{i + 1}.v = b{i} %}}" for i in range(8))
)
LOOPS = "".join(f"{{% for {v} in range(99999) %}}" for v in "abcd")
HOSTILE = {
    "times": f"{{{{ 'x' * {N} }}}}",
    "times left": f"{{{{ {N} * 'x' }}}}",
    "list times": f"{{{{ [1] * {N} }}}}",
    "tuple times": f"{{{{ (1, 2) * {N} }}}}",
    "list of lists": "{{ [[1] * 9999] * 9999 }}",
    "markup times": f"{{{{ ('<' | e) * {N} }}}}",
    "power": "{{ 10 ** (10 ** 9) }}",
    "power of variables": "{% set a = 9 %}{{ a ** (a ** (a ** a)) }}",
    "negative power": "{{ (-3) ** (10 ** 9) }}",
    "factors": doubled("ns.x * ns.x", "9"),
    "long number": "{{ " + "9" * 50_000 + " }}",
    "long hexadecimal": "{{ 0x" + "f" * 50_000 + " }}",
    "int of hexadecimal": "{{ ('f' * 900000) | int(base=16) }}",
    "int of decimals": "{{ ('9' * 900000) | int + 1 }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent precision": "{{ '%.1000000000f' % 1.5 }}",
    "percent star": f"{{{{ '%*d' % ({N}, 1) }}}}",
    "percent many": "{{ '%99999d' * 9000 % ((1,) * 9000) }}",
    "percent mapping": "{{ ('%(a)s' * 9000) % {'a': 'x' * 9000} }}",
    "percent bytes": "{{ '%1000000000d'.encode() % 1 }}",
    "percent nested key": "{{ '%((a)b)1000000000d' % {'(a)b': 1} }}",
    "format filter": "{{ '%1000000000d' | format(1) }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "format precision": "{{ '{:.1000000000f}'.format(1.5) }}",
    "format nested": f"{{{{ '{{:{{}}}}'.format(1, {N}) }}}}",
    "format named": f"{{{{ '{{a:{{w}}}}'.format(a=1, w={N}) }}}}",
    "format map": f"{{{{ '{{a:{N}}}'.format_map({{'a': 1}}) }}}}",
    "format many": "{{ ('{0}' * 9000).format('x' * 9000) }}",
    "format namespace": (
        "{% set n = namespace(a='x' * 9000) %}{{ ('{0.a}' * 9000).format(n) }}"
    ),
    "format markup": "{{ ('{:1000000000}' | e).format(1) }}",
    "center": f"{{{{ 'a'.center({N}) }}}}",
    "ljust": f"{{{{ 'a'.ljust({N}) }}}}",
    "rjust": f"{{{{ 'a'.rjust({N}, 'b') }}}}",
    "zfill": f"{{{{ 'a'.zfill({N}) }}}}",
    "markup ljust": f"{{{{ ('<' | e).ljust({N}) }}}}",
    "bytes ljust": f"{{{{ 'a'.encode().ljust({N}) }}}}",
    "expandtabs": f"{{{{ '\t\t'.expandtabs({N}) }}}}",
    "expandtabs named": f"{{{{ '\t'.expandtabs(tabsize={N}) }}}}",
    "join": "{{ ('x' * 9999).join('y' * 9999) }}",
    "join of a generator": "{{ ('x' * 9999).join(range(9999) | map('e')) }}",
    "join filter": "{{ range(9999) | join('x' * 9999) }}",
    "join again": doubled("ns.x.join([ns.x, ns.x, ns.x])"),
    "replace": "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
    "replace nothing": "{{ ('a' * 9999).replace('', 'b' * 9999) }}",
    "replace filter": "{{ ('a' * 9999) | replace('a', 'b' * 9999) }}",
    "replace again": doubled("ns.x.replace('a', 'aa')"),
    "translate": "{{ ('a' * 9999).translate({97: 'b' * 9999}) }}",
    "to_bytes": f"{{{{ (1).to_bytes({N}, 'big') }}}}",
    "to_bytes named": f"{{{{ (1).to_bytes(length={N}, byteorder='big') }}}}",
    "from_bytes": "{{ (1).from_bytes(('f' * 900000).encode(), 'big') + 1 }}",
    "punycode": "{{ ('é' * 900000).encode('punycode') }}",
    "idna": "{{ ('é.' * 400000).encode('idna') }}",
    "center filter": f"{{{{ 'a' | center({N}) }}}}",
    "indent filter": f"{{{{ 'a\nb' | indent({N}, true) }}}}",
    "indent by text": "{{ ('\n' * 9999) | indent('x' * 9999) }}",
    "wordwrap": "{{ ('a' * 9999) | wordwrap(1, wrapstring='x' * 9999) }}",
    "wordwrap slowly": "{{ ('a ' * 400000) | wordwrap(1) }}",
    "urlize": "{{ ('http://a.b ' * 90000) | urlize }}",
    "striptags": "{{ ('<!-' * 300000) | striptags }}",
    "title": "{{ ('a-' * 400000) | title }}",
    "batch": f"{{{{ [1] | batch({N}, 'x') | list }}}}",
    "slice": f"{{{{ [1] | slice({N}, 'x') | list }}}}",
    "round": "{{ 1.5 | round(1000000000) }}",
    "round up": "{{ 1 | round(-1000000000, 'ceil') }}",
    "tojson": f"{{{{ [[1]] | tojson(indent={N}) }}}}",
    "tojson by text": "{{ ([[1]] * 9999) | tojson(indent='x' * 9999) }}",
    "tojson separators": (
        "{{ ([1] * 9999) | tojson(separators=('x' * 9999, '')) }}"
    ),
    "pprint": "{{ (range(99999) | list) | pprint }}",
    "sum of lists": "{{ ([[1]] * 60000) | sum(start=[]) }}",
    "attributes": (
        "{{ range(99999) | map(attribute='a' ~ '.a' * 30000) | list }}"
    ),
    "filter block": f"{{% filter center({N}) %}}a{{% endfilter %}}",
    "range": f"{{{{ range({N}) | list }}}}",
    "lipsum": f"{{{{ lipsum({N}) }}}}",
    "lipsum words": f"{{{{ lipsum(max={N}, min={N - 1}) }}}}",
    "strftime": "{{ strftime_now('%c' * 400000) }}",
    "strftime width": "{{ strftime_now('%1000000000Y') }}",
    "cycler": f"{{{{ cycler(*range({N})) }}}}",
    "joiner": f"{{{{ joiner('x' * {N})() }}}}",
    "namespace": f"{{{{ namespace(a='x' * {N}) }}}}",
    "dict": "{{ dict.fromkeys(range(99999), 'x' * 9999) }}",
    "loops": LOOPS + "{% endfor %}" * 4,
    "loops that filter": (
        "{% for a in range(99999) %}{% for b in range(99999) if a < 0 %}"
        "{% endfor %}{% endfor %}"
    ),
    "loops that print": LOOPS + "{{ a }}" + "{% endfor %}" * 4,
    "loops of text": LOOPS + "x" * 9000 + "{% endfor %}" * 4,
    "loops in a block": (
        "{% set x %}"
        + LOOPS
        + "xxxx" * 900
        + "{% endfor %}" * 4
        + "{% endset %}"
    ),
    "loops in a macro": (
        "{% macro m() %}"
        + LOOPS
        + "x" * 9000
        + "{% endfor %}" * 4
        + "{% endmacro %}{{ m() }}"
    ),
    "loop over text": "{% for c in 'x' * 900000 %}{{ c * 900000 }}{% endfor %}",
    "loop without end": (
        "{% for a in [[0]] recursive %}{{ loop([[0]]) }}{% endfor %}"
    ),
    "concatenation": doubled("ns.x ~ ns.x"),
    "addition": doubled("ns.x + ns.x"),
    "addition of lists": doubled("ns.x + ns.x", "[1]"),
    "lists in lists": doubled("[ns.x, ns.x]"),
    "lists in lists as JSON": doubled(
        "[ns.x, ns.x]", end="{{ ns.x | tojson }}"
    ),
    "lists in lists compared": doubled(
        "[ns.x, ns.x]", end="{{ ns.x == [ns.x, ns.x] }}"
    ),
    "deep lists": doubled("[ns.x]"),
    "deep dicts": doubled("{'a': ns.x}"),
    "deep tuples": doubled("(ns.x,)"),
    "dicts by call": doubled("dict(a=ns.x, b=ns.x)"),
    "namespaces in lists": (
        "{% set a = namespace(v=0) %}{% set b = namespace(v=[a] * 9999) %}"
        "{% set c = namespace(v=[b] * 9999) %}{% set a.v = 'x' * 9999 %}"
        "{{ c }}"
    ),
    "grown": GROWN + "{{ a8 }}",
    "grown in an error": GROWN + "{{ raise_exception(a8) }}",
    "grown as a key": GROWN + "{{ {}[a8].b }}",
    "grown and called": GROWN + "{% set a8.unsafe_callable = 1 %}{{ a8() }}",
    "grown and sought": GROWN + "{{ [1].index(a8) }}",
    "grown and formatted": GROWN + "{{ '{0!r}{0!s}{0.v!r}'.format(a8) }}",
    "grown in a filter": GROWN + "{{ 'a' | replace(a8, a8) }}",
    "grown as a default": GROWN + "{{ none | default(a8, true) }}",
    "grown in a test": GROWN + "{{ 1 is divisibleby(a8) }}",
    "grown and joined": GROWN + "{{ [1] | join(a8) }}",
    "grown and sorted": GROWN + "{{ [a8, a8] | sort }}",
    "grown in a macro": (
        GROWN + "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(a8) }}{{ m(y=a8) }}"
    ),
    "grown in percent": GROWN + "{{ '%r' % a8 }}{{ '%s' % (a8,) }}",
    "grown as JSON": GROWN + "{{ a8 | tojson }}{{ b8 | tojson }}",
    "grown in loops": GROWN + "{% for x in b8 %}{{ x }}{% endfor %}",
    "grown and printed": GROWN + "{{ b8 | pprint }}{{ dict(a=a8) }}",
    "grown in a cycle": GROWN + "{{ cycler(a8).next() }}{{ joiner(a8)() }}",
    "namespace in itself": (
        "{% set a = namespace() %}{% set a.a = [a, a] %}{{ a }}{{ [a] }}"
    ),
    "text of blocks": (
        "{% set ns = namespace(x='ab') %}{% for _ in range(99) %}"
        "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"
        "{% endfor %}{{ ns.x }}"
    ),
    "texts kept": "".join(
        f"{{% set a{i} = 'x' * 900000 ~ {i} %}}" for i in range(2000)
    ),
    "macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macro doubles": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
        "{% endmacro %}{{ m(60) }}"
    ),
    "macros in turn": (
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}"
        "{% endmacro %}{{ a() }}"
    ),
    "caller without end": (
        "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}"
        "{% call m() %}a{% endcall %}"
    ),
    "block without end": "{% block a %}{{ self.a() }}{% endblock %}",
    "generation without end": (
        "{% macro m() %}{% generation %}{{ m() }}{% endgeneration %}"
        "{% endmacro %}{{ m() }}"
    ),
    "map of sums": "{{ [range(9999) | list] * 99 | map('sum') | list }}",
    "sort": "{% for _ in range(99999) %}{{ range(9999) | sort }}{% endfor %}",
    "compared": (
        "{% set x = range(60000) | list %}{% set y = range(60000) | list %}"
        + "{{ x == y }}" * 5000
    ),
    "found": "{% set x = 'a' * 900000 %}" + "{{ 'ab' in x }}" * 4000,
    "counted": "{% set x = 'a' * 900000 %}" + "{{ x.count('ab') }}" * 3000,
    "parentheses": "{{ " + deep("(", "1", ")", 5000) + " }}",
    "brackets": "{{ " + deep("[", "1", "]", 5000) + " }}",
    "braces": "{{ " + deep("{1: ", "1", "}", 5000) + " }}",
    "signs": "{{ " + "-" * 20_000 + "1 }}",
    "nots": "{{ " + "not " * 5000 + "1 }}",
    "sums": "{{ 1" + " + 1" * 20_000 + " }}",
    "ands": "{{ 1" + " and 1" * 10_000 + " }}",
    "conditions": "{{ 1" + " if 1 else 1" * 5000 + " }}",
    "attributes in turn": "{{ a" + ".a" * 20_000 + " }}",
    "filters in turn": "{{ 'a'" + " | e" * 20_000 + " }}",
    "calls in turn": "{{ a" + "()" * 20_000 + " }}",
    "ifs": deep("{% if 1 %}", "1", "{% endif %}", 2000),
    "fors": deep("{% for _ in [1] %}", "1", "{% endfor %}", 2000),
    "fors of fifty": deep("{% for _ in [1] %}", "1", "{% endfor %}", 50),
    "blocks": "".join(f"{{% block b{i} %}}" for i in range(2000)),
    "elifs": "{% if 0 %}" + "{% elif 0 %}" * 8000 + "{% endif %}",
    "megabytes": "x" * 5_000_000,
    "megabytes of code": "{{ a }}" * 500_000,
    "many prints": "{{ a }}" * 14_000,
    "many sets": "{% set a = 1 %}" * 6_600,
    "many names": "".join(f"{{% set a{i} = 1 %}}" for i in range(5_500)),
    "many macros": "{% macro a() %}{% endmacro %}" * 3_400,
    "many loops": "{% for a in b %}{% endfor %}" * 3_500,
    "many braces": "{{" * 50_000,
    "many comments": "{#" * 50_000,
    "many quotes": "{{ '" + "\\'" * 49_000 + " }}",
    "many zeros": "{{ " + "1_" * 49_000 + " }}",
    "raw": "{% raw %}" * 11_000,
    "spaces": "{%" + " " * 99_000,
    "include": "{% include 'a' %}",
    "include if there": "{% include ['a', 'b'] ignore missing %}",
    "import": "{% import '/etc/passwd' as a %}",
    "from import": "{% from 'a' import b %}",
    "extends": "{% extends 'a' %}",
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by filter": "{{ '' | attr('__class__') }}",
    "globals": "{{ lipsum.__globals__ }}",
    "format to class": "{{ '{0.__class__}'.format(1) }}",
    "map to class": "{{ [''] | map(attribute='__class__') | list }}",
    "code of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__code__ }}",
    "environment": "{{ self._TemplateReference__context.environment }}",
    "budget": "{{ loop.budget }}{{ raise_exception.__closure__ }}",
    "append": "{{ messages.append(messages) }}",
    "clear": "{{ messages[0].clear() }}",
    "division": "{{ 1 // 0 }}",
    "huge quotient": "{{ 1e308 * 10 // 3 }}",
    "not a number": "{{ (1e308 * 10 - 1e308 * 10) | int }}",
    "lone surrogate": "{{ '\\ud800' }}" + "{{ undefined_name.x }}",
    "null": "\0{{ 1 / 0 }}",
    "long error": "{{ raise_exception('x' * 900000) }}",
}

# What may be put together: expressions, and statements around them.
VALUES = (
    "'ab'",
    "9",
    "1.5",
    "[1, 2]",
    "{'a': 1}",
    "messages",
    "x",
    "ns.x",
    "none",
    "'a\nb'",
    "range(999)",
    "999999",
    "-1",
    "true",
    "nothing",
    "(1, 2)",
    "messages[0].content",
    "'%99999d'",
    "'{:9999}'",
)
STEPS = (
    "{a} ~ {b}",
    "{a} + {b}",
    "{a} * {b}",
    "{a} ** {b}",
    "{a} % {b}",
    "[{a}, {b}]",
    "({a}, {b})",
    "{{'k': {a}, 'l': {b}}}",
    "{a} | join({b})",
    "{a} | replace('a', {b})",
    "{a} | indent({b})",
    "{a} | center({b})",
    "{a} | tojson(indent={b})",
    "{a} | list",
    "{a} | string",
    "{a} | sort",
    "{a} | batch({b}, 'z') | list",
    "{a} | map('string') | list",
    "{a} | sum(start={b})",
    "{a} | unique | list",
    "{a} | wordwrap({b})",
    "{a} | format({b})",
    "{a} | length",
    "{a} == {b}",
    "{a} in {b}",
    "{a} if {b} else {a}",
    "{a}[{b}]",
    "{a}.join({b})",
    "{a}.ljust({b})",
    "{a}.replace('a', {b})",
    "{a}.format({b})",
    "{a} // {b}",
    "not {a}",
    "dict(k={a}).items()",
    "{a} | map('upper') | join({b})",
    "m({a})",
    "{a} | dictsort",
    "{a} | reverse | list",
    "{a}.split({b})",
    "{a}.center({b})",
    "{a} | slice({b}) | list",
    "{a} | pprint",
    "{a} | xmlattr",
    "{a} | urlize",
    "{a} | int({b})",
    "{a} | round({b})",
    "{a} | truncate({b})",
    "{a} | last",
)
BODIES = (
    "{{% set ns.x = {a} %}}",
    "{{{{ {a} }}}}",
    "{{% set x = {a} %}}{{{{ x }}}}",
    "{{% for x in {a} %}}{{% set ns.x = {b} %}}{{% endfor %}}",
    "{{% for _ in range(99999) %}}{{% set ns.x = {a} %}}{{% endfor %}}",
    "{{% for x in {a} %}}{{{{ {b} }}}}{{% endfor %}}",
    "{{% if {a} %}}{{{{ {b} }}}}{{% endif %}}",
    "{{% filter replace('a', {a}) %}}{{{{ {b} }}}}{{% endfilter %}}",
    "{{% set y %}}{{{{ {a} }}}}{{{{ {b} }}}}{{% endset %}}{{% set ns.x = y %}}",
    "{{% macro m(x) %}}{{{{ {a} }}}}{{% endmacro %}}{{{{ m({b}) }}}}",
    "{{% call(x) m({a}) %}}{{{{ {b} }}}}{{% endcall %}}",
    "{{% generation %}}{{{{ {a} }}}}{{% endgeneration %}}",
)


def expression(random, depth):
    if not depth or random.random() < 0.2:
        return random.choice(VALUES)
    a, b = expression(random, depth - 1), expression(random, depth - 1)
    return "(" + random.choice(STEPS).format(a=a, b=b) + ")"


def made(seed):
    """A template of a seed."""
    rng = random.Random(seed)
    text = "{% set ns = namespace(x='ab') %}"
    for _ in range(rng.randint(1, 5)):
        a, b = expression(rng, rng.randint(0, 4)), expression(rng, 2)
        text += rng.choice(BODIES).format(a=a, b=b)
    return text if rng.random() < 0.9 else text[: rng.randrange(len(text))]


def outcome(template):
    """What rendering a template ends in: a word."""
    from keras_stts.preprocessing import chat

    try:
        text = chat.render(template or "", "hi")
    except ValueError as error:
        message = str(error)
        if "must keep to limits" in message:
            return "limit"
        good = "Received: " in message and len(message) < 3000
        return "refused" if good else f"bad message: {message[:100]}"
    return "rendered" if len(text) < 2_000_000 else "too long"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    templates = [*HOSTILE.items(), *((f"seed {i}", made(i)) for i in seeds)]
    return print_table(watched(outcome, templates), GOOD)


if __name__ == "__main__":
    raise SystemExit(main())
