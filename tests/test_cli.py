"""The commands, end to end, on tiny footage in every form they take."""
import json, os, subprocess

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import (COMMAND, FRAMES, HEIGHT, TINY, WIDTH,
                      call, footage, run, truth, write_images, write_movie)
from ddl_nb.detector import Detector

MODEL = "model.safetensors"
BOTH = {"01": FRAMES, "02": FRAMES}                   # test clip of `dataset` -> its length
SCORED = {"scores.csv", "score.json", "timeline.png", "events.csv", "events", "contact.jpg"}

def names(folder): return {f.name for f in folder.iterdir()}

def read_json(file): return json.loads(file.read_text())

def movie_size(path):
    "The number of frames, and the last one's shape."
    capture = cv2.VideoCapture(str(path))
    n = 0
    while True:
        ok, frame = capture.read()
        if not ok: return n, shape
        shape = frame.shape
        n += 1

def check_scores(path, lengths):
    "scores.csv has every frame of every clip once, in order, with finite scores and their median."
    table = pd.read_csv(path, dtype={"clip": str})
    assert list(table) == ["scene", "clip", "frame", "score", "smoothed", "reconstruction",
                           "place", "speed"]
    frames = [(name, i) for name, n in lengths.items() for i in range(n)]
    assert list(zip(table["clip"], table["frame"])) == frames
    assert np.isfinite(table[["score", "smoothed"]]).all(axis=None)
    assert (table.score >= 0).all()
    for _, rows in table.groupby("clip"):
        median = running_median(rows.score.to_numpy())
        np.testing.assert_allclose(rows.smoothed, median, rtol=1e-6)

def running_median(scores, n=17):
    "Independent of scipy: pad, sort, take the middle one."
    padded = np.pad(scores, n // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, n)
    return np.sort(windows, axis=1)[:, n // 2]


# A dataset's folder ---------------------------------------------------------------------

def test_fit_leaves_model_and_history(trained):
    assert names(trained) == {MODEL, "training.csv", "checkpoint.pt", "run.json",
                              "strangest.csv", "strangest.png"}
    history = pd.read_csv(trained/"training.csv")
    assert {"step", "loss", "recon", "dist", "anomaly_weight"} <= set(history)
    assert list(history.step) == list(range(1, len(history) + 1)) and len(history)
    assert np.isfinite(history).all(axis=None)
    assert history.anomaly_weight.between(0, 1).all()
    about = read_json(trained/"run.json")
    assert about["settings"]["latent"] == 8 and about["size"] == [32, 48]
    assert about["steps"] == len(history)
    assert about["held_out"] == [["02", 32, 8]]               # the last tenth of 80 frames

def test_score_leaves_scores_maps_and_videos(scored):
    check_scores(scored/"scores.csv", BOTH)
    assert cv2.imread(str(scored/"timeline.png")).std() > 1
    assert names(scored/"video") == {"01.mp4", "02.mp4"}
    assert names(scored/"maps") == {"01.npy", "02.npy"}
    for name in ("01", "02"):
        n, shape = movie_size(scored/"video"/f"{name}.mp4")
        assert n == FRAMES and shape[0] >= HEIGHT and shape[1] == WIDTH
        maps = np.load(scored/"maps"/f"{name}.npy")
        assert maps.dtype == np.float16 and maps.shape == (FRAMES, 32, 48)
        assert np.isfinite(maps).all()

def test_a_log_gets_few_lines(dataset, tmp_path):
    "Where nobody watches, a bar does not renew its line a thousand times."
    command = [COMMAND, "fit", dataset, "--out", tmp_path, *TINY, "--epochs", "2"]
    log = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stderr
    shown = [line for line in log.splitlines() if line.startswith("ddl:")]
    steps = len(pd.read_csv(tmp_path/"training.csv"))
    assert "\r" not in log and 2 <= len(shown) < steps / 10
    assert f"{steps}/{steps}" in shown[-1]

def test_scores_are_the_largest_patch_of_the_maps(scored, trained):
    table = pd.read_csv(scored/"scores.csv", dtype={"clip": str})
    side = Detector.load(trained).patch
    def starts(length): return {*range(0, length - side + 1, side // 2), length - side}
    corners = [(y, x) for y in starts(32) for x in starts(48)]
    for name, rows in table.groupby("clip"):
        maps = np.load(scored/"maps"/f"{name}.npy").astype(float)
        patches = [maps[:, y:y + side, x:x + side].mean((1, 2)) for y, x in corners]
        looks = rows[["reconstruction", "place", "speed"]].to_numpy()
        # the maps are the looks' mean, the score their weighted geometric mean
        largest = np.max(patches, axis=0)
        assert (looks.max(1) / 3 < largest * 1.01).all() and (largest < looks.mean(1) * 1.01).all()
        together = np.exp(np.log(np.maximum(looks, .5)) @ Detector.load(trained).weights)
        np.testing.assert_allclose(rows.score, together, rtol=1e-5)

def test_evaluate_writes_the_report(dataset, scored):
    command = [COMMAND, "evaluate", scored/"scores.csv", dataset]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    report = read_json(scored/"report.json")
    for measure in ("micro", "macro"):
        for how in ("raw", "smoothed"):
            assert 0 <= report["frame_auc"][measure][how] <= 100
    for key in ("floors", "baselines", "confidence"): assert report[key], key
    for key in ("pixel_auc", "rbdc", "tbdc"): assert 0 <= report[key] <= 100, key
    assert report["clips"] == 2 and report["frames"] == 2 * FRAMES
    assert report["anomalous"] == truth().sum()
    for word in ("micro", "macro", "floor", "baseline"): assert word in shown

def test_report_agrees_with_counting_pairs(dataset, scored):
    call("evaluate", scored/"scores.csv", dataset).works()
    auc = read_json(scored/"report.json")["frame_auc"]["micro"]["raw"]
    score = pd.read_csv(scored/"scores.csv").score.to_numpy()
    anomalous = np.concatenate([truth(), np.zeros(FRAMES, int)]) > 0
    # AUC: how often an anomalous frame scores higher than a normal one
    pairs = np.sign(score[anomalous][:, None] - score[~anomalous][None])
    assert auc == pytest.approx(100 * (pairs + 1).mean() / 2, abs=1e-6)

def test_info_on_model_and_source(dataset, trained):
    for what in (trained, trained/MODEL):
        shown = call("info", what).works().out
        for word in ("ddl", "c3dsu", "32x48", "parameters", "square"): assert word in shown
    shown = call("info", dataset).works().out
    for word in ("layout frames", "train", "test", "80", "64x96", f"{truth().sum()} of 80"):
        assert word in shown

def test_without_extras_no_maps_or_videos(dataset, trained, scored, tmp_path):
    call("score", trained/MODEL, dataset, "--out", tmp_path).works()
    assert names(tmp_path) == SCORED
    assert not [f for f in (tmp_path/"events").iterdir() if f.suffix != ".jpg"]
    assert (tmp_path/"scores.csv").read_bytes() == (scored/"scores.csv").read_bytes()
    call("evaluate", tmp_path/"scores.csv", dataset).works()
    report = read_json(tmp_path/"report.json")
    assert "frame_auc" in report and not {"pixel_auc", "rbdc", "tbdc"} & set(report)

def test_scoring_again_leaves_nothing_of_other_scores(dataset, movies, trained, tmp_path):
    call("score", trained, movies, "--out", tmp_path, "--video", "--maps").works()
    call("evaluate", tmp_path/"scores.csv", movies).works()
    call("report", tmp_path).works()
    (tmp_path/"notes.txt").write_text("mine")
    def content(): return {f: f.read_bytes() for f in tmp_path.rglob("*.*")}

    before = content()
    call("score", tmp_path/"no model", dataset, "--out", tmp_path).fails(1, "no model")
    assert content() == before                                # nothing better is there yet
    call("score", trained, dataset, "--out", tmp_path).works()
    assert names(tmp_path) == {*SCORED, "notes.txt"}
    rang = set(pd.read_csv(tmp_path/"events.csv", dtype={"clip": str})["clip"])
    assert {f.stem.split("-")[0] for f in (tmp_path/"events").iterdir()} == rang and rang


# Other sources --------------------------------------------------------------------------

def test_folder_of_videos_with_labels(movies, tmp_path):
    out = tmp_path/"s"
    call("fit", movies, "--out", tmp_path, *TINY).works()
    call("score", tmp_path, movies, "--out", out, "--video").works()
    check_scores(out/"scores.csv", {"c": FRAMES, "d": FRAMES})
    assert movie_size(out/"video"/"d.mp4")[0] == FRAMES
    assert not list(out.glob("maps/*"))
    call("evaluate", out/"scores.csv", movies).works()
    assert read_json(out/"report.json")["anomalous"] == truth().sum()
    shown = call("info", movies).works().out
    assert "layout train/test" in shown
    assert "20" in shown and f"{truth().sum()} of 80" in shown

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
    grey = tmp_path/"grey"
    for name in ("a", "b"): write_images(grey/name, footage(1)[0][..., 1], ".PNG")
    options = *TINY, "--channels", 1, "--ratio", "norm"
    call("fit", grey, "--out", tmp_path/"m", *options).works()
    call("score", tmp_path/"m", grey, "--out", tmp_path/"s").works()
    check_scores(tmp_path/"s"/"scores.csv", {"a": FRAMES, "b": FRAMES})

@pytest.mark.parametrize("options", [
    "--regime recon",
    "--regime sdl --anomaly-weight 0.3",
    "--arch unet --width 40",
    "--window 5",
    "--minutes 0.01",
])
def test_choices(options, dataset, tmp_path):
    tiny = TINY[:4] if "--minutes" in options else TINY       # without epochs
    call("fit", dataset, "--out", tmp_path, *tiny, *options.split()).works()
    history = pd.read_csv(tmp_path/"training.csv")
    if "sdl" in options: assert history.anomaly_weight.to_numpy() == pytest.approx(.3)
    if "recon" in options: assert (history.dist == 0).all()
    call("score", tmp_path, dataset, "--out", tmp_path/"s").works()
    check_scores(tmp_path/"s"/"scores.csv", BOTH)

def test_objects_from_a_file(dataset, tmp_path):
    at = 2 * np.arange(FRAMES)
    one = pd.DataFrame(dict(frame=range(FRAMES), x1=at, y1=10, x2=at + 10, y2=30))
    boxes = pd.concat([one.assign(clip="01"), one.assign(clip="02")])
    boxes.to_csv(tmp_path/"boxes.csv", index=False)
    call("fit", dataset, "--out", tmp_path, *TINY, "--objects", tmp_path/"boxes.csv").works()
    assert (pd.read_csv(tmp_path/"training.csv").dist != 0).any()


# Scenes ---------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def campus(two_scenes, tmp_path_factory):
    "The folder of both scenes' models, trained side by side."
    out = tmp_path_factory.mktemp("campus")
    run("fit", two_scenes, "--out", out, *TINY, "--jobs", "2").works()
    return out

def test_one_model_a_scene_side_by_side(campus, two_scenes, tmp_path):
    for s in ("01", "02"): assert {MODEL, "training.csv"} <= names(campus/s)
    assert not (campus/MODEL).exists()
    call("fit", two_scenes, "--out", tmp_path, *TINY, "--scene", "02").works()
    model = next(tmp_path.rglob(MODEL))
    assert model.read_bytes() == (campus/"02"/MODEL).read_bytes()

def test_scenes_are_evaluated_one_by_one(campus, two_scenes, tmp_path):
    call("score", campus, two_scenes, "--out", tmp_path, "--maps").works()
    check_scores(tmp_path/"scores.csv", {"01_0001": FRAMES, "02_0001": FRAMES})
    call("evaluate", tmp_path/"scores.csv", two_scenes).works()
    report = read_json(tmp_path/"report.json")
    assert set(report["scenes"]) == {"01", "02"}
    for measure in ("micro", "macro"):
        for how in ("raw", "smoothed"):
            each = [r["frame_auc"][measure][how] for r in report["scenes"].values()]
            assert report["frame_auc"][measure][how] == pytest.approx(np.median(each))

def test_each_scene_is_scored_by_its_own_model(two_scenes, tmp_path):
    own, both = {}, tmp_path/"both"
    for s, seed in (("01", 1), ("02", 2)):
        out = tmp_path/"m"/s
        call("fit", two_scenes, "--out", out, *TINY, "--scene", s, "--seed", seed).works()
        own[s] = next(out.rglob(MODEL))
        (both/s).mkdir(parents=True)
        (both/s/MODEL).write_bytes(own[s].read_bytes())
    call("score", both, two_scenes, "--out", tmp_path/"s").works()
    together = pd.read_csv(tmp_path/"s"/"scores.csv")
    for s, model in own.items():
        call("score", model, two_scenes, "--out", tmp_path/s).works()
        alone = pd.read_csv(tmp_path/s/"scores.csv")
        same = together.score == alone.score
        mine = together["clip"] == f"{s}_0001"
        assert same[mine].all() and not same[~mine].any()


# Repeatable, and names ------------------------------------------------------------------

def test_same_seed_same_file(dataset, trained, tmp_path):
    model = (trained/MODEL).read_bytes()
    call("fit", dataset, "--out", tmp_path/"again", *TINY).works()
    assert (tmp_path/"again"/MODEL).read_bytes() == model
    call("fit", dataset, "--out", tmp_path/"other", *TINY, "--seed", 1).works()
    assert (tmp_path/"other"/MODEL).read_bytes() != model

def small_plaza(seed=0):
    "In place of the real one, which takes long to render."
    from ddl_nb.data import Clip, Scene
    return Scene("rendered", [Clip(np.zeros((5, 20, 30, 3), np.uint8), "x")])

def test_an_existing_folder_called_plaza_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path/"plaza", footage(1, n=7)[0])
    shown = call("info", "plaza").works().out
    assert "layout images" in shown and "64x96" in shown
    monkeypatch.setattr("ddl_nb.plaza.plaza", small_plaza)
    built_in = call("info", "builtin:plaza").works().out
    assert "layout plaza" in built_in and "rendered" in built_in and "20x30" in built_in
    os.rename("plaza", "square")
    assert call("info", "plaza").works().out == built_in

HELP = {
    "": "demo fit score watch evaluate export info",
    "demo": "--out --seed",
    "fit": """SOURCE --out --regime --arch --latent --height --width --window --channels --ratio
              --epochs --minutes --objects --anomaly-weight --seed --scene --jobs --resume""",
    "score": "MODEL SOURCE --out --video --maps",
    "evaluate": "SCORES SOURCE",
    "export": "MODEL --to --int8 --out",
    "info": "WHAT",
    "watch": """MODEL SOURCE --out --before --after --command --webhook --keep-days
                --patience""",
}

@pytest.mark.parametrize("command, words", HELP.items(), ids=HELP)
def test_help(command, words):
    shown = call(*command.split(), "--help").works().out
    for word in words.split(): assert word.lower() in shown.lower(), word
