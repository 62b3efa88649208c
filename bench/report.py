"""Turn one or several runs into a self-contained HTML page, figures (PDF, PNG) and tables (CSV, LaTeX)."""

from __future__ import annotations

from pathlib import Path

from bench.published import of_test_set, records
from bench.results import OWN_MEAN, read, read_about
from bench.store import Store
from bench.summary import summarize
from bench.usage import UsageError


def latest_run(root: Path = Path("runs")) -> Path:
    """The most recently written run folder below `root`. Raises UsageError when there is none."""
    found = sorted(root.glob("*/run.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UsageError(f"no run in {root}/; make one with `python -m bench run`, or name a run folder")
    return found[-1].parent


def contaminated(about: dict) -> set[tuple[str, str]]:
    """(model, test set) pairs where the localizer was trained on images of that set."""
    return {(m["name"], t["name"]) for m in about["models"] for t in about["test_sets"] if t["name"] in m["trained_on"]}


def run_view(folder: Path, store: Store):
    """A run folder as the report sees it."""
    import reports

    about = read_about(folder)
    results, cells = read(folder, compact=True), store.cells()
    names = [model["name"] for model in about["models"] if model["status"] == "run"]
    sets = [test_set["name"] for test_set in about["test_sets"]]
    return reports.RunView(
        label=folder.resolve().name,
        about=about,
        summary=summarize(results, cells, contaminated(about)),
        results=results[results["image"] != OWN_MEAN],
        cells=cells,
        models=about["models"],
        test_sets=about["test_sets"],
        protocols=about["protocols"],
        thumbnail=lambda what, key: store.thumbnail(what, tuple(key.split("|")) if what in ("photo", "truth") else key),
        published=[record for name in sets for record in records(of_test_set(name), name, names)],
    )
