"""The recipe of an MPC training: every choice that decides the result, read from a TOML file."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from models.mpc.backbone import VARIANTS as BACKBONES
from models.mpc.head import HEADS
from models.mpc.losses import VARIANTS, VIEWS

FOLDER = Path(__file__).parent / "recipes"
STAGES = ("contrast", "head", "supervised")
INITIAL = ("random", "forensic")
PRECISIONS = ("float32", "bfloat16", "float16")
OPTIMIZERS = ("adamw", "adam", "muon")
SCHEDULES = ("linear", "plateau", "cosine")


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message names the file, the key and the fix."""


@dataclass(frozen=True)
class Network:
    """backbone, head: as in `models.mpc.network.MPC`. drop_path: the randomness that makes the views of stage 1.
    input_size: side in pixels of the square that photos are resized to when the network is applied. windows: share of
    the photo's sides, from .5, of four windows that it then sees besides (`models.mpc.localizer`); 0, as MPC: none.
    initial: the encoder's first values, where no --start replaces them: "random", or "forensic", half of the first
    kernels blind to what is constant or changes evenly, and branches that start at zero (`start.py`)."""

    backbone: str = "small"
    head: str = "catnet"
    drop_path: float = 0.2
    input_size: int = 512
    windows: float = 0.0
    initial: str = "random"


@dataclass(frozen=True)
class Data:
    """held_back: share of the photos, and of the photos that the pairs of training sets came from, that are used for
    validation only. photos: share of the samples that are forged on the fly where there are training sets as well.
    The rest: `bench.training.mpc.forgeries.Presentation`."""

    held_back: float = 0.06
    photos: float = 0.5
    frame: int = 512
    native: float = 0.25
    least: int = 256
    augment: float = 0.75
    parts: float = 0.0


@dataclass(frozen=True)
class Teaching:
    """A teacher (`bench.training.mpc.teacher`) for the stages with labels, "supervised" and "head"; not in MPC.

    samples: forgeries of training photos that it learns from before such a stage begins, presented as the stage's own
    are; 0: no teacher. weight: of the mean squared difference to its log-odds, which is added to the loss.
    """

    samples: int = 0
    weight: float = 0.125


@dataclass(frozen=True)
class Stage:
    """What both stages have. crop: side of the training samples in pixels, a multiple of 32. batch: samples a step, of
    all processes together.

    schedule of the learning rate: "linear": it rises linearly to `lr` over `warmup` steps, stays, and falls linearly
    to zero over the last `cooldown` share of the steps; so a training can be continued to another length until it
    begins to fall. "plateau" and "cosine", as the released stage 1 and 2: PyTorch's ReduceLROnPlateau (halved after
    more than three validations without a better held-back AUC, down to 1e-8) and CosineAnnealingLR (a half period of
    20 validations down to 1e-8), both stepped at every validation.
    optimizer: "adamw" (released), "adam" (paper) or "muon" (`bench.training.mpc.muon`). clip: largest norm of a step's
    gradient (0: any).
    average: decay of the moving average of the weights, which is what is validated and exported (0: no averaging).
    precision: "float32", or autocast to "bfloat16" or "float16" (the latter with a scaled loss).
    """

    steps: int = 1000
    batch: int = 8
    crop: int = 160
    optimizer: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.01
    clip: float = 1.0
    schedule: str = "linear"
    warmup: int = 0
    cooldown: float = 0.0
    average: float = 0.0
    precision: str = "float32"


@dataclass(frozen=True)
class ContrastStage(Stage):
    """Stage 1, the encoder: see `models.mpc.losses.pixel_contrast`."""

    variant: str = "released"
    views: tuple[str, ...] = VIEWS
    temperature: float = 0.1
    samples: int = 5000


@dataclass(frozen=True)
class ClassifierStage(Stage):
    """Pixels to labels, by encoder and head together or, as `HeadStage`, the head: `models.mpc.losses.focal_loss`.

    calibration: so many forgeries of training photos decide, after the last step, by how much the head's last bias is
    shifted, so that forged above .5 is the rule with the best mean F1 on them. 0: not at all, as released.
    start_head: the head of --start is taken too and trained on; else the head begins anew, as in MPC. A stage 2 whose
    encoder had no start has a new one, too.
    """

    alpha: float = 0.5
    gamma: float = 2.0
    calibration: int = 0
    start_head: bool = False


@dataclass(frozen=True)
class HeadStage(ClassifierStage):
    """Stage 2, the head alone.

    encoder: which state of stage 1 the head is trained on: the "last", or the "best" by held-back AUC.
    backbone_mode: the frozen encoder has no gradient in either case. "released": it stays in train mode as in the
    authors' code, so batch-norm statistics go on adapting and stochastic depth stays active. "eval": it is fixed.
    """

    encoder: str = "last"
    backbone_mode: str = "released"


@dataclass(frozen=True)
class Recipe:
    """One training. seed decides weights, forgeries, their order and every random draw.

    contrast and head are MPC's two stages; supervised is what is trained instead of both to compare with, or before
    them as their start: encoder and head together. teacher: for both stages that have labels.
    """

    seed: int = 0
    network: Network = field(default_factory=Network)
    data: Data = field(default_factory=Data)
    contrast: ContrastStage = field(default_factory=ContrastStage)
    head: HeadStage = field(default_factory=HeadStage)
    supervised: ClassifierStage = field(default_factory=ClassifierStage)
    teacher: Teaching = field(default_factory=Teaching)

    def stage(self, name: str) -> ContrastStage | ClassifierStage:
        """The settings of the stage "contrast", "head" or "supervised"."""
        return getattr(self, name)

    def replaced(self, steps: int | None = None, seed: int | None = None) -> Recipe:
        """The recipe with another number of steps (of each stage) or another seed; None keeps it."""
        recipe = self
        if steps is not None:
            stages = {name: dataclasses.replace(self.stage(name), steps=steps) for name in STAGES}
            recipe = dataclasses.replace(recipe, **stages)
        return recipe if seed is None else dataclasses.replace(recipe, seed=seed)


def read_recipe(path: str | os.PathLike) -> Recipe:
    """The recipe in a TOML file, or the shipped one of that name (`small`). Left-out keys have their defaults.

    Raises RecipeError: no such file, not TOML, an unknown key (the nearest is named), a value out of its range.
    """
    file = Path(path)
    if not file.exists() and (FOLDER / f"{path}.toml").exists():
        file = FOLDER / f"{path}.toml"
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        shipped = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise RecipeError(f"{file}: cannot be read ({error.strerror}); shipped recipes: {shipped}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not a TOML file ({error})") from error
    try:
        return make_recipe(table)
    except RecipeError as error:
        raise RecipeError(f"{file}: {error}") from error


def make_recipe(table: dict) -> Recipe:
    """The recipe of a TOML file's table. Raises RecipeError, which names the key."""
    recipe = _filled(Recipe, table, "")
    _check(recipe)
    return recipe


def differences(ours: Recipe, theirs: dict) -> list[str]:
    """`key: here X, there Y` for every key in which a recipe and a stored one (as dict) differ. A key that was not
    there yet when the other was stored has its default, which is how it was then."""
    here, there = _flat(dataclasses.asdict(ours)), _flat(dataclasses.asdict(Recipe())) | _flat(theirs)
    return [
        f"{key}: here {here.get(key, 'absent')}, there {there.get(key, 'absent')}"
        for key in sorted({*here, *there})
        if _plain(here.get(key)) != _plain(there.get(key))
    ]


def learning_rate(stage: Stage, step: int) -> float:
    """The learning rate of step 0 .. steps - 1; the one to start with where validations decide."""
    if stage.schedule != "linear":
        return stage.lr
    rate = stage.lr * min(1.0, (step + 1) / (stage.warmup + 1))
    left = stage.cooldown * stage.steps
    return rate * min(1.0, (stage.steps - step) / left) if left else rate


def _filled(cls: type, table: dict, prefix: str):
    """A dataclass filled from a TOML table, checked key by key."""
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(hints)}"
            raise RecipeError(f"unknown key {prefix}{key}; {hint}")
    values = {}
    for key, value in table.items():
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise RecipeError(f"{prefix}{key} is a table ([{key}]), not a value")
            values[key] = _filled(kind, value, f"{prefix}{key}.")
        elif isinstance(kind, types.GenericAlias):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise RecipeError(f"{prefix}{key} is a list of strings, got {value!r}")
            values[key] = tuple(value)
        elif kind is float and type(value) is int:
            values[key] = float(value)
        elif type(value) is not kind:
            raise RecipeError(f"{prefix}{key} is of type {kind.__name__}, got {value!r}")
        else:
            values[key] = value
    return cls(**values)


def _check(recipe: Recipe) -> None:
    choices = {
        "network.backbone": (recipe.network.backbone, BACKBONES),
        "network.head": (recipe.network.head, HEADS),
        "network.initial": (recipe.network.initial, INITIAL),
        "contrast.variant": (recipe.contrast.variant, VARIANTS),
        "head.backbone_mode": (recipe.head.backbone_mode, ("released", "eval")),
        "head.encoder": (recipe.head.encoder, ("last", "best")),
        **{f"{name}.precision": (recipe.stage(name).precision, PRECISIONS) for name in STAGES},
        **{f"{name}.optimizer": (recipe.stage(name).optimizer, OPTIMIZERS) for name in STAGES},
        **{f"{name}.schedule": (recipe.stage(name).schedule, SCHEDULES) for name in STAGES},
        **{f"contrast.views[{i}]": (view, VIEWS) for i, view in enumerate(recipe.contrast.views)},
    }
    for key, (value, known) in choices.items():
        if value not in known:
            raise RecipeError(f"{key} is {value!r}; known: {', '.join(known)}")
    if not recipe.contrast.views:
        raise RecipeError(f"contrast.views is empty; known: {', '.join(VIEWS)}")
    for name in STAGES:
        stage = recipe.stage(name)
        ranges = {
            "steps": stage.steps >= 1,
            "batch": stage.batch >= 2,  # batch normalization
            "crop": stage.crop >= 32 and stage.crop % 32 == 0,
            "lr": stage.lr > 0,
            "weight_decay": stage.weight_decay >= 0,
            "warmup": stage.warmup >= 0,
            "cooldown": 0 <= stage.cooldown <= 1,
            "clip": stage.clip >= 0,
            "average": 0 <= stage.average < 1,
        }
        for key, fine in ranges.items():
            if not fine:
                raise RecipeError(f"{name}.{key} is out of its range: {getattr(stage, key)!r}")
        if stage.schedule != "linear" and (stage.warmup or stage.cooldown):
            raise RecipeError(f'{name}.warmup and {name}.cooldown belong to schedule = "linear"; set them to 0')
    data = recipe.data
    shares = {key: getattr(data, key) for key in ("held_back", "photos", "native", "augment", "parts")}
    for key, value in shares.items():
        if not 0 <= value <= 1:
            raise RecipeError(f"data.{key} is a share between 0 and 1, got {value!r}")
    if not 32 <= data.least <= data.frame:
        raise RecipeError(f"data.least must be between 32 and data.frame ({data.frame}), got {data.least}")
    if not 0 <= recipe.network.drop_path < 1:
        raise RecipeError(f"network.drop_path is a probability below 1, got {recipe.network.drop_path!r}")
    if recipe.network.input_size < 32:
        raise RecipeError(f"network.input_size is at least 32 pixels, got {recipe.network.input_size}")
    if recipe.network.windows and not 0.5 <= recipe.network.windows < 1:
        raise RecipeError(f"network.windows is 0 or a share from 0.5 to 1, got {recipe.network.windows!r}")
    for name in ("head", "supervised"):
        if recipe.stage(name).calibration < 0:
            raise RecipeError(f"{name}.calibration is a number of forgeries, got {recipe.stage(name).calibration}")
    if recipe.teacher.samples < 0 or recipe.teacher.weight <= 0:
        raise RecipeError("teacher.samples is a number of forgeries, 0 for no teacher, and teacher.weight is positive")
    if recipe.contrast.temperature <= 0 or recipe.contrast.samples < 2:
        raise RecipeError("contrast.temperature must be positive and contrast.samples at least 2")


def _flat(table: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
