"""A teacher for networks that see too few forgeries to find the traces by themselves.

Gradient boosting on local statistics of texture, compression and colour needs some thousand forgeries where a network
needs hundreds of thousands. Its log-odds, one for each block of 8 x 8 pixels, tell a network more than a mask does: how
suspicious a region looks, not whether it happened to be forged. Distillation of one model into another: Hinton et al.
2015, arXiv 1503.02531; of log-odds by squared error: Ba and Caruana, NIPS 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.training.progress import progress

BLOCK = 8  # pixels
LEAST_ENERGY = 0.05  # grey levels; below it, differences in energy say nothing
QUALITIES = (60, 75, 90)  # JPEG
BLOCKS_PER_SAMPLE = 220  # that the teacher learns from; neighbouring blocks say much the same
BOUNDS = (-6.0, 4.0)  # of its log-odds; differences beyond do not matter to a network
VARYING = ("diagonal", "fine", "coarse", "fine red", "jpeg 90")  # residuals with additional statistics
_SQUARE = np.ones((3, 3), np.uint8)
_DIAGONAL = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]], np.float32) / 4


def statistics(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Local statistics of a photo, one value per block of 8 x 8 pixels.

    Of each of ten residuals (`_residuals`) the log of the mean absolute value, relative to the photo's median: of
    the block itself, of 3 x 3 and 7 x 7 blocks, and of 3 x 3 relative to 21 x 21; of five of them also relative to the
    photo's spread, over 13 x 13 blocks, and how it varies nearby; two ratios of residuals; colour as it is, relative to
    the photo, to the surroundings and to the photo's margin; and the block's position in the photo.

    Args:
        rgb: uint8 (H, W, 3), at least 16 x 16. Incomplete blocks at the right and at the bottom are left out.

    Returns:
        Name -> float32 (H // 8, W // 8).
    """
    planes = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(np.float32))
    energies = {name: np.log(_block_means(np.abs(r)) + LEAST_ENERGY) for name, r in _residuals(rgb, planes).items()}
    found = {}
    for name, energy in energies.items():
        near, middle = _mean(energy, 3), np.median(energy)
        found[f"{name}: block"] = energy - middle
        found[f"{name}: near"] = near - middle
        found[f"{name}: region"] = _mean(energy, 7) - middle
        found[f"{name}: to surroundings"] = near - _mean(energy, 21)
        if name in VARYING:
            found[f"{name}: in spreads"] = (near - middle) / (energy.std() + 0.1)
            found[f"{name}: wide region"] = _mean(energy, 13) - middle
            found[f"{name}: deviation nearby"] = np.sqrt(np.maximum(_mean(energy**2, 5) - _mean(energy, 5) ** 2, 0))
            found[f"{name}: range nearby"] = cv2.dilate(energy, _SQUARE) - cv2.erode(energy, _SQUARE)
    for above, below in (("diagonal", "middle"), ("jpeg 90", "fine")):
        ratio = energies[above] - energies[below]
        middle = np.median(ratio)
        found[f"{above} to {below}: block"] = ratio - middle
        found[f"{above} to {below}: region"] = _mean(ratio, 5) - middle
    colours = dict(zip(("luma", "red", "blue"), map(_block_means, planes), strict=True))
    for name, plane in colours.items():
        found[f"{name}: block"] = plane - plane.mean()
        found[f"{name}: to surroundings"] = _mean(plane, 3) - _mean(plane, 21)
        found[f"{name}: region"] = _mean(plane, 5)
        found[f"{name}: in spreads"] = (plane - plane.mean()) / (plane.std() + 5)
    found |= _against_margin({name: _mean(plane, 3) for name, plane in colours.items()})
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in energy.shape), indexing="ij")
    found |= {"height": y, "off middle: vertical": np.abs(y), "off middle: horizontal": np.abs(x)}
    found |= {"off middle: larger": np.maximum(np.abs(x), np.abs(y)), "off middle: both": np.hypot(x, y)}
    return {name: value.astype(np.float32) for name, value in found.items()}


def _against_margin(colours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """How far the colour of a block is from the colours in the photo's margin, two blocks wide; and its ranks.

    Distances are to the margin's mean under its covariance, to the nearest block and to the eleventh nearest. Objects
    differ from the margin, and people paste objects.
    """
    planes = np.stack([*colours.values()])
    shape = planes.shape[1:]
    inside = np.zeros(shape, bool)
    inside[2:-2, 2:-2] = True
    margin, blocks = planes[:, ~inside], planes.reshape(len(planes), -1)
    off = blocks - margin.mean(axis=1, keepdims=True)
    spread = np.linalg.inv(np.cov(margin) + 9 * np.eye(len(planes)))  # 3 grey levels are no difference
    distances = np.sort(((blocks[:, :, None] - margin[:, None]) ** 2).sum(axis=0), axis=1)
    found = {f"{name}: rank": rankdata(plane) / plane.size for name, plane in colours.items()}
    found["to margin: in spreads"] = np.sqrt(np.einsum("in,ij,jn->n", off, spread, off))
    found["to margin: nearest"] = np.log1p(distances[:, 0])
    found["to margin: eleventh"] = np.log1p(distances[:, min(10, distances.shape[1] - 1)])
    return {name: value.reshape(shape) for name, value in found.items()}


def _residuals(rgb: np.ndarray, planes: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What remains of a photo without its content: frequency bands, and what JPEG would remove."""
    luma, red, blue = planes
    soft = {sigma: cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in (1, 2, 4)}
    found = {
        "diagonal": cv2.filter2D(luma, -1, _DIAGONAL),
        "fine": luma - soft[1],
        "middle": soft[1] - soft[2],
        "coarse": soft[2] - soft[4],
        "fine red": red - cv2.GaussianBlur(red, (0, 0), 1.5),
        "fine blue": blue - cv2.GaussianBlur(blue, (0, 0), 1.5),
        "median": luma - cv2.medianBlur(rgb, 3).astype(np.float32).mean(axis=2),
    }
    for quality in QUALITIES:
        coded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        again = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.float32)
        found[f"jpeg {quality}"] = np.abs(rgb - again).mean(axis=2)
    return found


def _block_means(plane: np.ndarray) -> np.ndarray:
    """(H, W) to the means of its blocks, (H // 8, W // 8)."""
    rows, columns = (n // BLOCK for n in plane.shape)
    whole = plane[: rows * BLOCK, : columns * BLOCK].astype(np.float32)
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def _mean(blocks: np.ndarray, side: int) -> np.ndarray:
    return cv2.blur(blocks, (side, side))


class Teacher:
    """Log-odds of forgery for each block of a photo, from `statistics`, by gradient-boosted trees."""

    def __init__(self, rounds: int = 300):
        """A teacher that knows nothing yet; rounds: number of trees."""
        self._trees = HistGradientBoostingClassifier(
            max_iter=rounds, learning_rate=0.08, max_leaf_nodes=31, l2_regularization=1.0, early_stopping=False,
            random_state=0,
        )  # fmt: skip

    def fit(self, samples: Any, workers: int = 0, worker_init: Callable[[int], None] | None = None) -> Teacher:
        """Learn from samples.

        Args:
            samples: as `forgeries.Forgeries` gives them.
            workers: processes that make them; 0: this one.
            worker_init: called in each of them.

        Raises:
            ValueError: all blocks are forged, or none is.
        """
        loader = DataLoader(
            _BlockStatistics(samples),
            batch_size=None,
            num_workers=workers,
            worker_init_fn=worker_init if workers else None,
        )
        seen = progress(loader, desc="teacher", unit="forgery")
        # Copied: what a worker sends holds two open files as long as it is kept, and systems allow as few as 1,024.
        with seen:
            values, forged = zip(*((v.numpy().copy(), f.numpy().copy()) for v, f in seen), strict=True)
        truth = np.concatenate(forged)
        if truth.all() or not truth.any():
            raise ValueError(f"{len(samples)} forgeries hold {'only' if truth.any() else 'no'} forged blocks")
        self._trees.fit(np.concatenate(values), truth)
        return self

    def log_odds(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) to float32 (H // 8, W // 8), positive = forged, within BOUNDS."""
        found = np.stack([*statistics(rgb).values()])
        with threadpool_limits(1):  # it is called in workers, of which there is one per core
            odds = self._trees.decision_function(found.reshape(len(found), -1).T)
        return odds.reshape(found.shape[1:]).clip(*BOUNDS).astype(np.float32)


class _BlockStatistics(Dataset):
    """For each sample the statistics of some of its blocks, (n, .), and whether each is mostly forged, (n,)."""

    def __init__(self, samples: Any):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        sample = self.samples[index]
        found = np.stack([*statistics(_photo(sample)).values()])
        forged = _block_means(sample["mask"].numpy()).ravel() > 0.5
        some = np.random.default_rng(index).permutation(forged.size)[:BLOCKS_PER_SAMPLE]
        return torch.from_numpy(found.reshape(len(found), -1).T[some]), torch.from_numpy(forged[some])


class DistillationDataset(Dataset):
    """Samples with the teacher's log-odds for them: "soft_target", float32 (crop // 8, crop // 8)."""

    def __init__(self, samples: Any, teacher: Teacher):
        self.samples, self.teacher = samples, teacher

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.samples[index]
        return {**sample, "soft_target": torch.from_numpy(self.teacher.log_odds(_photo(sample)))}


def _photo(sample: dict[str, Tensor]) -> np.ndarray:
    return np.ascontiguousarray(sample["image"].permute(1, 2, 0).numpy())
