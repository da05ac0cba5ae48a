"""What we ask the server beyond the daily work: what kind of instance it is, what strangers see, what is reported."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import httpx

from ailasd.errors import NotLoggedIn, NotOurs, SetGone
from ailasd.panoramax.answer import Answer, document_of, foreign
from ailasd.panoramax.client import Panoramax
from ailasd.panoramax.trouble import as_error, http_date
from ailasd.panoramax.values import VISIBILITY, Fields

MOST_PUBLIC: Final = 100
"""Collections that strangers see, asked for at once: on a private instance there are none."""


MOST_REPORTS: Final = 1000
"""Asked for at once, the newest first: the most that the server gives."""
HIDING: Final = frozenset({"blur_missing", "inappropriate", "privacy", "copyright"})
"""Issues that make a picture its owner's own at once, even if a stranger says so."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the instance says of itself.

    Attributes:
        version: such as "2.15.1".
        registration_open: whether anybody may make an account; None: it has no login of its own, so nobody can.
        said_at: its clock, in whole seconds; None: it shows none.
    """

    version: str
    is_private: bool
    registration_open: bool | None
    read_only: bool
    said_at: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """Somebody found something wrong with a picture, or with a sequence, and nobody has closed that yet.

    Attributes:
        issue: the server's word for it, such as "privacy".
        picture: its id on the server; None: the whole sequence is meant.
        collection: the sequence's id on the server; None: the server does not say.
    """

    id: str
    issue: str
    picture: str | None
    collection: str | None

    @property
    def hides(self) -> bool:
        """Whether the server shows the picture to its owner alone until the report is closed."""
        return self.issue in HIDING


class Examiner(Panoramax):
    """Looks, and changes nothing."""

    def settings(self) -> Settings:
        """Its configuration, and its clock."""
        asked = "read the server's configuration"
        answer = self._ask("GET", "/api/configuration", asked, as_stranger=True)
        fields = Fields(document_of(answer, asked), asked)
        login = fields.fields("auth")
        return Settings(
            version=fields.text("version"),
            is_private=VISIBILITY in fields.fields("visibility").texts("possible_values"),
            registration_open=login.flag("registration_is_open") if login.flag("enabled") else None,
            read_only=fields.flag("is_read_only"),
            said_at=http_date(answer.headers.get("date", "")),
        )

    def certificate_ends(self) -> datetime:
        """Until when the certificate holds that its https is proven by; it is trusted now (aware, UTC).

        Raises:
            NoLink: there is no way, or it is not to be trusted.
        """
        asked = "look at the server's certificate"
        request = self._client.build_request("GET", f"{self.url}/api/configuration")
        try:
            response = self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise as_error(error, asked=asked) from error
        try:
            shown = response.extensions["network_stream"].get_extra_info("socket").getpeercert()
        finally:
            response.close()
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)

    def reports(self) -> list[Report]:
        """What is reported of our account's pictures and sequences, and open."""
        asked = "read what is reported of our pictures"
        wanted = quote("status IN ('open', 'open_autofix', 'waiting') AND owner = 'me'")
        document = self._json("GET", f"/api/users/me/reports?limit={MOST_REPORTS}&filter={wanted}", asked)
        return [
            Report(
                id=row.uuid("id"),
                issue=row.text("issue"),
                picture=row.uuid("picture_id") if "picture_id" in row else None,
                collection=row.uuid("sequence_id") if "sequence_id" in row else None,
            )
            for row in Fields(document, asked).rows("reports")
        ]

    def public_collections(self) -> list[str]:
        """Ids of the first collections that strangers see: what a federation harvests."""
        asked = "list what strangers see"
        document = self._json("GET", f"/api/collections?limit={MOST_PUBLIC}", asked, as_stranger=True)
        return [one.uuid("id") for one in Fields(document, asked).rows("collections")]

    def is_public(self, collection_id: str) -> bool:
        """Whether strangers see this sequence."""
        asked = f"look at sequence {collection_id} as a stranger"
        try:
            self._json("GET", f"/api/collections/{collection_id}/geovisio_status", asked, as_stranger=True)
        except (SetGone, NotLoggedIn):
            return False
        return True

    def shows(self, picture_id: str, *, to_strangers: bool) -> bool:
        """Whether it shows this picture (its thumbnail) to us, or to somebody without a token."""
        try:
            self._image(picture_id, "thumb", to_strangers=to_strangers)
        except (SetGone, NotOurs, NotLoggedIn):
            if to_strangers:
                return False
            self.who_am_i()  # raises if it is the token
            return False
        return True

    def picture(self, picture_id: str) -> bytes:
        """The picture as the server keeps it: the whole file, of 6-12 MB.

        Raises:
            SetGone: it has none of that id, or not for our eyes.
            NotOurs: it shows it to its owner alone, as long as it processes it for one.
        """
        return self._image(picture_id, "hd", to_strangers=False).body

    def _image(self, picture_id: str, which: str, *, to_strangers: bool) -> Answer:
        asked = f"look at picture {picture_id}"
        path = f"/api/pictures/{picture_id}/{which}.jpg"
        answer = self._ask("GET", path, asked, as_stranger=to_strangers, headers={"Accept": "image/jpeg"})
        if not answer.body.startswith(b"\xff\xd8"):
            raise foreign(answer, asked)
        return answer
