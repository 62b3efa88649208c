import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_run import SPECS, make_run

from reports import figures, tables
from reports.comparison import compare


@pytest.fixture(scope="module")
def small():
    return compare([make_run(models=("mpc", "ela"), sets={"builtin": (3, 0)}, specs=SPECS[:4])])


def test_figures_are_real_files(written):
    stems = {f"{s}-{m}-native" for s in ("builtin", "field") for m in ("f1", "iou", "auc")} | {
        "builtin-image_auc-native"
    }
    for suffix, magic in ((".pdf", b"%PDF-"), (".png", b"\x89PNG"), (".svg", b"<?xml")):
        files = {f.stem: f for f in (written / "figures").glob(f"*{suffix}")}
        assert set(files) == stems
        for file in files.values():
            content = file.read_bytes()
            assert content.startswith(magic) and len(content) > 10_000
    with Image.open(written / "figures" / "field-auc-native.png") as image:
        colours = {colour for count, colour in image.convert("RGB").getcolors(1 << 24) if count > 100}
    assert {tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in figures.COLOURS[:7]} <= colours


def test_figures_draw_the_summary(small):
    figure = figures.draw(small, "builtin", small.metric("auc"), "native")
    jpeg = next(axis for axis in figure.axes if axis.get_title(loc="left") == "jpeg")
    block = small.block("builtin", "auc", "native")
    specs = ["identity", "jpeg:90", "jpeg:70", "jpeg:50"]
    for line, drawn in zip(small.lines, jpeg.lines, strict=True):
        np.testing.assert_array_equal(drawn.get_ydata(), [block.loc[(line.index, s), "mean"] for s in specs])
    assert [t.get_text() for t in jpeg.get_xticklabels()] == ["clean", "90", "70", "50"]


def test_figures_are_the_same_bytes_every_time(small, tmp_path):
    one = dataclasses.replace(small, summary=small.summary[small.summary["metric"] == "auc"])
    first, second = (figures.write(tmp_path / name, one) for name in ("a", "b"))
    assert [f.suffix for f in first] == [".pdf", ".png", ".svg"]
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


def test_summary_csv_round_trip(run, written):
    table = pd.read_csv(written / "tables" / "summary.csv", keep_default_na=False, na_values=[""], dtype={"level": str})
    assert list(table.columns) == tables.SUMMARY_COLUMNS
    assert len(table) == len(run.summary)
    for column in ("mean", "low", "high", "n", "n_failed", "rank"):
        np.testing.assert_array_equal(table[column].to_numpy(float), run.summary[column].to_numpy(float))
    versions = table.groupby("protocol")["protocol_version"].unique().map(list).to_dict()
    assert versions == {"native": [1], "polarity-free": [2]}


def test_every_block_has_a_csv_and_a_latex_table(run, written):
    blocks = run.summary[["test_set", "metric", "protocol"]].drop_duplicates()
    for suffix in (".csv", ".tex"):
        stems = {f.stem for f in (written / "tables").glob(f"*-*{suffix}")}
        assert stems == {"-".join(block) for block in blocks.itertuples(index=False, name=None)}
    block = pd.read_csv(written / "tables" / "field-f1-native.csv")
    assert len(block) == 7 * len(SPECS)


def test_cost_is_the_median_over_successful_cells(run, written):
    table = pd.read_csv(written / "tables" / "cost.csv").set_index("model")
    scored = run.cells[(run.cells["model"] == "zero") & (run.cells["status"] == "ok")]
    assert table.loc["zero", "seconds_median"] == pytest.approx(np.median(scored["seconds"]))
    assert table.loc["zero", "peak_mb"] == pytest.approx(scored["peak_mb"].max())
    assert (table.loc["zero", "n"], table.loc["zero", "n_failed"]) == (len(scored), 4)


def test_latex_holds_mean_interval_n_and_protocol(run, written):
    text = (written / "tables" / "builtin-auc-native.tex").read_text()
    rows = run.summary.query("test_set == 'builtin' and metric == 'auc' and protocol == 'native'")
    for row in rows[rows["mean"].notna()].itertuples():
        mean = rf"\textbf{{{row.mean:.3f}}}" if row.rank == 1 else f"{row.mean:.3f}"
        assert rf"\shortstack{{{mean}\\{{\tiny [{row.low:.3f}, {row.high:.3f}], $n$={row.n}" in text
    assert "Protocol native (version 1): Each metric is computed" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2  # seven models on two tabulars
    assert "2 failed" in text and "n/a" in text
    flagged = (written / "tables" / "field-auc-native.tex").read_text()
    assert r"deep-rival$^{\dagger}$" in flagged and r"$^{\dagger}$ The model was trained on" in flagged
    for table in re.findall(r"\\begin\{tabular\}\{l(c+)\}(.*?)\\end\{tabular\}", text, re.S):
        lines = [line for line in table[1].splitlines() if line.endswith(r" \\")]
        assert {line.count(" & ") for line in lines} == {len(table[0])}


def test_latex_escapes_every_active_character():
    assert tables.escape(r"a_b & 5% #1 $x$ {y} ~ ^ \z <q>|") == (
        r"a\_b \& 5\% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z "
        r"\textless{}q\textgreater{}\textbar{}"
    )
    run = make_run(models=("mpc",), sets={"50%_set": (2, 0)}, specs=["identity"])
    text = tables.latex(compare([run]), "50%_set", "f1", "native")
    assert r"on 50\%\_set:" in text
    assert tables.file_stem("50%_set", "f1", "native") == "50__set-f1-native"


def test_ties_share_the_best_place_and_are_both_bold():
    run = make_run(models=("mpc", "zero"), sets={"builtin": (2, 0)}, specs=["identity"])
    run.summary.loc[run.summary["metric"] == "f1", ["mean", "rank"]] = 0.5, 1.5
    assert tables.latex(compare([run]), "builtin", "f1", "native").count(r"\textbf{0.500}") == 2
