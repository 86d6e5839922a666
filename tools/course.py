"""Make the students' notebooks in nbs/course/ from nbs/course/solutions/: course.py [ROOT].

A solution is a whole notebook. What a student is not given, or gets in another form:

    ### BEGIN SOLUTION  return ...   from here to ### END SOLUTION the student sees
                                     what stands behind the marker
    #| default_exp course.seeing     becomes an import of that module, which holds the checks
    #| export                        is in the module: left out
    test_check(...)                  tries the checks: left out
    **Solution.** in prose           left out, the whole cell:
                                     what follows for everybody needs another cell
    outputs                          left out: a prediction comes before the picture

Code that is left out is folded in the solution, so that answer follows question.
"""
import re
import sys
from pathlib import Path

import nbformat

root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
MODULE = re.compile(r"^#\| ?default_exp (\S+)$", re.M)
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION[ \t]*(.*)\n"
                      r"(?:.*\n)*?"
                      r"[ \t]*### END SOLUTION[ \t]*$", re.M)


def left_out(cell):
    if cell.cell_type == "markdown":
        solution = cell.source.startswith("**Solution.**")
        if solution and re.search(r"^#+ ", cell.source, re.M):
            raise SystemExit("a heading stands in a cell that students do not get; "
                             f"give it a cell of its own: {cell.source[:60]}...")
        return solution
    return bool(re.search(r"^#\| ?export|^ *test_check\(", cell.source, re.M))


def fold(cell):
    "Let JupyterLab show a bar for the cell's code, which opens it."
    if cell.cell_type == "code" and left_out(cell):
        cell.metadata["jupyter"] = {"source_hidden": True}
    else: cell.metadata.pop("jupyter", None)


def student(notebook):
    notebook.cells = [c for c in notebook.cells if not left_out(c)]
    for cell in notebook.cells:
        # links: the student's notebook lies one folder higher
        cell.source = cell.source.replace("../../", "../")
        if cell.cell_type == "code":
            cell.source = MODULE.sub(r"from ddl_nb.\1 import *", cell.source)
            cell.source = SOLUTION.sub(r"\1\2  # your answer", cell.source)
            cell.outputs = []
            cell.execution_count = None
    return notebook


solutions = sorted((root / "nbs" / "course" / "solutions").glob("*.ipynb"))
for path in solutions:
    solution = nbformat.read(path, as_version=4)
    for cell in solution.cells: fold(cell)
    nbformat.write(solution, path)
    lesson = student(solution)
    nbformat.write(lesson, path.parent.parent / path.name)
print(f"{len(solutions)} lessons")
