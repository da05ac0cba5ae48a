"""Shows the one sign to people without a keyboard: ``light``, ``sound``, ``buzzer``, and ``notice`` on a desktop.

``Showing`` looks how everything stands when something may have changed, and hands a new sign to each of them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol

from ailasd.logs import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ailasd.journal import Journal
    from ailasd.sign import Shown

AGAIN_S: Final = 1.0
"""While something is going on: as fast as anybody reads."""

SHARE: Final = 0.05
"""Of the processor that looking may take: with a large catalogue on a small Pi one look takes half a second."""


AFTER_A_BUG_S: Final = 60.0


class Face(Protocol):
    """Something that people see or hear. It may raise OSError; it is asked again at the next change."""

    @property
    def name(self) -> str:
        """What it is called before people."""

    def show(self, shown: Shown) -> None:
        """Show this from now on; it may be the same sign with other counts. Returns within seconds."""

    def close(self) -> None:
        """Leave it as it was found."""


class Showing:
    """A thread that shows the sign until it is ended. It sleeps while nothing is going on.

    Args:
        look: how it stands now; None: as it was at the last look.
        busy: whether something is going on that changes it by itself.
        faces: where it is shown.
        monotonic: seconds (law 8).
    """

    def __init__(
        self,
        look: Callable[[], Shown | None],
        busy: Callable[[], bool],
        faces: Sequence[Face],
        journal: Journal,
        monotonic: Callable[[], float],
    ) -> None:
        self._look = look
        self._busy = busy
        self._faces = faces
        self._journal = journal
        self._monotonic = monotonic
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._silent: set[str] = set()
        self._last: Shown | None = None
        self._thread = threading.Thread(target=self._run, name="showing", daemon=True)

    def start(self) -> None:
        """Begin. Without a face nothing is looked for."""
        if self._faces:
            self._thread.start()

    def wake(self) -> None:
        """Something may have changed; from any thread."""
        self._woken.set()

    def end(self, within_s: float) -> bool:
        """Leave all faces as they were found. Returns whether that was done in time."""
        self._ended.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            if not self._busy():
                self._woken.wait()
            self._woken.clear()
            if self._ended.is_set():
                break
            began = self._monotonic()
            if self._round():
                # what comes meanwhile is seen in one look
                self._ended.wait(max(AGAIN_S, (self._monotonic() - began) / SHARE))
            elif self._busy():
                self._ended.wait(AGAIN_S)
        for face in self._faces:
            try:
                face.close()
            except OSError as error:
                self._tell(face, error)

    def _round(self) -> bool:
        """Whether there was something to look at."""
        try:
            one = self._look()
        except Exception as error:  # noqa: BLE001  a bug, or a catalogue that is locked: all else must go on
            problem = f"{type(error).__name__}: {error}"
            self._journal.note(Event.STEP_FAILED, step="showing", problem=problem, exc_info=True)
            self._ended.wait(AFTER_A_BUG_S)
            return True
        if one is not None and one != self._last:
            self._last = one
            for face in self._faces:
                self._try(face, one)
        return one is not None

    def _try(self, face: Face, one: Shown) -> None:
        try:
            face.show(one)
        except OSError as error:
            self._tell(face, error)
        else:
            self._silent.discard(face.name)

    def _tell(self, face: Face, error: OSError) -> None:
        """Once, until it works again; not into the catalogue, which may be what is ill."""
        if face.name not in self._silent:
            self._silent.add(face.name)
            self._journal.note(Event.SIGN_NOT_SHOWN, by=face.name, problem=str(error))
