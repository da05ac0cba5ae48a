"""Everything that can go wrong, sorted by what to do next (law 6).

A step catches exactly these. Anything else is a bug and ends the step with a traceback in the log.
"""

from __future__ import annotations


class AilasdError(Exception):
    """Base of all errors that ailasd raises on purpose; the text is one sentence for a person."""


# -- later: nobody has to do anything ---------------------------------------------------------------------------------
class TryLater(AilasdError):
    """It may well work on its own another time.

    Attributes:
        after: the earliest moment to try again, in seconds from now, if the other side named one.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class NoLink(TryLater):
    """No answer, or none from our server: refused, unreachable, timed out, a captive portal, a proxy's error page."""


class ServerTrouble(TryLater):
    """Our server answered that it cannot just now (5xx, 429)."""


class NotNow(TryLater):
    """Our own manners forbid sending at this moment: a metered network, a budget, the hours. Nobody failed."""


class UnexpectedAnswer(TryLater):
    """An answer that no table of ours lists. Never success."""


class NoRoom(TryLater):
    """Taking this file would leave less free space than the reserve."""


class Changing(TryLater):
    """The file on the card changed while it was read: somebody is still writing it."""


class SourceBusy(TryLater):
    """The card or camera is there, but does something else: it records, or another program uses it."""


class SourceGone(TryLater):
    """The card or folder is not there (any more)."""


class Damaged(TryLater):
    """What came back is not what was written or sent: the checksums differ."""


# -- this file only: the rest goes on --------------------------------------------------------------------------------
class Unreadable(AilasdError):
    """This one file on the card cannot be read (EIO, permission, no regular file)."""


class Refused(AilasdError):
    """The server will not take this picture, however often it is sent.

    Attributes:
        reason: a short stable word for the catalogue (``no_position``, ``invalid_file``, ``excluded_area``, ...).
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


# -- look again ------------------------------------------------------------------------------------------------------
class OutOfStep(AilasdError):
    """The server's state is not what we thought. Nothing is concluded: read the set and its listing, then decide."""


class Conflict(OutOfStep):
    """Something is in the way of this picture (409): its own bytes, here or in another set, or its name, or its id.

    Attributes:
        existing: the picture that the server names as being in the way in this set, or None.
        elsewhere: (picture id, set id) of each copy that the server names in other sets, of anybody.
    """

    def __init__(
        self, message: str, *, existing: str | None = None, elsewhere: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.existing = existing
        self.elsewhere = elsewhere


class SetGone(OutOfStep):
    """The upload set, or the collection or item asked for, is not on the server (any more), or not for our eyes."""


class NotOurs(OutOfStep):
    """The token is good, but this is another account's, or (a picture in the works) not for our eyes just now."""


# -- a human must act: the step stops and says so --------------------------------------------------------------------
class NeedsHuman(AilasdError):
    """Going on would be useless or unsafe until a person changed something; the text says what."""


class NotLoggedIn(NeedsHuman):
    """The token is missing, wrong, unclaimed or revoked (401, 403, a login page)."""


class Unclaimed(NotLoggedIn):
    """The token is good, but nobody took it as theirs yet."""


class WrongServer(NeedsHuman):
    """It is a Panoramax, but not one that may have our pictures (no ``logged-only``, another account)."""


class ConfigError(NeedsHuman):
    """The configuration is wrong. The text lists every fault with its path, one a line."""


class CatalogueError(NeedsHuman):
    """The catalogue cannot be used: newer schema, damaged file, read-only folder."""


# -- a bug, or a race lost -------------------------------------------------------------------------------------------
class IllegalMove(AilasdError):
    """A picture may not go from its state to that one; nothing was changed."""
