"""From scores to alarms on the command line: calibrate, the events that score leaves, own labels, the report page."""
import json, re, shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import ANOMALY, TINY, call, footage, run, write_movie
from ddl_nb.data import Clip
from ddl_nb.detector import Detector

@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    "A model of a small video's scene, and normal footage for its calibration: 62 seconds at 20 frames a second."
    root = tmp_path_factory.mktemp("yard")
    write_movie(root/"normal"/"a.mp4", footage(1, n=60)[0])
    long = np.concatenate([footage(seed, n=62)[0] for seed in range(30, 40)])
    write_movie(root/"quiet"/"b.mp4", np.concatenate([long, long[::-1]]))
    call("fit", root/"normal", "--out", root/"run", *TINY, "--regime", "recon").works()
    return root

@pytest.fixture(scope="module")
def calibrated(yard):
    call("calibrate", yard/"run", yard/"quiet", "--false-alarms-per-hour", 60, "--out", yard/"calibrated.safetensors").works()
    return yard/"calibrated.safetensors"

@pytest.fixture(scope="module")
def week(yard):
    write_movie(yard/"week"/"monday.mp4", footage(11)[0])
    write_movie(yard/"week"/"tuesday.mp4", footage(12, anomaly=True)[0])
    return yard/"week"

@pytest.fixture(scope="module")
def alarms(yard, calibrated, week):
    "Scores of the week by a model whose level lies where Tuesday's square is above it and nothing else."
    detector = Detector.load(calibrated)
    peaks = {c: detector.score(clip).smoothed.max() for c, clip in ((f.stem, Clip(f)) for f in sorted(week.glob("*.mp4")))}
    assert peaks["tuesday"] > 1.2 * peaks["monday"]
    detector.calibration["level"] = float(np.mean(list(peaks.values())))
    detector.save(yard/"level.safetensors")
    run("score", yard/"level.safetensors", week, "--out", yard/"scores", "--video").works(warnings=0)
    return yard/"scores"

def test_calibrate_keeps_the_promise_in_the_model(yard, calibrated):
    c = Detector.load(calibrated).calibration
    assert c["per_hour"] == 60 and c["low"] < 60 < c["high"] and c["blocks"] == 10 and c["footage"] == ["b"]
    assert Detector.load(calibrated).threshold == c["level"] != Detector.load(yard/"run").threshold
    assert "calibration" in call("info", calibrated).works().out

def test_calibrate_in_place(yard, tmp_path):
    copy = tmp_path/"m.safetensors"
    copy.write_bytes((yard/"run"/"model.safetensors").read_bytes())
    shown = call("calibrate", copy, yard/"quiet", "--false-alarms-per-hour", 90).works().out
    assert "90 false alarms an hour promised" in shown and Detector.load(copy).calibration["per_hour"] == 90

def test_too_little_footage_says_how_much_is_needed(yard):
    before = (yard/"run"/"model.safetensors").read_bytes()
    call("calibrate", yard/"run", yard/"normal", "--false-alarms-per-hour", 1).fails(1, "from 3 s of normal footage", "at least 60.0 min are needed")
    assert (yard/"run"/"model.safetensors").read_bytes() == before

def test_calibrate_refuses(yard, dataset, tmp_path):
    call("calibrate", yard/"run", dataset, "--false-alarms-per-hour", 60).fails(1, "clip 01", "--source-fps")
    before = (yard/"run"/"model.safetensors").read_bytes()
    for fps in (-25, 0, "nan", "inf"): call("calibrate", yard/"run", dataset, "--false-alarms-per-hour", 60, "--source-fps", fps).fails(1, "frames a second must be a positive number")
    (tmp_path/"only"/"test").mkdir(parents=True)
    shutil.copy(next((yard/"quiet").iterdir()), tmp_path/"only"/"test")
    call("calibrate", yard/"run", tmp_path/"only", "--false-alarms-per-hour", 60).fails(1, "scene only", "no normal clips", "train/")
    assert (yard/"run"/"model.safetensors").read_bytes() == before
    call("calibrate", yard/"run", yard/"quiet", "--false-alarms-per-hour", 0).fails(1, "positive number")
    call("calibrate", yard/"run", yard/"quiet").fails(2, "--false-alarms-per-hour")
    call("calibrate", "plaza", yard/"quiet", "--false-alarms-per-hour", 60).fails(2, "--out")
    call("calibrate", yard/"nothing", yard/"quiet", "--false-alarms-per-hour", 60).fails(1, "no such model file")
    (tmp_path/"m.onnx").write_bytes(b"x")
    call("calibrate", tmp_path/"m.onnx", yard/"quiet", "--false-alarms-per-hour", 60).fails(2, "export it again")

def test_events_with_pictures_and_videos(alarms, week):
    events = pd.read_csv(alarms/"events.csv")
    assert list(events) == ["clip", "start", "end", "peak", "score", "x1", "y1", "x2", "y2"]
    event, = events.itertuples()
    assert event.clip == "tuesday" and event.start <= ANOMALY[0] + 8 and event.end >= ANOMALY[1] - 8 and event.start <= event.peak <= event.end
    assert event.x1 < 60 and event.x2 > 30 and event.y1 < 44 and event.y2 > 20          # it meets the square, in the source's pixels
    scores = pd.read_csv(alarms/"scores.csv").query("clip == 'tuesday'").smoothed.to_numpy()
    level = json.loads((alarms/"score.json").read_text())["levels"]["tuesday"]
    assert (np.flatnonzero(scores > level)[[0, -1]] == (event.start, event.end)).all() and scores.max() == pytest.approx(event.score)
    assert sorted(f.name for f in (alarms/"events").iterdir()) == [f"tuesday-{event.start}.jpg", f"tuesday-{event.start}.mp4"]
    assert not (alarms/"video").exists()
    assert cv2.imread(str(alarms/"contact.jpg")).shape[1] == 240
    peak = cv2.imread(str(alarms/"events"/f"tuesday-{event.start}.jpg"))
    original = next(f for i, f in enumerate(Clip(week/"tuesday.mp4").frames()) if i == event.peak)[..., ::-1]
    outside = np.ones(peak.shape[:2], bool); outside[max(0, event.y1 - 3):event.y2 + 3, max(0, event.x1 - 3):event.x2 + 3] = False
    assert np.abs(peak.astype(int) - original)[outside].mean() < 6                      # that frame, but for the outline

def test_what_an_earlier_run_left_goes_and_nothing_else(alarms, yard, calibrated, week, tmp_path):
    out = tmp_path/"scores"
    call("score", yard/"level.safetensors", week, "--out", out).works()
    (out/"events"/"mine.txt").write_text("keep")
    assert len(list((out/"events").iterdir())) == 2
    detector = Detector.load(calibrated)
    detector.calibration["level"] = 9.
    detector.save(tmp_path/"deaf.safetensors")
    call("score", tmp_path/"deaf.safetensors", week, "--out", out).works()
    assert [f.name for f in (out/"events").iterdir()] == ["mine.txt"] and not (out/"contact.jpg").exists() and len(pd.read_csv(out/"events.csv")) == 0
    shown = call("evaluate", out/"scores.csv", week, "--labels", labels_for(tmp_path)).works().out
    assert "0 of 1 anomalous stretches found, 0 of 0 events" in shown
    assert "Nothing was above the level" in (call("report", out).works() and (out/"report.html").read_text())

def labels_for(folder, rows=f"tuesday,{ANOMALY[0]},{ANOMALY[1]}"):
    (folder/"mine.csv").write_text(f"clip,first,last\n{rows}\n")
    return folder/"mine.csv"

def test_own_labels(alarms, week, tmp_path):
    shown = call("evaluate", alarms/"scores.csv", week, "--labels", labels_for(tmp_path)).works().out
    assert "1 of 1 anomalous stretches found, 1 of 1 events meet one, 0.0 false ones an hour" in shown and "micro" in shown
    report = json.loads((alarms/"report.json").read_text())
    assert report["alarms"]["events"]["recall"] == 100 and report["anomalous"] == ANOMALY[1] - ANOMALY[0] + 1
    call("evaluate", alarms/"scores.csv", week, "--labels", labels_for(tmp_path, "monday,0,39")).works()
    assert json.loads((alarms/"report.json").read_text())["alarms"]["events"] == dict(precision=0., recall=0., events=1, right=0, anomalies=1, found=0)
    call("evaluate", alarms/"scores.csv", week, "--labels", labels_for(tmp_path, "friday,0,1")).fails(1, "clip friday")
    call("evaluate", alarms/"scores.csv", week, "--labels", labels_for(tmp_path, "monday,0,99")).fails(1, "monday", "40 frames")
    call("evaluate", alarms/"scores.csv", week, "--labels", tmp_path/"none.csv").fails(1, "none.csv")
    call("evaluate", alarms/"scores.csv", week).fails(1, "no labels")
    (week/"labels.csv").write_text(f"clip,first,last\ntuesday.mp4,{ANOMALY[0]},{ANOMALY[1]}\n")       # found by itself
    try: call("evaluate", alarms/"scores.csv", week).works()
    finally: (week/"labels.csv").unlink()

def test_a_benchmark_gets_whole_videos_and_alarms(scored, dataset):
    assert (scored/"events.csv").exists() and len(list((scored/"video").iterdir())) == 2
    assert "anomalous stretches found" in call("evaluate", scored/"scores.csv", dataset).works().out

def test_drift_is_said_once(yard, calibrated, tmp_path):
    detector = Detector.load(calibrated)
    detector.calibration |= dict(usual=[0., 1e-6, 200], level=9.)
    detector.save(tmp_path/"m.safetensors")
    write_movie(tmp_path/"long"/"c.mp4", np.concatenate([footage(5, n=170)[0]] * 20))                 # 170 s at 20 frames a second
    result = call("score", tmp_path/"m.safetensors", tmp_path/"long", "--out", tmp_path/"out").works(warnings=1)
    assert "15 of the last 15 medians" in result.warnings[0] and "ddl calibrate" in result.warnings[0] and "ddl: warning: c:" in result.warnings[0]

def test_the_page_stands_alone(alarms):
    assert call("report", alarms).works().out.strip() == str(alarms/"report.html")
    page = (alarms/"report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(", page) and page.count("data:image/jpeg;base64,") == 1
    assert "tuesday: 1 event" in page and "prefers-color-scheme: dark" in page and "60 an hour" in page

def test_report_refuses(yard, tmp_path):
    call("report", yard/"week").fails(1, "neither scores.csv nor events.jsonl")
    (tmp_path/"scores.csv").write_text("clip,frame\n1,2\n")
    call("report", tmp_path).fails(1, "scores.csv", "is missing")
