"""A server, asked by the `openai` package and by clients that break off."""

import concurrent.futures
import json
import pathlib
import re
import shutil

import openai
import pytest

from keras_stts.serving.app import make_app
from tests.serving import servers

DOCS = pathlib.Path(__file__).parents[2] / "docs/serving.md"


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(
        base_url=f"{address}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


def ask(client, row, **settings):
    url = pathlib.Path(row["video"]).as_uri()
    return client.chat.completions.create(
        model=servers.NAME,
        messages=servers.messages(url, row["question"]),
        **settings,
    )


def test_answers(client, clips, expected):
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda row: ask(client, row), clips))
    texts = [answer.choices[0].message.content for answer in answers]
    assert texts == expected
    for answer in answers:
        assert answer.model == servers.NAME
        assert answer.choices[0].message.role == "assistant"
        assert answer.choices[0].finish_reason == "stop"
        usage = answer.usage
        total = usage.prompt_tokens + usage.completion_tokens
        assert usage.total_tokens == total
        assert usage.completion_tokens > 0
        # 8 frames of 16 blocks.
        assert 8 * 16 < usage.prompt_tokens_details.vision_tokens
    assert len({answer.id for answer in answers}) == 3


def test_a_stream(client, clips, expected):
    options = {"include_usage": True}
    stream = ask(client, clips[0], stream=True, stream_options=options)
    pieces = list(stream)
    *pieces, last = pieces
    deltas = [piece.choices[0].delta for piece in pieces]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == expected[0]
    reasons = [piece.choices[0].finish_reason for piece in pieces]
    assert [r for r in reasons if r] == ["stop"] == reasons[-1:]
    assert (last.choices, last.usage.completion_tokens > 0) == ([], True)
    assert len({piece.id for piece in [*pieces, last]}) == 1


def test_data(client, clips, clip, expected):
    messages = servers.messages(servers.data_url(clip), clips[0]["question"])
    answer = client.chat.completions.create(
        model=servers.NAME, messages=messages, max_tokens=20
    )
    assert answer.choices[0].message.content == expected[0]


def test_the_example_of_the_docs(address, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "clip.mp4")
    (block,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    assert "http://127.0.0.1:8000/v1" in block
    block = block.replace("http://127.0.0.1:8000", address)
    exec(compile(block, str(DOCS), "exec"), {})
    assert capsys.readouterr().out.strip()


def test_models(client):
    assert [model.id for model in client.models.list()] == [servers.NAME]
    assert client.models.retrieve(servers.NAME).object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"logprobs": True}, openai.BadRequestError),
        ({"max_tokens": 10**6}, openai.BadRequestError),
        ({"model": "other"}, openai.NotFoundError),
    ],
)
def test_refused(client, clip, settings, error):
    body = json.loads(servers.request_of(clip.as_uri()))
    with pytest.raises(error) as found:
        client.chat.completions.create(**{**body, **settings})
    assert found.value.body["param"] in settings
    assert "Received: " in found.value.body["message"]


def test_unknown_addresses(client):
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="a", prompt="b")
    with pytest.raises(openai.APIStatusError) as found:
        client.get("/chat/completions", cast_to=object)
    assert found.value.status_code == 405


BAD = [b"", b"bad" * 999, b"#EXTM3U\n/etc/passwd\n", b"\0" * 5000]


@pytest.mark.parametrize("number", range(len(BAD) + 1))
def test_bad_videos_harm_nobody(address, folder, clip, number):
    """They are asked beside a good one."""
    content = (BAD + [clip.read_bytes()[:-500]])[number]
    path = folder / f"bad{number}.mp4"
    path.write_bytes(content)
    bodies = [servers.request_of(p.as_uri()) for p in (path, clip, path)]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda b: servers.post(address, b), bodies))
    assert [status for status, _ in found] == [400, 200, 400]
    assert path.as_uri()[:80] in found[0][1]["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 10**5, b'{"model": NaN}']
)
def test_bad_bodies(address, body):
    status, found = servers.post(address, body)
    assert status in (400, 404)
    assert "Received: " in found["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "", "application/json2"])
def test_what_web_pages_of_others_send(address, clip, kind):
    status, _ = servers.post(address, servers.request_of(clip.as_uri()), kind)
    assert status == 415


def test_letters_that_are_none(address, clip):
    for fields in ({"\ud800": 1}, {"model": "\ud800"}, {"stop": "\ud800" * 9}):
        body = servers.request_of(clip.as_uri(), **fields)
        assert servers.post(address, body)[0] in (200, 400, 404)
    body = servers.request_of(clip.as_uri(), question="\ud800?")
    assert servers.post(address, body)[0] == 400


def test_a_body_too_large(address):
    status, found = servers.post(address, b" " * (2**20 + 1))
    assert status == 413
    assert found["error"]["type"] == "request_too_large"


def test_killed_clients(address, clip):
    """More than the server takes at a time: each leaves its place."""
    body = servers.request_of(clip.as_uri())
    for wanted in (len(body), len(body), len(body) // 2):
        for _ in range(5):
            servers.sent(address, body[:wanted]).close()

    def answered():
        return servers.post(address, body)[0] == 200

    servers.until(answered)
    servers.until(lambda: servers.counted(address, "keras_stts_waiting") == 0)
    lines = servers.get(address, "/metrics")
    assert 'keras_stts_requests_total{status="499"}' in lines


def test_metrics(address, clip):
    names = [
        'keras_stts_requests_total{status="200"}',
        'keras_stts_tokens_total{kind="prompt"}',
        'keras_stts_tokens_total{kind="vision"}',
        'keras_stts_tokens_total{kind="completion"}',
        "keras_stts_request_seconds_count",
        "keras_stts_batch_seconds_count",
        "keras_stts_batch_requests_sum",
    ]
    before = [servers.counted(address, name) for name in names]
    status, found = servers.post(address, servers.request_of(clip.as_uri()))
    after = [servers.counted(address, name) for name in names]
    usage = found["usage"]
    wanted = [
        1,
        usage["prompt_tokens"],
        usage["prompt_tokens_details"]["vision_tokens"],
        usage["completion_tokens"],
        1,
        1,
        1,
    ]
    assert status == 200
    assert [b - a for a, b in zip(before, after)] == wanted


def test_health(address):
    assert json.loads(servers.get(address, "/health")) == {"status": "ok"}


def test_no_preprocessor(model):
    class Bare:
        preprocessor = None

    with pytest.raises(ValueError, match="preprocessor"):
        make_app(Bare(), "a")
