"""Fail unless the package is what the notebooks export, the lessons are what their solutions give,
and all notebooks are as nbdev_clean leaves them."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

root = Path(__file__).parent.parent
bin = Path(sys.executable).parent
SKIPPED = ("__pycache__", ".ipynb_checkpoints")


def contents(folder):
    files = [*folder.glob("ddl_nb/**/*.py"), *folder.glob("nbs/**/*.ipynb")]
    return {f.relative_to(folder): f.read_bytes()
            for f in files if ".ipynb_checkpoints" not in f.parts}


def make_again(fresh):
    "Export, make the lessons and clean in a copy of the repository, the folder `fresh`."
    fresh.mkdir()
    for name in ("settings.ini", "setup.py", "pyproject.toml"):
        shutil.copy(root / name, fresh)
    for name in ("nbs", "ddl_nb"):
        shutil.copytree(root / name, fresh / name, ignore=shutil.ignore_patterns(*SKIPPED))
    lessons = [sys.executable, root / "tools" / "course.py", fresh]
    for command in ([bin / "nbdev_export"], lessons, [bin / "nbdev_clean"]):
        subprocess.run(command, cwd=fresh, check=True, stdout=subprocess.DEVNULL)


with tempfile.TemporaryDirectory() as tmp:
    fresh = Path(tmp) / root.name
    make_again(fresh)
    have, want = contents(root), contents(fresh)

stale = sorted(str(f) for f in have.keys() | want.keys() if have.get(f) != want.get(f))
for f in stale:
    print(f"{f}: not in sync; "
          "run nbdev_export, make course and nbdev_clean, and commit both sides")
print(f"in sync: {len(have) - len(stale)} of {len(have)} files")
sys.exit(bool(stale))
