"""Non-aligned and aligned double JPEG compression (NADQ): block-grained likelihood ratios.

Bianchi and Piva, "Image forgery localization via block-grained analysis of JPEG artifacts", IEEE Transactions
on Information Forensics and Security 7(3), 2012.

Trace: blocks that were JPEG before on another grid (non-aligned), or on the same grid (aligned), than that of
the file. The DCT coefficients on the earlier grid still cluster at multiples of the first quantisation step.
`nadq` takes the non-aligned double compression as the forgery: a region from a JPEG photo was pasted into a
photo that was not compressed, or on another grid. `nadq-aligned` takes the lack of aligned double compression
as the forgery: a JPEG photo was edited and saved again.
Works when the second quality factor is clearly higher than the first (non-aligned) or higher (aligned). Cannot
work on singly compressed images or after resizing. `nadq` marks the background instead of the forgery when a
JPEG photo was cropped off its grid and then edited.

Compared with pyIFD 0.0.3 (NADQ, a port of the authors' code) on a constructed splice of 480x480 (qualities 70 then
95): same shift, correlation .985, AUC .993 against its .987. On a splice of qualities 60 then 90 both miss the shift.
`nadq-aligned` has no counterpart there; EM is tested against a loop over blocks.

The threshold 0 of `nadq-aligned` presumes a doubly compressed background: on a singly compressed photo it marks 94 to
99 % of all blocks. Only the order of its scores means anything there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models import Localizer, register
from models.classical.blocks import (
    BLOCK,
    ZIGZAG,
    block_dct,
    inverse_block_dct,
    jpeg_luminance,
    require_size,
    rounding_error,
    standard_luminance_table,
    to_pixels,
)
from models.image import ForensicImage, ScoreMap

_PAPER = "Bianchi, Piva, IEEE TIFS 2012"
_REACH = 2048  # coefficients lie in -2048..2047
_START_ALPHA, _ITERATIONS, _LEAST_GAIN = 0.95, 20, 5.0  # the EM of the authors' code


@register(
    "nadq",
    title="NADQ: non-aligned double JPEG",
    paper=_PAPER,
    year=2012,
    summary="Log-likelihood ratio that a block was JPEG on another grid before",
    groups=("classical",),
    needs_jpeg=True,
)
class NonAlignedDoubleJpeg(Localizer):
    """Log-likelihood ratio, summed over frequencies and 3x3 blocks; above 0: compressed before on another grid.

    frequencies: number of DCT frequencies used, in zig-zag order from DC.
    window_blocks: side of the square of blocks over which the ratio is cumulated.
    """

    def __init__(self, frequencies: int = 6, window_blocks: int = 3):
        self.frequencies = frequencies
        self.window_blocks = window_blocks

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Logit map; extras: "shift" (row, column) of the earlier grid and "first_steps" int (8, 8), 0 = unused.

        Raises NotApplicable for an image without a JPEG's luminance coefficients or below 32x32 pixels.
        """
        require_size(image, 4 * BLOCK, 4 * BLOCK)
        coefficients, table = jpeg_luminance(image)
        ratio, shift, steps = non_aligned_ratio(image, coefficients, table, self.frequencies)
        ratio = _cumulate(ratio, self.window_blocks)
        values = to_pixels(ratio, image.shape, BLOCK, shift)
        return ScoreMap(values, "logit", extras={"shift": shift, "first_steps": steps})


@register(
    "nadq-aligned",
    title="NADQ, aligned: double JPEG on one grid",
    paper=_PAPER,
    year=2012,
    summary="Log-likelihood ratio that a block lacks the earlier compression of the rest",
    groups=("classical",),
    needs_jpeg=True,
)
class AlignedDoubleJpeg(Localizer):
    """Log-likelihood ratio, summed over frequencies and 3x3 blocks; above 0: not compressed before on this grid.

    Settings as of NonAlignedDoubleJpeg.
    """

    def __init__(self, frequencies: int = 6, window_blocks: int = 3):
        self.frequencies = frequencies
        self.window_blocks = window_blocks

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Logit map; extras: "first_steps" int (8, 8), 0 = unused.

        Raises NotApplicable for an image without a JPEG's luminance coefficients or below 32x32 pixels.
        """
        require_size(image, 4 * BLOCK, 4 * BLOCK)
        coefficients, table = jpeg_luminance(image)
        ratio, steps = aligned_ratio(image, coefficients, table, self.frequencies)
        ratio = _cumulate(-ratio, self.window_blocks)
        return ScoreMap(to_pixels(ratio, image.shape, BLOCK), "logit", extras={"first_steps": steps})


@dataclass(frozen=True)
class _Fit:
    step: int
    likelihood: float
    log_ratio: np.ndarray  # log p(value | twice) - log p(value | once) for values -_REACH.._REACH - 1


def non_aligned_ratio(
    image: ForensicImage, coefficients: np.ndarray, table: np.ndarray, frequencies: int = 6
) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
    """Log-likelihood ratio float32 (rows, columns) of blocks on the earlier grid, its shift, and the first steps.

    The shift is the one of the 63 whose DC coefficients are most likely under the fitted model; the other
    frequencies are read at that shift only.
    """
    plane = inverse_block_dct(coefficients * table)
    error = block_dct(rounding_error(image, plane + 128))
    # the DC coefficient of the 8x8 block that starts at each pixel
    window = cv2.boxFilter(plane, cv2.CV_32F, (BLOCK, BLOCK), anchor=(0, 0), normalize=False) / BLOCK
    window = window[: plane.shape[0] - BLOCK + 1, : plane.shape[1] - BLOCK + 1]
    shifts = [(i, j) for i in range(BLOCK) for j in range(BLOCK) if i or j]
    noise = _noise(table, error, 0, 0)
    candidates = _candidates(table, 0, 0)
    fits = [
        _fit_plain(window[i::BLOCK, j::BLOCK], window[_beside(i) :: BLOCK, _beside(j) :: BLOCK], candidates, *noise)
        for i, j in shifts
    ]
    best = int(np.argmax([fit.likelihood for fit in fits]))
    row, column = shifts[best]
    here = block_dct(plane[row:, column:])
    beside = block_dct(plane[_beside(row) :, _beside(column) :])
    steps = np.zeros((BLOCK, BLOCK), int)
    ratio = np.zeros(here.shape[:2], np.float32)
    for index, (u, v) in enumerate(ZIGZAG[:frequencies]):
        fit = fits[best]
        if index:
            noise = _noise(table, error, u, v)
            fit = _fit_plain(here[:, :, u, v], beside[:, :, u, v], _candidates(table, u, v), *noise)
        ratio += fit.log_ratio[_bins(here[:, :, u, v])]
        steps[u, v] = fit.step
    return ratio, (row, column), steps


def aligned_ratio(
    image: ForensicImage, coefficients: np.ndarray, table: np.ndarray, frequencies: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratio float32 (rows, columns) that a block was quantised before, and the first steps."""
    plane = inverse_block_dct(coefficients * table)
    error = block_dct(rounding_error(image, plane + 128))
    moved = block_dct(plane[1:, 1:])
    steps = np.zeros((BLOCK, BLOCK), int)
    ratio = np.zeros(coefficients.shape[:2], np.float32)
    for u, v in ZIGZAG[:frequencies]:
        second = int(table[u, v])
        bias = float(error[:, :, u, v].mean()) if u == v == 0 else 0.0
        noise_std = float(error[:, :, u, v].std())
        candidates = np.arange(1, int(max(standard_luminance_table(50)[u, v], second)) + 1)
        reference = _histogram(moved[:, :, u, v])
        first = _quantised(reference, candidates, noise_std, bias)
        twice = np.concatenate([_quantised(comb, np.array([second]), 0.0, 0.0) for comb in first])
        once = _quantised(reference, np.array([second]), 0.0, 0.0)[0]
        values = coefficients[:, :, u, v] * second
        fit = _fit(_histogram(values), once, twice, candidates, reference.sum())
        ratio += fit.log_ratio[_bins(values)]
        steps[u, v] = fit.step
    return ratio, steps


def _beside(shift: int) -> int:
    """A grid one pixel from `shift` that is not the file's own: where coefficients show no quantisation."""
    return shift + 1 if shift < BLOCK // 2 else shift - 1


def _candidates(table: np.ndarray, u: int, v: int) -> np.ndarray:
    """First steps worth trying: finer ones drown in the noise of the second quantisation."""
    smallest = max(2, int(table[u, v] / np.sqrt(3)))
    return np.arange(smallest, int(max(standard_luminance_table(50)[u, v], table[u, v])) + 1)


def _noise(table: np.ndarray, error: np.ndarray, u: int, v: int) -> tuple[float, float]:
    """Standard deviation and bias of what second quantisation, rounding and truncation added to a coefficient."""
    bias = float(error[:, :, u, v].mean()) if u == v == 0 else 0.0
    return float(np.sqrt(table[u, v] ** 2 / 12 + error[:, :, u, v].var())), bias


def _bins(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values).astype(np.int32) + _REACH, 0, 2 * _REACH - 1)


def _histogram(values: np.ndarray) -> np.ndarray:
    return np.bincount(_bins(values).ravel(), minlength=2 * _REACH)


def _quantised(histogram: np.ndarray, steps: np.ndarray, noise_std: float, bias: float) -> np.ndarray:
    """(len(steps), bins): the histogram after quantisation with each step, dequantisation and Gaussian noise.

    A value half way between two multiples of a step counts half for either.
    """
    below = np.concatenate(([0.0], np.cumsum(histogram)))  # count of values below each bin
    combs = np.zeros((len(steps), len(histogram)))
    for comb, step in zip(combs, steps, strict=True):
        multiples = np.arange(_REACH % step, len(histogram), step)
        reaches = (step // 2, (step - 1) // 2)  # with and without the ties, equal for odd steps
        for reach in reaches:
            first = np.clip(multiples - reach, 0, len(histogram))
            last = np.clip(multiples + reach + 1, 0, len(histogram))
            comb[multiples] += (below[last] - below[first]) / 2
    reach = int(np.ceil(3 * noise_std))
    if reach == 0:
        return combs
    kernel = np.exp(-((np.arange(-reach, reach + 1) + bias) ** 2) / (2 * noise_std**2))[::-1]  # cv2 correlates
    blurred = cv2.filter2D(combs, cv2.CV_64F, kernel[None] / kernel.sum(), borderType=cv2.BORDER_CONSTANT)
    return np.maximum(blurred, 0)  # the Fourier transform of long kernels leaves -1e-17


def _fit_plain(here: np.ndarray, beside: np.ndarray, candidates: np.ndarray, noise_std: float, bias: float) -> _Fit:
    reference = _histogram(beside)
    twice = _quantised(reference, candidates, noise_std, bias)
    return _fit(_histogram(here), reference.astype(float), twice, candidates, reference.sum())


def _fit(counts: np.ndarray, once: np.ndarray, twice: np.ndarray, steps: np.ndarray, total: int) -> _Fit:
    """EM over the share of singly compressed blocks for every candidate step at once.

    counts: histogram of the coefficients; once, twice (len(steps), bins): unnormalised models of the two
    classes, made from `total` samples. Working on the histogram gives what working on the blocks would.
    """
    bins = len(counts)
    once = (once / once.sum() * total + 1) / (total + bins)  # Laplace correction: no value is impossible
    twice = (twice / twice.sum(1, keepdims=True) * total + 1) / (total + bins)
    seen = np.flatnonzero(counts)
    weight, p_once, p_twice = counts[seen].astype(float), once[seen], twice[:, seen]
    alpha = np.full(len(steps), _START_ALPHA)
    best = -np.inf
    for _ in range(_ITERATIONS):
        mixture = p_twice + alpha[:, None] * (p_once - p_twice)
        likelihood = np.log(mixture) @ weight
        better, best = likelihood.max() - best, likelihood.max()
        if better < _LEAST_GAIN:
            break
        alpha = alpha * ((p_once / mixture) @ weight) / weight.sum()
    index = int(likelihood.argmax())
    return _Fit(int(steps[index]), float(best), np.log(twice[index] / once).astype(np.float32))


def _cumulate(ratio: np.ndarray, window: int) -> np.ndarray:
    return cv2.boxFilter(ratio, cv2.CV_32F, (window, window), normalize=False, borderType=cv2.BORDER_REFLECT)
