"""A visit to a hostile card, in a process of its own: whatever that card does, the tests go on.

The process has a mount namespace of its own if the card is to be mounted, none of root's rights to read what nobody
may, and an end: it and everything that it started is killed when its time is over.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import tracemalloc
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from unittest.mock import patch
from zoneinfo import ZoneInfo

from hostile import CASES, VICTIM, Ground, good
from hostile_images import IMAGES
from hostile_mounts import NotMounted, ext4_of, guarded, mounted
from kit import _empty_catalogue

import ailasd
from ailasd import diary, logs, story, wording
from ailasd.config import Config
from ailasd.daemon import Daemon
from ailasd.parts import Ailasd
from ailasd.sources.folder import FolderSource
from ailasd.status import as_json, summary

if TYPE_CHECKING:
    import io as _io
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from ailasd.model import CardFile

Edits: TypeAlias = "tuple[tuple[int, bytes], ...]"
HERE: Final = ZoneInfo("Indian/Antananarivo")
MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Thousands of flushes are not what these tests are about."""


BEGINS: Final = "the-visit-begins"
"""What is opened (it is not there) just before a visit that somebody watches."""
EMPTY: Final = _empty_catalogue()
ORIGINALS: Final = frozenset(hashlib.md5(data).hexdigest() for _, data, _ in good())


@dataclass
class Report:
    """What came of a visit.

    Attributes:
        outcome, on_card, copied, known, left: the visit's own.
        good: how many of the good pictures are in our storage, by their bytes.
        files: how many there are in all.
        states: of all pictures, after they were sorted: state -> how many.
        again: how many pictures a second visit copied.
        escaped: why it is known that something outside of the card was read; empty: nothing was.
        unprintable: lines of log, status and stories with a control character in them.
        bugs: events that only a bug makes.
        events: the names of all events.
        megabytes: the most memory that Python's objects took during the visit.
        seconds: how long it took.
    """

    outcome: str = ""
    on_card: int = 0
    copied: int = 0
    known: int = 0
    left: dict[str, int] = field(default_factory=dict)
    good: int = 0
    files: int = 0
    states: dict[str, int] = field(default_factory=dict)
    again: int = 0
    escaped: list[str] = field(default_factory=list)
    unprintable: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    megabytes: float = 0.0
    seconds: float = 0.0


class Meddled(FolderSource):
    """A card's folder, on which somebody works while we read it."""

    def __init__(self, root: Path, meddle: Callable[[str, bool], None] | None) -> None:
        super().__init__(root)
        self._meddle = meddle or (lambda _path, _is_open: None)

    def open(self, file: CardFile) -> _io.RawIOBase:
        """As the folder's own, with somebody's hands in between."""
        self._meddle(file.path, False)
        stream = super().open(file)
        self._meddle(file.path, True)
        return stream


# -- in the process ----------------------------------------------------------------------------------------------------
def _visit(source: FolderSource, base: Path) -> Report:
    """Import, sort, ask for everything that can be asked; then import once more."""
    said = io.StringIO()
    logs.set_up("debug", said, console=True)
    config = Config.model_validate({"storage": {"folder": base / "state", "reserve": "10MB"}})
    report = Report()
    _with_a_catalogue(base)
    with Ailasd(config, sources=[]) as parts:
        step, stop = parts.importing_from(source), threading.Event()
        tracemalloc.start()
        began = time.monotonic()
        visit = step.run(stop)
        report.seconds = time.monotonic() - began
        report.megabytes = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        if visit is not None:
            report.outcome, report.on_card = visit.outcome, visit.on_card
            report.copied, report.known, report.left = visit.copied, visit.known, visit.left
        parts.sorting.run(stop)
        again = step.run(stop)
        report.again = again.copied if again else 0
        _tell(report, parts, said)
    return report


def _tell(report: Report, parts: Ailasd, said: io.StringIO) -> None:
    """Fill in what became of the pictures, and how all of it is told to people."""
    with parts.catalogue.writing() as db:
        rows = list(db["picture"].rows)
    for row in rows:
        report.states[row["state"]] = report.states.get(row["state"], 0) + 1
    events = _events(parts)
    report.events = [event["name"] for event in events]
    report.bugs = [json.dumps(event["detail"]) for event in events if event["name"] == "step_failed"]
    status = summary(parts.catalogue)
    told = [*said.getvalue().splitlines(), *wording.of_status(status, HERE).splitlines()]
    visits = parts.catalogue.telling.visits(filter(None, map(diary.visit_of, events)))
    told += list(diary.diary(events, visits, HERE))
    for row in rows:
        (picture,) = parts.catalogue.pictures.find(row["md5"])
        told += list(story.why(parts.catalogue, picture, HERE))
    told += list(_texts([[event["detail"] for event in events], json.loads(as_json(status)), rows]))
    report.unprintable = [repr(line)[:300] for line in told if not line.isprintable()][:5]
    report.bugs += list(status.wrong)
    copies = {hashlib.md5(path.read_bytes()).hexdigest() for path in (parts.storage.folder / "pictures").rglob("*.jpg")}
    report.files = len(copies)
    report.good = len(copies & ORIGINALS)


def _look_for_escapes(report: Report, ground: Ground, base: Path) -> None:
    """Whether anything outside of the card was read, or got into our storage."""
    report.escaped = [
        f"{path.name} was read" for path in (ground.outside, ground.outside / "secret.jpg") if path.stat().st_atime_ns
    ]
    secret = (ground.outside / "secret.jpg").read_bytes()
    report.escaped += [
        f"the secret was copied to {path.name}" for path in (base / "state/pictures").rglob("*")
        if path.is_file() and path.read_bytes() == secret
    ]  # fmt: skip


def _serve(names: tuple[str, ...], base: Path) -> Report:
    """The daemon over a card with several cases on it, until the card is read and sorted; how long it took to stop."""
    _with_a_catalogue(base)
    ground = Ground(base)
    for name in names:
        CASES[name].make(ground)
    _only_a_user()
    _unread(ground.outside)
    said = io.StringIO()
    logs.set_up("debug", said, console=True)
    tables = {
        "storage": {"folder": base / "state", "reserve": "10MB"},
        "sources": {"folders": [ground.card]},
        "cards": {"watch": False},
    }
    with Ailasd(Config.model_validate(tables)) as parts:
        stop = threading.Event()
        thread = threading.Thread(target=Daemon(parts).run, args=(stop,))
        thread.start()
        while not _settled(parts):
            time.sleep(0.05)
        began = time.monotonic()
        stop.set()
        thread.join()
        report = Report(seconds=time.monotonic() - began)
        (visit,) = (event["detail"] for event in _events(parts) if event["name"] == "import_finished")
        report.outcome, report.left = visit["outcome"], visit["left_by_reason"]
        report.on_card, report.copied, report.known = visit["on_card"], visit["copied"], visit["known"]
        _tell(report, parts, said)
    _look_for_escapes(report, ground, base)
    return report


def _settled(parts: Ailasd) -> bool:
    names = {event["name"] for event in _events(parts)}
    if "step_failed" in names:
        return True
    return "import_finished" in names and not any(row["state"] == "copied" for row in parts.catalogue.telling.tally())


def _events(parts: Ailasd) -> list[dict[str, Any]]:
    return parts.catalogue.telling.timeline(limit=100_000)


def _with_a_catalogue(base: Path) -> None:
    (base / "state").mkdir()
    (base / "state/catalogue.db").write_bytes(EMPTY)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a nested value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(key)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _unread(outside: Path) -> dict[Path, int]:
    """Set the times of reading back, so that each reading (relatime) would show."""
    times = {}
    for path in (outside, *outside.rglob("*")):
        about = path.lstat()
        os.utime(path, ns=(0, about.st_mtime_ns), follow_symlinks=False)
        times[path] = 0
    return times


def _overwrite(image: Path, edits: Edits) -> None:
    with image.open("r+b") as stream:
        for at, content in edits:
            stream.seek(at)
            stream.write(content)


def _hanging(driver: int, seconds: float) -> Callable[[str, bool], None]:
    """The driver of a mounted card stops when the second picture is opened, and goes on after a while."""

    def meddle(path: str, is_open: bool) -> None:
        if path == VICTIM and is_open:
            os.kill(driver, signal.SIGSTOP)
            threading.Timer(seconds, os.kill, (driver, signal.SIGCONT)).start()

    return meddle


def _run(name: str, where: str, base: Path, edits: Edits = ()) -> Report:
    with ExitStack() as stack:
        ground, meddle = Ground(base), None
        root, image = ground.card, base / "card.img"
        if name in CASES:
            meddle = CASES[name].make(ground)
        if where == "ext4":
            ext4_of(root, image)
            root, _ = stack.enter_context(mounted(image, "ext4", base))
        elif name in IMAGES:
            cut, hangs = IMAGES[name].make(image), IMAGES[name].hangs
            _overwrite(image, edits)
            try:
                root, driver = stack.enter_context(
                    mounted(image, IMAGES[name].fs, base, cut=cut, user_space=bool(hangs))
                )
            except NotMounted as error:
                return Report(outcome=f"not mounted: {error}")
            if hangs and driver:
                meddle = _hanging(driver.pid, hangs)
        _only_a_user()
        _unread(ground.outside)
        report = _visit(Meddled(root, meddle), base)
        _look_for_escapes(report, ground, base)
        _a_user_no_more()
    return report


DAC: Final = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: the service has neither."""


def _capabilities(change: Callable[[int], int]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(head, sets) == 0
    sets[0] = change(sets[0]) & sets[1]
    assert libc.capset(head, sets) == 0


def _only_a_user() -> None:
    _capabilities(lambda effective: effective & ~DAC)


def _a_user_no_more() -> None:
    _capabilities(lambda effective: effective | DAC)


def _child(name: str | tuple[str, ...], where: str, base: str, edits: Edits, answer: Connection) -> None:
    os.setsid()
    try:
        guarded(Path(base))
        report = _serve(name, Path(base)) if isinstance(name, tuple) else _run(name, where, Path(base), edits)
        answer.send(asdict(report))
    except BaseException:  # noqa: BLE001  (told to the test)
        answer.send(traceback.format_exc())
    os._exit(0)  # whatever threads still hang: they are killed with their process


# -- around the process ------------------------------------------------------------------------------------------------
@cache
def _processes() -> Any:
    """Makes processes that have everything imported already: a tenth of a second for a visit instead of a whole one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hostile_visit"])
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(ailasd.__file__).parents[1])])
    with patch.dict(os.environ, PYTHONPATH=path):  # before Python 3.13 it does not get our sys.path
        forkserver.ensure_running()
    return context


def serve(names: tuple[str, ...], seconds: float) -> Report:
    """The daemon over a card with all of these cases; ``seconds`` of the report: how long it took to stop.

    Raises:
        AssertionError: it did not end in time, or with an error.
    """
    return visit(names, "folder", seconds)


def can_write(path: Path) -> bool:
    """Whether a case, with all the rights it has, can write there."""
    with TemporaryDirectory(dir=MEMORY, prefix="hostile-") as base:
        ours, theirs = _processes().Pipe(duplex=False)
        process = _processes().Process(target=_try_to_write, args=(path, base, theirs))
        process.start()
        theirs.close()
        answer = ours.recv()
        process.join(5)
    return bool(answer)


def _try_to_write(path: Path, base: str, answer: Connection) -> None:
    guarded(Path(base))
    (Path(base) / "here").write_text("this it may")
    try:
        path.write_text("this it may not")
    except OSError:
        answer.send(False)
    else:
        answer.send(True)


def visit(name: str | tuple[str, ...], where: str, seconds: float, edits: Edits = ()) -> Report:
    """Visit the card of that case.

    Args:
        name: of the case or image.
        where: "folder", or "ext4" for a case that is put on a mounted file system.
        seconds: then it is killed.
        edits: bytes of an image that are overwritten: (where, with what).

    Raises:
        AssertionError: it did not end in time, or with an error.
    """
    with TemporaryDirectory(dir=MEMORY, prefix="hostile-") as base:
        ours, theirs = _processes().Pipe(duplex=False)
        process = _processes().Process(target=_child, args=(name, where, base, edits, theirs))
        process.start()
        theirs.close()
        try:
            assert ours.poll(seconds), f"{name} did not end within {seconds} s"
            answer = ours.recv()
        except EOFError:
            process.join(5)
            raise AssertionError(f"{name} ended the process with {process.exitcode}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join(5)
        assert isinstance(answer, dict), answer
        return Report(**answer)


if __name__ == "__main__":  # a visit that somebody watches: FOLDER CASE...
    folder = Path(sys.argv[1])
    guarded(folder)
    all_of_it = Ground(folder)
    for case in sys.argv[2:]:
        CASES[case].make(all_of_it)
    with suppress(FileNotFoundError):
        os.open(folder / BEGINS, os.O_RDONLY)
    print(json.dumps(asdict(_visit(FolderSource(all_of_it.card), folder))))
