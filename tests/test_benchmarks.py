"""The yardstick of the benchmarks says what the package says; and the committed record is whole."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import footage, write_images

from ddl_nb.data import Clip
from ddl_nb.detector import Detector, Scale
from ddl_nb.stream import stream
from ddl_nb.training import DDL, Settings

root = Path(__file__).parent.parent
sys.path.insert(0, str(root / "benchmarks"))
import plain


def shake(model):
    "Give BatchNorm other statistics than those it starts with."
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, .2)
            m.running_var.uniform_(.05, .2)


def pair(channels, window=3):
    "A detector with shaken statistics and the plain model with its weights."
    torch.manual_seed(1)
    settings = Settings("recon", latent=16, channels=channels, height=32, width=48,
                        window=window)
    model = settings.model().eval()
    shake(model)
    other = plain.Conv3DSkipUNet(channels, 16, window).eval()
    other.load_state_dict(model.state_dict())
    return Detector(model, settings, (32, 48), Scale(0., 0., 0., 1., 1., 1.)), other


@pytest.mark.parametrize("channels, window, batch", [(1, 3, 1), (3, 3, 16), (3, 5, 7)])
def test_scores_equal_the_sliding_window_ones(tmp_path, channels, window, batch):
    write_images(tmp_path / "clip", footage(0, 19)[0])
    clip = Clip(tmp_path / "clip")
    detector, other = pair(channels, window)
    expected = plain.score(other, clip.files, (32, 48), channels, batch)
    scores = detector.score(clip).frames
    assert np.abs(scores - expected).max() < 1e-5 < scores.std()
    one_off = clip.files[1:] + clip.files[:1]
    wrong = plain.score(other, one_off, (32, 48), channels, batch)
    assert np.abs(scores - wrong).max() > 1e-4                # it is seen
    raw = [m.score for m in stream(detector, clip.frames()) if m.smoothed is None]
    assert np.abs(raw - scores).max() < 1e-6


def test_the_loss_equals_the_plain_one_on_the_same_windows(tmp_path):
    "In training mode, with BatchNorm over the same batch: there the mathematics is the same."
    write_images(tmp_path / "clip", footage(1, 12)[0])
    files = {"clip": Clip(tmp_path / "clip").files}
    tracks = {("clip", i): {7: (20 + i, 10, 40 + i, 30)} for i in range(12)}
    torch.manual_seed(0)
    ddl = DDL(Settings("ddl", latent=16, height=32, width=48))
    other = plain.Conv3DSkipUNet(3, 16)
    other.load_state_dict(ddl.model.state_dict())
    rng = np.random.default_rng(0)
    windows = [plain.draw(files, tracks, 3, (32, 48), 3, rng) for _ in range(5)]
    X, M = map(torch.stack, zip(*windows))
    M[4] = 0                                                  # one window without an object
    assert 0 < M[0].mean() < .5
    A = torch.rand_like(X)
    frames = (X * 255).round().byte().permute(0, 2, 3, 4, 1)
    with_object = torch.tensor([[True]] * 4 + [[False]])
    with torch.no_grad():
        mine = ddl(frames, M[:, 0].byte(), with_object, A)["loss"]
        theirs = plain.loss(other, X, M, A, ddl.weight())
    assert abs(mine - theirs).item() < 1e-5
    assert abs(theirs - plain.loss(other, X, M, A, .6)).item() > 1e-5


def record(name): return json.loads((root / "results" / name).read_text())


@pytest.mark.parametrize("key", [
    "scoring.ratio_128x192",
    "scoring.ratio_256x256",
    "scoring.max_abs_diff",
    "scoring_deploy.ratio",
    "training.ratio",
    "streaming.max_abs_diff",
    "streaming.latency_ms.median",
    "streaming.latency_ms.p99",
    "memory.hour_video_mib",
    "fraction_of_peak",
    "machine.cpu",
    "threads",
    "versions.torch",
])
def test_the_record_has_what_it_must(key):
    value = record("bench.json")
    for part in key.split("."): value = value[part]
    assert value is not None


def test_the_records_ratios_are_those_of_its_times():
    scoring = record("bench.json")["scoring"]
    ratios = {128: [], 256: []}
    for r in scoring["settings"]:
        ms, ratio = r["ms_per_frame"], r["ratio"]["torch"]
        best = min(ms["plain_1"], ms["plain_16"])
        assert best / ms["torch"] == pytest.approx(ratio)
        ratios[r["size"][0]].append(ratio)
    assert scoring["ratio_128x192"] == min(ratios[128])
    assert scoring["ratio_256x256"] == min(ratios[256])


def test_the_soak_was_long_and_stayed_small():
    """100,000 frames; neither memory nor disk is higher in the last quarter than in the first half,
    and the summary says what the rows say."""
    soak = record("soak.json")
    rows, summary = soak["rows"], soak["summary"]
    assert summary["frames"] == rows[-1]["frame"] >= 100_000
    assert summary["events_written"] > 100 and summary["outages"] > 3
    for key, spare in (("rss_mib", 1.02), ("disk_mib", 1.5)):
        values = np.array([r[key] for r in rows])
        n = len(values)
        early, late = values[n // 10:n // 2], values[n * 3 // 4:]
        assert late.max() < spare * early.max()
    assert summary["rss_peak_mib"] == max(r["rss_mib"] for r in rows)
