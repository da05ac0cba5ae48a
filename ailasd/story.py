"""What happened, in sentences, from rows: one picture's story for `ailasd why`, a line of everybody's (``diary``)."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ailasd.clock import iso
from ailasd.logs import Event, mask, printable, say, span_in_words
from ailasd.model import State
from ailasd.wording import UNTRUSTED, at, harmless, reason_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo

    from ailasd.catalogue import Catalogue
    from ailasd.catalogue.database import Row
    from ailasd.model import Picture

_MOVES: Final = {
    "copied": "copied from the card and verified",
    "held": "held",
    "queued": "waiting to be sent",
    "sent": "received by the server; the proof is still to come",
    "confirmed": "confirmed: the server holds it",
    "refused": "refused by the server",
    "cleaned": "our own copy was deleted; the server holds it",
}

_NOW: Final = {
    State.COPIED: "{name} is copied and verified; it waits to be sorted into its drive.",
    State.HELD: "{name} is held: {said}. It is kept here; `ailasd release {md5}` sends it all the same.",
    "copy_lost": "{name} is held: {said}.",
    State.QUEUED: "{name} waits to be sent{waits}.",
    State.SENT: "{name} was received by the server, which has not proven yet that it holds it.",
    State.CONFIRMED: "{name} is safe: the server proved at {since} that it holds it; our own copy is kept too.",
    State.REFUSED: "{name} was refused ({reason}): {said}. It is kept here; `ailasd retry {md5}` tries it again.",
    State.CLEANED: "{name} is safe: the server holds it; our own copy was deleted at {since}.",
}

UNTRUSTED_NOTE: Final = f"{UNTRUSTED} in front of a time: this machine's clock could not be believed then."

SHORT_MD5: Final = 12
"""Digits that tell pictures apart (a million of them: one chance in 500 that any two agree) and fit a line."""


LEVELS: Final = ("debug", "info", "warning", "error")
"""From the quietest to the loudest."""

SINCE: Final = re.compile(r"([0-9]+) ?(min|h|d)")
_LENGTHS: Final = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def since(text: str, now: datetime, zone: tzinfo) -> str:
    """The moment that "2h" (ago) or "2026-11-21T10:15" (there) means, as the catalogue writes times.

    Raises:
        ValueError: it is neither.
    """
    try:
        if ago := SINCE.fullmatch(text):
            return iso(now - int(ago[1]) * _LENGTHS[ago[2]])
        moment = datetime.fromisoformat(text)
        return iso(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise ValueError(f"{harmless(text)} is neither such as 30min, 2h or 3d, nor such as 2026-11-21") from None


# -- one picture ------------------------------------------------------------------------------------------------------
def answer(catalogue: Catalogue, found: list[Picture], name: str, zone: tzinfo) -> list[str]:
    """What became of what a person calls ``name``, for which ``found`` are the candidates; [] if it was never seen."""
    if not found:
        seen = catalogue.telling.files_named(name)  # under another name than the picture's first one, or never copied
        others = {row["picture"]: catalogue.pictures.get(row["picture"]) for row in seen if row["picture"]}
        found = [picture for picture in others.values() if picture is not None]
        if not found:
            return list(unread(seen))
    if len(found) == 1:
        return list(why(catalogue, found[0], zone))
    return [
        f"{len(found)} pictures are called so; `ailasd why` with the digits in front tells more of one:",
        *(f"  {briefly(picture, zone)}" for picture in found),
    ]


def why(catalogue: Catalogue, picture: Picture, zone: tzinfo) -> Iterator[str]:
    """Line by line: one sentence that says it all, where it was seen, what happened, where to look at it."""
    row = catalogue.pictures.whole_row(picture.id)
    yield _now(row, catalogue.telling.fact("link"), catalogue.clock.now().timestamp(), zone)
    yield f"  md5 {row['md5']}"
    if row["captured"]:
        clock = harmless(row["captured_from"])
        yield f"  taken {at(row['captured'], zone, seconds=True)} ({clock}), drive {row['drive']}"
    for seen in catalogue.telling.where_seen(picture.id):
        cleared = f", deleted there {at(seen['cleared_at'], zone)}" if seen["cleared_at"] else ""
        yield f"  seen on {harmless(seen['label'])}: {harmless(seen['path'])}{cleared}"
    if row["copy"]:
        proven = "read back from the disk" if row["proven"] else "compared, but perhaps only in memory"
        yield f"  our copy: {row['copy']} ({proven})"
    history = catalogue.telling.timeline(picture=picture.id)
    for event in history:
        yield f"  {line(event, zone)}"
    if not all(event["clock_trusted"] for event in history):
        yield f"  {UNTRUSTED_NOTE}"
    if row["web_link"]:
        yield f"  {harmless(row['web_link'])}"


def _now(row: Row, link: str | None, now: float, zone: tzinfo) -> str:
    """The one sentence."""
    lost = row["state"] == State.HELD and row["reason"] == "copy_lost"  # nothing could be sent
    return _NOW["copy_lost" if lost else row["state"]].format(
        name=harmless(row["name"]),
        md5=row["md5"][:SHORT_MD5],
        reason=reason_in_words(row["reason"] or ""),
        said=_because(row["reason"], row["why"]) or "nobody said why",
        since=at(row["since"], zone),
        waits=_waits(row, link, now) if row["state"] == State.QUEUED else "",
    )


def _waits(row: Row, link: str | None, now: float) -> str:
    away = json.loads(link) if link else {}
    text = ""
    if row["attempts"]:
        due = max(0, round((row["next_attempt_at"] or now) - now))
        text = f": {row['attempts']} attempts failed, the last time so: {harmless(row['last_error']).rstrip('.')}"
        text += f"; the next one is due {f'in {span_in_words(due)}' if due else 'now'}"
    elif row["why"]:
        text = f" ({harmless(row['why']).rstrip('.')})"
    if away and away["state"] != Event.LINK_BACK:
        text += f"; nothing can be sent just now: {harmless(away['why']).rstrip('.')}"
    return text


def briefly(picture: Picture, zone: tzinfo) -> str:
    """One line that tells it from others of its name."""
    taken = at(picture.captured, zone) if picture.captured else "at an unknown time"
    reason = f" ({reason_in_words(picture.reason)})" if picture.reason else ""
    return f"{picture.md5[:SHORT_MD5]}  {harmless(picture.name)}, taken {taken}: {picture.state}{reason}"


def unread(rows: Iterable[Row]) -> Iterator[str]:
    """Files that were seen on a card and never copied."""
    for row in rows:
        problem = harmless(row["problem"] or "it was never copied").rstrip(".")
        where = f"{harmless(row['path'])} on {harmless(row['label'])}"
        yield f"{where} could not be copied: {problem}. Put the card in again."


# -- everybody --------------------------------------------------------------------------------------------------------
def as_json(event: Row) -> str:
    """An event as one line of JSON, with its level and its sentence; ASCII."""
    detail = {key: mask(value) if isinstance(value, str) else value for key, value in event["detail"].items()}
    return json.dumps({**event, "detail": detail, "level": level_of(event["name"]), "sentence": sentence(event)})


def line(event: Row, zone: tzinfo, *, named: bool = False) -> str:
    """An event with its time; if ``named``, a picture's move begins with its name."""
    name = f"{harmless(event['detail'].get('name'))}: " if named and event["was"] is not None else ""
    return f"{at(event['at'], zone, trusted=bool(event['clock_trusted']), seconds=True)}  {name}{sentence(event)}"


def level_of(name: str) -> str:
    """How loud an event is; the moves of single pictures are whispers, but for those that the server refused."""
    if name in Event.__members__.values():
        return Event.named(name).level
    return "debug" if name.startswith("picture_") else "info"  # or of another version


def quieter_than(level: str) -> list[str]:
    """The names of all events that are told less loudly than ``level``."""
    names = [*map(str, Event), *(f"picture_{state}" for state in State)]
    return [name for name in names if LEVELS.index(level_of(name)) < LEVELS.index(level)]


def sentence(event: Row) -> str:
    """What happened. A move of a picture has its own words; events of another version are shown as they are."""
    detail: dict[str, Any] = event["detail"]
    if event["was"] is not None:
        return _move(event["name"].removeprefix("picture_"), event["was"], detail)
    if event["name"] in Event.__members__.values():
        return printable(mask(say(Event.named(event["name"]), **detail)))
    return harmless(f"{event['name']} {json.dumps(detail)}")


def _move(state: str, was: str, detail: dict[str, Any]) -> str:
    words = _MOVES.get(state, harmless(state))
    again = " again" if state == State.QUEUED and was != State.COPIED else ""
    because = _because(detail.get("reason"), detail.get("why")) if state != State.COPIED else ""
    return f"{words}{again}" + (f": {because}" if because else "")


def _because(reason: str | None, said: str | None) -> str:
    """The sentence that was written then, fit for the middle of another; without one the reason's words."""
    if not said:
        return reason_in_words(reason) if reason else ""
    text = harmless(said).rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
