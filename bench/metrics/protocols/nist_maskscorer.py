"""`nist-maskscorer`: NIST's MediScore MaskScorer, lib/maskMetrics.py and lib/masks.py."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.metric import DOWN, NEITHER, Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator, Protocol, Quirk
from bench.metrics.statistics.levels import Histogram, Levels
from bench.metrics.statistics.zones import Areas, Zones
from bench.metrics.steps.region import NoScoreZones
from bench.metrics.steps.score import Probability, Rounded
from bench.metrics.steps.truth import Above, Exactly
from bench.metrics.view import Kept, View

NMM = "max(-1, (TP - FN - FP) / (TP + FN))"
METRICS = (
    Metric("optimum_mcc", "Optimum MCC", "Largest MCC over all thresholds of each image; never below 0."),
    Metric("optimum_nmm", "Optimum NMM", f"{NMM} at the threshold of the optimum MCC.", low=-1.0),
    Metric("optimum_bwl1", "Optimum BWL1", "Share of wrong pixels at the threshold of the optimum MCC.", DOWN),
    Metric(
        "optimum_threshold",
        "Optimum threshold",
        "That threshold, system level 0..255 (0 = forged).",
        NEITHER,
        low=-1,
        high=255,
    ),
    Metric("actual_mcc", "Actual MCC", "MCC at the fixed threshold.", low=-1.0),
    Metric("actual_nmm", "Actual NMM", f"{NMM} at the fixed threshold.", low=-1.0),
    Metric("actual_bwl1", "Actual BWL1", "Share of wrong pixels at the fixed threshold.", DOWN),
    Metric("gwl1", "GWL1", "Mean absolute difference of reference and system mask, of 255.", DOWN),
    Metric("eer", "Pixel EER", "Error rate where false positives and false negatives are as frequent.", DOWN),
    Metric("maximum_mcc", "Maximum MCC", "Mean MCC at the one threshold that maximises it.", scope="set", low=-1.0),
    Metric("maximum_nmm", "Maximum NMM", "Mean NMM at the threshold of the maximum MCC.", scope="set", low=-1.0),
    Metric("maximum_bwl1", "Maximum BWL1", "Mean BWL1 at the threshold of the maximum MCC.", DOWN, "set"),
    Metric("maximum_threshold", "Maximum threshold", "That threshold, level 0..255.", NEITHER, "set", low=-1, high=255),
    Metric("mask_average_auc", "Mask-average AUC", "AUC of the rates averaged over images.", scope="set"),
)
NO_BLACK = "no black region in the reference: nothing to score"
NAMES = (
    *("optimum_mcc", "optimum_nmm", "optimum_bwl1", "optimum_threshold"),
    *("actual_mcc", "actual_nmm", "actual_bwl1", "auc", "eer", "gwl1"),
)


def tables(levels: Histogram) -> dict[str, np.ndarray]:
    """TP, FP, FN, TN, MCC, NMM and BWL1, (257,) each, at the thresholds -1, 0, ..., 255 of the system mask.

    The system mask is 255 minus the level of the map; a pixel is called forged where it is at most the threshold.
    """
    fp, tp = np.concatenate([np.zeros((2, 1), np.int64), levels.counts[:, ::-1].cumsum(axis=1)], axis=1)
    pristine, forged = levels.total
    fn, tn = forged - tp, pristine - fp
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (
            np.sqrt((tp + fp).astype(float))
            * math.sqrt(forged)
            * math.sqrt(pristine)
            * np.sqrt((tn + fn).astype(float))
        )
        mcc = np.where(spread > 0, (tp * tn - fp * fn) / np.where(spread > 0, spread, 1), 0.0)
        nmm = np.maximum(-1.0, (tp - fn - fp) / forged) if forged else np.full(257, math.nan)
        bwl1 = (fp + fn) / (pristine + forged)
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "mcc": mcc, "nmm": nmm, "bwl1": bwl1}


def area(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Trapezoids over points sorted by both rates."""
    order = np.lexsort((tpr, fpr))
    fpr, tpr = fpr[order], tpr[order]
    return float(np.dot(np.diff(fpr), (tpr[1:] + tpr[:-1]) / 2))


def rates(table: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(FPR, TPR) at all thresholds, from (0, 0) on; all 0 where a class is absent, as in the original."""
    forged, pristine = table["tp"][-1], table["fp"][-1]
    if not (forged and pristine):
        return np.zeros(258), np.zeros(258)
    return np.append(0.0, table["fp"] / pristine), np.append(0.0, table["tp"] / forged)


def equal_error_rate(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Mean of both error rates at the first point where they differ least."""
    order = np.lexsort((tpr, fpr))
    fpr, fnr = fpr[order], 1 - tpr[order]
    at = int(np.argmin(np.abs(fpr - fnr)))
    return float((fpr[at] + fnr[at]) / 2)


def _numbers(levels: Histogram, areas: Areas, threshold: int) -> dict[str, float]:
    table = tables(levels)
    best, actual = int(np.argmax(table["mcc"])), threshold + 1
    values: dict[str, float] = {}
    for name, at in (("optimum", best), ("actual", actual)):
        values |= {f"{name}_{metric}": float(table[metric][at]) for metric in ("mcc", "nmm", "bwl1")}
        values |= {f"{name}_threshold": at - 1}
        values |= {f"{name}_{count}": int(table[count][at]) for count in ("tp", "fp", "fn", "tn")}
    fpr, tpr = rates(table)
    values |= {"auc": area(fpr, tpr), "eer": equal_error_rate(fpr, tpr)}
    pristine, forged = levels.counts
    grey = np.arange(256)
    whole = int(levels.total.sum())
    values["gwl1"] = float(forged @ (255 - grey) + pristine @ grey) / 255 / whole
    return values | {"n_scored": whole, "boundary_pixels": areas.boundary, "distraction_pixels": areas.distraction}


def _script(threshold: int):
    def of(levels: Histogram, areas: Areas, kind: str) -> dict[str, float]:
        return _numbers(levels, areas, threshold)

    return of


def corrected(levels: Histogram, areas: Areas, kind: str) -> dict[str, float]:
    """The same with AUC and EER NaN where a class is absent."""
    values = _numbers(levels, areas, 127)
    return values if levels.total.all() else values | {"auc": math.nan, "eer": math.nan}


def black(areas: Areas, kind: str) -> dict[str, float]:
    """Whether the reference has a forged pixel at all, scored or not."""
    return {"has_black": float(areas.forged > 0)}


class Maximum(Accumulator):
    """What one threshold for all images gives, and the two average curves."""

    def __init__(self):
        self._sums: dict[str, np.ndarray] = {}
        self._defined: dict[str, int] = {}

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        if not counted or statistics["levels"] is None:
            return
        table = tables(statistics["levels"])
        forged, pristine = table["tp"][-1], table["fp"][-1]
        both = bool(forged and pristine)
        # where a class is absent its own rate is undefined, and the other one stays 0 at all thresholds and counts
        table["tpr"] = table["tp"] / forged if both else np.full(257, 0.0 if forged else math.nan)
        table["fpr"] = table["fp"] / pristine if both else np.full(257, 0.0 if pristine else math.nan)
        for name, values in table.items():
            if not np.isnan(values).any():
                self._sums[name] = self._sums.get(name, 0) + values
                self._defined[name] = self._defined.get(name, 0) + 1

    def metrics(self) -> dict[str, float]:
        names = ("maximum_mcc", "maximum_nmm", "maximum_bwl1", "maximum_threshold", "pooled_auc", "mask_average_auc")
        if "mcc" not in self._sums:
            return dict.fromkeys(names, math.nan)
        at = int(np.argmax(self._sums["mcc"]))
        means = {name: values / self._defined[name] for name, values in self._sums.items()}
        result = {f"maximum_{name}": float(means[name][at]) for name in ("mcc", "bwl1", "tp", "fp", "fn", "tn")}
        result["maximum_nmm"] = float(means["nmm"][at]) if "nmm" in means else math.nan
        result["maximum_threshold"] = at - 1
        ends = np.array([0.0, 1.0])
        tp, fp = self._sums["tp"], self._sums["fp"]
        with np.errstate(invalid="ignore"):
            result["pooled_auc"] = area(np.append(fp / fp[-1], ends), np.append(tp / tp[-1], ends))
        undefined = "tpr" not in means or "fpr" not in means
        result["mask_average_auc"] = (
            math.nan if undefined else area(np.append(means["fpr"], ends), np.append(means["tpr"], ends))
        )
        return result


def protocol(threshold: int = 127, binary: bool = False) -> Protocol:
    """The scorer with `--sbin threshold`, on references as they are or made two-level first (> 127)."""
    region = NoScoreZones(15, 11, 15, binary)
    truth = (Above(127),) if binary else (Exactly(255),)
    score = (Probability(), Rounded(double=True))
    return Protocol(
        name="nist-maskscorer-binary" if binary else "nist-maskscorer",
        version=1,
        title="NIST MaskScorer" + (", two-level references" if binary else ""),
        description=(
            "As NIST's MaskScorer: 8-bit system masks, no-score zones around the edge of the forged region and around "
            "other greys of the reference; MCC, NMM and BWL1 at each image's best threshold, at a fixed one, and at "
            "the best one for the whole set; mean over images with a forged region."
        ),
        kept={
            "levels": Kept(View(truth, score, region, equal_sizes=True), Levels()),
            "areas": Kept(View(truth, equal_sizes=True), Zones(region)),
        },
        parts=(Part(NAMES, ("levels", "areas"), _script(threshold)), Part((), ("areas",), black)),
        headline="actual_mcc",
        set_metrics=(
            *("maximum_mcc", "maximum_nmm", "maximum_bwl1", "maximum_threshold", "pooled_auc", "mask_average_auc"),
        ),
        accumulators=(Maximum,),
        images="all",
        stops=lambda metrics: "" if metrics["has_black"] else NO_BLACK,
        mask_rule="> 127" if binary else "= 255; 0 is pristine, all between is a no-score zone",
        view="255 p rounded to 8 bits, other sizes refused; no-score zones: erosion 15, dilation 11, distraction 15",
        threshold=f"fixed: 255 - 8-bit value <= {threshold}; optimum: each image's best; maximum: the set's best",
        empty="MCC 0 if prediction or reference is constant; one class scored: AUC 0, EER .5",
        quirks=(
            Quirk("one-class-auc-0", "An image of one scored class has AUC 0 and EER .5, and counts.", True),
            Quirk(
                "optimum-never-negative",
                "Optimum MCC is never below 0, and an inverted map is reported as all white; its NMM and BWL1 are "
                "those at the threshold of the best MCC, not the best.",
            ),
            Quirk("authentic-not-scored", "Images without a forged region are left out: false alarms cost nothing."),
        ),
        twin="nist-maskscorer-binary-corrected" if binary else "nist-maskscorer-corrected",
        original="usnistgov/MediScore fbf3f25: lib/maskMetrics.py, lib/masks.py, lib/metricRunner.py (--speedup)",
        paper=(
            "Guan et al., MFC Datasets: Large-Scale Benchmark Datasets for Media Forensic Challenge "
            "Evaluation, WACVW 2019"
        ),
    )


def _corrected(original: Protocol) -> Protocol:
    return dataclasses.replace(
        original,
        name=f"{original.name}-corrected",
        title=f"{original.title}, corrected",
        description=f"As {original.name}, but AUC and EER of images of one scored class are left out.",
        parts=(Part(NAMES, ("levels", "areas"), corrected), original.parts[1]),
        empty="MCC 0 if prediction or reference is constant; one class scored: no AUC, EER; no forged pixel: left out",
        quirks=original.quirks[1:],
        twin=original.name,
    )


ORIGINALS = (protocol(), protocol(binary=True))
PROTOCOLS = (*ORIGINALS, *map(_corrected, ORIGINALS))
