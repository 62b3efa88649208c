"""The textbook formulas of counts (TP, FP, FN, TN)."""

from __future__ import annotations

import math


def ratio(numerator: float, denominator: float, undefined: float = math.nan) -> float:
    """Their quotient, or `undefined` where the denominator is 0."""
    return numerator / denominator if denominator else undefined


def f1(tp: float, fp: float, fn: float, tn: float = 0, undefined: float = math.nan) -> float:
    """2TP / (2TP + FP + FN)."""
    return ratio(2 * tp, 2 * tp + fp + fn, undefined)


def iou(tp: float, fp: float, fn: float, tn: float = 0, undefined: float = math.nan) -> float:
    """TP / (TP + FP + FN)."""
    return ratio(tp, tp + fp + fn, undefined)


def mcc(tp: float, fp: float, fn: float, tn: float) -> float:
    """Matthews' correlation; 0 for a constant prediction or ground truth (its limit, and scikit-learn's value)."""
    # product of roots: the product of four counts of a 12 MP image is beyond 64 bits
    spread = math.sqrt(tp + fp) * math.sqrt(tp + fn) * math.sqrt(tn + fp) * math.sqrt(tn + fn)
    return ratio(tp * tn - fp * fn, spread, 0.0)


def common(tp: float, fp: float, fn: float, tn: float) -> dict[str, float]:
    """Precision, recall, MCC and accuracy; 0/0 is NaN, except for MCC."""
    return {
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "mcc": mcc(tp, fp, fn, tn),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
    }


def named(tp: float, fp: float, fn: float, tn: float) -> dict[str, float]:
    """The four counts by name, as `evaluate` gives them besides the metrics."""
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn}


def inverted(tp: float, fp: float, fn: float, tn: float) -> tuple[float, float, float, float]:
    """The counts of the inverted map."""
    return fn, tn, tp, fp
