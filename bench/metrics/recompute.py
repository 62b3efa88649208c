"""Metrics from what is stored of images: of one image, and of a whole test set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.metrics.observation import NotKept, Observation
from bench.metrics.protocol import Protocol
from bench.metrics.registry import find
from bench.metrics.view import Excluded


class Statistics(Mapping):
    """Local name -> statistic of one image, None where there is none; each is read when it is asked for."""

    def __init__(self, observation: Observation, protocol: Protocol):
        self._observation, self._protocol = observation, protocol

    def __getitem__(self, name: str) -> object:
        found = self._found(name)
        return None if isinstance(found, Excluded) else found

    def __iter__(self):
        return iter(self._protocol.kept)

    def __len__(self) -> int:
        return len(self._protocol.kept)

    def excluded(self) -> str:
        """Why the whole image is left out, "" where it is not."""
        found = [self._found(name) for name in self]
        return next((f.reason for f in found if isinstance(f, Excluded) and f.whole_image), "")

    def _found(self, name: str) -> object:
        try:
            return self._observation.statistic(self._protocol.kept[name])
        except NotKept as error:
            raise NotKept(f"{error}; run again with --protocols {self._protocol.name}") from None


def values(statistics: Mapping[str, Any], kind: str, protocol: Protocol) -> dict[str, float]:
    """All numbers of one image; NaN where a statistic is missing."""
    result: dict[str, float] = {}
    for part in protocol.parts:
        arguments = [statistics[name] for name in part.needs]
        missing = any(argument is None for argument in arguments)
        result |= dict.fromkeys(part.metrics, math.nan) if missing else part.of(*arguments, kind)
    return result


def image_metrics(observation: Observation, protocol: str | Protocol) -> dict[str, float]:
    """The metrics of one image under a protocol; {} where the protocol does not count it.

    NaN for a metric that is undefined or has no meaning for this kind of map. Besides `protocol.metrics` there may be
    counts and thresholds. Raises NotKept.
    """
    _, metrics, reason = examined(observation, find(protocol))
    return {} if reason else metrics


def all_metrics(observation: Observation, protocol: Protocol) -> dict[str, float]:
    """As `image_metrics`, but also of images that the protocol does not count; {} where there is nothing to count."""
    statistics = Statistics(observation, protocol)
    return {} if statistics.excluded() else values(statistics, observation.kind, protocol)


def not_counted(observation: Observation, protocol: str | Protocol) -> str:
    """Why the protocol leaves this image out of its pixel metrics; "" where it counts it."""
    return examined(observation, find(protocol))[2]


def examined(observation: Observation, protocol: Protocol) -> tuple[Statistics, dict[str, float], str]:
    """(statistics, metrics, why the image is not counted or "")."""
    statistics = Statistics(observation, protocol)
    if protocol.images == "tampered" and not observation.tampered:
        return statistics, {}, "authentic"
    reason = statistics.excluded()
    if reason:
        return statistics, {}, reason
    metrics = values(statistics, observation.kind, protocol)
    return statistics, metrics, protocol.stops(metrics) if protocol.stops else ""


class SetTotals:
    """Means over images and metrics of the whole set, of one localizer at one perturbation.

    Attributes:
        n_tampered, n_authentic: images added. n_counted: those that the pixel metrics count.
        left_out: reason -> number of the others.
    """

    def __init__(self, protocol: str | Protocol):
        self.protocol = find(protocol)
        protocol = self.protocol
        self.n_tampered = self.n_authentic = self.n_counted = 0
        self.left_out: Counter[str] = Counter()
        self._accumulators = [make() for make in protocol.accumulators]
        self._sums = dict.fromkeys(protocol.metrics, 0.0)
        self._defined = dict.fromkeys(protocol.metrics, 0)

    def add(self, observation: Observation) -> None:
        """Take in one image that was scored. Raises NotKept."""
        self.n_tampered += observation.tampered
        self.n_authentic += not observation.tampered
        statistics, metrics, reason = examined(observation, self.protocol)
        if reason:
            self.left_out[reason] += 1
        else:
            self.n_counted += 1
            for name in self._sums:
                value = metrics[name]
                if self.protocol.average == "mean" or not math.isnan(value):
                    self._sums[name] += value
                    self._defined[name] += 1
        for accumulator in self._accumulators:
            accumulator.add(observation, statistics, not reason)

    def means(self) -> dict[str, float]:
        """Mean of each metric of images by the protocol's own rule; NaN where nothing is defined."""
        return {
            name: total / self._defined[name] if self._defined[name] else math.nan for name, total in self._sums.items()
        }

    def metrics(self) -> dict[str, float]:
        """The metrics of the whole set, `protocol.set_metrics` among them; {} where the protocol has none."""
        result: dict[str, float] = {}
        for accumulator in self._accumulators:
            result |= accumulator.metrics()
        return result
