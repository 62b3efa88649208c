"""Published numbers of the registered methods and of others, to be laid beside measured ones.

models/published.csv holds them as they were printed, percentages divided by 100, and models/published_sources.toml how
their sources scored. A number is comparable with a measured one only where weights, data, protocol and perturbation
are the same: `PublishedNumber.obstacles` says what the source leaves open or does otherwise.
"""

from __future__ import annotations

import csv
import functools
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")
SOURCES = Path(__file__).with_name("published_sources.toml")
SAME_METHOD = {"mantranet-keras": "mantranet"}  # one set of weights in two frameworks
METRICS = {"pixel_F1": "f1", "pixel_IoU": "iou", "pixel_AUC": "auc", "image_AUC": "image_auc"}
RULES = {  # what a column `protocol` says that no protocol of this suite does
    "best threshold": "not stated whether the best threshold is one of each image or one of the set",
    "mean of forged and pristine class": "F1 is the mean over the forged and the pristine class",
    "probably mean of forged and pristine class": "F1 is probably the mean over the forged and the pristine class",
    "better of map and inverted map": "the better of map and inverted map counts",
    "threshold .5, read off a curve": "read off a curve, to about .015",
}
STEPS = {  # family of a printed table -> family of this suite, and how its level is written
    "JPEG": ("jpeg", r"q=(\d+)"),
    "GaussianBlur": ("blur", r"k=(\d+)"),
    "GaussianNoise": ("noise", r"(?:std|sigma)=([\d.]+)"),
    "Resize": ("resize", r"([\d.]+)x?"),
    "GammaCorrect": ("gamma", r"p=([\d.]+)"),
}


@dataclass(frozen=True)
class Source:
    """How a source made its numbers; the fields are described in models/published_sources.toml."""

    match: str
    scoring: str = ""
    like: dict[str, str] = field(default_factory=dict)
    differs: str = ""
    images: dict[str, int] = field(default_factory=dict)
    perturbed: str = "how the images were perturbed is not stated"


@dataclass(frozen=True)
class PublishedNumber:
    """One number of a printed table.

    model: the registered localizer of this method, "" where there is none. weights: "released" where the source used
    the authors' released weights, or reports the training that they come from; "retrained" on other data; "not
    stated". method, train_set, test_set: as the source calls them (test_set "MEAN" and the like: over the source's
    sets). perturbation, level: empty for unperturbed images. metric: pixel_F1, pixel_IoU, pixel_AUC, image_AUC, ...,
    0..1, or params_million. protocol: how the map is thresholded, as far as the source says. source: paper and table.
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

    @property
    def made(self) -> Source:
        """How its source scored."""
        return next((s for s in _sources() if self.source.startswith(s.match)), Source(self.source))

    @property
    def images(self) -> int | None:
        """Tampered images behind it, None where not stated."""
        return self.made.images.get(self.test_set)

    @property
    def metric_here(self) -> str:
        """The metric of this suite that it is beside, "" where there is none."""
        if self.protocol.startswith("best threshold") and self.metric == "pixel_F1":
            return "best_f1"
        return METRICS.get(self.metric, "")

    @property
    def spec_here(self) -> str:
        """The perturbation of this suite that comes nearest, as a spec; "" where there is none."""
        if not self.perturbation:
            return "identity"
        family, written = STEPS.get(self.perturbation, ("", ""))
        level = re.fullmatch(written, self.level) if family else None
        return f"{family}:{float(level[1]):g}" if level else ""

    @property
    def obstacles(self) -> list[str]:
        """Why no difference may be taken between it and a number measured here with the released weights on the same
        images; empty where one may."""
        found = []
        if self.protocol in RULES:
            found.append(RULES[self.protocol])
        if self.metric_here not in self.made.like and (self.made.differs or not found):
            found.append(self.made.differs or "how it was scored is not stated")
        if self.weights == "retrained":
            found.append(f"other weights, trained on: {self.train_set}")
        elif self.weights != "released":
            found.append("which weights were used is not stated")
        if self.perturbation:
            found.append(self.made.perturbed)
        return found


def published(model: str) -> tuple[PublishedNumber, ...]:
    """What is published of a registered localizer, in the order of the sources; empty where nothing is known."""
    name = SAME_METHOD.get(model, model)
    return tuple(number for number in everything() if number.model == name)


@functools.cache
def everything() -> tuple[PublishedNumber, ...]:
    """All numbers, those of methods that no registered localizer implements among them, source by source."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(PublishedNumber(**{**row, "value": float(row["value"])}) for row in csv.DictReader(file))


@functools.cache
def _sources() -> tuple[Source, ...]:
    with SOURCES.open("rb") as file:
        return tuple(Source(**entry) for entry in tomllib.load(file)["source"])
