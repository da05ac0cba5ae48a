"""One event, told twice from the same values: a line in the log for machines, a row in the catalogue for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ailasd.logs import Event, mask, record

if TYPE_CHECKING:
    from ailasd.catalogue import Catalogue


class Journal:
    """Where every step tells what happened. Moves of single pictures need no telling: a trigger writes them down."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._telling = catalogue.telling

    def tell(
        self,
        event: Event,
        *,
        card_id: int | None = None,
        picture_id: int | None = None,
        trace: str | None = None,
        exc_info: bool = False,
        **values: object,
    ) -> None:
        """Log ``event`` and keep it in the catalogue; ``values`` has at least its ``fields``.

        What is kept is masked already, as what is logged: who reads it later may not know the token.
        """
        drive = values.get("drive")
        self._telling.happened(
            event,
            card=card_id,
            drive=drive if isinstance(drive, int) else None,
            picture=picture_id,
            trace=trace,
            detail={name: mask(value) if isinstance(value, str) else value for name, value in values.items()},
        )
        self.note(event, trace=trace, **({"exc_info": True} if exc_info else {}), **values)

    def note(self, event: Event, *, trace: str | None = None, **values: object) -> None:
        """Log ``event`` only: single pictures, whose moves the catalogue writes down by itself."""
        record(event, **({"trace": trace} if trace else {}), **values)

    def suspect(self, problem: str) -> None:
        """Law 10: from here on nothing is deleted until a person says so. What is suspected first is what is told."""
        if self._telling.fact("cleaning_stopped") is None:
            self._telling.remember("cleaning_stopped", problem)
            self.tell(Event.CLEANING_STOPPED, problem=problem, command="ailasd release --cleaning")
