"""For `bench.summary`, as long as it reads `Evidence`: metrics from stored evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.metrics.kernel import Ranking
from bench.metrics.transition_protocols import RANKING, Protocol, find

Curve = Evidence = Any


def image_metrics(evidence: Evidence, protocol: str | Protocol) -> dict[str, float]:
    """The metrics of one image under a protocol, with the keys of `evaluate`.

    {} where the protocol does not count the image (authentic, failed, or the model was not applicable); NaN for a
    metric that is undefined or has no meaning for this kind of map. All values equal those of `evaluate`.
    """
    protocol = find(protocol)
    if evidence.status != "ok" or not evidence.tampered:
        return {}
    curve = evidence.curve
    n_forged, n_pristine = curve.n_forged, curve.n_pristine
    result = {
        "n_pixels": n_forged + n_pristine,
        "n_forged": n_forged,
        "threshold": protocol.threshold(evidence.kind),
    }
    border = protocol.border(evidence.kind)
    if border is None:
        result |= dict.fromkeys(protocol.fixed(1, 1, 1, 1), math.nan)
    else:
        tp, fp = curve.counts(border)
        result |= protocol.fixed(tp, fp, n_forged - tp, n_pristine - fp)
    if set(protocol.metrics) & set(RANKING):
        threshold, f1, iou = curve.best()
        result |= {"auc": curve.auc, "ap": curve.ap}
        result |= {"best_f1": f1, "best_iou": iou, "best_threshold": threshold}
    return result


def set_metrics(evidences: Iterable[Evidence], protocol: str | Protocol) -> dict[str, float]:
    """Metrics of one model on a whole test set at one perturbation level; see SetTotals. {} where the protocol has
    none."""
    totals = SetTotals(find(protocol))
    for evidence in evidences:
        totals.add(evidence)
    return totals.metrics()


class SetTotals:
    """Metrics of a whole test set, gathered image by image in constant memory but for one score an image.

    image_auc, image_ap: tampered against authentic images by image-level score (the localizer's own where it has
        one, else the maximum of its map); NaN without both kinds of image.
    pooled_auc, pooled_ap, pooled_f1: all pixels of all tampered images in one ranking (pooled_f1 at the protocol's
        threshold and exact, the others from pooled curves); NaN for maps of kind "score", whose values are not
        comparable between images.
    n_tampered, n_authentic: the images counted.
    """

    BATCH = 64  # curves held before they are pooled into one

    def __init__(self, protocol: Protocol):
        self.protocol = protocol
        self.n_tampered = self.n_authentic = 0
        self._scores: list[tuple[bool, float | None, float]] = []
        self._kinds: set[str] = set()
        self._curves: list[Curve] = []
        self._counts = np.zeros(4)  # tp, fp, fn, tn

    def add(self, evidence: Evidence) -> None:
        """Count one image; failed and not applicable ones change nothing."""
        if evidence.status != "ok":
            return
        self._scores.append((evidence.tampered, evidence.image_score, evidence.max_score))
        self.n_tampered += evidence.tampered
        self.n_authentic += not evidence.tampered
        if not (evidence.tampered and self.protocol.set_metrics):
            return
        self._kinds.add(evidence.kind)
        border = self.protocol.border(evidence.kind)
        if border is None or len(self._kinds) > 1:
            self._curves.clear()
            return
        curve = evidence.curve
        tp, fp = curve.counts(border)
        self._counts += (tp, fp, curve.n_forged - tp, curve.n_pristine - fp)
        self._curves.append(curve)
        if len(self._curves) == self.BATCH:
            self._curves = [type(curve).pooled(self._curves)]

    def metrics(self) -> dict[str, float]:
        """The metrics of what was added; {} where the protocol has none."""
        if not self.protocol.set_metrics:
            return {}
        result = {"image_auc": math.nan, "image_ap": math.nan}
        if self.n_tampered and self.n_authentic:
            # a localizer gives either all images a score of its own or none: the two never mix in one ranking
            own = all(score is not None for _, score, _ in self._scores)
            scores = np.array([score if own else highest for _, score, highest in self._scores], np.float64)
            ranking = Ranking.of(scores, np.array([tampered for tampered, _, _ in self._scores]))
            result = {"image_auc": ranking.auc(), "image_ap": ranking.average_precision()}
        result |= {"pooled_auc": math.nan, "pooled_ap": math.nan, "pooled_f1": math.nan}
        if self._curves:
            pooled = type(self._curves[0]).pooled(self._curves)
            result |= {"pooled_auc": pooled.auc, "pooled_ap": pooled.ap}
            result["pooled_f1"] = self.protocol.fixed(*self._counts.tolist())["f1"]
        return result | {"n_tampered": self.n_tampered, "n_authentic": self.n_authentic}
