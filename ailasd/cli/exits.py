"""How commands end: one table of exit codes, for scripts, systemd and the README."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Self

from ailasd import errors


class Exit(IntEnum):
    """64 and above are those of sysexits(3), where one fits. ``text`` says when."""

    text: str

    def __new__(cls, code: int, text: str) -> Self:
        """Called once for each line of the list below."""
        member = int.__new__(cls, code)
        member._value_, member.text = code, text
        return member

    FINE = 0, "done; nothing is left that needs a person"
    PERSON = 1, "something is left that needs a person: `ailasd status`, or the message, says what"
    USAGE = 2, "the command was not understood"
    NOT_FOUND = 66, "no such picture, card or catalogue"
    BUG = 70, "a fault of ailasd; the traceback belongs in a report"
    STORAGE = 74, "our own storage, or a file on the card, cannot be read or written, or not by this user"
    TEMPORARY = 75, "not now, try again later: no link, no room, the card is gone, another daemon runs"
    NO_LOGIN = 77, "the server will have nothing of this kit: token, account, visibility"
    CONFIG = 78, "the configuration is wrong"
    INTERRUPTED = 130, "stopped by Ctrl-C or a signal"


_OF: Final[tuple[tuple[type[Exception], Exit], ...]] = (  # the first that fits
    (errors.ConfigError, Exit.CONFIG),
    (errors.NotLoggedIn, Exit.NO_LOGIN),
    (errors.WrongServer, Exit.NO_LOGIN),
    (errors.CatalogueError, Exit.STORAGE),
    (errors.Unreadable, Exit.STORAGE),
    (errors.TryLater, Exit.TEMPORARY),
    (errors.AilasdError, Exit.PERSON),
    (OSError, Exit.STORAGE),
)


def code_of(error: Exception) -> Exit:
    """The code with which a command ends that ends with ``error``; ``BUG`` if we do not raise it on purpose."""
    return next((code for kind, code in _OF if isinstance(error, kind)), Exit.BUG)


def table() -> str:
    """The table as text, one code a line."""
    return "\n".join(f"{code.value:>4}  {code.text}" for code in Exit)
