"""Noisesniffer: regions with too many or too few of the photo's least noisy blocks, by an a-contrario test.

M. Gardella, P. Musé, J.-M. Morel and M. Colom, "Noisesniffer: a Fully Automatic Image Forgery Detector Based on
Noise Analysis", IEEE International Workshop on Biometrics and Forensics, 2021.

Trace: among homogeneous blocks of equal brightness the least noisy ones are spread over an untouched photo as the
homogeneous ones are; a region with less noise than the rest holds too many of them.

Works for smoothed, denoised or compressed regions and donors with less noise, in photos of a megapixel and more.
Cannot work for regions noisier than the photo (they do not gather the least noisy blocks), in photos without
homogeneous places, after strong compression, which leaves blocks without any noise, and in small photos, where a
macroblock holds too few blocks.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.stats import binom

from models import Localizer, register
from models.classical.blocks import require_size, to_pixels
from models.image import ForensicImage, ScoreMap

BLOCK = 5
LOW_FREQUENCIES = 5  # DCT coefficients (i, j) of a block with 0 < i + j < 5 measure its texture
SMALLEST_MACROBLOCK = 32


@register(
    "noisesniffer",
    title="Noisesniffer",
    paper="Gardella et al., Noisesniffer: a fully automatic image forgery detector based on noise analysis, IWBF 2021",
    year=2021,
    summary="Places where the photo's least noisy homogeneous blocks gather more than chance allows.",
    groups=("classical",),
)
class Noisesniffer(Localizer):
    """Minus the decimal logarithm of the number of false alarms of each macroblock.

    Overlapping 5x5 blocks of each channel are sorted into bins of equal brightness; of each bin the share with the
    least low-frequency energy is taken as homogeneous, and of these the share with the smallest standard deviation as
    least noisy. In a macroblock of N homogeneous blocks, the number of least noisy ones is binomial unless the region
    is foreign; overlapping blocks are not independent, so 25 count as one.

    bin_blocks: blocks a brightness bin (20000).
    homogeneous: share of a bin that is taken as homogeneous (.05).
    least_noisy: share of the homogeneous blocks that is taken as least noisy (.3).
    macroblock: side of the macroblocks in pixels (256 in the paper, whose photos have several megapixels); at most a
        quarter of the photo's shorter side.
    overlap: macroblocks start every macroblock / overlap pixels (1 in the paper; the score of a pixel is
        interpolated between the centres).

    Scores, as logits: above 0 with fewer than one false alarm expected in the photo, which is the method's decision.

    Compared with the authors' program of 2021 (macroblock=256, overlap=1) on six photos of .26 to 2.2 MP: blocks
    counted per macroblock within 1 % (it breaks ties in another order), logarithms of the false alarms correlate by
    .990 to 1.000, all 94 decisions equal.
    """

    def __init__(
        self,
        bin_blocks: int = 20_000,
        homogeneous: float = 0.05,
        least_noisy: float = 0.3,
        macroblock: int = 256,
        overlap: int = 4,
    ):
        if bin_blocks < 100 or not 0 < homogeneous <= 1 or not 0 < least_noisy < 1:
            raise ValueError(
                f"noisesniffer: needs bin_blocks >= 100, shares in 0..1, got {bin_blocks}, {homogeneous}, {least_noisy}"
            )
        if overlap < 1 or macroblock < SMALLEST_MACROBLOCK or macroblock % overlap:
            raise ValueError(
                f"noisesniffer: macroblock is at least {SMALLEST_MACROBLOCK} and a multiple of overlap, got "
                f"{macroblock} and {overlap}"
            )
        self.bin_blocks = bin_blocks
        self.homogeneous = homogeneous
        self.least_noisy = least_noisy
        self.macroblock = macroblock
        self.overlap = overlap

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size. Raises NotApplicable for images below 64 pixels a side."""
        require_size(image, 2 * SMALLEST_MACROBLOCK, 2 * SMALLEST_MACROBLOCK)
        stride = max(SMALLEST_MACROBLOCK, min(self.macroblock, min(image.shape) // 4)) // self.overlap
        taken, least = self.blocks(image.rgb)
        taken, least = (window_counts(at, image.shape, stride, self.overlap) for at in (taken, least))
        score = -log_false_alarms(taken, least, self.least_noisy)
        first = stride * (self.overlap - 1) // 2
        return ScoreMap(to_pixels(score, image.shape, stride, (first, first)), kind="logit")

    def blocks(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions int (n, 2) of the homogeneous blocks and of the least noisy ones, all channels together."""
        valid = unsaturated_blocks(rgb)
        positions = np.flatnonzero(valid)
        bins = max(1, round(len(positions) / self.bin_blocks))
        size = max(1, len(positions) // bins)
        starts = np.arange(bins) * size
        homogeneous = int(self.bin_blocks * self.homogeneous)
        few = int(homogeneous * self.least_noisy)
        taken, least = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for channel in np.moveaxis(rgb, 2, 0):
            total, energy, spread = block_statistics(channel)
            by_brightness = positions[np.argsort(total.ravel()[positions], kind="stable")]
            for members in np.split(by_brightness, starts[1:]):
                calm = members[np.argsort(energy.ravel()[members], kind="stable")[:homogeneous]]
                noise = spread.ravel()[calm]
                if np.count_nonzero(noise == 0) < few:  # else the bin's noise is lost to compression or saturation
                    taken.append(calm)
                    least.append(calm[np.argsort(noise, kind="stable")[:few]])
        return tuple(np.column_stack(np.unravel_index(np.concatenate(p), valid.shape)) for p in (taken, least))


def unsaturated_blocks(rgb: np.ndarray) -> np.ndarray:
    """Bool (H - 4, W - 4): blocks whose pixels are nowhere a channel's largest or smallest value in the photo."""
    inside = ((rgb > rgb.min(axis=(0, 1))) & (rgb < rgb.max(axis=(0, 1)))).all(axis=2)
    return box_sum(inside.astype(np.float64)) == BLOCK**2


def box_sum(plane: np.ndarray) -> np.ndarray:
    """Sums over every 5x5 block: float64 (H - 4, W - 4), exact for integers."""
    half = BLOCK // 2
    return cv2.boxFilter(plane, cv2.CV_64F, (BLOCK, BLOCK), normalize=False)[half:-half, half:-half]


def block_statistics(channel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every 5x5 block (H - 4, W - 4): sum, energy of its low frequencies, and 25^2 times its variance (exact)."""
    values = channel.astype(np.float64)
    total = box_sum(values)
    spread = BLOCK**2 * box_sum(values * values) - total * total
    k = np.arange(BLOCK)
    matrix = np.sqrt(2 / BLOCK) * np.cos(np.pi * (2 * k + 1) * k[:, None] / (2 * BLOCK))
    half = BLOCK // 2
    energy = np.zeros(total.shape, np.float32)
    plane = channel.astype(np.float32)
    for i in range(LOW_FREQUENCIES):
        for j in range(LOW_FREQUENCIES - i):
            if i or j:
                scale = np.sqrt(0.5) if i == 0 or j == 0 else 1.0
                coefficient = cv2.sepFilter2D(plane, cv2.CV_32F, scale * matrix[j], matrix[i])
                energy += coefficient[half:-half, half:-half] ** 2
    return total, energy, spread


def window_counts(positions: np.ndarray, shape: tuple[int, int], stride: int, overlap: int) -> np.ndarray:
    """Number of positions in each window of overlap x overlap cells of `stride` pixels: int (rows, columns).

    With an overlap of 1 the last, incomplete windows count as well.
    """
    cells = tuple(max(1, -(-n // stride)) for n in shape)
    count = np.zeros(cells, np.int64)
    np.add.at(count, tuple((positions // stride).T), 1)
    for axis in (0, 1):
        size = min(overlap, count.shape[axis])
        count = np.lib.stride_tricks.sliding_window_view(count, size, axis=axis).sum(axis=-1)
    return count


def log_false_alarms(taken: np.ndarray, least: np.ndarray, share: float) -> np.ndarray:
    """Decimal logarithm of the number of false alarms of each window, float64 (rows, columns) (equation 5)."""
    independent = BLOCK**2
    tests = independent * taken.size
    trials, successes = taken // independent + 1, least // independent
    tail = np.maximum(binom.logsf(successes - 1, trials, share), binom.logpmf(successes, trials, share))
    return np.log10(tests) + np.maximum(tail / np.log(10), -300)
