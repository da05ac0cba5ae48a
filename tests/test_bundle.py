"""`ailasd bundle`: everything for support in one small file, and none of the secrets that lie about."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import threading
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from kit import Kit, drive, kits
from page import as_somebody_else, visited

from ailasd import bundle, credential, logs
from ailasd.catalogue import excerpt
from ailasd.catalogue.excerpt import NAMES, POSITIONS, TABLES, TEXTS
from ailasd.config import parse
from ailasd.logs import Event
from ailasd.model import Card
from ailasd.veil import Curtain, Veil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.config import Config

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJraXQtMDcifQ.dGhlLXNpZ25hdHVyZQ"
PLAIN_TOKEN = "0f3c-a-token-that-is-no-jwt-77"
IN_ENVIRONMENT = "the-one-of-the-environment-91"
OF_THE_HEARTBEAT = "the-token-of-the-heartbeat-22"
CAPABILITY = "/ping/0c5f83a1-5c1e-4b34-9d43-2f3a41b6a8aa"
OF_ANOTHER = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvdGhlciJ9.b3RoZXI"
PERSON = "Rakoto's maison: rue 5"
SECRETS = (
    TOKEN,
    PLAIN_TOKEN,
    IN_ENVIRONMENT,
    OF_ANOTHER,
    OF_THE_HEARTBEAT,
    CAPABILITY,
    "hunter2",
    "s3cr3t-word",
    "Rakoto",
    "maison",
    "-18.91",
    "47.52",
)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Kit]]:
    monkeypatch.setattr(logs, "_hidden", set())
    with kits(tmp_path) as make:
        yield make


def opened(whole: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        return {name: file.read(name) for name in file.namelist()}


def everything(parts: dict[str, bytes]) -> str:
    """All that is in it, the database's own pages and its rows."""
    texts = [part.decode("utf-8", "replace") for part in parts.values()]
    db = sqlite3.connect(":memory:")
    db.deserialize(parts["catalogue.db"])
    texts += db.iterdump()
    return "\n".join(texts)


def kit_full_of_secrets(
    make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, *, used: bool = False, **server: Any
) -> Kit:
    """Secrets, positions and names in each place that a bundle could take them from.

    ``used``: it knew its token when it noted what it was told, as a daemon does that sent it to a server.
    """
    kit = make(entries=drive(4))
    evil = kit.card / "DCIM" / f"{PERSON} {TOKEN}"
    evil.mkdir()
    source = next(kit.card.rglob("*.JPG"))
    (evil / f"{PERSON}.JPG").write_bytes(source.read_bytes())
    (evil / "Rakoto.JPG").write_bytes(source.read_bytes() + b"x")
    kit.token.write_text(PLAIN_TOKEN)
    beat = kit.tmp / "heartbeat-token"
    beat.touch(mode=0o600)
    beat.write_text(OF_THE_HEARTBEAT)
    kit.restart(
        server={"url": kit.receiver.url, "token_file": kit.token, **server},
        heartbeat={"url": f"https://beat.example.org{CAPABILITY}", "token_file": beat},
    )
    kit.bring_in()
    monkeypatch.setenv("SOME_API_KEY", IN_ENVIRONMENT)
    if used:
        credential.load(kit.config())
        credential.for_heartbeat(kit.config())
    tell = kit.parts.journal.tell
    for secret in (PLAIN_TOKEN, OF_ANOTHER, IN_ENVIRONMENT, OF_THE_HEARTBEAT, CAPABILITY):
        tell(Event.LINK_LOST, problem=f"https://kit:hunter2@example.org said {secret}", away_s=1)
    tell(Event.READ_ERROR, path=f"DCIM/{PERSON}/{PERSON}.JPG", problem=f"{PERSON}.JPG at -18.9137, 47.5236 is bad")
    tell(Event.PICTURE_LOST, picture="Rakoto.JPG", problem="could not send DCIM/Rakoto/Rakoto.JPG", latitude=-18.9137)
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE picture SET why = ? WHERE id = 1", (f"Bearer {OF_ANOTHER} and token={PLAIN_TOKEN}",))
        db.conn.execute("UPDATE picture SET last_error = ? WHERE id = 2", (f"{PERSON}.JPG at (-18.9137, 47.5236)",))
        db.conn.execute("UPDATE picture SET latitude = -18.91, longitude = 47.52, position_override = '-18.91 47.52'")
        db.conn.execute("UPDATE card SET label = ?", (PERSON,))
    link = {"state": "link_lost", "why": f"{PERSON}: {TOKEN}", "at": ""}
    kit.parts.catalogue.telling.remember("link", json.dumps(link))
    return kit


def journal(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A journalctl and a systemctl that say more than they should, and what they were asked."""
    line = {"event": "x", "path": f"DCIM/{PERSON}.JPG", "latitude": -18.9137, "text": f"Bearer {OF_ANOTHER}"}
    said = json.dumps(line)
    for name, words in (("journalctl", f"{said}\nplain {PLAIN_TOKEN} {PERSON} 47.5236"), ("systemctl", "NRestarts=3")):
        program = folder / name
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{words}\nEND\necho \"$@\"\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_no_secret_is_in_it(make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Tokens, logins, positions and names, planted everywhere, are in no part; what support needs is."""
    kit = kit_full_of_secrets(make, monkeypatch)
    journal(monkeypatch, tmp_path)
    parts = opened(bundle.bundle(kit.config(), None, clock=kit.clock))
    text = everything(parts)
    assert not [secret for secret in SECRETS if secret in text]
    assert b"was read: of 7 files 5 copied" in parts["diary.txt"]
    assert b"card 1" in parts["diary.txt"]
    assert b"(a file) cannot be read" in parts["diary.txt"]
    assert json.loads(parts["status.json"])["pictures"] == 5
    assert b"The server cannot be reached" in parts["diary.txt"]
    assert b"configuration" in parts["doctor.txt"]
    assert b"NRestarts=3" in parts["unit.txt"]
    assert b"show ailasd.service ailasd-* " in parts["unit.txt"]  # the page, the helper and the like too
    for part, units in (("journal.txt", b"ailasd.service"), ("journal-beside.txt", b"ailasd-*")):
        assert json.loads(parts[part].splitlines()[0])["path"] == "DCIM/(a file)"
        assert b"--unit=" + units + b" " in parts[part]
    assert b'url = "https://beat.example.org***"' in parts["config.toml"]
    assert parse(parts["config.toml"].decode(), "bundle").kit == "kit"


def test_words_of_the_token_command_stay_here(
    make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Of a command that prints the token only its name is told, whatever it is called with."""
    kit = kit_full_of_secrets(make, monkeypatch)
    program = tmp_path / "printer"
    program.write_text(f"#!/bin/sh\necho {PLAIN_TOKEN}\n")
    program.chmod(0o755)
    text = f'[storage]\nfolder = "{kit.tmp / "state"}"\n[server]\nurl = "{kit.receiver.url}"\n'
    beats = f'[heartbeat]\nurl = "https://beat.example.org{CAPABILITY}"\n'
    beats += f'token_file = "{kit.tmp / "heartbeat-token"}"\n'
    config = parse(f'{text}token_command = ["{program}", "s3cr3t-word"]\n[cards]\nwatch = false\n{beats}', "x")
    parts = opened(bundle.bundle(config, None, clock=kit.clock))
    assert not [secret for secret in SECRETS if secret in everything(parts)]
    assert str(program).encode() in parts["config.toml"]


def test_with_positions(make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch):
    """If somebody says so, positions and names go along; secrets never do."""
    kit = kit_full_of_secrets(make, monkeypatch)
    text = everything(opened(bundle.bundle(kit.config(), None, private=True, clock=kit.clock)))
    assert not [secret for secret in SECRETS[:7] if secret in text]
    assert "-18.91,47.52" in text
    assert "Rakoto.JPG" in text


def test_without_server_disk_or_catalogue(tmp_path: Path):
    """What cannot be had says why in its place; the rest is there."""
    config = parse(f'[storage]\nfolder = "{tmp_path / "none"}"\n', "x")
    parts = opened(bundle.bundle(config, None))
    assert b"there is no catalogue in" in parts["status.txt"]
    assert b"there is no catalogue in" in parts["catalogue.txt"]
    assert b"ailasd 0." in parts["versions.txt"]
    assert b"clock" in parts["doctor.txt"]


def test_a_damaged_catalogue(make: Callable[..., Kit]):
    """It makes its own parts impossible, and no other."""
    kit = make()
    config = kit.config()
    kit.close()
    (kit.tmp / "state/catalogue.db").write_bytes(b"no database" * 1000)
    parts = opened(bundle.bundle(config, None))
    assert b"could not be had" in parts["status.txt"]
    assert b"file is not a database" in parts["doctor.txt"]
    assert b"could not be had" in parts["catalogue.txt"]


def test_the_diary_says_what_it_leaves_out(make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch):
    """Of more events than the diary of a bundle takes the last are told, and that there are others."""
    kit = make()
    kit.bring_in()

    def told() -> list[str]:
        return opened(bundle.bundle(kit.config(), None, page=True, clock=kit.clock))["diary.txt"].decode().splitlines()

    whole = told()
    monkeypatch.setattr(bundle, "MOST_EVENTS", len(kit.events()))
    assert told() == whole
    monkeypatch.setattr(bundle, "MOST_EVENTS", 1)
    first, *others = told()
    assert "older ones" in first
    assert others == whole[-1:]


def test_the_server_is_a_black_hole(make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch):
    """A dead link costs the time of all checks together, not of each; those that had none say so."""
    monkeypatch.setattr(bundle, "DOCTOR_S", 2.0)
    kit = make()
    kit.receiver.fault("*", "black_hole", times=None, seconds=30)
    began = time.monotonic()
    said = opened(bundle.bundle(kit.config(), None))["doctor.txt"].decode()
    kit.receiver.clear_faults()
    assert time.monotonic() - began < 20
    assert "this took longer than" in said
    assert "there was no time for it" in said


# -- from the page ----------------------------------------------------------------------------------------------------
def test_from_the_page(make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Who knows the PIN gets the same file, with no planted secret, and a sentence in the place of what it lacks."""
    kit = kit_full_of_secrets(make, monkeypatch, used=True)
    journal(monkeypatch, tmp_path)
    with visited(kit, pin=True) as visitor:
        assert visitor.enter() == 303
        body = urlencode({"form": visitor.form()})
        status, headers, whole = visitor.fetch("POST", "/bundle", body)
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    assert re.fullmatch(r'attachment; filename="ailasd-kit-07-\d{8}-\d{6}\.zip"', headers["Content-Disposition"])
    assert len(whole) < bundle.LARGEST
    parts = opened(whole)
    assert {*parts} == {*opened(bundle.bundle(kit.config(), None, clock=kit.clock))}
    assert not [secret for secret in SECRETS if secret in everything(parts)]
    assert json.loads(parts["status.json"])["pictures"] == 5
    assert b"was read: of 7 files 5 copied" in parts["diary.txt"]
    assert b"NRestarts=3" in parts["unit.txt"]
    assert b"may not read the token" in parts["README.txt"]
    assert parts["doctor.txt"] == bundle.NOT_ON_THE_PAGE["doctor.txt"].encode()
    for part in ("journal.txt", "journal-beside.txt"):
        assert parts[part] == bundle.NOT_ON_THE_PAGE[part].encode()


def test_the_page_runs_no_command_for_the_token(make: Callable[..., Kit], tmp_path: Path):
    """What prints it may be a smart card's business, and the page is everybody's."""
    kit = make()
    ran, program = tmp_path / "ran", tmp_path / "printer"
    program.write_text(f"#!/bin/sh\ntouch {ran}\necho {PLAIN_TOKEN}\n")
    program.chmod(0o755)
    server = f'[server]\nurl = "{kit.receiver.url}"\ntoken_command = ["{program}"]\n'
    config = parse(f'[storage]\nfolder = "{kit.tmp / "state"}"\n{server}[cards]\nwatch = false\n', "x")
    bundle.bundle(config, None, page=True)
    assert not ran.exists()


def test_a_name_that_was_only_told(make: Callable[..., Kit]):
    """A private stick that never became a card, and a card's older label, are names too."""
    kit = make()
    kit.bring_in()
    journal, cards = kit.parts.journal, kit.parts.catalogue.cards
    journal.tell(Event.CARD_SEEN, card="RAKOTO JEAN", folder="/dev/sda1")
    journal.tell(Event.CARD_READY, card_id=cards.seen(Card("one", "MARIE PRIVE")), card="MARIE PRIVE")
    cards.seen(Card("one", "CARD 7"))
    found = everything(opened(bundle.bundle(kit.config(), None, page=True, clock=kit.clock)))
    assert not re.findall("RAKOTO|MARIE", found)


def test_not_for_everybody(make: Callable[..., Kit]):
    """Without the PIN, or sent by another page, there is no bundle; nor is there one to GET."""
    kit = make()
    with visited(kit, pin=True) as visitor:
        stranger = visitor.another()
        assert "/bundle" not in stranger.get()
        assert stranger.post("/bundle", form=stranger.form())[0] == 403
        assert visitor.enter() == 303
        assert visitor.post("/bundle")[0] == 403
        assert visitor.post("/bundle", form=stranger.form())[0] == 403
        assert visitor.ask("POST", "/bundle", f"form={visitor.form()}", Origin="http://evil.example")[0] == 403
        assert visitor.ask("GET", f"/bundle?form={visitor.form()}")[0] in {404, 405}


def test_one_at_a_time(make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """While one is made another is refused, in words; the page goes on; afterwards there is one again."""
    kit = make()
    asked, go_on = tmp_path / "asked", tmp_path / "go_on"
    os.mkfifo(asked)
    os.mkfifo(go_on)
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n[ -p {go_on} ] || exit 0\necho > {asked}\ncat {go_on}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    first: list[int] = []
    with visited(kit) as visitor:
        form = visitor.form()
        making = threading.Thread(target=lambda: first.append(visitor.another().post("/bundle", form=form)[0]))
        making.start()
        asked.read_text()  # it is at work
        status, _, text = visitor.post("/bundle", form=form)
        assert (status, "is being made already" in text) == (503, True)
        assert "<h1>" in visitor.get()
        fifo = go_on.open("w")
        go_on.unlink()
        fifo.close()
        making.join(30)
        assert first == [200]
        assert visitor.post("/bundle", form=form)[0] == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_by_somebody_who_may_only_read(make: Callable[..., Kit]):
    """The page's user makes it, with what was copied, also while no daemon runs; nothing of the kit is changed."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        state = Path(folder, "state")
        kit = make(storage={"folder": state})
        kit.bring_in()
        config, kept = kit.config(), kit.token.stat().st_mode
        kit.parts.close()
        Path(folder).chmod(0o755)
        for path in (state, *state.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}

        def look() -> str:
            parts = opened(bundle.bundle(config, None, page=True))
            return f"{json.loads(parts['status.json'])['pictures']} {len(parts['catalogue.db']) > 4096}"

        assert (as_somebody_else(4243, look), kept) == ("3 True", kit.token.stat().st_mode)
        assert {path: path.stat().st_mtime_ns for path in state.rglob("*")} == before


FILL = """
INSERT INTO card (identity, label, first_seen, last_seen) VALUES ('a', 'a card', '2026', '2026');
INSERT INTO visit (card, started) VALUES (1, '2026');
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
INSERT INTO picture (md5, size, state, since, clock_trusted, trace, proven, name, verdict, camera, file_time, rank, why)
SELECT lower(hex(randomblob(16))), 6000000, 'confirmed', '2026', 1, lower(hex(randomblob(8))), 1,
       printf('Photo (%d).JPG', i % 3000), 'usable', 'C', '2026', -i, lower(hex(randomblob(40))) FROM n;
INSERT INTO card_file (card, path, size, mtime_ns, picture, seen) SELECT 1, name || id, size, 0, id, 1 FROM picture
WHERE id < 1000
"""


@pytest.mark.slow
def test_never_too_large(make: Callable[..., Kit], record_property: Any):
    """Of a hundred thousand pictures with words that cannot be packed the newest go along, in less than 5 MB."""
    kit = make()
    with kit.parts.catalogue.writing() as db:
        for statement in FILL.strip().split(";\n"):
            db.conn.execute(statement)
    whole = bundle.bundle(kit.config(), None, clock=kit.clock)
    record_property("bytes_of_a_large_bundle", len(whole))
    assert len(whole) < bundle.LARGEST
    assert "Photo" not in everything(opened(whole))


def test_more_names_than_can_be_looked_for(make: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch):
    """Then no text of others goes along at all; counts and states do."""
    monkeypatch.setattr(excerpt, "MOST_NAMES", 0)
    kit = kit_full_of_secrets(make, monkeypatch)
    parts = opened(bundle.bundle(kit.config(), None, clock=kit.clock))
    assert not [secret for secret in SECRETS if secret in everything(parts)]
    assert parts["diary.txt"].startswith(b"(not told)")


def test_the_source_is_only_read(make: Callable[..., Kit]):
    """The catalogue's own file and log are as they were, byte by byte, while a daemon has them open."""
    kit = make()
    kit.bring_in()
    before = {path: path.read_bytes() for path in (kit.tmp / "state").glob("catalogue.db*") if path.suffix != ".db-shm"}
    excerpt.excerpt(kit.parts.storage.catalogue, kit.tmp / "x.db", Veil(), most=10, private=False)
    assert {path: path.read_bytes() for path in before} == before


def test_each_column_is_judged(make: Callable[..., Kit]):
    """Every column of text in the excerpt is worded by ailasd itself, or goes through the veil; none is forgotten."""
    ours = {
        "card": {"first_seen", "last_seen"},
        "visit": {"started", "ended", "outcome", "left_there", "videos"},
        "drive": {"started", "ended"},
        "sequence": {"uid", "asked_at", "upload_set", "completed_at", "web_link"},
        "picture": {
            "md5", "state", "reason", "since", "trace", "verdict", "camera_time", "gps_time", "server_takes",
            "file_time", "captured", "captured_from", "capture_override", "upload_set", "server_id", "web_link",
            "position_from",
        },
        "card_file": {"cleared_at", "missed_at"},
        "event": {"at", "name", "trace", "was"},
        "fact": {"name"},
        "tally": {"state", "reason"},
        "medium": {"state", "since"},
        "traffic": {"day"},
    }  # fmt: skip
    with make().parts.catalogue.writing() as db:
        for table in TABLES:
            columns = {row[1] for row in db.conn.execute(f"PRAGMA table_info({table})") if row[2] == "TEXT"}
            judged = ours[table] | {*TEXTS.get(table, ())} | {*NAMES.get(table, ())} | {*POSITIONS.get(table, ())}
            assert not columns - judged, table


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("could not send G0010001.JPG: no", "could not send (a file): no"),
        ("DCIM/100GOPRO/G0010001.JPG is bad", "(a file) is bad"),
        ("Ma photo (1).jpg is bad", "(a file) is bad"),
        ("a\\nb is bad", "(a file) is bad"),
        ("at -18.91372,47.5236", "at -18,47"),
        ("took 12.5 s of 600.25", "took 12.5 s of 600.25"),
        ("2026-11-21 10:15", "2026-11-21 10:15"),
    ],
)
def test_the_veil(text: str, left: str):
    """Names of files and numbers as exact as positions go; the rest stays as it is."""
    assert Veil([("Ma photo (1).jpg", "(a file)"), ("Ma", "x"), ("a\nb", "(a file)")])(text) == left


def test_the_veil_finds_each_of_many_names():
    """However many names begin alike, each is found as a whole, and none within a word."""
    names = [f"Photo {i} de Noro" for i in range(3000)]
    veil = Veil((name, f"<{i}>") for i, name in enumerate(names))
    assert veil(" ".join(names[:50])) == " ".join(f"<{i}>" for i in range(50))
    assert veil("Photo 1 de Norotra") == "Photo 1 de Norotra"
    assert Curtain()("x") == "(not told)"


def test_a_clock_in_a_thread_of_its_own(make: Callable[..., Kit]):
    """A bundle may be made from any thread beside a running daemon, as a page does."""
    kit, made = make(), []
    config: Config = kit.config()
    thread = threading.Thread(target=lambda: made.append(bundle.bundle(config, None)))
    thread.start()
    thread.join()
    assert re.match(rb"PK", made[0])
