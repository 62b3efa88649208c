"""From a results table to figures, tables and one HTML page; knows nothing of images or models beyond what it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

__all__ = ["RunView", "write"]


@dataclass
class RunView:
    """One finished run, as a report sees it.

    label: distinguishes runs that stand side by side.
    about: how it was made, the content of run.json: started, finished, suite, revision, seconds (wall, localizers,
        harness, overhead as a share of localizers), cells (asked, reused), request (models, data, perturbations,
        seed, workers, ...), machine, versions. Any may be missing; other plain values are listed by their key.
    summary: one row a (model, test_set, spec, protocol, metric); columns model, test_set, perturbation, level,
        spec, protocol, metric, mean, low, high, n, n_failed, n_not_applicable, n_skipped, rank, contaminated.
        mean NaN: no image had a value (not applicable or failed).
    results: tidy table of per-image values; columns model, test_set, image, source, tampered, perturbation,
        level, spec, seed, protocol, metric, value (image "*": a metric of the whole set).
    cells: one row a stored cell; columns key, model, test_set, image, source, tampered, perturbation, level,
        spec, status ("ok", "failed", "not_applicable"), reason, seconds, peak_mb, psnr, ssim, bytes, kind; may have
        image_score (the localizer's own) and seen (text: the whole image, or in which tiles), empty where unknown.
    models: mappings with name, title, paper, year, summary, licence, groups, trained_on, status ("run" or
        "skipped"), reason, own_weights (true: the user's instead of the registered ones).
    test_sets: mappings with name, title, n_tampered, n_authentic, defects (mappings with file, problem),
        demonstration, note, licence, citation, card (the name of the card it was opened through, "" for a folder).
    protocols: mappings with name, version, title, description.
    thumbnail: (what, key) -> encoded PNG, JPEG or WebP, or None. what is "photo" (key "test_set|image|spec"),
        "truth" (key "test_set|image"), "score", "prediction", or where the localizer has such "confidence" or "sources"
        (key of a cell).
    published: mappings, one a published number on one of the test sets: test_set, model ("" where no localizer of the
        suite is that method), method, weights, train_set, printed_set, spec, metric and protocol (what it is laid
        beside; spec or metric "" where there is no such), perturbation, printed_metric, value, rule, scoring, images
        (tampered ones, None where not stated), obstacles (list: why it is not comparable), source.
    """

    label: str
    about: dict
    summary: pd.DataFrame
    results: pd.DataFrame
    cells: pd.DataFrame
    models: list[dict]
    test_sets: list[dict]
    protocols: list[dict]
    thumbnail: Callable[[str, str], bytes | None]
    published: list[dict] = field(default_factory=list)


def write(out: Path, runs: list[RunView], *, budget_mb: float = 25.0) -> list[Path]:
    """Write `report.html`, `figures/*.{pdf,png,svg}` and `tables/*.{csv,tex}` below `out`; return their paths.

    budget_mb: megabytes of thumbnails that the page may carry. Above it only the three best and three worst
        images of a table cell are pictured, and the page says so.
    Raises ValueError for no runs, equal labels, or protocols of different versions.
    """
    from reports import figures, page, tables
    from reports.comparison import compare

    comparison = compare(runs)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    html = out / "report.html"
    html.write_text(page.build(comparison, int(budget_mb * 1e6)), encoding="utf-8")
    return [html, *figures.write(out / "figures", comparison), *tables.write(out / "tables", comparison)]
