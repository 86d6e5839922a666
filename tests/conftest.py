"""Tiny footage in every form the command line takes, and two ways to call `ddl`: in this process, and as a process of its own."""
import json, os, re, shutil, signal, subprocess, sys, tempfile, warnings
from dataclasses import dataclass
from pathlib import Path

# Before torch: one thread makes runs repeatable and leaves the other core to whoever runs beside us.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "agg"
os.environ["COLUMNS"] = "100"
signal.signal(signal.SIGINT, signal.default_int_handler)     # a shell starts background work, us perhaps, with Ctrl-C ignored, and so would our processes

import ddl_nb.data                                    # before cv2 opens a video: it sets how much ffmpeg prints, which is read once
import cv2
import numpy as np
import pytest
import torch

from process import Process

FRAMES, HEIGHT, WIDTH = 40, 64, 96
ANOMALY = (15, 25)                                    # first and last frame, both anomalous
TINY = ["--height", "32", "--latent", "8", "--epochs", "0.3"]


# Footage ------------------------------------------------------------------------------------------------------------

def footage(seed, n=FRAMES, anomaly=False):
    "A bright and a dark rectangle that cross a textured background; with `anomaly`, a large white square in ANOMALY. Frames and masks."
    texture = np.random.default_rng(99).integers(90, 130, (HEIGHT // 4, WIDTH // 4, 3)).astype(np.uint8)
    empty = cv2.resize(texture, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(seed)
    y1, y2, offset = *rng.integers(5, 40, 2), rng.integers(0, 30)
    frames, masks = np.stack([empty] * n), np.zeros((n, HEIGHT, WIDTH), np.uint8)
    for i in range(n):
        x1, x2 = (offset + 2 * i) % (WIDTH - 12), (offset + 60 - i) % (WIDTH - 10)
        frames[i, y1:y1 + 18, x1:x1 + 10] = 230, 220, 200
        frames[i, y2:y2 + 16, x2:x2 + 9] = 20, 30, 60
        if anomaly and ANOMALY[0] <= i <= ANOMALY[1]:
            frames[i, 20:44, 30:60] = 255, 255, 255
            masks[i, 20:44, 30:60] = 255
    noise = rng.normal(0, 3, frames.shape)
    return (frames + noise).clip(0, 255).astype(np.uint8), masks

def truth(n=FRAMES):
    labels = np.zeros(n, int)
    labels[ANOMALY[0]:ANOMALY[1] + 1] = 1
    return labels

def write_images(folder, frames, ending=".jpg"):
    Path(folder).mkdir(parents=True)
    for i, frame in enumerate(frames):
        assert cv2.imwrite(f"{folder}/{i:03d}{ending}", frame[..., ::-1] if frame.ndim == 3 else frame)

def write_movie(path, frames):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    code = "MJPG" if Path(path).suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 20, (frames.shape[2], frames.shape[1]))
    assert writer.isOpened()
    for frame in frames: writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()

def write_dataset(root, train=2, test=2, n=FRAMES):
    "training/frames/<clip>, testing/frames/<clip>, labels and masks; every test clip but the last holds the anomaly."
    for k in range(1, train + 1): write_images(root/"training"/"frames"/f"{k:02d}", footage(k, n)[0])
    labels = {}
    for k in range(1, test + 1):
        frames, masks = footage(10 + k, n, anomaly=k < test)
        write_images(root/"testing"/"frames"/f"{k:02d}", frames)
        write_images(root/"testing"/"masks"/f"{k:02d}", masks, ".png")
        labels[f"{k:02d}"] = masks.any((1, 2)).astype(int).tolist()
    (root/"testing"/"frame_labels.json").write_text(json.dumps(labels))
    return root

@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    "Decoded frames go to a folder of this test run, never to the user's cache. Only the built-in scene's clips, which are the same everywhere, are shared with it."
    here, shared = tmp_path_factory.mktemp("cache"), ddl_nb.data.cache_dir()/"plaza"
    shared.mkdir(parents=True, exist_ok=True)
    (here/"plaza").symlink_to(shared, target_is_directory=True)
    os.environ["DDL_CACHE"] = str(here)

@pytest.fixture(scope="session")
def dataset(tmp_path_factory): return write_dataset(tmp_path_factory.mktemp("data")/"square")

@pytest.fixture
def fresh(tmp_path):
    "A dataset of its own for a test that damages it: one training clip, two test clips."
    return write_dataset(tmp_path/"square", train=1)

@pytest.fixture(scope="session")
def movies(tmp_path_factory):
    "train/ and test/ with AVI and MP4 files, and labels.csv."
    root = tmp_path_factory.mktemp("data")/"camera"
    write_movie(root/"train"/"a.avi", footage(1)[0])
    write_movie(root/"train"/"b.mp4", footage(2)[0])
    write_movie(root/"test"/"c.avi", footage(11, anomaly=True)[0])
    write_movie(root/"test"/"d.mp4", footage(12)[0])
    (root/"labels.csv").write_text(f"clip,first,last\nc.avi,{ANOMALY[0]},{ANOMALY[1]}\n")
    return root

@pytest.fixture(scope="session")
def two_scenes(tmp_path_factory):
    "Two cameras in ShanghaiTech's form: training videos, testing frames, masks as .npy."
    root = tmp_path_factory.mktemp("data")/"campus"
    for s in (1, 2):
        write_movie(root/"training"/"videos"/f"{s:02d}_001.avi", footage(s)[0])
        frames, masks = footage(10 + s, anomaly=True)
        write_images(root/"testing"/"frames"/f"{s:02d}_0001", frames)
        for folder, array in (("test_frame_mask", truth()), ("test_pixel_mask", masks > 0)):
            (root/"testing"/folder).mkdir(parents=True, exist_ok=True)
            np.save(root/"testing"/folder/f"{s:02d}_0001.npy", array)
    return root

@pytest.fixture
def small_disk(tmp_path):
    "A real file system of 2 MB and a function that fills it up but for so many bytes."
    place = tmp_path/"disk"
    place.mkdir()
    try: mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True).returncode == 0
    except OSError: mounted = False
    if not mounted: pytest.skip("needs the right to mount a small tmpfs (root on Linux)")
    def fill(free):
        (place/"filler").unlink(missing_ok=True)
        with open(place/"filler", "wb", buffering=0) as f:
            space = os.statvfs(place)
            f.write(bytes(max(0, space.f_bavail * space.f_frsize - free)))
    yield place, fill
    subprocess.run(["umount", "-l", place], check=True)


# Calling ddl --------------------------------------------------------------------------------------------------------

PROGRESS = re.compile(r"(recon|sdl|ddl|footage|strangest, .*): +\d+%\||\S+: [\d.]+ of \d+ runs ")     # tqdm: its label is the regime, or a grid's folder

@dataclass
class Result:
    args: list
    code: int
    out: str
    err: str

    @property
    def lines(self):
        "stderr without progress bars."
        return [line for line in re.split(r"[\r\n]+", self.err) if line.strip() and not PROGRESS.match(line)]
    @property
    def warnings(self): return [line for line in self.lines if line.startswith("ddl: warning: ")]

    def works(self, warnings=0):
        "Exit code 0, and nothing on stderr but so many warnings. Returns itself."
        assert self.code == 0, self
        assert len(self.lines) == len(self.warnings) == warnings, self
        return self

    def fails(self, code, *names):
        "This exit code and, warnings aside, one line on stderr which holds each of `names`. Returns that line."
        assert self.code == code, self
        lines = [line for line in self.lines if line not in self.warnings]
        assert len(lines) == 1 and lines[0].startswith("ddl: "), self
        for name in names: assert str(name) in lines[0], f"{name} is not in: {lines[0]}"
        return lines[0]

def call(*args):
    "ddl in this process. What C libraries print counts too, so the files beneath sys.stdout and sys.stderr are taken."
    from ddl_nb.cli import main
    before = sys.argv, sys.stdout, sys.stderr
    for stream in before[1:]: stream.flush()
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, warnings.catch_warnings():
        warnings.resetwarnings(); warnings.simplefilter("ignore", DeprecationWarning); warnings.simplefilter("ignore", PendingDeprecationWarning)
        os.dup2(out.fileno(), 1); os.dup2(err.fileno(), 2)
        sys.argv, sys.stdout, sys.stderr = ["ddl", *map(str, args)], out, err
        try: main(); code = 0
        except SystemExit as e: code = e.code
        finally:
            out.flush(); err.flush()
            sys.argv, sys.stdout, sys.stderr = before
            for fd, copy in zip((1, 2), kept): os.dup2(copy, fd); os.close(copy)
        texts = []
        for f in (out, err): f.seek(0); texts.append(f.read())
    return Result(list(map(str, args)), code, *texts)

COMMAND = Path(sys.executable).parent/"ddl"           # as it is installed

def spawn(*args, **kwargs):
    "ddl as a process that has been started."
    return Process(list(map(str, args)), **kwargs)

def finish(process):
    out, err = process.communicate()
    return Result(process.args, process.returncode, out, err)

def run(*args, **kwargs):
    "ddl as a process, to its end."
    return finish(spawn(*args, **kwargs))

def traced(file, patch):
    "Have PyTorch's exporter give this file at once: tracing takes twenty seconds and is the same each time."
    patch.setattr(torch.onnx, "export", lambda model, clip, path, **_: shutil.copy(file, path))

@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory):
    "The folder of a tiny model of `dataset`."
    out = tmp_path_factory.mktemp("trained")
    run("fit", dataset, "--out", out, *TINY).works()
    return out

@pytest.fixture(scope="session")
def scored(dataset, trained, tmp_path_factory):
    "The folder of its scores, with videos and maps."
    out = tmp_path_factory.mktemp("scored")
    run("score", trained, dataset, "--out", out, "--video", "--maps").works()
    return out
