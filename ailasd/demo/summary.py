"""The trip's summary as the demo shows it: everybody's, and what only the demo knows."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Final

from ailasd.demo.checking import ON_SERVER
from ailasd.logs import bytes_in_words
from ailasd.model import State
from ailasd.trip import trip
from ailasd.wording import harmless, number, of_trip, pictures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ailasd.catalogue import Catalogue
    from ailasd.sources import Source

INDENT: Final = " " * 15
fill: Final = TextWrapper(
    width=120, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
).wrap


def summary(catalogue: Catalogue, source: Source, received: int | None) -> Iterator[str]:
    """Line by line: what lay on the card, what became of it, what was not sent and why, what could be cleared.

    Args:
        catalogue: of a trip with one card.
        source: that card.
        received: bytes that reached the server, if somebody counted them.
    """
    yield from of_trip(trip(catalogue)).splitlines()
    if already := _already_there(catalogue):
        yield f"There already  {pictures(already)} of the confirmed: in an earlier upload, not in this one"
    if received is not None:
        yield f"Received       {bytes_in_words(received)} came over the network in all"
    yield from _clearable(catalogue, source)


def _already_there(catalogue: Catalogue) -> int:
    """How many confirmed pictures are proven by a set that is not ours."""
    ours: dict[int, str | None] = {}
    found = 0
    for picture in catalogue.pictures.in_state(State.CONFIRMED):
        assert picture.sequence is not None
        if picture.sequence not in ours:
            ours[picture.sequence] = catalogue.drives.sequence(picture.sequence).upload_set
        found += picture.upload_set != ours[picture.sequence]
    return found


def _clearable(catalogue: Catalogue, source: Source) -> Iterator[str]:
    """Which of the card's files are proven to be on the server, by folder and name."""
    card = catalogue.telling.cards()[0]["id"]
    proven = catalogue.cards.clearable(card, ON_SERVER)
    folders: dict[str, dict[str, bool]] = defaultdict(dict)
    size = 0
    for file in source.listing():
        folder, _, name = file.path.rpartition("/")
        may = (file.path, file.size, file.mtime_ns) in proven
        folders[folder or "/"][name] = may
        size += file.size * may
    clear = sum(sum(names.values()) for names in folders.values())
    yield f"Could be cleared now, as the server holds them: {number(clear)} files of the card, {bytes_in_words(size)}"
    for folder, names in sorted(folders.items()):
        if any(names.values()):
            yield f"{sum(names.values()):14} of {len(names)} files in {harmless(folder)}:"
            yield from fill(", ".join(runs(names)))


def runs(names: Mapping[str, bool]) -> Iterator[str]:
    """Those that are true; of several in a row, without any other between them, the first and the last."""
    for yes, group in groupby(sorted(names), key=lambda name: names[name]):
        if yes:
            first, *others = map(harmless, group)
            yield f"{first} to {others[-1]}" if others else first
