"""The configuration: what a file means, and what is said of each fault in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ailasd.config import Config, load, parse, warnings
from ailasd.config.tables import Table
from ailasd.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJnZW92aXNpbyJ9.c2lnbmF0dXJl"


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "here.toml")
    return str(caught.value).splitlines()[1:]


def outcome(text: str) -> str:
    """Nothing if it is a configuration, else the text of the ConfigError; any other error passes through."""
    try:
        parse(text, "any")
    except ConfigError as error:
        return str(error)
    return ""


def flat(table: dict[str, Any], path: str = "") -> set[str]:
    return {
        name
        for key, value in table.items()
        for name in (flat(value, f"{path}{key}.") if value and isinstance(value, dict) else {f"{path}{key}"})
    }


def keys(table: type[Table], path: str = "") -> set[str]:
    names = set()
    for key, field in table.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            names |= keys(field.annotation, f"{path}{key}.")
        else:
            names.add(f"{path}{key}")
    return names


# -- the example ------------------------------------------------------------------------------------------------------
def test_the_example_is_the_defaults() -> None:
    """config.example.toml loads without a fault and means exactly what an empty file means."""
    assert load(EXAMPLE) == Config() == parse("", "empty")


def test_the_example_names_every_key_and_no_other() -> None:
    """Each key of the code is in the example, and each key of the example is in the code."""
    written = flat(tomllib.loads(EXAMPLE.read_text()))
    assert {name.replace("semantics.transport", "semantics") for name in written} == keys(Config)


def test_each_key_of_the_example_has_its_line_of_why() -> None:
    """Right above each key of the example stands one comment of its own."""
    lines = EXAMPLE.read_text().splitlines()
    set_at = [number for number, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert len(set_at) == len(flat(tomllib.loads(EXAMPLE.read_text())))
    for number in set_at:
        assert lines[number - 1].startswith("# "), lines[number]
        assert not lines[number - 2].startswith("# "), lines[number]


# -- faults -----------------------------------------------------------------------------------------------------------
def test_seven_faults_are_all_named_with_their_paths() -> None:
    """A configuration with seven faults names all seven at once, each with the path of its key."""
    found = faults("""
        kit = "kit 7"
        [storage]
        folder = "ailasd"
        reserve = "2 gigs"
        [upload]
        connections = 40
        conections = 2
        [server]
        url = "panoramax.example.org"
        [sources]
        every = 60
    """)
    assert sorted(line.split(":")[0] for line in found) == [
        "kit",
        "server.url",
        "sources.every",
        "storage.folder",
        "storage.reserve",
        "upload.conections",
        "upload.connections",
    ]
    assert "upload.connections: must be between 1 and 8, not 40" in found
    assert "upload.conections: is not a key that ailasd knows; did you mean connections?" in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kitt = 'a'", "kitt: is not a key that ailasd knows; did you mean kit?"),
        ("reserve = '1GB'", "reserve: is not a key that ailasd knows; did you mean storage.reserve?"),
        ("[sever]\nurl = ''", "sever: is not a key that ailasd knows; did you mean server?"),
        ("storage = 5", "storage: must be a table, not 5"),
        ("[upload]\nconnections = true", "upload.connections: must be a whole number, not true"),
        ("[upload]\nconnections = '2'", "upload.connections: must be a whole number, not '2'"),
        (
            '[light]\nled = "ACT"\n[sound]\nbuzzer = "ACT"',
            "sound: buzzer must not be light.led: one thing cannot be both",
        ),
        (
            "[light]\nled = '../evil'",
            "light.led: must be the name of a light in /sys/class/leds, such as \"ACT\", not '../evil'",
        ),
        ("[sound]\ndevice = '-x'", 'sound.device: must be a device of ALSA, such as "default" or "hw:1", not \'-x\''),
        ("language = 'de'", "language: must be 'fr', 'mg' or 'en', not 'de'"),
        ("[upload]\nmost_attempts = 0", "upload.most_attempts: must be between 1 and 1000, not 0"),
        ("[drives]\nmost_pictures = 1", "drives.most_pictures: must be between 2 and 5000, not 1"),
        ("[triage]\nfastest_kmh = nan", "triage.fastest_kmh: must be between 20 and 1000, not nan"),
        ("[server]\nplain_http = 1", "server.plain_http: must be true or false, not 1"),
        ("[sources]\nfolders = '/a'", "sources.folders: must be a list such as [\"/media/card\"], not '/a'"),
        ("[sources]\nfolders = ['/a', 3]", "sources.folders[1]: must be a path in quotes, not 3"),
        ("[sources]\nfolders = ['~/a']", "sources.folders[0]: must be an absolute path (beginning with /), not '~/a'"),
        ("[cleaning]\ncard = true", "cleaning.card: must be 'off', 'copied' or 'confirmed', not true"),
        ("[drives.semantics]\na = 4", "drives.semantics.a: must be a text in quotes, not 4"),
        ("drives.semantics = 4", "drives.semantics: must be a table, not 4"),
        (
            "[storage]\nreserve = 'off'",
            'storage.reserve: must be a size such as "2GB" or "512MiB", not \'off\'',
        ),
        (
            "[triage]\nfill_gap = '5m'",
            'triage.fill_gap: must be a duration such as "30s", "2min", "1h" or "30d", or "off", not \'5m\'',
        ),
        ("[upload]\nprobe_every = '0s'", "upload.probe_every: must be between 1s and 1d, not '0s'"),
        ("[upload]\nrates = '200kB/s'", "upload.rates: must be a table, not '200kB/s'"),
        (
            "[upload]\nrates = { '7-19' = '1kB/s' }",
            'upload.rates.7-19: must be hours such as "07:00-19:00" or "22:00-06:00"',
        ),
        (
            "[upload]\nrates = { '07:00-19:00' = '1Mbit' }",
            'upload.rates.\'07:00-19:00\': must be a rate such as "200kB/s" or "2Mbit/s", or "off", not \'1Mbit\'',
        ),
        (
            "[upload]\nrates = { '07:00-19:00' = '1B/s' }",
            "upload.rates.'07:00-19:00': must be between 1kB/s and 1GB/s, or \"off\", not '1B/s'",
        ),
        (
            "[upload]\nrates = { '07:00-19:00' = 'off', '18:00-20:00' = '1kB/s' }",
            'upload.rates: "18:00-20:00" overlaps "07:00-19:00": which of them would hold?',
        ),
        ("[upload]\nper_day = '5MB'", "upload.per_day: must be between 20MB and 10TB, or \"off\", not '5MB'"),
        (
            "[upload]\nmetered_interfaces = ['/']",
            'upload.metered_interfaces[0]: must name an interface, such as "wwan0" or "wwan*", not \'/\'',
        ),
        (
            "[drives]\ntitle = '{name}'",
            "drives.title: may have only the fields {kit}, {date}, {time}, {camera}, written just so, not '{name}'",
        ),
        (
            "timezone = 'Asia/Omk'",
            "timezone: must be an IANA time zone such as Indian/Antananarivo, not 'Asia/Omk'; did you mean Asia/Omsk?",
        ),
    ],
)
def test_a_fault_says_what_would_be_right(text: str, fault: str) -> None:
    """Each kind of fault has one sentence: the path, what it must be, what it is."""
    assert faults(text) == [fault]


@pytest.mark.parametrize("zone", ["", "Africa", "../x", "/etc/localtime", "a\\u0000", "x" * 300])
def test_a_time_zone_is_checked_and_never_a_way_into_the_file_system(zone: str) -> None:
    """What is no zone is a fault, whatever the lookup of zone files does with it."""
    assert faults(f'timezone = "{zone}"')[0].startswith("timezone: must be an IANA time zone")


@pytest.mark.parametrize("title", ["{", "}", "{{kit}}", "{0}", "{}", "{kit!r}", "{kit:>9}", "{kit.x}", " ", "a\\nb"])
def test_a_title_has_only_plain_known_fields(title: str) -> None:
    """A title that could fail, or reach into objects, when it is filled in is refused before."""
    assert faults(f'[drives]\ntitle = "{title}"')[0].startswith("drives.title: m")


def test_visibility_cannot_be_set_anywhere() -> None:
    """Somebody who writes visibility, wherever it is, learns that all is logged-only."""
    found = faults(
        "visibility = 'anyone'\n[upload]\nVisibility = 'x'\n[drives.semantics]\nvisibility = 'x'\n[a.b]\nvisibility=1"
    )
    told = {
        line.split(":")[0] for line in found if line.endswith("cannot be set: all that is sent is logged-only, always")
    }
    assert told == {"visibility", "upload.Visibility", "drives.semantics.visibility", "a.b.visibility"}
    assert "visibility" not in " ".join(keys(Config))


@pytest.mark.parametrize("key", ["url", "token_file", "ca_file", "plain_http", "token", "tokn_file"])
def test_a_token_in_the_wrong_place_is_not_shown(key: str) -> None:
    """The token pasted as the value of any key of [server] never appears in a fault."""
    (fault,) = faults(f'[server]\n{key} = "{JWT}"')
    assert not any(part in fault for part in JWT.split("."))


def test_a_login_in_the_address_is_not_shown() -> None:
    """An address with a password is refused without telling the password."""
    (fault,) = faults("[server]\nurl = 'https://rabe:hunter2@panoramax.example.org'")
    assert "hunter2" not in fault


def test_our_own_copies_cannot_be_a_source() -> None:
    """A source that holds storage.folder, or lies in it, would import our own copies: a fault."""
    for folder in ("/srv/ailasd/originals", "/srv/ailasd", "/srv", "/"):
        (fault,) = faults(f"[storage]\nfolder = '/srv/ailasd'\n[sources]\nfolders = ['/media', '{folder}']")
        assert "overlaps storage.folder" in fault


# -- values -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("90 s", 90), ("2min", 120), ("1.5h", 5400), ("1d", 86_400), ("24h", 86_400)]
)
def test_durations_are_texts_with_a_unit(text: str, seconds: float) -> None:
    """A number with s, min, h or d is that long."""
    assert parse(f"[drives]\ngap = '{text}'", "").drives.gap == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["5", "5m", "5 weeks", "-5s", "1e3s", "\u0665s", "5s5s", "", " ", "9" * 400 + "d"])
def test_what_is_no_duration_is_a_fault(text: str) -> None:
    """Anything that is not one plain number with a known unit is refused, not guessed."""
    assert faults(f"[drives]\ngap = '{text}'")[0].startswith("drives.gap: must be ")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("'2GB'", 2 * 10**9),
        ("'512MiB'", 512 << 20),
        ("'1.5 TB'", 1_500_000_000_000),
        ("'20000kB'", 20_000_000),
        ("10000000", 10**7),
    ],
)
def test_sizes_are_decimal_unless_they_say_otherwise(text: str, size: int) -> None:
    """GB is 10^9 bytes as on a card's label, GiB is 2^30, and a bare number is bytes."""
    assert parse(f"[storage]\nreserve = {text}", "").storage.reserve == size


def test_off_is_none() -> None:
    """The text "off" becomes None where it is allowed, and a value there becomes a value."""
    config = parse("[cleaning]\nlocal_after = '30d'\nlocal_below = 'off'\n[triage]\nfill_gap = '20s'", "")
    assert config.cleaning.local_after == timedelta(days=30)
    assert config.cleaning.local_below is None
    assert config.triage.fill_gap == timedelta(seconds=20)


def test_transport_stays_unless_overridden() -> None:
    """Free tags are added to transport=car; only naming transport changes it."""
    assert parse("[drives.semantics]\n'ailas|campaign' = '2026'", "").drives.semantics == {
        "transport": "car",
        "ailas|campaign": "2026",
    }
    assert parse("[drives.semantics]\ntransport = 'boat'", "").drives.semantics == {"transport": "boat"}
    assert Config().drives.semantics == {"transport": "car"}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://panoramax.example.org/", "https://panoramax.example.org"),
        ("https://example.org/pano/", "https://example.org/pano"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("", ""),
    ],
)
def test_addresses_that_are_taken(url: str, kept: str) -> None:
    """Safe https anywhere, http to this machine, or nothing; the slash at the end goes."""
    assert parse(f"[server]\nurl = '{url}'", "").server.url == kept


@pytest.mark.parametrize(
    "url",
    [
        *["panoramax.example.org", "ftp://a", "https://", "https:///x", "https://a:b", "https://a:99999", "http://[::"],
        *["https://a/?x=1", "https://a/#x", "https://a b/", "https://a/api", "https://u@a/", "https://a\\u0000b/"],
        *[
            "http://panoramax.example.org",
            "http://10.8.0.1",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
        ],
    ],
)
def test_addresses_that_are_not(url: str) -> None:
    """No scheme, no host, a login, a query, /api, or http to another machine: each is a fault of server.url."""
    (fault,) = faults(f'[server]\nurl = "{url}"')
    assert fault.startswith("server.url: ")


def test_plain_http_is_allowed_only_when_said_and_then_warned_of() -> None:
    """Plain http to another machine needs server.plain_http and a tunnel, each fault says so; it stays a warning."""
    (fault,) = faults("[server]\nurl = 'http://10.8.0.1'")
    assert "server.plain_http = true" in fault
    (fault,) = faults("[server]\nurl = 'http://10.8.0.1'\nplain_http = true")
    assert fault.startswith("vpn: must have interface")
    config = parse("[server]\nurl = 'http://10.8.0.1'\nplain_http = true\n[vpn]\ninterface = 'wg0'", "")
    assert config.server.url == "http://10.8.0.1"
    assert any(line.startswith("server.plain_http: ") for line in warnings(config))


def test_a_reader_that_is_switched_off_is_not_cleared() -> None:
    """cards.power_off and cleaning.card exclude each other, which is warned of; each alone is not."""
    off, clear = "[cards]\npower_off = true", "[cleaning]\ncard = 'confirmed'"
    assert warnings(parse(off, "")) == warnings(parse(clear, "")) == []
    (warning,) = warnings(parse(f"{off}\n{clear}", ""))
    assert warning.startswith("cards.power_off: ")


def test_no_tunnel_is_said_loudly() -> None:
    """A server elsewhere without a tunnel is allowed, and warned of as unprotected; this machine's own needs none."""
    (warning,) = warnings(parse("[server]\nurl = 'https://panoramax.example'", ""))
    assert "UNPROTECTED" in warning
    assert warnings(parse("[server]\nurl = 'https://panoramax.example'\n[vpn]\ninterface = 'wg0'", "")) == []
    assert warnings(parse("[server]\nurl = 'http://127.0.0.1:5000'", "")) == []


@pytest.mark.parametrize("name", ["wg 0", "a/b", "..", "x" * 16, "a:b", "wg0\\n"])
def test_interfaces_that_are_not(name: str) -> None:
    """What Linux would not take for the name of an interface is a fault, and never becomes a path."""
    (fault,) = faults(f'[vpn]\ninterface = "{name}"')
    assert fault.startswith("vpn.interface: ")


@pytest.mark.parametrize("text", ["panoramax.example", "10.8.0", "10.8.0.1:80", "[fd00::1]"])
def test_server_addresses_that_are_not(text: str) -> None:
    """Only an IP address can stand for looking the name up."""
    (fault,) = faults(f'[server]\naddress = "{text}"')
    assert fault.startswith("server.address: ")


def test_the_models_cannot_be_changed() -> None:
    """A loaded configuration is immutable."""
    with pytest.raises(ValidationError):
        Config().upload.connections = 3


def test_the_zone_is_the_time_zone() -> None:
    """Antananarivo is three hours ahead of UTC."""
    assert str(Config().zone) == "Indian/Antananarivo"


# -- files ------------------------------------------------------------------------------------------------------------
def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """A file saved by a Windows editor as UTF-8 with BOM and CRLF loads."""
    path = tmp_path / "config.toml"
    path.write_bytes(b'\xef\xbb\xbfkit = "kit-7"\r\n[upload]\r\nconnections = 3\r\n')
    assert load(path).kit == "kit-7"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("kit = 'é'".encode("latin-1"), "is not UTF-8 (line 1)"),
        ("kit = 'a'\nkit".encode("utf-16"), "is not UTF-8 (line 1)"),
        (b"a = 1\nb = '\xff'", "is not UTF-8 (line 2)"),
        (b"kit = 'a'\nkit = \n", "is not valid TOML: Invalid value (at line 2, column 7)"),
        (b"#" * ((1 << 20) + 1), "is larger than 1 MiB"),
        (b"x = " + b"[" * 5000, "is nested too deeply"),
        (b"a." * 60_000 + b"b = 1", "is nested too deeply"),
        (b"x = " + b"9" * 5000, "holds a number of more than 4300 digits"),
    ],
)
def test_a_file_that_is_no_configuration_is_named_with_its_fault(tmp_path: Path, content: bytes, said: str) -> None:
    """Wrong encoding, wrong syntax, far too large, far too deep: one sentence that names the file."""
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_what_is_no_readable_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    """A missing file, a folder, a FIFO, a loop of links and a device each give a ConfigError at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "no", tmp_path, tmp_path / "fifo", tmp_path / "loop", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(ConfigError, match=r"cannot be read|is not a regular file"):
            load(path)


def test_a_file_that_we_may_not_read_is_named(tmp_path: Path) -> None:
    """A permission that is missing is told in words (tried as an ordinary user when the tests run as root)."""
    path = tmp_path / "config.toml"
    path.touch(mode=0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match="Permission denied"):
            load(path)
    finally:
        if root:
            os.seteuid(0)


# -- what is allowed, and doubtful ------------------------------------------------------------------------------------
def test_the_lesser_proof_is_a_warning() -> None:
    """Clearing cards that are only copied is allowed, and said."""
    (warning,) = warnings(parse("[cleaning]\ncard = 'copied'", ""))
    assert warning.startswith("cleaning.card: ")
    assert warnings(parse("[cleaning]\ncard = 'confirmed'", "")) == []


# -- anything ---------------------------------------------------------------------------------------------------------
@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_a_config_error(text: str) -> None:
    """No text makes parse raise anything but ConfigError."""
    said = outcome(text)
    assert said == "" or said.startswith("any: ")


VALUES = st.one_of(
    *[st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.sampled_from(["off", "5s", "2GB", "/a"])],
    *[st.lists(st.text(max_size=5), max_size=2), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=2)],
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return re.sub(r"\\ud[89a-f]..", "?", json.dumps(value)).replace("\x7f", "?")
    return str(value).lower()


@given(st.dictionaries(st.sampled_from(sorted(keys(Config))), VALUES, min_size=1, max_size=8))
def test_each_fault_of_any_value_stands_on_one_printable_line_under_its_own_key(settings: dict[str, object]) -> None:
    """Whatever values the keys get, the faults are lines for people, and only of keys that were written."""
    text = "\n".join(f"{key} = {toml(value)}" for key, value in settings.items())
    tomllib.loads(text)  # the test itself writes TOML
    head, *found = outcome(text).split("\n")
    if not head:
        return
    assert head == f"any: {len(found)} fault{'s' * (len(found) > 1)}"
    assert all(line.isprintable() and len(line) < 400 for line in found)
    assert all(line.startswith((*settings, "sources:", "inbox:")) for line in found)


def test_only_the_configuration_costs_pydantic() -> None:
    """The vocabulary, the logs and the other shared modules start without pydantic."""
    code = "import sys, ailasd.logs, ailasd.model, ailasd.lifecycle; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=EXAMPLE.parent).returncode == 0
