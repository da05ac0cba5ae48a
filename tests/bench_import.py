"""Benchmark: verified import against ``cp -r`` and ``cp -r`` + ``rsync --checksum``, in one run, printing ratios.

    python tests/bench_import.py [--mb 3000] [--limit-mb 90] [--rounds 1] [--work FOLDER]

Ours is the import step as the daemon runs it: read, verified, its metadata read, settled, in the catalogue. Pictures
of 6 MB. The contenders take turns; the page cache is dropped before each. As root the pictures lie on a loop device of
their own, so that ``blkio.throttle`` (cgroup) can limit the source for all contenders alike; the destination is the
work folder's own disk. Not as root only the unlimited half is run, and this is said.

``cp`` returns before its bytes are on the disk, ours never does; so ``cp`` is timed twice, without and with the
``sync -f`` that makes the two equal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import CHECKOUT, cpu_seconds, drop_caches, end_cleanly, goal

sys.path.insert(0, str(CHECKOUT))
from ailasd.config import parse
from ailasd.demo.pictures import drive, write_card
from ailasd.disk import sweep
from ailasd.parts import Ailasd
from ailasd.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PICTURE = 6_000_000
OURS = "ailasd, verified"
BLKIO = Path("/sys/fs/cgroup/blkio")


def make_card(root: Path, megabytes: int) -> int:
    """Write a drive of pictures of 6 MB; gives the number of bytes."""
    pictures = megabytes * 1_000_000 // PICTURE
    write_card(root, drive(start=datetime(2026, 5, 4, 7, tzinfo=UTC), n=pictures, pad_to=PICTURE))
    os.sync()
    return pictures * PICTURE


@contextlib.contextmanager
def loop_device(work: Path, megabytes: int) -> Iterator[tuple[Path, str | None]]:
    """Mount a file system of its own for the card; gives its folder and the device's number (None: not root)."""
    card = work / "card"
    card.mkdir()
    if os.geteuid() != 0:
        yield card, None
        return
    image = work / "card.img"
    with image.open("wb") as stream:
        stream.truncate(int(megabytes * 1.08 + 64) * 1_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    # Read directly: else the image's own pages would be a second cache.
    found = subprocess.run(
        ["losetup", "--find", "--show", "--direct-io=on", image], check=True, capture_output=True, text=True
    )
    device = found.stdout.strip()
    try:
        subprocess.run(["mount", device, card], check=True)
        try:
            yield card, Path("/sys/block", Path(device).name, "dev").read_text().strip()
        finally:
            subprocess.run(["umount", card], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextlib.contextmanager
def limited(device: str | None, rate: int) -> Iterator[None]:
    """Let this process, and those it starts, read ``rate`` bytes/s from the device (0: no limit)."""
    if not rate:
        yield
        return
    group = BLKIO / f"bench-import-{os.getpid()}"
    group.mkdir()
    try:
        (group / "blkio.throttle.read_bps_device").write_text(f"{device} {rate}")
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (BLKIO / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def cp(card: Path, to: Path) -> None:
    subprocess.run(["cp", "-r", card, to / "copy"], check=True)


def cp_sync(card: Path, to: Path) -> None:
    cp(card, to)
    subprocess.run(["sync", "-f", to], check=True)


def cp_rsync(card: Path, to: Path) -> None:
    cp_sync(card, to)
    drop_caches(to)
    subprocess.run(["rsync", "-r", "--checksum", f"{card}/", f"{to / 'copy'}/"], check=True)


def ours(card: Path, to: Path) -> None:
    with Ailasd(parse(f'[storage]\nfolder = "{to}/state"\nreserve = "10MB"', "benchmark")) as parts:
        sweep(parts.storage.incoming)
        visit = parts.importing_from(FolderSource(card)).run(threading.Event())
        assert visit is not None
        assert visit.whole, visit
        rows = parts.catalogue.telling.tally()
        assert [(row["state"], row["pictures"]) for row in rows] == [("copied", visit.copied)], rows
        assert parts.catalogue.pictures.whole_row(visit.copied)["proven"], "not read back from the device"


def measure(contender: Callable[[Path, Path], None], card: Path, work: Path) -> tuple[float, float]:
    """Run it once from a cold cache; gives wall and CPU seconds, children included."""
    to = work / "to"
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    drop_caches(card, to)
    used, start = cpu_seconds(), time.monotonic()
    contender(card, to)
    result = time.monotonic() - start, cpu_seconds() - used
    shutil.rmtree(to)
    return result


def race(title: str, card: Path, work: Path, size: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Let the contenders take turns; prints and gives the medians of wall and CPU seconds."""
    contenders: dict[str, Callable[[Path, Path], None]] = {"cp -r": cp, "cp -r, sync": cp_sync, OURS: ours}
    if shutil.which("rsync"):
        contenders["cp -r, sync, rsync --checksum"] = cp_rsync
    else:
        print("rsync is not installed: left out")
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            turns[name].append(measure(contender, card, work))
    costs = {
        name: (statistics.median(wall for wall, _ in taken), statistics.median(cpu for _, cpu in taken))
        for name, taken in turns.items()
    }
    print(f"\n{title}, medians of {rounds} turns\n{'':32}{'wall s':>8}{'x cp -r':>9}{'MB/s':>7}{'CPU s/GB':>10}")
    for name, (wall, cpu) in costs.items():
        ratio = wall / costs["cp -r"][0]
        print(f"{name:32}{wall:8.1f}{ratio:9.2f}{size / wall / 1e6:7.0f}{cpu / size * 1e9:10.2f}", flush=True)
    return costs


def goals(costs: dict[str, tuple[float, float]], size: int, most: float) -> None:
    """Whether ours took at most so many times what ``cp -r`` took, with and without its bytes being on the disk."""
    wall, cpu = costs[OURS]
    goal("verified import", wall / costs["cp -r"][0], most, "x cp -r")
    goal("verified import", wall / costs["cp -r, sync"][0], most, "x cp -r, sync")
    goal("processor", cpu / size * 1e9, 2.5, "CPU s/GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mb", type=int, default=3000)
    parser.add_argument("--limit-mb", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"))
    asked = parser.parse_args()
    end_cleanly()
    with (
        tempfile.TemporaryDirectory(prefix="bench-import-", dir=asked.work) as folder,
        loop_device(Path(folder), asked.mb) as (card, device),
    ):
        size = make_card(card, asked.mb)
        goals(race("source not limited", card, Path(folder), size, asked.rounds), size, 1.5)
        if device and (BLKIO / "cgroup.procs").exists():
            with limited(device, asked.limit_mb * 1_000_000):
                costs = race(f"source limited to {asked.limit_mb} MB/s", card, Path(folder), size, asked.rounds)
            goals(costs, size, 1.0)
        else:
            print("\nnot root, or no blkio controller of cgroup v1: the limited half is left out")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"\npeak resident memory of this process, interpreter and generator included: {peak:.0f} MB")


if __name__ == "__main__":
    main()
