"""What is said of videos that are damaged or promise what is not there."""

import warnings

POLICIES = ("raise", "warn")
# Seconds that a header may be wrong by, and the share of what it says.
MOST_WRONG_SECONDS = 0.5
MOST_WRONG_SHARE = 0.02


class DamageError(ValueError):
    """A file that is no video, damaged, or cut short."""


class Damage:
    """Raises or warns about one file.

    Args:
        name: Str. What to call it.
        on_error: `"raise"`, or `"warn"` where frames can be read all the same.
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
        """Say what is damaged; go on if asked to."""
        if not self.is_tolerated:
            self.fail(
                f"{what} Copy or download it again, or read what is left with "
                'on_error="warn".'
            )
        self.warn(what)

    def fail(self, what, cause=None):
        """Raise: there is nothing to be read, or nothing to be trusted."""
        raise DamageError(
            f"`source` must be a video. Received: {self.name!r}, which {what}"
        ) from cause

    def warn(self, what):
        """Say what is strange, once, and go on."""
        if what in self._said:
            return
        self._said.add(what)
        warnings.warn(
            f"The video {self.name!r} {what}", UserWarning, stacklevel=2
        )

    def compare_seconds(self, promised, found):
        """Warn if there is much less, or more, than a header says."""
        if promised is None:
            return
        most = max(MOST_WRONG_SECONDS, MOST_WRONG_SHARE * promised)
        if abs(promised - found) > most:
            cut = "; it may be cut short" if promised > found else ""
            self.warn(
                f"has {found:.1f} s of pictures where its header says "
                f"{promised:.1f} s{cut}."
            )
