"""Does `watch` go on for ever? Many frames from a camera on this machine, with memory, disk and latency over time: python benchmarks/soak.py [--frames 100000].

The camera is a process of its own that sends the plaza as MJPEG over HTTP and hangs up every 20,000 frames. The model is a small one (latent 8,
height 64, an epoch on the plaza), for it is the number of frames that matters. Pictures are kept for two minutes, so that the disk has to level off.
Writes results/soak.json and results/soak.png.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HANG_UP, KEEP_MINUTES, SIZE, RATE = 20_000, 2, (64, 96), 100


def scene():
    from ddl_nb.plaza import plaza
    return plaza(train_clips=4, test_clips=4, size=SIZE)


def camera():
    "Serve the scene's clips, a normal one and one with anomalies in turns, over and over, RATE frames a second; prints the port."
    import cv2
    plaza = scene()
    jpegs = [cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes() for pair in zip(plaza.train, plaza.test) for clip in pair for frame in clip.array()]

    class Answer(BaseHTTPRequestHandler):
        def log_message(self, *_): pass

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
            self.end_headers()
            start = time.perf_counter()
            for i in range(HANG_UP):
                part = jpegs[i % len(jpegs)]
                try: self.wfile.write(b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(part), part))
                except OSError: return
                time.sleep(max(0, start + i / RATE - time.perf_counter()))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    print(server.server_port, flush=True)
    server.serve_forever()


class Enough(Exception): pass


class Recorder:
    "A screen that keeps a row every few hundred frames, and what was said."
    def __init__(self, frames, out):
        import psutil
        self.process, self.frames, self.out, self.every = psutil.Process(), frames, out, max(1, frames // 400)
        self.rows, self.said, self.latency, self.start = [], [], [], time.perf_counter()

    def say(self, message): self.said.append(message)
    def close(self): pass

    def show(self, status):
        self.latency.append(status.latency)
        if len(self.latency) == self.every or status.frames >= self.frames:
            late = sorted(self.latency)
            files = [f.stat().st_size for f in self.out.rglob("*") if f.is_file()]
            self.rows.append(dict(frame=status.frames, seconds=round(time.perf_counter() - self.start, 1), rss_mib=round(self.process.memory_info().rss / 2**20, 1), disk_mib=round(sum(files) / 2**20, 3), files=len(files),
                                  latency_ms=round(1e3 * late[len(late) // 2], 2), latency_p99_ms=round(1e3 * late[len(late) * 99 // 100], 2), skipped=status.skipped, events=status.events))
            self.latency = []
        if status.frames >= self.frames: raise Enough


def soak(frames):
    "Watch so many frames; returns the rows and what was said."
    from ddl_nb.detector import Detector
    from ddl_nb.training import Settings
    from ddl_nb.watch import watch
    detector = Detector.fit(scene(), Settings("recon", latent=8, height=SIZE[0], epochs=1), progress=False)
    process = subprocess.Popen([sys.executable, __file__, "--camera"], stdout=subprocess.PIPE, text=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            recorder = Recorder(frames, Path(folder))
            try: watch(detector, f"http://127.0.0.1:{int(process.stdout.readline())}/", folder, before=2, after=2, keep_days=KEEP_MINUTES / 1440, screen=recorder)
            except Enough: pass
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
    fig, axes = plt.subplots(3, 1, figsize=(7, 6), sharex=True, dpi=90)
    axes[0].plot(table.frame, table.rss_mib); axes[0].set(ylabel="resident memory, MiB", ylim=(0, 1.2 * table.rss_mib.max()))
    axes[1].plot(table.frame, table.disk_mib, color="C1"); axes[1].set(ylabel="disk, MiB", ylim=(0, None))
    axes[2].plot(table.frame, table.latency_ms, color="C2", label="median"); axes[2].plot(table.frame, table.latency_p99_ms, color="C2", alpha=.4, label="99 %")
    axes[2].set(ylabel="latency, ms", yscale="log", xlabel="frames scored", xlim=(0, table.frame.max())); axes[2].legend(loc="upper right", ncols=2)
    for axis in (axes[2].yaxis.set_major_formatter, axes[2].yaxis.set_minor_formatter): axis(LogFormatter(minor_thresholds=(2, .5)))
    fig.tight_layout()
    fig.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--camera", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    options = parser.parse_args()
    if options.camera: return camera()
    import numpy as np
    from ddl_nb.running import provenance, write_json
    started = time.perf_counter()
    rows, counts = soak(options.frames)
    rss, half = np.array([r["rss_mib"] for r in rows]), len(rows) // 2
    summary = dict(frames=rows[-1]["frame"], fps=round(rows[-1]["frame"] / rows[-1]["seconds"], 1), skipped=rows[-1]["skipped"], rss_peak_mib=float(rss.max()), rss_growth_second_half_mib=round(float(np.median(rss[-half // 4:]) - np.median(rss[half:half + half // 4])), 1),
                   disk_peak_mib=max(r["disk_mib"] for r in rows), latency_median_ms=float(np.median([r["latency_ms"] for r in rows])), latency_p99_ms=float(np.median([r["latency_p99_ms"] for r in rows]))) | counts
    run = provenance(started) | dict(command="python benchmarks/soak.py " + " ".join(sys.argv[1:]), commit=subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip())
    write_json(options.out / "soak.json", dict(summary=summary, camera=dict(rate=RATE, size=SIZE, hangs_up_every=HANG_UP), keep_minutes=KEEP_MINUTES, run=run, rows=rows))
    plot(rows, options.out / "soak.png")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
