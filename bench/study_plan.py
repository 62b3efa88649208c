"""A study as data: its variants and seeds, and the trainings they make; which of those are already done."""

from __future__ import annotations

import copy
import csv
import dataclasses
import difflib
import hashlib
import json
import os
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench import provenance
from models.mpc.forgeries import Photos
from models.mpc.losses import VIEWS
from models.mpc.recipe import FOLDER as RECIPES
from models.mpc.recipe import Recipe, Stage, make_recipe, read_recipe

FOLDER = Path(__file__).with_name("studies")
RECORD = "trained.json"
WEIGHTS = "mpc.safetensors"


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
    metric decides the verdict. recipe: the table of a training recipe (see `models.mpc.recipe`) without seed, views
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


@dataclass(frozen=True)
class Training:
    """One network of a study: a variant with a seed, and the folder it is trained in."""

    variant: Variant
    seed: int
    folder: Path
    table: dict

    @property
    def name(self) -> str:
        """As it is called in tables: `mpc.seed0`."""
        return f"{self.variant.name}.seed{self.seed}"

    @property
    def stage(self) -> str:
        """The value of `bench train mpc --stage`."""
        return "both" if self.variant.views else "supervised"

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe. Raises RecipeError."""
        return make_recipe(self.table)

    def write_recipe(self) -> Path:
        """Write `recipe.toml` into the folder; what `bench train` is given."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "recipe.toml"
        file.write_text(toml(self.table), encoding="utf-8")
        return file

    def finished(self) -> bool:
        """Whether the network is there. Raises StudyError where it was trained by another recipe."""
        record = self.record()
        if record is None or not self.weights.is_file():
            return False
        here, there = _flat(self.table), _flat(record["table"])
        changed = [
            f"{key}: here {here.get(key, 'absent')}, there {there.get(key, 'absent')}"
            for key in sorted({*here, *there})
            if here.get(key) != there.get(key)
        ]
        if changed:
            raise StudyError(
                f"{self.folder} was trained by another recipe ({'; '.join(changed)}); give another --out, or remove it"
            )
        return True

    def finish(self, photos: tuple[Photos, Photos]) -> None:
        """Record that the network is trained, on which photos (trained on, held back), and what it took."""
        seconds: dict[str, float] = {}
        with (self.folder / "metrics.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                seconds[row["stage"]] = float(row["seconds"])
        record = {
            "table": self.table,
            "recipe": dataclasses.asdict(self.recipe),
            "stage": self.stage,
            "photos": [len(side) for side in photos],
            "photo_digest": photo_digest(photos[0]),
            "seconds": seconds,
            "weights": hashlib.sha256(self.weights.read_bytes()).hexdigest(),
            "finished": provenance.now(),
            "revision": provenance.revision(),
            "machine": provenance.machine(),
            "versions": provenance.versions(),
        }
        write_whole(self.folder / RECORD, json.dumps(record, indent=1) + "\n")

    def record(self) -> dict | None:
        """What `finish` wrote, None before. Raises StudyError for a damaged file."""
        file = self.folder / RECORD
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            raise StudyError(f"{file} is damaged ({error}); remove it, the same command goes on from there") from error


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


def plan_trainings(study: Study, folder: Path, recipe: str | None = None) -> list[Training]:
    """Every training of a study below `folder`, the reference's first. recipe: a file or the name of a shipped recipe
    that replaces the study's own.

    Raises RecipeError, and StudyError for a recipe under which the variants could not be compared.
    """
    table = study.recipe if recipe is None else _recipe_table(recipe)
    ordered = sorted(study.variants, key=lambda v: v.name != study.reference)
    trainings = [
        Training(v, seed, folder / f"{v.name}-seed{seed}", _complete(table, v, seed))
        for v in ordered
        for seed in v.seeds
    ]
    for training in trainings:
        recipe_of_it = training.recipe
        steps = recipe_of_it.contrast.steps + recipe_of_it.head.steps
        if not training.variant.views and recipe_of_it.supervised.steps != steps:
            raise StudyError(
                f"supervised.steps is {recipe_of_it.supervised.steps}, the other variants train for {steps} in both "
                "stages; make them equal, or leave [supervised] out"
            )
    return trainings


def photo_digest(photos: Photos) -> str:
    """SHA-256 over the names of photos."""
    return hashlib.sha256("\n".join(file.name for file in photos.files).encode()).hexdigest()


def write_whole(file: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)


def toml(table: dict) -> str:
    """A recipe's table as TOML: plain values first, then one level of tables."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for name, inner in table.items():
        if isinstance(inner, dict):
            plain += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in inner.items())]
    return "\n".join(plain) + "\n"


def _complete(table: dict, variant: Variant, seed: int) -> dict:
    """The shared recipe with a variant's seed, views and, without views, its stage for cross-entropy: the optimizer,
    crops and schedule of the contrast, the loss of the head, the steps of both."""
    table = copy.deepcopy(table) | {"seed": seed}
    contrast, head = table.setdefault("contrast", {}), table.setdefault("head", {})
    contrast["views"] = list(variant.views or VIEWS)
    shared = {f.name: contrast[f.name] for f in dataclasses.fields(Stage) if f.name in contrast}
    loss = {key: head[key] for key in ("alpha", "gamma", "calibration") if key in head}
    steps = {"steps": sum(stage.get("steps", Stage().steps) for stage in (contrast, head))}
    table["supervised"] = shared | loss | steps | table.get("supervised", {})
    return table


def _flat(table: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _recipe_table(recipe: str) -> dict:
    read_recipe(recipe)  # for its messages
    file = Path(recipe)
    return tomllib.loads((file if file.exists() else RECIPES / f"{recipe}.toml").read_text("utf-8"))


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
