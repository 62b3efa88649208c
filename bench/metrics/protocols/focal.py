"""`focal`: main.py of FOCAL."""

from __future__ import annotations

import dataclasses

from bench.metrics.formulas import f1, named, ratio
from bench.metrics.metric import Part
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.statistics.counts import Counted, Counts, Over
from bench.metrics.steps.score import Probability, Times
from bench.metrics.steps.size import Linear
from bench.metrics.steps.truth import Above, Stretched
from bench.metrics.view import Kept, View


def macro_f1(tp: float, fp: float, fn: float, tn: float) -> float:
    """scikit-learn's average="macro": mean of the F1 of the classes in the ground truth or the prediction."""
    present = [(tp, fp, fn)] if tp + fp + fn else []
    present += [(tn, fn, fp)] if tn + fp + fn else []
    return sum(f1(*counts, undefined=0.0) for counts in present) / len(present)


def script(counts: Counted, kind: str) -> dict[str, float]:
    """Macro F1, and IoU with 1e-6 added to the union, 1 where it is empty."""
    four = tp, fp, fn, _ = counts.confusion()
    union = tp + fp + fn
    iou = ratio(tp, union + 1e-6) if union else 1.0
    return {"macro_f1": macro_f1(*four), "iou": iou, **named(*four)}


def protocol(side: int) -> Protocol:
    """The script at side x side: 1024 / gt_ratio."""
    truth = (Stretched(127), Linear((side, side)), Above(127))
    score = (Probability(), Times(255.0), Linear((side, side)))
    return Protocol(
        name="focal",
        version=1,
        title=f"FOCAL script, {side} x {side}",
        description=(
            f"As FOCAL's main.py: ground truth and map (its cluster labels) resized to {side} x {side}, forged above "
            "127 of 255; macro F1 of both classes and IoU of the forged one, mean over tampered images."
        ),
        kept={"counts": Kept(View(truth=truth, score=score), Counts((Over(127.0),)))},
        parts=(Part(("macro_f1", "iou"), ("counts",), script),),
        headline="macro_f1",
        mask_rule="> 127",
        view=f"both resized (bilinear) to {side} x {side}, the mask made two-level before and after",
        threshold="255 p > 127",
        empty="both empty: macro F1 1 (one class), IoU 1",
        quirks=(
            Quirk("f1-is-macro", "An empty map on a forged image has a macro F1 of about .42 to .5."),
            Quirk("scored-small", f"All is scored at {side} x {side}: details below that are lost."),
        ),
        original="HighwayWu/FOCAL 2bebdc9: main.py l.107-129, 329-419",
        paper=(
            "Wu et al., Rethinking Image Forgery Detection via Contrastive Learning and Unsupervised "
            "Clustering, arXiv 2308.09307"
        ),
    )


PROTOCOLS = (protocol(64), dataclasses.replace(protocol(256), name="focal-hrnet"))
