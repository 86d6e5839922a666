"""Ordinary footage on the command line:
judged, subsampled, partly ignored or left out, and trained on from a model."""
import json, re

import cv2
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from conftest import (FRAMES, HEIGHT, TINY, WIDTH,
                      call, footage, traced, write_images, write_movie)
from ddl_nb.data import Clip
from ddl_nb.detector import Detector

def read_json(file): return json.loads(file.read_text())

@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    "Two normal videos, 20 frames a second; in b.avi the picture freezes, goes dark and jolts."
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
    """The folder of a tiny model of a.avi that sees 5 frames a second and ignores its upper left
    corner."""
    out = tmp_path_factory.mktemp("model")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:24, :32] = 255
    cv2.imwrite(str(out/"mask.png"), mask)
    options = *TINY, "--epochs", 3, "--fps", 5, "--ignore", out/"mask.png"
    call("fit", yard/"a.avi", "--out", out, *options).works()
    return out

def stretches(path):
    "A table of stretches of time: (clip, first, last) of each."
    table = pd.read_csv(path, dtype={"clip": str})[["clip", "first", "last"]]
    return [tuple(row) for row in table.itertuples(index=False)]


# The judgement --------------------------------------------------------------------------

def test_info_judges_footage(yard, tmp_path):
    shown = call("info", yard, "--out", tmp_path).works().out
    for words in ("frozen", "too dark", "looks elsewhere", "verdict: usable, once",
                  "minutes are left", "0:00:06"):
        assert words in shown, words
    table = pd.read_csv(tmp_path/"leave_out.csv")
    assert set(table["clip"]) == {"b"}
    for word, first, last in (("frozen", 31, 59), ("dark", 60, 84), ("elsewhere", 100, 119)):
        row, = table[table.why.str.contains(word)].itertuples()
        # a codec blurs the edges
        assert abs(row.first - first) <= 1 and abs(row.last - last) <= 1, row
    for name in ("a.png", "b.png"): assert cv2.imread(str(tmp_path/name)).std() > 1

def test_the_judgement_can_be_left_out_of_training(yard, tmp_path):
    call("info", yard, "--out", tmp_path).works()
    out, left_out = tmp_path/"m", tmp_path/"leave_out.csv"
    call("fit", yard, "--out", out, *TINY, "--leave-out", left_out).works()
    gone = stretches(left_out)
    assert sorted(stretches(out/"left_out.csv")) == sorted(gone)
    recorded = read_json(out/"run.json")["settings"]["leave_out"]
    assert sorted(map(tuple, recorded)) == sorted(gone)
    # what is left out is not looked at again
    for clip, first, last in stretches(out/"strangest.csv"):
        looked_at = [(c, a, b) for c, a, b in gone if c == clip and a <= last and first <= b]
        assert not looked_at, (clip, first, last)

def test_a_clip_that_cannot_be_read_is_one_to_leave_out(tmp_path):
    camera, left_out = tmp_path/"cam", tmp_path/"x"/"leave_out.csv"
    write_images(camera/"a", footage(1)[0])
    write_images(camera/"b", footage(2)[0])
    (camera/"b"/"007.jpg").write_text("no picture")
    shown = call("info", camera, "--out", left_out.parent).works().out
    assert "cannot be read" in shown
    assert stretches(left_out) == [("b", 0, FRAMES - 1)]
    call("fit", camera, "--out", tmp_path/"m", *TINY, "--leave-out", left_out).works()

def test_many_clips_stay_readable(tmp_path):
    for i in range(24):
        frames = footage(i, 6)[0]
        write_images(tmp_path/"cam"/f"{i:02d}", frames // 6 if i == 13 else frames)
    shown = call("info", tmp_path/"cam").works().out.split("normal footage")[1]
    assert len(shown.splitlines()) < 20
    assert re.search(r"^ *13 ", shown, re.M) and "other 23 clips" in shown


# A lower rate, and what is ignored ------------------------------------------------------

def test_fit_sees_fewer_frames_and_ignores_a_region(model, yard):
    about = call("info", model).works().out
    assert re.search(r"^fps +5", about, re.M)
    assert re.search(r"^ignore +1[0-9.]+% of the picture \(.*mask.png\)", about, re.M)
    d = Detector.load(model)
    assert d.settings.fps == 5
    assert d.held_out == [["a", 108, 12]]                     # the source's frames
    want = np.zeros(d.size, bool)
    want[:12, :16] = True
    np.testing.assert_array_equal(d.ignore, want)

def test_scores_stay_one_a_frame(model, yard, tmp_path):
    call("score", model, yard/"a.avi", "--out", tmp_path, "--maps").works()
    table = pd.read_csv(tmp_path/"scores.csv")
    assert len(table) == 120
    fours = table.score.to_numpy().reshape(-1, 4)             # a score of each fourth frame
    assert (fours == fours[:, :1]).all()
    maps = np.load(tmp_path/"maps"/"a.npy")
    assert maps.shape == (120, 32, 48)
    assert (maps[:, :12, :16] == 0).all() and (maps[:, 12:].max((1, 2)) > 0).all()

def test_what_happens_in_the_ignored_region_does_not_ring(model, yard):
    frames = Clip(yard/"a.avi").array()
    inside, beside = frames.copy(), frames.copy()
    inside[:, :20, :28] = 255
    beside[:, 40:60, 60:88] = 255
    detector = Detector.load(model).alone("reconstruction")
    normal, ignored, seen = (detector.score(Clip(f, fps=20)).frames.mean()
                             for f in (frames, inside, beside))
    # what is ignored is seen beside it, as far as the network's eye reaches
    assert ignored - normal < (seen - normal) / 3 and seen > 1.5 * normal, (normal, ignored, seen)

def test_boxes_say_the_same_as_a_mask(model, yard, tmp_path):
    options = *TINY, "--fps", 5, "--ignore", "0,0,32,24"
    call("fit", yard/"a.avi", "--out", tmp_path, *options).works()
    with_boxes, with_mask = ((folder/"training.csv").read_text() for folder in (tmp_path, model))
    assert with_boxes.split(",")[:9] == with_mask.split(",")[:9]
    np.testing.assert_array_equal(Detector.load(tmp_path).ignore, Detector.load(model).ignore)

TOO_WIDE = f"0,0,{WIDTH + 1},5"

@pytest.mark.parametrize("boxes, words", [
    ("0,0,30", ["0,0,30", "not a box"]),
    ("9,0,3,5", ["9,0,3,5", "reversed"]),
    (TOO_WIDE, [TOO_WIDE, f"{HEIGHT}x{WIDTH}"]),
    ("-3,0,4,5", ["-3,0,4,5", "outside"]),
    (f"0,0,{WIDTH},{HEIGHT}", ["whole picture"]),
    ("nowhere.png", ["nowhere.png", "no such mask"]),
])
def test_wrong_boxes(boxes, words, yard, tmp_path):
    result = call("fit", yard/"a.avi", "--out", tmp_path/"x", *TINY, f"--ignore={boxes}")
    result.fails(1, *words)
    assert not (tmp_path/"x").exists()

@pytest.mark.parametrize("kind, words", [
    ("small", ["30x48", f"{HEIGHT}x{WIDTH}"]),
    ("text", ["not a readable image"]),
    ("black", ["white"]),
])
def test_wrong_mask(kind, words, yard, tmp_path):
    mask = tmp_path/"mask.png"
    if kind == "small": cv2.imwrite(str(mask), np.full((30, 48), 255, np.uint8))
    if kind == "text": mask.write_bytes(b"no picture IEND")
    if kind == "black": cv2.imwrite(str(mask), np.zeros((HEIGHT, WIDTH), np.uint8))
    result = call("fit", yard/"a.avi", "--out", tmp_path/"x", *TINY, "--ignore", mask)
    result.fails(1, "mask.png", *words)
    assert not (tmp_path/"x").exists()

def test_a_mask_that_leaves_no_object(yard, tmp_path):
    nearly_all = f"0,0,{WIDTH},{HEIGHT - 3}"
    result = call("fit", yard/"a.avi", "--out", tmp_path/"x", *TINY, "--ignore", nearly_all)
    result.fails(1, "no object")

def test_wrong_rate(yard, model, tmp_path):
    out = "--out", tmp_path/"x"
    for bad in (0, -5, "nan"): call("fit", yard, *out, *TINY, f"--fps={bad}").fails(2, "fps")
    result = call("fit", yard, *out, *TINY, "--fps", 50)
    result.fails(1, "clip a", "20 frames a second", "50")
    images = tmp_path/"images"
    write_images(images, footage(1)[0])
    call("fit", images, *out, *TINY, "--fps", 5).fails(1, "images", "unknown")
    call("score", model, images, *out).fails(1, "images", "unknown")
    assert not (tmp_path/"x").exists()

def test_exported_models_keep_rate_and_region(model, yard, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    clip = Clip(yard/"a.avi").part(0, 30)
    ours = Detector.load(model).score(clip)
    for program, name in (("onnx", "m.onnx"), ("openvino", "m.xml")):
        call("export", model, "--to", program, "--out", tmp_path/name).works()
        traced(tmp_path/"m.onnx", monkeypatch)
        theirs = Detector.load(tmp_path/name).score(clip)
        np.testing.assert_allclose(theirs.frames, ours.frames, atol=1e-4)
        assert all((m[:12, :16] == 0).all() for m in theirs.maps())


# Going on -------------------------------------------------------------------------------

def test_from_goes_on_with_weights_and_settings(model, yard, tmp_path):
    options = "--from", model, "--epochs", "0.3", "--seed", 4
    call("fit", yard, "--out", tmp_path, *options).works()
    settings = read_json(tmp_path/"run.json")["settings"]
    before = read_json(model/"run.json")
    assert settings["start"] == str(model) and settings["seed"] == 4
    for name in ("latent", "height", "fps"):
        assert settings[name] == before["settings"][name]
    weight = pd.read_csv(tmp_path/"training.csv").anomaly_weight.iloc[0]
    assert weight == pytest.approx(before["anomaly_weight"], abs=.01)
    np.testing.assert_array_equal(Detector.load(tmp_path).ignore, Detector.load(model).ignore)
    assert re.search(rf"^start +{model}", call("info", tmp_path).works().out, re.M)

def test_from_resumes(model, yard, tmp_path):
    def weights(): return safetensors.torch.load_file(tmp_path/"model.safetensors")

    fit = "fit", yard, "--out", tmp_path, "--from", model, "--epochs", "0.3"
    call(*fit).works()
    before = weights()
    call(*fit, "--resume").works()
    for name, w in weights().items(): assert w.equal(before[name])
    result = call("fit", yard, "--out", tmp_path, *TINY, "--resume")
    result.fails(1, "checkpoint.pt", "resume with the same settings")

@pytest.mark.parametrize("options, words", [
    (["--latent", 16], ["latent", 16, 8]),
    (["--arch", "unet"], ["arch", "unet", "c3dsu"]),
    (["--window", 5], ["window", 5, 3]),
])
def test_from_another_network(options, words, model, yard, tmp_path):
    call("fit", yard, "--out", tmp_path/"x", "--from", model, *options).fails(2, *words)
    assert not (tmp_path/"x").exists()

def test_from_what_is_no_model(yard, tmp_path):
    (tmp_path/"text.safetensors").write_text("no model")
    safetensors.torch.save_file({"x": torch.zeros(2)}, tmp_path/"foreign.safetensors")
    for name, why in (("text", "not a model file"), ("foreign", "not a model of this package"),
                      ("missing", "no such model file")):
        model = tmp_path/f"{name}.safetensors"
        call("fit", yard, "--out", tmp_path/"x", "--from", model).fails(1, name, why)
    assert not (tmp_path/"x").exists()


# The strangest stretches ----------------------------------------------------------------

@pytest.fixture(scope="module")
def square(tmp_path_factory):
    "Two videos; in b.avi a white square in frames 50 to 61."
    root = tmp_path_factory.mktemp("square")
    write_movie(root/"a.avi", footage(3, 60)[0])
    frames = footage(1, 120)[0]
    frames[50:62, 8:56, 20:76] = 255
    write_movie(root/"b.avi", frames)
    return root

# the square is larger than a patch of the paper
ONE_LOOK = "--epochs", 1, "--looks", "reconstruction", "--patch", 16

@pytest.fixture(scope="module")
def first_fit(square, tmp_path_factory):
    "The folder of a model of them, and what the command printed."
    out = tmp_path_factory.mktemp("first")
    return out, call("fit", square, "--out", out, *TINY[:4], *ONE_LOOK).works().out

def test_fit_shows_the_strangest_stretch(first_fit):
    out, shown = first_fit
    table = pd.read_csv(out/"strangest.csv")
    top = table.iloc[0]
    assert top["clip"] == "b" and 50 <= top.peak <= 61, table
    assert abs(top["first"] - 50) <= 2 and abs(top["last"] - 61) <= 2, table
    assert top.x1 < 76 and top.x2 > 20
    assert (table.score.diff().dropna() <= 0).all() and len(table) <= 12
    assert cv2.imread(str(out/"strangest.png")).std() > 1
    for words in ("strangest.png", "--leave-out", "0:00:0"): assert words in shown

def test_the_next_fit_leaves_it_out(first_fit, square, tmp_path):
    table = pd.read_csv(first_fit[0]/"strangest.csv")
    top, kept = table.iloc[0], tmp_path/"strangest.csv"
    table.iloc[:1].to_csv(kept, index=False)
    out = tmp_path/"n"
    options = *TINY[:4], *ONE_LOOK, "--leave-out", kept
    shown = call("fit", square, "--out", out, *options).works().out
    assert f"--leave-out {out/'left_out.csv'} --leave-out" in shown
    again = pd.read_csv(out/"strangest.csv")
    meets = (again["last"] >= top["first"]) & (again["first"] <= top["last"])
    assert not (meets & (again["clip"] == "b")).any()
    assert again.score.max() < table.score.max() / 2

@pytest.mark.parametrize("rows, words", [
    ("clip,first,last\nc,1,2\n", ["c", "no training clip"]),
    ("clip,first,last\na,100,120\n", ["100", "120", "a"]),
    ("clip,first,last\na,9,3\n", ["9", "3"]),
    ("clip,start\na,3\n", ["clip, first, last"]),
    ("clip,first,last\na,0,119\nb,0,119\n", ["nothing is left"]),
    (None, ["gone.csv"]),
])
def test_wrong_list(rows, words, yard, tmp_path):
    file = tmp_path/"gone.csv"
    if rows: file.write_text(rows)
    call("fit", yard, "--out", tmp_path/"x", *TINY, "--leave-out", file).fails(1, *words)
    assert not (tmp_path/"x").exists()
