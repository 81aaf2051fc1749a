"""The report in a real browser: no error, no request, and all that a reader does with it."""

import base64
import json
import re
import shutil
import struct
import time
from itertools import pairwise

import pytest

selenium = pytest.importorskip("selenium")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER), reason="no chromium and chromedriver on the PATH"
    ),
]
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
# what a browser's own pages begin with, such as the one of a new tab, which asks its maker
OWN = ("chrome:", "chrome-untrusted:", "chrome-search:", "chrome-extension:", "devtools:", "about:")


class Reader:
    """One browser with the page open; its size and theme can be set."""

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def open(self, fragment=""):
        self.driver.get("about:blank")
        self.driver.get(self.address + fragment)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def size(self, width, height=800, touch=False):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch},
        )
        self.settle()

    def media(self, **features):
        kind = features.pop("type", "")
        listed = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": kind, "features": listed}
        )
        self.settle()

    def settle(self):
        """Wait until the page has drawn twice, so that charts know their width."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )

    def click(self, element):
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def column(self, table, title):
        """The texts of a column, of the rows that are shown."""
        return self.js(
            "const t = document.getElementById(arguments[0]);"
            "const at = [...t.tHead.rows[0].cells].findIndex((c) => c.innerText.trim().startsWith("
            "arguments[1]));"
            "return [...t.tBodies[0].rows].filter((r) => !r.hidden)"
            ".map((r) => r.cells[at].innerText.trim())",
            table,
            title,
        )


@pytest.fixture(scope="module")
def reader(page, tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        driver.set_script_timeout(20)
        yield Reader(driver, page.as_uri())
    finally:
        driver.quit()


@pytest.fixture(autouse=True)
def fresh(reader):
    """Each test begins with the page as it is opened, 1280 wide and light."""
    reader.media(prefers_color_scheme="light")
    reader.size(1280)
    reader.open()
    reader.settle()


def test_it_loads_without_an_error_or_a_request(reader):
    messages = reader.driver.get_log("performance")  # since the last look
    reader.open()
    for button in reader.all("#claims-abstract .open, #browser .sort")[:3]:
        reader.click(button)
    time.sleep(0.2)
    messages = [json.loads(entry["message"])["message"] for entry in messages]
    messages += [
        json.loads(entry["message"])["message"] for entry in reader.driver.get_log("performance")
    ]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked = {
        request["request"]["url"].partition("#")[0]
        for request in requests
        if not request["documentURL"].startswith((*OWN, "data:"))
    }
    assert {url for url in asked if not url.startswith("data:")} == {reader.address}
    assert reader.js("return performance.getEntriesByType('resource').map((e) => e.name)") == []
    assert reader.driver.get_log("browser") == []


def test_a_click_on_a_column_sorts_and_says_so(reader):
    before = reader.column("results-table", "parameters")
    head = next(h for h in reader.all("#results-table th") if h.text.startswith("parameters"))
    button = head.find_element(By.TAG_NAME, "button")

    def counts():
        cells = reader.column("results-table", "parameters")
        return [int(cell.split()[0].replace(",", "")) for cell in cells]

    assert head.get_attribute("aria-sort") == "none"
    reader.click(button)
    assert counts() == sorted(counts())
    assert reader.column("results-table", "parameters") != before
    assert head.get_attribute("aria-sort") == "ascending"
    button.send_keys(Keys.ENTER)  # by keyboard, the other way round
    assert counts() == sorted(counts(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    other = reader.one("#results-table th:first-child button")
    other.send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "none"
    names = [cell.split()[0] for cell in reader.column("results-table", "data")]
    assert names == ["glyphs"] * 5 + ["MNIST"] * 5  # as a dictionary has them


def test_a_dash_comes_last_in_both_directions(reader):
    head = next(h for h in reader.all("#results-table th") if h.text.startswith("against"))
    for _ in range(2):
        reader.click(head.find_element(By.TAG_NAME, "button"))
        column = reader.column("results-table", "against dense")
        assert column[-2:] == ["–", "–"]
        assert "–" not in column[:-2]


def test_sorting_claims_keeps_each_with_its_evidence(reader):
    reader.click(next(h for h in reader.all("#claims-abstract th .sort") if "verdict" in h.text))
    for body in reader.all("#claims-abstract tbody"):
        button = body.find_element(By.CSS_SELECTOR, ".open")
        evidence = body.find_element(By.CSS_SELECTOR, ".evidence")
        assert button.get_attribute("aria-controls") == evidence.get_attribute("id")
    verdicts = [v.text for v in reader.all("#claims-abstract .open .verdict")]
    assert verdicts == sorted(verdicts)
    assert len(set(verdicts)) > 1


def test_a_filter_hides_rows_and_counts_them(reader):
    assert reader.one("#results .count").text == "10 rows"
    reader.one("#results .filter").send_keys("mnist taylor")
    assert reader.column("results-table", "method") == ["Taylor, one shot"]
    assert reader.one("#results .count").text == "1 of 10 rows"
    reader.one("#results .filter").send_keys(Keys.CONTROL, "a", Keys.BACKSPACE)
    Select(reader.one("#results .facet")).select_by_visible_text("glyphs (stand-in)")
    assert len(reader.column("results-table", "data")) == 5
    assert {cell.split()[0] for cell in reader.column("results-table", "data")} == {"glyphs"}


def test_a_verdict_opens_to_its_rule_and_runs(reader):
    button = reader.one("#claims-abstract .open")
    evidence = reader.driver.find_element(By.ID, button.get_attribute("aria-controls"))
    assert not evidence.is_displayed()
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    assert "≥ 89 %" in evidence.text
    links = evidence.find_elements(By.CSS_SELECTOR, ".link")
    assert [link.text for link in links][:2] == [
        f"MNIST, CNN, dense (FedAvg), seed {seed}" for seed in (0, 1)
    ]
    reader.click(evidence.find_element(By.CSS_SELECTOR, ".number"))
    assert "test accuracy, mnist/cnn/dense/fedavg/seed-0" in reader.one("#origin").text
    reader.one("#origin .close").click()
    reader.click(links[1])
    assert Select(reader.one("[name=seed]")).first_selected_option.text == "1"
    assert reader.js("return location.hash") == "#run=mnist/cnn/dense/fedavg/seed-1"


def test_a_number_says_where_it_comes_from_and_escape_closes(reader):
    number = reader.one("#results-table tbody .number")
    reader.click(number)
    dialog = reader.one("#origin")
    assert dialog.is_displayed()
    for word in ("STAND-IN", "2 RUNS", "STORE, SHA-256", "CODE VERSION", "DENSE00000000000"):
        assert word in dialog.text.upper()
    for word in ("torch 2.13.0", "rounds 6", "seed: 0 or 1", "columns accuracy_mean"):
        assert word in dialog.text
    links = [a.get_attribute("href") for a in dialog.find_elements(By.CSS_SELECTOR, "li a")]
    assert len(links) == 6
    folder = reader.address.removesuffix("report/index.html")
    assert links[0] == f"{folder}runs/glyphs/cnn/dense/fedavg/seed-0/evaluation.json"
    reader.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert reader.driver.switch_to.active_element == number  # the reader is where he was


def test_the_browser_shows_a_run(reader):
    form = {name: Select(reader.one(f"#run-choice [name={name}]")) for name in
            ("dataset", "model", "arm", "seed")}  # fmt: skip
    form["dataset"].select_by_visible_text("MNIST")
    Select(reader.one("#run-choice [name=arm]")).select_by_visible_text("autoprune, kept weights")
    Select(reader.one("#run-choice [name=seed]")).select_by_visible_text("1")
    assert reader.js("return location.hash") == "#run=mnist/cnn/autoprune/inherit/seed-1"
    view = reader.one("#run-view")
    titles = [title.text for title in view.find_elements(By.CSS_SELECTOR, ".lines h4")]
    assert titles == ["Accuracy by round", "Filters by round"]
    curves = [part.find_elements(By.TAG_NAME, "path") for part in
              view.find_elements(By.CSS_SELECTOR, ".lines")]  # fmt: skip
    assert [len(paths) for paths in curves] == [2, 4]  # of two layers the filters and the live ones
    assert "stopped in round 5 (patience)" in view.text
    row = view.find_element(By.CSS_SELECTOR, ".plan tbody tr").text
    assert re.match(r"2 conv1 12 10 1\.\d+ 0\.25 \S+ \S+ 0, 1$", row)
    files = {a.text for a in view.find_elements(By.CSS_SELECTOR, ".list a")}
    assert {"history.csv", "plan.json", "run.json"} <= files


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("mnist/cnn/dense/fedavg/seed-0", "prunes nothing"),
        ("mnist/cnn/fedmap/global/seed-0", "700 left in round 2"),
        ("mnist/cnn/taylor/one-shot/seed-0", "2 conv1 12 10 – – – – 0, 1"),
    ],
)
def test_a_link_opens_a_run_of_any_kind(reader, run, said):
    reader.open(f"#run={run}")
    assert said in reader.one("#run-view").text
    assert reader.driver.get_log("browser") == []


@pytest.mark.parametrize("width", [1280, 800])  # as wide as its frame, and narrower
def test_a_picture_says_its_values_to_pointer_and_keys(reader, width):
    reader.size(width)
    rounds, figure, without = reader.all(".still")
    assert rounds.find_elements(By.TAG_NAME, "svg")
    assert not without.find_elements(By.TAG_NAME, "svg")
    plot, tip = figure.find_element(By.TAG_NAME, "svg"), figure.find_element(By.TAG_NAME, "output")
    assert plot.get_attribute("aria-label").startswith("Figure widths by layer.")
    reader.js("arguments[0].focus({preventScroll: true})", plot)
    keys = webdriver.ActionChains(reader.driver)
    keys.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN).perform()
    said = tip.text
    assert said == "autoprune, fresh weights, layer 2\n12 of 14 filters"
    spot = plot.find_element(By.CSS_SELECTOR, ".spot")
    right = "return arguments[0].getBoundingClientRect().right"
    image = reader.js(right, figure.find_element(By.TAG_NAME, "img"))
    assert image - 20 < reader.js(right, spot) <= image  # the last layer's cell
    offset = reader.js(
        "const [box, all] = [...arguments].map((node) => node.getBoundingClientRect());"
        "return [box.x + box.width / 2 - all.x - all.width / 2,"
        " box.y + box.height / 2 - all.y - all.height / 2]",
        *(spot, plot),
    )
    webdriver.ActionChains(reader.driver).send_keys(Keys.ESCAPE).perform()
    assert tip.text == ""
    pointer = webdriver.ActionChains(reader.driver)
    pointer.move_to_element_with_offset(plot, *map(round, offset)).perform()
    assert tip.text == said


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_its_width(reader, tmp_path, width, theme):
    reader.media(prefers_color_scheme=theme)
    reader.size(width, touch=width < 500)
    reader.click(reader.one("#claims-abstract .open"))
    inside, shown = reader.js("return [document.documentElement.scrollWidth, innerWidth]")
    assert inside <= shown == width
    picture = base64.b64decode(
        reader.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    )
    assert struct.unpack(">II", picture[16:24]) == (width, 800)
    paper = reader.js("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[theme]
    reader.click(reader.one("#results-table tbody .number"))
    box = reader.one("#origin").rect
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width


@pytest.mark.parametrize("width", [390, 700, 1000, 1280, 1400])
def test_what_marks_a_cell_stays_in_it(reader, width):
    reader.size(width)
    over = reader.js("""
        const marks = document.querySelectorAll("td .verdict, td .stand-in, td .unsettled");
        return [...marks].filter((mark) => {
          const cell = mark.closest("td"), room = parseFloat(getComputedStyle(cell).paddingRight);
          return mark.getBoundingClientRect().right > cell.getBoundingClientRect().right - room + 1;
        }).map((mark) => mark.closest("tr").textContent.trim().slice(0, 80))
    """)
    assert over == []


def test_on_paper_all_is_there_and_tools_are_not(reader):
    reader.media(type="print")
    assert not reader.one("#results .filter").is_displayed()
    assert not reader.one("nav").is_displayed()
    assert reader.one("#claims-abstract .evidence").is_displayed()
    reader.media(type="")
    pdf = reader.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF")


def test_every_control_has_a_name_and_headings_have_no_gap(reader):
    unnamed = reader.js(
        "return [...document.querySelectorAll('button, input, select, a, svg[role], img')].filter("
        "(e) => !(e.getAttribute('aria-label') || e.alt || e.textContent.trim()"
        " || e.labels?.[0]?.textContent.trim())).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    levels = reader.js(
        "return [...document.querySelectorAll('h1, h2, h3, h4, h5')]"
        ".filter((h) => !h.closest('dialog')).map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert len(reader.all(f"body {landmark}")) == 1
    doubled = reader.js(
        "const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);"
        "return ids.filter((id, at) => ids.indexOf(id) !== at)"
    )
    assert doubled == []
    broken = reader.js(
        "return [...document.querySelectorAll('[aria-controls], [aria-labelledby]')].flatMap((e) =>"
        "['aria-controls', 'aria-labelledby'].map((n) => e.getAttribute(n)).filter(Boolean))"
        ".filter((id) => !document.getElementById(id))"
    )
    assert broken == []
    assert reader.one("html").get_attribute("lang") == "en"
