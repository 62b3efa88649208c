"""Options of the tests of localizers."""

import os

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--parity",
        choices=("quick", "all"),
        default=os.environ.get("PARITY", "quick"),
        help="which recorded outputs of official networks to reproduce (also: environment variable PARITY)",
    )


@pytest.fixture
def all_parity_cases(request) -> bool:
    """Whether the slow cases were asked for, with --parity=all or PARITY=all."""
    return request.config.getoption("parity", default=os.environ.get("PARITY", "quick")) == "all"
