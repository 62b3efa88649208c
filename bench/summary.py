"""From evidence to the tidy results table, and from that to means with intervals, denominators and ranks."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from bench.results import OWN_MEAN, WHOLE_SET
from bench.statistics import bootstrap_means

CONDITION = ["model", "test_set", "perturbation", "level", "spec"]
SUMMARY = [
    *(*CONDITION, "protocol", "metric", "mean", "low", "high"),
    *("n", "n_failed", "n_not_applicable", "n_skipped", "rank", "contaminated"),
]


def summarize(
    results: pd.DataFrame,
    cells: pd.DataFrame,
    contaminated: Collection[tuple[str, str]] = (),
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Mean over images, interval, denominators and rank of every metric.

    One row per model, test set, perturbation, protocol and metric; conditions without a result are there, with n = 0.

    results: the table of `results_table`. cells: one row a cell that was asked for (model, test_set, image, tampered,
    perturbation, level, spec, status "ok", "failed", "not_applicable" or anything else for "not run").
    contaminated: (model, test set) pairs where the model was trained on images of the set.

    low, high: bootstrap over source photos (see bench.statistics); NaN for metrics of a whole set.
    n + n_failed + n_not_applicable + n_skipped is the number of images asked for, tampered ones for a metric of
    images, all for a metric of a whole set. n_not_applicable counts the images to which the model does not apply and
    those where the metric has no meaning for its map or is undefined.
    rank: of the mean, within test set, perturbation, protocol and metric, 1 = largest; ties share their mean rank.
    """
    own = results[results["image"] == OWN_MEAN]
    results = results[results["image"] != OWN_MEAN]
    wanted = results[["protocol", "metric"]].drop_duplicates().astype(str)
    whole = results["image"] == WHOLE_SET
    frame = _counts(cells).merge(wanted, how="cross")
    keys = [*CONDITION, "protocol", "metric"]
    images = _image_means(results[~whole], keys, confidence, resamples)
    sets = results.loc[whole, [*keys, "value"]].rename(columns={"value": "mean"})
    measured = pd.concat([images, sets.assign(low=np.nan, high=np.nan)]).astype(dict.fromkeys(keys, str))
    frame = frame.merge(measured, on=keys, how="left")
    by_rule = own[[*keys, "value"]].astype(dict.fromkeys(keys, str))
    frame = frame.merge(by_rule, on=keys, how="left", indicator="by_rule")
    frame["mean"] = frame["mean"].where(frame["by_rule"] != "both", frame["value"])

    of_set = frame["metric"].isin(results.loc[whole, "metric"].unique())
    for status in ("failed", "not_applicable", "skipped", "ok"):
        frame[f"n_{status}"] = frame[f"all_{status}"].where(of_set, frame[f"tampered_{status}"])
    n = frame["n"].where(~of_set, frame["n_ok"].where(frame["mean"].notna(), 0)).fillna(0).astype(int)
    frame["n_not_applicable"] += frame["n_ok"] - n
    frame["n"] = n
    flagged = set(contaminated)
    frame["contaminated"] = [pair in flagged for pair in zip(frame["model"], frame["test_set"], strict=True)]
    groups = frame.groupby(["test_set", "spec", "protocol", "metric"], sort=False)["mean"]
    frame["rank"] = groups.rank(ascending=False, method="average")
    return frame[SUMMARY]


def _counts(cells: pd.DataFrame) -> pd.DataFrame:
    """Per condition the number of cells by status: all_ok, ..., tampered_ok, ...; in the order of the cells."""
    known = cells["status"].isin(["ok", "failed", "not_applicable"])
    status = cells["status"].where(known, "skipped")
    columns = {}
    for name in ("ok", "failed", "not_applicable", "skipped"):
        columns[f"all_{name}"] = status == name
        columns[f"tampered_{name}"] = (status == name) & cells["tampered"].astype(bool)
    counted = cells[CONDITION].assign(**columns)
    return counted.groupby(CONDITION, sort=False, as_index=False)[list(columns)].sum()


def _image_means(results: pd.DataFrame, keys: list[str], confidence: float, resamples: int) -> pd.DataFrame:
    """Columns `keys`, mean, low, high, n over the images of each group."""
    parts = [pd.DataFrame(columns=[*keys, "mean", "low", "high", "n"])]
    for _, rows in results.groupby("test_set", sort=False, observed=True):
        image, images = pd.factorize(rows["image"])
        group = rows.groupby(keys, sort=False, observed=True)
        column = group.ngroup().to_numpy()
        values = np.full((len(images), group.ngroups), np.nan)
        values[image, column] = rows["value"].to_numpy()
        clusters = pd.factorize(rows["source"])[0][np.unique(image, return_index=True)[1]]
        mean, low, high = bootstrap_means(values, clusters=clusters, confidence=confidence, resamples=resamples)
        numbers = {"mean": mean, "low": low, "high": high, "n": np.isfinite(values).sum(axis=0)}
        parts.append(rows[keys].drop_duplicates().reset_index(drop=True).assign(**numbers))
    return pd.concat(parts[1:] or parts, ignore_index=True)
