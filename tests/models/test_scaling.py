"""Score maps brought to 0..1 by their extremes."""

import numpy as np
import pytest
from sklearn.preprocessing import minmax_scale

from models.image import ScoreMap
from models.scaling import scaled_to_unit


@pytest.mark.parametrize("offset", [0, -3, 1e6])
def test_equals_scikit_learn(offset):
    values = np.random.default_rng(0).gamma(2, 5, (40, 30)).astype(np.float32) + np.float32(offset)
    found = scaled_to_unit(ScoreMap(values, "score", 2.5, {"phase": 1}))
    expected = minmax_scale(values.ravel().astype(np.float64)).reshape(values.shape)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert (found.kind, found.image_score, found.extras["phase"]) == ("probability", 2.5, 1)
    assert found.values.dtype == np.float32 and found.values.min() == 0 and found.values.max() == 1


@pytest.mark.parametrize("values", [[[7, 7]], [[np.float32(-3e38), np.float32(3e38)]], [[0, 1e-45]]])
def test_flat_and_extreme_maps_stay_within_bounds(values):
    found = scaled_to_unit(ScoreMap(np.array(values, np.float32), "score")).values
    assert found[0, 0] == 0 and found[0, 1] == (values[0][0] != values[0][1])
