"""importing: card -> catalogue."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import held_to_permissions, kits

from ailasd.config import Config, parse
from ailasd.demo.pictures import drive, jpeg, write_card
from ailasd.errors import SourceBusy, Unreadable
from ailasd.importing import Visit
from ailasd.model import CardFile, Kind, State
from ailasd.parts import Ailasd
from ailasd.planning import plan
from ailasd.sources.folder import FolderSource

START = datetime(2026, 11, 20, 7, tzinfo=UTC)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Twelve pictures of one drive."""
    folder = tmp_path / "card"
    write_card(folder, drive(start=START, n=12))
    return folder


def config(tmp_path: Path, reserve: str = "10MB") -> Config:
    return parse(f'[storage]\nfolder = "{tmp_path}/state"\nreserve = "{reserve}"', "test")


@pytest.fixture
def parts(tmp_path: Path):
    with Ailasd(config(tmp_path)) as built:
        yield built


def bring_in(parts: Ailasd, card: Path, **how) -> Visit:
    visit = parts.importing_from(FolderSource(card)).run(threading.Event(), **how)
    assert visit is not None
    return visit


def pictures_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})


def md5s(folder: Path) -> set[str]:
    return {hashlib.md5(path.read_bytes()).hexdigest() for path in pictures_of(folder)}


# -- the plan ---------------------------------------------------------------------------------------------------------
FILES = st.builds(CardFile, st.sampled_from("abcdef"), st.integers(1, 3), st.integers(0, 2), st.sampled_from(Kind))


@given(
    st.lists(FILES, unique_by=lambda file: file.path),
    st.lists(FILES, unique_by=lambda file: file.path),
    st.sets(st.sampled_from("abcdef")),
    st.booleans(),
)
def test_every_file_of_a_card_is_planned_once(listing, earlier, lost, verify):
    """Law 11: read + known + left = the listing, whatever is on the card and was known; only pictures are read."""
    known = {(file.path, file.size, file.mtime_ns) for file in earlier}
    again = {key for key in known if key[0] in lost}
    todo = plan(listing, known, again=again, cleared=set(), verify=verify)
    assert len(todo.read) + todo.known + sum(todo.left.values()) == len(listing)
    assert all(file.kind is Kind.PICTURE for file in todo.read)
    unread = {file.path for file in listing if file.kind is Kind.PICTURE} - {file.path for file in todo.read}
    assert not (verify and unread)
    assert not unread & lost


@pytest.mark.parametrize(
    ("there", "cleared", "suspicious"),
    [("abc", "", False), ("ab", "", True), ("", "", False), ("xyz", "", False), ("ab", "c", False), ("a", "c", True)],
)
def test_a_card_that_shrank_is_suspicious_a_formatted_one_is_not(there: str, cleared: str, suspicious: bool):
    """Law 10: some known files gone, not by us: suspicious; all gone (formatted), or taken by cleaning: not."""

    def key(name: str) -> tuple[str, int, int]:
        return (name, 1, 1)

    listing = [CardFile(name, 1, 1, Kind.PICTURE) for name in there]
    known = {key(name) for name in "abc"}
    todo = plan(listing, known, again=set(), cleared={key(name) for name in cleared}, verify=False)
    assert todo.shrunk is suspicious


# -- a whole card -----------------------------------------------------------------------------------------------------
def test_every_picture_arrives_whole(parts: Ailasd, card: Path):
    """Each picture of the card is in our storage with the same bytes, and its row says copied."""
    visit = bring_in(parts, card)
    assert (visit.on_card, visit.copied, visit.known, visit.whole) == (13, 12, 0, True)
    assert visit.left == {"other": 1}  # MISC/version.txt
    assert md5s(parts.storage.folder / "pictures") == md5s(card)
    assert [row["pictures"] for row in parts.catalogue.telling.tally() if row["state"] == "copied"] == [12]
    assert list(parts.storage.incoming.iterdir()) == []


def test_a_file_that_failed_is_tried_again(parts: Ailasd, card: Path):
    """A file seen before that never became a picture is not known: the next visit reads it."""
    source, cards = FolderSource(card), parts.catalogue.cards
    number = cards.seen(source.card())
    failed = next(file for file in source.listing() if file.kind is Kind.PICTURE)
    cards.left(number, cards.begin_visit(number), failed, "a bad sector")
    assert cards.known_files(number) == set()
    assert bring_in(parts, card).copied == 12


def test_a_file_that_fails_again_is_told_once(parts: Ailasd, card: Path, monkeypatch: pytest.MonkeyPatch):
    """It is tried at each pass, quietly; and what was told of one pass is never taken for another's."""
    opened = FolderSource.open

    def bad_sector(source: FolderSource, file: CardFile) -> io.RawIOBase:
        if file.path.endswith("0002.JPG"):
            raise Unreadable("a bad sector")
        return opened(source, file)

    monkeypatch.setattr(FolderSource, "open", bad_sector)
    for _ in range(3):
        assert bring_in(parts, card).left["read_error"] == 1
    (card / "DCIM/100GOPRO/G0010002.JPG").touch()  # as a new file
    last = bring_in(parts, card)
    told = [(event["name"], event["trace"]) for event in parts.catalogue.telling.timeline(limit=1000)]
    first = [name for name, trace in told if trace == "v1"]
    assert sorted(first) == ["import_finished", "import_started", "read_error"]
    assert {trace for name, trace in told if name == "import_started"} == {"v1", f"v{last.id}"}
    assert last.id == 2


def test_state_never_lands_on_the_card(parts: Ailasd, card: Path):
    """After an import the card has exactly the entries, sizes and times that it had before."""

    def all_of_it() -> list[tuple[str, int, int]]:
        return [(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in sorted(card.rglob("*"))]

    before = all_of_it()
    bring_in(parts, card)
    assert all_of_it() == before


class CountingSource(FolderSource):
    """A folder that counts how often a file of it was opened."""

    opened = 0

    def open(self, file: CardFile):
        self.opened += 1
        return super().open(file)


def test_a_known_card_is_not_read_again(parts: Ailasd, card: Path):
    """The second pass opens no picture, counts all as known, and leaves no second visit in the catalogue."""
    bring_in(parts, card)
    source = CountingSource(card)
    again = parts.importing_from(source).run(threading.Event())
    assert again is not None
    assert (again.copied, again.known, source.opened) == (0, 12, 0)
    assert parts.catalogue.telling.totals()["copied"] == 12
    assert parts.catalogue.telling.totals()["on_card"] == 13  # the second pass found what the first had left


def test_verify_reads_everything_again(parts: Ailasd, card: Path):
    """``verify`` notices a picture whose bytes changed under the same name, size and time."""
    bring_in(parts, card)
    victim = pictures_of(card)[3]
    times = victim.stat().st_mtime_ns
    changed = bytearray(victim.read_bytes())
    changed[-40] ^= 1
    victim.write_bytes(changed)
    os.utime(victim, ns=(times, times))
    assert bring_in(parts, card).copied == 0
    assert bring_in(parts, card, verify=True).copied == 1


def test_a_reused_name_is_another_picture(parts: Ailasd, card: Path):
    """Trap 1: after a format the same path has another picture: both are kept, both have their row."""
    bring_in(parts, card)
    before = md5s(card)
    for path in pictures_of(card):
        path.unlink()
    write_card(card, drive(start=START.replace(day=21), n=12, seed=1000))
    assert bring_in(parts, card).copied == 12
    assert md5s(parts.storage.folder / "pictures") == before | md5s(card)


def test_the_same_picture_on_two_cards_is_copied_once(parts: Ailasd, card: Path, tmp_path: Path):
    """A second card with the same bytes under other names brings nothing new, and all its files are known."""
    other = tmp_path / "other"
    bring_in(parts, card)
    for number, path in enumerate(pictures_of(card)):
        target = other / "DCIM" / "777OTHER" / f"IMG_{number:04}.jpeg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    visit = bring_in(parts, other)
    assert (visit.copied, visit.known) == (0, 12)
    assert len(pictures_of(parts.storage.folder / "pictures")) == 12


def test_where_a_copy_lies_is_never_the_card_s_choice(parts: Ailasd, tmp_path: Path):
    """Hostile names, makers, models and serials never show in our paths: only letters, digits and dashes do."""
    card = tmp_path / "evil"
    folder = card / "DCIM" / "x\\..\\..\\evil\n"
    folder.mkdir(parents=True)
    evil = jpeg(make="../../etc", model="../../../root/.ssh", serial="a/../b", group_path="DCIM/../../x", seed=1)
    (folder / "x;rm -rf $HOME.JPG").write_bytes(evil)
    assert bring_in(parts, card).copied == 1
    (copy,) = pictures_of(parts.storage.folder)
    relative = copy.relative_to(parts.storage.folder).as_posix()
    assert relative.startswith("pictures/20")
    assert set(relative) <= set("abcdefghijklmnopqrstuvwxyz0123456789-/.")
    assert ".." not in relative


def test_a_full_disk_is_seen_before_it_happens(card: Path, tmp_path: Path):
    """With a reserve larger than what is free nothing is copied, it is said once, and it goes on when there is room."""
    with Ailasd(config(tmp_path, reserve="10TB")) as full:
        step = full.importing_from(FolderSource(card))
        for _ in range(2):
            visit = step.run(threading.Event())
            assert visit is not None
            assert (visit.outcome, visit.copied, visit.left["no_room"]) == ("no_room", 0, 12)
            assert visit.retry_in is not None
        said = [event["name"] for event in full.catalogue.telling.timeline()]
        assert said.count("disk_full") == 1
    with Ailasd(config(tmp_path)) as roomy:
        assert bring_in(roomy, card).copied == 12


def test_a_folder_that_cannot_be_written_is_not_called_full(tmp_path: Path):
    """It is said once what is wrong, nothing is lost, and copying goes on by itself when it is mended."""
    with kits(tmp_path) as make:
        kit = make(on_disk=True)
        step, incoming = kit.parts.importing_from(FolderSource(kit.card)), kit.parts.storage.incoming
        incoming.chmod(0o555)
        with held_to_permissions():
            for _ in range(2):
                visit = step.run(threading.Event())
                assert visit is not None
                assert (visit.outcome, visit.copied, visit.left["not_kept"]) == ("not_kept", 0, 3)
                assert visit.retry_in is not None
        incoming.chmod(0o755)
        assert (kit.events().count("cannot_keep"), kit.events().count("disk_full")) == (1, 0)
        again = step.run(threading.Event())
        assert again is not None
        assert again.copied == 3
        assert "room_again" not in kit.events()


class RecordingSource(FolderSource):
    """A camera that begins to record after a few pictures."""

    left = 5

    def open(self, file: CardFile):
        self.left -= 1
        if self.left < 0:
            raise SourceBusy("HERO13 Black is recording")
        return super().open(file)


def test_a_camera_that_begins_to_record_ends_the_visit(parts: Ailasd, card: Path):
    """It is said once, not for each picture; the rest is copied in a later visit."""
    visit = parts.importing_from(RecordingSource(card)).run(threading.Event())
    assert visit is not None
    assert (visit.outcome, visit.copied, visit.left["busy"] > 0) == ("busy", 5, True)
    assert visit.retry_in
    again = bring_in(parts, card)
    assert again.copied == visit.left["busy"]


class FailingSource(FolderSource):
    """A folder of which one file cannot be read."""

    def __init__(self, root: Path, bad: str) -> None:
        super().__init__(root)
        self.bad = bad

    def open(self, file: CardFile):
        if file.path.endswith(self.bad):
            raise Unreadable(f"{file.path}: input/output error")  # what a source makes of EIO: test_sources.py
        return super().open(file)


def test_a_bad_sector_costs_that_picture_only(parts: Ailasd, card: Path):
    """EIO on one file: eleven are copied, one is left as a read error, said once, and tried again at the next pass."""
    step = parts.importing_from(FailingSource(card, "G0010005.JPG"))
    for expected in (11, 0):
        visit = step.run(threading.Event())
        assert visit is not None
        assert (visit.copied, visit.left["read_error"], visit.whole) == (expected, 1, True)
    said = [event for event in parts.catalogue.telling.timeline() if event["name"] == "read_error"]
    assert [event["detail"]["path"] for event in said] == ["DCIM/100GOPRO/G0010005.JPG"]
    assert bring_in(parts, card).copied == 1


def test_a_card_pulled_out_midway_goes_on_where_it_was(parts: Ailasd, card: Path, tmp_path: Path):
    """The card vanishes after four pictures: four are copied, the rest counted as gone; put in again, eight follow."""
    away = tmp_path / "away"

    def pull(after: int) -> Callable[[], None]:
        calls = iter(range(100))

        def alive() -> None:
            if next(calls) == after:
                card.rename(away)

        return alive

    visit = bring_in(parts, card, alive=pull(4))
    assert visit.outcome == "gone"
    assert visit.on_card == visit.copied + visit.known + sum(visit.left.values())
    assert 4 <= visit.copied < 12
    assert parts.importing_from(FolderSource(card)).run(threading.Event()) is None
    away.rename(card)
    assert bring_in(parts, card).copied == 12 - visit.copied
    assert md5s(parts.storage.folder / "pictures") == md5s(card)


def test_stopping_midway_adds_up(parts: Ailasd, card: Path):
    """A stop in mid-import keeps what was copied, and counts the rest as left."""
    stop, calls = threading.Event(), iter(range(100))
    step = parts.importing_from(FolderSource(card))
    visit = step.run(stop, alive=lambda: stop.set() if next(calls) == 3 else None)
    assert visit is not None
    assert visit.outcome == "stopped"
    assert visit.on_card == visit.copied + visit.known + sum(visit.left.values())
    assert bring_in(parts, card).copied == 12 - visit.copied


def test_a_copy_that_vanished_comes_back_from_the_card(parts: Ailasd, card: Path):
    """A picture whose copy was lost is copied again from its card, without ``verify``."""
    bring_in(parts, card)
    parts.sorting.run(threading.Event())
    picture = parts.catalogue.pictures.find("G0010005.JPG")[0]
    parts.catalogue.pictures.move(picture, State.HELD, reason="copy_lost", why="test")
    parts.storage.path_of(picture.copy or "").unlink()
    visit = bring_in(parts, card)
    assert (visit.copied, visit.known) == (1, 11)
    assert md5s(parts.storage.folder / "pictures") == md5s(card)
