"""What a server does past its limits, with a model that waits to be told."""

import concurrent.futures
import http.client
import json
import threading

import numpy as np
import pytest

from keras_stts.serving import app
from keras_stts.serving.engine import Row
from keras_stts.serving.limits import Limits
from keras_stts.serving.speaking import Answer
from tests.serving import servers

pytestmark = pytest.mark.once
LIMITS = Limits(max_batch=1, wait_seconds=0.0, max_queue=2)


class Converter:
    num_frames = 1


class Model:
    """What `make_app` asks of a model."""

    preprocessor = type("Preprocessor", (), {"video_converter": Converter()})


class Engine:
    """Says one letter after the other, when it may."""

    def __init__(self, model, limits):
        self.began, self.may = threading.Event(), threading.Semaphore(0)
        self.jobs = []

    def check_media(self, media):
        pass

    def prepare(self, asked, media):
        return Row({"ids": np.zeros(1)}, asked, 9, 2, 1)

    def answer(self, jobs):
        (job,) = jobs
        self.jobs.append(job)
        self.began.set()
        for letter in "abc":
            assert self.may.acquire(timeout=60)
            if job.is_gone:
                return [Answer("", 0, "length")]
            if job.row.asked.stop == ("fail",) and letter == "b":
                raise RuntimeError("the model is ill")
            job.send(letter)
        return [Answer("abc", 3, "stop")]


@pytest.fixture
def serve(monkeypatch):
    """Function of limits that gives an address and an `Engine`."""
    engines, closing = [], []

    def make(model, limits):
        engines.append(Engine(model, limits))
        return engines[0]

    def start(limits=LIMITS):
        monkeypatch.setattr(app, "Engine", make)
        server = servers.running(app.make_app(Model(), servers.NAME, limits))
        address = server.__enter__()
        closing.append(server)
        return address, engines[0]

    yield start
    engines[0].may.release(99)
    for server in closing:
        server.__exit__(None, None, None)


def text_request(**fields):
    messages = [{"role": "user", "content": "why?"}]
    body = {"model": servers.NAME, "messages": messages, **fields}
    return json.dumps(body).encode()


def streamed(address, body):
    """A response whose body is read line by line."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    return connection.getresponse()


def next_event(response):
    line = response.readline()
    response.readline()
    return line.decode().removeprefix("data: ").strip()


def test_a_full_queue(serve):
    address, engine = serve()
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        tasks = [
            threads.submit(servers.post, address, text_request())
            for _ in range(3)
        ]
        waiting = "keras_stts_waiting"
        servers.until(lambda: servers.counted(address, waiting) == 2)
        status, found = servers.post(address, text_request())
        assert (status, found["error"]["code"]) == (429, "queue_full")
        assert found["error"]["type"] == "rate_limit_error"
        engine.may.release(99)
        assert [task.result()[0] for task in tasks] == [200] * 3
    assert servers.post(address, text_request())[0] == 200


def test_a_late_answer(serve):
    limits = Limits(max_batch=1, wait_seconds=0.0, request_seconds=0.2)
    address, engine = serve(limits)
    status, found = servers.post(address, text_request())
    assert status == 504
    assert "within 0.2 s" in found["error"]["message"]
    servers.until(lambda: engine.jobs[0].is_gone)


def test_a_late_body(serve):
    """A client that sends half of a request holds its place for a while."""
    limits = Limits(max_batch=1, max_queue=1, request_seconds=0.2)
    address, engine = serve(limits)
    slow = []
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\nhalf"
    )
    for _ in range(2):
        slow.append(servers.opened(address))
        slow[-1].sendall(head)
    engine.may.release(99)
    servers.until(lambda: servers.post(address, text_request())[0] == 200)
    for each in slow:
        assert b"504" in each.recv(99)
        each.close()


def test_pieces_of_a_stream_come_at_once(serve):
    address, engine = serve()
    engine.may.release()
    response = streamed(address, text_request(stream=True))
    assert response.status == 200
    letters = []
    next_event(response)
    for _ in range(3):
        choice = json.loads(next_event(response))["choices"][0]
        letters.append(choice["delta"]["content"])
        engine.may.release()
    assert letters == ["a", "b", "c"]
    last = json.loads(next_event(response))["choices"][0]
    assert last["finish_reason"] == "stop"
    assert next_event(response) == "[DONE]"
    assert servers.counted(address, 'keras_stts_requests_total{status="200"}')


def test_a_client_that_leaves_a_stream(serve):
    address, engine = serve()
    engine.may.release()
    response = streamed(address, text_request(stream=True))
    next_event(response)
    next_event(response)
    response.close()
    servers.until(lambda: engine.jobs[0].is_gone)
    engine.may.release(99)
    assert servers.post(address, text_request())[0] == 200
    gone = 'keras_stts_requests_total{status="499"}'
    servers.until(lambda: servers.counted(address, gone) == 1)


def test_a_model_that_fails(serve, caplog):
    address, engine = serve()
    engine.may.release(99)
    status, found = servers.post(address, text_request(stop="fail"))
    assert (status, found["error"]["type"]) == (500, "server_error")
    assert "ill" not in found["error"]["message"]
    assert "the model is ill" in caplog.text
    assert servers.post(address, text_request())[0] == 200


def test_a_model_that_fails_in_a_stream(serve):
    address, engine = serve()
    engine.may.release(99)
    body = text_request(stop="fail", stream=True)
    response = streamed(address, body)
    events = [next_event(response) for _ in range(3)]
    assert json.loads(events[-1])["error"]["type"] == "server_error"
    assert response.read() == b""
    assert servers.post(address, text_request())[0] == 200


def test_a_late_stream(serve):
    limits = Limits(max_batch=1, wait_seconds=0.0, request_seconds=2.0)
    address, engine = serve(limits)
    engine.may.release()
    response = streamed(address, text_request(stream=True))
    events = [next_event(response) for _ in range(3)]
    assert json.loads(events[-1])["error"]["type"] == "timeout_error"


def test_many_media(serve):
    address, _ = serve(Limits(max_media=1))
    url = "data:video/mp4;base64,AAAA"
    messages = servers.messages(url, "a") + servers.messages(url, "b")
    status, found = servers.post(address, text_request(messages=messages))
    assert status == 400
    assert "Received: 2" in found["error"]["message"]


@pytest.mark.parametrize(
    "name, value", [("max_batch", 0), ("wait_seconds", -1), ("max_tokens", 0)]
)
def test_limits_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        Limits(**{name: value})
