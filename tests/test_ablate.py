"""ddl ablate: a grid of runs on the command line, interrupted, resumed, with bad input,
and on a cluster of two workers."""
import importlib.util, json, os, shutil, signal, time

import numpy as np
import pandas as pd
import pytest
from conftest import call, finish, run, spawn, write_dataset

from ddl_nb.ablations import paired

TEXT = """source = "{source}"
seeds = [0, 1]
[settings]
height = 32
latent = 8
epochs = {epochs}
[grid]
regime = ["recon", "ddl"]
"""
TWO_RUNS = TEXT.replace("[0, 1]", "[0]")
NAMES = ["recon-seed0", "ddl-seed0", "recon-seed1", "ddl-seed1"]
MEASURES = ["micro_raw", "micro_smoothed", "macro_smoothed", "pixel_auc", "rbdc"]
EXACT = ["run", *MEASURES, "tbdc", "anomaly_weight", "steps"]


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


def read_json(file): return json.loads(file.read_text())


def wait_for(file, process, pause=.05):
    "Until a process has written the file, or has ended."
    while process.poll() is None and not file.exists(): time.sleep(pause)


def test_a_grid_and_the_same_grid_one_after_another(grid, one_by_one, tmp_path):
    shown = run("ablate", grid(), "--out", tmp_path/"two", "--jobs", 2).works().out
    runs = table(tmp_path/"two")
    assert list(runs.index) == NAMES
    assert all(n in shown for n in NAMES) and "runs.csv" in shown
    assert runs[MEASURES].notna().all(axis=None)
    assert (runs.anomaly_weight.iloc[[0, 2]] == .5).all()
    assert (runs.anomaly_weight.iloc[[1, 3]] != .5).all()
    pd.testing.assert_frame_equal(table(one_by_one).loc[NAMES], runs)
    history = pd.read_csv(one_by_one/"history.csv")
    assert set(history.run) == set(NAMES) and not list(one_by_one.rglob("*.npy"))


def test_a_run_is_the_one_that_fit_score_and_evaluate_make(one_by_one, dataset, tmp_path):
    out, its_run = tmp_path/"m", one_by_one/"runs"/"ddl-seed1"
    settings = "--height", 32, "--latent", 8, "--epochs", .3, "--seed", 1
    call("fit", dataset, "--out", out, *settings).works()
    model = "model.safetensors"
    assert (out/model).read_bytes() == (its_run/model).read_bytes()
    call("score", out, dataset, "--out", out, "--maps").works()
    call("evaluate", out/"scores.csv", dataset).works()
    report, record = read_json(out/"report.json"), read_json(its_run/"record.json")
    for key in ("micro", "macro"):
        expected = pytest.approx(record["frame_auc"][key], abs=1e-4)
        assert report["frame_auc"][key] == expected
    assert report["rbdc"] == pytest.approx(record["rbdc"])
    # what is kept beside the table says the same again
    won, about = read_json(one_by_one/"won.json"), read_json(one_by_one/"reference.json")
    alone = paired(np.array([won["ddl-seed1"]["smoothed"]]), 0, about)
    assert alone["value"] == pytest.approx(report["frame_auc"]["micro"]["smoothed"], abs=1e-4)


def test_stopped_and_asked_again(grid, tmp_path):
    """Ctrl-C in the middle: finished runs stay as they are, the others go on, and the end is the
    same."""
    out = tmp_path/"out"
    runs = out/"runs"
    process = spawn("ablate", grid(1), "--out", out, "--jobs", 2, start_new_session=True)
    wait_for(runs/"recon-seed0"/"record.json", process)
    wait_for(runs/"recon-seed1"/"checkpoint.pt", process)
    os.killpg(process.pid, signal.SIGINT)
    finish(process).fails(130, "interrupted")
    assert not (runs/"ddl-seed1").exists()                    # nothing new is begun
    finished = {f: f.stat().st_mtime_ns for f in runs.glob("*/record.json")}
    assert finished and len(finished) < 4
    assert set(pd.read_csv(out/"runs.csv").run) == {f.parent.name for f in finished}
    call("ablate", grid(1), "--out", out, "--jobs", 1).works()
    assert all(f.stat().st_mtime_ns == t for f, t in finished.items())
    call("ablate", grid(1), "--out", tmp_path/"whole", "--jobs", 1).works()
    pd.testing.assert_frame_equal(table(out), table(tmp_path/"whole"))


def test_a_killed_run_goes_on(grid, tmp_path):
    out = tmp_path/"out"
    command = "ablate", grid(1, text=TWO_RUNS), "--out", out, "--jobs", 1
    first = out/"runs"/"recon-seed0"
    process = spawn(*command)
    wait_for(first/"checkpoint.pt", process, pause=.02)
    process.kill()
    finish(process)
    assert not (first/"record.json").exists()
    call(*command).works()
    assert list(table(out).index) == NAMES[:2]


def test_a_run_that_fails_costs_no_other(grid, tmp_path):
    out = tmp_path/"out"
    (out/"runs"/"ddl-seed0").mkdir(parents=True)
    (out/"runs"/"ddl-seed0"/"checkpoint.pt").write_text("cut off")
    result = run("ablate", grid(text=TWO_RUNS), "--out", out, "--jobs", 2)
    result.fails(1, "ddl-seed0", "checkpoint")
    assert list(table(out).index) == ["recon-seed0"]


def test_records_of_another_grid_are_refused(grid, one_by_one, tmp_path):
    out = tmp_path/"out"
    shutil.copytree(one_by_one, out)
    before = (out/"runs.csv").read_bytes()
    call("ablate", grid(.4), "--out", out).fails(1, "epochs = 0.3", "--out")
    shorter = write_dataset(tmp_path/"shorter", n=30)
    result = call("ablate", grid(source=shorter), "--out", out)
    result.fails(1, "reference.json", "other footage", "--out")
    assert (out/"runs.csv").read_bytes() == before
    (out/"runs"/"ddl-seed1"/"record.json").write_text("{cut off")
    call("ablate", grid(), "--out", out).fails(1, "ddl-seed1", "not a readable record")


def test_bad_input(grid, dataset, movies, two_scenes, tmp_path):
    out = tmp_path/"out"
    call("ablate", tmp_path/"none.toml", "--out", out).fails(1, "none.toml")
    misspelt = grid(text=TEXT.replace("regime", "regimes"))
    call("ablate", misspelt, "--out", out).fails(1, "grid.toml", "regimes is not a setting")
    call("ablate", grid(source="nowhere"), "--out", out).fails(1, "nowhere")
    call("ablate", grid(), "--out", out, "--jobs", 0).fails(2, "jobs")
    call("ablate", grid(), "--out", out, "--backend", "slurm").fails(1, "loky, ray, dask", "slurm")
    call("ablate", grid(source=movies/"train"), "--out", out).fails(1, "no labels")
    (tmp_path/"file").touch()
    call("ablate", grid(), "--out", tmp_path/"file"/"below", "--jobs", 1).fails(1, "below")


def test_a_grid_of_each_scene_and_their_medians(grid, two_scenes, tmp_path):
    out = tmp_path/"out"
    call("ablate", grid(.1, two_scenes, TWO_RUNS), "--out", out, "--jobs", 1).works()
    each = [table(out/name) for name in ("01", "02")]
    assert [list(runs.index) for runs in each] == [NAMES[:2]] * 2
    for name in MEASURES:
        medians = np.median([runs[name] for runs in each], axis=0)
        assert table(out)[name].tolist() == pytest.approx(medians.tolist(), abs=1e-5)


def test_footage_in_the_data_folder(dataset, grid, tmp_path, monkeypatch):
    monkeypatch.setenv("DDL_DATA", str(dataset.parent))
    runs = grid(source=dataset.name, text=TWO_RUNS)
    call("ablate", runs, "--out", tmp_path/"out", "--jobs", 1).works()
    assert dataset.name in call("info", dataset.name).works().out


MODULES = {"ray": "ray", "dask": "distributed"}
LIGHT = {"RAY_ADDRESS": "local", "RAY_enable_worker_prestart": "0",
         "RAY_prestart_worker_first_driver": "0"}


@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_on_a_local_cluster_of_two_workers(backend, grid, one_by_one, tmp_path):
    if not importlib.util.find_spec(MODULES[backend]):
        pytest.skip(f"{backend} is not installed: pip install 'ddl_nb[cluster]'")
    command = ["ablate", grid(text=TWO_RUNS), "--out", tmp_path/backend,
               "--jobs", 2, "--backend", backend]
    slow = "timed out during startup"
    for _ in range(3):
        # Ray gives its own processes 30 s and not one more, which may not do where others compute:
        # so in a session of its own, for Linux shares the processor out by sessions.
        result = run(*command, env=os.environ | LIGHT, start_new_session=True)
        if slow not in result.err: break
    if slow in result.err: pytest.skip("Ray did not start within its own 30 s, three times")
    assert result.code == 0, result
    pd.testing.assert_frame_equal(table(tmp_path/backend), table(one_by_one).loc[NAMES[:2]])
