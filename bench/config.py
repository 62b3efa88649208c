"""`--config run.toml`: what a run is about, kept in a file. What the command line says as well, wins.

    models = ["mine=mpc@~/a.pth", "other=mpc@~/b.pth", "baselines"]     # items of --models; a path may hold a comma
    data = ["builtin", "ours", "casia"]                                # items of --data, or names of [sets]
    perturbations = "standard;night"                                   # as --perturbations, or names of [grids]
    protocols = ["native", "trufor"]
    out = "runs/ours"                                                  # also: workers, backend, device, limit, seed

    [sets]                                                             # also for --data ours on the command line
    ours = "folder:~/photos,~/masks"
    casia = "casia1:~/data/CASIA1"

    [grids]                                                            # also for --perturbations night
    night = "noise:5,15;jpeg:70"

Every key may be left out. Paths are relative to the working folder, as on the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bench.engines import BACKENDS
from bench.usage import UsageError
from models.toml import OneOf, Table, read_toml


@dataclass(frozen=True)
class RunConfig(Table):
    """The content of a run.toml; None where it does not say."""

    models: tuple[str, ...] | str | None = None
    data: tuple[str, ...] | str | None = None
    perturbations: tuple[str, ...] | str | None = None
    protocols: tuple[str, ...] | str | None = None
    out: str | None = None
    workers: int | None = None
    backend: Annotated[str, OneOf(*BACKENDS)] | None = None
    device: str | None = None
    limit: int | None = None
    seed: int | None = None
    sets: dict[str, str] = dataclasses.field(default_factory=dict)
    grids: dict[str, str] = dataclasses.field(default_factory=dict)


def read_config(path: Path) -> dict[str, object]:
    """What the file says, as values of a command's options. Raises UsageError naming file and key."""
    stated = dataclasses.asdict(read_toml(path, RunConfig, UsageError))
    for name in ("workers", "limit"):
        if stated[name] is not None and stated[name] < 1:
            raise UsageError(f"{path}: {name} is {stated[name]}, which is not a whole number above 0")
    for name, separator in (("data", ","), ("protocols", ","), ("perturbations", ";")):
        if isinstance(stated[name], tuple):
            stated[name] = separator.join(stated[name])
    return {name: value for name, value in stated.items() if value is not None}


def with_named(text: str, named: Mapping[str, str], separator: str) -> str:
    """A text's items, joined by the separator, with those that are names replaced by what they stand for."""
    items: Sequence[str] = text.split(separator)
    return separator.join(named.get(item.strip(), item) for item in items)
