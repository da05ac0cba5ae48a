"""What our manners go by: bytes sent on each local day, what a person said, what was measured. No reboot changes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ailasd.clock import NEVER_EARLIER_THAN
from ailasd.manners import Goodput, Override, Situation

if TYPE_CHECKING:
    from datetime import date

    from ailasd.catalogue.database import Connections, Row
    from ailasd.catalogue.telling import Telling
    from ailasd.clock import Clock
    from ailasd.manners import Rules


class Traffic:
    """One row a day, and some facts."""

    def __init__(self, connections: Connections, clock: Clock, telling: Telling) -> None:
        self._db = connections
        self._clock = clock
        self._telling = telling

    def situation(self, rules: Rules, *, boot: str) -> Situation:
        """How it stands now; whether the network is metered as it was found last.

        Args:
            rules: for their time zone.
            boot: which boot of this machine it is.
        """
        now, trusted = self._clock.now(), self._clock.trusted()
        today, month = self.sent(now.astimezone(rules.zone).date())
        said = self._telling.fact("override")
        return Situation(
            now=now,
            trusted=trusted,
            sent_today=today,
            sent_this_month=month,
            metered=self._telling.fact("metered"),
            by_hand_s=0.0 if said is None else Override.from_text(said).left_s(
                now=now, trusted=trusted, boot=boot, monotonic=self._clock.monotonic()
            ),
        )  # fmt: skip

    # -- facts --------------------------------------------------------------------------------------------------------
    def goodput(self) -> Goodput:
        """What was measured, in this life of the daemon or an earlier one."""
        said = self._telling.fact("goodput")
        return Goodput() if said is None else Goodput(*json.loads(said))

    def measured(self, goodput: Goodput) -> None:
        """Keep what was measured."""
        self._telling.remember("goodput", json.dumps([round(goodput.rate), round(goodput.seconds)]))

    def found_metered(self, interface: str | None) -> None:
        """Keep which interface is metered; None: none is."""
        self._telling.remember("metered", interface)

    def override(self, override: Override | None) -> None:
        """A person lifted the limits, or (None) took that back."""
        self._telling.remember("override", override.as_text() if override else None)

    # -- bytes --------------------------------------------------------------------------------------------------------
    def count(self, day: date, *, sent: int, useful: int = 0) -> None:
        """Add to that day; ``sent`` may be negative, for what was counted before and was not sent in the end."""
        with self._db.writing() as db:
            db.conn.execute(
                """INSERT INTO traffic (day, sent, useful) VALUES (:day, max(0, :sent), :useful)
                   ON CONFLICT (day) DO UPDATE SET sent = max(0, sent + :sent), useful = useful + :useful""",
                {"day": day.isoformat(), "sent": sent, "useful": useful},
            )

    def sent(self, day: date) -> tuple[int, int]:
        """Bytes on that day, and in its month."""
        row = self._db.row(
            """SELECT coalesce(sum(sent * (day = :day)), 0) AS today, coalesce(sum(sent), 0) AS month FROM traffic
               WHERE day >= :month AND day < :month || '~'""",
            {"day": day.isoformat(), "month": day.isoformat()[:7]},
        )
        assert row is not None
        return int(row["today"]), int(row["month"])

    def months(self, *, limit: int = 12) -> list[Row]:
        """The last months: month ("2026-11"), sent, useful; the latest first."""
        return self._db.rows(
            """SELECT substr(day, 1, 7) AS month, sum(sent) AS sent, sum(useful) AS useful FROM traffic
               GROUP BY 1 ORDER BY 1 DESC LIMIT ?""",
            (limit,),
        )

    def gather(self, today: date) -> None:
        """Move bytes of days that cannot have been, counted by a wrong clock, to ``today``, which can be believed."""
        impossible = {"today": today.isoformat(), "earliest": NEVER_EARLIER_THAN.date().isoformat()}
        where = "day > :today OR day < :earliest"
        if not self._db.value(f"SELECT EXISTS (SELECT 1 FROM traffic WHERE {where})", impossible):
            return
        with self._db.writing() as db:
            db.conn.execute(
                f"""INSERT INTO traffic (day, sent, useful)
                    SELECT :today, sum(sent), sum(useful) FROM traffic WHERE {where} HAVING count(*)
                    ON CONFLICT (day) DO UPDATE SET sent = sent + excluded.sent, useful = useful + excluded.useful""",
                impossible,
            )
            db.conn.execute(f"DELETE FROM traffic WHERE {where}", impossible)
