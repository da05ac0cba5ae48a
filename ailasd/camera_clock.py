"""How well a camera's clock went during a drive, from the times that its pictures were given. Pure.

One verdict for the report, the page and whoever else tells it; ``report_wording`` says it. When each picture was taken
was judged before, by ``capture``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ailasd.capture import MICROSECOND, STALEST_US, median_offsets, microseconds
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo
    from typing import Any

RIGHT: Final = timedelta(seconds=3)
"""Satellite time has whole seconds; see ``triage.Rules.clock_tolerance``."""


@dataclass(frozen=True, slots=True)
class CameraClock:
    """The verdict.

    Attributes:
        offsets_s: camera - true time, positive: fast; another one after each time that somebody set the clock. Empty:
            nobody knows.
        right_s: up to this it counts as right: more where the receiver's time itself jumps about.
        corrected: pictures that are sent with another time than their own.
    """

    offsets_s: tuple[float, ...] = ()
    right_s: float = RIGHT.total_seconds()
    corrected: int = 0

    @property
    def wrong_s(self) -> tuple[float, ...]:
        """Those of ``offsets_s`` that are not right."""
        return tuple(offset for offset in self.offsets_s if abs(offset) > self.right_s)

    @property
    def off_s(self) -> float | None:
        """How far off it was when it was furthest off; 0: right. None: nobody knows."""
        return max(self.wrong_s, key=abs, default=0.0) if self.offsets_s else None

    @property
    def set_right(self) -> bool:
        """Whether it was wrong at first, and right at the end."""
        return bool(self.wrong_s) and self.offsets_s[-1] not in self.wrong_s


_NOT_SENT: Final = (State.HELD, State.REFUSED)


def camera_clock(rows: Iterable[Mapping[str, Any]], zone: tzinfo) -> CameraClock:
    """The verdict on one drive.

    Args:
        rows: its pictures in any order, with ``state``, ``captured``, ``camera_time``, ``gps_time`` and
            ``capture_override`` as the catalogue has them.
        zone: in which a camera time without offset is read.
    """
    rows = list(rows)
    compared = sorted(filter(None, (_compared(row, zone) for row in rows)))
    medians, right = median_offsets([offset for _, offset in compared], RIGHT)
    return CameraClock(
        tuple((offset * MICROSECOND).total_seconds() for offset in medians),
        (right * MICROSECOND).total_seconds(),
        corrected=sum(row["capture_override"] is not None and row["state"] not in _NOT_SENT for row in rows),
    )


def _compared(row: Mapping[str, Any], zone: tzinfo) -> tuple[int, int] | None:
    """(true time, camera - true time) in microseconds, if anything but the camera's clock had a say in the true one."""
    if not row["captured"] or not row["camera_time"]:
        return None
    true = microseconds(datetime.fromisoformat(row["captured"]), UTC)
    if not row["capture_override"]:
        gps = datetime.fromisoformat(row["gps_time"]) if row["gps_time"] else None
        if gps is None or abs(microseconds(gps, UTC) - true) > STALEST_US:  # of a receiver without a fix, or an old one
            return None
    return true, microseconds(datetime.fromisoformat(row["camera_time"]), zone) - true
