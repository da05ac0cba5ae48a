"""What waits for a person, and the command with which it goes on. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ailasd.model import State
from ailasd.refusals import issue, refusal
from ailasd.sentence import N_, Sentence
from ailasd.waiting import AWAY, FOR_A_PERSON

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ailasd.status import CardStatus, Count, LinkStatus

REPORTS: Final = "reports"
"""The fact that says what was reported last, as JSON: a list of {"id", "issue", "hides", "what", "drive", "md5"};
``what`` is a picture's name or, where ``md5`` is null, a sequence's title."""

FOR_THE_OFFICE: Final = frozenset({"reported"})
"""Which needs the sign does not ask for help about: nothing is wrong with the kit or a card, no collector can do
anything, and it would hide for weeks what a collector must know. Status, page and `ailasd log` tell of it."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person, and the commands that go on, the usual one first.

    Attributes:
        word: a stable one for it: "login_needed", "wrong_server", "no_room", "refused", "copy_lost",
            "cleaning_stopped", "reported".
        sentence: what it is, for any reader; without its full stop.
        detail: what is known of the cause, as it was noted when it happened: in English, or in the server's words.
    """

    word: str
    sentence: Sentence
    detail: str = ""
    commands: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """All of it in English."""
        return ": ".join(filter(None, (str(self.sentence), self.detail)))


def what_is_needed(
    counts: Iterable[Count],
    cards: Iterable[CardStatus],
    link: LinkStatus | None,
    *,
    cleaning_stopped: str | None,
    no_room: bool,
) -> Iterable[Need]:
    """All of it, what stops the most first.

    Args:
        counts: of the status, as ``cards`` and ``link`` are.
        cards: all that are known.
        link: None: the server was never looked for.
        cleaning_stopped: why nothing is deleted any more, or None.
        no_room: less than the reserve is free.
    """
    if link is not None and link.state in FOR_A_PERSON:
        because = Sentence(N_("Sending waits: %(why)s"), {"why": Sentence(AWAY[link.state])})
        yield Need(link.state, because, link.why, ("ailasd check-config --online",))
    if no_room:
        yield Need("no_room", Sentence(N_("There is no room to copy any more pictures: less than the reserve is free")))
    for count in counts:
        if count.state == State.REFUSED:
            yield Need(
                "refused",
                Sentence(
                    N_("%(count)s refused by the server (%(reason)s)"),
                    {"count": count.pictures, "reason": refusal(count.reason or "")},
                ),
                commands=(f"ailasd retry --reason {count.reason}", f"ailasd hold --reason {count.reason}"),
            )
        elif (count.state, count.reason) == (State.HELD, "copy_lost"):
            lost = N_("%(count)s of our own copies are gone or damaged: put their card in again")
            yield Need("copy_lost", Sentence(lost, {"count": count.pictures}))
    go_on = ("ailasd release --cleaning",)
    if cleaning_stopped:
        yield Need("cleaning_stopped", Sentence(N_("Nothing is deleted any more")), cleaning_stopped, go_on)
    for card in cards:
        if card.cleaning_stopped:
            sentence = Sentence(N_("Nothing is deleted from %(card)s"), {"card": card.label})
            yield Need("cleaning_stopped", sentence, card.cleaning_stopped, go_on)


def what_was_reported(fact: str | None) -> Iterable[Need]:
    """What somebody reported on the server, one need an issue; see ``reported``."""
    by_issue: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(fact or "[]"):
        by_issue.setdefault(one["issue"], []).append(one)
    for word, found in by_issue.items():
        first = found[0]
        what = first["what"] if first["md5"] else Sentence(N_("the sequence %(title)s"), {"title": first["what"]})
        values = {
            "issue": issue(word),
            "what": Sentence(N_("%(what)s of drive %(drive)s"), {"what": what, "drive": first["drive"]}),
            "more": Sentence(N_(", and %(count)s more"), {"count": len(found) - 1}) if len(found) > 1 else "",
            "hidden": Sentence(N_(", which hides it there")) if first["hides"] else "",
        }
        yield Need(
            "reported",
            Sentence(N_("Reported on the server (%(issue)s): %(what)s%(more)s%(hidden)s"), values),
            commands=(f"ailasd why {first['md5'][:12]}",) if first["md5"] else (),
        )
