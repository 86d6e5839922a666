"""Fail unless the package is what the notebooks export, the lessons are what their solutions give, and all notebooks are as nbdev_clean leaves them."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

root = Path(__file__).parent.parent
tool = Path(sys.executable).parent


def contents(folder):
    files = [*folder.glob("ddl_nb/**/*.py"), *folder.glob("nbs/**/*.ipynb")]
    return {f.relative_to(folder): f.read_bytes() for f in files if ".ipynb_checkpoints" not in f.parts}


with tempfile.TemporaryDirectory() as tmp:
    fresh = Path(tmp) / root.name
    fresh.mkdir()
    for name in ("settings.ini", "setup.py", "pyproject.toml"):
        shutil.copy(root / name, fresh)
    for name in ("nbs", "ddl_nb"):
        shutil.copytree(root / name, fresh / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for command in ([tool / "nbdev_export"], [sys.executable, root / "tools" / "course.py", fresh], [tool / "nbdev_clean"]):
        subprocess.run(command, cwd=fresh, check=True, stdout=subprocess.DEVNULL)
    have, want = contents(root), contents(fresh)

stale = sorted(str(f) for f in have.keys() | want.keys() if have.get(f) != want.get(f))
for f in stale:
    print(f"{f}: not in sync; run nbdev_export, make course and nbdev_clean, and commit both sides")
print(f"in sync: {len(have) - len(stale)} of {len(have)} files")
sys.exit(bool(stale))
