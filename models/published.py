"""Published numbers of the registered methods, to be laid beside measured ones.

models/published.csv holds them as they were printed, percentages divided by 100. Numbers are comparable only where
weights, data, protocol and perturbation are: the columns say what the source says.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class PublishedNumber:
    """One number of a printed table.

    model: the registered localizer of this method. weights: "released" where the source used the authors' released
    weights, or reports the training that they come from; "retrained" on other data; "not stated". method, train_set,
    test_set: as the source calls them (test_set "MEAN" and the like: over the source's sets). perturbation, level:
    empty for unperturbed images. metric: pixel_F1, pixel_IoU, pixel_AUC, image_AUC, ..., 0..1, or params_million.
    protocol: how the map is thresholded, as far as the source says. source: paper and table.
    """

    model: str
    weights: str
    method: str
    train_set: str
    test_set: str
    perturbation: str
    level: str
    metric: str
    protocol: str
    value: float
    source: str


def published(model: str) -> tuple[PublishedNumber, ...]:
    """What is published of a registered localizer, in the order of the sources; empty where nothing is known."""
    return tuple(number for number in _table() if number.model == model)


@functools.cache
def _table() -> tuple[PublishedNumber, ...]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(PublishedNumber(**{**row, "value": float(row["value"])}) for row in csv.DictReader(file))
