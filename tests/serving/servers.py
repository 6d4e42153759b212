"""Servers in threads of the test's process, and what clients send them."""

import base64
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request

import uvicorn

NAME = "shapes_tiny"


@contextlib.contextmanager
def running(app):
    """Gives the address of an application that is served on a free port."""
    config = uvicorn.Config(app, port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def data_url(path):
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:video/mp4;base64,{content}"


def messages(url, question):
    parts = [
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return [{"role": "user", "content": parts}]


def request_of(url, question="what shape is it?", **fields):
    body = {"model": NAME, "messages": messages(url, question), **fields}
    return json.dumps(body).encode()


def post(address, body, kind="application/json"):
    """Tuple of the status and what the JSON of the response holds."""
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        body,
        {"Content-Type": kind},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def opened(address):
    """A socket that is connected to a server."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def sent(address, body):
    """A socket over which a request was sent, whose answer is not read."""
    found = opened(address)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    found.sendall(head.encode() + body)
    return found


def get(address, path):
    with urllib.request.urlopen(f"{address}{path}", timeout=60) as response:
        return response.read().decode()


def counted(address, name):
    """The value of a metric."""
    for line in get(address, "/metrics").splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    return 0.0


def is_healthy(address):
    try:
        return json.loads(get(address, "/health")) == {"status": "ok"}
    except OSError:
        return False


def until(condition, seconds=60):
    """Wait until something holds."""
    for _ in range(100 * seconds):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come true.")
