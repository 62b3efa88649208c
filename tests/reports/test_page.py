import base64
import dataclasses
import hashlib
import html
import json
import re

import numpy as np
import pandas as pd
import pytest
from synthetic_run import SPECS, make_run

import reports
from reports.comparison import compare
from reports.page import build, duration, linked


def embedded(page, name):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)[1])


def page_of(*runs, budget=25_000_000):
    return build(compare(list(runs)), budget)


@pytest.fixture(scope="module")
def page(written):
    return (written / "report.html").read_text(encoding="utf-8")


def test_page_asks_for_nothing_from_outside(page):
    sources = re.findall(
        r"""\b(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]+)""",
        re.sub(r"<script.*?</script>", "", page, flags=re.S),
    )
    outside = {s for s in sources if not s.startswith(("#", "data:"))}
    links = set(re.findall(r'<a href="(https?://[^"]+)" rel="noopener noreferrer external">', page))
    assert outside == links
    assert "https://doi.org/10.1000/field" in links
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    assert "url(" not in style and "@import" not in style


def test_content_policy_admits_the_script_and_nothing_else(page):
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1
    assert policy.split("; ")[0] == "default-src 'none'"
    assert f"script-src 'sha256-{digest}'" in policy


def test_embedded_summary_equals_the_table(run, page):
    data = embedded(page, "data")
    assert len(data["summary"]) == len(run.summary)
    names = [
        [line["model"] for line in data["lines"]],
        [s["name"] for s in data["sets"]],
        [c["spec"] for c in data["conditions"]],
        [p["name"] for p in data["protocols"]],
        [m["name"] for m in data["metrics"]],
    ]
    keys = ["model", "test_set", "spec", "protocol", "metric"]
    counts = ["n", "n_failed", "n_not_applicable", "n_skipped"]
    found = pd.DataFrame(
        [[names[i][number] for i, number in enumerate(row[:5])] + row[5:] for row in data["summary"]],
        columns=[*keys, "mean", "low", "high", *counts, "rank", "contaminated"],
    )
    both = run.summary.merge(found, on=keys, suffixes=("", "_page"))
    assert len(both) == len(run.summary)
    for column in ("mean", "low", "high", "rank"):
        np.testing.assert_allclose(both[column], both[f"{column}_page"].astype(float), atol=1e-6, equal_nan=True)
    for column in (*counts, "contaminated"):
        np.testing.assert_array_equal(both[column].astype(int), both[f"{column}_page"])


def test_cells_hold_every_value_of_the_results(run, page):
    data = embedded(page, "data")
    line = next(line["index"] for line in data["lines"] if line["model"] == "zero")
    condition = next(i for i, c in enumerate(data["conditions"]) if c["spec"] == "blur:7")
    cell = data["cells"][f"{line}|0|{condition}"]
    metric = next(i for i, m in enumerate(data["metrics"]) if m["name"] == "f1")
    rows = run.results.query(
        "model == 'zero' and test_set == 'builtin' and spec == 'blur:7' and metric == 'f1' and protocol == 'native'"
    )
    expected = dict(zip(rows["image"], rows["value"], strict=True))
    shown = {
        data["images"][i]: v for i, v in zip(cell["image"], cell["values"][f"0|{metric}"], strict=True) if v is not None
    }
    assert shown == pytest.approx(expected, abs=1e-4)
    failed = [data["images"][i] for i, status in zip(cell["image"], cell["status"], strict=True) if status == 1]
    assert failed == ["forged_03", "forged_05"]
    assert set(cell["reason"].values()) == {"MemoryError: 3.1 GB asked for <grid> & not available"}


def test_levels_are_ordered_from_mild_to_severe_with_identity_first(page):
    specs = [c["spec"] for c in embedded(page, "data")["conditions"]]
    assert specs[0] == "identity"
    assert [s for s in specs if s.startswith("jpeg:") and "+" not in s] == ["jpeg:90", "jpeg:70", "jpeg:50"]
    assert [s for s in specs if s.startswith("resize:") and "+" not in s] == ["resize:0.75", "resize:0.5"]
    assert sorted(specs) == sorted(SPECS)


def test_head_says_what_was_run_and_that_a_demonstration_is_one(page):
    text = re.sub(r"<[^>]+>", " ", page)
    first = text.index("is a demonstration, not a scientific test set")
    assert first < text.index("7 localizers on 2 test sets")
    for words in (
        "4 min 4 s",
        "7 min 1 s",
        "6.4 %",
        "0a1b2c3d4e5f",
        "Xeon, 2 cores",
        "torch 2.13.0+cpu",
        "2026-11-21 04:09:10 UTC",
    ):
        assert words in text
    assert "Field photographs is a demonstration" not in text


def test_gaps_are_named(page):
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for words in (
        "MPC_CATNet_stage2_weights.pth is missing",
        "MemoryError: 3.1 GB asked for <grid> & not available",
        "no JPEG history",
        "mask is 511x512",
    ):
        assert words in text


def test_text_from_outside_is_never_markup():
    hostile = "</script><img src=x onerror=alert(1)>"
    run = make_run(models=("mpc",), sets={"builtin": (2, 0)}, specs=["identity"])
    run.label = hostile
    run.models[0]["summary"] = hostile
    run.protocols = [{**p, "description": hostile} for p in run.protocols]
    run.cells["reason"] = hostile
    run.cells["status"] = "failed"
    page = page_of(run)
    assert "<img" not in page
    assert embedded(page, "data")["runs"] == [hostile]


def test_thumbnails_are_embedded_once_each(page):
    uris = embedded(page, "thumbnails")
    assert len(uris) == len(set(uris)) > 100
    assert {u.partition(";")[0] for u in uris} == {"data:image/png", "data:image/jpeg"}


def test_over_budget_the_extremes_alone_are_pictured_and_the_page_says_so(run, page):
    small = page_of(run, budget=150_000)
    assert 'id="budget"' in small and 'id="budget"' not in page
    assert sum(map(len, embedded(small, "thumbnails"))) < 160_000
    data = embedded(small, "data")
    metric, protocol = data["headline"]
    pictured = {name: cell for name, cell in data["cells"].items() if cell["pictures"]}
    assert len(pictured) > len(data["cells"]) / 4
    for cell in pictured.values():
        values = cell["values"][f"{protocol}|{metric}"]
        order = sorted((i for i, v in enumerate(values) if v is not None), key=lambda i: -values[i])
        assert {int(i) for i in cell["pictures"]} <= {*order[:3], *order[-3:]}


def test_a_huge_run_carries_the_extremes_alone(run, monkeypatch):
    monkeypatch.setattr("reports.page.EVERY_IMAGE_BELOW", 10)
    data = embedded(page_of(dataclasses.replace(run, thumbnail=lambda what, key: None)), "data")
    cell = next(c for name, c in data["cells"].items() if name.startswith("0|1|"))
    assert len(cell["image"]) == 12
    assert cell["hidden"] == 4


def test_several_runs_stand_side_by_side():
    first = make_run("before", models=("mpc", "ela"), sets={"builtin": (3, 1)}, specs=SPECS[:3])
    second = make_run("after", models=("mpc",), sets={"builtin": (3, 1)}, specs=SPECS[:3], seed=1)
    data = embedded(page_of(first, second), "data")
    assert [line["label"] for line in data["lines"]] == ["before/mpc", "before/ela", "after/mpc"]
    assert [line["style"] for line in data["lines"]] == [0, 1, 0]
    assert len(data["summary"]) == len(first.summary) + len(second.summary)
    with pytest.raises(ValueError, match="same label"):
        compare([first, first])


def test_protocols_of_different_versions_are_refused():
    first = make_run("before", models=("mpc",), sets={"builtin": (2, 0)}, specs=["identity"])
    second = make_run("after", models=("mpc",), sets={"builtin": (2, 0)}, specs=["identity"])
    second.protocols = [{**p, "version": "9"} for p in second.protocols]
    with pytest.raises(ValueError, match="different versions"):
        compare([first, second])
    with pytest.raises(ValueError, match="no run"):
        compare([])


@pytest.mark.parametrize("case", ["one image", "nothing scored", "nothing known"])
def test_degenerate_runs(case, tmp_path):
    run = make_run(models=("mpc",), sets={"builtin": (1, 0)}, specs=["identity"])
    if case != "one image":
        run.results["value"] = np.nan
        run.summary[["mean", "low", "high", "rank"]] = np.nan
        run.summary["n"] = 0
    if case == "nothing known":
        run.about, run.models, run.test_sets = {}, [], []
        run.thumbnail = lambda what, key: None
        run.cells = run.cells.iloc[:0]
    files = reports.write(tmp_path, [run])
    data = embedded((tmp_path / "report.html").read_text(), "data")
    assert [line["model"] for line in data["lines"]] == ["mpc"]
    assert [c["spec"] for c in data["conditions"]] == ["identity"]
    assert any(f.suffix == ".png" for f in files) == (case == "one image")


def test_small_texts():
    assert [duration(s) for s in (0.4217, 12.2, 243.7, 7500)] == ["0.42 s", "12 s", "4 min 4 s", "2 h 5 min"]
    assert str(linked("see https://a.org/x, <b>")) == (
        'see <a href="https://a.org/x" rel="noopener noreferrer external">https://a.org/x</a>, &lt;b&gt;'
    )
