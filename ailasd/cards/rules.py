"""What is a medium, and what is the machine's own: decided from what udev and the kernel tell; nothing is touched.

The safe answer is always "not ours": what is not certainly removable is left alone, and what this machine runs on is
left alone even if it is removable (a Raspberry Pi's own card, a system on a USB disk).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ailasd.cards import Medium, MediumKind
from ailasd.sources import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

LONGEST_TEXT: Final = 64
"""Characters of anything that a device says of itself."""

PEOPLES_PLACES: Final = tuple(PurePosixPath(place) for place in ("/media", "/run/media", "/mnt", "/run/ailasd-cards"))
"""Where people, desktops and our own helper mount what comes and goes; what is mounted elsewhere is the machine's."""

CD_AND_FLOPPY: Final = ("11:", "2:")
"""Major numbers of the kernel (Documentation/admin-guide/devices.txt): removable, but no card."""

NO_FILES: Final = frozenset(
    {
        *("0x5", "0xf", "0x85"),  # DOS: a container of further partitions
        *("0x82", "0xee", "0xef"),  # DOS: swap, GPT's guard, EFI
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",  # GPT: EFI, which macOS makes on every card that it formats
        "e3c9e316-0b5c-4db8-817d-f92df00215ae",  # GPT: Microsoft's reserve
        "21686148-6449-6e6f-744e-656564454649",  # GPT: GRUB
        "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",  # GPT: swap
    }
)
"""Types of partitions that never hold pictures: they are not worth a word."""

GOPRO: Final = "2672"
"""GoPro's vendor number at the USB-IF."""
PTP_INTERFACE: Final = ":060101:"
"""USB class 6 (still image), subclass 1, protocol 1: PTP, and MTP on top of it (USB-IF, Still Image 1.0)."""
NETWORK_INTERFACE: Final = re.compile(r":(02(0[6-9a-f])..|e00103):")
"""CDC's network models (ECM 06 to NCM 0d), and RNDIS."""
DISK_INTERFACE: Final = re.compile(r":08....:")

PROBLEMS: Final[Mapping[str, str]] = {
    "empty": "there is no card in it",
    "unknown_file_system": "its file system is not known, so it is damaged or was never formatted; nothing on it was"
    " touched: try it in the camera",
    "encrypted": "it is encrypted; copy the pictures to a card that is not",
    "not_allowed": "its file system ({fs}) is not one that is read; to read it, add it to file_systems below [cards]"
    " in the configuration, and say `sudo ailasd setup`",
    "wrong_mode": "the GoPro is connected, but offers no pictures; choose GoPro Connect or MTP in its settings at"
    " Connections, USB Connection, or take the card out and put it into a reader",
}
"""Why a medium cannot be read, by its stable word."""


# -- what is described ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Block:
    """A block device as sysfs and udev describe it.

    Attributes:
        name: the kernel's name of it ("sdb1").
        number: major and minor ("8:17").
        disk: the name of the whole disk that it is a part of ("sdb"), or is.
        size: bytes; ``disk_size`` of the whole disk. 0: no card in the slot.
        removable: the kernel says that the whole disk's medium can be taken out.
        usb: it hangs on USB.
        card_type: what a card slot says of the chip in it: "SD", "MMC" (soldered in), or "".
        partitioned: the kernel knows of partitions on it.
        slaves: names of what it is made of (LVM, RAID, encryption).
        stay: changes whenever the medium does: the kernel's number of the disk (diskseq).
        properties: udev's; only what is asked for here.
    """

    name: str
    number: str = ""
    disk: str = ""
    size: int = 0
    disk_size: int = 0
    read_only: bool = False
    removable: bool = False
    usb: bool = False
    card_type: str = ""
    partitioned: bool = False
    slaves: tuple[str, ...] = ()
    stay: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole disk, no partition."""
        return self.name == self.disk


@dataclass(frozen=True, slots=True)
class Usb:
    """A USB device.

    Attributes:
        port: the kernel's name of it ("1-1.2"): where it is plugged in.
        node: its bus and device, "usb:001,004".
        vendor: four hexadecimal digits.
        interfaces: classes of its interfaces, as udev writes them (":060101:").
        gphoto2: libgphoto2's own udev rules say that it is a camera.
        since: when udev saw it first.
    """

    port: str
    node: str
    vendor: str = ""
    interfaces: str = ""
    gphoto2: bool = False
    label: str = ""
    serial: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A network interface that hangs on USB; what it says of itself is its USB device's.

    Attributes:
        index: the kernel's number of the interface, never used twice.
    """

    interface: str
    index: str
    vendor: str = ""
    label: str = ""
    serial: str = ""


# -- media ------------------------------------------------------------------------------------------------------------
def judge_block(block: Block, allowed: Collection[str], own: Collection[str] = ()) -> Medium | None:
    """Tell whether a block device is a medium, and whether it can be read.

    Args:
        block: a device that udev is through with.
        allowed: file systems that may be read, as blkid names them.
        own: names of the devices that this machine runs on, see ``own_devices``.

    Returns:
        None if it is nothing of ours: not removable, the machine's own, a part of something, a whole disk whose
        partitions are looked at instead.
    """
    if block.disk in own or block.name in own or not _is_removable(block):
        return None
    if not block.disk_size:  # partitions of the card before may linger (they do while it is mounted)
        return _card(block, reason="empty") if block.is_whole else None
    return None if _is_no_file_system(block) else _card(block, reason=_reason(block, allowed))


def _is_no_file_system(block: Block) -> bool:
    """Whether it holds something else: partitions, swap, a part of a RAID or of LVM."""
    if block.is_whole and (block.partitioned or ("ID_PART_TABLE_TYPE" in block.properties and not _fs(block))):
        return True
    usage = block.properties.get("ID_FS_USAGE", "filesystem")
    return usage not in {"filesystem", "crypto"} or block.properties.get("ID_PART_ENTRY_TYPE", "").lower() in NO_FILES


def _reason(block: Block, allowed: Collection[str]) -> str | None:
    fs = _fs(block)
    if block.properties.get("ID_FS_USAGE") == "crypto":
        return "encrypted"
    if fs is None:
        return "unknown_file_system"
    return None if fs in allowed else "not_allowed"


def _is_removable(block: Block) -> bool:
    if block.number.startswith(CD_AND_FLOPPY) or block.properties.get("UDISKS_IGNORE") == "1":
        return False
    on_usb = block.usb or block.properties.get("ID_BUS") == "usb"
    in_a_slot = block.card_type == "SD" or block.properties.get("ID_DRIVE_FLASH_SD") == "1"
    return on_usb or in_a_slot or block.removable


def _fs(block: Block) -> str | None:
    return text(block.properties.get("ID_FS_TYPE", "")) or None


def _card(block: Block, *, reason: str | None) -> Medium:
    fs = _fs(block)
    uuid = text(block.properties.get("ID_FS_UUID", "")) or None
    slot = f"SD {block.properties.get('ID_NAME', '')}" if block.card_type else ""
    return Medium(
        key=stay_of(block.name, block.stay, uuid, block.size),
        kind=MediumKind.CARD,
        node=f"/dev/{block.name}",
        label=label(block.properties) or text(slot) or block.disk,
        disk=block.disk,
        fs=fs,
        uuid=uuid,
        size=block.size,
        # a slot of the machine itself has no serial; udev would tell that of the card in it
        serial=text(block.properties.get("ID_SERIAL_SHORT", "")) or None,
        write_protected=block.read_only,
        problem=PROBLEMS[reason].format(fs=fs) if reason else None,
        reason=reason,
    )


def stay_of(name: str, stay: str, uuid: str | None, size: int) -> str:
    """The key of a card's stay: the next card in the same reader, or this one put in again, has another."""
    return f"{name} {stay} {uuid or '-'} {size}"


def number_of(key: str) -> str:
    """The number in the key of a card's stay, which counts on with each medium that the kernel finds in that reader."""
    return key.split()[1]


def judge_usb(usb: Usb) -> Medium | None:
    """Tell whether a USB device is a camera that speaks PTP, or a GoPro that must be switched to something else."""
    gopro = usb.vendor == GOPRO
    if gopro and NETWORK_INTERFACE.search(usb.interfaces):
        return None  # its network interface is the medium
    if usb.gphoto2 or PTP_INTERFACE in usb.interfaces:
        return _camera(usb)
    if gopro and usb.interfaces and not DISK_INTERFACE.search(usb.interfaces):
        return _camera(usb, reason="wrong_mode")
    return None


def _camera(usb: Usb, *, reason: str | None = None) -> Medium:
    return Medium(
        key=f"{usb.node} {usb.port} {usb.since}",
        kind=MediumKind.GOPRO if reason else MediumKind.PTP,
        node=usb.node,
        label=usb.label or "camera",
        serial=usb.serial or None,
        problem=PROBLEMS[reason] if reason else None,
        reason=reason,
    )


def judge_network(network: Network) -> Medium | None:
    """Tell whether a network interface leads to a GoPro."""
    if network.vendor != GOPRO:
        return None
    return Medium(
        key=f"net {network.interface} {network.index}",
        kind=MediumKind.GOPRO,
        node=network.interface,
        label=network.label or "GoPro",
        serial=network.serial or None,
    )


# -- what a device says of itself -------------------------------------------------------------------------------------
def text(foreign: str) -> str:
    """A device's own words: printable, on one line, at most ``LONGEST_TEXT`` characters."""
    return printable(" ".join(foreign.split())[:LONGEST_TEXT])[:LONGEST_TEXT]


def label(properties: Mapping[str, str]) -> str:
    """Vendor and model from a device's udev properties, or ""."""
    vendor, model = (
        text(decoded(properties.get(f"{name}_ENC", "")) or properties.get(name, ""))
        for name in ("ID_VENDOR", "ID_MODEL")
    )
    return text(model if model.startswith(vendor) else f"{vendor} {model}")


def decoded(encoded: str) -> str:
    r"""Undo udev's ``\x20`` for a character that is not safe in a link's name."""
    raw = re.sub(
        rb"\\x([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), encoded.encode(errors="replace")
    )
    return raw.decode(errors="replace").strip("\0 ")


# -- the machine's own ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine runs on, and what is mounted.

    Attributes:
        numbers: of block devices ("8:2") that are mounted where nothing that comes and goes is mounted.
        names: other names of its devices, as in fstab(5): "/dev/sda2", "UUID=...", in lower case.
        mounts: which mounts there are of a device: number -> the kernel's ids of them.
    """

    numbers: frozenset[str]
    names: frozenset[str]
    mounts: Mapping[str, frozenset[str]]


def machine(*, mountinfo: str, swaps: str, fstab: str, cmdline: str, folders: Iterable[str] = ()) -> Machine:
    """Tell what the machine runs on from what it has mounted, swaps to, mounts at boot and was booted from.

    The command line and fstab matter where / is an overlay, whose lower layer is mounted nowhere to be seen (a
    Raspberry Pi's read-only mode).

    Args:
        mountinfo: of /proc/self, see proc(5).
        swaps: of /proc.
        fstab: of /etc, see fstab(5).
        cmdline: of /proc.
        folders: of ours, which no card may be taken for.
    """
    found = list(_mounts(mountinfo))
    swap = [_unescaped(line.split()[0]) for line in swaps.splitlines()[1:] if line.strip()]
    kept = {holder for folder in (*folders, *swap) if (holder := _holder(folder, found)) is not None}
    own = [mount for mount in found if mount in kept or not _comes_and_goes(mount.point)]
    names = {mount.source for mount in own if mount.source.startswith("/dev/")}
    names |= {*(name for name in swap if name.startswith("/dev/")), *_from_fstab(fstab), *_from_cmdline(cmdline)}
    mounts: dict[str, set[str]] = {}
    for mount in found:
        mounts.setdefault(mount.number, set()).add(mount.id)
    return Machine(
        numbers=frozenset(mount.number for mount in own),
        names=frozenset(name.lower() for name in names),
        mounts={number: frozenset(ids) for number, ids in mounts.items()},
    )


def own_devices(blocks: Sequence[Block], machine: Machine) -> frozenset[str]:
    """Names of the block devices that the machine runs on, through any stack of LVM, RAID and encryption.

    A whole disk is its own as soon as one of its partitions is.
    """
    by_name = {block.name: block for block in blocks}
    todo = [block.name for block in blocks if block.number in machine.numbers or machine.names & set(_names(block))]
    own: set[str] = set()
    while todo:
        block = by_name.get(todo.pop())
        if block is not None and block.name not in own:
            own.add(block.name)
            todo += [*block.slaves, block.disk]
    return frozenset(own)


@dataclass(frozen=True, slots=True)
class _Mount:
    id: str
    number: str
    point: PurePosixPath
    source: str


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        about, _, kind = line.partition(" - ")
        fields, rest = about.split(), kind.split()
        if len(fields) >= 5 and len(rest) >= 2:
            yield _Mount(fields[0], fields[2], PurePosixPath(_unescaped(fields[4])), _unescaped(rest[1]))


def _comes_and_goes(point: PurePosixPath) -> bool:
    return any(point.is_relative_to(place) for place in PEOPLES_PLACES)


def _holder(folder: str, mounts: Sequence[_Mount]) -> _Mount | None:
    """The mount that a folder or file lies in: the deepest, of these the last, which hides the others."""
    holders = [mount for mount in mounts if PurePosixPath(folder).is_relative_to(mount.point)]
    return max(reversed(holders), key=lambda mount: len(mount.point.parts), default=None)


def _from_fstab(fstab: str) -> Iterator[str]:
    """Names of what is mounted at boot; not the lines that let people mount a stick (Debian's installer writes one)."""
    for line in fstab.splitlines():
        fields = line.split()
        if len(fields) < 2 or line.lstrip().startswith("#"):
            continue
        options = fields[3].split(",") if len(fields) > 3 else []
        if not ("noauto" in options and _comes_and_goes(PurePosixPath(_unescaped(fields[1])))):
            yield _unescaped(fields[0]).replace('"', "")


def _from_cmdline(cmdline: str) -> Iterator[str]:
    for word in cmdline.split():
        key, _, value = word.partition("=")
        if key in {"root", "resume"}:
            yield value.replace('"', "")


def _names(block: Block) -> Iterator[str]:
    """All that fstab or the kernel's command line may call it, in lower case."""
    yield f"/dev/{block.name}".lower()
    yield from block.properties.get("DEVLINKS", "").lower().split()
    for key, name in (
        ("UUID", "ID_FS_UUID"),
        ("LABEL", "ID_FS_LABEL"),
        ("PARTUUID", "ID_PART_ENTRY_UUID"),
        ("PARTLABEL", "ID_PART_ENTRY_NAME"),
    ):
        if value := block.properties.get(name):
            yield f"{key}={value}".lower()


def _unescaped(name: str) -> str:
    r"""Undo the kernel's ``\040`` for a space in a name."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name)
