"""The grid as data: which cells a request is about, under which key each is stored, and the jobs to measure them.

A cell is one (image, perturbation, localizer). The key of its score map is one hash over the digests of everything
that the map depends on (`bench.identity`): the localizer, the image's bytes and the code that decodes them, the
perturbation with the code of its steps, the seed and the names from which random numbers are drawn. The statistics of
the map depend on the ground truth and on the code of view and statistic besides; they are stored beside it under the
digests of these. So whatever is added to the suite, what is measured stays.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from bench.data import Sample, TestSet
from bench.evidence import Cell
from bench.identity import code_digest, file_digest
from bench.metrics import kept
from bench.perturb import Perturbation

if TYPE_CHECKING:
    from models.device import Device

READER = "models.image:read_image"
SEVERITY = "bench.severity:severity"


@dataclass(frozen=True)
class Component:
    """One of the things that a result depends on. parts: name -> digest of what it consists of, for `--explain`."""

    digest: bytes
    parts: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, parts: Mapping[str, str]) -> Component:
        """The component that consists of these parts."""
        text = json.dumps(sorted(parts.items()))
        return cls(hashlib.sha256(text.encode()).digest(), parts)


@dataclass(frozen=True)
class PlannedModel:
    """A localizer that can run.

    Attributes:
        name: as tables call it. request, weights, settings: what `models.build` takes.
        identity: digest of what its results depend on. parts: what that consists of.
        environment: versions of what it imports; not part of the identity.
        weights_digest: SHA-256 of its weights (hex), "" where it has none; part of the identity already.
        network: whether it holds weights, so that a worker keeps one at a time.
        trained_on: the data sets that it was trained on.
        parameters: of the network, where known.
    """

    name: str
    request: str
    identity: str
    weights: str | None
    network: bool
    trained_on: tuple[str, ...] = ()
    settings: tuple[tuple[str, object], ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    environment: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    weights_digest: str = ""
    parameters: int | None = None


@dataclass(frozen=True)
class PlannedImage:
    """One image of the grid with what the results on it depend on: its file for the map, its truth for the scores."""

    test_set: TestSet
    sample: Sample
    component: Component
    truth: Component


@dataclass(frozen=True)
class Place:
    """What one job covers: an image, for one group of localizers. Both are numbers in the plan."""

    group: int
    image: int


@dataclass(frozen=True)
class Todo:
    """One cell to be measured."""

    key: bytes
    model: str
    perturbation: Perturbation


@dataclass(frozen=True)
class Job:
    """One image with every missing cell of a group of localizers: the unit of work, resume and commit.

    Attributes:
        test_set: holds this one sample only.
        file_digest, fingerprint: of the image's file, and of all files and the mask rule, as the plan saw them.
        planner: process number of the planner, so that a worker process knows itself.
    """

    place: Place
    test_set: TestSet
    sample: Sample
    file_digest: str
    fingerprint: str
    models: tuple[PlannedModel, ...]
    todo: tuple[Todo, ...]
    protocols: tuple[str, ...]
    seed: int
    device: Device
    planner: int
    worker_devices: tuple[Device, ...] = ()
    memory_gb: float | None = None
    pictures: str = "all"

    def levels(self) -> Iterator[tuple[Perturbation, tuple[Todo, ...]]]:
        """The cells by perturbation, so that each is applied once."""
        for perturbation, cells in groupby(self.todo, key=lambda cell: cell.perturbation):
            yield perturbation, tuple(cells)


@dataclass(frozen=True)
class Plan:
    """The grid of one request. Nothing is held per cell, so that memory does not grow with it.

    Attributes:
        limit: how many images of each test set were asked for, None for all; it is part of what a run folder holds.
        worker_devices: on GPUs the device of each worker process; empty where all take `device`.
        memory_gb: what a network may take for one photo.
        pictures: "all", "extremes" (see `bench.gallery`) or "none"; no part of any key.
    """

    models: Sequence[PlannedModel]
    test_sets: Sequence[TestSet]
    perturbations: Sequence[Perturbation]
    seed: int
    device: Device
    protocols: tuple[str, ...] = ("native",)
    limit: int | None = None
    worker_devices: tuple[Device, ...] = ()
    memory_gb: float | None = None
    pictures: str = "all"

    @cached_property
    def groups(self) -> list[tuple[int, ...]]:
        """The numbers of the localizers that share jobs: each network alone, all others together.

        Weight-free methods share a job because the perturbed image is then made once for all of them; networks
        stay apart so that a worker holds one set of weights at a time. Networks are slower, so they go first.
        """
        free = tuple(i for i, m in enumerate(self.models) if not m.network)
        return [*((i,) for i, m in enumerate(self.models) if m.network), *([free] if free else [])]

    @cached_property
    def group_of(self) -> np.ndarray:
        """Group number of each localizer."""
        found = np.empty(len(self.models), np.int32)
        for number, members in enumerate(self.groups):
            found[list(members)] = number
        return found

    @cached_property
    def images(self) -> list[PlannedImage]:
        """Every image of every set, in order."""
        reader = {"code that reads images": code_digest(READER).digest}
        found = []
        for test_set in self.test_sets:
            rule = {"code that reads masks": code_digest(*test_set.reader_modules).digest}
            for sample in test_set.samples:
                names = {"test set": sample.test_set, "image": sample.id, "seed": str(self.seed)}
                file = {"file": file_digest(sample.image)}
                truth = {"files and mask rule": test_set.fingerprint(sample)}
                found.append(
                    PlannedImage(
                        test_set, sample, Component.of({**names, **file, **reader}), Component.of({**truth, **rule})
                    )
                )
        return found

    @cached_property
    def levels(self) -> list[Component]:
        """What each perturbation depends on."""
        severity = {f"code {n}": d for n, d in code_digest(SEVERITY).definitions.items()}
        found = []
        for perturbation in self.perturbations:
            code = code_digest(*perturbation.modules).definitions if perturbation.modules else {}
            steps = {f"code {n}": d for n, d in code.items()}
            found.append(Component.of({"spec": perturbation.spec, **severity, **steps}))
        return found

    @cached_property
    def kept(self) -> dict[str, Component]:
        """Name of each statistic that the protocols need -> what it depends on besides map and ground truth."""
        found = {}
        for name, modules in kept(self.protocols).items():
            code = code_digest(*modules).definitions
            found[name] = Component.of({"name": name, **{f"code {n}": d for n, d in code.items()}})
        return found

    def keys(self, image: int) -> Iterator[tuple[int, int, bytes]]:
        """(localizer, perturbation, key) of every cell of an image."""
        middle = self.images[image].component.digest
        for model, front in enumerate(self._fronts):
            for level, back in enumerate(self.levels):
                yield model, level, hashlib.sha256(front + middle + back.digest).digest()[:16]

    @cached_property
    def _fronts(self) -> list[bytes]:
        return [hashlib.sha256(model.identity.encode()).digest() for model in self.models]

    def cell(self, image: int, model: int, level: int) -> Cell:
        """The names of a cell."""
        sample, perturbation = self.images[image].sample, self.perturbations[level]
        return Cell(
            self.models[model].name, sample.test_set, sample.id, sample.source or sample.id, sample.tampered,
            perturbation.family, perturbation.level, perturbation.spec,
        )  # fmt: skip

    def job(self, place: Place, missing: Iterable[tuple[int, int, bytes]]) -> Job:
        """The job that measures these (localizer, perturbation, key) cells of a place."""
        planned = self.images[place.image]
        ordered = sorted(missing, key=lambda cell: (cell[1], cell[0]))
        return Job(
            place,
            dataclasses.replace(planned.test_set, samples=[planned.sample], defects=[]),
            planned.sample,
            planned.component.parts["file"],
            planned.truth.parts["files and mask rule"],
            tuple(self.models[i] for i in self.groups[place.group]),
            tuple(Todo(key, self.models[model].name, self.perturbations[level]) for model, level, key in ordered),
            self.protocols,
            self.seed,
            self.device,
            os.getpid(),
            self.worker_devices,
            self.memory_gb,
            self.pictures,
        )


def limited(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` samples, spread evenly over the set, so that tampered and authentic ones both stay."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[i * len(samples) // limit] for i in range(limit)]
