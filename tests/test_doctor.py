"""The doctor: what it looks at, what it says of it, and what it does when pictures are not blurred."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from kit import START, Kit, SetClock, drive, kits
from PIL import Image
from real_kit import fresh, opened_kits

from ailasd.catalogue import Catalogue
from ailasd.cli import program
from ailasd.cli.exits import Exit
from ailasd.config import Config
from ailasd.config.check import as_toml
from ailasd.config.tables import Server
from ailasd.demo import pictures
from ailasd.doctor import (
    Check,
    Finding,
    Level,
    as_json,
    as_line,
    blur,
    examine,
    failure,
    here,
    ok,
    there,
    warning,
    worst,
)
from ailasd.errors import NoLink, NotLoggedIn
from ailasd.jpeg import coded
from ailasd.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result
    from conftest import Real

    Make = Callable[..., Kit]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


def looked(*checks: Check) -> list[Any]:
    return list(examine(checks))


# -- checks in general ------------------------------------------------------------------------------------------------
def test_each_in_its_own_way() -> None:
    """An error that a person must mend is a failure, one that passes a warning, a bug of ours a failure; all go on."""

    def needs_human() -> Finding:
        raise NotLoggedIn("revoked.")

    def away() -> Finding:
        raise NoLink("silence")

    found = looked(
        Check("a", lambda: ok("fine")),
        Check("b", needs_human),
        Check("c", away),
        Check("d", lambda: Finding(Level.OK, str(1 // 0))),
        Check("e", lambda: warning("so so")),
    )
    assert [one.level for one in found] == ["ok", "failure", "warning", "failure", "warning"]
    assert "ZeroDivisionError" in found[3].says
    assert worst(found) is Level.FAILURE
    assert worst([]) is Level.OK


def test_what_takes_too_long_is_left_behind() -> None:
    """A check that hangs costs its own time only."""
    over = threading.Event()
    found = looked(Check("slow", lambda: ok(f"at last {over.wait(60)}"), within_s=0.1), Check("b", lambda: ok("fine")))
    over.set()
    assert [one.level for one in found] == ["failure", "ok"]


def test_what_is_said_is_harmless() -> None:
    """No token and no control character comes out, for people or for scripts."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJnZW92aXNpbyJ9.c2lnbmF0dXJl"
    found = looked(Check("a", lambda: failure(f"{token} \x1b[2J", f"put {token} there")))
    for text in (as_line(found[0]), as_json(found)):
        assert "eyJ" not in text
        assert "\x1b" not in text


# -- this machine -----------------------------------------------------------------------------------------------------
def test_the_clock(make: Make) -> None:
    """Nobody vouches for it: a warning; further from the server's than a round trip: a warning; a day: a failure."""
    kit = make()
    clock = SetClock()
    assert here.trust(clock).level is Level.OK
    clock.believed = False
    assert here.trust(clock).level is Level.WARNING
    levels = []
    for off in (timedelta(), timedelta(seconds=-20), timedelta(days=-1100)):
        clock.wall = there_now(kit) + off
        levels.append(there.time(way(kit), clock).level)
    assert levels == ["ok", "warning", "failure"]
    assert "1100 d" in there.time(way(kit), clock).says


def there_now(kit: Kit) -> Any:
    with way(kit)() as server:
        return server.settings().said_at


def way(kit: Kit) -> there.Clients:
    return there.Clients(kit.config(), "test")


def test_the_disk(tmp_path: Path) -> None:
    """Less free than the reserve is a failure; no folder yet is worth knowing; what was tried is not left behind."""
    storage = Storage(tmp_path / "state")
    assert here.disk(storage, 1).level is Level.WARNING
    storage.prepare()
    assert here.disk(storage, 1).level is Level.OK
    assert here.disk(storage, 10**15).level is Level.FAILURE
    assert not list(storage.incoming.iterdir())


def test_a_disk_that_takes_nothing() -> None:
    """A file system without any room for a file is a failure, in words."""
    (found,) = looked(Check("disk", lambda: here.disk(Storage(Path("/proc/self")), 1)))
    assert (found.level, "cannot be written" in found.says) == ("failure", True)


def test_the_catalogue(make: Make) -> None:
    """None yet is a warning, a whole one is ok, a damaged one a failure."""
    kit = make()
    assert here.catalogue(Storage(kit.tmp)).level is Level.WARNING
    kit.drain()
    storage = kit.parts.storage
    assert here.catalogue(storage).level is Level.OK
    kit.parts.close()
    with storage.catalogue.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 3)
    (found,) = looked(Check("catalogue", lambda: here.catalogue(storage)))
    assert found.level == "failure"
    assert "damaged" in found.says or "cannot be read" in found.says


def test_the_token(tmp_path: Path) -> None:
    """None where one is needed is a failure that says how to get one."""
    assert here.token(Config()).level is Level.OK
    config = Config(server=Server(url="https://panoramax.example.org", token_file=tmp_path / "token"))
    (found,) = looked(Check("token", lambda: here.token(config)))
    assert found.level == "failure"


# -- the server -------------------------------------------------------------------------------------------------------
def test_the_account(make: Make) -> None:
    """Ours is named; a revoked token, and another account than the pictures went to, are failures."""
    kit = make()
    kit.drain()
    assert '"kit"' in there.account(way(kit), kit.parts.catalogue).says
    kit.token.write_text(kit.receiver.token("somebody"))
    (other,) = looked(Check("account", lambda: there.account(way(kit), kit.parts.catalogue)))
    kit.receiver.revoke(kit.token.read_text())
    (revoked,) = looked(Check("account", lambda: there.account(way(kit), kit.parts.catalogue)))
    assert (other.level, revoked.level) == ("failure", "failure")
    assert "another account" in other.says
    assert "was revoked" in revoked.says


INSTANCE = {
    "version": "2.15.1",
    "visibility": {"possible_values": ["anyone", "logged-only"]},
    "auth": {"enabled": False},
}
OPEN = {"auth": {"enabled": True, "registration_is_open": True}}
CLOSED = {"auth": {"enabled": True, "registration_is_open": False}}


@pytest.mark.parametrize(
    ("more", "level", "says"),
    [
        ({}, "ok", "no login of its own"),
        (CLOSED, "ok", "registration is closed"),
        (OPEN, "failure", "anybody may make an account"),
        ({"visibility": {"possible_values": ["anyone"]}}, "failure", "logged-only"),
        ({"is_read_only": True}, "warning", "read-only"),
        ({"version": "3.0.0"}, "warning", "never met this one"),
        ({"version": None}, "warning", "could not be found out"),
    ],
)
def test_the_settings(make: Make, more: dict[str, Any], level: str, says: str) -> None:
    """Only an instance that keeps pictures to its own people is for us; one that we do not know is worth a word."""
    kit = make()
    kit.receiver.fault("instance", "status", code=200, body={**INSTANCE, **more}, times=None)
    (found,) = looked(Check("server", lambda: there.settings(way(kit))))
    assert (found.level, says in found.says) == (level, True), found


def test_strangers(make: Make) -> None:
    """Refused to strangers and shown to us is the proof; shown to strangers is a failure, shown to nobody a warning."""
    kit = make()
    assert there.strangers(way(kit), None).level is Level.OK
    kit.drain()

    def look() -> Finding:
        return there.strangers(way(kit), kit.parts.catalogue)

    assert look().level is Level.OK
    assert there.federation(way(kit), kit.parts.catalogue).says == "the server lists nothing to strangers"
    kit.the_set().asked["visibility"] = "anyone"
    assert look().level is Level.FAILURE
    assert there.federation(way(kit), kit.parts.catalogue).level is Level.FAILURE
    assert there.federation(way(kit), None).level is Level.OK
    kit.the_set().asked["visibility"] = "logged-only"
    kit.the_set().dispatched = False
    assert look().level is Level.WARNING


def test_ours_behind_many_that_are_public(make: Make) -> None:
    """Where strangers see more than one list takes, ours is asked for by itself: as number 150 it is found too."""
    kit = make()
    kit.drain()
    ours, sets = kit.the_set(), kit.receiver.store.sets
    sets.clear()
    for _ in range(149):
        one = replace(ours, id=str(uuid4()), collection=str(uuid4()), asked={**ours.asked, "visibility": "anyone"})
        sets[one.id] = one
    sets[ours.id] = ours
    found = there.federation(way(kit), kit.parts.catalogue)
    assert (found.level, "of our 1 the newest 1" in found.says) == (Level.OK, True)
    ours.asked["visibility"] = "anyone"
    found = there.federation(way(kit), kit.parts.catalogue)
    assert (found.level, str(ours.collection) in found.says) == (Level.FAILURE, True)


def test_a_portal_is_no_stranger_refused(make: Make) -> None:
    """A page, or being sent on, in the place of the picture proves nothing."""
    kit = make()
    kit.drain()
    for kind in ("html_200", "redirect"):
        kit.receiver.fault("image", kind, times=None)
        (found,) = looked(Check("strangers", lambda: there.strangers(way(kit), kit.parts.catalogue)))
        assert found.level == "warning"
        kit.receiver.clear_faults()


# -- does it blur? ----------------------------------------------------------------------------------------------------
def anew(data: bytes) -> bytes:
    """As one that blurs stores it: decoded and coded again, the metadata kept."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(made, "JPEG", exif=image.info["exif"], quality=95)
    return made.getvalue()


def other_metadata(data: bytes) -> bytes:
    """As one that does not blur stores it if the time was overridden: other metadata, the same coded picture."""
    return data[:2] + b"\xff\xfe\x00\x06blur" + data[2:]


@dataclass(frozen=True)
class Blurring:
    """A kit whose server keeps pictures."""

    kit: Kit

    def look(self, *, expected: bool, sample: int = blur.ENOUGH) -> Any:
        parts = self.kit.parts
        check = blur.check(way(self.kit), parts.catalogue, parts.storage, expected=expected, sample=sample)
        return looked(check)[0]

    @property
    def fetched(self) -> int:
        return sum(request.path.endswith("hd.jpg") for request in self.kit.receiver.requests)


@pytest.fixture
def blurring(make: Make) -> Callable[..., Blurring]:
    def with_(change: Callable[[bytes], bytes]) -> Blurring:
        kit = make(entries=drive(blur.ENOUGH))
        kit.receiver.store.kept = {}
        kit.receiver.store.blur = change
        kit.drain()
        assert kit.held_once()
        return Blurring(kit)

    return with_


def test_it_blurs(blurring: Callable[..., Blurring]) -> None:
    """One picture that was coded again is enough, and only one is fetched."""
    one = blurring(anew)
    assert one.look(expected=True).level == "ok"
    assert one.fetched == 1


def test_it_does_not_blur(blurring: Callable[..., Blurring]) -> None:
    """All of the sample are as they were sent, but for their metadata: where nobody expects more, a word; all go on."""
    one = blurring(other_metadata)
    found = one.look(expected=False)
    assert (found.level, one.fetched) == ("warning", blur.ENOUGH)
    assert "10 pictures exactly as we sent them" in found.says
    assert one.kit.parts.link.server() is not None


def test_too_few_to_tell(blurring: Callable[..., Blurring]) -> None:
    """On an empty road there is nothing to blur: a few untouched pictures stop nothing."""
    one = blurring(bytes)
    found = one.look(expected=True, sample=blur.ENOUGH - 1)
    assert (found.level, "would stop sending" in found.says) == ("warning", True)
    assert one.kit.parts.link.server() is not None


def test_it_should_blur(blurring: Callable[..., Blurring]) -> None:
    """Where blurring is expected nothing more is sent, at once and after a restart, until a person decided."""
    one = blurring(bytes)
    kit = one.kit
    assert kit.parts.link.server() is not None
    assert one.look(expected=True).level == "failure"
    assert kit.parts.link.server() is None
    assert "ailasd release --unblurred" in kit.link()
    kit.restart()
    assert kit.parts.link.server() is None
    assert command(kit, "release", "--unblurred").exit_code == 0
    kit.clock.advance(1000)
    assert kit.parts.link.server() is not None
    found = one.look(expected=True)
    assert (found.level, "a person said to go on" in found.says) == ("warning", True)
    assert kit.parts.link.server() is not None
    kit.receiver.store.kept = {item: anew(data) for item, data in (kit.receiver.store.kept or {}).items()}
    assert one.look(expected=True).level == "ok"
    assert kit.parts.catalogue.telling.fact("unblurred_accepted") is None


# -- the daemon's own look --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("change", [bytes, other_metadata])
def test_the_daemon_looks_by_itself(blurring: Callable[..., Blurring], change: Callable[[bytes], bytes]) -> None:
    """Where blurring is expected, ten untouched pictures of a day stop sending."""
    one = blurring(change)
    kit = one.kit
    kit.restart(server={"expect_blur": True})
    kit.parts.blurring.run(threading.Event())
    assert one.fetched == blur.ENOUGH
    assert kit.parts.link.server() is None
    assert "ailasd release --unblurred" in kit.link()
    assert command(kit, "release", "--unblurred").exit_code == 0
    kit.clock.advance(1000)
    kit.parts.blurring.run(threading.Event())
    assert (one.fetched, kit.parts.link.server() is None) == (blur.ENOUGH, False)


def test_the_daemon_looks_once_a_day(blurring: Callable[..., Blurring]) -> None:
    """At a server that blurs it looks at one picture a day, and not before ten new ones are confirmed."""
    one = blurring(anew)
    kit = one.kit
    kit.restart(server={"expect_blur": True})
    for _ in range(3):
        kit.parts.blurring.run(threading.Event())
    assert (one.fetched, kit.parts.link.server() is None) == (1, False)
    kit.clock.advance(86_400)
    kit.parts.blurring.run(threading.Event())
    assert one.fetched == 1
    for hours, new, fetched in ((20, blur.ENOUGH - 1, 1), (22, 1, 2)):
        pictures.write_card(kit.card, drive(new, start=START + timedelta(hours=hours)))
        kit.drain()
        kit.parts.blurring.run(threading.Event())
        assert one.fetched == fetched


def test_the_daemon_does_not_look(blurring: Callable[..., Blurring]) -> None:
    """It does not where nobody expects it, nor over a link that may not be used now."""
    one = blurring(bytes)
    kit = one.kit
    kit.parts.blurring.run(threading.Event())
    assert one.fetched == 0
    kit.restart(server={"expect_blur": True}, upload={"rates": {"00:00-24:00": "off"}})
    kit.parts.blurring.run(threading.Event())
    assert one.fetched == 0


def test_a_picture_that_does_not_come_is_not_fetched_all_day(blurring: Callable[..., Blurring]) -> None:
    """Where a picture does not come through, it is tried a few times a day, also after a restart; the link is used."""
    one = blurring(bytes)
    kit = one.kit
    kit.restart(server={"expect_blur": True})
    stop = threading.Event()
    kit.receiver.fault("image", "drop_before", times=None)
    for hour in range(12):
        for _ in range(12):
            kit.parts.blurring.run(stop)
            assert kit.parts.link.server() is not None
            kit.clock.advance(300)
        if hour % 3 == 0:
            kit.restart()
    assert one.fetched == 2 * 2  # each is asked again, once
    assert kit.parts.link.at_a_time(8) == 8
    kit.receiver.clear_faults()
    kit.parts.blurring.run(stop)
    assert kit.parts.link.server() is None


def test_a_look_that_the_end_cuts_off_has_not_failed(blurring: Callable[..., Blurring]) -> None:
    """A picture that did not come because we end is fetched as soon as we begin again."""
    one = blurring(bytes)
    kit = one.kit
    kit.restart(server={"expect_blur": True})
    kit.receiver.fault("image", "drop_before", times=2)
    stop, signs = threading.Event(), count()

    def alive() -> None:
        if next(signs) == 1:  # before the first picture
            stop.set()

    kit.parts.blurring.run(stop, alive=alive)
    assert one.fetched == 2
    kit.parts.blurring.run(threading.Event())
    assert kit.parts.link.server() is None


def test_pictures_in_the_works_stop_nothing(blurring: Callable[..., Blurring]) -> None:
    """A picture that the server keeps from us while it processes it is not compared, and our token is not blamed."""
    one = blurring(bytes)
    kit = one.kit
    kit.restart(server={"expect_blur": True})
    in_the_works = {"message": "Picture is not available (currently in processing)"}
    kit.receiver.fault("image", "status", times=None, code=403, body=in_the_works)
    kit.parts.blurring.run(threading.Event())
    assert kit.parts.link.server() is not None
    (found,) = looked(Check("strangers", lambda: there.strangers(way(kit), kit.parts.catalogue)))
    assert "does not show" in found.says


def test_nothing_to_compare(blurring: Callable[..., Blurring]) -> None:
    """Without a copy, or with nothing fetched, nothing is concluded."""
    one = blurring(bytes)
    assert one.look(expected=True, sample=0).level == "ok"
    one.kit.receiver.store.kept = {}
    assert one.look(expected=True).level == "warning"
    assert one.kit.parts.link.server() is not None


def test_only_the_coded_picture_is_compared() -> None:
    """Metadata do not count, a preview behind the picture neither; one changed pixel does."""
    data = pictures.jpeg(seed=7)
    alone = pictures.jpeg(seed=7, mpo=False)
    assert coded(data) == coded(other_metadata(data)) is not None
    assert coded(alone + b"anything") == coded(alone)
    assert coded(anew(data)) != coded(data)
    assert coded(alone[:-500]) is None


# -- the command ------------------------------------------------------------------------------------------------------
def command(kit: Kit, *words: str) -> Result:
    config = kit.tmp / "config.toml"
    config.write_text(as_toml(kit.config()))
    return CliRunner().invoke(program, ["--config", str(config), *words])


NAMES = ["configuration", "token", "clock", "disk", "catalogue", "tunnel", "route", "certificate", "account"]
NAMES += ["server's clock", "server", "strangers", "federation", "blurring"]


def test_the_command(make: Make) -> None:
    """Every check has its line, or its object; no failure is 0; nothing secret is in either."""
    kit = make()
    kit.drain()
    said = command(kit, "doctor")
    as_objects = command(kit, "doctor", "--json", "--sample", "0")
    assert (said.exit_code, as_objects.exit_code) == (0, 0), said.output
    assert [line[9:24].strip() for line in said.stdout.splitlines() if line[:1] != " "] == NAMES
    document = json.loads(as_objects.stdout)
    assert [one["name"] for one in document["checks"]] == NAMES
    assert document["level"] in {"ok", "warning"}
    assert {one.keys() == {"name", "level", "says", "way_out"} for one in document["checks"]} == {True}
    assert kit.token.read_text() not in said.output + as_objects.output


def test_a_failure_is_an_exit_code(make: Make) -> None:
    """One failure is 1, and the other checks are made all the same."""
    kit = make()
    kit.drain()
    kit.receiver.revoke(kit.token.read_text())
    done = command(kit, "doctor")
    assert done.exit_code == Exit.PERSON
    assert "our token was revoked" in done.stdout
    assert done.stdout.count("failure") == 1
    assert "blurring" in done.stdout


def test_nothing_is_made(make: Make, tmp_path: Path) -> None:
    """Looking makes no folder, no catalogue, no file."""
    config = tmp_path / "config.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path}/state"\n[inbox]\nfolder = ""\n')
    done = CliRunner().invoke(program, ["--config", str(config), "doctor"])
    assert done.exit_code == 0, done.output
    assert list(tmp_path.iterdir()) == [config]


def test_a_wrong_configuration(tmp_path: Path) -> None:
    """It is the one failure that keeps all other checks from being made."""
    config = tmp_path / "config.toml"
    config.write_text("[upload]\nconnections = 99")
    done = CliRunner().invoke(program, ["--config", str(config), "doctor", "--json"])
    assert done.exit_code == Exit.PERSON
    (only,) = json.loads(done.stdout)["checks"]
    assert "upload.connections" in only["says"]


def test_without_a_link(make: Make) -> None:
    """What the link keeps from being found out is a warning: the kit itself is well."""
    kit = make()
    kit.receiver.away()
    done = command(kit, "doctor", "--json")
    assert done.exit_code == 0
    levels = {one["name"]: one["level"] for one in json.loads(done.stdout)["checks"]}
    assert levels["account"] == levels["server"] == levels["federation"] == "warning"
    assert levels["disk"] == levels["catalogue"] == "ok"


@pytest.mark.real
def test_on_a_real_server(real: Real, tmp_path: Path) -> None:
    """A real private Panoramax without blurring: no failure; what one that blurs would store is told apart."""
    with opened_kits(real, tmp_path) as made:
        kit = made()
        kit.takes(pictures.drive(n=3, start=SetClock().wall - timedelta(days=30), seed=fresh()))
        kit.settle()
        config = tmp_path / "config.toml"
        config.write_text(as_toml(kit.parts.config))

        def doctor() -> dict[str, Any]:
            done = CliRunner().invoke(program, ["--config", str(config), "doctor", "--json"])
            assert done.exit_code == 0, done.output
            return {one["name"]: one for one in json.loads(done.stdout)["checks"]}

        found = doctor()
        assert list(found) == NAMES
        assert {found[name]["level"] for name in ("account", "server", "strangers", "federation")} == {"ok"}
        assert "refused to strangers" in found["strangers"]["says"]
        assert (found["blurring"]["level"], "3 pictures" in found["blurring"]["says"]) == ("warning", True)
        for stored in kept_by(real):
            stored.write_bytes(anew(stored.read_bytes()))
        assert doctor()["blurring"]["level"] == "ok"
        with Catalogue(kit.parts.storage.catalogue, SetClock()) as catalogue:
            assert catalogue.telling.fact("sending_stopped") is None


def kept_by(real: Real) -> list[Path]:
    """Every picture on the server's disk as it was stored, without what is made of it."""
    return [path for path in (real.instance.pictures / "permanent").rglob("*.jpg") if path.is_file()]
