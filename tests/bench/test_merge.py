"""`bench merge`: runs measured apart give the table of one run that measured all; what does not fit is refused."""

import json

import pandas as pd
import pytest

from bench.cli import main
from bench.results import read


@pytest.fixture
def run(photo_folder, tmp_path):
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"

    def call(name, models, perturbations="clean", *more):
        words = ["run", "--models", models, "--data", data, "--perturbations", perturbations, *more]
        assert main([*words, "--out", str(tmp_path / name), "--workers", "1"]) == 0
        return str(tmp_path / name)

    return call


def ordered(folder):
    table = read(folder)
    return table.sort_values(list(table.columns[:-1])).reset_index(drop=True)


def test_parts_joined_are_the_whole(run, tmp_path, capsys):
    one = run("one", "toy_localizers:Redness", "jpeg:70")
    two = run("two", "ela", "jpeg:70;noise:5")
    both = run("both", "toy_localizers:Redness", "jpeg:70")
    run("both", "ela", "jpeg:70;noise:5")  # a second request adds to the folder
    assert main(["merge", one, two, "--out", str(tmp_path / "merged")]) == 0
    pd.testing.assert_frame_equal(ordered(tmp_path / "merged"), ordered(both))
    about = json.loads((tmp_path / "merged" / "run.json").read_text())
    assert {m["name"] for m in about["models"]} == {"toy_localizers:Redness", "ela"} and about["cells"]["ok"] == 20
    assert main(["report", str(tmp_path / "merged")]) == 0
    assert main(["merge", one, two, "--out", str(tmp_path / "merged")]) == 2  # never over a run
    capsys.readouterr()


def test_a_merged_folder_can_be_continued(run, tmp_path):
    one, two = run("one", "toy_localizers:Redness"), run("two", "ela")
    main(["merge", one, two, "--out", str(tmp_path / "merged")])
    run("merged", "toy_localizers:Redness,ela", "clean;jpeg:50")
    cells = json.loads((tmp_path / "merged" / "run.json").read_text())["cells"]
    assert (cells["asked"], cells["computed"], cells["reused"]) == (16, 8, 8)


@pytest.mark.parametrize(
    ("models", "more", "words"),
    [
        ("ela", ["--seed", "1"], "seed"),
        ("ela", ["--limit", "2"], "limit"),
        ("x=toy_localizers:Redness?gain=0.5", [], "x"),
    ],
)
def test_runs_that_do_not_fit_are_refused(run, tmp_path, capsys, models, more, words):
    one, two = run("one", "x=toy_localizers:Redness"), run("two", models, "clean", *more)
    assert main(["merge", one, two, "--out", str(tmp_path / "merged")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "merged" / "run.json").exists()
