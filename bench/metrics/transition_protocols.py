"""Evaluation protocols: what a pixel metric means, as named and versioned objects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FIXED = ("f1", "iou", "precision", "recall", "mcc", "accuracy")
RANKING = ("auc", "ap", "best_f1", "best_iou")


@dataclass(frozen=True)
class Protocol:
    """How score maps become numbers.

    version: raised whenever a number under this name could change.
    description: one plain sentence for reports.
    metrics: the per-image metrics that it reports, all of them the larger the better.
    set_metrics: the metrics of a whole set that it reports.
    limits: score kind -> (scale, bound): a pixel is called forged where scale * score > bound. A kind without an
        entry ("score") has no fixed-threshold metrics: they are NaN.
    fixed: (tp, fp, fn, tn) -> the fixed-threshold metrics.
    """

    name: str
    version: int
    title: str
    description: str
    metrics: tuple[str, ...]
    set_metrics: tuple[str, ...]
    limits: dict[str, tuple[float, float]]
    fixed: Callable[[float, float, float, float], dict[str, float]]

    def border(self, kind: str, dtype: type = np.float32) -> float | None:
        """The smallest score of this float type that is called forged; None where the kind has no fixed threshold."""
        if kind not in self.limits:
            return None
        dtype = np.dtype(dtype).type
        scale, bound = (dtype(number) for number in self.limits[kind])
        # the product is rounded in the map's own precision, as the scripts do: step to the exact border
        score = dtype(bound / scale)
        while score * scale > bound:
            score = np.nextafter(score, dtype(-np.inf))
        while not score * scale > bound:
            score = np.nextafter(score, dtype(np.inf))
        return float(score)

    def threshold(self, kind: str) -> float:
        """The nominal threshold in the map's own units, NaN where it has none."""
        scale, bound = self.limits.get(kind, (1.0, math.nan))
        return bound / scale


def _ratio(numerator: float, denominator: float, undefined: float = math.nan) -> float:
    return numerator / denominator if denominator else undefined


def _common(tp: float, fp: float, fn: float, tn: float) -> dict[str, float]:
    # product of roots: the product of four counts of a 12 MP image is beyond 64 bits
    spread = math.sqrt(tp + fp) * math.sqrt(tp + fn) * math.sqrt(tn + fp) * math.sqrt(tn + fn)
    return {
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "mcc": _ratio(tp * tn - fp * fn, spread, 0.0),
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
    }


def plain(tp: float, fp: float, fn: float, tn: float) -> dict[str, float]:
    """The textbook definitions; 0/0 is NaN, except MCC, which is 0 for a constant prediction or ground truth
    (its limit, and scikit-learn's value)."""
    f1, iou = _ratio(2 * tp, 2 * tp + fp + fn), _ratio(tp, tp + fp + fn)
    return {"f1": f1, "iou": iou, **_common(tp, fp, fn, tn)}


def mpc_script(tp: float, fp: float, fn: float, tn: float) -> dict[str, float]:
    """F1 and IoU as MPC's stage2/test.py computes them: F1 by scikit-learn with zero_division=0; IoU with 1e-6
    added to the union, and 1 where ground truth and prediction are both empty."""
    union = tp + fp + fn
    f1, iou = _ratio(2 * tp, 2 * tp + fp + fn, 0.0), tp / (union + 1e-6) if union else 1.0
    return {"f1": f1, "iou": iou, **_common(tp, fp, fn, tn)}


NATIVE = Protocol(
    name="native",
    version=1,
    title="Native resolution",
    description=(
        "Tampered images only, each scored at the native resolution of its ground truth, mean over images; "
        "a pixel is called forged where its probability exceeds 0.5 (logit above 0)."
    ),
    metrics=FIXED + RANKING,
    set_metrics=("image_auc", "image_ap", "pooled_auc", "pooled_ap", "pooled_f1"),
    limits={"probability": (1.0, 0.5), "logit": (1.0, 0.0)},
    fixed=plain,
)

MPC = Protocol(
    name="mpc",
    version=1,
    title="MPC test script",
    description=(
        "As the official MPC test script: tampered images only, map resized to the ground truth, forged where "
        "255 p > 127, F1 0 and IoU 1 where both are empty, mean over images; the script knows no AUC, AP or best "
        "threshold, and prints F1 and IoU only: precision, recall, MCC and accuracy are at its threshold."
    ),
    metrics=FIXED,
    set_metrics=(),
    limits={"probability": (255.0, 127.0), "logit": (1.0, math.log(127 / 128))},
    fixed=mpc_script,
)

PROTOCOLS: dict[str, Protocol] = {p.name: p for p in (NATIVE, MPC)}


class UnknownProtocol(ValueError):
    """No protocol of that name; the message lists those there are."""


def find(protocol: str | Protocol) -> Protocol:
    """The protocol of that name, or the one given. Raises UnknownProtocol."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise UnknownProtocol(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]


def borders(kind: str) -> tuple[float, ...]:
    """The fixed thresholds of all protocols for maps of this kind, as `Protocol.border` gives them."""
    found = (p.border(kind) for p in PROTOCOLS.values())
    return tuple(sorted({b for b in found if b is not None}))
