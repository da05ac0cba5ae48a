"""The inbox: a source like any card, but of files that are still being written."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from kit import SetClock, kits
from test_sources import PICTURES, TestContract, make_files  # noqa: F401  (the contract runs here again)

from ailasd.config import Config, parse
from ailasd.config.check import as_toml
from ailasd.demo import pictures
from ailasd.errors import ConfigError, SourceGone
from ailasd.model import Kind
from ailasd.sources import Source
from ailasd.sources.inbox import SETTLED_S, Inbox, is_unfinished

A_MOMENT = SETTLED_S + 0.1


def listed(inbox: Source) -> list[str]:
    return sorted(file.path for file in inbox.listing())


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def inbox(tmp_path, clock) -> Inbox:
    root = tmp_path / "inbox"
    root.mkdir()
    made = Inbox(root, clock)
    made.card()
    return made


@pytest.fixture
def source(inbox: Inbox, tmp_path: Path, clock: SetClock) -> Source:
    """For the contract: an inbox in which everything has settled."""
    make_files(tmp_path / "inbox", PICTURES)
    assert listed(inbox) == []
    clock.advance(A_MOMENT)
    return inbox


# -- only whole files -------------------------------------------------------------------------------------------------
def test_a_file_is_there_once_it_was_seen_unchanged(inbox, tmp_path, clock):
    """At the first look nothing is listed, a few seconds later what did not change meanwhile."""
    make_files(tmp_path / "inbox", PICTURES)
    assert listed(inbox) == []
    assert inbox.settles_in == pytest.approx(SETTLED_S)
    clock.advance(SETTLED_S - 1)
    assert listed(inbox) == []
    assert inbox.settles_in == pytest.approx(1)
    clock.advance(1)
    assert listed(inbox) == sorted(PICTURES)
    assert inbox.settles_in is None


@pytest.mark.parametrize("lies", [False, True])
def test_a_file_that_grows_is_not_there(inbox, tmp_path, clock, lies):
    """However long it grows it is not listed, not even if each write is followed by a time of last year."""
    path = tmp_path / "inbox" / "a.jpg"
    for _ in range(5):
        with path.open("ab") as file:
            file.write(b"x" * 1000)
        if lies:
            os.utime(path, (1.7e9, 1.7e9))
        assert listed(inbox) == []
        clock.advance(A_MOMENT)
    assert listed(inbox) == ["a.jpg"]


def test_an_old_time_does_not_make_a_file_whole(inbox, tmp_path, clock):
    """A file that comes with a time of long ago (scp -p, unzip) waits like any other."""
    make_files(tmp_path / "inbox", PICTURES)
    for path in PICTURES:
        os.utime(tmp_path / "inbox" / path, (1e9, 1e9))
    assert listed(inbox) == []
    clock.advance(A_MOMENT)
    assert listed(inbox) == sorted(PICTURES)


def test_a_file_that_is_overwritten_waits_anew(source, tmp_path, clock):
    """A file that was listed and is written over is gone from the listing until it has settled again."""
    path = "DCIM/100GOPRO/G0010001.JPG"
    (tmp_path / "inbox" / path).write_bytes(b"another")
    assert listed(source) == ["DCIM/101GOPRO/G0010002.JPG"]
    clock.advance(A_MOMENT)
    assert listed(source) == sorted(PICTURES)


def test_a_wall_clock_that_jumps_hurries_nobody(inbox, tmp_path, clock):
    """On a Pi whose clock is set ahead by years while a file arrives, the file waits for its seconds all the same."""
    make_files(tmp_path / "inbox", PICTURES)
    assert listed(inbox) == []
    clock.jump(timedelta(days=3650))
    assert listed(inbox) == []


@pytest.mark.parametrize(
    "name",
    ["a.jpg.part", "a.jpg.crdownload", "a.JPG.TMP", "a.jpg.filepart", "a.jpg~", ".syncthing.a.jpg.tmp", "a.jpg.!sync",
     "~syncthing~a.jpg.tmp", "a.partial", "Unconfirmed 1234.crdownload"],
)  # fmt: skip
def test_names_of_unfinished_files(inbox, tmp_path, clock, name):
    """What a browser, WinSCP or Syncthing calls a file in the making is never listed, however long it lies there."""
    assert is_unfinished(name)
    make_files(tmp_path / "inbox", {name: b"x", "trip/" + name: b"x", "a.jpg": b"x"})
    listed(inbox)
    clock.advance(A_MOMENT)
    assert listed(inbox) == ["a.jpg"]
    assert inbox.settles_in is None


def test_names_of_finished_files():
    """No name of a camera, a phone or a logger looks unfinished."""
    for name in ("G0010001.JPG", "IMG_20261120_101500.jpg", "2026-11-20.gpx", "part.jpg", "a.part.jpg", "tmp.gpx"):
        assert not is_unfinished(name)


def test_another_step_need_not_look_twice(source, tmp_path):
    """What one step saw settle is there for the other at once; a newcomer that saw nothing lists nothing."""
    other = source.another()
    other.card()
    assert listed(other) == sorted(PICTURES)
    alone = Inbox(tmp_path / "inbox", SetClock())
    alone.card()
    assert listed(alone) == []


def test_what_is_gone_is_forgotten(source, tmp_path):
    """The memory of what was seen does not grow with each file that ever came through."""
    for path in PICTURES:
        (tmp_path / "inbox" / path).unlink()
    assert listed(source) == []
    assert source._since == {}


# -- what counts ------------------------------------------------------------------------------------------------------
def test_every_jpeg_counts_beside_a_dcim_tree(inbox, tmp_path, clock):
    """With a DCIM folder dropped in, pictures elsewhere are pictures too, tracks are no pictures, and links nothing."""
    files = {"DCIM/100GOPRO/G0010001.JPG": b"x", "trip/a.jpeg": b"x", "b.JPG": b"x", "c.jpg": b"", "d.gpx": b"x"}
    make_files(tmp_path / "inbox", files | {"read me.txt": b"x"})
    (tmp_path / "inbox" / "link.jpg").symlink_to("b.JPG")
    listed(inbox)
    clock.advance(A_MOMENT)
    assert {file.path: file.kind for file in inbox.listing()} == {
        "DCIM/100GOPRO/G0010001.JPG": Kind.PICTURE,
        "trip/a.jpeg": Kind.PICTURE,
        "b.JPG": Kind.PICTURE,
        "c.jpg": Kind.EMPTY,
        "d.gpx": Kind.SIDECAR,
        "read me.txt": Kind.OTHER,
        "link.jpg": Kind.SPECIAL,
    }


def test_it_is_no_card_whatever_lies_in_it(inbox, tmp_path):
    """A camera's version.txt that came along does not make the inbox that camera's card."""
    before = inbox.card()
    make_files(tmp_path / "inbox", {"MISC/version.txt": b'"camera type":"HERO11 Black"\n"camera serial number":"C1"\n'})
    assert inbox.card() == before
    assert (before.label, before.camera_serial, before.by_content) == ("inbox", None, False)


def test_an_inbox_that_is_not_there_is_nothing(tmp_path, clock):
    """A folder that nobody made is a card that is not there: importing passes it over without a word."""
    with pytest.raises(SourceGone):
        Inbox(tmp_path / "nowhere", clock).card()
    with kits(tmp_path) as make:
        kit = make()
        before = kit.events()
        inbox = Inbox(tmp_path / "nowhere", clock)
        assert kit.parts.importing_from(inbox).run(threading.Event()) is None
        assert kit.events() == before


# -- as from a card ---------------------------------------------------------------------------------------------------
@pytest.fixture
def kit(tmp_path):
    with kits(tmp_path) as make:
        yield make(entries=[])


def test_pictures_come_in_as_from_a_card(kit, inbox, tmp_path, clock):
    """A tree and a loose picture, one of them half there: what is whole comes in, the rest later; all files stay."""
    root = tmp_path / "inbox"
    *tree, loose = pictures.drive(start=kit.clock.now(), n=4)
    pictures.write_card(root, tree)
    (root / "late.jpg").write_bytes(loose[1][:500])
    step = kit.parts.importing_from(inbox)
    first = step.run(threading.Event())
    assert first is not None
    assert (first.on_card, first.copied) == (0, 0)
    clock.advance(A_MOMENT)
    (root / "late.jpg").write_bytes(loose[1])
    second = step.run(threading.Event())
    assert second is not None
    assert (second.copied, second.whole) == (3, True)
    clock.advance(A_MOMENT)
    third = step.run(threading.Event())
    assert third is not None
    assert (third.copied, third.known) == (1, 3)
    kit.parts.sorting.run(threading.Event())
    assert kit.states() == {"queued": 4}
    assert len(list(root.rglob("*.*"))) == 5  # four pictures and version.txt
    assert "cleaning_stopped" not in kit.events()


def test_a_restart_forgets_nothing_and_reads_nothing_twice(kit, inbox, tmp_path, clock):
    """A new process, which has seen nothing settle yet, neither takes the files for missing nor copies them again."""
    pictures.write_card(tmp_path / "inbox", pictures.drive(start=kit.clock.now(), n=2))
    kit.parts.importing_from(inbox).run(threading.Event())
    clock.advance(A_MOMENT)
    kit.parts.importing_from(inbox).run(threading.Event())
    again = Inbox(tmp_path / "inbox", clock)
    for known in (0, 2):
        visit = kit.parts.importing_from(again).run(threading.Event())
        assert visit is not None
        assert (visit.copied, visit.known) == (0, known)
        clock.advance(A_MOMENT)
    assert "cleaning_stopped" not in kit.events()


def test_nothing_in_it_is_ever_deleted_but_by_its_owner(tmp_path):
    """Where cards are cleared once they are copied, all stays here; and its owner is not asked what became of it."""
    root = tmp_path / "inbox"
    with kits(tmp_path) as make:
        kit = make(entries=[], inbox={"folder": root}, cleaning={"card": "copied"})
        pictures.write_card(root, pictures.drive(start=kit.clock.now(), n=3))
        (step,) = [one for one in kit.parts.importing if one.run(threading.Event()) is not None][-1:]
        kit.clock.advance(A_MOMENT)
        visit = step.run(threading.Event())
        assert visit is not None
        assert visit.copied == 3
        kit.drain()
        shots = sorted(root.rglob("*.JPG"))
        assert len(shots) == 3
        shots[0].unlink()
        kit.drain()
        assert sorted(root.rglob("*.JPG")) == shots[1:]
        assert "cleaning_stopped" not in kit.events()


# -- configuration ----------------------------------------------------------------------------------------------------
def test_the_inbox_is_configured():
    """It has its default, another folder, or "" for none; and check-config shows what it means."""
    assert Config().inbox.folder == Path("/var/lib/ailasd-inbox")
    assert parse('[inbox]\nfolder = "/srv/in"', "test").inbox.folder == Path("/srv/in")
    off = parse('[inbox]\nfolder = ""', "test")
    assert off.inbox.folder is None
    assert parse(as_toml(off), "again") == off


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[inbox]\nfolder = "/var/lib/ailasd/inbox"', "storage.folder"),
        ('[inbox]\nfolder = "/var/lib"', "storage.folder"),
        ('[inbox]\nfolder = "/srv/in"\n[sources]\nfolders = ["/srv"]', "sources.folders"),
        ('[inbox]\nfolder = "in"', "absolute path"),
    ],
)
def test_an_inbox_in_the_wrong_place_is_a_fault(text, said):
    """It may lie neither in, nor around our own copies or a folder that is read like a card."""
    with pytest.raises(ConfigError, match=f"inbox.*{said}"):
        parse(text, "test")
