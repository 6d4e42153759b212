"""Functions recorded once and replayed, under PyTorch on NVIDIA GPUs.

PyTorch starts operations one by one. A step of decoding is thousands of them,
each of which takes longer to start than to run: of the 240 ms that a token of
Molmo2-4B took on an H200, the GPU worked for 14. A CUDA graph starts them all
at once. Nothing on the way may wait for the GPU, and all shapes are fixed.
"""

import logging

import keras
import numpy as np
from keras import ops

from keras_stts import config

_said = set()


def wanted(model):
    """Whether what a model infers is recorded here."""
    if keras.config.backend() != "torch" or not config.cuda_graphs():
        return False
    if getattr(model, "run_eagerly", False):
        return False
    return _device_of(model) == "cuda"


def _device_of(model):
    """Where its weights lie: a GPU that is not used records nothing."""
    return model.variables[0].value.device.type if model.variables else None


def recorded(model, function):
    """`function`, a `Recorder` where that can be, else as it is."""
    return Recorder(model, function) if wanted(model) else function


def program(model, name, function):
    """The same; the model keeps it under a name until `release`."""
    if not wanted(model):
        return function
    held = vars(model).setdefault("_recorders", {})
    if name not in held:
        held[name] = Recorder(model, function)
    return held[name]


def release(model):
    """Give the memory of a model's recordings back."""
    vars(model).pop("_recorders", None)


class Recorder:
    """Runs a function as it ran when tensors of these shapes came before.

    The first shapes are recorded at once, others when they come twice in a
    row: to record takes as long as several calls. The recording of the last
    shapes is kept, and so is the memory that it takes. Its outputs are
    overwritten by the next call. Weights are read where they lie; if others
    lie there, the function is recorded anew.

    Args:
        model: The model or layer whose weights the function reads.
        function: Function of tensors, in any structure. No gradients are
            kept of it.

    Call arguments:
        *args: Tensors or arrays. The recording has copies of its own.
        prefix: Optional structure of tensors that the recording reads where
            they lie, given to `function` as the keyword.
    """

    def __init__(self, model, function):
        self._model = model
        self._function = function
        # A recording is `None` if there is none yet, and `False` if there
        # cannot be one.
        self._key = self._recording = self._prefix = None

    def __call__(self, *args, prefix=None):
        import torch

        with torch.no_grad():
            return self._run(args, prefix)

    def _run(self, args, prefix):
        options = {} if prefix is None else {"prefix": prefix}
        tensors = [ops.convert_to_tensor(x) for x in keras.tree.flatten(args)]
        key = self._key_of(tensors, prefix)
        others = self._key is not None and key != self._key
        if key != self._key:
            self._key, self._recording = key, None
        self._prefix = prefix
        if self._recording is None and not others:
            self._recording = _record(self._function, args, tensors, options)
        if not self._recording:
            return self._function(*args, **options)
        return self._recording(tensors)

    def _key_of(self, tensors, prefix):
        shapes = [(x.shape, x.dtype) for x in tensors]
        if (
            self._key is not None
            and prefix is not None
            and prefix is self._prefix
        ):
            return shapes, *self._key[1:]
        weights = [v.value for v in self._model.variables]
        return shapes, _lie(weights), _lie(keras.tree.flatten(prefix))


def _lie(tensors):
    """What tells whether a recording finds tensors where they were."""
    tensors = [x for x in tensors if x is not None]
    return [(x.data_ptr(), x.shape, x.dtype) for x in tensors]


def _record(function, args, tensors, options):
    """A `Recording`, or `False` if the function cannot be recorded."""
    try:
        return Recording(function, args, tensors, options)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if text not in _said:
            _said.add(text)
            logging.getLogger("keras_stts").warning(
                "No CUDA graph could be made, so operations are started one "
                "by one, which is slower; `keras_stts.config."
                f"set_cuda_graphs(False)` does not try. {text}"
            )
    # What a broken recording took is nobody's.
    import torch

    torch.cuda.empty_cache()
    return False


class Recording:
    """A CUDA graph, and the tensors that it reads and writes.

    Args:
        function: Function of `*args` and `**options`.
        args: Structures of tensors or arrays.
        tensors: List of these, flat.
        options: Dict of structures of tensors, read where they lie.

    Call arguments:
        tensors: List of others of the same shapes and dtypes.
    """

    def __init__(self, function, args, tensors, options):
        import torch

        self._inputs = [x.clone() for x in tensors]
        args = keras.tree.pack_sequence_as(args, self._inputs)
        self._graph = torch.cuda.CUDAGraph()
        self._constants = constants_once()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # Other threads may go on, to read videos for example.
        graph = torch.cuda.graph(
            self._graph, stream=stream, capture_error_mode="thread_local"
        )
        with self._constants:
            # The first run chooses kernels and makes constants.
            with torch.cuda.stream(stream):
                function(*args, **options)
            with graph:
                self._outputs = function(*args, **options)
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, tensors):
        import torch

        torch._foreach_copy_(self._inputs, tensors)
        self._graph.replay()
        return self._outputs


def constants_once():
    """A context in which the constants of a function are made once.

    Keras makes a tensor on the host of each number that an operation is
    given, and copies it to the GPU. A graph may not: it takes those of the
    run before.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Constants(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.made = {}

        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if func is not torch.as_tensor or isinstance(args[0], torch.Tensor):
                return func(*args, **kwargs)
            array = np.asarray(args[0])
            key = (array.tobytes(), array.shape, array.dtype, str(kwargs))
            if key not in self.made:
                self.made[key] = func(*args, **kwargs)
            return self.made[key]

    return Constants()
