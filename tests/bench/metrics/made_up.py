"""Maps and masks of many kinds, made up from a seed: what a second bank may hold."""

import cv2
import numpy as np


def disc(height, width, rng, share=None):
    y, x = np.mgrid[:height, :width]
    radius = np.sqrt((share or rng.uniform(0.02, 0.4)) * height * width / np.pi)
    return (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2 < radius**2


def noise_map(forged, rng, lift):
    noise = cv2.GaussianBlur(rng.normal(size=forged.shape).astype(np.float32), (0, 0), 2) * 6
    return (1 / (1 + np.exp(-(noise + lift * forged - 1)))).astype(np.float32)


def bank(seed):
    """Name -> (map float32 (H, W) in 0..1, mask uint8)."""
    rng = np.random.default_rng(seed)
    found = {}
    for at, (height, width) in enumerate([(40, 57), (97, 64), (131, 90), (16, 200), (9, 9)]):
        forged = disc(height, width, rng)
        found[f"good {at}"] = noise_map(forged, rng, 4), np.uint8(255) * forged
        found[f"inverted {at}"] = 1 - noise_map(forged, rng, 3), np.uint8(255) * forged
    forged = disc(72, 110, rng, 0.2)
    mask = np.uint8(255) * forged
    fair = noise_map(forged, rng, 2)
    soft = cv2.GaussianBlur(mask, (0, 0), 3)
    soft[forged & (cv2.erode(mask, np.ones((5, 5))) == 255)] = 255
    found |= {
        "tied": (np.rint(fair * 6) / np.float32(6), mask),
        "tied at the cuts": (rng.choice(np.float32([0, 0.5, 127 / 255, 128 / 255, 1]), mask.shape), mask),
        "saturated": (np.clip(fair * 3 - 1, 0, 1).astype(np.float32), mask),
        "tiny scores": (fair * np.float32(1e-9), mask),
        "soft mask": (fair, soft),
        "mask of 0 and 1": (fair, forged.astype(np.uint8)),
        "empty map": (np.zeros_like(fair), mask),
        "full map": (np.ones_like(fair), mask),
        "half": (np.full_like(fair, 0.5), mask),
        "perfect": (forged.astype(np.float32), mask),
        "all forged": (fair, np.full_like(mask, 255)),
        "authentic": (fair, np.zeros_like(mask)),
        "authentic, empty map": (np.zeros_like(fair), np.zeros_like(mask)),
        "one pixel forged": (fair, np.uint8(255) * (np.arange(mask.size) == 500).reshape(mask.shape)),
        "one pixel pristine": (fair, np.uint8(255) * (np.arange(mask.size) != 500).reshape(mask.shape)),
        "smaller map": (cv2.resize(fair, (50, 33)), mask),
        "larger map": (cv2.resize(fair, (150, 100)), mask),
        "smaller map, soft mask": (cv2.resize(fair, (50, 33)), soft),
        "single pixel": (np.float32([[0.7]]), np.uint8([[255]])),
    }
    return found


def sources(seed, predicted, true, shape=(30, 41)):
    """Maps (C, H, W) of predicted sources and uint8 labels (H, W) of true ones."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for source in range(1, true):
        labels[disc(*shape, rng)] = source
    labels.flat[:true] = np.arange(true)
    maps = rng.random((predicted, *shape)).astype(np.float32) * 0.7
    for channel in range(predicted):
        maps[channel] += 0.5 * (labels == (channel + 1) % true)
    return maps / maps.sum(axis=0), labels
