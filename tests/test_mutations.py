"""The notebooks' own tests, tested: one sign, axis or constant of an exported cell is changed in a copy, and the named cell must fail.

Of a notebook only what the named cell depends on is run: the exported cells and imports before it, and the cells that define the names it
uses. Where that would train a model, STAND_INS has something lighter."""
import ast, functools, json, symtable
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

import ddl_nb.plaza

NOTEBOOKS = Path(__file__).parent.parent/"nbs"

STAND_INS = {  # notebook -> (text in the heavy cell, what is run instead)
    "06_training": ("losses.append((recon.item()", "scene = plaza(train_clips=3, test_clips=0, size=(128, 192))"),
    "07_scoring": ("trainer.run(", "size, first, last = (48, 64), 20, 30\n"
                                   "clip = Clip(np.random.default_rng(1).integers(0, 256, (40, *size, 3), dtype=np.uint8), '01')\n"
                                   "torch.manual_seed(0); model = C3DSU(latent=8).eval()"),
    "09_detector": ("Detector.fit(scene, Settings", "from ddl_nb.data import Clip, Scene\n"
                    "folder, g = Path(tempfile.mkdtemp()), np.random.default_rng(1)\n"
                    "def noise(name, levels): return Clip(np.stack([(x * g.integers(0, 256, (128, 192, 3))).astype(np.uint8) for x in levels]), name)\n"
                    "a, b = noise('a', np.linspace(.2, 1, 300) * (np.arange(300) % 9 != 4)), noise('b', g.random(120))\n"      # scores that rise, with spikes; scores that jump
                    "scene = Scene('noise', [a], [b], kinds={'b': [('cart', 20, 30)]})\n"
                    "torch.manual_seed(0); settings = Settings('recon', height=48, latent=16)\n"
                    "detector = Detector(settings.model().eval(), settings, (48, 72), {}, [['a', 270, 30]], 'plaza')\n"
                    "detector.measure([a.part(270, 300)]); detector.save(folder/'model.safetensors')")}

MUTANTS = [  # (notebook, original, changed, text in the cell that must fail)
    # losses
    ("05_losses", ".sqrt() / a.shape[1] ** .5", ".sqrt()", "black, white = "),                                    # sqrt(c) dropped
    ("05_losses", "(a - b).square()", "(a + b).square()", "black, white = "),
    ("05_losses", "(a - b).square().sum(dim=1)", "(a - b).abs().sum(dim=1).square()", "black, white = "),         # another norm
    ("05_losses", ".clamp(min=1e-30)", "", "black, white = "),                                                    # no derivative at 0
    ("05_losses", ".clamp(min=1e-30)", ".clamp(min=1e-12)", "black, white = "),                                   # none near 0 either
    ("05_losses", "distance(target, reconstruction).mean()", "distance(target, reconstruction).sum()", "test_close(reconstruction_loss(a, b)"),
    ("05_losses", "P, N = distance(target, reconstruction), distance(pseudo, reconstruction)",
                  "N, P = distance(target, reconstruction), distance(pseudo, reconstruction)", "for ratio, naive in"),
    ("05_losses", "(mask * (P + eps)", "((P + eps)", "for ratio, naive in"),                                      # the whole picture
    ("05_losses", "(P + eps) / (N + eps)).sum((-1, -2)) / pixels.clamp(min=1)", "(P + eps) / (N + eps)).sum((-1, -2))", "for ratio, naive in"),  # sum for mean
    ("05_losses", "scale, dim=(-1, -2))", "scale, dim=(0, -1, -2))", "for ratio, naive in"),                      # norms over the batch
    ("05_losses", "has_mask.sum().clamp(min=1)", "has_mask.numel()", "for ratio, naive in"),                      # targets without a mask count
    ("05_losses", "(mask * (P + eps) / (N + eps))", "(mask * (P + eps) / (N - eps))", "# copies what it is shown"),
    ("05_losses", "(mask * (P + eps) / (N + eps))", "(mask * P / (N + eps))", "# copies what it is shown"),
    ("05_losses", "losses = (P + eps) / (N + eps)", "losses = P / (N + eps)", "# copies what it is shown"),
    ("05_losses", "mask * d * scale", "mask * d", "# copies what it is shown"),
    ("05_losses", "eps=1e-6):", "eps=1e-3):", "for ratio, naive in"),
    ("05_losses", "channels < 3", "channels < 1", "# copies what it is shown"),
    # pseudo
    ("04_pseudo", "(1 - weight) * frames + weight * noise", "weight * frames + (1 - weight) * noise", "X, A, M = torch.tensor"),
    ("04_pseudo", "+ weight * noise", "- weight * noise", "X, A, M = torch.tensor"),
    ("04_pseudo", "(1 - mask) * frames + mask * blended", "mask * frames + (1 - mask) * blended", "X, A, M = torch.tensor"),
    ("04_pseudo", "(1 - mask) * frames + mask", "frames + mask", "X, A, M = torch.tensor"),
    ("04_pseudo", "torch.sigmoid(self.l)", "torch.sigmoid(-self.l)", "AnomalyWeight(.8)"),
    ("04_pseudo", "math.log(start / (1 - start))", "math.log(start)", "AnomalyWeight(.8)"),
    ("04_pseudo", "requires_grad=learn", "requires_grad=True", "AnomalyWeight(.8)"),
    ("04_pseudo", "0 < start < 1", "0 <= start <= 1", "AnomalyWeight(.8)"),
    ("04_pseudo", "+ weight * noise", "+ torch.as_tensor(weight).detach() * noise", "by_hand = "),                # half the gradient
    # models
    ("02_models", "F.relu(self.batch_norm_1(x))", "self.batch_norm_1(x)", "def block_loop"),
    ("02_models", "else F.relu(self.batch_norm_2(x))", "else self.batch_norm_2(x)", "def block_loop"),
    ("02_models", "x = torch.cat([conv(x) for conv in self.convs]", "x = torch.cat([conv(x) for conv in self.convs[::-1]]", "def block_loop"),      # heads in another order
    ("02_models", "padding=k // 2)", "padding=k // 2, padding_mode='reflect')", "def block_loop"),
    ("02_models", "[self.conv_1(x), skip_3]", "[skip_3, self.conv_1(x)]", "def unet_loop"),
    ("02_models", "[self.conv_3(x), skip_1]", "[skip_1, self.conv_3(x)]", "def unet_loop"),
    ("02_models", "torch.sigmoid(self.conv_4(x))", "torch.tanh(self.conv_4(x))", "def unet_loop"),
    ("02_models", '-H % 16), mode="replicate"', '-H % 16), mode="reflect"', "any size, padded and cropped"),
    ("02_models", "(0, -W % 16, 0, -H % 16)", "(-W % 16, 0, -H % 16, 0)", "any size, padded and cropped"),        # the wrong side
    ("02_models", "x.transpose(1, 2).reshape(B * n", "x.reshape(B * n", "any size, padded and cropped"),          # channels and time mixed
    ("02_models", "latent % 8", "latent % 4", "any size, padded and cropped"),
    ("02_models", "padding=(0, 1, 1))", "padding=(0, 1, 1), padding_mode='replicate')", "assert difference < 1e-5 and"),
    ("02_models", "3), padding=(0, 1, 1))", "3), padding=(0, 2, 2), dilation=(1, 2, 2))", "assert difference < 1e-5 and"),
    ("02_models", "(batch, -1)).transpose(1, 2)).transpose", "(batch, -1)).transpose(1, 2).flip(2)).flip(2).transpose", "assert difference < 1e-5 and"),  # time runs back
    ("02_models", "(batch, -1)).transpose(1, 2)).transpose", "(batch, -1)).transpose(1, 2).roll(1, 2)).transpose", "assert difference < 1e-5 and"),      # one frame off
    ("02_models", "m.unflatten(0, (batch, -1))", "m.unflatten(0, (-1, batch)).transpose(0, 1)", "# one window is the case n = T"),                # clips of a batch mixed
    ("02_models", "n < self.window:", "n < self.window - 1:", "any size, padded and cropped"),
    ("02_models", "layer.weight[0].numel()", "layer.weight.numel()", "# by hand: the 3x3"),
    ("02_models", "kernels=(3, 5, 7)):\n        check_window", "kernels=(3, 5, 5)):\n        check_window", "conv_1.convs[i].kernel_size"),
    # models, folded
    ("02_models", "norm.bias - norm.running_mean * scale", "norm.bias + norm.running_mean * scale", "# 9 frames in four pieces"),
    ("02_models", "(norm.running_var + norm.eps).sqrt()", "(norm.running_var + norm.eps)", "# 9 frames in four pieces"),
    ("02_models", "norm.running_var + norm.eps", "norm.running_var + 1e-3", "# 9 frames in four pieces"),
    ("02_models", "(bias * scale + shift)", "(bias + shift)", "# 9 frames in four pieces"),
    ("02_models", "(weight.transpose(0, -1) * scale)", "weight.transpose(0, -1)", "# 9 frames in four pieces"),
    ("02_models", "torch.kron(weight, torch.eye(4)[..., None, None])", "torch.kron(torch.eye(4)[..., None, None], weight)", "# 9 frames in four pieces"),
    ("02_models", "bias = torch.kron(weight, torch.eye(4)[..., None, None]), bias.repeat_interleave(4)", "bias = torch.kron(weight, torch.eye(4)[..., None, None]), bias.repeat(4)", "# 9 frames in four pieces"),
    ("02_models", "scale, shift = scale.repeat_interleave(4), shift.repeat_interleave(4)", "scale, shift = scale.repeat(4), shift.repeat(4)", "# 9 frames in four pieces"),
    ("02_models", "[(largest - w.shape[-1]) // 2] * 4", "[0, largest - w.shape[-1]] * 2", "# 9 frames in four pieces"),                  # zeros on one side only
    ("02_models", "weight.view(len(weight), -1, 2, 2)", "weight.view(len(weight), 2, 2, -1).permute(0, 3, 1, 2)", "# 9 frames in four pieces"),
    ("02_models", "weight.view(len(weight), -1, 2, 2)", "weight.view(len(weight), -1, 2, 2).mT", "# 9 frames in four pieces"),           # rows for columns
    ("02_models", "conv.weight.permute(2, 0, 1, 3, 4)", "conv.weight.flip(2).permute(2, 0, 1, 3, 4)", "# 9 frames in four pieces"),      # time runs back
    ("02_models", "F.pad(conv.bias, (conv.out_channels * (self.window - 1), 0))", "conv.bias.repeat(self.window)", "# 9 frames in four pieces"),    # the bias T times
    ("02_models", "p[:, k:k + n, k] for k", "p[:, k:k + n, T - 1 - k] for k", "# 9 frames in four pieces"),
    ("02_models", "p[:, k:k + n, k] for k", "p[:, T - 1 - k:T - 1 - k + n, k] for k", "# 9 frames in four pieces"),
    ("02_models", "unflatten(2, (T, -1))", "unflatten(2, (-1, T)).transpose(2, 3)", "# 9 frames in four pieces"),
    ("02_models", "torch.cat([block(x), skip], dim=1)", "torch.cat([skip, block(x)], dim=1)", "# 9 frames in four pieces"),
    ("02_models", "p[len(x):] for p", "p[:len(p) - len(x)] for p", "# 9 frames in four pieces"),                                         # the older past is kept
    ("02_models", "if not self.last: x = F.relu_(x)", "x = F.relu_(x)", "# 9 frames in four pieces"),
    ("02_models", "(0, -x.shape[-1] % 16, 0, -x.shape[-2] % 16)", "(-x.shape[-1] % 16, 0, -x.shape[-2] % 16, 0)", "# 9 frames in four pieces"),      # the wrong side
    ("02_models", '-x.shape[-2] % 16), mode="replicate"', "-x.shape[-2] % 16)", "# 9 frames in four pieces"),                            # zeros
    # scoring
    ("07_scoring", "distance(targets[:len(X)], Y)", "distance(targets[-len(X):], Y)", "# the plain way: one window"),         # compared with the frame after
    ("07_scoring", "held = targets[len(X):]", "held = targets[:half]", "# the plain way: one window"),
    ("07_scoring", "if held is None else held, X])", ", X])", "# the plain way: one window"),                                 # forgotten from chunk to chunk
    ("07_scoring", "Y, past = model.step(X, past)", "Y, _ = model.step(X, past)", "# the plain way: one window"),
    ("07_scoring", "Y)[skip:]", "Y)[:max(0, len(X) - skip)]", "# the plain way: one window"),                                 # the last ones are dropped, not the first
    ("07_scoring", "queue.Queue(1)", "queue.Queue()", "# no longer wanted: it stops"),                                        # reads the whole file at once
    ("07_scoring", "finally: stop.set()", "finally: pass", "# no longer wanted: it stops"),                                   # the thread waits for ever
    ("07_scoring", "if error: raise error", "if error: return", "# no longer wanted: it stops"),
    ("07_scoring", "ready.get(timeout=patience)", "ready.get()", "# no longer wanted: it stops"),
    ("07_scoring", "after frame {count - 1}", "after frame {count}", "# no longer wanted: it stops"),
    ("07_scoring", "is not None: yield from [frame] * times", "is not None: yield from [frame] * (times - 1)", 'list(repeat_edges("abc", 2))'),
    ("07_scoring", "range(0, side - patch + 1, stride)", "range(1, side - patch + 1, stride)", "# the last pixel is in a patch"),
    ("07_scoring", "patch, stride).amax((1, 2))", "patch, stride).mean((1, 2))", "# the last pixel is in a patch"),
    ("07_scoring", "(from_start < patch)", "(from_start <= patch)", "# the last pixel is in a patch"),
    ("07_scoring", "(from_start >= 0)", "(from_start > 0)", "# the last pixel is in a patch"),
    ("07_scoring", ".float() / patch", ".float() / stride", "# the last pixel is in a patch"),
    ("07_scoring", "stride), side - patch}", "stride)}", "(37, 21, 53, 37)"),                                     # the remainder left out
    ("07_scoring", "means.flatten(1).argmax(1)", "means.flatten(1).argmin(1)", "(37, 21, 53, 37)"),
    ("07_scoring", "torch.maximum(", "torch.minimum(", "at these sizes their patches are a subset"),
    ("07_scoring", "maps[..., half:, half:]", "maps[..., half:, :]", "at these sizes their patches are a subset"),
    ("07_scoring", "size=width,", "size=width + 2,", "# 8 of 17: gone"),
    ("07_scoring", "size=width,", "size=width - 2,", "# 8 of 17: gone"),
    ("07_scoring", 'mode="nearest"', 'mode="reflect"', "# 8 of 17: gone"),
    ("07_scoring", "/ scale, 0, 1)", "/ max(1e-9, np.max(score_map)), 0, 1)", "# nothing strange, nothing changed"),  # scaled by the frame
    ("07_scoring", "frame * (1 - alpha) + colours * alpha", "frame * alpha + colours * (1 - alpha)", "# nothing strange, nothing changed"),
    ("07_scoring", "colour = (230, 120, 0) if score > threshold", "colour = (230, 120, 0) if score < threshold", "# nothing strange, nothing changed"),
    ("07_scoring", "cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)", "frame", "back = Clip("),                            # red and blue swapped
    # detector
    ("09_detector", 'self.scale["0.99"]', 'self.scale["0.95"]', "test_close(detector.threshold"),
    ("09_detector", "boxes.extend(largest_patches(some)", "boxes.extend(largest_patches(some[::-1])", "test_eq(kept.boxes.tolist()"),
    ("09_detector", "scores.append(smooth(_frame_scores(watch())[0]))", "scores.append(_frame_scores(watch())[0])", "test_close(detector.threshold"),
    ("09_detector", "np.quantile(np.concatenate(scores), q)", "np.quantile(np.concatenate(scores), 1 - q)", "test_close(detector.threshold"),
    ("09_detector", "if not all(w.isfinite().all()", "if not all(w.ndim >= 0", 'contains="not finite")'),
    ("09_detector", "recent.append(recent[-1])", "recent.append(recent[0])", "# 8 frames later"),                    # the end of a stream
    ("09_detector", "recent.extend([score] *", "recent.extend([0. if frame == 0 else score] *", "# 8 frames later"), # its start
    ("09_detector", "(half + 1 if frame == 0 else 1)", "(half if frame == 0 else 1)", "# 8 frames later"),
    ("09_detector", "yield frame - half, recent[half], float(np.median(recent))", "yield frame - half, recent[half], float(np.mean(recent))", "# 8 frames later"),
    ("09_detector", "yield frame + later - half,", "yield frame - half,", "# 8 frames later"),
    ("09_detector", "maps[frame] = m", "maps[frame] = m / 2", "# 8 frames later"),
    ("09_detector", "pictures.popleft()", "pictures.pop()", "# 8 frames later"),
    ("09_detector", "repeat_edges(until_error(), self.model.window // 2)", "repeat_edges(list(until_error()), self.model.window // 2)", "# a frame ahead for T = 3"),     # waits for the end
    ("09_detector", "if frame.shape != shape:", "if frame.shape[1:] != shape[1:]:", "# what arrived before the error, and the error"),
    ("09_detector", "if frame.shape != shape:", "if frame.shape[:2] != shape[:2]:", "# what arrived before the error, and the error"),
    ("09_detector", "errors.append(e)", "raise", "# what arrived before the error, and the error"),                           # what had arrived is lost
    ("09_detector", "if errors: raise errors[0]", "pass", "# what arrived before the error, and the error"),
    ("09_detector", "ahead(watched(), patience)", "ahead(watched())", "# what arrived before the error, and the error"),
    # a lower rate, ignored regions, what is left out
    ("01_data", "max(1, round(have / wanted))", "max(1, int(have // wanted) + 1)", 'test_eq(shown(twenty.at(5)), n[::5])'),
    ("01_data", "self.first + first * self.step, self.first + last * self.step", "self.first + first, self.first + last", "for source in (twenty, Clip(frames_dir"),
    ("01_data", "for _ in range(step - 1): capture.grab()", "for _ in range(step): capture.grab()", "for source in (twenty, Clip(frames_dir"),
    ("01_data", "clip.first % clip.step", "0", "a part needs no file of its own"),                                 # parts of another phase get wrong frames
    ("03_tracks", "interpolation=cv2.INTER_AREA) > 0", "interpolation=cv2.INTER_AREA) > .5", "half a working pixel is a whole one"),
    ("03_tracks", "> (x2 - x1) * (y2 - y1) / 2", "> (x2 - x1) * (y2 - y1) / 4", "half a working pixel is a whole one"),
    ("03_tracks", '(rows["frame"] - clip.first) // clip.step', '(rows["frame"] - clip.first)', "every = pd.concat([rows.iloc[:1]"),
    ("06_training", "a = -(-a // every) * every", "pass", "25 is the first that is seen after 20"),
    ("06_training", "(first <= numbers) & (numbers <= last)", "(first <= numbers) & (numbers < last)", "25 is the first that is seen after 20"),
    ("09_detector", "(m * ~self.ignore for m in maps)", "(m * self.ignore for m in maps)", "# a bit a pixel, written as text"),
    ("09_detector", "for _ in range(every)), len(clip))", "for _ in range(every)), None)", "test_eq(record.frames, seen.frames["),
    ("09_detector", "yield from until(k * every) ", "pass ", "def same_as_batch("),
    ("09_detector", "if i % every == 0 else None", "if i % every == 1 % every else None", "def same_as_batch("),
    # footage
    ("15_footage", "/ (np.sqrt(va * vb) + PATTERN)", "/ (np.sqrt(va * vb) + 9 * PATTERN)", "def naive(a, b)"),
    ("15_footage", "(mean(a * b) - ma * mb + PATTERN)", "(mean(a * b) - ma * ma + PATTERN)", "def naive(a, b)"),
    ("15_footage", "float(np.median(likeness))", "float(np.mean(likeness))", "def naive(a, b)"),
    ("15_footage", "float(np.median(mb - ma))", "float(np.median(ma - mb))", "def naive(a, b)"),
    ("15_footage", "[[1, 0, -dx], [0, 1, -dy]]", "[[1, 0, dx], [0, 1, dy]]", "# a weak pattern"),
    ("15_footage", "before < CUT or after > before", "True", "wall = 100"),
    ("15_footage", "a - found[-1][1] <= gap + 1", "a - found[-1][1] <= gap", "clock(90, None)"),
    ("15_footage", "key=lambda g: g[1])[0]", "key=lambda g: -g[1])[0]", "def only(found"),
    ("15_footage", "(base + scores[peak]) / 2", "base", "hills = "),
    ("15_footage", "free[max(0, first - margin):last + 1 + margin]", "free[first:last + 1]", "hills = "),
    # alarms
    ("17_alarms", "if score > self.level:", "if score >= self.level:", "events_at_once(s, level, gap)"),
    ("17_alarms", "frame - self.open.end > self.gap", "frame - self.open.end >= self.gap", "events_at_once(s, level, gap)"),
    ("17_alarms", "if score > self.open.score:", "if score < self.open.score:", "events_at_once(s, level, gap)"),
    ("17_alarms", "+ [merger.close()]", "", "events_at_once(s, level, gap)"),                                      # the end of the footage loses an event
    ("17_alarms", "k = math.ceil((n + 1) * (1 - alpha))", "k = math.ceil(n * (1 - alpha))", "# 31 blocks of 360 s"),  # a quantile, no promise
    ("17_alarms", "k = math.ceil((n + 1) * (1 - alpha))", "k = math.floor((n + 1) * (1 - alpha))", "# 31 blocks of 360 s"),
    ("17_alarms", "reshape(n, size).max(axis=1)", "reshape(n, size).mean(axis=1)", "# 31 blocks of 360 s"),
    ("17_alarms", "if k > n:", "if k > n + 1:", "# 31 blocks of 360 s"),
    ("17_alarms", "betaincinv(n + 1 - k, k,", "betaincinv(k, n + 1 - k,", "rates, inside = zip"),
    ("17_alarms", "runs(np.asarray(y) > 0)", "runs(np.asarray(y) >= 0)", "test_eq(match_events({}, {"),
    ("17_alarms", "matched + int(meets.any(axis=0).sum())", "matched + int(meets.sum())", "test_eq(match_events({}, {"),
    ("17_alarms", "not self.low <= median <= self.high", "not median <= self.high", "test_close(Drift([0, 1, 16], 1).chance"),
    ("17_alarms", "[shape[1] / size[1], shape[0] / size[0]] * 2", "[shape[0] / size[0], shape[1] / size[1]] * 2", "# 1.5 to 4.5, outward"),
    ("17_alarms", 'hits["events"] - hits["right"]', 'hits["events"]', "test_eq(alarm_report({}, scores"),
    ("17_alarms", "bdtrc(OUTSIDE - 1", "bdtrc(OUTSIDE", "test_close(Drift([0, 1, 16], 1).chance"),
    ("17_alarms", "if self.told or self.chance > CHANCE", "if self.chance > CHANCE", "test_close(Drift([0, 1, 16], 1).chance"),   # said again and again
    ("17_alarms", "return np.median(whole.reshape(-1, size), axis=1)", "return np.mean(whole.reshape(-1, size), axis=1)", "test_close(Drift([0, 1, 16], 1).chance"),
    ("17_alarms", "math.ceil(x2), math.ceil(y2)", "math.floor(x2), math.floor(y2)", "# 1.5 to 4.5, outward"),
    ("21_page", "np.maximum.reduceat(scores, edges[:-1])", "np.add.reduceat(scores, edges[:-1]) / np.diff(edges)", "test_eq(highest([1, 5, 2"),   # a mean hides the peaks
    ("21_page", "WIDTH * (e.end + 1 - e.start) / n", "WIDTH * (e.end - e.start) / n", "test_eq(highest([1, 5, 2"),
    ("21_page", "jinja2.Environment(autoescape=True)", "jinja2.Environment()", "class Tags(HTMLParser)"),
    ("21_page", 'folder/e["snapshot"]', 'folder/"events"/e["snapshot"]', "at most 1 in an hour"),
    # metrics
    # training
    ("06_training", "self.step > (1 - self.settings.average) * self.steps", "self.step > self.settings.average * self.steps", "# averaging nothing keeps the last"),
    ("06_training", "model = self.average.module if self.average.n_averaged else self.module.model", "model = self.module.model", "# averaging nothing keeps the last"),
    ("06_training", "update_bn((to_pixels(frames) for", "update_bn((1 - to_pixels(frames) for", "# averaging nothing keeps the last"),
    ("06_training", "return model.eval()", "return model.train()", "# averaging nothing keeps the last"),
    ("08_metrics", 'high, "left") + np', 'high, "right") + np', "# many ties"),                                  # a tie is a win
    ("08_metrics", "won(scores[labels == 1], scores[labels == 0])", "won(scores[labels == 0], scores[labels == 1])", "# many ties"),
    ("08_metrics", "(wins + odd + calm + 1)", "(wins + odd + calm)", "# rounded: many ties"),
    ("08_metrics", "((odd + 1) * (calm + 1))", "(odd * calm + 1)", "# rounded: many ties"),
    ("08_metrics", "for v in by_clip.values() if v is not None]", "or 0. for v in by_clip.values()]", "# rounded: many ties"),  # one class counts as 0
    ("08_metrics", "(s.max() or 1)", "(np.abs(s).mean() or 1)", 'minmax({"a": [1, 2, 5]'),
    ("08_metrics", "-np.abs(np.linspace(-1, 1", "np.abs(np.linspace(-1, 1", "third = np.repeat"),
    ("08_metrics", "later = {k: np.arange(len(y))", "later = {k: -np.arange(len(y))", "third = np.repeat"),
    ("08_metrics", "np.square(a - b).mean(axis=-1)", "np.square(a - b).sum(axis=-1)", "steps = Clip("),
    ("08_metrics", "(previous + following) / 2", "(previous + following)", "steps = Clip("),
    ("08_metrics", "following = now if after is None else after", "following = previous if after is None else after", "steps = Clip("),
    ("08_metrics", "table = table - won_by_clip(other, labels)[0]", "table = table + won_by_clip(other, labels)[0]", "lucky = "),
    ("08_metrics", "table = table - won_by_clip(other, labels)[0]", "table = table - won_by_clip(other, labels)[0][::-1]", "lucky = "),    # not paired
    ("08_metrics", "table, times, times)[pairs", "table, times, times[::-1])[pairs", "lucky = "),                   # two draws, not one
    ("08_metrics", "rng.multinomial(s, np.full(s, 1 / s), size=draws) / s", "np.full((draws, s), 1 / s)", "the second run wins 30 % less"),     # runs are not drawn
    ("08_metrics", "rng.multinomial(s, np.full(s, 1 / s), size=draws) / s", "rng.multinomial(s, np.full(s, 1 / s), size=draws)", "the second run wins 30 % less"),
    ("08_metrics", "np.mean(tables, axis=0).sum()", "np.sum(tables)", "the second run wins 30 % less"),
    ("08_metrics", "np.quantile(values, (.025, .975)) if", "np.quantile(values, (.05, .95)) if", "lucky = "),
    ("08_metrics", "(times @ odd) * (times @ calm)", "odd.sum() * (times @ calm)", "lucky = "),
    ("08_metrics", "np.arange(len(y[name])) <= last", "np.arange(len(y[name])) < last", "kind_scores = "),
    ("08_metrics", "(odd * (calm / pairs)).sum() / 2", "(odd * (calm / pairs)).sum()", "exact, got = "),
    ("08_metrics", "np.cumsum(calm) - calm", "np.cumsum(calm)", "exact, got = "),
    ("08_metrics", "hit = iou[1:, 1:] >= .1", "hit = iou[1:, 1:] >= .3", "# 4 of its 8 pixels"),
    ("08_metrics", "both.sum(1, keepdims=True) + both.sum(0) - both", "both.sum(1, keepdims=True) + both.sum(0)", "for trial in range(5)"),
    ("08_metrics", "np.interp(1, rates[:end]", "np.interp(2, rates[:end]", "# 4 of its 8 pixels"),              # not cut at one false positive
    ("08_metrics", "np.maximum.accumulate(rates)", "rates", "# 4 of its 8 pixels"),
    ("08_metrics", "link[1] = True", "pass", "for trial in range(5)"),                                            # four neighbours in a frame
    ("08_metrics", "m > levels[i]", "m >= levels[i]", "once = long"),
    ("08_metrics", "count >= .1 * sizes", "count > .1 * sizes", "once = long"),
    ("08_metrics", "false / frames", "false / len(masks)", "hard, boxes = "),                                       # a clip, not a frame
    # watch
    ("20_watch", '"://.*@"', '"://[^@]*@"', 'test_eq(without_password("rtsp://admin:secret'),                             # up to the first @
    ("20_watch", 're.split(r"[?#]", name)[0]', "name", 'test_eq(without_password("rtsp://admin:secret'),
    ("20_watch", "began + i / self.fps", "began + i * self.fps", "frames = list(Recorded("),
    ("20_watch", "queue.Queue(1), 0", "queue.Queue(100), 0", "newest = Newest()"),                                # a queue that makes late
    ("20_watch", "self.place.get_nowait(); self.replaced += 1", "self.place.get_nowait()", "newest = Newest()"),
    ("20_watch", 'if END_MARK[".jpg"] not in packet', "if packet.size == 0 and packet", "test_eq(decode(film[0]"),     # half a picture
    ("20_watch", "if not np.array_equal(few, self.last):", "if self.last is None:", "frozen = Frozen(1.)"),
    ("20_watch", "if self.said or frame.time", "if frame.time", "frozen = Frozen(1.)"),                           # said again and again
    ("20_watch", "f.truncate(end)", "pass", "import resource"),                                                   # half a line stays
    ("20_watch", "self.waiting.popleft()", "self.waiting.clear()", "import resource"),                            # those behind it are lost
    ("20_watch", 'f.truncate(content.rfind(b"\\n") + 1)', "pass", "assert journal.repaired"),
    ("20_watch", "i - (i > 10) < filled", "i < filled", "status = Status(0., .1"),
]


@functools.cache
def code_cells(notebook):
    "Sources of the code cells that can be run here: without the slow ones, and with the stand-in for the heavy one."
    cells = json.loads((NOTEBOOKS/f"{notebook}.ipynb").read_text())["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    sources = [s for s in sources if not s.startswith("#| slow")]
    heavy, light = STAND_INS.get(notebook, (None, None))
    assert heavy is None or sum(heavy in s for s in sources) == 1, f"{notebook}: {heavy!r} is not in exactly one cell"
    return [light if heavy and heavy in s else s for s in sources]

def only(sources, text, what):
    "The index of the one source that holds the text, once."
    assert sum(s.count(text) for s in sources) == 1, f"{what}: {text!r} occurs {sum(s.count(text) for s in sources)} times"
    return next(i for i, s in enumerate(sources) if text in s)

def symbols(source):
    "Names that the source uses, and names that it defines, of its own scope: not those of a function or a comprehension."
    used, defined, tables = set(), set(), [symtable.symtable(source, "cell", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for s in table.get_symbols():
            if table.get_type() != "module" and not s.is_global(): continue
            if s.is_referenced(): used.add(s.get_name())
            if s.is_assigned() or s.is_imported(): defined.add(s.get_name())
    return used, defined

@functools.cache
def needs(source):
    "Names that a cell expects to be there, and names that it defines."
    expected, defined = set(), set()
    for statement in ast.parse(source).body:
        used, new = symbols(ast.unparse(statement))
        expected |= used - defined
        defined |= new
    return expected, defined

@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    "The scenes that the notebooks film are the same for all mutants, and are not changed by any."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ddl_nb.plaza, "plaza", functools.cache(ddl_nb.plaza.plaza))
        yield

def needed(sources, last):
    "The indices of the cells that are run for the cell `last`: exported and hidden ones, and backwards those that define what it expects."
    chosen, wanted = [last], needs(sources[last])[0]
    for i in range(last - 1, -1, -1):
        expected, defined = needs(sources[i])
        if sources[i].startswith(("#| export", "#| hide")) or defined & wanted:
            chosen.append(i)
            wanted = (wanted - defined) | expected
    return chosen[::-1]

def execute(sources, last):
    "Runs the cell and what it needs in a namespace of its own; returns the cell's AssertionError, if any. Every other error is raised."
    space = {"__name__": "__main__"}
    with torch.random.fork_rng(), plt.rc_context():
        try:
            for i in needed(sources, last):
                try: exec(compile(sources[i], f"cell {i}", "exec"), space)
                except AssertionError as e:
                    if i == last: return e
                    raise RuntimeError(f"an earlier cell fails:\n{sources[i]}") from e
        finally: plt.close("all")

@functools.cache
def control(notebook, last):
    "The cell passes as it is."
    error = execute(code_cells(notebook), last)
    assert error is None, f"{notebook}: the unchanged notebook fails: {error}"

@pytest.mark.parametrize("notebook, original, changed, catcher", MUTANTS, ids=[f"{n[3:]}: {a} -> {b}"[:70].replace("\n", " ") for n, a, b, _ in MUTANTS])
def test_a_notebook_catches(notebook, original, changed, catcher, monkeypatch, capsys):
    monkeypatch.chdir(NOTEBOOKS)
    sources = code_cells(notebook)
    exported = [s if s.startswith("#| export") else "" for s in sources]
    at, last = only(exported, original, f"{notebook}, exported cells"), only(sources, catcher, notebook)
    control(notebook, last)
    mutated = [s.replace(original, changed) if i == at else s for i, s in enumerate(sources)]
    assert execute(mutated, last) is not None, f"{notebook}: nothing notices {original!r} -> {changed!r}"
