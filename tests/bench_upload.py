"""Benchmark: sending pictures to a real Panoramax, beside the stock client and curl: ``python tests/bench_upload.py``.

    python tests/bench_upload.py [--pictures 200] [--rounds 3]

The server is ours (``instance.py``), on this machine. The contenders take turns, each with pictures of its own (the
server takes the same bytes once), read from a cold page cache, while the server's worker is idle. A turn is a whole
process from its start to its end: set created, pictures sent, set completed. Afterwards the server must have them all.

curl sends one by one, on one connection at a time; ``panoramax_cli`` as it comes; ours with two connections, and from a
catalogue in which they are queued (importing has its own benchmark).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from bench import CHECKOUT, Cost, base_env, base_python, cost_of, drop_caches, end_cleanly, goal, venv
from instance import Instance, running

sys.path.insert(0, str(CHECKOUT))
from ailasd.config import load
from ailasd.demo.pictures import drive, write_card
from ailasd.model import State
from ailasd.parts import Ailasd

if TYPE_CHECKING:
    from collections.abc import Callable

CLI: Final = "panoramax_cli==1.4.1"
PICTURE: Final = 6_000_000
WORKER_S: Final = 300.0
"""The server's worker decodes a few pictures a second; after this something is wrong with it."""
CURL: Final = r"""
set -euo pipefail
api=$1 header=$2 card=$3
json='{"title": "curl", "visibility": "logged-only", "no_split": true, "no_deduplication": true}'
made=$(curl --fail --silent --show-error --header @"$header" --json "$json" "$api/api/upload_sets")
set=$(grep -oE '"id": *"[0-9a-f-]{36}"' <<<"$made" | head -1 | grep -oE '[0-9a-f-]{36}')
for picture in "$card"/DCIM/*/*.JPG; do
    curl --fail --silent --show-error --header @"$header" --form file=@"$picture" --output /dev/null \
        "$api/api/upload_sets/$set/files"
done
curl --fail --silent --show-error --header @"$header" --request POST --output /dev/null \
    "$api/api/upload_sets/$set/complete"
"""


# -- the contenders: made ready off the clock, then a command ---------------------------------------------------------
def with_curl(server: Instance, card: Path, work: Path) -> list[str]:
    header = work / "header"
    header.touch(0o600)
    header.write_text(f"Authorization: Bearer {server.token_file.read_text()}")
    return ["bash", "-c", CURL, "curl", server.url, str(header), str(card)]


def with_cli(server: Instance, card: Path, _work: Path) -> list[str]:
    program = venv("cli", [CLI]).parent / "panoramax_cli"
    how = ["--api-url", server.url, "--token", server.token_file.read_text(), "--duplicates-checks", "disabled"]
    return [
        str(program),
        "upload",
        *how,
        "--visibility",
        "logged-only",
        "--title",
        "stock client",
        str(card / "DCIM/100GOPRO"),
    ]


def with_ours(server: Instance, card: Path, work: Path) -> list[str]:
    file = work / "config.toml"
    file.write_text(
        f'[storage]\nfolder = "{work}/state"\n[server]\nurl = "{server.url}"\ntoken_file = "{server.token_file}"\n'
        f'[cards]\nwatch = false\n[inbox]\nfolder = ""\n[sources]\nfolders = ["{card}"]\n'
    )
    with Ailasd(load(file)) as parts:
        for step in parts.importing:
            step.run(threading.Event())
        parts.sorting.run(threading.Event())
    return [str(base_python()), __file__, "--send", str(file)]


def send(config: Path) -> None:
    """What the daemon does with a queue: the upload step until it is empty, then the set is completed."""
    with Ailasd(load(config)) as parts:
        parts.uploading.run(threading.Event())
        waiting = parts.catalogue.pictures.ids({State.QUEUED})
        assert not waiting, f"{len(waiting)} pictures were not sent"
        parts.confirming.run(threading.Event())


CONTENDERS: Final[dict[str, Callable[[Instance, Path, Path], list[str]]]] = {
    "curl, one by one": with_curl,
    "panoramax_cli": with_cli,
    "ailasd": with_ours,
}


# -- the race ---------------------------------------------------------------------------------------------------------
def turn(server: Instance, name: str, pictures: int, number: int, work: Path) -> Cost:
    """One contender sends pictures that nobody sent before; checked against the server's own database."""
    folder = work / f"turn-{number}"
    card = folder / "card"
    start = datetime(2026, 5, 4, 7, tzinfo=UTC) + timedelta(hours=number)
    write_card(card, drive(start=start, n=pictures, pad_to=PICTURE, seed=number * pictures))
    command = CONTENDERS[name](server, card, folder)
    wait_for_worker(server)
    had = held(server)
    drop_caches(folder)
    cost = cost_of(command, env=base_env() if name == "ailasd" else None)
    got = held(server) - had
    assert got == pictures, f"{name}: the server has {got} of {pictures} pictures"
    shutil.rmtree(folder)
    return cost


def held(server: Instance) -> int:
    return int(server.sql("SELECT count(*) FROM files WHERE picture_id IS NOT NULL AND rejection_status IS NULL"))


def wait_for_worker(server: Instance) -> None:
    give_up = time.monotonic() + WORKER_S
    while int(server.sql("SELECT count(*) FROM job_queue")):
        if time.monotonic() > give_up:
            raise RuntimeError(f"the server's worker did not come to an end within {WORKER_S:.0f} s")
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=200, choices=range(1, 1000), metavar="1-999")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"))
    asked = parser.parse_args()
    end_cleanly()
    costs: dict[str, list[Cost]] = {name: [] for name in CONTENDERS}
    with TemporaryDirectory(prefix="bench-upload-", dir=asked.work) as folder, running() as server:
        try:
            numbers = count()
            turn(server, "curl, one by one", 5, 10_000, Path(folder))  # the server's own first imports
            for _ in range(asked.rounds):
                for name in CONTENDERS:
                    costs[name].append(turn(server, name, asked.pictures, next(numbers), Path(folder)))
        finally:
            server.stop()
            shutil.rmtree(server.pictures)
            server.pictures.mkdir()
    show(costs, asked.pictures)


def show(costs: dict[str, list[Cost]], pictures: int) -> None:
    rounds = len(next(iter(costs.values())))
    print(f"{pictures} pictures of {PICTURE / 1e6:.0f} MB to a real Panoramax, medians of {rounds} turns")
    print(f"{'':20}{'wall s':>8}{'least':>7}{'most':>7}{'pictures/s':>12}{'CPU s':>8}{'peak MB':>9}")
    wall = {name: statistics.median(cost.wall_s for cost in turns) for name, turns in costs.items()}
    peak = {name: max(cost.peak_mb for cost in turns) for name, turns in costs.items()}
    for name, turns in costs.items():
        least, most = min(cost.wall_s for cost in turns), max(cost.wall_s for cost in turns)
        cpu = statistics.median(cost.cpu_s for cost in turns)
        # bash and its curls: none of them says what a client needs
        memory = "" if name.startswith("curl") else f"{peak[name]:.0f}"
        print(f"{name:20}{wall[name]:8.1f}{least:7.1f}{most:7.1f}{pictures / wall[name]:12.1f}{cpu:8.1f}{memory:>9}")
    goal("rate", wall["curl, one by one"] / wall["ailasd"], 1.0, "x curl", at_least=True)
    goal("peak memory", peak["ailasd"], peak["panoramax_cli"], "MB, the CLI's")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(Path(sys.argv[2]))
    else:
        main()
