"Answers to the checks of lesson 7, your own camera."
import itertools
import math
from functools import partial

import numpy as np
import torch
from scipy import ndimage, optimize, stats

from answers import FORMS, changed, in_all_forms


# 7.1: what to leave out

LEFT_OUT = [(spelled,) for spelled in (
    "bce", "BCE", "ecb", "b c e", "b, c, e", "b, c and e", "b and c and e", "b/c/e", "b+c+e",
    "b & c & e", "(b) (c) (e)", "b.c.e.", "bbce", ["b", "c", "e"], ("E", "B", "C"),
    {"b", "c", "e"}, np.array(["b", "c", "e"]), ["b", "c and e"])]
WRONG_LEFT_OUT = [
    (("abce",), "rainy day"), (("be",), "once learnt, it is normal"), (("bc",), "another view"),
    (("ce",), "the hand moves"), (("bcde",), "every break"), (("bcef",), "in the evening too"),
    (("bcex",), "a to f"), (("adf",), "rainy day"),                          # what is kept
    (("",), "the hand moves"), ([],), (("abcdef",), "rainy day"), (("b c e g",), "you wrote g"),
    (([2, 3, 5],), "you wrote 2, 3, 5"),
]


# 7.2: from seconds to frames

def frames_between(start, end, fps): return math.ceil(start * fps), math.floor(end * fps)
def upside_down(start, end, fps): return -int(-start * fps // 1), int(end * fps)
def by_asking(start, end, fps):
    inside = [t for t in range(round(end * fps) + 2) if start <= t / fps <= end]
    return inside[0], inside[-1]
def by_numpy(start, end, fps):
    t = np.arange(3000) / fps
    i = np.flatnonzero((start <= t) & (t <= end))
    return i[[0, -1]]
def as_int_array(start, end, fps): return np.array(frames_between(start, end, fps))
def as_tensor(start, end, fps): return torch.tensor(frames_between(start, end, fps))
def as_tensors(start, end, fps): return tuple(map(torch.tensor, frames_between(start, end, fps)))
def as_list(start, end, fps): return [int(np.ceil(start * fps)), int(np.floor(end * fps))]
def by_division(start, end, fps):
    first, rest = divmod(start * fps, 1)
    return int(first + (rest > 0)), int(end * fps // 1)

FRAMES = [(f,) for f in (frames_between, upside_down, by_asking, by_numpy, as_int_array,
                         as_tensor, as_tensors, as_list, by_division)]

def rounded(first, last, shift=0):
    def answer(start, end, fps): return first(start * fps) + shift, last(end * fps) + shift
    return answer
WRONG_FRAMES = [
    ((rounded(math.ceil, math.floor, 1),), "frame 0"), ((rounded(int, int),), "inward"),
    ((rounded(round, round),), "inward"), ((rounded(math.ceil, math.ceil),), "already outside"),
    ((rounded(lambda x: int(x) + 1, math.floor),), "inward"),               # where one falls on it
    ((rounded(math.ceil, lambda x: math.ceil(x) - 1),), "inward"),
    (rounded(math.ceil, math.floor, -1),),
    ((rounded(np.ceil, np.floor),), "make it an int"),
    ((lambda start, end, fps: (int(start / fps), int(end / fps)),), "far too few"),
    ((lambda start, end, fps: frames_between(start, end, 25),), "use fps"),
    ((lambda start, end, fps: frames_between(start, end, round(fps)),), "as it is"),
    ((lambda start, end, fps: frames_between(start, end, fps)[::-1],), "the frames inside are"),
    ((lambda start, end, fps: frames_between(start, end, fps)[0],), "two numbers"),
    ((lambda *a: (frames_between(*a)[0], np.diff(frames_between(*a))[0]),), "you give"),
    ((lambda start, end, fps: (start, end),), "make it an int"),
]


# 7.3: rows from a boolean array

def rows(flags):
    steps = np.diff(np.r_[0, flags.astype(int), 0])
    return list(zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1))
def by_groups(flags):
    found = []
    for high, group in itertools.groupby(enumerate(flags), key=lambda pair: pair[1]):
        frames = [t for t, _ in group]
        if high: found.append((frames[0], frames[-1]))
    return found
def by_loop(flags):
    found, start = [], None
    for t, high in enumerate(flags):
        if high and start is None: start = t
        if not high and start is not None: found, start = [*found, (start, t - 1)], None
    return found if start is None else [*found, (start, len(flags) - 1)]
def by_labels(flags):
    spans = ndimage.find_objects(ndimage.label(flags)[0])
    return [[span.start, span.stop - 1] for span, in spans]
def by_text(flags):
    text, found, t = "".join("01"[int(f)] for f in flags), [], 0
    while (first := text.find("1", t)) >= 0:
        t = text.find("0", first) if "0" in text[first:] else len(text)
        found.append((first, t - 1))
    return found
def as_array(flags): return np.array(rows(flags)).reshape(-1, 2)
def as_floats(flags): return as_array(flags).astype(np.float32)
def rows_as_tensor(flags): return torch.tensor(as_array(flags))
def lazily(flags): return (row for row in by_loop(flags))

ROWS = [(f,) for f in (rows, by_groups, by_loop, by_labels, by_text, as_array, as_floats,
                       rows_as_tensor, lazily)]

def moved(a, b): return lambda flags: [(i + a, j + b) for i, j in by_loop(flags)]
def only(keep): return lambda flags: [r for r in by_loop(flags) if keep(r, flags)]
WRONG_ROWS = [
    ((moved(0, 1),), "the one after the stretch"), ((moved(1, 1),), "count from 0"),
    ((moved(-1, 0),), "still normal"), ((moved(-1, -1),), "still normal"),
    ((moved(1, 0),), "and it is"), ((moved(0, -1),), "and it is"),
    ((lambda f: [(min(np.flatnonzero(f)), max(np.flatnonzero(f)))] if f.any() else [],),
     "need a row each"),
    ((only(lambda r, f: r[1] < len(f) - 1),), "reaches the clip's end"),
    ((only(lambda r, f: r[0] > 0),), "frame 0 is anomalous"),
    ((only(lambda r, f: r[0] < r[1]),), "single frame"),
    ((lambda f: by_loop(f)[::-1],), "order of time"),
    ((lambda f: by_loop(f)[:2],), "and it is"),                      # no more than the example
    ((lambda f: np.flatnonzero(f).tolist(),), "list of (first, last)"),
    ((lambda f: [(a + .5, b + .5) for a, b in by_loop(f)],), "list of (first, last)"),
    ((lambda f: by_loop(~f),), "and it is"), (lambda f: [(a, b - a + 1) for a, b in rows(f)],),
]


# 7.4: the threshold as a quantile

def pooled(d): return np.concatenate(list(d.values()))
def choose_threshold(h, t, share): return np.quantile(pooled(h), 1 - share)
def by_convention(method):
    return lambda h, t, share: np.quantile(pooled(h), 1 - share, method=method)
def counted(h, t, share): return np.sort(pooled(h))[::-1][round(share * len(pooled(h)))]
def percentile(h, t, share): return np.percentile(np.hstack([*h.values()]), 100 * (1 - share))
def sorted_list(h, t, share):
    scores = sorted(s for recording in h.values() for s in recording.tolist())
    return scores[int((1 - share) * len(scores))]
def quantile_in_torch(h, t, share):
    return torch.cat([torch.tensor(s, requires_grad=True) for s in h.values()]).quantile(1 - share)
def in_place(h, t, share):
    scores = pooled(h)
    scores.sort()
    for s in h.values(): s[:] = 0                                    # the check must not mind
    return scores[-round(share * len(scores)) - 1]

CONVENTIONS = ("inverted_cdf", "closest_observation", "hazen", "weibull", "median_unbiased",
               "normal_unbiased", "lower", "higher", "midpoint", "nearest")
THRESHOLDS = in_all_forms(choose_threshold) + [(f,) for f in (
    counted, percentile, sorted_list, quantile_in_torch, in_place,
    *map(by_convention, CONVENTIONS))]

def each(d, share): return [np.quantile(s, 1 - share) for s in d.values()]
def off_by(k):
    "The threshold that k fewer scores reach than asked, or so."
    def answer(h, t, share): return np.sort(pooled(h))[::-1][round(share * pooled(h).size) - k]
    return answer
WRONG_THRESHOLDS = [
    ((off_by(2),), "exceed yours"), ((off_by(3),), "exceed yours"), ((off_by(-2),), "exceed yours"),
    ((lambda h, t, share: choose_threshold(t, h, share),), "what is to be found sits in there"),
    ((lambda h, t, share: np.quantile(pooled(h), share),), "lower tail"),
    ((lambda h, t, share: np.quantile(pooled(h | t), 1 - share),), "in it too"),
    ((lambda h, t, share: np.mean(each(h, share)),), "a short recording"),
    ((lambda h, t, share: max(each(h, share)),), "highest of the recordings'"),
    ((lambda h, t, share: np.median(each(h, share)),), "exceed yours"),
    ((lambda h, t, share: each(h, share),), "one number is asked for"),
    ((lambda h, t, share: pooled(h).max(),), "decides alone"),
    ((lambda h, t, share: pooled(h).mean() + 2.326 * pooled(h).std(),), "bell curve"),
    ((lambda h, t, share: choose_threshold(h, t, 2 * share),), "exceed yours"),
    ((lambda h, t, share: choose_threshold(h, t, share / 2),), "exceed yours"),
    ((lambda h, t, share: choose_threshold(h, t, .01),), "exceed yours"),
    ((lambda h, t, share: np.quantile(h["long"], 1 - share),), "exceed yours"),
    ((lambda h, t, share: np.quantile(pooled(h), 100 - share),), "ValueError"),
    ((lambda h, t, share: round(choose_threshold(h, t, share), 2),), "exceed yours"),
]


# 7.5: how much footage

def hours_needed(rate, c): return -math.log(1 - c) / rate
def three_digits(rate, c): return round(hours_needed(rate, c), 3)
def by_numpy_log(rate, c): return np.log(1 / (1 - c)) / rate
def by_log1p(rate, c): return -np.log1p(-c) / rate
def by_scipy(rate, c): return stats.expon(scale=1 / rate).ppf(c)
def by_root(rate, c): return optimize.brentq(lambda T: math.exp(-rate * T) - (1 - c), 0, 1e4)
def hours_in_torch(rate, c): return torch.tensor(1 - c, requires_grad=True).log().neg() / rate
def in_float32(rate, c): return -np.log(np.float32(1 - c)) / np.float32(rate)
def by_poisson(rate, c): return stats.chi2.ppf(c, 2) / 2 / rate      # no event: the exact bound

HOURS = in_all_forms(hours_needed) + [(f,) for f in (
    three_digits, by_numpy_log, by_log1p, by_scipy, by_root, hours_in_torch, in_float32,
    by_poisson)]
WRONG_HOURS = [
    ((lambda rate, c: 1 / rate,), "37 percent"),
    ((lambda rate, c: math.log(1 - c) / rate,), "mind the sign"),
    ((lambda rate, c: -math.log(c) / rate,), "changed places"),
    ((lambda rate, c: -math.log10(1 - c) / rate,), "natural logarithm"),
    ((lambda rate, c: -math.log2(1 - c) / rate,), "enough already"),
    ((lambda rate, c: c / rate,), "a logarithm must come in"),
    ((lambda rate, c: -math.log(1 - c) * rate,), "divide by the rate"),
    ((lambda rate, c: -math.log(.05) / rate,), "whatever the confidence"),
    ((lambda rate, c: 3 / rate,), "enough already"),
    ((lambda rate, c: math.ceil(hours_needed(rate, c)),), "do you round"),
    ((lambda rate, c: round(hours_needed(rate, c), 2),), "do you round"),
    ((lambda rate, c: round(-math.log(.05) / rate, 3),), "whatever the confidence"),
    ((lambda rate, c: 1 / (1 - c) / rate,), "enough already"),
    ((lambda rate, c: 60 * hours_needed(rate, c),), "enough already"),       # minutes
]


# 7.6: from scores to events

def merged(rows, gap):
    found = []
    for first, last in rows:
        if found and first - found[-1][1] - 1 <= gap: found[-1] = (found[-1][0], last)
        else: found.append((first, last))
    return found
def events(s, threshold, gap): return merged(by_loop(s > threshold), gap)
def by_frames(s, threshold, gap):
    found = []
    for t in np.flatnonzero(s > threshold).tolist():
        if found and t - found[-1][1] <= gap + 1: found[-1][1] = t
        else: found.append([t, t])
    return found
def by_filling(s, threshold, gap):
    high, last = s > threshold, None
    for t in np.flatnonzero(s > threshold):
        if last is not None and t - last - 1 <= gap: high[last:t] = True
        last = t
    return rows(high)
def by_splitting(s, threshold, gap):
    t = np.flatnonzero(s > threshold)
    if not len(t): return []
    return [(part[0], part[-1]) for part in np.split(t, np.flatnonzero(np.diff(t) > gap + 1) + 1)]
def by_closing(s, threshold, gap):
    high = np.pad(s > threshold, gap + 1)
    closed = ndimage.binary_closing(high, np.ones(gap + 1))
    return as_array(closed[gap + 1:-gap - 1])
def events_in_torch(s, threshold, gap):
    return torch.tensor(events(torch.tensor(s, requires_grad=True) > threshold, 0, gap))
def events_in_float32(s, threshold, gap): return as_floats_of(events(np.float32(s), threshold, gap))
def as_floats_of(found): return np.array(found, float).reshape(-1, 2)

EVENTS = [(f,) for f in (events, by_frames, by_filling, by_splitting, by_closing,
                         events_in_torch, events_in_float32)]

def bridging(bridge, above=np.greater):
    def answer(s, threshold, gap):
        found = []
        for first, last in by_loop(above(s, threshold)):
            if found and bridge(first - found[-1][1] - 1, gap): found[-1] = (found[-1][0], last)
            else: found.append((first, last))
        return found
    return answer
def near(pause, gap): return pause <= gap
def widened(s, threshold, gap):
    found = events(s, threshold, gap)
    return [(max(0, i - gap), min(len(s) - 1, j + gap)) for i, j in found]
WRONG_EVENTS = [
    ((bridging(near, np.greater_equal),), "is not above it"),
    ((bridging(lambda pause, gap: pause < gap),), "3 frames is bridged too"),
    ((bridging(lambda pause, gap: gap and pause <= gap + 1),), "too long"),
    ((bridging(lambda pause, gap: pause <= gap + 1),), "and you make"),
    ((bridging(lambda pause, gap: False),), "must be bridged"),
    ((bridging(lambda pause, gap: gap > 0),), "you bridge all"),
    (bridging(lambda pause, gap: pause <= 2),),                        # the example's gap
    ((lambda *a: [(i, j + 1) for i, j in events(*a)],), "the one after the event"),
    ((lambda *a: [(i + 1, j + 1) for i, j in events(*a)],), "and you make"),
    ((widened,), "nothing is added"),
    ((lambda s, t, gap: [e for e in events(s, t, gap) if e[1] < len(s) - 1],), "the clip's end"),
    ((lambda s, t, gap: [e for e in events(s, t, gap) if e[0]],), "begins with frame 0"),
    ((lambda s, t, gap: [e for e in events(s, t, gap) if e[0] < e[1]],), "and you make"),
    ((lambda s, t, gap: events(s, .5, gap),), "threshold that the function is given"),
    ((lambda s, t, gap: events(-s, -t, gap),), "and you make"),
    ((lambda s, t, gap: (s > t).tolist(),), "list of (first, last)"),
]


# 7.7: precision and recall of events

def shared(f, t): return f[0] <= t[1] and t[0] <= f[1]
def judged(meet):
    "An answer by which an event counts that meets any of the other side."
    def judge(found, true):
        p = sum(any(meet(f, t) for t in true) for f in found) / len(found)
        r = sum(any(meet(f, t) for f in found) for t in true) / len(true)
        return p, r
    return judge
judge = judged(shared)
def by_sets(found, true):
    F, T = ([set(range(a, b + 1)) for a, b in e] for e in (found, true))
    return [sum(any(a & b for b in other) for a in these) / len(these)
            for these, other in ((F, T), (T, F))]
def by_matrix(found, true):
    (a, b), (c, d) = np.array(found).T, np.array(true).T
    meet = (a[:, None] <= d) & (c <= b[:, None])
    return meet.any(1).mean(), meet.any(0).mean()
def by_marks(found, true):
    def marks(events):
        line = np.zeros(1000, bool)
        for a, b in events: line[a:b + 1] = True
        return line
    def share(events, line): return np.mean([line[a:b + 1].any() for a, b in events])
    return share(found, marks(true)), share(true, marks(found))
def by_middle(found, true):
    return judged(lambda f, t: max(f[0], t[0]) <= min(f[1], t[1]))(found, true)

JUDGES = in_all_forms(judge) + [(f,) for f in (by_sets, by_matrix, by_marks, by_middle)]

def framewise(found, true):
    F, T = (set().union(*(range(a, b + 1) for a, b in e)) for e in (found, true))
    return len(F & T) / len(F), len(F & T) / len(T)
def pieces_recall(found, true):
    p, _ = judge(found, true)
    return p, p * len(found) / len(true)
def true_ones_are_right(found, true):
    _, r = judge(found, true)
    return r * len(true) / len(found), r
def length(e): return e[1] - e[0] + 1
def common(f, t): return min(f[1], t[1]) - max(f[0], t[0]) + 1
WRONG_JUDGED = [
    ((lambda found, true: judge(found, true)[::-1],), "changed places"),
    ((changed(judge, lambda pr: 100 * np.array(pr), "in_percent"),), "percent"),
    ((framewise,), "you count frames"), ((pieces_recall,), "still recall one"),
    ((true_ones_are_right,), "pieces of one true event"),
    ((judged(lambda f, t: f[0] < t[1] and t[0] < f[1]),), "single common frame"),
    ((judged(lambda f, t: f[0] <= t[1] + 1 and t[0] <= f[1] + 1),), "without a common frame"),
    ((judged(lambda f, t: t[0] <= f[0] <= t[1]),), "where the found event begins"),
    ((judged(lambda f, t: t[0] <= f[0] <= t[1] or t[0] <= f[1] <= t[1]),), "it may also contain"),
    ((judged(lambda f, t: 2 * common(f, t) >= length(t)),), "half an event"),
    ((judged(lambda f, t: common(f, t) * 2 >= max(length(f), length(t))),), "you give"),
    ((judged(lambda f, t: f == t),), "you give"),
    ((lambda found, true: judge(found, true)[0],), "two numbers"),
    ((changed(judge, partial(np.round, decimals=1), "rounded"),), "you give"),
    ((lambda found, true: (.5, 1 / 3),), "you give"),
    ((lambda found, true: {"precision": 1, "recall": 1},), "two numbers"),
]


# 7.8: the figures of one's own video

FIGURES = dict(
    training_minutes=12, held_out_minutes=20, alarms_held_out=1, alarms_an_hour=3, fps=30,
    threshold=1.21, frames=5400, events=[(310, 420), (2000, 2010), (3600, 4100)],
    false=1, true=3, missed=1)
NUMBERS = [k for k in FIGURES if k != "events"]
FITTING = [(FIGURES | other,) for other in (
    {}, {"threshold": .061}, {"threshold": 2.7, "fps": 4}, {"fps": 29.97}, {"fps": 240},
    {"events": [], "false": 0, "missed": 3}, {"events": np.array(FIGURES["events"])},
    {"events": [(310, 420), (421, 430)], "false": 0}, {"note": "rain on Tuesday"},
    {"alarms_held_out": 0, "alarms_an_hour": 0}, {"alarms_held_out": 0, "alarms_an_hour": 9},
    {"alarms_held_out": 7, "held_out_minutes": 35, "alarms_an_hour": 12},
    {"alarms_held_out": 2, "held_out_minutes": 7, "alarms_an_hour": 17.1},
    {"false": 0, "missed": 0, "true": 1},
    {k: FORMS["tensor_with_gradient"](FIGURES[k]) for k in NUMBERS},
    {k: np.float32(FIGURES[k]) for k in NUMBERS})]
NOT_FITTING = [((FIGURES | other,), says) for says, other in (
    ("film at least 2", {"training_minutes": .5}), ("held-out", {"held_out_minutes": 0}),
    ("ddl info", {"fps": 1 / 30}), ("is no score", {"threshold": 61}),
    ("is no score", {"threshold": 0}), ("a rate a minute", {"alarms_an_hour": .05}),
    ("3 an hour, not 1", {"alarms_an_hour": 1}), ("3 an hour, not 20", {"alarms_an_hour": 20}),
    ("fewer than 8.99", {"alarms_held_out": 0, "alarms_an_hour": 3}),
    ("overlap", {"events": [(310, 420), (420, 500)]}), ("order of time", {"events": [(5, 2)]}),
    ("order of time", {"events": FIGURES["events"][::-1]}),
    ("outside the recording", {"events": [(5300, 5400)]}), ("4 of 3", {"false": 4}),
    ("4 of 3", {"missed": 4}), ("nothing happened", {"true": 0, "missed": 0}),
    ("do not fit together", {"false": 3}), ("do not fit together", {"missed": 3}),
    ("list of (first, last)", {"events": 3}), ("list of (first, last)", {"events": [(1.5, 2)]}),
    ("filled in", {"fps": ...}), ("should be a number", {"alarms_an_hour": math.nan}),
    ("not below 0", {"alarms_held_out": -1}), ("whole numbers", {"false": .5}))]
NOT_FITTING += [(({},), "is missing"), (([3, 4],), "not of the kind")]

ANSWERS = {
    "check_7_1": (LEFT_OUT, WRONG_LEFT_OUT), "check_7_2": (FRAMES, WRONG_FRAMES),
    "check_7_3": (ROWS, WRONG_ROWS), "check_7_4": (THRESHOLDS, WRONG_THRESHOLDS),
    "check_7_5": (HOURS, WRONG_HOURS), "check_7_6": (EVENTS, WRONG_EVENTS),
    "check_7_7": (JUDGES, WRONG_JUDGED), "check_7_8": (FITTING, NOT_FITTING),
}
