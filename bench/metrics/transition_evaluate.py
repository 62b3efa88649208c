"""Exact pixel metrics of one score map."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bench.metrics.kernel import Ranking
from bench.metrics.transition_protocols import RANKING, Protocol, find
from models.image import ScoreMap, ScoreMapError


def evaluate(score: np.ndarray | ScoreMap, mask: np.ndarray, protocol: str | Protocol = "native") -> dict[str, float]:
    """All pixel metrics of one score map against its ground truth, exact.

    score: a ScoreMap, or an array (H, W) of probabilities in 0..1. Of another size than the mask, it is first
        resized to it (bilinear, in its own units).
    mask: (H, W), bool (True = forged) or two-level integer (0 and 1, or 0 and 255).
    protocol: a name in PROTOCOLS or a Protocol.

    Returns f1, iou, precision, recall, mcc, accuracy at the protocol's threshold (NaN for maps of kind "score",
    which have none), n_pixels, n_forged, threshold (nominal, in the map's units) and, where the protocol has ranking
    metrics, auc, ap, best_f1, best_iou, best_threshold; `score >= best_threshold` reproduces best_f1 and best_iou.
    Undefined values are NaN: all ranking metrics without forged pixels, AUC also without pristine ones.

    Raises ScoreMapError for NaN or infinity, for arrays outside 0..1 (no sigmoid is applied silently: wrap logits
    in ScoreMap(values, "logit")) and for arrays or masks of the wrong shape; UnknownProtocol.
    """
    protocol = find(protocol)
    mask = _as_mask(mask)
    values, kind = _as_scores(score, mask.shape)
    n_forged = int(np.count_nonzero(mask))
    result = {"n_pixels": mask.size, "n_forged": n_forged, "threshold": protocol.threshold(kind)}

    border = protocol.border(kind, values.dtype)
    if border is None:
        result |= dict.fromkeys(protocol.fixed(1, 1, 1, 1), math.nan)
    else:
        called = values >= values.dtype.type(border)
        tp = int(np.count_nonzero(called & mask))
        fp = int(np.count_nonzero(called)) - tp
        result |= protocol.fixed(tp, fp, n_forged - tp, mask.size - n_forged - fp)

    if set(protocol.metrics) & set(RANKING):
        ranking = Ranking.of(values, mask)
        threshold, f1, iou = ranking.best()
        result |= {"auc": ranking.auc(), "ap": ranking.average_precision()}
        result |= {"best_f1": f1, "best_iou": iou, "best_threshold": threshold}
    return result


def _as_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        raise ScoreMapError(f"the mask must be (H, W) with at least one pixel, got shape {mask.shape}")
    if mask.dtype != bool:
        high = mask.max()
        if not ((mask == 0) | (mask == high)).all() or high not in (0, 1, 255):
            raise ScoreMapError("the mask has more than two levels; make it bool first, for example mask > 127")
        mask = mask != 0
    return mask


def _as_scores(score: np.ndarray | ScoreMap, shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    if isinstance(score, ScoreMap):
        return score.resized(*shape).values, score.kind
    values = np.asarray(score)
    if values.ndim != 2 or values.size == 0:
        raise ScoreMapError(f"the score map must be (H, W) with at least one pixel, got shape {values.shape}")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN and infinity both reach the minimum or the maximum
        bad = int((~np.isfinite(values)).sum())
        raise ScoreMapError(f"the score map holds NaN or infinity in {bad} of {values.size} pixels")
    if low < 0 or high > 1:
        raise ScoreMapError(
            f"the array holds values from {low:.6g} to {high:.6g}, not probabilities in 0..1; "
            'say what they are with ScoreMap(values, "logit") or ScoreMap(values, "score")'
        )
    if values.shape != shape:
        values = cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return values, "probability"
