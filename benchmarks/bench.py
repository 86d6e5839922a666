"""Speed and memory beside the plain yardstick of plain.py, in one run on the same work: python benchmarks/bench.py [--full].

All ratios are medians of alternating runs on the same threads. Ped2 is used where DDL_DATA holds it, the plaza elsewhere. Prints one table
and writes results/bench.json and results/bench.png; --full adds Ped2's whole test set, an hour at 10 frames a second (as Ped2) instead of 5, and a soak of 100,000 frames.
"""
import argparse
import json
import os
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

here = Path(__file__).parent
sys.path.insert(0, str(here))
import cv2
import numpy as np
import plain
import torch
from memory import measure
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from training_auc import boxes_by_frame, write_jpeg

from ddl_nb.running import provenance, write_json
from ddl_nb.data import Clip
from ddl_nb.detector import Detector
from ddl_nb.layouts import open_source
from ddl_nb.metrics import baseline_scores, frame_auc
from ddl_nb.scoring import Folded
from ddl_nb.plaza import plaza
from ddl_nb.training import DDL, Settings, TrackedClips, find_tracks, make_optimizer, train_step

SETTINGS = [(32, 1, (128, 192)), (64, 1, (128, 192)), (32, 3, (256, 256)), (64, 3, (256, 256))]
TIMES, FRAMES = 5, 48


def alternate(**ways):
    "Median seconds of each way, run in turns after one warm-up, and what each returned last."
    seconds, results = {name: [] for name in ways}, {name: f() for name, f in ways.items()}
    for _ in range(TIMES):
        for name, f in ways.items():
            start = time.perf_counter()
            results[name] = f()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(s)) for name, s in seconds.items()}, results


def counted(f):
    "Multiply-adds that really happen in a call, zeros of merged kernels included."
    with FlopCounterMode(display=False) as counter, torch.inference_mode(): f()
    return counter.get_total_flops() / 2


def detectors(L, c, size):
    "The package's detector and the plain model with the same weights, BatchNorm's statistics not at their start."
    torch.manual_seed(0)
    settings = Settings("recon", latent=L, channels=c, height=size[0], width=size[1])
    model = settings.model().eval()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d): m.running_mean.normal_(0, .1); m.running_var.uniform_(.05, .2)
    other = plain.Conv3DSkipUNet(c, L).eval()
    other.load_state_dict(model.state_dict())
    return Detector(model, settings, size, {"0.99": 1., "map": 1.}), other


# Scoring ------------------------------------------------------------------------------------------------------------

def scoring(clip, normal, folder):
    "From JPEG files to frame scores: plain with batch 1 and 16, PyTorch, ONNX Runtime, OpenVINO, OpenVINO in 8 bits."
    rows = []
    for L, c, size in SETTINGS:
        ours, other = detectors(L, c, size)
        runs = {"torch": ours}
        for name, file, clips in (("onnx", "model.onnx", None), ("openvino", "model.xml", None), ("int8", "model-int8.xml", normal)):
            ours.export(folder / file, clips)
            runs[name] = Detector.load(folder / file)
        seconds, results = alternate(plain_1=lambda: plain.score(other, clip.files, size, c, 1), plain_16=lambda: plain.score(other, clip.files, size, c, 16),
                                     **{name: lambda d=d: d.score(clip).frames for name, d in runs.items()})
        x = torch.rand(1, c, 10, *size)
        work = counted(lambda: other(x[:, :, :3])) / (counted(lambda: Folded(ours.model)(x)) / 8)
        best = min(seconds["plain_1"], seconds["plain_16"])
        rows.append(dict(latent=L, channels=c, size=size, frames=len(clip), multiply_adds_ratio=work,
                         max_abs_diff={n: float(np.abs(results[n] - results["plain_1"]).max()) for n in ("plain_16", *runs)},
                         ms_per_frame={n: s / len(clip) * 1e3 for n, s in seconds.items()},
                         ratio={n: best / seconds[n] for n in runs}, ratio_to_batch_16={n: seconds["plain_16"] / seconds[n] for n in runs},
                         cameras_25fps={n: len(clip) / s / 25 for n, s in seconds.items()}))
        r = rows[-1]
        print(f"scoring L={L} {'grey' if c == 1 else 'RGB '} {size[0]}x{size[1]}: plain {r['ms_per_frame']['plain_1']:.1f} / {r['ms_per_frame']['plain_16']:.1f} ms a frame (batch 1 / 16); "
              + "; ".join(f"{n} {r['ms_per_frame'][n]:.1f} ms, {r['ratio'][n]:.1f}x, differs by {r['max_abs_diff'][n]:.0e}" for n in runs), flush=True)
    return rows


def eight_bits(folder):
    "AUC of a trained model in float32 and in 8 bits; the model is the plaza's, which beats the baselines there."
    scene = plaza()
    detector = Detector.load("plaza")
    detector.export(folder / "plaza.xml", scene.train)
    scores = {name: {c.name: d.score(c).smoothed for c in scene.test} for name, d in (("float32", detector), ("int8", Detector.load(folder / "plaza.xml")))}
    auc = {name: frame_auc(s, scene.labels)["micro"] for name, s in scores.items()}
    auc["baselines"] = {n: frame_auc(s, scene.labels)["micro"] for n, s in baseline_scores(scene.test, detector.size, 3).items()}
    print(f"8 bits on the plaza: AUC {auc['float32']:.2f} -> {auc['int8']:.2f}; best baseline {max(auc['baselines'].values()):.1f}", flush=True)
    return auc | dict(loss=auc["float32"] - auc["int8"])


# Training -----------------------------------------------------------------------------------------------------------

def training(clips, files):
    "Targets a second: the plain loop (batches of 12 windows, decoded when drawn) and the package's (2 stretches of 8 frames, cached)."
    out = {}
    tracks = find_tracks(clips, (128, 192), 3)
    boxes, rng = boxes_by_frame(tracks), np.random.default_rng(0)
    for regime in ("ddl", "recon"):
        torch.manual_seed(0)
        settings = Settings(regime)
        ddl = DDL(settings)
        optimizer, _ = make_optimizer(ddl, settings, 1000)
        other, l = plain.Conv3DSkipUNet(3, 32), torch.zeros((), requires_grad=True)
        other_optimizer = torch.optim.Adam([*other.parameters(), l], lr=1e-3)
        loader = iter(torch.utils.data.DataLoader(TrackedClips(clips, tracks if regime == "ddl" else None, (128, 192)), settings.batch))
        def plain_step():
            X, M = map(torch.stack, zip(*[plain.draw(files, boxes, 3, (128, 192), 3, rng) for _ in range(12)]))
            loss = plain.loss(other, X, M, torch.rand_like(X), torch.sigmoid(l)) if regime == "ddl" else (X[:, :, 1] - other(X)).square().sum(1).add(1e-12).sqrt().mean()
            other_optimizer.zero_grad(); loss.backward(); other_optimizer.step()
        ddl.train()
        seconds, _ = alternate(plain=plain_step, ours=lambda: train_step(ddl, optimizer, next(loader), 0))
        out[regime] = dict(ratio=seconds["plain"] / seconds["ours"], targets_per_second={n: 12 / s for n, s in seconds.items()})
    # the same windows, the same weights, in training mode: the same loss
    ddl = DDL(Settings("ddl"))
    other = plain.Conv3DSkipUNet(3, 32)
    other.load_state_dict(ddl.model.state_dict())
    X, M = map(torch.stack, zip(*[plain.draw(files, boxes, 3, (128, 192), 3, rng) for _ in range(6)]))
    A = torch.rand_like(X)
    with torch.no_grad():
        mine = ddl((X * 255).round().byte().permute(0, 2, 3, 4, 1), M[:, 0].byte(), M.amax((1, 3, 4)).bool().all(1, keepdim=True), A)["loss"]
        difference = abs(mine - plain.loss(other, X, M, A, ddl.weight())).item()
    said = [f"{r} {v['targets_per_second']['ours']:.1f} targets a second, {v['ratio']:.1f}x" for r, v in out.items()]
    print(f"training: {', '.join(said)}; loss on the same windows differs by {difference:.0e}", flush=True)
    return dict(ratio=min(v["ratio"] for v in out.values()), regimes=out, loss_difference=difference)


# How close to the limit ---------------------------------------------------------------------------------------------

def limit():
    "The machine's float32 matrix product as ceiling, and the share of it that each block of the folded model reaches (L = 64, 256x256 RGB, 8 frames)."
    a, b = torch.rand(2, 2048, 2048)
    seconds, _ = alternate(product=lambda: a @ b)
    peak = 2048**3 / seconds["product"]
    ours, _ = detectors(64, 3, (256, 256))
    fast, x = Folded(ours.model), torch.rand(8, 256, 256, 3).permute(0, 3, 1, 2)
    times, work, inputs = {}, {}, {}
    names = {m: n for n, m in fast.named_modules() if n.count(".") == 1 and not n.endswith("conv_last")}
    hooks = [m.register_forward_pre_hook(lambda m, args: inputs.__setitem__(m, args[0].clone())) for m in names]
    with torch.inference_mode():
        fast.step(x)
        for h in hooks: h.remove()
        for m, name in names.items():
            work[name] = counted(lambda: m(inputs[m].clone()))
            copies = [inputs[m].clone() for _ in range(TIMES + 1)]
            times[name] = alternate(block=lambda: m(copies[0]))[0]["block"]
        past = fast.step(x)[1]
        total = alternate(step=lambda: fast.step(x, past))[0]["step"]
        all_work = counted(lambda: fast.step(x, past))
    blocks = {n: dict(multiply_adds=work[n], ms=times[n] * 1e3, fraction_of_peak=work[n] / times[n] / peak) for n in times}
    rest = total - sum(times.values())
    worst = max(times, key=lambda n: times[n] - work[n] / peak)
    print(f"ceiling {peak / 1e9:.0f} G multiply-adds a second; the model reaches {all_work / total / peak:.0%} of it; most time above the ceiling's: {worst}; outside the blocks {max(rest, 0) / total:.0%}", flush=True)
    return dict(peak_multiply_adds_per_second=peak, fraction_of_peak=all_work / total / peak, blocks=blocks, outside_blocks=rest / total, largest_loss=worst)


def costs():
    "Milliseconds against n, T, latent width, area and number of clips; the slope of the logarithms, 1 where cost is in proportion."
    def seconds(L=32, c=1, size=(128, 192), n=32, T=3, clips=1):
        settings = Settings("recon", latent=L, channels=c, height=size[0], width=size[1], window=T)
        detector, frames = Detector(settings.model().eval(), settings, size), np.random.default_rng(0).integers(0, 256, (n, *size, c), dtype=np.uint8)
        return alternate(f=lambda: [detector.score(Clip(frames)) for _ in range(clips)])[0]["f"]
    curves = {}
    for name, values, multiply in (("n", (16, 32, 64, 128, 256), 1), ("T", (1, 3, 5, 7), 1), ("L", (16, 32, 64, 128), 1), ("clips", (1, 2, 4, 8), 1)):
        curves[name] = dict(x=values, ms=[seconds(**{name: v}) * 1e3 for v in values])
    sides = [(64, 96), (128, 192), (256, 384)]
    curves["pixels"] = dict(x=[h * w for h, w in sides], ms=[seconds(size=s) * 1e3 for s in sides])
    for c in curves.values(): c["slope"] = float(np.polyfit(np.log(c["x"]), np.log(c["ms"]), 1)[0])
    print("cost grows with the power of " + ", ".join(f"{c['slope']:.2f} of {n}" for n, c in curves.items()), flush=True)
    return curves


# Streaming and memory -----------------------------------------------------------------------------------------------

def paced(frames, fps):
    "Frames at a camera's pace, and when each was handed over."
    start, given = time.perf_counter(), []
    def source():
        for i, f in enumerate(frames):
            time.sleep(max(0, start + i / fps - time.perf_counter()))
            given.append(time.perf_counter())
            yield f
    return source(), given


def streaming(clip, frames=500, fps=25):
    "Stream against batch, and the time from a frame's arrival to the score that it makes possible (the frame before it: T = 3)."
    ours, _ = detectors(32, 3, (128, 192))
    batch = ours.score(clip)
    source, given = paced((f for _ in range(1 + frames // len(clip)) for f in clip.frames()), fps)
    latency, moments = [], []
    for m in islice(ours.stream(source), 2 * frames):
        if m.smoothed is None: latency.append((time.perf_counter() - given[m.frame + 1]) * 1e3)
    for m in ours.stream(clip.frames()): moments.append(m)
    raw, smoothed = [m.score for m in moments if m.smoothed is None], [m.smoothed for m in moments if m.smoothed is not None]
    difference = max(np.abs(raw - batch.frames).max(), np.abs(smoothed - batch.smoothed).max())
    latency = np.array(latency[10:])
    out = dict(max_abs_diff=float(difference), frames=len(latency), fps=fps, latency_ms=dict(median=float(np.median(latency)), p99=float(np.quantile(latency, .99)), max=float(latency.max())))
    print(f"streaming: differs from batch by {difference:.0e}; latency {out['latency_ms']['median']:.1f} ms, p99 {out['latency_ms']['p99']:.1f}, largest {out['latency_ms']['max']:.1f}", flush=True)
    return out


def whole_ped2(data):
    "Every frame of the test set, plain and ours: the largest difference of a score, and both AUCs, for untrained weights of one seed."
    scene = open_source(str(data)).scenes[0]
    ours, other = detectors(32, 3, (128, 192))
    a = {c.name: plain.score(other, c.files, (128, 192), 3, 1) for c in scene.test}
    b = {c.name: ours.score(c).frames for c in scene.test}
    return dict(frames=sum(map(len, b.values())), max_abs_diff=max(float(np.abs(a[n] - b[n]).max()) for n in a),
                auc_difference=abs(frame_auc(a, scene.labels)["micro"] - frame_auc(b, scene.labels)["micro"]))


def plot(result, path):
    import matplotlib.pyplot as plt
    import seaborn as sns
    sns.set_theme("paper", "whitegrid", "colorblind")
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.4), dpi=80)
    blocks = result["limit"]["blocks"]
    axes[0].barh([n.replace(".", " ") for n in blocks], [b["fraction_of_peak"] for b in blocks.values()]); axes[0].invert_yaxis()
    axes[0].set(title="share of the matrix product's rate, L = 64, 256x256 RGB", xlim=(0, 1))
    for name, c in result["costs"].items(): axes[1].loglog(np.array(c["x"]) / c["x"][0], np.array(c["ms"]) / c["ms"][0], "o-", label=f"{name}: slope {c['slope']:.2f}")
    axes[1].plot([1, 16], [1, 16], "k:", lw=1); axes[1].set(title="cost, relative to the smallest", xlabel="times as much"); axes[1].legend()
    for name, m in result["memory"].items():
        if isinstance(m, dict): axes[2].plot(np.linspace(0, 1, len(m["mib"])), m["mib"], label=name.replace("_", " "))
    axes[2].set(title="resident memory, MiB", xlabel="share of the run", ylim=(0, None)); axes[2].legend()
    fig.tight_layout(); fig.savefig(path); plt.close(fig)


def table(r):
    rows = [("scoring, 128x192 grey, PyTorch", f"{r['scoring']['ratio_128x192']:.1f}x"), ("scoring, 256x256 RGB, PyTorch", f"{r['scoring']['ratio_256x256']:.1f}x"),
            (f"scoring, {r['scoring_deploy']['runtime']}", f"{r['scoring_deploy']['ratio']:.1f}x"), ("scoring, OpenVINO in 8 bits", f"{r['scoring_deploy']['ratio_int8']:.1f}x"),
            ("training", f"{r['training']['ratio']:.1f}x"), ("largest difference of a frame score", f"{r['scoring']['max_abs_diff']:.0e}"),
            ("stream against batch", f"{r['streaming']['max_abs_diff']:.0e}"), ("latency of a streamed frame, median / p99", f"{r['streaming']['latency_ms']['median']:.1f} / {r['streaming']['latency_ms']['p99']:.1f} ms"),
            ("memory, scoring an hour of video", f"{r['memory']['hour_video_mib']:.0f} MiB"), ("memory, training", f"{r['memory']['training']['peak_mib']:.0f} MiB"),
            ("share of the machine's matrix product rate", f"{r['fraction_of_peak']:.0%}")]
    return "\n".join(f"{name:45} {value:>14}" for name, value in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=Path, default=here.parent / "results" / "bench.json")
    options = parser.parse_args()
    started, threads = time.perf_counter(), torch.get_num_threads()
    cv2.setNumThreads(1)
    ped2 = Path(os.environ.get("DDL_DATA", "data")) / "ped2"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        scene = open_source(str(ped2)).scenes[0] if ped2.is_dir() else plaza()
        if not ped2.is_dir(): write_jpeg(scene, folder); scene.train = [Clip(folder / c.name) for c in scene.train]
        clip, train = scene.train[0].part(0, FRAMES), scene.train[:3]
        clip.files = clip.files[:FRAMES]
        rows = scoring(clip, train, folder)
        result = dict(scoring=dict(settings=rows, data=scene.name, ratio_128x192=min(r["ratio"]["torch"] for r in rows[:2]), ratio_256x256=min(r["ratio"]["torch"] for r in rows[2:]),
                                   max_abs_diff=max(r["max_abs_diff"]["torch"] for r in rows), multiply_adds_ratio=min(r["multiply_adds_ratio"] for r in rows)))
        runtime = max(("onnx", "openvino"), key=lambda n: min(r["ratio"][n] for r in rows))
        result["scoring_deploy"] = dict(runtime=runtime, ratio=min(r["ratio"][runtime] for r in rows), ratio_int8=min(r["ratio"]["int8"] for r in rows),
                                        max_abs_diff=max(r["max_abs_diff"][runtime] for r in rows), int8_auc=eight_bits(folder))
        result["training"] = training(train, {c.name: c.files for c in train})
        result["limit"] = limit()
        result["fraction_of_peak"] = result["limit"]["fraction_of_peak"]
        result["costs"] = costs()
        result["streaming"] = streaming(clip)
        result["memory"] = dict(training=measure("training"), hour=measure("hour", fps=10 if options.full else 5))
        result["memory"]["hour_video_mib"] = result["memory"]["hour"]["peak_mib"]
        if options.full:
            result["memory"]["soak"] = measure("soak", frames=100_000)
            result["streaming"]["soak_latency_ms"] = result["memory"]["soak"].pop("latency_ms")
            if ped2.is_dir(): result["ped2_test_set"] = whole_ped2(ped2)
    run = provenance(started) | dict(command="python benchmarks/bench.py" + " --full" * options.full)
    result |= dict(machine=run["machine"], threads=threads, versions=run["versions"] | json.loads(versions()), run=run, times=TIMES)
    plot(result, options.out.with_suffix(".png"))
    write_json(options.out, result)
    print("\n" + table(result), f"\n{run['machine']['cpu']}, {threads} threads, {run['seconds']:.0f} s; ratios are against benchmarks/plain.py with its faster batch size, the smallest over the settings\n{options.out}")


def versions():
    from importlib.metadata import version
    return json.dumps({n: version(n) for n in ("openvino", "onnxruntime", "nncf")})


if __name__ == "__main__":
    main()
