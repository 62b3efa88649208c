"""`imlvit`: the evaluation of IML-ViT, utils/evaluation.py."""

from __future__ import annotations

import dataclasses

from bench.metrics.formulas import f1, named
from bench.metrics.metric import Part
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.statistics.counts import Counted, Counts, Over
from bench.metrics.steps.score import Probability
from bench.metrics.steps.size import Cropped
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

SIDE = 1024


def script(counts: Counted, kind: str) -> dict[str, float]:
    """F1 of precision and recall with 1e-8 added to each denominator."""
    four = tp, fp, fn, _ = counts.confusion()
    precision, recall = tp / (tp + fp + 1e-8), tp / (tp + fn + 1e-8)
    return {"f1": 2 * precision * recall / (precision + recall + 1e-8), **named(*four)}


def corrected(counts: Counted, kind: str) -> dict[str, float]:
    """F1, NaN where both are empty."""
    four = counts.confusion()
    return {"f1": f1(*four), **named(*four)}


IMLVIT = Protocol(
    name="imlvit",
    version=1,
    title="IML-ViT evaluation",
    description=(
        "As IML-ViT's evaluation: padded with zeros to 1024 x 1024, the padding left out, larger images cut there; "
        "forged where p > .5, F1, mean over tampered images."
    ),
    kept={
        "counts": Kept(
            View(
                truth=(Above(127), Cropped((SIDE, SIDE))),
                score=(Probability(), Cropped((SIDE, SIDE))),
                equal_sizes=True,
            ),
            Counts((Over(0.5),)),
        )
    },
    parts=(Part(("f1",), ("counts",), script),),
    headline="f1",
    average="mean",
    mask_rule="> 127 (mean of channels > 127.5)",
    view="the first 1024 x 1024 pixels from the top left; other sizes of map than of mask refused",
    threshold="p > .5",
    empty="no forged pixel: F1 0",
    quirks=(
        Quirk("cut-at-1024", "Of larger images only the first 1024 x 1024 pixels are scored.", True),
        Quirk("empty-counts-0", "Where both are empty F1 is 0.", True),
    ),
    twin="imlvit-corrected",
    original="SunnyHaze/IML-ViT 07dd2be: utils/evaluation.py l.9-49, engine_train.py l.92-136",
    paper=("Ma et al., IML-ViT: Benchmarking Image Manipulation Localization by Vision Transformer, arXiv 2307.14863"),
)
CORRECTED = dataclasses.replace(
    IMLVIT,
    name="imlvit-corrected",
    title="IML-ViT evaluation, corrected",
    description="As imlvit, but images are scored whole, and F1 is left out where ground truth and map are empty.",
    kept={"counts": Kept(View(truth=(Above(127),), score=(Probability(),), equal_sizes=True), Counts((Over(0.5),)))},
    parts=(Part(("f1",), ("counts",), corrected),),
    average="nanmean",
    view="whole images; other sizes of map than of mask refused",
    empty="both empty: NaN, left out",
    quirks=(),
    twin="imlvit",
)
PROTOCOLS = (IMLVIT, CORRECTED)
