"""Train MPC in its two stages: contrastive pre-training of the encoder, then the head on the frozen encoder.

    python -m bench train mpc --photos DIR --out DIR [--recipe small] [--stage contrast|head|both] [--resume]

Or, to compare with or to start from, the whole network by cross-entropy: --stage supervised.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from bench.training.mpc.card import write_card
from bench.training.mpc.forgeries import Forgeries, Photos, Presentation, find_photos
from bench.training.mpc.log import Log, event_writer
from bench.training.mpc.muon import Muon
from bench.training.mpc.pairs import Mixture, Pairs, PairSamples, open_pairs
from bench.training.mpc.parallel import Processes, alone, joined_processes
from bench.training.mpc.recipe import STAGES, Recipe, Stage, differences, learning_rate, read_recipe
from bench.training.mpc.start import Start, forensic_start, read_start
from bench.training.mpc.teacher import Taught, Teacher
from models.checkpoint import save_checkpoint
from models.mpc.losses import focal_loss, labels_at, pixel_contrast
from models.mpc.network import MPC

TWO_STAGES = ("contrast", "head")  # MPC; the stage "supervised" stands alone
EARLIER = {"contrast": (), "head": ("contrast",), "supervised": ()}  # what a stage builds on
STREAMS = {
    "contrast": 1,
    "head": 2,
    "validation": 3,
    "calibration": 4,
    "supervised": 1,
    "teacher": 5,
}  # part of the seed: each draws forgeries of its own, but for the two that are alternatives and see the same ones
PAIRS = 1  # likewise: pairs are not presented by the random numbers of forgeries
LAST, BEST = "mpc.safetensors", "mpc_best.safetensors"
EXPLANATION = """\
data
  --photos     Any folder of authentic photos, JPEG, PNG or TIFF: splices, copy-moves and removals are made on the fly,
               each donor and host with a camera history of its own. A label image X/segments/NAME.png beside
               X/images/NAME.jpg lends its outlines to the forgeries.
  --data       Published training sets in their official layout, e.g. casia2:ROOT,tampcoco:ROOT,imd2020:ROOT; an epoch
               holds each pair as often as in MPC's released script. Test sets are refused. `bench list data` names the
               sets, `bench data prepare NAME` says how their files lie. Alone, or mixed with --photos (data.photos of
               the recipe is the photos' share). The trained network's file names its sets, and every report on one of
               them is marked as contaminated.
  Held back for validation, and never trained on, is a share of the photos and of the sets' photos (data.held_back).

recipe
  A TOML file, or a shipped one: small-start, small-larger, small-further, small-parts and small (of the checkpoint in
  this repository), released (the authors' code), paper (their text where it differs), ablation (of
  `bench study mpc-ablation --start`). It holds every choice that decides the result: network, data, and for each stage
  steps, batch, crop, optimizer, rate and its schedule, precision (float32, or autocast to bfloat16 or float16), loss.
  `recipe.py` explains each key. --start takes hrt_base.pth (ImageNet, from the HRFormer repository) for
  backbone = "base", or a network of --stage supervised (as by small-start); nothing in it is executed.

what is written into --out
  contrast.pt, head.pt     or supervised.pt: last state of a stage for --resume, and its best network by held-back AUC
  metrics.csv              loss, its terms, rate and held-back AUC and F1; --tensorboard also writes event files
  mpc.safetensors          the network of the last step, for `bench run --models mpc --weights mpc=FILE`
  mpc_best.safetensors     the best one by held-back AUC
  mpc.md                   model card: data, licence, seed, hardware, time, command, held-back numbers with intervals
  recipe.json              the complete recipe

stopping
  Ctrl-C or SIGTERM finish the step and save; kill -9 loses what came after the last --save-every. The same command
  with --resume goes on exactly as if it had not been stopped. Nothing is overwritten without --resume.

several GPUs
  torchrun --nproc-per-node 2 -m -- bench train mpc --device cuda ...
               The batch of the recipe is shared among them, at least two samples each: more GPUs need a recipe with a
               larger batch. Without the bare -- torchrun takes --start for its own.
"""
FIRST_SCALE = 2.0**10  # of a float16 loss; steps whose gradient overflows are skipped and halve it
LEAST_SCALE = 2.0**-10  # if it overflows even so, the training has diverged


class TrainingError(RuntimeError):
    """A training that cannot start or go on; the message says what to change."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench train mpc`."""
    parser.epilog = EXPLANATION
    parser.add_argument("--photos", help="folder of authentic photos to forge (with X/images, X/segments)")
    parser.add_argument("--data", help="training sets: NAME:ROOT, folder:IMAGES,MASKS; joined by commas")
    parser.add_argument("--out", required=True, help="folder for checkpoints, metrics and the trained network")
    parser.add_argument(
        "--stage", choices=(*STAGES, "both"), default="both", help="contrast, then head; or both (default)"
    )
    parser.add_argument("--recipe", default="small", help="TOML file or name of a shipped recipe (default: small)")
    parser.add_argument("--steps", type=int, help="steps of each stage instead of the recipe's")
    parser.add_argument("--seed", type=int, help="seed instead of the recipe's")
    parser.add_argument("--start", metavar="FILE", help="HRFormer to start from: hrt_base.pth, or a trained network")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda (torchrun: one each) or cuda:N")
    parser.add_argument("--workers", type=int, help="processes that make forgeries (default: CPU cores - 1, 1 to 8)")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints (default: 100)")
    parser.add_argument("--validate-every", type=int, default=100, help="steps between validations (default: 100)")
    parser.add_argument("--validation-samples", type=int, default=64, help="held-back forgeries used (default: 64)")
    parser.add_argument("--tensorboard", action="store_true", help="also write event files into --out/tensorboard")
    parser.add_argument("--licence", default="unknown", help="licence of the photos, for the model card")


def main(args: argparse.Namespace) -> int:
    """Train as the options say. Returns 0, or 128 + the signal's number when stopped by one, everything saved.

    Raises RecipeError, PhotoError, PairError, DataError, DeviceError, WeightsError, LogError or TrainingError, with a
    message for the user.
    """
    recipe = read_recipe(args.recipe).replaced(args.steps, args.seed)
    if not args.photos and not args.data:
        raise TrainingError("nothing to train on: give a folder of photos (--photos), training sets (--data), or both")
    if args.tensorboard:
        event_writer()
    with joined_processes(args.device) as processes:
        training = Training(
            recipe,
            find_photos(args.photos) if args.photos else None,
            Path(args.out),
            pairs=open_pairs(args.data) if args.data else None,
            start=read_start(args.start, recipe.network.backbone) if args.start else None,
            device=processes.device,
            workers=args.workers if args.workers is not None else min(8, max(1, (os.cpu_count() or 1) - 1)),
            save_every=args.save_every,
            validate_every=args.validate_every,
            validation_samples=args.validation_samples,
            tensorboard=args.tensorboard,
            processes=processes,
        )
        stages = TWO_STAGES if args.stage == "both" else (args.stage,)
        training.claim(stages, args.resume)
        if processes.first:
            for line in training.remarks(stages):
                print(line, file=sys.stderr)
        with _stop_signals() as stop:
            for stage in stages:
                if not training.run(stage, stop):
                    if processes.first:
                        print(f"stopped and saved; go on with --resume ({training.out})", file=sys.stderr)
                    return 128 + (stop.signal or signal.SIGTERM)
        if stages[-1] != "contrast" and processes.first:
            print(f"trained network: {training.export(stages[-1])}")
            print(f"model card: {write_card(training, stages[-1], args.licence)}")
    return 0


class Training:
    """One output folder being trained in. Everything random is a function of the recipe's seed and the step.

    photos: forged on the fly. pairs: of training sets. One of them may be None. start: what the encoder starts from.
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
        self.recipe, self.out, self.device, self.workers = recipe, out, device, workers
        self.save_every, self.validate_every = save_every, validate_every
        self.validation_samples = validation_samples
        self.start, self.tensorboard = start, tensorboard
        self.processes = processes or alone(device)
        self.outcomes: dict[str, Outcome] = {}
        self.defects = photos.defects if photos else ()
        self.photos, self.held_back = photos.split(recipe.data.held_back) if photos else (None, None)
        self.pairs, self.held_back_pairs = pairs.split(recipe.data.held_back) if pairs else (None, None)
        names = "\n".join(file.name for file in self.photos.files) if photos else ""
        files = f"{names}\n{pairs.files}" if pairs else names
        self.photo_digest = hashlib.sha256(files.encode()).hexdigest()

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the data sets whose images are trained on; results on them mean nothing."""
        return self.pairs.names if self.pairs else ()

    def remarks(self, stages: tuple[str, ...]) -> list[str]:
        """What the user should know before the first step of `stages`: what is left out of the data, and of --start."""
        lines = [f"left out: {file}: {problem}" for file, problem in self.defects]
        if lines:
            lines.append(
                f"{len(lines)} photos left out, training on the other {len(self.photos) + len(self.held_back)}"
            )
        for test_set, repeat in zip(self.pairs.sets, self.pairs.repeats, strict=True) if self.pairs else ():
            defects = test_set.defects
            lines += [f"left out: {test_set.name}/{defect.file}: {defect.problem}" for defect in defects[:5]]
            more = f", {len(defects)} files left out" if defects else ""
            lines.append(f"{test_set.name}: each pair {repeat} times an epoch{more}")
        return lines if self.start is None else [*lines, self.start.describe(any(map(self._takes_head, stages)))]

    def claim(self, stages: tuple[str, ...], resume: bool) -> None:
        """Make the output folder ours, or say why not: nothing in it is ever overwritten without --resume.

        Raises TrainingError when a stage has a checkpoint and `resume` is false, when a checkpoint belongs to another
        recipe, start or other data, when stage "head" has no trained encoder to start from, when a head is to be taken
        from a start that is not given, when the folder holds the other kind of training, whose network would be
        replaced, or when a batch cannot be shared by the processes. WeightsError when the start has not that head.
        """
        for stage in stages:
            batch, count = self.recipe.stage(stage).batch, self.processes.count
            if batch % count or batch // count < 2:
                raise TrainingError(
                    f"{stage}.batch of {batch} cannot be shared by {count} processes; make it a multiple of {count} "
                    f"with at least two samples each (batch normalization), e.g. {max(2, -(-batch // count)) * count}"
                )
        for stage in filter(self._takes_head, stages):
            self._check_start_head(stage, resume)
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
        self.processes.wait()  # until all have looked
        if self.processes.first:
            recipe = json.dumps(dataclasses.asdict(self.recipe), indent=2) + "\n"
            _replace(self.out / "recipe.json", recipe.encode())

    def run(self, stage: str, stop: Stop) -> bool:
        """Train one stage to its last step, from its checkpoint if there is one. False when `stop` was set."""
        settings = self.recipe.stage(stage)
        state = self._begin(stage)
        done, processes = state.step, self.processes
        log = Log(self.out if processes.first else None, stage, done, self.tensorboard)
        batches = self._batches(stage, done)
        silent = None if processes.first else True  # None: where there is no terminal
        bar = tqdm(total=settings.steps, initial=done, desc=stage, unit="step", disable=silent, mininterval=1.0)
        started = time.monotonic() - log.seconds
        with log, bar:
            for step in range(done, settings.steps):
                if processes.any(stop.requested):
                    break
                batch = next(batches)
                if state.scheduler is None:
                    state.set_rate(learning_rate(settings, step))
                rate = state.rate
                loss, terms = self._step(stage, settings, step, state, batch)
                _update_average(state.average, state.network, min(settings.average, (1 + step) / (10 + step)))
                state.step = step + 1
                last = state.step == settings.steps
                row = {"step": state.step, "images": state.step * settings.batch, "loss": loss, "terms": terms}
                row |= {"lr": rate, "seconds": round(time.monotonic() - started, 2)}
                if state.step % self.validate_every == 0 or last:
                    row["val_auc"], row["val_f1"] = self._judge(stage, state)
                    if processes.first:
                        bar.write(f"{stage} {state.step}: held-back AUC {row['val_auc']:.3f}, F1 {row['val_f1']:.3f}")
                log.write(row)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                if state.step % self.save_every == 0 and not last:
                    self._save(stage, state)
            self._save(stage, state)
        processes.wait()  # the first one's checkpoint is what all begin the next stage with
        self.outcomes[stage] = Outcome(state.step, state.best and (state.best["step"], state.best["auc"]), state.start)
        return state.step == settings.steps

    def _begin(self, stage: str) -> State:
        """Where a stage starts: at its checkpoint, or at step 0."""
        settings = self.recipe.stage(stage)
        network, start = self._fresh_network(), None
        if stage == "head":
            encoder, start = self._trained_encoder()
            network.encoder.load_state_dict(encoder)
        elif self.start is not None:
            self.start.apply(network.encoder)
            start = {"file": self.start.file, "sha256": self.start.digest}
        if self.start is not None and self._takes_head(stage):
            self.start.apply_head(network.decoder)
        network.to(self.device)
        trained = {"contrast": network.encoder, "head": network.decoder, "supervised": network}[stage]
        network.requires_grad_(False)
        trained.requires_grad_(True)
        optimizer = _optimizer(settings, trained)
        state = State(
            network,
            copy.deepcopy(network).eval(),
            trained,
            # terms of the contrast are left out where an image has no pixel for them
            self.processes.parallel(trained, partly=stage == "contrast"),
            optimizer,
            _scheduler(settings, optimizer),
            torch.amp.GradScaler(self.device.type, FIRST_SCALE, enabled=settings.precision == "float16"),
            start=start,
        )
        if self._file(stage).exists():
            content = self._read(stage)
            state.load(content)
            if content.get("processes", 1) != self.processes.count and self.processes.first:
                print(
                    f"{self._file(stage)} is by {content.get('processes', 1)} processes, this is "
                    f"{self.processes.count}: the training goes on, but not as it would have there",
                    file=sys.stderr,
                )
        return state

    def _judge(self, stage: str, state: State) -> tuple[float, float]:
        """Validate, remember the best network, and let a schedule that asks for it know. Held-back AUC and F1."""
        values = self._validate(stage, state.average) if self.processes.first else (0.0, 0.0)
        auc, f1 = (self.processes.from_first(value) for value in values)
        if auc > (state.best["auc"] if state.best else 0.0):
            average = {name: value.detach().cpu().clone() for name, value in state.average.state_dict().items()}
            state.best = {"step": state.step, "auc": auc, "network": average}
        if isinstance(state.scheduler, ReduceLROnPlateau):
            state.scheduler.step(auc)
        elif state.scheduler is not None:
            state.scheduler.step()
        return auc, f1

    def export(self, stage: str) -> Path:
        """Write the last averaged network of a finished stage, "head" or "supervised", and the best one by held-back
        AUC, as half-precision safetensors, as `build("mpc", weights=...)` wants it. Returns the file of the last."""
        state, samples = self._read(stage), self.recipe.stage(stage).calibration
        found = {LAST: state["average"]} | ({BEST: state["best"]["network"]} if state.get("best") else {})
        config = {
            "backbone": self.recipe.network.backbone,
            "head": self.recipe.network.head,
            "input_size": self.recipe.network.input_size,
            "windows": self.recipe.network.windows,
            "trained_on": list(self.trained_on),
        }
        for name, tensors in found.items():
            network = self._fresh_network().to(self.device).eval()
            network.load_state_dict(tensors)
            if samples:
                self._calibrate(network, samples)
            save_checkpoint(self.out / name, network, config)
        return self.out / LAST

    @torch.inference_mode()
    def _calibrate(self, network: MPC, length: int) -> None:
        """Shift the head's last bias so that logit 0 is the threshold of the best mean F1 on so many training samples,
        shown whole and at the size of inference."""
        side = self.recipe.network.input_size
        how = Presentation(side, native=0.0, least=side, crop=side, augment=self.recipe.data.augment)
        samples = self._samples(self.photos, self.pairs, "calibration", how, length)
        logits, truths = [], []
        for index in range(len(samples)):
            sample = samples[index]
            found = network(sample["image"][None].to(self.device).float() / 255)[:, 0].cpu()
            logits.append(found.flatten())
            truths.append(labels_at(sample["mask"][None], found.shape[1:]).flatten())
        last = [layer for layer in network.decoder.modules() if isinstance(layer, nn.Conv2d)][-1]
        last.bias -= best_threshold(torch.stack(logits), torch.stack(truths))

    def _fresh_network(self) -> MPC:
        torch.manual_seed(self.recipe.seed)
        chosen = self.recipe.network
        network = MPC(chosen.backbone, chosen.head, chosen.drop_path)
        if chosen.initial == "forensic":
            forensic_start(network.encoder)
        return network

    def _step(self, stage: str, settings: Stage, step: int, state: State, batch: dict) -> tuple[float, dict]:
        """One optimizer step. Returns the loss and its parts (of this process's share of the batch)."""
        torch.manual_seed(_step_seed(self.recipe.seed, stage, step, self.processes.rank))
        images = batch["image"].to(self.device, non_blocking=True).float() / 255
        targets = {name: batch[name].to(self.device, non_blocking=True) for name in ("mask", "belief") if name in batch}
        state.network.train()
        if stage == "head" and settings.backbone_mode == "eval":
            state.network.encoder.eval()
        if stage == "head":
            self.processes.share_statistics(state.network.encoder)
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(settings.precision)
        autocast = torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None)
        loss, terms = getattr(self, f"_{stage}_loss")(settings, state, images, targets, autocast)
        scaler, optimizer = state.scaler, state.optimizer
        diverged = scaler.get_scale() < LEAST_SCALE if scaler.is_enabled() else not torch.isfinite(loss)
        if diverged:
            raise TrainingError(f"the loss of {stage} step {step} is {loss.item()}; lower {stage}.lr in the recipe")
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        if settings.clip:
            nn.utils.clip_grad_norm_(state.trained.parameters(), settings.clip)
        scaler.step(optimizer)
        scaler.update()
        return loss.item(), terms

    def _contrast_loss(self, settings, state: State, images, targets, autocast) -> tuple[torch.Tensor, dict]:
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

    def _head_loss(self, settings, state: State, images, targets, autocast) -> tuple[torch.Tensor, dict]:
        with autocast:
            with torch.no_grad():
                fused = state.network.fuse(state.network.encoder(images))
            logits = state.parallel(fused)[:, 0].float()
        return self._classification_loss(settings, logits, targets)

    def _supervised_loss(self, settings, state: State, images, targets, autocast) -> tuple[torch.Tensor, dict]:
        with autocast:
            logits = state.parallel(images)[:, 0].float()
        return self._classification_loss(settings, logits, targets)

    def _classification_loss(self, settings, logits: torch.Tensor, targets: dict) -> tuple[torch.Tensor, dict]:
        """logits: (B, h, w). targets: "mask", and "belief" where there is a teacher."""
        loss = focal_loss(logits, labels_at(targets["mask"], logits.shape[1:]), settings.alpha, settings.gamma)
        if "belief" not in targets:
            return loss, {}
        belief = targets["belief"]
        gap = F.mse_loss(F.adaptive_avg_pool2d(logits, belief.shape[1:]), belief)
        return loss + self.recipe.teacher.weight * gap, {"teacher": round(gap.item(), 4)}

    @torch.inference_mode()
    def _validate(self, stage: str, network: MPC) -> tuple[float, float]:
        """Mean per-image pixel AUC and F1 (p > 0.5) on held-back forgeries and pairs, at the network's stride 4.

        There is no head in the contrast stage: as in the released code, spherical 2-means of the fused features, of
        which the larger cluster is called pristine.
        """
        settings = self.recipe.stage(stage)
        how = self._presentation(settings)
        samples = self._samples(self.held_back, self.held_back_pairs, "validation", how, self.validation_samples)
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

    def _presentation(self, settings: Stage) -> Presentation:
        data = self.recipe.data
        return Presentation(data.frame, data.native, data.least, settings.crop, data.augment, data.parts)

    def _samples(
        self, photos: Photos | None, pairs: Pairs | None, stream: str, how: Presentation, length: int
    ) -> Dataset:
        """A stream of samples of one side, training or held back."""
        seed = (self.recipe.seed, STREAMS[stream])
        forged = Forgeries(photos, how, seed, length) if photos else None
        paired = PairSamples(pairs, how, (*seed, PAIRS), length) if pairs else None
        if forged is None or paired is None:
            return paired if forged is None else forged
        return Mixture(forged, paired, self.recipe.data.photos, length)

    def _batches(self, stage: str, done: int):
        """This process's shares of the batches from step `done` on: batch k holds the samples k * size ..
        (k + 1) * size - 1 of the stream, dealt in order to the processes."""
        settings = self.recipe.stage(stage)
        size, share = settings.batch, self.processes.share(settings.batch)
        how = self._presentation(settings)
        first = self.processes.rank * share
        samples = self._samples(self.photos, self.pairs, stage, how, settings.steps * size)
        if stage != "contrast" and self.recipe.teacher.samples and done < settings.steps:
            samples = Taught(samples, self._teacher(how))
        loader = DataLoader(
            samples,
            batch_sampler=[range(k * size + first, k * size + first + share) for k in range(done, settings.steps)],
            num_workers=self.workers,
            prefetch_factor=3 if self.workers else None,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker if self.workers else None,
        )
        return iter(loader)

    def _teacher(self, how: Presentation) -> Teacher:
        """A teacher that learned from training samples presented as told: the same one each time, so none is kept."""
        count = self.recipe.teacher.samples
        samples = self._samples(self.photos, self.pairs, "teacher", how, count)

        def fitted() -> Teacher:
            print(f"the teacher learns from {count:,} forgeries (a resumed training repeats it)", file=sys.stderr)
            try:
                return Teacher().fit(samples, self.workers, _start_worker)
            except ValueError as error:
                raise TrainingError(f"no teacher: {error}; raise teacher.samples in the recipe") from error

        return self.processes.made_by_first(fitted)

    def _file(self, stage: str) -> Path:
        return self.out / f"{stage}.pt"

    def _save(self, stage: str, state: State) -> None:
        if not self.processes.first:
            return
        content = {
            "stage": stage,
            "recipe": json.dumps(dataclasses.asdict(self.recipe)),
            "photos": self.photo_digest,
            "validation": [self.validate_every, self.validation_samples],
            "processes": self.processes.count,
            **state.content(),
        }
        temporary = self._file(stage).with_suffix(".pt.part")
        torch.save(content, temporary)
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
            raise TrainingError(
                f"{file} was trained on other photos or sets; give its --photos and --data, or another --out"
            )
        started = state.get("start")
        if stage != "head" and self.start and (not started or started["sha256"] != self.start.digest):
            other = f"from {started['file']} ({started['sha256'][:12]})" if started else "from random weights"
            raise TrainingError(f"{file} was started {other} and not from {self.start.file}; leave --start out")
        validation = [self.validate_every, self.validation_samples]
        if self.recipe.stage(stage).schedule != "linear" and state.get("validation") not in (None, validation):
            every, samples = state["validation"]
            raise TrainingError(
                f"{file}: validations decide its learning rate; give --validate-every {every} "
                f"--validation-samples {samples} as before, or another --out"
            )

    def _same_so_far(self, stage: str, theirs: dict, done: int) -> bool:
        """Whether another number of steps would have changed nothing yet: the learning rate had not begun to fall, and
        the validation after the last step has not decided about it."""
        settings = self.recipe.stage(stage)
        if settings.schedule != "linear" and done == theirs["steps"]:
            return False
        other = dataclasses.replace(settings, steps=theirs["steps"])
        return done <= settings.steps and all(
            learning_rate(settings, step) == learning_rate(other, step) for step in range(done)
        )

    def _takes_head(self, stage: str) -> bool:
        return stage != "contrast" and self.recipe.stage(stage).start_head

    def _check_start_head(self, stage: str, resume: bool) -> None:
        """Raise unless the start has the head that the recipe wants of it. A resumed training needs none, and there is
        none where stage 1 began without a start: the head then begins as the encoder did."""
        if self.start is not None:
            self.start.apply_head(self._fresh_network().decoder)
            return
        if resume and self._file(stage).exists():
            return
        encoder = self._file("contrast")
        if stage == "supervised" or (encoder.exists() and self._read("contrast").get("start")):
            raise TrainingError(f"{stage}.start_head takes the head of a trained network; give one with --start")

    def _trained_encoder(self) -> tuple[dict[str, torch.Tensor], dict | None]:
        """The averaged encoder of the finished stage 1, its last or best state as the recipe says, and its start.

        Raises TrainingError when it is not finished.
        """
        if not self._file("contrast").exists():
            raise TrainingError(f"{self._file('contrast')} is missing; train --stage contrast first, with this --out")
        state = self._read("contrast")
        self._check_compatible("contrast", state)
        if state["step"] < self.recipe.contrast.steps:
            raise TrainingError(
                f"{self._file('contrast')} is at step {state['step']} of {self.recipe.contrast.steps}; "
                "finish it with --stage contrast --resume"
            )
        best = self.recipe.head.encoder == "best" and state.get("best")
        tensors, prefix = state["best"]["network"] if best else state["average"], "encoder."
        encoder = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        return encoder, state.get("start")


def _optimizer(settings: Stage, trained: nn.Module) -> torch.optim.Optimizer:
    if settings.optimizer == "muon":
        return Muon(trained.named_parameters(), settings.lr, settings.weight_decay)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optimizer]
    return kind(trained.parameters(), settings.lr, weight_decay=settings.weight_decay)


def _scheduler(settings: Stage, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
    """What changes the rate at validations, with the numbers of the released scripts."""
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=3, min_lr=1e-8)
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-8)
    return None


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


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: its step, (step, AUC) of its best validation, and what the encoder started from (`State`)."""

    step: int
    best: tuple[int, float] | None
    start: dict | None


@dataclass
class State:
    """What a stage changes from step to step. network: all of it; average: its moving average; trained: the part of
    the network that has gradients, and `parallel` the same for several processes. scheduler: None where the recipe's
    schedule is a function of the step. best: step, auc and averaged network (on the CPU) of the best validation so
    far. start: file and sha256 of the ImageNet checkpoint that the encoder started from, if any."""

    network: MPC
    average: MPC
    trained: nn.Module
    parallel: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None
    scaler: torch.amp.GradScaler
    step: int = 0
    best: dict | None = None
    start: dict | None = None

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.optimizer.param_groups[0]["lr"]

    def set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def content(self) -> dict:
        """All of it as tensors and plain values."""
        keepers = {name: getattr(self, name) for name in ("network", "average", "optimizer", "scheduler", "scaler")}
        states = {name: keeper.state_dict() for name, keeper in keepers.items() if keeper is not None}
        return {"step": self.step, "best": self.best, "start": self.start, **states}

    def load(self, content: dict) -> None:
        """Go on where `content` was taken; of an older version it may lack what had no meaning then."""
        self.step, self.best, self.start = content["step"], content.get("best"), content.get("start")
        for name in ("network", "average", "optimizer", "scheduler", "scaler"):
            if content.get(name):
                getattr(self, name).load_state_dict(content[name])


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


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _step_seed(seed: int, stage: str, step: int, rank: int = 0) -> int:
    """Of stochastic depth and pixel draws; with one for each step and process there is no generator state to keep."""
    coordinates = [seed, STREAMS[stage], step] + ([rank] if rank else [])
    return int(np.random.SeedSequence(coordinates).generate_state(1, np.uint32)[0])


def _start_worker(_: int) -> None:
    """A worker makes samples on one thread. Signals are the parent's to answer: torchrun, a terminal and batch systems
    send them to the workers too. These end when the parent tells them to, or is gone."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _replace(file: Path, data: bytes) -> None:
    temporary = file.with_name(file.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, file)
