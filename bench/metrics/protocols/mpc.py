"""`mpc`: the test script of MPC, CATNet_dataset_train/stage2/test.py."""

from __future__ import annotations

import dataclasses

from bench.metrics.formulas import common, f1, named, ratio
from bench.metrics.metric import Part
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.statistics.counts import Counted, Counts, Over
from bench.metrics.steps.score import Probability, Times
from bench.metrics.steps.size import Linear
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

METRIC_NAMES = ("f1", "iou", "precision", "recall", "mcc", "accuracy")


def script(counts: Counted, kind: str) -> dict[str, float]:
    """F1 by scikit-learn with zero_division=0; IoU with 1e-6 added to the union, 1 where it is empty."""
    tp, fp, fn, tn = counts.confusion()
    union = tp + fp + fn
    values = {"f1": f1(tp, fp, fn, undefined=0.0), "iou": tp / (union + 1e-6) if union else 1.0}
    return values | common(tp, fp, fn, tn) | _sizes(counts)


def corrected(counts: Counted, kind: str) -> dict[str, float]:
    """F1 and IoU both 1 where ground truth and prediction are empty."""
    tp, fp, fn, tn = counts.confusion()
    values = {"f1": f1(tp, fp, fn, undefined=1.0), "iou": ratio(tp, tp + fp + fn, 1.0)}
    return values | common(tp, fp, fn, tn) | _sizes(counts)


def _sizes(counts: Counted) -> dict[str, float]:
    return {"n_pixels": int(counts.total.sum()), "n_forged": int(counts.total[1]), **named(*counts.confusion())}


MPC = Protocol(
    name="mpc",
    version=2,
    title="MPC test script",
    description=(
        "As the official MPC test script: tampered images only, map resized to the ground truth, forged where "
        "255 p > 127, F1 0 and IoU 1 where both are empty, mean over images; the script knows no AUC, AP or best "
        "threshold, and prints F1 and IoU only: precision, recall, MCC and accuracy are at its threshold."
    ),
    kept={
        "counts": Kept(
            View(truth=(Above(127),), score=(Probability(), Times(255.0), Linear("truth"))), Counts((Over(127.0),))
        )
    },
    parts=(Part(METRIC_NAMES, ("counts",), script),),
    headline="f1",
    mask_rule="> 127",
    view="sigmoid, times 255 as float, resized (bilinear) to the ground truth",
    threshold="255 p > 127",
    empty="both empty: F1 0, IoU 1",
    quirks=(
        Quirk("empty-f1-0-iou-1", "Where both are empty F1 is 0 and IoU is 1 at once.", defect=True),
        Quirk("threshold-127", "127/255 is .498: a map of constant .5 is forged throughout."),
    ),
    twin="mpc-corrected",
    original="multimediaFor/MPC f31f282: CATNet_dataset_train/stage2/test.py l.129-180, mydatasets.py l.68-90",
    paper=(
        "Lou et al., Exploring Multi-view Pixel Contrast for General and Robust Image Forgery Localization, TIFS 2025"
    ),
)
CORRECTED = dataclasses.replace(
    MPC,
    name="mpc-corrected",
    version=1,
    title="MPC test script, corrected",
    description="As mpc, but F1 and IoU are both 1 where ground truth and prediction are empty.",
    parts=(Part(METRIC_NAMES, ("counts",), corrected),),
    empty="both empty: F1 1, IoU 1",
    quirks=MPC.quirks[1:],
    twin="mpc",
)
PROTOCOLS = (MPC, CORRECTED)
