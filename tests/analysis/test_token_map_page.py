"""The token map's page in a real browser with 50,265 rows, opened from a file with every network request refused.

Positions and neighbours are invented and given to the function that builds the page, so that no t-SNE runs here. Where
the environment variable REPORT_SCREENSHOTS names a folder, pictures are kept there.
"""

import json
import statistics

import numpy as np
import pytest
from synthetic_dump import write_synthetic_dump

import map_data
import token_map
from categories import find_tokens
from dump import Dump
from projection import MapResult, Projection
from signatures import signature

pytest.importorskip("selenium", reason="selenium is not installed")
import test_browser
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from test_browser import resize, screenshot

browser = test_browser.browser  # the fixture: Chromium without a network
pytestmark = pytest.mark.browser
ROWS = 50265
UPDATES = (0, 1, 2, 4, 6, 8)
HOSTILE = ["</script><img src=x onerror=window.broken=1>", "\u202etxet", "<b>bold</b>\u0007"]
# Tokens that stand by themselves, left of the cloud: what lies under the pointer there is certain.
ALONE = [*HOSTILE, " red", " blue", "Red"]
SLOWEST = 250  # milliseconds, median, of a redraw: ten times what is needed, far below what a search over pairs takes


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    written = write_synthetic_dump(
        folder / "E1" / "base" / "seed1" / "dump.zarr",
        rows=ROWS,
        dim=16,
        updates=8,
        streams=("snapshots",),
        snapshot_every=2,
    )
    texts = list(written.texts)
    texts[300:303] = HOSTILE
    texts[310] = "Red"
    tokens = next(written.path.glob("tables/*/tokens.json"))
    tokens.write_text(json.dumps(texts), encoding="utf-8")
    dump = Dump.open(written.path)
    table = dump.table()
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(table.group >= 0)
    centres = rng.uniform(-60, 60, (40, 2))
    positions = centres[rng.integers(0, 40, len(rows))] + rng.normal(scale=6, size=(len(UPDATES), len(rows), 2))
    for place, text in enumerate(ALONE):
        positions[:, np.searchsorted(rows, texts.index(text))] = [
            [-100, 12 * place + step] for step in range(len(UPDATES))
        ]
    found = Projection(UPDATES, rows, positions.astype(np.float32), rng.uniform(size=(6, 4000)), 10 / len(rows), "raw")
    signatures = tuple(signature(dump, table, update) for update in UPDATES)
    result = MapResult(found, find_tokens(texts, table.counts), texts, signatures)
    courses, _ = map_data.measure(table, result, "none")
    offsets = rng.integers(1, 3000, (len(UPDATES), len(rows), 5)).cumsum(axis=2)
    near = map_data.Near(
        UPDATES,
        rows[(np.arange(len(rows))[:, None] + offsets) % len(rows)],
        -np.sort(-rng.uniform(0.3, 0.9, offsets.shape).astype(np.float32), axis=2),
    )
    return token_map.write(map_data.content(dump, table, result, courses, near, settings="invented positions"), folder)


@pytest.fixture
def opened(browser, page):
    """The page, newly loaded at desktop width; after the test its console must hold no error."""
    browser.get_log("browser")
    browser.get_log("performance")
    load(browser, page, 1400, 900)
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script("return window.broken") is None


def load(driver, page, width, height, reduced=True):
    """Movements are off unless asked for, as for readers who want none, so that a step is done at once."""
    motion = {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [motion]})
    resize(driver, width, height)
    driver.get(page.as_uri())
    WebDriverWait(driver, 30).until(lambda d: d.execute_script("return document.body.dataset.ready"))
    assert driver.execute_script("return document.body.dataset.ready") == "true"


def state(driver):
    return driver.execute_script("return tokenMap.state()")


def text_of(driver, token):
    return driver.execute_script("return tokenMap.text(arguments[0])", token)


def token(driver, shown):
    """The number of the token that is shown as `shown`."""
    return driver.execute_script(
        "for (let i = 0; i < tokenMap.state().tokens; i++) if (tokenMap.text(i) === arguments[0]) return i; return -1",
        shown,
    )


def point_at(driver, number, click=False):
    x, y = driver.execute_script("return tokenMap.pixel(arguments[0])", number)
    actions = ActionChains(driver)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    if click:
        actions.click()
    actions.perform()


def wait(driver, condition):
    return WebDriverWait(driver, 10).until(lambda d: condition(state(d)) and state(d))


def search(driver, typed):
    field = driver.find_element(By.ID, "search")
    field.clear()
    field.send_keys(typed)
    return field


def selected_text(driver):
    return text_of(driver, wait(driver, lambda s: s["selected"] >= 0)["selected"])


def test_the_page_is_small_and_asks_for_nothing(opened, page):
    size = page.stat().st_size
    print(f"\n{ROWS:,} rows, {len(UPDATES)} updates: {size / 1e6:.2f} MB")
    assert size < 10_000_000
    assert state(opened)["tokens"] == ROWS - 5
    requests = [
        entry["message"] for entry in opened.get_log("performance") if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert not [message for message in requests if '"url":"http' in message or '"url":"ws' in message]
    assert "picture, not evidence" in opened.find_element(By.TAG_NAME, "header").text
    shown = opened.find_element(By.ID, "preservation").text
    assert "neighbour preservation 0.50" in shown
    assert "a random map: 0.00020" in shown
    assert "seed:1|update:8" in opened.find_element(By.ID, "signature").text
    assert "category words are one token" in opened.find_element(By.TAG_NAME, "footer").text


def test_search_selects_and_centres(opened):
    search(opened, " red").send_keys(Keys.ENTER)
    assert selected_text(opened) == "“ red”"
    now = state(opened)
    position = opened.execute_script("return tokenMap.position(arguments[0])", now["selected"])
    assert now["centre"] == pytest.approx(position)
    assert now["zoom"] == pytest.approx(3)
    x, y = opened.execute_script("return tokenMap.pixel(arguments[0])", now["selected"])
    edge = opened.find_element(By.ID, "map").rect
    assert (x, y) == pytest.approx((edge["x"] + edge["width"] / 2, edge["y"] + edge["height"] / 2), abs=2)
    screenshot(opened, "map-search")


def test_search_shows_other_case_and_spaces(opened):
    search(opened, "RED")
    options = [option.text for option in opened.find_elements(By.CSS_SELECTOR, "#suggestions [role=option]")]
    assert any(option.startswith("“ red”") and "with leading space, other case" in option for option in options)
    assert any(option.startswith("“Red”") and "other case" in option for option in options)
    assert "Found “" in opened.find_element(By.ID, "search-status").text


def test_an_unknown_token_has_near_matches(opened):
    field = search(opened, "blux")
    status = opened.find_element(By.ID, "search-status")
    assert "No such token" in status.text
    assert "“ blue”" in status.text
    field.send_keys(Keys.ENTER)  # a guess is not taken unasked
    assert state(opened)["selected"] == -1
    field.send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    assert selected_text(opened) == "“ blue”"
    search(opened, "qqqqqqqqqqqqqqq")
    assert "nothing like it" in status.text


@pytest.mark.parametrize("reduced", [True, False])
def test_the_slider_changes_update_and_positions(opened, page, reduced):
    load(opened, page, 1400, 900, reduced)
    number = token(opened, "“ red”")
    before = opened.execute_script("return tokenMap.position(arguments[0])", number)
    slider = opened.find_element(By.ID, "update")
    slider.send_keys(Keys.ARROW_LEFT)
    if not reduced:  # on the way at first
        assert state(opened)["moving"] or state(opened)["update"] == 6
    wait(opened, lambda s: s["update"] == 6 and not s["moving"])
    after = opened.execute_script("return tokenMap.position(arguments[0])", number)
    assert after[1] == pytest.approx(before[1] - 1, abs=0.02)
    assert "update 6" in opened.find_element(By.ID, "preservation").text
    assert "update:6" in opened.find_element(By.ID, "signature").text
    assert slider.get_attribute("aria-valuetext") == "update 6"
    slider.send_keys(Keys.HOME)
    wait(opened, lambda s: s["update"] == 0 and not s["moving"])
    assert opened.execute_script("return document.body.dataset.update") == "0"


def test_pointing_shows_the_token(opened):
    number = token(opened, "“ red”")
    point_at(opened, number)
    wait(opened, lambda s: s["hovered"] == number)
    text = opened.find_element(By.ID, "tooltip").text
    assert text.startswith("“ red” (colours)")
    for part in ("times in the training text", "group: count", "norm", "mean cosine"):
        assert part in text


def test_a_click_shows_course_and_neighbours(opened):
    number = token(opened, "“ blue”")
    point_at(opened, number, click=True)
    now = wait(opened, lambda s: s["selected"] == number)
    assert len(now["near"]) == 5
    panel = opened.find_element(By.ID, "panel")
    assert "“ blue”" in panel.text
    assert len(panel.find_elements(By.CSS_SELECTOR, "svg .course")) == 3
    lines = panel.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert [line.find_element(By.TAG_NAME, "th").text for line in lines] == [str(update) for update in UPDATES]
    current = panel.find_element(By.CSS_SELECTOR, "tr.current")
    buttons = current.find_elements(By.TAG_NAME, "button")
    assert [int(button.get_attribute("data-token")) for button in buttons] == [
        neighbour for neighbour, _ in now["near"]
    ]
    assert "new" in buttons[0].get_attribute("class")
    screenshot(opened, "map-click")
    first = now["near"][0][0]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", buttons[0])
    buttons[0].click()
    wait(opened, lambda s: s["selected"] == first)
    opened.find_element(By.ID, "clear").click()
    assert state(opened)["selected"] == -1


def test_the_group_selector_dims_the_others(opened):
    number = token(opened, "“ red”")
    colours = """const c = document.getElementById("map"), p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
      let dim = 0; for (let i = 0; i < p.length; i += 4) dim += p[i] === 0xe3 && p[i + 1] === 0xe7 && p[i + 2] === 0xeb; return dim;"""
    choice = Select(opened.find_element(By.ID, "group"))
    assert choice.options[0].text == f"all ({ROWS - 5:,} tokens)"
    assert (
        sum(int(option.text.split("(")[1].split(" ")[0].replace(",", "")) for option in choice.options[1:]) == ROWS - 5
    )
    choice.select_by_value("0")
    wait(opened, lambda s: s["group"] == 0)
    WebDriverWait(opened, 5).until(lambda d: d.execute_script("return document.body.dataset.group") == "0")
    assert opened.execute_script(colours) > 2000
    point_at(opened, number)  # a seen token: dimmed, and not under the pointer
    assert state(opened)["hovered"] != number
    screenshot(opened, "map-group")


def test_categories_can_be_switched(opened):
    box = opened.find_element(By.CSS_SELECTOR, "#categories input")
    box.click()
    assert state(opened)["hidden"] == [0]
    opened.find_element(By.ID, "no-categories").click()
    assert len(state(opened)["hidden"]) > 1
    opened.find_element(By.ID, "all-categories").click()
    assert state(opened)["hidden"] == []


def test_everything_by_keyboard(opened):
    body = opened.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "Skip to the search"
    opened.switch_to.active_element.send_keys(Keys.ENTER)
    if opened.switch_to.active_element.get_attribute("id") != "search":
        opened.switch_to.active_element.send_keys(Keys.TAB)
    field = opened.switch_to.active_element
    assert field.get_attribute("id") == "search"
    field.send_keys("blu", Keys.ARROW_DOWN)
    assert field.get_attribute("aria-activedescendant") == "suggestion-0"
    field.send_keys(Keys.ENTER)
    assert selected_text(opened) == "“ blue”"
    assert "“ blue”" in opened.find_element(By.CSS_SELECTOR, "[aria-live]").get_attribute("textContent")
    field.send_keys(Keys.TAB)
    canvas = opened.switch_to.active_element
    assert canvas.get_attribute("id") == "map"
    assert opened.execute_script("return getComputedStyle(arguments[0]).outlineStyle", canvas) == "solid"
    before = state(opened)
    canvas.send_keys(Keys.ARROW_RIGHT, "+")
    after = state(opened)
    assert after["centre"][0] > before["centre"][0]
    assert after["zoom"] == pytest.approx(before["zoom"] * 1.4)
    canvas.send_keys("0")
    assert state(opened)["zoom"] == pytest.approx(1)
    stops = []
    while "update" not in stops and len(stops) < 10:
        opened.switch_to.active_element.send_keys(Keys.TAB)
        stops.append(opened.switch_to.active_element.get_attribute("id"))
    assert stops == ["zoom-in", "zoom-out", "reset", "update"]
    opened.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    wait(opened, lambda s: s["update"] == 6)
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert state(opened)["selected"] == -1


@pytest.mark.parametrize("place", range(len(HOSTILE)))
def test_hostile_tokens_are_inert(opened, place):
    shown = ["“" + HOSTILE[0][:40] + "…”", "“\\u202etxet”", "“<b>bold</b>\\u0007”"][place]
    number = token(opened, shown)
    assert number >= 0
    point_at(opened, number, click=True)
    wait(opened, lambda s: s["selected"] == number and s["hovered"] == number)
    assert opened.find_element(By.ID, "tooltip").text.startswith(shown)
    assert opened.find_element(By.ID, "panel-title").text == shown
    search(opened, HOSTILE[place][:4])
    assert opened.execute_script("return document.querySelectorAll('img, b, body [onerror]').length") == 0


def test_zoom_by_wheel_and_drag_to_move(opened):
    x, y = opened.execute_script("return tokenMap.pixel(arguments[0])", token(opened, "“ red”"))
    wheel = {"type": "mouseWheel", "x": round(x), "y": round(y), "deltaX": 0, "deltaY": -300}
    opened.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    wait(opened, lambda s: s["zoom"] > 1.3)
    moved = opened.execute_script("return tokenMap.pixel(arguments[0])", token(opened, "“ red”"))
    assert moved == pytest.approx([x, y], abs=2)  # the token under the pointer stays there
    before = state(opened)["centre"]
    canvas = opened.find_element(By.ID, "map")
    ActionChains(opened).move_to_element(canvas).click_and_hold().move_by_offset(-80, 0).release().perform()
    assert state(opened)["centre"][0] > before[0]
    assert state(opened)["selected"] == -1  # a drag is no click
    opened.find_element(By.ID, "reset").click()
    assert state(opened)["zoom"] == pytest.approx(1)


def test_it_answers_quickly(opened):
    slider = opened.find_element(By.ID, "update")
    for _ in range(5):
        slider.send_keys(Keys.ARROW_LEFT)
    for text in ("“ red”", "“Red”", "“ blue”"):
        point_at(opened, token(opened, text))
        point_at(opened, token(opened, text), click=True)
    found = opened.execute_script("return tokenMap.times()")
    medians = {name: statistics.median(found[name]) for name in ("redraw", "step", "hover", "click")}
    print("\nmilliseconds, median: " + ", ".join(f"{name} {value:.1f}" for name, value in medians.items()))
    assert all(value < SLOWEST for value in medians.values())


def test_a_narrow_window_and_large_text_need_no_sideways_scrolling(opened, page):
    for width, height in ((420, 800), (700, 450)):  # the second: 1400 x 900 at 200 %
        load(opened, page, width, height)
        search(opened, "red").send_keys(Keys.ENTER)
        selected_text(opened)
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
        screenshot(opened, f"map-{width}")


def test_a_browser_without_unpacking_says_so(opened, page):
    script = opened.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream;"}
    )
    try:
        opened.get(page.as_uri())
        WebDriverWait(opened, 10).until(lambda d: d.execute_script("return document.body.dataset.ready") == "failed")
        assert "lacks DecompressionStream" in opened.find_element(By.CSS_SELECTOR, "[role=alert]").text
    finally:
        opened.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
