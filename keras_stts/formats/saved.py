"""Settings in transformers' `config.json` that transformers does not have.

`export_to_transformers` writes them under a key of their own, and `from_preset`
reads them. transformers ignores them.
"""

from keras_stts.presets import configs as preset_configs

KEY = "keras_stts"


def read(given, names, preset="a checkpoint"):
    """Arguments of each part, checked.

    Args:
        given: Dict of part to dict of arguments, what a file holds.
        names: Dict of part to the names that it may hold.
        preset: Str, what errors call the checkpoint.

    Returns:
        Dict of all parts to dicts of arguments.

    Raises:
        ValueError: If it is not such a dict, has unknown names, or names
            classes that are not of this package.
    """
    if not isinstance(given, dict):
        _refuse("the whole", given, preset)
    preset_configs.check(given, f"config.json of {preset}")
    saved = {part: {} for part in names}
    for part, arguments in given.items():
        if part not in names or not isinstance(arguments or {}, dict):
            _refuse(part, arguments, preset)
        for name, value in (arguments or {}).items():
            if name not in names[part]:
                _refuse(f"{part}.{name}", value, preset)
        saved[part] = dict(arguments or {})
    return saved


def _refuse(label, value, preset):
    raise ValueError(
        f"`{KEY}` in config.json must hold arguments of a model's parts. "
        f"Received: `{label}`, {value!r:.200}, in that of {preset}. Export "
        "the model again."
    )
