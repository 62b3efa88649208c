"""`Contingency`: how many pixels of each true source each of the predicted sources holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.statistics.packing import pack, unpack
from bench.metrics.view import Excluded

if TYPE_CHECKING:
    from bench.metrics.view import Seen

NO_SOURCES = "the localizer does not tell sources apart, with one map each"
NO_LABELS = "the ground truth does not tell sources apart"


@dataclass(frozen=True, eq=False)
class Table:
    """int64 (C, K): pixels of each predicted source (largest of C maps) and true source (0, ..., K - 1)."""

    counts: np.ndarray

    def to_bytes(self) -> bytes:
        """See `pack`."""
        return pack({"counts": self.counts})


@dataclass(frozen=True)
class Contingency:
    """Of the score maps per source (`extras["sources"]`, (C, H, W)) and the labels of the ground truth."""

    needs_scale: ClassVar[bool] = False

    def measure(self, seen: Seen) -> Table | Excluded:
        """The table of the scored pixels."""
        sources, labels = np.asarray(seen.source.score.extras.get("sources")), seen.source.truth.labels
        if sources.ndim != 3:
            return Excluded(NO_SOURCES, True)
        if labels is None:
            return Excluded(NO_LABELS, True)
        if sources.shape[1:] != labels.shape:
            return Excluded(f"maps {sources.shape} and ground truth {labels.shape} must agree in size", True)
        predicted, known = np.argmax(sources, axis=0), int(labels.max()) + 1
        pairs = predicted * known + labels
        pairs = pairs.ravel() if seen.scored is None else pairs[seen.scored]
        return Table(np.bincount(pairs, minlength=len(sources) * known).reshape(len(sources), known))

    def read(self, data: bytes) -> Table:
        """What `to_bytes` packed."""
        return Table(unpack(data)["counts"])
