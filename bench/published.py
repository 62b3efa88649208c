"""Published numbers of the registered methods and of others, to be laid beside measured ones.

bench/published.csv holds them as they were printed, percentages divided by 100, and bench/published_sources.toml how
their sources scored. A number is comparable with a measured one only where weights, data, protocol and perturbation
are the same: `PublishedNumber.obstacles` says what the source leaves open or does otherwise.
"""

from __future__ import annotations

import csv
import functools
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.cards import FOLDER, Card, card_names, load
from bench.metrics import PROTOCOLS

TABLE = Path(__file__).with_name("published.csv")
SOURCES = Path(__file__).with_name("published_sources.toml")
SETS = Path(__file__).with_name("published_sets.toml")
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
    "GaussianNoise": ("noise", r"(?:(?:std|sigma)=)?([\d.]+)"),
    "Resize": ("resize", r"([\d.]+)x?"),
    "GammaCorrect": ("gamma", r"p=([\d.]+)"),
}


@dataclass(frozen=True)
class Source:
    """How a source made its numbers; the fields are described in bench/published_sources.toml."""

    match: str
    scoring: str = ""
    like: dict[str, str] = field(default_factory=dict)
    differs: str = ""
    images: dict[str, int] = field(default_factory=dict)
    perturbed: str = "how the images were perturbed is not stated"
    steps: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tie:
    """The images behind a number: a card and its subset ("" = the whole set), or no card.

    `reason` says what is not known of them.
    """

    card: str = ""
    subset: str = ""
    reason: str = ""


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
    def tie(self) -> Tie:
        """The card and subset of its images, or why there is none."""
        entry = _printed_sets().get(self.test_set)
        if entry is None:
            return Tie(reason=f"no card is known under the name {self.test_set!r}")
        if self.perturbation.startswith("OSN") and "networks" in entry:
            network = self.level.lower() if self.perturbation == "OSN" else ""
            return Tie(entry["networks"], network, "" if network else "processed further after a social network")
        members = entry.get("members", {})
        subset = next((name for source, name in members.items() if self.source.startswith(source)), None)
        unstated = "which images of the set were used is not stated" if subset is None else ""
        reason = entry.get("reason", unstated)
        return Tie(entry.get("card", ""), subset or "", reason)

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
        family = self.made.steps.get(self.perturbation, family)
        level = re.fullmatch(written, self.level) if family else None
        return f"{family}:{float(level[1]):g}" if level else ""

    @property
    def obstacles(self) -> list[str]:
        """Why it cannot be subtracted from a number measured here; empty where it can.

        That number is measured with the released weights on the same images.
        """
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
    return tuple(number for number in load_published() if number.model == name)


@functools.cache
def load_published() -> tuple[PublishedNumber, ...]:
    """All numbers, those of methods that no registered localizer implements among them, source by source."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(PublishedNumber(value=float(row.pop("value")), **row) for row in csv.DictReader(file))


@functools.cache
def _card(name: str) -> Card | None:
    """The card of this name, None where there is none; one of fifty is read in a fiftieth of the time."""
    return load(FOLDER / f"{name}.toml") if name in card_names() else None


@functools.cache
def _printed_sets() -> dict[str, dict]:
    with SETS.open("rb") as file:
        return {name: entry for entry in tomllib.load(file)["set"] for name in entry["printed"]}


def _whose_images(tie: Tie, test_set: str) -> list[str]:
    """What is to be said where the images of a number are not those of the set beside which it stands."""
    card, _, subset = test_set.partition("@")
    said = [tie.reason] if tie.reason else []
    if test_set and tie.card == card and tie.subset != subset and not tie.reason:
        found = _card(card)
        assert found is not None, f"published numbers are tied to a card {card!r} that is not there"
        part = next((s for s in found.subset if s.name == tie.subset), None)
        if part is not None and part.unknown:
            said.append(f"its images are the subset {tie.subset}, whose members are public nowhere")
        elif not _same_members(found, tie.subset, subset):
            whole = "the whole set"
            said.append(f"its images are {(tie.subset and 'the subset ' + tie.subset) or whole}")
    return said


def _same_members(card: Card, one: str, other: str) -> bool:
    """Whether two subsets ("" = the whole set) count the same tampered images, those without a mask left out."""
    unusable = sum(problem == "no mask" for problem in set(card.known_defects.values()))

    def count(name: str) -> int | None:
        return card.find_subset(name).count.get("tampered") if name else card.counts.get("tampered", 0) - unusable

    return count(one) == count(other)


@functools.cache
def _sources() -> tuple[Source, ...]:
    with SOURCES.open("rb") as file:
        return tuple(Source(**entry) for entry in tomllib.load(file)["source"])


def records(numbers: Iterable[PublishedNumber], test_set: str = "", models: Iterable[str] = ()) -> list[dict]:
    """The numbers as plain dictionaries, for reports and listings; sizes of networks are left out.

    test_set: what the set is called here. models: localizers of a run; a number of the same method under another
    name here (one set of weights in two frameworks) is repeated for it.
    Keys: model ("" where no localizer here is that method), method, weights, train_set, test_set, printed_set, spec
    ("" where no perturbation here comes near), perturbation (as printed), metric ("" where it is not measured here),
    printed_metric, protocol (the one of this suite to be laid beside), value, rule, scoring, images (tampered ones,
    None where not stated), obstacles (why it is not comparable, "released weights on the same images" assumed),
    source.
    """
    aliases = [name for name in models if name in SAME_METHOD]
    found = []
    for number in dict.fromkeys(numbers):  # a table may print the unperturbed images once for each perturbation
        if number.metric == "params_million":
            continue
        metric = number.metric_here
        record = {
            "model": number.model, "method": number.method, "weights": number.weights, "train_set": number.train_set,
            "test_set": test_set, "printed_set": number.test_set, "spec": number.spec_here,
            "perturbation": f"{number.perturbation} {number.level}".strip(), "metric": metric,
            "printed_metric": number.metric.replace("_", " "), "protocol": _protocol(number, metric),
            "value": number.value, "rule": number.protocol, "scoring": number.made.scoring, "images": number.images,
            "obstacles": [*number.obstacles, *_whose_images(number.tie, test_set)], "source": number.source,
            "card": number.tie.card, "subset": number.tie.subset,
        }  # fmt: skip
        found += [record, *({**record, "model": name} for name in aliases if SAME_METHOD[name] == number.model)]
    return found


def of_test_set(name: str) -> list[PublishedNumber]:
    """What is published on a test set of this name; empty where nothing is.

    The name is a card's or that of a printed table, in any spelling ("casia1", "CASIAv1" and "NIST-16" are known).
    """
    plain = _plain(name.partition("@")[0])
    printed = _printed_sets()
    cards = {entry.get("card") for set_name, entry in printed.items() if plain and _plain(set_name) == plain}
    cards |= {card for card in card_names() if _plain(card) == plain}
    cards -= {None}
    named = {set_name for set_name in printed if plain and _plain(set_name) == plain}
    return [n for n in load_published() if n.tie.card in cards or (not n.tie.card and n.test_set in named)]


def known_test_sets() -> list[str]:
    """The names of the test sets that numbers are published on, as their sources call them; means over sets apart."""
    names = {number.test_set for number in load_published() if number.test_set}
    return sorted(name for name in names if not name.startswith(("AVG", "AVERAGE", "MEAN")))


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c == "+")


def _protocol(number: PublishedNumber, metric: str) -> str:
    wanted = number.made.like.get(metric)
    return wanted if wanted in PROTOCOLS else next(iter(PROTOCOLS))
