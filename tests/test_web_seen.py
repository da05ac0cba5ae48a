"""The page in a real Chromium, as large as a phone: each sign in each language, live, by keyboard, and by its names.

``AILASD_SCREENSHOTS=FOLDER`` keeps pictures of what was seen; ``tests/run`` keeps them in ``screenshots``.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import time
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from instance import default_home
from kit import Kit, drive, kits
from page import PIN, Visitor, day, showing, visited
from provision import judges
from running import Slot, running

from ailasd.attending import Stand
from ailasd.daemon import Slots
from ailasd.language import LANGUAGES, translations
from ailasd.sign import Sign
from ailasd.sign_wording import HEADLINES
from ailasd.sources.card import MountedCard
from ailasd.web.app import LIVE_MOST

webdriver = pytest.importorskip("selenium.webdriver")
support = pytest.importorskip("selenium.webdriver.support.ui")
keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.model import CardFile

    Make = Callable[..., Kit]

pytestmark = [
    pytest.mark.web,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="there is no Chromium with its driver"),
]

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
"""Headless, and asking nobody on the network for anything of its own."""

PHONE = {"width": 360, "height": 740, "pixelRatio": 2.0}


@contextmanager
def phone(language: str = "en", *, javascript: bool = True) -> Iterator[Any]:
    """A browser on a phone; what it asked for over the network is in ``asked_for``."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with TemporaryDirectory() as profile:
        for option in (*QUIET, f"--user-data-dir={profile}", f"--accept-lang={language}"):
            options.add_argument(option)
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": PHONE})
        options.add_experimental_option(
            "prefs",
            {"intl.accept_languages": language}
            | ({} if javascript else {"profile.managed_default_content_settings.javascript": 2}),
        )
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        browser = webdriver.Chrome(options=options, service=service)
        try:
            yield browser
        finally:
            browser.quit()


def asked_for(browser: Any) -> list[str]:
    """Every address that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


def complaints(browser: Any) -> list[str]:
    """What the browser's console has: a policy that was hurt, a script that failed."""
    return [entry["message"] for entry in browser.get_log("browser")]


def keep(browser: Any, name: str) -> None:
    """A picture of the whole page, for people."""
    if folder := os.environ.get("AILASD_SCREENSHOTS"):
        size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def open_page(browser: Any, visitor: Visitor, path: str = "/") -> None:
    browser.get(f"http://127.0.0.1:{visitor.port}{path}")


def names(browser: Any) -> list[tuple[str, str]]:
    """What a screen reader has: (role, name) of everything that is no mere text."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    with kits(tmp_path_factory.mktemp("kits")) as made:
        yield made


CONTRAST = """
const light = (c) => {
  const [r, g, b] = c.map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b;
};
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
const poor = [];
for (const e of document.querySelectorAll("body *")) {
  if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
  const style = getComputedStyle(e);
  const [a, b] = [light(rgb(e.closest("svg") ? style.fill : style.color).slice(0, 3)), light(behind(e))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 7) poor.push([e.tagName, e.textContent.trim().slice(0, 40), ratio]);
}
return poor;
"""
"""Texts with less than 7:1 against what is behind them (WCAG 2.2, 1.4.6: AAA; it is read in the sun)."""

SMALL = """
return [...document.querySelectorAll("a, button, input:not([type=hidden])")]
  .filter((e) => e.getClientRects().length)
  .map((e) => [e.textContent.trim() || e.id, e.getBoundingClientRect().width, e.getBoundingClientRect().height])
  .filter(([, w, h]) => w < 24 || h < 24);
"""
"""What a finger must hit, smaller than 24 x 24 (WCAG 2.2, 2.5.8: AA)."""


AXE = """
const done = arguments[arguments.length - 1];
axe.run().then(({ violations }) => done(violations.map((one) => [one.id, one.nodes.map((node) => node.html)])));
"""


def barriers(browser: Any) -> list[Any]:
    """What axe-core finds on the page that keeps somebody from using it: its rule, and where."""
    script = judges(default_home()) / "axe.min.js"
    if not script.exists():
        pytest.skip("axe-core is missing: python tests/instance.py install")
    browser.execute_script(script.read_text())
    found: list[Any] = browser.execute_async_script(AXE)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sign_on_a_phone(make: Make, language: str) -> None:
    """Every sign is on the first screen in the reader's language, readable in the sun, and asks only this machine."""
    with phone(language) as browser:
        for sign in Sign:
            kit = make(entries=day() if sign is Sign.PULL else None)
            with showing(kit, sign), visited(kit, language=language) as visitor:
                open_page(browser, visitor)
                heading = browser.find_element("tag name", "h1")
                said = translations(language).gettext(HEADLINES[sign])
                assert heading.text == said.replace("\N{NO-BREAK SPACE}", " ")  # so does a driver tell any space
                assert browser.find_element("tag name", "html").get_attribute("lang") == language
                assert heading.rect["y"] + heading.rect["height"] < PHONE["height"]
                assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
                assert browser.execute_script(CONTRAST) == []
                assert browser.execute_script(SMALL) == []
                assert barriers(browser) == []
                assert complaints(browser) == []
                own = ("http://127.0.0.1:", "data:", "chrome://", "about:")  # its own pages before ours
                strangers = [url for url in asked_for(browser) if not url.startswith(own)]
                assert strangers == []
                keep(browser, f"{sign}-{language}")
                browser.get("about:blank")  # else it asks after a page that is gone


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_card_is_one_sheet(make: Make, language: str) -> None:
    """Printed it is one page of A5, and nothing but the card; on a phone it can be read in the sun."""
    with visited(make(), language=language) as visitor, phone(language) as browser:
        open_page(browser, visitor, "/card")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
        assert browser.execute_script(CONTRAST) == []
        assert browser.execute_script(SMALL) == []
        assert barriers(browser) == []
        assert complaints(browser) == []
        printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
        (box,) = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
        assert [float(side) for side in box] == pytest.approx([148 / 25.4 * 72, 210 / 25.4 * 72], abs=2)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        seen = browser.execute_script("return document.body.innerText").strip().splitlines()
        assert seen[0] == browser.find_element("tag name", "h1").text
        keep(browser, f"card-{language}")


def test_it_has_names_for_those_who_cannot_see(make: Make) -> None:
    """Everything that can be pressed or filled in has a name of its own, and so have the drawing and the progress."""
    kit = make(entries=day())
    kit.bring_in()
    with showing(kit, Sign.READING), visited(kit, pin=True) as visitor, phone() as browser:
        open_page(browser, visitor)
        assert ("textbox", "With the PIN you see everything") in names(browser)
        browser.find_element("id", "pin").send_keys(f"{PIN}\n")
        found = names(browser)
        assert [
            role for role, name in found if role in {"button", "link", "textbox", "image", "progressbar"} and not name
        ] == []
        assert ("button", "Send all the same: parked") in found
        assert ("image", "The way of the drive, 4.1 km, north at the top") in found
        headings = [name for role, name in found if role == "heading"]
        assert headings[0] == HEADLINES[Sign.READING]
        ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
        assert barriers(browser) == []
        keep(browser, "pin-en")
        open_page(browser, visitor, "/drive/1")
        images = browser.execute_script(
            "return Promise.all([...document.images].map((i) => {"
            "  i.loading = 'eager'; return i.decode().then(() => i.naturalWidth); }))"
        )
        assert len(images) == 12
        assert all(images)
        assert complaints(browser) == []
        assert browser.execute_script(CONTRAST) == []
        assert barriers(browser) == []
        keep(browser, "drive-en")


def test_by_keyboard_alone(make: Make) -> None:
    """Tab goes to every link and button in the order of the page, and shows where it is."""
    kit = make(entries=day())
    kit.bring_in()
    with visited(kit) as visitor, phone() as browser:
        open_page(browser, visitor)
        wanted = browser.execute_script("return [...document.querySelectorAll('a, button')].map((e) => e.textContent)")
        reached = []
        for _ in wanted:
            browser.switch_to.active_element.send_keys("\ue004")  # Tab
            reached.append(browser.switch_to.active_element.get_attribute("textContent"))
            outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineWidth")
            assert outline == "4px"
        assert reached == wanted


SEEN = """
window.loadedOnce = true;
window.seen = [];
const look = () => window.seen.push(
  [document.querySelector("h1").textContent, document.querySelector("#now .far")?.textContent ?? ""]);
new MutationObserver(look).observe(document.getElementById("now"), { childList: true });
"""
"""Writes down each headline and how far it was, as the page changes by itself."""


def test_live_while_a_card_is_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page counts while a daemon reads a card, without being loaded again, until it may be pulled out."""
    read = MountedCard.open

    def slowly(card: MountedCard, file: CardFile) -> Any:
        time.sleep(0.1)
        return read(card, file)

    def says(sign: Sign) -> Callable[[Any], bool]:
        said = "return document.querySelector('h1').textContent"  # in one go: it may be replaced at any moment
        return lambda one: one.execute_script(said) == HEADLINES[sign]

    monkeypatch.setattr(MountedCard, "open", slowly)
    kit = make(entries=drive(60), sources={"folders": []})
    kit.receiver.fault("*", "status", code=503, times=None)  # else the card may be cleared a moment later
    slot = Slot(kit.card)
    with running(kit, slots=Slots(slot, slot)), visited(kit) as visitor, phone() as browser:  # type: ignore[arg-type]
        wait = support.WebDriverWait(browser, 20, poll_frequency=0.1)
        open_page(browser, visitor)
        wait.until(says(Sign.NOTHING))
        browser.execute_script(SEEN)
        slot.plug()
        wait.until(says(Sign.PULL))
        assert browser.execute_script("return window.loadedOnce") is True
        seen = browser.execute_script("return window.seen")
        assert HEADLINES[Sign.PULL] in browser.title
        assert complaints(browser) == []
        own = ("http://127.0.0.1:", "data:", "chrome://", "about:")
        assert [url for url in asked_for(browser) if not url.startswith(own)] == []
        browser.get("about:blank")  # else it asks after a page that is gone
    headlines = [headline for headline, _ in seen]
    assert list(dict.fromkeys(headlines)) == [HEADLINES[Sign.READING], HEADLINES[Sign.PULL]]
    counted = [int(far.split()[0]) for headline, far in seen if " of 60 pictures" in far]
    assert len(set(counted)) >= 3
    assert counted == sorted(counted)


def test_one_too_many_is_not_left_with_an_old_sign(make: Make) -> None:
    """Who is not told what changes sees that the sign may be old, and ten seconds later the new one."""
    kit = make()
    kit.bring_in()
    with showing(kit, Sign.PULL), visited(kit) as visitor, phone() as browser, ExitStack() as others:
        wait = support.WebDriverWait(browser, 20, poll_frequency=0.1)
        for _ in range(LIVE_MOST):
            watching = others.enter_context(closing(HTTPConnection("127.0.0.1", visitor.port, timeout=20)))
            watching.request("GET", "/live")
            assert watching.getresponse().status == 200
        open_page(browser, visitor)
        wait.until(lambda one: one.execute_script("return document.querySelector('#now').className") == "old")
        kit.parts.catalogue.media.stands("reader", "HERO13 Black (3456)", Stand.READING, card=1)
        others.close()
        said = "return document.querySelector('h1').textContent"
        wait.until(lambda one: one.execute_script(said) == HEADLINES[Sign.READING])
        wait.until(lambda one: one.execute_script("return document.querySelector('#now').className") == "")
        browser.get("about:blank")


def test_without_javascript(make: Make) -> None:
    """All is there and works: it is loaded again by itself, and a button does what it says."""
    kit = make(entries=day())
    kit.bring_in()
    with visited(kit) as visitor, phone("fr", javascript=False) as browser:
        open_page(browser, visitor)
        assert browser.find_elements("css selector", "svg.way")
        assert browser.find_elements("css selector", "meta[http-equiv=refresh]")  # only seen without scripts
        button = browser.find_element("xpath", "//button[. = 'Envoyer quand même']")
        button.send_keys(keys.ENTER)  # a click would wait until the page is loaded again by itself
        support.WebDriverWait(browser, 30).until(lambda one: "Pas maintenant" in one.page_source)  # no daemon runs
