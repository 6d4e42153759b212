"""What a server takes at most."""

import dataclasses

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes at most; see docs/serving.md.

    Args:
        max_batch: Int. Requests that are answered together.
        wait_seconds: Number. How long the first of them waits for others.
        max_queue: Int. Requests that may be in the server beside a batch.
        max_body: Int. Bytes of a request.
        max_download: Int. Bytes of a video or image at an address.
        max_media: Int. Videos and images of a request, together.
        max_tokens: Optional int. Tokens of an answer. Defaults to what the
            sequence leaves room for.
        request_seconds: Number. Seconds from a request to its answer.
        decode_seconds: Number. Seconds that reading a video may take.
        decode_workers: Int. Processes that read videos.

    Raises:
        ValueError: If a number is not positive (`wait_seconds` may be 0).
    """

    max_batch: int = 4
    wait_seconds: float = 0.02
    max_queue: int = 32
    max_body: int = 32 * MIB
    max_download: int = 64 * MIB
    max_media: int = 8
    max_tokens: int | None = None
    request_seconds: float = 120.0
    decode_seconds: float = 30.0
    decode_workers: int = 2

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            least = "at least 0" if field.name == "wait_seconds" else "positive"
            good = value >= 0 if least == "at least 0" else value > 0
            if not good:
                raise ValueError(
                    f"`{field.name}` must be {least}. Received: "
                    f"{field.name}={value}."
                )
