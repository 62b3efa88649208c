"""What a protocol does before it counts: a `View` of a score map and its ground truth, and the statistic kept of it.

A view is data: steps for the ground truth, steps for the score, a region. What several views of one map have in
common is made once. This module and all steps and statistics are leaves: they import no registry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from bench.metrics.kernel import Ranking

if TYPE_CHECKING:
    from bench.truth import Truth
    from models.image import ScoreMap

NO_SCALE = "the map is an unbounded score, without a threshold or a probability that has a meaning"
NO_PIXEL = "no pixel can be scored"


class Step(Protocol):
    """One step of a view: a frozen dataclass, so that its text tells it from every other.

    A step that resamples also has `footprint(unscorable, source)`, bool (H, W) to bool: True where any pixel that
    the result depends on is unscorable.
    """

    def __call__(self, values: np.ndarray, source: Source, /) -> np.ndarray:
        """Values (H, W) to values of the same or another size."""


class Packed(Protocol):
    """A statistic of one image, which packs itself."""

    def to_bytes(self) -> bytes:
        """The packed form, which never begins with a zero byte unless it is that of `Excluded`."""


class Statistic(Protocol):
    """What is kept of a view: a frozen dataclass with the parameters, whose results pack themselves.

    needs_scale: whether it means nothing for maps of kind "score".
    """

    needs_scale: ClassVar[bool]

    def measure(self, seen: Seen) -> Packed:
        """The statistic of the scored pixels."""

    def read(self, data: bytes) -> object:
        """What `to_bytes` wrote."""


@dataclass(frozen=True)
class Excluded:
    """There is no such statistic of this image: why, and whether the protocol leaves the whole image out for it."""

    reason: str
    whole_image: bool

    def to_bytes(self) -> bytes:
        """A zero byte, the flag, the reason in UTF-8."""
        return bytes([0, self.whole_image]) + self.reason.encode()


@dataclass(frozen=True)
class View:
    """What a protocol does before it counts.

    Attributes:
        truth: from the uint8 values of the ground truth (255 = forged) to bool, True = forged.
        score: from the values of the score map to the float32 or uint8 values that are counted. Both end at the same
            size.
        region: from the bool ground truth of that size to bool, True = scored. None: all pixels are.
        equal_sizes: whether the protocol refuses maps of another size than the ground truth.
    """

    truth: tuple[Step, ...]
    score: tuple[Step, ...] = ()
    region: Step | None = None
    equal_sizes: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps."""
        return (*self.truth, *self.score, *([self.region] if self.region else []))


class Seen:
    """A view of one score map: values (H, W), forged bool (H, W), scored bool (H, W) or None for all."""

    def __init__(self, values: np.ndarray, forged: np.ndarray, scored: np.ndarray | None, source: Source):
        self.values, self.forged, self.scored = values, forged, scored
        self.kind, self.source = source.kind, source

    @cached_property
    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """(values, forged) of the scored pixels, both (N,)."""
        if self.scored is None:
            return self.values.ravel(), self.forged.ravel()
        return self.values[self.scored], self.forged[self.scored]

    @cached_property
    def order(self) -> Ranking:
        """The scored pixels in order; -0.0 and 0.0 are one score."""
        values, forged = self.pixels
        return Ranking.of(values + np.float32(0), forged)

    @cached_property
    def complement_order(self) -> Ranking:
        """The order of 1 - score, in float32, which makes one of small scores that differ."""
        positives, negatives = ((np.float32(1) - s)[::-1] for s in (self.order.positives, self.order.negatives))
        return Ranking.of_sorted(positives, negatives)


class Source:
    """One score map and its ground truth while they are measured; each step is done once for the same input."""

    def __init__(self, score: ScoreMap, truth: Truth):
        self.score, self.truth, self.kind = score, truth, score.kind
        self._made: dict[tuple, tuple[np.ndarray, tuple]] = {}
        self._seen: dict[tuple, Seen] = {}
        self._truths: list[np.ndarray] = []

    def made(self, step: Callable, *values: np.ndarray) -> np.ndarray:
        """The result of a step; the same array for the same step and the same arrays."""
        key = (step, *map(id, values))
        if key not in self._made:
            self._made[key] = step(*values, self), values  # the input is kept so that its id stays its own
        return self._made[key][0]

    def see(self, view: View) -> Seen | Excluded:
        """The view of this map; one object for views that come to the same arrays."""
        if view.equal_sizes and self.score.values.shape != self.truth.shape:
            sizes = "{} x {} against {} x {}".format(*self.score.values.shape, *self.truth.shape)
            return Excluded(f"map and ground truth must agree in size ({sizes})", True)
        values, forged = self.score.values, self.truth.values
        for step in view.score:
            values = self.made(step, values)
        for step in view.truth:
            forged = self.made(step, forged)
        forged = self._known(forged)
        left_out = self._unscorable(view)
        if left_out is not None and left_out.all():
            return Excluded(NO_PIXEL, True)
        scored = None if left_out is None else ~left_out
        if view.region is not None:
            # a region is drawn around the forged pixels that can be scored: what the others are is not known
            region = self.made(view.region, forged if scored is None else forged & scored)
            scored = region if scored is None else region & scored
        if scored is not None and not scored.any():
            return Excluded(NO_PIXEL, False)
        return self._seen.setdefault((id(values), id(forged), id(scored)), Seen(values, forged, scored, self))

    def _known(self, forged: np.ndarray) -> np.ndarray:
        """An equal ground truth that another view has already: rules differ, masks of two levels do not care."""
        for known in self._truths:
            if known is forged or np.array_equal(known, forged):
                return known
        self._truths.append(forged)
        return forged

    def _unscorable(self, view: View) -> np.ndarray | None:
        """Bool at the size of the view: True where the result depends on a pixel that cannot be scored; or None."""
        if self.truth.scorable is None:
            return None
        both = self.score.values.shape == self.truth.shape
        left_out = None
        for steps in (view.truth, view.score) if both else (view.truth,):
            unscorable = ~self.truth.scorable
            for step in steps:
                if hasattr(step, "footprint"):
                    unscorable = step.footprint(unscorable, self)
            left_out = unscorable if left_out is None else left_out | unscorable
        return left_out


@dataclass(frozen=True)
class Kept:
    """A statistic of a view, as one run keeps it. Protocols with the same view and statistic share it."""

    view: View
    statistic: Statistic

    @cached_property
    def name(self) -> str:
        """Kind of the statistic, and a digest of all parameters of view and statistic."""
        text = f"{self.view!r} {self.statistic!r}"
        return f"{type(self.statistic).__name__.lower()}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Dotted names of the modules whose code makes it."""
        parts = (self, self.statistic, *self.view.steps)
        return tuple(sorted({type(part).__module__ for part in parts}))

    def measure(self, source: Source) -> bytes:
        """The packed statistic of one map, or the packed reason why there is none."""
        if source.kind == "score" and self.statistic.needs_scale:
            return Excluded(NO_SCALE, False).to_bytes()
        seen = source.see(self.view)
        return (seen if isinstance(seen, Excluded) else self.statistic.measure(seen)).to_bytes()

    def read(self, data: bytes) -> object:
        """What `measure` packed: the statistic, or `Excluded`. Raises ValueError for damaged bytes."""
        if data[:1] == b"\0":
            return Excluded(data[2:].decode(), bool(data[1]))
        return self.statistic.read(data)
