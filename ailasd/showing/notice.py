"""A notice on a laptop's desktop, by whatever speaks org.freedesktop.Notifications there.

``ailasd notify`` runs in the user's session and reads the sign from the service's file: it may do nothing else.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection
from jeepney.wrappers import DBusErrorResponse, unwrap_msg

from ailasd.language import ENGLISH, LANGUAGES
from ailasd.showing.sign_file import read
from ailasd.sign import Shown, Sign
from ailasd.sign_wording import below, headline, progress
from ailasd.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Mapping
    from gettext import NullTranslations
    from pathlib import Path

    from jeepney.io.blocking import DBusConnection

SERVER: Final = DBusAddress(
    "/org/freedesktop/Notifications",
    bus_name="org.freedesktop.Notifications",
    interface="org.freedesktop.Notifications",
)
ANSWER_S: Final = 5.0
"""A desktop that is about to begin is started by this very call."""

URGENCY: Final[Mapping[Sign, int]] = {Sign.READING: 0, Sign.PULL: 1, Sign.SAFE: 1, Sign.HELP: 2}
"""low, normal, critical (which stays until somebody has seen it); any other sign closes the notice before it: what
goes on without anybody's hand is on the page, not in people's way."""

FROM_THE_SERVER: Final = -1
"""expire_timeout: as long as the desktop is used to."""


class Notice:
    """One notice, which changes with the sign.

    Args:
        language: of the person whose desktop it is.
        bus: an address as dbus-daemon(1) prints it; "SESSION": the session's.
    """

    def __init__(self, language: NullTranslations, bus: str = "SESSION") -> None:
        self.name: Final = "the desktop notice"
        self._language = language
        self._bus = bus
        self._connection: DBusConnection | None = None
        self._id = 0
        self._last: tuple[Sign, str] | None = None

    def show(self, shown: Shown) -> None:
        """Show it, if it is for the person's hand; other counts alone are no news.

        Raises:
            OSError: no desktop shows it just now.
        """
        news = (shown.sign, shown.word)
        if news == self._last or (self._last is None and shown.sign is Sign.SAFE):
            self._last = news  # that a card was safe before anybody logged in is no news
            return
        if shown.sign in URGENCY:
            said = " ".join(filter(None, (below(shown, self._language), progress(shown, self._language))))
            hints = {"urgency": ("y", URGENCY[shown.sign])}
            self._id = self._call(
                "Notify", "susssasa{sv}i",
                ("ailasd", self._id, "camera-photo", headline(shown, self._language), said, [], hints, FROM_THE_SERVER),
            )[0]  # fmt: skip
        else:
            self.close()
        self._last = news

    def close(self) -> None:
        """Nothing is shown any more."""
        if self._id:
            with suppress(OSError):  # somebody closed it already
                self._call("CloseNotification", "u", (self._id,))
            self._id = 0

    def _call(self, method: str, signature: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        try:
            if self._connection is None:
                self._connection = open_dbus_connection(self._bus)
            call = new_method_call(SERVER, method, signature, body)
            answer: tuple[Any, ...] = unwrap_msg(self._connection.send_and_get_reply(call, timeout=ANSWER_S))
        except DBusErrorResponse as error:
            raise OSError(f"the desktop shows no notices: {error.name}") from error
        except (OSError, TimeoutError, KeyError, EOFError, ConnectionError) as error:
            if self._connection is not None:
                with suppress(OSError):
                    self._connection.close()
                self._connection = None
            raise OSError(f"there is no desktop to show it: {error}") from error
        return answer


# -- in the user's session --------------------------------------------------------------------------------------------
LOOK_S: Final = 30.0
"""The net under the events of the file: also while its folder is not there yet, or no desktop is."""


def follow(path: Path, notice: Notice) -> None:
    """Show what the file says, for ever; a desktop that is away gets it when it is there again."""
    changed = threading.Event()
    watching: Watching | None = None
    while True:
        if watching is None and path.parent.is_dir():
            watching = Watching([path.parent], changed.set)
            watching.start()
        if (one := read(path)) is not None:
            with suppress(OSError):
                notice.show(one)
        changed.wait(LOOK_S)
        changed.clear()


def language_of(environment: Mapping[str, str]) -> str:
    """The language of a session, as gettext(3) finds it; English if it is none of ours."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        wanted = [one.partition(".")[0].partition("_")[0].lower() for one in environment.get(name, "").split(":")]
        if found := next((one for one in wanted if one in LANGUAGES), None):
            return found
        if any(wanted) and name != "LANGUAGE":
            break  # it counts, though it is none of ours
    return ENGLISH
