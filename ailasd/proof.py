"""What the server's own words prove about a picture; the only place that decides "it has it" (law 1).

PANORAMAX.md section 5: (a) the set's listing shows our md5 and size: it received these bytes; (b) after dispatch the
picture is still there, is not rejected, and its item is ``ready``: it was decoded and published. Confirmed = a + b.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ailasd.errors import SetGone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ailasd.model import Picture
    from ailasd.panoramax import ItemStatus, Listed, Panoramax, UploadSet

WORDS_OF_DUPLICATES: Final = frozenset({"file_duplicate"})
"""Rejected because the instance has the same bytes in another set; that set's listing has the proof."""

WORDS_OF_CHANCE: Final = frozenset({"id_conflict"})
"""Rejected for the id that we gave it, which says nothing of the picture: under another one it is taken."""


class Standing(StrEnum):
    """How the listing of one upload set has our bytes; from worst to best."""

    ABSENT = "absent"
    DELETED = "deleted"
    REJECTED = "rejected"
    ELSEWHERE = "elsewhere"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Found:
    """``standing``, the row that says so, and the id under which the server keeps the picture if it is held."""

    standing: Standing
    row: Listed | None = None
    item: str | None = None


def look(listing: Iterable[Listed], md5: str, size: int, *, named: str | None = None) -> Found:
    """How ``listing`` has the bytes with this md5 and size. If several rows have them, the best one counts.

    Args:
        listing: of one set.
        md5: of our copy.
        size: of our copy.
        named: for the set of another account, whose listing hides ids: the id that the server named to us (409).
    """
    found = [_found(row, named) for row in listing if row.md5 == md5 and row.size == size]
    order = list(Standing)
    return max(found, key=lambda one: order.index(one.standing), default=Found(Standing.ABSENT))


def _found(row: Listed, named: str | None) -> Found:
    if row.rejected is not None:
        if row.rejected.reason in WORDS_OF_CHANCE:
            return Found(Standing.ABSENT, row)
        duplicate = row.rejected.reason in WORDS_OF_DUPLICATES
        return Found(Standing.ELSEWHERE if duplicate else Standing.REJECTED, row)
    item = row.picture_id or named
    return Found(Standing.HELD, row, item) if item else Found(Standing.DELETED, row)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the server says of one set at one moment.

    Attributes:
        ours: whether the set is our account's, so that the listing shows ids.
        statuses: of the items of all its sequences, by id.
        collection_of: item id -> its sequence on the server.
        whole: whether every sequence could be read.
    """

    upload_set: UploadSet
    ours: bool
    listing: list[Listed]
    statuses: Mapping[str, ItemStatus]
    collection_of: Mapping[str, str]
    whole: bool = True

    @property
    def settled_by_others(self) -> bool:
        """Another account's set that is through: what none of its sequences has, it has no more."""
        return not self.ours and self.whole and self.upload_set.completed and self.upload_set.dispatched

    def of(self, picture: Picture) -> Found:
        """How the set has this picture."""
        return look(self.listing, picture.md5, picture.size, named=None if self.ours else picture.server_id)


def gather(server: Panoramax, upload_set: UploadSet, account: str) -> Evidence:
    """Ask the server for all of it.

    Raises:
        SetGone: the set itself is gone; and whatever else the requests raise.
    """
    statuses: dict[str, ItemStatus] = {}
    collection_of: dict[str, str] = {}
    listing = server.listing(upload_set.id)
    whole = True
    for collection in upload_set.collections:
        try:
            of_it = server.item_statuses(collection.id)
        except SetGone:  # dispatched anew since we read the set: its items are not to be seen for the moment
            whole = False
        else:
            statuses |= of_it
            collection_of |= dict.fromkeys(of_it, collection.id)
    return Evidence(upload_set, upload_set.account_id == account, listing, statuses, collection_of, whole)


class Verdict(StrEnum):
    """What follows for a sent picture."""

    CONFIRMED = "confirmed"
    WAIT = "wait"
    BROKEN = "broken"  # received, but the server could not decode or process it
    REFUSED = "refused"
    LOST = "lost"


_NOT_HELD: Final = {
    Standing.ABSENT: Verdict.LOST,
    Standing.DELETED: Verdict.LOST,
    Standing.REJECTED: Verdict.REFUSED,
    Standing.ELSEWHERE: Verdict.LOST,  # sent once more, the server names the set that has it
}


def judge(found: Found, evidence: Evidence) -> Verdict:
    """The verdict over a picture that was ``found`` so."""
    if found.standing is not Standing.HELD:
        return _NOT_HELD[found.standing]
    item = evidence.statuses.get(found.item or "")
    if item is None and evidence.settled_by_others:
        return Verdict.LOST  # their listing would hide it: sent once more, the server says where it has it, if it has
    if item is None or not evidence.upload_set.dispatched:
        return Verdict.WAIT  # no sequence has it yet; also when it was added after the last dispatch
    if item.is_broken:
        return Verdict.BROKEN
    return Verdict.CONFIRMED if item.is_ready else Verdict.WAIT
