"""Whatever is wrong with the input: one clear line that names it, exit code 2 for misuse and 1 for a failure, and nothing lost."""
import json, pickle, shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from conftest import FRAMES, HEIGHT, TINY, WIDTH, call, footage, write_images, write_movie

def kept_scores(folder): return pd.read_csv(folder/"scores.csv", dtype={"clip": str}).groupby("clip").size().to_dict()

def files(folder): return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}

def cut(path, share=.5):
    data = path.read_bytes()
    path.write_bytes(data[:int(share * len(data))])


# Misuse: 2 ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, name", [(["--nope"], "--nope"), (["paint"], "paint"), (["fit"], "source"), (["fit", "DATA"], "--out"), (["fit", "DATA", "--out", "OUT", "--nope"], "--nope"),
                                        (["score", "OUT", "DATA"], "--out"), (["evaluate", "OUT"], "source"), (["info"], "what"), (["info", "DATA", "DATA"], "DATA"), (["demo", "--out"], "--out")])
def test_wrong_command_line(args, name, dataset, tmp_path):
    places = {"DATA": str(dataset), "OUT": str(tmp_path/"x")}
    call(*[places.get(a, a) for a in args]).fails(2, places.get(name, name))
    assert not (tmp_path/"x").exists()

@pytest.mark.parametrize("option", ["window 4", "window 0", "window -1", "window x", "height 0", "height -64", "height nan", "height 1.5", "height 15", "width 0", "width -8", "width nan",
                                    "latent 0", "latent -8", "latent 12", "latent nan", "epochs 0", "epochs -1", "epochs nan", "epochs inf", "epochs x", "minutes 0", "minutes -1", "minutes nan", "minutes inf",
                                    "channels 2", "channels 0", "regime x", "arch x", "ratio x", "anomaly-weight nan", "anomaly-weight 0", "anomaly-weight 1", "anomaly-weight -3", "anomaly-weight inf",
                                    "seed -1", "seed x", "seed 99999999999999999999999", "jobs 0", "jobs -1", "jobs x"])
def test_wrong_value(option, dataset, tmp_path):
    name, value = option.split()
    line = call("fit", dataset, "--out", tmp_path/"x", "--height", "32", "--latent", "8", f"--{name}", value).fails(2)
    assert name in line.replace("anomaly weight", "anomaly-weight"), line
    assert not (tmp_path/"x").exists()

def test_values_that_do_not_go_together(dataset, tmp_path):
    call("fit", dataset, "--out", tmp_path/"x", "--epochs", 1, "--minutes", 1).fails(2, "--epochs", "--minutes")
    call("fit", dataset, "--out", tmp_path/"x", "--channels", 1, "--ratio", "pixel").fails(2, "ratio")
    assert not (tmp_path/"x").exists()

def test_seed_of_the_demo(tmp_path): call("demo", "--out", tmp_path/"x", "--seed", -1).fails(2, "seed")

def test_scene_that_is_not_there(two_scenes, tmp_path): call("fit", two_scenes, "--out", tmp_path, *TINY, "--scene", "07").fails(1, "campus", "07", "01, 02")


# Sources ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("command", ["info", "fit", "score", "evaluate"])
@pytest.mark.parametrize("what", ["missing", "empty", "text"])
def test_no_source(command, what, trained, scored, tmp_path):
    place = tmp_path/what
    if what != "missing": place.mkdir()
    if what == "text": (place/"notes.txt").write_text("nothing to see")
    before = files(scored)
    args = dict(info=[place], fit=[place, "--out", tmp_path/"x"], score=[trained, place, "--out", tmp_path/"x"], evaluate=[scored/"scores.csv", place])[command]
    call(command, *args).fails(1, place)
    assert not (tmp_path/"x").exists() and files(scored) == before

@pytest.mark.parametrize("where", ["training/frames/01", "testing/frames/02"])
def test_folder_without_images_among_clips(where, fresh, tmp_path):
    for f in (fresh/where).iterdir(): f.unlink()
    call("fit", fresh, "--out", tmp_path/"x", *TINY).fails(1, fresh/where if "testing" in where else "square")

def test_no_training_clips(fresh, tmp_path):
    shutil.rmtree(fresh/"training")
    call("fit", fresh, "--out", tmp_path/"x", *TINY).fails(1, "square")

@pytest.mark.parametrize("damage", ["empty", "cut", "cut png", "text", "no image"])
@pytest.mark.parametrize("command", ["fit", "score"])
def test_broken_image(damage, command, fresh, trained, tmp_path):
    "In the last clip to be read: models and the scores of earlier clips stay."
    image = fresh/("training/frames/01" if command == "fit" else "testing/frames/02")/"030.jpg"
    if damage == "empty": image.write_bytes(b"")
    if damage == "cut": cut(image, .7)
    if damage == "text": image.write_text("This is no picture.")
    if damage == "no image": image.write_bytes(b"x" * 3000 + b"\xff\xd9")
    if damage == "cut png":
        pixels = cv2.imread(str(image))
        image.unlink()
        image = image.with_suffix(".png")
        cv2.imwrite(str(image), pixels); cut(image)
    why = {"empty": "empty", "cut": "cut off", "cut png": "cut off"}.get(damage, "image")
    out = tmp_path/"out"
    if command == "fit":
        shutil.copytree(trained, out)
        before = files(out)
        call("fit", fresh, "--out", out, *TINY).fails(1, image, why)
        assert files(out) == before
    else:
        call("score", trained, fresh, "--out", out).fails(1, image, why)
        assert kept_scores(out) == {"01": FRAMES}

@pytest.mark.parametrize("command", ["fit", "score"])
def test_frames_of_different_sizes(command, fresh, trained, tmp_path):
    clip = fresh/("training/frames/01" if command == "fit" else "testing/frames/02")
    cv2.imwrite(str(clip/"020.jpg"), np.zeros((HEIGHT, WIDTH + 2, 3), np.uint8))
    args = [fresh, "--out", tmp_path/"x", *TINY] if command == "fit" else [trained, fresh, "--out", tmp_path/"x"]
    call(command, *args).fails(1, clip, "20", f"{HEIGHT}x{WIDTH + 2}", f"{HEIGHT}x{WIDTH}")
    if command == "score": assert kept_scores(tmp_path/"x") == {"01": FRAMES}

def test_a_broken_scene_does_not_cost_the_others(tmp_path):
    for name in ("door", "gate"): write_images(tmp_path/"site"/name/"train"/"a", footage(1)[0])
    image = tmp_path/"site"/"gate"/"train"/"a"/"007.jpg"
    cut(image)
    call("fit", tmp_path/"site", "--out", tmp_path/"m", *TINY).fails(1, image)
    assert (tmp_path/"m"/"door"/"model.safetensors").exists()

def test_clip_shorter_than_the_window(fresh, trained, tmp_path):
    write_images(fresh/"training"/"frames"/"00short", footage(5, n=2)[0])
    call("fit", fresh, "--out", tmp_path/"x", *TINY).fails(1, "00short", "2 frames", "3")
    write_images(tmp_path/"one", footage(5, n=1)[0])                              # scored all the same: its edges repeat
    call("score", trained, tmp_path/"one", "--out", tmp_path/"s").works()
    assert kept_scores(tmp_path/"s") == {"one": 1}

def test_holding_out_leaves_no_clip_too_short(fresh, tmp_path):
    "45 frames, the last 4 of them held out: of the clip of 5 a single frame would be left."
    write_images(fresh/"training"/"frames"/"09", footage(5, n=5)[0])
    call("fit", fresh, "--out", tmp_path/"x", *TINY).works()

def test_nothing_moves(tmp_path):
    write_images(tmp_path/"night", np.full((FRAMES, HEIGHT, WIDTH, 3), 40, np.uint8))
    for regime in ("ddl", "sdl"): call("fit", tmp_path/"night", "--out", tmp_path/"x", *TINY, "--regime", regime).fails(1, "night", "recon")
    assert not (tmp_path/"x"/"model.safetensors").exists()
    call("fit", tmp_path/"night", "--out", tmp_path/"x", *TINY, "--regime", "recon").works()


# Videos -------------------------------------------------------------------------------------------------------------

def test_video_with_fewer_frames_than_announced(trained, tmp_path):
    video = tmp_path/"half.avi"
    write_movie(video, footage(1)[0])
    cut(video, .6)
    capture, n = cv2.VideoCapture(str(video)), 0
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    while capture.grab(): n += 1
    assert 10 < n < FRAMES
    for args in (["info", video], ["fit", video, "--out", tmp_path/"m", *TINY], ["score", trained, video, "--out", tmp_path/"s"]):
        warning, = call(*args).works(warnings=1).warnings
        for word in (video, FRAMES, n): assert str(word) in warning, warning
    assert kept_scores(tmp_path/"s") == {"half": n}

@pytest.mark.parametrize("content", ["text", "empty", "cut mp4"])
@pytest.mark.parametrize("command", ["info", "fit", "score"])
def test_video_without_a_frame(content, command, trained, tmp_path):
    video = tmp_path/("film.mp4" if "mp4" in content else "film.avi")
    if "mp4" in content: write_movie(video, footage(1)[0]); cut(video)
    else: video.write_text("These are my holidays.\n" * 50 if content == "text" else "")
    args = dict(info=[video], fit=[video, "--out", tmp_path/"x", *TINY], score=[trained, video, "--out", tmp_path/"x"])[command]
    call(command, *args).fails(1, video)
    assert not list(tmp_path.rglob("model.safetensors"))

def test_broken_video_after_good_ones(movies, trained, tmp_path):
    shutil.copytree(movies, tmp_path/"camera")
    (tmp_path/"camera"/"test"/"z.avi").write_text("no film")
    call("score", trained, tmp_path/"camera", "--out", tmp_path/"s").fails(1, tmp_path/"camera"/"test"/"z.avi")
    assert kept_scores(tmp_path/"s") == {"c": FRAMES, "d": FRAMES}


# Labels -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change, names", [(lambda l: l["02"].append(0), ["02", "41", "40"]), (lambda l: l["02"].pop(), ["02", "39", "40"]), (lambda l: l.update({"05": [0, 1]}), ["05"]),
                                           (lambda l: l["01"].__setitem__(3, 7), ["01"]), (lambda l: l.update({"01": "anomalous"}), ["01"]), (lambda l: l["01"].__setitem__(3, None), ["01"])])
@pytest.mark.parametrize("command", ["evaluate", "info"])
def test_labels_that_do_not_fit(change, names, command, fresh, scored):
    file, before = fresh/"testing"/"frame_labels.json", files(scored)
    labels = json.loads(file.read_text())
    change(labels)
    file.write_text(json.dumps(labels))
    call(command, *([scored/"scores.csv"] if command == "evaluate" else []), fresh).fails(1, file, *names)
    assert files(scored) == before

def test_labels_that_are_no_json(fresh):
    (fresh/"testing"/"frame_labels.json").write_text('{"01": [0, 0')
    call("info", fresh).fails(1, fresh/"testing"/"frame_labels.json")

def test_masks_that_do_not_fit(fresh):
    (fresh/"testing"/"masks"/"01"/"039.png").unlink()
    call("info", fresh).fails(1, fresh/"testing"/"masks"/"01", "39", "40")

@pytest.mark.parametrize("row, names", [("c.avi,30,40", ["c", "40"]), ("c.avi,-1,4", ["c", "-1"]), ("c.avi,9,4", ["c", "9"]), ("x.avi,1,2", ["x"]), ("c.avi,1,", []), ("c.avi,one,two", [])])
def test_ranges_that_do_not_fit_a_video(row, names, movies, trained, tmp_path):
    shutil.copytree(movies, tmp_path/"camera")
    (tmp_path/"camera"/"labels.csv").write_text(f"clip,first,last\n{row}\n")
    call("info", tmp_path/"camera").fails(1, tmp_path/"camera"/"labels.csv", *names)

@pytest.mark.parametrize("value", [0, 1])
def test_one_class_only(value, fresh, scored, tmp_path):
    file = fresh/"testing"/"frame_labels.json"
    file.write_text(json.dumps({name: [value] * FRAMES for name in ("01", "02")}))
    for f in ("scores.csv", "score.json"): shutil.copy(scored/f, tmp_path)
    shown = call("evaluate", tmp_path/"scores.csv", fresh).works().out
    report = json.loads((tmp_path/"report.json").read_text())
    assert all(report["frame_auc"][m][h] is None for m in ("micro", "macro") for h in ("raw", "smoothed"))
    assert report["reason"] and report["reason"] in shown

def test_no_labels_at_all(dataset, trained, tmp_path):
    call("score", trained, dataset/"testing"/"frames"/"01", "--out", tmp_path).works()
    call("evaluate", tmp_path/"scores.csv", dataset/"testing"/"frames"/"01").fails(1, "01", "labels")


# Objects ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("row, line", [("01,3,90,10,97,20", 3), ("01,3,-1,10,20,20", 3), ("01,3,10,60,20,65", 3), ("01,3,20,10,10,20", 3), ("01,3,10,20,20,10", 3), ("01,3,10,10,10,20", 3), ("01,3,nan,10,20,20", 3),
                                       ("01,3,10,,20,20", 3), ("01,3,10,x,20,20", 3), ("01,,10,10,20,20", 3), ("01,40,10,10,20,20", 3), ("01,-1,10,10,20,20", 3), ("01,3,inf,10,inf,20", 3), ("01,2.5,1,1,9,9", 3)])
def test_objects_that_cannot_be(row, line, fresh, tmp_path):
    boxes = tmp_path/"boxes.csv"
    boxes.write_text(f"clip,frame,x1,y1,x2,y2\n01,2,10,10,20,30\n{row}\n01,4,10,10,20,30\n")
    call("fit", fresh, "--out", tmp_path/"x", *TINY, "--objects", boxes).fails(1, boxes, f"line {line}")
    assert not (tmp_path/"x"/"model.safetensors").exists()

@pytest.mark.parametrize("content, name", [("clip,frame,x1,y1,x2\n01,2,10,10,20\n", "y2"), ("clip,frame,x1,y1,x2,y2\n77,2,10,10,20,30\n", "01"), ("clip,frame,x1,y1,x2,y2\n", ""), ("", ""), (b"\x89PNG\xff\xfe\x00", ""), (None, "")])
def test_objects_file_of_another_kind(content, name, fresh, tmp_path):
    boxes = tmp_path/"boxes.csv"
    if content is not None: boxes.write_bytes(content if isinstance(content, bytes) else content.encode())
    call("fit", fresh, "--out", tmp_path/"x", *TINY, "--objects", boxes).fails(1, boxes, name)

def test_objects_too_short_for_a_window(fresh, tmp_path):
    (tmp_path/"boxes.csv").write_text("clip,frame,x1,y1,x2,y2\n01,2,10,10,20,30\n")
    call("fit", fresh, "--out", tmp_path/"x", *TINY, "--objects", tmp_path/"boxes.csv").fails(1, "square", "3")

def test_detector_that_is_not_installed(fresh, tmp_path):
    try: import torchvision
    except ImportError: pass
    else: pytest.skip("torchvision is installed, so there is nothing to complain about")
    call("fit", fresh, "--out", tmp_path/"x", *TINY, "--objects", "fasterrcnn").fails(1, "torchvision", "motion")


# Model files and checkpoints ----------------------------------------------------------------------------------------

class Trap:
    "A pickle that leaves a trace when it is loaded."
    def __init__(self, trace): self.trace = trace
    def __reduce__(self): return open, (str(self.trace), "w")

@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "cut header", "text", "pickle", "torch", "foreign", "other shapes", "other names", "no settings", "unknown setting", "a list", "even window", "newer"])
def test_model_file(kind, dataset, trained, tmp_path):
    model, good, trace = tmp_path/"model.safetensors", trained/"model.safetensors", tmp_path/"trace"
    with safe_open(good, "pt") as f: about, weights = json.loads(f.metadata()["ddl_nb"]), {k: f.get_tensor(k) for k in f.keys()}
    def put(about=about, weights=weights): safetensors.torch.save_file(weights, model, {"ddl_nb": json.dumps(about)})
    def setting(**change): return about | {"settings": about["settings"] | change}
    {"missing": lambda: None, "empty": lambda: model.write_bytes(b""), "text": lambda: model.write_text("a model\n" * 40),
     "cut": lambda: model.write_bytes(good.read_bytes()[:-100]), "cut header": lambda: model.write_bytes(good.read_bytes()[:50]),
     "pickle": lambda: model.write_bytes(pickle.dumps(Trap(trace))), "torch": lambda: torch.save({"weights": Trap(trace)}, model),
     "foreign": lambda: safetensors.torch.save_file(weights, model), "other shapes": lambda: put(setting(latent=16)),
     "other names": lambda: put(weights={f"x{k}": v for k, v in weights.items()}), "no settings": lambda: put({"format": about["format"]}),
     "unknown setting": lambda: put(setting(colour="blue")), "a list": lambda: put([1, 2]), "even window": lambda: put(setting(window=4)), "newer": lambda: put(about | {"format": 99})}[kind]()
    call("score", model, dataset, "--out", tmp_path/"x").fails(1, model)
    call("info", model).fails(1, model)
    assert not trace.exists() and not (tmp_path/"x").exists()

def test_folder_without_a_model(dataset, tmp_path): call("score", tmp_path, dataset, "--out", tmp_path/"x").fails(1, tmp_path)

@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "pickle", "foreign", "a list", "model"])
def test_checkpoint(kind, dataset, trained, tmp_path):
    shutil.copytree(trained, tmp_path/"m")
    checkpoint, trace = tmp_path/"m"/"checkpoint.pt", tmp_path/"trace"
    {"missing": checkpoint.unlink, "empty": lambda: checkpoint.write_bytes(b""), "cut": lambda: cut(checkpoint), "pickle": lambda: checkpoint.write_bytes(pickle.dumps(Trap(trace), protocol=2)),
     "foreign": lambda: torch.save({"weights": torch.zeros(3)}, checkpoint), "a list": lambda: torch.save([1, 2], checkpoint), "model": lambda: shutil.copy(trained/"model.safetensors", checkpoint)}[kind]()
    before = files(tmp_path/"m")
    call("fit", dataset, "--out", tmp_path/"m", *TINY, "--resume").fails(1, checkpoint)
    assert files(tmp_path/"m") == before and not trace.exists()

def test_resume_with_other_footage(movies, trained):
    before = files(trained)
    call("fit", movies, "--out", trained, *TINY, "--resume").fails(1, trained/"checkpoint.pt", "other footage: clip 01 of 40 frames, 64x96, is no longer in it", "--resume")
    assert files(trained) == before

def test_a_table_of_objects_that_is_not_there(dataset, tmp_path):
    call("fit", dataset, "--out", tmp_path/"m", *TINY, "--objects", "nope.csv").fails(1, "ddl: nope.csv: no such file", "DDL_DATA", "motion")

def test_resume_with_other_settings(dataset, trained):
    before = files(trained)
    call("fit", dataset, "--out", trained, *TINY, "--resume", "--seed", 3).fails(1, trained/"checkpoint.pt", "seed", "0", "3")
    assert files(trained) == before


# Scores -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change, name", [(lambda t: t.drop(columns="smoothed"), "smoothed"), (lambda t: t.drop(index=5), "01"), (lambda t: pd.concat([t, t[:3]]), "01"), (lambda t: t[t["clip"] == "01"], "02"), (lambda t: t[:-1], "02"),
                                          (lambda t: t.assign(score="high"), ""), (lambda t: t.assign(score=np.nan), "01"), (lambda t: t[:0], "01"), (lambda t: None, "")])
def test_scores_that_do_not_fit(change, name, dataset, scored, tmp_path):
    shutil.copy(scored/"score.json", tmp_path)
    table = change(pd.read_csv(scored/"scores.csv", dtype={"clip": str}))
    if table is not None: table.to_csv(tmp_path/"scores.csv", index=False)
    call("evaluate", tmp_path/"scores.csv", dataset).fails(1, name)
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
    {"cut": lambda: cut(maps), "empty": lambda: maps.write_bytes(b""), "short": lambda: np.save(maps, np.load(maps)[:-1]), "other size": lambda: np.save(maps, np.load(maps)[:, ::2]),
     "pickle": lambda: np.save(maps, np.array([{}], object))}[damage]()
    call("evaluate", tmp_path/"s"/"scores.csv", dataset).fails(1, "01")


# Places -------------------------------------------------------------------------------------------------------------

def test_output_under_a_file(dataset, trained, scored, tmp_path):
    "Refused to root as well: a file is no folder."
    (tmp_path/"file").write_text("I stay.")
    for under in (tmp_path/"file"/"x", tmp_path/"file"):
        call("fit", dataset, "--out", under, *TINY).fails(1, under)
        for extra in ([], ["--maps"], ["--video"]): call("score", trained, dataset, "--out", under, *extra).fails(1, under)
        call("demo", "--out", under).fails(1, under)
        call("evaluate", under/"scores.csv", dataset).fails(1, under)
    assert (tmp_path/"file").read_text() == "I stay." and {f.name for f in tmp_path.iterdir()} == {"file"}

def test_cache_under_a_file(dataset, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("I stay.")
    monkeypatch.setenv("DDL_CACHE", str(tmp_path/"file"/"cache"))
    call("fit", dataset, "--out", tmp_path/"x", *TINY).fails(1, tmp_path/"file"/"cache", "DDL_CACHE")

def test_a_folder_where_a_file_should_be(dataset, trained, scored, tmp_path):
    shutil.copytree(scored, tmp_path/"s")
    (tmp_path/"s"/"report.json").unlink(missing_ok=True)      # of another test
    (tmp_path/"s"/"report.json").mkdir()
    call("evaluate", tmp_path/"s"/"scores.csv", dataset).fails(1, tmp_path/"s"/"report.json")
    (tmp_path/"m"/"model.safetensors").mkdir(parents=True)
    call("fit", dataset, "--out", tmp_path/"m", *TINY).fails(1, tmp_path/"m"/"model.safetensors")
