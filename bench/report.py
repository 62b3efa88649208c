"""What a report is made of, read from run folders: tables and records, labels, and paired contrasts between runs.

The store is used through a few methods in one class, `_Folder`, and nowhere else.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench import leaderboard
from bench.published import of_test_set, records
from bench.results import CSV, OWN_MEAN, from_evidence, is_whole, read_about, read_results
from bench.store import Store, StoreError
from bench.summary import summarize
from bench.usage import UsageError


@dataclass(frozen=True)
class RunData:
    """One run as `reports.RunView.of` takes it. about: run.json; tables: summary, standings, results and cells."""

    label: str
    about: Mapping
    tables: Mapping[str, pd.DataFrame]
    picture: Callable[[str, str], bytes | None]
    published: tuple[Mapping, ...]
    warnings: tuple[str, ...]


def latest_run(root: Path = Path("runs")) -> Path:
    """The most recently written run folder below `root`. Raises UsageError when there is none."""
    found = sorted(root.glob("*/run.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UsageError(f"no run in {root}/; make one with `python -m bench run`, or name a run folder")
    return found[-1].parent


def contaminated(about: dict) -> set[tuple[str, str]]:
    """(model, test set) pairs where the localizer was trained on images of that set."""
    return {
        (m["name"], t["name"])
        for m in about["models"]
        for t in about["test_sets"]
        if t["name"] in m.get("trained_on", ()) or t.get("card") in m.get("trained_on", ())
    }


def named_runs(texts: Sequence[str]) -> dict[str, Path]:
    """Labels of run folders, each RUN or NAME=RUN.

    A label is the given name, else the shortest end of the path that tells the folders apart. Raises UsageError for a
    name or folder that is given twice.
    """
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
def opened(runs: dict[str, Path]) -> Iterator[list[RunData]]:
    """What a report needs of run folders, by their labels, with the stores open for pictures.

    Raises UsageError for runs under different versions of one protocol: their numbers do not stand side by side.
    """
    with contextlib.ExitStack() as stack:
        found = [run_data(folder, label, stack) for label, folder in runs.items()]
        versions: dict[str, tuple[str, object]] = {}
        for run in found:
            for entry in run.about["protocols"]:
                label, version = versions.setdefault(entry["name"], (run.label, entry.get("version")))
                if version != entry.get("version"):
                    raise UsageError(
                        f"{label} was measured under {entry['name']}@{version}, {run.label} under "
                        f"{entry['name']}@{entry.get('version')}; run the older one again, or report each on its own"
                    )
        yield found


def run_data(folder: Path, label: str, stack: contextlib.ExitStack) -> RunData:
    """What a report sees of a run folder. The store stays open as long as `stack`.

    Of a run that is not finished, or damaged, what is whole is shown and `warnings` says so.
    """
    about = read_about(folder)
    source = _Folder(folder, about, stack)
    results, cells = source.results(), source.cells()
    if not len(cells):
        raise UsageError(f"{folder} holds no result yet; run the same `bench run` command again, it resumes")
    if strange := sorted(set(results["model"].unique()) - set(cells["model"])):
        raise UsageError(
            f"{folder} holds files of different runs: {strange[0]} has results and is not in evidence.sqlite; "
            "run the same `bench run` command again"
        )
    about = {**about, "metrics": _metric_records(about), "perturbations": _families(about)}
    flagged = contaminated(about)
    images = results[results["image"] != OWN_MEAN]
    names = [model["name"] for model in about["models"] if model.get("status", "run") == "run"]
    sets = [test_set["name"] for test_set in about["test_sets"]]
    return RunData(
        label,
        about,
        {
            "summary": summarize(results, cells, flagged),
            "standings": leaderboard.standings(images, _field(about, cells, flagged), about["metrics"]),
            "results": images,
            "cells": cells,
        },
        picture=source.picture,
        published=tuple(_published(about, sets, names)),
        warnings=tuple(source.warnings),
    )


def contrasts(runs: Sequence[RunData]) -> pd.DataFrame:
    """Paired differences of the later runs to the first one."""
    first = runs[0].tables["results"]
    parts = [leaderboard.contrasts(first, run.tables["results"], run.label) for run in runs[1:]]
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
        self._pictured: set[str] = set()
        if not self.finished:
            self.warnings.append(
                "This run is not finished: the numbers are of what was measured so far. "
                "The same `bench run` command resumes it."
            )
        try:
            self.store = stack.enter_context(Store(folder))
            self._pictured = self.store.kinds_of_pictures()  # most cells have no pictures of extras: none is looked for
        except StoreError as error:
            if not self.finished or not is_whole(folder, about.get("results")):
                raise
            self.warnings.append(
                f"The store of this run cannot be read, so there are no pictures and no costs: {error}"
            )

    def results(self) -> pd.DataFrame:
        """The results table of a finished run from its file if that is whole, else from what the store holds."""
        record = self.about.get("results")
        if self.finished and record and is_whole(self.folder, record):
            return read_results(self.folder / record["file"], compact=True)
        if self.finished:
            name = (record or {}).get("file", CSV)
            self.warnings.append(f"{name} was cut, edited or removed; the numbers were made again from the store.")
        return from_evidence(self.folder, self.about)

    def cells(self) -> pd.DataFrame:
        """One row per cell; without a readable store those that have a result."""
        if self.store is not None:
            return self.store.cells()
        results = self.results()
        rows = results[results["image"] != "*"].drop_duplicates(["model", "test_set", "image", "spec"])
        columns = ["model", "test_set", "image", "source", "tampered", "perturbation", "level", "spec"]
        blank = {"key": "", "status": "ok", "reason": "", "kind": "", "seconds": None, "peak_mb": None}
        return rows[columns].astype(dict.fromkeys(columns[:4], str)).assign(**blank, psnr=None, ssim=None, bytes=None)

    def picture(self, what: str, key: str | tuple[str, ...]) -> bytes | None:
        """A small picture of the store, or None."""
        return self.store.thumbnail(what, key) if self.store and key and what in self._pictured else None


def place_of(runs: dict[str, Path]) -> Path:
    """Where a report goes: into the folder of its run.

    That of several runs lies beside the first, so that it never takes the place of a run's own.
    """
    if len(runs) == 1:
        return next(iter(runs.values())) / "report"
    name = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", label) for label in runs)
    return next(iter(runs.values())).resolve().parent / f"report-{name}"[:120]
