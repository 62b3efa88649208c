"""Measures the missing cells of a plan: jobs go out through joblib, evidence comes back, one writer commits it.

Whatever a localizer does ends in a failed cell with its reason: it raises, exits, returns nonsense, prints, changes the
folder. A worker that dies (killed, out of memory) takes only the jobs in flight with it, and those are tried again, at
last one by one, so that only the one that kills its worker is marked as failed. Workers compare what they loaded with
what was planned: a result of other code, weights or files is not committed.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError

import models
from bench import heap, thumbnails
from bench.data import Sample
from bench.engines import Slot, outcomes
from bench.evidence import Evidence
from bench.gallery import Extremes, value_of
from bench.identity import file_digest, identify
from bench.metrics import find, image_metrics
from bench.perturb import Perturbed
from bench.plan import Job, Place, Plan, PlannedModel, Todo
from bench.severity import Severity, severity
from bench.store import Store, photo_key
from models import NotApplicable, ScoreMap

STAGES = ("decode", "perturb", "severity", "localize", "evidence", "pictures", "commit")


class Changed(RuntimeError):
    """Code, weights or files are not those that were planned with."""


@dataclass
class Outcome:
    """What a job brings back.

    Attributes:
        cells: (key, localizer, spec, evidence).
        pictures: (what, key, bytes).
        standing: key -> metric and value that decide whether the cell is one whose pictures are kept.
        seconds: stage (see STAGES) -> wall time; building localizers is not in it.
    """

    place: Place
    cells: list[tuple[bytes, str, str, Evidence]] = field(default_factory=list)
    pictures: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    standing: dict[bytes, tuple[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, cell: Todo, evidence: Evidence) -> None:
        """Take in one cell."""
        self.cells.append((cell.key, cell.model, cell.perturbation.spec, evidence))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


@dataclass
class Tally:
    """Seconds per stage over all jobs, and per localizer in its own code."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    localizers: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, outcome: Outcome) -> None:
        """Count what a job took."""
        for stage, seconds in outcome.seconds.items():
            self.seconds[stage] += seconds
        for _, model, _, evidence in outcome.cells:
            self.localizers[model] += evidence.seconds

    @property
    def localizing(self) -> float:
        """Seconds that localizers took."""
        return self.seconds["localize"]

    @property
    def harness(self) -> float:
        """Seconds that everything else took, in workers and in the committing parent."""
        return sum(self.seconds.values()) - self.seconds["localize"]

    @property
    def overhead(self) -> float:
        """Harness time over localizer time; NaN when no localizer ran."""
        return self.harness / self.localizing if self.localizing else float("nan")


def run_plan(
    plan: Plan,
    store: Store,
    missing: np.ndarray,
    *,
    workers: int,
    backend: str,
    progress: Callable[[Mapping[str, int]], None],
) -> Tally:
    """Measure the missing cells of the plan and commit each job as it arrives; returns where the time went.

    Args:
        plan: what is asked for.
        store: where it is committed.
        missing: as `Store.missing` gives it.
        workers: how many measure.
        backend: of joblib.
        progress: called with localizer -> number of cells of each committed job.

    Raises:
        StoreError: a commit failed; what was committed before stays.
        EngineError: the backend cannot be used.
    """
    tally, extremes = Tally(), Extremes()
    for outcome in _outcomes(plan, store, missing, workers, backend):
        with outcome.stage("commit"):
            pictures = outcome.pictures
            bare: set[bytes] = set()
            if plan.pictures == "extremes":
                pictures, bare = _kept(outcome, plan.images[outcome.place.image].sample, extremes)
            store.commit(outcome.place, outcome.cells, pictures, bare)
        tally.add(outcome)
        counts: dict[str, int] = defaultdict(int)
        for _, model, _, _ in outcome.cells:
            counts[model] += 1
        progress(counts)
    return tally


def _kept(outcome: Outcome, sample: Sample, extremes: Extremes) -> tuple[list[tuple[str, bytes, bytes]], set[bytes]]:
    """The pictures of an outcome that are to be stored, and the cells that lose theirs; `bench.run` prunes at the end.

    What an earlier call measured is not known here, so that this keeps too many rather than too few.
    """
    place = (sample.test_set, sample.id)
    bare: set[bytes] = set()
    for key, model, spec, _ in outcome.cells:
        gone = [(sample.id, key)]
        if key in outcome.standing:
            metric, value = outcome.standing[key]
            gone = extremes.offer((model, sample.test_set, spec, metric), (sample.id, key), value)
        bare.update(key for _, key in gone)
    own = {key: spec for key, _, spec, _ in outcome.cells if key not in bare}
    shown = own.keys() | {photo_key(*place, spec) for spec in own.values()} | ({photo_key(*place)} if own else set())
    return [picture for picture in outcome.pictures if picture[1] in shown], bare


def _outcomes(plan: Plan, store: Store, missing: np.ndarray, workers: int, backend: str) -> Iterator[Outcome]:
    """Outcomes in order of arrival, whatever happens to worker processes."""
    ranges, needed = _ranges(plan, missing), _needed(plan)
    alone = backend in ("loky", "threading") and (workers == 1 or backend == "threading")
    deadly = list(store.begun(ranges)) if alone else []
    if alone:
        # before there are threads: one that looks for libraries while another imports one waits for it for ever
        _limit_threads()

    def jobs(places: Iterable[Place]) -> Iterator[Job]:  # made as they are sent out, never all at once
        for place in places:
            if alone:
                store.begin(place)
            yield _job(plan, place, missing[slice(*ranges[place])])

    pending = {place: None for place in ranges if place not in deadly}
    while pending:
        before = len(pending)
        try:
            for outcome in outcomes(measure, jobs(list(pending)), workers, backend, needed):
                del pending[outcome.place]
                yield outcome
        except TerminatedWorkerError:
            if len(pending) < before:
                continue
            # Nothing came back between two deaths: one of the first jobs kills its worker. Find out which.
            suspects = list(pending)[: 2 * workers]
            for place in suspects:
                del pending[place]
            yield from _one_by_one(plan, suspects, ranges, missing)
    # These took this very process down in an earlier call: last, and in a process of their own.
    yield from _one_by_one(plan, deadly, ranges, missing)


def _one_by_one(plan: Plan, places: Iterable[Place], ranges: Mapping, missing: np.ndarray) -> Iterator[Outcome]:
    for place in places:
        job = _job(plan, place, missing[slice(*ranges[place])])
        try:
            yield from outcomes(measure, [job], 2, "loky")
        except TerminatedWorkerError:
            outcome = Outcome(place)
            for cell in job.todo:
                outcome.add(cell, _failed("the worker process died (out of memory, or killed)"))
            yield outcome


def _ranges(plan: Plan, missing: np.ndarray) -> dict[Place, tuple[int, int]]:
    """The rows of `missing` that make each job, in order."""
    if not len(missing):
        return {}
    groups, images = plan.group_of[missing[:, 0]], missing[:, 1]
    starts = np.flatnonzero(np.r_[True, (np.diff(groups) != 0) | (np.diff(images) != 0)])
    ends = [*starts[1:], len(missing)]
    return {Place(int(groups[a]), int(images[a])): (int(a), int(b)) for a, b in zip(starts, ends, strict=True)}


def _job(plan: Plan, place: Place, rows: np.ndarray) -> Job:
    wanted = {(int(model), int(level)) for model, _, level in rows}
    return plan.job(place, [item for item in plan.keys(place.image) if item[:2] in wanted])


def _needed(plan: Plan) -> list[Path]:
    """The files that show a worker of another machine to see what this one sees."""
    firsts = [Path(test_set.samples[0].image) for test_set in plan.test_sets if test_set.samples]
    return firsts + [Path(model.weights) for model in plan.models if model.weights]


# ------------------------------------------------------------------------------------------- inside a worker


def measure(job: Job) -> Outcome:
    """Run one job: decode once, perturb once per level, localize with every localizer that lacks the cell."""
    _limit_threads()
    heap.keep_freed()
    if os.getpid() != job.planner:
        _become_worker()
    device = _own_device(job)
    built = {planned.name: _built(planned, device, job.memory_gb) for planned in job.models}
    return _Measuring(job, built).outcome()


class _Measuring:
    """One job on its way."""

    def __init__(self, job: Job, built: Mapping[str, models.Localizer | BaseException]):
        self.job, self.built = job, built
        self._outcome = Outcome(job.place)
        self._hidden = _private_paths(job)
        self._sized: set[str] = set()  # localizers whose memory was measured on this image

    def outcome(self) -> Outcome:
        job, outcome = self.job, self._outcome
        try:
            with outcome.stage("decode"):
                original, truth = self._read()
            if job.pictures != "none":
                with outcome.stage("pictures"):
                    outcome.pictures.append(("truth", photo_key(*self._names), thumbnails.mask(truth.forged)))
        except Exception as error:
            for cell in job.todo:
                outcome.add(cell, _failed(self._reason(error)))
            return outcome
        for perturbation, cells in job.levels():
            try:
                with outcome.stage("perturb"):
                    made = perturbation.apply_pair(original, truth, key=self._names, seed=job.seed)
                with outcome.stage("severity"):
                    scorable = made.truth.scorable if perturbation.geometric else None
                    distance = severity(made.reference, made.image, scorable)
                if job.pictures != "none":
                    with outcome.stage("pictures"):
                        key = photo_key(*self._names, perturbation.spec)
                        outcome.pictures.append(("photo", key, thumbnails.photo(made.image.rgb)))
            except Exception as error:
                for cell in cells:
                    outcome.add(cell, _failed(self._reason(error)))
                continue
            for cell in cells:
                outcome.add(cell, self._cell(cell, made, distance))
        return outcome

    @property
    def _names(self) -> tuple[str, str]:
        return self.job.test_set.name, self.job.sample.id

    def _read(self):
        job = self.job
        image = job.test_set.read_image(job.sample)
        truth = job.test_set.read_truth(job.sample)
        if file_digest(job.sample.image) != job.file_digest or job.test_set.fingerprint(job.sample) != job.fingerprint:
            raise Changed("image or mask have changed since the run began; run the same command again")
        return image, truth

    def _cell(self, cell: Todo, made: Perturbed, distance: Severity) -> Evidence:
        """Evidence of one cell; whatever goes wrong, also in building the localizer, is in it."""
        start = time.perf_counter()
        try:
            score, seconds, peak = self._localized(cell, made)
            with self._outcome.stage("evidence"):
                evidence = Evidence.measure(
                    score, made.truth, tampered=self.job.sample.tampered, protocols=self.job.protocols,
                    severity=distance,
                )  # fmt: skip
                said: dict[str, object] = {}
                if self.job.sample.tampered:
                    said["forged_pixels"] = int(np.count_nonzero(made.truth.forged))
                if made.unchanged and cell.perturbation.steps:
                    said["unchanged"] = True
                evidence = replace(evidence, extras={**evidence.extras, **said})
            if self.job.pictures != "none":
                with self._outcome.stage("pictures"):
                    self._draw(cell.key, score, evidence)
            return replace(evidence, seconds=seconds, peak_mb=peak)
        except NotApplicable as reason:
            seconds = time.perf_counter() - start
            return Evidence("not_applicable", _hide(str(reason), self._hidden), seconds=seconds).perturbed_by(distance)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit among them: a localizer must not end the run
            seconds = time.perf_counter() - start
            return replace(_failed(self._reason(error)), seconds=seconds).perturbed_by(distance)

    def _draw(self, key: bytes, score: ScoreMap, evidence: Evidence) -> None:
        job, observation = self.job, evidence.observation(self.job.sample.tampered)
        oracle = "native" in job.protocols  # its best threshold draws what a map without one would mark
        best = image_metrics(observation, "native").get("best_threshold") if oracle else None
        self._outcome.pictures += _pictures(key, score, best)
        first = find(job.protocols[0])
        if job.pictures == "extremes" and (standing := value_of(image_metrics(observation, first), first)):
            self._outcome.standing[key] = standing

    def _localized(self, cell: Todo, made: Perturbed) -> tuple[ScoreMap, float, float]:
        localizer = self.built[cell.model]
        if isinstance(localizer, BaseException):
            raise localizer
        folder = os.getcwd()
        first = cell.model not in self._sized
        self._sized.add(cell.model)
        try:
            with self._outcome.stage("localize"), _peak_memory(self.job.device, wanted=first) as peak:
                start = time.perf_counter()
                score = localizer.localize(made.image)
                seconds = time.perf_counter() - start
        finally:
            os.chdir(folder)
        if not isinstance(score, ScoreMap):
            raise TypeError(f"{cell.model} returned a {type(score).__name__} instead of a ScoreMap")
        if score.values.shape != made.image.shape:
            raise ValueError(f"{cell.model} returned a map of {score.values.shape} for an image of {made.image.shape}")
        return score, seconds, peak.megabytes

    def _reason(self, error: BaseException) -> str:
        return _hide(_text(error), self._hidden)


def _failed(reason: str) -> Evidence:
    return Evidence("failed", reason)


def _text(error: BaseException) -> str:
    try:
        words = str(error)
    except Exception:
        words = "(its message cannot be made)"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _private_paths(job: Job) -> list[tuple[str, str]]:
    """Paths of this machine that must not reach a run folder, which may be published, and what stands for them."""
    sample = job.sample
    pairs = [(str(sample.image), sample.id)]
    pairs += [(str(mask), f"mask {Path(mask).name}") for mask in (sample.mask,) if mask is not None]
    folders = {Path(sample.image).parent, Path.cwd(), Path.home()}
    folders |= {Path(m.weights).parent for m in job.models if m.weights}
    return pairs + [(f"{folder}{os.sep}", "") for folder in sorted(map(str, folders), key=len, reverse=True)]


def _hide(text: str, pairs: list[tuple[str, str]]) -> str:
    for path, name in pairs:
        if len(path) > 1:
            text = text.replace(path, name)
    return re.sub(r"(?<![\w.])(/[\w.+@~-]+){2,}/", "", text)  # the folders of any other absolute path


def _pictures(key: bytes, score: ScoreMap, best: float | None) -> list[tuple[str, bytes, bytes]]:
    predicted = thumbnails.prediction(score, best)
    shown = [("score", key, thumbnails.score(score.values, score.kind))]
    extras = {what: np.asarray(score.extras[what]) for what in thumbnails.EXTRAS if what in score.extras}
    shown += [(what, key, thumbnails.EXTRAS[what](array)) for what, array in extras.items()]
    return shown + ([("prediction", key, predicted)] if predicted else [])


_cache: dict[tuple, models.Localizer | BaseException] = {}
_cache_lock = threading.Lock()


def _own_device(job: Job):
    """The device of this process: workers of a machine take turns over its GPUs, each keeps its own."""
    global _slot
    if not job.worker_devices or os.getpid() == job.planner:
        return job.device
    if _slot is None:
        _slot = Slot(Path(tempfile.gettempdir(), f"forgery-bench-{job.planner}"), len(job.worker_devices))
    return job.worker_devices[_slot.number % len(job.worker_devices)]


_slot: Slot | None = None


def _built(planned: PlannedModel, device, memory_gb: float | None) -> models.Localizer | BaseException:
    """The localizer, built once per worker, or the error that building it gave; of networks only the latest is kept.

    An error too where what this process loaded is not what the plan was made with.
    """
    place = (planned.name, planned.identity, planned.weights, str(device))
    with _cache_lock:
        if place not in _cache:
            if planned.network:
                for other in [k for k, built in _cache.items() if hasattr(built, "is_network") and built.is_network()]:
                    del _cache[other]
            try:
                _cache[place] = _same(planned, device, memory_gb)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                _cache[place] = error
        return _cache[place]


def _same(planned: PlannedModel, device, memory_gb: float | None) -> models.Localizer:
    built = models.build(
        planned.request, weights=planned.weights, device=device, memory_gb=memory_gb, **dict(planned.settings)
    )
    if planned.parts:
        found = identify(built, planned.weights)
        if found.digest != planned.identity:
            names = found.parts.keys() | planned.parts.keys()
            differing = sorted(n for n in names if found.parts.get(n) != planned.parts.get(n))
            raise Changed(
                f"what a worker loaded is not what the run began with ({', '.join(differing[:4])}): it has changed "
                "meanwhile, or differs each time it is built; run the same command again"
            )
    return built


def _become_worker() -> None:
    """Once in a worker process: print to standard error."""
    global _is_worker
    if _is_worker:
        return
    _is_worker = True
    sys.stdout.flush()
    sys.stdout = sys.stderr  # standard output belongs to the command, whatever localizers print
    with contextlib.suppress(OSError):
        os.dup2(2, 1)


_is_worker = False


def _limit_threads() -> None:
    """One thread per worker: cores are shared out by image, and no result depends on how many there are.

    Two threads of one network on a busy machine took 17 times as long as one.
    """
    global _limited
    if "torch" in sys.modules:
        import torch

        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
    if not _limited:
        import cv2
        import threadpoolctl

        cv2.setNumThreads(1)
        threadpoolctl.threadpool_limits(1)  # BLAS and OpenMP, which no engine but loky limits
        _limited = True


_limited = False


class _peak_memory:
    """MB that the block adds to this process at its peak (Linux, else NaN); on cuda, the peak allocated on the GPU.

    NaN as well where it is not wanted: on a CPU what was freed before is returned first, or the block would use it
    again and seem to need nothing, and that takes time.
    """

    def __init__(self, device, wanted: bool):
        self.cuda = str(device).startswith("cuda")
        self.wanted = wanted
        self.megabytes = float("nan")

    def __enter__(self):
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        elif self.wanted:
            heap.give_back()
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # restarts the kernel's high-water mark
            self.before = _resident("VmRSS")
        return self

    def __exit__(self, *_):
        if self.cuda:
            import torch

            self.megabytes = torch.cuda.max_memory_allocated() / 2**20
        elif self.wanted:
            self.megabytes = max(0.0, _resident("VmHWM") - self.before)


def _resident(field: str) -> float:
    """A field of /proc/self/status in MB; NaN where there is none."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
    return float("nan")
