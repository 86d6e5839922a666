"""Reading is one decision in one place: what a source is, which of its files are taken, in which
order, at which rate, how turned, how scaled, and what is left out, with the reason."""
import unicodedata, warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import TINY, call, footage, truth, write_images, write_movie
from ddl_nb.data import Clip
from ddl_nb.detector import Detector
from ddl_nb.layouts import open_source
from ddl_nb.results import Results, strangest_stretches
from ddl_nb.watch import Recorded

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
    said = r"a\.mp4: announces 90 frames, \d+ decode; lost between them: \d+ \(frames \d+ to \d+"
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
    with pytest.warns(UserWarning, match="missing at the end, or where no time tells it"):
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
    assert f"clip {clip.name}: turned as its file says" in call("info", tmp_path).works().out
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
    said = f"clip a: of 16 bits {bits} are in use, scaled to 8"
    assert said in call("info", tmp_path/("a.tif" if stack else "a")).works().out

def test_16_bits_are_scaled_as_in_training(tmp_path):
    "One hot object does not make its whole clip darker than all others, nor does watching it."
    deep = footage(1)[0][..., 0].astype(np.uint16) << 4
    hot = deep.copy()
    hot[20:, :8, :8] = 5000
    for name, frames in (("normal", deep), ("hot", hot)):
        write_images(tmp_path/name/name, frames, ".tif")
    call("fit", tmp_path/"normal", "--out", tmp_path/"m", "--regime", "recon", *TINY).works()
    detector = Detector.load(tmp_path/"m")
    normal, hot = (Clip(tmp_path/name/name) for name in ("normal", "hot"))
    assert (detector.bits, normal.bits, hot.bits) == (12, 12, 14)
    a, b = (detector.score(clip).frames for clip in (normal, hot))
    np.testing.assert_allclose(a[:15], b[:15])
    watched = next(Recorded(hot.of_depth(detector.bits)).frames(False)).picture
    np.testing.assert_array_equal(watched, normal[0])
    _, pictures = strangest_stretches(detector, [hot], 1)
    assert np.median(pictures[0]) > .8 * np.median(normal.array())      # not a fourth of it
    call("fit", tmp_path/"hot", "--out", tmp_path/"more", "--from", tmp_path/"m",
         "--epochs", ".3").works()
    assert Detector.load(tmp_path/"more").bits == 12

def test_names_of_a_mac(tmp_path):
    name = "Einfahrt größe"
    write_movie(tmp_path/"test"/f"{unicodedata.normalize('NFD', name)}.mp4", footage(1)[0])
    (tmp_path/"labels.csv").write_text(f"clip,first,last\n{name},3,5\n")
    scene, = open_source(tmp_path).scenes
    assert scene.labels[scene.test[0].name].sum() == 3

def test_the_timeline_of_many_clips_shows_the_strangest(trained, tmp_path):
    for k in range(62): write_images(tmp_path/"night"/f"{k:02}", footage(1, 3)[0][:, :32, :48])
    with warnings.catch_warnings(action="ignore"):
        call("score", trained, tmp_path/"night", "--out", tmp_path/"s")
    results = Results.read(tmp_path/"s")
    peaks = {name: scores.max() for name, (_, scores) in results.clips().items()}
    assert len(peaks) == 62
    results._scores[0].loc[results._scores[0]["clip"] == "61", "smoothed"] += 1
    shown = {ax.get_title() for ax in results.timeline().axes}
    assert len(shown) == 60 and "61" in shown

def test_a_picture_of_floats_is_named(tmp_path):
    (tmp_path/"cam").mkdir()
    floats = Image.fromarray(np.zeros((32, 48), np.float32))
    for k in range(3): floats.save(tmp_path/f"cam/{k}.tif")
    fitted = call("fit", tmp_path/"cam", "--out", tmp_path/"m", *TINY)
    fitted.fails(1, "0.tif", "float32", "8 and 16")
    call("info", tmp_path/"cam").fails(1, "0.tif", "float32")

# What a source is, and what is left out ------------------------------------------------

def test_clips_in_sub_folders(trained, tmp_path):
    yard = tmp_path/"yard"
    write_movie(yard/"train"/"a.mp4", footage(1)[0])
    write_movie(yard/"test"/"theft"/"c.mp4", footage(11, anomaly=True)[0])
    write_movie(yard/"test"/"quiet"/"monday"/"c.mp4", footage(12)[0])
    (yard/"labels.csv").write_text("clip,first,last\ntheft/c.mp4,15,25\n")
    call("score", trained, yard, "--out", tmp_path/"s").works()
    rows = (tmp_path/"s"/"scores.csv").read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {"theft_c", "quiet_monday_c"}
    scene, = open_source(yard).scenes
    assert (scene.labels["theft_c"] == truth()).all() and not scene.labels["quiet_monday_c"].any()

def test_no_training_clip_is_scored_for_want_of_a_test_clip(trained, tmp_path):
    write_movie(tmp_path/"yard"/"train"/"a.mp4", footage(1)[0])
    (tmp_path/"yard"/"test"/"theft").mkdir(parents=True)
    (tmp_path/"yard"/"test"/"theft"/"notes.txt").write_text("c.mp4 is still to come")
    failed = call("score", trained, tmp_path/"yard", "--out", tmp_path/"s")
    failed.fails(1, "test: no clip to test on", "remove the folder")

CONTAINERS = {"a.mp4": "mp4v", "b.ts": "mp4v", "c.flv": "FLV1", "d.m4v": "mp4v", "e.mkv": "mp4v",
              "f.3gp": "mp4v", "g.wmv": "WMV2", "h.mpg": "MPG1", "i": "mp4v", "j.dav": "MJPG",
              "k.avi": "MJPG", "l.mov": "mp4v", "m.asf": "WMV2", "n.m2ts": "mp4v"}

def write_container(path, frames, code):
    "By OpenCV, which knows most endings; what it does not know is renamed."
    other = {".dav": ".avi", "": ".mp4", ".m2ts": ".ts"}.get(path.suffix, path.suffix)
    height, width = frames.shape[1:3]
    film = path.with_name(f"{path.stem}_written{other}")
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*code), 25, (width, height))
    if not writer.isOpened(): return pytest.skip(f"this OpenCV writes no {path.suffix}")
    for frame in frames: writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    film.rename(path)

@pytest.mark.parametrize("name", CONTAINERS)
def test_whatever_opencv_decodes_is_taken(name, tmp_path):
    write_container(tmp_path/name, footage(1)[0], CONTAINERS[name])
    for source in (tmp_path, tmp_path/name):
        clip, = open_source(source).scenes[0].train
        assert clip.name == name.split(".")[0] and 36 <= quiet(len, clip) <= 41

LITTER = (".DS_Store", "._a.mp4", "Thumbs.db", "desktop.ini", "@eaDir/a.mp4/SYNOVIDEO.jpg", "a.srt",
          "labels.json", "a.csv", "a.txt", "a.xml", "README", "classes.names", "a.thm", "a.mp3")

def test_litter_is_said_by_info_and_disturbs_nothing(tmp_path):
    yard = two_clips(tmp_path/"yard")
    for name in LITTER:
        (yard/name).parent.mkdir(parents=True, exist_ok=True)
        (yard/name).write_text("no footage, and no picture")
    names = [c.name for c in quiet(open_source, yard).scenes[0].train]
    assert names == ["a", "b"]
    said = call("info", yard).works().out
    line, = [line for line in said.splitlines() if line.startswith("no footage: ")]
    for name in (".DS_Store", "._*", "*.db", "*.ini", "@eaDir/", "*.srt", "*.json", "*.csv"):
        assert name in line
    assert "left out: classes.names (no frame of it can be decoded)" in said

def two_clips(folder):
    for k, name in enumerate("ab"): write_movie(folder/f"{name}.mp4", footage(k)[0])
    return folder

def test_what_looks_like_footage_and_is_left_out_is_named(trained, tmp_path):
    yard = two_clips(tmp_path/"yard")
    write_images(yard/"thumbnails", footage(1, 3)[0])
    cv2.imwrite(str(yard/"a.jpg"), footage(1, 1)[0][0])
    (yard/"c.dav").write_bytes(np.random.default_rng(0).bytes(5000))
    why = ("a.jpg (pictures, and the clips here are recordings)", "thumbnails/3 *.jpg (pictures,",
           "c.dav (no frame of it can be decoded)")
    said = call("info", yard).works().out
    for words in why: assert f"left out: {words}" in said
    fitted = call("fit", yard, "--out", tmp_path/"m", "--regime", "recon", *TINY)
    scored = call("score", trained, yard, "--out", tmp_path/"s")
    for result in (fitted, scored):
        line, = result.works(warnings=1).warnings
        for words in why: assert words in line

def test_a_preview_among_pictures_is_no_clip(tmp_path):
    write_images(tmp_path/"yard", footage(1)[0], ".png")
    write_stack(tmp_path/"yard"/"preview.gif", footage(1, 5)[0])
    with pytest.warns(UserWarning, match="left out: preview.gif"):
        clip, = open_source(tmp_path/"yard").scenes[0].train
    assert len(clip) == 40

@pytest.mark.parametrize("own", [1, 5])
def test_previews_below_or_beside_pictures(own, tmp_path):
    write_images(tmp_path/"yard", footage(1, own)[0])
    write_images(tmp_path/"yard"/"more", footage(2, 4)[0])
    with pytest.warns(UserWarning, match="left out: .*in no clip of the layout images"):
        clip, = open_source(tmp_path/"yard").scenes[0].train
    assert (clip.name, len(clip)) == (("yard", 5) if own == 5 else ("more", 4))

@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("usual", [True, False])
def test_normal_and_abnormal_as_people_mean_them(masks, usual, trained, tmp_path):
    weld = tmp_path/"weld"
    frames, truths = footage(11, anomaly=True)
    write_images(weld/"normal", footage(1)[0])
    write_images(weld/"abnormal", frames)
    if masks: write_images(weld/"mask", truths, ".png")
    if usual: write_images(weld/"normal_test", footage(2, 10)[0])
    scene, = open_source(weld).scenes
    assert [c.name for c in scene.train] == ["normal"]
    assert [c.name for c in scene.test] == ["abnormal"] + ["normal_test"] * usual
    assert (scene.labels["abnormal"] == (truth() if masks else 1)).all()
    assert ("abnormal" in scene.masks) == masks
    if usual: assert not scene.labels["normal_test"].any()
    if masks:
        call("score", trained, weld, "--out", tmp_path/"s").works()
        call("evaluate", tmp_path/"s", weld).works()

def test_good_and_broken_with_their_masks(tmp_path):
    part = tmp_path/"bottle"
    frames, truths = footage(11, anomaly=True)
    write_images(part/"train"/"good", footage(1)[0])
    write_images(part/"test"/"good", footage(2, 10)[0])
    write_images(part/"test"/"broken", frames)
    write_images(part/"ground_truth"/"broken", truths, ".png")
    scene, = open_source(part).scenes
    assert {name: int(l.sum()) for name, l in scene.labels.items()} == {"good": 0, "broken": 11}

# Ranges, rates -------------------------------------------------------------------------

def matlab_dataset(root, *cells):
    from scipy.io import savemat
    write_images(root/"training"/"frames"/"01", footage(1, 4)[0])
    for k in range(len(cells)): write_images(root/"testing"/"frames"/f"{k:02d}", footage(k)[0])
    gt = np.empty((1, len(cells)), object)
    for k, cell in enumerate(cells): gt[0, k] = np.array(cell)
    savemat(root/"square.mat", {"gt": gt})
    return root

def test_ranges_by_rows_and_by_columns(tmp_path):
    cells = ([1, 8], [5, 9]), ([1, 5], [8, 9]), ([1, 5], [8, 9], [11, 40]), ([7], [9]), ([7, 9],)
    with pytest.warns(UserWarning, match="clip 01: the ranges are read as the rows"):
        scene, = open_source(matlab_dataset(tmp_path/"d", *cells)).scenes
    assert [int(scene.labels[f"{k:02d}"].sum()) for k in range(5)] == [7, 7, 37, 3, 3]

@pytest.mark.parametrize("cell", [[[1, 5, 8, 9]], [[5, 1], [9, 8]], [[1], [5], [8]], [[1, 50]]])
def test_a_cell_that_holds_no_ranges_is_an_error(cell, tmp_path):
    root = matlab_dataset(tmp_path/"d", ([1], [5]), cell)
    call("info", root).fails(1, "square.mat", "01")

def with_rate(path, fps):
    "A video whose header says so many frames a second."
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (96, 64))
    for frame in footage(1)[0]: writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()

@pytest.mark.parametrize("rate", [1000, 90000, .05])
def test_a_rate_that_no_camera_has_is_unknown(rate, trained, tmp_path):
    (tmp_path/"yard").mkdir()
    with_rate(tmp_path/"yard"/"a.avi", rate)
    clip = Clip(tmp_path/"yard"/"a.avi")
    with pytest.warns(UserWarning, match="says .* frames a second, which no camera has.*fps="):
        assert clip.fps is None
    assert Clip(tmp_path/"yard"/"a.avi", fps=12).fps == 12
    said = call("info", tmp_path/"yard").works(warnings=1)
    assert "40 frames" in said.out and "the rate is unknown" in said.out
    fit = "fit", tmp_path/"yard", "--out", tmp_path/"m", "--regime", "recon", *TINY
    call(*fit, "--fps", "5").fails(1, "unknown")
    call("score", trained, tmp_path/"yard", "--out", tmp_path/"s").works(warnings=1)

@pytest.mark.parametrize("rate", [.1, 1, 29.97, 120, 240])
def test_a_rate_that_a_camera_has_is_believed(rate, tmp_path):
    with_rate(tmp_path/"a.avi", rate)
    assert Clip(tmp_path/"a.avi").fps == pytest.approx(rate, rel=.01)

def test_what_our_commands_have_written_is_no_footage(trained, tmp_path):
    yard = two_clips(tmp_path/"yard")
    call("fit", yard, "--out", yard/"m", "--regime", "recon", *TINY).works()
    call("score", yard/"m", yard, "--out", yard/"s", "--video").works()
    call("score", yard/"m", yard, "--out", tmp_path/"again").works()
    assert [c.name for c in open_source(yard).scenes[0].train] == ["a", "b"]

def test_what_info_has_drawn_is_no_footage(tmp_path):
    for name in ("a", "b"): write_images(tmp_path/"yard"/name, footage(1)[0])
    call("info", tmp_path/"yard", "--out", tmp_path/"yard"/"info").works()
    assert [c.name for c in open_source(tmp_path/"yard").scenes[0].train] == ["a", "b"]

def test_a_folder_of_labels_beside_folders_of_pictures(tmp_path):
    for name in ("01", "02"): write_images(tmp_path/"yard"/name, footage(1, 4)[0])
    (tmp_path/"yard"/"labels").mkdir()
    (tmp_path/"yard"/"labels"/"000.txt").write_text("0 .5 .5 .1 .1")
    write_images(tmp_path/"yard"/"masks"/"01", footage(1, 4)[1], ".png")
    with pytest.warns(UserWarning, match=r"masks/01/4 \*.png"):
        scene, = open_source(tmp_path/"yard").scenes
    assert [c.name for c in scene.train] == ["01", "02"]

def test_abnormal_alone_is_not_trained_on(tmp_path):
    write_images(tmp_path/"weld"/"abnormal", footage(1, 4)[0])
    write_images(tmp_path/"weld"/"mask", footage(1, 4)[1], ".png")
    fitted = call("fit", tmp_path/"weld", "--out", tmp_path/"m", *TINY)
    assert fitted.code == 1 and "weld" in fitted.lines[-1]
