"""A camera that does everything a camera should not: the picture breaks, freezes, changes its size,
stops, refuses, dies and comes back."""
import itertools, json, os, pty, re, signal, socket, socketserver, struct, subprocess
import threading, time
from base64 import b64encode
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import torch

from conftest import COMMAND, call, spawn, write_movie

SECRET = "gehe1m"
ALLOWED = "Basic " + b64encode(f"admin:{SECRET}".encode()).decode()
# the fields of an event, and those that are known at its beginning
EVENT = {"source", "start", "end", "seconds", "peak", "score", "threshold", "look", "box", "size",
         "frames", "snapshot", "clip", "cut"}
BEGUN = ("source", "start", "snapshot", "clip", "threshold")


# A small model, a scene and a camera ----------------------------------------------------

def picture(i, strange=False, size=(64, 96)):
    "Dark with noise; strange with a white square in the middle."
    frame = np.random.default_rng(i).integers(0, 20, (*size, 3), dtype=np.uint8)
    height, width = size
    if strange: frame[height // 4:height * 3 // 4, width // 3:width * 2 // 3] = 255
    return frame

def in_background(work): threading.Thread(target=work, daemon=True).start()

def serve(server): in_background(lambda: server.serve_forever(.05))

def jpegs(*args):
    "Fifty pictures as a camera sends them."
    frames = [picture(i, *args)[..., ::-1] for i in range(50)]
    return [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]

def film(n, *strange):
    "n frames, strange in the ranges (first, last + 1)."
    return np.stack([picture(i, any(a <= i < b for a, b in strange)) for i in range(n)])

@pytest.fixture(scope="module")
def detector():
    """It has learnt nothing, so white is strange to it: the threshold lies between what it says of
    the two kinds of pictures."""
    from ddl_nb.data import Clip
    from ddl_nb.detector import Detector, Scale
    from ddl_nb.training import Settings
    torch.manual_seed(3)                  # weights to which white is further off than black
    settings = Settings("recon", latent=8, height=32)
    made = Detector(settings.model().eval(), settings, (32, 48))
    smoothed = made.score(Clip(film(60, (30, 60)))).smoothed
    between = float(smoothed[10] + smoothed[50]) / 2
    made.scale = Scale(median=0., q90=0., q95=0., q99=between, largest=1., map=1.)
    return made

@pytest.fixture(scope="module")
def model(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")/"model.safetensors"
    detector.save(path)
    return path

@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    "Two events, the first in frames 30 to 59 and the second in 120 to 149 of 200, ten seconds."
    path = tmp_path_factory.mktemp("film")/"yard.mp4"
    write_movie(path, film(200, (30, 60), (120, 150)))
    return path

class Answer(BaseHTTPRequestHandler):
    "What a camera or a webhook answers."
    def log_message(self, *_): pass

    def answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name.replace("_", "-"), value)
        self.end_headers()

class Stream(Answer):
    "The pictures of a camera, `self.server.camera`, until it is stopped."
    def do_GET(self):
        camera = self.server.camera
        if camera.mode == "refuse" or self.headers["Authorization"] != ALLOWED:
            return self.answer(401, WWW_Authenticate='Basic realm="camera"', Content_Length="0")
        self.server.sockets.append(self.connection)
        self.answer(200, Content_Type="multipart/x-mixed-replace; boundary=x")
        try: self.send_pictures(camera)
        except OSError: pass

    def send_pictures(self, camera):
        i = 0
        while camera.server is self.server:
            time.sleep(.02)
            if camera.mode in ("silent", "refuse"): continue
            parts = camera.jpegs[camera.mode]
            part = parts[i % len(parts)]
            self.wfile.write(b"--x\r\nContent-Type: image/jpeg\r\n"
                             b"Content-Length: %d\r\n\r\n%s\r\n" % (len(part), part))
            i += 1
            camera.sent += 1

class Server(ThreadingHTTPServer):
    daemon_threads, block_on_close, allow_reuse_address = True, False, True
    def handle_error(self, *_): pass

class Camera:
    """MJPEG over HTTP, with a password. `mode` is what it shows; `stop` kills it, connections and
    all, `start` brings it back at the same port."""
    def __init__(self):
        self.mode, self.port, self.sent = "quiet", 0, 0
        quiet = jpegs()
        self.jpegs = {
            "quiet": quiet,
            "strange": jpegs(True),
            "bigger": jpegs(False, (80, 120)),
            "still": quiet[:1],
            "cut": [j[:len(j) // 2] for j in quiet],
            "garbage": [b"x" * 500],
        }
        self.start()

    def url(self, password=SECRET):
        return f"http://admin:{password}@127.0.0.1:{self.port}/video?pwd={password}"

    def start(self):
        self.server = Server(("127.0.0.1", self.port), Stream)
        self.server.camera, self.server.sockets = self, []
        self.port = self.server.server_port
        serve(self.server)

    def stop(self):
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()
        for s in server.sockets:
            try: s.shutdown(socket.SHUT_RDWR)
            except OSError: pass

@pytest.fixture
def camera():
    made = Camera()
    yield made
    if made.server: made.stop()

class Post(Answer):
    "What was posted to a webhook, `self.server.hook`, is kept; the answer comes after a delay."
    def do_POST(self):
        hook = self.server.hook
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hook.posted.append(json.loads(body))
        time.sleep(hook.delay)
        self.answer(hook.status)

class Hook:
    "A webhook on this machine: what was posted, and an answer of `status`, after `delay` seconds."
    def __init__(self, status=204, delay=0):
        self.status, self.delay, self.posted = status, delay, []
        self.server = Server(("127.0.0.1", 0), Post)
        self.server.hook = self
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"
        serve(self.server)

def read_lines(file): return [json.loads(line) for line in file.read_text().splitlines()]

def events(out): return read_lines(out/"events.jsonl")

def whole(out):
    "Each line has all fields, and each file it names is there and can be read; returns the lines."
    from ddl_nb.data import Clip
    for e in events(out):
        assert set(e) == EVENT
        height, width = e["size"]
        assert cv2.imread(str(out/e["snapshot"])).shape == (height + 12, width, 3)
        assert Clip(out/e["clip"]).size == (height, width)
    assert not list((out/"events").glob(".*"))
    return events(out)

def wait(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"in {seconds} s not: {what}"
        time.sleep(.02)

class Running:
    "ddl watch as a process, and what it has said so far."
    def __init__(self, *args):
        self.process, self.text = spawn("watch", *args), []
        in_background(self.read)

    def read(self):
        for line in self.process.stdout: self.text.append(line)

    @property
    def out(self): return "".join(self.text)

    def says(self, words, since=0):
        "Wait until it has said these words, after so many characters."
        def said(): return words in self.out[since:]

        wait(lambda: said() or self.process.poll() is not None, f"{words!r} in\n{self.out}")
        assert said(), (self.out, self.process.stderr.read())

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, self.process.stderr.read()

def then_press(drive):
    "Run `drive` beside a command that runs in this process; at its end press Ctrl-C."
    def drive_and_press():
        try: drive()
        finally: os.kill(os.getpid(), signal.SIGINT)
    in_background(drive_and_press)


# One long day ---------------------------------------------------------------------------

class Day:
    "Everything that happens to one process, one after the other."
    def __init__(self, model, out):
        self.out, self.camera, self.hook = out, Camera(), Hook()
        self.process = Running(
            model, self.camera.url(), "--out", out, "--before", .5, "--after", .3,
            "--patience", 1, "--command", f"cat >> {out}/heard.jsonl",
            "--webhook", self.hook.url)
        wait(lambda: self.camera.sent > 20, "twenty frames")

    @property
    def said(self): return self.process.out

    def show(self, mode, words, since=0):
        "The camera shows this, until the process says these words."
        self.camera.mode = mode
        self.process.says(words, since)

    def event(self, n):
        self.show("strange", f"event {n} begins")
        self.camera.mode = "quiet"
        wait(lambda: self.said.count("event over") == n, "the event's end")

    def pictures_are_wrong(self):
        for mode, words in (("cut", "broken pictures"),
                            ("bigger", "its frames are 80x120 now, they were 64x96")):
            self.show(mode, words, len(self.said))
            self.camera.mode = "quiet"
            time.sleep(.3)
        self.show("still", "the same picture for 1 s", len(self.said))
        self.show("quiet", "moves again", len(self.said))

    def pictures_do_not_come(self):
        self.show("silent", "no frame for 1 s; trying again", len(self.said))
        self.show("quiet", "frames again")

    def camera_dies(self):
        since = len(self.said)
        self.camera.stop()
        self.process.says("the connection broke off", since)
        time.sleep(1.5)
        self.camera.start()
        self.process.says("frames again", since)

    def camera_refuses(self):
        since = len(self.said)
        self.show("refuse", "no frame for 1 s", since)
        time.sleep(1.5)
        self.show("quiet", "frames again", since)

    def end(self):
        "In the middle of the third event."
        self.show("strange", "event 3 begins")
        time.sleep(.5)
        self.code, self.err = self.process.end()
        self.camera.stop()

@pytest.fixture(scope="module")
def day(model, tmp_path_factory):
    day = Day(model, tmp_path_factory.mktemp("day"))
    day.event(1)
    day.pictures_are_wrong()
    day.pictures_do_not_come()
    day.camera_dies()
    day.event(2)
    day.camera_refuses()
    day.end()
    return day

SAID = {"not calibrated": 1, "broken pictures": 1, "the same picture": 1, "moves again": 1,
        "trying again": 3, "frames again": 3, "80x120 now": 1}

def test_each_trouble_is_said_once(day):
    for words, times in SAID.items(): assert day.said.count(words) == times, (words, day.said)
    begins = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  |\d\d:\d\d:\d\d  score ")
    assert all(map(begins.match, day.said.splitlines())), day.said
    assert re.search(r"skipped \d+  events 3\n$", day.said)

def test_three_events_are_whole(day):
    first, _, last = whole(day.out)
    assert first["source"] == last["source"] and first["size"] == [64, 96]
    assert first["frames"][1] < last["frames"][0]
    x1, y1, x2, y2 = first["box"]
    assert x1 < 64 and x2 > 32 and y1 < 48 and y2 > 16        # it meets the square
    assert first["threshold"] < first["score"]
    assert first["start"] <= first["peak"] <= first["end"]
    assert re.search(r"[+-]\d\d:\d\d$", first["start"])

def test_ctrl_c_closes_the_open_event(day):
    assert day.code == 130 and day.err.count("\n") == 1 and "ddl watch" in day.err, day.err
    assert day.said.count("event over") == 3 and len(events(day.out)) == 3

def test_command_and_webhook_hear_each_event_at_its_beginning(day):
    heard = read_lines(day.out/"heard.jsonl")
    assert heard == day.hook.posted and len(heard) == 3
    for beginning, event in zip(heard, events(day.out)):
        assert "end" not in beginning
        for key in BEGUN: assert beginning[key] == event[key]

def test_the_password_is_nowhere(day):
    files = b"".join(f.read_bytes() for f in day.out.rglob("*") if f.is_file())
    everything = day.said.encode() + day.err.encode() + files
    assert SECRET.encode() not in everything and b"admin" not in everything
    assert b"127.0.0.1" in everything


# Cameras that never work ----------------------------------------------------------------

@pytest.mark.parametrize("fault", ["off", "password", "silent", "garbage", "cut", "no webcam"])
def test_a_camera_that_never_sends_a_frame(fault, camera, model, tmp_path):
    source = {"password": camera.url("wr0ng"), "no webcam": "63"}.get(fault, camera.url())
    camera.mode = fault if fault in camera.jpegs or fault == "silent" else "quiet"
    if fault == "off": camera.stop()
    result = call("watch", model, source, "--out", tmp_path, "--patience", 1)
    name = "webcam 63" if fault == "no webcam" else f"http://127.0.0.1:{camera.port}/video: "
    line = result.fails(1, name, "check the address")
    assert not re.search(f"{SECRET}|wr0ng|admin", result.out + line)
    assert (tmp_path/"events.jsonl").read_text() == ""

@pytest.mark.parametrize("option, value, words", [
    ("--patience", 0, "--patience"),
    ("--patience", "nan", "--patience"),
    ("--before", -1, "--before"),
    ("--after", "inf", "--after"),
    ("--keep-days", -2, "--keep-days"),
    ("--webhook", f"ftp://me:{SECRET}@x", "http"),
])
def test_wrong_options(option, value, words, model, movie, tmp_path):
    result = call("watch", model, movie, "--out", tmp_path/"x", option, value)
    assert SECRET not in result.fails(2, words)
    assert not (tmp_path/"x").exists()

def test_wrong_source_or_place(model, movie, tmp_path):
    missing, text, out = tmp_path/"no.mp4", tmp_path/"text.mp4", tmp_path/"x"
    call("watch", model, missing, "--out", out).fails(1, missing, "no such file")
    text.write_text("no film")
    call("watch", model, text, "--out", out).fails(1, text)
    call("watch", model, movie, "--out", text).fails(1, text, "cannot be written")
    beside = call("watch", model, movie, "--out", movie.parent)
    beside.fails(1, "holds the footage itself", movie.name)
    assert not out.exists() and list(movie.parent.iterdir()) == [movie]

@pytest.mark.parametrize("name, content", [
    ("events.jsonl", '{"source": "yard", "score": 0.2, "level": 0.1}\n'),
    ("scores.csv", "clip,frame,score,smoothed\nyard,0,0.2,0.2\n"),
])
def test_what_version_01_left_stays_as_it_is(name, content, model, movie, tmp_path):
    file = tmp_path/name
    file.write_text(content)
    result = call("watch", model, movie, "--out", tmp_path)
    result.fails(1, file, "version 0.1", "another folder")
    call("report", tmp_path).fails(1, name, "version 0.1", "another folder")
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == content


# Films, restarts and old files ----------------------------------------------------------

def test_a_film_is_watched_whole_and_a_restart_appends(model, detector, movie, tmp_path):
    from ddl_nb.data import Clip
    from ddl_nb.results import find_events, gap_frames
    lines, options = tmp_path/"events.jsonl", ("--before", 1, "--after", 1)
    said = call("watch", model, movie, "--out", tmp_path, *options).works().out
    assert "skipped 0  events 2" in said and "frames 200, events 2" in said
    smoothed = detector.score(Clip(movie)).smoothed
    found = find_events(smoothed, detector.threshold, gap_frames(20))
    written = whole(tmp_path)
    assert [e["frames"] for e in written] == [[e.start, e.end, e.peak] for e in found]
    clip = Clip(tmp_path/written[0]["clip"])
    assert len(clip) == 20 + found[0].end - found[0].start + 1 + 20
    first = lines.read_bytes()
    with open(lines, "ab") as f: f.write(b'{"source": "yard", "sta')      # a power cut
    result = call("watch", model, movie, "--out", tmp_path).works()
    assert "cut off" in result.out
    assert lines.read_bytes().startswith(first) and len(whole(tmp_path)) == 4

def test_kill_9_in_an_event(camera, model, movie, tmp_path):
    call("watch", model, movie, "--out", tmp_path).works()
    before = (tmp_path/"events.jsonl").read_bytes()
    p = Running(model, camera.url(), "--out", tmp_path)
    wait(lambda: camera.sent > 20, "twenty frames")
    camera.mode = "strange"
    p.says("event 1 begins")
    wait(lambda: list(tmp_path.glob("events/.*")), "the clip in the making")
    p.process.kill()
    p.process.wait()
    assert (tmp_path/"events.jsonl").read_bytes() == before
    call("watch", model, movie, "--out", tmp_path).works()
    assert len(whole(tmp_path)) == 4

def test_a_service_managers_stop_in_a_terminal(camera, model, tmp_path):
    "SIGTERM ends as cleanly as Ctrl-C, and a terminal has one live line."
    terminal, theirs = pty.openpty()
    shown = bytearray()
    def read():
        while True: shown.extend(os.read(terminal, 4096))

    command = [COMMAND, "watch", str(model), camera.url(), "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    in_background(read)
    live = re.compile(rb"\r\x1b\[K\d\d:\d\d:\d\d  score 0\.\d{4} \[[#|-]{21}\]")
    wait(lambda: len(live.findall(bytes(shown))) > 5, "a live line")
    camera.mode = "strange"
    wait(lambda: b"event 1 begins" in shown, "an event")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130 and "interrupted" in process.stderr.read()
    assert len(whole(tmp_path)) == 1 and SECRET.encode() not in shown

def test_keep_days(model, movie, tmp_path):
    from ddl_nb.watch import file_name
    day, now = 86400, time.time()
    old, new = file_name(now - 3 * day), file_name(now - day)
    kept = {f"{new}.jpg", "wedding.jpg", f"{old}.png", f"copy of {old}.jpg"}
    (tmp_path/"events").mkdir()
    for name in {f"{old}.jpg", f"{old}.mp4", *kept}: (tmp_path/"events"/name).touch()
    call("watch", model, movie, "--out", tmp_path, "--keep-days", 2).works()
    written = events(tmp_path)
    theirs = {tmp_path/e[key] for e in written for key in ("snapshot", "clip")}
    left = set((tmp_path/"events").iterdir()) - theirs
    assert {f.name for f in left} == kept and len(written) == 2


# Commands, webhooks, slow machines and full disks ---------------------------------------

@pytest.fixture
def check_notification(model, movie, tmp_path, monkeypatch):
    "Watches a film and checks that a notification's failure is said for each event."
    monkeypatch.setattr("ddl_nb.watch.ANSWER_SECONDS", 1)
    def check(option, value, words):
        start = time.monotonic()
        said = call("watch", model, movie, "--out", tmp_path, option, value).works().out
        assert said.count(words) == 2 and "the event is kept" in said
        assert SECRET not in said
        assert time.monotonic() - start < 20 and len(whole(tmp_path)) == 2
    return check

@pytest.mark.parametrize("command, words", [
    ("exit 3", "the command ended with exit code 3"),
    ("sleep 30", "the command was ended after 1 s"),
])
def test_a_command_that_fails(command, words, check_notification):
    check_notification("--command", command, words)

@pytest.mark.parametrize("status, delay, words", [
    (503, 0, "answers 503"),
    (204, 3, "does not answer in 1 s"),
])
def test_a_webhook_that_fails(status, delay, words, check_notification):
    check_notification("--webhook", Hook(status, delay).url, words)

def test_a_webhook_that_is_off(check_notification):
    hook = Hook()
    hook.server.shutdown()
    hook.server.server_close()
    check_notification("--webhook", hook.url, "cannot be reached")

def test_a_machine_that_is_too_slow(camera, model, tmp_path, monkeypatch):
    "Frames are skipped and counted, and no score is late."
    from ddl_nb import watch
    push, late = watch.Frozen.push, []
    def slow(self, frame):
        late.append(time.time() - frame.arrived)
        time.sleep(.1)
        return push(self, frame)

    monkeypatch.setattr(watch.Frozen, "push", slow)
    then_press(lambda: wait(lambda: len(late) > 30, "thirty frames"))
    result = call("watch", model, camera.url(), "--out", tmp_path)
    result.fails(130, "interrupted")
    skipped, = re.findall(r"skipped (\d+)  events 0\n$", result.out)
    # five frames came for each that was scored
    assert int(skipped) > 60
    assert np.median(late[-10:]) < np.median(late[5:15]) + .2

def test_another_scene(detector, tmp_path):
    "The scores of five minutes are not those of the calibration: said once, with the remedy."
    from ddl_nb.detector import Calibration
    promise = Calibration(.9, per_hour=1, low=.2, high=5, blocks=30, fps=2, usual=[0., .001, 500])
    replace(detector, calibration=promise).save(tmp_path/"model.safetensors")
    film, code = tmp_path/"slow.mp4", cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(film), code, 2, (96, 64))
    for i in range(500): writer.write(picture(i))
    writer.release()
    said = call("watch", tmp_path, film, "--out", tmp_path/"x").works().out
    assert said.count("ddl calibrate") == 1 and "have left" in said
    assert "not calibrated" not in said

def test_full_disk(small_disk, model, movie, tmp_path):
    "Watching goes on, whoever is called is called, and what was whole stays whole."
    place, fill = small_disk
    out, heard = place/"w", tmp_path/"heard.jsonl"
    lines = out/"events.jsonl"
    call("watch", model, movie, "--out", out).works()
    room = -lines.stat().st_size % 4096
    fill(0)
    with open(lines, "ab") as f:                              # to the end of its last block
        f.write(b" " * (room - 101) + b"\n" + b" " * 99 + b"\n")
    before = lines.read_bytes()
    result = call("watch", model, movie, "--out", out, "--command", f"cat >> {heard}")
    result.fails(1, lines, "2 events", "room")
    assert result.out.count("Watching goes on") == 1
    assert result.out.count("event over") == 2
    assert [h["snapshot"] for h in read_lines(heard)] == [None, None]
    assert lines.read_bytes() == before and not list((out/"events").glob(".*"))

def test_a_disk_that_gets_room_again(small_disk, camera, model):
    "The first event finds it full and has it cleared: its line waits, the second is whole."
    place, fill = small_disk
    out, filler = place/"w", place/"filler"
    out.mkdir()
    fill(0)
    def an_event(n):
        wait(lambda: camera.sent > 30, "thirty frames")
        camera.mode = "strange"
        wait(lambda: not filler.exists() and camera.sent > 80, "room")
        camera.mode = "quiet"
        wait(lambda: len(events(out)) == n, "the event's line")
        camera.sent = 0

    def drive():
        an_event(1)
        an_event(2)

    then_press(drive)
    result = call("watch", model, camera.url(), "--out", out, "--before", .2, "--after", .2,
                  "--command", f"rm -f {filler}")
    result.fails(130, "interrupted")
    assert result.out.count("Watching goes on") == 1
    assert result.out.count("writing works again") == 1
    first, second = events(out)
    assert second["snapshot"] and second["clip"] and set(first) == EVENT


# RTSP -----------------------------------------------------------------------------------

class RTSP(socketserver.ThreadingTCPServer):
    """A camera as most are: RTSP with a password, and in it JPEGs by RFC 2435, over TCP. It hangs
    up when `show` is None."""
    daemon_threads, block_on_close, allow_reuse_address = True, False, True
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Session)
        self.show, self.sent, self.port = "quiet", 0, self.server_address[1]
        self.jpegs = {"quiet": jpegs(), "strange": jpegs(True)}
        serve(self)

    def handle_error(self, *_): pass

DESCRIPTION = "\r\n".join([
    "v=0",
    "o=- 0 0 IN IP4 127.0.0.1",
    "s=yard",
    "t=0 0",
    "m=video 0 RTP/AVP 26",
    "a=control:1",
    "",
])

PLAYING = {"Public": "DESCRIBE, SETUP, PLAY",
           "Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
TABLE = re.compile(rb"\xff\xdb\x00\x43[\x00\x01]", re.S)

class Session(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.read_line():
            headers = dict(h.split(": ", 1) for h in iter(self.read_line, ""))
            method, url, _ = line.split()
            self.common = {"CSeq": headers["CSeq"], "Session": "1"}
            if method == "DESCRIBE": self.describe(url, headers.get("Authorization"))
            else: self.reply("200 OK", PLAYING)
            if method == "PLAY": return self.play()

    def read_line(self): return self.rfile.readline().decode().strip()

    def describe(self, url, authorization):
        if authorization != ALLOWED:
            return self.reply("401 Unauthorized", {"WWW-Authenticate": 'Basic realm="camera"'})
        headers = {"Content-Type": "application/sdp", "Content-Base": url + "/"}
        self.reply("200 OK", PLAYING | headers, DESCRIPTION)

    def reply(self, status, headers, body=""):
        headers = self.common | headers | {"Content-Length": len(body)}
        lines = [f"RTSP/1.0 {status}", *(f"{k}: {v}" for k, v in headers.items()), "", body]
        self.wfile.write("\r\n".join(lines).encode())

    def play(self):
        self.number = 0
        for i in itertools.count():
            if self.server.show is None: return
            self.send_jpeg(self.server.jpegs[self.server.show][i % 50], i * 3600)
            self.server.sent += 1
            time.sleep(.04)

    def send_jpeg(self, data, timestamp):
        "Its scan in packets of 1200 bytes; the first begins with the quantization tables."
        tables = b"".join(data[m.end():m.end() + 64] for m in TABLE.finditer(data))
        at = data.index(b"\xff\xda") + 2
        scan = data[at + int.from_bytes(data[at:at + 2]):-2]
        for start in range(0, len(scan), 1200):
            last = start + 1200 >= len(scan)
            head = struct.pack(">BBHII", 0x80, 26 | last << 7, self.number & 0xffff, timestamp, 7)
            head += struct.pack(">IBBBB", start, 1, 255, 96 // 8, 64 // 8)
            if start == 0: head += struct.pack(">HH", 0, len(tables)) + tables
            packet = head + scan[start:start + 1200]
            self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            self.number += 1

def test_rtsp(model, tmp_path):
    "An event, a camera that is restarted, another event; and a wrong password."
    camera = RTSP()
    def an_event(n):
        wait(lambda: camera.sent > 30, "thirty frames")
        camera.show = "strange"
        wait(lambda: camera.sent > 70, "forty more")
        camera.show = "quiet"
        wait(lambda: len(events(tmp_path)) == n, "the event's line")

    def drive():
        an_event(1)
        camera.show, camera.sent = None, 0
        time.sleep(.5)
        camera.show = "quiet"
        an_event(2)

    def watch(password, out, *options):
        source = f"rtsp://admin:{password}@127.0.0.1:{camera.port}/live?pwd={password}"
        return call("watch", model, source, "--out", out, "--patience", 4, *options)

    name = f"rtsp://127.0.0.1:{camera.port}/live"
    then_press(drive)
    result = watch(SECRET, tmp_path, "--before", .5, "--after", .2)
    result.fails(130, "interrupted")
    assert len(whole(tmp_path)) == 2 and events(tmp_path)[0]["source"] == name
    assert result.out.count("broke off") == result.out.count("frames again") == 1
    assert SECRET not in result.out + (tmp_path/"events.jsonl").read_text()
    wrong = watch("wr0ng", tmp_path/"x")
    assert "wr0ng" not in wrong.fails(1, name, "password") + wrong.out
