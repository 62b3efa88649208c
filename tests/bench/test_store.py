"""The store: what is refused, what survives, and that nothing of it grows with the run."""

import sqlite3
import tracemalloc

import numpy as np
import pytest

from bench.data import Sample, TestSet
from bench.evidence import Evidence
from bench.perturb import parse
from bench.plan import Plan, PlannedModel
from bench.store import Store, StoreError
from models.image import ScoreMap


class Made(TestSet):
    """A set whose samples have no files behind them."""

    def fingerprint(self, sample):
        return sample.id


def plan_of(tmp_path, images):
    samples = [Sample(f"image{i}", tmp_path / f"{i}.png", None, "made") for i in range(images)]
    networks = [PlannedModel(name, name, name, None, name == "net") for name in ("net", "a", "b")]
    return Plan(networks, [Made("made", "Made", samples)], parse("standard"), 0, "cpu")


def evidence(model, image, spec):
    score = ScoreMap(np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10), "probability")
    return Evidence.measure(score, None, model=model, test_set="made", image=image, perturbation=spec, seconds=0.5)


def test_jobs_group_weight_free_localizers_and_part_networks(tmp_path):
    plan = plan_of(tmp_path, 2)
    with Store(tmp_path / "run", writing=True) as store:
        store.ask(plan.cells())
        assert store.asked() == 2 * 3 * 15
        jobs = [plan.job(place, store.missing_at(place)) for place in store.missing_places()]
    assert [([m.name for m in job.models], job.sample.id) for job in jobs] == [
        (["a", "b"], "image0"),
        (["a", "b"], "image1"),
        (["net"], "image0"),
        (["net"], "image1"),
    ]
    assert [len(job.cells) for job in jobs] == [30, 30, 15, 15]
    assert all(len(job.test_set.samples) == 1 for job in jobs)


def test_evidence_comes_back_as_it_went_in_and_is_missed_no_more(tmp_path):
    plan = plan_of(tmp_path, 1)
    with Store(tmp_path / "run", writing=True) as store:
        store.ask(plan.cells())
        (first, *_), _ = (plan.job(p, store.missing_at(p)).cells for p in store.missing_places())
        key, model, perturbation = first
        put = evidence(model, "image0", perturbation.spec)
        store.commit([(key, put.to_row())], [("score", key, b"picture")])
        (got,) = store.evidence(model, "made")
        assert got.curve.thresholds.tolist() == put.curve.thresholds.tolist()
        assert (got.seconds, got.kind, got.status) == (0.5, "probability", "ok")
        assert store.thumbnail("score", key) == b"picture" and store.thumbnail("photo", key) is None
        assert sum(len(store.missing_at(p)) for p in store.missing_places()) == 44
        cells = store.cells()
        assert cells.status.value_counts().to_dict() == {"skipped": 44, "ok": 1}
        assert cells.seen.isna().all() and cells.image_score.isna().all()


def test_a_failed_cell_is_asked_for_again(tmp_path):
    plan = plan_of(tmp_path, 1)
    with Store(tmp_path / "run", writing=True) as store:
        store.ask(plan.cells())
        place = store.missing_places()[0]
        failed = Evidence.unscored("failed", "why", model="a", test_set="made", image="image0", perturbation="identity")
        store.commit([(store.missing_at(place)[0][0], failed.to_row())], [])
        assert len(store.missing_at(place)) == 30
        assert store.counts() == {"failed": 1} and store.failures() == [(1, "a", "why")]


def test_memory_does_not_grow_with_the_cells(tmp_path):
    def peak(images):
        plan = plan_of(tmp_path, images)
        with Store(tmp_path / f"run{images}", writing=True) as store:
            tracemalloc.start()
            store.ask(plan.cells())
            for place in store.missing_places():
                plan.job(place, store.missing_at(place))
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    few, many = peak(50), peak(400)  # 350 images more: 15,750 cells, 700 jobs
    assert (many - few) / 15_750 < 60  # bytes a cell; a single key is a string of 113


def test_other_formats_and_damaged_files_are_refused(tmp_path):
    with Store(tmp_path / "run", writing=True):
        pass
    with sqlite3.connect(tmp_path / "run" / "evidence.sqlite") as connection:
        connection.execute("update meta set value = '99' where name = 'format'")
    with pytest.raises(StoreError, match="format 99"):
        Store(tmp_path / "run")
    with pytest.raises(StoreError, match="not a run folder"):
        Store(tmp_path / "elsewhere")


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        Store(tmp_path / "file", writing=True)
