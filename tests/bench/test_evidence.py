"""Evidence: it gives the metrics of its map, survives a database, and holds nothing that JSON lacks."""

import json
import math
import sqlite3

import numpy as np
import pytest

from bench.evidence import COLUMNS, Evidence
from bench.metrics import SetTotals, evaluate, evaluate_set, image_metrics
from bench.severity import Severity
from bench.truth import Truth
from models.image import ScoreMap

RNG = np.random.default_rng(3)
MASK = np.zeros((60, 80), bool)
MASK[10:30, 20:50] = True


def score_map(kind="probability", own=None, extras=None):
    values = RNG.random(MASK.shape, np.float32) * 0.6 + np.float32(0.3) * MASK
    return ScoreMap(values if kind == "probability" else values * 8 - 4, kind, own, extras or {})


def measured(score, mask=MASK, tampered=True, protocols=("native", "mpc")):
    return Evidence.measure(score, Truth.of(mask), tampered=tampered, protocols=protocols)


@pytest.mark.parametrize("kind", ["probability", "logit", "score"])
@pytest.mark.parametrize("protocol", ["native", "mpc"])
def test_a_stored_row_gives_the_metrics_of_the_map(kind, protocol):
    score = score_map(kind)
    evidence = measured(score)
    again = Evidence.from_row(evidence.to_row(), evidence.statistics)
    exact, stored = evaluate(score, MASK, protocol), image_metrics(again.observation(True), protocol)
    assert stored.keys() <= exact.keys() and "f1" in stored
    for name, value in stored.items():
        assert value == pytest.approx(exact[name], rel=1e-12, abs=1e-12, nan_ok=True), name


def test_sets_from_rows_are_sets_from_maps():
    maps = [(score_map(own=float(i)), MASK if i % 2 else ~MASK & False, bool(i % 2)) for i in range(6)]
    totals = SetTotals("native")
    for score, mask, tampered in maps:
        totals.add(measured(score, mask, tampered).observation(tampered))
    found = totals.means() | totals.metrics()
    exact = evaluate_set([(s, s.kind, m, t, s.image_score) for s, m, t in maps], "native")
    for name, value in found.items():
        assert value == pytest.approx(exact[name], rel=1e-12, nan_ok=True), name


@pytest.mark.parametrize(("psnr", "size"), [(math.inf, None), (33.25, 12_345)])
def test_a_row_survives_sqlite(psnr, size):
    extras = {"shift": np.int64(8), "note": "grid", "offsets": (1, 2), "heat": np.zeros((9, 9)), "none": None}
    severity = Severity(psnr, math.nan, size)
    written = measured(score_map(own=0.25, extras=extras)).perturbed_by(severity)
    row = written.to_row()
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"create table evidence ({', '.join(COLUMNS)})")
        connection.execute(f"insert into evidence values ({', '.join('?' * len(COLUMNS))})", row)
        read = Evidence.from_row(connection.execute("select * from evidence").fetchone(), written.statistics)
    for name in ("status", "reason", "kind", "image_score", "max_score", "bytes"):
        assert getattr(read, name) == getattr(written, name)
    assert read.psnr == psnr and math.isnan(read.ssim) and math.isnan(read.peak_mb) and math.isnan(read.seconds)
    assert {n: v for n, v in read.extras.items() if n != "severity"} == {
        "shift": 8, "note": "grid", "offsets": [1, 2], "none": None
    }  # fmt: skip


def test_what_json_cannot_hold_becomes_null():
    extras = {"a": math.nan, "b": np.float32(np.inf), "c": [1.0, -math.inf], "d": {"e": math.nan}, "f": object()}
    text = measured(score_map(extras=extras)).to_row()[COLUMNS.index("extras")]

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(text, parse_constant=refuse) == {"a": None, "b": None, "c": [1.0, None], "d": {"e": None}}


def test_failures_keep_their_reason_and_severity():
    failed = Evidence("failed", "out of memory", seconds=1.5).perturbed_by(Severity(30.0, 0.9, 100))
    read = Evidence.from_row(failed.to_row(), {})
    assert (read.status, read.reason, read.seconds, read.psnr, read.bytes) == (
        "failed",
        "out of memory",
        1.5,
        30.0,
        100,
    )


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="authentic, yet its mask has"):
        measured(score_map(), tampered=False)
    with pytest.raises(ValueError, match="status must be"):
        Evidence("crashed")
