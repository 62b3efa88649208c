"""The recipe of an MPC training: every choice that decides the result, read from a TOML file."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf

from models.mpc.backbone import VARIANTS as BACKBONES
from models.mpc.head import HEADS
from models.mpc.losses import VARIANTS, VIEWS
from models.toml import OneOf, Table, from_table, load_toml

FOLDER = Path(__file__).parent / "recipes"
STAGES = ("contrast", "head", "supervised")
RENAMED = {"data": {"held_back": "validation"}}  # keys of older recipes and checkpoints

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0)]


class RecipeError(ValueError):
    """A recipe that cannot be followed; the message names the file, the key and the fix."""


@dataclass(frozen=True)
class Network(Table):
    """The network.

    Attributes:
        backbone: as in `models.mpc.network.MPC`.
        head: as in `models.mpc.network.MPC`.
        drop_path: probability of stochastic depth, the randomness that makes the views of stage 1.
        input_size: side in pixels of the square that photos are resized to when the network is applied.
        windows: side of four additional windows, as a share of the photo's sides, from .5 (`models.mpc.localizer`);
            0, as in MPC: no windows.
        initial: first values of the encoder where --start gives none. "random", or "forensic": half of the first
            kernels are blind to constant and evenly changing intensities, and residual branches start at zero
            (`start.py`).
    """

    backbone: str = "small"
    head: Annotated[str, OneOf(*HEADS)] = "catnet"
    drop_path: Annotated[float, Ge(0), Lt(1)] = 0.2
    input_size: Annotated[int, Ge(32)] = 512
    windows: float = 0.0
    initial: Annotated[str, OneOf("random", "forensic")] = "random"

    def __post_init__(self) -> None:
        """Check what one key's range cannot state."""
        if self.backbone not in BACKBONES:  # tests add tiny ones
            raise ValueError(f"backbone is {self.backbone!r}; known: {', '.join(BACKBONES)}")
        if self.windows and not 0.5 <= self.windows < 1:
            raise ValueError(f"windows is 0 or a share from 0.5 to 1, got {self.windows!r}")


@dataclass(frozen=True)
class Data(Table):
    """The samples.

    Attributes:
        validation: share of the photos, and of the source photos of the training sets, used for validation only.
        photos: share of the samples that are forged on the fly, where there are training sets as well.
        frame, native, least, augment, parts: see `bench.training.mpc.forgeries.Presentation`.
    """

    validation: Share = 0.06
    photos: Share = 0.5
    frame: int = 512
    native: Share = 0.25
    least: Annotated[int, Ge(32)] = 256
    augment: Share = 0.75
    parts: Share = 0.0

    def __post_init__(self) -> None:
        """Check what one key's range cannot state."""
        if self.least > self.frame:
            raise ValueError(f"least must be between 32 and frame ({self.frame}), got {self.least}")


@dataclass(frozen=True)
class Teaching(Table):
    """A teacher (`bench.training.mpc.teacher`) for the stages with labels, "supervised" and "head"; not in MPC.

    Attributes:
        samples: forgeries of training photos that the teacher is fitted to before such a stage begins, presented like
            the stage's own; 0: no teacher.
        weight: of the mean squared difference to the teacher's log-odds in the loss.
    """

    samples: Count = 0
    weight: Annotated[float, Gt(0)] = 0.125


@dataclass(frozen=True)
class Stage(Table):
    """What all stages have.

    Attributes:
        steps: of the optimizer.
        batch: samples per step, over all processes.
        crop: side of the training samples in pixels.
        optimizer: "adamw" (released code), "adam" (paper) or "muon" (`bench.training.mpc.muon`).
        lr: peak learning rate.
        weight_decay: decoupled, as in AdamW.
        clip: largest norm of a step's gradient; 0: unlimited.
        schedule: of the learning rate. "linear": a linear rise to `lr` over `warmup` steps, a plateau, and a linear
            fall to zero over the last `cooldown` share of the steps; until it falls, a training can be continued to
            another length. "plateau" and "cosine", as in the released stages 1 and 2: PyTorch's ReduceLROnPlateau
            (halved after more than three validations without a better AUC, down to 1e-8) and CosineAnnealingLR (half
            a period of 20 validations, down to 1e-8), both stepped at every validation.
        warmup: steps; "linear" only.
        cooldown: share of the steps; "linear" only.
        average: decay of the moving average of the weights, which is what is validated and exported; 0: no averaging.
        precision: "float32", or autocast to "bfloat16" or "float16" (the latter with a scaled loss).
    """

    steps: Annotated[int, Ge(1)] = 1000
    batch: Annotated[int, Ge(2)] = 8  # batch normalization needs two
    crop: Annotated[int, Ge(32), MultipleOf(32)] = 160
    optimizer: Annotated[str, OneOf("adamw", "adam", "muon")] = "adamw"
    lr: Annotated[float, Gt(0)] = 1e-4
    weight_decay: Annotated[float, Ge(0)] = 0.01
    clip: Annotated[float, Ge(0)] = 1.0
    schedule: Annotated[str, OneOf("linear", "plateau", "cosine")] = "linear"
    warmup: Count = 0
    cooldown: Share = 0.0
    average: Annotated[float, Ge(0), Lt(1)] = 0.0
    precision: Annotated[str, OneOf("float32", "bfloat16", "float16")] = "float32"

    def __post_init__(self) -> None:
        """Check what one key's range cannot state."""
        if self.schedule != "linear" and (self.warmup or self.cooldown):
            raise ValueError('warmup and cooldown belong to schedule = "linear"; set them to 0')


@dataclass(frozen=True)
class ContrastStage(Stage):
    """Stage 1, the encoder: see `models.mpc.losses.pixel_contrast`."""

    variant: Annotated[str, OneOf(*VARIANTS)] = "released"
    views: Annotated[tuple[Annotated[str, OneOf(*VIEWS)], ...], MinLen(1)] = VIEWS
    temperature: Annotated[float, Gt(0)] = 0.1
    samples: Annotated[int, Ge(2)] = 5000


@dataclass(frozen=True)
class ClassifierStage(Stage):
    """From pixels to labels by `models.mpc.losses.focal_loss`: encoder and head, or, as `HeadStage`, the head alone.

    Attributes:
        alpha: of the focal loss.
        gamma: of the focal loss.
        calibration: number of forgeries of training photos that set the head's last bias after the last step, such
            that thresholding the probability at .5 has the best mean F1 on them; 0, as released: no calibration.
        start_head: whether the head of --start is taken too and fine-tuned; otherwise the head starts anew, as in MPC.
            It also starts anew in a stage 2 whose encoder had no start.
    """

    alpha: float = 0.5
    gamma: float = 2.0
    calibration: Count = 0
    start_head: bool = False


@dataclass(frozen=True)
class HeadStage(ClassifierStage):
    """Stage 2, the head alone.

    Attributes:
        encoder: the state of stage 1 that the head is trained on: the "last", or the "best" by validation AUC.
        backbone_mode: the frozen encoder has no gradient in either mode. "released": it stays in train mode as in the
            authors' code, so batch-norm statistics keep adapting and stochastic depth stays active. "eval": fixed.
    """

    encoder: Annotated[str, OneOf("last", "best")] = "last"
    backbone_mode: Annotated[str, OneOf("released", "eval")] = "released"


@dataclass(frozen=True)
class Recipe(Table):
    """One training.

    Attributes:
        seed: decides weights, forgeries, their order and every random draw.
        network: see `Network`.
        data: see `Data`.
        contrast: MPC's stage 1.
        head: MPC's stage 2.
        supervised: encoder and head together, instead of both stages to compare with, or before them as their start.
        teacher: for the two stages that have labels.
    """

    seed: Count = 0
    network: Network = field(default_factory=Network)
    data: Data = field(default_factory=Data)
    contrast: ContrastStage = field(default_factory=ContrastStage)
    head: HeadStage = field(default_factory=HeadStage)
    supervised: ClassifierStage = field(default_factory=ClassifierStage)
    teacher: Teaching = field(default_factory=Teaching)

    def stage(self, name: str) -> Stage:
        """The settings of the stage "contrast", "head" or "supervised"."""
        return getattr(self, name)

    def classifier(self, name: str) -> ClassifierStage:
        """The settings of a stage with labels, "head" or "supervised"."""
        return getattr(self, name)

    def replaced(self, steps: int | None = None, seed: int | None = None) -> Recipe:
        """The recipe with another number of steps (of each stage) or another seed; None keeps it."""
        recipe = self
        if steps is not None:
            stages: dict[str, Any] = {name: dataclasses.replace(self.stage(name), steps=steps) for name in STAGES}
            recipe = dataclasses.replace(recipe, **stages)
        return recipe if seed is None else dataclasses.replace(recipe, seed=seed)


def read_recipe(path: str | os.PathLike) -> Recipe:
    """The recipe in a TOML file, or the shipped one of that name (`small`). Left-out keys have their defaults.

    Raises:
        RecipeError: no such file, not TOML, an unknown key (the nearest is named), a value out of its range.
    """
    return make_recipe(recipe_table(path), where=f"{recipe_file(path)}: ")


def recipe_file(path: str | os.PathLike) -> Path:
    """The file of a recipe: the one given, or the shipped one of that name."""
    file, shipped = Path(path), FOLDER / f"{path}.toml"
    return shipped if not file.exists() and shipped.exists() else file


def recipe_table(path: str | os.PathLike) -> dict[str, Any]:
    """The plain content of a recipe's file.

    Raises:
        RecipeError: no such file, or not TOML.
    """
    file = recipe_file(path)
    if not file.exists():
        shipped = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise RecipeError(f"{file}: no such file; shipped recipes: {shipped}")
    return load_toml(file, RecipeError)


def make_recipe(table: dict[str, Any], where: str = "") -> Recipe:
    """The recipe of a TOML file's table.

    Args:
        table: plain content.
        where: what error messages begin with.

    Raises:
        RecipeError: the table does not fit; the message names the key.
    """
    return from_table(with_new_names(table), Recipe, RecipeError, where=where)


def differences(ours: Recipe, theirs: dict[str, Any]) -> list[str]:
    """`key: here X, there Y` for every key in which a recipe and a stored one (as dict) differ.

    A key that did not exist when the other was stored has its default, which is how it was then.
    """
    return table_differences(
        dataclasses.asdict(ours), flat(dataclasses.asdict(Recipe())) | flat(with_new_names(theirs))
    )


def table_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """`key: here X, there Y` for every dotted key in which two nested tables differ."""
    here, there = flat(ours), flat(theirs)
    return [
        f"{key}: here {here.get(key, 'absent')}, there {there.get(key, 'absent')}"
        for key in sorted({*here, *there})
        if _as_list(here.get(key)) != _as_list(there.get(key))
    ]


def learning_rate(stage: Stage, step: int) -> float:
    """The learning rate of step 0 to steps - 1; the initial one where validations decide."""
    if stage.schedule != "linear":
        return stage.lr
    rate = stage.lr * min(1.0, (step + 1) / (stage.warmup + 1))
    left = stage.cooldown * stage.steps
    return rate * min(1.0, (stage.steps - step) / left) if left else rate


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of nested tables."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def with_new_names(table: dict[str, Any]) -> dict[str, Any]:
    """A recipe's table with the keys of older recipes under their present names."""
    table = dict(table)
    for name, keys in RENAMED.items():
        if isinstance(table.get(name), dict):
            table[name] = {keys.get(key, key): value for key, value in table[name].items()}
    return table


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
