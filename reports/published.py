"""Published numbers beside measured ones: which meet, their difference where one may be taken, else why not."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from reports.comparison import Comparison, Line

A_NUMBER = ("method", "train_set", "printed_set", "perturbation", "printed_metric", "rule", "source", "value")
MEASURED = ("mean", "low", "high", "n")
COLUMNS = [
    *("test_set", "folder", "run", "model", "spec", "metric", "protocol", "protocol_version", *MEASURED),
    *("published", "comparable", "difference", "within_interval", "why_not", "method", "weights", "train_set"),
    *("printed_set", "perturbation", "printed_metric", "rule", "scoring", "images", "source"),
]


def known_sets(comparison: Comparison) -> list[str]:
    """The test sets on which anything is published, in the order of the page."""
    with_numbers = {record["test_set"] for run in comparison.runs for record in run.published}
    return [test_set.name for test_set in comparison.test_sets if test_set.name in with_numbers]


def is_folder(comparison: Comparison, test_set: str) -> bool:
    """Whether the set was opened as a folder that merely has the name of a published one."""
    return not comparison.test_set(test_set).card


def beside(comparison: Comparison, test_set: str) -> list[dict]:
    """Every published number that has a measured one to stand beside: of the same localizer, perturbation and metric.

    Keys: COLUMNS, those of `RunView.published`, and `line` and `condition` of the comparison. difference (measured
    minus published) and within_interval (whether the published value lies in the measured interval) are None where
    the two are not comparable or nothing was measured. why_not: list of reasons, empty where comparable. featured
    localizers first, then line by line in the order of the page; of one measured number the comparable ones first.
    """
    folder = is_folder(comparison, test_set)
    places = [
        {name: i for i, name in enumerate(names)}
        for names in (
            [c.spec for c in comparison.conditions],
            [p.name for p in comparison.protocols],
            [m.name for m in comparison.metrics],
        )
    ]
    conditions = {c.spec: c for c in comparison.conditions}
    found = []
    for line in sorted(comparison.lines, key=lambda line: (not line.featured, line.index)):
        records = defaultdict(list)
        for record in comparison.runs[line.run].published:
            if record["test_set"] == test_set and record["model"] == line.model:
                records[record["spec"], record["protocol"], record["metric"]].append(record)
        rows = comparison.summary[comparison.summary["line"] == line.index]
        measured = {
            (row["spec"], row["protocol"], row["metric"]): row
            for row in rows[rows["test_set"] == test_set].to_dict("records")
        }
        met = [key for key in records if key in measured]
        for key in sorted(met, key=lambda key: [place[name] for place, name in zip(places, key, strict=True)]):
            pairs = [_pair(comparison, line, folder, measured[key], record) for record in records[key]]
            pairs.sort(key=lambda pair: not pair["comparable"])
            found += [{**pair, "line": line, "condition": conditions[key[0]]} for pair in pairs]
    return found


def elsewhere(comparison: Comparison, test_set: str) -> list[Mapping]:
    """The published numbers on a test set that have no measured counterpart.

    Methods, perturbations and metrics that are not in these runs (`RunView.published` has their keys); featured
    methods first, then source by source.
    """
    shown = {tuple(pair[name] for name in A_NUMBER) for pair in beside(comparison, test_set)}
    left = {
        tuple(record[name] for name in A_NUMBER): record
        for run in comparison.runs
        for record in run.published
        if record["test_set"] == test_set
    }
    found = [record for number, record in left.items() if number not in shown]
    return sorted(found, key=lambda record: not record.get("featured"))


def _pair(comparison: Comparison, line: Line, folder: bool, measured: Mapping, record: Mapping) -> dict:
    run = comparison.runs[line.run]
    card = next((m for m in run.localizers if m.name == line.model), None)
    mean, low, high = (None if math.isnan(measured[name]) else float(measured[name]) for name in MEASURED[:3])
    n = int(measured["n"])
    why_not = []
    if mean is None:
        why_not.append("no value here")
    if folder:
        why_not.append(f"the images here are a folder called {record['test_set']}, not known to be the official set")
    if card is not None and card.own_weights:
        why_not.append("measured here with the user's own weights")
    if record["images"] is not None and record["images"] != n:
        why_not.append(f"{record['images']} images there, {n} here")
    why_not += record["obstacles"]
    if record["images"] is None and not why_not:
        why_not.append("its number of images is not stated")
    comparable = not why_not
    value = record["value"]
    return {
        **record,
        "folder": folder,
        "run": run.label,
        "model": line.model,
        "protocol_version": comparison.protocol(record["protocol"]).version,
        **{"mean": mean, "low": low, "high": high, "n": n},
        "published": value,
        "comparable": comparable,
        "difference": mean - value if comparable else None,
        "within_interval": low <= value <= high if comparable and low is not None else None,
        "why_not": why_not,
    }
