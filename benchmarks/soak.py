"""Does `watch` go on for ever? Many frames from a camera on this machine, with memory, disk and
latency over time: python benchmarks/soak.py [--frames 100000].

The camera is a process of its own that sends the plaza as MJPEG over HTTP and hangs up every 20,000
frames. The model is a small one (latent 8, height 64, an epoch on the plaza), for it is the number
of frames that matters. Pictures are kept for two minutes, so that the disk has to level off. Writes
results/soak.json and results/soak.png.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HANG_UP, KEEP_MINUTES, SIZE, RATE = 20_000, 2, (64, 96), 100


def scene():
    from ddl_nb.plaza import plaza
    return plaza(train_clips=4, test_clips=4, size=SIZE)


def scene_jpegs():
    "The scene's clips, a normal one and one with anomalies in turns, as JPEGs."
    import cv2
    plaza = scene()
    clips = [clip for pair in zip(plaza.train, plaza.test) for clip in pair]
    frames = [frame for clip in clips for frame in clip.array()]
    return [cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes() for frame in frames]


class Answer(BaseHTTPRequestHandler):
    "The server's `jpegs`, over and over, RATE frames a second, until it hangs up."
    def log_message(self, *_): pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
        self.end_headers()
        try: self.send_pictures(self.server.jpegs)
        except OSError: pass

    def send_pictures(self, jpegs):
        start = time.perf_counter()
        for i in range(HANG_UP):
            part = jpegs[i % len(jpegs)]
            self.wfile.write(b"--x\r\nContent-Type: image/jpeg\r\n"
                             b"Content-Length: %d\r\n\r\n%s\r\n" % (len(part), part))
            time.sleep(max(0, start + i / RATE - time.perf_counter()))


def camera():
    "Serve the scene's clips; prints the port."
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.jpegs = scene_jpegs()
    print(server.server_port, flush=True)
    server.serve_forever()


class Enough(Exception): pass


class Recorder:
    "A screen that keeps a row every few hundred frames, and what was said."
    def __init__(self, frames, out):
        import psutil
        self.process, self.out = psutil.Process(), out
        self.frames, self.every = frames, max(1, frames // 400)
        self.rows, self.said, self.latency = [], [], []
        self.start = time.perf_counter()

    def say(self, message): self.said.append(message)

    def close(self): pass

    def show(self, status):
        self.latency.append(status.latency)
        if len(self.latency) == self.every or status.frames >= self.frames:
            self.rows.append(self.row(status))
            self.latency = []
        if status.frames >= self.frames: raise Enough

    def row(self, status):
        late = sorted(self.latency)
        files = [f.stat().st_size for f in self.out.rglob("*") if f.is_file()]
        return dict(
            frame=status.frames,
            seconds=round(time.perf_counter() - self.start, 1),
            rss_mib=round(self.process.memory_info().rss / 2**20, 1),
            disk_mib=round(sum(files) / 2**20, 3),
            files=len(files),
            latency_ms=round(1e3 * late[len(late) // 2], 2),
            latency_p99_ms=round(1e3 * late[len(late) * 99 // 100], 2),
            skipped=status.skipped,
            events=status.events)


def soak(frames):
    "Watch so many frames; returns the rows and what was said."
    from ddl_nb.detector import Detector
    from ddl_nb.training import Settings
    from ddl_nb.watch import watch
    settings = Settings("recon", latent=8, height=SIZE[0], epochs=1)
    detector = Detector.fit(scene(), settings, progress=False)
    command = [sys.executable, __file__, "--camera"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        source = f"http://127.0.0.1:{int(process.stdout.readline())}/"
        with tempfile.TemporaryDirectory() as folder:
            recorder = Recorder(frames, Path(folder))
            with suppress(Enough):
                watch(detector, source, folder, before=2, after=2,
                      keep_days=KEEP_MINUTES / 1440, screen=recorder)
            lines = (Path(folder) / "events.jsonl").read_text().splitlines()
            events = [json.loads(line) for line in lines]
    finally:
        process.kill()
        process.wait()
    outages = sum("frames again" in m for m in recorder.said)
    return recorder.rows, dict(events_written=len(events), outages=outages)


def plot(rows, path):
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns
    from matplotlib.ticker import LogFormatter
    sns.set_theme("notebook", "whitegrid", "colorblind", font_scale=.8)
    table = pd.DataFrame(rows)
    fig, (memory, disk, latency) = plt.subplots(3, 1, figsize=(7, 6), sharex=True, dpi=90)
    memory.plot(table.frame, table.rss_mib)
    memory.set(ylabel="resident memory, MiB", ylim=(0, 1.2 * table.rss_mib.max()))
    disk.plot(table.frame, table.disk_mib, color="C1")
    disk.set(ylabel="disk, MiB", ylim=(0, None))
    latency.plot(table.frame, table.latency_ms, color="C2", label="median")
    latency.plot(table.frame, table.latency_p99_ms, color="C2", alpha=.4, label="99 %")
    latency.set(ylabel="latency, ms", yscale="log",
                xlabel="frames scored", xlim=(0, table.frame.max()))
    latency.legend(loc="upper right", ncols=2)
    latency.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(2, .5)))
    latency.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, .5)))
    fig.tight_layout()
    fig.savefig(path)


def summarise(rows):
    import numpy as np
    def median(key): return float(np.median([r[key] for r in rows]))

    last, n = rows[-1], len(rows) // 2
    rss = np.array([r["rss_mib"] for r in rows])
    growth = np.median(rss[-n // 4:]) - np.median(rss[n:n + n // 4])
    return dict(
        frames=last["frame"],
        fps=round(last["frame"] / last["seconds"], 1),
        skipped=last["skipped"],
        rss_peak_mib=float(rss.max()),
        rss_growth_second_half_mib=round(float(growth), 1),
        disk_peak_mib=max(r["disk_mib"] for r in rows),
        latency_median_ms=median("latency_ms"),
        latency_p99_ms=median("latency_p99_ms"))


def commit():
    command = ["git", "rev-parse", "--short", "HEAD"]
    here = Path(__file__).parent
    return subprocess.run(command, capture_output=True, text=True, cwd=here).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--camera", action="store_true", help=argparse.SUPPRESS)
    results = Path(__file__).parent.parent / "results"
    parser.add_argument("--out", type=Path, default=results)
    options = parser.parse_args()
    if options.camera: return camera()
    from ddl_nb.running import provenance, write_json
    started = time.perf_counter()
    rows, counts = soak(options.frames)
    summary = summarise(rows) | counts
    command = "python benchmarks/soak.py " + " ".join(sys.argv[1:])
    run = provenance(started) | dict(command=command, commit=commit())
    about = dict(rate=RATE, size=SIZE, hangs_up_every=HANG_UP)
    write_json(options.out / "soak.json", dict(summary=summary, camera=about,
                                               keep_minutes=KEEP_MINUTES, run=run, rows=rows))
    plot(rows, options.out / "soak.png")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
