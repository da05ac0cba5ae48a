"""The sign in a small file, for other processes of this machine: what it shows is nobody's secret."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from ailasd.sign import Shown, Sign

PLACE: Final = Path("/run/ailasd/sign.json")
"""In the service's RuntimeDirectory=; everybody may read it."""


class SignFile:
    """Keeps the file as the sign is. It has no names, places or labels: ``why`` stays inside.

    Args:
        path: its folder is there; in memory, so that writing costs nothing.
    """

    def __init__(self, path: Path) -> None:
        self.name: Final = f"the file {path}"
        self._path = path

    def show(self, shown: Shown) -> None:
        """Replace it, whole.

        Raises:
            OSError: its folder cannot be written.
        """
        known = {name: value for name, value in asdict(shown).items() if name != "why"}
        new = self._path.with_name(f"{self._path.name}.new")
        with open(new, "w", encoding="ascii", opener=_for_everybody) as file:
            os.fchmod(file.fileno(), 0o644)  # whatever the service's umask is
            json.dump(known, file)
        new.replace(self._path)

    def close(self) -> None:
        """Nobody knows how it stands any more."""
        self._path.unlink(missing_ok=True)


def _for_everybody(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def read(path: Path) -> Shown | None:
    """The sign in the file; None: there is none, or it is not understood."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        said = json.loads(path.read_text(encoding="ascii"))
        minutes = said["minutes_left"]
        return Shown(
            Sign(said["sign"]), int(said["done"]), int(said["of"]), None if minutes is None else int(minutes),
            word=str(said["word"]),
        )  # fmt: skip
    return None
