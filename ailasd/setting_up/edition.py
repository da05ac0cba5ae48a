"""Which ailasd is it? Told by its files, not by its version, which nobody raises while they try something."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import ailasd
from ailasd.errors import NeedsHuman

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_BYTES: Final = 16 << 20
"""Of a file in a wheel of ours, which has some 20 kB: more is no wheel of ours."""

Edition = frozenset[tuple[str, str]]
"""Name below ``ailasd/`` and SHA-256 of every file, but of what Python compiles."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an ailasd can be installed from.

    Attributes:
        requirement: as pip takes it, without extras.
        wheels: the folder that has all that it needs; None: pip asks its index.
        edition: what comes out; None: only the index knows.
        words: for people.
    """

    requirement: str
    wheels: Path | None
    edition: Edition | None
    words: str

    def requiring(self, extra: str) -> str:
        """The requirement with an extra."""
        if self.requirement.startswith("/"):
            return f"{self.requirement}[{extra}]"
        return self.requirement.replace("ailasd", f"ailasd[{extra}]", 1)


def of_running() -> Edition:
    """The one that runs now."""
    package = Path(ailasd.__file__).parent
    beside = [path for name in ("systemd", "config.example.toml") for path in _below(package.parent / name)]
    inside = _digests(package, _below(package))
    return inside if (package / "systemd").exists() else inside | _digests(package.parent, beside)


def of_venv(venv: Path) -> Edition | None:
    """The one that is installed there; None: none is."""
    package = next(venv.glob("lib/python3.*/site-packages/ailasd"), None)
    return _digests(package, _below(package)) if package else None


def packages(venv: Path) -> frozenset[str]:
    """All that is installed there, with its versions."""
    return frozenset(path.name for path in venv.glob("lib/python3.*/site-packages/*.dist-info"))


def of_wheel(wheel: Path) -> Edition:
    """The one that is in a wheel.

    Raises:
        NeedsHuman: it is none of ours, or damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.startswith("ailasd/")]
            if any(entry.file_size > MOST_BYTES for entry in entries):
                raise NeedsHuman(f"{wheel} is no wheel of ailasd")
            return frozenset(
                (entry.filename.removeprefix("ailasd/"), sha256(archive.read(entry)).hexdigest())
                for entry in entries
                if not entry.is_dir()
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise NeedsHuman(f"{wheel} cannot be read ({error}): copy it anew") from error


def _below(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return (one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)


def _digests(top: Path, paths: Iterable[Path]) -> Edition:
    return frozenset((str(path.relative_to(top)), sha256(path.read_bytes()).hexdigest()) for path in paths)


# -- where from -------------------------------------------------------------------------------------------------------
def from_wheels(folder: Path) -> Origin:
    """The one on a stick.

    Raises:
        NeedsHuman: there is no wheel of ailasd, or several.
    """
    found = sorted(folder.absolute().glob("ailasd-*.whl"))
    if len(found) != 1:
        names = ", ".join(wheel.name for wheel in found) or "none"
        raise NeedsHuman(f"{folder} must hold one wheel of ailasd, and those that it needs; it holds {names}")
    return Origin(str(found[0]), folder.absolute(), of_wheel(found[0]), found[0].name)


def from_index() -> Origin:
    """The newest that pip's index has."""
    return Origin("ailasd", None, None, "the package index")


def from_where_this_came() -> Origin:
    """The one that runs, from where it was installed from (PEP 610).

    Raises:
        NeedsHuman: that is not there any more.
    """
    try:
        text = metadata.distribution("ailasd").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        raise NeedsHuman("this ailasd runs from a folder that it was not installed from: say --wheels DIR") from None
    if text is None:
        return Origin(f"ailasd=={ailasd.__version__}", None, of_running(), "the package index")
    told = json.loads(text)
    if "vcs_info" in told:
        where = f"{told['vcs_info']['vcs']}+{told['url']}@{told['vcs_info']['commit_id']}"
        return Origin(f"ailasd @ {where}", None, of_running(), told["url"])
    parts = urlsplit(told["url"])
    if parts.scheme != "file":
        return Origin(f"ailasd @ {told['url']}", None, of_running(), told["url"])
    path = Path(unquote(parts.path))
    if not path.exists():
        raise NeedsHuman(f"{path}, which this ailasd was installed from, is gone: say --wheels DIR")
    edition = of_wheel(path) if path.suffix == ".whl" else of_running()
    return Origin(str(path), None, edition, str(path))
