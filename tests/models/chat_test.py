"""Conversations, images and subtitles as token sequences."""

import datetime
import json
import shutil

import numpy as np
import pytest

from keras_stts.formats.molmo2 import chat_files
from keras_stts.preprocessing import chat
from keras_stts.preprocessing.examples import subtitle_text
from tests.models import chat_cases
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


EXPECTED = chat_cases.expected()


def render(template, messages):
    """As text and with as many images and videos as the messages name."""
    parts = [p for m in messages for p in chat._parts(chat._checked(m))]
    counts = [
        sum(p["type"] == k if "type" in p else k in p for p in parts)
        for k in ("image", "video")
    ]
    return chat.render(template, messages, *counts, chat_cases.TOKENS)


@pytest.mark.parametrize("name", chat_cases.CASES)
def test_as_transformers(name):
    kind, wanted = EXPECTED[name]
    template, messages = chat_cases.CASES[name]
    if kind == "text":
        assert render(template, messages) == wanted
        return
    with pytest.raises(ValueError) as error:
        render(template, messages)
    assert name == "underscore" or wanted in str(error.value)


def test_live_transformers():
    pytest.importorskip("tests.models.hugging_face")
    assert chat_cases.rendered() == EXPECTED


def test_published_golden():
    """What the published processor rendered of the published template."""
    path = chat_cases.FOLDER / "published.json"
    for case in json.loads(path.read_text(encoding="utf-8")):
        messages = json.loads(case["messages"])
        assert render(chat_cases.PUBLISHED, messages) == case["text"]


def test_vision_goes_to_the_first_speaker():
    spoken = [chat_cases.SPOKEN, chat_cases.user("what?")]
    text = chat.render(chat_cases.PUBLISHED, spoken, num_videos=1)
    assert text == EXPECTED["published subtitle"][1]
    assert spoken[1]["content"] == "what?"


def test_time_is_now():
    text = chat.render("{{ strftime_now('%Y/%m') }}", "a")
    now = datetime.datetime.now()
    assert text == now.strftime("%Y/%m")


def test_several_templates():
    several = {"default": "a", "tool_use": "b"}
    named = [{"name": k, "template": v} for k, v in several.items()]
    for template in (several, named, "a"):
        assert chat.render(template, "x") == "a"
        assert tiny.preprocessor(chat_template=template).chat_template == "a"
    with pytest.raises(ValueError, match=r"one of them .*named \['tool_use'\]"):
        chat.render({"tool_use": "b"}, "x")
    with pytest.raises(ValueError, match="must be a Jinja template as str"):
        chat.render(3, "x")


@pytest.mark.parametrize("template", ["", "{{ 2 * '<|video|>' }}"])
def test_each_video_is_placed_once(template):
    with pytest.raises(ValueError, match="place all images and the video, ea"):
        chat.render(template, "a", num_videos=1)


def test_messages_without_end():
    part = {"type": "text", "text": "a"}
    part["more"] = [part]
    with pytest.raises(ValueError, match="must not be nested deep"):
        chat.render(chat.CHAT_TEMPLATE, [chat_cases.user([part])])


@pytest.mark.parametrize("token", ["<|video|>", "<|image|>", "<im_patch>"])
def test_words_are_no_vision(token):
    preprocessor = tiny.preprocessor()
    message = {
        "role": "user",
        "content": [
            words(
                "a",
            )
            | {"style": token}
        ],
    }
    for prompt in (f"a {token}", [message]):
        x = {"videos": [tiny.video()], "prompts": [prompt]}
        with pytest.raises(ValueError, match="must not hold vision tokens"):
            preprocessor(x)
    x = {"videos": [tiny.video()], "prompts": ["a"]}
    x["subtitles"] = [[(0.0, 1.0, token)]]
    with pytest.raises(ValueError, match="must not hold vision tokens"):
        preprocessor(x)


def test_special_tokens():
    template = "{{ bos_token }}{{ '<|video|>' }}a{{ eos_token }}"
    x = {"videos": [tiny.video()], "prompts": ["a"]}
    with_start = tiny.preprocessor(chat_template=template)
    without = tiny.preprocessor(
        chat_template=template[len("{{ bos_token }}") :]
    )
    tiny.same(with_start(x)["vision_token_ids"], without(x)["vision_token_ids"])
    tokens = with_start.special_tokens
    assert tokens == {
        "bos_token": "<|im_end|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "image_token": "<|image|>",
        "video_token": "<|video|>",
    }
    config = with_start.get_config()
    assert config["special_tokens"] == tokens


def write(folder, **files):
    for name, text in files.items():
        if not isinstance(text, str):
            text = json.dumps(text)
        path = folder / FILES[name]
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


FILES = {
    "processor": "processor_config.json",
    "old": "chat_template.json",
    "jinja": "chat_template.jinja",
    "default": "additional_chat_templates/default.jinja",
    "rag": "additional_chat_templates/rag.jinja",
    "tokenizer": "tokenizer_config.json",
    "special": "special_tokens_map.json",
}
NAMED = [{"name": "x", "template": "no"}, {"name": "default", "template": "t"}]


WHICH = [
    ({}, None),
    ({"tokenizer": {"chat_template": "t"}}, "t"),
    ({"tokenizer": {"chat_template": NAMED}}, "t"),
    ({"tokenizer": {"chat_template": "t"}, "jinja": "é\r\n"}, "é\n"),
    ({"jinja": "j", "default": "d", "rag": "r"}, "j"),
    (
        {"default": "d", "rag": "r", "tokenizer": {"chat_template": "t"}},
        "d",
    ),
    ({"jinja": "j", "old": {"chat_template": "o"}}, "o"),
    (
        {
            "processor": {"chat_template": "p"},
            "old": {"chat_template": "o"},
            "jinja": "j",
        },
        "p",
    ),
    ({"processor": {"chat_template": None}, "jinja": "j"}, "j"),
]


@pytest.mark.parametrize(("files", "wanted"), WHICH)
def test_which_file(tmp_path, files, wanted):
    write(tmp_path, **files)
    assert chat_files.load(str(tmp_path)) == wanted


def test_which_file_in_transformers(tmp_path):
    """The same, read by transformers' own processor."""
    molmo2 = pytest.importorskip("tests.models.hugging_face").molmo2
    for i, (files, wanted) in enumerate(WHICH):
        folder = tmp_path / str(i)
        shutil.copytree(tiny.MOLMO2, folder)
        (folder / "chat_template.jinja").unlink()
        for name in ("processor", "tokenizer"):  # Beside what is there.
            there = json.loads((folder / FILES[name]).read_text())
            there.pop("chat_template", None)
            files = {**files, name: {**there, **files.get(name, {})}}
        write(folder, **files)
        processor = molmo2.Molmo2Processor.from_pretrained(str(folder))
        if processor.chat_template is None:
            found = processor.tokenizer.chat_template
            found = found["default"] if isinstance(found, dict) else found
        else:
            found = processor._resolve_chat_template(None)
        assert found == wanted
        tokens = processor.tokenizer.special_tokens_map
        assert chat_files.special_tokens(str(folder)) == tokens


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"jinja": " \n"}, "an empty one in chat_template.jinja"),
        ({"rag": "r"}, r"named \['rag'\]. It is in additional_chat_templates"),
        ({"rag": "r", "old": {"chat_template": "o"}}, "with both"),
        ({"old": {}}, 'must hold a "chat_template". Received: .* with nothing'),
        ({"old": "{"}, "must be JSON of one object. Received: chat_te"),
        ({"tokenizer": []}, "tokenizer_config.json of .*which holds a list"),
        ({"tokenizer": {"chat_template": 3}}, "It is in tokenizer_config"),
    ],
)
def test_bad_files(tmp_path, files, message):
    write(tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        chat_files.load(str(tmp_path))


def test_bad_encoding(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="must be UTF-8. Received: chat_t"):
        chat_files.load(str(tmp_path))


def test_special_tokens_of_files(tmp_path):
    tokens = {"bos_token": None, "eos_token": {"content": "</s>"}}
    more = {"extra_special_tokens": {"a_token": "y"}, "add_bos_token": True}
    write(tmp_path, tokenizer={**tokens, **more, "other_token": "x"})
    assert chat_files.special_tokens(str(tmp_path)) == {
        "eos_token": "</s>",
        "other_token": "x",
        "a_token": "y",
    }
    write(tmp_path, tokenizer=tokens)
    write(tmp_path, special={"pad_token": "<p>", "eos_token": "<e>"})
    assert chat_files.special_tokens(str(tmp_path)) == {
        "eos_token": "<e>",
        "pad_token": "<p>",
    }
    write(tmp_path, tokenizer={**tokens, "added_tokens_decoder": {}})
    assert chat_files.special_tokens(str(tmp_path)) == {"eos_token": "</s>"}


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
