"""`native`: this suite's own protocol, at the resolution of the ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.formulas import common, f1, iou, named
from bench.metrics.kernel import Ranking
from bench.metrics.metric import Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator, Protocol, Quirk
from bench.metrics.statistics.curve import Curve, Curves, smallest_above
from bench.metrics.steps.size import Linear
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

THRESHOLDS = {"probability": 0.5, "logit": 0.0}
FIXED = ("f1", "iou", "precision", "recall", "mcc", "accuracy")
RANKED = ("auc", "ap", "best_f1", "best_iou")


def at_threshold(curve: Curve, kind: str) -> dict[str, float]:
    """The metrics at the fixed threshold, NaN for unbounded scores; 0/0 is NaN, except MCC, which is 0."""
    threshold = THRESHOLDS.get(kind, math.nan)
    sizes = {"n_pixels": curve.n_forged + curve.n_pristine, "n_forged": curve.n_forged, "threshold": threshold}
    if kind not in THRESHOLDS:
        return sizes | dict.fromkeys(FIXED, math.nan)
    counts = _confusion(curve, kind)
    return sizes | {"f1": f1(*counts), "iou": iou(*counts), **common(*counts), **named(*counts)}


def ranked(curve: Curve, kind: str) -> dict[str, float]:
    """AUC, AP, best F1 and IoU; `score >= best_threshold` reproduces the latter two. NaN without forged pixels."""
    threshold, best_f1, best_iou = curve.best()
    return {"auc": curve.auc, "ap": curve.ap, "best_f1": best_f1, "best_iou": best_iou, "best_threshold": threshold}


def _confusion(curve: Curve, kind: str) -> tuple[float, float, float, float]:
    tp, fp = curve.counts(smallest_above(THRESHOLDS[kind]))
    return tp, fp, curve.n_forged - tp, curve.n_pristine - fp


class ImageLevel(Accumulator):
    """image_auc, image_ap, n_tampered and n_authentic.

    The scores are the localizer's own where it gives all images one, else the maxima of the maps; NaN without both
    kinds of image.
    """

    def __init__(self):
        self._scores: list[tuple[bool, float | None, float]] = []

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        self._scores.append((observation.tampered, observation.image_score, observation.max_score))

    def metrics(self) -> dict[str, float]:
        tampered = np.array([t for t, _, _ in self._scores], bool)
        result = {"image_auc": math.nan, "image_ap": math.nan}
        if tampered.any() and not tampered.all():
            # a localizer gives either all images a score of its own or none: the two never mix in one ranking
            own = all(score is not None for _, score, _ in self._scores)
            ranking = Ranking.of(np.array([s if own else m for _, s, m in self._scores], np.float64), tampered)
            result = {"image_auc": ranking.auc(), "image_ap": ranking.average_precision()}
        return result | {"n_tampered": int(tampered.sum()), "n_authentic": int((~tampered).sum())}


class Pooled(Accumulator):
    """pooled_auc, pooled_ap, pooled_f1: all pixels of all counted images in one ranking.

    F1 is exact, the others come from pooled curves; NaN for maps of kind "score", whose values are not comparable
    between images.
    """

    BATCH = 64  # curves held before they are pooled into one

    def __init__(self):
        self._kinds: set[str] = set()
        self._curves: list[Curve] = []
        self._counts = np.zeros(4)  # tp, fp, fn, tn

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        if not counted:
            return
        self._kinds.add(observation.kind)
        if len(self._kinds) > 1 or observation.kind not in THRESHOLDS:
            self._curves.clear()
            return
        curve: Curve = statistics["curve"]
        self._counts += _confusion(curve, observation.kind)
        self._curves.append(curve)
        if len(self._curves) == self.BATCH:
            self._curves = [Curve.pooled(self._curves)]

    def metrics(self) -> dict[str, float]:
        if not self._curves:
            return dict.fromkeys(("pooled_auc", "pooled_ap", "pooled_f1"), math.nan)
        pooled = Curve.pooled(self._curves)
        return {"pooled_auc": pooled.auc, "pooled_ap": pooled.ap, "pooled_f1": f1(*self._counts.tolist())}


NATIVE = Protocol(
    name="native",
    version=2,  # 1 had finer bins: pooled AUC and AP differ by some 1e-5
    title="Native resolution",
    description=(
        "Tampered images only, each scored at the native resolution of its ground truth, mean over images; "
        "a pixel is called forged where its probability exceeds 0.5 (logit above 0)."
    ),
    kept={"curve": Kept(View(truth=(Above(127),), score=(Linear("truth"),)), Curves(tuple(THRESHOLDS.items())))},
    parts=(Part(FIXED, ("curve",), at_threshold), Part(RANKED, ("curve",), ranked)),
    headline="f1",
    set_metrics=("image_auc", "image_ap", "pooled_auc", "pooled_ap", "pooled_f1"),
    accumulators=(ImageLevel, Pooled),
    own_masks=False,
    mask_rule="> 127, masks of 0 and 1 decoded",
    view="map resized (bilinear, in its own units) to the ground truth",
    threshold="p > .5 (logit > 0)",
    empty="0/0 is NaN and left out; MCC 0 for a constant prediction or ground truth",
    image_rule="the localizer's own score where it gives all images one, else the maximum of the map",
    quirks=(
        Quirk(
            "pooled-is-binned",
            "Pooled AUC and AP come from pooled bins: approximate, off by at most 1/256 of each class at any "
            "threshold. All other values are exact.",
        ),
    ),
)
PROTOCOLS = (NATIVE,)
