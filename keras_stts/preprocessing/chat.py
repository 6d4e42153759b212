"""Prompts and conversations in the text format of a model's training."""

import re

from keras_stts.preprocessing import chat_sandbox
from keras_stts.preprocessing.chat_sandbox import shortened
from keras_stts.preprocessing.chat_values import as_template_sees

IMAGE, VIDEO = "<|image|>", "<|video|>"
# All images and the video, then turns in Qwen3's format.
CHAT_TEMPLATE = (
    "{% for message in messages if message.content is not string %}"
    "{% for part in message.content if part.type != 'text' %}"
    "<|{{ part.type }}|>{% endfor %}{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content if part.type == 'text' %}"
    "{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# All parts in their order, without turns; for lists of parts only.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}"
    "<|{{ part.type }}|>{% endif %}{% endfor %}{% endfor %}{{ '\n' }}"
)


def choose(template):
    """A template as str; of several templates, `"default"`.

    Args:
        template: Str; dict of names to str; or list of dicts of `"name"` and
            `"template"`, as in `tokenizer_config.json`.

    Returns:
        Str.

    Raises:
        ValueError: If it is none of these, or has no default.
    """
    named = template
    if isinstance(template, (list, tuple)):
        pairs = [item for item in template if isinstance(item, dict)]
        named = {item.get("name"): item.get("template") for item in pairs}
    if isinstance(named, dict):
        template = named.get("default")
    if not isinstance(template, str):
        raise ValueError(
            "`chat_template` must be a Jinja template as str, or several by "
            'their names, one of them "default". Received: '
            + (
                f"templates named {sorted(map(str, named))}."
                if isinstance(named, dict)
                else f"chat_template={template!r}."
            )
        )
    return template


def render(template, prompt, num_images=0, num_videos=0, special_tokens=None):
    """Fill in a chat template, as transformers' processors do.

    Args:
        template: Str, a Jinja template like those of Hugging Face's
            processors, with `messages`, `add_generation_prompt` and special
            tokens; or a dict of several, of which `"default"` is used.
        prompt: Str, or a list of messages: dicts of `"role"` and `"content"`,
            a str or a list of parts `{"type": "text", "text": ...}`,
            `{"type": "image"}` and `{"type": "video"}`. The template also
            gets all other entries of a message or part, such as `"style"`.
            If no part is an image or a video, these are put before the text
            of the first message that is not a subtitle.
        num_images: Int.
        num_videos: Int.
        special_tokens: Optional dict of names such as `"bos_token"` to str.

    Returns:
        Str with `<|image|>` and `<|video|>` at their places.

    Raises:
        ValueError: If the messages are invalid, are refused by the template,
            or name more or fewer images or videos than are given; or if the
            template does not place each of them once.
    """
    template = choose(template)
    given = {"image": num_images, "video": num_videos}
    text = chat_sandbox.render(
        template,
        {
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
            **(special_tokens or {}),
            "messages": _messages(template, prompt, given),
        },
    )
    placed = {"image": text.count(IMAGE), "video": text.count(VIDEO)}
    if placed != given:
        raise ValueError(
            "A chat template must place all images and the video, each once. "
            f"Received: chat_template={shortened(repr(template))}, which makes "
            f"{shortened(repr(text))} of a prompt with {num_images} images "
            f"and {num_videos} videos."
        )
    return text


def _messages(template, prompt, given):
    """Messages with a part for each image and video."""
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    try:
        messages = [_checked(message) for message in prompt]
    except RecursionError as error:
        raise ValueError(
            "A message must not be nested deep. Received: lists or dicts "
            "nested beyond Python's recursion limit."
        ) from error
    if not messages:
        raise ValueError(
            "A conversation must have at least one message. Received: []."
        )
    named = {kind: _count(messages, kind) for kind in given}
    if not any(named.values()):
        vision = [{"type": k} for k, n in given.items() for _ in range(n)]
        _put_first(vision, messages)
    elif named != given:
        raise ValueError(
            "Messages must name each image and video once. Received: "
            f"{named['image']} images and {named['video']} videos in the "
            f"messages, {given['image']} and {given['video']} given."
        )
    if template == PLAIN_TEMPLATE:
        messages = [{**m, "content": _parts(m)} for m in messages]
    return messages


def _put_first(vision, messages):
    """Add parts for images and videos before the first speaker's text."""
    if not vision:
        return
    speakers = [m for m in messages if str(m["role"]).lower() != "subtitle"]
    first = (speakers or messages)[0]
    first["content"] = vision + _parts(first)


def _parts(message):
    content = message.get("content", [])
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content)


def _count(messages, kind):
    return sum(
        part.get("type") == kind or kind in part or f"{kind}_url" in part
        for message in messages
        for part in _parts(message)
    )


def _checked(message):
    """A copy of a message, after a check."""
    good = isinstance(message, dict) and "role" in message
    seen = as_template_sees(message) if good else {}
    # A message that calls a tool may have no content.
    good = good and (
        isinstance(seen.get("content"), str)
        or _are_parts(seen.get("content"))
        or ("content" not in seen and len(seen) > 1)
    )
    if not good:
        raise ValueError(
            'A message must be a dict of "role" and "content", which is a str '
            "or a list of parts of the types text, image and video. Received: "
            f"{shortened(repr(message))}."
        )
    return seen


def _are_parts(content):
    return isinstance(content, (list, tuple)) and all(
        isinstance(part, dict)
        and (
            part.get("type") in ("text", "image", "video")
            or {"image", "video", "image_url", "video_url"} & set(part)
        )
        for part in content
    )


def pieces(text):
    """Split a rendered text at images and videos, which stay as pieces."""
    parts = re.split(f"({re.escape(IMAGE)}|{re.escape(VIDEO)})", text)
    return [part for part in parts if part]
