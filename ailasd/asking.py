"""What the page asks of the daemon: pictures to be released or tried again. Its own process may change nothing.

One line of JSON each way, over a socket that lies in our folder: whoever may not look into that folder cannot ask.
Only these two wishes are understood, so that whoever breaks into the page can do nothing else.
"""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from ailasd.by_hand import Choice, Done
from ailasd.errors import AilasdError, NeedsHuman, TryLater
from ailasd.logs import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ailasd.by_hand import ByHand
    from ailasd.journal import Journal

LARGEST: Final = 4096
"""Bytes of a wish or an answer, which have some 100."""
WISH_S: Final = 5.0
"""Who asks says it at once."""
ANSWER_S: Final = 20.0
"""Releasing 10 000 pictures takes seconds on a small machine; the person is told that it goes on after that."""

AGAIN_S: Final = 1.0
"""After nobody could be let in (too many files are open, who asked is gone already): as long as that may last."""

RELEASE: Final = "release"
RETRY: Final = "retry"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: ``RELEASE`` or ``RETRY``, of the pictures with this reason, of this drive (None: of all)."""

    do: str
    reason: str
    drive: int | None = None


def ask(place: Path, wish: Wish, *, patience_s: float = ANSWER_S) -> Done:
    """Ask the daemon, and wait for what became of it.

    Args:
        place: of its socket, ``Storage.asking``.
        wish: as it is.
        patience_s: for the answer.

    Raises:
        TryLater: no daemon runs, or it did not answer in time, when it may still do it.
        NeedsHuman: it could not.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as to:
        to.settimeout(patience_s)
        try:
            to.connect(str(place))
            to.sendall(json.dumps(asdict(wish)).encode() + b"\n")
            answer = json.loads(_line(to))
        except TimeoutError as error:
            raise TryLater("it takes the daemon longer than that; what was asked for goes on") from error
        except (OSError, ValueError) as error:
            raise TryLater(f"the daemon does not answer: {error}") from error
    if problem := answer.get("problem"):
        raise NeedsHuman(str(problem))
    return Done(int(answer["moved"]), int(answer["without_copy"]))


class Asked:
    """The daemon's end.

    Args:
        place: of the socket.
        by_hand: does what is asked for.
        journal: is told what went wrong.
        done: is called after pictures were moved.
    """

    def __init__(self, place: Path, by_hand: ByHand, journal: Journal, done: Callable[[], object]) -> None:
        self._place = place
        self._by_hand = by_hand
        self._journal = journal
        self._done = done
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen. Only the one daemon of this folder does so: a socket that lies there is a dead one's.

        Without it (a path longer than the 107 bytes of a socket's, a file system without sockets) only the page's
        buttons do not work, and that is told.
        """
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self._place.exists() and stat.S_ISSOCK(self._place.lstat().st_mode):
                self._place.unlink()
            listening.bind(str(self._place))
            self._place.chmod(0o660)  # our group may ask
            listening.listen(4)
        except OSError as error:
            self._journal.tell(Event.PAGE_UNHEARD, problem=str(error))
            listening.close()
            return
        self._socket = listening
        threading.Thread(target=self._listen, args=(listening,), name="asked", daemon=True).start()

    def end(self) -> None:
        """Listen no longer."""
        listening, self._socket = self._socket, None
        if listening is None:
            return
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # wakes ``accept``, which closing alone would not
        listening.close()
        with suppress(OSError):
            self._place.unlink()

    def _listen(self, listening: socket.socket) -> None:
        while True:
            try:
                who, _ = listening.accept()
            except OSError:
                if self._socket is not listening:  # that was the end
                    return
                time.sleep(AGAIN_S)
                continue
            with who, suppress(OSError):
                who.settimeout(WISH_S)
                who.sendall(json.dumps(self._answer(who)).encode() + b"\n")

    def _answer(self, who: socket.socket) -> dict[str, object]:
        try:
            done = self._do(_wish(_line(who)))
            if done.moved:
                self._done()
        except (AilasdError, ValueError) as error:
            return {"problem": str(error)}
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  (a bug: say so loudly, and go on listening)
            problem = f"{type(error).__name__}: {error}"
            # not kept: it may be the catalogue that is full or locked
            self._journal.note(Event.STEP_FAILED, step="asked", problem=problem, exc_info=True)
            return {"problem": "this is a fault of ailasd; the log has it"}
        return asdict(done)

    def _do(self, wish: Wish) -> Done:
        choice = Choice(drive=wish.drive, reason=wish.reason)
        return self._by_hand.release(choice) if wish.do == RELEASE else self._by_hand.retry(choice)


def _line(other: socket.socket) -> bytes:
    """One line, without its end."""
    said = b""
    while not said.endswith(b"\n"):
        piece = other.recv(LARGEST)
        said += piece
        if not piece or len(said) > LARGEST:
            raise ValueError("what is said is cut off, or too long")
    return said[:-1]


def _wish(line: bytes) -> Wish:
    """What a line asks for; raises ValueError if it is not exactly that."""
    said = json.loads(line)
    if not isinstance(said, dict) or said.keys() != {"do", "reason", "drive"}:
        raise ValueError("this is not understood")
    do, reason, drive = said["do"], said["reason"], said["drive"]
    of_one_drive = isinstance(drive, int) and not isinstance(drive, bool)
    if do not in {RELEASE, RETRY} or not isinstance(reason, str) or not (drive is None or of_one_drive):
        raise ValueError("this is not understood")
    return Wish(do, reason, drive)
