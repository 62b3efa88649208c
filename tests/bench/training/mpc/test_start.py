"""An ImageNet HRFormer as the start: files built like the official ones, which name the tensors as we do."""

import os

import pytest
import torch

from bench.training.mpc.start import begin_with_shortcuts, blind_to_content, read_start
from models import WeightsError
from models.mpc.backbone import VARIANTS, HRFormer, TransformerBlock
from models.mpc.network import MPC

# Of the classification network in HRNet/HRFormer (cls/models/hrt.py): number of tensors of each part.
OFFICIAL_HEAD = {"incre_modules": 96, "downsamp_modules": 42, "final_layer": 7, "classifier": 2}


class Configuration:
    """Stands for the object of another package in the official files; unpickling it would leave a trace."""

    def __reduce__(self):
        return os.mkdir, (os.environ["TRACE"],)


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A checkpoint of HRFormer-Tiny as the official training writes it, and its state dict."""
    monkeypatch.setenv("TRACE", str(tmp_path / "executed"))
    torch.manual_seed(5)
    tensors = {name: value for name, value in HRFormer("tiny").state_dict().items() if not name.startswith("convs.")}
    head = {f"{part}.{k}.weight": torch.ones(2) for part, count in OFFICIAL_HEAD.items() for k in range(count)}
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    content = {"model": tensors | head, "optimizer": optimizer, "epoch": 299, "config": Configuration()}
    file = tmp_path / "hrt_tiny.pth"
    torch.save(content, file)
    return file, tensors


def test_the_body_is_taken_and_nothing_is_executed(official, tmp_path):
    file, tensors = official
    start = read_start(file, "tiny")
    assert not (tmp_path / "executed").exists()
    assert start.tensors.keys() == tensors.keys()
    assert all(torch.equal(start.tensors[name], tensors[name]) for name in tensors)
    assert len(start.fresh) == 24 and all(name.startswith("convs.") for name in start.fresh)
    torch.manual_seed(6)
    encoder = HRFormer("tiny")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    start.apply(encoder)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, tensors[name] if name in tensors else before[name]), name
    assert start.describe() == (
        f"start from hrt_tiny.pth: {len(tensors)} tensors taken; random start for convs (24); not taken: "
        "incre_modules (96), downsamp_modules (42), final_layer (7), classifier (2)"
    )


def test_the_official_number_of_tensors_of_the_body():
    """2,359 tensors in the official HRFormer-Base and -Small, 147 of them in the classification head."""
    for backbone in ("base", "small"):
        with torch.device("meta"):
            names = [name for name in HRFormer(backbone).state_dict() if not name.startswith("convs.")]
        assert len(names) == 2359 - 147
    assert {"conv1.weight", "stage4.1.branches.3.1.attn.attn.relative_position_bias_table"} <= set(names)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "encoder."])
def test_other_prefixes_and_formats(official, tmp_path, prefix):
    _, tensors = official
    everything = HRFormer("tiny").state_dict() | tensors
    torch.save({prefix + name: value.half() if value.is_floating_point() else value for name, value in
                everything.items()}, tmp_path / "stage1.pth")  # fmt: skip
    start = read_start(tmp_path / "stage1.pth", "tiny")
    assert not start.fresh and start.tensors["conv1.weight"].dtype == torch.float32
    assert torch.allclose(start.tensors["conv1.weight"], tensors["conv1.weight"], rtol=0, atol=1e-3)
    assert "none left at random" in start.describe()


def test_the_head_of_a_trained_network_is_taken_when_asked(official, tmp_path):
    torch.manual_seed(7)
    network = MPC("tiny", "catnet")
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in
                network.state_dict().items()}, tmp_path / "trained.pth")  # fmt: skip
    start = read_start(tmp_path / "trained.pth", "tiny")
    wanted = network.decoder.state_dict()
    torch.manual_seed(8)
    decoder = MPC("tiny", "catnet").decoder
    start.apply_head(decoder)
    assert len(wanted) > 4
    for name, value in decoder.state_dict().items():
        assert torch.allclose(value.float(), wanted[name].float(), rtol=1e-3, atol=1e-3), name
    encoder = len(network.encoder.state_dict())
    assert f"{encoder} tensors taken" in start.describe() and f"not taken: decoder ({len(wanted)})" in start.describe()
    assert start.describe(with_head=True).endswith(f"{encoder + len(wanted)} tensors taken; none left at random")
    with pytest.raises(WeightsError, match=r"trained\.pth has another head; set start_head = false"):
        start.apply_head(MPC("tiny", "casia2").decoder)
    with pytest.raises(WeightsError, match=r"hrt_tiny\.pth has no head; set start_head = false"):
        read_start(official[0], "tiny").apply_head(decoder)


def test_wrong_files_are_told_apart(official, tmp_path):
    file, tensors = official
    with pytest.raises(WeightsError, match=r"no start for HRFormer-small: .*misshapen.*it is HRFormer-tiny: write"):
        read_start(file, "small")
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match=r"damaged\.pth: damaged, truncated or not written by torch\.save"):
        read_start(damaged, "tiny")
    with pytest.raises(WeightsError, match=r"absent\.pth: cannot be read"):
        read_start(tmp_path / "absent.pth", "tiny")
    other = tmp_path / "resnet.pth"
    torch.save({"layer4.0.conv1.weight": torch.ones(4), "fc.bias": torch.ones(3)}, other)
    with pytest.raises(WeightsError, match=r"\d+ of \d+ tensors missing, first conv1.weight.*another network"):
        read_start(other, "tiny")
    part = dict(list(tensors.items())[:-1])
    torch.save({"model": part}, other)
    with pytest.raises(WeightsError, match=rf"1 of {len(tensors)} tensors missing, first {list(tensors)[-1]}"):
        read_start(other, "tiny")


def test_residual_kernels_see_texture_but_neither_constants_nor_ramps():
    torch.manual_seed(0)
    encoder = HRFormer("tiny")
    before = encoder.conv1.weight.detach().clone()
    blind_to_content(encoder)
    after = encoder.conv1.weight.detach()
    half = len(after) // 2
    assert torch.equal(after[half:], before[half:])
    row, column = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    even = 0.3 + 0.02 * row - 0.05 * column
    texture = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])  # without mean and slope itself
    for kernel, old in zip(after[:half], before[:half], strict=True):
        for plane, was in zip(kernel, old, strict=True):
            assert (plane * even).sum().item() == pytest.approx(0, abs=1e-5)
            assert (plane * texture).sum().item() == pytest.approx(10 * (was * texture).sum().item(), abs=1e-4)


def test_at_the_start_every_block_passes_its_input_on():
    """Whatever reaches a transformer block or a bottleneck with an identity shortcut leaves it nearly unchanged."""
    torch.manual_seed(1)
    encoder = HRFormer("tiny").eval()
    begin_with_shortcuts(encoder)
    seen = []

    def watch(module, inputs, output):
        seen.append(((output - inputs[0]).abs().max() / inputs[0].abs().max()).item())

    for module in encoder.modules():
        if isinstance(module, TransformerBlock):
            # the offsets of the last projection are what is left of the attention
            torch.nn.init.zeros_(module.attn.attn.out_proj.bias)
            module.register_forward_hook(watch)
    encoder.layer1[1].register_forward_hook(watch)
    with torch.no_grad():
        encoder(torch.rand(1, 3, 64, 64))
    variant = VARIANTS["tiny"]
    modules = sum(branches * modules for branches, modules in zip((2, 3, 4), variant.modules, strict=True))
    assert len(seen) == variant.blocks * modules + 1
    assert max(seen) < 1e-6
