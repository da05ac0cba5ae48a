"""The schema, as numbered steps. A step that was released is never edited: the next change is a new step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlite_utils import Migrations

from ailasd.errors import CatalogueError

if TYPE_CHECKING:
    from sqlite_utils import Database

steps: Final = Migrations("ailasd")

TABLES = """
-- A card, or a folder that looks like one.
CREATE TABLE card (
    id              INTEGER PRIMARY KEY,
    identity        TEXT NOT NULL UNIQUE,
    label           TEXT NOT NULL,
    camera_serial   TEXT,                   -- of the camera that formatted it
    camera_model    TEXT,
    first_seen      TEXT NOT NULL,
    last_seen       TEXT NOT NULL,
    cleaning_stopped TEXT                   -- why nothing is deleted from it until a human says so
) STRICT;

-- One pass over a card. on_card = copied + known + left, once it has ended.
CREATE TABLE visit (
    id              INTEGER PRIMARY KEY,
    card            INTEGER NOT NULL REFERENCES card,
    started         TEXT NOT NULL,
    ended           TEXT,
    outcome         TEXT,                   -- NULL while it runs; "whole", or why it ended early
    on_card         INTEGER NOT NULL DEFAULT 0,
    copied          INTEGER NOT NULL DEFAULT 0,
    known           INTEGER NOT NULL DEFAULT 0,
    left_there      TEXT NOT NULL DEFAULT '{}',  -- JSON: reason -> files
    bytes_copied    INTEGER NOT NULL DEFAULT 0,
    bytes_known     INTEGER NOT NULL DEFAULT 0,
    CHECK (json_valid(left_there))
) STRICT;

-- A drive: one journey with one camera, across folders and cards.
CREATE TABLE drive (
    id              INTEGER PRIMARY KEY,
    camera          TEXT NOT NULL,
    recording       TEXT,                   -- the camera's number of the recording, if it has one
    started         TEXT,                   -- first and last capture time (UTC, corrected)
    ended           TEXT,
    clock           TEXT                    -- what the capture-time guard found, one sentence
) STRICT;

-- A sequence: a drive, or a bounded part of one, as the server gets it. One upload set each.
CREATE TABLE sequence (
    id              INTEGER PRIMARY KEY,
    uid             TEXT NOT NULL UNIQUE,   -- our own id, in the set's metadata: finds a set whose answer was lost
    drive           INTEGER NOT NULL REFERENCES drive,
    card            INTEGER REFERENCES card,
    part            INTEGER NOT NULL,
    title           TEXT NOT NULL,
    asked_at        TEXT,                   -- its creation was asked for: from here on, look for it before asking again
    upload_set      TEXT UNIQUE,
    completed_at    TEXT,
    web_link        TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL,                   -- seconds since 1970; NULL: now
    last_error      TEXT,
    UNIQUE (drive, part)
) STRICT;

-- A picture: its identity is its content.
CREATE TABLE picture (
    id              INTEGER PRIMARY KEY,
    md5             TEXT NOT NULL UNIQUE,
    size            INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN
                    ('copied', 'held', 'queued', 'sent', 'confirmed', 'refused', 'cleaned')),
    reason          TEXT,                   -- why held or refused, one stable word
    why             TEXT,                   -- the same for people: one sentence
    since           TEXT NOT NULL,          -- of the last move
    clock_trusted   INTEGER NOT NULL,       -- whether our clock could be believed then
    trace           TEXT NOT NULL,          -- correlation id: from the card to the requests
    copy            TEXT,                   -- our copy, relative to the storage folder; NULL: none any more
    proven          INTEGER NOT NULL,       -- 1: read back from the device, not from memory
    name            TEXT NOT NULL,          -- on the card; a hint for people only
    -- what it says about itself
    verdict         TEXT NOT NULL,
    camera          TEXT NOT NULL,
    make            TEXT,
    model           TEXT,
    serial          TEXT,
    recording       TEXT,
    counter         INTEGER,
    camera_time     TEXT,                   -- as the camera's clock had it; with an offset only if it was written
    gps_time        TEXT,
    server_takes    TEXT,                   -- which of the two the server would store
    file_time       TEXT NOT NULL,          -- of the file on the card
    latitude        REAL,
    longitude       REAL,
    altitude        REAL,
    heading         REAL,
    width           INTEGER,
    height          INTEGER,
    upside_down     INTEGER NOT NULL DEFAULT 0,
    -- what we judged
    drive           INTEGER REFERENCES drive,
    sequence        INTEGER REFERENCES sequence,
    captured        TEXT,                   -- UTC, the best truth
    captured_from   TEXT,                   -- gps, camera, corrected
    capture_override TEXT,                  -- sent along when the server would store a wrong time
    position_override TEXT,                 -- "latitude longitude", interpolated
    rank            INTEGER NOT NULL DEFAULT 0,  -- lowest is sent first
    -- how sending goes
    asked           INTEGER NOT NULL DEFAULT 0,  -- 1: sent before without an answer we could keep; look first
    attempts        INTEGER NOT NULL DEFAULT 0,
    faults          INTEGER NOT NULL DEFAULT 0,  -- attempts that our server itself answered with an error
    next_attempt_at REAL,
    last_error      TEXT,
    renames         INTEGER NOT NULL DEFAULT 0,  -- times its name or id was taken in the set
    losses          INTEGER NOT NULL DEFAULT 0,  -- times the server no longer had it
    repairs         INTEGER NOT NULL DEFAULT 0,
    upload_set      TEXT,                   -- where its proof lies: ours, or the one that had it before us
    server_id       TEXT,
    web_link        TEXT
) STRICT;

-- A picture file seen on a card. Known without reading it: (card, path, size, mtime).
CREATE TABLE card_file (
    id              INTEGER PRIMARY KEY,
    card            INTEGER NOT NULL REFERENCES card,
    path            TEXT NOT NULL,
    size            INTEGER NOT NULL,
    mtime_ns        INTEGER NOT NULL,
    picture         INTEGER REFERENCES picture,  -- NULL: never copied yet
    problem         TEXT,                   -- why not
    seen            INTEGER NOT NULL REFERENCES visit,  -- the visit that first saw it
    cleared_at      TEXT,                   -- when cleaning deleted it there
    UNIQUE (card, path, size, mtime_ns)
) STRICT;

-- What happened, for people: `ailasd log`, `ailasd why`. Moves of pictures are written by a trigger.
CREATE TABLE event (
    id              INTEGER PRIMARY KEY,
    at              TEXT NOT NULL,
    clock_trusted   INTEGER NOT NULL,
    name            TEXT NOT NULL,
    trace           TEXT,
    card            INTEGER,
    drive           INTEGER,
    picture         INTEGER,
    was             TEXT,                   -- of a picture's move; NULL: something else happened
    detail          TEXT NOT NULL DEFAULT '{}',
    CHECK (json_valid(detail))
) STRICT;

-- Few single facts: whose account this is, why cleaning stopped.
CREATE TABLE fact (
    name            TEXT PRIMARY KEY,
    value           TEXT NOT NULL
) STRICT;

-- Pictures and bytes by state, kept by triggers: status must not count a million rows.
CREATE TABLE tally (
    state           TEXT NOT NULL,
    reason          TEXT NOT NULL,
    pictures        INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    PRIMARY KEY (state, reason)
) STRICT, WITHOUT ROWID;
"""

INDEXES = """
CREATE INDEX picture_fresh       ON picture (rank, id) WHERE state = 'queued' AND next_attempt_at IS NULL;
CREATE INDEX picture_again       ON picture (next_attempt_at) WHERE state = 'queued' AND next_attempt_at IS NOT NULL;
CREATE INDEX picture_unsorted    ON picture (camera) WHERE state = 'copied';
CREATE INDEX picture_sent        ON picture (upload_set) WHERE state = 'sent';
CREATE INDEX picture_copy_lost   ON picture (id) WHERE reason = 'copy_lost';
CREATE INDEX picture_in_sequence ON picture (sequence, state);
CREATE INDEX picture_in_drive    ON picture (drive, state, upside_down);  -- status counts a drive from it alone
CREATE INDEX picture_by_name     ON picture (name);
CREATE INDEX picture_confirmed   ON picture (since) WHERE state = 'confirmed';
CREATE INDEX drive_by_camera     ON drive (camera, started);
CREATE INDEX card_file_picture   ON card_file (picture);
CREATE INDEX card_file_cleared   ON card_file (card) WHERE cleared_at IS NOT NULL;
CREATE INDEX visit_by_card       ON visit (card);
CREATE INDEX event_by_picture    ON event (picture) WHERE picture IS NOT NULL;
CREATE INDEX event_by_card       ON event (card) WHERE card IS NOT NULL;
CREATE INDEX event_by_drive      ON event (drive) WHERE drive IS NOT NULL;
CREATE INDEX event_by_time       ON event (at);
"""

TRIGGERS = """
CREATE TRIGGER picture_comes AFTER INSERT ON picture BEGIN
    INSERT INTO event (at, clock_trusted, name, trace, picture, was, detail)
        VALUES (NEW.since, NEW.clock_trusted, 'picture_' || NEW.state, NEW.trace, NEW.id, 'found',
                json_object('name', NEW.name, 'reason', NEW.reason, 'why', NEW.why));
    INSERT INTO tally VALUES (NEW.state, coalesce(NEW.reason, ''), 1, NEW.size)
        ON CONFLICT DO UPDATE SET pictures = pictures + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER picture_moves AFTER UPDATE OF state, reason ON picture
WHEN OLD.state IS NOT NEW.state OR OLD.reason IS NOT NEW.reason BEGIN
    INSERT INTO event (at, clock_trusted, name, trace, drive, picture, was, detail)
        VALUES (NEW.since, NEW.clock_trusted, 'picture_' || NEW.state, NEW.trace, NEW.drive, NEW.id, OLD.state,
                json_object('name', NEW.name, 'reason', NEW.reason, 'why', NEW.why));
    UPDATE tally SET pictures = pictures - 1, bytes = bytes - OLD.size
        WHERE state = OLD.state AND reason = coalesce(OLD.reason, '');
    INSERT INTO tally VALUES (NEW.state, coalesce(NEW.reason, ''), 1, NEW.size)
        ON CONFLICT DO UPDATE SET pictures = pictures + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER picture_stays BEFORE DELETE ON picture BEGIN
    SELECT RAISE(ABORT, 'a picture is never forgotten: its row says what became of it');
END;
"""

VIEWS = """
-- For people and datasette: one row a picture, in words.
CREATE VIEW pictures AS
SELECT picture.id, picture.name, picture.state, picture.reason, picture.why, picture.captured, picture.captured_from,
       picture.camera, picture.model, picture.latitude, picture.longitude, picture.upside_down,
       picture.drive, sequence.title AS sequence, picture.size, picture.md5, picture.copy, picture.since,
       picture.attempts, picture.last_error, picture.web_link
FROM picture LEFT JOIN sequence ON sequence.id = picture.sequence;

CREATE VIEW drives AS
SELECT drive.id, drive.camera, drive.recording, drive.started, drive.ended, drive.clock,
       count(picture.id) AS pictures,
       sum(picture.state = 'held') AS held,
       sum(picture.state = 'queued') AS queued,
       sum(picture.state = 'sent') AS sent,
       sum(picture.state = 'confirmed') AS confirmed,
       sum(picture.state = 'cleaned') AS cleaned,
       sum(picture.state = 'refused') AS refused,
       max(picture.upside_down) AS upside_down,
       (SELECT group_concat(web_link, ' ') FROM sequence WHERE sequence.drive = drive.id) AS web_links
FROM drive LEFT JOIN picture ON picture.drive = drive.id
GROUP BY drive.id;

CREATE VIEW cards AS
SELECT card.id, card.label, card.camera_model, card.camera_serial, card.first_seen, card.last_seen,
       card.cleaning_stopped,
       (SELECT count(*) FROM visit WHERE visit.card = card.id) AS visits,
       last.on_card, last.copied, last.known, last.left_there, last.outcome
FROM card LEFT JOIN visit AS last ON last.id = (SELECT max(id) FROM visit WHERE visit.card = card.id);

CREATE VIEW history AS
SELECT event.id, event.at, event.clock_trusted, event.name AS what, event.was,
       json_extract(event.detail, '$.why') AS why,
       coalesce(picture.name, json_extract(event.detail, '$.name')) AS picture, card.label AS card,
       event.drive, event.trace, event.detail
FROM event LEFT JOIN picture ON picture.id = event.picture LEFT JOIN card ON card.id = event.card;
"""


@steps()
def m0001_whole_path(db: Database) -> None:
    """Cards, visits, pictures, drives, sequences, events."""
    db.executescript(TABLES + INDEXES + TRIGGERS + VIEWS)


TRACKS = """
-- A GPX file that came in: kept once, by its content.
CREATE TABLE track (
    id              INTEGER PRIMARY KEY,
    md5             TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,          -- of the file; a hint for people only
    source          TEXT NOT NULL,          -- the card or folder it lay on
    found_at        TEXT NOT NULL,
    problem         TEXT,                   -- why it cannot be read; NULL: it could
    points          INTEGER NOT NULL,
    began           TEXT,
    ended           TEXT,
    offered         TEXT                    -- the settings under which pictures without position were judged with it
) STRICT;

CREATE TABLE track_point (
    at              REAL NOT NULL,          -- seconds since 1970 UTC
    track           INTEGER NOT NULL REFERENCES track,
    segment         INTEGER NOT NULL,       -- positions are never filled in across two
    latitude        REAL NOT NULL,
    longitude       REAL NOT NULL,
    elevation       REAL,
    PRIMARY KEY (at, track, segment)
) STRICT, WITHOUT ROWID;

-- How position_override was found: "interpolated" between the camera's own, or "gpx", from a track.
ALTER TABLE picture ADD COLUMN position_from TEXT;
UPDATE picture SET position_from = 'interpolated' WHERE position_override IS NOT NULL;

CREATE INDEX picture_no_position ON picture (captured) WHERE state = 'held' AND reason = 'no_position';
"""


@steps()
def m0002_tracks(db: Database) -> None:
    """GPX tracks, and pictures that got their position from one."""
    db.executescript(TRACKS)


MEDIA = """
-- What is plugged in while a daemon runs; empty otherwise.
CREATE TABLE medium (
    key             TEXT PRIMARY KEY,       -- this stay of it: plugged in again it is another one
    label           TEXT NOT NULL,
    state           TEXT NOT NULL,
    problem         TEXT,
    card            INTEGER REFERENCES card,
    since           TEXT NOT NULL
) STRICT;
"""


@steps()
def m0003_media(db: Database) -> None:
    """What is plugged in."""
    db.executescript(MEDIA)


TRAFFIC = """
-- What went to the server, for budgets and for people.
CREATE TABLE traffic (
    day             TEXT PRIMARY KEY,       -- local date
    sent            INTEGER NOT NULL,       -- bytes given to the network, or about to be
    useful          INTEGER NOT NULL        -- bytes of pictures that the server acknowledged
) STRICT, WITHOUT ROWID;
"""

ORDER = """
-- Which picture is sent first (see ordering): what a person said of the drive, 0 first, 1 normal, 2 last; 1: not of the
-- thin pass. What was queued before is ranked anew when sorting runs next.
ALTER TABLE drive ADD COLUMN preference INTEGER NOT NULL DEFAULT 1;
ALTER TABLE picture ADD COLUMN fill INTEGER NOT NULL DEFAULT 0;

-- A set is published early, and again when it is full (see confirming): how many pictures it held when that was last
-- asked for; and as many once all of those were seen in the server's sequence.
ALTER TABLE sequence ADD COLUMN to_publish INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sequence ADD COLUMN published INTEGER NOT NULL DEFAULT 0;

-- What the server said, when this catalogue was new, that it has of this kit (see recollecting). A catalogue that knows
-- of any upload is not new.
CREATE TABLE remembered (
    md5             TEXT PRIMARY KEY,
    size            INTEGER NOT NULL,
    upload_set      TEXT NOT NULL,
    server_id       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO fact SELECT 'remembered', 'nothing was lost' WHERE EXISTS
    (SELECT 1 FROM sequence WHERE asked_at IS NOT NULL);

CREATE INDEX picture_oldest_drive ON picture (drive, rank, id) WHERE state = 'queued' AND next_attempt_at IS NULL;
CREATE INDEX picture_unsent       ON picture (sequence, fill, attempts) WHERE state = 'queued';
"""


@steps()
def m0004_traffic(db: Database) -> None:
    """Bytes sent on each day."""
    db.executescript(TRAFFIC)


@steps()
def m0005_order(db: Database) -> None:
    """Thin first, what a person prefers, sets that are published more than once; what a lost catalogue knew."""
    db.executescript(ORDER)


PROGRESS = """
-- Of a pass that runs: seconds to its end at the pace so far; NULL: not known, or it has ended.
ALTER TABLE visit ADD COLUMN left_s REAL;

-- JSON: when the videos on the card were written, seconds since 1970 as the card tells it.
ALTER TABLE visit ADD COLUMN videos TEXT NOT NULL DEFAULT '[]';

DROP VIEW cards;
CREATE VIEW cards AS
SELECT card.id, card.label, card.camera_model, card.camera_serial, card.first_seen, card.last_seen,
       card.cleaning_stopped,
       (SELECT count(*) FROM visit WHERE visit.card = card.id) AS visits,
       last.on_card, last.copied, last.known, last.left_there, last.left_s, last.outcome
FROM card LEFT JOIN visit AS last ON last.id = (SELECT max(id) FROM visit WHERE visit.card = card.id);
"""


@steps()
def m0006_progress(db: Database) -> None:
    """How far a pass over a card is, and the videos on it."""
    db.executescript(PROGRESS)


MISSED = """
-- Since when it is missed: gone from its card, not by us, and nothing is deleted from that card until a human says so.
ALTER TABLE card_file ADD COLUMN missed_at TEXT;
"""


@steps()
def m0007_missed(db: Database) -> None:
    """Which files a card misses, for the person who says that it is fine."""
    db.executescript(MISSED)


def migrate(db: Database) -> None:
    """Bring ``db`` up to date.

    Raises:
        CatalogueError: the file was written by a newer ailasd.
    """
    refuse_newer(db)
    if steps.pending(db):
        steps.apply(db)


def refuse_newer(db: Database) -> None:
    """Only read.

    Raises:
        CatalogueError: the file was written by a newer ailasd.
    """
    ours = {step.name for step in steps._migrations}  # noqa: SLF001  (the library has no public list of all steps)
    newer = [step.name for step in steps.applied(db) if step.name not in ours]
    if newer:
        raise CatalogueError(
            f"the catalogue was written by a newer ailasd (it has {newer[0]}): install that version again, "
            "or restore the catalogue's backup of before the upgrade"
        )


def refuse_another(db: Database) -> None:
    """Only read, for one who may not migrate.

    Raises:
        CatalogueError: the file was written by a newer ailasd, or by an older one.
    """
    refuse_newer(db)
    if steps.pending(db):
        raise CatalogueError("the catalogue was written by an older ailasd: it is brought up to date by `ailasd run`")
