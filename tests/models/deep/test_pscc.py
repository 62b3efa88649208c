"""PSCC-Net: attention against plain loops, the localizer, and weights that come in three files."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from models import WeightsError, WeightsMissing
from models.deep import pscc
from models.deep.parts import hrnet
from models.deep.parts.tiles import Tiling


@pytest.fixture
def narrow(tiny_weights):
    return tiny_weights("pscc-net")


def test_mask_attention_equals_attention_position_by_position(random_weights):
    layer = pscc.MaskAttention(channels=2, fold=2)
    layer.load_state_dict(random_weights(layer))
    x = torch.randn(1, 2, 4, 6)
    with torch.inference_mode():
        rows = x.flatten().view(8, 6).T  # (positions, 2 * 2 * 2), the memory as it lies
        g, theta, phi = (rows @ conv.weight[:, :, 0, 0].T + conv.bias for conv in (layer.g, layer.theta, layer.phi))
        by_position = torch.empty(6, 8)
        for i in range(6):
            likeness = torch.tensor([float(theta[i] @ phi[j]) for j in range(6)])
            by_position[i] = sum(weight * g[j] for j, weight in enumerate(likeness.softmax(0)))
        by_channel = torch.zeros(6, 8)
        for c in range(8):
            likeness = torch.tensor([float(theta[:, c] @ phi[:, d]) for d in range(8)])
            by_channel += torch.outer(g[:, c], likeness.softmax(0))
        mixed = x + layer.gamma_s * layer.W_s(by_position.T.reshape(1, 2, 4, 6))
        mixed = mixed + layer.gamma_c * layer.W_c(by_channel.reshape(1, 2, 4, 6))
        torch.testing.assert_close(layer(x), layer.getmask(mixed).sigmoid(), atol=1e-5, rtol=1e-4)


def test_each_mask_gates_the_next_finer_features(narrow):
    head = pscc.PSCCNet.tiny().eval().localization
    pyramid = [torch.rand(1, width, 64 >> level, 64 >> level) for level, width in enumerate((3, 4, 5, 6))]
    with torch.inference_mode():
        masks = head(pyramid)
        coarse = head.getmask4(pyramid[3])
        gate = F.interpolate(coarse, (16, 16), mode="bilinear", align_corners=True)
        torch.testing.assert_close(masks[2], head.getmask3(pyramid[2] * gate))
    assert [mask.shape[2] for mask in masks] == [64, 32, 16, 8]


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (5, 30, True), (41, 33, False)])
def test_localizes_images_of_any_size(narrow, photo, height, width, grey):
    localizer = models.build("pscc-net", weights=narrow)
    image = photo(height, width, grey)
    score = localizer.localize(image)
    x = torch.from_numpy(image.rgb / np.float32(255)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        masks, logits = localizer.network(x)
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1
    assert score.image_score == pytest.approx(float(logits[0].softmax(0)[1]), abs=1e-6)
    if min(height, width) > 1:  # corners are aligned
        assert score.values[0, 0] == pytest.approx(float(masks[0][0, 0, 0, 0]), abs=1e-6)
        assert score.values[-1, -1] == pytest.approx(float(masks[0][0, 0, -1, -1]), abs=1e-6)


@pytest.mark.parametrize("height", [41, 64])
def test_strips_give_what_the_whole_image_gives(narrow, monkeypatch, height):
    features = pscc.PSCCNet.tiny().eval().features
    own = {k.removeprefix("features."): v for k, v in narrow.items() if k.startswith("features.")}
    features.load_state_dict(own)
    x = torch.rand(1, 3, height, 30)
    with torch.inference_mode():
        whole = features(x)
        monkeypatch.setattr(hrnet, "STRIP_PIXELS", 16 * 30)
        calls = []
        stem = features.stem
        monkeypatch.setattr(features, "stem", lambda strip, place: (calls.append(strip.shape[2]), stem(strip))[1])
        in_strips = features(x)
    assert len(calls) == -(-height // 16) and max(calls) == min(height, 3 * 16)
    for a, b in zip(whole, in_strips, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(405, 50), (43, 398)])
def test_tiles_give_the_maps_of_the_whole(narrow, photo, height, width):
    network = models.build("pscc-net", weights=narrow).network
    x = torch.from_numpy(photo(height, width).rgb / np.float32(255)).permute(2, 0, 1)[None]
    margin = pscc.PSCCNetLocalizer.memory.tiling.margin
    with torch.inference_mode():
        whole, logits = network(x)
        tiled, tiled_logits = network(x, Tiling(2 * margin + 64, margin))
        near = hrnet.head_features(network.features, x, 64, Tiling(96, 32))
        far = hrnet.head_features(network.features, x, 64)
    assert whole[0].std() > 1e-3
    for a, b in zip(whole, tiled, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=0)
    torch.testing.assert_close(tiled_logits, logits, atol=1e-4, rtol=1e-4)
    assert (near[0] - far[0]).abs().max() > 1e-3 * far[0].std()  # what the margin is needed for


def test_three_files_from_the_weights_folder_or_another_one(narrow, photo, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    folder = tmp_path / "pscc_net"
    folder.mkdir()
    parts = {"features": "HRNet.pth", "localization": "NLCDetection.pth", "detection": "DetectionHead.pth"}
    for part, name in parts.items():
        with pytest.raises(WeightsMissing, match=rf"pscc-net needs pscc_net/{name}.*github\.com"):
            models.build("pscc-net")
        own = {f"module.{k.removeprefix(part + '.')}": v for k, v in narrow.items() if k.startswith(part + ".")}
        torch.save(own, folder / name)
    registered, elsewhere = models.build("pscc-net"), models.build("pscc-net", weights=folder)
    whole = models.build("pscc-net", weights=narrow)
    assert registered.weights_digest == elsewhere.weights_digest
    image = photo(20, 20)
    for localizer in (registered, elsewhere):
        np.testing.assert_array_equal(localizer.localize(image).values, whole.localize(image).values)
    (folder / "HRNet.pth").write_bytes((folder / "DetectionHead.pth").read_bytes())
    with pytest.raises(WeightsError, match=r"HRNet\.pth does not fit FullSizeHRNet.*another network"):
        models.build("pscc-net")
