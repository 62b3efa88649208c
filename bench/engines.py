"""The engines that jobs run on, all through joblib: processes of this machine, dask and ray clusters.

Before a cluster measures anything, each of its workers is asked whether it is of use: the same version of the suite and
of PyTorch, and the files of the test sets and checkpoints in the same places.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import joblib
from joblib.externals.loky import get_reusable_executor

BACKENDS = ("loky", "threading", "dask", "ray")
RAY_CHUNK = 64  # jobs per round: joblib's backend for ray cannot stream


class EngineError(RuntimeError):
    """The engine that was asked for cannot be used; the message says what to install or change."""


def outcomes(function: Callable, jobs: Iterable, workers: int, backend: str, needed: Sequence[Path] = ()) -> Iterator:
    """`function(job)` for every job, as they are done.

    Args:
        function: a module's function.
        jobs: taken a few ahead of the workers.
        workers: processes (or threads) on this machine; a cluster at an address has its own.
        backend: one of BACKENDS.
        needed: files that every worker must find.

    Raises:
        EngineError: the backend is not installed, nobody answers at its address, or its workers are of no use.
    """
    calls = (joblib.delayed(function)(job) for job in jobs)
    if backend in ("loky", "threading"):
        extra = {"inner_max_num_threads": 1, "initializer": _end_with, "initargs": (os.getpid(),)}
        extra = extra if backend == "loky" else {}
        try:
            with joblib.parallel_config(backend=backend, n_jobs=workers, **extra):
                yield from joblib.Parallel(return_as="generator_unordered", pre_dispatch=f"{2 * workers}")(calls)
        finally:
            if backend == "loky":
                _end_workers()
    elif backend == "dask":
        with _dask_client(workers) as client, joblib.parallel_config(backend="dask"):
            answers = client.run(worker_state, [str(path) for path in needed], on_error="return")
            _require({worker: state for worker, state in answers.items() if not _is_gone(state)})
            ahead = 4 * max(1, sum(client.ncores().values()))
            yield from joblib.Parallel(return_as="generator_unordered", pre_dispatch=ahead)(calls)
    else:
        with _ray(workers), joblib.parallel_config(backend="ray", n_jobs=workers):
            _require(_states_of_ray([str(path) for path in needed]))
            while chunk := list(itertools.islice(calls, RAY_CHUNK)):
                yield from joblib.Parallel()(chunk)


def _end_with(planner: int) -> None:
    """At a worker's start, before its first job: end as soon as the planner has, which may be before this."""

    def watch() -> None:
        while os.getppid() == planner:
            time.sleep(0.5)
        os._exit(1)

    if os.getppid() != planner:
        os._exit(1)
    threading.Thread(target=watch, name="planner watcher", daemon=True).start()


def _end_workers(seconds: float = 10) -> None:
    """End loky's processes, by force those that do not end by themselves in this time.

    One that is killed when all work is done may take the lock of the queue with it by which the others are told to end:
    loky would wait for them for ever, at the planner's own end.
    """
    ending = threading.Thread(target=lambda: get_reusable_executor(reuse=True).shutdown(), daemon=True)
    ending.start()
    ending.join(seconds)
    while ending.is_alive():
        for pid in filter(None, (process.pid for process in multiprocessing.active_children())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        ending.join(1)


def worker_state(paths: Sequence[str]) -> dict[str, str]:
    """What a worker says of itself: versions, and the first of the paths that it does not find ("" for none)."""
    import torch

    import bench

    missing = next((path for path in paths if not os.path.exists(path)), "")
    return {"suite": bench.__version__, "torch": torch.__version__, "missing": missing}


def _is_gone(answer: object) -> bool:
    """Whether a worker was lost before it answered, which is the scheduler's business; other errors are raised."""
    if isinstance(answer, Exception) and not isinstance(answer, OSError):  # dask's lost connections are OSErrors
        raise answer
    return isinstance(answer, OSError)


def _require(states: dict[str, dict[str, str]]) -> None:
    """Raise EngineError for the first worker that would give other results, or none."""
    own = worker_state(())
    for worker, state in states.items():
        for name in ("suite", "torch"):
            if state[name] != own[name]:
                raise EngineError(
                    f"worker {worker} has version {state[name]} of {name}, this machine {own[name]}: install the same "
                    "on both"
                )
        if state["missing"]:
            raise EngineError(
                f"worker {worker} does not find {state['missing']}: put test sets and checkpoints where all workers "
                "see them under the same path, or run each part on its machine and use bench merge"
            )


def _dask_client(workers: int):
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise EngineError("--backend dask needs dask: pip install 'forgery-bench[dask]'") from error
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not address:
        return Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    try:
        client = Client(address, timeout=20)
        client.wait_for_workers(1, timeout=60)
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            f"no dask scheduler with workers answers at DASK_SCHEDULER_ADDRESS={address} ({error})"
        ) from error
    return client


@contextlib.contextmanager
def _ray(workers: int) -> Iterator[None]:
    """Connected to ray, and not for longer: its messages would follow the result on standard output."""
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise EngineError("--backend ray needs ray: pip install 'forgery-bench[ray]'") from error
    connected = ray.is_initialized()
    if not connected:
        address = os.environ.get("RAY_ADDRESS")
        _require_listener(address)
        where = {"address": address} if address else {"num_cpus": workers}
        try:
            ray.init(**where, include_dashboard=False, log_to_driver=False)
        except (OSError, RuntimeError) as error:  # ConnectionError is an OSError
            raise EngineError(
                f"no ray cluster answers at RAY_ADDRESS={address} ({error}); one that wants a token needs the same "
                "RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH here as at its start"
            ) from error
    register_ray()
    try:
        yield
    finally:
        if not connected:
            ray.shutdown()


def _require_listener(address: str | None) -> None:
    """Raise EngineError where nothing listens at a ray head's HOST:PORT: `ray.init` would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit():  # "auto", or none: ray finds its cluster itself
        return
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=20).close()
    except (OSError, OverflowError) as error:
        raise EngineError(f"no ray cluster answers at RAY_ADDRESS={address} ({error})") from error


def _states_of_ray(paths: list[str]) -> dict[str, dict[str, str]]:
    """`worker_state` of every node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = ray.remote(worker_state)
    found = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            found[node["NodeManagerAddress"]] = asked.options(scheduling_strategy=there).remote(paths)
    return dict(zip(found, ray.get(list(found.values())), strict=True))


class Slot:
    """One of `count` places, held by this process until it ends; for what workers of a machine share, such as GPUs."""

    def __init__(self, folder: Path, count: int):
        import filelock

        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.cycle(range(max(1, count))):
            lock = filelock.FileLock(folder / f"slot{number}.lock")
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=0.05)
                self.number, self._lock = number, lock
                return
