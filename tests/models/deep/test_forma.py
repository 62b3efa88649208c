"""ForMa with few thin layers, and the scan of VMamba."""

import cv2
import pytest
import torch
import torch.nn.functional as F

import models
from models.deep.parts import vmamba


@pytest.fixture
def thin(tiny_weights):
    return tiny_weights("forma")


@pytest.mark.parametrize("length", [1, 5, 8, 23, 64])
def test_chunks_of_a_recurrence_give_what_one_pass_gives(monkeypatch, length):
    monkeypatch.setattr(vmamba, "CHUNK", 8)
    decay, x = torch.rand(length, 2, 3), torch.randn(length, 2, 3)
    expected, h = [], torch.zeros(2, 3)
    for t in range(length):
        h = decay[t] * h + x[t]
        expected.append(h)
    torch.testing.assert_close(vmamba.linear_recurrence(decay, x), torch.stack(expected))


def test_scan_equals_a_loop_over_ways_and_positions():
    height, width, channels = 2, 3, 4
    layer = vmamba.SelectiveScan(channels)
    torch.nn.init.normal_(layer.A_logs)
    torch.nn.init.normal_(layer.Ds)
    torch.nn.init.normal_(layer.dt_projs_bias)
    x = torch.randn(1, height, width, channels)
    rows = [(i, j) for i in range(height) for j in range(width)]
    columns = [(i, j) for j in range(width) for i in range(height)]
    total = torch.zeros(height, width, channels)
    with torch.no_grad():
        seen = F.silu(layer.conv2d(layer.in_proj(x).permute(0, 3, 1, 2)))[0]
        for way, path in enumerate((rows, columns, rows[::-1], columns[::-1])):
            own = slice(way * channels, (way + 1) * channels)
            state = torch.zeros(channels)
            for i, j in path:
                value = seen[:, i, j]
                *rank, entry, exit_ = layer.x_proj_weight[way] @ value
                step = F.softplus(layer.dt_projs_weight[way] @ torch.stack(rank) + layer.dt_projs_bias[way])
                state = (-step * layer.A_logs[own, 0].exp()).exp() * state + step * entry * value
                total[i, j] += exit_ * state + layer.Ds[own] * value
        expected = layer.out_proj(layer.out_norm(total))
        torch.testing.assert_close(layer(x)[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 70), (33, 45), (64, 96)])
@pytest.mark.parametrize("grey", [False, True])
def test_localizes_images_of_any_size(thin, photo, height, width, grey):
    score = models.build("forma", weights=thin).localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1


def test_pixels_are_resized_to_a_square_and_the_map_back_by_nearest_neighbours(thin, photo):
    localizer, image = models.build("forma", weights=thin), photo(32, 48)
    with torch.inference_mode():
        square = cv2.resize(image.rgb, (64, 64))
        logits = localizer.network(torch.tensor(square.tolist()).permute(2, 0, 1)[None] / 255)
        share = (logits[0, 1] - logits[0, 0]).sigmoid().numpy()
    found = localizer.localize(image).values
    for row in range(32):
        for column in range(48):
            nearest = share[int((row + 0.5) * 16 / 32), int((column + 0.5) * 16 / 48)]
            assert found[row, column] == pytest.approx(nearest, abs=1e-6)
    assert found.std() > 0
