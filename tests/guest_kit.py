"""A kit in a guest of its own: ailasd from its wheel, set up as a person would, with a real Panoramax to send to."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cards import START as FIRST_BYTE
from cards import make_card
from guest import SERVER, Guest, GuestError
from guest_image import Image
from guest_stick import Stick
from instance import locked
from real_kit import fresh, md5_of

from ailasd.demo import pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conftest import Real

HERE = Path(__file__).parent
NAME = "guest-kit"
PHONES = "phones"
"""Who fills the inbox."""
START = datetime.now(UTC).replace(hour=4, minute=0, second=0, microsecond=0) - timedelta(days=2)
"""07:00 in Madagascar, the day before yesterday."""

SETUP_S = 1200.0
"""A venv and thirty wheels take a minute and a half on two idle cores."""

MOVING = {"copied", "queued", "sent"}


class Materials:
    """What guests are made of: below ``home``, made by whichever test process needs it first, for all of them.

    Attributes:
        stick: what guests are given along.
        bare: the disk of a stock Debian.
        kit: the disk of one on which ``ailasd setup`` was run.
    """

    def __init__(self, home: Path, *, server_port: int) -> None:
        self.home = home
        self.kit = home / "kit.qcow2"
        self.stick = Stick(home / "stick")
        self._image = Image(home)
        self._port = server_port
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")

    @property
    def bare(self) -> Path:
        return self._image.disk

    def have(self) -> None:
        """Have them all but the kit.

        Raises:
            Unavailable: something is missing here.
        """
        with locked(self.home):
            self._image.have()
            self.stick.fill()

    def start_kit(self, guest: Guest) -> None:
        """Start a guest on which ``ailasd setup`` was run: in itself, or in the one whose disk is kept."""
        made_of = f"{self._image._stamp.read_text()} {self.stick.made_of} {SETUP}"
        stamp = self.home / "kit-made-of"
        with locked(self.kit.with_suffix("")):
            if not stamp.exists() or stamp.read_text() != made_of:
                stamp.unlink(missing_ok=True)
                self.start(guest, upon=self.bare)
                guest.run(f"{SETUP} && systemctl is-active ailasd", within=SETUP_S)
                guest.copy_disk(self.kit)
                stamp.write_text(made_of)
                return
        self.start(guest, upon=self.kit)

    def guest(self, name: str) -> Guest:
        """A guest of this test process alone."""
        return Guest(self.home / self._worker / name, self._image, server_port=self._port)

    def start(self, guest: Guest, *, upon: Path) -> None:
        """Start it as a new machine, with the stick in it."""
        guest.renew(upon)
        self.stick.put_into(guest.share)
        guest.start()


SETUP = (
    "python3 -B -c 'import sys; sys.path.append(\"/host/site\"); from ailasd.cli import main; main()' "
    f"setup --wheels /host/wheels --kit {NAME}"
)
"""From the wheels' own contents, as if pip had put them into a first venv: that would only take a minute more."""


class GuestKit:
    """What the tests do with the kit, and what they ask it and its server."""

    def __init__(self, real: Real, materials: Materials) -> None:
        self._server = real.instance
        self.port = int(real.url.rsplit(":", 1)[1])
        self._materials = materials
        self.guest = materials.guest("kit")
        self.cards = self.guest.home / "cards"
        self._drives = 0

    # -- life ---------------------------------------------------------------------------------------------------------
    def set_up(self) -> None:
        """Have a kit that was just set up, with an account of its own on the server."""
        self._materials.start_kit(self.guest)
        self.cards.mkdir()
        self.configure(
            {
                "server": {"url": f"http://{SERVER}:{self.port}", "plain_http": True},
                "vpn": {"interface": "eth0"},  # stands for the tunnel: http:// needs one
                "upload": {"probe_every": "2s", "probe_most": "5s"},
                "confirm": {"every": "2s"},
                "storage": {"reserve": "100MB"},
            }
        )
        share = self.guest.share
        (share / "token").write_text(self._server.token(f"{NAME} {self.guest.home.parent.name}"))
        for name in ("look.py", "visit.py"):
            shutil.copy(HERE / "guest" / name, share)
        self.guest.run("cat /host/token >/etc/ailasd/token; systemctl restart ailasd")

    def configure(self, config: dict[str, dict[str, object]]) -> None:
        """Write these values into the kit's configuration: table -> key -> value; the service has yet to be told."""
        (self.guest.share / "configure").write_text("\n".join(
            rf"sed -i '/^\[{table}\]/,/^\[/ s|^{key} = .*|{key} = {json.dumps(value)}|' /etc/ailasd/config.toml"
            for table, values in config.items() for key, value in values.items()
        ))  # fmt: skip
        self.guest.run("sh -e /host/configure")

    @contextmanager
    def configured(self, config: dict[str, dict[str, object]]) -> Iterator[None]:
        """The service runs with these values as long as the context lasts; at its end nothing is plugged in."""
        self.guest.run("cp /etc/ailasd/config.toml /root/config.toml")
        self.configure(config)
        self.guest.run("systemctl restart ailasd")
        try:
            yield
        finally:
            self.calm()
            self.guest.run("cp /root/config.toml /etc/ailasd/config.toml; systemctl restart ailasd")

    def calm(self) -> None:
        """Nothing plugged in, and the machine runs: where each test begins."""
        if not self.guest.running():
            self.guest.start()
        for name in self.guest.plugged():
            self.guest.yank(name)
        with suppress(GuestError):
            self.guest.slot(None)

    # -- cards --------------------------------------------------------------------------------------------------------
    def drive(self, pictures_: int = 10, *, kilobytes: int = 40) -> list[tuple[str, bytes, float]]:
        """Pictures of one drive, of another one each time, and elsewhere."""
        self._drives += 1
        origin = pictures.along((-18.9, 47.5), 90, 500.0 * self._drives)
        start = START + timedelta(hours=self._drives % 15, minutes=self._drives // 15)
        return list(
            pictures.drive(
                start=start, n=pictures_, origin=origin, group=self._drives, seed=fresh(), pad_to=kilobytes * 1000
            )
        )

    def card(self, entries: Iterable[tuple[str, bytes, float]], *, fs: str = "exfat", **how: Any) -> Path:
        """An image of a card with these files on it."""
        image = self.cards / f"card-{len(list(self.cards.iterdir()))}.img"
        folder = image.with_suffix(".files")
        pictures.write_card(folder, entries)
        make_card(image, folder, fs=fs, **how)
        shutil.rmtree(folder)
        return image

    def on_card(self, card: Path) -> dict[str, str]:
        """What is on a card that is plugged in nowhere, as another system sees it: path -> md5."""
        seen = self.guest.share / "card.img"
        seen.unlink(missing_ok=True)
        os.link(card, seen)
        said = self.guest.run(
            f"mount -o loop,ro,offset={FIRST_BYTE} /host/{seen.name} /mnt; "
            "(cd /mnt && find . -type f -exec md5sum {} +); code=$?; umount /mnt; exit $code"
        )
        return {path: md5 for md5, path in (line.split(maxsplit=1) for line in said.splitlines())}

    def drop(self, entries: Iterable[tuple[str, bytes, float]]) -> list[str]:
        """Put these files into the kit's inbox, as over the network, as the user that the README makes; their md5s."""
        files = list(entries)
        pictures.write_card(self.guest.share / "dropped", files)
        inbox = "/var/lib/ailasd-inbox"
        self.guest.run(
            f"id {PHONES} >/dev/null 2>&1 || "
            f"adduser --quiet --disabled-password --gecos '' {PHONES} --ingroup ailasd-inbox && "
            f"runuser -u {PHONES} -- cp -r /host/dropped {inbox}/dropped-{self._drives} && rm -r /host/dropped"
        )
        return md5s_of(files)

    # -- what the server says -----------------------------------------------------------------------------------------
    def holds(self, md5s: Iterable[str]) -> Counter[int]:
        """How often the server's database holds each content: {1: all of them} is as it should be."""
        text = "SELECT replace(original_content_md5::text, '-', '') FROM pictures"
        there = Counter(self._server.sql(text).split())
        return Counter(there[md5] for md5 in md5s)

    def sent(self, md5s: list[str]) -> int:
        """How many of them are on the server."""
        return len(md5s) - self.holds(md5s)[0]

    def wait(self, until: Callable[[], bool], within: float = 300.0, what: str = "") -> None:
        """Until it comes true, or the test has failed, with the kit's last words."""
        end = time.monotonic() + within
        while True:
            asked = time.monotonic()
            if until():
                return
            if asked > end:
                raise AssertionError(f"not within {within:g} s: {what}\n{self.last_words()}")
            # the guest has one processor: at least half of it is for the work that is waited for
            time.sleep(max(0.3, time.monotonic() - asked))

    # -- what the kit says --------------------------------------------------------------------------------------------
    def look(self, how: str = "in passing") -> dict[str, Any]:
        """What is true in the guest, found out without ailasd; ``how`` may be "closely"."""
        found: dict[str, Any] = self.guest.observe(how)
        return found

    def status(self) -> dict[str, Any]:
        """``ailasd status --json``; its exit code 1 only says that a person is needed."""
        said: dict[str, Any] = json.loads(self.guest.run("ailasd status --json", check=False))
        return said

    def stands(self, *states: str) -> bool:
        """Whether what is plugged in stands so, as the catalogue has it: ``ailasd status`` takes five seconds here."""
        return bool(self.look()["media"] == sorted(states))

    def mounted(self) -> bool:
        """Whether a card is mounted."""
        return bool(self.look()["mounts"])

    def history(self) -> list[dict[str, str]]:
        """Where cards were mounted since the guest was started, each time that this changed: place -> "ro" or "rw"."""
        history: list[dict[str, str]] = self.look()["history"]
        return history

    def copied(self, md5s: Iterable[str]) -> int:
        """How many of these pictures are here by now."""
        return len(set(md5s) & set(self.look()["states"]))

    def now(self) -> str:
        """The guest's own time, as ``ailasd log --since`` takes it (local time)."""
        return self.guest.run("TZ=Indian/Antananarivo date +%Y-%m-%dT%H:%M:%S").strip()

    def told(self, event: str, since: str) -> list[dict[str, Any]]:
        """The values of these events in ``ailasd log``, from then on."""
        lines = self.guest.run(f"ailasd log --json --since {since}").splitlines()
        return [one["detail"] for one in map(json.loads, lines) if one["name"] == event]

    def last_words(self) -> str:
        """What helps somebody to find out why."""
        try:
            return self.guest.run(
                "ailasd status; journalctl --no-pager -o short-precise -n 900 | grep -v qemu-ga | tail -60; lsblk",
                check=False,
            )
        except (GuestError, OSError) as error:
            return f"(and the guest says nothing more: {error})"

    # -- what must be true after whatever happened ---------------------------------------------------------------------
    def assert_whole(self, md5s: Iterable[str], *stands: str, within: float = 300.0) -> None:
        """Each is on the server exactly once and confirmed; here is nothing partial, nothing stale, nothing wrong.

        Args:
            md5s: of the pictures.
            stands: how what is plugged in must stand then.
            within: seconds.
        """
        wanted = list(md5s)
        self.wait(lambda: self.sent(wanted) == len(wanted), within, f"{len(wanted)} pictures on the server")
        self.wait(self._at_rest, within, "all confirmed, nothing mounted")
        found = self.look("closely")
        assert Counter(found["states"].get(md5) for md5 in wanted) == {"confirmed": len(wanted)}
        assert self.holds(wanted) == {1: len(wanted)}
        wrong = {name: found[name] for name in ("temporary", "unknown", "missing", "damaged") if found[name]}
        assert not wrong, wrong  # in a worker pytest does not show the values
        status = self.status()
        assert status["adds_up"], status["wrong"]
        assert not status["needs"]
        if stands:
            assert sorted(one["state"] for one in status["media"]) == sorted(stands)

    def _at_rest(self) -> bool:
        found = self.look()
        return not found["mounts"] and not MOVING & set(found["states"].values())

    def seconds_to_first(self, md5s: Iterable[str]) -> float:
        """From when the kernel knew the card's partitions to when the first of these pictures was here."""
        found = self.look("closely")
        return float(min(found["copied_at"][md5] for md5 in md5s) - found["settled_at"])

    def exposure(self, unit: str) -> float:
        """What ``systemd-analyze security`` makes of it, 0 to 10."""
        said = self.guest.run(f"systemd-analyze security --no-pager {unit}")
        shown = re.search(r"exposure level for \S+: ([0-9.]+)", said)
        assert shown, said
        return float(shown[1])


def md5s_of(entries: Iterable[tuple[str, bytes, float]]) -> list[str]:
    """The md5 of each file."""
    return [md5_of(data) for _, data, _ in entries]
