"""The models that come with the package."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import call

from ddl_nb.detector import SHIPPED, Detector
from ddl_nb.layouts import open_source
from ddl_nb.metrics import won_by_clip
from ddl_nb.running import find_data

ROOT = Path(__file__).parent.parent

def test_named_in_a_terminal(dataset, tmp_path):
    """A word in place of a file: scored on foreign footage, described, and not taken for a folder
    of data."""
    out = tmp_path/"scores"
    call("score", "ped2", dataset, "--out", out).works()
    assert len((out/"scores.csv").read_text().splitlines()) > 2
    assert "240x360" in call("info", "ped2").works().out
    result = call("score", "pad2", dataset, "--out", tmp_path)
    result.fails(1, "pad2: no such model file", "ped2")

def test_packaged():
    assert "recursive-include ddl_nb *.safetensors" in (ROOT/"MANIFEST.in").read_text()
    for file in SHIPPED.values():
        assert file.stat().st_size <= 2 * 2**20
        assert file.parent == ROOT/"ddl_nb"/"weights"

def test_ped2_reproduces_its_record(tmp_path):
    """Three of its test clips, from the command line: each wins the share of pairs against each
    that the run recorded, and from the pairs of all clips follows the recorded AUC."""
    source, names = find_data("ped2"), ["02", "07", "12"]
    if not source.exists():
        pytest.skip(f"{source}: UCSD Ped2 is not there; "
                    "DDL_DATA names the folder that holds ped2/")
    record = json.loads((ROOT/"results"/"ped2_model.json").read_text())
    looks = ROOT/"results"/"looks"/"ped2"
    recorded = json.loads((looks/"won.json").read_text())["ddl-seed0"]
    about = json.loads((looks/"reference.json").read_text())
    assert record["settings"]["seed"] == Detector.load("ped2").settings.seed == 0

    frames = tmp_path/"ped2"/"testing"/"frames"
    frames.mkdir(parents=True)
    for name in names: (frames/name).symlink_to(source/"testing"/"frames"/name)
    call("score", "ped2", tmp_path/"ped2", "--out", tmp_path).works()
    table = dict(list(pd.read_csv(tmp_path/"scores.csv", dtype={"clip": str}).groupby("clip")))
    labels = {name: open_source(source).scenes[0].labels[name] for name in names}
    rows = [about["clips"].index(name) for name in names]
    among = np.ix_(rows, rows)
    pairs = np.outer(about["anomalous"], about["normal"])
    for kind, column in (("raw", "score"), ("smoothed", "smoothed")):
        won, *_ = won_by_clip({n: table[n][column].to_numpy() for n in names}, labels)
        theirs = np.array(recorded[kind])[among]
        assert won / pairs[among] == pytest.approx(theirs / pairs[among], abs=1e-4)
        own, both = np.diag(recorded[kind]), np.diag(pairs) > 0         # clips with both classes
        auc = dict(micro=np.sum(recorded[kind]) / pairs.sum(),
                   macro_two_class=np.mean(own[both] / np.diag(pairs)[both]))
        for measure, value in auc.items():
            assert 100 * value == pytest.approx(record["frame_auc"][measure][kind], abs=1e-4)
