"""`ailasd log`: what happened, line by line; the reading of a card is one paragraph, from its first file to its end."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ailasd.logs import Event, bytes_in_words, span_in_words
from ailasd.story import UNTRUSTED_NOTE, line
from ailasd.wording import at, harmless, left_in_words, number, reason_in_words, reason_of_visit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo

    from ailasd.catalogue.database import Row

PASS: Final = frozenset({Event.IMPORT_STARTED, Event.IMPORT_FINISHED, Event.CARD_GONE, Event.CARD_BUSY})
"""What is told of a pass over a card, and is in the paragraph; what went wrong with a file has a line of its own."""

AFTER: Final = frozenset({Event.CARD_READY, Event.CARD_REMOVED})
"""What is told of the card when it was read."""

CLOCK_SET: Final = "(Here this machine's clock became one that can be believed; the times above may be far off.)"
_INDENT: Final = " " * 21
"""Under the text, which stands behind the time."""

_TRACE: Final = re.compile(r"v([0-9]+)")
"""Of a pass over a card, as importing gives it."""


@dataclass(slots=True)
class _Stay:
    """A card in its slot: its passes (rows of ``visit``), of which each but the last was cut short, in their order.

    Attributes:
        trusted: of each pass, whether our clock could be believed at what was told of it.
        ready, removed: when it could be pulled out, and when it was.
    """

    card: int
    passes: list[Row] = field(default_factory=list)
    trusted: dict[int, list[bool]] = field(default_factory=dict)
    ready: str | None = None
    removed: str | None = None
    told: bool = False

    @property
    def copied(self) -> int:
        return sum(one["copied"] for one in self.passes)

    def goes_on(self, with_: Row) -> bool:
        """Whether that pass went on where the last was cut short: it must know what was copied until then."""
        return self.removed is None and self.passes[-1]["outcome"] != "whole" and with_["known"] >= self.copied


def visit_of(event: Row) -> int | None:
    """The pass over a card that an event tells of, by its id; None: of something else."""
    found = _TRACE.fullmatch(event["trace"] or "") if event["name"] in PASS else None
    return int(found[1]) if found else None


def diary(events: Sequence[Row], visits: Mapping[int, Row], zone: tzinfo) -> Iterator[str]:
    """The lines, in the order in which it happened: by the clock too, where that can be believed.

    Args:
        events: rows of ``event``, oldest first.
        visits: the passes that they tell of, by id, as ``telling.visits`` gives them.
        zone: of the times shown.
    """
    stays = _stays(events, visits)
    trusted = True
    for event in events:
        if event["clock_trusted"] and not trusted:
            yield CLOCK_SET
        trusted = bool(event["clock_trusted"])
        stay = stays.get(event["id"])
        if stay is None:
            yield line(event, zone, named=True)
        elif not stay.told:
            stay.told = True
            yield from _paragraph(stay, event, zone)
    if not all(event["clock_trusted"] for event in events):
        yield UNTRUSTED_NOTE


def _stays(events: Iterable[Row], visits: Mapping[int, Row]) -> dict[int, _Stay]:
    """The stay that each event belongs to, by the event's id."""
    found: dict[int, _Stay] = {}
    now: dict[int, _Stay] = {}  # by card
    for event in events:
        visit = visits.get(visit_of(event) or 0)
        if visit is not None:
            stay = now.get(visit["card"])
            if stay is None or (visit not in stay.passes and not stay.goes_on(visit)):
                stay = now[visit["card"]] = _Stay(visit["card"])
            if visit not in stay.passes:
                stay.passes.append(visit)
            stay.trusted.setdefault(visit["id"], []).append(bool(event["clock_trusted"]))
        elif event["name"] in AFTER and (stay := now.get(event["card"])) is not None and stay.removed is None:
            if event["name"] == Event.CARD_REMOVED:
                stay.removed = event["at"]
            elif stay.ready is None:
                stay.ready = event["at"]
            else:
                continue
        else:
            continue
        found[event["id"]] = stay
    return found


def _paragraph(stay: _Stay, first: Row, zone: tzinfo) -> Iterator[str]:
    last = stay.passes[-1]
    when = at(first["at"], zone, trusted=bool(first["clock_trusted"]), seconds=True)
    yield f"{when}  {harmless(last['label'])} {_counts(stay)}."
    for one, next_ in zip(stay.passes, [*stay.passes[1:], None], strict=True):
        if one["outcome"] != "whole":
            yield f"{_INDENT}{_cut(one, next_, zone)}."
    became = ", ".join(f"{number(count)} {words}" for words, count in _became(stay).items())
    if became:
        yield f"{_INDENT}What became of its new pictures: {became}."
    ends = ((stay.ready, "it could be pulled out"), (stay.removed, "it was taken out"))
    if told := ", ".join(f"{words} at {_clock(moment, zone)}" for moment, words in ends if moment):
        yield f"{_INDENT}{told[0].upper()}{told[1:]}."


def _counts(stay: _Stay) -> str:
    """Law 11: of the files on it, so many were copied, known, and left; over all passes of the stay."""
    last = stay.passes[-1]
    if last["ended"] is None and len(stay.passes) == 1:
        return "is being read"
    left = json.loads(last["left_there"])
    known = last["known"] - (stay.copied - last["copied"])
    copied = f"{number(stay.copied)} copied"
    if stay.copied:
        copied += f" ({bytes_in_words(sum(one['bytes_copied'] for one in stay.passes))})"
    took = [_took(one, stay.trusted[one["id"]]) for one in stay.passes]
    if stay.copied and None not in took:
        copied += f" in {span_in_words(round(sum(filter(None, took)), 1))}"
    why = f": {left_in_words(left)}" if left else ""
    on_card = last["on_card"] if last["ended"] else stay.passes[-2]["on_card"]
    return (
        f"was read: of {number(on_card)} files {copied}, {number(known)} known, {number(sum(left.values()))} left{why}"
    )


def _took(one: Row, trusted: Sequence[bool]) -> float | None:
    """Seconds that a pass took; None: it has not ended, or the clock was set in the middle of it."""
    if one["ended"] is None or len(set(trusted)) != 1:
        return None
    return max(0.0, (datetime.fromisoformat(one["ended"]) - datetime.fromisoformat(one["started"])).total_seconds())


def _cut(one: Row, next_: Row | None, zone: tzinfo) -> str:
    """Why a pass did not get to the end of the card, and when the next went on."""
    if one["ended"] is None:
        return "Its reading was cut off, or it is being read now"
    when = _clock(one["ended"], zone)
    if one["outcome"] == "gone":
        said, on = f"Pulled out at {when} while it was read", "came back at"
    else:
        said, on = f"Not read to its end at {when}, {reason_of_visit(one['outcome'])}", "went on at"
    return f"{said}; {on} {_clock(next_['started'], zone)}" if next_ else said


def _became(stay: _Stay) -> dict[str, int]:
    """State and reason in words -> pictures, over all passes."""
    found: dict[str, int] = {}
    for one in stay.passes:
        for state, reason, count in one["became"]:
            words = f"{state} ({reason_in_words(reason)})" if reason else str(state)
            found[words] = found.get(words, 0) + count
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _clock(moment: str, zone: tzinfo) -> str:
    return at(moment, zone, seconds=True)[11:]
