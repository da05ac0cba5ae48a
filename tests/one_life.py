"""A process that does real work on a kit's folder, to be killed at any moment: ``python one_life.py CONFIG STEP...``.

All effects but the reading of the card happen in the main thread: strace counts calls thread by thread, and only so is
"the N-th" the N-th of the process.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from unittest.mock import patch

from kit import SetClock

from ailasd import disk, logs, uploading
from ailasd.config import load
from ailasd.parts import Ailasd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIFE: Final = ("import", "sort", "upload", "confirm", "later", "confirm", "clean")
"""All that happens between a card and the end of a picture; the server publishes in the time called "later"."""

LATER_S: Final = 400.0
"""Longer than any wait of ours after a single failure, and than ``link.HUMAN_WAIT_S``."""


class InPlace:
    """An executor that does it at once, in the thread that asks."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., None], *args: Any) -> Future[None]:
        done: Future[None] = Future()
        try:
            work(*args)
            done.set_result(None)
        except Exception as error:  # noqa: BLE001  (told where the result is asked for)
            done.set_exception(error)
        return done


def live(config: Path, steps: Iterable[str], clock: SetClock) -> None:
    """Begin as the daemon does, then the steps, once each."""
    stop = threading.Event()
    with Ailasd(load(config), clock=clock) as parts:
        disk.sweep(parts.storage.incoming)
        runs: dict[str, Callable[[], object]] = {
            "import": lambda: [one.run(stop) for one in parts.importing],
            "sort": lambda: parts.sorting.run(stop),
            "upload": lambda: parts.uploading.run(stop),
            "confirm": lambda: parts.confirming.run(stop),
            "clean": lambda: parts.cleaning.run(stop),
            "later": lambda: clock.advance(LATER_S),
        }
        for step in steps:
            runs[step]()


if __name__ == "__main__":
    logs.set_up("warning", sys.stderr, strict=True)
    with patch.object(uploading, "ThreadPoolExecutor", InPlace):
        live(Path(sys.argv[1]), sys.argv[2:], SetClock())
