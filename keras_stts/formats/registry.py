"""The formats of checkpoints, beside Keras' own, that `from_preset` reads."""

_formats = {}


class Format:
    """Base class of the formats of checkpoints.

    A subclass reads and writes one format. After `register`, `from_preset`
    uses it for presets whose `config.json` names its `model_type`. The class
    of its preprocessors says which of their arguments can be changed, that of
    its vision encoders which models are exported in it.
    """

    model_type = None
    preprocessor_cls = None
    tower_cls = ()

    def share(self, preset, arguments):
        """Let parts that are loaded apart agree, before they are.

        Args:
            preset: Str.
            arguments: Dict of `"backbone"`, `"preprocessor"` and
                `"converter"` to dicts of changed arguments, which may be
                added to.
        """

    def load(self, cls, preset, **kwargs):
        """Implements `cls.from_preset` for a backbone or preprocessor part."""
        raise NotImplementedError

    def backbone_config(self, preset):
        """Arguments of `VideoVLMBackbone`, as a dict."""
        raise NotImplementedError

    def task_arguments(self, preset):
        """Arguments of `VideoVLM` without its parts, as a dict."""
        raise NotImplementedError

    def load_head(self, model, preset):
        """Load the output head of a `VideoVLM`."""
        raise NotImplementedError

    def has_preprocessor(self, preset):
        """Whether the preset has all files of a preprocessor."""
        raise NotImplementedError

    def load_preprocessor(self, preset, preprocessor, converter):
        """Load the preprocessor; both dicts hold changed arguments."""
        raise NotImplementedError

    def export(self, model, directory, max_shard_size):
        """Write a `VideoVLM` in this format into a directory."""
        raise NotImplementedError


def register(format):
    """Let `from_preset` read a format.

    Args:
        format: A `Format`. It replaces one with the same `model_type`.
    """
    _formats[format.model_type] = format


def get(model_type):
    """The format of a `model_type`, or `None`."""
    return _formats.get(model_type)


def of_model(model):
    """The format that a `VideoVLM` is exported in.

    Raises:
        ValueError: If no format knows its vision encoder.
    """
    tower = model.backbone.vision_encoder
    for format in _formats.values():
        if isinstance(tower, format.tower_cls):
            return format
    raise ValueError(
        "`export_to_transformers` writes models of "
        f"{', '.join(names())}. Received: a vision encoder of "
        f"{type(tower).__name__}. Use `save_to_preset`."
    )


def names():
    """The known model types, sorted."""
    return sorted(_formats)
