"""The page in a browser: headless Chromium, driven by Selenium; skipped where there is no Chromium."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from fewshot_km.reports.figures import draw_figures, draw_narrow
from fewshot_km.reports.page import report_page
from fewshot_km.reports.report import Report
from tests.support.made_up_pages import HOSTILE, WAYS, answer, made_up_report, shade
from tests.support.made_up_report import made_up_report as report_of_everything

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver here: apt-get install chromium chromium-driver"
)
PHONE, DESKTOP = 375, 1280
LEGIBLE = 9  # pixels of a letter's em: the caption beside a figure has 14
WIDTHS = (320, 375, 768, 1280, 1920)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--force-prefers-reduced-motion"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses to be started by root
    browser = Chrome(options, Service(DRIVER))
    folder = tmp_path_factory.mktemp("page")
    browser.get(write_page(folder, made_up_report(folder)))
    yield browser
    browser.quit()


def write_page(folder: Path, report: Report) -> str:
    """Its address."""
    path = folder / "report.html"
    path.write_text(report_page(report, draw_figures(report), draw_narrow(report)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Chrome) -> Chrome:
    """The page, opened anew on a desktop; what the browser has to complain about fails the test."""
    resize(browser, DESKTOP)
    browser.get(browser.current_url.partition("#")[0])
    return browser


@pytest.fixture(autouse=True)
def no_complaints(browser: Chrome) -> Iterator[None]:
    yield
    assert browser.get_log("browser") == []


def resize(browser: Chrome, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def all_of(page: Chrome | WebElement, selector: str) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, selector)


def one(page: Chrome | WebElement, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def column(page: Chrome, section: str, place: int) -> list[str]:
    """The texts of the rows that are shown."""
    rows = "[...document.querySelectorAll(arguments[0])].filter((row) => row.checkVisibility())"
    found: list[str] = script(page, f"return {rows}.map((row) => row.cells[arguments[1]].innerText)",
                              f"#{section} tbody tr", place)  # fmt: skip
    return found


def script(page: Chrome, text: str, *arguments: Any) -> Any:
    return page.execute_script(text, *arguments)


def test_it_opens_and_names_do_not_run(page: Chrome) -> None:
    assert page.title == "small: few-shot results"
    assert HOSTILE[0] in one(page, ".viewer [data-name='0']").text
    assert script(page, "return document.images.length") == len(all_of(page, "figure")) > 2
    assert script(page, "return document.querySelectorAll('script, [onerror]').length") == 2
    for select in all_of(page, ".viewer select"):  # names that the script puts in
        for option in Select(select).options:
            script(page, "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
                   select, option.get_attribute("value"))  # fmt: skip
    assert page.title == "small: few-shot results"
    assert script(page, "return document.querySelectorAll('script, [onerror]').length") == 2


def test_nothing_is_asked_for(page: Chrome) -> None:
    entries = script(page, "return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in entries if not name.startswith("data:")] == []


def test_tables_sort_by_number_and_by_word(page: Chrome) -> None:
    header = all_of(page, "#costs th")[list_of(page, "#costs th").index("adapted parameters")]
    place = all_of(page, "#costs th").index(header)
    one(header, "button").click()
    assert header.get_attribute("aria-sort") == "descending"
    numbers = [int(text.replace(",", "")) for text in column(page, "costs", place)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) > 1
    one(header, "button").send_keys(Keys.ENTER)
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, "costs", place) == [f"{number:,}" for number in sorted(numbers)]
    word = all_of(page, "#costs th")[1]
    one(word, "button").send_keys(Keys.SPACE)
    assert header.get_attribute("aria-sort") is None
    methods = column(page, "costs", 1)
    assert methods == sorted(methods)


def list_of(page: Chrome, selector: str) -> list[str]:
    return [element.text.rstrip(" ↕") for element in all_of(page, selector)]


def test_numbers_with_spreads_sort_and_what_has_none_comes_last(page: Chrome) -> None:
    header = all_of(page, "#cells th")[4]
    for reverse in (True, False):
        one(header, "button").click()
        *numbers, first, last = column(page, "cells", 4)
        assert (first, last) == ("–", "–")
        assert [float(text) for text in numbers] == sorted(map(float, numbers), reverse=reverse)
    texts = ["93.53 ± 0.52", "−0.31 +0.21 (600)", "± 0.52 (600)", "< 0.0001", "0.0001", "111,749", "−1.5", "failed"]
    numbers = script(page, "return arguments[0].map(numberIn)", texts)
    assert numbers == [93.53, 0.26, 0.52, pytest.approx(1e-4, abs=1e-8), 0.0001, 111749, -1.5, None]
    assert numbers[3] < numbers[4]


def test_published_rows_stay_apart(page: Chrome) -> None:
    body = one(page, "#accuracy tbody")
    script(
        page,
        """
        const rows = document.querySelector('#accuracy table');
        const body = rows.createTBody();
        body.innerHTML = '<tr class="section"><th>published</th></tr><tr><td>x</td><td>99</td><td>1</td></tr>';
    """,
    )
    one(page, "#accuracy th:nth-child(2) button").click()
    assert "published" not in body.text
    assert [row.text for row in all_of(page, "#accuracy tbody:last-child tr")] == ["published", "x 99 1"]


def test_rows_are_filtered(page: Chrome) -> None:
    field = one(page, "#cells input")
    field.send_keys("5W1S anil")
    assert column(page, "cells", 0) == ["glyphs-5w1s"] * 2
    assert column(page, "cells", 1) == ["anil"] * 2
    assert one(page, "#cells [role=status]").text == "2 of 12 rows"
    field.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE)
    assert len(column(page, "cells", 0)) == 12


@pytest.mark.parametrize("seed", [0, 1])
def test_the_viewer_shows_the_right_images_and_answers(page: Chrome, seed: int, tmp_path: Path) -> None:
    viewer = one(page, ".viewer")
    step = one(viewer, "[data-step='1']")
    Select(one(viewer, "[data-choose=seed]")).select_by_visible_text(str(seed))
    step.click()
    step.click()
    assert not step.is_enabled()
    assert Select(one(viewer, "[data-choose=episode]")).first_selected_option.text == "2"
    episode = 2
    names = [element.text for element in all_of(viewer, "[data-name]")]
    assert [name[-1] for name in names] == ["2"] * WAYS
    right: dict[str, int] = {}
    for cell in [one for one in made_up_report(tmp_path).results.grid.cells if one.seed == seed][:3]:
        shown = script(page, MARKS, viewer, cell.learner)
        for truth, place, said in shown:
            given = answer(cell, episode, truth, place % 5)
            if seed == 1 and cell.learner != "maml":
                wanted = f"{cell.learner}: not kept"  # the cell is unfinished
            elif given < 0:
                wanted = "✗ anil: no answer"
            elif given == truth:
                wanted = f"✓ {cell.learner}"
            else:
                wanted = f"✗ {cell.learner}: {given} {names[given]}"
            assert said.strip() == wanted
            right[cell.learner] = right.get(cell.learner, 0) + (given == truth)
    done = ["maml", "anil", "km-maml"] if seed == 0 else ["maml"]
    score = ", ".join(f"{learner}: {right[learner]} of 25 right" for learner in done)
    assert one(viewer, "[data-score]").text == score
    shot = tmp_path / "image.png"
    for label, place in ((0, 0), (3, 4)):
        image_box = all_of(all_of(viewer, "tbody tr")[label], ".pixels")[place]
        image_box.screenshot(str(shot))
        with Image.open(shot) as image:
            pixel = image.convert("L").getpixel((image.width // 2, image.height // 2))
        assert pixel == shade(episode, label, place)


def test_one_method_can_be_looked_at_alone(page: Chrome) -> None:
    viewer = one(page, ".viewer")
    Select(one(viewer, "[data-choose=method]")).select_by_visible_text("anil")
    assert set(script(page, SHOWN, viewer)) == {"anil"}
    assert set(map(tuple, script(page, STYLES, viewer))) == {
        ("right", "solid"),
        ("wrong", "dashed"),
    }  # not by colour alone


MARKS = """return [...arguments[0].querySelectorAll('[data-truth]')].map((query) =>
    [Number(query.dataset.truth), Number(query.dataset.place),
     query.querySelector(`[data-method=${arguments[1]}]`).innerText])"""
SHOWN = """return [...arguments[0].querySelectorAll('[data-method]')].filter((mark) => mark.checkVisibility())
    .map((mark) => mark.dataset.method)"""
STYLES = """return [...arguments[0].querySelectorAll('.query')].map((query) =>
    [query.querySelector('[data-method=anil]').className,
     getComputedStyle(query.querySelector('.pixels')).borderTopStyle])"""


def test_figures_are_shown(page: Chrome) -> None:
    widths = "Promise.all([...document.images].map((image) => image.decode().then(() => image.naturalWidth)))"
    assert min(script(page, f"return {widths}")) > 100
    assert all(image.get_attribute("alt") for image in all_of(page, "img"))
    sheet = script(
        page,
        """
        const url = getComputedStyle(document.querySelector('.pixels')).backgroundImage.slice(5, -2);
        const image = new Image();
        image.src = url;
        return image.decode().then(() => [image.naturalWidth, image.naturalHeight]);
    """,
    )
    assert sheet == [6 * 8, 15 * 8]


def test_light_and_dark(page: Chrome) -> None:
    def brightness() -> int:
        found = script(page, "return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, found[4:-1].split(",")))

    button = one(page, "[data-theme-toggle]")
    for name, is_dark in (("Dark", False), ("Light", True), ("Dark", False)):
        assert button.text == name
        assert (brightness() < 200) == is_dark
        button.click()
    try:
        prefers_dark = {"name": "prefers-color-scheme", "value": "dark"}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [prefers_dark]})
        page.refresh()
        assert brightness() < 200
        assert one(page, "[data-theme-toggle]").text == "Light"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(page: Chrome, width: int) -> None:
    """Whole figures lie within the window, and what is wider than it can be scrolled by itself."""
    resize(page, width)
    script(page, "document.querySelectorAll('details').forEach((one) => { one.open = true })")
    script(page, "return Promise.all([...document.images].map((image) => image.decode()))")
    within, inside = script(page, "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]")
    assert within == inside
    assert script(page, OUTSIDE) == []
    for left, right, natural in script(page, IMAGES):
        assert 0 <= left < right <= inside
        assert right - left > min(280, 0.9 * natural)


OUTSIDE = """return [...document.querySelectorAll('main *')].filter((one) => !one.parentElement.closest('.scroll')
    && one.checkVisibility() && one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map((one) => one.outerHTML)"""
IMAGES = """return [...document.images].map((image) => {
    const box = image.getBoundingClientRect();
    return [box.left, box.right, image.naturalWidth];
})"""


LETTERS = """return [...document.images].map((image) => {
    const text = atob(image.currentSrc.split(',')[1]);
    const style = getComputedStyle(image);
    const width = image.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const unit = width / new DOMParser().parseFromString(text, 'image/svg+xml').documentElement.viewBox.baseVal.width;
    const sizes = [...text.matchAll(/scale\\(([.0-9]+) -\\1\\)/g)].map((found) => 100 * found[1] * unit);
    return [image.alt, ...sizes.filter((size) => size < 50)];
})"""
"""Of each figure as the browser shows it: its name, and the em of each of its texts in pixels.

A text is outlines of letters with an em of 100, scaled; an image in the figure is turned over, and so scaled by 1.
"""


def test_a_phone_gets_figures_that_can_be_read(page: Chrome, tmp_path: Path) -> None:
    """Of a report with every kind of figure."""
    address = page.current_url
    try:
        page.get(write_page(tmp_path, report_of_everything(tmp_path)))
        resize(page, PHONE)
        script(page, "return Promise.all([...document.images].map((image) => image.decode()))")
        found = {name: min(sizes) for name, *sizes in script(page, LETTERS)}
    finally:
        page.get(address)
    kinds = ("Accuracy by", "Paired", "Critical", "Accuracy and adapted", "Learning", "Accuracy and inner", "Kernels")
    assert all(any(name.startswith(kind) for name in found) for kind in kinds)
    assert {name: size for name, size in found.items() if size < LEGIBLE} == {}


def test_the_first_screen_is_the_headline(page: Chrome) -> None:
    """On a desktop: the verdict, the table and its figure beside it."""
    script(page, "return Promise.all([...document.images].map((image) => image.decode()))")
    boxes = {
        name: script(page, "return arguments[0].getBoundingClientRect().toJSON()", one(page, f"#accuracy {name}"))
        for name in (".verdict", "table", "figure img")
    }
    assert all(0 < box["top"] < box["bottom"] < 800 for box in boxes.values())
    assert boxes[".verdict"]["bottom"] <= min(boxes["table"]["top"], boxes["figure img"]["top"])
    assert boxes["table"]["right"] < boxes["figure img"]["left"]
    assert not one(page, "#accuracy .notes li").is_displayed()
    one(page, "#accuracy .notes summary").click()
    assert one(page, "#accuracy .notes li").is_displayed()


@pytest.mark.parametrize(("width", "abreast"), [(768, 1), (1280, 2), (1920, 2)])
def test_a_wide_window_is_used(page: Chrome, width: int, abreast: int) -> None:
    resize(page, width)
    assert script(page, "return document.querySelector('main').getBoundingClientRect().width") > 0.9 * width
    figures = all_of(page, "#figures figure")
    tops = [figure.location["y"] for figure in figures]
    assert max(tops.count(top) for top in tops) == min(abreast, len(figures))


def test_long_tables_alone_have_a_filter(page: Chrome) -> None:
    found = script(page, """return [...document.querySelectorAll('table[data-sortable]')].map((table) =>
        [[...table.tBodies].reduce((sum, body) => sum + body.rows.length, 0),
         table.closest('.scroll').previousElementSibling?.matches('.tools') ?? false])""")  # fmt: skip
    assert {is_long for rows, is_long in found if rows > 10} == {True}
    assert {is_long for rows, is_long in found if rows <= 10} == {False}


def test_a_phone_scrolls_tables_and_never_the_page(page: Chrome) -> None:
    resize(page, PHONE)
    script(page, "document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert script(page, "return [document.documentElement.scrollWidth, document.body.scrollWidth]") == [PHONE, PHONE]
    assert script(page, "const one = document.querySelector('#comparisons .scroll'); return one.scrollWidth > 360")


def test_all_is_reached_by_tab(page: Chrome) -> None:
    reached = []
    for _ in range(24):
        page.switch_to.active_element.send_keys(Keys.TAB)
        active = page.switch_to.active_element
        reached.append(active.text or active.get_attribute("type") or active.get_attribute("aria-label"))
        outline = script(page, "return getComputedStyle(arguments[0]).outlineStyle", active)
        assert outline != "none", reached[-1]
    assert reached[0] == "Skip to the results"
    assert reached[1:8] == ["Accuracy", "Comparisons", "Intervals", "Costs", "Figures", "Episodes", "Cells"]
    assert reached[8] == "Dark"
    assert [text.rstrip(" ↕") for text in reached[10:13]] == ["accuracy %", "glyphs-5w1s", "glyphs-5w5s"]


def test_a_link_opens_its_cell(page: Chrome) -> None:
    link = next(link for link in all_of(page, "#cells td a") if "anil" in link.text)
    anchor = (link.get_attribute("href") or "").partition("#")[2]
    script(page, "arguments[0].click()", link)
    cell = page.find_element(By.ID, anchor)
    assert cell.is_displayed()
    assert "config_digest" in cell.text
    page.get(page.current_url)  # opened with the fragment
    assert page.find_element(By.ID, anchor).is_displayed()


def test_without_scripts_everything_can_be_read(page: Chrome) -> None:
    address = page.current_url
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.get("about:blank")
        page.get(address + "#cell/glyphs-5w1s/anil/seed1")
        assert one(page, "#accuracy tbody").is_displayed()
        assert page.find_element(By.ID, "cell/glyphs-5w1s/anil/seed1").is_displayed()
        assert all_of(page, "thead button, input") == []
        assert not one(page, "[data-theme-toggle]").is_displayed()
        assert not one(page, "[data-controls]").is_displayed()
        assert len(all_of(one(page, ".viewer"), ".sign")) == 25 * 3
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
