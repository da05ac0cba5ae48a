"""The tunnel to the private network: is it there, does the way to the server lead through it, when does that change?

Nothing here sends a packet. WireGuard, OpenVPN, Tailscale and others are all the same from here: an interface that a
route leads to. Being there proves little (a WireGuard interface stays up when its other end is gone, FIELD.md): only
an answer of our server does; but without it not even a question may leave.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NETWORK: Final = Path("/sys/class/net")

SETTLE_S: Final = 0.5
"""A network manager changes a dozen things within a moment: one look after the last."""

MOST_CHANGES: Final = 20
"""A manager that never rests is heard all the same."""

_IFF_UP: Final = 0x1  # netdevice(7)
_ANY_PORT: Final = 9  # connecting a datagram socket only asks the kernel for the route
_CHANGES: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE of rtnetlink(7)."""
_MOST_MESSAGE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Way:
    """How the server is reached: what every client of it has to keep to.

    Attributes:
        interface: the tunnel that every byte must leave through; "" is none.
        address: where the server is (an IP literal), instead of looking its name up.
        ca_file: certificates (PEM) to trust instead of the system's.
        known: where the server was last time (IP literals), for when its name cannot be looked up.
    """

    interface: str = ""
    address: str | None = None
    ca_file: Path | None = None
    known: tuple[str, ...] = ()


class Tunnel:
    """The interface that every byte to the server leaves through.

    Args:
        interface: its name, such as ``wg0``.
    """

    def __init__(self, interface: str) -> None:
        self.interface = interface

    def missing(self) -> str | None:
        """Why it cannot be used now, in plain words; None if it is there and up. Costs two small reads."""
        about = NETWORK / self.interface
        try:
            flags = int((about / "flags").read_text(), 16)
            plugged = flags & _IFF_UP and (about / "carrier").read_text().strip() == "1"
        except (OSError, ValueError):
            return f"the tunnel {self.interface} is not there: is the VPN switched on?"
        if not flags & _IFF_UP:
            return f"the tunnel {self.interface} is down: switch the VPN on"
        return None if plugged else f"the tunnel {self.interface} is up, but its VPN program does not run"

    def index(self) -> int | None:
        """The kernel's number of the interface, another one each time it is made; None: it is not there."""
        try:
            return int((NETWORK / self.interface / "ifindex").read_text())
        except (OSError, ValueError):
            return None

    def bypassed(self, addresses: Iterable[str]) -> str | None:
        """Which of the server's addresses the kernel would send somewhere else, in plain words; None: none of them.

        Our own sockets are bound to the tunnel whatever the routes say. But a route that leads elsewhere means that
        the tunnel is not made for this server, and that other programs talk to somebody else by its name.
        """
        for address in addresses:
            usual, through = _leaving_from(address), _leaving_from(address, self.interface)
            if through is None or usual != through:
                return (
                    f"the way to the server ({address}) does not lead through the tunnel {self.interface}: "
                    "add its network to the VPN's routes (AllowedIPs of WireGuard), or correct vpn.interface"
                )
        return None


def _leaving_from(address: str, interface: str | None = None) -> str | None:
    """Our own address on the way to ``address``, as the kernel would choose it; None: there is no way."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
        if interface:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        asking.connect((address, _ANY_PORT))
        return str(asking.getsockname()[0])
    return None


class NetworkNews:
    """Hears of changes of interfaces, addresses and routes. Only a nudge (law 4): a timer looks as well."""

    def __init__(self) -> None:
        self._ended = os.eventfd(0)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each burst of changes, until ``end``. Sleeps without a timer.

        Returns at once where the kernel gives no such news (a sandbox without ``AF_NETLINK``).
        """
        with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as news:
            news.bind((0, _CHANGES))
            look = select.poll()
            for one in (news.fileno(), self._ended):
                look.register(one, select.POLLIN)
            ended = False
            while not ended:
                ready = look.poll()
                for _ in range(MOST_CHANGES):
                    ended = ended or any(one == self._ended for one, _ in ready)
                    if ended or not ready:
                        break
                    with suppress(OSError):  # ENOBUFS: so many that some were lost
                        news.recv(_MOST_MESSAGE)
                    ready = look.poll(SETTLE_S * 1000)
                if not ended:
                    changed()

    def end(self) -> None:
        """Let ``watch`` return, now or as soon as it is called."""
        os.eventfd_write(self._ended, 1)
