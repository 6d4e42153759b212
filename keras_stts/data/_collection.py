import contextlib
import gc


@contextlib.contextmanager
def cheap_collection():
    """Keeps imageio's PyAV plugin from walking the whole heap.

    The plugin runs `gc.collect()` at each close: 0.4 s a clip once TensorFlow,
    JAX and PyTorch are imported. Frozen objects are not walked.
    """
    frozen_before = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen_before:
            gc.unfreeze()
