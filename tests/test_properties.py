"""Whatever a file holds: the right content, or one line that names the file.

hypothesis draws clips, names and damage. The draws are the same in every run; other and more of
them come with `HYPOTHESIS_PROFILE=long pytest tests/test_properties.py`, which takes many minutes
(and takes `--hypothesis-seed=N`)."""
import contextlib, json, os, shutil, tempfile, unicodedata, warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from conftest import write_images
from ddl_nb.ablations import read_grid
from ddl_nb.alarms import read_maps
from ddl_nb.data import Clip, Scene, load_masks
from ddl_nb.detector import Detector
from ddl_nb.layouts import open_source, read_stretches
from ddl_nb.page import watched_page
from ddl_nb.results import Results, score_scenes
from ddl_nb.running import DDLError, cached
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
def a_damaged(file, folder, damage):
    "For so long, the file in a copy of the folder; of a folder of pictures, one is damaged."
    with tempfile.TemporaryDirectory() as place:
        copy = shutil.copytree(folder, Path(place, "copy"))/file.relative_to(folder)
        hurt = sorted(copy.iterdir())[1] if copy.is_dir() else copy
        hurt.write_bytes(damaged(hurt.read_bytes(), damage))
        yield copy

def result_of(read, file):
    "What a reader makes of it; None where it refuses it in one line that names it."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return read(file)
    except DDLError as e:
        name = r"\n".join(str(file).splitlines())
        assert name in str(e) and len(str(e).splitlines()) == 1, str(e)


# Clips ----------------------------------------------------------------------------------

H, W, N = 32, 48, 12
VIDEOS = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "XVID", ".ts": "mp4v",
          ".webm": "VP80", ".wmv": "WMV2", ".mpg": "mp4v"}
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

def same(some, others): return np.array_equal(list(some), list(others))

def same_number(some, others):
    """All that is promised of a damaged video: FFmpeg's threads paint what is lost now from this
    frame, now from that."""
    return len(some) == len(others)

def frames_of(path, same=same):
    "All frames, after everything that one reading promises of another has been checked."
    clip = Clip(path)
    frames = list(clip.frames())
    assert len(frames) == len(clip) > 0
    again = Clip(path)
    for start in (0, len(clip) // 2, len(clip) - 1):
        assert same(list(again.frames(start=start)), frames[start:])
    assert same(cached(Clip(path), (16, 24)), clip.array((16, 24)))
    assert repr(clip) and (clip.fps is None or clip.fps > 0)
    assert {(f.shape, f.dtype) for f in frames} == {((*clip.size, 3), np.dtype(np.uint8))}
    return frames

@given(st.sampled_from(FORMS), st.integers(4, 20), st.integers(8, 40), st.integers(8, 40),
       st.integers(1, 60))
@example(".wmv", 4, 8, 8, 1)                     # says that it has 1000 frames a second
def test_a_clip_is_read_as_it_was_written(form, n, h, w, fps):
    frames = numbered(n, 2 * h, 2 * w)
    with tempfile.TemporaryDirectory() as folder:
        path = write_form(form, Path(folder), frames, fps)
        read = frames_of(path)
        assert told(read) == list(range(n))
        assert np.abs(np.int16(read) - frames).mean() < NEAR
        if form in VIDEOS: assert abs((Clip(path).fps or fps) - fps) < .1 * fps

@given(damage=damages)
@example(damage=("overwritten", 6, b"\xff\xff\xff\xff"))   # a GIF of 65535 x 65535
def test_a_damaged_clip(whole, damage):
    reading = same_number if whole.suffix in VIDEOS else same
    with a_damaged(whole, whole.parent, damage) as copy:
        result_of(partial(frames_of, same=reading), copy)


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
@example(name=".\n")
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


# Everything else that is read -----------------------------------------------------------

def score_by(file):
    detector = Detector.load(file)
    assert len(detector.score(CLIP).frames) == N and detector.threshold < np.inf

def resume(file):
    Trainer(Scene("a", [CLIP]), Settings(**SETTINGS), file.parent, resume=True)

def read_results(file):
    results = Results.read(file.parent)
    for scene in results.scenes:
        for raw, smoothed in results.clips(scene).values(): assert raw.shape == smoothed.shape
    for event in results.events.itertuples(): assert isinstance(event.clip, str)

def read_truth(file):
    "Labels and masks of the dataset in which the file lies."
    root = next(folder for folder in file.parents if (folder/"root").exists())
    for scene in open_source(root).scenes:
        scene.check()
        for clip in scene.test:
            assert set(np.unique(scene.labels[clip.name])) <= {0, 1}
            for masks in filter(None, [scene.masks.get(clip.name)]):
                assert len(load_masks(masks, (16, 24))) == len(clip)

def objects_in(file):
    for row in read_objects(file, [CLIP]).itertuples():
        assert row.clip == "a" and 0 <= row.frame < N and 0 <= row.x1 < row.x2 <= W

def stretches_in(file):
    for clip, first, last in read_stretches(file):
        assert isinstance(clip, str) and int(first) == first and int(last) == last

def ignored_in(file): assert read_ignore(str(file), [CLIP], (16, 24)).shape == (16, 24)

def grid_in(file):
    source, runs = read_grid(file)
    assert isinstance(source, str) and all(isinstance(s, Settings) for s in runs.values())

def maps_in(file): assert read_maps(file).ndim == 3

def page_of(file): assert watched_page(file.parent).figures

CLIP = Clip(numbered(N), "a")
SETTINGS = dict(regime="recon", height=H, latent=8, epochs=.1, batch=2, average=0.)
RANGES = "clip,first,last\na,2,5\na,7,7\n"
READERS = {
    "model/model.safetensors": score_by, "model/checkpoint.pt": resume,
    "scores/score.json": read_results, "scores/scores.csv": read_results,
    "scores/events.csv": read_results, "scores/maps/a.npy": maps_in,
    "ranges/labels.csv": read_truth, "cells/testing/gt.mat": read_truth,
    "arrays/testing/frame_labels/a.npy": read_truth,
    "arrays/testing/test_pixel_mask/a.npy": read_truth,
    "lists/testing/frame_labels.json": read_truth, "ucsd/Test/y.m": read_truth,
    "avenue/testing_label_mask/1_label.mat": read_truth,
    "tables/objects.csv": objects_in, "tables/strangest.csv": stretches_in,
    "tables/ignore.png": ignored_in, "tables/grid.toml": grid_in, "tables/events.jsonl": page_of}

@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    "A folder in which all of them are."
    folder = tmp_path_factory.mktemp("all")
    for file in READERS: (folder/file).parent.mkdir(parents=True, exist_ok=True)
    scene, model = Scene("a", [CLIP]), folder/"model"
    detector = Detector.fit(scene, Settings(**SETTINGS), model, progress=False)
    detector.scale.q99 = 0.                             # everything is an event
    score_scenes(detector, [Scene("a", [], [CLIP])], folder/"scores", maps=True, say=str)
    clips = [f"{name}/testing/frames/a" for name in ("cells", "arrays", "lists")]
    for clip in [*clips, "ranges/a", "ucsd/Test/Test001"]:
        write_images(folder/clip, numbered(N), ".png")
    for name in ("cells", "arrays", "lists", "ranges", "ucsd", "avenue"):
        (folder/name/"root").touch()
    for part in ("training", "testing"):
        (folder/"avenue"/f"{part}_videos").mkdir()
        write_video(folder/"avenue"/f"{part}_videos"/"01.avi", numbered(N))
    labels, masks = np.zeros(N, int), np.zeros((N, H, W), np.uint8)
    labels[2:6], masks[2:6, 8:20, 8:20] = 1, 1
    cells = lambda values: np.array([*values, None], object)[:-1]
    savemat(folder/"cells"/"testing"/"gt.mat", dict(gt=cells([np.array([[3, 8], [6, 8]])])))
    savemat(folder/"avenue"/"testing_label_mask"/"1_label.mat", dict(volLabel=cells(masks)))
    np.save(folder/"arrays"/"testing"/"frame_labels"/"a.npy", labels)
    np.save(folder/"arrays"/"testing"/"test_pixel_mask"/"a.npy", masks > 0)
    texts = {
        "lists/testing/frame_labels.json": json.dumps({"a": labels.tolist()}),
        "ucsd/Test/y.m": "TestVideoFile{end+1}.gt_frame = [3:6, 8];\n",
        "ranges/labels.csv": RANGES, "tables/strangest.csv": RANGES,
        "tables/objects.csv": "clip,frame,x1,y1,x2,y2\na,2,1,2,9,20.5\na,3,1,2,10,20\n",
        "tables/grid.toml": 'source = "plaza"\nseeds = [0, 1]\n[settings]\nlatent = 8\n'
                            '[grid]\nregime = ["recon", "ddl"]\nfps = [2.5, 5]\n',
        "tables/events.jsonl": 2 * (json.dumps(EVENT) + "\n")}
    for file, text in texts.items(): (folder/file).write_text(text)
    cv2.imwrite(str(folder/"tables"/"ignore.png"), 255 * masks[3])
    return folder

EVENT = dict(source="cam", start="2026-05-01T12:00:00+00:00", end="2026-05-01T12:00:03+00:00",
             peak="2026-05-01T12:00:01+00:00", seconds=3., score=.5, threshold=.1,
             frames=[3, 9, 5], snapshot=None, clip=None, cut=False)

@pytest.mark.parametrize("file", READERS)
def test_what_is_whole_is_read(file, everything): READERS[file](everything/file)

def read_damaged(file, everything, damage):
    with a_damaged(everything/file, everything/Path(file).parts[0], damage) as copy:
        result_of(READERS[file], copy)

MATLAB = [file for file in READERS if file.endswith(".mat")]

@pytest.mark.parametrize("file", [file for file in READERS if file not in MATLAB])
@given(damage=damages)
@example(damage=("overwritten", 54, bytes(7)))          # a .npy header that is no Python
@example(damage=("removed", 28, b""))                   # a date that is none
def test_a_damaged_file(file, everything, damage): read_damaged(file, everything, damage)

@pytest.mark.parametrize("file", MATLAB)
@settings(max_examples=settings().max_examples // 5)        # a process each
@given(damage=damages)
@example(damage=("overwritten", 224, b"\x08"))          # crashes SciPy
def test_a_damaged_matlab_file(file, everything, damage): read_damaged(file, everything, damage)

def test_a_row_of_another_clip_is_no_matter(everything, tmp_path):
    text = (everything/"tables"/"objects.csv").read_text()
    (tmp_path/"o.csv").write_text(text + "b,x,y,z,,\n")
    assert objects_in(tmp_path/"o.csv") is None
