"""From a results table to figures, tables and one HTML page; knows nothing of images or models beyond what it gets."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from reports.view import ReportError, RunView

__all__ = ["Options", "ReportError", "RunView", "write"]
PARTS = ("report.html", "index.txt", "data", "figures", "pictures", "tables")  # what a report consists of


@dataclass(frozen=True)
class Options:
    """What of a report is written and how.

    Attributes:
        pictures: most picture files beside the page.
        single_mb: write one file with so many megabytes of pictures.
        figures: whether they are drawn, which takes longer than all the rest.
        width, serif, families, formats: see `reports.figures.Look`.
        models, metrics: names in figures and LaTeX tables, () for all.
        everything: figures and tables of all metrics.
    """

    pictures: int = 20_000
    single_mb: float | None = None
    figures: bool = False
    width: float = 7.0
    serif: bool = False
    families: bool = False
    models: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    everything: bool = False
    formats: tuple[str, ...] = field(default=("pdf", "png"))


def write(
    out: Path, runs: list[RunView], *, contrasts: pd.DataFrame | None = None, options: Options | None = None
) -> list[Path]:
    """Write the page, its data, tables and, where asked for, figures in `out`.

    `report.html`, `index.txt`, `data/`, `pictures/`, `tables/` and `figures/`; returns the paths of all but data and
    pictures. Files of an older report there go; other files in `out` stay.

    The report is made in a temporary folder beside `out` and takes its place when it is whole; if anything fails, what
    was there before is still there. Raises ReportError for no runs and for equal labels.
    """
    from reports.comparison import compare

    comparison = compare(runs, contrasts)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent))
    try:
        files = _write(made, comparison, options or Options())
        made.chmod(0o755)
        _replace(out, made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return [out / file.relative_to(made) for file in files]


def _write(folder: Path, comparison, options: Options) -> list[Path]:
    from reports import page, tables

    html, *_ = page.write(folder, comparison, page.Settings(options.pictures, options.single_mb))
    models, metrics, everything = options.models, options.metrics, options.everything
    made = tables.write(folder / "tables", comparison, models=models, metrics=metrics, everything=everything)
    if options.figures:
        from reports import figures  # seaborn and matplotlib, a second of imports

        look = figures.Look(
            width=options.width,
            serif=options.serif,
            models=models,
            metrics=metrics,
            families=options.families,
            everything=everything,
            formats=options.formats,
        )
        made = figures.write(folder / "figures", comparison, look) + made
    index = folder / "index.txt"
    names = [str(file.relative_to(folder)) for file in (html, *made)]
    beside = "" if options.single_mb is not None else "data/, pictures/: what the page loads when it is looked at\n"
    index.write_text("\n".join(names) + "\n" + beside, encoding="utf-8")
    return [html, index, *made]


def _replace(out: Path, made: Path) -> None:
    """Put the new report in the place of the old one; files that are no part of a report are kept."""
    if not out.exists():
        made.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".old", dir=out.parent))
    out.rename(old / out.name)
    try:
        made.rename(out)
    except BaseException:
        (old / out.name).rename(out)
        raise
    for entry in (old / out.name).iterdir():
        if entry.name not in PARTS:
            entry.rename(out / entry.name)
    shutil.rmtree(old, ignore_errors=True)
