"""The ground truth of one image as it travels from the test set through perturbations to the protocols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of every pixel of an image.

    Which values count as forged is the protocol's rule, not the test set's: soft edges are kept.

    Attributes:
        values: uint8 (H, W); 255 = forged, 0 = pristine, between them what the mask file holds.
        labels: uint8 (H, W), the number of each pixel's source (0 = the background), where the set tells them
            apart; None otherwise.
        scorable: bool (H, W), False where a pixel cannot be scored (a no-score zone of the set, or a pixel that a
            geometric perturbation made up); None = all can.
    """

    values: np.ndarray
    labels: np.ndarray | None = None
    scorable: np.ndarray | None = None

    def __post_init__(self):
        if self.values.dtype != np.uint8 or self.values.ndim != 2:
            raise ValueError(f"a ground truth is uint8 (H, W), got {self.values.dtype} {self.values.shape}")
        for name in ("labels", "scorable"):
            other = getattr(self, name)
            if other is not None and other.shape != self.values.shape:
                raise ValueError(f"{name} of a ground truth are {other.shape}, its values {self.values.shape}")

    @classmethod
    def pristine(cls, shape: tuple[int, int]) -> Truth:
        """The ground truth of an authentic image of this (height, width)."""
        return cls(np.zeros(shape, np.uint8))

    @classmethod
    def of(cls, forged: np.ndarray) -> Truth:
        """The ground truth of a bool mask (H, W), True = forged."""
        return cls(np.where(forged, np.uint8(255), np.uint8(0)))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.values.shape

    @property
    def forged(self) -> np.ndarray:
        """bool (H, W): values above 127, the rule of most protocols."""
        return self.values > 127
