"""The moments at which this process changes the world; and dying at a chosen one of them, as by SIGKILL.

Only the tests patch these places: the code under test has no switch for it. A dead process changes nothing more: after
the chosen moment every further effect of any thread raises ``Killed``, too.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from unittest.mock import patch

from ailasd import disk
from ailasd.catalogue.database import Connections
from ailasd.panoramax import Panoramax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS: Final = ("write", "flush", "rename", "unlink", "commit", "committed", "ask", "answered")
"""Before: bytes are written, files or folders flushed, a copy gets its place, a file goes, a transaction is committed;
after it was; before a request; after its answer came and before anybody saw it."""


class Killed(BaseException):
    """The process ended here. Of ``BaseException``, so that no handler of ours takes it for an error."""


class Effects:
    """Watches all effects from ``with Effects(...)`` on.

    Args:
        removing: called with the file's path right before it is deleted (not for temporary copies).
    """

    def __init__(self, removing: Callable[[Path], None]) -> None:
        self._removing = removing
        self._lock = threading.Lock()
        self._deadly: str | None = None
        self._left = 0
        self._dead = False
        self._patches = ExitStack()

    def __enter__(self) -> Self:
        for owner, name, kind in (
            (os, "write", "write"),
            (os, "fsync", "flush"),
            (os, "fdatasync", "flush"),
            (disk, "_rename", "rename"),
        ):
            self._patch(owner, name, self._before(kind, getattr(owner, name)))
        self._patch(os, "unlink", self._unlinking(os.unlink))
        self._patch(Connections, "writing", self._committing(Connections.writing))
        self._patch(Panoramax, "_once", self._asking(Panoramax._once))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    @contextmanager
    def killed_at(self, kind: str, nth: int) -> Iterator[None]:
        """Let what runs in the context die at the ``nth`` (from 1) effect of this kind; if it never comes, live."""
        self._deadly, self._left, self._dead = kind, nth, False
        try:
            yield
        except Killed:
            pass
        finally:
            self._deadly, self._dead = None, False

    # -- the places ---------------------------------------------------------------------------------------------------
    def _patch(self, owner: Any, name: str, by: Any) -> None:
        self._patches.enter_context(patch.object(owner, name, by))

    def _dies(self, kind: str) -> bool:
        with self._lock:
            if kind == self._deadly and not self._dead:
                self._left -= 1
                self._dead = self._left <= 0
            return self._dead

    def _die(self, kind: str) -> None:
        if self._dies(kind):
            raise Killed(kind)

    def _before(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*args: Any, **how: Any) -> Any:
            self._die(kind)
            return real(*args, **how)

        return effect

    def _unlinking(self, real: Callable[..., None]) -> Callable[..., None]:
        def unlink(name: Any, *, dir_fd: int | None = None) -> None:
            folder = Path() if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink()
            path = folder / os.fsdecode(name)
            if path.name.startswith(disk.PREFIX):
                # Done while cleaning up, too, where raising would leave a thread behind: the next effect raises.
                if self._dies("unlink"):
                    return
            else:
                self._die("unlink")
                self._removing(path)
            real(name, dir_fd=dir_fd)

        return unlink

    def _committing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def writing(connections: Connections) -> Iterator[Any]:
            inner = connections.mine.conn.in_transaction
            with real(connections) as db:
                yield db
                if not inner:
                    self._die("commit")
            if not inner:
                self._die("committed")

        return writing

    def _asking(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def once(server: Panoramax, request: Any) -> Any:
            self._die("ask")
            answer = real(server, request)
            self._die("answered")
            return answer

        return once
