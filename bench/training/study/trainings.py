"""The networks of a study: the recipe and the folder of each, and whether it is trained already."""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tomli_w

from bench import provenance
from bench.files import write_atomic
from bench.training.mpc import train as mpc
from bench.training.mpc.forgeries import Photos, find_photos
from bench.training.mpc.recipe import (
    STAGES,
    Recipe,
    Stage,
    make_recipe,
    read_recipe,
    recipe_table,
    table_differences,
    with_new_names,
)
from bench.training.study.design import Study, StudyError, Variant
from models.mpc.losses import VIEWS

RECORD = "trained.json"
WEIGHTS = "mpc.safetensors"
RARELY = ["--validate-every", 10**9, "--validation-samples", 16]  # after the last step only


@dataclass(frozen=True)
class Training:
    """One network of a study: a variant with a seed, and the folder it is trained in.

    Attributes:
        variant: of the study.
        seed: of weights, forgeries and their order.
        folder: where it is trained.
        table: its complete recipe, as plain content of a TOML file.
        start: checkpoint that the encoder starts from; None: the recipe's first values.
    """

    variant: Variant
    seed: int
    folder: Path
    table: dict
    start: Path | None = None

    @property
    def name(self) -> str:
        """Its name in tables: `mpc.seed0`."""
        return f"{self.variant.name}.seed{self.seed}"

    @property
    def stage(self) -> str:
        """The value of `bench train mpc --stage`."""
        return "both" if self.variant.views else "supervised"

    @property
    def weights(self) -> Path:
        """The trained network's file."""
        return self.folder / WEIGHTS

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe.

        Raises:
            RecipeError: it cannot be followed.
        """
        return make_recipe(self.table)

    @cached_property
    def origin(self) -> dict[str, str] | None:
        """Name and SHA-256 of the file that the encoder starts from."""
        if self.start is None:
            return None
        return {"file": self.start.name, "sha256": hashlib.sha256(self.start.read_bytes()).hexdigest()}

    def write_recipe(self) -> Path:
        """Write `recipe.toml` into the folder; what `bench train` is given."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "recipe.toml"
        write_atomic(file, tomli_w.dumps(self.table))
        return file

    def finished(self) -> bool:
        """Whether the network is there.

        Raises:
            StudyError: it was trained by another recipe or from another start.
        """
        record = self.record()
        if record is None or not self.weights.is_file():
            return False
        here, there = (
            with_new_names(table) | {"--start": (start or {}).get("sha256", "none")}
            for table, start in ((self.table, self.origin), (record["table"], record.get("start")))
        )
        changed = table_differences(here, there)
        if changed:
            raise StudyError(
                f"{self.folder} was trained by another recipe ({'; '.join(changed)}); give another --out, or remove it"
            )
        return True

    def finish(self, photos: tuple[Photos, Photos]) -> None:
        """Record that the network is trained, on which photos (training, validation), and what it took."""
        seconds: dict[str, float] = {}
        with (self.folder / "metrics.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                seconds[row["stage"]] = float(row["seconds"])
        record = {
            "table": self.table,
            "recipe": dataclasses.asdict(self.recipe),
            "stage": self.stage,
            "start": self.origin,
            "photos": [len(side) for side in photos],
            "photo_digest": photo_digest(photos[0]),
            "seconds": seconds,
            "weights": hashlib.sha256(self.weights.read_bytes()).hexdigest(),
            "finished": provenance.now(),
            "revision": provenance.revision(),
            "machine": provenance.machine(),
            "versions": provenance.versions(),
        }
        write_atomic(self.folder / RECORD, json.dumps(record, indent=1) + "\n")

    def record(self) -> dict | None:
        """What `finish` wrote; None before.

        Raises:
            StudyError: the file is damaged.
        """
        file = self.folder / RECORD
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            raise StudyError(f"{file} is damaged ({error}); remove it and run the same command again") from error


def plan_trainings(study: Study, folder: Path, recipe: str | None = None, start: Path | None = None) -> list[Training]:
    """Every training of a study, the reference's first.

    Args:
        study: what is compared.
        folder: each training gets a folder below it.
        recipe: file or name of a shipped recipe that replaces the study's own.
        start: checkpoint that every encoder starts from, whatever the variant and the seed.

    Raises:
        RecipeError: the recipe cannot be followed.
        StudyError: the variants could not be compared under the recipe, or there is no such start.
    """
    if start is not None and not start.is_file():
        raise StudyError(f"{start}: no such file; --start wants the checkpoint of an HRFormer")
    table = study.recipe
    if recipe is not None:
        read_recipe(recipe)  # for its messages
        table = recipe_table(recipe)
    ordered = sorted(study.variants, key=lambda v: v.name != study.reference)
    trainings = [
        Training(v, seed, folder / f"{v.name}-seed{seed}", _complete(table, v, seed), start)
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


def train(training: Training, photos: Path, device: str, workers: int | None) -> int:
    """Train one network, from its last checkpoint if there is one. 0, or 128 + the signal that stopped it."""
    words = ["--photos", photos, "--out", training.folder, "--recipe", training.write_recipe()]
    words += ["--stage", training.stage, "--device", device, "--resume"]
    words += ["--save-every", 50]
    if training.start is not None:
        words += ["--start", training.start]
    if all(training.recipe.stage(name).schedule == "linear" for name in STAGES):
        words += RARELY  # nothing depends on a validation
    if workers is not None:
        words += ["--workers", 0 if workers == 1 else workers]
    parser = argparse.ArgumentParser()
    mpc.add_arguments(parser)
    stopped = mpc.main(parser.parse_args([str(word) for word in words]))
    if not stopped:
        training.finish(split_photos(photos, training))
    return stopped


def split_photos(photos: Path, training: Training) -> tuple[Photos, Photos]:
    """(training, validation) of a folder of photos."""
    return find_photos(photos).split(training.recipe.data.validation)


def photo_digest(photos: Photos) -> str:
    """SHA-256 over the names of photos."""
    return hashlib.sha256("\n".join(file.name for file in photos.files).encode()).hexdigest()


def _complete(table: dict, variant: Variant, seed: int) -> dict:
    """The shared recipe with a variant's seed and views.

    Without views, its cross-entropy stage has the optimizer, crops and schedule of the contrast, the loss of the head,
    and the steps of both.
    """
    table = copy.deepcopy(table) | {"seed": seed}
    contrast, head = table.setdefault("contrast", {}), table.setdefault("head", {})
    contrast["views"] = list(variant.views or VIEWS)
    shared = {f.name: contrast[f.name] for f in dataclasses.fields(Stage) if f.name in contrast}
    loss = {key: head[key] for key in ("alpha", "gamma", "calibration") if key in head}
    steps = {"steps": sum(stage.get("steps", Stage().steps) for stage in (contrast, head))}
    table["supervised"] = shared | loss | steps | table.get("supervised", {})
    return table
