"""What status and trip say, in words: for people, on a terminal or in a mail. What a card says is made harmless."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Final

from ailasd.logs import bytes_in_words, mask, printable, span_in_words
from ailasd.model import State
from ailasd.refusals import REFUSALS
from ailasd.waiting import AWAY, THERE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ailasd.needs import Need
    from ailasd.status import CardStatus, DriveStatus, MediumStatus, SendingStatus, Status
    from ailasd.trip import Trip

REASONS: Final = {
    "parked": "parked",
    "no_position": "no GPS position",
    "no_date": "no date",
    "broken": "damaged",
    "position_untrusted": "a position that cannot be true",
    "clock_untrusted": "a date that cannot be true",
    "copy_lost": "our copy is gone or damaged",
    "by_hand": "held by hand",
    "known": "already here",
    "queued": "still waiting to be sent",
    "copied": "not looked at yet",
}
"""Why pictures are not sent; why they are refused: ``refusals``."""

LEFT: Final = {
    "video": "videos",
    "raw": "raw files",
    "sidecar": "by-products of the camera",
    "empty": "empty files",
    "hidden": "hidden",
    "special": "links or devices",
    "unreadable": "could not be looked at",
    "too_large": "too large for a picture",
    "other": "other files",
    "read_error": "could not be read",
    "gone": "not reached: the card was pulled out",
    "no_room": "not reached: no room here",
    "not_kept": "not reached: our own folder cannot be written",
    "busy": "not reached: it is busy, or another program uses it",
    "stopped": "not reached: it was stopped",
}

PLUGGED: Final = {
    "reading": "is being read; please leave it in",
    "clearing": "is being cleared; please leave it in",
    "done": "may be pulled out: it is read to its end",
    "mounted": "is read to its end, but still in use on this computer; eject it in the file manager first",
    "ignored": "is left alone, and may be pulled out if nobody else uses it",
    "waiting": "is not read to its end yet, and is tried again",
    "unreadable": "cannot be read",
    "empty": "has no card in it",
}
"""How it stands with what is plugged in."""

UNTRUSTED: Final = "~"
"""In front of a time that a clock told which nobody vouched for."""


def number(count: int) -> str:
    """``1234567`` -> "1 234 567"."""
    return f"{count:,}".replace(",", " ")


def pictures(count: int) -> str:
    """``1`` -> "1 picture"."""
    return f"{number(count)} picture{'s' * (count != 1)}"


def harmless(text: object) -> str:
    """A text that others made, on one line, without escapes, tokens and positions."""
    return printable(mask(str(text)))


def at(moment: str | datetime | None, zone: tzinfo, *, trusted: bool = True, seconds: bool = False) -> str:
    """A time as people there read it: "2026-11-21 10:15"."""
    if moment is None:
        return "?"
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    shown = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(zone)
    return ("" if trusted else UNTRUSTED) + shown.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def reason_in_words(reason: str) -> str:
    """A reason for holding or refusing a picture."""
    return {**REFUSALS, **REASONS}.get(reason, harmless(reason))


def left_in_words(left: Mapping[str, int]) -> str:
    """``{"video": 2, "other": 1}`` -> "videos 2, other files 1"."""
    return ", ".join(f"{LEFT.get(why, harmless(why))} {number(count)}" for why, count in left.items())


# -- status -----------------------------------------------------------------------------------------------------------
def of_status(status: Status, zone: tzinfo) -> str:
    """The whole status. What needs a person comes first."""
    return "\n".join(_status(status, zone))


def _status(status: Status, zone: tzinfo) -> Iterator[str]:
    runs = {True: "the daemon runs", False: "the daemon does not run", None: ""}[status.daemon_runs]
    total = f"{pictures(status.pictures)}, {bytes_in_words(status.bytes)}"
    yield f"{status.kit} at {at(status.at, zone)}: " + "; ".join(part for part in (total, runs) if part)
    for problem in status.wrong:
        yield f"THE COUNTS DO NOT ADD UP, which is a fault of ailasd, please report it: {problem}."
    yield from _section("Needs a person", (line for need in status.needs for line in _need(need)))
    yield from _section("Plugged in", (f"  {_medium(medium)}" for medium in status.media))
    yield from _section("Server", (f"  {line}" for line in _sending(status, zone)))
    if status.counts:
        yield "\nPictures"
        yield from _counts(status)
        yield from (f"  {line}" for line in _waiting(status, zone))
    yield from _section("Cards", (line for card in status.cards for line in _card(card, zone)))
    yield from _section("Last drives", (line for drive in status.drives for line in _drive(drive, zone)))
    if status.free_bytes is not None:
        yield f"\nDisk\n  {bytes_in_words(status.free_bytes)} free"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines under their title; nothing if there are none."""
    for index, line in enumerate(lines):
        if index == 0:
            yield f"\n{title}"
        yield line


def _need(need: Need) -> Iterator[str]:
    yield f"  ! {harmless(need.what).rstrip('.')}."
    yield from (f"      {command}" for command in need.commands)


def _sending(status: Status, zone: tzinfo) -> Iterator[str]:
    waiting, link, sending = status.waiting, status.link, status.sending
    if not status.sends:
        yield "No server is configured: pictures are copied and kept, and nothing is sent."
        return
    if link is None:
        yield "It was not looked for yet."
    elif link.state != waiting.word:  # else the next line says it
        why = f": {harmless(link.why).rstrip('.')}" if link.why else ""
        words = "the server is there" if link.state == THERE else AWAY.get(link.state, link.state)
        yield f"{words[0].upper()}{words[1:]} ({at(link.at, zone)}){why}."
    tried = f" (tried {at(link.at, zone)})" if link is not None and link.state == waiting.word else ""
    yield f"{harmless(waiting.text)}{tried}."
    if sending.by_hand_s:
        span = span_in_words(sending.by_hand_s)
        yield f"Hours, budgets and bills do not count for {span} more: `ailasd upload --stop` ends that."
    elif sending.limit is not None:
        yield f"At this hour not more than {bytes_in_words(sending.limit)}/s."
    if sending.left_bytes:
        yield f"{bytes_in_words(sending.left_bytes)} to send: {time_in_words(sending)}."
    if sending.sent_this_month or sending.per_day or sending.per_month:
        today = _of_budget(sending.sent_today, sending.per_day)
        yield f"Sent today {today}, this month {_of_budget(sending.sent_this_month, sending.per_month)}."


def _of_budget(sent: int, budget: int | None) -> str:
    if budget is None:
        return bytes_in_words(sent)
    return f"{bytes_in_words(sent)} of {bytes_in_words(budget)} ({bytes_in_words(max(0, budget - sent))} left)"


def time_in_words(sending: SendingStatus) -> str:
    """How long yet, as exactly as anybody can know it: hours or days."""
    if sending.takes_s is None:
        return {
            "unknown": "how long it will take is not known yet",
            "never": "never, with the hours in upload.rates",
            "beyond": "more than three months, with this link and these limits",
        }[sending.estimate]
    hours = sending.takes_s / 3600
    if hours < 1:
        span = "less than an hour" if hours > 1 / 6 else "some minutes"
    else:
        count, unit = (hours, "hour") if hours < 36 else (hours / 24, "day")
        span = f"about {count:.0f} {unit}{'s' * (round(count) != 1)}"
    return f"{span} while the server is there, at {bytes_in_words(sending.measured or 0)}/s and within our limits"


def _medium(medium: MediumStatus) -> str:
    problem = f": {reason_of_visit(medium.problem)}" if medium.problem else ""
    return f"{harmless(medium.label)} {PLUGGED.get(medium.state, medium.state)}{problem}."


def reason_of_visit(problem: str) -> str:
    """Why a card was not read to its end: a visit's outcome in words, or the sentence that it is."""
    return LEFT.get(problem, harmless(problem)).removeprefix("not reached: ").rstrip(".")


def _waiting(status: Status, zone: tzinfo) -> Iterator[str]:
    if status.oldest_waiting:
        yield f"The oldest picture that waits to be sent was taken {at(status.oldest_waiting, zone)}."
    if status.next_retry_s is not None:
        yield f"A picture that failed is tried again in {span_in_words(round(status.next_retry_s))}."


def _counts(status: Status) -> Iterator[str]:
    for count in status.counts:
        name = f"{count.state}: {reason_in_words(count.reason)}" if count.reason else count.state
        yield f"  {name:<44} {number(count.pictures):>10}  {bytes_in_words(count.bytes):>9}"
    held = [count.reason for count in status.counts if count.state == State.HELD and count.reason != "copy_lost"]
    if held:
        yield f"  Held ones stay here; to send them all the same: ailasd release --reason {harmless(held[0])}"


def _card(card: CardStatus, zone: tzinfo) -> Iterator[str]:
    yield f"  {card.id}: {harmless(card.label)}, seen {at(card.last_seen, zone)}: {_visit(card)}"
    if card.files is not None:
        yield f"      May I clear it? {may_i_clear(card)}"


def _visit(card: CardStatus) -> str:
    if card.outcome is None:
        return "it is being read, or that was cut off"
    left = f" ({left_in_words(card.left)})" if card.left else ""
    text = (
        f"of {number(card.on_card)} files {number(card.copied)} copied, {number(card.known)} known, "
        f"{number(sum(card.left.values()))} left{left}"
    )
    return text + ("; put it in again, it was pulled out too early" if card.outcome == "gone" else "")


def may_i_clear(card: CardStatus) -> str:
    """The answer to the question that everybody asks."""
    assert card.files is not None
    only_here = card.files - card.confirmed - card.not_copied
    if card.may_clear:
        other = " Videos and other files on it are not copied." if card.left else ""
        return f"Yes: the server holds all {pictures(card.files)} of it.{other}"
    if not card.files:
        return "No picture of it is known."
    looked = "" if card.all_looked_up else " looked up"
    text = f"Not all: of {pictures(card.files)}{looked} {number(card.confirmed)} are confirmed by the server"
    text += f", {number(only_here)} have only a copy here" if only_here else ""
    text += f", {number(card.not_copied)} have no copy at all" if card.not_copied else ""
    return text + ("; and not all that is on it could be read." if card.not_seen else ".")


def _drive(drive: DriveStatus, zone: tzinfo) -> Iterator[str]:
    states = ", ".join(f"{number(count)} {state}" for state, count in sorted(drive.states.items()))
    until = at(drive.ended, zone)[11:] if drive.ended else "?"
    yield f"  {drive.id}: {at(drive.started, zone)} to {until}, {harmless(drive.camera)}: {states or 'no pictures'}"
    if drive.clock:
        yield f"      {harmless(drive.clock)}"
    if drive.upside_down:
        yield "      The camera hung upside down and did not turn its pictures: lock its orientation."
    yield from (f"      {harmless(link)}" for link in drive.web_links)


# -- a trip -----------------------------------------------------------------------------------------------------------
def of_trip(trip: Trip) -> str:
    """The trip's summary: sums that anybody can check."""
    return "\n".join(_trip(trip))


def _trip(trip: Trip) -> Iterator[str]:
    left = sum(trip.left.values())
    yield f"On the card    {number(trip.on_card)} files = {trip.copied} copied + {trip.known} known + {left} left"
    if trip.left:
        yield f"  left         {left_in_words(trip.left)}"
    held, refused = sum(trip.held.values()), sum(trip.refused.values())
    parts = [f"{trip.confirmed} confirmed", f"{held} held", f"{refused} refused"]
    parts += [
        f"{count} {word}"
        for count, word in ((trip.queued, "queued"), (trip.sent, "sent"), (trip.unsorted, "not sorted"))
        if count
    ]
    yield f"Copied         {pictures(trip.pictures)} = {' + '.join(parts)}"
    if trip.pictures > trip.copied:
        yield f"  of these     {trip.pictures - trip.copied} in a pass over the card that was cut off"
    yield from _reasons("held", trip.held)
    yield from _reasons("refused", trip.refused)
    not_sent = sum(trip.not_sent.values())
    yield f"Sent           {bytes_in_words(trip.bytes_sent)}; not sent {bytes_in_words(not_sent)}"
    for why, count in sorted(trip.not_sent.items(), key=lambda one: -one[1]):
        yield f"  not sent     {bytes_in_words(count)}: {reason_in_words(why)}"
    for card in trip.cards:
        yield f"Clear now?     {harmless(card.label)}: {may_i_clear(card)}"
        if card.confirmed and not card.may_clear:
            yield f"               {number(card.confirmed)} files ({bytes_in_words(card.confirmed_bytes)}) of it could"
    if trip.adds_up:
        yield "The counts add up."
    else:
        yield from (f"THE COUNTS DO NOT ADD UP: {problem}." for problem in trip.wrong)


def _reasons(word: str, reasons: Mapping[str, int]) -> Iterable[str]:
    if reasons:
        yield f"  {word:<12} " + ", ".join(f"{count} {reason_in_words(reason)}" for reason, count in reasons.items())
