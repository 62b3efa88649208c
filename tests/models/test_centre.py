"""The control that knows nothing but positions."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import models
from bench.metrics import evaluate
from models.image import ForensicImage


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 9), (64, 40)])
def test_scores_fall_with_the_distance_from_the_middle(height, width):
    values = models.build("centre").localize(ForensicImage(np.zeros((height, width, 3), np.uint8))).values
    for y, x in np.ndindex(height, width):
        v, u = (2 * i / (n - 1) - 1 if n > 1 else 0 for i, n in ((y, height), (x, width)))
        assert values[y, x] == pytest.approx(1 - (v * v / 2 + u * u / 2) ** 0.5, abs=1e-6)


def test_it_finds_what_lies_in_the_middle_and_misses_what_does_not():
    image = ForensicImage(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    score = models.build("centre").localize(image)
    middle, corner = np.zeros((2, 40, 60), bool)
    middle[15:25, 20:40] = corner[:10, :20] = True
    assert evaluate(score, middle)["auc"] == pytest.approx(roc_auc_score(middle.ravel(), score.values.ravel()))
    assert evaluate(score, middle)["auc"] > 0.95 > 0.3 > evaluate(score, corner)["auc"]
