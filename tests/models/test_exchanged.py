"""Networks in exchange formats: what goes in, what comes out, and what a wrong description says."""

import json
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from bench.cli import main
from models.exchanged import TEMPLATE, ExchangeError, network_input, read_description, score_map
from models.image import ForensicImage


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def photo(height: int = 20, width: int = 31) -> ForensicImage:
    return ForensicImage(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Tiny(nn.Module):
    """Two channels of logits at half the size of the input, an embedding, and by a flag in a dict."""

    def __init__(self, named: bool = False):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 2, 3, stride=2, padding=1)
        self.named = named

    def forward(self, x):
        logits = self.conv(x)
        return {"embedding": x.mean((2, 3)), "map": logits} if self.named else (logits, x.mean((2, 3)))


def scripted(path, network: nn.Module | None = None, text: str = 'size = "native"\nkind = "logit"\n'):
    """A TorchScript file with its description."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated; files in it remain
        traced = torch.jit.trace(network or Tiny(), torch.zeros(1, 3, 8, 8), strict=False)
        torch.jit.save(traced, str(path))
    describe(path, text)
    return path


def describe(path, text):
    path.with_name(path.name + ".toml").write_text(text)


def described(tmp_path, text):
    (tmp_path / "any.toml").write_text(text)
    return read_description(tmp_path / "any.toml")


def run(path, image=None):
    return models.build(f"torchscript:{path}").localize(image or photo())


def logits_of(x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return Tiny()(x)[0][0].numpy()


def test_the_template_is_a_description_and_holds_the_defaults(tmp_path):
    whole = described(tmp_path, TEMPLATE)
    short = described(tmp_path, 'size = "native"\nkind = "probability"\n')
    assert {**vars(whole), "text": b""} == {**vars(short), "text": b""}


def test_torchscript_at_native_size(tmp_path):
    text = """size = "native"
kind = "probability"
order = "bgr"
mean = [0.1, 0.2, 0.3]
std = [0.5, 0.4, 0.25]
activation = "softmax"
channel = 1
"""
    score = run(scripted(tmp_path / "net.pt", text=text))
    x = torch.from_numpy(photo().rgb[:, :, ::-1].copy()).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.4, 0.25])[:, None, None]
    forged = torch.from_numpy(logits_of(x)).softmax(0)[None, 1:]
    wanted = F.interpolate(forged, (20, 31), mode="bilinear", align_corners=False)[0, 0]
    assert score.kind == "probability" and score.values.shape == (20, 31)
    np.testing.assert_allclose(score.values, wanted, atol=1e-5)


def test_torchscript_at_a_fixed_size_and_sigmoid(tmp_path):
    text = 'size = [16, 24]\nkind = "probability"\nactivation = "sigmoid"\nscale = 127.5\nmean = 1\n'
    score = run(scripted(tmp_path / "net.pt", text=text))
    small = cv2.resize(photo().rgb, (24, 16), interpolation=cv2.INTER_LINEAR)
    x = torch.from_numpy(small).permute(2, 0, 1)[None] / 127.5 - 1
    wanted = cv2.resize(1 / (1 + np.exp(-logits_of(x)[0])), (31, 20), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(score.values, wanted, atol=1e-5)


def test_sides_are_extended_to_a_multiple_and_the_map_is_cut_back(tmp_path):
    how = described(tmp_path, 'size = 16\nkind = "score"\norder = "grey"\nscale = 1\n')
    x = network_input(photo().rgb, how)
    assert x.shape == (1, 1, 32, 32)
    grey = photo().rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(x[0, 0, :20, :31], grey, atol=1e-3)
    np.testing.assert_allclose(x[0, 0, 20:, :31], np.repeat(grey[-1:], 12, 0), atol=1e-3)
    assert np.array_equal(score_map(x, how, (20, 31)).values, x[0, 0, :20, :31])
    assert network_input(photo(16, 32).rgb, how).shape == (1, 1, 16, 32)


def test_channels_last_and_maps_without_channels(tmp_path):
    last = described(tmp_path, 'size = "native"\nkind = "score"\nlayout = "nhwc"\nchannel = 1\n')
    assert np.array_equal(network_input(photo().rgb, last)[0], photo().rgb / np.float32(255))
    output = np.random.default_rng(0).random((1, 5, 7, 2), np.float32)
    assert np.array_equal(score_map(output, last, (5, 7)).values, output[0, :, :, 1])
    assert np.array_equal(score_map(output[0], last, (5, 7)).values, output[0, :, :, 1])
    for layout in ("nchw", "nhwc"):
        how = described(tmp_path, f'size = "native"\nkind = "score"\nlayout = "{layout}"\n')
        for flat in (output[0, :, :, 0], output[:, :, :, 0]):
            assert np.array_equal(score_map(flat, how, (5, 7)).values, output[0, :, :, 0])


def test_an_output_is_chosen_by_number_or_name(tmp_path):
    plain = run(scripted(tmp_path / "net.pt")).values
    named = 'size = "native"\nkind = "logit"\noutput = {}\n'
    file = scripted(tmp_path / "named.pt", Tiny(named=True), named.format('"map"'))
    assert np.array_equal(run(file).values, plain)
    describe(file, named.format(1))
    assert np.array_equal(run(file).values, plain)
    describe(file, named.format('"mop"'))
    with pytest.raises(ExchangeError, match=r"named\.pt: there is no output 'mop'; it has 'embedding', 'map'"):
        run(file)
    describe(file, named.format(0))
    with pytest.raises(ExchangeError, match=r"named\.pt: the output is \(1, 3\), no map of one image"):
        run(file)
    describe(file, 'size = "native"\nkind = "logit"\noutput = "map"\nchannel = 2\n')
    with pytest.raises(ExchangeError, match="has 2 channels, none of number 2"):
        run(file)


def test_values_that_are_no_probabilities_are_refused(tmp_path):
    file = scripted(tmp_path / "net.pt", text='size = "native"\nkind = "probability"\nscale = 1\n')
    with pytest.raises(ExchangeError, match="are no probabilities; correct `activation` or `kind`"):
        run(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('size = "native"\nkind = "logit"\nactivaton = "none"', "unknown key 'activaton'; did you mean 'activation'"),
        ('size = "native"', "'kind' is missing; an example"),
        ('kind = "logit"', "'size' is missing"),
        ('size = "native"\nkind = "heat"', 'kind = \'heat\'; expected "probability" or "logit" or "score"'),
        ('size = [8]\nkind = "logit"', "size = "),
        ('size = 0\nkind = "logit"', "size = 0"),
        ('size = true\nkind = "logit"', "size = True"),
        ('size = 8\nkind = "logit"\nmean = [1, 2]', "mean has 2 numbers for 3 channels"),
        ('size = 8\nkind = "logit"\nstd = [1, 0, 1]', "std not 0"),
        ('size = 8\nkind = "logit"\nscale = 0', "a number above 0"),
        ('size = 8\nkind = "logit"\nscale = [2]', "a number above 0"),
        ('size = 8\nkind = "logit"\noutput = -1', "a name or a number from 0"),
        ('size = 8\nkind = "logit"\nchannel = 0.5', "a number from 0"),
        ("size =", "not TOML"),
    ],
)
def test_wrong_descriptions_are_explained(tmp_path, text, message):
    with pytest.raises(ExchangeError) as caught:
        described(tmp_path, text)
    assert message in str(caught.value) and "any.toml" in str(caught.value)


def test_missing_parts_are_explained(tmp_path):
    file = scripted(tmp_path / "net.pt")
    (tmp_path / "net.pt.toml").unlink()
    with pytest.raises(ExchangeError) as caught:
        run(file)
    assert "net.pt.toml is missing" in str(caught.value) and TEMPLATE in str(caught.value)
    with pytest.raises(ExchangeError, match=r"absent\.pt: cannot be read"):
        run(tmp_path / "absent.pt")
    file.write_bytes(b"no archive")
    describe(file, TEMPLATE)
    with pytest.raises(ExchangeError, match=r"net\.pt: no TorchScript"):
        run(file)
    with pytest.raises(models.WeightsMissing, match="torchscript:FILE"):
        models.build("torchscript")


def test_identity_is_that_of_the_bytes(tmp_path):
    def identity(file):
        return models.build(f"torchscript:{file}").identity()

    file = scripted(tmp_path / "net.pt")
    copy = tmp_path / "copy.pt"
    copy.write_bytes(file.read_bytes())
    describe(copy, (tmp_path / "net.pt.toml").read_text())
    first = identity(file)
    assert identity(copy) == first
    describe(copy, 'size = "native"\nkind = "score"\n')
    assert identity(copy) != first
    changed = Tiny()
    nn.init.zeros_(changed.conv.bias)
    assert identity(scripted(tmp_path / "net.pt", changed)) != first


def test_a_run_calls_the_network_by_its_file_name(tmp_path, photo_folder):
    file = scripted(tmp_path / "their-net.pt")
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    words = ["run", "--models", f"torchscript:{file},ela", "--data", data, "--perturbations", "identity"]
    assert main([*words, "--workers", "1", "--out", str(tmp_path / "run")]) == 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [m["name"] for m in about["models"]] == ["torchscript:their-net.pt", "ela"]
    assert about["models"][0]["title"] == "A network in TorchScript"
    assert str(tmp_path) not in about["request"]["models"] and about["cells"]["ok"] == 8


# ONNX


def onnx_file(path, text: str = 'size = "native"\nkind = "logit"\noutput = "map"\n'):
    """Tiny's convolution as an ONNX file, built by hand; its outputs are "other" and "map"."""
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    from onnx import TensorProto, helper, numpy_helper

    conv = Tiny().conv
    stored = [numpy_helper.from_array(getattr(conv, n).detach().numpy(), name=n) for n in ("weight", "bias")]
    nodes = [
        helper.make_node("Conv", ["x", "weight", "bias"], ["map"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Neg", ["map"], ["other"]),
    ]
    shape = [1, 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, "i", "j"]) for n in ("other", "map")],
        stored,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, str(path))
    describe(path, text)
    return path


def test_onnx_equals_torchscript(tmp_path):
    file = onnx_file(tmp_path / "net.onnx")
    wanted = run(scripted(tmp_path / "net.pt")).values
    found = models.build(f"onnx:{file}").localize(photo())
    np.testing.assert_allclose(found.values, wanted, atol=1e-5)
    describe(file, 'size = "native"\nkind = "logit"\n')
    np.testing.assert_allclose(models.build(f"onnx:{file}").localize(photo()).values, -wanted, atol=1e-5)


def test_unusable_onnx_files_are_explained(tmp_path):
    file = onnx_file(tmp_path / "net.onnx", 'size = "native"\nkind = "logit"\noutput = "mop"\n')
    with pytest.raises(ExchangeError, match="there is no output 'mop'; it has other, map"):
        models.build(f"onnx:{file}")
    file.write_bytes(b"no protobuf")
    with pytest.raises(ExchangeError, match=r"net\.onnx: onnxruntime cannot load it"):
        models.build(f"onnx:{file}")


def test_without_onnxruntime_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = tmp_path / "net.onnx"
    file.write_bytes(b"any")
    describe(file, TEMPLATE)
    with pytest.raises(ExchangeError, match="pip install onnxruntime"):
        models.build(f"onnx:{file}")
