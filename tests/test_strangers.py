"""What a stranger adds by a recipe of CONTRIBUTING.md, a reading of equation 7, a pseudo anomaly,
a network or a dataset, runs through all that the package does, and is what runs there."""
import json, re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from conftest import footage, truth, write_images
from ddl_nb.data import Clip, Scene, to_tensor, window_indices
from ddl_nb.detector import FORMAT, Detector, go_on, header
from ddl_nb.explore import dissector, loss_landscape, pseudo_bench, score_explorer
from ddl_nb.export import export
from ddl_nb.layouts import LAYOUTS, describe, open_source
from ddl_nb.losses import READINGS, Reading, distance
from ddl_nb.models import ARCHITECTURES, UNet
from ddl_nb.pseudo import PSEUDO_ANOMALIES
from ddl_nb.running import DDLError
from ddl_nb.scoring import frame_scores, smooth
from ddl_nb.stream import stream
from ddl_nb.tracks import box_masks, dense_boxes
from ddl_nb.training import DDL, Settings, Trainer, find_tracks

GUIDE = (Path(__file__).parent.parent/"CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
SIZE = 32, 48
TINY = dict(height=SIZE[0], latent=8, epochs=.5, seed=3, looks="reconstruction")
SAME = 1e-5


# Strangers, and a relative ------------------------------------------------------------------------

class Mirrored(UNet):
    "A UNet whose maps are turned round on their way to the decoder."
    def fuse(self, maps, batch): return [m.flip(-1) for m in maps]

@pytest.fixture(scope="module", autouse=True)
def registered():
    "As the recipes say; taken back at the end."
    registries = READINGS, PSEUDO_ANOMALIES, ARCHITECTURES, LAYOUTS
    before = [dict(registry) for registry in registries]
    names = {}
    for recipe in RECIPES: exec(recipe, names)
    ARCHITECTURES["mirrored"] = Mirrored
    yield
    for registry, own in zip(registries, before):
        registry.clear()
        registry.update(own)

# PyTorch traces a UNet in ten seconds, `Lines` in one: the other two train it too.
STRANGERS = {"architecture": dict(arch="lines", window=5),
             "pseudo anomaly": dict(pseudo="lamp", arch="lines"),
             "reading": dict(ratio="log", arch="lines")}

@pytest.fixture(scope="module")
def scene():
    clips = [Clip(footage(k)[0], str(k), fps=20) for k in (1, 2)]
    test = Clip(footage(11, anomaly=True)[0], "11", fps=20)
    return Scene("square", clips, [test], {"11": truth()})

@pytest.fixture(scope="module")
def tracks(scene): return find_tracks(scene.train, SIZE)

def fit(scene, **settings): return Detector.fit(scene, Settings(**TINY | settings), progress=False)

@pytest.fixture(scope="module", params=STRANGERS)
def stranger(request, scene): return fit(scene, **STRANGERS[request.param])


# What is right, without the package's ways to run a model -----------------------------------------

@torch.inference_mode()
def own_reconstructions(detector, clip):
    "Each frame's, (n, c, h, w), and its score map, (n, h, w), by the model's own forward."
    frames = clip.array(detector.size, detector.settings.channels)
    windows = frames[window_indices(len(frames), detector.model.window)]
    Y = torch.cat([detector.model(to_tensor(w)[None])[:, :, 0] for w in windows])
    return Y, distance(to_tensor(frames).transpose(0, 1), Y).numpy()

def own_distinction(pseudo, model, X, M, noise, sigma):
    "X_t, X_A,t, f(X_A) and M_t, from the pseudo anomaly and the model themselves."
    XA, half = pseudo(X, M, noise, sigma), model.window // 2
    middle = slice(half, X.shape[2] - half)
    return X[:, :, middle], XA[:, :, middle], model(XA), M[:, 0, middle]

@torch.inference_mode()
def own_bench(detector, clip, tracks, explorer, sigma):
    "The same for the object and the frame that an explorer shows."
    k, frame = explorer.controls["object"].value, explorer.controls["frame"].value
    rows, (h, w) = tracks[tracks["clip"] == clip.name], detector.size
    boxes = dense_boxes(rows, len(clip), np.array([w / clip.width, h / clip.height] * 2))
    half = detector.model.window // 2
    at = slice(frame - half, frame + half + 1)
    X = to_tensor(clip.array(detector.size)[at])[None]
    M = torch.from_numpy(box_masks(boxes[k, at], detector.size))[None, None].float()
    pseudo = PSEUDO_ANOMALIES[detector.settings.pseudo]
    noise = pseudo.noise(X.shape, torch.Generator().manual_seed(0))
    return own_distinction(pseudo, detector.model, X, M, noise, sigma)

def own_losses(X, XA, Y, M):
    "L_dist of one target by each reading, from its own function."
    P, N = distance(X, Y), distance(XA, Y)
    return {name: r.of(P, N, M, X.shape[1], 1e-6).item() for name, r in READINGS.items()}


# They are known by name ---------------------------------------------------------------------------

NAMES = [("arch", "lines"), ("pseudo", "lamp"), ("ratio", "log")]

@pytest.mark.parametrize("setting, name", NAMES)
def test_messages_name_it(setting, name):
    assert getattr(Settings(**{setting: name}), setting) == name
    with pytest.raises(DDLError, match=f"{setting} must be one of .*{name}.*, not 'foreign'"):
        Settings(**{setting: "foreign"})

def test_a_reading_says_what_it_needs(monkeypatch):
    log = READINGS["log"].of
    needy = Reading(log, "needy", channels=3, reason="it wants colour")
    monkeypatch.setitem(READINGS, "needy", needy)
    with pytest.raises(DDLError, match=r"needy .* one channel \(it wants colour\).* or log$"):
        Settings(ratio="needy", channels=1)
    Settings(ratio="log", channels=1)

def test_a_file_names_what_is_not_registered(scene, tmp_path, monkeypatch):
    file = tmp_path/"model.safetensors"
    fit(scene, arch="lines", pseudo="lamp", ratio="log").save(file)
    registries = ARCHITECTURES, PSEUDO_ANOMALIES, READINGS
    for registry, (setting, name) in zip(registries, NAMES):
        with monkeypatch.context() as patch:
            patch.delitem(registry, name)
            with pytest.raises(DDLError, match=f"{file.name}: {setting} must .*, not '{name}'"):
                Detector.load(file)


def test_a_layout(tmp_path):
    for part, n in (("normal", 5), ("strange", 4)):
        write_images(tmp_path/"shop"/part/"a", footage(1, n)[0])
    source = open_source(tmp_path/"shop")
    assert source.layout == "shop" and "layout shop, 1 scene" in describe(source)
    scene, = source.scenes
    assert [len(c) for c in scene.train + scene.test] == [5, 4]
    assert scene.check().labels["a"].tolist() == [1] * 4


# They are trained with ----------------------------------------------------------------------------

@pytest.mark.parametrize("settings", [*STRANGERS.values(), dict(pseudo="lamp"),
                                      dict(ratio="log"), dict(arch="mirrored")])
def test_the_loss_is_theirs(settings):
    s = Settings(**TINY | settings)
    ddl, generator = DDL(s), torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (1, 8, *SIZE, 3), dtype=torch.uint8, generator=generator)
    mask = torch.zeros(1, 8, *SIZE, dtype=torch.uint8)
    mask[:, :, 8:24, 10:20] = 1
    X, M = frames.permute(0, 4, 1, 2, 3) / 255, mask[:, None].float()
    noise = PSEUDO_ANOMALIES[s.pseudo].noise(X.shape, generator)
    counts = torch.ones(1, 8 - ddl.model.window + 1, dtype=torch.bool)
    losses = ddl(frames, mask, counts, noise)
    X_t, *_ = parts = own_distinction(PSEUDO_ANOMALIES[s.pseudo], ddl.model, X, M, noise, .5)
    recon = distance(X_t, ddl.model(X)).mean().item()
    P, N = (distance(x, parts[2]) for x in parts[:2])
    dist = READINGS[s.ratio].of(P, N, parts[3], 3, 1e-6).mean().item()
    assert losses["recon"].item() == pytest.approx(recon, abs=SAME)
    assert losses["dist"].item() == pytest.approx(dist, rel=1e-4)
    assert losses["loss"].item() == pytest.approx(recon + s.distinction * dist, rel=1e-4)

def test_training_draws_what_it_asks_for(scene, monkeypatch):
    "Its noise, its counts, and the weight learns through it."
    Lamp = type(PSEUDO_ANOMALIES["lamp"])
    shapes, noise = [], Lamp.noise
    def noted(self, shape, generator):
        shapes.append(tuple(shape))
        return noise(self, shape, generator)
    monkeypatch.setattr(Lamp, "noise", noted)
    trainer = Trainer(scene, Settings(**TINY, pseudo="lamp", arch="lines"))
    trainer.run(progress=False)
    assert set(shapes) == {(2, 3, 3, *SIZE)} and len(shapes) == trainer.steps > 1
    assert all(0 < row["dist"] < 10 for row in trainer.history)
    assert trainer.history[-1]["anomaly_weight"] != trainer.history[0]["anomaly_weight"]
    there = np.array([[False, True, True, False]])
    assert trainer.data.counts(there, 3).tolist() == [[True, True]]

def test_it_makes_a_difference(stranger, scene):
    "Of the same seed and length, another model comes out without it."
    plain = {"pseudo": "noise", "ratio": "pixel", "arch": "lines", "window": 3}
    other = fit(scene, **plain)
    mine, theirs = (d.model.outward.bias for d in (stranger, other))
    assert not torch.equal(mine, theirs)


# They are kept, scored and streamed ---------------------------------------------------------------

def test_saved_and_loaded(stranger, scene, tmp_path):
    file = tmp_path/"model.safetensors"
    stranger.save(file)
    again = Detector.load(file)
    assert type(again.model) is ARCHITECTURES["lines"] and again.settings == stranger.settings
    assert again.scale == stranger.scale and again.learnt == stranger.learnt
    scores = [d.score(scene.test[0]).frames for d in (stranger, again)]
    np.testing.assert_array_equal(*scores)
    further = go_on(file, epochs=.1)
    for setting in ("arch", "window", "pseudo", "ratio"):
        assert getattr(further, setting) == getattr(stranger.settings, setting)
    more = Detector.fit(scene, further, progress=False)
    assert not torch.equal(more.model.outward.bias, stranger.model.outward.bias)

def check_scores(detector, clip):
    "Frame scores, maps and a stream are what the model's own forward says."
    _, maps = own_reconstructions(detector, clip)
    scores, record = frame_scores(maps, detector.patch), detector.score(clip)
    np.testing.assert_allclose(np.stack(list(record.maps())), maps, atol=SAME)
    np.testing.assert_allclose(record.frames, scores, atol=SAME)
    moments = list(stream(detector, clip.frames()))
    raw, smoothed = ([m for m in moments if (m.smoothed is None) == first]
                     for first in (True, False))
    np.testing.assert_allclose([m.score for m in raw], scores, atol=SAME)
    np.testing.assert_allclose(np.stack([m.map for m in raw]), maps, atol=SAME)
    np.testing.assert_allclose([m.smoothed for m in smoothed], smooth(scores), atol=SAME)

def test_scores_and_stream(stranger, scene): check_scores(stranger, scene.test[0])

def test_a_relative_of_unet_is_scored_by_its_own_forward(scene):
    "It has all layers that can be folded, but is not what `Folded` makes of them."
    detector = fit(scene, arch="mirrored")
    assert type(detector.model) is Mirrored
    check_scores(detector, scene.test[0])
    unet = UNet(3, 8)
    unet.load_state_dict(detector.model.state_dict())
    both = [Detector(model.eval(), detector.settings, detector.size).score(scene.test[0]).frames
            for model in (detector.model, unet)]
    assert np.abs(both[0] - both[1]).max() > 100 * SAME

def test_exported(stranger, scene, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra deploy is not installed")
    pytest.importorskip("onnxruntime", reason="the extra deploy is not installed")
    file, clip = tmp_path/"model.onnx", scene.test[0]
    assert export(stranger, file) < SAME
    exported = Detector.load(file)
    assert exported.settings == stranger.settings
    assert exported.model.window == stranger.model.window
    _, maps = own_reconstructions(stranger, clip)
    scores = frame_scores(maps, stranger.patch)
    np.testing.assert_allclose(exported.score(clip).frames, scores, atol=SAME)
    raw = [m.score for m in stream(exported, clip.frames()) if m.smoothed is None]
    np.testing.assert_allclose(raw, scores, atol=SAME)


# They are seen in the explorers -------------------------------------------------------------------

def test_pseudo_bench(stranger, scene, tracks):
    clip = scene.train[0]
    bench = pseudo_bench(stranger, clip, tracks)
    bench.controls["sigma"].value = .7
    X, XA, Y, M = parts = own_bench(stranger, clip, tracks, bench, .7)
    P, N = (torch.linalg.vector_norm(M[:, None] * (x - Y)).item() for x in (X, XA))
    said = re.match(r"P = ([\d.]+), N = ([\d.]+)", bench.note.value)
    assert [float(v) for v in said.groups()] == pytest.approx([P, N], abs=2e-3)
    losses = {r: float(v) for v, r in re.findall(r"([\d.]+) \((\w+)\)", bench.note.value)}
    assert losses == pytest.approx(own_losses(*parts), abs=2e-3) and "log" in losses

def test_pseudo_bench_offers_the_targets_that_count(scene, tracks):
    "A lamp counts on an object's first and last frame, too."
    ours, theirs = (pseudo_bench(fit(scene, arch="lines", pseudo=p), scene.train[0], tracks)
                    for p in ("noise", "lamp"))
    for k, frames in ours.draw.__self__.targets.items():
        assert set(frames) < set(theirs.draw.__self__.targets[k])

def test_loss_landscape(stranger, scene, tracks):
    clip = scene.train[0]
    explorer = loss_landscape({"mine": stranger}, clip, tracks)
    explorer.finish()
    reading = explorer.controls["reading"]
    assert reading.value == stranger.settings.ratio
    assert (f"L_dist, {READINGS['log'].title}", "log") in reading.options
    curves, = explorer.draw.__self__.computed.values()
    assert len(curves["mine"]) == 11
    for sigma, losses in curves["mine"].items():
        own = own_losses(*own_bench(stranger, clip, tracks, explorer, sigma))
        assert losses == pytest.approx(own, rel=1e-4)

def test_score_explorer(stranger, scene):
    Y, maps = own_reconstructions(stranger, scene.test[0])
    explorer = score_explorer(stranger, scene)
    for frame in (0, 20, 39):
        explorer.controls["frame"].value = frame
        assert f"score {frame_scores(maps, stranger.patch)[frame]:.4f}" in explorer.note.value
        rebuilt, score_map = explorer.draw.__self__.rebuilt("11", frame)
        np.testing.assert_allclose(score_map, maps[frame], atol=SAME)
        np.testing.assert_allclose(rebuilt, 255 * Y[frame].permute(1, 2, 0), atol=.51)

@torch.inference_mode()
def test_dissector(stranger, scene):
    clip = scene.test[0]
    explorer, T = dissector(stranger, clip), stranger.model.window
    assert explorer.controls["layer"].options == ("inward", "outward")
    frames = clip.array(stranger.size)[20 - T // 2:20 + T // 2 + 1]
    X = to_tensor(frames)[None]
    _, shape, maps = explorer.draw.__self__.outputs(20)["inward"]
    assert shape == X.shape
    torch.testing.assert_close(maps, stranger.model.inward(X))
    explorer.controls["layer"].value = "outward"
    assert "outward (Conv3d): 1x8x1x32x48 in, 1x3x1x32x48 out, 27 parameters" in explorer.note.value


# Of tomorrow --------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["format", "setting"])
def test_a_file_of_a_newer_version_says_so(kind, scene, tmp_path):
    file, detector = tmp_path/"model.safetensors", fit(scene, arch="lines")
    about = json.loads(header(detector))
    if kind == "format": about = dict(format=FORMAT + 1, words="of which nobody knows yet")
    else: about["settings"]["colour"] = "blue"
    safetensors.torch.save_file(detector.model.state_dict(), file, {"ddl_nb": json.dumps(about)})
    with pytest.raises(DDLError, match=f"{file.name}: made by a newer version .* update it"):
        Detector.load(file)
