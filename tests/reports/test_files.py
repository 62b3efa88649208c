import csv
import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_run import SPECS, make_run, outcome

import reports
from reports import figures, tables
from reports.comparison import compare
from reports.view import EVERY_SET


@pytest.fixture(scope="module")
def small():
    return compare([make_run(models=("mpc", "ela"), sets={"builtin": (3, 0)}, specs=SPECS[:4])])


def plan_of(comparison, test_set, metric, **look):
    found = list(figures.plans(comparison, figures.Look(everything=True, **look)))
    return next(plan for plan in found if (plan.test_set, plan.metric.name) == (test_set, metric))


def test_headline_figures_are_real_files(written):
    main = {f"{s}-auc-native-{kind}" for s in ("builtin", "field") for kind in ("distribution", "psnr", "ranks")}
    both = {
        f"{s}-{m}-native-{kind}" for s in ("builtin", "field") for m in ("auc", "f1") for kind in ("curves", "heatmap")
    }
    stems = main | both | {f"builtin-image_auc-native-{kind}" for kind in ("curves", "heatmap")}
    for suffix, magic in ((".pdf", b"%PDF-"), (".png", b"\x89PNG")):
        files = {f.stem: f for f in (written / "figures").glob(f"*{suffix}")}
        assert set(files) == stems
        for file in files.values():
            content = file.read_bytes()
            assert content.startswith(magic) and len(content) > 5_000
    with Image.open(written / "figures" / "field-auc-native-curves.png") as image:
        colours = {colour for count, colour in image.convert("RGB").getcolors(1 << 24) if count > 100}
    bright = {tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in figures.COLOURS[:7]}
    assert len(bright & colours) == 5  # seven lines: the best five in colour


def test_curves_draw_the_summary(small):
    plan = plan_of(small, "builtin", "auc")
    figure = figures.curves(plan, list(small.families))
    jpeg = next(axis for axis in figure.axes if axis.get_title(loc="left") == "jpeg")
    block = small.block("builtin", "auc", "native")
    specs = ["identity", "jpeg:90", "jpeg:70", "jpeg:50"]
    for line, drawn in zip(small.lines, jpeg.lines, strict=False):
        np.testing.assert_array_equal(drawn.get_ydata(), [block.loc[(line.index, s), "mean"] for s in specs])
    assert [t.get_text() for t in jpeg.get_xticklabels()] == ["none", "90", "70", "50"]
    assert (jpeg.get_xlabel(), jpeg.get_ylabel()) == ("quality factor", "Pixel AUC")
    assert figure._suptitle is None


def test_heat_map_holds_the_means_best_first(small):
    figure = figures.heatmap(plan_of(small, "builtin", "auc"))
    block = small.block("builtin", "auc", "native")["mean"]
    texts = [t.get_text() for t in figure.axes[0].texts]
    order = sorted(small.lines, key=lambda line: -block[line.index].mean())
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [line.label for line in order]
    assert texts == [f"{block[line.index, c.spec]:.2f}".lstrip("0") for line in order for c in small.conditions]


@pytest.mark.parametrize("width", [3.4, 7.0, 5.25])
def test_figures_have_the_width_that_is_asked_for_and_eight_points(small, width):
    with figures.mpl.rc_context(figures.STYLE):
        figure = figures.curves(plan_of(small, "builtin", "auc", width=width), list(small.families))
    assert figure.get_figwidth() == width
    assert figure.axes[0].yaxis.label.get_fontsize() == 8


def test_choices_narrow_the_figures(small, tmp_path):
    look = figures.Look(models=("mpc",), metrics=("iou",), families=True, formats=("svg",), serif=True)
    files = figures.write(tmp_path, small, look)
    assert {f.name for f in files if "curves" in f.name} == {"builtin-iou-native-curves-jpeg.svg"}
    with pytest.raises(StopIteration):
        next(figures.plans(small, figures.Look(models=("nobody",))))


def test_figures_are_the_same_bytes_every_time(small, tmp_path):
    look = figures.Look(metrics=("auc",), formats=("pdf", "png", "svg"))
    first, second = (figures.write(tmp_path / name, small, look) for name in ("a", "b"))
    assert len(first) >= 12
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


def test_a_dollar_in_a_name_is_a_dollar(tmp_path):
    run = make_run(models=("mpc", "ela"), sets={r"x_$\frac$_y": (3, 1)}, specs=SPECS[:3])
    summary, standings = (
        t.assign(model=t["model"].replace("ela", "cost $5 to $6")) for t in (run.summary, run.standings)
    )
    results, cells = (t.assign(model=t["model"].replace("ela", "cost $5 to $6")) for t in (run.results, run.cells))
    run = dataclasses.replace(run, summary=summary, standings=standings, results=results, cells=cells)
    files = reports.write(tmp_path / "report", [run], options=reports.Options(figures=True, formats=("svg", "pdf")))
    assert any(f.suffix == ".pdf" for f in files)
    with figures.mpl.rc_context(figures.STYLE):
        figure = figures.heatmap(plan_of(compare([run]), r"x_$\frac$_y", "auc"))
        labels = figure.axes[0].get_yticklabels()
        assert "cost $5 to $6" in [t.get_text() for t in labels] and not any(t.get_parse_math() for t in labels)


def test_summary_csv_round_trip(run, written):
    with open(written / "tables" / "summary.csv", encoding="utf-8", newline="") as file:
        table = pd.DataFrame(csv.DictReader(file))  # Python reads numbers to the last digit, pandas 2 does not
    assert list(table.columns) == tables.SUMMARY_COLUMNS
    assert len(table) == len(run.summary)
    for column in ("mean", "low", "high", "n", "n_failed", "rank"):
        read = [float(text or "nan") for text in table[column]]
        np.testing.assert_array_equal(read, run.summary[column].to_numpy(float))
    versions = table.groupby("protocol")["protocol_version"].unique().map(list).to_dict()
    assert versions == {"native": ["1"], "polarity-free": ["2"]}


def test_names_with_line_ends_come_back_from_the_tables(tmp_path):
    run = make_run(models=("mpc",), sets={"a\rb": (2, 0), "a\nb": (2, 0)}, specs=["identity"])
    files = tables.write(tmp_path, compare([run]))
    table = pd.read_csv(tmp_path / "summary.csv", keep_default_na=False, lineterminator="\n", dtype=str)
    assert set(table["test_set"]) == {"a\rb", "a\nb"} and len(table) == len(run.summary)
    assert len(set(files)) == len(files)


def test_names_that_look_alike_have_files_of_their_own(tmp_path):
    sets = ["a b", "a+b", "a_b", "日本", "中国", "..", "x" * 200, "x" * 201]
    run = make_run(models=("mpc",), sets=dict.fromkeys(sets, (2, 0)), specs=["identity"])
    files = reports.write(tmp_path / "report", [run])
    assert len({f.resolve() for f in files}) == len(files) and all(f.is_file() for f in files)
    for test_set in sets:
        block = pd.read_csv(
            tmp_path / "report/tables" / f"{tables.file_stem(test_set, 'auc', 'native')}.csv", dtype=str
        )
        assert set(block["test_set"]) == {test_set}
    assert len(list((tmp_path / "report" / "tables").glob("*-auc-native.tex"))) == len(sets) + 1  # and of all sets


def test_every_headline_block_has_a_csv_and_a_latex_table(run, written, tmp_path):
    headline = {
        "builtin-auc-native",
        "field-auc-native",
        "builtin-f1-native",
        "field-f1-native",
        "builtin-image_auc-native",
    }
    assert {f.stem for f in (written / "tables").glob("*-*.csv")} == headline
    together = {"all-sets-auc-native", "all-sets-f1-native", "all-sets-image_auc-native"}
    assert {f.stem for f in (written / "tables").glob("*-*.tex")} == headline | together
    tables.write(tmp_path, compare([run]), everything=True)
    blocks = run.summary[["test_set", "metric", "protocol"]].drop_duplicates()
    assert {f.stem for f in tmp_path.glob("*-*.csv")} == {
        "-".join(b) for b in blocks.itertuples(index=False, name=None)
    }


def test_cost_is_the_median_over_successful_cells(run, written):
    table = pd.read_csv(written / "tables" / "cost.csv").set_index("model")
    scored = run.cells[(run.cells["model"] == "zero") & (run.cells["status"] == "ok")]
    assert table.loc["zero", "seconds_median"] == pytest.approx(np.median(scored["seconds"]))
    assert table.loc["zero", "peak_mb"] == pytest.approx(scored["peak_mb"].max())
    assert (table.loc["zero", "n"], table.loc["zero", "n_failed"]) == (len(scored), 4)


def balanced(text):
    """Whether braces, environments and the cells of every row fit together."""
    plain = re.sub(r"\\[\\{}%&$#_]", "", text)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    opened, closed = (re.findall(rf"\\{word}\{{(\w+\*?)\}}", text) for word in ("begin", "end"))
    assert depth == 0 and opened == closed[::-1]
    for columns, body in re.findall(r"\\begin\{tabular\}\{([lcr]+)\}(.*?)\\end\{tabular\}", text, re.S):
        for line in body.splitlines():
            if line.endswith(r" \\") and r"\multicolumn" not in line:
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
    return True


def test_latex_is_balanced_and_holds_the_leaderboard(run, written):
    board = run.standings.query("test_set == 'builtin' and metric == 'auc' and protocol == 'native' and family == '*'")
    text = (written / "tables" / "builtin-auc-native.tex").read_text()
    assert balanced(text)
    for row in board.itertuples():
        line = next(line for line in text.splitlines() if line.startswith(f"{row.model} & "))
        assert (
            tables._plain(row.clean) in line
            and f"[{tables._plain(row.clean_low)}, " in line
            and line.endswith(f"& {int(row.n)} \\\\")
        )
    assert "Protocol native (version 1): Each metric is computed" in text
    flagged = (written / "tables" / "field-auc-native.tex").read_text()
    assert flagged.index(r"\emph{Trained on images of the test set}") < flagged.index("deep-rival")
    assert all(balanced(f.read_text()) for f in (written / "tables").glob("*.tex"))


def test_only_what_the_test_tells_apart_is_bold_or_underlined():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, (3, 40))
    noise -= noise.mean(axis=1, keepdims=True)
    apart = outcome({"a": 0.9 + noise[0], "b": 0.8 + noise[1], "c": 0.6 + noise[2]})
    text = tables.latex(compare([apart]), "field", "auc", "native")
    assert r"\textbf{.900}" in text and r"\underline{.800}" in text and balanced(text)
    tied = outcome({"a": 0.9 + noise[0], "b": 0.899 + noise[1], "c": 0.6 + noise[2]})
    text = tables.latex(compare([tied]), "field", "auc", "native")
    assert r"\textbf" not in text.split(r"\midrule")[1] and r"\underline" not in text.split(r"\midrule")[1]


def test_latex_escapes_every_active_character():
    assert tables.escape(r"a_b & 5% #1 $x$ {y} ~ ^ \z <q>|") == (
        r"a\_b \& 5\% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z "
        r"\textless{}q\textgreater{}\textbar{}"
    )
    run = make_run(models=("mpc",), sets={"50%_set": (2, 0)}, specs=["identity"])
    text = tables.latex(compare([run]), "50%_set", "f1", "native")
    assert r"on 50\%\_set:" in text and balanced(text)


def test_a_new_report_removes_what_an_older_one_left_and_nothing_else(small, tmp_path):
    out = tmp_path / "report"
    quick = reports.Options(figures=True, formats=("svg",))
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "old-auc-native.svg").write_text("old")
    (out / "tables").mkdir()
    (out / "tables" / "old.tex").write_text("old")
    (out / "notes.txt").write_text("mine")
    written = reports.write(out, list(small.runs), options=quick)
    assert not (out / "figures" / "old-auc-native.svg").exists() and not (out / "tables" / "old.tex").exists()
    assert (out / "notes.txt").read_text() == "mine"
    assert all(f.is_file() for f in written) and sorted(f.name for f in tmp_path.iterdir()) == ["report"]
    assert set((out / "index.txt").read_text().split("\n")[:-2]) == {
        str(f.relative_to(out)) for f in written if f.name != "index.txt"
    }


def test_a_report_that_fails_leaves_the_older_one(small, tmp_path, monkeypatch):
    out = tmp_path / "report"
    reports.write(out, list(small.runs), options=reports.Options(formats=("svg",)))
    before = (out / "report.html").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reports.tables.write", full)
    with pytest.raises(OSError, match="No space"):
        reports.write(out, list(small.runs), options=reports.Options(formats=("svg",)))
    assert (out / "report.html").read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["report"]


def test_the_table_over_all_sets(run):
    text = tables.latex(compare([run]), EVERY_SET, "auc", "native")
    assert "Pixel AUC on mean over the test sets" in text and balanced(text)
