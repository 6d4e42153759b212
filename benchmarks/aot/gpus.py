"""NVIDIA GPUs in the words of XLA's compiler, which asks no driver then."""

GPUS = {
    "h100": {
        "name": "NVIDIA H100 80GB HBM3",
        "capability": (9, 0),
        "memory": 84_929_347_584,
        "bandwidth": 3_352_320_000_000,
        "cores": 132,
        "units": 128,
        "clock": 1.98,
        "cache": 52_428_800,
        "threads": 2048,
        "shared": 233_472,
        "shared_block": 232_448,
    },
    "a100": {
        "name": "NVIDIA A100-SXM4-80GB",
        "capability": (8, 0),
        "memory": 84_987_740_160,
        "bandwidth": 2_039_000_000_000,
        "cores": 108,
        "units": 64,
        "clock": 1.41,
        "cache": 41_943_040,
        "threads": 2048,
        "shared": 167_936,
        "shared_block": 166_912,
    },
    "l4": {
        "name": "NVIDIA L4",
        "capability": (8, 9),
        "memory": 23_580_639_232,
        "bandwidth": 300_096_000_000,
        "cores": 58,
        "units": 128,
        "clock": 2.04,
        "cache": 50_331_648,
        "threads": 1536,
        "shared": 102_400,
        "shared_block": 101_376,
    },
}
# Of the driver's answers that a program depends on.
CUDNN = (9, 10, 0)
CUDA = (12, 9, 0)

TEMPLATE = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared}
  threads_per_core_limit: {threads}
  core_count: {cores}
  fpus_per_core: {units}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {cache}
  clock_rate_ghz: {clock}
  device_memory_size: {memory}
  shared_memory_per_block_optin: {shared_block}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: {cudnn[0]} minor: {cudnn[1]} patch: {cudnn[2]} }}
runtime_version {{ major: {cuda[0]} minor: {cuda[1]} patch: {cuda[2]} }}
device_description_str: "{name}"
"""


def description(name):
    """Str: the `GpuTargetConfig` of a GPU, as text."""
    gpu = GPUS[name]
    major, minor = gpu["capability"]
    return TEMPLATE.format(
        **gpu, major=major, minor=minor, cudnn=CUDNN, cuda=CUDA
    )
