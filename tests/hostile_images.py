"""File systems that are broken or made to mislead: images of cards, edited byte by byte, each by its name.

The names of a GoPro fit into the short entries of FAT, so that its directories can be edited as they are.
"""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeAlias

from hostile import FOLDER, GOOD, VICTIM, good
from hostile_mounts import exfat_filled, ext4_of, run
from hostile_pictures import picture

from ailasd.demo import pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Image:
    """One broken file system.

    Attributes:
        make: writes the image; what it returns is the byte from which on reading gives an I/O error.
        fs: "vfat", "exfat", "ext4", or "disk" for a disk with partitions.
        lost: how many of the good pictures cannot be had at the most: some drivers give up a whole folder.
        left: what must be left on the card at least: reason -> files.
        copied: how many files more than the good ones are copied at the most.
        held: how many of what is copied must be held at least.
        mounts: whether a driver takes it.
        dies: whether a driver in user space may die of it.
        hangs: seconds for which the driver (in user space) stops when the second picture is opened.
    """

    make: Callable[[Path], int | None]
    fs: str
    lost: int = 0
    left: Mapping[str, int] = field(default_factory=dict)
    copied: int = 0
    held: int = 0
    mounts: bool = True
    dies: bool = False
    hangs: float = 0.0


IMAGES: Final[dict[str, Image]] = {}


Make: TypeAlias = "Callable[[Path], int | None]"


def image(**expected: object) -> Callable[[Make], Make]:
    """Enter an image into the corpus under its function's name, which begins with its file system."""

    def enter(make: Make) -> Make:
        fs = make.__name__.partition("_")[0].replace("fat", "vfat").replace("exvfat", "exfat")
        IMAGES[make.__name__] = Image(make, fs, **expected)  # type: ignore[arg-type]
        return make

    return enter


# -- FAT32 -------------------------------------------------------------------------------------------------------------
END: Final = 0x0FFFFFFF
SHORT: Final = 32
"""Bytes of a directory entry."""


class Fat:
    """A FAT32 image with the good pictures, open for editing (Microsoft's FAT specification, 1.03)."""

    def __init__(self, path: Path) -> None:
        with path.open("wb") as stream:
            stream.truncate(40 << 20)
        run("mkfs.vfat", "-F", "32", "-s", "1", "-n", "CARD", "-i", "1234ABCD", path)
        with TemporaryDirectory() as folder:
            pictures.write_card(Path(folder), good())
            env = {"MTOOLS_SKIP_CHECK": "1"}
            run("mcopy", "-s", "-m", "-i", path, Path(folder, "DCIM"), Path(folder, "MISC"), "::", env=env)
        with path.open("r+b") as stream:
            self.data = mmap.mmap(stream.fileno(), 0)
        sector, self.per_cluster, reserved, self.fats = struct.unpack_from("<HBHB", self.data, 11)
        (self.fat_size,) = struct.unpack_from("<I", self.data, 36)
        (self.root,) = struct.unpack_from("<I", self.data, 44)
        self.sector = sector
        self.fat = reserved * sector
        self.begin = self.fat + self.fats * self.fat_size * sector

    def at(self, cluster: int) -> int:
        """Where a cluster begins."""
        return int(self.begin + (cluster - 2) * self.per_cluster * self.sector)

    def link(self, cluster: int, to: int) -> None:
        """Set the next of a cluster, in all FATs."""
        for copy in range(self.fats):
            struct.pack_into("<I", self.data, self.fat + copy * self.fat_size * self.sector + 4 * cluster, to)

    def next(self, cluster: int) -> int:
        """The cluster behind a cluster."""
        return int(struct.unpack_from("<I", self.data, self.fat + 4 * cluster)[0]) & END

    def chain(self, cluster: int) -> list[int]:
        """All clusters of a file or folder."""
        found = []
        while 2 <= cluster < 0x0FFFFFF0:
            found.append(cluster)
            cluster = self.next(cluster)
        return found

    def entries(self, cluster: int) -> Iterator[int]:
        """Where the entries of a folder are, the free ones at its end too."""
        for part in self.chain(cluster):
            yield from range(self.at(part), self.at(part) + self.per_cluster * self.sector, SHORT)

    def find(self, path: str) -> int:
        """Where the entry of that path is."""
        cluster, found = self.root, 0
        for name in path.split("/"):
            stem, _, suffix = name.partition(".")
            raw = f"{stem:8}{suffix:3}".encode()
            found = next(at for at in self.entries(cluster) if self.data[at : at + 11] == raw)
            cluster = self.start(found)
        return found

    def start(self, entry: int) -> int:
        """The first cluster of an entry."""
        high, low = (
            struct.unpack_from("<H", self.data, entry + 20)[0],
            struct.unpack_from("<H", self.data, entry + 26)[0],
        )
        return int(high << 16 | low)

    def add(self, folder: str, name: bytes, cluster: int, *, size: int = 0, is_folder: bool = False) -> int:
        """Add an entry to a folder; where it is."""
        inside = self.start(self.find(folder)) if folder else self.root
        free = next((at for at in self.entries(inside) if self.data[at] == 0), None)
        if free is None:
            new = self.take()
            self.link(self.chain(inside)[-1], new)
            self.link(new, END)
            free = self.at(new)
        self.data[free : free + SHORT] = struct.pack(
            "<11sBBBHHHHHHHI", name, 0x10 if is_folder else 0x20, 0, 0, 0, 0x5A21, 0x5A21,
            cluster >> 16, 0x6000, 0x5A21, cluster & 0xFFFF, size,
        )  # fmt: skip
        return free

    def take(self) -> int:
        """A free cluster."""
        return next(number for number in range(50_000, 60_000) if self.next(number) == 0)

    def write(self, folder: str, name: bytes, content: bytes) -> int:
        """A new file in one run of clusters; where its entry is."""
        first, size = self.take(), self.per_cluster * self.sector
        count = -(-len(content) // size)
        for number in range(count):
            self.link(first + number, first + number + 1 if number + 1 < count else END)
        self.data[self.at(first) : self.at(first) + len(content)] = content
        return self.add(folder, name, first, size=len(content))


@contextmanager
def fat(path: Path) -> Iterator[Fat]:
    """A new FAT32 card to be spoiled."""
    card = Fat(path)
    yield card
    card.data.flush()
    card.data.close()


@image()
def fat_as_it_should_be(path: Path) -> None:
    """Nothing is wrong."""
    with fat(path):
        pass


def FUZZED() -> list[int]:  # noqa: N802
    """Where the boot sector, the used part of the tables, and all folders of ``fat_as_it_should_be`` lie."""
    with TemporaryDirectory() as folder, fat(Path(folder, "card")) as card:
        folders = (card.root, *(card.start(card.find(name)) for name in ("DCIM", FOLDER, "MISC")))
        entries = [at + byte for inside in folders for at in card.entries(inside) for byte in range(SHORT)]
        return [*range(96), *range(card.fat, card.fat + 400), *entries * 3]


@image(left={"unreadable": 1})
def fat_folder_contains_itself(path: Path) -> None:
    """DCIM/100GOPRO/LOOP is DCIM/100GOPRO."""
    with fat(path) as card:
        card.add(FOLDER, b"LOOP       ", card.start(card.find(FOLDER)), is_folder=True)


@image(left={"unreadable": 1})
def fat_folder_contains_the_card(path: Path) -> None:
    """DCIM/UP is the card's top folder."""
    with fat(path) as card:
        card.add("DCIM", b"UP         ", card.root, is_folder=True)


@image(left={"unreadable": 5})
def fat_folder_contains_itself_five_times(path: Path) -> None:
    """The more names the loop has, the more ways there are through it: 5, 20, 60 ..."""
    with fat(path) as card:
        for number in range(5):
            card.add(FOLDER, b"LOOP%d      " % number, card.start(card.find(FOLDER)), is_folder=True)


@image(left={"unreadable": 1})
def fat_folder_twice(path: Path) -> None:
    """Two entries of DCIM are called 100GOPRO, both the same folder."""
    with fat(path) as card:
        card.add("DCIM", b"100GOPRO   ", card.start(card.find(FOLDER)), is_folder=True)


@image(left={"unreadable": 1})
def fat_name_twice(path: Path) -> None:
    """Two entries of one folder have the same name; only the first can be opened."""
    with fat(path) as card:
        card.write(FOLDER, b"G0010001JPG", picture(seed=71))


@image(copied=1)
def fat_cross_linked(path: Path) -> None:
    """Two files share their clusters, of which the second has the wrong size: one of them is no picture."""
    with fat(path) as card:
        card.add(FOLDER, b"G0020001JPG", card.start(card.find(VICTIM)), size=2000)


@image(lost=1, copied=1)
def fat_chain_in_a_circle(path: Path) -> None:
    """A file of 20 MB whose few clusters go round in a circle."""
    with fat(path) as card:
        entry = card.find(VICTIM)
        chain = card.chain(card.start(entry))
        card.link(chain[-1], chain[0])
        struct.pack_into("<I", card.data, entry + 28, 20 << 20)


@image(lost=1, copied=1)
def fat_chain_ends_early(path: Path) -> None:
    """The second cluster of a picture is marked free, and the first as the last."""
    with fat(path) as card:
        chain = card.chain(card.start(card.find(VICTIM)))
        card.link(chain[0], END)
        card.link(chain[1], 0)


@image(lost=1, copied=1)
def fat_chain_leads_outside(path: Path) -> None:
    """The clusters of a picture go on far behind the end of the card."""
    with fat(path) as card:
        card.link(card.chain(card.start(card.find(VICTIM)))[0], 0x0ABCDEF0)


@image(lost=1, copied=1)
def fat_starts_outside(path: Path) -> None:
    """A picture begins behind the end of the card, another one at the FAT itself."""
    with fat(path) as card:
        struct.pack_into("<H", card.data, card.find(VICTIM) + 20, 0x0ABC)
        card.add(FOLDER, b"G0020001JPG", 1, size=5000)


@image(lost=GOOD, copied=GOOD)
def fat_tables_erased(path: Path) -> None:
    """Both FATs are zeros but for their beginning."""
    with fat(path) as card:
        size = card.fats * card.fat_size * card.sector
        card.data[card.fat + 64 : card.fat + size] = bytes(size - 64)


@image()
def fat_dirty(path: Path) -> None:
    """Pulled while it was written: both dirty bits."""
    with fat(path) as card:
        card.data[0x41] |= 1
        card.link(1, END & ~0x08000000)


@image(left={"too_large": 1}, copied=1)
def fat_impossible_sizes(path: Path) -> None:
    """Pictures of 4 GB and of 200 MB, in one cluster each."""
    with fat(path) as card:
        for number, size in enumerate((0xFFFFFFFF, 200 << 20)):
            struct.pack_into("<I", card.data, card.write(FOLDER, b"G002000%dJPG" % number, b"x" * 500) + 28, size)


@image(copied=3)
def fat_impossible_dates(path: Path) -> None:
    """The 0th of the month 0 of 1980, the last day of FAT's time, and the 31st of the month 15 at 31:63:62."""
    with fat(path) as card:
        for number, (time, date) in enumerate(((0, 0), (0xBF7D, 0xFF9F), (0xFFFF, 0xFFFF))):
            entry = card.write(FOLDER, b"G002000%dJPG" % number, picture(seed=71 + number))
            struct.pack_into("<HH", card.data, entry + 22, time, date)


@image(lost=1, copied=1, held=1)
def fat_zero_tail(path: Path) -> None:
    """The last clusters of a picture were never written."""
    with fat(path) as card:
        chain = card.chain(card.start(card.find(VICTIM)))
        for cluster in chain[len(chain) // 3 :]:
            card.data[card.at(cluster) : card.at(cluster + 1)] = bytes(card.at(cluster + 1) - card.at(cluster))


@image(copied=4)
def fat_names_of_control_characters(path: Path) -> None:
    """Short names with escapes, a newline, a slash, dots that lead upwards, and DEL."""
    with fat(path) as card:
        for number, name in enumerate(
            (b"\x1b[2J\x07\n  JPG", b"..      JPG", b"A\x7f\x01\x02   JPG", b"../../..JPG", b"\xe5\xff\x80   JPG")
        ):
            card.write("DCIM", name.ljust(11)[:11], picture(seed=71 + number))


@image(copied=1)
def fat_name_with_a_slash(path: Path) -> None:
    """A long name that is a path out of the card."""
    with fat(path) as card:
        name = "../../../outside/secret.jpg"
        short = b"SECRET~1JPG"
        checksum = 0
        for byte in short:
            checksum = ((checksum & 1) << 7 | checksum >> 1) + byte & 0xFF
        raw = (name + "\0").encode("utf-16-le").ljust(78, b"\xff")
        for part in (3, 2, 1):
            piece = raw[26 * (part - 1) : 26 * part]
            at = card.add("DCIM", b" " * 11, 0)
            card.data[at : at + SHORT] = (
                bytes([part | (0x40 if part == 3 else 0)]) + piece[:10] + b"\x0f\0" + bytes([checksum]) + piece[10:22]
                + b"\0\0" + piece[22:26]
            )  # fmt: skip
        card.write("DCIM", short, picture(seed=71))


@image()
def fat_label_of_escapes(path: Path) -> None:
    """The label is a terminal escape and a path, the serial number 0000-0000."""
    with fat(path) as card:
        card.data[67:71] = bytes(4)
        card.data[71:82] = b"\x1b[2J/../\n\x07\xff"
        label = next(at for at in card.entries(card.root) if card.data[at + 11] == 8)
        card.data[label : label + 11] = b"\x1b[2J/../\n\x07\xff"


@image(copied=40)
def fat_folder_of_garbage(path: Path) -> None:
    """Behind the pictures of a folder there are two clusters of random bytes."""
    with fat(path) as card:
        inside = card.start(card.find(FOLDER))
        for at in card.entries(inside):
            card.data[at] = card.data[at] or 0xE5  # deleted, so that the folder does not end there
        for number in range(2):
            new = card.take()
            card.link(card.chain(inside)[-1], new)
            card.link(new, END)
            size = card.per_cluster * card.sector
            card.data[card.at(new) : card.at(new) + size] = Random(number).randbytes(size)


@image(copied=40, held=1)
def fat_fake_capacity(path: Path) -> None:
    """A card that says it is larger than it is: what was written behind its end lies over what was there before."""
    with fat(path) as card:
        names = [b"G002%04dJPG" % number for number in range(8)]
        entries = [card.write(FOLDER, name, picture(seed=100 + number)) for number, name in enumerate(names)]
        size = card.per_cluster * card.sector
        firsts = [card.chain(card.start(entry)) for entry in entries]
        for early, late in zip(firsts[:4], firsts[4:], strict=True):
            for one, other in zip(early[len(early) // 2 :], late, strict=False):
                card.data[card.at(one) : card.at(one) + size] = card.data[card.at(other) : card.at(other) + size]


@image(lost=GOOD, mounts=False)
def fat_sectors_of_no_bytes(path: Path) -> None:
    """A boot sector whose sectors have no bytes and whose clusters have no sectors."""
    with fat(path) as card:
        card.data[11:14] = bytes(3)


@image(lost=GOOD, copied=GOOD)
def fat_image_cut_off(path: Path) -> None:
    """The card ends in the middle of its data: the partition is larger than the medium."""
    with fat(path) as card:
        end = card.at(card.start(card.find(VICTIM))) + card.sector
    os.truncate(path, end)


# -- exFAT -------------------------------------------------------------------------------------------------------------
class Exfat:
    """An exFAT image with the good pictures, open for editing (Microsoft's exFAT specification, 1.00)."""

    def __init__(self, path: Path) -> None:
        with path.open("wb") as stream:
            stream.truncate(16 << 20)
        run("mkfs.exfat", "-c", "4096", "-L", "CARD", path)
        with TemporaryDirectory() as folder:
            pictures.write_card(Path(folder), good())
            exfat_filled(path, Path(folder))
        with path.open("r+b") as stream:
            self.data = mmap.mmap(stream.fileno(), 0)
        heap, _, self.root = struct.unpack_from("<III", self.data, 88)
        self.fat = struct.unpack_from("<I", self.data, 80)[0] << self.data[108]
        self.begin = heap << self.data[108]
        self.size = 1 << self.data[108] + self.data[109]

    def at(self, cluster: int) -> int:
        """Where a cluster begins."""
        return int(self.begin + (cluster - 2) * self.size)

    def find(self, name: str) -> int:
        """Where the entry set of a file or folder begins; each name is on the card once."""
        raw = name.encode("utf-16-le")
        at = next(
            at for at in range(self.begin, len(self.data), SHORT)
            if self.data[at] == 0xC1 and self.data[at + 2 : at + 2 + len(raw)] == raw
        )  # fmt: skip
        return at - 2 * SHORT

    def sum(self, at: int) -> None:
        """Put the checksum of an entry set right."""
        total = 0
        for index in range((self.data[at + 1] + 1) * SHORT):
            if index not in (2, 3):
                total = ((total & 1) << 15 | total >> 1) + self.data[at + index] & 0xFFFF
        struct.pack_into("<H", self.data, at + 2, total)

    def copy(self, name: str, new: str) -> int:
        """Another entry set for a file or folder, under a name of the same length, behind all in 100GOPRO; where."""
        at = self.find(name)
        size = (self.data[at + 1] + 1) * SHORT
        inside = self.at(struct.unpack_from("<I", self.data, self.find("100GOPRO") + SHORT + 20)[0])
        free = next(at for at in range(inside, inside + self.size, SHORT) if self.data[at] == 0)
        self.data[free : free + size] = self.data[at : at + size]
        raw = new.encode("utf-16-le", "surrogatepass")
        self.data[free + 2 * SHORT + 2 : free + 2 * SHORT + 2 + len(raw)] = raw
        self.data[free + SHORT + 3] = len(raw) // 2
        self.hash(free)
        self.sum(free)
        return free

    def hash(self, at: int) -> None:
        """Put the hash of an entry's name right, which is made of its capitals."""
        length = self.data[at + SHORT + 3]
        name = self.data[at + 2 * SHORT + 2 : at + 2 * SHORT + 2 + 2 * length].decode("utf-16-le", "surrogatepass")
        total = 0
        for byte in name.upper().encode("utf-16-le", "surrogatepass"):
            total = ((total & 1) << 15 | total >> 1) + byte & 0xFFFF
        struct.pack_into("<H", self.data, at + SHORT + 4, total)


@contextmanager
def exfat(path: Path) -> Iterator[Exfat]:
    """A new exFAT card to be spoiled."""
    card = Exfat(path)
    yield card
    card.data.flush()
    card.data.close()


@image()
def exfat_as_it_should_be(path: Path) -> None:
    """Nothing is wrong."""
    with exfat(path):
        pass


@image(lost=GOOD, copied=0)
def exfat_bad_checksum(path: Path) -> None:
    """The entry set of a picture has a wrong checksum: no driver shows it, some show nothing of its folder."""
    with exfat(path) as card:
        card.data[card.find("G0010002.JPG") + 2] ^= 0xFF


@image()
def exfat_dirty(path: Path) -> None:
    """Pulled while it was written: the volume is marked dirty and failing."""
    with exfat(path) as card:
        card.data[106] |= 6


@image(lost=1, copied=1, held=1)
def exfat_zero_tail(path: Path) -> None:
    """What a camera leaves that lost its power: a picture of its full size, all zeros but for its beginning."""
    with exfat(path) as card:
        entry = card.find("G0010002.JPG") + SHORT
        begin, size = (
            card.at(struct.unpack_from("<I", card.data, entry + 20)[0]),
            struct.unpack_from("<Q", card.data, entry + 24)[0],
        )
        card.data[begin + 1024 : begin + size] = bytes(size - 1024)


@image(lost=1, copied=1)
def exfat_never_written(path: Path) -> None:
    """A picture of which only the first 1000 bytes are valid; exFAT gives zeros for the rest."""
    with exfat(path) as card:
        at = card.find("G0010002.JPG")
        struct.pack_into("<Q", card.data, at + SHORT + 8, 1000)
        card.sum(at)


@image(left={"unreadable": 1})
def exfat_folder_contains_itself(path: Path) -> None:
    """DCIM/100GOPRO/100LOOPS is DCIM/100GOPRO."""
    with exfat(path) as card:
        card.copy("100GOPRO", "100LOOPS")


@image(copied=3)
def exfat_names_of_control_characters(path: Path) -> None:
    """Escapes, a newline and a direction mark in names of the right checksum."""
    with exfat(path) as card:
        for name in ("\x1b[2J\x07\n12.JPG", "\u202eG45678.JPG", "..\\..\\12.JPG"):
            card.copy("G0010001.JPG", name)


@image(lost=GOOD, copied=1, dies=True)
def exfat_name_of_half_a_character(path: Path) -> None:
    """Half a surrogate pair in a name: exfat-fuse dies of it, in the middle of the listing."""
    with exfat(path) as card:
        card.copy("G0010001.JPG", "\ud800G145678.JPG"[:12])


@image(lost=GOOD)
def exfat_name_with_a_slash(path: Path) -> None:
    """A name that is a path out of the card: some drivers hide it, others show nothing of its folder."""
    with exfat(path) as card:
        card.copy("G0010001.JPG", "../../../JPG")


@image(lost=GOOD, copied=1)
def exfat_impossible_size(path: Path) -> None:
    """A picture of 2^62 bytes."""
    with exfat(path) as card:
        at = card.find("G0010002.JPG")
        struct.pack_into("<Q", card.data, at + SHORT + 24, 1 << 62)
        struct.pack_into("<Q", card.data, at + SHORT + 8, 1 << 62)
        card.sum(at)


@image(lost=GOOD, copied=1)
def exfat_starts_outside(path: Path) -> None:
    """A picture that begins behind the end of the card."""
    with exfat(path) as card:
        at = card.find("G0010002.JPG")
        struct.pack_into("<I", card.data, at + SHORT + 20, 0x7FFFFFF0)
        card.sum(at)


@image()
def exfat_impossible_dates(path: Path) -> None:
    """The month 15 of 2107, with 99 hundredths and an offset that no zone has."""
    with exfat(path) as card:
        at = card.find("G0010002.JPG")
        struct.pack_into("<IIIBBBBB", card.data, at + 8, HUGE, HUGE, HUGE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)
        card.sum(at)


HUGE: Final = 0xFFFFFFFF


@image(lost=GOOD, mounts=False)
def exfat_no_root(path: Path) -> None:
    """The boot sector says that the top folder begins at no cluster."""
    with exfat(path) as card:
        struct.pack_into("<I", card.data, 96, 0)


@image(lost=1, left={"read_error": 1})
def exfat_bad_sector(path: Path) -> int:
    """One picture lies on sectors that give an I/O error."""
    with exfat(path) as card:
        return max(
            card.at(struct.unpack_from("<I", card.data, card.find(name) + SHORT + 20)[0])
            for name in (Path(name).name for name, _, _ in good())
        )


@image(hangs=3.0)
def exfat_reading_hangs(path: Path) -> None:
    """The reader does not answer for some seconds, in the middle of the card."""
    with exfat(path):
        pass


# -- ext4 --------------------------------------------------------------------------------------------------------------
@image(lost=1, left={"read_error": 1})
def ext4_bad_sector(path: Path) -> int:
    """One picture lies on sectors that give an I/O error: the one farthest back."""
    with TemporaryDirectory() as folder:
        pictures.write_card(Path(folder), good())
        ext4_of(Path(folder), path)
    blocks = (run("debugfs", "-R", f"blocks /{name}", path).split() for name, _, _ in good())
    return 4096 * max(int(numbers[0]) for numbers in blocks)


# -- partition tables --------------------------------------------------------------------------------------------------
SECTOR: Final = 512
START: Final = 2048
"""Sectors in front of the first partition, as every tool leaves them."""


def disk(path: Path, *entries: tuple[int, int, int], start: int = START) -> None:
    """A disk with a good FAT32 card at ``start`` and a partition table of (type, first sector, sectors)."""
    card = path.with_suffix(".part")
    with fat(card):
        pass
    content = card.read_bytes()
    card.unlink()
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries).ljust(64, b"\0")
    with path.open("wb") as stream:
        stream.seek(start * SECTOR)
        stream.write(content)
        stream.seek(446)
        stream.write(table + b"\x55\xaa")


SECTORS: Final = (40 << 20) // SECTOR


@image()
def disk_as_it_should_be(path: Path) -> None:
    """One partition of FAT32."""
    disk(path, (0x0C, START, SECTORS))


@image()
def disk_partitions_overlap(path: Path) -> None:
    """The second begins in the middle of the first."""
    disk(path, (0x0C, START, SECTORS), (0x0C, START + 1000, SECTORS - 1000))


@image()
def disk_partition_beyond_the_end(path: Path) -> None:
    """The second goes on for 2 TB more than there are, the third begins there."""
    disk(path, (0x0C, START, SECTORS), (0x0C, START + SECTORS, HUGE), (0x07, HUGE - 1, 5))


@image()
def disk_extended_in_a_circle(path: Path) -> None:
    """An extended partition whose next table is itself."""
    begin = START + SECTORS
    disk(path, (0x0C, START, SECTORS), (0x05, begin, 4096))
    with path.open("r+b") as stream:
        stream.truncate((begin + 4096) * SECTOR)
        stream.seek(begin * SECTOR + 446)
        stream.write(struct.pack("<B3xB3xIIB3xB3xII", 0, 0x0C, 1, 100, 0, 0x05, 0, 4096).ljust(64, b"\0") + b"\x55\xaa")


@image()
def disk_table_and_file_system_in_one(path: Path) -> None:
    """The whole disk is FAT32, and its boot sector holds a partition table that says the same of itself."""
    disk(path, (0x0C, 0, SECTORS), start=0)


@image()
def disk_in_a_partition(path: Path) -> None:
    """The second partition is a whole disk with a table of its own."""
    disk(path, (0x0C, START, SECTORS), (0x0C, START + SECTORS, SECTORS))
    with path.open("r+b") as stream:
        content = stream.read(START * SECTOR + (1 << 20))
        stream.seek((START + SECTORS) * SECTOR)
        stream.write(content)
        stream.truncate((START + 2 * SECTORS) * SECTOR)
