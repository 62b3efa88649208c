"""The store: what is missing, what is refused, what survives, and that nothing of it grows with the run."""

import dataclasses
import sqlite3
import tracemalloc

import numpy as np
import pytest
import torch

from bench import store as store_module
from bench.data import Sample, TestSet
from bench.evidence import Evidence
from bench.perturb import parse
from bench.plan import Place, Plan, PlannedModel
from bench.runner import _job, _ranges
from bench.store import Store, StoreError
from bench.truth import Truth
from models.image import ScoreMap


class Made(TestSet):
    """A set whose samples have no files behind them."""

    def fingerprint(self, sample):
        return sample.id


def plan_of(tmp_path, images, models=("net", "a", "b"), perturbations="standard", **changes):
    samples = [Sample(f"image{i}", tmp_path / f"{i}.png", None, "made") for i in range(images)]
    planned = [PlannedModel(n, n, n.encode().hex(), None, n == "net", environment={"numpy": "2"}) for n in models]
    made = Plan(planned, [Made("made", "Made", samples)], parse(perturbations), 0, torch.device("cpu"))
    return dataclasses.replace(made, **changes)


def evidence():
    score = ScoreMap(np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10), "probability")
    return Evidence.measure(score, Truth.pristine((6, 10)), tampered=False, protocols=["native"])


def opened(tmp_path, plan, **options):
    store = Store(tmp_path / "run", writing=True)
    store.remarks = store.ask(plan, **options)
    return store


def measure_all(store, plan, made=None):
    missing = store.missing()
    for place, (start, end) in _ranges(plan, missing).items():
        job = _job(plan, place, missing[start:end])
        cells = [(cell.key, cell.model, cell.perturbation.spec, made or evidence()) for cell in job.todo]
        store.commit(place, cells, [("score", cells[0][0], b"picture")])
    return len(missing)


def test_jobs_part_networks_from_weight_free_localizers_and_start_with_them(tmp_path):
    plan = plan_of(tmp_path, 2)
    with opened(tmp_path, plan) as store:
        assert store.asked() == 2 * 3 * 15
        missing = store.missing()
        jobs = [_job(plan, place, missing[slice(*rows)]) for place, rows in _ranges(plan, missing).items()]
    assert [([m.name for m in job.models], job.sample.id) for job in jobs] == [
        (["net"], "image0"),
        (["net"], "image1"),
        (["a", "b"], "image0"),
        (["a", "b"], "image1"),
    ]
    assert [len(job.todo) for job in jobs] == [15, 15, 30, 30]
    assert all(len(job.test_set.samples) == 1 for job in jobs)
    assert all(len(list(job.levels())) == 15 for job in jobs)  # each perturbation is applied once


def test_evidence_comes_back_as_it_went_in_and_is_missed_no_more(tmp_path):
    plan = plan_of(tmp_path, 1)
    with opened(tmp_path, plan) as store:
        job = _job(plan, Place(0, 0), store.missing()[:15])
        cell, put = job.todo[0], evidence()
        store.commit(job.place, [(cell.key, cell.model, cell.perturbation.spec, put)], [("score", cell.key, b"small")])
        ((names, got),) = store.evidence("net", "made")
        assert got.statistics == put.statistics and got.to_row() == put.to_row()
        assert (names.image, names.spec, names.tampered) == ("image0", "identity", False)
        assert store.thumbnail("score", cell.key.hex()) == b"small" and store.thumbnail("photo", cell.key.hex()) is None
        assert len(store.missing()) == 44
        assert store.cells().status.value_counts().to_dict() == {"skipped": 44, "ok": 1}


def test_a_failed_cell_is_asked_for_again(tmp_path):
    plan = plan_of(tmp_path, 1, ("a",), "clean")
    with opened(tmp_path, plan) as store:
        measure_all(store, plan, Evidence("failed", "why"))
        assert len(store.missing()) == 1
        assert store.counts() == {"failed": 1} and store.failures() == [(1, "a", "why")]


def test_a_flipped_bit_makes_its_cell_missing(tmp_path):
    plan = plan_of(tmp_path, 1, ("a",))
    for column, table in (("max_score", "evidence"), ("data", "statistic")):
        with opened(tmp_path, plan) as store:
            measure_all(store, plan)
            (key,) = store.connection.execute("select key from evidence order by key limit 1").fetchone()
            value = 1.99788773 if column == "max_score" else b"damaged"
            where = "key" if table == "evidence" else "cell"
            with store.connection:
                store.connection.execute(f"update {table} set {column} = ? where {where} = ?", (value, key))
            assert len(list(store.evidence("a", "made"))) == 14
            assert store.drop_damaged() == 1 and len(store.missing()) == 1
            assert measure_all(store, plan) == 1 and len(list(store.evidence("a", "made"))) == 15


def test_requests_add_to_what_the_folder_holds(tmp_path):
    first = plan_of(tmp_path, 2, ("a",), "clean")
    with opened(tmp_path, first) as store:
        measure_all(store, first)
    second = plan_of(tmp_path, 2, ("b",), "jpeg:70")
    with opened(tmp_path, second) as store:
        assert "also holds 2 other cells (a)" in store.remarks[-1]
        assert measure_all(store, second) == 4 and store.asked() == 6
        assert store.groups() == [("a", "made"), ("b", "made")]
    with opened(tmp_path, second, only=True) as store:
        assert store.remarks == [] and store.asked() == 4 and len(store.missing()) == 0


@pytest.mark.parametrize(("change", "words"), [({"seed": 1}, "seed 0"), ({"limit": 5}, "no limit")])
def test_requests_that_do_not_fit_are_refused(tmp_path, change, words):
    with opened(tmp_path, plan_of(tmp_path, 1)):
        pass
    with pytest.raises(StoreError, match=f"{words}.*give another --out"):
        opened(tmp_path, plan_of(tmp_path, 1, **change))
    opened(tmp_path, plan_of(tmp_path, 1, **change), only=True).close()


def test_other_weights_under_the_same_name_replace_all_earlier_results_and_say_so(tmp_path):
    plan = plan_of(tmp_path, 1, ("a",))
    with opened(tmp_path, plan) as store:
        measure_all(store, plan)
    other = plan_of(tmp_path, 1, ("a",), "clean")
    other = dataclasses.replace(other, models=[dataclasses.replace(other.models[0], identity="ff")])
    with opened(tmp_path, other) as store:
        assert "a: other weights" in store.remarks[0] and store.asked() == 1 and len(store.missing()) == 1


def test_other_versions_are_measured_again_unless_accepted_by_name(tmp_path):
    plan = plan_of(tmp_path, 1, ("a",), "clean")
    with opened(tmp_path, plan) as store:
        measure_all(store, plan)
    newer = dataclasses.replace(plan, models=[dataclasses.replace(plan.models[0], environment={"numpy": "3"})])
    with opened(tmp_path, newer) as store:
        assert len(store.missing()) == 1 and len(store.missing(["numpy"])) == 0
        assert "numpy 2 -> 3" in store.explain(store.missing())


def test_another_protocol_misses_its_statistics_alone(tmp_path):
    plan = plan_of(tmp_path, 1, ("a",), "clean")
    with opened(tmp_path, plan) as store:
        measure_all(store, plan)
    with opened(tmp_path, dataclasses.replace(plan, protocols=("native", "mpc"))) as store:
        assert len(store.missing()) == 1 and "what is kept" in store.explain(store.missing())


def test_memory_does_not_grow_with_the_cells(tmp_path):
    def peak(images):
        plan = plan_of(tmp_path, images)
        with Store(tmp_path / f"run{images}", writing=True) as store:
            tracemalloc.start()
            store.ask(plan)
            missing = store.missing()
            for place, rows in _ranges(plan, missing).items():
                _job(plan, place, missing[slice(*rows)])
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    few, many = peak(50), peak(400)  # 350 images more: 15,750 cells, 700 jobs
    assert (many - few) / 15_750 < 300  # bytes per cell, those of the images among them


def test_other_formats_and_damaged_files_are_refused(tmp_path):
    with Store(tmp_path / "run", writing=True):
        pass
    with sqlite3.connect(tmp_path / "run" / "evidence.sqlite") as connection:
        connection.execute("update meta set value = '99' where name = 'format'")
    with pytest.raises(StoreError, match="format 99"):
        Store(tmp_path / "run")
    with pytest.raises(StoreError, match="not a run folder"):
        Store(tmp_path / "elsewhere")
    (tmp_path / "run" / "evidence.sqlite").write_bytes(b"no database at all" * 400)
    with pytest.raises(StoreError, match="cannot be read"):
        Store(tmp_path / "run")


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file", writing=True)


def test_what_is_missing_is_what_looking_up_every_cell_finds(tmp_path):
    rng = np.random.default_rng(0)
    plan = plan_of(tmp_path, 9)
    fewer = dataclasses.replace(plan, models=plan.models[1:], perturbations=plan.perturbations[2:11])
    with opened(tmp_path, plan) as store:
        measure_all(store, plan)
        keys = [key for (key,) in store.connection.execute("select key from evidence order by key")]
        for change, share in (
            ("delete from evidence where key = ?", 0.1),
            ("update evidence set status = 'failed' where key = ?", 0.1),
            ("update evidence set status = 'not_applicable' where key = ?", 0.1),
            ("update evidence set environment = 10000 where key = ?", 0.1),
            ("delete from statistic where cell = ?", 0.2),
            ("update statistic set truth = truth + 1 where cell = ?", 0.2),
        ):
            store.connection.executemany(change, [(key,) for key in keys if rng.random() < share])
        store.connection.commit()
        for request in (plan, fewer):
            store.ask(request)
            found = [tuple(row) for row in store.missing().tolist()]
            assert len(set(found)) == len(found)
            assert set(found) == set(looked_up(store, request))
            assert 0 < len(found) < len(request.models) * 9 * len(request.perturbations)
        counted = store.connection.execute(
            "select status, count(*) from asked join evidence using (key) group by status"
        ).fetchall()
        assert store.counts() == dict(counted)


def looked_up(store, plan):
    """The missing cells of a request, one query a cell."""
    one = store.connection.execute
    for image in range(len(plan.images)):
        truth = one("select truth from image where id = ?", (store._images[image],)).fetchone()[0]
        for model, level, key in plan.keys(image):
            row = one("select status, environment from evidence where key = ?", (key,)).fetchone()
            query = "select count(*) from statistic join wanted using (kept) where cell = ? and truth = ?"
            has = one(query, (key, truth)).fetchone()[0]
            if row is None or row[0] == "failed" or row[1] == 10000 or (row[0] == "ok" and has < len(plan.kept)):
                yield model, image, level


def test_a_store_whose_making_was_cut_short_is_made_again(tmp_path, monkeypatch):
    """As on a full disk: a part of the tables was taken for those of another version."""
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_SCHEMA", store_module._SCHEMA + "insert into nowhere values (1);")
        with pytest.raises(StoreError, match="nowhere"):
            Store(tmp_path, writing=True)
    with Store(tmp_path, writing=True) as store:
        assert store.meta("format") == str(store_module.FORMAT)
