"""Which picture is sent before which: the rule behind ``picture.rank``. Pure.

The link is the scarce thing: 50 GB a day meet 1 Mbit/s. So that people see the whole road the same night, pictures go

1. by what a person said of their drive: first, normal, last;
2. by day, the newest day first (or the oldest): last night's road is worth more than last month's;
3. of a day first a **thin** pass over all its drives (every n-th picture), then the **fill**. The day, not the drive,
   is what is gone over twice: a drive ends at each halt of two minutes, and a road is the ten or twenty of a day;
4. in each pass the newest drive first (or the oldest), and each drive in the order in which it was taken.

The thin pass takes the first picture of each upload set: a server that publishes the set early keeps the sequence's
address when the rest is filled in only if its first picture was there before (seen on a real one). A set of no more
than n pictures is sent in one go: one picture is no road.

That alone would let an old drive starve under a link that never catches up; see ``OLDEST_EVERY``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from datetime import datetime, tzinfo

OLDEST_EVERY: Final = 10
"""Each so-many-th picture is one of the drive that has waited longest, whatever the order and what was said of it. Each
drive is that one in the end, so none starves; and the newest still gets nine tenths of the link."""

_SECONDS: Final = 86_400
_MOST_PICTURES: Final = 1_000_000
"""Of one drive that get a place of their own: a camera taking two a second for six days."""
_LAST_DAY: Final = 3_652_059
"""9999-12-31, the last day that Python knows."""


class Preference(IntEnum):
    """What a person said of a drive."""

    FIRST = 0
    NORMAL = 1
    LAST = 2


@dataclass(frozen=True, slots=True)
class Order:
    """How the queue is ordered.

    Attributes:
        thin: every so-many-th picture of a set goes in the first pass; 1: there is one pass.
        newest_first: else the oldest.
        zone: what a day is.
    """

    thin: int
    newest_first: bool
    zone: tzinfo

    def __str__(self) -> str:
        """Two orders that rank alike have the same text."""
        return f"{'newest' if self.newest_first else 'oldest'} thin {self.thin} {self.zone}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture stands in the queue: ``fill``: not of the thin pass; lowest ``rank`` is sent first."""

    fill: bool
    rank: int


def line_up(
    pictures: Iterable[tuple[int, Hashable]], began: datetime | None, preference: Preference, order: Order
) -> dict[int, Place]:
    """The places of one drive's pictures.

    Args:
        pictures: (id, its upload set), in the order of capture.
        began: when the drive began, aware; None counts as the oldest of all.
        preference: what a person said of the drive.
        order: how the queue is ordered.
    """
    in_line = list(pictures)
    day, second = _when(began, order)
    whole = Counter(upload_set for _, upload_set in in_line)
    taken: Counter[Hashable] = Counter()
    places = {}
    for index, (picture, upload_set) in enumerate(in_line):
        fill = taken[upload_set] % order.thin != 0 and whole[upload_set] > order.thin
        taken[upload_set] += 1
        places[picture] = Place(fill, _rank(preference, day, fill, second, index))
    return places


def _when(began: datetime | None, order: Order) -> tuple[int, int]:
    """The day, and the second in it, counted so that what is to be sent first has the lowest."""
    day = second = 0
    if began is not None:
        local = began.astimezone(order.zone)
        day, second = local.toordinal(), (local.hour * 60 + local.minute) * 60 + local.second
    return (_LAST_DAY - day, _SECONDS - 1 - second) if order.newest_first else (day, second)


def _rank(preference: int, day: int, fill: int, second: int, index: int) -> int:
    """The rule as one number (< 2**61, so that SQLite holds it): each part counts only where those before are equal."""
    in_pass = ((preference * (_LAST_DAY + 1) + day) * 2 + fill) * _SECONDS + second
    return in_pass * _MOST_PICTURES + min(index, _MOST_PICTURES - 1)
