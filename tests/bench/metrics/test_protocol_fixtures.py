"""Every number that the originals' own code gave for a bank of maps, against ours (`$PROTOCOLS_ROOT`).

Items go into `evaluate` and `evaluate_set` as they are. Every value of every JSON file is compared, or named in
UNTESTED with the reason.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench.metrics import Protocol, evaluate, evaluate_set, find
from bench.metrics.protocols import catnet, imdlbenco, mvss, nist_maskscorer
from models.image import ScoreMap
from tests.shared import SHARED

ROOT = Path(os.environ.get("PROTOCOLS_ROOT", SHARED / "protocols"))
pytestmark = pytest.mark.skipif(not (ROOT / "bank.npz").exists(), reason=f"needs the research-only bank in {ROOT}")
TOLERANCE = 1e-6
SUMS = 1e-5  # photoholmes adds up in float32
ORDER = 3e-6  # imdlbenco adds up the areas under the ROC curve in float32

METADATA = "what was run, not a result"
UNTESTED = {  # (file, key) or key -> why its values are not compared
    "protocol": METADATA,
    "status": METADATA,
    "original": METADATA,
    "commit": METADATA,
    "notes": METADATA,
    "edits": METADATA,
    "parameters": METADATA,
    "versions": METADATA,
    ("imdlbenco", "largest_difference_of_AUC_origin_from_a_stable_descending_sort"): "of two sorts of the original",
    ("safire", "permutation_pmiou"): "which permutation was best, not a metric",
    ("trufor", "error_th"): "the original's message; that the value is NaN is compared",
}


@cache
def bank() -> dict[str, np.ndarray]:
    with np.load(ROOT / "bank.npz") as file:
        return dict(file)


@cache
def recorded(file: str) -> dict:
    return json.loads((ROOT / f"{file}.json").read_text())


@cache
def items(kind: str = "map") -> dict[str, tuple]:
    """Id -> (score, kind, mask, tampered, image_score), as `evaluate_set` takes them."""
    found = bank()
    name = {"map": "probability", "logit": "logit"}[kind]
    columns = zip(found["ids"], found["tampered"], found["image_score"], strict=True)
    return {str(i): (found[f"{i}/{kind}"], name, found[f"{i}/mask"], bool(t), float(s)) for i, t, s in columns}


def one(item: tuple, protocol: str | Protocol) -> dict[str, float]:
    score, kind, mask, _, _ = item
    return evaluate(score if score.ndim == 3 else ScoreMap(score, kind), mask, protocol)


@dataclass(frozen=True)
class Between:
    """A value that depends on the order of tied scores: it lies between these, which coincide without ties."""

    low: Callable[[dict], float]
    high: Callable[[dict], float]


def bound(metric: str) -> Between:
    def side(which: str) -> Callable[[dict], float]:
        def of(got: dict) -> float:
            found = got[f"{metric}_{which}"]
            return got[metric] if math.isnan(found) else found

        return of

    return Between(side("low"), side("high"))


def larger(first: Between, second: Between) -> Between:
    return Between(lambda g: max(first.low(g), second.low(g)), lambda g: max(first.high(g), second.high(g)))


def check(where: str, got: dict[str, float], want: object, ours: object, tolerance: float) -> None:
    """Compare a recorded value, or a list of them, with those of our names."""
    if isinstance(ours, tuple):
        for a, b in zip(want, ours, strict=True):
            check(where, got, a, b, tolerance)
        return
    if isinstance(ours, Between):
        low, high = ours.low(got), ours.high(got)
        if want is None:
            assert math.isnan(low) and math.isnan(high), f"{where}: NaN there, {low} to {high} here"
        else:
            assert low - tolerance <= want <= high + tolerance, f"{where}: {want} there, {low} to {high} here"
        return
    assert ours in got, f"{where}: {ours} is not in {sorted(got)}"
    value = got[ours]
    if want is None:
        assert math.isnan(value), f"{where}: NaN there, {value} here"
    else:
        assert value == pytest.approx(want, abs=tolerance, rel=tolerance), f"{where} ({ours})"


@dataclass(frozen=True)
class Section:
    """One section of a file: of each image (`ids` None) or of the whole bank.

    keys: recorded name -> our name, a tuple of them for a list, or Between.
    ids: for a section of the whole bank, the key in "ids" that lists what it counts; images: as in `evaluate_set`.
    chosen: whether the items are those of that list, rather than all; means: keys that are means of what `evaluate`
    gives besides the metrics.
    """

    file: str
    name: str
    keys: dict
    protocol: str | Protocol = ""
    kind: str = "map"
    tolerance: float = TOLERANCE
    ids: str | None = None
    images: str | None = None
    chosen: bool = False
    means: dict = field(default_factory=dict)
    alone: bool = False

    @property
    def asked(self) -> Protocol:
        return find(self.protocol or self.file)

    def __str__(self) -> str:
        return f"{self.file}-{self.name}-{self.kind}"


def plain(*names: str) -> dict[str, str]:
    return {name: name for name in names}


COUNTS = {"TP": "tp", "FP": "fp", "FN": "fn", "TN": "tn"}
CONFUSION = (("tn", "fp"), ("fn", "tp"))
CATNET = {
    "mIoU": "mean_iou",
    "p_mIoU": "permuted_mean_iou",
    "IoU_pristine": "iou_pristine",
    "IoU_forged": "iou",
    "pixel_acc": "accuracy",
    "mean_acc": "mean_accuracy",
    "confusion_matrix": CONFUSION,
}
CATNET_SET = {
    "mean_IoU": "pooled_mean_iou",
    "avg_mIoU": "mean_iou",
    "avg_p_mIoU": "permuted_mean_iou",
    "IoU_array": ("pooled_iou_pristine", "pooled_iou"),
    "pixel_acc": "pooled_accuracy",
    "mean_acc": "pooled_mean_accuracy",
    "confusion_matrix": tuple(tuple(f"pooled_{name}" for name in row) for row in CONFUSION),
}
FOCAL_64 = {"macro_f1": "macro_f1", "iou": "iou"}
FOCAL_256 = {"macro_f1_ratio_4": "macro_f1", "iou_ratio_4": "iou"}
MVSS_SET = {
    "pixel_f1": "f1",
    "image_acc": "image_accuracy",
    "combined_f1": "combined_f1",
    "pixel_f1_images": "images",
    **plain(*(f"image_{name}" for name in ("sensitivity", "specificity", "f1", "auc", "tp", "tn", "fp", "fn"))),
}
IMDL = {
    f"{there}_{mode}": (f"{mode}_{here}" if mode != "origin" else here)
    for there, here in (("F1", "f1"), ("IOU", "iou"), ("Accuracy", "accuracy"))
    for mode in ("origin", "reverse", "double")
} | {"Accuracy_origin_tail": "accuracy_tail"}
IMDL_AUC = {
    "AUC_origin": bound("auc"),
    "AUC_reverse": bound("reverse_auc"),
    "AUC_double": larger(bound("auc"), bound("reverse_auc")),
}
NIST = {
    "weight_sum": "n_scored",
    "PixelN": "n_scored",
    "PixelBNS": "boundary_pixels",
    "PixelSNS": "distraction_pixels",
    "OptimumThreshold": "optimum_threshold",
    "ActualThreshold": "actual_threshold",
    "AUC": "auc",
    "EER": "eer",
    "GWL1": "gwl1",
    **{
        f"{rule}{metric}": f"{rule.lower()}_{metric.lower()}"
        for rule in ("Optimum", "Actual")
        for metric in ("NMM", "MCC", "BWL1")
    },
    **{f"{rule}Pixel{count}": f"{rule.lower()}_{count.lower()}" for rule in ("Optimum", "Actual") for count in COUNTS},
}
NIST_MAXIMUM = {
    **{f"Maximum{metric}": f"maximum_{metric.lower()}" for metric in ("NMM", "MCC", "BWL1", "Threshold")},
    **{f"MaximumPixel{count}": f"maximum_{count.lower()}" for count in COUNTS},
}
NIST_CURVES = {"PixelAverageAUC": "pooled_auc", "MaskAverageAUC": "mask_average_auc"}
NIST_SET = {
    **{there: here for there, here in NIST.items() if here in find("nist-maskscorer").metrics},
    **NIST_MAXIMUM,
    **NIST_CURVES,
}
NIST_MEANS = {there: here for there, here in NIST.items() if there not in NIST_SET}
PHOTOHOLMES = {
    "BinaryAUROC": "pooled_auc",
    "mAuroc": "auc",
    "FPR": "pooled_fpr_at_1",
    "BinaryJaccardIndex": "pooled_iou",
    "BinaryMatthewsCorrCoef": "pooled_mcc",
    "BinaryPrecision": "pooled_precision",
    "BinaryRecall": "pooled_recall",
    "BinaryF1Score": "pooled_f1",
    **{f"{metric}_weighted_v1": f"soft_{metric.lower()}" for metric in ("IoU", "F1", "MCC")},
    **{f"{metric}_weighted_v2": f"pooled_soft_{metric.lower()}" for metric in ("IoU", "F1", "MCC")},
}
SAFIRE = {
    "F1_fixed": "f1",
    "F1_best": "best_f1",
    "AUC": "auc",
    "AP": "ap",
    "mcc": "absolute_mcc",
    "st_F1_fixed": "permuted_f1",
    "st_Acc": "permuted_accuracy",
}
PARTITION = {
    "p_mIoU": "partition_mean_iou",
    "p_ARI": "partition_ari",
    "pmiou_all_channels": "partition_mean_iou_all",
}
TRUFOR = {
    "F1_th": "f1",
    "F1_best": "best_f1",
    "abs_MCC": "absolute_mcc",
    "F1_th_plain": "f1_plain",
    "F1_th_inverted": "f1_inverted",
    "F1_best_plain": "best_f1_plain",
    "F1_best_inverted": "best_f1_inverted",
    **COUNTS,
    **plain("scored_pristine", "scored_forged", "n_thresholds"),
}
TRUFOR_SET = {"F1_th": "f1", "F1_best": "best_f1", "skipped": "n_skipped_best", "skipped_th": "n_skipped"}
VALIDATION = {
    "avg_mIoU": "mean_iou",
    "avg_mIoU_smooth": "mean_iou_smooth",
    "avg_IoU_1_smooth": "iou_smooth",
    "avg_p-mIoU": "permuted_mean_iou",
    "avg_p-mIoU_smooth": "permuted_mean_iou_smooth",
    "avg_p-F1": "permuted_f1",
    "avg_p-F1_smooth": "permuted_f1_smooth",
    "avg_mse": "mse",
}
VALIDATION_SET = {
    **VALIDATION,
    "mIoU": "pooled_mean_iou",
    "mIoU_smooth": "pooled_mean_iou_smooth",
    "pixel_acc": "pooled_accuracy",
    "avg_det_tpr": "image_tpr",
    "avg_det_tnr": "image_tnr",
    "avg_det_bacc": "image_balanced_accuracy",
}
N = {"images": "images"}
IFOSN = plain("f1", "iou", "auc")
PADDED, SQUARE = imdlbenco.protocol(256, padded=True), imdlbenco.protocol(128)
UNSCALED = replace(mvss.protocol(resized=False))

SECTIONS = [
    Section("catnet", "per_image", CATNET),
    Section("catnet", "per_image", CATNET, kind="logit"),
    Section("catnet", "aggregate", CATNET_SET, ids="aggregate"),
    Section("catnet", "aggregate_tampered", CATNET_SET, ids="aggregate_tampered", images="tampered"),
    Section(
        *("catnet", "aggregate_label_padded_to_8", CATNET_SET, catnet.protocol(padded=True)),
        ids="aggregate_label_padded_to_8",
        images="tampered",
    ),
    Section("focal", "per_image", FOCAL_64),
    Section("focal", "per_image", FOCAL_256, "focal-hrnet"),
    Section("focal", "aggregate", FOCAL_64 | N, ids="aggregate"),
    Section("focal", "aggregate", FOCAL_256 | N, "focal-hrnet", ids="aggregate"),
    Section("focal", "aggregate_all", FOCAL_64 | N, ids="aggregate_all", images="all"),
    Section("focal", "aggregate_all", FOCAL_256 | N, "focal-hrnet", ids="aggregate_all", images="all"),
    Section("forensichub", "per_image", {"max_pooled": "max_score"}),
    Section("hifi", "per_image", {"F1": "macro_f1", "AUC": "auc", "forged_256": "forged_256"}),
    Section("hifi", "aggregate", {"F1": "macro_f1", "AUC": "auc"} | N, ids="aggregate"),
    Section("ifosn", "per_image", IFOSN | plain("pixels_above_127", "sum_of_8_bit_map")),
    Section("ifosn", "aggregate", IFOSN | N | {"auc_images": "n_auc"}, ids="aggregate"),
    Section("ifosn", "aggregate_all", IFOSN | N | {"auc_images": "n_auc"}, ids="aggregate_all", images="all"),
    Section("imdlbenco", "per_image", IMDL | IMDL_AUC, tolerance=ORDER),
    Section("imdlbenco", "per_image_square", IMDL | IMDL_AUC, SQUARE, tolerance=ORDER),
    Section("imdlbenco", "per_image_padded", IMDL | IMDL_AUC, PADDED, tolerance=ORDER),
    Section("imdlbenco", "aggregate", IMDL | N, ids="aggregate", images="tampered", means=IMDL_AUC),
    Section("imdlbenco", "aggregate_all", IMDL | N, ids="aggregate_all", means=IMDL_AUC),
    Section(
        *("imdlbenco", "aggregate_untied", IMDL | N),
        ids="aggregate_untied",
        images="tampered",
        chosen=True,
        means=IMDL_AUC,
        tolerance=ORDER,
    ),
    Section(
        "imdlbenco", "aggregate_square", IMDL | N, SQUARE, ids="aggregate_square", images="tampered", means=IMDL_AUC
    ),
    Section(
        "imdlbenco", "aggregate_padded", IMDL | N, PADDED, ids="aggregate_padded", images="tampered", means=IMDL_AUC
    ),
    Section("imdlbenco", "aggregate_padded_all", IMDL | N, PADDED, ids="aggregate_padded_all", means=IMDL_AUC),
    Section(
        "imdlbenco",
        "image_level",
        {f"Image{n}": f"image_{n.lower()}" for n in ("F1", "AUC", "Accuracy")},
        ids="image_level",
    ),
    Section(
        "imdlbenco",
        "image_level_max",
        {f"Image{n}": f"image_{n.lower()}_of_max" for n in ("F1", "AUC", "Accuracy")},
        ids="image_level",
    ),
    Section("imlvit", "per_image", {"F1": "f1"} | COUNTS),
    Section("imlvit", "aggregate", {"F1": "f1"} | N, ids="aggregate"),
    Section("imlvit", "aggregate_all", {"F1": "f1"} | N, ids="aggregate_all", images="all"),
    Section("mpc", "per_image", plain("f1", "iou")),
    Section("mpc", "per_image", {"f1_from_logit": "f1", "iou_from_logit": "iou"}, kind="logit"),
    Section("mpc", "aggregate", {"f1_tampered": "f1", "iou_tampered": "iou"}, ids="*_tampered"),
    Section("mpc", "aggregate", {"f1_all": "f1", "iou_all": "iou"}, ids="*_all", images="all"),
    Section(
        *("mpc", "aggregate", {"f1_from_logit_tampered": "f1", "iou_from_logit_tampered": "iou"}),
        ids="*_tampered",
        kind="logit",
    ),
    Section(
        *("mpc", "aggregate", {"f1_from_logit_all": "f1", "iou_from_logit_all": "iou"}),
        ids="*_all",
        images="all",
        kind="logit",
    ),
    Section(
        *("mvss", "per_image"),
        {
            "image_score": "image_score",
            "pixel_f1": "f1",
            "function_f1": "f1",
            "function_precision": "precision",
            "function_recall": "recall",
        },
    ),
    Section("mvss", "aggregate", MVSS_SET, ids="pixel_f1"),
    Section("mvss", "aggregate_not_resized", MVSS_SET, UNSCALED, ids="pixel_f1 of aggregate_not_resized"),
    Section("mvss", "aggregate_th_0.3", MVSS_SET, mvss.protocol(threshold=0.3), ids="pixel_f1"),
    Section("nist-maskscorer", "per_image", NIST),
    Section("nist-maskscorer", "per_image_binary_reference", NIST, "nist-maskscorer-binary"),
    Section("nist-maskscorer", "aggregate", NIST_SET | N, ids="aggregate", means=NIST_MEANS),
    Section(
        *("nist-maskscorer", "aggregate_binary_reference", NIST_SET | N, "nist-maskscorer-binary"),
        ids="aggregate_binary_reference",
        means=NIST_MEANS,
    ),
    Section("photoholmes", "per_image", PHOTOHOLMES, tolerance=SUMS, images="all", alone=True),
    Section("photoholmes", "aggregate", PHOTOHOLMES, ids="aggregate", tolerance=SUMS),
    Section("photoholmes", "aggregate_all", PHOTOHOLMES, ids="aggregate_all", images="all", tolerance=SUMS),
    Section(
        "photoholmes", "aggregate_from_logit", PHOTOHOLMES, ids="aggregate_from_logit", kind="logit", tolerance=SUMS
    ),
    Section(
        *("photoholmes", "detection"),
        {
            "BinaryAUROC": "image_auc",
            "BinaryJaccardIndex": "image_iou",
            "BinaryMatthewsCorrCoef": "image_mcc",
            "BinaryPrecision": "image_precision",
            "BinaryRecall": "image_tpr",
            "BinaryF1Score": "image_f1",
        },
        ids="detection",
        tolerance=SUMS,
    ),
    Section("safire", "per_image", SAFIRE),
    Section("safire", "per_image_functions_alone", SAFIRE | {"normal_miou": "mean_iou"}),
    Section("safire", "aggregate", SAFIRE, ids="aggregate"),
    Section("trufor", "per_image", TRUFOR),
    Section("trufor", "aggregate", TRUFOR_SET | N, ids="aggregate"),
    Section("trufor", "aggregate_all", TRUFOR_SET | N, ids="aggregate_all", images="all"),
    Section("trufor-validation", "per_image", VALIDATION | {"pixel_acc": "accuracy"}),
    Section("trufor-validation", "aggregate", VALIDATION_SET, ids="aggregate", images="tampered"),
    Section("trufor-validation", "aggregate_all", VALIDATION_SET, ids="aggregate_all"),
]
IMAGES = [s for s in SECTIONS if s.ids is None]
SETS = [s for s in SECTIONS if s.ids is not None]


@pytest.mark.parametrize("section", IMAGES, ids=str)
def test_of_each_image(section):
    for name, wanted in recorded(section.file)[section.name].items():
        item = items(section.kind)[name]
        got = evaluate_set([item], section.asked, section.images) if section.alone else one(item, section.asked)
        for key, ours in section.keys.items():
            if key in wanted:
                check(f"{name} {key}", got, wanted[key], ours, section.tolerance)


@pytest.mark.parametrize("section", SETS, ids=str)
def test_of_the_whole_bank(section):
    counted = recorded(section.file)["ids"][section.ids]
    pool = {name: item for name, item in items(section.kind).items() if name in counted or not section.chosen}
    got = evaluate_set(pool.values(), section.asked, section.images)
    wanted = recorded(section.file)[section.name]
    for key, ours in section.keys.items():
        if key in wanted:
            check(key, got, wanted[key], ours, section.tolerance)
    if section.means:
        each = [one(pool[name], section.asked) for name in counted]
        for key, ours in section.means.items():
            if isinstance(ours, Between):
                ours = Between(
                    *(lambda _, side=side: np.mean([side(g) for g in each]) for side in (ours.low, ours.high))
                )
                check(key, got, wanted[key], ours, ORDER)
            else:
                assert np.mean([g[ours] for g in each]) == pytest.approx(wanted[key], abs=section.tolerance), key


@pytest.mark.parametrize("section", [s for s in SETS if not s.name.startswith(("detection", "image_level"))], ids=str)
def test_the_same_images_are_counted(section):
    counted = recorded(section.file)["ids"][section.ids]
    pool = items(section.kind)
    ours = [name for name in pool if evaluate_set([pool[name]], section.asked, section.images)["images"]]
    assert [name for name in ours if name in counted or not section.chosen] == counted


@pytest.mark.parametrize("file, key", [("hifi", "errors"), ("safire", "errors"), ("ifosn", "errors")])
def test_images_at_which_the_original_stops_are_not_counted(file, key):
    for name in recorded(file)[key]:
        assert evaluate_set([items()[name]], file, "all")["images"] == 0, name


@pytest.mark.parametrize(
    "file, key, protocol",
    [
        ("imlvit", "excluded", "imlvit"),
        ("trufor", "excluded", "trufor"),
        ("nist-maskscorer", "excluded", "nist-maskscorer"),
        ("nist-maskscorer", "excluded_binary_reference", "nist-maskscorer-binary"),
    ],
)
def test_excluded_images_are_not_counted(file, key, protocol):
    for name, reason in recorded(file)[key].items():
        assert evaluate_set([items()[name]], protocol, "all")["images"] == 0, name
        if "size" in reason or "dimensions" in reason:
            assert one(items()[name], protocol) == {}


def test_photoholmes_on_logits_of_each_image():
    for name, wanted in recorded("photoholmes")["per_image"].items():
        got = evaluate_set([items("logit")[name]], "photoholmes", "all")
        for key, value in wanted["from_logit"].items():
            check(f"{name} {key}", got, value, PHOTOHOLMES[key], SUMS)
    assert recorded("photoholmes")["errors"] == {}


def test_hifi_f1_where_the_original_stops_at_the_auc():
    for name, value in recorded("hifi")["F1_of_items_in_errors"].items():
        check(name, one(items()[name], "hifi"), value, "macro_f1", TOLERANCE)


def test_ifosn_leaves_the_same_images_out_of_the_mean_auc():
    listed = recorded("ifosn")["ids"]["left out of the auc means"]
    for name, wanted in recorded("ifosn")["per_image"].items():
        left_out = evaluate_set([items()[name]], "ifosn", "all")["n_auc"] == 0
        assert left_out == wanted["auc_skipped"] == (name in listed), name


def test_imdlbenco_bounds_over_orders_of_tied_pixels():
    file = recorded("imdlbenco")
    for name, wanted in file["AUC_origin_bounds_over_orders_within_ties"].items():
        got = one(items()[name], "imdlbenco")
        low, high = wanted or (None, None)
        check(name, got, low, "auc_low", TOLERANCE)
        check(name, got, high, "auc_high", TOLERANCE)
        assert name not in file["AUC_depends_on_order_of_ties"] or got["auc_low"] < got["auc_high"]


@pytest.mark.parametrize("suffix", ["", "_max"])
def test_forensichub_image_level(suffix):
    got = evaluate_set(items().values(), "forensichub")
    ours = "_of_max" if suffix else ""
    wanted = recorded("forensichub")[f"aggregate{suffix}"]
    for key in ("MCC", "TNR", "TPR"):
        check(key, got, wanted[f"Image{key}"], f"image_{key.lower()}{ours}", TOLERANCE)
    between = Between(lambda g: g[f"image_ap{ours}_low"], lambda g: g[f"image_ap{ours}_high"])  # of tied images
    check("AP", got, wanted["ImageAP"], between, TOLERANCE)


def test_forensichub_image_scores_are_those_of_the_bank():
    for name, wanted in recorded("forensichub")["per_image"].items():
        assert items()[name][4] == pytest.approx(wanted["image_score"], abs=1e-7)


def test_trufor_detection():
    wanted = recorded("trufor")["detection"]
    keys = {"AUC": "image_auc", "bACC": "image_balanced_accuracy"}
    changes = {"plain": {}, "with_nan": {3: math.nan}, "with_inf": {1: math.inf, 20: math.inf}}
    assert set(wanted) == set(changes)
    for case, changed in changes.items():
        pool = [(*item[:4], changed.get(at, item[4])) for at, item in enumerate(items().values())]
        got = evaluate_set(pool, "trufor")
        for key, ours in keys.items():
            check(f"{case} {key}", got, None if "error" in wanted[case] else wanted[case][key], ours, TOLERANCE)


def test_trufor_is_undefined_where_the_original_swallows_an_exception():
    for name, wanted in recorded("trufor")["per_image"].items():
        assert math.isnan(one(items()[name], "trufor")["f1"]) == ("error_th" in wanted)


@pytest.mark.parametrize(
    "suffix, protocol",
    [("", nist_maskscorer.protocol), ("_binary_reference", lambda t: nist_maskscorer.protocol(t, True))],
)
def test_nist_values_of_each_image_at_the_threshold_of_the_set(suffix, protocol):
    whole = evaluate_set(items().values(), protocol(127))
    for name, wanted in recorded("nist-maskscorer")[f"per_image{suffix}"].items():
        assert wanted["MaximumThreshold"] == whole["maximum_threshold"]
        got = one(items()[name], protocol(int(wanted["MaximumThreshold"])))
        for key, ours in NIST_MAXIMUM.items():
            check(f"{name} {key}", got, wanted[key], ours.replace("maximum_", "actual_"), TOLERANCE)
        for key, ours in NIST_CURVES.items():
            check(f"{name} {key}", whole, wanted[key], ours, TOLERANCE)
        assert wanted["PixelPNS"] == 0  # pixels of a value that is not to be scored: the bank has none


def test_safire_with_several_sources():
    found = bank()
    wanted = recorded("safire")["per_image_multi"]
    pool = {name: (found[f"{name}/map"], "probability", found[f"{name}/mask"], True, None) for name in wanted}
    for name, values in wanted.items():
        for key, ours in PARTITION.items():
            check(f"{name} {key}", one(pool[name], "safire-multi"), values[key], ours, TOLERANCE)
    got = evaluate_set(pool.values(), "safire-multi")
    for key, value in recorded("safire")["aggregate_multi"].items():
        check(key, got, value, PARTITION[key], TOLERANCE)
    assert list(pool) == recorded("safire")["ids"]["aggregate_multi"]


ELSEWHERE = {  # what the tests above compare that have no Section
    ("forensichub", "aggregate"): {"ImageAP", "ImageMCC", "ImageTNR", "ImageTPR"},
    ("forensichub", "aggregate_max"): {"ImageAP", "ImageMCC", "ImageTNR", "ImageTPR"},
    ("forensichub", "per_image"): {"image_score"},
    ("ifosn", "per_image"): {"auc_skipped"},
    ("mvss", "per_image"): {"label"},  # "tampered" of the bank, compared by what is counted
    ("nist-maskscorer", "aggregate"): {"PixelPNS"},
    ("nist-maskscorer", "aggregate_binary_reference"): {"PixelPNS"},
    ("nist-maskscorer", "per_image"): {*NIST_MAXIMUM, *NIST_CURVES, "PixelPNS"},
    ("nist-maskscorer", "per_image_binary_reference"): {*NIST_MAXIMUM, *NIST_CURVES, "PixelPNS"},
    ("photoholmes", "per_image"): {"from_logit"},
    ("safire", "aggregate_multi"): set(PARTITION),
    ("safire", "per_image_multi"): set(PARTITION),
    ("trufor", "detection"): {"plain", "with_nan", "with_inf"},
}
WHOLE = {"errors", "excluded", "excluded_binary_reference", "F1_of_items_in_errors", "ids"} | {
    "AUC_origin_bounds_over_orders_within_ties",
    "AUC_depends_on_order_of_ties",
}


def keys_of(file: str) -> Iterator[tuple[str, str]]:
    """(section, key) of everything that a file records."""
    for section, content in recorded(file).items():
        if section in UNTESTED or (file, section) in UNTESTED or section in WHOLE:
            continue
        rows = content.values() if section.startswith("per_image") else [content]
        yield from ((section, key) for row in rows for key in row)


@pytest.mark.parametrize("file", sorted(path.stem for path in ROOT.glob("*.json")))
def test_nothing_recorded_is_left_out(file):
    compared = {(s.name, key) for s in SECTIONS if s.file == file for key in (*s.keys, *s.means)}
    compared |= {(section, key) for (name, section), keys in ELSEWHERE.items() if name == file for key in keys}
    left = {pair for pair in keys_of(file) if pair not in compared and (file, pair[1]) not in UNTESTED}
    assert not left
    named = set(recorded(file)["ids"])
    used = {s.ids for s in SETS if s.file == file} | {"left out of the auc means", "aggregate_multi", "aggregate_max"}
    used |= {"image level", "detection", "aggregate"} if file in ("mvss", "trufor", "forensichub") else set()
    assert not named - used
