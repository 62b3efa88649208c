"""Linear interpolation at given places, so that a part of a map is resampled as the whole map would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.convolution import at_least_float32
from models.deep.parts.tiles import Place, Tiling

Aligned = Callable[[Tensor, int, int], Tensor]


def interpolated(x: Tensor, axis: int, position: Tensor) -> Tensor:
    """`x` at (fractional) positions along an axis; beyond its ends the value there."""
    last = x.shape[axis] - 1
    position = position.clamp(0, last)
    before = position.long()
    weight = (position - before).reshape(-1, *(1,) * (x.ndim - 1 - axis % x.ndim))
    near, far = (at_least_float32(x.index_select(axis, i)) for i in (before, (before + 1).clamp(max=last)))
    return near.lerp(far, weight)


def corner_aligned(index: Tensor, source: int, target: int) -> Tensor:
    """Where in a map of length `source` elements of one of length `target` lie: align_corners of F.interpolate."""
    return index * (_ratio(source - 1, target - 1, index) if target > 1 else 0.0)


def centre_aligned(index: Tensor, source: int, target: int) -> Tensor:
    """The same with half-pixel centres: F.interpolate without align_corners."""
    return ((index + 0.5) * _ratio(source, target, index) - 0.5).clamp(min=0)


def left_aligned(index: Tensor, source: int, target: int) -> Tensor:
    """The same as TensorFlow 1 has it: the first elements coincide, the last ones do not."""
    return index * _ratio(source, target, index)


def _ratio(a: int, b: int, like: Tensor) -> Tensor:
    return like.new_tensor(a) / b  # rounded as PyTorch rounds it: in the type of the map


def resampled(x: Tensor, source: Place, target: Place, aligned: Aligned) -> Tensor:
    """What tile `target` sees of a map, from what tile `source` sees of one of another size (B, C, h, w)."""
    x = at_least_float32(x)  # so are positions, of which bfloat16 has none between 256 and 258
    for axis, have, want in zip((2, 3), source, target, strict=True):
        index = torch.arange(want.start, want.stop, device=x.device, dtype=x.dtype)
        x = interpolated(x, axis, aligned(index, have.whole, want.whole) - have.start)
    return x


def sampled(
    function: Callable[[Tensor, Place], Sequence[Tensor]],
    x: Tensor,
    tiling: Tiling,
    sides: Sequence[int],
    aligned: Aligned,
) -> list[Tensor]:
    """The maps of a large image, each reduced to side x side, without ever having them at their own size.

    function: from a tile of x (B, C, H, W) and its place to its maps (B, C', h, w), the k-th at stride 2^k. A tile
    must give them one element further than it keeps.
    """
    grids: list[Tensor] = []
    for place in tiling.places(*x.shape[2:]):
        maps = [at_least_float32(m) for m in function(x[:, :, place[0].seen, place[1].seen], place)]
        for level, (seen, side) in enumerate(zip(maps, sides, strict=True)):
            if len(grids) == level:
                grids.append(seen.new_zeros(*seen.shape[:2], side, side))
            inside = []
            for axis, piece in zip((2, 3), (piece.at(2**level) for piece in place), strict=True):
                position = aligned(torch.arange(side, device=x.device, dtype=x.dtype), piece.whole, side)
                own = ((position >= piece.first) & (position < piece.last)).nonzero()[:, 0]
                seen = interpolated(seen, axis, position[own] - piece.start)
                inside.append(own)
            grids[level][:, :, inside[0][:, None], inside[1]] = seen
    return grids
