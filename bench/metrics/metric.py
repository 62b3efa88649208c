"""`Metric`: what a number is called and means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

UP, DOWN, NEITHER = "up", "down", "neither"


@dataclass(frozen=True)
class Part:
    """Metrics of one image that are computed together.

    Attributes:
        metrics: their names.
        needs: local names of the statistics (see `Protocol.kept`) they are computed from, in the order of the
            arguments of `of`. Where one of them is missing, all of the metrics are NaN.
        of: the statistics, then the kind of the score map, to name -> value. It may give further numbers (counts,
            thresholds), which `evaluate` returns and the results table leaves out.
    """

    metrics: tuple[str, ...]
    needs: tuple[str, ...]
    of: Callable[..., dict[str, float]]


@dataclass(frozen=True)
class Metric:
    """One number that protocols report.

    Attributes:
        name: as in the results table.
        title: as in tables and figures.
        definition: one sentence.
        direction: "up" (larger is better), "down" or "neither".
        scope: "image" (one value per image) or "set" (one value per test set).
        low, high: the range.
        empty: what it gives where its definition is 0/0.
        pitfall: what readers get wrong; empty if nothing.
        adds_to: protocols that report it besides those that name it themselves.
        part: how it is computed there.
    """

    name: str
    title: str
    definition: str
    direction: str = UP
    scope: str = "image"
    low: float = 0.0
    high: float = 1.0
    empty: str = "see the protocol"
    pitfall: str = ""
    adds_to: tuple[str, ...] = ()
    part: Part | None = None
