"""Writes the report of a drive: for who asks, and beside its pictures as soon as it was sorted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ailasd.disk import write_whole
from ailasd.language import translations
from ailasd.logs import Event
from ailasd.report import report
from ailasd.report_wording import sentences

if TYPE_CHECKING:
    from datetime import tzinfo

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.report import Report
    from ailasd.storage import Storage


def text(catalogue: Catalogue, drive: int, language: str, zone: tzinfo) -> str | None:
    """The whole report, one sentence a line; None: there is no such drive, or it has no pictures.

    Args:
        catalogue: is only read.
        drive: its number.
        language: one of ``language.LANGUAGES``.
        zone: of cameras and people.
    """
    found = of_drive(catalogue, drive, zone)
    return None if found is None else "\n".join(sentences(found, translations(language), zone)) + "\n"


def of_drive(catalogue: Catalogue, drive: int, zone: tzinfo) -> Report | None:
    """Its facts, not yet in any language; None: as of ``text``."""
    rows = catalogue.telling.pictures_of_drive(drive)
    if not rows:
        return None
    videos = [datetime.fromtimestamp(second, UTC) for second in catalogue.telling.videos_of_drive(drive)]
    return report(drive, rows, zone, videos=videos)


class Reports:
    """Leaves the report where the drive's pictures lie.

    Args:
        language: of the people here.
        zone: of cameras and people.
    """

    def __init__(self, catalogue: Catalogue, storage: Storage, journal: Journal, language: str, zone: tzinfo) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._journal = journal
        self._language = language
        self._zone = zone

    def write(self, drive: int) -> None:
        """Write it anew, beside the first of its pictures. What goes wrong is told: pictures matter more."""
        rows = self._catalogue.telling.pictures_of_drive(drive)
        copy = next((row["copy"] for row in rows if row["copy"]), None)
        said = text(self._catalogue, drive, self._language, self._zone)
        if copy is None or said is None:
            return
        try:
            write_whole(self._storage.path_of(copy).parent / f"drive-{drive}.txt", said.encode(), mode=0o640)
        except OSError as error:
            self._journal.tell(Event.REPORT_FAILED, drive=drive, problem=str(error))
