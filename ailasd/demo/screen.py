"""What the demo shows: lines, and on a terminal below them one line that changes; elsewhere that line now and then."""

from __future__ import annotations

import io
import shutil
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

BAR: Final = 24
"""Characters of a progress bar: leaves room for the words on a terminal of 80."""
PLAIN_EVERY_S: Final = 5.0
"""In a pipe or a file nobody watches: one line in this time is enough."""
CLEAR: Final = "\r\x1b[K"


class Screen(io.TextIOBase):
    """A stream that the log may write whole lines to, from any thread."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._lock = threading.Lock()
        self._live = ""
        self._last_plain = time.monotonic()

    def write(self, text: str) -> int:
        """Lines of the log, above the live line."""
        with self._lock:
            self._out.write((CLEAR + text + self._live) if self._live else text)
            self._out.flush()
        return len(text)

    def say(self, text: str = "") -> None:
        """A line of the demo itself."""
        self.write(text + "\n")

    def live(self, text: str) -> None:
        """What is going on now; "" for nothing."""
        with self._lock:
            if not self._terminal:
                self._plain(text)
                return
            shown = text[: shutil.get_terminal_size().columns - 1]  # a wrapped line could not be taken back
            if shown != self._live:
                self._out.write(CLEAR + shown)
                self._out.flush()
                self._live = shown

    def _plain(self, text: str) -> None:
        now = time.monotonic()
        if text and text != self._live and now - self._last_plain >= PLAIN_EVERY_S:
            self._out.write(text + "\n")
            self._out.flush()
            self._last_plain = now
            self._live = ""


class Progress:
    """How far something is, in words: a bar, the rate, the time left."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began: tuple[float, int] | None = None

    def line(self, done: int, of: int) -> str:
        """The line for ``done`` pictures out of ``of``."""
        now = time.monotonic()
        began_at, began_with = self._began = self._began or (now, done)
        filled = BAR * done // of if of else BAR
        text = f"[{'#' * filled}{'.' * (BAR - filled)}] {done} of {of} {self._what}"
        if done > began_with and now - began_at > 1:  # before a second has passed a rate is a guess
            rate = (done - began_with) / (now - began_at)
            text += f", {rate:.0f}/s, {(of - done) / rate:.0f} s left"
        return text
