"""When may we send, and how fast? Hours, budgets, metered networks, and the person who says "now". Pure.

While nobody vouches for the clock (a Pi without a battery) nobody knows which hour or day it is. Then the slowest rate
of all hours holds; hours in which nothing is sent, and budgets, are taken by the clock as it is. So nothing is ever
stuck, since any clock goes on, and nothing goes faster than somebody allowed.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import tzinfo

DAY_MIN: Final = 24 * 60
HORIZON: Final = timedelta(days=92)
"""Further than that no estimate looks: nobody plans by it, and the network will not be the same."""

AROUND: Final = 1500
"""Bytes of a request beside the picture in it, about: head, fields, TLS records, its share of a handshake."""

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)|([01]\d|2[0-3]):([0-5]\d)-24:00")


class Why(StrEnum):
    """Why nothing may be sent now."""

    METERED = "metered"
    MONTH = "month"
    DAY = "day"
    HOURS = "hours"


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of each day: minutes after local midnight, ``end`` not in it; ``start`` > ``end`` goes over midnight.

    Attributes:
        rate: bytes a second; None: nothing is sent.
    """

    start: int
    end: int
    rate: int | None

    @classmethod
    def of(cls, hours: str, rate: int | None) -> Self:
        """``"07:00-19:00"``; raises ValueError, a sentence, for what is no such text."""
        found = _HOURS.fullmatch(hours)
        if not found:
            raise ValueError('must be hours such as "07:00-19:00" or "22:00-06:00"')
        numbers = [int(one) for one in found.groups() if one is not None]
        start, end = 60 * numbers[0] + numbers[1], 60 * numbers[2] + numbers[3] if len(numbers) == 4 else DAY_MIN
        if start == end:
            raise ValueError('must begin and end at different times; the whole day is "00:00-24:00"')
        return cls(start, end, rate)

    def covers(self, minute: int) -> bool:
        """Whether that minute of the day lies in it."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def overlaps(self, other: Window) -> bool:
        """Whether they have a minute in common."""
        return self.covers(other.start) or other.covers(self.start)

    def __str__(self) -> str:
        return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))


def windows(rates: Mapping[str, int | None]) -> tuple[Window, ...]:
    """Hours -> bytes a second (None: nothing is sent), as windows.

    Raises:
        ValueError: a sentence: one of them is no hours, or two overlap.
    """
    made: list[Window] = []
    for hours, rate in rates.items():
        window = Window.of(hours, rate)
        if twice := next((one for one in made if one.overlaps(window)), None):
            raise ValueError(f'"{window}" overlaps "{twice}": which of them would hold?')
        made.append(window)
    return tuple(made)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration allows.

    Attributes:
        zone: in which ``windows`` and days are meant.
        windows: never overlap; outside of them there is no limit.
        per_day, per_month: bytes that may be sent; None: no limit.
        metered: whether a metered network may be used.
    """

    zone: tzinfo
    windows: tuple[Window, ...] = ()
    per_day: int | None = None
    per_month: int | None = None
    metered: bool = False

    def window(self, now: datetime) -> Window | None:
        """The one that holds at that moment, by what a clock on the wall shows."""
        local = now.astimezone(self.zone)
        minute = 60 * local.hour + local.minute
        return next((window for window in self.windows if window.covers(minute)), None)

    def next_change(self, now: datetime) -> datetime | None:
        """When another window holds, or none any more (UTC); None: never."""
        holds = self.window(now)
        return next((moment for moment in self._edges(now) if self.window(moment) != holds), None)

    def next_day(self, now: datetime) -> datetime:
        """The next local midnight (UTC)."""
        return _at(now.astimezone(self.zone).date() + timedelta(days=1), 0, self.zone)

    def next_month(self, now: datetime) -> datetime:
        """The next local midnight at which a month begins (UTC)."""
        first = now.astimezone(self.zone).date().replace(day=1)
        return _at((first + timedelta(days=31)).replace(day=1), 0, self.zone)

    def too_large(self, size: int) -> str | None:
        """The budget that a picture of so many bytes can never fit into, by the name of its key."""
        budgets = {"upload.per_day": self.per_day, "upload.per_month": self.per_month}
        return next((name for name, budget in budgets.items() if budget is not None and size > budget), None)

    def _edges(self, now: datetime) -> list[datetime]:
        """The moments of two days, in order, at which another window may begin: edges, and clocks set by an hour."""
        today = now.astimezone(self.zone).date()
        minutes = {minute % DAY_MIN for window in self.windows for minute in (window.start, window.end)}
        found = {
            _at(today + timedelta(days=day), minute, self.zone, fold=fold)
            for day in (0, 1, 2)
            for minute in minutes
            for fold in (0, 1)  # an hour that the clocks repeat has each of its edges twice
        }
        if minutes:
            found.update(_transitions(now, now + timedelta(days=2), self.zone))
        return sorted(moment for moment in found if moment > now)


def _at(day: object, minute: int, zone: tzinfo, *, fold: int = 0) -> datetime:
    clock = time(minute // 60, minute % 60, tzinfo=zone, fold=fold)
    return datetime.combine(day, clock).astimezone(UTC)  # type: ignore[arg-type]  # a date


def _transitions(first: datetime, last: datetime, zone: tzinfo) -> Iterator[datetime]:
    """The moment between the two at which the zone's clocks are set, to the second, if there is one."""
    low, high = (moment.astimezone(UTC).replace(microsecond=0) for moment in (first, last))
    before = low.astimezone(zone).utcoffset()
    if high.astimezone(zone).utcoffset() == before:
        return
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=1) // 2)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    yield high


# -- a person says "now" ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Override:
    """Somebody said: send now, whatever hours, budgets and bills say, until then.

    Within the boot in which it was said the monotonic clock counts, for the other may jump by years; after another boot
    only a wall clock that somebody vouched for, then and now. In doubt it is over: the bill is the worse mistake.

    Attributes:
        given, until: wall time.
        trusted: whether that could be believed when it was said.
        boot: which boot of this machine that was, and when on its monotonic clock it ends.
    """

    given: datetime
    until: datetime
    trusted: bool
    boot: str
    ends: float

    def left_s(self, *, now: datetime, trusted: bool, boot: str, monotonic: float) -> float:
        """Seconds for which it still holds; 0: it is over."""
        by_wall = (self.until - now).total_seconds() if self.given <= now else 0.0
        both_trusted = trusted and self.trusted
        if boot == self.boot:
            left = self.ends - monotonic
            return max(0.0, min(left, by_wall) if both_trusted else left)  # while a laptop sleeps, only one goes on
        return max(0.0, by_wall) if both_trusted else 0.0

    def as_text(self) -> str:
        """For the catalogue."""
        return json.dumps(asdict(self) | {"given": self.given.isoformat(), "until": self.until.isoformat()})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What ``as_text`` made."""
        fields = json.loads(text)
        return cls(**fields | {name: datetime.fromisoformat(fields[name]) for name in ("given", "until")})


# -- may we? ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Situation:
    """How it stands.

    Attributes:
        now, trusted: the wall clock, and whether it can be believed.
        sent_today, sent_this_month: bytes, of the local day and month that the clock shows.
        metered: the interface that is, or None.
        by_hand_s: seconds for which a person still lifted every limit.
    """

    now: datetime
    trusted: bool = True
    sent_today: int = 0
    sent_this_month: int = 0
    metered: str | None = None
    by_hand_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Leave:
    """Whether something may be sent.

    Attributes:
        why: why not; None: it may be.
        text: the same in plain words, to stand after "because"; "" if it may.
        rate: bytes a second at most; None: as fast as the link takes them.
        lasts_s: seconds until this may be otherwise by itself; None: nobody knows.
    """

    why: Why | None = None
    text: str = ""
    rate: int | None = None
    lasts_s: float | None = None


def leave(rules: Rules, how: Situation, *, need: int = 0) -> Leave:
    """May we send, and how fast? The reason that takes longest to pass is the one that is told.

    Args:
        rules: what the configuration allows.
        how: how it stands.
        need: bytes that must still fit into the budgets.
    """
    if how.by_hand_s > 0:
        return Leave(lasts_s=how.by_hand_s)
    if how.metered is not None and not rules.metered:
        return Leave(Why.METERED, f"the network at {how.metered} is metered, and upload.metered is false")
    for why, name, budget, sent, begins in (
        (Why.MONTH, "this month's budget (upload.per_month)", rules.per_month, how.sent_this_month, rules.next_month),
        (Why.DAY, "today's budget (upload.per_day)", rules.per_day, how.sent_today, rules.next_day),
    ):
        if budget is not None and sent + need > budget:
            until = begins(how.now)
            text = f"{name} is spent until {_shown(until, how.now, rules.zone)}{_doubt(how)}"
            return Leave(why, text, lasts_s=(until - how.now).total_seconds())
    window, change = rules.window(how.now), rules.next_change(how.now)
    lasts_s = None if change is None else (change - how.now).total_seconds()
    if window is not None and window.rate is None:
        until_when = "" if change is None else f" until {_shown(change, how.now, rules.zone)}"
        return Leave(Why.HOURS, f"nothing is sent now{until_when} (upload.rates){_doubt(how)}", lasts_s=lasts_s)
    if not how.trusted:
        return Leave(rate=_slowest(rules.windows), lasts_s=lasts_s)
    return Leave(rate=window.rate if window else None, lasts_s=lasts_s)


def _slowest(among: Iterable[Window]) -> int | None:
    return min((window.rate for window in among if window.rate is not None), default=None)


def _shown(moment: datetime, now: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    same_day = local.date() == now.astimezone(zone).date()
    return local.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M")


def _doubt(how: Situation) -> str:
    return "" if how.trusted else ", by this machine's clock, which nobody has set yet"


# -- how long yet? ----------------------------------------------------------------------------------------------------
MEMORY_S: Final = 900.0
"""Seconds of sending that the measured rate remembers: a quarter of an hour evens out a picture, not a day."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """What really arrives: bytes that the server acknowledged for each second in which something was being sent.

    Attributes:
        rate: bytes a second.
        seconds: of sending that are in it, at most ``MEMORY_S``; 0: nothing is known.
    """

    rate: float = 0.0
    seconds: float = 0.0

    def after(self, arrived: int, seconds: float) -> Goodput:
        """With so many more seconds of sending, in which so many bytes arrived."""
        if seconds <= 0:
            return self
        all_s = self.seconds + seconds
        return Goodput((self.rate * self.seconds + arrived) / all_s, min(all_s, MEMORY_S))

    def at_least(self, rate: float, seconds: float) -> Goodput:
        """With so many more seconds in which we held back ourselves: the link takes at least that rate."""
        return Goodput(max(self.rate, rate), min(self.seconds + seconds, MEMORY_S))


def time_to_send(rules: Rules, how: Situation, left: int, goodput: Goodput) -> timedelta | None:
    """How long until so many bytes are sent, from now on, if the link stays and is as fast as it was.

    Returns:
        None: nobody knows yet. ``timedelta.max``: never with these hours. ``HORIZON``: longer than that.
    """
    if not left:
        return timedelta()
    if not goodput.rate:
        return None
    closed = (window for window in rules.windows if window.rate is None)
    if sum((window.end - window.start) % DAY_MIN or DAY_MIN for window in closed) == DAY_MIN:
        return timedelta.max
    # so that it need not be gone through day by day; five calendar months lie in part within three
    if left > min(goodput.rate * HORIZON.total_seconds(), (HORIZON.days + 2) * _left(rules.per_day, 0),
                  5 * _left(rules.per_month, 0)):  # fmt: skip
        return HORIZON
    now, today, month = how.now, how.sent_today, how.sent_this_month
    while now < how.now + HORIZON:
        midnight = rules.next_day(now)
        window, until = rules.window(now), min(rules.next_change(now) or midnight, midnight)
        rate = goodput.rate if window is None else min(goodput.rate, window.rate or 0)
        may = min(_left(rules.per_day, today), _left(rules.per_month, month))
        if now == how.now and how.by_hand_s:
            rate, may, until = goodput.rate, math.inf, min(now + timedelta(seconds=how.by_hand_s), midnight)
        can = min(rate * (until - now).total_seconds(), may)
        if rate and can >= left:
            return now + timedelta(seconds=left / rate) - how.now
        left, today, month = left - math.floor(can), today + math.floor(can), month + math.floor(can)
        if until == midnight:
            today = 0
            month = 0 if until == rules.next_month(now) else month
        now = until
    return HORIZON


def _left(budget: int | None, sent: int) -> float:
    return math.inf if budget is None else max(0, budget - sent)
