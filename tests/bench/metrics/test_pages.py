"""The generated pages are current, and say what the code does."""

import json
import math
from pathlib import Path

import pytest

from bench.metrics import METRICS, PROTOCOLS, evaluate
from bench.metrics.describe import costs, describe, metric_records, protocol_records
from bench.metrics.pages import PAGES, main, traps

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_current(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run python -m bench.metrics.pages docs"


def test_all_pages_are_written(tmp_path):
    main(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)


def test_records_are_plain_and_complete():
    records = protocol_records()
    assert [r["name"] for r in json.loads(json.dumps(records))] == list(PROTOCOLS)
    assert [r["name"] for r in json.loads(json.dumps(metric_records()))] == list(METRICS)
    assert all(r["protocols"] for r in metric_records())
    hifi = describe(PROTOCOLS["hifi"])
    assert {"inversion-broken", "one-class-stops"} <= {q["name"] for q in hifi["quirks"] if q["defect"]}
    assert hifi["twin"] == "hifi-corrected"


def test_every_protocol_has_a_measured_cost():
    assert set(costs()["protocols"]) == set(PROTOCOLS), "run python -m tests.benchmarks.protocols --write"
    assert all(r["seconds"] >= 0 and r["bytes"] > 0 for r in protocol_records())


def test_traps_show_numbers_that_differ():
    for trap in traps():
        got = [trap.of_set(p)[m] if trap.of_set else evaluate(trap.score, trap.mask, p)[m] for p, m in trap.numbers]
        known = [value for value in got if not math.isnan(value)]
        assert len(known) < len(got) or max(known) - min(known) > 0.05, trap.title
