"""From a score map to the bytes that are kept of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.metrics.protocol import Protocol
from bench.metrics.registry import find
from bench.metrics.view import Kept, Source
from bench.truth import Truth
from models.image import ScoreMap


def measure(score: ScoreMap, truth: Truth, tampered: bool, protocols: Iterable[str | Protocol]) -> dict[str, bytes]:
    """Name of a kept statistic -> its bytes, of everything that the protocols need.

    Raises ValueError for forged pixels in an image that is said to be authentic.
    """
    if not tampered and truth.values.any():
        raise ValueError(f"authentic, yet its mask has {np.count_nonzero(truth.values)} forged pixels")
    source = Source(score, truth)
    return {name: kept.measure(source) for name, kept in _all(protocols).items()}


def kept(protocols: Iterable[str | Protocol]) -> dict[str, tuple[str, ...]]:
    """Name of a kept statistic -> the leaf modules whose code makes it."""
    return {name: kept.modules for name, kept in _all(protocols).items()}


def _all(protocols: Iterable[str | Protocol]) -> dict[str, Kept]:
    return {kept.name: kept for protocol in protocols for kept in find(protocol).kept.values()}
