"""Published numbers in the terms of this suite, and their listing. Values are typed from the papers' tables."""

import json

import pytest

from bench.cli import main
from bench.data.cards import load_all
from bench.perturb import parse
from bench.published import load_published, of_test_set, published, records


def found(numbers, **where):
    return [n for n in numbers if all(getattr(n, key) == value for key, value in where.items())]


@pytest.mark.parametrize(
    ("model", "test_set", "metric", "value"),
    [
        ("mpc-catnet", "casia1", "f1", 0.745),
        ("mpc-catnet", "casia1", "iou", 0.686),
        ("mpc-casia2", "imd2020", "f1", 0.485),
        ("trufor", "casia1", "f1", 0.696),  # evaluated by MPC's authors
        ("catnet-v2", "casia1", "iou", 0.637),
    ],
)
def test_released_weights_under_the_official_script_are_comparable(model, test_set, metric, value):
    numbers = found(of_test_set(test_set), model=model, metric_here=metric, spec_here="identity", obstacles=[])
    numbers = [number for number in numbers if number.source.startswith("MPC")]
    assert value in [number.value for number in numbers]
    assert {record["protocol"] for record in records(numbers)} == {"mpc"}
    assert {number.images for number in numbers} == {{"casia1": 920, "imd2020": 2010}[test_set]}


@pytest.mark.parametrize(
    ("model", "value", "source", "words"),
    [
        ("trufor", 0.737, "TruFor", "better of map and inverted map"),
        ("trufor", 0.822, "TruFor", "better of map and inverted map"),
        ("focal", 0.904, "FOCAL", "mean over the forged and the pristine class"),
        ("trufor", 0.532, "PIM", "other weights, trained on: CASIAv2"),
        ("mesorch", 0.8398, "Mesorch", "network's input size"),
        ("eitlnet", 0.557, "EITLNet", "how it was scored is not stated"),
        ("mvss-net", 0.759, "github dong03", "how it was scored is not stated"),
    ],
)
def test_other_numbers_say_why_they_are_not(model, value, source, words):
    on_set = of_test_set("casia1") + of_test_set("casia1plus")
    numbers = [n for n in found(on_set, model=model, value=value) if n.source.startswith(source)]
    assert numbers and all(any(words in reason for reason in number.obstacles) for number in numbers)


def test_the_small_network_of_the_paper_is_not_the_shipped_one():
    numbers = found(load_published(), model="mpc")
    assert {n.value for n in numbers if n.test_set == "Columbia"} == {0.42, 0.317}
    assert all("other weights" in number.obstacles[0] for number in numbers)


def test_best_thresholds_stand_beside_best_thresholds():
    trufor = found(of_test_set("coverage"), model="trufor", metric_here="best_f1")
    assert sorted(n.value for n in trufor if n.source.startswith("TruFor")) == [0.735]
    assert {record["protocol"] for record in records(trufor)} == {"native"}


def test_perturbations_are_named_as_here_or_left_out():
    assert found(load_published(), model="mpc-catnet", spec_here="jpeg:70")[0].value == 0.975
    specs = {(n.perturbation, n.level): n.spec_here for n in load_published()}
    assert specs["GaussianBlur", "k=5"] == "blur:5"
    assert specs["GaussianNoise", "sigma=3"] == "noise:3"
    assert specs["Resize", "0.78x"] == "resize:0.78"
    for family, level in (("OSN", "WeChat"), ("JPEG", "AVG"), ("GammaCorrect", "p=0.85"), ("combined", "Mixed")):
        assert specs[family, level] == ""
    assert all(number.obstacles for number in load_published() if number.perturbation)
    assert all(len(parse(number.spec_here)) <= 2 for number in load_published() if number.spec_here)


def test_a_label_is_read_in_the_units_of_its_source():
    """Mesorch heads a variance "std"; MPC's intensity is read as the variance that fits its curves."""
    mesorch = {(n.perturbation, n.level): n.spec_here for n in load_published() if n.source.startswith("Mesorch")}
    assert mesorch["GaussianNoise", "std=23"] == "imdlbenco_noise:23"
    assert mesorch["JPEG", "q=50"] == "imdlbenco_jpeg:50"
    figure = {(n.perturbation, n.level): n.spec_here for n in load_published() if "Figure 2" in n.source}
    assert figure["GaussianNoise", "0.002"] == "mpc_noise_variance:0.002"
    assert figure["GaussianBlur", "k=11"] == "blur:11"


@pytest.mark.parametrize("name", ["casia1", "CASIAv1", "CASIA-v1"])
def test_a_set_is_known_by_its_card_and_by_what_papers_call_it(name):
    assert {number.test_set for number in of_test_set(name)} == {"CASIA", "CASIAv1"}


def test_other_sets():
    assert {number.test_set for number in of_test_set("Coverage")} == {"Coverage"}
    assert {number.test_set for number in of_test_set("nist-16")} == {"NIST16", "NIST", "NC16"}
    assert {number.tie.card for number in of_test_set("CASIAv1+")} == {"casia1plus"}
    assert of_test_set("comofod") == of_test_set("my photos") == of_test_set("") == []


def test_one_method_under_two_names_has_its_numbers_twice():
    numbers = found(of_test_set("columbia"), model="mantranet", value=0.508)
    assert {r["model"] for r in records(numbers, "columbia", ["mantranet-keras"])} == {"mantranet", "mantranet-keras"}
    assert published("mantranet-keras") == published("mantranet") != ()


def test_a_table_that_repeats_a_number_is_listed_once():
    clean = found(load_published(), model="mesorch", perturbation="", source="Mesorch (Zhu et al., AAAI 2025) Table 2")
    assert len(clean) > 1 and len(records(clean)) == 1


def test_listing_with_filters(capsys):
    assert main(["list", "published", "--model", "mpc-catnet", "--data", "columbia", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in rows} == {"mpc-catnet"} and {row["printed_set"] for row in rows} == {"Columbia"}
    assert main(["list", "published", "--model", "mpc-catnet", "--data", "osn_columbia", "--json"]) == 0
    by_wechat = next(
        r for r in json.loads(capsys.readouterr().out) if r["perturbation"] == "OSN WeChat" and r["metric"] == "f1"
    )
    assert (by_wechat["value"], by_wechat["source"]) == (0.947, "MPC arXiv:2406.13565v1 Table 6")
    assert main(["list", "published", "--model", "mpc-catnet", "--data", "columbia"]) == 0
    out = capsys.readouterr().out
    assert "MPC arXiv:2406.13565v1 Table 4: authors' script" in out and " 0.945  pixel F1, threshold .5" in out


def test_listing_of_nothing_and_bad_filters(capsys):
    assert main(["list", "published", "--model", "ela"]) == main(["list", "published", "--data", "comofod"]) == 0
    assert capsys.readouterr().out.count("nothing of that is published") == 2
    assert main(["list", "published", "--model", "trufur"]) == 2
    assert "did you mean 'trufor'" in capsys.readouterr().err
    assert main(["list", "published", "--data", "nist17"]) == 2
    assert "NIST16" in capsys.readouterr().err
    assert main(["list", "models", "--data", "coverage"]) == 2
    assert "no such filter" in capsys.readouterr().err


def test_every_number_is_tied_to_a_card_and_a_subset_of_it_or_to_none_with_the_reason():
    cards = {card.name: card for card in load_all()}
    for number in load_published():
        tie = number.tie
        assert tie.card in cards if tie.card else tie.reason, number
        assert not tie.reason.startswith("no card is known"), number
        if tie.subset:
            cards[tie.card].find_subset(tie.subset)


def test_numbers_of_other_images_say_so():
    """160 of Columbia's 180, 564 of NIST16 beside TruFor's 160, what a social network returned: never compared."""
    said = {r["source"][:3]: r["obstacles"] for r in records(of_test_set("columbia"), "columbia") if r["subset"]}
    assert any("mpc-160, whose members are public nowhere" in text for text in said["MPC"])
    nist = [r for r in records(of_test_set("nist16"), "nist16") if r["subset"] == "160"]
    assert nist and all("its images are the subset 160" in r["obstacles"] for r in nist)
    part = [r for r in records(of_test_set("nist16@160"), "nist16@160") if r["subset"] == "160"]
    assert part and not any("its images" in text for r in part for text in r["obstacles"])
    networks = of_test_set("osn_columbia")
    assert {n.tie.subset for n in networks} >= {"facebook", "weibo", "wechat"}
    assert not set(networks) & set(of_test_set("columbia"))
    casia = [r for r in records(of_test_set("casia1"), "casia1") if r["subset"] == "920"]
    assert casia and not any("its images" in text for r in casia for text in r["obstacles"])
