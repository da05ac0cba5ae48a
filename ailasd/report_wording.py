"""What the report of a drive says: plain sentences in the reader's language, each with the project's advice. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ailasd.amounts import decimal, number
from ailasd.refusals import REFUSALS
from ailasd.sentence import N_
from ailasd.wording import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, tzinfo
    from gettext import NullTranslations

    from ailasd.camera_clock import CameraClock
    from ailasd.report import Report, Stretch

INTERVAL_S: Final = 5
"""Seconds between two pictures that the project's cameras are set to."""

LATE_FIX_S: Final = 15.0
"""A receiver that is there after three pictures was not late."""

MOST_STRETCHES: Final = 5
"""Of gaps, of stops, of videos: who wants more of them opens the page."""

HELD: Final[Mapping[str, str]] = {
    "parked": N_("while the vehicle was parked"),
    "no_position": N_("without a GPS position"),
    "no_date": N_("without a date"),
    "broken": N_("damaged: the card was pulled out, or the camera lost its power"),
    "position_untrusted": N_("with a position that cannot be true"),
    "clock_untrusted": N_("with a date that cannot be true"),
    "copy_lost": N_("whose copy here is damaged: put the card in again"),
    "by_hand": N_("held by hand"),
}
"""Why pictures stay here, to go on after a number of them: in the catalogues each has a singular and a plural."""


class Line(NamedTuple):
    """A sentence; ``advice``: somebody can do better next time."""

    text: str
    advice: bool = False


def lines(report: Report, language: NullTranslations, zone: tzinfo) -> Iterator[Line]:
    """One by one: what it was, how it went, what to do better, where the pictures are."""
    say = _Saying(language, zone)
    yield Line(say.title(report))
    yield Line(say.sums(report))
    yield from say.camera(report)
    yield from say.clock(report.clock)
    yield from say.positions(report)
    yield from say.stretches(report)
    yield from map(Line, say.whereabouts(report))


def sentences(report: Report, language: NullTranslations, zone: tzinfo) -> Iterator[str]:
    """The same as mere text."""
    return (line.text for line in lines(report, language, zone))


class _Saying:
    def __init__(self, language: NullTranslations, zone: tzinfo) -> None:
        self._ = language.gettext
        self._n = language.ngettext
        self._language = language
        self._zone = zone

    def _time(self, moment: datetime) -> str:
        return moment.astimezone(self._zone).strftime("%H:%M")

    def _pictures(self, count: int) -> str:
        return self._n("%(count)s picture", "%(count)s pictures", count) % {"count": number(count)}

    def _span(self, seconds: float) -> str:
        """The two largest units; h, min and s are the same in every language."""
        left, parts = round(abs(seconds)), []
        if days := left // 86_400:
            parts.append(self._n("%(count)s day", "%(count)s days", days) % {"count": number(days)})
        for unit, length in (("h", 3600), ("min", 60), ("s", 1)):
            if count := left % (86_400 if unit == "h" else 60 * length) // length:
                parts.append(f"{count} {unit}")
        return " ".join(parts[:2]) or "0 s"

    def title(self, report: Report) -> str:
        if report.started is None or report.ended is None:
            return self._("Drive %(drive)s, %(camera)s: nobody knows when it was.") % {
                "drive": report.drive, "camera": harmless(report.camera),
            }  # fmt: skip
        return self._("Drive %(drive)s, %(camera)s: %(date)s from %(start)s to %(end)s.") % {
            "drive": report.drive, "camera": harmless(report.camera),
            "date": report.started.astimezone(self._zone).strftime("%Y-%m-%d"),
            "start": self._time(report.started), "end": self._time(report.ended),
        }  # fmt: skip

    def sums(self, report: Report) -> str:
        lasts = (report.ended - report.started).total_seconds() if report.ended and report.started else 0.0
        return self._("%(pictures)s, %(km)s km, %(span)s.") % {
            "pictures": self._pictures(report.pictures),
            "km": decimal(f"{report.way.metres / 1000:.1f}", self._language),
            "span": self._span(lasts),
        }

    def camera(self, report: Report) -> Iterator[Line]:
        if report.way.interval_s is not None:
            every = {"seconds": decimal(f"{report.way.interval_s:.3g}", self._language), "wanted": INTERVAL_S}
            if abs(report.way.interval_s - INTERVAL_S) < 1:
                yield Line(self._("The interval was %(seconds)s s, as it should be.") % every)
            else:
                said = self._("The interval was %(seconds)s s, not %(wanted)s s: please set it in the camera.") % every
                yield Line(said, advice=True)
        if report.upside_down:
            said = self._(
                "The camera hung upside down and did not turn its pictures: hang it the other way round, or change the "
                "orientation lock in its preferences."
            )
            yield Line(said, advice=True)

    def clock(self, clock: CameraClock) -> Iterator[Line]:
        off = clock.off_s
        if off is None:
            yield Line(self._("The camera's clock could not be checked, because no picture has a GPS time."))
        elif not off:
            yield Line(self._("The camera's clock was right."))
        elif clock.set_right:
            fast = self._("The camera's clock was %(span)s fast, until it was set right during the drive.")
            slow = self._("The camera's clock was %(span)s slow, until it was set right during the drive.")
            yield Line((fast if off > 0 else slow) % {"span": self._span(off)})
        else:
            fast = self._("The camera's clock was %(span)s fast: please set it.")
            slow = self._("The camera's clock was %(span)s slow: please set it.")
            yield Line((fast if off > 0 else slow) % {"span": self._span(off)}, advice=True)
        if clock.corrected:
            said = self._n(
                "%(count)s picture is sent with its true time.", "%(count)s pictures are sent with their true time.",
                clock.corrected,
            )  # fmt: skip
            yield Line(said % {"count": number(clock.corrected)})

    def positions(self, report: Report) -> Iterator[Line]:
        if not report.has_gps:
            yield Line(self._("This camera has no GPS: its pictures need a track (GPX) from a phone."), advice=True)
        elif report.late_fix_s is None:
            yield Line(self._("No picture has a GPS position: is GPS switched on in the camera?"), advice=True)
        elif report.late_fix_s > LATE_FIX_S:
            late = self._(
                "There was no GPS for the first %(span)s: switch the camera on about 1 minute before you leave."
            )
            yield Line(late % {"span": self._span(report.late_fix_s)}, advice=True)
        if report.from_track:
            said = self._n(
                "%(count)s picture got its position from a track.",
                "%(count)s pictures got their position from a track.",
                report.from_track,
            )
            yield Line(said % {"count": number(report.from_track)})

    def stretches(self, report: Report) -> Iterator[Line]:
        yield from self._each(self._("Parked from %(start)s to %(end)s."), report.parked)
        yield from self._each(self._("There are no pictures from %(start)s to %(end)s."), report.gaps)
        single, several = ([one for one in report.videos if (one.pictures > 1) is many] for many in (False, True))
        once = self._("The camera recorded a video until about %(end)s.")
        for_long = self._("The camera was in video mode from about %(start)s to %(end)s.")
        yield from self._each(once, single, advice=True)
        yield from self._each(for_long, several, advice=True)
        if report.videos:
            yield Line(self._("Videos are not sent. Please set the camera to time-lapse photo."), advice=True)

    def _each(self, sentence: str, stretches: Sequence[Stretch], *, advice: bool = False) -> Iterator[Line]:
        for one in stretches[:MOST_STRETCHES]:
            yield Line(sentence % {"start": self._time(one.start), "end": self._time(one.end)}, advice)
        if (more := len(stretches) - MOST_STRETCHES) > 0:
            yield Line(self._("And %(count)s more.") % {"count": more}, advice)

    def whereabouts(self, report: Report) -> Iterator[str]:
        if report.safe:
            yield self._("On the server: %(pictures)s.") % {"pictures": self._pictures(report.safe)}
        if report.on_their_way:
            yield self._("On their way to the server: %(pictures)s.") % {
                "pictures": self._pictures(report.on_their_way)
            }
        for reason, count in report.held.items():
            why = self._n(HELD[reason], HELD[reason], count) if reason in HELD else harmless(reason)
            yield self._("Kept here, not sent: %(pictures)s %(why)s.") % {"pictures": self._pictures(count), "why": why}
        for reason, count in report.refused.items():
            yield self._("Refused by the server (%(reason)s): %(pictures)s.") % {
                "reason": self._(REFUSALS[reason]) if reason in REFUSALS else harmless(reason),
                "pictures": self._pictures(count),
            }
