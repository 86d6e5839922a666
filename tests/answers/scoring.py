"Answers to the checks of lesson 6, scoring and honest evaluation."
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy import ndimage, signal, stats
from sklearn.metrics import roc_auc_score

from answers import choice, in_all_forms
from ddl_nb.metrics import auc
from ddl_nb.plaza import plaza
from ddl_nb.scoring import frame_scores


# 6.1: AUC by counting

def pair_auc(y, s):
    a, n = s[y == 1][:, None], s[y == 0]
    return 100 * ((a > n) + .5 * (a == n)).mean()
def by_loops(y, s):
    won = total = 0
    for a in s[y == 1]:
        for n in s[y == 0]:
            won += 1. if a > n else .5 if a == n else 0
            total += 1
    return won / total * 100
def by_sign(y, s): return 50 + 50 * np.sign(np.subtract.outer(s[y == 1], s[y == 0])).mean()
def by_sklearn(y, s): return 100 * roc_auc_score(y, s)
def by_ranks(y, s):
    p, n = y.sum(), (1 - y).sum()
    return 100 * (stats.rankdata(s)[y == 1].sum() - p * (p + 1) / 2) / p / n
def by_mann_whitney(y, s):
    return stats.mannwhitneyu(s[y > 0], s[y < 1]).statistic / (y > 0).sum() / (y < 1).sum() * 100
def auc_in_torch(y, s):
    y, s = torch.tensor(y), torch.tensor(s, dtype=torch.float32, requires_grad=True)
    a, n = s[y == 1][:, None], s[y == 0][None]
    return 100 * ((a > n).float() + .5 * (a == n).float()).mean()

AUCS = in_all_forms(pair_auc) + [(f,) for f in (
    by_loops, by_sign, by_sklearn, by_ranks, by_mann_whitney, auc_in_torch)]

def won(y, s, tie=.5):
    a, n = s[y == 1][:, None], s[y == 0]
    return (a > n) + tie * (a == n)
def by_plain_ranks(y, s):                                 # ties in the order in which they come
    ranks = s.argsort(kind="stable").argsort() + 1
    p, n = y.sum(), (1 - y).sum()
    return 100 * (ranks[y == 1].sum() - p * (p + 1) / 2) / p / n
WRONG_AUCS = [
    ((lambda y, s: 100 * won(y, s, 0).mean(),), "no win at all"),
    ((lambda y, s: 100 * won(y, s, 1).mean(),), "whole win"),
    ((lambda y, s: 100 - pair_auc(y, s),), "sign is reversed"),
    ((lambda y, s: pair_auc(y, s) / 100,), "as a fraction"),
    ((lambda y, s: won(y, s).sum(),), "number of pairs won"),
    ((lambda y, s: 100 * won(y, s).sum() / len(y)**2,), "all pairs of frames"),
    ((lambda y, s: 100 * won(y, s).mean(0),), "shape"),                     # one axis only
    ((lambda y, s: 100 * np.mean((s > np.median(s)) == y),), "one threshold"),
    ((by_plain_ranks,), "you get"), ((lambda y, s: 50.,), "you get"),
    ((lambda y, s: 100 * (s[y == 1].mean() > s[y == 0].mean()),), "you get"),
    ((lambda y, s: 100 * roc_auc_score(y, s > .25),), "you get"),
    ((lambda y, s: pair_auc(y, s) + 1,), "you get"),
    ((lambda y, s: 100 * np.corrcoef(y, s)[0, 1],), "you get"),
]


# 6.2: the middle of the clip

def middle(n): return -np.abs(np.linspace(-1, 1, n))
def by_frame(n): return [-abs(t - (n - 1) / 2) / ((n - 1) / 2) for t in range(n)]
def by_nearest_end(n): return 2 * np.minimum(np.arange(n), np.arange(n)[::-1]) / (n - 1) - 1
def middle_in_torch(n): return -torch.linspace(-1, 1, n).abs()
def by_interpolation(n): return np.interp(range(n), [0, (n - 1) / 2, n - 1], [-1, 0, -1])
def by_window(n): return signal.windows.bartlett(n) - 1

MIDDLES = in_all_forms(middle) + [(f,) for f in (
    by_frame, by_nearest_end, middle_in_torch, by_interpolation, by_window)]
WRONG_MIDDLES = [
    ((lambda n: -middle(n),), "the sign"), ((lambda n: 1 + middle(n),), "take 1 off"),
    ((lambda n: -np.abs(np.arange(n) - (n - 1) / 2),), "count in frames"),
    ((lambda n: -np.abs(np.arange(n) - n / 2),), "count in frames"),
    ((lambda n: -np.abs(2 * np.arange(n) / n - 1),), "off by half a frame"),
    ((lambda n: np.linspace(-1, 0, n),), "later in the clip"),
    ((lambda n: -np.abs(np.arange(n) - n // 2) / (n // 2),), "you get"),
    ((lambda n: -middle(n)**2,), "you get"), ((lambda n: middle(n) / 2,), "you get"),
    ((lambda n: -np.abs(np.linspace(-1, 1, n + 1)),), "shape"),
    ((lambda n: middle(31)[:n],), "you get"), ((lambda n: middle(n).round(1),), "you get"),
    ((lambda n: 0,), "shape"), ((lambda n: np.sin(np.pi * np.arange(n) / (n - 1)) - 1,), "you get"),
]


# 6.3: the median filter

def each(one_clip):
    "An answer that filters clip by clip."
    def smooth_all(scores, lengths, width):
        clips = np.split(scores, np.cumsum(lengths)[:-1])
        return np.concatenate([one_clip(s, width) for s in clips])
    return smooth_all
def windows(s, w, reduce=np.median, mode="edge", side=lambda w: w // 2):
    padded = np.pad(s, side(w), mode=mode)
    return np.array([reduce(padded[t:t + w]) for t in range(len(s))])
def sliding(s, w):
    return np.median(np.lib.stride_tricks.sliding_window_view(np.pad(s, w // 2, "edge"), w), -1)
def in_pandas(s, w):
    padded = pd.Series(np.pad(s, w // 2, "edge"))
    return padded.rolling(w, center=True).median().dropna().to_numpy()
def filter_in_torch(s, w):
    s = torch.tensor(s, dtype=torch.float32)
    padded = torch.cat([s[:1].expand(w // 2), s, s[-1:].expand(w // 2)])
    return padded.unfold(0, w, 1).median(-1).values.numpy()
def padded_medfilt(s, w):
    h = w // 2
    return signal.medfilt(np.pad(s, h, "edge"), w)[h:len(s) + h]

smooth_all = each(partial(ndimage.median_filter, mode="nearest"))
def median_filter(scores, lengths, width): return smooth_all(scores, lengths, width)
def by_indices(scores, lengths, width):
    out, start = [], 0
    for n in lengths:
        for t in range(n):
            i = np.clip(np.arange(t - width // 2, t + width // 2 + 1), 0, n - 1)
            out.append(np.sort(scores[start + i])[width // 2])
        start += n
    return out

FILTERS = in_all_forms(median_filter) + [(f,) for f in (
    by_indices, each(windows), each(sliding), each(in_pandas), each(filter_in_torch),
    each(padded_medfilt))]

def there(s, w):
    return [np.median(s[max(0, t - w // 2):t + w // 2 + 1]) for t in range(len(s))]
def across(s, lengths, w): return ndimage.median_filter(s, size=w, mode="nearest")
WRONG_FILTERS = [
    ((across,), "into the next, where"),
    ((lambda s, lengths, w: ndimage.median_filter(s, size=w),), "cut the clips apart"),
    ((each(lambda s, w: ndimage.median_filter(s, size=w)),), "mirrors the scores"),
    ((each(lambda s, w: signal.medfilt(s, w)),), "fill up with 0"),
    ((each(there),), "what is there"), ((each(partial(windows, reduce=np.mean)),), "the mean"),
    ((each(partial(windows, reduce=np.max)),), "you get"),
    ((each(partial(windows, side=lambda w: (w - 1, 0))),), "before the frame"),
    ((each(partial(windows, side=lambda w: (0, w - 1))),), "you get"),
    ((lambda s, lengths, w: smooth_all(s, lengths, w + 2),), "two frames too wide"),
    ((lambda s, lengths, w: smooth_all(s, lengths, 17),), "you get"),
    ((lambda s, lengths, w: smooth_all(s, lengths, w // 2 * 2 - 1),), "you get"),
    ((lambda s, lengths, w: np.split(smooth_all(s, lengths, w), np.cumsum(lengths)[:-1]),),
     "together again"),
    ((lambda s, lengths, w: s,), "of clip 0 you get"),
    ((lambda s, lengths, w: smooth_all(s, lengths, w)[w // 2:-(w // 2)],), "shape"),
    ((lambda s, lengths, w: smooth_all(s, lengths[::-1], w),), "you get"),
]


# 6.4: micro and macro

def pooled(d): return np.concatenate(list(d.values()))
def micro_of(s, y): return auc(pooled(y), pooled(s))
def own(s, y, one_class=None):
    values = [auc(y[k], s[k]) for k in y]
    return [one_class if v is None else v for v in values if v is not None or one_class is not None]
def micro_macro(s, y): return micro_of(s, y), np.mean(own(s, y))
def from_sklearn(s, y):
    both = [k for k in y if 0 < y[k].mean() < 1]
    return (100 * roc_auc_score(pooled(y), pooled(s)),
            100 * sum(roc_auc_score(y[k], s[k]) for k in both) / len(both))
def by_nanmean(s, y):
    values = np.array([auc(y[k], s[k]) for k in s], dtype=float)       # None becomes nan
    return micro_of(s, y), np.nanmean(values)
def by_pairs(s, y):
    return pair_auc(pooled(y), pooled(s)), np.mean(
        [pair_auc(y[k], s[k]) for k in y if len(set(y[k])) == 2])
def through_lists(s, y):
    labels, scores = [], []
    for k in y:
        labels += y[k].tolist()
        scores += s[k].tolist()
    return [auc(np.array(labels), np.array(scores)), sum(own(s, y)) / len(own(s, y))]
def of_scores_in_float32(s, y): return micro_macro({k: np.float32(v) for k, v in s.items()}, y)

BOTH = in_all_forms(micro_macro) + [(f,) for f in (
    from_sklearn, by_nanmean, by_pairs, through_lists, of_scores_in_float32)]

def weighted(s, y):
    return np.average(own(s, y), weights=[len(v) for v in y.values() if 0 < v.mean() < 1])
def with_one_class(value): return lambda s, y: (micro_of(s, y), np.mean(own(s, y, value)))
def rescaled(s): return {k: (v - v.min()) / (v.max() - v.min()) for k, v in s.items()}

WRONG_BOTH = [
    ((lambda s, y: (np.mean(own(s, y)),) * 2,), "for micro as well"),
    ((lambda s, y: micro_macro(s, y)[::-1],), "swapped"),
    ((lambda s, y: (weighted(s, y), np.mean(own(s, y))),), "weighted by length"),
    ((lambda s, y: (micro_of(s, y), weighted(s, y)),), "weighs clips"),
    ((with_one_class(0),), "counts as 0"), ((with_one_class(50),), "counts as 50"),
    ((with_one_class(100),), "counts as 100"),
    ((lambda s, y: np.array(micro_macro(s, y)) / 100,), "as fractions"),
    ((lambda s, y: (micro_of(rescaled(s), y), np.mean(own(s, y))),), "you get"),
    ((lambda s, y: (micro_of(s, y), np.median(own(s, y))),), "you get"),
    ((lambda s, y: (micro_of(s, y),) * 2,), "you get"),
    ((lambda s, y: (micro_of(s, y), np.sum(own(s, y)) / len(y)),), "counts as 0"),
    ((lambda s, y: micro_of(s, y),), "shape"), ((lambda s, y: (50., 50.),), "you get"),
]


# 6.5: alarms

def counted(threshold, s, y, alarm=np.greater):
    alarm, anomalous = alarm(s, threshold), y == 1
    return (threshold, (alarm & anomalous).sum(), (~alarm & anomalous).sum(),
            (alarm & ~anomalous).sum(), (~alarm & ~anomalous).sum())
def judge(h, s, y, share): return counted(np.quantile(h, 1 - share), s, y)
def by_convention(method):
    def judge(h, s, y, share): return counted(np.quantile(h, 1 - share, method=method), s, y)
    return judge
def by_loop(h, s, y, share):
    t, n = np.percentile(h, 100 * (1 - share)), dict.fromkeys(((1, 1), (0, 1), (1, 0), (0, 0)), 0)
    for score, label in zip(s, y): n[int(score > t), int(label)] += 1
    return t, *n.values()
def by_sorting(h, s, y, share):
    return counted(np.sort(h)[::-1][int(np.ceil(share * len(h) - 1e-9))], s, y)
def judged_in_torch(h, s, y, share):
    h, s, y = torch.tensor(h, requires_grad=True), torch.tensor(s), torch.tensor(y)
    t = torch.quantile(h, 1 - share)
    return [t, *((alarm & label).sum() for label in (y == 1, y == 0) for alarm in (s > t, s <= t))]
def of_float32(h, s, y, share): return judge(h.astype(np.float32), s.astype(np.float32), y, share)

CONVENTIONS = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation",
               "interpolated_inverted_cdf", "hazen", "weibull", "median_unbiased",
               "normal_unbiased", "lower", "higher", "midpoint", "nearest")
JUDGES = in_all_forms(judge) + [(f,) for f in (
    by_loop, by_sorting, judged_in_torch, of_float32, *map(by_convention, CONVENTIONS))]

def in_order(*order): return lambda *case: [judge(*case)[k] for k in order]
def as_shares(*case):
    t, f, m, a, q = judge(*case)
    return t, f / (f + m), m / (f + m), a / (a + q), q / (a + q)
def off_by(k):
    "The threshold that k fewer scores reach than asked."
    def answer(h, s, y, share):
        return counted(np.sort(h)[::-1][int(np.ceil(share * len(h))) - 1 - k], s, y)
    return answer
WRONG_JUDGES = [
    ((off_by(2),), "exceed your threshold"), ((off_by(3),), "exceed your threshold"),
    ((off_by(-3),), "exceed your threshold"),
    ((lambda h, s, y, share: counted(np.quantile(s, 1 - share), s, y),), "*test* scores"),
    ((lambda h, s, y, share: counted(np.quantile(s[y == 0], 1 - share), s, y),), "the labels"),
    ((lambda h, s, y, share: judge(h, s, y, 1 - share),), "the quantile is 1 - share"),
    ((lambda h, s, y, share: judge(h, s, y, .01),), "exceed your threshold"),
    ((lambda h, s, y, share: judge(h, s, y, 2 * share),), "exceed your threshold"),
    ((lambda h, s, y, share: judge(h, s, y, share / 2),), "exceed your threshold"),
    ((lambda h, s, y, share: counted(h.max(), s, y),), "exceed your threshold"),
    ((lambda h, s, y, share: counted(h.mean() + 2 * h.std(), s, y),), "exceed your threshold"),
    ((lambda h, s, y, share: counted(judge(h, s, y, share)[0], s, y, np.greater_equal),),
     "not above it"),
    ((in_order(0, 1, 3, 2, 4),), "missed and false alarms are swapped"),
    ((in_order(0, 3, 4, 1, 2),), "other way round"),
    ((in_order(0, 2, 1, 4, 3),), "yours are below"), ((in_order(0, 1, 3, 4, 2),), "you give"),
    ((in_order(1, 2, 3, 4),), "five numbers"), ((in_order(1, 2, 3, 4, 0),), "exceed your"),
    ((as_shares,), "you give shares"),
    ((lambda *case: (judge(*case)[0], *(n + 1 for n in judge(*case)[1:])),), "you give"),
]


# 6.6: one draw of clips

def drawing(pick):
    "An answer that draws clips by their names."
    def one_draw(scores, labels, rng):
        names = pick(list(labels), rng)
        return auc(np.concatenate([labels[k] for k in names]),
                   np.concatenate([scores[k] for k in names]))
    return one_draw
one_draw = drawing(lambda names, rng: rng.choice(names, len(names)))
def by_counts(scores, labels, rng):
    n = rng.multinomial(len(labels), [1 / len(labels)] * len(labels))
    return auc(np.concatenate([np.tile(labels[k], c) for k, c in zip(labels, n)]),
               np.concatenate([np.tile(scores[k], c) for k, c in zip(labels, n)]))
def drawn_frames(scores, labels, rng):
    rows = []
    for k in rng.choice(list(labels), size=len(labels), replace=True):
        rows += list(zip(labels[k], scores[k]))
    y, s = np.array(rows).T
    return pair_auc(y, s)

DRAWS = in_all_forms(one_draw) + [(f,) for f in (
    by_counts, drawn_frames,
    drawing(lambda names, rng: [names[i] for i in rng.integers(0, len(names), len(names))]),
    drawing(lambda names, rng: [names[int(len(names) * rng.random())] for _ in names]),
    drawing(lambda names, rng: sorted(rng.choice(names, len(names)))),
    drawing(lambda names, rng: [rng.permutation(names)[0] for _ in names]))]

def by_length(scores, labels, rng):
    n = np.array([len(v) for v in labels.values()])
    names = rng.choice(list(labels), len(n), p=n / n.sum())
    return drawing(lambda *_: names)(scores, labels, rng)
def apart(scores, labels, rng):
    y, s = pooled(labels), pooled(scores)
    return auc(rng.choice(y, len(y)), rng.choice(s, len(s)))
def of_frames(scores, labels, rng):
    y, s = pooled(labels), pooled(scores)
    i = rng.integers(0, len(s), len(s))
    return auc(y[i], s[i])

def never_one_alone(names, rng):
    while len(set(drawn := rng.choice(names, len(names)))) == 1: pass
    return drawn

FIRST = {2: (.5, .5), 3: (.45, .275, .275)}                     # a little likelier
WRONG_DRAWS = [
    ((drawing(lambda names, rng: rng.permutation(names)),), "whole test set again"),
    ((drawing(lambda names, rng: set(rng.choice(names, len(names)))),), "counts once"),
    ((drawing(lambda names, rng: rng.choice(names, len(names) - 1)),), "another number"),
    ((drawing(lambda names, rng: rng.choice(names, len(names) + 1)),), "another number"),
    ((drawing(lambda names, rng: rng.choice(names, 3)),), "of two clips"),
    ((drawing(lambda names, rng: rng.choice(names, 8)),), "another number"),
    ((drawing(lambda names, rng: [names[i] for i in rng.integers(0, len(names) - 1, len(names))]),),
     "not drawn evenly"),
    ((drawing(lambda names, rng: [rng.choice(names)] * len(names)),), "not drawn evenly"),
    ((drawing(never_one_alone),), "not drawn evenly"),
    ((drawing(lambda names, rng: rng.choice(names, len(names), p=FIRST[len(names)])),),
     "not drawn evenly"),
    ((by_length,), "no likelier"), ((apart,), "separately"), ((of_frames,), "you draw frames"),
    ((lambda s, y, rng: one_draw(s, y, np.random.default_rng()),), "from rng"),
    ((lambda s, y, rng: one_draw(s, y, np.random.default_rng(0)),), "whatever rng is"),
    ((lambda s, y, rng: one_draw(s, y, rng) / 100,), "as a fraction"),
    ((lambda s, y, rng: np.mean([auc(y[k], s[k]) for k in rng.choice(list(y), len(y))]),),
     "you average the AUCs"),
    ((lambda s, y, rng: 77.,), "a draw gives"),
]


# 6.8: a score that learns nothing

@cache
def scene(): return plaza(train_clips=0, test_clips=2, size=(128, 192))

MODEL = SimpleNamespace(size=(128, 192), patch=10)

def colourful(frames):
    x = frames.astype(np.float32) / 255
    colour = x.max(-1) - x.min(-1)
    return frame_scores(np.abs(colour - np.median(colour[::4], 0)), patch=32)

def tried(my_score):
    "An answer, whose scene is rendered when its test is run."
    def answer(): return my_score, scene(), MODEL
    answer.__name__ = my_score.__name__
    return answer

def doubled(frames): return 2 * colourful(frames) + 1
def by_logarithm(frames): return np.log(colourful(frames))              # the same order

def constant(frames): return np.zeros(len(frames))
def time(frames): return np.arange(len(frames))
def turned_round(frames): return -colourful(frames)
def a_row_too_few(frames): return colourful(frames)[1:]
def by_channel(frames): return frames.mean((1, 2))
def one_number(frames): return frames.mean()
def not_a_number(frames): return np.full(len(frames), np.nan)
def score_maps(frames): return frames.mean(-1)
def to_the_previous(frames):
    x = frames.astype(np.float32) / 255
    return frame_scores(np.sqrt(((x - np.roll(x, 1, 0))**2).mean(-1)))

BETTER = [tried(f) for f, in in_all_forms(colourful)] + [tried(doubled), tried(by_logarithm)]
WORSE = [tried(f) for f in (constant, time, turned_round, a_row_too_few, by_channel, one_number,
                            not_a_number, score_maps, to_the_previous)]

ANSWERS = {
    "check_6_1": (AUCS, WRONG_AUCS), "check_6_2": (MIDDLES, WRONG_MIDDLES),
    "check_6_3": (FILTERS, WRONG_FILTERS), "check_6_4": (BOTH, WRONG_BOTH),
    "check_6_5": (JUDGES, WRONG_JUDGES), "check_6_6": (DRAWS, WRONG_DRAWS),
    "check_6_7": choice("d", dict(
        a="holds 0; and it is one seed", b="not the floor", c="may well be ahead")),
    "check_6_8": (BETTER, WORSE),
}
