"""A GoPro over its USB network, against a stand-in written from the documented API.

What it shares with every other source is in test_sources.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gopro_stand_in import MADE, SERIAL, standing_in
from hypothesis import given
from hypothesis import strategies as st

from ailasd.errors import Changing, NeedsHuman, SourceGone, TryLater, UnexpectedAnswer, Unreadable
from ailasd.model import Kind
from ailasd.sources.gopro import BUSY, RECORDING, SWITCH_IT, GoProSource, camera, media

LAPSE = [f"DCIM/100GOPRO/G001{number:04d}.JPG" for number in range(8, 14)]
FILES = {path: os.urandom(300_000) for path in LAPSE} | {
    "DCIM/100GOPRO/GOPR0001.JPG": b"single" * 1000,
    "DCIM/101GOPRO/G0010014.JPG": b"it goes on" * 999,
    "DCIM/101GOPRO/GX010015.MP4": b"video" * 999,
}
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


class FixedClock:
    """Ours, at ``NOW``."""

    def __init__(self, *, trusted=True):
        self._trusted = trusted

    def now(self):
        return NOW

    def trusted(self):
        return self._trusted

    def monotonic(self):
        return 0.0


@pytest.fixture
def gopro():
    """A camera with a time-lapse over two folders, a single shot and a video."""
    with standing_in(FILES) as one:
        yield one


@contextmanager
def over(stand_in, **wanted):
    """A source over the stand-in."""
    with closing(GoProSource("lo", None, address=stand_in.address, port=stand_in.port, **wanted)) as source:
        yield source


def listed(source):
    return {file.path: file for file in source.listing()}


def content(source, file):
    with source.open(file) as stream:
        return stream.readall()


# -- its list ---------------------------------------------------------------------------------------------------------
DOCUMENTED = {
    "id": "2530266050123724003",
    "media": [
        {
            "d": "100GOPRO",
            "fs": [
                {
                    "b": "8",
                    "cre": "1613669353",
                    "g": "1",
                    "l": "396",
                    "m": ["75", "139"],
                    "mod": "1613669353",
                    "n": "G0010008.JPG",
                    "s": "773977407",
                    "t": "t",
                }
            ],
        }
    ],
}


def test_the_documented_example_of_a_time_lapse():
    """Of a group its members are all from b to l but those in m, named as the documentation says."""
    (shots,) = media.lines(DOCUMENTED)
    assert list(shots.paths()) == [
        f"DCIM/100GOPRO/G001{number:04d}.JPG" for number in range(8, 397) if number not in {75, 139}
    ]
    assert (shots.made, shots.size) == (1613669353, None)


@pytest.mark.parametrize(
    ("group", "numbers"),
    [
        ({"b": "9998", "l": "2"}, ["9998", "9999", "0001", "0002"]),
        ({"b": "9998", "l": "9998"}, ["9998"]),
        ({"b": "9997", "l": "9998", "m": ["9997"]}, ["9998"]),
        ({"b": 9998, "l": 9999, "m": [9999, "x", None]}, ["9998"]),
        ({"b": "9998", "l": "10000"}, ["9998"]),  # no such number: taken for a single shot
    ],
)
def test_members_of_groups(group, numbers):
    """Numbers go on after 9999 with 0001; what is missing or makes no sense is left out; the named file never is."""
    document = {"media": [{"d": "100GOPRO", "fs": [{"n": "GAAA9998.JPG", "g": "1", "cre": "1", **group}]}]}
    (shots,) = media.lines(document)
    assert sorted(shots.names) == sorted(f"GAAA{number}.JPG" for number in numbers)
    assert shots.names[0] == "GAAA9998.JPG"


JSON: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, -1, 1.5, [], {}, ["7"], "..", "../x", "G0010008.JPG", "8", "9999", 8, "1" * 5000]),
    st.text(max_size=20),
    st.text("GOPR./0123456789\\", max_size=20),
)


@given(JSON, JSON, st.dictionaries(st.sampled_from(["g", "b", "l", "m", "s", "cre", "mod", "raw"]), JSON))
def test_no_list_leads_anywhere_else(folder, name, more):
    """Whatever a list says, what is asked for is a plain name in a plain folder, and what is told is printable."""
    document = {"media": [{"d": folder, "fs": [{**more, "n": name}, name]}, {"d": name, "fs": folder}, more]}
    for shots in media.lines(document):
        for path in shots.paths():
            assert path.isprintable()
            assert path.count("/") == 2
            assert not shots.trusted or (media.split(path) is not None and ".." not in path.split("/"))


@pytest.mark.parametrize("name", ["..", ".", "../x.JPG", "a/b.JPG", "", "a\nb.JPG", "\ud800.JPG", "é.JPG", "x" * 99, 7])
def test_names_that_no_camera_gives(gopro, name):
    """A hostile name is told as unreadable, and never asked for."""
    gopro.list_answer = json.dumps({"media": [{"d": "100GOPRO", "fs": [{"n": name, "s": "9", "cre": "1"}]}]}).encode()
    with over(gopro) as source:
        (file,) = source.listing()
        assert file.kind is Kind.UNREADABLE
        assert file.path.isprintable()
        with pytest.raises(Unreadable):
            source.open(file)
    assert not [path for path in gopro.asked_for() if path.startswith("/videos") or "info" in path]


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"media": 1}', b"[" * 200_000, b'{"a":1', b"\xff\xfe"])
def test_lists_that_are_none(gopro, answer):
    """An answer that is no list is no empty card."""
    gopro.list_answer = answer
    with over(gopro) as source, pytest.raises(UnexpectedAnswer):
        list(source.listing())


def test_a_list_without_end_is_cut(gopro):
    """A list longer than any card's is not kept in memory."""
    gopro.list_answer = b" " * (camera.LONGEST_LIST + 1)
    with over(gopro) as source, pytest.raises(UnexpectedAnswer, match="too long"):
        list(source.listing())


def test_a_list_of_what_is_not_there_is_given_up(gopro):
    """A camera that lists thousands of pictures that it does not have is not asked for each of them."""
    line = {"n": "G0020001.JPG", "g": "2", "b": "1", "l": "9999", "m": [], "cre": "1", "s": "1"}
    gopro.list_answer = json.dumps({"media": [{"d": "100GOPRO", "fs": [line]}]}).encode()
    with over(gopro) as source, pytest.raises(Unreadable):
        list(source.listing())
    assert gopro.asked_for()["/gopro/media/info"] < 2 * 100


def test_the_same_file_twice_is_listed_once(gopro):
    """A list that repeats itself gives each file once."""
    document = gopro.media()
    document["media"] *= 3
    gopro.list_answer = json.dumps(document).encode()
    with over(gopro) as source:
        paths = [file.path for file in source.listing()]
    assert sorted(paths) == sorted(FILES)


# -- how often it is asked --------------------------------------------------------------------------------------------
def test_sizes_of_a_time_lapse_are_asked_for_once(gopro):
    """Only pictures whose size the list does not tell are asked for, each once, however often it is listed."""
    with over(gopro) as source:
        first = listed(source)
        assert listed(source) == first
    assert {path: file.size for path, file in first.items()} == {path: len(data) for path, data in FILES.items()}
    assert gopro.asked_for()["/gopro/media/info"] == len(LAPSE) + 1


def test_known_pictures_are_not_asked_for_again(gopro):
    """At the next visit only the new pictures of a recording are asked for; the others are the same files as before."""
    with over(gopro) as source:
        identity = source.card().identity
        before = set(listed(source).values())
    new = "DCIM/101GOPRO/G0010016.JPG"
    gopro.files[new], gopro.made[new] = b"new", MADE + 500
    del gopro.files[LAPSE[2]]
    gopro.asked.clear()
    known = {identity: [file[:3] for file in before]}
    with over(gopro, known=known.__getitem__) as source:
        source.card()
        after = set(source.listing())
    assert {file.path for file in after - before} == {new}
    assert {file.path for file in before - after} == {LAPSE[2]}
    assert [one for one in gopro.asked if "info?" in one] == ["/gopro/media/info?path=101GOPRO/G0010016.JPG"]


def test_the_same_names_after_formatting_are_other_files(gopro):
    """A recording that began at another time is asked for anew, though its pictures have the names of known ones."""
    with over(gopro) as source:
        before = set(listed(source).values())
    gopro.made = {path: made + 86_400 for path, made in gopro.made.items()}
    with over(gopro, known=lambda _: [file[:3] for file in before]) as source:
        source.card()
        after = set(source.listing())
    assert not before & after


def test_deleting_the_first_picture_leaves_the_others_what_they_are(gopro):
    """When the first picture of a recording is deleted, the others are still the same files."""
    with over(gopro) as source:
        before = listed(source)
        source.remove(before[LAPSE[0]])
    with over(gopro) as source:
        after = listed(source)
    assert before.keys() - after.keys() == {LAPSE[0]}
    assert all(before[path] == file for path, file in after.items())


# -- which camera -----------------------------------------------------------------------------------------------------
def test_it_tells_its_name(gopro):
    """Model and serial come from the camera; its cards are told apart by what is on them."""
    with over(gopro) as source:
        card = source.card()
    assert (card.label, card.camera_serial, card.camera_model) == ("HERO13 Black (3456)", SERIAL, "HERO13 Black")
    assert card.by_content


def test_older_models_tell_it_elsewhere_or_not_at_all(gopro):
    """The answer of older models is understood; where there is none, the serial that USB tells makes the same card."""
    with over(gopro) as source:
        identity = source.card().identity
    gopro.model = {"info": {"model_name": "HERO10 Black", "serial_number": SERIAL}}
    with over(gopro) as source:
        assert source.card().label == "HERO10 Black (3456)"
    gopro.model = None
    with closing(GoProSource("lo", SERIAL, address=gopro.address, port=gopro.port)) as source:
        assert source.card().label == "GoPro (3456)"
        assert source.card().identity == identity


@pytest.mark.parametrize("said", ["\x1b[2J\n", "\ud800", "A" * 10_000, 7, None, ["x"]])
def test_hostile_names_of_a_camera(gopro, said):
    """Whatever it calls itself, what is shown is short and printable."""
    gopro.model = {"model_name": said, "serial_number": said}
    with over(gopro) as source:
        card = source.card()
    for text in (card.label, card.camera_model or "", card.camera_serial or ""):
        assert text.isprintable()
        assert text.isascii()
        assert len(text) <= 80


# -- reading ----------------------------------------------------------------------------------------------------------
def test_a_broken_transfer_goes_on_where_it_was(gopro):
    """After a broken connection only the rest of the file is asked for."""
    gopro.breaks, gopro.breaks_at = 3, 70_000
    with over(gopro) as source:
        file = listed(source)[LAPSE[0]]
        assert content(source, file) == FILES[file.path]
    assert gopro.breaks == 0
    assert gopro.asked_for()[f"/videos/{file.path}"] == 4


def test_a_stalled_transfer_goes_on_over_a_new_connection(gopro, monkeypatch):
    """A connection that is open, but gives nothing more, is given up for a new one."""
    monkeypatch.setattr(camera, "NO_PROGRESS_S", 0.3)
    gopro.pauses, gopro.breaks_at = 1, 70_000
    with over(gopro) as source:
        file = listed(source)[LAPSE[0]]
        assert content(source, file) == FILES[file.path]


def test_a_file_that_always_breaks_off_costs_that_file_only(gopro):
    """After a few tries a file is given up, and the next one is read."""
    gopro.breaks, gopro.breaks_at = 5, 1000
    with over(gopro) as source:
        files = listed(source)
        with pytest.raises(Unreadable, match="to its end"):
            content(source, files[LAPSE[0]])
        assert content(source, files[LAPSE[1]]) == FILES[LAPSE[1]]


def test_a_trickle_ends(monkeypatch):
    """A camera that is far too slow does not hold the reader for ever, however often it is asked to go on."""
    with standing_in({LAPSE[0]: bytes(5_000_000)}) as slow, over(slow) as source:
        file = listed(source)[LAPSE[0]]
        monkeypatch.setattr(camera, "PATIENCE_S", 0.0)
        monkeypatch.setattr(camera, "SLOWEST", 10**12)
        with pytest.raises((Unreadable, SourceGone)):
            content(source, file)
    assert slow.asked_for()[f"/videos/{file.path}"] <= 5


def test_a_camera_without_ranges_never_gives_a_wrong_file(gopro):
    """If it begins anew where it should go on, the file is not put together from that."""
    gopro.no_ranges = True
    gopro.breaks, gopro.breaks_at = 1, 70_000
    with over(gopro) as source:
        files = listed(source)
        with pytest.raises(Unreadable):
            content(source, files[LAPSE[0]])


@pytest.mark.parametrize("longer", [1, -1, 10**15])
def test_another_length_is_another_file(gopro, longer):
    """A file that has not the listed size is not read."""
    with over(gopro) as source:
        file = listed(source)[LAPSE[0]]
        gopro.longer = longer
        with pytest.raises(Changing):
            source.open(file)


def test_a_refused_file_costs_that_file_only(gopro):
    """An error of the camera's server over one file is that file's."""
    with over(gopro) as source:
        files = listed(source)
        gopro.status = 500
        with pytest.raises(Unreadable, match="500"):
            source.open(files[LAPSE[0]])
        gopro.status = None
        assert content(source, files[LAPSE[1]]) == FILES[LAPSE[1]]


# -- busy, gone, not answering ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("state", "sentence"), [("recording", RECORDING), ("busy", BUSY)])
def test_a_camera_at_work_is_tried_later(gopro, state, sentence):
    """While it records or is busy it is not listed and nothing deleted: tried later, with a sentence that says why."""
    with over(gopro) as source:
        files = listed(source)
        setattr(gopro, state, True)
        with pytest.raises(TryLater, match=sentence) as caught:
            list(source.listing())
        assert not isinstance(caught.value, SourceGone)
        gopro.status = 503
        with pytest.raises(TryLater, match=sentence):
            source.open(files[LAPSE[0]])
        with pytest.raises(TryLater, match=sentence):
            source.remove(files[LAPSE[0]])
        setattr(gopro, state, False)
        gopro.status = None
        assert listed(source) == files
    assert gopro.files == FILES


def test_yank_and_again(gopro):
    """Pulled out in mid-file it is gone, for every call; plugged in again, the same files are there."""
    with over(gopro) as source:
        files = listed(source)
        identity = source.card().identity
        gopro.breaks, gopro.breaks_at = 1, 1000
        stream = source.open(files[LAPSE[0]])
        stream.read(1000)
        gopro.yank()
        for call in (
            stream.readall,
            lambda: list(source.listing()),
            source.card,
            lambda: source.open(files[LAPSE[1]]),
            lambda: source.remove(files[LAPSE[1]]),
            source.clock_offset,
        ):
            with pytest.raises(SourceGone):
                call()
        stream.close()
    with standing_in(FILES) as again, over(again) as source:
        assert source.card().identity == identity
        assert listed(source) == files


def test_a_network_that_nobody_answers_on_needs_a_person(gopro):
    """If the network is there, but no camera answers, the way out is said: which menu, or the card."""
    gopro.yank()
    with over(gopro) as source, pytest.raises(NeedsHuman) as caught:
        source.card()
    assert SWITCH_IT in str(caught.value)
    assert "GoPro Connect" in SWITCH_IT
    assert "take the card out" in SWITCH_IT


@pytest.mark.parametrize("interface", ["gone0", "", "..", "x" * 40])
def test_a_missing_interface_is_a_camera_that_is_gone(interface):
    """Without its network interface a camera is gone, whatever else is there."""
    with closing(GoProSource(interface, SERIAL)) as source, pytest.raises(SourceGone):
        source.card()


def test_an_interface_with_a_foreign_address_gets_no_request(monkeypatch):
    """A device that gives itself another network than a GoPro's is not asked anything."""
    monkeypatch.setattr("ailasd.sources.gopro.WAIT_S", 0.0)
    with closing(GoProSource("lo", None)) as source, pytest.raises(TryLater, match=r"127\.0\.0\.1"):
        source.card()


# -- nowhere else -----------------------------------------------------------------------------------------------------
def test_redirects_and_proxies_are_not_followed(gopro, monkeypatch):
    """Neither the camera nor the environment can send our requests to another host."""
    with standing_in({}) as elsewhere:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{elsewhere.address}:{elsewhere.port}")
        with over(gopro) as source:
            file = listed(source)[LAPSE[0]]
            gopro.redirects = f"http://{elsewhere.address}:{elsewhere.port}/gopro/media/list"
            for call in (lambda: list(source.listing()), lambda: source.open(file)):
                with pytest.raises((Unreadable, TryLater)):
                    call()
        assert elsewhere.asked == []


def test_a_page_is_no_file(gopro):
    """A page with status 200 is neither a list nor a picture."""
    with over(gopro) as source:
        file = listed(source)[LAPSE[0]]
        gopro.html = True
        with pytest.raises(UnexpectedAnswer):
            list(source.listing())
        with pytest.raises(Changing):
            source.open(file)


# -- deleting ---------------------------------------------------------------------------------------------------------
def test_deletes_one_picture_of_a_time_lapse(gopro):
    """Deleting takes that file and no other of its group."""
    with over(gopro) as source:
        files = listed(source)
        with source.writable() as writable:
            writable.remove(files[LAPSE[2]])
        assert gopro.files.keys() == FILES.keys() - {LAPSE[2]}
        assert listed(source).keys() == FILES.keys() - {LAPSE[2]}
    assert not [one for one in gopro.asked if "group" in one or "all" in one]


def test_a_camera_that_keeps_its_files(gopro):
    """If it refuses to delete, a person is asked for."""
    gopro.keeps_files = True
    with over(gopro) as source:
        files = listed(source)
        with pytest.raises(NeedsHuman):
            source.remove(files[LAPSE[0]])
    assert gopro.files == FILES


def test_a_picture_with_a_raw_one_stays(gopro):
    """A raw picture is listed, and its JPEG is not deleted: the camera might delete both, and nobody else has it."""
    gopro.raw = True
    with over(gopro) as source:
        files = listed(source)
        assert files["DCIM/100GOPRO/GOPR0001.GPR"].kind is Kind.RAW
        with pytest.raises(Unreadable, match="raw"):
            source.remove(files["DCIM/100GOPRO/GOPR0001.JPG"])
    assert gopro.files == FILES


# -- its clock --------------------------------------------------------------------------------------------------------
def test_clock_offset(gopro):
    """The camera's clock is compared in its own zone; without a zone nothing is said."""
    with over(gopro, clock=FixedClock()) as source:
        gopro.time = {"date": "2026_05_01", "time": "15_05_00", "tzone": 180, "dst": 0}
        assert source.clock_offset() == timedelta(minutes=5)
        for wrong in ({"tzone": None}, {"tzone": 10**9}, {"date": "2026_13_01"}, {"time": "x"}, {"time": 7}):
            gopro.time = {"date": "2026_05_01", "time": "15_05_00", "tzone": 180} | wrong
            assert source.clock_offset() is None


@pytest.mark.parametrize(
    ("minute", "wanted", "trusted", "is_set"),
    [(5, True, True, True), (5, False, True, False), (5, True, False, False), (0, True, True, False)],
)
def test_clock_is_set_only_if_wanted(gopro, minute, wanted, trusted, is_set):
    """The clock is set if it is configured, wrong, and ours is trusted; its zone is left as it is."""
    gopro.time = {"date": "2026_05_01", "time": f"15_0{minute}_01", "tzone": 180, "dst": 0}
    with over(gopro, set_clock=wanted, clock=FixedClock(trusted=trusted)) as source:
        source.card()
    right = {"date": "2026_5_1", "time": "15_0_0", "tzone": "180", "dst": "0"}
    assert gopro.set_to == (right if is_set else None)


def test_nothing_is_left_open(gopro):
    """Between calls no connection is open."""
    with over(gopro) as source:
        for file in source.listing():
            content(source, file)
        give_up = time.monotonic() + 5
        while gopro.connections and time.monotonic() < give_up:  # its side may be a moment behind
            time.sleep(0.01)
        assert not gopro.connections


# -- its network ------------------------------------------------------------------------------------------------------
TESTS = Path(__file__).parent
RULES = TESTS.parent / "systemd/72-ailasd-gopro.rules"
# A camera as sysfs shows it: a USB device of GoPro's with a network interface that the kernel calls usb0.
MOCK = """\
P: /devices/pci0000:00/0000:00:14.0/usb1/1-1
E: SUBSYSTEM=usb
E: DEVTYPE=usb_device
A: idVendor={vendor}\\n

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0
E: SUBSYSTEM=usb
E: DEVTYPE=usb_interface

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/net/usb0
E: SUBSYSTEM=net
E: INTERFACE=usb0
E: IFINDEX=7
A: ifindex=7\\n
A: address=f6:48:54:ee:74:72\\n
A: type=1\\n
"""
IN_A_LABORATORY = """\
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir /run/udev
mount -t tmpfs none /etc/udev/rules.d
cp "$1" /etc/udev/rules.d
exec umockdev-run -d "$2" -- udevadm test --action=add \
    /sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/net/usb0
"""


def needs(*programs):
    """For root on a machine that has these programs; in CI they may not be missing."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/lib/systemd"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    return pytest.mark.skipif(os.geteuid() != 0 or bool(missing), reason=f"needs root and {' '.join(missing)}")


@pytest.mark.lab
@needs("unshare", "umockdev-run", "udevadm")
@pytest.mark.parametrize(("vendor", "name", "wants"), [("2672", "gopro7", True), ("05ac", "usb0", False)])
def test_only_a_gopro_gets_the_name_for_which_the_rules_hold(tmp_path, vendor, name, wants):
    """The real udev names a GoPro's interface gopro and a number, has its address asked for; phones are left alone."""
    mock = tmp_path / "camera.umockdev"
    mock.write_text(MOCK.format(vendor=vendor))
    said = subprocess.run(
        ["unshare", "--mount", "sh", "-c", IN_A_LABORATORY, "sh", RULES, mock],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    assert told["DEVPATH"].rpartition("/")[2] == name
    assert ("ailasd-gopro-network.service" in told.get("SYSTEMD_WANTS", "")) is wants


@pytest.mark.lab
@needs("unshare", "nsenter", "ip", "dnsmasq")
@pytest.mark.parametrize(
    "manager",
    [
        pytest.param("networkd", marks=needs("systemd-networkd")),
        pytest.param("NetworkManager", marks=needs("NetworkManager", "dbus-daemon")),
    ],
)
@pytest.mark.slow
def test_a_camera_never_becomes_the_way_out(manager):
    """A camera that offers a router, routes, names and time gives an address, and changes nothing else.

    And it is asked over its own cable only, though at its address another machine answers behind the default route.
    """
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--uts", "--kill-child", "--fork"),
            *(sys.executable, TESTS / "gopro_network.py", manager),
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["address"].startswith("172.24.156.")
    defaults = [route["dev"] for route in facts["routes"] if route["dst"] == "default"]
    assert defaults == ["up0"]
    over_it = [(route["dst"], route["gateway"]) for route in facts["routes"] if route["dev"] == "gopro7"]
    assert over_it == [("172.24.156.0/24", None)]
    assert "172.24.156" not in facts["resolv.conf"]
    assert "hotel" not in facts["resolv.conf"]
    assert facts["cable"] == "HERO13 Black (3456): 20"
    assert facts["no route"] == "SourceBusy"
    assert facts["pulled out"] == "SourceGone"
    assert facts["elsewhere answers"] == "HERO13 Black (3456): 20"
    assert facts["asked elsewhere"] == 0
