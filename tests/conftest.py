"""Tiny footage in every form the command line takes, and two ways to call `ddl`:
in this process, and as a process of its own."""
import json, os, re, shutil, signal, subprocess, sys, tempfile, warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Before torch: one thread makes runs repeatable and leaves the other core to whoever runs beside.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "agg"
os.environ["COLUMNS"] = "100"
# A shell starts background work, us perhaps, with Ctrl-C ignored, and so would our processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before cv2 opens a video: it sets how much ffmpeg prints, which is read once.
import ddl_nb.running
import cv2
import numpy as np
import pytest
import torch

from process import Process

FRAMES, HEIGHT, WIDTH = 40, 64, 96
ANOMALY = (15, 25)                                    # first and last frame, both anomalous
TINY = ["--height", "32", "--latent", "8", "--epochs", "0.3"]


# Footage --------------------------------------------------------------------------------

def background():
    texture = np.random.default_rng(99).integers(90, 130, (HEIGHT // 4, WIDTH // 4, 3))
    return cv2.resize(texture.astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)

def footage(seed, n=FRAMES, anomaly=False):
    """A bright and a dark rectangle that cross a textured background; with `anomaly`, a large white
    square in ANOMALY. Frames and masks."""
    rng = np.random.default_rng(seed)
    y1, y2 = rng.integers(5, 40, 2)
    offset = rng.integers(0, 30)
    frames = np.stack([background()] * n)
    masks = np.zeros((n, HEIGHT, WIDTH), np.uint8)
    for i in range(n):
        x1 = (offset + 2 * i) % (WIDTH - 12)
        x2 = (offset + 60 - i) % (WIDTH - 10)
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
        picture = frame[..., ::-1] if frame.ndim == 3 else frame
        assert cv2.imwrite(f"{folder}/{i:03d}{ending}", picture)

def write_movie(path, frames):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    code = cv2.VideoWriter_fourcc(*("MJPG" if Path(path).suffix == ".avi" else "mp4v"))
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), code, 20, (width, height))
    assert writer.isOpened()
    for frame in frames: writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()

def write_dataset(root, train=2, test=2, n=FRAMES):
    """training/frames/<clip>, testing/frames/<clip>, labels and masks; every test clip but the last
    holds the anomaly."""
    for k in range(1, train + 1):
        write_images(root/"training"/"frames"/f"{k:02d}", footage(k, n)[0])
    labels = {}
    for k in range(1, test + 1):
        clip = f"{k:02d}"
        frames, masks = footage(10 + k, n, anomaly=k < test)
        write_images(root/"testing"/"frames"/clip, frames)
        write_images(root/"testing"/"masks"/clip, masks, ".png")
        labels[clip] = masks.any((1, 2)).astype(int).tolist()
    (root/"testing"/"frame_labels.json").write_text(json.dumps(labels))
    return root

@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Decoded frames go to a folder of this test run, never to the user's cache. Only the built-in
    scene's clips, which are the same everywhere, are shared with it."""
    here = tmp_path_factory.mktemp("cache")
    shared = ddl_nb.running.cache_dir()/"plaza"
    shared.mkdir(parents=True, exist_ok=True)
    (here/"plaza").symlink_to(shared, target_is_directory=True)
    os.environ["DDL_CACHE"] = str(here)

@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data")/"square")

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
    testing = root/"testing"
    for folder in ("test_frame_mask", "test_pixel_mask"): (testing/folder).mkdir(parents=True)
    for s in (1, 2):
        write_movie(root/"training"/"videos"/f"{s:02d}_001.avi", footage(s)[0])
        frames, masks = footage(10 + s, anomaly=True)
        write_images(testing/"frames"/f"{s:02d}_0001", frames)
        np.save(testing/"test_frame_mask"/f"{s:02d}_0001.npy", truth())
        np.save(testing/"test_pixel_mask"/f"{s:02d}_0001.npy", masks > 0)
    return root

def mounted(place):
    "Whether a small file system in memory could be mounted at `place`."
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place]
    try: return subprocess.run(command, capture_output=True).returncode == 0
    except OSError: return False

@pytest.fixture
def small_disk(tmp_path):
    "A real file system of 2 MB and a function that fills it up but for so many bytes."
    place = tmp_path/"disk"
    place.mkdir()
    if not mounted(place): pytest.skip("needs the right to mount a small tmpfs (root on Linux)")

    def fill(free):
        (place/"filler").unlink(missing_ok=True)
        with open(place/"filler", "wb", buffering=0) as f:
            space = os.statvfs(place)
            f.write(bytes(max(0, space.f_bavail * space.f_frsize - free)))

    yield place, fill
    subprocess.run(["umount", "-l", place], check=True)


# Calling ddl ----------------------------------------------------------------------------

# tqdm: its label is the regime, or a grid's folder
PROGRESS = re.compile(r"(recon|sdl|ddl|footage|strangest, .*): +\d+%\|"
                      r"|\S+: [\d.]+ of \d+ runs ")

@dataclass
class Result:
    args: list
    code: int
    out: str
    err: str

    @property
    def lines(self):
        "stderr without progress bars."
        lines = re.split(r"[\r\n]+", self.err)
        return [line for line in lines if line.strip() and not PROGRESS.match(line)]

    @property
    def warnings(self):
        return [line for line in self.lines if line.startswith("ddl: warning: ")]

    def works(self, warnings=0):
        "Exit code 0, and nothing on stderr but so many warnings. Returns itself."
        assert self.code == 0, self
        assert len(self.lines) == len(self.warnings) == warnings, self
        return self

    def fails(self, code, *names):
        """This exit code and, warnings aside, one line on stderr which holds each of `names`.
        Returns that line."""
        assert self.code == code, self
        lines = [line for line in self.lines if line not in self.warnings]
        assert len(lines) == 1 and lines[0].startswith("ddl: "), self
        for name in names: assert str(name) in lines[0], f"{name} is not in: {lines[0]}"
        return lines[0]

def files(folder):
    "Path inside it -> content of each file."
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}

@contextmanager
def streams(out, err):
    "sys.stdout and sys.stderr go to these files, and so does what C libraries print."
    before = sys.stdout, sys.stderr
    for stream in before: stream.flush()
    kept = [os.dup(1), os.dup(2)]
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout, sys.stderr = out, err
    try: yield
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
        for fd, copy in zip((1, 2), kept):
            os.dup2(copy, fd)
            os.close(copy)

@contextmanager
def warnings_as_in_a_process():
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield

def exit_code(args):
    "That of `ddl` with these arguments, in this process."
    from ddl_nb.cli import main
    before, sys.argv = sys.argv, ["ddl", *args]
    try: main()
    except SystemExit as e: return e.code
    finally: sys.argv = before
    return 0

def call(*args):
    "ddl in this process."
    args = list(map(str, args))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with streams(out, err), warnings_as_in_a_process(): code = exit_code(args)
        texts = []
        for f in (out, err):
            f.seek(0)
            texts.append(f.read())
    return Result(args, code, *texts)

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
    """Have PyTorch's exporter give this file at once: tracing takes twenty seconds and is the same
    each time."""
    def export(model, clip, path, **_): shutil.copy(file, path)
    patch.setattr(torch.onnx, "export", export)

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
