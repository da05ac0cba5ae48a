"""The card that explains light and sound, to be printed and stuck to the kit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ailasd.showing.light import PATTERNS
from ailasd.showing.sound import TUNES
from ailasd.sign import Sign
from ailasd.sign_wording import BELOW, HEADLINES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from gettext import NullTranslations


class Row(NamedTuple):
    """A sign: what it says, what that means, and how it is seen and heard; ``sound`` "": it is silent."""

    sign: Sign
    says: str
    means: str
    light: str
    sound: str


def card(language: NullTranslations) -> Iterator[Row]:
    """All of it, in the reader's language."""
    for sign in Sign:
        sound = language.gettext(TUNES[sign].words) if sign in TUNES else ""
        light = language.gettext(PATTERNS[sign].words)
        yield Row(sign, language.gettext(HEADLINES[sign]), language.gettext(BELOW[sign]), light, sound)
