"""The state of a training and the files that keep it: one checkpoint a stage, from which --resume goes on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from bench.files import atomic
from bench.training.mpc.recipe import STAGES, Recipe, differences, learning_rate
from bench.training.mpc.start import Start
from models.mpc.network import MPC

EARLIER = {"contrast": (), "head": ("contrast",), "supervised": ()}  # what a stage builds on


class TrainingError(RuntimeError):
    """A training that cannot start or go on; the message says what to change."""


@dataclass
class State:
    """What a stage changes from step to step.

    Attributes:
        network: all of it.
        average: its moving average, which is what is validated and exported.
        trained: the part of the network that has gradients.
        parallel: the same, with gradients averaged over several processes.
        optimizer: of `trained`.
        scheduler: None where the recipe's schedule is a function of the step.
        scaler: of a float16 loss.
        step: steps done.
        best: step, auc and averaged network (on the CPU) of the best validation so far.
        start: file and sha256 of the checkpoint that the encoder started from, if any.
    """

    network: MPC
    average: AveragedModel
    trained: nn.Module
    parallel: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None
    scaler: torch.amp.GradScaler
    step: int = 0
    best: dict[str, Any] | None = None
    start: dict[str, str] | None = None

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.optimizer.param_groups[0]["lr"]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of all parameters."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def content(self) -> dict[str, Any]:
        """All of it as tensors and plain values."""
        states = {name: keeper.state_dict() for name, keeper in self._keepers().items()}
        return {"step": self.step, "best": self.best, "start": self.start, **states}

    def load(self, content: dict[str, Any]) -> None:
        """Go on where `content` was taken; an older version's may lack what had no meaning then."""
        self.step, self.best, self.start = content["step"], content.get("best"), content.get("start")
        for name, keeper in self._keepers().items():
            if content.get(name):
                keeper.load_state_dict(content[name])
        self.average.n_averaged.fill_(self.step + 1)

    def _keepers(self) -> dict[str, Any]:
        found = {
            "network": self.network,
            "average": self.average.module,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": self.scaler,
        }
        return {name: keeper for name, keeper in found.items() if keeper is not None}


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in a training's folder, and whether they belong to this training.

    Attributes:
        folder: where `contrast.pt`, `head.pt` and `supervised.pt` are.
        recipe: of this training.
        digest: of the data that is trained on.
        validation: steps between validations, and samples of each.
        processes: how many train.
        start: what the encoder is to start from, if --start was given.
    """

    folder: Path
    recipe: Recipe
    digest: str
    validation: tuple[int, int]
    processes: int = 1
    start: Start | None = None

    def file(self, stage: str) -> Path:
        """The checkpoint of a stage."""
        return self.folder / f"{stage}.pt"

    def exists(self, stage: str) -> bool:
        """Whether the stage has a checkpoint."""
        return self.file(stage).exists()

    def save(self, stage: str, state: State) -> None:
        """Write a stage's state, whole or not at all."""
        content = {
            "stage": stage,
            "recipe": json.dumps(dataclasses.asdict(self.recipe)),
            "photos": self.digest,
            "validation": list(self.validation),
            "processes": self.processes,
            **state.content(),
        }
        with atomic(self.file(stage)) as stream:
            torch.save(content, stream)

    def read(self, stage: str) -> dict[str, Any]:
        """The content of a stage's checkpoint; nothing in it is executed.

        Raises:
            TrainingError: it is damaged.
        """
        file = self.file(stage)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged archive raises whatever unpickling stumbles over
            raise TrainingError(f"{file}: not a readable training checkpoint ({error})") from error

    def check(self, stage: str, content: dict[str, Any]) -> None:
        """Check that this training would have done the same so far as the one that wrote the checkpoint.

        Raises:
            TrainingError: another recipe, other data, another start or other validations.
        """
        file, theirs = self.file(stage), json.loads(content["recipe"])
        ours = dataclasses.asdict(self.recipe)
        for other in set(STAGES) - {stage, *EARLIER[stage]}:
            theirs[other] = ours[other]
        if self._same_so_far(stage, theirs[stage], content["step"]):
            theirs[stage]["steps"] = ours[stage]["steps"]
        found = differences(self.recipe, theirs)
        if found:
            raise TrainingError(f"{file} is of another recipe ({'; '.join(found)}); give another --out")
        if content["photos"] != self.digest:
            raise TrainingError(
                f"{file} was trained on other photos or sets; give its --photos and --data, or another --out"
            )
        started = content.get("start")
        if stage != "head" and self.start and (not started or started["sha256"] != self.start.digest):
            other = f"from {started['file']} ({started['sha256'][:12]})" if started else "from random weights"
            raise TrainingError(f"{file} was started {other} and not from {self.start.file}; leave --start out")
        validation = content.get("validation")
        if self.recipe.stage(stage).schedule != "linear" and validation not in (None, list(self.validation)):
            every, samples = validation
            raise TrainingError(
                f"{file}: validations decide its learning rate; give --validate-every {every} "
                f"--validation-samples {samples} as before, or another --out"
            )

    def trained_encoder(self) -> tuple[dict[str, Tensor], dict[str, str] | None]:
        """The averaged encoder of the finished stage 1, last or best as the recipe says, and what it started from.

        Raises:
            TrainingError: stage 1 is not finished.
        """
        if not self.exists("contrast"):
            raise TrainingError(f"{self.file('contrast')} is missing; train --stage contrast first, with this --out")
        content = self.read("contrast")
        self.check("contrast", content)
        if content["step"] < self.recipe.contrast.steps:
            raise TrainingError(
                f"{self.file('contrast')} is at step {content['step']} of {self.recipe.contrast.steps}; "
                "finish it with --stage contrast --resume"
            )
        best = self.recipe.head.encoder == "best" and content.get("best")
        tensors, prefix = content["best"]["network"] if best else content["average"], "encoder."
        encoder = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        return encoder, content.get("start")

    def _same_so_far(self, stage: str, theirs: dict[str, Any], done: int) -> bool:
        """Whether another number of steps would have changed nothing yet.

        That is: the learning rate had not begun to fall, and no validation after the last step has decided about it.
        """
        settings = self.recipe.stage(stage)
        if settings.schedule != "linear" and done == theirs["steps"]:
            return False
        other = dataclasses.replace(settings, steps=theirs["steps"])
        return done <= settings.steps and all(
            learning_rate(settings, step) == learning_rate(other, step) for step in range(done)
        )
