"""Standings and contrasts against plain loops and the single-column statistics."""

import numpy as np
import pandas as pd
import pytest

from bench import leaderboard
from bench.statistics import bootstrap_mean, holm, paired_bootstrap

SPECS = {"identity": ("identity", ""), "jpeg:90": ("jpeg", "90"), "jpeg:50": ("jpeg", "50"), "blur:3": ("blur", "3")}
LEVELS = list(SPECS)[1:]
MODELS = ("a", "b", "c", "control", "trained")


def table(seed=0, images=24, lacking=()):
    rng = np.random.default_rng(seed)
    rows = []
    for model, skill in zip(MODELS, (0.8, 0.79, 0.6, 0.6, 0.95), strict=True):
        for spec, loss in zip(SPECS, (0, 0.02, 0.1, 0.05), strict=True):
            for i in range(images):
                if (model, i) in lacking:
                    continue
                family, level = SPECS[spec]
                value = skill - loss + 0.1 * np.sin(i) + rng.normal(0, 0.05)
                rows.append(
                    (model, "field", f"i{i}", f"p{i // 2}", True, family, level, spec, 0, "native", "auc", value)
                )
    columns = ["model", "test_set", "image", "source", "tampered", "perturbation", "level", "spec", "seed"]
    return pd.DataFrame(rows, columns=[*columns, "protocol", "metric", "value"])


FIELD = leaderboard.Field(MODELS, frozenset({"control"}), frozenset({("trained", "field")}))
METRICS = [{"name": "auc", "direction": "up", "chance": 0.5}]


@pytest.fixture(scope="module")
def results():
    return table()


@pytest.fixture(scope="module")
def board(results):
    found = leaderboard.standings(results, FIELD, METRICS)
    return found[found["family"] == "*"].set_index("model")


def per_image(results, model):
    wide = results[results["model"] == model].pivot(index="image", columns="spec", values="value")
    wide = wide.loc[results["image"].unique()]
    clusters = pd.factorize(results.drop_duplicates("image")["source"])[0]
    return wide["identity"].to_numpy(), wide[LEVELS].mean(axis=1).to_numpy(), clusters


def test_means_and_intervals_are_those_of_one_column(results, board):
    for model in MODELS:
        clean, perturbed, clusters = per_image(results, model)
        for values, name in ((clean, "clean"), (perturbed, "perturbed"), (clean - perturbed, "drop")):
            expected = bootstrap_mean(values, clusters=clusters)
            found = board.loc[model, [name, f"{name}_low", f"{name}_high"]].tolist()
            assert found == pytest.approx(list(expected), abs=1e-12)
        row = board.loc[model]
        assert row["retained"] == pytest.approx((perturbed.mean() - 0.5) / (clean.mean() - 0.5))
        levels = results[results["model"] == model].groupby("spec")["value"].mean()[LEVELS]
        assert (row["worst"], row["worst_spec"]) == (pytest.approx(levels.min()), levels.idxmin())


def test_ranks_count_who_is_shown_to_be_better(results, board):
    ranked = ["a", "b", "c"]
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    tests = [
        paired_bootstrap(per_image(results, x)[0], per_image(results, y)[0], clusters=per_image(results, x)[2])
        for x, y in pairs
    ]
    adjusted = holm(np.array([test.p for test in tests]))
    ranks = dict.fromkeys(ranked, 1)
    for (x, y), test, p in zip(pairs, tests, adjusted, strict=True):
        if p < 0.05:
            ranks[x if test.mean > 0 else y] += 1
    assert board.loc[ranked, "rank"].to_dict() == ranks
    assert board["placed"].to_dict() == {**dict.fromkeys(ranked, "ranked"), "control": "control", "trained": "trained"}
    assert board.loc[["control", "trained"], "rank"].isna().all()
    assert set(board.loc["a", "ties"]) == {
        y for (x, y), p in zip(pairs, adjusted, strict=True) if x == "a" and p >= 0.05
    }


def test_who_beats_the_control_is_tested(board):
    assert board.loc["a", "over_control"] < 0.05
    assert not board.loc["c", "over_control"] < 0.05
    assert np.isnan(board.loc["control", "over_control"])


def test_lacking_images_stand_apart(results):
    few = leaderboard.standings(table(lacking={("a", i) for i in range(6)}), FIELD, METRICS)
    row = few[(few["model"] == "a") & (few["family"] == "*")].iloc[0]
    assert (row["placed"], row["n"], row["n_of"]) == ("other images", 18, 24)


def test_the_smaller_is_better_where_the_metric_says_so(results):
    upside_down = results.assign(value=1 - results["value"])
    board = leaderboard.standings(upside_down, FIELD, [{"name": "auc", "direction": "down", "chance": 0.5}])
    same = leaderboard.standings(results, FIELD, METRICS)
    assert board["rank"].equals(same["rank"])
    np.testing.assert_allclose(board["retained"], same["retained"])
    assert board["worst_spec"].equals(same["worst_spec"])


def test_all_sets_together_count_each_set_once(results):
    both = pd.concat([results, table(seed=3, images=40).assign(test_set="other")])
    board = leaderboard.standings(both, FIELD, METRICS)
    board = board[board["family"] == "*"].set_index(["model", "test_set"])
    mean = (board.loc[("a", "field"), "clean"] + board.loc[("a", "other"), "clean"]) / 2
    assert board.loc[("a", "*"), "clean"] == pytest.approx(mean)
    assert board.loc[("trained", "*"), "placed"] == "trained"


def test_contrasts_are_paired_bootstraps(results):
    later = table(seed=9)
    found = leaderboard.contrasts(results, later, "later").set_index(["model", "spec"])
    first = results[(results["model"] == "b") & (results["spec"] == "jpeg:50")]
    second = later[(later["model"] == "b") & (later["spec"] == "jpeg:50")]
    test = paired_bootstrap(
        first["value"].to_numpy(), second["value"].to_numpy(), clusters=pd.factorize(first["source"])[0]
    )
    row = found.loc[("b", "jpeg:50")]
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([test.mean, test.low, test.high], abs=1e-12)
    raw = [
        paired_bootstrap(
            results[(results["model"] == "b") & (results["spec"] == s)]["value"].to_numpy(),
            later[(later["model"] == "b") & (later["spec"] == s)]["value"].to_numpy(),
            clusters=pd.factorize(first["source"])[0],
        ).p
        for s in SPECS
    ]
    assert found.loc["b", "p"].reindex(list(SPECS)).tolist() == pytest.approx(holm(np.array(raw)).tolist())
    assert (row["n"], row["run"]) == (24, "later")
