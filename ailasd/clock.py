"""Time as an argument (law 8): a clock says what time it is, and whether it may be believed."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

NEVER_EARLIER_THAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""ailasd did not exist before: a Pi without a battery clock starts at the date of its last shutdown, or in 1970."""

_STA_UNSYNC: Final = 0x0040  # adjtimex(2): nobody has disciplined this clock since boot
_TIMEX_SIZE: Final = 208  # sizeof(struct timex) on 64-bit Linux; modes (first int) = 0 only reads
_STATUS_OFFSET: Final = 40


class Clock(Protocol):
    """Where steps get the time from."""

    def now(self) -> datetime:
        """The wall clock, aware UTC."""

    def trusted(self) -> bool:
        """Whether somebody (NTP, GPS, a battery) vouches for ``now``."""

    def monotonic(self) -> float:
        """Seconds that never jump, for durations."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The kernel's clocks."""

    def now(self) -> datetime:
        """See ``Clock``."""
        return datetime.now(UTC)

    def trusted(self) -> bool:
        """Whether the kernel says that its clock is synchronised, and it is not earlier than ailasd itself."""
        return self.now() >= NEVER_EARLIER_THAN and not _kernel_says_unsynchronised()

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()


def _kernel_says_unsynchronised() -> bool:
    timex = ctypes.create_string_buffer(_TIMEX_SIZE)
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
            return True
    except (AttributeError, OSError):
        return True
    return bool(int.from_bytes(timex.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little") & _STA_UNSYNC)


def boot_id() -> str:
    """Which boot of this machine it is: within one the monotonic clock of all processes is the same. "": unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def iso(moment: datetime) -> str:
    """``moment`` (aware) as the catalogue writes it: UTC with milliseconds and Z, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
