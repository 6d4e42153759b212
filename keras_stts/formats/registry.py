"""The formats of checkpoints, beside Keras' own, that `from_preset` reads."""

_formats = {}


class Format:
    """A format of checkpoints.

    A subclass reads and writes one; `register` makes `from_preset` ask it
    for presets whose `config.json` names its `model_type`.
    """

    model_type = None

    def load(self, cls, preset, **kwargs):
        """`cls.from_preset` of a backbone, preprocessor or part of one."""
        raise NotImplementedError

    def backbone_config(self, preset):
        """Arguments of `VideoVLMBackbone`, as a dict."""
        raise NotImplementedError

    def task_arguments(self, preset):
        """Arguments of `VideoVLM`, but for its parts, as a dict."""
        raise NotImplementedError

    def load_head(self, model, preset):
        """Load the output head of a `VideoVLM`."""
        raise NotImplementedError

    def has_preprocessor(self, preset):
        """Whether all is there that a preprocessor is made of."""
        raise NotImplementedError

    def load_preprocessor(self, preset, preprocessor, converter):
        """A preprocessor, with dicts of changed arguments of both."""
        raise NotImplementedError

    def export(self, model, directory, max_shard_size):
        """Write a `VideoVLM` in this format into a directory."""
        raise NotImplementedError


def register(format):
    """Let `from_preset` read a format.

    Args:
        format: A `Format`. Takes the place of one of the same `model_type`.
    """
    _formats[format.model_type] = format


def get(model_type):
    """The format of a `model_type`, or `None`."""
    return _formats.get(model_type)


def names():
    """The known model types, sorted."""
    return sorted(_formats)
