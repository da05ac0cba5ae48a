"""The whole path, from a card to proof, through the daemon's own parts and a real private Panoramax.

What must be true on the server is read from the server: over its API with the kit's token, as people would, and how
often it holds some content from its database, so that nothing that ailasd believes is taken for a proof.
"""

from __future__ import annotations

import base64
import json
import shutil
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from real_kit import Kit, fresh, md5_of, opened_kits

from ailasd import confirming
from ailasd.demo import pictures
from ailasd.logs import Event
from ailasd.model import State, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Real

pytestmark = pytest.mark.real

START = datetime.now(UTC).replace(hour=4, minute=0, second=0, microsecond=0) - timedelta(days=2)
"""07:00 in Madagascar, the day before yesterday: a clock 147 days ahead is in the future then, as in the field."""


@pytest.fixture
def kit(real: Real, tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    """Makes a kit, with more TOML if wanted."""
    with opened_kits(real, tmp_path) as make:
        yield make


@pytest.fixture
def whole_again(real: Real) -> Iterator[None]:
    """Whatever a test does to the server, the next one meets a whole one."""
    yield
    if not (real.instance.daemons.alive("database") and real.instance.answers()):
        real.instance.stop()
        real.instance.start_database()
        real.instance.start_api()


# -- drives ------------------------------------------------------------------------------------------------------------
def test_a_thousand_pictures_at_90_kmh_are_one_sequence(kit):
    """Where the server's own split would make 1 000 sequences, there is one, in order, private and described."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=1000, speed_kmh=90, seed=fresh()))
    kit.settle(within=240)
    kit.assert_confirmed_once(md5s)
    assert kit.sequences() == 1
    (upload_set,) = kit.sets()
    about = kit.document(f"/api/upload_sets/{upload_set}")
    assert about["title"] == f"kit-07 {START:%Y-%m-%d} 07:00 C3531325123456"
    assert about["visibility"] == "logged-only"
    assert [(one["key"], one["value"]) for one in about["semantics"]] == [("transport", "car")]
    metadata = about["metadata"]
    assert (metadata["kit"], metadata["camera"], metadata["part"]) == ("kit-07", "C3531325123456", 1)
    assert {"ailasd", "ailasd_version", "card", "drive"} <= set(metadata)
    assert str(kit.card) not in json.dumps(about)

    collection = kit.collection(upload_set)
    assert [tag["value"] for tag in kit.document(f"/api/collections/{collection}")["semantics"]] == ["car"]
    items = kit.items(collection)
    listed = kit.listed()
    by_id = {row["picture_id"]: md5 for md5, row in listed.items()}
    assert [by_id[item["id"]] for item in items] == md5s  # capture order
    assert len({row["file_name"] for row in listed.values()}) == 1000
    for path in (
        f"/api/upload_sets/{upload_set}",
        f"/api/collections/{collection}",
        f"/api/collections/{collection}/items",
    ):
        assert kit.get(path, stranger=True).status_code == 404, path
    assert kit.get(items[0]["assets"]["hd"]["href"], stranger=True).status_code in {403, 404}


def test_every_web_link_of_the_catalogue_opens(kit):
    """A person who is logged in finds each picture and each drive under the link that the catalogue shows."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=3, seed=fresh()))
    kit.settle()
    links = [row["web_link"] for row in kit.rows(md5s)]
    (drive,) = kit.parts.catalogue.telling.drives_standing(limit=10)
    assert len(set(links)) == 3
    assert all(kit.get(link).status_code == 200 for link in [*links, *drive["web_links"]])
    assert drive["web_links"]
    listed = kit.listed()
    assert all(listed[md5]["picture_id"] in link for md5, link in zip(md5s, links, strict=True))


def test_the_way_back_over_the_same_road_loses_none(kit):
    """300 pictures out and 300 back at the same places: all 600 arrive, in one sequence."""
    kit = kit()
    there = list(pictures.drive(start=START, n=300, seed=fresh()))
    turn = pictures.along((-18.9, 47.5), 200, 300 * 5 * 40 / 3.6)
    back = pictures.drive(
        start=START + timedelta(seconds=1500), n=300, first=301, origin=turn, bearing=20, seed=fresh()
    )
    md5s = kit.takes(there, back)
    kit.settle(within=180)
    kit.assert_confirmed_once(md5s)
    assert kit.sequences() == 1


def test_a_parked_hour_sends_at_most_15(kit):
    """Of 720 pictures of one place the server gets no more than 15; the others are held here, as parked."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=720, speed_kmh=0, seed=fresh()))
    kit.settle()
    tally = kit.tally()
    assert tally["held parked"] + tally["confirmed"] == 720
    assert 2 <= tally["confirmed"] <= 15
    assert kit.holds(md5s) == {0: tally["held"], 1: tally["confirmed"]}
    states = [row["state"] for row in kit.rows(md5s)]
    assert (states[0], states[-1]) == (State.CONFIRMED, State.CONFIRMED)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_long_drive_becomes_bounded_sequences(kit):
    """2 500 pictures of one drive are three sequences of at most 1 000, one after the other."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=2500, seed=fresh()))
    kit.settle(within=800)
    kit.assert_confirmed_once(md5s)
    sets = sorted(kit.sets(), key=lambda one: kit.document(f"/api/upload_sets/{one}")["metadata"]["part"])
    times = [[item["properties"]["datetime"] for item in kit.items(kit.collection(one))] for one in sets]
    assert len(times) == 3
    assert max(len(part) for part in times) <= 1000
    assert [at for part in times for at in part] == sorted(at for part in times for at in part)


# -- times -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Clock:
    """A drive of a dozen pictures with a camera clock that is wrong in one way, and which of them need an override."""

    off: timedelta = timedelta()
    right_from: int = 0  # the picture from which on the clock is right
    odd: int | None = None  # the picture whose sub-seconds are 000
    gps_date: int | None = None  # the year that GPS told before its first fix, in the first three pictures
    overridden: range = range(12)

    def drive(self, number: int) -> Iterator[tuple[str, bytes, float]]:
        serial = f"C353132512{number:04d}"
        for i in range(12):
            taken = START + timedelta(minutes=number, seconds=5 * i)
            facts: dict[str, Any] = {"serial": serial}
            if self.odd == i:
                facts["subsec"] = "000"
            if self.gps_date and i < 3:
                facts["gps_time"] = datetime(self.gps_date, 1, 6, tzinfo=UTC) + timedelta(seconds=5 * i)
            yield from pictures.drive(
                start=taken, n=1, origin=pictures.along((-18.9, 47.5), 200, 55.0 * i), first=12 * number + i + 1,
                clock_error=timedelta() if self.right_from and i >= self.right_from else self.off,
                group=number, seed=fresh(), **facts,
            )  # fmt: skip


NONE = range(0)
CLOCKS = {
    "right": Clock(overridden=NONE),
    "5 min fast": Clock(timedelta(minutes=5)),
    "one hour off": Clock(timedelta(hours=1)),
    "another multiple of 30 min": Clock(timedelta(hours=-2, minutes=-30)),
    "reset to 2016": Clock(datetime(2016, 1, 1, tzinfo=UTC) - START),
    "147 days ahead": Clock(timedelta(days=147)),
    "one with sub-seconds 000": Clock(odd=6, overridden=NONE),
    "GPS date 1980": Clock(gps_date=1980, overridden=NONE),
    "GPS date 2006, 5 min fast": Clock(timedelta(minutes=5), gps_date=2006),
    "set right in mid-drive": Clock(timedelta(minutes=-5), right_from=7, overridden=range(7)),
}


@pytest.fixture(scope="module")
def clocks(real: Real, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kit, dict[str, list[str]]]]:
    """All clocks on one card, each in a camera of its own, sent; and the md5s of each."""
    with opened_kits(real, tmp_path_factory.mktemp("clocks")) as make:
        kit = make()
        md5s = {name: kit.takes(clock.drive(number)) for number, (name, clock) in enumerate(CLOCKS.items(), 1)}
        kit.settle()
        yield kit, md5s


@pytest.mark.parametrize("name", CLOCKS)
def test_the_server_stores_the_true_time(clocks, name):
    """Within 1.5 s and in order, in local time; under the original's md5; overridden only where needed."""
    kit, md5s_of = clocks
    clock, md5s = CLOCKS[name], md5s_of[name]
    kit.assert_confirmed_once(md5s)
    rows, listed = kit.rows(md5s), kit.listed()
    (upload_set,) = {row["upload_set"] for row in rows}
    assert set(md5s) <= set(listed)
    assert [i for i, row in enumerate(rows) if row["capture_override"]] == list(clock.overridden)
    items = kit.items(kit.collection(upload_set))
    assert [item["id"] for item in items] == [listed[md5]["picture_id"] for md5 in md5s]
    number = list(CLOCKS).index(name) + 1
    for i, (item, row) in enumerate(zip(items, rows, strict=True)):
        truth = START + timedelta(minutes=number, seconds=5 * i)
        stored = datetime.fromisoformat(item["properties"]["datetime"])
        assert abs(stored - truth) <= timedelta(seconds=1.5), (i, stored, truth)
        assert stored == datetime.fromisoformat(row["captured"])
        if row["capture_override"]:  # what people read in the picture itself
            assert item["properties"]["exif"]["Exif.Photo.OffsetTimeOriginal"] == "+03:00"
    assert all(a["properties"]["datetime"] <= b["properties"]["datetime"] for a, b in pairwise(items))


# -- positions ---------------------------------------------------------------------------------------------------------
def test_interpolated_positions_arrive_and_can_be_told_from_measured_ones(kit):
    """Where the receiver lost its fix, the server has a place on the road, and says itself that it is interpolated."""
    kit = kit('triage = {fill_gap = "1min"}')
    lost = (4, 5)
    md5s = kit.takes(pictures.drive(start=START, n=10, no_fix=lost, seed=fresh()))
    kit.settle()
    kit.assert_confirmed_once(md5s)
    items = kit.items(kit.collection(*kit.sets()))
    for i, item in enumerate(items):
        latitude, longitude = pictures.along((-18.9, 47.5), 200, i * 5 * 40 / 3.6)
        assert item["geometry"]["coordinates"] == pytest.approx([longitude, latitude], abs=2e-5)  # 2 m
        told = item["properties"]["exif"].get("Exif.GPSInfo.GPSProcessingMethod")
        assert told == ("interpolated" if i in lost else None), i
    assert {md5 for md5 in md5s if kit.picture(md5).position_override} == {md5s[i] for i in lost}


def test_without_a_position_nothing_is_sent(kit):
    """Unless a person allows filling gaps, a picture without a fix stays here, with its reason."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=6, no_fix=(2,), seed=fresh()))
    kit.settle()
    assert kit.tally() == {"confirmed": 5, "held": 1, "held no_position": 1}
    assert kit.holds(md5s) == {1: 5, 0: 1}


# -- real pictures -----------------------------------------------------------------------------------------------------
REAL = Path(__file__).parents[2] / "shared" / "data"

if REAL.is_dir():  # not collected elsewhere: these pictures are other people's, and not part of this repository

    def readers_verdict(row: dict[str, str]) -> str:
        """What the manifest says that the server's reader, and a decoder, make of a file."""
        said = row["reader"]
        if not (said == "OK" or said.startswith("PartialExif")) or not row["pillow"].startswith("OK"):
            return Verdict.BROKEN
        return Verdict.USABLE if said == "OK" else Verdict.NO_POSITION if "No GPS" in said else Verdict.NO_DATE

    def test_real_pictures_and_a_drive_on_one_card(kit):
        """Each verdict is the server's own reader's, and what can be sent is on the server exactly once."""
        kit = kit()
        lines = [line.split("\t") for line in (REAL / "manifest.tsv").read_text().splitlines()]
        manifest = {row[0]: dict(zip(lines[0], row, strict=True)) for row in lines[1:]}
        shutil.copytree(REAL, kit.card / "DCIM", ignore=shutil.ignore_patterns("manifest.tsv"))
        made = kit.takes(pictures.drive(start=START, n=300, group=77, folder=177, seed=fresh()))
        kit.settle(within=180)

        files = {md5_of((REAL / name).read_bytes()): row for name, row in manifest.items()}
        rows = {row["md5"]: row for row in kit.rows(md5 for md5 in files if kit.parts.catalogue.pictures.find(md5))}
        expected = {
            md5 for md5, row in files.items()
            if row["file"].lower().endswith((".jpg", ".jpeg")) and row["size"] != "0"
        }  # fmt: skip
        assert set(rows) == expected
        differing = {files[md5]["file"]: row["verdict"] for md5, row in rows.items()
                     if row["verdict"] != readers_verdict(files[md5])}  # fmt: skip
        assert differing == {}
        sent = {md5 for md5, row in rows.items() if row["state"] == State.CONFIRMED}
        left = {md5: (row["state"], row["reason"]) for md5, row in rows.items() if md5 not in sent}
        usable = {md5 for md5, row in rows.items() if row["verdict"] == Verdict.USABLE}
        assert sent <= usable
        judged = {"parked", "position_untrusted", "clock_untrusted"}
        assert {files[md5]["file"]: why for md5, why in left.items() if md5 in usable and why[1] not in judged} == {}
        kit.assert_confirmed_once([*made, *sent])
        assert kit.holds(left) == {0: len(left)}
        last = kit.parts.catalogue.telling.cards()[0]
        assert last["on_card"] == last["copied"] + last["known"] + sum(json.loads(last["left_there"]).values())


# -- the server in trouble ---------------------------------------------------------------------------------------------
def sent_or_more(kit: Kit, number: int) -> Callable[[], bool]:
    return lambda: kit.tally()[State.SENT] + kit.tally()[State.CONFIRMED] >= number


@pytest.mark.usefixtures("whole_again")
def test_a_killed_api_in_mid_upload_costs_nothing(kit):
    """SIGKILL in the middle of requests, then back: each picture is there once, none was given up."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=150, seed=fresh(), pad_to=100_000))
    with kit.running():
        kit.wait(sent_or_more(kit, 20))
        kit.server.kill_api()
        kit.wait(lambda: bool(kit.events(Event.LINK_LOST)))
        assert kit.tally()[State.QUEUED]
        kit.server.restart_api()
        kit.wait(kit.all_settled)
    kit.assert_confirmed_once(md5s)


@pytest.mark.usefixtures("whole_again")
def test_a_stopped_database_costs_nothing(kit):
    """While the server has only errors to answer, pictures wait; when its database is back, each is there once."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=60, seed=fresh()))
    with kit.running():
        kit.wait(sent_or_more(kit, 10))
        kit.server.stop_database()
        kit.wait(lambda: any(row["last_error"] for row in kit.rows(md5s)))
        assert kit.tally()[State.QUEUED]
        kit.server.start_database()
        kit.wait(kit.all_settled)
    kit.assert_confirmed_once(md5s)


def undecodable(number: int) -> bytes:
    """A picture with good metadata and structure that no decoder gets through: an impossible table, or none at all."""
    second = 120 + 5 * number
    data = bytearray(
        pictures.jpeg(
            seed=fresh(),
            mpo=False,
            camera_time=(START + timedelta(hours=3, seconds=second)).replace(tzinfo=None),
            gps_time=START + timedelta(seconds=second),
            position=pictures.along((-18.9, 47.5), 200, 11.0 * second),
        )
    )
    if number:
        data[data.index(b"\xff\xdb\0C") + 1] = 0xEE  # the quantisation table is a comment now
    else:
        codes = data.index(b"\xff\xc4\0\x1f") + 5  # with the table's length: two bytes alone also occur in noise
        data[codes : codes + 16] = b"\xff" * 16
    return bytes(data)


def test_undecodable_pictures_do_not_hold_up_the_others(kit, monkeypatch):
    """They end the server's worker, which comes back; they are refused as broken, and all others are confirmed."""
    # one try rather than some over hours, in which its worker comes to the end of its own
    monkeypatch.setattr(confirming, "REPAIR_WITHIN_S", (30.0,))
    kit = kit()
    good = kit.takes(pictures.drive(start=START, n=20, seed=fresh()))
    bad = kit.takes((f"DCIM/100GOPRO/G00100{n + 50}.JPG", undecodable(n), START.timestamp()) for n in range(2))
    workers = set(kit.server.daemons.alive("worker"))
    kit.settle()
    assert set(kit.server.daemons.alive("worker")) != workers
    kit.assert_confirmed_once(good)
    assert [(row["state"], row["reason"], row["repairs"]) for row in kit.rows(bad)] == [
        ("refused", "not_processed", 1)
    ] * 2


# -- people in between -------------------------------------------------------------------------------------------------
def test_a_set_deleted_in_mid_upload_is_sent_again(kit):
    """An administrator deletes the set while pictures are sent to it: a new one gets all of them, once."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=80, seed=fresh()))
    with kit.running():
        kit.wait(sent_or_more(kit, 20))
        (gone,) = kit.sets()
        token = kit.token_file.read_text()
        deleted = httpx.delete(
            f"{kit.url}/api/upload_sets/{gone}",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=60,
        )
        assert deleted.status_code == 204
        kit.wait(kit.all_settled)
    kit.assert_confirmed_once(md5s)
    assert gone not in kit.sets()
    assert kit.events(Event.SET_VANISHED)


def test_a_picture_that_the_server_lost_is_sent_again_once(kit):
    """Received, then gone from the server before it was confirmed: sent once more, and there in the end."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=5, seed=fresh()))
    stop = threading.Event()
    for step in (*kit.parts.importing, kit.parts.sorting, kit.parts.uploading):
        step.run(stop)
    lost = kit.picture(md5s[2])
    assert lost.state is State.SENT
    kit.server.lose(lost.server_id)
    assert kit.holds([lost.md5]) == {0: 1}
    kit.settle()
    kit.assert_confirmed_once(md5s)
    assert [row["losses"] for row in kit.rows(md5s)] == [0, 0, 1, 0, 0]


def test_a_revoked_token_stops_and_a_new_one_goes_on(kit):
    """Revoked in mid-upload: nothing more is sent and it says what to do; with a new token file the rest follows."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=80, seed=fresh()))
    claims = json.loads(base64.urlsafe_b64decode(kit.token_file.read_text().split(".")[1] + "=="))
    with kit.running():
        kit.wait(sent_or_more(kit, 20))
        kit.server.sql("DELETE FROM tokens WHERE id = :'id'", id=claims["sub"])
        kit.wait(lambda: bool(kit.events(Event.LOGIN_NEEDED)))
        waiting = kit.tally()[State.QUEUED]
        time.sleep(2)
        assert kit.tally()[State.QUEUED] == waiting > 0
        kit.new_token()
        kit.wait(kit.all_settled)
    kit.assert_confirmed_once(md5s)


def test_what_was_shared_through_the_website_is_confirmed_there(kit, real):
    """Pictures that another account uploaded before are done by that set's listing, and are not on the server twice."""
    kit = kit()
    md5s = kit.takes(pictures.drive(start=START, n=6, seed=fresh()))
    headers = {"Authorization": f"Bearer {real.instance.token('website')}"}
    with httpx.Client(base_url=real.url, headers=headers, trust_env=False, timeout=60) as website:
        wanted = {"title": "by hand", "visibility": "logged-only"}
        theirs = website.post("/api/upload_sets", json=wanted).json()["id"]
        for file in sorted(kit.card.rglob("*.JPG"))[:4]:
            sent = website.post(f"/api/upload_sets/{theirs}/files", files={"file": (file.name, file.read_bytes())})
            assert sent.status_code == 202
        website.post(f"/api/upload_sets/{theirs}/complete")
    kit.settle()
    kit.assert_confirmed_once(md5s)
    assert [row["upload_set"] == theirs for row in kit.rows(md5s)] == [True] * 4 + [False] * 2


def test_a_truncated_picture_is_only_sent_when_a_person_says_so(kit, monkeypatch):
    """Its position is intact, yet it stays here; released by hand the server cannot use it either: refused, said so."""
    monkeypatch.setattr(confirming, "REPAIR_WITHIN_S", (2.0,))
    kit = kit()
    files = list(pictures.drive(start=START, n=4, seed=fresh(), mpo=False))
    name, whole, mtime = files[1]
    files[1] = (name, whole[: len(whole) * 2 // 3], mtime)
    md5s = kit.takes(files)
    kit.settle()
    assert kit.tally() == {"confirmed": 3, "held": 1, "held broken": 1}
    cut = kit.picture(md5s[1])
    (upload_set,) = kit.sets()
    assert len(kit.document(f"/api/upload_sets/{upload_set}/files")["files"]) == 3
    assert kit.parts.sorting.release([cut]) == 1
    kit.settle()
    (row,) = kit.rows([cut.md5])
    assert (row["state"], row["reason"], row["repairs"]) == ("refused", "not_processed", 1)
