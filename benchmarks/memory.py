"""Resident memory over time of one job in a process of its own:
python benchmarks/memory.py training | hour [--fps 10] | soak [--frames 100000].

training: a few dozen steps at the default size. hour: an hour of video from a file, scored. soak: a
long stream through a small model. Prints one JSON object: the resident memory, sampled, in MiB, its
peak, and how much it grew in the second half.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SAMPLES = 200


def measure(job, **options):
    "Run a job in a fresh process; returns its record."
    arguments = [str(x) for k, v in options.items() for x in (f"--{k}", v)]
    command = [sys.executable, __file__, job, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    record = json.loads(done.stdout.splitlines()[-1])
    print(f"memory, {job}: peak {record['peak_mib']:.0f} MiB, "
          f"grew by {record['growth_mib']:.0f} MiB in the second half, {record['seconds']:.0f} s",
          flush=True)
    return record


def quantiles(times):
    import numpy as np
    return dict(median=float(np.median(times)), p99=float(np.quantile(times, .99)),
                max=float(np.max(times)))


def scene_frames():
    "Frames of the plaza, over and over."
    from ddl_nb.plaza import plaza
    frames = plaza(train_clips=1, test_clips=0).train[0].array()
    while True: yield from frames


def detector():
    from ddl_nb.detector import Detector
    return Detector.load("plaza").alone("reconstruction")


def training():
    from ddl_nb.plaza import plaza
    from ddl_nb.training import Settings, Trainer
    trainer = Trainer(plaza(), Settings(epochs=.7))
    return lambda: trainer.run(progress=False)


def hour(fps, folder):
    from itertools import islice
    from ddl_nb.data import Clip
    from ddl_nb.scoring import write_video
    file, d = Path(folder) / "hour.mp4", detector()
    write_video(file, islice(scene_frames(), 3600 * fps), fps)
    return lambda: d.score(Clip(file))


def soak(frames, latency):
    from itertools import islice
    from ddl_nb.detector import Detector
    from ddl_nb.stream import stream
    from ddl_nb.training import Settings
    # a small model: it is the number of frames that matters
    settings = Settings("recon", latent=8, height=64)
    d = Detector(settings.model().eval(), settings, (64, 96))
    def run():
        before = time.perf_counter()
        for m in stream(d, islice(scene_frames(), frames)):
            if m.smoothed is not None: continue
            latency.append((time.perf_counter() - before) * 1e3)
            before = time.perf_counter()
    return run


def watched(run):
    "MiB of resident memory, ten times a second, while `run` runs, and how many seconds it took."
    import psutil
    process, mib, stop = psutil.Process(), [], threading.Event()
    def sample():
        while not stop.wait(.1): mib.append(process.memory_info().rss / 2**20)

    watcher = threading.Thread(target=sample)
    watcher.start()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    return mib, seconds


def main():
    import numpy as np
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=["training", "hour", "soak"])
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--frames", type=int, default=100_000)
    options = parser.parse_args()
    latency = []
    with tempfile.TemporaryDirectory() as folder:
        if options.job == "training": run = training()
        if options.job == "hour": run = hour(options.fps, folder)
        if options.job == "soak": run = soak(options.frames, latency)
        mib, seconds = watched(run)
    n = len(mib)
    middle, end = mib[n // 2:n * 5 // 8], mib[n * 7 // 8:]
    thin = mib[::max(1, n // SAMPLES)]
    record = dict(peak_mib=max(mib), growth_mib=float(np.median(end) - np.median(middle)),
                  seconds=seconds, mib=[round(m, 1) for m in thin])
    if latency: record["latency_ms"] = quantiles(latency) | dict(frames=len(latency))
    print(json.dumps(record))


if __name__ == "__main__":
    main()
