"""Reading any bytes of a file."""

import os


class View:
    """Reads a binary file object at any place.

    Attributes:
        size: Int. Bytes of the file.
    """

    def __init__(self, file):
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        if self.size is None:  # Some file objects do not say.
            self.size = file.tell()

    def read(self, at, count):
        """Up to `count` bytes; fewer at the end of the file."""
        self._file.seek(at)
        return self._file.read(count)

    def beyond(self, what, at, length):
        """Str, the message for a part that ends after the end of the file."""
        missing = at + length - self.size
        return (
            f"is truncated: {what} at byte {at} goes on for {missing} bytes "
            "after the end of the file."
        )


def damaged(at, what):
    """Str, the message for a place where something is wrong."""
    return f"is damaged: at byte {at} {what}."
