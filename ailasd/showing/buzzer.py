"""A buzzer on a pin of the machine beeps when the sign changes: for a kit without a sound card.

To the kernel it is a light (on a Raspberry Pi `dtoverlay=gpio-led,gpio=18,label=buzzer`) that is "lit" as long as it
sounds. It has one pitch: what is heard is how many tones a tune has, and how long they are. The kernel ends each beep,
so that a process that is killed never leaves it sounding.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ailasd.showing.led import ONESHOT
from ailasd.showing.sound import TUNES

if TYPE_CHECKING:
    from ailasd.showing.led import Led
    from ailasd.showing.sound import Tune
    from ailasd.sign import Shown, Sign

OFF_MS: Final = 60
"""After each beep, by the kernel, which hears of no other until then."""
PAUSE_S: Final = 0.12
"""Between two beeps; longer than ``OFF_MS``, or one would be lost."""


class Buzzer:
    """Beeps the tune of each new sign; the first one that it hears of is no change.

    Args:
        led: what it is in sysfs.
    """

    def __init__(self, led: Led) -> None:
        self.name: Final = f"the buzzer {led.name}"
        self._led = led
        self._sign: Sign | None = None
        self._over = threading.Event()
        self._beeping: threading.Thread | None = None

    def show(self, shown: Shown) -> None:
        """Begin to beep if it is another one.

        Raises:
            OSError: it is not there, cannot beep, or may not be written to.
        """
        before, self._sign = self._sign, shown.sign
        if before in {None, shown.sign} or shown.sign not in TUNES:
            return
        tune = TUNES[shown.sign]
        still = self._end()
        self._led.trigger(ONESHOT)
        self._led.write("delay_on", str(round(1000 * tune.tone_s)))
        self._led.write("delay_off", str(OFF_MS))
        self._over.clear()
        # the other faces show it at once, and the end of the service need not wait for the tune's
        self._beeping = threading.Thread(target=self._beep, args=(tune, still), name="buzzer", daemon=True)
        self._beeping.start()

    def close(self) -> None:
        """Be silent, and let it do again what it did before.

        Raises:
            OSError: it is gone.
        """
        self._end()
        self._led.give_back()
        self._sign = None

    def _beep(self, tune: Tune, still_s: float) -> None:
        """All of it, as soon as a beep of the tune before has ended."""
        if self._over.wait(still_s):
            return
        with suppress(OSError):  # it was there a moment ago
            for _ in tune.tones:
                self._led.write("shot", "1")
                if self._over.wait(tune.tone_s + PAUSE_S):
                    return

    def _end(self) -> float:
        """Begin no other beep. Returns for how many seconds, at most, one still sounds."""
        going_on = self._beeping is not None and self._beeping.is_alive()
        self._over.set()
        if self._beeping is not None:
            self._beeping.join()
            self._beeping = None
        return max(tune.tone_s for tune in TUNES.values()) + PAUSE_S if going_on else 0.0
