"""One of /sys/class/leds, until it is given back: then it does what it did before.

The kernel itself blinks (its triggers), so that nothing of ours runs meanwhile. Writing there needs leave, which
`ailasd setup` gives for what the configuration names; see Documentation/leds/leds-class.rst.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMER, ONESHOT, NONE = "timer", "oneshot", "none"
"""Triggers of the kernel: it blinks by ``delay_on`` and ``delay_off``; does so once for each write to ``shot``; does
what ``brightness`` says."""

LEAVE_S: Final = 3.0
"""udev gives leave for the files of a trigger after they appear."""
LOOK_S: Final = 0.05

_OF_TRIGGERS: Final = {"delay_on", "delay_off", "shot"}


class Led:
    """It.

    Args:
        folder: of it in sysfs.
        before: a file that outlives a kill of ours, but no reboot: what it did before. None: nowhere.
        sleep: seconds (law 8).
    """

    def __init__(
        self, folder: Path, before: Path | None = None, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.name: Final = folder.name
        self._folder = folder
        self._before = before
        self._sleep = sleep
        self._found: tuple[str, str] | None = None

    def trigger(self, trigger: str) -> None:
        """Have the kernel do this from now on.

        Raises:
            OSError: it is not there, has no such trigger, or may not be written to.
        """
        if self._found is None:
            self._found = self._as_it_was()
        known = self.read("trigger").replace("[", "").replace("]", "").split()
        if trigger not in known:
            raise OSError(f"the kernel has no trigger {trigger} for it (modprobe ledtrig-{trigger})")
        if self._now()[0] != trigger:  # the same again would end the blinking for a moment
            self.write("trigger", trigger)

    def give_back(self) -> None:
        """Let it do again what it did before.

        Raises:
            OSError: it is gone.
        """
        if self._found is not None:
            trigger, brightness = self._found
            self.write("brightness", "0")  # which ends our trigger; the one before lights it when it has a reason to
            self.write("trigger", trigger)
            if trigger == NONE:
                self.write("brightness", brightness)
            self._found = None
            if self._before is not None:
                self._before.unlink(missing_ok=True)

    def _as_it_was(self) -> tuple[str, str]:
        """Trigger and brightness before us, also if an earlier process of ours was killed meanwhile."""
        if self._before is not None and self._before.exists():
            trigger, _, brightness = self._before.read_text(encoding="ascii").partition(" ")
            return trigger, brightness
        now = self._now()
        if self._before is not None:
            self._before.write_text(" ".join(now), encoding="ascii")
        return now

    def _now(self) -> tuple[str, str]:
        chosen = re.search(r"\[(\S+)\]", self.read("trigger"))
        return chosen[1] if chosen else NONE, self.read("brightness")

    def read(self, name: str) -> str:
        """What one of its files says."""
        return (self._folder / name).read_text(encoding="ascii").strip()

    def write(self, name: str, value: str) -> None:
        """Sysfs takes a value in one write; a file of a trigger may have to wait for its leave."""
        waited = 0.0
        while True:
            try:
                fd = os.open(self._folder / name, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)  # never made by us
                try:
                    os.write(fd, value.encode())
                finally:
                    os.close(fd)
            except (PermissionError, FileNotFoundError):
                if name not in _OF_TRIGGERS or waited >= LEAVE_S:
                    raise
                self._sleep(LOOK_S)
                waited += LOOK_S
            else:
                return
