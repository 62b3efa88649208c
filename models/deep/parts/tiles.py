"""Images in tiles: half overlapping ones whose predictions are blended, and patches that give what the whole gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product

import cv2
import numpy as np
from torch import Tensor


def patchwise(function: Callable[[Tensor], Tensor], x: Tensor, side: int, halo: int) -> Tensor:
    """`function(x)` from patches of side x side pixels, each seen with `halo` pixels around it where there are any.

    x: (B, C, H, W); the function keeps H and W. It gives what the whole would give, up to rounding, if no value
    depends on pixels further away than `halo`; the memory that it needs no longer grows with the image.
    """
    height, width = x.shape[2:]
    result = None
    for top, left in patches(height, width, side):
        bottom, right = min(top + side, height), min(left + side, width)
        above, before = max(0, top - halo), max(0, left - halo)
        seen = function(x[:, :, above : bottom + halo, before : right + halo])
        if result is None:
            result = seen.new_empty(*seen.shape[:2], height, width)
        inside = np.s_[:, :, top - above : bottom - above, left - before : right - before]
        result[:, :, top:bottom, left:right] = seen[inside]
    return result


def patches(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    """Top and left of each patch of `patchwise`."""
    return product(range(0, height, side), range(0, width, side))


def tiles(height: int, width: int, size: int) -> list[tuple[slice, slice]]:
    """Rows and columns of each tile in the authors' order: steps of half a tile, then one at the far border.

    Where the steps end at the border that tile comes twice. An image smaller than a tile has smaller tiles.
    """

    def along(length: int) -> list[slice]:
        starts = [*range(0, length - size + 1, size // 2), max(0, length - size)]
        return [slice(start, min(start + size, length)) for start in starts]

    return list(product(along(height), along(width)))


def merge(predictions: Sequence[np.ndarray], height: int, width: int, size: int) -> np.ndarray:
    """Float32 (height, width) from the predictions of `tiles`, in the same order.

    Where there is a value already, the tile's counts with a weight of 1 in its centre that falls linearly to 0.
    """
    canvas = np.zeros((height, width), np.float32)
    filled = np.zeros((height, width), bool)
    for place, prediction in zip(tiles(height, width, size), predictions, strict=True):
        old_weight = np.where(filled[place], 1 - _centred(size, *prediction.shape), 0)
        canvas[place] = old_weight * canvas[place] + (1 - old_weight) * prediction
        filled[place] = True
    return canvas


@cache
def _centred(size: int, height: int, width: int) -> np.ndarray:
    """A 3 x 3 map with 1 in its centre, enlarged to a tile and from there to the size of a smaller one."""
    centre = np.zeros((3, 3), np.float32)
    centre[1, 1] = 1
    return cv2.resize(cv2.resize(centre, (size, size)), (width, height))
