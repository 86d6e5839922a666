"""The site's settings for Sphinx; tools/pages.py prepares the pages and runs it."""
import re
from configparser import ConfigParser
from inspect import isclass, isroutine
from pathlib import Path

from fastcore.docments import docments

# what all modules import, once: Sphinx reads pages in processes that begin as copies of this one
import ddl_nb.cli, ddl_nb.explore

settings = ConfigParser(delimiters=["="])
settings.read(Path(__file__).parent.parent / "settings.ini", encoding="utf-8")
project = settings["DEFAULT"]["lib_name"]
author = settings["DEFAULT"]["author"]
copyright = settings["DEFAULT"]["copyright"]
release = settings["DEFAULT"]["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
html_theme = "furo"                     # search, dark and light, phones; fetches nothing
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_domain_indices = False
mathjax_path = "mathjax.js"
pygments_style = "friendly"
pygments_dark_style = "monokai"

nb_execution_mode = "off"
nb_code_prompt_show = "Show the result, after your own answer"
nb_code_prompt_hide = "Hide the result"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
# a lesson's exercises are one level below its sections, whether or not there is one above
suppress_warnings = ["myst.header", "config.cache"]

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True}


def restructured(text):
    "A docstring, which is plain text with code in backticks, as reStructuredText."
    words_and_code = text.split("`")
    for i, part in enumerate(words_and_code):
        if i % 2: words_and_code[i] = rf"\ ``{' '.join(part.split())}``\ "
        else: words_and_code[i] = re.sub(r"([\\*|_])", r"\\\1", part)
    return "".join(words_and_code)


def add_parameters(app, what, name, obj, options, lines):
    "The comments beside a function's parameters are their documentation (docments)."
    lines[:] = restructured("\n".join(lines)).split("\n")
    if not (isclass(obj) or isroutine(obj)): return
    lines.append("")
    for name, comment in docments(obj, returns=False).items():
        if comment: lines.append(f":param {name}: {restructured(' '.join(comment.split()))}")


def setup(app):
    app.connect("autodoc-process-docstring", add_parameters)
