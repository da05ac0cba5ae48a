"""Gives ailasd its own venv: made beside the one in force, which is then a symlink's change away.

A venv cannot be renamed, since its programs begin with its path. So each lies in a folder of its own, and ``venv`` is a
symlink: whenever the power goes, it shows a whole one, the old or the new.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ailasd.errors import NeedsHuman
from ailasd.setting_up.machine import replace_link, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from ailasd.setting_up.edition import Origin

PYTHONS: Final = ("/usr/bin/python3", "/usr/local/bin/python3")
"""The system's own: the service may not look into homes, where other Pythons live."""

INSTALL_S: Final = 3600.0
"""pip over a slow link: 25 MB of wheels at 10 kB/s take 40 minutes."""

CAMERA: Final = "camera"
"""The extra that reads cameras over USB; its one library has no wheel for every machine."""


def system_python() -> str:
    """The Python that the venv is made with.

    Raises:
        NeedsHuman: there is none that is new enough and can make a venv.
    """
    there = [python for python in PYTHONS if Path(python).exists()]
    for python in there:
        fits = "import sys, venv, ensurepip; print(sys.version_info >= (3, 11))"
        if run([python, "-I", "-c", fits], must=False).strip() == "True":
            return python
    raise NeedsHuman(
        "Python 3.11 or newer with its venv module is missing (sudo apt-get install python3-venv); "
        f"there is {' and '.join(there) or 'none in /usr'}"
    )


def works(venv: Path) -> bool:
    """Whether the ailasd there can be run."""
    return run([str(venv / "bin/ailasd"), "--version"], must=False) != ""


def make_venv(origin: Origin, programs: Path, python: str, say: Callable[[str], object]) -> Path:
    """Install an ailasd into a new venv below ``programs``; nothing of it is in force yet.

    Returns:
        Its folder, which is whole, and on the disk.

    Raises:
        NeedsHuman: pip failed; nothing is left of it.
    """
    programs.mkdir(mode=0o755, parents=True, exist_ok=True)
    venv = Path(tempfile.mkdtemp(prefix="venv-", dir=programs))
    try:
        venv.chmod(0o755)
        pip = _own_pip()
        run([python, "-I", "-m", "venv", *(["--without-pip"] if pip else []), str(venv)], timeout=INSTALL_S)
        _install(pip or [str(venv / "bin/pip")], venv, origin, say)
        run([str(venv / "bin/ailasd"), "--version"])  # else it is not put in force
        os.sync()
    except BaseException:
        shutil.rmtree(venv, ignore_errors=True)
        raise
    return venv


def _own_pip() -> list[str] | None:
    """The pip that came with us, as sqlite-utils wants it: the new venv need not get an older one first.

    That would cost as much as all the rest. None: there is none, or one before 22.3, which cannot serve another venv.
    """
    try:
        import pip  # noqa: PLC0415  (not ours, and seldom needed)
    except ImportError:
        return None
    if tuple(map(int, re.findall(r"\d+", pip.__version__)[:2])) < (22, 3):
        return None
    return [sys.executable, str(Path(pip.__file__).parent)]


def _install(pip: list[str], venv: Path, origin: Origin, say: Callable[[str], object]) -> None:
    where = ["--no-index", "--find-links", str(origin.wheels)] if origin.wheels else []
    # what has no wheel would have to be compiled, for which a kit has neither tools nor time; ailasd itself may come
    # from a checkout
    quietly = ["--quiet", "--disable-pip-version-check", "--no-input"]
    install = [*pip, "--python", str(venv / "bin/python"), "install", *quietly, *where]
    with_cameras = not origin.wheels or any(origin.wheels.glob("gphoto2-*.whl"))
    if with_cameras:
        try:
            run([*install, "--only-binary", "gphoto2", origin.requiring(CAMERA)], timeout=INSTALL_S)
        except NeedsHuman as failed:
            problem = failed
        else:
            return
    run([*install, origin.requirement], timeout=INSTALL_S)
    why = f" ({str(problem).splitlines()[-1]})" if with_cameras else ": there is no wheel of gphoto2"
    say(f"Cameras cannot be read over USB, only their cards{why}.")


def put_in_force(venv: Path, link: Path) -> None:
    """Let ``link`` show this venv from now on.

    Raises:
        NeedsHuman: something else lies there.
    """
    if link.exists() and not link.is_symlink():
        raise NeedsHuman(f"{link} was not made by `ailasd setup`: move it away")
    replace_link(link, venv.name)


def clear_out(programs: Path, link: Path) -> None:
    """Remove every venv that is not in force: earlier ones, and what a power cut left."""
    for venv in programs.glob("venv-*"):
        if venv.is_dir() and venv.resolve() != link.resolve():
            shutil.rmtree(venv, ignore_errors=True)
