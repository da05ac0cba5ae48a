"""A token bucket that all connections share: not more bytes a second than this, smoothly; and not one more when told.

Tokens are seconds: they fall at the rate at which time goes by, and a piece costs what it takes at the rate that holds
now, so that a debt does not grow when the rate falls. The bucket may be overdrawn by one piece, and it never holds more
than a quarter of a second: what was not used is not made up for later.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from ailasd.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPTH_S: Final = 0.25
"""Seconds that the bucket holds: as late as a busy Pi may wake a thread without losing rate."""
GRAIN_S: Final = 0.1
"""Seconds' worth of bytes in a piece: ten steps a second look smooth to every other user of the link."""
SMALLEST: Final = 1024
"""Bytes in a piece at least: each is a TLS record, with 29 bytes around it (2.8 %)."""


def _wait(changed: threading.Condition, seconds: float) -> None:
    changed.wait(seconds)


class Throttle:
    """One for all connections. Open and unlimited at first; used by several threads.

    Args:
        monotonic: seconds (law 8).
        wait: waits so many of these seconds for a condition that we hold, or less.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float], None] = _wait,
    ) -> None:
        self._monotonic = monotonic
        self._wait = wait
        self._changed = threading.Condition()
        self._rate: float | None = None
        self._saved_s = 0.0
        self._filled = monotonic()
        self._closed: str | None = None
        self.passed = 0
        """Bytes that went through so far: while it grows, sending gets on."""

    @property
    def rate(self) -> float | None:
        """Bytes a second; None: no limit."""
        return self._rate

    def open(self, rate: float | None) -> None:
        """Let bytes through, so many a second (> 0; None: no limit). Holds for those that wait already, too."""
        with self._changed:
            self._rate = rate
            self._closed = None
            self._changed.notify_all()

    def close(self, why: str) -> None:
        """Let nothing through: whoever waits, or comes, gets ``NotNow`` with these words."""
        with self._changed:
            self._closed = why
            self._changed.notify_all()

    def pieces(self, block: bytes) -> Iterator[bytes]:
        """The same bytes, each piece as soon as it may go.

        Raises:
            NotNow: it was closed; the rest of the block must not go.
        """
        begin = 0
        while begin < len(block):
            end = begin + self._grain(len(block) - begin)
            self._take(end - begin)
            yield block[begin:end]
            begin = end

    def _grain(self, most: int) -> int:
        rate = self._rate
        return most if rate is None else min(most, max(SMALLEST, round(rate * GRAIN_S)))

    def _take(self, count: int) -> None:
        with self._changed:
            while True:
                if self._closed is not None:
                    raise NotNow(self._closed)
                if self._rate is None:
                    break
                self._fill()
                if self._saved_s * self._rate > -1:  # less than a byte is rounding
                    self._saved_s -= count / self._rate
                    break
                self._wait(self._changed, -self._saved_s)
            self.passed += count

    def _fill(self) -> None:
        now = self._monotonic()
        self._saved_s = min(self._saved_s + now - self._filled, DEPTH_S)
        self._filled = now
