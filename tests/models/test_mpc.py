"""The MPC network, its checkpoints and its localizers."""

import math
import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from models import convolution
from models.checkpoint import read_checkpoint, save_checkpoint
from models.device import DeviceError, compute_device
from models.image import ForensicImage
from models.mpc import backbone
from models.mpc.network import MPC


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def network(form="small", head="catnet", drop_path=0.2) -> MPC:
    """A network whose normalizations do something: their statistics and coefficients are random."""
    torch.manual_seed(0)
    made = MPC(form, head, drop_path)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return made.eval()


@pytest.fixture(scope="module")
def small():
    return network()


@pytest.fixture
def saved(tmp_path, small):
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, small, {"backbone": "small", "head": "catnet", "input_size": 96})
    return path


def photo(height, width, seed=0) -> ForensicImage:
    return ForensicImage(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("head", "parameters", "tensors"), [("catnet", 45_035_227, 2264), ("casia2", 45_043_547, 2271)]
)
def test_base_has_the_released_number_of_parameters_and_tensors(head, parameters, tensors):
    with torch.device("meta"):
        made = MPC("base", head)
    assert sum(p.numel() for p in made.parameters()) == parameters
    assert len(made.state_dict()) == tensors


def test_stochastic_depth_grows_linearly_over_the_fourteen_depths():
    with torch.device("meta"):
        made = MPC("small", drop_path=0.2)
    rates = [m.probability for m in made.encoder.modules() if isinstance(m, backbone.DropPath)]
    assert sum(rate > 0 for rate in rates) == 42  # the count in the released network
    assert sorted(set(rates)) == pytest.approx(list(np.linspace(0, 0.2, 14)))


def test_unknown_backbone_and_head_are_named():
    with pytest.raises(ValueError, match="unknown HRFormer variant 'large'; known: tiny, small, base"):
        MPC("large")
    with pytest.raises(ValueError, match="unknown MPC head 'coco'; known: catnet, casia2"):
        MPC("small", "coco")


def test_window_attention_equals_a_loop_over_windows_and_heads():
    torch.manual_seed(0)
    channels, heads, height, width = 8, 2, 9, 15
    layer = backbone.LocalAttention(channels, heads)
    torch.nn.init.normal_(layer.attn.relative_position_bias_table)
    x = torch.randn(1, height, width, channels)
    padded = torch.zeros(14, 21, channels)
    padded[2:11, 3:18] = x[0]  # 5 rows and 6 columns are spare, the smaller half first
    expected = torch.zeros_like(padded)
    at = layer.attn
    table = at.relative_position_bias_table.view(13, 13, heads)
    for top in (0, 7):
        for left in (0, 7, 14):
            window = padded[top : top + 7, left : left + 7].reshape(49, channels)
            q, k, v = at.q_proj(window), at.k_proj(window), at.v_proj(window)
            mixed = []
            for head in range(heads):
                part = slice(head * 4, head * 4 + 4)
                scores = q[:, part] @ k[:, part].T / 4**0.5
                for i in range(49):
                    for j in range(49):
                        scores[i, j] += table[i // 7 - j // 7 + 6, i % 7 - j % 7 + 6, head]
                mixed.append(scores.softmax(1) @ v[:, part])
            expected[top : top + 7, left : left + 7] = at.out_proj(torch.cat(mixed, 1)).view(7, 7, channels)
    torch.testing.assert_close(layer(x)[0], expected[2:11, 3:18], atol=1e-5, rtol=1e-4)


def test_attention_in_bfloat16_is_that_of_float32_to_its_digits():
    torch.manual_seed(0)
    layer = backbone.LocalAttention(24, 3)
    torch.nn.init.normal_(layer.attn.relative_position_bias_table)
    x = torch.randn(2, 9, 15, 24)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 2**-7 * exact.abs().max()  # bfloat16 has 8 bits


@pytest.mark.parametrize(("height", "width"), [(96, 128), (50, 75)])
def test_inference_gives_what_the_layers_one_by_one_give(small, height, width):
    x = torch.rand(2, 3, height, width)
    with torch.enable_grad():
        plain = small.decoder.classifier(small.fuse(small.encoder(x))).detach()
    with torch.inference_mode():
        fast, by_parts = small(x), small.decoder(small.fuse(small.encoder(x)))
    torch.testing.assert_close(fast, plain, atol=1e-4 * plain.std().item(), rtol=0)
    torch.testing.assert_close(by_parts, plain, atol=1e-4 * plain.std().item(), rtol=0)


def test_inference_without_onednn_gives_the_same(small, monkeypatch):
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        fused = small(x)
        monkeypatch.setattr(convolution, "fused_convolution", lambda dtype: None)
        separate = small(x)
    torch.testing.assert_close(fused, separate, atol=1e-4 * fused.std().item(), rtol=0)


@pytest.mark.parametrize("shape", [(3, 5, 24), (7, 24), (1, 24)])
def test_linear_gives_what_pytorch_gives(shape):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(10, 24), torch.randn(10)
    expected = x.double() @ weight.double().T + bias.double()
    with torch.inference_mode():
        torch.testing.assert_close(convolution.linear(x, weight, bias).double(), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(convolution.linear(x.double(), weight.double(), bias.double()), expected)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert convolution.linear(x, weight, bias).dtype == torch.bfloat16
    weight.requires_grad_()
    convolution.linear(x, weight, bias).sum().backward()
    assert weight.grad is not None and weight.grad.shape == weight.shape


def test_double_precision_agrees(small):
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        single, double = small(x), network().double()(x.double())
    torch.testing.assert_close(single.double(), double, atol=1e-4 * single.std().item(), rtol=0)


def test_shapes_and_strides_of_the_four_scales(small):
    with torch.inference_mode():
        features = small.encoder(torch.rand(1, 3, 96, 160))
        fused = small.fuse(features)
    assert [tuple(f.shape) for f in features] == [(1, 256, 96 // s, 160 // s) for s in (4, 8, 16, 32)]
    assert fused.shape == (1, 1024, 24, 40)
    expected = F.interpolate(features[2], (24, 40), mode="bilinear", align_corners=True)
    torch.testing.assert_close(fused[:, 512:768], expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (33, 7)])
def test_images_smaller_than_the_stride_pass(small, height, width):
    with torch.inference_mode():
        logits = small(torch.rand(1, 3, height, width))
    assert logits.shape == (1, 1, -(-height // 4), -(-width // 4))
    assert torch.isfinite(logits).all()


def test_two_passes_agree_in_evaluation_and_differ_in_training():
    made, x = network(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(made(x), made(x))
        made.train()
        assert not torch.equal(made.encoder(x)[0], made.encoder(x)[0])
    still = network(drop_path=0).train()
    with torch.no_grad():
        assert torch.equal(still.encoder(x)[0], still.encoder(x)[0])


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = backbone.DropPath(0.25).train()
    out = layer(torch.ones(4000, 3, 2))
    kept = out[:, 0, 0] > 0
    assert torch.equal(out, torch.where(kept, 1 / 0.75, 0.0)[:, None, None].expand_as(out))
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_every_parameter_of_the_encoder_and_the_head_is_trained():
    made = network(drop_path=0).train()
    made(torch.rand(2, 3, 64, 64)).square().mean().backward()
    without = [name for name, p in made.named_parameters() if p.grad is None]
    assert without == []


# Checkpoints


def test_saved_checkpoint_comes_back_within_half_precision(saved, small):
    checkpoint = read_checkpoint(saved)
    assert checkpoint.config == {"backbone": "small", "head": "catnet", "input_size": 96}
    assert saved.stat().st_size < 20e6
    for name, value in small.state_dict().items():
        back = checkpoint.tensors[name]
        assert back.dtype == value.dtype
        torch.testing.assert_close(back, value, atol=1e-7, rtol=2**-11 if value.ndim > 1 else 0)


def test_localizer_reads_backbone_head_and_input_size_from_the_checkpoint(tmp_path, saved):
    assert models.build("mpc", weights=saved).input_size == 96
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, network("small", "casia2"), {"head": "casia2", "input_size": 64})
    built = models.build("mpc", weights=path)
    assert (built.input_size, len(built.network.decoder.classifier)) == (64, 15)
    save_checkpoint(path, network(), {"input_size": "large"})
    with pytest.raises(models.WeightsError, match=r"other\.safetensors: its config names .* input size 'large'"):
        models.build("mpc", weights=path)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 51)])
def test_windows_are_averaged_with_the_photo(tmp_path, small, height, width):
    """Against the localizer without windows, applied to each window cut out, and a loop over the pixels."""
    path, image = tmp_path / "windows.safetensors", photo(height, width)
    save_checkpoint(path, small, {"input_size": 96, "windows": 0.75})
    alone, built = models.build("mpc", weights=small.state_dict()), models.build("mpc", weights=path)
    alone.network = built.network
    rows, columns = math.ceil(0.75 * height), math.ceil(0.75 * width)
    found = [[[] for _ in range(width)] for _ in range(height)]
    for top in (0, height - rows):
        for left in (0, width - columns):
            part = np.ascontiguousarray(image.rgb[top : top + rows, left : left + columns])
            values = alone.localize(ForensicImage(part)).values
            for y in range(rows):
                for x in range(columns):
                    found[top + y][left + x].append(values[y, x])
    expected = (alone.localize(image).values + np.array([[np.mean(v) for v in row] for row in found])) / 2
    np.testing.assert_allclose(built.localize(image).values, expected, atol=1e-6)
    assert {len(v) for row in found for v in row} == {1, 2, 4}
    assert (built.windows, alone.windows) == (0.75, 0)


@pytest.mark.parametrize("share", ["three", True, 0.4, 1.0])
def test_a_checkpoint_with_impossible_windows_is_refused(tmp_path, small, share):
    path = tmp_path / "windows.safetensors"
    save_checkpoint(path, small, {"windows": share})
    assert f"windows.safetensors: windows in its config is {share!r} and neither 0 nor from .5 to 1" in refusal(path)


def test_a_checkpoint_with_values_beyond_half_precision_is_not_saved(tmp_path):
    made = network()
    made.decoder.classifier[2].weight.data[0, 0] = 1e5
    with pytest.raises(models.WeightsError, match=r"decoder\.classifier\.2\.weight is not finite"):
        save_checkpoint(tmp_path / "x.safetensors", made, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_pytorch_files_are_read_bare_in_a_container_and_with_module_prefix(tmp_path, small, wrap):
    path = tmp_path / "w.pth"
    torch.save(wrap({"module." + name: value for name, value in small.state_dict().items()}), path)
    tensors = read_checkpoint(path).tensors
    assert list(tensors) == list(small.state_dict())
    assert all(torch.equal(tensors[name], value) for name, value in small.state_dict().items())


def test_digest_is_that_of_the_file_or_depends_on_names_and_bytes(saved):
    import hashlib

    assert models.build("mpc", weights=saved).weights_digest == hashlib.sha256(saved.read_bytes()).hexdigest()
    one, other = {"a": torch.zeros(2)}, {"a": torch.tensor([0.0, 1.0])}
    digests = {read_checkpoint(s).digest for s in (one, other, {"b": torch.zeros(2)}, {"a": torch.zeros(1, 2)})}
    assert len(digests) == 4
    assert read_checkpoint({"a": torch.zeros(2)}).digest == read_checkpoint(one).digest


def refusal(weights, name="mpc") -> str:
    with pytest.raises(models.WeightsError) as caught:
        models.build(name, weights=weights)
    return str(caught.value)


def test_wrong_checkpoint_names_first_missing_extra_and_misshapen_tensor(tmp_path, small):
    state = dict(small.state_dict())
    state["surplus.weight"] = torch.zeros(3)
    del state["encoder.bn1.bias"], state["encoder.layer1.0.conv1.weight"]
    state["encoder.conv1.weight"] = torch.zeros(64, 4, 3, 3)
    path = tmp_path / "wrong.pth"
    torch.save(state, path)
    message = refusal(path)
    assert str(path) in message
    assert "2 missing, first encoder.bn1.bias (64,)" in message
    assert "1 extra, first surplus.weight (3,)" in message
    assert "1 misshapen, first encoder.conv1.weight: (64, 4, 3, 3) instead of (64, 3, 3, 3)" in message


@pytest.mark.slow
def test_wrong_checkpoint_is_recognised(small):
    encoder_only = {n: v for n, v in small.state_dict().items() if n.startswith("encoder.")}
    assert "the file is HRFormer-Small with the CASIAv2 head" in refusal(network("small", "casia2").state_dict())
    assert "the file is HRFormer-Small (mpc)" in refusal(small.state_dict(), "mpc-catnet")
    assert "a part of the network" in refusal(encoder_only)
    assert "another network" in refusal({"fc.weight": torch.zeros(2)})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_truncated_file_is_reported(tmp_path, saved, small, suffix, kept):
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(small.state_dict(), path)
    else:
        path.write_bytes(saved.read_bytes())
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    assert re.search(rf"cut\{suffix}: damaged, truncated or no checkpoint", refusal(path))


def test_file_with_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return open, (str(witness), "w")

    zipped, plain = tmp_path / "zipped.pth", tmp_path / "plain.pth"
    torch.save({"state_dict": Payload()}, zipped)
    plain.write_bytes(pickle.dumps(Payload()))
    assert "zipped.pth: refused" in refusal(zipped)
    assert "plain.pth" in refusal(plain)
    assert not witness.exists()


def test_absent_and_foreign_files_are_named(tmp_path):
    assert "absent.pth: cannot be read" in refusal(tmp_path / "absent.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "holds a list and not a state dict" in refusal(tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "number.pth")
    assert "'epoch' is not a tensor" in refusal(tmp_path / "number.pth")


@pytest.mark.parametrize(("name", "page"), [("mpc-catnet", "2pf9-EGCHv"), ("mpc-casia2", "2pf9-ylCHv")])
def test_absent_official_weights_say_where_to_get_them(tmp_path, monkeypatch, name, page):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(models.WeightsMissing) as caught:
        models.build(name)
    assert all(text in str(caught.value) for text in (page, "CC BY-NC 4.0", str(tmp_path)))


# Localizers


def test_localizer_resizes_as_the_official_script_does(saved):
    import cv2

    localizer, image = models.build("mpc", weights=saved), photo(70, 45)
    score = localizer.localize(image)
    x = torch.tensor(cv2.resize(image.rgb, (96, 96)) / 255.0, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        quarter = localizer.network(x).sigmoid()[0, 0].numpy()
    assert quarter.shape == (24, 24)
    np.testing.assert_allclose(score.values, cv2.resize(quarter * 255, (45, 70)) / 255, atol=1e-6)
    assert score.kind == "probability"
    assert 0 <= score.values.min() < score.values.max() <= 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (3, 2)])
def test_localizer_takes_tiny_images(saved, height, width):
    score = models.build("mpc", weights=saved).localize(photo(height, width))
    assert score.values.shape == (height, width)


def test_localizer_is_deterministic_and_identifies_its_weights(saved, small):
    one, again = models.build("mpc", weights=saved), models.build("mpc", weights=saved)
    assert np.array_equal(one.localize(photo(40, 40)).values, again.localize(photo(40, 40)).values)
    assert one.identity() == again.identity()
    assert one.identity() != models.build("mpc", weights=small.state_dict()).identity()


def test_asking_for_a_device_that_is_not_there_is_an_error(saved):
    with pytest.raises(DeviceError, match=r"'cuda:99' was asked for, but .* use --device cpu"):
        models.build("mpc", weights=saved, device="cuda:99")
    with pytest.raises(DeviceError, match="unknown device 'gpu'"):
        compute_device("gpu")
    assert compute_device("cpu") == torch.device("cpu")
