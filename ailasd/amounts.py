"""Numbers as they stand in sentences for people, in their language; a terminal's tables have ``wording``'s. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ailasd.sentence import N_

if TYPE_CHECKING:
    from gettext import NullTranslations

NO_BREAK: Final = "\u00a0"
"""A space at which no line ends."""

POINT: Final = N_(".")


def number(count: int) -> str:
    """``1234567`` -> "1 234 567", which stays on one line."""
    return f"{count:,}".replace(",", NO_BREAK)


def decimal(amount: str, language: NullTranslations) -> str:
    """``"12.3"`` -> "12,3", where people write a comma."""
    return amount.replace(POINT, language.gettext(POINT))
