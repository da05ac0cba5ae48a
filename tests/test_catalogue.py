"""catalogue: one SQLite file that says of every picture where it is and why."""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlite_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from ailasd.catalogue import Catalogue
from ailasd.catalogue.cards import NewCopy
from ailasd.errors import CatalogueError, Damaged, IllegalMove
from ailasd.lifecycle import MAY_BECOME
from ailasd.model import Card, CardFile, Kind, Photo, Picture, State, Verdict

CARD = Card("card-1", "HERO13 (3456)", "C3531325123456", "HERO13 Black")


@dataclass
class Clock:
    """A clock that stands still until it is told."""

    at: datetime = datetime(2026, 11, 21, 8, tzinfo=UTC)
    believed: bool = True

    def now(self) -> datetime:
        return self.at

    def trusted(self) -> bool:
        return self.believed

    def monotonic(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Nothing in here is about the disk, and a thousand commits to one take a minute."""


@pytest.fixture
def catalogue(clock: Clock):
    with TemporaryDirectory(dir=MEMORY) as folder, Catalogue(Path(folder, "catalogue.db"), clock) as opened:
        yield opened


def a_copy(number: int = 1, **changes) -> NewCopy:
    md5 = f"{number:032x}"
    plain = NewCopy(
        md5, 1000 + number, True, f"pictures/{md5}.jpg", f"v1-{md5[:8]}", f"G001{number % 10_000:04}.JPG", "001",
        number, "2026-11-21T07:00:00.000Z", Photo(Verdict.USABLE, serial="C3531325123456"),
    )  # fmt: skip
    return replace(plain, **changes)


def a_file(number: int = 1) -> CardFile:
    return CardFile(f"DCIM/100GOPRO/G001{number:04}.JPG", 1000 + number, 1_000_000_000, Kind.PICTURE)


def put(catalogue: Catalogue, number: int = 1, state: State = State.COPIED) -> int:
    """A picture in the catalogue, walked to ``state`` by allowed moves."""
    card = catalogue.cards.seen(CARD)
    visit = catalogue.cards.begin_visit(card)
    picture, _ = catalogue.cards.copied(card, visit, a_file(number), a_copy(number))
    way = {
        State.COPIED: [], State.HELD: [State.HELD], State.QUEUED: [State.QUEUED],
        State.SENT: [State.QUEUED, State.SENT],
        State.REFUSED: [State.QUEUED, State.REFUSED], State.CONFIRMED: [State.QUEUED, State.SENT, State.CONFIRMED],
        State.CLEANED: [State.QUEUED, State.SENT, State.CONFIRMED, State.CLEANED],
    }[state]  # fmt: skip
    for step in way:
        row = the(catalogue, picture)
        catalogue.pictures.move(row, step, upload_set="set-1" if step is State.SENT else row.upload_set)
    return picture


def the(catalogue: Catalogue, picture: int | None = None) -> Picture:
    """The picture with that id, or the one that is next to be sent."""
    found = catalogue.pictures.next_to_send() if picture is None else catalogue.pictures.get(picture)
    assert found is not None
    return found


def snapshot(catalogue: Catalogue) -> list[Any]:
    with sqlite3.connect(catalogue.path) as db:
        return [tuple(row) for table in ("picture", "event", "tally") for row in db.execute(f"SELECT * FROM {table}")]


# -- moving ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("was", State)
@pytest.mark.parametrize("becomes", State)
def test_a_move_is_in_the_table_or_changes_nothing(catalogue: Catalogue, was: State, becomes: State):
    """An illegal move raises and changes nothing; a legal one changes the state and writes one event."""
    picture = the(catalogue, put(catalogue, state=was))
    before = snapshot(catalogue)
    if becomes in MAY_BECOME[was]:
        catalogue.pictures.move(picture, becomes, reason="because", why="a sentence")
        assert catalogue.pictures.whole_row(picture.id)["state"] == becomes
        last = catalogue.telling.timeline(picture=picture.id)[-1]
        assert (last["was"], last["name"], last["detail"]["why"]) == (was, f"picture_{becomes}", "a sentence")
    else:
        with pytest.raises(IllegalMove):
            catalogue.pictures.move(picture, becomes)
        assert snapshot(catalogue) == before


def test_two_movers_one_wins(catalogue: Catalogue):
    """A move from a state that the row has left meanwhile raises and changes nothing (compare and swap)."""
    picture = the(catalogue, put(catalogue, state=State.QUEUED))
    catalogue.pictures.move(picture, State.HELD, reason="by_hand")
    before = snapshot(catalogue)
    with pytest.raises(IllegalMove, match="no longer queued"):
        catalogue.pictures.move(picture, State.SENT)
    assert snapshot(catalogue) == before


def test_the_database_itself_refuses_an_unknown_state(catalogue: Catalogue):
    """A state that is not in the list cannot be written, whoever writes."""
    put(catalogue)
    with sqlite3.connect(catalogue.path) as db, pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        db.execute("UPDATE picture SET state = 'found'")


def test_a_picture_is_never_forgotten(catalogue: Catalogue):
    """Rows of pictures cannot be deleted, whoever tries."""
    put(catalogue)
    with sqlite3.connect(catalogue.path) as db, pytest.raises(sqlite3.IntegrityError, match="never forgotten"):
        db.execute("DELETE FROM picture")


def test_a_move_starts_a_new_chapter(catalogue: Catalogue, clock: Clock):
    """Attempts and waiting end with the state they belong to; the time and its trust are those of the move."""
    picture = the(catalogue, put(catalogue, state=State.QUEUED))
    catalogue.pictures.asking(picture)
    catalogue.pictures.failed(picture, "no answer", wait_s=60, server_fault=True)
    clock.at, clock.believed = clock.at + timedelta(hours=1), False
    catalogue.pictures.move(picture, State.SENT, upload_set="set-1")
    row = catalogue.pictures.whole_row(picture.id)
    assert [row[name] for name in ("asked", "attempts", "faults", "next_attempt_at", "last_error")] == [
        0,
        0,
        0,
        None,
        None,
    ]
    assert (row["since"], row["clock_trusted"]) == ("2026-11-21T09:00:00.000Z", 0)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from(State), st.sampled_from([None, "parked", "broken"])), max_size=25
    )
)
def test_the_tally_is_always_the_count(moves):
    """Whatever moves are tried, tally = the pictures and bytes counted by state and reason (law 11)."""
    with TemporaryDirectory(dir=MEMORY) as folder, Catalogue(Path(folder, "c.db"), Clock()) as catalogue:
        ids = {number: put(catalogue, number) for number in range(1, 6)}
        for number, becomes, reason in moves:
            picture = the(catalogue, ids[number])
            if becomes in MAY_BECOME[picture.state]:
                catalogue.pictures.move(picture, becomes, reason=reason)
        with sqlite3.connect(catalogue.path) as db:
            counted = set(
                db.execute("SELECT state, coalesce(reason, ''), count(*), sum(size) FROM picture GROUP BY 1, 2")
            )
        assert {tuple(row.values()) for row in catalogue.telling.tally()} == counted


# -- what is next ------------------------------------------------------------------------------------------------------
def test_fresh_pictures_by_rank_and_waiting_ones_when_due(catalogue: Catalogue, clock: Clock):
    """Lowest rank first; a picture that failed comes again when its waiting is over, before fresh ones."""
    first, second = put(catalogue, 1, State.QUEUED), put(catalogue, 2, State.QUEUED)
    with sqlite3.connect(catalogue.path) as db:
        db.execute("UPDATE picture SET rank = -id")
    assert the(catalogue).id == second
    catalogue.pictures.failed(the(catalogue, second), "no answer", wait_s=60)
    assert the(catalogue).id == first
    assert catalogue.pictures.next_to_send({first}) is None
    assert catalogue.pictures.seconds_to_next() == 60
    clock.at += timedelta(seconds=61)
    assert the(catalogue).id == second


def test_a_clock_that_was_years_ahead_puts_no_picture_to_sleep(catalogue: Catalogue, clock: Clock):
    """A waiting time written by a clock that was years ahead counts as over."""
    picture = put(catalogue, state=State.QUEUED)
    clock.at += timedelta(days=3650)
    catalogue.pictures.failed(the(catalogue, picture), "no answer", wait_s=3600)
    clock.at -= timedelta(days=3650)
    assert the(catalogue).id == picture


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM picture WHERE state = 'queued' AND next_attempt_at IS NULL ORDER BY rank, id LIMIT 1",
        "SELECT id FROM picture WHERE state = 'queued' AND next_attempt_at <= 5 ORDER BY next_attempt_at LIMIT 1",
        "SELECT id FROM picture WHERE state = 'confirmed' ORDER BY since LIMIT 1",
        "SELECT DISTINCT camera FROM picture WHERE state = 'copied'",
        "SELECT id FROM picture WHERE upload_set = 'x' AND state = 'sent'",
        "SELECT id FROM picture WHERE reason = 'copy_lost' AND state = 'held'",
    ],
)
def test_what_a_step_asks_for_is_found_by_index(catalogue: Catalogue, sql: str):
    """The questions that steps ask all day read an index in its order: no scan of the table, no sorting."""
    with sqlite3.connect(catalogue.path) as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert all("INDEX" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


# -- cards -------------------------------------------------------------------------------------------------------------
def test_the_same_content_twice_is_one_picture(catalogue: Catalogue):
    """A second file with the same bytes adds a place where it was seen, not a picture."""
    card = catalogue.cards.seen(CARD)
    visit = catalogue.cards.begin_visit(card)
    one = catalogue.cards.copied(card, visit, a_file(1), a_copy(1))
    two = catalogue.cards.copied(card, visit, a_file(2), a_copy(1))
    assert (one, two) == ((1, True), (1, False))
    assert len(catalogue.telling.where_seen(1)) == 2


def test_two_pictures_with_one_md5_are_never_taken_for_one(catalogue: Catalogue):
    """Content with a known md5 but another size is refused as damaged, and what is known stays as it is."""
    put(catalogue)
    before = snapshot(catalogue)
    card = catalogue.cards.seen(CARD)
    with pytest.raises(Damaged, match="another picture"):
        catalogue.cards.copied(card, 1, a_file(2), a_copy(1, size=77))
    assert snapshot(catalogue) == before


def test_a_lost_copy_is_taken_back_from_the_card(catalogue: Catalogue):
    """A picture whose copy was lost is asked for again, and another copy makes it a copied one."""
    picture = put(catalogue, state=State.QUEUED)
    catalogue.pictures.move(the(catalogue, picture), State.HELD, reason="copy_lost")
    card = catalogue.cards.seen(CARD)
    assert catalogue.cards.needing_another_copy(card) == {("DCIM/100GOPRO/G0010001.JPG", 1001, 1_000_000_000)}
    assert not catalogue.cards.is_ours(f"{1:032x}")
    again = a_copy(1, copy="pictures/new.jpg")
    assert catalogue.cards.copied(card, catalogue.cards.begin_visit(card), a_file(1), again) == (picture, True)
    row = catalogue.pictures.whole_row(picture)
    assert (row["state"], row["copy"]) == ("copied", "pictures/new.jpg")


def test_counts_that_do_not_add_up_are_a_bug(catalogue: Catalogue):
    """Law 11: a visit whose counts do not add up is not written."""
    visit = catalogue.cards.begin_visit(catalogue.cards.seen(CARD))
    counts = {"on_card": 5, "copied": 2, "known": 1, "bytes_copied": 0, "bytes_known": 0}
    with pytest.raises(AssertionError, match="do not add up"):
        catalogue.cards.end_visit(visit, outcome="whole", counts=counts, left={"video": 1})
    catalogue.cards.end_visit(visit, outcome="whole", counts=counts, left={"video": 2})


def test_a_file_that_cleaning_took_is_known_as_such(catalogue: Catalogue):
    """What cleaning deleted, or was about to, is told apart from what vanished."""
    put(catalogue, state=State.CONFIRMED)
    card = catalogue.cards.seen(CARD)
    (key, row), *_ = catalogue.cards.clearable(card, [State.CONFIRMED]).items()
    assert catalogue.cards.cleared_files(card) == set()
    catalogue.cards.clearing(row["id"])
    assert catalogue.cards.cleared_files(card) == {key}


# -- the file ----------------------------------------------------------------------------------------------------------
# -- which card it is --------------------------------------------------------------------------------------------------
class Media:
    """Cards that all claim the same identity, and what was read from each."""

    def __init__(self, catalogue: Catalogue, *, by_content: bool = True) -> None:
        self.cards = catalogue.cards
        self.card = replace(CARD, by_content=by_content)

    def read(self, *numbers: int) -> int:
        """A visit to one with these files; returns which card it is."""
        card = self.cards.which(self.card, lambda: [a_file(number) for number in numbers])
        visit = self.cards.begin_visit(card)
        for number in numbers:
            self.cards.copied(card, visit, a_file(number), a_copy(number))
        return card


def test_two_cards_with_one_uuid_are_told_apart(catalogue: Catalogue):
    """However they alternate, each is known by any one picture that was on it before."""
    media = Media(catalogue)
    first, second = media.read(1, 2), media.read(3, 4)
    assert first != second
    assert [media.read(2, 5), media.read(4), media.read(5, 6), media.read(6)] == [first, second, first, first]
    assert media.read(7, 8) not in {first, second}


def test_a_card_formatted_anew_is_another_one(catalogue: Catalogue):
    """All its pictures are others than before: nothing is missed from it, and the old one keeps its history."""
    media = Media(catalogue)
    before, after = media.read(1), media.read(2)
    assert before != after
    assert catalogue.cards.known_files(before) == {a_file(1)[:3]}


def test_a_card_without_pictures_is_the_last_of_its_name(catalogue: Catalogue):
    """An empty card says nothing; and one that was empty is the same when it has pictures."""
    media = Media(catalogue)
    empty = media.read()
    full = media.read(1)
    assert empty == full
    assert media.read() == full


def test_a_card_that_we_cleared_is_the_same_when_it_is_full_again(catalogue: Catalogue):
    """Nothing is expected on a card from which cleaning took everything: new pictures do not make it another."""
    media = Media(catalogue)
    card = media.read(1)
    catalogue.cards.not_missed(card, [a_file(1)[:3]])
    assert media.read(2) == card


def test_a_folder_is_what_its_place_is(catalogue: Catalogue):
    """Only media are told apart by their pictures: a folder that was emptied and filled stays one."""
    media = Media(catalogue, by_content=False)
    assert media.read(1) == media.read(2)


# -- threads -----------------------------------------------------------------------------------------------------------
def test_every_thread_writes_through_its_own_connection(catalogue: Catalogue):
    """Eight threads that each add pictures at once lose none and mix none up."""
    threads = [threading.Thread(target=lambda n=n: [put(catalogue, n * 100 + i) for i in range(10)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (row,) = catalogue.telling.tally()
    assert (row["state"], row["pictures"]) == ("copied", 80)


def test_threads_that_ended_leave_no_open_file(catalogue: Catalogue):
    """Connections of ended threads are closed: a daemon that runs for months does not run out of files."""

    def open_files() -> int:
        links = [one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
        return sum("catalogue.db" in link.name for link in links)

    def work(number: int) -> None:
        thread = threading.Thread(target=put, args=(catalogue, number))
        thread.start()
        thread.join()

    work(1)
    before = open_files()
    for number in range(2, 22):
        work(number)
    assert open_files() < before + 5  # SQLite closes some a little later, while others hold locks


def test_closing_spares_a_thread_that_is_at_work(clock: Clock):
    """Closing while another thread writes neither crashes nor loses what it writes."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        catalogue = Catalogue(Path(folder, "c.db"), clock)
        began = threading.Event()

        def work() -> None:
            for number in range(40):
                put(catalogue, number)
                began.set()

        thread = threading.Thread(target=work)
        thread.start()
        began.wait()
        while thread.is_alive():
            catalogue.close()
        thread.join()
        (row,) = catalogue.telling.tally()
        assert row["pictures"] == 40
        catalogue.close()


def test_a_transaction_is_all_or_nothing(catalogue: Catalogue):
    """What raises inside ``writing`` leaves no trace, nested calls included."""
    before = snapshot(catalogue)

    def half_done():
        with catalogue.writing():
            put(catalogue)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    assert snapshot(catalogue) == before


def test_durable_settings(catalogue: Catalogue):
    """The catalogue runs with a write-ahead log, full synchronisation and foreign keys."""
    with catalogue.writing() as db:
        values = [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert values == ["wal", 2, 1]


def test_a_newer_schema_is_refused(tmp_path: Path, clock: Clock):
    """A catalogue of a newer ailasd is not touched; the error names the way out."""
    path = tmp_path / "c.db"
    Catalogue(path, clock).close()
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('ailasd', 'm9999_future', '')"
        )
    with pytest.raises(CatalogueError, match=r"newer ailasd.*m9999_future"):
        Catalogue(path, clock)


def test_a_damaged_file_is_named(tmp_path: Path, clock: Clock):
    """A file that is no database gives one sentence with its path and the way out, and stays as it is."""
    path = tmp_path / "c.db"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(CatalogueError, match=r"c\.db cannot be used"):
        Catalogue(path, clock)
    assert path.read_bytes() == b"this is not a database at all" * 100


def test_the_views_read_well_with_everybody_s_tools(catalogue: Catalogue):
    """The four views open with plain sqlite-utils and name pictures, drives and cards in words."""
    put(catalogue, state=State.HELD)
    views = sqlite_utils.Database(catalogue.path)
    assert set(views.view_names()) == {"pictures", "drives", "cards", "history"}
    (picture,) = views["pictures"].rows
    assert (picture["name"], picture["state"]) == ("G0010001.JPG", "held")
    (card,) = views["cards"].rows
    assert card["label"] == "HERO13 (3456)"
    assert [row["what"] for row in views["history"].rows] == ["picture_copied", "picture_held"]


def test_find_knows_what_people_type(catalogue: Catalogue):
    """A picture is found by file name, by a path that ends in it, by md5 and by the beginning of one."""
    picture = put(catalogue, 7)
    md5 = f"{7:032x}"
    for words in ("G0010007.JPG", "/media/x/DCIM/100GOPRO/G0010007.JPG", md5, md5.upper(), f"pictures/{md5}.jpg"):
        assert [one.id for one in catalogue.pictures.find(words)] == [picture], words
    assert [one.id for one in catalogue.pictures.find(md5[:12])] == [picture]
    assert catalogue.pictures.find("nonsense") == []
