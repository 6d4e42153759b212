"""transformers' Jinja environment, in which all that is made is counted."""

import threading

from jinja2 import nodes
from jinja2 import pass_context
from jinja2.filters import make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.sandbox import SandboxedEscapeFormatter
from jinja2.sandbox import SandboxedFormatter
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from keras_stts.preprocessing import chat_guards
from keras_stts.preprocessing.chat_globals import EXTENSIONS
from keras_stts.preprocessing.chat_globals import FILTERS
from keras_stts.preprocessing.chat_globals import GLOBALS
from keras_stts.preprocessing.chat_limits import Budget
from keras_stts.preprocessing.chat_limits import check_syntax

# Filters that no template can name.
COUNT, STEP = "(count)", "(step)"
# What Jinja passes with a call beside its own arguments.
SCOPE = ("_loop_vars", "_block_vars")


class Environment(ImmutableSandboxedEnvironment):
    """transformers' environment, with counting."""

    intercepted_binops = frozenset(
        ImmutableSandboxedEnvironment.default_binop_table
    )

    def __init__(self):
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=EXTENSIONS,
            optimized=False,  # That would run parts of it beforehand.
            finalize=_count,
        )
        self.globals |= GLOBALS
        self.filters |= {**FILTERS, "sum": _sum}
        for table in (self.filters, self.tests):
            for name, function in table.items():
                guard = None
                if table is self.filters:
                    guard = chat_guards.FILTERS.get(name)
                table[name] = _counting(function, guard)
        self.filters["join"] = _joining(self.filters["join"])
        self.filters |= {COUNT: _count, STEP: _step}
        self._local = threading.local()

    @property
    def budget(self):
        """What is left to this thread's rendering."""
        return self._local.budget

    def limited(self, given=()):
        """A context with a budget of its own."""
        return _Limited(self._local, given)

    def template(self, source):
        """Compile a template, with counting in it."""
        tree = self.parse(source)
        check_syntax(tree)
        tree = _Counter(self).visit(tree)
        code = self.compile(tree)
        return self.template_class.from_code(self, code, self.globals)

    def concat(self, parts):
        """Join what a macro or block writes."""
        parts = [self.budget.make(part) for part in parts]
        self.budget.fits(sum(map(len, parts)))
        return "".join(parts)

    def call(__self, __context, __obj, *args, **kwargs):
        budget = __self.budget
        more = {k: v for k, v in kwargs.items() if k not in SCOPE}
        # Errors show what was called, and with what.
        budget.check(__obj, *args, *more.values())
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, (str, bytes, int)):
            name = getattr(__obj, "__name__", "")
            if name == "join" and args:
                args = (chat_guards.joined(budget, owner, args[0]), *args[1:])
            elif name in chat_guards.METHODS:
                chat_guards.METHODS[name](budget, owner, *args, **more)
        budget.enter()
        try:
            result = super().call(__context, __obj, *args, **kwargs)
        finally:
            budget.leave()
        return budget.make(result)

    def call_binop(self, context, operator, left, right):
        chat_guards.operate(self.budget, operator, left, right)
        return self.budget.make(self.binop_table[operator](left, right))

    def getattr(self, obj, attribute):
        self.budget.step()
        return super().getattr(obj, attribute)

    def getitem(self, obj, argument):
        self.budget.step()
        self.budget.check(argument)
        return super().getitem(obj, argument)

    def wrap_str_format(self, value):
        if super().wrap_str_format(value) is None:
            return None
        text = value.__self__
        formatter = _Formatter(self)
        if isinstance(text, Markup):
            formatter = _EscapeFormatter(self, escape=text.escape)

        def formatted(*args, **kwargs):
            if value.__name__ == "format_map":
                (kwargs,), args = args, ()
            return type(text)(formatter.vformat(text, args, kwargs))

        return formatted


class _Limited:
    """Gives a thread a budget for a while."""

    def __init__(self, local, given):
        self.local, self.budget = local, Budget(given)

    def __enter__(self):
        self.before = getattr(self.local, "budget", None)
        self.local.budget = self.budget
        return self.budget

    def __exit__(self, *error):
        self.local.budget = self.before


class _Formatter(SandboxedFormatter):
    def __init__(self, environment, **kwargs):
        super().__init__(environment, **kwargs)
        self.environment = environment

    def format_field(self, value, format_spec):
        budget = self.environment.budget
        budget.make(value)
        chat_guards.field(budget, format_spec)
        return budget.make(super().format_field(value, format_spec))


class _EscapeFormatter(_Formatter, SandboxedEscapeFormatter):
    pass


class _Counter(NodeTransformer):
    """Puts a step into loops, and counts what is joined."""

    def __init__(self, environment):
        self.environment = environment

    def visit_For(self, node):
        node = self.generic_visit(node)
        none = self._filter(nodes.Const(None), STEP)
        node.body.insert(0, nodes.ExprStmt(none, lineno=node.lineno))
        if node.test is not None:
            node.test = self._filter(node.test, STEP)
        return node

    def visit_Concat(self, node):
        node = self.generic_visit(node)
        node.nodes = [self._filter(part, COUNT) for part in node.nodes]
        return node

    def visit_Compare(self, node):
        node = self.generic_visit(node)
        node.expr = self._filter(node.expr, STEP)
        return node

    def _made(self, node):
        return self._filter(self.generic_visit(node), COUNT)

    visit_List = visit_Dict = _made

    def visit_Tuple(self, node):
        return self._made(node) if node.ctx == "load" else node

    def _filter(self, node, name):
        node = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        return node.set_environment(self.environment)


@pass_context
def _count(context, value):
    return context.environment.budget.make(value)


@pass_context
def _step(context, value):
    context.environment.budget.step()
    return value


def _counting(function, guard):
    """A filter or test that is checked, and whose result is counted."""
    passed = getattr(function, "jinja_pass_arg", None)
    first = passed.name if passed else ""

    @pass_context
    def counting(context, value, *args, **kwargs):
        budget = context.environment.budget
        budget.check(value, *args, *kwargs.values())
        if guard is not None:
            guard(budget, value, *args, **kwargs)
        more = {
            "": (),
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }[first]
        return budget.make(function(*more, value, *args, **kwargs))

    return counting


def _joining(join):
    @pass_context
    def joining(context, value, d="", attribute=None):
        budget = context.environment.budget
        value = chat_guards.joined(budget, d, value)
        return join(context, value, d, attribute)

    return joining


@pass_context
def _sum(context, iterable, attribute=None, start=0):
    """Jinja's filter, a counted step at a time."""
    if attribute is not None:
        getter = make_attrgetter(context.environment, attribute)
        iterable = map(getter, iterable)
    if isinstance(start, (str, bytes)):
        raise TypeError("sum() can't sum strings")
    total = start
    for value in iterable:
        total = context.environment.call_binop(context, "+", total, value)
    return total
