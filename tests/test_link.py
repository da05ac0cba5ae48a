"""Is our server there? Against the receiver over a real socket."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from kit import Kit, kits

from ailasd.errors import NoLink, ServerTrouble
from ailasd.link import HUMAN_WAIT_S, SOONEST_S
from ailasd.status import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Kit]

DWELL_S = 5


class FakeTunnel:
    """A tunnel that the test switches on and off."""

    interface = "lo"  # every byte is bound to it

    def __init__(self) -> None:
        self.away: str | None = None
        self.past: str | None = None
        self.number: int | None = 1

    def missing(self) -> str | None:
        return self.away

    def index(self) -> int | None:
        return self.number

    def bypassed(self, addresses: list[str]) -> str | None:
        assert addresses == ["127.0.0.1"]
        return self.past


@pytest.fixture
def tunnel(monkeypatch: pytest.MonkeyPatch) -> FakeTunnel:
    """In the place of the real one, for the kits that ``behind`` makes."""
    one = FakeTunnel()
    monkeypatch.setattr("ailasd.parts.Tunnel", lambda _name: one)
    return one


def behind(make: Make) -> Kit:
    """A kit with a tunnel."""
    return make(vpn={"interface": FakeTunnel.interface, "dwell": f"{DWELL_S}s"})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


def test_ours(make: Make) -> None:
    """Our instance with our token opens the link with one cheap look, and it is not looked at again."""
    kit = make()
    for _ in range(5):
        assert kit.parts.link.server() is not None
    assert kit.calls() == {"who": 1, "instance": 1}
    assert kit.parts.link.wait() == 0
    assert kit.events() == ["link_back"]


def test_not_private(make: Make) -> None:
    """An instance without ``logged-only`` gets nothing, and its administrator is told what to do."""
    kit = make()
    kit.receiver.store.visibilities.remove("logged-only")
    kit.bring_in()
    kit.upload()
    assert set(kit.calls()) == {"who", "instance"}
    assert "API_REGISTRATION_IS_OPEN=false" in kit.link()
    assert kit.parts.link.wait() == HUMAN_WAIT_S


def test_other_account(make: Make) -> None:
    """A token of another account than ever before is not used: that is the wrong server until a person says so."""
    kit = make()
    kit.drain()
    kit.token.write_text(kit.receiver.token("somebody"))
    kit.restart()
    assert kit.parts.link.server() is None
    assert "another account" in kit.link()
    kit.parts.catalogue.telling.remember("account", None)  # what `ailasd release --server` does
    kit.clock.advance(HUMAN_WAIT_S)
    assert kit.parts.link.server() is not None


def test_read_only(make: Make) -> None:
    """A server in maintenance is no one to send to, and no reason to wake a person."""
    kit = make()
    kit.receiver.store.read_only = True
    assert kit.parts.link.server() is None
    assert "read-only" in kit.link()
    assert 0 < kit.parts.link.wait() < HUMAN_WAIT_S
    assert "login_needed" not in kit.events()


def test_probes_become_seldom(make: Make) -> None:
    """While the link is away each probe waits twice as long as the one before, to a limit, however often one asks."""
    kit = make(upload={"probe_every": "15s", "probe_most": "5min"})
    kit.receiver.fault("who", "html_200", times=None)
    waits = []
    for _ in range(8):
        assert kit.parts.link.server() is None
        assert kit.parts.link.server() is None
        waits.append(kit.parts.link.wait())
        kit.clock.advance(waits[-1])
    assert kit.calls()["who"] == 8
    for wait, expected in zip(waits, [15, 30, 60, 120, 240, 300, 300, 300], strict=True):
        assert 0.8 * expected <= wait <= 1.2 * expected
    assert len({round(wait / expected, 6) for wait, expected in zip(waits[5:], [300] * 3, strict=True)}) > 1
    assert kit.events() == ["link_lost"]  # said once, not at every probe


def test_a_change_of_the_network_wakes_it(make: Make) -> None:
    """However long the next probe is away, a change of the network brings it on, but not a storm of them."""
    kit = make()
    kit.receiver.fault("who", "html_200", times=6)
    for _ in range(6):
        assert kit.parts.link.server() is None
        kit.clock.advance(kit.parts.link.wait())
    assert kit.parts.link.server() is not None
    for _ in range(100):
        kit.parts.link.network_changed()
        kit.parts.link.server()
    assert kit.calls()["who"] == 7
    kit.clock.advance(SOONEST_S)
    assert kit.parts.link.server() is not None
    assert kit.calls()["who"] == 8
    assert kit.events() == ["link_lost", "link_back"]  # that it was looked at once more is no news


def test_human_wait(make: Make) -> None:
    """With a wrong token it looks seldom, and takes the new one from its file without being told."""
    kit = make()
    kit.token.write_text("not.a.token")
    assert kit.parts.link.server() is None
    kit.token.write_text(kit.receiver.token("kit"))
    kit.clock.advance(HUMAN_WAIT_S - 1)
    assert kit.parts.link.server() is None
    kit.clock.advance(1)
    assert kit.parts.link.server() is not None


def test_no_token(make: Make) -> None:
    """A missing token file is said, and found when it is there."""
    kit = make()
    kit.token.unlink()
    assert kit.parts.link.server() is None
    assert str(kit.token) in kit.link()
    kit.token.touch(mode=0o600)
    kit.token.write_text(kit.receiver.token("kit"))
    kit.clock.advance(HUMAN_WAIT_S)
    assert kit.parts.link.server() is not None


def test_unclaimed(make: Make) -> None:
    """A token that nobody claimed yet is a matter for a person."""
    kit = make()
    kit.token.write_text(kit.receiver.unclaimed_token())
    assert kit.parts.link.server() is None
    assert "not yet claimed" in kit.link()


def test_a_silence_costs_a_probe(make: Make) -> None:
    """After one request without an answer the next thing sent is a probe, and nothing is said if that is answered."""
    kit = make()
    kit.parts.link.server()
    kit.parts.link.failed(NoLink("x"))
    assert kit.parts.link.server() is not None
    assert kit.calls()["who"] == 2
    assert kit.events() == ["link_back"]
    kit.receiver.fault("who", "html_200", times=None)
    kit.parts.link.failed(NoLink("x"))
    assert kit.parts.link.server() is None
    assert kit.events() == ["link_back", "link_lost"]


def test_one_trouble(make: Make) -> None:
    """A server that has trouble once is gone on with, twice in a row it is left alone, but for an answer between."""
    link = make().parts.link
    link.server()
    for _ in range(3):
        link.failed(ServerTrouble("x"))
        assert link.server() is not None
        link.answered()
    link.failed(ServerTrouble("x"))
    link.failed(ServerTrouble("x"))
    assert link.server() is None


def test_an_answered_probe_is_no_picture(make: Make) -> None:
    """A server that takes no picture is tried ever more seldom, one at a time, however well it answers probes."""
    kit = make(upload={"probe_every": "15s", "probe_most": "5min"})
    link = kit.parts.link
    link.server()
    assert link.at_a_time(4) == 4
    link.failed(ServerTrouble("its disk is full"), began=kit.clock.monotonic())
    assert link.at_a_time(4) == 1
    for expected in (15, 30, 60, 120, 240, 300, 300):
        link.failed(ServerTrouble("its disk is full"), began=kit.clock.monotonic())
        assert 0.8 * expected <= link.wait() <= 1.2 * expected
        kit.clock.advance(link.wait())
        assert link.server() is not None
        link.answered()  # nor is the answer to another question, such as what became of the last drive
        assert link.at_a_time(4) == 1
    link.arrived()
    assert link.at_a_time(4) == 4
    link.failed(ServerTrouble("x"))
    assert link.server() is not None


def test_what_was_on_its_way_tells_nothing_new(make: Make) -> None:
    """Several pictures that were lost at once are one failure."""
    kit = make()
    link = kit.parts.link
    link.server()
    began = kit.clock.monotonic()
    kit.clock.advance(30)
    for _ in range(4):
        link.failed(NoLink("x"), began=began)
        assert link.server() is not None
    link.failed(NoLink("x"), began=kit.clock.monotonic())
    assert link.server() is None


def test_another_panoramax(make: Make) -> None:
    """A Panoramax that calls itself otherwise and does not know our token is named as what it is."""
    kit = make()
    kit.drain()
    kit.receiver.store.name = "Somebody's"
    kit.token.write_text("not.a.token")
    kit.restart()
    assert kit.parts.link.server() is None
    assert "another Panoramax" in kit.link()
    assert "Somebody's" in kit.link()
    assert kit.events()[-1] == "wrong_server"


def test_retry_after_of_a_probe(make: Make) -> None:
    """A server that asks for time at a probe gets it."""
    kit = make(upload={"probe_every": "30s"})
    kit.receiver.fault("who", "status", code=503, headers={"Retry-After": "600"})
    assert kit.parts.link.server() is None
    assert kit.parts.link.wait() == 600


def test_close_while_probing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing cuts a probe that hangs in a black hole, and it is not probed again."""
    monkeypatch.setattr("kit.NO_PROGRESS_S", 60.0)
    kit = make()
    kit.receiver.fault("who", "black_hole", times=None)
    probing = threading.Thread(target=kit.parts.link.server)
    probing.start()
    probing.join(0.2)
    assert probing.is_alive()
    kit.parts.link.close()
    probing.join(5)
    assert not probing.is_alive()
    kit.clock.advance(10_000)
    before = kit.calls()["who"]
    assert kit.parts.link.server() is None
    assert kit.calls()["who"] == before


# -- the tunnel comes and goes ----------------------------------------------------------------------------------------
def waiting(kit: Kit) -> tuple[str, str]:
    """Why nothing is sent, as everybody is told."""
    why = summary(kit.parts.catalogue, daemon_runs=True).waiting
    return why.word, why.text


def test_a_short_absence_cuts_nothing(make: Make, tunnel: FakeTunnel) -> None:
    """Away for less than the dwell: the connections live on, and are used again after a look, without an event."""
    kit = behind(make)
    server = kit.parts.link.server()
    tunnel.away = "the tunnel is not there"
    assert kit.parts.link.server() is None
    kit.clock.advance(DWELL_S - 1)
    assert kit.parts.link.server() is None
    tunnel.away = None
    assert kit.parts.link.server() is None
    kit.clock.advance(DWELL_S)
    assert kit.parts.link.server() is server
    assert server is not None
    server.who_am_i()  # it was never closed
    assert kit.events() == ["link_back"]


def test_a_long_absence_cuts(make: Make, tunnel: FakeTunnel) -> None:
    """Away for the dwell: what hangs in it is cut, and that is told."""
    kit = behind(make)
    server = kit.parts.link.server()
    tunnel.away = "the tunnel is not there"
    assert kit.parts.link.server() is None
    kit.clock.advance(DWELL_S)
    assert kit.parts.link.server() is None
    assert server is not None
    with pytest.raises(NoLink):
        server.who_am_i()
    assert kit.events() == ["link_back", "link_lost"]


def test_a_probe_that_went_with_its_tunnel_holds_up_nothing(
    make: Make, tunnel: FakeTunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut at the news, not after half a minute; the next tunnel is used as soon as it stays, without an event."""
    monkeypatch.setattr("kit.NO_PROGRESS_S", 60.0)
    kit = behind(make)
    link = kit.parts.link
    assert link.server() is not None
    kit.clock.advance(SOONEST_S)
    link.network_changed()
    kit.receiver.fault("who", "black_hole")
    probing = threading.Thread(target=link.server)
    probing.start()
    probing.join(0.2)
    assert probing.is_alive()
    tunnel.away, tunnel.number = "the tunnel is not there", None
    news = threading.Thread(target=link.network_changed)
    news.start()
    for thread in (probing, news):
        thread.join(5)
        assert not thread.is_alive()
    assert link.server() is None
    tunnel.away, tunnel.number = None, 2
    assert link.server() is None
    kit.clock.advance(DWELL_S)
    assert link.server() is not None
    assert kit.events() == ["link_back"]


def test_nothing_before_the_dwell(make: Make, tunnel: FakeTunnel) -> None:
    """A tunnel that is back is not used, nor probed, before it stayed for the dwell; then at once."""
    kit = behind(make)
    tunnel.away = "the tunnel is not there"
    assert kit.parts.link.server() is None
    kit.clock.advance(1000)
    tunnel.away = None
    for _ in range(DWELL_S):
        assert kit.parts.link.server() is None
        assert kit.calls() == {}
        assert 0 < kit.parts.link.wait() <= DWELL_S
        kit.clock.advance(1)
    assert kit.parts.link.server() is not None
    assert kit.calls() == {"who": 1, "instance": 1}


def test_why_a_flapping_tunnel_is_not_used(make: Make, tunnel: FakeTunnel) -> None:
    """Two seconds away, two seconds there: status says each time why nothing is sent, the diary once that it ended."""
    kit = behind(make)
    kit.bring_in()
    assert kit.parts.link.server() is not None
    assert waiting(kit) == ("sending", "Sending")
    for _ in range(5):
        for away, why in (("the tunnel is down", "the tunnel is down"), (None, "if it stays for 5 s")):
            tunnel.away = away
            for _ in range(2):
                assert kit.parts.link.server() is None
                assert kit.parts.link.wait() > 0  # whoever waits does not turn in a circle
                word, text = waiting(kit)
                assert word == "link_lost"
                assert why in text
                kit.clock.advance(1)
    assert kit.events()[-2:] == ["link_back", "link_lost"]
    kit.clock.advance(DWELL_S)
    assert kit.parts.link.server() is not None
    assert waiting(kit) == ("sending", "Sending")


# -- what is on its way when the gate closes --------------------------------------------------------------------------
def test_a_way_past_the_tunnel_cuts(make: Make, tunnel: FakeTunnel) -> None:
    """When the route turns out to lead past the tunnel, what is on its way is cut."""
    kit = behind(make)
    server = kit.parts.link.server()
    tunnel.past = "the way does not lead through the tunnel"
    kit.parts.link.network_changed()
    kit.clock.advance(SOONEST_S)
    assert kit.parts.link.server() is None
    assert "through the tunnel" in kit.link()
    assert server is not None
    with pytest.raises(NoLink):
        server.who_am_i()
    assert kit.calls()["who"] == 1
    tunnel.past = None
    kit.clock.advance(kit.parts.link.wait())
    assert kit.parts.link.server() is not None


def test_a_server_that_is_not_ours_cuts(make: Make) -> None:
    """When the server turns out to be one that may not have our pictures, what is on its way is cut."""
    kit = make()
    server = kit.parts.link.server()
    kit.receiver.store.visibilities.remove("logged-only")
    kit.parts.link.network_changed()
    kit.clock.advance(SOONEST_S)
    assert kit.parts.link.server() is None
    assert server is not None
    with pytest.raises(NoLink):
        server.who_am_i()


def test_failures_cut_nothing(make: Make) -> None:
    """When two requests failed, the gate is closed; what is still on its way may arrive."""
    kit = make()
    server = kit.parts.link.server()
    for _ in range(2):
        kit.parts.link.failed(ServerTrouble("x"))
    assert kit.parts.link.server() is None
    assert server is not None
    server.who_am_i()
