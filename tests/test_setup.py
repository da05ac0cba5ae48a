"""``ailasd setup``: what should be, what is there, and that the one becomes the other, once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailasd import config
from ailasd.catalogue import Catalogue, upkeep
from ailasd.clock import SystemClock
from ailasd.errors import CatalogueError, ConfigError, NeedsHuman
from ailasd.setting_up import course, edition, files, installing, plan
from ailasd.setting_up.course import Order, set_up, take_away
from ailasd.setting_up.machine import Machine, kept_as
from ailasd.setting_up.plan import Found, Run, Wanted, Write

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "ailasd", "setup"]

WANTED = Wanted(
    files={
        f"{files.UNITS}/ailasd.service": b"[Service]\n[Install]\n",
        f"{files.UNITS}/ailasd-mount.socket": b"[Socket]\n[Install]\n",
        f"{files.UNITS}/ailasd-mount@.service": b"[Service]\n",
        f"{files.UDEV}/71-ailasd-camera.rules": b"# udev\n",
        f"{files.POLKIT}/50-ailasd.rules": b"// polkit\n",
        files.SYSUSERS: b"u ailasd\n",
        files.TMPFILES: b"d /run/ailasd-cards 0755 root root -\n",
        files.SYSCTL: b"-net.ipv4.tcp_allowed_congestion_control = reno cubic bbr\n",
    },
    config=b'kit = "kit-07"\n',
    units=("ailasd-mount.socket", "ailasd.service"),
    absent=(files.STORAGE_DROP_IN,),
)
BARE = Found(files={}, there=frozenset(), links={}, user=False, enabled=frozenset(), states={})
DONE = Found(
    files={**WANTED.files, files.CONFIG: b'kit = "another"\n'},
    there=frozenset({"/run/ailasd-cards"}),
    links={files.COMMAND: f"{files.VENV}/bin/ailasd"},
    user=True,
    enabled=frozenset(WANTED.units),
    states=dict.fromkeys(WANTED.units, "active"),
)


def commands(actions) -> list[str]:
    """The commands of the system that a plan has, in order."""
    return [" ".join(action.command) for action in actions if isinstance(action, Run)]


# -- the plan ---------------------------------------------------------------------------------------------------------
def test_a_bare_machine_gets_everything_in_an_order_that_works():
    """Files first, the user before what names it, systemd's reload before units start, sockets before services."""
    actions = plan.setting_up(WANTED, BARE)
    written = [action.path for action in actions if isinstance(action, Write)]
    assert set(written) == WANTED.files.keys() | {files.CONFIG}
    order = commands(actions)
    steps = [
        "systemd-sysusers ailasd.conf",
        "systemd-tmpfiles --create ailasd.conf",
        "systemctl daemon-reload",
        "udevadm control --reload",
        "systemctl enable --quiet ailasd-mount.socket",
        "systemctl start ailasd-mount.socket",
        "systemctl start ailasd.service",
    ]
    assert [one for one in order if one in steps] == steps
    assert isinstance(actions[0], Write)
    assert all(isinstance(action, Run) for action in actions[-len(order) :])


def test_a_machine_that_is_as_it_should_be_is_left_alone():
    """Nothing is planned, although the configuration is another one than we would write."""
    assert plan.setting_up(WANTED, DONE) == []


@pytest.mark.parametrize(
    ("path", "needed", "not_needed"),
    [
        (f"{files.UNITS}/ailasd.service", "systemctl restart ailasd.service", "systemctl restart ailasd-mount.socket"),
        (f"{files.UNITS}/ailasd-mount@.service", "systemctl daemon-reload", "systemctl restart ailasd.service"),
        (f"{files.UDEV}/71-ailasd-camera.rules", "udevadm control --reload", "systemctl daemon-reload"),
        (f"{files.POLKIT}/50-ailasd.rules", "systemctl try-restart polkit.service", "systemctl restart ailasd.service"),
        (files.SYSUSERS, "systemd-sysusers ailasd.conf", "systemctl daemon-reload"),
        (files.TMPFILES, "systemd-tmpfiles --create ailasd.conf", "systemd-sysusers ailasd.conf"),
        (
            files.SYSCTL,
            "systemctl restart systemd-modules-load.service systemd-sysctl.service",
            "systemd-tmpfiles --create ailasd.conf",
        ),
    ],
)
def test_what_changed_is_brought_into_force_and_nothing_else(path, needed, not_needed):
    """Whoever reads a file once is told when it changed."""
    found = replace(DONE, files={**DONE.files, path: b"older"})
    actions = plan.setting_up(WANTED, found)
    assert [action.path for action in actions if isinstance(action, Write)] == [path]
    assert needed in commands(actions)
    assert not_needed not in commands(actions)


def test_a_run_that_was_cut_off_is_finished_by_the_next():
    """All files are there, but nobody was told: everything is reloaded and started anew, nothing is written."""
    actions = plan.setting_up(WANTED, replace(DONE, unfinished=True))
    assert not [action for action in actions if isinstance(action, Write)]
    assert {"systemctl daemon-reload", "udevadm control --reload", "systemctl restart ailasd.service"} <= set(
        commands(actions)
    )


def test_an_image_is_only_prepared():
    """Nothing is started or reloaded on this machine for one that lies in a folder."""
    actions = plan.setting_up(WANTED, replace(BARE, live=False), "/mnt")
    assert commands(actions) == [
        "systemd-sysusers --root=/mnt ailasd.conf",
        "systemd-tmpfiles --root=/mnt --create ailasd.conf",
        "systemctl --root=/mnt enable --quiet ailasd-mount.socket",
        "systemctl --root=/mnt enable --quiet ailasd.service",
    ]


def test_taking_away_stops_first_and_leaves_pictures_to_root():
    """The user is removed after its folders have another owner; last what could say it again if that failed."""
    there = frozenset({files.STATE, files.PROGRAMS})
    actions = plan.taking_away(WANTED, replace(DONE, there=there))
    assert commands(actions)[0].startswith("systemctl stop ailasd.service ailasd-mount.socket")
    order = commands(actions)
    assert order.index(f"chown -R -h root:root {files.STATE}") < order.index("userdel ailasd")
    assert order.index("userdel ailasd") < order.index("groupdel ailasd-inbox")
    removed = [action.path for action in actions if isinstance(action, plan.Remove)]
    assert removed[-2:] == [files.COMMAND, files.PROGRAMS]
    assert not any(isinstance(action, Run) for action in actions[-2:])
    assert set(removed) == WANTED.files.keys() | {files.COMMAND, files.PROGRAMS}
    assert not {files.CONFIG, files.STATE, files.TOKEN, files.INBOX} & set(removed)


def test_the_page_is_seen_elsewhere_only_where_the_configuration_says_so():
    """Another address is a drop-in for the socket, which is started anew; the default needs none."""
    assert files.of_config(config.Config())[files.LISTEN_DROP_IN] is None
    elsewhere = config.Config.model_validate({"web": {"listen": "0.0.0.0:80"}})
    drop_in = files.of_config(elsewhere)[files.LISTEN_DROP_IN]
    assert drop_in is not None
    assert drop_in.decode().splitlines()[1:] == ["[Socket]", "ListenStream=", "ListenStream=0.0.0.0:80"]
    assert f"ListenStream={files.LISTEN}\n" in (ROOT / "systemd/ailasd-web.socket").read_text()
    assert config.Config().web.listen == files.LISTEN
    wanted = replace(WANTED, files={**WANTED.files, files.LISTEN_DROP_IN: drop_in}, units=("ailasd-web.socket",))
    found = replace(DONE, enabled=frozenset(wanted.units), states={"ailasd-web.socket": "active"})
    assert "systemctl restart ailasd-web.socket" in commands(plan.setting_up(wanted, found))


def test_no_page_at_all():
    """With web.listen = "" its socket is switched off, which another run leaves so."""
    assert files.of_config(config.Config.model_validate({"web": {"listen": ""}}))[files.LISTEN_DROP_IN] is None
    wanted = replace(WANTED, off=(files.PAGE,))
    on = replace(DONE, enabled=DONE.enabled | {files.PAGE}, states={**DONE.states, files.PAGE: "active"})
    switched = [f"systemctl disable --quiet {files.PAGE}", f"systemctl stop {files.PAGE}"]
    assert commands(plan.setting_up(wanted, on)) == switched
    assert plan.setting_up(wanted, DONE) == []
    stopped = commands(plan.taking_away(wanted, on))[0].split()
    assert {files.PAGE, *DONE.enabled} <= set(stopped)


def test_taking_away_twice_is_nothing():
    """A machine without ailasd has nothing to take away."""
    assert plan.taking_away(WANTED, BARE) == []


# -- what belongs where -----------------------------------------------------------------------------------------------
def test_each_file_of_systemd_has_its_place():
    """Nobody forgets to say where a new one goes, and no two go to the same place."""
    names = [path.name for path in (ROOT / "systemd").iterdir()]
    places = [files.place(name) for name in names]
    assert len(set(places)) == len(names)
    assert all(place.startswith("/etc/") for place in places)
    assert files.place("50-ailasd.rules").startswith("/etc/polkit-1/")
    assert files.place("71-ailasd-camera.rules").startswith("/etc/udev/")


def test_a_file_without_a_place_is_an_error():
    """Rather than being left out in silence."""
    with pytest.raises(KeyError):
        files.place("ailasd.unknown")


def test_the_first_configuration_is_the_example_with_the_kits_name():
    """It loads, and differs from the example in nothing else."""
    made = files.example_config("kit-07").decode()
    example = (ROOT / "config.example.toml").read_text()
    assert config.parse(made, "made") == config.parse(example, "example").model_copy(update={"kit": "kit-07"})
    assert config.parse(files.example_config("kit-07", "ACT").decode(), "made").light.led == "ACT"


@given(st.text(max_size=80))
def test_any_hosts_name_makes_a_kits_name(hostname):
    """Whatever somebody called the machine, the configuration takes it."""
    assert config.parse(f'kit = "{files.kit_from(hostname)}"', "x")


def test_storage_elsewhere_is_opened_to_the_service():
    """A drop-in lets it write there, and wait for the disk; odd names are no specifiers."""
    assert files.storage_drop_in(config.Config()) is None
    made = files.storage_drop_in(config.parse('[storage]\nfolder = "/data/100%/\\"a b"', "x"))
    assert made is not None
    assert b'RequiresMountsFor="/data/100%%/\\"a b"\n' in made
    assert b'ReadWritePaths="-/data/100%%/\\"a b"\n' in made


def test_the_helper_mounts_what_is_configured():
    """A drop-in tells it, and the service is started anew, which asks it; the shipped ones again need no drop-in."""
    assert files.of_config(config.Config())[files.FILE_SYSTEMS_DROP_IN] is None
    made = files.of_config(config.parse('[cards]\nfile_systems = ["exfat", "ext4"]', "x"))[files.FILE_SYSTEMS_DROP_IN]
    assert made is not None
    assert made.endswith(b'[Service]\nEnvironment="AILASD_FILE_SYSTEMS=exfat ext4"\n')
    wanted = replace(WANTED, files={**WANTED.files, files.FILE_SYSTEMS_DROP_IN: made})
    in_force = ["systemctl daemon-reload", "systemctl restart ailasd.service"]
    assert commands(plan.setting_up(wanted, DONE)) == in_force
    without = replace(WANTED, absent=(files.FILE_SYSTEMS_DROP_IN,))
    there = replace(DONE, files={**DONE.files, files.FILE_SYSTEMS_DROP_IN: made})
    assert commands(plan.setting_up(without, there)) == in_force


def test_the_service_gets_leave_for_the_one_light_that_it_is_to_use():
    """Udev and the sandbox open the configured one, and no other; without one nothing is opened."""
    assert set(files.of_light(config.Config()).values()) == {None}
    made = files.of_light(config.parse('[light]\nled = "input3::capslock"', "x"))
    rules, drop_in = made[files.LIGHT_RULES], made[files.LIGHT_DROP_IN]
    assert rules is not None
    assert drop_in is not None
    assert all(b'KERNEL=="input3::capslock"' in line for line in rules.splitlines() if b"RUN" in line)
    assert b"g+w $sys$devpath/delay_on $sys$devpath/delay_off" in rules
    assert drop_in.endswith(b'ReadWritePaths="-/sys/class/leds/input3::capslock"\n')


def test_the_service_gets_leave_for_a_buzzer():
    """Beside the light, with what makes it beep."""
    made = files.of_light(config.parse('[light]\nled = "ACT"\n[sound]\nbuzzer = "buzzer"', "x"))
    rules, drop_in = made[files.LIGHT_RULES], made[files.LIGHT_DROP_IN]
    assert rules is not None
    assert drop_in is not None
    assert {name: rules.count(b'KERNEL=="%s"' % name) for name in (b"ACT", b"buzzer")} == {b"ACT": 3, b"buzzer": 3}
    assert b"g+w $sys$devpath/delay_on $sys$devpath/delay_off $sys$devpath/shot" in rules
    assert drop_in.count(b"ReadWritePaths=") == 2
    alone = files.of_light(config.parse('[sound]\nbuzzer = "buzzer"', "x"))
    assert b'"-/sys/class/leds/buzzer"' in (alone[files.LIGHT_DROP_IN] or b"")


def test_another_light_is_brought_into_force():
    """Udev reads its rules and applies them to the lights, and the service is started in its new sandbox."""
    light = dict.fromkeys((files.LIGHT_RULES, files.LIGHT_DROP_IN), b"new")
    order = commands(plan.setting_up(replace(WANTED, files={**WANTED.files, **light}), DONE))
    assert "udevadm trigger --subsystem-match=leds --action=change" in order
    assert order[-1] == "systemctl restart ailasd.service"
    assert order.index("udevadm control --reload") < order.index("systemctl restart ailasd.service")


# -- a whole system in a folder ---------------------------------------------------------------------------------------
def tree(root: Path) -> dict[str, tuple[int, int, str]]:
    """Every path with mode, time and content or target."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        what = str(path.readlink()) if path.is_symlink() else path.read_text() if stat.S_ISREG(about.st_mode) else ""
        found[str(path.relative_to(root))] = (about.st_mode, about.st_mtime_ns, what)
    return found


@pytest.fixture
def image(tmp_path):
    """The folder of a system that is being made."""
    missing = [name for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}: apt-get install systemd")
    (tmp_path / "image/etc").mkdir(parents=True)
    return tmp_path / "image"


def setup(image: Path, order: Order | None = None) -> list[str]:
    """Set it up; what was said."""
    said: list[str] = []
    set_up(Machine(image), order or Order(kit="kit-07"), said.append)
    return said


@pytest.mark.lab
def test_setting_an_image_up_twice_changes_it_once(image):
    """The second run says so, and no file has another time, mode or content than before."""
    setup(image)
    before = tree(image)
    assert setup(image) == ["There is nothing to change."]
    assert tree(image) == before
    assert 'kit = "kit-07"' in before["etc/ailasd/config.toml"][2]
    assert before["usr/local/bin/ailasd"][2] == "/opt/ailasd/venv/bin/ailasd"
    assert "etc/systemd/system/multi-user.target.wants/ailasd.service" in before
    assert stat.S_IMODE(before["etc/ailasd/token"][0]) == 0o600
    assert stat.S_IMODE(before["var/lib/ailasd-inbox"][0]) == 0o2770
    groups = {line.split(":")[0]: line.split(":")[2:] for line in before["etc/group"][2].splitlines()}
    assert (image / "var/lib/ailasd-inbox").stat().st_gid == int(groups["ailasd-inbox"][0])
    assert groups["ailasd-inbox"][1] == "ailasd"
    assert {stat.S_IMODE(mode) for path, (mode, _, _) in before.items() if path.endswith(".nmconnection")} == {0o600}
    for name in (ROOT / "systemd").iterdir():
        assert before[files.place(name.name).lstrip("/")][2] == name.read_text()


@pytest.mark.lab
def test_a_dry_run_says_all_of_it_and_does_none(image):
    """What it says is what the next run does."""
    before = tree(image)
    would = [line.removeprefix("Would: ") for line in setup(image, Order(kit="kit-07", dry_run=True))]
    assert tree(image) == before
    assert would == setup(image)[: len(would)]
    assert len(would) > 8


@pytest.mark.lab
def test_a_configuration_is_never_overwritten(image):
    """Not by another kit's name either: that is said."""
    setup(image)
    path = image / "etc/ailasd/config.toml"
    path.write_text('kit = "mine"\n')
    said = setup(image, Order(kit="other"))
    assert path.read_text() == 'kit = "mine"\n'
    assert any("this kit is called mine" in line for line in said)


@pytest.mark.lab
def test_a_faulty_configuration_stops_before_anything_is_changed(image):
    """Its faults are told."""
    (image / "etc/ailasd").mkdir()
    (image / "etc/ailasd/config.toml").write_text("kitt = 1\n")
    before = tree(image)
    with pytest.raises(ConfigError, match="kitt"):
        setup(image)
    assert tree(image) == before


@pytest.mark.lab
def test_a_kits_name_that_cannot_be_stops_before_anything_is_changed(image):
    """The configuration's own rule says what is wrong with it."""
    before = tree(image)
    with pytest.raises(ConfigError, match="kit: must be 1 to 40 letters"):
        setup(image, Order(kit="not a name"))
    assert tree(image) == before


@pytest.mark.parametrize("odd", ["file", "dead link", "link elsewhere"])
@pytest.mark.lab
def test_what_lies_in_our_place_is_kept_beside_it(image, odd, tmp_path):
    """Somebody's own file or link is moved, never followed; what it showed is as it was."""
    unit = image / "etc/systemd/system/ailasd.service"
    unit.parent.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    if odd == "file":
        unit.write_text("theirs")
    else:
        unit.symlink_to(elsewhere if odd == "link elsewhere" else "/nowhere")
    setup(image)
    assert not unit.is_symlink()
    assert unit.read_text() == (ROOT / "systemd/ailasd.service").read_text()
    old = kept_as(unit)
    assert old.read_text() == "theirs" if odd == "file" else old.is_symlink()
    assert elsewhere.read_text() == "theirs"


@pytest.mark.lab
def test_a_failure_in_the_middle_says_so_and_the_next_run_goes_on(image):
    """A folder lies where a file belongs: what was done stays, and is not done again."""
    odd = image / files.TMPFILES.lstrip("/")
    odd.mkdir(parents=True)
    with pytest.raises(NeedsHuman, match=r"ailasd\.conf is a folder.*\n\d+ of \d+ things are done"):
        setup(image)
    odd.rmdir()
    said = setup(image)
    assert f"Install {files.UNITS}/ailasd.service." not in said
    assert f"Install {files.TMPFILES}." in said
    assert setup(image) == ["There is nothing to change."]


@pytest.mark.lab
def test_taking_away_leaves_what_people_want_to_keep(image):
    """Units, rules and command are gone; configuration, token and pictures are as they were."""
    setup(image)
    picture = image / "var/lib/ailasd/pictures/a.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_text("picture")
    said: list[str] = []
    take_away(Machine(image), Order(), said.append)
    assert "/var/lib/ailasd" in said[-1]
    left = {path for path, (mode, _, _) in tree(image).items() if not stat.S_ISDIR(mode)}
    assert {path for path in left if "ailasd" in path} == {
        "etc/ailasd/config.toml",
        "etc/ailasd/token",
        "var/lib/ailasd/pictures/a.jpg",
    }
    take_away(Machine(image), Order(), said.append)
    assert said[-1] == "There is nothing to change."


@pytest.mark.parametrize("url", ["", "https://panoramax.example.org"])
def test_the_next_steps_are_said_in_their_order(tmp_path, monkeypatch, url):
    """Without a server: name it, log in, restart, look; with one only where to look. The README has the same order."""
    machine = Machine(tmp_path)
    monkeypatch.setattr(machine, "live", True)
    monkeypatch.setattr(machine, "refuse_unfit", lambda: None)
    monkeypatch.setattr(machine, "look", lambda _wanted: BARE)
    monkeypatch.setattr(machine, "do", lambda _action: None)
    monkeypatch.setattr(course, "_install", lambda *_: True)
    path = machine.path(files.CONFIG)
    for folder in (path.parent, tmp_path / "run", machine.path(files.PROGRAMS)):
        folder.mkdir(parents=True)
    path.write_text(f'[server]\nurl = "{url}"\n')
    said: list[str] = []
    set_up(machine, Order(), said.append)
    steps = [f"sudo nano {files.CONFIG}", "sudo ailasd login", "sudo systemctl restart ailasd", "sudo ailasd doctor"]
    assert [step in said[-1] for step in steps] == [not url] * 4
    assert "sudo ailasd status" in said[-1]
    for text in [said[-1]] * (not url) + [(ROOT / "README.md").read_text().partition("## 2.")[2]]:
        places = [text.find(step) for step in steps[1:]]
        assert -1 not in places
        assert places == sorted(places)


def test_what_does_not_fit_is_refused_before_anything(tmp_path):
    """Not root, or no systemd: one sentence, exit code 1, nothing changed. A running system is never touched here."""
    if Path("/run/systemd/system").is_dir() and os.geteuid() == 0:
        pytest.skip("this machine could really be set up")
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "systemd" in done.stderr or "root" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_that_contradict_each_other_are_not_understood():
    """Exit code 2."""
    for words in (["--uninstall", "--upgrade"], ["--root", str(ROOT), "--wheels", str(ROOT)]):
        assert subprocess.run([*COMMAND, *words], capture_output=True, check=False, cwd=ROOT).returncode == 2


# -- which ailasd -----------------------------------------------------------------------------------------------------
def wheel(folder: Path, change: str = "") -> Path:
    """Something that is a wheel of ailasd to look at."""
    path = folder / "ailasd-9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ailasd/__init__.py", f"# {change}\n")
        archive.writestr("ailasd-9.9.dist-info/METADATA", change)
    return path


def test_the_stick_must_hold_one_ailasd(tmp_path):
    """None, or two, is a question for a person."""
    with pytest.raises(NeedsHuman, match="none"):
        edition.from_wheels(tmp_path)
    wheel(tmp_path)
    assert edition.from_wheels(tmp_path).requiring("camera").endswith("ailasd-9.9-py3-none-any.whl[camera]")
    (tmp_path / "ailasd-9.8-py3-none-any.whl").touch()
    with pytest.raises(NeedsHuman, match=r"ailasd-9\.8"):
        edition.from_wheels(tmp_path)


def test_a_damaged_wheel_is_told(tmp_path):
    """A stick that was pulled out while it was written."""
    (tmp_path / "ailasd-9.9-py3-none-any.whl").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(NeedsHuman, match="copy it anew"):
        edition.from_wheels(tmp_path)


def test_editions_are_told_apart_by_their_files(tmp_path):
    """The same version with another byte is another one; what Python compiled does not matter."""
    for name, change in (("a", "one"), ("b", "two")):
        (tmp_path / name).mkdir()
        wheel(tmp_path / name, change)
    one, two = (edition.from_wheels(tmp_path / name).edition for name in "ab")
    assert one != two
    package = tmp_path / "venv/lib/python3.11/site-packages/ailasd"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__pycache__/x.pyc").touch()
    (package / "__init__.py").write_text("# one\n")
    assert edition.of_venv(tmp_path / "venv") == one


@pytest.mark.parametrize(
    ("program", "upgrade", "installs"),
    [("echo ailasd 9.9", False, False), ("echo ailasd 9.9", True, True), ("exit 1", False, True)],
)
def test_when_the_same_is_installed_again(tmp_path, monkeypatch, program, upgrade, installs):
    """If somebody asks for what else is on the stick; or if it does not run: the system has another Python by now."""
    monkeypatch.setattr(installing, "system_python", lambda: sys.executable)
    wheel(tmp_path, "one")
    venv = tmp_path / "root" / files.VENV[1:]
    package = venv / "lib/python3.11/site-packages/ailasd"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("# one\n")
    (venv / "bin").mkdir()
    (venv / "bin/ailasd").write_text(f"#!/bin/sh\n{program}\n")
    (venv / "bin/ailasd").chmod(0o755)
    order = Order(wheels=tmp_path, upgrade=upgrade, dry_run=True)
    assert course._install(Machine(tmp_path / "root"), order, config.Config(), lambda _: None) is installs


def test_what_runs_knows_where_it_came_from():
    """An editable or ordinary installation: pip can install it again from there."""
    try:
        origin = edition.from_where_this_came()
    except NeedsHuman as error:  # run from a checkout that is not installed
        assert "--wheels" in str(error)  # noqa: PT017
    else:
        assert origin.edition
    assert any(name == "systemd/ailasd.service" for name, _ in edition.of_running())
    assert any(name == "config.example.toml" for name, _ in edition.of_running())


def test_the_venv_in_force_is_changed_by_one_rename(tmp_path):
    """The link shows the old one or the new one; what is not in force is cleared out, a stranger's folder is not."""
    link = tmp_path / "venv"
    for name in ("venv-old", "venv-new", "venv-half", "other"):
        (tmp_path / name).mkdir()
    installing.put_in_force(tmp_path / "venv-old", link)
    installing.put_in_force(tmp_path / "venv-new", link)
    installing.clear_out(tmp_path, link)
    assert link.resolve().name == "venv-new"
    assert {path.name for path in tmp_path.iterdir()} == {"venv", "venv-new", "other"}
    shutil.rmtree(tmp_path / "venv-new")
    link.unlink()
    link.mkdir()
    with pytest.raises(NeedsHuman, match="move it away"):
        installing.put_in_force(tmp_path / "venv-new", link)


def test_the_systems_python_is_asked_whether_it_fits():
    """There is one here, or the sentence names the package."""
    try:
        assert installing.system_python() in installing.PYTHONS
    except NeedsHuman as error:
        assert "python3-venv" in str(error)  # noqa: PT017


@pytest.mark.slow
def test_a_venv_is_made_from_this_checkout_and_a_failure_leaves_nothing(tmp_path):
    """Its command works, it holds units and example, is compiled; of a folder of no wheels nothing is left."""
    python = sys.executable
    origin = edition.Origin(str(ROOT), None, None, "the checkout")
    said: list[str] = []
    venv = installing.make_venv(origin, tmp_path / "programs", python, said.append)
    assert edition.of_venv(venv) == edition.of_running()
    for compiled in ("ailasd/__pycache__/daemon.*.pyc", "httpx/__pycache__/_client.*.pyc"):
        assert list(venv.glob(f"lib/python3.*/site-packages/{compiled}"))
    assert stat.S_IMODE(venv.stat().st_mode) == 0o755
    made = subprocess.run(
        [venv / "bin/python", "-c", "from ailasd.setting_up import files; print(*files.of_systemd())"],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert f"{files.UNITS}/ailasd.service" in made.stdout
    (tmp_path / "stick").mkdir()
    wheel(tmp_path / "stick")
    with pytest.raises(NeedsHuman, match="pip"):
        installing.make_venv(edition.from_wheels(tmp_path / "stick"), tmp_path / "programs", python, said.append)
    assert [path.name for path in (tmp_path / "programs").iterdir()] == [venv.name]


def test_ctrl_c_in_the_backup_of_an_upgrade(tmp_path, monkeypatch):
    """The service, which was stopped for it, goes on."""
    ran: list[list[str]] = []

    def note(command, **_):
        ran.append(command)
        return "ailasd, version 0.1.0"

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "run", note)
    monkeypatch.setattr(course, "_upkeep", interrupted)
    (tmp_path / "catalogue.db").touch()
    settings = config.Config.model_validate({"storage": {"folder": str(tmp_path)}})
    with pytest.raises(KeyboardInterrupt):
        course._stop_and_back_up(Machine(tmp_path), tmp_path / "new", settings, lambda _: None)
    assert ran[-1] == ["systemctl", "start", files.SERVICE]


# -- the catalogue in an upgrade --------------------------------------------------------------------------------------
@pytest.fixture
def catalogue(tmp_path):
    """A catalogue with something in it, and a daemon that has it open."""
    with Catalogue(tmp_path / "catalogue.db", SystemClock()) as one:
        with one.writing() as db:
            db.table("event").insert(
                {"at": datetime.now(UTC).isoformat(), "clock_trusted": 1, "name": "x", "trace": "t"}
            )
        yield one


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All of a database."""
    with sqlite3.connect(path) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return {name: db.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}


def test_a_backup_is_one_whole_file_with_the_same_rows(catalogue, tmp_path):
    """Also of a catalogue that is in use, whose last rows are in its log only."""
    to = tmp_path / "backup-0.1.0-20261122-120000.sqlite"
    upkeep.backup(catalogue.path, to)
    assert rows(to) == rows(catalogue.path)
    assert len(rows(to)["event"]) >= 1
    assert [path.name for path in tmp_path.glob("*backup*")] == [to.name]  # no log, nothing half


def test_a_backup_that_cannot_be_is_an_error_and_leaves_nothing(tmp_path):
    """A damaged catalogue, or none at all."""
    (tmp_path / "catalogue.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    for name in ("catalogue.db", "missing.db"):
        with pytest.raises(CatalogueError):
            upkeep.backup(tmp_path / name, tmp_path / "to.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue.db"]


def test_three_backups_are_kept(catalogue, tmp_path):
    """The newest, and the two before; other files are left alone."""
    for day in range(1, 6):
        old = tmp_path / f"backup-0.1.0-2026110{day}-000000.sqlite"
        old.write_text("old")
        os.utime(old, (day, day))
    (tmp_path / "mine.sqlite").touch()
    command = [sys.executable, "-m", "ailasd.catalogue.upkeep", "backup", str(catalogue.path), "0.1.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    newest = Path(done.stdout.strip()).name
    assert {path.name for path in tmp_path.glob("*.sqlite")} == {
        newest, "backup-0.1.0-20261105-000000.sqlite", "backup-0.1.0-20261104-000000.sqlite", "mine.sqlite",
    }  # fmt: skip
    assert newest.startswith("backup-0.1.1-")


def test_a_newer_catalogue_is_refused_without_being_changed(catalogue, tmp_path):
    """The check says what to do, as the upgrade shows it; one of today, and none at all, are fine."""
    command = [sys.executable, "-m", "ailasd.catalogue.upkeep", "check"]
    assert subprocess.run([*command, catalogue.path], check=False, cwd=ROOT).returncode == 0
    assert subprocess.run([*command, tmp_path / "none"], check=False, cwd=ROOT).returncode == 0
    with catalogue.writing() as db:
        db.table("_sqlite_migrations").insert({"migration_set": "ailasd", "name": "m9999_future", "applied_at": "x"})
    before = rows(catalogue.path)
    done = subprocess.run([*command, catalogue.path], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "newer ailasd" in done.stderr
    assert "m9999_future" in done.stderr
    assert rows(catalogue.path) == before
