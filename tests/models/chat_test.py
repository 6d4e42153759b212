"""Conversations, images and subtitles as token sequences."""

import numpy as np
import pytest

from keras_stts.models import chat
from keras_stts.models.examples import subtitle_text
from tests.models import tiny

pytestmark = pytest.mark.once

VIDEO = {"type": "video"}
IMAGE = {"type": "image"}


def words(text):
    return {"type": "text", "text": text}


def test_default_template():
    text = chat.render(chat.CHAT_TEMPLATE, "what?", num_images=2, num_videos=1)
    assert text == (
        "<|image|><|image|><|video|><|im_start|>user\nwhat?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_places_in_messages():
    message = {"role": "user", "content": [words("a"), IMAGE, words("b")]}
    assert chat.render(chat.PLAIN_TEMPLATE, [message], num_images=1) == (
        "a<|image|>b\n"
    )
    assert chat.render(chat.PLAIN_TEMPLATE, "c", 1, 1) == (
        "<|image|><|video|>c\n"
    )
    assert chat.pieces("a<|image|><|video|>b") == [
        "a",
        "<|image|>",
        "<|video|>",
        "b",
    ]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "at least one message"),
        ([{"role": "user"}], 'a dict of "role" and "content"'),
        ([{"role": "user", "content": [{"type": "audio"}]}], "text, image and"),
        ([{"role": "user", "content": 3}], "a str or a list of parts"),
        (
            [{"role": "user", "content": [VIDEO, VIDEO]}],
            "Received: 0 images and 2 videos in the messages, 0 and 1 given",
        ),
        ([{"role": "user", "content": [IMAGE]}], "1 images and 0 videos in"),
    ],
)
def test_bad_messages(messages, message):
    with pytest.raises(ValueError, match=message):
        chat.render(chat.CHAT_TEMPLATE, messages, num_videos=1)


def test_templates_are_sandboxed():
    with pytest.raises(Exception, match="unsafe|not safe"):
        chat.render("{{ messages.__class__.__mro__ }}", "a")


def test_subtitles_near_frames():
    lines = [(0.0, 0.4, "far"), (1.0, 2.0, "near"), (9.0, 9.5, "late")]
    assert subtitle_text(lines, [2.0, 3.0]) == "subtitle\n1.0 - 2.0 near\n"
    assert subtitle_text(lines, [1.4, 10.5]).count("\n") == 4
    assert subtitle_text([], [1.0]) == subtitle_text(None, [1.0]) == ""


def test_subtitles_follow_the_video():
    preprocessor = tiny.preprocessor(sequence_length=64)
    raw = tiny.raw((4, 2), responses=False)
    plain = preprocessor(raw)
    lines = [(0.0, 1.0, "hello")]
    x = preprocessor({**raw, "subtitles": [lines, None]})
    tiny.same(x["vision_token_ids"], plain["vision_token_ids"])
    tiny.same(x["token_ids"][1], plain["token_ids"][1])
    ids = x["token_ids"][0][x["padding_mask"][0]]
    wanted = "subtitle\n0.0 - 1.0 hello\n" + raw["prompts"][0] + "\n"
    assert preprocessor.tokenizer.detokenize(ids) == wanted


def with_images(**kwargs):
    return tiny.preprocessor(
        num_images=2, max_crops=2, patch_size=1, sequence_length=64, **kwargs
    )


def test_words_between_vision_are_in_the_vision_part():
    preprocessor = with_images(num_frames=2, chat_template=chat.PLAIN_TEMPLATE)
    content = [words("first"), IMAGE, words("then"), VIDEO, words("what?")]
    x = {
        "videos": [tiny.video(0, 2)],
        "images": [tiny.video(1, 1)[0]],
        "prompts": [[{"role": "user", "content": content}]],
    }
    x = preprocessor(x)
    tokenizer = preprocessor.tokenizer
    head = tokenizer.detokenize(x["vision_token_ids"][0])
    assert head.index("first") < head.index("<im_start>")
    assert head.index("<im_start>") < head.index("then")
    assert head.index("then") < head.index("<frame_start>")
    tail = x["token_ids"][0][x["padding_mask"][0]]
    assert tokenizer.detokenize(tail) == "what?\n"


def test_padding_of_images():
    preprocessor = with_images(num_frames=0)
    image = tiny.video(1, 1, 16)[0]
    x = {"images": [image, [image, image], None], "prompts": ["a", "b", "c"]}
    x = preprocessor(x)
    real = (x["image_pooling"] >= 0).any(-1).sum(-1)
    patch_id = preprocessor.tokenizer.image_patch_token_id
    tiny.same((x["vision_token_ids"] == patch_id).sum(-1), real)
    assert 0 == real[2] < real[0] == real[1] / 2
    tiny.same(x["images"][0, :2], x["images"][1, :2])
    assert not x["images"][2].any()
    with pytest.raises(ValueError, match="3 images, num_images=2"):
        preprocessor({"images": [[image] * 3], "prompts": ["a"]})
    with pytest.raises(ValueError, match=r"of shape \(16, 16\), dtype uint8"):
        preprocessor({"images": [[image[..., 0]]], "prompts": ["a"]})
    with pytest.raises(FileNotFoundError, match="no.png"):
        preprocessor({"images": ["no.png"], "prompts": ["a"]})
    with pytest.raises(ValueError, match='takes no "videos"'):
        preprocessor({"videos": [np.zeros(3)], "prompts": ["a"]})
