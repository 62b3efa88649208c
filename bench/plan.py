"""The grid as data: which cells a request is about, under which key each is stored, and the jobs to measure them.

A cell is one (image, perturbation, localizer). Its key is a digest of everything its result depends on: the
localizer's identity (settings, weights, source), the bytes of image and mask and the mask rule, the
perturbation with its parameters and seed, and the harness's own measuring code. The test set's fingerprint
enters image by image, so that adding images to a set leaves the measured ones valid.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.data import Sample, TestSet
from bench.perturb import Perturbation
from bench.provenance import code_digest


@dataclass(frozen=True)
class PlannedModel:
    """A localizer that can run: how it is called in tables, how workers build it, what its results depend on."""

    name: str
    request: str
    identity: str
    weights: str | None
    network: bool


@dataclass(frozen=True)
class Cell:
    """One (localizer, image, perturbation) of the request."""

    key: str
    model: str
    test_set: str
    sample: Sample
    perturbation: Perturbation


@dataclass(frozen=True)
class Job:
    """One image with every missing cell of a group of localizers: the unit of work, resume and commit.

    test_set holds this one sample only. todo: per perturbation the (key, model name) pairs to measure.
    """

    test_set: TestSet
    sample: Sample
    models: tuple[PlannedModel, ...]
    todo: tuple[tuple[Perturbation, tuple[tuple[str, str], ...]], ...]
    seed: int
    device: str

    @property
    def size(self) -> int:
        """Number of cells."""
        return sum(len(pairs) for _, pairs in self.todo)

    @property
    def keys(self) -> list[tuple[str, str, Perturbation]]:
        """(key, model, perturbation) of each cell."""
        return [(key, model, perturbation) for perturbation, pairs in self.todo for key, model in pairs]


def limited(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` samples, spread evenly over the set, so that tampered and authentic ones both stay."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[i * len(samples) // limit] for i in range(limit)]


def cells(
    models: Sequence[PlannedModel], test_sets: Sequence[TestSet], perturbations: Sequence[Perturbation], seed: int
) -> Iterable[Cell]:
    """Every cell of the grid: test set by test set, image by image, localizer by localizer."""
    for test_set in test_sets:
        for sample in test_set.samples:
            fingerprint = test_set.fingerprint(sample)
            for model in models:
                for perturbation in perturbations:
                    key = cell_key(model.identity, fingerprint, sample, perturbation, seed)
                    yield Cell(key, model.name, test_set.name, sample, perturbation)


def cell_key(identity: str, fingerprint: str, sample: Sample, perturbation: Perturbation, seed: int) -> str:
    """SHA-256 that names a cell's result. Name and seed enter because random perturbations are drawn from them."""
    parts = (code_digest(), identity, fingerprint, sample.test_set, sample.id, perturbation.spec, str(seed))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def jobs(
    models: Sequence[PlannedModel],
    test_sets: Sequence[TestSet],
    wanted: Iterable[Cell],
    done: set[str],
    seed: int,
    device: str,
) -> list[Job]:
    """The missing cells as jobs: per image one for all weight-free localizers, and one for each network.

    Weight-free methods share a job because the perturbed image is then made once for all of them; networks
    stay apart so that a worker holds one set of weights at a time.
    """
    groups = [tuple(m for m in models if not m.network), *((m,) for m in models if m.network)]
    group_of = {model.name: g for g, group in enumerate(groups) for model in group}
    missing: dict[tuple[int, str, str], dict[Perturbation, list[tuple[str, str]]]] = {}
    for cell in wanted:
        if cell.key not in done:
            place = (group_of[cell.model], cell.test_set, cell.sample.id)
            todo = missing.setdefault(place, {})
            todo.setdefault(cell.perturbation, []).append((cell.key, cell.model))
    sets = {test_set.name: test_set for test_set in test_sets}
    samples = {(s.test_set, s.id): s for t in test_sets for s in t.samples}
    planned = []
    for (group, name, image), todo in sorted(missing.items(), key=lambda item: item[0][0]):
        sample = samples[name, image]
        alone = dataclasses.replace(sets[name], samples=[sample], defects=[])
        pairs = tuple((perturbation, tuple(pairs)) for perturbation, pairs in todo.items())
        planned.append(Job(alone, sample, groups[group], pairs, seed, device))
    return planned
