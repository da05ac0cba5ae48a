"""What can be made to go wrong between ailasd and its server, on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Call = Literal[
    "who",
    "new_token",
    "claim",
    "forget_token",
    "instance",
    "public",
    "image",
    "create",
    "open_sets",
    "set",
    "complete",
    "delete",
    "listing",
    "send",
    "statuses",
    "prepare",
    "reports",
    "*",
]
"""Which call a fault waits for; ``*`` is any."""

Kind = Literal[
    "lose_answer",  # do it, then drop the connection
    "drop_before",  # drop the connection without reading on, and do nothing
    "status",  # answer with `code`, `body` and `headers`, and do nothing
    "slow",  # wait `seconds`, then go on as usual
    "black_hole",  # never answer (`seconds` at most), and do nothing
    "wrong_md5",  # do it, but tell another checksum
    "half_json",  # do it, but answer with half of the JSON
    "html_200",  # answer 200 with a page, as a captive portal does, and do nothing
    "redirect",  # send on to `location`, and do nothing
    "set_vanishes",  # delete the set, then go on as usual
    "breaks",  # (send) accept, but let processing fail until it is prepared again
    "deleted_at_dispatch",  # (send) accept, but delete it as a duplicate at dispatch
]

PAGE: Final = "<!doctype html><html><title>Bienvenue</title><h1>Connectez-vous</h1></html>"


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, ``left`` times more (None: until cleared)."""

    match: Call
    kind: Kind
    left: int | None = 1
    seconds: float = 60.0
    code: int = 500
    body: str | dict[str, Any] = PAGE
    headers: dict[str, str] = field(default_factory=dict)
    location: str = "http://portal.example/login"
    early: bool = False
    """Answer before the body was read, as a proxy that refuses a size does."""

    def take(self, call: str) -> bool:
        """Whether it strikes this call; counts it."""
        if self.left == 0 or self.match not in ("*", call):
            return False
        if self.left is not None:
            self.left -= 1
        return True
