"""All that this package takes from private modules of KerasHub and Keras."""

import contextlib

from keras.src.backend.common import global_state
from keras.src.saving import saving_lib
from keras_hub.src.utils.preset_utils import CONFIG_FILE
from keras_hub.src.utils.preset_utils import PREPROCESSOR_CONFIG_FILE
from keras_hub.src.utils.preset_utils import TASK_CONFIG_FILE
from keras_hub.src.utils.preset_utils import TASK_WEIGHTS_FILE
from keras_hub.src.utils.preset_utils import TOKENIZER_CONFIG_FILE
from keras_hub.src.utils.preset_utils import check_file_exists
from keras_hub.src.utils.preset_utils import get_file
from keras_hub.src.utils.preset_utils import load_json
from keras_hub.src.utils.tensor_utils import any_equal

__all__ = [
    "ByteTokenizerHooks",
    "ClippingByVariable",
    "ModelHooks",
    "PreprocessorHooks",
    "CONFIG_FILE",
    "PREPROCESSOR_CONFIG_FILE",
    "TASK_CONFIG_FILE",
    "TASK_WEIGHTS_FILE",
    "TOKENIZER_CONFIG_FILE",
    "any_equal",
    "check_file_exists",
    "flatten_layers",
    "get_file",
    "global_state",
    "has_value",
    "load_json",
    "load_renamed",
    "move_under",
    "own_variable",
    "read_by",
    "saving_lib",
]


def has_value(variable):
    """Whether a `keras.Variable` holds an array.

    Under JAX those of a model hold none while Keras trains it; `value` would
    make a new one.
    """
    return variable._value is not None


@contextlib.contextmanager
def read_by(functions):
    """In here `value` of some variables is what functions return.

    Args:
        functions: List of pairs of a `keras.Variable` and a function without
            arguments.
    """
    try:
        for variable, function in functions:
            variable._maybe_autocast = lambda _, read=function: read()
        yield
    finally:
        for variable, _ in functions:
            del variable._maybe_autocast


def flatten_layers(layer, *, include_self=True):
    """List of a layer and all in it, however deep."""
    return list(layer._flatten_layers(include_self=include_self))


def move_under(layer, name):
    """Put a layer's weights, and those of all in it, below a name.

    The path of a weight says which part of a model it is of. What was built
    before it became part of the model has a path that does not.

    Args:
        layer: A Keras layer that is built.
        name: Str, such as `"vision_encoder"`. Paths that hold it stay.
    """

    def moved(path):
        names = [each for each in path.split("/") if each]
        return "/".join(names if name in names else [name, *names])

    for each in flatten_layers(layer):
        if each._parent_path is not None and each is not layer:
            each._parent_path = moved(each._parent_path)
        if each._path is not None:
            each._path = moved(each._path)
    for variable in layer.variables:
        variable._path = moved(variable._path)


def own_variable(layer, name):
    """A layer's variable, such as `"kernel"`, without LoRA factors.

    Under its public name a layer gives the sum of both.
    """
    return getattr(layer, f"_{name}")


def variable_index(optimizer, variable):
    """Place of a variable among those of an optimizer.

    Args:
        optimizer: A `keras.optimizers.Optimizer` that is built.
        variable: What `update_step` is given: TensorFlow gives its own.
    """
    return optimizer._get_variable_index(variable)


def load_renamed(
    model, filepath, rename, *, skip_mismatch=False, objects_to_skip=None
):
    """`keras.Model.load_weights` from a file with other names.

    Args:
        model: Keras model.
        filepath: Path of a `.weights.h5`, or of the index of several.
        rename: Function of the name of a group to the name in the file.
        skip_mismatch: Bool. Whether to warn of weights that do not fit, and
            leave them as they are.
        objects_to_skip: Optional list of layers that are not in it.
    """
    sharded = str(filepath).endswith(".json")
    base = saving_lib.ShardedH5IOStore if sharded else saving_lib.H5IOStore

    class Renamed(base):
        def get(self, path):
            return super().get(rename(path))

        def has_path(self, path):
            return super().has_path(rename(path))

    failed, errors = set(), {}
    with contextlib.closing(Renamed(filepath, mode="r")) as store:
        saving_lib._load_state(
            model,
            weights_store=store,
            assets_store=None,
            inner_path="",
            skip_mismatch=skip_mismatch,
            visited_saveables={id(x) for x in objects_to_skip or ()},
            failed_saveables=failed,
            error_msgs=errors,
        )
    if failed:
        saving_lib._raise_loading_failure(errors, warn_only=skip_mismatch)


class ClippingByVariable:
    """Mixin for optimizers whose clipping depends on the variable.

    The clipping of Keras gets the gradients only.
    """

    def clip_gradients(self, grads, variables):
        """Clipped gradients; by default as Keras does.

        Args:
            grads: List of tensors.
            variables: List of the `keras.Variable` of each gradient.
        """
        return super()._clip_gradients(grads)

    def _backend_apply_gradients(self, grads, trainable_variables):
        # In a function, or Keras would keep them as the optimizer's own.
        self._whose = lambda: trainable_variables
        super()._backend_apply_gradients(grads, trainable_variables)
        self._whose = None

    def _clip_gradients(self, grads):
        return self.clip_gradients(grads, self._whose())


class ByteTokenizerHooks:
    """Mixin of `keras_hub.tokenizers.BytePairTokenizer`: its inner tokenizer.

    KerasHub makes it when it is first used, always of one pattern.
    """

    def prepare(self, tokenizer):
        """Change a `tokenizers.Tokenizer` that was just made."""

    def inner_tokenizer(self):
        """The `tokenizers.Tokenizer` that texts are cut up with."""
        self._maybe_initialized_tokenizers()
        return self._tokenizer

    def add_special_token(self, token, name):
        """Give a token and, once there is a vocabulary, its id an attribute.

        Args:
            token: Str.
            name: Str; that of the id ends in `_id`.
        """
        self._add_special_token(token, name)

    def _set_vocabulary_and_merges_tokenizers(self, vocabulary, merges):
        super()._set_vocabulary_and_merges_tokenizers(vocabulary, merges)
        self.prepare(self._tokenizer)


class PreprocessorHooks:
    """Mixin of `keras_hub.models.CausalLMPreprocessor`.

    A subclass has `preprocess(x, y, sample_weight, sequence_length)`, of
    arrays and strings, `preprocess_in_graph`, of symbols of TensorFlow, and,
    for what `generate` is asked, `preprocess_prompts(x, sequence_length)` and
    `preprocess_prompts_in_graph`.
    """

    def strings_of(self, x):
        """Strings of a dict of token ids and padding mask, as arrays."""
        return self._generate_postprocess_python(x)

    def _call_python(self, x, y=None, sample_weight=None, sequence_length=None):
        return self.preprocess(x, y, sample_weight, sequence_length)

    def _call_tf(self, x, y=None, sample_weight=None, sequence_length=None):
        return self.preprocess_in_graph(x, y, sample_weight, sequence_length)

    def _generate_preprocess_python(self, x, sequence_length=None):
        return self.preprocess_prompts(x, sequence_length)

    def _generate_preprocess_tf(self, x, sequence_length=None):
        return self.preprocess_prompts_in_graph(x, sequence_length)


class ModelHooks:
    """Mixin of `keras_hub.models.CausalLM`, before what overrides these."""

    def batches_of(self, inputs):
        """What `generate` was given as batches.

        Returns:
            Tuple (list of batches, whether it was a single question).
        """
        return super()._normalize_generate_inputs(inputs)

    def counted_rows(self, x):
        """What the mean of losses weighs a batch by: inputs of as many rows.

        Asked under JAX alone.
        """
        return x

    def _normalize_generate_inputs(self, inputs):
        return self.batches_of(inputs)

    def _update_metrics_variables(self, variables, loss, x, *args, **kwargs):
        return super()._update_metrics_variables(
            variables, loss, self.counted_rows(x), *args, **kwargs
        )
