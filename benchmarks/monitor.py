"""What a `TrainingMonitor` costs a training of 128x128 frames on one thread:
python benchmarks/monitor.py.

Writes results/monitor.json.
"""
import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

os.environ["OMP_NUM_THREADS"] = "1"                           # before torch
import cv2
import numpy as np

from ddl_nb import explore
from ddl_nb.running import provenance, write_json
from ddl_nb.plaza import plaza
from ddl_nb.training import Settings, Trainer

PAIRS = 4
scene = plaza(train_clips=1, test_clips=0, size=(256, 256))


class Timed(explore.TrainingMonitor):
    "A monitor that knows what it has cost."
    seconds = drawings = 0

    def __call__(self, trainer):
        start = time.process_time()
        super().__call__(trainer)
        self.seconds += time.process_time() - start

    def show(self, *drawn):
        self.drawings += 1
        super().show(*drawn)


def train(watched, mine, other, results):
    """A training that waits for its turn before each step: a machine that is faster now and slower
    then is so for both alike."""
    cv2.setNumThreads(1)
    # the monitor's clock stands still while the other works
    explore.time = SimpleNamespace(perf_counter=time.process_time)
    trainer = Trainer(scene, Settings("ddl", height=128, epochs=4., seed=0))
    monitor = Timed(scene.train[0]) if watched else None

    def watch(trainer):
        if monitor: monitor(trainer)
        other.release()
        mine.acquire()

    mine.acquire()
    start = time.process_time()
    trainer.run(progress=False, watch=watch)
    result = dict(seconds=time.process_time() - start, steps=trainer.steps)
    if watched: result |= dict(monitor=monitor.seconds, drawings=monitor.drawings)
    results.put(result)
    other.release()


def train_pair(first):
    "A training alone and one with a monitor, step by step in turns; `first`: which begins."
    context = multiprocessing.get_context("spawn")
    turns = [context.Semaphore(int(i == first)) for i in range(2)]
    results = context.Queue()
    processes = [context.Process(target=train, args=(bool(i), turns[i], turns[1 - i], results))
                 for i in range(2)]
    for p in processes: p.start()
    found = [results.get(timeout=600) for _ in processes]
    for p in processes: p.join()
    return sorted(found, key=lambda result: "monitor" in result)


def pairs():
    """Of pairs of a training alone and one with a monitor: the monitor's own share of the
    processor's time, and what the whole takes more."""
    alone, watched = zip(*[train_pair(first=k % 2) for k in range(PAIRS)])
    seconds = {"alone": [r["seconds"] for r in alone], "watched": [r["seconds"] for r in watched]}
    steps = alone[0]["steps"]
    share = np.median([r["monitor"] / r["seconds"] for r in watched])
    drawing = np.median([r["monitor"] / r["drawings"] for r in watched])
    slowdown = np.median(np.divide(seconds["watched"], seconds["alone"])) - 1
    step = np.median(seconds["alone"]) / steps
    return dict(share=float(share), slowdown=float(slowdown), cpu_seconds=seconds, steps=steps,
                seconds_a_drawing=float(drawing),
                slowdown_if_drawn_at_each_step=float(drawing / step))


if __name__ == "__main__":
    started = time.perf_counter()
    cost = pairs()
    print({k: v for k, v in cost.items() if k != "cpu_seconds"})
    run = provenance(started) | dict(command="python benchmarks/monitor.py")
    write_json(Path(__file__).parent.parent / "results" / "monitor.json", cost | dict(run=run))
