"""Pixel metrics against scikit-learn, brute force, and the definitions of the protocols."""

import math
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sk

from bench.metrics import PROTOCOLS, UnknownProtocol, evaluate, find
from bench.metrics.statistics.curve import smallest_above
from models.image import ScoreMap, ScoreMapError

TOLERANCE = 1e-6
FIXED = ["f1", "iou", "precision", "recall", "mcc", "accuracy"]
RANKING = ["auc", "ap", "best_f1", "best_iou"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def masks(height, width):
    rng = np.random.default_rng(1)
    block = np.zeros((height, width), bool)
    block[height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = True
    one = np.zeros((height, width), bool)
    one[height // 2, width // 2] = True
    return {
        "block": block,
        "scattered": rng.random((height, width)) < 0.3,
        "one forged": one,
        "one pristine": ~one,
        "all forged": np.ones((height, width), bool),
        "all pristine": np.zeros((height, width), bool),
    }


def score_maps(mask):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=mask.shape) + mask
    return {
        "random": sigmoid(logits),
        "saturated": sigmoid(60 * logits),
        "saturated low": sigmoid(20 * logits - 80),
        "tied": np.rint(8 * sigmoid(logits)) / 8,
        "constant": np.full(mask.shape, 0.25),
        "constant at the threshold": np.full(mask.shape, 0.5),
        "constant 1": np.ones(mask.shape),
        "perfect": mask.astype(float),
        "inverted": 1 - mask.astype(float),
    }


CASES = [
    pytest.param(score.astype(np.float32), mask, id=f"{height}x{width}-{mask_name}-{score_name}")
    for height, width in ((1, 1), (1, 2), (3, 5), (64, 48))
    for mask_name, mask in masks(height, width).items()
    for score_name, score in score_maps(mask).items()
]


def by_sklearn(score, mask):
    """The same keys from scikit-learn; NaN where it says undefined, except its conventions for MCC."""
    truth, flat, called = mask.ravel(), score.ravel(), score.ravel() > 0.5
    nan = {"zero_division": np.nan}
    expected = {
        "f1": sk.f1_score(truth, called, **nan),
        "iou": math.nan if not (truth | called).any() else sk.jaccard_score(truth, called, zero_division=0),
        "precision": sk.precision_score(truth, called, **nan),
        "recall": sk.recall_score(truth, called, **nan),
        "accuracy": sk.accuracy_score(truth, called),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one class only: MCC 0, AUC NaN
        expected["mcc"] = sk.matthews_corrcoef(truth, called)
        expected["auc"] = sk.roc_auc_score(truth, flat) if 0 < truth.sum() < truth.size else math.nan
    expected |= dict.fromkeys(["ap", "best_f1", "best_iou"], math.nan)
    if truth.any():
        expected["ap"] = sk.average_precision_score(truth, flat)
        precision, recall, _ = sk.precision_recall_curve(truth, flat)
        f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
        expected["best_f1"], expected["best_iou"] = f1, f1 / (2 - f1)
    return expected


@pytest.mark.parametrize("score, mask", CASES)
def test_equals_sklearn(score, mask):
    found = evaluate(score, mask)
    expected = by_sklearn(score, mask)
    for name in FIXED + RANKING:
        assert found[name] == pytest.approx(expected[name], abs=TOLERANCE, nan_ok=True), name
    assert (found["n_pixels"], found["n_forged"]) == (mask.size, mask.sum())
    assert found["threshold"] == 0.5


@pytest.mark.parametrize("score, mask", CASES)
def test_best_threshold_reproduces_best_values(score, mask):
    found = evaluate(score, mask)
    if not mask.any():
        assert math.isnan(found["best_threshold"])
        return
    called = score >= found["best_threshold"]
    assert sk.f1_score(mask.ravel(), called.ravel()) == pytest.approx(found["best_f1"], abs=1e-12)
    assert (called & mask).sum() / (called | mask).sum() == pytest.approx(found["best_iou"], abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            arrays.arrays(np.float32, (1, n), elements=st.sampled_from([0.0, 1e-30, 0.25, 0.5, 0.5000001, 0.75, 1.0])),
            arrays.arrays(bool, (1, n)),
        )
    )
)
def test_equals_brute_force_over_pairs_and_thresholds(case):
    score, mask = case
    found = evaluate(score, mask)
    forged, pristine = score[mask], score[~mask]
    if forged.size and pristine.size:
        wins = sum(float(f > p) + 0.5 * float(f == p) for f in forged for p in pristine)
        assert found["auc"] == pytest.approx(wins / (forged.size * pristine.size), abs=1e-12)
    else:
        assert math.isnan(found["auc"])
    if forged.size:
        calls = [score >= t for t in np.unique(score)]
        f1 = [2 * (c & mask).sum() / (c.sum() + mask.sum()) for c in calls]
        assert found["best_f1"] == pytest.approx(max(f1), abs=1e-12)
        recalls = [(c & mask).sum() / forged.size for c in calls] + [0.0]
        precisions = [(c & mask).sum() / c.sum() for c in calls]
        steps = -np.diff(recalls)
        assert found["ap"] == pytest.approx(float(np.dot(steps, precisions)), abs=1e-12)
    called = score > np.float32(0.5)
    tp, fp, fn = (called & mask).sum(), (called & ~mask).sum(), (~called & mask).sum()
    assert found["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan, nan_ok=True)


@pytest.mark.parametrize("scale", ["small", "large"])
def test_ranking_metrics_do_not_change_under_a_monotone_map(scale):
    rng = np.random.default_rng(5)
    mask = rng.random((30, 40)) < 0.2
    logits = np.round(rng.normal(size=mask.shape) + mask, 2).astype(np.float32)
    factor = np.float32(0.25 if scale == "small" else 1024)  # powers of two keep every tie
    first, second = (evaluate(ScoreMap(x, "score"), mask) for x in (logits, logits * factor))
    for name in RANKING:
        assert first[name] == second[name]


def test_logit_maps_are_cut_at_zero_and_equal_their_probabilities():
    rng = np.random.default_rng(3)
    mask = rng.random((40, 50)) < 0.2
    logits = (rng.normal(size=mask.shape) + mask).astype(np.float32)
    logits[0, :5] = 0
    raw = evaluate(ScoreMap(logits, "logit"), mask)
    probability = evaluate(sigmoid(logits.astype(np.float64)), mask)
    assert raw["threshold"] == 0
    for name in FIXED + RANKING:
        assert raw[name] == pytest.approx(probability[name], abs=1e-12), name


def test_unbounded_scores_have_no_fixed_threshold():
    rng = np.random.default_rng(4)
    mask = rng.random((20, 20)) < 0.2
    found = evaluate(ScoreMap(rng.normal(size=mask.shape).astype(np.float32), "score"), mask)
    assert all(math.isnan(found[name]) for name in [*FIXED, "threshold"])
    assert all(math.isfinite(found[name]) for name in RANKING)


def mpc_script(probability_128, mask_grey):
    """What the official stage2/test.py prints for one image, written from its description."""
    height, width = mask_grey.shape
    resized = cv2.resize(probability_128 * np.float32(255), (width, height))
    called, truth = resized > 127, mask_grey > 127
    f1 = sk.f1_score(truth.ravel(), called.ravel(), zero_division=0)
    intersection, union = (called & truth).sum(), (called | truth).sum()
    return f1, 1.0 if union == 0 else intersection / (union + 1e-6)


@pytest.mark.parametrize("share", [0, 0.3, 1])
@pytest.mark.parametrize("shift", [-30, -1, 0, 1, 30])
def test_mpc_protocol_is_the_official_script(share, shift):
    rng = np.random.default_rng(6)
    mask = (rng.random((90, 120)) < share).astype(np.uint8) * 255
    probability = sigmoid(rng.normal(size=(32, 32)) + shift).astype(np.float32)
    found = evaluate(probability, mask > 127, "mpc")
    f1, iou = mpc_script(probability, mask)
    assert found["f1"] == pytest.approx(f1, abs=1e-12)
    assert found["iou"] == pytest.approx(iou, abs=1e-12)
    assert not set(RANKING) & set(found)


def test_mpc_protocol_counts_empty_images_as_the_script_does():
    empty = np.zeros((4, 4), bool)
    found = evaluate(np.zeros((4, 4), np.float32), empty, "mpc")
    assert (found["f1"], found["iou"]) == (0, 1)
    native = evaluate(np.zeros((4, 4), np.float32), empty)
    assert math.isnan(native["f1"]) and math.isnan(native["iou"])


def test_limits_are_the_smallest_scores_that_the_rule_calls_forged():
    for bound in (0.5, 0.0, -2.5):
        border = np.float32(smallest_above(bound))
        assert border > np.float32(bound) >= np.nextafter(border, np.float32(-np.inf)), bound


def test_maps_of_another_size_are_brought_to_the_mask():
    rng = np.random.default_rng(7)
    mask = np.zeros((60, 80), bool)
    mask[10:30, 20:60] = True
    small = rng.random((15, 20)).astype(np.float32)
    at_once = evaluate(small, mask)
    by_hand = evaluate(cv2.resize(small, (80, 60), interpolation=cv2.INTER_LINEAR), mask)
    assert at_once == by_hand
    assert evaluate(ScoreMap(small, "probability"), mask) == by_hand


@pytest.mark.parametrize("levels", [bool, np.uint8, "0 and 255"])
def test_masks_of_two_levels(levels):
    truth = np.random.default_rng(8).random((9, 9)) < 0.4
    mask = truth.astype(np.uint8) * 255 if levels == "0 and 255" else truth.astype(levels)
    score = np.random.default_rng(9).random((9, 9))
    assert evaluate(score, mask) == evaluate(score, truth)


@pytest.mark.parametrize(
    "score, mask, message",
    [
        (np.array([[np.nan, 0.2]]), np.ones((1, 2), bool), "NaN or infinity in 1 of 2"),
        (np.array([[0.1, np.inf]]), np.ones((1, 2), bool), "NaN or infinity in 1 of 2"),
        (np.array([[-3.0, 5.0]]), np.ones((1, 2), bool), "ScoreMap"),
        (np.array([[0, 255]], np.uint8), np.ones((1, 2), bool), "ScoreMap"),
        (np.zeros((2, 2, 3)), np.ones((2, 2), bool), r"\(H, W\)"),
        (np.zeros((0, 2)), np.ones((2, 2), bool), "at least one pixel"),
        (np.zeros((2, 2)), np.ones((2, 2, 3), bool), r"mask must be \(H, W\)"),
        (np.zeros((2, 2)), np.array([[0, 300], [200, 255]]), "mask > 0.5"),
        (np.zeros((2, 2)), np.array([[0, 0.3], [0, 1]]), "mask > 0.5"),
        (np.zeros((2, 2)), np.array([[0, 3], [3, 3]], np.uint8), "mask > 0"),
    ],
)
def test_bad_input_is_refused_with_the_fix(score, mask, message):
    with pytest.raises(ScoreMapError, match=message):
        evaluate(score, mask)


def test_unknown_protocol_names_the_nearest_or_all():
    with pytest.raises(UnknownProtocol, match="did you mean 'native'"):
        evaluate(np.zeros((2, 2)), np.zeros((2, 2), bool), "nativ")
    with pytest.raises(UnknownProtocol, match="native, mpc"):
        find("zzz")
    assert find(PROTOCOLS["mpc"]) is PROTOCOLS["mpc"]
