"""The qualitative figure of a paper: one image, a row per localizer, a column per level."""

from __future__ import annotations

import difflib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from reports.comparison import compare
from reports.figures import SERIF, STYLE, UNDATED
from reports.tables import file_stem
from reports.view import ReportError, RunView
from reports.words import score

CELL = 0.95  # inches of a column, unless a width is asked for


@dataclass(frozen=True)
class Tile:
    """One map of the figure: its encoded picture (None where there is none), and the value below it."""

    picture: bytes | None
    value: float = math.nan
    missing: str = ""


@dataclass(frozen=True)
class Grid:
    """One image: photos per level, its ground truth, and a row of tiles per localizer."""

    levels: Sequence[str]
    photos: Sequence[bytes | None]
    truth: bytes | None
    rows: Sequence[tuple[str, Sequence[Tile]]]


def of_image(view: RunView, image: str, names: Sequence[str], specs: Sequence[str], metric: str) -> tuple[str, Grid]:
    """(file stem, grid) of one image of a run: "ID", or "SET/ID" where several sets have it.

    names: localizers, specs: levels, in their order; empty for all. metric: "protocol.metric" below each map. Raises
    ReportError for what the run does not have.
    """
    comparison = compare([view])
    cells = view.cells
    found = cells[
        (cells["image"] == image) | (cells["test_set"].astype(str) + "/" + cells["image"].astype(str) == image)
    ]
    sets = list(dict.fromkeys(found["test_set"]))
    if not sets:
        raise ReportError(f"this run has no image {image!r}{_near(image, cells['image'].unique())}")
    if len(sets) > 1:
        raise ReportError(f"several test sets have an image {image!r}; write {sets[0]}/{image}")
    known = [line.model for line in comparison.lines]
    levels = {c.spec: c for c in comparison.conditions}
    for name in names:
        if name not in known:
            raise ReportError(f"this run has no localizer {name!r}{_near(name, known)}")
    for spec in specs:
        if spec not in levels:
            raise ReportError(f"this run has no level {spec!r}; it has {'; '.join(levels)}")
    test_set, plain = str(sets[0]), str(found["image"].iloc[0])
    protocol, _, name = metric.partition(".")
    results = view.results
    rows = results[(results["image"] == plain) & (results["test_set"] == test_set)]
    rows = rows[(rows["protocol"] == protocol) & (rows["metric"] == name)]
    values = {(str(row.model), str(row.spec)): float(row.value) for row in rows.itertuples()}
    stored = {(str(row.model), str(row.spec)): row for row in found.itertuples()}

    def tile(model: str, spec: str) -> Tile:
        cell = stored.get((model, spec))
        if cell is None:
            return Tile(None, missing="not run")
        scored = cell.status == "ok"
        picture = view.picture("score", str(cell.key)) if scored else None
        missing = "no picture stored" if scored else str(cell.status).replace("_", " ")
        return Tile(picture, values.get((model, spec), math.nan), missing)

    wanted = list(specs) or list(levels)
    grid = Grid(
        [levels[spec].name for spec in wanted],
        [view.picture("photo", (test_set, plain, spec)) for spec in wanted],
        view.picture("truth", (test_set, plain)),
        [(model, [tile(model, spec) for spec in wanted]) for model in names or known],
    )
    return file_stem(plain), grid


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [str(k) for k in known], 3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def write(stem: Path, grid: Grid, *, width: float | None = None, serif: bool = False) -> list[Path]:
    """Write `stem`.pdf and `stem`.png; width in inches, None for 0.95 inches per level."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE | (SERIF if serif else {})):
        figure = draw(grid, width)
        files = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("pdf", "png")]
        for file in files:
            figure.savefig(file, metadata=UNDATED[file.suffix[1:]], dpi=300)
    return files


def draw(grid: Grid, width: float | None = None) -> Figure:
    """The first column is the ground truth; below each map its value; the contour of the truth on photos and maps."""
    truth = None if grid.truth is None else _decoded(grid.truth, "L") > 127
    shape = next((_decoded(p, "RGB").shape for p in grid.photos if p), (3, 4))
    left = 0.1 + 0.062 * max([len("Photo"), *(len(name) for name, _ in grid.rows)])
    columns = len(grid.levels) + 1
    cell = CELL if width is None else max(0.2, (width - left) / columns)
    tall, note = cell * shape[0] / shape[1], 0.14
    height = 0.2 + tall + 0.04 + len(grid.rows) * (tall + note)
    figure = Figure(figsize=(left + columns * cell, height))
    wide = figure.get_figwidth()

    def axes(row: int, column: int):
        top = 0.2 + tall + (row and 0.04 + (row - 1) * (tall + note) + tall)
        box = ((left + column * cell + 0.02) / wide, 1 - top / height, (cell - 0.04) / wide, tall / height)
        axis = figure.add_axes(box)
        axis.set_axis_off()
        return axis

    for column, name in enumerate(["ground truth", *grid.levels]):
        figure.text((left + (column + 0.5) * cell) / wide, 1 - 0.13 / height, name, ha="center", fontsize=7)
    figure.text(0.04 / wide, 1 - (0.2 + tall / 2) / height, "Photo", va="center", fontsize=8)
    if truth is not None:
        axes(0, 0).imshow(truth, cmap="gray", vmin=0, vmax=1, aspect="auto")
    for column, photo in enumerate(grid.photos, 1):
        if photo is not None:
            _show(axes(0, column), _decoded(photo, "RGB"), truth)
    for number, (name, tiles) in enumerate(grid.rows, 1):
        middle = 0.24 + tall + (number - 1) * (tall + note) + tall / 2
        figure.text(0.04 / wide, 1 - middle / height, name, va="center", fontsize=8)
        for column, tile in enumerate(tiles, 1):
            axis = axes(number, column)
            if tile.picture is None:
                axis.text(
                    0.5, 0.5, tile.missing, ha="center", va="center", fontsize=6, transform=axis.transAxes, wrap=True
                )
            else:
                _show(axis, _decoded(tile.picture, "L"), truth)
            if not math.isnan(tile.value):
                axis.text(0.5, -0.03, score(tile.value), ha="center", va="top", fontsize=6.5, transform=axis.transAxes)
    return figure


def _decoded(data: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


def _show(axis, array: np.ndarray, truth: np.ndarray | None) -> None:
    axis.imshow(array, cmap="gray", vmin=0, vmax=255, aspect="auto")
    if truth is not None and truth.any() and not truth.all():
        x, y = np.linspace(0, array.shape[1] - 1, truth.shape[1]), np.linspace(0, array.shape[0] - 1, truth.shape[0])
        axis.contour(x, y, truth, levels=[0.5], colors=["#ff2fd0"], linewidths=0.7)
