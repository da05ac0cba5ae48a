"""Light, sound, file and desktop notice: each on what stands for the device, as close to the real one as can be."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import wave
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from led import Led as LedInSysfs

from ailasd.showing import Showing
from ailasd.showing.buzzer import Buzzer
from ailasd.showing.led import Led
from ailasd.showing.light import PATTERNS, Light
from ailasd.showing.sign_file import SignFile, read
from ailasd.showing.sound import PLAY_S, RATE, TONE_S, TUNES, Sound, wav
from ailasd.sign import Shown, Sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).parent


def soon(so: Callable[[], object], within_s: float = 10.0) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + within_s
    while not so():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


# -- light ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def led() -> Iterator[LedInSysfs]:
    """In memory, as sysfs is: a busy disk would hold up its renames for longer than a beep is."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        made = LedInSysfs(Path(folder, "ACT"))
        yield made
        made.close()


def lit(sign: Sign) -> tuple[str, ...]:
    """What a light does then."""
    pattern = PATTERNS[sign]
    return ("timer", str(pattern.on_ms), str(pattern.off_ms)) if pattern.off_ms else ("none", "255")


@pytest.mark.parametrize("sign", Sign)
def test_each_sign_has_its_light(led: LedInSysfs, sign: Sign) -> None:
    """The kernel is told to blink as the table says; nothing of ours runs meanwhile."""
    Light(Led(led.folder)).show(Shown(sign))
    assert soon(lambda: led.does() == lit(sign))


def test_no_two_signs_look_the_same() -> None:
    """Every pattern is another one, and no eye takes one for another: how often it blinks, or how long it is lit."""
    shapes = {
        (round(math.log2(one.on_ms + one.off_ms)), round(2 * one.on_ms / (one.on_ms + one.off_ms)))
        for one in PATTERNS.values()
    }
    assert len(shapes) == len(PATTERNS) == len(Sign)


@pytest.mark.parametrize("trigger", ["mmc0", "none"])
def test_the_light_does_in_the_end_what_it_did_before(tmp_path: Path, trigger: str) -> None:
    """Its trigger, and without one its brightness, are given back, after whatever was shown."""
    led = LedInSysfs(tmp_path / "ACT", trigger=trigger)
    try:
        before = led.does() if trigger == "none" else (trigger, "0")
        light = Light(Led(led.folder))
        for sign in (Sign.READING, Sign.PULL, Sign.SAFE):
            light.show(Shown(sign))
            assert soon(lambda sign=sign: led.does() == lit(sign))  # type: ignore[misc]
        light.close()
        assert soon(lambda: led.does() == before)
    finally:
        led.close()


def test_a_killed_process_leaves_word_of_what_the_light_did(led: LedInSysfs, tmp_path: Path) -> None:
    """The one after it does not take our own blinking for what it must give back."""
    Light(Led(led.folder, tmp_path / "light")).show(Shown(Sign.READING))
    assert soon(lambda: led.does() == ("timer", "250", "250"))
    after = Light(Led(led.folder, tmp_path / "light"))
    after.show(Shown(Sign.PULL))
    assert soon(lambda: led.does() == ("none", "255"))
    after.close()
    assert soon(lambda: led.does()[0] == "mmc0")
    assert not (tmp_path / "light").exists()


def test_the_same_sign_again_does_not_disturb_the_light(led: LedInSysfs) -> None:
    """Other counts are not shown by a light: it blinks on."""
    light = Light(Led(led.folder))
    light.show(Shown(Sign.READING, 1, 9))
    assert soon(lambda: led.does()[0] == "timer")
    (led.folder / "delay_on").write_text("1")
    light.show(Shown(Sign.READING, 2, 9))
    assert led.does() == ("timer", "1", "250")


def test_a_light_that_is_not_there_or_cannot_blink(tmp_path: Path) -> None:
    """An OSError that says what is wrong; nothing is made in its place."""
    with pytest.raises(OSError, match="No such file"):
        Light(Led(tmp_path / "led9")).show(Shown(Sign.READING))
    folder = tmp_path / "ACT"
    folder.mkdir()
    for name, text in (("trigger", "[none] mmc0"), ("brightness", "0"), ("max_brightness", "1")):
        (folder / name).write_text(text)
    with pytest.raises(OSError, match="modprobe ledtrig-timer"):
        Light(Led(folder)).show(Shown(Sign.READING))
    (folder / "trigger").write_text("none [timer]")
    with pytest.raises(OSError, match="delay_on"):
        Light(Led(folder, sleep=lambda _: None)).show(Shown(Sign.READING))
    assert not (folder / "delay_on").exists()


# -- buzzer -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sign", TUNES)
def test_each_tune_has_its_beeps(led: LedInSysfs, sign: Sign) -> None:
    """As many as it has tones, as long as those, one after another; the kernel ends each of them."""
    buzzer = Buzzer(Led(led.folder))
    buzzer.show(Shown(Sign.NOTHING))
    began = time.monotonic()
    buzzer.show(Shown(sign))
    assert time.monotonic() - began < 0.5  # nobody waits for it
    tune = TUNES[sign]
    assert soon(lambda: len(led.beeps) == len(tune.tones))
    buzzer.close()
    assert [on_ms for _, on_ms in led.beeps] == [round(1000 * tune.tone_s)] * len(tune.tones)
    assert all(b - a >= tune.tone_s for (a, _), (b, _) in pairwise(led.beeps))


def test_no_two_tunes_beep_alike() -> None:
    """A buzzer has one pitch: they differ in how many tones they have, or in twice their length."""
    assert len({(len(tune.tones), round(math.log2(tune.tone_s))) for tune in TUNES.values()}) == len(TUNES)


def test_a_buzzer_is_silent_at_first_and_in_the_end(led: LedInSysfs) -> None:
    """The first sign is no change, nor the same again; when it is closed it does what it did before."""
    buzzer = Buzzer(Led(led.folder))
    for sign in (Sign.HELP, Sign.HELP, Sign.SENDING):
        buzzer.show(Shown(sign))
    assert led.does()[0] == "mmc0"
    buzzer.show(Shown(Sign.HELP))
    assert soon(lambda: len(led.beeps) == 1)
    began = time.monotonic()
    buzzer.close()
    assert time.monotonic() - began < 0.4
    assert soon(lambda: led.does()[0] == "mmc0")
    assert len(led.beeps) == 1


def test_another_sign_cuts_a_tune_off(led: LedInSysfs) -> None:
    """What counts now is heard whole, as soon as the last beep has ended: the kernel hears of no other before."""
    buzzer = Buzzer(Led(led.folder))
    buzzer.show(Shown(Sign.NOTHING))
    buzzer.show(Shown(Sign.HELP))
    assert soon(lambda: len(led.beeps) == 1)
    buzzer.show(Shown(Sign.PULL))
    assert soon(lambda: len(led.beeps) == 4)
    buzzer.close()
    assert [on_ms for _, on_ms in led.beeps] == [400, 160, 160, 160]


def test_a_buzzer_that_is_not_there_or_cannot_beep(tmp_path: Path) -> None:
    """An OSError that says what is wrong."""
    buzzer = Buzzer(Led(tmp_path / "buzzer"))
    buzzer.show(Shown(Sign.NOTHING))
    with pytest.raises(OSError, match="No such file"):
        buzzer.show(Shown(Sign.HELP))
    (tmp_path / "buzzer").mkdir()
    for name, text in (("trigger", "[none] timer"), ("brightness", "0")):
        (tmp_path / "buzzer" / name).write_text(text)
    with pytest.raises(OSError, match="modprobe ledtrig-oneshot"):
        buzzer.show(Shown(Sign.PULL))


# -- sound ------------------------------------------------------------------------------------------------------------
def tones(samples: list[int], rate: int) -> list[int]:
    """The frequency of each stretch between silences, from its crossings of zero."""
    found, run, quiet = [], [], 0
    for sample in [*samples, *[0] * rate]:
        quiet = quiet + 1 if sample == 0 else 0
        run.append(sample)
        if quiet > rate // 50:
            sounding = run[: len(run) - quiet]
            if len(sounding) > rate // 20:
                rises = [i for i in range(1, len(sounding)) if sounding[i - 1] < 0 <= sounding[i]]
                found.append(round((len(rises) - 1) * rate / (rises[-1] - rises[0])))
            run, quiet = [], 0
    return found


def samples_of(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[i : i + 2], "little", signed=True) for i in range(0, len(raw) - 1, 2)]


@pytest.mark.parametrize("sign", TUNES)
def test_each_tune_is_what_the_table_says(sign: Sign) -> None:
    """A WAV file that Python's own reader takes, with these tones, not too loud, and short."""
    with wave.open(io.BytesIO(wav(TUNES[sign]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert file.getnframes() < 2 * RATE
        samples = samples_of(file.readframes(file.getnframes()))
    assert tones(samples, RATE) == pytest.approx(TUNES[sign].tones, rel=0.01)
    assert max(map(abs, samples)) <= 0x4000


@pytest.fixture
def aplay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that keeps what it was to play, and its arguments."""
    program = tmp_path / "bin/aplay"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat > {tmp_path}/played\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "played"


def test_a_change_is_heard(aplay: Path) -> None:
    """The first sign is no change, the same one again is none, and signs that need nobody are silent."""
    sound = Sound("hw:1")
    for sign in (Sign.HELP, Sign.HELP, Sign.SENDING, Sign.WAITING):
        sound.show(Shown(sign))
    assert not aplay.exists()
    sound.show(Shown(Sign.READING))
    assert aplay.read_bytes() == wav(TUNES[Sign.READING])
    sound.show(Shown(Sign.READING, 5, 9))
    assert (aplay.parent / "asked").read_text() == "--quiet --device=hw:1 -\n"


@pytest.mark.lab
def test_alsa_plays_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real aplay and the real ALSA, whose device is a file here: the tones are in it."""
    assert shutil.which("aplay"), "alsa-utils is missing"
    (tmp_path / "asound.conf").write_text(
        f'pcm.kit {{ type file; slave.pcm {{ type null }}; file "{tmp_path}/pcm"; format raw }}\n'
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    sound = Sound("kit")
    sound.show(Shown(Sign.NOTHING))
    sound.show(Shown(Sign.PULL))
    raw = (tmp_path / "pcm").read_bytes()
    assert tones(samples_of(raw), RATE) == pytest.approx(TUNES[Sign.PULL].tones, rel=0.01)
    assert len(raw) >= 2 * RATE * TONE_S * 3


@pytest.mark.parametrize(
    ("program", "problem"), [("echo no such device >&2; exit 1", "no such device"), ("exec sleep 60", "did not end")]
)
def test_a_sound_card_that_fails_or_hangs(
    aplay: Path, monkeypatch: pytest.MonkeyPatch, program: str, problem: str
) -> None:
    """It costs a few seconds, and says why."""
    (aplay.parent / "bin/aplay").write_text(f"#!/bin/sh\n{program}\n")
    monkeypatch.setattr("ailasd.showing.sound.PLAY_S", 0.3)
    assert PLAY_S <= 5
    sound = Sound("default")
    sound.show(Shown(Sign.NOTHING))
    with pytest.raises(OSError, match=problem):
        sound.show(Shown(Sign.HELP))


# -- the file ---------------------------------------------------------------------------------------------------------
def test_the_file_is_for_everybody_and_tells_nothing_of_anybody(tmp_path: Path) -> None:
    """Sign, counts and a stable word, whatever our umask; no sentence in which a name could be."""
    path, before = tmp_path / "sign.json", os.umask(0o077)
    try:
        face = SignFile(path)
        face.show(Shown(Sign.HELP, 1, 2, 3, why="the card of Rakoto is damaged", word="card_unreadable"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "Rakoto" not in path.read_text()
    assert read(path) == Shown(Sign.HELP, 1, 2, 3, word="card_unreadable")
    face.close()
    assert read(path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sign": "dance"}', "\xff"])
def test_a_file_that_is_not_understood_is_none(tmp_path: Path, text: str) -> None:
    """Another version's, or somebody else's."""
    (tmp_path / "sign.json").write_text(text, encoding="latin-1")
    assert read(tmp_path / "sign.json") is None


# -- the notice -------------------------------------------------------------------------------------------------------
@pytest.mark.lab
def test_a_desktop_shows_it(tmp_path: Path) -> None:
    """`ailasd notify` on a real D-Bus, with what stands for a desktop: what it shows, and in which language."""
    own = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*own, sys.executable, str(TESTS / "desktop.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [(one["id"], one["summary"], one["urgency"]) for one in shown["notices"]] == [
        (0, "Laissez la carte en place", 0),
        (1, "Vous pouvez retirer la carte", 1),
        ("closed", 1, None),
        (0, "Besoin d\N{RIGHT SINGLE QUOTATION MARK}aide", 2),
    ]
    assert (
        shown["notices"][0]["body"] == "Ses images sont en train d\N{RIGHT SINGLE QUOTATION MARK}être copiées. "
        "3 images sur 9\N{NO-BREAK SPACE}; encore environ 2 minutes"
    )
    assert shown["after the desktop came back"] == "Vous pouvez retirer la carte"
    assert shown["ended"] == 0


# -- the thread -------------------------------------------------------------------------------------------------------
class Journal:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []

    def note(self, event: str, **values: object) -> None:
        self.told.append((str(event), values))


class Wall:
    """A face that remembers, and fails when it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[Sign] = []
        self.broken = self.closed = False

    def show(self, shown: Shown) -> None:
        if self.broken:
            raise OSError("it fell down")
        self.seen.append(shown.sign)

    def close(self) -> None:
        self.closed = True


class Stage:
    """A ``Showing`` with two walls; what it looks at is set by the test."""

    def __init__(self) -> None:
        self.now: Shown | None = Shown(Sign.NOTHING)
        self.looks = 0
        self.busy = False
        self.walls = [Wall("the wall"), Wall("the other")]
        self.journal = Journal()
        self.showing = Showing(self.look, lambda: self.busy, self.walls, self.journal, time.monotonic)  # type: ignore[arg-type]

    def look(self) -> Shown | None:
        self.looks += 1
        return self.now


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr("ailasd.showing.AGAIN_S", 0.01)
    made = Stage()
    made.showing.start()
    yield made
    assert made.showing.end(5)
    assert all(wall.closed for wall in made.walls)


def test_nobody_looks_while_nothing_goes_on(stage: Stage) -> None:
    """One look for each time that it is woken; while something goes on, again and again."""
    time.sleep(0.1)
    assert stage.looks == 0
    stage.showing.wake()
    assert soon(lambda: stage.looks == 1)
    time.sleep(0.1)
    assert stage.looks == 1
    stage.busy = True
    stage.showing.wake()
    assert soon(lambda: stage.looks > 5)
    stage.busy = False


def test_a_face_that_fails_does_not_keep_another_from_showing(stage: Stage) -> None:
    """Its failure is told once, until it works again."""
    broken, well = stage.walls
    broken.broken = True
    for sign in (Sign.READING, Sign.PULL, Sign.SAFE):
        stage.now = Shown(sign)
        stage.showing.wake()
        assert soon(lambda: well.seen[-1:] == [stage.now and stage.now.sign])
    assert [(name, values["by"]) for name, values in stage.journal.told] == [("sign_not_shown", "the wall")]
    broken.broken = False
    stage.now = Shown(Sign.HELP)
    stage.showing.wake()
    assert soon(lambda: broken.seen == [Sign.HELP])


def test_a_look_that_fails_is_told_and_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked catalogue, or a bug: the thread lives."""
    monkeypatch.setattr("ailasd.showing.AFTER_A_BUG_S", 0.01)
    look, stage.showing._look = stage.showing._look, lambda: 1 // 0  # type: ignore[assignment,return-value]
    stage.showing.wake()
    assert soon(lambda: stage.journal.told)
    stage.showing._look = look
    stage.showing.wake()
    assert soon(lambda: stage.walls[0].seen == [Sign.NOTHING])


def test_without_a_face_there_is_no_thread() -> None:
    """Nothing configured costs nothing."""
    showing = Showing(lambda: None, lambda: True, [], Journal(), time.monotonic)  # type: ignore[arg-type]
    before = threading.active_count()
    showing.start()
    showing.wake()
    assert threading.active_count() == before
    assert showing.end(1)
