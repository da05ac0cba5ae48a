"""Stopping cleanly: the first Ctrl-C or SIGTERM asks, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_OVER: Final = 0  # no signal has this number


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that is set by the first signal, until the end of the block. To be used by the main thread only.

    The signals' numbers come through a pipe to a thread of their own: a handler would run in the middle of somebody's
    ``Event.wait``, where setting that event can deadlock; and blocking the signals to wait for them fails where a
    library has started threads of its own before.
    """
    stop = threading.Event()
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(reading, True)

    def wait() -> None:
        while (number := os.read(reading, 1)[0]) != _OVER:
            if stop.is_set():
                os._exit(128 + number)
            stop.set()

    waiter = threading.Thread(target=wait, name="signals", daemon=True)
    waiter.start()
    to_whom = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(to_whom)
        os.write(writing, bytes([_OVER]))
        waiter.join()
        os.close(reading)
        os.close(writing)
