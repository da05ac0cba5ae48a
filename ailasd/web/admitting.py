"""Who may see what. The PIN, how often it may be tried, sessions, and forms that only our own pages can send.

Nothing is kept: a session is a cookie that only who has the PIN's hash can write, so it outlives the process, and a new
PIN ends all of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ailasd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

CREDENTIAL: Final = "ailasd-pin"
"""Its name where systemd hands it over: the file is root's alone."""
NO_PIN: Final = "none"
"""What it hands over if the file is not there; empty is what systemd does not allow."""
SHORTEST: Final = 6
"""Six digits and one try a minute: a year for half of them."""
LONGEST: Final = 64

_N, _R, _P = 2**14, 8, 1  # 16 MiB and 50 ms on a laptop, half a second on a small Pi
_SALT: Final = 16


# -- the PIN ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Pin:
    """A PIN as it is stored: nobody can read it back, only try.

    Attributes:
        salt, hash: of scrypt.
    """

    salt: bytes
    hash: bytes

    @classmethod
    def of(cls, pin: str) -> Self:
        """Of what a person chose; raises ValueError, a sentence, if it is too short or too long."""
        if not SHORTEST <= len(pin) <= LONGEST:
            raise ValueError(f"a PIN has {SHORTEST} to {LONGEST} characters")
        salt = secrets.token_bytes(_SALT)
        return cls(salt, _scrypt(pin, salt))

    @classmethod
    def from_text(cls, text: str, where: str) -> Self:
        """As ``to_text`` wrote it.

        Raises:
            ConfigError: it is something else.
        """
        try:
            name, salt, hashed = text.strip().split("$")
            found = cls(base64.b64decode(salt, validate=True), base64.b64decode(hashed, validate=True))
        except ValueError:
            name, found = "", cls(b"", b"")
        if name != "scrypt" or len(found.salt) != _SALT or len(found.hash) != 64:
            raise ConfigError(f"{where} is no PIN of ailasd: make one with `ailasd pin`")
        return found

    def to_text(self) -> str:
        """One line."""
        return f"scrypt${base64.b64encode(self.salt).decode()}${base64.b64encode(self.hash).decode()}\n"

    def fits(self, tried: str) -> bool:
        """Whether it is this one. Takes as long for every wrong one."""
        return hmac.compare_digest(_scrypt(tried[:LONGEST], self.salt), self.hash)


def _scrypt(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.encode(errors="surrogatepass"), salt=salt, n=_N, r=_R, p=_P, maxmem=2**26)


def load_pin(file: Path) -> Pin | None:
    """The PIN that systemd hands over, else that of the file; None: there is none.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    place = Path(handed_over, CREDENTIAL) if handed_over else file
    try:
        text = place.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"the PIN {place} cannot be read: {error}") from error
    return None if text.strip() == NO_PIN else Pin.from_text(text, str(place))


class Tries:
    """How often a PIN may be tried, by everybody together: addresses are cheap on a network.

    Args:
        monotonic: seconds (law 8).
    """

    MOST: Final = 5
    EVERY_S: Final = 60.0
    """After some slips of the finger one try a minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._left = float(self.MOST)
        self._at = monotonic()

    def take(self) -> bool:
        """Whether it may be tried now; if so, that is one."""
        self._refill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """It was right."""
        self._left = min(self.MOST, self._left + 1)

    def none_lately(self) -> bool:
        """Nobody failed; else the process must not end, which would forget it."""
        self._refill()
        return self._left >= self.MOST

    def _refill(self) -> None:
        now = self._monotonic()
        self._left = min(self.MOST, self._left + (now - self._at) / self.EVERY_S)
        self._at = now


# -- who may see what -------------------------------------------------------------------------------------------------
class Sees(IntEnum):
    """What somebody may see; each includes those before."""

    SIGN = 0  # the one sign: anybody in the room can read it off the lamp, too
    ALL = 1  # everything but pictures, and may ask for what the page can do
    PICTURES = 2  # faces are in them


LASTS_S: Final = 12 * 3600.0
"""A session: a day's work."""


class Door:
    """Decides who may see what.

    Args:
        pin: None: whoever sits at this machine sees all but pictures, and others see the sign.
        wall: seconds since 1970 (law 8).
    """

    def __init__(self, pin: Pin | None, *, wall: Callable[[], float]) -> None:
        self.pin = pin
        self._wall = wall
        self._key = hashlib.sha256(b"ailasd-web" + pin.hash).digest() if pin else secrets.token_bytes(32)

    def sees(self, *, client: str, server: str, cookie: str) -> Sees:
        """What may be seen.

        Args:
            client: the address of the other end of the connection.
            server: that of our end.
            cookie: the session's, or "".
        """
        if self.pin is not None:
            return Sees.PICTURES if self._is_session(cookie) else Sees.SIGN
        return Sees.ALL if _is_here(client) and _is_here(server) else Sees.SIGN

    def open(self) -> str:
        """The cookie of a new session, for somebody who knew the PIN."""
        return self._signed(f"{int(self._wall() + LASTS_S)}.{secrets.token_urlsafe(12)}")

    def form(self, cookie: str) -> str:
        """What a form of ours carries, so that no other page can send one."""
        return self._mac("form", cookie)

    def is_our_form(self, token: str, cookie: str) -> bool:
        """Whether a form that was sent is one of ours, made for this session."""
        return hmac.compare_digest(token.encode(errors="replace"), self.form(cookie).encode())

    def _is_session(self, cookie: str) -> bool:
        said, _, mac = cookie.rpartition(".")
        if not hmac.compare_digest(mac.encode(errors="replace"), self._mac("session", said).encode()):
            return False
        left = float(said.partition(".")[0]) - self._wall()
        return 0 < left <= LASTS_S  # more: the clock was set back since

    def _signed(self, said: str) -> str:
        return f"{said}.{self._mac('session', said)}"

    def _mac(self, purpose: str, said: str) -> str:
        return hmac.new(self._key, f"{purpose}:{said}".encode(errors="replace"), hashlib.sha256).hexdigest()


def _is_here(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
