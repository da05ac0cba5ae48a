"""ordering: which picture is sent before which; and that the queue keeps it, share and all."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import SetClock

from ailasd.catalogue import Catalogue
from ailasd.model import State
from ailasd.ordering import OLDEST_EVERY, Order, Preference, line_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.ordering import Place

Drives: TypeAlias = "list[tuple[int, datetime | None, Preference, int]]"
TANA = ZoneInfo("Indian/Antananarivo")
NEWEST = Order(10, newest_first=True, zone=TANA)
NOON = datetime(2026, 11, 20, 9, tzinfo=UTC)


def in_order(*drives: dict[int, Place]) -> list[int]:
    ranks = {picture: place.rank for drive in drives for picture, place in drive.items()}
    assert len(set(ranks.values())) == len(ranks)
    return sorted(ranks, key=ranks.__getitem__)


def lined(
    first: int, n: int, began: datetime | None, preference: Preference, order: Order = NEWEST
) -> dict[int, Place]:
    return line_up([(first + i, "set") for i in range(n)], began, preference, order)


def test_every_tenth_first():
    """Of a drive the 1st, 11th, 21st go first, then the others in the order in which they were taken."""
    order = in_order(lined(0, 25, NOON, Preference.NORMAL))
    assert order == [0, 10, 20, *(i for i in range(25) if i % 10)]


def test_the_first_of_each_set_is_thin():
    """However a drive is cut into sets, each set's first picture goes in the first pass: its address depends on it."""
    places = line_up([(i, i // 13) for i in range(39)], NOON, Preference.NORMAL, NEWEST)
    assert [i for i, place in places.items() if not place.fill] == [0, 10, 13, 23, 26, 36]


@pytest.mark.parametrize(("thin", "n"), [(1, 50), (10, 10), (1000, 999)])
def test_one_pass(thin: int, n: int):
    """With ``thin = 1``, and for a set of no more than that, there is one pass."""
    places = lined(0, n, NOON, Preference.NORMAL, Order(thin, newest_first=True, zone=TANA))
    assert not any(place.fill for place in places.values())


def test_the_whole_day_before_its_fill():
    """The thin passes of all drives of a day, the newest first, go before any fill; the day before comes after both."""
    today = lined(0, 11, NOON, Preference.NORMAL), lined(100, 11, NOON + timedelta(hours=5), Preference.NORMAL)
    before = lined(200, 11, NOON - timedelta(days=1), Preference.NORMAL)
    order = in_order(*today, before)
    assert order[:4] == [100, 110, 0, 10]
    assert order[4:22] == [*range(101, 110), *range(1, 10)]
    assert order[22:24] == [200, 210]


def test_a_day_is_that_of_the_place():
    """23:30 and 00:30 UTC are the same night's drive in Madagascar, three hours ahead."""
    late = lined(0, 11, NOON.replace(hour=23, minute=30), Preference.NORMAL)
    later = lined(100, 11, NOON.replace(hour=23, minute=30) + timedelta(hours=1), Preference.NORMAL)
    assert in_order(late, later)[:4] == [100, 110, 0, 10]


def test_oldest_first():
    """Configured so, days and drives go from the oldest; one without any date is older than all."""
    order = Order(10, newest_first=False, zone=TANA)
    drives = [NOON, NOON - timedelta(days=3), None, NOON + timedelta(minutes=5)]
    places = [lined(100 * i, 3, began, Preference.NORMAL, order) for i, began in enumerate(drives)]
    assert [one // 100 for one in in_order(*places)] == [2] * 3 + [1] * 3 + [0] * 3 + [3] * 3


@given(
    st.lists(
        st.tuples(
            st.integers(1, 60),
            st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
            st.sampled_from(Preference),
            st.integers(1, 40),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 20),
    st.booleans(),
)
def test_preference_then_day_then_pass(drives: Drives, thin: int, newest_first: bool):
    """Whatever the drives: preference counts before the day, the day before the pass, and nothing goes backwards."""
    order = Order(thin, newest_first=newest_first, zone=TANA)
    keys, ranks = {}, {}
    for number, (n, began, preference, per_set) in enumerate(drives):
        day = began.astimezone(TANA).toordinal() if began else 0
        for i, place in line_up([(i, i // per_set) for i in range(n)], began, preference, order).items():
            ranks[number, i] = place.rank
            keys[number, i] = (preference, -day if newest_first else day, place.fill)
            assert 0 <= place.rank < 2**62
    sent = sorted(keys, key=lambda one: (ranks[one], one))
    for one, other in pairwise(sent):
        assert keys[one] <= keys[other]
    for number, (n, *_) in enumerate(drives):
        for fill in (False, True):
            of_it = [i for which, i in sent if which == number and keys[which, i][2] == fill]
            assert of_it == sorted(of_it)
        assert sorted(i for which, i in sent if which == number) == list(range(n))


# -- the queue itself --------------------------------------------------------------------------------------------------
class Queue:
    """Drives of queued pictures in a catalogue, picked as uploading picks them."""

    def __init__(self, folder: Path) -> None:
        self.catalogue = Catalogue(folder / "catalogue.db", SetClock())
        self.turn = 0
        self.sent: list[tuple[int, int]] = []

    def add(self, n: int, began: datetime, preference: Preference = Preference.NORMAL) -> int:
        drives = self.catalogue.drives
        with self.catalogue.writing() as db:
            drive = drives.add("camera", None)
            drives.describe(drive, began, began, None)
            drives.prefer(drive, preference)
            of_it = drives.add_sequence(drive, uid=f"u{drive}", title="t", first=0)
            ids = [
                db.conn.execute(
                    """INSERT INTO picture (md5, size, state, since, clock_trusted, trace, proven, name, verdict,
                       camera, file_time, drive, sequence)
                       VALUES (?, 1, 'queued', '', 1, '', 1, '', 'usable', '', '', ?, ?)""",
                    (f"{drive} {i}", drive, of_it),
                ).lastrowid
                for i in range(n)
            ]
            drives.line_up(line_up([(one, of_it) for one in ids], began, preference, NEWEST))  # type: ignore[misc]
        return drive

    def send(self, n: int, busy: tuple[int, ...] = ()) -> int:
        """Returns how many there were to send."""
        for done in range(n):
            self.turn += 1
            picture = self.catalogue.pictures.next_to_send(busy, oldest=self.turn % OLDEST_EVERY == 0)
            if picture is None:
                return done
            self.catalogue.pictures.move(picture, State.SENT)
            self.sent.append((picture.drive or 0, picture.id))
        return n


@pytest.fixture
def queue() -> Iterator[Queue]:
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        made = Queue(Path(folder))
        yield made
        made.catalogue.close()


def test_nothing_starves(queue: Queue):
    """Though each day brings more than the link takes, one that was to go last is through; the newest gets 9 of 10."""
    last = queue.add(30, NOON - timedelta(days=400), Preference.LAST)
    old = queue.add(30, NOON - timedelta(days=30))
    for day in range(40):
        newest = queue.add(60, NOON + timedelta(days=day))
        queue.sent.clear()
        assert queue.send(20) == 20
        assert Counter(drive for drive, _ in queue.sent)[newest] == 18
    left = {picture.drive for picture in queue.catalogue.pictures.in_state(State.QUEUED)}
    assert not left & {last, old}


def test_a_persons_word(queue: Queue):
    """What is to go first goes before last night's; the share of the oldest stays."""
    oldest, chosen, _ = (queue.add(20, NOON - timedelta(days=days)) for days in (9, 5, 0))
    drives = queue.catalogue.drives
    drives.prefer(chosen, Preference.FIRST)
    began, preference = drives.about(chosen) or (None, Preference.NORMAL)
    drives.line_up(line_up(drives.in_line(chosen), began, preference, NEWEST))
    queue.send(20)
    assert Counter(drive for drive, _ in queue.sent) == {chosen: 18, oldest: 2}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.integers(-40, 0), st.sampled_from(Preference), st.integers(0, 40)), max_size=8
    )
)
def test_each_once(arrivals: list[tuple[int, int, Preference, int]]):
    """Whatever arrives while it is sent: each picture is chosen exactly once, and each is chosen in the end."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        queue, pictures = Queue(Path(folder)), 0
        for n, day, preference, sent in arrivals:
            queue.add(n, NOON + timedelta(days=day), preference)
            pictures += n
            queue.send(sent)
        queue.send(pictures)
        ids = [picture for _, picture in queue.sent]
        assert sorted(ids) == list(range(1, pictures + 1))
        assert queue.send(1) == 0
        queue.catalogue.close()


def test_those_in_flight_are_left_out(queue: Queue):
    """A picture that is on its way is not chosen again, by its rank or by its drive's turn."""
    queue.add(3, NOON)
    pictures = queue.catalogue.pictures
    first = pictures.next_to_send()
    assert first is not None
    for oldest in (False, True):
        second = pictures.next_to_send([first.id], oldest=oldest)
        assert second is not None
        assert second.id == first.id + 1
    assert pictures.next_to_send([1, 2, 3], oldest=True) is None
