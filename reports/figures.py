"""Robustness curves as PDF, PNG and SVG files; the bytes depend on the numbers alone."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.comparison import Comparison, Condition, Line, Metric
from reports.tables import file_stem

# Colour-blind safe (after Okabe and Ito 2008, darkened to read on white); dashes and markers differ as well.
COLOURS = ("#0072b2", "#d55e00", "#00875f", "#b5508f", "#b07a00", "#555555", "#7b4a2d", "#2b8fc7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3)))
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "robustness",
    "svg.fonttype": "path",
}
UNDATED = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
PANELS_A_ROW = 4


def write(folder: Path, comparison: Comparison) -> list[Path]:
    """One figure a test set and ranked metric, under the first protocol that has numbers of it."""
    folder.mkdir(parents=True, exist_ok=True)
    files, drawn = [], set()
    for test_set, metric, protocol in comparison.blocks():
        described = comparison.metric(metric)
        empty = comparison.block(test_set, metric, protocol)["mean"].isna().all()
        if (test_set, metric) in drawn or not described.ranked or empty:
            continue
        drawn.add((test_set, metric))
        with mpl.rc_context(STYLE):
            figure = draw(comparison, test_set, described, protocol)
            for suffix, metadata in UNDATED.items():
                file = folder / f"{file_stem(test_set, metric, protocol)}.{suffix}"
                figure.savefig(file, metadata=metadata, dpi=160)
                files.append(file)
    return files


def draw(comparison: Comparison, test_set: str, metric: Metric, protocol: str) -> Figure:
    """Small multiples: a panel a perturbation family, a line a model, identity leftmost, bootstrap bands."""
    block = comparison.block(test_set, metric.name, protocol)
    lines = [line for line in comparison.lines if line.index in set(block.index.get_level_values("line"))]
    present = set(block.index.get_level_values("spec"))
    identity = [c for c in comparison.conditions if c.identity and c.spec in present]
    families = {
        name: identity + [c for c in levels if c.spec in present]
        for name, levels in comparison.families.items()
        if any(c.spec in present for c in levels)
    } or {"identity": identity}
    columns, legend_columns = min(PANELS_A_ROW, len(families)), 4
    rows, legend_rows = math.ceil(len(families) / columns), math.ceil(len(lines) / legend_columns)
    # placed by hand, in inches: matplotlib's automatic layout costs more than all the drawing
    left, right, top, bottom, gap, width, height = 0.55, 0.15, 0.62, 0.75 + 0.19 * legend_rows, 0.75, 2.1, 1.6
    wide = max(left + columns * width + (columns - 1) * 0.2 + right, 7.6)
    tall = top + rows * height + (rows - 1) * gap + bottom
    figure = Figure(figsize=(wide, tall))
    grid = figure.subplots(
        rows,
        columns,
        sharey=True,
        squeeze=False,
        gridspec_kw={
            "left": left / wide,
            "right": (left + columns * width + (columns - 1) * 0.2) / wide,
            "top": 1 - top / tall,
            "bottom": bottom / tall,
            "hspace": gap / height,
            "wspace": 0.2 / width,
        },
    )
    axes = list(grid.flat)
    curves = {column: block[column].unstack("spec") for column in ("mean", "low", "high")}
    several = len(comparison.runs) > 1
    for axis, (name, conditions) in zip(axes, families.items(), strict=False):
        _panel(axis, curves, lines, conditions, comparison.contaminated(test_set), several)
        axis.set_title("unperturbed" if name == "identity" else name, loc="left")
    for axis in axes[len(families) :]:
        axis.set_visible(False)
    for row in range(rows):
        axes[row * columns].set_ylabel(metric.title)
    rule = comparison.protocol(protocol)
    heading = f"{metric.title} on {test_set}, protocol {rule['name']} version {rule['version']}"
    figure.text(0.1 / wide, 1 - 0.22 / tall, heading, fontsize=10)
    figure.legend(
        handles=_handles(comparison, test_set, lines, block),
        loc="lower left",
        bbox_to_anchor=(0.0, 0.22 / tall),
        ncols=legend_columns,
        frameon=False,
    )
    figure.text(0.1 / wide, 0.1 / tall, _note(comparison, test_set, block, metric.whole), fontsize=7)
    return figure


def style(line: Line, several: bool) -> dict:
    """Colour, dash and marker of a line; with several runs the dash tells the run."""
    dash = line.run if several else line.style
    return {
        "color": COLOURS[line.style % len(COLOURS)],
        "linestyle": DASHES[dash % len(DASHES)],
        "marker": MARKERS[line.style % len(MARKERS)],
        "linewidth": 1.3,
        "markersize": 4,
    }


def _panel(axis, curves: dict, lines, conditions: list[Condition], flagged: set[int], several: bool) -> None:
    positions, specs = np.arange(len(conditions)), [c.spec for c in conditions]
    alone = len(conditions) == 1
    for order, line in enumerate(lines):
        mean, low, high = (curves[c].loc[line.index, specs].to_numpy(float) for c in ("mean", "low", "high"))
        look = style(line, several)
        hollow = {"markerfacecolor": "white"} if line.index in flagged else {}
        if alone:
            below_above = np.abs(np.nan_to_num(np.stack([mean - low, high - mean])))
            *_, (whisker,) = axis.errorbar([order], mean, yerr=below_above, capsize=3, **look, **hollow)
            whisker.set_linestyle(look["linestyle"])
        else:
            axis.plot(positions, mean, **look, **hollow, zorder=3)
            axis.fill_between(positions, low, high, color=look["color"], alpha=0.12, linewidth=0)
    if alone:
        axis.set_xticks([])
        axis.set_xlim(-0.6, len(lines) - 0.4)
    else:
        axis.set_xticks(positions, ["clean" if c.identity else c.level.replace("+", "\n+") for c in conditions])


def _handles(comparison: Comparison, test_set: str, lines: list[Line], block) -> list[Line2D]:
    several, flagged = len(comparison.runs) > 1, comparison.contaminated(test_set)
    handles = []
    for line in lines:
        undefined = block.loc[[line.index], "mean"].isna().all()
        label = f"{line.label}{'†' if line.index in flagged else ''}{' (n/a)' if undefined else ''}"
        hollow = {"markerfacecolor": "white"} if line.index in flagged else {}
        look = {"linestyle": "none"} if undefined else style(line, several) | hollow
        handles.append(Line2D([], [], label=label, **look))
    return handles


def _note(comparison: Comparison, test_set: str, block, whole: bool) -> str:
    counts = block["n"][block["n"] > 0]
    n = f"{counts.min():.0f}" if counts.min() == counts.max() else f"{counts.min():.0f} to {counts.max():.0f}"
    note = f"n = {n} images." if whole else f"Mean over n = {n} images; bands: 95 % bootstrap interval."
    if comparison.contaminated(test_set):
        note += " † and hollow markers: trained on images of this test set."
    return note
