"""What a person would bring to a kit without a network, on a stick: our wheel and those that it needs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

from provision import checked

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
TOOLS = ["pytest", "pytest-timeout", "hypothesis"]  # for tests that run in the guest
GUEST_PYTHON = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"] + [
    f"--platform={one}_x86_64" for one in ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux1")
]
"""Of Debian 12, whatever Python runs here."""


class Stick:
    """A folder that is filled once for all guests of a test run; ``put_into`` gives each what is on it.

    ``wheels`` has the wheels, ``site`` their contents, as if pip had put them into a first venv.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._wheels = home.parent / "wheels"  # those of others are kept from run to run

    def fill(self) -> None:
        """Build our wheel, and fetch those of others anew when what we need has changed.

        Raises:
            Unavailable: pip failed.
        """
        about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        needs = json.dumps([about["dependencies"], about["optional-dependencies"]["camera"], TOOLS])
        ours = self.home / "ours"
        shutil.rmtree(ours, ignore_errors=True)
        checked([*PIP, "wheel", "--no-deps", "--wheel-dir", str(ours), str(ROOT)])
        (wheel,) = ours.glob("*.whl")
        fetched = self._wheels / "complete"
        if not fetched.exists() or fetched.read_text() != needs:
            shutil.rmtree(self._wheels, ignore_errors=True)
            checked([*PIP, "download", *GUEST_PYTHON, "--dest", str(self._wheels), f"{wheel}[camera]", *TOOLS])
            (self._wheels / wheel.name).unlink()
            fetched.write_text(needs)
        made_of = hashlib.sha256(needs.encode() + wheel.read_bytes()).hexdigest()
        if self.made_of != made_of:
            (self.home / "made-of").unlink(missing_ok=True)
            self._unpack(wheel)
            (self.home / "made-of").write_text(made_of)

    def _unpack(self, ours: Path) -> None:
        for folder in (self.home / "wheels", self.home / "site"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._wheels, self.home / "wheels", ignore=shutil.ignore_patterns("complete"))
        shutil.copy(ours, self.home / "wheels")
        offline = ["--no-index", f"--find-links={self.home}/wheels", f"--target={self.home}/site"]
        checked([*PIP, "install", *GUEST_PYTHON, *offline, f"{ours}[camera]", *TOOLS])

    def put_newer_into(self, share: Path, version: str) -> None:
        """Let a guest see a folder ``newer``, with a wheel of ours of that version, and those that it needs."""
        tree = share / "tree"
        copied = shutil.ignore_patterns("__pycache__")
        for part in ("ailasd", "systemd"):
            shutil.copytree(ROOT / part, tree / part, ignore=copied)
        for part in ("pyproject.toml", "README.md", "LICENSE", "config.example.toml"):
            shutil.copy(ROOT / part, tree)
        about = tree / "ailasd/__init__.py"
        about.write_text(re.sub(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', about.read_text()))
        others = shutil.ignore_patterns("ailasd-*")
        shutil.copytree(self.home / "wheels", share / "newer", ignore=others, copy_function=os.link)
        checked([*PIP, "wheel", "--no-deps", "--wheel-dir", str(share / "newer"), str(tree)])

    @property
    def made_of(self) -> str:
        """A word that is another one when anything on it is."""
        try:
            return (self.home / "made-of").read_text()
        except FileNotFoundError:
            return ""

    def put_into(self, share: Path) -> None:
        """Let a guest see it; nothing of it may be written to."""
        for folder in ("wheels", "site"):
            shutil.copytree(self.home / folder, share / folder, copy_function=os.link)
