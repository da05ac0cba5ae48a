"""The languages that people here read: gettext catalogues, and which of them somebody wants.

The catalogues lie as text (``locales/*/LC_MESSAGES/*.po``, one for each part of ailasd that speaks), where a translator
finds them: made into the binary form in memory, they need no step of the build and cannot be older than their text.
"""

from __future__ import annotations

import ast
import gettext
import io
import struct
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ENGLISH: Final = "en"
LANGUAGES: Final = {"fr": "Français", "mg": "Malagasy", ENGLISH: "English"}
"""Each by the name that its readers know. The sentences in the program are English."""


@cache
def translations(language: str) -> gettext.NullTranslations:
    """What says our sentences in one of ``LANGUAGES``; what is not translated stays English."""
    if language not in LANGUAGES or language == ENGLISH:
        return gettext.NullTranslations()
    folder = resources.files("ailasd").joinpath("locales", language, "LC_MESSAGES")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".po")), key=lambda file: file.name)
    texts = [file.read_text(encoding="utf-8") for file in files]
    return gettext.GNUTranslations(io.BytesIO(_compiled(texts)))


def preferred(accept_language: str) -> str:
    """The one of ``LANGUAGES`` that a browser likes best; English if it knows none of them.

    Args:
        accept_language: as RFC 9110, 12.5.4 has it; what is no part of that is passed over.
    """
    best = (0.0, ENGLISH)
    for part in accept_language[:500].split(","):
        name, _, quality = part.partition(";")
        language = name.strip().lower().partition("-")[0]
        if language in LANGUAGES and _quality(quality) > best[0]:
            best = (_quality(quality), language)
    return best[1]


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1.0
    try:
        return min(1.0, float(value)) if name.strip() == "q" else 0.0
    except ValueError:
        return 0.0


# -- a catalogue's text, and its binary form (gettext(1), "MO Files") --------------------------------------------------
def entries(text: str) -> Iterator[dict[str, str]]:
    """The entries of a .po file: "msgid", "msgid_plural", "msgstr", "msgstr[0]", ... -> what stands there."""
    entry: dict[str, str] = {}
    field = ""
    for line in (*text.splitlines(), ""):
        word, _, rest = line.strip().partition(" ")
        if word.startswith("#"):
            continue
        if not word or (word == "msgid" and entry):
            if entry:
                yield entry
            entry = {}
        if word.startswith('"'):
            entry[field] += ast.literal_eval(line.strip())  # its escapes are those of Python
        elif word:
            field = word
            entry[field] = ast.literal_eval(rest)


def _compiled(texts: Iterable[str]) -> bytes:
    return _binary(
        {
            "\0".join(filter(None, (one["msgid"], one.get("msgid_plural")))): "\0".join(_said(one))
            for text in texts
            for one in entries(text)
            if any(_said(one))
        }
    )


def _said(entry: dict[str, str]) -> list[str]:
    return [said for field, said in entry.items() if field.startswith("msgstr")]


def _binary(pairs: Mapping[str, str]) -> bytes:
    encoded = sorted((one.encode(), other.encode()) for one, other in pairs.items())
    head, at = 28, 28 + 16 * len(encoded)
    tables: list[bytes] = []
    strings = b""
    for side in (0, 1):
        for pair in encoded:
            tables.append(struct.pack("<II", len(pair[side]), at + len(strings)))
            strings += pair[side] + b"\0"
    numbers = (0x950412DE, 0, len(encoded), head, head + 8 * len(encoded), 0, 0)
    return struct.pack("<7I", *numbers) + b"".join(tables) + strings
