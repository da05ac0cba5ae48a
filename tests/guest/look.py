"""Stays in the guest: says what is true there, whatever ailasd itself says of it, in JSON lines over a serial port.

It stays because a Python takes a second of the guest's one processor to start, and it is asked again and again.
"""

import hashlib
import json
import re
import select
import sqlite3
import subprocess
import threading
import time
import traceback
from pathlib import Path

PORT = Path("/dev/virtio-ports/observer")
STATE = Path("/var/lib/ailasd")
SERVICE = Path("/sys/fs/cgroup/system.slice/ailasd.service/cgroup.procs")
CARDS = {"vfat", "exfat", "fuseblk"}  # file systems that only cards have here
REPORT = re.compile(r"drive-[0-9]+\.txt")  # of a drive, beside its pictures


history: list[dict[str, str]] = []
"""Where cards were mounted in the machine's own namespace, each time that this changed: place -> "ro" or "rw"."""


def mounts(process: str) -> dict[str, str]:
    """Where cards are mounted, as that process sees it: place -> "ro" or "rw"."""
    try:
        return cards_in(Path(f"/proc/{process}/mountinfo").read_text())
    except (FileNotFoundError, ProcessLookupError):  # it just ended
        return {}


def cards_in(mountinfo: str) -> dict[str, str]:
    """A mount is writable if it is itself, and its file system is: proc_pid_mountinfo(5)."""
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, after = line.split(" - ", 1)
        place, options = before.split()[4:6]
        kind, _, of_all = after.split()
        if kind in CARDS:
            found[place] = "ro" if "ro" in (*options.split(","), *of_all.split(",")) else "rw"
    return found


def remember() -> None:
    """Write ``history``, for ever: the kernel says when a mount changes."""
    with Path("/proc/self/mountinfo").open() as mountinfo:
        changed = select.poll()
        changed.register(mountinfo, select.POLLPRI)
        while True:
            mountinfo.seek(0)
            if (now := cards_in(mountinfo.read())) != (history[-1] if history else {}):
                history.append(now)
            changed.poll()


def service() -> list[str]:
    """The numbers of its processes; none if it does not run."""
    return SERVICE.read_text().split() if SERVICE.exists() else []


def settled_at() -> float:
    """When the kernel had read the partition table of the last disk that it found, in seconds since 1970."""
    lines = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout.splitlines()
    tables = [line for line in lines if "]  sd" in line or "]  mmcblk" in line]
    since_boot = float(tables[-1].split("]")[0].strip("[ ")) if tables else 0.0
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def look(*, closely: bool) -> dict[str, object]:
    """What the catalogue says, and what is mounted; ``closely``: also what became of each file."""
    catalogue = sqlite3.connect(f"file:{STATE}/catalogue.db?mode=ro", uri=True)
    rows = catalogue.execute("SELECT md5, state, reason, copy, clock_trusted FROM picture").fetchall()
    found = {
        "states": {md5: " ".join(filter(None, (state, reason))) for md5, state, reason, *_ in rows},
        "clock_trusted": {md5: bool(trusted) for md5, *_, trusted in rows},
        "media": sorted(state for (state,) in catalogue.execute("SELECT state FROM medium")),
        "mounts": sorted({where for process in ("self", *service()) for where in mounts(process)}),
        "history": history,
    }
    return found | (files({copy: md5 for md5, _, _, copy, _ in rows if copy}) if closely else {})


def files(copies: dict[str, str]) -> dict[str, object]:
    """Our own copies against what the catalogue says of them (name -> md5)."""
    there = {
        str(path.relative_to(STATE)): path
        for path in (STATE / "pictures").rglob("*")
        if path.is_file() and not REPORT.fullmatch(path.name)
    }
    digests = {name: hashlib.md5(path.read_bytes()).hexdigest() for name, path in there.items()}
    return {
        "temporary": [path.name for path in (STATE / "incoming").iterdir()],
        "unknown": sorted(set(there) - set(copies)),
        "missing": sorted(set(copies) - set(there)),
        "damaged": [name for name, md5 in digests.items() if copies.get(name, md5) != md5],
        "copied_at": {md5: there[name].stat().st_ctime for name, md5 in copies.items() if name in there},
        "settled_at": settled_at(),
    }


def answer(question: str) -> dict[str, object]:
    """In the words of QEMU's own conversations."""
    try:
        return {"return": look(closely=question == "closely")}
    except (OSError, sqlite3.Error):
        return {"error": {"desc": traceback.format_exc()}}


threading.Thread(target=remember, daemon=True).start()
with PORT.open("r+b", buffering=0) as port:
    while True:
        line = b""
        while not line.endswith(b"\n"):
            if not (part := port.read(1)):  # nobody is at the other end
                time.sleep(0.1)
            line += part
        said = json.dumps(answer(json.loads(line)["execute"])).encode() + b"\n"
        while said:  # the kernel takes 32 KiB at a time
            said = said[port.write(said) :]
