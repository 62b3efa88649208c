"""One or several runs brought to a common form: lines of a figure, rows of a table, their order and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from reports.view import (
    EVERY_FAMILY,
    EVERY_SET,
    UNPERTURBED,
    Localizer,
    Metric,
    Perturbation,
    Protocol,
    ReportError,
    RunView,
    TestSet,
)

WHOLE_SET = "*"  # the image column of a metric that has one value per test set
HEADLINES = ("auc", "f1", "image_auc")  # metrics that files are written of unless all are asked for


@dataclass(frozen=True)
class Line:
    """One curve, one table row: a localizer in a run. `style` counts localizers, `run` counts runs."""

    index: int
    run: int
    style: int
    model: str
    label: str
    title: str
    groups: tuple[str, ...]
    licence: str
    control: bool
    featured: bool


@dataclass(frozen=True)
class Condition:
    """One level of a perturbation. psnr (dB), ssim, size (bytes): means over the images, or NaN.

    unchanged: how many of the `images` that were measured it left exactly as they were.
    """

    spec: str
    family: str
    level: str
    psnr: float = float("nan")
    ssim: float = float("nan")
    size: float = float("nan")
    unchanged: int = 0
    images: int = 0

    @property
    def identity(self) -> bool:
        """Whether the images are as they are."""
        return self.family == UNPERTURBED

    @property
    def name(self) -> str:
        """The family and its level: "jpeg 70", "resize 0.75 + jpeg 70", "unperturbed"."""
        if self.identity:
            return "unperturbed"
        names, levels = self.family.split("+"), self.level.split("+")
        if len(names) != len(levels):
            return f"{self.family} {self.level}".strip()
        return " + ".join(f"{name} {level}".strip() for name, level in zip(names, levels, strict=True))


@dataclass(frozen=True)
class Comparison:
    """What figures, tables and page are drawn from.

    summary, standings: the tables of all runs with a column `line` (index into `lines`).
    conditions: unperturbed first, then family by family, within a family from the mildest to the severest level by
        measured PSNR (in the order of the run where none was measured).
    contrasts: paired differences of later runs to the first (`bench.leaderboard.contrasts`), with several runs.
    differences: what differs between the runs, one mapping per thing: `what`, and a text per run label.
    warnings: what a reader must know before any number.
    """

    runs: tuple[RunView, ...]
    lines: tuple[Line, ...]
    conditions: tuple[Condition, ...]
    metrics: tuple[Metric, ...]
    protocols: tuple[Protocol, ...]
    test_sets: tuple[TestSet, ...]
    perturbations: tuple[Perturbation, ...]
    summary: pd.DataFrame
    standings: pd.DataFrame
    contrasts: pd.DataFrame
    differences: tuple[Mapping, ...] = ()
    warnings: tuple[str, ...] = ()
    line_of: Mapping[tuple[int, str], int] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether more than one run is compared."""
        return len(self.runs) > 1

    @property
    def families(self) -> dict[str, list[Condition]]:
        """Family of perturbations -> its levels, without the unperturbed images."""
        found: dict[str, list[Condition]] = {}
        for condition in self.conditions:
            if not condition.identity:
                found.setdefault(condition.family, []).append(condition)
        return found

    def axis_title(self, family: str) -> str:
        """What the levels of a family are: "quality factor (libjpeg scale)"; the name where nothing is recorded."""
        steps = [next((p for p in self.perturbations if p.name == name), None) for name in family.split("+")]
        alone = len(steps) == 1
        titles = [f"{s.parameter} ({s.unit})" if s.unit and alone else s.parameter for s in steps if s and s.parameter]
        return " + ".join(titles) if len(titles) == len(steps) else family

    def protocol(self, name: str) -> Protocol:
        """The protocol of a name."""
        return next(p for p in self.protocols if p.name == name)

    def metric(self, name: str) -> Metric:
        """The metric of a name."""
        return next(m for m in self.metrics if m.name == name)

    def test_set(self, name: str) -> TestSet:
        """The test set of a name."""
        return next(s for s in self.test_sets if s.name == name)

    @cached_property
    def headline(self) -> tuple[Metric, Protocol] | None:
        """The metric and protocol to begin with: the first of those that the most lines have a number of."""
        scored = self.summary.dropna(subset=["mean"])
        lines = scored.groupby(["metric", "protocol"])["line"].nunique()
        choices = [(m, p) for p in self.protocols for m in self.metrics if m.ranked and not m.whole]
        choices = choices or [(m, p) for p in self.protocols for m in self.metrics]
        return max(choices, key=lambda choice: lines.get((choice[0].name, choice[1].name), 0), default=None)

    @cached_property
    def _flagged(self) -> dict[str, set[int]]:
        rows = self.summary.loc[self.summary["contaminated"].astype(bool), ["test_set", "line"]].drop_duplicates()
        return {name: set(group["line"]) for name, group in rows.groupby("test_set")}

    def contaminated(self, test_set: str) -> set[int]:
        """Indices of the lines whose localizer was trained on images of this test set."""
        return self._flagged.get(test_set, set())

    @cached_property
    def _by_block(self) -> dict[tuple, pd.DataFrame]:
        groups = self.summary.groupby(["test_set", "metric", "protocol"], sort=False)
        return {key: group.set_index(["line", "spec"]) for key, group in groups}

    def block(self, test_set: str, metric: str, protocol: str) -> pd.DataFrame:
        """The summary rows of one figure or table, indexed by (line, spec)."""
        return self._by_block[test_set, metric, protocol]

    def blocks(self, everything: bool = True) -> list[tuple[str, str, str]]:
        """Every (test set, metric, protocol) there are numbers or explained gaps of, in the order of the page.

        everything: False for the headline metrics under the headline's protocol alone.
        """
        found = [
            (test_set.name, metric.name, protocol.name)
            for test_set in self.test_sets
            for protocol in self.protocols
            for metric in self.metrics
            if (test_set.name, metric.name, protocol.name) in self._by_block
        ]
        if everything or self.headline is None:
            return found
        wanted = {*HEADLINES, self.headline[0].name}
        return [block for block in found if block[1] in wanted and block[2] == self.headline[1].name]

    @cached_property
    def _unperturbed(self) -> list[dict[tuple, pd.DataFrame]]:
        found = []
        for run in self.runs:
            rows = run.results[(run.results["perturbation"] == UNPERTURBED) & (run.results["image"] != WHOLE_SET)]
            keys = ["test_set", "metric", "protocol"]
            found.append({key: group for key, group in rows.groupby(keys, sort=False, observed=True)})
        return found

    def unperturbed(self, run: int, test_set: str, metric: str, protocol: str) -> pd.DataFrame:
        """The per-image values of a run on the unperturbed images."""
        return self._unperturbed[run].get((test_set, metric, protocol), self.runs[run].results.iloc[:0])

    def board(self, test_set: str, metric: str, protocol: str, family: str = EVERY_FAMILY) -> pd.DataFrame:
        """The rows of a leaderboard, best unperturbed mean first."""
        table = self.standings
        rows = table[
            (table["test_set"] == test_set)
            & (table["metric"] == metric)
            & (table["protocol"] == protocol)
            & (table["family"] == family)
        ]
        sign = -1 if self.metric(metric).sign < 0 else 1
        return rows.sort_values("clean", ascending=sign < 0, kind="stable", na_position="last")

    def scopes(self) -> list[str]:
        """The test sets a leaderboard can be about: all of them together first, where there are several."""
        names = [s.name for s in self.test_sets]
        return [EVERY_SET, *names] if EVERY_SET in set(self.standings["test_set"]) else names


def compare(runs: list[RunView], contrasts: pd.DataFrame | None = None) -> Comparison:
    """Merge runs. Raises ReportError for no run and for two runs of the same label."""
    if not runs:
        raise ReportError("no run to report on; name at least one run folder")
    labels = [run.label for run in runs]
    if len(set(labels)) < len(labels):
        raise ReportError(f"two runs have the same label ({', '.join(labels)}); give each its own: NAME=RUN")
    lines = _lines(runs)
    line_of = {(line.run, line.model): line.index for line in lines}
    summary, standings = (_joined(runs, name, line_of) for name in ("summary", "standings"))
    test_sets = _test_sets(runs, summary)
    protocols = _protocols(runs, summary)
    differences = _differences(runs)
    return Comparison(
        runs=tuple(runs),
        lines=tuple(lines),
        conditions=tuple(_conditions(runs, summary)),
        metrics=tuple(_metrics(runs, summary)),
        protocols=tuple(protocols),
        test_sets=tuple(test_sets),
        perturbations=tuple({p.name: p for run in reversed(runs) for p in run.perturbations}.values()),
        summary=summary,
        standings=standings,
        contrasts=pd.DataFrame() if contrasts is None else contrasts,
        differences=tuple(differences),
        warnings=tuple(_warnings(runs, differences)),
        line_of=line_of,
    )


def _joined(runs: list[RunView], name: str, line_of: Mapping) -> pd.DataFrame:
    parts = []
    for number, run in enumerate(runs):
        table = getattr(run, name)
        lines = [line_of[number, model] for model in table["model"]]
        parts.append(table.assign(line=lines, run=number))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(line=table["line"].astype(int))


def _lines(runs: list[RunView]) -> list[Line]:
    """Localizers in the order of the first run that has them; those of several runs stand together, run by run."""
    order: dict[str, int] = {}
    cards: dict[tuple[int, str], Localizer] = {}
    for number, run in enumerate(runs):
        described = {card.name: card for card in run.localizers if card.status == "run"}
        with_rows = set(run.summary["model"])
        names = [n for n in described if n in with_rows]
        for name in [*names, *(n for n in dict.fromkeys(run.summary["model"]) if n not in described)]:
            order.setdefault(name, len(order))
            cards[number, name] = described.get(name, Localizer(name))
    lines: list[Line] = []
    for (number, name), card in sorted(cards.items(), key=lambda item: (order[item[0][1]], item[0][0])):
        label = name if len(runs) == 1 else f"{runs[number].label}/{name}"
        about = (card.title or name, card.groups, card.licence, card.control, card.featured)
        lines.append(Line(len(lines), number, order[name], name, label, *about))
    return lines


def _metrics(runs: list[RunView], summary: pd.DataFrame) -> list[Metric]:
    known = {metric.name: metric for run in reversed(runs) for metric in run.metrics}
    order = list(dict.fromkeys(metric.name for run in runs for metric in run.metrics))
    present = list(dict.fromkeys(summary["metric"]))
    whole = {n for run in runs for n in run.results.loc[run.results["image"] == WHOLE_SET, "metric"].unique()}
    unknown = [
        Metric(n, n.replace("_", " "), direction="neither" if "threshold" in n else "up",
               scope="set" if n in whole else "image")
        for n in present if n not in known
    ]  # fmt: skip
    return [known[name] for name in order if name in present] + unknown


def _conditions(runs: list[RunView], summary: pd.DataFrame) -> list[Condition]:
    rows = summary[["perturbation", "level", "spec"]].drop_duplicates("spec")
    severity = pd.DataFrame(index=rows["spec"].astype(str))
    columns = [c for c in ("psnr", "ssim", "bytes") if all(c in run.cells for run in runs)]
    measured = pd.concat([run.cells[["spec", *columns]] for run in runs], ignore_index=True)
    for column in ("psnr", "ssim", "bytes"):
        if column in measured and len(measured):
            values = pd.to_numeric(measured[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
            severity[column] = values.groupby(measured["spec"].astype(str)).mean()
        else:
            severity[column] = np.nan
    same = _unchanged(runs)
    conditions = []
    for family, level, spec in rows.itertuples(index=False, name=None):
        psnr, ssim, size = (float(severity.at[str(spec), c]) for c in severity.columns)
        unchanged, images = same.get(str(spec), (0, 0))
        conditions.append(Condition(str(spec), str(family), str(level), psnr, ssim, size, unchanged, images))
    ordered: list[Condition] = [c for c in conditions if c.identity]
    for family in dict.fromkeys(c.family for c in conditions):
        members = [c for c in conditions if c.family == family and not c.identity]
        if all(np.isfinite(c.psnr) for c in members):
            members.sort(key=lambda c: -c.psnr)
        ordered += members
    return ordered


def _unchanged(runs: list[RunView]) -> dict[str, tuple[int, int]]:
    """Spec -> how many images it left as they were, and how many were measured, each image of a set once."""
    parts = [run.cells for run in runs if "unchanged" in run.cells and run.cells["unchanged"].any()]
    if not parts:
        return {}
    columns = ["spec", "test_set", "image", "unchanged"]
    cells = pd.concat([part.loc[part["status"] == "ok", columns] for part in parts], ignore_index=True)
    once = cells.sort_values("unchanged", kind="stable").drop_duplicates(columns[:3], keep="last")
    counted = once.groupby("spec", observed=True)["unchanged"].agg(["sum", "count"])
    return {str(spec): (int(row["sum"]), int(row["count"])) for spec, row in counted.iterrows()}


def _protocols(runs: list[RunView], summary: pd.DataFrame) -> list[Protocol]:
    described = {p.name: p for run in reversed(runs) for p in run.protocols}
    order = list(dict.fromkeys([p.name for run in runs for p in run.protocols] + list(summary["protocol"].unique())))
    present = set(summary["protocol"])
    return [described.get(name, Protocol(name)) for name in order if name in present]


def _test_sets(runs: list[RunView], summary: pd.DataFrame) -> list[TestSet]:
    described = {s.name: s for run in reversed(runs) for s in run.test_sets}
    names = list(dict.fromkeys([s.name for run in runs for s in run.test_sets] + list(summary["test_set"].unique())))
    return [described.get(name, TestSet(name)) for name in names]


def _differences(runs: list[RunView]) -> list[dict]:
    """What differs between runs: revision, versions, settings, weights, sets, protocols."""
    if len(runs) < 2:
        return []
    facts = [_facts(run) for run in runs]
    found = []
    for what in dict.fromkeys(key for one in facts for key in one):
        texts = [one.get(what, "") for one in facts]
        if len(set(texts)) > 1:
            found.append({"what": what, "texts": texts, "grave": what.startswith(("protocol ", "test set "))})
    return sorted(found, key=lambda difference: not difference["grave"])


def _facts(run: RunView) -> dict[str, str]:
    about = run.about
    facts = {"revision": str(about.get("revision") or ""), "suite": str(about.get("suite") or "")}
    for group in ("request", "versions", "machine"):
        values = about.get(group)
        if isinstance(values, Mapping):
            facts |= {f"{group}: {key}": str(value) for key, value in values.items()}
    facts |= {f"protocol {p.name}": f"version {p.version}" for p in run.protocols}
    for test_set in run.test_sets:
        counts = f"{test_set.n_tampered} tampered, {test_set.n_authentic} authentic"
        facts[f"test set {test_set.name}"] = f"{counts}{f', digest {test_set.digest[:12]}' if test_set.digest else ''}"
    for card in run.localizers:
        if card.status == "run":
            own = " (the user's own weights)" if card.own_weights else ""
            facts[f"localizer {card.name}"] = f"{card.identity[:12]}{own}"
    return facts


def _warnings(runs: list[RunView], differences: list[dict]) -> list[str]:
    found = [f"{run.label}: {text}" if len(runs) > 1 else text for run in runs for text in run.warnings]
    for difference in differences:
        if difference["grave"] and all(difference["texts"]):
            what = difference["what"]
            pairs = "; ".join(f"{run.label}: {text}" for run, text in zip(runs, difference["texts"], strict=True))
            found.append(f"The runs differ in {what} ({pairs}): their numbers on it cannot be compared directly.")
    return found
