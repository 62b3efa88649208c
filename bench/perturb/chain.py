"""Applying a chain of steps to an image and, where one is geometric, to its ground truth.

Everything here enters the key of every perturbed result: it knows functions and levels, not names, texts or grids.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from bench.perturb.step import PerturbationError
from bench.truth import Truth
from models.image import ForensicImage

MAX_PIXELS = 2 * 89_478_485  # Pillow refuses to open larger images (DecompressionBombError)


@dataclass(frozen=True)
class Link:
    """One step of a chain with its level.

    random: whether it gets random numbers (else None). growth: factor by which the number of pixels changes.
    """

    name: str
    function: Callable
    level: int | float | str | None
    geometric: bool = False
    random: bool = False
    growth: float = 1.0


@dataclass(frozen=True, eq=False)
class Perturbed:
    """What a perturbation makes of an image and its ground truth.

    image: what localizers see.
    truth: the ground truth in the geometry of `image` where the perturbation is geometric, else as it was; pixels that
        the perturbation made up are not scorable.
    reference: what `image` is compared with to measure severity: the original, moved by the geometric steps alone.
    unchanged: no localizer can tell `image` from the original (and the geometry is the same): not robustness.
    """

    image: ForensicImage
    truth: Truth
    reference: ForensicImage
    unchanged: bool


def apply(links: Sequence[Link], image: ForensicImage, generator: Callable[[int], np.random.Generator]):
    """The perturbed image alone. generator: place in the chain -> its random numbers."""
    for position, link in enumerate(links):
        check_size(link, image.shape)
        rng = generator(position) if link.random else None
        if link.geometric:
            image = _moved(image, link.function(image.shape, link.level, rng))
        else:
            image = link.function(image, link.level, rng)
    return image


def apply_pair(
    links: Sequence[Link], image: ForensicImage, truth: Truth, generator: Callable[[int], np.random.Generator]
) -> Perturbed:
    """Image and ground truth through a chain."""
    original = reference = image
    planes = None
    for position, link in enumerate(links):
        check_size(link, image.shape)
        rng = generator(position) if link.random else None
        if link.geometric:
            planes = planes or Planes.of(truth)
            # A step before this one may have changed the size alone, which a ground truth does not follow.
            shape = image.shape
            planes = planes.moved(functools.partial(resized, shape=shape))
            move = link.function(image.shape, link.level, rng)
            planes, shared = planes.moved(move), reference is image
            moved = _moved(image, move)
            if not shared:
                reference = _moved(ForensicImage(resized(reference.rgb, shape)), move)
            image, reference = moved, moved if shared else reference
        else:
            image = link.function(image, link.level, rng)
    same = image.shape == original.shape and image.jpeg == original.jpeg
    unchanged = image is original or (same and np.array_equal(image.rgb, original.rgb))
    return Perturbed(image, planes.truth(truth) if planes else truth, reference, unchanged)


def generator(position: int, key: tuple[str, str], spec: str, seed: int) -> np.random.Generator:
    """The random numbers of step `position`: PCG64 seeded by a SHA-256 of all its coordinates."""
    coordinates = json.dumps([*key, position, spec, seed])
    digest = hashlib.sha256(coordinates.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def check_size(link: Link, shape: tuple[int, int]) -> None:
    """Raise PerturbationError where the step would make an image that no decoder would open."""
    pixels = shape[0] * shape[1] * link.growth
    if link.growth > 1 and pixels > MAX_PIXELS:
        raise PerturbationError(
            f"{link.name}:{link.level} would make {pixels / 1e6:.0f} megapixels of {shape[1]} x {shape[0]} pixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} are allowed: choose a smaller factor"
        )


@dataclass(frozen=True, eq=False)
class Planes:
    """A ground truth on its way through geometric steps: uint8 (H, W), interpolated as the image is.

    It is cut to whole values only at the end, so that the picture of a mask and the mask stay the same.
    known: 255 where a pixel can be scored. shares: of each source, with its number, how much of a pixel is its.
    """

    values: np.ndarray
    known: np.ndarray
    shares: tuple[tuple[int, np.ndarray], ...] = ()

    @classmethod
    def of(cls, truth: Truth) -> Planes:
        """The planes of a ground truth before the first step."""
        known = np.ones(truth.shape, bool) if truth.scorable is None else truth.scorable
        if truth.labels is None:
            return cls(truth.values, _full(known))
        numbers = (int(n) for n in np.unique(truth.labels) if n)
        return cls(truth.values, _full(known), tuple((n, _full(truth.labels == n)) for n in numbers))

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> Planes:
        """All planes moved; a pixel stays known where its whole footprint was (to half a grey level)."""
        shares = tuple((number, move(share)) for number, share in self.shares)
        return Planes(move(self.values), _full(move(self.known) == 255), shares)

    def truth(self, before: Truth) -> Truth:
        """The ground truth that `before` has become; a hard one (0 and 255 only) is hard again, forged above 127.

        A pixel belongs to the source that has the most of it, where all sources together have more than half.
        """
        soft = ((before.values != 0) & (before.values != 255)).any()
        values = np.ascontiguousarray(self.values) if soft else _full(self.values > 127)
        labels = None
        if before.labels is not None:
            labels = np.zeros(values.shape, before.labels.dtype)
            if self.shares:
                stack = np.stack([share for _, share in self.shares])
                numbers = np.array([number for number, _ in self.shares], labels.dtype)
                labels = np.where(stack.sum(axis=0, dtype=np.int32) > 127, numbers[stack.argmax(axis=0)], labels)
        scorable = self.known == 255
        return Truth(values, labels, None if scorable.all() else scorable)


def resized(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An array (H, W) or (H, W, 3) at another size, interpolated as the perturbation `resize` does."""
    if plane.shape[:2] == shape:
        return plane
    method = cv2.INTER_AREA if shape[0] < plane.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(plane, shape[::-1], interpolation=method)


def _moved(image: ForensicImage, move: Callable[[np.ndarray], np.ndarray]) -> ForensicImage:
    return ForensicImage(np.ascontiguousarray(move(image.rgb)))


def _full(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, np.uint8(255), np.uint8(0))
