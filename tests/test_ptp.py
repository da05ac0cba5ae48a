"""Cameras over PTP and MTP. The contract of every source is in test_sources; here is what only cameras have.

Without a device there is libgphoto2's virtual camera. The tests marked ``ptp`` talk to a real MTP device on a real USB
bus and are there only when these are set, as test_guest does inside its guest:

AILASD_TEST_PTP            usb:BBB,DDD, a device that may be written
AILASD_TEST_PTP_DIR        the folder that it serves; when a file "pull" appears there, somebody must pull it out
AILASD_TEST_PTP_READ_ONLY  usb:BBB,DDD, one that serves the same folder, write protected
"""

import hashlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
import test_sources
from hypothesis import given
from hypothesis import strategies as st
from test_sources import PICTURES, find, make_files
from virtual_camera import NODE, SERIAL, described, virtual_camera

from ailasd.copying import BLOCK, md5_of
from ailasd.errors import NeedsHuman, SourceBusy, SourceGone, Unreadable
from ailasd.model import CardFile, Kind
from ailasd.sources import MAX_PICTURE, printable
from ailasd.sources.ptp import AHEAD, MAX_DEPTH, PtpSource
from ailasd.sources.ptp.places import Store, bus_and_device, identity_of, place_of, shown, speakable

CARD = Store("store_00010001", "GOPRO", "SD card", 31_000_000)
MEMORY = Store("store_00020001", "", "Internal", 4_000_000)


# -- names and places -------------------------------------------------------------------------------------------------
def test_a_path_of_the_only_storage_has_no_storage_in_it():
    """The paths of a camera with one card are those of the card in a reader."""
    assert place_of("DCIM/100GOPRO/G0010001.JPG", (CARD,)) == ("/store_00010001/DCIM/100GOPRO", "G0010001.JPG")
    assert place_of("a.JPG", (CARD,)) == ("/store_00010001", "a.JPG")


def test_two_storages_do_not_collide():
    """Files of the same path in two storages have two paths."""
    places = {place_of(f"{store.name}/DCIM/a.JPG", (CARD, MEMORY)) for store in (CARD, MEMORY)}
    assert places == {("/store_00010001/DCIM", "a.JPG"), ("/store_00020001/DCIM", "a.JPG")}


@pytest.mark.parametrize("path", ["DCIM/a.JPG", "store_00030001/a.JPG", "store_00010001", "", "/", "..", "a.JPG"])
def test_a_path_on_no_storage_is_unreadable(path):
    """Among several storages a path must say on which it is."""
    with pytest.raises(Unreadable):
        place_of(path, (CARD, MEMORY))


@given(st.lists(st.text(), min_size=1, max_size=4), st.sampled_from([(CARD,), (CARD, MEMORY)]))
def test_every_name_is_found_again_or_refused(parts, stores):
    """A name that the camera gave leads back to itself; one that it cannot be asked for, to nothing."""
    above = f"{CARD.name}/" if len(stores) > 1 else ""
    path = above + "/".join(shown(part) for part in parts)
    assert path.isprintable()
    assert path.count("/") == len(parts) - (not above)
    if all(speakable(part) for part in parts):
        assert place_of(path, stores) == ("/".join(("", CARD.name, *parts[:-1])), parts[-1])
    else:
        with pytest.raises(Unreadable):
            place_of(path, stores)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "\udcff"])
def test_names_that_no_camera_can_be_asked_for(name):
    """Names that would lead elsewhere, or that libgphoto2 cannot take, are not asked for."""
    assert not speakable(name)


def test_identities_tell_cameras_and_cards_apart():
    """Another camera, another card in it, or one more is another identity."""
    one = [
        identity_of("1", "HERO", (CARD,)),
        identity_of("2", "HERO", (CARD,)),
        identity_of(None, "HERO", (CARD,)),
        identity_of("1", "MAX", (CARD,)),
        identity_of("1", "HERO", (MEMORY,)),
        identity_of("1", "HERO", (CARD, MEMORY)),
        identity_of("1", "HERO", (Store(CARD.name, CARD.label, CARD.description, CARD.capacity * 2),)),
    ]
    assert len(set(one)) == len(one)
    assert all(identity.isalnum() and len(identity) == 16 for identity in one)


@pytest.mark.parametrize("node", ["", "usb:1,4", "usb:001,004\n", "usb:", "ptpip:192.168.1.1", "usb:001,004,1", "/etc"])
def test_other_places_than_usb_are_no_cameras(node):
    """Only a camera on a USB bus is ever spoken to: none in the network, no folder."""
    with pytest.raises(ValueError, match="not a camera's place"):
        bus_and_device(node)


# -- a camera without a wire ------------------------------------------------------------------------------------------
@pytest.fixture
def root(tmp_path):
    """What is on the card of the virtual camera."""
    root = tmp_path / "card"
    make_files(root, PICTURES)
    return root


@pytest.fixture
def camera(root, tmp_path):
    """The virtual camera with that card."""
    with virtual_camera(root, tmp_path) as source:
        yield source


def test_a_camera_says_who_it_is(camera):
    """Model and serial are those that it told the kernel; other cards may look the same."""
    card = camera.card()
    assert (card.camera_model, card.camera_serial, card.label) == ("HERO11 Black", SERIAL, "HERO11 Black (8017)")
    assert card.by_content


def test_what_lies_where(root, camera):
    """Folders of the system are not looked into, videos and by-products are told from pictures."""
    make_files(root, {"MISC/logo.jpg": b"x", "DCIM/100GOPRO/GX010001.MP4": b"x", "DCIM/100GOPRO/GX010001.THM": b"x"})
    make_files(root, {".Trashes/a.JPG": b"x", "DCIM/.thumbnails/a.JPG": b"x"})
    kinds = {file.path: file.kind for file in camera.listing() if file.path not in PICTURES}
    assert kinds == {
        "MISC/logo.jpg": Kind.OTHER,
        "DCIM/100GOPRO/GX010001.MP4": Kind.VIDEO,
        "DCIM/100GOPRO/GX010001.THM": Kind.SIDECAR,
        ".Trashes/": Kind.HIDDEN,
        "DCIM/.thumbnails/": Kind.HIDDEN,
    }


def test_folders_without_end_are_given_up(root, camera):
    """Folders in folders are followed so far and no further, and the listing says so."""
    make_files(root, {f"DCIM/{'d/' * (MAX_DEPTH + 5)}a.JPG": b"x"})
    beyond = [file for file in camera.listing() if file.path.startswith("DCIM/d/")]
    assert [(file.path.count("/"), file.kind) for file in beyond] == [(MAX_DEPTH + 1, Kind.UNREADABLE)]


def test_too_many_files_are_given_up(monkeypatch, root, camera):
    """A camera that never stops listing is left after so many entries; what is left out is in the listing."""
    monkeypatch.setattr("ailasd.sources.ptp.MAX_ENTRIES", 100)
    make_files(root, {f"DCIM/{folder}/{number}.JPG": b"x" for folder in range(200, 205) for number in range(60)})
    listed = list(camera.listing())
    left_out = [file.path for file in listed if file.kind is Kind.UNREADABLE]
    assert len(left_out) >= 3
    assert all(path.endswith("/") for path in left_out)
    assert len(listed) < 200


def test_times_do_not_depend_on_the_zone_of_the_machine(monkeypatch, root, tmp_path):
    """A file's time is what the camera's clock showed, so that a card is known again in another zone."""
    for path in PICTURES:
        os.utime(root / path, (1_700_000_000, 1_700_000_000))
    told = []
    for zone in ("UTC", "Africa/Antananarivo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        (tmp_path / zone).mkdir(parents=True)
        with virtual_camera(root, tmp_path / zone) as source:
            told.append({file.mtime_ns for file in source.listing()})
    monkeypatch.undo()
    time.tzset()
    assert told == [{1_700_000_000 * 10**9}] * 3


def test_an_unplugged_camera_is_gone(camera, tmp_path):
    """When the kernel does not know the device any more, nothing is waited for; plugged in again it is another node."""
    camera.close()
    file = CardFile("DCIM/100GOPRO/G0010001.JPG", 3000, 0, Kind.PICTURE)
    shutil.rmtree(tmp_path / "sys")
    for ask in asking(camera, file):
        with pytest.raises(SourceGone):
            ask()


def test_a_session_that_was_closed_begins_anew(root, camera):
    """Reading goes on after a close where it was, with the bytes of the same file."""
    file = find(camera, "DCIM/101GOPRO/G0010002.JPG")
    with camera.open(file) as stream:
        start = stream.read(1000)
        camera.close()
        assert start + stream.read() == PICTURES[file.path]
    camera.close()
    camera.close()


def test_a_device_that_is_no_camera_gets_a_plain_answer(tmp_path):
    """What libgphoto2 finds no PTP or MTP at is not readable, and the sentence says what to do."""
    described(tmp_path, product="USB Hub")
    with PtpSource(NODE, sysfs=tmp_path) as source:
        for ask in (source.card, lambda: list(source.listing())):
            with pytest.raises(Unreadable, match=r"USB Hub .* to MTP, or take the card out"):
                ask()


def test_without_the_library_the_answer_is_plain(monkeypatch, tmp_path):
    """An installation without the extra says so, and how pictures come in all the same."""
    described(tmp_path)
    monkeypatch.setitem(sys.modules, "gphoto2", None)
    with PtpSource(NODE, sysfs=tmp_path) as source, pytest.raises(Unreadable, match=r"take the card out .* 'camera'"):
        source.card()


def test_what_a_camera_calls_itself_is_harmless(tmp_path, root):
    """A device may tell the kernel whatever it likes: it is shown short and printable."""
    (tmp_path / "it").mkdir()
    with virtual_camera(root, tmp_path / "it") as source:
        (tmp_path / "it/sys/dev/char/189:0/product").write_bytes(b"\x1b[2J\xff../../" + b"A" * 4000)
        (tmp_path / "it/sys/dev/char/189:0/serial").write_bytes(b"\n")
        card = source.card()
    assert card.label.isprintable()
    assert len(card.label) <= 64
    assert card.camera_serial is None


def test_whole_files_only_up_to_what_a_picture_can_be(camera):
    """A camera that gives no parts of files is not asked for a file that would fill the memory."""
    file = find(camera, "DCIM/100GOPRO/G0010001.JPG")
    stream = camera.open(file)
    stream._file = file._replace(size=MAX_PICTURE + 1)
    with pytest.raises(Unreadable, match="too large"):
        stream.read(1)


# -- a real device ----------------------------------------------------------------------------------------------------
DEVICE = os.environ.get("AILASD_TEST_PTP", "")
SERVED = Path(os.environ.get("AILASD_TEST_PTP_DIR", "/nonexistent"))
READ_ONLY = os.environ.get("AILASD_TEST_PTP_READ_ONLY", "")
BIG = 100_000_000

if DEVICE:

    @pytest.fixture
    def served():
        """The folder of the device, empty."""
        for old in SERVED.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        return SERVED

    @pytest.fixture
    def device(served):
        """The device; what is on it is put into ``served`` before it is asked."""
        with PtpSource(DEVICE) as source:
            yield source

    @pytest.mark.ptp
    class TestDevice(test_sources.TestContract):
        """The contract of every source, on a real device."""

        @pytest.fixture
        def source(self, served, device):
            make_files(served, PICTURES)
            return device

    @pytest.mark.ptp
    def test_device_with_many_pictures(served, device):
        """Two folders of a hundred pictures each are listed to the last."""
        made = {f"DCIM/{folder}GOPRO/G001{n:04}.JPG": b"x" * n for folder in (100, 101) for n in range(1, 101)}
        make_files(served, made)
        listed = list(device.listing())
        assert {file.path: file.size for file in listed} == {path: len(content) for path, content in made.items()}
        assert len(listed) == len(made)
        assert {file.mtime_ns for file in listed} >= {int((served / path).stat().st_mtime) * 10**9 for path in made}

    @pytest.mark.ptp
    def test_device_with_odd_names(served, device):
        """Names with blanks, control characters and backslashes are listed, read and deleted; an empty file is told."""
        names = ["a  b.JPG", "-rf.JPG", "a\\b.JPG", "a\nb.JPG", "%s.JPG", "\x1b[J.JPG", "store_00010001.JPG"]
        make_files(served, {f"DCIM/100GOPRO/{name}": name.encode() for name in names})
        make_files(served, {"DCIM/empty.JPG": b""})
        listed = {file.path: file for file in device.listing()}
        assert listed.pop("DCIM/empty.JPG").kind is Kind.EMPTY
        assert set(listed) == {f"DCIM/100GOPRO/{printable(name)}" for name in names}
        for file in listed.values():
            with device.open(file) as stream:
                assert printable(stream.read()) == file.path.rpartition("/")[2]
            device.remove(file)
        assert not list((served / "DCIM/100GOPRO").iterdir())

    @pytest.mark.ptp
    def test_device_with_one_name_twice(served, device):
        """A folder in which two files have one name cannot be told apart; it is reported, and the others are read.

        QEMU's device knows ASCII only and calls both "Oops".
        """
        make_files(served, PICTURES)
        make_files(served, {"DCIM/102GOPRO/é.JPG": b"x", "DCIM/102GOPRO/ü.JPG": b"y"})
        listed = {file.path: file.kind for file in device.listing()}
        assert listed == {**dict.fromkeys(PICTURES, Kind.PICTURE), "DCIM/102GOPRO/": Kind.UNREADABLE}

    @pytest.mark.ptp
    def test_device_with_a_big_file(served, device):
        """A file of 100 MB takes a few MB of memory, and other threads go on while it is read."""
        make_files(served, {"DCIM/100GOPRO/a.JPG": b""})
        digest = hashlib.md5()
        with (served / "DCIM/100GOPRO/a.JPG").open("wb") as file:
            for block in range(BIG // 1_000_000):
                content = hashlib.md5(b"%d" % block).digest() * 62_500
                digest.update(content)
                file.write(content)
        big = find(device, "DCIM/100GOPRO/a.JPG")
        Path("/proc/self/clear_refs").write_text("5")  # what was the most so far is forgotten
        before, ticks, done = memory("VmRSS"), 0, threading.Event()

        def tick():
            nonlocal ticks
            while not done.wait(0.01):
                ticks += 1

        other = threading.Thread(target=tick)
        other.start()
        begun = time.monotonic()
        with device.open(big) as stream:
            assert md5_of(stream) == digest.hexdigest()
        took = time.monotonic() - begun
        done.set()
        other.join()
        more = memory("VmHWM") - before
        print(f"{BIG / took / 1e6:.1f} MB/s, {more >> 10} KiB more, {ticks / took:.0f} ticks a second")
        assert more < 10 * AHEAD
        assert ticks / took > 20

    @pytest.mark.ptp
    def test_device_is_let_go(served, device):
        """Whoever comes second is told that it is in use; once it is closed, nothing of it is open."""
        make_files(served, PICTURES)
        device.card()
        with PtpSource(DEVICE) as second:
            with pytest.raises(SourceBusy, match="another program") as caught:
                second.card()
            assert not isinstance(caught.value, SourceGone)
            assert len(open_on_the_bus()) == 1
            device.close()
            assert not open_on_the_bus()
            second.card()
            assert open_on_the_bus()
            with pytest.raises(SourceGone, match="another program"):
                list(device.listing())
        assert not open_on_the_bus()

    @pytest.mark.ptp
    def test_device_that_we_may_not_use(served):
        """A user without the right to the device is told what gives it."""
        make_files(served, PICTURES)
        told, tell = os.pipe()
        if (child := os.fork()) == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                PtpSource(DEVICE).card()
            except Exception as error:  # noqa: BLE001
                os.write(tell, f"{type(error).__name__}: {error}".encode())
            os._exit(0)
        os.close(tell)
        os.waitpid(child, 0)
        with os.fdopen(told) as answer:
            assert answer.read().startswith("NeedsHuman: ailasd may not use")


if READ_ONLY:

    @pytest.mark.ptp
    def test_read_only_device(served):
        """A camera that forbids it deletes nothing, and a human is asked."""
        make_files(served, PICTURES)
        with PtpSource(READ_ONLY) as source:
            file = find(source, "DCIM/100GOPRO/G0010001.JPG")
            with pytest.raises(NeedsHuman, match="does not let us delete"):
                source.remove(file)
            with source.open(file) as stream:
                assert stream.read() == PICTURES[file.path]
        assert (served / file.path).exists()


if DEVICE:

    @pytest.mark.ptp
    def test_device_that_is_pulled_out(served, device):
        """Pulled out while a file is read, a camera is gone within two seconds, whatever it is asked."""
        make_files(served, {"DCIM/100GOPRO/a.JPG": b"a" * BIG})
        file = find(device, "DCIM/100GOPRO/a.JPG")
        (served / "pull").touch()
        last, give_up = time.monotonic(), time.monotonic() + 120
        with pytest.raises(SourceGone):  # noqa: PT012
            while time.monotonic() < give_up:
                with device.open(file) as stream:
                    while stream.read(BLOCK):
                        last = time.monotonic()
        assert time.monotonic() - last < 2
        for ask in asking(device, file):
            with pytest.raises(SourceGone):
                ask()
        assert not open_on_the_bus()


def asking(source, file):
    """Everything that can be asked of a source."""
    return source.card, lambda: list(source.listing()), lambda: source.open(file), lambda: source.remove(file)


def memory(what):
    """Bytes of VmRSS (now) or VmHWM (at most so far) of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) << 10


def open_on_the_bus():
    """The USB devices that this process has open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(there) for link in links if str(there := link.readlink()).startswith("/dev/bus/usb")]
