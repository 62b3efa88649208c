"""`hifi`: HiFi_Net_loc.py of HiFi-IFDL, loss type "ce"."""

from __future__ import annotations

import dataclasses
import math

from bench.metrics.formulas import inverted, named, ratio
from bench.metrics.metric import Part
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.statistics.counts import Counted, Counts, Over
from bench.metrics.statistics.rank import Rank, Ranks
from bench.metrics.steps.score import Probability
from bench.metrics.steps.size import Bicubic, Linear
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

SIDE = 256
VIEW = View(truth=(Bicubic((SIDE, SIDE)), Above(127)), score=(Probability(), Linear((SIDE, SIDE))))
ONE_CLASS = "one class in its 256 x 256 mask: the script's AUC stops"


def macro_f1(tp: float, fp: float, fn: float, tn: float) -> float:
    """scikit-learn's average="macro": mean of the F1 of the classes in the ground truth or the prediction."""
    both = [(2 * tp, 2 * tp + fp + fn), (2 * tn, 2 * tn + fp + fn)]
    present = [ratio(part, whole) for part, whole in both if whole]
    return sum(present) / len(present)


def script(counts: Counted, kind: str) -> dict[str, float]:
    """Larger of the macro F1 of the map and of an empty map, which stands for the inverted one by mistake."""
    four = tp, fp, fn, tn = counts.confusion()
    empty = (0, 0, tp + fn, tn + fp)
    return {"macro_f1": max(macro_f1(*four), macro_f1(*empty)), "forged_256": tp + fn, **named(*four)}


def corrected(counts: Counted, kind: str) -> dict[str, float]:
    """Larger of the macro F1 of the map and of the inverted map."""
    four = tp, _, fn, _ = counts.confusion()
    values = {"macro_f1": max(macro_f1(*four), macro_f1(*inverted(*four)))}
    return {**values, "forged_256": tp + fn, **named(*four)}


def ranked(rank: Ranks, kind: str) -> dict[str, float]:
    """Larger of AUC and 1 - AUC; NaN where one class is absent."""
    auc = rank.auc()
    return {"auc": auc if auc > 0.5 else 1 - auc}


HIFI = Protocol(
    name="hifi",
    version=1,
    title="HiFi-IFDL script",
    description=(
        "As HiFi-IFDL's test: ground truth and map at 256 x 256, forged where p > .5; the larger macro F1 of map and "
        "empty map, the larger of AUC and 1 - AUC, means over tampered images."
    ),
    kept={"counts": Kept(VIEW, Counts((Over(0.5),))), "rank": Kept(VIEW, Rank())},
    parts=(Part(("macro_f1",), ("counts",), script), Part(("auc",), ("rank",), ranked)),
    headline="macro_f1",
    stops=lambda metrics: ONE_CLASS if math.isnan(metrics["auc"]) else "",
    average="mean",
    mask_rule="bicubic to 256 x 256 (Pillow), then > 127.5",
    view="map resized (bilinear) to 256 x 256",
    threshold="p > .5",
    polarity="the better of map and empty map; AUC: of map and inverted map",
    empty="one class: the script stops (scikit-learn < 1.6); here: not counted",
    quirks=(
        Quirk(
            "inversion-broken",
            "The second F1 is that of an empty map, not of the inverted one: an inverted map gets about .41 where a "
            "true inversion gives nearly 1, and an empty map is the floor.",
            True,
        ),
        Quirk("one-class-stops", "An image of one class ends the run.", True),
        Quirk("f1-is-macro", "An empty map on a forged image has a macro F1 of about .42 to .5."),
    ),
    twin="hifi-corrected",
    original="CHELSEA234/HiFi_IFDL 2266804: HiFi_Net_loc.py l.111-138, utils/load_edata.py l.33-78",
    paper="Guo et al., Hierarchical Fine-Grained Image Forgery Detection and Localization, CVPR 2023",
)
CORRECTED = dataclasses.replace(
    HIFI,
    name="hifi-corrected",
    title="HiFi-IFDL script, corrected",
    description="As hifi, but with the macro F1 of the inverted map, and images of one class count in the mean F1.",
    parts=(Part(("macro_f1",), ("counts",), corrected), HIFI.parts[1]),
    stops=None,
    average="nanmean",
    polarity="the better of map and inverted map",
    empty="one class: macro F1 of that class counts, AUC is NaN and left out",
    quirks=HIFI.quirks[2:],
    twin="hifi",
)
PROTOCOLS = (HIFI, CORRECTED)
