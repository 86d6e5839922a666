"Answers to the checks of lesson 5, training and reading the curves."
import math
import statistics

import numpy as np
import torch
from scipy import stats

from answers import choice, in_all_forms


# 5.1: how many steps

def steps(lengths, epochs, batch, excerpt, window):
    targets = sum(n - window + 1 for n in lengths)
    return round(epochs * targets / (batch * (excerpt - window + 1)))
def by_halves(lengths, epochs, batch, excerpt, window):
    side = window // 2
    targets = sum(n - 2 * side for n in lengths)
    return int(epochs * targets / batch / (excerpt - 2 * side) + .5)
def in_arrays(lengths, epochs, batch, excerpt, window):
    targets = (np.array(lengths) - (window - 1)).sum()
    return np.rint(epochs * targets / (batch * (excerpt - window + 1)))
def never_negative(lengths, epochs, batch, excerpt, window):
    targets = sum(max(0, n - window + 1) for n in lengths)
    return int(round(epochs * targets / (batch * (excerpt - window + 1)), 0))
def by_total(lengths, epochs, batch, excerpt, window):
    targets = sum(lengths) - len(lengths) * (window - 1)
    return math.floor(.5 + epochs * targets / (batch * (excerpt - window + 1)))

STEPS = in_all_forms(steps) + [(f,) for f in (by_halves, in_arrays, never_negative, by_total)]

def rule(targets, of_step, rounded=round):
    def steps(lengths, epochs, batch, excerpt, window):
        epoch = targets(lengths, window)
        return rounded(epochs * epoch / of_step(batch, excerpt, window))
    return steps
def by_clip(lengths, w): return sum(n - w + 1 for n in lengths)
def per_step(b, e, w): return b * (e - w + 1)

WRONG_STEPS = [
    ((rule(lambda n, w: sum(n), per_step),), "targets, not frames"),
    ((rule(by_clip, lambda b, e, w: b * e),), "only for T = 1"),
    ((rule(lambda n, w: sum(n), lambda b, e, w: b * e),), "frames throughout"),
    ((rule(by_clip, lambda b, e, w: e - w + 1),), "excerpts at once"),
    ((rule(lambda n, w: sum(n) - w + 1, per_step),), "holds for each clip"),
    ((rule(by_clip, per_step, int),), "round down"),
    ((rule(by_clip, per_step, math.ceil),), "round up"),
    ((rule(by_clip, per_step, float),), "whole number"),
    ((rule(lambda n, w: sum(n) - len(n) * w, per_step),), "you get"),       # off by one a clip
    ((rule(by_clip, lambda b, e, w: b * (e - w)),), "you get"),
    ((rule(lambda n, w: by_clip(n, 3), lambda b, e, w: per_step(b, e, 3)),), "you get"),
    ((lambda n, epochs, b, e, w: steps(n, 1, b, e, w),), "one epoch"),
    ((lambda *a: steps(*a) + 1,), "you get"), ((lambda *a: steps(*a) - 1,), "you get"),
    ((lambda n, *a: [steps([k], *a) for k in n],), "shape"),
]


# 5.2: the rate of a step

def half(a, b, p): return b + (a - b) / 2 * (1 + math.cos(math.pi * p))
def one_cycle(step, peak, last, top):
    if step <= peak: return half(top / 25, top, step / peak)
    return half(top, top / 25 / 1e4, (step - peak) / (last - peak))
def strictly_before(step, peak, last, top):
    if step < peak: return half(top / 25, top, step / peak)
    return half(top, top / 25e4, (step - peak) / (last - peak))
def squared_cosine(step, peak, last, top):
    up = step <= peak
    a, b = (top / 25, top) if up else (top, top / 25e4)
    p = step / peak if up else (step - peak) / (last - peak)
    return b + (a - b) * np.cos(np.pi * p / 2)**2
def rate_in_float32(step, peak, last, top):
    up = step <= peak
    a, b = np.float32((top / 25, top) if up else (top, top / 25e4))
    p = np.float32(step / peak if up else (step - peak) / (last - peak))
    return b + (a - b) / 2 * (1 + np.cos(np.float32(np.pi) * p))
def by_pytorch(step, peak, last, top):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, top, last + 1, pct_start=(peak + 1) / (last + 1), cycle_momentum=False)
    for _ in range(step):
        optimizer.step()
        schedule.step()
    return schedule.get_last_lr()[0]

RATES = in_all_forms(one_cycle) + [(f,) for f in (
    strictly_before, squared_cosine, rate_in_float32, by_pytorch)]

def corners(first, last_rate, shape=half):
    def rate(step, peak, last, top):
        if step <= peak: return top * shape(first, 1, step / peak)
        return top * shape(1, last_rate, (step - peak) / (last - peak))
    return rate

WRONG_RATES = [
    ((corners(1 / 25, 1 / 25e4, lambda a, b, p: a + (b - a) * p),), "is straight"),
    ((corners(0, 1 / 25e4),), "begins at 0"), ((corners(1 / 25, 0),), "ends at 0"),
    ((corners(1 / 25, 1e-4),), "ends at top / 10,000"),
    ((corners(1 / 25, 1 / 25),), "ends where it began"),
    ((corners(1 / 10, 1 / 10e4),), "you get"),
    ((lambda step, peak, last, top: one_cycle(step, peak, last, 1.),), "you get"),
    ((lambda step, peak, last, top: one_cycle(step, .3 * last, last, top),), "you get"),
    ((lambda step, peak, last, top: one_cycle(step, round(peak), last, top),), "you get"),
    ((lambda step, peak, last, top: one_cycle(step, peak, last + 1, top),), "you get"),
    ((lambda step, peak, last, top: one_cycle(last - step, peak, last, top),), "you get"),
    ((lambda step, peak, last, top: top,), "you get"),
    ((corners(1 / 25, 1 / 25e4, lambda a, b, p: b + (a - b) * math.cos(p * math.pi / 2)),),
     "you get"),
]


# 5.4: which weights to keep

def loss_of_kept(w, share, loss): return loss(w[-round(share * len(w)):].mean(0))
def counted(w, share, loss):
    some = [v for step, v in enumerate(w, 1) if step > (1 - share) * len(w) + 1e-9]
    return loss(np.mean(some, axis=0))
def from_index(w, share, loss): return loss(np.mean(w[int((1 - share) * len(w)):], 0))
def running_mean(w, share, loss):
    mean, some = 0, w[len(w) - int(share * len(w) + .5):]
    for k, v in enumerate(some): mean = mean + (v - mean) / (k + 1)
    return loss(mean)
def of_a_tensor(w, share, loss):
    w = torch.tensor(w, requires_grad=True)
    return loss(w[-round(share * len(w)):].mean(0))
def of_a_list(w, share, loss):
    return loss(np.average(w.tolist()[-round(share * len(w)):], axis=0).tolist())

KEPT = in_all_forms(loss_of_kept) + [(f,) for f in (
    counted, from_index, running_mean, of_a_tensor, of_a_list)]

def n_kept(w, share): return round(share * len(w))
WRONG_KEPT = [
    ((lambda w, s, loss: np.mean([loss(v) for v in w[-n_kept(w, s):]]),), "mean of the losses"),
    ((lambda w, s, loss: loss(w[-1]),), "nothing is averaged"),
    ((lambda w, s, loss: loss(w.mean(0)),), "all steps"),
    ((lambda w, s, loss: loss(w[-n_kept(w, s) - 1:].mean(0)),), "one step too many"),
    ((lambda w, s, loss: loss(w[-n_kept(w, s) + 1:].mean(0)),), "you get"),
    ((lambda w, s, loss: loss(w[-n_kept(w, s) - 1:-1].mean(0)),), "without the very last"),
    ((lambda w, s, loss: loss(w[:n_kept(w, s)].mean(0)),), "first steps of the run"),
    ((lambda w, s, loss: loss(w[n_kept(w, s):].mean(0)),), "share is what is averaged"),
    ((lambda w, s, loss: loss(w[-len(w) // 5:].mean(0)),), "you get"),      # always a fifth
    ((lambda w, s, loss: loss(np.median(w[-n_kept(w, s):], 0)),), "you get"),
    ((lambda w, s, loss: w[-n_kept(w, s):].mean(0),), "shape"),
    ((lambda w, s, loss: min(loss(v) for v in w[-n_kept(w, s):]),), "you get"),
    ((lambda w, s, loss: loss(np.full(w.shape[1], w[-n_kept(w, s):].mean())),), "you get"),
]


# 5.5: running statistics

def running(batches, momentum):
    mean, var = 0., 1.
    for x in batches:
        mean += momentum * (x.mean() - mean)
        var += momentum * (x.var(ddof=1) - var)
    return mean, var
def by_weights(batches, momentum):
    shares = momentum * (1 - momentum)**np.arange(len(batches))[::-1]
    left = (1 - momentum)**len(batches)
    return (shares @ [x.mean() for x in batches],
            left + shares @ [statistics.variance(x) for x in batches])
def running_in_pytorch(batches, momentum):
    norm = torch.nn.BatchNorm1d(1, momentum=momentum)
    for x in batches: norm(torch.tensor(x, dtype=torch.float32)[:, None])
    return norm.running_mean, norm.running_var
def scalars_of_pytorch(batches, momentum): return running_in_pytorch(batches, momentum)[0][0], \
    running_in_pytorch(batches, momentum)[1][0]
def in_tensors(batches, momentum):
    mean, var = torch.zeros((), requires_grad=True), torch.ones(())
    for x in map(torch.tensor, batches):
        mean = (1 - momentum) * mean + momentum * x.mean()
        var = (1 - momentum) * var + momentum * x.var()
    return mean, var
def with_sums(batches, momentum):
    mean, var = 0., 1.
    for x in batches:
        m = sum(x) / len(x)
        mean = (1 - momentum) * mean + momentum * m
        var = (1 - momentum) * var + momentum * sum((v - m)**2 for v in x) / (len(x) - 1)
    return [mean, var]

RUNNING = in_all_forms(running) + [(f,) for f in (
    by_weights, in_tensors, with_sums, scalars_of_pytorch)]

def stats_of(x): return x.mean(), x.var(ddof=1)
def with_options(start=(0., 1.), ddof=1, momentum=lambda m: m):
    def run(batches, m):
        (mean, var), m = start, momentum(m)
        for x in batches:
            mean = (1 - m) * mean + m * x.mean()
            var = (1 - m) * var + m * x.var(ddof=ddof)
        return mean, var
    return run

WRONG_RUNNING = [
    ((with_options(momentum=lambda m: 1 - m),), "other way round"),
    ((with_options(ddof=0),), "divides by n - 1"), ((with_options((0., 0.)),), "starts at 1"),
    ((with_options((1., 1.)),), "you get"), ((with_options(momentum=lambda m: .1),), "you get"),
    ((lambda b, m: stats_of(np.concatenate(b)),), "you get"),
    ((lambda b, m: np.mean([stats_of(x) for x in b], axis=0),), "never forgets"),
    ((lambda b, m: stats_of(b[-1]),), "nothing runs"),
    ((lambda b, m: with_options(stats_of(b[0]))(b[1:], m),), "first batch's own"),
    ((lambda b, m: (running(b, m)[0], running(b, m)[1]**.5),), "standard deviation"),
    ((lambda b, m: running(b, m)[::-1],), "swapped"),
    ((lambda b, m: running(b, m)[0],), "shape"),
    ((lambda b, m: running(b[:-1], m),), "you get"),
]


# 5.6: a diagnosis for each curve

DIAGNOSIS = dict(A="b", B="d", C="a", D="c")
SPELLED_DIAGNOSES = [(dict(zip("ABCD", d)),) for d in (
    "bdac", "BDAC", ("b)", "d)", "a)", "c)"), ("(b)", "(d)", "(a)", "(c)"),
    (" b", "d ", " A ", "c"), (["b"], ["d"], ["a"], ["c"]), ("b.", "d.", "a.", "c."))]
WRONG_DIAGNOSES = [((DIAGNOSIS | {k: w},), f"curve {k}: not {w}")
                   for k in DIAGNOSIS for w in "abcd" if w != DIAGNOSIS[k]]
WRONG_DIAGNOSES += [
    ((DIAGNOSIS | {"C": "e"},), "curve C: the answer is one of"),
    ((DIAGNOSIS | {"C": "ab"},), "curve C: the answer is one of"),
    ((DIAGNOSIS | {"C": ""},), "curve C: the answer is one of"),
    ((DIAGNOSIS | {"C": ...},), "no letter yet"),
    ((dict(A="b", B="d", C="a"),), "each of the four"), ("bdac",),
    ((dict(a="b", b="d", c="a", d="c"),), "each of the four")]


# 5.7: an interval over seeds

def interval(values):
    n, mean = len(values), np.mean(values)
    half = stats.t.ppf(.975, n - 1) * np.std(values, ddof=1) / n**.5
    return mean, mean - half, mean + half
def by_scipy(values):
    mean = np.mean(values)
    return mean, *stats.t.interval(.95, len(values) - 1, mean, stats.sem(values))
def by_standard_library(values):
    mean, s = statistics.mean(values), statistics.stdev(values)
    half = -stats.t.ppf(.025, len(values) - 1) * s / math.sqrt(len(values))
    return mean, mean - half, mean + half
def by_test(values):
    ends = stats.ttest_1samp(values, 0).confidence_interval()
    return values.mean(), ends.low, ends.high
def in_torch(values):
    v = torch.tensor(values, requires_grad=True)
    half = stats.t.isf(.025, len(v) - 1) * v.std() / len(v)**.5
    return v.mean(), v.mean() - half, v.mean() + half
def of_float32(values): return interval(np.float32(values))

INTERVALS = in_all_forms(interval) + [(f,) for f in (
    by_scipy, by_standard_library, by_test, in_torch, of_float32)]

def ends(factor, ddof=1, root=True):
    def interval(v):
        half = factor(len(v)) * np.std(v, ddof=ddof) / (len(v)**.5 if root else 1)
        return np.mean(v), np.mean(v) - half, np.mean(v) + half
    return interval
def t(n): return stats.t.ppf(.975, n - 1)

WRONG_INTERVALS = [
    ((ends(lambda n: 1.96),), "1.96 is for many"), ((ends(t, root=False),), "single run"),
    ((ends(lambda n: 1.96, root=False),), "1.96 standard deviations"),
    ((ends(t, ddof=0),), "divides by n;"),
    ((ends(lambda n: stats.t.ppf(.975, n)),), "degrees of freedom"),
    ((ends(lambda n: stats.t.ppf(.95, n - 1)),), "interval of 90 %"),
    ((ends(lambda n: 1),), "one standard error"), ((ends(lambda n: 4.302653),), "you get"),
    ((lambda v: (v.mean(), *np.quantile(v, (.025, .975))),), "you get"),
    ((lambda v: (np.median(v), *interval(v)[1:]),), "you get"),
    ((lambda v: interval(v)[1:],), "shape"),
    ((lambda v: [interval(v)[i] for i in (1, 0, 2)],), "the mean first"),
    ((lambda v: (v.mean(), v.min(), v.max()),), "you get"),
]


# 5.8: a fair comparison

BETTER = dict(default=[.05, .06, .07], mine=[.04, .051, .059], claim="better")
OPEN = dict(default=[.05, .06, .07], mine=[.04, .08, .05], claim="open")
SMALL = dict(default=[.050001, .050012, .050023], mine=[.050004, .0500151, .0500262])
FAIR = [(results,) for results in (
    BETTER, OPEN, dict(default=BETTER["mine"], mine=BETTER["default"], claim="worse"),
    BETTER | {"claim": " Better."}, {k: tuple(v) if k != "claim" else v for k, v in OPEN.items()},
    {k: np.float32(v) if k != "claim" else v for k, v in BETTER.items()},
    {k: torch.tensor(v, requires_grad=True) if k != "claim" else v for k, v in BETTER.items()},
    BETTER | {"default": [torch.tensor(v) for v in BETTER["default"]]},
    BETTER | {"note": "a higher rate"}, SMALL | {"claim": "worse"},
    dict(default=[.051, .051, .052, .053], mine=[.045, .046, .047, .046], claim="better"),
    dict(default=[.05, .06, .07, .08, .09], mine=[.061, .052, .078, .07, .091], claim="open"))]
WRONG_FAIR = [
    ((BETTER | {"claim": "worse"},), "smaller error better"),
    ((BETTER | {"claim": "open"},), "do say something"),
    ((OPEN | {"claim": "better"},), "leave the question open"),
    ((SMALL | {"claim": "open"},), "it does not hold 0"),
    ((SMALL | {"claim": "better"},), "[+"),
    ((BETTER | {"claim": "great"},), "one of"), ((BETTER | {"claim": ...},), "claim: still"),
    ((dict(default=[.05, .06], mine=[.04, .05], claim="better"),), "at least three"),
    ((BETTER | {"mine": [.04, .05]},), "same length"), ((BETTER | {"mine": .04},), "same length"),
    ((BETTER | {"mine": [.04] * 3},), "pass the seed"),
    ((dict(default=[.05, .05, .06], mine=[.04, .04, .05], claim="better"),), "each one once"),
    ((BETTER | {"mine": BETTER["default"]},), "arrived in Settings"),
    ((BETTER | {"mine": BETTER["default"][::-1]},), "arrived in Settings"),
    ((BETTER | {"mine": [4., 5.1, 5.9]},), "mean distance"),
    ((BETTER | {"mine": [0., .05, .06]},), "mean distance"),
    ((dict(default=[.05, .06, .07]),), "lacks claim, mine"), ([.05, .06],),
]

ANSWERS = {
    "check_5_1": (STEPS, WRONG_STEPS), "check_5_2": (RATES, WRONG_RATES),
    "check_5_3": choice("b", dict(
        a="slow down a hundred times", c="only its size has changed")),
    "check_5_4": (KEPT, WRONG_KEPT),
    "check_5_5": (RUNNING, WRONG_RUNNING), "check_5_6": (SPELLED_DIAGNOSES, WRONG_DIAGNOSES),
    "check_5_7": (INTERVALS, WRONG_INTERVALS), "check_5_8": (FAIR, WRONG_FAIR),
}
