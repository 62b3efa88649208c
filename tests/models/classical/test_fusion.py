"""Fusion of classical methods: the combination, its fit and cross-validation, the shipped coefficients."""

import dataclasses
import math
import tomllib
from statistics import NormalDist

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

import models
from bench.cli import main
from bench.data import builtin, open_builtin
from bench.perturb import parse
from bench.report import contaminated
from bench.training import fusion as fusion_fit
from bench.training import fusion as train_fusion
from bench.training.fusion import Example
from models import WeightsError, WeightsMissing
from models.classical.fusion import MEMBERS, SHIPPED, Coefficients, Fusion
from models.image import ForensicImage, NotApplicable, ScoreMap, encode_jpeg
from models.localizer import _source_files

HEIGHT, WIDTH = 48, 64


class Constant:
    """A member that says what it was given."""

    def __init__(self, values, kind):
        self.score = ScoreMap(np.asarray(values, np.float32), kind)

    def localize(self, image):
        return self.score


class Raising:
    def __init__(self, error):
        self.error = error

    def localize(self, image):
        raise self.error


@pytest.fixture
def blank():
    return ForensicImage(np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def fused(members, weights, intercept=-1.5):
    fusion = Fusion()
    fusion._members, fusion.coefficients = members, Coefficients(intercept, weights)
    return fusion


def some_members(rng):
    return {
        "plain": Constant(rng.normal(size=(HEIGHT, WIDTH)), "score"),
        "tied": Constant(np.repeat(np.arange(4), HEIGHT * WIDTH // 4).reshape(HEIGHT, WIDTH), "score"),
        "sure": Constant(rng.beta(0.05, 0.05, (HEIGHT, WIDTH)), "probability"),
        "odds": Constant(rng.normal(0, 9, (HEIGHT, WIDTH)), "logit"),
    }


WEIGHTS = {"plain": (0.7, 9.0), "tied": (-0.4, 9.0), "sure": (0.2, 0.9), "odds": (0.1, -0.3), "absent": (5.0, 5.0)}


def by_hand(members, intercept):
    """Log-odds of every pixel by plain loops: means of 8x8 pixels, ranks by counting, bilinear between centres."""
    rows, columns = HEIGHT // 8, WIDTH // 8
    odds = [[intercept] * columns for _ in range(rows)]
    for name, member in members.items():
        values, kind = member.score.values.astype(float), member.score.kind
        cells = [[values[8 * i : 8 * i + 8, 8 * j : 8 * j + 8].mean() for j in range(columns)] for i in range(rows)]
        flat = [c for row in cells for c in row]
        for i in range(rows):
            for j in range(columns):
                value = cells[i][j]
                below = sum(c < value - 1e-6 for c in flat) + sum(abs(c - value) <= 1e-6 for c in flat) / 2
                odds[i][j] += WEIGHTS[name][0] * NormalDist().inv_cdf(below / len(flat))
                if kind == "probability":
                    value = min(max(value, 1 / (1 + math.exp(4))), 1 / (1 + math.exp(-4)))
                    odds[i][j] += WEIGHTS[name][1] * math.log(value / (1 - value))
                if kind == "logit":
                    odds[i][j] += WEIGHTS[name][1] * min(max(value, -4), 4)
    whole = np.zeros((HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            v, u = (min(max((n + 0.5) / 8 - 0.5, 0), top - 1) for n, top in ((y, rows), (x, columns)))
            i, j = min(int(v), rows - 2), min(int(u), columns - 2)
            v, u = v - i, u - j
            upper = (1 - u) * odds[i][j] + u * odds[i][j + 1]
            lower = (1 - u) * odds[i + 1][j] + u * odds[i + 1][j + 1]
            whole[y, x] = (1 - v) * upper + v * lower
    return whole


def test_the_map_is_the_weighted_sum_cell_by_cell(blank):
    members = some_members(np.random.default_rng(1))
    absent = Raising(NotApplicable("its trace cannot exist here"))
    score = fused({**members, "absent": absent}, WEIGHTS).localize(blank)
    expected = 1 / (1 + np.exp(-by_hand(members, -1.5)))
    np.testing.assert_allclose(score.values, expected, atol=2e-5)
    assert score.kind == "probability" and score.extras["members"] == ("plain", "tied", "sure", "odds")


def test_a_member_that_is_absent_or_undecided_everywhere_adds_nothing(blank):
    members = some_members(np.random.default_rng(2))
    without = fused(members, WEIGHTS).localize(blank).values
    for silent in (
        Raising(NotApplicable("its trace cannot exist here")),
        Constant(np.full((HEIGHT, WIDTH), 17.0), "score"),
        Constant(np.full((HEIGHT, WIDTH), 0.5), "probability"),
        Constant(np.zeros((HEIGHT, WIDTH)), "logit"),
    ):
        np.testing.assert_array_equal(fused({**members, "absent": silent}, WEIGHTS).localize(blank).values, without)


def test_not_applicable_where_no_member_applies_and_errors_are_not_hidden(blank):
    absent = Raising(NotApplicable("its trace cannot exist here"))
    with pytest.raises(NotApplicable, match="none of the members applies: plain, tied"):
        fused({"plain": absent, "tied": absent}, WEIGHTS).localize(blank)
    with pytest.raises(ZeroDivisionError):
        fused({"plain": absent, "tied": Raising(ZeroDivisionError())}, WEIGHTS).localize(blank)


# ------------------------------------------------------------------------------------------------------ the fit

TRUE_INTERCEPT = -2.0
TRUE_WEIGHTS = np.array([[0.8, 0.0], [-0.3, 0.6], [0.0, 0.0], [0.5, 0.2]] + [[0.1, 0.0]] * (len(MEMBERS) - 4))


def synthetic(seed=0, examples=30, cells=600):
    """Examples of three photos, labels drawn from a known logistic model; the second member is often absent."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(examples):
        values = rng.normal(size=(cells, len(MEMBERS), 2)).astype(np.float32)
        values[:, [0, 2], 1] = 0  # members without log-odds of their own
        applies = np.ones(len(MEMBERS), bool)
        if number % 2:
            applies[1], values[:, 1] = False, 0
        odds = TRUE_INTERCEPT + np.einsum("cmf,mf->c", values, TRUE_WEIGHTS)
        photo, donor = "abc"[number % 3], "bcd"[number % 3]
        forged = rng.random(cells) < 1 / (1 + np.exp(-odds))
        found.append(Example(photo, frozenset({photo, donor} if number % 5 == 0 else {photo}), values, applies, forged))
    return found


def test_the_fit_recovers_known_coefficients_and_is_the_minimum_of_the_penalized_likelihood():
    examples = synthetic(examples=40)
    found = fusion_fit.fit(examples)
    weights = np.array([found.weights[name] for name in MEMBERS])
    assert found.intercept == pytest.approx(TRUE_INTERCEPT, abs=0.1)
    np.testing.assert_allclose(weights, np.where(TRUE_WEIGHTS == 0, weights, TRUE_WEIGHTS), atol=0.12)
    assert weights[0, 1] == weights[2, 1] == 0

    x = np.concatenate([e.values.reshape(len(e.forged), -1) for e in examples]).astype(float)
    sign = np.where(np.concatenate([e.forged for e in examples]), 1, -1)

    def loss(w):
        return np.logaddexp(0, -sign * (x @ w[1:] + w[0])).sum() + 0.5 * (w[1:] ** 2).sum()

    def slope(w):
        pull = -sign / (1 + np.exp(sign * (x @ w[1:] + w[0])))
        return np.concatenate(([pull.sum()], pull @ x + w[1:]))

    best = minimize(loss, np.zeros(x.shape[1] + 1), jac=slope, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-6})
    np.testing.assert_allclose([found.intercept, *weights.ravel()], best.x, atol=2e-3)


def test_no_pixel_of_a_photo_is_trained_on_when_it_is_held_out():
    examples, seen = synthetic(), []

    def form(train, test):
        (photo,) = {e.photo for e in test}
        seen.append(photo)
        assert train and not any(photo in e.photos for e in train)
        return [np.full(len(e.forged), ord(photo)) for e in test]

    scores = fusion_fit.held_out(examples, form)
    assert seen == ["a", "b", "c"]
    assert [chr(of[0]) for of in scores] == [e.photo for e in examples]


def test_held_out_probabilities_are_calibrated_and_accuracy_is_that_of_the_model():
    examples = synthetic(examples=60, cells=300)
    found = fusion_fit.cross_validate(examples)
    assert sum(n for n, _, _ in found.reliability) == sum(len(e.forged) for e in examples)
    for cells, p, share in found.reliability:
        assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / cells) + 0.01)
    truth = [roc_auc_score(e.forged, np.einsum("cmf,mf->c", e.values, TRUE_WEIGHTS)) for e in examples]
    assert found.auc["logistic"] == pytest.approx(np.mean(truth), abs=0.01)
    assert found.auc["logistic"] > found.auc["mean_rank"] and found.loss < found.prior_loss
    n, own, _ = found.members[list(MEMBERS)[1]]
    assert n == 30 and own == pytest.approx(
        np.mean([roc_auc_score(e.forged, e.values[:, 1, 0]) for e in examples if e.applies[1]])
    )


# ------------------------------------------------------------------------------------- real members and coefficients


def spliced(host, donor, forged):
    """A patch that was never compressed in a photo of quality 60, saved at 90."""
    rgb = ForensicImage.from_jpeg(encode_jpeg(host, 60)).rgb.copy()
    rgb[forged] = donor[forged]
    return ForensicImage.from_jpeg(encode_jpeg(rgb, 90))


def test_finds_a_constructed_forgery(host, donor, forged):
    score = models.build("fusion").localize(spliced(host, donor, forged))
    assert roc_auc_score(forged.ravel(), score.values.ravel()) > 0.9
    assert (score.values[forged] > 0.5).mean() > 10 * (score.values[~forged] > 0.5).mean()
    assert {"adq1", "adq2", "ela"} <= set(score.extras["members"])


def test_an_authentic_photo_has_no_forgery(host, checkerboard):
    score = models.build("fusion").localize(ForensicImage.from_jpeg(encode_jpeg(host, 85)))
    assert abs(roc_auc_score(checkerboard.ravel(), score.values.ravel()) - 0.5) < 0.1
    assert (score.values > 0.5).mean() < 0.02


def test_methods_of_jpeg_files_are_left_out_where_there_is_none(host):
    score = models.build("fusion").localize(ForensicImage(host[:130, :201]))
    assert score.values.shape == (130, 201)
    assert set(score.extras["members"]) == set(MEMBERS) - {"adq1", "adq2"}


def test_shipped_coefficients_are_of_the_built_in_set_and_better_than_each_member_alone():
    content = tomllib.loads(SHIPPED.read_text())
    assert content["fit"]["digest"] == builtin.GOLDEN, "run `python -m bench train fusion`"
    assert content["fit"]["examples"] == len(builtin.RECIPES) * len(parse(content["fit"]["perturbations"]))
    accuracy = content["held_out"]
    assert set(accuracy["members"]) == set(MEMBERS)
    assert f" {accuracy['logistic']:.2f}".replace(" 0", " ") in models.find("fusion").card.summary
    assert accuracy["logistic"] > max(accuracy["mean_rank"], accuracy["logistic_with_pairs"])
    assert all(of["fusion"] > of["auc"] for of in accuracy["members"].values())
    assert all(of["p"] == pytest.approx(of["forged"], abs=0.1) for of in accuracy["reliability"])


def test_results_on_the_built_in_set_are_flagged():
    card = models.find("fusion").card
    about = {
        "models": [{"name": card.name, "trained_on": list(card.trained_on)}, {"name": "ela", "trained_on": []}],
        "test_sets": [{"name": "builtin"}, {"name": "casia1"}],
    }
    assert contaminated(about) == {("fusion", "builtin")}
    assert {"baselines", "classical"} <= set(card.groups)


def test_members_and_coefficients_are_part_of_the_identity(tmp_path):
    sources = {file.name for file in _source_files(Fusion.__module__)}
    assert {"ela.py", "ghost.py", "blk.py", "adq1.py", "cfa2.py", "copymove_keypoint.py"} <= sources
    assert "fusion_fit.py" not in sources
    other = tmp_path / "other.toml"
    other.write_text(SHIPPED.read_text().replace("intercept = -", "intercept = -1"))
    assert models.build("fusion", weights=other).identity() != models.build("fusion").identity()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("intercept = ", "intercept ~ "), "cannot be read"),
        (("ela = { rank", "elo = { rank"), "is of the members elo, ghost"),
        (("ela = { rank", "ela = { runk"), "lacks a number"),
        (("intercept = ", "intercept = nan #"), "not finite"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    file = tmp_path / "fusion.toml"
    file.write_text(SHIPPED.read_text().replace(*change, 1))
    with pytest.raises(WeightsError, match=rf"fusion.toml .*{message}.*python -m bench train fusion"):
        models.build("fusion", weights=file)
    with pytest.raises(WeightsMissing, match=r"absent.toml does not exist"):
        models.build("fusion", weights=tmp_path / "absent.toml")


def test_the_command_writes_a_file_that_the_localizer_reads(tmp_path, monkeypatch, capsys, host):
    """On the first three images, of three photos, without perturbation."""
    whole = open_builtin()
    monkeypatch.setattr(train_fusion, "open_builtin", lambda: dataclasses.replace(whole, samples=whole.samples[:3]))
    monkeypatch.setattr(builtin, "RECIPES", builtin.RECIPES[:3])
    out = tmp_path / "new" / "fusion.toml"
    assert main(["train", "fusion", "--out", str(out), "--perturbations", "clean"]) == 0
    assert "Members alone" in capsys.readouterr().out
    content = tomllib.loads(out.read_text())
    assert content["fit"] | {"cells": 0, "forged": 0} == {
        "test_set": "builtin", "digest": builtin.GOLDEN, "images": 3, "perturbations": "clean", "seed": 0,
        "examples": 3, "cells": 0, "forged": 0,
    }  # fmt: skip
    assert 1000 < content["fit"]["cells"] < 2500
    localizer = models.build("fusion", weights=out)
    assert localizer.coefficients.weights["ela"] == (content["members"]["ela"]["rank"], 0)
    assert localizer.localize(ForensicImage(host[:64, :64])).values.shape == (64, 64)


def test_examples_hold_the_members_features_and_the_forged_cells():
    test_set = open_builtin()
    sample, recipe = test_set.samples[0], builtin.RECIPES[0]
    (whole,) = train_fusion.examples_of(test_set, sample, recipe, parse("clean"))
    assert whole.photo == "china" and whole.photos == {"china", "flower"}
    assert whole.values.shape == (len(whole.forged), len(MEMBERS), 2) and whole.applies.all()
    assert 400 < len(whole.forged) < 650
    assert whole.forged.mean() == pytest.approx(test_set.read_mask(sample).mean(), abs=0.02)


@pytest.mark.parametrize(("model", "option"), [("mpc", "--photos"), ("fusion", "--perturbations")])
def test_each_training_lists_its_own_options(model, option, capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", model, "--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0 and option in shown and f"bench train {model}" in shown
