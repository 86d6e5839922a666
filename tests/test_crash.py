"""Power cuts, Ctrl-C and full disks: what was saved stays, and a resumed run ends bit for bit where
an uninterrupted one ends."""
import os, shutil, signal, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import call, files, finish, run, spawn, write_dataset
from ddl_nb.detector import Detector

SMALL = ["--height", "32", "--latent", "8"]
LONGER = [*SMALL, "--epochs", "4.5"]                          # twenty steps
# for a process: a checkpoint after every step
OFTEN = "import ddl_nb.training as t; t.CHECKPOINT_SECONDS = 0"

def steps(folder):
    "How many steps have been saved, and of how many; 0, 0 before the first."
    if not (folder/"checkpoint.pt").exists(): return 0, 0
    state = torch.load(folder/"checkpoint.pt", weights_only=True)
    return state["step"], state["steps"]

def wait_for_step(process, folder, n):
    while process.poll() is None and steps(folder)[0] < n: time.sleep(.05)
    assert process.poll() is None, f"it ended before step {n}: {finish(process)}"

@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    "An uninterrupted run."
    out = tmp_path_factory.mktemp("whole")
    call("fit", dataset, "--out", out, *LONGER).works()
    assert len(pd.read_csv(out/"training.csv")) > 18
    return out

@pytest.fixture(scope="module")
def partway(dataset, tmp_path_factory):
    "A run that Ctrl-C stopped: its folder, and what the process said."
    out = tmp_path_factory.mktemp("partway")
    process = spawn("fit", dataset, "--out", out, *LONGER, first=OFTEN)
    wait_for_step(process, out, 3)
    process.send_signal(signal.SIGINT)
    return out, finish(process)

@pytest.fixture
def stopped(partway, tmp_path): return Path(shutil.copytree(partway[0], tmp_path/"stopped"))

def same_model(a, b):
    return (a/"model.safetensors").read_bytes() == (b/"model.safetensors").read_bytes()


# Stopped --------------------------------------------------------------------------------

def test_ctrl_c_leaves_a_checkpoint(partway, whole):
    out, result = partway
    result.fails(130, "--resume")
    done, planned = steps(out)
    assert 3 <= done < planned == len(pd.read_csv(whole/"training.csv"))
    assert not (out/"model.safetensors").exists()
    assert len(pd.read_csv(out/"training.csv")) == done

def test_without_resume_nothing_is_written_over(stopped, dataset):
    before = files(stopped)
    call("fit", dataset, "--out", stopped, *LONGER).fails(1, stopped/"checkpoint.pt", "--resume")
    assert files(stopped) == before

def test_resume_after_ctrl_c(stopped, whole, dataset):
    call("fit", dataset, "--out", stopped, *LONGER, "--resume").works()
    assert same_model(stopped, whole)

def test_resume_of_a_finished_run_changes_nothing(whole, dataset, tmp_path):
    shutil.copytree(whole, tmp_path/"again")
    call("fit", dataset, "--out", tmp_path/"again", *LONGER, "--resume").works()
    assert same_model(tmp_path/"again", whole) and steps(tmp_path/"again") == steps(whole)

def test_kill_9_twice_and_resume(whole, dataset, tmp_path):
    """Killed in the middle, resumed, killed again, resumed: the weights of the uninterrupted run,
    and no step done twice."""
    def load(folder): return torch.load(folder/"checkpoint.pt", weights_only=True)

    fit = "fit", dataset, "--out", tmp_path, *LONGER
    process = spawn(*fit, first=OFTEN)
    wait_for_step(process, tmp_path, 4)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    first = steps(tmp_path)[0]
    saved = load(tmp_path)["history"]
    process = spawn(*fit, "--resume", first=OFTEN)
    wait_for_step(process, tmp_path, first + 5)
    process.kill()
    finish(process)
    second, planned = steps(tmp_path)
    assert first + 5 <= second < planned
    assert not (tmp_path/"model.safetensors").exists()
    call(*fit, "--resume").works()
    assert same_model(tmp_path, whole)
    end, reference = load(tmp_path), load(whole)
    # times included, so these steps were not done again
    assert end["history"][:first] == saved
    assert [row["step"] for row in end["history"]] == list(range(1, planned + 1))
    for part in ("ddl", "optimizer"): assert_equal(end[part], reference[part])

def assert_equal(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a: assert_equal(a[k], b[k])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b): assert_equal(x, y)
    elif torch.is_tensor(a): assert torch.equal(a, b)
    else: assert a == b

def test_ctrl_c_while_scoring(dataset, trained, tmp_path, monkeypatch):
    "After the first clip: its scores stay."
    score, done = Detector.score, []
    def one_only(*args, **kwargs):
        if done: raise KeyboardInterrupt
        done.append(1)
        return score(*args, **kwargs)
    monkeypatch.setattr(Detector, "score", one_only)
    call("score", trained, dataset, "--out", tmp_path).fails(130, "interrupted")
    table = pd.read_csv(tmp_path/"scores.csv", dtype={"clip": str})
    assert set(table["clip"]) == {"01"}

def test_ctrl_c_with_two_scenes_side_by_side(two_scenes, tmp_path):
    "A terminal sends Ctrl-C to every process of the command."
    process = spawn("fit", two_scenes, "--out", tmp_path, *SMALL, "--epochs", "4000",
                    "--jobs", "2", start_new_session=True)
    for s in ("01", "02"):
        while process.poll() is None and not (tmp_path/s/"checkpoint.pt").exists(): time.sleep(.05)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    finish(process).fails(130, "--resume")
    for s in ("01", "02"):
        done, planned = steps(tmp_path/s)
        assert 0 < done < planned


def test_a_broken_scene_lets_the_one_beside_it_finish(two_scenes, tmp_path):
    "And a warning from another process is one line too."
    source = Path(shutil.copytree(two_scenes, tmp_path/"campus"))
    videos = source/"training"/"videos"
    first, second = videos/"01_001.avi", videos/"02_001.avi"
    first.write_text("no film")
    film = second.read_bytes()
    second.write_bytes(film[:len(film) * 6 // 10])
    out = tmp_path/"m"
    result = run("fit", source, "--out", out, *LONGER, "--jobs", "2")
    result.fails(1, first)
    assert result.warnings and all(str(second) in line for line in result.warnings)
    assert (out/"02"/"model.safetensors").exists()
    assert not (out/"01"/"model.safetensors").exists()


# No room --------------------------------------------------------------------------------

# for a process: no file may grow beyond 4 KB, so saving fails as on a full disk
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"

def test_no_room_for_the_checkpoint(stopped, whole, dataset):
    pytest.importorskip("resource", reason="the limit on file sizes is a POSIX thing")
    before = files(stopped)
    assert len(before[Path("checkpoint.pt")]) > 4096
    fit = "fit", dataset, "--out", stopped, *LONGER, "--resume"
    run(*fit, first=LIMIT).fails(1, stopped/"checkpoint.pt")
    # the checkpoint as it was, and no half-written file beside it
    assert files(stopped) == before
    call(*fit).works()
    assert same_model(stopped, whole)

def test_full_disk_while_training(small_disk, stopped, whole, dataset):
    place, fill = small_disk
    out = Path(shutil.copytree(stopped, place/"run"))
    before = files(out)
    fill(8192)
    resume = "fit", dataset, "--out", out, *LONGER, "--resume"
    call(*resume).fails(1, out/"checkpoint.pt", "space")
    assert files(out) == before
    new = place/"new"
    call("fit", dataset, "--out", new, *LONGER).fails(1, new/"checkpoint.pt", "space")
    assert not files(new)
    (place/"filler").unlink()
    call(*resume).works()
    assert same_model(out, whole)

@pytest.mark.parametrize("extra, free, file", [
    ([], 0, "scores.csv"),
    (["--maps"], 40_000, "maps/01.npy"),
    (["--video"], 40_000, "maps/01.npy"),
    (["--video"], 150_000, "video/01.mp4"),
    ([], 12_288, "events/01-0.jpg"),
    ([], 53_248, "timeline.png"),
])
def test_full_disk_while_scoring(extra, free, file, small_disk, dataset, trained):
    place, fill = small_disk
    out = place/"s"
    out.mkdir()
    if "--video" in extra:
        (out/"video").mkdir()
        (out/"maps").mkdir()
    fill(free)
    call("score", trained, dataset, "--out", out, *extra).fails(1, out/file)
    assert not (out/file).exists()
    assert not [f for f in place.rglob("*") if "part" in f.name]

def test_full_disk_while_evaluating(small_disk, dataset, scored):
    place, fill = small_disk
    for f in ("scores.csv", "score.json"): shutil.copy(scored/f, place)
    report = place/"report.json"
    report.write_text("the report of yesterday")
    fill(0)
    call("evaluate", place/"scores.csv", dataset).fails(1, report, "space")
    assert report.read_text() == "the report of yesterday"
    assert (place/"scores.csv").read_bytes() == (scored/"scores.csv").read_bytes()

def test_full_disk_for_decoded_frames(small_disk, dataset, tmp_path, monkeypatch):
    place, fill = small_disk
    fill(50_000)
    cache = place/"cache"
    monkeypatch.setenv("DDL_CACHE", str(cache))
    result = call("fit", dataset, "--out", tmp_path/"x", *LONGER)
    result.fails(1, cache, "space", "DDL_CACHE")
    assert not files(cache)


# Two at once ----------------------------------------------------------------------------

def test_two_runs_share_a_new_cache(whole, tmp_path):
    "Both find the cache empty and fill it; neither disturbs the other."
    source = write_dataset(tmp_path/"square")        # the footage of `whole` in another place
    cache = tmp_path/"cache"
    env = os.environ | {"DDL_CACHE": str(cache)}
    outs = tmp_path/"a", tmp_path/"b"
    processes = [spawn("fit", source, "--out", out, *LONGER, env=env) for out in outs]
    for process in processes: finish(process).works()
    for out in outs: assert same_model(out, whole)
    kept = list(cache.iterdir())
    assert len(kept) == 2 and {np.load(f).shape for f in kept} == {(40, 32, 48, 3)}
