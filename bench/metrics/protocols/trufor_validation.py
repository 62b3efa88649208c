"""`trufor-validation`: the validation of TruFor's training, lib/core/function.py."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bench.metrics.formulas import named
from bench.metrics.metric import DOWN, Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator, Protocol, Quirk
from bench.metrics.statistics.counts import AtLeast, Counted, Counts, Over
from bench.metrics.statistics.moments import Moments, Sums
from bench.metrics.steps.score import LogOdds, Sigmoid
from bench.metrics.steps.size import Linear
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

SMOOTH = "1 is added to numerator and denominator."
METRICS = (
    Metric("mean_iou_smooth", "Mean IoU, smooth", f"Mean IoU of both classes; {SMOOTH}"),
    Metric("iou_smooth", "IoU, smooth", f"IoU of forged pixels; {SMOOTH}"),
    Metric("permuted_mean_iou_smooth", "Permuted mean IoU, smooth", f"Permuted mean IoU; {SMOOTH}"),
    Metric("permuted_f1_smooth", "Permuted F1, smooth", f"Permuted F1; {SMOOTH}"),
    Metric("mse", "Pixel MSE", "Mean of (p - truth) squared over the pixels: the Brier score.", DOWN),
    Metric("pooled_mean_iou_smooth", "Pooled mean IoU, smooth", f"Mean IoU of all pixels; {SMOOTH}", scope="set"),
)
NAMES = (
    *("mean_iou", "mean_iou_smooth", "iou_smooth", "permuted_mean_iou", "permuted_mean_iou_smooth"),
    *("permuted_f1", "permuted_f1_smooth", "accuracy"),
)
STEPS = (LogOdds(), Linear("truth"))


def _over(part: float, whole: float, smooth: float) -> float:
    return (part + smooth) / (whole + smooth) if smooth else part / max(1.0, whole)


def mean_iou(tp: float, fp: float, fn: float, tn: float, smooth: float = 0.0) -> float:
    """Mean of the IoU of both classes."""
    return (_over(tn, tn + fp + fn, smooth) + _over(tp, tp + fp + fn, smooth)) / 2


def _numbers(counts: Counted, right: bool) -> dict[str, float]:
    four = tp, fp, fn, tn = counts.confusion()
    whole = 2 * fn + tp + tn if right else 2 * tp + fn + tn  # the denominator of the inverted F1
    values = {"accuracy": (tp + tn) / sum(four), "iou_smooth": _over(tp, tp + fp + fn, 1.0)}
    for suffix, smooth in (("", 0.0), ("_smooth", 1.0)):
        mean = mean_iou(*four, smooth)
        values[f"mean_iou{suffix}"] = mean
        values[f"permuted_mean_iou{suffix}"] = max(mean, mean_iou(fn, tn, tp, fp, smooth))
        f1 = _over(2 * tp, 2 * tp + fn + fp, smooth)
        other = _over(2 * fn, whole, smooth)
        values[f"permuted_f1{suffix}"] = max(f1, other)
    return values | named(*four)


def script(counts: Counted, kind: str) -> dict[str, float]:
    """The numbers of one image."""
    return _numbers(counts, False)


def corrected(counts: Counted, kind: str) -> dict[str, float]:
    """The same with the F1 of the inverted map, 2FN / (2FN + TP + TN)."""
    return _numbers(counts, True)


def squared(sums: Sums, kind: str) -> dict[str, float]:
    """Mean squared error of the probabilities."""
    return {"mse": sums.mean_squared_error()}


class Whole(Accumulator):
    """Pooled values, and detection.

    An image is called tampered where its largest logit is above 0 and authentic where it is below; it is tampered
    where more than 3 pixels are forged, whatever the set says.
    """

    def __init__(self):
        self._counts: Counted | None = None
        self._right, self._all = [0, 0], [0, 0]

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        counts: Counted | None = statistics["counts"] if counted else None
        if counts is None:
            return
        self._counts = counts if self._counts is None else self._counts + counts
        tampered = int(counts.total[1]) > 3
        above, not_below = (int(row.sum()) for row in counts.called)
        self._all[tampered] += 1
        self._right[tampered] += above > 0 if tampered else not_below == 0

    def metrics(self) -> dict[str, float]:
        tnr, tpr = (right / whole if whole else math.nan for right, whole in zip(self._right, self._all, strict=True))
        both = 0.0 if math.isnan(tnr + tpr) else (tpr + tnr) / 2
        detection = {"image_tpr": tpr, "image_tnr": tnr, "image_balanced_accuracy": both}
        if self._counts is None:
            pooled = dict.fromkeys(("pooled_mean_iou", "pooled_mean_iou_smooth", "pooled_accuracy"), math.nan)
        else:
            four = tp, _, _, tn = self._counts.confusion()
            pooled = {"pooled_mean_iou": mean_iou(*four), "pooled_mean_iou_smooth": mean_iou(*four, 1.0)}
            pooled["pooled_accuracy"] = (tp + tn) / sum(four)
        return pooled | detection


VALIDATION = Protocol(
    name="trufor-validation",
    version=1,
    title="TruFor validation",
    description=(
        "As the validation during TruFor's training, not its test: logits resized to the ground truth, forged where "
        "above 0; mean IoU, permuted mean IoU and permuted F1 per image, plain and smooth, mean over all images."
    ),
    kept={
        "counts": Kept(View(truth=(Above(0),), score=STEPS), Counts((Over(0.0), AtLeast(0.0)))),
        "sums": Kept(View(truth=(Above(0),), score=(*STEPS, Sigmoid())), Moments()),
    },
    parts=(Part(NAMES, ("counts",), script), Part(("mse",), ("sums",), squared)),
    headline="permuted_f1",
    set_metrics=(
        *("pooled_mean_iou", "pooled_mean_iou_smooth", "pooled_accuracy"),
        *("image_tpr", "image_tnr", "image_balanced_accuracy"),
    ),
    accumulators=(Whole,),
    images="all",
    mask_rule="> 0",
    view="logits resized (bilinear) to the ground truth",
    threshold="logit > 0, a tie is pristine",
    polarity="permuted: the better of map and (wrongly) inverted map",
    empty="denominators at least 1: the IoU or F1 of an absent class is 0; smooth: 1",
    image_rule="largest logit > 0 tampered, < 0 authentic; an image is tampered if more than 3 pixels are forged",
    quirks=(
        Quirk(
            "inverted-f1-wrong",
            "The F1 of the inverted map has 2TP instead of 2FN in its denominator: it can exceed 1.",
            True,
        ),
        Quirk("three-pixels-authentic", "An image of up to 3 forged pixels is authentic at image level."),
    ),
    twin="trufor-validation-corrected",
    original="grip-unina/TruFor ae54475: TruFor_train_test/lib/core/function.py l.77-262",
    paper=(
        "Guillaro et al., TruFor: Leveraging All-Round Clues for Trustworthy Image Forgery "
        "Detection and Localization, CVPR 2023"
    ),
)
CORRECTED = dataclasses.replace(
    VALIDATION,
    name="trufor-validation-corrected",
    title="TruFor validation, corrected",
    description="As trufor-validation, but with the F1 of the inverted map in the permuted F1.",
    parts=(Part(NAMES, ("counts",), corrected), VALIDATION.parts[1]),
    polarity="permuted: the better of map and inverted map",
    quirks=VALIDATION.quirks[1:],
    twin="trufor-validation",
)
PROTOCOLS = (VALIDATION, CORRECTED)
