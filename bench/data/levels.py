"""A look at a few masks of a set: do they hold classes that the mask rule would take for forged in silence?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.data.masks import COLOURS, MaskRule, decode
from bench.data.sets import Sample
from models.image import ImageError

LOOKED_AT = 6  # masks, spread over the set
COMMON = 0.005  # share of a mask's pixels that makes a level a class and not an edge
MANY = 8  # more levels than this are soft edges


def suspicious_levels(samples: Sequence[Sample], rule: MaskRule) -> list[str]:
    """A remark where masks hold three classes or more and the card has no rule for them; none where it has."""
    if rule != MaskRule(size=rule.size):
        return []
    located = [(sample.id, sample.mask) for sample in samples if sample.mask is not None]
    for name, mask in located[:: max(1, len(located) // LOOKED_AT)][:LOOKED_AT]:
        try:
            found = classes(decode(mask))
        except ImageError:
            continue  # told when the mask is read for the ground truth
        if len(found) > 2:
            return [
                f"the mask of {name} holds {len(found)} classes ({', '.join(found)}): every pixel with a channel "
                "above 127 counts as forged; if that is not meant, say which do in a card, [mask.colours] or threshold"
            ]
    return []


def classes(pixels: np.ndarray) -> list[str]:
    """The colours or grey levels that cover a good part of a decoded mask, uint8 (H, W, 3); [] where they are soft."""
    share = COMMON * pixels.shape[0] * pixels.shape[1]
    if (np.ptp(pixels, axis=2) > 64).sum() > share:  # in colour
        codes = np.bincount(((pixels > 127) @ np.array([4, 2, 1], np.uint8)).ravel(), minlength=8)
        return [name for name, code in COLOURS.items() if codes[code] > share]
    levels = np.bincount(pixels[:, :, 0].ravel(), minlength=256)
    common = np.flatnonzero(levels > share)
    return [str(level) for level in common] if len(common) <= MANY else []
