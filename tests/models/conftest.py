"""Makes tiny models quick: they are compiled far longer than they run."""

import os
import tempfile

import keras

if keras.config.backend() == "torch":
    import torch

    torch.set_num_threads(1)
else:
    # Read when the backend compiles for the first time.
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true "
        "--xla_cpu_use_fusion_emitters=false",
    )
if keras.config.backend() == "jax":
    import jax

    # A model built twice is compiled once.
    if jax.config.jax_compilation_cache_dir is None:
        FOLDER = tempfile.TemporaryDirectory()  # Removed at the end.
        jax.config.update("jax_compilation_cache_dir", FOLDER.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
