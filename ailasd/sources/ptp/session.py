"""The one session with a camera, and what its errors mean. Nothing else knows libgphoto2 (the extra ``camera``)."""

from __future__ import annotations

import calendar
import os
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ailasd.errors import AilasdError, Changing, NeedsHuman, SourceBusy, SourceGone, Unreadable
from ailasd.sources.ptp.places import Store, bus_and_device, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SWITCH: Final = "switch the camera's USB connection to MTP, or take the card out and put it into the reader"

_USB_MAJOR: Final = 189
"""Of device nodes on the USB bus (the kernel's devices.txt); 128 minors for each bus."""
_LATEST_S: Final = 2**33
"""Seconds since 1970, in 2242: a time beyond that is none, and would not fit into 63 bits of nanoseconds."""

# libgphoto2's result codes (gphoto2-result.h, gphoto2-port-result.h)
_NOT_SUPPORTED: Final = -6
_IN_USE: Final = frozenset({-53, -60})  # could not claim the USB device, could not lock it
_NOT_FOUND: Final = frozenset({-107, -108})  # folder, file
_BUSY: Final = -110

_STARTING: Final = threading.Lock()
"""libgphoto2 loads its drivers into the process when a session begins; that is not made for two threads at once."""


class Session:
    """All calls to one camera, one after the other. A session begins when it is needed and lasts until ``close``.

    Attributes:
        name: what to call the camera in a sentence.
        stores: the storages of the camera that is spoken of, in order; empty before the first session.
    """

    def __init__(self, node: str, sysfs: Path) -> None:
        bus, device = bus_and_device(node)
        self._node = node
        self._described = sysfs / "dev" / "char" / f"{_USB_MAJOR}:{(bus - 1) * 128 + device - 1}"
        self._dev = Path(f"/dev/bus/usb/{bus:03}/{device:03}")
        self._lock = threading.RLock()
        self._camera: Any = None
        self._opened: set[int] = set()  # file descriptors of the device
        self.stores: tuple[Store, ...] = ()
        self.name = self.told("product") or f"the camera at {node}"

    @contextmanager
    def speaking(self, path: str | None = None, *, deleting: bool = False) -> Iterator[Any]:
        """Have the camera (a ``gphoto2.Camera``) to oneself, and raise what its errors mean.

        Args:
            path: of the file or folder that is spoken of; None: the camera itself.
            deleting: so that an error may be the camera's refusal.
        """
        gphoto2 = _gphoto2()
        with self._lock:
            self._begin()
            try:
                yield self._camera
            except gphoto2.GPhoto2Error as error:
                raise self._meaning(error, path, deleting=deleting) from error

    def look_anew(self) -> None:
        """Speak of whatever card is in the camera now."""
        with self._lock:
            if not self._same_card():
                self.close()
                self.stores = ()
            self._begin()

    def close(self) -> None:
        """End the session: the camera may be unplugged, or used by another program."""
        with self._lock:
            camera, self._camera = self._camera, None
            if camera is not None:
                with suppress(_gphoto2().GPhoto2Error):  # it was unplugged already
                    camera.exit()
            self._close_what_is_left()

    def told(self, attribute: str) -> str | None:
        """What the camera told the kernel when it was plugged in; asking itself would set some into another mode."""
        with suppress(OSError):
            return text_of((self._described / attribute).read_bytes()[:256]) or None
        return None

    # -- begin --------------------------------------------------------------------------------------------------------
    def _begin(self) -> None:
        if self._camera is not None:
            return
        try:
            stores = self._start()
        except AilasdError as error:
            # in the middle of a card nothing else can be done with it; what is wrong is said when ``card`` is asked
            if self.stores and not isinstance(error, SourceGone):
                raise SourceGone(str(error)) from error
            raise
        if self.stores not in {(), stores}:
            self.close()
            raise SourceGone(f"another card is in {self.name} now")
        self.stores = stores

    def _start(self) -> tuple[Store, ...]:
        gphoto2 = _gphoto2()
        if not self._described.exists():
            raise self._gone()
        try:
            with _STARTING:
                self._take(gphoto2)
            if self._camera is None:
                raise Unreadable(f"{self.name} does not speak PTP or MTP: {SWITCH}")
            stores = _stores_of(self._camera)
        except gphoto2.GPhoto2Error as error:
            self.close()
            raise self._no_session(error) from error
        if not stores:
            self.close()
            raise Unreadable(f"{self.name} shows no storage: unlock it if it is locked, {SWITCH}")
        return stores

    def _take(self, gphoto2: Any) -> None:
        before = self._descriptors()
        try:
            self._camera = _found(gphoto2, self._node)
            if self._camera is not None:
                self._camera.init()
        finally:
            self._opened = self._descriptors() - before

    def _descriptors(self) -> set[int]:
        """Our file descriptors of this device."""
        found, names = set(), {str(self._dev), f"{self._dev} (deleted)"}
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # the one of this very listing
                if str(entry.readlink()) in names:
                    found.add(int(entry.name))
        return found

    def _close_what_is_left(self) -> None:
        """Close what libgphoto2 2.5.34 forgets: devices that were unplugged, or that it could not claim, stay open."""
        for descriptor in self._opened & self._descriptors():
            os.close(descriptor)
        self._opened = set()

    # -- what went wrong ----------------------------------------------------------------------------------------------
    def _no_session(self, error: Any) -> AilasdError:
        if not self._described.exists():
            return self._gone()
        if error.code in _IN_USE:
            return SourceBusy(f"another program of this computer uses {self.name}: eject it there, or end that program")
        if error.code == _BUSY:
            return SourceBusy(f"{self.name} is busy: it is tried again by itself")
        if self._dev.exists() and not os.access(self._dev, os.R_OK | os.W_OK):
            return NeedsHuman(f"ailasd may not use {self.name} ({self._dev}): run 'sudo ailasd setup' again")
        return Unreadable(f"{self.name} does not answer ({error.string}): {SWITCH}")

    def _meaning(self, error: Any, path: str | None, *, deleting: bool) -> AilasdError:
        if is_missing(error) and path is not None:
            return Unreadable(f"{path} is not on the camera (any more)")
        if error.code == _BUSY:
            return SourceGone(f"{self.name} is busy: it is tried again by itself")
        if path is None or not self._still_there():
            return self._gone()
        if deleting:
            return NeedsHuman(f"{self.name} does not let us delete {path}: {error.string}")
        return Unreadable(f"{path} cannot be read: {error.string}")

    def _still_there(self) -> bool:
        """Whether the same card is; if one file broke the session, a new one is begun for the next file."""
        if self._same_card():
            return True
        self.close()
        try:
            self._begin()
        except AilasdError:
            return False
        return True

    def _same_card(self) -> bool:
        if self._camera is None:
            return False
        try:
            return _stores_of(self._camera) == self.stores
        except _gphoto2().GPhoto2Error:
            return False

    def _gone(self) -> SourceGone:
        return SourceGone(f"{self.name} is not there (any more), or does not answer")


# -- what is asked of a camera ----------------------------------------------------------------------------------------
def names_of(listed: Any) -> list[str]:
    """The names in a ``gphoto2.CameraList``, each once."""
    return list(dict.fromkeys(listed.get_name(number) for number in range(listed.count())))


def is_missing(error: BaseException | None) -> bool:
    """Whether this is libgphoto2's word for a file or folder that is not there."""
    return getattr(error, "code", None) in _NOT_FOUND


def exists(camera: Any, folder: str, name: str) -> bool:
    """Whether that folder has that file."""
    try:
        return name in names_of(camera.folder_list_files(folder))
    except _gphoto2().GPhoto2Error as error:
        if is_missing(error):
            return False
        raise


def facts_of(camera: Any, folder: str, name: str) -> tuple[int, int]:
    """Size and time (ns) of a file.

    PTP tells wall time without a zone and libgphoto2 takes it as this machine's; taken back to what the camera said, so
    that it does not depend on how the machine is set up.
    """
    info, gphoto2 = camera.file_get_info(folder, name).file, _gphoto2()
    size = int(info.size) if info.fields & gphoto2.GP_FILE_INFO_SIZE else 0
    seconds = int(info.mtime) if info.fields & gphoto2.GP_FILE_INFO_MTIME else 0
    wall = calendar.timegm(time.localtime(seconds)) if 0 < seconds < _LATEST_S else 0
    return min(size, 2**63 - 1), max(wall, 0) * 10**9


def read_part(camera: Any, folder: str, name: str, offset: int, into: memoryview) -> int | None:
    """Read some bytes of a file; gives how many, or None if this camera cannot give parts of a file."""
    gphoto2 = _gphoto2()
    try:
        return int(camera.file_read(folder, name, gphoto2.GP_FILE_TYPE_NORMAL, offset, into))
    except gphoto2.GPhoto2Error as error:
        if error.code == _NOT_SUPPORTED:
            return None
        raise


def read_whole(camera: Any, folder: str, name: str, size: int) -> bytes:
    """Read a file, which is in memory twice for a moment.

    Raises:
        Changing: it has not that size.
    """
    got = camera.file_get(folder, name, _gphoto2().GP_FILE_TYPE_NORMAL)
    content = bytes(got.get_data_and_size())  # what it gives is valid only as long as ``got`` lives
    if len(content) != size:
        raise Changing(f"{name} has not the {size} bytes that were listed")
    return content


def _stores_of(camera: Any) -> tuple[Store, ...]:
    said = camera.get_storageinfo()
    stores = (
        Store(one.basedir.strip("/"), text_of(one.label), text_of(one.description), int(one.capacitykbytes))
        for one in said
    )
    return tuple(sorted(store for store in stores if store.real))


# -- the library ------------------------------------------------------------------------------------------------------
def _gphoto2() -> Any:
    try:
        import gphoto2  # noqa: PLC0415  (4.5 MB and an extra: only when there is a camera)
    except ImportError as error:
        raise Unreadable(
            "this installation cannot talk to cameras over USB: take the card out and put it into the reader, or"
            " install the extra 'camera' (gphoto2)"
        ) from error
    return gphoto2


def _found(gphoto2: Any, node: str) -> Any:
    """The camera at ``node``, not yet spoken to; None if libgphoto2's driver for PTP and MTP does not take it."""
    ports, drivers = gphoto2.PortInfoList(), gphoto2.CameraAbilitiesList()
    ports.load()
    drivers.load()
    found = drivers.detect(ports)
    for model in (found.get_name(number) for number in range(found.count()) if found.get_value(number) == node):
        driver = drivers[drivers.lookup_model(model)]
        if driver.library.rpartition("/")[2] == "ptp2":  # its other drivers are for the cameras of the last century
            camera = gphoto2.Camera()
            camera.set_abilities(driver)
            camera.set_port_info(ports[ports.lookup_path(node)])
            return camera
    return None
