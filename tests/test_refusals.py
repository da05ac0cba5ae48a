"""Why the server does not take a picture, in words."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ailasd
from ailasd.language import translations
from ailasd.needs import what_is_needed, what_was_reported
from ailasd.refusals import ISSUES, REFUSALS
from ailasd.status import Count
from ailasd.wording import REASONS

ROOT = Path(ailasd.__file__).parent


def given(module: str) -> set[str]:
    """The reasons with which a module refuses pictures: ``reason="..."``, ``_refuse(picture, "...")``, ``_REASONS``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        said: list[ast.expr] = []
        if isinstance(node, ast.keyword) and node.arg == "reason":
            said = [node.value]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "_refuse":
            said = node.args[1:2]
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "_REASONS":
            said = [pair.elts[1] for pair in node.value.elts]  # type: ignore[union-attr]
        elif isinstance(node, ast.FunctionDef) and node.name == "_reason":
            said = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value]
        words = [one for value in said for one in ast.walk(value) if isinstance(one, ast.Constant)]
        found |= {str(one.value) for one in words if isinstance(one.value, str)}
    return found


def test_each_reason_of_ours_has_its_words() -> None:
    """No label of the program's is shown to a person as it is."""
    reasons = set().union(*map(given, ("panoramax/trouble.py", "uploading.py", "confirming.py")))
    assert {"too_large", "excluded_area", "refused", "gave_up", "lost", "not_processed", "not_completed"} <= reasons
    assert reasons - {"copy_lost"} <= set(REFUSALS)  # which is held, not refused


def test_a_reason_means_one_thing() -> None:
    """Held or refused for it, a picture is spoken of in the same words everywhere; only what both lack is the same."""
    assert REFUSALS.keys() & REASONS.keys() == {"no_position", "no_date"}


def test_each_reason_of_the_servers_has_its_words() -> None:
    """Nor is one of the listing's (``FileRejectionStatus`` of 2.15.1), or of a report's."""
    listed = {"capture_duplicate", "file_duplicate", "invalid_file", "invalid_metadata", "other_error", "id_conflict"}
    assert listed | {"in_excluded_area"} <= REFUSALS.keys()
    reported = {"blur_missing", "blur_excess", "inappropriate", "privacy", "picture_low_quality", "mislocated"}
    assert reported | {"copyright", "other"} == ISSUES.keys()


@pytest.mark.parametrize("language", ["fr", "mg"])
def test_the_need_is_said_in_the_readers_language(language: str) -> None:
    """What was refused, and what was reported, with its cause; a word that only the server knows stays its own."""
    said = translations(language)
    counts = [Count("refused", "excluded_area", 1, 9), Count("refused", "by_moonlight", 1, 9)]
    known, unknown = what_is_needed(counts, (), None, cleaning_stopped=None, no_room=False)
    assert said.gettext(REFUSALS["excluded_area"]) in known.sentence.said(said)
    assert "excluded_area" not in known.sentence.said(said)
    assert "by_moonlight" in unknown.sentence.said(said)
    fact = '[{"id": "x", "issue": "blur_missing", "hides": false, "what": "a.jpg", "drive": 1, "md5": "0"}]'
    (reported,) = what_was_reported(fact)
    assert said.gettext(ISSUES["blur_missing"]) in reported.sentence.said(said)
