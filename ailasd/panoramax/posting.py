"""One small document to a place of the project's own, by the same way as everything else, and bounded in every way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import httpcore
import httpx

from ailasd.errors import NoLink
from ailasd.panoramax.client import CONNECT_S, trust
from ailasd.panoramax.wire import Wires

if TYPE_CHECKING:
    from ailasd.tunnel import Way

WITHIN_S: Final = 30.0
"""For all of it; then the connection is cut, whatever it is about."""


class Posting:
    """Posts to one address. Knows nothing of the server's token."""

    def __init__(self, url: str, way: Way, *, agent: str, within_s: float = WITHIN_S) -> None:
        """Nothing is sent yet.

        Args:
            url: of the place, whole.
            way: to it.
            agent: User-Agent.
            within_s: seconds for one document.

        Raises:
            ConfigError: the certificates cannot be used.
        """
        self._url = url
        self._way = way
        self._agent = agent
        self._within_s = within_s
        self._trust = trust(url, way.ca_file)
        self._wires: Wires | None = None

    def post(self, document: Any, *, token: str | None = None) -> None:
        """Send it, once, on a connection of its own. Of the answer only the status counts.

        Raises:
            NoLink: it did not arrive, or was not taken (2xx); redirects are not followed.
        """
        self._wires = wires = Wires(self._way)
        transport = httpx.HTTPTransport(verify=self._trust, trust_env=False)
        transport._pool = httpcore.ConnectionPool(ssl_context=self._trust, network_backend=wires)  # noqa: SLF001  (as in client)
        timeout = httpx.Timeout(self._within_s, connect=min(CONNECT_S, self._within_s))
        headers = {"User-Agent": self._agent} | ({"Authorization": f"Bearer {token}"} if token else {})
        late = threading.Timer(self._within_s, wires.cut)  # an answer may drip for ever
        late.start()
        try:
            with (
                httpx.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False) as client,
                client.stream("POST", self._url, json=document, headers=headers) as answer,
            ):
                status = answer.status_code
        except httpx.HTTPError as error:
            raise NoLink(f"it did not arrive: {error or type(error).__name__}") from error
        finally:
            late.cancel()
        if not 200 <= status < 300:
            raise NoLink(f"it was answered with {status}")

    def cut(self) -> None:
        """End what is under way, at once."""
        if self._wires is not None:
            self._wires.cut()
