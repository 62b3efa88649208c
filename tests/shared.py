"""Where the research-only material lies that some tests need and that is never part of the repository."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("BENCH_SHARED", Path(__file__).parents[2] / "shared"))


def shared_path(name: str) -> Path:
    """`SHARED/name`; skips the calling test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs the research-only data {path}; set BENCH_SHARED to the folder that holds {name!r}")
    return path
