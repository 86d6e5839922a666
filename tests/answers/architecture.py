"""Answers to lesson 2."""
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from answers import changed, choice, each, in_all_forms, told
from ddl_nb.models import C3DSU, ConvBlock, multiply_adds, parameters

# 2.1: space to depth ---------------------------------------------------------------------

def space_to_depth(x, order=(0, 2, 4, 1, 3)):
    C, H, W = x.shape
    squares = x.reshape(C, H // 2, 2, W // 2, 2)
    return squares.transpose(order).reshape(4 * C, H // 2, W // 2)

def by_torch(x): return F.pixel_unshuffle(torch.tensor(x, requires_grad=True), 2)
def by_strides(x):
    corners = [x[:, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
    return np.stack(corners, 1).reshape(-1, x.shape[1] // 2, x.shape[2] // 2)
def channel_by_channel(x):
    return [c[dy::2, dx::2] for c in x for dy in (0, 1) for dx in (0, 1)]
def by_unfold(x):
    columns = F.unfold(torch.tensor(x)[None], 2, stride=2)[0]
    return columns.reshape(-1, x.shape[1] // 2, x.shape[2] // 2)

NO_DEPTHS = [
    lambda x: space_to_depth(x, (2, 4, 0, 1, 3)), lambda x: space_to_depth(x, (0, 4, 2, 1, 3)),
    lambda x: space_to_depth(x).swapaxes(1, 2), lambda x: x.reshape(space_to_depth(x).shape),
    lambda x: space_to_depth(x)[::-1], lambda x: space_to_depth(x)[:, ::-1],
    lambda x: x[:, ::2, ::2], lambda x: F.max_pool2d(torch.tensor(x), 2),
    lambda x: F.avg_pool2d(torch.tensor(x), 2), lambda x: space_to_depth(x)[:12],
    lambda x: np.roll(space_to_depth(x), 1, 0), lambda x: space_to_depth(x).round(1),
    lambda x: space_to_depth(x).transpose(1, 2, 0),
    lambda x: np.concatenate([x[:, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]),
    lambda x: np.pad(space_to_depth(x)[:, :-1], [(0, 0), (0, 1), (0, 0)]),
    lambda x: space_to_depth(x)[..., [*range(1, x.shape[2] // 2), 0]],
    lambda x: space_to_depth(x) + .002, lambda x: space_to_depth(x).astype(np.float16),
]
NO_DEPTHS_TOLD = [
    "keeps the four values", "go down first", "transposed", "only reshape",
    "channel 0 of your result has", "channel 0 of your result has", "a stride",
    "largest of each square", "mean of each square", "asked for is (20, 1, 2)",
    "channel 0 of your result has",
    "channel 0 of your result has 0.8 in row 0, column 0; it should be 0.78", "shape (2, 4, 12)",
    "keeps the four values", "has 0 in row 1, column 0", "in row 0, column 0; it should be",
    "has 0.782 in row 0, column 0; it should be 0.78,", "it should be 0."]


# 2.2: parameters of a block --------------------------------------------------------------

def block_parameters(c_in, c_out, kernels):
    n = len(kernels)
    parallel = sum((k * k * c_in + 1) * c_out for k in kernels)
    return parallel + 2 * n * c_out + (4 * n * c_out + 1) * c_out + 2 * c_out

def by_building(c_in, c_out, kernels): return parameters(ConvBlock(c_in, c_out, kernels))
def by_layers(c_in, c_out, kernels):
    convs = [torch.nn.Conv2d(c_in, c_out, k) for k in kernels]
    wide = c_out * len(kernels)
    layers = [*convs, torch.nn.BatchNorm2d(wide), torch.nn.Conv2d(4 * wide, c_out, 1),
              torch.nn.BatchNorm2d(c_out)]
    return sum(p.numel() for layer in layers for p in layer.parameters())
def by_numpy(c_in, c_out, kernels):
    k, n = np.array(kernels), len(kernels)
    return (k**2 * c_in * c_out).sum() + 4 * n * c_out**2 + (3 * n + 3) * c_out

NO_COUNTS = [
    changed(block_parameters, lambda n: n + 1, "one_more"),
    changed(block_parameters, lambda n: n - 1, "one_less"),
    changed(block_parameters, lambda n: 1.0001 * n, "nearly"),
    lambda i, o, ks: block_parameters(i, o, ks) - (len(ks) + 1) * o,
    lambda i, o, ks: block_parameters(i, o, ks) - 2 * (len(ks) + 1) * o,
    lambda i, o, ks: block_parameters(i, o, ks) + 2 * (len(ks) + 1) * o,
    lambda i, o, ks: block_parameters(i, o, ks) - 3 * len(ks) * o * o,
    lambda i, o, ks: block_parameters(i, o, (3, 5, 7)),
    lambda i, o, ks: block_parameters(3, o, ks),
    lambda i, o, ks: block_parameters(i, 4, ks),
    lambda i, o, ks: block_parameters(o, i, ks),
    lambda i, o, ks: parameters(ConvBlock(i, o, ks, up=True)),
    lambda i, o, ks: sum(v.numel() for v in ConvBlock(i, o, ks).state_dict().values()),
    lambda i, o, ks: sum(k * k * i * o for k in ks),
]
NO_COUNTS_TOLD = [
    "you get 1237; the block has 1236", "you get 1235", "1236.1236", "forget the biases",
    "forgot BatchNorm:", "running mean and variance", "four times the input", "you get 4184",
    "you get 1016", "you get 524", "you get 1140", "block of the decoder", "you get 1270",
    "you get 996"]


# 2.3: shapes -----------------------------------------------------------------------------

def shapes(L, H, W):
    levels = [(L // 2**(4 - k), H // 2**k, W // 2**k) for k in (1, 2, 3, 4)]
    return levels + [levels[3]] + [(2 * c, h, w) for c, h, w in levels[2::-1]]

def written_out(L, H, W):
    return [(L / 8, H / 2, W / 2), (L / 4, H / 4, W / 4), (L / 2, H / 8, W / 8),
            (L, H / 16, W / 16), (L, H / 16, W / 16), (L, H / 8, W / 8), (L / 2, H / 4, W / 4),
            (L / 4, H / 2, W / 2)]

def as_sizes(found): return [torch.Size(s) for s in found]
def as_lists(found): return [list(s) for s in found]
def as_generator(found): return (s for s in found)

def levels(*case): return shapes(*case)[:4]
def inputs(*case): return shapes(*case)[4:]

NO_SHAPES = [
    lambda *case: levels(*case) + levels(*case)[::-1],
    lambda L, H, W: levels(L, H, W) + levels(L, H, W)[2::-1] + [(3, H, W)],
    lambda *case: levels(*case)[::-1] + inputs(*case),
    lambda *case: levels(*case) + inputs(*case)[::-1],
    lambda L, H, W: levels(L, 2 * H, 2 * W) + inputs(L, H, W),
    lambda L, H, W: shapes(L, W, H), lambda L, H, W: shapes(L, 2 * H, 2 * W),
    lambda L, H, W: shapes(8 * L, H, W), lambda L, H, W: shapes(32, H, W),
    lambda L, H, W: shapes(L, 128, 192), lambda *case: shapes(*case)[:7],
    lambda *case: [(h, w, c) for c, h, w in shapes(*case)],
    lambda *case: levels(*case) + [(2 * c, h, w) for c, h, w in levels(*case)[::-1]],
    lambda *case: [(c + 1, h, w) for c, h, w in shapes(*case)],
]
NO_SHAPES_TOLD = [
    "forgot the skips", "comes out of the decoder", "4, 3, 2, 1", "decoder's four shapes",
    "before the halving", "height and width are swapped", "twice too large", "begins with L",
    "encoder's block 1 is not (4, 24, 16)", "encoder's block 1 is not (4, 64, 96)", "you give 7",
    "stand last", "block 1 is not (64, 4, 6): it takes what comes out",
    "encoder's block 1 is not (5, 32, 48)"]


# 2.5: sliding by hand --------------------------------------------------------------------

def over_time(x, W, b, first=0, extra=1, step=1):
    T = W.shape[2]
    def output(j): return sum(W[:, :, i] @ x[j + i] for i in range(T)) + b
    return np.stack([output(j) for j in range(first, len(x) - T + extra, step)])

def by_conv1d(x, W, b):
    x, W, b = (torch.tensor(a, requires_grad=True) for a in (x.T, W, b))
    return F.conv1d(x[None], W, b)[0].T
def by_einsum(x, W, b):
    views = np.lib.stride_tricks.sliding_window_view(x, W.shape[2], 0)
    return np.einsum("jct,oct->jo", views, W) + b
def in_float64(x, W, b): return over_time(*(a.astype(float) for a in (x, W, b)))
def in_numbers(x, W, b):
    n, c = x.shape
    out, c, T = W.shape
    return [[b[o] + sum(W[o, k, i] * x[j + i, k] for k in range(c) for i in range(T))
             for o in range(out)] for j in range(n - T + 1)]

def padded(x, W, b):
    half = W.shape[2] // 2
    return over_time(np.pad(x, ((half, half), (0, 0))), W, b)

NO_SLIDES = [
    lambda x, W, b: over_time(x, W, b, extra=0), lambda x, W, b: over_time(x, W, b, first=1),
    lambda x, W, b: over_time(x, W, b, step=W.shape[2]),
    padded,
    lambda x, W, b: over_time(x, W[..., ::-1], b),
    lambda x, W, b: over_time(x, W, 0 * b),
    lambda x, W, b: over_time(x, W, W.shape[2] * b),
    lambda x, W, b: over_time(x, W.swapaxes(0, 1), b) if W.shape[0] == W.shape[1] else x,
    lambda x, W, b: over_time(x, W, b).T,
    lambda x, W, b: over_time(x, W[..., :3], b),
    lambda x, W, b: over_time(x[:, :2], W[:, :2], b),
    lambda x, W, b: np.maximum(over_time(x, W, b), 0),
    lambda x, W, b: (over_time(x, W, b) - b) / W.shape[2] + b,
    lambda x, W, b: over_time(x, W, b)[::-1],
]
NO_SLIDES_TOLD = [
    "last window is missing", "first window is missing", "do not overlap", "surrounded by zeros",
    "backwards in time", "forgot the bias", "once is enough", "swapped input and output",
    "shape (3, 5)", "shape (7, 2)", "number 0 of your output 0 is",
    "your output 0 is 0; it is -0.329", "mean over the window",
    "your output 0 is 0.9648; it is 4.254"]


# 2.6: counting frames --------------------------------------------------------------------

def count(n, T): return n - T + 1, (T - 1) // 2, (n - T + 1) * T, n
def by_list(n, T):
    windows = [list(range(j, j + T)) for j in range(n - T + 1)]
    return [len(windows), windows[0][T // 2], sum(map(len, windows)), len(set(sum(windows, [])))]
def in_floats(n, T): return n - T + 1, (T - 1) / 2, (n - T + 1) * T, n

def slip(k, number):
    "`count`, but for its number k."
    def f(n, T):
        numbers = list(count(n, T))
        numbers[k] = number(n, T)
        return numbers
    return f

NO_FRAMES = [
    slip(0, lambda n, T: n - T), slip(0, lambda n, T: n), slip(0, lambda n, T: n - T + 2),
    slip(0, lambda n, T: n - 2), slip(0, lambda n, T: n // T),
    slip(1, lambda n, T: 0), slip(1, lambda n, T: 1), slip(1, lambda n, T: T // 2 + 1),
    slip(1, lambda n, T: T), slip(1, lambda n, T: T / 2),
    slip(2, lambda n, T: n * T), slip(2, lambda n, T: n), slip(2, lambda n, T: (n - T + 1) * 3),
    slip(2, lambda n, T: (n - T) * T), slip(2, lambda n, T: 1.001 * (n - T + 1) * T),
    slip(3, lambda n, T: n - T + 1), slip(3, lambda n, T: n + T - 1), slip(3, lambda n, T: 20),
    lambda n, T: count(n, T)[::-1], lambda n, T: count(n, T)[:3],
]
NO_FRAMES_TOLD = [
    "n - T: one window too few", "you have n: at the clip's ends", "n - T + 2",
    "targets: for n = 20 and T = 5 you get 18", "targets: for n = 20 and T = 5 you get 4",
    "you have 0: frame 0", "frame: for n = 20 and T = 5 you get 1;", "counted from 1",
    "frame: for n = 20 and T = 5 you get 5;", "you get 2.5", "fewer windows than frames",
    "that is the sliding way", "you get 48", "(n - T) T", "you get 80.08", "one for each target",
    "n + T - 1", "for n = 9 and T = 3 you get 20", "the number of targets: you have n:",
    "you give 3"]


# 2.7: who influences whom ----------------------------------------------------------------

def probe(perturb=lambda frame: torch.rand_like(frame), moved=lambda a, b: not torch.equal(a, b),
          clip=lambda n: torch.rand(1, 3, n, 32, 32), train=False):
    "The frames that change an output, found by experiment."
    @torch.no_grad()
    def f(model, n, j):
        model.train(train)
        x = clip(n)
        before = model(x)[:, :, j]
        found = []
        for k in range(n):
            y = x.clone()
            y[:, :, k] = perturb(y[:, :, k])
            if moved(model(y)[:, :, j], before): found.append(k)
        return found
    return f

def known(model, n, j): return range(j, j + model.window)
def by_gradient(model, n, j):
    clip = torch.rand(1, 3, n, 32, 32, requires_grad=True)
    slope, = torch.autograd.grad(model.eval()(clip)[:, :, j].sum(), clip)
    return slope.abs().sum((0, 1, 3, 4)).nonzero()
@torch.no_grad()
def left_changed(model, n, j):
    x = torch.rand(1, 3, n, 32, 32)
    before = model.eval()(x)[:, :, j]
    found = []
    for k in range(n):
        x[:, :, k] = torch.rand(32, 32)
        if not torch.equal(model(x)[:, :, j], before): found.append(k)
    return found

INFLUENCES = [
    probe(), known, by_gradient, changed(known, np.array), changed(known, torch.tensor),
    changed(known, set), probe(lambda frame: 0 * frame), probe(lambda frame: 1 - frame),
    probe(lambda frame: frame + .05), probe(moved=lambda a, b: not torch.allclose(a, b)),
    probe(moved=lambda a, b: (a - b).abs().max() > 1e-5), probe(clip=lambda n: torch.zeros(
        1, 3, n, 32, 32)), changed(known, lambda frames: np.nonzero(
            np.isin(np.arange(99), frames)), "by_nonzero")]
NO_INFLUENCES = [
    probe(train=True), left_changed,
    lambda model, n, j: range(j, j + 3), lambda model, n, j: range(n),
    lambda model, n, j: range(j + 1, j + model.window + 1),
    lambda model, n, j: range(j, j + model.window - 1),
    lambda model, n, j: range(j - model.window // 2, j + model.window // 2 + 1),
    lambda model, n, j: [j + model.window // 2] if model.window > 1 else [],
    lambda model, n, j: [*known(model, n, j)][::-1], lambda model, n, j: [],
    lambda model, n, j: [k for k in range(n) if k not in known(model, n, j)],
    lambda model, n, j: [k in known(model, n, j) for k in range(n)],
    lambda model, n, j: range(j, n), lambda model, n, j: [j],
]
NO_INFLUENCES_TOLD = [
    "in eval mode", "not taken back", "T = 5, 7 frames, output 2: you give [2, 3, 4]; it is",
    "in eval mode", "you give [3, 4, 5]; it is [2, 3, 4]", "you give [2, 3]; it is [2, 3, 4]",
    "the frames around frame 2", "the target alone", "not in ascending order", "[]: nothing",
    "frames that cannot change it", "a mark for each frame", "everything from frame 2 on",
    "you give [2]; it is [2, 3, 4]"]


# 2.8: a cheaper network ------------------------------------------------------------------

@cache
def cost(n=102, size=(128, 192), counted=multiply_adds, **design):
    with torch.device("meta"): model = C3DSU(**design)
    return counted(model, size, n) / (n - model.window + 1)

def result(form=lambda x: x, design=None, **changes):
    "A result, with its share counted unless it is given."
    design = design or dict(latent=16)
    share = cost(**design) / cost()
    whole = dict(design=design, share=share, default=[.05, .06, .07], mine=[.04, .05, .06],
                 claim="better") | changes
    for key in ("share", "default", "mine"): whole[key] = form(whole[key])
    return whole,

def with_gradient(x): return torch.tensor(x, requires_grad=True)
def of_parameters(model, size, n): return parameters(model) * (n - model.window + 1)

SHARE = cost(latent=16) / cost()
CHEAPER = [
    result(), result(np.array), result(np.float32), result(with_gradient), result(torch.tensor),
    result(design=dict(latent=8)), result(design=dict(kernels=(1,), latent=24)),
    result(share=round(SHARE, 2)), result(claim=" Better "),
    result(mine=[.06, .07, .08], claim="worse"), result(mine=[.04, .07, .06], claim="open"),
    result(mine=[.04, .06, .065], claim="open"),                  # one seed the same: open
    result(default=(.05, .06, .07, .08), mine=(.04, .05, .06, .07)),
    result(share=cost(12, latent=16) / cost(12)),
    result(design=dict(latent=16, window=5), share=cost(12, latent=16, window=5) / cost(12)),
]
NOT_CHEAPER = [
    (result(share=1 / SHARE), "upside down"), (result(share=100 * SHARE), "in percent"),
    (result(share=cost(counted=of_parameters, latent=16) / cost(counted=of_parameters)),
     "share of parameters"),
    (result(share=SHARE + .05), "share: you have"), (result(share=SHARE**2), "share: you have"),
    (result(share=.25), "share: you have"), (result(share=SHARE + .02), "share: you have"),
    (result(design=dict(kernels=(1,)), share=cost(3, kernels=(1,)) / cost(3)), "window by window"),
    (result(design=dict(latent=24)), "at most half"), (result(design=dict(window=1)), "no motion"),
    (result(design=dict(window=5)), "at most half"),
    (result(design=dict(latent=16), mine=[.05, .06, .07], claim="open"), "pass the design"),
    (result(mine=[.05, .05, .05]), "pass the seed"),
    (result(mine=[.0426, .0426, .0473], claim="open"), "If you rounded them"),
    (result(mine=[.04, .05]), "same length"),
    (result(default=[.05], mine=[.04]), "at least three"), (result(mine=.04), "same length"),
    (result(mine=[4., 5., 6.], claim="worse"), "mean distance"),
    (result(mine=[.06, .07, .08]), "a smaller error is better"),
    (result(mine=[.04, .06, .065]), "a smaller error is better"),
    (result(mine=[.04, .07, .06], claim="worse"), "open"), (result(claim="good"), "one of"),
]


ANSWERS = {
    "check_2_1": (in_all_forms(space_to_depth) + each((
        by_torch, by_strides, channel_by_channel, by_unfold)), told(NO_DEPTHS, NO_DEPTHS_TOLD)),
    "check_2_2": (in_all_forms(block_parameters) + each((by_building, by_layers, by_numpy)),
                  told(NO_COUNTS, NO_COUNTS_TOLD)),
    "check_2_3": (in_all_forms(shapes) + each((written_out, *(changed(shapes, form) for form in (
        as_sizes, as_lists, as_generator)))), told(NO_SHAPES, NO_SHAPES_TOLD)),
    "check_2_4": choice("c", dict(a="the other way round", b="does not know anything")),
    "check_2_5": (in_all_forms(over_time) + each((
        by_conv1d, by_einsum, in_float64, in_numbers)), told(NO_SLIDES, NO_SLIDES_TOLD)),
    "check_2_6": (in_all_forms(count) + each((by_list, in_floats)),
                  told(NO_FRAMES, NO_FRAMES_TOLD)),
    "check_2_7": (each(INFLUENCES), told(NO_INFLUENCES, NO_INFLUENCES_TOLD)),
    "check_2_8": (CHEAPER, NOT_CHEAPER),
}
