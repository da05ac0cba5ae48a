"""Commands in the network and mount namespaces of a process."""

from __future__ import annotations

import subprocess
from pathlib import Path


def inside(pid: int) -> list[str]:
    """The beginning of a command that shall run in another namespace."""
    return ["nsenter", f"--target={pid}", "--net", "--mount", f"--wd={Path.cwd()}"]


def sh(*command: str, said: str | None = None) -> str:
    """What a command prints, told ``said``; it must succeed within 30 s."""
    done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout
