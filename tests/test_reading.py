"""Reading is one decision in one place: what a source is, which of its files are taken, in which
order, at which rate, how turned, how scaled, and what is left out, with the reason."""
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import TINY, call, footage, truth, write_images, write_movie
from ddl_nb.data import Clip
from ddl_nb.layouts import open_source

def quiet(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)

def damage(path, share, size):
    "Overwrite so many bytes of a file, from this share of it on."
    data = bytearray(path.read_bytes())
    at = int(share * len(data))
    data[at:at + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)

# A damaged spot ------------------------------------------------------------------------

def numbered(n):
    "Frames of which each says in white how many have passed: the width of a bar."
    frames = footage(1, n)[0]
    for k, frame in enumerate(frames): frame[:8, :k], frame[:8, k:] = 255, 0
    return frames

def test_frames_behind_a_damaged_spot_keep_their_numbers(tmp_path):
    film = tmp_path/"a.mp4"
    write_movie(film, numbered(90))
    whole = Clip(film).array(channels=1)[..., 0]
    damage(film, .3, len(film.read_bytes()) // 20)
    said = r"a\.mp4: announces 90 frames, \d+ decode; for the lost ones \(\d+ to \d+\)"
    with pytest.warns(UserWarning, match=said):
        clip = Clip(film)
        assert len(clip) == 90
    seen = clip.array(channels=1)[..., 0]
    assert len(seen) == 90
    bars = (seen[:, 2] > 128).sum(1)
    right = (whole[:, 2] > 128).sum(1)
    assert (bars[:20] == right[:20]).all() and (bars[50:] == right[50:]).all()
    for at in (0, 30, 40, 89): assert (clip[at] == clip.array()[at]).all()
    third = clip.part(10, 80)
    third.step = 3
    assert (np.stack([f[..., 0] for f in third.frames(channels=1)]) == seen[10:80:3]).all()

def test_frames_behind_a_damaged_spot_are_read_where_numbers_are_unknown(tmp_path):
    write_movie(tmp_path/"a.avi", numbered(90))
    last = Clip(tmp_path/"a.avi")[-1]
    damage(tmp_path/"a.avi", .3, 6000)
    with pytest.warns(UserWarning, match="missing at the end, or where the file does not tell"):
        clip = Clip(tmp_path/"a.avi")
        assert 80 < len(clip) < 90
    assert (clip[-1] == last).all() and len(clip.array()) == len(clip)

def test_scores_of_a_damaged_video_fit_its_labels(trained, tmp_path):
    film = tmp_path/"yard"/"test"/"c.mp4"
    write_movie(film, np.concatenate([footage(k)[0] for k in range(3)]))
    write_movie(tmp_path/"yard"/"train"/"a.mp4", footage(1)[0])
    (tmp_path/"yard"/"labels.csv").write_text("clip,first,last\nc.mp4,100,119\n")
    damage(film, .3, 2000)
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"s").works(warnings=1)
    assert len((tmp_path/"s"/"scores.csv").read_text().splitlines()) == 121
    assert call("evaluate", tmp_path/"s", tmp_path/"yard").code == 0

# Files of many pictures ----------------------------------------------------------------

def write_stack(path, frames):
    first, *others = map(Image.fromarray, frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    how = dict(lossless=True) if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=40, **how)

@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp"])
def test_a_file_of_many_pictures_is_a_clip(name, trained, tmp_path):
    frames = footage(11, anomaly=True)[0]
    write_stack(tmp_path/"yard"/name, frames)
    for source in (tmp_path/"yard", tmp_path/"yard"/name):
        clip, = open_source(source).scenes[0].train
        assert len(clip) == len(frames) and clip.fps == (None if name == "a.tif" else 25)
        assert np.abs(clip.array().astype(int) - frames).mean() < 8       # a GIF has 256 colours
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"s").works()
    assert len((tmp_path/"s"/"scores.csv").read_text().splitlines()) == len(frames) + 1

def test_a_stack_that_is_cut_off_is_named(trained, tmp_path):
    write_stack(tmp_path/"yard"/"a.tif", footage(1)[0])
    data = (tmp_path/"yard"/"a.tif").read_bytes()
    (tmp_path/"yard"/"a.tif").write_bytes(data[:len(data) // 2])
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"s").fails(1, "a.tif")

# How turned, how scaled ----------------------------------------------------------------

@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_pictures_are_turned_as_their_file_says(ending, tmp_path):
    frames, tags = footage(1, 4)[0], Image.Exif()
    tags[0x0112] = 6                                          # a phone held upright
    for k, frame in enumerate(frames):
        Image.fromarray(np.rot90(frame)).save(tmp_path/f"{k}{ending}", exif=tags, quality=95)
    clip = Clip(tmp_path)
    assert clip.size == frames.shape[1:3]
    assert np.abs(clip.array().astype(int) - frames).mean() < 6

@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("stack", [False, True])
def test_the_bits_in_use_are_scaled_alike_in_the_whole_clip(bits, stack, tmp_path):
    frames = footage(1, 12)[0][..., 0]
    frames[0] //= 4                                           # it begins in the dark
    deep = frames.astype(np.uint16) << (bits - 8)
    if stack: assert cv2.imwritemulti(str(tmp_path/"a.tif"), list(deep))
    else: write_images(tmp_path/"a", deep, ".tif")
    clip = Clip(tmp_path/("a.tif" if stack else "a"))
    assert (clip.array(channels=1)[..., 0] == frames).all()

def test_a_picture_of_floats_is_named(tmp_path):
    (tmp_path/"cam").mkdir()
    for k in range(3): Image.fromarray(np.zeros((32, 48), np.float32)).save(tmp_path/f"cam/{k}.tif")
    call("fit", tmp_path/"cam", "--out", tmp_path/"m", *TINY).fails(1, "0.tif", "float32", "8 and 16")
    call("info", tmp_path/"cam").fails(1, "0.tif", "float32")
