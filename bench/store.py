"""The run folder's `evidence.sqlite`: every measured cell, committed as it arrives, read back for reports.

One process writes (a file lock enforces it) through one connection; any number may read, also where the folder is
read-only. A score map's evidence is found by its key alone and a statistic by (key, statistic, ground truth), so a
stale result cannot be taken for a fresh one. A failed cell is stored but never counts as done; neither does one whose
checksum does not fit, or that was measured with other versions of what the localizer imports.

**What the folder holds** is a set of cells that grows with each request: more localizers, sets, perturbations. What a
later request measures with other weights or other files replaces what is called the same. Requests of another seed or
limit do not fit and are refused.

**Format 2.** `component`: what results depend on (localizers, images, perturbations, ground truths, statistics,
environments), digest and parts, once each. `evidence`: one row per score map. `statistic`: one row per map, statistic
and ground truth. `picture`: small images. `model`, `image`, `level`, `asked`, `wanted`: what was asked for. Evidence
and statistics carry a CRC-32 of their content each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import urllib.parse
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import filelock
import numpy as np

from bench.evidence import COLUMNS, STATUSES, Cell, Evidence
from bench.holdings import Holdings
from bench.plan import Component, Place, Plan
from bench.thumbnails import EXTRAS

FORMAT = 2
FILE = "evidence.sqlite"
OF_CELLS = ("score", "prediction", *EXTRAS)  # pictures under the key of a cell; photos and ground truths are of images

_SCHEMA = f"""
create table if not exists meta (name text primary key, value text not null) without rowid;
create table if not exists component (
    id integer primary key, kind text not null, digest blob not null, parts text not null, unique (kind, digest)
);
create table if not exists evidence (
    key blob primary key, localizer integer not null, image integer not null, perturbation integer not null,
    environment integer not null, crc integer not null, {", ".join(COLUMNS)}
) without rowid;
create table if not exists statistic (
    cell blob not null, kept integer not null, truth integer not null, crc integer not null, data blob not null,
    primary key (cell, kept, truth)
);
create table if not exists picture (what text, key blob, data blob not null, primary key (what, key));
create table if not exists model (
    id integer primary key, name text unique not null, component integer not null, environment integer not null
);
create table if not exists image (
    id integer primary key, test_set text not null, name text not null, source text not null,
    tampered integer not null, component integer not null, truth integer not null, unique (test_set, name)
);
create table if not exists level (
    id integer primary key, family text not null, level text not null, spec text unique not null,
    component integer not null
);
create table if not exists asked (
    image integer not null, model integer not null, level integer not null, key blob not null,
    primary key (image, model, level)
) without rowid;
create table if not exists wanted (name text primary key, kept integer not null) without rowid;
create table if not exists begun (place text primary key) without rowid;
"""

_NAMES = (
    "model.name as model, image.test_set as test_set, image.name as image, image.source as source,"
    " image.tampered as tampered, level.family as perturbation, level.level as level, level.spec as spec"
)
_ASKED = (
    "asked join model on model.id = asked.model join image on image.id = asked.image"
    " join level on level.id = asked.level"
)
_ORDER = "asked.image, asked.model, asked.level"


class StoreError(RuntimeError):
    """The run folder cannot be read or written; the message says why, what is safe, and what to do."""


class Store:
    """The evidence of one run folder.

    Open with `writing=True` in the one process that commits. Raises StoreError when another process writes there,
    the file is of another format, or the disk refuses.
    """

    def __init__(self, folder: Path, writing: bool = False):
        self.folder = Path(folder)
        self.path = self.folder / FILE
        self._lock = None
        self._known_ids: tuple[Plan, dict[tuple[str, str], int]] | None = None
        if writing:
            self._lock = self._locked()
        elif not self.path.exists():
            raise StoreError(f"{folder} is not a run folder (no {FILE}); make one with `python -m bench run`")
        try:
            self.connection = self._connected(writing)
            self._check_format(writing)
        except sqlite3.DatabaseError as error:
            self.close()
            raise StoreError(
                f"{self.path} cannot be read ({error}); if another program wrote to it, restore it from a copy, "
                "else move it away and run again"
            ) from error
        except StoreError:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError):  # pages that were damaged are found only when they are read
            raise StoreError(
                f"{self.path} is damaged ({error}); move it away and run the same `bench run` again to measure anew"
            ) from error

    def close(self) -> None:
        """Close the connection and give up the lock."""
        if hasattr(self, "connection"):
            if self._lock is not None:  # without a log beside it, the file can be read where nothing can be written
                with contextlib.suppress(sqlite3.Error):
                    self.connection.execute("pragma journal_mode = delete")
            self.connection.close()
        if self._lock is not None:
            self._lock.release()

    def _locked(self) -> filelock.FileLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.folder / "writing.lock")
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise StoreError(f"another run is writing to {self.folder}; wait for it or give another --out") from error
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written ({error.strerror}); give another --out") from error
        return lock

    def _connected(self, writing: bool) -> sqlite3.Connection:
        if writing:
            with self._guard():
                connection = sqlite3.connect(self.path, check_same_thread=False)
                connection.execute("pragma auto_vacuum = incremental")  # of a new file; see `keep_pictures`
                connection.execute("pragma journal_mode = wal")
                connection.execute("pragma synchronous = normal")
                return connection
        address = "file:" + urllib.parse.quote(str(self.path.resolve()))
        try:
            connection = sqlite3.connect(f"{address}?mode=ro", uri=True)
            connection.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.OperationalError:  # a log lies beside it and the folder is read-only
            connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
        return connection

    def _check_format(self, writing: bool) -> None:
        known = {name for (name,) in self.connection.execute("select name from sqlite_master where type = 'table'")}
        if writing and not known:
            with self._guard():  # all or nothing: a part of it would be taken for another version's
                self.connection.executescript(
                    f"begin; {_SCHEMA} insert into meta values ('format', '{FORMAT}'); commit"
                )
        found = self.meta("format") if "meta" in known or writing else None
        if found != str(FORMAT):
            raise StoreError(
                f"{self.path} has format {found}, this version reads {FORMAT}: its results were measured by an older "
                "version of the suite; give another --out, or report it with that version"
            )

    def meta(self, name: str) -> str | None:
        """A value kept for the whole folder, None where there is none."""
        row = self.connection.execute("select value from meta where name = ?", (name,)).fetchone()
        return row and row[0]

    # ------------------------------------------------------------------------------------------- the request

    def ask(self, plan: Plan, *, only: bool = False) -> list[str]:
        """Add the cells of a request to what the folder holds.

        Args:
            plan: the request.
            only: hold the cells of this request alone; what else was measured stays stored, unseen.

        Returns:
            One line on each thing that the request replaces in the folder, and on what else the folder holds.

        Raises:
            StoreError: the folder was filled with another seed or limit.
        """
        with self._guard(), self.connection:
            if only:
                for table in ("asked", "model", "image", "level"):
                    self.connection.execute(f"delete from {table}")
            self._check_fits(plan)
            self._before = self._named_components()
            remarks = self._put_names(plan)
            self._put_cells(plan)
            self.connection.execute("delete from wanted")
            self.connection.executemany(
                "insert into wanted values (?, ?)", [(n, self._component("statistic", c)) for n, c in plan.kept.items()]
            )
        self._plan = plan
        return remarks + self._elsewhere(plan)

    def _check_fits(self, plan: Plan) -> None:
        if not self.asked():
            wanted = {"seed": str(plan.seed), "limit": json.dumps(plan.limit)}
            self.connection.executemany("insert or replace into meta values (?, ?)", wanted.items())
            return
        for name, value in (("seed", str(plan.seed)), ("limit", json.dumps(plan.limit))):
            found = self.meta(name)
            if found is not None and found != value:
                words = ["no limit" if v == "null" else f"{name} {v}" for v in (found, value)]
                raise StoreError(
                    f"{self.folder} was measured with {words[0]}, this request has {words[1]}: they do not fit "
                    f"together; give another --out, the same --{name}, or --only to hold this request alone"
                )

    def _put_names(self, plan: Plan) -> list[str]:
        """Rows of localizers, images and levels; cells that the request makes stale are taken off the list."""
        remarks = []
        self._models, self._images, self._levels = [], [], []
        for model in plan.models:
            component = self._component("localizer", Component(bytes.fromhex(model.identity), model.parts))
            environment = self._component("environment", Component.of(model.environment))
            row = self._named("model", {"name": model.name}, {"component": component, "environment": environment})
            self._models.append(row.id)
            if row.replaced("component"):
                count = self._forget("model", row.id)
                remarks.append(
                    f"{model.name}: other weights, settings or code than before; its {count} earlier results no longer "
                    f"count here (to keep both, name one: {model.name}-old=...)"
                )
        stale = 0
        for image in plan.images:
            sample = image.sample
            row = self._named(
                "image",
                {"test_set": sample.test_set, "name": sample.id},
                {
                    "source": sample.source or sample.id, "tampered": int(sample.tampered),
                    "component": self._component("image", image.component),
                    "truth": self._component("truth", image.truth),
                },
            )  # fmt: skip
            self._images.append(row.id)
            if row.replaced("component") or row.replaced("truth"):
                stale += self._forget("image", row.id)
        gone = self._gone(plan)
        if stale or gone:
            remarks.append(
                f"test sets have changed: {stale + gone} earlier results on changed or absent images no longer count"
            )
        for perturbation, level in zip(plan.perturbations, plan.levels, strict=True):
            row = self._named(
                "level",
                {"spec": perturbation.spec},
                {
                    "family": perturbation.family, "level": perturbation.level,
                    "component": self._component("perturbation", level),
                },
            )  # fmt: skip
            self._levels.append(row.id)
            if row.replaced("component"):
                self._forget("level", row.id)
                remarks.append(f"{perturbation.spec}: its code has changed; earlier results no longer count")
        return remarks

    def _gone(self, plan: Plan) -> int:
        """Take images off the list that the request's sets no longer have; returns the number of their cells."""
        count = 0
        for test_set in plan.test_sets:
            present = {sample.id for sample in test_set.samples}
            rows = self.connection.execute("select id, name from image where test_set = ?", (test_set.name,)).fetchall()
            for number, name in rows:
                if name not in present:
                    count += self._forget("image", number)
                    self.connection.execute("delete from image where id = ?", (number,))
        return count

    def _put_cells(self, plan: Plan) -> None:
        models, levels = self._models, self._levels
        rows = (
            (image, models[model], levels[level], key)
            for number, image in enumerate(self._images)
            for model, level, key in plan.keys(number)
        )
        self.connection.executemany("insert or replace into asked values (?, ?, ?, ?)", rows)

    def _elsewhere(self, plan: Plan) -> list[str]:
        others = self.asked() - len(plan.models) * len(plan.images) * len(plan.levels)
        if not others:
            return []
        names = [name for (name,) in self.connection.execute("select name from model order by id")]
        more = [name for name in names if name not in {m.name for m in plan.models}]
        sets = [s for (s,) in self.connection.execute("select distinct test_set from image order by id")]
        more += [f"set {s}" for s in sets if s not in {t.name for t in plan.test_sets}]
        specs = [s for (s,) in self.connection.execute("select spec from level order by id")]
        more += [s for s in specs if s not in {p.spec for p in plan.perturbations}]
        shown = ", ".join(more[:6]) + (f" and {len(more) - 6} more" if len(more) > 6 else "")
        held = f" ({shown})" if shown else ""
        return [f"{self.folder} also holds {others} other cells{held}; --only leaves them out of results and report"]

    def _named(self, table: str, names: Mapping[str, str], values: Mapping[str, object]) -> _Named:
        """The row with these names, written or updated."""
        where = " and ".join(f"{n} = ?" for n in names)
        columns = ", ".join(values)
        query = f"select id, {columns} from {table} where {where}"
        row = self.connection.execute(query, tuple(names.values())).fetchone()
        if row is None:
            marks = ", ".join("?" * (len(names) + len(values)))
            cursor = self.connection.execute(
                f"insert into {table} ({', '.join(names)}, {columns}) values ({marks})",
                (*names.values(), *values.values()),
            )
            assert cursor.lastrowid is not None, "a row was inserted"
            return _Named(cursor.lastrowid, None, values)
        if row[1:] != tuple(values.values()):
            pairs = ", ".join(f"{n} = ?" for n in values)
            self.connection.execute(f"update {table} set {pairs} where id = ?", (*values.values(), row[0]))
        return _Named(row[0], dict(zip(values, row[1:], strict=True)), values)

    def _forget(self, column: str, number: int) -> int:
        return self.connection.execute(f"delete from asked where {column} = ?", (number,)).rowcount

    def _component(self, kind: str, component: Component) -> int:
        known = self.connection.execute(
            "select id from component where kind = ? and digest = ?", (kind, component.digest)
        ).fetchone()
        if known:
            return known[0]
        text = json.dumps(dict(component.parts), sort_keys=True)
        cursor = self.connection.execute(
            "insert into component (kind, digest, parts) values (?, ?, ?)", (kind, component.digest, text)
        )
        assert cursor.lastrowid is not None, "a row was inserted"
        return cursor.lastrowid

    # --------------------------------------------------------------------------------------- what is missing

    def missing(self, accept: Collection[str] = ()) -> np.ndarray:
        """The cells of the request that are to be measured, in the order of jobs.

        Args:
            accept: names of distributions (or "device", "precision") in which a stored result may differ.

        Returns:
            int32 (n, 3): numbers in the plan of localizer, image and perturbation.
        """
        plan, held = self._plan, Holdings.of(self.connection)
        numbers = [_numbers(ids, found) for ids, found in zip(self._ids_of_request, held.names, strict=True)]
        asked = np.logical_and.reduce([found >= 0 for found in numbers])
        wanted = self.connection.execute("select count(*) from wanted").fetchone()[0]
        truths = self.connection.execute("select id, truth from image").fetchall()
        truth = np.zeros(max(held.image.max(initial=0), *(i for i, _ in truths), 0) + 1, np.int64)
        truth[[i for i, _ in truths]] = [t for _, t in truths]
        incomplete = held.with_status("ok") & (held.statistics(self.connection, truth) < wanted)
        accepted = self._accepted(accept)
        fits = accepted[numbers[0], np.minimum(held.environments(), accepted.shape[1] - 1)]
        rows = np.stack(numbers, 1)[asked & (~held.stored | held.with_status("failed") | ~fits | incomplete)]
        return rows[np.lexsort((rows[:, 0], rows[:, 2], rows[:, 1], plan.group_of[rows[:, 0]]))]

    def whole_request(self) -> np.ndarray:
        """All cells of the request, as `missing` gives them: what `--fresh` measures."""
        plan = self._plan
        grid = np.indices((len(plan.models), len(plan.images), len(plan.levels)), np.int32).reshape(3, -1).T
        return grid[np.lexsort((grid[:, 0], grid[:, 2], grid[:, 1], plan.group_of[grid[:, 0]]))]

    @property
    def _ids_of_request(self) -> tuple[list[int], list[int], list[int]]:
        """Numbers in the tables of the request's localizers, images and levels."""
        return self._models, self._images, self._levels

    def _accepted(self, accept: Collection[str]) -> np.ndarray:
        """Which environments a result of each localizer may have: bool (localizers, largest number + 2).

        The last column stands for none.
        """
        known = {i: _loaded(text) for i, text in self._parts("environment")}
        fits = np.zeros((len(self._models), max(known, default=0) + 2), bool)
        for number, model in enumerate(self._plan.models):
            good = [i for i, found in known.items() if _differing(found, model.environment) <= set(accept)]
            fits[number, good] = True
        return fits

    def _parts(self, kind: str) -> list[tuple[int, str]]:
        return self.connection.execute("select id, parts from component where kind = ?", (kind,)).fetchall()

    def explain(self, missing: np.ndarray) -> str:
        """Why the first missing cell is not taken from the store: which part of its key is new."""
        if not len(missing):
            return "nothing is missing"
        plan = self._plan
        model, image, level = map(int, missing[0])
        cell = plan.cell(image, model, level)
        where = f"{cell.model} on {cell.test_set} {cell.image}, {cell.spec}"
        key = next(k for m, v, k in plan.keys(image) if (m, v) == (model, level))
        stored = self.connection.execute("select status, environment from evidence where key = ?", (key,)).fetchone()
        if stored is not None:
            status, environment = stored
            return f"{where}: {self._explain_stored(key, status, environment, model, image)}"
        changes = []
        for kind, name, component in (
            ("localizer", cell.model, Component(bytes.fromhex(plan.models[model].identity), plan.models[model].parts)),
            ("image", f"{cell.test_set}\n{cell.image}", plan.images[image].component),
            ("perturbation", cell.spec, plan.levels[level]),
        ):
            before = self._before[kind].get(name)
            if before is None:
                changes.append(f"the {kind} was not measured before in this folder")
            elif before != component.parts:
                names = sorted(n for n in before.keys() | component.parts if before.get(n) != component.parts.get(n))
                changes.append(f"the {kind} has changed: {', '.join(names[:8])}")
        return f"{where}: {'; '.join(changes) or 'it was not measured yet'}"

    def _explain_stored(self, key: bytes, status: str, environment: int, model: int, image: int) -> str:
        if status == "failed":
            return "it failed before and is tried again"
        found = _loaded(dict(self._parts("environment"))[environment])
        wanted = self._plan.models[model].environment
        differing = sorted(_differing(found, wanted))
        if differing:
            words = ", ".join(f"{n} {found.get(n, 'absent')} -> {wanted.get(n, 'absent')}" for n in differing)
            return f"it was measured with other versions: {words}; --accept {','.join(differing)} takes it all the same"
        query = (
            "select wanted.name from wanted where not exists (select 1 from statistic where cell = ?"
            " and kept = wanted.kept and truth = (select truth from image where id = ?))"
        )
        lacking = [name for (name,) in self.connection.execute(query, (key, self._images[image]))]
        return f"its ground truth, or the code of what is kept, is new: {', '.join(lacking[:6])}"

    def _named_components(self) -> dict[str, dict[str, dict]]:
        """kind -> name -> parts, of what the folder held before this request."""
        tables = {
            "localizer": "select name, parts from model join component on component.id = model.component",
            "image": "select test_set || char(10) || name, parts from image"
            " join component on component.id = image.component",
            "perturbation": "select spec, parts from level join component on component.id = level.component",
        }
        return {kind: {n: _loaded(p) for n, p in self.connection.execute(q)} for kind, q in tables.items()}

    # ------------------------------------------------------------------------------------------------ writing

    def commit(
        self,
        place: Place,
        cells: Iterable[tuple[bytes, str, str, Evidence]],
        pictures: Iterable[tuple[str, bytes, bytes]] = (),
        bare: Iterable[bytes] = (),
    ) -> None:
        """Store the cells (key, localizer, spec, evidence) and pictures (what, key, bytes) of a job at once.

        bare: keys of cells that lose the pictures they have.
        """
        ids = self._ids
        image, truth = self.connection.execute(
            "select component, truth from image where id = ?", (self._images[place.image],)
        ).fetchone()
        rows, statistics = [], []
        for key, model, spec, evidence in cells:
            localizer, environment = ids["localizer", model], ids["environment", model]
            row = evidence.to_row()
            rows.append((key, localizer, image, ids["level", spec], environment, _crc(key, row), *row))
            statistics += [
                (key, ids["kept", name], truth, _crc(key, (data,)), data) for name, data in evidence.statistics.items()
            ]
        marks = ",".join("?" * (6 + len(COLUMNS)))
        with self._guard(), self.connection:
            self.connection.executemany(f"insert or replace into evidence values ({marks})", rows)
            self.connection.executemany("insert or replace into statistic values (?, ?, ?, ?, ?)", statistics)
            self.connection.executemany("insert or replace into picture values (?, ?, ?)", list(pictures))
            kinds = [(what, key) for key in bare for what in OF_CELLS]
            self.connection.executemany("delete from picture where what = ? and key = ?", kinds)
            self.connection.execute("delete from begun where place = ?", (self._name_of(place),))

    @property
    def _ids(self) -> dict[tuple[str, str], int]:
        if self._known_ids is None or self._known_ids[0] is not self._plan:
            found: dict[tuple[str, str], int] = {}
            for name, *row in self.connection.execute("select name, component, environment from model"):
                found["localizer", name], found["environment", name] = row
            found |= {("level", s): c for s, c in self.connection.execute("select spec, component from level")}
            found |= {("kept", n): k for n, k in self.connection.execute("select name, kept from wanted")}
            self._known_ids = (self._plan, found)
        return self._known_ids[1]

    def begin(self, place: Place) -> None:
        """Note that a job is about to run in this very process, which it might take down with it."""
        with self._guard(), self.connection:
            self.connection.execute("insert or replace into begun values (?)", (self._name_of(place),))

    def begun(self, places: Iterable[Place]) -> set[Place]:
        """Those of the places that were begun in a writer's own process and never came to an end."""
        known = {name for (name,) in self.connection.execute("select place from begun")}
        return {place for place in places if known and self._name_of(place) in known}

    def _name_of(self, place: Place) -> str:
        sample = self._plan.images[place.image].sample
        names = [self._plan.models[i].name for i in self._plan.groups[place.group]]
        return json.dumps([sample.test_set, sample.id, names])

    def keep_pictures(self, cells: Iterable[tuple[str, str, str, str]]) -> int:
        """Delete all pictures but those of these (localizer, test set, image, spec), and give the space back.

        Photos and ground truths stay where a cell of them does. Returns how many pictures went.
        """
        execute = self.connection.execute
        kept = list(cells)
        with self._guard(), self.connection:
            execute(
                "create temp table if not exists keep (own integer, key blob, primary key (own, key)) without rowid"
            )
            execute("delete from keep")
            shown = {photo_key(*cell[1:3]) for cell in kept} | {photo_key(*cell[1:]) for cell in kept}
            self.connection.executemany("insert into keep values (0, ?)", [(key,) for key in shown])
            models = dict(execute("select name, id from model").fetchall())
            images = {(s, n): i for i, s, n in execute("select id, test_set, name from image")}
            levels = dict(execute("select spec, id from level").fetchall())
            wanted = [(images[s, n], models[model], levels[spec]) for model, s, n, spec in kept]
            query = "insert or ignore into keep select 1, key from asked where image = ? and model = ? and level = ?"
            self.connection.executemany(query, wanted)
            kinds = ", ".join(f"'{what}'" for what in OF_CELLS)
            query = f"delete from picture where (what in ({kinds}), key) not in (select own, key from keep)"
            gone = execute(query).rowcount
        with self._guard():
            execute("pragma incremental_vacuum").fetchall()
        return gone

    def take_in(self, other: Store) -> None:
        """Copy all cells of another folder into this one. Raises StoreError where both call different things alike."""
        with self._guard(), self.connection:
            for name in ("seed", "limit"):
                value = other.meta(name)
                if value is not None:
                    self.connection.execute("insert or ignore into meta values (?, ?)", (name, value))
            ids = self._copied_components(other)
            self._copy_results(other, ids)
            self._copy_names(other, ids)

    def _copied_components(self, other: Store) -> dict[int, int]:
        """The other's component numbers -> ours."""
        found = {}
        for number, kind, digest, parts in other.connection.execute("select * from component"):
            found[number] = self._component(kind, Component(digest, _loaded(parts)))
        return found

    def _copy_results(self, other: Store, ids: Mapping[int, int]) -> None:
        marks = ",".join("?" * (6 + len(COLUMNS)))
        status = 6 + COLUMNS.index("status")
        known = dict(self.connection.execute("select key, status from evidence"))
        for row in other.connection.execute("select * from evidence"):
            if row[0] not in known or (known[row[0]] == "failed" and row[status] != "failed"):
                mapped = [row[0], *(ids[number] for number in row[1:5]), *row[5:]]
                self.connection.execute(f"insert or replace into evidence values ({marks})", mapped)
        for cell, kept, truth, crc, data in other.connection.execute("select * from statistic"):
            row = (cell, ids[kept], ids[truth], crc, data)
            self.connection.execute("insert or replace into statistic values (?, ?, ?, ?, ?)", row)
        for row in other.connection.execute("select * from picture"):
            self.connection.execute("insert or replace into picture values (?, ?, ?)", row)

    def _copy_names(self, other: Store, ids: Mapping[int, int]) -> None:
        numbers: dict[str, dict[int, int]] = {}
        for table, names in (("model", ["name"]), ("image", ["test_set", "name"]), ("level", ["spec"])):
            cursor = other.connection.execute(f"select * from {table} order by id")
            columns = [column for column, *_ in cursor.description]
            numbers[table] = {}
            for row in cursor:
                values = dict(zip(columns, row, strict=True))
                number = values.pop("id")
                for column in ("component", "truth", "environment"):
                    if column in values:
                        values[column] = ids[values[column]]
                found = self._named(table, {n: values.pop(n) for n in names}, values)
                if found.replaced("component") or found.replaced("truth"):
                    name = " ".join(str(row[columns.index(n)]) for n in names)
                    raise StoreError(f"{name} is not the same in {other.folder} as in the run folders before it")
                numbers[table][number] = found.id
        for image, model, level, key in other.connection.execute("select * from asked"):
            row = (numbers["image"][image], numbers["model"][model], numbers["level"][level], key)
            self.connection.execute("insert or replace into asked values (?, ?, ?, ?)", row)
        for name, kept in other.connection.execute("select * from wanted"):
            self.connection.execute("insert or replace into wanted values (?, ?)", (name, ids[kept]))

    # ------------------------------------------------------------------------------------------------ reading

    def asked(self) -> int:
        """Number of cells that the folder holds."""
        return self.connection.execute("select count(*) from asked").fetchone()[0]

    def groups(self) -> list[tuple[str, str]]:
        """(localizer, test set) pairs with cells, in order."""
        # one look-up a pair: grouping all cells took seconds per million
        query = """
            select name, test_set from (
                select model.id as model, model.name, sets.test_set, (
                    select image.id from image where image.test_set = sets.test_set
                        and exists (select 1 from asked where asked.image = image.id and asked.model = model.id)
                    order by image.id limit 1
                ) as first
                from model cross join (select distinct test_set from image) as sets
            ) where first is not null order by first, model
        """
        return list(self.connection.execute(query))

    def specs(self) -> list[str]:
        """The perturbations of all cells."""
        return [spec for (spec,) in self.connection.execute("select spec from level order by id")]

    def kept(self) -> list[str]:
        """Names of the statistics that the last request wanted."""
        return [name for (name,) in self.connection.execute("select name from wanted order by name")]

    def evidence(self, model: str, test_set: str, spec: str | None = None) -> Iterator[tuple[Cell, Evidence]]:
        """The measured cells of one localizer and test set, in order, all or of one perturbation.

        Damaged ones are left out (see `drop_damaged`).
        """
        columns = ", ".join(f"evidence.{name}" for name in COLUMNS)
        query = (
            f"select asked.key, image.truth, evidence.crc, {_NAMES}, {columns} from {_ASKED}"
            f" join evidence using (key) where model.name = ? and image.test_set = ? and (? is null or level.spec = ?)"
            f" order by {_ORDER}"
        )
        for key, truth, crc, *rest in self.connection.execute(query, (model, test_set, spec, spec)):
            names, row = rest[:8], tuple(rest[8:])
            statistics = self._statistics(key, truth)
            if crc == _crc(key, row) and statistics is not None:
                names[4] = bool(names[4])
                yield Cell(*names), Evidence.from_row(row, statistics)

    def _statistics(self, key: bytes, truth: int) -> dict[str, bytes] | None:
        """Those of a cell by name; None where one is damaged."""
        query = (
            "select component.parts ->> '$.name', statistic.crc, data from statistic"
            " join component on component.id = statistic.kept where cell = ? and truth = ?"
        )
        found = {}
        for name, crc, data in self.connection.execute(query, (key, truth)):
            if crc != _crc(key, (data,)):
                return None
            found[name] = data
        return found

    def drop_damaged(self) -> int:
        """Delete every evidence and statistic whose checksum does not fit, so that it is measured again."""
        columns = ", ".join(COLUMNS)
        bad = [
            key
            for key, crc, *row in self.connection.execute(f"select key, crc, {columns} from evidence")
            if crc != _crc(key, tuple(row))
        ]
        bad += [
            key
            for key, crc, data in self.connection.execute("select cell, crc, data from statistic")
            if crc != _crc(key, (data,))
        ]
        bad = list(dict.fromkeys(bad))
        if bad:
            with self._guard(), self.connection:
                self.connection.executemany("delete from evidence where key = ?", [(key,) for key in bad])
                self.connection.executemany("delete from statistic where cell = ?", [(key,) for key in bad])
        return len(bad)

    def cells(self):
        """One row per cell, as a DataFrame; status "skipped" where nothing was measured."""
        import pandas as pd

        query = (
            f"select lower(hex(asked.key)) as key, {_NAMES}, coalesce(status, 'skipped') as status,"
            " coalesce(reason, 'not run') as reason, kind, seconds, peak_mb, psnr, ssim, bytes, image_score,"
            f" extras from {_ASKED} left join evidence using (key) order by {_ORDER}"
        )
        frame = pd.read_sql_query(query, self.connection).astype({"tampered": bool})
        loaded = [_loaded(text) if isinstance(text, str) else {} for text in frame.pop("extras")]
        frame["seen"] = [extras.get("seen") for extras in loaded]
        frame["unchanged"] = [bool(extras.get("unchanged")) for extras in loaded]
        frame["forged_pixels"] = [extras.get("forged_pixels", np.nan) for extras in loaded]
        frame["scorable"] = [extras.get("severity", {}).get("scorable", np.nan) for extras in loaded]
        return frame

    def counts(self) -> dict[str, int]:
        """Status -> number of cells; those without any result are not in it."""
        held = Holdings.of(self.connection)
        counts = {name: int(np.count_nonzero(held.with_status(name))) for name in STATUSES}
        return {name: count for name, count in counts.items() if count}

    def seconds(self) -> dict[str, float]:
        """Localizer -> mean seconds per image, of those that were measured."""
        query = (
            "select model.name, avg(evidence.seconds) from asked join evidence using (key)"
            " join model on model.id = asked.model where status = 'ok' group by 1"
        )
        return dict(self.connection.execute(query))

    def failures(self, most: int = 10) -> list[tuple[int, str, str]]:
        """(count, localizer, reason) of failed cells, the commonest first."""
        query = (
            "select count(*), model.name, reason from asked join evidence using (key)"
            " join model on model.id = asked.model where status = 'failed'"
            " group by 2, 3 order by 1 desc, 2, 3 limit ?"
        )
        return self.connection.execute(query, (most,)).fetchall()

    def kinds_of_pictures(self) -> set[str]:
        """Which kinds of picture it holds any of, as `thumbnail` calls them."""
        some = "select 1 from picture where what = ? limit 1"
        return {what for what in ("photo", "truth", *OF_CELLS) if self.connection.execute(some, (what,)).fetchone()}

    def thumbnail(self, what: str, key: str | tuple[str, ...]) -> bytes | None:
        """A small picture or None.

        Args:
            what: "photo", "truth", "score", "prediction" or a key of `thumbnails.EXTRAS`.
            key: a cell's key (hex, as in `cells`); of "photo" (test set, image, spec), of "truth" (test set, image).
        """
        wanted = photo_key(*key) if isinstance(key, tuple) else bytes.fromhex(key)
        row = self.connection.execute("select data from picture where what = ? and key = ?", (what, wanted)).fetchone()
        return row and row[0]

    def _guard(self):
        return _DiskGuard(self.path)


class _Named:
    """A row of a table of names; `replaced` tells whether a column had another value before."""

    def __init__(self, number: int, before: Mapping | None, values: Mapping):
        self.id, self._before, self._values = number, before, values

    def replaced(self, column: str) -> bool:
        return self._before is not None and self._before.get(column) != self._values.get(column)


def photo_key(test_set: str, image: str, spec: str = "") -> bytes:
    """Key of the pictures of an image: its ground truth without a spec, the perturbed photo with one."""
    return hashlib.sha256(json.dumps([test_set, image, spec]).encode("utf-8", "surrogatepass")).digest()[:16]


def _numbers(ids: Sequence[int], found: np.ndarray) -> np.ndarray:
    """The place of each found number among distinct ids, -1 where it is none of them: int32."""
    table = np.full(max(max(ids, default=0), int(found.max(initial=0))) + 1, -1, np.int32)
    table[ids] = np.arange(len(ids))
    return table[found]


def _differing(found: Mapping[str, str], wanted: Mapping[str, str]) -> set[str]:
    return {name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)}


def _loaded(text: str) -> dict:
    """A record of the store; one that is no JSON was damaged on the disk."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise sqlite3.DatabaseError(f"a record is damaged: {error}") from error


def _crc(key: bytes, values: tuple) -> int:
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"), zlib.crc32(key))


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
