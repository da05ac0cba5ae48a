"""What lies on a card: names, recognition, and the contract that every source keeps."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from gopro_stand_in import standing_in
from hypothesis import given
from hypothesis import strategies as st
from virtual_camera import virtual_camera

from ailasd.errors import Changing, NeedsHuman, SourceGone, Unreadable
from ailasd.model import CardFile, Kind
from ailasd.sources import MAX_PICTURE, Source, group_of, kind_of, printable, raw_name, unreadable
from ailasd.sources.card import MountedCard
from ailasd.sources.folder import FolderSource
from ailasd.sources.gopro import GoProSource

REGULAR = stat.S_IFREG | 0o644
PICTURES = {"DCIM/100GOPRO/G0010001.JPG": b"one" * 1000, "DCIM/101GOPRO/G0010002.JPG": b"two" * 200_000}


# -- names ------------------------------------------------------------------------------------------------------------
@given(st.binary())
def test_written_down_names_are_reversible(raw):
    """Every byte string comes back from its written form, given as bytes or as the os module's text."""
    assert raw_name(printable(raw)) == raw
    assert raw_name(printable(os.fsdecode(raw))) == raw


@given(st.binary())
def test_written_down_names_are_printable(raw):
    """A written name has nothing in it that a terminal, a log or UTF-8 would stumble over."""
    text = printable(raw)
    assert text.isprintable()
    assert text.encode().decode() == text


@given(st.text())
def test_only_own_writing_is_read_back(text):
    """A text that was never written by us is refused, not guessed."""
    try:
        raw = raw_name(text)
    except (ValueError, UnicodeEncodeError):
        return
    assert printable(raw) == text


def test_escapes_are_visible():
    """Newline, escape, backslash, invalid UTF-8 and right-to-left marks are shown as bytes, letters as letters."""
    assert printable(b"a\n\x1b[2J\\\xff") == r"a\x0a\x1b[2J\x5c\xff"
    assert printable("Fianarantsoa é\u202e.JPG") == r"Fianarantsoa é\xe2\x80\xae.JPG"


# -- recognition ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "size", "mode", "kind"),
    [
        ("DCIM/100GOPRO/G0010001.JPG", 1, REGULAR, Kind.PICTURE),
        ("dcim/100MSDCF/DSC0001.jpeg", 1, REGULAR, Kind.PICTURE),
        ("DCIM/Camera/IMG_1.JpEg", MAX_PICTURE, REGULAR, Kind.PICTURE),
        ("DCIM/100GOPRO/G0010001.JPG", 0, REGULAR, Kind.EMPTY),
        ("DCIM/100GOPRO/G0010001.JPG", MAX_PICTURE + 1, REGULAR, Kind.TOO_LARGE),
        ("DCIM/100GOPRO/._G0010001.JPG", 4096, REGULAR, Kind.HIDDEN),
        ("DCIM/100GOPRO/.JPG", 4096, REGULAR, Kind.HIDDEN),
        ("DCIM/100GOPRO/G0010001.JPG", 1, stat.S_IFLNK | 0o777, Kind.SPECIAL),
        ("DCIM/100GOPRO/G0010001.JPG", 1, stat.S_IFIFO | 0o644, Kind.SPECIAL),
        ("DCIM/100GOPRO/GX010001.MP4", 1, REGULAR, Kind.VIDEO),
        ("DCIM/100GOPRO/GOPR0001.GPR", 1, REGULAR, Kind.RAW),
        ("DCIM/100APPLE/IMG_1.HEIC", 1, REGULAR, Kind.RAW),
        ("DCIM/100GOPRO/GX010001.THM", 1, REGULAR, Kind.SIDECAR),
        ("DCIM/100GOPRO/GX010001.LRV", 1, REGULAR, Kind.SIDECAR),
        ("MISC/logo.jpg", 1, REGULAR, Kind.OTHER),
        ("Get_started_with_GoPro.url", 1, REGULAR, Kind.OTHER),
        ("DCIM/100GOPRO/jpg", 1, REGULAR, Kind.OTHER),
    ],
)
def test_kinds(path, size, mode, kind):
    """An entry is recognised by its name, size and type alone."""
    assert kind_of(path, size, mode) is kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("DCIM/101GOPRO/", Kind.UNREADABLE),
        ("DCIM/100GOPRO/G0010001.JPG", Kind.UNREADABLE),
        ("DCIM/100GOPRO/G00", Kind.UNREADABLE),  # what is left of a broken name: a folder, perhaps
        ("/", Kind.UNREADABLE),
        ("DCIM/100GOPRO/GX010001.MP4", Kind.VIDEO),
        ("MISC/", Kind.OTHER),
    ],
)
def test_kinds_of_what_cannot_be_looked_at(path, kind):
    """It may be a picture, or a folder of them; but no video, and nothing outside of DCIM."""
    assert unreadable(path) is kind
    assert unreadable("Pictures/", only_dcim=False) is Kind.UNREADABLE


def test_any_jpeg_of_a_folder_without_dcim_is_a_picture():
    """A folder that is no card has its pictures anywhere."""
    assert kind_of("drive/a.jpg", 1, REGULAR, only_dcim=False) is Kind.PICTURE


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("G0120042.JPG", "012"),
        ("g0120042.jpg", "012"),
        ("HERO11-G0120042.JPG", "012"),
        ("a" * 27 + "-G0120042.JPG", "012"),
        ("a" * 28 + "-G0120042.JPG", None),
        ("GOPR0042.JPG", None),
        ("GSAG0042.JPG", None),
        ("IMG1234567.jpg", None),
        ("G0120042.MP4", None),
        ("G012004.JPG", None),
        ("G0120042.JPG\n", None),
        ("G\u0660120042.JPG", None),
    ],
)
def test_groups(name, group):
    """The group is read from GoPro's time-lapse names, also behind a Labs prefix, and from no others."""
    assert group_of(name) == group


# -- the contract of every source -------------------------------------------------------------------------------------
def make_files(root, files):
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


@pytest.fixture(params=["folder", "gopro", "ptp"])
def source(request, tmp_path) -> Iterator[Source]:
    """A source of each sort over the same card."""
    if request.param == "gopro":
        with standing_in(PICTURES) as camera:
            gopro = GoProSource("lo", None, address=camera.address, port=camera.port)
            with closing(gopro):
                yield gopro
        return
    root = tmp_path / "card"
    make_files(root, PICTURES)
    if request.param == "ptp":
        with virtual_camera(root, tmp_path) as ptp:
            yield ptp
        return
    yield FolderSource(root)


def find(source: Source, path: str) -> CardFile:
    return next(file for file in source.listing() if file.path == path)


class TestContract:
    def test_lists_each_file_once(self, source):
        """The listing has each file once, with its size."""
        assert sorted((file.path, file.size, file.kind) for file in source.listing()) == sorted(
            (path, len(content), Kind.PICTURE) for path, content in PICTURES.items()
        )

    def test_gives_the_bytes(self, source):
        """What is opened has exactly the file's bytes, and ends."""
        for file in source.listing():
            with source.open(file) as stream:
                assert stream.read() == PICTURES[file.path]
                assert stream.read(10) == b""

    def test_can_be_read_by_two_threads(self, source):
        """Two threads may read the same card at once."""
        found: list[bytes | None] = []

        def read(file):
            with source.open(file) as stream:
                found.append(stream.read())

        threads = [threading.Thread(target=read, args=(file,)) for file in source.listing()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == sorted(PICTURES.values())  # type: ignore[type-var]

    def test_card_is_stable(self, source):
        """The identity is the same whenever it is asked, and can be no path."""
        identity = source.card().identity
        assert identity == source.card().identity
        assert identity.isalnum()

    def test_missing_file_is_unreadable(self, source):
        """A file that is gone costs that file only."""
        file = find(source, "DCIM/100GOPRO/G0010001.JPG")
        source.remove(file)
        with pytest.raises(Unreadable):
            source.open(file)

    def test_another_file_of_that_name_is_changing(self, source):
        """A listed file that has another size or time by now is neither read nor deleted."""
        file = find(source, "DCIM/100GOPRO/G0010001.JPG")
        for other in (file._replace(size=file.size + 1), file._replace(mtime_ns=file.mtime_ns + 1)):
            with pytest.raises(Changing):
                source.open(other)
            with pytest.raises(Changing):
                source.remove(other)
        assert find(source, file.path) == file

    def test_removes_once_and_again(self, source):
        """Removing deletes that file alone, and doing it twice is harmless."""
        file = find(source, "DCIM/100GOPRO/G0010001.JPG")
        source.remove(file)
        source.remove(file)
        assert [left.path for left in source.listing()] == ["DCIM/101GOPRO/G0010002.JPG"]

    @pytest.mark.parametrize(
        "path", ["", "/", "..", "../x", "/etc/passwd", "DCIM/../../etc/passwd", "DCIM//x", "a\\", "a\\x00", "DCIM"]
    )
    def test_paths_that_no_listing_gives_are_unreadable(self, source, path):
        """A path that cannot have come from the listing opens nothing and deletes nothing."""
        file = CardFile(path, 0, 0, Kind.PICTURE)
        with pytest.raises(Unreadable):
            source.open(file)
        if path not in {"DCIM", "a\\x00"}:
            with pytest.raises(Unreadable):
                source.remove(file)


# -- the folder -------------------------------------------------------------------------------------------------------
def test_the_name_goes_before_the_content(tmp_path, monkeypatch):
    """A deleted file keeps its content until its name is gone from the device: on FAT, content may go first."""
    (tmp_path / "DCIM").mkdir()
    (tmp_path / "DCIM/a.jpg").write_bytes(b"content")
    held: list[str] = []

    def fsync(_: int) -> None:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        held.extend(one for one in map(os.readlink, links) if one == f"{tmp_path}/DCIM/a.jpg (deleted)")

    monkeypatch.setattr(os, "fsync", fsync)
    source = FolderSource(tmp_path)
    source.remove(find(source, "DCIM/a.jpg"))
    assert len(held) == 1
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(link.resolve()).endswith("a.jpg (deleted)")]


def test_gone_folder(tmp_path):
    """A card that was unmounted, or replaced by the next one, is gone for listing, reading and removing alike."""
    root = tmp_path / "card"
    make_files(root, PICTURES)
    source = FolderSource(root)
    file = next(source.listing())
    root.rename(tmp_path / "away")
    for after in (lambda: None, lambda: make_files(root, PICTURES)):
        after()
        with pytest.raises(SourceGone):
            list(source.listing())
        with pytest.raises(SourceGone):
            source.open(file)
        with pytest.raises(SourceGone):
            source.remove(file)
    source.card()  # looks anew: from now on this is the card
    assert len(list(source.listing())) == len(PICTURES)


def test_the_next_card_is_not_read_through_the_mount_of_the_one_before(tmp_path):
    """Once another card is in the reader, nothing that the mount still gives counts, and nothing is deleted there."""
    make_files(tmp_path, PICTURES)
    here = [True]
    source = MountedCard(tmp_path, lambda: nullcontext(tmp_path), lambda: here[0])
    source.card()
    files = list(source.listing())
    with source.writable() as writable, source.open(files[0]) as stream:
        listing = source.listing()
        next(listing)
        here[0] = False
        with pytest.raises(SourceGone):
            stream.readall()
        with pytest.raises(SourceGone):
            list(listing)
        with pytest.raises(SourceGone):
            writable.remove(files[0])
    assert (tmp_path / files[0].path).exists()


def test_a_source_may_wait_for_its_card(tmp_path):
    """A folder that is not there yet, or is a file, is a card that is gone; once it is there, it is read."""
    (tmp_path / "card").write_bytes(b"x")
    source = FolderSource(tmp_path / "card")
    for _ in range(2):
        with pytest.raises(SourceGone):
            source.card()
        with pytest.raises(SourceGone):
            list(source.listing())
        (tmp_path / "card").unlink(missing_ok=True)
    make_files(tmp_path / "card", PICTURES)
    assert source.card()
    assert len(list(source.listing())) == len(PICTURES)


def test_bad_sector_is_one_unreadable_file():
    """A file whose reading gives EIO is unreadable; the card is not gone (the first page of a process gives EIO)."""
    source = FolderSource(Path("/proc/self"))
    found = Path("/proc/self/mem").stat()
    with source.open(CardFile("mem", found.st_size, found.st_mtime_ns, Kind.PICTURE)) as stream:
        with pytest.raises(Unreadable) as caught:
            stream.read(10)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EIO


def test_file_rewritten_while_read_is_changing(tmp_path):
    """Bytes that were replaced by as many others while we read are not taken for a file."""
    make_files(tmp_path, PICTURES)
    source = FolderSource(tmp_path)
    file = find(source, "DCIM/101GOPRO/G0010002.JPG")
    with source.open(file) as stream:
        stream.read(1000)
        os.utime(tmp_path / file.path)
        with pytest.raises(Changing):
            stream.readall()


def test_version_txt_tells_the_camera(tmp_path):
    """Serial and model are read from GoPro's almost-JSON, key by key."""
    make_files(tmp_path, PICTURES)
    make_files(
        tmp_path,
        {
            "MISC/version.txt": b'{\n"info version":"2.0"\n,"firmware version":"H22.01.01.20.00"\n'
            b',"wifi mac":"x"\n,"camera type":"HERO11 Black"\n,"camera serial number":"C3471325208017",\n}\n'
        },
    )
    card = FolderSource(tmp_path).card()
    assert (card.camera_model, card.camera_serial) == ("HERO11 Black", "C3471325208017")
    assert card.label == "HERO11 Black (8017)"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff" * 1000,
        b'"camera type":"' + b"A" * 100_000,
        b'"camera type":"\x1b[2J\x07"',
        b"{" * 70_000,
        b'"camera type":"  "',
    ],
)
def test_hostile_version_txt(tmp_path, text):
    """Whatever lies in version.txt, what is shown of it is short and printable."""
    make_files(tmp_path, {"MISC/version.txt": text})
    card = FolderSource(tmp_path).card()
    for told in (card.label, card.camera_model or "", card.camera_serial or ""):
        assert told.isprintable()
        assert len(told) <= 80


def test_two_folders_are_two_cards(tmp_path):
    """Folders without a camera's serial are told apart, a symlink to one of them is not another."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a")
    a, b, link = (FolderSource(tmp_path / name).card().identity for name in ("a", "b", "link"))
    assert a != b
    assert a == link


def open_files():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_open_card_can_be_unmounted(tmp_path):
    """Between calls a source holds no file open, which would keep its card from being unmounted."""
    make_files(tmp_path, PICTURES)
    before = open_files()
    source = FolderSource(tmp_path)
    for file in source.listing():
        with source.open(file) as stream:
            stream.read()
    source.card()
    assert open_files() == before


READ_ALL = """
import sys
from pathlib import Path
from ailasd.errors import AilasdError
from ailasd.sources.folder import FolderSource
source = FolderSource(Path(sys.argv[1]))
for file in sorted(source.listing()):
    try:
        with source.open(file) as stream:
            stream.read()
        print("read")
    except AilasdError as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="needs strace (apt install strace)")
@pytest.mark.parametrize(
    ("when", "expected"),
    [("3", ["read", "Unreadable", "read", "read"]), ("3+", ["read", "SourceGone", "SourceGone", "SourceGone"])],
)
def test_eio_of_one_file_and_of_all(tmp_path, when, expected):
    """EIO from one file is that file's; if a file that was just read gives EIO too, the card is gone."""
    card = tmp_path / "card"
    files = {f"DCIM/100GOPRO/G001000{n}.JPG": b"x" * 100 for n in range(4)}
    make_files(card, files)
    watched = [word for path in files for word in ("-P", str(card / path))]
    done = subprocess.run(
        [
            *("strace", "-f", "-o", "/dev/null", "-e", f"inject=readv:error=EIO:when={when}", *watched),
            *(sys.executable, "-c", READ_ALL, str(card)),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.split() == expected


LIST_ALL = """
import sys
from pathlib import Path
from ailasd.sources.folder import FolderSource
for file in FolderSource(Path(sys.argv[1])).listing():
    print(file.kind, file.path)
"""


@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="needs strace (apt install strace)")
def test_eio_in_the_middle_of_a_folder(tmp_path):
    """Of a folder that can be listed only in part, that part is there, and the folder itself as unreadable."""
    card = tmp_path / "card"
    make_files(card, {f"DCIM/100GOPRO/G001000{n}.JPG": b"x" * 100 for n in range(4)})
    fault = ["strace", "-f", "-o", "/dev/null", "-e", "inject=getdents64:error=EIO:when=2"]  # the first has all four
    done = subprocess.run(
        [*fault, "-P", str(card / "DCIM/100GOPRO"), sys.executable, "-c", LIST_ALL, str(card)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    there = [f"picture DCIM/100GOPRO/G001000{n}.JPG" for n in range(4)]
    assert sorted(done.stdout.splitlines()) == [*there, "unreadable DCIM/100GOPRO/"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_read_only_card(tmp_path):
    """A write-protected card is read like any other; removing from it needs a human."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        make_files(tmp_path, PICTURES)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        source = FolderSource(tmp_path)
        for file in source.listing():
            with source.open(file) as stream:
                assert stream.read() == PICTURES[file.path]
            with pytest.raises(NeedsHuman):
                source.remove(file)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
