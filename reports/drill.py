"""What stands behind the numbers: every image of every table cell with its values, as data files of the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.comparison import WHOLE_SET, Comparison
from reports.pictures import Album, Cell

STATUS = ("ok", "failed", "not_applicable")  # any other: not run
FULL_BELOW = 60_000  # cells that a single file carries in full; of more the extremes alone
EXTREMES = 6


@dataclass
class Drill:
    """The cells of one line on one test set. values: (cells, keys) of `keys`, "protocol.metric"; order: best first."""

    line: int
    run: int
    test_set: int
    condition: np.ndarray
    image: np.ndarray
    frame: pd.DataFrame
    keys: list[str]
    values: np.ndarray
    order: dict[int, np.ndarray]
    hidden: int = 0


def images_of(comparison: Comparison) -> list[dict[str, bool]]:
    """Per test set its images in the order of the runs: name -> whether it is tampered."""
    found: list[dict[str, bool]] = []
    for test_set in comparison.test_sets:
        names: dict[str, bool] = {}
        for run in comparison.runs:
            rows = run.cells[run.cells["test_set"] == test_set.name]
            rows = rows[["image", "tampered"]].drop_duplicates("image")
            for name, tampered in zip(rows["image"].astype(str), rows["tampered"], strict=True):
                names.setdefault(name, bool(tampered))
        found.append(names)
    return found


def drills(comparison: Comparison, images: Sequence[dict[str, bool]]) -> Iterator[Drill]:
    """The drill-downs of all runs, one line and test set at a time."""
    headline = comparison.headline
    first = "" if headline is None else f"{headline[1].name}.{headline[0].name}"
    sign = 1 if headline is None else headline[0].sign
    sets = {s.name: i for i, s in enumerate(comparison.test_sets)}
    specs = {c.spec: i for i, c in enumerate(comparison.conditions)}
    keys = [f"{p.name}.{m.name}" for p in comparison.protocols for m in comparison.metrics if not m.whole]
    numbers = [{name: i for i, name in enumerate(names)} for names in images]
    for run_number, run in enumerate(comparison.runs):
        results = run.results[run.results["image"] != WHOLE_SET]
        of_group = results.groupby(["model", "test_set"], sort=False, observed=True).indices
        for (model, test_set), frame in run.cells.groupby(["model", "test_set"], sort=False, observed=True):
            line = comparison.line_of.get((run_number, str(model)))
            if line is None or str(test_set) not in sets:
                continue
            frame = frame[frame["spec"].isin(list(specs))]
            number = sets[str(test_set)]
            image = frame["image"].astype(object).map(numbers[number]).to_numpy(int)
            condition = frame["spec"].astype(object).map(specs).to_numpy(int)
            rows = results.iloc[of_group.get((model, test_set), [])]
            cube = _cube(rows, numbers[number], specs, keys)
            values = cube[image, condition]
            kept = [i for i in range(len(keys)) if np.isfinite(values[:, i]).any()]
            by = keys.index(first) if first in keys else (kept[0] if kept else 0)
            order = {}
            for c in dict.fromkeys(condition.tolist()):
                at = np.flatnonzero((condition == c) & np.isfinite(values[:, by]))
                order[c] = at[np.argsort(-sign * values[at, by], kind="stable")]
            yield Drill(
                line, run_number, number, condition, image, frame, [keys[i] for i in kept], values[:, kept], order
            )


def _cube(rows: pd.DataFrame, images: dict[str, int], specs: dict[str, int], keys: list[str]) -> np.ndarray:
    """Values (images, conditions, keys) of one line and set; several seeds of an image are averaged."""
    at = {name: i for i, name in enumerate(keys)}
    image, spec = (_codes(rows[c], names) for c, names in (("image", images), ("spec", specs)))
    protocols, metrics = rows["protocol"].astype("category"), rows["metric"].astype("category")
    table = np.array([[at.get(f"{p}.{m}", -1) for m in metrics.cat.categories] for p in protocols.cat.categories], int)
    key = (
        table.reshape(len(protocols.cat.categories), -1)[protocols.cat.codes, metrics.cat.codes] if len(rows) else image
    )
    value = rows["value"].to_numpy(float)
    known = np.isfinite(value) & (image >= 0) & (spec >= 0) & (key >= 0)
    shape = (len(images), len(specs), len(keys))
    flat = np.ravel_multi_index((image[known], spec[known], key[known]), shape)
    total = np.bincount(flat, value[known], minlength=int(np.prod(shape)))
    count = np.bincount(flat, minlength=int(np.prod(shape)))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(shape)


def _codes(column: pd.Series, numbers: dict[str, int]) -> np.ndarray:
    """The numbers of the names in a column, -1 for unknown ones."""
    category = column.astype("category")
    table = np.array([numbers.get(str(name), -1) for name in category.cat.categories], int)
    return table[category.cat.codes] if len(column) else np.empty(0, int)


def extremes(drill: Drill) -> Drill:
    """The drill-down with the best, the worst and (up to as many) unscored images of each condition alone."""
    keep: list[int] = []
    status = drill.frame["status"].to_numpy()
    for condition, ranked in drill.order.items():
        lost = np.flatnonzero((drill.condition == condition) & (status != "ok"))[:EXTREMES]
        keep += [*ranked[:EXTREMES], *ranked[-EXTREMES:], *lost]
    at = np.unique(np.array(keep, int))
    place = {old: new for new, old in enumerate(at.tolist())}
    order = {c: np.array([place[i] for i in o.tolist() if i in place], int) for c, o in drill.order.items()}
    picked = (drill.condition[at], drill.image[at], drill.frame.iloc[at], drill.keys, drill.values[at])
    return Drill(drill.line, drill.run, drill.test_set, *picked, order, len(drill.frame) - len(at))


def cells_in_order(drill: Drill) -> Iterable[Cell]:
    """All cells of a drill-down."""
    return cells_at(drill, np.arange(len(drill.frame)))


def cells_by_rank(drill: Drill, rank: int) -> Iterator[Cell]:
    """The image at `rank` from the best end and from the worst end of each condition."""
    ends = [(int(order[rank]), int(order[-1 - rank])) for order in drill.order.values() if 2 * rank < len(order)]
    return cells_at(drill, np.array([i for pair in ends for i in dict.fromkeys(pair)], int))


def cells_at(drill: Drill, at: np.ndarray) -> Iterator[Cell]:
    """The cells at these positions of a drill-down."""
    rows = drill.frame.iloc[at]  # columns at once: a row of a frame takes a millisecond
    names = ("test_set", "image", "spec", "key", "status", "tampered")
    columns = zip(
        drill.condition[at].tolist(), drill.image[at].tolist(), *(rows[n].tolist() for n in names), strict=True
    )
    for condition, image, test_set, name, spec, key, status, tampered in columns:
        place = (str(test_set), str(name))
        numbers = (drill.line, drill.test_set, condition, image, drill.run)
        yield Cell(*numbers, str(key), (*place, str(spec)), place if tampered else (), status == "ok")


def as_text(drill: Drill, album: Album) -> str:
    """JSON of a drill-down: by condition, columns over its images."""
    status = drill.frame["status"].to_numpy(object)
    codes = np.array([STATUS.index(s) if s in STATUS else len(STATUS) for s in status], int)
    kinds = drill.frame["kind"].to_numpy(object)
    columns = {name: pd.to_numeric(drill.frame[name], errors="coerce").to_numpy(float) for name in ("seconds", "psnr")}
    parts = []
    for condition in dict.fromkeys(drill.condition.tolist()):
        at = np.flatnonzero(drill.condition == condition)
        pictures = [album.codes.get((drill.line, drill.test_set, condition, int(drill.image[i])), 0) for i in at]
        values = ",".join(
            f"{json.dumps(key)}:{numbers(drill.values[at, k], 4)}"
            for k, key in enumerate(drill.keys)
            if np.isfinite(drill.values[at, k]).any()
        )
        fields = {
            "image": json.dumps(drill.image[at].tolist(), separators=(",", ":")),
            "status": json.dumps("".join(map(str, codes[at].tolist()))),
            "oracle": json.dumps("".join("1" if kind == "score" else "0" for kind in kinds[at])),
            "seconds": numbers(columns["seconds"][at], 3),
            "psnr": numbers(np.where(np.isfinite(columns["psnr"][at]), columns["psnr"][at], np.nan), 1),
            "reason": text(_reasons(drill.frame.iloc[at])),
            "notes": text(_notes(drill.frame.iloc[at])),
            "pictures": json.dumps(pictures, separators=(",", ":")) if any(pictures) else "null",
            "values": f"{{{values}}}",
        }
        parts.append(f'"{condition}":{{{",".join(f"{json.dumps(k)}:{v}" for k, v in fields.items())}}}')
    return f'{{"hidden":{drill.hidden},"conditions":{{{",".join(parts)}}}}}'


def numbers(values: np.ndarray, digits: int) -> str:
    """A JSON list of numbers, null where not finite, shortest decimals; integers without a point."""
    rounded = np.round(values, digits)
    if not np.isfinite(rounded).any():
        return "[" + ",".join(["null"] * len(rounded)) + "]"
    return (
        json.dumps(rounded.tolist(), separators=(",", ":"))
        .replace("NaN", "null")
        .replace(".0,", ",")
        .replace(".0]", "]")
    )


def text(value: object) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _reasons(frame: pd.DataFrame) -> dict[str, str]:
    status, reason = frame["status"].to_numpy(object), frame["reason"].to_numpy(object)
    return {str(i): str(reason[i]) for i in np.flatnonzero(status != "ok").tolist()}


def _notes(frame: pd.DataFrame) -> dict[str, str]:
    """Position -> what a localizer says of the image as a whole, and whether it saw it in parts for lack of memory."""
    notes: dict[str, list[str]] = {}
    if "image_score" in frame:
        scores = pd.to_numeric(frame["image_score"], errors="coerce").to_numpy(float)
        for i in np.flatnonzero(np.isfinite(scores)).tolist():
            notes.setdefault(str(i), []).append(f"image-level score {scores[i]:.3f}")
    if "seen" in frame:
        seen = frame["seen"].to_numpy(object)
        for i in np.flatnonzero(frame["seen"].notna().to_numpy() & (seen != "whole")).tolist():
            notes.setdefault(str(i), []).append(f"seen in {seen[i]}")
    return {position: ", ".join(words) for position, words in notes.items()}
