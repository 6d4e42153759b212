"""How this package is installed: the one place in code that says it.

It is on no package index, where anyone could register its name. A release that
puts it there changes this function and "Install" in docs/start.md.
"""


def how_to_install(extra):
    """What errors tell a user to do who lacks an extra.

    Args:
        extra: Str, a key of `optional-dependencies` in pyproject.toml.

    Returns:
        Str, an imperative without a full stop.
    """
    return (
        f'Run `pip install -c constraints.txt ".[{extra}]"` in a clone of '
        'keras_stts (see "Install" in docs/start.md)'
    )
