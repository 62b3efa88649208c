"""Geometry in whole pixels: nothing is interpolated, the ground truth follows exactly."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from bench.perturb.step import PerturbationError, step

Move = Callable[[np.ndarray], np.ndarray]


@step("crop", values="real", low=0.05, high=1, identity=1, geometric=True, shown=(0.95, 0.9, 0.8, 0.7, 0.5))
def crop(shape: tuple[int, int], share: float, rng: np.random.Generator) -> Move:
    """The middle of the image, to whole pixels; where its corner falls off the 8 x 8 grid, a JPEG's grid shifts.

    Level: kept share, of height and width
    Source: ours; IF-OSN (Wu et al., CVPR 2022) figure 5 goes down to .7
    """
    height, width = (round(side * share) for side in shape)
    if min(height, width) < 1:
        raise PerturbationError(f"crop:{share:g} leaves nothing of {shape[1]} x {shape[0]} pixels")
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return lambda plane: plane[top : top + height, left : left + width]


@step("trim", low=0, high=64, identity=0, geometric=True, shown=(1, 3, 4, 7, 12))
def trim(shape: tuple[int, int], pixels: int, rng: np.random.Generator) -> Move:
    """The first rows and columns cut off: shifts the grid of an earlier JPEG by as many pixels.

    Level: rows and columns, pixels
    Source: ours
    """
    if pixels >= min(shape):
        raise PerturbationError(f"trim:{pixels} leaves nothing of {shape[1]} x {shape[0]} pixels")
    return lambda plane: plane[pixels:, pixels:]


@step(
    "pad",
    values="real",
    low=0,
    high=1,
    identity=0,
    geometric=True,
    growth=lambda share: (1 + 2 * share) ** 2,
    shown=(0.02, 0.05, 0.1, 0.2, 0.5),
)
def pad(shape: tuple[int, int], share: float, rng: np.random.Generator) -> Move:
    """A black frame, which cannot be scored.

    Level: width of the frame on each side, share of height and width
    Source: ours
    """
    rows, columns = (round(side * share) for side in shape)
    return lambda plane: cv2.copyMakeBorder(plane, rows, rows, columns, columns, cv2.BORDER_CONSTANT)


@step("shift", values="real", low=0, high=0.9, identity=0, geometric=True, shown=(0.02, 0.05, 0.1, 0.2, 0.4))
def shift(shape: tuple[int, int], share: float, rng: np.random.Generator) -> Move:
    """Moved right and down by whole pixels in an image of the same size; what it leaves is black, not scored.

    Level: way, share of height and width
    Source: ours
    """
    rows, columns = (int(side * share) for side in shape)

    def move(plane: np.ndarray) -> np.ndarray:
        moved = np.zeros_like(plane)
        moved[rows:, columns:] = plane[: shape[0] - rows, : shape[1] - columns]
        return moved

    return move


@step("flip", values="choice", choices=("horizontal", "vertical"), geometric=True)
def flip(shape: tuple[int, int], direction: str, rng: np.random.Generator) -> Move:
    """Mirrored: left and right, or up and down, exchanged.

    Level: direction
    Source: ours
    """
    return lambda plane: cv2.flip(plane, 1 if direction == "horizontal" else 0)


@step("rotate90", low=0, high=3, identity=0, geometric=True, shown=(1, 2, 3))
def rotate90(shape: tuple[int, int], quarters: int, rng: np.random.Generator) -> Move:
    """Turned anticlockwise by quarters, without interpolation.

    Level: turns, quarters
    Source: ours
    """
    turns = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    return lambda plane: cv2.rotate(plane, turns[quarters - 1]) if quarters else plane
