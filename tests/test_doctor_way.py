"""The doctor on the way to the server: tunnel, route, certificate."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from test_panoramax import OWN_CERTIFICATE, answering

from ailasd.config import Config
from ailasd.config.tables import Server, Vpn
from ailasd.doctor import Level, examine
from ailasd.doctor.there import Clients
from ailasd.doctor.way import SOON, checks

if TYPE_CHECKING:
    from pathlib import Path

    from ailasd.doctor import Result

ENDS = datetime(2126, 10, 29, 8, 43, 27, tzinfo=UTC)
"""When the test's own certificate ends."""


class At:
    """A clock that stands."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def trusted(self) -> bool:
        return True

    def monotonic(self) -> float:
        return 0.0


def found(url: str, *, interface: str = "", now: datetime = ENDS - 2 * SOON, **server: object) -> dict[str, Result]:
    config = Config(server=Server(url=url, plain_http=True, **server), vpn=Vpn(interface=interface))  # type: ignore[arg-type]
    return {result.name: result for result in examine(checks(Clients(config, "test"), At(now)))}


def test_no_tunnel() -> None:
    """No tunnel to a server elsewhere is a warning in capitals; to this machine none is needed."""
    elsewhere = found("https://192.0.2.1", address="127.0.0.1")["tunnel"]
    assert elsewhere.level is Level.WARNING
    assert "UNPROTECTED" in elsewhere.says
    assert found("http://127.0.0.1:9")["tunnel"].level is Level.OK


def test_tunnel_and_route() -> None:
    """A tunnel that is there and leads to the server is fine, one that is missing is a failure by its name."""
    well = found("http://127.0.0.1:9", interface="lo")
    assert {well["tunnel"].level, well["route"].level} == {Level.OK}
    away = found("http://127.0.0.1:9", interface="nosuch0")
    assert away["tunnel"].level is Level.FAILURE
    assert "nosuch0" in away["tunnel"].says
    assert away["route"].level is Level.WARNING


def test_a_name_that_nobody_knows() -> None:
    """A server's name that cannot be looked up is said; it does not touch the other checks."""
    unknown = found("https://no-such-name.invalid", interface="lo")
    assert "no-such-name.invalid, cannot be looked up" in unknown["route"].says
    assert unknown["tunnel"].level is Level.OK


@pytest.mark.parametrize(
    ("now", "level"), [(ENDS - 2 * SOON, Level.OK), (ENDS - SOON / 2, Level.WARNING)], ids=["long", "short"]
)
def test_certificate(tmp_path: Path, now: datetime, level: Level) -> None:
    """How long the certificate holds is told, and too short is a warning."""
    pem = tmp_path / "own.pem"
    pem.write_text(OWN_CERTIFICATE)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({}).encode(), pem) as url:
        told = found(url, ca_file=pem, now=now)["certificate"]
        assert told.level is level
        assert "the certificate is trusted" in told.says
        assert "is not one we trust" in found(url)["certificate"].says
