"""Speed and memory beside the plain yardstick of plain.py, in one run on the same work:
python benchmarks/bench.py [--full].

All ratios are medians of alternating runs on the same threads. Ped2 is used where DDL_DATA holds
it, the plaza elsewhere. Prints one table and writes results/bench.json and results/bench.png;
--full adds Ped2's whole test set, an hour at 10 frames a second (as Ped2) instead of 5, and a soak
of 100,000 frames.
"""
import argparse
import os
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

here = Path(__file__).parent
sys.path.insert(0, str(here))
import cv2
import numpy as np
import plain
import torch
from memory import measure, quantiles
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from training_auc import boxes_by_frame, write_jpeg

from ddl_nb.running import provenance, write_json
from ddl_nb.data import Clip
from ddl_nb.detector import Detector, Scale
from ddl_nb.export import export
from ddl_nb.layouts import open_source
from ddl_nb.metrics import baseline_scores, frame_auc
from ddl_nb.scoring import Folded
from ddl_nb.plaza import plaza
from ddl_nb.stream import stream
from ddl_nb.training import DDL, Settings, TrackedClips, find_tracks, make_optimizer, train_step

SETTINGS = [(32, 1, (128, 192)), (64, 1, (128, 192)), (32, 3, (256, 256)), (64, 3, (256, 256))]
TIMES, FRAMES = 5, 48


def alternate(**ways):
    "Median seconds of each way, run in turns after one warm-up, and what each returned last."
    seconds = {name: [] for name in ways}
    results = {name: f() for name, f in ways.items()}
    for _ in range(TIMES):
        for name, f in ways.items():
            start = time.perf_counter()
            results[name] = f()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(s)) for name, s in seconds.items()}, results


def seconds_of(f):
    "Median seconds of one way."
    return alternate(f=f)[0]["f"]


def say(text): print(text, flush=True)


def counted(f):
    "Multiply-adds that really happen in a call, zeros of merged kernels included."
    with FlopCounterMode(display=False) as counter, torch.inference_mode(): f()
    return counter.get_total_flops() / 2


def detectors(L, c, size, kernels=Settings.kernels):
    """The package's detector and the plain model with the same weights, BatchNorm's statistics not
    at their start."""
    torch.manual_seed(0)
    settings = Settings("recon", latent=L, channels=c, height=size[0], width=size[1],
                        kernels=kernels)
    model = settings.model().eval()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, .1)
            m.running_var.uniform_(.05, .2)
    other = plain.Conv3DSkipUNet(c, L, kernels=kernels).eval()
    other.load_state_dict(model.state_dict())
    return Detector(model, settings, size, Scale(0., 0., 0., 1., 1., 1.)), other


# Scoring --------------------------------------------------------------------------------

def exported(detector, normal, folder):
    "The detector as PyTorch runs it, ONNX Runtime, OpenVINO, and OpenVINO in 8 bits."
    runs = {"torch": detector}
    for name, file, clips in (("onnx", "model.onnx", None), ("openvino", "model.xml", None),
                              ("int8", "model-int8.xml", normal)):
        export(detector, folder / file, clips)
        runs[name] = Detector.load(folder / file)
    return runs


def frame_scores(detector, clip): return detector.score(clip).frames


def scoring_row(clip, normal, folder, L, c, size):
    "From JPEG files to frame scores: plain with batch 1 and 16, and the package's ways."
    ours, other = detectors(L, c, size)
    runs = exported(ours, normal, folder)
    ways = {f"plain_{n}": partial(plain.score, other, clip.files, size, c, n) for n in (1, 16)}
    ways |= {name: partial(frame_scores, d, clip) for name, d in runs.items()}
    seconds, results = alternate(**ways)
    x = torch.rand(1, c, 10, *size)
    work_plain = counted(lambda: other(x[:, :, :3]))
    work_ours = counted(lambda: Folded(ours.model)(x)) / 8
    reference = results["plain_1"]
    best, batch_16 = min(seconds["plain_1"], seconds["plain_16"]), seconds["plain_16"]
    difference = {n: float(np.abs(results[n] - reference).max()) for n in ("plain_16", *runs)}
    return dict(
        latent=L, channels=c, size=size, frames=len(clip),
        multiply_adds_ratio=work_plain / work_ours,
        max_abs_diff=difference,
        ms_per_frame={n: s / len(clip) * 1e3 for n, s in seconds.items()},
        ratio={n: best / seconds[n] for n in runs},
        ratio_to_batch_16={n: batch_16 / seconds[n] for n in runs},
        cameras_25fps={n: len(clip) / s / 25 for n, s in seconds.items()})


def say_scoring(row):
    height, width = row["size"]
    ms, colour = row["ms_per_frame"], "grey" if row["channels"] == 1 else "RGB "
    ways = [f"{n} {ms[n]:.1f} ms, {ratio:.1f}x, differs by {row['max_abs_diff'][n]:.0e}"
            for n, ratio in row["ratio"].items()]
    say(f"scoring L={row['latent']} {colour} {height}x{width}: "
        f"plain {ms['plain_1']:.1f} / {ms['plain_16']:.1f} ms a frame (batch 1 / 16); "
        + "; ".join(ways))


def scoring(clip, normal, folder):
    rows = []
    for L, c, size in SETTINGS:
        rows.append(scoring_row(clip, normal, folder, L, c, size))
        say_scoring(rows[-1])
    return rows


def defaults(clip):
    """Frames a second, from files to frame scores, with the kernels of version 0.1.0 (3, 5, 7) and
    with today's."""
    both = dict(before=(3, 5, 7), now=Settings.kernels)
    runs = {name: detectors(32, 3, SIZE, kernels)[0] for name, kernels in both.items()}
    seconds, _ = alternate(**{name: partial(frame_scores, d, clip) for name, d in runs.items()})
    fps = {name: len(clip) / s for name, s in seconds.items()}
    ratio = fps["now"] / fps["before"]
    say(f"defaults: {fps['before']:.0f} frames a second before, {fps['now']:.0f} now, {ratio:.1f}x")
    return dict(frames_per_second=fps, ratio=ratio)


def eight_bits(folder):
    """AUC of a trained model in float32 and in 8 bits; the model is the plaza's, which beats the
    baselines there."""
    scene = plaza()
    detector = Detector.load("plaza").alone("reconstruction")
    export(detector, folder / "plaza.xml", scene.train)
    small = Detector.load(folder / "plaza.xml")
    def micro(scores): return frame_auc(scores, scene.labels)["micro"]

    auc = {name: micro({c.name: d.score(c).smoothed for c in scene.test})
           for name, d in (("float32", detector), ("int8", small))}
    baselines = baseline_scores(scene.test, detector.size, 3)
    auc["baselines"] = {n: micro(scores) for n, scores in baselines.items()}
    say(f"8 bits on the plaza: AUC {auc['float32']:.2f} -> {auc['int8']:.2f}; "
        f"best baseline {max(auc['baselines'].values()):.1f}")
    return auc | dict(loss=auc["float32"] - auc["int8"])


# Training -------------------------------------------------------------------------------

SIZE = (128, 192)


def plain_training(regime, draw):
    "A step of the plain loop, on a batch of 12 windows."
    model = plain.Conv3DSkipUNet(3, 32)
    l = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([*model.parameters(), l], lr=1e-3)
    def step():
        X, M = draw(12)
        if regime == "ddl": loss = plain.loss(model, X, M, torch.rand_like(X), torch.sigmoid(l))
        else: loss = (X[:, :, 1] - model(X)).square().sum(1).add(1e-12).sqrt().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return step


def our_training(regime, clips, tracks):
    "A step of the package's training, on 2 excerpts of 8 frames: 12 targets, too."
    settings = Settings(regime)
    ddl = DDL(settings).train()
    optimizer, _ = make_optimizer(ddl, settings, 1000)
    data = TrackedClips(clips, tracks if regime == "ddl" else None, SIZE, n=8)
    loader = iter(torch.utils.data.DataLoader(data, settings.batch))
    return lambda: train_step(ddl, optimizer, next(loader), 0)


def loss_difference(draw):
    "Of the plain loss and ours on the same windows, with the same weights, in training mode."
    ddl = DDL(Settings("ddl"))
    other = plain.Conv3DSkipUNet(3, 32)
    other.load_state_dict(ddl.model.state_dict())
    X, M = draw(6)
    A = torch.rand_like(X)
    frames = (X * 255).round().byte().permute(0, 2, 3, 4, 1)
    with_object = M.amax((1, 3, 4)).bool().all(1, keepdim=True)
    with torch.no_grad():
        mine = ddl(frames, M[:, 0].byte(), with_object, A)["loss"]
        theirs = plain.loss(other, X, M, A, ddl.weight())
    return abs(mine - theirs).item()


def training(clips, files):
    """Targets a second: the plain loop (windows decoded when drawn) and the package's (excerpts,
    cached)."""
    tracks = find_tracks(clips, SIZE, 3)
    boxes, rng = boxes_by_frame(tracks), np.random.default_rng(0)
    def draw(n): return plain.draw_batch(n, files, boxes, 3, SIZE, 3, rng)

    regimes = {}
    for regime in ("ddl", "recon"):
        torch.manual_seed(0)
        ours = our_training(regime, clips, tracks)
        seconds, _ = alternate(plain=plain_training(regime, draw), ours=ours)
        regimes[regime] = dict(ratio=seconds["plain"] / seconds["ours"],
                               targets_per_second={n: 12 / s for n, s in seconds.items()})
    difference = loss_difference(draw)
    said = [f"{r} {v['targets_per_second']['ours']:.1f} targets a second, {v['ratio']:.1f}x"
            for r, v in regimes.items()]
    say(f"training: {', '.join(said)}; loss on the same windows differs by {difference:.0e}")
    return dict(ratio=min(v["ratio"] for v in regimes.values()), regimes=regimes,
                loss_difference=difference)


# How close to the limit -----------------------------------------------------------------

def best_rate():
    """Multiply-adds a second of this machine in float32: of its matrix product, or of a convolution
    over 64 channels where that is faster."""
    a, b = torch.rand(2, 2048, 2048)
    x, w = torch.rand(8, 64, 64, 64), torch.rand(64, 64, 3, 3)
    x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
    def convolution(): nn.functional.conv2d(x, w, padding=1)
    return max(2048**3 / seconds_of(lambda: a @ b), counted(convolution) / seconds_of(convolution))


def block_inputs(model, x):
    "Block's name -> (block, what it is given when the model sees x)."
    blocks = {name: m for name, m in model.named_modules()
              if name.count(".") == 1 and not name.endswith("conv_last")}
    given = {}
    def keep(block, args): given[block] = args[0].clone()

    hooks = [block.register_forward_pre_hook(keep) for block in blocks.values()]
    model.step(x)
    for h in hooks: h.remove()
    return {name: (block, given[block]) for name, block in blocks.items()}


def limit():
    """The machine's best float32 rate as ceiling, and the share of it that each block of the folded
    model reaches (L = 64, 256x256 RGB, 8 frames)."""
    peak = best_rate()
    ours, _ = detectors(64, 3, (256, 256))
    fast, x = Folded(ours.model), torch.rand(8, 256, 256, 3).permute(0, 3, 1, 2)
    blocks = {}
    with torch.inference_mode():
        for name, (block, given) in block_inputs(fast, x).items():
            work = counted(partial(block, given.clone()))
            s = seconds_of(partial(block, given))
            blocks[name] = dict(multiply_adds=work, ms=s * 1e3, fraction_of_peak=work / s / peak)
        past = fast.step(x)[1]
        step = partial(fast.step, x, past)
        total = seconds_of(step)
        reached = counted(step) / total / peak
    rest = total - sum(b["ms"] for b in blocks.values()) / 1e3
    above = {n: b["ms"] / 1e3 - b["multiply_adds"] / peak for n, b in blocks.items()}
    worst = max(above, key=above.get)
    say(f"ceiling {peak / 1e9:.0f} G multiply-adds a second; "
        f"the model reaches {reached:.0%} of it; "
        f"most time above the ceiling's: {worst}; outside the blocks {max(rest, 0) / total:.0%}")
    return dict(peak_multiply_adds_per_second=peak, fraction_of_peak=reached, blocks=blocks,
                outside_blocks=rest / total, largest_loss=worst)


def scoring_ms(L=32, c=1, size=SIZE, n=32, T=3, clips=1):
    "Milliseconds to score so many clips of n frames."
    height, width = size
    settings = Settings("recon", latent=L, channels=c, height=height, width=width, window=T)
    detector = Detector(settings.model().eval(), settings, size)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (n, *size, c), dtype=np.uint8)
    return 1e3 * seconds_of(lambda: [detector.score(Clip(frames)) for _ in range(clips)])


def costs():
    """Milliseconds against n, T, latent width, area and number of clips; the slope of the
    logarithms, 1 where cost is in proportion."""
    values = dict(n=(16, 32, 64, 128, 256), T=(1, 3, 5, 7),
                  L=(16, 32, 64, 128), clips=(1, 2, 4, 8))
    curves = {name: dict(x=x, ms=[scoring_ms(**{name: v}) for v in x])
              for name, x in values.items()}
    sides = [(64, 96), (128, 192), (256, 384)]
    curves["pixels"] = dict(x=[h * w for h, w in sides], ms=[scoring_ms(size=s) for s in sides])
    for c in curves.values():
        slope, _ = np.polyfit(np.log(c["x"]), np.log(c["ms"]), 1)
        c["slope"] = float(slope)
    powers = [f"{c['slope']:.2f} of {n}" for n, c in curves.items()]
    say("cost grows with the power of " + ", ".join(powers))
    return curves


# Streaming and memory -------------------------------------------------------------------

def paced(frames, fps):
    "Frames at a camera's pace, and when each was handed over."
    start, given = time.perf_counter(), []
    def source():
        for i, f in enumerate(frames):
            time.sleep(max(0, start + i / fps - time.perf_counter()))
            given.append(time.perf_counter())
            yield f
    return source(), given


def latencies(detector, clip, frames, fps):
    """Milliseconds from a frame's arrival to the score that it makes possible (that of the frame
    before it: T = 3), with the clip over and over at a camera's pace."""
    repeated = (f for _ in range(1 + frames // len(clip)) for f in clip.frames())
    source, given = paced(repeated, fps)
    found = []
    for m in islice(stream(detector, source), 2 * frames):
        if m.smoothed is None: found.append((time.perf_counter() - given[m.frame + 1]) * 1e3)
    return np.array(found[10:])


def streaming(clip, frames=500, fps=25):
    "Stream against batch, and the latency of a stream."
    ours, _ = detectors(32, 3, SIZE)
    batch = ours.score(clip)
    latency = latencies(ours, clip, frames, fps)
    moments = list(stream(ours, clip.frames()))
    raw = [m.score for m in moments if m.smoothed is None]
    smoothed = [m.smoothed for m in moments if m.smoothed is not None]
    difference = max(np.abs(raw - batch.frames).max(), np.abs(smoothed - batch.smoothed).max())
    ms = quantiles(latency)
    say(f"streaming: differs from batch by {difference:.0e}; latency {ms['median']:.1f} ms, "
        f"p99 {ms['p99']:.1f}, largest {ms['max']:.1f}")
    return dict(max_abs_diff=float(difference), frames=len(latency), fps=fps, latency_ms=ms)


def whole_ped2(data):
    """Every frame of the test set, plain and ours: the largest difference of a score, and that of
    the AUCs, for untrained weights of one seed."""
    scene = open_source(str(data)).scenes[0]
    ours, other = detectors(32, 3, SIZE)
    a = {c.name: plain.score(other, c.files, SIZE, 3, 1) for c in scene.test}
    b = {c.name: ours.score(c).frames for c in scene.test}
    auc_a, auc_b = (frame_auc(scores, scene.labels)["micro"] for scores in (a, b))
    return dict(frames=sum(map(len, b.values())),
                max_abs_diff=max(float(np.abs(a[n] - b[n]).max()) for n in a),
                auc_difference=abs(auc_a - auc_b))


# The record -------------------------------------------------------------------------------

def plot_blocks(ax, blocks):
    names = [n.replace(".", " ") for n in blocks]
    ax.barh(names, [b["fraction_of_peak"] for b in blocks.values()])
    ax.invert_yaxis()
    ax.set(title="share of the machine's best rate, L = 64, 256x256 RGB", xlim=(0, 1))


def plot_costs(ax, curves):
    for name, c in curves.items():
        x, ms = np.array(c["x"]), np.array(c["ms"])
        ax.loglog(x / x[0], ms / ms[0], "o-", label=f"{name}: slope {c['slope']:.2f}")
    ax.plot([1, 16], [1, 16], "k:", lw=1)
    ax.set(title="cost, relative to the smallest", xlabel="times as much")
    ax.legend()


def plot_memory(ax, memory):
    for name, m in memory.items():
        if not isinstance(m, dict): continue
        share = np.linspace(0, 1, len(m["mib"]))
        ax.plot(share, m["mib"], label=name.replace("_", " "))
    ax.set(title="resident memory, MiB", xlabel="share of the run", ylim=(0, None))
    ax.legend()


def plot(result, path):
    import matplotlib.pyplot as plt
    import seaborn as sns
    sns.set_theme("paper", "whitegrid", "colorblind")
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.4), dpi=80)
    plot_blocks(axes[0], result["limit"]["blocks"])
    plot_costs(axes[1], result["costs"])
    plot_memory(axes[2], result["memory"])
    fig.tight_layout()
    fig.savefig(path)
    plt.close(fig)


def table(r):
    scoring, deploy, memory = r["scoring"], r["scoring_deploy"], r["memory"]
    latency = r["streaming"]["latency_ms"]
    rows = [
        ("scoring, 128x192 grey, PyTorch", f"{scoring['ratio_128x192']:.1f}x"),
        ("scoring, 256x256 RGB, PyTorch", f"{scoring['ratio_256x256']:.1f}x"),
        (f"scoring, {deploy['runtime']}", f"{deploy['ratio']:.1f}x"),
        ("scoring, OpenVINO in 8 bits", f"{deploy['ratio_int8']:.1f}x"),
        ("scoring, this default against that of 0.1.0", f"{r['defaults']['ratio']:.1f}x"),
        ("training", f"{r['training']['ratio']:.1f}x"),
        ("largest difference of a frame score", f"{scoring['max_abs_diff']:.0e}"),
        ("stream against batch", f"{r['streaming']['max_abs_diff']:.0e}"),
        ("latency of a streamed frame, median / p99",
         f"{latency['median']:.1f} / {latency['p99']:.1f} ms"),
        ("memory, scoring an hour of video", f"{memory['hour_video_mib']:.0f} MiB"),
        ("memory, training", f"{memory['training']['peak_mib']:.0f} MiB"),
        ("share of the machine's best rate", f"{r['fraction_of_peak']:.0%}"),
    ]
    return "\n".join(f"{name:45} {value:>14}" for name, value in rows)


def summarise(rows, data):
    "What the rows of `scoring` come to: of PyTorch, and of the faster exported model."
    def ratio(name, rows=rows): return min(r["ratio"][name] for r in rows)
    def difference(name): return max(r["max_abs_diff"][name] for r in rows)

    pytorch = dict(settings=rows, data=data,
                   ratio_128x192=ratio("torch", rows[:2]),
                   ratio_256x256=ratio("torch", rows[2:]),
                   max_abs_diff=difference("torch"),
                   multiply_adds_ratio=min(r["multiply_adds_ratio"] for r in rows))
    runtime = max(("onnx", "openvino"), key=ratio)
    deploy = dict(runtime=runtime, ratio=ratio(runtime), ratio_int8=ratio("int8"),
                  max_abs_diff=difference(runtime))
    return pytorch, deploy


def open_scene(ped2, folder):
    "Ped2, or the plaza with its training clips as JPEG files in a folder."
    if ped2.is_dir(): return open_source(str(ped2)).scenes[0]
    scene = plaza()
    write_jpeg(scene, folder)
    scene.train = [Clip(folder / c.name) for c in scene.train]
    return scene


def measure_all(full, ped2, folder):
    scene = open_scene(ped2, folder)
    clip, train = scene.train[0].part(0, FRAMES), scene.train[:3]
    del clip.files[FRAMES:]
    pytorch, deploy = summarise(scoring(clip, train, folder), scene.name)
    result = dict(scoring=pytorch, scoring_deploy=deploy | dict(int8_auc=eight_bits(folder)))
    result["defaults"] = defaults(clip)
    result["training"] = training(train, {c.name: c.files for c in train})
    result["limit"] = limit()
    result["fraction_of_peak"] = result["limit"]["fraction_of_peak"]
    result["costs"] = costs()
    result["streaming"] = streaming(clip)
    memory = dict(training=measure("training"), hour=measure("hour", fps=10 if full else 5))
    memory["hour_video_mib"] = memory["hour"]["peak_mib"]
    result["memory"] = memory
    if full:
        memory["soak"] = measure("soak", frames=100_000)
        result["streaming"]["soak_latency_ms"] = memory["soak"].pop("latency_ms")
        if ped2.is_dir(): result["ped2_test_set"] = whole_ped2(ped2)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=Path, default=here.parent / "results" / "bench.json")
    options = parser.parse_args()
    started, threads = time.perf_counter(), torch.get_num_threads()
    cv2.setNumThreads(1)
    ped2 = Path(os.environ.get("DDL_DATA", "data")) / "ped2"
    with tempfile.TemporaryDirectory() as folder:
        result = measure_all(options.full, ped2, Path(folder))
    command = "python benchmarks/bench.py" + " --full" * options.full
    run = provenance(started) | dict(command=command)
    versions = {n: version(n) for n in ("openvino", "onnxruntime", "nncf")}
    result |= dict(machine=run["machine"], threads=threads, versions=run["versions"] | versions,
                   run=run, times=TIMES)
    plot(result, options.out.with_suffix(".png"))
    write_json(options.out, result)
    print("\n" + table(result),
          f"\n{run['machine']['cpu']}, {threads} threads, {run['seconds']:.0f} s; "
          "ratios are against benchmarks/plain.py with its faster batch size, "
          "the smallest over the settings"
          f"\n{options.out}")


if __name__ == "__main__":
    main()
