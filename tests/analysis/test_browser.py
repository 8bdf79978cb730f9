"""The report in a real browser, opened from a file with every network request refused.

Skipped where Chromium and its driver are not installed (Debian: chromium, chromium-driver).
"""

import os
import shutil
from pathlib import Path

import pytest
from report_runs import HOSTILE, make_run

import report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
SCATTER, MAP, SLIDER = "E1-base-explorer-scatter", "E1-base-explorer-map", "E1-base-explorer-scatter-slider"
# Where a point of a trace is drawn, in the window; and how the test finds a token's trace and place in it.
POSITION = """
const plot = document.getElementById(arguments[0]), full = plot._fullLayout, box = plot.getBoundingClientRect();
for (const [t, trace] of plot.data.entries()) {
  const i = trace.hovertext.findIndex((text) => text.startsWith(arguments[1]));
  if (i < 0) continue;
  const x = full.xaxis.type === "log" ? Math.log10(trace.x[i]) : trace.x[i];
  return [box.left + full.xaxis._offset + full.xaxis.l2p(x), box.top + full.yaxis._offset + full.yaxis.l2p(trace.y[i]), t, i];
}
return null;
"""
SHOWN = "return Array.from(document.querySelectorAll('#' + arguments[0] + ' .hoverlayer text')).map((e) => e.textContent).join(' ')"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    make_run(folder / "runs")
    assert report.main(["--runs", str(folder / "runs"), "--out", str(folder / "report"), "--points", "80"]) == 0
    return folder / "report" / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("Chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        opened.execute_cdp_cmd("Network.enable", {})
        opened.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*", "ws://*", "wss://*"]})
        opened.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
        )
        yield opened
    finally:
        opened.quit()


@pytest.fixture
def opened(browser, page):
    """The page, newly loaded at desktop width; after the test its console must hold no error."""
    browser.get_log("browser")
    browser.get_log("performance")
    resize(browser, 1280, 1000)
    browser.get(page.as_uri())
    WebDriverWait(browser, 15).until(
        lambda d: d.execute_script("return document.querySelectorAll('[data-update]').length") == 1
    )
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script("return window.broken") is None


def resize(browser, width, height):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def hover(browser, plot, token):
    """Move the mouse over a token's point; the text that appears."""
    browser.execute_script("document.getElementById(arguments[0]).scrollIntoView({block: 'center'})", plot)
    place = browser.execute_script(POSITION, plot, token)
    assert place is not None, f"{token} is not plotted"
    element = browser.find_element(By.ID, plot)
    box = browser.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]", element
    )
    ActionChains(browser).move_to_element(element).move_by_offset(
        round(place[0] - box[0]), round(place[1] - box[1])
    ).perform()
    WebDriverWait(browser, 10).until(lambda d: d.execute_script(SHOWN, plot))
    return browser.execute_script(SHOWN, plot)


def screenshot(browser, name):
    """For the eye: kept where the environment variable REPORT_SCREENSHOTS names a folder."""
    folder = os.environ.get("REPORT_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_every_figure_is_drawn_and_nothing_is_asked_for(opened):
    sizes = opened.execute_script(
        "return Array.from(document.images).map((i) => [i.complete, i.naturalWidth, i.clientWidth])"
    )
    assert len(sizes) >= 10
    assert all(complete and natural > 300 and shown > 300 for complete, natural, shown in sizes)
    for plot in (SCATTER, MAP):
        assert (
            opened.execute_script("return document.querySelectorAll('#' + arguments[0] + ' .points path').length", plot)
            > 60
        )
    requests = [
        entry["message"] for entry in opened.get_log("performance") if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert not [message for message in requests if '"url":"http' in message or '"url":"ws' in message]
    screenshot(opened, "top")


@pytest.mark.parametrize("plot", [SCATTER, MAP])
def test_pointing_at_a_token_shows_its_numbers(opened, plot):
    text = hover(opened, plot, "“ red”")
    assert "“ red” (colours)" in text
    for part in ("token count", "norm", "mean cosine", "nearest at update 24"):
        assert part in text
    screenshot(opened, f"hover-{plot}")


@pytest.mark.parametrize("hostile", [HOSTILE[1], HOSTILE[6]])
def test_hostile_tokens_are_shown_as_they_are(opened, hostile):
    escaped = hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert hostile in hover(opened, MAP, "“" + escaped)
    assert opened.execute_script("return document.querySelectorAll('img[onerror], b').length") == 0


def test_the_slider_moves_both_plots_by_keyboard(opened):
    slider = opened.find_element(By.ID, SLIDER)
    read = "return [arguments[0], arguments[1]].map((id) => JSON.stringify(document.getElementById(id).data.map((t) => t.y)))"
    before = opened.execute_script(read, SCATTER, MAP)
    slider.send_keys(Keys.HOME)
    WebDriverWait(opened, 10).until(
        lambda d: d.find_element(By.CSS_SELECTOR, "[data-update]").get_attribute("data-update") == "0"
    )
    after = opened.execute_script(read, SCATTER, MAP)
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert slider.get_attribute("aria-valuetext") == "update 0"
    assert [output.text for output in opened.find_elements(By.CSS_SELECTOR, "output.update")] == ["update 0"] * 2
    assert "update 0" in opened.find_element(By.CSS_SELECTOR, f"#{SCATTER} .gtitle").text
    assert "nearest at update 0" in hover(opened, SCATTER, "“ red”")
    slider.send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(opened, 10).until(lambda d: slider.get_attribute("aria-valuetext") == "update 1")
    slider.send_keys(Keys.END)
    WebDriverWait(opened, 10).until(lambda d: slider.get_attribute("aria-valuetext") == "update 24")
    assert opened.execute_script(read, SCATTER, MAP) == before


def test_a_token_can_be_looked_up_without_a_mouse(opened):
    field = opened.find_element(By.CSS_SELECTOR, "input.token")
    field.send_keys("red")
    found = opened.find_element(By.CSS_SELECTOR, ".found")
    assert "“ red” (colours)" in found.text
    assert "norm" in found.text
    field.clear()
    field.send_keys("nothing-like-it")
    assert found.text == "Not among the plotted tokens."


def test_the_first_tab_stop_leads_past_the_contents(opened):
    opened.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    first = opened.switch_to.active_element
    assert first.text == "Skip to the claims"
    assert first.rect["x"] >= 0  # seen once it has the focus
    first.send_keys(Keys.ENTER)
    assert opened.switch_to.active_element.get_attribute("id") == "main"


def test_a_narrow_window_needs_no_sideways_scrolling(opened):
    resize(opened, 390, 844)
    opened.refresh()
    WebDriverWait(opened, 15).until(
        lambda d: d.execute_script("return document.querySelectorAll('[data-update]').length") == 1
    )
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 390
    screenshot(opened, "narrow-top")
    assert "“ red”" in hover(opened, SCATTER, "“ red”")
    screenshot(opened, "narrow-scatter")
