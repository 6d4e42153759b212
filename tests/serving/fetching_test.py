"""What is fetched, and from where: never from private addresses."""

import asyncio
import functools
import http.server
import socket
import threading
import urllib.parse

import pytest

from keras_stts.serving import hosts
from keras_stts.serving.fetching import Fetcher
from keras_stts.serving.refusals import Refused

pytestmark = pytest.mark.once

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255",
    "224.0.0.1", "198.18.0.1", "192.0.2.1", "240.0.0.1",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2001:db8::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


class Files(http.server.BaseHTTPRequestHandler):
    """Answers with what the path says."""

    def do_GET(self):
        kind, _, rest = self.path.strip("/").partition("/")
        getattr(self, f"send_{kind}")(rest)

    def log_message(self, *args):
        pass

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_bytes(self, number):
        self.head(200, content_length=number)
        self.wfile.write(b"a" * int(number))

    def send_endless(self, rest):
        self.head(200)
        try:
            while True:
                self.wfile.write(b"a" * 2**16)
        except OSError:
            pass

    def send_missing(self, rest):
        self.head(404)

    def send_packed(self, rest):
        self.head(200, content_encoding="gzip")

    def send_again(self, rest):
        self.head(302, location="/again/")

    def send_nowhere(self, rest):
        self.head(302)

    def send_to(self, address):
        self.head(302, location=urllib.parse.unquote(address))

    def send_short(self, rest):
        self.head(200, content_length=9)


@pytest.fixture(scope="module")
def port():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(url, max_bytes=1000, allowed=("localhost",)):
    async def run():
        fetcher = Fetcher(max_bytes, allowed)
        try:
            return await fetcher.fetch(url)
        finally:
            await fetcher.close()

    return asyncio.run(run())


def test_private_and_public():
    assert [a for a in PRIVATE if hosts.is_public(a)] == []
    assert [a for a in PUBLIC if not hosts.is_public(a)] == []


def test_a_file(port):
    assert fetch(f"http://localhost:{port}/bytes/1000") == b"a" * 1000
    again = f"http://localhost:{port}/to//bytes/5"
    assert fetch(again) == b"a" * 5


@pytest.mark.parametrize("path", ["bytes/1001", "endless"])
def test_a_file_too_large(port, path):
    with pytest.raises(Refused, match="may have 1000 bytes") as found:
        fetch(f"http://localhost:{port}/{path}")
    assert found.value.status == 413


@pytest.mark.parametrize(
    "path, reason",
    [
        ("missing", "answered 404"),
        ("packed", "is compressed"),
        ("again", "led on and on"),
        ("nowhere", "leads nowhere"),
        ("short", "failed"),
        ("to/file:///etc/passwd", "http"),
    ],
)
def test_an_answer_is_refused(port, path, reason):
    with pytest.raises(Refused, match=reason):
        fetch(f"http://localhost:{port}/{path}")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "0.0.0.0", "2130706433", "0x7f.1", "127.1",
        "[::ffff:127.0.0.1]", "localhost.", "user@127.0.0.1",
    ],
)  # fmt: skip
def test_a_private_host(port, host):
    address = f"http://{host}:{port}/bytes/5"
    with pytest.raises(Refused, match="public|be known"):
        fetch(address, allowed=())
    with pytest.raises(Refused, match="public|be known"):
        fetch(f"http://localhost:{port}/to/{address}")


def names(found, host, port, *args, **kwargs):
    """As `socket.getaddrinfo`: what a name stands for."""
    kind = socket.SOCK_STREAM
    return [
        (socket.AF_INET, kind, 6, "", (address, port))
        for address in found[host].pop(0)
    ]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"]], ids=str
)
def test_a_name_of_a_private_host(port, monkeypatch, addresses):
    found = functools.partial(names, {"evil.example": [addresses]})
    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(Refused, match="public"):
        fetch(f"http://evil.example:{port}/bytes/5", allowed=())


def test_a_name_is_looked_up_once(port, monkeypatch):
    """It could stand for a private host when it is looked up again."""
    answers = {"evil.example": [["127.0.0.1"]]}
    monkeypatch.setattr(hosts, "is_public", lambda address: True)
    monkeypatch.setattr(
        socket, "getaddrinfo", functools.partial(names, answers)
    )
    url = f"http://evil.example:{port}/bytes/5"
    assert fetch(url, allowed=()) == b"a" * 5
    assert answers == {"evil.example": []}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a",
        "gs://bucket/a",
        "//example.org/a",
        "a.mp4",
        "",
        "http://",
        "http://[::1",
        "http://a:b/",
        "http://" + "a" * 70 + ".org/",
    ],
)
def test_an_address_is_refused(url):
    with pytest.raises(Refused, match="Received: "):
        fetch(url)
