"""UDisks2 over D-Bus, as far as we need it: it mounts removable media for users, and desktops let it do so.

A connection for each call: a few milliseconds, and neither a restarted bus nor another thread is ever in the way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNT_S: Final = 20.0
"""For a mount: the bitmap of a 1 TB exFAT takes seconds on a slow reader. After that our own helper is asked."""
ANSWER_S: Final = 10.0
"""For everything else, which it answers at once, but D-Bus may have to start it first."""
FIND_S: Final = 2.0
"""udev tells UDisks2 of a new card at the same moment as us; it takes some tenths of a second longer over it."""

OPTIONS: Final = ("ro,noexec,nosymfollow", "ro,noexec")
"""nosuid and nodev it adds by itself; nosymfollow is known from 2.10 on, and to 2.9.4 as Debian 12 has it."""

_NAME: Final = "org.freedesktop.UDisks2"
_BLOCK, _FILE_SYSTEM, _DRIVE = (f"{_NAME}.{one}" for one in ("Block", "Filesystem", "Drive"))
_MANAGER: Final = "/org/freedesktop/UDisks2/Manager"
_SILENT: Final = ("s", ""), ("b", True)


class Unwilling(Exception):
    """UDisks2 is not there, does not answer, or will not; a sentence.

    Attributes:
        name: of its error on D-Bus (without its prefix), or "".
    """

    def __init__(self, text: str, name: str = "") -> None:
        super().__init__(text)
        self.name = name


def mount(node: str, kind: str) -> None:
    """Mount a block device read-only for the user that this process is.

    Args:
        node: "/dev/sdb1".
        kind: of its file system.

    Raises:
        Unwilling: it did not; ``name`` is "AlreadyMounted" if somebody else was first.
    """
    path = _found(node)
    for options in OPTIONS:
        try:
            _call(path, _FILE_SYSTEM, "Mount", {"fstype": ("s", kind), "options": ("s", options)}, within_s=MOUNT_S)
        except Unwilling as error:
            if error.name != "OptionNotPermitted" or options == OPTIONS[-1]:
                raise
        else:
            return


def unmount(node: str, *, force: bool = True) -> None:
    """Unmount it.

    Args:
        node: "/dev/sdb1".
        force: lazily if it is in use.

    Raises:
        Unwilling: it did not.
    """
    path = _found(node, within_s=0.0)
    try:
        _call(path, _FILE_SYSTEM, "Unmount", {})
    except Unwilling as error:
        if error.name == "NotMounted":
            return
        if not force:
            raise
        _call(path, _FILE_SYSTEM, "Unmount", {"force": ("b", True)})


def power_off(node: str) -> str | None:
    """Switch off the device that holds this block device, if nothing else of it holds a medium.

    Returns:
        Why it was not switched off, a sentence; or None.
    """
    try:
        drive = _property(_found(node, within_s=0.0), _BLOCK, "Drive")
        if drive == "/" or not _property(drive, _DRIVE, "CanPowerOff"):
            return "it cannot be switched off"
        if any(_property(other, _DRIVE, "MediaAvailable") for other in _siblings(drive)):
            return "another card is in the same reader"
        _call(drive, _DRIVE, "PowerOff", {})
    except Unwilling as error:
        return str(error)
    return None


def _siblings(drive: str) -> Iterator[str]:
    """The other slots of the same reader: to switch one off is to switch all of them off."""
    device = _property(drive, _DRIVE, "SiblingId")
    managed = _message("/org/freedesktop/UDisks2", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", ())
    for path, interfaces in managed[0].items():
        about = interfaces.get(_DRIVE)
        if path != drive and device and about and about["SiblingId"][1] == device:
            yield path


def _found(node: str, *, within_s: float = FIND_S) -> str:
    give_up = time.monotonic() + within_s
    while True:
        (paths,) = _message(_MANAGER, f"{_NAME}.Manager", "ResolveDevice", "a{sv}a{sv}", ({"path": ("s", node)}, {}))
        for path in paths:
            return str(path)
        if time.monotonic() >= give_up:
            raise Unwilling(f"UDisks2 does not know {node}")
        time.sleep(0.1)


def _call(path: str, interface: str, method: str, options: dict[str, Any], *, within_s: float = ANSWER_S) -> None:
    # nobody sits there who could type a password
    quietly = options | {"auth.no_user_interaction": ("b", True)}
    _message(path, interface, method, "a{sv}", (quietly,), within_s=within_s)


def _property(path: str, interface: str, name: str) -> Any:
    ((_, value),) = _message(path, "org.freedesktop.DBus.Properties", "Get", "ss", (interface, name))
    return value


def _message(
    path: str, interface: str, method: str, signature: str, body: tuple[Any, ...], *, within_s: float = ANSWER_S
) -> tuple[Any, ...]:
    from jeepney import DBusAddress, DBusErrorResponse, new_method_call  # noqa: PLC0415  (late: only for a card)
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415
    from jeepney.wrappers import unwrap_msg  # noqa: PLC0415

    call = new_method_call(DBusAddress(path, _NAME, interface), method, signature, body)
    try:
        with open_dbus_connection("SYSTEM") as bus:
            answer: tuple[Any, ...] = unwrap_msg(bus.send_and_get_reply(call, timeout=within_s))
            return answer
    except DBusErrorResponse as error:
        name, text = error.name or "", error.data[0] if error.data else error.name
        raise Unwilling(f"UDisks2 says: {text}", name.rpartition(".")[2]) from error
    except TimeoutError as error:
        raise Unwilling(f"UDisks2 gave no answer within {within_s:.0f} s") from error
    except Exception as error:  # whatever a bus says or is: the helper is there too
        raise Unwilling(f"D-Bus cannot be reached: {error}") from error
