"""MPC's two-stage training: contrastive pre-training of the encoder, then the head on the frozen encoder.

    python -m bench train mpc --photos DIR --out DIR [--recipe small] [--stage contrast|head|both] [--resume]

Or, to compare with, the whole network by cross-entropy from the start: --stage supervised.

Forgeries are made on the fly from the photos (`models.mpc.forgeries`). The output folder holds `contrast.pt` and
`head.pt`, or `supervised.pt` (the state of each stage, for --resume), `metrics.csv`, `recipe.json` and at the end
`mpc.safetensors`, the network in half precision, which `--models mpc` loads.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from models.checkpoint import save_checkpoint
from models.device import compute_device
from models.mpc.forgeries import Forgeries, Photos, Presentation, find_photos
from models.mpc.losses import focal_loss, labels_at, pixel_contrast
from models.mpc.network import MPC
from models.mpc.recipe import STAGES, Recipe, Stage, differences, learning_rate, read_recipe

TWO_STAGES = ("contrast", "head")  # MPC; the stage "supervised" stands alone
EARLIER = {"contrast": (), "head": ("contrast",), "supervised": ()}  # what a stage builds on
STREAMS = {
    "contrast": 1,
    "head": 2,
    "validation": 3,
    "calibration": 4,
    "supervised": 1,
}  # part of the seed: each draws forgeries of its own, but for the two that are alternatives and see the same ones
COLUMNS = ("stage", "step", "images", "seconds", "lr", "loss", "val_auc", "val_f1", "terms")


class TrainingError(RuntimeError):
    """A training that cannot start or go on; the message says what to change."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench train mpc`."""
    parser.add_argument("--photos", required=True, help="folder of authentic photos (with X/images, X/segments)")
    parser.add_argument("--out", required=True, help="folder for checkpoints, metrics and the trained network")
    parser.add_argument("--stage", choices=(*STAGES, "both"), default="both", help="default: both")
    parser.add_argument("--recipe", default="small", help="TOML file or name of a shipped recipe (default: small)")
    parser.add_argument("--steps", type=int, help="steps of each stage instead of the recipe's")
    parser.add_argument("--seed", type=int, help="seed instead of the recipe's")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--workers", type=int, help="processes that make forgeries (default: CPU cores - 1, 1 to 8)")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints (default: 100)")
    parser.add_argument("--validate-every", type=int, default=100, help="steps between validations (default: 100)")
    parser.add_argument("--validation-samples", type=int, default=64, help="held-back forgeries used (default: 64)")


def main(args: argparse.Namespace) -> int:
    """Train as the options say. Returns 0, or 128 + the signal's number when stopped by one, everything saved.

    Raises RecipeError, PhotoError, DeviceError or TrainingError, with a message for the user.
    """
    recipe = read_recipe(args.recipe).replaced(args.steps, args.seed)
    device = compute_device(args.device)
    photos = find_photos(args.photos)
    for file, problem in photos.defects:
        print(f"left out: {file}: {problem}", file=sys.stderr)
    if photos.defects:
        print(f"{len(photos.defects)} photos left out, training on the other {len(photos)}", file=sys.stderr)
    training = Training(
        recipe,
        photos,
        Path(args.out),
        device=device,
        workers=args.workers if args.workers is not None else min(8, max(1, (os.cpu_count() or 1) - 1)),
        save_every=args.save_every,
        validate_every=args.validate_every,
        validation_samples=args.validation_samples,
    )
    stages = TWO_STAGES if args.stage == "both" else (args.stage,)
    training.claim(stages, args.resume)
    with _stop_signals() as stop:
        for stage in stages:
            if not training.run(stage, stop):
                print(f"stopped and saved; go on with --resume ({training.out})", file=sys.stderr)
                return 128 + stop.signal
    if stages[-1] != "contrast":
        print(f"trained network: {training.export(stages[-1])}")
    return 0


class Training:
    """One output folder being trained in. Everything random is a function of the recipe's seed and the step."""

    def __init__(
        self,
        recipe: Recipe,
        photos: Photos,
        out: Path,
        *,
        device: torch.device,
        workers: int,
        save_every: int,
        validate_every: int,
        validation_samples: int,
    ):
        self.recipe, self.out, self.device, self.workers = recipe, out, device, workers
        self.save_every, self.validate_every = save_every, validate_every
        self.validation_samples = validation_samples
        self.photos, self.held_back = photos.split(recipe.data.held_back)
        names = "\n".join(file.name for file in self.photos.files)
        self.photo_digest = hashlib.sha256(names.encode()).hexdigest()

    def claim(self, stages: tuple[str, ...], resume: bool) -> None:
        """Make the output folder ours, or say why not: nothing in it is ever overwritten without --resume.

        Raises TrainingError when a stage has a checkpoint and `resume` is false, when a checkpoint belongs to another
        recipe or other photos, when stage "head" has no trained encoder to start from, or when the folder holds the
        other kind of training, whose network would be replaced.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        for stage in stages:
            if not self._file(stage).exists():
                continue
            if not resume:
                raise TrainingError(f"{self._file(stage)} exists; go on with --resume, or give another --out")
            self._check_compatible(stage, self._read(stage))
        for other in set(STAGES) - set(TWO_STAGES if stages[0] in TWO_STAGES else stages):
            if self._file(other).exists():
                raise TrainingError(f"{self.out} holds a training of --stage {other}; give another --out")
        if stages[0] == "head":
            self._trained_encoder()
        recipe = json.dumps(dataclasses.asdict(self.recipe), indent=2) + "\n"
        _replace(self.out / "recipe.json", recipe.encode())

    def run(self, stage: str, stop: Stop) -> bool:
        """Train one stage to its last step, from its checkpoint if there is one. False when `stop` was set."""
        settings = self.recipe.stage(stage)
        network = self._fresh_network()
        if stage == "head":
            network.encoder.load_state_dict(self._trained_encoder())
        network.to(self.device)
        trained = {"contrast": network.encoder, "head": network.decoder, "supervised": network}[stage]
        network.requires_grad_(False)
        trained.requires_grad_(True)
        average = copy.deepcopy(network).eval()
        optimizer = torch.optim.AdamW(trained.parameters(), settings.lr, weight_decay=settings.weight_decay)
        done = 0
        if self._file(stage).exists():
            state = self._read(stage)
            network.load_state_dict(state["network"])
            average.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
            done = state["step"]
        log = _Log(self.out / "metrics.csv", stage, done)
        batches = self._batches(stage, done)
        bar = tqdm(total=settings.steps, initial=done, desc=stage, unit="step", disable=None, mininterval=1.0)
        started = time.monotonic() - log.seconds
        with log, bar:
            for step in range(done, settings.steps):
                if stop.requested:
                    break
                try:
                    batch = next(batches)
                except RuntimeError:  # a signal to the whole process group ends the workers too
                    if stop.requested:
                        break
                    raise
                loss, terms = self._step(stage, settings, step, network, trained, optimizer, batch)
                _update_average(average, network, min(settings.average, (1 + step) / (10 + step)))
                done = step + 1
                last = done == settings.steps
                row = {"step": done, "images": done * settings.batch, "loss": loss, "terms": json.dumps(terms)}
                row |= {"lr": learning_rate(settings, step), "seconds": round(time.monotonic() - started, 2)}
                if done % self.validate_every == 0 or last:
                    row["val_auc"], row["val_f1"] = self._validate(stage, average)
                    bar.write(f"{stage} {done}: held-back AUC {row['val_auc']:.3f}, F1 {row['val_f1']:.3f}")
                log.write(row)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                if done % self.save_every == 0 and not last:
                    self._save(stage, done, network, average, optimizer)
            self._save(stage, done, network, average, optimizer)
        return done == settings.steps

    def export(self, stage: str) -> Path:
        """The averaged network of a finished stage, "head" or "supervised", as half-precision safetensors, as
        `build("mpc", weights=...)` wants it. Returns the file."""
        network = self._fresh_network().to(self.device).eval()
        network.load_state_dict(self._read(stage)["average"])
        if self.recipe.stage(stage).calibration:
            self._calibrate(network, self.recipe.stage(stage).calibration)
        config = {
            "backbone": self.recipe.network.backbone,
            "head": self.recipe.network.head,
            "input_size": self.recipe.network.input_size,
        }
        file = self.out / "mpc.safetensors"
        save_checkpoint(file, network, config)
        return file

    @torch.inference_mode()
    def _calibrate(self, network: MPC, forgeries: int) -> None:
        """Shift the head's last bias so that logit 0 is the threshold of the best mean F1 on so many forgeries of
        training photos, shown whole and at the size of inference."""
        side = self.recipe.network.input_size
        how = Presentation(side, native=0.0, least=side, crop=side, augment=self.recipe.data.augment)
        stream = (self.recipe.seed, STREAMS["calibration"])
        samples = Forgeries(self.photos, how, stream, forgeries)
        logits, truths = [], []
        for sample in samples:
            found = network(sample["image"][None].to(self.device).float() / 255)[:, 0].cpu()
            logits.append(found.flatten())
            truths.append(labels_at(sample["mask"][None], found.shape[1:]).flatten())
        last = [layer for layer in network.decoder.modules() if isinstance(layer, nn.Conv2d)][-1]
        last.bias -= best_threshold(torch.stack(logits), torch.stack(truths))

    def _fresh_network(self) -> MPC:
        torch.manual_seed(self.recipe.seed)
        return MPC(self.recipe.network.backbone, self.recipe.network.head, self.recipe.network.drop_path)

    def _step(self, stage: str, settings: Stage, step: int, network: MPC, trained: nn.Module, optimizer, batch):
        """One optimizer step. Returns the loss and its parts."""
        torch.manual_seed(_step_seed(self.recipe.seed, stage, step))
        images = batch["image"].to(self.device).float() / 255
        mask = batch["mask"].to(self.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        network.train()
        if stage == "head" and settings.backbone_mode == "eval":
            network.encoder.eval()
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
        if stage == "contrast":
            twice = "modality" in settings.views
            with autocast:  # both passes in one batch: stochastic depth is drawn per sample
                features = network.encoder(torch.cat([images, images]) if twice else images)
            contrast = pixel_contrast(
                [scale[: len(images)] for scale in features],
                features[0][len(images) :] if twice else None,
                mask,
                variant=settings.variant,
                views=settings.views,
                temperature=settings.temperature,
                samples=settings.samples,
            )
            loss, terms = contrast.loss, {name: round(value, 4) for name, value in contrast.terms.items()}
        else:
            with autocast:
                with torch.set_grad_enabled(stage == "supervised"):
                    fused = network.fuse(network.encoder(images))
                logits = network.decoder(fused)[:, 0].float()
            loss, terms = focal_loss(logits, labels_at(mask, logits.shape[1:]), settings.alpha, settings.gamma), {}
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss of {stage} step {step} is {loss.item()}; lower {stage}.lr in the recipe")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        return loss.item(), terms

    @torch.inference_mode()
    def _validate(self, stage: str, network: MPC) -> tuple[float, float]:
        """Mean per-image pixel AUC and F1 (p > 0.5) on forgeries of held-back photos, at the network's stride 4.

        There is no head in the contrast stage: as in the released code, spherical 2-means of the fused features, of
        which the larger cluster is called pristine.
        """
        settings = self.recipe.stage(stage)
        samples = self._forgeries(self.held_back, "validation", self.validation_samples, settings.crop)
        areas, scores = [], []
        for batch in DataLoader(samples, settings.batch, num_workers=0):
            fused = network.fuse(network.encoder(batch["image"].to(self.device).float() / 255))
            if stage != "contrast":
                maps = torch.sigmoid(network.decoder(fused))[:, 0]
            else:
                maps = torch.stack([two_means(image) for image in fused])
            truth = labels_at(batch["mask"], maps.shape[1:])
            for probability, forged in zip(maps.float().cpu(), truth, strict=True):
                if forged.any() and not forged.all():
                    areas.append(roc_auc_score(forged.flatten(), probability.flatten()))
                    scores.append(f1_score(forged.flatten(), probability.flatten() > 0.5, zero_division=0.0))
        if not areas:
            return float("nan"), float("nan")
        return sum(areas) / len(areas), sum(scores) / len(scores)

    def _forgeries(self, photos: Photos, stream: str, length: int, crop: int) -> Forgeries:
        data = self.recipe.data
        how = Presentation(data.frame, data.native, data.least, crop, data.augment)
        return Forgeries(photos, how, (self.recipe.seed, STREAMS[stream]), length)

    def _batches(self, stage: str, done: int):
        """Batches from step `done` on: batch k holds the samples k * size .. (k + 1) * size - 1 of the stream."""
        settings = self.recipe.stage(stage)
        size = settings.batch
        samples = self._forgeries(self.photos, stage, settings.steps * size, settings.crop)
        loader = DataLoader(
            samples,
            batch_sampler=[range(k * size, (k + 1) * size) for k in range(done, settings.steps)],
            num_workers=self.workers,
            prefetch_factor=3 if self.workers else None,
            worker_init_fn=_start_worker if self.workers else None,
        )
        return iter(loader)

    def _file(self, stage: str) -> Path:
        return self.out / f"{stage}.pt"

    def _save(self, stage: str, step: int, network: MPC, average: MPC, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "stage": stage,
            "step": step,
            "recipe": json.dumps(dataclasses.asdict(self.recipe)),
            "photos": self.photo_digest,
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        temporary = self._file(stage).with_suffix(".pt.part")
        torch.save(state, temporary)
        os.replace(temporary, self._file(stage))

    def _read(self, stage: str) -> dict:
        file = self._file(stage)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged archive raises whatever unpickling stumbles over
            raise TrainingError(f"{file}: not a readable training checkpoint ({error})") from error

    def _check_compatible(self, stage: str, state: dict) -> None:
        """Raise TrainingError unless this training has done the same so far as the one that wrote the checkpoint."""
        file, theirs = self._file(stage), json.loads(state["recipe"])
        ours = dataclasses.asdict(self.recipe)
        for other in set(STAGES) - {stage, *EARLIER[stage]}:
            theirs[other] = ours[other]
        if self._same_so_far(stage, theirs[stage], state["step"]):
            theirs[stage]["steps"] = ours[stage]["steps"]
        found = differences(self.recipe, theirs)
        if found:
            raise TrainingError(f"{file} is of another recipe ({'; '.join(found)}); give another --out")
        if state["photos"] != self.photo_digest:
            raise TrainingError(f"{file} was trained on other photos; give its --photos, or another --out")

    def _same_so_far(self, stage: str, theirs: dict, done: int) -> bool:
        """Whether another number of steps would have changed nothing yet: the learning rate had not begun to fall."""
        settings = self.recipe.stage(stage)
        other = dataclasses.replace(settings, steps=theirs["steps"])
        return done <= settings.steps and all(
            learning_rate(settings, step) == learning_rate(other, step) for step in range(done)
        )

    def _trained_encoder(self) -> dict[str, torch.Tensor]:
        """The averaged encoder of the finished stage 1. Raises TrainingError when it is not finished."""
        if not self._file("contrast").exists():
            raise TrainingError(f"{self._file('contrast')} is missing; train --stage contrast first, with this --out")
        state = self._read("contrast")
        self._check_compatible("contrast", state)
        if state["step"] < self.recipe.contrast.steps:
            raise TrainingError(
                f"{self._file('contrast')} is at step {state['step']} of {self.recipe.contrast.steps}; "
                "finish it with --stage contrast --resume"
            )
        prefix = "encoder."
        return {k.removeprefix(prefix): v for k, v in state["average"].items() if k.startswith(prefix)}


def best_threshold(logits: torch.Tensor, truth: torch.Tensor, candidates: int = 199) -> float:
    """The threshold with the best mean F1 over images: logits (images, pixels), truth bool of the same shape.

    Tried are quantiles of all logits, evenly spaced. Images without a forged pixel do not count.
    """
    some = truth.any(1)
    logits, truth = logits[some], truth[some]
    positions = np.arange(1, candidates + 1) / (candidates + 1)
    best, best_score = 0.0, -1.0
    for threshold in np.quantile(logits.numpy(), positions):
        said = logits > threshold
        score = (2 * (said & truth).sum(1) / (said.sum(1) + truth.sum(1))).mean().item() if len(truth) else 0.0
        if score > best_score:
            best, best_score = float(threshold), score
    return best


def two_means(features: torch.Tensor, rounds: int = 10) -> torch.Tensor:
    """A score map from features alone: (C, h, w) to (h, w), above .5 in the smaller of two clusters.

    Spherical 2-means, started from the pixel farthest from the mean direction and the pixel farthest from that one.
    The score is .5 + (cosine to the smaller cluster's centre - cosine to the larger's) / 4.
    """
    vectors = F.normalize(features.float().flatten(1).T, dim=1)
    first = vectors[(vectors @ vectors.mean(0)).argmin()]
    centres = torch.stack([first, vectors[(vectors @ first).argmin()]])
    for _ in range(rounds):
        nearest = (vectors @ centres.T).argmax(1)
        sums = torch.stack([vectors[nearest == k].sum(0) for k in range(2)])
        centres = F.normalize(sums, dim=1)
    smaller = int((nearest == 1).sum() < (nearest == 0).sum())
    cosines = vectors @ centres.T
    return (0.5 + (cosines[:, smaller] - cosines[:, 1 - smaller]) / 4).view(features.shape[1:])


class Stop:
    """Whether the user or the system asked for an end. signal: its number, 0 before."""

    signal = 0

    @property
    def requested(self) -> bool:
        return self.signal != 0


@contextmanager
def _stop_signals():
    """SIGTERM and SIGINT ask for an end after the current step; a second one ends at once."""
    stop = Stop()

    def ask(number, frame):
        if stop.requested:
            raise KeyboardInterrupt
        stop.signal = number

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Log:
    """Rows of a stage in metrics.csv; rows after the checkpoint that a resumed training starts from are dropped.

    seconds: what the stage has taken so far.
    """

    def __init__(self, file: Path, stage: str, done: int):
        self.stage = stage
        rows = []
        if file.exists():
            with file.open(newline="") as stream:
                rows = [r for r in csv.DictReader(stream) if r["stage"] != stage or int(r["step"]) <= done]
        self.seconds = max((float(r["seconds"]) for r in rows if r["stage"] == stage), default=0.0)
        self.stream = file.open("w", newline="")
        self.writer = csv.DictWriter(self.stream, COLUMNS)
        self.writer.writeheader()
        self.writer.writerows(rows)

    def write(self, row: dict) -> None:
        self.writer.writerow({"stage": self.stage, **row})
        self.stream.flush()

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_) -> None:
        self.stream.close()


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _step_seed(seed: int, stage: str, step: int) -> int:
    """Of stochastic depth and of pixel draws; with one for each step there is no generator state to keep."""
    return int(np.random.SeedSequence([seed, STREAMS[stage], step]).generate_state(1, np.uint32)[0])


def _start_worker(_: int) -> None:
    """A worker makes forgeries on one thread. Ctrl-C is the parent's to answer; SIGTERM is how the parent ends it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _replace(file: Path, data: bytes) -> None:
    temporary = file.with_name(file.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, file)
