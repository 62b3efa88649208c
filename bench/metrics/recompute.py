"""Metrics from stored evidence: the same numbers as `evaluate`, without the score map."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics.kernel import Ranking
from bench.metrics.protocols import RANKING, Protocol, find

if TYPE_CHECKING:
    from bench.evidence import Evidence


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
    """Metrics of one model on a whole test set at one perturbation level.

    image_auc, image_ap: tampered against authentic images by image-level score (the localizer's own where it has
        one, else the maximum of its map); NaN without both kinds of image.
    pooled_auc, pooled_ap, pooled_f1: all pixels of all tampered images in one ranking (pooled_f1 at the protocol's
        threshold and exact, the others from pooled curves); NaN for maps of kind "score", whose values are not
        comparable between images.
    n_tampered, n_authentic: the images counted. {} where the protocol has no set metrics.
    """
    protocol = find(protocol)
    if not protocol.set_metrics:
        return {}
    scored = [e for e in evidences if e.status == "ok"]
    tampered = [e for e in scored if e.tampered]
    truth = np.array([e.tampered for e in scored], bool)
    # a method gives either all images a score of its own or none: the two are never mixed in one ranking
    own = bool(scored) and all(e.image_score is not None for e in scored)
    image_score = np.array([e.image_score if own else e.max_score for e in scored], np.float64)
    ranking = Ranking.of(image_score, truth)
    both = truth.any() and not truth.all()
    result = {
        "image_auc": ranking.auc(),
        "image_ap": ranking.average_precision() if both else math.nan,
        "pooled_auc": math.nan,
        "pooled_ap": math.nan,
        "pooled_f1": math.nan,
        "n_tampered": len(tampered),
        "n_authentic": len(scored) - len(tampered),
    }
    kinds = {e.kind for e in tampered}
    border = protocol.border(kinds.pop()) if len(kinds) == 1 else None
    if border is not None:
        counts = np.array([e.curve.counts(border) for e in tampered]).sum(axis=0)
        n_forged = sum(e.curve.n_forged for e in tampered)
        n_pristine = sum(e.curve.n_pristine for e in tampered)
        tp, fp = float(counts[0]), float(counts[1])
        result["pooled_f1"] = protocol.fixed(tp, fp, n_forged - tp, n_pristine - fp)["f1"]
        pooled = type(tampered[0].curve).pooled([e.curve for e in tampered])
        result |= {"pooled_auc": pooled.auc, "pooled_ap": pooled.ap}
    return result
