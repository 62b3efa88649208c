"""A training in its output folder: stages run one after the other, each from its checkpoint if it has one."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from bench.files import write_atomic
from bench.training.mpc.checkpoint import Checkpoints, State, TrainingError
from bench.training.mpc.data import TrainingData
from bench.training.mpc.forgeries import Photos, Presentation
from bench.training.mpc.log import Log
from bench.training.mpc.pairs import Pairs
from bench.training.mpc.parallel import Processes, alone
from bench.training.mpc.recipe import STAGES, Recipe, learning_rate
from bench.training.mpc.stages import TRAINERS, Trainer
from bench.training.mpc.start import Start, forensic_start
from bench.training.mpc.streams import Stream
from bench.training.mpc.teacher import DistillationDataset, Teacher
from bench.training.mpc.validation import calibrate, validate
from bench.training.progress import progress
from bench.training.stopping import Stop, Stopped, start_worker
from models.checkpoint import save_checkpoint
from models.mpc.network import MPC

log = logging.getLogger(__name__)

TWO_STAGES = ("contrast", "head")  # MPC; the stage "supervised" stands alone
LAST, BEST = "mpc.safetensors", "mpc_best.safetensors"


@dataclass(frozen=True)
class Outcome:
    """How a stage ended.

    Attributes:
        step: the last one done.
        best: (step, AUC) of the best validation.
        start: what the encoder started from, as in `State`.
    """

    step: int
    best: tuple[int, float] | None
    start: dict[str, str] | None


class Training:
    """One output folder being trained in. Everything random is a function of the recipe's seed and the step.

    Attributes:
        data: what is trained and validated on.
        checkpoints: the files of the stages.
        outcomes: of the stages that `run` was called for.
    """

    def __init__(
        self,
        recipe: Recipe,
        photos: Photos | None,
        out: Path,
        *,
        device: torch.device,
        workers: int,
        save_every: int,
        validate_every: int,
        validation_samples: int,
        pairs: Pairs | None = None,
        start: Start | None = None,
        tensorboard: bool = False,
        processes: Processes | None = None,
    ):
        """Prepare a training; nothing is written yet.

        Args:
            recipe: what decides the result.
            photos: forged on the fly. Photos or pairs may be None, not both.
            out: the folder.
            device: where the network is.
            workers: processes that make samples; 0: this one.
            save_every: steps between checkpoints.
            validate_every: steps between validations.
            validation_samples: of each validation.
            pairs: of training sets.
            start: what the encoder starts from.
            tensorboard: also write event files.
            processes: that train together.
        """
        self.recipe, self.out, self.device, self.workers = recipe, out, device, workers
        self.save_every, self.validate_every = save_every, validate_every
        self.validation_samples = validation_samples
        self.start, self.tensorboard = start, tensorboard
        self.processes = processes or alone(device)
        self.outcomes: dict[str, Outcome] = {}
        self.data = TrainingData(photos, pairs, recipe)
        validation = (validate_every, validation_samples)
        self.checkpoints = Checkpoints(out, recipe, self.data.digest, validation, self.processes.count, start)

    def log_beginning(self, stages: tuple[str, ...]) -> None:
        """Log what the user should know before the first step of `stages`: what is used and what is left out."""
        for line in self.data.left_out():
            log.warning(line)
        for line in self.data.repeats():
            log.info(line)
        if self.start is not None:
            log.info(self.start.describe(any(map(self._takes_head, stages))))

    def claim(self, stages: tuple[str, ...], resume: bool) -> None:
        """Make the output folder ours, or say why not: nothing in it is ever overwritten without --resume.

        Raises:
            TrainingError: a stage has a checkpoint and `resume` is false; a checkpoint belongs to another recipe,
                start or other data; stage "head" has no trained encoder to start from; a head is to be taken from a
                start that is not given; the folder holds the other kind of training, whose network would be replaced;
                a batch cannot be shared by the processes.
            WeightsError: the start has no such head.
        """
        for stage in stages:
            self._check_batch(stage)
        for stage in filter(self._takes_head, stages):
            self._check_start_head(stage, resume)
        self.out.mkdir(parents=True, exist_ok=True)
        for stage in filter(self.checkpoints.exists, stages):
            if not resume:
                raise TrainingError(
                    f"{self.checkpoints.file(stage)} exists; go on with --resume, or give another --out"
                )
            self.checkpoints.check(stage, self.checkpoints.read(stage))
        for other in set(STAGES) - set(TWO_STAGES if stages[0] in TWO_STAGES else stages):
            if self.checkpoints.exists(other):
                raise TrainingError(f"{self.out} holds a training of --stage {other}; give another --out")
        if stages[0] == "head":
            self.checkpoints.trained_encoder()
        self.processes.wait()  # until all have looked
        if self.processes.first:
            write_atomic(self.out / "recipe.json", json.dumps(dataclasses.asdict(self.recipe), indent=2) + "\n")

    def run(self, stage: str, stop: Stop) -> bool:
        """Train one stage to its last step, from its checkpoint if there is one. False when `stop` was set."""
        processes = self.processes
        trainer = TRAINERS[stage](self.recipe, processes)
        settings = trainer.settings
        state = self._begin(trainer)
        done = state.step
        try:
            batches = self._batches(trainer, done, stop)
        except Stopped:  # nothing has been done that is not in the checkpoint
            return False
        table = Log(self.out if processes.first else None, stage, done, self.tensorboard)
        bar = progress(total=settings.steps, initial=done, desc=stage, unit="step", disable=not processes.first)
        started = time.monotonic() - table.seconds
        with table, bar:
            for step in range(done, settings.steps):
                if processes.any(stop.requested):
                    break
                batch = next(batches)
                if state.scheduler is None:
                    state.set_rate(learning_rate(settings, step))
                rate = state.rate
                loss, terms = trainer.step(state, step, batch)
                state.step = step + 1
                last = state.step == settings.steps
                row = {"step": state.step, "images": state.step * settings.batch, "loss": loss, "terms": terms}
                row |= {"lr": rate, "seconds": round(time.monotonic() - started, 2)}
                if state.step % self.validate_every == 0 or last:
                    row["val_auc"], row["val_f1"] = self._validate(trainer, state)
                table.write(row)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                if state.step % self.save_every == 0 and not last:
                    self._save(stage, state)
            self._save(stage, state)
        processes.wait()  # the first one's checkpoint is what all begin the next stage with
        best = (state.best["step"], state.best["auc"]) if state.best else None
        self.outcomes[stage] = Outcome(state.step, best, state.start)
        return state.step == settings.steps

    def export(self, stage: str) -> Path:
        """Write the networks of a finished stage, "head" or "supervised", as `build("mpc", weights=...)` wants them.

        That is the average after the last step and the best one by validation AUC, as half-precision safetensors.
        Returns the file of the last one.
        """
        content, samples = self.checkpoints.read(stage), self.recipe.classifier(stage).calibration
        found = {LAST: content["average"]} | ({BEST: content["best"]["network"]} if content.get("best") else {})
        config = {
            "backbone": self.recipe.network.backbone,
            "head": self.recipe.network.head,
            "input_size": self.recipe.network.input_size,
            "windows": self.recipe.network.windows,
            "trained_on": list(self.data.trained_on),
        }
        for name, tensors in found.items():
            network = self._fresh_network().to(self.device).eval()
            network.load_state_dict(tensors)
            if samples:  # training samples, shown whole and at the size of inference
                side = self.recipe.network.input_size
                how = Presentation(side, native=0.0, least=side, crop=side, augment=self.recipe.data.augment)
                data = self.data.samples(self.data.training, Stream.CALIBRATION, how, samples)
                calibrate(network, data, self.device)
            save_checkpoint(self.out / name, network, config)
        return self.out / LAST

    def _begin(self, trainer: Trainer) -> State:
        """Where a stage starts: at its checkpoint, or at step 0."""
        stage = trainer.name
        network, start = self._fresh_network(), None
        if stage == "head":
            encoder, start = self.checkpoints.trained_encoder()
            network.encoder.load_state_dict(encoder)
        elif self.start is not None:
            self.start.apply(network.encoder)
            start = {"file": self.start.file, "sha256": self.start.digest}
        if self.start is not None and self._takes_head(stage):
            self.start.apply_head(network.decoder)
        state = trainer.begin(network, start)
        if self.checkpoints.exists(stage):
            content = self.checkpoints.read(stage)
            state.load(content)
            if content.get("processes", 1) != self.processes.count and self.processes.first:
                log.warning(
                    "%s is by %d processes, this is %d: the training goes on, but not as it would have there",
                    self.checkpoints.file(stage),
                    content.get("processes", 1),
                    self.processes.count,
                )
        return state

    def _validate(self, trainer: Trainer, state: State) -> tuple[float, float]:
        """Validate, keep the best network, and let a schedule that asks for it know. Validation AUC and F1."""
        auc = f1 = 0.0
        if self.processes.first:
            how = self.data.presentation(trainer.settings)
            samples = self.data.samples(self.data.validation, Stream.VALIDATION, how, self.validation_samples)
            network: Any = state.average.module
            auc, f1 = validate(
                samples, trainer.settings.batch, lambda images: trainer.maps(network, images), self.device
            )
            log.info("%s step %d: validation AUC %.3f, F1 %.3f", trainer.name, state.step, auc, f1)
        auc, f1 = (self.processes.from_first(value) for value in (auc, f1))
        if auc > (state.best["auc"] if state.best else 0.0):
            average = {name: value.detach().cpu().clone() for name, value in state.average.module.state_dict().items()}
            state.best = {"step": state.step, "auc": auc, "network": average}
        if isinstance(state.scheduler, ReduceLROnPlateau):
            state.scheduler.step(auc)
        elif state.scheduler is not None:
            state.scheduler.step()
        return auc, f1

    def _batches(self, trainer: Trainer, done: int, stop: Stop) -> Iterator[dict[str, torch.Tensor]]:
        """This process's shares of the batches from step `done` on.

        Batch k holds the samples k * size .. (k + 1) * size - 1 of the stream, dealt in order to the processes.

        Raises:
            Stopped: the user asked for an end while the teacher was fitted.
        """
        settings = trainer.settings
        size, share = settings.batch, self.processes.share(settings.batch)
        first = self.processes.rank * share
        how = self.data.presentation(settings)
        samples = self.data.samples(self.data.training, trainer.stream, how, settings.steps * size)
        if trainer.labelled and self.recipe.teacher.samples and done < settings.steps:
            samples = DistillationDataset(samples, self._teacher(how, stop))
        loader = DataLoader(
            samples,
            batch_sampler=[
                list(range(k * size + first, k * size + first + share)) for k in range(done, settings.steps)
            ],
            num_workers=self.workers,
            prefetch_factor=3 if self.workers else None,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=start_worker if self.workers else None,
        )
        return iter(loader)

    def _teacher(self, how: Presentation, stop: Stop) -> Teacher:
        """A teacher fitted to training samples presented as told: the same one each time, so none is kept."""
        count = self.recipe.teacher.samples
        samples = self.data.samples(self.data.training, Stream.TEACHER, how, count)

        def fitted() -> Teacher | None:
            log.info("the teacher learns from %s forgeries (a resumed training repeats it)", f"{count:,}")
            try:
                with stop.immediate():
                    return Teacher().fit(samples, self.workers, start_worker)
            except Stopped:
                return None
            except ValueError as error:
                raise TrainingError(f"no teacher: {error}; raise teacher.samples in the recipe") from error

        teacher = self.processes.made_by_first(fitted)
        if teacher is None:
            raise Stopped
        return teacher

    def _save(self, stage: str, state: State) -> None:
        if self.processes.first:
            self.checkpoints.save(stage, state)

    def _fresh_network(self) -> MPC:
        torch.manual_seed(self.recipe.seed)
        chosen = self.recipe.network
        network = MPC(chosen.backbone, chosen.head, chosen.drop_path)
        if chosen.initial == "forensic":
            forensic_start(network.encoder)
        return network

    def _takes_head(self, stage: str) -> bool:
        return stage != "contrast" and self.recipe.classifier(stage).start_head

    def _check_batch(self, stage: str) -> None:
        batch, count = self.recipe.stage(stage).batch, self.processes.count
        if batch % count or batch // count < 2:
            raise TrainingError(
                f"{stage}.batch of {batch} cannot be shared by {count} processes; make it a multiple of {count} "
                f"with at least two samples each (batch normalization), e.g. {max(2, math.ceil(batch / count)) * count}"
            )

    def _check_start_head(self, stage: str, resume: bool) -> None:
        """Raise unless the start has the head that the recipe wants of it.

        A resumed training needs none. Nor is there one where stage 1 began without a start: the head then begins as
        the encoder did.
        """
        if self.start is not None:
            self.start.apply_head(self._fresh_network().decoder)
            return
        if resume and self.checkpoints.exists(stage):
            return
        if stage == "supervised" or (
            self.checkpoints.exists("contrast") and self.checkpoints.read("contrast").get("start")
        ):
            raise TrainingError(f"{stage}.start_head takes the head of a trained network; give one with --start")
