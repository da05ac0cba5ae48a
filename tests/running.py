"""A daemon in a thread, and a machine with one reader for it: only udev and mount are played."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ailasd.cards import Medium, MediumKind
from ailasd.clock import SystemClock
from ailasd.daemon import STOP_WITHIN_S, Daemon, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kit import Kit


@contextmanager
def running(kit: Kit, *, clock: Any = None, slots: Slots | None = None) -> Iterator[Daemon]:
    """The daemon in a thread, on the machine's own clock."""
    kit.parts.close()
    parts = kit.start(clock or SystemClock())
    stop, one = threading.Event(), Daemon(parts, slots=slots)
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    try:
        yield one
    finally:
        stop.set()
        thread.join(STOP_WITHIN_S + 2)
        assert not thread.is_alive()


class Slot:
    """Devices and mounting of a machine with one reader, whose card is a folder."""

    available = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card: Medium | None = None
        self.wake: Callable[[], None] = lambda: None
        self.listens = threading.Event()
        self.mounted_now = 0

    def present(self) -> list[Medium]:
        return [self.card] if self.card else []

    def still_there(self, medium: Medium) -> bool:
        return medium == self.card

    def watch(self, wake: Callable[[], None], stop: threading.Event) -> None:
        self.wake = wake
        self.listens.set()
        stop.wait()

    def plug(self) -> None:
        self.card = Medium(f"sdb1#{time.monotonic_ns()}", MediumKind.CARD, "/dev/sdb1", "a reader", fs="exfat")
        self.wake()

    @contextmanager
    def mounted(self, _medium: Medium) -> Iterator[Path]:
        self.mounted_now += 1
        yield self.folder
        self.mounted_now -= 1

    @contextmanager
    def writable(self, _medium: Medium) -> Iterator[Path]:
        yield self.folder

    def release_leftovers(self) -> list[str]:
        return []

    def let_go(self, _medium: Medium) -> str | None:
        return None
