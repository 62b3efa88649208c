"""Steps that change the size of a score map or of a ground truth, and what unscorable pixels make of that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from bench.metrics.view import Source

Target = Literal["truth", "score", "truth padded to 8"] | tuple[int, int]


@dataclass(frozen=True)
class Linear:
    """Bilinear with half-pixel centres and no smoothing (cv2.INTER_LINEAR); nothing where the size is right.

    to: "truth", "score" (the size of the other one), "truth padded to 8" or (height, width).
    """

    to: Target

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """The same type (H, W); 8-bit values are rounded, as OpenCV does."""
        return _resized(values, _size(self.to, source), cv2.INTER_LINEAR)

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """Where any pixel with a weight is unscorable."""
        return _resized(unscorable.astype(np.float32), _size(self.to, source), cv2.INTER_LINEAR) > 0


@dataclass(frozen=True)
class Nearest:
    """The nearest pixel (cv2.INTER_NEAREST); nothing where the size is right. to: as in `Linear`."""

    to: Target

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """The same type (H, W)."""
        return _resized(values, _size(self.to, source), cv2.INTER_NEAREST)

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """Where the pixel that is taken is unscorable."""
        return _resized(unscorable.astype(np.uint8), _size(self.to, source), cv2.INTER_NEAREST) > 0


@dataclass(frozen=True)
class Bicubic:
    """Pillow's bicubic, which smooths where it shrinks, to (height, width)."""

    to: tuple[int, int]

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """uint8 (H, W)."""
        if values.shape == self.to:
            return values
        return np.asarray(Image.fromarray(values).resize(self.to[::-1], Image.Resampling.BICUBIC))

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """Where any pixel within reach of the filter, two pixels of the smaller grid, is unscorable."""
        reach = [2 * math.ceil(max(1.0, old / new)) for old, new in zip(unscorable.shape, self.to, strict=True)]
        near = cv2.dilate(unscorable.astype(np.uint8), np.ones([2 * r + 1 for r in reach], np.uint8))
        return _resized(near, self.to, cv2.INTER_NEAREST) > 0


@dataclass(frozen=True)
class Cropped:
    """What lies within (height, width) from the top left; smaller ones stay as they are."""

    to: tuple[int, int]

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """The same type (H, W)."""
        fits = values.shape[0] <= self.to[0] and values.shape[1] <= self.to[1]
        return values if fits else values[: self.to[0], : self.to[1]]

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """The same pixels."""
        return self(unscorable, source)


@dataclass(frozen=True)
class Padded:
    """At the top left of (height, width), with a constant around. Larger ones are an error of the protocol's user."""

    to: tuple[int, int]
    fill: float

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """The same type (H, W)."""
        padded = np.full(self.to, self.fill, values.dtype)
        padded[: values.shape[0], : values.shape[1]] = values[: self.to[0], : self.to[1]]
        return padded

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """The same pixels; those of the padding can be scored."""
        return Padded(self.to, 0)(unscorable, source)


@dataclass(frozen=True)
class PaddedTo8:
    """With zeros at the right and the bottom, so that both sides are multiples of 8."""

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """The same type (H, W)."""
        return Padded(_multiples_of_8(values.shape), 0)(values, source)

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """The same pixels."""
        return self(unscorable, source)


def _size(to: Target, source: Source) -> tuple[int, int]:
    if to == "truth":
        return source.truth.shape
    if to == "truth padded to 8":
        return _multiples_of_8(source.truth.shape)
    return source.score.values.shape if to == "score" else to


def _multiples_of_8(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = (-(-side // 8) * 8 for side in shape)
    return height, width


def _resized(values: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    if values.shape == size:
        return values
    return cv2.resize(values, size[::-1], interpolation=how)
