"""Benchmark: what the daemon costs while nothing happens: ``python tests/bench_idle.py [SECONDS]`` (default 150).

``ailasd run`` in a venv of the base dependencies alone, with a catalogue of 5 000 pictures that are all still on the
card in its source folder, and a server that is there (the embedded receiver, in a process of its own). Before it is
measured, a fresh drive goes all the way, so that its memory is that of a daemon which has worked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import AnyStr, Final

from bench import CHECKOUT, base_env, base_python, end_cleanly, goal, memory_mb
from bench_reimport import make_card, make_known

sys.path.insert(0, str(CHECKOUT))
from ailasd.config import load
from ailasd.demo.pictures import drive, write_card
from ailasd.demo.receiver import Receiver
from ailasd.model import State
from ailasd.parts import Ailasd
from ailasd.sources.folder import FolderSource

KNOWN: Final = 5_000
FRESH: Final = 100
PICTURE: Final = 1_000_000
WITHIN_S: Final = 120.0
"""For the fresh drive to be confirmed: the daemon looks at its source, its queue and its proofs once a minute."""
LOOK_EVERY_S: Final = 1.0


def main(seconds: float) -> None:
    """Let it work, let it rest, and look."""
    end_cleanly()
    with TemporaryDirectory(dir="/var/tmp", prefix="bench-idle-") as folder, receiver() as (url, token):
        work = Path(folder)
        config = prepare(work, url, token)
        log = work / "log"
        with (
            log.open("wb") as stream,
            ended(
                subprocess.Popen(
                    [base_python(), "-m", "ailasd", "--config", str(config), "run"], env=base_env(), stderr=stream
                )
            ) as daemon,
        ):
            with Ailasd(load(config)) as parts:
                work_done = lambda: len(parts.catalogue.pictures.ids({State.CONFIRMED})) == KNOWN + FRESH  # noqa: E731
                wait_until(work_done, WITHIN_S, daemon, log)
            rest(daemon.pid, seconds)


def prepare(work: Path, url: str, token: str) -> Path:
    """A card of known pictures and a fresh drive, a catalogue, a config."""
    card, state = work / "card", work / "state"
    make_card(card, KNOWN)
    (work / "token").touch(0o600)
    (work / "token").write_text(token)
    config = work / "config.toml"
    config.write_text(
        f'[storage]\nfolder = "{state}"\nreserve = "10MB"\n[sources]\nfolders = ["{card}"]\n'
        f'[server]\nurl = "{url}"\ntoken_file = "{work}/token"\n'
    )
    start = datetime(2026, 5, 4, 7, tzinfo=UTC)
    with Ailasd(load(config)) as parts:
        # its version.txt gives the card its identity: first that, then what is known of it, then the fresh drive
        write_card(card, [])
        make_known(parts, FolderSource(card))
    write_card(card, drive(start=start, n=FRESH, folder=900, group=900, pad_to=PICTURE))
    return config


def rest(process: int, seconds: float) -> None:
    """Watch it for so long, and print what it took."""
    before, woken, began = cpu_s(process), wakes(process), time.monotonic()
    most = 0.0
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(LOOK_EVERY_S)
        most = max(most, memory_mb(process, "VmRSS"))
    core = 100 * (cpu_s(process) - before) / passed
    threads = len(list(Path(f"/proc/{process}/task").iterdir()))
    proportional = rollup_mb(process, "Pss")
    print(f"idle for {passed:.0f} s: {threads} threads, woken {(wakes(process) - woken) / passed:.1f} times a second")
    print(f"resident {most:.1f} MB at most (its share of shared libraries counted proportionally: {proportional:.1f})")
    print(f"peak since its start: {memory_mb(process, 'VmHWM'):.1f} MB")
    goal("resident memory", most, 60, "MB")
    goal("processor", core, 0.5, "% of a core")


# -- the processes ----------------------------------------------------------------------------------------------------
@contextmanager
def receiver() -> Iterator[tuple[str, str]]:
    """The embedded receiver in another process; gives its address and a token."""
    command = [sys.executable, __file__, "--receiver"]
    with ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as child:
        assert child.stdout is not None
        url, token = child.stdout.readline().split()
        yield url, token


@contextmanager
def ended(child: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """End it, whatever happens."""
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until(done: Callable[[], bool], seconds: float, daemon: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + seconds
    while not done():
        if daemon.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"the daemon did not get its work done:\n{log.read_text()[-3000:]}")
        time.sleep(LOOK_EVERY_S)


def cpu_s(process: int) -> float:
    """Seconds of processor so far (user and system)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wakes(process: int) -> int:
    """How often its threads were given a processor after they had waited."""
    statuses = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/status")]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in statuses)


def rollup_mb(process: int, what: str) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{what}:"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--receiver"]:
            with Receiver() as running:
                print(running.url, running.token(), flush=True)
                sys.stdin.read()  # until whoever started us is gone
        case [seconds]:
            main(float(seconds))
        case _:
            main(150)
