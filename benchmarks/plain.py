"""The plain yardstick: Conv3DSkipUNet as published (there with kernels 3, 5, 7), one window after
another. Nothing here comes from the package; only the weights' names are shared.

Scoring decodes every frame T times, encodes it T times, computes all T outputs of each 3D
convolution and keeps the middle one. Training draws windows one by one, decodes their frames from
JPEG and makes two forward passes, of the frames and of the pseudo anomaly.
"""
import cv2
import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, c_in, c_out, kernels, up, last=False):
        super().__init__()
        width = 4 * c_out if up else c_out
        self.convs = nn.ModuleList([nn.Conv2d(c_in, width, k, padding="same") for k in kernels])
        self.batch_norm_1 = nn.BatchNorm2d(len(kernels) * width)
        self.shuffle = nn.PixelShuffle(2) if up else nn.PixelUnshuffle(2)
        self.conv_last = nn.Conv2d(len(kernels) * (c_out if up else 4 * c_out), c_out, 1)
        self.batch_norm_2 = nn.Identity() if last else nn.BatchNorm2d(c_out)
        self.act = nn.Identity() if last else nn.ReLU()

    def forward(self, x):
        x = torch.relu(self.batch_norm_1(torch.cat([conv(x) for conv in self.convs], 1)))
        return self.act(self.batch_norm_2(self.conv_last(self.shuffle(x))))


class Conv3DSkipUNet(nn.Module):
    "(B, c, T, H, W), H and W divisible by 16 -> the middle frame (B, c, H, W)."
    def __init__(self, channels, latent, window=3, kernels=(3, 3)):
        super().__init__()
        self.window = window
        widths = [channels, latent // 8, latent // 4, latent // 2, latent]
        self.encoder, self.decoder = nn.Module(), nn.Module()
        ups = [(latent, latent // 2), (latent, latent // 4), (latent // 2, latent // 8),
               (latent // 4, channels)]
        for k, (a, b) in enumerate(zip(widths, widths[1:]), 1):
            setattr(self.encoder, f"conv_{k}", Block(a, b, kernels, up=False))
        for k, (a, b) in enumerate(ups, 1):
            setattr(self.decoder, f"conv_{k}", Block(a, b, kernels, up=True, last=k == 4))
        for k, width in enumerate(widths[1:], 1):
            conv = nn.Conv3d(width, width, (window, 3, 3), padding="same")
            setattr(self, f"conv{k}", conv)

    def forward(self, x):
        B, c, T, H, W = x.shape
        y = x.transpose(1, 2).reshape(B * T, c, H, W)
        maps = []
        for k in range(1, 5):
            y = getattr(self.encoder, f"conv_{k}")(y)
            maps.append(y.reshape(B, T, *y.shape[1:]).transpose(1, 2))
        skips = [getattr(self, f"conv{k}")(m)[:, :, T // 2] for k, m in enumerate(maps, 1)]
        y = skips[3]
        for k in (1, 2, 3):
            y = torch.cat([getattr(self.decoder, f"conv_{k}")(y), skips[3 - k]], 1)
        return torch.sigmoid(self.decoder.conv_4(y))


def read(file, size, channels):
    height, width = size
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    if channels == 3: image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return image.reshape(height, width, channels)


def window(files, t, T, size, channels):
    "The window around frame t, edge frames repeated: float (c, T, H, W) in [0, 1]."
    at = np.clip(np.arange(t - T // 2, t + T // 2 + 1), 0, len(files) - 1)
    frames = np.stack([read(files[i], size, channels) for i in at])
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 255


@torch.inference_mode()
def score(model, files, size, channels, batch):
    """Frame scores of one clip: the largest mean error of the patches of 16x16 pixels,
    every 8 pixels."""
    scores, T = [], model.window
    for start in range(0, len(files), batch):
        targets = range(start, min(start + batch, len(files)))
        X = torch.stack([window(files, t, T, size, channels) for t in targets])
        difference = X[:, :, T // 2] - model(X)
        error = difference.square().sum(1, keepdim=True).sqrt() / channels ** .5
        scores += torch.nn.functional.avg_pool2d(error, 16, 8).amax((1, 2, 3)).tolist()
    return np.array(scores)


def draw(clips, tracks, T, size, channels, rng):
    """One training window, drawn at random: frames (c, T, H, W), decoded now, and the mask
    (1, T, H, W) of one object that is in all of them."""
    lengths = np.array([len(f) for f in clips.values()])
    name = rng.choice(list(clips), p=lengths / lengths.sum())
    files = clips[name]
    t = rng.integers(T // 2, len(files) - T // 2)
    X, M = window(files, t, T, size, channels), torch.zeros(1, T, *size)
    source_size = cv2.imread(str(files[0])).shape[:2]
    here = [tracks.get((name, i), {}) for i in range(t - T // 2, t + T // 2 + 1)]
    common = sorted(set.intersection(*map(set, here)))
    if common:
        k = rng.choice(common)
        for m, boxes in zip(M[0], here): fill(m, boxes[k], source_size)
    return X, M


def fill(mask, box, source_size):
    "Set a box of the source, rounded outward, to 1 in a mask of another size."
    (h, w), (H, W) = mask.shape, source_size
    x1, y1, x2, y2 = box
    rows = slice(int(y1 * h / H), int(np.ceil(y2 * h / H)))
    columns = slice(int(x1 * w / W), int(np.ceil(x2 * w / W)))
    mask[rows, columns] = 1


def draw_batch(n, *args):
    "n windows, stacked."
    X, M = zip(*[draw(*args) for _ in range(n)])
    return torch.stack(X), torch.stack(M)


def loss(model, X, M, A, sigma, lam=.01, eps=1e-6):
    """L_recon + lambda L_dist for windows X with masks M and noise A, as the published code reads
    it: two forward passes."""
    middle, c = model.window // 2, X.shape[1]
    def distance(a, b): return torch.linalg.vector_norm(a - b, dim=1) / c ** .5

    recon = distance(X[:, :, middle], model(X)).mean()
    XA = (1 - M) * X + M * ((1 - sigma) * X + sigma * A)
    y, mask = model(XA), M[:, 0, middle]
    P = distance(X[:, :, middle], y)
    N = distance(XA[:, :, middle], y)
    pixels = mask.sum((1, 2))
    ratios = (mask * (P + eps) / (N + eps)).sum((1, 2)) / pixels.clamp(min=1)
    return recon + lam * ratios.sum() / (pixels > 0).sum().clamp(min=1)
