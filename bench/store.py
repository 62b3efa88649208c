"""The run folder's `evidence.sqlite`: every measured cell, committed as it arrives, read back for reports.

One process writes (a file lock enforces it) through one connection; any number may read. A cell is found by
its key alone, so a stale result cannot be taken for a fresh one, and a failed cell is stored but never
counts as done.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import filelock

from bench.evidence import Evidence
from bench.plan import Place

FORMAT = 1

_SCHEMA = """
create table if not exists meta (name text primary key, value text not null) without rowid;
create table if not exists evidence (
    key text primary key, model text not null, test_set text not null, image text not null,
    perturbation text not null, seed integer not null, status text not null, reason text not null,
    tampered integer not null, kind text not null, image_score real, max_score real, seconds real,
    peak_mb real, psnr real, ssim real, bytes integer, extras text not null, curve blob
);
create table if not exists thumbnail (what text, key text, data blob not null, primary key (what, key)) without rowid;
create table if not exists asked (
    key text primary key, model text, test_set text, image text, source text, tampered integer,
    family text, level text, spec text, job integer, position integer
) without rowid;
create index if not exists place on asked (job, test_set, image);
"""

_COLUMNS = [
    "key",
    "model",
    "test_set",
    "image",
    "perturbation",
    "seed",
    "status",
    "reason",
    "tampered",
    "kind",
    "image_score",
    "max_score",
    "seconds",
    "peak_mb",
    "psnr",
    "ssim",
    "bytes",
    "extras",
    "curve",
]


_MISSING = "asked left join evidence using (key) where (status is null or status = 'failed')"


class StoreError(RuntimeError):
    """The run folder cannot be read or written; the message says why, what is safe, and what to do."""


class Store:
    """The evidence of one run folder.

    Open with `writing=True` in the one process that commits. Raises StoreError when another process writes
    there, the file is of another format, or the disk refuses.
    """

    def __init__(self, folder: Path, writing: bool = False):
        self.path = Path(folder, "evidence.sqlite")
        self._lock = None
        if writing:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(Path(folder, "writing.lock"))
            try:
                self._lock.acquire(timeout=0)
            except filelock.Timeout as error:
                raise StoreError(f"another run is writing to {folder}; wait for it or give another --out") from error
        elif not self.path.exists():
            raise StoreError(f"{folder} is not a run folder (no evidence.sqlite); make one with `python -m bench run`")
        try:
            self.connection = sqlite3.connect(self.path)
            if writing:
                self.connection.execute("pragma journal_mode = wal")
                self.connection.execute("pragma synchronous = normal")
                self.connection.executescript(_SCHEMA)
                self.connection.execute("insert or ignore into meta values ('format', ?)", (str(FORMAT),))
                self.connection.commit()
            found = self.connection.execute("select value from meta where name = 'format'").fetchone()
        except sqlite3.DatabaseError as error:
            self.close()
            raise StoreError(f"{self.path} cannot be opened ({error}); move it away to start afresh") from error
        if found is None or int(found[0]) != FORMAT:
            self.close()
            raise StoreError(f"{self.path} has format {found and found[0]}, this version reads {FORMAT}")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and give up the lock."""
        if hasattr(self, "connection"):
            self.connection.close()
        if self._lock is not None:
            self._lock.release()

    def ask(self, rows: Iterable[Mapping]) -> None:
        """Replace the list of cells that the present request is about (see `Plan.cells`)."""
        with self._guard(), self.connection:
            self.connection.execute("delete from asked")
            self.connection.executemany(
                "insert into asked values (:key, :model, :test_set, :image, :source, :tampered, :family, :level,"
                " :spec, :job, :position)",
                rows,
            )

    def asked(self) -> int:
        """Number of cells of the request."""
        return self.connection.execute("select count(*) from asked").fetchone()[0]

    def missing_places(self) -> list[Place]:
        """Where cells of the request are still to be measured (new ones and failed ones), in the order asked."""
        query = f"select job, asked.test_set, asked.image from {_MISSING} group by 1, 2, 3 order by 1, min(position)"
        return [Place(*row) for row in self.connection.execute(query)]

    def missing_at(self, place: Place) -> list[tuple[str, str, str]]:
        """(key, model, spec) of the cells to be measured there. May be called from any thread."""
        query = (
            f"select key, asked.model, spec from {_MISSING} and job = ? and asked.test_set = ? and asked.image = ?"
            " order by position"
        )
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query, (place.group, place.test_set, place.image)).fetchall()

    def commit(self, cells: Iterable[tuple[str, dict]], thumbnails: Iterable[tuple[str, str, bytes]]) -> None:
        """Store cells (key, row of `Evidence.to_row`) and thumbnails (what, key, bytes) in one transaction."""
        marks = ",".join("?" * len(_COLUMNS))
        rows = [tuple({**row, "key": key}[name] for name in _COLUMNS) for key, row in cells]
        with self._guard(), self.connection:
            self.connection.executemany(f"insert or replace into evidence values ({marks})", rows)
            self.connection.executemany("insert or replace into thumbnail values (?,?,?)", list(thumbnails))

    def groups(self) -> list[tuple[str, str]]:
        """(model, test set) pairs of the request, in the order asked."""
        query = "select model, test_set from asked group by model, test_set order by min(position)"
        return list(self.connection.execute(query))

    def evidence(self, model: str, test_set: str) -> Iterator[Evidence]:
        """The measured cells of the request for one model and test set, in the order asked."""
        columns = ", ".join(f"evidence.{name}" for name in _COLUMNS[1:])
        query = (
            f"select {columns} from asked join evidence using (key)"
            " where asked.model = ? and asked.test_set = ? order by position"
        )
        for row in self.connection.execute(query, (model, test_set)):
            yield Evidence.from_row(dict(zip(_COLUMNS[1:], row, strict=True)))

    def cells(self):
        """One row a cell of the request, as a DataFrame; status "skipped" where nothing was measured."""
        import pandas as pd

        query = (
            "select asked.key, asked.model, asked.test_set, asked.image, source, asked.tampered,"
            " family as perturbation, level, spec, coalesce(status, 'skipped') as status,"
            " coalesce(reason, 'not run') as reason, kind, seconds, peak_mb,"
            " psnr, ssim, bytes, image_score, json_extract(extras, '$.seen') as seen"
            " from asked left join evidence using (key) order by position"
        )
        return pd.read_sql_query(query, self.connection).astype({"tampered": bool})

    def counts(self) -> dict[str, int]:
        """Status -> number of the request's cells; those without any result are not in it."""
        query = "select status, count(*) from asked join evidence using (key) group by status"
        return dict(self.connection.execute(query))

    def failures(self, most: int = 10) -> list[tuple[int, str, str]]:
        """(count, model, reason) of the request's failed cells, the commonest first."""
        query = (
            "select count(*), asked.model, reason from asked join evidence using (key) where status = 'failed'"
            " group by 2, 3 order by 1 desc, 2, 3 limit ?"
        )
        return self.connection.execute(query, (most,)).fetchall()

    def thumbnail(self, what: str, key: str) -> bytes | None:
        """A small picture or None; what: "photo", "truth", "score", "prediction" or a key of thumbnails.EXTRAS."""
        row = self.connection.execute("select data from thumbnail where what = ? and key = ?", (what, key)).fetchone()
        return row and row[0]

    def _guard(self):
        return _DiskGuard(self.path)


class _DiskGuard:
    """Turns SQLite's write errors into a StoreError that says what is safe."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, sqlite3.OperationalError):
            raise StoreError(
                f"{self.path}: {error}; everything committed before is safe: "
                "free space (or mend the folder) and run the same command again"
            ) from error
