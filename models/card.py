"""What is known of a localizer without building it: its card, and the checkpoint files that it needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CONVERTED = ".safetensors"  # added to the name of a file that `python -m bench weights convert` has converted


def weights_folder() -> Path:
    """Where official checkpoints are looked for: $BENCH_WEIGHTS, else `weights/` in the working folder."""
    return Path(os.environ.get("BENCH_WEIGHTS", "weights")).expanduser()


@dataclass(frozen=True)
class WeightFile:
    """One checkpoint file of a localizer: where it comes from and where it is looked for.

    size: in bytes, None where unknown; sha256 likewise. git_sha1: the id of its content where the authors keep it in a
    git repository, SHA-1 over "blob", the size and the bytes. shipped: its path where it is part of this repository.
    """

    name: str
    page: str
    licence: str
    size: int | None = None
    sha256: str | None = None
    shipped: Path | None = None
    git_sha1: str | None = None

    @property
    def path(self) -> Path:
        """Where the file belongs: its place in the repository, else `weights_folder()`."""
        return self.shipped or weights_folder() / self.name

    @property
    def found(self) -> Path | None:
        """The file, else its conversion; None where neither exists."""
        return next((p for p in (self.path, self.path.with_name(self.path.name + CONVERTED)) if p.exists()), None)

    @property
    def non_commercial(self) -> bool:
        """Whether the licence allows research only, as far as its wording tells."""
        words = self.licence.lower()
        return any(sign in words for sign in ("non-commercial", "non-profit", "research only", "-nc"))


@dataclass(frozen=True)
class ModelCard:
    """What is known of a localizer without building it.

    trained_on: names of data sets (those of `datasets/*.toml` where they exist) whose images it was trained
        on: a result on one of them is marked as contaminated.
    featured: comes first in reports, where an order is free.
    parameters: of the network. gflops_512: 1e9 operations (a multiply-add counts as two) for a photo of 512 x 512
        pixels, of convolutions, matrix products and attention alone; many papers count multiply-adds, which is half.
        What published tables say of the method is in `bench.published`.
    argument: the constructor's path that a request names after the colon, as in NAME:PATH.
    """

    name: str
    title: str
    paper: str
    year: int | None = None
    summary: str = ""
    licence: str = ""
    groups: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    weights: tuple[WeightFile, ...] = ()
    needs_jpeg: bool = False
    parameters: int | None = None
    gflops_512: float | None = None
    featured: bool = False
    argument: str | None = None
