"""How much a chat template may do: time, size and nesting."""

import time

import jinja2
from jinja2.utils import Namespace

# Of this thread's computing, whatever else the machine does.
SECONDS = 0.5
CHARACTERS_A_SECOND = 1_000_000  # Of a long conversation.
CALLS = 64  # Of macros and blocks in each other.
DEPTH = 100  # Of lists and dicts, and of the template's own syntax.
# Characters; an entry of a list or dict counts as `ITEM` beside its own.
VALUE = 1_000_000
TOTAL = 50_000_000
ITEM = 8
BITS = 4096
SOURCE = 100_000  # Characters of a template.
NODES = 15_000  # Of its syntax.
# Steps between two looks at the clock.
STRIDE = 15
VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
CONTAINERS = (list, tuple, dict, set, frozenset, *VIEWS)


class LimitError(jinja2.TemplateError):
    """A template goes on too long, or makes too much."""


class Budget:
    """What is left to one rendering.

    Templates cannot change lists and dicts, so each is weighed once.

    Args:
        given: What the template is given; long conversations may become
            longer texts.
    """

    def __init__(self, given=()):
        self.calls = self.steps = self.made = 0
        self._weights = {}
        self.value = self.total = float("inf")
        size = self.weigh(given)
        self.value, self.total = VALUE + 4 * size, TOTAL + 200 * size
        self.seconds = SECONDS + size / CHARACTERS_A_SECOND
        self.end = time.thread_time() + self.seconds

    def step(self):
        """Count one more, and look at the clock."""
        self.steps += 1
        if not self.steps & STRIDE and time.thread_time() > self.end:
            self.end = 0.0  # And at all later steps.
            raise LimitError(f"takes more than {self.seconds:.1f} s")

    def fits(self, size):
        """Raise if a value of that size is too large."""
        if size > self.value:
            raise LimitError(
                f"makes a value of more than {self.value:,} characters"
            )

    def check(self, *values):
        """Raise if a value is too large to be shown."""
        for value in values:
            self.fits(self.weigh(value))

    def make(self, value):
        """Count a value that was made, and give it back."""
        self.step()
        size = len(value) if type(value) is str else self.weigh(value)
        self.fits(size)
        self.made += size
        if self.made > self.total:
            raise LimitError(f"makes more than {self.total:,} characters")
        return value

    def weigh(self, value):
        """About how many characters a value has as text."""
        if isinstance(value, (str, bytes)):
            return len(value)
        if isinstance(value, int):
            bits = value.bit_length()
            if bits > BITS:
                raise LimitError(f"makes an integer of {bits:,} bits")
            return 1 + bits // 3
        return self._weigh(value, 1)[0]

    def size_and_depth(self, value):
        """Characters, and how deep lists and dicts lie in each other."""
        if isinstance(value, (str, bytes, int)):
            return self.weigh(value), 0
        return self._weigh(value, 1)[:2]

    def _weigh(self, value, depth):
        """Size and depth of a list or dict, and whether these can grow."""
        grows = isinstance(value, Namespace)
        if grows:
            found = object.__getattribute__(value, "_Namespace__attrs")
        elif isinstance(value, CONTAINERS):
            found = value
        else:
            return ITEM, 0, False
        if id(value) in self._weights:
            return self._weights[id(value)][1]
        if depth > DEPTH:
            raise LimitError(f"nests lists deeper than {DEPTH}")
        size, deep = ITEM, 0
        items = [*found, *found.values()] if isinstance(found, dict) else found
        for item in items:
            if isinstance(item, (*CONTAINERS, Namespace)):
                inner, below, more = self._weigh(item, depth + 1)
                size, deep = size + inner, max(deep, below)
                grows = grows or more
            else:
                size += ITEM + self.weigh(item)
            self.fits(size)
        if deep >= DEPTH:
            raise LimitError(f"nests lists deeper than {DEPTH}")
        if not grows and not isinstance(value, VIEWS):
            # Kept with its value, so that none other gets the id.
            self._weights[id(value)] = value, (size, deep + 1, False)
        return size, deep + 1, grows

    def enter(self):
        self.step()
        self.calls += 1
        if self.calls > CALLS:
            raise LimitError(f"calls itself more than {CALLS} times deep")

    def leave(self):
        self.calls -= 1


def check_syntax(tree):
    """Raise if a parsed template is nested too deep, or too long."""
    count, depth, level = 0, 0, [tree]
    while level:
        count, depth = count + len(level), depth + 1
        if depth > DEPTH:
            raise LimitError(f"is nested deeper than {DEPTH}")
        if count > NODES:
            raise LimitError(f"has more than {NODES:,} parts")
        level = [child for node in level for child in node.iter_child_nodes()]
