"""Lessons in a real browser: run by a student, explorers moved by keyboard and by mouse,
pages read without a kernel. tests/screenshots/ keeps what was seen."""
import re
from base64 import b64decode

import cv2
import numpy as np
import pytest

pytest.importorskip("playwright",
                    reason="playwright is not installed: pip install -e '.[dev]'")
from lab import CHROMIUM, LONG, Notebook, Shown, chromium, excerpt, expect, jupyterlab

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed: "
                                                     "apt-get install chromium")

@pytest.fixture(scope="module")
def folder(tmp_path_factory): return tmp_path_factory.mktemp("lab")

@pytest.fixture(scope="module")
def lab(folder):
    with jupyterlab(folder) as server: yield server

@pytest.fixture(scope="module")
def browser():
    with chromium() as b: yield b

@pytest.fixture
def notebook(browser, lab, folder):
    """Opens a notebook of the copy; with `parts`, only the cells that hold one of them, with the
    replacements of `shorter`."""
    opened = []
    nbs = folder/"nbs"
    def open_(path, *parts, shorter={}):
        if parts: path = excerpt(nbs/path, *parts, shorter=shorter).relative_to(nbs)
        opened.append(Notebook(browser, lab, path))
        return opened[-1]
    yield open_
    for o in opened: o.close()


# Two lessons, whole ---------------------------------------------------------------------

def test_lesson_3_run_whole(notebook):
    lesson = notebook("course/03_pseudo.ipynb")
    lesson.run_all()
    assert lesson.verdicts() == ["not yet"] * 8
    check_clip_player(lesson)
    check_pseudo_bench(lesson)

    blend = "def blend(X, M, A, sigma):\n    return "
    wrong = lesson.answer(blend, "(1 - sigma) * X + sigma * A", "check_3_3(")
    assert wrong.startswith("wrong: you disturb the whole frame")
    lesson.shot("03_wrong", lesson.cell("check_3_3("))
    right = lesson.answer(blend, "X + M * sigma * (A - X)", "check_3_3(")
    assert right.startswith("right: ")
    assert sorted(lesson.verdicts()) == ["not yet"] * 7 + ["right"]

def check_clip_player(lesson):
    player = Shown(lesson, lesson.cell("clip_player(clip, objects)"))
    assert player.nameless() == []
    player.press("slider", "frame", "ArrowRight", "ArrowUp", says="frame 32 of 120, ")
    player.press("slider", "frame", "PageUp", "ArrowLeft", says="frame 36 of 120, ")
    lesson.shot("03_clip_player", player.cell)
    player.press("checkbox", "boxes", "Space")
    player.click("checkbox", "tracks")
    lesson.until(lambda: player.note == "frame 36 of 120")

def check_pseudo_bench(lesson):
    bench = Shown(lesson, lesson.cell("pseudo_bench(detector"))
    assert bench.nameless() == []
    bench.press("slider", "anomaly weight", "Home", says="L_dist = 1.000 (pixel), 1.000 (norm)")
    bench.drag("anomaly weight", .7, says="rebuilt closer to normal")
    assert .6 < float(bench.typed("anomaly weight")) < .8
    lesson.shot("03_pseudo_bench", bench.cell)
    at = bench.typed("frame")
    bench.press("slider", "frame", "ArrowRight")
    # the next frame in which the object is there
    assert int(bench.typed("frame")) > int(at)
    bench.press("combobox", "object", "ArrowDown")
    bench.choose("object", "object 17")


def test_lesson_4_run_whole(notebook):
    lesson = notebook("course/04_distinction.ipynb")
    lesson.run_all()
    assert lesson.verdicts() == ["not yet"] * 8
    check_loss_landscape(lesson)

    distance = "def distance(a, b):\n    return "
    wrong = lesson.answer(distance, "(a - b).norm(dim=0)", "check_4_1(")
    assert wrong.startswith("wrong: you forget the division by sqrt(c)")
    right = lesson.answer(distance, "(a - b).norm(dim=0) / len(a) ** .5", "check_4_1(")
    assert right.startswith("right: ")
    assert sorted(lesson.verdicts()) == ["not yet"] * 7 + ["right"]

def check_loss_landscape(lesson):
    curves = Shown(lesson, lesson.cell("loss_landscape("))
    assert curves.nameless() == []
    curves.press("slider", "anomaly weight", "ArrowRight", "ArrowRight",
                 says="at 0.54: untrained ")
    curves.drag("anomaly weight", .25, says="at {}: untrained ")
    assert .2 < float(curves.typed("anomaly weight")) < .3
    lesson.shot("04_loss_landscape", curves.cell)
    curves.press("combobox", "reading", "ArrowUp")
    curves.choose("reading", "L_dist, ratio of norms")
    curves.press("slider", "frame", "PageDown")
    curves.press("combobox", "object", "End")
    curves.choose("object", "object 6")
    lesson.until(lambda: curves.note.count("lowest near") == 2)      # it grows to its end


# The others' explorers ------------------------------------------------------------------

def test_lesson_1_plays_a_clip(notebook):
    lesson = notebook("course/01_seeing.ipynb", "from dataclasses import", "scene = plaza(",
                      "quiz = dict(", "clip_player(clips")
    lesson.run_all()
    player = Shown(lesson, lesson.cell("clip_player(clips"))
    assert player.nameless() == [] and player.note == "frame 0 of 120, normal"
    player.press("slider", "frame", "End", says="frame 119 of 120, anomalous")
    player.drag("frame", .7, says="frame {} of 120, anomalous")
    lesson.shot("01_clip_player", player.cell)
    player.press("checkbox", "masks", "Space")
    player.click("checkbox", "masks", says="anomalous")

    player.press("slider", "frame", "Home", says="frame 0 of")
    # it plays by itself, until it is paused
    player.press("button", "play or pause", "Space")
    player.changed(lambda: None)
    player.control("button", "play or pause").click()
    player.click("button", "stop", says="frame 0 of")


def test_lesson_2_dissects_the_model(notebook):
    lesson = notebook("course/02_architecture.ipynb", "import time\n", "H, W = ",
                      "detector = Detector.load(", "dissector(detector")
    lesson.run_all()
    layers = Shown(lesson, lesson.cell("dissector(detector"))
    assert layers.nameless() == []
    layers.press("combobox", "layer", "ArrowDown", says="encoder.conv_1.convs.0 (Conv2d): ")
    layers.choose("layer", "encoder.conv_4", says="encoder.conv_4 (ConvBlock): ")
    assert "32 of 32 maps shown" in layers.note
    lesson.shot("02_dissector", layers.cell)
    layers.press("slider", "frame", "ArrowRight")
    layers.drag("frame", .1)
    assert 5 < int(layers.typed("frame")) < 20


def test_lesson_5_watches_a_training(notebook):
    lesson = notebook("course/05_training.ipynb", "RECORDS =", "scene = plaza(",
                      "TrainingMonitor(", shorter={"epochs=4.": "epochs=2."})
    lesson.run_all(wait=False)
    cell = lesson.cell("TrainingMonitor(")
    cell.locator(".ddl-explorer img").wait_for(timeout=LONG)
    monitor = Shown(lesson, cell)
    assert monitor.note == "not training yet" and monitor.nameless() == []
    first = monitor.picture()
    expect(monitor.box).to_contain_text("step ", timeout=LONG)
    assert lesson.running() and monitor.picture() != first    # while the cell runs
    said = re.match(r"step (\d+) of (\d+): ", monitor.note)
    step, steps = map(int, said.groups())
    lesson.shot("05_training_monitor", cell)
    lesson.done()
    assert 0 < step < steps and monitor.note.startswith(f"step {steps} of {steps}: ")
    data = np.frombuffer(b64decode(monitor.picture()), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    _, _, frame, reconstruction = np.array_split(picture, 4, axis=1)
    for panel in (frame, reconstruction): assert (panel < 200).mean() > .2


def test_lesson_6_explores_scores(notebook):
    lesson = notebook("course/06_scoring.ipynb", "RECORDS =", "scene, both = plaza(",
                      "score_explorer(detector",
                      shorter={"plaza(train_clips=1": "plaza(train_clips=0, test_clips=4"})
    lesson.run_all()
    scores = Shown(lesson, lesson.cell("score_explorer(detector"))
    assert scores.nameless() == []
    scores.press("combobox", "clip", "ArrowDown", says="test02, frame 0: ")
    scores.choose("clip", "test04", says="test04, frame 0: ")
    scores.press("slider", "frame", "PageUp", says="test04, frame 5: ")
    assert "truth anomalous" in scores.drag("frame", .5, says="test04, frame {}: ")
    lesson.shot("06_score_explorer", scores.cell)
    scores.press("slider", "threshold", "Home", says=" 0 missed, ")
    scores.press("slider", "threshold", "End", says=" 0 found, ")
    scores.drag("threshold", .4, says="at threshold {}: ")


def test_lesson_7_plays_a_video(notebook):
    shorter = {
        '(("monday", 1), ("tuesday", 2))': "()",
        '(("wednesday", 11), ("thursday", 31))': "()",
        "8, 13, cyclist=.8, flash=4.2, runner=6, bag=10.6": "8, 4, cyclist=.8",
        "76, 5, against=1.5": "76, 1, against=.2",
    }
    lesson = notebook("course/07_camera.ipynb", "import contextlib", "folder = Path(",
                      "for day, key in", "saturday = Clip(", "clip_player(saturday)",
                      shorter=shorter)
    lesson.run_all()
    player = Shown(lesson, lesson.cell("clip_player(saturday)"))
    assert player.nameless() == []
    player.press("slider", "frame", "PageUp", says="frame 5 of")
    player.drag("frame", .5, says="frame {} of")
    lesson.shot("07_clip_player", player.cell)


# Reading --------------------------------------------------------------------------------

def test_a_saved_lesson_shows_its_pictures_without_running_anything(notebook):
    page = notebook("course/solutions/03_pseudo.ipynb")
    cell = page.cell("pseudo_bench(detector")
    cell.scroll_into_view_if_needed()
    image = cell.locator(".jp-OutputArea img")
    image.wait_for()
    assert image.evaluate("i => i.naturalWidth") > 500
    assert cell.locator(".jp-InputPrompt").text_content() == "[ ]:"
    page.shot("03_saved", cell)
    text = page.page.locator(".jp-Notebook").text_content()
    assert "Error displaying widget" not in text
