"""Options of the tests of localizers."""

import os

import pytest
import torch

from models.device import compute_device


def pytest_addoption(parser):
    parser.addoption(
        "--parity",
        choices=("quick", "all"),
        default=os.environ.get("PARITY", "quick"),
        help="which recorded outputs of official networks to reproduce (also: environment variable PARITY)",
    )
    parser.addoption("--device", default="cpu", help='where they are reproduced: "cpu", "cuda" or "cuda:1"')


@pytest.fixture
def device(request) -> torch.device:
    """The device asked for with --device."""
    return compute_device(request.config.getoption("device", default="cpu"))


@pytest.fixture
def all_parity_cases(request) -> bool:
    """Whether the slow cases were asked for, with --parity=all or PARITY=all."""
    return request.config.getoption("parity", default=os.environ.get("PARITY", "quick")) == "all"
