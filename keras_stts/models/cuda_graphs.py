"""Functions recorded as CUDA graphs and replayed, under PyTorch.

PyTorch starts operations one by one. A step of decoding has thousands, and each
takes longer to start than to run: of the 240 ms of a token of Molmo2-4B on an
H200, the GPU worked for 14 ms. A CUDA graph starts all of them at once. For
that, shapes must be fixed, and no operation may wait for the GPU.
"""

import logging

import keras
import numpy as np
from keras import ops

from keras_stts import config

_said = set()


def wanted(model):
    """Whether inference with a model is recorded on this device."""
    if keras.config.backend() != "torch" or not config.cuda_graphs():
        return False
    if getattr(model, "run_eagerly", False):
        return False
    return _device_of(model) == "cuda"


def _device_of(model):
    """Kind of device that holds the weights, such as "cuda"; or `None`."""
    return model.variables[0].value.device.type if model.variables else None


def recorded(model, function):
    """A `Recorder` of `function` if it is `wanted`, else `function`."""
    return Recorder(model, function) if wanted(model) else function


def program(model, name, function):
    """As `recorded`; the model keeps the recorder by name until `release`."""
    if not wanted(model):
        return function
    held = vars(model).setdefault("_recorders", {})
    if name not in held:
        held[name] = Recorder(model, function)
    return held[name]


def release(model):
    """Free the memory of a model's recordings."""
    vars(model).pop("_recorders", None)


class Recorder:
    """Records a function for one set of shapes and replays it.

    The first shapes are recorded in the first call. Other shapes are recorded
    when they come twice in a row, for recording takes as long as several
    calls. Only the last recording is kept, with the memory that it needs.
    Each call overwrites the outputs of the call before. The recording reads
    weights at their addresses, and is made anew if these change.

    Args:
        model: The model or layer whose weights the function reads.
        function: Function of tensors, in any structure. It runs without
            gradients.

    Call arguments:
        *args: Structures of tensors or arrays, copied into the recording.
        prefix: Optional structure of tensors, passed to `function` as
            `prefix` and read at their addresses, without a copy.
    """

    def __init__(self, model, function):
        self._model = model
        self._function = function
        # The recording is `None` if there is none yet, `False` if the function
        # cannot be recorded.
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
    """Addresses, shapes and dtypes: a recording is good while they stay."""
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
    # Free what the failed recording had allocated.
    import torch

    torch.cuda.empty_cache()
    return False


class Recording:
    """A CUDA graph with the tensors that it reads and writes.

    Args:
        function: Function of `*args` and `**options`.
        args: Structures of tensors or arrays.
        tensors: List of the tensors in `args`, flat.
        options: Dict of structures of tensors, read without a copy.

    Call arguments:
        tensors: List of tensors of the same shapes and dtypes.
    """

    def __init__(self, function, args, tensors, options):
        import torch

        self._inputs = [x.clone() for x in tensors]
        args = keras.tree.pack_sequence_as(args, self._inputs)
        self._graph = torch.cuda.CUDAGraph()
        self._constants = constants_once()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # Other threads, which read videos, may use the GPU meanwhile.
        graph = torch.cuda.graph(
            self._graph, stream=stream, capture_error_mode="thread_local"
        )
        with self._constants:
            # Run once before: that chooses kernels and makes constants.
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
    """Context that makes each constant of a function once.

    Keras turns each Python number into a tensor on the host and copies it to
    the GPU. A graph cannot record such a copy, so it uses the constants of the
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
