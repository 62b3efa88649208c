"""Published numbers in the terms of this suite: which test set, perturbation, metric and protocol each is beside."""

from __future__ import annotations

from collections.abc import Iterable

from bench.cards import load_all
from bench.metrics import PROTOCOLS
from models.published import SAME_METHOD, PublishedNumber, everything


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
            "obstacles": number.obstacles, "source": number.source,
        }  # fmt: skip
        found += [record, *({**record, "model": name} for name in aliases if SAME_METHOD[name] == number.model)]
    return found


def of_test_set(name: str) -> list[PublishedNumber]:
    """What is published on a test set of this name: a card's, or that of a printed table, however it is spelt
    ("casia1", "CASIAv1" and "NIST-16" are known); empty where nothing is."""
    names = {_plain(name)} - {""}
    for card in load_all():
        also = {_plain(card.name), *map(_plain, card.published_as)}
        if names & also:
            names = also
    return [number for number in everything() if _plain(number.test_set) in names]


def known_test_sets() -> list[str]:
    """The names of the test sets that numbers are published on, as their sources call them; means over sets apart."""
    names = {number.test_set for number in everything() if number.test_set}
    return sorted(name for name in names if not name.startswith(("AVG", "AVERAGE", "MEAN")))


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c == "+")


def _protocol(number: PublishedNumber, metric: str) -> str:
    wanted = number.made.like.get(metric)
    return wanted if wanted in PROTOCOLS else next(iter(PROTOCOLS))
