"""Error level analysis.

N. Krawetz, "A Picture's Worth: Digital Image Analysis and Forensics", Black Hat Briefings 2007.

Trace: a region that was saved as JPEG fewer times, or at a higher quality, than the rest changes more when the
whole image is saved once more.

Works for splices whose donor had a higher JPEG quality than the host, in a photo saved once afterwards. Cannot
work when the whole photo was resized, strongly compressed or filtered after the forgery, and always answers to
texture and edges, which change more in any recompression.
"""

from __future__ import annotations

import cv2
import numpy as np

from models import Localizer, register
from models.image import ForensicImage, ScoreMap, decode_rgb, encode_jpeg


@register(
    "ela",
    title="Error level analysis",
    paper="Krawetz, A Picture's Worth, Black Hat 2007",
    year=2007,
    summary="Difference to a JPEG re-save; regions with another compression history stand out.",
    groups=("baselines", "classical"),
)
class ErrorLevelAnalysis(Localizer):
    """Mean absolute difference between the image and its JPEG re-save.

    quality: JPEG quality of the re-save (90 as in pyIFD; Krawetz uses 75 to 95).
    window: side of the box over which the difference is averaged, in pixels. Krawetz compares the error levels
        of regions by eye; the mean over two JPEG blocks does it for him. 1 gives the raw map.

    Scores: 0..255, grey levels; no fixed threshold has a meaning.

    Compared with pyIFD 0.0.3's ELA on a 384x400 photo (window=1): equal but for its display factor of 15,
    largest difference 2e-6 grey levels.
    """

    def __init__(self, quality: int = 90, window: int = 17):
        if not 1 <= quality <= 100 or window < 1:
            raise ValueError(f"ela: quality is 1..100 and window at least 1, got {quality} and {window}")
        self.quality = quality
        self.window = window

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size; defined for every image."""
        resaved = decode_rgb(encode_jpeg(image.rgb, self.quality))
        error = cv2.absdiff(image.rgb, resaved).mean(axis=2, dtype=np.float32)
        if self.window > 1:
            error = cv2.blur(error, (self.window, self.window), borderType=cv2.BORDER_REFLECT)
        return ScoreMap(error, kind="score")
