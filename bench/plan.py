"""The grid as data: which cells a request is about, under which key each is stored, and the jobs to measure them.

A cell is one (image, perturbation, localizer). Its key is a digest of everything its result depends on: the
localizer's identity (settings, weights, source), the bytes of image and mask and the mask rule, the
perturbation with its parameters and seed, and the harness's own measuring code. The test set's fingerprint
enters image by image, so that adding images to a set leaves the measured ones valid.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.data import Sample, TestSet
from bench.perturb import Perturbation
from bench.provenance import code_digest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PlannedModel:
    """A localizer that can run: how it is called in tables, how workers build it, what its results depend on, and
    the data sets that it was trained on.

    request, weights and settings: what `models.build` takes.
    """

    name: str
    request: str
    identity: str
    weights: str | None
    network: bool
    trained_on: tuple[str, ...] = ()
    settings: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Place:
    """What one job covers: an image, for one group of localizers."""

    group: int
    test_set: str
    image: str


@dataclass(frozen=True)
class Job:
    """One image with every missing cell of a group of localizers: the unit of work, resume and commit.

    test_set holds this one sample only. todo: per perturbation the (key, model name) pairs to measure.
    """

    place: Place
    test_set: TestSet
    sample: Sample
    models: tuple[PlannedModel, ...]
    todo: tuple[tuple[Perturbation, tuple[tuple[str, str], ...]], ...]
    seed: int
    device: torch.device

    @property
    def cells(self) -> list[tuple[str, str, Perturbation]]:
        """(key, model, perturbation) of each cell."""
        return [(key, model, perturbation) for perturbation, pairs in self.todo for key, model in pairs]


@dataclass(frozen=True)
class Plan:
    """The grid of one request. Nothing is held per cell, so that memory does not grow with it."""

    models: Sequence[PlannedModel]
    test_sets: Sequence[TestSet]
    perturbations: Sequence[Perturbation]
    seed: int
    device: torch.device

    @cached_property
    def groups(self) -> list[tuple[PlannedModel, ...]]:
        """The localizers that share jobs: all weight-free ones together, each network alone.

        Weight-free methods share a job because the perturbed image is then made once for all of them; networks
        stay apart so that a worker holds one set of weights at a time.
        """
        free = tuple(m for m in self.models if not m.network)
        return [*([free] if free else []), *((m,) for m in self.models if m.network)]

    def cells(self) -> Iterator[dict]:
        """Every cell of the grid as a row of the store's table `asked`."""
        group_of = {model.name: number for number, group in enumerate(self.groups) for model in group}
        position = 0
        for test_set in self.test_sets:
            for sample in test_set.samples:
                fingerprint = test_set.fingerprint(sample)
                for model in self.models:
                    for perturbation in self.perturbations:
                        yield {
                            "key": cell_key(model, fingerprint, sample, perturbation, self.seed),
                            "model": model.name,
                            "test_set": test_set.name,
                            "image": sample.id,
                            "source": sample.source or sample.id,
                            "tampered": sample.tampered,
                            "family": perturbation.family,
                            "level": perturbation.level,
                            "spec": perturbation.spec,
                            "job": group_of[model.name],
                            "position": position,
                        }
                        position += 1

    def job(self, place: Place, missing: Iterable[tuple[str, str, str]]) -> Job:
        """The job that measures these (key, model, spec) cells of a place."""
        test_set, sample = self._samples[place.test_set, place.image]
        todo: dict[str, list[tuple[str, str]]] = {}
        for key, model, spec in missing:
            todo.setdefault(spec, []).append((key, model))
        by_spec = {p.spec: p for p in self.perturbations}
        return Job(
            place,
            dataclasses.replace(test_set, samples=[sample], defects=[]),
            sample,
            self.groups[place.group],
            tuple((by_spec[spec], tuple(pairs)) for spec, pairs in todo.items()),
            self.seed,
            self.device,
        )

    @cached_property
    def _samples(self) -> dict[tuple[str, str], tuple[TestSet, Sample]]:
        return {(t.name, s.id): (t, s) for t in self.test_sets for s in t.samples}


def limited(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` samples, spread evenly over the set, so that tampered and authentic ones both stay."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[i * len(samples) // limit] for i in range(limit)]


def cell_key(model: PlannedModel, fingerprint: str, sample: Sample, perturbation: Perturbation, seed: int) -> str:
    """SHA-256 that names a cell's result. Name and seed enter because random perturbations are drawn from them."""
    parts = (code_digest(), model.name, model.identity, fingerprint)
    coordinates = (sample.test_set, sample.id, perturbation.spec, str(seed))
    return hashlib.sha256("\n".join(parts + coordinates).encode()).hexdigest()
