"""Pixel and image metrics under named protocols: of score maps at hand, and the same of what was kept of them."""

from bench.metrics.evaluate import evaluate, evaluate_set
from bench.metrics.kernel import Ranking
from bench.metrics.measuring import kept, measure
from bench.metrics.metric import Metric
from bench.metrics.observation import NotKept, Observation
from bench.metrics.protocol import Protocol
from bench.metrics.recompute import SetTotals, image_metrics, not_counted
from bench.metrics.registry import (
    METRICS,
    PROTOCOLS,
    UnknownMetric,
    UnknownProtocol,
    find,
    find_all,
    find_metric,
)

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Metric",
    "NotKept",
    "Observation",
    "Protocol",
    "Ranking",
    "SetTotals",
    "UnknownMetric",
    "UnknownProtocol",
    "evaluate",
    "evaluate_set",
    "find",
    "find_all",
    "find_metric",
    "image_metrics",
    "kept",
    "measure",
    "not_counted",
]
