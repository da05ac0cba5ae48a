"""How a kit that the server does not know yet gets a token: it asks for one, and somebody who logged in claims it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from ailasd.errors import UnexpectedAnswer
from ailasd.panoramax.client import Panoramax
from ailasd.panoramax.values import Fields

_CLAIM: Final = "claim"
"""The relation of the link that a person has to open."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that is nobody's: ``jwt`` is accepted as soon as somebody who is logged in opened ``link``."""

    id: str
    jwt: str = field(repr=False)
    link: str


class Newcomer(Panoramax):
    """Asks as a stranger, or with a token that may be nobody's yet."""

    def new_token(self, description: str) -> NewToken:
        """Have a token made. The server keeps it for good, claimed or not: only its owner can delete it.

        Args:
            description: what its owner sees in the list of tokens.
        """
        asked = "have a token made"
        path = f"/api/auth/tokens/generate?description={quote(description, safe='')}"
        fields = Fields(self._json("POST", path, asked, as_stranger=True), asked)
        links = [one.word("href") for one in fields.rows("links") if one.text("rel") == _CLAIM]
        if len(links) != 1:
            raise UnexpectedAnswer(f"Could not {asked}: the answer has no link to claim it")
        return NewToken(fields.uuid("id"), fields.word("jwt_token"), self._ours(links[0], asked))

    def forget_token(self, token_id: str) -> None:
        """Have our own claimed token deleted: nobody can use it any more.

        Raises:
            SetGone: this account has no such token.
        """
        self._ask("DELETE", f"/api/users/me/tokens/{token_id}", "have the new token deleted")

    def _ours(self, link: str, asked: str) -> str:
        """The link as a person's browser shall open it.

        A server behind a proxy often does not know that it is reached by https, nor at which port; and a person will
        type a password there, so nothing but https leads to another host.
        """
        ours = urlsplit(self.url)
        try:
            theirs = urlsplit(link)
        except ValueError:
            theirs = urlsplit("")
        if not theirs.path.startswith("/") or not link.isascii() or not link.isprintable():
            raise UnexpectedAnswer(f"Could not {asked}: the link to claim it is none")
        if theirs.hostname == ours.hostname:
            return urlunsplit(theirs._replace(scheme=ours.scheme, netloc=ours.netloc))
        if theirs.scheme != "https":
            raise UnexpectedAnswer(f"Could not {asked}: the link to claim it leads elsewhere, without https")
        return link
