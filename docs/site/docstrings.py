"""What docstrings say, in the form that the site is made of."""

import ast
import inspect
import re

import griffe

SESSION = re.compile(r"^( *)>>> .*\n(?:\1\S.*\n?)*", re.M)
# Markdown begins a list after an empty line only.
LIST = re.compile(r"^( *)(?!- )(\S.*)\n(?=\1- )", re.M)
# What Keras calls, not users.
OF_KERAS = re.compile(r"(build|compute_\w+|get_config)$")


def is_a_value(obj):
    """Whether it is what a constructor sets, and no docstring tells of it."""
    if obj.is_alias or not obj.is_attribute or obj.docstring:
        return False
    return "property" not in obj.labels


class HouseStyle(griffe.Extension):
    """Docstrings as this package writes them, for griffe's google style."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring and not obj.is_alias:
            obj.docstring.value = styled(obj.docstring.value)

    def on_class(self, *, cls, **kwargs):
        for name, member in list(cls.members.items()):
            if OF_KERAS.match(name) or is_a_value(member):
                cls.del_member(name)

    def on_module_members(self, *, node, mod, **kwargs):
        """Finds docstrings of named tuples: `Name.__doc__ = "..."`."""
        for each in getattr(node, "body", []):
            if not isinstance(each, ast.Assign):
                continue
            target, value = each.targets[0], each.value
            if not isinstance(target, ast.Attribute):
                continue
            if target.attr == "__doc__" and isinstance(value, ast.Constant):
                owner = mod.members[target.value.id]
                text = styled(inspect.cleandoc(value.value))
                owner.docstring = griffe.Docstring(
                    text, lineno=each.lineno, parent=owner
                )


def styled(text):
    text = SESSION.sub(fenced, text)
    return LIST.sub(r"\1\2\n\n", text)


def fenced(match):
    """An example at the prompt of Python, as a block of code."""
    indent, code = match[1], match[0].rstrip("\n")
    return f"{indent}```pycon\n{code}\n{indent}```\n"
