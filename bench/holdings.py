"""What a run folder holds of the cells that were asked for, as arrays: one scan a table, not a look-up per cell.

A million look-ups by a random key cost ten times as much as reading the tables from end to end, sorting and joining
the arrays, since SQLite keeps `evidence` and the index of `statistic` in the order of the keys.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np

from bench.evidence import STATUSES

_KEY = "S16"  # 16 bytes, compared as SQLite compares blobs


@dataclass(frozen=True, eq=False)
class Holdings:
    """Cells in the order of their keys; numbers are those of the store's tables.

    model, image, level: int32 (N,). at: int64 (N,), the cell's row in `keys`, -1 where nothing is stored.
    keys: S16 (M,), of all that is stored, ascending. status: int8 (M,), its number in STATUSES.
    environment: int32 (M,).
    """

    model: np.ndarray
    image: np.ndarray
    level: np.ndarray
    at: np.ndarray
    keys: np.ndarray
    status: np.ndarray
    environment: np.ndarray

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Holdings:
        """Read the tables `asked` and `evidence`."""
        if not connection.execute("select exists (select 1 from evidence)").fetchone()[
            0
        ]:  # keys are most of the memory
            image, model, level = _rows(connection, "select image, model, level from asked", "i4,i4,i4")
            none = np.empty(0, _KEY), np.empty(0, np.int8), np.empty(0, np.int32)
            return cls(model, image, level, np.full(len(image), -1), *none)
        *names, asked = _rows(connection, "select image, model, level, key from asked", "i4,i4,i4," + _KEY)
        order = np.argsort(asked)
        image, model, level = (name[order] for name in names)
        cases = " ".join(f"when '{name}' then {number}" for number, name in enumerate(STATUSES))
        query = f"select key, case status {cases} else -1 end, environment from evidence order by key"
        keys, status, environment = _rows(connection, query, _KEY + ",i1,i4")
        return cls(model, image, level, _places(keys, asked[order]), keys, status, environment)

    @property
    def names(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Localizer, image and level of each cell."""
        return self.model, self.image, self.level

    @property
    def stored(self) -> np.ndarray:
        """Which cells have a result, bool (N,)."""
        return self.at >= 0

    def with_status(self, name: str) -> np.ndarray:
        """Which cells have a result of this status, bool (N,)."""
        return self.stored & self._of_stored(self.status == STATUSES.index(name), False)

    def environments(self) -> np.ndarray:
        """Of each cell's result, -1 without one: int32 (N,)."""
        return self._of_stored(self.environment, -1)

    def statistics(self, connection: sqlite3.Connection, truth: np.ndarray) -> np.ndarray:
        """Number of wanted statistics that each cell has against its ground truth.

        Args:
            connection: whose table `wanted` lists them.
            truth: number of the ground truth by number of the image.

        Returns:
            int64 (N,).
        """
        query = "select cell, truth from statistic where kept in (select kept from wanted) order by cell"
        cell, against = _rows(connection, query, _KEY + ",i4")
        span = int(max(truth.max(initial=0), against.max(initial=0))) + 1
        at = _places(self.keys, cell)
        pairs, counts = np.unique((at * span + against)[at >= 0], return_counts=True)
        places = _places(pairs, self.at * span + truth[self.image])
        counts = np.append(counts, 0)  # what place -1 reads
        return np.where(self.stored, counts[places], 0)

    def _of_stored(self, values: np.ndarray, absent: object) -> np.ndarray:
        """Values (M,) of what is stored, by cell."""
        if not len(values):
            return np.full(len(self.at), absent, values.dtype)
        return np.where(self.stored, values[self.at], values.dtype.type(absent))


def _rows(connection: sqlite3.Connection, query: str, dtype: str) -> list[np.ndarray]:
    """The columns of an answer."""
    columns = np.dtype(dtype)
    assert columns.names is not None, "several columns are asked for"
    found = np.fromiter(connection.execute(query), columns)
    return [np.ascontiguousarray(found[name]) for name in columns.names]


def _places(ordered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted value stands in ascending ones, -1 where it does not: int64."""
    if not len(ordered):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[places] == wanted, places, -1)
