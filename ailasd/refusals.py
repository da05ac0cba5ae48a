"""Why the server does not take a picture, or what people report of one, in words of ours. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ailasd.sentence import N_, Sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSALS: Final[Mapping[str, str]] = {
    "too_large": N_("the file is too large for it"),
    "invalid_file": N_("it cannot read the file"),
    "invalid_metadata": N_("a place or a time is missing to it"),
    "no_position": N_("it finds no place in it"),
    "no_date": N_("it finds no time in it"),
    "excluded_area": N_("an excluded area"),
    "refused": N_("for another reason of its own"),
    # from its listing
    "file_duplicate": N_("it has the same file already"),
    "in_excluded_area": N_("an excluded area"),
    "capture_duplicate": N_("too close to another picture"),
    "id_conflict": N_("its name is taken there"),
    "other_error": N_("an error of its own"),
    # our own verdicts over what it does
    "not_processed": N_("it cannot process the picture"),
    "gave_up": N_("it failed over the picture again and again"),
    "lost": N_("it lost the picture twice"),
    "not_completed": N_("it lies in another account's set, which was never completed"),
}
"""The reason of a refused picture, to go on after "refused by the server"."""

ISSUES: Final[Mapping[str, str]] = {
    "blur_missing": N_("a face or number plate is not blurred"),
    "blur_excess": N_("too much is blurred"),
    "inappropriate": N_("not fit to be shown"),
    "privacy": N_("privacy"),
    "picture_low_quality": N_("a bad picture"),
    "mislocated": N_("in the wrong place"),
    "copyright": N_("somebody's copyright"),
    "other": N_("other"),
}
"""What a report on the server is about (the API's ``issue``)."""


def refusal(reason: str) -> Sentence | str:
    """Why it was refused; a word that no table of ours has stays as it is."""
    return Sentence(REFUSALS[reason]) if reason in REFUSALS else reason


def issue(word: str) -> Sentence | str:
    """What was reported; a word that no table of ours has stays as it is."""
    return Sentence(ISSUES[word]) if word in ISSUES else word
