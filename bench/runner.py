"""Measures the missing cells of a plan: jobs go out through joblib, evidence comes back, one writer commits it.

An exception inside a job becomes a failed cell with its reason; a worker that dies (killed, out of memory)
takes only the cell groups in flight with it, and those are tried again, at last one by one, so that only the
one that kills its worker is marked as failed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError

import models
from bench import thumbnails
from bench.evidence import Evidence
from bench.perturb import Perturbation
from bench.plan import Job, Place, Plan, PlannedModel
from bench.severity import Severity, severity
from bench.store import Store
from models.image import ForensicImage, NotApplicable, ScoreMap, read_image

if TYPE_CHECKING:
    import torch

BACKENDS = ("loky", "threading", "dask", "ray")
RAY_CHUNK = 64


class RunnerError(RuntimeError):
    """The engine that was asked for cannot be used; the message says what to install or change."""


@dataclass
class Outcome:
    """What a job brings back: cells as (key, row of `Evidence.to_row`), thumbnails, and seconds.

    busy: the job's wall time, building models aside; localizing: the part of it that the localizers took.
    """

    place: Place
    cells: list[tuple[str, dict]] = field(default_factory=list)
    pictures: list[tuple[str, str, bytes]] = field(default_factory=list)
    busy: float = 0.0
    localizing: float = 0.0

    def add(self, key: str, evidence: Evidence) -> None:
        """Take in one cell, encoded here so that the parent has only to write it."""
        self.cells.append((key, evidence.to_row()))
        self.localizing += evidence.seconds


@dataclass
class Tally:
    """Seconds over all jobs: in localizers, in the harness inside workers, and in the committing parent."""

    localizers: float = 0.0
    harness: float = 0.0
    commits: float = 0.0

    @property
    def overhead(self) -> float:
        """Harness time over localizer time; NaN when no localizer ran."""
        return (self.harness + self.commits) / self.localizers if self.localizers else float("nan")


def run_plan(plan: Plan, store: Store, *, workers: int, backend: str, progress: Callable[[int], None]) -> Tally:
    """Measure every missing cell of the plan and commit each job as it arrives; returns where the time went.

    progress is called with the number of cells of each committed job. Raises StoreError when a commit fails
    (what was committed stays), RunnerError when the backend is not installed.
    """
    tally = Tally()
    for outcome in _outcomes(plan, store, workers, backend):
        before = time.perf_counter()
        store.commit(outcome.cells, outcome.pictures)
        tally.commits += time.perf_counter() - before
        tally.localizers += outcome.localizing
        tally.harness += outcome.busy - outcome.localizing
        progress(len(outcome.cells))
    return tally


def _outcomes(plan: Plan, store: Store, workers: int, backend: str) -> Iterator[Outcome]:
    """Outcomes in order of arrival, whatever happens to worker processes."""

    def jobs(places: Iterable[Place]) -> Iterator[Job]:  # made as they are sent out, never all at once
        return (plan.job(place, store.missing_at(place)) for place in places)

    pending = dict.fromkeys(store.missing_places())
    while pending:
        before = len(pending)
        try:
            for outcome in _engine(jobs(list(pending)), workers, backend):
                del pending[outcome.place]
                yield outcome
        except TerminatedWorkerError:
            if len(pending) < before:
                continue
            # Nothing came back between two deaths: one of the first jobs kills its worker. Find out which.
            for place in list(pending)[: 2 * workers]:
                del pending[place]
                (job,) = jobs([place])
                try:
                    yield from _engine([job], 2, backend)
                except TerminatedWorkerError:
                    outcome = Outcome(place)
                    for key, model, perturbation in job.cells:
                        reason = "the worker process died (out of memory, or killed)"
                        outcome.add(key, _failed(job, model, perturbation, reason))
                    yield outcome


def _engine(jobs: Iterable[Job], workers: int, backend: str) -> Iterator[Outcome]:
    calls = (joblib.delayed(measure)(job, workers > 1) for job in jobs)
    if backend in ("loky", "threading"):
        # One thread per worker: the cores are shared out by image, and results do not depend on thread counts.
        extra = {"inner_max_num_threads": 1} if backend == "loky" else {}
        with joblib.parallel_config(backend=backend, n_jobs=workers, **extra):
            yield from joblib.Parallel(return_as="generator_unordered", pre_dispatch=f"{2 * workers}")(calls)
    elif backend == "dask":
        with _dask_client(workers) as client, joblib.parallel_config(backend="dask"):
            ahead = 4 * max(1, sum(client.ncores().values()))
            yield from joblib.Parallel(return_as="generator_unordered", pre_dispatch=ahead)(calls)
    else:
        _start_ray(workers)
        with joblib.parallel_config(backend="ray", n_jobs=workers):  # its backend cannot stream: chunks instead
            while chunk := list(itertools.islice(calls, RAY_CHUNK)):
                yield from joblib.Parallel()(chunk)


def _dask_client(workers: int):
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise RunnerError("--backend dask needs dask: pip install 'forgery-bench[dask]'") from error
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    return Client(address) if address else Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)


def _start_ray(workers: int) -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise RunnerError("--backend ray needs ray: pip install 'forgery-bench[ray]'") from error
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        ray.init(**({"address": address} if address else {"num_cpus": workers}), include_dashboard=False)
    register_ray()


def measure(job: Job, single_thread: bool) -> Outcome:
    """Run one job: decode once, perturb once a level, localize with every model that lacks the cell."""
    if single_thread:
        _limit_threads()
    built = {planned.name: _built(planned, job.device) for planned in job.models}
    start = time.perf_counter()
    outcome = Outcome(job.place)
    place = f"{job.test_set.name}|{job.sample.id}"
    try:
        original = read_image(job.sample.image)
        tampered = job.sample.mask is not None
        truth = job.test_set.read_mask(job.sample) if tampered else np.zeros(original.shape, bool)
        outcome.pictures.append(("truth", place, thumbnails.mask(truth)))
    except Exception as error:
        for key, model, perturbation in job.cells:
            outcome.add(key, _failed(job, model, perturbation, _reason(error)))
        outcome.busy = time.perf_counter() - start
        return outcome
    for perturbation, pairs in job.todo:
        try:
            image = perturbation.apply(original, key=(job.test_set.name, job.sample.id), seed=job.seed)
            distance = severity(original, image)
            outcome.pictures.append(("photo", f"{place}|{perturbation.spec}", thumbnails.photo(image.rgb)))
        except Exception as error:
            for key, model in pairs:
                outcome.add(key, _failed(job, model, perturbation, _reason(error)))
            continue
        for key, name in pairs:
            evidence, pictures = _cell(job, key, name, built[name], perturbation, image, truth, distance)
            outcome.add(key, evidence)
            outcome.pictures += pictures
    outcome.busy = time.perf_counter() - start
    return outcome


def _cell(
    job: Job,
    key: str,
    name: str,
    localizer: models.Localizer | Exception,
    perturbation: Perturbation,
    image: ForensicImage,
    truth: np.ndarray,
    distance: Severity,
) -> tuple[Evidence, list[tuple[str, str, bytes]]]:
    """Evidence and thumbnails of one cell; whatever goes wrong, also in building the localizer, is in the evidence."""
    start = time.perf_counter()
    try:
        if isinstance(localizer, Exception):
            raise localizer
        with _peak_memory(job.device) as peak:
            start = time.perf_counter()
            score = localizer.localize(image)
            seconds = time.perf_counter() - start
        if score.values.shape != image.shape:
            raise ValueError(f"{name} returned a map of {score.values.shape} for an image of {image.shape}")
        score = score.resized(*truth.shape)
        evidence = Evidence.measure(
            score,
            truth,
            tampered=job.sample.mask is not None,
            severity=distance,
            seconds=seconds,
            peak_mb=peak.megabytes,
            **_coordinates(job, name, perturbation),
        )
        return evidence, _pictures(key, score, evidence)
    except NotApplicable as reason:
        seconds = time.perf_counter() - start
        return _unscored(job, name, perturbation, "not_applicable", str(reason), seconds, distance), []
    except Exception as error:
        seconds = time.perf_counter() - start
        return _unscored(job, name, perturbation, "failed", _reason(error), seconds, distance), []


def _pictures(key: str, score: ScoreMap, evidence: Evidence) -> list[tuple[str, str, bytes]]:
    predicted = thumbnails.prediction(score, evidence.curve.best_threshold())
    shown = [("score", key, thumbnails.score(score.values, score.kind))]
    shown += [(what, key, draw(score.extras[what])) for what, draw in thumbnails.EXTRAS.items() if what in score.extras]
    return shown + ([("prediction", key, predicted)] if predicted else [])


def _coordinates(job: Job, model: str, perturbation: Perturbation) -> dict:
    return {
        "model": model,
        "test_set": job.test_set.name,
        "image": job.sample.id,
        "perturbation": perturbation.spec,
        "seed": job.seed,
    }


def _unscored(job, model, perturbation, status, reason, seconds, distance) -> Evidence:
    return Evidence.unscored(
        status,
        reason,
        severity=distance,
        tampered=job.sample.mask is not None,
        seconds=seconds,
        **_coordinates(job, model, perturbation),
    )


def _failed(job: Job, model: str, perturbation, reason: str) -> Evidence:
    return _unscored(job, model, perturbation, "failed", reason, 0.0, None)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


_cache: dict[tuple, models.Localizer | Exception] = {}
_cache_lock = threading.Lock()


def _built(planned: PlannedModel, device: torch.device) -> models.Localizer | Exception:
    """The localizer, built once a worker, or the error that building it gave; of networks only the latest is kept."""
    place = (planned.name, planned.identity, planned.weights, device)
    with _cache_lock:
        if place not in _cache:
            if planned.network:
                held = [k for k, b in _cache.items() if isinstance(b, models.Localizer) and b.is_network()]
                for other in held:
                    del _cache[other]
            try:
                _cache[place] = models.build(
                    planned.request, weights=planned.weights, device=device, **dict(planned.settings)
                )
            except Exception as error:
                _cache[place] = error
        return _cache[place]


def _limit_threads() -> None:
    import cv2

    cv2.setNumThreads(1)
    with contextlib.suppress(ImportError):
        import torch

        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)


class _peak_memory:
    """MB that the block adds to this process at its peak (Linux, else NaN); on cuda, the peak allocated on the GPU."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self.megabytes = float("nan")

    def __enter__(self):
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # restarts the kernel's high-water mark
            self.before = _resident("VmRSS")
        return self

    def __exit__(self, *_):
        if self.cuda:
            import torch

            self.megabytes = torch.cuda.max_memory_allocated() / 2**20
        else:
            self.megabytes = max(0.0, _resident("VmHWM") - self.before)


def _resident(field: str) -> float:
    """A field of /proc/self/status in MB; NaN where there is none."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
    return float("nan")
