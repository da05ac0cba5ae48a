"""A sentence with what is filled in, to be said in English or in another language. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from gettext import NullTranslations
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENGLISH: Final = NullTranslations()


def N_(text: str) -> str:  # noqa: N802  (gettext's own name for: to be translated elsewhere)
    """Mark a sentence for the catalogues."""
    return text


@dataclass(frozen=True, slots=True)
class Sentence:
    """One.

    Attributes:
        text: English, marked with ``N_``; with one name in %( )s for each of ``values``.
        values: what is filled in; sentences among them are translated too.
    """

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def said(
        self, language: NullTranslations = ENGLISH, written: Callable[[object], object] = lambda value: value
    ) -> str:
        """It, in that language; what its catalogue does not have stays English.

        Args:
            language: of the reader.
            written: how a value is written there.
        """
        filled = {
            name: value.said(language, written) if isinstance(value, Sentence) else written(value)
            for name, value in self.values.items()
        }
        return language.gettext(self.text) % filled

    def __str__(self) -> str:
        """In English."""
        return self.said()
