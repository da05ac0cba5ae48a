"""Checks of the server: who we are there, what kind of instance it is, what strangers see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ailasd import credential
from ailasd.doctor import Check, Finding, failure, ok, warning
from ailasd.errors import NeedsHuman
from ailasd.logs import printable, span_in_words
from ailasd.panoramax.examining import MOST_PUBLIC, Examiner
from ailasd.recognising import recognise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.catalogue import Catalogue
    from ailasd.clock import Clock
    from ailasd.config import Config

CLOCK_OFF_S: Final = 10.0
"""The server's clock is told in whole seconds, over a link that may need two."""
CLOCK_WRONG_S: Final = 86_400.0
"""From here on certificates and the dates of satellites are judged wrongly."""

MOST_ASKED: Final = 20
"""Sequences of ours that are asked for one by one, where strangers see more than can be listed: a server that began to
make them public shows it with the newest."""

FIT: Final = "2.15."
"""The versions whose answers the contract suite holds."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients of our server, which is configured."""

    config: Config
    agent: str

    def __call__(self) -> Examiner:
        """As us.

        Raises:
            ConfigError: there is no token.
        """
        return self._client(credential.load(self.config))

    def as_stranger(self) -> Examiner:
        """Without a token."""
        return self._client(None)

    def _client(self, token: str | None) -> Examiner:
        return Examiner(self.config.server.url, token, agent=self.agent, way=self.config.way)


def if_known(look: Callable[[], Finding]) -> Callable[[], Finding]:
    """A check that needs our account to be in order; if it is not, that has been said already."""

    def looks() -> Finding:
        try:
            return look()
        except NeedsHuman:
            return warning("not looked at before the account is in order")

    return looks


def checks(clients: Clients, catalogue: Catalogue | None, clock: Clock) -> Iterator[Check]:
    """All of them; ``catalogue`` is None as long as there is none."""
    yield Check("account", lambda: account(clients, catalogue))
    yield Check("server's clock", lambda: time(clients, clock))
    yield Check("server", lambda: settings(clients))
    yield Check("strangers", if_known(lambda: strangers(clients, catalogue)))
    yield Check("federation", lambda: federation(clients, catalogue))


def account(clients: Clients, catalogue: Catalogue | None) -> Finding:
    """Does it know us, as the one that we always were?"""
    with clients() as server:
        ours = recognise(server, account=catalogue.telling.fact("account") if catalogue else None)[0]
        return ok(f'{server.url} knows this kit as "{printable(ours.name)}"')


def time(clients: Clients, clock: Clock) -> Finding:
    """How far is our clock from the server's?"""
    with clients.as_stranger() as server:
        before = clock.now()
        said = server.settings().said_at
        after = clock.now()
    if said is None:
        return warning("the server shows no time")
    off_s = (before - said).total_seconds() + (after - before).total_seconds() / 2
    if abs(off_s) <= CLOCK_OFF_S:
        return ok("our clock and the server's agree")
    says = f"our clock is {span_in_words(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} the server's"
    judge = failure if abs(off_s) > CLOCK_WRONG_S else warning
    return judge(says, "`timedatectl` says who could set it; or is it the server's that is wrong?")


def settings(clients: Clients) -> Finding:
    """Is it an instance for us?"""
    with clients.as_stranger() as server:
        found = server.settings()
    close = "its administrator must close registration (API_REGISTRATION_IS_OPEN=false)"
    if not found.is_private:
        return failure('it does not offer the visibility "logged-only": nothing is sent', close)
    if found.registration_open:
        return failure("anybody may make an account there, and see what people who are logged in see", close)
    says = f"Panoramax {printable(found.version)}, offers logged-only, " + (
        "has no login of its own" if found.registration_open is None else "registration is closed"
    )
    if found.read_only:
        return warning(f"{says}; it takes nothing just now (read-only)", "wait, or ask its administrator")
    if not found.version.startswith(FIT):
        return warning(f"{says}; ailasd was written for {FIT}x, and never met this one")
    return ok(says)


def strangers(clients: Clients, catalogue: Catalogue | None) -> Finding:
    """Is one of our pictures refused to somebody without a token? That we see it ourselves makes this a proof."""
    sample = catalogue.pictures.confirmed_sample(1) if catalogue else []
    if not sample:
        return ok("nothing of ours is there yet that could be asked for")
    picture = sample[0]
    with clients() as server:
        if not server.shows(picture.server_id or "", to_strangers=False):
            return warning(
                f"the server does not show {picture.name} even to us, though it held it",
                "`ailasd why` tells of it; cleaning asks again before it deletes anything",
            )
        if server.shows(picture.server_id or "", to_strangers=True):
            return failure(
                f"anybody can see {picture.name} without logging in",
                "`systemctl stop ailasd`, and have the administrator look at its visibility",
            )
    return ok(f"{picture.name} is shown to us, and refused to strangers")


def federation(clients: Clients, catalogue: Catalogue | None) -> Finding:
    """Is any sequence of ours among those that are public, which a federation harvests?"""
    ours = catalogue.drives.collections() if catalogue else []
    with clients.as_stranger() as server:
        public = server.public_collections()
        more = len(public) >= MOST_PUBLIC
        asked = ours[:MOST_ASKED] if more else []  # else the list is whole
        seen = {*ours}.intersection(public) | {one for one in asked if server.is_public(one)}
    if seen:
        return failure(
            f"{len(seen)} of our sequences are public, such as {min(seen)}",
            "`systemctl stop ailasd`, and have the administrator look at their visibility",
        )
    if not public:
        return ok("the server lists nothing to strangers")
    if not more:
        return ok(f"none of our sequences is among {len(public)} that the server lists to strangers")
    return ok(
        f"none of our sequences is among the first {len(public)} that the server lists to strangers; there are more, "
        f"so of our {len(ours)} the newest {len(asked)} were asked for too, and none is shown to them"
    )
