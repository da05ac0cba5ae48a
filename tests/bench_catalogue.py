"""Benchmark: a catalogue of a million pictures (``python tests/bench_catalogue.py [PICTURES]``).

Prints how long a step waits for the next picture, a move takes, and a person for the status, beside what a plain SQL
question over the same file costs. Not a test: times are for people, on the machine they have.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import CHECKOUT, goal, median_ms

sys.path.insert(0, str(CHECKOUT))
from ailasd.catalogue import Catalogue
from ailasd.clock import SystemClock
from ailasd.model import State
from ailasd.status import summary

ROUNDS = 200

# drives of 5 000 pictures (seven hours), sequences of 1 000; a card with the last 7 000 of them (a long day)
FILL = """
INSERT INTO card (identity, label, first_seen, last_seen) VALUES ('c', 'c', '2026-01-01', '2026-01-01');
INSERT INTO visit (card, started, ended, outcome) VALUES (1, '2026-01-01', '2026-01-01', 'whole');
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i * 5000 < :pictures)
INSERT INTO drive (camera, started) SELECT 'C3531325123456', '2026-01-01T00:00:00.000Z' FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i * 1000 < :pictures)
INSERT INTO sequence (uid, drive, part, title, upload_set)
SELECT 'u' || i, (i - 1) / 5 + 1, i, 't' || i, 's' || i FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :pictures)
INSERT INTO picture (md5, size, state, reason, since, clock_trusted, trace, copy, proven, name, verdict, camera,
                     file_time, sequence, drive, rank, next_attempt_at, upload_set)
SELECT printf('%032x', i), 6000000, iif(i % 10 < 5, 'queued', iif(i % 10 < 8, 'confirmed', 'held')),
       iif(i % 10 > 7, 'parked', NULL), '2026-01-01T00:00:00.000Z', 1, 'v1', 'c' || i, 1, printf('G%07d.JPG', i),
       'usable', 'C3531325123456', '2026-01-01T00:00:00.000Z', (i - 1) / 1000 + 1, (i - 1) / 5000 + 1, -i,
       iif(i % 20 = 0, 4000000000.0 - i, NULL), 's' || ((i - 1) / 1000 + 1) FROM n;
INSERT INTO card_file (card, path, size, mtime_ns, picture, seen)
SELECT 1, name, size, 0, id, 1 FROM picture WHERE id > :pictures - 7000;
"""


def main(pictures: int) -> None:
    """Fill a catalogue, ask it what steps and people ask, and print the medians."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder, "catalogue.db")
        with Catalogue(path, SystemClock()) as catalogue:
            with catalogue.writing() as db:
                for statement in FILL.strip().split(";\n"):
                    db.conn.execute(statement, {"pictures": pictures})

            def move_one() -> None:
                picture = catalogue.pictures.next_to_send()
                assert picture is not None
                catalogue.pictures.move(picture, State.SENT, upload_set="s1")

            def whole_status() -> None:
                assert summary(catalogue, daemon_runs=False).counts

            with closing(sqlite3.connect(path)) as plain:
                scan = median_ms(lambda: plain.execute("SELECT state, count(*) FROM picture GROUP BY 1").fetchall(), 5)
            find, status = median_ms(catalogue.pictures.next_to_send, ROUNDS), median_ms(whole_status, 20)
            print(f"{pictures} pictures, {path.stat().st_size / 1e6:.0f} MB; medians of {ROUNDS} (status 20) turns")
            print(f"next picture and its move: {median_ms(move_one, ROUNDS):.1f} ms; counting all rows: {scan:.0f} ms")
            goal("next picture", find, 5, "ms")
            goal("status", status, 100, "ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
