"""Rotary embeddings with the scalings that checkpoints name."""

import math

import keras_hub

ROPE_TYPES = ("default", "linear", "yarn")
KNOWN = (
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "truncate",
    "attention_factor",
    "rope_theta",
)


def rotary_embedding(max_wavelength, scaling=None, **kwargs):
    """KerasHub's rotary embedding, scaled as a checkpoint says.

    Args:
        max_wavelength: Number. Base of the frequencies.
        scaling: Optional dict with `"rope_type"` (`"default"`, `"linear"` or
            `"yarn"`) and, but for the first, `"factor"`; for YaRN also
            `"original_max_position_embeddings"` and optionally `"beta_fast"`,
            `"beta_slow"`, `"truncate"` and `"attention_factor"`.
        **kwargs: See `keras.layers.Layer`.

    Returns:
        Tuple (layer, gain): what a rotated query has still to be multiplied
        with, because KerasHub knows the default attention factor only.

    Raises:
        ValueError: If the scaling is of another type.

    Reference:
        YaRN (arXiv 2309.00071).
    """
    scaling = dict(scaling or {})
    kind = scaling.pop("rope_type", None) or scaling.pop("type", "default")
    if kind not in ROPE_TYPES:
        raise ValueError(
            f"`rope_scaling` must be of the type {', '.join(ROPE_TYPES)}. "
            f"Received: {kind!r}."
        )
    unknown = [name for name in scaling if name not in KNOWN]
    unknown = [name for name in unknown if scaling[name] is not None]
    if unknown:
        raise ValueError(
            f"`rope_scaling` may hold {', '.join(KNOWN)}. Received also: "
            f"{', '.join(unknown)}."
        )
    gain, options = 1.0, {}
    if kind != "default":
        options = {"rope_type": kind, "scaling_factor": scaling["factor"]}
    if kind == "yarn":
        # KerasHub's defaults are YaRN's.
        names = ("beta_fast", "beta_slow", "truncate")
        names += ("original_max_position_embeddings",)
        options |= {n: scaling[n] for n in names if scaling.get(n) is not None}
        gain = _gain(scaling)
    layer = keras_hub.layers.RotaryEmbedding(
        max_wavelength=max_wavelength, **options, **kwargs
    )
    return layer, gain


def _gain(scaling):
    """The attention factor asked for over the default one, squared.

    Query and key both carry it; here the query makes up for both.
    """
    wanted = scaling.get("attention_factor")
    if wanted is None:
        return 1.0
    return (wanted / (0.1 * math.log(scaling["factor"]) + 1.0)) ** 2
