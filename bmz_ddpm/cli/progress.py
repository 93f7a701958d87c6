"""A progress line on stderr."""

from __future__ import annotations

import sys
import time


class ProgressLine:
    """One line that is rewritten on a terminal, and printed now and then into a log file.

    Parameters
    ----------
    what : str
        First word of the line.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.start = time.monotonic()
        self.first: int | None = None
        self.last = 0.0

    def show(self, done: int, total: int, extra: str = "") -> None:
        """Show that `done` of `total` are done."""
        now = time.monotonic()
        if self.first is None:
            self.first = done - 1
        terminal = sys.stderr.isatty()
        if done < total and now - self.last < (0.2 if terminal else 30):
            return
        self.last = now
        left = (now - self.start) / max(done - self.first, 1) * (total - done)
        line = f"{self.what} {done}/{total} {extra}, {_duration(left)} left"
        sys.stderr.write(f"\r\033[K{line}" if terminal else line + "\n")
        if terminal and done >= total:
            sys.stderr.write("\n")
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
