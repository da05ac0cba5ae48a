"""What the page says, in the reader's language; what the sign says is ``sign_wording``'s."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ailasd import language, report_wording, sign_wording
from ailasd.amounts import NO_BREAK, decimal, number
from ailasd.logs import bytes_in_words
from ailasd.refusals import REFUSALS
from ailasd.sentence import N_
from ailasd.sign import minutes
from ailasd.wording import REASONS, harmless

if TYPE_CHECKING:
    from datetime import tzinfo

    from ailasd.needs import Need
    from ailasd.report import Report
    from ailasd.report_wording import Line
    from ailasd.sign import Shown
    from ailasd.status import SendingStatus

UNITS: Final = (N_("bytes"), N_("kB"), N_("MB"), N_("GB"), N_("TB"))
"""Those of ``bytes_in_words``."""


class Saying:
    """Says it all in one language.

    Args:
        code: one of ``language.LANGUAGES``.
        zone: in which times are told.
    """

    def __init__(self, code: str, zone: tzinfo) -> None:
        self.code = code
        self.zone = zone
        self.translations = language.translations(code)
        self._ = self.translations.gettext
        self.ngettext = self.translations.ngettext

    # -- the sign -----------------------------------------------------------------------------------------------------
    def sign(self, shown: Shown) -> str:
        """The big words."""
        return sign_wording.headline(shown, self.translations)

    def below(self, shown: Shown) -> str:
        """The sentence below them."""
        return sign_wording.below(shown, self.translations)

    def progress(self, shown: Shown) -> str:
        """How far it is, and how long it takes yet."""
        return sign_wording.progress(shown, self.translations)

    def number(self, count: int) -> str:
        """Such as "1 234"."""
        return number(count)

    # -- what is needed -----------------------------------------------------------------------------------------------
    def need(self, need: Need) -> str:
        """What waits for a person; its cause stays in the words in which it was noted."""
        return need.sentence.said(self.translations, self._written)

    @staticmethod
    def _written(value: object) -> str:
        """Only what others wrote has to be made harmless: our own sentences have no-break spaces."""
        return number(value) if isinstance(value, int) else harmless(value)

    # -- amounts ------------------------------------------------------------------------------------------------------
    def pictures(self, count: int) -> str:
        """Such as "1 234 pictures"."""
        return self.ngettext("%(count)s picture", "%(count)s pictures", count) % {"count": number(count)}

    def span(self, seconds: float) -> str:
        """Such as "2 h 5 min"; below a minute in seconds."""
        if seconds < 60:
            return f"{seconds:.0f} s"
        minutes = round(seconds / 60)
        hours, minutes = divmod(minutes, 60)
        if hours >= 48:
            days = round(hours / 24)
            return self.ngettext("%(count)s day", "%(count)s days", days) % {"count": days}
        return f"{hours} h {minutes} min" if hours else f"{minutes} min"

    def bytes(self, count: int) -> str:
        """Such as "4.2 GB"; "4,2 Go" in French."""
        amount, unit = bytes_in_words(count).split()
        return decimal(amount, self.translations) + NO_BREAK + self._(unit)

    def way(self, metres: float) -> str:
        """Such as "12.3 km"."""
        far = metres >= 1000
        return f"{decimal(f'{metres / 1000:.1f}', self.translations)} km" if far else f"{metres:.0f} m"

    def day(self, moment: str | None) -> str:
        """The date there, as everybody reads it: 2026-11-21."""
        return f"{self._local(moment):%Y-%m-%d}" if moment else self._("date unknown")

    def hour(self, moment: str | None) -> str:
        """The time there: 10:15."""
        return f"{self._local(moment):%H:%M}" if moment else "?"

    def _local(self, moment: str) -> datetime:
        at = datetime.fromisoformat(moment)
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(self.zone)

    def left(self, sending: SendingStatus) -> str:
        """How long sending takes yet, in the words of the sign."""
        if left := sign_wording.time_left(minutes(sending.takes_s), self.translations):
            return self._("%(left)s while the network is there") % {"left": left}
        return self._(
            {
                "never": N_("never, with the hours that are set"),
                "beyond": N_("more than three months, with this network"),
            }.get(sending.estimate, N_("not known yet how long"))
        )

    # -- drives -------------------------------------------------------------------------------------------------------
    def reason(self, reason: str, count: int) -> str:
        """Why so many pictures are held or refused; the server's own words stay its own."""
        if reason in REASONS:
            return self.ngettext(REASONS[reason], REASONS[reason], count)
        return self._(REFUSALS[reason]) if reason in REFUSALS else harmless(reason)

    def told(self, what: str, more: str) -> str:
        """Such as "3 pictures: damaged"; not every language puts the colon at the word."""
        return self._("%(what)s: %(more)s") % {"what": what, "more": more}

    def harmless(self, text: object) -> str:
        """What others wrote, on one line; the template makes it harmless for a browser."""
        return harmless(text)

    def report(self, report: Report) -> list[Line]:
        """How a drive went and what to do better, sentence by sentence, as `ailasd report` says it."""
        return list(report_wording.lines(report, self.translations, self.zone))

    def advice(self, report: Report) -> list[str]:
        """Only what to do better."""
        return [line.text for line in self.report(report) if line.advice]
