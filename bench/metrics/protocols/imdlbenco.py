"""`imdlbenco`: the evaluators of IMDL-BenCo, which Mesorch and ForensicHub import."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bench.metrics.formulas import f1, inverted, iou, named, ratio
from bench.metrics.images import ImageScores, auc
from bench.metrics.metric import Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.statistics.counts import ComplementOver, Counted, Counts, Over
from bench.metrics.statistics.peak import Largest, Peak
from bench.metrics.statistics.rank import Rank, Ranks
from bench.metrics.steps.score import Probability
from bench.metrics.steps.size import Cropped, Linear, Nearest, Padded
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

METRICS = (
    Metric("reverse_f1", "F1, reverse", "F1 of the map inverted after its threshold."),
    Metric("double_f1", "F1, double", "Larger of F1 and F1 of the inverted map: Mesorch's permute-F1."),
    Metric("reverse_iou", "IoU, reverse", "IoU of the inverted map."),
    Metric("double_iou", "IoU, double", "Larger of IoU and IoU of the inverted map."),
    Metric("reverse_auc", "AUC, reverse", "AUC of the inverted map."),
    Metric("double_auc", "AUC, double", "Larger of AUC and AUC of the inverted map."),
    Metric("reverse_accuracy", "Accuracy, reverse", "Accuracy of the inverted map."),
    Metric("double_accuracy", "Accuracy, double", "Larger of accuracy and accuracy of the inverted map."),
    Metric(
        "accuracy_tail",
        "Accuracy, tail",
        "Accuracy as the tail of the set is counted, where padding is scored as if it were of the image.",
    ),
    Metric("image_f1_of_max", "Image F1 of maximum", "Image F1 of the largest probability of the map.", scope="set"),
    Metric("image_auc_of_max", "Image AUC of maximum", "Image AUC of the largest probability of the map.", scope="set"),
    Metric(
        *(
            "image_accuracy_of_max",
            "Image accuracy of maximum",
            "Image accuracy of the largest probability of the map.",
        ),
        scope="set",
    ),
)
FOUND = ("f1", "reverse_f1", "double_f1", "iou", "reverse_iou", "double_iou")
RIGHT = ("accuracy", "reverse_accuracy", "double_accuracy", "accuracy_tail")
ORDER = ("auc", "reverse_auc", "double_auc")
CUTS = Counts((Over(0.5), ComplementOver(0.5)))
PEAK = Kept(View(truth=(Nearest("score"), Above(127)), score=(Probability(),)), Peak())
UNDEFINED = math.nan


def f1_of(tp: float, fp: float, fn: float, tn: float = 0, tiny: float = 1e-8) -> float:
    """F1 of precision and recall with a tiny number added to each denominator."""
    precision, recall = tp / (tp + fp + tiny), tp / (tp + fn + tiny)
    return 2 * precision * recall / (precision + recall + tiny)


def counted(counts: Counted, kind: str) -> dict[str, float]:
    """F1, IoU and accuracy of the map, of the inverted map, and the larger one."""
    four = tp, fp, fn, tn = counts.confusion(0)
    back_tp, back_fp, back_fn, _ = counts.confusion(1)  # IoU inverts before the threshold
    values = {"f1": f1_of(*four), "reverse_f1": f1_of(*inverted(*four))}
    values |= {"iou": tp / (tp + fp + fn + 1e-8), "reverse_iou": back_tp / (back_tp + back_fp + back_fn + 1e-8)}
    right = (tp + tn) / sum(four)
    values |= {"accuracy": right, "reverse_accuracy": 1 - right, "accuracy_tail": right}
    return values | _doubles(values, "f1", "iou", "accuracy") | named(*four)


def corrected(counts: Counted, kind: str) -> dict[str, float]:
    """The same with textbook formulas, undefined where a class is absent, and one inversion for all."""
    four = tp, _, fn, tn = counts.confusion(0)
    back = inverted(*four)
    right = ratio(tp + tn, sum(four))
    values = {"f1": f1(*four), "reverse_f1": f1(*back), "iou": iou(*four), "reverse_iou": iou(*back)}
    values |= {"accuracy": right, "reverse_accuracy": 1 - right}
    if not tp + fn:  # authentic: nothing can be found
        values |= dict.fromkeys(("f1", "reverse_f1", "iou", "reverse_iou"), UNDEFINED)
    return values | _doubles(values, "f1", "iou", "accuracy") | named(*four)


def ranked(rank: Ranks, reverse: Ranks, kind: str) -> dict[str, float]:
    """AUC with ties half, the mean over all orders of tied pixels; 0 without forged pixels, NaN without pristine."""
    bounds = zip(
        ("auc_low", "auc_high", "reverse_auc_low", "reverse_auc_high"),
        (*rank.auc_bounds(), *reverse.auc_bounds()),
        strict=True,
    )
    empty = 0.0 if not rank.n_forged else UNDEFINED
    one_class = not (rank.n_forged and rank.n_pristine)
    values = {"auc": empty, "reverse_auc": empty} if one_class else {"auc": rank.auc(), "reverse_auc": reverse.auc()}
    return values | _doubles(values, "auc") | dict(bounds)


def ranked_corrected(rank: Ranks, kind: str) -> dict[str, float]:
    """AUC with ties half, NaN where one class is absent."""
    values = {"auc": rank.auc(), "reverse_auc": 1 - rank.auc()}
    return values | _doubles(values, "auc")


def _doubles(values: Mapping[str, float], *names: str) -> dict[str, float]:
    return {f"double_{name}": max(values[name], values[f"reverse_{name}"]) for name in names}


class ImageLevel(ImageScores):
    """ImageF1, ImageAUC, ImageAccuracy at > .5: of the scores, and of the largest probability of each map."""

    def largest_of(self, observation: Observation, statistics: Mapping[str, Any]) -> float:
        peak: Largest | None = statistics["peak"]
        return super().largest_of(observation, statistics) if peak is None else peak.value

    def metrics(self) -> dict[str, float]:
        result = {}
        for scores, suffix in ((self.scores, ""), (self.largest, "_of_max")):
            tp, fp, fn, tn = self.confusion(largest=bool(suffix))
            result[f"image_f1{suffix}"] = f1_of(tp, fp, fn, tiny=1e-9)
            result[f"image_auc{suffix}"] = auc(scores, self.tampered)
            result[f"image_accuracy{suffix}"] = ratio(tp + tn, tp + fp + fn + tn)
        return result


def _with_padding(counts: Counted, whole: Counted, kind: str) -> dict[str, float]:
    tp, _, _, tn = whole.confusion(0)
    return counted(counts, kind) | {"accuracy_tail": (tp + tn) / int(whole.total.sum())}


def protocol(side: int | None = None, padded: bool = False) -> Protocol:
    """The evaluators at the size of the map, at side x side, or in a padded square of which only the map counts.

    What a network says of the padding is not known: a probability of .6 stands for it, in the accuracy of the tail.
    """
    view = View(truth=(Nearest("score"), Above(127)), score=(Probability(),))
    if side and padded:
        view = View((Above(127), Cropped((side, side))), (Probability(), Cropped((side, side))), equal_sizes=True)
    elif side:
        view = View((Nearest((side, side)), Above(127)), (Probability(), Linear((side, side))))
    ranks = {"rank": Kept(view, Rank()), "reverse": Kept(view, Rank(complement=True))}
    kept = {"counts": Kept(view, CUTS), **ranks, "peak": PEAK}
    part = Part(FOUND + RIGHT, ("counts",), counted)
    if side and padded:
        whole = View(
            (Above(127), Padded((side, side), 0)), (Probability(), Padded((side, side), 0.6)), equal_sizes=True
        )
        kept["whole"] = Kept(whole, CUTS)
        part = Part(FOUND + RIGHT, ("counts", "whole"), _with_padding)
    where = f"padded to {side} x {side}" if padded else f"resized to {side} x {side}" if side else "of the map's size"
    return Protocol(
        name="imdlbenco",
        version=1,
        title="IMDL-BenCo evaluators" + (f", {where}" if side else ""),
        description=(
            f"As IMDL-BenCo's evaluators, {where}: forged where p > .5; F1, IoU, AUC and accuracy of the map, of the "
            "inverted map and the larger one (double, Mesorch's permute-F1), mean over all images, authentic ones "
            "included."
        ),
        kept=kept,
        parts=(part, Part(ORDER, ("rank", "reverse"), ranked)),
        headline="f1",
        set_metrics=(
            *("image_f1", "image_auc", "image_accuracy"),
            *("image_f1_of_max", "image_auc_of_max", "image_accuracy_of_max"),
        ),
        accumulators=(ImageLevel,),
        images="all",
        average="mean",
        mask_rule="> 127 (mean of channels > 127.5)",
        view={
            True: f"both at the top left of {side} x {side}, the padding does not count",
            False: f"map resized (bilinear), mask (nearest) to {side} x {side}",
            None: "at the size of the map, mask resized (nearest)",
        }[padded if side else None],
        threshold="p > .5",
        polarity="as given; reverse: inverted; double: the better of both",
        empty="no forged pixel: F1, IoU and AUC 0 and count; no pristine pixel: AUC NaN, and so is the mean of the set",
        image_rule="the localizer's own score (else the largest probability), > .5; `_of_max`: the largest probability",
        quirks=(
            Quirk(
                "authentic-counts-0", "Authentic images count with F1, IoU and AUC 0: the mean depends on them.", True
            ),
            Quirk("all-forged-poisons", "One mask that is forged throughout makes the mean AUC of the set NaN.", True),
            Quirk(
                "ties-not-grouped",
                "The original's AUC depends on the order of tied pixels; here: its mean over all orders, and "
                "`evaluate` gives the bounds auc_low and auc_high.",
                True,
            ),
            Quirk("half-counts-nowhere", "IoU reverse thresholds 1 - p: p = .5 counts on neither side.", True),
            Quirk("tail-counts-padding", "The accuracy of the tail of the set counts the padding.", True),
            Quirk("square-only", "The original's resize crops x before y: only square sizes work."),
        ),
        twin="imdlbenco-corrected",
        original="scu-zjz/IMDLBenCo 3efef9b: IMDLBenCo/evaluation/{F1,IOU,AUC,Accuracy}.py",
        paper=(
            "Ma et al., IMDL-BenCo: A Comprehensive Benchmark and Codebase for Image Manipulation "
            "Detection & Localization, NeurIPS 2024"
        ),
    )


def _corrected(original: Protocol) -> Protocol:
    return dataclasses.replace(
        original,
        name=f"{original.name}-corrected",
        title=f"{original.title}, corrected",
        description=(
            f"As {original.name}, but metrics that are undefined (authentic images, masks forged throughout) are left "
            "out, and all inversions are of the thresholded map."
        ),
        kept={name: original.kept[name] for name in ("counts", "rank", "peak")},
        parts=(Part(FOUND + RIGHT[:3], ("counts",), corrected), Part(ORDER, ("rank",), ranked_corrected)),
        average="nanmean",
        empty="NaN, left out",
        quirks=(),
        twin=original.name,
    )


ORIGINALS = (
    protocol(),
    dataclasses.replace(protocol(512), name="imdlbenco-square", twin="imdlbenco-square-corrected"),
    dataclasses.replace(protocol(1024, padded=True), name="imdlbenco-padded", twin="imdlbenco-padded-corrected"),
)
PROTOCOLS = (*ORIGINALS, *map(_corrected, ORIGINALS))
