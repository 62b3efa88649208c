"""The numbers as CSV and LaTeX files."""

from __future__ import annotations

import json
import math
import re
import string
from pathlib import Path

import pandas as pd

from reports.comparison import Comparison, Condition, condition_name
from reports.published import COLUMNS, beside, is_folder, known_sets

SUMMARY_COLUMNS = [
    *("run", "model", "test_set", "perturbation", "level", "spec", "protocol", "protocol_version", "metric"),
    *("mean", "low", "high", "n", "n_failed", "n_not_applicable", "n_skipped", "rank", "contaminated"),
]
COLUMNS_A_TABLE = 5  # models side by side that fit a page in LaTeX
ROWS_A_TABLE = 40  # published numbers that fit a page in LaTeX
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def write(folder: Path, comparison: Comparison) -> list[Path]:
    """`summary.csv` (every number), `cost.csv`, and a CSV and a LaTeX file for each test set, metric and protocol.

    Where numbers are published on a test set: `published.csv` and `published.json` (the same, reasons as lists), and
    a LaTeX file for each such set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = long_table(comparison)
    files = [folder / "summary.csv", folder / "cost.csv"]
    summary.to_csv(files[0], index=False)
    cost(comparison).to_csv(files[1], index=False)
    for test_set, metric, protocol in comparison.blocks():
        stem = folder / file_stem(test_set, metric, protocol)
        block = summary.query("test_set == @test_set and metric == @metric and protocol == @protocol")
        files += [stem.with_name(stem.name + ".csv"), stem.with_name(stem.name + ".tex")]
        block.to_csv(files[-2], index=False)
        files[-1].write_text(latex(comparison, test_set, metric, protocol), encoding="utf-8")
    return files + _write_published(folder, comparison)


def _write_published(folder: Path, comparison: Comparison) -> list[Path]:
    pairs = {test_set: beside(comparison, test_set) for test_set in known_sets(comparison)}
    rows = [{name: pair[name] for name in COLUMNS} for group in pairs.values() for pair in group]
    if not rows:
        return []
    files = [folder / "published.csv", folder / "published.json"]
    flat = [{**row, "why_not": "; ".join(row["why_not"])} for row in rows]
    pd.DataFrame(flat, columns=COLUMNS).astype({"images": "Int64"}).to_csv(files[0], index=False)
    files[1].write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for test_set, group in pairs.items():
        if group:
            files.append(folder / f"{file_stem('published', test_set)}.tex")
            files[-1].write_text(latex_published(comparison, test_set, group), encoding="utf-8")
    return files


def long_table(comparison: Comparison) -> pd.DataFrame:
    """All summary rows, tidy, with the run and the version of the protocol beside each number."""
    labels = [comparison.runs[line.run].label for line in comparison.lines]
    versions = {p["name"]: p["version"] for p in comparison.protocols}
    table = comparison.summary.assign(
        run=[labels[line] for line in comparison.summary["line"]],
        protocol_version=[versions[name] for name in comparison.summary["protocol"]],
    )
    return table[SUMMARY_COLUMNS]


def cost(comparison: Comparison) -> pd.DataFrame:
    """Seconds (median, 10th and 90th percentile) and peak memory of one image, over the cells that succeeded."""
    rows = []
    for line in comparison.lines:
        cells = comparison.runs[line.run].cells
        cells = cells[cells["model"] == line.model] if len(cells) else pd.DataFrame(columns=["status"])
        status = cells["status"]
        scored = cells[status == "ok"]
        seconds = pd.to_numeric(scored["seconds"]) if len(scored) else pd.Series(dtype=float)
        memory = pd.to_numeric(scored["peak_mb"]) if len(scored) else pd.Series(dtype=float)
        rows.append(
            {
                "run": comparison.runs[line.run].label,
                "model": line.model,
                "seconds_median": seconds.median(),
                "seconds_p10": seconds.quantile(0.1),
                "seconds_p90": seconds.quantile(0.9),
                "peak_mb": memory.max(),
                "n": len(scored),
                "n_failed": int((status == "failed").sum()),
                "n_not_applicable": int((status == "not_applicable").sum()),
            }
        )
    return pd.DataFrame(rows)


def latex(comparison: Comparison, test_set: str, metric: str, protocol: str) -> str:
    """A booktabs table: a row a condition, a column a model; mean, interval and n in every cell.

    Needs \\usepackage{booktabs}. More than five models are spread over several tabulars.
    """
    block = comparison.block(test_set, metric, protocol)
    rule = comparison.protocol(protocol)
    metric = comparison.metric(metric)
    lines = [line for line in comparison.lines if line.index in set(block.index.get_level_values("line"))]
    conditions = [c for c in comparison.conditions if c.spec in set(block.index.get_level_values("spec"))]
    flagged = comparison.contaminated(test_set)
    what = (
        "the whole set, number of images"
        if metric.whole
        else "mean over images, 95\\,\\% bootstrap interval, number of images"
    )
    caption = (
        f"{metric.title} on {escape(test_set)}: {what}. "
        f"Protocol {escape(rule['name'])} (version {escape(str(rule['version']))}): {escape(rule['description'])}"
    )
    if flagged:
        caption += r" $^{\dagger}$ The model was trained on images of this test set."
    parts = [r"\begin{table*}[p]", r"\centering\footnotesize", rf"\caption{{{caption}}}"]
    for start in range(0, len(lines), COLUMNS_A_TABLE):
        chunk = lines[start : start + COLUMNS_A_TABLE]
        if start:
            parts += ["", r"\medskip"]
        names = [escape(line.label) + (r"$^{\dagger}$" if line.index in flagged else "") for line in chunk]
        parts += [rf"\begin{{tabular}}{{l{'c' * len(chunk)}}}", r"\toprule"]
        parts += [" & ".join(["Condition", *names]) + r" \\", r"\midrule"]
        family = None
        for condition in conditions:
            if family not in (None, condition.family):
                parts.append(r"\addlinespace")
            family = condition.family
            cells = [_latex_cell(block, line.index, condition) for line in chunk]
            parts.append(" & ".join([escape(condition_name(condition)), *cells]) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*parts, r"\end{table*}", ""])


def latex_published(comparison: Comparison, test_set: str, pairs: list[dict]) -> str:
    """Booktabs tables: a row a published number beside the measured one, reasons and sources as lettered notes.

    pairs: of `reports.published.beside`. Needs \\usepackage{booktabs}.
    """
    names = list(string.ascii_lowercase) + [a + b for a in string.ascii_lowercase for b in string.ascii_lowercase]
    sources = list(dict.fromkeys(_source(pair) for pair in pairs))
    reasons = list(dict.fromkeys(reason for pair in pairs for reason in pair["why_not"]))
    flagged = comparison.contaminated(test_set)
    caption = (
        f"Published beside measured numbers on {escape(test_set)}: mean over images, 95\\,\\% bootstrap interval and "
        "number of images as measured here; the difference (measured minus published) where the two are comparable, "
        "else a letter for each reason why they are not."
    )
    if is_folder(comparison, test_set):
        caption += " The images measured here are a folder of this name."
    if flagged:
        caption += r" $^{\dagger}$ The model was trained on images of this test set."
    notes = [f"[{i}] {escape(source)}." for i, source in enumerate(sources, 1)]
    notes += [f"({name}) {escape(reason)}." for name, reason in zip(names, reasons, strict=False)]
    parts = []
    for start in range(0, len(pairs), ROWS_A_TABLE):
        parts += [r"\begin{table*}[p]", r"\centering\scriptsize"]
        parts.append(rf"\caption{{{caption}}}" if not start else r"\caption{Continued.}")
        parts += [r"\begin{tabular}{lllccclll}", r"\toprule"]
        parts += [
            r"Localizer & Condition & Metric (protocol) & Measured & $n$ & Published & By & Difference & Why none \\",
            r"\midrule",
        ]
        for pair in pairs[start : start + ROWS_A_TABLE]:
            metric = comparison.metric(pair["metric"]).title
            span = "" if pair["low"] is None else f" [{pair['low']:.3f}, {pair['high']:.3f}]"
            cells = [
                escape(pair["line"].label) + (r"$^{\dagger}$" if pair["line"].index in flagged else ""),
                escape(condition_name(pair["condition"])),
                escape(f"{metric} ({pair['protocol']})"),
                "n/a" if pair["mean"] is None else f"{pair['mean']:.3f}{span}",
                str(pair["n"]),
                f"{pair['published']:.3f}",
                f"[{sources.index(_source(pair)) + 1}]",
                "--" if pair["difference"] is None else f"${pair['difference']:+.3f}$",
                ", ".join(f"({names[reasons.index(reason)]})" for reason in pair["why_not"]),
            ]
            parts.append(" & ".join(cells) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}", r"\end{table*}"]
    closing = ["", r"\par\medskip", rf"\parbox{{\linewidth}}{{\scriptsize {' '.join(notes)}}}", r"\end{table*}", ""]
    return "\n".join([*parts[:-1], *closing])


def _source(pair: dict) -> str:
    """Who published the number, as what, and how it was scored."""
    weights = f", weights: {pair['train_set']}" if pair["train_set"] else ""
    rule = f"; {pair['rule']}" + (f" ({pair['scoring']})" if pair["scoring"] else "")
    return f"{pair['source']}: {pair['method']}{weights}{rule}"


def _latex_cell(block: pd.DataFrame, line: int, condition: Condition) -> str:
    if (line, condition.spec) not in block.index:
        return "--"
    row = block.loc[(line, condition.spec)]
    if math.isnan(row["mean"]):
        return "n/a" if row["n_not_applicable"] else "failed" if row["n_failed"] else "--"
    mean = f"{row['mean']:.3f}"
    if row["rank"] == block.xs(condition.spec, level="spec")["rank"].min():
        mean = rf"\textbf{{{mean}}}"
    span = "" if math.isnan(row["low"]) else f"[{row['low']:.3f}, {row['high']:.3f}], "
    failed = f", {int(row['n_failed'])} failed" if row["n_failed"] else ""
    return rf"\shortstack{{{mean}\\{{\tiny {span}$n$={int(row['n'])}{failed}}}}}"


def escape(text: str) -> str:
    """Plain text for LaTeX: every active character made literal."""
    return "".join(LATEX.get(character, character) for character in text)


def file_stem(*parts: str) -> str:
    """A file name without extension for one block of numbers; odd characters become hyphens."""
    return "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part) for part in parts)
