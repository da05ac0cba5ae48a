"""Benchmark: sending over bad roads, beside the stock client and the road itself: ``python tests/bench_roads.py``.

    python tests/bench_roads.py [ROAD ...] [--small] [--rounds 1] [--connections 1,2,4]

Roads: loopback, 100mbit, lossy (10 Mbit/s, 80 ms there and back, 2 % lost each way), outages (16 Mbit/s, nothing for
30 s in every 2 min). All but the first lead through the tunnel of ``roads.py`` to the real Panoramax, as root. What
counts is what the server holds at the end, by the time from the start of the process to its end; who needs longer
than a road's ``most_s`` is ended, and has what it has. The road itself is plain TCP over 16 connections to somebody
who throws all away, while there is no outage.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Self

from bench import CHECKOUT, Cost, base_env, base_python, cost_of, drop_caches, end_cleanly, goal, machine, venv
from bench_upload import CLI, held, wait_for_worker
from instance import Instance, running
from namespaces import inside
from roads import SERVER, TUNNEL, Roads
from tunnels import Vxlan

sys.path.insert(0, str(CHECKOUT))
from ailasd.config import load
from ailasd.demo.pictures import drive, write_card
from ailasd.model import State
from ailasd.parts import Ailasd
from ailasd.tunnel import NetworkNews

if TYPE_CHECKING:
    from collections.abc import Iterator

SINK: Final = 81
LIMIT_CONNECTIONS: Final = 16
PUSH: Final = """
import socket, sys, threading
host, port, number, connections = sys.argv[1], *map(int, sys.argv[2:])
def push():
    with socket.create_connection((host, port)) as one:
        for _ in range(number // connections // 65536):
            one.sendall(bytes(65536))
        one.shutdown(socket.SHUT_WR)
        one.recv(1)
all = [threading.Thread(target=push) for _ in range(connections)]
[one.start() for one in all]
[one.join() for one in all]
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Road:
    """How long and how bad it is, and what is sent over it: ``pictures`` (with --small: fewer) of ``size`` bytes."""

    pictures: int
    small: int
    size: int
    most_s: float
    limit_bytes: int = 0
    tunnel: bool = True
    rate: str | None = None
    lost_percent: int = 0
    delay_s: float = 0.0
    outage_s: float = 0.0
    outage_every_s: float = 0.0


ROADS: Final = {
    "loopback": Road(500, 100, 6_000_000, 300, tunnel=False),
    "100mbit": Road(500, 50, 6_000_000, 600, 200_000_000, rate="100mbit"),
    # 500 of 6 MB would take 40 minutes a turn, and 5 hours with one usual connection
    "lossy": Road(60, 30, 1_000_000, 120, 10_000_000, rate="10mbit", lost_percent=2, delay_s=0.04),
    "outages": Road(80, 40, 6_000_000, 600, 30_000_000, rate="16mbit", outage_s=30, outage_every_s=120),
}


# -- the contenders: made ready off the clock, then a command ------------------------------------------------------
def with_cli(server: Instance, url: str, work: Path, parallel: int) -> list[str]:
    how = ["--api-url", url, "--token", server.token_file.read_text(), "--duplicates-checks", "disabled"]
    how += ["--visibility", "logged-only", "--title", "stock client", "--parallel-uploads", str(parallel)]
    return [str(venv("cli", [CLI]).parent / "panoramax_cli"), "upload", *how, str(work / "card/DCIM/100GOPRO")]


def with_ours(server: Instance, url: str, work: Path, connections: int) -> list[str]:
    file = work / "config.toml"
    tunnel = f'plain_http = true\n[vpn]\ninterface = "{TUNNEL}"\n' if SERVER in url else ""
    file.write_text(
        f'[storage]\nfolder = "{work}/state"\n[cards]\nwatch = false\n[inbox]\nfolder = ""\n'
        f'[sources]\nfolders = ["{work}/card"]\n[upload]\nconnections = {connections}\n'
        f'[server]\nurl = "{url}"\ntoken_file = "{server.token_file}"\n{tunnel}'
    )
    with Ailasd(load(file)) as parts:
        for step in parts.importing:
            step.run(threading.Event())
        parts.sorting.run(threading.Event())
    return [str(base_python()), __file__, "--send", str(file)]


def send(config: Path) -> None:
    """What the daemon does with a queue: the upload step as often as it asks for, then the set is completed."""
    stop = threading.Event()
    with Ailasd(load(config)) as parts:
        wake = threading.Event()

        def changed() -> None:
            parts.link.network_changed()
            wake.set()

        news = NetworkNews()
        threading.Thread(target=news.watch, args=(changed,), daemon=True).start()
        assert parts.catalogue.pictures.ids({State.QUEUED})
        while parts.catalogue.pictures.ids({State.QUEUED}):
            again_in = parts.uploading.run(stop).again_in
            wake.wait(again_in or 0.2)
            wake.clear()
        parts.confirming.run(stop)
        news.end()


CONTENDERS: Final = {"ailasd": with_ours, "panoramax_cli": with_cli}


# -- the race ------------------------------------------------------------------------------------------------------
class Course:
    """One road with its server at the end."""

    def __init__(self, road: Road, server: Instance, work: Path, pictures: int) -> None:
        self._road, self._server, self._work, self._pictures = road, server, work, pictures
        self._seeds = count(int(time.time()) * 1000, 1000)  # no content twice, whatever the server holds already

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._roads = None
            if self._road.tunnel:
                roads = Roads(self._server, self._work, tunnel=Vxlan, delay_s=self._road.delay_s)
                self._roads = stack.enter_context(roads)
                sink = [*inside(self._roads.end), "socat", "-u", f"TCP-LISTEN:{SINK},fork,reuseaddr", "OPEN:/dev/null"]
                listening = subprocess.Popen(sink)
                stack.callback(listening.wait)
                stack.callback(listening.terminate)
                self._weather()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _weather(self, *, outage: bool = False) -> None:
        assert self._roads
        self._roads.weather(rate=self._road.rate, lost_percent=100 if outage else self._road.lost_percent)

    def limit(self) -> float:
        """Bytes per second that plain TCP brings over the road while it is there."""
        assert self._roads
        number = self._road.limit_bytes
        push = [sys.executable, "-c", PUSH, SERVER, *map(str, (SINK, number, LIMIT_CONNECTIONS))]
        return number / cost_of([*inside(self._roads.kit), *push]).wall_s

    def turn(self, contender: str, parallel: int) -> tuple[float, Cost]:
        """Bytes of whole pictures per second, and what that cost."""
        folder = self._work / "turn"
        start = datetime.now(UTC) - timedelta(days=1)
        taken = drive(start=start, n=self._pictures, pad_to=self._road.size, seed=next(self._seeds))
        write_card(folder / "card", taken)
        url = f"http://{SERVER}" if self._roads else self._server.url
        command = CONTENDERS[contender](self._server, url, folder, parallel)
        wait_for_worker(self._server)
        had = held(self._server)
        drop_caches(folder)
        with self._outages() if self._road.outage_s else nullcontext():
            cost = cost_of(
                [*(inside(self._roads.kit) if self._roads else []), *command],
                env=base_env() if contender == "ailasd" else None,
                most_s=self._road.most_s,
            )
        got = held(self._server) - had
        if got < self._pictures:
            print(f"        {contender}, {parallel}: the server has {got} of {self._pictures}", flush=True)
        shutil.rmtree(folder)
        return got * self._road.size / cost.wall_s, cost

    @contextmanager
    def _outages(self) -> Iterator[None]:
        over = threading.Event()

        def come_and_go() -> None:
            while not over.wait(self._road.outage_every_s - self._road.outage_s):
                self._weather(outage=True)
                over.wait(self._road.outage_s)
                self._weather()

        weather = threading.Thread(target=come_and_go)
        weather.start()
        try:
            yield
        finally:
            over.set()
            weather.join()


def race(name: str, course: Course, connections: list[int], rounds: int) -> None:
    """Run all contenders in turns, and print what came of it."""
    road = ROADS[name]
    rows: dict[tuple[str, int], list[tuple[float, Cost]]] = {}
    limit = 0.0
    if road.tunnel:
        limit = course.limit()
        print(f"  the road itself: {limit * 8 / 1e6:.1f} Mbit/s", flush=True)
    for _ in range(rounds):
        for contender, parallels in (("panoramax_cli", [1, 4]), ("ailasd", connections)):
            for parallel in parallels:
                rows.setdefault((contender, parallel), []).append(course.turn(contender, parallel))
    print(f"  {'':14}{'at once':>8}{'Mbit/s':>9}{'of the road':>13}{'CPU s':>8}{'peak MB':>9}")
    rate = {key: statistics.median(one[0] for one in turns) for key, turns in rows.items()}
    peak = {key: max(one[1].peak_mb for one in turns) for key, turns in rows.items()}
    for key, turns in rows.items():
        cpu = statistics.median(one[1].cpu_s for one in turns)
        share = f"{rate[key] / limit:.0%}" if limit else ""
        print(f"  {key[0]:14}{key[1]:8}{rate[key] * 8 / 1e6:9.1f}{share:>13}{cpu:8.1f}{peak[key]:9.0f}")
    ours = ("ailasd", 2 if 2 in connections else connections[0])
    stock = max(rate["panoramax_cli", 1], rate["panoramax_cli", 4])
    if limit and not road.outage_s:
        goal("of the road", rate[ours] / limit, 0.95, at_least=True)
    goal(
        "rate",
        rate[ours] / stock if stock else float("inf"),
        2.0 if road.outage_s else 1.0,
        "x the better CLI",
        at_least=True,
    )
    goal("peak memory", peak[ours], min(peak[key] for key in rows if key[0] != "ailasd"), "MB, the CLI's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("roads", nargs="*", default=list(ROADS), metavar="ROAD")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--connections", default="1,2,4")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"))
    asked = parser.parse_args()
    end_cleanly()
    connections = [int(number) for number in asked.connections.split(",")]
    with TemporaryDirectory(prefix="bench-roads-", dir=asked.work) as folder, running() as server:
        for name in asked.roads:
            road = ROADS[name]
            pictures = road.small if asked.small else road.pictures
            print(f"{name}: {pictures} pictures of {road.size / 1e6:.0f} MB ({machine()})", flush=True)
            with Course(road, server, Path(folder), pictures) as course:
                race(name, course, connections, asked.rounds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(Path(sys.argv[2]))
    else:
        main()
