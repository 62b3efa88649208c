"""Noiseprint: the network's tiles, the choice of quality, and the blind localization on constructed patterns."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import models
from models import WeightsError, WeightsMissing
from models.deep.noiseprint import blind, network
from models.deep.noiseprint.localizer import jpeg_quality
from models.deep.noiseprint.network import Noiseprint, extract
from models.image import ForensicImage, NotApplicable, encode_jpeg


@pytest.fixture
def small(monkeypatch, tiny_weights):
    monkeypatch.setattr(blind, "FLAT_VARIANCE", -1)  # a random network is deaf to some texture
    monkeypatch.setattr(blind, "REPLICATES", 2)
    weights = tiny_weights("noiseprint")
    weights = {n: v.abs() + 0.5 if n.endswith(("moving_variance", "gamma")) else v for n, v in weights.items()}
    made = Noiseprint.tiny()
    made.load_state_dict(weights)
    with torch.inference_mode():
        found = extract(made, torch.rand(1, 1, 40, 40))
    gain = 0.5 / float(found.std())  # makes patterns as strong as those of the real networks
    weights["conv_layers.16.0.weight"] *= gain
    weights["conv_layers.16.0.bias"] = gain * (weights["conv_layers.16.0.bias"] - float(found.mean()))
    return weights


@pytest.fixture
def pattern():
    """A noise pattern with a region whose neighbouring values are alike, and the region."""
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.5, (320, 400)).astype(np.float32)
    region = np.zeros(values.shape, bool)
    region[100:180, 200:290] = True
    smooth = (values + np.roll(values, 1, 1)) / np.float32(2**0.5)
    return np.where(region, smooth, values), region


def test_tiles_give_what_the_whole_gives(monkeypatch, small):
    made = Noiseprint.tiny().eval()
    made.load_state_dict(small)
    luminance = torch.rand(1, 1, 150, 130)
    with torch.inference_mode():
        whole = extract(made, luminance)
        monkeypatch.setattr(network, "WHOLE_PIXELS", 1000)
        monkeypatch.setattr(network, "TILE", 64)
        tiled = extract(made, luminance)
    torch.testing.assert_close(tiled, whole, atol=1e-5 * float(whole.abs().max()), rtol=0)
    assert whole.std() > 0


def test_quality_is_read_from_the_luminance_table():
    rgb = np.full((8, 8, 3), 100, np.uint8)
    tables = [ForensicImage.from_jpeg(encode_jpeg(rgb, quality)).dct.tables[0] for quality in range(1, 101)]
    found = [jpeg_quality(table) for table in tables]
    assert found[49:] == list(range(50, 101))
    assert max(found[:49]) <= 50


def test_quality_of_extreme_tables():
    assert jpeg_quality(np.ones((8, 8), int)) == 100
    assert jpeg_quality(np.full((8, 8), 40000)) == 1


def test_codes_are_four_levels_in_base_four():
    values = np.random.default_rng(2).normal(0, 0.7, (9, 10))
    row, column = blind.co_occurrences(values)
    level = np.abs(values[:, :, None] - [-0.8, -0.28, 0.16, 0.7]).argmin(2)
    for i in range(5):
        for j in range(6):
            assert row[i, j] == sum(level[i + 2, j + k] * 4**k for k in range(4))
            assert column[i, j] == sum(level[i + k, j + 2] * 4**k for k in range(4))


def test_features_are_root_frequencies_of_a_window_around_its_centre(pattern):
    values, _ = pattern
    found = blind.windows(values, np.full(values.shape, 0.5, np.float32))
    np.testing.assert_allclose((found.features**2).sum(2), 2, atol=1e-3)
    assert found.valid.all()
    row, column = 4, 9
    top, left = (int(c[i] - 31.5) - 2 for c, i in zip(found.centres, (row, column), strict=True))
    codes = blind.co_occurrences(values)
    for half, code in enumerate(codes):
        counts = np.bincount(code[top : top + 64, left : left + 64].ravel(), minlength=256)
        np.testing.assert_allclose(
            found.features[row, column, half * 256 : half * 256 + 256], np.sqrt(counts / 4096), atol=1e-3
        )


def test_flat_and_saturated_pixels_and_their_surroundings_are_not_used():
    values = np.random.default_rng(3).normal(0, 0.5, (120, 160)).astype(np.float32)
    luminance = np.full(values.shape, 0.5, np.float32)
    assert blind.usable(values, luminance)[18:-18, 18:-18].all()
    luminance[50:60, 70:80] = 1
    values[100:115, 20:35] = 0
    usable = blind.usable(values, luminance)
    assert not usable[33:77, 56:94].any() and not usable[100:115, 20:35].any() and usable[25, 120]
    assert not usable[:17].any() and not usable[:, -17:].any()


def test_fit_recovers_the_gaussian_under_outliers():
    rng = np.random.default_rng(4)
    covariance = np.array([[2.0, 0.6], [0.6, 1.0]])
    samples = np.vstack([rng.multivariate_normal([3, -1], covariance, 3000), rng.uniform(200, 300, (30, 2))])
    found = blind.fit(samples)
    np.testing.assert_allclose(found.mean, samples[:3000].mean(0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(samples[:3000].T, bias=True), atol=1e-6)
    assert found.share == pytest.approx(3000 / 3030, abs=1e-6)
    difference = samples[5] - found.mean
    expected = difference @ np.linalg.inv(found.covariance) @ difference
    assert found.distance(samples[5:6])[0] == pytest.approx(expected)


def test_windows_that_are_all_alike_or_vary_along_one_direction_have_finite_distances():
    rng = np.random.default_rng(5)
    centres = (np.arange(8.0), np.arange(8.0))
    for spread in (0, 1):
        features = np.ones((8, 8, 64), np.float32) + spread * rng.random((8, 8, 1), dtype=np.float32)
        distances = blind.anomaly(blind.Windows(features, np.ones((8, 8), bool), centres))
        assert distances.shape == (8, 8) and np.isfinite(distances).all()
        assert (distances.max() > 0) == (spread > 0)


def test_a_region_of_another_pattern_stands_out(monkeypatch, pattern):
    monkeypatch.setattr(blind, "COMPONENTS", 4)  # 32 need more windows than a test has time for
    monkeypatch.setattr(blind, "REPLICATES", 2)
    values, region = pattern
    found = blind.windows(values, np.full(values.shape, 0.5, np.float32))
    score = blind.to_pixels(blind.anomaly(found), found, values.shape)
    assert score.shape == values.shape and np.isfinite(score).all()
    assert roc_auc_score(region.ravel(), score.ravel()) > 0.9


def test_every_quality_from_51_has_a_file_of_known_digest():
    files = models.find("noiseprint").card.weights
    assert [file.name for file in files] == [f"noiseprint/model_qf{quality}.pth" for quality in range(101, 50, -1)]
    assert len({file.sha256 for file in files}) == 51


@pytest.mark.parametrize("grey", [False, True])
def test_localizes_at_the_image_size(small, photo, grey):
    score = models.build("noiseprint", weights=small).localize(photo(190, 230, grey))
    assert score.kind == "score" and score.values.shape == (190, 230)
    assert score.extras["quality"] == 101 and score.extras["network"] is None
    assert score.extras["noiseprint"].shape == (190, 230)


def test_scaled_maps_are_the_scores_between_their_extremes(monkeypatch, small, pattern):
    monkeypatch.setattr(blind, "COMPONENTS", 4)
    output = torch.from_numpy(pattern[0])[None, None]
    image = ForensicImage(np.full((*pattern[0].shape, 3), 128, np.uint8))
    plain, scaled = (models.build("noiseprint", weights=small, scaled=given) for given in (False, True))
    assert plain.identity() != scaled.identity()
    score = plain.postprocess(output, image).values
    found = scaled.postprocess(output, image)
    assert found.kind == "probability" and score.max() > score.min() + 1
    np.testing.assert_allclose(found.values, (score - score.min()) / (score.max() - score.min()), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (99, 200), (100, 100)])
def test_small_and_flat_images_are_not_applicable(small, photo, height, width):
    localizer = models.build("noiseprint", weights=small)
    with pytest.raises(NotApplicable, match=r"needs 100 pixels a side|textured windows"):
        localizer.localize(photo(height, width))
    with pytest.raises(NotApplicable, match="0 textured windows, 50 are needed"):
        localizer.localize(ForensicImage(np.full((200, 200, 3), 255, np.uint8)))


def test_the_network_of_the_image_quality_is_taken_from_the_folder(monkeypatch, tmp_path, small, photo):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    folder = tmp_path / "noiseprint"
    folder.mkdir()
    with pytest.raises(WeightsMissing, match=r"needs model_qf101\.pth .*noiseprint-pytorch.*non-profit"):
        models.build("noiseprint")
    torch.save(small, folder / "model_qf101.pth")
    torch.save(small | {"conv_layers.16.0.bias": torch.tensor([5.0])}, folder / "model_qf51.pth")
    localizer = models.build("noiseprint")
    assert localizer.identity() != models.build("noiseprint", weights=small).identity()
    plain = photo(180, 200)
    assert localizer.localize(plain).extras["network"] == 101
    strong = localizer.localize(ForensicImage.from_jpeg(encode_jpeg(plain.rgb, 40)))
    assert (strong.extras["quality"], strong.extras["network"]) == (40, 51)
    assert strong.extras["noiseprint"].mean() > localizer.localize(plain).extras["noiseprint"].mean() + 3
    with pytest.raises(WeightsMissing, match=r"needs model_qf80\.pth for JPEG quality 80"):
        localizer.localize(ForensicImage.from_jpeg(encode_jpeg(plain.rgb, 80)))
    torch.save({"weight": torch.zeros(2)}, folder / "model_qf101.pth")
    with pytest.raises(WeightsError, match=r"model_qf101\.pth does not fit Noiseprint.*another network"):
        models.build("noiseprint")
