"""`bench run`: resume, reuse, recomputation, failures, and what is written."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from PIL import Image

from bench import runner
from bench.cli import main
from bench.store import Store, StoreError

ROOT = Path(__file__).parents[2]


def run(folder, models, *more, perturbations="clean"):
    """`bench run` in this process on the made folder; returns its exit code."""
    data = f"folder:{folder / 'images'},{folder / 'masks'}"
    words = ["run", "--models", models, "--data", data, "--out", str(folder / "run"), "--perturbations", perturbations]
    return main([*words, "--workers", "2", "--backend", "threading", *more])


def calls(folder):
    """Lines that the toy localizers left."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def folder(photo_folder, monkeypatch):
    monkeypatch.setenv("TOY_LOG", str(photo_folder / "log"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))  # for worker processes
    return photo_folder


def results(folder):
    return pd.read_csv(folder / "run" / "results.csv", keep_default_na=False, na_values={"value": [""]})


def value(folder, metric, protocol="native", spec="identity"):
    table = results(folder)
    chosen = (table.metric == metric) & (table.protocol == protocol) & (table.spec == spec) & (table.image != "*")
    return table[chosen].set_index("image")["value"]


def test_libraries_are_looked_for_before_there_are_threads(folder, monkeypatch):
    """A thread that looks for them (to limit BLAS) while another imports one: each waits for the other's lock."""
    threads = []
    monkeypatch.setattr(runner, "_limited", False)
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", lambda limits: threads.append(threading.current_thread()))
    assert run(folder, "toy_localizers:Redness") == 0
    assert threads == [threading.main_thread()]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak")
def test_memory_is_measured_once_an_image_whatever_was_freed_before(folder):
    models = "toy_localizers:Hungry,toy_localizers:AsHungry"
    assert run(folder, models, "--workers", "1", perturbations="clean;noise:2,4") == 0
    with Store(folder / "run") as store:
        cells = store.cells()
    for model, of_it in cells.groupby("model"):
        measured = of_it.groupby("image")["peak_mb"].agg(["count", "max"])
        assert (measured["count"] == 1).all(), model
        assert measured["max"].between(75, 120).all(), (model, measured)


def test_values_are_those_of_the_known_truth(folder):
    assert run(folder, "toy_localizers:Redness", perturbations="jpeg:90") == 0
    # red 230 on at most 119: a probability above one half exactly on the mask, so every score is perfect
    assert value(folder, "f1").tolist() == [1.0] * 4
    assert value(folder, "auc").tolist() == [1.0] * 4
    assert value(folder, "auc", spec="jpeg:90").min() > 0.99
    assert len(calls(folder)) == 8


def test_second_run_computes_nothing(folder):
    assert run(folder, "toy_localizers:Redness", perturbations="noise:5") == 0
    before, table = calls(folder), results(folder)
    seconds = json.loads((folder / "run" / "run.json").read_text())["seconds"]
    assert run(folder, "toy_localizers:Redness", perturbations="noise:5") == 0
    assert calls(folder) == before
    pd.testing.assert_frame_equal(results(folder), table)
    about = json.loads((folder / "run" / "run.json").read_text())
    assert about["cells"]["reused"] == about["cells"]["asked"] == 8
    assert about["seconds"] == seconds  # the report goes on saying what measuring took


def test_what_changed_is_recomputed_and_nothing_else(folder, monkeypatch):
    assert run(folder, "toy_localizers:Redness") == 0
    assert run(folder, "toy_localizers:Redness", perturbations="noise:5") == 0
    assert len(calls(folder)) == 4 + 4  # the identity cells were there
    assert run(folder, "toy_localizers:Redness", "--seed", "1") == 2  # what the folder holds has another seed
    assert run(folder, "toy_localizers:Redness", "--seed", "1", "--only") == 0
    assert len(calls(folder)) == 12  # another seed
    photo = np.array(Image.open(folder / "images" / "image1.png"))
    photo[40:, 40:] = 7
    Image.fromarray(photo).save(folder / "images" / "image1.png")
    assert run(folder, "toy_localizers:Redness", "--seed", "1") == 0
    assert len(calls(folder)) == 13  # another image
    mask = np.array(Image.open(folder / "masks" / "image2.png"))
    mask[:5] = 255
    Image.fromarray(mask).save(folder / "masks" / "image2.png")
    assert run(folder, "toy_localizers:Redness", "--seed", "1") == 0
    assert len(calls(folder)) == 14  # another mask
    assert value(folder, "f1")["image2"] < 1
    import toy_localizers

    monkeypatch.setattr(toy_localizers.Redness.__init__, "__defaults__", (0.5,))
    assert run(folder, "toy_localizers:Redness", "--seed", "1") == 0
    assert len(calls(folder)) == 18  # other settings


def test_what_a_localizer_says_beside_its_map_is_kept(folder, monkeypatch):
    monkeypatch.delenv("BENCH_MEMORY_GB", raising=False)
    assert run(folder, "toy_localizers:Talkative") == 0
    about = json.loads((folder / "run" / "run.json").read_text())
    with Store(folder / "run") as store:
        cells = store.cells().set_index("image")
        (pair,) = store.groups()
        kept = {cell.image: evidence for cell, evidence in store.evidence(*pair)}
        small = store.thumbnail("sources", cells.key["image0"]), store.thumbnail("confidence", cells.key["image0"])
        assert store.thumbnail("noiseprint", cells.key["image0"]) is None
    forged = np.array(Image.open(folder / "masks" / "image0.png")) > 0
    assert cells.image_score["image0"] == kept["image0"].image_score == pytest.approx(forged.mean())
    assert set(cells.seen) == {"tiles 32x32, overlap 0"}
    # both workers may use the same share, which the run records
    assert {evidence.extras["budget_gb"] for evidence in kept.values()} == {about["request"]["memory_gb"]}
    assert about["request"]["memory_gb"] > 0 and "BENCH_MEMORY_GB" not in os.environ
    assert run(folder, "toy_localizers:Talkative", "--workers", "1") == 0  # what it may use is no part of its results
    assert json.loads((folder / "run" / "run.json").read_text())["cells"]["computed"] == 0
    sources, confidence = (np.asarray(Image.open(io.BytesIO(data)).convert("L")) for data in small)
    assert ((sources > 127) == forged).mean() > 0.99
    assert np.abs(confidence[forged] / 255 - (1 - 230 / 510)).max() < 0.1  # WebP


def test_noise_does_not_depend_on_order_or_workers(folder):
    assert run(folder, "toy_localizers:Redness", "--workers", "1", perturbations="noise:9") == 0
    alone = sorted(calls(folder))
    (folder / "log").unlink()
    more = ["--out", str(folder / "second"), "--workers", "3"]
    assert run(folder, "toy_localizers:Redness", *more, perturbations="noise:3;noise:9") == 0
    assert set(alone) <= set(calls(folder))  # the log holds the sum of all pixels of every perturbed image


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("Nan", "ScoreMapError: the score map holds NaN or infinity in 1 of 3072 pixels"),
        ("WrongSize", "returned a map of (47, 64) for an image of (48, 64)"),
        ("Fragile", "ArithmeticError: green corner"),
    ],
)
def test_failures_are_recorded_and_the_run_goes_on(folder, capsys, model, reason):
    name = f"toy_localizers:{model}"
    assert run(folder, f"{name},toy_localizers:Redness") == 1
    failed = 1 if model == "Fragile" else 4
    out = capsys.readouterr().out
    assert f"{failed} failed" in out and "FAILED" in out and reason in out
    with Store(folder / "run") as store:
        cells = store.cells()
    assert cells[cells.model == name].status.value_counts()["failed"] == failed
    assert (cells[cells.model == "toy_localizers:Redness"].status == "ok").all()
    assert cells[cells.status == "failed"].reason.str.contains(reason, regex=False).all()
    before = len(calls(folder))
    run(folder, f"{name},toy_localizers:Redness")
    retried = len(calls(folder)) - before
    assert retried == 0  # the failing images were tried again (and failed before their note); no good one was


def test_not_applicable_is_no_failure_and_no_number(folder):
    assert run(folder, "toy_localizers:OnlyJpeg", perturbations="jpeg:80") == 0
    with Store(folder / "run") as store:
        assert store.counts() == {"not_applicable": 4, "ok": 4}
    assert set(results(folder).query("image != '*'").spec) == {"jpeg:80"}


def test_unreadable_image_fails_its_cells_only(folder, capsys):
    data = (folder / "images" / "image1.png").read_bytes()
    (folder / "images" / "image1.png").write_bytes(data[: len(data) // 2])
    code = run(folder, "toy_localizers:Redness")
    about = json.loads((folder / "run" / "run.json").read_text())
    listed = [d["file"] for t in about["test_sets"] for d in t["defects"]]
    failed = about["cells"].get("failed", 0)
    assert (code, failed) == (1, 1) or any("image1" in file for file in listed)
    assert about["cells"]["ok"] == 3
    assert "image1.png" in capsys.readouterr().out + " ".join(listed)


def _command(folder, model, *more):
    data = f"folder:{folder / 'images'},{folder / 'masks'}"
    words = [sys.executable, "-m", "bench", "run", "--models", model, "--data", data, "--out", folder / "run"]
    return [*map(str, words), "--workers", "2", *more], dict(os.environ)


@pytest.mark.slow
def test_kill_minus_nine_loses_nothing_and_counts_nothing_twice(folder):
    words, environment = _command(folder, "toy_localizers:Slow", "--perturbations", "noise:1,2,3,4")
    process = subprocess.Popen(words, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    database = folder / "run" / "evidence.sqlite"

    def committed():
        try:
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
                return {key for (key,) in connection.execute("select key from evidence")}
        except sqlite3.OperationalError:
            return set()

    deadline = time.monotonic() + 300
    while not committed() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = committed()
    assert 0 < len(kept) < 20
    before = len(calls(folder))
    subprocess.run(words, env=environment, check=True, capture_output=True)
    assert committed() > kept and len(committed()) == 20
    assert len(calls(folder)) - before == 20 - len(kept)  # what was committed was not computed again
    with sqlite3.connect(database) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_a_dying_worker_takes_only_its_own_image(folder):
    words, environment = _command(folder, "toy_localizers:Deadly", "--perturbations", "clean")
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    with Store(folder / "run") as store:
        cells = store.cells().set_index("image")
    assert cells.status.to_dict() == {"image0": "ok", "image1": "ok", "image2": "ok", "image3": "failed"}
    assert "worker process died" in cells.reason["image3"]


def test_full_disk_says_so_and_keeps_what_is_there(folder, monkeypatch, capsys):
    assert run(folder, "toy_localizers:Redness") == 0
    original = Store.__init__

    def small_disk(self, *args, **kwargs):
        original(self, *args, **kwargs)
        pages = self.connection.execute("pragma page_count").fetchone()[0]
        self.connection.execute(f"pragma max_page_count = {pages + 2}")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "__init__", small_disk)
        assert run(folder, "toy_localizers:Redness", "--workers", "1", perturbations="noise:1,2,3,4,5,6,7,8,9") == 2
    error = capsys.readouterr().err
    assert "database or disk is full" in error and "run the same command again" in error
    before = len(calls(folder))
    assert run(folder, "toy_localizers:Redness") == 0
    assert len(calls(folder)) == before  # the first run's cells are all still there


def test_two_writers_are_refused(folder):
    with Store(folder / "run", writing=True), pytest.raises(StoreError, match="another run is writing"):
        Store(folder / "run", writing=True)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--models", "mpv"], "did you mean 'mpc'"),
        (["--data", "builtn"], "builtin"),
        (["--perturbations", "jpg:50"], "jpeg"),
        (["--perturbations", "jpeg:0"], "1"),
        (["--models", "nowhere.module:Class"], "nowhere.module:Class"),
        (["--weights", "mpc"], "MODEL=FILE"),
    ],
)
def test_unknown_names_suggest_the_nearest(tmp_path, capsys, words, hint):
    assert main(["run", "--out", str(tmp_path / "run"), *words]) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_weights_are_reported_as_skipped(folder, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(folder / "weights"))
    assert run(folder, "mpc-catnet,toy_localizers:Redness") == 0
    out = capsys.readouterr()
    assert "skipped mpc-catnet" in out.out and "MPC_CATNet_stage2_weights.pth" in out.out
    about = json.loads((folder / "run" / "run.json").read_text())
    assert {m["name"]: m["status"] for m in about["models"]}["mpc-catnet"] == "skipped"
    assert run(folder, "mpc-catnet") == 2


def test_json_is_the_only_thing_on_standard_output(folder, capsys):
    assert run(folder, "toy_localizers:Redness", "--json") == 0
    assert json.loads(capsys.readouterr().out)["cells"]["ok"] == 4


@pytest.mark.parametrize(("backend", "library"), [("dask", "dask.distributed"), ("ray", "ray")])
def test_a_cluster_whose_library_is_absent_says_what_to_install(folder, backend, library, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    assert run(folder, "toy_localizers:Redness", "--backend", backend) == 2
    assert f"pip install 'forgery-bench[{backend}]'" in capsys.readouterr().err


def test_workers_are_spread_over_cards_and_each_keeps_its_own(folder, monkeypatch):
    """Two stand-in cards on the CPU: there is none here."""
    import dataclasses

    import torch

    from bench import runner
    from bench.data import open_test_sets
    from bench.perturb import parse
    from bench.plan import Place, Plan, PlannedModel

    sets = open_test_sets(f"folder:{folder / 'images'},{folder / 'masks'}")
    planned = [PlannedModel("t", "toy_localizers:Redness", "00", None, True)]
    cards = (torch.device("cpu", 0), torch.device("cpu", 1))
    plan = Plan(planned, sets, parse("clean"), 0, torch.device("cpu"), worker_devices=(*cards, *cards))
    job = plan.job(Place(0, 0), [])
    elsewhere = dataclasses.replace(job, planner=job.planner + 1)
    seen = []
    for _ in range(4):
        monkeypatch.setattr(runner, "_slot", None)
        seen.append((runner._own_device(elsewhere), runner._slot))
    assert sorted(str(device) for device, _ in seen) == ["cpu:0", "cpu:0", "cpu:1", "cpu:1"]
    assert runner._own_device(job) == plan.device  # the planner itself
