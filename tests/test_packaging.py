"""What people install, and what starting it costs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LATE = ("PIL", "apscheduler")
"""Only reading a picture and the daemon need them."""
NEVER_IN_THE_BASE = ("numpy", "pandas", "rich")
"""Megabytes that httpx, structlog and sqlite-utils import when installed, as the tests' own tools do here."""


def test_starting_the_program_imports_nothing_heavy() -> None:
    """Installed without extras, the command line starts without a library that only one command needs."""
    show = (
        f"import sys; sys.modules.update(dict.fromkeys({NEVER_IN_THE_BASE!r}));"  # None: as if it were not installed
        f"import ailasd.cli; print(*(name for name in {LATE!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def requirements(distribution: str) -> set[str]:
    """The names of what it needs here, extras left out."""
    needs = importlib.metadata.requires(distribution) or []
    return {re.split(r"[^\w.-]", need)[0].lower() for need in needs if "extra ==" not in need}


def test_the_base_brings_no_heavy_library() -> None:
    """Nothing that ailasd needs, or that those need in turn, is numpy, pandas or rich."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = {re.split(r"[^\w.-]", need)[0].lower() for need in project["dependencies"]}
    known: set[str] = set()
    while waiting:
        known.add(name := waiting.pop())
        try:
            waiting |= requirements(name) - known
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python only
    assert {"click", "httpx", "anyio", "httpcore"} <= known
    assert known.isdisjoint(NEVER_IN_THE_BASE)


@pytest.mark.slow
def test_the_wheel_holds_the_program_and_nothing_else(tmp_path: Path) -> None:
    """The package, what `ailasd setup` installs, licence and command are in it; tests and tools are not."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        information = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        commands = archive.read(information["entry_points.txt"]).decode()
    package = ROOT.glob("ailasd/**/*")
    put_in = {f"ailasd/systemd/{file.name}" for file in (ROOT / "systemd").iterdir()} | {"ailasd/config.example.toml"}
    assert inside == put_in | {
        str(file.relative_to(ROOT)) for file in package if file.is_file() and "__pycache__" not in file.parts
    }
    assert "LICENSE" in information
    assert "ailasd = ailasd.cli:main" in commands
