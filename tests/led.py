"""A light as the kernel would have it in sysfs; many machines that run tests have none."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path


class Led:
    """A light's folder in sysfs, and a kernel behind it: it marks the trigger, whose files come and go."""

    TRIGGERS = ("none", "mmc0", "timer", "oneshot")
    FILES: ClassVar = {"timer": ("delay_on", "delay_off"), "oneshot": ("delay_on", "delay_off", "shot")}

    def __init__(self, folder: Path, *, trigger: str = "mmc0") -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "max_brightness").write_text("255\n")
        (folder / "brightness").write_text("7\n")
        self.beeps: list[tuple[float, int]] = []  # when each began, and its milliseconds
        self._until = 0.0
        self._choose(trigger)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def does(self) -> tuple[str, ...]:
        """(trigger, brightness) or ("timer", on, off)."""
        trigger = next((word[1:-1] for word in self._get("trigger").split() if word.startswith("[")), "?")
        names = ("delay_on", "delay_off") if trigger == "timer" else ("brightness",)
        return (trigger, *map(self._get, names))

    def _get(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def _choose(self, trigger: str) -> None:
        for name in ("delay_on", "delay_off", "shot"):
            (self.folder / name).unlink(missing_ok=True)
        for name in self.FILES.get(trigger, ()):
            self._put(name, "" if name == "shot" else "500")
        text = " ".join(f"[{one}]" if one == trigger else one for one in self.TRIGGERS)
        self._put("trigger", text)

    def _put(self, name: str, text: str) -> None:
        """Sysfs never shows a file without its value."""
        new = self.folder.parent / name
        new.write_text(f"{text}\n")
        new.rename(self.folder / name)

    def _serve(self) -> None:
        while not self._over.wait(0.002):
            said = (self.folder / "trigger").read_text()
            if said in self.TRIGGERS:
                self._choose(said)
            self._shoot()

    def _shoot(self) -> None:
        """One blink for a write to ``shot``; none while the one before goes on."""
        shot = self.folder / "shot"
        if not shot.exists() or not shot.read_text().strip():
            return
        self._put("shot", "")
        now = time.monotonic()
        if now >= self._until:
            on_ms, off_ms = (int(self._get(name)) for name in ("delay_on", "delay_off"))
            self._until = now + (on_ms + off_ms) / 1000
            self.beeps.append((now, on_ms))
