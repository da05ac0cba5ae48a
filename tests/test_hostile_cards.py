"""A hostile or broken card: nothing leads out of it, nothing stops us, everything on it is accounted for.

The corpus is in ``hostile`` (folders), ``hostile_pictures`` and ``hostile_images`` (file systems); ``-k NAME`` runs one
case of it. Each is visited by the whole import in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile import CASES, GOOD, NAMES, SECRET, VICTIM
from hostile_images import FUZZED, IMAGES
from hostile_mounts import missing
from hostile_pictures import PICTURES, picture
from hostile_visit import BEGINS, Report, can_write, serve, visit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailasd.copying import Copy, copies
from ailasd.errors import SourceGone, Unreadable
from ailasd.model import CardFile, Kind
from ailasd.sources import raw_name
from ailasd.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hostile import Case

needs_mounts = pytest.mark.skipif(bool(missing()), reason=missing())
lab = [pytest.mark.lab, pytest.mark.slow, needs_mounts]


def marked(names: Iterable[str]) -> list[object]:
    """The cases of the corpus, those that take long marked as slow."""
    return [pytest.param(name, marks=pytest.mark.slow if CASES[name].slow else ()) for name in names]


# -- what holds for every card -----------------------------------------------------------------------------------------
def check_any(report: Report) -> None:
    """Nothing outside was read, the counts add up, it was told in harmless words, and nothing was a bug."""
    assert not report.escaped
    assert not report.unprintable
    assert not report.bugs
    assert report.on_card == report.copied + report.known + sum(report.left.values())
    assert sum(report.states.values()) >= report.copied
    assert "step_failed" not in report.events


def check(case: Case, report: Report) -> None:
    """All of that, and the good pictures are in our storage, the others are left with their reasons."""
    check_any(report)
    assert report.outcome == "whole"
    expected = {reason: case.left.get(reason, 0) + (reason == "other") for reason in {*case.left, "other"}}
    assert report.left == {reason: files for reason, files in expected.items() if files}
    assert report.good == GOOD - case.lost
    assert (report.copied, report.known, report.again) == (report.good + case.copied, case.known, 0)
    assert report.files == report.copied
    if case.held is not None:
        assert report.states.get("held", 0) == case.held * case.copied
    assert ("read_error" in report.events) == ("read_error" in case.left)
    assert "import_finished" in report.events
    assert report.megabytes < case.megabytes
    assert report.seconds < case.seconds


# -- the corpus --------------------------------------------------------------------------------------------------------
@pytest.mark.timeout(600)  # a million files take their time on a busy machine
@pytest.mark.parametrize("name", marked(name for name, case in CASES.items() if not case.root))
def test_in_a_folder(name: str) -> None:
    """Whatever lies in a card's folder, the good pictures in it are copied, and each other entry is accounted for."""
    check(CASES[name], visit(name, "folder", CASES[name].seconds))


ON_EXT4 = [name for name, case in CASES.items() if case.plain and (case.root or not case.slow)]


@pytest.mark.parametrize("name", [pytest.param(name, marks=lab) for name in ON_EXT4])
def test_on_ext4(name: str) -> None:
    """The same on a mounted card with ext4, which has symlinks, device nodes and every name."""
    report = visit(name, "ext4", CASES[name].seconds + 10)
    if "lost+found" not in name and name != "system_folders":  # mke2fs makes one: a system folder more
        report.left["hidden"] -= 1
        report.left = {reason: files for reason, files in report.left.items() if files}
        report.on_card -= 1
    check(CASES[name], report)


@pytest.mark.parametrize("name", [pytest.param(name, marks=lab) for name in IMAGES])
def test_mounted(name: str) -> None:
    """From a broken file system all pictures are copied that its driver can still give; no way to break it stops us."""
    image = IMAGES[name]
    report = visit(name, "mounted", 60)
    if not image.mounts:
        assert report.outcome.startswith("not mounted")
        return
    check_any(report)
    if not (image.dies and report.outcome in ("", "gone")):
        assert report.outcome == "whole"
        assert report.good >= GOOD - image.lost
        assert report.copied <= GOOD + image.copied
        assert all(report.left.get(reason, 0) >= files for reason, files in image.left.items())
        assert report.states.get("held", 0) >= image.held
        assert report.again <= image.lost + image.copied  # a driver may give less of a file, but something, next time
    assert report.megabytes < 16
    assert report.seconds < 20


def test_there_are_enough() -> None:
    """At least 40 cases have a name; every name and every lying picture is among them by itself too."""
    assert len(CASES.keys() | IMAGES.keys()) >= 40
    assert len(CASES) == len({case.make for case in CASES.values()})
    assert all(f"name_{name}" in CASES for name in NAMES)
    assert all(f"picture_{name}" in CASES for name in PICTURES)


@needs_mounts
@pytest.mark.lab
@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_bytes_of_a_fat_overwritten(data: st.DataObject) -> None:
    """Whatever bytes stand in the boot sector, the tables and the folders of a FAT32 card, the visit ends well."""
    at = st.sampled_from(fuzzed_bytes())
    edits = tuple(data.draw(st.lists(st.tuples(at, st.binary(min_size=1, max_size=4)), min_size=1, max_size=12)))
    report = visit("fat_as_it_should_be", "mounted", 60, edits)
    check_any(report)
    assert report.outcome.startswith(("whole", "gone", "not mounted")) or report.outcome == ""
    assert report.megabytes < 16


@cache
def fuzzed_bytes() -> list[int]:
    """Where the bytes are that are overwritten."""
    return FUZZED()


@needs_mounts
@pytest.mark.lab
def test_a_case_can_write_nowhere_else(tmp_path: Path) -> None:
    """A case that goes wrong, as root, can harm nothing of this machine: all but its own folder is read-only to it."""
    (tmp_path / "canary").write_text("alive")
    assert not can_write(tmp_path / "canary")
    assert (tmp_path / "canary").read_text() == "alive"
    assert os.access("/", os.W_OK)  # and nobody else is held to that


# -- the daemon --------------------------------------------------------------------------------------------------------
DAILY = ("symlinks_to_files", "fifo_and_socket", "every_name", "times_out_of_this_world", "version_txt_binary")


def test_the_daemon_goes_on() -> None:
    """A daemon over a card with all of this copies what is good, sorts it, and stops when it is told to."""
    report = serve(DAILY, 30)
    check_any(report)
    assert report.good == GOOD
    assert report.seconds < 5


@pytest.mark.slow
def test_the_daemon_goes_on_over_every_lying_picture() -> None:
    """The same with every picture that lies."""
    report = serve((*DAILY, "every_picture_that_lies"), 60)
    check_any(report)
    assert report.good == GOOD
    assert report.copied == GOOD + sum(CASES[name].copied for name in (*DAILY, "every_picture_that_lies"))


# -- nothing outside is even opened ------------------------------------------------------------------------------------
ESCAPES = (
    "symlinks_to_files", "symlinks_to_folders", "misc_is_a_symlink", "fifo_and_socket", "every_name",
    "names_of_folders", "every_picture_that_lies",
)  # fmt: skip
# a call during which another thread was seen has its result in a line of its own: "<... openat resumed>) = 5</path>"
OPENED = re.compile(r"(?:open|openat|openat2)(?:\(| resumed>).* = \d+<([^>]*)>")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="apt-get install strace")
def test_no_call_opens_anything_outside(tmp_path: Path) -> None:
    """As the kernel sees it, a visit opens nothing in the folder beside the card, and no device."""
    trace, base = tmp_path / "trace", tmp_path / "base"
    base.mkdir()
    here = Path(__file__).parent
    done = subprocess.run(
        [
            *("strace", "-f", "-y", "-o", trace, "-e", "trace=open,openat,openat2"),
            *(sys.executable, here / "hostile_visit.py", base, *ESCAPES),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])},
    )
    assert done.returncode == 0, done.stderr
    report = Report(**json.loads(done.stdout))
    check_any(report)
    assert report.good == GOOD
    visited = trace.read_text(errors="replace").partition(BEGINS)[2].splitlines()
    opened = {found[1] for found in map(OPENED.search, visited) if found}
    assert str(base / "card" / VICTIM) in opened  # this does see what is opened
    assert not {path for path in opened if path.startswith((str(base / "outside"), "/dev/zero", "/dev/loop"))}


# -- the source alone --------------------------------------------------------------------------------------------------
@pytest.fixture
def card(tmp_path: Path) -> Path:
    """An empty card, and a secret beside it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "secret.jpg").write_bytes(SECRET)
    (tmp_path / "card" / "DCIM" / "100GOPRO").mkdir(parents=True)
    return tmp_path / "card"


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_reversible(card: Path, tmp_path: Path, name: str) -> None:
    """Any name that the file system takes is listed once, printable, and copied by its listed path."""
    raw = NAMES[name]
    (card / "DCIM" / "100GOPRO" / os.fsdecode(raw)).write_bytes(raw)
    source = FolderSource(card)
    (file,) = source.listing()
    assert file.path.isprintable()
    assert raw_name(file.path).rpartition(b"/")[2] == raw
    outcomes = copies(source, [file], tmp_path, reserve=0, stop=threading.Event(), inspect=Path.read_bytes)
    assert [copy.inspected for _, copy in outcomes if isinstance(copy, Copy)] == [raw]


@pytest.mark.parametrize("method", ["open", "remove"])
@pytest.mark.parametrize("swapped", ["parent", "file"])
def test_swapped_for_a_symlink_after_the_listing(card: Path, tmp_path: Path, method: str, swapped: str) -> None:
    """A folder or file that becomes a symlink after it was listed leads out neither reading nor deleting."""
    folder = card / "DCIM" / "100GOPRO"
    (folder / "secret.jpg").write_bytes(SECRET)
    source = FolderSource(card)
    (file,) = source.listing()
    outside = tmp_path / "secret" / "secret.jpg"
    os.utime(outside, ns=(file.mtime_ns, file.mtime_ns))  # only the way there tells it from the listed file
    (folder / "secret.jpg").unlink()
    if swapped == "parent":
        folder.rmdir()
        folder.symlink_to(tmp_path / "secret")
    else:
        (folder / "secret.jpg").symlink_to(outside)
    with pytest.raises(Unreadable):
        getattr(source, method)(file)
    assert outside.read_bytes() == SECRET


def test_root_as_a_symlink(card: Path, tmp_path: Path) -> None:
    """A card whose own top folder is named by a symlink of ours is read through it."""
    (card / "DCIM" / "100GOPRO" / "a.jpg").write_bytes(b"a")
    (tmp_path / "link").symlink_to(card)
    assert [file.kind for file in FolderSource(tmp_path / "link").listing()] == [Kind.PICTURE]


@pytest.mark.timeout(10)
def test_fifo_in_place_of_a_listed_file(card: Path) -> None:
    """A FIFO that takes a listed file's place does not hang the reader."""
    os.mkfifo(card / "DCIM" / "100GOPRO" / "a.jpg")
    with pytest.raises(Unreadable):
        FolderSource(card).open(CardFile("DCIM/100GOPRO/a.jpg", 7, 0, Kind.PICTURE))


def test_folder_named_like_a_picture(card: Path) -> None:
    """A folder x.JPG is a folder: what lies in it is listed."""
    (card / "DCIM" / "100GOPRO" / "x.JPG").mkdir()
    (card / "DCIM" / "100GOPRO" / "x.JPG" / "y.JPG").write_bytes(b"y")
    assert [file.path for file in FolderSource(card).listing()] == ["DCIM/100GOPRO/x.JPG/y.JPG"]


def test_a_folder_with_a_copy_of_itself_is_looked_into(card: Path) -> None:
    """A folder that was copied into itself, times and all, is no loop: it lacks the folder that the outer one has."""
    outer = card / "DCIM" / "100GOPRO"
    (outer / "G0010001.JPG").write_bytes(picture())
    shutil.copytree(outer, card / "copy")
    (card / "copy").rename(outer / "100GOPRO")
    pictures = [file.path for file in FolderSource(card).listing() if file.kind is Kind.PICTURE]
    assert sorted(pictures) == ["DCIM/100GOPRO/100GOPRO/G0010001.JPG", "DCIM/100GOPRO/G0010001.JPG"]


def test_files_vanish_while_listed(card: Path) -> None:
    """A folder that is emptied in the middle of its listing ends the listing, not the process."""
    for number in range(300):
        (card / "DCIM" / "100GOPRO" / f"{number}.jpg").write_bytes(b"a")
    listing = FolderSource(card).listing()
    assert next(listing).kind is Kind.PICTURE
    for path in (card / "DCIM" / "100GOPRO").iterdir():
        path.unlink()
    assert len(list(listing)) < 300
    (card / "DCIM" / "100GOPRO").rmdir()
    (card / "DCIM").rmdir()
    source = FolderSource(card)
    card.rmdir()
    with pytest.raises(SourceGone):
        list(source.listing())
