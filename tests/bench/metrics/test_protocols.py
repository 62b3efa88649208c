"""Every protocol against its original written plainly, on maps of many kinds; and what all of them have in common."""

import importlib
import math
import pickle
import warnings

import numpy as np
import pytest

from bench.metrics import (
    METRICS,
    PROTOCOLS,
    NotKept,
    Observation,
    SetTotals,
    evaluate,
    evaluate_set,
    find,
    find_all,
    image_metrics,
    kept,
    measure,
    not_counted,
)
from bench.metrics.registry import UnknownMetric, find_metric
from bench.truth import Truth
from models.image import ScoreMap
from tests.bench.metrics.made_up import bank, sources
from tests.bench.metrics.originals import ORIGINALS, partition

SEEDS = (0, 1)
ONE_MAP = [name for name, protocol in PROTOCOLS.items() if not protocol.sources]


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_original_written_plainly(name, seed):
    for case, (score, mask) in bank(seed).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn, of one class
            wanted = ORIGINALS[name](score, mask)
        got = evaluate(score, mask, name)
        if wanted is None:
            assert not evaluate_set([(score, "probability", mask, True, None)], name)["images"], case
            continue
        for key, value in wanted.items():
            assert got[key] == pytest.approx(value, abs=1e-6, nan_ok=True), f"{case}: {key}"


@pytest.mark.parametrize("predicted, true", [(2, 2), (3, 3), (4, 2), (2, 4), (3, 2), (1, 3), (4, 4)])
def test_partition_equals_the_original_written_plainly(predicted, true):
    for seed in range(4):
        maps, labels = sources(seed, predicted, true)
        got = evaluate(maps, labels, "safire-multi")
        for key, value in partition(maps, labels).items():
            assert got[key] == pytest.approx(value, abs=1e-9), (seed, key)


@pytest.mark.parametrize("name", ONE_MAP)
def test_logits_of_a_map_give_what_the_map_gives(name):
    if name == "photoholmes":
        pytest.skip("its soft metrics take logits for probabilities: a quirk, compared on the bank of recorded numbers")
    for seed, case in ((0, "good 2"), (1, "soft mask"), (1, "smaller map")):
        score, mask = bank(seed)[case]
        logits = np.log(score.astype(np.float64) / (1 - score.astype(np.float64))).astype(np.float32)
        plain, of_logits = evaluate(score, mask, name), evaluate(ScoreMap(logits, "logit"), mask, name)
        for metric in find(name).metrics:
            if metric in plain and name != "native":  # native resizes in the map's own units
                assert of_logits[metric] == pytest.approx(plain[metric], abs=2e-3, nan_ok=True), (case, metric)


@pytest.mark.parametrize("name", ONE_MAP)
@pytest.mark.parametrize("kind", ["probability", "logit", "score"])
def test_every_map_has_metrics_in_range_or_none(name, kind):
    protocol = find(name)
    for case, (score, mask) in bank(2).items():
        values = score if kind == "probability" else (score * 12 - 6).astype(np.float32)
        got = evaluate(ScoreMap(values, kind), mask, name)
        assert not got or set(protocol.metrics) <= set(got), case
        for metric in protocol.metrics if got else ():
            known = METRICS[metric]
            wild = (name, metric[:5]) == ("photoholmes", "soft_") and kind == "logit"  # a quirk
            wild |= name == "trufor-validation" and metric.startswith("permuted_f1")  # another one
            value = got[metric]
            assert wild or math.isnan(value) or known.low - 1e-9 <= value <= known.high + 1e-9, (case, metric, value)


@pytest.mark.parametrize("name", ONE_MAP)
def test_unbounded_scores_have_ranking_metrics_alone(name):
    score, mask = bank(0)["good 2"]
    got = evaluate(ScoreMap(score * 7 - 3, "score"), mask, name)
    ranked = {"auc", "ap", "best_f1", "best_iou", "reverse_auc", "double_auc"}
    for metric in find(name).metrics:
        exact = metric in ranked and not name.startswith(("photoholmes", "ifosn", "nist"))  # these have levels
        assert math.isfinite(got[metric]) == exact, metric


@pytest.mark.parametrize("name", PROTOCOLS)
def test_pixels_that_cannot_be_scored_do_not_matter(name):
    rng = np.random.default_rng(3)
    for case, seed in (("good 1", 0), ("good 2", 1), ("soft mask", 0), ("inverted 0", 2)):
        score, mask = bank(seed)[case]
        scorable = np.ones(mask.shape, bool)
        scorable[5:20, 10:30] = False
        scorable[rng.random(mask.shape) < 0.002] = False
        found = []
        for _ in range(2):
            values, truth = score.copy(), mask.copy()
            values[~scorable] = rng.random(int((~scorable).sum()))
            truth[~scorable] = rng.integers(0, 256, int((~scorable).sum()))
            labels = (truth > 127).astype(np.uint8)
            labels[scorable & (np.arange(mask.size) % 7 == 0).reshape(mask.shape)] = 2
            maps = np.stack([values, 1 - values, np.full_like(values, 0.4)])
            given = ScoreMap(values, "probability", extras={"sources": maps})
            found.append(evaluate(given, Truth(truth, labels, scorable), name))
        assert found[0].keys() == found[1].keys()
        assert all(found[0][k] == found[1][k] or math.isnan(found[0][k]) for k in found[0]), case
    nothing = Truth(mask, scorable=np.zeros(mask.shape, bool))
    assert evaluate(ScoreMap(score, "probability"), nothing, name) == {}


@pytest.mark.parametrize("name", ["native", "mpc", "imlvit", "photoholmes", "catnet", "mvss", "ifosn"])
def test_unscorable_pixels_are_as_if_they_were_not_there(name):
    score, mask = bank(1)["good 1"]
    scorable = np.zeros(mask.shape, bool)
    scorable[:50] = True
    part = evaluate(score[:50], mask[:50], name)
    whole = evaluate(ScoreMap(score, "probability"), Truth(mask, scorable=scorable), name)
    for metric in find(name).metrics:
        assert whole[metric] == pytest.approx(part[metric], abs=1e-12, nan_ok=True), metric


@pytest.mark.parametrize("name", ["focal", "hifi", "imdlbenco-square"])
def test_one_unscorable_pixel_makes_all_that_depend_on_it_unscorable(name):
    score, mask = bank(0)["good 2"]
    plain = evaluate(score, mask, name)
    scorable = np.ones(mask.shape, bool)
    scorable[60, 40] = False
    less = evaluate(ScoreMap(score, "probability"), Truth(mask, scorable=scorable), name)
    lost = sum(plain[n] for n in ("tp", "fp", "fn", "tn")) - sum(less[n] for n in ("tp", "fp", "fn", "tn"))
    assert lost >= 1


def observe(item, protocols):
    score, kind, mask, tampered, image_score = item
    given, truth = ScoreMap(score, kind, image_score), Truth(mask)
    found = measure(given, truth, tampered, protocols)
    largest = float(given.resized(*mask.shape).values.max())
    return pickle.loads(pickle.dumps(Observation(tampered, kind, image_score, largest, found)))


def pool(seed):
    """Items of a whole set, authentic images with empty masks."""
    rng = np.random.default_rng(seed)
    cases = {name: pair for name, pair in bank(seed).items() if name != "mask of 0 and 1"}  # evaluate decodes it
    items = [(s, "probability", m, bool(m.any()), float(rng.random())) for s, m in cases.values()]
    return [(s, k, m, t, round(x, 1)) for s, k, m, t, x in items]


def test_what_is_kept_of_all_protocols_together_gives_what_each_gives_alone():
    items = pool(5)
    names = list(PROTOCOLS)
    observations = [observe(item, names) for item in items]
    assert all(set(o.statistics) == set(kept(names)) for o in observations)
    for name in names:
        totals = SetTotals(name)
        for observation, item in zip(observations, items, strict=True):
            totals.add(observation)
            values = image_metrics(observation, name)
            assert bool(values) == (not not_counted(observation, name))
            if values:
                assert values == pytest.approx(evaluate(item[0], item[2], name), nan_ok=True, abs=1e-12)
        together = totals.means() | totals.metrics() | {"images": totals.n_counted}
        assert together == pytest.approx(evaluate_set(items, name), nan_ok=True, abs=1e-12), name
        assert totals.n_counted + sum(totals.left_out.values()) == len(items)


def test_a_statistic_that_was_not_kept_is_named_with_what_to_run():
    observation = observe(pool(0)[0], ["native"])
    with pytest.raises(NotKept, match="run again with --protocols trufor"):
        image_metrics(observation, "trufor")


def test_damaged_statistics_are_named():
    observation = observe(pool(0)[0], ["mpc"])
    (name,) = observation.statistics
    for data in (b"", b"\x07", observation.statistics[name][:-3]):
        damaged = Observation(True, "probability", None, 1.0, {name: data})
        with pytest.raises(ValueError, match="stored statistic"):
            image_metrics(damaged, "mpc")


def test_forged_pixels_in_an_authentic_image_are_refused():
    with pytest.raises(ValueError, match="authentic, yet its mask has 4 forged"):
        measure(ScoreMap(np.zeros((2, 2), np.float32), "logit"), Truth.of(np.ones((2, 2), bool)), False, ["native"])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_says_what_it_is(name):
    protocol = find(name)
    for field in ("title", "description", "mask_rule", "view", "threshold", "empty", "image_rule", "polarity"):
        assert getattr(protocol, field), field
    assert len(set(protocol.metrics)) == len(protocol.metrics)
    for metric, scope in [(m, "image") for m in protocol.metrics] + [(m, "set") for m in protocol.set_metrics]:
        assert METRICS[metric].scope == scope, metric
    assert protocol.headline in (*protocol.metrics, *protocol.set_metrics)
    if protocol.twin:
        twin = find(protocol.twin)
        assert twin.twin == name and name.removesuffix("-corrected") == protocol.twin.removesuffix("-corrected")
    if any(quirk.defect for quirk in protocol.quirks):
        assert protocol.twin, "a defect has a corrected twin"


def test_sets_report_what_they_announce():
    for name, protocol in PROTOCOLS.items():
        if not protocol.sources:
            got = evaluate_set(pool(1), name)
            assert {*protocol.metrics, *protocol.set_metrics} <= set(got), name
            assert {*protocol.metrics, *protocol.set_metrics} <= set(evaluate_set([], name)), name


@pytest.mark.parametrize("name", ONE_MAP)
def test_sets_of_unbounded_scores_have_no_image_called_tampered(name):
    items = [((s * 9 - 4).astype(np.float32), "score", m, t, None) for s, _, m, t, _ in pool(6)]
    for chosen in (items, items[:1], [item for item in items if not item[3]], []):
        got = evaluate_set(chosen, name)
        fixed = [
            key for key in find(name).set_metrics if key.startswith(("image_f1", "image_acc", "image_t", "image_mcc"))
        ]
        assert name.startswith("trufor-validation") or all(math.isnan(got[key]) for key in fixed if chosen)


def test_all_metrics_are_of_some_protocol():
    used = {name for p in PROTOCOLS.values() for name in (*p.metrics, *p.set_metrics)}
    assert set(METRICS) == used
    with pytest.raises(UnknownMetric, match="did you mean 'best_f1'"):
        find_metric("bestf1")
    assert find_all("all") == list(PROTOCOLS.values())
    assert [p.name for p in find_all("native, mpc,native")] == ["native", "mpc"]


def test_the_code_of_a_statistic_imports_no_registry():
    for modules in kept(PROTOCOLS).values():
        for module in modules:
            source = importlib.import_module(module).__file__
            with open(source) as file:
                text = file.read()
            for forbidden in ("registry", "bench.metrics.protocol", "bench.metrics.evaluate"):
                assert f"from bench.metrics.{forbidden}" not in text and f"from {forbidden} " not in text, module


def test_corrected_twins_mend_what_their_quirks_say():
    found = bank(4)
    inverted_map, mask = found["inverted 2"]
    assert (
        evaluate(inverted_map, mask, "hifi-corrected")["macro_f1"]
        > evaluate(inverted_map, mask, "hifi")["macro_f1"] + 0.3
    )
    empty, nothing = found["authentic, empty map"]
    assert evaluate(empty, nothing, "mpc") | {"f1": 0.0, "iou": 1.0} == pytest.approx(
        evaluate(empty, nothing, "mpc"), nan_ok=True
    )
    assert evaluate(empty, nothing, "mpc-corrected")["f1"] == evaluate(empty, nothing, "mpc-corrected")["iou"] == 1
    assert (
        evaluate(empty, nothing, "catnet")["mean_iou"] == 0.5
        and evaluate(empty, nothing, "catnet-corrected")["mean_iou"] == 1
    )
    assert evaluate(empty, nothing, "imdlbenco")["f1"] == 0 and math.isnan(
        evaluate(empty, nothing, "imdlbenco-corrected")["f1"]
    )
    full, mask = found["full map"]
    assert (
        evaluate(full, mask, "photoholmes")["auc"] == 0 and evaluate(full, mask, "photoholmes-corrected")["auc"] == 0.5
    )
    perfect, mask = found["perfect"]
    assert (
        evaluate(perfect, mask, "photoholmes")["soft_mcc"] == 2
        and evaluate(perfect, mask, "photoholmes-corrected")["soft_mcc"] == 1
    )
    fair, tiny = found["one pixel forged"]
    low = np.minimum(fair, np.float32(0.4))
    assert math.isnan(evaluate(low, tiny, "trufor")["f1"]) and evaluate(low, tiny, "trufor-corrected")["f1"] == 0
    assert (
        evaluate(inverted_map, found["inverted 2"][1], "safire")["absolute_mcc"]
        > 0
        > evaluate(inverted_map, found["inverted 2"][1], "safire-corrected")["mcc"]
    )
    assert evaluate_set([(fair, "probability", found["all forged"][1], True, None)], "ifosn-corrected")["images"] == 1
    soft_map, soft = found["soft mask"]
    assert evaluate(soft_map, soft, "ifosn-corrected")["f1"] != evaluate(soft_map, soft, "ifosn")["f1"]
    pristine_scores = [
        (empty, "probability", nothing, False, 0.1),
        (full, "probability", mask, True, math.inf),
        (full, "probability", mask, True, 0.2),
    ]
    assert math.isnan(evaluate_set(pristine_scores, "trufor")["image_auc"])
    assert evaluate_set(pristine_scores, "trufor-corrected")["image_auc"] == 1
