"""The site, the slides and the lessons on paper: built once, as `make site` does, then opened from
the disk in a real browser that can reach nothing else. tests/screenshots/ keeps what was seen."""
import re
import subprocess
import sys
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import cv2
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

for package in ("myst_nb", "furo", "sphinx_revealjs", "sphinx-mathjax-offline"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[docs]'")
from conftest import FRAMES
from lab import CHROMIUM, LONG, SCREENSHOTS, chromium

root = Path(__file__).parent.parent
sys.path.append(str(root / "tools"))
import pages

LESSONS = [path.stem for path in pages.LESSONS]
SESSIONS = [f"slides/session_{k}" for k in pages.sessions()]
PAPERS = [f"print/{name}" for name in LESSONS]
in_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: "
                                                     "apt-get install chromium")


@pytest.fixture(scope="module")
def site():
    done = subprocess.run([sys.executable, root / "tools" / "pages.py", "site"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return pages.OUT


def test_every_notebook_and_module_has_its_page(site):
    notebooks = [path.relative_to(root) for path in (root / "nbs").rglob("*.ipynb")
                 if ".ipynb_checkpoints" not in path.parts and path.stem != "index"]
    modules = [f"api/{module}" for module in pages.modules()]
    assert len(notebooks) > 35 and len(modules) > 20
    for page in ["index", "COURSE", "CONTRIBUTING", "CHANGELOG", "search", *notebooks, *modules]:
        assert (site / page).with_suffix(".html").exists(), page
    functions = re.findall(r'id="ddl_nb\.losses\.(\w+)"',
                           (site / "api" / "losses.html").read_text())
    assert {"distance", "Reading"} <= set(functions)


def test_no_link_is_dead(site):
    assert pages.dead_links(site) == []


def test_dead_links_are_noticed(tmp_path):
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">1</a> <a href="#here">2'
                                     '</a> <a href="https://example.org">3</a> <img src="c.png">')
    (tmp_path / "b.html").write_text('<a href="a.html#here">4</a> <a href="d.html">5</a>')
    dead = ["a.html: b.html#there", "a.html: c.png", "b.html: d.html"]
    assert sorted(pages.dead_links(tmp_path)) == dead


@pytest.mark.parametrize("path", pages.LESSONS, ids=LESSONS)
def test_a_students_page_has_pictures_and_no_answers(path):
    code = [c for c in pages.lesson(path).cells if c.cell_type == "code"]
    with_pictures = [c for c in code if c.outputs]
    assert with_pictures
    assert all(pages.is_picture(o) or pages.is_table(o) for c in code for o in c.outputs)
    assert not any(pages.gives_an_answer(c) for c in with_pictures)


def test_a_picture_after_a_question_waits_for_the_answer(tmp_path):
    def text(source): return new_markdown_cell(source)
    def code(source):
        return new_code_cell(source, outputs=[new_output("display_data", {"image/png": "YQ=="}),
                                              new_output("stream", text="7")])
    cells = [text("# Lesson"), code("open"), text("### Exercise 1.1"), code("quiz"),
             code("a = ...  # your answer"), code("check_1_1(a)"), code("after the answer"),
             text("## Next"), code("open again"), text("**Predict**: what?"), code("predicted")]
    solved = new_notebook(cells=cells)
    (tmp_path / "solutions").mkdir()
    nbformat.write(solved, tmp_path / "solutions" / "01.ipynb")
    for cell in solved.cells: cell.get("outputs", []).clear()
    nbformat.write(solved, tmp_path / "01.ipynb")
    made = {c.source: (len(c.outputs), c.metadata.get("tags")) for c in
            pages.lesson(tmp_path / "01.ipynb").cells if c.cell_type == "code"}
    assert made == {"open": (1, None), "quiz": (1, None), "open again": (1, None),
                    "a = ...  # your answer": (0, None), "check_1_1(a)": (0, None),
                    "after the answer": (1, ["hide-output"]), "predicted": (1, ["hide-output"])}


def test_a_table_that_an_exercise_asks_about_is_there():
    cells = pages.lesson(root / "nbs" / "course" / "06_scoring.ipynb").cells
    at = next(i for i, c in enumerate(cells) if "### Exercise 6.7" in c.source)
    assert any(map(pages.is_table, cells[at - 1].get("outputs", [])))


def test_students_pages_do_not_lead_to_solutions(site):
    for path in (site / "nbs" / "course").glob("*.html"):
        assert not [link for link in pages.Page(path).links if "solutions" in link], path


def test_a_session_shows_what_is_done_in_class():
    shown = {k: re.findall(r"^## Exercise (\d\.\d)",
                           "\n\n".join(c.source for c in pages.deck(names).cells), re.M)
             for k, names in pages.sessions().items()}
    assert {n[0] for n in shown[1]} == {"1", "2"} and "1.6" in shown[1] and "1.7" not in shown[1]
    assert [n for n in dict.fromkeys(shown[2]) if n > "4.4"] == ["4.5", "5.3", "5.6", "5.7"]
    assert {n[0] for n in shown[3]} == {"6", "7"}


def picture(height=100):
    with BytesIO() as file:
        Image.new("L", (8, height)).save(file, "PNG")
        data = b64encode(file.getvalue()).decode()
    return new_output("display_data", {"image/png": data})


def slides(*cells):
    "(heading, text, whether an output stands beside it) of each slide that cells become."
    cells = [new_markdown_cell(c) if isinstance(c, str)
             else new_code_cell(c[0], outputs=list(c[1:]))
             for c in ("# Lesson\n\nIt begins.", *cells)]
    return [(heading, " ".join(texts), output is not None)
            for heading, parts in pages.sections(new_notebook(cells=cells))
            for texts, output in pages.slides_of(parts)][1:]


def test_a_question_is_whole_and_stands_before_its_answer():
    long = "Said before. " * 30
    question = "**Predict**: which will it be? The left one? Or the right, " + "very " * 50 + "far?"
    made = slides(f"## One\n\n{long}{question}", ("show", picture()))
    assert made == [("## One", f"Said before. {question}", False), ("## One", "", True)]


def test_a_short_text_and_its_picture_go_together_and_a_large_picture_alone():
    assert slides("## One\n\nSee this.", ("show", picture())) == [("## One", "See this.", True)]
    assert slides("## One\n\nSee this.", ("show", picture(632))) == [
        ("## One", "See this.", False), ("## One", "", True)]


def test_printed_lines_are_shown_and_verdicts_are_not():
    def printed(text): return new_output("stream", text=text)
    made = slides("## One\n\nCount.", ("print", printed("7 of 9\n")), "And now?",
                  ("check_1_1(a)", printed("right\n")), "Many lines.", ("list", printed("x\n" * 9)))
    assert made == [("## One", "Count.", True), ("## One", "And now?", False),
                    ("## One", "Many lines.", False)]


def test_what_follows_an_exercise_stands_below_the_heading_over_it():
    made = slides("## One\n\nText.", "### Exercise 1.1: sum\n\nAdd.", ("check_1_1(a)",),
                  "(An aside.)\n\nSo it is.", ("show", picture()))
    assert made == [("## One", "Text.", False), ("### Exercise 1.1: sum", "Add.", False),
                    ("### One", "So it is.", True)]


# In a browser ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def browser():
    with chromium() as b: yield b


@pytest.fixture
def opened(browser, site):
    "Opens pages of the site; what they ask of anything but the disk is refused, and listed."
    context = browser.new_context(viewport=dict(width=1280, height=720))
    context.set_default_timeout(LONG)
    asked = []
    def refuse(route):
        asked.append(route.request.url)
        route.abort()
    context.route(re.compile(r"^(?!file:|data:|blob:)"), refuse)
    page = context.new_page()
    def open_(name):
        page.goto((site / f"{name}.html").as_uri())
        page.evaluate("() => window.MathJax?.startup?.promise")
        return page
    yield open_
    context.close()
    assert asked == []


IMAGES = "() => [...document.querySelectorAll('{}')].map(i => i.complete && i.naturalWidth > 100)"
# what sticks out of the page and is not in something that scrolls by itself
SIDEWAYS = """() => {
    const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)
    const held = e => !e.matches('article, main') && (scrolls(e) || held(e.parentElement))
    return [...document.querySelectorAll(':is(article, main) :not(pre *)')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !held(e.parentElement))
        .map(e => e.outerHTML.slice(0, 80))
        .concat(document.documentElement.scrollWidth > innerWidth ? ['the page'] : [])
}"""


def shot(page, name):
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name.replace('/', '_')}.png")


@in_browser
@pytest.mark.parametrize("name", SESSIONS)
def test_slides_open_without_a_network_and_nothing_is_cut_off(name, opened):
    page = opened(name)
    page.wait_for_function("() => Reveal.isReady()")
    seen, cut = 0, []
    while True:
        pictures = page.evaluate(IMAGES.format("section.present:not(.stack) img"))
        assert all(pictures)
        seen += len(pictures)
        bottom = page.evaluate("""() => Math.max(...[...Reveal.getCurrentSlide().children].map(
            e => e.offsetTop + e.offsetHeight))""")
        if bottom > 720: cut.append(page.evaluate("() => Reveal.getCurrentSlide().innerText"))
        if page.evaluate("() => Reveal.isLastSlide()"): break
        page.evaluate("() => Reveal.next()")
    assert cut == [] and seen > 10
    assert page.locator("mjx-container").count() and not page.locator("[data-mjx-error]").count()
    shot(page, name)


@in_browser
@pytest.mark.parametrize("name", PAPERS)
def test_lessons_print_without_a_network(name, opened):
    page = opened(name)
    pictures = page.evaluate(IMAGES.format("img"))
    cells = pages.lesson(root / "nbs" / "course" / f"{Path(name).stem}.ipynb").cells
    outputs = [o for c in cells for o in c.get("outputs", [])]
    assert all(pictures) and len(pictures) == sum(map(pages.is_picture, outputs))
    assert page.locator("table.dataframe, .jp-OutputArea-output table").count() >= sum(
        map(pages.is_table, outputs))
    assert not page.locator("[data-mjx-error]").count()
    shot(page, name)


@in_browser
def test_no_page_scrolls_sideways(opened, site):
    names = [path.relative_to(site).with_suffix("") for path in site.rglob("*.html")
             if path.parent.name != "slides"]
    wide = []
    for name in names:
        page = opened(name)
        for width in (390, 768, 1280):
            page.set_viewport_size(dict(width=width, height=900))
            wide += [(str(name), width, what) for what in page.evaluate(SIDEWAYS)[:1]]
    assert wide == []


@in_browser
def test_a_search_finds_lessons_and_no_solutions(opened):
    page = opened("search")
    page.goto(page.url + "?q=patch_score")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("() => !document.querySelector('.search-summary')?.textContent"
                           ".includes('Searching')")
    found = page.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
    assert any("course/01_seeing" in url for url in found)
    assert not any("solutions" in url for url in found)


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_lesson_is_light_and_dark(scheme, opened):
    page = opened("nbs/course/01_seeing")
    page.emulate_media(color_scheme=scheme)
    brightness = page.evaluate("() => getComputedStyle(document.body).backgroundColor"
                               ".match(/\\d+/g).map(Number)[0]")
    assert brightness > 200 if scheme == "light" else brightness < 60
    for width in (390, 768, 1280):
        page.set_viewport_size(dict(width=width, height=900))
        shot(page, f"lesson_{scheme}_{width}")


def test_a_film_of_own_footage(dataset, tmp_path):
    "What `make film` runs: each frame of the test clips, up to a minute."
    out = tmp_path/"film.webm"
    command = [sys.executable, root/"tools"/"film.py", out, "plaza", dataset]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes()[:4] == b"\x1aE\xdf\xa3"                   # WebM's first bytes
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 2 * FRAMES
    done = subprocess.run([*command[:3], "none", dataset], capture_output=True, text=True)
    assert done.returncode == 1 and "no such model file" in done.stderr
