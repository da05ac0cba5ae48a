"""``ailasd demo``: the whole path, shown and checked."""

from __future__ import annotations

import csv
import io
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from as_on_a_kit import environment

from ailasd.catalogue import Catalogue
from ailasd.clock import SystemClock
from ailasd.config import load
from ailasd.demo import card as demo_card
from ailasd.demo.card import Fate, Sizes
from ailasd.demo.checking import faults, read_again
from ailasd.demo.pictures import drive, write_card
from ailasd.demo.receiver import Receiver
from ailasd.demo.run import demo
from ailasd.demo.screen import CLEAR, Screen
from ailasd.demo.summary import runs
from ailasd.errors import AilasdError, ConfigError, NeedsHuman, NotLoggedIn
from ailasd.sources.folder import FolderSource

SMALL = Sizes(no_fix=2, before_folder_is_full=3, after=6, parked=14, driving_on=3, wrong_clock=5, second_camera=2)
"""37 picture files; 14 at 5 s are a stop of 65 s, just longer than ``triage.parked_after``."""


def rows(home, sql):
    with sqlite3.connect(home / "state" / "catalogue.db") as db:
        db.row_factory = sqlite3.Row
        found = db.execute(sql).fetchall()
    db.close()
    return found


def by_path(home):
    """Path on the card -> the picture's row."""
    sql = "SELECT card_file.path, picture.* FROM card_file JOIN picture ON picture.id = card_file.picture"
    return {row["path"]: row for row in rows(home, sql)}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """One demo that was kept: its folder, exit code and text; and what must become of its files."""
    home = tmp_path_factory.mktemp("demo")
    threads = set(threading.enumerate())
    out = io.StringIO()
    code = demo(keep=home / "kept", out=out, sizes=SMALL, away_s=0.3)
    left = set(threading.enumerate()) - threads
    fates = demo_card.write(home / "again", SMALL, day=datetime.now(UTC) - timedelta(days=1))
    return SimpleNamespace(home=home / "kept", code=code, text=out.getvalue(), threads=left, fates=fates)


# -- the demo's own card ----------------------------------------------------------------------------------------------
def test_it_succeeds_and_every_file_meets_its_fate(shown):
    """Exit 0; each good picture is confirmed and no other, each held one is held, nothing else was copied."""
    assert shown.code == 0, shown.text
    states = {path: row["state"] for path, row in by_path(shown.home).items()}
    meant = {Fate.GOOD: "confirmed", Fate.HELD: "held"}
    assert states == {path: meant[fate] for path, fate in shown.fates.items() if fate is not Fate.LEFT}


def test_the_card_has_every_trouble_that_it_promises(shown):
    """Held for three reasons, left for six, one content twice, one clock an hour off, two cameras, two folders."""
    pictures = by_path(shown.home)
    reasons = Counter(row["reason"] for row in pictures.values() if row["state"] == "held")
    assert reasons == {"no_position": 2, "parked": 12, "broken": 1}
    assert len({row["md5"] for row in pictures.values()}) == len(pictures) - 1
    (visit,) = rows(shown.home, "SELECT * FROM visit")
    assert visit["left_there"] == '{"empty": 1, "hidden": 1, "other": 2, "raw": 1, "sidecar": 2, "video": 1}'
    corrected = {path for path, row in pictures.items() if row["capture_override"] and row["state"] == "confirmed"}
    assert corrected == {path for path in pictures if "/G0021" in path and shown.fates[path] is Fate.GOOD}
    assert len({row["camera"] for row in pictures.values()}) == 2
    assert {path.split("/")[1] for path in pictures} == {"100GOPRO", "101GOPRO", "102GOPRO"}
    (drives,) = rows(shown.home, "SELECT count(*) AS n FROM drive")
    assert drives["n"] == 3


def test_the_picture_from_the_website_is_proven_by_the_other_set(shown):
    """What somebody had uploaded before is confirmed by that set's listing, and the summary says so."""
    earlier = by_path(shown.home)[demo_card.EARLIER]
    (ours,) = rows(shown.home, f"SELECT upload_set FROM sequence WHERE id = {earlier['sequence']}")
    assert earlier["state"] == "confirmed"
    assert earlier["upload_set"] != ours["upload_set"]
    assert "1 picture of the confirmed: in an earlier upload" in shown.text


def test_the_viewer_sees_waiting_then_the_network_then_the_summary(shown):
    """In this order: the link is missed, the card is read, drives are judged, the network is back, all is summed up."""
    milestones = [
        "The network is away",
        "is read: of 45 files 36 copied, 1 known, 8 left",
        "held here, not sent: 12 (parked)",
        "-- The network is back.",
        "The server is there again",
        "45 files = 36 copied + 1 known + 8 left",
        "36 pictures = 21 confirmed + 15 held + 0 refused",
        "Could be cleared now, as the server holds them: 22 files",
        "each of its 21 good pictures is on the server exactly once",
    ]
    places = [shown.text.find(milestone) for milestone in milestones]
    assert -1 not in places, shown.text
    assert places == sorted(places)
    assert shown.text.find("The server cannot be reached") < places[3]


def test_each_file_that_could_be_cleared_is_named(shown):
    """The runs of names that the summary says hold exactly the card's files whose pictures are confirmed."""
    said = shown.text.partition("Could be cleared now")[2].partition("\n\n")[0]
    card = shown.home / "card"
    named = []
    for folder, text in re.findall(r"\d+ of \d+ files in (\S+):\n((?: {15}.*\n?)+)", said):
        there = sorted(path.name for path in (card / folder).iterdir())
        for run in " ".join(text.split()).split(", "):
            first, _, last = run.partition(" to ")
            named += [f"{folder}/{name}" for name in there if first <= name <= (last or first)]
    confirmed = {path for path, row in by_path(shown.home).items() if row["state"] == "confirmed"}
    assert sorted(named) == sorted(confirmed)
    assert len(named) == 22


def test_names_in_a_row_are_a_run():
    """Another file between two that could be cleared parts them; no name can do anything to a terminal."""
    assert list(runs({"c": True, "a": True, "b": True, "d": False, "e": True})) == ["a to c", "e"]
    assert list(runs({"a": False})) == []
    assert "\x1b" not in "".join(runs({"\x1b[2J": True}))


def test_nothing_alarming_is_said(shown):
    """No errors, no tracebacks, no library's complaints; warnings only of the link and of the clock."""
    warnings = [line for line in shown.text.splitlines() if "WARNING" in line]
    assert all("cannot be reached" in line or "clock 1 h fast" in line for line in warnings)
    assert "ERROR" not in shown.text
    assert "WRONG" not in shown.text


def test_what_is_kept_can_be_looked_at(shown):
    """The configuration that was used is there, loads, and names the card and the catalogue; the text tells how."""
    config = load(shown.home / "config.toml")
    assert config.sources.folders == (shown.home / "card",)
    assert (config.storage.folder / "catalogue.db").is_file()
    assert (shown.home / "token").stat().st_mode & 0o077 == 0
    assert f"datasette {shown.home}/state/catalogue.db" in shown.text
    assert f"ailasd --config {shown.home}/config.toml status" in shown.text


def test_no_thread_is_left(shown):
    """Behind it the daemon, the receiver and their threads are gone."""
    assert not [thread for thread in shown.threads if thread.is_alive()]


# -- the verdict ------------------------------------------------------------------------------------------------------
def test_the_verdict_sees_what_is_wrong(shown):
    """A picture that the server lacks, has twice or should not have, and a file nobody counted: each is a fault."""
    on_card = read_again(FolderSource(shown.home / "card"), lambda _done, _of: None)
    md5 = {path: row["md5"] for path, row in by_path(shown.home).items()}
    holds = {md5[path]: 1 for path in md5 if shown.fates[path] is Fate.GOOD}
    held = next(path for path in md5 if shown.fates[path] is Fate.HELD)
    good = "DCIM/102GOPRO/G0010001.JPG"
    with Catalogue(shown.home / "state" / "catalogue.db", SystemClock()) as catalogue:
        assert faults(catalogue, on_card, holds, shown.fates) == (21, [])
        assert faults(catalogue, on_card, holds, None) == (21, [])
        for wrong, name in (
            (holds | {md5[good]: 0}, good),
            (holds | {md5[good]: 2}, good),
            (holds | {md5[held]: 1}, held),
        ):
            for fates in (shown.fates, None):
                (fault,) = faults(catalogue, on_card, wrong, fates)[1]
                assert fault.startswith(name)
        on_card.pictures["DCIM/new.JPG"] = "0" * 32
        assert faults(catalogue, on_card, holds, shown.fates)[1] == [
            "DCIM/new.JPG is on the card, and the catalogue does not know it"
        ]
        more = faults(catalogue, type(on_card)(on_card.files + 1, {}), holds, shown.fates)[1]
        assert more == ["the files on the card are not all accounted for: 46 and 45"]


# -- cards and servers of others --------------------------------------------------------------------------------------
def drive_of(folder, pictures, **facts):
    start = datetime.now(UTC) - timedelta(days=1)
    write_card(folder, drive(start=start, n=pictures, speed_kmh=60, seed=secrets.randbelow(1 << 40), **facts))
    return folder


def snapshot(folder):
    return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_ones_own_card_is_only_read_and_no_folder_stays(tmp_path, monkeypatch):
    """With --card nothing on it changes, and without --keep nothing of the demo stays anywhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    card = drive_of(tmp_path / "card", 6)
    before = snapshot(card)
    out = io.StringIO()
    assert demo(card=card, out=out, away_s=0.3) == 0, out.getvalue()
    assert snapshot(card) == before
    assert not list((tmp_path / "tmp").iterdir())
    assert "6 pictures = 6 confirmed + 0 held + 0 refused" in out.getvalue()


def private(path: Path, text: str) -> None:
    """A file for our eyes alone, as a token's must be."""
    path.touch(0o600)
    path.write_text(text)


def test_a_server_that_does_not_answer_ends_it_in_time(tmp_path):
    """Without progress it gives up with 75 (temporary) and says what waits and why."""
    with Receiver() as gone:
        private(tmp_path / "token", gone.token())
    out = io.StringIO()
    began = time.monotonic()
    code = demo(
        card=drive_of(tmp_path / "card", 3), server=gone.url, token_file=tmp_path / "token", out=out, patience_s=1.5
    )
    assert (code, time.monotonic() - began < 15) == (75, True)
    assert "Still waiting: 3 queued" in out.getvalue()
    assert "The link: " in out.getvalue()


def test_a_token_that_is_not_accepted_ends_it_at_once(tmp_path):
    """What only a person can mend is not waited for."""
    with Receiver() as receiver:
        private(tmp_path / "token", token := receiver.token())
        receiver.revoke(token)
        with pytest.raises(NotLoggedIn):
            demo(
                card=drive_of(tmp_path / "card", 3), server=receiver.url, token_file=tmp_path / "token",
                out=io.StringIO(),
            )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"server": "http://127.0.0.1:1"}, ConfigError, "--token-file"),
        ({"token_file": "token"}, ConfigError, "--server"),
        ({"card": "card", "keep": "card/kept"}, ConfigError, "overlaps"),
        ({"card": "nowhere"}, NeedsHuman, "nowhere is not a folder"),
        ({"keep": "card"}, NeedsHuman, "is not empty"),
        ({"keep": "card/MISC/version.txt/x"}, NeedsHuman, "cannot be used"),
        ({"server": "http://127.0.0.1:1", "token_file": "nowhere", "keep": "kept"}, ConfigError, "nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(tmp_path, arguments, error, says):
    """A user's mistake is one of our errors in words, and nothing was written because of it."""
    drive_of(tmp_path / "card", 1)
    before = snapshot(tmp_path)
    given = {name: value if name == "server" else tmp_path / value for name, value in arguments.items()}
    with pytest.raises(error, match=says) as raised:
        demo(**given, out=io.StringIO())
    assert isinstance(raised.value, AilasdError)
    assert snapshot(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_interrupted_at_any_time(tmp_path, how):
    """Ctrl-C, or SIGTERM, while it works: exit 130 within seconds, no traceback, no folder, no process left."""
    with subprocess.Popen(
        [sys.executable, "-m", "ailasd", "demo"], env=environment(TMPDIR=str(tmp_path)), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
    ) as process:  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            if "Reading" in line:
                break
        time.sleep(0.1)  # into the middle of copying
        process.send_signal(how)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")
    assert not list(tmp_path.iterdir())


# -- the screen -------------------------------------------------------------------------------------------------------
class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_lines_go_above_the_live_line():
    """A line of the log replaces the live line, which is drawn again below it; a file gets no control codes."""
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        screen = Screen(out)
        screen.live("[##..] 2 of 4")
        screen.say("something happened")
    assert terminal.getvalue() == f"{CLEAR}[##..] 2 of 4{CLEAR}something happened\n[##..] 2 of 4"
    assert file.getvalue() == "something happened\n"


# -- a real Panoramax -------------------------------------------------------------------------------------------------
@pytest.fixture
def at_real(real, tmp_path):
    """Run a demo over a card to the real server, by an account of its own; returns the kept folder."""
    token = real.instance.token(f"demo-{secrets.token_hex(4)}")
    private(tmp_path / "token", token)

    def run(card):
        out = io.StringIO()
        code = demo(card=card, server=real.url, token_file=tmp_path / "token", keep=tmp_path / "kept", out=out)
        assert code == 0, out.getvalue()
        return tmp_path / "kept"

    return run


def listed(url, home):
    """How often each content is held, by the public listings of all sets that have our proof; asked without ailasd."""
    held: Counter[str] = Counter()
    for (upload_set,) in rows(home, "SELECT DISTINCT upload_set FROM picture WHERE upload_set IS NOT NULL"):
        for row in httpx.get(f"{url}/api/upload_sets/{upload_set}/files").raise_for_status().json()["files"]:
            held[row["content_md5"]] += "rejected" not in row or row["rejected"] is None
    return held


@pytest.mark.real
def test_a_drive_of_300_reaches_a_real_server_once(real, at_real, tmp_path):
    """300 pictures with a clock 5 min off: one sequence, each confirmed, each content listed exactly once."""
    home = at_real(drive_of(tmp_path / "card", 300, clock_error=timedelta(minutes=5)))
    pictures = by_path(home)
    assert Counter(row["state"] for row in pictures.values()) == {"confirmed": 300}
    assert len(rows(home, "SELECT DISTINCT upload_set FROM picture")) == 1
    assert listed(real.url, home) == dict.fromkeys((row["md5"] for row in pictures.values()), 1)


DATA = Path(__file__).parents[2] / "shared" / "data"

if (DATA / "manifest.tsv").is_file():  # real pictures, not ours to publish: collected only where they are

    def meant(row):
        """The verdict that the manifest's columns mean: the server's reader, then whether Pillow can decode it."""
        if row["reader"] == "OK":
            return "usable" if row["pillow"].startswith("OK") else "broken"
        if row["reader"].startswith("PartialExif"):
            return "no_position" if "No GPS" in row["reader"] else "no_date"
        return "broken"

    @pytest.mark.real
    def test_the_real_pictures_reach_a_real_server(real, at_real):
        """Each verdict is the manifest's; each content that should be on the server is listed there exactly once."""
        home = at_real(DATA)
        with (DATA / "manifest.tsv").open() as file:
            manifest = {row["file"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
        pictures = by_path(home)
        assert {path: row["verdict"] for path, row in pictures.items()} == {
            path: meant(manifest[path]) for path in pictures
        }
        there = {path for path in manifest if path.lower().endswith((".jpg", ".jpeg")) and int(manifest[path]["size"])}
        assert set(pictures) == there
        held = listed(real.url, home)
        for row in pictures.values():
            assert held[row["md5"]] == (1 if row["verdict"] == "usable" and row["state"] != "held" else 0), row["name"]
