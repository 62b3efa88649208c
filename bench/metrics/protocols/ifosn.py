"""`ifosn`: test.py of ImageForensicsOSN."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bench.metrics.formulas import f1, iou, named
from bench.metrics.metric import Metric, Part
from bench.metrics.observation import Observation
from bench.metrics.protocol import Accumulator, Protocol, Quirk
from bench.metrics.statistics.levels import Histogram, Levels
from bench.metrics.steps.score import Probability, Rounded
from bench.metrics.steps.size import Linear
from bench.metrics.steps.truth import Above, Exactly, ToScoreOrAsItIs
from bench.metrics.view import Kept, View

METRICS = (Metric("n_auc", "Images with an AUC", "Images that the mean AUC counts.", "neither", "set", high=math.inf),)
SCORE = (Probability(), Rounded())
FORGED = Kept(View(truth=(ToScoreOrAsItIs(), Above(0)), score=SCORE), Levels())
CORE = Kept(View(truth=(ToScoreOrAsItIs(), Exactly(255)), score=SCORE), Levels())
ONE_RULE = Kept(View(truth=(Linear("score"), Above(127)), score=SCORE), Levels())
LOWEST = 128  # forged above 127
CRASH = "its mask has no pixel of 255 and is not constant: the script's AUC stops"


def script(forged: Histogram, core: Histogram, kind: str) -> dict[str, float]:
    """F1 and IoU of masks above 0, counted over three equal channels, AUC of masks of 255."""
    four = tp, fp, fn, _ = forged.confusion(LOWEST)
    values = {
        "f1": 6 * tp / (3 * (2 * tp + fp + fn) + 1e-6),
        "iou": 3 * tp / (3 * (tp + fp + fn) + 1e-6) if tp + fp + fn else 1.0,
        "auc": core.auc(),
    }
    constant = not forged.total.all()
    return values | _sizes(forged) | {"without_core": float(not constant and not core.total[1])} | named(*four)


def corrected(levels: Histogram, kind: str) -> dict[str, float]:
    """The same with one mask rule, > 127, and 1 for both where ground truth and prediction are empty."""
    four = levels.confusion(LOWEST)
    values = {"f1": f1(*four, undefined=1.0), "iou": iou(*four, undefined=1.0), "auc": levels.auc()}
    return values | _sizes(levels) | named(*four)


def _sizes(levels: Histogram) -> dict[str, float]:
    each = levels.counts.sum(axis=0)
    return {"pixels_above_127": int(each[LOWEST:].sum()), "sum_of_8_bit_map": int(each @ range(256))}


class Defined(Accumulator):
    """Images that have an AUC."""

    def __init__(self):
        self._images = 0

    def add(self, observation: Observation, statistics: Mapping[str, Any], counted: bool) -> None:
        levels: Histogram | None = statistics["core"] if counted else None
        self._images += levels is not None and not math.isnan(levels.auc())

    def metrics(self) -> dict[str, float]:
        return {"n_auc": self._images}


IFOSN = Protocol(
    name="ifosn",
    version=1,
    title="ImageForensicsOSN script",
    description=(
        "As ImageForensicsOSN's test.py: map rounded to 8 bits, forged above 127, at the size of the map; F1 and IoU "
        "with mask above 0, AUC with mask of 255; means over tampered images, of AUC over those that have one."
    ),
    kept={"forged": FORGED, "core": CORE},
    parts=(Part(("f1", "iou", "auc"), ("forged", "core"), script),),
    headline="f1",
    set_metrics=("n_auc",),
    accumulators=(Defined,),
    stops=lambda metrics: CRASH if metrics.get("without_core") else "",
    mask_rule="F1, IoU: > 0, or > 127 where it has to be resized to the map; AUC: = 255",
    view="255 p rounded to 8 bits, at the size of the map",
    threshold="8-bit value > 127",
    empty="both empty: F1 0, IoU 1; AUC left out where the mask is constant",
    quirks=(
        Quirk("two-mask-rules", "Soft edges are forged for F1 and pristine for AUC.", True),
        Quirk("no-255-crashes", "A mask without 255 that is not constant ends the script; here: not counted.", True),
        Quirk("empty-f1-0-iou-1", "Where both are empty F1 is 0 and IoU is 1 at once.", True),
        Quirk("auc-has-fewer-images", "The mean AUC leaves out images that the mean F1 counts."),
    ),
    twin="ifosn-corrected",
    original="HighwayWu/ImageForensicsOSN 42c2fe5: test.py l.75-120, 260-272",
    paper="Wu et al., Robust Image Forgery Detection over Online Social Network Shared Images, CVPR 2022",
)
CORRECTED = dataclasses.replace(
    IFOSN,
    name="ifosn-corrected",
    title="ImageForensicsOSN script, corrected",
    description="As ifosn, but with one mask rule, > 127, and F1 and IoU both 1 where both are empty.",
    kept={"core": ONE_RULE},
    parts=(Part(("f1", "iou", "auc"), ("core",), corrected),),
    stops=None,
    mask_rule="> 127, resized (bilinear) to the map first",
    empty="both empty: F1 1, IoU 1; AUC left out where the mask is constant",
    quirks=IFOSN.quirks[3:],
    twin="ifosn",
)
PROTOCOLS = (IFOSN, CORRECTED)
