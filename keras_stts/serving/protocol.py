"""OpenAI's chat completions: requests as they come, responses as they go."""

import dataclasses
import time
import uuid

from keras_stts.serving.refusals import Refused

# Fields that say nothing about the answer.
LABELS = ("user", "metadata", "safety_identifier")
# Fields that are taken with these values only: they ask for what is done
# anyway.
NEUTRAL = {
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}
ROLES = ("system", "developer", "user", "assistant")
MOST_STOPS = 4
# Of each kind of media: the field that holds its address, and the part of a
# conversation that it becomes.
MEDIA = {"video_url": "video", "image_url": "image"}


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        messages: List of dicts of `"role"` and `"content"`, as prompts are;
            media in it are `{"type": "video"}` or `{"type": "image"}`.
        media: List of (`"video"` or `"image"`, address), in their order.
        temperature: Float; 0 takes the likeliest token.
        top_p: Float.
        max_tokens: Optional int.
        stop: Tuple of str.
        seed: Optional int.
        stream: Bool.
        include_usage: Bool. Whether a stream ends with counts of tokens.
    """

    messages: list
    media: list
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = None
    stop: tuple = ()
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False


def parse(body, model):
    """The `Asked` of a request.

    Args:
        body: What the JSON of a request holds.
        model: Str, the name of the model that is served.

    Raises:
        Refused: If a field is missing, wrong, or cannot be honoured.
    """
    if not isinstance(body, dict):
        raise Refused(
            f"A request must be a JSON object. Received: {type(body).__name__}."
        )
    fields = {name: v for name, v in body.items() if v is not None}
    _check_model(fields.pop("model", None), model)
    messages, media = _conversation(fields.pop("messages", None))
    asked = Asked(messages, media, **_sampling(fields), **_streaming(fields))
    for name in LABELS:
        fields.pop(name, None)
    for name, value in fields.items():
        _check_neutral(name, value)
    return asked


def _check_model(name, served):
    if name != served:
        raise Refused(
            f"`model` must be the one that is served, {served!r}. Received: "
            f"{name!r:.100}. GET /v1/models names it.",
            404,
            param="model",
            code="model_not_found",
        )


def _check_neutral(name, value):
    values = NEUTRAL.get(name)
    if values is not None and any(value == v for v in values):
        return
    known = "" if values is None else f", or {values[0]!r}"
    raise Refused(
        f"`{name}` cannot be honoured by this server. Received: "
        f"{name}={value!r:.100}. Leave it out{known}.",
        param=name[:100],
        code="unsupported_parameter",
    )


def _sampling(fields):
    """Arguments of `Asked`, taken out of a request's fields."""
    temperature = _number(fields, "temperature", 0, 2)
    top_p = _number(fields, "top_p", 0, 1)
    if top_p is not None and temperature is None and top_p < 1:
        raise Refused(
            "`top_p` needs `temperature`: without it the likeliest token is "
            f"taken. Received: top_p={top_p} alone. Add a temperature above 0.",
            param="top_p",
        )
    if top_p == 0:
        raise Refused(
            "`top_p` must be above 0. Received: 0. For the likeliest token "
            "pass temperature=0.",
            param="top_p",
        )
    return {
        "temperature": temperature or 0.0,
        "top_p": 1.0 if top_p is None else top_p,
        "max_tokens": _length(fields),
        "stop": _stops(fields.pop("stop", ())),
        "seed": _seed(fields.pop("seed", None)),
    }


def _number(fields, name, least, most):
    value = fields.pop(name, None)
    if value is None:
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (good and least <= value <= most):
        raise Refused(
            f"`{name}` must be a number from {least} to {most}. Received: "
            f"{value!r:.100}.",
            param=name,
        )
    return float(value)


def _length(fields):
    names = ("max_tokens", "max_completion_tokens")
    found = {n: fields.pop(n) for n in names if n in fields}
    for name, value in found.items():
        if type(value) is not int or value < 1:
            raise Refused(
                f"`{name}` must be a number of tokens, 1 at least. Received: "
                f"{value!r:.100}.",
                param=name,
            )
    if len(set(found.values())) > 1:
        raise Refused(
            "`max_tokens` and `max_completion_tokens` are the same limit. "
            f"Received: {found}. Pass one.",
            param="max_tokens",
        )
    return next(iter(found.values()), None)


def _seed(value):
    if value is not None and (type(value) is not int or abs(value) >= 2**63):
        raise Refused(
            "`seed` must be a whole number of 64 bits. Received: "
            f"{value!r:.100}.",
            param="seed",
        )
    return None if value is None else value % 2**64


def _stops(value):
    stops = [value] if isinstance(value, str) else value
    good = isinstance(stops, (list, tuple)) and len(stops) <= MOST_STOPS
    if not good or not all(isinstance(s, str) and s for s in stops):
        raise Refused(
            f"`stop` must be a text, or up to {MOST_STOPS} of them, none "
            f"empty. Received: {value!r:.100}.",
            param="stop",
        )
    return tuple(stops)


def _streaming(fields):
    stream = fields.pop("stream", False)
    options = fields.pop("stream_options", {})
    if not isinstance(stream, bool) or (options and not stream):
        raise Refused(
            "`stream` must be true or false, and `stream_options` are for "
            f"streams alone. Received: stream={stream!r:.100}, "
            f"stream_options={options!r:.100}.",
            param="stream",
        )
    usage = options.get("include_usage") if isinstance(options, dict) else None
    known = isinstance(options, dict) and set(options) <= {"include_usage"}
    if not known or not isinstance(usage, (bool, type(None))):
        raise Refused(
            '`stream_options` must be {"include_usage": true} or false. '
            f"Received: {options!r:.100}.",
            param="stream_options",
        )
    return {"stream": stream, "include_usage": bool(usage)}


def _conversation(messages):
    """Messages as prompts are, and the media in them."""
    if not isinstance(messages, list) or not messages:
        raise Refused(
            "`messages` must be a list of at least one message. Received: "
            f"{messages!r:.100}.",
            param="messages",
        )
    media = []
    return [_message(message, media) for message in messages], media


def _message(message, media):
    known = isinstance(message, dict) and message.get("role") in ROLES
    content = message.get("content") if known else None
    if not known or not isinstance(content, (str, list)) or not content:
        raise Refused(
            f'A message must be an object of "role", one of {", ".join(ROLES)}'
            ', and "content", a text or a list of parts. Received: '
            f"{message!r:.200}.",
            param="messages",
        )
    others = set(message) - {"role", "content", "name"}
    others = {name for name in others if message[name] is not None}
    if others:
        raise Refused(
            f'A message may hold "role" and "content". Received: also '
            f"{sorted(map(str, others))!r:.200}. Tools and refusals are not "
            "served.",
            param="messages",
        )
    role = {"developer": "system"}.get(message["role"], message["role"])
    if isinstance(content, list):
        content = [_part(part, media) for part in content]
    return {"role": role, "content": content}


def _part(part, media):
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    address = part.get(kind) if kind in MEDIA else None
    if isinstance(address, str):
        address = {"url": address}
    if not isinstance(address, dict) or not isinstance(address.get("url"), str):
        raise Refused(
            'A part must be {"type": "text", "text": ...}, {"type": '
            '"video_url", "video_url": {"url": ...}} or {"type": "image_url", '
            f'"image_url": {{"url": ...}}}}. Received: {part!r:.200}.',
            param="messages",
        )
    others = set(address) - {"url"}
    if others and (others != {"detail"} or address["detail"] != "auto"):
        raise Refused(
            f'`{kind}` may hold "url", and "detail" of "auto". Received: also '
            f"{sorted(others)!r:.200}.",
            param="messages",
            code="unsupported_parameter",
        )
    media.append((MEDIA[kind], address["url"]))
    return {"type": MEDIA[kind]}


class Response:
    """The objects that answer a request.

    Args:
        model: Str, the name of the model that is served.
    """

    def __init__(self, model):
        self._facts = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, text, reason, usage):
        """The answer at once: dict."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": reason,
        }
        return {
            **self._facts,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage,
        }

    def piece(self, delta, reason=None):
        """A piece of a stream: dict."""
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": reason,
        }
        return self._chunk(choices=[choice])

    def counts(self, usage):
        """The last piece of a stream, if it was asked for: dict."""
        return self._chunk(choices=[], usage=usage)

    def _chunk(self, **values):
        return {**self._facts, "object": "chat.completion.chunk", **values}


def usage(prompt, completion, vision):
    """Counts of tokens: of the prompt, `vision` of it, and of the answer."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"vision_tokens": vision},
    }
