"""Scores of much footage of the plaza, for notebook 15: alarm_scores.py [NORMAL] [TEST] (numbers of clips)

Clips of normal behaviour that the shipped model was not trained on (the plaza's training clips from the seventh on) and test
clips with their labels are rendered one at a time and scored with Detector.load('plaza'), seconds a clip. Clips that are scored
already are kept, so it can be stopped and started again. Writes results/alarms/plaza_{normal,test}.csv and run.json."""
import sys
import time
from pathlib import Path

import pandas as pd

from ddl_nb.ablations import provenance, write_json
from ddl_nb.data import write_file
from ddl_nb.detector import Detector
from ddl_nb.plaza import plaza

TRAINED_ON = 6                     # clips of normal behaviour that the shipped model has seen
RESULTS = Path(__file__).parent.parent / "results" / "alarms"


def score_clips(detector, part, role, first, last):
    "Add the clips number `first` to `last` (excluded) of a role to the file `part`: clip, frame, score, anomalous."
    tables = [pd.read_csv(part)] if part.exists() else []
    done = set(tables[0].clip) if tables else set()
    for i in range(first, last):
        if f"{role}{i + 1:02d}" in done: continue
        scene = plaza(**{"train_clips": 0, "test_clips": 0} | {f"{role}_clips": range(i, i + 1)})
        clip, = scene.train + scene.test
        scores = detector.score(clip).frames
        tables.append(pd.DataFrame({"clip": clip.name, "frame": range(len(clip)), "score": scores, "anomalous": scene.labels.get(clip.name, 0)}))
        if i % 10 == 9 or i == last - 1: write_file(part, pd.concat(tables).to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    started, (normal, test) = time.perf_counter(), map(int, sys.argv[1:] or (1500, 90))
    detector = Detector.load("plaza")
    score_clips(detector, RESULTS / "plaza_test.csv", "test", 0, test)
    score_clips(detector, RESULTS / "plaza_normal.csv", "train", TRAINED_ON, TRAINED_ON + normal)
    write_json(RESULTS / "run.json", dict(provenance(started), model="plaza", clips=dict(normal=normal, test=test)))
