"""A short tone when the sign changes, made here and played by ALSA's `aplay`."""

from __future__ import annotations

import array
import math
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ailasd.sentence import N_
from ailasd.sign import Shown, Sign

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE: Final = 22_050  # Hz: enough for tones, and every sound card plays it
TONE_S: Final = 0.16
PAUSE_S: Final = 0.04
SOFT_S: Final = 0.01
"""Each tone swells and fades so long: else it cracks."""
LOUDNESS: Final = 0.5  # of what 16 bits can say
PLAY_S: Final = 5.0
"""A sound card that hangs must not keep the next sign from being shown."""


class Tune(NamedTuple):
    """Tones, Hz, and how long each is; ``words``: for the card that people print."""

    tones: tuple[int, ...]
    words: str
    tone_s: float = TONE_S


TUNES: Final[Mapping[Sign, Tune]] = {
    Sign.READING: Tune((523, 659), N_("two rising tones")),
    Sign.PULL: Tune((659, 784, 1047), N_("three rising tones")),
    Sign.SAFE: Tune((784, 1047, 784, 1047), N_("four high tones, up and down")),
    Sign.HELP: Tune((330, 262, 330, 262), N_("four long, low tones, up and down"), 0.4),
}
"""Signs of what goes on without anybody's hand are silent. No two have as many tones of one length: a buzzer has one
pitch (``buzzer``)."""


@cache
def wav(tune: Tune) -> bytes:
    """A WAV file, mono, 16 bits."""
    samples = array.array("h")
    for hz in tune.tones:
        samples.extend(_tone(hz, tune.tone_s))
        samples.extend([0] * round(PAUSE_S * RATE))
    if sys.byteorder == "big":
        samples.byteswap()
    data = samples.tobytes()
    head = b"WAVEfmt " + _number(16, 4) + _number(1, 2) + _number(1, 2) + _number(RATE, 4) + _number(2 * RATE, 4)
    body = head + _number(2, 2) + _number(16, 2) + b"data" + _number(len(data), 4) + data
    return b"RIFF" + _number(len(body), 4) + body


def _tone(hz: int, lasts_s: float) -> list[int]:
    count, soft = round(lasts_s * RATE), SOFT_S * RATE
    top = LOUDNESS * 0x7FFF
    return [
        round(top * min(1.0, i / soft, (count - i) / soft) * math.sin(2 * math.pi * hz * i / RATE))
        for i in range(count)
    ]


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


class Sound:
    """Plays the tune of each new sign; the first one that it hears of is no change.

    Args:
        device: of ALSA, as `aplay -L` lists them.
    """

    def __init__(self, device: str) -> None:
        self.name: Final = "the sound"
        self._device = device
        self._sign: Sign | None = None

    def show(self, shown: Shown) -> None:
        """Play it if it is another one.

        Raises:
            OSError: there is no `aplay`, or it cannot.
        """
        before, self._sign = self._sign, shown.sign
        if before in {None, shown.sign} or shown.sign not in TUNES:
            return
        command = ["aplay", "--quiet", f"--device={self._device}", "-"]
        try:
            done = subprocess.run(  # noqa: S603  (a list of words; the device is a name)
                command, input=wav(TUNES[shown.sign]), capture_output=True, timeout=PLAY_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"aplay did not end within {PLAY_S:.0f} s") from None
        if done.returncode:
            raise OSError(f"aplay failed: {done.stderr.decode(errors='replace').strip()[-200:]}")

    def close(self) -> None:
        """Nothing is left to do."""
