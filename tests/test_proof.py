"""What proves that the server holds a picture: every combination of its words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ailasd.panoramax import Collection, ItemStatus, Listed, Rejected, UploadSet
from ailasd.proof import Evidence, Found, Standing, Verdict, judge, look

MD5, SIZE, ITEM = "a" * 32, 5, "11111111-1111-4111-8111-111111111111"


def row(*, md5: str | None = MD5, size: int | None = SIZE, item: str | None = ITEM, reason: str = "") -> Listed:
    rejected = Rejected(reason, "error", "so", {}) if reason else None
    return Listed("a.jpg", md5, size, item, rejected, datetime(2026, 11, 20, tzinfo=UTC))


def evidence(*, status: str | None = "ready", dispatched: bool = True) -> Evidence:
    of = UploadSet(
        ITEM, ITEM, "t", {}, completed=True, dispatched=dispatched, ready=True, visibility="logged-only",
        no_split=True, no_deduplication=True, pictures=1, collections=(Collection(ITEM, None),),
    )  # fmt: skip
    statuses = {ITEM: ItemStatus(ITEM, status, None)} if status else {}
    return Evidence(of, True, [], statuses, {})


@pytest.mark.parametrize(
    ("listing", "standing"),
    [
        ([], Standing.ABSENT),
        ([row()], Standing.HELD),
        ([row(md5="b" * 32)], Standing.ABSENT),
        ([row(size=6)], Standing.ABSENT),
        ([row(md5=None, size=None, item=None, reason="invalid_file")], Standing.ABSENT),
        ([row(item=None)], Standing.DELETED),
        ([row(item=None, reason="capture_duplicate")], Standing.REJECTED),
        ([row(reason="capture_duplicate")], Standing.REJECTED),
        ([row(item=None, reason="unheard_of")], Standing.REJECTED),
        ([row(item=None, reason="file_duplicate")], Standing.ELSEWHERE),
        ([row(item=None, reason="id_conflict")], Standing.ABSENT),
        ([row(item=None, reason="invalid_metadata"), row()], Standing.HELD),
        ([row(), row(item=None)], Standing.HELD),
    ],
)
def test_look(listing: list[Listed], standing: Standing) -> None:
    """Only a row with our md5, our size, an id and no rejection is held; of several rows the best one counts."""
    assert look(listing, MD5, SIZE).standing is standing


def test_look_at_others() -> None:
    """In another account's listing, which hides ids, the id that the server named stands for the missing one."""
    assert look([row(item=None)], MD5, SIZE, named=ITEM) == Found(Standing.HELD, row(item=None), ITEM)
    assert look([row(item=None, reason="capture_duplicate")], MD5, SIZE, named=ITEM).standing is Standing.REJECTED


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("status", [None, "ready", "broken", "preparing", "hidden", "READY", ""])
@pytest.mark.parametrize("dispatched", [True, False])
def test_judge(standing: Standing, status: str | None, dispatched: bool) -> None:
    """Confirmed is exactly: held, dispatched and ``ready``. Nothing else, whatever the words."""
    item = ITEM if standing is Standing.HELD else None
    verdict = judge(Found(standing, row(), item), evidence(status=status, dispatched=dispatched))
    proven = standing is Standing.HELD and dispatched and status == "ready"
    assert (verdict is Verdict.CONFIRMED) == proven
    if standing is Standing.HELD and not proven:
        assert verdict is (Verdict.BROKEN if status == "broken" and dispatched else Verdict.WAIT)


def test_ready_of_the_set_is_nothing() -> None:
    """``ready`` of the whole set proves nothing about a picture that no sequence has."""
    assert judge(Found(Standing.HELD, row(), ITEM), evidence(status=None)) is Verdict.WAIT
