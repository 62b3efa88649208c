"""`trufor`: test_docker/metrics.py of TruFor."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.metrics.formulas import inverted, named
from bench.metrics.images import ImageScores, auc, confusion
from bench.metrics.metric import Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator, Protocol, Quirk
from bench.metrics.statistics.counts import Counted, Counts, Over
from bench.metrics.statistics.rank import Rank, Ranks
from bench.metrics.steps.region import Margins
from bench.metrics.steps.score import Probability
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

METRICS = (
    Metric("n_skipped", "Skipped", "Images left out of the mean F1.", "down", "set", high=math.inf),
    Metric("n_skipped_best", "Skipped, best F1", "Images left out of the mean best F1.", "down", "set", high=math.inf),
)
VIEW = View(truth=(Above(0),), score=(Probability(),), region=Margins(15, 11), equal_sizes=True)
KEPT = {"counts": Kept(VIEW, Counts((Over(0.5),))), "rank": Kept(VIEW, Rank())}


def f1_score(tp: float, fp: float, fn: float, tn: float) -> float:
    """2TP / max(2TP + FP + FN, 1e-32)."""
    return 2 * tp / max(2 * tp + fp + fn, 1e-32)


def absolute_mcc(tp: float, fp: float, fn: float, tn: float) -> float:
    """Absolute value of Matthews' correlation."""
    spread = math.sqrt(tp + fp) * math.sqrt(tp + fn) * math.sqrt(tn + fp) * math.sqrt(tn + fn)
    return abs(tp * tn - fp * fn) / max(spread, 1e-32)


def fixed(counts: Counted, kind: str) -> dict[str, float]:
    """Larger F1 of map and inverted map at .5, and what it is made of."""
    four = counts.confusion()
    plain, other = f1_score(*four), f1_score(*inverted(*four))
    values = {"f1": max(plain, other), "f1_plain": plain, "f1_inverted": other, "absolute_mcc": absolute_mcc(*four)}
    sizes = {"scored_pristine": int(counts.total[0]), "scored_forged": int(counts.total[1])}
    return values | sizes | named(*four)


def script(counts: Counted, kind: str) -> dict[str, float]:
    """NaN where all scored pixels are of one class and called rightly, an exception that the script swallows."""
    values = fixed(counts, kind)
    tp, fp, fn, tn = counts.confusion()
    if tp + fp + fn == 0 or tn + fp + fn == 0:
        values["f1"] = math.nan
    return values


def best(rank: Ranks, kind: str) -> dict[str, float]:
    """Larger of the best F1 of the map and of the inverted map."""
    plain, other = rank.best_f1_not_all, rank.inverted_best_f1
    values = {"best_f1": max(plain, other), "best_f1_plain": plain, "best_f1_inverted": other}
    return values | {"n_thresholds": rank.n_values}


class Skipped(Accumulator):
    """Images left out of the two means."""

    def __init__(self):
        self._f1 = self._best = 0

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        if counted:
            counts: Counted | None = statistics["counts"]
            self._f1 += counts is None or math.isnan(script(counts, observation.kind)["f1"])
            self._best += statistics["rank"] is None

    def metrics(self) -> dict[str, float]:
        return {"n_skipped": self._f1, "n_skipped_best": self._best}


class CorrectedDetection(ImageScores):
    """AUC and balanced accuracy at > .5 of the images whose score is not NaN; NaN where one class is absent."""

    def metrics(self) -> dict[str, float]:
        return self.detection(self.scores, ~np.isnan(self.scores))

    def detection(self, scores: np.ndarray, known: np.ndarray) -> dict[str, float]:
        """The two, of the images with a known score."""
        scores, tampered = scores[known], self.tampered[known]
        tp, fp, fn, tn = confusion(scores > 0.5, tampered)
        usable = tampered.any() and not tampered.all() and not math.isnan(self.confusion()[0])
        balanced = (tp / (tp + fn) + tn / (tn + fp)) / 2 if usable else math.nan
        return {"image_auc": auc(scores, tampered), "image_balanced_accuracy": balanced}


class Detection(CorrectedDetection):
    """The same where an infinite score is an error of the script: NaN."""

    def metrics(self) -> dict[str, float]:
        scores = self.scores.astype(np.float32)
        if np.isposinf(scores).any():
            return {"image_auc": math.nan, "image_balanced_accuracy": math.nan}
        return self.detection(scores, np.isfinite(scores))


TRUFOR = Protocol(
    name="trufor",
    version=1,
    title="TruFor test script",
    description=(
        "As TruFor's metrics.py: tampered images only, a margin around the edge of the forged region is left out "
        "(erosion 15, dilation 11), the larger F1 of map and inverted map, at .5 and at each image's best threshold."
    ),
    kept=KEPT,
    parts=(Part(("f1",), ("counts",), script), Part(("best_f1",), ("rank",), best)),
    headline="f1",
    set_metrics=("image_auc", "image_balanced_accuracy", "n_skipped", "n_skipped_best"),
    accumulators=(Skipped, Detection),
    mask_rule="> 0",
    view="probabilities at the size of the ground truth, other sizes refused; margins 15 (forged) and 11 (pristine)",
    threshold="p > .5; best: p > each scored value",
    polarity="the better of map and inverted map",
    empty="forged region eroded away: F1 left out if no scored pixel is called forged, else 0; best F1 0 and counts",
    image_rule="the localizer's own score (else the largest probability), > .5",
    quirks=(
        Quirk(
            "eroded-region-left-out",
            "An image whose forged region erodes to nothing is left out of the mean F1 if its map is empty, and "
            "counts 0 in the mean best F1: best can lie below fixed.",
            True,
        ),
        Quirk("infinite-score-crashes", "Any image score of +inf ends the script; here: NaN.", True),
        Quirk("inversion-is-free", "The better of map and inverted map is chosen with the ground truth."),
    ),
    twin="trufor-corrected",
    original="grip-unina/TruFor ae54475: test_docker/metrics.py l.22-134",
    paper=(
        "Guillaro et al., TruFor: Leveraging All-Round Clues for Trustworthy Image Forgery "
        "Detection and Localization, CVPR 2023"
    ),
)
CORRECTED = dataclasses.replace(
    TRUFOR,
    name="trufor-corrected",
    title="TruFor test script, corrected",
    description="As trufor, but an eroded-away forged region counts in both means, and infinite scores are scores.",
    parts=(Part(("f1",), ("counts",), fixed), TRUFOR.parts[1]),
    set_metrics=("image_auc", "image_balanced_accuracy"),
    accumulators=(CorrectedDetection,),
    empty="forged region eroded away: F1 and best F1 0, both count",
    quirks=TRUFOR.quirks[2:],
    twin="trufor",
)
PROTOCOLS = (TRUFOR, CORRECTED)
