"""The diary of `ailasd log`: real imports, whose card is pulled, and a clock that is set meanwhile."""

from __future__ import annotations

import shutil
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from kit import Kit, drive, kits

from ailasd import diary, story
from ailasd.clock import iso
from ailasd.errors import SourceGone
from ailasd.logs import Event
from ailasd.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HERE = ZoneInfo("Indian/Antananarivo")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    with kits(tmp_path) as make:
        yield make


def read(kit: Kit, source: Any = None) -> None:
    kit.parts.importing_from(source or FolderSource(kit.card)).run(threading.Event())


def told(kit: Kit, **filters: Any) -> list[str]:
    telling = kit.parts.catalogue.telling
    events = telling.timeline(**filters)
    visits = telling.visits(filter(None, map(diary.visit_of, events)))
    return list(diary.diary(events, visits, HERE))


class Pulled(FolderSource):
    """A card that is pulled out after so many files."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self._left = after

    def open(self, file: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise SourceGone("it was pulled out")
        return super().open(file)


def test_a_whole_card_is_one_paragraph(make: Callable[..., Kit]) -> None:
    """What lay on a card, what came over, what became of it: three lines, whose counts add up."""
    kit = make(entries=drive(12, speed_kmh=0, every_s=20))
    (kit.card / "DCIM/100GOPRO/GX010001.MP4").write_bytes(b"film")
    read(kit)
    kit.parts.sorting.run(threading.Event())
    lines = told(kit)
    assert lines[0].startswith("2026-11-21 10:00:00  ")
    assert "was read: of 14 files 12 copied (" in lines[0]
    assert lines[0].endswith(", 0 known, 2 left: other files 1, videos 1.")
    assert lines[1].strip() == "What became of its new pictures: 10 held (parked), 2 queued."
    assert "Drive 1: pictures of" in lines[2]


def test_pulled_out_and_put_in_again(make: Callable[..., Kit]) -> None:
    """A card that is pulled out while it is read and comes back is one paragraph, with both times and one sum."""
    kit = make(entries=drive(8))
    read(kit, Pulled(kit.card, 5))
    kit.clock.advance(120)
    read(kit)
    kit.clock.advance(10)
    lines = told(kit)
    assert "was read: of 9 files 8 copied (" in lines[0]
    assert " 0 known, 1 left: other files 1." in lines[0]
    assert lines[1].strip() == "Pulled out at 10:00:00 while it was read; came back at 10:02:00."
    assert lines[2].strip() == "What became of its new pictures: 8 copied."
    assert len(lines) == 3


def test_never_put_in_again(make: Callable[..., Kit]) -> None:
    """If it does not come back, its files that were not reached are counted, and no time is made up."""
    kit = make(entries=drive(8))
    read(kit, Pulled(kit.card, 5))
    head, cut, *_ = told(kit)
    copied = int(head.split(" copied")[0].rsplit(" ", 1)[1])
    assert f"of 9 files {copied} copied" in head
    assert f"{9 - copied} left: not reached: the card was pulled out {8 - copied}, other files 1." in head
    assert cut.strip() == "Pulled out at 10:00:00 while it was read."


def test_another_day_is_another_paragraph(make: Callable[..., Kit]) -> None:
    """The same card with new pictures, after it was read to its end, is told anew."""
    kit = make(entries=drive(3))
    read(kit)
    kit.parts.journal.tell(Event.CARD_READY, card_id=1, card="x")
    kit.clock.advance(60)
    kit.parts.journal.tell(Event.CARD_REMOVED, card_id=1, card="x")
    kit.clock.advance(86_400)
    shutil.copy(next(kit.card.rglob("*.JPG")), kit.card / "DCIM/100GOPRO/G0990001.JPG")
    read(kit)
    heads = [line for line in told(kit) if "was read" in line]
    assert len(heads) == 2
    assert "of 5 files 0 copied, 4 known, 1 left" in heads[1]
    assert any("It could be pulled out at 10:00:00, it was taken out at 10:01:00." in line for line in told(kit))


def test_the_clock_is_set_in_the_middle(make: Callable[..., Kit]) -> None:
    """Times of a clock that nobody vouched for are marked, and so is the moment from which on one did."""
    kit = make(entries=drive(3))
    kit.clock.believed = False
    read(kit)
    kit.clock.jump(timedelta(days=3 * 365))
    kit.clock.believed = True
    kit.parts.journal.tell(Event.CLOCK_JUMPED, jump_s=3 * 365 * 86_400)
    lines = told(kit)
    assert lines[0].startswith("~2026-11-21 10:00:00")
    assert diary.CLOCK_SET in lines
    assert lines[lines.index(diary.CLOCK_SET) + 1].endswith("own clock was changed by 1095 d.")
    assert lines[-1] == story.UNTRUSTED_NOTE


def test_no_length_of_a_pass_in_which_the_clock_was_set(make: Callable[..., Kit]) -> None:
    """A reading that took three years by the clock is told without its length."""
    kit = make(entries=drive(3))
    kit.clock.believed = False

    class Jumps(FolderSource):
        def open(self, file: Any) -> Any:
            if not kit.clock.believed:
                kit.clock.jump(timedelta(days=3 * 365))
                kit.clock.believed = True
            return super().open(file)

    read(kit, Jumps(kit.card))
    assert "3 copied (" in told(kit)[0]
    assert "), 0 known" in told(kit)[0]


def test_a_kill_in_the_middle(make: Callable[..., Kit]) -> None:
    """A reading that no process lived to end is told as cut off; the next one says what it did."""
    kit = make(entries=drive(3))
    visit = kit.parts.catalogue.cards.begin_visit(kit.parts.catalogue.cards.seen(FolderSource(kit.card).card()))
    kit.parts.journal.tell(
        Event.IMPORT_STARTED, card_id=1, trace=f"v{visit}", card="x", new=3, new_bytes=1, known=0
    )  # fmt: skip
    assert "is being read." in told(kit)[0]
    kit.restart()
    read(kit)
    assert "was read: of 4 files 3 copied" in told(kit)[0]
    assert told(kit)[1].strip() == "Its reading was cut off, or it is being read now."


def test_filters(make: Callable[..., Kit]) -> None:
    """By loudness and by time; the moves of single pictures are whispers, with their names."""
    kit = make(entries=drive(3))
    read(kit)
    kit.clock.advance(3600)
    kit.parts.journal.tell(Event.READ_ERROR, path="DCIM/x.JPG", problem="bad sector")
    now = iso(kit.clock.now())
    assert told(kit, without=story.quieter_than("warning")) == [
        "2026-11-21 11:00:00  DCIM/x.JPG cannot be read: bad sector; the rest goes on."
    ]
    assert len(told(kit, since=now)) == 1
    assert "cannot be read" not in " ".join(told(kit, until=now))
    whispered = told(kit, moves=True)
    assert any("G0010001.JPG: copied from the card and verified" in line for line in whispered)
