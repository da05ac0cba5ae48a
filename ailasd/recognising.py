"""Is that our server, and may it have our pictures? Who asks: the gate, `ailasd login` and `ailasd doctor`.

The server's version is not judged: what we rely on is checked in each answer, and an upgrade there must not stop kits
on the road that nobody can reach. Only the doctor warns of a version that ailasd never met.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ailasd.errors import NotLoggedIn, OutOfStep, TryLater, WrongServer
from ailasd.logs import printable

if TYPE_CHECKING:
    from ailasd.panoramax import Account, Instance, Panoramax


def recognise(
    server: Panoramax, *, account: str | None = None, instance: str | None = None
) -> tuple[Account, Instance]:
    """Our account on our instance; whose pictures ours may become.

    Args:
        server: with our token.
        account: id of the account that our pictures went to until now; None: nobody's yet.
        instance: what that instance called itself; None: not known. It may be renamed; this only explains.

    Raises:
        NotLoggedIn: the token is not good (yet, any more).
        WrongServer: it is another instance, could not keep our pictures to itself, or the account is another one.
        TryLater: it takes nothing just now, or is not to be reached.
    """
    try:
        ours = server.who_am_i()
    except NotLoggedIn:
        _refuse_another(server, instance)
        raise
    there = fit(server)
    if account not in {None, ours.id}:
        raise WrongServer(
            f'the token now belongs to another account ("{printable(ours.name)}") than the one that our pictures '
            "went to: put the old token back, or say `ailasd release --server` to go on with the new one"
        )
    return ours, there


def fit(server: Panoramax) -> Instance:
    """The instance, if it may have our pictures, whoever we are.

    Raises:
        WrongServer, TryLater: as ``recognise`` does.
    """
    instance = server.instance()
    if not instance.is_private:
        raise WrongServer(
            'this Panoramax does not offer the visibility "logged-only", so our pictures would be public there: '
            "nothing is sent; its administrator must close registration (API_REGISTRATION_IS_OPEN=false)"
        )
    if instance.read_only:
        raise TryLater("the server is in read-only mode (maintenance)")
    return instance


def _refuse_another(server: Panoramax, instance: str | None) -> None:
    """Nobody knows our token there: is that our server at all?"""
    there = ""
    with suppress(TryLater, OutOfStep):
        there = server.instance().name
    if instance and there and there != instance:
        raise WrongServer(
            f'another Panoramax ("{printable(there)}") answers at {server.url} than the one that our pictures went to '
            f'("{printable(instance)}"), and it does not know our token: nothing is sent; is it the right network, the '
            "right server.url?"
        ) from None
