"""Image-level scores of a test set, for the accumulators of protocols."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.kernel import Ranking
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator


class ImageScores(Accumulator):
    """Gathers one score per image: the localizer's own, and the largest probability of its map."""

    def __init__(self):
        self._tampered: list[bool] = []
        self._own: list[float | None] = []
        self._largest: list[float] = []
        self._scaled = True

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        """Take in one image: its label and its scores."""
        self._tampered.append(observation.tampered)
        self._own.append(observation.image_score)
        self._largest.append(self.largest_of(observation, statistics))
        self._scaled &= observation.kind != "score"

    def largest_of(self, observation: Observation, statistics: Mapping[str, Any]) -> float:
        """The largest probability of a map (of an unbounded score: the largest score)."""
        largest = observation.max_score
        if observation.kind != "logit":
            return largest
        return 1 / (1 + math.exp(-largest)) if largest > -700 else 0.0

    @property
    def tampered(self) -> np.ndarray:
        """Bool (N,)."""
        return np.array(self._tampered, bool)

    @property
    def largest(self) -> np.ndarray:
        """float64 (N,), the largest probability of each map."""
        return np.array(self._largest, np.float64)

    @property
    def own(self) -> bool:
        """Whether the localizer gives all images a score of its own: the two kinds never mix in one ranking."""
        return bool(self._own) and all(score is not None for score in self._own)

    @property
    def scores(self) -> np.ndarray:
        """float64 (N,), the localizer's own score where it gives all images one, else the largest probability."""
        return np.array(self._own, np.float64) if self.own else self.largest

    def confusion(self, largest: bool = False) -> tuple[float, float, float, float]:
        """(TP, FP, FN, TN) of images called tampered where their score is above .5.

        largest: of the largest probability instead of `scores`. NaN where that is of an unbounded score.
        """
        if not self._scaled and (largest or not self.own):
            return (math.nan,) * 4
        return confusion((self.largest if largest else self.scores) > 0.5, self.tampered)


def auc(scores: np.ndarray, tampered: np.ndarray) -> float:
    """Area under the ROC curve, ties half; NaN where one class is absent or a score is NaN."""
    return math.nan if np.isnan(scores).any() else Ranking.of(scores, tampered).auc()


def confusion(called: np.ndarray, tampered: np.ndarray) -> tuple[int, int, int, int]:
    """(TP, FP, FN, TN) of images."""
    tp, fp = int(np.count_nonzero(called & tampered)), int(np.count_nonzero(called & ~tampered))
    n_tampered = int(np.count_nonzero(tampered))
    return tp, fp, n_tampered - tp, tampered.size - n_tampered - fp
