"""Canaille, an OpenID Connect provider, on loopback: people log in to a real Panoramax with it.

It has one client, the Panoramax, and one person, ``NAME`` with ``PASSWORD``. Its forms are for browsers: ``forms_of``
finds what they carry.
"""

from __future__ import annotations

import os
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

from provision import output_of

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "rasoa"
PASSWORD: Final = "fitiavana-sy-fahendrena"
ADDRESS: Final = "rasoa@example.org"
"""By which the Panoramax calls the account."""
PERSON: Final = {"user-name": NAME, "password": PASSWORD, "given-name": "Rasoa", "family-name": "Rakoto",
                 "emails": ADDRESS}  # fmt: skip
KEY: Final = """
from joserfc.jwk import RSAKey
for name, value in RSAKey.generate_key(2048).as_dict(private=True).items():
    print(f'{name} = "{value}"')
"""
CONFIG: Final = """
SECRET_KEY = "{secret}"
SERVER_NAME = "127.0.0.1:{port}"
PREFERRED_URL_SCHEME = "http"
[CANAILLE_SQL]
DATABASE_URI = "sqlite:///{folder}/people.db"
[[CANAILLE_OIDC.ACTIVE_JWKS]]
{key}
"""


class Provider:
    """One that knows its client and its person, but does not run yet.

    Args:
        programs: where Canaille is.
        folder: an empty one, for it.
        client: id and secret.
        back: where it sends people back to.
    """

    def __init__(self, programs: Path, folder: Path, port: int, client: tuple[str, str], back: str) -> None:
        config = folder / "canaille.toml"
        self.env = {**os.environ, "CANAILLE_CONFIG": str(config)}
        self.command = [str(programs / "canaille"), "run", "--bind", f"127.0.0.1:{port}"]
        self._canaille = self.command[0]
        key = output_of([str(programs / "python"), "-c", KEY])
        config.write_text(CONFIG.format(secret=client[1], port=port, folder=folder, key=key))
        self._do("install")
        self._do("create", "user", "--quiet", **PERSON)
        self._do(
            "create", "client", "--quiet", "--scope", "openid", "--scope", "profile", "--scope", "email",
            **{"client-id": client[0], "client-secret": client[1], "client-name": "Panoramax", "redirect-uris": back,
               "grant-types": "authorization_code", "response-types": "code",
               "token-endpoint-auth-method": "client_secret_basic"},
        )  # fmt: skip

    def _do(self, *words: str, **options: str) -> None:
        given = [part for name, value in options.items() for part in (f"--{name}", value)]
        output_of([self._canaille, *words, *given], env=self.env)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        about = dict(attributes)
        if tag == "form":
            self.found.append({})
        elif tag in {"input", "button"} and self.found and (name := about.get("name")):
            self.found[-1].setdefault(name, about.get("value") or "")


def forms_of(page: str) -> list[dict[str, str]]:
    """What the forms of a page would send if nothing were filled in."""
    reader = _Forms()
    reader.feed(page)
    return reader.found
