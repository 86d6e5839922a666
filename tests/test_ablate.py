"ddl ablate: a grid of runs on the command line, interrupted, resumed, with bad input, and on a cluster of two workers."
import importlib.util, json, os, shutil, signal, time

import numpy as np
import pandas as pd
import pytest
from conftest import call, finish, run, spawn, write_dataset

from ddl_nb.ablations import paired

TEXT = 'source = "{source}"\nseeds = [0, 1]\n[settings]\nheight = 32\nlatent = 8\nepochs = {epochs}\n[grid]\nregime = ["recon", "ddl"]\n'
TWO_RUNS = TEXT.replace("[0, 1]", "[0]")
NAMES = ["recon-seed0", "ddl-seed0", "recon-seed1", "ddl-seed1"]
EXACT = ["run", "micro_raw", "micro_smoothed", "macro_smoothed", "pixel_auc", "rbdc", "tbdc", "anomaly_weight", "steps"]


@pytest.fixture
def grid(dataset, tmp_path):
    def write(epochs=.3, source=dataset, text=TEXT):
        (tmp_path/"grid.toml").write_text(text.format(source=source, epochs=epochs))
        return tmp_path/"grid.toml"
    return write


@pytest.fixture(scope="module")
def one_by_one(dataset, tmp_path_factory):
    "The grid's runs, one after another in this process: the folder, not to be changed."
    folder = tmp_path_factory.mktemp("grid")
    (folder/"grid.toml").write_text(TEXT.format(source=dataset, epochs=.3))
    call("ablate", folder/"grid.toml", "--out", folder/"out", "--jobs", 1).works()
    return folder/"out"


def table(out): return pd.read_csv(out/"runs.csv")[EXACT].set_index("run")


def test_a_grid_and_the_same_grid_one_after_another(grid, one_by_one, dataset, tmp_path):
    shown = run("ablate", grid(), "--out", tmp_path/"two", "--jobs", 2).works().out
    runs = table(tmp_path/"two")
    assert list(runs.index) == NAMES and all(n in shown for n in NAMES) and "runs.csv" in shown
    assert runs[EXACT[1:6]].notna().all(axis=None) and (runs.anomaly_weight.iloc[[0, 2]] == .5).all() and (runs.anomaly_weight.iloc[[1, 3]] != .5).all()
    pd.testing.assert_frame_equal(table(one_by_one).loc[NAMES], runs)
    # a run of the grid is the run that fit, score and evaluate make
    call("fit", dataset, "--out", tmp_path/"m", "--height", 32, "--latent", 8, "--epochs", .3, "--seed", 1).works()
    assert (tmp_path/"m"/"model.safetensors").read_bytes() == (one_by_one/"runs"/"ddl-seed1"/"model.safetensors").read_bytes()
    call("score", tmp_path/"m", dataset, "--out", tmp_path/"m", "--maps").works()
    call("evaluate", tmp_path/"m"/"scores.csv", dataset).works()
    report, record = (json.loads(f.read_text()) for f in (tmp_path/"m"/"report.json", one_by_one/"runs"/"ddl-seed1"/"record.json"))
    for key in ("micro", "macro"): assert report["frame_auc"][key] == pytest.approx(record["frame_auc"][key], abs=1e-4)
    assert report["rbdc"] == pytest.approx(record["rbdc"])
    # what is kept beside the table says the same again
    won, about = (json.loads((one_by_one/f"{n}.json").read_text()) for n in ("won", "reference"))
    alone = paired(np.array([won["ddl-seed1"]["smoothed"]]), 0, about)
    assert alone["value"] == pytest.approx(report["frame_auc"]["micro"]["smoothed"], abs=1e-4)
    history = pd.read_csv(one_by_one/"history.csv")
    assert set(history.run) == set(NAMES) and not list(one_by_one.rglob("*.npy"))


def test_stopped_and_asked_again(grid, tmp_path):
    "Ctrl-C in the middle: finished runs stay as they are, the others go on, and the end is the same."
    out = tmp_path/"out"
    process = spawn("ablate", grid(4), "--out", out, "--jobs", 2, start_new_session=True)
    while process.poll() is None and not (out/"runs"/"recon-seed0"/"record.json").exists(): time.sleep(.05)
    while process.poll() is None and not (out/"runs"/"recon-seed1"/"checkpoint.pt").exists(): time.sleep(.05)
    os.killpg(process.pid, signal.SIGINT)
    finish(process).fails(130, "interrupted")
    assert not (out/"runs"/"ddl-seed1").exists()                           # nothing new is begun
    finished = {f: f.stat().st_mtime_ns for f in (out/"runs").glob("*/record.json")}
    assert finished and len(finished) < 4 and set(pd.read_csv(out/"runs.csv").run) == {f.parent.name for f in finished}
    call("ablate", grid(4), "--out", out, "--jobs", 1).works()
    assert all(f.stat().st_mtime_ns == t for f, t in finished.items())
    call("ablate", grid(4), "--out", tmp_path/"whole", "--jobs", 1).works()
    pd.testing.assert_frame_equal(table(out), table(tmp_path/"whole"))


def test_a_killed_run_goes_on(grid, tmp_path):
    process = spawn("ablate", grid(4, text=TWO_RUNS), "--out", tmp_path/"out", "--jobs", 1)
    while process.poll() is None and not (tmp_path/"out"/"runs"/"recon-seed0"/"checkpoint.pt").exists(): time.sleep(.02)
    process.kill(); finish(process)
    assert not (tmp_path/"out"/"runs"/"recon-seed0"/"record.json").exists()
    call("ablate", grid(4, text=TWO_RUNS), "--out", tmp_path/"out", "--jobs", 1).works()
    assert list(table(tmp_path/"out").index) == NAMES[:2]


def test_a_run_that_fails_costs_no_other(grid, tmp_path):
    (tmp_path/"out"/"runs"/"ddl-seed0").mkdir(parents=True)
    (tmp_path/"out"/"runs"/"ddl-seed0"/"checkpoint.pt").write_text("cut off")
    run("ablate", grid(text=TWO_RUNS), "--out", tmp_path/"out", "--jobs", 2).fails(1, "ddl-seed0", "checkpoint")
    assert list(table(tmp_path/"out").index) == ["recon-seed0"]


def test_records_of_another_grid_are_refused(grid, one_by_one, tmp_path):
    shutil.copytree(one_by_one, tmp_path/"out")
    before = (tmp_path/"out"/"runs.csv").read_bytes()
    call("ablate", grid(.4), "--out", tmp_path/"out").fails(1, "epochs = 0.3", "--out")
    call("ablate", grid(source=write_dataset(tmp_path/"shorter", n=30)), "--out", tmp_path/"out").fails(1, "reference.json", "other footage", "--out")
    assert (tmp_path/"out"/"runs.csv").read_bytes() == before
    (tmp_path/"out"/"runs"/"ddl-seed1"/"record.json").write_text("{cut off")
    call("ablate", grid(), "--out", tmp_path/"out").fails(1, "ddl-seed1", "not a readable record")


def test_bad_input(grid, dataset, movies, two_scenes, tmp_path):
    out = tmp_path/"out"
    call("ablate", tmp_path/"none.toml", "--out", out).fails(1, "none.toml")
    call("ablate", grid(text=TEXT.replace("regime", "regimes")), "--out", out).fails(1, "grid.toml", "regimes is not a setting")
    call("ablate", grid(source="nowhere"), "--out", out).fails(1, "nowhere")
    call("ablate", grid(), "--out", out, "--jobs", 0).fails(2, "jobs")
    call("ablate", grid(), "--out", out, "--backend", "slurm").fails(1, "loky, ray or dask")
    call("ablate", grid(source=two_scenes), "--out", out).fails(2, "--scene")
    call("ablate", grid(source=movies/"train"), "--out", out).fails(1, "no labels")
    (tmp_path/"file").touch()
    call("ablate", grid(), "--out", tmp_path/"file"/"below", "--jobs", 1).fails(1, "below")


def test_footage_in_the_data_folder(dataset, grid, tmp_path, monkeypatch):
    monkeypatch.setenv("DDL_DATA", str(dataset.parent))
    call("ablate", grid(source=dataset.name, text=TWO_RUNS), "--out", tmp_path/"out", "--jobs", 1).works()
    assert dataset.name in call("info", dataset.name).works().out


@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_on_a_local_cluster_of_two_workers(backend, grid, one_by_one, tmp_path):
    if not importlib.util.find_spec({"ray": "ray", "dask": "distributed"}[backend]): pytest.skip(f"{backend} is not installed: pip install 'ddl_nb[cluster]'")
    light = {"RAY_ADDRESS": "local", "RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}
    for _ in range(3):
        result = run("ablate", grid(text=TWO_RUNS), "--out", tmp_path/backend, "--jobs", 2, "--backend", backend, env=os.environ | light)
        if "timed out during startup" not in result.err: break          # Ray gives its own processes 30 s, which may not do where others compute
    assert result.code == 0, result
    pd.testing.assert_frame_equal(table(tmp_path/backend), table(one_by_one).loc[NAMES[:2]])
