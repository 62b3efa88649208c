"""The tidy results table and the summary against numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.evidence import Cell, Evidence
from bench.metrics import evaluate
from bench.perturb import parse
from bench.results import COLUMNS as RESULTS
from bench.results import read_results, results_table
from bench.statistics import bootstrap_mean
from bench.summary import SUMMARY, summarize
from bench.truth import Truth
from models.image import ScoreMap

SPECS = ("identity", "jpeg:60+resize:0.6")
PROTOCOLS = ("native", "mpc")
MODELS = {"good": "probability", "bad": "probability", "unbounded": "score"}
TAMPERED = [f"t{i}" for i in range(6)]
AUTHENTIC = ["a0", "a1"]
SOURCES = {("field", image): f"photo {i // 2}" for i, image in enumerate(TAMPERED + AUTHENTIC)}


def score_and_mask(model, image, spec):
    rng = np.random.default_rng([list(MODELS).index(model), int(image[1]), len(spec), ord(image[0])])
    mask = np.zeros((24, 30), bool)
    if image in TAMPERED:
        mask[4:12, 5 : 8 + 2 * int(image[1])] = True
    logits = rng.normal(size=mask.shape) + (2.5 if model == "good" else 0.5) * mask
    values = logits if MODELS[model] == "score" else 1 / (1 + np.exp(-logits))
    return ScoreMap(values.astype(np.float32), MODELS[model]), mask


def status_of(model, image, spec):
    if model == "bad" and image == "t1":
        return "failed"
    if model == "unbounded" and spec != "identity" and image in ("t0", "t2", "a0"):
        return "not_applicable"
    if model == "good" and spec != "identity" and image == "t5":
        return "skipped"
    return "ok"


@pytest.fixture(scope="module")
def run():
    evidences, cells = [], []
    for image in TAMPERED + AUTHENTIC:
        for spec in SPECS:
            for model in MODELS:
                perturbation = next(p for p in parse(spec) if p.spec == spec)
                family, level = perturbation.family, perturbation.level
                tampered = image in TAMPERED
                cell = Cell(model, "field", image, SOURCES["field", image], tampered, family, level, spec)
                status = status_of(model, image, spec)
                score, mask = score_and_mask(model, image, spec)
                if status == "ok":
                    made = Evidence.measure(score, Truth.of(mask), tampered=tampered, protocols=PROTOCOLS)
                    evidences.append((cell, made))
                elif status != "skipped":
                    evidences.append((cell, Evidence(status, "why")))
                cells.append(
                    {
                        "model": model,
                        "test_set": "field",
                        "image": image,
                        "tampered": image in TAMPERED,
                        "perturbation": family,
                        "level": level,
                        "spec": spec,
                        "status": status,
                    }
                )
    results = results_table(iter(evidences), PROTOCOLS)
    return results, pd.DataFrame(cells), evidences


def test_results_hold_what_evaluate_says(run):
    results, _, _ = run
    assert list(results.columns) == RESULTS
    images = results[results["image"] != "*"]
    assert set(images["image"]) == set(TAMPERED)
    for row in images.sample(60, random_state=0).itertuples():
        expected = evaluate(*score_and_mask(row.model, row.image, row.spec), row.protocol)[row.metric]
        assert row.value == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert row.source == SOURCES["field", row.image] and row.tampered
        shown = {"identity": ("identity", ""), SPECS[1]: ("jpeg+resize", "60+0.6")}
        assert (row.perturbation, row.level) == shown[row.spec]
    counted = images.groupby(["model", "spec", "protocol", "metric"]).size()
    assert counted["good", "identity", "native", "auc"] == 6 and counted["bad", "identity", "mpc", "f1"] == 5
    assert not images.duplicated(["model", "image", "spec", "protocol", "metric"]).any()


def test_results_hold_metrics_of_the_set(run):
    results, _, _ = run
    of_set = results[results["image"] == "*"].set_index(["model", "spec", "protocol", "metric"])["value"]
    maxima = [score_and_mask("good", image, "identity")[0].values.max() for image in TAMPERED + AUTHENTIC]
    assert of_set["good", "identity", "native", "image_auc"] == roc_auc_score([1] * 6 + [0] * 2, maxima)
    assert math.isnan(of_set["unbounded", "identity", "native", "pooled_auc"])
    assert math.isfinite(of_set["bad", SPECS[1], "native", "pooled_f1"])


def test_summary_of_one_cell_by_hand(run):
    results, cells, _ = run
    summary = summarize(results, cells, {("bad", "field")})
    assert list(summary.columns) == SUMMARY
    chosen = results.query("model == 'bad' and spec == 'identity' and protocol == 'mpc' and metric == 'iou'")
    row = summary.query("model == 'bad' and spec == 'identity' and protocol == 'mpc' and metric == 'iou'").iloc[0]
    expected = bootstrap_mean(chosen["value"].to_numpy(), clusters=chosen["source"].to_numpy())
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(tuple(expected), abs=1e-12)
    assert (row["n"], row["n_failed"], row["n_not_applicable"], row["n_skipped"]) == (5, 1, 0, 0)
    assert row["contaminated"] and (row["perturbation"], row["level"]) == ("identity", "")
    assert summary["contaminated"].sum() == (summary["model"] == "bad").sum()


def test_denominators_add_up(run):
    results, cells, _ = run
    summary = summarize(results, cells)
    total = summary[["n", "n_failed", "n_not_applicable", "n_skipped"]].sum(axis=1)
    of_set = summary["metric"].str.startswith(("image_", "pooled_"))
    assert (total == np.where(of_set, 8, 6)).all()
    at = summary.set_index(["model", "spec", "protocol", "metric"])
    counts = ["n", "n_failed", "n_not_applicable", "n_skipped"]
    assert at.loc[("unbounded", SPECS[1], "native", "auc"), counts].tolist() == [4, 0, 2, 0]
    assert at.loc[("unbounded", SPECS[1], "native", "f1"), counts].tolist() == [0, 0, 6, 0]
    assert at.loc[("good", SPECS[1], "native", "f1"), counts].tolist() == [5, 0, 0, 1]
    assert at.loc[("unbounded", SPECS[1], "native", "image_auc"), counts].tolist() == [5, 0, 3, 0]
    assert at.loc[("unbounded", SPECS[1], "native", "pooled_auc"), counts].tolist() == [0, 0, 8, 0]
    assert at.loc[("bad", SPECS[0], "native", "image_auc"), counts].tolist() == [7, 1, 0, 0]


def test_ranks_are_of_the_mean_within_a_condition(run):
    results, cells, _ = run
    summary = summarize(results, cells)
    for _, rows in summary.groupby(["spec", "protocol", "metric"]):
        present = rows[rows["mean"].notna()]
        assert present["rank"].tolist() == present["mean"].rank(ascending=False).tolist()
        assert rows.loc[rows["mean"].isna(), "rank"].isna().all()
    best = summary.query("spec == 'identity' and metric == 'auc'").set_index("model")
    assert best["rank"]["good"] == 1
    twin = pd.concat([results, results.query("model == 'good'").assign(model="twin")])
    twin_cells = pd.concat([cells, cells.query("model == 'good'").assign(model="twin")])
    tied = summarize(twin, twin_cells).query("metric == 'auc' and spec == 'identity'").set_index("model")["rank"]
    assert tied["good"] == tied["twin"] == 1.5


def test_a_condition_without_any_result_is_there_with_its_failures(run):
    results, cells, _ = run
    broken = cells[cells["model"] == "good"].assign(model="broken", status="failed")
    summary = summarize(results, pd.concat([cells, broken])).query("model == 'broken'")
    assert len(summary) == len(SPECS) * len(results[["protocol", "metric"]].drop_duplicates())
    assert (summary["n"] == 0).all() and summary["mean"].isna().all() and summary["rank"].isna().all()
    assert set(summary["n_failed"]) == {6, 8}


def test_the_table_does_not_depend_on_the_order_of_the_evidence(run):
    results, cells, evidences = run
    shuffled = [evidences[i] for i in np.random.default_rng(0).permutation(len(evidences))]
    again = results_table(shuffled, PROTOCOLS)
    keys = [c for c in RESULTS if c != "value"]
    first, second = (table.sort_values(keys).reset_index(drop=True) for table in (results, again))
    pd.testing.assert_frame_equal(first, second, rtol=1e-12)
    order = ["model", "spec", "protocol", "metric"]
    first, second = (summarize(t, cells).sort_values(order).reset_index(drop=True) for t in (results, again))
    pd.testing.assert_frame_equal(first, second, rtol=1e-9)


def test_the_table_read_from_disk_gives_the_same_summary(run, tmp_path):
    results, cells, _ = run
    results.to_csv(tmp_path / "results.csv", index=False)
    expected = summarize(results, cells)
    for compact in (False, True):
        table = read_results(tmp_path / "results.csv", compact=compact)
        assert (table["image"].dtype == "category") == compact
        pd.testing.assert_frame_equal(summarize(table, cells), expected, check_dtype=False, rtol=1e-9)


def test_nothing_measured_gives_empty_tables(run):
    _, cells, _ = run
    empty = results_table([], PROTOCOLS)
    assert list(empty.columns) == RESULTS and empty.empty
    summary = summarize(empty, cells)
    assert list(summary.columns) == SUMMARY and summary.empty
