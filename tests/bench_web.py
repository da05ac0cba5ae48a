"""Benchmark: the page of a kit with many pictures (``python tests/bench_web.py [PICTURES] [DRIVES]``).

The real process, asked over a real socket; the first time (nothing is kept yet) and the median after that. What a
standing process takes of memory and of the processor while nobody looks is said too. Not a test: times are for people.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import CHECKOUT, goal, median_ms

sys.path.insert(0, str(CHECKOUT))
from ailasd.catalogue import Catalogue
from ailasd.clock import SystemClock

ROUNDS = 50
LATER_S = 1.1

# drives of one hour, each on another road; every tenth picture without a fix, every fifth of a standing vehicle
FILL = """
INSERT INTO card (identity, label, first_seen, last_seen) VALUES ('c', 'c', '2026-01-01', '2026-01-01');
INSERT INTO visit (card, started, ended, outcome, on_card, copied)
SELECT 1, '2026-01-01', '2026-01-01', 'whole', :pictures, :pictures;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :drives)
INSERT INTO drive (camera, started, ended, clock)
SELECT 'C3531325123456', strftime('%Y-%m-%dT%H:%M:%fZ', 1760000000 + i * 7200, 'unixepoch'),
       strftime('%Y-%m-%dT%H:%M:%fZ', 1760000000 + i * 7200 + 3600, 'unixepoch'), 'camera clock right' FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :pictures)
INSERT INTO picture (md5, size, state, reason, since, clock_trusted, trace, copy, proven, name, verdict, camera, model,
                     file_time, captured, latitude, longitude, drive, rank)
SELECT printf('%032x', i), 6000000, iif(i % 10 < 5, 'queued', iif(i % 10 < 8, 'confirmed', 'held')),
       iif(i % 10 > 8, 'no_position', iif(i % 10 > 7, 'parked', NULL)), '2026-01-01T00:00:00.000Z', 1, 'v1',
       'c' || i, 1, printf('G%07d.JPG', i), 'usable', 'C3531325123456', 'HERO13 Black', '2026-01-01T00:00:00.000Z',
       strftime('%Y-%m-%dT%H:%M:%fZ', 1760000000 + (i * :drives / :pictures + 1) * 7200
                + (i % (:pictures / :drives)) * 5, 'unixepoch'),
       iif(i % 10 = 9, NULL, -18.9 + sin(i / 100.0) / 50), iif(i % 10 = 9, NULL, 47.5 + (i % 5000) / 5000.0),
       i * :drives / :pictures + 1, -i FROM n;
INSERT INTO card_file (card, path, size, mtime_ns, picture, seen)
SELECT 1, name, size, 0, id, 1 FROM picture WHERE id > :pictures - 7000;
"""


def main(pictures: int, drives: int) -> None:
    """Fill a catalogue, look at its page, and print how long that takes."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder, "catalogue.db")
        catalogue = Catalogue(path, SystemClock())
        with catalogue.writing() as db:
            for statement in FILL.strip().split(";\n"):
                db.conn.execute(statement, {"pictures": pictures, "drives": drives})
        config = Path(folder, "config.toml")
        config.write_text(f'[storage]\nfolder = "{folder}"\n[web]\nlisten = "127.0.0.1:0"\npin_file = "{folder}/pin"\n')
        command = [sys.executable, "-m", "ailasd.web.serving", "--config", str(config)]
        env = os.environ | {"PYTHONPATH": str(CHECKOUT)}
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
            try:
                assert process.stdout
                port = int(process.stdout.readline().rpartition(":")[2].strip("/\n"))
                look(port, "/static/style.css")
                print(f"{pictures} pictures, {drives} drives; it stands after {time.perf_counter() - began:.1f} s")
                for name, where in (("main page", "/"), ("a drive", f"/drive/{drives}"), ("old drives", "/?page=9")):
                    first = median_ms(partial(look, port, where), 1)
                    later = [median_ms(partial(look_later, port, where), 1) - 1000 * LATER_S for _ in range(5)]
                    print(f"{name}: {len(look(port, where)) / 1000:.0f} kB")
                    goal(f"{name}, the first time", first, 50, "ms")
                    goal(f"{name}, status made anew", median(later), 50, "ms")
                    goal(f"{name}, status of this second", median_ms(partial(look, port, where), ROUNDS), 50, "ms")
                status = Path(f"/proc/{process.pid}/status").read_text()
                print(f"memory: {int(status.partition('VmRSS:')[2].split()[0]) / 1000:.0f} MB")
                before = spent(process.pid)
                time.sleep(10)
                print(f"nobody looks: {(spent(process.pid) - before) / 10:.2%} of a core, for five minutes; then none")
            finally:
                process.terminate()
        catalogue.close()


def look(port: int, where: str) -> bytes:
    """A page."""
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", where)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()


def look_later(port: int, where: str) -> bytes:
    """A page, when the status that was made for the last one is not used any more."""
    time.sleep(LATER_S)
    return look(port, where)


def spent(process: int) -> float:
    """Seconds of the processor so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(*(int(one) for one in (*sys.argv[1:], *("100000", "300")[len(sys.argv) - 1 :])))
