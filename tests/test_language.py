"""The catalogues: nothing is left untranslated, nothing is translated in vain, and what is filled in fits."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ailasd
from ailasd.language import LANGUAGES, entries, translations
from ailasd.report_wording import HELD
from ailasd.showing.notice import language_of
from ailasd.wording import REASONS

ROOT = Path(ailasd.__file__).parent
CALLS = {"N_": 1, "_": 1, "gettext": 1, "ngettext": 2, "_n": 2}
"""What marks a text, and how many of its arguments are texts."""
OTHERS = sorted(set(LANGUAGES) - {"en"})
FIELD = re.compile(r"%\((\w+)\)s")
AFTER_A_NUMBER = {*HELD.values(), *REASONS.values()}
"""One text in English; in French another for several pictures."""


def marked() -> set[tuple[str, ...]]:
    """Every text of the program that is to be translated: (singular,) or (singular, plural)."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                texts = [one.value for one in node.args[: CALLS.get(name, 0)] if isinstance(one, ast.Constant)]
                if texts and len(texts) == CALLS[name]:
                    found.add(tuple(map(str, texts)))
    return found - {(text,) for text in AFTER_A_NUMBER} | {(text, text) for text in AFTER_A_NUMBER}


def catalogue(language: str) -> list[dict[str, str]]:
    files = sorted((ROOT / "locales" / language / "LC_MESSAGES").glob("*.po"))
    return [entry for file in files for entry in entries(file.read_text(encoding="utf-8")) if entry["msgid"]]


def ids(entry: dict[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, (entry["msgid"], entry.get("msgid_plural"))))


def said(entry: dict[str, str]) -> list[str]:
    return [text for field, text in entry.items() if field.startswith("msgstr")]


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_translated(language: str) -> None:
    """Each marked text is in the catalogue once, in all its forms."""
    there = [ids(entry) for entry in catalogue(language) if all(said(entry))]
    assert marked() <= set(there)
    assert len(there) == len(set(there))


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_filled_in_fits(language: str) -> None:
    """A translation has the fields of its sentence, each as often, in plurals one that says how many."""
    for entry in catalogue(language):
        for text in said(entry):
            assert sorted(FIELD.findall(text)) == sorted(FIELD.findall(entry["msgid"])), text
            assert text.replace("%(", "").count("%") == entry["msgid"].replace("%(", "").count("%"), text
        assert len(said(entry)) == len(ids(entry))


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_and_one_are_singular(language: str) -> None:
    """In French and in Malagasy the plural begins with two: n > 1."""
    say = translations(language)
    assert say.ngettext("%(count)s day", "%(count)s days", 0) == say.ngettext("%(count)s day", "%(count)s days", 1)
    (rule,) = [line for line in say.info()["plural-forms"].split(";") if "plural=" in line and "nplurals" not in line]
    assert rule.strip() == "plural=(n > 1)"


@pytest.mark.parametrize("language", OTHERS)
def test_signs_of_print(language: str) -> None:
    """Apostrophes are those of print, and in French a colon and its like stand behind a space at which no line ends."""
    for entry in catalogue(language):
        for text in said(entry):
            assert "'" not in text
            assert language != "fr" or not re.search(r"(?<!\N{NO-BREAK SPACE})[:;?!]", text), text


def test_a_french_plural() -> None:
    """The catalogue is in force: another sentence for two than for one."""
    say = translations("fr")
    assert [say.ngettext("%(count)s day", "%(count)s days", n) % {"count": n} for n in (1, 2)] == ["1 jour", "2 jours"]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "mg_MG.UTF-8", "LANGUAGE": "de:fr"}, "fr"),
        ({"LANG": "fr_FR.UTF-8", "LC_MESSAGES": "C.UTF-8"}, "en"),
        ({"LANG": "fr_FR.UTF-8", "LC_ALL": "mg_MG"}, "mg"),
        ({"LANG": "pt_BR.UTF-8"}, "en"),
    ],
)
def test_the_language_of_a_session(environment: dict[str, str], language: str) -> None:
    """As gettext(3) finds it."""
    assert language_of(environment) == language
