"""The one honest summary, the trip's sums, and how they are said."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from kit import START, Kit, drive, kits

from ailasd import wording
from ailasd.errors import NotLoggedIn
from ailasd.language import LANGUAGES, translations
from ailasd.manners import Goodput, Leave, Why
from ailasd.needs import REPORTS
from ailasd.status import SendingStatus, as_json, summary
from ailasd.trip import trip
from ailasd.waiting import Waiting, why_waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., Kit]

HERE = ZoneInfo("Indian/Antananarivo")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes kits; see ``kits``."""
    with kits(tmp_path) as made:
        yield made


def card_of_everything(kit: Kit) -> None:
    """Besides its pictures: a video, an empty file, and the first picture once more under another name."""
    folder = kit.card / "DCIM/100GOPRO"
    (folder / "GX010001.MP4").write_bytes(b"video")
    (folder / "G0010099.JPG").touch()
    (folder / "GOPR0100.JPG").write_bytes(kit.entries[0][1])


def parked(n: int) -> list[tuple[str, bytes, float]]:
    """A recording of a vehicle that stands still, the first picture without a position."""
    return drive(n, every_s=20, speed_kmh=0, no_fix=(0,))


# -- status -----------------------------------------------------------------------------------------------------------
def test_the_whole_life_adds_up(make: Make) -> None:
    """From an empty catalogue to confirmed pictures the counts add up, and the states are told with their bytes."""
    kit = make()
    assert summary(kit.parts.catalogue).adds_up
    card_of_everything(kit)
    for step in (kit.bring_in, kit.drain):
        step()
        status = summary(kit.parts.catalogue, kit="kit-07")
        assert status.adds_up, status.wrong
        assert (status.pictures, status.bytes) == (3, sum(len(data) for _, data, _ in kit.entries))
    assert [(count.state, count.pictures) for count in status.counts] == [("confirmed", 3)]
    assert status.needs == ()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE visit SET copied = copied - 1",
        "UPDATE tally SET pictures = pictures - 1 WHERE state = 'queued'",
    ],
)
def test_wrong_counts_are_said_loudly(make: Make, damage: str) -> None:
    """One picture that is missing from the counts of a card or of the states makes the status shout (law 11)."""
    kit = make()
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute(damage)
    status = summary(kit.parts.catalogue)
    assert not status.adds_up
    assert "DO NOT ADD UP" in wording.of_status(status, HERE)
    assert "DO NOT ADD UP" in wording.of_trip(trip(kit.parts.catalogue))


def test_may_i_clear_the_card(make: Make) -> None:
    """The answer is yes exactly when the server holds every picture of the card."""
    kit = make()
    kit.bring_in()
    (card,) = summary(kit.parts.catalogue).cards
    assert not card.may_clear
    assert "of 3 pictures 0 are confirmed by the server, 3 have only a copy here" in wording.may_i_clear(card)
    kit.drain()
    (card,) = summary(kit.parts.catalogue).cards
    assert card.may_clear
    assert wording.may_i_clear(card).startswith("Yes: the server holds all 3 pictures")


def test_not_clear_while_a_file_is_unread(make: Make) -> None:
    """A picture that could not be read is reason enough not to say yes."""
    kit = make()
    kit.drain()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE card_file SET picture = NULL, problem = 'bad sector' WHERE id = 1")
    (card,) = summary(kit.parts.catalogue).cards
    assert not card.may_clear
    assert "1 picture" not in wording.may_i_clear(card)
    assert "1 have no copy at all" in wording.may_i_clear(card)


def test_a_card_too_large_to_look_up_is_never_said_to_be_clear(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not every file was looked up, the answer is not yes, even if all that were looked up are confirmed."""
    kit = make()
    kit.drain()
    monkeypatch.setattr("ailasd.status.cards_of.__kwdefaults__", {"most_cards": 1, "most_files": 2})
    (card,) = summary(kit.parts.catalogue).cards
    assert (card.files, card.confirmed, card.may_clear) == (2, 2, False)


def test_what_needs_a_person(make: Make) -> None:
    """A login, refused pictures, stopped cleaning and a full disk are named, each with the command to type."""
    kit = make()
    kit.bring_in()
    parts = kit.parts
    for index, reason in enumerate(("excluded_area", "gave_up")):
        parts.catalogue.pictures.move(kit.picture(index), "refused", reason=reason, why="x")  # type: ignore[arg-type]
    parts.link.stopped(NotLoggedIn("the token was revoked"))
    parts.catalogue.telling.remember("cleaning_stopped", "files are gone")
    status = summary(parts.catalogue, free_bytes=10, reserve=11)
    commands = [command for need in status.needs for command in need.commands]
    assert commands == [
        "ailasd check-config --online",
        "ailasd retry --reason excluded_area", "ailasd hold --reason excluded_area",
        "ailasd retry --reason gave_up", "ailasd hold --reason gave_up",
        "ailasd release --cleaning",
    ]  # fmt: skip
    text = wording.of_status(status, HERE)
    for what in ("the token was revoked", "There is no room", "files are gone", *commands):
        assert what in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_needs_a_person_in_each_language(make: Make, language: str) -> None:
    """Other words, the same facts; `ailasd status` stays English, and so does what was noted of a cause."""
    kit = make()
    kit.bring_in()
    parts = kit.parts
    for index, reason in enumerate(("excluded_area", "gave_up")):
        parts.catalogue.pictures.move(kit.picture(index), "refused", reason=reason, why="x")  # type: ignore[arg-type]
    parts.catalogue.pictures.move(kit.picture(2), "held", reason="copy_lost", why="x")  # type: ignore[arg-type]
    parts.link.stopped(NotLoggedIn("the token was revoked"))
    parts.catalogue.telling.remember("cleaning_stopped", "files are gone")
    with parts.catalogue.writing() as db:
        db.conn.execute("UPDATE card SET cleaning_stopped = 'some are missing'")
    one = {"id": "1", "issue": "privacy", "hides": True, "what": "G0010001.JPG", "drive": 7, "md5": "0" * 32}
    other = {**one, "issue": "other", "what": "kit 2026-11-20", "md5": None}
    parts.catalogue.telling.remember(REPORTS, json.dumps([one, one, other]))
    needs = summary(parts.catalogue, free_bytes=10, reserve=11).needs
    assert len({need.word for need in needs}) == 6
    for need in needs:
        said = need.sentence.said(translations(language))
        assert (said == str(need.sentence)) is (language == "en")
        assert sorted(re.findall(r"[\d.]+\d|\d", said)) == sorted(re.findall(r"[\d.]+\d|\d", str(need.sentence)))
        assert need.detail not in said or not need.detail
    assert [need.what for need in needs if need.word in {"cleaning_stopped", "reported"}] == [
        "Nothing is deleted any more: files are gone",
        f"Nothing is deleted from {summary(parts.catalogue).cards[0].label}: some are missing",
        "Reported on the server (privacy): G0010001.JPG of drive 7, and 1 more, which hides it there",
        "Reported on the server (other): the sequence kit 2026-11-20 of drive 7, which hides it there",
    ]


def test_held_pictures_need_nobody(make: Make) -> None:
    """Pictures that were held for a good reason are told, but do not ask for a person."""
    kit = make(entries=parked(8))
    kit.drain()
    status = summary(kit.parts.catalogue)
    assert {count.reason for count in status.counts} == {"", "parked", "no_position"}
    assert status.needs == ()


def test_drives_tell_their_clock_and_links(make: Make) -> None:
    """The last drives come newest first, with what was found of their clock and where they can be seen."""
    kit = make(entries=drive(3, clock_error=timedelta(minutes=5)))
    kit.drain()
    (one,) = summary(kit.parts.catalogue).drives
    assert one.states == {"confirmed": 3}
    assert "5 min fast" in str(one.clock)
    assert one.web_links[0].startswith(kit.receiver.url)
    assert "5 min fast" in wording.of_status(summary(kit.parts.catalogue), HERE)


def test_oldest_waiting_and_next_retry(make: Make) -> None:
    """The oldest waiting picture is that of the oldest drive, and a failed one tells when it is tried again."""
    kit = make(entries=[*drive(2), *drive(2, start=START - timedelta(hours=9), seed=9, group=2, first=3)])
    kit.bring_in()
    assert str(summary(kit.parts.catalogue).oldest_waiting).startswith("2026-11-19T22:00")
    kit.parts.catalogue.pictures.failed(kit.picture(2), "x", wait_s=90)
    status = summary(kit.parts.catalogue)
    assert status.next_retry_s == 90
    assert str(status.oldest_waiting).startswith("2026-11-19T22:00")


def test_as_json(make: Make) -> None:
    """The JSON has the same values, ASCII only, and the two answers that scripts want."""
    kit = make()
    kit.drain()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE card SET label = ?", ("caf\u00e9\x1b[31m",))
    text = as_json(summary(kit.parts.catalogue, kit="kit-07"))
    assert text.isascii()
    said: dict[str, Any] = json.loads(text)
    assert said["adds_up"] is True
    assert said["cards"][0]["may_clear"] is True
    assert said["kit"] == "kit-07"


def test_hostile_names_are_harmless(make: Make) -> None:
    """A card's label with terminal escapes is printed without them."""
    kit = make()
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE card SET label = ?, cleaning_stopped = ?", ("evil\x1b[2J\nx", "y\x1b[2J"))
    for text in (wording.of_status(summary(kit.parts.catalogue), HERE), wording.of_trip(trip(kit.parts.catalogue))):
        assert "evil" in text
        assert "\x1b" not in text


def test_no_position_is_shown(make: Make) -> None:
    """Neither text nor JSON has a coordinate of the pictures."""
    kit = make(entries=drive(3, origin=(-18.987654, 47.512345)))
    kit.drain()
    status = summary(kit.parts.catalogue)
    for text in (wording.of_status(status, HERE), as_json(status), wording.of_trip(trip(kit.parts.catalogue))):
        assert "18.98" not in text
        assert "47.51" not in text


# -- trip -------------------------------------------------------------------------------------------------------------
def test_trip(make: Make) -> None:
    """On card = copied + known + left, copied = confirmed + held + refused, and each byte not sent has its reason."""
    kit = make(entries=parked(8))
    card_of_everything(kit)
    kit.drain()
    told = trip(kit.parts.catalogue)
    assert told.adds_up
    assert told.settled
    assert (told.on_card, told.copied, told.known) == (8 + 4, 8, 1)
    assert sum(told.left.values()) == 3  # video, empty file, version.txt
    assert told.pictures == told.confirmed + sum(told.held.values()) + sum(told.refused.values())
    assert told.held["no_position"] == 1
    assert told.held["parked"] > 0
    assert told.bytes_sent == sum(form["size"] for form in _sent_sizes(kit))
    assert told.bytes_sent + sum(told.not_sent.values()) == told.bytes_copied + len(kit.entries[0][1])
    (card,) = told.cards
    assert card.confirmed == told.confirmed
    assert "The counts add up." in wording.of_trip(told)


def _sent_sizes(kit: Kit) -> list[dict[str, int]]:
    by_md5 = {row["md5"]: row["size"] for row in kit.rows()}
    return [{"size": by_md5[one]} for one in kit.sent]


def test_trip_of_a_pass_that_was_cut_off(make: Make) -> None:
    """Pictures of a pass that was killed before it could count are told apart, not missed."""
    kit = make()
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE visit SET ended = NULL, outcome = NULL, on_card = 0, copied = 0, left_there = '{}'")
    told = trip(kit.parts.catalogue)
    assert told.adds_up
    assert "3 in a pass over the card that was cut off" in wording.of_trip(told)


# -- why it is not all there yet --------------------------------------------------------------------------------------
HOURS = Leave(Why.HOURS, "nothing is sent now until 19:00 (upload.rates)")
GONE = ("link_lost", "Could not ask: nobody answers there.")


@pytest.mark.parametrize(
    ("how", "word", "text"),
    [
        ({"queued": 0, "sends": False, "link": GONE}, "nothing", "Nothing waits to be sent"),
        ({"sends": False, "leave": HOURS}, "no_server", "Waiting because no server is configured (server.url)"),
        ({"daemon_runs": False, "link": GONE}, "no_daemon", "Waiting because the daemon does not run (`ailasd run`)"),
        (
            {"link": ("login_needed", "put a new one in."), "leave": HOURS},
            "login_needed",
            "Waiting because the server does not accept the token of this kit: put a new one in",
        ),
        (
            {"link": ("wrong_server", "it is public"), "due": False},
            "wrong_server",
            "Waiting because this server may not have our pictures: it is public",
        ),
        ({"link": GONE, "leave": HOURS}, "hours", "Waiting because nothing is sent now until 19:00 (upload.rates)"),
        ({"link": None}, "not_looked", "Waiting because the server was not looked for yet"),
        (
            {"link": GONE, "due": False},
            "link_lost",
            "Waiting because the server cannot be reached: Could not ask: nobody answers there",
        ),
        ({"link": ("tunnel_away", "wg0 is down")}, "tunnel_away", "Waiting because wg0 is down"),
        ({"due": False}, "retry", "Waiting because all that is left failed before, and is tried again later"),
        ({}, "sending", "Sending"),
        ({"by_hand": True}, "sending", "Sending, without limits because somebody said so"),
    ],
)
def test_there_is_always_one_reason(how: dict[str, Any], word: str, text: str) -> None:
    """Whatever comes together, one reason is told: the one that must pass first."""
    usual: dict[str, Any] = {"queued": 3, "sends": True, "daemon_runs": True, "leave": Leave(), "due": True}
    usual |= {"link": ("link_back", "")}
    assert why_waiting(**usual | how) == Waiting(word, text)


@pytest.mark.parametrize(
    ("takes_s", "estimate", "words"),
    [
        (None, "unknown", "how long it will take is not known yet"),
        (None, "never", "never, with the hours in upload.rates"),
        (None, "beyond", "more than three months, with this link and these limits"),
        (300, "known", "some minutes while the server is there, at 150 kB/s and within our limits"),
        (3500, "known", "less than an hour while"),
        (3700, "known", "about 1 hour while"),
        (11 * 3600, "known", "about 11 hours while"),
        (5.2 * 86400, "known", "about 5 days while"),
    ],
)
def test_how_long_is_said_in_hours_or_days(takes_s: float | None, estimate: str, words: str) -> None:
    """As exactly as anybody can know it, and never a guess."""
    sending = SendingStatus(1, 0, 0, None, None, None, 150_000, takes_s, estimate, 0)
    assert wording.time_in_words(sending).startswith(words)


def test_a_status_with_budgets(make: Make) -> None:
    """What waits, how long it takes, what is left of the budgets: for people, and the same numbers for scripts."""
    kit = make(upload={"metered": True, "rates": {"07:00-19:00": "200kB/s"}, "per_month": "2GB"})
    kit.bring_in()
    kit.parts.catalogue.telling.remember("link", json.dumps({"state": "link_back", "why": "", "at": "2026-11-21"}))
    kit.parts.catalogue.traffic.count(date(2026, 11, 20), sent=500_000_000)
    kit.parts.catalogue.traffic.measured(Goodput(1_000_000, 900.0))
    status = summary(kit.parts.catalogue, manners=kit.parts.config.manners)
    text = wording.of_status(status, HERE)
    assert "  The server is there (2026-11-21 03:00).\n  Sending.\n  At this hour not more than 200 kB/s.\n" in text
    assert "to send: some minutes while the server is there, at 1.0 MB/s and within our limits." in text
    assert "Sent today 0 bytes, this month 500 MB of 2.0 GB (1.5 GB left)." in text
    told = json.loads(as_json(status))
    assert told["waiting"] == {"word": "sending", "text": "Sending"}
    assert told["sending"] == {
        "left_bytes": status.bytes, "sent_today": 0, "sent_this_month": 500_000_000, "per_day": None,
        "per_month": 2_000_000_000, "limit": 200_000, "measured": 1_000_000,
        "takes_s": round(status.bytes / 200_000), "estimate": "known", "by_hand_s": 0,
    }  # fmt: skip


# -- size -------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_status_is_there_at_once(make: Make) -> None:
    """With 200 000 pictures on two cards and in drives of 5 000 nearly all of them are only counted, from an index."""
    kit, thousands = make(), [0]

    def count() -> None:
        thousands[0] += 1

    with kit.parts.catalogue.writing() as db:
        for statement in FILL.strip().split(";\n"):
            db.conn.execute(statement)
        db.conn.set_progress_handler(count, 1000)  # of the instructions of SQLite's machine: the same on any computer
    status = summary(kit.parts.catalogue)
    assert status.pictures == 200_000
    assert thousands[0] < 1500  # 5.6 for each picture; a look at its row alone takes some ten


FILL = """
INSERT INTO card (identity, label, first_seen, last_seen) VALUES ('a', 'a', '2026', '2026'), ('b', 'b', '2026', '2027');
INSERT INTO visit (card, started) VALUES (1, '2026'), (2, '2026');
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 39)
INSERT INTO drive (camera, started) SELECT 'C', '2026' FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199999)
INSERT INTO picture (md5, size, state, reason, since, clock_trusted, trace, proven, name, verdict, camera, file_time,
                     drive, rank)
SELECT printf('%032x', i), 6000000, iif(i % 10 < 2, 'queued', iif(i % 10 < 8, 'confirmed', 'held')),
       iif(i % 10 > 7, 'parked', NULL), '2026', 1, 'v1', 1, printf('G%07d.JPG', i), 'usable', 'C', '2026',
       i / 5000 + 1, -i FROM n;
INSERT INTO card_file (card, path, size, mtime_ns, picture, seen)
SELECT 1 + id % 2, name, size, 0, id, 1 + id % 2 FROM picture;
"""
