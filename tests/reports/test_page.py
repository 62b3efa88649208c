import base64
import dataclasses
import hashlib
import html
import json
import re
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_run import SPECS, make_run

import reports
from reports import page as pages
from reports.comparison import compare
from reports.words import duration, linked, public, score, signed


def embedded(page, name):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)[1])


def data_file(folder, name):
    text = (folder / "data" / f"{name}.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix(f'robustness("{name}",').rstrip().removesuffix(")"))


def records(columns):
    return pd.DataFrame(columns)


def write_page(folder, *runs, **settings):
    folder.mkdir(exist_ok=True, parents=True)
    pages.write(folder, compare(list(runs)), pages.Settings(**settings))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written):
    return (written / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def single(run, tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("single"), run, single_mb=25.0)


def test_page_asks_for_nothing_from_outside(page, single):
    for text in (page, single):
        body = re.sub(r"<script.*?</script>", "", text, flags=re.S)
        sources = re.findall(r"""\b(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]+)""", body)
        outside = {s for s in sources if not s.startswith(("#", "data:", "pictures/"))}
        links = set(re.findall(r'<a href="(https?://[^"]+)" rel="noopener noreferrer external">', text))
        assert outside == links
        assert "https://doi.org/10.1000/field" in links
        style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
        assert "url(http" not in style and "@import" not in style
    assert 'src="pictures/' in page and 'src="pictures/' not in single


def test_content_policy_admits_the_script_and_files_beside_the_page(page, single):
    for text, beside in ((page, " 'self' file:"), (single, "")):
        policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]).split("; ")
        script = re.findall(r"<script>(.*?)</script>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
        assert len(script) == 1
        assert policy[0] == "default-src 'none'"
        assert policy[1] == f"img-src data:{beside}"
        assert policy[-1] == f"script-src 'sha256-{digest}'{beside}"


def test_numbers_beside_the_page_equal_the_summary(run, written, page):
    data = embedded(page, "data")
    found = []
    for p, m in data["offered"]:
        table = records(data_file(written, f"numbers-{p}-{m}")["summary"])
        names = {"protocol": data["protocols"][p]["name"], "metric": data["metrics"][m]["name"]}
        table = table.assign(
            **names,
            model=[data["lines"][i]["model"] for i in table["line"]],
            test_set=[data["sets"][i]["name"] for i in table["test_set"]],
            spec=[data["conditions"][i]["spec"] for i in table["spec"]],
        )
        found.append(table)
    keys = ["model", "test_set", "spec", "protocol", "metric"]
    both = run.summary.merge(pd.concat(found), on=keys, suffixes=("", "_page"))
    assert len(both) == len(run.summary)
    for column in ("mean", "low", "high"):
        expected, shown = both[column], both[f"{column}_page"].astype(float)
        np.testing.assert_allclose(expected, shown, atol=1e-5, equal_nan=True)
    for column in ("n", "n_failed", "n_not_applicable", "n_skipped", "contaminated"):
        np.testing.assert_array_equal(both[column].astype(int), both[f"{column}_page"].astype(int))


def test_only_the_headline_is_in_the_page_itself(page, single):
    assert re.findall(r'id="(data-[^"]+)"', page) == [f"data-{embedded(page, 'data')['headline']}"]
    assert len(re.findall(r'id="data-numbers-', single)) == len(embedded(single, "data")["offered"])


def test_cells_hold_every_value_of_the_results(run, written, page):
    data = embedded(page, "data")
    line = next(line["index"] for line in data["lines"] if line["model"] == "zero")
    condition = next(i for i, c in enumerate(data["conditions"]) if c["spec"] == "blur:7")
    cell = data_file(written, f"cells-{line}-0")["conditions"][str(condition)]
    rows = run.results.query(
        "model == 'zero' and test_set == 'builtin' and spec == 'blur:7' and metric == 'f1' and protocol == 'native'"
    )
    expected = dict(zip(rows["image"], rows["value"], strict=True))
    names = data["sets"][0]["images"]
    shown = {names[i]: v for i, v in zip(cell["image"], cell["values"]["native.f1"], strict=True) if v is not None}
    assert shown == pytest.approx(expected, abs=1e-4)
    failed = [names[i] for i, status in zip(cell["image"], cell["status"], strict=True) if status == "1"]
    assert failed == ["forged_03", "forged_05"]
    assert set(cell["reason"].values()) == {"MemoryError: 3.1 GB asked for <grid> & not available"}


def test_levels_are_ordered_from_mild_to_severe_with_the_unperturbed_first(page):
    conditions = embedded(page, "data")["conditions"]
    specs = [c["spec"] for c in conditions]
    assert specs[0] == "identity" and conditions[0]["name"] == "unperturbed"
    assert [s for s in specs if s.startswith("jpeg:") and "+" not in s] == ["jpeg:90", "jpeg:70", "jpeg:50"]
    assert [s for s in specs if s.startswith("resize:") and "+" not in s] == ["resize:0.75", "resize:0.5"]
    assert sorted(specs) == sorted(SPECS)
    axes = {f["name"]: f["axis"] for f in embedded(page, "data")["families"]}
    assert axes["blur"] == "kernel size (pixels)" and axes["noise"] == "standard deviation (grey levels)"


def test_the_answer_comes_first_and_how_the_run_was_made_last(page):
    text = re.sub(r"<(style|script).*?</\1>", " ", page, flags=re.S)
    order = [
        text.index(f'<section id="{name}"') for name in ("answer", "leaderboard", "results", "cost", "missing", "run")
    ]
    assert order == sorted(order)
    last = text.index('<section id="run"')
    for fact in ("4 min 4 s", "7 min 1 s", "6.4 %", "0a1b2c3d4e5f", "Xeon, 2 cores", "torch 2.13.0+cpu"):
        assert text.index(fact) > last
    assert text.index("is a demonstration, not a scientific test set") < text.index('<section id="leaderboard"')
    assert "Field photographs is a demonstration" not in text


def test_a_section_may_hold_its_template_and_its_values_are_escaped(run, tmp_path, monkeypatch):
    section = types.ModuleType("reports.sections.toy")
    section.ORDER, section.TITLE, section.TEMPLATE = 105, "Toy section", "<p>{{ name }}</p>"
    section.context = lambda comparison: {"name": "<toy>"}
    found = [*pages.found_sections(), section]
    monkeypatch.setattr(pages, "found_sections", lambda: found)
    text = write_page(tmp_path, run)
    assert "Toy section" in text and "<p>&lt;toy&gt;</p>" in text


@pytest.mark.slow
def test_what_the_audit_says_and_what_a_level_left_unchanged_are_shown(run, tmp_path):
    """Each image of a set counts once, whatever number of localizers saw it."""
    forged = run.cells["image"].isin(["forged_01", "forged_02"]) & (run.cells["test_set"] == "builtin")
    cells = run.cells.assign(unchanged=forged & (run.cells["spec"] == "jpeg:90"))
    leak = "leaks: <tables> tell tampered from authentic images (AUC .93)"
    sets = tuple(
        dataclasses.replace(s, audit=leak, remarks=("its masks hold three classes",)) if s.name == "builtin" else s
        for s in run.test_sets
    )
    text = html.unescape(write_page(tmp_path, dataclasses.replace(run, cells=cells, test_sets=sets)))
    assert leak in text and text.count("not audited:") == 1 and "its masks hold three classes." in text
    rows = re.findall(r"<code>([^<]*)</code></td>[^/]*/td>\s*<td[^/]*/td><td[^/]*/td><td>(\d+ of \d+ images)", text)
    images = run.cells[["test_set", "image"]].drop_duplicates()
    assert rows == [("jpeg:90", f"2 of {len(images)} images")]


def test_gaps_are_named(page):
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for words in (
        "MPC_CATNet_stage2_weights.pth is missing",
        "MemoryError: 3.1 GB asked for <grid> & not available",
        "no JPEG history",
        "mask is 511x512",
    ):
        assert words in text


def test_text_from_outside_is_never_markup(tmp_path):
    hostile = "</script><img src=x onerror=alert(1)>"
    run = make_run(models=("mpc",), sets={"builtin": (2, 0)}, specs=["identity"])
    cards = tuple(dataclasses.replace(card, summary=hostile, title=hostile) for card in run.localizers)
    protocols = tuple(dataclasses.replace(p, description=hostile) for p in run.protocols)
    cells = run.cells.assign(reason=hostile, status="failed")
    run = dataclasses.replace(
        run, label=hostile, localizers=cards, protocols=protocols, cells=cells, warnings=(hostile,)
    )
    page = write_page(tmp_path, run)
    assert "<img src=x" not in page
    assert embedded(page, "data")["runs"] == [hostile]
    assert all("<b>" not in a or "<img" not in a for a in embedded(page, "data-numbers-0-0")["answers"].values())


def test_folders_of_absolute_paths_are_left_out(tmp_path):
    run = make_run(models=("mpc",), sets={"builtin": (2, 0)}, specs=["identity"])
    reason = "cannot read '/home/me/my photos/images/f.png': truncated; see /home/me/log.txt and https://a.org/b/c"
    run = dataclasses.replace(run, cells=run.cells.assign(reason=reason, status="failed"))
    page = write_page(tmp_path, run)
    everything = page + "".join(f.read_text() for f in (tmp_path / "data").iterdir())
    assert "/home/me" not in everything and "'f.png'" in html.unescape(everything)
    assert "https://a.org/b/c" in everything


def test_pictures_lie_beside_the_page_under_the_names_it_makes(run, written, page):
    files = {str(f.relative_to(written / "pictures")) for f in (written / "pictures").rglob("*.*")}
    data = embedded(page, "data")
    named = set()
    for line in data["lines"]:
        for s in range(len(data["sets"])):
            for c, cell in data_file(written, f"cells-{line['index']}-{s}")["conditions"].items():
                for image, code in zip(cell["image"], cell["pictures"] or [], strict=True):
                    for k, kind in enumerate(data["kinds"]):
                        suffix = data["suffixes"][code >> 2 * k & 3]
                        stem = {"photo": f"c{c}", "truth": "truth"}.get(kind, f"l{line['index']}c{c}-{kind}")
                        if suffix:
                            named.add(f"{s}/{image}/{stem}.{suffix}")
    assert files == named and len(files) > 500
    assert (written / "pictures" / "0" / "0" / "truth.png").read_bytes() == run.picture(
        "truth", ("builtin", "forged_00")
    )


def test_the_page_is_light_and_says_what_a_budget_left_out(run, written, tmp_path):
    assert (written / "report.html").stat().st_size < 1_000_000
    write_page(tmp_path, run, pictures=100)
    assert len(list((tmp_path / "pictures").rglob("*.*"))) < 115
    single = write_page(tmp_path, run, single_mb=0.15)
    assert sum(map(len, embedded(single, "pictures").values())) < 160_000
    assert 'id="budget"' in single
    named = re.search(r'<details id="left-out">.*?</details>', single, re.DOTALL)[0]
    told = {name: int(n) for name, n in re.findall(r"([\w]+_\d+) \((\d+) of \d+\)", named)}
    shown = embedded(single, "pictures")
    for number, (test_set, tampered) in enumerate((("built-in", 9), ("field", 16))):
        said = re.search(rf"<p>[^<]*{test_set}[^<]*</p>", named, re.IGNORECASE)[0]
        for i in range(tampered):
            truth = f"{number}/{i}/truth.png" in shown  # any picture of a tampered image comes with its mask
            assert (f"forged_{i:02d}" in said.partition("no picture of")[2].partition(";")[0]) == (not truth)
    assert told and min(told.values()) > 0
    left = int(re.search(r"([\d,]+) of [\d,]+ cells", single)[1].replace(",", ""))
    assert left > 1000


def test_over_budget_the_extremes_are_pictured_first(run, tmp_path):
    page = write_page(tmp_path, run, pictures=900)
    data = embedded(page, "data")
    pictured = 0
    for f in (tmp_path / "data").glob("cells-*.js"):
        for cell in data_file(tmp_path, f.stem)["conditions"].values():
            values = cell["values"].get("native.auc", [])
            order = sorted((i for i, v in enumerate(values) if v is not None), key=lambda i: -values[i])
            kept = {i for i, code in enumerate(cell["pictures"] or []) if code}
            pictured += len(kept)
            assert kept <= {*order[:3], *order[-3:]}
    assert pictured > 200 and data["single"] is False


def test_a_huge_single_file_carries_the_extremes_alone(run, tmp_path, monkeypatch):
    monkeypatch.setattr("reports.drill.FULL_BELOW", 10)
    quiet = dataclasses.replace(run, picture=lambda what, key: None)
    page = write_page(tmp_path, quiet, single_mb=1.0)
    cell = embedded(page, "data-cells-0-1")
    assert len(cell["conditions"]["0"]["image"]) == 12 and cell["hidden"] == 4 * len(SPECS)


def test_several_runs_stand_side_by_side(tmp_path):
    first = make_run("before", models=("mpc", "ela"), sets={"builtin": (3, 1)}, specs=SPECS[:3])
    second = make_run("after", models=("mpc",), sets={"builtin": (3, 1)}, specs=SPECS[:3], seed=1)
    data = embedded(write_page(tmp_path, first, second), "data")
    assert [line["label"] for line in data["lines"]] == ["before/mpc", "after/mpc", "before/ela"]
    assert [line["style"] for line in data["lines"]] == [0, 0, 1]
    with pytest.raises(ValueError, match="same label"):
        compare([first, first])
    with pytest.raises(ValueError, match="no run"):
        compare([])


def test_protocols_and_sets_that_differ_are_named_before_any_number(tmp_path):
    first = make_run("before", models=("mpc",), sets={"builtin": (2, 0)}, specs=["identity"])
    second = make_run("after", models=("mpc",), sets={"builtin": (3, 0)}, specs=["identity"])
    second = dataclasses.replace(second, protocols=tuple(dataclasses.replace(p, version="9") for p in second.protocols))
    comparison = compare([first, second])
    assert any("protocol native (before: version 1; after: version 9)" in text for text in comparison.warnings)
    assert any("test set builtin (before: 2 tampered, 0 authentic; after: 3" in text for text in comparison.warnings)
    page = write_page(tmp_path, first, second)
    assert page.index("The runs differ in protocol native") < page.index('id="board"')


@pytest.mark.parametrize("case", ["one image", "nothing scored", "nothing known"])
def test_degenerate_runs(case, tmp_path):
    run = make_run(models=("mpc",), sets={"builtin": (1, 0)}, specs=["identity"])
    if case != "one image":
        summary = run.summary.assign(n=0, **dict.fromkeys(["mean", "low", "high", "rank"], np.nan))
        numbers = run.standings.select_dtypes(float).columns
        standings = run.standings.assign(placed="no value", **dict.fromkeys(numbers, np.nan))
        run = dataclasses.replace(run, summary=summary, standings=standings, results=run.results.assign(value=np.nan))
    if case == "nothing known":
        run = dataclasses.replace(
            run, about={}, localizers=(), test_sets=(), metrics=(), picture=lambda w, k: None, cells=run.cells.iloc[:0]
        )
    files = reports.write(tmp_path / "report", [run], options=reports.Options(figures=True))
    data = embedded((tmp_path / "report" / "report.html").read_text(), "data")
    assert [line["model"] for line in data["lines"]] == ["mpc"]
    assert [c["spec"] for c in data["conditions"]] == ["identity"]
    assert any(f.suffix == ".png" for f in files) == (case == "one image")


def test_a_section_is_two_files_that_are_found():
    folder = Path(pages.sections.__path__[0])
    names = {f.stem for f in folder.glob("*.py")} - {"__init__"}
    assert names == {f.name.removesuffix(".html.j2") for f in folder.glob("*.html.j2")}
    assert {m.__name__.rpartition(".")[2] for m in pages.found_sections()} == names


def test_small_texts():
    assert [duration(s) for s in (0.4217, 12.2, 243.7, 7500)] == ["0.42 s", "12 s", "4 min 4 s", "2 h 5 min"]
    assert str(linked("see https://a.org/x, <b>")) == (
        'see <a href="https://a.org/x" rel="noopener noreferrer external">https://a.org/x</a>, &lt;b&gt;'
    )
    assert [score(v) for v in (0.713, -0.02, 1, -0.0001, None)] == [".713", "−.020", "1.000", ".000", "–"]
    assert [signed(v) for v in (0.02, -0.02, 0.0001)] == ["+.020", "−.020", ".000"]
    assert public("/a/b/c.png is bad, C:\\x\\y.png too") == "c.png is bad, y.png too"
    assert public("1/2 of https://a.org/b/c and a/b/c") == "1/2 of https://a.org/b/c and a/b/c"
