"""The three stages of a training: which part of the network each trains, by which loss, with which optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from bench.training.mpc.checkpoint import State, TrainingError
from bench.training.mpc.muon import Muon
from bench.training.mpc.parallel import Processes
from bench.training.mpc.recipe import ClassifierStage, ContrastStage, HeadStage, Recipe, Stage
from bench.training.mpc.streams import Stream, step_seed
from bench.training.mpc.validation import two_means
from models.mpc.losses import focal_loss, labels_at, pixel_contrast
from models.mpc.network import MPC

FIRST_SCALE = 2.0**10  # of a float16 loss; steps whose gradient overflows are skipped and halve it
LEAST_SCALE = 2.0**-10  # if it overflows even so, the training has diverged


class Trainer(ABC):
    """One stage's steps. Subclasses say what is trained and by which loss.

    Attributes:
        name: "contrast", "head" or "supervised".
        stream: the random numbers of its samples and steps.
        labelled: whether it learns from masks (and a teacher).
    """

    name: str
    stream: Stream
    labelled = True

    def __init__(self, recipe: Recipe, processes: Processes):
        self.recipe, self.processes, self.device = recipe, processes, processes.device

    @property
    def settings(self) -> Stage:
        """This stage's part of the recipe."""
        return self.recipe.stage(self.name)

    @abstractmethod
    def trained(self, network: MPC) -> nn.Module:
        """The part of the network that has gradients."""

    @abstractmethod
    def loss(
        self, state: State, images: Tensor, targets: dict[str, Tensor], autocast: AbstractContextManager
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its terms by name.

        Args:
            state: of the training; its `parallel` is to be called for the trained part.
            images: float (B, 3, H, W) in 0..1.
            targets: "mask", bool (B, H, W), and with a teacher "soft_target", float (B, H // 8, W // 8) log-odds.
            autocast: the context of the forward pass.
        """

    def prepare(self, network: MPC) -> None:  # noqa: B027 (most have nothing to set)
        """Set modes and statistics of what is not trained; the network is in train mode."""

    def maps(self, network: MPC, images: Tensor) -> Tensor:
        """Probabilities (B, h, w) for validation, at stride 4."""
        return torch.sigmoid(network.decoder(network.fuse(network.encoder(images))))[:, 0]

    def begin(self, network: MPC, start: dict | None) -> State:
        """The state before the first step.

        Args:
            network: with its first values.
            start: file and digest of what the encoder started from, if anything.
        """
        settings = self.settings
        network.to(self.device)
        trained = self.trained(network)
        network.requires_grad_(False)
        trained.requires_grad_(True)
        optimizer = _optimizer(settings, trained)
        return State(
            network,
            moving_average(network, settings.average),
            trained,
            # terms of the contrast are left out where an image has no pixel for them
            self.processes.parallel(trained, partly=not self.labelled),
            optimizer,
            _scheduler(settings, optimizer),
            torch.amp.GradScaler(self.device.type, FIRST_SCALE, enabled=settings.precision == "float16"),
            start=start,
        )

    def step(self, state: State, step: int, batch: dict[str, Tensor]) -> tuple[float, dict[str, float]]:
        """One optimizer step. Returns the loss and its terms (of this process's share of the batch).

        Raises:
            TrainingError: the loss diverged.
        """
        settings = self.settings
        torch.manual_seed(step_seed(self.recipe.seed, self.stream, step, self.processes.rank))
        images = batch["image"].to(self.device, non_blocking=True).float() / 255
        targets = {name: value.to(self.device, non_blocking=True) for name, value in batch.items() if name != "image"}
        state.network.train()
        self.prepare(state.network)
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(settings.precision)
        autocast = torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None)
        loss, terms = self.loss(state, images, targets, autocast)
        scaler, optimizer = state.scaler, state.optimizer
        diverged = scaler.get_scale() < LEAST_SCALE if scaler.is_enabled() else not torch.isfinite(loss)
        if diverged:
            raise TrainingError(
                f"the loss of {self.name} step {step} is {loss.item()}; lower {self.name}.lr in the recipe"
            )
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        if settings.clip:
            nn.utils.clip_grad_norm_(state.trained.parameters(), settings.clip)
        scaler.step(optimizer)
        scaler.update()
        state.average.update_parameters(state.network)
        return loss.item(), terms


class Contrast(Trainer):
    """MPC's stage 1: the encoder, by contrasting pixels of several views."""

    name, stream, labelled = "contrast", Stream.CONTRAST, False

    def trained(self, network: MPC) -> nn.Module:
        """The encoder."""
        return network.encoder

    def loss(
        self, state: State, images: Tensor, targets: dict[str, Tensor], autocast: AbstractContextManager
    ) -> tuple[Tensor, dict[str, float]]:
        """Pixel contrast within the image, across scales and across two stochastic passes."""
        settings: ContrastStage = self.recipe.contrast
        twice = "modality" in settings.views
        with autocast:  # both passes in one batch: stochastic depth is drawn per sample
            features = state.parallel(torch.cat([images, images]) if twice else images)
        contrast = pixel_contrast(
            [scale[: len(images)] for scale in features],
            features[0][len(images) :] if twice else None,
            targets["mask"],
            variant=settings.variant,
            views=settings.views,
            temperature=settings.temperature,
            samples=settings.samples,
        )
        return contrast.loss, {name: round(value, 4) for name, value in contrast.terms.items()}

    def maps(self, network: MPC, images: Tensor) -> Tensor:
        """There is no head yet: spherical 2-means of the fused features, as in the released code."""
        return torch.stack([two_means(image) for image in network.fuse(network.encoder(images))])


class Supervised(Trainer):
    """Encoder and head together, by labels."""

    name, stream = "supervised", Stream.SUPERVISED

    def trained(self, network: MPC) -> nn.Module:
        """The whole network."""
        return network

    def loss(
        self, state: State, images: Tensor, targets: dict[str, Tensor], autocast: AbstractContextManager
    ) -> tuple[Tensor, dict[str, float]]:
        """Focal loss, and the distance to the teacher."""
        with autocast:
            logits = state.parallel(images)[:, 0].float()
        return self.classification(logits, targets)

    def classification(self, logits: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of logits (B, h, w)."""
        settings: ClassifierStage = self.recipe.classifier(self.name)
        loss = focal_loss(logits, labels_at(targets["mask"], logits.shape[1:]), settings.alpha, settings.gamma)
        if "soft_target" not in targets:
            return loss, {}
        soft = targets["soft_target"]
        gap = F.mse_loss(F.adaptive_avg_pool2d(logits, (soft.shape[1], soft.shape[2])), soft)
        return loss + self.recipe.teacher.weight * gap, {"teacher": round(gap.item(), 4)}


class Head(Supervised):
    """MPC's stage 2: the head alone, on the frozen encoder."""

    name, stream = "head", Stream.HEAD

    def trained(self, network: MPC) -> nn.Module:
        """The head."""
        return network.decoder

    def prepare(self, network: MPC) -> None:
        """Give all processes the first one's encoder, in the mode that the recipe wants."""
        settings: HeadStage = self.recipe.head
        if settings.backbone_mode == "eval":
            network.encoder.eval()
        self.processes.share_statistics(network.encoder)

    def loss(
        self, state: State, images: Tensor, targets: dict[str, Tensor], autocast: AbstractContextManager
    ) -> tuple[Tensor, dict[str, float]]:
        """Focal loss, and the distance to the teacher."""
        with autocast:
            with torch.no_grad():
                fused = state.network.fuse(state.network.encoder(images))
            logits = state.parallel(fused)[:, 0].float()
        return self.classification(logits, targets)


TRAINERS: dict[str, type[Trainer]] = {trainer.name: trainer for trainer in (Contrast, Head, Supervised)}


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of parameters and floating-point buffers; integer buffers are copied.

    The decay of update k, from 0, is min(decay, (1 + k) / (10 + k)), so that the first values are forgotten quickly.
    """

    @torch.no_grad()
    def blend(means: Iterable[Tensor], values: Iterable[Tensor], updates: Tensor | int) -> None:
        done = int(updates) - 1
        share = 1 - min(decay, (1 + done) / (10 + done))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)

    average = AveragedModel(network, multi_avg_fn=blend, use_buffers=True).eval()
    average.n_averaged.fill_(1)  # from 0, the first update would replace the first values instead of blending
    return average


def _optimizer(settings: Stage, trained: nn.Module) -> torch.optim.Optimizer:
    if settings.optimizer == "muon":
        return Muon(trained.named_parameters(), settings.lr, settings.weight_decay)
    kind: Any = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optimizer]
    return kind(trained.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)


def _scheduler(settings: Stage, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
    """What changes the rate at validations, with the numbers of the released scripts."""
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=3, min_lr=1e-8)
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-8)
    return None
