"""Processes that outlive the program that started them, and are found again and ended by a later one.

They are known by session, age and working folder, so that a process number that was used again is never taken for ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Daemons:
    """The processes of one folder: ``NAME.pid`` says who they are, ``NAME.log`` what they said."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: dict[str, subprocess.Popen[bytes]] = {}  # held: Python would complain that they live on

    def spawn(self, name: str, command: Sequence[str], *, env: Mapping[str, str], user: str | None = None) -> None:
        """Start a process as the leader of a session of its own, as ``user`` (only root may)."""
        with (self.home / f"{name}.log").open("ab") as log:
            leader = subprocess.Popen(
                list(command),
                cwd=self.home,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        self._started[name] = leader
        (self.home / f"{name}.pid").write_text(f"{leader.pid} {stat_of(leader.pid)[19]}")

    def alive(self, name: str) -> list[int]:
        """The living processes of that session, the leader (if it lives) first."""
        try:
            session, born = (self.home / f"{name}.pid").read_text().split()
        except (OSError, ValueError):
            return []
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        ours = [number for number in numbers if self._is_ours(number, int(session), int(born))]
        return sorted(ours, key=lambda number: (number != int(session), number))

    def _is_ours(self, number: int, session: int, born: int) -> bool:
        try:
            stat = stat_of(number)
            its_birth = int(stat[19])
            age_fits = its_birth == born if number == session else its_birth >= born
            if int(stat[3]) != session or stat[0] == "Z" or not age_fits:
                return False
            return Path(f"/proc/{number}/cwd").readlink().is_relative_to(self.home)
        except OSError:  # gone while we looked
            return False

    def end(self, name: str, how: signal.Signals = signal.SIGTERM, *, patience: float = 15.0) -> None:
        """Ask them to end; after ``patience`` seconds end whatever is left of the session."""
        for signal_number in (how, signal.SIGKILL):
            self.send(name, signal_number)
            if wait(lambda: not self.alive(name), patience):
                break
        if leader := self._started.pop(name, None):
            leader.wait(patience)  # one that is dead may have threads that have not let go of its files yet
        (self.home / f"{name}.pid").unlink(missing_ok=True)

    def send(self, name: str, how: signal.Signals) -> None:
        """Signal each, the leader first, so that a supervisor starts no other; one that ended meanwhile is fine."""
        for number in self.alive(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, how)


def stat_of(number: int) -> list[str]:
    """The fields of /proc/NUMBER/stat from the third on: [0] state, [3] session, [19] start time; see proc(5)."""
    return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()


def wait(until: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
