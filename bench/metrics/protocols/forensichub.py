"""`forensichub`: the image-level evaluators of ForensicHub; its pixel-level ones are IMDL-BenCo's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.images import ImageScores
from bench.metrics.kernel import Ranking
from bench.metrics.metric import Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.protocols import imdlbenco
from bench.metrics.statistics.peak import Largest

METRICS = (
    Metric("max_score", "Largest probability", "The largest probability of the map.", "neither"),
    Metric("image_ap_of_max", "Image AP of maximum", "Image AP of the largest probability of the map.", scope="set"),
    Metric(
        *("image_mcc_of_max", "Image MCC of maximum", "Image MCC of the largest probability of the map."),
        scope="set",
        low=-1.0,
    ),
    Metric("image_tnr_of_max", "Image TNR of maximum", "Image TNR of the largest probability of the map.", scope="set"),
    Metric("image_tpr_of_max", "Image TPR of maximum", "Image TPR of the largest probability of the map.", scope="set"),
)


def average_precision(scores: np.ndarray, tampered: np.ndarray) -> tuple[float, float, float]:
    """Average precision in descending order, tied images one after the other; lowest and highest of all orders.

    Of tied images the first of the set comes first.
    """
    if not tampered.any():
        return math.nan, math.nan, math.nan
    position = np.arange(scores.size)
    orders = (np.lexsort((position, -scores)), np.lexsort((tampered, -scores)), np.lexsort((~tampered, -scores)))
    values = []
    for order in orders:
        hits = tampered[order]
        values.append(float((hits.cumsum() / (position + 1))[hits].sum() / hits.sum()))
    first, lowest, highest = values
    return first, lowest, highest


class Detection(ImageScores):
    """AP, MCC, TNR and TPR at > .5: of the scores, and of the largest probability of each map."""

    def largest_of(self, observation: Observation, statistics: Mapping[str, Any]) -> float:
        largest: Largest | None = statistics["peak"]
        return super().largest_of(observation, statistics) if largest is None else of_logit(largest, observation.kind)

    def ap(self, scores: np.ndarray) -> tuple[float, float, float]:
        """Average precision of these scores, and its bounds over orders of tied images."""
        return average_precision(scores, self.tampered)

    def metrics(self) -> dict[str, float]:
        result: dict[str, float] = {}
        for scores, suffix in ((self.scores, ""), (self.largest, "_of_max")):
            tp, fp, fn, tn = self.confusion(largest=bool(suffix))
            spread = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
            ap, low, high = self.ap(scores)
            result |= {
                f"image_ap{suffix}": ap,
                f"image_ap{suffix}_low": low,
                f"image_ap{suffix}_high": high,
                f"image_mcc{suffix}": (tp * tn - fp * fn) / (spread + 1e-9),
                f"image_tnr{suffix}": tn / (tn + fp + 1e-8),
                f"image_tpr{suffix}": tp / (tp + fn + 1e-8),
            }
        return result


class CorrectedDetection(Detection):
    """The same with ties grouped."""

    def ap(self, scores: np.ndarray) -> tuple[float, float, float]:
        """Average precision as scikit-learn's."""
        return (Ranking.of(scores, self.tampered).average_precision(),) * 3


def of_logit(largest: Largest, kind: str) -> float:
    """The sigmoid, in float32, of the largest logit; a probability is clipped to 1e-7 from 0 and 1 first."""
    if kind != "probability":
        return largest.value
    clipped = min(max(largest.value, 1e-7), 1 - 1e-7)
    return float(1 / (1 + np.exp(-np.float32(math.log(clipped / (1 - clipped))))))


def peak(largest: Largest, kind: str) -> dict[str, float]:
    """The largest probability of the map."""
    return {"max_score": of_logit(largest, kind)}


FORENSICHUB = Protocol(
    name="forensichub",
    version=1,
    title="ForensicHub evaluators",
    description=(
        "As ForensicHub's image-level evaluators: AP, MCC, TNR and TPR of images at > .5, of the localizer's own score "
        "and of the largest probability of its map. Pixel level: imdlbenco."
    ),
    kept={"peak": imdlbenco.PEAK},
    parts=(Part(("max_score",), ("peak",), peak),),
    headline="image_ap",
    set_metrics=(
        *("image_ap", "image_mcc", "image_tnr", "image_tpr"),
        *("image_ap_of_max", "image_mcc_of_max", "image_tnr_of_max", "image_tpr_of_max"),
    ),
    accumulators=(Detection,),
    images="all",
    average="mean",
    mask_rule="none: image level only",
    view="largest probability of the map at its own size",
    threshold="score > .5",
    empty="MCC, TNR, TPR 0 where they are 0/0; AP NaN without tampered images",
    image_rule="the localizer's own score (else the largest probability), > .5; `_of_max`: the largest probability",
    quirks=(
        Quirk(
            "ties-not-grouped",
            "AP takes tied images one after the other: it depends on their order (here: that of the set; "
            "`evaluate_set` gives the bounds).",
            True,
        ),
    ),
    twin="forensichub-corrected",
    original="scu-zjz/ForensicHub da6b54e: ForensicHub/common/evaluation/{AP,MCC,TNR,TPR}.py",
    paper=(
        "Du et al., ForensicHub: A Unified Benchmark & Codebase for All-Domain Fake Image Detection "
        "and Localization, arXiv 2505.11003"
    ),
)
CORRECTED = dataclasses.replace(
    FORENSICHUB,
    name="forensichub-corrected",
    title="ForensicHub evaluators, corrected",
    description="As forensichub, but AP groups tied images, as scikit-learn does.",
    accumulators=(CorrectedDetection,),
    quirks=(),
    twin="forensichub",
)
PROTOCOLS = (FORENSICHUB, CORRECTED)
