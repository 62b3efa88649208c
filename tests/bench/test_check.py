"""`bench check`: silent on noise, loud on a real loss, exit code 2 where nothing can be compared."""

import json

import junitparser
import numpy as np
import pandas as pd
import pytest

from bench.check import CELL
from bench.cli import main

ABOUT = {"versions": {}, "revision": "", "started": "", "request": {"seed": 0}}


def make_run(folder, auc, model="toy"):
    """A run folder with these AUC values of images a0, a1, ... under one cell."""
    folder.mkdir(exist_ok=True)
    rows = [
        (model, "set", f"a{i}", f"a{i}", True, "jpeg", "70", "jpeg:70", 0, "native", "auc", v)
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
