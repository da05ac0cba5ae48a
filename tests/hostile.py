"""The hostile card corpus: everything that a broken or malicious card may hold, each case by its name.

A case is a function that spoils a card of three good pictures; its docstring says with what, the decorator what must
come of it. ``hostile_pictures`` has the pictures that lie, ``hostile_images`` the file systems that are broken.

What is hostile to us is hostile to whoever makes it: no link leads out of the case's own base folder, nothing is
written through a link or over anything, and ``hostile_visit`` makes every case behind a read-only root.
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hostile_pictures import PICTURES, picture

from ailasd.demo import pictures
from ailasd.sources.folder import MAX_DEPTH, MAX_FOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GOOD: Final = 3
FOLDER: Final = "DCIM/100GOPRO"
VICTIM: Final = f"{FOLDER}/G0010002.JPG"
"""The second of three in the order of reading: one comes before it and one after."""
TAKEN: Final = datetime(2025, 11, 20, 7, tzinfo=UTC)
SECRET: Final = pictures.jpeg(seed=666, serial="C0000000000666")
"""Lies outside of the card: a good picture that would be copied at once if anything led to it."""


NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
"""How a case makes a file: only where there is none, and never through a link."""


@cache
def good() -> tuple[tuple[str, bytes, float], ...]:
    """The good pictures of every card: path, bytes, time."""
    return tuple(pictures.drive(start=TAKEN, n=GOOD))


class Ground:
    """Where a case is made: ``card`` with its good pictures, and ``outside`` beside it with the secret."""

    def __init__(self, base: Path) -> None:
        self.card = base / "card"
        self.outside = base / "outside"
        self.folder = self.card / FOLDER
        pictures.write_card(self.card, good())
        self.outside.mkdir()
        (self.outside / "secret.jpg").write_bytes(SECRET)

    def write(self, path: str | bytes, content: bytes = b"", *, size: int | None = None) -> Path:
        """A new file on the card, ``size`` bytes long if given; in the picture folder if ``path`` is a mere name."""
        found = self.card / os.fsdecode(path)
        found = found if b"/" in os.fsencode(path) else self.folder / os.fsdecode(path)
        with os.fdopen(os.open(found, NEW, 0o644), "wb") as stream:
            stream.write(content)
            if size is not None:
                stream.truncate(size)
        return found

    def many(self, count: int, name: Callable[[int], str]) -> None:
        """So many empty files in the card's picture folder."""
        fd = os.open(self.folder, os.O_RDONLY | os.O_NOFOLLOW)
        for number in range(count):
            os.close(os.open(name(number), NEW, dir_fd=fd))
        os.close(fd)

    def without_version(self) -> None:
        """Take ``MISC/version.txt`` away, to put something else in its place."""
        (self.card / "MISC/version.txt").unlink()


@dataclass(frozen=True, slots=True)
class Case:
    """One way for a card to be bad.

    Attributes:
        make: does it; what it returns is called with the path of each file that is about to be opened (and again, with
            True, when it is open), for cards that change while they are read.
        left: what must be left on the card, beside ``MISC/version.txt``: reason -> files.
        copied: how many pictures more than the good ones are copied: hostile, but whole files.
        known: how many files have bytes that were copied already.
        lost: good pictures that cannot be had, by the case's own nature.
        held: whether the hostile picture must be held (True), queued (False), or either (None).
        root: making it needs root.
        slow: it takes more than a few seconds, or a case that has many like it at once stands for it every day.
        seconds: it must be through within.
        megabytes: of Python's memory at the most.
        plain: it can be made in a plain folder, and so be put on any file system that has such things.
    """

    make: Callable[[Ground], Callable[[str, bool], None] | None]
    left: Mapping[str, int] = field(default_factory=dict)
    copied: int = 0
    known: int = 0
    lost: int = 0
    held: bool | None = None
    root: bool = False
    slow: bool = False
    seconds: float = 20.0
    megabytes: float = 16.0
    plain: bool = True


CASES: Final[dict[str, Case]] = {}


def case(**expected: object) -> Callable[[Callable[[Ground], object]], Callable[[Ground], object]]:
    """Enter a case into the corpus under its function's name."""

    def enter(make: Callable[[Ground], object]) -> Callable[[Ground], object]:
        CASES[make.__name__] = Case(make, **expected)  # type: ignore[arg-type]
        return make

    return enter


# -- ways out of the card ----------------------------------------------------------------------------------------------
@case(left={"special": 6})
def symlinks_to_files(ground: Ground) -> None:
    """Pictures that are symlinks: absolute, relative, to a folder, upwards, to nothing, to itself."""
    targets: tuple[str | Path, ...] = (
        ground.outside / "secret.jpg",
        "../../../outside/secret.jpg",
        ground.outside,
        "..",
        "nothing",
    )
    for number, target in enumerate(targets):
        (ground.folder / f"G010000{number}.JPG").symlink_to(target)
    (ground.folder / "loop.JPG").symlink_to("loop.JPG")


@case(left={"special": 4})
def symlinks_to_folders(ground: Ground) -> None:
    """Folders that are symlinks: outside, the card itself, its own DCIM, and one another."""
    (ground.card / "DCIM/101GOPRO").symlink_to(ground.outside)
    (ground.card / "DCIM/102GOPRO").symlink_to("..")
    (ground.card / "DCIM/103GOPRO").symlink_to("104GOPRO")
    (ground.card / "DCIM/104GOPRO").symlink_to("103GOPRO")


@case(left={"special": 1})
def dcim_is_a_symlink(ground: Ground) -> None:
    """DCIM leads out of the card; the pictures lie beside it, and without a DCIM folder that is good enough."""
    (ground.card / "DCIM").rename(ground.card / "PHOTOS")
    (ground.card / "DCIM").symlink_to(ground.outside)


@case(left={"special": 1, "other": -1})
def misc_is_a_symlink(ground: Ground) -> None:
    """MISC leads to a folder outside, with a version.txt in it."""
    (ground.outside / "version.txt").write_text('"camera type":"SECRET",\n"camera serial number":"C666"')
    ground.without_version()
    (ground.card / "MISC").rmdir()
    (ground.card / "MISC").symlink_to(ground.outside)


@case(left={"special": 1, "other": -1})
def version_txt_is_a_symlink(ground: Ground) -> None:
    """version.txt leads to a file outside."""
    (ground.outside / "version.txt").write_text('"camera type":"SECRET",\n"camera serial number":"C666"')
    ground.without_version()
    (ground.card / "MISC/version.txt").symlink_to(ground.outside / "version.txt")


@case(left={"read_error": 1}, lost=1, plain=False)
def picture_becomes_a_symlink(ground: Ground) -> Callable[[str, bool], None]:
    """A picture turns into a symlink to the secret after it was listed, with the same size and time."""

    def meddle(path: str, is_open: bool) -> None:
        if path == VICTIM and not is_open:
            about = (ground.card / VICTIM).stat()
            (ground.card / VICTIM).unlink()
            (ground.outside / "secret.jpg").write_bytes(SECRET.ljust(about.st_size, b"\0"))
            os.utime(ground.outside / "secret.jpg", ns=(0, about.st_mtime_ns))
            (ground.card / VICTIM).symlink_to(ground.outside / "secret.jpg")

    return meddle


@case(left={"read_error": 1}, lost=1, plain=False)
def folder_becomes_a_symlink(ground: Ground) -> Callable[[str, bool], None]:
    """A folder turns into a symlink that leads outside after its pictures were listed."""
    folder = ground.card / "DCIM/101GOPRO"
    folder.mkdir()
    (ground.card / VICTIM).rename(folder / "secret.jpg")

    def meddle(path: str, is_open: bool) -> None:
        if path.endswith("secret.jpg") and not is_open:
            folder.rename(ground.outside / "101GOPRO")
            folder.symlink_to(ground.outside)

    return meddle


# -- no files at all ---------------------------------------------------------------------------------------------------
@case(left={"special": 2})
def fifo_and_socket(ground: Ground) -> None:
    """A FIFO and a socket with a picture's name: whoever opens the FIFO waits for ever."""
    os.mkfifo(ground.folder / "G0000000.JPG")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(ground.folder)  # a socket's path must be short
        try:
            bound.bind("G0040002.JPG")
        finally:
            os.chdir(here)


@case(left={"special": 1, "other": -1})
def version_txt_is_a_fifo(ground: Ground) -> None:
    """version.txt is a FIFO that nobody writes to."""
    ground.without_version()
    os.mkfifo(ground.card / "MISC/version.txt")


@case(left={"special": 2}, root=True)
def device_nodes(ground: Ground) -> None:
    """A character device (zero, without end) and a block device with a picture's name."""
    os.mknod(ground.folder / "G0000001.JPG", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(ground.folder / "G0020002.JPG", stat.S_IFBLK | 0o666, os.makedev(7, 250))


@case(left={"read_error": 1}, lost=1, plain=False)
def picture_becomes_a_fifo(ground: Ground) -> Callable[[str, bool], None]:
    """A FIFO takes a listed picture's place."""

    def meddle(path: str, is_open: bool) -> None:
        if path == VICTIM and not is_open:
            (ground.card / VICTIM).unlink()
            os.mkfifo(ground.card / VICTIM)

    return meddle


# -- names -------------------------------------------------------------------------------------------------------------
NAMES: Final[dict[str, bytes]] = {
    "newline": b"new\nline\r.JPG",
    "terminal_escapes": b"\x1b]0;title\x07\x1b[2J\x1b[8m.JPG",
    "invalid_utf8": b"\xff\xfe\x80.JPG",
    "bidirectional": b"\xe2\x80\xaegpj.exe\xe2\x81\xa6.JPG",
    "backslashes": b"..\\..\\x41\\x0a\\.JPG",
    "of_255_bytes": b"a" * 251 + b".JPG",
    "of_255_bytes_in_utf8": "é".encode() * 125 + b"a.JPG",
    "of_escapes_only": b"\x1b" * 251 + b".JPG",
    "leading_dash": b"-rf --no-preserve-root.JPG",
    "reserved_words": b"CON.NUL.JPG",
    "spaces_and_dots": b" .. .JPG",
    "shell": b"%s%n$(reboot)`id`'\";{path}|.JPG",
    "c1_controls": b"\xc2\x9b2J\xc2\x85.JPG",
    "invisible": b"\xe2\x80\x8b\xef\xbb\xbf\xf3\xa0\x80\x81.JPG",
    "overlong_utf8_slash": b"..\xc0\xaf..\xc0\xafetc.JPG",
    "surrogate": b"\xed\xa0\x80.JPG",
    "long_suffix": b"x." + b"A" * 200 + b".jpeg",
    "markup": b"<script>alert(1)<.JPG",
    "traceback": b'Traceback (most recent call last):\n  File "<stdin>".JPG',
    "positions_and_tokens": b"token=abc latitude=-18.9 eyJhbGciOiJIUzI1NiJ9.JPG",
}


def _named(raw: bytes) -> Callable[[Ground], None]:
    def make(ground: Ground) -> None:
        ground.write(raw, picture(seed=71))

    return make


HIDDEN: Final = ("backslashes", "overlong_utf8_slash")
"""Those that begin with a dot."""
CASES.update(
    {
        f"name_{name}": Case(_named(raw), left={"hidden": 1}, slow=True)
        if name in HIDDEN
        else Case(_named(raw), copied=1, held=False, slow=True)
        for name, raw in NAMES.items()
    }
)


@case(copied=len(NAMES) - len(HIDDEN), left={"hidden": len(HIDDEN)}, held=False)
def every_name(ground: Ground) -> None:
    """All of them at once."""
    for number, raw in enumerate(NAMES.values()):
        ground.write(raw, picture(seed=100 + number))


@case(copied=len(NAMES) - len(HIDDEN), left={"empty": 1, "hidden": len(HIDDEN)})
def names_of_folders(ground: Ground) -> None:
    """All the names once more, as folders with a picture in each; and an empty file whose name ends in a newline."""
    for number, raw in enumerate(NAMES.values()):
        folder = ground.card / "DCIM" / os.fsdecode(raw)
        folder.mkdir()
        ground.write(b"DCIM/" + raw + b"/G0020001.JPG", picture(seed=100 + number))
    ground.write("x\n.JPG")


@case(copied=1, held=False, left={"other": 1})
def names_that_differ_in_case_only(ground: Ground) -> None:
    """g0010001.jpg beside G0010001.JPG, dcim beside DCIM: other files, however FAT may see it."""
    ground.write("g0010001.jpg", picture(seed=71))
    (ground.card / "dcim2").mkdir()
    ground.write("dcim2/G0010001.JPG", picture(seed=72))


@case(left={"hidden": 9})
def system_folders(ground: Ground) -> None:
    """The folders of operating systems, each with a picture in it, and AppleDouble files."""
    names = ("System Volume Information", ".Trash-1000", ".Spotlight-V100", "LOST.DIR", "$RECYCLE.BIN", ".fseventsd")
    for name in (*names, "lost+found"):
        (ground.card / name).mkdir(exist_ok=True)
        ground.write(f"{name}/G0020001.JPG", picture(seed=71))
    ground.write("._G0010001.JPG", b"\0\5\x16\7")
    ground.write(".JPG", picture(seed=72))


# -- how many, how deep, how large -------------------------------------------------------------------------------------
@case(left={"empty": 2000}, megabytes=16)
def two_thousand_empty_files(ground: Ground) -> None:
    """What a camera leaves that lost its power again and again."""
    ground.many(2000, "G{:07}.JPG".format)


@case(left={"empty": 100_000}, slow=True, seconds=60)
def a_hundred_thousand_empty_files(ground: Ground) -> None:
    """A hundred thousand of them, in the same memory."""
    ground.many(100_000, "H{:07}.JPG".format)


@case(left={"empty": 1_000_000}, slow=True, seconds=500)
def a_million_empty_files(ground: Ground) -> None:
    """A million of them, in the same memory."""
    ground.many(1_000_000, "H{:07}.JPG".format)


@case(seconds=120, megabytes=48, slow=True)
def a_hundred_thousand_empty_folders(ground: Ground) -> None:
    """As many folders as are looked into, the good one among them."""
    for number in range(MAX_FOLDERS - 2):  # two places are of 100GOPRO and MISC
        (ground.card / "DCIM" / f"{number:06}").mkdir()


@case(left={"unreadable": 1}, copied=1)
def folders_300_deep(ground: Ground) -> None:
    """Folders in one another, a picture 200 down and one 300 down: the second is beyond where anybody looks."""
    _deep(ground.card / "DCIM", b"d", 300, {200: picture(seed=71), 300: picture(seed=72)})


@case(left={"unreadable": 1})
def paths_longer_than_any_program_takes(ground: Ground) -> None:
    """Folders with long names in one another, far beyond the longest path of Linux, with pictures at the end."""
    _deep(ground.card / "DCIM", b"\x1b" * 200, 40, {40: picture(seed=72)})


def _deep(top: Path, name: bytes, levels: int, contents: Mapping[int, bytes]) -> None:
    assert max(contents) <= MAX_DEPTH or levels > MAX_DEPTH
    fd = os.open(top, os.O_RDONLY)
    for level in range(1, levels + 1):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
        if level in contents:
            new = os.open("G0020001.JPG", NEW, dir_fd=fd)
            os.write(new, contents[level])
            os.close(new)
    os.close(fd)


@case(left={"too_large": 1})
def sparse_file_of_a_terabyte(ground: Ground) -> None:
    """A picture's name over 1 TB of nothing."""
    ground.write("G0000001.JPG", size=1 << 40)


@case(copied=1, held=True, slow=True, seconds=60)
def picture_of_512_megabytes(ground: Ground) -> None:
    """Zeros, as many as just pass for a picture: copied and held, in little memory."""
    ground.write("G0000001.JPG", size=512 << 20)


@case(left={"too_large": 1})
def picture_of_512_megabytes_and_a_byte(ground: Ground) -> None:
    """One byte more than any picture has."""
    ground.write("G0000001.JPG", size=(512 << 20) + 1)


# -- strange, but harmless ---------------------------------------------------------------------------------------------
@case(known=2)
def hard_links(ground: Ground) -> None:
    """One picture under three names."""
    for number in (1, 2):
        os.link(ground.folder / "G0010001.JPG", ground.folder / f"G002000{number}.JPG")


@case(left={"other": 1})
def dcim_is_a_file(ground: Ground) -> None:
    """DCIM is a file; the pictures lie elsewhere, and without a DCIM folder they are taken wherever they lie."""
    (ground.card / "DCIM").rename(ground.card / "MISC/DCIM")
    ground.write("./DCIM", picture(seed=71))


@case(left={"video": 4, "sidecar": 2}, lost=GOOD)
def only_videos(ground: Ground) -> None:
    """Somebody recorded video instead of pictures."""
    for name in ("G0010001.JPG", "G0010002.JPG", "G0010003.JPG"):
        (ground.folder / name).unlink()
    for number in range(4):
        ground.write(f"GX01000{number}.MP4", b"video")
    ground.write("GX010001.THM", picture(seed=71))
    ground.write("GL010001.LRV", b"video")


@case(left={"read_error": 1, "unreadable": 1}, copied=0)
def forbidden_file_and_folder(ground: Ground) -> None:
    """Mode 000: a picture that may not be read, a folder that may not be entered."""
    ground.write("G0000001.JPG", picture(seed=71))
    (ground.folder / "G0000001.JPG").chmod(0)
    (ground.card / "DCIM/101GOPRO").mkdir()
    ground.write("DCIM/101GOPRO/G0020001.JPG", picture(seed=72))
    (ground.card / "DCIM/101GOPRO").chmod(0)


@case(copied=5, held=False)
def times_out_of_this_world(ground: Ground) -> None:
    """Files of 1901, 1969, 2107 (the end of FAT), 2263 (more nanoseconds than SQLite's integers hold) and 2400."""
    for number, year in enumerate((1901.99, 1969.0, 2107.0, 2263.0, 2400.0)):
        made = ground.write(f"G002000{number}.JPG", picture(seed=71 + number))
        os.utime(made, (0, (year - 1970) * 31_556_952), follow_symlinks=False)


VERSIONS: Final[dict[str, bytes]] = {
    "of_a_gigabyte": b"",
    "binary": bytes(range(256)) * 4000,
    "nested_quotes": b'"camera type":"\\"\\\\"HERO\\"","camera type":""","camera serial number":"C\x1b[2J","'
    + b'"' * 9000,
    "path_traversal": b'"camera type":"../../../../etc/cron.d/x",\n"camera serial number":"/../../root/.ssh"',
    "without_end": b'"camera type":"' + b"A" * 70_000 + b'"',
    "many_keys": b'"camera type":"H","camera serial number":"C1",' * 2000,
}


def _version(content: bytes) -> Callable[[Ground], None]:
    def make(ground: Ground) -> None:
        ground.without_version()
        ground.write("MISC/version.txt", content, size=None if content else 1 << 30)

    return make


CASES.update({f"version_txt_{name}": Case(_version(content)) for name, content in VERSIONS.items()})


# -- cards that change while they are read -----------------------------------------------------------------------------
@case(left={"read_error": 1}, lost=1, plain=False)
def picture_vanishes(ground: Ground) -> Callable[[str, bool], None]:
    """A listed picture is gone when it is opened."""

    def meddle(path: str, is_open: bool) -> None:
        if path == VICTIM and not is_open:
            (ground.card / VICTIM).unlink()

    return meddle


@case(left={"read_error": 1}, lost=1, plain=False)
def picture_grows_while_read(ground: Ground) -> Callable[[str, bool], None]:
    """Somebody goes on writing a picture while it is read."""

    def meddle(path: str, is_open: bool) -> None:
        if path == VICTIM and is_open:
            with (ground.card / VICTIM).open("ab") as stream:
                stream.write(b"more" * 100_000)

    return meddle


@case(left={"read_error": 1}, lost=1, plain=False)
def picture_shrinks_while_read(ground: Ground) -> Callable[[str, bool], None]:
    """A picture is cut to nothing while it is read."""

    def meddle(path: str, is_open: bool) -> None:
        if path == VICTIM and is_open:
            os.truncate(ground.card / VICTIM, 0)

    return meddle


# -- pictures that lie -------------------------------------------------------------------------------------------------
def _lying(data: Callable[[], bytes]) -> Callable[[Ground], None]:
    def make(ground: Ground) -> None:
        ground.write("G0000001.JPG", data())

    return make


CASES.update(
    {f"picture_{name}": Case(_lying(lie.data), copied=1, held=lie.held, slow=True) for name, lie in PICTURES.items()}
)


@case(copied=len(PICTURES), seconds=60, slow=True)
def every_picture_that_lies(ground: Ground) -> None:
    """All the lying pictures on one card, in one recording with the good ones."""
    for number, lie in enumerate(PICTURES.values()):
        ground.write(f"G003{number:04}.JPG", lie.data() + number.to_bytes(2, "big"))
