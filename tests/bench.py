"""Benchmarks, as one command; each contender and what it is compared with run in the same run.

    python tests/bench.py [import|upload|roads|reimport|idle|catalogue|web|all] [OPTIONS OF THAT ONE]

No tests: times are for people, on the machine they have. What is missed says so, and the exit code is 0 all the same.
This file also has what all of them need: a venv with nothing but the base dependencies (development tools change what
libraries import, and so the memory), the cost of a command, and the way a goal is shown.
"""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from instance import default_home

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHECKOUT: Final = Path(__file__).parents[1]
BENCHES: Final = ("import", "upload", "roads", "reimport", "idle", "catalogue", "web")
LOOK_EVERY_S: Final = 0.02
"""How often the peak of a process's memory is read: it only grows, so what is missed is its last 20 ms."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: seconds on the wall, seconds of CPU and MB (10^6) of resident memory at its peak."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def cost_of(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, most_s: float | None = None
) -> Cost:
    """Run a command and measure it, children that it waited for included (but for the memory: that is its own).

    The peak is ``VmHWM`` of the process itself: ``ru_maxrss`` also has that of the program which started it.

    Args:
        command: the program and its arguments.
        env: its environment; None: ours.
        most_s: it is ended after so many seconds, which is no failure.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    began = time.monotonic()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        ended = threading.Event()
        peak = [0.0]

        def watch() -> None:
            while not ended.wait(LOOK_EVERY_S):
                peak[0] = max(peak[0], memory_mb(child.pid, "VmHWM"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        enough = threading.Timer(most_s or 0, child.terminate)
        if most_s:
            enough.start()
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        ended.set()
        watcher.join()
        was_enough = bool(most_s) and not enough.is_alive()
        enough.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode and not was_enough:
        raise RuntimeError(f"{command[0]} failed ({child.returncode}):\n{said.decode(errors='replace')[-3000:]}")
    return Cost(wall, used.ru_utime + used.ru_stime, peak[0])


def memory_mb(process: int, what: str) -> float:
    """A line of ``/proc/PID/status`` in MB (10^6); 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{what}:")), 0.0)


def base_python() -> Path:
    """The Python of a venv with the base dependencies of ``pyproject.toml`` alone; ``base_env`` adds this checkout."""
    wanted = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    return venv("base", wanted)


def base_env() -> dict[str, str]:
    """The environment in which ``base_python`` finds this checkout's ``ailasd``."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}


def venv(name: str, packages: Sequence[str]) -> Path:
    """The Python of a venv in the tests' cache folder with these packages; made anew when they change."""
    folder = default_home() / f"bench-{name}-{sys.version_info.major}.{sys.version_info.minor}"
    stamp, wanted = folder / "installed", "\n".join(packages)  # the stamp is written last
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        stamp.write_text(wanted)
    return folder / "bin/python"


def drop_caches(*folders: Path) -> None:
    """Forget all pages: globally as root, else those of each file."""
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")
        return
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cpu_seconds() -> float:
    """What this process has used so far, with the children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def median_ms(what: Callable[[], object], rounds: int) -> float:
    """The median time of one call."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        what()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def goal(what: str, measured: float, limit: float, unit: str = "", *, at_least: bool = False) -> None:
    """Print a goal and whether it is met."""
    met = measured >= limit if at_least else measured <= limit
    sign = ">=" if at_least else "<="
    print(f"{'met' if met else 'MISSED':7} {what}: {measured:.2f} {unit} ({sign} {limit:g})".replace("  (", " ("))


def end_cleanly() -> None:
    """Let SIGTERM (``timeout``, say) remove what was made, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def machine() -> str:
    """What else the machine does: its cores and how many programs wanted one in the last minute."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks that are named (none: all), each in a process of its own."""
    names, options = [part for part in arguments[:1] if not part.startswith("-")], list(arguments[1:])
    wanted = list(BENCHES) if names in ([], ["all"]) else names
    if not set(wanted) <= set(BENCHES):
        print(__doc__, file=sys.stderr)
        return 2
    code = 0
    for name in wanted:
        print(f"== {name} ({machine()})", flush=True)
        script = str(Path(__file__).parent / f"bench_{name}.py")
        code |= subprocess.run([sys.executable, script, *options], check=False).returncode
        print(flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
