"""Errors and warnings about videos that are damaged or have wrong headers."""

import warnings

POLICIES = ("raise", "warn")
# Tolerated error of a header, in seconds and as a share of its value.
MOST_WRONG_SECONDS = 0.5
MOST_WRONG_SHARE = 0.02


class DamageError(ValueError):
    """A file is not a video, or is damaged or truncated."""


class Damage:
    """Raises or warns about one file.

    Args:
        name: Str. Name of the file for messages.
        on_error: `"raise"`, or `"warn"` where frames can still be read.
    """

    Error = DamageError

    def __init__(self, name, on_error="raise"):
        if on_error not in POLICIES:
            raise ValueError(
                f"`on_error` must be one of {', '.join(POLICIES)}. Received: "
                f"on_error={on_error!r}."
            )
        self.name, self.on_error = name, on_error
        self._said = set()

    @property
    def is_tolerated(self):
        return self.on_error == "warn"

    def found(self, what):
        """Report damage: an error, or a warning with `on_error="warn"`."""
        if not self.is_tolerated:
            self.fail(
                f"{what} Copy or download it again, or read what is left with "
                'on_error="warn".'
            )
        self.warn(what)

    def fail(self, what, cause=None):
        """Raise an error: nothing of the file can be used."""
        raise DamageError(
            f"`source` must be a video. Received: {self.name!r}, which {what}"
        ) from cause

    def warn(self, what):
        """Warn about the file."""
        if what in self._said:
            return
        self._said.add(what)
        warnings.warn(
            f"The video {self.name!r} {what}", UserWarning, stacklevel=2
        )

    def compare_seconds(self, promised, found):
        """Warn if the duration differs much from that of a header."""
        if promised is None:
            return
        most = max(MOST_WRONG_SECONDS, MOST_WRONG_SHARE * promised)
        if abs(promised - found) > most:
            cut = "; it may be cut short" if promised > found else ""
            self.warn(
                f"has {found:.1f} s of pictures where its header says "
                f"{promised:.1f} s{cut}."
            )
