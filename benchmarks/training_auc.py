"""Does training on excerpts cost AUC? The plain loop and the package, the same number of targets,
the same schedule, on the plaza.

BatchNorm normalises over what a step holds: 12 windows of 3 frames in the plain loop, 2 excerpts of
8 frames here, so the two are not the same run. python benchmarks/training_auc.py SEED... writes
results/training_auc.json, one entry a seed, and goes on where it stopped.
"""
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import plain
from ddl_nb.running import provenance
from ddl_nb.data import Clip
from ddl_nb.detector import Detector
from ddl_nb.metrics import frame_auc
from ddl_nb.models import C3DSU
from ddl_nb.plaza import plaza
from ddl_nb.training import Settings, Trainer, find_tracks

WINDOWS, EPOCHS = 12, 6
RESULT = Path(__file__).parent.parent / "results" / "training_auc.json"


def write_jpeg(scene, folder):
    "The training clips as folders of JPEG files: clip name -> files."
    clips = {}
    for clip in scene.train:
        place = Path(folder) / clip.name
        place.mkdir()
        clips[clip.name] = [place / f"{i:04d}.jpg" for i in range(len(clip))]
        for file, frame in zip(clips[clip.name], clip.frames()):
            cv2.imwrite(str(file), frame[..., ::-1])
    return clips


def boxes_by_frame(tracks):
    "(clip, frame) -> {track: box}."
    table = {}
    for r in tracks.itertuples():
        boxes = table.setdefault((r.clip, r.frame), {})
        boxes[r.track] = r.x1, r.y1, r.x2, r.y2
    return table


def train_plain(clips, tracks, size, steps, settings):
    torch.manual_seed(settings.seed)
    channels, window = settings.channels, settings.window
    model = plain.Conv3DSkipUNet(channels, settings.latent, window)
    l = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([*model.parameters(), l], lr=settings.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps + 1)
    rng = np.random.default_rng(settings.seed)
    for _ in range(steps):
        X, M = plain.draw_batch(WINDOWS, clips, tracks, window, size, channels, rng)
        loss = plain.loss(model, X, M, torch.rand_like(X), torch.sigmoid(l))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    # the package's model, for scoring
    copy = C3DSU(channels, settings.latent, window).eval()
    copy.load_state_dict(model.state_dict())
    return copy


def auc(model, settings, size, scene):
    detector = Detector(model, settings, size)
    scores = {c.name: detector.score(c).smoothed for c in scene.test}
    return frame_auc(scores, scene.labels)["micro"]


def compare(seed, folder):
    "Both trainings on the plaza of one seed, and their AUCs."
    start = time.perf_counter()
    scene = plaza()
    settings = Settings(seed=seed, epochs=EPOCHS, average=0)  # the plain loop averages no weights
    clips = write_jpeg(scene, folder)
    scene.train = [Clip(Path(folder) / name) for name in clips]
    trainer = Trainer(scene, settings)
    ours = trainer.run(progress=False)
    seconds = time.perf_counter() - start
    # what is held out here is so there, too
    kept = {c.name: clips[c.name][:len(f)] for c, f in zip(scene.train, trainer.data.frames)}
    boxes = boxes_by_frame(find_tracks(scene.train, trainer.size))
    theirs = train_plain(kept, boxes, trainer.size, trainer.steps, settings)
    run = dict(command=f"python benchmarks/training_auc.py {seed}")
    return dict(ours=auc(ours, settings, trainer.size, scene),
                plain=auc(theirs, settings, trainer.size, scene),
                steps=trainer.steps,
                seconds_ours=round(seconds, 1),
                seconds_both=round(time.perf_counter() - start, 1),
                run=provenance(start) | run)


def read_record(): return json.loads(RESULT.read_text()) if RESULT.exists() else {}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed in map(int, sys.argv[1:]):
        if str(seed) in read_record(): continue
        with tempfile.TemporaryDirectory() as folder: row = compare(seed, folder)
        RESULT.write_text(json.dumps(read_record() | {str(seed): row}, indent=1) + "\n")
        said = {k: row[k] for k in ("ours", "plain", "seconds_ours", "seconds_both")}
        print(seed, said, flush=True)
