"""An answer while it grows: what of it can be sent, and where it ends."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Answer:
    """Attributes: text: Str; tokens: Int; reason: `"stop"` or `"length"`."""

    text: str
    tokens: int
    reason: str


class Speaker:
    """The answer to one request.

    Args:
        length: Int. Most tokens.
        stops: Strs, before the first of which the answer ends.
        send: Function of a piece of text.
    """

    def __init__(self, length, stops, send):
        self._length = length
        self._stops = stops
        self._send = send
        self._sent = 0
        self._answer = None

    @property
    def answer(self):
        """The `Answer`, once it has ended, else `None`."""
        return self._answer

    def hear(self, text, tokens, *, has_ended):
        """Take the answer as it is by now.

        Args:
            text: Str, from its beginning.
            tokens: Int. Its tokens, without the end token.
            has_ended: Bool. Whether the model said its end token.
        """
        if self._answer is not None:
            return
        places = [p for p in map(text.find, self._stops) if p >= 0]
        if places:
            self._end(text[: min(places)], tokens, "stop")
        elif has_ended:
            self._end(text, tokens, "stop")
        elif tokens >= self._length:
            self._end(text, tokens, "length")
        else:
            self._send_until(text, self._certain(text))

    def end(self, text, tokens):
        """The sequence has no more room."""
        if self._answer is None:
            self._end(text, tokens, "length")

    def _end(self, text, tokens, reason):
        self._send_until(text, len(text))
        self._answer = Answer(text, tokens, reason)

    def _send_until(self, text, place):
        if place > self._sent:
            self._send(text[self._sent : place])
            self._sent = place

    def _certain(self, text):
        """Letters that stay, whatever follows.

        The bytes of an unfinished letter wait for the others, and what may be
        the beginning of a stop waits, too.
        """
        text = text.rstrip("\ufffd")
        starts = [
            len(text) - size
            for stop in self._stops
            for size in range(1, min(len(stop), len(text) + 1))
            if text.endswith(stop[:size])
        ]
        return min(starts, default=len(text))
