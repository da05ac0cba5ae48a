"""When may something be sent, how fast, and how long will it take?"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ailasd.manners import (
    HORIZON,
    MEMORY_S,
    Goodput,
    Leave,
    Override,
    Rules,
    Situation,
    Why,
    Window,
    leave,
    time_to_send,
    windows,
)

HERE = ZoneInfo("Indian/Antananarivo")  # UTC+3, no summer time
NOON = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)  # 12:00 there, a Friday
PARIS = ZoneInfo("Europe/Paris")
ZONES = [ZoneInfo(name) for name in ("Europe/Paris", "Australia/Lord_Howe", "America/Havana", "Indian/Antananarivo")]
DAY = timedelta(days=1)
MB = 1_000_000


def rules(hours: dict[str, int | None] | None = None, **more: object) -> Rules:
    return Rules(**{"zone": HERE, "windows": windows(hours or {}), **more})  # type: ignore[arg-type]


# -- hours ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("hours", "minute", "inside"),
    [
        ("07:00-19:00", 7 * 60, True),
        ("07:00-19:00", 7 * 60 - 1, False),
        ("07:00-19:00", 19 * 60 - 1, True),
        ("07:00-19:00", 19 * 60, False),
        ("22:00-06:00", 23 * 60, True),
        ("22:00-06:00", 0, True),
        ("22:00-06:00", 6 * 60, False),
        ("22:00-24:00", 24 * 60 - 1, True),
        ("22:00-24:00", 0, False),
        ("22:00-00:00", 24 * 60 - 1, True),
        ("22:00-00:00", 0, False),
    ],
)
def test_hours(hours: str, minute: int, inside: bool) -> None:
    """Hours begin with their first minute and end before their last, over midnight too."""
    assert Window.of(hours, None).covers(minute) is inside
    assert str(Window.of(hours, None)) == hours


@pytest.mark.parametrize("hours", ["7-19", "07:00-25:00", "07:60-08:00", "07:00", "07:00-07:00", "24:00-07:00", ""])
def test_no_hours(hours: str) -> None:
    """What is no hours is said to be none."""
    with pytest.raises(ValueError, match=r"must (be hours such as|begin and end)"):
        Window.of(hours, None)


@pytest.mark.parametrize(
    ("one", "other"),
    [("07:00-19:00", "18:59-20:00"), ("22:00-06:00", "05:00-07:00"), ("00:00-24:00", "03:00-04:00"),
     ("22:00-06:00", "23:00-05:00"), ("23:00-05:00", "22:00-06:00")],
)  # fmt: skip
def test_overlapping_hours_are_both_named(one: str, other: str) -> None:
    """Of two that overlap nobody could say which one holds."""
    with pytest.raises(ValueError, match=rf'"{other}" overlaps "{one}"'):
        windows({one: 1000, other: None})


def test_hours_may_touch() -> None:
    """One may begin when another ends."""
    assert len(windows({"07:00-19:00": 1000, "19:00-24:00": None, "00:00-07:00": 5000})) == 3


minutes = st.integers(0, 24 * 60 - 1)


@given(st.sampled_from(ZONES), st.tuples(minutes, minutes), st.integers(0, 2 * 366 * 24 * 60))
def test_until_the_next_change_nothing_changes(zone: ZoneInfo, edges: tuple[int, int], after: int) -> None:
    """The same hours hold at each minute before the next change and others at it, also where clocks are set."""
    assume(edges[0] != edges[1])
    some = Rules(zone, (Window(*edges, rate=1000),))
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=after)
    change = some.next_change(now)
    assert change is not None
    assert now < change <= now + 2 * DAY
    holds = some.window(now)
    assert some.window(change) != holds
    minute = now
    while (minute := minute + timedelta(minutes=1)) < change:
        assert some.window(minute) == holds, minute


def test_an_hour_that_there_is_not() -> None:
    """Hours that would begin in the hour that summer time skips begin at its end; those it repeats hold twice."""
    night = Rules(PARIS, windows({"02:30-04:00": 1000}))
    assert night.next_change(datetime(2027, 3, 28, 0, 30, tzinfo=UTC)) == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)
    repeated = Rules(PARIS, windows({"02:15-02:45": None}))
    moment, changes = datetime(2026, 10, 24, 23, 0, tzinfo=UTC), []
    for _ in range(4):
        following = repeated.next_change(moment)
        assert following is not None
        changes.append(f"{following:%H:%M}")
        moment = following
    assert changes == ["00:15", "00:45", "01:15", "01:45"]


@given(st.sampled_from(ZONES), st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)))
def test_the_next_day_begins_with_its_first_second(zone: ZoneInfo, moment: datetime) -> None:
    """Budgets begin anew exactly where the local date changes."""
    some, now = Rules(zone), moment.replace(tzinfo=UTC)
    for begins, part in ((some.next_day(now), "%F"), (some.next_month(now), "%Y-%m")):
        last = (begins - timedelta(seconds=1)).astimezone(zone).strftime(part)
        assert last == now.astimezone(zone).strftime(part) != begins.astimezone(zone).strftime(part)


# -- may we? ----------------------------------------------------------------------------------------------------------
def test_without_rules_everything_may_go() -> None:
    """Whoever sets nothing has no limits."""
    assert leave(rules(), Situation(NOON, sent_today=10**12)) == Leave()


def test_a_rate_holds_in_its_hours() -> None:
    """Within its hours a rate holds, until they end; outside there is none, until they begin."""
    some = rules({"07:00-19:00": 200_000})
    assert leave(some, Situation(NOON)) == Leave(rate=200_000, lasts_s=7 * 3600)
    assert leave(some, Situation(NOON + timedelta(hours=8))) == Leave(lasts_s=11 * 3600)


def test_nothing_goes_while_it_is_off() -> None:
    """Hours that are off say until when."""
    found = leave(rules({"07:00-19:00": None}), Situation(NOON))
    assert (found.why, found.lasts_s) == (Why.HOURS, 7 * 3600)
    assert found.text == "nothing is sent now until 19:00 (upload.rates)"


def test_a_budget_is_spent_when_the_next_does_not_fit() -> None:
    """What fits exactly still goes; one byte more waits for the next day, or month."""
    some = rules(per_day=100, per_month=1000)
    assert leave(some, Situation(NOON, sent_today=90, sent_this_month=900), need=10).why is None
    found = leave(some, Situation(NOON, sent_today=90, sent_this_month=900), need=11)
    assert (found.why, found.lasts_s) == (Why.DAY, 12 * 3600)
    assert found.text == "today's budget (upload.per_day) is spent until 2026-11-21 00:00"
    found = leave(some, Situation(NOON, sent_today=90, sent_this_month=995), need=11)
    assert (found.why, found.text) == (
        Why.MONTH,
        "this month's budget (upload.per_month) is spent until 2026-12-01 00:00",
    )


def test_a_metered_network_is_refused_unless_it_is_allowed() -> None:
    """The interface is named; nobody knows how long."""
    found = leave(rules(), Situation(NOON, metered="wwan0"))
    assert (found.why, found.lasts_s) == (Why.METERED, None)
    assert found.text == "the network at wwan0 is metered, and upload.metered is false"
    assert leave(rules(metered=True), Situation(NOON, metered="wwan0")).why is None


def test_there_is_always_one_reason_and_the_longest_is_told() -> None:
    """Metered before the month's budget before the day's before the hours."""
    some = rules({"00:00-24:00": None}, per_day=1, per_month=1)
    how = {"metered": "a", "sent_this_month": 2, "sent_today": 2}
    told = []
    for gone in (None, "metered", "sent_this_month", "sent_today"):
        how = {name: value for name, value in how.items() if name != gone}
        told.append(leave(some, Situation(NOON, **how)).why)  # type: ignore[arg-type]
    assert told == [Why.METERED, Why.MONTH, Why.DAY, Why.HOURS]


def test_by_hand_lifts_everything() -> None:
    """While a person's word holds there is no rate, no budget and no bill."""
    some = rules({"00:00-24:00": None}, per_day=1, per_month=1)
    how = Situation(NOON, sent_today=9, sent_this_month=9, metered="wwan0", by_hand_s=60.0)
    assert leave(some, how, need=10**9) == Leave(lasts_s=60.0)


@given(st.integers(0, 10**9), minutes)
def test_a_clock_that_nobody_set_is_never_faster_and_never_stuck(jump_s: int, minute: int) -> None:
    """Whatever it shows, the slowest rate holds; and what is off ends within a day of any clock."""
    some = rules({"07:00-12:00": 200_000, "12:00-19:00": 10_000, "23:00-24:00": None})
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=jump_s, minutes=minute)
    found = leave(some, Situation(now, trusted=False))
    assert found.rate == 10_000 or found.why is Why.HOURS
    if found.why is Why.HOURS:
        assert found.lasts_s is not None
        assert found.lasts_s <= 3600
        assert found.text.endswith("which nobody has set yet")


# -- by hand ----------------------------------------------------------------------------------------------------------
def override(*, trusted: bool = True) -> Override:
    return Override(NOON, NOON + timedelta(hours=2), trusted, boot="one", ends=7200.0 + 50.0)


def test_by_hand_ends_by_the_monotonic_clock() -> None:
    """Within a boot the wall clock may jump by years: two hours are two hours."""
    said = override(trusted=False)
    for jump in (timedelta(), -3 * 365 * DAY, 3 * 365 * DAY):
        for trusted in (False, True):
            assert said.left_s(now=NOON + jump, trusted=trusted, boot="one", monotonic=50.0) == 7200
            assert said.left_s(now=NOON + jump, trusted=trusted, boot="one", monotonic=7250.0) == 0


def test_by_hand_does_not_outlast_a_sleep() -> None:
    """A laptop's monotonic clock stands still while it sleeps: a wall clock that could be believed ends it."""
    late = NOON + timedelta(hours=3)
    assert override().left_s(now=late, trusted=True, boot="one", monotonic=60.0) == 0


@pytest.mark.parametrize(
    ("then", "now", "after", "left"),
    [(True, True, 1, 3600), (True, True, 2, 0), (True, True, -1, 0), (False, True, 1, 0), (True, False, 1, 0)],
)
def test_by_hand_over_a_reboot(then: bool, now: bool, after: float, left: float) -> None:
    """After a reboot it goes on only by a wall clock that could be believed both times."""
    moment = NOON + timedelta(hours=after)
    assert override(trusted=then).left_s(now=moment, trusted=now, boot="two", monotonic=5.0) == left


def test_by_hand_is_kept_as_text() -> None:
    """What is read back is what was said."""
    assert Override.from_text(override().as_text()) == override()


# -- how long yet? ----------------------------------------------------------------------------------------------------
def fast(rate: float) -> Goodput:
    return Goodput(rate, MEMORY_S)


def test_how_long_without_limits() -> None:
    """Bytes through what was measured."""
    assert time_to_send(rules(), Situation(NOON), 3600 * MB, fast(MB)) == timedelta(hours=1)
    assert time_to_send(rules(), Situation(NOON), 0, Goodput()) == timedelta()


def test_nobody_knows_before_anything_was_measured() -> None:
    """No guess is given out as an estimate."""
    assert time_to_send(rules(), Situation(NOON), 1, Goodput()) is None


def test_how_long_with_hours() -> None:
    """Seven hours at a fifth of the link, then the link's own rate."""
    some = rules({"07:00-19:00": 200_000})
    takes = time_to_send(some, Situation(NOON), 7 * 3600 * 200_000 + 3600 * MB, fast(MB))
    assert takes == timedelta(hours=8)


def test_a_limit_above_the_link_changes_nothing() -> None:
    """A limit does not make a link faster."""
    some = rules({"00:00-24:00": 10 * MB})
    assert time_to_send(some, Situation(NOON), 3600 * MB, fast(MB)) == timedelta(hours=1)


def test_how_long_with_a_budget_a_day() -> None:
    """What is left of today, a whole day, and the rest on the third one from midnight on."""
    some = rules(per_day=100 * MB)
    takes = time_to_send(some, Situation(NOON, sent_today=40 * MB, sent_this_month=40 * MB), 170 * MB, fast(MB))
    assert takes == timedelta(hours=12) + DAY + timedelta(seconds=10)


def test_how_long_with_a_budget_a_month() -> None:
    """A spent month is waited for."""
    some = rules(per_month=100 * MB)
    takes = time_to_send(some, Situation(NOON, sent_this_month=100 * MB), MB, fast(MB))
    assert takes == datetime(2026, 11, 30, 21, tzinfo=UTC) - NOON + timedelta(seconds=1)


def test_never_with_these_hours() -> None:
    """Hours that are off all day are never; a budget that takes more than three months is beyond."""
    assert (
        time_to_send(rules({"00:00-12:00": None, "12:00-24:00": None}), Situation(NOON), 1, fast(MB)) == timedelta.max
    )
    assert time_to_send(rules(per_month=MB), Situation(NOON), 10 * MB, fast(MB)) == HORIZON


def test_by_hand_shortens_it() -> None:
    """As long as a person's word holds, the link's own rate counts."""
    some = rules({"00:00-24:00": 100_000})
    takes = time_to_send(some, Situation(NOON, by_hand_s=3600.0), 3600 * MB, fast(MB))
    assert takes == timedelta(hours=1)


@given(
    st.integers(1, 10**11), st.floats(1e3, 1e7), st.dictionaries(st.sampled_from(["07:00-12:00", "12:00-19:00"]),
    st.none() | st.integers(1000, 10**7)), st.none() | st.integers(20 * MB, 10**10), st.integers(0, 10**6),
)  # fmt: skip
def test_an_estimate_is_never_better_than_the_link(
    left: int, rate: float, hours: dict[str, int | None], per_day: int | None, after: int
) -> None:
    """No limit makes it faster, and more limits make it slower."""
    now = NOON + timedelta(seconds=after)
    free = time_to_send(rules(), Situation(now), left, fast(rate))
    held = time_to_send(rules(hours, per_day=per_day), Situation(now), left, fast(rate))
    assert free is not None
    assert held is not None
    assert held >= free - timedelta(seconds=1)


# -- what was measured ------------------------------------------------------------------------------------------------
def test_goodput_is_what_arrived_in_the_time_of_sending() -> None:
    """Two pictures of different speed count by their time; what did not arrive counts as time only."""
    measured = Goodput().after(10 * MB, 10.0).after(0, 10.0)
    assert measured == Goodput(0.5 * MB, 20.0)


def test_goodput_forgets() -> None:
    """After an hour at another speed the old one is as good as gone."""
    measured = fast(MB)
    for _ in range(60):
        measured = measured.after(60 * 100_000, 60.0)
    assert 100_000 <= measured.rate < 120_000
    assert measured.seconds == MEMORY_S


def test_what_we_held_back_only_raises_it() -> None:
    """Sending at our own limit says that the link takes as much, not that it takes no more."""
    assert fast(MB).at_least(200_000, 60.0).rate == MB
    assert Goodput().at_least(200_000, 60.0).rate == 200_000


def test_times_of_day_are_local() -> None:
    """The same moment lies in the hours of one zone and not of another."""
    hours = windows({"12:00-13:00": None})
    assert Rules(HERE, hours).window(NOON)
    assert not Rules(PARIS, hours).window(NOON)
    assert NOON.astimezone(HERE).time() == time(12)
