"""What is told, what never is, and that telling stops nothing."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import string
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ailasd import logs
from ailasd.logs import Event, bind, hide, mask, printable, record, say, set_up

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a-token-that-is-no-jwt-4711"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJnZW92aXNpbyJ9.c2lnbmF0dXJl"
NOON = datetime(2026, 3, 4, 15, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=3)))


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logs._hidden.clear()
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def listening(level: str = "debug", **options: Any) -> io.StringIO:
    stream = io.StringIO()
    set_up(level, stream, clock=lambda: NOON, strict=True, **options)
    return stream


def values_for(event: Event) -> dict[str, object]:
    return {field: 7 if field.endswith(("bytes", "_s")) else f"<{field}>" for field in event.fields}


# -- the list ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("event", Event)
def test_each_event_has_a_name_a_level_and_a_sentence_of_plain_fields(event: Event) -> None:
    """An event is called as its member, is as loud as logging knows, and its sentence needs no attribute or format."""
    assert event == event.name.lower() == str(event)
    assert Event.named(event.value) is event
    assert event.level in ("debug", "info", "warning", "error")
    assert event.sentence[0] + event.sentence[-1] == event.sentence[0] + "."
    for _, field, spec, conversion in string.Formatter().parse(event.sentence):
        assert field is None or (field.isidentifier() and not spec and not conversion)
        assert field not in ("at", "level", "event", "trace", "clock_trusted", "exception")


@pytest.mark.parametrize("event", Event)
def test_each_event_is_one_json_line_and_makes_its_sentence_again(event: Event) -> None:
    """A line read back gives the same sentence as the event itself, which is how the timeline is told."""
    stream = listening()
    record(event, **values_for(event))
    (line,) = told(stream)
    assert (line["event"], line["level"], line["at"]) == (event.value, event.level, "2026-03-04T12:00:00.250+00:00")
    name = line.pop("event")
    assert say(Event.named(name), **line) == say(event, **values_for(event))
    assert "?" not in say(event, **values_for(event))


def test_a_sentence_speaks_of_sizes_and_spans_as_people_do() -> None:
    """Bytes, seconds and counts become words; what is missing becomes a question mark."""
    assert say(Event.PICTURE_COPIED, path="100GOPRO/G0010001.JPG", bytes=6_400_000) == (
        "100GOPRO/G0010001.JPG is copied (6.4 MB)."
    )
    assert say(Event.LINK_BACK, away_s=3725.4) == "The server is there again after 1 h 2 min."
    assert say(Event.LINK_LOST, problem="No answer.") == "The server cannot be reached: No answer; sending waits."
    assert say(Event.LINK_BACK) == "The server is there again after ?."


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *[
            ("bytes", 0, "0 bytes"),
            ("bytes", 999, "999 bytes"),
            ("x_bytes", 1000, "1.0 kB"),
            ("bytes", 10**12, "1.0 TB"),
        ],
        *[("bytes", 250_000_000, "250 MB"), ("bytes", 10**16, "10000.0 TB"), ("bytes", None, "?"), ("bytes", "9", "9")],
        *[("a_s", 0, "0 s"), ("a_s", 2.25, "2.25 s"), ("a_s", -3725, "-1 h 2 min"), ("a_s", 59.7, "1 min")],
        *[("a_s", 86_400 * 147, "147 d"), ("a_s", float("nan"), "nan"), ("files", 1_000, "1000"), ("x", True, "True")],
    ],
)
def test_words_for_numbers(name: str, value: object, words: str) -> None:
    """Decimal units for bytes, the two largest units for seconds, everything else as it is."""
    assert logs._word(name, value) == words


def test_an_unknown_event_or_a_missing_field_raises_when_strict() -> None:
    """With strict, as in tests, an event outside the list or without its fields is an error, and is not told."""
    stream = listening()
    with pytest.raises(ValueError, match="made_up"):
        structlog.get_logger().info("made_up")
    with pytest.raises(ValueError, match="card_seen needs folder"):
        record(Event.CARD_SEEN, card="c")
    assert stream.getvalue() == ""


def test_an_unknown_event_is_told_all_the_same_when_not_strict() -> None:
    """In the field a fault in telling must not stop the work."""
    for console in (False, True):
        stream = io.StringIO()
        set_up("info", stream, console=console)
        structlog.get_logger().info("made_up", file="x")
        record(Event.CARD_SEEN, card="c")
        assert "made_up" in stream.getvalue().splitlines()[0]
        assert len(stream.getvalue().splitlines()) == 2


# -- what never gets out ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("console", [False, True])
def test_secrets_and_positions_never_get_out(console: bool) -> None:
    """Neither tokens nor positions are told: by key, in nested values, in texts, in exceptions and their causes."""
    stream = listening(console=console)
    hide(SECRET)
    secrets = {"token": "k1-secret", "jwt_token": "k2-secret", "Authorization": "k3-secret", "password": "k4-secret"}
    places = {"lat": -18.9101, "lon": 47.5202, "gps_latitude": -18.9101, "position": (-18.9101, 47.5202)}
    texts = [f"x{SECRET}y", {"deep": [{"u": f"https://a:b9secret@h/?t={JWT}"}, secrets, places]}, Path(f"/{SECRET}")]
    with bind(trace="t1", **places):
        try:
            try:
                dict[str, str]()[f"Photo(latitude=-18.9101, longitude=47.5202) {JWT}"]
            except KeyError as error:
                raise OSError(f"Authorization: Bearer k5-secret, {SECRET}, {{'lat': -18.9101}}") from error
        except OSError as error:
            record(Event.STEP_FAILED, step="upload", problem=error, exc_info=True, more=texts, **secrets, **places)
    logging.getLogger("httpx").warning("headers %s of %s", secrets, SECRET)
    logging.getLogger("httpx").warning("Authorization: Bearer %s", JWT)
    out = stream.getvalue()
    assert "Traceback" in out
    assert "KeyError" in out
    for part in (SECRET, *JWT.split("."), "b9secret", "18.91", "47.52"):
        assert part not in out
    assert not re.search(r"k[1-5]-secret", out)


def test_counts_of_reasons_are_no_positions() -> None:
    """A reason called no_position, and a path of the token file, are told."""
    stream = listening()
    record(Event.CONFIG_LOADED, path="/etc/ailasd/config.toml", reasons={"no_position": 3}, token_file="/etc/token")
    (line,) = told(stream)
    assert line["reasons"] == {"no_position": 3}
    assert line["token_file"] == "/etc/token"


@given(
    st.recursive(
        st.text() | st.just(JWT) | st.floats() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_is_one_valid_json_line_without_the_token(value: object) -> None:
    """Whatever is told, out comes one line of strict JSON, and the token is not in it."""
    stream = listening()
    record(Event.DAEMON_STOPPING, reason=value)
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text, parse_constant=pytest.fail)  # NaN is no JSON
    assert line["event"] == "daemon_stopping"
    assert JWT not in text
    assert text.isascii()


def test_values_that_cannot_be_shown_stop_nothing() -> None:
    """A value that contains itself, and one whose text raises, are told as such."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    loop: list[object] = []
    loop.append(loop)
    stream = listening()
    record(Event.DAEMON_STOPPING, reason=loop, other=Broken())
    assert told(stream)[0]["other"] == "<Broken that cannot be shown: RuntimeError>"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic dXNlcjpodW50ZXIy",
        "{'authorization': 'Basic dXNlcjpodW50ZXIy'}",
        "Cookie: session=dXNlcjpodW50ZXIy",
        "https://p.example/?api_key=dXNlcjpodW50ZXIy",
        "passwd: dXNlcjpodW50ZXIy",
    ],
)
def test_a_secret_in_a_sentence_is_known_by_its_name(text: str) -> None:
    """As in the keys of a record."""
    assert "dXNlc" not in mask(text)


def test_an_error_page_does_not_fill_the_journal() -> None:
    """A text of a megabyte is cut in its middle, and a token at the cut is masked before."""
    text = mask("a" * (logs.LONGEST_TEXT // 2 - 10) + JWT + " b" * 10**6)
    assert len(text) < logs.LONGEST_TEXT + 10
    assert "eyJ" not in text


# -- how it is told ---------------------------------------------------------------------------------------------------
def test_names_from_a_card_cannot_play_with_a_terminal() -> None:
    """Newlines, escapes, direction marks and broken UTF-8 in a file's name are written out on the console."""
    stream = listening(console=True)
    evil = "a\x1b[2J\n12:00:00 ailasd stops\u202e\x9b" + os.fsdecode(b"\xff")
    record(Event.PICTURE_KNOWN, path=evil)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().removesuffix("\n").isprintable()
    assert printable("Fianarantsoa é 1.JPG") == "Fianarantsoa é 1.JPG"


def test_the_console_tells_sentences_and_how_bad_they_are() -> None:
    """On a terminal a line is the local time and the sentence; warnings and errors say so; tracebacks are indented."""
    stream = listening(console=True)
    record(Event.LINK_BACK, away_s=61)
    record(Event.READ_ERROR, path="G1.JPG", problem="I/O error.")

    def fail() -> None:
        raise OSError("no\x1b[2J")

    try:
        fail()
    except OSError as error:
        record(Event.STEP_FAILED, step="upload", problem=error, exc_info=True)
    first, second, third, *rest = stream.getvalue().splitlines()
    clock = NOON.astimezone().strftime("%H:%M:%S")
    assert first == f"{clock} The server is there again after 1 min 1 s."
    assert second == f"{clock} WARNING: G1.JPG cannot be read: I/O error; the rest goes on."
    assert third.startswith(f"{clock} ERROR: The step upload failed; this is a fault of ailasd: no")
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_a_line_says_whether_its_time_can_be_believed() -> None:
    """With a judge of the clock each line has clock_trusted, asked at that moment; no value can overwrite the head."""
    answers = iter([False, True])
    stream = listening(clock_trusted=lambda: next(answers))
    record(Event.LINK_BACK, away_s=1, at="yesterday", level="loud")
    record(Event.LINK_BACK, away_s=1)
    assert [line["clock_trusted"] for line in told(stream)] == [False, True]
    assert list(told(stream)[0])[:4] == ["at", "clock_trusted", "level", "event"]
    assert told(stream)[0]["at"].startswith("2026-03-04T12")
    assert told(stream)[0]["level"] == "info"


def test_one_trace_goes_with_all_that_is_told_inside() -> None:
    """What is bound is in each line of the block, nested blocks add to it, and it ends with the block."""
    stream = listening()
    with bind(trace="t1", card="c"):
        record(Event.CARD_SEEN, folder="/media")
        with bind(drive=3):
            record(Event.CARD_REMOVED)
    record(Event.LINK_BACK, away_s=1)
    first, second, third = told(stream)
    assert (first["trace"], second["trace"], second["drive"]) == ("t1", "t1", 3)
    assert "trace" not in third
    assert "drive" not in first


def test_threads_do_not_share_what_is_bound_nor_mix_their_lines() -> None:
    """Eight threads tell at once: one writes at a time, and each line carries its own thread's trace only."""

    class OneAtATime(io.StringIO):
        busy = False
        disturbed = False

        def write(self, text: str) -> int:
            self.disturbed |= self.busy
            self.busy = True
            time.sleep(0)  # lets another thread in
            written = super().write(text)
            self.busy = False
            return written

    stream = OneAtATime()
    set_up("debug", stream)

    def tell(number: int) -> None:
        with bind(trace=number):
            for _ in range(50):
                record(Event.PICTURE_KNOWN, path=f"{number}", own=number)

    with bind(outer=True):
        threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = told(stream)
    assert not stream.disturbed
    assert len(lines) == 400
    assert all(line["trace"] == line["own"] and "outer" not in line for line in lines)


def test_the_level_decides_what_is_told() -> None:
    """At info single pictures are not told; at error only what needs a person is."""
    for level, names in [("info", ["link_back", "login_needed"]), ("error", ["login_needed"])]:
        stream = listening(level)
        record(Event.PICTURE_KNOWN, path="x")
        record(Event.LINK_BACK, away_s=1)
        record(Event.LOGIN_NEEDED, problem="401")
        assert [line["event"] for line in told(stream)] == names


def test_libraries_are_heard_from_warning_on_and_once() -> None:
    """Warnings of libraries come as library_message, chatter does not, and setting up twice doubles nothing."""
    listening()
    stream = listening()
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if isinstance(handler, logs._FromLibraries)]  # not pytest's
    logging.getLogger("httpx").info("GET ...")
    logging.getLogger("apscheduler.scheduler").warning("Run time of job %s was missed", "upload")
    logging.getLogger("httpx").error("%d", "no number")
    first, second = told(stream)
    assert (first["event"], first["library"], first["level"]) == ("library_message", "apscheduler.scheduler", "warning")
    assert first["text"] == "Run time of job upload was missed"
    assert (second["text"], second["level"]) == ("%d", "error")


def test_a_stream_that_breaks_stops_nothing() -> None:
    """A pipe that nobody reads any more, and a closed file, cost the lines and raise nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    pipe = os.fdopen(writing, "w", buffering=1)
    set_up("info", pipe)
    record(Event.LINK_BACK, away_s=1)
    with pytest.raises(BrokenPipeError):
        pipe.close()
    record(Event.LINK_BACK, away_s=1)


def test_before_it_is_set_up_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As a library, ailasd writes nothing of its own accord."""
    structlog.reset_defaults()
    record(Event.LINK_BACK, away_s=1)
    assert capsys.readouterr() == ("", "")


def test_it_works_without_rich() -> None:
    """Where rich is not installed (it is no dependency) everything is told, tracebacks too."""
    code = """
import sys; sys.modules["rich"] = None
from ailasd.logs import Event, record, set_up
for console in (True, False):
    set_up("info", sys.stdout, console=console)
    try: 1 / 0
    except ZeroDivisionError as error: record(Event.STEP_FAILED, step="s", problem=error, exc_info=True)
"""
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert out.stdout.count("ZeroDivisionError") == 2
    assert out.stderr == ""


def test_local_time_does_not_change_what_is_stored() -> None:
    """The time of a line is UTC whatever zone the clock speaks in."""
    stream = listening()
    record(Event.LINK_BACK, away_s=1)
    assert datetime.fromisoformat(told(stream)[0]["at"]) == NOON.astimezone(UTC)
