"""Benchmark: a known card is put in again: ``python tests/bench_reimport.py [FILES]``.

The import step over a card of 100 000 known files, catalogue included, beside a warm ``find -printf '%p %s %T@'`` over
the same folder. That no picture is read is shown by ``strace``: what is never opened is not read.

The card is made of sparse files (each says 6 MB and has none), and the catalogue is filled through its own methods.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import CHECKOUT, base_env, base_python, cpu_seconds, end_cleanly, goal

sys.path.insert(0, str(CHECKOUT))
from ailasd.catalogue.cards import NewCopy
from ailasd.clock import iso
from ailasd.config import Config, parse
from ailasd.importing import WHOLE
from ailasd.model import Kind, Photo, Verdict
from ailasd.parts import Ailasd
from ailasd.sources.folder import FolderSource

ROUNDS = 7
PICTURE = 6_000_000


def make_card(card: Path, files: int) -> None:
    """As many pictures as asked for, 999 to a folder, which occupy nothing."""
    for i in range(files):
        folder = card / "DCIM" / f"{100 + i // 999}GOPRO"
        if i % 999 == 0:
            folder.mkdir(parents=True)
        descriptor = os.open(folder / f"G{i // 9999 + 1:03d}{i % 9999 + 1:04d}.JPG", os.O_CREAT | os.O_WRONLY)
        os.truncate(descriptor, PICTURE + i)
        os.utime(descriptor, (1_700_000_000 + i, 1_700_000_000 + i))
        os.close(descriptor)


def make_known(parts: Ailasd, source: FolderSource) -> None:
    """Tell the catalogue that every picture of the card was copied, and confirmed since."""
    cards = parts.catalogue.cards
    with parts.catalogue.writing() as db:
        card = cards.seen(source.card())
        visit = cards.begin_visit(card)
        pictures = [file for file in source.listing() if file.kind is Kind.PICTURE]
        for number, file in enumerate(pictures):
            md5 = f"{number:032x}"
            new = NewCopy(
                md5=md5, size=file.size, proven=True, copy=f"pictures/{md5}.jpg", trace=f"v{visit}-{md5[-8:]}",
                name=file.path.rsplit("/", 1)[-1], recording="001", counter=number % 9999 + 1,
                file_time=iso(parts.clock.now()), photo=Photo(Verdict.USABLE),
            )  # fmt: skip
            cards.copied(card, visit, file, new)
        counts = {"on_card": len(pictures), "copied": len(pictures), "known": 0, "bytes_known": 0}
        cards.end_visit(visit, outcome=WHOLE, counts=counts | {"bytes_copied": PICTURE * len(pictures)}, left={})
        db.conn.execute("UPDATE picture SET state = 'confirmed'")


def visit(parts: Ailasd, card: Path, files: int) -> None:
    """One pass of the real step over the card; it must find all of it known."""
    seen = parts.importing_from(FolderSource(card)).run(threading.Event())
    assert seen is not None
    assert (seen.outcome, seen.known, seen.copied) == (WHOLE, files, 0), seen


def pictures_opened(state: Path, card: Path, files: int) -> int | None:
    """How many pictures a whole process that visits the card opens, by strace; None: not installed."""
    if not shutil.which("strace"):
        return None
    log = state / "strace.log"
    watch = ["strace", "-f", "-e", "trace=open,openat,openat2", "-o", str(log)]
    itself = [str(base_python()), __file__, "--visit", str(state), str(card), str(files)]
    subprocess.run([*watch, *itself], env=base_env(), check=True)
    said = log.read_text(errors="replace")
    assert "catalogue.db" in said, "strace saw nothing"
    return len(re.findall(r"\.JPG\"", said))


def config(state: Path) -> Config:
    return parse(f'[storage]\nfolder = "{state}"', "benchmark")


def main(files: int) -> None:
    """Make the card known, then let find and the step take turns."""
    end_cleanly()
    with TemporaryDirectory(dir="/var/tmp", prefix="bench-reimport-") as folder:
        card, state = Path(folder, "card"), Path(folder, "state")
        make_card(card, files)
        with Ailasd(config(state)) as parts:
            make_known(parts, FolderSource(card))
            find, ours = [], []
            for _ in range(ROUNDS):
                find.append(timed(lambda: search(card, files)))
                ours.append(timed(lambda: visit(parts, card, files)))
        opened = pictures_opened(state, card, files)
    print(f"{files} known files, medians of {ROUNDS} turns\n{'':28}{'wall ms':>9}{'least':>8}{'most':>8}{'CPU ms':>8}")
    for name, turns in (("find -printf '%p %s %T@'", find), ("import step", ours)):
        wall, cpu = ([turn[which] for turn in turns] for which in (0, 1))
        print(f"{name:28}{median(wall):9.0f}{min(wall):8.0f}{max(wall):8.0f}{median(cpu):8.0f}")
    # each pair of turns had the same noise
    goal("re-import", median(our[0] / its[0] for our, its in zip(ours, find, strict=True)), 3, "x find")
    if opened is None:
        print("strace is not installed: that no picture is read was not looked at")
    else:
        goal("pictures opened", opened, 0)


def timed(what: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds on the wall and of CPU, those of a child included."""
    used, began = cpu_seconds(), time.perf_counter()
    what()
    return (time.perf_counter() - began) * 1000, (cpu_seconds() - used) * 1000


def search(card: Path, files: int) -> None:
    """The find that we are measured by; its output is kept, as ours is."""
    found = subprocess.run(["find", card, "-type", "f", "-printf", "%p %s %T@\n"], check=True, capture_output=True)
    assert found.stdout.count(b"\n") == files


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--visit", state, card, files]:
            with Ailasd(config(Path(state))) as built:
                visit(built, Path(card), int(files))
        case [files]:
            main(int(files))
        case _:
            main(100_000)
