"""Deleting, on real files, against the receiver over a real socket."""

from __future__ import annotations

import os
import shutil
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from kit import Kit, drive, held_to_permissions, kits, md5

from ailasd.by_hand import ByHand
from ailasd.cleaning import Cleaning
from ailasd.demo import pictures
from ailasd.model import State
from ailasd.sources.folder import FolderSource
from ailasd.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Kit]

NO_STOP = threading.Event()
CONFIRMED = {"cleaning": {"card": "confirmed"}}
COPIED = {"cleaning": {"card": "copied"}}
PARKED = {"n": 40, "speed_kmh": 0}
"""200 s on one spot: most of it is held."""


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


def confirmed(kit: Kit) -> None:
    """Everything confirmed, nothing cleaned yet."""
    kit.bring_in()
    kit.upload()
    kit.confirm()  # completes the set; the server publishes it after that
    kit.clock.advance(600)
    kit.confirm()
    assert kit.states() == {State.CONFIRMED: len(kit.entries)}


def names(kit: Kit) -> list[str]:
    return sorted(name for name, _, _ in kit.entries)


def release(kit: Kit) -> None:
    """What `ailasd release --cleaning` does."""
    parts = kit.parts
    ByHand(parts.catalogue, parts.storage, parts.sorting, parts.journal).let_cleaning_go_on()


def prove(kit: Kit) -> None:
    """As if each copy had been read back from a device."""
    with kit.parts.catalogue.writing() as db:
        db.execute("UPDATE picture SET proven = 1")


# -- off ---------------------------------------------------------------------------------------------------------------
def test_off(make: Make) -> None:
    """By default nothing is ever deleted, neither on the card nor of our own."""
    kit = make()
    kit.drain()
    kit.clock.advance(400 * 86_400)
    kit.drain()
    assert kit.on_card() == names(kit)
    assert all(kit.copy(index).exists() for index in range(3))


# -- cards: confirmed --------------------------------------------------------------------------------------------------
def test_confirmed(make: Make) -> None:
    """With card = "confirmed" it deletes exactly the files of confirmed pictures; other files and folders stay."""
    kit = make(entries=drive(3), **CONFIRMED)
    other = kit.card / "DCIM/100GOPRO/GX010001.MP4"
    other.write_bytes(b"video")
    with kit.receiver.excluded_area(47, -18.9002, 48, -18.8):  # the first one is refused
        kit.drain()
    assert kit.on_card() == names(kit)[:1]
    assert other.exists()
    assert (kit.card / "MISC/version.txt").exists()
    assert "card_cleared" in kit.events()


def test_not_confirmed_yet(make: Make) -> None:
    """What is only sent stays on the card."""
    kit = make(**CONFIRMED)
    kit.receiver.store._dispatch_after = None
    kit.bring_in()
    kit.upload()
    kit.confirm()
    kit.clean()
    assert kit.on_card() == names(kit)


def test_held_stay(make: Make) -> None:
    """Pictures that are held here were never confirmed: they stay on the card."""
    kit = make(entries=drive(**PARKED), **CONFIRMED)
    kit.drain()
    states = kit.states()
    assert states[State.HELD] > 30
    assert len(kit.on_card()) == states[State.HELD]
    kept = {row["name"] for row in kit.rows() if row["state"] == State.HELD}
    assert {name.rsplit("/")[-1] for name in kit.on_card()} == kept


def test_asked_again(make: Make) -> None:
    """Before it deletes it asks the server anew; without an answer everything stays."""
    kit = make()
    confirmed(kit)
    kit.restart(**CONFIRMED)
    kit.receiver.away()
    kit.clean()
    assert kit.on_card() == names(kit)
    kit.receiver.back()
    before = kit.calls()["listing"]
    kit.clock.advance(60)
    kit.clean()
    assert kit.on_card() == []
    assert kit.calls()["listing"] == before + 1


@pytest.mark.parametrize("kind", ["html_200", "half_json", "wrong_md5", "status"])
def test_no_proof(make: Make, kind) -> None:
    """An answer that proves nothing deletes nothing."""
    kit = make()
    confirmed(kit)
    kit.restart(**CONFIRMED)
    kit.receiver.fault("listing", kind, times=None)
    kit.clean()
    assert kit.on_card() == names(kit)


def test_changed_on_the_card(make: Make) -> None:
    """A file with other bytes than ours is kept, though name, size and time are the same."""
    kit = make()
    confirmed(kit)
    changed = kit.card / kit.entries[1][0]
    times = changed.stat()
    changed.write_bytes(kit.entries[1][1][:-10] + bytes(10))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    kit.restart(**CONFIRMED)
    kit.clean()
    assert kit.on_card() == [kit.entries[1][0]]


def test_another_picture_of_that_name(make: Make) -> None:
    """A new picture under the name of a confirmed one is not the confirmed one: it stays."""
    kit = make()
    confirmed(kit)
    new = kit.card / kit.entries[1][0]
    new.write_bytes(pictures.jpeg(seed=77))
    kit.restart(**CONFIRMED)
    kit.clean()
    assert kit.on_card() == names(kit)  # one is missing under its old key, too: that alone is suspicious


def test_server_lost_it(make: Make) -> None:
    """One confirmed picture that the server lost: nothing more is deleted until a person says so; then it goes on."""
    kit = make()
    confirmed(kit)
    kit.restart(**CONFIRMED)
    kit.receiver.lose_picture(md5(kit.entries[0][1]))
    kit.clean()
    assert kit.on_card() == names(kit)
    assert kit.picture(0).name in (kit.stopped() or "")
    assert kit.picture(0).state is State.QUEUED  # and it is sent again
    kit.drain()
    assert kit.on_card() == names(kit)
    release(kit)
    kit.drain()
    assert kit.on_card() == []
    assert kit.held_once()


def test_set_deleted(make: Make) -> None:
    """The set is gone from the server: everything stays on the card, cleaning stops, and it is sent again."""
    kit = make()
    confirmed(kit)
    kit.restart(**CONFIRMED)
    kit.receiver.store.delete(kit.the_set())
    kit.clean()
    assert kit.on_card() == names(kit)
    assert kit.stopped()
    kit.drain()
    assert kit.on_card() == names(kit)
    release(kit)
    kit.drain()
    assert kit.on_card() == []


# -- cards: copied -----------------------------------------------------------------------------------------------------
def test_copied(make: Make) -> None:
    """With card = "copied" it deletes what was read back from our device, without asking the server, held ones too."""
    kit = make(entries=drive(**PARKED), on_disk=True, **COPIED)
    kit.bring_in()
    unproven = {row["name"] for row in kit.rows() if not row["proven"]}  # all, if tests run on a tmpfs
    kit.clean()
    assert {name.rsplit("/")[-1] for name in kit.on_card()} == unproven
    prove(kit)
    kit.clean()
    assert kit.on_card() == []
    assert kit.calls() == {}


def test_copied_unproven(make: Make) -> None:
    """A copy that was never read back from a device (a tmpfs has none) does not free the card."""
    kit = make(**COPIED)
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.execute("UPDATE picture SET proven = 0")
    kit.clean()
    assert kit.on_card() == names(kit)


@pytest.mark.parametrize("how", ["gone", "cut", "rotten"])
def test_copied_but_lost(make: Make, how: str) -> None:
    """Our copy is read once more before the card's is deleted: if it is not whole, the card keeps its own."""
    kit = make(**COPIED)
    kit.bring_in()
    prove(kit)
    copy, data = kit.copy(1), kit.entries[1][1]
    if how == "gone":
        copy.unlink()
    else:
        copy.write_bytes(data[:-100] if how == "cut" else data[:-100] + bytes(100))
    kit.clean()
    assert kit.on_card() == [kit.entries[1][0]]


# -- cards: suspicion --------------------------------------------------------------------------------------------------
def test_fewer_files(make: Make) -> None:
    """A card that comes back with fewer files than known keeps the rest until a person says so, whoever looks first."""
    kit = make()
    confirmed(kit)
    (kit.card / kit.entries[0][0]).unlink()
    kit.restart(**CONFIRMED)
    kit.clean()  # before any import
    assert kit.on_card() == names(kit)[1:]
    assert "1 files that we know are gone" in str(kit.parts.catalogue.telling.cards()[0]["cleaning_stopped"])
    kit.drain()
    assert kit.on_card() == names(kit)[1:]
    assert kit.stopped() is None  # only for that card
    release(kit)
    kit.drain()
    assert kit.on_card() == []


def test_fewer_files_where_nothing_is_cleared(make: Make) -> None:
    """Who deletes a shot in the camera is not asked about it by a kit that never clears a card."""
    kit = make()
    kit.bring_in()
    (kit.card / kit.entries[0][0]).unlink()
    kit.drain()
    assert "cleaning_stopped" not in kit.events()
    assert kit.parts.catalogue.telling.cards()[0]["cleaning_stopped"] is None


def test_fewer_files_in_a_slot(make: Make) -> None:
    """What a person allows holds for the files that were missed by then, wherever their card is; for others not."""
    kit = make(sources={"folders": []}, **CONFIRMED)
    cards, step = kit.parts.catalogue.cards, kit.parts.importing_from(FolderSource(kit.card))
    first = step.run(NO_STOP)
    assert first is not None
    for missing in range(2):
        (kit.card / kit.entries[missing][0]).unlink()
        step.run(NO_STOP)
        assert "1 files that we know are gone" in str(cards.cleaning_stopped(first.card))
        release(kit)
        step.run(NO_STOP)
        assert cards.cleaning_stopped(first.card) is None


def test_formatted(make: Make) -> None:
    """A newly formatted card has none of the old files: that is no suspicion, and its pictures are cleared in time."""
    kit = make()
    confirmed(kit)
    kit.restart(**CONFIRMED)
    shutil.rmtree(kit.card / "DCIM")
    kit.entries = drive(3, seed=50, start=kit.clock.now() - timedelta(hours=1))
    pictures.write_card(kit.card, kit.entries)
    kit.drain()
    assert kit.on_card() == []
    assert kit.states() == {State.CONFIRMED: 6}


def test_cleared_by_us(make: Make) -> None:
    """Files that we deleted ourselves are not missing: the next drive on that card is cleared, too."""
    kit = make(**CONFIRMED)
    kit.drain()
    pictures.write_card(kit.card, drive(3, seed=50, group=2, first=4, start=kit.clock.now() - timedelta(hours=1)))
    kit.drain()
    assert kit.on_card() == []


def test_read_only_card(make: Make) -> None:
    """A write-protected card is left as it is, and it is said once what to do."""
    kit = make()
    confirmed(kit)
    kit.restart(**CONFIRMED)
    folder = kit.card / "DCIM/100GOPRO"
    folder.chmod(0o555)
    with held_to_permissions():
        kit.clean()
    folder.chmod(0o755)
    assert kit.on_card() == names(kit)
    assert kit.events().count("cleaning_stopped") == 1
    assert kit.stopped() is None
    kit.clean()
    assert kit.on_card() == []


def test_card_pulled(make: Make) -> None:
    """A card that is pulled while it is cleared costs nothing but the rest of the work."""
    kit = make(**CONFIRMED)
    confirmed(kit)
    source, away = kit.parts.cleaning._sources[0], kit.tmp / "away"
    remove = source.remove

    def pulled(file):
        remove(file)
        kit.card.rename(away)

    source.remove = pulled  # type: ignore[method-assign]
    kit.clean()
    source.remove = remove  # type: ignore[method-assign]
    assert len(list(away.rglob("*.JPG"))) == 2
    away.rename(kit.card)
    kit.clean()
    assert kit.on_card() == []


@pytest.mark.parametrize("deed", [False, True])
def test_killed_on_the_card(make: Make, deed: bool) -> None:
    """Killed just before or just after a deletion: the next round goes on as if nothing had been."""
    kit = make(**CONFIRMED)
    confirmed(kit)
    source = kit.parts.cleaning._sources[0]
    remove = source.remove

    def killed(file):
        if deed:
            remove(file)
        raise KilledError

    source.remove = killed  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        kit.clean()
    kit.restart()
    kit.drain()
    assert kit.on_card() == []
    assert kit.parts.catalogue.telling.cards()[0]["cleaning_stopped"] is None


# -- our own storage ---------------------------------------------------------------------------------------------------
def test_by_age(make: Make) -> None:
    """Our copy goes when its confirmation is old enough, not before, and only after the server proved it once more."""
    kit = make(cleaning={"local_after": "30d"})
    kit.drain()
    kit.clock.advance(29 * 86_400)
    kit.clean()
    assert kit.states() == {State.CONFIRMED: 3}
    copies = [kit.copy(index) for index in range(3)]
    before = kit.calls()["listing"]
    kit.clock.advance(2 * 86_400)
    kit.clean()
    assert kit.states() == {State.CLEANED: 3}
    assert not any(copy.exists() for copy in copies)
    assert kit.calls()["listing"] == before + 1
    assert kit.on_card() == names(kit)


@pytest.mark.parametrize("when", ["then", "now"])
def test_age_needs_clocks(make: Make, when: str) -> None:
    """Age is nothing while the clock of then or of now cannot be believed."""
    kit = make(cleaning={"local_after": "30d"})
    kit.clock.believed = when != "then"
    kit.drain()
    kit.clock.believed = when != "now"
    kit.clock.jump(timedelta(days=3650))
    kit.clean()
    assert kit.states() == {State.CONFIRMED: 3}


def test_those_without_an_age_keep_no_other_from_going(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were confirmed before anybody set the clock, those after them go in their time."""
    monkeypatch.setattr("ailasd.cleaning.BATCH", 2)
    kit = make(cleaning={"local_after": "30d"})
    kit.clock.believed = False
    kit.drain()
    kit.clock.believed = True
    kit.entries = drive(3, seed=50, start=kit.clock.now() - timedelta(hours=1), group=2)
    pictures.write_card(kit.card, kit.entries)
    kit.drain()
    for _ in range(2):
        kit.clock.advance(31 * 86_400)
        kit.clean()
    assert kit.states() == {State.CONFIRMED: 3, State.CLEANED: 3}


def test_others_never_go(make: Make) -> None:
    """Held and refused pictures keep our copy, however old they are and however full the disk is."""
    kit = make(entries=drive(**PARKED), cleaning={"local_after": "1h", "local_below": "10TB"})
    kit.receiver.fault("send", "status", code=400, body={"message": "no"})
    kit.drain()
    kit.clock.advance(400 * 86_400)
    kit.drain()
    assert set(kit.states()) == {State.HELD, State.REFUSED, State.CLEANED}
    for row in kit.rows():
        gone = row["state"] == State.CLEANED
        assert (row["copy"] is None) == gone
        assert gone or kit.parts.storage.path_of(row["copy"]).exists()


def test_low_disk(make: Make) -> None:
    """On a disk that runs full confirmed copies go, oldest first, and no more than it takes."""
    kit = make(entries=drive(5))
    confirmed(kit)
    order = sorted(range(5), key=lambda index: -index)
    for days, index in enumerate(order):  # the last picture was confirmed first
        with kit.parts.catalogue.writing() as db:
            db.execute(
                "UPDATE picture SET since = ? WHERE id = ?", [f"2026-11-0{days + 1}T00:00:00Z", kit.picture(index).id]
            )
    size = len(kit.entries[0][1])

    class SmallDisk(Storage):
        """Room for six pictures, all the same size within a few bytes."""

        def free(self) -> int:
            return 6 * size - sum(file.stat().st_size for file in self.folder.rglob("*.jpg"))

    parts = kit.parts
    cleaning = Cleaning(
        parts.catalogue, SmallDisk(parts.storage.folder), parts.journal, parts.link, [],
        card=None, local_after=None, local_below=int(2.5 * size),
    )  # fmt: skip
    cleaning.run(threading.Event())
    assert [kit.picture(index).state for index in order] == [State.CLEANED] * 2 + [State.CONFIRMED] * 3


def test_rotten_copy_stays(make: Make) -> None:
    """A copy of ours that is not what it was is no reason to delete anything."""
    kit = make(cleaning={"local_after": "1h"})
    kit.drain()
    kit.copy(1).write_bytes(b"rotten")
    kit.clock.advance(7200)
    kit.clean()
    assert kit.picture(1).state is State.CONFIRMED
    assert kit.states() == {State.CLEANED: 2, State.CONFIRMED: 1}


def test_killed_on_our_disk(make: Make) -> None:
    """Killed between the deletion of a copy and the note of it: the next round makes the note."""
    kit = make(cleaning={"local_after": "1h"})
    kit.drain()
    kit.clock.advance(7200)

    def killed(*_args, **_facts):
        raise KilledError

    kit.parts.catalogue.pictures.move = killed  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        kit.clean()
    kit.restart()
    assert kit.states() == {State.CONFIRMED: 3}
    kit.clean()
    assert kit.states() == {State.CLEANED: 3}


def test_lost_before_local(make: Make) -> None:
    """If the server lost it in the meantime our copy stays, is sent again, and cleaning stops."""
    kit = make(cleaning={"local_after": "1h"})
    kit.drain()
    kit.clock.advance(7200)
    kit.receiver.lose_picture(md5(kit.entries[0][1]))
    kit.clean()
    assert kit.stopped()
    kit.drain()
    assert kit.copy(0).exists()
    assert kit.receiver.holds()[md5(kit.entries[0][1])] == 1
