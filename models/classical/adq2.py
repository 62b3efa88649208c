"""Double quantisation, second method (ADQ2): mixture model of the doubly quantised DCT histogram.

Bianchi, De Rosa and Piva, "Improved DCT coefficient analysis for forgery localization in JPEG images",
ICASSP 2011.

Trace: as in ADQ1, but the histogram of a singly compressed photo is predicted from the image itself (its DCT
on a grid moved by one pixel), and the first quantisation step and the share of doubly compressed blocks are
fitted to it for each frequency, rounding and truncation errors included.
Works when the second quality factor is higher than the first, and less well below it. Cannot work on singly
compressed images, after resizing or cropping off the grid, or where the first step divides the second.

Compared with pyIFD 0.0.3 (ADQ2, a port of the authors' code) on the splices of ADQ1: correlation .997, .992, .995,
SSIM .97, .94, .98, AUC .998, .997, .825 against its .997, .997, .818. Here the rounding error is measured on the
pixels that were decoded, there on a reconstruction with chroma repeated.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter
from scipy.special import expit

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


@register(
    "adq2",
    title="ADQ2: double quantisation, mixture model",
    paper="Bianchi, De Rosa, Piva, ICASSP 2011",
    year=2011,
    summary="Posterior that a block lacks the double quantisation of the rest, first step estimated",
    groups=("classical",),
    needs_jpeg=True,
)
class DoubleQuantisationMixture(Localizer):
    """Posterior in 0..1 that each 8x8 block is forged, median filtered.

    frequencies: number of DCT frequencies used, in zig-zag order from DC.
    median_blocks: side of the median filter over the block map.
    """

    def __init__(self, frequencies: int = 15, median_blocks: int = 5):
        self.frequencies = frequencies
        self.median_blocks = median_blocks

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Probability map; extras: "first_steps" int (8, 8), 0 where no double quantisation was found.

        Raises NotApplicable for an image without a JPEG's luminance coefficients or below 24x24 pixels.
        """
        require_size(image, 3 * BLOCK, 3 * BLOCK)
        coefficients, table = jpeg_luminance(image)
        posterior, first_steps = block_posterior(image, coefficients, table, self.frequencies)
        posterior = median_filter(posterior, self.median_blocks, mode="constant")
        return ScoreMap(to_pixels(posterior, image.shape, BLOCK), "probability", extras={"first_steps": first_steps})


def block_posterior(
    image: ForensicImage, coefficients: np.ndarray, table: np.ndarray, frequencies: int = 15
) -> tuple[np.ndarray, np.ndarray]:
    """Unfiltered posterior float32 (rows, columns) and first quantisation steps int (8, 8), 0 = none found."""
    plane = inverse_block_dct(coefficients * table)
    moved = block_dct(plane[1:, 1:])
    error = block_dct(rounding_error(image, plane + 128))
    error_std = float(error.std())
    largest = standard_luminance_table(40)
    log_ratio = np.zeros(coefficients.shape[:2])
    first_steps = np.zeros((BLOCK, BLOCK), int)
    for row, column in ZIGZAG[:frequencies]:
        step = int(table[row, column])
        bias = float(error[:, :, 0, 0].mean()) if row == column == 0 else 0.0
        candidates = np.arange(1, max(int(largest[row, column]), 2) + 1)
        found = _fit(
            coefficients[:, :, row, column], moved[:, :, row, column], step, candidates, error_std / step, bias
        )
        if found is not None:
            first_steps[row, column], ratio = found
            log_ratio += ratio
    return expit(-log_ratio).astype(np.float32), first_steps


def periodic_gain(values: np.ndarray, first: np.ndarray, second: int, bias: float = 0.0) -> np.ndarray:
    """n(x) of the paper, (len(first), len(values)): the factor that double quantisation puts on a histogram bin.

    values: quantised coefficients (second step), first: first quantisation steps. A multiple of `first` on a
    border of x's quantisation bin counts half on either side.
    """

    def multiples_below(bound):
        return (np.floor(bound) + np.ceil(bound) - 1) / 2

    ratio = second / first[:, None]
    centre = values[None] + bias / second
    return (multiples_below(ratio * (centre + 0.5)) - multiples_below(ratio * (centre - 0.5))) / ratio


def _fit(
    values: np.ndarray, moved: np.ndarray, step: int, candidates: np.ndarray, smoothing: float, bias: float
) -> tuple[int, np.ndarray] | None:
    """First step of one frequency and log p(x | background) - log p(x | forged) of every block, or None."""
    quantised = np.rint(moved / step).astype(int)
    reach = int(np.ceil(6 * smoothing))
    top = max(int(np.abs(values).max()), int(np.abs(quantised).max())) + reach + 1
    x = np.arange(-top, top + 1)
    observed = np.bincount((values + top).ravel(), minlength=len(x)).astype(float)
    once = np.bincount((quantised + top).ravel(), minlength=len(x)).astype(float)
    gain = periodic_gain(x, candidates, step, bias)
    if reach > 0:
        kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * smoothing**2))
        kernel /= kernel.sum()
        padded = np.pad(gain, ((0, 0), (reach, reach)), mode="edge")
        gain = np.apply_along_axis(np.convolve, 1, padded, kernel, "valid")
    # Least squares of observed = once * (alpha * gain + 1 - alpha), bin 0 excluded: alpha in closed form
    model = (gain - 1) * once
    target = observed - once
    model[:, top] = target[top] = 0
    divides = step % candidates == 0  # no double quantisation effect
    model[divides] = 0
    energy = (model**2).sum(1)
    alpha = np.minimum(np.divide(model @ target, energy, out=np.ones(len(candidates)), where=energy > 0), 1)
    misfit = ((alpha[:, None] * model - target) ** 2).sum(1)
    misfit[alpha <= 0.25] = np.inf
    best = int(misfit.argmin())
    if divides[best]:
        return None
    likelihood_ratio = np.log(alpha[best] * gain[best] + 1 - alpha[best] + 1e-12)
    likelihood_ratio[top] = 0  # coefficients that were quantised to 0 say nothing
    return int(candidates[best]), likelihood_ratio[values + top]
