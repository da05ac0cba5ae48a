"""SIGKILL at each moment at which a picture's life touches the disk or the network: the end is as if nothing had been.

strace kills a child process at the N-th call of a kind; what it left behind is finished by the same steps in this one.
"""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import pytest
from as_on_a_kit import environment
from kit import SetClock, md5
from one_life import LIFE, live
from real_kit import fresh

from ailasd.catalogue import Catalogue
from ailasd.confirming import LOOKS_BEFORE_ASKING_AGAIN
from ailasd.demo import pictures
from ailasd.demo.receiver import Receiver
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE: Final = Path(__file__).parent
MEMORY: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None

TAKEN: Final = datetime(2025, 11, 20, 7, tzinfo=UTC)
"""In the past for the clock of any machine."""

EFFECTS: Final = (
    "mkdir", "write", "fdatasync", "fsync", "syncfs", "renameat2", "unlink", "unlinkat", "pwrite64", "ftruncate",
    "sendto", "recvfrom",
)  # fmt: skip
"""The calls by which ailasd changes anything: copies (write to unlink), the catalogue (pwrite64, fdatasync, ftruncate),
the network (sendto; recvfrom: all was sent, and the answer is lost). Opening a file changes nothing but its name in
``incoming``, which the next call's kill leaves there just as well."""

MOST_OF_A_KIND: Final = 50
"""Only the catalogue's pwrite64 come more often, 450 times; of them every so-many-th stands for the others, because
SQLite itself makes one transaction of them."""


CLEARING: Final = 'cleaning = {card = "confirmed", local_below = "10TB"}'
"""Whatever is proven goes at once, from the card and from our own disk."""


class Life:
    """Two good pictures and one without position on a card, a kit that clears what is proven, and the receiver."""

    def __init__(
        self, folder: Path, url: str, token: str, *, pictures_: int = 3, seed: int = 7000, toml: str = CLEARING
    ) -> None:
        self.folder = folder
        self.card = folder / "card"
        self.entries = list(pictures.drive(start=TAKEN, n=pictures_, no_fix=(1,), seed=7000))
        pictures.write_card(self.card, self.entries)
        (folder / "token").write_text(token)
        (folder / "token").chmod(0o600)
        self.config = folder / "config.toml"
        self.config.write_text(f"""
            storage = {{folder = "{folder}/state", reserve = "10MB"}}
            server = {{url = "{url}", token_file = "{folder}/token"}}
            sources = {{folders = ["{self.card}"], every = "1s"}}
            confirm = {{every = "1s"}}
            upload = {{connections = 1, probe_every = "1s"}}
            {toml}
            """)

    @property
    def good(self) -> list[str]:
        """The md5 of every good picture."""
        return [md5(data) for number, (_, data, _) in enumerate(self.entries) if number != 1]

    def run(self, *strace: str) -> int:
        """The whole life in a child, under strace if options of it are given; the exit status, -9 if it was killed."""
        child = [sys.executable, str(HERE / "one_life.py"), str(self.config), *LIFE]
        under = ["strace", "-f", "-qq", *strace] if strace else []
        done = subprocess.run(
            [*under, *child], env=environment(), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
        return done.returncode

    def finish(self) -> None:
        """A new process, as far as the code can tell, does the rest; hours later."""
        # killed as it was to say that the set is complete, it looks first whether that was heard
        looks = ["later", "confirm"] * LOOKS_BEFORE_ASKING_AGAIN
        clock = SetClock(SetClock().now() + timedelta(hours=5))
        live(self.config, [*LIFE, *looks, "later", *LIFE, "later", *LIFE], clock)

    def end(self, receiver: Receiver) -> dict[str, Any]:
        """How all stands: the catalogue without ids and times, our files, the card's, what the receiver has."""
        with Catalogue(self.folder / "state" / "catalogue.db", SetClock()) as catalogue, catalogue.writing() as db:
            found = {
                "pictures": [_without(row, "since", "trace", "upload_set", "server_id", "web_link", "seen")
                             for row in db.query("SELECT * FROM picture ORDER BY md5")],
                "moves": Counter(db.execute("SELECT picture.md5, was, event.name FROM event JOIN picture"
                                            " ON picture.id = picture WHERE was IS NOT NULL").fetchall()),
                "files": db.execute("SELECT path, card_file.size, md5, problem, cleared_at IS NOT NULL FROM card_file"
                                    " LEFT JOIN picture ON picture.id = picture ORDER BY path").fetchall(),
                "sequences": db.execute("SELECT drive, part, title, completed_at IS NOT NULL, last_error"
                                        " FROM sequence").fetchall(),
                "tally": db.execute("SELECT * FROM tally WHERE pictures > 0").fetchall(),
            }  # fmt: skip
        found["ours"] = sorted(str(path.relative_to(self.folder)) for path in (self.folder / "state").rglob("*.*"))
        found["card"] = sorted(str(path.relative_to(self.card)) for path in self.card.rglob("*.*"))
        found["held"] = receiver.holds()
        found["sets"] = [sorted(one.files) for one in receiver.store.sets.values()]
        return found


def _without(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


@contextmanager
def lives() -> Iterator[tuple[Life, Receiver]]:
    """A life before its beginning."""
    with TemporaryDirectory(dir=MEMORY) as folder, Receiver() as receiver:
        yield Life(Path(folder), receiver.url, receiver.token("kit")), receiver


@pytest.fixture(scope="module")
def strace() -> None:
    """Without the right to trace a process there is nobody to kill it at a chosen call."""
    try:
        subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as why:
        pytest.skip(f"no kills at chosen system calls, since strace cannot trace here ({why}); apt-get install strace")


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """The end of a life in which nobody was killed."""
    with lives() as (life, receiver):
        assert life.run() == 0
        life.finish()
        return life.end(receiver)


def calls_of(life: Life) -> dict[str, int]:
    """How often each kind of call comes in this whole life, in the thread that has most of them."""
    assert life.run("-o", f"{life.folder}/calls", "-e", f"trace={','.join(EFFECTS)},execve") == 0
    _, *lines = re.findall(r"^(\d+) +(\w+)\(", (life.folder / "calls").read_text(), re.MULTILINE)  # but its own execve
    others = {who for who, call in lines if call == "execve"}  # a library asks ldconfig
    counts: dict[str, int] = {}
    for (who, call), times in Counter(lines).items():
        if who not in others:
            counts[call] = max(times, counts.get(call, 0))
    return counts


def killed_and_finished(call: str, nth: int, undisturbed: dict[str, Any]) -> bool:
    """Whether the child was killed there; the end is the same in any case."""
    with lives() as (life, receiver):
        code = life.run("-o", "/dev/null", "-e", f"trace={call}", f"--inject={call}:signal=KILL:when={nth}")
        life.finish()
        assert life.end(receiver) == undisturbed, f"killed at {call} number {nth}"
    return code != 0


@pytest.mark.slow
def test_an_undisturbed_life_ends_well(undisturbed):
    """Both good pictures are cleaned from card and disk and held once; the third is held here with its reason."""
    assert [row[:3] for row in undisturbed["tally"]] == [("cleaned", "", 2), ("held", "no_position", 1)]
    assert list(undisturbed["held"].values()) == [1, 1]
    assert len(undisturbed["sets"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("call", "nth"), [("renameat2", 2), ("fdatasync", 4), ("sendto", 4), ("recvfrom", 5)])
def test_killed_in_mid_life_it_ends_the_same(call, nth, strace, undisturbed):
    """Killed between copies, in a commit, before a picture is sent, before its answer is read: nobody can tell."""
    assert killed_and_finished(call, nth, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_effect_it_ends_the_same(strace, undisturbed):
    """SIGKILL at each effect of a picture's life, from the card to its cleaning, changes nothing in the end."""
    with lives() as (life, _):
        calls = calls_of(life)
    moments = [
        (call, nth)
        for call, times in calls.items()
        for nth in range(1, times + 1, 1 if times <= MOST_OF_A_KIND else 22)
    ]
    with ThreadPoolExecutor(2) as pool:  # for machines of two cores; the lives have nothing to do with each other
        killed = Counter(pool.map(lambda one: killed_and_finished(one[0], one[1], undisturbed), moments))
    assert killed[True] > 100
    assert killed[False] <= 3  # the number of calls differs a little from run to run


# -- a real Panoramax --------------------------------------------------------------------------------------------------
@pytest.mark.real
@pytest.mark.timeout(900)
def test_killed_before_the_answer_a_real_server_has_each_picture_once(real, strace, tmp_path):
    """Killed when a set, a picture or a completion was sent and no answer read, the kit ends as if it had not been."""
    token = real.instance.token("killed")

    def new_life(name: str) -> Life:
        (tmp_path / name).mkdir()
        return Life(tmp_path / name, real.url, token, seed=fresh())

    gaps = answers_to_posts(new_life("counted"))
    assert len(gaps) == 4  # the set, two pictures, the completion
    for nth in gaps:
        life = new_life(str(nth))
        assert life.run("-o", "/dev/null", "-e", "trace=recvfrom", f"--inject=recvfrom:signal=KILL:when={nth}") != 0
        patience = time.monotonic() + 60
        while tally(life) != {"cleaned": 2, "held": 1}:
            assert time.monotonic() < patience, tally(life)
            time.sleep(0.5)  # what the server's worker takes is real
            life.finish()
        there = Counter(real.instance.sql(CONTENTS).split())
        assert [there[content] for content in life.good] == [1, 1], f"killed before answer {nth}"


def answers_to_posts(life: Life) -> list[int]:
    """Which of its recvfrom calls come right after a POST was sent."""
    assert life.run("-s", "8", "-o", f"{life.folder}/calls", "-e", "trace=sendto,recvfrom") == 0
    reads, found, posted = 0, list[int](), False
    for call in re.findall(r"^\d+ +(recvfrom|sendto\(\d+, .POST)", (life.folder / "calls").read_text(), re.MULTILINE):
        if call != "recvfrom":
            posted = True
            continue
        reads += 1
        if posted:
            found.append(reads)
            posted = False
    return found


CONTENTS: Final = "SELECT replace(original_content_md5::text, '-', '') FROM pictures"


def tally(life: Life) -> dict[str, int]:
    """State -> pictures."""
    with Catalogue(life.folder / "state" / "catalogue.db", SetClock()) as catalogue:
        return {row["state"]: row["pictures"] for row in catalogue.telling.tally()}


# -- the whole daemon --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_daemon_killed_again_and_again_loses_nothing_and_sends_nothing_twice(tmp_path):
    """Killed ten times with its queue half sent, `ailasd run` ends with each picture confirmed and received once."""
    random, sent = Random(4), Counter[str]()
    with Receiver() as receiver:
        receive = receiver.store.receive

        def receiving(found, form, **how):
            answer = receive(found, form, **how)  # raises for what it has already
            sent[form.md5] += 1
            return answer

        receiver.store.receive = receiving  # type: ignore[method-assign]
        receiver.fault("send", "slow", times=None, seconds=0.02)
        life = Life(tmp_path, receiver.url, receiver.token("kit"), pictures_=60, toml="")
        wanted = dict.fromkeys(life.good, 1)
        for _ in range(10):
            with daemon(life) as process:
                enough = min(len(sent) + random.randint(0, 5), len(wanted))
                wait(partial(lambda enough: len(sent) >= enough, enough), process)
                time.sleep(random.random() / 10)  # anywhere within a picture
                process.kill()
        assert len(sent) > 5
        with daemon(life) as process:
            wait(lambda: confirmed(life) == len(wanted), process)
            process.terminate()
            assert process.wait(10) == 0
    assert receiver.holds() == wanted
    assert sent == wanted


@contextmanager
def daemon(life: Life) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon as a process of its own."""
    with (life.folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "ailasd", "--config", str(life.config), "run"]
        process = subprocess.Popen(command, env=environment(), stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait(until: Callable[[], bool], process: subprocess.Popen[bytes], within: float = 60) -> None:
    """Until it comes true while the process lives."""
    end = time.monotonic() + within
    while not until():
        assert process.poll() is None, "the daemon ended by itself"
        assert time.monotonic() < end
        time.sleep(0.01)


def confirmed(life: Life) -> int:
    """How many pictures are, while the daemon works."""
    with sqlite3.connect(f"file:{life.folder}/state/catalogue.db?mode=ro", uri=True) as db:
        return int(db.execute("SELECT count(*) FROM picture WHERE state = ?", [State.CONFIRMED]).fetchone()[0])
