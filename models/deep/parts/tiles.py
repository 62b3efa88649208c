"""Images in tiles: half overlapping ones whose predictions are blended, and tiles that keep their middle alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import cv2
import numpy as np
from torch import Tensor

STEP = 32  # pixels; tiles begin at multiples of it, so that they fall onto the strides of every network


@dataclass(frozen=True)
class Piece:
    """One tile along one axis of an image of `whole` pixels: it sees start .. stop and keeps first .. last."""

    whole: int
    start: int
    stop: int
    first: int
    last: int

    @property
    def seen(self) -> slice:
        """In the image."""
        return slice(self.start, self.stop)

    @property
    def kept(self) -> slice:
        """In the image."""
        return slice(self.first, self.last)

    @property
    def middle(self) -> slice:
        """What is kept, in the tile."""
        return slice(self.first - self.start, self.last - self.start)

    def at(self, stride: int) -> Piece:
        """The same in a map that convolutions of this stride make; start and first are multiples of it."""
        ends = (-(-n // stride) for n in (self.whole, self.stop, self.last))
        whole, stop, last = ends
        return Piece(whole, self.start // stride, stop, self.first // stride, last)


Place = tuple[Piece, Piece]  # rows and columns of one tile


@dataclass(frozen=True)
class Tiling:
    """Tiles of at most side x side pixels that overlap by twice `margin`; of the overlap each one keeps half.

    Both are multiples of STEP. What a network says further than `margin` from the inner borders of a tile is kept. It
    equals what it says of the whole if nothing in it depends on pixels further away than that.
    """

    side: int
    margin: int

    def __str__(self) -> str:
        return f"tiles {self.side}x{self.side}, overlap {2 * self.margin}"

    def places(self, height: int, width: int) -> list[Place]:
        """The tiles of an image, row by row; all of about the same size."""
        return list(product(self._along(height), self._along(width)))

    def apply(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`function` of each tile of x (B, C, H, W), stitched together; it keeps height and width."""
        return _stitched(function, x, self.places(*x.shape[2:]))

    def _along(self, length: int) -> list[Piece]:
        if length <= self.side:
            return pieces(length, length, 0)
        count = -(-length // (self.side - 2 * self.margin))
        return pieces(length, -(-length // (count * STEP)) * STEP, self.margin)


def pieces(length: int, own: int, margin: int) -> list[Piece]:
    """Tiles along an axis that keep `own` pixels each and see `margin` more on both sides where there are any."""
    firsts = range(0, length, own)
    return [
        Piece(length, max(0, first - margin), min(length, first + own + margin), first, min(length, first + own))
        for first in firsts
    ]


def patchwise(function: Callable[[Tensor], Tensor], x: Tensor, side: int, halo: int) -> Tensor:
    """`function(x)` from patches of side x side pixels, each seen with `halo` pixels around it where there are any.

    x: (B, C, H, W); the function keeps H and W. It gives what the whole would give, up to rounding, if no value
    depends on pixels further away than `halo`; the memory that it needs no longer grows with the image.
    """
    return _stitched(function, x, list(product(*(pieces(length, side, halo) for length in x.shape[2:]))))


def _stitched(function: Callable[[Tensor], Tensor], x: Tensor, places: Sequence[Place]) -> Tensor:
    result = None
    for rows, columns in places:
        seen = function(x[:, :, rows.seen, columns.seen])
        if result is None:
            result = seen.new_empty(*seen.shape[:2], *x.shape[2:])
        result[:, :, rows.kept, columns.kept] = seen[:, :, rows.middle, columns.middle]
    return result


def tiles(height: int, width: int, size: int) -> list[tuple[slice, slice]]:
    """Rows and columns of each tile in the authors' order: steps of half a tile, then one at the far border.

    Where the steps end at the border that tile comes twice. An image smaller than a tile has smaller tiles.
    """

    def along(length: int) -> list[slice]:
        starts = [*range(0, length - size + 1, size // 2), max(0, length - size)]
        return [slice(start, min(start + size, length)) for start in starts]

    return list(product(along(height), along(width)))


def distinct_tiles(height: int, width: int, size: int) -> list[tuple[slice, slice]]:
    """The same without those that come twice."""
    return list({(rows.start, columns.start): (rows, columns) for rows, columns in tiles(height, width, size)}.values())


def merge_distinct(predictions: Sequence[np.ndarray], height: int, width: int, size: int) -> np.ndarray:
    """`merge` from the predictions of `distinct_tiles`, in the same order."""
    places = [(rows.start, columns.start) for rows, columns in tiles(height, width, size)]
    predicted = dict(zip(dict.fromkeys(places), predictions, strict=True))
    return merge([predicted[place] for place in places], height, width, size)


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
