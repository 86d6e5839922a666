"Answers to the checks of lesson 4, the distinction loss."
import numpy as np
import torch

from answers import in_all_forms


# 4.1: how far apart two pixels are

def distance(a, b): return (a - b).norm(dim=0) / len(a)**.5
def by_mean(a, b): return (a - b).square().mean(0).sqrt()
def in_numpy(a, b): return np.sqrt(((a.numpy() - b.numpy())**2).mean(0))
def in_float32(a, b): return torch.linalg.vector_norm(a.float() - b.float(), dim=0) / len(a)**.5
def by_einsum(a, b): return (torch.einsum("chw,chw->hw", a - b, a - b) / a.shape[0]).sqrt()
def with_room(a, b): return ((a - b).square().mean(0) + 1e-12).sqrt()

DISTANCES = in_all_forms(distance) + [(f,) for f in (
    by_mean, in_numpy, in_float32, by_einsum, with_room)]
WRONG_DISTANCES = [
    ((lambda a, b: (a - b).norm(dim=0),), "forget the division"),
    ((lambda a, b: (a - b).norm(dim=0) / 3**.5,), "whatever the number"),
    ((lambda a, b: (a - b).norm(dim=0) / len(a),), "divide by its root"),
    ((lambda a, b: (a - b).square().mean(0),), "mean square"),
    (lambda a, b: (a - b).square().mean(1).sqrt(),),                 # wrong axis
    ((lambda a, b: (a - b).square().mean(-1).sqrt(),), "shape"),
    ((lambda a, b: distance(a, b)[..., None],), "shape"),
    ((lambda a, b: distance(a, b).T,), "shape"),
    ((lambda a, b: (a - b).abs().amax(0),), "you get"),
    ((lambda a, b: distance(a, b) + 1e-3,), "you get"),
    ((lambda a, b: distance(a, b).round(decimals=2),), "you get"),
    ((lambda a, b: distance(a[:3], b[:3]) * (len(a) == 3),), "you get"),
    (lambda a, b: distance(a, b).__setitem__(0, 0),),                   # gives back nothing
]


# 4.2: the loss

def ratio_of(P, N): return (P + 1e-6) / (N + 1e-6)

def one_by_one(X, XA, Y, M):
    ratios = [ratio_of((m * (x - y)).norm(), (m * (xa - y)).norm())
              for x, xa, y, m in zip(X, XA, Y, M) if m.any()]
    return torch.stack(ratios).mean()

def at_once(X, XA, Y, M):
    there = M.flatten(1).any(1)
    P, N = ((M[:, None] * (t - Y)).flatten(1).norm(dim=1)[there] for t in (X, XA))
    return ratio_of(P, N).mean()

def by_choosing_pixels(X, XA, Y, M):
    ratios = []
    for x, xa, y, m in zip(X, XA, Y, M.bool()):
        if m.sum(): ratios.append(ratio_of((x - y)[:, m].norm(), (xa - y)[:, m].norm()))
    return sum(ratios) / len(ratios)

def loss_in_numpy(*tensors):
    ratios = []
    for x, xa, y, m in zip(*(t.numpy() for t in tensors)):
        if m.max() == 0: continue
        P, N = (np.sqrt((m * (t - y)**2).sum()) for t in (x, xa))
        ratios.append(ratio_of(P, N))
    return np.mean(ratios)

def loss_in_float32(X, XA, Y, M): return at_once(*(t.float() for t in (X, XA, Y, M)))
def by_nanmean(X, XA, Y, M):
    nowhere = torch.where(M.flatten(1).any(1), 1., torch.nan)
    P, N = ((M[:, None] * (t - Y)).square().sum((1, 2, 3)).sqrt() for t in (X, XA))
    return (nowhere * ratio_of(P, N)).nanmean()

LOSSES = in_all_forms(one_by_one) + [(f,) for f in (
    at_once, by_choosing_pixels, loss_in_numpy, loss_in_float32, by_nanmean)]

def ratios(X, XA, Y, M, power=1):
    there = M.flatten(1).any(1)
    P, N = ((M[:, None] * (t - Y)).flatten(1).norm(dim=1)[there]**power for t in (X, XA))
    return ratio_of(P, N), M.flatten(1).sum(1)[there]

def weighted_by_size(*four): return torch.dot(*ratios(*four)) / ratios(*four)[1].sum()
def of_first_target(X, XA, Y, M): return at_once(X[:1], XA[:1], Y[:1], M[:1])
def divided_by_three(*four): return ratios(*four)[0].sum() / 3
def mean_of_lengths(X, XA, Y, M):
    there = M.flatten(1).any(1)
    P, N = ((M * (t - Y).norm(dim=1)).flatten(1).sum(1)[there] for t in (X, XA))
    return ratio_of(P, N).mean()
def per_channel(X, XA, Y, M):
    there = M.flatten(1).any(1)
    P, N = ((M[:, None] * (t - Y)).flatten(2).norm(dim=2)[there] for t in (X, XA))
    return ratio_of(P, N).mean()
def small_epsilon_only_below(X, XA, Y, M):
    there = M.flatten(1).any(1)
    P, N = ((M[:, None] * (t - Y)).flatten(1).norm(dim=1)[there] for t in (X, XA))
    return (P / (N + 1e-6)).mean()
def large_epsilon(X, XA, Y, M):
    there = M.flatten(1).any(1)
    P, N = ((M[:, None] * (t - Y)).flatten(1).norm(dim=1)[there] for t in (X, XA))
    return ((P + 1e-5) / (N + 1e-5)).mean()

WRONG_LOSSES = [
    ((lambda X, XA, Y, M: one_by_one(XA, X, Y, M),), "changed places"),
    ((lambda *four: ratios(*four, power=2)[0].mean(),), "sums of squares"),
    ((lambda *four: ratios(*four)[0].sum(),), "add the targets' ratios up"),
    ((lambda *four: ratios(*four)[0].sum() / len(four[0]),), "counts as 0"),
    ((lambda X, XA, Y, M: one_by_one(X, XA, Y, torch.ones_like(M)),), "you get"),
    ((lambda *four: ratios(*four)[0].median(),), "you get"),
    ((lambda *four: ratios(*four)[0],), "shape"),
    ((weighted_by_size,), "you get"), ((of_first_target,), "you get"),
    ((divided_by_three,), "you get"), ((mean_of_lengths,), "you get"),
    ((per_channel,), "you get"), ((small_epsilon_only_below,), "is 1"),
    ((large_epsilon,), "epsilon 1e-6"),
]


# 4.3: what the loss wants of the weight

ENDS = dict(nothing="b", perfect="a", lazy="b")
SPELLED_ENDS = [(dict(zip(ENDS, e)),) for e in (
    "bab", "BAB", ("b)", "a)", "b)"), ("(b)", "(a)", "(b)"), (" b", "a ", " B "),
    (["b"], ["a"], ["b"]), ("b.", "a.", "b."))]
SPELLED_ENDS += [(ENDS | {"note": "at sigma = 0 all start at 1"},)]
WRONG_ENDS = [((ENDS | {k: w},), f"{k}: ") for k in ENDS for w in "abc" if w != ENDS[k]]
WRONG_ENDS += [
    ((ENDS | {"lazy": "d"},), "one of the letters"), ((ENDS | {"lazy": "ab"},), "one of the"),
    ((ENDS | {"lazy": ""},), "one of the letters"), ((ENDS | {"lazy": ...},), "no letter yet"),
    ((ENDS | {"lazy": 2},), "one of the letters"),
    ((dict(lazy="b"),), "no letter for nothing, perfect"), ("bab",), (["b", "a", "b"],)]


# 4.4: a constant share

def ratio(k, sigma): return k / (1 - k)
def with_sigma(k, sigma): return k * sigma / (sigma - k * sigma)
def one_over(k, sigma): return 1 / (1 / k - 1)
def minus_one(k, sigma): return 1 / (1 - k) - 1
def with_epsilon(k, sigma): return (k + 1e-6) / (1 - k + 1e-6)
def as_float32(k, sigma): return np.float32(k) / (1 - np.float32(k))
def by_trial(k, sigma):
    X, A = np.random.default_rng(0).random((2, 50))
    XA = X + sigma * (A - X)
    Y = (1 - k) * X + k * XA
    return np.linalg.norm(X - Y) / np.linalg.norm(XA - Y)

RATIOS = in_all_forms(ratio) + [(f,) for f in (
    with_sigma, one_over, minus_one, with_epsilon, as_float32, by_trial)]
WRONG_RATIOS = [
    ((lambda k, s: (1 - k) / k,), "changed places"),
    ((lambda k, s: k * s / (1 - k),), "in N as well"),
    ((lambda k, s: k / (1 - k) / s,), "in P as well"),
    ((lambda k, s: k * s,), "units of |A - X|"), ((lambda k, s: k,), "units of |X_A - X|"),
    ((lambda k, s: k / (1 + k),), "you get"),
    ((lambda k, s: .3 / .7,), "you get"), ((lambda k, s: 1.,), "you get"),
    ((lambda k, s: k + k**2,), "you get"),                  # the series, cut off
    ((lambda k, s: k * (1 - s) / (1 - k * s),), "you get"),
    ((lambda k, s: round(k / (1 - k), 1),), "you get"),
    ((lambda k, s: [k, 1 - k],), "shape"),
]


# 4.5: the gradient by hand

def norms(X, XA, Y, M): return (M * (X - Y)).norm(), (M * (XA - Y)).norm()
def slope(X, XA, Y, M):
    P, N = norms(X, XA, Y, M)
    return M * ((Y - X) / (P * N) - P * (Y - XA) / N**3)
def factored(X, XA, Y, M):
    P, N = norms(X, XA, Y, M)
    return P / N * M * ((Y - X) / P**2 - (Y - XA) / N**2)
def by_autograd(X, XA, Y, M):
    Y = Y.clone().requires_grad_()
    P, N = norms(X, XA, Y, M)
    (P / N).backward()
    return Y.grad
def chosen(X, XA, Y, M): return torch.where(M > 0, slope(X, XA, Y, M), torch.zeros(()))
def slope_in_float32(X, XA, Y, M): return slope(*(t.float() for t in (X, XA, Y, M)))
def with_eps(X, XA, Y, M):
    P, N = norms(X, XA, Y, M)
    P, N, dP, dN = P + 1e-6, N + 1e-6, M * (Y - X) / P, M * (Y - XA) / N
    return (dP * N - P * dN) / N**2

SLOPES = in_all_forms(slope) + [(f,) for f in (
    factored, by_autograd, chosen, slope_in_float32, with_eps)]

def rule(change, masked=True):
    "A slope of P, N and the differences y and ya, with something wrong in it."
    def slope(X, XA, Y, M):
        P, N = norms(X, XA, Y, M)
        return (M if masked else 1) * change(Y - X, Y - XA, P, N)
    return slope

WRONG_SLOPES = [
    ((lambda *a: -slope(*a),), "turned round"),
    ((rule(lambda y, ya, P, N: y / P / N),), "has a second term"),
    ((rule(lambda y, ya, P, N: y / P / N + P * ya / N**3),), "is subtracted"),
    ((rule(lambda y, ya, P, N: y / P / N - P * ya / N**2),), "three N"),
    ((rule(lambda y, ya, P, N: y / N - P * ya / N**3),), "square of P"),
    ((rule(lambda y, ya, P, N: y / P / N - P * ya / N**3, masked=False),), "M is missing"),
    ((lambda X, XA, Y, M: slope(XA, X, Y, M),), "changed places"),
    ((rule(lambda y, ya, P, N: y / P - ya / N),), "autograd says"),      # of P - N
    ((rule(lambda y, ya, P, N: y / P**2 - ya / N**2),), "autograd says"),  # of log P - log N
    ((lambda *a: slope(*a).mean(0),), "shape"), ((lambda *a: slope(*a).sum(),), "shape"),
    ((lambda *a: slope(*a) / slope(*a).norm(),), "autograd says"),
    ((lambda *a: slope(*a)[None],), "shape"),
]


# 4.6: break the per-pixel reading

def with_pixel(choose, change=lambda X, XA: XA):
    "X with one pixel of the box changed; `choose` picks it."
    def spoil(X, XA, M):
        Y = X.clone()
        i, j = choose(M.nonzero(), X, XA)
        Y[:, i, j] = change(X, XA)[:, i, j]
        return Y
    return spoil

def first(pixels, X, XA): return pixels[0]
def last(pixels, X, XA): return pixels[-1]
def loudest(pixels, X, XA): return max(pixels, key=lambda p: (X - XA)[:, *p].norm())
def faintest(pixels, X, XA): return min(pixels, key=lambda p: (X - XA)[:, *p].norm())

spoil = with_pixel(first)
def spoilt_by_flat_index(X, XA, M):
    Y, k = X.clone(), int(M.flatten().argmax())
    Y.flatten(1)[:, k] = XA.flatten(1)[:, k]
    return Y
def nearly_exact(X, XA): return XA + 1e-7 * (X - XA)

SPOILT = in_all_forms(spoil) + [(f,) for f in (
    with_pixel(last), with_pixel(loudest), with_pixel(faintest), spoilt_by_flat_index,
    with_pixel(first, nearly_exact), lambda *a: spoil(*(t.float() for t in a)),
    lambda X, XA, M: np.where(np.arange(M.numel()).reshape(M.shape) == M.argmax(), XA, X))]

def pixel_of_the_example(X, XA, M):
    Y = X.clone()
    Y[:, 6, 7] = XA[:, 6, 7]
    return Y
def one_channel(X, XA, M):
    Y, (i, j) = X.clone(), M.nonzero()[0]
    Y[0, i, j] = XA[0, i, j]
    return Y
def two_pixels(X, XA, M):
    Y = X.clone()
    for i, j in M.nonzero()[:2]: Y[:, i, j] = XA[:, i, j]
    return Y
def axes_swapped(X, XA, M):
    Y, (i, j) = X.clone(), M.nonzero()[0]
    Y[:, j, i] = XA[:, j, i]
    return Y
def in_the_corner(X, XA, M):
    Y = X.clone()
    Y[:, 0, -1] = 1 - X[:, 0, -1]
    return Y
def in_place(X, XA, M):
    i, j = M.nonzero()[0]
    X[:, i, j] = XA[:, i, j]
    return X

WRONG_SPOILT = [
    ((pixel_of_the_example,), "inside the mask"), ((one_channel,), "make N itself 0"),
    ((two_pixels,), "you changed 2 pixels"), ((axes_swapped,), "inside the mask"),
    ((in_the_corner,), "outside the mask"), ((in_place,), "X.clone()"),
    ((lambda X, XA, M: XA,), "one is enough"), ((lambda X, XA, M: X.clone(),), "perfect"),
    ((with_pixel(first, lambda X, XA: X + .9 * (XA - X)),), "make N itself 0"),
    ((with_pixel(first, lambda X, XA: 1 - X),), "make N itself 0"),
    ((with_pixel(first, lambda X, XA: XA + 1),), "lies in [0, 1]"),
    ((lambda X, XA, M: spoil(X, XA, M).round(decimals=2),), "one is enough"),
    ((lambda X, XA, M: X[:, :5],), "of the shape"),
]


# 4.7: by chance

def lengths(v): return np.linalg.norm(v, axis=1) / v.shape[1]**.5
def mean_inverse(v): return (1 / lengths(v)).mean()
def in_torch(v): return (1 / torch.as_tensor(v).square().mean(1).sqrt()).mean()
def by_pixel(v): return sum(1 / np.sqrt(np.mean(p**2)) for p in v) / len(v)
def to_the_power(v): return np.mean(np.mean(v**2, axis=-1)**-.5)
def inverse_with_epsilon(v): return (1 / (lengths(v) + 1e-6)).mean()

FINITE = dict(loss=[False, True, True], gradient=[False, False, True])
FORMS_OF_FINITE = [
    {k: form(v) for k, v in FINITE.items()} for form in (tuple, np.array, torch.tensor)]
FORMS_OF_FINITE += [dict(loss=[0, 1, 1], gradient=[0, 0, 1]),
                    FINITE | {"note": "c = 3 is safe in both"}]
MEANS = [(*f, FINITE) for f in in_all_forms(mean_inverse)]
MEANS += [(f, FINITE) for f in (in_torch, by_pixel, to_the_power, inverse_with_epsilon)]
MEANS += [(mean_inverse, finite) for finite in FORMS_OF_FINITE]

WRONG_MEANS = [
    ((lambda v: 1 / lengths(v).mean(), FINITE), "1 over the mean"),
    ((lambda v: (1 / np.linalg.norm(v, axis=1)).mean(), FINITE), "sqrt(c) is missing"),
    ((lambda v: mean_inverse(v.T), FINITE), "over the pixels"),
    ((lambda v: (1 / lengths(v)**2).mean(), FINITE), "the gradient's"),
    ((lambda v: 1 / lengths(v), FINITE), "shape"),
    ((lambda v: (1 / np.linalg.norm(v, axis=1) * 3**.5).mean(), FINITE), "you get"),
    ((lambda v: 1 / np.sqrt((v**2).mean()), FINITE), "you get"),
    ((lambda v: (1 / np.abs(v.mean(1))).mean(), FINITE), "you get"),
    ((mean_inverse, dict(loss=[True] * 3, gradient=[True] * 3)), "loss, c = 1: the integrand"),
    ((mean_inverse, FINITE | dict(gradient=[False, True, True])), "gradient, c = 2"),
    ((mean_inverse, FINITE | dict(loss=[False, False, True])), "loss, c = 2"),
    ((mean_inverse, FINITE | dict(loss="FTT")), "a list of three"),
    ((mean_inverse, FINITE | dict(loss=["False", "True", "True"])), "quotation marks"),
    ((mean_inverse, FINITE | dict(loss=[False, True])), "a list of three"),
    ((mean_inverse, dict(loss=FINITE["loss"])), "two entries"),
    ((mean_inverse, [FINITE["loss"], FINITE["gradient"]]), "two entries"),
]


# 4.8: a loss for one channel

def masked(rule):
    def mended(P, N, M): return (M * rule(P, N)).sum() / M.sum()
    return mended
def share(P, N): return P / (P + N + 1e-6)
mended = masked(lambda P, N: 2 * share(P, N))
def target_by_target(P, N, M):
    there = M.flatten(1).any(1)
    sums = (M * share(P, N)).flatten(1).sum(1)[there] / M.flatten(1).sum(1)[there]
    return sums.mean()
def chosen_pixels(P, N, M): return share(P[M > 0], N[M > 0]).mean()
def sums(P, N, M): return ((M * P).sum() + 1e-6) / ((M * N).sum() + 1e-6)

MENDED = [(f,) for f in (
    mended, target_by_target, chosen_pixels, sums,
    masked(lambda P, N: (P + .05) / (N + .05)),
    masked(lambda P, N: P / N.clamp(min=.05)),
    masked(lambda P, N: ((P + .01) / (N + .01)).log()),
    masked(lambda P, N: P - N),
    masked(lambda P, N: (P - N + .1).relu()),
    masked(lambda P, N: torch.sigmoid((P - N) / .1)),
    masked(lambda P, N: 1e-6 * share(P, N)),
    masked(lambda P, N: 100 + share(P, N)),
    lambda *a: mended(*(t.float() for t in a)),
    lambda *a: mended(*a).reshape(1),
)]

def pixel_mean(P, N, M): return (M * (P + 1e-6) / (N + 1e-6)).sum() / M.sum().clamp(min=1)
def ratio_of_norms(P, N, M):
    P, N = (M * P).flatten(1).norm(dim=1), (M * N).flatten(1).norm(dim=1)
    there = M.flatten(1).any(1)
    return (there * (P + 1e-6) / (N + 1e-6)).sum() / there.sum().clamp(min=1)

WRONG_MENDED = [
    ((pixel_mean,), "loudest of 800"), ((ratio_of_norms,), "ratio of their norms"),
    ((lambda *a: ratio_of_norms(*a).log(),), "ratio of their norms"),
    ((lambda *a: 1e-6 * ratio_of_norms(*a),), "ratio of their norms"),
    ((lambda *a: ratio_of_norms(*a)**2,), "ratio of their norms"),
    ((masked(lambda P, N: P),), "how loud nothing is"),
    ((masked(lambda P, N: 1e-6 * P),), "how loud nothing is"),
    ((masked(lambda P, N: -N),), "how loud nothing is"),
    ((masked(lambda P, N: share(N, P)),), "changed places"),
    ((masked(lambda P, N: ((P + 1e-6) / (N + 1e-6)).sqrt()),), "loudest of 800"),
    ((masked(lambda P, N: P / (P + N)),), "not finite"),
    ((lambda P, N, M: share(P, N).mean(),), "outside the mask"),
    ((lambda P, N, M: (M * share(P, N)).mean(),), "without a mask is added"),
    ((lambda P, N, M: (M * share(P, N)).sum(),), "pixels in the mask"),
    ((lambda P, N, M: (M * share(P, N)).sum() / M[0].numel(),), "pixels in the mask"),
    ((lambda P, N, M: M * share(P, N),), "give back one number"),
    ((lambda *a: mended(*a).item(),), "as a tensor"),
    ((lambda *a: mended(*a).detach(),), "no gradient goes through"),
    ((masked(lambda P, N: torch.ones_like(P)),), "grow in this order"),
]

ANSWERS = {
    "check_4_1": (DISTANCES, WRONG_DISTANCES), "check_4_2": (LOSSES, WRONG_LOSSES),
    "check_4_3": (SPELLED_ENDS, WRONG_ENDS), "check_4_4": (RATIOS, WRONG_RATIOS),
    "check_4_5": (SLOPES, WRONG_SLOPES), "check_4_6": (SPOILT, WRONG_SPOILT),
    "check_4_7": (MEANS, WRONG_MEANS), "check_4_8": (MENDED, WRONG_MENDED),
}
