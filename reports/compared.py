"""Several runs as text: the table of `bench compare`, for a terminal or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.comparison import Comparison
from reports.view import ReportError
from reports.words import score, signed, span

ALPHA = 0.05


def as_records(comparison: Comparison) -> dict:
    """Differences, what differs between the runs, and warnings, as JSON can hold them."""
    table = comparison.contrasts.astype(object).where(comparison.contrasts.notna(), None)
    labels = [run.label for run in comparison.runs]
    differs = [{"what": d["what"], **dict(zip(labels, d["texts"], strict=True))} for d in comparison.differences]
    return {"contrasts": table.to_dict("records"), "differences": differs, "warnings": list(comparison.warnings)}


def as_text(comparison: Comparison, wanted: str = "", *, markdown: bool = False) -> str:
    """A table per test set: a row per localizer and level. wanted: "protocol.metric", "" for the headline."""
    metric, protocol = _chosen(comparison, wanted)
    lines: list[str] = []
    if comparison.warnings:
        lines += [f"Note: {text}" for text in comparison.warnings] + [""]
    first, sign = comparison.runs[0].label, comparison.metric(metric).sign
    table = comparison.contrasts
    table = table[(table["metric"] == metric) & (table["protocol"] == protocol)]
    for test_set in comparison.test_sets:
        rows = table[table["test_set"] == test_set.name]
        if not len(rows):
            continue
        block = comparison.block(test_set.name, metric, protocol)
        title = f"{comparison.metric(metric).title} ({protocol}) on {test_set.called}"
        head = ["Localizer", "Level", first, *(f"{run.label} - {first}" for run in comparison.runs[1:]), "n"]
        lines += [
            f"**{title}**" if markdown else title,
            "",
            *_table(head, _rows(comparison, rows, block, sign), markdown),
            "",
        ]
    lines += _differing(comparison, markdown)
    return "\n".join(lines).rstrip()


def _chosen(comparison: Comparison, wanted: str) -> tuple[str, str]:
    found = {f"{p}.{m}" for p, m in comparison.contrasts[["protocol", "metric"]].itertuples(index=False, name=None)}
    if not wanted and comparison.headline is not None:
        return comparison.headline[0].name, comparison.headline[1].name
    if wanted not in found:
        raise ReportError(f"--metric {wanted}: the runs share {', '.join(sorted(found))}")
    protocol, _, metric = wanted.partition(".")
    return metric, protocol


def _rows(comparison: Comparison, rows: pd.DataFrame, block: pd.DataFrame, sign: int) -> list[list[str]]:
    at = {(row.model, row.run, row.spec): row for row in rows.itertuples(index=False)}
    found = []
    for line in (line for line in comparison.lines if line.run == 0):
        for condition in comparison.conditions:
            changes = [at.get((line.model, run.label, condition.spec)) for run in comparison.runs[1:]]
            if not any(changes):
                continue
            mean = block["mean"].get((line.index, condition.spec))
            n = next(change.n for change in changes if change)
            found.append([line.model, condition.name, score(mean), *(_change(c, sign) for c in changes), str(int(n))])
    return found


def _change(row, sign: int) -> str:
    if row is None or pd.isna(row.difference):
        return "–"
    sure = row.p < ALPHA
    mark = ("▲ " if sign * row.difference > 0 else "▼ ") if sure else ""
    return " ".join(filter(None, [f"{mark}{signed(row.difference)}", span(row.low, row.high)]))


def _differing(comparison: Comparison, markdown: bool) -> list[str]:
    if not comparison.differences:
        return ["Nothing that is recorded differs between the runs but their results."]
    head = ["What differs", *(run.label for run in comparison.runs)]
    return _table(head, [[d["what"], *(text or "–" for text in d["texts"])] for d in comparison.differences], markdown)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> list[str]:
    if markdown:
        cells = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in (head, *rows)]
        return [f"| {' | '.join(row)} |" for row in (cells[0], ["---"] * len(head), *cells[1:])]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
