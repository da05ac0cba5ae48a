"""Which cards and cameras are plugged in now; tell somebody when that changes; mount, unmount.

``devices`` finds them with udev, ``mounting`` makes a card readable without the daemon having any privilege itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MediumKind(StrEnum):
    """How pictures are read from it."""

    CARD = "card"  # a block device with a file system: a card in a reader or slot, a stick
    PTP = "ptp"  # a camera that speaks PTP or MTP over USB
    GOPRO = "gopro"  # a GoPro that offers a network over USB ("GoPro Connect")


@dataclass(frozen=True, slots=True)
class Medium:
    """Something plugged in that may hold pictures, as udev tells it. All texts are printable.

    Attributes:
        key: this stay of this medium: plugged in again, or the next card in the same reader, it is another one.
        node: "/dev/sdb1" of a card; "usb:001,004" (bus, device) of a PTP camera; the network interface of a GoPro.
        label: what to call it before people: the reader or camera as it names itself.
        disk: kernel name of the whole disk of a card ("sdb"); "" for cameras.
        fs: type of a card's file system as blkid names it, or None.
        uuid: of the file system.
        size: bytes of the partition; 0: no card in the reader.
        serial: of the reader or camera, if it has one.
        problem: why it cannot be read at all, a sentence that names the way out; None: it can be tried.
        reason: the same as one stable word, or None: "empty", "unknown_file_system", "not_allowed", "encrypted",
            "wrong_mode"; or "stale", without a problem: what the kernel remembers of the card before, until opened.
    """

    key: str
    kind: MediumKind
    node: str
    label: str
    disk: str = ""
    fs: str | None = None
    uuid: str | None = None
    size: int = 0
    serial: str | None = None
    write_protected: bool = False
    problem: str | None = None
    reason: str | None = None
