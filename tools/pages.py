"""The notebooks as pages: pages.py site | slides | print. Nothing is executed.

site    every notebook, lesson and module, by Sphinx, and the other two
slides  a deck for each session of COURSE.md's table, by nbconvert
print   each lesson as one page

All go to _site/html and open without a network. A student's lesson is saved without outputs; here
it gets the pictures and tables of the solution's cells which the student has, too, and which give
no answer. Those that follow what the reader is to predict or to answer stand behind a click on the
site, and on paper at the end.
"""
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from importlib.util import find_spec
from io import BytesIO
from itertools import groupby, zip_longest
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from nbconvert import HTMLExporter, SlidesExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

root = Path(__file__).parent.parent
DOCS, NBS, COURSE = root / "docs", root / "nbs", root / "nbs" / "course"
OUT, SOURCE, KEPT = (root / "_site" / name for name in ("html", "source", "doctrees"))
ROOMS, LESSONS = (sorted(folder.glob("[0-9]*.ipynb")) for folder in (NBS, COURSE))
BESIDE = sorted({*COURSE.glob("*.ipynb"), *NBS.glob("*.ipynb")}
                - {*LESSONS, *ROOMS, NBS / "index.ipynb"})
FILM = root / "_film" / "film.webm"        # of `make film`, if it has been made
WIDGET = "application/vnd.jupyter.widget-view+json"


def read(path): return nbformat.read(path, as_version=4)


# Cells ----------------------------------------------------------------------------------

def is_picture(output): return any(kind.startswith("image/") for kind in output.get("data", {}))
def is_table(output): return "<table" in output.get("data", {}).get("text/html", "")


def shown(outputs):
    "Without what only a running notebook can show: widgets, which may have a picture beside them."
    still = [o for o in outputs if is_picture(o) or WIDGET not in o.get("data", {})]
    for output in still: output.get("data", {}).pop(WIDGET, None)
    return still


def anchored(link):
    "A link to a heading, which JupyterLab writes with its capitals and a site without."
    page, heading = link[0].split("#")
    return f"{page}#{heading.lower()}"


FOLDED = dict(tags=["hide-input"], mystnb=dict(code_prompt_show="Show the code",
                                               code_prompt_hide="Hide the code"))


def page(notebook):
    "A notebook as a page: no cells that are there for nbdev alone, no directives; folds kept."
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if "#| hide" in cell.source: continue
            if "#| echo: false" in cell.source: cell.metadata["tags"] = ["remove-input"]
            if "jupyter" in cell.metadata: cell.metadata |= FOLDED
            cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M)
            cell.outputs = shown(cell.outputs)
        else: cell.source = re.sub(r"\]\([^)]*#[^)]+\)", anchored, cell.source)
        if cell.source.strip() or cell.get("outputs"): cells.append(cell)
    notebook.cells = cells
    notebook.metadata["language_info"] = {"name": "python"}      # nbdev_clean drops it
    return notebook


def gives_an_answer(cell): return re.search(r"# your answer|\bcheck_\d", cell.source)


def lesson(path):
    """A student's notebook with pictures and tables. A cell has the tag `hide-output` where one
    stands to something that the reader has been asked before, below the same heading."""
    solved = {cell.id: cell for cell in read(path.parent / "solutions" / path.name).cells}
    notebook = page(read(path))
    asked = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if re.search(r"^#+ ", cell.source, re.M): asked = False
            if "**Predict" in cell.source: asked = True
        elif gives_an_answer(cell): asked = True
        else:
            cell.outputs = [o for o in shown(solved[cell.id].outputs)
                            if is_picture(o) or is_table(o)]
            if asked and cell.outputs: cell.metadata["tags"] = ["hide-output"]
    return notebook


# The site -------------------------------------------------------------------------------

def write(name, text):
    path = SOURCE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_notebook(name, notebook, below_title="", **metadata):
    notebook.cells[0].source += f"\n\n{below_title}"
    notebook.metadata.update(metadata)
    write(name, nbformat.writes(notebook))


def toctree(caption, *names):
    listed = "\n".join(names)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def modules():
    "{module: the notebook that exports it}, in reading order."
    named = {path.stem.split("_", 1)[1]: path for path in ROOMS}
    return {name: path for name, path in named.items() if (root / "ddl_nb" / f"{name}.py").exists()}


def write_modules():
    names = list(modules())
    for name, path in modules().items():
        write(f"api/{name}.md", f"# ddl_nb.{name}\n\n"
              f"Derived and tested in [{path.stem}](../nbs/{path.name}).\n\n"
              f"```{{eval-rst}}\n.. automodule:: ddl_nb.{name}\n```\n")
    listed = "\n".join(f"- [ddl_nb.{name}]({name}.md)" for name in names)
    write("api/index.md", f"# The modules\n\nIn reading order.\n\n{listed}\n" +
          toctree("Modules", *names))


def write_lessons():
    session_of = {name: k for k, names in sessions().items() for name in names}
    for path in LESSONS:
        k = session_of[path.stem]
        links = (f'<a href="../../slides/session_{k}.html">Slides of session {k}</a> · '
                 f'<a href="../../print/{path.stem}.html">To print</a>')
        write_notebook(f"nbs/course/{path.name}", lesson(path), links)
        # for whoever has the address: it is in no menu, and no search finds it
        write_notebook(f"nbs/course/solutions/{path.name}",
                       page(read(COURSE / "solutions" / path.name)),
                       "*With its solutions. The lesson itself: "
                       f"[{path.stem}](../{path.name}).*", orphan=True, nosearch=True)


def write_notebooks():
    exports = {path: f"*What it exports: [ddl_nb.{name}](../api/{name}.md).*"
               for name, path in modules().items()}
    for path in ROOMS + BESIDE:
        write_notebook(path.relative_to(root), page(read(path)), exports.get(path, ""))


def write_front():
    "README.md, which is made from nbs/index.ipynb, is the front page."
    for name in ("COURSE", "CONTRIBUTING", "CHANGELOG"):
        text = (root / f"{name}.md").read_text(encoding="utf-8")
        write(f"{name}.md", re.sub(r"`_site/html/(\w+/\w+\.html)`", r'<a href="\1">\1</a>', text))
    shutil.copytree(NBS / "images", SOURCE / "nbs" / "images", dirs_exist_ok=True)
    course = [path.relative_to(root).with_suffix("") for path in LESSONS + BESIDE]
    rooms = [f"nbs/{path.stem}" for path in ROOMS]
    write("index.md", (root / "README.md").read_text(encoding="utf-8").replace(
        "\n## Two commands", f"\n{film('')}\n\n## Two commands", 1) +
          toctree("The course", "COURSE", *map(str, course)) +
          toctree("The method", *(name for name in rooms if name < "nbs/13")) +
          toctree("Real footage and daily use", *(name for name in rooms if name > "nbs/13")) +
          toctree("The package", "api/index", "CONTRIBUTING", "CHANGELOG"))


def site():
    shutil.rmtree(OUT.parent, ignore_errors=True)
    slides()
    print_lessons()
    for write_part in (write_front, write_modules, write_notebooks, write_lessons): write_part()
    done = subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "2",
                           "-c", DOCS, "-d", KEPT, SOURCE, OUT])
    if done.returncode: sys.exit("the site has warnings (above)")
    if dead := dead_links(OUT):
        sys.exit("dead links:\n" + "\n".join(dead))


class Page(HTMLParser):
    "What a page links to, and what can be linked to in it."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src"): self.links.append(value or "")
            if name in ("id", "name"): self.ids.add(value)


def dead_links(folder):
    "Links within a folder of pages that lead nowhere, as text."
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc: continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if target.is_dir(): target /= "index.html"
            known = pages.get(target)
            if not target.exists() or known and unquote(url.fragment) not in known.ids:
                dead.append(f"{path.relative_to(folder.resolve())}: {link}")
    return dead


# Slides and paper -----------------------------------------------------------------------

def library():
    "MathJax and reveal.js, from the packages that bring them, beside the pages."
    static = OUT / "_static"
    static.mkdir(parents=True, exist_ok=True)
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    shutil.copy(mathjax / "tex-svg.js", static / "mathjax.js")
    reveal = Path(find_spec("sphinx_revealjs").origin).parent / "_static" / "revealjs"
    ignored = shutil.ignore_patterns("*.map", "*.esm.js", "*.eot", "*.ttf")
    shutil.copytree(reveal / "dist", static / "reveal" / "dist", ignore=ignored, dirs_exist_ok=True)
    shutil.copy(reveal / "LICENSE", static / "reveal")
    for css in ("slides.css", "print.css"): shutil.copy(DOCS / "static" / css, static)


def film(beside):
    "The film for a page, if there is one; `beside` is where it lies from there."
    if not FILM.exists(): return ""
    shutil.copy(FILM, OUT)
    size = "width: 100%; max-height: 480px"
    return f'<video controls loop muted style="{size}" src="{beside}{FILM.name}"></video>'


def unlinked(notebook):
    "Without links to notebooks, which are not beside a deck or on paper."
    for cell in notebook.cells:
        cell.source = re.sub(r"\[([^]]+)\]\([^)]+\.ipynb[^)]*\)", r"\1", cell.source)
    return notebook


def export(exporter, notebook, name, title, **options):
    templates = [str(DOCS / "templates")]
    converter = exporter(template_name=name.split("/")[0], extra_template_basedirs=templates,
                         extra_template_paths=templates, **options)
    notebook.metadata["title"] = title
    html, _ = converter.from_notebook_node(notebook)
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def sessions():
    """From COURSE.md's table: {session: {lesson: (whether all of it is shown in class,
    numbers of the exercises that are done at home)}}."""
    table = re.findall(r"^\|\s*(\d?)\s*\|[^|]*\(nbs/course/(\w+)\.ipynb\)([^|]*)\|[^|]*\|[^|]*\|"
                       r"([^|]*)\|$", (root / "COURSE.md").read_text(encoding="utf-8"), re.M)
    found = {}
    for number, name, part, home in table:
        if number: session = found[int(number)] = {}
        session[name] = (not part.strip(), set(re.findall(r"\d\.\d", home)))
    return found


def paragraphs(text): return re.split(r"\n\s*\n", text.strip())


def sentences(text, limit):
    "As many as fit, at least one."
    first, *others = re.split(r"(?<=[.?!])\s+(?=[\w*`$\[(])", " ".join(text.split()))
    for sentence in others:
        if len(first) + len(sentence) > limit: break
        first += " " + sentence
    return first


def is_list(paragraph): return bool(re.match(r"([-*]|\d+\.) ", paragraph))


def asked(paragraph):
    "The whole question, and of what stands before it as much as fits."
    before, question = paragraph.split("**Predict", 1)
    kept = sentences(before, 260 - len(question)) + " " if before.strip() else ""
    return f"{kept}**Predict{question}"


def brief(paragraphs, before_picture):
    """What is shown to a class: what is said first, what is asked, quotations, equations and lists;
    and what is said last, where a picture follows."""
    paragraphs = [p for p in paragraphs if not re.fullmatch(r"\(.*\)", p, re.S)]    # asides
    last = len(paragraphs) - 1 if before_picture else None
    for i, paragraph in enumerate(paragraphs):
        if "**Predict" in paragraph: yield asked(paragraph)
        elif re.match(r">|\$\$|\|", paragraph): yield paragraph
        elif is_list(paragraph):
            items = re.split(r"^(?=[-*] |\d+\. )", paragraph, flags=re.M)
            yield "\n".join(sentences(item, 130) for item in items if item.strip())
        elif i in (0, last): yield sentences(paragraph, 260)
        elif any(map(is_list, paragraphs[i + 1:i + 2])): yield paragraph


def on_screen(output):
    "A picture, or a table or text that can be read from the back of a room."
    table, lines = output.get("data", {}).get("text/html", ""), output.get("text", "").splitlines()
    return (is_picture(output) or is_table(output) and table.count("<tr") <= 9
            or 0 < len(lines) <= 6 and max(map(len, lines)) <= 75)


def merged(outputs):
    "What was printed in pieces becomes one output."
    for is_text, some in groupby(outputs, lambda o: o.output_type == "stream"):
        if is_text: yield new_output("stream", text="".join(o.text for o in some))
        else: yield from some


def outputs_of(cell):
    "What a class sees of a cell that was run; whether an answer is right is not for all."
    return [o for o in shown(merged(cell.outputs))
            if on_screen(o) and (is_picture(o) or not gives_an_answer(cell))]


def sections(notebook):
    """(heading, [paragraphs of a cell, outputs of a cell, or nothing where an answer is given])
    in order. What comes after an exercise's answer goes on below the heading over it."""
    found, above, answered = [], "", False
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and not cell.source.startswith("**Solution.**"):
            if answered: found.append((above, []))
            answered = False
            for text in re.split(r"^(?=#+ )", cell.source, flags=re.M):
                if text.startswith("#"):
                    heading, _, text = text.partition("\n")
                    if re.match("##? ", heading): above = "###" + heading.lstrip("#")
                    found.append((heading, []))
                if text.strip(): found[-1][1].append(paragraphs(text))
        elif cell.cell_type == "code" and "### BEGIN SOLUTION" not in cell.source:
            if gives_an_answer(cell) and "jupyter" not in cell.metadata:
                found[-1][1].append([])
                answered = bool(exercise(found[-1]))
            if outputs := outputs_of(cell): found[-1][1].append(outputs)
    return [section for section in found if any(section[1])]


def exercise(section): return set(re.findall(r"^### Exercise (\d\.\d)", section[0]))


def in_class(found, whole, home):
    """Without the exercises for home and without references; of a lesson that is not shown whole,
    what stands below those headings with an exercise for the class."""
    parts = []
    for section in found:
        if section[0] == "## Further reading": continue
        if re.match("##? ", section[0]): parts.append([])
        parts[-1].append(section)
    for part in parts:
        framing = re.match("# |## Summary", part[0][0])
        if whole or framing or set().union(*map(exercise, part)) - home:
            yield from (section for section in part if not exercise(section) & home)


def is_large(output):
    "A picture that needs a slide for itself."
    pixels = [b64decode(data) for kind, data in output.get("data", {}).items()
              if kind in ("image/png", "image/jpeg")]
    return any(Image.open(BytesIO(some)).height > 500 for some in pixels)


def slides_of(parts):
    """(texts, output or None) of each slide of a section: an output and a short text go together,
    but what has been asked stands alone, before the answer is seen."""
    said, question = [], False
    for part, after in zip_longest(parts, parts[1:]):
        if part and isinstance(part[0], str):
            if said: yield said, None
            said = list(brief(part, bool(after) and not isinstance(after[0], str)))
            question = "**Predict" in "".join(said)
            continue
        beside = [] if question or not part or is_large(part[0]) else said[-1:]
        before = said[:len(said) - len(beside)]
        if before: yield before, None
        said = beside
        for output in part:
            yield said, output
            said = []
        question = False
    if said: yield said, None


def deck(names):
    "A session's slides, as a notebook for nbconvert: a column for each section."
    cells = []
    for name, (whole, home) in names.items():
        found = sections(page(read(COURSE / "solutions" / f"{name}.ipynb")))
        for heading, parts in in_class(found, whole, home):
            title = "## " + heading.lstrip("# ")
            if heading.startswith("# "): title = heading
            kind = "slide" if re.match("##? ", heading) else "subslide"
            for text, picture in slides_of(parts):
                cells.append(new_markdown_cell(
                    "\n\n".join([title, *text]), metadata={"slideshow": {"slide_type": kind}}))
                if picture: cells.append(new_code_cell(outputs=[picture]))
                kind = "subslide"
    return new_notebook(cells=cells)


def slides():
    library()
    for number, names in sessions().items():
        notebook = unlinked(deck(names))
        if number == 1: notebook.cells[:0] = opening()
        export(SlidesExporter, notebook, f"slides/session_{number}.html", f"Session {number}",
               reveal_url_prefix="../_static/reveal", reveal_theme="white")


def opening():
    "The film's slide, if there is a film."
    shown_first = film("../")
    if not shown_first: return []
    return [new_markdown_cell(f"# What a detector sees\n\n{shown_first}",
                              metadata={"slideshow": {"slide_type": "slide"}})]


def on_paper(path):
    "A lesson; what gives something away, a picture or a table, comes last, each with a number."
    notebook = unlinked(lesson(path))
    cells, last = [], []
    for cell in notebook.cells:
        cells.append(cell)
        if "hide-output" not in cell.metadata.get("tags", []): continue
        last.append(new_markdown_cell(f"### Result {len(last) // 2 + 1}"))
        last.append(new_code_cell(outputs=cell.outputs))
        cells.append(new_markdown_cell(f"*Result {len(last) // 2} stands at the end.*"))
        cell.outputs = []
    if last: cells.append(new_markdown_cell("## The results to compare with"))
    notebook.cells = cells + last
    return notebook


def print_lessons():
    library()
    for path in LESSONS:
        notebook = on_paper(path)
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        export(HTMLExporter, notebook, f"print/{path.stem}.html", title)


if __name__ == "__main__":
    dict(site=site, slides=slides, print=print_lessons)[sys.argv[1]]()
