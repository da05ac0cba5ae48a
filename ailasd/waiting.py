"""Why is it not all there yet? Always one reason, in plain words: the one that must pass first. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ailasd.sentence import N_

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ailasd.manners import Leave

THERE: Final = "link_back"
"""What the fact "link" says when the server is there; everything else says why it is not."""

AWAY: Final[Mapping[str, str]] = {
    "link_lost": N_("the server cannot be reached"),
    "login_needed": N_("the server does not accept the token of this kit"),
    "wrong_server": N_("this server may not have our pictures"),
}
"""What it says else -> in words."""

FOR_A_PERSON: Final = frozenset({"login_needed", "wrong_server"})
"""Which of these a person must end."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The one reason.

    Attributes:
        word: a stable one, for scripts: "nothing", "no_server", "no_daemon", "login_needed", "wrong_server", "metered",
            "month", "day", "hours", "link_lost" (or what else the fact "link" says), "not_looked", "retry"; or
            "sending": it does not wait.
        text: a sentence without its full stop.
    """

    word: str
    text: str

    @property
    def waits(self) -> bool:
        """Whether there is something to send that is not being sent."""
        return self.word not in {"nothing", "sending"}


def why_waiting(
    *,
    queued: int,
    sends: bool,
    daemon_runs: bool | None,
    link: tuple[str, str] | None,
    leave: Leave,
    due: bool,
    by_hand: bool = False,
) -> Waiting:
    """The reason.

    Args:
        queued: pictures that wait to be sent.
        sends: whether a server is configured.
        daemon_runs: None: nobody looked.
        link: what the fact "link" says, and why; None: nobody looked for the server yet.
        leave: of our manners, for the next picture.
        due: whether a picture may be tried now; else all failed before, and wait for another try.
        by_hand: whether a person lifted the limits.
    """
    state, why = link or ("not_looked", "the server was not looked for yet")
    away = ": ".join(filter(None, (AWAY.get(state), why.rstrip("."))))
    reasons = (
        (not queued, "nothing", "Nothing waits to be sent"),
        (not sends, "no_server", "Waiting because no server is configured (server.url)"),
        (daemon_runs is False, "no_daemon", "Waiting because the daemon does not run (`ailasd run`)"),
        (state in FOR_A_PERSON, state, f"Waiting because {away}"),
        # before the link: as long as nothing may be sent nobody looks for it, and what is known of it may be old
        (leave.why is not None, str(leave.why), f"Waiting because {leave.text}"),
        (state != THERE, state, f"Waiting because {away}"),
        (not due, "retry", "Waiting because all that is left failed before, and is tried again later"),
        (by_hand, "sending", "Sending, without limits because somebody said so"),
        (True, "sending", "Sending"),
    )
    return next(Waiting(word, text) for holds, word, text in reasons if holds)
