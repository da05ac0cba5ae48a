"""One file, durably and verified, or not at all."""

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from as_on_a_kit import environment

from ailasd.copying import BLOCK, Copy, copies
from ailasd.disk import PREFIX, settle, sweep
from ailasd.errors import AilasdError, Changing, Damaged, NeedsHuman, NoRoom, SourceGone, Unreadable
from ailasd.model import CardFile, Kind
from ailasd.sources.folder import FolderSource

ROOT = Path(__file__).parents[1]
needs_strace = pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="needs strace (apt install strace)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def incoming(tmp_path):
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture
def card(tmp_path):
    """Five pictures: one byte, around one block, and larger."""
    folder = tmp_path / "card" / "DCIM" / "100GOPRO"
    folder.mkdir(parents=True)
    for number, size in enumerate((1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7)):
        (folder / f"G001000{number}.JPG").write_bytes(os.urandom(size))
    return tmp_path / "card"


def run(source, incoming, *, files=None, keep=None, **others):
    """Copy everything, settling each copy into ``keep`` if given; gives [(path, outcome)]."""
    settings = {"reserve": 0, "stop": threading.Event(), "inspect": lambda path: path.stat().st_size, **others}
    outcomes = []
    for file, copy in copies(source, files or sorted(source.listing()), incoming, **settings):
        if keep and isinstance(copy, Copy):
            settle(copy.temp, keep / copy.md5)
        outcomes.append((file.path[-12:], copy))
    return outcomes


def assert_nothing_left(incoming):
    assert list(incoming.iterdir()) == []
    assert [thread.name for thread in threading.enumerate() if thread.name == "card-reader"] == []


def is_error(outcome):
    return type(outcome) if isinstance(outcome, AilasdError) else None


# -- well -------------------------------------------------------------------------------------------------------------
def test_copies_are_the_same_bytes_in_order(card, incoming, tmp_path):
    """Every file arrives with its bytes, its md5, its size and what inspect made of it, in the order asked for."""
    source = FolderSource(card)
    outcomes = run(source, incoming, keep=tmp_path / "store" / "new")
    assert [name for name, _ in outcomes] == [f"G001000{n}.JPG" for n in range(5)]
    for name, copy in outcomes:
        content = (card / "DCIM/100GOPRO" / name).read_bytes()
        assert copy.md5 == hashlib.md5(content).hexdigest()
        assert copy.size == copy.inspected == len(content)
        assert (tmp_path / "store" / "new" / copy.md5).read_bytes() == content
    assert_nothing_left(incoming)


def test_what_is_not_settled_is_discarded(card, incoming):
    """A copy that nobody settles is gone when the next one is asked for."""
    assert len(run(FolderSource(card), incoming)) == 5
    assert_nothing_left(incoming)


def test_progress_counts_each_byte_once(card, incoming):
    """The progress adds up to the bytes of the card."""
    counts: list[int] = []
    source = FolderSource(card)
    run(source, incoming, progress=counts.append)
    assert sum(counts) == sum(file.size for file in source.listing())


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_consumer_may_stop_early(card, incoming, taken):
    """Closing the iteration leaves neither a thread nor a temporary file."""
    found = copies(
        FolderSource(card), sorted(FolderSource(card).listing()), incoming,
        reserve=0, stop=threading.Event(), inspect=bool,
    )  # fmt: skip
    for _ in range(taken):
        next(found)
    found.close()
    assert_nothing_left(incoming)


def test_a_failing_consumer_leaves_nothing(card, incoming):
    """An exception out of inspect comes through, and leaves neither a thread nor a temporary file."""
    with pytest.raises(ZeroDivisionError):
        run(FolderSource(card), incoming, inspect=lambda _: 1 // 0)
    assert_nothing_left(incoming)


def test_stop_ends_in_the_middle_of_a_file(card, incoming):
    """Once stop is set no further block is read, and nothing is left."""
    stop = threading.Event()
    blocks: list[int] = []

    def progress(count):
        blocks.append(count)
        stop.set()

    assert run(FolderSource(card), incoming, stop=stop, progress=progress) == []
    assert len(blocks) == 1
    assert_nothing_left(incoming)


def test_a_listing_that_fails_says_so(card, incoming):
    """What the iteration over the files raises is raised by the iteration over the copies."""
    source = FolderSource(card)

    def files():
        yield from sorted(source.listing())
        raise SourceGone("pulled out")

    with pytest.raises(SourceGone):
        run(source, incoming, files=files())
    assert_nothing_left(incoming)


# -- proof ------------------------------------------------------------------------------------------------------------
def test_a_real_disk_proves(card, incoming):
    """On a file system with a device below it, every copy is read back from that device."""
    if os.major(incoming.stat().st_dev) == 0:
        pytest.skip("the temporary folder is on a file system without a device of its own")
    assert all(copy.proven for _, copy in run(FolderSource(card), incoming))


def test_memory_proves_nothing(card):
    """A tmpfs keeps its pages whatever one asks, so a copy there is never called proven."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        outcomes = run(FolderSource(card), Path(folder))
        assert [copy.proven for _, copy in outcomes] == [False] * 5


def scribbler(incoming, times):
    """A disk that alters what was written to it, the first so many times: called after each block."""
    left = [times]

    def scribble(count):
        if left[0]:
            left[0] -= 1
            newest = max(incoming.iterdir(), key=lambda path: path.stat().st_ctime_ns)
            with newest.open("r+b") as stream:
                first = stream.read(1)
                stream.seek(0)
                stream.write(bytes([first[0] ^ 1]))

    return scribble


def test_a_bad_copy_is_made_again(card, incoming, tmp_path):
    """Bytes that come back altered once are copied a second time, and that copy is right."""
    source = FolderSource(card)
    file = min(source.listing())
    ((_, copy),) = run(source, incoming, files=[file], keep=tmp_path, progress=scribbler(incoming, 1))
    assert (tmp_path / copy.md5).read_bytes() == (card / file.path).read_bytes()


def test_a_bad_disk_is_damaged(card, incoming):
    """Bytes that come back altered twice are Damaged, and the next file is tried all the same."""
    source = FolderSource(card)
    first, second, *_ = sorted(source.listing())
    outcomes = run(source, incoming, files=[first], progress=scribbler(incoming, 2))
    assert [is_error(outcome) for _, outcome in outcomes] == [Damaged]
    outcomes = run(source, incoming, files=[first, second])
    assert [is_error(outcome) for _, outcome in outcomes] == [None, None]
    assert_nothing_left(incoming)


# -- what goes wrong on the card --------------------------------------------------------------------------------------
def test_an_unreadable_file_costs_that_file_only(incoming):
    """A file that gives EIO (the first page of a process does) is Unreadable, the next one is copied."""
    source = FolderSource(Path("/proc/self"))
    found = Path("/proc/self/mem").stat()
    bad = CardFile("mem", found.st_size, found.st_mtime_ns, Kind.PICTURE)
    outcomes = run(source, incoming, files=[bad, CardFile("no-such", 1, 1, Kind.PICTURE), bad])
    assert [is_error(outcome) for _, outcome in outcomes] == [Unreadable] * 3
    assert isinstance(outcomes[0][1].__cause__, OSError)
    assert outcomes[0][1].__cause__.errno == errno.EIO
    assert_nothing_left(incoming)


@pytest.mark.parametrize("change", [1, -1, -BLOCK])
def test_a_file_that_changes_while_it_is_read(card, incoming, change):
    """A file that grows or shrinks in the middle is Changing, not copied, and costs that file only."""
    source = FolderSource(card)
    *others, last = sorted(source.listing())
    seen = [0]

    def progress(count):
        seen[0] += count
        if seen[0] == BLOCK:
            os.truncate(card / last.path, last.size + change)

    outcomes = run(source, incoming, files=[last, others[0]], progress=progress)
    assert [is_error(outcome) for _, outcome in outcomes] == [Changing, None]
    assert_nothing_left(incoming)


def test_a_file_that_grows_for_ever(card, incoming):
    """Of a file that grows as fast as it is read, hardly more than its listed size is read."""
    source = FolderSource(card)
    file = max(source.listing())
    total = [0]

    def progress(count):
        total[0] += count
        with (card / file.path).open("ab") as stream:
            stream.write(bytes(2 * BLOCK))

    outcomes = run(source, incoming, files=[file], progress=progress)
    assert [is_error(outcome) for _, outcome in outcomes] == [Changing]
    assert total[0] <= file.size + BLOCK


def test_a_card_that_vanishes(card, incoming, tmp_path):
    """A card that goes while a file is read ends the iteration with SourceGone; what was copied before stays good."""
    source = FolderSource(card)

    def progress(count):
        if count == BLOCK - 1:  # the second file
            card.rename(tmp_path / "pulled")

    outcomes = run(source, incoming, keep=tmp_path / "store", progress=progress)
    assert [is_error(outcome) for _, outcome in outcomes] == [None, SourceGone]
    assert len(list((tmp_path / "store").iterdir())) == 1
    assert_nothing_left(incoming)


# -- what goes wrong on our disk --------------------------------------------------------------------------------------
def test_the_reserve_is_kept(card, incoming):
    """A file that would touch the reserve (here the whole disk) is not begun, and nothing after it."""
    disk = os.statvfs(incoming)
    outcomes = run(FolderSource(card), incoming, reserve=disk.f_blocks * disk.f_frsize)
    assert [is_error(outcome) for _, outcome in outcomes] == [NoRoom]
    assert_nothing_left(incoming)


@needs_root
def test_a_small_disk_fills_up(card, tmp_path):
    """On a disk with room for some, those are copied and kept, then it is NoRoom; with room again the rest comes."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={4 * BLOCK}", "none", small], check=True)
    try:
        sweep(small / "incoming")
        outcomes = run(FolderSource(card), small / "incoming", keep=small / "store")
        assert [is_error(outcome) for _, outcome in outcomes] == [None, None, None, None, NoRoom]
        assert_nothing_left(small / "incoming")
        assert len(list((small / "store").iterdir())) == 4
        subprocess.run(["mount", "-o", f"remount,size={20 * BLOCK}", small], check=True)
        rest = sorted(FolderSource(card).listing())[4:]
        outcomes = run(FolderSource(card), small / "incoming", files=rest, keep=small / "store")
        assert [is_error(outcome) for _, outcome in outcomes] == [None]
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_folder_that_is_missing_needs_a_human(card, tmp_path):
    """Without a folder to write to the iteration ends with one sentence."""
    outcomes = run(FolderSource(card), tmp_path / "nothing")
    assert [is_error(outcome) for _, outcome in outcomes] == [NeedsHuman]


IMPORT = """
import os, sys, threading
from pathlib import Path
from ailasd.copying import Copy, copies
from ailasd.disk import flush_folders, settle, sweep
from ailasd.sources.folder import FolderSource
card, home, wait = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
source = FolderSource(card)
sweep(home / "incoming")
def say(*words):
    os.writev(1, [" ".join(words).encode() + b"\\n"])  # not write(2), in which faults are injected
def progress(count):
    if wait:
        say("reading")
        threading.Event().wait(wait)
for file, copy in copies(source, sorted(source.listing()), home / "incoming", reserve=0, stop=threading.Event(),
                         inspect=lambda path: None, progress=progress):
    if isinstance(copy, Copy):
        settle(copy.temp, home / "store" / copy.md5[:2] / copy.md5)
        flush_folders([home / "store" / copy.md5[:2]])
        say("settled", copy.md5)
    else:
        say(type(copy).__name__)
"""


def traced(card, home, *options):
    """Run an import under strace; gives its output and the trace's lines."""
    home.mkdir(exist_ok=True)
    trace = home / "trace"
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", trace, *options, sys.executable, "-c", IMPORT, card, home, "0"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    return done.stdout.split("\n"), trace.read_text().splitlines()


@needs_strace
def test_durable_first(card, tmp_path):
    """Of each file: data flushed, cache dropped, looked at, read back, renamed, its folder flushed, in this order."""
    calls = "fdatasync,fsync,renameat2,mincore,readv,mkdir,fadvise64,write"
    _, lines = traced(card, tmp_path / "home", "-e", f"trace={calls}")
    names = re.findall(r'renameat2\([^,]*, "[^"]*/([^"/]+)"', "\n".join(lines))
    assert len(names) == 5
    for name in names:
        events = [
            (number, line.split("(")[0].split()[-1], line)
            for number, line in enumerate(lines)
            if name in line and "resumed" not in line
        ]
        order = [call for _, call, _ in events]
        flushed = order.index("fdatasync")
        renamed = order.index("renameat2")
        assert max(index for index, call in enumerate(order) if call == "write") < flushed
        assert "POSIX_FADV_DONTNEED" in events[flushed + 1][2]
        assert "readv" in order[flushed + 2 : renamed]
        after = next(line for line in lines[events[renamed][0] + 1 :] if " fsync(" in line)
        assert "/store/" in after
    for number, line in enumerate(lines):  # each new folder is made durable before anything lies in it
        if " mkdir(" in line and "/home/" in line:
            parent = Path(re.findall(r'"([^"]+)"', line)[0]).parent
            following = next(after for after in lines[number + 1 :] if " fsync(" in after or "renameat2(" in after)
            assert f"<{parent}>" in following


@needs_strace
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("write:error=ENOSPC:when=4", ["NoRoom"]),
        ("write:error=EDQUOT:when=4", ["NoRoom"]),
        ("write:error=EROFS:when=4", ["NeedsHuman"]),
        ("fdatasync:error=ENOSPC:when=2", ["NoRoom"]),
        ("fdatasync:error=EIO:when=2", []),
        ("fdatasync:error=EIO:when=2+", ["Damaged"] * 4),
    ],
)
def test_faults_of_our_disk(card, tmp_path, fault, expected):
    """A full disk that was not foreseen is NoRoom, a broken one NeedsHuman; a failed flush is tried once more."""
    call = fault.split(":")[0]
    said, _ = traced(card, tmp_path / "home", "-e", f"trace={call}", "-e", f"inject={fault}")
    assert [line for line in said if line and not line.startswith("settled")] == expected
    settled = [line.split()[1] for line in said if line.startswith("settled")]
    assert len(settled) >= 1
    stored = [path for path in (tmp_path / "home" / "store").rglob("*") if path.is_file()]
    assert sorted(path.name for path in stored) == sorted(settled)
    assert all(hashlib.md5(path.read_bytes()).hexdigest() == path.name for path in stored)
    assert list((tmp_path / "home" / "incoming").iterdir()) == []


# -- killed -----------------------------------------------------------------------------------------------------------
def test_killed_in_the_middle(card, tmp_path):
    """A killed process leaves a temporary file: swept afterwards, but never while its process lives."""
    home = tmp_path / "home"
    with subprocess.Popen(
        [sys.executable, "-c", IMPORT, card, home, "60"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "reading\n"
        assert sweep(home / "incoming") == 0
        child.send_signal(signal.SIGKILL)
    assert len(list((home / "incoming").iterdir())) == 1
    assert sweep(home / "incoming") == 1
    assert_nothing_left(home / "incoming")


@pytest.mark.slow
@pytest.mark.parametrize("delay", [number * 0.004 for number in range(12)])
def test_killed_anywhere(card, tmp_path, delay):
    """Whenever it is killed, a file in the store is whole, and what it said was settled is there."""
    home = tmp_path / "home"
    with subprocess.Popen(
        [sys.executable, "-c", IMPORT, card, home, "0.001"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stdout
        said = child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
    stored = {path.name: path for path in (home / "store").rglob("*") if path.is_file()}
    assert {line.split()[1] for line in said.splitlines() if line.startswith("settled ")} <= set(stored)
    assert all(hashlib.md5(path.read_bytes()).hexdigest() == name for name, path in stored.items())
    sweep(home / "incoming")
    assert_nothing_left(home / "incoming")


# -- settle and sweep -------------------------------------------------------------------------------------------------
def test_settling_twice_is_harmless(tmp_path):
    """A destination that has the same bytes already is as good; the temporary file goes."""
    for _ in range(2):
        (tmp_path / "temp").write_bytes(b"picture")
        settle(tmp_path / "temp", tmp_path / "a" / "b" / "c.jpg")
        assert not (tmp_path / "temp").exists()
        assert (tmp_path / "a" / "b" / "c.jpg").read_bytes() == b"picture"


@pytest.mark.parametrize("other", [b"PICTURE", b"pictur", b""])
def test_settling_never_overwrites(tmp_path, other):
    """A destination with other bytes stays as it is, and so does the copy."""
    (tmp_path / "temp").write_bytes(b"picture")
    (tmp_path / "there.jpg").write_bytes(other)
    with pytest.raises(Damaged):
        settle(tmp_path / "temp", tmp_path / "there.jpg")
    assert (tmp_path / "there.jpg").read_bytes() == other
    assert (tmp_path / "temp").read_bytes() == b"picture"


def test_settling_where_no_folder_can_be(tmp_path):
    """A destination below a file needs a human; the copy stays."""
    (tmp_path / "temp").write_bytes(b"picture")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NeedsHuman):
        settle(tmp_path / "temp", tmp_path / "file" / "x.jpg")
    assert (tmp_path / "temp").exists()


def test_sweep_takes_only_its_own(tmp_path):
    """The sweep makes the folder, and removes nothing that does not bear its prefix."""
    incoming = tmp_path / "new" / "incoming"
    assert sweep(incoming) == 0
    (incoming / f"{PREFIX}0123").write_bytes(b"half")
    (incoming / "picture.jpg").write_bytes(b"whole")
    assert sweep(incoming) == 1
    assert [path.name for path in incoming.iterdir()] == ["picture.jpg"]
