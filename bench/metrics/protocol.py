"""`Protocol`: how score maps become numbers, as a named and versioned object of which everything is a field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.metrics.metric import Part
from bench.metrics.observation import Observation
from bench.metrics.view import Kept


class Accumulator:
    """Metrics of a whole test set, gathered image by image; the base class gathers nothing."""

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        """Take in one image, whatever it is.

        statistics: local name -> statistic, of the type that `Protocol.kept` says, None where there is none; read when
            asked for.
        counted: whether the pixel metrics of the protocol count the image.
        """

    def metrics(self) -> dict[str, float]:
        """The metrics of what was added."""
        return {}


@dataclass(frozen=True)
class Quirk:
    """A property of the original code that readers of its numbers do not expect.

    defect: whether it is a mistake of the code rather than a choice.
    """

    name: str
    description: str
    defect: bool = False


@dataclass(frozen=True)
class Protocol:
    """How score maps become numbers.

    Attributes:
        name, title: as in commands and tables; description: one plain sentence.
        version: raised whenever a number under this name could change.
        kept: local name -> the statistic of a view that it is computed from.
        parts: the metrics of one image.
        set_metrics: names of the metrics of a whole set, and accumulators: what makes them.
        headline: the metric to show first.
        images: "tampered" or "all": those that its pixel metrics count.
        stops: from the metrics of one image to the reason why the original code stops at it, "" where it does not;
            such an image is not counted.
        average: "nanmean" (images whose value is undefined are left out) or "mean" (one of them makes the mean NaN).
        own_masks: whether it reads mask values as the original does; if not, `evaluate` takes masks of 0 and 1 as
            forged where they are 1.
        sources: whether it tells several sources apart, and takes score maps (C, H, W) with masks of their numbers.
        mask_rule, view, threshold, polarity, empty, image_rule: the same in words, for tables and pages.
        quirks: what is odd about the original; twin: the protocol without its defects (or, of that one, with them).
        original: repository, commit and files; paper: what it is published in; both "" for this suite's own.
    """

    name: str
    version: int
    title: str
    description: str
    kept: Mapping[str, Kept]
    parts: tuple[Part, ...]
    headline: str
    set_metrics: tuple[str, ...] = ()
    accumulators: tuple[Callable[[], Accumulator], ...] = ()
    images: str = "tampered"
    stops: Callable[[Mapping[str, float]], str] | None = None
    average: str = "nanmean"
    own_masks: bool = True
    sources: bool = False
    mask_rule: str = ""
    view: str = ""
    threshold: str = ""
    polarity: str = "as given"
    empty: str = ""
    image_rule: str = "none"
    quirks: tuple[Quirk, ...] = field(default=())
    twin: str = ""
    original: str = ""
    paper: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of one image."""
        return tuple(name for part in self.parts for name in part.metrics)
