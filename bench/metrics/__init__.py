"""Pixel and image metrics under named protocols: exact ones from score maps, and the same from stored evidence."""

from bench.metrics.evaluate import evaluate
from bench.metrics.kernel import Ranking
from bench.metrics.protocols import PROTOCOLS, Protocol, UnknownProtocol, find
from bench.metrics.recompute import SetTotals, image_metrics, set_metrics

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "Ranking",
    "SetTotals",
    "UnknownProtocol",
    "evaluate",
    "find",
    "image_metrics",
    "set_metrics",
]
