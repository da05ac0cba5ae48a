"""A GoPro's own HTTP server, on the other end of its USB cable; written from the Open GoPro HTTP API 2.0.

No real camera was at hand. What the documentation does not tell was taken from what others measured on theirs: it
closes each connection after one answer, wants the slash in a query's path as it is, answers a range behind the end of
a file with 206 and nonsense, and stops in the middle of a file for minutes when it is hot, but goes on at once over a
new connection.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import re
import socket
import struct
import time
from contextlib import ExitStack
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, Final

from ailasd.errors import Changing, SourceBusy, SourceGone, UnexpectedAnswer, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

SWITCH_IT: Final = (
    "on the camera: Preferences > Connections > USB Connection > GoPro Connect (or MTP), or take the card out"
)
"""The way out where a GoPro cannot be read over USB."""
NO_ADDRESS: Final = f"the GoPro has given no address (yet): wait a minute, or, {SWITCH_IT}"
RECORDING: Final = "the camera is recording: stop it with its shutter button, then its pictures are read"
BUSY: Final = "the camera is busy with itself; it is asked again"

CONNECT_S: Final = 5.0
"""To open a connection over a cable; a camera that wakes up takes a second or two."""
NO_PROGRESS_S: Final = 15.0
"""Without one byte: a stalled transfer (seen: 7 to 420 s) is cheaper to begin anew than to wait for."""
PATIENCE_S: Final = 60.0
SLOWEST: Final = 64 * 1024
"""Bytes per second below which, after ``PATIENCE_S``, an answer is given up; 20-40 MB/s were measured."""
KEEP_ALIVE_S: Final = 3.0
"""How often the documentation wants to hear that somebody is there; else the camera may go to sleep."""
LONGEST_LIST: Final = 16 * 1024 * 1024
"""Bytes: 100 000 single shots are 11 MB, a time-lapse is one line."""
LONGEST_ANSWER: Final = 256 * 1024
"""Bytes: the largest other answer, the camera's state, has about 5 KB."""

_BLOCK: Final = 64 * 1024
_SYSTEM_BUSY, _ENCODING = "8", "10"  # ids in the answer to /gopro/camera/state
_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B  # ioctl numbers of netdevice(7)
_GOPRO_NETWORK: Final = re.compile(r"172\.2[0-9]\.1[0-9]{2}\.")  # 172.2X.1YZ: the last digits of the camera's serial
_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")


class Camera:
    """The camera at the other end of a network interface; may be used by several threads at once.

    Args:
        interface: of this machine; nothing ever goes out by another.
        address: of the camera; None: the one that belongs to the address which the camera gave us.
        port: of its server.
    """

    def __init__(self, interface: str, address: str | None, port: int) -> None:
        self._interface = interface
        self._heard = 0.0
        self.address = address or _address_of_the_camera(interface)
        self._port = port

    def is_plugged_in(self) -> bool:
        """Whether its network interface is there."""
        return is_there(self._interface)

    def ask(self, path: str, what: str, *, most: int = LONGEST_ANSWER) -> dict[str, Any]:
        """Ask for a JSON object.

        Args:
            path: with query, percent-encoded.
            what: what we want, for a sentence.
            most: bytes of the answer that are believed.

        Raises:
            SourceGone: no answer.
            SourceBusy: it is recording or busy.
            UnexpectedAnswer: the answer is no such object.
            Unreadable: it refuses.
        """
        response = self._get(path)
        try:
            self._check_status(response, what)
            return self._object(response, what, most)
        finally:
            response.close()

    def file(self, path: str, start: int, size: int, what: str) -> HTTPResponse:
        """Begin to read a file; read it with ``blocks``, then close it.

        Args:
            path: percent-encoded.
            start: the first byte wanted, less than ``size``, or 0.
            size: bytes that the whole file must have.
            what: the file, for a sentence.

        Raises:
            SourceGone: no answer.
            SourceBusy: it is recording or busy.
            Unreadable: it refuses, or does not give what was asked for.
            Changing: the file has another size.
        """
        response = self._get(path, {"Range": f"bytes={start}-"} if start else None)
        with ExitStack() as stack:
            stack.callback(response.close)
            self._check_status(response, what)
            self._check_part(response, start, size, what)
            stack.pop_all()
        return response

    def blocks(self, response: HTTPResponse) -> Iterator[bytes]:
        """Give the body as it comes.

        Raises:
            SourceGone: it broke off, stalled, or is too slow.
        """
        begun, read = time.monotonic(), 0
        try:
            while block := response.read1(_BLOCK):
                yield block
                read += len(block)
                if read < (time.monotonic() - begun - PATIENCE_S) * SLOWEST:
                    raise SourceGone("the camera is far too slow")
        except (OSError, HTTPException) as error:
            raise self._silent(error) from error

    def keep_awake(self) -> None:
        """Say that somebody is there, if that is due; the answer does not matter."""
        now = time.monotonic()
        if now - self._heard >= KEEP_ALIVE_S:
            self._heard = now
            self._get("/gopro/camera/keep_alive").close()

    def take_control(self) -> None:
        """Step 2 of connecting over USB, as documented; some models do not know it and need not."""
        self._get("/gopro/camera/control/wired_usb?p=1").close()

    def check_idle(self) -> None:
        """Make sure that the camera is neither recording nor busy.

        Raises:
            SourceBusy: it is.
            SourceGone: no answer.
        """
        if trouble := self._occupied():
            raise SourceBusy(trouble)

    def _get(self, path: str, headers: dict[str, str] | None = None) -> HTTPResponse:
        """Over a connection of its own: a camera closes each after one answer. Nothing is followed or remembered."""
        line = _Cable(self.address, self._port, timeout=CONNECT_S)
        line.interface = self._interface
        try:
            line.request("GET", path, headers={"User-Agent": "ailasd", "Connection": "close", **(headers or {})})
            return line.getresponse()  # has the socket from now on, and closes it
        except (OSError, HTTPException) as error:
            line.close()
            raise self._silent(error) from error

    def _silent(self, error: OSError | HTTPException) -> SourceGone:
        if not self.is_plugged_in():
            return SourceGone("the camera is not there (any more)")
        return SourceGone(f"the camera does not answer ({type(error).__name__})")

    def _check_status(self, response: HTTPResponse, what: str) -> None:
        """Raise if a request was refused: why, the camera's state tells, not the status."""
        if response.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return
        if trouble := self._occupied():
            raise SourceBusy(trouble)
        raise Unreadable(f"{what}: the camera refuses with HTTP status {response.status}")

    def _occupied(self) -> str | None:
        response = self._get("/gopro/camera/state")
        try:
            if response.status != HTTPStatus.OK:
                return BUSY if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
            status = self._object(response, "its state", LONGEST_ANSWER).get("status")
        except UnexpectedAnswer:
            return None  # what we want itself will tell
        finally:
            response.close()
        on = [key for key in (_ENCODING, _SYSTEM_BUSY) if isinstance(status, dict) and str(status.get(key)) == "1"]
        return RECORDING if _ENCODING in on else BUSY if on else None

    def _object(self, response: HTTPResponse, what: str, most: int) -> dict[str, Any]:
        text = bytearray()
        for block in self.blocks(response):
            text += block
            if len(text) > most:
                raise UnexpectedAnswer(f"The camera's answer is too long: {what}")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnexpectedAnswer(f"The camera's answer is no JSON: {what}") from error
        if not isinstance(document, dict):
            raise UnexpectedAnswer(f"The camera's answer is no JSON object: {what}")
        return document

    @staticmethod
    def _check_part(response: HTTPResponse, start: int, size: int, what: str) -> None:
        """Raise unless the body is the file from ``start`` to its end."""
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            part = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if part is None or (int(part[1]), int(part[2]) + 1) != (start, int(part[3])):
                raise Unreadable(f"{what}: the camera gives another part than we asked for")
            whole = int(part[3])
        elif start:
            raise Unreadable(f"{what}: the camera cannot go on in the middle of it")
        else:
            whole = response.length or 0  # None: no length is told
        if whole != size or response.length != size - start:
            raise Changing(f"{what} has not the {size} bytes that were listed")


# -- the network at the end of the cable ------------------------------------------------------------------------------
def is_there(interface: str) -> bool:
    """Whether this machine has a network interface of that name."""
    try:
        return socket.if_nametoindex(interface) > 0
    except (OSError, ValueError):
        return False


class _Cable(HTTPConnection):
    """A connection that is bound to a network interface before its first packet.

    httpx cannot do that: its socket options are set when the connection is open already, and so may lead elsewhere.
    """

    interface: str

    def connect(self) -> None:
        if not is_there(self.interface):  # an empty name would not bind
            raise SourceGone("the camera is not there (any more)")
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(CONNECT_S)
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode() + b"\0")
        except PermissionError:  # before Linux 5.7 only for root
            own = _own_address(self.interface)
            if own is None:
                raise SourceBusy(NO_ADDRESS) from None
            self.sock.bind((str(own.ip), 0))
        self.sock.connect((self.host, self.port))
        self.sock.settimeout(NO_PROGRESS_S)


def _address_of_the_camera(interface: str) -> str:
    """The camera's address: 51 in the network that it gave us, 172.2X.1YZ.0/24.

    It serves that network itself, so the address need not be worked out from its serial; but it must be such a network:
    a device that gives itself another one is no GoPro, and gets no request.

    Raises:
        SourceGone: the interface is not there.
        SourceBusy: it has no address (yet), or that of something else.
    """
    own = _own_address(interface)
    if own is None:
        if not is_there(interface):
            raise SourceGone("the camera is not there (any more)")
        raise SourceBusy(NO_ADDRESS)
    camera = ipaddress.IPv4Address(int(own.ip) & ~0xFF | 51)
    if not _GOPRO_NETWORK.match(str(own.ip)) or camera not in own.network or camera == own.ip:
        raise SourceBusy(f"{own} is not an address that a GoPro gives")
    return str(camera)


def _own_address(interface: str) -> ipaddress.IPv4Interface | None:
    """The first IPv4 address of an interface, or None."""
    request = struct.pack("16s24x", interface.encode()[:15])  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        try:
            ip, mask = (
                socket.inet_ntoa(fcntl.ioctl(ours, which, request)[20:24]) for which in (_SIOCGIFADDR, _SIOCGIFNETMASK)
            )
        except OSError:
            return None
    return ipaddress.IPv4Interface(f"{ip}/{mask}")
