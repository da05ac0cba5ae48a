"""The embedded receiver's people and their tokens: made, claimed, revoked."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from ailasd.demo.receiver_records import Account, AnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.demo.receiver_records import Document

UNCLAIMED = "Token not yet claimed, this token cannot be used yet. Either claim this token or generate a new one"
REVOKED = "Token does not exist anymore"


class Tokens:
    """Who is who. Its owner sees to it that one thread at a time is in here."""

    def __init__(self) -> None:
        """Nobody is known."""
        self._accounts: dict[str, Account] = {}
        self._tokens: dict[str, Account | str] = {}  # a text says why the token is not accepted
        self._by_id: dict[str, str] = {}

    def new(self, means: Account | str) -> tuple[str, str]:
        """A fresh token, and its id."""
        token, token_id = secrets.token_urlsafe(32), str(uuid4())
        self._tokens[token] = means
        self._by_id[token_id] = token
        return token, token_id

    def account(self, name: str) -> Account:
        """The account of that name, which is made if need be."""
        return self._accounts.setdefault(name, Account(str(uuid4()), name))

    def reject(self, token: str, why: str) -> None:
        """From now on it is not accepted."""
        self._tokens[token] = why

    def account_of(self, authorization: str | None) -> Account | None:
        """Who asks; None is a stranger."""
        if authorization is None:
            return None
        means = self._tokens.get(authorization.removeprefix("Bearer "))
        if isinstance(means, Account):
            return means
        status, error = (403, means) if means else (401, "Impossible to decode token")
        raise AnswerError(status, "Token not valid", details={"error": error})

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    # -- calls --------------------------------------------------------------------------------------------------------
    def generate(self, url: str, description: str) -> Document:
        """A token that is nobody's, with the link to claim it."""
        token, token_id = self.new(UNCLAIMED)
        link = {"rel": "claim", "type": "application/json", "href": f"{url}/api/auth/tokens/{token_id}/claim"}
        return {
            "id": token_id,
            "jwt_token": token,
            "description": description,
            "generated_at": datetime.now(UTC).isoformat(),
            "links": [link],
        }

    def claim(self, token_id: str, asker: Account) -> None:
        """Take it as one's own, once."""
        token = self._by_id.get(token_id)
        means = self._tokens.get(token or "", REVOKED)
        if means == REVOKED:
            raise AnswerError(404, "Impossible to find token")
        if isinstance(means, Account):  # the same one too
            raise AnswerError(403, "Token already claimed by another account")
        assert token is not None
        self._tokens[token] = asker

    def forget(self, token_id: str, asker: Account) -> Document:
        """Delete one's own."""
        token = self._by_id.get(token_id)
        if token is None or self._tokens[token] is not asker:
            raise AnswerError(404, "Impossible to find token")
        self._tokens[token] = REVOKED
        return {"message": "token revoked"}
