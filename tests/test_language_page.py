"""The languages: everything that the page and the sign say is there in each, and who gets which."""

from __future__ import annotations

import ast
import gettext
import re
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ailasd
from ailasd import sign_wording, wording
from ailasd.language import ENGLISH, LANGUAGES, entries, preferred, translations
from ailasd.logs import bytes_in_words
from ailasd.needs import Need
from ailasd.sentence import Sentence
from ailasd.sign import Shown, Sign, minutes
from ailasd.status import SendingStatus
from ailasd.web.app import templates
from ailasd.web.saying import UNITS, Saying

PACKAGE = Path(ailasd.__file__).parent
OTHERS = [code for code in LANGUAGES if code != ENGLISH]


def of_templates() -> set[tuple[str, int]]:
    """What the templates say, and in how many forms: one asked for as singular is not found among plurals."""
    environment = templates(gettext.NullTranslations())
    assert environment.loader
    found: set[tuple[str, int]] = set()
    for name in environment.list_templates():
        source, _, _ = environment.loader.get_source(environment, name)
        for _, call, said in environment.extract_translations(source):  # type: ignore[attr-defined]
            found.add((said if isinstance(said, str) else said[0] or "", 2 if call == "ngettext" else 1))
    return found


def of_modules(*names: str) -> set[str]:
    """What ``_("...")``, ``N_("...")`` and ``ngettext("...", ...)`` have in these modules."""
    calls = {"_", "N_", "ngettext", "_n", "gettext"}
    found = set()
    for name in names:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in calls:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


OF_TEMPLATES = of_templates()
SAID = {msgid for msgid, _ in OF_TEMPLATES} | of_modules("web/saying.py") | set(wording.REASONS.values())
SIGNS = {*sign_wording.HEADLINES.values(), *sign_wording.BELOW.values(), *sign_wording.WORDS.values()}


def catalogue(code: str) -> dict[str, dict[str, str]]:
    texts = [file.read_text() for file in (PACKAGE / f"locales/{code}/LC_MESSAGES").glob("*.po")]
    return {entry["msgid"]: entry for text in texts for entry in entries(text)}


@pytest.mark.parametrize("code", OTHERS)
def test_nothing_is_left_untranslated(code: str) -> None:
    """Each sentence of the page has a translation, with the same places for numbers, in each of its forms."""
    there = catalogue(code)
    assert sorted((SAID | SIGNS) - there.keys()) == []
    for msgid in (SAID | SIGNS) - {""}:
        forms = [said for field, said in there[msgid].items() if field.startswith("msgstr")]
        assert len(forms) == (2 if "msgid_plural" in there[msgid] else 1)
        assert {number for said, number in OF_TEMPLATES if said == msgid} <= {len(forms)}
        for said in forms:
            assert said
            assert set(re.findall(r"%\(\w+\)s", said)) == set(re.findall(r"%\(\w+\)s", msgid))


@pytest.mark.parametrize("code", OTHERS)
def test_no_translation_of_what_nobody_says(code: str) -> None:
    """The page's own catalogue has no leftovers."""
    text = (PACKAGE / f"locales/{code}/LC_MESSAGES/page.po").read_text()
    assert {entry["msgid"] for entry in entries(text)} - {""} - SAID == set()


@pytest.mark.parametrize("code", OTHERS)
def test_each_sentence_is_translated_in_one_place(code: str) -> None:
    """No two catalogues have the same one, so that none can hide another's."""
    files = (PACKAGE / f"locales/{code}/LC_MESSAGES").glob("*.po")
    said = [entry["msgid"] for file in files for entry in entries(file.read_text()) if entry["msgid"]]
    assert [msgid for msgid in said if said.count(msgid) > 1] == []


@pytest.mark.parametrize(("code", "one", "many"), [("fr", {0, 1}, {2, 5}), ("mg", {0, 1}, {2, 5}), ("en", {1}, {0, 2})])
def test_plurals(code: str, one: set[int], many: set[int]) -> None:
    """Nought is singular in French and Malagasy (n > 1), plural in English."""
    said = translations(code)
    forms = {count: said.ngettext("%(shown)s will be sent", "%(shown)s will be sent ", count) for count in one | many}
    plural = getattr(said, "plural", lambda n: int(n != 1))
    assert {plural(count) for count in one} == {0}
    assert {plural(count) for count in many} == {1}
    assert all(forms.values())


# -- numbers and what goes with them ----------------------------------------------------------------------------------
NO_BREAK = "\N{NO-BREAK SPACE}"


def test_numbers_stay_on_their_line() -> None:
    """No browser ends a line within one, in any language."""
    for code in LANGUAGES:
        assert Saying(code, UTC).number(1234567) == f"1{NO_BREAK}234{NO_BREAK}567"
        assert f"1{NO_BREAK}234" in Saying(code, UTC).pictures(1234)


@pytest.mark.parametrize(
    ("code", "way", "size"), [("en", "12.3 km", "4.2 GB"), ("fr", "12,3 km", "4,2 Go"), ("mg", "12.3 km", "4.2 GB")]
)
def test_amounts(code: str, way: str, size: str) -> None:
    """With the decimal mark and the units of the language."""
    say = Saying(code, UTC)
    assert (say.way(12_345), say.bytes(4_200_000_000)) == (way, size.replace(" ", NO_BREAK))


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("hours", [0.1, 1, 30.7, 90])
def test_the_page_and_its_sign_take_equally_long(code: str, hours: float) -> None:
    """How long sending takes yet is said in the same words below the big sign and beside the number of pictures."""
    sending = SendingStatus(1, 0, 0, None, None, None, 1, hours * 3600, "known", 0)
    sign = Shown(Sign.SENDING, 1, 2, minutes(sending.takes_s))
    left = sign_wording.time_left(sign.minutes_left, translations(code))
    assert left in Saying(code, UTC).progress(sign)
    assert left in Saying(code, UTC).left(sending)
    if (code, hours) == ("en", 30.7):
        assert Saying(code, UTC).left(sending) == "about 31 hours left while the network is there"


def test_each_unit_can_be_translated() -> None:
    """Those marked for the catalogues are those that there are."""
    assert [bytes_in_words(1000**power).split()[1] for power in range(5)] == list(UNITS)


def test_a_reason_goes_with_its_number() -> None:
    """In French one picture is damaged otherwise than several; the server's own words stay as they are."""
    say = Saying("fr", UTC)
    assert [say.reason("broken", count) for count in (1, 3)] == ["endommagée", "endommagées"]
    assert say.told("3", say.reason("too dark", 3)) == f"3{NO_BREAK}: too dark"


def test_only_what_others_wrote_is_made_harmless() -> None:
    """Our own no-break spaces stay, a card's escapes do not; counts are grouped."""
    say = Saying("fr", UTC)
    values = {"why": Sentence("Nothing is deleted from %(card)s", {"card": "a\x1b[2J"})}
    need = Need("x", Sentence("Sending waits: %(why)s", values))
    assert say.need(need) == f"Envoi en attente{NO_BREAK}: Rien n\N{RIGHT SINGLE QUOTATION MARK}est effacé de a\\x1b[2J"
    lost = Sentence("%(count)s of our own copies are gone or damaged: put their card in again", {"count": 1234})
    assert f"1{NO_BREAK}234{NO_BREAK};" in say.need(Need("copy_lost", lost))


def test_the_text_of_a_catalogue() -> None:
    """Strings over several lines, escapes, plurals and remarks, as gettext's tools write them."""
    text = r"""# remark
msgid ""
msgstr ""
"A: b\n"

#: x.py
msgid "one"
msgid_plural "many"
msgstr[0] "un"
msgstr[1] ""
"be"
"aucoup"
msgid "q\"t"
msgstr "é\n"
"""
    assert list(entries(text)) == [
        {"msgid": "", "msgstr": "A: b\n"},
        {"msgid": "one", "msgid_plural": "many", "msgstr[0]": "un", "msgstr[1]": "beaucoup"},
        {"msgid": 'q"t', "msgstr": "é\n"},
    ]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("en;q=0.8, mg", "mg"),
        ("de,es;q=0.9", "en"),
        ("", "en"),
        ("*", "en"),
        ("fr;q=0", "en"),
        ("fr;q=nonsense,mg;q=0.1", "mg"),
        ("MG", "mg"),
    ],
)
def test_the_browsers_wish(wish: str, code: str) -> None:
    """The highest quality of those that there are; at a tie the first."""
    assert preferred(wish) == code


@given(st.text())
def test_any_wish_gives_a_language(wish: str) -> None:
    """Whatever a browser sends."""
    assert preferred(wish) in LANGUAGES
