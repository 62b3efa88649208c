"""Runs to report on; made once a session."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests import `synthetic_run` from here

from synthetic_run import make_run

import reports


@pytest.fixture(scope="session")
def run():
    return make_run()


@pytest.fixture(scope="session")
def written(run, tmp_path_factory):
    """Folder of the report of `run`."""
    folder = tmp_path_factory.mktemp("report")
    reports.write(folder, [run])
    return folder
