"""Studies: what is trained and what is not trained again, comparisons against constructed truths, the verdict, and the
whole command with a tiny network."""

import hashlib
import json
import math

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from bench.cli import main
from bench.data import Sample, TestSet
from bench.statistics import detectable, holm
from bench.training.mpc import train as mpc
from bench.training.study import trainings as module
from bench.training.study.design import StudyError, read_study
from bench.training.study.findings import COMPARISONS, ENDPOINTS, comparisons, curves, decide
from bench.training.study.page import centre_auc
from bench.training.study.trainings import plan_trainings
from bench.training.study.verdict import HEADLINES, judge
from models.checkpoint import save_checkpoint
from models.mpc.network import MPC

pytestmark = pytest.mark.slow  # networks are trained

TINY = """
title = "Does it matter?"
claim = "It is said to."
reference = "mpc"
data = "validation"
perturbations = "jpeg:50"
protocol = "native"
metrics = ["auc", "f1"]
[[variants]]
name = "cross-entropy"
label = "(b) cross-entropy"
seeds = [0]
views = []
[[variants]]
name = "mpc"
label = "(a) MPC"
seeds = [0, 1]
views = ["within", "scale", "modality"]
published = "full"
[published]
source = "A paper, Table 1"
columns = ["mean F1", "mean IoU"]
[published.rows]
full = [57.4, 49.6]
[recipe.network]
backbone = "tiny"
input_size = 64
[recipe.data]
validation = 0.5
frame = 64
least = 64
[recipe.contrast]
steps = 2
batch = 2
crop = 32
average = 0.5
[recipe.head]
steps = 1
batch = 2
crop = 32
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten smooth noisy photos, five of which are for validation."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k in range(10):
        coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        rgb = cv2.resize(coarse, (96, 80), interpolation=cv2.INTER_CUBIC).astype(float)
        cv2.imwrite(str(folder / f"p{k}.png"), np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8))
    return folder


@pytest.fixture
def study_file(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


# ------------------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """The folder of a study that was stopped by a signal after its first network and then carried through, the
    networks that were trained in each of the two calls, and the exit code of the first."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(TINY)
    started: list[str] = []
    real = mpc.main

    def watched(args):
        started.append(args.out.rpartition("/")[2])
        return 143 if len(started) == 2 else real(args)

    patch = pytest.MonkeyPatch()
    patch.setattr(mpc, "main", watched)
    code = main(command(folder, photos))
    first, started[:] = list(started), []
    patch.setattr(mpc, "main", lambda args: started.append(args.out.rpartition("/")[2]) or real(args))
    assert main(command(folder, photos)) == 0
    patch.undo()
    return folder, first, list(started), code


def command(folder, photos, *more):
    fixed = ["study", str(folder / "tiny.toml"), "--out", str(folder / "out"), "--workers", "1"]
    return [*fixed, *(["--photos", str(photos)] if photos else []), *more]


def test_a_stopped_study_goes_on_with_what_is_missing(finished):
    _, first, second, code = finished
    assert code == 143
    assert first == ["mpc-seed0", "mpc-seed1"]
    assert second == ["mpc-seed1", "cross-entropy-seed0"]


def test_a_finished_study_trains_and_measures_nothing_and_needs_no_photos(finished, monkeypatch, capsys):
    folder = finished[0]
    monkeypatch.setattr(mpc, "main", lambda args: pytest.fail("trained again"))
    before = {f: f.read_bytes() for f in (folder / "out" / "report").iterdir()}
    assert main(command(folder, None, "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["cells"]["reused"] == printed["cells"]["asked"] == 3 * 2 * printed["comparisons"][0]["n"]
    assert printed["outcome"] in HEADLINES
    assert {f: f.read_bytes() for f in (folder / "out" / "report").iterdir()} == before


def test_page_and_card_hold_the_numbers_of_the_tables(finished):
    report = finished[0] / "out" / "report"
    page, card = ((report / name).read_text() for name in ("study.html", "RESULTS.md"))
    compared = pd.read_csv(report / "comparisons.csv")
    assert list(compared.columns) == COMPARISONS
    assert len(compared) == 2 * len(ENDPOINTS)
    for row in compared.itertuples():
        for value in (row.reference_mean, row.mean, row.detectable):
            shown = f"{round(value, 3) + 0.0:.3f}".replace("-", "−").replace("0.", ".")
            assert f"<td>{shown}</td>" in page
            assert f"| {shown} |" in card
    trained = pd.read_csv(report / "trainings.csv")
    assert list(trained["steps"]) == [3, 3, 3]
    assert all(digest in card for digest in trained["weights"])
    assert set(pd.read_csv(report / "features.csv")["network"]) == {"untrained", *trained["network"]}
    assert "57.4" in page and "A paper, Table 1" in page
    assert page.count("alt=") == page.count("<img ")
    assert "http" not in page.replace("http-equiv", "")


def test_validation_forgeries_are_of_photos_that_nothing_was_trained_on(finished):
    out = finished[0] / "out"
    forged = set(json.loads((out / "validation" / "forgeries.json").read_text())["forgeries"])
    assert forged == {file.stem for file in (out / "validation" / "images").iterdir()}
    record = json.loads((out / "trainings" / "mpc-seed0" / "trained.json").read_text())
    assert record["photos"] == [5, 5]
    assert 3 <= len(forged) <= 5


def test_missing_networks_need_photos(study_file, tmp_path, capsys):
    assert main(["study", str(study_file), "--out", str(tmp_path / "out")]) == 2
    assert "3 networks are to be trained (mpc.seed0, mpc.seed1, cross-entropy.seed0" in capsys.readouterr().err


def test_a_network_of_another_recipe_is_not_taken_for_ours(finished, capsys):
    folder = finished[0]
    (folder / "tiny.toml").write_text(TINY.replace("average = 0.5", "average = 0.6"))
    assert main(command(folder, None)) == 2
    assert "contrast.average: here 0.6, there 0.5" in capsys.readouterr().err
    (folder / "tiny.toml").write_text(TINY)


def test_every_network_begins_with_the_start(study_file, photos, tmp_path, monkeypatch, finished, capsys):
    network = MPC("tiny", "catnet")
    file = tmp_path / "start.safetensors"
    save_checkpoint(file, network, {"backbone": "tiny"})
    given = []
    monkeypatch.setattr(mpc, "main", lambda args: given.append(args.start) or 143)
    words = ["study", str(study_file), "--out", str(tmp_path / "out"), "--photos", str(photos)]
    assert main([*words, "--start", str(file)]) == 143
    assert given == [str(file)]
    assert main([*words, "--start", str(tmp_path / "absent.pth")]) == 2
    assert "absent.pth: no such file; --start wants the checkpoint of an HRFormer" in capsys.readouterr().err
    folder = finished[0]  # a study that began with the recipe's first values is not taken for one that did not
    assert main(command(folder, None, "--start", str(file))) == 2
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"--start: here {digest}, there none" in capsys.readouterr().err


def test_the_page_names_the_start_and_shows_it_as_what_was_before(photos, tmp_path):
    file, study = tmp_path / "start.safetensors", tmp_path / "tiny.toml"
    save_checkpoint(file, MPC("tiny", "catnet"), {"backbone": "tiny"})
    study.write_text(TINY)
    assert main(command(tmp_path, photos, "--start", str(file))) == 0
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    page = (tmp_path / "out" / "report" / "study.html").read_text()
    assert f"every encoder starts from start.safetensors (SHA-256 {digest[:12]})" in page
    assert "--start start.safetensors" in page
    assert "All seeds start from one checkpoint" in page
    record = json.loads((tmp_path / "out" / "trainings" / "mpc-seed1" / "trained.json").read_text())
    assert record["start"] == {"file": "start.safetensors", "sha256": digest}
    state = torch.load(tmp_path / "out" / "trainings" / "mpc-seed1" / "contrast.pt", weights_only=True)
    assert state["start"]["sha256"] == digest


# ------------------------------------------------------------------------------------------------------- the design


def test_shipped_study_compares_equals(tmp_path):
    study = read_study("mpc-ablation")
    trainings = plan_trainings(study, tmp_path)
    names = [t.name for t in trainings]
    assert names[:3] == ["mpc.seed0", "mpc.seed1", "mpc.seed2"] and len(names) == 9
    steps = {t.recipe.contrast.steps + t.recipe.head.steps for t in trainings}
    assert {t.recipe.supervised.steps for t in trainings} == steps and len(steps) == 1
    for training in trainings:
        recipe, first = training.recipe, trainings[0].recipe
        assert recipe.network == first.network and recipe.data == first.data and recipe.head == first.head
        for key in ("batch", "crop", "lr", "weight_decay", "warmup", "cooldown", "average"):
            assert getattr(recipe.supervised, key) == getattr(recipe.contrast, key)
        assert recipe.supervised.calibration == recipe.head.calibration
        assert training.stage == ("both" if training.variant.views else "supervised")
        assert recipe.contrast.views == (training.variant.views or ("within", "scale", "modality"))
    assert list(tmp_path.iterdir()) == []  # planning writes nothing


def test_another_recipe_scales_the_study(tmp_path):
    trainings = plan_trainings(read_study("mpc-ablation"), tmp_path, "small")
    assert {t.recipe.network.backbone for t in trainings} == {"small"}
    shipped = module.read_recipe("small")
    assert {t.recipe.supervised.steps for t in trainings} == {shipped.contrast.steps + shipped.head.steps}
    file = tmp_path / "unequal.toml"
    file.write_text("[contrast]\nsteps = 5\n[head]\nsteps = 5\n[supervised]\nsteps = 5\n")
    with pytest.raises(StudyError, match=r"supervised.steps is 5, the other variants train for 10"):
        plan_trainings(read_study("mpc-ablation"), tmp_path, str(file))


def test_recipes_survive_being_written(tmp_path):
    for training in plan_trainings(read_study("mpc-ablation"), tmp_path):
        assert module.read_recipe(training.write_recipe()) == training.recipe


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Does it matter?"', 'titel = "?"', r"unknown key titel; did you mean title\?"),
        ('title = "Does it matter?"', "", "title is missing"),
        ('reference = "mpc"', 'reference = "mcp"', "reference .'mcp'. must be one of them"),
        ("seeds = [0, 1]", "seeds = [0]", "at least one variant needs two seeds"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "variant mpc names a seed twice"),
        ('"within", "scale"', '"colour"', r"variants\[1\].views\[0\] is 'colour'; known: within, scale, modality"),
        ('published = "full"', 'published = "half"', "names 'half', which published.rows does not have"),
        ('title = "Does', "title = Does", "not a TOML file"),
    ],
)
def test_a_wrong_study_is_a_clear_error(study_file, old, new, message):
    study_file.write_text(TINY.replace(old, new))
    with pytest.raises(StudyError, match=message) as error:
        read_study(str(study_file))
    assert str(error.value).startswith(str(study_file))


def test_an_unknown_study_is_a_clear_error(capsys):
    assert main(["study", "mpc-ablaton"]) == 2
    assert "did you mean 'mpc-ablation'?" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ findings and the verdict


def made_results(study, levels, *, shift, seeds_std=0.01, seed=0):
    """A results table: 40 images of 20 photos in two sets, levels of spec -> mean, and per variant and spec a shift."""
    rng = np.random.default_rng(seed)
    of_image = 0.05 * rng.normal(size=40)
    rows = []
    for v in study.variants:
        for s in v.seeds:
            of_seed = seeds_std * rng.normal()
            for spec, level in levels.items():
                values = level + shift(v.name, spec) + of_seed + of_image + 0.01 * rng.normal(size=40)
                for i, value in enumerate(values):
                    place = (f"{v.name}.seed{s}", "one" if i < 20 else "two", f"i{i}", f"p{i // 2}", True)
                    family, _, level_text = spec.partition(":")
                    family = family if spec != "identity" else "identity"
                    condition = (family, level_text, spec, 0, "native")
                    rows += [(*place, *condition, metric, value) for metric in study.metrics]
    columns = ["model", "test_set", "image", "source", "tampered", "perturbation", "level", "spec", "seed"]
    return pd.DataFrame(rows, columns=[*columns, "protocol", "metric", "value"])


LEVELS = {"jpeg:50": 0.6, "identity": 0.7, "blur:5": 0.5}


@pytest.fixture(scope="module")
def study():
    return read_study("mpc-ablation")


def test_comparisons_against_a_computation_by_hand(study):
    results = made_results(study, LEVELS, shift=lambda name, spec: 0.03 if name == "mpc" and spec == "blur:5" else 0)
    compared = comparisons(study, results)
    pooled = compared[(compared["test_set"] == "all") & (compared["metric"] == "auc")].set_index(
        ["variant", "endpoint"]
    )
    table = results[results["metric"] == "auc"]

    def seeds(name, specs):
        rows = table[table["model"].str.startswith(f"{name}.") & table["spec"].isin(specs)]
        return rows.groupby(["model", "image"])["value"].mean().unstack()

    a, e = seeds("mpc", ["jpeg:50", "blur:5"]), seeds("cross-entropy", ["jpeg:50", "blur:5"])
    row = pooled.loc["cross-entropy", "perturbed"]
    assert row["difference"] == pytest.approx(a.to_numpy().mean() - e.to_numpy().mean())
    assert row["reference_mean"] - row["mean"] == pytest.approx(row["difference"])
    between = (2 * a.mean(axis=1).var() + 2 * e.mean(axis=1).var()) / 4
    change = a.mean() - e.mean()
    photos = change.groupby({f"i{i}": i // 2 for i in range(40)}).mean()
    variance = photos.var() / 20 + between * 2 / 3
    assert row["se"] == pytest.approx(math.sqrt(variance))
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["difference"]) / row["se"], row["df"]))
    assert row["detectable"] == pytest.approx(detectable(row["se"], row["df"], alpha=0.05 / 4))
    assert (row["n"], row["photos"], row["seeds_reference"], row["seeds"]) == (40, 20, 3, 3)
    of_endpoint = pooled.xs("perturbed", level="endpoint")
    assert of_endpoint["p_holm"].to_numpy() == pytest.approx(holm(of_endpoint["p"].to_numpy()))
    kept = pooled.loc["cross-entropy", "kept"]
    clean = pooled.loc["cross-entropy", "clean"]
    assert kept["difference"] == pytest.approx(row["difference"] - clean["difference"])
    assert kept["difference"] == pytest.approx(0.015, abs=0.004)
    assert set(compared["test_set"]) == {"all", "one", "two"}


def test_curves_have_every_level_with_the_unperturbed_one_first(study):
    found = curves(study, made_results(study, LEVELS, shift=lambda name, spec: 0))
    here = found[(found["variant"] == "mpc") & (found["test_set"] == "all") & (found["metric"] == "auc")]
    assert list(here["spec"]) == ["identity", "jpeg:50", "blur:5"]
    assert here["mean"].to_numpy() == pytest.approx([0.7, 0.6, 0.5], abs=0.03)
    assert ((here["low"] < here["mean"]) & (here["mean"] < here["high"])).all()
    single = found[(found["variant"] == "no-scale") & (found["test_set"] == "all") & (found["metric"] == "auc")]
    assert ((single["high"] - single["low"]).to_numpy() > (here["high"] - here["low"]).to_numpy()).all()


def test_images_that_lack_a_value_are_left_out_of_all_variants(study):
    results = made_results(study, LEVELS, shift=lambda name, spec: 0)
    results.loc[(results["model"] == "mpc.seed1") & (results["image"] == "i3"), "value"] = np.nan
    compared = comparisons(study, results)
    assert set(compared.loc[compared["test_set"] == "all", "n"]) == {39}
    results["value"] = np.nan
    with pytest.raises(StudyError, match="no image has a value of auc"):
        comparisons(study, results)


@pytest.mark.parametrize(
    ("shifts", "outcome"),
    [
        ({}, "inconclusive"),
        ({"identity": 0.1, "jpeg:50": 0.1, "blur:5": 0.1}, "confirmed"),
        ({"identity": -0.1, "jpeg:50": -0.1, "blur:5": -0.1}, "contradicted"),
        ({"jpeg:50": 0.1, "blur:5": 0.1}, "mixed"),
        ({"identity": 0.1, "jpeg:50": -0.1, "blur:5": -0.1}, "mixed"),
        ({"jpeg:50": -0.1, "blur:5": -0.1}, "contradicted"),
    ],
)
def test_the_verdict_follows_the_numbers(study, shifts, outcome):
    """The reference is made better or worse than every other variant by these shifts."""
    results = made_results(study, LEVELS, shift=lambda name, spec: shifts.get(spec, 0) if name == "mpc" else 0)
    compared = comparisons(study, results)
    verdict = judge(study, compared, 0.6)
    assert (verdict.outcome, verdict.headline) == (outcome, HEADLINES[outcome])
    rows = compared[(compared["test_set"] == "all") & (compared["metric"] == "auc")].set_index(["variant", "endpoint"])
    row = rows.loc["cross-entropy", "perturbed"]
    words = {"confirmed": "better", "contradicted": "worse", "inconclusive": "not significantly different"}[
        row["verdict"]
    ]
    numbers = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]".replace("-", "−")
    assert f"{words} after post-processing ({numbers}" in verdict.paragraphs[0]
    assert f"{row['detectable']:.3f}" in verdict.paragraphs[2]
    best = max(compared["reference_mean"].iloc[0], rows.xs("clean", level="endpoint")["mean"].max())
    assert f"reaches a pixel AUC of {best:.3f} on unperturbed images" in verdict.paragraphs[3]
    assert verdict.paragraphs[3].startswith("For scale") and "reaches 0.600" in verdict.paragraphs[3]


def test_networks_near_chance_are_called_so(study):
    results = made_results(study, {"identity": 0.55, "jpeg:50": 0.52}, shift=lambda name, spec: 0)
    verdict = judge(study, comparisons(study, results), 0.634)
    assert verdict.paragraphs[-1].startswith("All of these networks are close to chance")
    assert "reaches 0.634" in verdict.paragraphs[-1]
    assert verdict.headline.endswith("significant difference, with all networks close to chance.")


def test_the_control_is_measured_on_the_images_of_the_study(tmp_path):
    rng, areas, samples = np.random.default_rng(0), [], []
    for i, (height, width) in enumerate([(20, 30), (31, 16)]):
        mask = rng.random((height, width)) < 0.3
        for name, array in (("photo", np.zeros((height, width, 3), np.uint8)), ("mask", mask * np.uint8(255))):
            cv2.imwrite(str(tmp_path / f"{name}{i}.png"), array)
        samples.append(
            Sample(f"s{i}", tmp_path / f"photo{i}.png", tmp_path / f"mask{i}.png", "made", "forged", f"s{i}")
        )
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
        areas.append(roc_auc_score(mask.ravel(), -np.hypot(y, x).ravel()))
    assert centre_auc([TestSet("made", "Made", samples)]) == pytest.approx(np.mean(areas), abs=1e-3)


@pytest.mark.parametrize(
    ("difference", "p", "verdict"),
    [
        (0.1, 0.049, "confirmed"),
        (-0.1, 0.049, "contradicted"),
        (0.1, 0.05, "inconclusive"),
        (0.1, math.nan, "inconclusive"),
    ],
)
def test_decisions(difference, p, verdict):
    assert decide(difference, p) == verdict
