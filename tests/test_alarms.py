"""From scores to alarms on the command line:
calibrate, the events that score leaves, own labels, the report page."""
import json, re, shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import ANOMALY, FRAMES, TINY, call, footage, run, write_movie
from ddl_nb.data import Clip
from ddl_nb.detector import Detector

MODEL = "model.safetensors"
PROMISE = "--false-alarms-per-hour"

def read_json(file): return json.loads(file.read_text())

TUESDAY = f"tuesday,{ANOMALY[0]},{ANOMALY[1]}"

def write_labels(file, row):
    file.write_text(f"clip,first,last\n{row}\n")
    return file

@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    """A model of a small video's scene, and normal footage for its calibration: 62 seconds at 20
    frames a second."""
    root = tmp_path_factory.mktemp("yard")
    write_movie(root/"normal"/"a.mp4", footage(1, n=60)[0])
    long = np.concatenate([footage(seed, n=62)[0] for seed in range(30, 40)])
    write_movie(root/"quiet"/"b.mp4", np.concatenate([long, long[::-1]]))
    call("fit", root/"normal", "--out", root/"run", *TINY, "--regime", "recon",
         "--looks", "reconstruction").works()
    return root

@pytest.fixture(scope="module")
def calibrated(yard):
    out = yard/"calibrated.safetensors"
    call("calibrate", yard/"run", yard/"quiet", PROMISE, 60, "--out", out).works()
    return out

@pytest.fixture(scope="module")
def week(yard):
    write_movie(yard/"week"/"monday.mp4", footage(11)[0])
    write_movie(yard/"week"/"tuesday.mp4", footage(12, anomaly=True)[0])
    return yard/"week"

@pytest.fixture(scope="module")
def alarms(yard, calibrated, week):
    """Scores of the week by a model whose threshold lies where Tuesday's square is above it and
    nothing else."""
    detector = Detector.load(calibrated)
    def peak(day): return detector.score(Clip(week/f"{day}.mp4")).smoothed.max()

    monday, tuesday = peak("monday"), peak("tuesday")
    assert tuesday > 1.2 * monday
    detector.calibration.threshold = float(np.mean([monday, tuesday]))
    detector.save(yard/"between.safetensors")
    command = "score", yard/"between.safetensors", week, "--out", yard/"scores", "--video"
    run(*command).works(warnings=0)
    return yard/"scores"

def test_calibrate_keeps_the_promise_in_the_model(yard, calibrated):
    detector = Detector.load(calibrated)
    c = detector.calibration
    assert c.per_hour == 60 and c.low < 60 < c.high
    assert c.blocks == 10 and c.footage == ["b"]
    assert detector.threshold == c.threshold != Detector.load(yard/"run").threshold
    assert "calibration" in call("info", calibrated).works().out

def test_calibrate_in_place(yard, tmp_path):
    copy = tmp_path/"m.safetensors"
    copy.write_bytes((yard/"run"/MODEL).read_bytes())
    shown = call("calibrate", copy, yard/"quiet", PROMISE, 90).works().out
    assert "90 false alarms an hour promised" in shown
    assert Detector.load(copy).calibration.per_hour == 90

def test_too_little_footage_says_how_much_is_needed(yard):
    before = (yard/"run"/MODEL).read_bytes()
    result = call("calibrate", yard/"run", yard/"normal", PROMISE, 1)
    result.fails(1, "from 3 s of normal footage", "at least 60.0 min are needed")
    assert (yard/"run"/MODEL).read_bytes() == before

def test_calibrate_refuses_footage(yard, dataset, tmp_path):
    before = (yard/"run"/MODEL).read_bytes()
    without_fps = "calibrate", yard/"run", dataset, PROMISE, 60
    call(*without_fps).fails(1, "clip 01", "--source-fps")
    for fps in (-25, 0, "nan", "inf"):
        result = call(*without_fps, "--source-fps", fps)
        result.fails(1, "frames a second must be a positive number")
    (tmp_path/"only"/"test").mkdir(parents=True)
    shutil.copy(next((yard/"quiet").iterdir()), tmp_path/"only"/"test")
    result = call("calibrate", yard/"run", tmp_path/"only", PROMISE, 60)
    result.fails(1, "scene only", "no normal clips", "train/")
    assert (yard/"run"/MODEL).read_bytes() == before

def test_calibrate_refuses_promises_and_models(yard, tmp_path):
    quiet = yard/"quiet"
    call("calibrate", yard/"run", quiet, PROMISE, 0).fails(1, "positive number")
    call("calibrate", yard/"run", quiet).fails(2, PROMISE)
    call("calibrate", "plaza", quiet, PROMISE, 60).fails(2, "--out")
    call("calibrate", yard/"nothing", quiet, PROMISE, 60).fails(1, "no such model file")
    (tmp_path/"m.onnx").write_bytes(b"x")
    call("calibrate", tmp_path/"m.onnx", quiet, PROMISE, 60).fails(2, "export it again")

@pytest.fixture
def event(alarms):
    "The one event of the week."
    one, = pd.read_csv(alarms/"events.csv").itertuples()
    return one

def test_the_event_is_tuesdays_square(alarms, event):
    columns = ["scene", "clip", "start", "end", "peak", "score", "x1", "y1", "x2", "y2", "look"]
    assert list(pd.read_csv(alarms/"events.csv")) == columns
    assert (event.scene, event.clip) == ("week", "tuesday")
    assert event.start <= event.peak <= event.end
    assert event.start <= ANOMALY[0] + 8 and event.end >= ANOMALY[1] - 8
    # it meets the square, in the source's pixels
    assert event.x1 < 60 and event.x2 > 30 and event.y1 < 44 and event.y2 > 20
    table = pd.read_csv(alarms/"scores.csv").query("clip == 'tuesday'")
    scores = table.smoothed.to_numpy()
    threshold = read_json(alarms/"score.json")["scenes"]["week"]["threshold"]
    above = np.flatnonzero(scores > threshold)
    assert (above[[0, -1]] == (event.start, event.end)).all()
    assert scores.max() == pytest.approx(event.score)

def test_an_event_has_a_picture_and_a_video(alarms, event, week):
    name = f"tuesday-{event.start}"
    left = sorted(f.name for f in (alarms/"events").iterdir())
    assert left == [f"{name}.jpg", f"{name}.mp4"]
    assert not (alarms/"video").exists()
    assert cv2.imread(str(alarms/"contact.jpg")).shape[1] == 240
    peak = cv2.imread(str(alarms/"events"/f"{name}.jpg"))
    original = Clip(week/"tuesday.mp4").array()[event.peak][..., ::-1]
    outside = np.ones(peak.shape[:2], bool)
    outside[max(0, event.y1 - 3):event.y2 + 3, max(0, event.x1 - 3):event.x2 + 3] = False
    difference = np.abs(peak.astype(int) - original)
    assert difference[outside].mean() < 6        # that frame, but for the outline

def test_what_an_earlier_run_left_goes_and_nothing_else(
        alarms, yard, calibrated, week, tmp_path):
    out = tmp_path/"scores"
    call("score", yard/"between.safetensors", week, "--out", out).works()
    (out/"events"/"mine.txt").write_text("keep")
    assert len(list((out/"events").iterdir())) == 2
    detector = Detector.load(calibrated)
    detector.calibration.threshold = 9.
    detector.save(tmp_path/"deaf.safetensors")
    call("score", tmp_path/"deaf.safetensors", week, "--out", out).works()
    assert [f.name for f in (out/"events").iterdir()] == ["mine.txt"]
    assert not (out/"contact.jpg").exists() and len(pd.read_csv(out/"events.csv")) == 0
    labels = write_labels(tmp_path/"mine.csv", TUESDAY)
    shown = call("evaluate", out/"scores.csv", week, "--labels", labels).works().out
    assert "0 of 1 anomalous stretches found, 0 of 0 events" in shown
    call("report", out).works()
    assert "Nothing was above the threshold" in (out/"report.html").read_text()

@pytest.fixture
def evaluate(alarms, week, tmp_path):
    "Evaluates the week's scores with one row of labels, or a file of them."
    def with_labels(labels):
        if isinstance(labels, str): labels = write_labels(tmp_path/"mine.csv", labels)
        return call("evaluate", alarms/"scores.csv", week, "--labels", labels)
    return with_labels

def test_own_labels(evaluate, alarms):
    shown = evaluate(TUESDAY).works().out
    said = ("1 of 1 anomalous stretches found, 1 of 1 events meet one, "
            "0.0 false ones an hour")
    assert said in shown and "micro" in shown
    report = read_json(alarms/"report.json")
    assert report["alarms"]["events"]["recall"] == 100
    assert report["anomalous"] == ANOMALY[1] - ANOMALY[0] + 1
    evaluate(f"monday,0,{FRAMES - 1}").works()
    missed = dict(precision=0., recall=0., events=1, right=0, anomalies=1, found=0)
    assert read_json(alarms/"report.json")["alarms"]["events"] == missed

def test_own_labels_that_do_not_fit(evaluate, tmp_path):
    evaluate("friday,0,1").fails(1, "clip friday")
    evaluate("monday,0,99").fails(1, "monday", "40 frames")
    evaluate(tmp_path/"none.csv").fails(1, "none.csv")

def test_own_labels_are_found_beside_the_footage(alarms, week):
    call("evaluate", alarms/"scores.csv", week).fails(1, "no labels")
    labels = write_labels(week/"labels.csv", TUESDAY.replace("tuesday", "tuesday.mp4"))
    try: call("evaluate", alarms/"scores.csv", week).works()
    finally: labels.unlink()

def test_a_benchmark_gets_whole_videos_and_alarms(scored, dataset):
    assert (scored/"events.csv").exists() and len(list((scored/"video").iterdir())) == 2
    shown = call("evaluate", scored/"scores.csv", dataset).works().out
    assert "anomalous stretches found" in shown

def test_drift_is_said_once(yard, calibrated, tmp_path):
    detector = Detector.load(calibrated)
    detector.calibration.usual, detector.calibration.threshold = [0., 1e-6, 200], 9.
    detector.save(tmp_path/"m.safetensors")
    frames = np.concatenate([footage(5, n=170)[0]] * 20)      # 170 s at 20 frames a second
    write_movie(tmp_path/"long"/"c.mp4", frames)
    command = "score", tmp_path/"m.safetensors", tmp_path/"long", "--out", tmp_path/"out"
    warning, = call(*command).works(warnings=1).warnings
    assert "15 of the last 15 medians" in warning
    assert "ddl calibrate" in warning and "ddl: warning: c:" in warning

def test_the_page_stands_alone(alarms):
    assert call("report", alarms).works().out.strip() == str(alarms/"report.html")
    page = (alarms/"report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert page.count("data:image/jpeg;base64,") == 1
    assert "tuesday: 1 event" in page and "60 an hour" in page
    assert "prefers-color-scheme: dark" in page

def test_one_page_for_two_cameras(alarms, yard, two_scenes, tmp_path):
    call("score", yard/"between.safetensors", two_scenes, "--out", tmp_path).works()
    call("report", tmp_path).works()
    page = (tmp_path/"report.html").read_text()
    for title in ("01/01_0001: ", "02/02_0001: "): assert title in page
    events = pd.read_csv(tmp_path/"events.csv", dtype=str)
    assert set(events["scene"]) == {"01", "02"}
    assert page.count("data:image/jpeg;base64,") == len(events)
    for e in events.itertuples(): assert f"{e.scene}/{e.clip}, frame {e.start} to" in page

def test_report_refuses(yard, tmp_path):
    call("report", yard/"week").fails(1, "neither scores.csv nor events.jsonl")
    (tmp_path/"scores.csv").write_text("clip,frame\n1,2\n")
    call("report", tmp_path).fails(1, "scores.csv", "is missing")
