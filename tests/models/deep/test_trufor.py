"""TruFor with thin transformers, and the parts that it shares with other networks."""

import numpy as np
import pytest
import torch

import models
from models.deep import trufor
from models.deep.parts import cmx, dncnn, mit
from models.deep.parts.imagenet import normalized
from models.deep.parts.padding import at_least


@pytest.fixture
def thin(tiny_weights):
    return tiny_weights("trufor")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 70), (33, 45), (64, 96)])
@pytest.mark.parametrize("grey", [False, True])
def test_localizes_images_of_any_size(thin, photo, height, width, grey):
    score = models.build("trufor", weights=thin).localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1 and 0 < score.image_score < 1
    assert score.extras["confidence"].shape == score.extras["noiseprint"].shape == (height, width)
    assert score.extras["confidence"].min() >= 0 and score.extras["confidence"].max() <= 1
    assert score.extras["padded"] == (min(height, width) < 32)


def test_pixels_are_divided_by_256_and_in_rgb_order(thin, photo):
    localizer, image = models.build("trufor", weights=thin), photo(32, 40)
    with torch.inference_mode():
        x = torch.tensor(image.rgb.tolist()).permute(2, 0, 1)[None] / 256
        found = localizer.network(x)
        share = (found.logits[0, 1] - found.logits[0, 0]).sigmoid()
    score = localizer.localize(image)
    np.testing.assert_allclose(score.values, share, atol=1e-6)
    assert score.image_score == pytest.approx(1 / (1 + np.exp(-found.detection.item())), abs=1e-6)
    assert score.values.std() > 0


def test_a_large_image_seen_in_patches_gives_what_the_whole_gives(monkeypatch, thin, photo):
    localizer, image = models.build("trufor", weights=thin), photo(90, 130)
    whole = localizer.localize(image)
    monkeypatch.setattr(dncnn, "PATCH_SIDE", 40)
    monkeypatch.setattr(mit, "STRIP", 100)
    monkeypatch.setattr(cmx, "PATCH", 8)
    seen = localizer.localize(image)
    spread = whole.extras["noiseprint"].std()
    np.testing.assert_allclose(seen.extras["noiseprint"], whole.extras["noiseprint"], atol=1e-4 * spread)
    np.testing.assert_allclose(seen.values, whole.values, atol=1e-5)


def test_head_equals_projecting_enlarging_and_joining_all_levels():
    fuse = mit.ConvNorm(4 * 6, 6)
    head = mit.SegFormerHead((3, 4, 5, 7), 6, 2, fuse).eval()
    features = [torch.randn(1, width, 16 // 2**i, 24 // 2**i) for i, width in enumerate((3, 4, 5, 7))]
    with torch.no_grad():
        levels = [
            torch.nn.functional.interpolate(
                getattr(head, f"linear_c{i}").proj(x.movedim(1, 3)).movedim(3, 1), (16, 24), mode="bilinear"
            )
            for i, x in enumerate(features, 1)
        ]
        expected = head.linear_pred(fuse(torch.cat(levels[::-1], 1)))
        torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-4)


def test_normalizations_have_the_epsilons_of_the_released_network():
    found = {name: module.eps for name, module in trufor.TruFor.tiny().named_modules() if hasattr(module, "eps")}
    fine = [n for n in found if n.startswith("backbone") and n.rsplit(".", 1)[1][:4] in ("norm", "extr")]
    fine = [n for n in fine if not any(part in n for part in ("patch_embed", "attn", "FFMs"))]
    assert len(fine) == 2 * (4 + 2 * 4)  # of both branches: after each stage, and two in each of four layers
    for name, eps in found.items():
        assert eps == (1e-6 if name in fine else 1e-3 if name.startswith("decode_head.") else 1e-5), name


def test_one_row_of_a_small_image_is_repeated():
    rgb = np.arange(2 * 40 * 3, dtype=np.uint8).reshape(2, 40, 3)
    padded = at_least(rgb, 5)
    np.testing.assert_array_equal(padded[:2], rgb)
    np.testing.assert_array_equal(padded[2:], np.repeat(rgb[1:], 3, 0))
    assert at_least(rgb, 2) is rgb


def test_reduced_attention_equals_a_loop_over_heads():
    layer = mit.Attention(8, 2, 2)
    x = torch.randn(1, 4 * 6, 8)
    with torch.no_grad():
        windows = x[0].reshape(2, 2, 3, 2, 8)  # rows of windows, row in one, columns of windows, column in one
        kernel = layer.sr.weight.permute(2, 3, 1, 0)
        pooled = torch.einsum("ipjqc,pqcd->ijd", windows, kernel).reshape(6, 8) + layer.sr.bias
        key_value = layer.kv(layer.norm(pooled))
        query, mixed = layer.q(x[0]), []
        for head in (slice(0, 4), slice(4, 8)):
            share = (query[:, head] @ key_value[:, :8][:, head].T / 2).softmax(1)
            mixed.append(share @ key_value[:, 8:][:, head])
        expected = layer.proj(torch.cat(mixed, 1))
        torch.testing.assert_close(layer(x, 4, 6)[0], expected, atol=1e-5, rtol=1e-4)


def test_statistics_of_a_map_are_weighted():
    x, weights = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.5, 0.25, 0.25])
    found = cmx.weighted_statistics(x.reshape(1, 1, 1, 3), (weights.log() + 7).reshape(1, 1, 1, 3))[0]
    soft_low = -torch.log((weights * torch.exp(-x)).sum())
    soft_high = torch.log((weights * torch.exp(x)).sum())
    torch.testing.assert_close(found, torch.stack([soft_low, soft_high, torch.tensor(2.0), torch.tensor(5.5)]))
    torch.testing.assert_close(cmx.weighted_statistics(x.reshape(1, 1, 1, 3))[0, 2], x.mean())


def test_imagenet_normalization_of_its_mean_is_zero():
    colours = torch.tensor([[0.485, 0.456, 0.406], [0.485 + 0.229, 0.456 + 0.224, 0.406 + 0.225]])
    torch.testing.assert_close(normalized(colours[:, :, None, None])[:, :, 0, 0], torch.tensor([[0.0] * 3, [1.0] * 3]))
