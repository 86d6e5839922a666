"""What a `TrainingMonitor` costs a training of 128x128 frames on one thread: python benchmarks/monitor.py.

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
    "A training that waits for its turn before each step: a machine that is faster now and slower then is so for both alike."
    cv2.setNumThreads(1)
    explore.time = SimpleNamespace(perf_counter=time.process_time)         # the monitor's clock stands still while the other works
    trainer, monitor = Trainer(scene, Settings("ddl", height=128, epochs=4., seed=0)), Timed(scene.train[0]) if watched else None

    def watch(trainer):
        if monitor: monitor(trainer)
        other.release(), mine.acquire()

    mine.acquire()
    start = time.process_time()
    trainer.run(progress=False, watch=watch)
    results.put((watched, time.process_time() - start, trainer.steps, monitor and (monitor.seconds, monitor.drawings)))
    other.release()


def pairs():
    "Pairs of a training alone and one with a monitor, step by step in turns: the monitor's own share of the processor's time, and what the whole takes more."
    context, seconds, shares, drawn = multiprocessing.get_context("spawn"), {"alone": [], "watched": []}, [], []
    for k in range(PAIRS):
        turns, results = [context.Semaphore(int(i == k % 2)) for i in range(2)], context.Queue()
        processes = [context.Process(target=train, args=(bool(i), turns[i], turns[1 - i], results)) for i in range(2)]
        for p in processes: p.start()
        for watched, cpu, steps, cost in [results.get(timeout=600) for _ in processes]:
            seconds["watched" if watched else "alone"].append(cpu)
            if watched: shares.append(cost[0] / cpu), drawn.append(cost[0] / cost[1])
        for p in processes: p.join()
    step = np.median(seconds["alone"]) / steps
    return dict(share=float(np.median(shares)), slowdown=float(np.median(np.divide(seconds["watched"], seconds["alone"]))) - 1, cpu_seconds=seconds, steps=steps,
                seconds_a_drawing=float(np.median(drawn)), slowdown_if_drawn_at_each_step=float(np.median(drawn) / step))


if __name__ == "__main__":
    started = time.perf_counter()
    cost = pairs()
    print({k: v for k, v in cost.items() if k != "cpu_seconds"})
    write_json(Path(__file__).parent.parent / "results" / "monitor.json", cost | dict(run=provenance(started) | dict(command="python benchmarks/monitor.py")))
