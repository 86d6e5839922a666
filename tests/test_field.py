"""Footage as it really comes: each case was seen to crash, to lose frames or to go wrong silently
with what people record."""
import html, os

import numpy as np
import pandas as pd
import pytest

from conftest import TINY, background, call, footage, run, write_images, write_movie
from ddl_nb.data import Clip
from ddl_nb.running import cache_dir

def grained(frames):
    noise = np.random.default_rng(0).normal(0, 3, frames.shape)
    return (frames + noise).clip(0, 255).astype(np.uint8)

def two_videos(folder, a, b):  # frames
    write_movie(folder/"a.mp4", a)
    write_movie(folder/"b.mp4", b)
    return folder

@pytest.mark.parametrize("regime", ["ddl", "recon"])
def test_a_clip_in_which_nothing_moves(regime, tmp_path):
    still = grained(np.stack([background()] * 40))
    folder = two_videos(tmp_path/"yard", footage(1)[0], still)
    call("fit", folder, "--out", tmp_path/"m", "--regime", regime, *TINY).works()
    call("score", tmp_path/"m", folder, "--out", tmp_path/"s").works()

@pytest.mark.parametrize("name", ["cam_$1_$2", "$", "NA", "null", "007", "1e5", "a_{b}^c",
                                  "x" * 230, "-50%03d",
                                  "tab\tline\nend", "日本\u0301 مرحبا", "<b>&#?=1;|'\""])
def test_names_are_text(name, trained, tmp_path):
    "In the report and in every figure, beside another clip."
    write_movie(tmp_path/"yard"/f"{name}.mp4", footage(11, anomaly=True)[0])
    write_movie(tmp_path/"yard"/"other.mp4", footage(1)[0])
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"s").works()
    call("report", tmp_path/"s").works()
    scores = pd.read_csv(tmp_path/"s"/"scores.csv", dtype=str, keep_default_na=False)
    assert set(scores["clip"]) == {name, "other"}
    assert name in html.unescape((tmp_path/"s"/"report.html").read_text())
    assert (tmp_path/"s"/"timeline.png").exists()
    call("info", tmp_path/"yard").works()

@pytest.mark.parametrize("left", [0, 100, .5])
def test_a_cache_that_a_power_cut_left(left, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("DDL_CACHE", str(tmp_path/"cache"))
    folder = two_videos(tmp_path/"yard", footage(1)[0], footage(2)[0])
    fit = "fit", folder, "--regime", "recon", *TINY
    call(*fit, "--out", tmp_path/"m").works()
    for file in cache_dir().glob("*.npy"):
        size = file.stat().st_size
        with open(file, "r+b") as f: f.truncate(int(left * size) if left < 1 else left)
    call(*fit, "--out", tmp_path/"again").works()
    again, first = (tmp_path/m/"model.safetensors" for m in ("again", "m"))
    assert again.read_bytes() == first.read_bytes()

def test_images_named_by_seconds(tmp_path):
    frames = np.stack([np.full((32, 48, 3), 20 * k, np.uint8) for k in range(6)])
    write_images(tmp_path/"a", frames, ".png")
    seconds = "1700000000.0", "1700000000.25", "1700000000.5", "1700000000.75", "1700000001.0"
    for k, name in enumerate(seconds): (tmp_path/"a"/f"{k:03d}.png").rename(tmp_path/f"{name}.png")
    (tmp_path/"a"/"005.png").unlink()
    (tmp_path/"a").rmdir()
    assert [f[0, 0, 0] for f in Clip(tmp_path).frames()] == [0, 20, 40, 60, 80]

@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_pictures_with_bytes_behind_their_end(ending, trained, tmp_path):
    write_images(tmp_path/"yard"/"01", footage(1)[0], ending)
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"s").works()
    for file in (tmp_path/"yard"/"01").iterdir(): file.write_bytes(file.read_bytes() + bytes(3000))
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"again").works()
    scores = [(tmp_path/s/"scores.csv").read_text() for s in ("s", "again")]
    assert scores[0] == scores[1]

def test_the_content_decides_not_the_name(trained, tmp_path):
    write_images(tmp_path/"yard"/"01", footage(1)[0], ".png")
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"s").works()
    for file in (tmp_path/"yard"/"01").iterdir(): file.rename(file.with_suffix(".jpg"))
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"again").works()
    scores = [(tmp_path/s/"scores.csv").read_text() for s in ("s", "again")]
    assert scores[0] == scores[1]
    cut = sorted((tmp_path/"yard"/"01").iterdir())[3]
    cut.write_bytes(cut.read_bytes()[:-200])
    failed = call("score", trained, tmp_path/"yard", "--out", tmp_path/"cut")
    failed.fails(1, cut.name, "cut off")

def test_a_name_that_is_not_utf8_is_one_line(tmp_path):
    "OpenCV takes the process down with it: so it runs in one of its own."
    write_movie(tmp_path/"yard"/"a.mp4", footage(1)[0][:3])
    (tmp_path/"yard"/"a.mp4").rename(os.fsdecode(os.fsencode(tmp_path/"yard") + b"/caf\xe9.mp4"))
    run("info", tmp_path/"yard").fails(1, r"caf\xe9.mp4", "not UTF-8; rename it")
