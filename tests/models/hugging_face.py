"""transformers' Molmo2, importable beside a CPU build of torch."""

import importlib.util
import pathlib
import re

import torch


def define_operators():
    """Name torchvision's compiled operators, which no CPU build has.

    Its resizing is Python; only its import asks for them. Builds for GPUs
    come with torchvision's own.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or torch.cuda.is_available():
        return None
    path = pathlib.Path(spec.origin).parent / "_meta_registrations.py"
    source = path.read_text()
    names = set(re.findall(r'register_meta\("(\w+)"\)', source))
    names |= set(re.findall(r'register_fake\("torchvision::(\w+)"\)', source))
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in names:
        try:
            library.define(name + "(Tensor a) -> Tensor")
        except RuntimeError:
            pass  # This build has it.
    return library


# As long as it lives, the operators do.
LIBRARY = define_operators()

from transformers.models import molmo2  # noqa: E402, F401
