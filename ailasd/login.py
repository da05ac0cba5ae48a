"""How a kit becomes known to its server: it shows a link, a person opens it and logs in, and its token is good.

Nothing is left half: the token is stored whole or not at all, and one that was claimed but may not be used is deleted
on the server again. Only a token that nobody claimed stays there; it opens nothing.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ailasd.errors import AilasdError, TryLater, Unclaimed
from ailasd.logs import hide
from ailasd.recognising import fit, recognise

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from ailasd.panoramax import Account, Newcomer, Panoramax

LOOK_S: Final = 2.0
LONGEST_LOOK_S: Final = 10.0
"""Between two looks whether the token is claimed: at most 90 requests of 1 kB."""

PATIENCE_S: Final = 900.0
"""For a person to take a phone out, log in, and perhaps ask an administrator for the account first."""


@contextmanager
def claimed(
    connect: Callable[[str | None], Newcomer],
    *,
    kit: str,
    known: str | None,
    show: Callable[[str], object],
    stop: threading.Event,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[str, Account]]:
    """A fresh token that somebody claimed for the right account; deleted again if the block does not end well.

    Args:
        connect: a client with this token; None: as a stranger. Asks the same instance each time.
        kit: what the token is called on the server.
        known: see ``recognise``.
        show: gets the link to claim it, once.
        stop: ends the waiting.
        patience_s: seconds until nobody is expected to come any more.

    Yields:
        The token and whose it is.

    Raises:
        TryLater: nobody claimed it, or the server was not to be reached.
        NotLoggedIn, WrongServer: see ``recognise``.
    """
    with connect(None) as server:
        fit(server)
        made = server.new_token(kit)
    hide(made.jwt)
    show(made.link)
    with connect(made.jwt) as server:
        _wait(server, stop, patience_s)
        try:
            yield made.jwt, recognise(server, account=known)[0]
        except BaseException:
            with suppress(AilasdError):  # what went wrong is more important than an orphan
                server.forget_token(made.id)
            raise


def _wait(server: Panoramax, stop: threading.Event, patience_s: float) -> None:
    """Until the token is good.

    Raises:
        TryLater: nobody came, ``stop`` was set, or the link was gone at last.
        NotLoggedIn: the server does not know the token any more.
    """
    until, look_s = time.monotonic() + patience_s, LOOK_S
    while True:
        try:
            server.who_am_i()
        except Unclaimed:
            problem: TryLater = TryLater("nobody claimed the token; nothing is changed, say `ailasd login` once more")
        except TryLater as error:  # a link that comes and goes is no reason to begin again
            problem = error
        else:
            return
        wait_s = max(look_s, problem.after or 0.0)
        if time.monotonic() + wait_s > until:
            raise problem
        if stop.wait(wait_s):
            raise TryLater("stopped before anybody claimed the token; nothing is changed")
        look_s = min(look_s * 1.2, LONGEST_LOOK_S)
