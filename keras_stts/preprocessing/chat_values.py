"""Messages as a chat template may see them."""

import collections
import dataclasses

import numpy as np

# What a message may call its reasoning.
REASONING = ("reasoning_content", "thinking", "reasoning")
# A value of a subclass without what that adds.
BASES = {str: str.__str__, int: int.__int__, float: float.__float__}


def plain(value):
    """A copy of plain values alone, such as JSON has.

    A template sees no other object, whose methods it could call: an array is
    `"<ndarray>"` to it.
    """
    if value is None or type(value) in (str, bool, int, float):
        return value
    for kind, base in BASES.items():
        if isinstance(value, kind):
            return base(value)
    if isinstance(value, collections.abc.Mapping):
        return {plain(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        kind = list if isinstance(value, list) else tuple
        return kind(plain(item) for item in value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if callable(getattr(value, "model_dump", None)):
        return plain(value.model_dump())
    return f"<{type(value).__name__}>"


def as_template_sees(message):
    """A message with plain values and no `None`, under all usual names."""
    message = {
        name: plain(value)
        for name, value in message.items()
        if value is not None
    }
    if isinstance(message.get("content"), list):
        message["content"] = [_image(part) for part in message["content"]]
    given = [message[name] for name in REASONING if name in message]
    given = [value for value in given if value is not None]
    if given:
        first = {"thinking": given[0]}
        message = {**first, **message, "reasoning_content": given[0]}
    return message


def _image(part):
    """OpenAI's `image_url` as an image; other parts as they are."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return part
    if "image_url" not in part:
        return part
    url = part["image_url"]
    return {
        "type": "image",
        "url": url.get("url", "") if isinstance(url, dict) else url,
    }
