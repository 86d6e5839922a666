"""A camera that does everything a camera should not: the picture breaks, freezes, changes its size, stops, refuses, dies and comes back."""
import itertools, json, os, pty, re, signal, socket, socketserver, struct, subprocess, threading, time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import torch

from conftest import COMMAND, call, spawn, write_movie

SECRET = "gehe1m"
EVENT = {"source", "start", "end", "seconds", "peak", "score", "level", "box", "size", "frames", "snapshot", "clip", "cut"}


# A small model, a scene and a camera ---------------------------------------------------------------------------------

def picture(i, strange=False, size=(64, 96)):
    "Dark with noise; strange with a white square in the middle."
    frame = np.random.default_rng(i).integers(0, 20, (*size, 3), dtype=np.uint8)
    if strange: frame[size[0] // 4:size[0] * 3 // 4, size[1] // 3:size[1] * 2 // 3] = 255
    return frame

def jpeg(*args): return cv2.imencode(".jpg", picture(*args)[..., ::-1])[1].tobytes()

def film(n, *strange):
    "n frames, strange in the ranges (first, last + 1)."
    return np.stack([picture(i, any(a <= i < b for a, b in strange)) for i in range(n)])

@pytest.fixture(scope="module")
def detector():
    "It has learnt nothing, so white is strange to it: the level lies between what it says of the two kinds of pictures."
    from ddl_nb.data import Clip
    from ddl_nb.detector import Detector
    from ddl_nb.training import Settings
    torch.manual_seed(0)
    settings = Settings("recon", latent=8, height=32)
    made = Detector(settings.model().eval(), settings, (32, 48), {"0.99": 1., "map": 1.})
    smoothed = made.score(Clip(film(60, (30, 60)))).smoothed
    made.scale["0.99"] = float(smoothed[10] + smoothed[50]) / 2
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

class Camera:
    "MJPEG over HTTP, with a password. `mode` is what it shows; `stop` kills it, connections and all, `start` brings it back at the same port."
    def __init__(self, mode="quiet"):
        self.mode, self.port, self.sent, self.server = mode, 0, 0, None
        self.jpegs = {"quiet": [jpeg(i) for i in range(50)], "strange": [jpeg(i, True) for i in range(50)], "bigger": [jpeg(i, False, (80, 120)) for i in range(50)]}
        self.jpegs |= {"still": self.jpegs["quiet"][:1], "cut": [j[:len(j) // 2] for j in self.jpegs["quiet"]], "garbage": [b"x" * 500]}
        self.start()

    def url(self, password=SECRET): return f"http://admin:{password}@127.0.0.1:{self.port}/video?pwd={password}"

    def start(self):
        camera = self
        class Answer(BaseHTTPRequestHandler):
            def log_message(self, *_): pass
            def do_GET(self):
                if camera.mode == "refuse" or self.headers["Authorization"] != "Basic " + b64encode(f"admin:{SECRET}".encode()).decode():
                    self.send_response(401); self.send_header("WWW-Authenticate", 'Basic realm="camera"'); self.send_header("Content-Length", "0"); self.end_headers()
                    return
                server = self.server
                server.sockets.append(self.connection)
                self.send_response(200); self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x"); self.end_headers()
                i = 0
                while camera.server is server:
                    time.sleep(.02)
                    if camera.mode in ("silent", "refuse"): continue
                    parts = camera.jpegs[camera.mode]
                    part, i = parts[i % len(parts)], i + 1
                    try: self.wfile.write(b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(part), part))
                    except OSError: return
                    camera.sent += 1
        class Server(ThreadingHTTPServer):
            daemon_threads, block_on_close, allow_reuse_address = True, False, True
            def handle_error(self, *_): pass
        self.server = Server(("127.0.0.1", self.port), Answer)
        self.server.sockets, self.port = [], self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(.05,), daemon=True).start()

    def stop(self):
        server, self.server = self.server, None
        server.shutdown(); server.server_close()
        for s in server.sockets:
            try: s.shutdown(socket.SHUT_RDWR)
            except OSError: pass

@pytest.fixture
def camera():
    made = Camera()
    yield made
    if made.server: made.stop()

class Hook:
    "A webhook on this machine: what was posted, and an answer of `status`, after `delay` seconds."
    def __init__(self, status=204, delay=0):
        hook, self.posted = self, []
        class Answer(BaseHTTPRequestHandler):
            def log_message(self, *_): pass
            def do_POST(self):
                hook.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                time.sleep(delay)
                self.send_response(status); self.end_headers()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads, self.server.handle_error = True, lambda *_: None
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

def events(out): return [json.loads(line) for line in (out/"events.jsonl").read_text().splitlines()]

def whole(out):
    "Each line has all fields, and each file it names is there and can be read; returns the lines."
    from ddl_nb.data import Clip
    for e in events(out):
        assert set(e) == EVENT
        assert cv2.imread(str(out/e["snapshot"])).shape == (e["size"][0] + 12, e["size"][1], 3)
        assert Clip(out/e["clip"]).size == tuple(e["size"])
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
        threading.Thread(target=lambda: self.text.extend(iter(self.process.stdout.readline, "")), daemon=True).start()
    @property
    def out(self): return "".join(self.text)
    def says(self, words, since=0): wait(lambda: self.process.poll() is not None or words in self.out[since:], f"{words!r} in\n{self.out}"); assert words in self.out[since:], (self.out, self.process.stderr.read())
    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, self.process.stderr.read()

def press_when(condition):
    "Ctrl-C for a command that runs in this process."
    def press():
        try: wait(condition, "time to press Ctrl-C")
        finally: os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=press, daemon=True).start()


# One long day --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def day(model, tmp_path_factory):
    "Everything that happens to one process, one after the other: the folder, what it said, its exit code, and what was called."
    out, camera, hook = tmp_path_factory.mktemp("day"), Camera(), Hook()
    p = Running(model, camera.url(), "--out", out, "--before", .5, "--after", .3, "--patience", 1, "--command", f"cat >> {out}/heard.jsonl", "--webhook", hook.url)
    def event(n):
        camera.mode = "strange"; p.says(f"event {n} begins")
        camera.mode = "quiet"; wait(lambda: p.out.count("event over") == n, "the event's end")
    wait(lambda: camera.sent > 20, "twenty frames")
    event(1)
    for mode, words in (("cut", "broken pictures"), ("bigger", "its frames are 80x120 now, they were 64x96"), ("still", "the same picture for 1 s"), ("quiet", "moves again"), ("silent", "no frame for 1 s; trying again")):
        since = len(p.out)
        camera.mode = mode; p.says(words, since)
        if mode in ("cut", "bigger"): camera.mode = "quiet"; time.sleep(.3)
    camera.mode = "quiet"; p.says("frames again"); since = len(p.out)
    camera.stop(); p.says("the connection broke off", since); time.sleep(1.5)
    camera.start(); p.says("frames again", since); since = len(p.out)
    event(2)
    camera.mode = "refuse"; p.says("no frame for 1 s", since); time.sleep(1.5)
    camera.mode = "quiet"; p.says("frames again", since)
    camera.mode = "strange"; p.says("event 3 begins"); time.sleep(.5)
    code, err = p.end()
    camera.stop()
    return out, p.out, code, err, hook

def test_each_trouble_is_said_once(day):
    said = day[1]
    for words, times in (("not calibrated", 1), ("broken pictures", 1), ("the same picture", 1), ("moves again", 1), ("trying again", 3), ("frames again", 3), ("80x120 now", 1)):
        assert said.count(words) == times, (words, said)
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  |\d\d:\d\d:\d\d  score ", line) for line in said.splitlines()), said
    assert re.search(r"skipped \d+  events 3\n$", said)

def test_three_events_are_whole(day):
    first, _, last = whole(day[0])
    assert first["source"] == last["source"] and first["size"] == [64, 96] and first["frames"][1] < last["frames"][0]
    x1, y1, x2, y2 = first["box"]
    assert x1 < 64 and x2 > 32 and y1 < 48 and y2 > 16                       # it meets the square
    assert first["level"] < first["score"] and first["start"] <= first["peak"] <= first["end"] and re.search(r"[+-]\d\d:\d\d$", first["start"])

def test_ctrl_c_closes_the_open_event(day):
    out, said, code, err, _ = day
    assert code == 130 and err.count("\n") == 1 and "ddl watch" in err, err
    assert said.count("event over") == 3 and len(events(out)) == 3

def test_command_and_webhook_hear_each_event_at_its_beginning(day):
    out, *_, hook = day
    heard = [json.loads(line) for line in (out/"heard.jsonl").read_text().splitlines()]
    assert heard == hook.posted and len(heard) == 3
    for h, e in zip(heard, events(out)):
        assert "end" not in h and {k: h[k] for k in ("source", "start", "snapshot", "clip", "level")} == {k: e[k] for k in ("source", "start", "snapshot", "clip", "level")}

def test_the_password_is_nowhere(day):
    out, said, _, err, _ = day
    everything = said.encode() + err.encode() + b"".join(f.read_bytes() for f in out.rglob("*") if f.is_file())
    assert SECRET.encode() not in everything and b"admin" not in everything and b"127.0.0.1" in everything


# Cameras that never work ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fault", ["off", "password", "silent", "garbage", "cut", "no webcam"])
def test_a_camera_that_never_sends_a_frame(fault, camera, model, tmp_path):
    source = {"password": camera.url("wr0ng"), "no webcam": "63"}.get(fault, camera.url())
    camera.mode = fault if fault in camera.jpegs or fault == "silent" else "quiet"
    if fault == "off": camera.stop()
    result = call("watch", model, source, "--out", tmp_path, "--patience", 1)
    line = result.fails(1, "webcam 63" if fault == "no webcam" else f"http://127.0.0.1:{camera.port}/video: ", "check the address")
    assert not re.search(f"{SECRET}|wr0ng|admin", result.out + line)
    assert (tmp_path/"events.jsonl").read_text() == ""

@pytest.mark.parametrize("args, words", [(["--patience", 0], "--patience"), (["--patience", "nan"], "--patience"), (["--before", -1], "--before"), (["--after", "inf"], "--after"), (["--keep-days", -2], "--keep-days"), (["--webhook", f"ftp://me:{SECRET}@x"], "http")])
def test_wrong_options(args, words, model, movie, tmp_path):
    assert SECRET not in call("watch", model, movie, "--out", tmp_path/"x", *args).fails(2, words)
    assert not (tmp_path/"x").exists()

def test_wrong_source_or_place(model, movie, tmp_path):
    call("watch", model, tmp_path/"no.mp4", "--out", tmp_path/"x").fails(1, tmp_path/"no.mp4", "no such file")
    (tmp_path/"text.mp4").write_text("no film")
    call("watch", model, tmp_path/"text.mp4", "--out", tmp_path/"x").fails(1, tmp_path/"text.mp4")
    call("watch", model, movie, "--out", tmp_path/"text.mp4").fails(1, tmp_path/"text.mp4", "cannot be written")
    assert not (tmp_path/"x").exists()


# Films, restarts and old files ---------------------------------------------------------------------------------------

def test_a_film_is_watched_whole_and_a_restart_appends(model, detector, movie, tmp_path):
    from ddl_nb.alarms import find_events, gap_frames
    from ddl_nb.data import Clip
    said = call("watch", model, movie, "--out", tmp_path, "--before", 1, "--after", 1).works().out
    assert "skipped 0  events 2" in said and "frames 200, events 2" in said
    found = find_events(detector.score(Clip(movie)).smoothed, detector.threshold, gap_frames(20))
    assert [e["frames"] for e in whole(tmp_path)] == [[e.start, e.end, e.peak] for e in found]
    clip = Clip(tmp_path/events(tmp_path)[0]["clip"])
    assert len(clip) == 20 + found[0].end - found[0].start + 1 + 20
    first = (tmp_path/"events.jsonl").read_bytes()
    with open(tmp_path/"events.jsonl", "ab") as f: f.write(b'{"source": "yard", "sta')                # a power cut
    result = call("watch", model, movie, "--out", tmp_path).works()
    assert "cut off" in result.out and (tmp_path/"events.jsonl").read_bytes().startswith(first) and len(whole(tmp_path)) == 4

def test_kill_9_in_an_event(camera, model, movie, tmp_path):
    call("watch", model, movie, "--out", tmp_path).works()
    before = (tmp_path/"events.jsonl").read_bytes()
    p = Running(model, camera.url(), "--out", tmp_path)
    wait(lambda: camera.sent > 20, "twenty frames")
    camera.mode = "strange"; p.says("event 1 begins")
    wait(lambda: list(tmp_path.glob("events/.*")), "the clip in the making")
    p.process.kill(); p.process.wait()
    assert (tmp_path/"events.jsonl").read_bytes() == before
    call("watch", model, movie, "--out", tmp_path).works()
    assert len(whole(tmp_path)) == 4

def test_a_service_managers_stop_in_a_terminal(camera, model, tmp_path):
    "SIGTERM ends as cleanly as Ctrl-C, and a terminal has one live line."
    terminal, theirs = pty.openpty()
    process = subprocess.Popen([COMMAND, "watch", str(model), camera.url(), "--out", str(tmp_path)], stdout=theirs, stderr=subprocess.PIPE, text=True)
    shown, live = [], re.compile(rb"\r\x1b\[K\d\d:\d\d:\d\d  score 0\.\d{4} \[[#|-]{21}\]")
    threading.Thread(target=lambda: [shown.append(os.read(terminal, 4096)) for _ in iter(int, 1)], daemon=True).start()
    wait(lambda: len(live.findall(b"".join(shown))) > 5, "a live line")
    camera.mode = "strange"
    wait(lambda: b"event 1 begins" in b"".join(shown), "an event")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130 and "interrupted" in process.stderr.read()
    assert len(whole(tmp_path)) == 1 and SECRET.encode() not in b"".join(shown)

def test_keep_days(model, movie, tmp_path):
    from ddl_nb.watch import file_name
    day, now = 86400, time.time()
    old, new = file_name(now - 3 * day), file_name(now - day)
    (tmp_path/"events").mkdir()
    for name in (f"{old}.jpg", f"{old}.mp4", f"{new}.jpg", "wedding.jpg", f"{old}.png", f"copy of {old}.jpg"): (tmp_path/"events"/name).write_text("")
    call("watch", model, movie, "--out", tmp_path, "--keep-days", 2).works()
    left = {f.name for f in (tmp_path/"events").iterdir()} - {e[k].removeprefix("events/") for e in events(tmp_path) for k in ("snapshot", "clip")}
    assert left == {f"{new}.jpg", "wedding.jpg", f"{old}.png", f"copy of {old}.jpg"} and len(events(tmp_path)) == 2


# Commands, webhooks, slow machines and full disks --------------------------------------------------------------------

@pytest.mark.parametrize("fault, words", [("fails", "the command ended with exit code 3"), ("hangs", "the command was ended after 1 s"), ("webhook refuses", "answers 503"), ("webhook hangs", "does not answer in 1 s"), ("webhook is off", "cannot be reached")])
def test_a_notification_that_fails(fault, words, model, movie, tmp_path, monkeypatch):
    monkeypatch.setattr("ddl_nb.watch.ANSWER", 1)
    hook = Hook(503 if "refuses" in fault else 204, 3 if "hangs" in fault else 0)
    if "off" in fault: hook.server.shutdown(); hook.server.server_close()
    option = ["--webhook", hook.url] if "webhook" in fault else ["--command", "exit 3" if fault == "fails" else "sleep 30"]
    start = time.monotonic()
    result = call("watch", model, movie, "--out", tmp_path, *option).works()
    assert result.out.count(words) == 2 and "the event is kept" in result.out and SECRET not in result.out
    assert time.monotonic() - start < 20 and len(whole(tmp_path)) == 2

def test_a_machine_that_is_too_slow(camera, model, tmp_path, monkeypatch):
    "Frames are skipped and counted, and no score is late."
    from ddl_nb import watch
    push, late = watch.Frozen.push, []
    def slow(self, frame):
        late.append(time.time() - frame.arrived)
        time.sleep(.1)
        return push(self, frame)
    monkeypatch.setattr(watch.Frozen, "push", slow)
    press_when(lambda: len(late) > 30)
    result = call("watch", model, camera.url(), "--out", tmp_path)
    result.fails(130, "interrupted")
    skipped, = re.findall(r"skipped (\d+)  events 0\n$", result.out)
    assert int(skipped) > 60                                  # five frames came for each that was scored
    assert np.median(late[-10:]) < np.median(late[5:15]) + .2

def test_another_scene(detector, tmp_path):
    "The scores of five minutes are not those of the calibration: said once, with the remedy."
    from dataclasses import replace
    replace(detector, calibration=dict(level=.9, usual=[0., .001, 500], fps=2)).save(tmp_path/"model.safetensors")
    writer = cv2.VideoWriter(str(tmp_path/"slow.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 2, (96, 64))
    for i in range(500): writer.write(picture(i))
    writer.release()
    said = call("watch", tmp_path, tmp_path/"slow.mp4", "--out", tmp_path/"x").works().out
    assert said.count("ddl calibrate") == 1 and "have left" in said and "not calibrated" not in said

def test_full_disk(small_disk, model, movie, tmp_path):
    "Watching goes on, whoever is called is called, and what was whole stays whole."
    place, fill = small_disk
    call("watch", model, movie, "--out", place/"w").works()
    before = (place/"w"/"events.jsonl").read_bytes()
    fill(0)
    with open(place/"w"/"events.jsonl", "ab") as f:            # to the end of its last block
        room = -len(before) % 4096
        f.write(b" " * (room - 101) + b"\n" + b" " * 99 + b"\n")
    before = (place/"w"/"events.jsonl").read_bytes()
    result = call("watch", model, movie, "--out", place/"w", "--command", f"cat >> {tmp_path}/heard.jsonl")
    result.fails(1, place/"w"/"events.jsonl", "2 events", "room")
    assert result.out.count("Watching goes on") == 1 and result.out.count("event over") == 2
    assert [json.loads(line)["snapshot"] for line in (tmp_path/"heard.jsonl").read_text().splitlines()] == [None, None]
    assert (place/"w"/"events.jsonl").read_bytes() == before and not list((place/"w"/"events").glob(".*"))

def test_a_disk_that_gets_room_again(small_disk, camera, model):
    "The first event finds it full and has it cleared: its line waits, the second is whole."
    place, fill = small_disk
    out = place/"w"
    out.mkdir(); fill(0)
    def drive():
        try:
            for n in (1, 2):
                wait(lambda: camera.sent > 30, "thirty frames")
                camera.mode = "strange"; wait(lambda: not (place/"filler").exists() and camera.sent > 80, "room")
                camera.mode = "quiet"; wait(lambda: len(events(out)) == n, "the event's line")
                camera.sent = 0
        finally: os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=drive, daemon=True).start()
    result = call("watch", model, camera.url(), "--out", out, "--before", .2, "--after", .2, "--command", f"rm -f {place}/filler")
    result.fails(130, "interrupted")
    assert result.out.count("Watching goes on") == 1 and result.out.count("writing works again") == 1
    first, second = events(out)
    assert second["snapshot"] and second["clip"] and set(first) == EVENT


# RTSP ----------------------------------------------------------------------------------------------------------------

class RTSP(socketserver.ThreadingTCPServer):
    "A camera as most are: RTSP with a password, and in it JPEGs by RFC 2435, over TCP. `show` hangs up when it is None."
    daemon_threads, block_on_close, allow_reuse_address = True, False, True
    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Session)
        self.show, self.sent, self.port = "quiet", 0, self.server_address[1]
        self.jpegs = {"quiet": [jpeg(i) for i in range(50)], "strange": [jpeg(i, True) for i in range(50)]}
        threading.Thread(target=self.serve_forever, args=(.05,), daemon=True).start()
    def handle_error(self, *_): pass

class Session(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline().decode().strip():
            headers = dict(h.split(": ", 1) for h in iter(lambda: self.rfile.readline().decode().strip(), ""))
            method, url, _ = line.split()
            answer = {"CSeq": headers["CSeq"], "Session": "1"}
            if method == "DESCRIBE" and headers.get("Authorization") != "Basic " + b64encode(f"admin:{SECRET}".encode()).decode():
                self.reply("401 Unauthorized", answer | {"WWW-Authenticate": 'Basic realm="camera"'}); continue
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=yard\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:1\r\n" if method == "DESCRIBE" else ""
            self.reply("200 OK", answer | {"Public": "DESCRIBE, SETUP, PLAY", "Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"} | ({"Content-Type": "application/sdp", "Content-Base": url + "/"} if body else {}), body)
            if method == "PLAY": return self.play()

    def reply(self, status, headers, body=""):
        lines = [f"RTSP/1.0 {status}", *(f"{k}: {v}" for k, v in headers.items()), f"Content-Length: {len(body)}", "", body]
        self.wfile.write("\r\n".join(lines).encode())

    def play(self):
        number = 0
        for i in itertools.count():
            if self.server.show is None: return
            data = self.server.jpegs[self.server.show][i % 50]
            tables = b"".join(data[m.end():m.end() + 64] for m in re.finditer(rb"\xff\xdb\x00\x43[\x00\x01]", data, re.S))
            scan = data[(at := data.index(b"\xff\xda")) + 2 + int.from_bytes(data[at + 2:at + 4]):-2]
            for start in range(0, len(scan), 1200):
                part = scan[start:start + 1200]
                head = struct.pack(">BBHII", 0x80, 26 | (start + 1200 >= len(scan)) << 7, number & 0xffff, i * 3600, 7)
                head += struct.pack(">IBBBB", start, 1, 255, 96 // 8, 64 // 8) + (struct.pack(">HH", 0, len(tables)) + tables if start == 0 else b"")
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(head) + len(part)) + head + part)
                number += 1
            self.server.sent += 1
            time.sleep(.04)

def test_rtsp(model, tmp_path):
    "An event, a camera that is restarted, another event; and a wrong password."
    camera = RTSP()
    def drive():
        try:
            for n in (1, 2):
                wait(lambda: camera.sent > 30, "thirty frames")
                camera.show = "strange"; wait(lambda: camera.sent > 70, "forty more")
                camera.show = "quiet"; wait(lambda: len(events(tmp_path)) == n, "the event's line")
                if n == 1: camera.show, camera.sent = None, 0; time.sleep(.5); camera.show = "quiet"
        finally: os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=drive, daemon=True).start()
    result = call("watch", model, f"rtsp://admin:{SECRET}@127.0.0.1:{camera.port}/live?pwd={SECRET}", "--out", tmp_path, "--before", .5, "--after", .2, "--patience", 4)
    result.fails(130, "interrupted")
    assert len(whole(tmp_path)) == 2 and events(tmp_path)[0]["source"] == f"rtsp://127.0.0.1:{camera.port}/live"
    assert result.out.count("broke off") == result.out.count("frames again") == 1 and SECRET not in result.out + (tmp_path/"events.jsonl").read_text()
    wrong = call("watch", model, f"rtsp://admin:wr0ng@127.0.0.1:{camera.port}/live", "--out", tmp_path/"x", "--patience", 4)
    assert "wr0ng" not in wrong.fails(1, f"rtsp://127.0.0.1:{camera.port}/live", "password") + wrong.out
