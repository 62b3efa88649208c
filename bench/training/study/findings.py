"""From the results table of a study to curves over images and seeds, and paired comparisons.

Every variant is measured on the same images; its networks differ in their seed. Compared, per image and network, is an
endpoint:

    clean      the metric on the unperturbed image
    perturbed  its mean over all perturbed levels of the grid
    kept       perturbed - clean: the change by post-processing

A difference is always reference - candidate: positive means that the reference is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.statistics import OverSeeds, SeedVariance, detectable, holm, over_seeds, seed_variance
from bench.training.study.design import Study, StudyError

EVERY_SET = "all"
ENDPOINTS = ("clean", "perturbed", "kept")
ALPHA, POWER = 0.05, 0.8
CURVES = ["variant", "test_set", "metric", "perturbation", "level", "spec", "mean", "low", "high", "n", "seeds"]
COMPARISONS = [
    *("metric", "endpoint", "test_set", "variant", "reference_mean", "mean", "difference", "low", "high", "p"),
    *("p_holm", "se", "df", "n", "photos", "seeds_reference", "seeds", "detectable", "verdict"),
]


@dataclass(frozen=True)
class Measured:
    """One metric of every network, on the images for which all of them have it.

    Attributes:
        values: variant -> (seeds, images, levels), levels in the order of `levels`, the unperturbed one first.
        images: columns test_set, image, source.
        levels: columns perturbation, level, spec.
        left_out: images that lack a value somewhere.
    """

    values: dict[str, np.ndarray]
    images: pd.DataFrame
    levels: pd.DataFrame
    left_out: int

    def on(self, test_set: str) -> Measured:
        """The images of one test set, or of all (EVERY_SET)."""
        if test_set == EVERY_SET:
            return self
        here = (self.images["test_set"] == test_set).to_numpy()
        return Measured({k: v[:, here] for k, v in self.values.items()}, self.images[here], self.levels, self.left_out)

    @property
    def clusters(self) -> np.ndarray:
        """A label per image: its set and the photo it came from."""
        return (self.images["test_set"] + "|" + self.images["source"]).to_numpy()

    def endpoint(self, variant: str, name: str) -> np.ndarray:
        """(seeds, images) of an endpoint."""
        values = self.values[variant]
        clean, perturbed = values[:, :, 0], values[:, :, 1:].mean(axis=2)
        return {"clean": clean, "perturbed": perturbed, "kept": perturbed - clean}[name]


def measured(study: Study, results: pd.DataFrame, metric: str) -> Measured:
    """The values of one metric.

    Raises:
        StudyError: no image has a value under every network and level.
    """
    rows = results[(results["metric"] == metric) & (results["protocol"] == study.protocol) & (results["image"] != "*")]
    table = rows.pivot(index=["test_set", "image", "source"], columns=["model", "spec"], values="value")
    whole = table.notna().all(axis=1)
    if not whole.any():
        raise StudyError(f"no image has a value of {metric} under every network and perturbation; see the evaluation")
    table = table[whole]
    levels = rows[["perturbation", "level", "spec"]].drop_duplicates().reset_index(drop=True)
    levels = levels.iloc[np.argsort(levels["spec"] != "identity", kind="stable")].reset_index(drop=True)
    values = {
        v.name: np.stack([table[f"{v.name}.seed{seed}"][list(levels["spec"])].to_numpy() for seed in v.seeds])
        for v in study.variants
    }
    return Measured(values, table.index.to_frame(index=False), levels, int((~whole).sum()))


def curves(study: Study, results: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over images and seeds of every variant, metric, level and test set, and of all sets pooled."""
    rows = []
    for metric in study.metrics:
        everything = measured(study, results, metric)
        for test_set in _sets(everything):
            here = everything.on(test_set)
            for at, level in here.levels.iterrows():
                of_level = {name: values[:, :, at] for name, values in here.values.items()}
                between = seed_variance(of_level.values())
                for variant in study.variants:
                    found = over_seeds(of_level[variant.name], None, between, clusters=here.clusters)
                    place = (variant.name, test_set, metric, level["perturbation"], level["level"], level["spec"])
                    rows.append((*place, found.mean, found.low, found.high, found.n, len(variant.seeds)))
    return pd.DataFrame(rows, columns=CURVES)


def comparisons(study: Study, results: pd.DataFrame) -> pd.DataFrame:
    """The reference compared with each other variant: every metric, endpoint and test set, and all sets pooled.

    In the table, p_holm is p adjusted over the variants that the reference is compared with; detectable is the smallest
    true difference detected with probability POWER at level ALPHA / number of comparisons, Holm's strictest step.
    """
    others = [v for v in study.variants if v.name != study.reference]
    seeds = len(study.variant(study.reference).seeds)
    rows = []
    for metric in study.metrics:
        everything = measured(study, results, metric)
        for test_set in _sets(everything):
            here = everything.on(test_set)
            for endpoint in ENDPOINTS:
                values = {v.name: here.endpoint(v.name, endpoint) for v in study.variants}
                between = seed_variance(values.values())
                contrasts = [_contrast(values, study.reference, v.name, between, here) for v in others]
                adjusted = holm(np.array([c.p for c in contrasts]))
                for v, c, p in zip(others, contrasts, adjusted, strict=True):
                    least = detectable(c.se, c.df, alpha=ALPHA / len(others), power=POWER)
                    means = values[study.reference].mean(), values[v.name].mean()
                    numbers = (*means, c.mean, c.low, c.high, c.p, p, c.se, c.df, c.n, c.clusters, seeds, len(v.seeds))
                    rows.append((metric, endpoint, test_set, v.name, *numbers, least, decide(c.mean, p)))
    return pd.DataFrame(rows, columns=COMPARISONS)


def decide(difference: float, p: float) -> str:
    """Whether the reference is significantly better, "confirmed", worse, "contradicted", or neither, "inconclusive"."""
    if not p < ALPHA:
        return "inconclusive"
    return "confirmed" if difference > 0 else "contradicted"


def _contrast(values: dict, reference: str, name: str, between: SeedVariance, here: Measured) -> OverSeeds:
    return over_seeds(values[reference], values[name], between, clusters=here.clusters)


def _sets(values: Measured) -> list[str]:
    names = list(values.images["test_set"].unique())
    return [EVERY_SET, *names] if len(names) > 1 else names and [EVERY_SET]
