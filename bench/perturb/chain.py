"""Applying a chain of steps to an image and, where one is geometric, to its ground truth.

Everything here enters the key of every perturbed result: it knows functions and levels, not names, texts or grids.
"""

from __future__ import annotations

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
    """One step of a chain with its level; growth: the factor by which the number of pixels changes at this level."""

    name: str
    function: Callable
    level: int | float | str | None
    geometric: bool = False
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
        rng = generator(position)
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
    for position, link in enumerate(links):
        check_size(link, image.shape)
        if link.geometric:
            # A step before this one may have changed the size alone, which a ground truth does not follow.
            truth = resize_truth(truth, image.shape)
            move = link.function(image.shape, link.level, generator(position))
            shared = reference is image
            moved = _moved(image, move)
            if not shared:
                reference = _moved(_resized(reference, image.shape), move)
            image, reference = moved, moved if shared else reference
            truth = move_truth(truth, move)
        else:
            image = link.function(image, link.level, generator(position))
    same = image.shape == original.shape and image.jpeg == original.jpeg
    unchanged = image is original or (same and np.array_equal(image.rgb, original.rgb))
    return Perturbed(image, truth, reference, unchanged)


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


def move_truth(truth: Truth, move: Callable[[np.ndarray], np.ndarray]) -> Truth:
    """The ground truth in the new geometry; a hard one (0 and 255 only) stays hard: above 127 after interpolation.

    A pixel is scorable where its whole footprint lies in the image and is scorable.
    """
    known = np.ones(truth.shape, np.float32) if truth.scorable is None else truth.scorable.astype(np.float32)
    scorable = move(known) > 0.999
    values = _hardened(move(truth.values), truth.values)
    labels = None if truth.labels is None else _moved_labels(truth.labels, move)
    return Truth(values, labels, None if scorable.all() else scorable)


def resize_truth(truth: Truth, shape: tuple[int, int]) -> Truth:
    """The ground truth at another size, interpolated as `resize` does images."""
    if truth.shape == shape:
        return truth
    method = cv2.INTER_AREA if shape[0] < truth.shape[0] else cv2.INTER_LINEAR
    return move_truth(truth, lambda plane: cv2.resize(plane, shape[::-1], interpolation=method))


def _moved(image: ForensicImage, move: Callable[[np.ndarray], np.ndarray]) -> ForensicImage:
    return ForensicImage(np.ascontiguousarray(move(image.rgb)))


def _resized(image: ForensicImage, shape: tuple[int, int]) -> ForensicImage:
    if image.shape == shape:
        return image
    method = cv2.INTER_AREA if shape[0] < image.shape[0] else cv2.INTER_LINEAR
    return ForensicImage(cv2.resize(image.rgb, shape[::-1], interpolation=method))


def _hardened(moved: np.ndarray, original: np.ndarray) -> np.ndarray:
    moved = np.ascontiguousarray(moved)
    soft = ((original != 0) & (original != 255)).any()
    return moved if soft else np.where(moved > 127, np.uint8(255), np.uint8(0))


def _moved_labels(labels: np.ndarray, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The source that most of a pixel's footprint belongs to; the background only where it has the greater half."""

    def share(label: int) -> np.ndarray:
        return move(np.where(labels == label, np.uint8(255), np.uint8(0)))

    present = [int(label) for label in np.unique(labels) if label]
    background = share(0)
    if not present:
        return np.zeros(background.shape, labels.dtype)
    shares = np.stack([share(label) for label in present])
    found = np.array(present, labels.dtype)[shares.argmax(0)]
    return np.where((background > 127) | (shares.max(0) == 0), labels.dtype.type(0), found)
