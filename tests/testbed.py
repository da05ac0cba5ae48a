"""A machine's devices, described: umockdev, whose testbed is driven by Debian's own Python.

Run as a program it is that driver: a command, a line of JSON, on its standard input; an answer on its standard output.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

PRELOAD = "libumockdev-preload.so.0"
DEBIAN_PYTHON = "/usr/bin/python3"  # has the binding, python3-gi
PACKAGES = "umockdev gir1.2-umockdev-1.0 python3-gi"


def missing() -> str | None:
    """What keeps a testbed from being made here, or None."""
    if os.geteuid() != 0:
        return "root is needed"
    if not ctypes.util.find_library("udev"):
        return "libudev1 is needed"
    if not shutil.which("umockdev-wrapper"):
        return f"to be installed: {PACKAGES}"
    probe = "import gi; gi.require_version('UMockdev', '1.0')"
    if subprocess.run([DEBIAN_PYTHON, "-c", probe], check=False, capture_output=True, timeout=20).returncode:
        return f"to be installed: {PACKAGES}"
    return None


def machine_of_its_own(*command: str) -> list[str]:
    """The command that runs another one where udev seems to run, and no network and no real udev is."""
    prepare = 'mount -t tmpfs none /run && mkdir /run/udev && : >/run/udev/control && exec "$@"'
    return ["unshare", "--mount", "--net", "--kill-child", "sh", "-c", prepare, "sh", *command]


class Umockdev:
    """Devices that can be added, changed and pulled out, seen only by ``environment``'s programs."""

    def __init__(self) -> None:
        self._driver = subprocess.Popen(
            ["umockdev-wrapper", DEBIAN_PYTHON, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._root = self._ask("root")

    @property
    def environment(self) -> dict[str, str]:
        """In which a program sees these devices instead of the real ones."""
        return {**os.environ, "LD_PRELOAD": PRELOAD, "UMOCKDEV_DIR": self._root}

    def add(self, description: str) -> None:
        """Plug in what is described in umockdev's own format (see umockdev(7)), and tell of it."""
        self._ask("add", description)

    def change(self, path: str, **attributes: str) -> None:
        """Set attributes of sysfs, and tell of a change."""
        self._ask("change", path, attributes)

    def set(self, path: str, name: str, value: str) -> None:
        """Set a property of udev's without telling."""
        self._ask("set", path, name, value)

    def remove(self, *paths: str) -> None:
        """Pull out, and tell of it; parts before the whole."""
        self._ask("remove", *paths)

    def _ask(self, *command: Any) -> str:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(command) + "\n")
        self._driver.stdin.flush()
        answer = self._driver.stdout.readline()
        assert answer, "the testbed is gone"
        return str(json.loads(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.close()
        self._driver.wait(10)
        self._driver.stdout.close()


def drive() -> None:
    """Do as told on standard input, until it ends."""
    import gi  # type: ignore[import-not-found]  # noqa: PLC0415  (Debian's Python only)

    gi.require_version("UMockdev", "1.0")
    from gi.repository import UMockdev  # type: ignore[import-not-found]  # noqa: PLC0415

    bed = UMockdev.Testbed.new()
    for line in sys.stdin:
        verb, *words = json.loads(line)
        answer = "done"
        if verb == "root":
            answer = bed.get_root_dir()
        elif verb == "add":
            bed.add_from_string(words[0])
            for described in words[0].splitlines():
                if described.startswith("P: "):
                    bed.uevent("/sys" + described[3:], "add")
        elif verb == "change":
            for name, value in words[1].items():
                bed.set_attribute(words[0], name, value)
            bed.uevent(words[0], "change")
        elif verb == "set":
            bed.set_property(*words)
        elif verb == "remove":
            for path in words:
                bed.uevent(path, "remove")
                bed.remove_device(path)
                # umockdev 0.17 forgets a partition's
                Path(bed.get_sys_dir(), "block", Path(path).name).unlink(missing_ok=True)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    drive()
