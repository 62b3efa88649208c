"""Who is best, how robust, how sure: one row per localizer of a leaderboard, with the paired tests behind its ranks.

Ranks are given among the localizers that were measured on the same images and trained on none of them; controls,
localizers trained on the set and those that lack images stand apart. A rank is one more than the number of localizers
that the paired bootstrap tells to be better (Holm's correction over all pairs), so localizers that cannot be told
apart share a rank.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bench.statistics import holm, interval_bounds, resampled_means, two_sided
from bench.summary import WHOLE_SET

ALL = "*"  # every test set, or every family of perturbations
IDENTITY = "identity"
ALPHA = 0.05
LACKING = 0.05  # share of the images that a ranked localizer may lack; its pairs are compared on common images
CHANCE = {  # of metrics whose value for a map that knows nothing does not depend on the images
    **dict.fromkeys(("auc", "image_auc", "pooled_auc", "mask_average_auc", "image_balanced_accuracy"), 0.5),
    **dict.fromkeys(("mcc", "image_mcc", "pooled_mcc"), 0.0),
}
STANDINGS = [
    *("model", "test_set", "family", "protocol", "metric", "placed", "n", "n_of"),
    *("clean", "clean_low", "clean_high", "perturbed", "perturbed_low", "perturbed_high", "levels"),
    *("worst", "worst_spec", "retained", "drop", "drop_low", "drop_high"),
    *("rank", "rank_perturbed", "ties", "ties_perturbed", "over_control", "over_control_perturbed"),
]
CONTRASTS = ["model", "run", "test_set", "spec", "protocol", "metric", "difference", "low", "high", "n", "p"]


@dataclass(frozen=True)
class Field:
    """Who takes part: names in the order of the run, which are controls, and (model, test set) pairs trained on it."""

    models: tuple[str, ...]
    controls: frozenset[str] = frozenset()
    trained: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class _Block:
    """Per-image values (images, models, specs) of one metric on one test set; `clusters` is a label per image."""

    values: np.ndarray
    clusters: np.ndarray


def standings(
    results: pd.DataFrame, field: Field, metrics: Iterable[Mapping] = (), *, resamples: int = 2000
) -> pd.DataFrame:
    """The table STANDINGS: one row per model, test set, family of perturbations, protocol and metric.

    results: the table of `bench.summary.results_table`. metrics: records with name, direction and chance.
    test_set "*" is the mean over all sets (where there are several), family "*" all perturbations.
    placed: "ranked", "control", "trained", "other images" (lacks more than 5 % of the images that others have) or
    "no value". clean: mean over the unperturbed images; perturbed: mean over images of an image's mean over the levels.
    worst: the smallest mean of a level, worst_spec that level. retained: share of what `clean` has above chance that
    `perturbed` keeps, NaN where clean is not above it. drop: clean - perturbed on the images that have both, paired.
    rank, rank_perturbed: see the module; NaN where nothing can be told (a single photo, a metric of the whole set).
    ties, ties_perturbed: the ranked models (a tuple) that the test does not tell from this one.
    over_control: adjusted p-value that the localizer beats the best control, NaN where it is behind or there is none.
    """
    known = {record["name"]: record for record in metrics}
    rows: list[dict] = []
    for (protocol, metric), table in results.groupby(["protocol", "metric"], sort=False, observed=True):
        record = known.get(metric, {})
        sign = -1 if record.get("direction") == "down" else 1
        chance = record.get("chance")
        chance = CHANCE.get(metric, 0.0) if chance is None else chance
        merit = record.get("direction", "up") != "neither"
        common = {"protocol": protocol, "metric": metric}
        whole = table["image"] == WHOLE_SET
        if whole.all():
            rows += [row | common for row in _of_sets(table, field, sign, chance)]
        else:
            rows += [row | common for row in _of_images(table[~whole], field, sign, chance, merit, resamples)]
    return pd.DataFrame(rows, columns=STANDINGS)


def _of_images(table, field: Field, sign: int, chance: float, ranked: bool, resamples: int) -> Iterator[dict]:
    specs = list(dict.fromkeys(table["spec"]))
    columns = _Columns(specs, _family_of(table))
    pooled = _Pool(field, columns)
    for number, (test_set, rows) in enumerate(table.groupby("test_set", sort=False, observed=True)):
        block = _block(rows, field.models, specs)
        trained = {model for model, name in field.trained if name == test_set}
        measured = _Measured.of(block, columns, resamples, seed=number, sign=sign)
        if ranked:
            pooled.add(measured, trained)
        yield from _rows(test_set, measured, field, trained, columns, sign, chance, ranked)
    if pooled.sets > 1:
        yield from _rows(ALL, pooled.mean(), field, pooled.trained, columns, sign, chance, ranked)


class _Columns:
    """What a localizer is measured by on a set: the unperturbed images, each level, and the mean of each family."""

    def __init__(self, specs: list[str], family: Mapping[str, str]):
        self.specs = specs
        self.families: dict[str, list[int]] = {ALL: []}
        for number, spec in enumerate(specs):
            if spec != IDENTITY:
                self.families[ALL].append(number)
                self.families.setdefault(family[spec], []).append(number)
        if not self.families[ALL]:
            self.families = {ALL: []}
        self.clean = specs.index(IDENTITY) if IDENTITY in specs else None

    def of_images(self, values: np.ndarray) -> np.ndarray:
        """(images, models, 1 + families): value of each unperturbed image, and its mean over the levels it has."""
        empty = np.full(values.shape[:2], np.nan)
        clean = empty if self.clean is None else values[:, :, self.clean]
        return np.stack([clean, *(_nanmean(values[:, :, levels]) for levels in self.families.values())], axis=2)


@dataclass
class _Measured:
    """Means and their resamples of one set (or their mean over sets).

    shape (models, 1 + families) for `means`, (models, families) for drops, (pairs, 1 + families) for pairs;
    `drawn_*` have the resamples as their first axis. levels: (models, specs) means. has: unperturbed images that
    a model has a value of; images: those that any has.
    """

    means: np.ndarray
    drawn: np.ndarray
    drops: np.ndarray
    drawn_drops: np.ndarray
    drawn_pairs: np.ndarray
    levels: np.ndarray
    has: np.ndarray
    images: int
    clusters: int

    @classmethod
    def of(cls, block: _Block, columns: _Columns, resamples: int, seed: int, sign: int) -> _Measured:
        values = columns.of_images(block.values)
        images, models, kinds = values.shape
        pairs = list(itertools.combinations(range(models), 2))
        first, second = (np.array([pair[i] for pair in pairs], int) for i in (0, 1))
        drops = values[:, :, :1] - values[:, :, 1:]
        parts = [values, drops, sign * (values[:, first] - values[:, second])]
        flat = np.concatenate([part.reshape(images, -1) for part in parts], axis=1)
        means, drawn, _ = resampled_means(flat, clusters=block.clusters, resamples=resamples, seed=seed)
        at = np.cumsum([part[0].size for part in parts])[:-1]
        (mean, mean_drop, _), (drawn_mean, drawn_drop, drawn_pair) = (
            np.split(array, at, axis=array.ndim - 1) for array in (means, drawn)
        )
        return cls(
            mean.reshape(models, kinds),
            drawn_mean.reshape(resamples, models, kinds),
            mean_drop.reshape(models, kinds - 1),
            drawn_drop.reshape(resamples, models, kinds - 1),
            drawn_pair.reshape(resamples, len(pairs), kinds),
            _nanmean(np.moveaxis(block.values, 0, 2)),
            np.isfinite(values[:, :, 0]).sum(axis=0),
            int(np.isfinite(values[:, :, 0]).any(axis=1).sum()),
            len(np.unique(block.clusters)),
        )


class _Pool:
    """The mean over test sets, each set counting once; sets are resampled independently."""

    def __init__(self, field: Field, columns: _Columns):
        self.field, self.columns = field, columns
        self.sum: _Measured | None = None
        self.sets = 0
        self.trained: set[str] = set()

    def add(self, measured: _Measured, trained: set[str]) -> None:
        self.sets += 1
        self.trained |= trained
        if self.sum is None:
            self.sum = replace(measured)
        else:
            for name in vars(measured):
                setattr(self.sum, name, getattr(self.sum, name) + getattr(measured, name))

    def mean(self) -> _Measured:
        assert self.sum is not None
        counts = ("has", "images", "clusters")
        return _Measured(
            **{name: value if name in counts else value / self.sets for name, value in vars(self.sum).items()}
        )


def _rows(
    test_set, measured: _Measured, field: Field, trained, columns: _Columns, sign, chance, ranked
) -> Iterator[dict]:
    placed = _placed(measured, field, trained)
    models, kinds = measured.means.shape
    clusters = np.full(models * kinds, measured.clusters)
    low, high = (
        b.reshape(models, kinds) for b in interval_bounds(measured.drawn.reshape(-1, models * kinds), clusters)
    )
    drop_low, drop_high = (
        b.reshape(measured.drops.shape)
        for b in interval_bounds(
            measured.drawn_drops.reshape(len(measured.drawn), -1), np.full(measured.drops.size, measured.clusters)
        )
    )
    ranks = np.full((models, kinds), np.nan)
    ties: list[list[tuple[str, ...]]] = [[()] * models for _ in range(kinds)]
    over = np.full((models, kinds), np.nan)
    if ranked:
        for kind in range(kinds):
            ranks[:, kind], ties[kind] = _ranks(measured, kind, placed, sign, field.models)
            over[:, kind] = _over_control(measured, kind, placed, sign)
    for number, model in enumerate(field.models):
        clean = measured.means[number, 0]
        for kind, (family, levels) in enumerate(columns.families.items(), 1):
            worst, worst_spec = _worst(measured.levels[number], levels, columns.specs, sign)
            perturbed = measured.means[number, kind]
            yield {
                **{"model": model, "test_set": test_set, "family": family, "placed": placed[number]},
                **{"n": int(measured.has[number]), "n_of": measured.images, "levels": len(levels)},
                **{"clean": clean, "clean_low": low[number, 0], "clean_high": high[number, 0]},
                **{"perturbed": perturbed, "perturbed_low": low[number, kind], "perturbed_high": high[number, kind]},
                **{"worst": worst, "worst_spec": worst_spec, "retained": _retained(clean, perturbed, chance, sign)},
                "drop": measured.drops[number, kind - 1],
                **{"drop_low": drop_low[number, kind - 1], "drop_high": drop_high[number, kind - 1]},
                **{"rank": ranks[number, 0], "rank_perturbed": ranks[number, kind]},
                **{"ties": ties[0][number], "ties_perturbed": ties[kind][number]},
                **{"over_control": over[number, 0], "over_control_perturbed": over[number, kind]},
            }


def _placed(measured: _Measured, field: Field, trained: Collection[str]) -> list[str]:
    def where(number: int, model: str) -> str:
        if not np.isfinite(measured.means[number]).any():
            return "no value"
        if model in field.controls:
            return "control"
        if model in trained:
            return "trained"
        return "ranked" if measured.has[number] >= (1 - LACKING) * measured.images else "other images"

    return [where(number, model) for number, model in enumerate(field.models)]


def _ranks(
    measured: _Measured, kind: int, placed: list[str], sign: int, names: tuple[str, ...]
) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Rank of each model among the ranked ones by one kind of mean, and the names that each cannot be told from.

    NaN for the others and where no test can be made.
    """
    models = len(placed)
    scored = [i for i, place in enumerate(placed) if place == "ranked" and np.isfinite(measured.means[i, kind])]
    ranks = np.full(models, np.nan)
    ties: list[tuple[str, ...]] = [()] * models
    if measured.clusters < 2:
        return ranks, ties
    ranks[scored] = 1
    pairs = [
        (at, i, j) for at, (i, j) in enumerate(itertools.combinations(range(models), 2)) if i in scored and j in scored
    ]
    adjusted = holm(two_sided(measured.drawn_pairs[:, [at for at, _, _ in pairs], kind]))
    for (_, i, j), p in zip(pairs, adjusted, strict=True):
        if p < ALPHA:
            first_is_better = sign * (measured.means[i, kind] - measured.means[j, kind]) > 0
            ranks[j if first_is_better else i] += 1
        else:
            ties[i] += (names[j],)
            ties[j] += (names[i],)
    return ranks, ties


def _over_control(measured: _Measured, kind: int, placed: list[str], sign: int) -> np.ndarray:
    """Adjusted p-values of being better than the best control, NaN where a model is not ahead of it."""
    found = np.full(len(placed), np.nan)
    controls = [i for i, place in enumerate(placed) if place == "control" and np.isfinite(measured.means[i, kind])]
    if not controls:
        return found
    best = max(controls, key=lambda i: sign * measured.means[i, kind])
    pairs = {pair: at for at, pair in enumerate(itertools.combinations(range(len(placed)), 2))}
    others = [i for i, place in enumerate(placed) if place in ("ranked", "trained", "other images")]
    if not others:
        return found
    p = holm(two_sided(measured.drawn_pairs[:, [pairs[min(i, best), max(i, best)] for i in others], kind]))
    for i, value in zip(others, p, strict=True):
        if sign * (measured.means[i, kind] - measured.means[best, kind]) > 0:
            found[i] = value
    return found


def _of_sets(table: pd.DataFrame, field: Field, sign: int, chance: float) -> Iterator[dict]:
    """Rows of a metric that has one value per test set: means over levels without intervals, tests and ranks."""
    specs = list(dict.fromkeys(table["spec"]))
    columns = _Columns(specs, _family_of(table))
    means = []
    sets = list(dict.fromkeys(table["test_set"]))
    for test_set in sets:
        rows = table[table["test_set"] == test_set]
        values = rows.pivot_table(index="model", columns="spec", values="value", observed=True, dropna=False)
        means.append(values.reindex(index=list(field.models), columns=specs).to_numpy(float))
    if len(sets) > 1:
        sets, means = [*sets, ALL], [*means, np.mean(means, axis=0)]
    for test_set, levels_of in zip(sets, means, strict=True):
        for number, model in enumerate(field.models):
            clean = np.nan if columns.clean is None else levels_of[number, columns.clean]
            for family, levels in columns.families.items():
                perturbed = float(_nanmean(levels_of[number, levels]))
                worst, worst_spec = _worst(levels_of[number], levels, specs, sign)
                yield {
                    **{"model": model, "test_set": test_set, "family": family, "levels": len(levels)},
                    "placed": "no value" if np.isnan(clean) and np.isnan(perturbed) else "ranked",
                    **{"clean": clean, "perturbed": perturbed, "worst": worst, "worst_spec": worst_spec},
                    **{
                        "retained": _retained(clean, perturbed, chance, sign),
                        "drop": clean - perturbed,
                        "ties": (),
                        "ties_perturbed": (),
                    },
                }


def contrasts(first: pd.DataFrame, second: pd.DataFrame, run: str, *, resamples: int = 2000) -> pd.DataFrame:
    """Paired differences `second` - `first` of the localizers that both results tables hold, on their common images.

    Columns CONTRASTS; run: the label of the second run. p: Holm's correction over the conditions of one model, test
    set, protocol and metric. Metrics of a whole set have a difference without interval.
    """
    keys = ["model", "test_set", "spec", "protocol", "metric"]
    joined = first.astype(dict.fromkeys([*keys, "image"], str)).merge(
        second.astype(dict.fromkeys([*keys, "image"], str)), on=[*keys, "image"], suffixes=("", "_second")
    )
    joined["change"] = joined["value_second"] - joined["value"]
    parts = []
    for _, rows in joined.groupby(["test_set"], sort=False):
        image, images = pd.factorize(rows["image"])
        group = rows.groupby(keys, sort=False)
        values = np.full((len(images), group.ngroups), np.nan)
        values[image, group.ngroup().to_numpy()] = rows["change"].to_numpy()
        clusters = pd.factorize(rows["source"])[0][np.unique(image, return_index=True)[1]]
        means, drawn, counts = resampled_means(values, clusters=clusters, resamples=resamples)
        low, high = interval_bounds(drawn, counts)
        numbers = {"difference": means, "low": low, "high": high, "n": np.isfinite(values).sum(axis=0)}
        parts.append(rows[keys].drop_duplicates().assign(run=run, **numbers, p=two_sided(drawn)))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CONTRASTS)
    if len(table):
        table["p"] = table.groupby(["model", "test_set", "protocol", "metric"])["p"].transform(holm)
    return table[CONTRASTS]


def _block(rows: pd.DataFrame, models: tuple[str, ...], specs: list[str]) -> _Block:
    place = [{name: i for i, name in enumerate(names)} for names in (models, specs)]
    model, spec = (rows[c].astype(object).map(p).to_numpy() for c, p in zip(("model", "spec"), place, strict=True))
    image, images = pd.factorize(rows["image"])
    values = np.full((len(images), len(models), len(specs)), np.nan)
    values[image, model, spec] = rows["value"].to_numpy()
    return _Block(values, pd.factorize(rows["source"])[0][np.unique(image, return_index=True)[1]])


def _family_of(table: pd.DataFrame) -> dict[str, str]:
    pairs = table[["spec", "perturbation"]].drop_duplicates()
    return dict(zip(pairs["spec"].astype(str), pairs["perturbation"].astype(str), strict=True))


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, NaN where nothing is finite."""
    count = np.isfinite(values).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nansum(values, axis=-1) / np.where(count, count, np.nan)


def _worst(means: np.ndarray, levels: list[int], specs: list[str], sign: int) -> tuple[float, str]:
    found = [(sign * means[i], i) for i in levels if np.isfinite(means[i])]
    if not found:
        return np.nan, ""
    return float(means[min(found)[1]]), specs[min(found)[1]]


def _retained(clean: float, perturbed: float, chance: float, sign: int) -> float:
    """Share of the excess over chance that is kept; NaN where there is no excess of at least .02 to keep."""
    excess = sign * (clean - chance)
    return sign * (perturbed - chance) / excess if excess > 0.02 else np.nan
