import contextlib
import gc


@contextlib.contextmanager
def cheap_collection():
    """Keeps others' `gc.collect()` from walking the whole heap.

    imageio's PyAV plugin runs it at each close, Keras at each weight that is
    quantized: 0.4 s each once TensorFlow, JAX and PyTorch are imported. Frozen
    objects are not walked.
    """
    frozen_before = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen_before:
            gc.unfreeze()
