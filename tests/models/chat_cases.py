"""Templates and messages whose text transformers has rendered.

`python -m tests.models.chat_cases` renders them anew.
"""

import json
import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden/chat"
PUBLISHED = (FOLDER / "published.jinja").read_text(encoding="utf-8")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def user(content, **more):
    return {"role": "user", "content": content, **more}


def words(text, **more):
    return {"type": "text", "text": text, **more}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


VIDEO, IMAGE = {"type": "video"}, {"type": "image"}
SPOKEN = {"role": "subtitle", "content": "0.0 - 2.0: it moves\n"}
TURNS = [user("how many?"), assistant("three"), user([words("and circles?")])]
RECURSIVE = (
    "{% macro show(x, deep=0) %}{% if x is mapping %}"
    "{% for k, v in x.items() %}\n{{ '  ' * deep }}{{ k }}:"
    "{{ show(v, deep + 1) }}{% endfor %}{% else %} {{ x }}{% endif %}"
    "{% endmacro %}{{ show(messages[0].extra) }}"
)
CASES = {
    "published turns": (PUBLISHED, TURNS),
    "published str": (PUBLISHED, [user("hi")]),
    "published style": (
        PUBLISHED,
        [user([words("red?", style="mine"), words("one", style="demo")])],
    ),
    "published subtitle": (PUBLISHED, [SPOKEN, user([VIDEO, words("what?")])]),
    "published upper role": (PUBLISHED, [{"role": "USER", "content": "a"}]),
    "published images": (PUBLISHED, [user([IMAGE, IMAGE, words("a")])]),
    "published image key": (PUBLISHED, [user([{"image": "a.png"}])]),
    "published image url": (
        PUBLISHED,
        [user([{"type": "image_url", "image_url": {"url": "a.png"}}])],
    ),
    "published two users": (PUBLISHED, [user("a"), user("b")]),
    "published assistant first": (PUBLISHED, [assistant("a")]),
    "published system": (PUBLISHED, [{"role": "system", "content": "a"}]),
    "seen": (
        "{{ messages }}|{{ tools }}|{{ documents }}|"
        "{{ add_generation_prompt }}|{{ tools is none }}",
        [user("a", name="b", seen=None, n=1.5, flag=True)],
    ),
    "reasoning": (
        "{{ messages }}",
        [user("a"), assistant("b", reasoning="hm"), assistant("", thinking=0)],
    ),
    "tool calls": (
        "{% for m in messages %}{{ m.tool_calls | tojson }}{% endfor %}",
        [assistant(None, tool_calls=[{"name": "f", "arguments": {"x": 1}}])],
    ),
    "tokens": (
        "{{ bos_token }}{{ messages[0].content }}{{ eos_token + pad_token }}"
        "{{ unk_token is defined }}",
        [user("a")],
    ),
    "tojson": (
        "{{ messages | tojson }}\n"
        "{{ messages[0] | tojson(indent=2) }}"
        "{{ messages[0] | tojson(True, 1, (',', '=')) }}"
        "{{ messages[0] | tojson(separators=(',', ':'), sort_keys=true) }}"
        "{{ messages[0] | tojson(ensure_ascii=true) }}",
        [user("<b>'é' & \u2028 \"日本\"", a=[1, None, True])],
    ),
    "loop controls": (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}"
        "{{ m.content }}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% endfor %}",
        [user("a"), assistant("b"), user("c")],
    ),
    "generation": (
        "{% for m in messages %}{% set x = 1 %}{% if m.role == 'assistant' %}"
        "{%- generation %}{% set x = 2 %}{{ m.content }}<e>"
        "{% endgeneration -%}{% else %}  {{ m.content }}{% endif %}{{ x }}"
        "{% endfor %}",
        [user("a"), assistant("b")],
    ),
    "blocks trimmed": (
        "  {% if true %}\n  a\n  {% endif %}\n{# no #}\n b\r\n\n",
        [user("a")],
    ),
    "namespace": (
        "{% set ns = namespace(n=0, self='x') %}{% for m in messages %}"
        "{% set ns.n = ns.n + m.content | length %}{% endfor %}"
        "{{ ns.n }}{{ ns.self }}{{ dict(a=1).a }}{{ dict.fromkeys('ab', 1) }}",
        [user("ab"), user("cde")],
    ),
    "underscore": ("{% set ns = namespace(_a=1) %}", [user("a")]),
    "methods": (
        "{{ messages[0].content.strip().split(' ')[-1].upper() }}"
        "{{ '%s-%05.1f' % ('a', 2) }}{{ '{:>4}'.format(7) }}"
        "{{ ', '.join(['a', 'b']) }}{{ 'aXb'.replace('X', '--') }}"
        "{{ 'a' ~ 1 ~ none }}{{ [1, 2] + [3] }}{{ 'ab' * 2 }}{{ 2 ** 10 }}",
        [user("hello big world ")],
    ),
    "filters": (
        "{{ messages | map(attribute='role') | join('/') }}"
        "{{ messages | selectattr('role', 'eq', 'user') | list | length }}"
        "{{ 'a\nb' | indent(2, true) }}{{ 'ab' | center(6) }}|"
        "{{ [3, 1] | sort }}{{ 'aab' | unique | list }}{{ 3.14159 | round(2) }}"
        "{{ [1, 2, 3] | batch(2, 0) | list }}{{ 'x y' | wordwrap(1) }}"
        "{{ [1, 2] | sum }}{{ '%s!' | format('a') }}{{ '<' | e }}"
        "{{ {'b': 1, 'a': 2} | dictsort }}{{ {'b': 1} | items | list }}"
        "{{ none | default('d', true) }}{{ ' a ' | trim }}{{ 'ab' | last }}"
        "{{ [[1, 2], [3]] | sum(start=[]) }}{{ 'a' | string | title }}",
        [user("a"), assistant("b")],
    ),
    "macros": (RECURSIVE, [user("a", extra={"a": {"b": 1}, "c": "d"})]),
    "call blocks": (
        "{% macro m(x) %}[{{ caller(x) }}{{ varargs }}{{ kwargs }}]"
        "{% endmacro %}{% call(y) m(1, 2, z=3) %}{{ y }}{% endcall %}"
        "{% set s %}a{{ messages[0].content }}{% endset %}{{ s }}"
        "{% filter upper %}b{% endfilter %}{% block k %}c{% endblock %}"
        "{{ self.k() }}{% autoescape true %}{{ '<' ~ 'a' }}{% endautoescape %}",
        [user("x")],
    ),
    "loops": (
        "{% for k in [[1, [2]], [3]] recursive %}"
        "{% if k is iterable %}{{ loop(k) }}{% else %}{{ k }}"
        "{{ loop.depth }}{{ loop.last }}{{ loop.length }}{% endif %}"
        "{% else %}none{% endfor %}"
        "{% for a, b in {'x': 1}.items() if b %}{{ loop.cycle('o', 'e') }}"
        "{{ a }}{{ loop.changed(a) }}{{ loop.nextitem is defined }}{% endfor %}"
        "{% for x in nothing %}{% else %}empty{% endfor %}",
        [user("a")],
    ),
    "methods in loops": (
        "{% for m in messages %}{{ m.content.ljust(3) }}{{ 'a'.zfill(2) }}"
        "{{ 'b\t'.expandtabs(2) }}{{ m.content.replace('a', 'x', 1) }}"
        "{{ ','.join(m.content) }}{{ m.content.encode('utf-8').decode() }}"
        "{{ '{0} {a!r:>4} {0:{w}}'.format(1, a='b', w=3) }}{% endfor %}"
        "{% block b %}{{ 'c'.center(3) }}{% endblock %}"
        "{% macro m() %}{{ '%3d|%-4s' % (1, 'a') }}{% endmacro %}{{ m() }}"
        "{{ '{a}'.format_map({'a': 1}) }}{{ ('<' | e).format(1) }}",
        [user("aa"), assistant("b")],
    ),
    "undefined": ("{{ a }}{{ a.b }}", [user("a")]),
    "tests": (
        "{{ 1 is number }}{{ 'a' is string }}{{ 'a' in 'ab' }}{{ 3 not in [] }}"
        "{{ 1 < 2 < 3 }}{{ 4 is divisibleby 2 }}{{ messages is sequence }}"
        "{{ 'a' is in ['a'] }}{{ x is not defined }}{{ -1 | abs }}{{ 7 // 2 }}"
        "{{ 7 % 4 }}{{ 1 / 2 }}{{ not none }}{{ 'y' if true else 'n' }}",
        [user("a")],
    ),
    "slices": (
        "{{ messages[::-1] | map(attribute='content') | list }}"
        "{{ messages[0]['content'][1:] }}{{ messages[0]['content'][-1] }}",
        [user("abc"), assistant("d")],
    ),
    "objects": (
        "{{ messages }}",
        [user([words("a", n=object, m=b"x", k=(1, np.int64(2)))])],
    ),
    "include": ("{% include 'a' %}", [user("a")]),
    "unsafe": ("{{ messages.__class__.__mro__ }}", [user("a")]),
    "changes": ("{{ messages.append(1) }}", [user("a")]),
    "raises": ("{{ raise_exception('not ' ~ 'this') }}", [user("a")]),
    "syntax": ("{% if %}", [user("a")]),
}


def rendered():
    """What transformers makes of each: ["text" or "error", str]."""
    from transformers.processing_utils import ProcessorMixin
    from transformers.utils.chat_template_utils import render_jinja_template

    results = {}
    for name, (template, messages) in CASES.items():
        messages, _ = ProcessorMixin._normalize_conversations(None, messages)
        try:
            texts, _ = render_jinja_template(
                messages,
                chat_template=template,
                add_generation_prompt=True,
                **TOKENS,
            )
            results[name] = ["text", texts[0]]
        except Exception as error:
            results[name] = ["error", str(error)]
    return results


def expected():
    return json.loads((FOLDER / "rendered.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    text = json.dumps(rendered(), indent=1)
    (FOLDER / "rendered.json").write_text(text + "\n", encoding="utf-8")
