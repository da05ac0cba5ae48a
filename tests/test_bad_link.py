"""The bad link, for real: the daemon in a network of its own, a tunnel that comes and goes, a real Panoramax behind it.

After each: every good picture is on the server once; not one packet to it went past the tunnel; and no more bytes came
to the server than the pictures have, 2 % for all that is said besides, and for each cut what was on its way then.
Outages are as short as they can be to show the same: the daemon's own time-outs (30 s) are real.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import struct
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from doorway import BAD_GATEWAY, PORTAL, PORTAL_ELSEWHERE, Doorway
from namespaces import sh
from place import Place, listening
from real_kit import Kit, fresh
from roads import NAME, SERVER, TUNNEL, UPLINK_END, Roads, ailasd
from tunnels import OpenVpn, WireGuard

from ailasd.demo import pictures
from ailasd.demo.receiver import Receiver
from ailasd.logs import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Real

pytestmark = [pytest.mark.real, pytest.mark.roads, pytest.mark.slow]

START = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
PROBE_MOST_S = 2.0
CONNECTIONS = 2
AGAIN_S = 8 + 6
"""After the tunnel is there again: OpenVPN takes 2 s to shake hands, TCP tries again after 1, 3 and 7 s."""
CONFIG = f"""
upload.probe_most = "{PROBE_MOST_S:.0f}s"
upload.connections = {CONNECTIONS}
logs.level = "debug"
[vpn]
interface = "{TUNNEL}"
dwell = "1s"
"""


class RoadKit(Kit):
    """A kit whose daemon runs as a program in the network of its own."""

    def __init__(self, real: Real, folder: Path, roads: Roads, server: str) -> None:
        super().__init__(real, folder, f"kit-{fresh()}", CONFIG, server=f"{server}, plain_http = true")
        self._roads = roads
        self._config = folder / "config.toml"
        self.configure("")
        self.log = folder / "log"
        self.log.touch()

    def configure(self, more: str) -> None:
        """Give the daemon this configuration too, before it starts."""
        self._config.write_text(self.toml + more)

    @contextmanager
    def on_the_road(self, **environment: str) -> Iterator[None]:
        """The daemon, until the block ends; not a byte for the server may have gone past the tunnel."""
        with self._roads.heard_in_the_clear() as heard, self.log.open("ab") as log:
            daemon = subprocess.Popen(
                ailasd(self._roads, "--config", str(self._config), "run"), stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )  # fmt: skip
            try:
                yield
            finally:
                daemon.send_signal(signal.SIGTERM)
                assert daemon.wait(20) in {0, -signal.SIGKILL}
        assert heard == []

    def carry(self, number: int, kilobytes: int = 200) -> list[str]:
        """So many pictures of so many kilobytes on the card; their md5s."""
        return self.takes(pictures.drive(start=START, n=number, seed=fresh(), pad_to=kilobytes * 1000))

    # -- what it says ---------------------------------------------------------------------------------------------
    def link(self) -> str:
        """What the kit says of the link, if it is away."""
        return str(json.loads(self.parts.catalogue.telling.fact("link") or '{"why": ""}')["why"])

    def arrived(self) -> int:
        tally = self.tally()
        return tally["sent"] + tally["confirmed"]

    def logged(self, event: Event) -> int:
        """How often this was said."""
        return self.log.read_text().count(f'"{event}"')

    def cut_off(self) -> int:
        """How many pictures at most were begun and did not arrive."""
        return self.logged(Event.PICTURE_POSTPONED) + CONNECTIONS * self.logged(Event.LOGIN_NEEDED)

    # -- what must be true -----------------------------------------------------------------------------------------
    def until(self, number: int, within: float = 60) -> None:
        """Until so many have arrived."""
        self.wait(lambda: self.arrived() >= number, within)

    def until_proven(self, md5s: list[str], within: float = 60) -> None:
        """Until the server is proven to have all: each once, and not more was sent than had to be."""
        self.wait(lambda: self.tally()["confirmed"] == len(md5s), within)
        self.assert_confirmed_once(md5s)
        sizes = [self.picture(md5).size for md5 in md5s]
        useful, sent = sum(sizes), self._roads.doorway.received
        print(f"{sent / useful:.3f} x the useful bytes, {self.cut_off()} cut off")
        assert sent <= 1.02 * useful + self.cut_off() * max(sizes)


@pytest.fixture
def roads(real: Real, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Roads]:
    """Their tunnel is WireGuard's, or what the test gives as a parameter."""
    with Roads(real.instance, tmp_path, tunnel=getattr(request, "param", WireGuard)) as roads:
        yield roads


either_tunnel = pytest.mark.parametrize("roads", [WireGuard, OpenVpn], indirect=True, ids=["wireguard", "openvpn"])


@pytest.fixture
def kit(real: Real, tmp_path: Path, roads: Roads, request: pytest.FixtureRequest) -> Iterator[RoadKit]:
    """Finds its server by its address, or by what the test gives as a parameter."""
    kit = RoadKit(real, tmp_path, roads, getattr(request, "param", f'url = "http://{SERVER}"'))
    yield kit
    kit.parts.close()


@pytest.fixture
def api(real: Real) -> Iterator[None]:
    """Whatever a test does to the server, the next one meets a whole one."""
    yield
    real.instance.restart_api()


# -- the tunnel ----------------------------------------------------------------------------------------------------
@either_tunnel
def test_no_tunnel_at_the_start(roads, kit):
    """Without the tunnel not a byte leaves, though the server answers in the clear; switched on, all is sent."""
    roads.tunnel_off()
    md5s = kit.carry(6)
    with kit.on_the_road():
        kit.wait(lambda: kit.tally()["queued"] == 6, 60)
        kit.wait(lambda: "not there" in kit.link(), 30)
        time.sleep(3)  # a probe that it should not make would have gone out by now
        assert roads.doorway.received == 0
        roads.tunnel_on()
        kit.until_proven(md5s)


@either_tunnel
def test_the_tunnel_drops_in_the_middle(roads, kit):
    """Switched off and on four times in the middle of pictures: each time it goes on at once."""
    md5s = kit.carry(40)
    roads.weather(rate="8mbit")  # 8 s for all of it
    with kit.on_the_road():
        for _ in range(4):
            kit.until(kit.arrived() + 1)
            roads.tunnel_off()
            time.sleep(3)
            roads.tunnel_on()
            kit.until(kit.arrived() + 1, AGAIN_S)
        kit.until_proven(md5s)
    assert kit.cut_off() <= 4 * CONNECTIONS


@either_tunnel
def test_the_tunnel_is_made_anew_in_an_instant(roads, kit):
    """A VPN that restarts faster than the dwell: its old connections are given up at once, not after 30 s."""
    md5s = kit.carry(30)
    roads.weather(rate="8mbit")
    with kit.on_the_road():
        kit.until(5)
        roads.tunnel_off()
        roads.tunnel_on()
        kit.until(kit.arrived() + CONNECTIONS + 1, AGAIN_S)
        kit.until_proven(md5s)
    assert kit.cut_off() <= CONNECTIONS


# -- the link ------------------------------------------------------------------------------------------------------
@either_tunnel
def test_a_black_hole(roads, kit):
    """Everything vanishes without a word: at most the pictures on their way are lost, then only probes are sent."""
    md5s = kit.carry(40)
    roads.weather(rate="8mbit")
    with kit.on_the_road():
        kit.until(5)
        roads.weather(rate="8mbit", lost_percent=100)
        kit.wait(lambda: bool(kit.events(Event.LINK_LOST)), 50)
        before = kit.arrived()
        time.sleep(2 * PROBE_MOST_S)
        assert kit.cut_off() <= CONNECTIONS
        assert kit.arrived() == before
        roads.weather(rate="8mbit")
        kit.until(before + 1, 10 + AGAIN_S)  # a probe may hang in it for 10 s
        kit.until_proven(md5s)
    assert kit.cut_off() <= CONNECTIONS


def test_short_outages(roads, kit):
    """3 s of nothing, twice: connections outlive it; only what began just then may have to begin again.

    The server closes a connection that is silent for 2 s between two pictures.
    """
    md5s = kit.carry(40)
    roads.weather(rate="4mbit")
    with kit.on_the_road():
        for _ in range(2):
            kit.until(kit.arrived() + 3)
            roads.weather(rate="4mbit", lost_percent=100)
            time.sleep(3)
            roads.weather(rate="4mbit")
            time.sleep(5)  # TCP tries again 3.2 s later at the latest
        kit.until_proven(md5s)
    assert kit.cut_off() <= 2


@pytest.mark.parametrize("percent", [5, 20])
def test_lost_packets(roads, kit, percent):
    """Of all packets, both ways, one in 20, and one in 5, never arrives."""
    md5s = kit.carry(8, kilobytes=100)
    roads.weather(lost_percent=percent)
    with kit.on_the_road():
        kit.until_proven(md5s, 100)


def test_a_slow_link(roads, kit):
    """1 Mbit/s, which is full all the time."""
    md5s = kit.carry(10, kilobytes=150)
    roads.weather(rate="1mbit")
    with kit.on_the_road():
        kit.until(1)
        began, already = time.monotonic(), roads.doorway.received
        kit.until(10)
        assert (roads.doorway.received - already) * 8 / (time.monotonic() - began) > 0.85e6  # the tunnel adds a tenth
        kit.until_proven(md5s)
    assert kit.cut_off() == 0


# -- the server ----------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("api")
def test_the_server_is_killed_in_the_middle(roads, kit):
    """The proxy before it answers 502 from then on, which is named; restored, it gets what it did not take in."""
    md5s = kit.carry(30)
    roads.weather(rate="8mbit")
    with kit.on_the_road():
        kit.until(5)
        kit.server.kill_api()
        kit.wait(lambda: "no answer from it (502)" in kit.link(), 30)
        kit.server.restart_api()
        kit.until_proven(md5s)
    assert kit.cut_off() <= CONNECTIONS


@pytest.mark.usefixtures("api")
def test_the_server_s_disk_is_full(roads, kit):
    """Only a few pictures are tried meanwhile, one at a time, and none is given up; with room again all arrive.

    A limit on the size of files stands in for the full disk: writing a picture fails midway, with EFBIG for ENOSPC.
    """
    md5s = kit.carry(30)
    roads.weather(rate="8mbit")
    with kit.on_the_road():
        kit.until(5)
        largest_file(kit, 100_000)
        kit.wait(lambda: bool(kit.events(Event.LINK_LOST)), 30)
        tried = kit.cut_off()
        time.sleep(5 * PROBE_MOST_S)
        assert kit.cut_off() - tried <= 8  # where waits are not as short as here: one in five minutes
        largest_file(kit, resource.RLIM_INFINITY)
        kit.until_proven(md5s, 90)


def largest_file(kit: RoadKit, size: int) -> None:
    for process in kit.server.daemons.alive("api"):
        resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_revoked_token(roads, kit):
    """Nothing more is sent, and it says what to do; with a new one, and a nudge of the network, the rest follows."""
    md5s = kit.carry(30)
    roads.weather(rate="8mbit")
    claims = json.loads(base64.urlsafe_b64decode(kit.token_file.read_text().split(".")[1] + "=="))
    with kit.on_the_road():
        kit.until(5)
        kit.server.sql("DELETE FROM tokens WHERE id = :'id'", id=claims["sub"])
        kit.wait(lambda: "revoked: `ailasd login` gets a new one" in kit.link(), 30)
        time.sleep(1)  # what was on its way
        before = kit.arrived()
        time.sleep(2 * PROBE_MOST_S)
        assert kit.arrived() == before
        kit.new_token()
        nudge(roads)  # else it is noticed within 5 min
        kit.until_proven(md5s)


def nudge(roads: Roads) -> None:
    """The kit's network changes, somewhere else."""
    roads.in_kit("ip", "address", "add", "192.0.2.1/32", "dev", "lo")


# -- who answers there ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("says", "named"),
    [
        pytest.param(PORTAL, "is there a login page between?", id="portal"),
        pytest.param(PORTAL_ELSEWHERE, "sent on to login.hotel.example", id="redirect"),
        pytest.param(BAD_GATEWAY, "gets no answer from it (502)", id="bad gateway"),
    ],
)
def test_somebody_else_answers(roads, kit, says, named):
    """In the clear it is not even asked; in the tunnel it is named as what it is, and gets no picture."""
    roads.tunnel_off()
    roads.doorway.says = says
    md5s = kit.carry(6)
    with kit.on_the_road():
        kit.wait(lambda: "not there" in kit.link(), 30)
        kit.wait(lambda: kit.tally()["queued"] == 6, 30)
        assert roads.doorway.received == 0
        roads.tunnel_on()
        kit.wait(lambda: named in kit.link(), 30)
        assert roads.doorway.received < 10_000
        roads.doorway.says = None
        kit.until_proven(md5s)


def test_another_panoramax(roads, kit):
    """It is named, with its own name and ours, and gets no picture; ours gets the rest when it is back."""
    md5s = kit.carry(4)
    with kit.on_the_road(), Receiver() as other:
        kit.wait(kit.all_settled)
        other.store.name = "Somebody's"
        ours = roads.doorway.port
        roads.doorway.port = int(other.url.rsplit(":", 1)[1])
        time.sleep(3)  # the server closes a connection after 2 s: none to ours is kept any more
        nudge(roads)
        md5s += kit.takes(pictures.drive(start=START, n=4, first=500, group=7, seed=fresh(), pad_to=200_000))
        kit.wait(lambda: 'another Panoramax ("Somebody\'s")' in kit.link(), 30)
        kit.wait(lambda: kit.tally()["queued"] == 4, 30)
        time.sleep(2 * PROBE_MOST_S)
        assert {request.call for request in other.requests} <= {"who", "instance", "listing", "set", "statuses"}
        roads.doorway.port = ours
        roads.in_kit("ip", "address", "delete", "192.0.2.1/32", "dev", "lo")
        kit.until_proven(md5s)


# -- who else is told ----------------------------------------------------------------------------------------------
def test_the_heartbeat(roads, kit, tmp_path):
    """It is heard through the tunnel, though the way to its place leads past it, and somebody answers there."""
    front, address = tmp_path / "beats", "10.99.0.9"
    with listening(Place()) as place, Doorway(front, int(place.url.split(":")[2].partition("/")[0])):
        roads.lead_to(front, address)
        roads.in_kit("ip", "route", "add", address, "via", UPLINK_END)
        kit.configure(f'[heartbeat]\nurl = "http://{address}/beat"\n')
        md5s = kit.carry(10)
        with kit.on_the_road():
            kit.wait(lambda: bool(place.came), 30)
            kit.until_proven(md5s)
        (told,) = place.came
        assert told["kit"] == "kit-07"
        assert kit.token_file.read_text() not in str(place.headers)


# -- names and clocks ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kit", [f'url = "http://{NAME}"'], indirect=True)
def test_the_name_can_no_longer_be_looked_up(roads, kit):
    """From one moment on the resolver is silent, and the tunnel drops too: it goes on with the address it knows."""
    md5s = kit.carry(30)
    roads.weather(rate="8mbit")
    with kit.on_the_road():
        kit.until(5)
        roads.names_known(known=False)
        roads.tunnel_off()
        time.sleep(2)
        roads.tunnel_on()
        kit.until_proven(md5s)


@pytest.mark.parametrize("kit", [f'url = "http://{NAME}", address = "{SERVER}"'], indirect=True)
def test_the_name_can_never_be_looked_up(roads, kit):
    """With ``server.address`` nobody is asked."""
    roads.names_known(known=False)
    md5s = kit.carry(6)
    with kit.on_the_road():
        kit.until(6, 15)
        kit.until_proven(md5s)


def test_the_clock_jumps_three_years(roads, kit, tmp_path):
    """A kit without a battery clock begins in the past; in the middle of pictures NTP sets it right."""
    shim, ahead = tmp_path / "clock_ahead.so", tmp_path / "ahead"
    sh("gcc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(Path(__file__).with_name("clock_ahead.c")))
    ahead.write_bytes(struct.pack("l", -3 * 365 * 86_400))
    md5s = kit.carry(30)
    roads.weather(rate="8mbit")
    with kit.on_the_road(LD_PRELOAD=str(shim), CLOCK_AHEAD=str(ahead)):
        kit.until(5)
        with ahead.open("r+b") as clock:
            clock.write(struct.pack("l", 0))
        kit.until_proven(md5s)
    years = {event["at"][:4] for event in kit.parts.catalogue.telling.timeline(limit=1000)}
    now = datetime.now(UTC).year
    assert years == {str(now), str(now - 3)}
