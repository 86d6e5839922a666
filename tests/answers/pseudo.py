"""Answers to lesson 3."""
import math

import cv2
import numpy as np
import torch

from answers import changed, choice, each, in_all_forms, told

# 3.1: the tracks that are there in a whole window ----------------------------------------

def present(rows, start, T):
    inside = rows[rows["frame"].between(start, start + T - 1)]
    frames = inside.groupby("track")["frame"].nunique()
    return frames.index[frames == T].tolist()

def by_sets(rows, start, T):
    there = {k: set(r["frame"]) for k, r in rows.groupby("track")}
    return {k for k in there if set(range(start, start + T)) <= there[k]}

def by_intersection(rows, start, T):
    tracks = [set(rows["track"][rows["frame"] == t]) for t in range(start, start + T)]
    return set.intersection(*tracks)

def without_twins(rows, start, T):
    rows = rows.drop_duplicates(["track", "frame"])
    counts = rows[(rows.frame >= start) & (rows.frame < start + T)].track.value_counts()
    return counts[counts == T].index

def there_in(frames, enough=all):
    "The tracks that are there in all, or enough, of some frames."
    def f(rows, start, T):
        there = {k: set(r["frame"]) for k, r in rows.groupby("track")}
        return [k for k in there if enough(t in there[k] for t in frames(start, T))]
    return f

def row_by_row(rows, start, T):
    frames = {}
    for clip, frame, *box, track in rows.itertuples(index=False):
        if start <= frame < start + T: frames.setdefault(track, set()).add(frame)
    return sorted(track for track in frames if len(frames[track]) == T)

def counted(enough, begin=lambda start: start, end=lambda start, T: start + T):
    "The tracks with enough rows between two frames."
    def f(rows, start, T):
        inside = rows[(rows.frame >= begin(start)) & (rows.frame < end(start, T))]
        counts = inside.track.value_counts()
        return counts.index[enough(counts, T)].tolist()
    return f

def all_but_one(found):
    found = list(found)
    return sum(found) >= len(found) - 1

PRESENT = [present, by_sets, by_intersection, without_twins, row_by_row,
           *(changed(present, form) for form in (np.array, torch.tensor, set, tuple)),
           changed(present, lambda tracks: [float(k) for k in tracks], "as_floats"),
           changed(present, lambda tracks: tracks + tracks, "twice")]
ABSENT = [
    there_in(lambda start, T: range(start, start + T), any),
    there_in(lambda start, T: (start, start + T - 1)),
    there_in(lambda start, T: [start]),
    there_in(lambda start, T: [start + T // 2]),
    there_in(lambda start, T: range(start, start + T + 1)),
    there_in(lambda start, T: range(start, start + T - 1)),
    there_in(lambda start, T: range(start - T // 2, start + T - T // 2)),
    there_in(lambda start, T: range(start, start + 3)),
    there_in(lambda start, T: range(start + 1, start + T + 1)),
    there_in(lambda start, T: range(start, start + T), all_but_one),
    counted(np.equal), counted(np.greater_equal),
    counted(np.greater_equal, end=lambda start, T: 10**6),
    counted(np.greater_equal, begin=lambda start: -1, end=lambda start, T: 10**6),
    counted(np.equal, end=lambda start, T: start + T + 1),
    lambda rows, start, T: np.flatnonzero(np.isin(np.unique(rows.track), present(rows, start, T))),
    lambda rows, start, T: rows.track.unique(),
    lambda rows, start, T: [],
]
ABSENT_TOLD = [
    "not any", "first and last frame", "first frame only", "target only", "one frame too many",
    "one frame too few", "has its middle at", "track 7 has no box in frame 10",
    "track 7 has no box in frame 3,", "track 7 has no box in frame 3,", "with exactly T",
    "with T or more", "track 7 has no box in frame 3,", "in the whole clip",
    "track 4 is there in all of frames 3 to 5", "there is no track 0", "in the whole clip",
    "track 4 is there in all of frames 3 to 5"]


# 3.2: a mask from boxes ------------------------------------------------------------------

def mask_of(boxes, size, low=np.floor, high=np.ceil):
    mask = np.zeros((len(boxes), *size))
    for m, (x1, y1, x2, y2) in zip(mask, boxes):
        m[int(low(y1)):int(high(y2)), int(low(x1)):int(high(x2))] = 1
    return mask

def by_comparison(boxes, size):
    y, x = np.mgrid[:size[0], :size[1]]
    x1, y1, x2, y2 = np.asarray(boxes).T[..., None, None]
    return (x + 1 > x1) & (x < x2) & (y + 1 > y1) & (y < y2)

def by_opencv(boxes, size):
    masks = np.zeros((len(boxes), *size), np.uint8)
    for m, (x1, y1, x2, y2) in zip(masks, boxes):
        corner = math.floor(x1), math.floor(y1)
        cv2.rectangle(m, corner, (math.ceil(x2) - 1, math.ceil(y2) - 1), 1, -1)
    return masks

def by_torch(boxes, size):
    mask = torch.zeros(len(boxes), *size)
    low, high = np.floor(boxes).astype(int), np.ceil(boxes).astype(int)
    for t, ((x1, y1, *_), (*_, x2, y2)) in enumerate(zip(low, high)): mask[t, y1:y2, x1:x2] = 1
    return mask.requires_grad_()

def boxed(change):
    def f(boxes, size): return mask_of(change(np.array(boxes)), size)
    return f

def rounded(low, high):
    def f(boxes, size): return mask_of(boxes, size, low, high)
    return f

MASKS = by_comparison, by_opencv, by_torch, changed(mask_of, np.uint8), changed(mask_of, np.bool)
UNMASKED = [
    boxed(lambda b: b[:, [1, 0, 3, 2]]), boxed(lambda b: b + [0, 0, 1, 1]),
    boxed(lambda b: b[[0] * len(b)]), boxed(lambda b: b[[len(b) // 2] * len(b)]),
    boxed(lambda b: b[::-1]), boxed(lambda b: b - 1),
    rounded(np.floor, np.floor), rounded(np.ceil, np.ceil), rounded(np.round, np.round),
    rounded(np.ceil, np.floor), rounded(np.floor, lambda x: np.floor(x) + 1),
    lambda b, size: 1 - mask_of(b, size), lambda b, size: 255 * mask_of(b, size),
    lambda b, size: mask_of(b, size)[0], lambda b, size: mask_of(b, size).max(0),
    lambda b, size: mask_of(b, size)[:, None], lambda b, size: mask_of(b, size[::-1]),
    lambda b, size: np.stack([mask_of(b, size)[min(t, len(b) - 1)] for t in range(3)]),
    lambda b, size: mask_of(b, (16, 30)), lambda b, size: np.zeros((len(b), *size)),
]
UNMASKED_TOLD = [
    "swap x and y", "a column too large", "first frame's box", "target's box",
    "35 pixels, 0 of them in the box", "30 pixels, 20 of them in the box", "ends too early",
    "starts too late", "nearest pixel", "round inward", "down and add one", "1 outside the box",
    "from 0 to 255", "shape (16, 30)", "shape (16, 30)", "shape (3, 1, 16, 30)",
    "shape (3, 30, 16)", "asked for is (1, 6, 9)", "asked for is (3, 13, 12)", "covers 0 pixels"]


# 3.3: the pseudo anomaly -----------------------------------------------------------------

def blend(X, M, A, sigma): return (1 - M) * X + M * ((1 - sigma) * X + sigma * A)
def as_one_line(X, M, A, sigma): return X + sigma * M * (A - X)
def by_where(X, M, A, sigma): return torch.where(M > 0, torch.lerp(X, A, sigma), X)
def in_float64(X, M, A, sigma): return blend(X.double(), M.double(), A.double(), sigma)
def by_lerp(X, M, A, sigma): return torch.lerp(X, torch.lerp(X, A, torch.tensor(sigma)), M)
def with_gradient(X, M, A, sigma): return blend(X, M, A, torch.tensor(sigma, requires_grad=True))
def on_a_copy(X, M, A, sigma):
    out = X.clone()
    inside = (M > 0).expand_as(X)
    out[inside] = (1 - sigma) * X[inside] + sigma * A[inside]
    return out
def in_numpy(X, M, A, sigma): return blend(X.numpy(), M.numpy(), A.numpy(), sigma)
def in_place(X, M, A, sigma): return X.copy_(blend(X, M, A, sigma))
def noise_in_place(X, M, A, sigma): return X + M * sigma * A.sub_(X)

UNBLENDED = [
    lambda X, M, A, s: (1 - s) * X + s * A,
    lambda X, M, A, s: blend(X, M, A, 1 - s),
    lambda X, M, A, s: X + M * s * A,
    lambda X, M, A, s: (X + M * s * A).clamp(0, 1),
    lambda X, M, A, s: blend(X, 1 - M, A, s),
    lambda X, M, A, s: M * blend(X, M, A, s),
    lambda X, M, A, s: (1 - M) * X + M * s * A,
    lambda X, M, A, s: (1 - M) * X + M * A,
    lambda X, M, A, s: X.clone(),
    lambda X, M, A, s: blend(X, M, A, s**2),
    lambda X, M, A, s: blend(X, M, A, .3),
    lambda X, M, A, s: blend(X, M, A[:, :1], s),
    lambda X, M, A, s: blend(X, M[:, :1], A, s),
    lambda X, M, A, s: blend(X, M, A[:1], s),
    lambda X, M, A, s: blend(X, M, torch.rand_like(A), s),
    lambda X, M, A, s: blend(X, M, A, s)[:, 1:2],
    in_place, noise_in_place,
]
UNBLENDED_TOLD = [
    "whole frame", "share of the noise", "make it brighter", "cut off at 1",
    "everything but the object", "outside the mask your frames are black",
    "share (1 - sigma) X is missing", "where is sigma", "leave X as it is",
    "sigma = 0.3, you get 0.5792; it is 0.6019", "sigma = 0.85, you get 0.621; it is 0.6335",
    "pixel inside the mask", "pixel outside the mask", "you get 0.7714; it is 0.606",
    "; it is 0.6019", "shape (3, 1, 6, 7)", "changed X itself", "changed A itself"]


# 3.5: where to start ---------------------------------------------------------------------

def start(w): return math.log(w / (1 - w))
def as_difference(w): return math.log(w) - math.log(1 - w)
def as_minus_log(w): return -math.log(1 / w - 1)
def by_logit(w): return torch.logit(torch.tensor(w, requires_grad=True))
def by_tanh(w): return 2 * np.arctanh(2 * w - 1)
def in_float32_too(w): return np.log(np.float32(w) / np.float32(1 - w))

NO_STARTS = [
    lambda w: 1 / (1 + math.exp(-w)), lambda w: math.log((1 - w) / w),
    lambda w: math.log10(w / (1 - w)), lambda w: math.log2(w / (1 - w)), math.log,
    lambda w: w / (1 - w), lambda w: w * (1 - w), lambda w: w, lambda w: 0.,
    lambda w: math.log(w / (1 - w)) + .01, lambda w: round(math.log(w / (1 - w))),
    lambda w: [math.log(w / (1 - w))] * 2, lambda w: 4 * (w - .5),
]
NO_STARTS_TOLD = [
    "way back", "turned round", "base 10", "l = 2, where sigma is 0.8808", "undoes exp", "odds",
    "slope", "weight itself", "l = 0, where sigma is 0.5;", "0.8016; the weight was to be 0.8",
    "l = 1,", "shape (2,)", "l = 1.2,"]


# 3.6: the gradient -----------------------------------------------------------------------

def sigma(l): return 1 / (1 + math.exp(-l))
def gradient(X, M, A, l): return sigma(l) * (1 - sigma(l)) * M * (A - X)
def by_exp(X, M, A, l): return math.exp(-l) / (1 + math.exp(-l))**2 * M * (A - X)
def by_autograd(X, M, A, l):
    def disturbed(l): return blend(X, M, A, torch.sigmoid(l))
    return torch.autograd.functional.jacobian(disturbed, torch.tensor(l, dtype=torch.float64))
def by_differences(X, M, A, l, h=1e-4):
    X, M, A = X.double(), M.double(), A.double()
    return (blend(X, M, A, sigma(l + h)) - blend(X, M, A, sigma(l - h))) / (2 * h)
def gradient_in_float64(X, M, A, l): return gradient(X.double(), M.double(), A.double(), l)
def with_a_graph(X, M, A, l):
    s = torch.sigmoid(torch.tensor(l, requires_grad=True))
    return s * (1 - s) * M * (A - X)

NO_GRADIENTS = [
    lambda X, M, A, l: M * (A - X),
    lambda X, M, A, l: sigma(l) * M * (A - X),
    lambda X, M, A, l: (1 - sigma(l)) * M * (A - X),
    lambda X, M, A, l: .25 * M * (A - X),
    lambda X, M, A, l: -gradient(X, M, A, l),
    lambda X, M, A, l: gradient(X, 1, A, l),
    lambda X, M, A, l: l * (1 - l) * M * (A - X),
    lambda X, M, A, l: gradient(blend(X, M, A, sigma(l)), M, A, l),
    lambda X, M, A, l: gradient(0 * X, M, A, l),
    lambda X, M, A, l: gradient(X, M, 0 * A, l),
    lambda X, M, A, l: blend(X, M, A, sigma(l)),
    lambda X, M, A, l: gradient(X, M, A, l).sum(),
    lambda X, M, A, l: gradient(X, M, A, l)[:, :1],
    lambda X, M, A, l: gradient(X, M, A, .8),
    lambda X, M, A, l: 1.001 * gradient(X, M, A, l),
]
NO_GRADIENTS_TOLD = [
    "chain rule", "by sigma only", "by 1 - sigma only", "l = 0.8 you get -0.1254", "turned round",
    "M is missing", "l where sigma", "you subtract X_A", "lost the X", "you get -0.1198",
    "not its derivative", "shape ()", "shape (3, 1, 6, 7)", "l = -2.0 you get 0.04715",
    "you get -0.1074; a small change of l says -0.1073"]


# 3.8: another kind of anomaly ------------------------------------------------------------

def drawn(X, seed, draw=torch.rand, shape=None):
    g = torch.Generator().manual_seed(seed)
    return draw(shape or X.shape, generator=g, dtype=X.dtype)

def towards(make, name=None):
    "The anomaly that goes from X to something else as the weight grows."
    def f(X, M, weight, seed): return X + M * weight * (make(X, seed) - X)
    f.__name__ = name or make.__name__
    return f

def another_place(X, seed): return X.roll(8, -1)
def another_time(X, seed): return X.roll(1, 1)
def mirrored(X, seed): return X.flip(-1)
def negative(X, seed): return 1 - X
def swapped_colours(X, seed): return X.flip(0)
def brighter(X, seed): return (X + .3).clamp(0, 1)
def black(X, seed): return 0 * X
def one_colour(X, seed): return drawn(X, seed, shape=(3, 1, 1, 1)).expand_as(X)
def smeared(X, seed): return (X + X.roll(2, -1) + X.roll(4, -1)) / 3
def ramp(X, seed): return torch.linspace(0, 1, X.shape[-1], dtype=X.dtype).expand_as(X)
def speckle(X, seed): return X * drawn(X, seed)
def squared_noise(X, seed): return drawn(X, seed)**2
def salt_and_pepper(X, seed):
    chance = drawn(X, seed)
    return torch.where(chance < .1, 0., torch.where(chance > .9, 1., X))
def shuffled(X, seed):
    order = torch.randperm(X.shape[-1], generator=torch.Generator().manual_seed(seed))
    return X[..., order]
def coarse_noise(X, seed):
    c, T, H, W = X.shape
    small = drawn(X, seed, shape=(c, T, -(-H // 6), -(-W // 6)))
    return small.repeat_interleave(6, -1).repeat_interleave(6, -2)[..., :H, :W]
def stripes(X, seed): return drawn(X, seed, shape=(1, 1, 1, X.shape[-1])).expand_as(X)
def in_numpys_noise(X, seed):
    return torch.tensor(np.random.default_rng(seed).beta(2, 2, X.shape), dtype=X.dtype)

def gaussian(spread):
    def noise(X, seed): return (.5 + spread * drawn(X, seed, torch.randn)).clamp(0, 1)
    return towards(noise, f"gaussian_{spread}")

def added_gaussian(X, M, weight, seed):
    return (X + M * weight * .2 * drawn(X, seed, torch.randn)).clamp(0, 1)
def in_float64_as_well(X, M, weight, seed):
    return towards(mirrored)(X.double(), M.double(), weight.double(), seed)
def blurred(X, seed):
    kernel = torch.ones(3, 1, 5, 5) / 25
    frames = torch.nn.functional.conv2d(X.movedim(1, 0), kernel, padding=2, groups=3)
    return frames.movedim(0, 1)

KINDS = [towards(make) for make in (
    another_place, another_time, mirrored, negative, swapped_colours, brighter, black, one_colour,
    smeared, blurred, ramp, speckle, squared_noise, salt_and_pepper, shuffled, coarse_noise,
    stripes, in_numpys_noise)]
KINDS += [*map(gaussian, (.05, .1, .2, .3, .35, .5, 1)), added_gaussian, in_float64_as_well]

def grain(X, seed, size=.2): return size * (drawn(X, seed) - .5)
def grained(change, name):
    return towards(lambda X, seed: (change(X, seed) + grain(X, seed)).clamp(0, 1), f"{name}_grain")

KINDS += [grained(make, make.__name__) for make in (
    mirrored, another_time, brighter, negative, swapped_colours, blurred, one_colour)]
KINDS += [
    grained(lambda X, seed: X.flip(-2), "upside_down"),
    grained(lambda X, seed: X.mean(0, keepdim=True), "colourless"),
    towards(lambda X, seed: .8 * X.roll(9, -1) + .2 * drawn(X, seed), "another_place_and_noise"),
    towards(lambda X, seed: (X + .2 + .1 * drawn(X, seed)).clamp(0, 1), "brighter_with_fine_grain"),
    towards(lambda X, seed: .5 * X + .1 * drawn(X, seed), "darker_with_grain"),
    towards(lambda X, seed: .1 * drawn(X, seed), "black_with_grain"),
    towards(lambda X, seed: (X**2 + grain(X, seed, .1)).clamp(0, 1), "steeper_with_grain")]

def grey_noise(X, seed): return drawn(X, seed)[:1].expand_as(X)
def still_noise(X, seed): return drawn(X, seed)[:, :1].expand_as(X)
def half(M): return M * (torch.arange(M.shape[-1]) < M.shape[-1] // 2)
def changes_X(X, M, weight, seed): return X.add_(M * weight.detach() * (mirrored(X, 0) - X))
def changes_M(X, M, weight, seed): return X + M.mul_(.5) * weight * (mirrored(X, 0) - X)

def checkered(M): return sum(torch.meshgrid(*map(torch.arange, M.shape[-2:]), indexing="ij")) % 2

# Maps of strengths
def soft(M): return M * torch.nn.functional.avg_pool2d(M, 5, 1, 2)
def by_channel(M): return M * torch.tensor([.3, .6, 1])[:, None, None, None]
def window(M):
    "A Gaussian window over each frame's box."
    out = torch.zeros_like(M)
    for frame, mask in zip(out[0], M[0]):
        y, x = mask.nonzero().T
        def bump(at): return torch.exp(-8 * ((at - at.min()) / (at.max() - at.min()) - .5)**2)
        frame[y, x] = bump(y) * bump(x)
    return out
def corner(M):
    "The first 2x2 pixels of each frame's box."
    out = torch.zeros_like(M)
    for frame, mask in zip(out[0], M[0]):
        y, x = mask.nonzero()[0]
        frame[y:y + 2, x:x + 2] = 1
    return out
def a_seeds_strength(seed):
    return .3 + .7 * torch.rand((), generator=torch.Generator().manual_seed(seed + 1000))

def mapped(strengths, noise=drawn):
    def f(X, M, weight, seed): return X + strengths(M) * weight * (noise(X, seed) - X)
    f.__name__ = f"{noise.__name__}_{strengths.__name__}"
    return f

NOISES = [
    *map(mapped, (soft, window, by_channel, corner)),
    mapped(soft, grey_noise), mapped(window, grey_noise),
    lambda X, M, w, s: X + M * w * a_seeds_strength(s) * (drawn(X, s) - X),
    lambda X, M, w, s: X + soft(M) * w * a_seeds_strength(s) * (drawn(X, s) - X),
    lambda X, M, w, s: X + M * w * (drawn(X, s + 500) < .3) * (drawn(X, s) - X),
    lambda X, M, w, s: X + M * w * (.4 + .2 * drawn(X, s) - X),
    lambda X, M, w, s: X + M * w * ((X + .3 * drawn(X, s)).clamp(0, 1) - X),
    towards(drawn, "noise"), towards(grey_noise), towards(still_noise),
    lambda X, M, w, s: X + M * w * .8 * (drawn(X, s) - X),
    lambda X, M, w, s: X + M * w * .2 * (drawn(X, s) - X),
    lambda X, M, w, s: X + half(M) * w * (drawn(X, s) - X),
    lambda X, M, w, s: X + half(M) * w * .5 * (grey_noise(X, s) - X),
    lambda X, M, w, s: (X + M * w * (drawn(X, s) - .5)).clamp(0, 1),
    lambda X, M, w, s: (X + M * w * (2 * drawn(X, s) - 1)).clamp(0, 1),
    lambda X, M, w, s: X + M * w * (.3 + .4 * drawn(X, s) - X),
    lambda X, M, w, s: X + M * w * ((255 * drawn(X, s)).round() / 255 - X),
    lambda X, M, w, s: X + M * checkered(M) * w * (drawn(X, s) - X),
    lambda X, M, w, s: X + M * (torch.arange(M.shape[-1]) % 2) * w * (drawn(X, s) - X),
    lambda X, M, w, s: X + M * (torch.arange(M.shape[-1]) % 3 == 0) * w * (drawn(X, s) - X),
]
BROKEN = [
    (lambda X, M, w, s: X + w * (X.flip(-1) - X), "outside the mask"),
    (lambda X, M, w, s: X + M * w, "stay in [0, 1]"),
    (lambda X, M, w, s: X + M * w * float("nan"), "stay in [0, 1]"),
    (lambda X, M, w, s: X + M * (1 - w) * (X.flip(-1) - X), "weight 0"),
    (lambda X, M, w, s: X + M * w * (torch.rand_like(X)**2 - X), "two results"),
    (lambda X, M, w, s: X + M * w * (X[:, 1:2] - X), "as it was"),
    (lambda X, M, w, s: X + (torch.arange(X.shape[1]) == 1)[:, None, None] * M * w * (1 - 2 * X),
     "middle one of 5 frames, is as it was"),
    (lambda X, M, w, s: X + M * (w > .1) * (X.flip(-1) - X), "more each time"),
    (lambda X, M, w, s: X + M * w * (1 - w) * (X.flip(-1) - X), "as it was"),
    (lambda X, M, w, s: X + M * w * (1.2 - w) * (X.flip(-1) - X), "more each time"),
    (lambda X, M, w, s: X + M * w.item() * (X.flip(-1) - X), "no gradient reaches"),
    (lambda X, M, w, s: (X + M * w.detach() * (X.flip(-1) - X)) + 0 * w, "gradient by the weight"),
    (lambda X, M, w, s: (X + M * w * (X.flip(-1) - X))[0], "shape"),
    (lambda X, M, w, s: (X + M * w.detach() * (X.flip(-1) - X)).numpy(), "give back a tensor"),
    (changes_X, "changed X itself"), (changes_M, "changed M itself"),
]


ANSWERS = {
    "check_3_1": (each(PRESENT), told(ABSENT, ABSENT_TOLD)),
    "check_3_2": (in_all_forms(mask_of) + each(MASKS), told(UNMASKED, UNMASKED_TOLD)),
    "check_3_3": (in_all_forms(blend) + each((
        as_one_line, by_where, in_float64, by_lerp, with_gradient, on_a_copy, in_numpy)),
        told(UNBLENDED, UNBLENDED_TOLD)),
    "check_3_4": choice("c", dict(a="depends on X", b="from black", d="from white")),
    "check_3_5": (in_all_forms(start) + each((
        as_difference, as_minus_log, by_logit, by_tanh, in_float32_too)),
        told(NO_STARTS, NO_STARTS_TOLD)),
    "check_3_6": (in_all_forms(gradient) + each((
        by_exp, by_autograd, by_differences, gradient_in_float64, with_a_graph)),
        told(NO_GRADIENTS, NO_GRADIENTS_TOLD)),
    "check_3_7": choice("b", dict(a="what does a screen show", c="three draws of its own")),
    "check_3_8": (each(KINDS), [((f,), "again, or its grey sister")
                                for f in NOISES] + [((f,), words) for f, words in BROKEN]),
}
