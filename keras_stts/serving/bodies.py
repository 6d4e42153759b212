"""Bodies of requests, up to a size."""

import json

from starlette.requests import ClientDisconnect

from keras_stts.serving.refusals import Refused

# A client hears why its body is refused only once it has sent it, so so many
# times the limit are read, and thrown away.
THROWN_AWAY = 4


async def read_json(request, max_bytes):
    """What the body of a request holds.

    Args:
        request: Starlette's.
        max_bytes: Int.

    Raises:
        Refused: If it is too large, or no JSON.
        ClientDisconnect: If the client is gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind.lower() != "application/json":
        # Web pages of others can send all else without asking first.
        raise Refused(
            "A request must have the header Content-Type: application/json. "
            f"Received: {kind!r:.100}.",
            415,
        )
    body, size = bytearray(), 0
    async for piece in request.stream():
        size += len(piece)
        if size <= max_bytes:
            body += piece
        elif size > THROWN_AWAY * max_bytes:
            break
    if size > max_bytes:
        raise Refused(
            f"A request may have {max_bytes} bytes. Received: more. Pass the "
            "address of a video or image instead of its content, or scale it "
            "down.",
            413,
        )
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise Refused(
            f"A request must be JSON. Received: {size} bytes that are not "
            f"({str(error)[:100]})."
        ) from error


async def until_gone(request):
    """Return once the client of a request, whose body was read, is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


__all__ = ["ClientDisconnect", "read_json", "until_gone"]
