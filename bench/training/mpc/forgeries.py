"""Training samples: forgeries made on the fly from a folder of photos, and the augmentation of MPC's training.

Sample `index` of a stream is a function of (seed, index) alone, so any worker can make it and a resumed training sees
what an uninterrupted one would. `bench.data.forge` does the forging; here is decided what is forged and how it is
presented to the network.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from bench.data import forge
from models.image import ImageError, read_image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
KINDS = {"splice": 0.6, "copymove": 0.28, "removal": 0.12}
OBJECT_SHARE = 0.75  # of the forged regions are objects in the photo
SEGMENT_SHARE = 0.6  # of the objects are segments, where there are some; the others stand out in the photo's middle
EDGE_SHARE = 0.12  # of the forged regions are areas between edges; the rest are plain shapes
AREA = (0.005, 0.5)  # share of the photo that is forged
WORKING_SIDE = 768  # larger photos are shrunk to this longest side before they are forged: the network sees 512
TRIES = 5  # at a forgery whose share of the photo lies within AREA; the last one is taken as it is
LEAST_SIDE = 32  # pixels; smaller photos cannot be forged


class PhotoError(ValueError):
    """A folder of photos that cannot be trained on; the message names it and the fix."""


@dataclass(frozen=True)
class Photos:
    """Photos to forge, in the order of their names.

    Attributes:
        files: the photos.
        segments: label image of each photo, where there is one.
        defects: (file, problem) of the files that were left out.
    """

    files: tuple[Path, ...]
    segments: tuple[Path | None, ...]
    defects: tuple[tuple[Path, str], ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def split(self, share: float) -> tuple[Photos, Photos]:
        """(training, validation): about `share` of the photos validate, at least one, and at least one trains.

        The side is chosen by a hash of the file name, so a photo stays on its side when others are added.
        """
        order = sorted(range(len(self)), key=lambda i: hashlib.sha256(self.files[i].name.encode()).digest())
        count = min(max(1, round(share * len(self))), len(self) - 1)
        validation = set(order[:count])
        return self._some([i for i in range(len(self)) if i not in validation]), self._some(sorted(validation))

    def _some(self, indices: list[int]) -> Photos:
        return Photos(tuple(self.files[i] for i in indices), tuple(self.segments[i] for i in indices))


def find_photos(folder: str | os.PathLike) -> Photos:
    """Every photo below `folder`, each decoded once to find the unreadable ones, which are listed as defects.

    A photo `X/images/NAME.jpg` with a label image `X/segments/NAME.png` (one integer label per pixel, of the photo's
    size) has a segmentation; files in folders called `segments` are not photos.

    Raises:
        PhotoError: the folder is missing or has fewer than two usable photos.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PhotoError(f"{folder}: no such folder; --photos wants a folder of JPEG, PNG or TIFF photos")
    candidates = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and "segments" not in file.relative_to(folder).parts[:-1]
    )
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        problems = list(pool.map(_problem, candidates))
    good = [file for file, problem in zip(candidates, problems, strict=True) if problem is None]
    defects = tuple((f, p) for f, p in zip(candidates, problems, strict=True) if p is not None)
    if len(good) < 2:
        listed = "".join(f"\n  {file}: {problem}" for file, problem in defects[:10])
        raise PhotoError(
            f"{folder}: {len(good)} usable photo{'' if len(good) == 1 else 's'} of {len(candidates)} found below it; "
            f"a forgery takes at least two photos{listed}"
        )
    labels = [file.parent.parent / "segments" / f"{file.stem}.png" for file in good]
    return Photos(tuple(good), tuple(label if label.is_file() else None for label in labels), defects)


@dataclass(frozen=True)
class Presentation:
    """How a forged photo is presented to the network.

    Attributes:
        frame: the photo is resized to frame x frame pixels first, aspect ratio not kept, as MPC does it.
        native: share of the samples that keep their native resolution instead.
        least: half of the resized samples have a side drawn evenly from least to frame instead.
        crop: side of the square that is cut out; with crop = frame = least and native = 0: the whole photo.
        augment: probability of MPC's augmentation (`augmented`).
        parts: share of the samples that are cropped photos (`cropped`), so that the position in the picture says less
            about whether something was forged.
    """

    frame: int = 512
    native: float = 0.25
    least: int = 256
    crop: int = 160
    augment: float = 0.75
    parts: float = 0.0


class Forgeries(Dataset):
    """A stream of samples: {"image": uint8 (3, crop, crop) RGB, "mask": bool (crop, crop), True = forged}."""

    def __init__(self, photos: Photos, presentation: Presentation, seed: tuple[int, ...], length: int):
        """The first `length` samples of the stream that `seed` (recipe's seed, `streams.Stream`) names."""
        self.photos, self.presentation, self.seed, self.length = photos, presentation, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")
        cv2.setNumThreads(1)
        rng = np.random.default_rng([*self.seed, index])
        return as_tensors(*present(*forged_photo(self.photos, rng), self.presentation, rng))


def as_tensors(rgb: np.ndarray, mask: np.ndarray) -> dict[str, torch.Tensor]:
    """A sample of a training stream from an image (H, W, 3) and its mask (H, W)."""
    return {
        "image": torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))),
        "mask": torch.from_numpy(np.ascontiguousarray(mask)),
    }


def forged_photo(
    photos: Photos, rng: np.random.Generator, host_index: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One forgery at the host photo's resolution: uint8 (H, W, 3) RGB and bool (H, W), True = forged.

    A splice (object or shape of another photo, colour matched or not, edge soft or hard), a copy-move (turned, scaled,
    sheared, mirrored, moved) or a removal, of a share of the photo within AREA. Host and donor went through different
    camera histories; the result is mostly compressed again as a whole.

    Args:
        photos: hosts and donors.
        rng: decides everything.
        host_index: the photo that is forged; None draws one.
    """
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    host_index = int(rng.integers(len(photos))) if host_index is None else host_index
    host, segments = _photo(photos, host_index, rng)
    host = _history(host, rng, rng.uniform(0.7, 1.25))
    segments = None if segments is None else _resized_labels(segments, host.shape[:2])
    for _ in range(TRIES):
        area = float(np.exp(rng.uniform(*np.log(AREA))))
        feather = int(rng.choice([0, 0, 1, 2]))
        if kind == "splice":
            rgb, truth = _splice(photos, host_index, host, area, feather, rng)
        elif kind == "copymove":
            rgb, truth = _copy_move(host, segments, area, feather, rng)
        else:
            mask = _region(host, segments, rng, min(area, 0.2))
            method = "exemplar" if rng.random() < 0.5 and mask.mean() < 0.1 else rng.choice(["telea", "ns"])
            rgb, truth = forge.remove(host, mask, method=str(method), rng=rng, radius=int(rng.integers(2, 6)))
        if AREA[0] <= truth.mean() <= AREA[1]:
            break
    if rng.random() < 0.6:
        rgb = forge.compress(rgb, int(rng.integers(60, 99)), subsampling=str(rng.choice(["4:2:0", "4:4:4"])))
    return rgb, truth


def present(
    rgb: np.ndarray, mask: np.ndarray, how: Presentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A forged photo as the network sees it in training: cropped, augmented, resized, and a square of it cut out."""
    if how.parts and rng.random() < how.parts:  # at 0 nothing is drawn: older recipes still see the same samples
        rgb, mask = cropped(rgb, mask, rng)
    if rng.random() < how.augment:
        rgb, mask = augmented(rgb, mask, rng)
    if rng.random() >= how.native:
        side = how.frame if rng.random() < 0.5 else int(rng.integers(how.least, how.frame + 1))
        rgb = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_LINEAR)
        mask = _resized_labels(mask, (side, side))
    return _crop(rgb, mask, how.crop, rng)


def cropped(rgb: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A window of half to all of the photo's height and width, at least LEAST_SIDE, anywhere in it.

    In a forged photo, the forged share of the window lies within AREA; if no such window is found in TRIES, the photo
    stays whole.
    """
    for _ in range(TRIES):
        sides = [max(min(n, LEAST_SIDE), round(n * rng.uniform(0.5, 1.0))) for n in mask.shape]
        top, left = (int(rng.integers(n - side + 1)) for n, side in zip(mask.shape, sides, strict=True))
        window = (slice(top, top + sides[0]), slice(left, left + sides[1]))
        if not mask.any() or AREA[0] <= mask[window].mean() <= AREA[1]:
            return rgb[window], mask[window]
    return rgb, mask


def augmented(rgb: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The augmentation of MPC's released training script, in its order and with its probabilities and ranges.

    Rescaling to .5-1 (.75), a flip, transposition or quarter turn (.75), JPEG of quality 50-95 (.75), and with .25 one
    of: a blur (box, Gaussian, median, motion), a change of grain or tone (down- and upscaling, Gaussian or ISO noise,
    brightness and contrast, gamma, tone curve, sharpening), a distortion (elastic, grid). Its padding to 512 pixels is
    left out: mirrored content is a copy-move that the ground truth would not show.
    """
    if rng.random() < 0.75:
        rgb = forge.resample(rgb, rng.uniform(0.5, 1.0))
        mask = _resized_labels(mask, rgb.shape[:2])
    if rng.random() < 0.75:
        flip = int(rng.integers(4))
        if flip == 0:
            rgb, mask = rgb[:, ::-1], mask[:, ::-1]
        elif flip == 1:
            rgb, mask = rgb[::-1], mask[::-1]
        elif flip == 2:
            turns = int(rng.integers(4))
            rgb, mask = np.rot90(rgb, turns), np.rot90(mask, turns)
        else:
            rgb, mask = rgb.transpose(1, 0, 2), mask.T
        rgb, mask = np.ascontiguousarray(rgb), np.ascontiguousarray(mask)
    if rng.random() < 0.75:
        rgb = forge.compress(rgb, int(rng.integers(50, 96)))
    if rng.random() < 0.25:
        group = int(rng.integers(3))
        if group == 0:
            rgb = _blurred(rgb, rng)
        elif group == 1:
            rgb = _regraded(rgb, rng)
        else:
            rgb, mask = _distorted(rgb, mask, rng)
    return rgb, mask


# ------------------------------------------------------------------------------------------ reading and histories


def _problem(file: Path) -> str | None:
    """What is wrong with a photo, or None."""
    try:
        shape = read_image(file).shape
    except ImageError as error:
        return str(error).removeprefix(f"{file}: ")
    return f"only {shape[1]}x{shape[0]} pixels" if min(shape) < LEAST_SIDE else None


def _photo(photos: Photos, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """A photo at working size, mirrored half of the time, and its label image of the same size or None."""
    rgb = read_image(photos.files[index]).rgb
    if max(rgb.shape[:2]) > WORKING_SIDE:
        rgb = forge.resample(rgb, WORKING_SIDE / max(rgb.shape[:2]))
    segments = None
    if photos.segments[index] is not None:
        labels = cv2.imread(str(photos.segments[index]), cv2.IMREAD_ANYDEPTH)
        if labels is None:
            raise ImageError(f"{photos.segments[index]}: not a readable label image; remove it")
        segments = _resized_labels(labels, rgb.shape[:2])
    if rng.random() < 0.5:
        rgb = np.ascontiguousarray(rgb[:, ::-1])
        segments = None if segments is None else np.ascontiguousarray(segments[:, ::-1])
    return rgb, segments


def _history(rgb: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """A random camera history; a fifth of the photos are only resampled."""
    if min(rgb.shape[:2]) * scale < LEAST_SIDE:
        scale = 1.0
    if rng.random() < 0.2:
        return forge.resample(rgb, scale)
    return forge.camera_history(
        rgb,
        rng,
        scale=scale,
        noise_std=float(rng.choice([0.0, 0.0, rng.uniform(0.5, 8.0)])),
        demosaic=rng.random() < 0.3,
        quality=int(rng.integers(50, 100)) if rng.random() < 0.6 else None,
        grid=(int(rng.integers(8)), int(rng.integers(8))),
        subsampling=str(rng.choice(["4:2:0", "4:4:4"])),
    )


def _resized_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if labels.shape == tuple(shape):
        return labels
    plain = labels.astype(np.uint8) if labels.dtype == bool else labels
    return cv2.resize(plain, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST).astype(labels.dtype)


# ------------------------------------------------------------------------------------------------------- forgeries


def _region(rgb: np.ndarray, segments: np.ndarray | None, rng: np.random.Generator, area: float) -> np.ndarray:
    """What is cut out, bool (H, W).

    Mostly an object, as forgers do it (of the photo's segmentation, or what stands out in its middle), otherwise an
    area between edges, or a plain shape.
    """
    height, width = rgb.shape[:2]
    draw = rng.random()
    if draw < OBJECT_SHARE:
        mask = _object(segments, rng, area) if segments is not None and rng.random() < SEGMENT_SHARE else None
        mask = forge.object_mask(rgb, rng) if mask is None and min(height, width) >= 64 else mask
        if mask is not None and AREA[0] <= mask.mean() <= AREA[1]:
            return mask
    if draw < OBJECT_SHARE + EDGE_SHARE and min(height, width) >= 64:
        mask = forge.segment_mask(rgb, rng, area)
        if AREA[0] <= mask.mean() <= AREA[1]:
            return mask
    return forge.random_shape_mask(rng, height, width, area)


def _object(segments: np.ndarray, rng: np.random.Generator, area: float) -> np.ndarray | None:
    """The segment whose size is nearest to `area`, of a few drawn at random; None where none has a sensible size.

    Drawn are those that do not touch the photo's border, where there are some: forgers move things, not the sky.
    """
    labels, counts = np.unique(segments, return_counts=True)
    fits = [i for i in range(len(labels)) if AREA[0] <= counts[i] / segments.size <= AREA[1]]
    if not fits:
        return None
    border = np.concatenate([segments[[0, -1]].ravel(), segments[:, [0, -1]].ravel()])
    fits = [i for i in fits if labels[i] not in border] or fits
    drawn = rng.choice(fits, size=min(3, len(fits)), replace=False)
    best = min(drawn, key=lambda i: abs(np.log(counts[i] / segments.size / area)))
    mask = (segments == labels[best]).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return mask.astype(bool) if mask.any() else None


def _splice(
    photos: Photos, host_index: int, host: np.ndarray, area: float, feather: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    index = int(rng.integers(len(photos)))
    index = (index + 1) % len(photos) if index == host_index else index  # another photo, where there is one
    donor, segments = _photo(photos, index, rng)
    mask = _region(donor, segments, rng, area)
    # The part is scaled so that it covers about `area` of the host, within what a forger would do.
    wanted = np.sqrt(area * host.shape[0] * host.shape[1] / mask.sum())
    donor = _history(donor, rng, float(np.clip(wanted * rng.uniform(0.8, 1.25), 0.4, 1.8)))
    if rng.random() < 0.25:
        donor = _regraded(donor, rng)
    mask = _resized_labels(mask, donor.shape[:2])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:  # shrunk away
        return host, np.zeros(host.shape[:2], bool)
    down, right = (
        int(rng.integers(min(0, room), max(0, room) + 1)) - int(part[0])
        for part, room in ((rows, host.shape[0] - np.ptp(rows) - 1), (columns, host.shape[1] - np.ptp(columns) - 1))
    )
    colour = 0.0 if rng.random() < 0.6 else rng.uniform(0.3, 1.0)
    return forge.splice(host, donor, mask, shift=(down, right), match_colour=colour, feather=feather)


def _copy_move(
    host: np.ndarray, segments: np.ndarray | None, area: float, feather: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    mask = _region(host, segments, rng, min(area, 0.2))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    down, right = (
        int(rng.integers(-part[0], max(n - part[-1], 1 - part[0])))
        for part, n in ((rows, host.shape[0]), (columns, host.shape[1]))
    )
    plain, sheared = rng.random() < 0.3, rng.random() < 0.3
    rgb, target, _ = forge.copy_move(
        host,
        mask,
        angle=0.0 if plain else rng.uniform(-45, 45),
        scale=1.0 if plain else rng.uniform(0.7, 1.4),
        shear=rng.uniform(-0.4, 0.4) if sheared and not plain else 0.0,
        mirror=not plain and rng.random() < 0.3,
        shift=(down, right),
        feather=feather,
    )
    return rgb, target


# --------------------------------------------------------------------------------------------------- presentation


def _crop(rgb: np.ndarray, mask: np.ndarray, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A side x side window: of eight drawn at random, the one that shows the edge of the forged region best.

    Best = the forged share nearest to a share drawn from 8 % to 55 %. A smaller photo is enlarged first.
    """
    if min(mask.shape) < side:
        factor = side / min(mask.shape)
        size = tuple(max(side, round(n * factor)) for n in mask.shape)
        rgb = cv2.resize(rgb, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        mask = _resized_labels(mask, size)
    rows = rng.integers(0, mask.shape[0] - side + 1, 8)
    columns = rng.integers(0, mask.shape[1] - side + 1, 8)
    wanted = rng.uniform(0.08, 0.55)
    shares = [mask[r : r + side, c : c + side].mean() for r, c in zip(rows, columns, strict=True)]
    best = int(np.argmin(np.abs(np.array(shares) - wanted)))
    window = (slice(rows[best], rows[best] + side), slice(columns[best], columns[best] + side))
    return rgb[window], mask[window]


def _blurred(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = int(rng.choice([3, 5, 7]))
    kind = int(rng.integers(4))
    if kind == 0:
        return cv2.blur(rgb, (size, size))
    if kind == 1:
        return cv2.GaussianBlur(rgb, (size, size), 0)
    if kind == 2:
        return cv2.medianBlur(rgb, size)
    line = np.zeros((size, size), np.uint8)
    ends = rng.integers(0, size, (2, 2))
    cv2.line(line, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1)
    return cv2.filter2D(rgb, -1, line.astype(np.float32) / line.sum())


def _regraded(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One change of grain or tone."""
    kind = int(rng.integers(7))
    height, width = rgb.shape[:2]
    if kind == 0:  # down to a quarter and back
        small = cv2.resize(rgb, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_NEAREST)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    if kind == 1:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(np.sqrt(rng.uniform(10, 50)))
        return np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if kind == 2:
        return forge.sensor_noise(rgb, rng, rng.uniform(2, 8))
    if kind == 3:
        gain, offset = rng.uniform(0.8, 1.2), 255 * rng.uniform(-0.2, 0.2)
        return np.clip(rgb * np.float32(gain) + np.float32(offset), 0, 255).astype(np.uint8)
    level = np.linspace(0, 1, 256)
    if kind == 4:
        curve = level ** rng.uniform(0.8, 1.2)
    elif kind == 5:  # cubic Bezier through (0, 0), (1, 1) with two random handles
        low, high = np.clip(rng.normal([0.25, 0.75], 0.1), 0, 1)
        curve = 3 * (1 - level) ** 2 * level * low + 3 * (1 - level) * level**2 * high + level**3
    else:
        soft = cv2.GaussianBlur(rgb, (3, 3), 0)
        strength = rng.uniform(0.5, 2.0)
        return cv2.addWeighted(rgb, 1 + strength, soft, -strength, 0)
    return cv2.LUT(rgb, np.rint(255 * curve).astype(np.uint8))


def _distorted(rgb: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Elastic distortion (displacements of 120 times a noise smoothed with sigma 6) or one of a coarse grid."""
    height, width = mask.shape
    if rng.random() < 0.5:
        field = rng.uniform(-1, 1, (2, height, width)).astype(np.float32)
        shift_x, shift_y = (cv2.GaussianBlur(part, (0, 0), 6) * 120 for part in field)
    else:
        coarse = rng.uniform(-0.3, 0.3, (2, 6, 6)).astype(np.float32) * min(height, width) / 5
        shift_x, shift_y = (cv2.resize(part, (width, height)) for part in coarse)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    at = (x + shift_x, y + shift_y)
    warped = cv2.remap(rgb, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    truth = cv2.remap(mask.astype(np.uint8), *at, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return warped, truth.astype(bool)
