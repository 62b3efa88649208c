"""Engines: the same bytes from all of them; clusters that lose workers, gain workers, or answer nobody."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

from bench.engines import EngineError, Slot, _end_workers, _require, outcomes, worker_state

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def photo_folder(photo_folder):
    """The photos in a folder that is called the same in every test: a set's name is part of what seeds its noise."""
    folder = photo_folder / "photos"
    folder.mkdir()
    for name in ("images", "masks"):
        (photo_folder / name).rename(folder / name)
    return folder


@pytest.fixture
def command(photo_folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))

    def words(out, backend, models="toy_localizers:Redness", perturbations="noise:4;jpeg:70"):
        data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
        start = [sys.executable, "-m", "bench", "run", "--models", models, "--data", data, "--workers", "2", "--json"]
        return [*start, "--backend", backend, "--perturbations", perturbations, "--out", str(photo_folder / out)]

    return words


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A file with a line for every map that toy localizers have made, workers of clusters begun from here included."""
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "measured.txt"))
    return tmp_path / "measured.txt"


def wait_for(measured, running, maps=4, seconds=120):
    """Return when that many maps have been made; fail where the run ends before or takes too long."""
    for _ in range(10 * seconds):
        if measured.exists() and len(measured.read_text().splitlines()) >= maps:
            return
        assert running.poll() is None, "the run ended before it was to be disturbed"
        time.sleep(0.1)
    running.kill()
    pytest.fail(f"fewer than {maps} maps in {seconds} s")


LOKY: dict[str, bytes] = {}


def of_loky(folder, command, **work):
    """The table that loky gives for this work, run once for all tests: the photos are the same in each."""
    if str(work) not in LOKY:
        subprocess.run(command("loky", "loky", **work), check=True, capture_output=True)
        LOKY[str(work)] = table(folder, "loky")
    return LOKY[str(work)]


def table(folder, out):
    return (folder / out / "results.csv").read_bytes()


@pytest.mark.parametrize("backend", ["threading", "dask", "ray"])
def test_every_engine_gives_the_bytes_of_loky(photo_folder, command, backend):
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    subprocess.run(command(backend, backend), check=True, capture_output=True)
    assert table(photo_folder, backend) == of_loky(photo_folder, command)


def test_a_cluster_that_loses_and_gains_workers_loses_nothing(photo_folder, command, measured, monkeypatch):
    distributed = pytest.importorskip("distributed")
    work = {"models": "toy_localizers:Slow", "perturbations": "noise:1,2,3,4,5,6"}
    expected = of_loky(photo_folder, command, **work)
    measured.unlink(missing_ok=True)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        running = subprocess.Popen(command("dask", "dask", **work), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(measured, running)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)  # the nanny of a worker
        cluster.scale(3)
        out, said = running.communicate(timeout=300)
    assert running.returncode == 0, said.decode()
    assert json.loads(out)["cells"]["ok"] == 28
    assert table(photo_folder, "dask") == expected


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_killed_parent_is_resumed(photo_folder, command, measured, backend):
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    work = {"models": "toy_localizers:Slow", "perturbations": "noise:1,2,3,4,5,6"}
    running = subprocess.Popen(
        command("run", backend, **work), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(measured, running)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = subprocess.run(command("run", backend, **work), capture_output=True, check=True)
    cells = json.loads(done.stdout)["cells"]
    assert cells["ok"] == cells["asked"] == cells["reused"] + cells["computed"] == 28


@pytest.mark.parametrize(("backend", "variable"), [("dask", "DASK_SCHEDULER_ADDRESS"), ("ray", "RAY_ADDRESS")])
def test_an_address_where_nobody_answers_is_named(command, monkeypatch, backend, variable):
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    monkeypatch.setenv(variable, "127.0.0.1:1" if backend == "ray" else "tcp://127.0.0.1:1")
    done = subprocess.run(command("out", backend), capture_output=True, text=True, timeout=120)
    last = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 2 and len(last) == 1 and f"{variable}=" in last[0]


def test_workers_that_are_of_no_use_are_refused_before_anything_is_measured():
    good = worker_state([__file__])
    assert good["missing"] == ""
    _require({"a": good})
    for name, words in (("suite", "version 0 of suite"), ("torch", "version 0 of torch")):
        with pytest.raises(EngineError, match=words):
            _require({"a": good, "b": {**good, name: "0"}})
    with pytest.raises(EngineError, match="does not find"):
        _require({"a": worker_state(["nowhere.png"])})


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_workers_that_do_not_see_a_file_end_the_run_before_its_first_job(tmp_path, backend, request):
    engine = pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    if backend == "ray":
        request.addfinalizer(engine.shutdown)
    started = tmp_path / "started"
    with pytest.raises(EngineError, match=r"does not find \S*elsewhere\.png: put test sets and checkpoints where"):
        list(outcomes(Path.touch, [started], 1, backend, [Path(__file__), tmp_path / "elsewhere.png"]))
    assert not started.exists()


def test_workers_that_do_not_end_are_ended_by_force():
    """As where one is killed at the end of all work and takes the lock of the others' queue with it."""
    assert sorted(outcomes(abs, [-1, -2, -3, -4], 2, "loky")) == [1, 2, 3, 4]
    executor = get_reusable_executor(max_workers=2, timeout=300)
    workers = {executor.submit(os.getpid).result() for _ in range(8)}
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    _end_workers(seconds=0.5)
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_ray_is_left_where_it_was_not_found_running():
    """Its messages would follow the result on standard output."""
    ray = pytest.importorskip("ray")
    assert not ray.is_initialized()
    assert list(outcomes(abs, [-1, -2], 1, "ray")) == [1, 2]
    assert not ray.is_initialized()


def test_slots_are_held_one_each(tmp_path):
    held = [Slot(tmp_path, 3) for _ in range(3)]
    assert sorted(slot.number for slot in held) == [0, 1, 2]
