"""Measures a model that comes with the package anew: measure_shipped.py NAME SOURCE.

For when what is measured after training has changed and the network has not: usual errors, units
and weights of the looks, the score scale, and the figures on the test clips. Writes the model and
results/NAME_model.json, which keeps what is said of its training."""
import json
import shlex
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from ddl_nb.ablations import evaluate_run
from ddl_nb.detector import SHIPPED, Detector, learn_error
from ddl_nb.layouts import open_source
from ddl_nb.running import cached, provenance, write_json
from ddl_nb.training import at_rate, hold_out

RESULTS = Path(__file__).parent.parent/"results"
MEASURES = "micro", "macro", "macro_two_class", "by_kind"


def measure_anew(detector, scene):
    "Its held-out footage is checked: the scale must not come from what it was trained on."
    s = detector.settings
    clips = [clip.of_depth(detector.bits) for clip in scene.train]
    train, held_out = hold_out(clips, s.holdout, detector.model.window, s.fps)
    assert [[c.name, c.first, len(c)] for c in held_out] == detector.held_out, "other footage"
    frames = [cached(at_rate(clip, s.fps), detector.size, s.channels) for clip in train]
    detector.usual_error = learn_error(detector.model, frames, detector.patch, detector.ignore)
    detector.measure(held_out)


def main(name, source):
    started, scene = time.perf_counter(), open_source(source).scenes[0]
    detector, file = Detector.load(name), RESULTS/f"{name}_model.json"
    before = json.loads(file.read_text())
    measure_anew(detector, scene)
    with tempfile.TemporaryDirectory() as folder: found = evaluate_run(detector, scene, folder)
    figures = {key: found[key] for key in before if key in found and key != "baselines"}
    figures["looks"] = {look: {key: theirs[key] for key in MEASURES if key in theirs}
                        for look, theirs in found["looks"].items()}
    changed = dict(trained=before.get("trained", before["command"]), scale=asdict(detector.scale),
                   usual=dict(zip(detector.looks, detector.units)))
    detector.save(SHIPPED[name])
    command = shlex.join(["python", "tools/measure_shipped.py", name, source])
    write_json(file, before | provenance(started) | dict(command=command) | changed | figures)


if __name__ == "__main__": main(*sys.argv[1:])
