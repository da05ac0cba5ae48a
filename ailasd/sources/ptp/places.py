"""Names on a camera, and which camera and storages these are. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from ailasd.errors import Unreadable
from ailasd.sources import printable, raw_name

MAX_TEXT: Final = 64
"""Characters of what a camera says about itself, before people."""

_STORE: Final = re.compile(r"store_[0-9a-f]{8}")
_NODE: Final = re.compile(r"usb:([0-9]{3}),([0-9]{3})")


@dataclass(frozen=True, slots=True, order=True)
class Store:
    """One storage, a card or the camera's own memory, as the camera describes it. All texts are printable.

    Attributes:
        name: libgphoto2's folder for it: ``store_00010001``.
        capacity: KiB.
    """

    name: str
    label: str
    description: str
    capacity: int

    @property
    def real(self) -> bool:
        """Whether files can lie in it: libgphoto2 has further top folders for settings."""
        return _STORE.fullmatch(self.name) is not None


def identity_of(serial: str | None, model: str, stores: tuple[Store, ...]) -> str:
    """The name we give to the storages in a camera: 16 hex digits."""
    origin = ["ptp", serial or "", model]
    for store in stores:
        origin += [store.name, store.label, store.description, str(store.capacity)]
    return hashlib.blake2b("\0".join(origin).encode(), digest_size=8).hexdigest()


def folder_of(store: Store, parts: tuple[str, ...]) -> str:
    """The camera's name of a folder in a storage."""
    return "/".join(("", store.name, *parts))


def place_of(path: str, stores: tuple[Store, ...]) -> tuple[str, str]:
    """Give the camera's folder and file name for a listed path.

    Args:
        path: relative to the storage if that is the only one; else it begins with the storage's name.
        stores: all storages of the camera.

    Raises:
        Unreadable: no listing gives this path.
    """
    try:
        parts = raw_name(path).decode().split("/")
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if not all(speakable(part) for part in parts):
        raise Unreadable(f"{path} is not a file's path on a camera")
    if len(stores) == 1:
        parts = [stores[0].name, *parts]
    if len(parts) < 2 or parts[0] not in {store.name for store in stores}:
        raise Unreadable(f"{path} is on no storage of the camera")
    return "/" + "/".join(parts[:-1]), parts[-1]


def speakable(name: str) -> bool:
    """Whether the camera can be asked for this name: a foreign one may be anything."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    """A name as part of a path; if it is not speakable, one that ``place_of`` refuses."""
    return printable(name) if speakable(name) else printable(name).replace("/", "\\x2f") or "\\x"


def text_of(said: str | bytes) -> str:
    """What a camera says about itself, as it may be shown."""
    return printable(said.strip())[:MAX_TEXT]


def bus_and_device(node: str) -> tuple[int, int]:
    """Both numbers of "usb:001,004".

    Raises:
        ValueError: it is none of these.
    """
    found = _NODE.fullmatch(node)
    if found is None:
        raise ValueError(f"not a camera's place on the USB bus: {node!a}")
    return int(found[1]), int(found[2])
