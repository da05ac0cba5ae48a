"""Mounting cards: as the service's own user, against real udev, D-Bus, polkit, UDisks2 and our helper (``lab``).

Cards have ext4, since the kernels of CI machines have no FAT; the guest reads, clears and yanks FAT and exFAT, as
UDisks2 mounts them and as the helper does in its unit's sandbox.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import lab as machine
import pytest
from lab import USER, Lab, LabCard, missing

from ailasd.cards import privileged

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

PICTURE = "DCIM/100GOPRO/G0010001.JPG"
LARGE = 24 << 20
"""Bytes of a file that cannot have been read ahead."""

OURS = r" /dev/loop[2-9][0-9][0-9] "
"""The lab's cards among the mounts: the machine's own loop devices have lower numbers than ``lab.FIRST_LOOP``."""

HEAD = f"""
import os, re, sys
from pathlib import Path
from ailasd import errors
from ailasd.cards import Medium, MediumKind
from ailasd.cards.mounting import Mounting
def where(): return [line.split()[4:6] for line in open("/proc/self/mountinfo") if re.search("{OURS}", line)]
def wait(): sys.stdin.readline()
medium = Medium("1", MediumKind.CARD, sys.argv[1], "Lab Reader", Path(sys.argv[1]).name, "ext4",
                size=int(sys.argv[2]), write_protected=sys.argv[3] == "True")
mounting = Mounting()
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One machine for all of them: each leaves it as it was."""
    if reason := missing():
        pytest.skip(reason)
    with Lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_it_was(lab: Lab) -> Iterator[None]:
    """Nothing is mounted after a test, and no mount point is left."""
    yield
    assert [line for line in lab.mounts(" /dev/loop") if re.search(OURS, line)] == []
    assert lab.run("ls", "/run/ailasd-cards") == ""


def pictures(folder: Path) -> None:
    """A small card of a camera."""
    (folder / "DCIM/100GOPRO").mkdir(parents=True)
    (folder / PICTURE).write_bytes(b"picture")


def large(folder: Path) -> None:
    """A card whose reading takes a while."""
    (folder / "DCIM/100GOPRO").mkdir(parents=True)
    (folder / PICTURE).write_bytes(os.urandom(1 << 20) * (LARGE >> 20))


def started(lab: Lab, card: LabCard, code: str, *, user: str | None = USER) -> subprocess.Popen[str]:
    """A program of the daemon's user, in a mount namespace as the sandboxed service has it."""
    about = card.medium
    words = (about.node, str(about.size), str(about.write_protected))
    return lab.python(HEAD + code, *words, user=user, daemon_s_namespace=True)


def done(process: subprocess.Popen[str]) -> list[str]:
    """What it still prints, line by line; it must end well, and soon: nothing hangs."""
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said.splitlines()


def told(lab: Lab, card: LabCard, code: str, *, user: str | None = USER) -> list[str]:
    """What a program prints."""
    return done(started(lab, card, code, user=user))


def asked(lab: Lab, *words: str) -> dict[str, str]:
    """What the helper answers."""
    code = """
import socket, sys
to = socket.socket(socket.AF_UNIX); to.connect("/run/ailasd-mount.sock"); to.sendall(sys.argv[1].encode() + b"\\n")
print(to.makefile().readline())
"""
    answer: dict[str, str] = json.loads(done(lab.python(code, " ".join(words)))[0])
    return answer


@pytest.fixture
def no_udisks(lab: Lab) -> Iterator[None]:
    """UDisks2 is not there: it is not running and cannot be started."""
    lab.run("mount", "--bind", "/bin/false", "/usr/libexec/udisks2/udisksd")
    lab.signal("udisksd", signal.SIGKILL)
    yield
    lab.run("umount", "/usr/libexec/udisks2/udisksd")


@pytest.fixture
def no_leave(lab: Lab) -> Iterator[None]:
    """Polkit has no rule for us."""
    rules = "/etc/polkit-1/rules.d/50-ailasd.rules"
    lab.run("mv", rules, "/run/lab/")
    lab.signal("polkitd", signal.SIGKILL)  # D-Bus starts it anew: it reads its rules then
    yield
    lab.run("mv", "/run/lab/50-ailasd.rules", rules)
    lab.signal("polkitd", signal.SIGKILL)


READ = f"""
with mounting.mounted(medium) as root:
    print((root / "{PICTURE}").read_text())
    print(root.parent)
    print(where()[0][1])
print(where())
"""


def test_a_card_is_read_through_udisks(lab: Lab):
    """UDisks2 mounts it for the service without a seat, read-only and harmless; afterwards it is not mounted."""
    with lab.card(pictures) as card:
        text, above, options, after = told(lab, card, READ)
    assert (text, above, after) == ("picture", "/media/ailasd", "[]")
    assert {"ro", "nosuid", "nodev", "noexec", "nosymfollow"} <= set(options.split(","))


def test_the_helper_mounts_where_udisks_is_not(lab: Lab, no_udisks: None):
    """Without UDisks2 our own helper, with CAP_SYS_ADMIN alone, does the same."""
    with lab.card(pictures) as card:
        text, above, options, after = told(lab, card, READ)
    assert (text, above, after) == ("picture", "/run/ailasd-cards", "[]")
    assert {"ro", "nosuid", "nodev", "noexec", "nosymfollow"} <= set(options.split(","))


def test_the_helper_mounts_where_polkit_refuses(lab: Lab, no_leave: None):
    """Without our polkit rule UDisks2 refuses, which is told, and the helper mounts."""
    say = "from ailasd import logs; logs.set_up('info', sys.stdout)\n"
    with lab.card(pictures) as card:
        line, text, above, _, after = told(lab, card, say + READ)
    assert (text, above, after) == ("picture", "/run/ailasd-cards", "[]")
    assert "Not authorized" in json.loads(line)["problem"]
    assert json.loads(line)["event"] == "mount_helped"


@pytest.mark.slow
def test_without_both_the_way_out_is_named(lab: Lab, no_udisks: None):
    """Neither UDisks2 nor the helper: an error that says what to type."""
    code = """
mounting = Mounting(helper=Path("/run/nobody.sock"))
try:
    with mounting.mounted(medium): print("mounted")
except errors.Unreadable as error:
    print(error)
"""
    with lab.card(pictures) as card:
        (said,) = told(lab, card, code)
    assert "sudo ailasd setup" in said
    assert said.startswith("Lab Reader cannot be mounted: ")


@pytest.mark.slow
def test_udisks_that_does_not_answer_is_not_waited_for(lab: Lab):
    """UDisks2 is stopped dead: within seconds the helper mounts."""
    with lab.card(pictures) as card:
        told(lab, card, READ)
        lab.signal("udisksd", signal.SIGSTOP)
        try:
            began = time.monotonic()
            _, above, _, after = told(lab, card, READ)
            assert time.monotonic() - began < 30
        finally:
            lab.signal("udisksd", signal.SIGKILL)
    assert (above, after) == ("/run/ailasd-cards", "[]")


READ_SLOWLY = f"""
with mounting.mounted(medium) as root:
    stream = (root / "{PICTURE}").open("rb", buffering=0)
    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    print(len(stream.read(1000)))
    print(root.parent, flush=True)
    wait()
    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        print(sum(len(part) for part in iter(lambda: stream.read(1 << 20), b"")))
    except OSError as error:
        print(error.errno)
    stream.close()
print(where())
"""


@pytest.mark.parametrize("back", [True, False], ids=["restarted", "gone for good"])
@pytest.mark.slow
def test_udisks_stops_in_mid_copy(lab: Lab, back: bool):
    """UDisks2 is killed while a card is read: reading goes on, and the card is unmounted in the end."""
    with lab.card(large) as card:
        process = started(lab, card, READ_SLOWLY)
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["1000\n", "/media/ailasd\n"]
        if not back:
            lab.run("mount", "--bind", "/bin/false", "/usr/libexec/udisks2/udisksd")
        lab.signal("udisksd", signal.SIGKILL)
        try:
            assert done_after(process, "\n") == [str(LARGE - 1000), "[]"]
        finally:
            if not back:
                lab.run("umount", "/usr/libexec/udisks2/udisksd")


def done_after(process: subprocess.Popen[str], text: str) -> list[str]:
    """What it prints after it was told to go on."""
    said, _ = process.communicate(text, timeout=60)
    assert process.returncode == 0, said
    return said.splitlines()


@pytest.mark.parametrize("udisks", [True, False], ids=["udisks", "helper"])
@pytest.mark.slow
def test_a_yank_in_mid_read_leaves_no_mount(lab: Lab, udisks: bool, request: pytest.FixtureRequest):
    """A card that leaves its reader while it is read gives an error, and its mount is gone soon."""
    if not udisks:
        request.getfixturevalue("no_udisks")
    with lab.card(large) as card:
        process = started(lab, card, READ_SLOWLY)
        assert process.stdout
        assert process.stdout.readline() == "1000\n"
        assert process.stdout.readline()
        card.yank()
        began = time.monotonic()
        assert done_after(process, "\n") == ["5", "[]"]  # EIO
        assert time.monotonic() - began < 30


@pytest.mark.slow
def test_a_card_that_is_gone_is_gone(lab: Lab):
    """A card that was pulled out before it could be mounted is no unreadable one: nobody need do anything."""
    code = """
try:
    with mounting.mounted(medium): print("mounted")
except errors.SourceGone as error:
    print(error)
"""
    with lab.card(pictures) as card:
        card.yank()
        assert told(lab, card, code) == ["Lab Reader is not there any more, its reader is"]
    assert told(lab, card, code) == ["Lab Reader is not there any more, its reader is"]


def test_a_damaged_card_is_said_to_be(lab: Lab):
    """A file system that the kernel refuses: one sentence with a way out, from the helper's own try."""
    code = """
try:
    with mounting.mounted(medium): print("mounted")
except errors.Unreadable as error:
    print(error)
"""
    with lab.card(pictures) as card:
        with card.image.open("r+b") as image:
            image.seek(1024)
            image.write(bytes(4096))
        (said,) = told(lab, card, code)
    assert "it may be damaged: see whether the camera still shows its pictures" in said
    assert said.isprintable()


# -- a desktop was first ----------------------------------------------------------------------------------------------
MOUNT_FIRST = """
set -e
mkdir -p {folder}; chmod 755 {folder}/..
mount -t ext4 -o {options} {device} {folder}
"""


def mounted_by_somebody(lab: Lab, card: LabCard, folder: str, options: str = "rw,nosuid,nodev") -> None:
    lab.run("sh", "-c", MOUNT_FIRST.format(folder=folder, options=options, device=card.device))


def test_the_mount_of_a_desktop_is_used_and_left_alone(lab: Lab):
    """A desktop mounted it first: the daemon reads there, mounts nothing, and leaves it mounted until all is read."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD")
        text, above, _, after = told(lab, card, READ)
        assert (text, above) == ("picture", "/media/marie")
        assert "/media/marie/CARD" in after
        assert len(lab.mounts(card.device)) == 1
        lab.run("umount", "/media/marie/CARD")


LET_GO = "print(mounting.let_go(medium))"


def test_the_mount_of_a_desktop_is_undone_when_all_is_read(lab: Lab):
    """What a desktop mounted is ejected for it, so that the card is mounted nowhere when it may be pulled out."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD")
        assert told(lab, card, LET_GO) == ["None"]
        assert lab.mounts(card.device) == []
        assert told(lab, card, LET_GO) == ["None"]  # there was nothing to undo


def test_what_somebody_uses_stays_mounted(lab: Lab):
    """While anybody has something on the card open it is not taken away from them, and where it is mounted is said."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD")
        looking = lab.python("import os, sys; os.chdir('/media/marie/CARD'); print(); sys.stdin.readline()", user=None)
        assert looking.stdout
        looking.stdout.readline()
        assert told(lab, card, LET_GO) == ["/media/marie/CARD"]
        assert len(lab.mounts(card.device)) == 1
        looking.communicate("\n", timeout=10)
        assert told(lab, card, LET_GO) == ["None"]


def test_what_the_machine_mounted_is_not_ejected(lab: Lab):
    """A mount that is no desktop's is an administrator's: it stays, and nobody is told to pull the card out."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/opt/data")
        assert told(lab, card, LET_GO) == ["/opt/data"]
        assert "/opt/data" in lab.mounts(card.device)[0]
        lab.run("umount", "/opt/data")


def test_a_desktop_s_user_needs_no_helper_to_eject(lab: Lab):
    """Run by hand by the one whose desktop mounted it, UDisks2 is enough."""
    code = f"""
from ailasd.cards import udisks
mounting = Mounting(helper=Path("/run/nobody.sock"))
udisks.mount(medium.node, medium.fs)
print(len(where()))
{LET_GO}
print(where())
"""
    with lab.card(pictures) as card:
        assert told(lab, card, code) == ["1", "None", "[]"]


@pytest.mark.slow
def test_the_mount_of_a_desktop_that_is_for_its_user_alone_is_read_through_the_helper(lab: Lab):
    """UDisks2 lets only its user into /media/USER; the helper shows the card to us, read-only, and takes that back."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD")
        lab.run("chmod", "700", "/media/marie")
        text, above, _, after = told(lab, card, READ.replace("where()[0][1]", "where()[-1][1]"))
        assert (text, above) == ("picture", "/run/ailasd-cards")
        assert "ailasd-cards" not in after
        assert "/media/marie/CARD" in after
        lab.run("umount", "/media/marie/CARD")


@pytest.mark.slow
def test_what_the_helper_shows_of_a_desktop_s_mount_is_never_writable(lab: Lab):
    """Not for an instant, in the daemon's namespace either: the clone is attached with its final attributes."""
    code = """
with mounting.mounted(medium) as root:
    print([options for place, options in where() if place.startswith("/run/ailasd-cards")][0])
"""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD", "rw")
        lab.run("chmod", "700", "/media/marie")
        (options,) = told(lab, card, code)
        lab.run("umount", "/media/marie/CARD")
    assert {"ro", "nosuid", "nodev", "noexec", "nosymfollow"} <= set(options.split(","))


# -- cleaning ---------------------------------------------------------------------------------------------------------
CLEAN = f"""
try:
    with mounting.mounted(medium) as root:
        with mounting.writable(medium) as there:
            (there / "{PICTURE}").unlink()
        try:
            (root / "new").touch()
        except OSError as error:
            print(error.errno)
        print((root / "{PICTURE}").exists())
except errors.NeedsHuman as error:
    print(error)
"""


@pytest.mark.parametrize("udisks", [True, False], ids=["udisks", "helper"])
@pytest.mark.slow
def test_a_card_is_writable_only_inside(lab: Lab, udisks: bool, request: pytest.FixtureRequest):
    """Cleaning deletes on a card that is read-only again (EROFS) right after, and unmounted with the deletion on it."""
    if not udisks:
        request.getfixturevalue("no_udisks")
    with lab.card(pictures) as card:
        assert told(lab, card, CLEAN) == ["30", "False"]
        assert lab.mounts(card.device) == []
        assert PICTURE.rpartition("/")[2] not in machine.run("debugfs", "-R", "ls DCIM/100GOPRO", card.image)


@pytest.mark.slow
def test_a_write_protected_card_is_read_but_not_cleaned(lab: Lab):
    """The little switch: pictures come in, and cleaning says that a person must move it."""
    with lab.card(pictures, write_protected=True) as card:
        assert told(lab, card, READ)[0] == "picture"
        (said,) = told(lab, card, CLEAN)
    assert said.startswith("Lab Reader is write protected: move the little switch on it")


@pytest.mark.slow
def test_the_switch_is_asked_of_the_kernel_too(lab: Lab):
    """The helper looks at the switch itself."""
    with lab.card(pictures, write_protected=True) as card:
        (said,) = told(
            lab, card, "import dataclasses; medium = dataclasses.replace(medium, write_protected=False)" + CLEAN
        )
    assert "write protected" in said


@pytest.mark.slow
def test_a_mount_of_somebody_else_s_is_never_made_writable(lab: Lab):
    """What a desktop mounted read-only stays so: cleaning asks for the card to be ejected there."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD", "ro")
        (said,) = told(lab, card, CLEAN)
        assert "is mounted by somebody else, at /media/marie/CARD" in said
        assert " ro," in lab.mounts(card.device)[0]
        lab.run("umount", "/media/marie/CARD")


@pytest.mark.slow
def test_a_mount_that_is_writable_for_us_is_used_as_it_is(lab: Lab):
    """A desktop's writable mount that lets us delete is as good as ours."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD")
        assert told(lab, card, CLEAN) == ["False"]
        lab.run("umount", "/media/marie/CARD")


@pytest.mark.slow
def test_a_yank_while_cleaning_leaves_nothing(lab: Lab):
    """The card leaves while it is writable: an error of its own at the most, no mount, and nothing hangs."""
    code = f"""
try:
    with mounting.mounted(medium) as root, mounting.writable(medium) as there:
        print("writable", flush=True)
        wait()
        (there / "{PICTURE}").unlink()
        os.fsync(os.open(there / "DCIM/100GOPRO", os.O_RDONLY))
except (OSError, errors.AilasdError) as error:
    print("failed")
print(where())
"""
    with lab.card(large) as card:
        process = started(lab, card, code)
        assert process.stdout
        assert process.stdout.readline() == "writable\n"
        card.yank()
        assert done_after(process, "\n")[-1] == "[]"


# -- switching off ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("udisks", "why"), [(True, "it cannot be switched off"), (False, "UDisks2")])
def test_what_is_not_switched_off_says_why(lab: Lab, udisks: bool, why: str, request: pytest.FixtureRequest):
    """A loop device has no switch, and without UDisks2 nothing has; what has one is switched off in the guest."""
    if not udisks:
        request.getfixturevalue("no_udisks")
    with lab.card(pictures) as card:
        (said,) = told(lab, card, "print(mounting.power_off(medium))")
    assert why in said


# -- what a daemon that was killed leaves ------------------------------------------------------------------------------
@pytest.mark.parametrize("udisks", [True, False], ids=["udisks", "helper"])
@pytest.mark.parametrize("gone", [True, False], ids=["card gone", "card there"])
@pytest.mark.slow
def test_what_an_earlier_life_left_is_released(lab: Lab, udisks: bool, gone: bool, request: pytest.FixtureRequest):
    """A daemon killed while it read leaves a mount; the next one says so and undoes it, card or no card."""
    if not udisks:
        request.getfixturevalue("no_udisks")
    kill = "manager = mounting.mounted(medium); print(manager.__enter__(), flush=True); os.kill(os.getpid(), 9)"
    with lab.card(pictures) as card:
        process = started(lab, card, kill)
        place = process.communicate(timeout=60)[0].strip()
        assert len(lab.mounts(card.device)) == 1
        if gone:
            card.yank()
        assert told(lab, card, "print(mounting.release_leftovers()); print(where())") in (
            [f"['{place}']", "[]"],
            ["[]", "[]"] if gone else [],  # UDisks2 was faster
        )


@pytest.mark.slow
def test_a_left_mount_is_not_read_as_the_card(lab: Lab, no_udisks: None):
    """What an earlier life left is mounted anew: it may be the stale mount of the card before."""
    with lab.card(pictures) as card:
        assert "path" in asked(lab, "mount", card.medium.disk, "ext4")
        left = lab.mounts(card.device)[0].split()[4]
        lab.run("mount", "-o", "remount,bind,ro,noatime", left)  # to be known again by
        text, now, after = told(
            lab, card, f"""
with mounting.mounted(medium) as root:
    print((root / "{PICTURE}").read_text())
    print([line.split()[5] for line in open("/proc/self/mountinfo") if re.search("{OURS}", line)])
print(where())
""")  # fmt: skip
    assert (text, after) == ("picture", "[]")
    assert "ro,nosuid,nodev" in now
    assert "noatime" not in now


# -- the helper trusts nobody ------------------------------------------------------------------------------------------
def system_disk() -> str:
    """The block device of this machine's own root, or its largest disk."""
    disks = [one for one in Path("/sys/class/block").iterdir() if not one.name.startswith(("loop", "ram", "zram"))]
    return max(disks, key=lambda one: int((one / "size").read_text())).name


NO_REQUESTS = [
    "",
    "mount",
    "mount {name}",
    "mount {name} ext4 rw",
    "mount /dev/{name} ext4",
    "mount ../{name} ext4",
    "mount .. ext4",
    "mount . ext4",
    "mount -o ext4",
    "mount {name} proc",
    "mount {name} ext4,rw",
    "mount {name} -o",
    "mount {name} xfs",
    "mount {name}\x00 ext4",
    "mount \u0441da1 ext4",  # not the letter s
    "mount loop999 ext4",
    "mount {system} ext4",
    "bind {system}",
    "bind {name}",  # nobody has mounted it
    "writable {system}",
    "writable {name}",
    "readonly ../../etc",
    "unmount ../../media",
    "unmount /",
    "remount {name}",
    "mount " + "a" * 300 + " ext4",
]


def test_the_helper_refuses(lab: Lab):
    """Whatever is no request for a removable medium that nobody uses changes nothing, and is answered with a reason."""
    code = """
import json, os, sys
os.environ["AILASD_FILE_SYSTEMS"] = "vfat exfat ext4"
from ailasd.cards.privileged import LONGEST, answer
for line in json.loads(sys.argv[1]):
    print(json.dumps(answer(line.encode()[:LONGEST])))
"""
    with lab.card(pictures) as card:
        before = lab.run("cat", "/proc/1/mountinfo")
        lines = [line.replace("{name}", card.medium.disk).replace("{system}", system_disk()) for line in NO_REQUESTS]
        answers = [json.loads(line) for line in done(lab.python(code, json.dumps(lines), user=None))]
        assert len(answers) == len(lines)
        assert [line for line, answer in zip(lines, answers, strict=True) if "path" in answer] == []
        assert all(answer["problem"].isprintable() and answer["why"] for answer in answers)
        assert lab.run("cat", "/proc/1/mountinfo") == before


def test_nobody_else_may_ask(lab: Lab):
    """The socket is the service's alone."""
    code = 'import socket; socket.socket(socket.AF_UNIX).connect("/run/ailasd-mount.sock")'
    process = lab.python(f"try:\n    {code}\nexcept PermissionError: print('no')", user="games")
    assert done(process) == ["no"]


def test_the_helper_refuses_a_fixed_disk(lab: Lab):
    """A disk that cannot be taken out is not touched, whoever asks."""
    with lab.card(pictures) as card:
        lab.run("umount", f"/sys/devices/virtual/block/{card.medium.disk}/removable")
        assert asked(lab, "mount", card.medium.disk, "ext4")["problem"] == f"{card.medium.disk} is no removable medium"


@pytest.mark.parametrize("place", ["/mnt", "/media/marie", "/opt/card"])
@pytest.mark.slow
def test_the_helper_refuses_a_disk_of_the_system(lab: Lab, place: str):
    """A removable disk that is mounted where no desktop mounts cards may be what this machine runs from."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, place)
        for words in (("mount", "ext4"), ("bind",), ("writable",)):
            answer = asked(lab, words[0], card.medium.disk, *words[1:])
            assert "in use by this machine itself" in answer["problem"]
        lab.run("umount", place)


@pytest.mark.slow
def test_the_helper_does_not_mount_twice(lab: Lab):
    """A card that somebody has mounted is not mounted once more."""
    with lab.card(pictures) as card:
        mounted_by_somebody(lab, card, "/media/marie/CARD")
        assert asked(lab, "mount", card.medium.disk, "ext4")["why"] == "busy"
        assert asked(lab, "unmount", card.medium.disk)["path"]  # undoes only what is ours
        assert len(lab.mounts(card.device)) == 1
        lab.run("umount", "/media/marie/CARD")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        ("mkdir -p {0}; touch {0}/x", "in_the_way"),
        ("ln -s /etc {0}", "in_the_way"),
        ("touch {0}", "failed"),
        ("mkdir {0}", None),
    ],
    ids=["full folder", "symlink", "file", "empty folder"],
)
@pytest.mark.slow
def test_a_mount_point_that_is_there_already(lab: Lab, no_udisks: None, make: str, why: str | None):
    """An empty folder is used; anything else is in the way, which is said, and stays as it is."""
    with lab.card(pictures) as card:
        place = f"/run/ailasd-cards/{card.medium.disk}"
        lab.run("sh", "-c", make.format(place))
        answer = asked(lab, "mount", card.medium.disk, "ext4")
        assert answer.get("why") == why
        if why is None:
            assert asked(lab, "unmount", card.medium.disk)
        else:
            assert lab.mounts(card.device) == []
            lab.run("rm", "-r", place)


@pytest.mark.slow
def test_a_stale_mount_gives_way(lab: Lab, no_udisks: None):
    """What still lies on the mount point of a card's name is of a card before it, and is taken away."""
    with lab.card(pictures) as old, lab.card(pictures) as card:
        place = f"/run/ailasd-cards/{card.medium.disk}"
        mounted_by_somebody(lab, old, place, "ro")
        assert told(lab, card, READ)[0] == "picture"
        assert lab.mounts(old.device) == []


@pytest.mark.slow
def test_the_helper_needs_python_alone(lab: Lab):
    """It runs in an environment that has nothing but ailasd's own files: the standard library is enough."""
    there = lab.run("sh", "-c", "ls /opt/ailasd/venv/lib/python3*/site-packages").split()
    assert there == ["ailasd"]
    assert asked(lab, "unmount", "sda1") == {"path": "/run/ailasd-cards/sda1"}


def test_mount_points_are_read_as_the_kernel_writes_them():
    """Spaces, newlines, backslashes and other bytes in a label come back as they are."""
    assert privileged._unescaped(rb"/media/a\040b\012c\134d" + b"\xff") == "/media/a b\nc\\d\udcff"
