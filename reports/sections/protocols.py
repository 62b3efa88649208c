"""The protocols side by side: the same maps, other numbers, and why."""

from __future__ import annotations

import pandas as pd

from reports.comparison import Comparison

ORDER = 70
TITLE = "Protocols and metrics"
SHORT = "Protocols"
MOST_METRICS = 8


def context(comparison: Comparison) -> dict:
    """Unperturbed means of every localizer under each protocol, of the metrics that more than one protocol has."""
    several = len(comparison.protocols) > 1
    return {"tables": _tables(comparison) if several else [], "reasons": _reasons(comparison) if several else []}


def _reasons(comparison: Comparison) -> list[dict]:
    """Why the numbers differ, by localizer and test set: sentences that the run computed from its own maps."""
    titles = {test_set.name: test_set.called for test_set in comparison.test_sets}
    return [
        {**record, "called": titles.get(record["test_set"], record["test_set"])}
        for run in comparison.runs
        for record in run.about.get("differences", ())
    ]


def _tables(comparison: Comparison) -> list[dict]:
    identity = next((c.spec for c in comparison.conditions if c.identity), None)
    if identity is None:
        return []
    rows = comparison.summary[comparison.summary["spec"] == identity]
    found: list[dict] = []
    for test_set in comparison.test_sets[:1]:
        of_set = rows[rows["test_set"] == test_set.name]
        for metric in comparison.metrics:
            chosen = of_set[(of_set["metric"] == metric.name)].dropna(subset=["mean"])
            names = [p.name for p in comparison.protocols if p.name in set(chosen["protocol"])]
            if len(names) < 2 or not metric.ranked:
                continue
            table = chosen.pivot_table(index="line", columns="protocol", values="mean")
            lines = [
                (line, [table.at[line.index, n] for n in names])
                for line in comparison.lines
                if line.index in table.index
            ]
            spread = max((max(v) - min(v) for _, v in lines if not any(map(pd.isna, v))), default=0.0)
            found.append({"metric": metric, "set": test_set, "names": names, "lines": lines, "spread": spread})
    found.sort(key=lambda t: -t["spread"])
    return [t for t in found if t["spread"] > 0][:MOST_METRICS]
