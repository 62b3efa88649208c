"""ManTra-Net: the localizers with narrow networks, patches, and the authors' Keras file."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from models import WeightsError
from models.deep import mantranet
from models.deep.parts.manipulation_trace import mirrored
from models.deep.parts.srm import by_channel
from models.deep.parts.tiles import Tiling
from models.image import ForensicImage
from models.memory import Cost, MemoryPolicy
from models.network import to_tensor


@pytest.fixture
def localizer(tiny_weights):
    return models.build("mantranet", weights=tiny_weights("mantranet"))


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (7, 40, True), (61, 33, False)])
def test_localizes_images_of_any_size(localizer, photo, height, width, grey):
    score = localizer.localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1
    assert score.extras["seen"] == "whole"


def test_a_flat_image_has_a_map(localizer):
    score = localizer.localize(ForensicImage(np.full((20, 20, 3), 9, np.uint8)))
    assert np.isfinite(score.values).all()


@pytest.mark.parametrize("name", ["mantranet", "mantranet-keras"])
def test_patches_and_tiles_give_the_map_of_the_whole(monkeypatch, tiny_weights, photo, name):
    network = models.build(name, weights=tiny_weights(name)).network.double()
    x = to_tensor(photo(175, 70).rgb, 1).double()
    with torch.inference_mode():
        whole = network(x)
        in_tiles = network(x, Tiling(160, 64))
        monkeypatch.setattr(mantranet, "PATCH", 32)
        patched = network(x)
    assert whole.max() - whole.min() > 1e-2
    torch.testing.assert_close(patched, whole, atol=1e-10, rtol=0)
    torch.testing.assert_close(in_tiles, whole, atol=1e-10, rtol=0)


def test_features_that_do_not_fit_are_not_kept(monkeypatch, tiny_weights, photo):
    weights = tiny_weights("mantranet")
    monkeypatch.setattr(mantranet.ManTraNetPort, "memory", MemoryPolicy(Cost(per_pixel=1000), Tiling(160, 64)))
    image = photo(200, 170)
    whole, tiled = (models.build("mantranet", weights=weights, memory_gb=gb).localize(image) for gb in (1, 0.03))
    assert whole.extras["seen"] == "whole" and tiled.extras["seen"] == "tiles 160x160, overlap 128"
    np.testing.assert_allclose(tiled.values, whole.values, atol=1e-5)


def test_images_are_continued_as_numpy_does():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(mirrored(x, 2)[0, 0], np.pad(x[0, 0].numpy(), 2, "symmetric"))
    one = torch.ones(1, 1, 1, 1)
    np.testing.assert_array_equal(mirrored(one, 2)[0, 0], np.ones((5, 5)))


def test_window_means_count_pixels_inside_the_image_alone():
    x = torch.rand(1, 2, 9, 12)
    whole_window = F.avg_pool2d(x, 7, 1, 3, count_include_pad=False)
    torch.testing.assert_close(mantranet._window_mean(x, 7), whole_window)


def test_filters_of_the_first_layer_see_one_channel_each():
    ramp = torch.zeros(1, 3, 5, 5)
    ramp[:, 1] = torch.arange(5.0) ** 2  # second difference 2 along rows of the green channel
    answers = F.conv2d(ramp, by_channel())[0, :, 0, 0]
    np.testing.assert_allclose(answers.reshape(3, 3), [[0, 0, 0], [0, 0, 0], [0, 1, 0]], atol=1e-6)


def test_tensors_of_the_keras_file_are_taken_over(tiny_weights, photo):
    tiny_weights("mantranet")
    weights = tiny_weights("mantranet-keras")
    weights["IMTFE.SRMConv2D.weight"] = by_channel()
    keras = in_keras_layout(weights)
    converted = mantranet.from_keras(keras)
    assert converted.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(converted[name], value)
    score = models.build("mantranet-keras", weights=converted).localize(photo(20, 24))
    port = {name: value for name, value in converted.items() if "bnorm" not in name}
    other = models.build("mantranet", weights=port).localize(photo(20, 24))
    assert np.abs(score.values - other.values).max() > 1e-4  # stored statistics are not those of the image


def in_keras_layout(weights):
    """What the authors' file would hold, by their names: kernels (height, width, in, out)."""
    detector, trace = "AnomalyDetector.", "IMTFE."
    gates = weights[detector + "conv_lstm.cell_list.0.conv.weight"].permute(2, 3, 1, 0)
    names = ["b1c2", "b2c1", "b2c2", "b3c1", "b3c2", "b3c3", "b4c1", "b4c2", "b4c3", "b5c1", "b5c2", "transform"]
    keras = {
        "b1c1/regular_kernel": weights[trace + "init_conv.weight"].permute(2, 3, 1, 0),
        "b1c1/bayar_kernel": weights[trace + "BayarConv2D.weight"].permute(2, 3, 1, 0),
        "outlierTrans/kernel": weights[detector + "adaptation.weight"].permute(2, 3, 1, 0),
        "bnorm/moving_mean": weights[detector + "bnorm.running_mean"],
        "bnorm/moving_variance": weights[detector + "bnorm.running_var"],
        "glbStd/min_std": weights[detector + "sigma_F"].reshape(1, 1, 1, -1),
        "cLSTM/kernel": gates[:, :, :4],
        "cLSTM/recurrent_kernel": gates[:, :, 4:],
        "cLSTM/bias": weights[detector + "conv_lstm.cell_list.0.conv.bias"],
        "pred/kernel": weights[detector + "end.0.weight"].permute(2, 3, 1, 0),
        "pred/bias": weights[detector + "end.0.bias"],
    }
    for i, name in enumerate(names):
        keras[f"{name}/kernel"] = weights[f"{trace}middle_and_last_block.{2 * i}.weight"].permute(2, 3, 1, 0)
        keras[f"{name}/bias"] = weights[f"{trace}middle_and_last_block.{2 * i}.bias"]
    return keras


def test_keras_files_of_any_nesting_are_read(tmp_path, tiny_weights):
    h5py = pytest.importorskip("h5py")
    weights = tiny_weights("mantranet-keras")
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        for name, value in in_keras_layout(weights).items():
            file[f"model_weights/sigNet/Featex/{name}:0"] = value.numpy()
        file["optimizer_weights/b1c2/bias:0"] = np.zeros(1)
    localizer = models.build("mantranet-keras", weights=path)
    name = "IMTFE.middle_and_last_block.0.bias"
    torch.testing.assert_close(localizer.network.state_dict()[name], weights[name])
    assert len(localizer.weights_digest) == 64
    with h5py.File(path, "a") as file:
        del file["model_weights/sigNet/Featex/pred/bias:0"]
    with pytest.raises(WeightsError, match=r"weights\.h5: it has no tensor 'pred/bias'"):
        models.build("mantranet-keras", weights=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"weights\.h5: damaged, truncated or no Keras file"):
        models.build("mantranet-keras", weights=path)


def test_without_h5py_a_keras_file_is_refused_with_the_fix(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(WeightsError, match=r"w\.h5: .*pip install h5py"):
        models.build("mantranet-keras", weights=tmp_path / "w.h5")
