"""The report in a real browser without a screen: nothing on the console, and everything where it belongs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downstream.report import write_report
from tests.downstream.report.cells import LOGMEL, MODEL, OTHER, RANDOM, fake_task, write_fake_cell

WIDE, PHONE = (1280, 900), (390, 844)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --autoplay-policy=no-user-gesture-required"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser, and is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with its driver here")
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    found.set_script_timeout(20)
    found.set_page_load_timeout(60)
    yield found
    found.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import soundfile

    out = tmp_path_factory.mktemp("report")
    paths = [str(out / f"clip-{index}.wav") for index in range(60)]
    for path in paths:
        soundfile.write(path, 0.1 * np.sin(np.arange(16000) / 10), 16000)
    small = fake_task("small", 4, clips=60, tested=60, title="Small <set>")
    large = fake_task("large", 70, domain="music", clips=1500, tested=1500)
    several = fake_task("several", 12, domain="speech", multi_label=True, metrics=["macro_map"])
    cells = []
    for task in (small, large, several):
        for one, skill in ((MODEL, 3.0), (OTHER, 2.0), (RANDOM, 1.0), (LOGMEL, 0.5)):
            own = paths if task is small else None
            cells.append(write_fake_cell(out, task, one, skill, paths=own, map_points=2000))
    points = [("logistic", {"fraction": share}, share) for share in (1.0, 0.1)]
    cells.append(write_fake_cell(out, small, MODEL, 1.0, protocol="label-fraction", results=points, paths=paths))
    return write_report(out, cells, [], title="A report", progress=False)[0]


@pytest.fixture
def show(browser: Any, report: Path) -> Callable[..., Any]:
    def show(route: str = "", size: tuple[int, int] = WIDE, scheme: str = "light") -> Any:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get("about:blank")
        browser.get(f"{report.as_uri()}{route}")
        browser.execute_script("try { localStorage.clear() } catch {}")
        return browser

    return show


def wait_for(browser: Any, condition: str, seconds: float = 10.0) -> None:
    """Until a JavaScript expression is true."""
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return Boolean({condition})"):
        assert time.monotonic() < end, f"never came: {condition}"
        time.sleep(0.05)


def assert_quiet(browser: Any) -> None:
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


PAGES = ("", "#/small", "#/large", "#/several")
READY = "[...document.querySelectorAll('.view:not([hidden]) .map-stage canvas')].every(c => c.dataset.drawn > 0)"
SHOWN = "document.querySelector('.view:not([hidden])')"


def test_every_page_opens_without_a_word_on_the_console(show: Callable[..., Any]) -> None:
    for route in PAGES:
        browser = show(route)
        if route:
            wait_for(browser, f"{SHOWN}.querySelector('.map-stage canvas')?.dataset.drawn > 0")
            wait_for(browser, f"{SHOWN}.querySelectorAll('.panel').length >= 3")
        assert browser.execute_script("return document.querySelectorAll('.view:not([hidden])').length") == 1
        assert_quiet(browser)


def test_the_title_and_the_focus_follow_the_address(show: Callable[..., Any]) -> None:
    browser = show()
    assert browser.title == "A report"
    browser.execute_script("document.querySelector('.side a[href=\"#/small\"]').click()")
    wait_for(browser, "document.title === 'Small <set> · A report'")
    assert browser.execute_script("return document.activeElement.tagName") == "H1"
    assert browser.execute_script("return document.querySelector('.side [aria-current]').textContent") == "Small <set>"


def test_protocol_and_probe_choose_the_board(show: Callable[..., Any]) -> None:
    browser = show()
    shown = "return [...document.querySelectorAll('.board:not([hidden])')].map(b => b.dataset.board)"
    assert browser.execute_script(shown) == ["default|logistic"]
    change = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(change, "choose-probe", "default|knn10")
    assert browser.execute_script(shown) == ["default|knn10"]
    browser.execute_script(change, "choose-protocol", "label-fraction")
    assert browser.execute_script(shown) == ["label-fraction|logistic, fraction 1.0"]


def test_dark_follows_the_system_and_the_switch(show: Callable[..., Any]) -> None:
    light = (
        "const [r] = getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g); return Number(r) > 128"
    )
    browser = show(scheme="dark")
    assert not browser.execute_script(light)
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(light)
    assert (
        browser.execute_script("return document.getElementById('theme').getAttribute('aria-label')")
        == "Use dark colours"
    )
    assert show(scheme="light").execute_script(light)


def test_a_phone_never_scrolls_sideways(show: Callable[..., Any]) -> None:
    for route in PAGES:
        browser = show(route, PHONE)
        wait_for(browser, READY)
        width = "return [document.documentElement.scrollWidth, innerWidth]"
        assert browser.execute_script(width) == [PHONE[0]] * 2, route


def test_the_player_plays(show: Callable[..., Any]) -> None:
    browser = show("#/small")
    wait_for(browser, f"{SHOWN}.querySelector('.clips audio')")
    play = f"""const done = arguments[0], audio = {SHOWN}.querySelector('.clips audio');
        audio.muted = true;
        audio.play().then(() => done([audio.duration, audio.error]), (error) => done(String(error)))"""
    duration, error = browser.execute_async_script(play)
    assert error is None and 0.9 < duration < 1.3


def test_the_map_tells_clips_by_mouse_and_keyboard(show: Callable[..., Any]) -> None:
    browser = show("#/small")
    canvas = f"{SHOWN}.querySelector('.map-stage canvas')"
    wait_for(browser, f"{canvas}?.dataset.drawn > 0")
    inked = f"""const c = {canvas}, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n"""
    assert browser.execute_script(inked) > 500
    key = f"{canvas}.dispatchEvent(new KeyboardEvent('keydown', {{ key: 'ArrowRight' }}))"
    browser.execute_script(key)
    told = f"return {SHOWN}.querySelector('.picked').textContent"
    assert "clip-" in browser.execute_script(told) and "class" in browser.execute_script(told)
    faded = f"{SHOWN}.querySelector('.legend button[data-name]').click(); {inked}"
    assert browser.execute_script(faded) > 100
    assert browser.execute_script(f"return {SHOWN}.querySelectorAll('.legend [aria-pressed=true]').length") == 1
    hover = f"""const c = {canvas}, box = c.getBoundingClientRect();
        for (let x = 0; x < box.width; x += 9) for (let y = 0; y < box.height; y += 9) {{
          c.dispatchEvent(new PointerEvent('pointermove', {{ clientX: box.left + x, clientY: box.top + y }}));
          const tip = document.getElementById('tip'); if (!tip.hidden) return tip.textContent; }}"""
    assert " · clip-" in browser.execute_script(hover)


def test_class_tables_sort(show: Callable[..., Any]) -> None:
    browser = show("#/large")
    wait_for(browser, f"{SHOWN}.querySelector('.panel th button')")
    head = "[...document.querySelectorAll('.view:not([hidden]) .panel th button')].find(b => b.textContent === 'clips')"
    column = f"[...{head}.closest('table').tBodies[0].rows].map(row => Number(row.cells[1].textContent))"
    browser.execute_script(f"{head}.click()")
    values = browser.execute_script(f"return {column}")
    assert len(values) == 70 and values == sorted(values, reverse=True)
    assert browser.execute_script(f"return {head}.closest('th').getAttribute('aria-sort')") == "descending"


def test_a_large_matrix_is_a_picture_and_a_small_one_a_table(show: Callable[..., Any]) -> None:
    browser = show("#/large")
    wait_for(browser, f"{SHOWN}.querySelector('.matrix-canvas')")
    browser = show("#/small")
    wait_for(browser, f"{SHOWN}.querySelector('table.matrix')")
    cells = f"[...{SHOWN}.querySelectorAll('.matrix .cell')]"
    total = f"return {cells}.reduce((sum, cell) => sum + Number(cell.textContent), 0)"
    assert browser.execute_script(total) == 60
