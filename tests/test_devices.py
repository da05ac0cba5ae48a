"""Which cards and cameras are plugged in: the rules over described devices, the finding of them over a testbed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed import Umockdev, machine_of_its_own, missing

from ailasd.cards import MediumKind
from ailasd.cards.devices import Devices
from ailasd.cards.rules import Block, Machine, Network, Usb, judge_block, judge_network, judge_usb, machine, own_devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CI = os.environ.get("CI") == "true"
ALLOWED = frozenset({"vfat", "exfat"})
GIB = 1 << 30


def disk(name: str, **about: Any) -> Block:
    """A whole disk, of 64 GiB unless told otherwise."""
    return replace(Block(name, "8:16", name, 64 * GIB, 64 * GIB, stay="7"), **about)


def part(of: Block, number: int, fs: str | None = "exfat", **properties: str) -> Block:
    """A partition of it, with a file system."""
    gap = "p" if of.name[-1].isdigit() else ""
    major, minor = of.number.split(":")
    known = {"ID_FS_TYPE": fs, "ID_FS_USAGE": "filesystem", "ID_FS_UUID": "1234-ABCD"} if fs else {}
    return replace(
        of,
        name=f"{of.name}{gap}{number}",
        number=f"{major}:{int(minor) + number}",
        size=of.size - (1 << 20),
        partitioned=False,
        properties={**of.properties, **known, **properties},
    )


def with_fs(of: Block, fs: str, usage: str = "filesystem") -> Block:
    """A whole disk without partitions, with a file system."""
    return replace(of, properties={**of.properties, "ID_FS_TYPE": fs, "ID_FS_USAGE": usage})


STICK = disk("sdb", usb=True, removable=True, properties={"ID_BUS": "usb", "ID_VENDOR": "Generic", "ID_MODEL": "Stick"})
TABLE = {"ID_PART_TABLE_TYPE": "dos"}
PARTITIONED = replace(STICK, partitioned=True, properties={**STICK.properties, **TABLE})
SLOT = disk("mmcblk0", number="179:0", card_type="SD", properties={"ID_NAME": "SN64G"})
EMMC = disk("mmcblk1", number="179:8", card_type="MMC")
NVME = disk("nvme0n1", number="259:0")
SATA = disk("sda", number="8:0")

READABLE = {
    "a partition of a USB stick": part(PARTITIONED, 1),
    "its second partition, too": part(PARTITIONED, 2, "vfat"),
    "a USB stick without partitions": with_fs(STICK, "vfat"),
    "a USB disk that is not called removable": part(replace(PARTITIONED, removable=False), 1),
    "a USB disk that udev takes for ATA": part(replace(PARTITIONED, properties={"ID_BUS": "ata"}), 1),
    "a card in a built-in slot": part(SLOT, 1),
    "a card in a built-in slot without partitions": with_fs(SLOT, "exfat"),
    "a card in a slot of which only udev says so": part(
        replace(SLOT, card_type="", properties={"ID_DRIVE_FLASH_SD": "1"}), 1
    ),
    "a card in a reader on PCI": part(disk("sdc", removable=True), 1),
    "a loop device that a udev rule calls USB": part(disk("loop3", number="7:3", properties={"ID_BUS": "usb"}), 1),
}

NOT_OURS = {
    "the whole of a partitioned stick": PARTITIONED,
    "a disk with a table but no partitions": replace(STICK, properties={**STICK.properties, **TABLE}),
    "a stick with a file system below its partitions": with_fs(PARTITIONED, "iso9660"),
    "an NVMe disk": part(NVME, 1, "vfat"),
    "an internal SATA disk": part(SATA, 1, "exfat"),
    "a disk on eSATA, which nothing tells from an internal one": part(disk("sdd", properties={"ID_BUS": "ata"}), 1),
    "soldered-in flash": part(EMMC, 1, "vfat"),
    "a virtual disk": part(disk("vda", number="254:0"), 1, "vfat"),
    "a loop device": with_fs(disk("loop0", number="7:0"), "vfat"),
    "compressed memory": with_fs(disk("zram0", number="252:0"), "swap", "other"),
    "a logical volume": with_fs(disk("dm-0", number="253:0", slaves=("sdb1",)), "vfat"),
    "a RAID": with_fs(disk("md0", number="9:0"), "vfat"),
    "a CD drive on USB": with_fs(disk("sr0", number="11:0", usb=True, removable=True), "iso9660"),
    "a floppy drive": with_fs(disk("fd0", number="2:0", removable=True), "vfat"),
    "swap on a stick": part(PARTITIONED, 1, "swap", ID_FS_USAGE="other"),
    "a member of LVM on a stick": part(PARTITIONED, 1, "LVM2_member", ID_FS_USAGE="raid"),
    "the EFI partition that macOS makes": part(
        PARTITIONED, 1, "vfat", ID_PART_ENTRY_TYPE="C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    ),
    "an extended partition": part(PARTITIONED, 4, None, ID_PART_ENTRY_TYPE="0x5"),
    "what the machine's owner hides from automounters": part(PARTITIONED, 1, UDISKS_IGNORE="1"),
    "a partition whose card was pulled out": replace(part(PARTITIONED, 1), disk_size=0),
}

UNREADABLE = {
    "an empty slot": (replace(STICK, size=0, disk_size=0), "empty"),
    "an empty slot whose last card's partition lingers": (replace(PARTITIONED, size=0, disk_size=0), "empty"),
    "a stick that was never formatted": (STICK, "unknown_file_system"),
    "a partition that was never formatted": (part(PARTITIONED, 1, None), "unknown_file_system"),
    "ext4, not allowed": (part(PARTITIONED, 1, "ext4"), "not_allowed"),
    "LUKS": (part(PARTITIONED, 1, "crypto_LUKS", ID_FS_USAGE="crypto"), "encrypted"),
    "BitLocker": (part(PARTITIONED, 1, "BitLocker", ID_FS_USAGE="crypto"), "encrypted"),
}


# -- cards ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", READABLE)
def test_a_card_is_a_medium(what: str):
    """What is plugged in from outside and has an allowed file system can be read."""
    medium = judge_block(READABLE[what], ALLOWED)
    assert medium is not None
    assert (medium.kind, medium.problem, medium.reason) == (MediumKind.CARD, None, None)
    assert medium.node == f"/dev/{READABLE[what].name}"


@pytest.mark.parametrize("what", NOT_OURS)
def test_what_is_not_ours_is_left_alone(what: str):
    """What is not certainly a card is nothing to us, not even worth a word."""
    assert judge_block(NOT_OURS[what], ALLOWED) is None


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_says_why(what: str):
    """A card that cannot be read has a stable word and a sentence for it."""
    block, reason = UNREADABLE[what]
    medium = judge_block(block, ALLOWED)
    assert medium is not None
    assert medium.reason == reason
    assert medium.problem
    assert "{" not in medium.problem


def test_ext4_is_read_when_it_is_allowed():
    """Which file systems are read is the configuration's business."""
    medium = judge_block(part(PARTITIONED, 1, "ext4"), {"ext4"})
    assert medium is not None
    assert medium.problem is None


def test_a_reader_with_several_slots_shows_each_of_them():
    """One card in a reader of three slots is one card and two empty slots."""
    slots = [replace(disk(name), usb=True, size=0, disk_size=0) for name in ("sdb", "sdd")]
    card = part(disk("sdc", usb=True, partitioned=True), 1)
    found = [judge_block(one, ALLOWED) for one in (*slots, card)]
    assert [medium and medium.reason for medium in found] == ["empty", "empty", None]


def test_a_card_is_described():
    """A medium tells what people and the catalogue want to know of it."""
    medium = judge_block(
        replace(
            part(PARTITIONED, 1, ID_SERIAL_SHORT="S1", ID_VENDOR_ENC="Generic\\x20", ID_MODEL_ENC="Card\\x20R"),
            read_only=True,
        ),
        ALLOWED,
    )
    assert medium is not None
    assert (medium.disk, medium.fs, medium.uuid, medium.serial) == ("sdb", "exfat", "1234-ABCD", "S1")
    assert medium.size == 64 * GIB - (1 << 20)
    assert medium.label == "Generic Card R"
    assert medium.write_protected
    slot = judge_block(part(SLOT, 1), ALLOWED)
    assert slot is not None
    assert (slot.label, slot.serial) == ("SD SN64G", None)


def test_each_stay_has_a_key_of_its_own():
    """The next card in a reader, the same card once more, or formatted anew, is another stay."""
    card = part(PARTITIONED, 1)
    others = [
        replace(card, stay="8"),
        replace(card, size=1 << 20),
        replace(card, name="sdb2"),
        part(PARTITIONED, 1, ID_FS_UUID="FFFF-0000"),
    ]
    keys = {medium.key for block in (card, *others) if (medium := judge_block(block, ALLOWED))}
    assert len(keys) == 1 + len(others)
    assert judge_block(card, ALLOWED) == judge_block(card, ALLOWED)


foreign = st.text(max_size=200) | st.binary(max_size=200).map(os.fsdecode)


@given(foreign, foreign, foreign, foreign, foreign)
def test_hostile_words_become_printable_and_short(vendor: str, model: str, serial: str, uuid: str, fs: str):
    """Whatever a device says of itself comes out as printable text on one line, no longer than 64 characters."""
    said = {"ID_VENDOR_ENC": vendor, "ID_MODEL": model, "ID_SERIAL_SHORT": serial, "ID_FS_UUID": uuid, "ID_FS_TYPE": fs}
    medium = judge_block(replace(part(PARTITIONED, 1), properties={**PARTITIONED.properties, **said}), ALLOWED)
    assert medium is not None
    for said_of_it in (medium.label, medium.serial, medium.uuid, medium.fs):
        assert said_of_it is None or (said_of_it.isprintable() and len(said_of_it) <= 64)
    assert medium.node == "/dev/sdb1"
    assert medium.label
    assert medium.key.isprintable()
    assert (medium.problem or "").isprintable()


blocks = st.builds(
    Block,
    name=st.sampled_from(["sdb1", "sdb", "mmcblk0p1", "nvme0n1p1", "dm-0"]),
    number=st.sampled_from(["8:17", "179:1", "259:1", "253:0", "11:0"]),
    disk=st.sampled_from(["sdb", "mmcblk0", "nvme0n1", "dm-0"]),
    size=st.integers(0, 1 << 50),
    disk_size=st.integers(0, 1 << 50),
    read_only=st.booleans(),
    removable=st.booleans(),
    usb=st.booleans(),
    card_type=st.sampled_from(["", "SD", "MMC", "SDIO"]),
    partitioned=st.booleans(),
    stay=st.sampled_from(["", "1", "2"]),
    properties=st.dictionaries(
        st.sampled_from(["ID_BUS", "ID_FS_TYPE", "ID_FS_USAGE", "ID_PART_TABLE_TYPE", "ID_PART_ENTRY_TYPE"]),
        st.sampled_from(["usb", "ata", "vfat", "ext4", "filesystem", "crypto", "dos", "0x5", ""]),
    ),
)


@given(blocks)
def test_only_what_comes_from_outside_and_is_not_the_machine_s_own(block: Block):
    """No combination of properties makes a fixed disk or the machine's own a medium; what is one has a sound answer."""
    fixed = not (block.usb or block.removable or block.card_type == "SD" or block.properties.get("ID_BUS") == "usb")
    medium = judge_block(block, ALLOWED)
    if fixed:
        assert medium is None
    if medium is not None:
        assert (medium.problem is None) == (medium.reason is None)
        assert medium.problem or (medium.fs in ALLOWED and block.disk_size)
        assert medium.size == block.size
    assert judge_block(block, ALLOWED, {block.disk}) is None
    assert judge_block(block, ALLOWED, {block.name}) is None


# -- the machine's own ------------------------------------------------------------------------------------------------
def here(*mounts: str, swaps: str = "", fstab: str = "", cmdline: str = "", folders: tuple[str, ...] = ()) -> Machine:
    """A machine from lines of "number source point"."""
    lines = [
        f"{30 + count} 1 {number} / {point} rw,relatime shared:1 - ext4 {source} rw"
        for count, (number, source, point) in enumerate(mount.split() for mount in mounts)
    ]
    return machine(
        mountinfo="\n".join(lines),
        swaps=f"Filename Type Size Used Priority\n{swaps}",
        fstab=fstab,
        cmdline=cmdline,
        folders=folders,
    )


def own(of: Machine, *blocks: Block) -> set[str]:
    return set(own_devices(blocks, of))


BOOT, ROOT = (
    part(SLOT, 1, "vfat", ID_PART_ENTRY_UUID="5e3da3da-01"),
    part(SLOT, 2, "ext4", DEVLINKS="/dev/disk/by-x/root"),
)
WHOLE = {"mmcblk0", "mmcblk0p1", "mmcblk0p2"}


@pytest.mark.parametrize(
    "of",
    [
        here("179:2 /dev/root /", "179:1 /dev/mmcblk0p1 /boot/firmware"),
        here("179:1 /dev/mmcblk0p1 /boot"),
        here("0:20 overlay /", cmdline="console=tty1 root=PARTUUID=5E3DA3DA-01 rootwait"),
        here("0:20 overlay /", fstab="# a comment\nPARTUUID=5e3da3da-01  /boot/firmware  vfat  defaults  0 2"),
        here("0:20 overlay /", fstab="/dev/disk/by-x/root / ext4 defaults,noatime 0 1"),
        here("0:31 /dev/mmcblk0p2 /"),  # btrfs: mounts have numbers of no device
        here("259:1 /dev/nvme0n1p1 /", swaps="/dev/mmcblk0p2 partition 100 0 -2"),
        here("179:2 /dev/mmcblk0p2 /mnt/big", folders=("/mnt/big/ailasd",)),
        here("179:2 /dev/mmcblk0p2 /mnt/big", swaps="/mnt/big/swap\\040file file 100 0 -2"),
        here("179:2 /dev/mmcblk0p2 /srv/pictures"),
        here(fstab="LABEL=data /mnt/data auto defaults 0 2\n/dev/mmcblk0p2 /mnt/x ext4"),
    ],
    ids=["a Pi", "boot only", "root=", "overlay", "link", "btrfs", "swap", "folder", "swap file", "elsewhere", "fstab"],
)
def test_what_a_machine_runs_on_is_never_a_medium(of: Machine):
    """A disk is the machine's own as soon as one of its partitions is, by whatever name: a Pi's own card, say."""
    blocks = (replace(SLOT, partitioned=True), BOOT, ROOT, part(PARTITIONED, 1))
    assert own(of, *blocks) >= {"mmcblk0"}
    assert not {"sdb", "sdb1"} & own(of, *blocks)
    assert [judge_block(block, {"vfat", "ext4"}, own_devices(blocks, of)) for block in blocks[:3]] == [None, None, None]


def test_a_system_in_lvm_on_a_usb_disk_is_the_machine_s_own():
    """The disk below a stack of encryption and LVM is the machine's, and so is the boot partition beside it."""
    usb, boot, pv = PARTITIONED, part(PARTITIONED, 1, "vfat"), part(PARTITIONED, 2, "crypto_LUKS", ID_FS_USAGE="crypto")
    luks = disk("dm-0", number="253:0", slaves=("sdb2",))
    root = disk("dm-1", number="253:1", slaves=("dm-0",), properties={"DEVLINKS": "/dev/mapper/vg-root"})
    expected = {"dm-0", "dm-1", "sdb2", "sdb"}
    assert own(here("253:1 /dev/mapper/vg-root /"), usb, boot, pv, luks, root) == expected
    assert own(here(fstab="/dev/mapper/vg-root / ext4"), usb, boot, pv, luks, root) == expected
    assert judge_block(boot, ALLOWED, expected) is None


@pytest.mark.parametrize("place", ["/media/me/CARD", "/run/media/me/CARD", "/mnt", "/media", "/run/ailasd-cards/sdb1"])
def test_what_a_desktop_mounts_is_still_a_card(place: str):
    """A card that an automounter or a person mounted where such things are mounted can be read."""
    assert not own(here(f"8:17 /dev/sdb1 {place}"), PARTITIONED, part(PARTITIONED, 1))


def test_a_line_of_fstab_that_lets_people_mount_a_stick_makes_it_no_system_disk():
    """Debian's installer leaves a line for /dev/sdb1 at /media/usb0, which must not hide every card that is sdb1."""
    line = "/dev/sdb1 /media/usb0 auto rw,user,noauto 0 0"
    assert not own(here(fstab=line), PARTITIONED, part(PARTITIONED, 1))
    assert own(here(fstab=line.replace("/media/usb0", "/boot")), PARTITIONED, part(PARTITIONED, 1))


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_nonsense_about_the_machine_is_survived(mountinfo: str, swaps: str, fstab: str, cmdline: str):
    """Whatever /proc and fstab say, the answer is a set of devices."""
    of = machine(mountinfo=mountinfo, swaps=swaps, fstab=fstab, cmdline=cmdline, folders=("/var/lib/ailasd",))
    assert own(of, PARTITIONED) <= {"sdb"}


# -- cameras ----------------------------------------------------------------------------------------------------------
CAMERA = Usb("1-1.2", "usb:001,004", "04b0", ":060101:", label="Nikon D5", serial="3001", since="77")


def test_a_camera_is_a_medium():
    """What has a PTP interface, or what libgphoto2 knows as a camera, is one; its node is bus and device."""
    for camera in (CAMERA, replace(CAMERA, interfaces=":ff0000:", gphoto2=True)):
        medium = judge_usb(camera)
        assert medium is not None
        assert (medium.kind, medium.node, medium.serial) == (MediumKind.PTP, "usb:001,004", "3001")
        assert medium.problem is None
    assert judge_usb(replace(CAMERA, interfaces=":090000:")) is None


def test_a_gopro_is_read_the_way_that_it_offers():
    """A GoPro is its network if it offers one, else a PTP camera or a disk if it is one; else it says what to do."""
    gopro = replace(CAMERA, vendor="2672", label="GoPro")
    by_offer = {":020d00:0a0001:": None, ":e00103:": None, ":060101:": MediumKind.PTP, ":080650:": None, "": None}
    for interfaces, kind in by_offer.items():
        medium = judge_usb(replace(gopro, interfaces=interfaces))
        assert (medium and medium.kind, medium and medium.problem) == (kind, None), interfaces
    charging = judge_usb(replace(gopro, interfaces=":ff0000:"))
    assert charging is not None
    assert (charging.kind, charging.reason) == (MediumKind.GOPRO, "wrong_mode")
    assert "GoPro Connect" in (charging.problem or "")


def test_only_a_gopro_s_network_is_a_medium():
    """A network interface that hangs on USB is a medium only if GoPro made it."""
    medium = judge_network(Network("enx0457470fb5e6", "4", "2672", "GoPro HERO13", "C3531325000042"))
    assert medium is not None
    assert (medium.kind, medium.node, medium.serial) == (MediumKind.GOPRO, "enx0457470fb5e6", "C3531325000042")
    assert judge_network(Network("enx00e04c680001", "5", "0bda")) is None


# -- the card before, in the same reader ------------------------------------------------------------------------------
def test_what_is_left_of_the_card_before_is_not_taken_for_the_next():
    """A partition that is older than the disk's number is hidden while it is mounted, and then known to be stale."""
    devices = Devices(ALLOWED)
    mounted, unmounted = here("8:17 /dev/sdb1 /run/ailasd-cards/sdb1"), here()

    def look(stay: str, since: str, of: Machine) -> Any:
        block = replace(part(PARTITIONED, 1, USEC_INITIALIZED=since), stay=stay)
        medium = devices._unless_stale(block, judge_block(block, ALLOWED), of)
        return medium and (medium.reason, medium.uuid)

    assert look("7", "100", unmounted) == (None, "1234-ABCD")
    assert look("7", "100", mounted) == (None, "1234-ABCD")
    assert look("9", "100", mounted) is None
    assert look("9", "100", unmounted) == ("stale", None)
    assert look("9", "200", unmounted) == (None, "1234-ABCD")


def test_a_card_without_partitions_that_is_still_mounted_hides_the_next():
    """Of a whole disk the mount tells: one that was made under an earlier number of the disk is not read again."""
    devices = Devices(ALLOWED)
    mounted, again = here("8:16 /dev/sdb /media/me/A"), here("0:1 x /x", "8:16 /dev/sdb /media/me/B")

    def look(stay: str, of: Machine) -> Any:
        block = replace(with_fs(STICK, "vfat"), stay=stay)
        return devices._unless_stale(block, judge_block(block, ALLOWED), of)

    assert look("7", here())
    assert look("7", mounted)
    assert look("8", mounted) is None
    assert look("8", here())
    assert look("8", again)


# -- over a testbed: what loop devices cannot show --------------------------------------------------------------------
lab = pytest.mark.lab

WATCHER = """
import dataclasses, json, sys, threading
from ailasd.cards.devices import Devices

devices, stop, turn = Devices(["vfat", "exfat"]), threading.Event(), threading.Lock()
seen = {}

def tell(why):
    with turn:
        now = devices.present()
        seen.update((medium.key, medium) for medium in now)
        still = [key for key, medium in seen.items() if devices.still_there(medium)]
        print(json.dumps([why, [dataclasses.asdict(medium) for medium in now], still]), flush=True)

watching = threading.Thread(target=devices.watch, args=(lambda: tell("wake"), stop))
watching.start()
for line in sys.stdin:
    tell("asked")
stop.set()
watching.join(1)
print(json.dumps(["late" if watching.is_alive() else "stopped", [], []]), flush=True)
"""


class Watcher:
    """A program that watches the testbed's devices."""

    def __init__(self, bed: Umockdev) -> None:
        self.wakes = 0
        self.media: list[dict[str, Any]] = []
        self.still: list[str] = []
        self.last = ""
        self._program = subprocess.Popen(
            machine_of_its_own(sys.executable, "-c", WATCHER),
            env={**bed.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._hear(20)  # it wakes once when it listens

    def until(self, nodes: Mapping[str, str | None], *, within_s: float = 5) -> None:
        """Wait for wakes until exactly these nodes are there, each with its reason."""
        give_up = time.monotonic() + within_s
        while {medium["node"]: medium["reason"] for medium in self.media} != nodes:
            assert self._hear(give_up - time.monotonic()), f"{nodes} expected, there is {self.media}"

    def quiet(self, seconds: float = 0.5) -> bool:
        """Whether nothing wakes it."""
        return not self._hear(seconds)

    def ask(self) -> None:
        """Have it look, and listen again until that look is told."""
        self._input().write(b"\n")
        self._input().flush()
        assert self._hear(5)
        while self.last != "asked":
            assert self._hear(5)

    def key(self, node: str) -> str:
        """The key of the medium at this node."""
        return next(str(medium["key"]) for medium in self.media if medium["node"] == node)

    def _input(self) -> Any:
        assert self._program.stdin is not None
        return self._program.stdin

    def _hear(self, within_s: float) -> bool:
        out = self._program.stdout
        assert out is not None
        if not select.select([out], [], [], max(0.0, within_s))[0]:
            return False
        line = b""
        while not line.endswith(b"\n"):  # the program writes a line at once; unbuffered, so that select tells the truth
            line += os.read(out.fileno(), 1)
        self.last, self.media, self.still = json.loads(line)
        self.wakes += self.last == "wake"
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._input().close()
        try:
            while self.last not in ("stopped", "late") and self._hear(5):
                pass
            assert exc[0] is not None or self.last == "stopped", "it did not stop within a second"
        finally:
            self._program.kill()
            self._program.wait(5)
            assert self._program.stdout is not None
            self._program.stdout.close()


@pytest.fixture
def bed() -> Iterator[Umockdev]:
    if problem := missing():
        if CI:
            pytest.fail(problem)
        pytest.skip(problem)
    with Umockdev() as testbed:
        yield testbed


PORT = "/devices/pci0000:00/0000:00:14.0/usb1/1-1"
CARDS = f"{PORT}/1-1:1.0/host0/target0:0:0/0:0:0"


def described(path: str, subsystem: str, kind: str = "", **about: str | int) -> str:
    """A device in umockdev's format: what is in capitals are properties, the rest attributes."""
    said = {"SUBSYSTEM": subsystem, "USEC_INITIALIZED": "100", **({"DEVTYPE": kind} if kind else {}), **about}
    lines = [f"P: {path}"]
    if "DEVNAME" in said:
        lines.append(f"N: {str(said['DEVNAME']).removeprefix('/dev/')}")
    lines += [f"{'E' if name.isupper() else 'A'}: {name}={value}" for name, value in said.items()]
    return "\n".join(lines) + "\n"


def usb_device(path: str = PORT, number: int = 4, **about: str | int) -> str:
    return described(
        path, "usb", "usb_device", DEVNAME=f"/dev/bus/usb/001/{number:03}", MAJOR=189, MINOR=number - 1, busnum=1,
        devnum=number, **about,
    )  # fmt: skip


def slot(lun: int, name: str, minor: int, **about: str | int) -> str:
    """A slot of a reader: a disk, empty unless told otherwise."""
    known = {"size": 0, "removable": 1, "ro": 0, "diskseq": 10 + lun, "ID_BUS": "usb", "ID_MODEL": "Reader", **about}
    return described(
        f"{CARDS}:{lun}/block/{name}", "block", "disk", DEVNAME=f"/dev/{name}", MAJOR=8, MINOR=minor, dev=f"8:{minor}",
        **known,
    )  # fmt: skip


def slot_part(lun: int, disk_name: str, minor: int, **about: str | int) -> str:
    name = f"{disk_name}1"
    known = {
        "ID_BUS": "usb",
        "ID_FS_TYPE": "exfat",
        "ID_FS_USAGE": "filesystem",
        "ID_FS_UUID": "AA-AA",
        "ro": 0,
        **about,
    }
    return described(
        f"{CARDS}:{lun}/block/{disk_name}/{name}", "block", "partition", DEVNAME=f"/dev/{name}", MAJOR=8, MINOR=minor,
        dev=f"8:{minor}", partition=1, size=1000, **known,
    )  # fmt: skip


@lab
def test_a_card_put_into_a_reader_that_stays_plugged_is_found(bed: Umockdev):
    """One slot of two gets a card, it is pulled out, the next one is put in: each is a stay of its own, each wakes."""
    slots = {"/dev/sdb": "empty", "/dev/sdc": "empty"}
    with Watcher(bed) as watcher:
        bed.add(usb_device())
        bed.add(slot(0, "sdb", 16) + "\n" + slot(1, "sdc", 32))
        watcher.until(slots)
        bed.change(f"/sys{CARDS}:1/block/sdc", size="2000", diskseq="20")
        bed.add(slot_part(1, "sdc", 33))
        watcher.until({"/dev/sdb": "empty", "/dev/sdc1": None})
        first = watcher.key("/dev/sdc1")
        assert first in watcher.still
        bed.change(f"/sys{CARDS}:1/block/sdc", size="0", diskseq="21")  # the partition lingers, as while it is mounted
        watcher.until(slots)
        assert first not in watcher.still
        bed.change(f"/sys{CARDS}:1/block/sdc", size="2000", diskseq="22")
        watcher.until({"/dev/sdb": "empty", "/dev/sdc1": "stale"})
        assert first not in watcher.still
        bed.remove(f"/sys{CARDS}:1/block/sdc/sdc1")
        bed.add(slot_part(1, "sdc", 33, USEC_INITIALIZED="200"))
        watcher.until({"/dev/sdb": "empty", "/dev/sdc1": None})
        assert watcher.key("/dev/sdc1") != first
        assert watcher.key("/dev/sdc1") in watcher.still


@lab
def test_a_yanked_reader_is_gone(bed: Umockdev):
    """When the reader itself is pulled out nothing is there any more, and nothing is still there."""
    bed.add(usb_device() + "\n" + slot(0, "sdb", 16, size=2000) + "\n" + slot_part(0, "sdb", 17, ro=1))
    with Watcher(bed) as watcher:
        watcher.until({"/dev/sdb1": None})
        assert watcher.media[0]["write_protected"]
        bed.remove(f"/sys{CARDS}:0/block/sdb/sdb1", f"/sys{CARDS}:0/block/sdb", f"/sys{PORT}")
        watcher.until({})
        assert watcher.still == []


@lab
def test_a_device_that_udev_is_not_through_with_waits(bed: Umockdev):
    """Before udev has looked at a partition, its file system is unknown to us, which says nothing about the card."""
    bed.add(usb_device() + "\n" + slot(0, "sdb", 16, size=2000))
    new = slot_part(0, "sdb", 17).replace("E: USEC_INITIALIZED=100\n", "")
    with Watcher(bed) as watcher:
        watcher.until({"/dev/sdb": "unknown_file_system"})
        bed.add(new)
        watcher.until({})
        bed.set(f"/sys{CARDS}:0/block/sdb/sdb1", "USEC_INITIALIZED", "100")
        watcher.ask()
        watcher.until({"/dev/sdb1": None})


@lab
def test_a_card_in_a_built_in_slot_is_found(bed: Umockdev):
    """A slot on the board is known by its SD card; the chip soldered in beside it is never taken for one."""
    text = ""
    for number, kind in enumerate(("SD", "MMC")):
        chip = f"/devices/platform/mmc{number}/mmc_host/mmc{number}/mmc{number}:0001"
        name, minor = f"mmcblk{number}", number * 8
        text += described(chip, "mmc", type=kind) + "\n"
        text += described(
            f"{chip}/block/{name}", "block", "disk", DEVNAME=f"/dev/{name}", MAJOR=179, MINOR=minor, dev=f"179:{minor}",
            size=1000, removable=0, ro=0, diskseq=5, ID_FS_TYPE="vfat", ID_FS_USAGE="filesystem",
        ).rstrip("\n") + f"\nL: device=../../../mmc{number}:0001\n\n"  # fmt: skip
    with Watcher(bed) as watcher:
        bed.add(text)
        watcher.until({"/dev/mmcblk0": None})


@lab
def test_cameras_are_found(bed: Umockdev):
    """A PTP camera, a GoPro's network and a GoPro that offers nothing are found and lost; a mouse wakes nobody."""
    usb = "/devices/pci0000:00/0000:00:14.0/usb1"
    net = f"{usb}/1-3/1-3:1.0/net/enx04"
    with Watcher(bed) as watcher:
        bed.add(usb_device(f"{usb}/1-9", 9, ID_USB_INTERFACES=":030102:", idVendor="046d"))
        assert watcher.quiet()
        bed.add(usb_device(f"{usb}/1-2", 5, ID_USB_INTERFACES=":060101:", idVendor="04b0", ID_MODEL="D5", serial="30"))
        watcher.until({"usb:001,005": None})
        assert (watcher.media[0]["kind"], watcher.media[0]["label"], watcher.media[0]["serial"]) == ("ptp", "D5", "30")
        gopro = {"ID_VENDOR_ID": "2672", "idVendor": "2672", "serial": "C3531325000042", "ID_MODEL": "HERO13"}
        bed.add(usb_device(f"{usb}/1-3", 6, ID_USB_INTERFACES=":020d00:0a0001:", **gopro))
        nameless = described(net, "net", INTERFACE="enx04", IFINDEX=7, ifindex=7).replace(
            "E: USEC_INITIALIZED=100\n", ""
        )
        bed.add(nameless)
        watcher.ask()
        watcher.until({"usb:001,005": None})  # udev may still rename it
        bed.set(f"/sys{net}", "USEC_INITIALIZED", "100")
        watcher.ask()
        watcher.until({"usb:001,005": None, "enx04": None})
        assert watcher.media[0]["kind"] == "gopro"
        assert watcher.media[0]["serial"] == "C3531325000042"
        bed.add(usb_device(f"{usb}/1-4", 7, ID_USB_INTERFACES=":ff0000:", **gopro))
        watcher.until({"usb:001,005": None, "enx04": None, "usb:001,007": "wrong_mode"})
        assert len(watcher.still) == 3
        bed.remove(f"/sys{net}", f"/sys{usb}/1-3", f"/sys{usb}/1-2", f"/sys{usb}/1-4")
        watcher.until({})
        assert watcher.still == []


@lab
def test_a_burst_wakes_once(bed: Umockdev):
    """The ten events of a card are one wake."""
    bed.add(usb_device() + "\n" + slot(0, "sdb", 16, size=2000))
    with Watcher(bed) as watcher:
        wakes: list[int] = []
        while 1 not in wakes and len(wakes) < 5:  # a busy machine may spread a burst until it is none any more
            before = watcher.wakes
            for count in range(10):
                bed.change(f"/sys{CARDS}:0/block/sdb", diskseq=str(30 + count))
            assert not watcher.quiet(2)
            while not watcher.quiet():
                pass
            wakes.append(watcher.wakes - before)
        assert wakes[-1] == 1, wakes


@lab
def test_hostile_words_of_a_device_are_survived(bed: Umockdev):
    """Terminal escapes and bidirectional marks in a device's serial and name do not come out raw."""
    bed.add(usb_device(serial="30\x1b[31m", ID_GPHOTO2=1, ID_MODEL="\u202ecam"))
    with Watcher(bed) as watcher:
        watcher.until({"usb:001,004": None})
        said = watcher.media[0]["label"] + watcher.media[0]["serial"]
        assert said.isprintable()
        assert "\\x1b" in said


FLOOD = """
import os, socket, struct, threading, time
from ailasd.cards.devices import Devices

def hash32(text):  # MurmurHash2 by Austin Appleby (public domain): how udevd lets the kernel filter by subsystem
    data, mix = text.encode(), 0x5BD1E995
    value, whole = len(data), len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at:at + 4], "little") * mix & 0xFFFFFFFF
        word = (word ^ word >> 24) * mix & 0xFFFFFFFF
        value = (value * mix & 0xFFFFFFFF) ^ word
    if data[whole:]:
        value = (value ^ int.from_bytes(data[whole:], "little")) * mix & 0xFFFFFFFF
    value = (value ^ value >> 13) * mix & 0xFFFFFFFF
    return value ^ value >> 15

def message(number):  # struct monitor_netlink_header of systemd, then the properties
    path = "/devices/pci0000:00/usb1/1-1/block/sdb"
    said = ("ACTION=change", "DEVPATH=" + path, "SUBSYSTEM=block", "DEVTYPE=disk", "DEVNAME=sdb", f"SEQNUM={number}")
    about = "".join(word + "\\0" for word in said).encode()
    return b"libudev\\0" + struct.pack(">I", 0xFEEDCAFE) + struct.pack("=III", 40, 40, len(about)) + struct.pack(
        ">IIII", hash32("block"), hash32("disk"), 0, 0
    ) + about

udevd = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)  # NETLINK_KOBJECT_UEVENT

def send(count):
    for number in range(count):
        udevd.sendto(message(number + 1), (0, 2))  # to the group of udev's listeners

def drops():
    lines = [line.split() for line in open("/proc/net/netlink")]
    return sum(int(line[8]) for line in lines[1:] if line[1] == "15")

woken, go_on, stop, wakes = threading.Event(), threading.Event(), threading.Event(), []

def wake():
    wakes.append(time.monotonic())
    woken.set()
    go_on.wait(20)

watching = threading.Thread(target=Devices([]).watch, args=(wake, stop))
watching.start()
assert woken.wait(10)  # it listens
send(10_000)           # nobody takes them: the wake is not over
lost = drops()
go_on.set()
give_up = time.monotonic() + 5
while len(wakes) < 2 and time.monotonic() < give_up:
    time.sleep(0.05)
time.sleep(0.5)        # for wakes too many
after = len(wakes)
woken.clear()
send(1)
heard = woken.wait(3)
stop.set()
watching.join(1)
print(lost, after, heard, watching.is_alive())
"""


@lab
def test_lost_events_cost_one_wake():
    """10 000 events that overflow the kernel's buffer (ENOBUFS) are one more wake, and the next event is heard."""
    if problem := missing():
        if CI:
            pytest.fail(problem)
        pytest.skip(problem)
    done = subprocess.run(
        machine_of_its_own(sys.executable, "-c", FLOOD),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lost, wakes, heard, late = done.stdout.split()
    assert int(lost) > 0, "the buffer did not overflow"
    assert 2 <= int(wakes) <= 3
    assert (heard, late) == ("True", "False")
