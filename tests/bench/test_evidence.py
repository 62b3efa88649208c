"""Curves and evidence: what they keep of a score map equals what the map itself gives."""

import json
import math
import sqlite3

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from bench.evidence import Curve, Evidence
from bench.metrics.statistics.curve import SHARE, binned_ap, binned_auc
from bench.metrics.transition import image_metrics, set_metrics
from bench.metrics.transition_evaluate import evaluate
from bench.metrics.transition_protocols import PROTOCOLS
from bench.severity import Severity
from models.image import ScoreMap

ABOUT = {"model": "ela", "test_set": "field", "image": "a/1", "perturbation": "jpeg:60"}


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


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_stored_evidence_gives_the_metrics_of_the_map(case, protocol):
    values, mask, kind = case
    score = ScoreMap(values, kind)
    exact = evaluate(score, mask, protocol)
    row = Evidence.measure(score, mask, **ABOUT).to_row()
    stored = image_metrics(Evidence.from_row(row), protocol)
    assert set(stored) == set(exact)
    for name, value in exact.items():
        assert stored[name] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name


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
        cap = math.ceil(scores.size / SHARE)
        for b in np.flatnonzero(counts > cap):
            inside = scores[(scores >= curve.thresholds[b]) & (scores < upper[b])]
            most = np.unique(inside, return_counts=True)[1].max()
            assert inside.size - most <= cap  # only a tied score, with at most one share beside it, is heavier


def test_bytes_give_the_same_curve_and_are_small(case):
    values, mask, _ = case
    curve = Curve.from_scores(values, mask)
    data = curve.to_bytes()
    again = Curve.from_bytes(data)
    for name in ("thresholds", "positives", "negatives"):
        first, second = getattr(curve, name), getattr(again, name)
        assert first.dtype == second.dtype and np.array_equal(first, second)
    assert (again.auc, again.ap) == pytest.approx((curve.auc, curve.ap), nan_ok=True, abs=0)
    assert len(data) < 15_000


def test_the_histogram_alone_is_close_to_exact(case):
    values, mask, _ = case
    curve = Curve.from_scores(values, mask)
    if mask.any() and not mask.all():
        assert binned_auc(curve.positives, curve.negatives) == pytest.approx(curve.auc, abs=5e-4)
        assert binned_ap(curve.thresholds, curve.positives, curve.negatives) == pytest.approx(curve.ap, abs=4e-3)


def test_damaged_and_foreign_bytes_are_refused():
    curve = Curve.from_scores(*CASES["constant"][:2])
    data = curve.to_bytes()
    for damaged in (b"", data[:10], data[:-3], data[:30] + b"\0\0\0" + data[33:]):
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
        assert abs(tp - (called & mask).sum()) <= mask.sum() / SHARE
        assert abs(fp - (called & ~mask).sum()) <= (~mask).sum() / SHARE


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
    evidences = [Evidence.measure(ScoreMap(s, "probability"), m, **ABOUT) for s, m in images]
    found = set_metrics(evidences, "native")
    assert found["pooled_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=5e-5)
    assert found["pooled_ap"] == pytest.approx(average_precision_score(truth, scores), abs=2e-4)
    assert found["pooled_f1"] == pytest.approx(f1_score(truth, scores > 0.5), abs=1e-12)
    pooled = Curve.pooled([e.curve for e in evidences])
    assert (pooled.n_forged, pooled.n_pristine) == (truth.sum(), (~truth).sum())
    assert pooled.thresholds.size < 6000


def evidence(tampered, highest, own=None, status="ok", kind="probability"):
    about = ABOUT | {"image": f"{tampered}{highest}"}
    if status != "ok":
        return Evidence.unscored(status, "why", tampered=tampered, **about)
    values = np.full((4, 4), highest / 2, np.float32)
    values[1, 1] = highest
    mask = np.eye(4, dtype=bool) if tampered else None
    return Evidence.measure(ScoreMap(values, kind, own), mask, **about)


def test_image_auc_takes_the_maximum_of_the_map_or_the_localizers_own_score():
    by_map = [evidence(True, 0.9), evidence(True, 0.4), evidence(False, 0.6), evidence(False, 0.1)]
    found = set_metrics(by_map, "native")
    truth = [1, 1, 0, 0]
    assert found["image_auc"] == roc_auc_score(truth, [0.9, 0.4, 0.6, 0.1])
    assert found["image_ap"] == pytest.approx(average_precision_score(truth, [0.9, 0.4, 0.6, 0.1]))
    assert (found["n_tampered"], found["n_authentic"]) == (2, 2)
    own = [evidence(True, 0.9, 5.0), evidence(True, 0.4, 6.0), evidence(False, 0.6, 1.0), evidence(False, 0.99, 2.0)]
    assert set_metrics(own, "native")["image_auc"] == 1
    partly = [*own[:3], evidence(False, 0.99)]  # one without: the maximum for all
    assert set_metrics(partly, "native")["image_auc"] == roc_auc_score(truth, [0.9, 0.4, 0.6, 0.99])


def test_set_metrics_are_undefined_where_they_have_no_meaning():
    only_tampered = set_metrics([evidence(True, 0.9), evidence(False, 0.1, status="failed")], "native")
    assert math.isnan(only_tampered["image_auc"]) and math.isnan(only_tampered["image_ap"])
    assert math.isfinite(only_tampered["pooled_auc"])
    unbounded = set_metrics([evidence(True, 3.0, kind="score"), evidence(False, 1.0, kind="score")], "native")
    assert unbounded["image_auc"] == 1
    assert math.isnan(unbounded["pooled_auc"]) and math.isnan(unbounded["pooled_f1"])
    mixed = set_metrics([evidence(True, 0.9), evidence(True, 0.9, kind="logit"), evidence(True, 0.8)], "native")
    assert math.isnan(mixed["pooled_auc"])
    assert math.isnan(set_metrics([], "native")["image_auc"])
    assert set_metrics([evidence(True, 0.9)], "mpc") == {}


def test_images_that_a_protocol_does_not_count_have_no_metrics():
    assert image_metrics(evidence(False, 0.9), "native") == {}
    assert image_metrics(evidence(True, 0.9, status="failed"), "native") == {}
    assert image_metrics(evidence(True, 0.9, status="not_applicable"), "mpc") == {}


@pytest.mark.parametrize("psnr, bytes_", [(math.inf, None), (33.25, 12_345)])
def test_a_row_survives_sqlite(psnr, bytes_):
    values, mask, kind = CASES["saturated share 0.05 lift 1.5"]
    extras = {"shift": np.int64(8), "note": "grid", "offsets": (1, 2), "heat": np.zeros((9, 9)), "none": None}
    written = Evidence.measure(
        ScoreMap(values, kind, np.float32(0.25), extras),
        mask,
        seconds=0.5,
        severity=Severity(psnr, math.nan, bytes_),
        **ABOUT,
    )
    row = written.to_row()
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute(f"create table evidence ({', '.join(row)})")
    connection.execute(f"insert into evidence values ({', '.join('?' * len(row))})", tuple(row.values()))
    read = Evidence.from_row(dict(connection.execute("select *, 1 as further from evidence").fetchone()))
    for name in ("model", "test_set", "image", "perturbation", "seed", "status", "tampered", "kind", "image_score"):
        assert getattr(read, name) == getattr(written, name)
    assert read.tampered is True and read.psnr == psnr and math.isnan(read.ssim) and math.isnan(read.peak_mb)
    assert read.bytes == bytes_ and read.seconds == 0.5 and read.max_score == written.max_score
    assert read.extras == {"shift": 8, "note": "grid", "offsets": [1, 2], "none": None}
    assert image_metrics(read, "native") == image_metrics(written, "native")
    assert json.loads(row["extras"]) == read.extras


def test_unscored_evidence_survives_a_row():
    written = Evidence.unscored("failed", "out of memory", tampered=False, seconds=1.5, **ABOUT)
    read = Evidence.from_row(written.to_row())
    assert (read.status, read.reason, read.tampered, read.curve) == ("failed", "out of memory", False, None)


def test_authentic_images_are_kept_with_the_same_care():
    values = sigmoid(np.random.default_rng(1).normal(size=(100, 120)))
    by_none = Evidence.measure(ScoreMap(values, "probability"), None, **ABOUT)
    by_flag = Evidence.measure(ScoreMap(values, "probability"), np.zeros((100, 120), bool), tampered=False, **ABOUT)
    for kept in (by_none, by_flag):
        assert not kept.tampered and kept.curve.n_forged == 0
        assert kept.curve.counts(PROTOCOLS["native"].border("probability")) == (0, np.count_nonzero(values > 0.5))
        assert kept.curve.thresholds.size > 1000
        assert all(math.isnan(number) for number in (kept.curve.auc, kept.curve.ap, *kept.curve.best()))


def test_evidence_is_measured_at_the_size_of_the_mask():
    mask = disc(64, 96, 0.2)
    score = ScoreMap(np.random.default_rng(2).random((16, 24)).astype(np.float32), "probability")
    kept = Evidence.measure(score, mask, **ABOUT)
    assert image_metrics(kept, "native")["auc"] == evaluate(score, mask)["auc"]


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="authentic, yet its mask has"):
        Evidence.measure(
            ScoreMap(np.zeros((4, 4), np.float32), "logit"), np.eye(4, dtype=bool), tampered=False, **ABOUT
        )
    with pytest.raises(ValueError, match="status must be"):
        Evidence.unscored("crashed", "", **ABOUT)
    with pytest.raises(ValueError, match="no curve"):
        Evidence(**ABOUT)
    with pytest.raises(ValueError, match="no curve to pool"):
        Curve.pooled([])
