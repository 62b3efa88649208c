"""A control that sees nothing: forgeries lie in the middle of photos more often than at their borders.

A localizer whose map is not clearly better than this one may have learned no more than where people, and programs,
put forgeries. Judd et al., Learning to Predict Where Humans Look, ICCV 2009, introduced the same control for maps of
saliency.
"""

from __future__ import annotations

import numpy as np

from models import Localizer, register
from models.image import ForensicImage, ScoreMap


@register(
    "centre",
    title="Centre of the photo (control)",
    paper="Judd et al., Learning to Predict Where Humans Look, ICCV 2009 (the control of that study)",
    year=2009,
    summary="Falls from the middle of every photo to its corners, whatever the photo shows.",
    groups=("controls",),
)
class Centre(Localizer):
    """Scores: 1 in the middle, 0 at the corners, by the distance in units of height and width.

    No threshold has a meaning.
    """

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size; defined for every image."""
        y, x = (np.abs(np.linspace(-1, 1, n) if n > 1 else np.zeros(1)) for n in image.shape)
        return ScoreMap((1 - np.hypot(y[:, None], x[None]) / np.sqrt(2)).astype(np.float32), kind="score")
