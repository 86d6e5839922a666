"""Whatever is wrong with the input: one clear line that names it,
exit code 2 for misuse and 1 for a failure, and nothing lost."""
import json, pickle, shutil, subprocess

import cv2
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from conftest import FRAMES, HEIGHT, TINY, WIDTH, call, files, footage, write_images, write_movie
from ddl_nb.detector import Detector

def read_scores(folder): return pd.read_csv(folder/"scores.csv", dtype={"clip": str})

def kept_scores(folder):
    "Clip -> number of its frames that have a score."
    return read_scores(folder).groupby("clip").size().to_dict()

def cut(path, share=.5):
    data = path.read_bytes()
    path.write_bytes(data[:int(share * len(data))])


# Misuse: 2 ------------------------------------------------------------------------------

@pytest.mark.parametrize("line, name", [
    ("--nope", "--nope"),
    ("paint", "paint"),
    ("fit", "source"),
    ("fit DATA", "--out"),
    ("fit DATA --out OUT --nope", "--nope"),
    ("score OUT DATA", "--out"),
    ("evaluate OUT", "source"),
    ("info", "what"),
    ("info DATA DATA", "DATA"),
    ("demo --out", "--out"),
])
def test_wrong_command_line(line, name, dataset, tmp_path):
    places = {"DATA": str(dataset), "OUT": str(tmp_path/"x")}
    call(*[places.get(a, a) for a in line.split()]).fails(2, places.get(name, name))
    assert not (tmp_path/"x").exists()

WRONG_VALUES = {
    "window": "4 0 -1 x",
    "height": "0 -64 nan 1.5 15",
    "width": "0 -8 nan",
    "latent": "0 -8 12 nan",
    "epochs": "0 -1 nan inf x",
    "minutes": "0 -1 nan inf",
    "channels": "2 0",
    "regime": "x",
    "arch": "x",
    "ratio": "x",
    "anomaly-weight": "nan 0 1 -3 inf",
    "seed": "-1 x 99999999999999999999999",
    "jobs": "0 -1 x",
}

WRONG = [(name, value) for name, values in WRONG_VALUES.items() for value in values.split()]

@pytest.mark.parametrize("name, value", WRONG)
def test_wrong_value(name, value, dataset, tmp_path):
    command = "fit", dataset, "--out", tmp_path/"x", "--height", "32", "--latent", "8"
    line = call(*command, f"--{name}", value).fails(2)
    assert name in line.replace("anomaly weight", "anomaly-weight"), line
    assert not (tmp_path/"x").exists()

def test_values_that_do_not_go_together(dataset, tmp_path):
    fit = "fit", dataset, "--out", tmp_path/"x"
    call(*fit, "--epochs", 1, "--minutes", 1).fails(2, "--epochs", "--minutes")
    call(*fit, "--channels", 1, "--ratio", "pixel").fails(2, "ratio")
    assert not (tmp_path/"x").exists()

def test_seed_of_the_demo(tmp_path):
    call("demo", "--out", tmp_path/"x", "--seed", -1).fails(2, "seed")

def test_scene_that_is_not_there(two_scenes, tmp_path):
    result = call("fit", two_scenes, "--out", tmp_path, *TINY, "--scene", "07")
    result.fails(1, "campus", "07", "01, 02")


# Sources --------------------------------------------------------------------------------

@pytest.mark.parametrize("command", ["info", "fit", "score", "evaluate"])
@pytest.mark.parametrize("what", ["missing", "empty", "text"])
def test_no_source(command, what, trained, scored, tmp_path):
    place = tmp_path/what
    if what != "missing": place.mkdir()
    if what == "text": (place/"notes.txt").write_text("nothing to see")
    before = files(scored)
    out = "--out", tmp_path/"x"
    args = dict(info=[place],
                fit=[place, *out],
                score=[trained, place, *out],
                evaluate=[scored/"scores.csv", place])
    call(command, *args[command]).fails(1, place)
    assert not (tmp_path/"x").exists() and files(scored) == before

@pytest.mark.parametrize("where", ["training/frames/01", "testing/frames/02"])
def test_folder_without_images_among_clips(where, fresh, tmp_path):
    for f in (fresh/where).iterdir(): f.unlink()
    name = fresh/where if "testing" in where else "square"
    call("fit", fresh, "--out", tmp_path/"x", *TINY).fails(1, name)

def test_no_training_clips(fresh, tmp_path):
    shutil.rmtree(fresh/"training")
    call("fit", fresh, "--out", tmp_path/"x", *TINY).fails(1, "square")

def damaged(image, damage):
    "Damage an image file in this way; returns its path, which may have changed."
    if damage == "empty": image.write_bytes(b"")
    if damage == "cut": cut(image, .7)
    if damage == "text": image.write_text("This is no picture.")
    if damage == "no image": image.write_bytes(b"x" * 3000 + b"\xff\xd9")
    if damage == "cut png":
        pixels = cv2.imread(str(image))
        image.unlink()
        image = image.with_suffix(".png")
        cv2.imwrite(str(image), pixels)
        cut(image)
    return image

DAMAGES = {"empty": "empty", "cut": "cut off", "cut png": "cut off", "text": "image",
           "no image": "image"}

@pytest.mark.parametrize("damage, why", DAMAGES.items())
def test_broken_image_in_training(damage, why, fresh, trained, tmp_path):
    "The model of an earlier training stays."
    image = damaged(fresh/"training/frames/01/030.jpg", damage)
    out = tmp_path/"out"
    shutil.copytree(trained, out)
    before = files(out)
    call("fit", fresh, "--out", out, *TINY).fails(1, image, why)
    assert files(out) == before

@pytest.mark.parametrize("damage, why", DAMAGES.items())
def test_broken_image_in_scoring(damage, why, fresh, trained, tmp_path):
    "In the last clip to be read: the scores of earlier clips stay."
    image = damaged(fresh/"testing/frames/02/030.jpg", damage)
    call("score", trained, fresh, "--out", tmp_path/"out").fails(1, image, why)
    assert kept_scores(tmp_path/"out") == {"01": FRAMES}

@pytest.mark.parametrize("command", ["fit", "score"])
def test_frames_of_different_sizes(command, fresh, trained, tmp_path):
    clip = fresh/("training/frames/01" if command == "fit" else "testing/frames/02")
    cv2.imwrite(str(clip/"020.jpg"), np.zeros((HEIGHT, WIDTH + 2, 3), np.uint8))
    out = "--out", tmp_path/"x"
    args = [fresh, *out, *TINY] if command == "fit" else [trained, fresh, *out]
    call(command, *args).fails(1, clip, "20", f"{HEIGHT}x{WIDTH + 2}", f"{HEIGHT}x{WIDTH}")
    if command == "score": assert kept_scores(tmp_path/"x") == {"01": FRAMES}

def test_a_broken_scene_does_not_cost_the_others(tmp_path):
    for name in ("door", "gate"):
        write_images(tmp_path/"site"/name/"train"/"a", footage(1)[0])
    image = tmp_path/"site"/"gate"/"train"/"a"/"007.jpg"
    cut(image)
    call("fit", tmp_path/"site", "--out", tmp_path/"m", *TINY).fails(1, image)
    assert (tmp_path/"m"/"door"/"model.safetensors").exists()

def test_clip_shorter_than_the_window(fresh, trained, tmp_path):
    write_images(fresh/"training"/"frames"/"00short", footage(5, n=2)[0])
    call("fit", fresh, "--out", tmp_path/"x", *TINY).fails(1, "00short", "2 frames", "3")
    # a single frame is scored all the same: its edges repeat
    write_images(tmp_path/"one", footage(5, n=1)[0])
    call("score", trained, tmp_path/"one", "--out", tmp_path/"s").works()
    assert kept_scores(tmp_path/"s") == {"one": 1}

def test_holding_out_leaves_no_clip_too_short(fresh, tmp_path):
    "45 frames, the last 4 of them held out: of the clip of 5 a single frame would be left."
    write_images(fresh/"training"/"frames"/"09", footage(5, n=5)[0])
    call("fit", fresh, "--out", tmp_path/"x", *TINY).works()

def test_nothing_moves(tmp_path):
    write_images(tmp_path/"night", np.full((FRAMES, HEIGHT, WIDTH, 3), 40, np.uint8))
    fit = "fit", tmp_path/"night", "--out", tmp_path/"x", *TINY, "--regime"
    for regime in ("ddl", "sdl"): call(*fit, regime).fails(1, "night", "recon")
    assert not (tmp_path/"x"/"model.safetensors").exists()
    call(*fit, "recon").works()


# Videos ---------------------------------------------------------------------------------

def test_video_with_fewer_frames_than_announced(trained, tmp_path):
    video = tmp_path/"half.avi"
    write_movie(video, footage(1)[0])
    cut(video, .6)
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    n = 0
    while capture.grab(): n += 1
    assert 10 < n < FRAMES
    commands = (["info", video],
                ["fit", video, "--out", tmp_path/"m", *TINY],
                ["score", trained, video, "--out", tmp_path/"s"])
    for args in commands:
        warning, = call(*args).works(warnings=1).warnings
        for word in (video, FRAMES, n): assert str(word) in warning, warning
    assert kept_scores(tmp_path/"s") == {"half": n}

@pytest.mark.parametrize("content", ["text", "empty", "cut mp4"])
@pytest.mark.parametrize("command", ["info", "fit", "score"])
def test_video_without_a_frame(content, command, trained, tmp_path):
    video = tmp_path/("film.mp4" if content == "cut mp4" else "film.avi")
    if content == "text": video.write_text("These are my holidays.\n" * 50)
    if content == "empty": video.write_text("")
    if content == "cut mp4":
        write_movie(video, footage(1)[0])
        cut(video)
    out = "--out", tmp_path/"x"
    args = dict(info=[video], fit=[video, *out, *TINY], score=[trained, video, *out])
    call(command, *args[command]).fails(1, video)
    assert not list(tmp_path.rglob("model.safetensors"))

def test_broken_video_after_good_ones(movies, trained, tmp_path):
    camera = tmp_path/"camera"
    shutil.copytree(movies, camera)
    (camera/"test"/"z.avi").write_text("no film")
    call("score", trained, camera, "--out", tmp_path/"s").fails(1, camera/"test"/"z.avi")
    assert kept_scores(tmp_path/"s") == {"c": FRAMES, "d": FRAMES}


# Labels ---------------------------------------------------------------------------------

def change_labels(labels, change):
    if change == "one too many": labels["02"].append(0)
    if change == "one too few": labels["02"].pop()
    if change == "a 7": labels["01"][3] = 7
    if change == "no number": labels["01"][3] = None
    if change == "a word": labels["01"] = "anomalous"

@pytest.mark.parametrize("change, names", [
    ("one too many", ["02", "41", "40"]),
    ("one too few", ["02", "39", "40"]),
    ("a 7", ["01"]),
    ("no number", ["01"]),
    ("a word", ["01"]),
])
@pytest.mark.parametrize("command", ["evaluate", "info"])
def test_labels_that_do_not_fit(change, names, command, fresh, scored):
    file = fresh/"testing"/"frame_labels.json"
    before = files(scored)
    labels = json.loads(file.read_text())
    change_labels(labels, change)
    file.write_text(json.dumps(labels))
    args = [scored/"scores.csv", fresh] if command == "evaluate" else [fresh]
    call(command, *args).fails(1, file, *names)
    assert files(scored) == before

def test_labels_that_are_no_json(fresh):
    (fresh/"testing"/"frame_labels.json").write_text('{"01": [0, 0')
    call("info", fresh).fails(1, fresh/"testing"/"frame_labels.json")

def test_masks_that_do_not_fit(fresh):
    (fresh/"testing"/"masks"/"01"/"039.png").unlink()
    call("info", fresh).fails(1, fresh/"testing"/"masks"/"01", "39", "40")

@pytest.mark.parametrize("row, names", [
    ("c.avi,30,40", ["c", "40"]),
    ("c.avi,-1,4", ["c", "-1"]),
    ("c.avi,9,4", ["c", "9"]),
    ("x.avi,1,2", ["x"]),
    ("c.avi,1,", []),
    ("c.avi,one,two", []),
    ("c.avi,1,99999999999999999999", []),
])
def test_ranges_that_do_not_fit_a_video(row, names, movies, trained, tmp_path):
    camera = tmp_path/"camera"
    shutil.copytree(movies, camera)
    (camera/"labels.csv").write_text(f"clip,first,last\n{row}\n")
    call("info", camera).fails(1, camera/"labels.csv", *names)

@pytest.mark.parametrize("value", [0, 1])
def test_one_class_only(value, fresh, scored, tmp_path):
    file = fresh/"testing"/"frame_labels.json"
    file.write_text(json.dumps({name: [value] * FRAMES for name in ("01", "02")}))
    for f in ("scores.csv", "score.json"): shutil.copy(scored/f, tmp_path)
    shown = call("evaluate", tmp_path/"scores.csv", fresh).works().out
    report = json.loads((tmp_path/"report.json").read_text())
    for measure in ("micro", "macro"):
        assert report["frame_auc"][measure]["raw"] is None
        assert report["frame_auc"][measure]["smoothed"] is None
    assert report["reason"] and report["reason"] in shown

def test_no_labels_at_all(dataset, trained, tmp_path):
    clip = dataset/"testing"/"frames"/"01"
    call("score", trained, clip, "--out", tmp_path).works()
    call("evaluate", tmp_path/"scores.csv", clip).fails(1, "01", "labels")


# Objects --------------------------------------------------------------------------------

HEADER = "clip,frame,x1,y1,x2,y2\n"
BOX = "01,2,10,10,20,30\n"

@pytest.fixture
def fit_with(fresh, tmp_path):
    "Fits with this table of objects, a file's path."
    def fit(objects):
        return call("fit", fresh, "--out", tmp_path/"x", *TINY, "--objects", objects)
    return fit

@pytest.mark.parametrize("row", [
    "01,3,90,10,97,20",
    "01,3,-1,10,20,20",
    "01,3,10,60,20,65",
    "01,3,20,10,10,20",
    "01,3,10,20,20,10",
    "01,3,10,10,10,20",
    "01,3,nan,10,20,20",
    "01,3,10,,20,20",
    "01,3,10,x,20,20",
    "01,,10,10,20,20",
    "01,40,10,10,20,20",
    "01,-1,10,10,20,20",
    "01,3,inf,10,inf,20",
    "01,2.5,1,1,9,9",
])
def test_objects_that_cannot_be(row, fit_with, tmp_path):
    boxes = tmp_path/"boxes.csv"
    boxes.write_text(f"{HEADER}{BOX}{row}\n01,4,10,10,20,30\n")
    fit_with(boxes).fails(1, boxes, "line 3")
    assert not (tmp_path/"x"/"model.safetensors").exists()

@pytest.mark.parametrize("content, name", [
    (b"clip,frame,x1,y1,x2\n01,2,10,10,20\n", "y2"),
    (b"clip,frame,x1,y1,x2,y2\n77,2,10,10,20,30\n", "01"),
    (HEADER.encode(), ""),
    (b"", ""),
    (b"\x89PNG\xff\xfe\x00", ""),
    (None, ""),
])
def test_objects_file_of_another_kind(content, name, fit_with, tmp_path):
    boxes = tmp_path/"boxes.csv"
    if content is not None: boxes.write_bytes(content)
    fit_with(boxes).fails(1, boxes, name)

def test_objects_too_short_for_a_window(fit_with, tmp_path):
    (tmp_path/"boxes.csv").write_text(HEADER + BOX)
    fit_with(tmp_path/"boxes.csv").fails(1, "square", "3")

def test_detector_that_is_not_installed(fit_with):
    try: import torchvision
    except ImportError: pass
    else: pytest.skip("torchvision is installed, so there is nothing to complain about")
    fit_with("fasterrcnn").fails(1, "torchvision", "motion")


# Model files and checkpoints ------------------------------------------------------------

class Trap:
    "A pickle that leaves a trace when it is loaded."
    def __init__(self, trace): self.trace = trace
    def __reduce__(self): return open, (str(self.trace), "w")

def check_refused(model, dataset, tmp_path):
    "By score and by info, in a line that names it."
    call("score", model, dataset, "--out", tmp_path/"x").fails(1, model)
    call("info", model).fails(1, model)
    assert not (tmp_path/"x").exists()

@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut", "cut header"])
def test_model_file_that_is_not_whole(kind, dataset, trained, tmp_path):
    model = tmp_path/"model.safetensors"
    good = (trained/"model.safetensors").read_bytes()
    if kind == "empty": model.write_bytes(b"")
    if kind == "text": model.write_text("a model\n" * 40)
    if kind == "cut": model.write_bytes(good[:-100])
    if kind == "cut header": model.write_bytes(good[:50])
    check_refused(model, dataset, tmp_path)

@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_model_file_that_is_a_trap(kind, dataset, tmp_path):
    model, trace = tmp_path/"model.safetensors", tmp_path/"trace"
    if kind == "pickle": model.write_bytes(pickle.dumps(Trap(trace)))
    if kind == "torch": torch.save({"weights": Trap(trace)}, model)
    check_refused(model, dataset, tmp_path)
    assert not trace.exists()

@pytest.mark.parametrize("kind", [
    "foreign", "no settings", "a list", "newer", "other names", "other shapes", "unknown setting",
    "even window",
])
def test_model_file_with_another_content(kind, dataset, trained, tmp_path):
    with safe_open(trained/"model.safetensors", "pt") as f:
        about = json.loads(f.metadata()["ddl_nb"])
        weights = {k: f.get_tensor(k) for k in f.keys()}
    if kind == "no settings": about = {"format": about["format"]}
    if kind == "a list": about = [1, 2]
    if kind == "newer": about["format"] = 99
    if kind == "other names": weights = {f"x{k}": v for k, v in weights.items()}
    if kind == "other shapes": about["settings"]["latent"] = 16
    if kind == "unknown setting": about["settings"]["colour"] = "blue"
    if kind == "even window": about["settings"]["window"] = 4
    model = tmp_path/"model.safetensors"
    metadata = None if kind == "foreign" else {"ddl_nb": json.dumps(about)}
    safetensors.torch.save_file(weights, model, metadata)
    check_refused(model, dataset, tmp_path)

def test_folder_without_a_model(dataset, tmp_path):
    call("score", tmp_path, dataset, "--out", tmp_path/"x").fails(1, tmp_path)

def test_a_table_of_objects_that_is_not_there(dataset, tmp_path):
    result = call("fit", dataset, "--out", tmp_path/"m", *TINY, "--objects", "nope.csv")
    result.fails(1, "ddl: nope.csv: no such file", "DDL_DATA", "motion")

@pytest.mark.parametrize("kind", [
    "missing", "empty", "cut", "pickle", "foreign", "a list", "model",
])
def test_checkpoint(kind, dataset, trained, tmp_path):
    out, trace = tmp_path/"m", tmp_path/"trace"
    shutil.copytree(trained, out)
    checkpoint = out/"checkpoint.pt"
    if kind == "missing": checkpoint.unlink()
    if kind == "empty": checkpoint.write_bytes(b"")
    if kind == "cut": cut(checkpoint)
    if kind == "pickle": checkpoint.write_bytes(pickle.dumps(Trap(trace), protocol=2))
    if kind == "foreign": torch.save({"weights": torch.zeros(3)}, checkpoint)
    if kind == "a list": torch.save([1, 2], checkpoint)
    if kind == "model": shutil.copy(trained/"model.safetensors", checkpoint)
    before = files(out)
    call("fit", dataset, "--out", out, *TINY, "--resume").fails(1, checkpoint)
    assert files(out) == before and not trace.exists()

def test_resume_with_other_footage(movies, trained):
    before = files(trained)
    result = call("fit", movies, "--out", trained, *TINY, "--resume")
    why = "other footage: clip 01 of 40 frames, 64x96, is no longer in it"
    result.fails(1, trained/"checkpoint.pt", why, "--resume")
    assert files(trained) == before

def test_resume_with_other_settings(dataset, trained):
    before = files(trained)
    result = call("fit", dataset, "--out", trained, *TINY, "--resume", "--seed", 3)
    result.fails(1, trained/"checkpoint.pt", "seed", "0", "3")
    assert files(trained) == before


# Said before the work -------------------------------------------------------------------

@pytest.fixture
def read_only(small_disk):
    place, _ = small_disk
    if subprocess.run(["mount", "-o", "remount,ro", place]).returncode: pytest.skip("no remount")
    return place

def test_a_place_that_cannot_be_written_is_found_before_the_work(
        read_only, dataset, trained, scored, monkeypatch):
    def never(*args, **kwargs): raise AssertionError("scored in vain")
    monkeypatch.setattr(Detector, "stacks", never)
    call("score", trained, dataset, "--out", read_only/"s").fails(1, read_only/"s", "written")
    call("calibrate", trained, dataset, "--false-alarms-per-hour", 60, "--source-fps", 25,
         "--out", read_only/"m").fails(1, read_only/"m", "written")

def test_evaluate_shows_what_it_cannot_write(dataset, scored, tmp_path):
    shutil.copytree(scored, tmp_path/"s")
    (tmp_path/"s"/"report.json").unlink(missing_ok=True)
    (tmp_path/"s"/"report.json").mkdir()
    result = call("evaluate", tmp_path/"s", dataset)
    result.fails(1, "report.json")
    assert "frame AUC" in result.out

def test_a_broken_clip_costs_no_other(trained, tmp_path):
    for name in "abcd": write_movie(tmp_path/"yard"/f"{name}.mp4", footage(1)[0])
    def score(): return call("score", trained, tmp_path/"yard", "--out", tmp_path/"s")
    cut(tmp_path/"yard"/"c.mp4", .1)
    for _ in range(2):                                  # over what an earlier run has left, too
        result = score()
        result.fails(1, "c.mp4", "cannot be read: 1; the others are scored")
        assert "c: cannot be read, not scored" in result.out
        assert kept_scores(tmp_path/"s") == dict.fromkeys("abd", FRAMES)
    cut(tmp_path/"yard"/"a.mp4", .1)
    score().fails(1, "a.mp4", "cannot be read: 2;")
    assert kept_scores(tmp_path/"s") == dict.fromkeys("bd", FRAMES)
    before = files(tmp_path/"s")
    for name in "bd": cut(tmp_path/"yard"/f"{name}.mp4", .1)
    score().fails(1, "a.mp4")
    assert files(tmp_path/"s") == before                # nothing is put in place of it

def test_info_lists_what_cannot_be_read(tmp_path):
    for name in "abc": write_movie(tmp_path/f"{name}.mp4", footage(1)[0])
    cut(tmp_path/"b.mp4", .1)
    shown = call("info", tmp_path).works().out
    assert "broken: " in shown and "b.mp4" in shown and "2      80" in shown
    for name in "ac": cut(tmp_path/f"{name}.mp4", .1)
    call("info", tmp_path).fails(1, "a.mp4")


# Scores ---------------------------------------------------------------------------------

def changed(table, change):
    if change == "no smoothed": return table.drop(columns="smoothed")
    if change == "a frame less": return table.drop(index=5)
    if change == "frames twice": return pd.concat([table, table[:3]])
    if change == "one clip": return table[table["clip"] == "01"]
    if change == "the last frame less": return table[:-1]
    if change == "words": return table.assign(score="high")
    if change == "no numbers": return table.assign(score=np.nan)
    if change == "no rows": return table[:0]

@pytest.mark.parametrize("change, name", [
    ("no smoothed", "smoothed"),
    ("a frame less", "01"),
    ("frames twice", "01"),
    ("one clip", "02"),
    ("the last frame less", "02"),
    ("words", ""),
    ("no numbers", "01"),
    ("no rows", "01"),
])
def test_scores_that_do_not_fit(change, name, dataset, scored, tmp_path):
    shutil.copy(scored/"score.json", tmp_path)
    changed(read_scores(scored), change).to_csv(tmp_path/"scores.csv", index=False)
    call("evaluate", tmp_path/"scores.csv", dataset).fails(1, name)
    assert not (tmp_path/"report.json").exists()

def test_scores_that_are_not_there(dataset, scored, tmp_path):
    shutil.copy(scored/"score.json", tmp_path)
    call("evaluate", tmp_path/"scores.csv", dataset).fails(1, "scores.csv")
    assert not (tmp_path/"report.json").exists()

@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]"])
def test_what_stands_beside_the_scores(content, dataset, scored, tmp_path):
    shutil.copy(scored/"scores.csv", tmp_path)
    if content is not None: (tmp_path/"score.json").write_text(content)
    call("evaluate", tmp_path/"scores.csv", dataset).fails(1, tmp_path/"score.json")

@pytest.mark.parametrize("damage", ["cut", "empty", "short", "other size", "pickle"])
def test_broken_maps(damage, dataset, scored, tmp_path):
    shutil.copytree(scored, tmp_path/"s")
    maps = tmp_path/"s"/"maps"/"01.npy"
    if damage == "cut": cut(maps)
    if damage == "empty": maps.write_bytes(b"")
    if damage == "short": np.save(maps, np.load(maps)[:-1])
    if damage == "other size": np.save(maps, np.load(maps)[:, ::2])
    if damage == "pickle": np.save(maps, np.array([{}], object))
    call("evaluate", tmp_path/"s"/"scores.csv", dataset).fails(1, "01")


# Places ---------------------------------------------------------------------------------

def test_output_under_a_file(dataset, trained, scored, tmp_path):
    "Refused to root as well: a file is no folder."
    (tmp_path/"file").write_text("I stay.")
    for under in (tmp_path/"file"/"x", tmp_path/"file"):
        call("fit", dataset, "--out", under, *TINY).fails(1, under)
        for extra in ([], ["--maps"], ["--video"]):
            call("score", trained, dataset, "--out", under, *extra).fails(1, under)
        call("demo", "--out", under).fails(1, under)
        call("evaluate", under/"scores.csv", dataset).fails(1, under)
    assert (tmp_path/"file").read_text() == "I stay."
    assert {f.name for f in tmp_path.iterdir()} == {"file"}

def test_cache_under_a_file(dataset, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("I stay.")
    cache = tmp_path/"file"/"cache"
    monkeypatch.setenv("DDL_CACHE", str(cache))
    call("fit", dataset, "--out", tmp_path/"x", *TINY).fails(1, cache, "DDL_CACHE")

def test_a_folder_where_a_file_should_be(dataset, trained, scored, tmp_path):
    shutil.copytree(scored, tmp_path/"s")
    report = tmp_path/"s"/"report.json"
    report.unlink(missing_ok=True)                            # of another test
    report.mkdir()
    call("evaluate", tmp_path/"s"/"scores.csv", dataset).fails(1, report)
    model = tmp_path/"m"/"model.safetensors"
    model.mkdir(parents=True)
    call("fit", dataset, "--out", model.parent, *TINY).fails(1, model)
