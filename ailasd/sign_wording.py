"""What the one sign says, in the reader's language: a headline in big letters, and a line that tells more. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ailasd.amounts import number
from ailasd.sentence import N_
from ailasd.sign import Shown, Sign

if TYPE_CHECKING:
    from collections.abc import Mapping
    from gettext import NullTranslations


HEADLINES: Final[Mapping[Sign, str]] = {
    Sign.NOTHING: N_("Ready for a card"),
    Sign.READING: N_("Leave the card in"),
    Sign.PULL: N_("You may pull the card out"),
    Sign.WAITING: N_("Pictures wait to be sent"),
    Sign.SENDING: N_("Sending"),
    Sign.SAFE: N_("All safe: you may clear the card"),
    Sign.HELP: N_("Help is needed"),
}

BELOW: Final[Mapping[Sign, str]] = {
    Sign.NOTHING: N_("Plug a card in, or connect the camera."),
    Sign.READING: N_("Its pictures are being copied."),
    Sign.PULL: N_("Everything on it is here. Do not clear it yet."),
    Sign.WAITING: N_("Nothing is lost; it goes on by itself."),
    Sign.SENDING: N_("Pictures are on their way to the server."),
    Sign.SAFE: N_("The server holds every picture that was on it when it was read."),
    Sign.HELP: N_("Please tell your support."),
}

WORDS: Final[Mapping[tuple[Sign, str], str]] = {
    (Sign.READING, "clearing"): N_("It is being cleared."),
    (Sign.READING, "busy"): N_("Another program, or the camera itself, is using it."),
    (Sign.READING, "mounted"): N_("It is read, but this computer still uses it: eject it there first."),
    (Sign.PULL, "unread"): N_("Not all that is on it could be read: do not clear it, and tell your support."),
    (Sign.NOTHING, "kept_here"): N_("Some pictures of the last card are only here: ask before you clear it."),
    (Sign.SENDING, "proving"): N_("All is sent; the server is still at work on it."),
    (Sign.WAITING, "no_server"): N_("No server is configured."),
    (Sign.WAITING, "metered"): N_("This network costs money; sending waits for another."),
    (Sign.WAITING, "month"): N_("This month's data is used up."),
    (Sign.WAITING, "day"): N_("Today's data is used up."),
    (Sign.WAITING, "hours"): N_("Sending waits for its hours."),
    (Sign.WAITING, "link_lost"): N_("Sending waits for the network."),
    (Sign.WAITING, "not_looked"): N_("Sending waits for the network."),
    (Sign.WAITING, "retry"): N_("What is left failed before, and is tried again later."),
    (Sign.HELP, "no_daemon"): N_("The kit's service does not run: switch the kit off and on again."),
    (Sign.HELP, "card_no_room"): N_("There is no room for the rest of the card: keep it, and tell your support."),
    (Sign.HELP, "card_not_kept"): N_("Pictures cannot be kept here: keep the card, and tell your support."),
    (Sign.HELP, "card_gone"): N_("The card went away too early: put it in again."),
    (Sign.HELP, "card_unread"): N_("Not all that is on the card could be read: keep it, and tell your support."),
    (Sign.HELP, "card_unreadable"): N_("The card cannot be read: try it in the camera. Do not format it."),
    (Sign.HELP, "login_needed"): N_("The server does not accept this kit; somebody must log in."),
    (Sign.HELP, "wrong_server"): N_("This server may not have our pictures."),
    (Sign.HELP, "no_room"): N_("There is no room for more pictures."),
    (Sign.HELP, "refused"): N_("The server refused some pictures."),
    (Sign.HELP, "copy_lost"): N_("Some copies here are damaged: put their card in again."),
    (Sign.HELP, "cleaning_stopped"): N_("Pictures are missing where they should be, so nothing is deleted any more."),
}
"""What is special about it, by ``Shown.word``; it stands in the place of the line ``BELOW``."""


def headline(one: Shown, language: NullTranslations) -> str:
    """In big letters."""
    return language.gettext(HEADLINES[one.sign])


def below(one: Shown, language: NullTranslations) -> str:
    """One sentence: what is special, or what the sign means."""
    return language.gettext(WORDS.get((one.sign, one.word), BELOW[one.sign]))


def progress(one: Shown, language: NullTranslations) -> str:
    """How far it is, and how long it takes yet; "" where that says nothing."""
    if not one.of or one.done == one.of:
        return ""
    text = language.gettext("%(done)s of %(of)s pictures") % {"done": number(one.done), "of": number(one.of)}
    left = time_left(one.minutes_left, language)
    return language.gettext("%(far)s; %(left)s") % {"far": text, "left": left} if left else text


def time_left(minutes: int | None, language: NullTranslations) -> str:
    """In minutes, hours or days, as exactly as anybody can know it; "" if nobody does."""
    if minutes is None:
        return ""
    if minutes < 100:
        text, count = language.ngettext("about %(count)s minute left", "about %(count)s minutes left", minutes), minutes
    elif (count := round(minutes / 60)) < 36:
        text = language.ngettext("about %(count)s hour left", "about %(count)s hours left", count)
    else:
        count = round(minutes / 1440)
        text = language.ngettext("about %(count)s day left", "about %(count)s days left", count)
    return text % {"count": number(count)}
