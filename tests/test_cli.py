"""The commands, end to end, on tiny footage in every form they take."""
import json, os, subprocess

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import COMMAND, FRAMES, HEIGHT, TINY, WIDTH, call, footage, run, truth, write_images, write_movie

def movie_size(path):
    capture, n = cv2.VideoCapture(str(path)), 0
    while True:
        ok, frame = capture.read()
        if not ok: return n, shape
        n, shape = n + 1, frame.shape

def check_scores(path, lengths):
    "scores.csv has every frame of every clip once, in order, with finite scores and their median."
    table = pd.read_csv(path, dtype={"clip": str})
    assert list(table) == ["clip", "frame", "score", "smoothed"]
    assert list(zip(table["clip"], table["frame"])) == [(name, i) for name, n in lengths.items() for i in range(n)]
    assert np.isfinite(table[["score", "smoothed"]]).all(axis=None) and (table.score >= 0).all()
    for _, rows in table.groupby("clip"):                     # independent of scipy: pad, sort, take the middle one
        padded = np.pad(rows.score.to_numpy(), 8, mode="edge")
        middle = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 17), axis=1)[:, 8]
        np.testing.assert_allclose(rows.smoothed, middle, rtol=1e-6)
    return table


# A dataset's folder -------------------------------------------------------------------------------------------------

def test_fit_leaves_model_and_history(trained):
    assert {f.name for f in trained.iterdir()} == {"model.safetensors", "training.csv", "checkpoint.pt", "run.json", "strangest.csv", "strangest.png"}
    history = pd.read_csv(trained/"training.csv")
    assert {"step", "loss", "recon", "dist", "anomaly_weight"} <= set(history)
    assert list(history.step) == list(range(1, len(history) + 1)) and len(history)
    assert np.isfinite(history).all(axis=None) and history.anomaly_weight.between(0, 1).all()
    about = json.loads((trained/"run.json").read_text())
    assert about["settings"]["latent"] == 8 and about["size"] == [32, 48] and about["steps"] == len(history)
    assert about["held_out"] == [["02", 32, 8]]               # the last tenth of 80 frames

def test_score_leaves_scores_maps_and_videos(scored):
    check_scores(scored/"scores.csv", {"01": FRAMES, "02": FRAMES})
    assert cv2.imread(str(scored/"timeline.png")).std() > 1
    assert sorted(f.name for f in (scored/"video").iterdir()) == ["01.mp4", "02.mp4"]
    assert sorted(f.name for f in (scored/"maps").iterdir()) == ["01.npy", "02.npy"]
    for name in ("01", "02"):
        n, shape = movie_size(scored/"video"/f"{name}.mp4")
        assert n == FRAMES and shape[0] >= HEIGHT and shape[1] == WIDTH
        maps = np.load(scored/"maps"/f"{name}.npy")
        assert maps.dtype == np.float16 and maps.shape == (FRAMES, 32, 48) and np.isfinite(maps).all()

def test_scores_are_the_largest_patch_of_the_maps(scored):
    table = pd.read_csv(scored/"scores.csv", dtype={"clip": str})
    for name, rows in table.groupby("clip"):
        maps = np.load(scored/"maps"/f"{name}.npy").astype(float)
        patches = [maps[:, y:y + 16, x:x + 16].mean((1, 2)) for y in (0, 8, 16) for x in (0, 8, 16, 24, 32)]
        np.testing.assert_allclose(rows.score, np.max(patches, axis=0), rtol=2e-3)

def test_evaluate_writes_the_report(dataset, scored):
    shown = subprocess.run([COMMAND, "evaluate", scored/"scores.csv", dataset], capture_output=True, text=True, check=True).stdout
    report = json.loads((scored/"report.json").read_text())
    for measure in ("micro", "macro"):
        for how in ("raw", "smoothed"): assert 0 <= report["frame_auc"][measure][how] <= 100
    for key in ("floors", "baselines", "confidence"): assert report[key], key
    for key in ("pixel_auc", "rbdc", "tbdc"): assert 0 <= report[key] <= 100, key
    assert report["clips"] == 2 and report["frames"] == 2 * FRAMES and report["anomalous"] == truth().sum()
    for word in ("micro", "macro", "floor", "baseline"): assert word in shown

def test_report_agrees_with_counting_pairs(dataset, scored):
    call("evaluate", scored/"scores.csv", dataset).works()
    report = json.loads((scored/"report.json").read_text())
    score = pd.read_csv(scored/"scores.csv").score.to_numpy()
    y = np.concatenate([truth(), np.zeros(FRAMES, int)]) > 0
    pairs = np.sign(score[y][:, None] - score[~y][None])      # AUC: how often an anomalous frame scores higher than a normal one
    assert report["frame_auc"]["micro"]["raw"] == pytest.approx(100 * (pairs + 1).mean() / 2, abs=1e-6)

def test_info_on_model_and_source(dataset, trained):
    for what in (trained, trained/"model.safetensors"):
        shown = call("info", what).works().out
        for word in ("ddl", "c3dsu", "32x48", "parameters", "square"): assert word in shown
    shown = call("info", dataset).works().out
    for word in ("layout frames", "train", "test", "80", "64x96", f"{truth().sum()} of 80"): assert word in shown

def test_without_extras_no_maps_or_videos(dataset, trained, scored, tmp_path):
    call("score", trained/"model.safetensors", dataset, "--out", tmp_path).works()
    assert {f.name for f in tmp_path.iterdir()} == {"scores.csv", "score.json", "timeline.png", "events.csv", "events", "contact.jpg"}
    assert not [f for f in (tmp_path/"events").iterdir() if f.suffix != ".jpg"]
    assert (tmp_path/"scores.csv").read_bytes() == (scored/"scores.csv").read_bytes()
    call("evaluate", tmp_path/"scores.csv", dataset).works()
    report = json.loads((tmp_path/"report.json").read_text())
    assert "frame_auc" in report and not {"pixel_auc", "rbdc", "tbdc"} & set(report)

def test_scoring_again_leaves_nothing_of_other_scores(dataset, movies, trained, tmp_path):
    call("score", trained, movies, "--out", tmp_path, "--video", "--maps").works()
    call("evaluate", tmp_path/"scores.csv", movies).works()
    call("report", tmp_path).works()
    (tmp_path/"notes.txt").write_text("mine")
    before = {f: f.read_bytes() for f in tmp_path.rglob("*.*")}
    call("score", tmp_path/"no model", dataset, "--out", tmp_path).fails(1, "no model")
    assert {f: f.read_bytes() for f in tmp_path.rglob("*.*")} == before       # nothing better is there yet
    call("score", trained, dataset, "--out", tmp_path).works()
    assert {f.name for f in tmp_path.iterdir()} == {"scores.csv", "score.json", "timeline.png", "events.csv", "events", "contact.jpg", "notes.txt"}
    assert {f.stem.split("-")[0] for f in (tmp_path/"events").iterdir()} == {"01", "02"}


# Other sources ------------------------------------------------------------------------------------------------------

def test_folder_of_videos_with_labels(movies, tmp_path):
    call("fit", movies, "--out", tmp_path, *TINY).works()
    call("score", tmp_path, movies, "--out", tmp_path/"s", "--video").works()
    check_scores(tmp_path/"s"/"scores.csv", {"c": FRAMES, "d": FRAMES})
    assert movie_size(tmp_path/"s"/"video"/"d.mp4")[0] == FRAMES and not list((tmp_path/"s").glob("maps/*"))
    call("evaluate", tmp_path/"s"/"scores.csv", movies).works()
    assert json.loads((tmp_path/"s"/"report.json").read_text())["anomalous"] == truth().sum()
    shown = call("info", movies).works().out
    assert "layout train/test" in shown and "20" in shown and f"{truth().sum()} of 80" in shown

@pytest.mark.parametrize("ending", [".avi", ".mp4"])
def test_single_video(ending, tmp_path):
    video = tmp_path/f"yard{ending}"
    write_movie(video, footage(1)[0])
    call("fit", video, "--out", tmp_path/"m", *TINY).works()
    call("score", tmp_path/"m", video, "--out", tmp_path/"s").works()
    check_scores(tmp_path/"s"/"scores.csv", {"yard": FRAMES})

def test_plain_folder_of_videos_is_all_normal(movies, trained, tmp_path):
    assert "layout videos" in call("info", movies/"train").works().out
    call("score", trained, movies/"train", "--out", tmp_path).works()
    check_scores(tmp_path/"scores.csv", {"a": FRAMES, "b": FRAMES})

def test_grey_footage_and_one_channel(tmp_path):
    for name in ("a", "b"): write_images(tmp_path/"grey"/name, footage(1)[0][..., 1], ".PNG")
    call("fit", tmp_path/"grey", "--out", tmp_path/"m", *TINY, "--channels", 1, "--ratio", "norm").works()
    call("score", tmp_path/"m", tmp_path/"grey", "--out", tmp_path/"s").works()
    check_scores(tmp_path/"s"/"scores.csv", {"a": FRAMES, "b": FRAMES})

@pytest.mark.parametrize("options", [["--regime", "recon"], ["--regime", "sdl", "--anomaly-weight", "0.3"], ["--arch", "unet", "--width", "40"], ["--window", "5"], ["--minutes", "0.01"]])
def test_choices(options, dataset, tmp_path):
    call("fit", dataset, "--out", tmp_path, *(TINY[:4] if "--minutes" in options else TINY), *options).works()
    history = pd.read_csv(tmp_path/"training.csv")
    if "sdl" in options: assert history.anomaly_weight.to_numpy() == pytest.approx(.3)
    if "recon" in options: assert (history.dist == 0).all()
    call("score", tmp_path, dataset, "--out", tmp_path/"s").works()
    check_scores(tmp_path/"s"/"scores.csv", {"01": FRAMES, "02": FRAMES})

def test_objects_from_a_file(dataset, tmp_path):
    rows = [(name, i, 2 * i, 10, 2 * i + 10, 30) for name in ("01", "02") for i in range(FRAMES)]
    pd.DataFrame(rows, columns=["clip", "frame", "x1", "y1", "x2", "y2"]).to_csv(tmp_path/"boxes.csv", index=False)
    call("fit", dataset, "--out", tmp_path, *TINY, "--objects", tmp_path/"boxes.csv").works()
    assert (pd.read_csv(tmp_path/"training.csv").dist != 0).any()


# Scenes -------------------------------------------------------------------------------------------------------------

def test_one_model_a_scene_side_by_side(two_scenes, tmp_path):
    run("fit", two_scenes, "--out", tmp_path, *TINY, "--jobs", "2").works()
    for s in ("01", "02"): assert {"model.safetensors", "training.csv"} <= {f.name for f in (tmp_path/s).iterdir()}
    assert not (tmp_path/"model.safetensors").exists()
    call("fit", two_scenes, "--out", tmp_path/"alone", *TINY, "--scene", "02").works()
    model = next((tmp_path/"alone").rglob("model.safetensors"))
    assert model.read_bytes() == (tmp_path/"02"/"model.safetensors").read_bytes()
    call("score", tmp_path, two_scenes, "--out", tmp_path/"s", "--maps").works()
    check_scores(tmp_path/"s"/"scores.csv", {"01_0001": FRAMES, "02_0001": FRAMES})
    call("evaluate", tmp_path/"s"/"scores.csv", two_scenes).works()
    report = json.loads((tmp_path/"s"/"report.json").read_text())
    assert set(report["scenes"]) == {"01", "02"}
    for measure in ("micro", "macro"):
        for how in ("raw", "smoothed"):
            assert report["frame_auc"][measure][how] == pytest.approx(np.median([r["frame_auc"][measure][how] for r in report["scenes"].values()]))

def test_each_scene_is_scored_by_its_own_model(two_scenes, trained, tmp_path):
    for s, seed in (("01", 1), ("02", 2)): call("fit", two_scenes, "--out", tmp_path/"m"/s, *TINY, "--scene", s, "--seed", seed).works()
    own = {s: next((tmp_path/"m"/s).rglob("model.safetensors")) for s in ("01", "02")}
    for s, model in own.items():
        (tmp_path/"both"/s).mkdir(parents=True); (tmp_path/"both"/s/"model.safetensors").write_bytes(model.read_bytes())
    call("score", tmp_path/"both", two_scenes, "--out", tmp_path/"s").works()
    together = pd.read_csv(tmp_path/"s"/"scores.csv")
    for s, model in own.items():
        call("score", model, two_scenes, "--out", tmp_path/s).works()
        alone = pd.read_csv(tmp_path/s/"scores.csv")
        same = together["clip"] == f"{s}_0001"
        assert (together.score == alone.score)[same].all() and not (together.score == alone.score)[~same].any()


# Repeatable, and names ----------------------------------------------------------------------------------------------

def test_same_seed_same_file(dataset, trained, tmp_path):
    call("fit", dataset, "--out", tmp_path/"again", *TINY).works()
    assert (tmp_path/"again"/"model.safetensors").read_bytes() == (trained/"model.safetensors").read_bytes()
    call("fit", dataset, "--out", tmp_path/"other", *TINY, "--seed", 1).works()
    assert (tmp_path/"other"/"model.safetensors").read_bytes() != (trained/"model.safetensors").read_bytes()

def test_an_existing_folder_called_plaza_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path/"plaza", footage(1, n=7)[0])
    shown = call("info", "plaza").works().out
    assert "layout images" in shown and "64x96" in shown
    from ddl_nb.data import Clip, Scene                       # in place of the real one, which takes long to render
    monkeypatch.setattr("ddl_nb.plaza.plaza", lambda seed=0: Scene("rendered", [Clip(np.zeros((5, 20, 30, 3), np.uint8), "x")]))
    built_in = call("info", "builtin:plaza").works().out
    assert "layout plaza" in built_in and "rendered" in built_in and "20x30" in built_in
    os.rename("plaza", "square")
    assert call("info", "plaza").works().out == built_in

@pytest.mark.parametrize("command", [None, "demo", "fit", "score", "evaluate", "export", "info", "watch"])
def test_help(command):
    shown = call(*([command] if command else []), "--help").works().out
    expected = {None: ["demo", "fit", "score", "watch", "evaluate", "export", "info"], "demo": ["--out", "--seed"], "score": ["MODEL", "SOURCE", "--out", "--video", "--maps"],
                "fit": ["SOURCE", "--out", "--regime", "--arch", "--latent", "--height", "--width", "--window", "--channels", "--ratio", "--epochs", "--minutes",
                        "--objects", "--anomaly-weight", "--seed", "--scene", "--jobs", "--resume"], "evaluate": ["SCORES", "SOURCE"], "export": ["MODEL", "--to", "--int8", "--out"], "info": ["WHAT"],
                "watch": ["MODEL", "SOURCE", "--out", "--before", "--after", "--command", "--webhook", "--keep-days", "--patience"]}[command]
    for word in expected: assert word.lower() in shown.lower(), word
