"""Scores of much footage, for notebook 17:
alarm_scores.py plaza [NORMAL TEST] (numbers of clips), or alarm_scores.py ped2

plaza: clips of normal behaviour that the shipped model was not trained on (the plaza's training
clips from the seventh on), and test clips with their labels, are rendered one at a time and scored
with Detector.load('plaza'), seconds a clip. Clips that are scored already are kept, so it can be
stopped and started again.

ped2: has little normal footage, so a model is trained on the first half of it (one seed, a few
epochs; minutes) and scores the second.

Both write results/alarms/NAME_{normal,test}.csv.gz (clip, frame, score, anomalous) and NAME.json.
"""
import gzip
import shlex
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd

from ddl_nb.running import provenance, write_file, write_json
from ddl_nb.detector import Detector
from ddl_nb.layouts import open_source
from ddl_nb.plaza import plaza
from ddl_nb.training import Settings

TRAINED_ON = 6                     # clips of normal behaviour that the shipped model has seen
PED2 = Settings("sdl", holdout=.5, epochs=4, seed=0)
RESULTS = Path(__file__).parent.parent / "results" / "alarms"


def score_clips(detector, clips, part, every=10):
    """Add clips, (name, function that returns (clip, labels)), to the file `part`,
    if they are not in it."""
    tables = [pd.read_csv(part, dtype={"clip": str})] if part.exists() else []
    scored = set(tables[0]["clip"]) if tables else set()
    left = [get for name, get in clips if name not in scored]
    for i, get in enumerate(left, 1):
        clip, labels = get()
        scores = detector.score(clip).frames
        tables.append(pd.DataFrame({"clip": clip.name, "frame": range(len(clip)),
                                    "score": scores, "anomalous": labels}))
        if i % every == 0 or i == len(left): write_table(pd.concat(tables), part)


def write_table(table, file):
    text = table.to_csv(index=False, float_format="%.6g")
    write_file(file, gzip.compress(text.encode(), mtime=0))


def plaza_clip(role, i):
    "The plaza's i-th clip for training or test, and its labels."
    numbers = {"train_clips": 0, "test_clips": 0, f"{role}_clips": range(i, i + 1)}
    scene = plaza(**numbers)
    clip, = scene.train + scene.test
    return clip, scene.labels.get(clip.name, 0)


def plaza_clips(role, first, last):
    return [(f"{role}{i + 1:02d}", partial(plaza_clip, role, i)) for i in range(first, last)]


def score_plaza(normal, test):
    detector = Detector.load("plaza")
    unseen = plaza_clips("train", TRAINED_ON, TRAINED_ON + normal)
    score_clips(detector, plaza_clips("test", 0, test), RESULTS / "plaza_test.csv.gz")
    score_clips(detector, unseen, RESULTS / "plaza_normal.csv.gz")
    return dict(model="plaza", clips=dict(normal=normal, test=test))


def pair(clip, labels): return clip, labels


def score_ped2():
    scene, = open_source("ped2").scenes
    detector = Detector.fit(scene, PED2, progress=False)
    by_name = {c.name: c for c in scene.train}
    held_out = [by_name[name].part(first, first + n) for name, first, n in detector.held_out]
    normal = [(c.name, partial(pair, c, 0)) for c in held_out]
    test = [(c.name, partial(pair, c, scene.labels[c.name])) for c in scene.test]
    score_clips(detector, normal, RESULTS / "ped2_normal.csv.gz")
    score_clips(detector, test, RESULTS / "ped2_test.csv.gz")
    return dict(model=vars(PED2), held_out=detector.held_out)


if __name__ == "__main__":
    started = time.perf_counter()
    name, *numbers = sys.argv[1:]
    about = score_ped2() if name == "ped2" else score_plaza(*map(int, numbers or (1500, 90)))
    command = shlex.join(["python", "benchmarks/alarm_scores.py", *sys.argv[1:]])
    write_json(RESULTS / f"{name}.json", dict(provenance(started), **about, command=command))
