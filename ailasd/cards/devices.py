"""Which cards and cameras are plugged in now; a nudge when that may have changed.

An event only wakes (law 4): what is there is read anew each time, from sysfs for what the kernel knows and from udev's
database for what udev found out. ``rules`` judges it.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pyudev

from ailasd.cards import Medium, MediumKind
from ailasd.cards.rules import (
    GOPRO,
    PTP_INTERFACE,
    Block,
    Machine,
    Network,
    Usb,
    judge_block,
    judge_network,
    judge_usb,
    label,
    machine,
    number_of,
    own_devices,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Described = TypeVar("_Described", Block, Usb, Network)

SYS: Final = Path("/sys")
BLOCKS, NETWORKS, USB = "class/block", "class/net", "bus/usb/devices"
CONTROL: Final = Path("/run/udev/control")
"""The socket of a running udevd, by which libudev, too, tells whether there is one."""

BUFFER: Final = 1 << 20
"""Bytes of events that may wait. The kernel gives an unprivileged process less (net.core.rmem_max)."""
QUIET_MS: Final = 100
"""A card makes some ten events within a tenth of a second; one wake is enough for all of them."""
BURST_S: Final = 1.0
"""But a burst that does not end must not keep us from looking."""
AGAIN_S: Final = 1.0
"""Before listening again after events were lost; a flood of them must not become a flood of wakes."""

SECTOR: Final = 512
"""Bytes of the unit in which sysfs gives sizes, whatever the disk's own."""
LONGEST_ATTRIBUTE: Final = 4096
"""Bytes; the kernel gives a page at most."""
LONGEST_LIST: Final = 4 << 20
"""Bytes of a file of /proc or /etc: some 20 000 mounts."""

GONE: Final = (OSError, LookupError, ValueError, pyudev.DeviceNotFoundError)
"""What libudev and pyudev say of a device that vanishes while it is asked, or whose words are no UTF-8."""

SEEN: Final = "USEC_INITIALIZED"
"""The property that udev gives a device once it has looked at it, in microseconds since the machine was started."""
ASKED_FOR: Final = (
    SEEN,  # first: as long as there is no record in the database, libudev looks for it at each question
    *("DEVLINKS", "ID_BUS", "ID_DRIVE_FLASH_SD", "ID_FS_LABEL", "ID_FS_TYPE", "ID_FS_USAGE", "ID_FS_UUID"),
    *("ID_GPHOTO2", "ID_MODEL", "ID_MODEL_ENC", "ID_NAME", "ID_PART_ENTRY_NAME", "ID_PART_ENTRY_TYPE"),
    *("ID_PART_ENTRY_UUID", "ID_PART_TABLE_TYPE", "ID_SERIAL_SHORT", "ID_USB_INTERFACES", "ID_VENDOR"),
    *("ID_VENDOR_ENC", "ID_VENDOR_ID", "UDISKS_IGNORE"),
)
"""Properties of udev's that the rules know."""


class Devices:
    """Finds what is plugged in. Its methods may be called from several threads.

    Args:
        allowed: file systems that may be read, as blkid names them ("vfat").
        folders: of ours; the disks that they lie on are never taken for cards.
    """

    def __init__(self, allowed: Iterable[str], *, folders: Iterable[Path] = (Path("/var/lib/ailasd"),)) -> None:
        self._allowed = frozenset(allowed)
        self._folders = tuple(os.path.realpath(folder) for folder in folders)
        self._udev = _context()
        self._one_at_a_time = threading.Lock()  # libudev's objects are not made for several threads
        self._first_seen: dict[str, tuple[frozenset[str], str]] = {}

    @property
    def available(self) -> bool:
        """Whether udev runs here; a container has none, and then nothing is ever found."""
        return self._udev is not None and CONTROL.exists()

    def present(self) -> list[Medium]:
        """What is plugged in at this moment, in the order of the nodes.

        A device that udev is not through with yet is left out: its event is still to come. ``reason`` "stale" without a
        ``problem``: there is a new card in a reader, but the kernel does not know its partitions before it is opened.
        """
        if not self.available:
            return []
        with self._one_at_a_time:
            media = [
                *self._cards(),
                *(judge_usb(one) for one in self._described(USB, _usb)),
                *(judge_network(one) for one in self._described(NETWORKS, _network)),
            ]
        return sorted((one for one in media if one), key=lambda one: one.node)

    def still_there(self, medium: Medium) -> bool:
        """Whether this stay still goes on, from sysfs alone.

        To be asked while a card is mounted: when it is pulled out of its reader then, there is no event of its removal,
        and a listing from the kernel's memory proves nothing.
        """
        if medium.node.startswith("usb:"):
            ports = [SYS / USB / name for name in _names(SYS / USB)]
            return any(medium.node == _usb_node(port) for port in ports)
        if medium.kind is MediumKind.GOPRO:
            return medium.key.endswith(f" {_read(SYS / NETWORKS / medium.node / 'ifindex')}")
        place, disk = SYS / BLOCKS / medium.node.removeprefix("/dev/"), SYS / BLOCKS / medium.disk
        if not (size := _bytes(place)) or not _bytes(disk):
            return False
        return size == medium.size and _read(disk / "diskseq") in {"", number_of(medium.key)}

    def watch(self, wake: Callable[[], None], stop: threading.Event) -> None:
        """Call ``wake`` whenever something may have been plugged in or pulled out, until ``stop`` is set.

        Also once as soon as it listens, and whenever events were lost. Sleeps without a timer.
        """
        udev = _context() if self.available else None
        if udev is None:
            stop.wait()
            return
        stopped, stopper = os.pipe()
        threading.Thread(target=_close_when, args=(stop, stopper), name="udev-stop", daemon=True).start()
        try:
            self._listen(udev, wake, stop, stopped)
        finally:
            os.close(stopped)

    def _listen(self, udev: pyudev.Context, wake: Callable[[], None], stop: threading.Event, stopped: int) -> None:
        monitor: pyudev.Monitor | None = None
        while not stop.is_set():
            try:
                if monitor is None:
                    monitor = _subscribe(udev)
                    matters = True  # what happened before was not heard
                else:
                    matters = _burst(monitor, stopped)
            except OSError:  # ENOBUFS: too many events at once, some are lost; whatever else it is, begin anew
                monitor = None
                stop.wait(AGAIN_S)
                continue
            if matters and not stop.is_set():
                wake()

    # -- cards ----------------------------------------------------------------------------------------------------
    def _cards(self) -> list[Medium | None]:
        blocks = self._described(BLOCKS, _block)
        here = _this_machine(self._folders)
        own = own_devices(blocks, here)
        known = [block for block in blocks if SEEN in block.properties]
        names = {block.name for block in known}
        self._first_seen = {name: seen for name, seen in self._first_seen.items() if name in names}
        return [self._unless_stale(block, judge_block(block, self._allowed, own), here) for block in known]

    def _unless_stale(self, block: Block, medium: Medium | None, here: Machine) -> Medium | None:
        """Leave out, or call stale, what the kernel and udev know of the card that was there before.

        A card that is pulled out of its reader while it is mounted leaves its partition behind, and udev's knowledge of
        it; the next card in that reader changes nothing, until the old mount is gone and somebody opens the device.
        The disk's number counts on all the same: so whatever has been as it is since an earlier number is stale.
        To mount it is to open it: so it may be tried, and soon there is a medium in its place of which udev knows all.
        """
        mounts = here.mounts.get(block.number, frozenset())
        witness = mounts if block.is_whole else frozenset({block.properties[SEEN]})
        known = self._first_seen.get(block.name)
        if known is None or known[0].isdisjoint(witness):
            self._first_seen[block.name] = (witness, block.stay)
            return medium
        if known[1] == block.stay or medium is None or medium.reason == "empty":
            return medium
        if mounts:
            return None  # whoever reads the card before is about to let go of it
        return replace(medium, key=f"{medium.key} stale", uuid=None, problem=None, reason="stale")

    def _described(self, kind: str, describe: Callable[[pyudev.Device], _Described | None]) -> list[_Described]:
        """All devices of a kind; pyudev's own enumeration ends at the first that vanishes meanwhile."""
        found = []
        for name in sorted(_names(SYS / kind)):
            with suppress(*GONE):
                device = pyudev.Devices.from_sys_path(self._udev, os.path.realpath(SYS / kind / name))
                if (one := describe(device)) is not None:
                    found.append(one)
        return found


# -- one device, described --------------------------------------------------------------------------------------------
def _block(device: pyudev.Device) -> Block | None:
    place = Path(device.sys_path)
    disk = place.parent if (place / "partition").exists() else place
    number = _read(place / "dev")
    if not number:
        return None  # gone
    properties = _properties(device)
    return Block(
        name=place.name,
        number=number,
        disk=disk.name,
        size=_bytes(place),
        disk_size=_bytes(disk),
        read_only=_read(place / "ro") == "1",
        removable=_read(disk / "removable") == "1",
        usb=device.find_parent("usb", "usb_device") is not None,
        card_type=_read(disk / "device/type") if disk.name.startswith("mmcblk") else "",
        partitioned=disk == place and any(name.startswith(place.name) for name in _names(place)),
        slaves=tuple(_names(place / "slaves")),
        stay=_read(disk / "diskseq") or properties.get(SEEN, ""),  # diskseq: since Linux 5.15
        properties=properties,
    )


def _usb(device: pyudev.Device) -> Usb | None:
    place = Path(device.sys_path)
    node = _usb_node(place)
    if not node:
        return None  # an interface of a device, or gone
    properties = _properties(device)
    if SEEN not in properties:
        return None
    return Usb(
        port=place.name,
        node=node,
        vendor=_read(place / "idVendor"),
        interfaces=properties.get("ID_USB_INTERFACES", ""),
        gphoto2=properties.get("ID_GPHOTO2") == "1",
        label=label(properties),
        serial=text(_read(place / "serial")),
        since=properties.get(SEEN, ""),
    )


def _usb_node(port: Path) -> str:
    """Bus and device as ``Medium.node`` has them, or ""."""
    bus, device = _read(port / "busnum"), _read(port / "devnum")
    return f"usb:{int(bus):03},{int(device):03}" if bus.isdecimal() and device.isdecimal() else ""


def _network(device: pyudev.Device) -> Network | None:
    place, usb = Path(device.sys_path), device.find_parent("usb", "usb_device")
    if usb is None or SEEN not in _properties(device):  # udev may still rename it
        return None
    camera = Path(usb.sys_path)
    return Network(
        interface=place.name,
        index=_read(place / "ifindex"),
        vendor=_read(camera / "idVendor"),
        label=label(_properties(usb)),
        serial=text(_read(camera / "serial")),
    )


def _properties(device: pyudev.Device) -> dict[str, str]:
    """What the rules ask for; one that is no UTF-8 is as good as none."""
    found = {}
    for name in ASKED_FOR:
        with suppress(UnicodeDecodeError):
            if value := device.properties.get(name):
                found[name] = value
    return found


def _read(path: Path, most: int = LONGEST_ATTRIBUTE) -> str:
    """A file of sysfs, /proc or /etc; "" if it is not there (any more)."""
    try:
        with path.open("rb") as file:
            return os.fsdecode(file.read(most)).strip()
    except OSError:
        return ""


def _bytes(place: Path) -> int:
    sectors = _read(place / "size")
    return int(sectors) * SECTOR if sectors.isdecimal() else 0


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


def _this_machine(folders: Iterable[str]) -> Machine:
    return machine(
        mountinfo=_read(Path("/proc/self/mountinfo"), LONGEST_LIST),
        swaps=_read(Path("/proc/swaps"), LONGEST_LIST),
        fstab=_read(Path("/etc/fstab"), LONGEST_LIST),
        cmdline=_read(Path("/proc/cmdline")),
        folders=folders,
    )


# -- events -----------------------------------------------------------------------------------------------------------
def _context() -> pyudev.Context | None:
    """None without libudev."""
    try:
        return pyudev.Context()
    except ImportError:
        return None


def _subscribe(udev: pyudev.Context) -> pyudev.Monitor:
    """Raises OSError."""
    monitor = pyudev.Monitor.from_netlink(udev)
    for subsystem, device_type in (("block", None), ("usb", "usb_device"), ("net", None)):
        monitor.filter_by(subsystem, device_type)
    with suppress(PermissionError):  # more than rmem_max needs CAP_NET_ADMIN; as much as is allowed was given
        monitor.set_receive_buffer_size(BUFFER)
    monitor.start()
    return monitor


def _burst(monitor: pyudev.Monitor, stopped: int) -> bool:
    """Sleep until events come, take them all; whether any of them matters.

    Raises:
        OSError: events were lost.
    """
    waiting = select.poll()
    waiting.register(monitor.fileno(), select.POLLIN)
    waiting.register(stopped, select.POLLIN)
    ready, matters = waiting.poll(), False
    give_up = time.monotonic() + BURST_S
    while ready and stopped not in (number for number, _ in ready) and time.monotonic() < give_up:
        device = monitor.poll(0)
        if device is not None and not matters:
            with suppress(*GONE):
                matters = _matters(device)
        ready = waiting.poll(QUIET_MS)
    return matters


def _matters(device: pyudev.Device) -> bool:
    """Whether an event may be of a card or camera; not of loop devices, memory disks and other interfaces."""
    get = device.properties.get
    if device.subsystem == "block":
        return "/virtual/" not in device.sys_path or get("ID_BUS") == "usb"
    if device.subsystem == "net":
        return "/usb" in device.sys_path
    camera = get("ID_GPHOTO2") == "1" or PTP_INTERFACE in (get("ID_USB_INTERFACES") or "")
    return camera or get("ID_VENDOR_ID") == GOPRO


def _close_when(stop: threading.Event, stopper: int) -> None:
    """Make a stop something to poll for: the other end of the pipe is hung up then."""
    stop.wait()
    os.close(stopper)
