"""Runs the steps of all parts, each when it is time to, and stops.

Every step drains what it finds and is harmless to run at any time, so that scheduling is only a matter of how soon:
each has an interval, is nudged by the step before it, and may ask to be run again in so many seconds.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from ailasd import __version__
from ailasd.asking import Asked
from ailasd.attending import Hands
from ailasd.by_hand import ByHand
from ailasd.cards import MediumKind
from ailasd.disk import sweep
from ailasd.logs import Event
from ailasd.model import Round
from ailasd.service import Pulse, Sleep, notify
from ailasd.showing import Showing
from ailasd.showing.buzzer import Buzzer
from ailasd.showing.led import Led
from ailasd.showing.light import Light
from ailasd.showing.sign_file import PLACE, SignFile
from ailasd.showing.sound import Sound
from ailasd.sign import shown
from ailasd.sources.inbox import Inbox
from ailasd.sources.plugged import opened
from ailasd.status import summary
from ailasd.tunnel import NetworkNews
from ailasd.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.cards import Medium
    from ailasd.cards.devices import Devices
    from ailasd.cards.mounting import Mounting
    from ailasd.config import Config
    from ailasd.importing import Importing
    from ailasd.parts import Ailasd
    from ailasd.showing import Face
    from ailasd.sign import Shown
    from ailasd.sources import Source
    from ailasd.tracking import Tracking

SETTLE_S: Final = 2.0
"""After something appeared in a watched folder, wait for the rest of it: one pass instead of a hundred."""

CLOCK_LOOK_S: Final = 5.0
CLOCK_JUMP_S: Final = 2.0
"""The scheduler counts in wall time. When that jumps (NTP on a Pi without a battery clock), everything is nudged."""

LOOK_EVERY: Final = timedelta(minutes=5)
"""How often those ask whether it is time to who look at the server once a day."""

METRICS_EVERY: Final = timedelta(minutes=1)
"""As often as Prometheus usually looks."""

STOP_WITHIN_S: Final = 4.0
"""systemd and people give up after five."""

SHOW_S: Final = 0.5
"""For the light to be what it was: a write into memory. A sound that is being played is cut off."""

LEDS: Final = Path("/sys/class/leds")

SOONEST_S: Final = 0.2
"""Between two rounds of a step that asks to be run again at once."""


class Step(Protocol):
    """What all steps can: work until nothing is left to do, or ``stop``; ``alive`` tells of each bit of progress."""

    def __call__(self, stop: threading.Event, *, alive: Callable[[], None]) -> Round:
        """One round."""


class _Every(BaseTrigger):  # type: ignore[misc]
    """Runs a step in such intervals, counted from now.

    The scheduler's own trigger counts from the last time, one by one: when the clock jumps by three years (NTP on a Pi
    without a battery clock), six million times, in a list of them all.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + self._interval


@dataclass(slots=True)
class _Job:
    """A step on the scheduler. ``wanted`` survives a nudge that comes while it runs, which the scheduler would drop."""

    run: Step
    every: timedelta
    then: str | None = None
    wanted: threading.Event = field(default_factory=threading.Event)
    running: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Slots:
    """Where cards and cameras are plugged in."""

    devices: Devices
    mounting: Mounting


def _slots(config: Config) -> Slots:
    from ailasd.cards.devices import Devices  # noqa: PLC0415  (late: not every command needs udev)
    from ailasd.cards.mounting import Mounting  # noqa: PLC0415

    ours = (config.storage.folder, *config.sources.folders, *([config.inbox.folder] if config.inbox.folder else []))
    return Slots(Devices(config.cards.file_systems, folders=ours), Mounting())


class Daemon:
    """Runs the steps of an ``Ailasd`` until told to stop.

    Args:
        parts: everything, connected.
        slots: what is plugged in, and how it is mounted; None: as the config says.
    """

    def __init__(self, parts: Ailasd, *, slots: Slots | None = None) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._pulse = Pulse()
        self._sleep = Sleep()
        self._network = NetworkNews()
        by_hand = ByHand(parts.catalogue, parts.storage, parts.sorting, parts.journal)
        self._asked = Asked(parts.storage.asking, by_hand, parts.journal, partial(self.nudge, "upload"))
        config = parts.config
        self._imports = [f"import-{number}" for number in range(len(parts.importing))]
        self._jobs: dict[str, _Job] = {
            name: _Job(partial(_import, one, source), config.sources.every, "sort")
            for name, one, source in zip(self._imports, parts.importing, parts.sources, strict=True)
        }
        if parts.inbox:
            self._jobs["tracks"] = _Job(partial(_track, parts.tracking, parts.inbox), config.sources.every, "sort")
        self._slots = slots or (_slots(config) if config.cards.watch else None)
        if self._slots:
            self._attending = parts.attend(self._slots.devices, self._hands(self._slots))
            self._attending.wake = partial(self.nudge, "cards")
            self._attending.done = partial(self.nudge, "clean")
            self._jobs["cards"] = _Job(self._attending.run, config.sources.every, "sort")
        self._showing = self._shows()
        if self._slots:
            self._attending.changed = self._showing.wake
        self._jobs["sort"] = _Job(parts.sorting.run, config.sources.every, "upload")
        self._jobs["upload"] = _Job(parts.uploading.run, config.upload.probe_every, "confirm")
        self._jobs["confirm"] = _Job(parts.confirming.run, config.confirm.every, "clean")
        if config.server.url:
            self._jobs["reports"] = _Job(parts.reported.run, LOOK_EVERY)
        if config.server.expect_blur:
            self._jobs["blur"] = _Job(parts.blurring.run, LOOK_EVERY)
        if parts.heartbeat:
            self._jobs["heartbeat"] = _Job(parts.heartbeat.run, config.heartbeat.every)
        if parts.metrics:
            self._jobs["metrics"] = _Job(parts.metrics.run, METRICS_EVERY)
        self._jobs["clean"] = _Job(parts.cleaning.run, config.cleaning.every)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            # long imports of many cards must leave a thread for sending
            executors={"default": ThreadPoolExecutor(2 * len(self._jobs))},
            # a late or missed run is simply run now, once (DESIGN section 3); _run itself sees to it that a step never
            # runs twice at a time: the scheduler would warn at each interval as long as a round of sending lasts
            job_defaults={"coalesce": True, "max_instances": 2, "misfire_grace_time": None},
        )

    def run(self, stop: threading.Event) -> bool:
        """Work until ``stop`` is set; returns within ``STOP_WITHIN_S`` then, whatever was going on.

        Returns:
            Whether everything ended; else a thread hangs in a driver, and only the end of the process ends it.

        Raises:
            TryLater: another daemon works in the same folder.
        """
        parts = self._parts
        _share_heaps()
        with parts.storage.as_daemon():
            sweep(parts.storage.incoming)
            parts.journal.tell(Event.DAEMON_STARTED, version=__version__, kit=parts.config.kit)
            inbox = [parts.config.inbox.folder] if parts.config.inbox.folder else []
            watching = Watching([*parts.config.sources.folders, *inbox], self._something_arrived)
            try:
                self._release_leftovers()
                self._start()
                self._showing.start()
                watching.start()
                self._watch_the_slots()
                self._watch_the_network()
                self._asked.start()
                notify("READY=1")
                self._watch_the_clock(stop)
            finally:
                notify("STOPPING=1")
                parts.journal.tell(Event.DAEMON_STOPPING, reason="it was told to")
                self._stop.set()
                watching.stop()
                self._network.end()
                self._asked.end()
                ended = self._end()
                ended = self._showing.end(SHOW_S) and ended
            return ended

    def _hands(self, slots: Slots) -> Hands:
        parts, config, mounting = self._parts, self._parts.config, slots.mounting

        @contextmanager
        def at_work(what: str) -> Iterator[Callable[[], None]]:
            with self._sleep.inhibited(f"reading {what}"), self._pulse.working("cards") as alive:
                yield alive

        def let_go(medium: Medium) -> str | None:
            if (still := mounting.let_go(medium)) is not None:
                return still
            if config.cards.power_off and medium.kind is MediumKind.CARD and (why := mounting.power_off(medium)):
                parts.journal.tell(Event.NOT_SWITCHED_OFF, card=medium.label, problem=why)
            return None

        return Hands(
            opened=lambda medium: opened(
                medium,
                mounting,
                still_there=slots.devices.still_there,
                set_clock=config.cards.set_camera_clock,
                known=parts.catalogue.cards.known_by_name,
            ),
            read=lambda source, stop, alive, recognised: parts.importing_from(source).run(
                stop, alive=alive, recognised=recognised
            ),
            tracks=parts.tracking.run,
            let_go=let_go,
            at_work=at_work,
        )

    def _shows(self) -> Showing:
        """What shows the sign here, as configured."""
        parts, config = self._parts, self._parts.config
        runtime = Path(os.environ["RUNTIME_DIRECTORY"]) if os.environ.get("RUNTIME_DIRECTORY") else None
        faces: list[Face] = [SignFile(runtime / PLACE.name)] if runtime else []
        if config.light.led:
            faces.append(Light(Led(LEDS / config.light.led, runtime / "light" if runtime else None)))
        if config.sound.device:
            faces.append(Sound(config.sound.device))
        if config.sound.buzzer:
            faces.append(Buzzer(Led(LEDS / config.sound.buzzer, runtime / "buzzer" if runtime else None)))
        seen: int | None = None

        def look() -> Shown | None:
            nonlocal seen
            if seen == (seen := parts.catalogue.version()):
                return None
            status = summary(
                parts.catalogue, kit=config.kit, sends=bool(config.server.url), daemon_runs=True,
                free_bytes=parts.storage.free(), reserve=config.storage.reserve, manners=config.manners,
            )  # fmt: skip
            return shown(status)

        return Showing(look, self._pulse.busy, faces, parts.journal, parts.clock.monotonic)

    def _start(self) -> None:
        for name, job in self._jobs.items():
            self._scheduler.add_job(self._run, _Every(job.every), args=[name], id=name, next_run_time=datetime.now(UTC))
        self._scheduler.start()

    def _release_leftovers(self) -> None:
        if self._slots:
            for left in self._slots.mounting.release_leftovers():
                self._parts.journal.tell(Event.MOUNT_RELEASED, place=left)

    def _watch_the_slots(self) -> None:
        if self._slots:
            if not self._slots.devices.available:
                self._parts.journal.tell(Event.NO_UDEV)
            wake = partial(self.nudge, "cards")
            threading.Thread(
                target=self._slots.devices.watch, args=(wake, self._stop), name="udev", daemon=True
            ).start()

    def _watch_the_network(self) -> None:
        def changed() -> None:
            self._parts.link.network_changed()
            self.nudge("upload")

        threading.Thread(target=self._network.watch, args=(changed,), name="network", daemon=True).start()

    def _end(self) -> bool:
        """Give every step a moment to finish its picture; then cut what still hangs on a connection."""
        self._scheduler.shutdown(wait=False)
        ended = self._all_end_within(STOP_WITHIN_S / 2)
        if not ended:
            self._parts.hang_up()
            ended = self._all_end_within(STOP_WITHIN_S / 4)
        return (not self._slots or self._attending.end(STOP_WITHIN_S / 4)) and ended

    def _all_end_within(self, seconds: float) -> bool:
        give_up = time.monotonic() + seconds
        for job in self._jobs.values():
            if not job.running.acquire(timeout=max(0.0, give_up - time.monotonic())):
                return False
            job.running.release()
        return True

    def _watch_the_clock(self, stop: threading.Event) -> None:
        clock = self._parts.clock
        offset = clock.now().timestamp() - clock.monotonic()
        while not stop.wait(CLOCK_LOOK_S):
            self._pulse.feed()
            if self._pulse.busy():
                self._showing.wake()
            now = clock.now().timestamp() - clock.monotonic()
            if abs(jump := now - offset) > CLOCK_JUMP_S:
                offset = now
                self._parts.journal.tell(Event.CLOCK_JUMPED, jump_s=round(jump))
                for name, job in self._jobs.items():
                    self._scheduler.reschedule_job(name, trigger=_Every(job.every))
                    self.nudge(name)

    def nudge(self, name: str, *, after_s: float = 0.0) -> None:
        """Run that step now, or in so many seconds; if it runs already then, once more after that."""
        if not self._stop.is_set():
            when = datetime.now(UTC) + timedelta(seconds=after_s)
            self._scheduler.add_job(
                self._run, "date", args=[name], id=f"{name}-soon", run_date=when, replace_existing=True,
                max_instances=len(self._jobs),  # the scheduler would drop a nudge to a step that a nudge started
            )  # fmt: skip

    def _something_arrived(self) -> None:
        for name in (*self._imports, *({"tracks"} & self._jobs.keys())):
            self.nudge(name, after_s=SETTLE_S)

    def _run(self, name: str) -> None:
        job = self._jobs[name]
        job.wanted.set()
        # if it runs already, the one that runs it looks at ``wanted`` once more when it is through
        while job.wanted.is_set() and not self._stop.is_set() and job.running.acquire(blocking=False):
            try:
                job.wanted.clear()
                self._run_once(name, job)
            except Exception as error:  # noqa: BLE001  a bug: say so loudly; tried again at the step's next interval
                self._parts.journal.tell(
                    Event.STEP_FAILED, step=name, problem=f"{type(error).__name__}: {error}", exc_info=True
                )
            finally:
                job.running.release()
                self._showing.wake()

    def _run_once(self, name: str, job: _Job) -> None:
        with self._pulse.working(name) as alive:
            done = job.run(self._stop, alive=alive)
        if done.worked and job.then:
            self.nudge(job.then)
        if done.again_in is not None:
            self.nudge(name, after_s=max(done.again_in, SOONEST_S))


def _share_heaps() -> None:
    """Have threads share two heaps: glibc gives each its own, up to eight a core, which keep what was once used.

    Measured: 59 instead of 63 MB when idle.
    """
    arena_max = -8  # M_ARENA_MAX of glibc's malloc.h
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(arena_max, 2)


def _import(step: Importing, source: Source, stop: threading.Event, *, alive: Callable[[], None]) -> Round:
    visit = step.run(stop, alive=alive)
    waits = [visit.retry_in if visit else None, source.settles_in if isinstance(source, Inbox) else None]
    again_in = min((wait for wait in waits if wait is not None), default=None)
    return Round(worked=visit is not None and visit.copied > 0, again_in=again_in)


def _track(step: Tracking, inbox: Inbox, stop: threading.Event, *, alive: Callable[[], None]) -> Round:
    found = step.look(inbox, stop, alive=alive)
    return Round(worked=found.new > 0, again_in=inbox.settles_in)
