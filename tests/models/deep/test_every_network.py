"""What holds for every published network: bad checkpoints, odd images, images that do not fit into memory."""

import numpy as np
import pytest
import torch
from small_networks import SMALLER

import models
from models import WeightsError, WeightsMissing
from models.deep.localizer import NativeSizeLocalizer
from models.deep.noiseprint import blind
from models.deep.parts.tiles import Tiling
from models.image import ForensicImage, NotApplicable, encode_jpeg
from models.memory import Cost, MemoryLimitError

NETWORKS = sorted(SMALLER)
NATIVE = [name for name in NETWORKS if issubclass(models.find(name), NativeSizeLocalizer)]
# Networks whose weights are easily mistaken for each other's.
VARIANTS = [
    ("focal-hrnet", "focal-vit"),
    ("focal", "focal-vit"),
    ("hifi-net", "hifi-net-loc"),
    ("mantranet", "mantranet-keras"),
    ("mesorch", "mesorch-p"),
    ("mpc-catnet", "mpc-casia2"),
    ("trufor", "safire"),
]
SMALLEST = {"hifi-net-loc": 10, "noiseprint": blind.smallest_side()}


def test_every_network_takes_part():
    assert {card.name for card in models.cards() if "deep" in card.groups} == set(NETWORKS)
    assert set(NATIVE) == {
        *("catnet-v2", "hifi-net-loc", "mantranet", "mantranet-keras", "mmfusion", "pscc-net", "rru-net", "trufor")
    }


def first_of(weights: dict) -> dict:
    """The (first) state dict."""
    return next((value for value in weights.values() if isinstance(value, dict)), weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_bad_checkpoints_are_refused_with_their_name(name, small_weights, monkeypatch, tmp_path):
    weights, file = small_weights(name), tmp_path / "given.pth"
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsMissing, match="download it from http"):
        models.build(name)
    torch.save(weights, file)
    assert len(models.build(name, weights=file).weights_digest) >= 64
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"given\.pth: damaged, truncated or no checkpoint"):
        models.build(name, weights=file)
    file.write_bytes(b"<!DOCTYPE html><html>Download anyway?</html>")
    with pytest.raises(WeightsError, match=r"given\.pth: a web page and no checkpoint"):
        models.build(name, weights=file)
    state = first_of(weights)
    lost = next(iter(state))
    shape = state.pop(lost).shape
    with pytest.raises(WeightsError, match="1 missing, first"):
        models.build(name, weights=weights)
    state[lost] = torch.zeros(*shape, 2)
    with pytest.raises(WeightsError, match="1 misshapen, first"):
        models.build(name, weights=weights)


@pytest.mark.parametrize(("name", "other"), [*VARIANTS, *(pair[::-1] for pair in VARIANTS)])
def test_the_checkpoint_of_another_variant_is_refused(name, other, small_weights, tmp_path):
    given = small_weights(other)
    weights = small_weights(name)
    torch.save({"state_dict": given}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not fit .*likely cause"):
        models.build(name, weights=tmp_path / "other.pth")
    torch.save(weights, tmp_path / "own.pth")
    assert models.build(name, weights=tmp_path / "own.pth").network is not None


@pytest.mark.parametrize("name", NETWORKS)
def test_odd_images_have_a_map_or_do_not_apply(name, small_weights, photo):
    localizer = models.build(name, weights=small_weights(name))
    grey = photo(33, 47, grey=True)
    pixel = ForensicImage(np.full((1, 1, 3), 200, np.uint8))
    flat = ForensicImage(np.zeros((40, 34, 3), np.uint8))
    for image in (grey, pixel, flat, photo(2, 70), ForensicImage.from_jpeg(encode_jpeg(grey.rgb, 70))):
        if min(image.shape) < SMALLEST.get(name, 1):
            with pytest.raises(NotApplicable, match="pixels a side"):
                localizer.localize(image)
            continue
        score = localizer.localize(image)
        assert score.values.shape == image.shape and np.isfinite(score.values).all()
        if score.kind == "probability":
            assert score.values.min() >= 0 and score.values.max() <= 1


@pytest.mark.parametrize("name", NATIVE)
def test_a_photo_that_does_not_fit_is_seen_in_tiles_and_the_result_says_so(name, small_weights, photo, monkeypatch):
    weights, image = small_weights(name), photo(120, 150)
    monkeypatch.setattr(models.find(name), "cost", Cost(per_pixel=1000))
    enough, less, too_little = (models.build(name, weights=weights, memory_gb=gb) for gb in (0.04, 0.0179, 0.001))
    whole = enough.localize(image)
    assert whole.extras["seen"] == "whole" and whole.extras["budget_gb"] == 0.04
    if less.tiling is None:
        with pytest.raises(MemoryLimitError, match=rf"{name} needs 0\.0\d+ GB .* tiles would not give the same"):
            less.localize(image)
        return
    monkeypatch.setattr(models.find(name), "tiling", Tiling(128, 32))
    tiled = less.localize(image)
    assert tiled.extras["seen"] == "tiles 128x128, overlap 64" and tiled.extras["whole_gb"] == 0.02
    assert tiled.values.shape == image.shape and np.isfinite(tiled.values).all()
    assert (tiled.image_score is None) == (whole.image_score is None)
    np.testing.assert_array_equal(less.localize(image).values, tiled.values)
    assert less.identity() != enough.identity()
    with pytest.raises(MemoryLimitError, match=rf"{name} needs 0\.0\d+ GB for 15. x 120 pixels even in tiles of 128"):
        too_little.localize(image)
    small = photo(32, 32)
    assert less.localize(small).extras["seen"] == "whole"
