"""What a report is made of, read from run folders: `RunView`s, their labels, and the paired contrasts between runs.

The store is used through a few methods in one class, `_Folder`, and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench import leaderboard
from bench.published import of_test_set, records
from bench.results import read_results
from bench.store import Store, StoreError
from bench.summary import results_table, summarize
from bench.usage import UsageError, suggest

if TYPE_CHECKING:
    from reports import RunView


def latest_run(root: Path = Path("runs")) -> Path:
    """The most recently written run folder below `root`. Raises UsageError when there is none."""
    found = sorted(root.glob("*/run.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UsageError(f"no run in {root}/; make one with `python -m bench run`, or name a run folder")
    return found[-1].parent


def read_about(folder: Path) -> dict:
    """A run folder's run.json. Raises UsageError for a folder that holds none, or a damaged one."""
    file = folder / "run.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{folder} is not a run folder (no run.json); make one with `python -m bench run`") from error
    except ValueError as error:
        raise UsageError(f"{file} is damaged ({error}); run the same `bench run` again to rewrite it") from error
    if not isinstance(about, dict) or not isinstance(about.get("models"), list):
        raise UsageError(f"{file} is not the record of a run; run the same `bench run` again to rewrite it")
    return about


def contaminated(about: dict) -> set[tuple[str, str]]:
    """(model, test set) pairs where the localizer was trained on images of that set."""
    return {
        (m["name"], t["name"])
        for m in about["models"]
        for t in about["test_sets"]
        if t["name"] in m.get("trained_on", ()) or t.get("card") in m.get("trained_on", ())
    }


def named_runs(texts: Sequence[str]) -> dict[str, Path]:
    """Labels of run folders, each RUN or NAME=RUN: the given name, else the shortest end of the path that tells them
    apart. Raises UsageError for a name or folder that is given twice."""
    given: list[tuple[str, Path]] = []
    for text in texts:
        name, separator, path = text.partition("=")
        named = bool(separator) and not Path(text).exists()
        given.append((name, Path(path)) if named else ("", Path(text)))
    resolved = [path.resolve() for _, path in given]
    if len(set(resolved)) < len(resolved):
        twice = next(path for path in resolved if resolved.count(path) > 1)
        raise UsageError(f"{twice.name} is given twice; name each run folder once")
    labels = [name or _shortest(path, resolved) for (name, _), path in zip(given, resolved, strict=True)]
    if len(set(labels)) < len(labels):
        raise UsageError(f"two runs have the same name ({', '.join(labels)}); write NAME=RUN with different names")
    return dict(zip(labels, (path for _, path in given), strict=True))


def _shortest(path: Path, among: Sequence[Path]) -> str:
    for length in range(1, len(path.parts) + 1):
        end = path.parts[-length:]
        if sum(other.parts[-length:] == end for other in among) == 1:
            return "/".join(end)
    return path.name


@contextlib.contextmanager
def opened(runs: dict[str, Path]) -> Iterator[list[RunView]]:
    """The views of run folders by their labels, with the stores open for pictures."""
    with contextlib.ExitStack() as stack:
        yield [run_view(folder, label, stack) for label, folder in runs.items()]


def run_view(folder: Path, label: str, stack: contextlib.ExitStack) -> RunView:
    """What a report sees of a run folder. The store stays open as long as `stack`.

    Of a run that is not finished, or damaged, what is whole is shown and `warnings` says so.
    """
    import reports

    about = read_about(folder)
    source = _Folder(folder, about, stack)
    results, cells = source.results(), source.cells()
    if not len(cells):
        raise UsageError(f"{folder} holds no result yet; run the same `bench run` command again, it resumes")
    about = {**about, "metrics": _metric_records(about), "perturbations": _families(about)}
    flagged = contaminated(about)
    names = [model["name"] for model in about["models"] if model.get("status", "run") == "run"]
    sets = [test_set["name"] for test_set in about["test_sets"]]
    return reports.RunView.of(
        label,
        about,
        {
            "summary": summarize(results, cells, flagged),
            "standings": leaderboard.standings(results, _field(about, cells, flagged), about["metrics"]),
            "results": results,
            "cells": cells,
        },
        picture=source.picture,
        published=tuple(_published(about, sets, names)),
        warnings=tuple(source.warnings),
    )


def contrasts(views: Sequence[RunView]) -> pd.DataFrame:
    """Paired differences of the later runs to the first one."""
    parts = [leaderboard.contrasts(views[0].results, view.results, view.label) for view in views[1:]]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=leaderboard.CONTRASTS)


def _field(about: dict, cells: pd.DataFrame, flagged: set[tuple[str, str]]) -> leaderboard.Field:
    controls = {m["name"] for m in about["models"] if "controls" in m.get("groups", ())}
    models = dict.fromkeys([m["name"] for m in about["models"] if m.get("status", "run") == "run"])
    models |= dict.fromkeys(map(str, cells["model"].unique()))
    present = set(map(str, cells["model"].unique()))
    return leaderboard.Field(tuple(m for m in models if m in present), frozenset(controls), frozenset(flagged))


def _published(about: dict, sets: list[str], names: list[str]) -> Iterator[dict]:
    featured = {model["name"] for model in about["models"] if model.get("featured")} | _featured()
    for name in sets:
        for record in records(of_test_set(name), name, names):
            yield {**record, "featured": record["model"] in featured}


def _featured() -> set[str]:
    import models

    return {card.name for card in models.cards() if getattr(card, "featured", False)}


def _metric_records(about: dict) -> list[dict]:
    """The run's records of its metrics, else the registry's, each with the value of a map that knows nothing."""
    from bench.metrics import METRICS

    fields = ("name", "title", "definition", "direction", "scope")
    found = about.get("metrics") or [{key: getattr(m, key) for key in fields} for m in METRICS.values()]
    return [{"chance": leaderboard.CHANCE.get(record["name"]), **record} for record in found]


def _families(about: dict) -> list[dict]:
    from bench.perturb import describe

    found = about.get("perturbations")
    if isinstance(found, list) and found and isinstance(found[0], dict) and "parameter" in found[0]:
        return found
    return [record for record in describe() if record.get("type", "perturbation") == "perturbation"]


class _Folder:
    """A run folder as far as it is whole: its results, its cells and its pictures, and what is wrong with them."""

    def __init__(self, folder: Path, about: dict, stack: contextlib.ExitStack):
        self.folder, self.about = folder, about
        self.finished = bool(about.get("finished"))
        self.warnings: list[str] = []
        self.store: Store | None = None
        if not self.finished:
            self.warnings.append(
                "This run is not finished: the numbers are of what was measured so far. "
                "The same `bench run` command resumes it."
            )
        try:
            self.store = stack.enter_context(Store(folder))
        except StoreError as error:
            if not self.finished or not (folder / "results.csv").exists():
                raise
            self.warnings.append(f"The store of this run cannot be read, so there are no pictures and no costs: {error}")

    def results(self) -> pd.DataFrame:
        """The results table of a finished run from its file, of another from what the store holds."""
        if self.finished and (self.folder / "results.csv").exists():
            return read_results(self.folder / "results.csv", compact=True)
        if self.finished:
            self.warnings.append("results.csv is missing; the numbers were made again from the store.")
        return self._measured()

    def _measured(self) -> pd.DataFrame:
        from bench.metrics import PROTOCOLS

        assert self.store is not None
        cells = self.store.cells()
        sources = {(row.test_set, row.image): row.source for row in cells.drop_duplicates(["test_set", "image"]).itertuples()}
        parts = [
            results_table(self.store.evidence(model, test_set), sources, PROTOCOLS.values())
            for model, test_set in self.store.groups()
        ]
        return pd.concat(parts, ignore_index=True) if parts else results_table([], {}, PROTOCOLS.values())

    def cells(self) -> pd.DataFrame:
        """One row per cell; without a readable store those that have a result."""
        if self.store is not None:
            return self.store.cells()
        results = self.results()
        rows = results[results["image"] != "*"].drop_duplicates(["model", "test_set", "image", "spec"])
        columns = ["model", "test_set", "image", "source", "tampered", "perturbation", "level", "spec"]
        blank = {"key": "", "status": "ok", "reason": "", "kind": "", "seconds": None, "peak_mb": None}
        return rows[columns].astype(dict.fromkeys(columns[:4], str)).assign(**blank, psnr=None, ssim=None, bytes=None)

    def picture(self, what: str, key: str) -> bytes | None:
        """A small picture of the store, or None."""
        return None if self.store is None else self.store.thumbnail(what, key)


def place_of(runs: dict[str, Path]) -> Path:
    """Where a report goes: into the folder of its run; that of several runs beside the first, so that it never takes
    the place of a run's own."""
    if len(runs) == 1:
        return next(iter(runs.values())) / "report"
    name = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", label) for label in runs)
    return next(iter(runs.values())).resolve().parent / f"report-{name}"[:120]


def closing_leaderboard(folder: Path) -> str:
    """What `run` ends with: the leaderboard in ten lines and where the report will be; never raises for a run that can
    be read, "" where nothing has a value yet."""
    from reports.comparison import compare
    from reports.terminal import leaderboard as drawn

    with opened({folder.resolve().name: folder}) as views:
        text = drawn(compare(views))
    return f"{text}\nreport: python -m bench report {folder}  (into {folder / 'report'})" if text else ""


def qualitative(view: RunView, image: str, models: str, specs: str, metric: str):
    """(file stem, `reports.qualitative.Grid`) of one image of a run. Raises UsageError for unknown names."""
    from bench.perturb import parse
    from reports.comparison import compare
    from reports.qualitative import Grid, Tile
    from reports.tables import file_stem

    comparison = compare([view])
    cells = view.cells
    found = cells[(cells["image"] == image) | (cells["test_set"].astype(str) + "/" + cells["image"].astype(str) == image)]
    sets = list(dict.fromkeys(found["test_set"]))
    if not sets:
        raise UsageError(f"no image {image!r} in this run; {suggest(image, sorted(set(map(str, cells['image']))))}")
    if len(sets) > 1:
        raise UsageError(f"several test sets have an image {image!r}; write {sets[0]}/{image}")
    found = found.set_index(["model", "spec"])
    known = [line.model for line in comparison.lines]
    names = [name.strip() for name in models.split(",") if name.strip()] or known
    for name in names:
        if name not in known:
            raise UsageError(f"this run has no localizer {name!r}; {suggest(name, known)}")
    present = {c.spec: c for c in comparison.conditions}
    wanted = [p.spec for p in parse(specs)] if specs else list(present)
    for spec in wanted:
        if spec not in present:
            raise UsageError(f"this run has no level {spec!r}; it has {'; '.join(present)}")
    protocol, _, name = metric.partition(".")
    test_set, plain = sets[0], str(found["image"].iloc[0])
    results = view.results
    values = results[(results["image"] == plain) & (results["test_set"] == test_set)]
    values = values[(values["protocol"] == protocol) & (values["metric"] == name)]
    value = {(str(r.model), str(r.spec)): float(r.value) for r in values.itertuples()}

    def tile(model: str, spec: str) -> Tile:
        if (model, spec) not in found.index:
            return Tile(None, missing="not run")
        cell = found.loc[(model, spec)]
        picture = view.picture("score", str(cell["key"])) if cell["status"] == "ok" else None
        missing = "no picture stored" if cell["status"] == "ok" else str(cell["status"]).replace("_", " ")
        return Tile(picture, value.get((model, spec), float("nan")), missing)

    grid = Grid(
        [present[spec].name for spec in wanted],
        [view.picture("photo", f"{test_set}|{plain}|{spec}") for spec in wanted],
        view.picture("truth", f"{test_set}|{plain}"),
        [(model, [tile(model, spec) for spec in wanted]) for model in names],
    )
    return file_stem(plain), grid
