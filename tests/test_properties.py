"""Whatever a file holds: the right content, or one line that names the file.

hypothesis draws clips, names and damage. The draws are the same in every run; other and more of
them come with `HYPOTHESIS_PROFILE=long pytest tests/test_properties.py`, which takes many minutes
(and takes `--hypothesis-seed=N`)."""
import contextlib, os, shutil, tempfile, unicodedata, warnings
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from ddl_nb.ablations import read_grid
from ddl_nb.alarms import read_maps
from ddl_nb.data import Clip, Scene, load_masks
from ddl_nb.detector import Detector
from ddl_nb.layouts import csv_labels, open_source, read_npy, read_stretches
from ddl_nb.results import Results
from ddl_nb.running import DDLError, cached, read_image
from ddl_nb.training import Settings, Trainer, read_ignore, read_objects

slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
common = dict(deadline=None, suppress_health_check=slow, database=None)
settings.register_profile("short", max_examples=15, derandomize=True, **common)
settings.register_profile("long", max_examples=1000, **common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


# Damage ---------------------------------------------------------------------------------

WORDS = b"nan", b"NaN", b"null", b"-1", b"0", b"1e999", b'"', b"\n", b",", b"{}", b"[]", b"\0"
runs = st.binary(max_size=64) | st.lists(st.sampled_from(WORDS), max_size=8).map(b"".join)
places = st.integers(0, 400) | st.floats(0, 1)          # a byte near the beginning, or a share
damages = st.tuples(st.sampled_from(["cut", "overwritten", "removed", "replaced"]), places, runs)

def damaged(data, damage):
    kind, place, run = damage
    at = min(len(data), place if isinstance(place, int) else int(place * len(data)))
    if kind == "cut": return data[:at]
    if kind == "overwritten": return data[:at] + run + data[at + len(run):]
    if kind == "removed": return data[:at] + data[at + 1 + len(run):]
    return run

@contextlib.contextmanager
def a_damaged(file, damage):
    "A copy of this file, or folder in which one file is damaged, for so long."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, file.name)
        if file.is_dir():
            shutil.copytree(file, copy)
            files = sorted(copy.iterdir())
            hurt = files[len(files) // 2]
        else: hurt = Path(shutil.copy(file, copy))
        hurt.write_bytes(damaged(hurt.read_bytes(), damage))
        yield copy

def result_of(read, file):
    "What a reader makes of it; None where it refuses it in one line that names it."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return read(file)
    except DDLError as e:
        assert str(file) in str(e) and len(str(e).splitlines()) == 1, str(e)


# Clips ----------------------------------------------------------------------------------

H, W, N = 32, 48, 12
VIDEOS = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "XVID", ".ts": "mp4v",
          ".webm": "VP80", ".wmv": "WMV2", ".mpg": "mpg2"}
STACKS = [".tif", ".gif", ".png", ".webp"]
FOLDERS = [".jpg", ".png", ".bmp", ".tif", ".webp", ".gif"]
FORMS = [*VIDEOS, *(f"stack{e}" for e in STACKS), *(f"folder{e}" for e in FOLDERS)]
NEAR = 6              # levels of grey that a codec may be off

def numbered(n, h=H, w=W):
    "Frames whose grey tells which they are, on a texture: uint8 (n, h, w, 3)."
    texture = np.random.default_rng(0).integers(-8, 9, (-(-h // 8), -(-w // 8)))
    texture = cv2.resize(texture.astype(np.int16), (w, h), interpolation=cv2.INTER_NEAREST)
    grey = np.stack([20 + 10 * k + texture for k in range(n)]).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)

def told(frames):
    "Which frames they are, by their mean."
    offset = numbered(1, *frames[0].shape[:2]).mean()
    return [round((frame.mean() - offset) / 10) for frame in frames]

def write_video(path, frames, fps=20):
    size = frames.shape[2], frames.shape[1]
    code = cv2.VideoWriter_fourcc(*VIDEOS[path.suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size)
    if not writer.isOpened(): pytest.skip(f"OpenCV writes no {path.suffix} here")
    for frame in frames: writer.write(frame)
    writer.release()

def write_form(form, folder, frames, fps=20):
    "The path of a clip of this form."
    if form in VIDEOS:
        write_video(folder/f"clip{form}", frames, fps)
        return folder/f"clip{form}"
    kind, ending = form.split(".")
    if kind == "folder":
        (folder/"clip").mkdir()
        for i, frame in enumerate(frames):
            Image.fromarray(frame).save(folder/"clip"/f"{i:02d}.{ending}")
        return folder/"clip"
    first, *rest = map(Image.fromarray, frames)
    first.save(folder/f"clip.{ending}", save_all=True, append_images=rest, duration=50)
    return folder/f"clip.{ending}"

@pytest.fixture(scope="module", params=FORMS)
def whole(request, tmp_path_factory):
    "A clip of every form that is written here."
    return write_form(request.param, tmp_path_factory.mktemp("whole"), numbered(N))

def frames_of(path):
    "All frames, after everything that one reading promises of another has been checked."
    clip = Clip(path)
    frames = list(clip.frames())
    assert len(frames) == len(clip) > 0
    again = Clip(path)
    for start in (0, len(clip) // 2, len(clip) - 1):
        assert np.array_equal(list(again.frames(start=start)), frames[start:])
    assert np.array_equal(cached(Clip(path), (16, 24)), clip.array((16, 24)))
    assert repr(clip) and (clip.fps is None or clip.fps > 0)
    return frames

@given(st.sampled_from(FORMS), st.integers(1, 20), st.integers(8, 40), st.integers(8, 40),
       st.integers(1, 60))
def test_a_clip_is_read_as_it_was_written(form, n, h, w, fps):
    frames = numbered(n, 2 * h, 2 * w)
    with tempfile.TemporaryDirectory() as folder:
        path = write_form(form, Path(folder), frames, fps)
        read = frames_of(path)
        assert told(read) == list(range(n))
        assert np.abs(np.int16(read) - frames).mean() < NEAR
        if form in VIDEOS: assert abs(Clip(path).fps - fps) < .1 * fps

@given(damage=damages)
def test_a_damaged_clip(whole, damage):
    with a_damaged(whole, damage) as copy:
        read = result_of(frames_of, copy)
        if read is None: return
        assert {(f.shape, f.dtype) for f in read} == {(read[0].shape, np.dtype(np.uint8))}


# Names ----------------------------------------------------------------------------------

letters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/")
names = (st.text(letters, min_size=1, max_size=60) | st.text("aé:$%'\"\n -._\\~#*?[]{}", min_size=1)
         ).filter(lambda name: len(name.encode()) < 240)

@pytest.fixture(scope="module")
def two(tmp_path_factory):
    "Recordings of 3 and of 5 frames."
    folder = tmp_path_factory.mktemp("two")
    for n in (3, 5): write_video(folder/f"{n}.avi", numbered(n))
    return folder

@given(name=names)
@example(name="é" * 118)
@example(name="NA")
@example(name="null")
@example(name="-rf")
@example(name="file:x")
@example(name="concat:a|b")
@example(name="%02d")
@example(name="$HOME")
@example(name="a\nb")
@example(name="'\"")
def test_a_name(name, two):
    """It is the clip's, beside another that is written like it, and from the folder itself,
    where `a:b` could be taken for an address."""
    forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    own = dict(zip(dict.fromkeys(f for f in forms if len(f.encode()) < 250), (3, 5)))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for form, n in own.items(): shutil.copy(two/f"{n}.avi", f"{form}.avi")
        for form, n in own.items():
            for path in (f"{form}.avi", Path(folder, f"{form}.avi")):
                read = result_of(frames_of, Path(path))
                assert name.startswith(".") or len(read) == n
        if name.startswith("."): return
        scene, = open_source(folder).scenes
        assert {clip.name: len(clip) for clip in scene.train} == own
