"""HRNet's parts against computations of their own."""

import pytest
import torch
import torch.nn.functional as F

from models.convolution import ConvNorm
from models.deep.parts import hrnet


@pytest.fixture
def network(random_weights):
    def make(**form):
        made = hrnet.HRNet((4, 6, 8, 10), (1, 1, 1), 1, **form)
        made.load_state_dict(random_weights(made))
        return made.eval()

    return make


def test_layers_give_convolution_normalization_and_relu(random_weights):
    for rectified in (True, False):
        layer = ConvNorm(3, 5, 3, 2, bias=True, rectified=rectified)
        layer.load_state_dict(random_weights(layer))
        layer.eval()
        x = torch.randn(2, 3, 9, 12)
        conv, norm = layer
        expected = F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1)
        expected = (expected - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
        expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
        with torch.inference_mode():
            found = layer(x)
        torch.testing.assert_close(found, expected.relu() if rectified else expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("enlarge", ["bilinear", "corners", "nearest"])
def test_branches_are_summed_at_each_others_size(network, enlarge):
    module = network(enlarge=enlarge).stage3[0]
    features = [torch.randn(1, width, size, size + 4) for width, size in ((4, 16), (6, 8), (8, 4))]
    features = [x[..., : x.shape[2]] for x in features]
    with torch.inference_mode():
        own = [branch(x) for branch, x in zip(module.branches, features, strict=True)]
        fused = module(features)
        into_middle = module.fuse_layers[1]
        options = {} if enlarge == "nearest" else {"align_corners": enlarge == "corners"}
        mode = "nearest" if enlarge == "nearest" else "bilinear"
        coarse = F.interpolate(into_middle[2](own[2]), scale_factor=2, mode=mode, **options)
        expected = (into_middle[0](own[0]) + own[1] + coarse).relu()
    torch.testing.assert_close(fused[1], expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (37, 64)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_strides_of_the_branches(network, height, width, stem_stride):
    with torch.inference_mode():
        features = network(stem_stride=stem_stride)(torch.rand(1, 3, height, width))
    fine = stem_stride**2
    assert [f.shape[1] for f in features] == [4, 6, 8, 10]
    for i, feature in enumerate(features):
        stride = fine * 2**i
        assert feature.shape[2:] == (-(-height // stride), -(-width // stride))


def test_fewer_outputs_and_more_branches_from_the_start(network):
    with torch.inference_mode():
        assert len(network(outputs=1)(torch.rand(1, 3, 32, 32))) == 1
        wide = network(branches=(4, 4, 4))
        assert len(wide.transition1) == 4 and list(wide.transition2) == [None] * 4
        assert len(wide(torch.rand(1, 3, 32, 32))) == 4
