"""The page of a study: one self-contained HTML file without a script, its tables as CSV, and its card as Markdown."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import jinja2
import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from reports.figures import STYLE, UNDATED
from reports.style import COLOURS, DASHES, MARKERS

EVERY_SET = "all"
METRICS = {"auc": "pixel AUC", "f1": "pixel F1", "iou": "IoU"}
ENDPOINTS = {
    "clean": "on unperturbed images",
    "perturbed": "mean over all perturbations",
    "kept": "change under perturbation",
}
CLASSES = (("pristine", "#0072b2", "o"), ("forged", "#d55e00", "^"))


@dataclass(frozen=True)
class Embedding:
    """A picture of feature space: label, points (n, 2), forged bool (n,)."""

    label: str
    points: np.ndarray
    forged: np.ndarray


@dataclass
class StudyView:
    """A finished study, as its page sees it.

    variants: mappings with name, label, seeds (a number), published (one number a published column, or nothing).
    curves, comparisons: the tables of `bench.training.study.findings`. features: one row a network; columns network,
        compactness, separability, silhouette, silhouette_pooled, images. trainings: one row a network; columns network,
        variant, seed, steps, seconds, loss, weights (SHA-256).
    outcome, headline, paragraphs: the verdict. facts: name -> text, how the study was made.
    recipe: the shared recipe as TOML. command: what makes it again. published: mapping with source and columns.
    """

    name: str
    title: str
    claim: str
    reference: str
    protocol: str
    metrics: tuple[str, ...]
    variants: list[dict]
    outcome: str
    headline: str
    paragraphs: tuple[str, ...]
    curves: pd.DataFrame
    comparisons: pd.DataFrame
    features: pd.DataFrame
    trainings: pd.DataFrame
    embeddings: list[Embedding]
    facts: dict[str, str]
    limits: tuple[str, ...]
    recipe: str
    command: str
    published: dict = field(default_factory=dict)

    def label(self, variant: str) -> str:
        """The words for a variant."""
        return next(v["label"] for v in self.variants if v["name"] == variant)

    @property
    def test_sets(self) -> list[str]:
        """All sets pooled first, then each."""
        return list(self.curves["test_set"].unique())


def write(out: Path, view: StudyView) -> list[Path]:
    """Write the study's page and tables below `out`; return their paths.

    `study.html`, `RESULTS.md`, `curves.csv`, `comparisons.csv`, `features.csv` and `trainings.csv`.
    """
    out.mkdir(parents=True, exist_ok=True)
    page, card = out / "study.html", out / "RESULTS.md"
    page.write_text(build(view), encoding="utf-8")
    card.write_text(_rendered("study.md.j2", view, autoescape=False), encoding="utf-8")
    tables = []
    for name in ("curves", "comparisons", "features", "trainings"):
        tables.append(out / f"{name}.csv")
        getattr(view, name).to_csv(tables[-1], index=False, float_format="%.6g")
    return [page, card, *tables]


def build(view: StudyView) -> str:
    """The page as text."""
    with mpl.rc_context(STYLE):
        figures = {
            "curves": [_panel(view, *panel) for panel in _panels(view)],
            "differences": [_differences(view, endpoint) for endpoint in ENDPOINTS],
            "embeddings": [_scatter(embedding) for embedding in view.embeddings],
        }
    return _rendered("study.html.j2", view, figures=figures, style=Markup(_resource("study.css")), autoescape=True)


def _rendered(template: str, view: StudyView, *, autoescape: bool, **more) -> str:
    environment = jinja2.Environment(autoescape=autoescape, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, signed=signed, chance=chance)
    return environment.from_string(_resource(template)).render(
        view=view,
        endpoints=ENDPOINTS,
        metric_names=METRICS,
        colours=_colours(view),
        published=published_rows(view),
        every_set=EVERY_SET,
        **more,
    )


def number(value: float, digits: int = 3) -> str:
    """`.573`; an en dash for a value that there is not."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    value = round(value, digits) + 0.0  # no negative zero
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text.replace("0.", ".", 1) if digits and abs(value) < 1 else text


def signed(value: float, digits: int = 3) -> str:
    """`+.012`, with a true minus sign; an en dash for a value that there is not."""
    return number(value, digits) if not math.isfinite(value) or value < 0 else f"+{number(value, digits)}"


def chance(p: float) -> str:
    """A p-value: `.031`, `< .001`."""
    return "< .001" if p < 0.001 else number(p)


def published_rows(view: StudyView) -> list[dict]:
    """Every variant with its published numbers and how far they lie below the reference's, beside ours.

    Ours: F1 and IoU on unperturbed images, all sets pooled, in percent like the published ones.
    """
    columns = list(view.published.get("columns", ()))
    full = next((v["published"] for v in view.variants if v["name"] == view.reference), ())
    clean = view.curves[(view.curves["test_set"] == EVERY_SET) & (view.curves["spec"] == "identity")]
    ours = clean.set_index(["variant", "metric"])["mean"]
    rows = []
    for v in view.variants:
        theirs = v["published"] or [math.nan] * len(columns)
        row = {"label": v["label"], "published": theirs, "dropped": [a - b for a, b in zip(full, theirs, strict=False)]}
        measured = [metric for metric in ("f1", "iou") if metric in view.metrics]
        row["ours"] = [100 * ours[v["name"], metric] for metric in measured]
        row["our_drop"] = [100 * (ours[view.reference, metric] - ours[v["name"], metric]) for metric in measured]
        row["measured"] = [METRICS[metric] for metric in measured]
        rows.append(row)
    return rows


# ------------------------------------------------------------------------------------------------------- figures


def _panels(view: StudyView) -> list[tuple[str, str, pd.DataFrame]]:
    """(metric, family, rows) of every panel: identity leftmost, then the levels of one family; all sets pooled."""
    panels = []
    for metric in view.metrics:
        rows = view.curves[(view.curves["metric"] == metric) & (view.curves["test_set"] == EVERY_SET)]
        for family in rows["perturbation"].unique():
            if family != "identity":
                panels.append((metric, family, rows[rows["perturbation"].isin(["identity", family])]))
    return panels


def _colours(view: StudyView) -> dict[str, str]:
    return {v["name"]: COLOURS[i % len(COLOURS)] for i, v in enumerate(view.variants)}


def _panel(view: StudyView, metric: str, family: str, rows: pd.DataFrame) -> dict:
    """One robustness curve of every variant, with its band."""
    figure = Figure(figsize=(3.4, 2.7), layout="constrained")
    axis = figure.subplots()
    words = []
    for i, v in enumerate(view.variants):
        mine = rows[rows["variant"] == v["name"]]
        ticks = np.arange(len(mine))
        colour, dashes, mark = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i]
        axis.plot(
            ticks, mine["mean"], color=colour, linestyle=dashes, linewidth=1.3, marker=mark, markersize=4, zorder=3
        )
        axis.fill_between(ticks, mine["low"], mine["high"], color=colour, alpha=0.1, linewidth=0)
        values = ", ".join(
            f"{level or 'clean'} {number(m)}" for level, m in zip(mine["level"], mine["mean"], strict=True)
        )
        words.append(f"{v['label']}: {values}")
    axis.set_xticks(ticks, [level or "clean" for level in mine["level"]])
    axis.set_ylabel(METRICS.get(metric, metric))
    if metric == "auc":
        axis.axhline(0.5, color="#777777", linewidth=0.8, linestyle=":")
    title = f"{METRICS.get(metric, metric)}, {family}"
    return {"title": title, "metric": metric, "alt": f"{title}. {'; '.join(words)}.", "source": _data_uri(figure)}


def _differences(view: StudyView, endpoint: str) -> dict:
    """Reference - other with interval, a row a comparison and test set, for the first metric."""
    metric = view.metrics[0]
    rows = view.comparisons[(view.comparisons["metric"] == metric) & (view.comparisons["endpoint"] == endpoint)]
    sets = list(rows["test_set"].unique())
    others = [v for v in view.variants if v["name"] != view.reference]
    figure = Figure(figsize=(3.4, 0.5 + 0.21 * len(others) * (len(sets) + 0.8)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="#777777", linewidth=0.8)
    height, words = 0.0, []
    labels, heights = [], []
    for v in others:
        colour = _colours(view)[v["name"]]
        for test_set in sets:
            row = rows[(rows["variant"] == v["name"]) & (rows["test_set"] == test_set)].iloc[0]
            pooled = test_set == EVERY_SET
            marker, size, width = ("D", 5, 1.6) if pooled else ("o", 3, 0.9)
            reach = [[row["difference"] - row["low"]], [row["high"] - row["difference"]]]
            axis.errorbar(
                [row["difference"]], [-height], xerr=reach, capsize=2,
                linewidth=width, color=colour, marker=marker, markersize=size,
            )  # fmt: skip
            labels.append(f"{v['label'].split(' ')[0]} {test_set}" if len(sets) > 1 else v["label"])
            heights.append(-height)
            words.append(
                f"{v['label']}, {test_set}: {signed(row['difference'])} [{signed(row['low'])}, {signed(row['high'])}]"
            )
            height += 1
        height += 0.8
    axis.set_yticks(heights, labels)
    axis.grid(axis="y", visible=False)
    title = f"Difference of {METRICS.get(metric, metric)} {ENDPOINTS[endpoint]}"
    return {"title": title, "alt": f"{title}. {'; '.join(words)}.", "source": _data_uri(figure)}


def _scatter(embedding: Embedding) -> dict:
    figure = Figure(figsize=(2.9, 2.9), layout="constrained")
    axis = figure.subplots()
    for name, colour, marker in CLASSES:
        mine = embedding.points[embedding.forged == (name == "forged")]
        axis.scatter(mine[:, 0], mine[:, 1], s=7, color=colour, marker=marker, alpha=0.6, linewidths=0, label=name)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.legend(loc="upper right", fontsize=7, handletextpad=0.1, borderpad=0.2)
    alt = f"Two-dimensional embedding of the features of pristine and forged pixels, {embedding.label}."
    return {"title": embedding.label, "alt": alt, "source": _data_uri(figure)}


def _data_uri(figure: Figure) -> str:
    """A figure as SVG in a data URI; the same numbers give the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=UNDATED["svg"])
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _resource(name: str) -> str:
    return files("reports").joinpath(name).read_text(encoding="utf-8")
