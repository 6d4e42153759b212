"""Prompts and conversations as the text that a model was trained on."""

import functools
import re

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

IMAGE, VIDEO = "<|image|>", "<|video|>"
# All images and the video, then Qwen3's turns.
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
# Everything as it comes, without turns.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}"
    "<|{{ part.type }}|>{% endif %}{% endfor %}{% endfor %}{{ '\n' }}"
)


@functools.lru_cache
def _compile(template):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True
    )
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise ValueError(
            "`chat_template` must be a Jinja template. Received: "
            f"{template!r} ({error})."
        ) from error


def render(template, prompt, num_images=0, num_videos=0):
    """Fill a chat template in.

    Args:
        template: Str, Jinja, as Hugging Face's tokenizers have it: of
            `messages`, each with a `role` and a `content` (a list of parts),
            and `add_generation_prompt`.
        prompt: Str, or a list of messages: dicts of `"role"` and `"content"`,
            a str or a list of parts `{"type": "text", "text": ...}`,
            `{"type": "image"}` and `{"type": "video"}`. Without the latter two
            images and video stand before the first message's words.
        num_images: Int.
        num_videos: Int.

    Returns:
        Str with `<|image|>` and `<|video|>` where these belong.

    Raises:
        ValueError: If the messages are none, or name more or fewer images or
            videos than there are.
    """
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    messages = [_normalize(message) for message in prompt]
    if not messages:
        raise ValueError(
            "A conversation must have at least one message. Received: []."
        )
    wanted = {"image": num_images, "video": num_videos}
    named = {kind: _count(messages, kind) for kind in wanted}
    if not any(named.values()):
        vision = [{"type": k} for k, n in wanted.items() for _ in range(n)]
        messages[0]["content"] = vision + messages[0]["content"]
    elif named != wanted:
        raise ValueError(
            "Messages must name each image and video once. Received: "
            f"{named['image']} images and {named['video']} videos in the "
            f"messages, {num_images} and {num_videos} given."
        )
    return _compile(template).render(
        messages=messages, add_generation_prompt=True, bos_token=""
    )


def _count(messages, kind):
    parts = [part for message in messages for part in message["content"]]
    return sum(part["type"] == kind for part in parts)


def _normalize(message):
    """A message whose content is a list of parts."""
    good = isinstance(message, dict) and {"role", "content"} <= set(message)
    content = message["content"] if good else None
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    kinds = {"text", "image", "video"}
    if not isinstance(content, (list, tuple)) or not all(
        isinstance(part, dict) and part.get("type") in kinds for part in content
    ):
        raise ValueError(
            'A message must be a dict of "role" and "content", which is a str '
            "or a list of parts of the types text, image and video. Received: "
            f"{message!r}."
        )
    return {**message, "content": list(content)}


def pieces(text):
    """A rendered text cut at images and videos; those stay as pieces."""
    parts = re.split(f"({re.escape(IMAGE)}|{re.escape(VIDEO)})", text)
    return [part for part in parts if part]
