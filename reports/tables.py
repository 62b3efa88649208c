"""Tables of a report: CSV with every number, and compact booktabs tables for a paper."""

from __future__ import annotations

import hashlib
import json
import math
import re
import string
from pathlib import Path

import pandas as pd

from reports.comparison import Comparison
from reports.published import COLUMNS, beside, is_folder, known_sets
from reports.view import EVERY_SET
from reports.words import score

SUMMARY_COLUMNS = [
    *("run", "model", "test_set", "perturbation", "level", "spec", "protocol", "protocol_version", "metric"),
    *("mean", "low", "high", "n", "n_failed", "n_not_applicable", "n_skipped", "rank", "contaminated"),
]
ROWS_A_TABLE = 40  # published numbers that fit a page in LaTeX
STEM = 80  # characters of one part of a file name
APART = {
    "control": "Controls: look at no trace of forgery",
    "trained": "Trained on images of the test set",
    "other images": "Measured on fewer images",
    "no value": "Without a value",
}
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


def write(
    folder: Path,
    comparison: Comparison,
    *,
    everything: bool = False,
    models: tuple[str, ...] = (),
    metrics: tuple[str, ...] = (),
) -> list[Path]:
    """Write the tables as CSV and LaTeX.

    `summary.csv` (every number), `leaderboard.csv`, `cost.csv`, with several runs `contrasts.csv`, and a CSV and a
    LaTeX file of each test set and headline metric (of all metrics and protocols with `everything`).

    models, metrics: names that the LaTeX tables hold, () for all. Where numbers are published on a test set:
    `published.csv` and `published.json` (the same, reasons as lists), and a LaTeX file for each such set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = long_table(comparison)
    tables = {"summary": summary, "leaderboard": _board_table(comparison), "cost": cost(comparison)}
    if comparison.several:
        tables["contrasts"] = comparison.contrasts
    files = []
    for name, table in tables.items():
        files.append(folder / f"{name}.csv")
        _to_csv(table, files[-1])
    grouped = dict(list(summary.groupby(["test_set", "metric", "protocol"], sort=False)))
    for block in comparison.blocks(everything or bool(metrics)):
        if metrics and block[1] not in metrics:
            continue
        files.append(folder / f"{file_stem(*block)}.csv")
        _to_csv(grouped[block], files[-1])
    scopes = [EVERY_SET] if EVERY_SET in comparison.scopes() else []
    blocks = dict.fromkeys(comparison.blocks(everything or bool(metrics)))
    wanted = [*blocks, *dict.fromkeys((scope, metric, protocol) for scope in scopes for _, metric, protocol in blocks)]
    for scope, metric, protocol in wanted:
        described = comparison.metric(metric)
        if described.ranked and (not metrics or metric in metrics):
            name = "all-sets" if scope == EVERY_SET else scope
            files.append(folder / f"{file_stem(name, metric, protocol)}.tex")
            text = latex(comparison, scope, metric, protocol, models)
            files[-1].write_text(text, encoding="utf-8", errors="backslashreplace")
    return files + _write_published(folder, comparison)


def _to_csv(table: pd.DataFrame, path: Path) -> None:
    """Text is quoted, so that a name with a line end stays one field."""
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table.to_csv(file, index=False, lineterminator="\n", quoting=2)  # csv.QUOTE_NONNUMERIC


def _board_table(comparison: Comparison) -> pd.DataFrame:
    labels = [comparison.runs[line.run].label for line in comparison.lines]
    table = comparison.standings
    ties = {name: table[name].map("; ".join) for name in ("ties", "ties_perturbed")}
    return table.drop(columns=["line"]).assign(run=[labels[line] for line in table["line"]], **ties)


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
    versions = {p.name: p.version for p in comparison.protocols}
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


def latex(comparison: Comparison, scope: str, metric: str, protocol: str, models: tuple[str, ...] = ()) -> str:
    r"""A booktabs table with a row per localizer; needs \usepackage{booktabs}.

    The unperturbed mean with its interval, the mean over each family of perturbations and over all, the worst level,
    the share that is retained, and n.

    The best is bold and the second underlined in a column only where the paired test tells it from the next.
    Controls, localizers trained on the set and those measured on fewer images stand apart.
    """
    described, rule = comparison.metric(metric), comparison.protocol(protocol)
    board = comparison.board(scope, metric, protocol)
    lines = {line.index: line for line in comparison.lines if not models or line.model in models}
    board = board[board["line"].isin(list(lines))]
    families = [name for name in comparison.families if len(comparison.families) > 1]
    of_family = {name: comparison.board(scope, metric, protocol, name).set_index("line") for name in families}
    of_all = board.set_index("line")
    columns = [("Unperturbed", of_all, "clean")]
    columns += [(name, of_family[name], "perturbed") for name in families]
    if len(board) and board["levels"].max() > 0:
        columns += [("All levels", of_all, "perturbed"), ("Worst", of_all, "worst")]
    marks = [_marks(table, value, described.sign) for _, table, value in columns]
    kept = len(columns) > 1
    head = ["Localizer", *(escape(title) for title, *_ in columns), *(["Retained"] if kept else []), "$n$"]
    where = "mean over the test sets" if scope == EVERY_SET else escape(scope)
    parts = [
        r"\begin{table*}[t]", r"\centering\footnotesize",
        rf"\caption{{{escape(described.title)} on {where}: {_what(described)} Best in bold, second underlined, only "
        rf"where the paired bootstrap (Holm, 5\,\%) tells them from the next. Protocol {escape(rule.name)} (version "
        rf"{escape(str(rule.version))}): {escape(rule.description)}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(head) - 2)}r}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule",
    ]  # fmt: skip
    for place in ("ranked", *APART):
        rows = board[board["placed"] == place]
        if len(rows) and place in APART:
            parts += [r"\midrule", rf"\multicolumn{{{len(head)}}}{{l}}{{\emph{{{APART[place]}}}}} \\"]
        for line in rows["line"]:
            cells = [_cell(table, line, value, mark) for (_, table, value), mark in zip(columns, marks, strict=True)]
            row = of_all.loc[line]
            low = (
                ""
                if pd.isna(row["clean_low"])
                else rf" {{\tiny [{_plain(row['clean_low'])}, {_plain(row['clean_high'])}]}}"
            )
            cells[0] += low
            share = [] if not kept else ["--" if pd.isna(row["retained"]) else rf"{100 * row['retained']:.0f}\,\%"]
            n = "--" if pd.isna(row["n"]) else f"{int(row['n'])}"
            parts.append(" & ".join([escape(lines[line].label), *cells, *share, n]) + r" \\")
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _what(metric) -> str:
    if metric.whole:
        return "one value of the whole set; means over the levels of each family."
    return r"mean over images with its 95\,\% bootstrap interval, and means over the levels of each family."


def _marks(table: pd.DataFrame, value: str, sign: int) -> dict[int, str]:
    """Line -> LaTeX command for a best or second value that the test tells from every other, run by run."""
    ties = {"clean": "ties", "perturbed": "ties_perturbed"}.get(value)
    if ties is None:
        return {}
    marks: dict[int, str] = {}
    for _, rows in table[table["placed"] == "ranked"].dropna(subset=[value, "rank"]).groupby("run"):
        first, second = [*rows[value].mul(-sign).sort_values(kind="stable").index, None, None][:2]
        if second is None or len(rows.at[first, ties]):
            continue
        marks[int(first)] = r"\textbf"
        if len(rows) > 2 and not len(rows.at[second, ties]):
            marks[int(second)] = r"\underline"
    return marks


def _cell(table: pd.DataFrame, line: int, value: str, marks: dict[int, str]) -> str:
    found = table[value].get(line, math.nan)
    if pd.isna(found):
        return "--"
    return rf"{marks[line]}{{{_plain(found)}}}" if line in marks else _plain(found)


def _plain(value: float) -> str:
    """A value in LaTeX: ".713", "$-$.020"."""
    return score(value).replace("−", "$-$")


def latex_published(comparison: Comparison, test_set: str, pairs: list[dict]) -> str:
    r"""Booktabs tables: a row per published number beside the measured one, reasons and sources as lettered notes.

    pairs: of `reports.published.beside`. Needs \usepackage{booktabs}.
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
                escape(pair["condition"].name),
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


def escape(text: str) -> str:
    """Plain text for LaTeX: every active character made literal."""
    return "".join(LATEX.get(character, character) for character in text)


def file_stem(*parts: str) -> str:
    """A file name without extension for one block of numbers.

    Different for different parts: a part of which characters were replaced or cut gets a short digest.
    """
    return "-".join(map(_stem, parts))


def _stem(part: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", part)[:STEM]
    if clean == part and part.strip("."):
        return part
    return f"{clean}~{hashlib.sha256(part.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
