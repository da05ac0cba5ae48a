"""The page over a real socket: what it shows, to whom, and what strangers and hostile cards cannot do with it."""

from __future__ import annotations

import html
import http.client
import json
import os
import pickle
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from as_on_a_kit import environment
from kit import START, Kit, drive, kits
from page import CHECKOUT, PIN, Visitor, as_somebody_else, day, showing, visited

from ailasd import reports
from ailasd.asking import Asked
from ailasd.by_hand import ByHand
from ailasd.catalogue import Catalogue
from ailasd.errors import ConfigError
from ailasd.language import LANGUAGES, translations
from ailasd.model import State
from ailasd.needs import REPORTS
from ailasd.showing.card import card
from ailasd.sign import Sign
from ailasd.sign_wording import HEADLINES
from ailasd.status import summary
from ailasd.web import app, serving
from ailasd.web.admitting import Door, Pin, Sees, Tries, load_pin
from ailasd.web.guarding import is_our_name
from ailasd.web.seeing import FRESH_S, Seeing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., Kit]

EVIL = '"><script>alert(1)</script>'
WAY = '<svg class="way"'


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    """A kit with one drive that has everything, and a camera that calls itself a script."""
    with kits(tmp_path_factory.mktemp("kit")) as made:
        one = made(entries=day(model=EVIL))
        one.bring_in()
        yield one


@pytest.fixture(scope="module")
def here(kit: Kit) -> Iterator[Visitor]:
    """Somebody at the kit itself; there is no PIN."""
    with visited(kit) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def locked(kit: Kit) -> Iterator[Visitor]:
    """The same kit, with a PIN."""
    with visited(kit, pin=True) as visitor:
        yield visitor


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


# -- what it shows ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sign", Sign)
def test_each_sign_in_big_letters(make: Make, sign: Sign) -> None:
    """What the kit shows everywhere is the page's one heading."""
    kit = make()
    with showing(kit, sign), visited(kit) as visitor:
        assert re.findall(r"<h1>(.*?)</h1>", visitor.get()) == [HEADLINES[sign]]


def test_before_there_is_a_catalogue(make: Make) -> None:
    """A kit that never ran says that help is needed, and does not fail."""
    kit = make()
    (kit.tmp / "state/catalogue.db").unlink()
    with visited(kit) as visitor:
        status, _, text = visitor.ask("GET", "/")
        assert (status, HEADLINES[Sign.HELP] in text) == (503, True)


def test_what_needs_a_person_is_said_in_the_readers_language(make: Make) -> None:
    """The cause stays as it was noted, and says so to a screen reader."""
    kit = make()
    with showing(kit, Sign.HELP), visited(kit, language="fr") as visitor:
        text = html.unescape(visitor.get())
        assert "Envoi en attente\N{NO-BREAK SPACE}: le serveur n\N{RIGHT SINGLE QUOTATION MARK}accepte pas le" in text
        assert 'jeton de ce kit<br><span lang="en">the token was' in text


def test_a_drive_is_drawn_with_all_that_it_had(here: Visitor) -> None:
    """Its way, gap, stop, stretches without GPS, scale, kilometres and interval; its report is one tap away."""
    text = here.get()
    tags = [(tag, about.get("class")) for tag, about in Page(text).tags]
    for wanted in (("path", "driven"), ("path", "gap"), ("path", "lost"), ("circle", "parked"),
                   ("circle", "start"), ("rect", "end"), ("path", "scale")):  # fmt: skip
        assert wanted in tags
    assert "96 pictures, one every 5 s" in text
    assert re.search(r"<dd>4\.1 km, 9 min</dd>", text)
    assert text.count('<a href="/drive/1">') == 2


def test_three_languages_by_the_browsers_wish(here: Visitor) -> None:
    """The browser's best language counts, then what was chosen on the page; an unknown one becomes English."""
    for wish, code in (("mg,fr;q=0.5", "mg"), ("de, fr-CA;q=0.9, en;q=0.3", "fr"), ("de", "en"), ("", "en")):
        assert f'<html lang="{code}">' in here.get(Accept_Language=wish)
    chooser = here.another()
    assert chooser.ask("GET", "/language/mg")[0] == 303
    assert '<html lang="mg">' in chooser.get(Accept_Language="fr")
    chooser.ask("GET", "/language/xx")
    assert '<html lang="mg">' in chooser.get(Accept_Language="fr")


def test_who_chooses_a_language_stays_where_they_are(here: Visitor) -> None:
    """On the same page of ours, whatever else the browser names."""
    site = f"http://127.0.0.1:{here.port}"
    stays = {
        f"{site}/card": "/card", f"{site}/drive/1": "/drive/1", f"{site}/?page=2": "/", "": "/", "http://[": "/",
        f"{site}//evil.example/card": "/", "https://evil.example/x": "/", f"{site}/drive/1/../../leave": "/",
    }  # fmt: skip
    for page, back in stays.items():
        status, about, _ = here.another().ask("GET", "/language/mg", Referer=page)
        assert (status, about["location"]) == (303, back), page


def test_a_drives_page_has_its_whole_report(make: Make) -> None:
    """Word for word, in each language, and anew after its pictures moved on; its advice is on the first page, too."""
    kit = make(entries=drive(20, clock_error=timedelta(minutes=5), every_s=10, no_fix=range(8)))
    kit.bring_in()

    def report(code: str) -> list[str]:
        return (reports.text(kit.parts.catalogue, 1, code, kit.parts.config.zone) or "").splitlines()

    def told(code: str) -> list[str]:
        return re.findall(
            r"<li(?: class=\"advice\")?>(.*?)</li>", html.unescape(visitor.get("/drive/1", Accept_Language=code))
        )

    with visited(kit) as visitor:
        for code in LANGUAGES:
            assert told(code) == report(code)
            advice = re.findall(r'<p class="need">(.*?)</p>', html.unescape(visitor.get(Accept_Language=code)))
            assert advice == [report(code)[at] for at in (2, 3, 5)]  # interval, clock, a fix that came late
        assert "The interval was 10 s, not 5 s: please set it in the camera." in told("en")
        before = told("en")
        kit.drain()
        assert told("en") == report("en") != before


def test_the_card_to_print_is_for_anybody(locked: Visitor) -> None:
    """Each sign with its light and its sound, in the reader's language, without the PIN; a link leads there."""
    stranger = locked.another()
    assert '<a href="/card">' in stranger.get()
    for code in LANGUAGES:
        text = html.unescape(stranger.get("/card", Accept_Language=code))
        rows = re.findall(
            r'<tr><th scope="row">.*?</svg> (.*?)<span>(.*?)</span></th><td>(.*?)</td><td>(.*?)</td>', text, re.DOTALL
        )
        assert rows == [
            (row.says, row.means, row.light, row.sound or "\N{EN DASH}") for row in card(translations(code))
        ]
        assert len(rows) == len(Sign)


def test_older_drives_have_their_own_pages(make: Make) -> None:
    """Eight on each, the last ones first, without gaps; a page that there is not is empty."""
    kit = make(entries=[])
    with kit.parts.catalogue.writing() as db:
        for day_ in range(1, 21):
            started = f"2026-10-{day_:02}T07:00:00.000Z"
            db.conn.execute("INSERT INTO drive (camera, started, ended) VALUES ('c', ?, ?)", (started, started))
    with visited(kit) as visitor:
        pages = [re.findall(r"<h3><a href=\"/drive/(\d+)\">", visitor.get(f"/?page={page}")) for page in (1, 2, 3, 4)]
    assert [int(one) for page in pages for one in page] == list(range(20, 0, -1))
    assert [len(page) for page in pages] == [8, 8, 4, 0]


def first_look(visitor: Visitor, path: str = "/") -> tuple[str, int]:
    """A page, and the bytes of all that its first look needs."""
    text = visitor.get(path)
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', text)
    assert len(files) == (3 if path == "/" else 2)
    return text, sum(len(one.encode()) for one in (text, *map(visitor.get, files)))


def test_small_enough_for_a_slow_phone(here: Visitor) -> None:
    """All that the first look needs is below 100 KB."""
    assert first_look(here)[1] < 100_000


def long_drives(kit: Kit, *sizes: int) -> None:
    """Drives with so many pictures, the last one first: a zigzag with a stop in each bend, the fix often lost."""
    rows: list[tuple[object, ...]] = []
    with kit.parts.catalogue.writing() as db:
        for number, pictures in enumerate(reversed(sizes), 1):
            times = [START + timedelta(days=number, seconds=5 * n) for n in range(pictures)]
            ends = times[0].isoformat(), times[-1].isoformat()
            db.conn.execute("INSERT INTO drive (id, camera, started, ended) VALUES (?, 'c', ?, ?)", (number, *ends))
            for n, at in enumerate(times):
                row, on = divmod(n, 100)
                latitude = None if n % 13 > 10 or 420 < n % 500 < 480 else -18.9 + (on if row % 2 else 100 - on) / 1000
                state, reason = ("held", "parked") if on < 9 else ("queued", None)
                place = latitude, 47.5 + row / 1000
                rows.append((f"{number}-{n}", state, reason, at.isoformat(), *place, number, f"c{len(rows)}"))
        db.conn.executemany(
            """INSERT INTO picture (md5, size, state, reason, since, clock_trusted, trace, proven, name, verdict,
                                    camera, file_time, captured, latitude, longitude, drive, copy)
               VALUES (?1, 1, ?2, ?3, ?4, 1, ?1, 1, ?1, 'usable',
                       'c', ?4, ?4, ?5, iif(?5 IS NULL, NULL, ?6), ?7, ?8)""",
            rows,
        )


@pytest.mark.slow
def test_real_days_are_small_enough_for_a_slow_phone(make: Make) -> None:
    """Eight drives with lost fixes are all drawn in 100 KB; of eight days of 5 000 pictures the last one is."""
    kit = make(entries=[])
    long_drives(kit, *[5000] * 8, *[700] * 8)
    with visited(kit) as visitor:
        for path, drawn in (("/", 1), ("/?page=2", 8)):
            text, size = first_look(visitor, path)
            assert (text.count(WAY), text.count("<article>")) == (drawn, 8)
            assert size < 100_000
        assert visitor.get("/").count(' class="lost"') == 2  # one path, and its legend
        text, size = first_look(visitor, "/drive/9")
        assert (text.count(WAY), size < 40_000) == (1, True)


def test_what_is_kept_of_a_drive_is_small(make: Make) -> None:
    """Of 5 000 pictures the sentences' facts and the drawing, not the places: a small machine keeps 64 drives."""
    kit = make(entries=[])
    long_drives(kit, 5000)
    seeing = Seeing(kit.config(), kit.clock)
    (seen,), _ = seeing.drives(1)
    assert seen.drawing
    assert seen.way
    assert seen.way.metres > 0
    assert len(pickle.dumps(seen)) < 20_000


def test_without_javascript_it_loads_itself_again(here: Visitor) -> None:
    """Who has no JavaScript gets a page that is renewed by itself; nothing else in it needs any."""
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+"></noscript>', here.get())


# -- live -------------------------------------------------------------------------------------------------------------
@contextmanager
def watching(visitor: Visitor) -> Iterator[http.client.HTTPResponse]:
    """What is told to somebody who watches."""
    with closing(http.client.HTTPConnection("127.0.0.1", visitor.port, timeout=20)) as connection:
        connection.request("GET", "/live")
        stream = connection.getresponse()
        assert stream.getheader("content-type", "").startswith("text/event-stream")
        assert (stream.readline(), stream.readline()) == (b"retry: 3000\n", b"\n")
        yield stream


def test_what_changes_is_told_to_those_who_watch(make: Make) -> None:
    """A watcher gets the sign at once, and the next one as soon as it is another."""
    kit = make()
    with showing(kit, Sign.READING), visited(kit) as visitor, watching(visitor) as stream:

        def next_sign() -> str:
            while not (found := re.search(r"<h1>(.*?)</h1>", stream.readline().decode())):
                pass
            return found[1]

        assert next_sign() == HEADLINES[Sign.READING]
        kit.parts.catalogue.media.stands("reader", "card", "done", card=1)
        assert next_sign() == HEADLINES[Sign.PULL]
        visitor.process.terminate()
        assert stream.read().endswith(b"\n\n")  # let go, not cut off
        assert visitor.process.wait(20) in {0, -15}


# -- who sees what ----------------------------------------------------------------------------------------------------
PRIVATE = ("/drive/1", "/picture/1.jpg", "/?page=2")


def test_without_the_pin_there_is_only_the_sign(locked: Visitor) -> None:
    """A stranger sees the sign; no drive, no card, no number of anything, whatever is asked for."""
    stranger = locked.another()
    with watching(stranger) as stream:
        told = "".join(iter(lambda: stream.readline().decode().rstrip("\n"), ""))  # one event
    for text in (told, *(stranger.ask("GET", path)[2] for path in ("/", *PRIVATE))):
        assert not [word for word in (WAY, "3456", "HERO", "kB") if word in text]
    assert "<h1>" in told
    assert stranger.ask("GET", "/picture/1.jpg")[0] == 403


def test_with_the_pin_everything_is_there(locked: Visitor) -> None:
    """The PIN opens drives and pictures; the cookie is for this page alone, and out of reach of scripts."""
    person = locked.another()
    status, headers, _ = person.post("/pin", form=person.form(), pin=PIN)
    assert status == 303
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in headers["Set-Cookie"].split(";")}
    assert WAY in person.get()
    assert person.get("/drive/1").count("/picture/") == 12
    status, headers, _ = person.ask("GET", "/picture/1.jpg")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "image/jpeg", "no-store")
    assert person.post("/leave", form=person.form())[0] == 303
    assert WAY not in person.get()


def test_pictures_only_with_a_pin(here: Visitor) -> None:
    """At the kit itself all is shown without a PIN, but no picture: faces are in them."""
    assert "/picture/" not in here.get("/drive/1")
    assert here.ask("GET", "/picture/1.jpg")[0] == 403


@pytest.mark.parametrize(
    ("client", "server", "sees"),
    [
        ("127.0.0.1", "127.0.0.1", Sees.ALL),
        ("::1", "::1", Sees.ALL),
        ("192.168.1.20", "192.168.1.5", Sees.SIGN),
        ("192.168.1.20", "127.0.0.1", Sees.SIGN),
        ("", "", Sees.SIGN),
    ],
)
def test_other_machines_need_a_pin(client: str, server: str, sees: Sees) -> None:
    """Without a PIN only who sits at the machine sees more than the sign."""
    assert Door(None, wall=time.time).sees(client=client, server=server, cookie="") is sees
    with_pin = Door(Pin(b"s" * 16, b"h" * 64), wall=time.time)
    assert with_pin.sees(client=client, server=server, cookie="") is Sees.SIGN


def test_a_session_ends_and_cannot_be_made_up() -> None:
    """A cookie counts for half a day, not after the clock was set back, and not with one letter changed."""
    now = [1_800_000_000.0]
    pin = Pin(b"s" * 16, b"h" * 64)
    door = Door(pin, wall=lambda: now[0])

    def sees(cookie: str, door: Door = door) -> Sees:
        return door.sees(client="10.0.0.1", server="10.0.0.2", cookie=cookie)

    cookie = door.open()
    assert sees(cookie) is Sees.PICTURES
    for at in range(len(cookie)):
        changed = cookie[:at] + chr(ord(cookie[at]) ^ 1) + cookie[at + 1 :]
        assert sees(changed) is Sees.SIGN
    assert sees(cookie, Door(Pin(b"s" * 16, b"i" * 64), wall=lambda: now[0])) is Sees.SIGN
    for later in (-10.0, 12 * 3600.0 + 1):
        now[0] = 1_800_000_000.0 + later
        assert sees(cookie) is Sees.SIGN


def test_guessing_the_pin_is_slowed_down(kit: Kit) -> None:
    """After five wrong ones nobody's PIN is tried, not even the right one, whoever asks; sessions go on."""
    with visited(kit, pin=True) as visitor:
        inside = visitor.another()
        assert inside.enter() == 303
        assert [visitor.another().enter(f"{number:06}") for number in range(7)] == [403] * 5 + [429] * 2
        assert visitor.enter() == 429
        assert WAY in inside.get()


def test_tries_come_back_one_a_minute() -> None:
    """A year of guessing six digits finds half of them; meanwhile the process may not end and forget."""
    now = [0.0]
    tries = Tries(lambda: now[0])
    assert [tries.take() for _ in range(7)] == [True] * 5 + [False] * 2
    assert not tries.none_lately()
    now[0] = 61.0
    assert [tries.take(), tries.take()] == [True, False]
    now[0] = 3600.0
    assert tries.none_lately()


def test_a_pin_is_stored_as_nobody_can_read_it(kit: Kit) -> None:
    """The file has a salted hash; two of one PIN differ; what is too short is refused."""
    one, other = Pin.of(PIN), Pin.of(PIN)
    assert one.hash != other.hash
    assert PIN not in one.to_text()
    assert Pin.from_text(one.to_text(), "here").fits(PIN)
    assert not one.fits("271829")
    with pytest.raises(ValueError, match="6 to 64"):
        Pin.of("12345")


def test_a_pin_by_command(make: Make) -> None:
    """`ailasd pin` prints six digits once and stores what they are tried against; --forget takes it away."""
    kit = make()
    with visited(kit, pin=True):
        pass  # writes the configuration
    file = kit.tmp / "pin-True"

    def ailasd(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ailasd", "--config", str(kit.tmp / "page-True.toml"), "pin", *words]
        return subprocess.run(
            command, cwd=CHECKOUT, env=environment(), input=stdin, capture_output=True, text=True, check=False
        )

    said = ailasd().stdout.strip()
    assert re.fullmatch(r"\d{6}", said)
    stored = load_pin(file)
    assert stored is not None
    assert stored.fits(said)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ailasd("--stdin", stdin="123\n").returncode == 2
    assert ailasd("--forget").returncode == 0
    assert load_pin(file) is None


def test_what_systemd_hands_over_for_no_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit's default for a file that is not there means that there is no PIN; a damaged one is a fault."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    default = re.search(r"SetCredential=ailasd-pin:(.*)", (CHECKOUT / "systemd/ailasd-web.service").read_text())
    assert default
    (tmp_path / "ailasd-pin").write_text(default[1])
    assert load_pin(tmp_path / "elsewhere") is None
    (tmp_path / "ailasd-pin").write_text("scrypt$abc$def\n")
    with pytest.raises(ConfigError, match="ailasd pin"):
        load_pin(tmp_path / "elsewhere")


# -- what the page can do ---------------------------------------------------------------------------------------------
@pytest.fixture
def daemon(kit: Kit) -> Iterator[None]:
    """The part of a daemon that hears wishes."""
    parts = kit.parts
    asked = Asked(
        parts.storage.asking, ByHand(parts.catalogue, parts.storage, parts.sorting, parts.journal), parts.journal, int
    )
    asked.start()
    yield
    asked.end()


def test_held_pictures_are_released_by_a_form(make: Make) -> None:
    """The button sends what it stands beside, of that drive and reason, and nothing else."""
    kit = make(entries=day())
    kit.bring_in()
    before = kit.reasons()
    parts = kit.parts
    by_hand = ByHand(parts.catalogue, parts.storage, parts.sorting, parts.journal)
    asked = Asked(parts.storage.asking, by_hand, parts.journal, int)
    with visited(kit) as visitor:
        form = visitor.form()
        wish = {"form": form, "do": "release", "reason": "parked", "drive": "1"}
        assert visitor.post("/ask", **wish)[0] == 503  # no daemon
        asked.start()
        status, _, text = visitor.post("/ask", **wish)
        assert (status, f"{before['parked']} pictures will be sent" in text) == (200, True)
        assert kit.reasons() == {"no_position": before["no_position"]}
        assert "Nothing was changed" in visitor.post("/ask", **wish)[2]
        asked.end()


def test_refused_pictures_have_the_reason_in_words(make: Make) -> None:
    """In the reader's language, with one of the server's own sentences for each reason, without places and escapes."""
    kit = make(entries=drive(3))
    kit.bring_in()
    for index, reason in enumerate(("excluded_area", "excluded_area", "too_dark")):
        kit.parts.catalogue.pictures.move(
            kit.picture(index), State.REFUSED, reason=reason, why=f"<b>{index}\x1b lat=-18.9"
        )
    with visited(kit, language="fr") as visitor:
        for path in ("/", "/drive/1"):
            text = html.unescape(visitor.get(path))
            assert "2 images\N{NO-BREAK SPACE}: zone exclue" in text
            assert "excluded_area" not in re.sub(r"<input[^>]*>|ailasd \w+ --reason \w+", "", text)
        text = visitor.get("/drive/1")
        said = re.findall(r'<p lang="en">(.*?)</p>', text)
        assert sorted(said) == ["&lt;b&gt;1\\x1b lat=***", "&lt;b&gt;2\\x1b lat=***"]


@pytest.mark.usefixtures("daemon")
def test_a_form_of_another_page_does_nothing(here: Visitor, locked: Visitor, kit: Kit) -> None:
    """Without the token, with another session's, from another origin, or without the PIN: nothing is moved."""
    wish = {"do": "release", "reason": "parked"}
    before = kit.reasons()
    assert here.post("/ask", **wish)[0] == 403
    assert here.post("/ask", form="0" * 64, **wish)[0] == 403
    body = f"form={here.form()}&do=release&reason=parked"
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        assert here.ask("POST", "/ask", body, **headers)[0] == 403
    stranger = locked.another()
    assert stranger.post("/ask", form=stranger.form(), **wish)[0] == 403
    person = locked.another()
    assert person.enter() == 303
    assert person.post("/ask", form=stranger.form(), **wish)[0] == 403
    assert here.ask("GET", f"/ask?form={here.form()}&do=release&reason=parked")[0] == 404
    assert kit.reasons() == before


# -- strangers and hostile cards --------------------------------------------------------------------------------------
def test_what_a_camera_is_called_is_only_shown(here: Visitor) -> None:
    """A script in a camera's name is text on every page that has it."""
    for path in ("/", "/drive/1"):
        text = here.get(path)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert [about for tag, about in Page(text).tags if tag == "script" and "src" not in about] == []


def test_names_and_reasons_from_outside_are_only_shown(make: Make) -> None:
    """So is one in a card's label, in a server's reason, in what is wrong with the link, and in a picture's name."""
    kit = make()
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE card SET label = ?", (EVIL,))
        db.conn.execute("UPDATE picture SET state = 'refused', reason = ? WHERE id = 1", (EVIL,))
    fact = json.dumps({"state": "login_needed", "why": EVIL, "at": "2026-11-20T07:00:00.000Z"})
    kit.parts.catalogue.telling.remember("link", fact)
    reported = {"id": "1", "issue": EVIL, "hides": True, "what": f"{EVIL}.JPG", "drive": 1, "md5": "0" * 32}
    kit.parts.catalogue.telling.remember(REPORTS, json.dumps([reported]))
    with visited(kit) as visitor:
        assert visitor.get().count(f"{html.escape(EVIL).replace('&quot;', '&#34;')}.JPG") == 1
        for path in ("/", "/drive/1"):
            tags = Page(visitor.get(path)).tags
            assert [about for tag, about in tags if tag == "script" and "src" not in about] == []
            assert all(not name.startswith("on") for _, about in tags for name in about)


def test_every_answer_forbids_what_it_does_not_need(here: Visitor) -> None:
    """No script, style or frame but ours, nothing cached, nothing guessed; also of errors."""
    for path in ("/", "/drive/1", "/nothing", "/static/../app.py"):
        _, headers, text = here.ask("GET", path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
        assert " style=" not in text
    assert "max-age" in here.ask("GET", "/static/style.css")[1]["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../status.py", "/static/..%2f..%2fstatus.py", "/static/", "/static", "/static/%2e%2e/app.py",
        "/picture/../../etc/passwd", "/picture/1.jpg/../../catalogue.db", "/drive/..%2f1", "/drive/1e3", "/drive/-1",
        "/drive/" + "9" * 5000, "/picture/" + "9" * 30 + ".jpg", "/catalogue.db", "/drive/%00", "//etc/passwd",
        "/drive/1%0d%0aSet-Cookie:%20a=b", "/language/%0d%0aX:%20y",
    ],
)  # fmt: skip
def test_no_way_to_other_files(here: Visitor, path: str) -> None:
    """Addresses are a short list: whatever else is asked for is nothing, and leads nowhere."""
    status, headers, text = here.ask("GET", path)
    assert status in {303, 403, 404}
    assert "root:" not in text
    assert headers.get("Set-Cookie") is None
    assert headers.get("X") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "a b", "[::1"]
)
def test_another_host_is_refused(here: Visitor, host: str) -> None:
    """A foreign name that leads to this machine (DNS rebinding) shows nothing."""
    assert here.ask("GET", "/", Host=host)[0] == 421


def test_our_own_names() -> None:
    """By address, as localhost, and by the machine's own name."""
    own = socket.gethostname().partition(".")[0]
    for name in ("127.0.0.1:8040", "192.168.4.1", "[::1]:8040", "localhost:8040", own, f"{own}.local:8040"):
        assert is_our_name(name)


def raw(visitor: Visitor, *pieces: bytes, pause_s: float = 0.0, most_s: float = 15.0) -> bytes:
    """What comes back for these bytes, sent piece by piece, until the other end closes."""
    with socket.create_connection(("127.0.0.1", visitor.port), timeout=most_s) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return b""


def test_what_is_too_large_is_refused(here: Visitor) -> None:
    """A head of a megabyte, a form of a megabyte, one of unknown length, two hosts, another protocol."""
    host = f"Host: 127.0.0.1:{here.port}\r\n".encode()
    assert b" 200 " not in raw(here, b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n")
    assert here.ask("POST", "/ask", "a" * 1_000_000)[0] == 413
    chunked = b"POST /ask HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
    assert b" 411 " in raw(here, chunked)
    assert b" 411 " in raw(here, chunked.replace(b"Connection", b"Content-Length: 5\r\nConnection"))
    double = b"GET / HTTP/1.1\r\n" + host + b"Host: evil.example\r\nConnection: close\r\n\r\n"
    assert b" 200 " not in raw(here, double)
    assert b" 200 " not in raw(here, b"GET / HTTP/1.1\r\n\r\n")
    assert b" 400 " in raw(here, b"\x16\x03\x01\x02\x00" * 10 + b"\r\n\r\n")
    assert here.ask("DELETE", "/")[0] == 405
    assert WAY in here.get()


def test_who_is_too_slow_is_cut_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that comes byte by byte ends with its time; others are served meanwhile."""
    monkeypatch.setattr(serving, "HEAD_S", 0.5)
    kit = make()
    own = serving.bound(("127.0.0.1", 0))
    port = own.getsockname()[1]
    config = kit.config()
    thread = threading.Thread(target=serving.serve, args=(config, [own]), kwargs={"idle_s": 2.0}, daemon=True)
    thread.start()
    visitor = Visitor(port, None)  # type: ignore[arg-type]
    began = time.monotonic()
    assert raw(visitor, *[b"G"] * 40, pause_s=0.1) == b""
    assert time.monotonic() - began < 10
    assert "<h1>" in visitor.get()
    thread.join(30)
    assert not thread.is_alive()  # nobody looked for two seconds


def test_a_form_that_comes_too_slowly_is_none(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever announces a form and then sends some of it gets an answer and is let go, not a place for good."""
    monkeypatch.setattr(app, "BODY_S", 0.5)
    kit = make()
    own = serving.bound(("127.0.0.1", 0))
    config = kit.config()
    thread = threading.Thread(target=serving.serve, args=(config, [own]), kwargs={"idle_s": 2.0}, daemon=True)
    thread.start()
    visitor = Visitor(own.getsockname()[1], None)  # type: ignore[arg-type]
    head = f"POST /ask HTTP/1.1\r\nHost: 127.0.0.1:{visitor.port}\r\nConnection: close\r\nContent-Length: 100\r\n\r\n"
    assert b" 403 " in raw(visitor, head.encode() + b"form=").partition(b"\r\n")[0]
    thread.join(30)
    assert not thread.is_alive()


def test_strangers_learn_nothing_of_a_broken_catalogue(make: Make) -> None:
    """What is wrong, and where, is for those who may see all; others see that help is needed, and may type the PIN."""
    kit = make()
    with visited(kit, pin=True) as visitor:
        person = visitor.another()
        assert person.enter() == 303
        kit.parts.close()
        (kit.tmp / "state/catalogue.db").write_bytes(b"no catalogue" * 1000)
        time.sleep(FRESH_S)  # so long the last look at it counts
        for path in ("/", "/drive/1", "/?page=2"):
            for who, knows in ((person, True), (visitor.another(), False)):
                status, _, text = who.ask("GET", path)
                assert (status, "catalogue.db" in text) == (503, knows)
                assert HEADLINES[Sign.HELP] in text
        late = visitor.another()
        (form,) = set(re.findall(r'name="form" value="([0-9a-f]+)"', late.ask("GET", "/")[2]))
        assert late.post("/pin", form=form, pin=PIN)[0] == 303
        assert "catalogue.db" in late.ask("GET", "/")[2]


# -- its process ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_systemds_socket_starts_it_and_it_ends_by_itself(make: Make) -> None:
    """It serves on the socket that it was born with and ends when nobody looks; the next one begins on the same."""
    kit = make()
    with visited(kit):
        pass  # writes its configuration
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        start = f"export LISTEN_PID=$$ LISTEN_FDS=1; exec {sys.executable} -m ailasd.web.serving --idle-s 1 --config $0"
        for _ in range(2):
            command = ["bash", "-c", f"{start} 3<&{listening.fileno()}", str(kit.tmp / "page-False.toml")]
            process = subprocess.Popen(
                command, cwd=CHECKOUT, pass_fds=[listening.fileno()], stderr=subprocess.PIPE, text=True
            )
            assert "<h1>" in Visitor(listening.getsockname()[1], process).get()
            assert process.communicate(timeout=30)[1] == ""
            assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize("how", ["a daemon runs", "it has ended", "the power was cut", "not in the group"])
def test_another_user_who_may_only_read(make: Make, how: str) -> None:
    """The kit's group reads what a daemon writes at this moment, and what it left; nothing is changed or made."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        state = Path(folder, "state")
        kit = make(storage={"folder": state})
        kit.bring_in()
        kit.parts.catalogue.media.stands("reader", "card", "done")  # is in the log only
        if how == "it has ended":
            kit.parts.close()
        if how == "the power was cut":
            copies = {name: (state / name).read_bytes() for name in ("catalogue.db", "catalogue.db-wal")}
            kit.parts.close()
            (state / "catalogue.db-wal").write_bytes(copies["catalogue.db-wal"])
            (state / "catalogue.db").write_bytes(copies["catalogue.db"])
        Path(folder).chmod(0o755)
        for path in (state, *state.rglob("*")):
            shutil.chown(path, 4242, 4243)
            path.chmod(0o750 if path.is_dir() else 0o640)
        before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}

        def look() -> str:
            with Catalogue(state / "catalogue.db", kit.clock, read_only=True) as catalogue:
                seen = f"{summary(catalogue).pictures} {len(catalogue.media.all())}"
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    catalogue.telling.remember("link", "gone")
            return seen

        said = as_somebody_else(1 if how == "not in the group" else 4243, look)
        if how in {"a daemon runs", "it has ended"}:
            assert said == "3 1"
        else:
            assert said.startswith(("CatalogueError", "PermissionError"))
        assert {path: path.stat().st_mtime_ns for path in state.rglob("*")} == before
