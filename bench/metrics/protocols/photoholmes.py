"""`photoholmes`: the metrics of PhotoHolmes, src/photoholmes/metrics, through torchmetrics 1.9."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.formulas import named, ratio
from bench.metrics.images import ImageScores
from bench.metrics.metric import DOWN, Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator, Protocol, Quirk
from bench.metrics.statistics.counts import AtLeast, Counted, Counts, Over
from bench.metrics.statistics.levels import Histogram, Steps
from bench.metrics.statistics.moments import Moments, Sums
from bench.metrics.steps.score import Probability, SigmoidIfOutside
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

SOFT = "with a pixel of score p called forged to the share p"
METRICS = (
    Metric("fpr_at_1", "FPR at 1", "Share of the pristine pixels whose score is exactly 1.", DOWN),
    Metric("soft_f1", "Soft F1", f"Pixel F1 {SOFT}; weighted v1."),
    Metric("soft_iou", "Soft IoU", f"Pixel IoU {SOFT}; weighted v1."),
    Metric("soft_mcc", "Soft MCC", f"Pixel MCC {SOFT}; weighted v1.", low=-2.0, high=2.0),
    Metric("pooled_soft_f1", "Pooled soft F1", f"Pixel F1 of all images together, {SOFT}; weighted v2.", scope="set"),
    Metric(
        "pooled_soft_iou", "Pooled soft IoU", f"Pixel IoU of all images together, {SOFT}; weighted v2.", scope="set"
    ),
    Metric(
        *("pooled_soft_mcc", "Pooled soft MCC", f"Pixel MCC of all images together, {SOFT}; weighted v2."),
        scope="set",
        low=-1.0,
    ),
    Metric("pooled_precision", "Pooled precision", "Precision of the counts of all images added up.", scope="set"),
    Metric("pooled_recall", "Pooled recall", "Recall of the counts of all images added up.", scope="set"),
    Metric("pooled_mcc", "Pooled MCC", "MCC of the counts of all images added up.", scope="set", low=-1.0),
    Metric(
        *("pooled_fpr_at_1", "Pooled FPR at 1", "Share of all pristine pixels whose score is exactly 1."),
        direction=DOWN,
        scope="set",
    ),
    Metric("image_iou", "Image IoU", "TP / (TP + FP + FN) of images called tampered.", scope="set"),
)
FIXED = ("f1", "iou", "precision", "recall", "mcc", "fpr_at_1")
SOFT_NAMES = ("soft_f1", "soft_iou", "soft_mcc")


def _kept(truth: tuple, score: tuple, soft: tuple) -> dict[str, Kept]:
    view = View(truth, score, equal_sizes=True)
    return {
        "counts": Kept(view, Counts((Over(0.5),))),
        "steps": Kept(view, Steps(100)),
        "ones": Kept(View(truth, soft, equal_sizes=True), Counts((AtLeast(1.0), Over(1.0)))),
        "sums": Kept(View(truth, soft, equal_sizes=True), Moments()),
    }


def binned_auc(steps: Histogram, anchored: bool = False) -> float:
    """Trapezoids over the thresholds of the histogram, 0 where a class is absent.

    anchored: whether the curve begins at (0, 0); in torchmetrics it begins at the highest threshold.
    """
    pristine, forged = steps.total
    above = steps.at_least()[:, ::-1].astype(np.float64)
    fpr, tpr = above[0] / max(1, pristine), above[1] / max(1, forged)
    if anchored:
        fpr, tpr = np.append(0.0, fpr), np.append(0.0, tpr)
    return float(np.dot(np.diff(fpr), (tpr[1:] + tpr[:-1]) / 2)) if pristine and forged else 0.0


def torchmetrics_mcc(tp: float, fp: float, fn: float, tn: float) -> float:
    """torchmetrics' MCC, in its float32, with its rule for a constant prediction or ground truth."""
    if tp + tn and not fp + fn:
        return 1.0
    if fp + fn and not tp + tn:
        return -1.0
    one = np.float32
    true, called, right, whole = (
        (one(tn + fp), one(fn + tp)),
        (one(tn + fn), one(fp + tp)),
        one(tp + tn),
        one(tp + fp + fn + tn),
    )
    numerator = right * whole - (true[0] * called[0] + true[1] * called[1])
    called_spread = whole**2 - (called[0] * called[0] + called[1] * called[1])
    spread = called_spread * (whole**2 - (true[0] * true[0] + true[1] * true[1]))
    if spread == 0:
        tiny = np.finfo(np.float32).eps
        equal = one(tp + tn) if tp == 0 or tn == 0 else one(0)
        unequal = one(fp + fn) if fp == 0 or fn == 0 else one(0)
        numerator = np.sqrt(tiny) * (equal - unequal)
        spread = one(tp + fp + tiny) * one(tp + fn + tiny) * one(tn + fp + tiny) * one(tn + fn + tiny)
    return float(numerator / np.sqrt(spread))


def _fixed(counts: Counted, ones: Counted) -> dict[str, float]:
    tp, fp, fn, tn = counts.confusion()
    pristine = int(ones.total[0])
    equal = int(ones.called[0, 0] - ones.called[1, 0])
    return {
        "f1": ratio(2 * tp, 2 * tp + fp + fn, 0.0),
        "iou": ratio(tp, tp + fp + fn, 0.0),
        "precision": ratio(tp, tp + fp, 0.0),
        "recall": ratio(tp, tp + fn, 0.0),
        "mcc": torchmetrics_mcc(tp, fp, fn, tn),
        "fpr_at_1": ratio(equal, pristine, 0.0),
    }


def fixed(counts: Counted, ones: Counted, kind: str) -> dict[str, float]:
    """The metrics at p > .5 of one image; 0 where they are 0/0."""
    return _fixed(counts, ones) | named(*counts.confusion())


def binned(steps: Histogram, kind: str) -> dict[str, float]:
    """AUC over 100 thresholds, 0 where a class is absent."""
    return {"auc": binned_auc(steps)}


def binned_corrected(steps: Histogram, kind: str) -> dict[str, float]:
    """AUC over 100 thresholds from (0, 0) on, NaN where a class is absent."""
    return {"auc": binned_auc(steps, True) if steps.total.all() else math.nan}


def _soft(sums: Sums) -> tuple[float, float, float]:
    """F1, IoU and MCC, 0 where they are 0/0; the MCC of negative products is NaN."""
    tp, fp, fn, tn = sums.soft_confusion()
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    mcc = math.nan if product < 0 else ratio(tp * tn - fp * fn, math.sqrt(product), 0.0)
    return ratio(2 * tp, 2 * tp + fp + fn, 0.0), ratio(tp, tp + fp + fn, 0.0), mcc


def _extreme(sums: Sums) -> float:
    """1 for a perfect map, -1 for its opposite, else 0."""
    tp, fp, fn, tn = sums.soft_confusion()
    right, wrong = tp + tn != 0, fp + fn != 0
    return float(right and not wrong) - float(wrong and not right)


def soft(sums: Sums, kind: str) -> dict[str, float]:
    """Weighted v1: the MCC of a perfect map is 1 and its formula's value again."""
    f1, iou, mcc = _soft(sums)
    return {"soft_f1": f1, "soft_iou": iou, "soft_mcc": mcc + _extreme(sums)}


def soft_corrected(sums: Sums, kind: str) -> dict[str, float]:
    """Weighted v1, with the formula's MCC."""
    return dict(zip(SOFT_NAMES, _soft(sums), strict=True))


class Pooled(Accumulator):
    """The same of all images together; weighted v2."""

    ANCHORED = False

    def __init__(self):
        self._sums: dict[str, Any] = {}  # name of a statistic -> its sum over the images

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        for name in ("counts", "steps", "ones", "sums") if counted else ():
            found = statistics[name]
            if found is not None:
                self._sums[name] = self._sums[name] + found if name in self._sums else found

    def metrics(self) -> dict[str, float]:
        names = (*(f"pooled_{name}" for name in FIXED), "pooled_auc", *(f"pooled_{name}" for name in SOFT_NAMES))
        if len(self._sums) < 4:
            return dict.fromkeys(names, math.nan)
        fixed_values = _fixed(self._sums["counts"], self._sums["ones"]).values()
        f1, iou, mcc = _soft(self._sums["sums"])
        return dict(
            zip(
                names,
                (
                    *fixed_values,
                    binned_auc(self._sums["steps"], self.ANCHORED),
                    f1,
                    iou,
                    _extreme(self._sums["sums"]) or mcc,
                ),
                strict=True,
            )
        )


class PooledAnchored(Pooled):
    """The same with a curve that begins at (0, 0)."""

    ANCHORED = True


class Detection(ImageScores):
    """The metrics of images in place of pixels."""

    def metrics(self) -> dict[str, float]:
        scores, tampered = self.scores.astype(np.float32), self.tampered
        edges = np.linspace(0, 1, 100).astype(np.float32)
        above = [[np.count_nonzero(scores[tampered == c] >= edge) for edge in edges] for c in (False, True)]
        steps = Histogram(-np.diff(np.array(above, np.int64), append=0, axis=1))
        four = tp, fp, fn, _ = self.confusion()
        return {
            "image_auc": binned_auc(steps),
            "image_iou": ratio(tp, tp + fp + fn, 0.0),
            "image_mcc": torchmetrics_mcc(*four),
            "image_precision": ratio(tp, tp + fp, 0.0),
            "image_tpr": ratio(tp, tp + fn, 0.0),
            "image_f1": ratio(2 * tp, 2 * tp + fp + fn, 0.0),
        }


PHOTOHOLMES = Protocol(
    name="photoholmes",
    version=1,
    title="PhotoHolmes benchmark",
    description=(
        "As the metrics of PhotoHolmes: forged where p > .5, counts of all tampered images added up (pooled), AUC over "
        "100 thresholds, pooled and per image; soft F1, IoU and MCC per image (weighted v1) and pooled (v2)."
    ),
    kept=_kept((Above(0),), (SigmoidIfOutside(),), ()),
    parts=(
        Part(FIXED, ("counts", "ones"), fixed),
        Part(("auc",), ("steps",), binned),
        Part(SOFT_NAMES, ("sums",), soft),
    ),
    headline="pooled_f1",
    set_metrics=(
        *("pooled_f1", "pooled_iou", "pooled_precision", "pooled_recall", "pooled_mcc", "pooled_fpr_at_1"),
        *("pooled_auc", "pooled_soft_f1", "pooled_soft_iou", "pooled_soft_mcc"),
        *("image_auc", "image_iou", "image_mcc", "image_precision", "image_tpr", "image_f1"),
    ),
    accumulators=(Pooled, Detection),
    average="mean",
    mask_rule="> 0 (most of its sets)",
    view="at the size of the ground truth, other sizes refused; values outside 0..1: see quirks",
    threshold="p > .5; AUC: p >= each of 100 thresholds from 0 to 1",
    empty="0/0 is 0 and counts; MCC: 1 or -1 where all is right or wrong, tiny where it is 0/0",
    image_rule="the localizer's own score (else the largest probability), the same metrics with images as pixels",
    quirks=(
        Quirk(
            "curve-not-anchored",
            "The ROC curve begins at the highest threshold, not at (0, 0): a map of all ones has AUC 0.",
            True,
        ),
        Quirk("one-class-auc-0", "The AUC of an image of one class is 0 and counts in the mean.", True),
        Quirk("perfect-mcc-twice", "Soft MCC v1 of a perfect image is 2: 1, and the formula's value again.", True),
        Quirk(
            "silent-sigmoid",
            "A map with a value outside 0..1 goes through a sigmoid for the plain metrics, not for the soft ones: "
            "logits give soft F1 below 0.",
            True,
        ),
        Quirk("fpr-counts-ones", "FPR counts pixels of exactly 1: without a meaning for maps.", True),
        Quirk("float32-sums", "The original adds up in float32: compare at about 1e-5."),
    ),
    twin="photoholmes-corrected",
    original="photoholmes/photoholmes 223762c: src/photoholmes/metrics, benchmark.py l.146-184",
    paper="Flores et al., PhotoHolmes: a Python library for forgery detection in digital images, arXiv 2412.14969",
)
CORRECTED = dataclasses.replace(
    PHOTOHOLMES,
    name="photoholmes-corrected",
    title="PhotoHolmes benchmark, corrected",
    description=(
        "As photoholmes, but the ROC curve begins at (0, 0), AUC is left out for images of one class, the soft MCC of "
        "a perfect image is 1, and logits go through the sigmoid for all metrics."
    ),
    kept=_kept((Above(0),), (Probability(),), (Probability(),)),
    parts=(
        PHOTOHOLMES.parts[0],
        Part(("auc",), ("steps",), binned_corrected),
        Part(SOFT_NAMES, ("sums",), soft_corrected),
    ),
    accumulators=(PooledAnchored, Detection),
    average="nanmean",
    view="at the size of the ground truth, other sizes refused; logits through the sigmoid",
    quirks=PHOTOHOLMES.quirks[4:],
    twin="photoholmes",
)
PROTOCOLS = (PHOTOHOLMES, CORRECTED)
