"""Make README.md from nbs/index.ipynb; with --check, fail if it is stale. Quarto is not needed."""
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

root = Path(__file__).parent.parent
NO_PROMPT = Config(TemplateExporter={"exclude_output_prompt": True})


def shown(cell):
    "What the README shows of a code cell: all but its directives, or nothing."
    if "#| echo: false" in cell.source: return ""
    return re.sub(r"^#\|.*\n", "", cell.source, flags=re.M)


def render():
    notebook = nbformat.read(root / "nbs" / "index.ipynb", as_version=4)
    notebook.cells = [c for c in notebook.cells if "#| hide" not in c.source]
    # the language of the code fences, which nbdev_clean drops
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code": cell.source = shown(cell)
    text, _ = MarkdownExporter(config=NO_PROMPT).from_notebook_node(notebook)
    # links are relative to nbs/ in the notebook
    text = re.sub(r"\]\((images/|\d\d_|course/|\w+\.ipynb)", r"](nbs/\1", text)
    text = text.replace("](../", "](")
    text = re.sub(r"```python\s*```", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


readme = root / "README.md"
if "--check" in sys.argv:
    if readme.read_text(encoding="utf-8") != render():
        sys.exit("README.md is stale: make readme")
else:
    readme.write_text(render(), encoding="utf-8")
