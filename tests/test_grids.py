"""The grids that come with the project: what they say, and that they run."""
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import run
from ddl_nb.ablations import read_grid
from ddl_nb.models import parameters

GRIDS = Path(__file__).parent.parent/"grids"

@pytest.mark.parametrize("grid", sorted(GRIDS.rglob("*.toml")), ids=lambda file: file.stem)
def test_every_grid_can_be_read(grid):
    source, runs = read_grid(grid)
    assert source.split(":")[0] in ("ped2", "plaza") and runs

def test_the_grid_of_the_paper_has_its_size():
    runs = read_grid(GRIDS/"paper.toml")[1]
    with torch.device("meta"): sizes = {s.arch: parameters(s.model()) for s in runs.values()}
    assert round(sizes["c3dsu"] / 1e6, 1) == 99.0
    assert {(s.arch, s.regime) for s in runs.values()} == {
        (arch, regime) for arch in ("c3dsu", "unet") for regime in ("recon", "sdl", "ddl")}
    for s in runs.values():
        assert (s.height, s.width, s.batch, s.epochs, s.rate) == (256, 256, 10, 10, .01)
        assert s.schedule == "step" and max(s.excerpt, s.model().window) in (1, 3)

TINY = {"latent = 512": "latent = 8", "height = 256": "height = 48", "width = 256": "width = 64",
        "epochs = 10": "epochs = 0.034", 'source = "ped2"': 'source = "plaza"',
        "ped2/training/detections.csv": "motion"}

def test_two_steps_of_the_paper_in_mixed_precision(tmp_path, monkeypatch):
    text = (GRIDS/"paper.toml").read_text()
    for old, new in TINY.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path/"tiny.toml").write_text(text)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    done = run("ablate", tmp_path/"tiny.toml", "--out", tmp_path/"out", "--jobs", 1, "--judge", 1)
    assert done.code == 0, done
    table = pd.read_csv(tmp_path/"out"/"runs.csv")
    assert len(table) == 6 and set(table.steps) == {2} and set(table.precision) == {"bf16"}
    learnt = table[table.regime == "ddl"].anomaly_weight
    assert (learnt != .5).all() and (table[table.regime != "ddl"].anomaly_weight == .5).all()
