"""Muon on matrices and kernels, AdamW on the rest, against a singular value decomposition and PyTorch's AdamW."""

import copy
import math

import pytest
import torch
from torch import nn

from bench.training.mpc.muon import Muon
from models.mpc.network import MPC

LR, DECAY = 0.01, 0.1


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(24, 40, 3), nn.BatchNorm2d(40), nn.Conv2d(40, 40, 3, groups=40), nn.Conv2d(40, 1, 1))


def descend(trained, optimizer, steps, seed=1):
    """Steps with gradients that depend on the step alone."""
    for step in range(steps):
        generator = torch.Generator().manual_seed(1000 * seed + step)
        for value in trained.parameters():
            value.grad = torch.randn(value.shape, generator=generator)
        optimizer.step()


def test_a_kernel_moves_equally_far_in_all_directions_of_its_gradient():
    net = network()
    before = net[0].weight.detach().clone().view(40, -1)
    optimizer = Muon(net.named_parameters(), LR, DECAY)
    descend(net, optimizer, 1)
    left, lengths, right = torch.linalg.svd(net[0].weight.grad.view(40, -1), full_matrices=False)
    assert lengths.max() > 1.5 * lengths.min()
    moved = (1 - LR * DECAY) * before - net[0].weight.detach().view(40, -1)
    along = left.T @ moved @ right.T / (LR * 0.2 * math.sqrt(24 * 9))  # as far as AdamW would on average
    assert along.diagonal().min() > 0.6 and along.diagonal().max() < 1.35  # what five rounds of the iteration reach
    assert (along - along.diagonal().diag()).abs().max() < 0.05
    assert moved.square().mean().sqrt() / LR == pytest.approx(0.2, rel=0.4)


def test_everything_else_moves_as_by_adamw():
    ours, theirs = network(), network()
    descend(ours, Muon(ours.named_parameters(), LR, DECAY), 5)
    descend(theirs, torch.optim.AdamW(theirs.parameters(), LR, weight_decay=DECAY), 5)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b) == (name != "0.weight"), name


def test_which_parameters_of_the_network_are_matrices():
    net = MPC("tiny", "catnet")
    names = {id(value): name for name, value in net.named_parameters()}
    matrices = {names[id(value)] for value in Muon(net.named_parameters(), LR, DECAY).param_groups[0]["params"]}
    assert "encoder.stage4.0.branches.3.0.attn.attn.q_proj.weight" in matrices
    assert not any("relative_position" in name or "bias" in name for name in matrices)
    depthwise = {f"{n}.weight" for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    assert depthwise and not depthwise & matrices
    assert sum(net.get_parameter(name).numel() for name in matrices) > 0.9 * sum(v.numel() for v in net.parameters())


def test_it_goes_on_where_it_was_stopped():
    once, twice = network(), network()
    descend(once, Muon(once.named_parameters(), LR, DECAY), 2)
    optimizer = Muon(twice.named_parameters(), 1.0, DECAY)
    for group in optimizer.param_groups:
        group["lr"] = LR
    descend(twice, optimizer, 2)
    kept, other = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(twice)
    resumed = Muon(other.named_parameters(), 7.0, DECAY)
    resumed.load_state_dict(kept)
    assert resumed.param_groups[0]["lr"] == LR
    descend(other, resumed, 3, seed=2)
    descend(twice, optimizer, 3, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), twice.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(other.parameters(), once.parameters(), strict=True))


def test_rates_and_gradients_are_those_of_a_usual_optimizer():
    net = network()
    optimizer = Muon(net.named_parameters(), LR, DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    descend(net, optimizer, 1)
    before = copy.deepcopy(net)
    schedule.step()
    descend(net, optimizer, 1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))
    optimizer.zero_grad(set_to_none=True)
    assert all(value.grad is None for value in net.parameters())
    optimizer.step()  # nothing to do
