"""What holds the repository together: the README, the two sides of the package, its cells, and the
set-up."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

root = Path(__file__).parent.parent


def run(tool, *args, folder=root):
    command = [sys.executable, folder / "tools" / tool, *args]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("nbs", "ddl_nb", "tools"):
        shutil.copytree(root / name, tmp_path / name, ignore=ignored)
    for name in ("README.md", "settings.ini", "setup.py", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    return tmp_path


def test_the_readme_is_made_from_its_notebook():
    done = run("readme.py", "--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_readme_is_noticed(copy):
    notebook = copy / "nbs" / "index.ipynb"
    notebook.write_text(notebook.read_text().replace("## Two commands", "## Three commands"))
    done = run("readme.py", "--check", folder=copy)
    assert done.returncode != 0 and "stale" in done.stderr
    run("readme.py", folder=copy)
    assert "## Three commands" in (copy / "README.md").read_text()
    assert run("readme.py", "--check", folder=copy).returncode == 0


def test_the_readmes_links_and_pictures_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", (root / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if not (root / link).exists()] == []


@pytest.mark.parametrize("name, old, new", [
    ("ddl_nb/losses.py", "(P + eps) / (N + eps)", "(N + eps) / (P + eps)"),
    ("nbs/05_losses.ipynb", "(P + eps) / (N + eps)", "(N + eps) / (P + eps)"),
    ("nbs/05_losses.ipynb", '"metadata": {}', '"metadata": {"scrolled": true}'),
])
def test_a_package_out_of_sync_is_noticed(copy, name, old, new):
    file = copy / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    done = run("check_sync.py", folder=copy)
    assert done.returncode == 1 and "not in sync" in done.stdout


LONG = "\n\n".join(f"x = {i}" for i in range(31))


@pytest.mark.parametrize("cells, noticed", [
    ([new_code_cell(LONG)], True),
    ([new_code_cell(LONG.removeprefix("x = 0"))], False),
    ([new_markdown_cell("Read, and compare."), new_code_cell(LONG)], True),
    ([new_markdown_cell("It is one cell to be read aloud."), new_code_cell(LONG)], False),
    ([new_code_cell("# one cell"), new_code_cell(LONG)], True),
    ([new_markdown_cell(LONG)], False),
])
def test_a_long_cell_is_noticed(cells, noticed, tmp_path):
    (tmp_path / "tools").mkdir()
    shutil.copy(root / "tools" / "check_cells.py", tmp_path / "tools")
    (tmp_path / "nbs").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "nbs" / "01_data.ipynb")
    done = run("check_cells.py", folder=tmp_path)
    assert done.returncode == int(noticed), done.stderr
    assert ("01_data.ipynb: 31 lines in the cell `x = 0`" in done.stdout) == noticed


# in students' notebooks a prediction comes before the picture: they are saved without outputs
NOTEBOOKS = sorted((root / "nbs").rglob("*.ipynb"))
SAVED = [path for path in NOTEBOOKS if path.parent.name != "course"]
TESTS = ("test_eq(", "test_close(", "test_check(")


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_every_exporting_notebook_has_tests_and_outputs(path):
    code = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    outputs = [o for c in code for o in c.outputs]
    source = "\n".join(c.source for c in code)
    assert outputs, f"{path.name} was saved without its outputs"
    assert not any(o.output_type == "error" for o in outputs), f"{path.name} holds an error"
    if "#| export" in source:
        assert any(test in source for test in TESTS), f"{path.name} exports and does not test"


def test_rooms_import_only_from_rooms_before_them():
    "In reading order; what everybody needs comes last in it, and its modules are the lowest."
    numbered = [f.stem.split("_", 1) for f in sorted((root / "nbs").glob("[0-9]*_*.ipynb"))]
    order = {name: int(number) for number, name in numbered} | {"running": 0, "diagrams": 0}
    assert len(order) > 20
    for room in order:
        text = (root / "ddl_nb" / f"{room}.py").read_text()
        for imported in re.findall(r"^\s*from (?:\.|ddl_nb\.)(\w+) import", text, re.M):
            assert order[imported] < order[room], f"{room} imports {imported}"
