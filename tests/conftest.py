import gc
import os

import hypothesis
import pytest

# A landing must not hang on the luck of the draw; elsewhere, draw anew.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


@pytest.fixture(autouse=True, scope="module")
def small_heap():
    """What one module leaves behind is not walked in those after it.

    Keras and imageio collect garbage all the time, for seconds in the end.
    """
    yield
    gc.collect()
    gc.freeze()
