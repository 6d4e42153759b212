import os

import hypothesis

# A landing must not hang on the luck of the draw; elsewhere, draw anew.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")
