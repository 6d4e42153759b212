"""What requests may say, and what is refused instead of ignored."""

import pytest

from keras_stts.serving import protocol
from keras_stts.serving.refusals import Refused

pytestmark = pytest.mark.once

URL = "data:video/mp4;base64,AAAA"


def body(content="why?", **fields):
    messages = [{"role": "user", "content": content}]
    return {"model": "m", "messages": messages, **fields}


def test_a_conversation():
    content = [
        {"type": "text", "text": "a"},
        {"type": "video_url", "video_url": {"url": URL}},
        {"type": "image_url", "image_url": {"url": "b", "detail": "auto"}},
        {"type": "text", "text": "why?"},
    ]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "So.", "tool_calls": None},
        {"role": "user", "content": "And?", "name": "Ada"},
    ]
    asked = protocol.parse({"model": "m", "messages": messages}, "m")
    assert asked.media == [("video", URL), ("image", "b")]
    assert asked.messages == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "video"},
                {"type": "image"},
                {"type": "text", "text": "why?"},
            ],
        },
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "And?"},
    ]


def test_what_is_honoured():
    asked = protocol.parse(
        body(
            temperature=0.5,
            top_p=0.9,
            max_tokens=3,
            max_completion_tokens=3,
            stop=["a", "b"],
            seed=-1,
            stream=True,
            stream_options={"include_usage": True},
        ),
        "m",
    )
    assert (asked.temperature, asked.top_p, asked.max_tokens) == (0.5, 0.9, 3)
    assert (asked.stop, asked.stream) == (("a", "b"), True)
    assert asked.include_usage
    assert asked.seed == 2**64 - 1
    plain = protocol.parse(body(), "m")
    assert (plain.temperature, plain.top_p, plain.max_tokens) == (0, 1, None)
    assert (plain.stop, plain.stream, plain.include_usage) == ((), False, False)


def test_fields_that_change_nothing():
    asked = protocol.parse(
        body(
            n=1,
            seed=None,
            user="Ada",
            logprobs=False,
            presence_penalty=0.0,
            response_format={"type": "text"},
            tools=[],
            tool_choice="none",
        ),
        "m",
    )
    assert asked == protocol.parse(body(), "m")


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1.5},
        {"seed": 2**63},
        {"prediction": {}},
        {"n": 2},
        {"logprobs": True},
        {"logit_bias": {"1": 2}},
        {"frequency_penalty": 0.1},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function"}]},
        {"reasoning_effort": "low"},
        {"top_k": 5},
        {"temperature": -1},
        {"temperature": "warm"},
        {"temperature": True},
        {"temperature": float("nan")},
        {"top_p": 0, "temperature": 1},
        {"top_p": 0.5},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"max_tokens": 2, "max_completion_tokens": 3},
        {"stop": ""},
        {"stop": ["a"] * 5},
        {"stop": [1]},
        {"stream": "yes"},
        {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"other": 1}},
        {"stream": True, "stream_options": [1]},
    ],
    ids=str,
)
def test_a_field_is_refused(fields):
    with pytest.raises(Refused, match="Received: ") as found:
        protocol.parse(body(**fields), "m")
    assert found.value.status == 400
    assert found.value.param in {*fields, "stream"}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        [],
        7,
        ["why?"],
        [{"type": "text"}],
        [{"type": "input_audio", "input_audio": {}}],
        [{"type": "video_url"}],
        [{"type": "video_url", "video_url": {"url": 7}}],
        [{"type": "video_url", "video_url": {"url": URL, "fps": 2}}],
        [{"type": "image_url", "image_url": {"url": URL, "detail": "high"}}],
    ],
    ids=str,
)
def test_content_is_refused(content):
    with pytest.raises(Refused, match="Received: ") as found:
        protocol.parse(body(content), "m")
    assert found.value.param == "messages"


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "why?",
        ["why?"],
        [{"content": "why?"}],
        [{"role": "tool", "content": "so", "tool_call_id": "1"}],
        [{"role": "assistant", "content": "so", "tool_calls": [{}]}],
    ],
    ids=str,
)
def test_messages_are_refused(messages):
    with pytest.raises(Refused, match="Received: "):
        protocol.parse({"model": "m", "messages": messages}, "m")


@pytest.mark.parametrize("value", [None, 7, "why?", []])
def test_no_object(value):
    with pytest.raises(Refused, match="JSON object"):
        protocol.parse(value, "m")


def test_another_model():
    with pytest.raises(Refused) as found:
        protocol.parse({**body(), "model": "other"}, "m")
    assert found.value.status == 404
    error = found.value.body()["error"]
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
