"""A light of this machine shows the sign: any of /sys/class/leds, such as the ACT of a Raspberry Pi.

The kernel itself blinks (its trigger "timer"), so that a sign costs nothing while it lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ailasd.sentence import N_
from ailasd.showing.led import NONE, TIMER
from ailasd.sign import Shown, Sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ailasd.showing.led import Led


class Pattern(NamedTuple):
    """How it blinks. ``off_ms`` 0: it is lit all the time. ``words``: for the card that people print."""

    on_ms: int
    off_ms: int
    words: str


PATTERNS: Final[Mapping[Sign, Pattern]] = {
    Sign.NOTHING: Pattern(50, 4950, N_("dark, with a short flash every 5 seconds")),
    Sign.READING: Pattern(250, 250, N_("blinks twice a second")),
    Sign.PULL: Pattern(1, 0, N_("is lit")),
    Sign.WAITING: Pattern(100, 1900, N_("a short flash every 2 seconds")),
    Sign.SENDING: Pattern(1000, 1000, N_("one second lit, one second dark")),
    Sign.SAFE: Pattern(1900, 100, N_("is lit, and goes out for a moment every 2 seconds")),
    Sign.HELP: Pattern(60, 60, N_("flickers fast")),
}


class Light:
    """A light, until it is closed; then it does what it did before.

    Args:
        led: in sysfs.
    """

    def __init__(self, led: Led) -> None:
        self.name: Final = f"the light {led.name}"
        self._led = led
        self._sign: Sign | None = None

    def show(self, shown: Shown) -> None:
        """Blink as ``PATTERNS`` says.

        Raises:
            OSError: the light is not there, it cannot blink, or may not be written to.
        """
        if shown.sign == self._sign:
            return
        pattern = PATTERNS[shown.sign]
        if pattern.off_ms:
            self._led.trigger(TIMER)
            self._led.write("delay_on", str(pattern.on_ms))
            self._led.write("delay_off", str(pattern.off_ms))
        else:
            self._led.trigger(NONE)
            self._led.write("brightness", self._led.read("max_brightness"))
        self._sign = shown.sign

    def close(self) -> None:
        """Let it do again what it did before.

        Raises:
            OSError: it is gone.
        """
        self._led.give_back()
        self._sign = None
