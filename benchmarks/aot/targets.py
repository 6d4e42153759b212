"""Chips to compile for, and how their compilers are asked.

The compilers come with the extra `compilers`, beside JAX.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
from unittest import mock

from .gpus import CUDNN
from .gpus import GPUS
from .gpus import description

GIB = 1024**3
PACKAGES = {
    "tpu": ("libtpu",),
    "gpu": (
        "jax-cuda12-plugin",
        "jax-cuda12-pjrt",
        "nvidia-cuda-nvcc-cu12",
    ),
}
FLAT = {
    1: "1x1",
    4: "2x2",
    8: "2x4",
    16: "4x4",
    32: "4x8",
    64: "8x8",
    128: "8x16",
    256: "16x16",
}
CUBES = {
    1: "1x1x1",
    4: "2x2x1",
    8: "2x2x2",
    16: "2x2x4",
    32: "2x4x4",
    64: "4x4x4",
}
HOSTS = {n: f"1x1x{n}" for n in (1, 2, 4, 8)}
HOSTS.update({n: f"1x{n // 8}x8" for n in (16, 32, 64)})


class MissingCompiler(ImportError):
    """What compiles for a chip is not installed."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of chip.

    Args:
        name: Str.
        kind: `"tpu"` or `"gpu"`, whose compiler it needs.
        memory: Int. Bytes that a program on one chip may use.
        topologies: Dict of number of chips to how they are arranged.
    """

    name: str
    kind: str
    memory: int
    topologies: dict


TARGETS = {
    target.name: target
    for target in (
        # What the compiler leaves of 16, 32 and 95 GB.
        Target("v5e", "tpu", int(15.75 * GIB), FLAT),
        Target("v6e", "tpu", int(31.25 * GIB), FLAT),
        Target("v5p", "tpu", int(95.74 * GIB), CUBES),
        *(Target(n, "gpu", GPUS[n]["memory"], HOSTS) for n in GPUS),
    )
}


def get(name):
    """The target of a name.

    Raises:
        ValueError: If there is none.
    """
    if name not in TARGETS:
        raise ValueError(
            f"`target` must be one of {', '.join(TARGETS)}. Received: "
            f"target={name!r}."
        )
    return TARGETS[name]


def missing(target):
    """List of the packages of its compiler that are not installed."""
    return [name for name in PACKAGES[target.kind] if not _version(name)]


def versions():
    """Dict of package to version, of what decides how a program comes out."""
    names = ("jax", "jaxlib", "keras", *PACKAGES["tpu"], *PACKAGES["gpu"])
    found = {name: _version(name) for name in names}
    return {name: version for name, version in found.items() if version}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def devices(target, chips=1):
    """List of devices that can be compiled for, and nothing else.

    Args:
        target: A `Target`.
        chips: Int.

    Raises:
        ValueError: If so many chips make no topology.
        MissingCompiler: If its compiler is not installed.
    """
    if chips not in target.topologies:
        numbers = ", ".join(str(n) for n in target.topologies)
        raise ValueError(
            f"`chips` must make a topology of {target.name}: {numbers}. "
            f"Received: chips={chips}."
        )
    lacking = missing(target)
    if lacking:
        # Imports Keras, which takes its backend then.
        from keras_stts._install import how_to_install

        raise MissingCompiler(
            f"Compiling for {target.name} needs {', '.join(lacking)}, which "
            f"cannot be found. {how_to_install('compilers')}, beside JAX."
        )
    return _topology(target, chips).devices


def _topology(target, chips):
    from jax.experimental import topologies

    shape = target.topologies[chips]
    if target.kind == "gpu":
        return topologies.get_topology_desc(
            target.name,
            "cuda",
            target_config=description(target.name),
            topology=shape,
        )
    # Without these libtpu asks the network what machine this is, and wants to
    # be alone.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", f"{target.name}-{chips}")
    alone = {"chips_per_host_bounds": (1, 1, 1)} if chips == 1 else {}
    return topologies.get_topology_desc(
        platform="tpu", topology_name=f"{target.name}:{shape}", **alone
    )


@contextlib.contextmanager
def force_kernels(target, name="auto"):
    """What is traced inside takes the kernels of a target.

    Libraries ask which chip is here, and nothing but a CPU is.

    Args:
        target: A `Target`.
        name: Str. One of `keras_stts.config.ATTENTION`; `"auto"` is what a
            user with that chip gets.
    """
    from keras_stts import config

    with contextlib.ExitStack() as stack:
        if target.kind == "gpu":
            for change in _drivers_answers(target):
                stack.enter_context(change)
        stack.callback(config.set_attention, config.attention())
        name = _kernel(target) if name == "auto" else name
        config.set_attention(name, elsewhere=True)
        yield


def _kernel(target):
    """What `keras_stts.kernels.choice` would choose on that chip."""
    return "cudnn" if target.kind == "gpu" else "pallas"


def _drivers_answers(target):
    """Patches of what JAX asks an NVIDIA driver about cuDNN's attention."""
    from jax._src.cudnn import fused_attention_stablehlo as fused

    major, minor = GPUS[target.name]["capability"]
    has = f"{major}.{minor}"
    number = CUDNN[0] * 10000 + CUDNN[1] * 100 + CUDNN[2]
    answers = {
        "check_cudnn_version": lambda: number,
        "check_compute_capability": lambda least: _at_least(has, least),
        "is_cuda_compute_capability_equal": lambda other: has == str(other),
    }
    return [mock.patch.object(fused, n, a) for n, a in answers.items()]


def _at_least(has, least):
    """Whether "9.0" is "8.0" or more."""
    numbers = ([int(n) for n in str(v).split(".")] for v in (has, least))
    has, least = numbers
    return has >= least


def compiler_options(target):
    """Dict of what a compiler must be told where its chip is not."""
    if target.kind == "gpu":
        # It would time them.
        return {"xla_gpu_enable_triton_gemm": False}
    return {}
