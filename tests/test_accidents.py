"""What happens to cameras, clocks and files in a year: a watch and its kin go on, and what they
write down is so."""
import itertools, json, os, shutil, subprocess, sys, threading, time, tracemalloc, warnings
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from conftest import COMMAND, call, write_dataset, write_movie
from ddl_nb import watch as watching
from ddl_nb.alarms import rate_messages
from ddl_nb.data import Clip, Scene
from ddl_nb.detector import Calibration, Detector, Scale
from ddl_nb.footage import assess
from ddl_nb.results import score_scenes
from ddl_nb.training import Settings
from ddl_nb.watch import Frame, Live, file_name, watch

DAY = 86400.


# A world without waiting ----------------------------------------------------------------

class Bright:
    "A model to which whatever is bright is strange: it expects black."
    window, channels, device = 1, 3, torch.device("cpu")
    def step(self, x, past=None): return torch.zeros_like(x), past

SETTINGS = Settings("recon", window=1, height=16)
BRIGHT = Detector(Bright(), SETTINGS, (16, 24), Scale(.1, .2, .3, .5, .5, map=1.))

def picture(i, strange=False, size=(16, 24)):
    "Dark with noise; strange with a white square."
    frame = np.random.default_rng(i).integers(0, 20, (*size, 3), dtype=np.uint8)
    if strange: frame[:, :size[1] // 2] = 255
    return frame

class World:
    "Two clocks, one that never jumps and one on the wall, and a screen."
    def __init__(self, patch):
        self.now, self.ahead, self.start, self.said = 1000., 0., time.time(), []
        self.status, self.longest_ring = None, 0
        clock = dict(monotonic=lambda: self.now, time=self.date)
        patch.setattr(watching, "time", SimpleNamespace(**vars(time) | clock))

    def date(self): return self.start + self.now - 1000 + self.ahead
    def say(self, message): self.said.append(message)
    def show(self, status): self.status = status
    def close(self): pass

class Played:
    "A camera of 25 frames a second that plays a script: pictures, seconds of nothing, None."
    name, fps, skipped, footage = "yard", None, 0, ()
    def __init__(self, world, script): self.world, self.script = world, script
    def frames(self, stop):
        for item in self.script:
            if isinstance(item, float): self.world.now += item
            elif item is None: yield None
            else:
                self.world.now += .04
                yield Frame(item, self.world.now, self.world.now)

@pytest.fixture
def world(monkeypatch): return World(monkeypatch)

def played(world, script, out, patch, **options):
    "Watch the script; returns the events."
    patch.setattr(watching, "watched_source", lambda *_: Played(world, script))
    watch(BRIGHT, "yard", out, screen=world, **options)
    return [json.loads(line) for line in (out/"events.jsonl").read_text().splitlines()]


# Clocks ---------------------------------------------------------------------------------

@pytest.mark.parametrize("jump", [-3600., 400 * DAY, -50 * 365 * DAY])
@pytest.mark.parametrize("when", [120, 140])        # between two events, and within one
def test_a_clock_that_jumps(jump, when, world, tmp_path, monkeypatch):
    (tmp_path/"events").mkdir()
    old, new = file_name(world.date() - 3 * DAY), file_name(world.date() - DAY)
    for name in (old, new): (tmp_path/"events"/f"{name}.jpg").touch()

    def script():
        for i in range(600):
            if i == when: world.ahead = jump
            yield picture(i, i % 100 in range(30, 60))

    events = played(world, script(), tmp_path, monkeypatch, before=1, after=1, keep_days=2)
    assert [e["seconds"] for e in events] == pytest.approx([29 / 25] * 6, abs=.01)
    assert all(e["start"] <= e["peak"] <= e["end"] for e in events)
    left = {f.name for f in (tmp_path/"events").iterdir()}
    own = {Path(e[key]).name for e in events for key in ("snapshot", "clip")}
    assert len(own) == 12 and left == own | {f"{new}.jpg"}

def test_days_pass_for_a_watch(world, tmp_path, monkeypatch):
    "What it wrote itself becomes old, too, whatever the clock on the wall says."
    def script():
        for day in range(6):
            world.ahead -= DAY + 4                     # it stands still
            for i in range(100): yield picture(i, i in range(30, 60))
            yield DAY
            yield None

    events = played(world, script(), tmp_path, monkeypatch, keep_days=2)
    assert len(events) == 6
    own = [Path(e["clip"]).name for e in events]
    assert sorted(f.name for f in (tmp_path/"events").glob("*.mp4")) == sorted(own[-2:])


# Cameras and films behind an address ----------------------------------------------------

class Answer(SimpleHTTPRequestHandler):
    "A film without byte ranges, or the parts of a camera, which hangs up behind them."
    def log_message(self, *_): pass
    def do_GET(self):
        if self.server.parts is None: return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        self.end_headers()
        for part in self.server.parts:
            self.wfile.write(b"--x\r\nContent-Type: image/jpeg\r\n"
                             b"Content-Length: %d\r\n\r\n%s\r\n" % (len(part), part))
            time.sleep(.02)

@pytest.fixture
def served(tmp_path):
    "A function that serves a file of `tmp_path`, or JPEGs: an address."
    servers = []
    def serve(name, parts=None):
        handler = partial(Answer, directory=tmp_path)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.parts, server.daemon_threads = parts, True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://me:secret@127.0.0.1:{server.server_port}/{name}"
    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()

class Screen:
    def __init__(self): self.said, self.status = [], None
    def say(self, message): self.said.append(message)
    def show(self, status): self.status = status
    def close(self): pass

@pytest.mark.parametrize("n, size", [(60, (64, 96)), (300, (120, 160))])  # seekable or not
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_film_behind_an_address(n, size, scheme, served, tmp_path):
    "All of it, once, at its own rate, and then the end."
    frames = np.stack([picture(i, i in range(20, 40), size) for i in range(n)])
    write_movie(tmp_path/"a film.mp4", frames)                # 20 frames a second
    address = served("a%20film.mp4")
    if scheme == "file": address = (tmp_path/"a film.mp4").as_uri()
    screen = Screen()
    last = watch(BRIGHT, address, tmp_path/"out", screen=screen)
    assert (last.frames, last.skipped, last.events) == (n, 0, 1)
    event = json.loads((tmp_path/"out"/"events.jsonl").read_text())
    assert event["frames"][:2] == [20, 39] and event["seconds"] == pytest.approx(.95, abs=.01)
    assert not any("secret" in line or "again" in line for line in screen.said)

def test_a_film_whose_end_is_missing(served, tmp_path):
    write_movie(tmp_path/"film.avi", np.stack([picture(i, False, (64, 96)) for i in range(60)]))
    content = (tmp_path/"film.avi").read_bytes()
    (tmp_path/"film.avi").write_bytes(content[:len(content) // 2])
    screen = Screen()
    last = watch(BRIGHT, served("film.avi"), tmp_path/"out", screen=screen)
    said, = [line for line in screen.said if "announces" in line]
    assert 10 < last.frames < 50 and f"announces 60 frames, {last.frames} came" in said

def coded(frame, quality=90):
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()

@pytest.mark.parametrize("behind", [b"", bytes(2000), b"\r\n"])
@pytest.mark.parametrize("size, quality", [((64, 96), 60), ((240, 320), 95), ((480, 640), 10)])
def test_a_camera_that_never_writes_the_end_mark(behind, size, quality, served):
    frames = [picture(i, i % 2, size) for i in range(20)]
    parts = [coded(frame, quality)[:-2] + behind for frame in frames]
    got = list(itertools.islice(Live(served("", parts), 3, print).frames(False), 12))
    assert all(frame.picture.shape == (*size, 3) for frame in got)

@pytest.mark.parametrize("size", [(64, 96), (240, 320)])
def test_half_a_picture_is_none(size):
    frame = picture(0, False, size)
    for quality in (30, 90):
        jpeg = coded(frame, quality)
        for share in (.1, .3, .5, .7):
            cut = np.frombuffer(jpeg[:int(share * len(jpeg))], np.uint8)
            assert watching.decode(cut) is None
            assert watching.decode(np.append(cut, np.zeros(999, np.uint8))) is None


# Scores of other footage than the model's -----------------------------------------------

@pytest.fixture
def warned(tmp_path):
    "A function: what scoring these clips with BRIGHT, calibrated at 25, warns of."
    promise = Calibration(.5, per_hour=1, low=.2, high=5, blocks=30, fps=25, usual=[0., 1., 9])
    detector = replace(BRIGHT, calibration=promise)
    def score(*clips):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            scenes = [Scene("yard", [], list(clips))]
            results = score_scenes(detector, scenes, tmp_path/"s", say=str)
            said = [str(w.message) for w in heard]
            return said + [message for _, message in rate_messages(results)]
    return score

def dark(name, size=(32, 48), fps=25): return Clip(np.zeros((9, *size, 3), np.uint8), name, fps)

def test_another_aspect(warned, world, tmp_path, monkeypatch):
    assert warned(dark("a"), dark("b", (320, 490)), dark("c", (16, 24))) == []
    said, = warned(dark("a"), dark("b", (48, 32)), dark("c", (48, 32)))
    assert "frames of 48x32 are squeezed to the model's 16x24" in said
    turned = (picture(i, False, (24, 16)) for i in range(60))
    played(world, turned, tmp_path, monkeypatch)
    assert sum("24x16 are squeezed" in line for line in world.said) == 1

def test_another_rate(warned):
    assert warned(dark("a"), dark("b", fps=None), dark("c", fps=24)) == []
    said, = warned(dark("a"), dark("b", fps=5), dark("c", fps=5))
    assert "5 frames a second are scored, but 25 were in the calibration" in said


# Memory, half a download, a missing library ---------------------------------------------

@pytest.mark.parametrize("events", [3, 15])
def test_memory_does_not_grow_with_events(events, tmp_path):
    "Such a picture is 5 MB: they are held one at a time."
    dark, lit = (np.full((1080, 1620, 3), grey, np.uint8) for grey in (0, 255))
    class Long(Clip):
        def raw(self, start=0):
            return (lit if i % 40 in range(9, 29) else dark for i in range(start, 40 * events))
    clip = Long(np.zeros((40 * events, 1, 1, 3), np.uint8), "long", fps=5)
    clip.size = 1080, 1620
    tracemalloc.start()
    try:
        results = score_scenes(BRIGHT, [Scene("yard", [clip])], tmp_path/"s", say=str)
        peak = tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert len(results.events) == events and (tmp_path/"s"/"contact.jpg").exists()
    assert peak < 60e6

@pytest.mark.parametrize("missing", ["testing/frames/01", "testing/frames/02"])
def test_half_a_download(missing, trained, tmp_path):
    "Its labels speak of clips that are not there."
    root = write_dataset(tmp_path/"square", train=1, test=3, n=20)
    shutil.rmtree(root/missing)
    shutil.rmtree(root/"testing"/"masks")
    call("score", trained, root, "--out", tmp_path/"s").works(1)
    result = call("evaluate", tmp_path/"s", root).works(1)
    assert "1 of 3 clips with labels are missing" in result.warnings[0]
    assert len(json.loads((tmp_path/"s"/"report.json").read_text())["frame_auc"]) > 0

def test_labels_of_other_clips_are_a_mistake(tmp_path):
    root = write_dataset(tmp_path/"square", train=1, test=2, n=20)
    shutil.rmtree(root/"testing"/"masks")
    frames = root/"testing"/"frames"
    for clip in ("01", "02"): (frames/clip).rename(frames/f"x{clip}")
    call("info", root).fails(1, "no such test clip")

@pytest.mark.parametrize("why", ["libGL.so.1", "libgthread-2.0.so.0"])
def test_a_library_is_missing(why, tmp_path):
    (tmp_path/"cv2.py").write_text(f"raise ImportError('{why}: cannot open shared object file')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([COMMAND, "--version"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    line, = done.stderr.splitlines()
    assert line.startswith("ddl: ") and why in line
    assert "opencv-python-headless" in line and "tools/check_opencv.py" in line


# Frozen, or quiet -----------------------------------------------------------------------

def as_coded(noisy, every=100, mended=.01):
    """Frames as a codec gives them at a low bitrate: a key frame every so often, with the noise of
    its moment; between them blocks are held unless they change much, and a few are mended."""
    rng, shown = np.random.default_rng(0), None
    for i, frame in enumerate(noisy):
        if i % every == 0: shown = frame.copy()
        size = frame.shape[1] // 8, frame.shape[0] // 8
        change = cv2.resize(cv2.absdiff(frame, shown), size, interpolation=cv2.INTER_AREA)
        mend = (change.max(-1) > 12) | (rng.random(size[::-1]) < mended)
        mend = np.kron(mend, np.ones((8, 8), bool))
        shown[mend] = frame[mend]
        yield shown.copy()

def street(n, noise=3, walker=lambda i: None):
    "A textured ground with sensor noise, and a walker at x."
    rng = np.random.default_rng(1)
    ground = cv2.resize(rng.integers(60, 180, (16, 24, 3), dtype=np.uint8), (192, 128))
    for i in range(n):
        frame = ground + rng.normal(0, noise, ground.shape)
        if (x := walker(i)) is not None: frame[40:90, x:x + 16] = 240
        yield frame.clip(0, 255).astype(np.uint8)

def frozen_at(frames, first, last, clock=True):
    "Frames `first` to `last` repeat one picture, in whose corner a clock may run on."
    rng, kept = np.random.default_rng(2), None
    for i, frame in enumerate(frames):
        kept = frame if kept is None or not first <= i <= last else kept
        shown = kept.copy()
        if clock: shown[4:14, 4:80] = rng.integers(0, 2, (10, 76, 1)) * 255
        yield shown

def walking(i): return 2 * i % 170
def judged(frames, fps=25): return assess([Clip(np.stack(list(frames)), "x", fps)], progress=False)

@pytest.mark.parametrize("every", [25, 100, 250])
@pytest.mark.parametrize("mended", [0, .01])
def test_a_still_scene_at_a_low_bitrate_is_quiet(every, mended):
    now_and_then = street(550, walker=lambda i: walking(i) if 300 < i < 370 else None)
    found = judged(as_coded(now_and_then, every, mended))
    assert found.leave_out.empty, found
    assert not any("real rate" in line for line in found.missing)

@pytest.mark.parametrize("first, last", [(60, 249), (100, 260)])
@pytest.mark.parametrize("clock", [True, False])
@pytest.mark.parametrize("code, late", [(lambda frames: frames, 2), (as_coded, 45)])
def test_frozen_under_a_running_clock(first, last, clock, code, late):
    "A codec shows it from the next key frame on, and holds the ground for a while behind it."
    found = judged(code(frozen_at(street(300, walker=walking), first, last, clock)))
    row, = found.leave_out.itertuples()
    assert "frozen" in row.why and abs(row.first - first) < late and abs(row.last - last) < late
    assert not any("real rate" in line for line in found.missing)

def test_every_frame_twice():
    "That is no rest: something moves, so the rate is half."
    twice = (frame for frame in street(100, walker=walking) for _ in range(2))
    advice, = [line for line in judged(twice).missing if "real rate" in line]
    assert "--fps 12.5" in advice or "--fps 12.6" in advice

@pytest.mark.parametrize("clock", [True, False])
def test_a_watch_sees_a_frozen_camera(clock, world, tmp_path, monkeypatch):
    played(world, frozen_at(street(900), 100, 700, clock), tmp_path, monkeypatch)
    said = [line for line in world.said if "the same picture" in line or "moves again" in line]
    assert len(said) == 2 and "moves again" in said[1]

def test_a_watch_takes_a_quiet_scene_for_no_frozen_one(world, tmp_path, monkeypatch):
    played(world, as_coded(street(900), 200), tmp_path, monkeypatch)
    assert not any("the same picture" in line for line in world.said)


# All of it ------------------------------------------------------------------------------

CYCLE, BIG, JUMPS = 500, (24, 36), (-3600., 400 * DAY)

def strange_in(kind):
    "The strange stretches of a cycle: two, and a wrong picture for a moment in one kind."
    return [(100, 129), (300, 329)] + [(220, 235)] * (kind == "pause")

def cycle(world, kind, number):
    "Twenty seconds of a camera to which something happens."
    frozen = picture(-number % 999)
    for i in range(CYCLE):
        if kind == "pause" and i == 200: yield 9.
        if kind == "clock" and i in (310, 400): world.ahead = JUMPS[i == 400]
        if kind == "lost" and i == 480: yield None
        size = BIG if kind == "size" and i >= 250 else (16, 24)
        shown = picture(CYCLE * number + i, any(a <= i <= b for a, b in strange_in(kind)), size)
        if kind == "freeze" and 140 <= i < 290:
            shown[2:] = frozen[2:]                     # a clock runs on in the rows above
        yield shown

def test_ten_thousand_frames_of_accidents(world, tmp_path, monkeypatch):
    "Twice five thousand, into one folder; what is written down is what was played."
    kinds = ["lost", "pause", "clock", "size", "freeze"] * 2
    longest, memory, expected = [0], [], []
    push = watching.Recorder.push
    def measured(self, shot, fps):
        push(self, shot, fps)
        longest[0] = max(longest[0], len(self.ring))
        if shot.frame in (1500, 4500): memory.append(tracemalloc.get_traced_memory()[0])
    monkeypatch.setattr(watching.Recorder, "push", measured)
    for k, kind in enumerate(kinds):
        expected += sorted([k * CYCLE + a, k * CYCLE + b] for a, b in strange_in(kind))

    tracemalloc.start()
    try:
        for _ in range(2):
            world.ahead, world.said = 0., []
            script = (item for k, kind in enumerate(kinds) for item in cycle(world, kind, k))
            events = played(world, script, tmp_path, monkeypatch, before=2, after=1, patience=3)
            last = world.status
            assert (last.frames, last.skipped, last.events) == (5000, 0, len(expected))
            said = "\n".join(world.said)
            assert said.count("the same picture for 3 s") == said.count("moves again") == 2
            assert said.count("24x36 now") == said.count("16x24 now") == 2
    finally: tracemalloc.stop()

    assert [e["frames"][:2] for e in events] == 2 * expected
    for e in events:
        first, end, peak = e["frames"]
        assert first <= peak <= end and e["start"] <= e["peak"] <= e["end"] and not e["cut"]
        assert e["seconds"] == pytest.approx((end - first) / 25, abs=.01)
        assert e["size"] == list(BIG if kinds[first // CYCLE] == "size" and first % CYCLE >= 250
                                 else (16, 24))
        assert (end - first + 1) < len(Clip(tmp_path/e["clip"])) <= (end - first + 1) + 3 * 25 + 1
    files = {str(f.relative_to(tmp_path)) for f in (tmp_path/"events").iterdir()}
    assert files == {e[key] for e in events for key in ("snapshot", "clip")}
    assert len(files) == 2 * len(events)
    assert longest[0] <= 2 * 25 + 2
    assert all(late - early < 1e6 for early, late in zip(memory[::2], memory[1::2]))
