"""The models that come with the package."""
import json
from pathlib import Path

import pytest
from conftest import call
from ddl_nb.running import find_data
from ddl_nb.detector import SHIPPED, Detector

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
    "Scored and evaluated from the command line, to 0.01 of what the run recorded."
    source = find_data("ped2")
    if not source.exists():
        pytest.skip(f"{source}: UCSD Ped2 is not there; "
                    "DDL_DATA names the folder that holds ped2/")
    record = json.loads((ROOT/"results"/"ped2_model.json").read_text())
    assert record["settings"]["seed"] == Detector.load("ped2").settings.seed
    call("score", "ped2", source, "--out", tmp_path).works()
    call("evaluate", tmp_path/"scores.csv", source).works()
    found = json.loads((tmp_path/"report.json").read_text())["frame_auc"]
    for measure, kinds in record["frame_auc"].items():
        for kind, value in kinds.items():
            want = pytest.approx(value, abs=.01)
            assert found[measure][kind] == want, (measure, kind)
