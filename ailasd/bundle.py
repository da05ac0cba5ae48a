"""`ailasd bundle`: one file for whoever helps from far away, small enough for a mail, without secrets.

Each part is made by itself: one that cannot be had says why in its place. Nothing is changed for it, and all of it
works without a network. The page makes the same, without what its process may not read.
"""

from __future__ import annotations

import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ailasd import __version__, credential, diary, status, story, wording
from ailasd.catalogue import Catalogue
from ailasd.catalogue.excerpt import SQLITE, TooManyNames, excerpt, names
from ailasd.clock import SystemClock, iso
from ailasd.config.check import as_toml
from ailasd.errors import AilasdError, CatalogueError, ConfigError
from ailasd.logs import MASK, hide
from ailasd.storage import Storage
from ailasd.veil import Curtain, Veil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.clock import Clock
    from ailasd.config import Config

LARGEST: Final = 5_000_000
"""Bytes of the whole: what every mailbox takes, and three minutes at 200 kbit/s."""
MOST_TEXT: Final = 2_000_000
"""Bytes of one text; of a longer one the end. Sentences shrink to a tenth."""
MOST_ROWS: Final = (20_000, 5000, 1000, 100)
"""Rows of each table of the catalogue: the first with which the whole is small enough."""
MOST_EVENTS: Final = 5000
OLDER: Final = "(There are older ones of these days, which are left out: `ailasd log --last` on the kit shows them.)"
DIARY_DAYS: Final = 30

DOCTOR_S: Final = 60.0
"""For all checks: over a dead link each takes its own half minute."""
COMMAND_S: Final = 15.0
"""For one command of the system: a journal of a gigabyte on an SD card."""

UNIT: Final = "ailasd.service"
BESIDE: Final = "ailasd-*"
"""The units beside it: the page and its socket, each call of the mount helper, a GoPro's network."""
UNIT_STATE: Final = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainStatus,ExecMainCode,ExecMainStartTimestamp,"
    "ActiveEnterTimestamp,InactiveEnterTimestamp,NRestarts,MemoryCurrent,MemoryPeak,CPUUsageNSec,TasksCurrent,"
    "WatchdogUSec,FragmentPath,DropInPaths"
)
"""Not its environment, which may hold anything."""
COMMANDS: Final = {
    "unit.txt": ("systemctl", "show", UNIT, BESIDE, f"--property={UNIT_STATE}"),
    "journal.txt": ("journalctl", f"--unit={UNIT}", "--lines=5000", "--no-pager", "--output=cat"),
    "journal-beside.txt": (
        "journalctl",
        f"--unit={BESIDE}",
        f"--since=-{DIARY_DAYS}d",
        "--lines=2000",
        "--no-pager",
        "--no-hostname",
        "--output=short-iso",
    ),
}

_NO_JOURNAL: Final = "The page may not read the system's journal: `ailasd bundle` on the kit puts it in.\n"
NOT_ON_THE_PAGE: Final = {
    "doctor.txt": "The page may neither read the token nor call the server: `ailasd doctor` on the kit tells it.\n",
    "journal.txt": _NO_JOURNAL,
    "journal-beside.txt": _NO_JOURNAL,
}
"""What stands in the place of parts that systemd keeps from the page's process (``ailasd-web.service``)."""

_SECRET_NAME: Final = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|AUTH", re.IGNORECASE)
_SHORTEST: Final = 6
"""Characters of a secret in the environment that is looked for in texts: shorter ones are in every word."""

ABOUT: Final = """What is in here, for whoever helps with this kit:

status.txt, status.json   how everything stood when this was made
doctor.txt                what could be wrong
diary.txt                 what happened lately (ailasd log)
config.toml               the configuration in force
catalogue.db              SQLite: the newest rows of each table
versions.txt              of ailasd, its libraries, the system
unit.txt, journal.txt     what systemd says of the service and the units beside it, and the end of its log
journal-beside.txt        the end of theirs: the page, the mount helper, a GoPro's network

Not in here: the token and other secrets, and pictures.{private}{page}
"""
ON_THE_PAGE: Final = """

The page made it, which may not read the token: whatever looks like one was taken out.
Parts that it may not make say so.
"""
WITHOUT: Final = " Nor positions and the names of files: `ailasd bundle --with-positions`\nputs them in."


@dataclass(slots=True)
class _Kit:
    """Whose bundle it is."""

    config: Config
    config_file: Path | None
    storage: Storage
    clock: Clock
    veil: Veil
    veil_of_system: Veil
    private: bool
    page: bool
    catalogue: Catalogue | None = field(default=None)

    def known(self) -> Catalogue:
        """Its catalogue.

        Raises:
            AilasdError: there is none, or it cannot be opened.
        """
        if self.catalogue is None:
            if not self.storage.catalogue.exists():
                raise AilasdError(f"there is no catalogue in {self.storage.folder}")
            self.catalogue = Catalogue(self.storage.catalogue, self.clock, read_only=self.page)
        return self.catalogue


def file_name(config: Config, clock: Clock | None = None) -> str:
    """What it is called: ailasd-KIT-DATE-TIME.zip."""
    return f"ailasd-{config.kit}-{(clock or SystemClock()).now().astimezone(config.zone):%Y%m%d-%H%M%S}.zip"


def bundle(
    config: Config, config_file: Path | None, *, private: bool = False, page: bool = False, clock: Clock | None = None
) -> bytes:  # fmt: skip
    """The whole, as a zip.

    Args:
        config: of the kit.
        config_file: where that came from; None: built in.
        private: put positions and names of files in too.
        page: it is the page's process that makes it, see ``NOT_ON_THE_PAGE``.
        clock: law 8.
    """
    _hide_secrets(config, run=not page)
    storage = Storage(config.storage.folder)
    veils = _veils(storage, private=private)
    parts: dict[str, Callable[[_Kit], str]] = {**_PARTS, **{name: partial(_said, COMMANDS[name]) for name in COMMANDS}}
    left_out = NOT_ON_THE_PAGE if page else {}
    with _closing(_Kit(config, config_file, storage, clock or SystemClock(), *veils, private, page)) as kit:
        texts = {name: left_out.get(name) or _text(kit, make) for name, make in parts.items()}
        for most in MOST_ROWS:
            with tempfile.TemporaryDirectory(prefix="ailasd-") as folder:
                whole = _zipped(texts, _excerpt(kit, most, Path(folder, "catalogue.db")))
            if len(whole) < LARGEST:
                return whole
        return _zipped(texts, "it is too large even with very few rows")


@contextmanager
def _closing(kit: _Kit) -> Iterator[_Kit]:
    try:
        yield kit
    finally:
        if kit.catalogue is not None:
            kit.catalogue.close()


def _hide_secrets(config: Config, *, run: bool) -> None:
    """Have every secret that can be known masked: the token wherever it is, and what the environment calls one.

    Args:
        config: of the kit.
        run: whether the command that prints the token may be run.
    """
    with suppress(ConfigError):  # the doctor says why; what looks like a token is masked all the same
        if run or not credential.place(config).command:
            credential.load(config)
    with suppress(ConfigError):
        credential.for_heartbeat(config)
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST:
            hide(value)


def _veils(storage: Storage, *, private: bool) -> tuple[Veil, Veil]:
    """For our own words, and for the words of the system: if the names are not known, theirs may hold any."""
    if private:
        return (Veil(secrets_only=True),) * 2
    if not storage.catalogue.exists():
        return (Veil(),) * 2
    try:
        return (Veil(names(storage.catalogue)),) * 2
    except TooManyNames:
        return (Curtain(),) * 2
    except CatalogueError:  # nothing can be told of it, so nothing of ours holds a name
        return Veil(), Curtain()


def _text(kit: _Kit, make: Callable[[_Kit], str]) -> str:
    """One part, never without words; its end if it is too long."""
    try:
        text = make(kit)
    except Exception as error:  # noqa: BLE001  (whatever it is, it must not keep the other parts back)
        kind = "" if isinstance(error, AilasdError | OSError) else f"{type(error).__name__}: "
        return f"This could not be had: {kind}{kit.veil(str(error)).rstrip('.')}.\n"
    return text if len(text) <= MOST_TEXT else f"[...]\n{text[-MOST_TEXT:].partition(chr(10))[2]}"


def _zipped(texts: dict[str, str], catalogue: Path | str) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in texts.items():
            made.writestr(name, text)
        if isinstance(catalogue, Path):
            made.write(catalogue, "catalogue.db")
        else:
            made.writestr("catalogue.txt", f"This could not be had: {catalogue}.\n")
    return into.getvalue()


# -- the parts --------------------------------------------------------------------------------------------------------
def _about(kit: _Kit) -> str:
    return f"{kit.config.kit}, {iso(kit.clock.now())}\n\n" + ABOUT.format(
        private="" if kit.private else WITHOUT, page=ON_THE_PAGE.rstrip() if kit.page else ""
    )


def _config(kit: _Kit) -> str:
    """As it is in force. Of the command that prints the token only its name is told."""
    server = kit.config.server
    command = (*server.token_command[:1], *(MASK for _ in server.token_command[1:]))
    shown = kit.config.model_copy(update={"server": server.model_copy(update={"token_command": command})})
    return kit.veil.lines(f"# {kit.config_file or 'built in'}\n{as_toml(shown)}\n")


def _status(kit: _Kit) -> str:
    return kit.veil.lines(wording.of_status(status.standing(kit.config, kit.known(), kit.storage), kit.config.zone))


def _status_json(kit: _Kit) -> str:
    text = status.as_json(status.standing(kit.config, kit.known(), kit.storage))
    return kit.veil.lines(" ".join(text.splitlines()))


def _doctor(kit: _Kit) -> str:
    """Everything but pictures is asked for."""
    from ailasd.doctor import as_line, every, examine  # noqa: PLC0415  (httpx and all: not for the page)

    with ExitStack() as open_:
        checks = every.checks(kit.config, kit.config_file, open_, sample=0)
        return kit.veil.lines("\n".join(map(as_line, examine(checks, within_s=DOCTOR_S))))


def _diary(kit: _Kit) -> str:
    telling = kit.known().telling
    since = iso(kit.clock.now() - timedelta(days=DIARY_DAYS)) if kit.clock.trusted() else None
    events = telling.timeline(since=since, without=story.quieter_than("info"), limit=MOST_EVENTS + 1)
    older = [OLDER] if len(events) > MOST_EVENTS else []
    events = events[-MOST_EVENTS:]
    visits = telling.visits(filter(None, map(diary.visit_of, events)))
    return kit.veil.lines("\n".join([*older, *diary.diary(events, visits, kit.config.zone)]))


def _versions(_kit: _Kit) -> str:
    libraries = sorted({re.split(r"[^A-Za-z0-9_.-]", one)[0] for one in _requires()})
    system = [
        f"ailasd {__version__}",
        f"Python {sys.version.split()[0]}, SQLite {SQLITE}",
        f"{platform.system()} {platform.release()} {platform.machine()}",
        *(_first_line(Path(path)) for path in ("/etc/os-release", "/proc/device-tree/model", "/proc/uptime")),
        *Path("/proc/meminfo").read_text().splitlines()[:3],
    ]
    return "\n".join([*filter(None, system), *(f"{name} {_version(name)}" for name in libraries)]) + "\n"


def _first_line(path: Path) -> str:
    try:
        return path.read_bytes()[:200].decode(errors="replace").splitlines()[0].strip("\0")
    except (OSError, IndexError):
        return ""


def _requires() -> list[str]:
    try:
        return requires("ailasd") or []
    except PackageNotFoundError:  # run from a checkout
        return []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"


def _said(words: tuple[str, ...], kit: _Kit) -> str:
    """What a command of the system prints, or else complains of; it is ended in time."""
    try:
        done = subprocess.run(  # noqa: S603  (one of COMMANDS)
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise AilasdError(f"{words[0]} took longer than {COMMAND_S:.0f} s") from None
    said = (done.stdout or done.stderr)[-MOST_TEXT:].decode(errors="replace")
    return kit.veil_of_system.lines(said) or f"{words[0]} says nothing.\n"


def _excerpt(kit: _Kit, most: int, to: Path) -> Path | str:
    """The catalogue's newest rows in a file, or why there are none."""
    if not kit.storage.catalogue.exists():
        return f"there is no catalogue in {kit.storage.folder}"
    try:
        excerpt(kit.storage.catalogue, to, kit.veil, most=most, private=kit.private)
    except (AilasdError, OSError) as error:
        return kit.veil(str(error))
    return to


_PARTS: Final[dict[str, Callable[[_Kit], str]]] = {
    "README.txt": _about,
    "status.txt": _status,
    "status.json": _status_json,
    "doctor.txt": _doctor,
    "diary.txt": _diary,
    "config.toml": _config,
    "versions.txt": _versions,
}
