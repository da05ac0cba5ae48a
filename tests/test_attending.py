"""Attending to what is plugged in: real folders as cards, the real import; only udev and mount are played."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from daemons import wait
from kit import Kit, drive, kits

from ailasd import wording
from ailasd.attending import STILL_MOUNTED_S, Attending, Hands, Stand
from ailasd.cards import Medium, MediumKind
from ailasd.demo import pictures
from ailasd.errors import NeedsHuman, SourceGone, TryLater, Unreadable
from ailasd.model import State
from ailasd.sign import Sign, shown
from ailasd.sources.folder import FolderSource
from ailasd.status import summary
from ailasd.wording import may_i_clear

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ailasd.sources import Source

NO_STOP = threading.Event()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with kits(tmp_path) as make:
        yield make(sources={"folders": []})


class Hub:
    """Slots with cards in them: ``present`` is what udev would say, ``mounted`` what is mounted now."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.slots: dict[str, Medium] = {}
        self.folders: dict[str, Path] = {}
        self.mounted: set[str] = set()
        self.trouble: dict[str, Exception] = {}
        self.let_go: list[str] = []
        self.reads = 0
        self.used_at: str | None = None  # where a desktop has it mounted
        self.slow: dict[str, threading.Event] = {}
        self.opening: threading.Event | None = None
        self.stays: Exception | None = None  # why it cannot be unmounted
        parts = kit.parts
        hands = Hands(
            opened=self.opened,
            read=lambda source, stop, alive, recognised: parts.importing_from(source).run(
                stop, alive=alive, recognised=recognised
            ),
            tracks=lambda source, _: sum(file.path.endswith(".gpx") for file in source.listing()),
            let_go=self.lets_go,
            at_work=lambda _: nullcontext(lambda: None),
        )
        self.step = Attending(parts.catalogue, parts.journal, parts.clock, self, hands)

    def plug(
        self,
        slot: str,
        entries=None,
        *,
        folder: Path | None = None,
        problem: str | None = None,
        reason: str | None = None,
    ) -> Path:
        """A card is put in; its folder stands for what is on it."""
        folder = folder or self.kit.tmp / f"media-{slot}-{len(self.slots)}"
        if entries is not None:
            pictures.write_card(folder, entries)
        folder.mkdir(exist_ok=True)
        key = f"{slot}#{time.monotonic_ns()}"
        self.slots[slot] = Medium(
            key, MediumKind.CARD, f"/dev/{slot}", f"reader {slot}", problem=problem, reason=reason
        )
        self.folders[key] = folder
        return folder

    def present(self) -> list[Medium]:
        return list(self.slots.values())

    @contextmanager
    def opened(self, medium: Medium) -> Iterator[Source]:
        self.reads += 1
        if medium.node in self.trouble:
            raise self.trouble[medium.node]
        if self.opening:
            assert self.opening.wait(10)
        self.mounted.add(medium.key)
        try:
            if medium.node in self.slow:
                assert self.slow[medium.node].wait(10)
            yield FolderSource(self.folders[medium.key])
            if self.stays:
                raise self.stays
        finally:
            self.mounted.discard(medium.key)

    def lets_go(self, medium: Medium) -> str | None:
        self.let_go.append(medium.key)
        return self.used_at

    def attend(self, *, rounds: int = 200) -> None:
        """Rounds until nothing is being read any more."""
        for _ in range(rounds):
            self.step.run(NO_STOP)
            if not any(one.reading for one in self.step._here.values()):
                return
            time.sleep(0.02)
        raise AssertionError("still reading")

    def send_all(self) -> None:
        """Until the server is proven to have all that was read."""
        self.kit.parts.sorting.run(NO_STOP)
        self.kit.upload()
        for _ in range(2):
            self.kit.confirm()
            self.kit.clock.advance(600)

    def sign(self) -> Sign:
        return shown(summary(self.kit.parts.catalogue, daemon_runs=True)).sign

    def stands(self) -> dict[str, str]:
        return {row["label"]: row["state"] for row in self.kit.parts.catalogue.media.all()}


@pytest.fixture
def hub(kit: Kit) -> Hub:
    return Hub(kit)


def test_plugged_in_is_read_and_let_go(hub: Hub) -> None:
    """A card that is plugged in is read whole and unmounted, and everybody is told that it may be pulled out."""
    hub.plug("sdb1", drive(4))
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 4}
    assert (hub.mounted, len(hub.let_go)) == (set(), 1)
    assert set(hub.stands().values()) == {Stand.DONE}
    assert hub.kit.events()[-1] == "card_ready"


def test_what_a_desktop_still_uses_is_not_to_be_pulled(hub: Hub) -> None:
    """A card that is read but still mounted by a desktop must stay in, and is not read again until it is ejected."""
    hub.used_at = "/media/marie/CARD"
    hub.plug("sda", drive())
    hub.attend()
    (label,) = hub.stands()
    for _ in range(3):
        assert hub.stands() == {label: Stand.MOUNTED}
        assert hub.sign() is Sign.READING
        assert "/media/marie/CARD" in wording.of_status(summary(hub.kit.parts.catalogue), UTC)
        hub.kit.clock.advance(STILL_MOUNTED_S)
        hub.attend()
    assert list(hub.step.to_clear(lambda _: True)) == []
    hub.used_at = None
    hub.attend()
    assert set(hub.stands().values()) == {Stand.MOUNTED}  # not looked at in between
    hub.kit.clock.advance(STILL_MOUNTED_S)
    hub.attend()
    assert set(hub.stands().values()) == {Stand.DONE}
    assert hub.sign() is Sign.PULL
    assert hub.kit.events().count("card_ready") == 1
    assert len(hub.kit.parts.catalogue.telling.cards()) == 1
    assert hub.reads == 1


def test_pulled_out_after_it_was_read(hub: Hub) -> None:
    """It is forgotten, and the next card in the same slot is read."""
    hub.plug("sdb1", drive(2))
    hub.attend()
    del hub.slots["sdb1"]
    hub.attend()
    assert (hub.stands(), hub.kit.events()[-1]) == ({}, "card_removed")
    hub.plug("sdb1", drive(3, seed=40, group=2, first=9))
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 5}


def test_next_card_without_a_look_in_between(hub: Hub) -> None:
    """The card was changed faster than anybody looked: the new one is read all the same."""
    hub.plug("sdb1", drive(2))
    hub.attend()
    hub.plug("sdb1", drive(3, seed=40, group=2, first=9))
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 5}


def test_a_fast_card_does_not_wait_for_a_slow_one(hub: Hub) -> None:
    """Of two cards the second is read to its end while the first hangs."""
    hub.plug("sdb1", drive(2))
    hub.slow["/dev/sdb1"] = threading.Event()
    hub.plug("sdc1", drive(3, seed=40, group=2, first=9))
    for _ in range(200):
        hub.step.run(NO_STOP)
        if hub.kit.states() == {State.COPIED: 3} and Stand.DONE in hub.stands().values():
            break
        time.sleep(0.02)
    else:
        pytest.fail("it waited")
    hub.slow["/dev/sdb1"].set()
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 5}


def test_yanked_while_it_is_read(hub: Hub) -> None:
    """What was not reached is copied when the card comes back, nothing twice."""
    folder = hub.plug("sdb1", drive(12))
    away = folder.with_name("away")
    copied = hub.kit.parts.catalogue.cards.copied

    def yanking(*args, **kwargs):
        if folder.exists():
            folder.rename(away)
        return copied(*args, **kwargs)

    hub.kit.parts.catalogue.cards.copied = yanking  # type: ignore[method-assign]
    hub.attend()
    del hub.slots["sdb1"]
    hub.attend()
    assert hub.stands() == {}
    assert "card_gone" in hub.kit.events()
    away.rename(folder)
    hub.kit.parts.catalogue.cards.copied = copied  # type: ignore[method-assign]
    hub.plug("sdb1", folder=folder)
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 12}


@pytest.mark.parametrize(
    "error", [Unreadable("/dev/sdb1 is encrypted"), SourceGone("it died while mounting"), NeedsHuman("polkit refuses")]
)
def test_what_cannot_be_mounted_is_said_once_and_tried_again(hub: Hub, error: Exception) -> None:
    """One sentence in the log and in the status; when it can be read later it is, by itself."""
    hub.plug("sdb1", drive(2))
    hub.trouble["/dev/sdb1"] = error
    for _ in range(3):
        hub.attend()
        hub.kit.clock.advance(700)
    assert hub.kit.events().count("card_unreadable") == 1
    (row,) = hub.kit.parts.catalogue.media.all()
    assert (row["state"], row["problem"]) == (Stand.UNREADABLE, str(error))
    del hub.trouble["/dev/sdb1"]
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 2}


@pytest.mark.parametrize(("reason", "event"), [("empty", "reader_empty"), ("encrypted", "card_unreadable")])
def test_a_medium_with_a_problem_is_told_and_left(hub: Hub, reason: str, event: str) -> None:
    """An unknown file system, an empty reader: told once, never mounted."""
    hub.plug("sdb1", problem="there is no card in it", reason=reason)
    hub.attend()
    hub.attend()
    assert hub.kit.events() == [event]
    assert set(hub.stands().values()) == {Stand.EMPTY if reason == "empty" else Stand.UNREADABLE}


def test_the_card_is_known_while_it_is_read(hub: Hub) -> None:
    """As soon as a card is recognised its row says which it is, so that its counts can be shown."""
    seen: list[tuple[str, int | None]] = []
    catalogue = hub.kit.parts.catalogue
    hub.step.changed = lambda: seen.extend((row["state"], row["card"]) for row in catalogue.media.all())
    hub.plug("sdb1", drive(2))
    hub.attend()
    assert seen == [("reading", None), ("reading", None), ("reading", 1), ("done", 1)]


def test_it_must_stay_in_from_the_first_moment(hub: Hub) -> None:
    """While a card is still being mounted nobody is told to pull or to clear it, whatever the last one was."""
    hub.plug("sdb1", drive(2))
    hub.attend()
    hub.send_all()
    assert hub.sign() is Sign.SAFE
    del hub.slots["sdb1"]
    hub.plug("sdb1", drive(2, seed=40, group=2))
    hub.opening = threading.Event()
    hub.step.run(NO_STOP)
    assert wait(lambda: bool(hub.stands()), 10)
    assert (hub.mounted, hub.sign()) == (set(), Sign.READING)
    hub.opening.set()
    hub.attend()


def test_a_folder_that_cannot_be_looked_into(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged folder may hide hundreds of pictures: the card may be pulled out, but nobody is told to clear it."""
    look_into = FolderSource._folder

    @contextmanager
    def damaged(source: FolderSource, components: tuple[bytes, ...]) -> Iterator[int]:
        if components == (b"DCIM", b"101GOPRO"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        with look_into(source, components) as fd:
            yield fd

    monkeypatch.setattr(FolderSource, "_folder", damaged)
    (hub.plug("sdb1", drive(2)) / "DCIM/101GOPRO").mkdir()
    hub.attend()
    hub.send_all()
    assert hub.kit.states() == {State.CONFIRMED: 2}
    assert hub.sign() is Sign.PULL
    (card,) = summary(hub.kit.parts.catalogue).cards
    assert card.left["unreadable"] == 1
    assert may_i_clear(card).endswith("; and not all that is on it could be read.")


def test_a_stick_that_is_no_camera_s(hub: Hub) -> None:
    """Other people's files, pictures included, are left alone and that is said; it may be pulled out."""
    folder = hub.plug("sdb1")
    (folder / "holiday.jpg").write_bytes(b"\xff\xd8 no camera \xff\xd9")
    (folder / "letter.txt").write_text("dear")
    hub.attend()
    assert hub.kit.states() == {}
    assert hub.kit.events()[-1] == "card_ignored"
    assert set(hub.stands().values()) == {Stand.IGNORED}


def test_pictures_of_a_gopro_without_dcim(hub: Hub) -> None:
    """Somebody copied a GoPro's pictures onto a stick: they are a camera's all the same."""
    card = hub.plug("sdb1", drive(3))
    stick = hub.plug("sdc1")
    for file in (card / "DCIM").rglob("*.JPG"):
        shutil.copy2(file, stick)
    del hub.slots["sdb1"]
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 3}


def test_a_stick_with_tracks_only(hub: Hub) -> None:
    """Its tracks are taken in."""
    (hub.plug("sdb1") / "day.gpx").write_text("<gpx/>")
    hub.attend()
    assert set(hub.stands().values()) == {Stand.DONE}


def test_full_disk_waits_and_goes_on(hub: Hub) -> None:
    """No room: it says so, keeps the card in mind, and reads the rest when there is room."""
    parts = hub.kit.parts
    small = True

    def limited(source, stop, *_):
        step = parts.importing_from(source)
        step._reserve = 1 << 60 if small else 0
        return step.run(stop)

    object.__setattr__(hub.step._hands, "read", limited)
    hub.plug("sdb1", drive(2))
    hub.attend()
    assert set(hub.stands().values()) == {Stand.WAITING}
    small = False
    hub.kit.clock.advance(60)
    hub.attend()
    assert hub.kit.states() == {State.COPIED: 2}


def test_a_bug_is_told_and_the_others_go_on(hub: Hub) -> None:
    """A fault of ours over one medium is raised by the step, once; other media are read."""
    hub.plug("sdb1", drive(2))
    hub.trouble["/dev/sdb1"] = ZeroDivisionError()
    hub.plug("sdc1", drive(3, seed=40, group=2, first=9))
    raised = 0
    for _ in range(200):
        try:
            hub.step.run(NO_STOP)
        except ZeroDivisionError:
            raised += 1
        time.sleep(0.01)
    assert raised == 1
    assert hub.kit.states() == {State.COPIED: 3}


def test_cards_to_clear(hub: Hub) -> None:
    """Only cards that were read to their end are offered for clearing, mounted as long as the context lasts."""
    hub.plug("sdb1", drive(2))
    assert list(hub.step.to_clear(lambda _: True)) == []
    hub.attend()
    assert list(hub.step.to_clear(lambda _: False)) == []
    for opened in hub.step.to_clear(lambda _: True):
        with opened as source:
            assert len(hub.mounted) == 1
            assert sum(file.kind == "picture" for file in source.listing()) == 2
            assert set(hub.stands().values()) == {Stand.CLEARING}
    assert (hub.mounted, set(hub.stands().values())) == (set(), {Stand.DONE})


def test_pulled_out_while_it_is_cleared(hub: Hub) -> None:
    """Nothing of it is left, though udev told of it before clearing noticed."""
    hub.plug("sdb1", drive(2))
    hub.attend()
    (opened,) = hub.step.to_clear(lambda _: True)
    with suppress(SourceGone), opened:
        del hub.slots["sdb1"]
        hub.step.run(NO_STOP)
        assert set(hub.stands().values()) == {Stand.CLEARING}
        raise SourceGone("pulled out")
    hub.attend()
    assert hub.stands() == {}
    assert hub.step._here == {}


def test_still_mounted_after_it_was_cleared(hub: Hub) -> None:
    """As long as it could not be unmounted, nobody is told to pull it out; it is tried again, but not cleared again."""
    offered: list[bool] = []
    hub.step.done = lambda: offered.append(True)
    hub.plug("sdb1", drive(2))
    hub.attend()
    hub.stays = TryLater("it is still mounted")
    (opened,) = hub.step.to_clear(lambda _: True)
    with suppress(TryLater), opened:
        pass
    assert set(hub.stands().values()) == {Stand.UNREADABLE}
    assert hub.sign() is Sign.HELP
    hub.stays = None
    hub.kit.clock.advance(5)
    hub.attend()
    assert set(hub.stands().values()) == {Stand.DONE}
    assert offered == [True]


def test_a_card_that_is_gone_is_not_cleared(hub: Hub) -> None:
    """What was pulled out between the choice and the deed stays forgotten."""
    hub.plug("sdb1", drive(2))
    hub.attend()
    (opened,) = hub.step.to_clear(lambda _: True)
    del hub.slots["sdb1"]
    hub.step.run(NO_STOP)
    with pytest.raises(SourceGone, match="was pulled out"), opened:
        pass
    assert hub.stands() == {}


def test_ends_in_time_though_a_reader_hangs(hub: Hub) -> None:
    """A thread that hangs in a driver is not waited for longer than was asked."""
    hub.plug("sdb1", drive(2))
    hub.slow["/dev/sdb1"] = threading.Event()
    hub.step.run(NO_STOP)
    began = time.monotonic()
    hub.kit.clock.monotonic = time.monotonic  # type: ignore[method-assign]
    assert not hub.step.end(0.3)
    assert time.monotonic() - began < 2
    hub.slow["/dev/sdb1"].set()
    assert hub.step.end(5)
    assert hub.stands() == {}


def test_what_was_plugged_in_before_a_power_cut_is_forgotten(hub: Hub) -> None:
    """A new daemon does not tell of media that an earlier one saw."""
    hub.plug("sdb1", drive(2))
    hub.attend()
    assert len(hub.stands()) == 1
    assert Hub(hub.kit).stands() == {}
