"""`bench check`: silent on noise, loud on a real loss, exit code 2 where nothing can be compared."""

import dataclasses
import hashlib
import json
import shutil

import junitparser
import numpy as np
import pandas as pd
import pytest

from bench.check import CELL
from bench.cli import main
from bench.metrics import METRICS

ABOUT = {"versions": {}, "revision": "", "started": "", "request": {"seed": 0}}
ABOUT |= {"models": [], "test_sets": [], "protocols": []}


def make_run(folder, auc, model="toy", metric="auc", source="a{}", protocol="native"):
    """A run folder with these values of images a0, a1, ... under one cell."""
    folder.mkdir(exist_ok=True)
    rows = [
        (model, "set", f"a{i}", source.format(i), True, "jpeg", "70", "jpeg:70", 0, protocol, metric, v)
        for i, v in enumerate(auc)
    ]
    columns = [*CELL[:2], "image", "source", "tampered", "perturbation", "level", "spec", "seed", *CELL[3:], "value"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "results.csv", index=False)
    (folder / "run.json").write_text(json.dumps(ABOUT))
    return str(folder)


@pytest.fixture
def check(tmp_path):
    reference = str(tmp_path / "reference.json")

    def call(run, *more):
        return main(["check", run, "--against", reference, *more])

    return call


@pytest.fixture
def old(tmp_path):
    return np.random.default_rng(1).uniform(0.6, 0.9, 40)


def test_equal_runs_pass(tmp_path, check, old):
    run = make_run(tmp_path / "old", old)
    assert check(run, "--update") == 0
    assert check(run) == 0


def test_real_loss_fails_and_is_named(tmp_path, check, old, capsys):
    check(make_run(tmp_path / "old", old), "--update")
    new = make_run(tmp_path / "new", old - 0.05 + np.random.default_rng(2).normal(0, 0.01, 40))
    assert check(new, "--junit", str(tmp_path / "check.xml")) == 1
    out = capsys.readouterr().out
    assert "WORSE toy on set, jpeg:70: native auc" in out and "(-0.05" in out and "n=40" in out
    suites = junitparser.JUnitXml.fromfile(str(tmp_path / "check.xml"))
    assert (suites.tests, suites.failures) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda v, rng: v + rng.normal(0, 0.1, v.size) - rng.normal(0, 0.1, v.size).mean(),  # noise around nothing
        lambda v, rng: v - 0.004,  # certain, but below the minimum effect
        lambda v, rng: v + 0.1,  # a gain
    ],
)
def test_noise_small_losses_and_gains_pass(tmp_path, check, old, change):
    check(make_run(tmp_path / "old", old), "--update")
    assert check(make_run(tmp_path / "new", change(old, np.random.default_rng(3)))) == 0


def test_one_bad_image_among_many_is_no_significant_loss(tmp_path, check, old):
    check(make_run(tmp_path / "old", old), "--update")
    new = old.copy()
    new[0] -= 0.5
    assert check(make_run(tmp_path / "new", new)) == 0


def test_an_image_no_longer_scored_fails(tmp_path, check, old, capsys):
    check(make_run(tmp_path / "old", old), "--update")
    assert check(make_run(tmp_path / "new", old[:-1])) == 1
    assert "1 image is no longer scored" in capsys.readouterr().out


def test_a_cell_that_was_not_run_cannot_be_compared(tmp_path, check, old, capsys):
    check(make_run(tmp_path / "old", old), "--update")
    assert check(make_run(tmp_path / "new", old, model="other")) == 2
    assert "toy / set / jpeg:70" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "hint"),
    [(None, "--update"), ("{", "not a reference"), ('{"format": 9, "protocols": {}, "seed": 0}', "format 9")],
)
def test_unusable_reference(tmp_path, check, old, capsys, content, hint):
    if content is not None:
        (tmp_path / "reference.json").write_text(content)
    assert check(make_run(tmp_path / "new", old)) == 2
    assert hint in capsys.readouterr().err


def test_another_seed_or_protocol_version_cannot_be_compared(tmp_path, check, old, capsys):
    run = make_run(tmp_path / "old", old)
    check(run, "--update")
    reference = json.loads((tmp_path / "reference.json").read_text())
    (tmp_path / "reference.json").write_text(json.dumps({**reference, "seed": 3}))
    assert check(run) == 2
    (tmp_path / "reference.json").write_text(json.dumps({**reference, "protocols": {"native": 99}}))
    assert check(run) == 2
    assert "v99" in capsys.readouterr().err


def test_json_lists_every_verdict(tmp_path, check, old, capsys):
    run = make_run(tmp_path / "old", old)
    check(run, "--update")
    capsys.readouterr()
    assert check(run, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["worse"] == 0 and report["verdicts"][0]["n"] == 40


def test_an_unfinished_run_is_refused(tmp_path, check, old, capsys):
    """Its results.csv is that of an older run."""
    run = make_run(tmp_path / "old", old)
    check(run, "--update")
    (tmp_path / "old" / "run.json").write_text(json.dumps({**ABOUT, "finished": None}))
    assert check(run) == 2 and check(run, "--update") == 2
    assert capsys.readouterr().err.count("an unfinished run") == 2


def test_a_run_under_another_version_of_a_protocol_is_refused(tmp_path, check, old, capsys):
    run = make_run(tmp_path / "old", old)
    check(run, "--update")
    about = {**ABOUT, "protocols": [{"name": "native", "version": 1}]}
    (tmp_path / "old" / "run.json").write_text(json.dumps(about))
    assert check(run) == 2 and check(run, "--update") == 2
    assert capsys.readouterr().err.count("was measured under native@1, this is native@2; run the same") == 2


def test_results_that_the_run_did_not_write_are_refused(tmp_path, check, old, capsys):
    run = make_run(tmp_path / "old", old)
    check(run, "--update")
    file = tmp_path / "old" / "results.csv"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    about = {**ABOUT, "finished": "then", "results": {"rows": 40, "sha256": digest, "file": "results.csv"}}
    (tmp_path / "old" / "run.json").write_text(json.dumps(about))
    assert check(run) == 0
    file.write_text(file.read_text().replace("auc,0.", "auc,7.", 1))
    assert check(run) == 2
    assert "results.csv" in capsys.readouterr().err


@pytest.mark.parametrize("loss", [0, 0.3])
def test_a_single_photo_cannot_judge(tmp_path, check, old, capsys, loss):
    check(make_run(tmp_path / "old", old, source="same"), "--update")
    assert check(make_run(tmp_path / "new", old - loss, source="same")) == 2
    assert "single source photo" in capsys.readouterr().err


def test_an_empty_reference_cannot_judge(tmp_path, check, old, capsys):
    run = make_run(tmp_path / "old", old)
    check(run, "--update")
    reference = json.loads((tmp_path / "reference.json").read_text())
    for values in ({}, {"toy": {}}, {"toy": {"set": {"jpeg:70": {"native.auc": {}}}}}):
        (tmp_path / "reference.json").write_text(json.dumps({**reference, "values": values}))
        assert check(run) == 2
    assert capsys.readouterr().err.count("no value") == 3


def test_gains_noise_and_new_cells_are_counted(tmp_path, check, old, capsys):
    check(make_run(tmp_path / "old", old), "--update")
    gained = old + 0.05 + np.random.default_rng(2).normal(0, 0.01, 40)
    run = make_run(tmp_path / "new", gained)
    table = pd.read_csv(tmp_path / "new" / "results.csv", dtype=str)
    pd.concat([table, table.assign(spec="blur:3")]).to_csv(tmp_path / "new" / "results.csv", index=False)
    capsys.readouterr()
    assert check(run) == 0
    out = capsys.readouterr().out
    assert "1 cell compared" in out and "0 worse, 1 better, 0 within noise, 1 new" in out
    assert check(run, "--verbose") == 0 and "better toy on set, jpeg:70" in capsys.readouterr().out
    assert check(run, "--markdown") == 0 and "| better | toy | set | jpeg:70 | native auc |" in capsys.readouterr().out


def test_the_summary_states_what_could_be_found(tmp_path, check, old, capsys):
    check(make_run(tmp_path / "old", old), "--update")
    noise = np.random.default_rng(4).normal(0, 0.05, 40)
    capsys.readouterr()
    assert check(make_run(tmp_path / "new", old + noise), "--json") == 0
    (verdict,) = json.loads(capsys.readouterr().out)["verdicts"]
    assert check(make_run(tmp_path / "new", old + noise)) == 0
    assert f"{verdict['detectable']:.4f} (median cell)" in capsys.readouterr().out
    lost = verdict["detectable"] + 0.01
    assert check(make_run(tmp_path / "new", old + noise - noise.mean() - lost)) == 1


def test_a_smaller_value_is_better_where_the_metric_says_so(tmp_path, check, old, monkeypatch):
    metric = METRICS["auc"]
    monkeypatch.setitem(METRICS, "auc", dataclasses.replace(metric, direction="down"))
    check(make_run(tmp_path / "old", old), "--update")
    assert check(make_run(tmp_path / "new", old - 0.05)) == 0
    assert check(make_run(tmp_path / "new", old + 0.05)) == 1


def test_metrics_are_chosen(tmp_path, check, old, capsys):
    run = make_run(tmp_path / "old", old, metric="iou", protocol="mpc")
    assert check(run, "--update") == 2  # nothing of the kept metrics
    assert check(run, "--update", "--metrics", "mpc.iou") == 0
    assert check(run) == 0 and check(run, "--metrics", "mpc.iou") == 0
    capsys.readouterr()
    for names, hint in (
        ("native.auc", "no value of native.auc"),
        ("nativ.auc", "did you mean 'native'"),
        ("native.auk", "did you mean 'auc'"),
        ("native.image_auc", "one value a test set"),
    ):
        assert check(run, "--metrics", names) == 2
        assert hint in capsys.readouterr().err


def test_junit_has_numbers_and_survives_hostile_names(tmp_path, check, old):
    model = "t\x01oy <&> |`"
    check(make_run(tmp_path / "old", old, model=model), "--update")
    new = make_run(tmp_path / "new", old - 0.05, model=model)
    assert check(new, "--junit", str(tmp_path / "check.xml")) == 1
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "check.xml"))
    (case,) = suite
    numbers = {p.name: p.value for p in case.child(junitparser.Properties)}
    assert float(numbers["change"]) == pytest.approx(-0.05, abs=1e-6) and numbers["n"] == "40"
    assert numbers["outcome"] == "worse" and "<&>" in case.classname


# ------------------------------------------------------------------------------------------------- with real runs


@pytest.fixture
def bench(photo_folder, monkeypatch):
    """run(name, mood): a run of the toy localizer Moody on eight photos; check(name, ...): it against a reference."""
    for i in range(4, 8):
        for kind in ("images", "masks"):
            shutil.copy(photo_folder / kind / f"image{i - 4}.png", photo_folder / kind / f"image{i}.png")

    class Bench:
        root = photo_folder

        def run(self, name, mood="1", *more):
            monkeypatch.setenv("TOY_MOOD", mood)
            data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
            words = ["run", "--models", "toy_localizers:Moody,ela", "--data", data, "--perturbations", "clean"]
            return main([*words, "--workers", "1", "--out", str(photo_folder / name), *more])

        def check(self, name, *more):
            return main(["check", str(photo_folder / name), "--against", str(photo_folder / "ref.json"), *more])

    return Bench()


def test_a_localizer_that_fails_everywhere_is_worse(bench, capsys):
    bench.run("good")
    assert bench.check("good", "--update") == 0 and bench.check("good") == 0
    bench.run("bad", "fails")
    capsys.readouterr()
    assert bench.check("bad", "--junit", str(bench.root / "check.xml")) == 1
    out, err = capsys.readouterr()
    assert out.count("8 images are no longer scored (RuntimeError: no mood)") == 3
    assert "WORSE" in out and "--update" not in out + err
    (suite,) = junitparser.JUnitXml.fromfile(str(bench.root / "check.xml"))
    assert suite.failures == 3 and suite.errors == 0
    assert "no mood" in next(case for case in suite if case.result).result[0].message


def test_a_reference_is_not_made_from_failures(bench, capsys):
    bench.run("good")
    bench.check("good", "--update")
    before = (bench.root / "ref.json").read_bytes()
    bench.run("bad", "fails")
    capsys.readouterr()
    assert bench.check("bad", "--update") == 2
    assert "no mood" in capsys.readouterr().err and (bench.root / "ref.json").read_bytes() == before
    assert bench.check("bad", "--update", "--allow-failures") == 0
    assert "24 values gone" in capsys.readouterr().out


def test_an_update_says_what_it_changes(bench, capsys):
    bench.run("good")
    bench.check("good", "--update")
    bench.run("weak", "0.4")  # all probabilities below one half: F1 is lost, the ranking stays
    assert bench.check("weak") == 1
    capsys.readouterr()
    assert bench.check("weak", "--update") == 0
    out = capsys.readouterr().out
    assert "8 values lower; largest change -1.0000" in out and "ela" not in out
    assert bench.check("weak") == 0


def test_images_that_were_not_run_cannot_be_compared(bench, capsys):
    bench.run("good")
    bench.check("good", "--update")
    bench.run("short", "1", "--limit", "3")
    capsys.readouterr()
    assert bench.check("short") == 2
    out, err = capsys.readouterr()
    assert "5 of 8 images not run" in out and "the run lacks" in err
