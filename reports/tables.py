"""The numbers as CSV and LaTeX files."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd

from reports.comparison import Comparison, Condition, condition_name

SUMMARY_COLUMNS = [
    *("run", "model", "test_set", "perturbation", "level", "spec", "protocol", "protocol_version", "metric"),
    *("mean", "low", "high", "n", "n_failed", "n_not_applicable", "n_skipped", "rank", "contaminated"),
]
COLUMNS_A_TABLE = 5  # models side by side that fit a page in LaTeX
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
    """`summary.csv` (every number), `cost.csv`, and a CSV and a LaTeX file for each test set, metric and protocol."""
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


def file_stem(test_set: str, metric: str, protocol: str) -> str:
    """A file name without extension for one block of numbers; odd characters become hyphens."""
    return "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part) for part in (test_set, metric, protocol))
