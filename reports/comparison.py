"""One or several runs brought to a common form: lines of a figure, columns of a table, their order and names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from reports import RunView

WHOLE_SET = "*"  # the image column of a metric that has one value a test set


class ReportError(ValueError):
    """Runs that cannot be shown on one page; the message says why and what to change."""


@dataclass(frozen=True)
class Metric:
    """A metric as the reader meets it.

    ranked: larger is better, so that ranks, best and worst have a meaning.
    whole: one value a test set, not a mean over images.
    """

    name: str
    title: str
    description: str
    ranked: bool = True
    whole: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("f1", "Pixel F1", "Harmonic mean of pixel precision and recall at the protocol's threshold."),
        Metric("iou", "Pixel IoU", "Intersection over union of prediction and truth at the protocol's threshold."),
        Metric("auc", "Pixel AUC", "Area under the ROC curve over the pixels of an image; .5 is chance."),
        Metric("ap", "Pixel AP", "Average precision over the pixels of an image; chance is the forged share."),
        Metric("mcc", "Pixel MCC", "Matthews correlation coefficient of prediction and ground truth; 0 is chance."),
        Metric("best_f1", "Best-threshold F1", "F1 at the threshold that maximises it with the ground truth known."),
        Metric("best_iou", "Best-threshold IoU", "IoU at the threshold that maximises it with the ground truth known."),
        Metric("precision", "Pixel precision", "Share of the pixels called forged that are forged."),
        Metric("recall", "Pixel recall", "Share of the forged pixels that are called forged."),
        Metric("accuracy", "Pixel accuracy", "Share of pixels called rightly; high where nothing is called forged."),
        Metric("image_auc", "Image AUC", "Area under the ROC curve of tampered against authentic images.", whole=True),
        Metric("image_ap", "Image AP", "Average precision of tampered against authentic images.", whole=True),
        Metric("image_f1", "Image F1", "F1 of calling whole images tampered.", whole=True),
        Metric("image_accuracy", "Image accuracy", "Share of images called rightly.", whole=True),
        Metric(
            "pooled_auc",
            "Pooled pixel AUC",
            "Area under the ROC curve over the pixels of all images.",
            whole=True,
        ),
        Metric("pooled_ap", "Pooled pixel AP", "Average precision over the pixels of all images.", whole=True),
        Metric(
            "pooled_f1",
            "Pooled pixel F1",
            "F1 at the protocol's threshold, pixels of all images.",
            whole=True,
        ),
        Metric("best_threshold", "Best threshold", "The threshold of the best F1, not a merit.", ranked=False),
        Metric("threshold", "Threshold", "The threshold that was applied, not a merit.", ranked=False),
    )
}


@dataclass(frozen=True)
class Line:
    """One curve, one table row: a model in a run. `style` counts models, `run` counts runs."""

    index: int
    run: int
    style: int
    model: str
    label: str
    title: str


@dataclass(frozen=True)
class Condition:
    """One perturbation level. psnr (dB) and ssim: mean over the images it was measured on, NaN where unknown."""

    spec: str
    family: str
    level: str
    psnr: float = float("nan")
    ssim: float = float("nan")
    size: float = float("nan")

    @property
    def identity(self) -> bool:
        return self.family == "identity"


def condition_name(condition: Condition) -> str:
    """ "jpeg 70", "identity": the family and its level."""
    return f"{condition.family} {condition.level}".strip()


@dataclass
class Comparison:
    """What figures, tables and page are drawn from.

    summary: the summary tables of all runs with a column `line` (index into `lines`).
    conditions: identity first, then family by family, within a family from the mildest to the severest
        level by measured PSNR (in the order of the run where none was measured).
    """

    runs: list[RunView]
    lines: list[Line]
    conditions: list[Condition]
    metrics: list[Metric]
    protocols: list[dict]
    test_sets: list[dict]
    summary: pd.DataFrame
    line_of: dict[tuple[int, str], int] = field(default_factory=dict)

    @property
    def families(self) -> dict[str, list[Condition]]:
        """Perturbation family -> its levels, identity excluded."""
        found: dict[str, list[Condition]] = {}
        for condition in self.conditions:
            if not condition.identity:
                found.setdefault(condition.family, []).append(condition)
        return found

    def protocol(self, name: str) -> dict:
        return next(p for p in self.protocols if p["name"] == name)

    @property
    def headline(self) -> tuple[Metric, dict] | None:
        """The metric and protocol to begin with: the first of those that the most lines have a number of."""
        scored = self.summary.dropna(subset=["mean"])
        lines = scored.groupby(["metric", "protocol"])["line"].nunique()
        choices = [(m, p) for p in self.protocols for m in self.metrics if m.ranked and not m.whole]
        choices = choices or [(m, p) for p in self.protocols for m in self.metrics]
        return max(choices, key=lambda choice: lines.get((choice[0].name, choice[1]["name"]), 0), default=None)

    def metric(self, name: str) -> Metric:
        return next(m for m in self.metrics if m.name == name)

    def contaminated(self, test_set: str) -> set[int]:
        """Indices of the lines whose model was trained on images of this test set."""
        rows = self.summary[(self.summary["test_set"] == test_set) & self.summary["contaminated"].astype(bool)]
        return set(rows["line"])

    def block(self, test_set: str, metric: str, protocol: str) -> pd.DataFrame:
        """The summary rows of one figure or table, indexed by (line, spec)."""
        table = self.summary
        chosen = (table["test_set"] == test_set) & (table["metric"] == metric) & (table["protocol"] == protocol)
        return table[chosen].set_index(["line", "spec"])

    def blocks(self) -> list[tuple[str, str, str]]:
        """Every (test set, metric, protocol) there are numbers or explained gaps of, in the order of the page."""
        present = set(self.summary[["test_set", "metric", "protocol"]].itertuples(index=False, name=None))
        return [
            (test_set["name"], metric.name, protocol["name"])
            for test_set in self.test_sets
            for protocol in self.protocols
            for metric in self.metrics
            if (test_set["name"], metric.name, protocol["name"]) in present
        ]


def compare(runs: list[RunView]) -> Comparison:
    """Merge runs. Raises ValueError for no run and for two runs of the same label."""
    if not runs:
        raise ReportError("no run to report on; name at least one run folder")
    labels = [run.label for run in runs]
    if len(set(labels)) < len(labels):
        raise ReportError(f"two runs have the same label ({', '.join(labels)}); give each its own")
    lines = _lines(runs)
    line_of = {(line.run, line.model): line.index for line in lines}
    summary = pd.concat(
        [
            run.summary.assign(line=[line_of[number, model] for model in run.summary["model"]])
            for number, run in enumerate(runs)
        ],
        ignore_index=True,
    )
    summary["line"] = summary["line"].astype(int)
    present = list(dict.fromkeys(summary["metric"]))
    known = [METRICS[name] for name in METRICS if name in present]
    whole = {name for run in runs for name in run.results.loc[run.results["image"] == WHOLE_SET, "metric"].unique()}
    unknown = [Metric(n, n.replace("_", " "), "", whole=n in whole) for n in present if n not in METRICS]
    return Comparison(
        runs=runs,
        lines=lines,
        conditions=_conditions(runs, summary),
        metrics=known + unknown,
        protocols=_protocols(runs, summary),
        test_sets=_test_sets(runs, summary),
        summary=summary,
        line_of=line_of,
    )


def _lines(runs: list[RunView]) -> list[Line]:
    lines: list[Line] = []
    styles: dict[str, int] = {}
    for number, run in enumerate(runs):
        cards = {card["name"]: card for card in run.models if card.get("status", "run") == "run"}
        with_rows = set(run.summary["model"])
        names = [n for n in cards if n in with_rows] + [
            n for n in dict.fromkeys(run.summary["model"]) if n not in cards
        ]
        for name in names:
            label = name if len(runs) == 1 else f"{run.label}/{name}"
            title = cards.get(name, {}).get("title") or name
            lines.append(Line(len(lines), number, styles.setdefault(name, len(styles)), name, label, title))
    return lines


def _conditions(runs: list[RunView], summary: pd.DataFrame) -> list[Condition]:
    rows = summary[["perturbation", "level", "spec"]].drop_duplicates("spec")
    measured = pd.concat([run.cells for run in runs], ignore_index=True)
    severity = pd.DataFrame(index=rows["spec"])
    for column in ("psnr", "ssim", "bytes"):
        if column in measured and len(measured):
            values = pd.to_numeric(measured[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
            severity[column] = values.groupby(measured["spec"]).mean()
        else:
            severity[column] = np.nan
    conditions = [
        Condition(spec, family, str(level), *(float(v) for v in severity.loc[spec, ["psnr", "ssim", "bytes"]]))
        for family, level, spec in rows.itertuples(index=False, name=None)
    ]
    families = list(dict.fromkeys(c.family for c in conditions))
    ordered: list[Condition] = [c for c in conditions if c.identity]
    for family in families:
        members = [c for c in conditions if c.family == family and not c.identity]
        if all(np.isfinite(c.psnr) for c in members):
            members.sort(key=lambda c: -c.psnr)
        ordered += members
    return ordered


def _protocols(runs: list[RunView], summary: pd.DataFrame) -> list[dict]:
    described = {p["name"]: p for run in reversed(runs) for p in run.protocols}
    for run in runs:
        for protocol in run.protocols:
            if described[protocol["name"]]["version"] != protocol["version"]:
                raise ReportError(
                    f"protocol {protocol['name']!r} has different versions in these runs; their numbers cannot stand "
                    "side by side: make the reports apart, or run them again with one version of this program"
                )
    missing = set(summary["protocol"]) - set(described)
    if missing:
        raise ReportError(
            f"the summary holds numbers of protocols that are not described: {', '.join(sorted(missing))}"
        )
    present = set(summary["protocol"])
    order = list(dict.fromkeys(p["name"] for run in runs for p in run.protocols))
    return [described[name] for name in order if name in present]


def _test_sets(runs: list[RunView], summary: pd.DataFrame) -> list[dict]:
    described = {s["name"]: s for run in reversed(runs) for s in run.test_sets}
    names = list(dict.fromkeys([s["name"] for run in runs for s in run.test_sets] + list(summary["test_set"])))
    return [described.get(name, {"name": name, "title": name}) for name in names]
