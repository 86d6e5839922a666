"""The notebooks' own tests, tested: one sign, axis or constant of an exported definition is changed
in a copy of its notebook, and the named cell must fail.

Of a notebook only what the named cell depends on is run: the exported cells and imports before it,
and the cells that define the names it uses. Where that would train a model or look at many clips,
STAND_INS has something lighter."""
import ast, functools, json, re, symtable
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

import ddl_nb.plaza

NOTEBOOKS = Path(__file__).parent.parent/"nbs"

STAND_INS = {  # room -> words in a heavy cell -> what is run instead
    "scoring": {"trainer.run(": """
size, first, last = (48, 64), 20, 30
pixels = np.random.default_rng(1).integers(0, 256, (40, *size, 3), dtype=np.uint8)
clip = Clip(pixels, '01')
torch.manual_seed(0)
model = C3DSU(latent=8).eval()
"""},
    "motion": {"normal = [flows(c)": "scene = plaza(0, 2, 0)",
               "rows[\"place and direction\"]": "motion = learn_motion(scene.train)"},
    "detector": {"Detector.fit(scene, settings, out=folder": """
import tempfile
from ddl_nb.data import Scene
folder, g = Path(tempfile.mkdtemp()), np.random.default_rng(1)
def noise(name, brightness):
    frames = [x * g.integers(0, 256, (128, 192, 3)) for x in brightness]
    return Clip(np.stack(frames).astype(np.uint8), name)
rising = np.linspace(.2, 1, 300) * (np.arange(300) % 9 != 4)       # scores that rise, with spikes
a, b = noise('a', rising), noise('b', g.random(120))               # scores that jump
scene = Scene('noise', [a], [b], kinds={'b': [('cart', 20, 30)]})
torch.manual_seed(3)
settings = Settings('recon', height=48, latent=16)
held_out = [['a', 270, 30]]
detector = Detector(settings.model().eval(), settings, (48, 72), None, held_out, 'plaza')
detector.measure([a.part(270, 300)])
detector.save(folder/'model.safetensors')
"""},
}

# room -> (definition, words in the cell that must fail) -> (original, changed), ...
# The original stands in the definition once; white space, line breaks, comments and trailing commas
# may differ. The cell is the first one after the definition that says the words. A method is
# Class.method, patched or not.
MUTANTS = {
    "losses": {
        ("distance", "black, white = "): [
            (".sqrt() / a.shape[1] ** .5", ".sqrt()"),         # sqrt(c) dropped
            ("(a - b).square()", "(a + b).square()"),
            ("(a - b).square().sum(dim=1)", "(a - b).abs().sum(dim=1).square()"),  # another norm
            (".clamp(min=1e-30)", ""),                         # no derivative at 0
            (".clamp(min=1e-30)", ".clamp(min=1e-12)"),        # none near 0 either
        ],
        ("reconstruction_loss", "test_close(reconstruction_loss(a, b)"): [
            ("reconstruction).mean()", "reconstruction).sum()"),
        ],
        ("Network.loss", "class Halved(Network)"): [
            ("half:X.shape[2] - half]", "0:X.shape[2] - 2 * half]"),
        ],
        ("mean_of_ratios", "for ratio, naive in"): [
            ("mask * (P + eps)", "(P + eps)"),                 # the whole picture
            ("/ mask.sum((-1, -2)).clamp(min=1)", ""),         # sum for mean
        ],
        ("mean_of_ratios", "# copies what it is shown"): [
            ("(N + eps)", "(N - eps)"),
            ("(P + eps)", "P"),
        ],
        ("ratio_of_norms", "for ratio, naive in"): [
            ("P * scale, dim=(-1, -2))", "P * scale, dim=(0, -1, -2))"),  # norms over the batch
        ],
        ("ratio_of_norms", "# copies what it is shown"): [
            ("(P + eps) / (N + eps)", "P / (N + eps)"),
            ("scale = c ** .5", "scale = 1."),
        ],
        ("READINGS", "# copies what it is shown"): [
            ('3, "the mean of 1/N diverges"', '1, "the mean of 1/N diverges"'),
        ],
        ("distinction_loss", "for ratio, naive in"): [
            ("P, N = distance(target, reconstruction), distance(pseudo, reconstruction)",
             "N, P = distance(target, reconstruction), distance(pseudo, reconstruction)"),
            ("has_mask.sum().clamp(min=1)", "has_mask.numel()"),  # targets without a mask count
            ("eps=1e-6", "eps=1e-3"),
        ],
    },
    "pseudo": {
        ("FasterInBox.__call__", "back from frame 5"): [
            ("torch.minimum(at, there_and_back - at)", "at.clamp(max=n - 1)"),
        ],
        ("FasterInBox.noise", "{2, 3, 4, 5}"): [
            ("(2, 6,", "(1, 6,"),
        ],
        ("pseudo_anomaly", "quarter = torch.tensor"): [
            ("(1 - weight) * frames + weight * noise", "weight * frames + (1 - weight) * noise"),
            ("+ weight * noise", "- weight * noise"),
            ("(1 - mask) * frames + mask * blended", "mask * frames + (1 - mask) * blended"),
            ("(1 - mask) * frames + mask", "frames + mask"),
        ],
        ("pseudo_anomaly", "by_hand = "): [
            ("+ weight * noise", "+ torch.as_tensor(weight).detach() * noise"),  # half the gradient
        ],
        ("AnomalyWeight.__init__", "AnomalyWeight(.8)"): [
            ("math.log(start / (1 - start))", "math.log(start)"),
            ("requires_grad=learn", "requires_grad=True"),
            ("0 < start < 1", "0 <= start <= 1"),
        ],
        ("AnomalyWeight.forward", "AnomalyWeight(.8)"): [
            ("torch.sigmoid(self.l)", "torch.sigmoid(-self.l)"),
        ],
    },
    "models": {
        ("ConvBlock.__init__", "def block_loop"): [
            ("padding=k // 2", "padding=k // 2, padding_mode='reflect'"),
        ],
        ("ConvBlock.forward", "def block_loop"): [
            ("F.relu(self.batch_norm_1(x))", "self.batch_norm_1(x)"),
            ("else F.relu(self.batch_norm_2(x))", "else self.batch_norm_2(x)"),
            ("for conv in self.convs", "for conv in self.convs[::-1]"),  # heads in another order
        ],
        ("Decoder.forward", "def unet_loop"): [
            ("[self.conv_1(x), skip_3]", "[skip_3, self.conv_1(x)]"),
            ("[self.conv_3(x), skip_1]", "[skip_1, self.conv_3(x)]"),
            ("torch.sigmoid(self.conv_4(x).float())", "torch.tanh(self.conv_4(x).float())"),
        ],
        ("WithoutMiddle.forward", "test_eq(differs(changed, video)"): [
            ("seen.shape[2] // 2", "0"),
        ],
        ("Interpolator.forward", "before it has learnt"): [
            ("first + 2:first + 2 + m", "first + 1:first + 1 + m"),
            ("2 * super().forward(x) - 1", "2 * super().forward(x)"),
        ],
        ("pad_to_16", "any size, padded and cropped"): [
            ('mode="replicate"', 'mode="reflect"'),
            ("(0, right, 0, below)", "(right, 0, below, 0)"),  # the wrong side
        ],
        ("check_latent", "any size, padded and cropped"): [
            ("latent % 8", "latent % 4"),
        ],
        ("UNet.forward", "any size, padded and cropped"): [
            ("x.transpose(1, 2).reshape(", "x.reshape("),      # channels and time mixed
            ("n < self.window:", "n < self.window - 1:"),
        ],
        ("C3DSU.__init__", "assert difference < 1e-5 and"): [
            ("padding=(0, 1, 1)", "padding=(0, 1, 1), padding_mode='replicate'"),
            ("padding=(0, 1, 1)", "padding=(0, 2, 2), dilation=(1, 2, 2)"),
        ],
        ("C3DSU.fuse", "assert difference < 1e-5 and"): [
            ("conv(clip)", "conv(clip.flip(2)).flip(2)"),      # time runs back
            ("conv(clip)", "conv(clip.roll(1, 2))"),           # one frame off
        ],
        ("C3DSU.fuse", "# one window is the case n = T"): [    # clips of a batch mixed
            ("m.unflatten(0, (batch, -1))", "m.unflatten(0, (-1, batch)).transpose(0, 1)"),
        ],
        ("multiply_adds", "# by hand: the 3x3"): [
            ("layer.weight[0].numel()", "layer.weight.numel()"),
        ],
        ("build_model", "authors = build_model"): [
            ("kernels=(3, 3)", "kernels=(3, 5)"),
        ],
    },
    "scoring": {
        # folded
        ("_scale_shift", "# 9 frames in four pieces"): [
            ("norm.bias - norm.running_mean", "norm.bias + norm.running_mean"),
            (".sqrt()", ""),
            ("norm.running_var + norm.eps", "norm.running_var + 1e-3"),
        ],
        ("_conv", "# 9 frames in four pieces"): [
            ("(bias * scale + shift)", "(bias + shift)"),
            ("(weight.transpose(0, -1) * scale)", "weight.transpose(0, -1)"),
        ],
        ("FoldedBlock._heads", "# 9 frames in four pieces"): [
            ("F.pad(w, [m] * 4)", "F.pad(w, [0, 2 * m] * 2)"),  # zeros on one side only
        ],
        ("FoldedBlock._resize", "# 9 frames in four pieces"): [
            ("(weight, torch.eye(4)[..., None, None])", "(torch.eye(4)[..., None, None], weight)"),
            ("bias.repeat(4)", "bias.repeat_interleave(4)"),
            ("scale, shift = scale.repeat(4), shift.repeat(4)",
             "scale, shift = scale.repeat_interleave(4), shift.repeat_interleave(4)"),
            ("weight.transpose(0, 1).flatten(0, 1)", "weight.flatten(0, 1)"),  # by channel
            ("weight.view(len(weight), -1, 2, 2)",
             "weight.view(len(weight), 2, 2, -1).permute(0, 3, 1, 2)"),
            ("weight.view(len(weight), -1, 2, 2)",             # rows for columns
             "weight.view(len(weight), -1, 2, 2).mT"),
        ],
        ("_doubled", "by_channel = "): [
            (".transpose(2, 3)", ""),
            ("reshape(N, H, W, 2, c // 2)", "reshape(N, H, W, c // 2, 2).mT"),
        ],
        ("FoldedBlock.forward", "# 9 frames in four pieces"): [
            ("if not self.last: x = F.relu_(x)", "x = F.relu_(x)"),
        ],
        ("Folded._over_time", "# 9 frames in four pieces"): [
            ("conv.weight.permute(", "conv.weight.flip(2).permute("),  # time runs back
            ("F.pad(conv.bias, (conv.out_channels * (self.window - 1), 0))",
             "conv.bias.repeat(self.window)"),                 # the bias T times
        ],
        ("Folded.decode", "# 9 frames in four pieces"): [
            ("part.chunk(T, dim=1)", "part.chunk(T, dim=1)[::-1]"),
            ("part.chunk(T, dim=1)", "part.unflatten(1, (-1, T)).unbind(2)"),
            ("p[k * batch:k * batch + m]", "p[k:k + m]"),      # by frames, not by times
            ("[block(x), skip]", "[skip, block(x)]"),
        ],
        ("Folded.forward", "# 9 frames in four pieces"): [
            ("pad_to_16(frames.contiguous(memory_format=torch.channels_last))",
             "F.pad(frames, (0, -W % 16, 0, -H % 16))"),       # zeros
            ("x.permute(2, 0, 1, 3, 4)", "x.transpose(1, 2)"),  # clip after clip
        ],
        ("Folded.step", "# 9 frames in four pieces"): [
            ("p[len(x):] for p", "p[:len(p) - len(x)] for p"),  # the older past is kept
            ("pad_to_16(x.contiguous(memory_format=torch.channels_last))",
             "F.pad(x, (-W % 16, 0, -H % 16, 0), mode='replicate')"),  # the wrong side
        ],
        # a recording, frame by frame
        ("repeat_edges", 'list(repeat_edges("abc", 2))'): [
            ("is not None: yield from [frame] * times",
             "is not None: yield from [frame] * (times - 1)"),
        ],
        ("_Fetcher.__init__", "# no longer wanted: it stops"): [  # reads the file at once
            ("queue.Queue(1)", "queue.Queue()"),
        ],
        ("ahead", "# no longer wanted: it stops"): [
            ("finally: fetcher.end()", "finally: pass"),  # the thread waits for ever
            ("if error: raise error", "if error: return"),
            ("ready.get(timeout=patience)", "ready.get()"),
        ],
        ("_Fetcher.end", "# no longer wanted: it stops"): [
            ("self.thread.join(.5)", "pass"),          # Python's end finds a decoder at work
        ],
        ("_silence", "# no longer wanted: it stops"): [
            ("after frame {count - 1}", "after frame {count}"),
        ],
        ("Maps.push", "# the plain way: one window"): [
            ("targets[:len(X)], Y", "targets[-len(X):], Y"),   # compared with the frame after
            ("self.held = targets[len(X):]", "self.held = targets[:self.half]"),
            ("if self.held is None else self.held", ""),       # forgotten from chunk to chunk
            ("Y, self.past = ", "Y, _ = "),
            ("Y)[self.skip:]", "Y)[:max(0, len(X) - self.skip)]"),  # drops the last, not the first
        ],
        # frame scores
        ("frame_scores", "# the last pixel is in a patch"): [
            (".amax((1, 2))", ".mean((1, 2))"),
        ],
        ("_averages", "# the last pixel is in a patch"): [
            ("(from_start < patch)", "(from_start <= patch)"),
            ("(from_start >= 0)", "(from_start > 0)"),
            (".float() / patch", ".float() / stride"),
        ],
        ("_starts", "# the last pixel is in a patch"): [
            ("range(0, side - patch + 1, stride)", "range(1, side - patch + 1, stride)"),
        ],
        ("_starts", "(37, 21, 53, 37)"): [
            ("stride), side - patch}", "stride)}"),            # the remainder left out
        ],
        ("frame_scores_two_grids", "at these sizes their patches are a subset"): [
            ("torch.maximum(", "torch.minimum("),
            ("maps[..., half:, half:]", "maps[..., half:, :]"),
        ],
        ("smooth", "# 8 of 17: gone"): [
            ("size=width", "size=width + 2"),
            ("size=width", "size=width - 2"),
            ('mode="nearest"', 'mode="reflect"'),
        ],
        ("largest_patches", "(37, 21, 53, 37)"): [
            ("means.flatten(1).argmax(1)", "means.flatten(1).argmin(1)"),
        ],
        # pictures
        ("heat_map", "# nothing strange, nothing changed"): [
            ("/ scale, 0, 1)", "/ max(1e-9, np.max(score_map)), 0, 1)"),  # scaled by the frame
            ("frame * (1 - alpha) + colours * alpha", "frame * alpha + colours * (1 - alpha)"),
        ],
        ("annotate", "# nothing strange, nothing changed"): [
            ("colour = (230, 120, 0) if score > threshold",
             "colour = (230, 120, 0) if score < threshold"),
        ],
        ("write_video", "back = Clip("): [                     # red and blue swapped
            ("cv2.cvtColor(frame[:h, :w], cv2.COLOR_RGB2BGR)", "frame[:h, :w]"),
        ],
    },
    "methods": {
        ("windows", "by_hand = torch.stack"): [
            ("permute(0, 2, 1, 5, 3, 4)", "permute(0, 2, 1, 5, 4, 3)"),
        ],
        ("pad", "padded = pad(video, 4)"): [
            ("-W % 16", "-W % 8"),
        ],
        ("AEConv3D.loss", "hat, future ="): [
            ("torch.arange(T, 0, -1", "torch.arange(1, T + 1"),     # the far future counts most
            ("X[:, :, T:2 * T]", "X[:, :, T - 1:2 * T - 1]"),
        ],
        ("ConvLSTMCell.forward", "cell, (x, h, C)"): [
            ("torch.sigmoid(f) * C", "torch.sigmoid(i) * C"),
            ("torch.sigmoid(o) * torch.tanh(C)", "torch.sigmoid(o) * C"),
        ],
        ("ConvLSTM.loss", "h, errors = model.states(X)"): [
            ("clips[:, :, :-1]", "clips[:, :, 1:]"),                # not the frame before
        ],
        ("towards", "d, k, S = 3, 5, .7"): [
            ("coherent * S * (past - alpha)", "coherent * S * (alpha - past)"),
            ("size * sparse", "sparse"),
        ],
        ("Memory.address", "memory, z = Memory(4"): [
            ("w - self.least) * w", "w + self.least) * w"),         # nothing is left out
            ("F.normalize(z)", "z"),
        ],
        ("follow", "items, q = F.normalize"): [
            (".argmax(dim=1)", ".argmin(dim=1)"),
            (".amax(dim=0)", ".amin(dim=0)"),
        ],
        ("STEAL.too_fast", "fast = model.too_fast"): [
            ("x[:, ::every]", "x[:, every:]"),
        ],
        ("STEAL.loss", "draws = torch.Generator"): [
            ("normal.sum() - bounded.sum()", "normal.sum() + bounded.sum()"),
            ("torch.minimum", "torch.maximum"),
        ],
    },
    "motion": {
        ("half_axes", "test_eq(half_axes("): [
            ("np.maximum(-flow, 0)", "np.maximum(flow, 0)"),
        ],
        ("weighted_median", "test_eq(weighted_median("): [
            ("below[-1] / 2", "below[-1] / 3"),
        ],
        ("learn_motion", "test_close(learnt.usual"): [
            ("weight * v**2", "v**2"),                           # each moment alike
            ("(0, 0), 1)", "(0, 0), 2)"),
        ],
        ("Motion.map", "test_close(score_maps[k, y, x]"): [
            ("floor * self.speed", "self.speed"),
            ("v / unit", "v * unit"),
        ],
        ("Motion.rate", "(25, .5, 1)"): [
            ("fps / self.fps", "self.fps / fps"),
        ],
    },
    "detector": {
        ("measure_scale", "test_eq(asdict(scale)"): [
            ("(.5, .9, .95, .99, 1)", "(.5, .1, .05, .01, 0)"),
        ],
        ("Detector.threshold", "test_close(detector.threshold"): [
            ("self.scale.q99", "self.scale.q95"),
        ],
        ("Detector.measure", "test_close(detector.threshold"): [
            ("smooth(fused(some / self.units, self.weights))",
             "fused(some / self.units, self.weights)"),
        ],
        ("judge", "test_eq(kept.boxes.tolist()"): [
            ("some.mean(axis=1)", "some[::-1].mean(axis=1)"),
        ],
        ("judge", "test_eq(boxes[:2].tolist()"): [
            ("some.mean(axis=1)", "some[:, 0]"),
        ],
        ("learn_error", "by_hand = np.maximum("): [
            ("cv2.blur(error, (patch, patch))**4", "cv2.blur(error**4, (patch, patch))"),
            ("(powers / len(largest))**.25", "(powers / len(largest))**.5"),
            ("LEAST * np.mean(largest)", "LEAST * np.max(largest)"),
            ("len(pieces) * PIECE // SEEN", "len(pieces)"),                  # a part of the footage
        ],
        ("learn_error", "nowhere = learn_error("): [
            ("error *= ~ignore", "error *= ignore"),
            ("max(LEAST * np.mean(largest), SMALLEST)", "LEAST * np.mean(largest)"),
        ],
        ("Detector.unit_maps", "two = Detector("): [
            ("units[0] *=", "units[1] *="),
            ("self.usual_error is not None", "not self.units"),
        ],
        ("reliability", "test_close(reliability("): [
            ("logs.var", "logs.std"),
        ],
        ("loudest", "test_close(fused("): [
            (" * np.float32(weights)", ""),
        ],
        ("fused", "test_close(fused("): [
            ("np.maximum(looks, QUIET)", "np.maximum(looks, 1e-9)"),
            ("if looks.shape[1] == 1: return looks[:, 0]", ""),
            ("@ np.float32(weights)", "@ np.ones(looks.shape[1])"),
        ],
        ("_load_trained", 'refused("nan", "not finite")'): [
            ("w.isfinite().all()", "w.ndim >= 0"),
        ],
        # ignored regions, a lower rate
        ("Detector.counted", "# a bit a pixel, written as text"): [
            ("maps * ~self.ignore", "maps * self.ignore"),
        ],
        ("Detector.stacks", "test_close(record.frames, seen.frames["): [
            ("itertools.islice(repeated, len(clip))", "repeated"),
        ],
    },
    "stream": {
        ("RunningMedian.push", "RunningMedian()"): [
            ("[score] * (before + 1)", "[0. if before else score] * (before + 1)"),  # its start
            ("else self.half", "else self.half - 1"),
            ("np.median(self.recent)", "np.mean(self.recent)"),
        ],
        ("RunningMedian.close", "RunningMedian()"): [
            ("self.push(self.recent[-1])", "self.push(self.recent[0])"),  # the end of a stream
        ],
        ("Stream.close", "# 8 frames later"): [
            ("self._smooth(pair)", "Moment(self.smoothed - 1, *pair)"),
        ],
        ("Stream._moments", "# 8 frames later"): [
            ("score_map, self.pictures", "score_map / 2, self.pictures"),
            ("self.pictures.popleft()", "self.pictures.pop()"),
        ],
        ("stream", "# a frame ahead for T = 3"): [             # waits for the end
            ("for frame in ahead(frames, patience): yield from running.push(frame)",
             "for some in list(map(running.push, ahead(frames, patience))): yield from some"),
        ],
        ("Stream._check", "# smoothed before the error, and the error"): [
            ("frame.shape != self.shape", "frame.shape[1:] != self.shape[1:]"),
            ("frame.shape != self.shape", "frame.shape[:2] != self.shape[:2]"),
        ],
        ("stream", "# smoothed before the error, and the error"): [
            ("as e: error = e", "as e: raise"),                # what had arrived is lost
            ("if error: raise error", "pass"),
            ("ahead(frames, patience)", "ahead(frames)"),
        ],
        # a lower rate
        ("Stream._moments", "def same_as_batch("): [           # the next look's map
            ("self.scored % self.every == 0", "self.scored % self.every == 1 % self.every"),
        ],
        ("Stream.push", "def same_as_batch("): [
            ("self.read % self.every == 0", "self.read % self.every == 1 % self.every"),
        ],
    },
    "data": {  # what a lower rate asks of clips
        ("Clip.part", "at_half_rate = "): [
            ("self.first + first * self.step, self.first + last * self.step",
             "self.first + first, self.first + last"),
        ],
        ("Video.frames", "at_half_rate = "): [
            ("(k - start) % step == 0", "(k - start) % step <= 1"),
        ],
        ("Video.near", "for codec, ending in"): [
            ("landed + 1", "landed"),
            ("times[k - FAR // 2]", "times[k]"),
        ],
        ("frame_numbers", "times = np.array([0, 1, 2, 5, 6])"): [
            ("told[-1] + 1 <= announced", "told[-1] <= announced"),
            ("told[-1] + 1 <= announced", "told[-1] + 1 < announced"),
            ("np.maximum.accumulate(np.round(", "(np.round("),
        ],
        ("Frames.bits", "twelve = "): [
            ("largest < 2**bits", "largest < 2**(bits + 2)"),
        ],
        ("Clip.bits", "ten = "): [
            ("(self._bits or self.source.bits)", "self.source.bits"),   # each clip its own
        ],
        ("common_depth", "ten = "): [
            ("max((clip.bits", "min((clip.bits"),
        ],
    },
    "diagrams": {
        ("shapes_in", "# padded to 16s"): [
            ("tuple(given[0].shape), tuple(made.shape)",
             "tuple(made.shape), tuple(given[0].shape)"),
        ],
        ("_joined", "# what each level joins"): [
            ("[0][1] - own", "[0][1]"),
        ],
        ("draw_window", "for T, n in"): [
            ("targets * window", "frames * window"),
        ],
        ("_picture", "for image in other.images"): [
            ("x.shape[2] // 2", "0"),
        ],
        ("_bounds", "for image in other.images"): [
            ("columns.max() + 1", "columns.max()"),
        ],
    },
    "running": {
        ("inside", "test_eq(inside(np.arange(8)"): [
            ("(first <= n) & (n <= last)", "(first <= n) & (n < last)"),
        ],
        ("cached", "slow = at_rate(Clip(frames_dir"): [
            ("clip.first % clip.step", "0"),                   # another phase gets wrong frames
        ],
    },
    "training": {
        ("person_size", "15x20 pixels of 100x300"): [
            (".quantile(.1 if", ".quantile(.5 if"),
            ("else .5", "else .1"),
            ("size[1] / c.width", "size[0] / c.height"),
        ],
        ("rate_step", "test_eq(shown(at_rate(twenty, 5)), n[::5])"): [
            ("max(1, round(have / wanted))", "max(1, int(have // wanted) + 1)"),
        ],
        ("leave_out", "25 is the first that is seen after 20"): [
            ("a = -(-a // every) * every", "pass"),
        ],
        ("read_ignore", "half a working pixel is a whole one"): [
            ("interpolation=cv2.INTER_AREA) > 0", "interpolation=cv2.INTER_AREA) > .5"),
        ],
        ("mostly_ignored", "half a working pixel is a whole one"): [
            ("> (x2 - x1) * (y2 - y1) / 2", "> (x2 - x1) * (y2 - y1) / 4"),
        ],
        ("_rows_of", "for part in (clip.part(2, 6), at_rate(filmed, 5)"): [
            ('(rows["frame"] - clip.first) // clip.step', '(rows["frame"] - clip.first)'),
        ],
        ("Trainer._one_step", "# averaging nothing keeps the last"): [
            ("self.step > (1 - self.settings.average)", "self.step > self.settings.average"),
        ],
        ("Trainer.finish", "# averaging nothing keeps the last"): [
            ("self.average.module if self.average.n_averaged else self.module.model",
             "self.module.model"),
            ("(to_pixels(frames[", "(1 - to_pixels(frames["),
            ("return model.eval()", "return model.train()"),
        ],
    },
    "metrics": {
        ("won", "# many ties"): [
            ('high, "left")', 'high, "right")'),               # a tie is a win
        ],
        ("auc", "# many ties"): [
            ("(scores[labels == 1], scores[labels == 0])",
             "(scores[labels == 0], scores[labels == 1])"),
        ],
        ("_auc_with_extras", "# rounded: many ties"): [
            ("(won(anomalous, normal) + n1 + n0 + 1)", "(won(anomalous, normal) + n1 + n0)"),
            ("((n1 + 1) * (n0 + 1))", "(n1 * n0 + 1)"),
        ],
        ("frame_auc", "# rounded: many ties"): [               # one class counts as 0
            ("[v for v in by_clip.values() if v is not None]",
             "[v or 0. for v in by_clip.values()]"),
        ],
        ("minmax", 'minmax({"a": [1, 2, 5]'): [
            ("(s.max() or 1)", "(np.abs(s).mean() or 1)"),
        ],
        ("floors", "third = np.repeat"): [
            ("-np.abs(np.linspace(-1, 1", "np.abs(np.linspace(-1, 1"),
            ("later = {k: np.arange(len(y))", "later = {k: -np.arange(len(y))"),
        ],
        ("_distance", "steps = Clip("): [
            ("np.square(a - b).mean(axis=-1)", "np.square(a - b).sum(axis=-1)"),
        ],
        ("baseline_maps", "steps = Clip("): [
            ("(x_before + x_after) / 2", "(x_before + x_after)"),
            ("following = now if after is None", "following = previous if after is None"),
        ],
        ("optical_flow", "steps = Clip("): [
            ("calc(a, b, None)", "calc(b, a, None)"),
        ],
        ("gradient", "steps = Clip("): [
            ("append=m[-1:]", "prepend=m[:1]"),
            ("abs(np.diff(m, axis=1", "(np.diff(m, axis=1"),
        ],
        # confidence
        ("confidence", "lucky = "): [
            ("table - won_by_clip(other, labels)[0]", "table + won_by_clip(other, labels)[0]"),
            ("table - won_by_clip(other, labels)[0]",          # not paired
             "table - won_by_clip(other, labels)[0][::-1]"),
        ],
        ("resample", "lucky = "): [
            ("table, times, times)", "table, times, times[::-1])"),  # two draws, not one
            ("(times @ anomalous) * (times @ normal)", "anomalous.sum() * (times @ normal)"),
        ],
        ("_middle_95", "lucky = "): [
            ("(.025, .975)", "(.05, .95)"),
        ],
        ("resample", "the second run wins 30 % less"): [
            ("rng.multinomial(s, np.full(s, 1 / s), size=draws) / s",  # runs are not drawn
             "np.full((draws, s), 1 / s)"),
            ("np.full(s, 1 / s), size=draws) / s", "np.full(s, 1 / s), size=draws)"),
            ("np.mean(tables, axis=0).sum()", "np.sum(tables)"),
        ],
        ("by_kind", "kind_scores = "): [
            ("[(first, last) for k, first, last", "[(first, last - 1) for k, first, last"),
        ],
        # where
        ("pixel_auc", "exact, got = "): [
            ("(anomalous * (normal / pairs)).sum() / 2", "(anomalous * (normal / pairs)).sum()"),
            ("np.cumsum(normal) - normal", "np.cumsum(normal)"),
        ],
        ("regions_tracks", "for trial in range(5)"): [
            ("link[1] = True", "pass"),                        # four neighbours in a frame
        ],
        ("match", "# 4 of its 8 pixels"): [
            (">= .1", ">= .3"),
        ],
        ("match", "for trial in range(5)"): [
            ("both.sum(1, keepdims=True) + both.sum(0) - both",
             "both.sum(1, keepdims=True) + both.sum(0)"),
        ],
        ("area", "# 4 of its 8 pixels"): [
            ("np.interp(1, rates, found)", "np.interp(2, rates, found)"), # not cut at one false one
            ("np.maximum.accumulate(rates)", "rates"),
        ],
        ("_matches", "once = long"): [
            ("m > at[i]", "m >= at[i]"),
        ],
        ("rbdc_tbdc", "once = long"): [
            ("shares >= .1", "shares > .1"),
        ],
        ("rbdc_tbdc", "hard, boxes = "): [
            ("false / frames", "false / len(masks)"),          # a clip, not a frame
        ],
    },
    "footage": {
        ("compare", "def naive(a, b)"): [
            ("/ (np.sqrt(va * vb) + PATTERN)", "/ (np.sqrt(va * vb) + 9 * PATTERN)"),
            ("- ma * mb + PATTERN", "- ma * ma + PATTERN"),
            ("np.median(likeness)", "np.mean(likeness)"),
            ("np.median(mb - ma)", "np.median(ma - mb)"),
        ],
        ("displacement", "# a weak pattern"): [
            ("[[1, 0, -dx], [0, 1, -dy]]", "[[1, 0, dx], [0, 1, dy]]"),
        ],
        ("displacement", "wall = 100"): [
            ("before < CUT or after > before", "True"),
        ],
        ("runs", "test_eq(runs([0, 1, 1, 0, 1"): [
            ("first - found[-1][1] <= gap + 1", "first - found[-1][1] <= gap"),
        ],
        ("_main_view", "def only(found"): [
            ("key=lambda g: g[1]", "key=lambda g: -g[1]"),
        ],
        ("strangest", "hills = "): [
            ("(base + scores[peak]) / 2", "base"),
            ("free[max(0, first - margin):last + 1 + margin]", "free[first:last + 1]"),
        ],
    },
    "results": {
        ("Merger.push", "events_at_once(s, .8, gap)"): [
            ("score > self.threshold", "score >= self.threshold"),
            ("frame - self.open.end > self.gap", "frame - self.open.end >= self.gap"),
            ("score > self.open.score", "score < self.open.score"),
        ],
        ("find_events", "events_at_once(s, .8, gap)"): [
            ("+ [merger.close()]", ""),                        # the footage's end loses an event
        ],
        ("to_source", "# 1.5 to 4.5, outward"): [
            ("[shape[1] / size[1], shape[0] / size[0]]",
             "[shape[0] / size[0], shape[1] / size[1]]"),
            ("math.ceil(x2), math.ceil(y2)", "math.floor(x2), math.floor(y2)"),
        ],
    },
    "alarms": {
        ("threshold_for", "rates, inside = zip"): [
            ("betaincinv(n + 1 - k, k,", "betaincinv(k, n + 1 - k,"),
        ],
        ("threshold_for", "# 31 blocks of 360 s"): [
            ("math.ceil((n + 1) * (1 - alpha))", "math.ceil(n * (1 - alpha))"),  # no promise
            ("math.ceil((n + 1) * (1 - alpha))", "math.floor((n + 1) * (1 - alpha))"),
            ("reshape(n, size).max(axis=1)", "reshape(n, size).mean(axis=1)"),
            ("if k > n:", "if k > n + 1:"),
        ],
        ("match_events", "test_eq(match_events({}, {"): [
            ("runs(np.asarray(y) > 0)", "runs(np.asarray(y) >= 0)"),
            ("meets.any(axis=0).sum()", "meets.sum()"),
        ],
        ("alarm_report", "r = alarm_report(scores"): [
            ('hits["events"] - hits["right"]', 'hits["events"]'),
        ],
        ("piece_medians", "test_close(Drift([0, 1, 16], 1).chance"): [
            ("np.median(whole.reshape(-1, size)", "np.mean(whole.reshape(-1, size)"),
        ],
        ("Drift.__init__", "test_close(Drift([0, 1, 16], 1).chance"): [
            ("bdtrc(OUTSIDE - 1", "bdtrc(OUTSIDE"),
        ],
        ("Drift.push", "test_close(Drift([0, 1, 16], 1).chance"): [
            ("not self.low <= median <= self.high", "not median <= self.high"),
            ("if self.told or self.chance > CHANCE", "if self.chance > CHANCE"),  # said again
        ],
    },
    "watch": {
        ("without_password", 'test_eq(without_password("rtsp://admin:secret'): [
            ('"://.*@"', '"://[^@]*@"'),                       # up to the first @
            ('re.split(r"[?#]", name)[0]', "name"),
        ],
        ("Recorded.frames", "frames = list(Recorded("): [
            ("began + i / self.fps", "began + i * self.fps"),
        ],
        ("WatchedStream.watch", "rates = rates_of(fps)"): [
            ("self.stream.keep_pace(self.fps)", "pass"),
            ("self.settles or frame.time + BURST_SECONDS", "0"),   # what was kept is counted
        ],
        ("Newest.__init__", "threading.Thread(target=camera).start()"): [
            ("queue.Queue(1)", "queue.Queue(100)"),            # a queue that makes late
        ],
        ("Newest._drop", "threading.Thread(target=camera).start()"): [
            ("self.replaced += 1", "pass"),
        ],
        ("with_end", "test_eq(decode(film[0]"): [              # half a picture
            ("if not cut_off(jpeg): return jpeg", "return jpeg"),
            ("len(whole) - LAST_ROWS", "0"),
        ],
        ("Frozen.push", "frozen = Frozen(1.)"): [
            ("self.since[(few != self.last).any(-1)] = frame.time", "pass"),
            ("if self.said or held < MOST", "if held < MOST"),   # said again and again
            ("held < MOST:", "held < 1:"),                     # not under a running clock
        ],
        ("Journal._write", "import resource"): [
            ("f.truncate(end)", "pass"),                       # half a line stays
            ("self.waiting.popleft()", "self.waiting.clear()"),  # those behind it are lost
        ],
        ("Journal._repair", "assert journal.repaired"): [
            ('f.truncate(content.rfind(b"\\n") + 1)', "pass"),
        ],
        ("Status.__str__", "status = Status(0., .1"): [
            ("{bar[:10]}|{bar[10:]}", "{bar[:10]}|{bar[11:]}"),
        ],
    },
    "page": {
        ("highest", "test_eq(highest([1, 5, 2"): [             # a mean hides the peaks
            ("np.maximum.reduceat(scores, edges[:-1])",
             "np.add.reduceat(scores, edges[:-1]) / np.diff(edges)"),
        ],
        ("timeline", "what is above the edge stays at it"): [
            ("WIDTH * (e.end + 1 - e.start) / n", "WIDTH * (e.end - e.start) / n"),
        ],
        ("TEMPLATE", "base64.b64decode(link"): [
            ("jinja2.Environment(autoescape=True)", "jinja2.Environment()"),
        ],
        ("watched_page", "at most 1 in an hour"): [
            ('folder/e["snapshot"]', 'folder/"events"/e["snapshot"]'),
        ],
    },
}


# Finding ------------------------------------------------------------------------------------------

GAP = r"(?:\s|#.*)*"    # white space, line breaks and comments

def places(words, source):
    "(start, end) of each place where the source says this, however it is laid out."
    tokens = re.findall(r'"[^"\n]*"|\'[^\'\n]*\'|\w+|[^\w\s]', words)
    parts = [rf",?{GAP}{re.escape(t)}" if t in ")]}" else re.escape(t) for t in tokens]
    whole = GAP.join(parts)
    if re.match(r"\w", words): whole = r"\b" + whole
    if re.search(r"\w$", words): whole += r"\b"
    return [found.span() for found in re.finditer(whole, source)]

@functools.cache
def code_cells(room):
    "Sources of the code cells that can be run here, with the stand-in for the heavy one."
    file, = NOTEBOOKS.glob(f"*_{room}.ipynb")
    cells = json.loads(file.read_text())["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    sources = [s for s in sources if not s.startswith("#| slow")]
    for words, light in STAND_INS.get(room, {}).items():
        heavy = [s for s in sources if places(words, s) and not exported(s)]
        assert len(heavy) == 1, f"{room}: {words!r} is not in exactly one cell"
        sources[sources.index(heavy[0])] = light
    return sources

def exported(source): return "#| export" in source

def named(node):
    "(name, node) of what a statement of an exported cell defines: constant, function or class."
    if isinstance(node, ast.Assign): yield ast.unparse(node.targets[0]), node
    if isinstance(node, ast.ClassDef):
        for statement in node.body:
            for name, method in named(statement): yield f"{node.name}.{name}", method
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        patched = any(ast.unparse(d).startswith("patch") for d in node.decorator_list)
        owner = f"{node.args.args[0].annotation.id}." if patched else ""
        yield owner + node.name, node

def lines_of(node):
    "(first, end) of a definition: from its decorators to its last line."
    first = min(n.lineno for n in [node, *getattr(node, "decorator_list", [])])
    return first - 1, node.end_lineno

def definitions(room):
    "(name, (cell, first, end)) of all that a room exports."
    for i, source in enumerate(code_cells(room)):
        if not exported(source): continue
        for statement in ast.parse(source).body:
            for name, node in named(statement): yield name, (i, *lines_of(node))

@functools.cache
def definition(room, wanted):
    "(cell, first, end): the lines of the exported definition of this name."
    found = [place for name, place in definitions(room) if name == wanted]
    assert len(found) == 1, f"{room}: {wanted} is exported {len(found)} times"
    return found[0]

def mutated(room, name, original, changed):
    "The number of the cell that exports the definition, and its source, changed."
    cell, first, end = definition(room, name)
    lines = code_cells(room)[cell].splitlines(keepends=True)
    before, source, after = map("".join, (lines[:first], lines[first:end], lines[end:]))
    found = places(original, source)
    assert len(found) == 1, f"{room}: {original!r} occurs {len(found)} times in\n{source}"
    (start, stop), = found
    return cell, before + source[:start] + changed + source[stop:] + after

def catching_cell(room, words, cell):
    "The number of the first test after a cell that says these words."
    found = [i for i, source in enumerate(code_cells(room))
             if i > cell and places(words, source) and not exported(source)]
    assert found, f"{room}: no cell says {words!r} after the definition"
    return found[0]


# Running ------------------------------------------------------------------------------------------

def symbols(source):
    """Names that the source uses, and names that it defines, of its own scope: not those of a
    function or a comprehension."""
    used, defined, tables = set(), set(), [symtable.symtable(source, "cell", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for s in table.get_symbols():
            if table.get_type() != "module" and not s.is_global(): continue
            if s.is_referenced(): used.add(s.get_name())
            if s.is_assigned() or s.is_imported(): defined.add(s.get_name())
    return used, defined

def in_order(statements):
    "The statements one by one; of a loop or a condition first its head, then what is in it."
    for statement in statements:
        inside = []
        if isinstance(statement, ast.For | ast.If | ast.With):
            inside = statement.body + getattr(statement, "orelse", [])
            statement.body, statement.orelse = [ast.Pass()], []
        yield statement
        yield from in_order(inside)

@functools.cache
def needs(source):
    "Names that a cell expects to be there, and names that it defines."
    expected, defined = set(), set()
    for statement in in_order(ast.parse(source).body):
        used, new = symbols(ast.unparse(statement))
        expected |= used - defined
        defined |= new
    return expected, defined

def needed(sources, last):
    """The numbers of the cells that are run for the cell `last`: exported and hidden ones, and
    backwards those that define what it expects."""
    chosen, wanted = [last], needs(sources[last])[0]
    for i in range(last - 1, -1, -1):
        expected, defined = needs(sources[i])
        if exported(sources[i]) or sources[i].startswith("#| hide") or defined & wanted:
            chosen.append(i)
            wanted = (wanted - defined) | expected
    return chosen[::-1]

def execute(sources, last):
    """Runs the cell and what it needs in a namespace of its own; returns the cell's AssertionError,
    if any. Every other error is raised."""
    space = {"__name__": "__main__"}
    with torch.random.fork_rng(), plt.rc_context():
        try:
            for i in needed(sources, last):
                try: exec(compile(sources[i], f"cell {i}", "exec"), space)
                except AssertionError as e:
                    if i == last: return e
                    raise RuntimeError(f"an earlier cell fails:\n{sources[i]}") from e
        finally: plt.close("all")

@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    "The scenes that the notebooks film are the same for all mutants, and are not changed by any."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ddl_nb.plaza, "plaza", functools.cache(ddl_nb.plaza.plaza))
        yield

@functools.cache
def control(room, last):
    "The cell passes as it is."
    error = execute(code_cells(room), last)
    assert error is None, f"{room}: the unchanged notebook fails: {error}"

def cases():
    for room, groups in MUTANTS.items():
        for (name, catcher), pairs in groups.items():
            for original, changed in pairs:
                words = f"{room}.{name}: {original} -> {changed}"[:90]
                yield pytest.param(room, name, original, changed, catcher, id=words)

@pytest.mark.parametrize("room, name, original, changed, catcher", list(cases()))
def test_a_notebook_catches(room, name, original, changed, catcher, monkeypatch, capsys):
    monkeypatch.chdir(NOTEBOOKS)
    cell, source = mutated(room, name, original, changed)
    last = catching_cell(room, catcher, cell)
    control(room, last)
    sources = [source if i == cell else s for i, s in enumerate(code_cells(room))]
    error = execute(sources, last)
    assert error is not None, f"{room}: nothing notices {original!r} -> {changed!r}"
