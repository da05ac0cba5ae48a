"""Checks of the way to the server: the tunnel, the route, the certificate. Little or nothing is sent for them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ailasd.config.values import leads_here
from ailasd.doctor import Check, Finding, failure, ok, warning
from ailasd.logs import span_in_words
from ailasd.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.clock import Clock
    from ailasd.doctor.there import Clients

SOON: Final = timedelta(days=14)
"""Certificates are made anew a month before they end, where that works by itself."""


def checks(clients: Clients, clock: Clock) -> Iterator[Check]:
    """All of them."""
    yield Check("tunnel", lambda: tunnel(clients))
    yield Check("route", lambda: route(clients))
    yield Check("certificate", lambda: certificate(clients, clock))


def tunnel(clients: Clients) -> Finding:
    """Is the VPN's interface there?"""
    interface = clients.config.vpn.interface
    if not interface:
        if leads_here(clients.config.server.url):
            return ok("none is needed: the server is on this machine")
        return warning(
            "UNPROTECTED: no tunnel is configured, so token and pictures go over any network there is",
            'name the VPN\'s interface in vpn.interface, such as "wg0"',
        )
    if missing := Tunnel(interface).missing():
        return failure(missing, f"`ip link show {interface}`, `wg show` or the VPN's own program say more")
    return ok(f"{interface} is there")


def route(clients: Clients) -> Finding:
    """Where is the server, and does the way there lead through the tunnel?"""
    with clients.as_stranger() as server:
        found = server.addresses()
    interface = clients.config.vpn.interface
    where = f"{urlsplit(clients.config.server.url).hostname} is at {', '.join(found)}"
    if not interface:
        return ok(where)
    if Tunnel(interface).missing():
        return warning(f"{where}; the way is not looked at before the tunnel is there")
    if bypassed := Tunnel(interface).bypassed(found):
        says, way_out = bypassed.split(": ", 1)
        return failure(says, way_out)
    return ok(f"{where}, through {interface}")


def certificate(clients: Clients, clock: Clock) -> Finding:
    """Is it the server that it says it is, and for how long?"""
    if clients.config.server.url.startswith("http://"):
        if leads_here(clients.config.server.url):
            return ok("none is needed: the server is on this machine")
        return warning(
            "http:// proves nothing about who answers; only the tunnel does",
            "give the server a certificate, and use https://",
        )
    with clients.as_stranger() as server:
        ends = server.certificate_ends()
    left = ends - clock.now()
    says = f"the certificate is trusted, and holds for {span_in_words(left.total_seconds())}"
    if left < SOON:
        return warning(says, "tell the server's administrator: without a new one nothing is sent after that")
    return ok(says)
