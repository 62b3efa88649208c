"""A study as data: the variants of one training, their seeds, and what they are evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen

from bench.usage import suggest
from models.mpc.losses import VIEWS
from models.toml import OneOf, Table, from_table, load_toml

FOLDER = Path(__file__).parent


class StudyError(ValueError):
    """A study that cannot be read or carried out; the message names the file and the fix."""


@dataclass(frozen=True)
class Variant(Table):
    """One way of training.

    Attributes:
        name: in tables.
        label: in texts.
        seeds: one network each.
        views: of the contrast; none: encoder and head together by cross-entropy, for as many steps as the others have
            in both stages.
        published: row of the study's table of published numbers.
    """

    name: str
    label: str
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)]
    views: tuple[Annotated[str, OneOf(*VIEWS)], ...]
    published: str = ""

    def __post_init__(self) -> None:
        """Check what one key's range cannot state."""
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"variant {self.name} names a seed twice")


@dataclass(frozen=True)
class Published(Table):
    """Printed numbers to compare with.

    Attributes:
        source: where they are printed.
        columns: what they are.
        rows: name -> one number per column.
    """

    source: str = ""
    columns: tuple[str, ...] = ()
    rows: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study(Table):
    """What a study's TOML file holds.

    Attributes:
        name: of the file.
        title: a question.
        claim: what is tested.
        reference: the variant that every other one is compared with.
        data: as for `bench run`, and "validation" for forgeries of photos that no network is trained on.
        perturbations: as for `bench run`.
        protocol: what is compared is measured by it.
        metrics: what is compared; the first one decides the verdict.
        variants: at least two.
        recipe: the table of a training recipe (see `mpc/recipe.py`) without seed, views and, unless it is to differ
            from [contrast], without [supervised].
        published: printed numbers.
    """

    name: str
    title: str
    claim: str
    reference: str
    data: str
    perturbations: str
    protocol: str
    metrics: Annotated[tuple[str, ...], MinLen(1)]
    variants: Annotated[tuple[Variant, ...], MinLen(2)]
    recipe: dict[str, Any]
    published: Published = field(default_factory=Published)

    def __post_init__(self) -> None:
        """Check what one key's range cannot state."""
        names = [v.name for v in self.variants]
        if len(set(names)) < len(names) or self.reference not in names:
            raise ValueError(
                f"variants need names of their own, and reference ({self.reference!r}) must be one of them"
            )
        for v in self.variants:
            if v.published and v.published not in self.published.rows:
                raise ValueError(f"variant {v.name} names {v.published!r}, which published.rows does not have")
        if max(len(v.seeds) for v in self.variants) < 2:
            raise ValueError(
                "at least one variant needs two seeds: without them chance and effect cannot be told apart"
            )

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(v for v in self.variants if v.name == name)


def read_study(name: str) -> Study:
    """The shipped study of that name, or the one in a TOML file.

    Raises:
        StudyError: no such study (the nearest is named), not TOML, an unknown or missing key, variants that cannot be
            compared.
    """
    file = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not file.is_file():
        shipped = sorted(path.stem for path in FOLDER.glob("*.toml"))
        raise StudyError(f"no study {name!r}; {suggest(name, shipped)}; or name a TOML file")
    return from_table({"name": file.stem, **load_toml(file, StudyError)}, Study, StudyError, where=f"{file}: ")
