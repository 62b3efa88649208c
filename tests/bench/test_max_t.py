"""Max-T thresholds: against SciPy and a loop over all swaps, and by simulation the promises of the gate."""

import itertools

import numpy as np
import pytest
from scipy import stats

from bench.max_t import paired_changes


def alone(n):
    return np.arange(n)


def test_statistic_is_students():
    changes = np.random.default_rng(0).normal(0.1, 1, (12, 3))
    found = paired_changes(changes, clusters=alone(12), rate=0.05)
    assert found.t == pytest.approx(stats.ttest_1samp(changes, 0).statistic)
    assert found.mean == pytest.approx(changes.mean(axis=0)) and found.photos.tolist() == [12] * 3


def test_images_of_one_photo_count_together():
    """A photo with two equal images weighs double; its standard error is the clustered one, written as a loop."""
    rng = np.random.default_rng(1)
    photos = rng.integers(0, 6, 20)
    changes = rng.normal(size=20)
    found = paired_changes(changes[:, None], clusters=photos, rate=0.05)
    parts = [(changes[photos == p] - changes.mean()).sum() for p in np.unique(photos)]
    k = len(parts)
    assert found.se[0] == pytest.approx(np.sqrt(k / (k - 1) * np.sum(np.square(parts))) / 20)
    assert (found.photos[0], found.images[0]) == (k, 20)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_threshold_equals_a_loop_over_all_swaps(rate):
    changes = np.random.default_rng(2).normal(size=(8, 3)) * [1, 5, 0.1]
    largest = sorted(
        (
            max(stats.ttest_1samp(np.array(signs)[:, None] * changes, 0).statistic)
            for signs in itertools.product((1, -1), repeat=8)
        ),
        reverse=True,
    )
    found = paired_changes(changes, clusters=alone(8), rate=rate)
    assert found.critical == pytest.approx([largest[int(rate * 256)]] * 3)


def test_few_photos_are_tested_by_students_t():
    changes = np.random.default_rng(3).normal(size=(4, 5))
    found = paired_changes(changes, clusters=alone(4), rate=0.01)
    assert found.critical == pytest.approx([stats.t.ppf(1 - 0.01 / 5, 3)] * 5)


def test_cells_of_few_photos_do_not_hide_the_others():
    """Two photos that changed alike have an infinite statistic in a quarter of all swaps."""
    rng = np.random.default_rng(4)
    changes = rng.normal(-0.05, 0.02, (30, 4))
    changes[2:, 0], changes[:2, 0] = np.nan, -0.3
    found = paired_changes(changes, clusters=alone(30), rate=0.01)
    assert found.differs.all() and np.isfinite(found.critical).all()


def test_cells_of_unequal_photos_are_compared_by_their_tails():
    changes = np.random.default_rng(5).normal(size=(40, 2))
    changes[11:, 1] = np.nan
    found = paired_changes(changes, clusters=alone(40), rate=0.05)
    tails = stats.t.sf(found.critical, [39, 10])
    assert found.critical[1] > found.critical[0] and tails[0] == pytest.approx(tails[1], rel=1e-6)
    assert 0.01 < tails[0] < 0.05


def test_one_photo_and_no_photo_have_no_threshold():
    changes = np.full((3, 3), np.nan)
    changes[0, 0], changes[:, 1] = -0.5, -0.5
    found = paired_changes(changes, clusters=np.array(["a", "a", "a"]), rate=0.01)
    assert np.isnan(found.critical).all() and np.isnan(found.se).all() and not found.differs.any()
    assert found.mean[:2].tolist() == [-0.5, -0.5] and np.isnan(found.mean[2])


def test_equal_changes_of_all_photos_are_found_and_none_are_not():
    found = paired_changes(np.tile([-0.05, 0.0], (46, 1)), clusters=alone(46), rate=0.01)
    assert found.differs.tolist() == [True, False]


def false_alarms(images, cells, repetitions, loss=0.0, draw=None):
    """Share of checks that call a cell worse by at least .01, of `cells` cells of which the first lost `loss`."""
    alarms = 0
    for repetition in range(repetitions):
        rng = np.random.default_rng([7, images, cells, repetition])
        changes = rng.normal(0, 0.05, (images, cells)) if draw is None else draw(rng, (images, cells))
        changes[:, 0] -= loss
        found = paired_changes(changes, clusters=alone(images), rate=0.01, swaps=400, seed=10_000 + repetition)
        worse = found.differs & (found.mean <= -0.01)
        alarms += worse[0] if loss else worse.any()
    return alarms / repetitions


# the rate is at most .01: the binomial chance of more than 5 % of this many repetitions is below 1e-3
@pytest.mark.parametrize("cells", [48, 384])
@pytest.mark.parametrize("images", [6, 20, 46, 400])
def test_an_unchanged_localizer_passes(images, cells):
    assert false_alarms(images, cells, 100 if images < 400 else 40) <= 0.05


@pytest.mark.parametrize("cells", [48, 384])
def test_a_loss_in_a_single_cell_is_found(cells):
    assert false_alarms(46, cells, 60, loss=0.05) >= 0.9


def test_noise_that_is_not_normal_and_differs_between_cells():
    def draw(rng, shape):
        return rng.standard_t(3, shape) * rng.uniform(0.001, 0.1, shape[1])

    assert false_alarms(20, 48, 100, draw=draw) <= 0.05


def test_the_stated_detectable_loss_is_found_as_often_as_stated():
    rng = np.random.default_rng(9)
    noise = rng.normal(0, 0.05, (300, 46, 1))
    stated = np.median([paired_changes(d, clusters=alone(46), rate=0.01).detectable(0.9)[0] for d in noise[:40]])
    found = [paired_changes(d - stated, clusters=alone(46), rate=0.01, swaps=1000).differs[0] for d in noise]
    assert np.mean(found) == pytest.approx(0.9, abs=0.05)
