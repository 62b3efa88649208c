"""`catnet`: the validation of CAT-Net, lib/core/function.py."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.formulas import named
from bench.metrics.metric import Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator, Protocol, Quirk
from bench.metrics.statistics.counts import AtLeast, Counted, Counts, Over
from bench.metrics.steps.region import OfTruth
from bench.metrics.steps.score import LogOdds
from bench.metrics.steps.size import Linear, PaddedTo8
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

METRICS = (
    Metric("iou_pristine", "IoU pristine", "IoU of pristine pixels."),
    Metric("mean_accuracy", "Mean accuracy", "Mean of the recalls of forged and of pristine pixels."),
    Metric("pooled_iou_pristine", "Pooled IoU pristine", "IoU of pristine pixels of all images together.", scope="set"),
    Metric("pooled_mean_accuracy", "Pooled mean accuracy", "Mean recall of both classes, pooled.", scope="set"),
)
CUTS = Counts((Over(0.0), AtLeast(0.0)))
RESIZED = Kept(View(truth=(Above(0),), score=(LogOdds(), Linear("truth"))), CUTS)
PADDED = Kept(
    View(truth=(PaddedTo8(), Above(0)), score=(LogOdds(), Linear("truth padded to 8")), region=OfTruth()), CUTS
)
NAMES = ("mean_iou", "permuted_mean_iou", "iou_pristine", "iou", "accuracy", "mean_accuracy")


def ious(tp: float, fp: float, fn: float, tn: float) -> tuple[float, float]:
    """IoU of pristine and of forged pixels, denominators at least 1."""
    return tn / max(1.0, tn + fp + fn), tp / max(1.0, tp + fp + fn)


def permuted(tp: float, fp: float, fn: float, tn: float) -> float:
    """Mean IoU of the inverted prediction."""
    return 0.5 * fn / max(1.0, fn + tp + tn) + 0.5 * fp / max(1.0, fp + tp + tn)


def _mean_accuracy(tp: float, fp: float, fn: float, tn: float) -> float:
    return 0.5 * tn / max(1.0, tn + fp) + 0.5 * tp / max(1.0, tp + fn)


def script(counts: Counted, kind: str) -> dict[str, float]:
    """The numbers of one image."""
    four = tp, _, _, tn = counts.confusion()
    pristine, forged = ious(*four)
    mean = (pristine + forged) / 2
    values = {"mean_iou": mean, "permuted_mean_iou": max(mean, permuted(*four))}
    values |= {"iou_pristine": pristine, "iou": forged, "accuracy": (tp + tn) / sum(four)}
    return values | {"mean_accuracy": _mean_accuracy(*four), **named(*four)}


def corrected(counts: Counted, kind: str) -> dict[str, float]:
    """The same with means over the classes that are there, in the ground truth or the prediction."""
    tp, fp, fn, tn = counts.confusion()
    values = script(counts, kind)

    def mean(*parts: tuple[float, float]) -> float:
        return float(np.mean([part / whole for part, whole in parts if whole]))

    values["mean_iou"] = mean((tn, tn + fp + fn), (tp, tp + fp + fn))
    values["permuted_mean_iou"] = max(values["mean_iou"], mean((fn, fn + tp + tn), (fp, fp + tp + tn)))
    values["mean_accuracy"] = mean((tn, tn + fp), (tp, tp + fn))
    return values


class Pooled(Accumulator):
    """The same of the counts of all images added up."""

    def __init__(self):
        self.counts: Counted | None = None

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        if counted and statistics["counts"] is not None:
            counts: Counted = statistics["counts"]
            self.counts = counts if self.counts is None else self.counts + counts

    def metrics(self) -> dict[str, float]:
        names = ("pooled_mean_iou", "pooled_iou_pristine", "pooled_iou", "pooled_accuracy", "pooled_mean_accuracy")
        if self.counts is None:
            return dict.fromkeys(names, math.nan)
        four = tp, _, _, tn = self.counts.confusion()
        pristine, forged = ious(*four)
        values = ((pristine + forged) / 2, pristine, forged, (tp + tn) / sum(four), _mean_accuracy(*four))
        pooled = {f"pooled_{name}": value for name, value in named(*four).items()}
        return dict(zip(names, values, strict=True)) | pooled


def protocol(padded: bool = False) -> Protocol:
    """The validation, with labels as they are or padded to multiples of 8, where the map is stretched to them."""
    return Protocol(
        name="catnet",
        version=1,
        title="CAT-Net validation",
        description=(
            "As CAT-Net's validation: logits resized to the ground truth, forged where above 0; mean IoU of both "
            "classes and its permuted form per image, mean over all images, authentic ones included; pooled values."
        ),
        kept={"counts": PADDED if padded else RESIZED},
        parts=(Part(NAMES, ("counts",), script),),
        headline="permuted_mean_iou",
        set_metrics=(
            *("pooled_mean_iou", "pooled_iou_pristine", "pooled_iou", "pooled_accuracy", "pooled_mean_accuracy"),
        ),
        accumulators=(Pooled,),
        images="all",
        mask_rule="> 0 (most of its sets)",
        view="logits resized (bilinear) to the ground truth",
        threshold="logit > 0, a tie is pristine",
        polarity="as given; permuted: the better of map and inverted map",
        empty="denominators at least 1: the IoU of an absent class is 0",
        quirks=(
            Quirk("absent-class-counts-0", "A perfect authentic image has mean IoU .5: its forged IoU is 0/1.", True),
            Quirk("no-f1", "The repository has no F1, AP or AUC: the papers' permuted F1 has no code in it."),
        ),
        twin="catnet-corrected",
        original="mjkwon2021/CAT-Net 331b805: lib/core/function.py l.97-164, lib/utils/utils.py l.123-146",
        paper=(
            "Kwon et al., Learning JPEG Compression Artifacts for Image Manipulation Detection and "
            "Localization, IJCV 2022"
        ),
    )


CORRECTED = dataclasses.replace(
    protocol(),
    name="catnet-corrected",
    title="CAT-Net validation, corrected",
    description="As catnet, but means are over the classes that are there, in the ground truth or the prediction.",
    parts=(Part(NAMES, ("counts",), corrected),),
    empty="an absent class does not count",
    quirks=(),
    twin="catnet",
)
PROTOCOLS = (protocol(), CORRECTED)
