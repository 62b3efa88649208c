"""Curves: what they keep of a score map equals what the map itself gives."""

import math

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from bench.metrics import evaluate_set
from bench.metrics.statistics.curve import SHARE, Curve, binned_ap, binned_auc


def sigmoid(x):
    return (1 / (1 + np.exp(-np.asarray(x, np.float64)))).astype(np.float32)


def disc(height, width, share):
    y, x = np.mgrid[:height, :width]
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < share * height * width / np.pi


def realistic_and_adversarial():
    rng = np.random.default_rng(0)
    height, width = 192, 256
    cases = {}
    for share in (0.002, 0.05, 0.4):
        mask = disc(height, width, share)
        noise = rng.normal(size=mask.shape).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 5) * 15 + 0.2 * noise
        for lift in (0, 1.5, 6):
            logits = (smooth + lift * mask).astype(np.float32)
            name = f"share {share} lift {lift}"
            cases[f"logits {name}"] = logits, mask, "logit"
            cases[f"probabilities {name}"] = sigmoid(3 * logits), mask, "probability"
            cases[f"saturated {name}"] = sigmoid(80 * logits), mask, "probability"
            cases[f"256 levels {name}"] = (np.rint(255 * sigmoid(logits)) / 255).astype(np.float32), mask, "probability"
            blocks = np.kron(noise[::8, ::8] + np.float32(lift) * mask[::8, ::8], np.ones((8, 8), np.float32))
            cases[f"blocks {name}"] = blocks, mask, "score"
        cases[f"scattered {share}"] = (
            sigmoid(noise + (scattered := rng.random(mask.shape) < share)),
            scattered,
            "probability",
        )
    descending = np.linspace(1, 0, height * width, dtype=np.float32).reshape(height, width)
    for period in (8, 60, 700):
        stairs = (np.arange(height * width) // period % 2 == 0).reshape(height, width)
        cases[f"stairs {period}"] = descending, stairs, "probability"
        cases[f"falling stairs {period}"] = descending, ~stairs, "probability"
    cases["constant"] = np.full((height, width), 0.5, np.float32), disc(height, width, 0.1), "probability"
    cases["negative zero"] = np.where(rng.random((height, width)) < 0.5, -0.0, 0.0).astype(np.float32), stairs, "logit"
    cases["huge and tiny"] = (
        (noise * np.float32(10) ** rng.integers(-37, 37, noise.shape)).astype(np.float32),
        stairs,
        "logit",
    )
    cases["all forged"] = sigmoid(noise), np.ones((height, width), bool), "probability"
    cases["all pristine"] = sigmoid(noise), np.zeros((height, width), bool), "probability"
    return cases


CASES = realistic_and_adversarial()


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request):
    return CASES[request.param]


def test_curve_is_the_joint_histogram(case):
    values, mask, _ = case
    curve = Curve.from_scores(values, mask, (0.5,))
    assert (np.diff(curve.thresholds) < 0).all()
    for at in np.linspace(0, curve.thresholds.size - 1, 40).astype(int):
        called = values >= curve.thresholds[at]
        counts = curve.counts(float(curve.thresholds[at]))
        assert counts == (np.count_nonzero(called & mask), np.count_nonzero(called & ~mask))
    assert curve.counts(math.inf) == (0, 0)
    assert curve.counts(-math.inf) == (mask.sum(), mask.size - mask.sum())
    assert curve.maximum == values.max()
    assert curve.thresholds[-1] == values.min()


def test_bins_are_fine_and_few(case):
    values, mask, _ = case
    curve = Curve.from_scores(values, mask, (0.5,))
    assert curve.thresholds.size <= 4 * SHARE
    upper = np.concatenate([[np.inf], curve.thresholds[:-1]])
    for scores, counts in ((values[mask], curve.positives), (values[~mask], curve.negatives)):
        cap = math.ceil(scores.size / 256)
        for b in np.flatnonzero(counts > cap):
            inside = scores[(scores >= curve.thresholds[b]) & (scores < upper[b])]
            most = np.unique(inside, return_counts=True)[1].max()
            assert inside.size - most <= cap  # only a tied score, with at most so many beside it, is heavier


def test_bytes_give_the_same_curve_and_are_few(case):
    values, mask, _ = case
    curve = Curve.from_scores(values, mask)
    data = curve.to_bytes()
    again = Curve.from_bytes(data)
    for name in ("thresholds", "positives", "negatives"):
        first, second = getattr(curve, name), getattr(again, name)
        assert first.dtype == second.dtype and np.array_equal(first, second)
    assert (again.auc, again.ap) == pytest.approx((curve.auc, curve.ap), nan_ok=True, abs=0)
    assert len(data) < 2_600


def test_the_histogram_alone_is_close_to_exact(case):
    values, mask, _ = case
    curve = Curve.from_scores(values, mask)
    if mask.any() and not mask.all():
        assert binned_auc(curve.positives, curve.negatives) == pytest.approx(curve.auc, abs=5e-4)
        assert binned_ap(curve.thresholds, curve.positives, curve.negatives) == pytest.approx(curve.ap, abs=4e-3)


def test_damaged_and_foreign_bytes_are_refused():
    curve = Curve.from_scores(*CASES["constant"][:2])
    data = curve.to_bytes()
    for damaged in (b"", data[:10], data[:-3], data[:20] + bytes([data[20] ^ 1]) + data[21:]):
        with pytest.raises(ValueError, match="damaged"):
            Curve.from_bytes(damaged)
    with pytest.raises(ValueError, match="format 99"):
        Curve.from_bytes(b"\x63" + data[1:])


def test_counts_between_borders_are_off_by_a_bin_at_most():
    values = np.linspace(0, 1, 200_000, dtype=np.float32).reshape(400, 500)
    mask = disc(400, 500, 0.3)
    curve = Curve.from_scores(values, mask)
    for border in (0.1234567, 0.5, 0.9):
        called = values >= border
        tp, fp = curve.counts(border)
        assert abs(tp - (called & mask).sum()) <= mask.sum() / 256
        assert abs(fp - (called & ~mask).sum()) <= (~mask).sum() / 256


def several_images(n, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        mask = disc(60, 80, 0.02 + 0.3 * rng.random())
        gain = (1, 8, 60)[i % 3]
        found.append((sigmoid(gain * (rng.normal(size=mask.shape) + 1.2 * mask - rng.random())), mask))
    return found


@pytest.mark.parametrize("n", [1, 7, 150])
def test_pooled_curve_is_close_to_all_pixels_in_one_ranking(n):
    images = several_images(n)
    scores = np.concatenate([s.ravel() for s, _ in images])
    truth = np.concatenate([m.ravel() for _, m in images])
    found = evaluate_set([(s, "probability", m, True, None) for s, m in images], "native")
    assert found["pooled_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=5e-5)
    assert found["pooled_ap"] == pytest.approx(average_precision_score(truth, scores), abs=2e-4)
    assert found["pooled_f1"] == pytest.approx(f1_score(truth, scores > 0.5), abs=1e-12)
    pooled = Curve.pooled([Curve.from_scores(s, m, (0.5,)) for s, m in images])
    assert (pooled.n_forged, pooled.n_pristine) == (truth.sum(), (~truth).sum())
    assert pooled.thresholds.size < 6000


def test_nothing_cannot_be_pooled():
    with pytest.raises(ValueError, match="no curve to pool"):
        Curve.pooled([])
