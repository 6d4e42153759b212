"""Files at addresses: http(s), from public hosts, limited in size."""

import urllib.parse

import httpcore2

from keras_stts.serving.hosts import PublicBackend
from keras_stts.serving.refusals import Refused

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
SECONDS = 10.0  # To connect, and between two pieces of a file.
HEADERS = {"User-Agent": "keras-stts", "Accept-Encoding": "identity"}


class Fetcher:
    """Downloads files.

    Args:
        max_bytes: Int. Largest file.
        allowed: Str, hosts that need not be public.
    """

    def __init__(self, max_bytes, allowed=()):
        self.max_bytes = max_bytes
        self._pool = httpcore2.AsyncConnectionPool(
            network_backend=PublicBackend(allowed), max_connections=16
        )

    async def fetch(self, url):
        """Bytes of the file at an address.

        Raises:
            Refused: If there is none, it is too large, or its host is not
                public, also after a redirect.
        """
        seen = url
        for _ in range(MOST_REDIRECTS + 1):
            try:
                async with self._pool.stream(
                    "GET",
                    _checked(url),
                    headers=HEADERS,
                    extensions=_timeouts(),
                ) as response:
                    if response.status not in REDIRECTS:
                        return await self._content(response, seen)
                    url = _next(url, response)
            except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
                raise _unreadable(seen, f"failed ({error!s:.100})") from error
            except httpcore2.TimeoutException as error:
                raise _unreadable(seen, "was too slow") from error
        raise _unreadable(seen, "led on and on")

    async def _content(self, response, url):
        if response.status != 200:
            raise _unreadable(url, f"answered {response.status}")
        if _header(response, "content-encoding") not in ("", "identity"):
            raise _unreadable(url, "is compressed")
        length = _header(response, "content-length")
        if length.isdecimal() and int(length) > self.max_bytes:
            raise self._too_large(url)
        content = bytearray()
        async for piece in response.aiter_stream():
            content += piece
            if len(content) > self.max_bytes:
                raise self._too_large(url)
        return bytes(content)

    def _too_large(self, url):
        return Refused(
            f"A video or image may have {self.max_bytes} bytes. Received: "
            f"{url!r:.200} with more. Scale it down, or cut it.",
            413,
            param="messages",
        )

    async def close(self):
        await self._pool.aclose()


def _checked(url):
    """An address for httpcore2, in ASCII and without user and fragment."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port else ""
    except (ValueError, UnicodeError) as error:
        raise Refused(
            f"An address must be valid. Received: {url!r:.200} ({error})."
        ) from error
    if parts.scheme not in ("http", "https") or not host:
        raise Refused(
            "A video or image must be at an http(s) address, in a data URL, "
            f"or in a folder that is served. Received: {url!r:.200}."
        )
    host = f"[{host}]" if ":" in host else host
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    query = f"?{query}" if query else ""
    return f"{parts.scheme}://{host}{port}{path}{query}"


def _next(url, response):
    place = _header(response, "location")
    if not place:
        raise _unreadable(url, "leads nowhere")
    return urllib.parse.urljoin(url, place)


def _header(response, name):
    found = {k.lower(): v for k, v in response.headers}
    return found.get(name.encode(), b"").decode("latin-1")


def _timeouts():
    names = ("connect", "read", "write", "pool")
    return {"timeout": dict.fromkeys(names, SECONDS)}


def _unreadable(url, what):
    return Refused(
        "A video or image must be where its address says. Received: "
        f"{url!r:.200}, which {what}.",
        param="messages",
    )
