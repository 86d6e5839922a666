"""What holds the repository together: the README, the two sides of the package, and the set-up."""
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

root = Path(__file__).parent.parent


def run(tool, *args, folder=root):
    return subprocess.run([sys.executable, folder / "tools" / tool, *args], capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    for name in ("nbs", "ddl_nb", "tools"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
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
    import re
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


def test_every_exporting_notebook_has_tests_and_outputs():
    import nbformat
    for path in (root / "nbs").rglob("*.ipynb"):
        code = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
        source = "\n".join(c.source for c in code)
        if path.parent.name == "course": continue                # students' notebooks: a prediction comes before the picture
        assert any(c.outputs for c in code), f"{path.name} was saved without its outputs"
        assert not any(o.output_type == "error" for c in code for o in c.outputs), f"{path.name} holds an error"
        if "#| export" in source:
            assert any(f"{test}(" in source for test in ("test_eq", "test_close", "test_check")), f"{path.name} exports and does not test"
