"""Does the server blur faces and plates? It does not say, but what it stores does: compared with our own copy.

A server that blurs decodes what it changes, so the coded picture differs from ours; metadata differ anyway. If nothing
differs, either it does not blur, or there was nothing to blur: only many such pictures are a sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from ailasd import jpeg
from ailasd.doctor import Check, Finding, Level, failure, ok, warning
from ailasd.doctor.there import if_known
from ailasd.errors import NotOurs, SetGone
from ailasd.wording import pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from ailasd.catalogue import Catalogue
    from ailasd.model import Picture
    from ailasd.panoramax.examining import Examiner
    from ailasd.storage import Storage

Clients: TypeAlias = "Callable[[], AbstractContextManager[Examiner]]"
"""Gives a client that knows who we are."""

ENOUGH: Final = 10
"""Untouched pictures that stop sending, and none fewer: on an empty road there is nothing to blur. If one picture in
four shows a face or a plate, ten without any are chance in one case of twenty (0.75 ** 10); three are in two of five.
They are of 6-12 MB, but one that was changed ends it: at a server that blurs four are fetched then."""

ONE_S: Final = 120.0
"""For one picture: what reading an answer may take, unless the way is slow."""

STOPPED: Final = "sending_stopped"
"""The fact in the catalogue that says why nothing is sent until a person decided."""
ACCEPTED: Final = "unblurred_accepted"
"""The fact that a person decided so: `ailasd release --unblurred`."""


def check(clients: Clients, catalogue: Catalogue | None, storage: Storage, *, expected: bool, sample: int) -> Check:
    """The check. If blurring is ``expected`` and nothing shows it, sending stops until a person decides."""

    def look() -> Finding:
        if catalogue is None or not sample:
            return ok("not looked at")
        with clients() as server:
            compared = compare(server, catalogue.pictures.confirmed_sample(sample), storage)
        return judge(catalogue, *compared, expected=expected)

    return Check("blurring", if_known(look), ONE_S * max(sample, 1))


def compare(
    server: Examiner, sample: Iterable[Picture], storage: Storage, *, alive: Callable[[], None] = lambda: None
) -> tuple[int, str | None]:
    """How many were compared, and the name of the first that the server changed; ``alive`` is called before each.

    Raises:
        NoLink, NeedsHuman, AilasdError: as the server's answers have it.
    """
    compared = 0
    for picture in sample:
        alive()
        same = _same(server, picture, storage)
        if same is False:
            return compared + 1, picture.name
        compared += same is True
    return compared, None


def _same(server: Examiner, picture: Picture, storage: Storage) -> bool | None:
    """Whether the server's coded picture is ours, bit by bit; None: one of the two is not there."""
    try:
        ours = jpeg.coded(storage.path_of(picture.copy or "").read_bytes())
        theirs = jpeg.coded(server.picture(picture.server_id or ""))
    except (OSError, SetGone, NotOurs):
        return None
    return ours == theirs if ours and theirs else None


def judge(catalogue: Catalogue, compared: int, changed: str | None, *, expected: bool) -> Finding:
    """What follows from it: the finding, and whether anything more is sent."""
    facts = catalogue.telling
    if not compared:
        return Finding(
            Level.WARNING if expected else Level.OK, "there is no confirmed picture of ours to compare with our copy"
        )
    if changed is not None:
        facts.remember(STOPPED, None)
        facts.remember(ACCEPTED, None)
        return ok(f"the server changed the picture in {changed}, as one that blurs does")
    says = f"the server keeps {pictures(compared)} exactly as we sent them: it does not blur, or found nothing to blur"
    if not expected:
        return warning(says, "if it should blur, set server.expect_blur = true: sending stops then until you decide")
    if facts.fact(ACCEPTED):
        return warning(f"{says}; a person said to go on")
    if compared < ENOUGH:
        return warning(f"{says}; {ENOUGH} such pictures would stop sending")
    facts.remember(STOPPED, f"{says}, and server.expect_blur is true: ask its administrator, then say "
                            "`ailasd release --unblurred`")  # fmt: skip
    return failure(f"{says}; nothing is sent any more", "ask its administrator, then say `ailasd release --unblurred`")
