"""What the cards say of the networks: sizes counted anew, and published numbers as printed."""

import collections
import csv
import json

import pytest
from shared import shared_path

import models
from bench.cli import main
from bench.published import load_published, published
from bench.training.tools import network_sizes


@pytest.mark.parametrize("name", sorted(network_sizes.networks()))
def test_parameters_are_those_of_the_network(name):
    counted = network_sizes.parameters(network_sizes.built(name))
    assert models.find(name).card.parameters == counted, "run python -m bench.training.tools.network_sizes"


@pytest.mark.parametrize("name", ["mantranet", "noiseprint", "mvss-net", "if-osn"])
def test_operations_are_those_of_the_network(name):
    assert models.find(name).card.gflops_512 == network_sizes.gflops(name, network_sizes.built(name))


def test_operations_of_noiseprint_by_hand():
    """Every convolution is 3 x 3 at full size: two operations a weight and pixel, biases and normalizations apart."""
    kernels = [p for p in network_sizes.built("noiseprint").parameters() if p.ndim == 4]
    assert {tuple(kernel.shape[2:]) for kernel in kernels} == {(3, 3)}
    by_hand = 2 * 512 * 512 * sum(kernel.numel() for kernel in kernels) / 1e9
    assert models.find("noiseprint").card.gflops_512 == pytest.approx(by_hand, abs=0.06)


@pytest.mark.parametrize("name", ["catnet-v2", "trufor", "forma"])
def test_parameters_agree_with_published_counts(name):
    printed = {n.value for n in published(name) if n.metric == "params_million"}
    assert len(printed) == 1
    assert models.find(name).card.parameters / 1e6 == pytest.approx(printed.pop(), rel=0.01)


def test_the_list_of_models_has_the_sizes(capsys):
    assert main(["list", "models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["trufor"]["parameters"] == 68_697_421 and rows["trufor"]["gflops_512"] > 0
    assert rows["ela"]["parameters"] is None and rows["ela"]["gflops_512"] is None


def test_published_numbers_are_of_registered_methods_and_in_range():
    names = {card.name for card in models.cards()}
    for number in load_published():
        assert number.model in {*names, ""} and number.method and number.source, number
        assert number.weights in ("released", "retrained", "not stated"), number
        assert 0 <= number.value <= 1 or number.metric == "params_million", number
    assert published("ela") == ()


def test_methods_that_are_registered_are_known_by_one_name_each():
    names = collections.defaultdict(set)
    for number in load_published():
        if not number.source.startswith("MPC"):  # whose tables hold three networks called MPC
            names[number.method.replace(" v2", "").split(" (")[0].replace("-", "").lower()].add(number.model)
    assert {method for method, found in names.items() if len(found) > 1} == {"focal"}  # one method, three networks


def test_some_published_numbers_as_printed():
    """MPC's own row of its Table 4, Columbia: F1 94.5 %, IoU 93.6 %."""
    found = {
        number.metric: (number.value, number.protocol)
        for number in published("mpc-catnet")
        if number.source.endswith("Table 4") and number.test_set == "Columbia"
    }
    assert found == {"pixel_F1": (0.945, "threshold .5"), "pixel_IoU": (0.936, "threshold .5")}


def test_published_numbers_are_those_of_the_collected_tables():
    collected = collections.defaultdict(list)
    with (shared_path("reference") / "published_results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            unit = 100 if row["metric"].endswith("_percent") else 1
            metric = row["metric"].replace("permute_", "").split("_")[1]
            collected[_key(row)].append((metric, round(float(row["value"]) / unit, 8)))
    for number in load_published():
        assert (number.metric.split("_")[1], round(number.value, 8)) in collected[_key(vars(number))], number


def _key(row):
    return tuple(row[name] for name in ("method", "train_set", "test_set", "level", "source"))
