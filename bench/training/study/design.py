"""A study as data: the variants of one training, their seeds, and what they are evaluated on."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from models.mpc.losses import VIEWS

FOLDER = Path(__file__).parent


class StudyError(ValueError):
    """A study that cannot be read or carried out; the message names the file and the fix."""


@dataclass(frozen=True)
class Variant:
    """One way of training. views: of the contrast; none at all: encoder and head together by cross-entropy, for as
    many steps as the others have in both stages. published: row of the study's table of published numbers."""

    name: str
    label: str
    seeds: tuple[int, ...]
    views: tuple[str, ...]
    published: str = ""


@dataclass(frozen=True)
class Published:
    """Printed numbers to be laid beside ours: name of a row -> one number a column."""

    source: str = ""
    columns: tuple[str, ...] = ()
    rows: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """What a study's TOML file holds.

    reference: the variant that every other one is compared with. data, perturbations: as for `bench run`, and
    "held-back" for forgeries of photos that no network is trained on. protocol, metrics: what is compared; the first
    metric decides the verdict. recipe: the table of a training recipe (see `mpc/recipe.py`) without seed, views
    and, unless it is to differ from [contrast], without [supervised].
    """

    name: str
    title: str
    claim: str
    reference: str
    data: str
    perturbations: str
    protocol: str
    metrics: tuple[str, ...]
    variants: tuple[Variant, ...]
    recipe: dict
    published: Published = Published()

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(v for v in self.variants if v.name == name)


def read_study(name: str) -> Study:
    """The shipped study of that name, or the one in a TOML file.

    Raises StudyError: no such study (the nearest is named), not TOML, an unknown or missing key, variants that cannot
    be compared.
    """
    file = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not file.is_file():
        shipped = sorted(path.stem for path in FOLDER.glob("*.toml"))
        near = difflib.get_close_matches(name, shipped, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"no study {name!r}; {hint}shipped: {', '.join(shipped)}; or name a TOML file")
    try:
        table = tomllib.loads(file.read_text("utf-8"))
        variants = tuple(_made(Variant, entry, "variants") for entry in table.pop("variants", []))
        published = _made(Published, table.pop("published", {}), "published")
        study = _made(Study, {"name": file.stem, **table, "variants": variants, "published": published}, "")
        _check(study)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{file}: not a TOML file ({error})") from error
    except StudyError as error:
        raise StudyError(f"{file}: {error}") from error
    return study


def _made(cls: type, table: dict, where: str):
    """A dataclass from a TOML table; lists become tuples."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
            raise StudyError(f"unknown key {f'{where}.{key}' if where else key!r}; {hint}")
    lacking = [
        name
        for name, f in fields.items()
        if name not in table and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if lacking:
        raise StudyError(f"the key {f'{where}.' if where else ''}{lacking[0]} is missing")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def _check(study: Study) -> None:
    names = [v.name for v in study.variants]
    if len(set(names)) < len(names) or study.reference not in names:
        raise StudyError(f"variants need names of their own, and reference ({study.reference!r}) must be one of them")
    if len(names) < 2:
        raise StudyError("a study compares at least two variants")
    for v in study.variants:
        unknown = set(v.views) - set(VIEWS)
        if unknown:
            raise StudyError(f"variant {v.name} has unknown views {sorted(unknown)}; known: {', '.join(VIEWS)}")
        if not v.seeds or len(set(v.seeds)) < len(v.seeds):
            raise StudyError(f"variant {v.name} needs at least one seed, each once")
        if v.published and v.published not in study.published.rows:
            raise StudyError(f"variant {v.name} names {v.published!r}, which published.rows does not have")
    if max(len(v.seeds) for v in study.variants) < 2:
        raise StudyError("at least one variant needs two seeds: without them chance and effect cannot be told apart")
