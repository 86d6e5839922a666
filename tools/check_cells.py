"""Fail where a code cell has over 30 lines, blank ones aside, and is not said to be one cell.

A cell that has a reason to be longer follows a cell of prose that gives it and says "one cell".
"""
import sys
from pathlib import Path

import nbformat

root = Path(__file__).parent.parent
LIMIT = 30


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def too_long(cells):
    "The cells to be split."
    for before, cell in zip([None, *cells], cells):
        explained = before and before.cell_type == "markdown" and "one cell" in before.source
        if cell.cell_type == "code" and len(lines(cell)) > LIMIT and not explained: yield cell


found = False
for path in sorted((root / "nbs").rglob("*.ipynb")):
    if ".ipynb_checkpoints" in path.parts: continue
    for cell in too_long(nbformat.read(path, as_version=4).cells):
        found = True
        first = next((line for line in lines(cell) if not line.startswith("#|")), "")
        print(f"{path.relative_to(root)}: {len(lines(cell))} lines in the cell `{first}`; "
              f"split it (at most {LIMIT}), or say before it why it is one cell")
sys.exit(found)
