"""Published numbers beside measured ones: which meet, what the difference is, and why there is none."""

import csv
import dataclasses
import html
import json
import re

import pytest
from synthetic_run import beside_published, make_run, published_number

from reports import page as pages
from reports import tables
from reports.comparison import compare
from reports.published import beside, elsewhere, known_sets
from reports.words import score, signed


@pytest.fixture(scope="module")
def run():
    return beside_published()


@pytest.fixture(scope="module")
def comparison(run):
    return compare([run])


@pytest.fixture(scope="module")
def page(comparison, tmp_path_factory):
    return built(comparison, tmp_path_factory.mktemp("published"))


def built(comparison, folder):
    pages.write(folder, comparison, pages.Settings(single_mb=0.1))
    return (folder / "report.html").read_text(encoding="utf-8")


def measured(run, model, metric, spec="identity", test_set="casia1"):
    rows = run.summary.query(
        "model == @model and metric == @metric and spec == @spec and test_set == @test_set and protocol == 'native'"
    )
    return rows.iloc[0]


def one(pairs, **where):
    found = [pair for pair in pairs if all(pair[key] == value for key, value in where.items())]
    assert len(found) == 1
    return found[0]


def test_the_difference_is_measured_minus_published_where_both_are_comparable(run, comparison):
    pairs = beside(comparison, "casia1")
    for metric, printed in (("f1", 0.745), ("iou", 0.686)):
        pair = one(pairs, model="mpc-catnet", metric=metric, spec="identity", comparable=True)
        row = measured(run, "mpc-catnet", metric)
        assert (pair["published"], pair["mean"], pair["n"]) == (printed, row["mean"], 20)
        assert pair["difference"] == pytest.approx(row["mean"] - printed)
        assert pair["within_interval"] == (row["low"] <= printed <= row["high"])
    assert sum(pair["comparable"] for pair in pairs) == 2


def test_what_is_not_comparable_says_why_and_has_no_difference(comparison):
    pairs = beside(comparison, "casia1")
    reasons = {(pair["model"], pair["published"]): pair["why_not"] for pair in pairs if not pair["comparable"]}
    assert reasons == {
        ("mpc-catnet", 0.824): ["other weights, trained on: <NIST> & CASIA"],
        ("mpc-catnet", 0.7): ["encoder not stated"],
        ("trufor", 0.696): ["920 images there, 20 here"],
        ("trufor", 0.737): ["its number of images is not stated"],
    }
    assert all(p["difference"] is None and p["within_interval"] is None for p in pairs if not p["comparable"])


def test_featured_localizers_come_first_and_comparable_numbers_before_others(comparison):
    pairs = beside(comparison, "casia1")
    assert [line.model for line in comparison.lines] == ["ela", "trufor", "mpc-catnet"]
    assert [pair["model"] for pair in pairs] == ["mpc-catnet"] * 4 + ["trufor"] * 2
    assert [pair["published"] for pair in pairs[:2]] == [0.745, 0.824]


def test_a_folder_of_the_same_name_is_never_comparable(comparison):
    (pair,) = beside(comparison, "columbia")
    assert pair["folder"] and pair["n"] == pair["images"] == 5
    assert pair["why_not"] == ["the images here are a folder called columbia, not known to be the official set"]
    assert pair["difference"] is None


def test_own_weights_and_missing_values_are_reasons():
    run = beside_published()
    cards = tuple(dataclasses.replace(c, own_weights=c.name == "mpc-catnet") for c in run.localizers)
    nothing = (run.summary["model"] == "trufor") & (run.summary["metric"] == "f1")
    summary = run.summary.copy()
    summary.loc[nothing, ["mean", "low", "high"]] = float("nan")
    run = dataclasses.replace(run, localizers=cards, summary=summary)
    pairs = beside(compare([run]), "casia1")
    assert one(pairs, published=0.745)["why_not"] == ["measured here with the user's own weights"]
    assert one(pairs, published=0.737)["why_not"] == ["no value here"]
    assert one(pairs, published=0.737)["mean"] is None


def test_what_was_not_measured_is_kept_apart(comparison):
    left = {(record["method"], record["value"]) for record in elsewhere(comparison, "casia1")}
    assert left == {("MPC", 0.709), ("CAT-Net", 0.71), ("PIM", 0.566)}
    assert elsewhere(comparison, "casia1")[0]["method"] == "MPC"
    assert elsewhere(comparison, "columbia") == []


def test_two_runs_each_stand_beside_the_same_number():
    first = beside_published()
    second = dataclasses.replace(first, label="again")
    pairs = [pair for pair in beside(compare([first, second]), "casia1") if pair["published"] == 0.745]
    assert [pair["run"] for pair in pairs] == ["default run", "again"]
    assert len(elsewhere(compare([first, second]), "casia1")) == 3


def rows_of(page, number):
    """Texts of the cells of each row of a set's table; a measured number spans several rows."""
    section = re.search(rf'<section class="published" id="published-{number}">(.*?)</section>', page, re.S)[1]
    table = re.search(r'<table class="plain beside">(.*?)</table>', section, re.S)[1]
    clean = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)]
    return section, [[re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", c))).strip() for c in r] for r in clean]


def test_page_lays_published_beside_measured(run, page):
    section, rows = rows_of(page, 0)
    row = measured(run, "mpc-catnet", "f1")
    low, high, mean = (score(row[name]) for name in ("low", "high", "mean"))
    within = "within" if row["low"] <= 0.745 <= row["high"] else "outside"
    assert rows[1] == [
        *("mpc-catnet", "unperturbed", "Pixel F1 native v1", f"{mean} [{low}, {high}] n 20", ".745"),
        *(f"{signed(row['mean'] - 0.745)} {within} the interval", "MPC released weights [1]", ""),
    ]
    assert rows[2] == [".824", "–", "MPC retrained weights [2]", "other weights, trained on: <NIST> & CASIA"]
    assert "2 of 6 are comparable" in section and "Nothing is published of ela" in section
    assert "3 published numbers on this set of what was not measured here" in section
    assert "folder called" not in section
    notes = re.findall(r'<li id="source-0-\d+">(.*?)</li>', section, re.S)
    assert "MPC arXiv:2406.13565v1 Table 4. pixel F1, threshold .5, 20 images" in notes[0]


def test_page_says_that_a_folder_is_one(page):
    section, rows = rows_of(page, 1)
    assert "The images here are a folder called columbia." in section
    assert rows[1][5] == "–"


def test_sets_without_published_numbers_have_no_such_table(tmp_path):
    comparison = compare([make_run(models=("mpc",), sets={"builtin": (2, 0)}, specs=["identity"])])
    assert known_sets(comparison) == []
    (tmp_path / "page").mkdir()
    assert 'class="published"' not in built(comparison, tmp_path / "page")
    assert not [file for file in tables.write(tmp_path, comparison) if file.stem.startswith("published")]


def test_csv_and_json_hold_the_same_rows(comparison, tmp_path):
    files = {file.name for file in tables.write(tmp_path, comparison)}
    assert {"published.csv", "published.json", "published-casia1.tex", "published-columbia.tex"} <= files
    rows = json.loads((tmp_path / "published.json").read_text())
    with open(tmp_path / "published.csv", newline="") as file:
        flat = list(csv.DictReader(file))
    assert len(rows) == len(flat) == 7
    for row, text in zip(rows, flat, strict=True):
        assert text["why_not"] == "; ".join(row["why_not"])
        assert float(text["published"]) == row["published"]
        assert text["difference"] == "" if row["difference"] is None else float(text["difference"]) == row["difference"]
        assert text["images"] == ("" if row["images"] is None else str(row["images"]))
    assert one(rows, published=0.745)["difference"] == pytest.approx(one(rows, published=0.745)["mean"] - 0.745)


def test_latex_has_a_row_a_published_number_and_a_note_for_every_letter(run, comparison):
    pairs = beside(comparison, "casia1")
    text = tables.latex_published(comparison, "casia1", pairs)
    row = measured(run, "mpc-catnet", "f1")
    numbers = (
        f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}] & 20 & 0.745 & [1] & ${row['mean'] - 0.745:+.3f}$"
    )
    assert rf"mpc-catnet & unperturbed & Pixel F1 (native) & {numbers} &  \\" in text
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(lines) == 1 + len(pairs) and {line.count(" & ") for line in lines} == {8}
    assert "(a) other weights, trained on: \\textless{}NIST\\textgreater{} \\& CASIA." in text
    used = set(re.findall(r"\(([a-z])\)", "".join(lines)))
    assert used == set(re.findall(r"\(([a-z])\) ", text.split(r"\parbox")[1])) == set("abcd")


def test_long_latex_tables_are_spread_over_pages(run):
    run = make_run(models=("mpc-catnet",), sets={"casia1": (3, 0)}, specs=["identity"])
    numbers = tuple(published_number(value=i / 100, source=f"Paper {i}") for i in range(90))
    run = dataclasses.replace(run, published=numbers)
    comparison = compare([run])
    text = tables.latex_published(comparison, "casia1", beside(comparison, "casia1"))
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == text.count(r"\end{tabular}") == 3
    assert text.count(r"\parbox") == 1
