"""IML-ViT: its attention and windows against slow ones, and the localizer with a small, narrow network."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from models.deep import iml_vit
from models.deep.parts import vit
from models.deep.parts.layer_norm import MapLayerNorm
from models.image import ForensicImage


@pytest.fixture
def narrow(tiny_weights):
    return tiny_weights("iml-vit")


@pytest.fixture
def localizer(narrow):
    return models.build("iml-vit", weights=narrow)


def attention_by_loops(attention: vit.Attention, x: torch.Tensor) -> torch.Tensor:
    """One head, one map: every pair of positions by itself."""
    side, width = x.shape[1], x.shape[3]
    places = [(row, column) for row in range(side) for column in range(side)]
    query, key, value = attention.qkv(x[0].flatten(0, 1)).split(width, 1)
    weight = torch.empty(len(places), len(places))
    for i, (row, column) in enumerate(places):
        for j, (other_row, other_column) in enumerate(places):
            by_row = attention.rel_pos_h[row - other_row + side - 1]
            by_column = attention.rel_pos_w[column - other_column + side - 1]
            weight[i, j] = query[i] @ key[j] / width**0.5 + query[i] @ by_row + query[i] @ by_column
    return attention.proj(weight.softmax(1) @ value).view(1, side, side, width)


@pytest.mark.parametrize("values_at_once", [1, 2**24])
def test_attention_equals_a_loop_over_pairs(monkeypatch, random_weights, values_at_once):
    monkeypatch.setattr(vit, "BIAS_VALUES_AT_ONCE", values_at_once)
    attention = vit.Attention(8, 1, 5)
    attention.load_state_dict(random_weights(attention))
    x = torch.randn(1, 5, 5, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(attention(x), attention_by_loops(attention, x), rtol=1e-4, atol=1e-5)


def test_windows_are_cut_from_the_upper_left_and_padded_with_zeros():
    x = torch.arange(1.0, 1 + 5 * 7).view(1, 5, 7, 1)
    seen = []

    def record(windows):
        seen.extend(windows)
        return windows + 100

    torch.testing.assert_close(vit.in_windows(x, 3, record), x + 100)
    padded = F.pad(x, (0, 0, 0, 2, 0, 1))[0]
    expected = [padded[r : r + 3, c : c + 3] for r in (0, 3) for c in (0, 3, 6)]
    assert len(seen) == 6 and all(torch.equal(ours, theirs) for ours, theirs in zip(seen, expected, strict=True))


def test_a_map_is_normalized_over_its_channels():
    x = torch.randn(1, 6, 2, 3, generator=torch.Generator().manual_seed(2))
    ours = MapLayerNorm(6)(x)
    torch.testing.assert_close(ours.mean(1), torch.zeros(1, 2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.var(1, correction=0), torch.ones(1, 2, 3), atol=1e-4, rtol=0)


def test_input_is_padded_with_black_before_it_is_normalized(localizer, photo):
    image, seen = photo(40, 64), []
    padded = cv2.copyMakeBorder(image.rgb, 0, 24, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    expected = (padded / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    localizer.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].permute(1, 2, 0)))
    localizer.localize(image)
    np.testing.assert_allclose(seen[0], expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (9, 40, True), (64, 64, False)])
def test_localizes_images_that_fit(localizer, photo, height, width, grey):
    score = localizer.localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width) and score.extras == {"tiles": 1}
    assert score.values.min() >= 0 and score.values.max() <= 1


def test_the_map_is_the_networks_at_four_times_the_size(localizer, photo):
    image = photo(50, 64)
    with torch.inference_mode():
        (logits,) = localizer.forward(localizer.preprocess(image))
    assert logits.shape == (1, 1, 16, 16)
    # Half-pixel centres and repeated borders are what OpenCV's resize has too.
    enlarged = cv2.resize(logits[0, 0].numpy(), (64, 64), interpolation=cv2.INTER_LINEAR)
    values = localizer.localize(image).values
    np.testing.assert_allclose(values, 1 / (1 + np.exp(-enlarged[:50])), atol=1e-5)
    assert np.ptp(values) > 1e-3


def test_larger_images_are_covered_by_tiles_whose_maps_are_averaged(localizer, photo):
    image = photo(64, 100)
    score = localizer.localize(image)
    left, right = (localizer.localize(ForensicImage(image.rgb[:, part])).values for part in (np.s_[:64], np.s_[36:]))
    assert score.values.shape == (64, 100) and score.extras == {"tiles": 2}
    np.testing.assert_allclose(score.values[:, :36], left[:, :36], atol=1e-6)
    np.testing.assert_allclose(score.values[:, 36:64], (left[:, 36:] + right[:, :28]) / 2, atol=1e-6)
    np.testing.assert_allclose(score.values[:, 64:], right[:, 28:], atol=1e-6)


@pytest.mark.parametrize("length", [1, 1024, 1025, 2048, 2049, 4000])
def test_tiles_cover_every_pixel_and_are_as_few_as_can_be(length):
    starts = iml_vit.tile_starts(length, 1024)
    covered = {pixel for start in starts for pixel in range(start, min(start + 1024, length))}
    assert covered == set(range(length)) and len(starts) == -(-length // 1024)
    assert starts[-1] + 1024 == max(length, 1024)
