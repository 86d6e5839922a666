"""The grids that come with the project: what they say, and that they run."""
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import savemat

from conftest import call, footage, run, write_movie
from ddl_nb.ablations import read_grid
from ddl_nb.methods import WAYS, read_rows, table_1
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
        "epochs = 10": "epochs = 0.1", 'source = "ped2"': 'source = "plaza:0,2,2"',
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

@pytest.fixture
def avenue(tmp_path):
    "A small tree in Avenue's layout."
    root = tmp_path/"avenue"
    for k in (1, 2): write_movie(root/"training_videos"/f"{k:02d}.avi", footage(k)[0])
    frames, masks = footage(11, anomaly=True)
    write_movie(root/"testing_videos"/"01.avi", frames)
    (root/"testing_label_mask").mkdir()
    cells = np.array([*(masks > 0).astype(np.uint8), None], object)[:-1]
    savemat(root/"testing_label_mask"/"1_label.mat", dict(volLabel=cells))
    return root

SMALL = [(r"minutes = 5", "epochs = 0.05\nlatent = 8\nheight = 32"),
         (r"seeds = .*", "seeds = [0]")]

def small_table1(folder, *more):
    "grids/table1.toml, for seconds."
    text = (GRIDS/"table1.toml").read_text()
    for pattern, new in (*SMALL, *more): text = re.sub(pattern, new, text, count=1)
    (folder/"table1.toml").write_text(text)
    return folder/"table1.toml"

def test_table_1_on_a_tree_like_avenue(avenue, tmp_path):
    some = r'"unet", (?s:.*)"steal"', '"unet", "tsc", "memae"'
    grid, out = small_table1(tmp_path, some), tmp_path/"out"
    call("ablate", grid, "--source", avenue, "--out", out, "--jobs", 1).works()
    (rows, about), table = read_rows(out), table_1(out)
    assert len(rows) == 6 and set(rows) | set(about["baselines"]) == set(table.index)
    assert table[WAYS].notna().all(axis=None) and table.minutes.notna().sum() == 6

def test_table_1_on_a_tree_like_shanghaitech(two_scenes, tmp_path):
    few = r'"unet", (?s:.*)"steal"', '"mnad"'
    out = tmp_path/"out"
    call("ablate", small_table1(tmp_path, few), "--source", two_scenes, "--out", out,
         "--jobs", 1).works()
    assert all(len(read_rows(out/scene)[0]) == 4 for scene in ("01", "02"))
    assert len(pd.read_csv(out/"runs.csv")) == 4
