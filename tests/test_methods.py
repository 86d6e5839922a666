"""The methods of table 1 go through the doors that UNet and C3DSU go through: training, files,
scoring, streams, grids, export."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY as LINE, call, footage, truth
from ddl_nb.data import Clip, Scene
from ddl_nb.detector import Detector
from ddl_nb.models import ARCHITECTURES, METHODS
from ddl_nb.running import DDLError
from ddl_nb.stream import stream
from ddl_nb.training import Settings, Trainer

GRIDS = Path(__file__).parent.parent/"grids"
TINY = dict(regime="recon", latent=8, height=32, epochs=.1, looks="reconstruction", patch=16)

@pytest.fixture(scope="module")
def scene():
    clips = [Clip(footage(k, 90)[0], str(k), fps=20) for k in (1, 2)]
    test = Clip(footage(11, anomaly=True)[0], "11", fps=20)
    return Scene("square", clips, [test], {"11": truth()})

@pytest.fixture(scope="module", params=METHODS)
def trained(request, scene):
    return Detector.fit(scene, Settings(arch=request.param, **TINY), progress=False)


def test_a_file_brings_it_back(trained, scene, tmp_path):
    trained.save(tmp_path/"model.safetensors")
    again = Detector.load(tmp_path/"model.safetensors")
    assert type(again.model) is type(trained.model)
    clip = scene.test[0]
    assert np.array_equal(again.score(clip).frames, trained.score(clip).frames)

def test_live_is_as_on_disk(trained, scene):
    clip = scene.test[0]
    scores = trained.score(clip)
    moments = [m for m in stream(trained, clip.frames()) if m.smoothed is None]
    assert np.allclose([m.score for m in moments], scores.frames, atol=1e-5)

def test_every_frame_has_a_score(trained):
    short = Clip(footage(3, 2)[0], "short", fps=20)              # shorter than any window
    assert np.isfinite(trained.score(short).frames).all()

@pytest.mark.parametrize("arch", [a for a in METHODS if a != "mnad"])
def test_a_clip_too_short_to_train_on_is_named(arch):
    scene = Scene("short", [Clip(footage(1, 8)[0], "brief", fps=20)])
    window = Settings(arch=arch, **TINY).model().window
    with pytest.raises(DDLError, match=f"brief: 8 frames are fewer than the window of {window}"):
        Trainer(scene, Settings(arch=arch, **TINY | dict(holdout=0.)))

def stopped_at(step):
    def watch(trainer):
        if trainer.step == step: raise KeyboardInterrupt
    return watch

@pytest.mark.parametrize("arch", ["mnad", "steal", "memae"])     # items that follow, random clips
def test_a_resumed_run_is_the_same_run(arch, scene, tmp_path):
    settings = Settings(arch=arch, **TINY | dict(epochs=.25, average=.5))
    whole = Trainer(scene, settings)
    model = whole.run(progress=False)
    part = Trainer(scene, settings, tmp_path)
    with pytest.raises(KeyboardInterrupt): part.run(progress=False, watch=stopped_at(3))
    part.save()
    again = Trainer(scene, settings, tmp_path, resume=True)
    assert again.step == 3 < whole.steps
    resumed = again.run(progress=False)
    for a, b in zip(model.state_dict().values(), resumed.state_dict().values()):
        assert torch.equal(a, b)

@pytest.mark.parametrize("arch", METHODS)
def test_the_distinction_can_be_asked_of_it(arch, scene):
    trainer = Trainer(scene, Settings(arch=arch, **TINY | dict(regime="ddl", epochs=.02)))
    trainer.run(progress=False)
    assert {name for name, value in trainer.history[-1].items() if not np.isfinite(value)} == set()
    assert trainer.history[-1]["anomaly_weight"] != .5

def test_from_the_command_line(dataset, tmp_path):
    out = tmp_path/"run"
    call("fit", dataset, "--arch", "ae_conv2d", "--regime", "recon", "--out", out, *LINE).works()
    call("score", out, dataset, "--out", tmp_path/"scores").works()
    settings = json.loads((out/"run.json").read_text())["settings"]
    assert settings["arch"] == "ae_conv2d" and settings["window"] == 3    # it has its own

def test_a_name_is_imported_when_it_is_asked_for():
    assert set(METHODS) < set(ARCHITECTURES)
    for name in METHODS: assert Settings(arch=name, **TINY).model().channels == 3
