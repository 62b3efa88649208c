"""`bench report`: from run folders to files, and what it refuses."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.cli import main


@pytest.fixture
def run_folder(photo_folder, monkeypatch):
    """A finished run of a toy localizer on the made folder under one JPEG level."""
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    out = photo_folder / "runs" / "mine"
    words = ["run", "--models", "toy_localizers:Redness,mpc-catnet", "--data", data, "--perturbations", "jpeg:60"]
    monkeypatch.setenv("BENCH_WEIGHTS", str(photo_folder / "none"))
    assert main([*words, "--out", str(out), "--workers", "1"]) == 0
    return out


def test_files_and_their_numbers(run_folder, capsys):
    capsys.readouterr()
    assert main(["report", str(run_folder), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)
    assert {file.rpartition(".")[2] for file in files} >= {"html", "csv", "tex"}
    assert not (run_folder / "report" / "figures").exists()
    summary = pd.read_csv(run_folder / "report" / "tables" / "summary.csv", dtype={"level": str})
    row = summary.query("metric == 'f1' and protocol == 'native' and spec == 'identity'").iloc[0]
    assert (row["mean"], row["n"]) == (1.0, 4)  # the toy localizer finds the red pixels without a mistake
    page = (run_folder / "report" / "report.html").read_text()
    assert "MPC_CATNet_stage2_weights.pth" in page  # the skipped localizer is on the page, with where to get it


def test_figures_are_drawn_where_they_are_asked_for(run_folder, capsys):
    capsys.readouterr()
    assert main(["report", str(run_folder), "--figures", "--json"]) == 0
    assert {file.rpartition(".")[2] for file in json.loads(capsys.readouterr().out)} >= {"pdf", "png"}
    assert main(["report", str(run_folder), "--formats", "svg", "--json"]) == 0
    drawn = [file for file in json.loads(capsys.readouterr().out) if "/figures/" in file]
    assert drawn and all(file.endswith(".svg") for file in drawn)


def test_a_report_imports_neither_networks_nor_what_draws(run_folder):
    """They are most of the seconds of a small report."""
    heavy = ("torch", "sklearn", "seaborn", "matplotlib", "scipy.stats", "scipy.optimize")
    code = f"import sys; from bench.cli import main; main(['report', {str(run_folder)!r}]); "
    code += f"print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_the_verdict_of_the_audit_and_levels_that_change_nothing_reach_the_page(photo_folder, monkeypatch):
    """From a kept verdict through run.json to the page; a gamma of 1 changes no image."""
    monkeypatch.setattr("bench.data.verdicts.kept", lambda fingerprint: f"leaks: {fingerprint[:4]}")
    data, out = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}", photo_folder / "run"
    words = ["run", "--models", "toy_localizers:Redness", "--data", data, "--perturbations", "clean;gamma:1"]
    assert main([*words, "--out", str(out), "--workers", "1"]) == 0
    about = json.loads((out / "run.json").read_text())
    assert about["test_sets"][0]["audit"] == f"leaks: {about['test_sets'][0]['digest'][:4]}"
    assert main(["report", str(out)]) == 0
    page = (out / "report" / "report.html").read_text()
    assert about["test_sets"][0]["audit"] in page
    images = about["test_sets"][0]["n_tampered"] + about["test_sets"][0]["n_authentic"]
    assert f"<td>{images} of {images} images</td>" in page


def test_regions_of_a_few_pixels_are_said_to_be_too_few(photo_folder):
    for mask in (photo_folder / "masks").iterdir():
        values = np.zeros((48, 64), np.uint8)
        values[10:15, 20:26] = 255
        Image.fromarray(values).save(mask)
    data, out = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}", photo_folder / "run"
    words = ["run", "--models", "toy_localizers:Redness", "--data", data, "--perturbations", "clean;crop:0.5"]
    assert main([*words, "--out", str(out), "--workers", "1"]) == 0
    assert main(["report", str(out)]) == 0
    page = (out / "report" / "report.html").read_text()
    assert "The median forged region has 30 pixels: too few to judge." in page


def test_published_numbers_stand_beside_those_of_a_folder_of_a_known_name(photo_folder):
    folder, out = photo_folder / "coverage", photo_folder / "run"
    folder.mkdir()
    data = f"folder:{(photo_folder / 'images').rename(folder / 'images')},{photo_folder / 'masks'}"
    words = ["run", "--models", "noi2,toy_localizers:Redness", "--data", data, "--perturbations", "clean"]
    words += ["--protocols", "native,mpc"]
    assert main([*words, "--out", str(out), "--workers", "1"]) == 0
    about = json.loads((out / "run.json").read_text())
    assert about["test_sets"][0]["card"] == "" and about["models"][0]["own_weights"] is False
    assert main(["report", str(out)]) == 0
    page = (out / "report" / "report.html").read_text()
    assert "The images here are a folder called coverage." in page
    rows = json.loads((out / "report" / "tables" / "published.json").read_text())
    printed = {(row["source"].partition(" (")[0], row["metric"], row["published"]) for row in rows}
    assert {("FOCAL", "f1", 0.481), ("FOCAL", "iou", 0.125)} <= printed  # Lyu-NOI in its Table II
    assert all(row["model"] == "noi2" and row["difference"] is None for row in rows)


def test_the_latest_run_is_the_default(run_folder, monkeypatch):
    monkeypatch.chdir(run_folder.parents[1])
    assert main(["report"]) == 0
    assert (run_folder / "report" / "report.html").stat().st_size > 50_000


def test_two_runs_of_one_name_are_refused(run_folder, capsys):
    assert main(["report", str(run_folder), str(run_folder)]) == 2
    assert "mine is given twice" in capsys.readouterr().err


def test_a_run_under_an_older_version_of_a_protocol_is_shown_as_such_and_alone(run_folder, capsys):
    older = run_folder.with_name("older")
    shutil.copytree(run_folder, older)
    about = json.loads((older / "run.json").read_text())
    about["protocols"][0]["version"] = 1
    (older / "run.json").write_text(json.dumps(about))
    assert main(["report", str(older)]) == 0
    summary = pd.read_csv(older / "report" / "tables" / "summary.csv")
    assert set(summary["protocol_version"]) == {1}
    assert main(["report", str(older), str(run_folder)]) == 2
    assert "older was measured under native@1, mine under native@2" in capsys.readouterr().err
    (older / "results.csv").unlink()
    assert main(["report", str(older)]) == 2
    assert "this is native@2; run the same" in capsys.readouterr().err


def test_an_unfinished_run_is_shown_from_its_evidence_and_says_so(run_folder):
    about = json.loads((run_folder / "run.json").read_text())
    (run_folder / "run.json").write_text(json.dumps({**about, "finished": None}))
    (run_folder / "results.csv").write_text("an older run's")
    assert main(["report", str(run_folder)]) == 0
    assert "This run is not finished" in (run_folder / "report" / "report.html").read_text()
    summary = pd.read_csv(run_folder / "report" / "tables" / "summary.csv", dtype={"level": str})
    assert summary.query("metric == 'f1' and spec == 'identity'")["mean"].tolist() == [1.0]


def test_a_table_that_was_edited_is_not_taken(run_folder):
    assert main(["report", str(run_folder)]) == 0
    summary = (run_folder / "report" / "tables" / "summary.csv").read_text()
    table = run_folder / "results.csv"
    table.write_text(table.read_text().replace(',"auc",1', ',"auc",7'))
    assert main(["report", str(run_folder)]) == 0
    assert (run_folder / "report" / "tables" / "summary.csv").read_text() == summary
