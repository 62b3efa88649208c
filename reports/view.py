"""What a report knows of a run: frozen records, made in one place (`RunView.of`) from the dictionaries of run.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import pandas as pd

from reports.words import public

EVERY_SET = "*"  # the test set of a standing over all sets
EVERY_FAMILY = "*"  # the family of a standing over all perturbations
UNPERTURBED = "identity"


class ReportError(ValueError):
    """Runs that cannot be shown on one page; the message says why and what to change."""


@dataclass(frozen=True)
class _Record:
    """A record that is made from a mapping: unknown keys are left out, lists become tuples, absent values default."""

    @classmethod
    def of(cls, record: Mapping) -> Self:
        """The record of a mapping; a missing or null value takes the field's default."""
        names = {f.name for f in dataclasses.fields(cls)}
        values = {k: v for k, v in record.items() if k in names and v is not None}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class Localizer(_Record):
    """A localizer that was asked for. status: "run", else `reason` says why not.

    own_weights: measured with the user's file instead of the registered one. featured: comes first where an order is
    free. identity: digest of weights, settings and code.
    """

    name: str
    title: str = ""
    paper: str = ""
    year: int | None = None
    summary: str = ""
    licence: str = ""
    groups: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    status: str = "run"
    reason: str = ""
    own_weights: bool = False
    featured: bool = False
    identity: str = ""

    @property
    def control(self) -> bool:
        """Whether it looks at no trace of forgery and only says what a method has to beat."""
        return "controls" in self.groups


@dataclass(frozen=True)
class TestSet(_Record):
    """A test set as it was measured. card: the name of its card, "" for a folder. digest: fingerprint of its files.

    subset: the list of members that was used, "" for all. audit: verdict of `bench data audit`, "" where none was made.
    defects: mappings with file and problem. remarks: what is suspicious about files that are scored all the same.
    """

    name: str
    title: str = ""
    card: str = ""
    n_tampered: int | None = None
    n_authentic: int | None = None
    demonstration: bool = False
    note: str = ""
    licence: str = ""
    citation: str = ""
    defects: tuple[Mapping, ...] = ()
    remarks: tuple[str, ...] = ()
    digest: str = ""
    subset: str = ""
    audit: str | dict | tuple = ""

    @property
    def called(self) -> str:
        """The title, else the name."""
        return self.title or self.name


@dataclass(frozen=True)
class Protocol(_Record):
    """An evaluation protocol. differences: sentences that tell why its numbers differ from those of others."""

    name: str
    version: str | int = ""
    title: str = ""
    description: str = ""
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric(_Record):
    """A metric. direction: "up" (larger is better), "down" or "neither" (a setting, not a merit).

    scope: "image" or "set". chance: the value of a method that knows nothing, None where it depends on the images.
    """

    name: str
    title: str = ""
    definition: str = ""
    direction: str = "up"
    scope: str = "image"
    chance: float | None = None

    @property
    def ranked(self) -> bool:
        """Whether best and worst have a meaning."""
        return self.direction in ("up", "down")

    @property
    def whole(self) -> bool:
        """Whether it has one value per test set instead of a mean over images."""
        return self.scope == "set"

    @property
    def sign(self) -> int:
        """1 where larger is better, -1 where smaller is."""
        return -1 if self.direction == "down" else 1


@dataclass(frozen=True)
class Perturbation(_Record):
    """A family of perturbations: what its level is (parameter) and in which unit."""

    name: str
    title: str = ""
    parameter: str = ""
    unit: str = ""


@dataclass(frozen=True)
class RunView:
    """One run, as a report sees it.

    label: distinguishes runs that stand side by side.
    about: how it was made, the content of run.json without the records below; any key may be missing.
    summary: one row per (model, test_set, spec, protocol, metric); columns model, test_set, perturbation, level, spec,
        protocol, metric, mean, low, high, n, n_failed, n_not_applicable, n_skipped, rank, contaminated. mean NaN: no
        image had a value (not applicable or failed).
    standings: one row per (model, test_set, family, protocol, metric) of the leaderboard, as `bench.leaderboard` makes
        it; test_set "*" over all sets, family "*" over all perturbations.
    results: tidy table of per-image values; columns model, test_set, image, source, tampered, perturbation, level,
        spec, seed, protocol, metric, value (image "*": a metric of the whole set).
    cells: one row per stored cell; columns key, model, test_set, image, source, tampered, perturbation, level, spec,
        status ("ok", "failed", "not_applicable"), reason, seconds, peak_mb, psnr, ssim, bytes, kind; may have
        image_score (the localizer's own), seen (text: the whole image, or in which tiles), empty where unknown, and
        unchanged (whether the perturbation left the image as it was).
    picture: (what, key) -> encoded WebP, PNG or JPEG, or None. what is "photo" (key (test_set, image, spec)), "truth"
        (key (test_set, image)), "score", "prediction", or where the localizer has such "confidence" or "sources" (key
        of a cell).
    published: mappings, one per published number on one of the test sets: test_set, model ("" where no localizer of
        the suite is that method), method, weights, train_set, printed_set, spec, metric and protocol (what it is laid
        beside; spec or metric "" where there is no such), perturbation, printed_metric, value, rule, scoring, images
        (tampered ones, None where not stated), obstacles (list: why it is not comparable), source, featured.
    warnings: what a reader must know before any number: an unfinished or damaged run, missing pictures.
    """

    label: str
    about: Mapping
    summary: pd.DataFrame
    standings: pd.DataFrame
    results: pd.DataFrame
    cells: pd.DataFrame
    localizers: tuple[Localizer, ...]
    test_sets: tuple[TestSet, ...]
    protocols: tuple[Protocol, ...]
    metrics: tuple[Metric, ...]
    perturbations: tuple[Perturbation, ...] = ()
    picture: Callable[[str, str | tuple[str, ...]], bytes | None] = field(default=lambda what, key: None)
    published: tuple[Mapping, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, label: str, about: Mapping, tables: Mapping[str, pd.DataFrame], **more) -> RunView:
        """The view of a run from its run.json and its tables (summary, standings, results, cells)."""
        keys = ("models", "test_sets", "protocols", "metrics", "perturbations")
        records = {key: _named(about.get(key, ())) for key in keys}
        return cls(
            label=label,
            about={k: v for k, v in about.items() if k not in ("localizers", *keys)},
            localizers=tuple(map(Localizer.of, records["models"])),
            test_sets=tuple(map(TestSet.of, records["test_sets"])),
            protocols=tuple(map(Protocol.of, records["protocols"])),
            metrics=tuple(map(Metric.of, records["metrics"])),
            perturbations=tuple(map(Perturbation.of, records["perturbations"])),
            **tables,
            **more,
        )

    def __post_init__(self):
        """Leave out the folders of absolute paths: a report may be published."""
        cells = self.cells
        if len(cells):
            texts = {text: public(text) for text in cells["reason"].dropna().unique()}
            object.__setattr__(self, "cells", cells.assign(reason=cells["reason"].map(texts)))
        cards = tuple(dataclasses.replace(card, reason=public(card.reason)) for card in self.localizers)
        object.__setattr__(self, "localizers", cards)
        object.__setattr__(self, "warnings", tuple(map(public, self.warnings)))
        object.__setattr__(self, "test_sets", tuple(map(_public_set, self.test_sets)))


def _public_set(test_set: TestSet) -> TestSet:
    defects = tuple({key: public(value) for key, value in defect.items()} for defect in test_set.defects)
    return dataclasses.replace(test_set, defects=defects, remarks=tuple(map(public, test_set.remarks)))


def _named(records: Iterable) -> list[Mapping]:
    return [record for record in records if isinstance(record, Mapping) and record.get("name")]
