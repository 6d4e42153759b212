"""The methods of pruning in a backbone's config, flat or by parts."""

from keras_stts import pruning
from keras_stts.ops import RESCALE_MIN
from keras_stts.pruning import language
from keras_stts.pruning.method import LAYER
from keras_stts.pruning.method import RATIO
from keras_stts.pruning.method import PruningMethod

# Names in a flat config to tuples: the method's name of the setting, default.
METHOD = {
    "prune_ratio": ("ratio", RATIO),
    "prune_layer": ("layer", LAYER),
    "refill": ("refill", False),
    "rescale_axis": ("rescale_axis", "row"),
    "rescale_min": ("rescale_min", RESCALE_MIN),
}
DOORS = {"pruning": "stts", "language_pruning": None}


def changed_methods(saved, changes):
    """The methods of a config after changes to it.

    Args:
        saved: Tuple of the methods before, as `methods_of` returns.
        changes: Dict of names in `METHOD` and `DOORS` to new values.

    Returns:
        Tuple of the methods after, as `methods_of` returns.

    Raises:
        ValueError: If the changes contradict each other.
    """
    given = {METHOD[n][0]: v for n, v in changes.items() if n in METHOD}
    given = {name: value for name, value in given.items() if value is not None}
    inside = saved[1]
    if "pruning" in changes:
        method, inside = _copies(changes["pruning"])
    else:
        method = saved[0]
    if changes.get("language_pruning") is not None:
        inside = _inside(inside if "pruning" in changes else None, changes)
    elif "language_pruning" in changes and "pruning" not in changes:
        inside = None
    _check_ratio(method, given, changes)
    if type(method) is PruningMethod:
        return method, inside
    _check_known(method, given)
    if "pruning" in changes:
        return _in_place_of(saved[0], method, given, changes), inside
    return _with_settings(method, given), inside


def _check_ratio(method, given, changes):
    if type(method) is PruningMethod and given.get("ratio"):
        raise ValueError(
            "`prune_ratio` is the share of blocks that a method before the "
            "language model prunes; methods inside of it have a `ratio` of "
            f"their own. Received: pruning={changes.get('pruning')!r}, "
            f"prune_ratio={given['ratio']!r}. Leave `prune_ratio` out, or pass "
            'both methods: `pruning=["stts", ...]`.'
        )


def _with_settings(method, given):
    """A method of the same class with some settings changed."""
    config = method.get_config()
    given = {name: given[name] for name in given if name in config}
    return type(method).from_config({**config, **given})


def _in_place_of(old, method, given, changes):
    """The new method; settings that it leaves open are the old method's."""
    _check_settings(method, given)
    method.settle(**given)
    if method.ratio is None and old.ratio == 0:
        raise ValueError(
            "A preset whose prune_ratio is 0 prunes nothing until it is told "
            f"how much. Received: pruning={changes['pruning']!r}, no "
            "`prune_ratio`. Pass one, such as prune_ratio=0.5."
        )
    names = [setting for setting, _ in METHOD.values()]
    method.settle(**{n: getattr(old, n, None) for n in names})
    return method


def _inside(inside, config):
    """The method inside the language model, which may be given twice."""
    other = language.get(config.get("language_pruning"))
    if inside is not None and other is not None:
        raise ValueError(
            "One method may prune inside the language model. Received: "
            f"pruning={config.get('pruning')!r}, language_pruning={other!r}. "
            "Leave one of them out."
        )
    return inside or other


def _check_known(method, given):
    """Raise if a method lacks a setting; `layer` may be given to all."""
    if type(method) is PruningMethod:
        return
    unknown = [n for n, value in given.items() if value and n != "layer"]
    unknown = [name for name in unknown if not hasattr(method, name)]
    if unknown:
        raise ValueError(
            f"`{unknown[0]}` is a setting of other methods of pruning. "
            f"Received: {unknown[0]}={given[unknown[0]]!r}, pruning="
            f"{pruning.serialize(method)!r}, which has none. Leave it out."
        )


def _check_settings(method, given):
    """Raise if a method already has another value of a setting."""
    if type(method) is PruningMethod:
        return
    for name, value in given.items():
        own = getattr(method, name, None)
        if own is not None and own != value:
            raise ValueError(
                "A method of pruning that has a setting keeps it. Received: "
                f"{type(method).__name__} with {name}={own!r}, and {value!r} "
                "beside it. Leave one of them out."
            )


def _copies(given):
    """As `pruning.split`, but new methods: ours to change, without weights."""
    return tuple(
        each and type(each).from_config(each.get_config())
        for each in pruning.split(given)
    )


def methods_of(config):
    """The methods that prune before the language model and inside of it.

    Args:
        config: Dict, the config of a backbone, flat or by parts.

    Returns:
        Tuple (method, language pruning or `None`).

    Raises:
        ValueError: If there are two of a kind.
    """
    method, inside = _copies(config.get("pruning", DOORS["pruning"]))
    _check_known(method, {"refill": config.get("refill")})
    given = {
        setting: config[name]
        for name, (setting, _) in METHOD.items()
        if config.get(name) is not None
    }
    _check_settings(method, given)
    method.settle(**given)
    return method, _inside(inside, config)
