"""From a run folder's evidence to the tidy results table on disk, and back: `read(RUN)`.

The table is `results.csv` for small runs and `results.parquet` for large ones. Its name, number of rows and SHA-256
stand in run.json, and whoever reads it checks them: a table that was cut or edited is made again from the evidence
by the next `bench run` or `bench rescore`, never taken for the run's result.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.evidence import Cell, Evidence
from bench.files import atomic
from bench.gallery import Extremes
from bench.metrics import PROTOCOLS, NotKept, Protocol, SetTotals, find, image_metrics
from bench.metrics.differences import why
from bench.perturb import IDENTITY
from bench.store import Store
from bench.usage import UsageError

WHOLE_SET = "*"  # the image of a value that stands for the whole test set
OWN_MEAN = "**"  # the image of a mean over images by the protocol's own rule
COLUMNS = [
    *("model", "test_set", "image", "source", "tampered", "perturbation", "level", "spec", "seed"),
    *("protocol", "metric", "value"),
]
TEXTS = [name for name in COLUMNS if name not in ("tampered", "seed", "value")]
CSV, PARQUET = "results.csv", "results.parquet"
ROWS_OF_CSV = 1_000_000  # larger tables are written as Parquet
log = logging.getLogger(__name__)


class ResultsError(UsageError):
    """A results table that is absent, unfinished or not what the run wrote; the message says what to do."""


def results_table(
    evidences: Iterable[tuple[Cell, Evidence]], protocols: Iterable[str | Protocol], seed: int = 0
) -> pd.DataFrame:
    """The tidy results table: one row per metric of an image, and per metric of a whole set (image "*").

    Args:
        evidences: in any order, of any number of localizers, sets and perturbations; read once.
        protocols: those whose statistics were kept. Of a cell whose statistics were not, there is no row.
        seed: of the run.

    Returns:
        Columns: model, test_set, image, source, tampered, perturbation (family), level, spec, seed, protocol, metric,
        value. An image that a protocol does not count has no row under it; undefined values are NaN. Image "*" is
        the whole set: metrics that have one value per set. Image "**" is the mean over images by the protocol's own
        rule, of protocols whose mean is not that of the defined values. So the table holds what `evaluate_set` gives.
    """
    rules = [find(protocol) for protocol in protocols]
    rows: list[tuple] = []
    totals: dict[tuple, SetTotals] = {}
    for cell, evidence in evidences:
        if evidence.status != "ok":
            continue
        observation = evidence.observation(cell.tampered)
        condition = (cell.perturbation, cell.level, cell.spec, seed)
        front = (cell.model, cell.test_set, cell.image, cell.source, cell.tampered, *condition)
        for protocol in rules:
            key = (cell.model, cell.test_set, condition, protocol.name)
            if key not in totals:
                totals[key] = SetTotals(protocol)
            try:
                metrics = image_metrics(observation, protocol)
                totals[key].add(observation)
            except NotKept:
                continue
            if metrics:
                rows += [(*front, protocol.name, name, metrics[name]) for name in protocol.metrics]
    for (model, test_set, condition, name), total in totals.items():
        if total.n_tampered + total.n_authentic:
            tampered, values = total.n_tampered > 0, total.metrics()
            front = (model, test_set, WHOLE_SET, WHOLE_SET, tampered, *condition, name)
            rows += [(*front, metric, values[metric]) for metric in total.protocol.set_metrics]
            if total.protocol.average != "nanmean":
                front = (model, test_set, OWN_MEAN, OWN_MEAN, tampered, *condition, name)
                rows += [(*front, metric, value) for metric, value in total.means().items()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"seed": np.int64, "value": np.float64, "tampered": bool})


def write_results(
    store: Store, folder: Path, protocols: Sequence[str], seed: int, extremes: Extremes | None = None
) -> dict:
    """Write the results table, one localizer and test set at a time, so that memory does not grow with the run.

    `extremes` takes in the images of the first protocol on the way.

    Returns the record that run.json keeps of it: file, rows, sha256.
    """
    tables = (results_table(store.evidence(*group), protocols, seed) for group in store.groups())
    tables = (_shown(table, extremes, find(protocols[0])) for table in tables if len(table))
    cells = store.asked()
    metrics = sum(len(find(protocol).metrics) for protocol in protocols)
    file = folder / (PARQUET if cells * metrics > ROWS_OF_CSV else CSV)
    rows = _write_parquet(file, tables) if file.name == PARQUET else _write_csv(file, tables)
    (folder / (CSV if file.name == PARQUET else PARQUET)).unlink(missing_ok=True)
    return {"file": file.name, "rows": rows, "sha256": _digest(file)}


def why_protocols_differ(store: Store, protocols: Sequence[str]) -> list[dict]:
    """For each localizer and test set the sentences of why protocols differ on its unperturbed maps.

    Records of `model`, `test_set` and `sentences`; none for a single protocol.
    """
    found = []
    for model, test_set in store.groups() if len(protocols) > 1 else ():
        scored = [pair for pair in store.evidence(model, test_set, IDENTITY) if pair[1].status == "ok"]
        stored = [evidence.observation(cell.tampered) for cell, evidence in scored]
        try:
            sentences = why(stored, protocols)
        except NotKept:
            continue
        if sentences:
            found.append({"model": model, "test_set": test_set, "sentences": sentences})
    return found


def _shown(table: pd.DataFrame, extremes: Extremes | None, protocol: Protocol) -> pd.DataFrame:
    if extremes is not None:
        extremes.read(table, protocol)
    return table


def read(run: str | Path, *, compact: bool = False) -> pd.DataFrame:
    """The tidy results table of a run folder (see `results_table`); ids and levels stay text.

    A table that is not the one that the run wrote is not taken: the evidence gives the right one.

    Args:
        run: the run folder.
        compact: text columns as categories, which takes a twentieth of the memory (3 million rows: 90 MB).

    Raises:
        ResultsError: the folder holds no finished run.
    """
    folder = Path(run)
    about = read_about(folder)
    record = about.get("results")
    if not about.get("finished"):
        raise ResultsError(f"{folder} was never finished; run the same `bench run` command again, it resumes")
    if record and is_whole(folder, record):
        return read_results(folder / record["file"], compact=compact)
    log.warning("%s: its results table was cut, edited or removed; the evidence is read instead", folder)
    table = from_evidence(folder, about)
    return table.astype(dict.fromkeys(TEXTS, "category")) if compact else table


def require_versions(folder: Path, about: Mapping) -> None:
    """Raise ResultsError where a protocol of a run has another version by now: its numbers are another rule's."""
    for entry in about.get("protocols", ()):
        name, version = entry.get("name"), entry.get("version")
        if name in PROTOCOLS and PROTOCOLS[name].version != version:
            raise ResultsError(
                f"{folder} was measured under {name}@{version}, this is {name}@{PROTOCOLS[name].version}; "
                "run the same `bench run` command again"
            )


def from_evidence(folder: Path, about: Mapping) -> pd.DataFrame:
    """The table of a run folder, made again from its evidence; nothing is written.

    Raises:
        ResultsError: it was measured under another version of a protocol.
    """
    require_versions(folder, about)
    with Store(folder) as store:
        protocols = [entry["name"] for entry in about["protocols"]]
        tables = [results_table(store.evidence(*g), protocols, about["request"]["seed"]) for g in store.groups()]
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def read_results(file: Path, *, compact: bool = False) -> pd.DataFrame:
    """The table in a file, unchecked; see `read`."""
    if file.suffix == ".parquet":
        table = pd.read_parquet(file)
        return table if compact else table.astype(dict.fromkeys(TEXTS, str))
    kinds = dict.fromkeys(TEXTS, "category" if compact else str)
    table = pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values={"value": [""]})
    for name in TEXTS:
        table[name] = _unguarded(table[name])
    return table


def is_whole(folder: Path, record: dict | None) -> bool:
    """Whether the table that a record describes is there, unchanged."""
    if not record:
        return False
    file = folder / str(record.get("file", CSV))
    return file.is_file() and _digest(file) == record.get("sha256")


def read_about(folder: Path) -> dict:
    """A run folder's run.json. Raises ResultsError for a folder that holds none, or a damaged one."""
    file = folder / "run.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultsError(
            f"{folder} is not a run folder (no run.json); make one with `python -m bench run`"
        ) from error
    except (OSError, ValueError) as error:
        raise ResultsError(f"{file} is damaged ({error}); run the same `bench run` again to rewrite it") from error
    except RecursionError as error:
        raise ResultsError(f"{file} is damaged; run the same `bench run` again to rewrite it") from error
    marks = sum(name in about for name in ("suite", "machine", "results")) if isinstance(about, dict) else 0
    if wrong := _misfit(about, _FORM, whole=marks > 1):
        raise ResultsError(
            f"{file} is not what `bench run` writes ({wrong}); run the same `bench run` again to rewrite it"
        )
    return about


# Kinds of the parts of run.json that are read again: a dict's by name, a list's of all its items. Parts that may be
# None are (kind, None).
_NUMBER = (int, float)
_FORM = {
    "suite": str,
    "request": {"seed": int, "models": str, "data": str, "perturbations": str, "device": str, "backend": str},
    "started": str,
    "revision": str,
    "versions": {},
    "machine": {},
    "models": [
        {"name": str, "title": str, "paper": str, "summary": str, "licence": str, "groups": [str], "trained_on": [str],
         "settings": {}, "status": str, "reason": str}
    ],
    "test_sets": [
        {"name": str, "title": str, "card": str, "n_tampered": int, "n_authentic": int, "demonstration": bool,
         "note": str, "licence": str, "citation": str, "defects": [{"file": str, "problem": str}]}
    ],
    "perturbations": [{"name": str}],
    "metrics": [{"name": str, "title": str, "direction": str, "scope": str}],
    "protocols": [
        {"name": str, "version": int, "title": str, "description": str, "headline": str, "metrics": [str],
         "set_metrics": [str]}
    ],
    "seconds": ({"localizers": _NUMBER, "harness": _NUMBER}, None),
    "results": {"file": str, "rows": int, "sha256": str},
}  # fmt: skip


_ALWAYS = ("models", "test_sets", "protocols")


def _misfit(found: Any, form: Any, whole: bool, place: str = "it") -> str:
    """The first part that is of another kind than the form says, in words; "" where all fit.

    Args:
        found: what was read.
        form: see `_FORM`.
        whole: whether every part must be there (a run of this version); if not, only lists of records must.
        place: what the part is called.
    """
    if isinstance(form, tuple) and None in form:
        return "" if found is None else _misfit(found, form[0], whole, place)
    kind = type(form) if isinstance(form, (dict, list)) else form
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        return f"{place} is {found!r:.40}"
    if isinstance(form, list):
        inner = ((item, form[0], f"{place}[{number}]") for number, item in enumerate(found))
        return next(filter(None, (_misfit(item, part, whole, name) for item, part, name in inner)), "")
    for name, part in form.items() if isinstance(form, dict) else ():
        if name in found:
            if wrong := _misfit(found[name], part, whole, name):
                return wrong
        elif (whole and not (isinstance(part, tuple) and None in part)) or (place == "it" and name in _ALWAYS):
            return f"no {name!r} in {place}"
    return ""


def _write_csv(path: Path, tables: Iterator[pd.DataFrame]) -> int:
    rows = 0
    with atomic(path, "w", newline="", encoding="utf-8") as file:
        pd.DataFrame(columns=COLUMNS).to_csv(file, index=False)
        for table in tables:
            texts = table[TEXTS].apply(lambda column: column.map(_guarded))
            # every text is quoted, so that a carriage return in a name is not the end of a row
            table.assign(**texts).to_csv(
                file, index=False, header=False, float_format="%.9g", quoting=2, lineterminator="\n"
            )
            rows += len(table)
    return rows


def _write_parquet(path: Path, tables: Iterator[pd.DataFrame]) -> int:
    import pyarrow
    import pyarrow.parquet

    rows, writer = 0, None
    with atomic(path) as file:
        for table in tables:
            made = pyarrow.Table.from_pandas(table.astype(dict.fromkeys(TEXTS, "category")), preserve_index=False)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(file, made.schema, compression="zstd")
            writer.write_table(made)
            rows += len(table)
        if writer is not None:
            writer.close()
    return rows


def _guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "'") and not _is_number(text) else text


def _unguarded(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.rename_categories([str(text).removeprefix("'") for text in column.cat.categories])
    return column.str.removeprefix("'")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
