"""Rotary embeddings with the scalings that checkpoints name."""

import functools
import math
import numbers

import keras
import numpy as np
from keras import ops

# Required and optional fields of each type.
FIELDS = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "llama3": (
        (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        ),
        (),
    ),
    "proportional": ((), ("factor", "partial_rotary_factor")),
    "yarn": (
        ("factor", "original_max_position_embeddings"),
        (
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ),
    ),
}
# Their rotations depend on the longest text of the batch so far.
OF_RUN_LENGTH = ("dynamic", "longrope")


def frequencies(head_dim, max_wavelength, scaling=None):
    """Frequencies of a rotary embedding, in radians per position.

    Args:
        head_dim: Int, even.
        max_wavelength: Number. Base of the frequencies.
        scaling: Optional dict of `"rope_type"` and the fields of that type,
            see `FIELDS`; names and meanings are those of transformers.

    Returns:
        Tuple (frequencies, factor): float32 NumPy array (head_dim / 2,), and
        the factor by which cosines and sines are multiplied.

    Raises:
        ValueError: If `head_dim` is odd, or if the scaling has an unknown
            type, lacks a field or has an unknown one.

    Reference:
        RoFormer (arXiv 2104.09864), YaRN (arXiv 2309.00071), Llama 3
        (arXiv 2407.21783).
    """
    if head_dim % 2:
        raise ValueError(
            "`head_dim` must be even: pairs are rotated. Received: "
            f"head_dim={head_dim}."
        )
    if not _is_good(max_wavelength) or max_wavelength <= 1:
        raise ValueError(
            "`rope_max_wavelength` must be a number greater than 1. Received: "
            f"{max_wavelength!r}."
        )
    kind, numbers_ = _checked(scaling, max_wavelength)
    exponents = np.arange(0, head_dim, 2, dtype="float32") / head_dim
    plain = 1.0 / np.float32(max_wavelength) ** exponents
    if kind == "yarn":
        plain = _yarn(plain, max_wavelength, **numbers_)
        return plain.astype("float32"), _yarn_factor(**numbers_)
    if kind == "llama3":
        plain = _llama3(plain, **numbers_)
    elif kind == "proportional":
        plain = _proportional(plain, **numbers_)
    elif kind == "linear":
        plain = plain / numbers_["factor"]
    return plain.astype("float32"), 1.0


def _checked(scaling, max_wavelength):
    """Tuple of the type of a scaling and a dict of its numbers."""
    given = {n: v for n, v in (scaling or {}).items() if v is not None}
    names = {n: given.pop(n) for n in ("rope_type", "type") if n in given}
    kind = names.get("rope_type", names.get("type", "default"))
    if set(names.values()) - {kind} or kind not in FIELDS:
        reason = ""
        if kind in OF_RUN_LENGTH:
            reason = (
                " Rotations by the length of each run would make an answer "
                "depend on its batch."
            )
        raise ValueError(
            f"`rope_scaling` must be of one type, {', '.join(FIELDS)}. "
            f"Received: rope_type={kind!r} in {scaling}.{reason}"
        )
    if given.pop("rope_theta", max_wavelength) != max_wavelength:
        raise ValueError(
            "`rope_theta` in `rope_scaling` must be `rope_max_wavelength`, "
            f"{max_wavelength}. Received: {scaling}. Leave it out."
        )
    if given.get("partial_rotary_factor") == 1 and kind != "proportional":
        given.pop("partial_rotary_factor")
    needed, optional = FIELDS[kind]
    missing = sorted(set(needed) - set(given))
    unknown = sorted(set(given) - {*needed, *optional})
    bad = [n for n, v in given.items() if n != "truncate" and not _is_good(v)]
    if missing or unknown or bad:
        raise ValueError(
            f"`rope_scaling` of the type {kind} must have "
            f"{', '.join(needed) or 'nothing else'}, may have "
            f"{', '.join(optional) or 'nothing else'}, and these must be "
            f"positive numbers. Received: {scaling}, in which "
            f"{', '.join(missing) or 'nothing'} is missing, "
            f"{', '.join(unknown) or 'nothing'} is unknown and "
            f"{', '.join(bad) or 'nothing'} is no positive number."
        )
    if "truncate" in (scaling or {}):
        given["truncate"] = bool(scaling["truncate"])  # None counts as False.
    return kind, given


def _is_good(value):
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and 0 < value < math.inf


def _proportional(plain, factor=1.0, partial_rotary_factor=1.0):
    """Leave the last pairs of a head unrotated."""
    rotated = int(partial_rotary_factor * 2 * len(plain) // 2)
    return np.where(np.arange(len(plain)) < rotated, plain / factor, 0.0)


def _llama3(
    plain,
    factor,
    low_freq_factor,
    high_freq_factor,
    original_max_position_embeddings,
):
    """Divide low frequencies by the factor, keep high ones, ramp between."""
    if high_freq_factor <= low_freq_factor:
        raise ValueError(
            "`high_freq_factor` must be greater than `low_freq_factor`. "
            f"Received: {high_freq_factor} and {low_freq_factor}."
        )
    turns = original_max_position_embeddings * plain / (2 * math.pi)
    ramp = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
    ramp = np.clip(ramp, 0.0, 1.0)
    return (1 - ramp) * plain / factor + ramp * plain


def _yarn(
    plain,
    max_wavelength,
    *,
    factor,
    original_max_position_embeddings,
    beta_fast=32,
    beta_slow=1,
    truncate=True,
    **_,
):
    """Keep high frequencies, divide low ones by the factor, ramp between."""
    head_dim = 2 * len(plain)

    def place(turns):
        """The (fractional) pair that turns so often in a training context."""
        length = original_max_position_embeddings / (turns * 2 * math.pi)
        return head_dim * math.log(length) / (2 * math.log(max_wavelength))

    low, high = place(beta_fast), place(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low or 0.001
    ramp = np.clip((np.arange(len(plain)) - low) / width, 0.0, 1.0)
    return plain / factor * ramp + plain * (1 - ramp)


def _yarn_factor(
    factor, attention_factor=None, mscale=None, mscale_all_dim=None, **_
):
    if attention_factor is not None:
        return float(attention_factor)

    def gain(scale):
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if mscale and mscale_all_dim:
        return gain(mscale) / gain(mscale_all_dim)
    return gain(1.0)


@keras.saving.register_keras_serializable(package="keras_stts")
class RotaryEmbedding(keras.layers.Layer):
    """Rotates the pairs (i, i + d / 2) of heads by their positions.

    KerasHub's layer knows fewer types of scaling and fewer of their fields.

    Args:
        head_dim: Int d.
        max_wavelength: Number. Base of the frequencies.
        scaling: Optional dict, see `frequencies`.
        sections: Optional three ints: pairs that positions in time, height
            and width rotate, in turns as far as they go (interleaved M-RoPE).
            Needed for positions (B, S, 3).

    Call arguments:
        inputs: Tensor (B, S, heads, d).
        positions: Int tensor (B, S); or (B, S, 3), those in time, height and
            width.

    Returns:
        Tensor (B, S, heads, d).

    Reference:
        RoFormer (arXiv 2104.09864), Qwen3-VL (arXiv 2511.21631).
    """

    def __init__(
        self,
        head_dim,
        max_wavelength=10000.0,
        scaling=None,
        sections=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.head_dim = head_dim
        self.max_wavelength = max_wavelength
        self.scaling = scaling
        self.sections = None if sections is None else tuple(sections)
        values, self._factor = frequencies(head_dim, max_wavelength, scaling)
        self._frequencies = tuple(values.tolist())
        if sections is not None:
            self._axes = axes_of_pairs(head_dim, self.sections)
        self.built = True

    def call(self, inputs, positions):
        steps = _on_device(self._frequencies, positions)
        places = ops.cast(positions, "float32")
        if len(positions.shape) == 3:
            places = ops.take(places, self._axes, axis=-1)
        else:
            places = places[..., None]
        angles = (places * steps)[..., None, :]
        cos, sin = ops.cos(angles), ops.sin(angles)
        if self._factor != 1.0:
            cos, sin = cos * self._factor, sin * self._factor
        cos, sin = (ops.cast(x, inputs.dtype) for x in (cos, sin))
        return rotated(inputs, cos, sin)

    def compute_output_shape(self, input_shape, *args, **kwargs):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "max_wavelength": self.max_wavelength,
            "scaling": self.scaling,
            "sections": self.sections,
        }


def axes_of_pairs(head_dim, sections):
    """Whether time (0), height (1) or width (2) rotates each pair of a head.

    Args:
        head_dim: Int d.
        sections: Three ints, pairs of each, see `RotaryEmbedding`.

    Returns:
        List of d / 2 ints.

    Raises:
        ValueError: If they are not as many as pairs, or there are more pairs
            of height or width than turns.
    """
    most = -(-head_dim // 6)
    if (
        len(sections) != 3
        or 2 * sum(sections) != head_dim
        or max(sections[1:]) > most
    ):
        raise ValueError(
            "`rope_sections` must be three numbers of pairs, `head_dim // 2` "
            "together, of which height and width have a third or less. "
            f"Received: rope_sections={tuple(sections)}, head_dim={head_dim}."
        )
    axes = [0] * (head_dim // 2)
    for axis in (1, 2):
        axes[axis : 3 * sections[axis] : 3] = [axis] * len(
            axes[axis : 3 * sections[axis] : 3]
        )
    return axes


def rotated(heads, cos, sin):
    """Rotate the pairs (i, i + d / 2) of heads.

    Args:
        heads: Tensor (..., heads, d).
        cos, sin: Tensors (..., 1, d / 2), of the angles.
    """
    one, other = ops.split(heads, 2, axis=-1)
    turned = (one * cos - other * sin, other * cos + one * sin)
    return ops.concatenate(turned, axis=-1)


def _on_device(numbers, beside):
    """float32 numbers on the device of another tensor.

    Under PyTorch a copy to a GPU waits until the GPU has finished its work, so
    the copies are kept.
    """
    if keras.config.backend() != "torch" or _is_traced():
        return ops.convert_to_tensor(numbers, "float32")
    return _kept(numbers, beside.device)


def _is_traced():
    import torch

    return torch.compiler.is_compiling()


@functools.lru_cache(maxsize=64)
def _kept(numbers, device):
    return ops.convert_to_tensor(numbers, "float32")
