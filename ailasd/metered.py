"""Does the way out cost money by the byte? NetworkManager knows it of phones and modems; else the configuration says.

What counts is the interface that the default route leads to, beneath any tunnel: a VPN costs what carries it costs. A
route to the VPN's own end that leaves by another interface is not seen.
"""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LOOK_S: Final = 5.0
"""Between two looks: after a change so many seconds' bytes may still go, and a look costs some milliseconds."""
ANSWER_S: Final = 2.0
"""For an answer of NetworkManager, which has it ready."""
UP, REJECT = 0x1, 0x200  # RTF_ of linux/route.h

YES, GUESS_YES = 1, 3
"""Of NMMetered; 0: unknown, 2: no, 4: guess no."""

_NAME: Final = "org.freedesktop.NetworkManager"
_STRANGE: Final = f"{_NAME}.UnknownDevice"
"""NetworkManager is there, and does not know this interface."""
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_PATH: Final = "/org/freedesktop/NetworkManager"


class Metered:
    """Asks, at most every ``LOOK_S`` seconds. For one thread.

    Args:
        listed: interfaces that are metered whatever NetworkManager says; ``*`` stands for any characters.
        proc: /proc/net.
        sys: /sys/class/net.
        bus: D-Bus address of the system's bus.
        monotonic: seconds.
    """

    def __init__(
        self,
        listed: Iterable[str] = (),
        *,
        proc: Path = Path("/proc/net"),
        sys: Path = Path("/sys/class/net"),
        bus: str = "SYSTEM",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listed = tuple(listed)
        self._proc, self._sys, self._bus = proc, sys, bus
        self._monotonic = monotonic
        self._looked = float("-inf")
        self._found: str | None = None
        self._said: dict[str, bool] = {}  # interface that leads out -> what NetworkManager said of it last

    def __call__(self) -> str | None:
        """The interface that leads out and is metered; None: none is, as far as anybody knows."""
        now = self._monotonic()
        if now - self._looked >= LOOK_S:
            self._found = self._look()
            self._looked = self._monotonic()
        return self._found

    def _look(self) -> str | None:
        outer = outer_interfaces(self._proc, self._sys)
        for name in outer:
            if any(fnmatchcase(name, pattern) for pattern in self._listed):
                return name
        # one that is silent just now, or begins anew, takes nothing back: the bill is the worse mistake
        self._said = {name: said for name, said in self._said.items() if name in outer}
        self._said |= _says_network_manager(self._bus, outer) if outer else {}
        return next((name for name in outer if self._said.get(name)), None)


# -- routes -----------------------------------------------------------------------------------------------------------
class _Default(NamedTuple):
    family: str
    metric: int
    interface: str


def outer_interfaces(proc: Path = Path("/proc/net"), sys: Path = Path("/sys/class/net")) -> list[str]:
    """The interfaces of the default routes with the smallest metric, of IPv4 and IPv6, without tunnels."""
    routes = [route for route in (*_defaults_4(proc), *_defaults_6(proc)) if not _is_tunnel(sys / route.interface)]
    best: dict[str, int] = {}
    for route in routes:
        best[route.family] = min(route.metric, best.get(route.family, route.metric))
    return list(dict.fromkeys(route.interface for route in routes if route.metric == best[route.family]))


def _defaults_4(proc: Path) -> Iterator[_Default]:
    for line in _lines(proc / "route")[1:]:  # the first has the names
        interface, goal, _gateway, flags, _, _, metric, mask = line.split()[:8]
        if goal == mask == "00000000" and int(flags, 16) & (UP | REJECT) == UP:
            yield _Default("4", int(metric), interface)


def _defaults_6(proc: Path) -> Iterator[_Default]:
    for line in _lines(proc / "ipv6_route"):
        goal, length, _, _, _, metric, _, _, flags, interface = line.split()
        if goal.strip("0") == "" and length == "00" and int(flags, 16) & (UP | REJECT) == UP and interface != "lo":
            yield _Default("6", int(metric, 16), interface)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:  # a kernel without IPv6 has none
        return []


def _is_tunnel(interface: Path) -> bool:
    """WireGuard, or any kind of tun (OpenVPN, Tailscale, WireGuard in user space); a modem's ppp0 is none."""
    return (interface / "tun_flags").exists() or "DEVTYPE=wireguard" in _lines(interface / "uevent")


# -- NetworkManager ---------------------------------------------------------------------------------------------------
def _says_network_manager(bus: str, interfaces: Iterable[str]) -> dict[str, bool]:
    """Which of them are metered; none if it is not there, and only those that it answered for."""
    from jeepney import DBusErrorResponse  # noqa: PLC0415  (late: only if a metered network matters)
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415

    said: dict[str, bool] = {}
    try:
        with open_dbus_connection(bus) as connection:
            for name in interfaces:
                try:
                    (device,) = _ask(connection, _PATH, _NAME, "GetDeviceByIpIface", name)
                    ((_, metered),) = _ask(connection, device, _PROPERTIES, "Get", f"{_NAME}.Device", "Metered")
                except DBusErrorResponse as error:
                    if error.name == _STRANGE:
                        said[name] = False
                    continue
                said[name] = metered in {YES, GUESS_YES}
    except Exception:  # noqa: BLE001  (whatever a bus says or is: most machines have none that knows)
        return said
    return said


def _ask(connection: Any, path: str, interface: str, method: str, *words: str) -> Any:
    from jeepney import DBusAddress, MessageFlag, new_method_call  # noqa: PLC0415
    from jeepney.wrappers import unwrap_msg  # noqa: PLC0415

    call = new_method_call(DBusAddress(path, _NAME, interface), method, "s" * len(words), words)
    call.header.flags |= MessageFlag.no_auto_start
    return unwrap_msg(connection.send_and_get_reply(call, timeout=ANSWER_S))
