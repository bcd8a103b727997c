"""reports/index.html: all in one file, opened and sorted in a real browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from hostile import hostile_project, tables
from report_studies import together, toy, write_all

from pfml.report.document import PREAMBLE, report_sections
from pfml.report.page import captioned, render_page
from pfml.report.table import Column, Entry, Section, table_of, words
from tests.committed import committed
from tests.conftest import ROOT

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TABLE = table_of(
    "demo", "A **bold** title, `code < here`.",
    [
        words("Method", ["b & c", "a", "d"]),
        Column("R@1", [Entry(9.5, 0.5), Entry(10.25, mark="recalled"), Entry()], best="high"),
    ],
    ["One reading."],
)  # fmt: skip
FOLDED = table_of("folded", "More", [words("x", ["1"])], listed=False)
PAGE = (
    "T",
    "Lead with [a link](tables).\n\n* one\n* two",
    [Section("Table 1", "Its lead.", ["Words.", TABLE, FOLDED])],
)


def shown(folder) -> tuple[list, dict]:
    """Figures and environment of the page."""
    return [(folder / "f.png", 'A "quoted" **caption**')], {"Versions": ["a 1", "b 2"], "Seeds": "0"}


@pytest.fixture
def page(tmp_path):
    shutil.copy(committed("reports/figures/training.png"), tmp_path / "f.png")
    path = tmp_path / "index.html"
    path.write_text(render_page(*PAGE, *shown(tmp_path)))
    return path


class Reader(HTMLParser):
    """Tags with their attributes, and whether every opened one is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_asks_for_nothing_from_outside(page):
    text = page.read_text()
    reader = Reader(text)
    assert not reader.open and {"table", "figure", "nav", "details", "dl"} <= {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe") and not (tag == "script" and "src" in attributes)
        assert attributes.get("src", "data:").startswith("data:")
    assert not re.search(r"https?://|@import|url\(", text)
    assert text.count("data:image/png;base64,") == 1 and "{{" not in text


def test_texts_are_marked_up_and_escaped(page):
    text = page.read_text()
    assert "A <strong>bold</strong> title, <code>code &lt; here</code>." in text
    assert '<a href="tables">a link</a>' in text and "<li>one</li><li>two</li>" in text
    assert 'alt="A &#34;quoted&#34; caption"' in text and '<td data-value="b &amp; c"' in text
    assert "9.5 ± 0.5" in text and "<strong>10.2</strong> (recalled)" in text and "Reading: One reading." in text


def policy(text: str) -> str:
    (found,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    return found


def test_the_policy_allows_the_page_s_own_script_and_style_and_nothing_else(page):
    text = page.read_text()
    hashes = {
        tag: base64.b64encode(
            hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", text, re.S)[1].encode()).digest()
        ).decode()
        for tag in ("script", "style")
    }
    assert policy(text) == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert "addEventListener" in text and text == render_page(*PAGE, *shown(page.parent))


TAGS = (
    "html|head|meta|title|style|script|body|header|nav|main|section|h1|h2|p|a|ul|li|details|summary|div|table|thead|"
    "tbody|tr|th|td|button|code|strong|em|figure|figcaption|img|dl|dt|dd|br"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a project whose result files have markup in every text."""
    project = hostile_project(tmp_path_factory.mktemp("hostile") / "project")
    done = tables(project)
    assert done.returncode == 0, done.stderr
    return project / "reports/index.html"


def test_result_files_bring_no_script_handler_or_link_into_the_page(hostile):
    text = hostile.read_text(encoding="utf-8")
    reader = Reader(text)
    assert not reader.open and "HIT" in text
    assert not [tag for tag, _ in reader.tags if not re.fullmatch(TAGS, tag)]
    assert [tag for tag, _ in reader.tags].count("script") == text.count("<script") == 1
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
        if tag == "a":
            assert re.fullmatch(r"#[a-z0-9-]*|https://[\w./-]+|(\.\./)*[\w./-]+(#[\w-]+)?", attributes["href"]), (
                attributes
            )
        if "src" in attributes:
            assert tag == "img" and attributes["src"].startswith("data:image/png;base64,")


HIT = """() => {
  document.querySelectorAll("a, button, td, code").forEach((one) => {
    one.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
    if (one.tagName === "BUTTON" || one.protocol === "javascript:") one.click();
  });
  return {title: document.title, sorted: document.querySelectorAll("th[aria-sort]").length,
          handlers: [...document.querySelectorAll("*")].filter((one) => [...one.attributes].some(
            (a) => a.name.startsWith("on"))).length};
}"""


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_a_browser_runs_nothing_of_result_files(hostile):
    found = dom(hostile, HIT)
    assert "HIT" not in found["title"] and found["handlers"] == 0 and found["sorted"] > 20


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_a_browser_holds_to_the_policy(page):
    """Were there a script or a handler of others, it would not run; and the page's own one does."""
    text = page.read_text().replace("<main>", "<main><script>document.title = 'HIT'</script>"
                                    "<img src=x onerror=\"document.title = 'HIT'\">")  # fmt: skip
    page.write_text(text)
    found = dom(page, "() => { menu.open = false; return {title: document.title, own: typeof fold}; }")
    assert found == {"title": "T", "own": "function"}


def dom(path, script, *options, width=None):
    """What `script` writes into the document, as the browser leaves it. width: of a frame, in pixels, that shows it."""
    tried = path.with_name("tried.html")
    added = f"found.textContent = JSON.stringify(({script})())"
    allowed = f"script-src 'sha256-{base64.b64encode(hashlib.sha256(added.encode()).digest()).decode()}' "
    text = path.read_text(encoding="utf-8").replace("script-src ", allowed, 1)
    tried.write_text(f"{text}<pre id=found></pre><script>{added}</script>", encoding="utf-8")
    if width:
        framed = tried.with_name("framed.html")
        framed.write_text(
            f'<iframe src="{tried.name}" style="width: {width}px; height: 700px; border: 0"></iframe>'
            "<pre id=found></pre>"
            "<script>onload = () => { found.textContent = frames[0].found.textContent; }</script>"
        )
        tried, options = framed, (*options, "--allow-file-access-from-files")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        *options,
        f"--user-data-dir={path.parent / 'profile'}", "--dump-dom", tried.as_uri(),
    ]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    import html

    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', out, re.S)[1]))


SORTED = """() => {
  const [words, numbers] = document.querySelectorAll("#demo th button");
  const order = () => [...document.querySelectorAll("#demo tbody tr")].map((row) => row.cells[0].textContent);
  const found = [order()];
  for (const button of [numbers, numbers, words, words]) { button.click(); found.push(order()); }
  const image = document.querySelector("img");
  return {found, sort: words.parentElement.ariaSort, width: image.naturalWidth, errors: document.title};
}"""


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_a_browser_opens_it_and_a_click_sorts(page):
    found = dom(page, SORTED)
    assert found["found"] == [
        ["b & c", "a", "d"],
        ["a", "b & c", "d"],  # numbers from high to low; what has none is last
        ["b & c", "a", "d"],  # and from low to high: 9.5 before 10.25, no order of letters
        ["a", "b & c", "d"],
        ["d", "b & c", "a"],
    ]
    assert found["sort"] == "descending" and found["width"] > 100 and found["errors"] == "T"


PHONE = """() => {
  const wide = document.querySelector(".wide"), first = document.querySelector("#demo td");
  wide.style.width = "8rem"; wide.scrollLeft = 50;
  return {menu: document.querySelector("nav details").open, left: getComputedStyle(first).left,
          moved: first.getBoundingClientRect().left - wide.getBoundingClientRect().left, scrolled: wide.scrollLeft,
          width: document.documentElement.scrollWidth, screen: innerWidth};
}"""


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
@pytest.mark.parametrize(("width", "open_menu"), [(390, False), (1200, True)])
def test_on_a_phone_the_menu_folds_and_first_columns_stay(page, width, open_menu):
    found = dom(page, PHONE, "--window-size=1300,800", width=width)
    assert found["menu"] is open_menu and found["width"] <= found["screen"] and found["left"] == "0px"
    assert found["scrolled"] > 0 and abs(found["moved"]) < 1


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_the_whole_report_opens_with_every_table_and_figure(tmp_path):
    study = toy()
    write_all(tmp_path, study, {"pfml": 0.7, "cpml": 0.6})
    report = report_sections(together(tmp_path, study))
    figures = captioned(committed("reports/figures"), ROOT / "docs/figures.md", {"glyphs": ""})
    path = tmp_path / "index.html"
    path.write_text(render_page("Report", PREAMBLE, report, figures, {"Seeds": "0"}))
    found = dom(
        path,
        """() => ({
      tables: document.querySelectorAll("table").length,
      headings: [...document.querySelectorAll("h2")].map((h) => h.textContent),
      images: [...document.images].filter((image) => image.complete && image.naturalWidth).length,
      broken: [...document.querySelectorAll("nav a")].filter((a) => !document.getElementById(a.hash.slice(1))).length,
    })""",
    )
    assert found["tables"] == sum(len(section.tables) for section in report) and found["broken"] == 0
    assert found["images"] == len(figures) == len(list(committed("reports/figures").glob("*.png")))
    assert [f"Table {n}" for n in range(1, 10)] == [h for h in found["headings"] if h.startswith("Table")]
    assert found["headings"][0] == "Summary" and found["headings"][-2:] == ["Figures", "Environment"]
