"""The report in a real browser: it draws, hovers and searches, asks for nothing, runs no title."""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nights import SampleNight
from paths import ROOT
from report_pages import HOSTILE, HOSTILE_TEXTS, with_hostile_texts

from jobs.report.page import render_report
from jobs.report.read_run import read_report
from jobs.runs.records import find_run
from jobs.storage.local import LocalStorage

SECONDS = 30
README_PICTURE = ROOT / ".readme" / "report.webp"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; skips, and says so, where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # No sandbox: root, as in CI, has none. Not /dev/shm, which is small in containers.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except webdriver.common.exceptions.WebDriverException as error:
        pytest.skip(f"{program} does not start here: {str(error.msg).partition(chr(10))[0]}")
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page(sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample night's report with titles and ids that mean harm."""
    storage = LocalStorage(sample_night.output)
    data = with_hostile_texts(read_report(storage, find_run(storage, None)))
    # One title that can be searched for: one user has it in the list, another has rated it.
    rare = len(data.sampled_items)
    users = [*data.sampled_users]
    users[7] = replace(users[7], items=[rare])
    users[11] = replace(users[11], rated=[(3, 2.0), (rare, 4.5)])
    items = [*data.sampled_items, f"The Only One {HOSTILE}"]
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_bytes(render_report(replace(data, sampled_users=users, sampled_items=items)))
    return file


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    """The browser with the page drawn."""
    for log in ("browser", "performance"):
        browser.get_log(log)  # which forgets what it tells
    open_drawn(browser, page)
    return browser


def open_drawn(browser: Any, page: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page.as_uri())
    WebDriverWait(browser, SECONDS).until(
        lambda found: found.execute_script("return 'drawn' in document.documentElement.dataset")
    )


def find(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def list_requests(browser: Any) -> list[str]:
    """The addresses that were asked for since the page was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def test_it_draws_every_chart_and_asks_for_nothing(opened: Any, page: Path) -> None:
    places = find(opened, "[data-chart]")
    assert len(places) >= 6
    assert len(find(opened, "[data-chart] svg")) == len(places)
    assert len(find(opened, "[data-chart=map] .mark-symbol.role-mark path")) == 90
    assert opened.get_log("browser") == []
    asked = list_requests(opened)
    assert page.as_uri() in asked
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []


def test_pointing_at_an_item_shows_its_title_as_text(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    points = find(opened, "[data-chart=map] .mark-symbol.role-mark path")
    # At once: the page scrolls smoothly, and the pointer would be where the point has been.
    scroll = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})"
    opened.execute_script(scroll, points[0])
    ActionChains(opened).move_to_element(points[0]).perform()
    WebDriverWait(opened, SECONDS).until(lambda found: find(found, "#vg-tooltip-element.visible"))
    tooltip = find(opened, "#vg-tooltip-element")[0]
    assert "cluster" in tooltip.text
    shown = [" ".join(text.split()) for text in HOSTILE_TEXTS]
    assert any(text in " ".join(tooltip.text.split()) for text in shown)
    assert find(opened, "#vg-tooltip-element script, #vg-tooltip-element img") == []


def test_the_search_finds_users_and_titles(opened: Any) -> None:
    search = find(opened, "#search")[0]
    assert len(find(opened, "#results article")) == 4  # something to see before the first search
    search.send_keys("the only one")
    assert find(opened, "#found")[0].text == "2 users"
    assert find(opened, "#results li")[0].text == f"The Only One {HOSTILE}"
    assert [mark.text for mark in find(opened, "#results mark")] == ["The Only One"] * 2
    headings = [heading.text for heading in find(opened, "#results h4")]
    assert headings == ["Recommended", "Recently rated"] * 2
    rated = find(opened, "#results article:nth-child(2) .rated li")
    assert [row.text.split("\n")[0] for row in rated] == ["2", "4.5"]
    assert rated[1].text.split("\n")[1] == f"The Only One {HOSTILE}"
    search.clear()
    search.send_keys("12")
    headings = [heading.text for heading in find(opened, "#results h3")]
    assert headings
    assert all(heading.startswith("User 12") for heading in headings)
    search.clear()
    search.send_keys("nobody has this")
    assert find(opened, "#found")[0].text == "0 users"
    assert find(opened, "#results article") == []


def test_no_title_becomes_markup(opened: Any) -> None:
    search = find(opened, "#search")[0]
    search.send_keys("<")
    assert len(find(opened, "#results article")) > 0
    assert len(find(opened, "script")) == 4
    assert find(opened, "body img") == []
    assert opened.title.startswith("Nightly report of ")
    assert (
        opened.execute_script("return document.querySelector('#clusters li').innerText") == HOSTILE
    )
    assert opened.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_prints(opened: Any, scheme: str, tmp_path: Path) -> None:
    emulate = opened.execute_cdp_cmd
    preference = {"name": "prefers-color-scheme", "value": scheme}
    emulate("Emulation.setEmulatedMedia", {"features": [preference]})
    emulate("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        opened.refresh()
        width = opened.execute_script("return document.documentElement.scrollWidth")
        assert width <= PHONE["width"]
        paper = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
        levels = [int(level) for level in paper.strip("rgb()").split(",")]
        assert (sum(levels) > 600) == (scheme == "light")
        picture = tmp_path / f"{scheme}.png"
        assert opened.save_screenshot(str(picture))
        assert picture.read_bytes().startswith(b"\x89PNG")
        printed = base64.b64decode(emulate("Page.printToPDF", {})["data"])
        assert printed.startswith(b"%PDF")
    finally:
        emulate("Emulation.clearDeviceMetricsOverride", {})
        emulate("Emulation.setEmulatedMedia", {"features": []})


# What the README shows of a page: funnel, metrics, map and one user's list, without the tables.
PICTURE_STYLE = """
nav, section:not(#input, #quality, #map-of-items, #lookup) { display: none }
section > :not(h2, .chart, #results), #results > :not(:first-child) { display: none }
body { max-width: none; padding: 1.2rem }
main { columns: 2; column-gap: 1rem }
section { break-inside: avoid; margin: 0 0 1rem; padding: 0.9rem 1.1rem }
#results { display: block }
"""
PICTURE_SIZE = {"width": 1100, "height": 1000, "deviceScaleFactor": 1.5, "mobile": False}


def take_picture(browser: Any, page: Path, picture: Path) -> None:
    """Photograph the parts of a page that the README shows."""
    emulate = browser.execute_cdp_cmd
    light = {"name": "prefers-color-scheme", "value": "light"}
    emulate("Emulation.setEmulatedMedia", {"features": [light]})
    emulate("Emulation.setDeviceMetricsOverride", PICTURE_SIZE)
    # Before the charts are drawn, which fit themselves to their places.
    style = json.dumps(f"<style>{PICTURE_STYLE}</style>")
    add = f"() => document.body.insertAdjacentHTML('beforeend', {style})"
    script = {"source": f"addEventListener('DOMContentLoaded', {add})"}
    added = emulate("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        open_drawn(browser, page)
        height = browser.execute_script(
            "return document.querySelector('main').getBoundingClientRect().bottom"
        )
        box = {"x": 0, "y": 0, "width": PICTURE_SIZE["width"], "height": height + 20, "scale": 1}
        shot = emulate(
            "Page.captureScreenshot",
            {"clip": box, "captureBeyondViewport": True, "format": "webp", "quality": 85},
        )
        picture.write_bytes(base64.b64decode(shot["data"]))
    finally:
        emulate("Page.removeScriptToEvaluateOnNewDocument", added)
        emulate("Emulation.clearDeviceMetricsOverride", {})
        emulate("Emulation.setEmulatedMedia", {"features": []})


def test_the_picture_for_the_readme(
    browser: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """README_PICTURE_OF=OUT/current/report.html keeps that page's picture in the project."""
    wanted = os.environ.get("README_PICTURE_OF")
    if wanted:
        page, picture = Path(wanted).resolve(), README_PICTURE
    else:
        page, picture = request.getfixturevalue("page"), tmp_path / "report.webp"
    take_picture(browser, page, picture)
    content = picture.read_bytes()
    assert (content[:4], content[8:12]) == (b"RIFF", b"WEBP")
    assert 10_000 < len(content) < 200_000
