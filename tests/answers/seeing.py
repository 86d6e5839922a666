"""Answers to lesson 1."""
from functools import cache

import cv2
import numpy as np
import torch

from answers import choice, each, in_all_forms, told
from ddl_nb.detector import Detector
from ddl_nb.plaza import plaza
from ddl_nb.scoring import frame_scores, smooth

# 1.1: which frames are anomalous ---------------------------------------------------------

QUIZ = dict(a=("test03", 60), b=("test08", 112), c=("test06", 93),
            d=("test01", 10), e=("test07", 73), f=("test05", 40))

@cache
def scene(): return plaza(train_clips=1)

def seen(answer):
    def given(): return answer, QUIZ, scene()
    given.__name__ = repr(answer)
    return given

SEEN = [seen(a) for a in ("bce", "BCE", "ecb", " b, c, e ", "b c e", "b and c and e", "b/c/e",
                          ["b", "c", "e"], ("b", "c", "e"), ["B", "ce"], np.array(["b", "c", "e"]))]
UNSEEN = [seen(a) for a in ("be", "bc", "ce", "b", "abce", "bcef", "bced", "a", "bcz", 3, "",
                            ["a", "d", "f"], "abcdef")]


# 1.2: the error map ----------------------------------------------------------------------

def error_map(X, Y): return np.sqrt(((X - Y)**2).mean(-1))
def by_length(X, Y): return np.linalg.norm(X - Y, axis=-1) / np.sqrt(X.shape[-1])
def by_torch(X, Y):
    return ((torch.tensor(X, requires_grad=True) - torch.tensor(Y))**2).mean(-1).sqrt()
def in_float32(X, Y): return error_map(X.astype(np.float32), Y.astype(np.float32))
def by_einsum(X, Y): return np.sqrt(np.einsum("yxc,yxc->yx", X - Y, X - Y) / X.shape[2])
def by_rows(X, Y): return [error_map(x, y) for x, y in zip(X, Y)]

WRONG_MAPS = [
    lambda X, Y: ((X - Y)**2).mean(-1),
    lambda X, Y: np.abs(X - Y).mean(-1),
    lambda X, Y: np.linalg.norm(X - Y, axis=-1),
    lambda X, Y: np.linalg.norm(X - Y, axis=-1) / np.sqrt(3),
    lambda X, Y: np.linalg.norm(X - Y, axis=-1) / X.shape[-1],
    lambda X, Y: np.sqrt(((X - Y)**2).mean(0)),
    lambda X, Y: np.sqrt(((X - Y)**2).mean()),
    lambda X, Y: np.sqrt(((X - Y)**2).mean(-1, keepdims=True)),
    lambda X, Y: np.sqrt(((X - Y)**2).mean(-1)).T,
    lambda X, Y: np.sqrt(((X - Y)**2)[..., :3].mean(-1) + 1e-3),
    lambda X, Y: (X - Y).std(-1),
    lambda X, Y: np.sqrt(((X - Y)**2).sum(-1) / (X.shape[-1] - 1 or 1)),
]
WRONG_MAPS_TOLD = [
    "forgot the root", "mean absolute difference", "without the factor",
    "gets 0.4458; it is 0.7721", "c outside of the root", "rows (axis 0)",
    "one number for the whole frame", "axis of length 1", "shape (7, 5)",
    "gets 0.5489; it is 0.5479", "gets 0.4012; it is 0.5479", "gets 0.6711; it is 0.5479"]


# 1.5: the largest patch ------------------------------------------------------------------

def patch_score(m, size, stride):
    h, w = m.shape
    ys, xs = range(0, h - size + 1, stride), range(0, w - size + 1, stride)
    return max((m[y:y + size, x:x + size].mean(), x, y) for y in ys for x in xs)

def by_pooling(m, size, stride):
    m = torch.tensor(m, requires_grad=True)
    means = torch.nn.functional.avg_pool2d(m[None], size, stride)[0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return means[row, column], column * stride, row * stride

def by_views(m, size, stride):
    views = np.lib.stride_tricks.sliding_window_view(m, (size, size))[::stride, ::stride]
    means = views.mean((2, 3), dtype=np.float32)
    row, column = np.unravel_index(means.argmax(), means.shape)
    return [means.max(), stride * column, stride * row]

def patches(first=0, more=1, step=None, measure=np.mean, best=max):
    "A patch score with a typical mistake."
    def f(m, size, stride):
        by = step or stride
        ys, xs = (range(first, side - size + more, by) for side in m.shape)
        return best((measure(m[y:y + size, x:x + size]), x, y) for y in ys for x in xs)
    return f

WRONG_PATCHES = [
    patches(more=0), patches(first=1), patches(step=1), patches(step=8), patches(measure=np.max),
    patches(measure=np.median), patches(measure=np.sum), patches(best=min),
    lambda m, size, stride: patch_score(m, 16, 8) if min(m.shape) >= 16 else (0, 0, 0),
    lambda m, size, stride: patch_score(m, size, size // 2),
    lambda m, size, stride: patch_score(m.T, size, stride),
    lambda m, size, stride: np.add(patch_score(m, size, stride), (0, 1, 0)),
    lambda m, size, stride: np.add(patch_score(m, size, stride), (0, .4, 0)),
    lambda m, size, stride: patch_score(m, size + 1, stride),
    lambda m, size, stride: patch_score(m, size, stride)[0],
]
WRONG_PATCHES_TOLD = [
    "leave out the last row", "[0.6058, 5, 21]", "every pixel", "[0.2997, 0, 16]", "[1.099, 8, 20]",
    "largest median", "sum of the patch", "smallest patch mean", "[0.2421, 0, 16]",
    "[0.8159, 12, 8]", "x and y are swapped",
    "[0.8139, 5, 20], score, x and y; it is [0.8139, 4, 20]", "[0.8139, 4.4, 20]",
    "[0.6502, 4, 20]", "you give 1"]


# 1.7: what is missed ---------------------------------------------------------------------

@cache
def made():
    "Detector, error maps, each kind's clip and the threshold's verdict on each frame."
    detector = Detector.load("plaza").alone("reconstruction")
    maps = {clip.name: np.stack(list(detector.maps(clip))) for clip in scene().test}
    where = {kind: name for name, kinds in scene().kinds.items() for kind, *_ in kinds}
    return detector, maps, where

def shares(frames=lambda labels: labels == 1, above=lambda score, level: smooth(score) > level):
    detector, maps, where = made()
    found = {kind: above(frame_scores(maps[name], detector.patch), detector.threshold)
             for kind, name in where.items()}
    return {kind: found[kind][frames(scene().labels[where[kind]])].mean() for kind in where}

def nearest(box): return np.rint(box)
def upward(box): return np.ceil(box)
def cut_off(box): return np.floor(box)
def outward(box): return np.r_[np.floor(box[:2]), np.ceil(box[2:])]
def inward(box): return np.r_[np.ceil(box[:2]), np.floor(box[2:])]
def one_more(box): return np.floor(box) + (0, 0, 1, 1)

def in_boxes(kinds, rounding=nearest, frames=range(68, 120), name="test06", size=None,
             how=cv2.INTER_LINEAR, columns=("x1", "y1", "x2", "y2"), step=0, middle=np.mean):
    "The mean error in the boxes of some kinds; maps are enlarged to `size`."
    m = made()[1][name]
    m = m[np.clip(np.arange(len(m)) + step, 0, len(m) - 1)]
    if size: m = [cv2.resize(x, size, interpolation=how) for x in m]
    unit = len(m[0]) / 240
    means = []
    for row in scene().objects.query("clip == @name and kind in @kinds").to_dict("records"):
        if row["frame"] not in frames: continue
        x1, y1, x2, y2 = rounding(np.array([row[k] for k in columns]) * unit).astype(int)
        pixels = m[row["frame"]][y1:y2, x1:x2]
        if pixels.size: means.append(middle(pixels))
    return np.mean(means)

def in_any_box(kind):
    "The mean error over a frame's pixels in any box of a kind, and its mean over frames."
    means = []
    for t in range(68, 120):
        m = made()[1]["test06"][t]
        covered = np.zeros(m.shape, bool)
        rows = scene().objects.query("clip == 'test06' and kind == @kind and frame == @t")
        boxes = rows[["x1", "y1", "x2", "y2"]].to_numpy() * len(m) / 240
        for x1, y1, x2, y2 in np.rint(boxes).astype(int):
            covered[y1:y2, x1:x2] = True
        means.append(m[covered].mean())
    return np.mean(means)

def found(label="found", form=lambda x: x, kinds=(["against"], ["walker"]), changes=None, **boxes):
    "A finding, lazily; `boxes` are options of `in_boxes`."
    def given():
        inside, walkers = (in_boxes(kind, **boxes) for kind in kinds)
        finding = dict(found=shares(), missed="against", inside=inside, walkers=walkers)
        finding |= changes() if changes else {}
        finding |= {k: form(finding[k]) for k in ("inside", "walkers")}
        finding["found"] = {kind: form(share) for kind, share in finding["found"].items()}
        detector, maps, _ = made()
        return finding, scene(), detector, maps
    given.__name__ = label
    return given

def gradient(x): return torch.tensor(float(x), requires_grad=True)
def in_digits(digits): return lambda x: round(float(x), digits)

FOUND = [
    *(found(r.__name__, rounding=r) for r in (nearest, upward, cut_off, outward, inward)),
    *(found(f"enlarged_{how}", size=(360, 240), how=how) for how in range(4)),
    found("one_more", rounding=one_more),
    found("float32", np.float32), found("array", np.array), found("tensor", gradient),
    *(found(f"{r.__name__}_{digits}_digits", in_digits(digits), rounding=r)
      for r in (nearest, outward) for digits in (4, 5)),
    found("enlarged_5_digits", in_digits(5), size=(360, 240)),
    found("shares_as_printed",
          changes=lambda: dict(found={k: round(v, 2) for k, v in shares().items()})),
    found("capital", changes=lambda: dict(missed=" Against")),
]

def other(says, **options):
    make = found(**options)
    def given(): return make(), says
    given.__name__ = says.replace(" ", "_")
    return given

def without_last(labels):
    labels = labels.copy()
    labels[np.flatnonzero(labels)[-1]] = 0
    return labels == 1

NOT_FOUND = [
    other("the wrong kind", kinds=(["walker"], ["walker"])),
    other("the wrong kind", kinds=(["against"], ["against"])),
    other("all kinds", kinds=(["against"], ["against", "walker"])),
    other("over all frames", frames=range(120)),
    other("last frame", frames=range(68, 119)),
    other("last frame", frames=range(68, 119), rounding=inward),
    other("first frame", frames=range(69, 120)),
    other("map of the frame before", step=-1),
    other("map of the frame after", step=1),
    other("map of the frame after", step=1, frames=range(68, 119)),
    other("shifted by a pixel", rounding=lambda box: np.rint(box) + (1, 0, 1, 0)),
    other("shifted by a pixel", rounding=lambda box: np.rint(box) - 1),
    other("all pixels in any box", changes=lambda: dict(walkers=in_any_box("walker"))),
    other("it is about", middle=np.median),
    other("too few digits", changes=lambda: dict(inside=.028)),
    other("x and y swapped", columns=("y1", "x1", "y2", "x2")),
    other("is of another clip", changes=lambda: dict(walkers=in_boxes(["walker"], name="test03"))),
    other("is it the right clip", name="test07", kinds=(["runner"], ["walker"])),
    other("in percent", changes=lambda: dict(found={k: 100 * v for k, v in shares().items()})),
    other("in percent",
          changes=lambda: dict(found={k: round(100 * v) for k, v in shares().items()})),
    other("raw scores", changes=lambda: dict(found=shares(above=lambda s, level: s > level))),
    other("all frames of a clip", changes=lambda: dict(found=shares(lambda y: y >= 0))),
    other("last frame", changes=lambda: dict(found=shares(without_last))),
    other("below the threshold", changes=lambda: dict(
        found=shares(above=lambda s, level: smooth(s) <= level))),
    other("smallest share", changes=lambda: dict(missed="runner")),
    other("not a number", changes=lambda: dict(inside=np.nan)),
    other("whole maps", changes=lambda: dict(inside=made()[1]["test06"][68:].mean())),
    other("frame score", changes=lambda: dict(
        inside=frame_scores(made()[1]["test06"], made()[0].patch)[68:].mean())),
]


ANSWERS = {
    "check_1_1": (SEEN, UNSEEN),
    "check_1_2": (in_all_forms(error_map) + each((
        by_length, by_torch, in_float32, by_einsum, by_rows)), told(WRONG_MAPS, WRONG_MAPS_TOLD)),
    "check_1_3": choice("b", dict(a="hardly depends on how near", c="not a patch")),
    "check_1_4": choice("b", dict(a="lost its red", c="softer")),
    "check_1_5": (in_all_forms(patch_score) + each((by_pooling, by_views)),
                  told(WRONG_PATCHES, WRONG_PATCHES_TOLD)),
    "check_1_6": choice("b", dict(a="is in both", c="other way round")),
    "check_1_7": (FOUND, NOT_FOUND),
}
