"""What the machine is told of us: systemd that we live (sd_notify(3)), logind that it must not fall asleep.

Without systemd or logind (a laptop's shell, a container, a test) all of this does nothing.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ailasd.logs import Event, printable, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_S: Final = 1800.0
"""A step that gives no sign of life for so long hangs. What takes long and is no fault: a bad sector, for which the
kernel asks a USB reader six times at 30 s (3 min); two 12 MB pictures at once over a link of 16 kB/s (25 min)."""

BUS_S: Final = 5.0
"""For an answer of logind, which gives it at once: a bus that hangs must not keep a card from being read."""


# -- systemd ----------------------------------------------------------------------------------------------------------
def notify(*states: str) -> bool:
    """Tell systemd, such as ``notify("READY=1", "STATUS=No card is here.")``.

    Args:
        *states: as sd_notify(3) lists them; each becomes one printable line.

    Returns:
        Whether there was somebody to tell.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # of Linux' abstract names
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to, suppress(OSError):
        to.settimeout(1.0)  # its queue is full only when systemd itself hangs
        to.sendto("\n".join(map(printable, states)).encode(errors="replace"), address)
        return True
    return False


class Pulse:
    """Feeds systemd's watchdog for as long as everything that works shows that it gets on.

    Args:
        longest_s: so many seconds without a sign of life are a hang.
        monotonic: seconds (law 8).
    """

    def __init__(self, *, longest_s: float = LONGEST_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._longest_s = longest_s
        self._monotonic = monotonic
        self._last: dict[tuple[str, object], float] = {}  # what works now -> its last sign of life
        self._silent: set[tuple[str, object]] = set()
        self._lock = threading.Lock()
        self.every_s: Final = _watchdog_s() / 2
        """How often to call ``feed`` at least; infinite without a watchdog."""
        self._due = self._monotonic() if math.isfinite(self.every_s) else math.inf

    @contextmanager
    def working(self, name: str) -> Iterator[Callable[[], None]]:
        """Something works until the end of the block; yields the sign of life that it is to give at each bit of it.

        It may be given from any thread. What waits for nothing but time must not be in such a block.
        """
        key = (name, object())  # several of one name may work at once

        def alive() -> None:
            with self._lock:
                if key in self._last:
                    self._last[key] = self._monotonic()

        with self._lock:
            self._last[key] = self._monotonic()
        try:
            yield alive
        finally:
            with self._lock:
                del self._last[key]
                self._silent.discard(key)

    def busy(self) -> bool:
        """Whether anything works now."""
        return bool(self._last)

    def feed(self) -> None:
        """To be called by the main loop, as often as it likes: says that we live when that is due, and true."""
        now = self._monotonic()
        with self._lock:
            silent = {key for key, last in self._last.items() if now - last > self._longest_s}
            news, self._silent = silent - self._silent, silent
        for name, _ in news:
            record(Event.STEP_SILENT, step=name, silent_s=self._longest_s)
        if not silent and now >= self._due:
            self._due = now + self.every_s
            notify("WATCHDOG=1")


def _watchdog_s() -> float:
    """What systemd waits for a sign of life of this process (sd_watchdog_enabled(3)); infinite: it does not."""
    for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    wanted = os.environ.get("WATCHDOG_USEC", "")
    return int(wanted) / 1e6 if for_us and wanted.isdecimal() and int(wanted) else math.inf


# -- logind -----------------------------------------------------------------------------------------------------------
class Sleep:
    """Keeps this machine awake while a card is read: a laptop that falls asleep cuts the card's power."""

    def __init__(self) -> None:
        self._told = False

    @contextmanager
    def inhibited(self, why: str) -> Iterator[bool]:
        """No sleep until the end of the block, however the process ends; from any thread, several at once.

        Args:
            why: for people (``systemd-inhibit --list``).

        Yields:
            Whether it is so: without logind, or without its leave, the machine may sleep; that is told once.
        """
        lock = self._lock(why)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)

    def _lock(self, why: str) -> int | None:
        try:
            return _inhibit(printable(why))
        except Exception as error:  # noqa: BLE001  (whatever a bus says: reading the card is what matters)
            if not self._told:
                self._told = True
                record(Event.SLEEP_POSSIBLE, problem=str(error) or type(error).__name__)
            return None


def _inhibit(why: str) -> int:
    """The file descriptor that logind gives: the machine does not sleep until it is closed."""
    from jeepney import DBusAddress, new_method_call  # noqa: PLC0415  (late: only when a card is here)
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415
    from jeepney.wrappers import unwrap_msg  # noqa: PLC0415

    logind = DBusAddress(
        "/org/freedesktop/login1", bus_name="org.freedesktop.login1", interface="org.freedesktop.login1.Manager"
    )
    with open_dbus_connection("SYSTEM", enable_fds=True) as bus:
        call = new_method_call(logind, "Inhibit", "ssss", ("sleep", "ailasd", why, "block"))
        (lock,) = unwrap_msg(bus.send_and_get_reply(call, timeout=BUS_S))
        return int(lock.to_raw_fd())
