"""Metrics of score maps at hand, by the same way as those of stored ones: measured, packed, computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from bench.metrics.measuring import measure
from bench.metrics.observation import Observation
from bench.metrics.protocol import Protocol
from bench.metrics.recompute import SetTotals, all_metrics
from bench.metrics.registry import find
from bench.truth import Truth
from models.image import ScoreMap, ScoreMapError


def evaluate(score: np.ndarray | ScoreMap, mask: np.ndarray | Truth, protocol: str | Protocol = "native") -> dict:
    """All metrics of one score map against its ground truth, of authentic images, too.

    score: a ScoreMap, or an array (H, W) of probabilities in 0..1; (C, H, W), one map per source, for protocols with
        several sources.
    mask: a Truth; an array (H, W), bool (True = forged) or uint8 (255 = forged, which of the others are is the
        protocol's rule); the number of each pixel's source for protocols with several.
    protocol: a name in PROTOCOLS or a Protocol.

    Returns the metrics of the protocol, and counts and thresholds besides; `score >= best_threshold` reproduces
    best_f1 and best_iou. Undefined values are NaN. {} where the protocol has nothing to count, such as for a map of
    another size than the mask where it refuses that.

    Raises ScoreMapError for NaN or infinity, for arrays outside 0..1 (no sigmoid is applied silently: wrap logits
    in ScoreMap(values, "logit")) and for arrays or masks of the wrong shape; UnknownProtocol.

    >>> import numpy as np
    >>> mask = np.array([[True, True], [False, False]])
    >>> evaluate(np.array([[.9, .4], [.2, .1]]), mask)["f1"]
    0.6666666666666666
    """
    protocol = find(protocol)
    score = _as_score_map(score, protocol)
    truth = _as_truth(mask, score, protocol)
    return all_metrics(_observe(score, truth, True, protocol, score.image_score), protocol)


def evaluate_set(
    items: Iterable[Sequence], protocol: str | Protocol = "native", images: str | None = None
) -> dict[str, float]:
    """The metrics of a whole test set: means over images, and metrics of the set.

    items: (score, kind, mask, tampered, image_score) of each image; score and mask as in `evaluate`, kind
        "probability", "logit" or "score", image_score None where there is none.
    images: "tampered" or "all", to count others than the protocol does.

    Returns the mean of each metric of images by the protocol's rule, its set metrics, and images, the number of
    those that its pixel metrics count. Raises what `evaluate` raises.
    """
    protocol = find(protocol)
    if images is not None:
        protocol = dataclasses.replace(protocol, images=images)
    totals = SetTotals(protocol)
    for score, kind, mask, tampered, image_score in items:
        score = _as_score_map(score, protocol, kind)
        truth = _as_truth(mask, score, protocol)
        totals.add(_observe(score, truth, bool(tampered), protocol, image_score))
    return totals.means() | totals.metrics() | {"images": totals.n_counted}


def _observe(
    score: ScoreMap, truth: Truth, tampered: bool, protocol: Protocol, image_score: float | None
) -> Observation:
    return Observation(
        tampered=tampered,
        kind=score.kind,
        image_score=image_score,  # NaN and infinity, too, which no ScoreMap holds: some protocols have rules for them
        max_score=float(score.resized(*truth.shape).values.max()),
        statistics=measure(score, truth, tampered, [protocol]),
    )


def _as_truth(mask: np.ndarray | Truth, score: ScoreMap, protocol: Protocol) -> Truth:
    if isinstance(mask, Truth):
        return mask
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        raise ScoreMapError(f"the mask must be (H, W) with at least one pixel, got shape {mask.shape}")
    if mask.dtype == bool:
        return Truth.of(mask)
    if "sources" in score.extras:
        return Truth.pristine(mask.shape) if mask.max() > 255 else Truth(_forged_sources(mask), mask.astype(np.uint8))
    if mask.min() < 0 or mask.max() > 255 or (mask != mask.astype(np.uint8)).any():
        raise ScoreMapError("the mask holds other values than 0 to 255; make it bool first, for example mask > 0.5")
    mask = mask.astype(np.uint8)
    if not protocol.own_masks and 0 < mask.max() < 128:
        if mask.max() > 1:
            raise ScoreMapError("no value of the mask is above 127; make it bool first, for example mask > 0")
        mask = mask * np.uint8(255)
    return Truth(mask)


def _forged_sources(labels: np.ndarray) -> np.ndarray:
    return np.where(labels > 0, np.uint8(255), np.uint8(0))


def _as_score_map(score: np.ndarray | ScoreMap, protocol: Protocol, kind: str = "probability") -> ScoreMap:
    if isinstance(score, ScoreMap):
        return score
    values = np.asarray(score)
    if values.ndim not in ((2, 3) if protocol.sources else (2,)) or values.size == 0:
        raise ScoreMapError(f"the score map must be (H, W) with at least one pixel, got shape {values.shape}")
    values = values.astype(np.float32, copy=False)
    if values.ndim == 3:
        flat = values.max(axis=0)  # what stands for them where one map is asked for
        return ScoreMap(flat, "score", None, {"sources": values})
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN and infinity both reach the minimum or the maximum
        bad = int((~np.isfinite(values)).sum())
        raise ScoreMapError(f"the score map holds NaN or infinity in {bad} of {values.size} pixels")
    if kind == "probability" and (low < 0 or high > 1):
        raise ScoreMapError(
            f"the array holds values from {low:.6g} to {high:.6g}, not probabilities in 0..1; "
            'say what they are with ScoreMap(values, "logit") or ScoreMap(values, "score")'
        )
    return ScoreMap(values, kind)
