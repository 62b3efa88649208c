"""Figures for a paper, drawn with seaborn: curves, heat map, distributions, quality against damage, and ranks.

They are drawn at their final size with 8-point text and without a title inside; the bytes depend on the numbers alone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.comparison import Comparison, Condition, Line, Metric
from reports.style import BANDS, COLOURS, DASHES, GREY, HIGHLIGHTED, MARKERS
from reports.tables import file_stem
from reports.view import EVERY_FAMILY

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

WIDTHS = {"column": 3.4, "text": 7.0}  # inches; of a two-column page
FORMATS = ("pdf", "png")
UNDATED = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
STYLE: dict[RcKeyType, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "robustness",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a name with $ in it is a name
}
SERIF: dict[RcKeyType, Any] = {"font.family": "DejaVu Serif"}
PICTURED_LEVELS = 40  # columns of a heat map that stay readable
MANY_SETS = 4  # above that only curves and heat maps are drawn unless metrics are asked for: each figure takes a second


@dataclass(frozen=True)
class Look:
    """How figures are drawn.

    Attributes:
        width: inches.
        models, metrics: names that are drawn, () for all.
        families: one file per family of perturbations instead of one with all panels.
        everything: every metric, not the headline ones alone.
    """

    width: float = WIDTHS["text"]
    serif: bool = False
    models: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    families: bool = False
    everything: bool = False
    formats: tuple[str, ...] = FORMATS


@dataclass(frozen=True)
class Plan:
    """One figure's numbers: the summary rows of a test set, metric and protocol, and the lines that are drawn."""

    comparison: Comparison
    test_set: str
    metric: Metric
    protocol: str
    look: Look
    lines: tuple[Line, ...]

    @property
    def block(self) -> pd.DataFrame:
        """Indexed by (line, spec)."""
        return self.comparison.block(self.test_set, self.metric.name, self.protocol)

    def bright(self) -> set[int]:
        """The lines in colour: all where they are few, else the best."""
        if len(self.lines) <= BANDS:
            return {line.index for line in self.lines}
        means = (
            self.block["mean"].groupby("line").mean().loc[lambda s: s.index.isin([line.index for line in self.lines])]
        )
        return set(means.sort_values(ascending=self.metric.sign < 0).index[:HIGHLIGHTED])


def write(folder: Path, comparison: Comparison, look: Look | None = None) -> list[Path]:
    """The figures of every test set and headline metric (all ranked ones with `everything`); their paths."""
    look = look or Look()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with mpl.rc_context(STYLE | (SERIF if look.serif else {})):
        for plan in plans(comparison, look):
            stem = file_stem(plan.test_set, plan.metric.name, plan.protocol)
            for kind, figure in drawn(plan):
                for suffix in look.formats:
                    files.append(folder / f"{stem}-{kind}.{suffix}")
                    figure.savefig(files[-1], metadata=UNDATED[suffix], dpi=200)
    return files


def plans(comparison: Comparison, look: Look) -> Iterator[Plan]:
    """What is to be drawn."""
    everything = look.everything or bool(look.metrics)
    done = set()
    for test_set, name, protocol in comparison.blocks(everything):
        metric = comparison.metric(name)
        if not metric.ranked or (look.metrics and name not in look.metrics) or (test_set, name) in done:
            continue
        block = comparison.block(test_set, name, protocol)
        present = set(block.index[block["mean"].notna()].get_level_values("line"))
        wanted = tuple(
            line
            for line in comparison.lines
            if line.index in present and (not look.models or line.model in look.models)
        )
        if wanted:
            done.add((test_set, name))
            yield Plan(comparison, test_set, metric, protocol, look, wanted)


def drawn(plan: Plan) -> Iterator[tuple[str, Figure]]:
    """(kind, figure) of all figures that the numbers allow."""
    families = plan.comparison.families
    main = plan.comparison.headline is not None and plan.metric == plan.comparison.headline[0]
    if plan.look.families and families:
        for name in families:
            yield f"curves-{file_stem(name)}", curves(plan, [name])
    else:
        yield "curves", curves(plan, list(families))
    if families and len(plan.comparison.conditions) <= PICTURED_LEVELS:
        yield "heatmap", heatmap(plan)
    asked = plan.look.everything or bool(plan.look.metrics)
    if not asked and (not main or len(plan.comparison.test_sets) > MANY_SETS):
        return
    figures: dict[str, Callable[[Plan], Figure | None]] = {"distribution": distribution, "psnr": psnr, "ranks": ranks}
    for kind, draw in figures.items():
        figure = draw(plan)
        if figure is not None:
            yield kind, figure


def curves(plan: Plan, names: list[str]) -> Figure:
    """Small multiples: a panel per family, a line per localizer, the unperturbed images leftmost, bootstrap bands."""
    comparison, look = plan.comparison, plan.look
    present = set(plan.block.index.get_level_values("spec"))
    identity = [c for c in comparison.conditions if c.identity and c.spec in present]
    families = {
        name: identity + [c for c in comparison.families[name] if c.spec in present]
        for name in names
        if any(c.spec in present for c in comparison.families[name])
    } or {"": identity}
    columns = max(1, min(len(families), round(look.width / 1.75)))
    rows = math.ceil(len(families) / columns)
    per_legend = max(1, int(look.width / 1.35))
    legend = 0.16 * math.ceil(len(plan.lines) / per_legend) + 0.08
    left, right, top, bottom, gap, between = 0.42, 0.06, 0.2, 0.56 + legend, 0.74, 0.12
    width = (look.width - left - right - (columns - 1) * between) / columns
    height = min(1.45, max(1.0, 0.8 * width))
    tall = top + rows * height + (rows - 1) * gap + bottom
    figure = Figure(figsize=(look.width, tall))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False, gridspec_kw={
        "left": left / look.width, "right": 1 - right / look.width, "top": 1 - top / tall, "bottom": bottom / tall,
        "hspace": gap / height, "wspace": between / width,
    })  # fmt: skip
    axes = list(grid.flat)
    for axis, (name, conditions) in zip(axes, families.items(), strict=False):
        _panel(axis, plan, conditions)
        axis.set_title(name, loc="left", pad=3)
        label = textwrap.fill(comparison.axis_title(name), max(12, int(16 * width))) if name else ""
        axis.set_xlabel(label, labelpad=2, fontsize=7)
    for axis in axes[len(families) :]:
        axis.set_visible(False)
    for row in range(rows):
        axes[row * columns].set_ylabel(plan.metric.title)
    figure.legend(handles=_handles(plan), loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=per_legend, frameon=False,
                  columnspacing=1.0, handlelength=2.2, borderaxespad=0.1)  # fmt: skip
    return figure


def _panel(axis, plan: Plan, conditions: list[Condition]) -> None:
    specs, bright = [c.spec for c in conditions], plan.bright()
    flagged = plan.comparison.contaminated(plan.test_set)
    alone = len(conditions) == 1
    for order, line in enumerate(sorted(plan.lines, key=lambda line: line.index in bright)):
        rows = plan.block.reindex([(line.index, spec) for spec in specs])
        mean, low, high = (rows[c].to_numpy(float) for c in ("mean", "low", "high"))
        look = _style(plan, line)
        hollow = {"markerfacecolor": "white"} if line.index in flagged else {}
        if alone:
            reach = np.abs(np.nan_to_num(np.stack([mean - low, high - mean])))
            axis.errorbar([order], mean, yerr=reach, capsize=2, **{**look, "linestyle": "none"}, **hollow)
            continue
        sns.lineplot(x=np.arange(len(specs)), y=mean, ax=axis, errorbar=None, legend=False, **look, **hollow)
        if len(plan.lines) <= BANDS:
            axis.fill_between(np.arange(len(specs)), low, high, color=look["color"], alpha=0.12, linewidth=0)
    _chance(axis, plan.metric)
    axis.grid(True, axis="y")
    if alone:
        axis.set_xticks([])
        axis.set_xlim(-0.6, len(plan.lines) - 0.4)
    else:
        axis.set_xticks(range(len(specs)), ["none" if c.identity else c.level.replace("+", "\n+") for c in conditions])


def _chance(axis, metric: Metric, vertical: bool = False) -> None:
    if metric.chance is not None:
        low, high = axis.get_xlim() if vertical else axis.get_ylim()
        if low - 0.15 * (high - low) <= metric.chance <= high:
            (axis.axvline if vertical else axis.axhline)(
                metric.chance, color="#777777", linestyle=":", linewidth=0.8, zorder=1
            )


def _style(plan: Plan, line: Line) -> dict:
    """Colour, dash and marker of a line; with several runs the dash tells the run."""
    dash = line.run if plan.comparison.several else line.style
    bright = line.index in plan.bright()
    return {
        "color": COLOURS[line.style % len(COLOURS)] if bright else GREY,
        "linestyle": DASHES[dash % len(DASHES)] if bright else "-",
        "marker": MARKERS[line.style % len(MARKERS)] if bright else "",
        "linewidth": 1.1 if bright else 0.7,
        "markersize": 3.2,
        "markeredgewidth": 0.8,
        "markeredgecolor": COLOURS[line.style % len(COLOURS)] if bright else GREY,
        "zorder": 3 if bright else 2,
    }


def _handles(plan: Plan) -> list[Line2D]:
    flagged = plan.comparison.contaminated(plan.test_set)
    handles = []
    for line in plan.lines:
        hollow = {"markerfacecolor": "white"} if line.index in flagged else {}
        label = f"{line.label}{'†' if line.index in flagged else ''}"
        handles.append(
            Line2D([], [], label=f" {label}" if label.startswith("_") else label, **_style(plan, line) | hollow)
        )
    return handles


def heatmap(plan: Plan) -> Figure:
    """Localizer x level, best mean first, the means in the cells."""
    comparison = plan.comparison
    present = set(plan.block.index.get_level_values("spec"))
    conditions = [c for c in comparison.conditions if c.spec in present]
    flagged = comparison.contaminated(plan.test_set)
    table = pd.DataFrame(
        {c.spec: [plan.block["mean"].get((line.index, c.spec), np.nan) for line in plan.lines] for c in conditions},
        index=[line.label + ("†" if line.index in flagged else "") for line in plan.lines],
    )
    table = table.iloc[np.argsort(-plan.metric.sign * table.mean(axis=1).fillna(-np.inf).to_numpy(), kind="stable")]
    left = 0.12 + 0.055 * max(map(len, table.index))
    below = 0.12 + 0.042 * max(len(c.name) for c in conditions)
    height, cell = below + 0.1 + 0.19 * len(table), (plan.look.width - left - 0.55) / len(conditions)
    figure = Figure(figsize=(plan.look.width, height))
    axis = figure.add_axes(
        (left / plan.look.width, below / height, 1 - (left + 0.55) / plan.look.width, 0.19 * len(table) / height)
    )
    bar = figure.add_axes(
        (1 - 0.45 / plan.look.width, below / height, 0.08 / plan.look.width, 0.19 * len(table) / height)
    )
    text = {"fontsize": 6 if cell > 0.3 else 4.5}
    sns.heatmap(table, ax=axis, cbar_ax=bar, cmap="mako", annot=True, fmt=".2f", annot_kws=text, linewidths=0.4,
                xticklabels=[c.name for c in conditions], yticklabels=True)  # fmt: skip
    axis.tick_params(length=0)
    axis.set_xticklabels(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    for text_ in axis.texts:
        text_.set_text(text_.get_text().replace("0.", ".", 1))
    bar.tick_params(length=2, labelsize=6)
    return figure


def distribution(plan: Plan) -> Figure | None:
    """The values of every unperturbed image: a violin per localizer with the images as points."""
    tables = []
    for line in plan.lines:
        rows = plan.comparison.unperturbed(line.run, plan.test_set, plan.metric.name, plan.protocol)
        values = rows.loc[rows["model"] == line.model, "value"].dropna().to_numpy(float)
        tables.append(pd.DataFrame({"name": line.label, "value": values}))
    table = pd.concat(tables, ignore_index=True)
    if table.empty or plan.metric.whole:
        return None
    order = table.groupby("name")["value"].median().sort_values(ascending=plan.metric.sign < 0).index.tolist()
    height = 0.5 + 0.28 * len(order)
    figure = Figure(figsize=(min(plan.look.width, 5.0), height))
    left = 0.12 + 0.055 * max(map(len, order))
    wide = figure.get_figwidth()
    axis = figure.add_axes((left / wide, 0.4 / height, 1 - (left + 0.08) / wide, 1 - 0.45 / height))
    common = {"data": table, "x": "value", "y": "name", "order": order, "ax": axis}
    sns.violinplot(**common, inner=None, cut=0, color="#c9d9ea", linewidth=0.5, density_norm="width", gridsize=60)
    if len(table) <= 4000:  # seaborn's strip plot scatters by the global generator, which would change the bytes
        place = table["name"].map(order.index) + np.random.default_rng(0).uniform(-0.2, 0.2, len(table))
        sns.scatterplot(x=table["value"], y=place, ax=axis, s=4, color="#0b3a66", alpha=0.6, linewidth=0, zorder=3)
    _chance(axis, plan.metric, vertical=True)
    axis.set_xlabel(f"{plan.metric.title}, each unperturbed image")
    axis.set_ylabel("")
    return figure


def psnr(plan: Plan) -> Figure | None:
    """The mean at every level against how far the level moved the images, in measured PSNR."""
    conditions = [c for c in plan.comparison.conditions if np.isfinite(c.psnr)]
    if len(conditions) < 3:
        return None
    figure = Figure(figsize=(min(plan.look.width, 4.2), 2.2))
    axis = figure.subplots(gridspec_kw={"left": 0.14, "right": 0.7, "top": 0.97, "bottom": 0.2})
    for line in plan.lines:
        points = [(c.psnr, plan.block["mean"].get((line.index, c.spec), np.nan)) for c in conditions]
        x, y = map(np.array, zip(*sorted(points, reverse=True), strict=True))
        look = _style(plan, line)
        sns.lineplot(x=x, y=y, ax=axis, errorbar=None, estimator=None, sort=False, legend=False, **look)
    _chance(axis, plan.metric)
    axis.invert_xaxis()
    axis.grid(True, axis="y")
    axis.set_xlabel("mean PSNR of the perturbed images (dB), milder to severer")
    axis.set_ylabel(plan.metric.title)
    figure.legend(
        handles=_handles(plan), loc="center left", bbox_to_anchor=(0.71, 0.55), frameon=False, borderaxespad=0
    )
    return figure


def ranks(plan: Plan) -> Figure | None:
    """A critical-difference diagram: mean ranks over images.

    Bars join localizers that the paired test cannot tell apart (after Demsar, JMLR 7, 2006, with the bootstrap test of
    the leaderboard instead of Nemenyi's).
    """
    board = plan.comparison.board(plan.test_set, plan.metric.name, plan.protocol, EVERY_FAMILY)
    lines = {line.index: line for line in plan.lines}
    ranked = board[(board["placed"] == "ranked") & board["rank"].notna() & board["line"].isin(list(lines))]
    if len(ranked) < 3 or plan.comparison.several:
        return None
    rows = plan.comparison.unperturbed(0, plan.test_set, plan.metric.name, plan.protocol)
    rows = rows[rows["model"].isin(list(ranked["model"]))]
    table = rows.pivot_table(index="image", columns="model", values="value", observed=True).dropna()
    if len(table) < 2:
        return None
    mean_rank = (-plan.metric.sign * table).rank(axis=1).mean().sort_values()
    names = list(mean_rank.index)
    groups = _joined(ranked.set_index("model")["ties"], names)
    half = math.ceil(len(names) / 2)
    height = 0.55 + 0.17 * half + 0.07 * len(groups)
    figure = Figure(figsize=(min(plan.look.width, 5.0), height))
    wide = figure.get_figwidth()
    axis = figure.add_axes((1.2 / wide, 0.02, 1 - 2.4 / wide, 1 - 0.3 / height))
    axis.set_xlim(1, len(names))
    axis.set_ylim(-(height - 0.3), 0)
    axis.spines[["left", "bottom", "right"]].set_visible(False)
    axis.spines["top"].set_visible(True)
    axis.xaxis.tick_top()
    axis.set_xticks(range(1, len(names) + 1))
    axis.set_yticks([])
    for number, (first, last) in enumerate(groups):
        y = -0.07 * (number + 1)
        axis.plot(
            [mean_rank[first] - 0.04, mean_rank[last] + 0.04],
            [y, y],
            color="#1b2027",
            linewidth=2.2,
            solid_capstyle="butt",
        )
    down = 0.07 * len(groups) + 0.15
    for place, name in enumerate(names):
        on_left = place < half
        y = -(down + 0.17 * (place if on_left else len(names) - 1 - place))
        end = 1 if on_left else len(names)
        axis.plot([mean_rank[name], mean_rank[name], end], [0, y, y], color="#555555", linewidth=0.6, clip_on=False)
        label = f"{name}  {mean_rank[name]:.2f}" if on_left else f"{mean_rank[name]:.2f}  {name}"
        axis.annotate(label, (end, y), xytext=(-3 if on_left else 3, 0), textcoords="offset points",
                      ha="right" if on_left else "left", va="center", fontsize=7, annotation_clip=False)  # fmt: skip
    return figure


def _joined(ties: pd.Series, names: list[str]) -> list[tuple[str, str]]:
    """The longest stretches of neighbours in `names` none of which is told from another, as (first, last)."""
    found: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = first
        while last + 1 < len(names) and all(names[last + 1] in ties[name] for name in names[first : last + 1]):
            last += 1
        if last > first and (not found or found[-1][1] < last):
            found.append((first, last))
    return [(names[first], names[last]) for first, last in found]
