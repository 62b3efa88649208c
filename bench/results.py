"""From a run folder's evidence to the tidy results table on disk, and back."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from bench.metrics.transition_protocols import PROTOCOLS
from bench.store import Store
from bench.summary import results_table


def write_results(store: Store, path: Path) -> None:
    """Write `results.csv`, one model and test set at a time, so that memory does not grow with the run."""
    sources = _sources(store)
    temporary = path.with_suffix(".csv.part")
    with open(temporary, "w", newline="") as file:
        header = True
        for model, test_set in store.groups():
            table = results_table(store.evidence(model, test_set), sources, PROTOCOLS.values())
            table.to_csv(file, index=False, header=header, float_format="%.9g")
            header = False
    os.replace(temporary, path)


def read_results(path: Path, *, compact: bool = False) -> pd.DataFrame:
    """The tidy table of a run folder's `results.csv`; ids and levels stay text.

    compact: text columns as categories, which takes a twentieth of the memory (3 million rows: 90 MB).
    """
    text = {
        name: "category" if compact else str
        for name in ["model", "test_set", "image", "source", "perturbation", "level", "spec", "protocol", "metric"]
    }
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": [""]})


def _sources(store: Store) -> dict[tuple[str, str], str]:
    query = "select distinct test_set, image, source from asked"
    return {(test_set, image): source for test_set, image, source in store.connection.execute(query)}
