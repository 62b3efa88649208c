"""What a perturbation's own file needs, and nothing else: the decorator, the error, and what a result is.

Everything here enters the key of every perturbed result; names, texts and ranges are read by `registry`, elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.image import ForensicImage


class PerturbationError(ValueError):
    """A perturbation that cannot be had: no such name or level, a codec that is missing, an image that does not fit."""


@dataclass(frozen=True)
class Recompressed(ForensicImage):
    """What a codec that leaves no JPEG bytes gives back: the pixels, and the bytes that its file takes."""

    stored: int = 0


def step(name: str, **facts) -> Callable:
    """Mark a function as the perturbation `name`; its docstring states law, level and source (see `registry.Step`).

    The function is `(image: ForensicImage, level, rng) -> ForensicImage`. rng is the only permitted source of
    randomness: a Generator seeded by test set, image, spec, place in the chain and seed where `deterministic=False`,
    else None. A result whose pixels were not just decoded from a JPEG carries no JPEG bytes; an image that is passed
    through unchanged is returned itself.

    With `geometric=True` it is `(shape, level, rng) -> move`, where `move(plane)` maps an array (H, W) or (H, W, C) of
    any shape[:2] == shape to the new geometry and leaves 0 where nothing of the image comes to lie. The chain moves
    pixels, ground truth and scorable pixels with it.

    facts: values ("integer", "odd", "real", "choice" or "none"), low, high, choices, and what differs from the
        defaults of `registry.Step`.
    """

    def mark(function: Callable) -> Callable:
        function.perturbation = {"name": name, **facts}  # type: ignore[attr-defined]  # functions take attributes
        return function

    return mark
