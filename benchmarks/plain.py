"""The plain yardstick: Conv3DSkipUNet as published, one window after another. Nothing here comes from the package; only the weights' names are shared.

Scoring decodes every frame T times, encodes it T times, computes all T outputs of each 3D convolution and keeps the middle one.
Training draws windows one by one, decodes their frames from JPEG and makes two forward passes, of the frames and of the pseudo anomaly.
"""
import cv2
import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, c_in, c_out, up, last=False, kernels=(3, 5, 7)):
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
    def __init__(self, channels, latent, window=3):
        super().__init__()
        self.window = window
        widths = [channels, latent // 8, latent // 4, latent // 2, latent]
        self.encoder, self.decoder = nn.Module(), nn.Module()
        for k in range(1, 5): setattr(self.encoder, f"conv_{k}", Block(widths[k - 1], widths[k], up=False))
        for k, (a, b) in enumerate([(latent, latent // 2), (latent, latent // 4), (latent // 2, latent // 8), (latent // 4, channels)], 1):
            setattr(self.decoder, f"conv_{k}", Block(a, b, up=True, last=k == 4))
        for k in range(1, 5): setattr(self, f"conv{k}", nn.Conv3d(widths[k], widths[k], (window, 3, 3), padding="same"))

    def forward(self, x):
        B, c, T, H, W = x.shape
        maps, y = [], x.transpose(1, 2).reshape(B * T, c, H, W)
        for k in range(1, 5):
            y = getattr(self.encoder, f"conv_{k}")(y)
            maps.append(y.reshape(B, T, *y.shape[1:]).transpose(1, 2))
        skips = [getattr(self, f"conv{k}")(m)[:, :, T // 2] for k, m in enumerate(maps, 1)]
        y = skips[3]
        for k in (1, 2, 3): y = torch.cat([getattr(self.decoder, f"conv_{k}")(y), skips[3 - k]], 1)
        return torch.sigmoid(self.decoder.conv_4(y))


def read(file, size, channels):
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    if channels == 3: image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA).reshape(*size, channels)


def window(files, t, T, size, channels):
    "The window around frame t, edge frames repeated: float (c, T, H, W) in [0, 1]."
    at = np.clip(np.arange(t - T // 2, t + T // 2 + 1), 0, len(files) - 1)
    frames = np.stack([read(files[i], size, channels) for i in at])
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 255


@torch.inference_mode()
def score(model, files, size, channels, batch):
    "Frame scores of one clip: the largest mean error of the patches of 16x16 pixels, every 8 pixels."
    scores = []
    for start in range(0, len(files), batch):
        X = torch.stack([window(files, t, model.window, size, channels) for t in range(start, min(start + batch, len(files)))])
        error = (X[:, :, model.window // 2] - model(X)).square().sum(1, keepdim=True).sqrt() / channels ** .5
        scores += torch.nn.functional.avg_pool2d(error, 16, 8).amax((1, 2, 3)).tolist()
    return np.array(scores)


def draw(clips, tracks, T, size, channels, rng):
    "One training window, drawn at random: frames (c, T, H, W), decoded now, and the mask (1, T, H, W) of one object that is in all of them."
    name = rng.choice(list(clips), p=np.array([len(f) for f in clips.values()]) / sum(len(f) for f in clips.values()))
    files = clips[name]
    t = rng.integers(T // 2, len(files) - T // 2)
    X, M = window(files, t, T, size, channels), torch.zeros(1, T, *size)
    H, W = cv2.imread(str(files[0])).shape[:2]
    here = [tracks.get((name, i), {}) for i in range(t - T // 2, t + T // 2 + 1)]
    if common := sorted(set.intersection(*map(set, here))):
        k = rng.choice(common)
        for m, boxes in zip(M[0], here):
            x1, y1, x2, y2 = boxes[k]
            m[int(y1 * size[0] / H):int(np.ceil(y2 * size[0] / H)), int(x1 * size[1] / W):int(np.ceil(x2 * size[1] / W))] = 1
    return X, M


def loss(model, X, M, A, sigma, lam=.01, eps=1e-6):
    "L_recon + lambda L_dist for windows X with masks M and noise A, as the published code reads it: two forward passes."
    middle, c = model.window // 2, X.shape[1]
    recon = (torch.linalg.vector_norm(X[:, :, middle] - model(X), dim=1) / c ** .5).mean()
    XA = (1 - M) * X + M * ((1 - sigma) * X + sigma * A)
    y, mask = model(XA), M[:, 0, middle]
    P = torch.linalg.vector_norm(X[:, :, middle] - y, dim=1) / c ** .5
    N = torch.linalg.vector_norm(XA[:, :, middle] - y, dim=1) / c ** .5
    pixels = mask.sum((1, 2))
    ratios = (mask * (P + eps) / (N + eps)).sum((1, 2)) / pixels.clamp(min=1)
    return recon + lam * ratios.sum() / (pixels > 0).sum().clamp(min=1)
