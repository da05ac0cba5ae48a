"""Wakes somebody when something was put into a folder. Only a nudge: who is woken looks at the folder (law 4)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

# not opened, not closed-without-writing: our own reading would wake us for ever
ARRIVALS: Final = [DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileMovedEvent]


class Watching:
    """Watches folders that are there when it starts; others are found by the import step's own interval.

    A folder that cannot be watched (missing; no room for watches: ENOSPC, EMFILE) costs its nudges, nothing else. It
    does not see what is mounted over a watched folder later: hence "only a nudge".
    """

    def __init__(self, folders: Iterable[Path], wake: Callable[[], None]) -> None:
        self._folders = tuple(folders)
        self._waker = _Waker(wake)
        self._observer = Observer()

    def start(self) -> None:
        """Begin."""
        self._observer.start()
        for folder in self._folders:  # only now: each that fails then fails alone
            with suppress(OSError):
                self._observer.schedule(self._waker, str(folder), recursive=True, event_filter=ARRIVALS)

    def stop(self) -> None:
        """End, and wait for its threads."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002  (whatever it was, somebody looks)
        self._wake()
