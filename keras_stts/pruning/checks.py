"""What a user's own method of pruning must be like."""

import inspect

import keras

# Of a subclass of a base class: what is called, and with what.
CALLS = {
    "Ranking": {"call": "blocks, frames", "attention_bias": "scores, frames"},
    "Merging": {"merge": "x, key, merged, count"},
    "LanguagePruning": {"rank": "logits, ranked"},
}


def check_method(method):
    """The method, if a model can run it, be saved and be loaded.

    Args:
        method: A `keras_stts.pruning.PruningMethod`.

    Raises:
        ValueError: If its class is not registered with Keras, does not call
            the constructor of its base class, leaves arguments out of its
            config, or takes other arguments than it is called with.
    """
    cls = type(method)
    _check_registered(cls)
    _check_calls(method)
    if not hasattr(method, "ratio"):
        raise ValueError(
            "A method of pruning must be made by its base class. Received: "
            f"{cls.__name__} without a `ratio`. Call "
            "`super().__init__(...)` in its `__init__`."
        )
    lacking = sorted(_arguments(cls) - set(method.get_config()))
    if lacking:
        raise ValueError(
            "The arguments of a method of pruning must be in its config, or a "
            f"saved model is loaded without them. Received: {cls.__name__}, "
            f"whose config lacks {', '.join(lacking)}. Write `def get_config("
            "self): return {**super().get_config(), "
            f'"{lacking[0]}": self.{lacking[0]}}}`.'
        )
    return method


def _arguments(cls):
    """Names of the arguments of a class's constructor."""
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name for p in parameters if p.kind not in kinds} - {
        "self",
        "name",
    }


def _check_registered(cls):
    name = keras.saving.get_registered_name(cls)
    if keras.saving.get_registered_object(name) is not cls:
        raise ValueError(
            "A class of pruning must be registered, or the model can be saved "
            f"but not loaded. Received: {cls.__name__}. Write "
            '`@keras.saving.register_keras_serializable("my_project")` above '
            "it."
        )


def _check_calls(method):
    names = [cls.__name__ for cls in type(method).__mro__]
    for base in set(CALLS) & set(names):
        for name, arguments in CALLS[base].items():
            signature = inspect.signature(getattr(method, name))
            try:
                signature.bind(*arguments.split(", "))
            except TypeError as error:
                raise ValueError(
                    f"A method of pruning that is a `{base}` is called as "
                    f"`{name}({arguments})`. Received: {names[0]}, whose "
                    f"`{name}` takes `{signature}`."
                ) from error
