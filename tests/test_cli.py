"""The commands, as people type them: real processes or click's runner, over really imported cards."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from as_on_a_kit import environment
from click.testing import CliRunner, Result
from kit import START, drive, held_to_permissions

from ailasd import errors, story
from ailasd.catalogue import Catalogue
from ailasd.cli import program
from ailasd.cli.exits import Exit, code_of, table
from ailasd.cli.progress import Meter
from ailasd.clock import SystemClock
from ailasd.config import parse
from ailasd.config.check import as_toml
from ailasd.demo import pictures
from ailasd.demo.receiver import Receiver
from ailasd.model import State
from ailasd.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.model import Picture

ROOT = Path(__file__).parents[1]
HERE = ZoneInfo("Indian/Antananarivo")
NOBODY = 65534


class Kit(NamedTuple):
    """A kit's files."""

    home: Path

    @property
    def card(self) -> Path:
        return self.home / "card"

    @property
    def config(self) -> Path:
        return self.home / "config.toml"

    def configure(self, *, url: str = "", token: str = "", sources: tuple[Path, ...] = (), more: str = "") -> None:
        (self.home / "token").write_text(token)
        (self.home / "token").chmod(0o600)
        self.config.write_text(
            f'kit = "kit-07"\n[storage]\nfolder = "{self.home}/state"\nreserve = "10MB"\n'
            f'[server]\nurl = "{url}"\ntoken_file = "{self.home}/token"\n'
            f"[cards]\nwatch = false\n[inbox]\nfolder = ''\n"
            f"[sources]\nfolders = {json.dumps([str(one) for one in sources])}\n"
            f"[upload]\nmetered = true\n{more}"  # what network this machine is in is none of a test's business
        )

    def __call__(self, *words: str) -> Result:
        """`ailasd WORDS` in this process."""
        return CliRunner().invoke(program, ["--config", str(self.config), *words])

    def spawn(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """`python -m ailasd WORDS`."""
        command = [sys.executable, "-m", "ailasd", "--config", str(self.config), *words]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
        )

    def catalogue(self) -> Catalogue:
        return Catalogue(self.home / "state/catalogue.db", SystemClock())

    def picture(self, name: str) -> Picture:
        with self.catalogue() as catalogue:
            (found,) = catalogue.pictures.find(name)
            return found

    def move(self, name: str, state: State, **facts: Any) -> None:
        """As a step would."""
        with self.catalogue() as catalogue:
            catalogue.pictures.move(self.picture(name), state, **facts)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """The card of ``kit``, and what importing it once gave; in memory, where flushing costs nothing."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with TemporaryDirectory(dir=memory) as home:
        made = Kit(Path(home))
        made.configure()
        pictures.write_card(made.card, drive(6, no_fix=(0,)))
        assert made("import", str(made.card)).exit_code == 0
        yield made.home


@pytest.fixture
def kit(template: Path) -> Iterator[Kit]:
    """One with a card of six pictures, the first of them without a position, and no server."""
    with TemporaryDirectory(dir=template.parent) as home:
        made = Kit(Path(home))
        made.configure()
        shutil.copytree(template / "card", made.card)
        yield made


@pytest.fixture
def full(kit: Kit, template: Path) -> Kit:
    """The same, its card imported."""
    shutil.copytree(template / "state", kit.home / "state")
    return kit


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


# -- the program ------------------------------------------------------------------------------------------------------
def test_help_has_the_one_table_of_codes() -> None:
    """`ailasd --help` shows every exit code with its meaning, and every command."""
    text = CliRunner().invoke(program, ["--help"], terminal_width=120).output
    for line in table().splitlines():
        assert line in text
    for command in ("run", "import", "status", "why", "log", "hold", "release", "retry", "check-config", "demo"):
        assert re.search(rf"^  {command} +[A-Z]", text, re.MULTILINE)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_imports_nothing_that_it_does_not_need(word: str) -> None:
    """Help and version load neither the daemon, nor the catalogue, nor any library but click."""
    show = (
        "import sys; sys.argv = ['ailasd', sys.argv[1]]\nfrom ailasd.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", show, word], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert {name for name in loaded if name.startswith("ailasd")} == {
        "ailasd", "ailasd.cli", "ailasd.cli.commands", "ailasd.cli.examine", "ailasd.cli.limits", "ailasd.cli.log_in",
        "ailasd.cli.pin", "ailasd.cli.set_up", "ailasd.cli.show", "ailasd.cli.tell", "ailasd.cli.program",
        "ailasd.cli.exits", "ailasd.errors",
    }  # fmt: skip
    libraries = {"PIL", "apscheduler", "httpx", "pydantic", "qrcode", "sqlite3", "sqlite_utils", "structlog"}
    assert loaded.isdisjoint(libraries)


def test_looking_needs_no_network_and_no_pictures(full: Kit) -> None:
    """Status, why and log load neither the HTTP client nor the scheduler nor Pillow."""
    show = (
        "import sys\nfrom ailasd.cli import program\n"
        "for words in (['status'], ['why', 'G0010002.JPG'], ['log']):\n"
        "    try: program(['--config', sys.argv[1], *words])\n    except SystemExit as end: assert not end.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", show, str(full.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert loaded.isdisjoint({"PIL.Image", "apscheduler", "httpx", "ailasd.daemon", "ailasd.panoramax"})


def test_python_m_ailasd(full: Kit) -> None:
    """`python -m ailasd` is the same program, with its exit code."""
    process = full.spawn("status")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("kit-07 at ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NoLink("x"), Exit.TEMPORARY),
        (errors.NoRoom("x"), Exit.TEMPORARY),
        (errors.NotLoggedIn("x"), Exit.NO_LOGIN),
        (errors.WrongServer("x"), Exit.NO_LOGIN),
        (errors.ConfigError("x"), Exit.CONFIG),
        (errors.CatalogueError("x"), Exit.STORAGE),
        (errors.Unreadable("x"), Exit.STORAGE),
        (PermissionError("x"), Exit.STORAGE),
        (errors.NeedsHuman("x"), Exit.PERSON),
        (KeyError("x"), Exit.BUG),
    ],
)
def test_each_error_has_its_code(error: Exception, code: Exit) -> None:
    """What went wrong decides the code, by its remedy."""
    assert code_of(error) is code


def test_a_bug_gives_its_traceback_without_secrets(full: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ailasd is shown whole, for a report, but no token in it; its code is 70."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJnZW8ifQ.abc")

    monkeypatch.setattr("ailasd.status.summary", broken)
    done = full("status")
    assert done.exit_code == Exit.BUG
    assert "Traceback" in done.output
    assert "RuntimeError: ***" in done.output


def test_a_damaged_catalogue_is_one_sentence(full: Kit) -> None:
    """A file that is no catalogue is no traceback: code 74 and what to do."""
    (full.home / "state/catalogue.db").write_bytes(b"nonsense " * 2000)
    for leftover in full.home.glob("state/catalogue.db-*"):
        leftover.unlink()
    done = full("status")
    assert done.exit_code == Exit.STORAGE
    assert "cannot be used" in done.output
    assert "Traceback" not in done.output


# -- configuration ----------------------------------------------------------------------------------------------------
def test_every_fault_of_the_configuration(kit: Kit) -> None:
    """Any command with a wrong configuration names all its faults and ends with 78."""
    kit.config.write_text("kit = 5\n[upload]\nconnections = 99\nfoo = 1\n")
    for words in (["check-config"], ["status"], ["run"]):
        done = kit(*words)
        assert done.exit_code == Exit.CONFIG
        for key in ("kit", "upload.connections", "upload.foo"):
            assert key in done.output


def test_check_config_shows_what_is_in_force(kit: Kit) -> None:
    """What is shown is itself a configuration, and means the same."""
    more = (
        '[triage]\nfill_gap = "90s"\n[drives.semantics]\n"ailas|campaign" = "2026"\n[cleaning]\nlocal_after = "30d"\n'
    )
    kit.configure(more=more)
    done = kit("check-config")
    assert done.exit_code == 0
    assert parse(done.stdout, "shown") == parse(kit.config.read_text(), "written")
    assert tomllib.loads(done.stdout)["triage"]["fill_gap"] == "90s"
    assert parse(as_toml(parse("", "")), "") == parse("", "")


def test_check_config_has_a_second_look(kit: Kit) -> None:
    """What is allowed but doubtful is said: a folder that is not there, a token that is missing."""
    kit.configure(url="https://panoramax.example.org", sources=(kit.home / "nowhere",))
    (kit.home / "token").unlink()
    done = kit("check-config")
    assert done.exit_code == 0
    assert "nowhere is not there now" in done.stderr
    assert f"{kit.home}/token cannot be read" in done.stderr


def test_check_config_online(kit: Kit, receiver: Receiver) -> None:
    """The server is asked who we are: 0 with the account's name, 77 for a revoked token, 75 when it is away."""
    token = receiver.token("kit-07")
    kit.configure(url=receiver.url, token=token)
    done = kit("check-config", "--online")
    assert done.exit_code == 0
    assert 'knows this kit as "kit-07"' in done.stderr
    assert token not in done.output
    receiver.revoke(token)
    assert kit("check-config", "--online").exit_code == Exit.NO_LOGIN
    receiver.away()
    assert kit("check-config", "--online").exit_code == Exit.TEMPORARY
    kit.configure()
    assert kit("check-config", "--online").exit_code == Exit.CONFIG


def test_without_a_configuration(kit: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An ordinary user without any file gets the built-in values, and a storage folder that he can write to."""
    monkeypatch.setattr("ailasd.cli.commands.SYSTEM_CONFIG", tmp_path / "missing.toml")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("AILASD_CONFIG", raising=False)
    for xdg, folder in (
        (str(tmp_path / "xdg"), tmp_path / "xdg/ailasd"),
        ("relative", Path.home() / ".local/state/ailasd"),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", xdg)
        done = CliRunner().invoke(program, ["check-config"])
        assert done.exit_code == 0
        assert f'folder = "{folder}"' in done.stdout
    monkeypatch.setenv("AILASD_CONFIG", str(kit.config))
    assert 'kit = "kit-07"' in CliRunner().invoke(program, ["check-config"]).stdout


# -- import -----------------------------------------------------------------------------------------------------------
def test_import(kit: Kit) -> None:
    """A card's counts are said in words, what is held and what waits, and the second time everything is known."""
    (kit.card / "DCIM/100GOPRO/GX010001.MP4").write_bytes(b"x")
    done = kit("import", str(kit.card))
    assert done.exit_code == 0
    assert "Of 8 files on it 6 copied (" in done.stdout
    assert "0 known, 2 left: other files 1, videos 1." in done.stdout
    assert "1 picture held here" in done.stdout
    assert "5 pictures wait to be sent; no server is configured" in done.stdout
    assert done.stderr.startswith("Copying: 6 files, ")
    assert "0 copied (0 bytes), 6 known" in kit("import", str(kit.card)).stdout
    again = kit("import", str(kit.card), "--verify")
    assert "6 known" in again.stdout
    assert "Copying: 6 files" in again.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_whose_folder_it_is(full: Kit) -> None:
    """What root made in the service's folder it could not clear: all that `sudo ailasd` makes is the service's."""
    for path in (full.home, *full.home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    before = {*full.home.rglob("*")}
    pictures.write_card(full.home / "another", drive(2, seed=9))
    assert in_a_child(full, "import", str(full.home / "another"))[0] == Exit.FINE
    made = {*(full.home / "state").rglob("*")} - before
    assert len([path for path in made if path.suffix == ".jpg"]) == 2
    assert {path.stat().st_uid for path in made} == {NOBODY}
    assert not any(path.stat().st_mode & 0o007 for path in made)
    (full.home / "another").chmod(0o700)
    code, said = in_a_child(full, "import", str(full.home / "another"))
    assert (code, "may not be read by the user nobody" in said) == (Exit.STORAGE, True)


def in_a_child(kit: Kit, *words: str) -> tuple[int, str]:
    """The code and the output of a command in a process of its own, which may become somebody else."""
    there, back = os.pipe()
    if (child := os.fork()) == 0:
        done = kit(*words)
        os.write(back, done.output.encode())
        os._exit(done.exit_code)
    os.close(back)
    with os.fdopen(there) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("user", "owner", "said"), [(4242, NOBODY, "say `sudo ailasd import ...`"), (0, 4242, "not known here (#4242)")]
)
def test_who_may_make_nothing_there_is_told(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, user: int, owner: int, said: str
) -> None:
    """Another user is told the command; that of a folder which nobody here knows is for a person to find out."""
    (kit.home / "state").mkdir(mode=0o750)
    os.chown(kit.home / "state", owner, owner)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with held_to_permissions():
        done = kit("import", str(kit.card))
    assert done.exit_code == Exit.PERSON
    assert said in done.output
    assert list((kit.home / "state").iterdir()) == []


def test_import_of_no_folder(kit: Kit) -> None:
    """A path that is missing or a file is one sentence and a usage error, our own storage a refusal."""
    assert kit("import", str(kit.home / "missing")).exit_code == Exit.USAGE
    assert kit("import", str(kit.config)).exit_code == Exit.USAGE
    (kit.home / "state/pictures").mkdir(parents=True)
    for ours in ("state", "state/pictures", "."):
        done = kit("import", str(kit.home / ours))
        assert "our own storage" in done.output
        assert done.exit_code == Exit.TEMPORARY


def test_import_with_an_unreadable_file(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read costs that file, is named, and makes the code 1; `why` tells of it."""
    with (kit.card / "DCIM/100GOPRO/G0010003.JPG").open("r+b") as file:
        os.truncate(file.fileno(), 2 << 40)  # sparse: more than any camera writes, and never read
    read = FolderSource.open

    def bad_sector(self, file):
        if file.path.endswith("4.JPG"):
            raise errors.Unreadable("Input/output error.")  # what a bad sector becomes; root can read all else
        return read(self, file)

    monkeypatch.setattr(FolderSource, "open", bad_sector)
    done = kit("import", str(kit.card))
    assert done.exit_code == Exit.PERSON
    assert "could not be read 1, too large for a picture 1" in done.stdout
    assert "DCIM/100GOPRO/G0010004.JPG cannot be read: Input/output error; the rest goes on." in done.stderr
    assert "could not be copied: Input/output error. Put the card in again" in kit("why", "G0010004.JPG").stdout


def test_no_room(kit: Kit) -> None:
    """Without room nothing is copied, the code is 75, and the sentence says so."""
    kit.config.write_text(kit.config.read_text().replace('"10MB"', '"9TB"'))
    done = kit("import", str(kit.card))
    assert done.exit_code == Exit.TEMPORARY
    assert "no room here 6" in done.stdout


def test_import_and_send(kit: Kit, receiver: Receiver) -> None:
    """With --send everything that may be sent is confirmed at the end, held pictures stay."""
    kit.configure(url=receiver.url, token=receiver.token("kit-07"))
    done = kit("import", str(kit.card), "--send")
    assert done.exit_code == 0, done.output
    assert "is confirmed by the server" in done.stdout
    assert len(receiver.holds()) == 5
    assert kit.picture("G0010002.JPG").state is State.CONFIRMED
    said = kit("why", "G0010002.JPG").stdout
    assert "is safe: the server proved" in said
    assert receiver.url in said


def test_send_while_the_link_is_away(kit: Kit, receiver: Receiver) -> None:
    """Copied all the same; 75 says that not everything could be sent, 77 that the token is wrong."""
    token = receiver.token("kit-07")
    kit.configure(url=receiver.url, token=token)
    receiver.revoke(token)
    assert kit("import", str(kit.card), "--send").exit_code == Exit.NO_LOGIN
    receiver.away()
    done = kit("import", str(kit.card), "--send")
    assert done.exit_code == Exit.TEMPORARY
    assert "5 pictures not confirmed yet" in done.stdout
    assert kit("status").exit_code in (Exit.FINE, Exit.PERSON)


def test_send_in_hours_that_are_off(kit: Kit, receiver: Receiver) -> None:
    """Copied, not sent, and said why and what lifts it; after that has been said, it is sent."""
    kit.configure(url=receiver.url, token=receiver.token("kit-07"), more='rates = { "00:00-24:00" = "off" }\n')
    began = time.monotonic()
    done = kit("import", str(kit.card), "--send")
    assert done.exit_code == Exit.TEMPORARY
    assert "5 pictures not confirmed yet: nothing is sent now (upload.rates)" in done.stdout
    assert "`ailasd upload --now` lifts that" in done.stdout
    assert time.monotonic() - began < 30
    assert kit("upload", "--now").exit_code == 0
    assert kit("import", str(kit.card), "--send").exit_code == 0
    assert len(receiver.holds()) == 5


def test_import_beside_a_daemon(kit: Kit) -> None:
    """While a daemon runs, import works, says that the daemon sends, and --send leaves that to it with 75."""
    kit.configure(url="http://127.0.0.1:9", token="x")
    (kit.home / "state").mkdir()
    with (kit.home / "state/daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = kit("import", str(kit.card))
        assert done.exit_code == 0
        assert "the daemon sends them" in done.stdout
        assert "the daemon runs" in kit("status").stdout
        assert kit("import", str(kit.card), "--send").exit_code == Exit.TEMPORARY
    assert "the daemon does not run" in kit("status").stdout


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(tmp_path: Path, terminal: bool) -> None:
    """On a terminal a bar with rate and time left; elsewhere a plain line every ten seconds."""
    main, other = os.openpty() if terminal else (None, os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT))
    now = [0.0]
    with os.fdopen(other, "w", newline="") as out, Meter("Copying", out, lambda: now[0]) as meter:
        meter.begins(100, 100_000_000)
        for second in range(1, 26):
            now[0] = float(second)
            meter.advances(2_000_000)
        out.flush()
        said = (tmp_path / "out").read_text() if main is None else ""
        while main is not None and "50%" not in said:  # a terminal hands on a piece at a time
            said += os.read(main, 100_000).decode()
    if terminal:
        assert "Copying  [##" in said
        assert "2.0 MB/s" in said
        assert "\r" in said
    else:
        assert said.splitlines() == [
            "Copying: 100 files, 100 MB",
            "Copying: 20 % of 100 MB, 2.0 MB/s, 40 s left",
            "Copying: 40 % of 100 MB, 2.0 MB/s, 30 s left",
        ]


# -- status, why, log -------------------------------------------------------------------------------------------------
def test_looking_makes_nothing(kit: Kit) -> None:
    """Before anything was imported, commands that look say so with 66 and make no folder."""
    for words in (["status"], ["why", "x"], ["log"]):
        done = kit(*words)
        assert done.exit_code == Exit.NOT_FOUND
        assert "There is no catalogue in" in done.output
    assert not (kit.home / "state").exists()


def test_status(full: Kit) -> None:
    """Nothing for a person to do is 0, a refused picture 1 with the command; --json and --trip say the same counts."""
    assert full("status").exit_code == 0
    full.move("G0010003.JPG", State.REFUSED, reason="excluded_area", why="It lies in an excluded area.")
    done = full("status")
    assert done.exit_code == Exit.PERSON
    assert "ailasd retry --reason excluded_area" in done.stdout
    said = json.loads(full("status", "--json").stdout)
    assert {count["state"]: count["pictures"] for count in said["counts"]} == {"held": 1, "queued": 4, "refused": 1}
    assert "6 pictures = 0 confirmed + 1 held + 1 refused + 4 queued" in full("status", "--trip").stdout


LOOKING = [["status"], ["log"], ["why", "G0010001.JPG"], ["report", "1"], ["export", "--format", "gpx"]]


@pytest.mark.parametrize("closed", ["state", "state/catalogue.db"])
@pytest.mark.parametrize("words", [*LOOKING, ["bundle"]])
def test_who_may_not_look(full: Kit, monkeypatch: pytest.MonkeyPatch, words: list[str], closed: str) -> None:
    """Another user is told who may, rather than of a file that cannot be opened; half a bundle is none."""
    monkeypatch.chdir(full.home)
    (full.home / closed).chmod(0)
    try:
        with held_to_permissions():
            done = full(*words)
    finally:
        (full.home / closed).chmod(0o750)
    assert done.exit_code == Exit.STORAGE
    say = f"say `sudo ailasd {words[0]} ...`"
    assert done.output == f"Only the service and root may look into {full.home}/state: {say}.\n"


@pytest.mark.parametrize("words", LOOKING)
def test_who_may_only_read_looks(full: Kit, words: list[str]) -> None:
    """A member of the service's group is told what the service is told, and nothing is made or changed for it."""
    state = full.home / "state"
    said, there = full(*words), sorted(state.iterdir())
    (state / "catalogue.db").chmod(0o440)
    state.chmod(0o550)
    try:
        with held_to_permissions():
            done = full(*words)
    finally:
        state.chmod(0o750)
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (Exit.FINE, said.stdout.splitlines()[1:])
    assert sorted(state.iterdir()) == there


STORIES = {
    State.HELD: "is held: it has no GPS position: the receiver had no fix. It is kept here; `ailasd release ",
    State.QUEUED: "waits to be sent",
    State.SENT: "was received by the server, which has not proven yet",
    State.CONFIRMED: "is safe: the server proved",
    State.REFUSED: "was refused (an excluded area): it lies in an excluded area. It is kept here; `ailasd retry ",
    State.CLEANED: "is safe: the server holds it; our own copy was deleted",
}


def test_why_in_each_state(full: Kit) -> None:
    """One sentence for each state, then where it was seen and its history; never a coordinate."""
    for name, way in {
        "G0010001.JPG": [State.HELD],
        "G0010002.JPG": [State.QUEUED, State.SENT, State.CONFIRMED, State.CLEANED],
        "G0010003.JPG": [State.QUEUED, State.REFUSED],
    }.items():
        for state in way:
            if full.picture(name).state is not state:
                full.move(
                    name,
                    state,
                    **(
                        {"reason": "excluded_area", "why": "It lies in an excluded area."}
                        if state is State.REFUSED
                        else {}
                    ),
                )
            said = full("why", name).stdout
            assert f"{name} {STORIES[state]}" in said.splitlines()[0]
            assert f"seen on HERO13 Black (3456): DCIM/100GOPRO/{name}" in said
            assert "copied from the card and verified" in said
            assert "-18." not in said
            assert "47.5" not in said


def test_why_of_one_that_waits(full: Kit) -> None:
    """A picture that failed says how often, why, when it is tried again, and that the link is away."""
    with full.catalogue() as catalogue:
        catalogue.pictures.failed(full.picture("G0010002.JPG"), "the server answered 500", wait_s=600)
        catalogue.telling.remember("link", json.dumps({"state": "link_lost", "why": "no route", "at": "2026"}))
    said = full("why", "G0010002.JPG").stdout.splitlines()[0]
    assert "waits to be sent: 1 attempts failed, the last time so: the server answered 500" in said
    assert "the next one is due in 10 min" in said or "due in 9 min" in said
    assert said.endswith("nothing can be sent just now: no route.")


def test_why_by_any_name(full: Kit) -> None:
    """The md5, its first digits, a path on the card, our copy's path and a second name all find the picture."""
    one = full.picture("G0010002.JPG")
    again = full.card / "DCIM/100GOPRO/OTHER002.JPG"
    shutil.copy(full.card / "DCIM/100GOPRO/G0010002.JPG", again)
    full("import", str(full.card))
    for name in (
        one.md5,
        one.md5[:8].upper(),
        "/media/x/DCIM/100GOPRO/G0010002.JPG",
        f"{full.home}/state/{one.copy}",
        "OTHER002.JPG",
    ):
        assert f"md5 {one.md5}" in full("why", name).stdout
    assert full("why", "NEVER.JPG").exit_code == Exit.NOT_FOUND


def test_why_of_several(full: Kit) -> None:
    """A name that two cards have is answered with a short list of both; by hand it moves neither."""
    other = full.home / "other"
    pictures.write_card(other, drive(6, seed=90, start=START + timedelta(days=1)), serial="C3471325000001")
    full("import", str(other))
    done = full("why", "G0010002.JPG")
    assert done.exit_code == 0
    assert "2 pictures are called so" in done.stdout
    assert done.stdout.count("G0010002.JPG, taken 2026-11-2") == 2
    assert full("hold", "G0010002.JPG").exit_code == Exit.USAGE
    assert full("hold", done.stdout.splitlines()[1].split()[0]).exit_code == 0


def test_why_of_an_unread_file(full: Kit) -> None:
    """A file that was never copied is told with its problem."""
    with full.catalogue() as catalogue, catalogue.writing() as db:
        db.conn.execute("UPDATE card_file SET picture = NULL, problem = 'bad sector.' WHERE path LIKE '%G0010004.JPG'")
        db.conn.execute("UPDATE picture SET name = 'x' WHERE name = 'G0010004.JPG'")
    said = full("why", "G0010004.JPG").stdout
    assert "DCIM/100GOPRO/G0010004.JPG on HERO13 Black (3456) could not be copied: bad sector. Put the card in" in said


def test_hostile_words_are_printed_harmless(full: Kit) -> None:
    """Names from a card and words of a server reach the terminal without escapes."""
    with full.catalogue() as catalogue, catalogue.writing() as db:
        evil = "a\x1b[2Jb.jpg"
        db.conn.execute("UPDATE picture SET name = ?, why = ? WHERE id = 1", (evil, evil))
        db.conn.execute("UPDATE card SET label = ?", (evil,))
    for words in (
        ["log"],
        ["status"],
        ["why", "a\x1b[2Jb.jpg"],
        ["why", "z\x1b[2J"],
    ):
        assert "\x1b" not in full(*words).output


def test_log(full: Kit) -> None:
    """The timeline is in plain words, oldest first; by card, drive and time; as JSON one object a line."""
    lines = full("log").stdout.splitlines()
    assert "HERO13 Black (3456) was read: of 7 files 6 copied" in lines[0]
    assert any("Drive 1: held here, not sent: 1 (no_position)." in line for line in lines)
    by_card = full("log", "--card", "HERO13 Black (3456)").stdout
    assert full("log", "--card", "1").stdout == by_card
    assert "HERO13 Black (3456) was read" in by_card
    assert "Drive 1: pictures of" in by_card
    assert "was read" not in full("log", "--drive", "1").stdout
    assert "held: it has no GPS position" in full("log", "--picture", "G0010001.JPG").stdout
    assert full("log", "--level", "error").stdout == ""
    assert "G0010001.JPG: held: it has no GPS position" in full("log", "--level", "debug").stdout
    assert full("log", "--until", "2h").stdout == ""
    assert full("log", "--since", "2h").stdout == full("log").stdout
    assert full("log", "--since", "2200-01-01").stdout == ""
    said = [json.loads(line) for line in full("log", "--json").stdout.splitlines()]
    assert (said[0]["name"], said[0]["level"]) == ("import_started", "info")
    assert "Reading HERO13 Black (3456): 6 to copy" in said[0]["sentence"]
    assert full("log", "--card", "nope").exit_code == Exit.NOT_FOUND
    assert full("log", "--since", "soon").exit_code == Exit.USAGE


def test_log_says_what_it_leaves_out(full: Kit) -> None:
    """Older events than are shown are never left out silently, with no filter and in no form; more can be asked for."""
    events = [json.loads(line) for line in full("log", "--json").stdout.splitlines()]
    count = len(events)
    assert count > 3
    for more in ([], ["--since", "2h"], ["--card", "1"]):
        done = full("log", "--json", "--last", "3", *more)
        assert [json.loads(line) for line in done.stdout.splitlines()] == events[-3:]
        assert "These are the last 3; there are older ones" in done.stderr
    assert "older ones" in full("log", "--last", "3").stderr
    assert full("log", "--last", str(count)).stderr == ""
    with full.catalogue() as catalogue, catalogue.writing() as db:
        db.conn.executemany(
            "INSERT INTO event (at, name, detail, clock_trusted) VALUES (?, 'link_back', '{\"away_s\": 1}', 1)",
            [(events[-1]["at"],)] * 1000,
        )
    assert "These are the last 1 000; there are older ones" in full("log").stderr
    assert len(full("log", "--json", "--last", "2000").stdout.splitlines()) == count + 1000


def test_bundle(full: Kit) -> None:
    """The bundle is written whole, readable by nobody else, under a name with kit and date unless one is given."""
    to = full.home / "all.zip"
    done = full("bundle", "--output", str(to))
    assert done.exit_code == 0, done.output
    assert to.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(to) as whole:
        assert {"README.txt", "status.txt", "doctor.txt", "diary.txt", "catalogue.db"} <= set(whole.namelist())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", "2026-11-21T08:00:00.000Z"),
        ("30min", "2026-11-21T09:30:00.000Z"),
        ("3d", "2026-11-18T10:00:00.000Z"),
        ("2026-11-20", "2026-11-19T21:00:00.000Z"),
        ("2026-11-20T10:15", "2026-11-20T07:15:00.000Z"),
        ("2026-11-20T10:15Z", "2026-11-20T10:15:00.000Z"),
    ],
)
def test_since(text: str, moment: str) -> None:
    """A span counts back from now, a date is meant where the vehicles drive."""
    assert story.since(text, datetime(2026, 11, 21, 10, tzinfo=UTC), HERE) == moment


@pytest.mark.parametrize("text", ["", "h", "2 weeks", "99999999999d", "yesterday"])
def test_no_since(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="neither"):
        story.since(text, datetime(2026, 11, 21, 10, tzinfo=UTC), HERE)


# -- by hand ----------------------------------------------------------------------------------------------------------
def test_release_gives_a_place(full: Kit) -> None:
    """A held picture that is released gets into its drive's open sequence, and is told of."""
    done = full("release", "--reason", "no_position")
    assert (done.exit_code, done.stdout) == (0, "1 picture will be sent.\n")
    first, second = full.picture("G0010001.JPG"), full.picture("G0010002.JPG")
    assert first.state is State.QUEUED
    assert first.sequence == second.sequence
    assert "By hand: 1 moved to queued." in full("log").stdout
    assert full("release", "--all").exit_code == Exit.NOT_FOUND


def test_release_into_a_new_sequence(full: Kit) -> None:
    """If the drive's sequence is completed, what is released gets one of its own."""
    second = full.picture("G0010002.JPG")
    with full.catalogue() as catalogue:
        catalogue.drives.completing(second.sequence or 0, 1)
    assert full("release", "G0010001.JPG").exit_code == 0
    first = full.picture("G0010001.JPG")
    assert first.sequence not in (None, second.sequence)
    assert first.drive == second.drive


def test_released_is_sent(kit: Kit, receiver: Receiver) -> None:
    """A held picture that a person releases goes to the server, which decides."""
    pictures.write_card(kit.card, drive(12, speed_kmh=0, every_s=20))
    kit.configure(url=receiver.url, token=receiver.token("kit-07"))
    kit("import", str(kit.card), "--send")
    before = len(receiver.holds())
    assert before < 12
    assert kit("release", "--reason", "parked", "--drive", "1").exit_code == 0
    done = kit("import", str(kit.card), "--send")
    assert done.exit_code == 0, done.output
    assert len(receiver.holds()) == 12


def test_prefer(full: Kit) -> None:
    """A person puts a drive before or behind all others, and it is told; a drive that is not there is not found."""
    assert full("prefer", "1", "last").stdout == "Drive 1 is sent behind all others.\n"
    last = full.picture("G0010002.JPG")
    with full.catalogue() as catalogue:
        behind = catalogue.pictures.whole_row(last.id)["rank"]
    assert full("prefer", "1", "first").stdout == "Drive 1 is sent before all others.\n"
    with full.catalogue() as catalogue:
        assert catalogue.pictures.whole_row(last.id)["rank"] < behind
    assert "By hand: drive 1 is sent before all others." in full("log").stdout
    assert full("prefer", "7", "first").exit_code == Exit.NOT_FOUND
    assert full("prefer", "1", "soon").exit_code == 2


def test_hold_and_release(full: Kit) -> None:
    """Queued and refused pictures can be held, and keep their place; confirmed ones cannot."""
    place = full.picture("G0010002.JPG").sequence
    full.move("G0010003.JPG", State.REFUSED, reason="gave_up", why="x")
    for choice in (["G0010002.JPG"], ["--reason", "gave_up"]):
        assert full("hold", *choice).stdout == "1 picture held here from now on.\n"
    assert full("status").exit_code == 0  # nobody has to act on what was put to rest
    held = full.picture("G0010002.JPG")
    assert (held.state, held.reason) == (State.HELD, "by_hand")
    assert "is held: a person wants it so" in full("why", "G0010002.JPG").stdout
    assert full("release", "--reason", "by_hand").stdout == "2 pictures will be sent.\n"
    assert full.picture("G0010002.JPG").sequence == place
    full.move("G0010002.JPG", State.SENT)
    full.move("G0010002.JPG", State.CONFIRMED)
    done = full("hold", "G0010002.JPG")
    assert done.exit_code == Exit.NOT_FOUND
    assert "G0010002.JPG is confirmed" in done.output


def test_hold_before_it_is_sorted(full: Kit) -> None:
    """What is held before it was judged is judged when it is released."""
    with full.catalogue() as catalogue, catalogue.writing() as db:
        db.conn.execute("UPDATE picture SET state = 'copied', drive = NULL, sequence = NULL WHERE state = 'queued'")
    assert full("hold", "G0010002.JPG").exit_code == 0
    assert full("release", "G0010002.JPG").exit_code == 0
    assert full.picture("G0010002.JPG").state is State.COPIED
    full("import", str(full.card))
    assert full.picture("G0010002.JPG").state is State.QUEUED


def test_retry(full: Kit) -> None:
    """Refused pictures are queued again, afresh; what the server may have is looked for first; waiting ones are due."""
    full.move("G0010002.JPG", State.REFUSED, reason="gave_up", why="x", losses=1, upload_set="s", server_id="i")
    full.move("G0010003.JPG", State.REFUSED, reason="excluded_area", why="x")
    with full.catalogue() as catalogue:
        catalogue.pictures.failed(full.picture("G0010004.JPG"), "x", wait_s=600)
    assert full("retry", "--all").stdout == "3 pictures will be sent now.\n"
    gave_up, excluded, waited = (full.picture(f"G001000{number}.JPG") for number in (2, 3, 4))
    assert {one.state for one in (gave_up, excluded, waited)} == {State.QUEUED}
    assert (gave_up.asked, gave_up.losses, gave_up.upload_set) == (True, 0, None)
    assert not excluded.asked
    assert waited.attempts == 0
    with full.catalogue() as catalogue:
        assert catalogue.pictures.seconds_to_next() is None


def test_release_without_a_copy(full: Kit) -> None:
    """What we have no copy of any more cannot be sent: it stays held, and the card is asked for."""
    full.move("G0010002.JPG", State.HELD, reason="copy_lost", why="gone")
    (full.home / "state" / str(full.picture("G0010002.JPG").copy)).unlink()
    done = full("release", "--reason", "copy_lost")
    assert done.exit_code == Exit.NOT_FOUND
    assert "no copy of 1 picture any more: put their card in again" in done.stderr
    assert full.picture("G0010002.JPG").state is State.HELD


@pytest.mark.parametrize("words", [[], ["G0010002.JPG", "--all"], ["--all", "--drive", "1"]])
@pytest.mark.parametrize("command", ["hold", "release", "retry"])
def test_no_clear_choice(full: Kit, command: str, words: list[str]) -> None:
    """Nothing is moved unless it is said in one way which pictures."""
    assert full(command, *words).exit_code == Exit.USAGE


CLEARED = '[cleaning]\ncard = "confirmed"\n'


def test_release_cleaning(full: Kit) -> None:
    """Cleaning goes on, also on a card whose missing files a person accepted; the next look does not stop it again."""
    full.configure(sources=(full.card,), more=CLEARED)
    (full.card / "DCIM/100GOPRO/G0010006.JPG").unlink()
    full("import", str(full.card))
    with full.catalogue() as catalogue:
        catalogue.telling.remember("cleaning_stopped", "x")
    assert full("status").stdout.count("ailasd release --cleaning") == 2
    assert full("release", "--cleaning").stdout == "Cleaning may go on.\n"
    assert full("status").exit_code == 0
    full("import", str(full.card))
    assert full("status").exit_code == 0
    (full.card / "DCIM/100GOPRO/G0010005.JPG").unlink()
    full("import", str(full.card))
    assert full("status").exit_code == Exit.PERSON


def test_release_cleaning_of_a_card_that_is_away(full: Kit) -> None:
    """It holds for what was missed, wherever the card is by now; what is missed later stops it again."""
    full.configure(more=CLEARED)
    for number, missing in enumerate(("G0010006.JPG", "G0010005.JPG")):
        (full.card / "DCIM/100GOPRO" / missing).unlink()
        full("import", str(full.card))
        assert "Nothing is deleted from HERO13 Black (3456)" in full("status").stdout, number
        assert full("release", "--cleaning").stdout == "Cleaning may go on.\n"
        full("import", str(full.card))
        assert "Nothing is deleted" not in full("status").stdout, number


def test_release_server(full: Kit) -> None:
    """The account that our pictures went to is forgotten, and nothing else."""
    with full.catalogue() as catalogue:
        catalogue.telling.remember("account", "old")
    assert full("release", "--server").exit_code == 0
    with full.catalogue() as catalogue:
        assert catalogue.telling.fact("account") is None
    assert full.picture("G0010001.JPG").state is State.HELD


# -- run, demo --------------------------------------------------------------------------------------------------------
def wait_for(process: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    """The log's lines up to ``event``."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if lines[-1]["event"] == event:
            break
    return lines


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_run_stops_cleanly(kit: Kit, how: signal.Signals) -> None:
    """The daemon imports its folders, logs JSON lines without its token, and ends with 0 soon after a signal."""
    kit.configure(url="http://127.0.0.1:9", token="secret-token-of-the-kit", sources=(kit.card,))
    process = kit.spawn("run")
    try:
        lines = wait_for(process, "import_finished")
        assert {"config_loaded", "daemon_started", "import_started"} <= {line["event"] for line in lines}
        began = time.monotonic()
        process.send_signal(how)
        _, rest = process.communicate(timeout=20)
        assert process.returncode == 0, rest
        assert time.monotonic() - began < 6
        assert "daemon_stopping" in rest
        assert "secret-token" not in rest + json.dumps(lines)
    finally:
        process.kill()


def test_only_one_daemon(kit: Kit) -> None:
    """A second daemon on the same folder ends with 75 and one sentence."""
    (kit.home / "state").mkdir()
    with (kit.home / "state/daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = kit("run")
    assert done.exit_code == Exit.TEMPORARY
    assert "another ailasd daemon works in" in done.output
    assert "Traceback" not in done.output


def test_run_without_its_token(kit: Kit) -> None:
    """Without a token nothing is sent, and that is said; but cards are copied all the same."""
    kit.configure(url="https://panoramax.example.org", sources=(kit.card,))
    running = kit.spawn("run")
    try:
        until = time.monotonic() + 30
        while '"import_finished"' not in (line := running.stderr.readline() if running.stderr else ""):
            assert time.monotonic() < until
            assert line
    finally:
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=30)[1]
    assert running.returncode == 0, said
    assert "ailasd login" in kit("status").stdout


def test_interrupted_import(kit: Kit) -> None:
    """Ctrl-C in an import ends it between two files with 130; what was copied stays, and the counts add up."""
    pictures.write_card(kit.card, drive(150, seed=500, group=2, pad_to=300_000))
    process = kit.spawn("import", str(kit.card))
    try:
        assert process.stderr is not None
        process.stderr.readline()  # it has begun
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == Exit.INTERRUPTED
        assert "it was stopped" in out
    finally:
        process.kill()
    assert json.loads(kit("status", "--json").stdout)["adds_up"]


def test_demo_is_wired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`ailasd demo` hands its options on, and ends with the demo's code."""
    asked: dict[str, Any] = {}

    def show(**how: Any) -> int:
        asked.update(how)
        return 1

    monkeypatch.setattr("ailasd.demo.run.demo", show)
    assert CliRunner().invoke(program, ["demo", "--keep", str(tmp_path / "k")]).exit_code == 1
    assert {key: value for key, value in asked.items() if key != "out"} == {
        "keep": tmp_path / "k", "card": None, "server": None, "token_file": None,
    }  # fmt: skip
    assert CliRunner().invoke(program, ["demo", "--server", "http://x"]).exit_code == Exit.USAGE


# -- limits -----------------------------------------------------------------------------------------------------------
def test_upload_now_and_stop(full: Kit) -> None:
    """The limits are lifted for the time that was said, status says so and until when, and they are put back."""
    full.configure(url="http://127.0.0.1:9", token="x", more='rates = { "00:00-24:00" = "off" }\nper_day = "20MB"\n')
    with (full.home / "state/daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = full("status").stdout
        assert "Waiting because nothing is sent now (upload.rates)" in status
        assert "Sent today 0 bytes of 20.0 MB (20.0 MB left), this month 0 bytes." in status
        done = full("upload", "--now", "--for", "2h")
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith("Hours, budgets and metered networks do not count for 2 h, until ")
        assert done.stderr == ""
        status = full("status").stdout
        assert re.search(r"do not count for (2 h|1 h 59 min) more: `ailasd upload --stop` ends that\.", status)
        assert json.loads(full("status", "--json").stdout)["waiting"]["word"] == "not_looked"
        assert full("upload", "--stop").stdout == "Hours, budgets and metered networks count again.\n"
        assert json.loads(full("status", "--json").stdout)["waiting"]["word"] == "hours"
    assert "`ailasd run` sends" in full("upload", "--now").stderr
    told = full("log").stdout
    assert "By hand: sending has no limits for 2 h." in told
    assert "By hand: the limits of sending hold again." in told


@pytest.mark.parametrize("words", [[], ["--now", "--stop"], ["--now", "--for", "2"], ["--now", "--for", "8d"]])
def test_upload_of_what(full: Kit, words: list[str]) -> None:
    """What cannot be meant is not done."""
    assert full("upload", *words).exit_code == Exit.USAGE
    with full.catalogue() as catalogue:
        assert catalogue.telling.fact("override") is None
