"""`Observation`: what is stored of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.metrics.view import Kept


class NotKept(ValueError):
    """A statistic that a protocol needs was not kept; the message says what a run needs."""


@dataclass(frozen=True)
class Observation:
    """What is known of one image and one score map, once the map is gone.

    Attributes:
        tampered: whether the test set calls the image tampered.
        kind: kind of the score map ("probability", "logit", "score").
        image_score: the localizer's own image-level score, None where it has none.
        max_score: the maximum of its map at the size of the ground truth, in the map's own units.
        statistics: name of a kept statistic -> its bytes, as `measure` gives them.
    """

    tampered: bool
    kind: str
    image_score: float | None
    max_score: float
    statistics: Mapping[str, bytes]
    _read: dict[str, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def statistic(self, kept: Kept) -> object:
        """The statistic, or `Excluded`; decoded once. Raises NotKept, and ValueError for damaged bytes."""
        if kept.name not in self._read:
            if kept.name not in self.statistics:
                raise NotKept(f"the statistic {kept.name} was not kept")
            self._read[kept.name] = kept.read(self.statistics[kept.name])
        return self._read[kept.name]
