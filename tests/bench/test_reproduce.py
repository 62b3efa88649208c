"""`bench reproduce`: rows that agree, differ with or without a cause, or cannot be measured; the suite's own rows."""

import json
import tomllib

import pytest

from bench.cli import main
from bench.data.spec import find_card
from bench.published import load_published
from bench.reproduce import FOLDER, Number, known, load
from bench.results import read

ROW = """
title = "Redness on the made photos"
source = "Nobody, Nowhere 2026, Table 1"
model = "toy_localizers:Redness"
weights = "none"
data = "folder"
protocol = "{protocol}"
least = {least}
n_printed = 4

[[number]]
metric = "{metric}"
printed = {printed}
cause = "{cause}"
"""


@pytest.fixture
def row(photo_folder, tmp_path, capsys):
    """Writes a row about the made photos, where the toy's F1 is 1, and reproduces it: (exit code, output, errors)."""

    def call(printed=1.0, cause="", metric="f1", protocol="native@2", least=4, words=("--json",)):
        file = tmp_path / "toy.toml"
        file.write_text(
            ROW.format(printed=printed, cause=cause, metric=metric, protocol=protocol, least=least), encoding="utf-8"
        )
        root = f"{photo_folder / 'images'},{photo_folder / 'masks'}"
        code = main(["reproduce", str(file), "--root", root, "--out", str(tmp_path / "run"), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_number_that_agrees(row, tmp_path):
    code, out, _ = row(printed=0.99)
    found = json.loads(out)
    (number,) = found["numbers"]
    values = read(tmp_path / "run").query("protocol == 'native' and metric == 'f1' and image != '*'")["value"]
    assert code == 0 and number["outcome"] == "agrees"
    assert (number["mean"], number["n"], number["n_asked"]) == (values.mean(), len(values), 4)
    assert number["difference"] == pytest.approx(0.01) and number["low"] <= number["mean"] <= number["high"]
    assert found["fingerprint"] and found["identity"] and found["protocol"] == "native@2"


def test_a_number_that_differs_needs_a_cause(row):
    code, out, _ = row(printed=0.97)
    assert code == 1 and json.loads(out)["numbers"][0]["outcome"] == "differs"
    code, out, _ = row(printed=0.97, cause="the source scores another picture", words=())
    assert code == 0 and "differs, cause stated" in out and "the source scores another picture" in out
    assert "the source counts 4" in out and "toy_localizers:Redness" in out


def test_a_metric_without_a_meaning_for_the_map_is_undefined(row, tmp_path, photo_folder, capsys):
    """noi2's scores are unbounded: F1 at .5 has no value, best F1 has one, and the row is measured all the same."""
    text = ROW.format(printed=0.2, cause="CAUSE", metric="f1", protocol="trufor@1", least=4)
    text = text.replace("toy_localizers:Redness", "noi2") + '[[number]]\nmetric = "best_f1"\nprinted = 0.5\n'
    root, out = f"{photo_folder / 'images'},{photo_folder / 'masks'}", tmp_path / "noi2"
    outcomes = []
    for cause in ("no threshold", ""):
        (tmp_path / "noi2.toml").write_text(text.replace("CAUSE", cause), encoding="utf-8")
        main(["reproduce", str(tmp_path / "noi2.toml"), "--root", root, "--out", str(out), "--json"])
        f1, best = json.loads(capsys.readouterr().out)["numbers"]
        outcomes.append(f1["outcome"])
        assert (f1["mean"], f1["difference"], f1["n"], best["n"]) == (None, None, 0, 4)
    assert outcomes == ["undefined, cause stated", "undefined"]


def test_what_is_measured_is_not_measured_again(row, tmp_path):
    row()
    row(printed=0.5)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["cells"]["computed"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "native@99"}, "native@99"),
        ({"protocol": "nativ@1"}, "native"),
        ({"metric": "best_f2"}, "did you mean 'best_f1'"),
        ({"least": 5}, "are usable and the row is of 5"),
        ({"printed": "true"}, "number[0].printed"),
    ],
)
def test_a_row_that_cannot_be_measured(row, change, words):
    code, out, err = row(**change)
    assert code == 2 and words in err and not out


def test_weights_that_are_absent_are_named(photo_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "none"))
    file = tmp_path / "toy.toml"
    text = ROW.format(printed=1.0, cause="", metric="f1", protocol="native@2", least=4)
    file.write_text(text.replace("toy_localizers:Redness", "mpc-catnet"), encoding="utf-8")
    root = f"{photo_folder / 'images'},{photo_folder / 'masks'}"
    assert main(["reproduce", str(file), "--root", root, "--out", str(tmp_path / "run")]) == 2
    assert "MPC_CATNet_stage2_weights.pth" in capsys.readouterr().err


def test_names(capsys):
    assert main(["reproduce", "trufor-splicebuster-columbi"]) == 2
    assert "trufor-splicebuster-columbia" in capsys.readouterr().err
    assert main(["reproduce", "trufor-splicebuster-columbia"]) == 2
    assert "--root" in capsys.readouterr().err
    assert main(["reproduce", "--list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == known()


def test_half_a_unit_of_the_last_digit_is_rounding():
    assert Number("f1", 0.587).rounding == pytest.approx(0.0005)
    assert Number("f1", 0.4).rounding == pytest.approx(0.05)


@pytest.mark.parametrize("name", known())
def test_the_rows_of_the_suite_are_those_that_were_printed(name):
    """Against published.csv, which was made from the papers without these files."""
    stated = load(name)
    stated.rule()
    card = find_card(stated.data)
    printed = {
        (number.metric_here if number.metric_here != "f1" or "best" not in number.protocol else "best_f1", number.value)
        for number in load_published()
        if number.model == stated.model.partition("?")[0] and number.source.lower().startswith(name.partition("-")[0])
        and not number.perturbation and number.test_set.lower() == card.name
    }  # fmt: skip
    assert printed and {(number.metric, number.printed) for number in stated.number} <= printed
    assert tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))["title"] == stated.title
