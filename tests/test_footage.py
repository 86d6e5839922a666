"""Ordinary footage on the command line: judged, subsampled, partly ignored or left out, and trained on from a model."""
import json, re

import cv2
import numpy as np
import pandas as pd
import pytest
import safetensors.torch

from conftest import HEIGHT, TINY, WIDTH, call, footage, traced, write_images, write_movie
from ddl_nb.data import Clip
from ddl_nb.detector import Detector

BLINK = np.s_[:, 0:24, 0:32]                          # where something blinks in the test clip of `yard`

@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    "A folder of two normal videos, 20 frames a second; in b.avi the picture freezes, goes dark and jolts."
    root = tmp_path_factory.mktemp("data")/"yard"
    write_movie(root/"a.avi", footage(1, 120)[0])
    frames = footage(2, 120)[0]
    frames[31:60] = frames[30]
    frames[60:85] = frames[60:85] // 6
    frames[100:] = np.roll(frames[100:], 9, axis=2)
    write_movie(root/"b.avi", frames)
    return root

@pytest.fixture(scope="module")
def model(yard, tmp_path_factory):
    "The folder of a tiny model of a.avi that sees 5 frames a second and ignores its upper left corner."
    out = tmp_path_factory.mktemp("model")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[BLINK[1:]] = 255
    cv2.imwrite(str(out/"mask.png"), mask)
    call("fit", yard/"a.avi", "--out", out, *TINY, "--fps", 5, "--ignore", out/"mask.png").works()
    return out

def stretches(path): return [tuple(r) for r in pd.read_csv(path, dtype={"clip": str})[["clip", "first", "last"]].itertuples(index=False)]


# The judgement ------------------------------------------------------------------------------------------------------

def test_info_judges_footage(yard, tmp_path):
    shown = call("info", yard, "--out", tmp_path).works().out
    for words in ("frozen", "too dark", "looks elsewhere", "verdict: usable, once", "minutes are left", "0:00:06"): assert words in shown, words
    table = pd.read_csv(tmp_path/"leave_out.csv")
    assert set(table["clip"]) == {"b"}
    for word, first, last in (("frozen", 31, 59), ("dark", 60, 84), ("elsewhere", 100, 119)):
        row, = table[table.why.str.contains(word)].itertuples()
        assert abs(row.first - first) <= 1 and abs(row.last - last) <= 1, row        # a codec blurs the edges
    for name in ("a.png", "b.png"): assert cv2.imread(str(tmp_path/name)).std() > 1

def test_the_judgement_can_be_left_out_of_training(yard, tmp_path):
    call("info", yard, "--out", tmp_path).works()
    call("fit", yard, "--out", tmp_path/"m", *TINY, "--leave-out", tmp_path/"leave_out.csv").works()
    gone = stretches(tmp_path/"leave_out.csv")
    assert sorted(stretches(tmp_path/"m"/"left_out.csv")) == sorted(gone)
    assert sorted(map(tuple, json.loads((tmp_path/"m"/"run.json").read_text())["settings"]["leave_out"])) == sorted(gone)
    for clip, first, last in stretches(tmp_path/"m"/"strangest.csv"):                # what is left out is not looked at again
        assert not any(c == clip and a <= last and first <= b for c, a, b in gone), (clip, first, last)

def test_a_clip_that_cannot_be_read_is_one_to_leave_out(tmp_path):
    write_images(tmp_path/"cam"/"a", footage(1)[0]); write_images(tmp_path/"cam"/"b", footage(2)[0])
    (tmp_path/"cam"/"b"/"007.jpg").write_text("no picture")
    shown = call("info", tmp_path/"cam", "--out", tmp_path/"x").works().out
    assert "cannot be read" in shown and stretches(tmp_path/"x"/"leave_out.csv") == [("b", 0, 39)]
    call("fit", tmp_path/"cam", "--out", tmp_path/"m", *TINY, "--leave-out", tmp_path/"x"/"leave_out.csv").works()

def test_many_clips_stay_readable(tmp_path):
    for i in range(24): write_images(tmp_path/"cam"/f"{i:02d}", footage(i, 6)[0] // (6 if i == 13 else 1))
    shown = call("info", tmp_path/"cam").works().out.split("normal footage")[1]
    assert len(shown.splitlines()) < 20 and re.search(r"^ *13 ", shown, re.M) and "other 23 clips" in shown


# A lower rate, and what is ignored ----------------------------------------------------------------------------------

def test_fit_sees_fewer_frames_and_ignores_a_region(model, yard):
    about = call("info", model).works().out
    assert re.search(r"^fps +5", about, re.M) and re.search(r"^ignore +1[0-9.]+% of the picture \(.*mask.png\)", about, re.M)
    d = Detector.load(model)
    assert d.settings.fps == 5 and d.held_out == [["a", 108, 12]]                     # the source's frames
    want = np.zeros(d.size, bool); want[:12, :16] = True
    np.testing.assert_array_equal(d.ignore, want)

def test_scores_stay_one_a_frame(model, yard, tmp_path):
    call("score", model, yard/"a.avi", "--out", tmp_path, "--maps").works()
    table = pd.read_csv(tmp_path/"scores.csv")
    assert len(table) == 120 and (table.score.to_numpy().reshape(-1, 4) == table.score.to_numpy()[::4, None]).all()
    maps = np.load(tmp_path/"maps"/"a.npy")
    assert maps.shape == (120, 32, 48) and (maps[:, :12, :16] == 0).all() and (maps[:, 12:].max((1, 2)) > 0).all()

def test_what_happens_in_the_ignored_region_does_not_ring(model, yard):
    d, frames = Detector.load(model), Clip(yard/"a.avi").array()
    blink, beside = frames.copy(), frames.copy()
    blink[:, :20, :28] = beside[:, 40:60, 60:88] = 255
    calm, ignored, seen = (d.score(Clip(f, fps=20)).frames.mean() for f in (frames, blink, beside))
    assert ignored < 1.1 * calm and seen > 1.5 * calm, (calm, ignored, seen)

def test_boxes_say_the_same_as_a_mask(model, yard, tmp_path):
    call("fit", yard/"a.avi", "--out", tmp_path, *TINY, "--fps", 5, "--ignore", "0,0,32,24").works()
    assert (tmp_path/"training.csv").read_text().split(",")[:9] == (model/"training.csv").read_text().split(",")[:9]
    np.testing.assert_array_equal(Detector.load(tmp_path).ignore, Detector.load(model).ignore)

@pytest.mark.parametrize("ignore, words", [("0,0,30", ["0,0,30", "not a box"]), ("9,0,3,5", ["9,0,3,5", "reversed"]), (f"0,0,{WIDTH + 1},5", [f"0,0,{WIDTH + 1},5", f"{HEIGHT}x{WIDTH}"]),
                                           ("-3,0,4,5", ["-3,0,4,5", "outside"]), (f"0,0,{WIDTH},{HEIGHT}", ["whole picture"]), ("nowhere.png", ["nowhere.png", "no such mask"]),
                                           ("small", ["mask.png", "30x48", f"{HEIGHT}x{WIDTH}"]), ("text", ["mask.png", "not a readable image"]), ("black", ["mask.png", "white"])])
def test_wrong_mask(ignore, words, yard, tmp_path):
    if ignore in ("small", "text", "black"):
        cv2.imwrite(str(tmp_path/"mask.png"), np.full((30, 48) if ignore == "small" else (HEIGHT, WIDTH), 255 * (ignore == "small"), np.uint8))
        if ignore == "text": (tmp_path/"mask.png").write_bytes(b"no picture IEND")
        ignore = tmp_path/"mask.png"
    call("fit", yard/"a.avi", "--out", tmp_path/"x", *TINY, f"--ignore={ignore}").fails(1, *words)
    assert not (tmp_path/"x").exists()

def test_a_mask_that_leaves_no_object(yard, tmp_path):
    call("fit", yard/"a.avi", "--out", tmp_path/"x", *TINY, "--ignore", f"0,0,{WIDTH},{HEIGHT - 3}").fails(1, "no object")

def test_wrong_rate(yard, model, tmp_path):
    for bad in (0, -5, "nan"): call("fit", yard, "--out", tmp_path/"x", *TINY, f"--fps={bad}").fails(2, "fps")
    call("fit", yard, "--out", tmp_path/"x", *TINY, "--fps", 50).fails(1, "clip a", "20 frames a second", "50")
    write_images(tmp_path/"images", footage(1)[0])
    call("fit", tmp_path/"images", "--out", tmp_path/"x", *TINY, "--fps", 5).fails(1, "images", "unknown")
    call("score", model, tmp_path/"images", "--out", tmp_path/"x").fails(1, "images", "unknown")
    assert not (tmp_path/"x").exists()

def test_exported_models_keep_rate_and_region(model, yard, tmp_path, monkeypatch):
    pytest.importorskip("openvino"); pytest.importorskip("onnxruntime")
    ours = Detector.load(model).score(Clip(yard/"a.avi").part(0, 30))
    for program, name in (("onnx", "m.onnx"), ("openvino", "m.xml")):
        call("export", model, "--to", program, "--out", tmp_path/name).works()
        traced(tmp_path/"m.onnx", monkeypatch)
        theirs = Detector.load(tmp_path/name).score(Clip(yard/"a.avi").part(0, 30))
        np.testing.assert_allclose(theirs.frames, ours.frames, atol=1e-4)
        assert all((m[:12, :16] == 0).all() for m in theirs.maps())


# Going on -----------------------------------------------------------------------------------------------------------

def test_from_goes_on_with_weights_and_settings(model, yard, tmp_path):
    call("fit", yard, "--out", tmp_path, "--from", model, "--epochs", "0.3", "--seed", 4).works()
    about = json.loads((tmp_path/"run.json").read_text())
    before = json.loads((model/"run.json").read_text())
    assert about["settings"]["start"] == str(model) and about["settings"]["seed"] == 4
    for name in ("latent", "height", "fps"): assert about["settings"][name] == before["settings"][name]
    weight = pd.read_csv(tmp_path/"training.csv").anomaly_weight.iloc[0]
    assert weight == pytest.approx(before["anomaly_weight"], abs=.01)
    np.testing.assert_array_equal(Detector.load(tmp_path).ignore, Detector.load(model).ignore)
    assert re.search(rf"^start +{model}", call("info", tmp_path).works().out, re.M)

def test_from_resumes(model, yard, tmp_path):
    call("fit", yard, "--out", tmp_path, "--from", model, "--epochs", "0.3").works()
    weights = safetensors.torch.load_file(tmp_path/"model.safetensors")
    call("fit", yard, "--out", tmp_path, "--from", model, "--epochs", "0.3", "--resume").works()
    for name, w in safetensors.torch.load_file(tmp_path/"model.safetensors").items(): assert w.equal(weights[name])
    call("fit", yard, "--out", tmp_path, *TINY, "--resume").fails(1, "checkpoint.pt", "resume with the same settings")

@pytest.mark.parametrize("options, words", [(["--latent", 16], ["latent", 16, 8]), (["--arch", "unet"], ["arch", "unet", "c3dsu"]), (["--window", 5], ["window", 5, 3])])
def test_from_another_network(options, words, model, yard, tmp_path):
    call("fit", yard, "--out", tmp_path/"x", "--from", model, *options).fails(2, *words)
    assert not (tmp_path/"x").exists()

def test_from_what_is_no_model(yard, tmp_path):
    (tmp_path/"text.safetensors").write_text("no model")
    safetensors.torch.save_file({"x": safetensors.torch.torch.zeros(2)}, tmp_path/"foreign.safetensors")
    for name, word in (("text", "not a model file"), ("foreign", "not a model of this package"), ("missing", "no such model file")):
        call("fit", yard, "--out", tmp_path/"x", "--from", tmp_path/f"{name}.safetensors").fails(1, name, word)
    assert not (tmp_path/"x").exists()


# The strangest stretches --------------------------------------------------------------------------------------------

def test_fit_shows_the_strangest_stretch_and_the_next_fit_leaves_it_out(tmp_path):
    frames = footage(1, 120)[0]
    frames[50:62, 8:56, 20:76] = 255
    write_movie(tmp_path/"cam"/"a.avi", footage(3, 60)[0]); write_movie(tmp_path/"cam"/"b.avi", frames)
    fit = "fit", tmp_path/"cam", "--height", "32", "--latent", "8", "--epochs", "1"
    shown = call(*fit, "--out", tmp_path/"m").works().out
    table = pd.read_csv(tmp_path/"m"/"strangest.csv")
    top = table.iloc[0]
    assert top["clip"] == "b" and 50 <= top.peak <= 61 and abs(top["first"] - 50) <= 2 and abs(top["last"] - 61) <= 2, table
    assert top.x1 < 76 and top.x2 > 20 and (table.score.diff().dropna() <= 0).all() and len(table) <= 12
    assert cv2.imread(str(tmp_path/"m"/"strangest.png")).std() > 1
    for words in ("strangest.png", "--leave-out", "0:00:0"): assert words in shown
    table.iloc[:1].to_csv(tmp_path/"m"/"strangest.csv", index=False)
    shown = call(*fit, "--out", tmp_path/"n", "--leave-out", tmp_path/"m"/"strangest.csv").works().out
    assert f"--leave-out {tmp_path/'n'/'left_out.csv'} --leave-out" in shown
    again = pd.read_csv(tmp_path/"n"/"strangest.csv")
    assert not ((again["clip"] == "b") & (again["last"] >= top["first"]) & (again["first"] <= top["last"])).any()
    assert again.score.max() < table.score.max() / 2

@pytest.mark.parametrize("rows, words", [("clip,first,last\nc,1,2\n", ["c", "no training clip"]), ("clip,first,last\na,100,120\n", ["100", "120", "a"]), ("clip,first,last\na,9,3\n", ["9", "3"]),
                                         ("clip,start\na,3\n", ["clip, first, last"]), ("clip,first,last\na,0,119\nb,0,119\n", ["nothing is left"]), (None, ["gone.csv"])])
def test_wrong_list(rows, words, yard, tmp_path):
    file = tmp_path/"gone.csv"
    if rows: file.write_text(rows)
    call("fit", yard, "--out", tmp_path/"x", *TINY, "--leave-out", file).fails(1, *words)
    assert not (tmp_path/"x").exists()
