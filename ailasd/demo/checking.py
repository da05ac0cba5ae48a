"""Was the daemon right? Looks at the card and at the server anew; of the catalogue it only believes the words to check.

A good picture is one whose content must be on the server exactly once. The demo's own card says which ones are; of
other cards they are the usable ones that triage did not hold.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ailasd.demo.card import Fate
from ailasd.errors import Unreadable
from ailasd.model import Kind, State, Verdict
from ailasd.trip import trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ailasd.catalogue import Catalogue
    from ailasd.panoramax import Panoramax
    from ailasd.sources import Source

_BLOCK: Final = 1024 * 1024
ON_SERVER: Final = (State.CONFIRMED, State.CLEANED)


@dataclass(frozen=True, slots=True)
class OnCard:
    """A card, read anew.

    Attributes:
        files: how many directory entries it has.
        pictures: the path of each readable picture -> md5.
    """

    files: int
    pictures: dict[str, str]


def read_again(source: Source, progress: Callable[[int, int], None]) -> OnCard:
    """Read every picture of the card; ``progress`` is told (done, of). An unreadable one is not among the pictures.

    Raises:
        SourceGone: the card is not there any more.
    """
    listing = list(source.listing())
    wanted = [file for file in listing if file.kind is Kind.PICTURE]
    pictures: dict[str, str] = {}
    for done, file in enumerate(wanted):
        progress(done, len(wanted))
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with source.open(file) as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        except Unreadable:
            continue
        pictures[file.path] = digest.hexdigest()
    return OnCard(len(listing), pictures)


def held_by(server: Panoramax, catalogue: Catalogue) -> Counter[str]:
    """How many pictures of each content (md5) a server holds, by its own listings of the sets that we were told of."""
    account = server.who_am_i().id
    sets = {picture.upload_set for state in ON_SERVER for picture in catalogue.pictures.in_state(state)}
    held: Counter[str] = Counter()
    for upload_set in sorted(filter(None, sets)):
        ours = server.upload_set(upload_set).account_id == account  # the listing hides ids from others
        for row in server.listing(upload_set):
            if row.md5 and row.rejected is None and (row.picture_id or not ours):
                held[row.md5] += 1
    return held


def faults(
    catalogue: Catalogue, card: OnCard, holds: Mapping[str, int], fates: Mapping[str, Fate] | None
) -> tuple[int, list[str]]:
    """Everything that is not as it must be, one sentence each.

    Args:
        catalogue: what the daemon says.
        card: see there.
        holds: how many pictures of each md5 the server holds.
        fates: what must become of each path of the card; None: the catalogue's verdicts are believed.

    Returns:
        How many good pictures there are (by content), and the faults.
    """
    found = list(_counts(catalogue, card.files))
    good: set[str] = set()
    for path, md5 in sorted(card.pictures.items()):
        rows = catalogue.pictures.find(md5, limit=1)
        if not rows:
            found.append(f"{path} is on the card, and the catalogue does not know it")
            continue
        picture = rows[0]
        fate = fates[path] if fates is not None else _fate(catalogue, picture.id)
        if fate is Fate.GOOD:
            good.add(md5)
            if picture.state not in ON_SERVER:
                found.append(f"{path} is good, but {picture.state} ({picture.reason or 'no reason given'})")
            if holds.get(md5, 0) != 1:
                found.append(f"{path} is good, and the server has it {holds.get(md5, 0)} times instead of once")
        elif picture.state is not State.HELD or holds.get(md5, 0):
            found.append(f"{path} should be held, but is {picture.state}")
    return len(good), found


def _fate(catalogue: Catalogue, picture: int) -> Fate:
    row = catalogue.pictures.whole_row(picture)
    return Fate.GOOD if row["verdict"] == Verdict.USABLE and row["state"] != State.HELD else Fate.HELD


def _counts(catalogue: Catalogue, files: int) -> Iterator[str]:
    """Law 11 for a trip with one card that came to its end."""
    told = trip(catalogue)
    yield from told.wrong
    left, ended = sum(told.left.values()), told.confirmed + sum(told.held.values()) + sum(told.refused.values())
    for what, one, other in (
        ("files on the card are not all accounted for", files, told.copied + told.known + left),
        ("pictures copied have not all come to an end", told.copied, ended),
    ):
        if one != other:
            yield f"the {what}: {one} and {other}"
