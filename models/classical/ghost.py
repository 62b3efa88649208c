"""JPEG ghosts.

H. Farid, "Exposing Digital Forgeries From JPEG Ghosts", IEEE Transactions on Information Forensics and Security
4(1), 2009.

Trace: a region that was once saved as JPEG at quality q changes least when the photo is saved at quality q again;
the rest of the photo has its minimum elsewhere.

Works for a donor of lower JPEG quality than the photo's last one, with the donor's 8x8 grid aligned to the
photo's (one chance in 64 for a free paste; splices made by editing a region in place are always aligned). Cannot
work for donors of higher quality, other grids (ADQ and NADQ methods look for those), or after resizing. Saturated
and flat regions have no curve of their own.
"""

from __future__ import annotations

import cv2
import numpy as np

from models import Localizer, register
from models.image import ForensicImage, ScoreMap, decode_rgb, encode_jpeg

STRIDE = 4  # the window mean is smooth: every fourth pixel of it says all


@register(
    "ghost",
    title="JPEG ghosts (GHOST)",
    paper="Farid, Exposing digital forgeries from JPEG ghosts, TIFS 2009",
    year=2009,
    summary="Re-saves at a sweep of qualities; regions whose difference curve is not the photo's stand out.",
    groups=("baselines", "classical"),
)
class JpegGhosts(Localizer):
    """Distance of a pixel's ghost curve from the typical one of the photo.

    The curve of a pixel is the squared difference to the re-save, averaged over channels and window (equation
    3), for every quality of the sweep, brought to 0..1 by its own minimum and maximum over the sweep (equation
    5). Farid shows the differences and lets the examiner find the ghost among them; here the score is the
    Euclidean distance to the photo's median curve, so a ghost at any quality of the sweep counts.

    lowest, highest, step: the sweep of JPEG qualities (51 to 100 by 1 in pyIFD; by 5 is as fast as a default run
        needs, since a ghost is several qualities wide).
    window: side of the averaging window in pixels (16 in the paper; 17 as in pyIFD has a centre).

    Scores: 0 up to the square root of the number of qualities; no fixed threshold has a meaning. extras:
    "qualities", and "difference", the photo's mean squared difference at each.

    Compared with pyIFD 0.0.3's GHOST on a 384x400 photo: its 50 difference maps (before any normalisation
    over qualities, reduced to a quarter with smoothing) correlate with ours by .986 to .995.
    """

    def __init__(self, lowest: int = 50, highest: int = 100, step: int = 5, window: int = 17):
        if not 1 <= lowest < highest <= 100 or step < 1 or window < 1:
            raise ValueError(f"ghost: no sweep from quality {lowest} to {highest} by {step}, window {window}")
        self.lowest = lowest
        self.highest = highest
        self.step = step
        self.window = window

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size; defined for every image."""
        qualities = range(self.lowest, self.highest + 1, self.step)
        curves = np.stack([difference(image.rgb, quality, self.window) for quality in qualities])
        mean_curve = curves.mean(axis=(1, 2))
        low = curves.min(axis=0)
        curves -= low
        # A difference below one grey level in one pixel of the window is rounding, not a curve.
        curves /= np.maximum(curves.max(axis=0), 1 / self.window**2)
        curves -= np.median(curves.reshape(len(curves), -1), axis=1)[:, None, None]
        distance = np.sqrt(np.einsum("qij,qij->ij", curves, curves))
        height, width = image.shape
        distance = cv2.resize(distance, (width, height), interpolation=cv2.INTER_LINEAR)
        return ScoreMap(distance, "score", extras={"qualities": tuple(qualities), "difference": mean_curve})


def difference(rgb: np.ndarray, quality: int, window: int) -> np.ndarray:
    """Squared difference to the re-save, averaged over channels and window: float32, every fourth pixel.

    Squared grey levels, 0..255^2, shape (ceil(H / 4), ceil(W / 4)).
    """
    error = cv2.absdiff(rgb, decode_rgb(encode_jpeg(rgb, quality)))
    squared = cv2.transform(cv2.multiply(error, error, dtype=cv2.CV_32F), np.full((1, 3), 1 / 3, np.float32))
    return cv2.blur(squared, (window, window), borderType=cv2.BORDER_REFLECT)[::STRIDE, ::STRIDE]
