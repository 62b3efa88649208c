"""`safire`: test_binary.py and test_multi.py of SAFIRE."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bench.metrics.formulas import inverted, mcc, named
from bench.metrics.metric import Metric, Part
from bench.metrics.protocol import Protocol, Quirk
from bench.metrics.statistics.contingency import Contingency, Table
from bench.metrics.statistics.counts import AtLeast, Counted, Counts, Over
from bench.metrics.statistics.rank import Rank, Ranks
from bench.metrics.steps.region import Margins
from bench.metrics.steps.score import Probability
from bench.metrics.steps.size import Nearest
from bench.metrics.steps.truth import Above
from bench.metrics.view import Kept, View

METRICS = (
    Metric("absolute_mcc", "Absolute MCC", "Absolute value of the MCC over the pixels outside the margins."),
    Metric(
        "partition_mean_iou",
        "Partition mean IoU",
        "Mean IoU of the sources under the best assignment of predicted to true ones.",
    ),
    Metric(
        "partition_ari", "Partition ARI", "Adjusted Rand index of predicted and true sources; 0 is chance.", low=-0.5
    ),
    Metric(
        "partition_mean_iou_all",
        "Partition mean IoU, all channels",
        "The same with as many sources as the localizer predicts, absent ones counting 0.",
    ),
)
WHOLE = View(truth=(Nearest("score"), Above(127)), score=(Probability(),))
INNER = dataclasses.replace(WHOLE, region=Margins(15, 11))
ONE_CLASS = "one class in its mask: the script's AUC stops"


def f1_score(tp: float, fp: float, fn: float, tn: float) -> float:
    """2TP / max(2TP + FP + FN, 1e-32)."""
    return 2 * tp / max(2 * tp + fp + fn, 1e-32)


def inner(counts: Counted, kind: str) -> dict[str, float]:
    """Larger F1 of map and inverted map, and absolute MCC, outside the margins."""
    four = counts.confusion()
    values = {"f1": max(f1_score(*four), f1_score(*inverted(*four)))}
    return values | {"absolute_mcc": abs(mcc(*four)), **named(*four)}


def inner_corrected(counts: Counted, kind: str) -> dict[str, float]:
    """The same with the signed MCC."""
    four = counts.confusion()
    return {"f1": max(f1_score(*four), f1_score(*inverted(*four))), "mcc": mcc(*four), **named(*four)}


def best(rank: Ranks, kind: str) -> dict[str, float]:
    """Larger best F1 of map and inverted map, outside the margins."""
    return {"best_f1": max(rank.best_f1_not_all, rank.inverted_best_f1)}


def whole(counts: Counted, kind: str) -> dict[str, float]:
    """Permuted F1 and accuracy over all pixels, p >= .5."""
    tp, fp, fn, tn = counts.confusion()
    right = (tp + tn) / (tp + fp + fn + tn)
    values = {"permuted_f1": max(2 * tp / max(1, 2 * tp + fn + fp), 2 * fn / max(1, 2 * fn + tp + tn))}
    iou = [part / union if union else 0.0 for part, union in ((tn, tn + fp + fn), (tp, tp + fp + fn))]
    return values | {"permuted_accuracy": max(right, 1 - right), "mean_iou": sum(iou) / 2}


def ranked(rank: Ranks, kind: str) -> dict[str, float]:
    """AUC and average precision over all pixels; NaN where one class is absent."""
    return {"auc": rank.auc(), "ap": rank.average_precision}


SAFIRE = Protocol(
    name="safire",
    version=1,
    title="SAFIRE script, binary",
    description=(
        "As SAFIRE's test_binary.py at the size of the map: TruFor's F1 outside margins (erosion 15, dilation 11), "
        "AUC, AP, permuted F1 (that of CAT-Net's papers) and accuracy over all pixels, means over tampered images."
    ),
    kept={
        "inner": Kept(INNER, Counts((Over(0.5),))),
        "inner_rank": Kept(INNER, Rank()),
        "whole": Kept(WHOLE, Counts((AtLeast(0.5),))),
        "rank": Kept(WHOLE, Rank()),
    },
    parts=(
        Part(("f1", "absolute_mcc"), ("inner",), inner),
        Part(("best_f1",), ("inner_rank",), best),
        Part(("permuted_f1", "permuted_accuracy"), ("whole",), whole),
        Part(("auc", "ap"), ("rank",), ranked),
    ),
    headline="permuted_f1",
    stops=lambda metrics: ONE_CLASS if math.isnan(metrics["auc"]) else "",
    average="mean",
    mask_rule="> 127 (its sets: a rule each)",
    view="at the size of the map (1024 x 1024 there), mask resized (nearest); F1, MCC: margins 15 and 11",
    threshold="F1, MCC: p > .5; permuted: p >= .5; best F1: p > each scored value",
    polarity="F1, permuted: the better of map and inverted map",
    empty="forged region eroded away: F1 0 and counts; one class: the script stops (scikit-learn < 1.6), not counted",
    quirks=(
        Quirk("mcc-is-absolute", "MCC is an absolute value: an inverted map looks good.", True),
        Quirk("one-class-stops", "An image of one class ends the run.", True),
        Quirk("margins-at-map-size", "The margins are pixels of the map (1024 x 1024 there), not of the image."),
    ),
    twin="safire-corrected",
    original="mjkwon2021/SAFIRE a064265: test_binary.py l.92-151, ForensicsEval/metric/metrics_functions.py",
    paper="Kwon et al., SAFIRE: Segment Any Forged Image Region, AAAI 2025",
)
CORRECTED = dataclasses.replace(
    SAFIRE,
    name="safire-corrected",
    title="SAFIRE script, binary, corrected",
    description="As safire, but with the signed MCC, and images of one class count where a metric is defined.",
    parts=(Part(("f1", "mcc"), ("inner",), inner_corrected), *SAFIRE.parts[1:]),
    stops=None,
    average="nanmean",
    empty="forged region eroded away: F1 0 and counts; one class: AUC is NaN and left out",
    quirks=SAFIRE.quirks[2:],
    twin="safire",
)


def mean_iou(counts: np.ndarray, predicted: np.ndarray, true: int, sources: int) -> float:
    """Mean IoU over `sources` true ones, of the best assignment of predicted to true ones.

    counts: int64 (C, K), predicted x true. predicted: rows, and true: number of columns, that take part.
    """
    from scipy.optimize import linear_sum_assignment  # a third of a second, and few measure by this

    sizes, truth = counts.sum(axis=1), counts.sum(axis=0)
    union = (sizes[:, None] + truth[None, :] - counts)[predicted, :true]
    iou = np.divide(counts[predicted, :true], union, out=np.zeros(union.shape), where=union > 0)
    return float(iou[linear_sum_assignment(iou, maximize=True)].sum()) / sources


def adjusted_rand(counts: np.ndarray) -> float:
    """Adjusted Rand index of a contingency table; 1 for identical partitions, of one source too."""
    from scipy.special import comb

    pairs, rows, columns = (comb(part, 2).sum() for part in (counts, counts.sum(axis=1), counts.sum(axis=0)))
    expected = rows * columns / comb(counts.sum(), 2) if counts.sum() > 1 else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def partition(table: Table, kind: str) -> dict[str, float]:
    """As the script: the largest predicted sources where there are too many.

    Where there are too few, true sources beyond their number are never tried.
    """
    return _partition(table, true=len(table.counts))


def partition_corrected(table: Table, kind: str) -> dict[str, float]:
    """The same with every true source tried."""
    return _partition(table, true=table.counts.shape[1])


def _partition(table: Table, true: int) -> dict[str, float]:
    counts = table.counts
    predicted, sources = counts.shape
    largest = np.argsort(-counts.sum(axis=1), kind="stable")[:sources]
    return {
        "partition_mean_iou": mean_iou(counts, largest, true, sources),
        "partition_ari": adjusted_rand(counts),
        "partition_mean_iou_all": mean_iou(counts, np.arange(predicted), predicted, predicted),
    }


PARTITION = ("partition_mean_iou", "partition_ari", "partition_mean_iou_all")
MULTI = Protocol(
    name="safire-multi",
    version=1,
    title="SAFIRE script, several sources",
    description=(
        "As SAFIRE's test_multi.py: each pixel goes to the largest of the maps per source; mean IoU under the best "
        "permutation and adjusted Rand index, means over tampered images."
    ),
    kept={"table": Kept(View(truth=(Above(127),)), Contingency())},
    parts=(Part(PARTITION, ("table",), partition),),
    headline="partition_mean_iou",
    average="mean",
    sources=True,
    mask_rule="the number of each pixel's source",
    view="as given; maps and ground truth must agree in size",
    threshold="largest map",
    polarity="best permutation of the sources",
    empty="a source that is not predicted has IoU 0",
    quirks=(
        Quirk(
            "too-few-sources",
            "With fewer predicted than true sources only the first true ones are tried, not all.",
            True,
        ),
    ),
    twin="safire-multi-corrected",
    original="mjkwon2021/SAFIRE a064265: test_multi.py l.95-132, ForensicsEval/metric/metrics_functions.py",
    paper="Kwon et al., SAFIRE: Segment Any Forged Image Region, AAAI 2025",
)
MULTI_CORRECTED = dataclasses.replace(
    MULTI,
    name="safire-multi-corrected",
    title="SAFIRE script, several sources, corrected",
    description="As safire-multi, but every true source is tried where fewer are predicted.",
    parts=(Part(PARTITION, ("table",), partition_corrected),),
    quirks=(),
    twin="safire-multi",
)
PROTOCOLS = (SAFIRE, CORRECTED, MULTI, MULTI_CORRECTED)
