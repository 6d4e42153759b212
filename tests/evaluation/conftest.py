"""The tiny models of `tests.models`, compiled as quickly as there."""

import tests.models.conftest  # noqa: F401
