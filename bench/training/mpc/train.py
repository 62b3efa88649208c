"""Train MPC in its two stages: contrastive pre-training of the encoder, then the head on the frozen encoder.

    python -m bench train mpc --photos DIR --out DIR [--recipe small] [--stage contrast|head|both] [--resume]

With --stage supervised the whole network is trained by cross-entropy instead, to compare with or to start from.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
from pathlib import Path

from bench.training.mpc.card import write_card
from bench.training.mpc.checkpoint import TrainingError
from bench.training.mpc.forgeries import find_photos
from bench.training.mpc.log import event_writer
from bench.training.mpc.pairs import open_pairs
from bench.training.mpc.parallel import joined_processes
from bench.training.mpc.recipe import STAGES, read_recipe
from bench.training.mpc.start import read_start
from bench.training.mpc.training import TWO_STAGES, Training
from bench.training.stopping import stop_signals
from bench.usage import positive_int

log = logging.getLogger(__name__)

EXPLANATION = """\
data
  --photos     Any folder of authentic photos, JPEG, PNG or TIFF: splices, copy-moves and removals are made on the fly,
               each donor and host with a camera history of its own. If X/segments/NAME.png exists for the photo
               X/images/NAME.jpg, its labelled regions are used as outlines of the forgeries.
  --data       Published training sets in their official layout, e.g. casia2:ROOT,tampcoco:ROOT,imd2020:ROOT; an epoch
               holds each pair as often as in MPC's released script. Test sets are refused. `bench list data` names the
               sets, `bench data prepare NAME` shows the expected folder layout. May be combined with --photos
               (data.photos of the recipe is the photos' share). The trained network's file names its sets, and every
               report on one of them is marked as contaminated.
  A share of the photos and of the sets' source photos (data.validation) is used for validation only.

recipe
  A TOML file, or a shipped one: small-start, small-larger, small-further, small-parts and small (of the checkpoint in
  this repository), released (the authors' code), paper (their text where it differs), ablation (of
  `bench study mpc-ablation --start`). It holds every choice that decides the result: network, data, and for each stage
  steps, batch, crop, optimizer, learning rate and its schedule, precision (float32, or autocast to bfloat16 or
  float16), loss. `recipe.py` explains each key. --start takes hrt_base.pth (ImageNet, from the HRFormer repository)
  for backbone = "base", or a network of --stage supervised (as by small-start); nothing in it is executed.

what is written into --out
  contrast.pt, head.pt     or supervised.pt: last state of a stage for --resume, and its best network by validation AUC
  metrics.csv              loss, its terms, learning rate, validation AUC and F1; --tensorboard also writes event files
  mpc.safetensors          the network of the last step, for `bench run --models mpc --weights mpc=FILE`
  mpc_best.safetensors     the best one by validation AUC
  mpc.md                   model card: data, licence, seed, hardware, time, command, validation results with intervals
  recipe.json              the complete recipe

stopping
  Ctrl-C or SIGTERM finish the step and save (while the teacher is fitted there is nothing to save: they stop at once);
  kill -9 loses what came after the last --save-every. The same command with --resume continues exactly as if it had
  not been stopped. Nothing is overwritten without --resume.

several GPUs
  torchrun --nproc-per-node 2 -m -- bench train mpc --device cuda ...
               The batch of the recipe is shared among them, at least two samples each: more GPUs need a recipe with a
               larger batch. Without the bare -- torchrun takes --start for its own option.
"""


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
    parser.add_argument("--steps", type=positive_int, help="steps of each stage instead of the recipe's")
    parser.add_argument("--seed", type=int, help="seed instead of the recipe's")
    parser.add_argument("--start", metavar="FILE", help="HRFormer to start from: hrt_base.pth, or a trained network")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda (torchrun: one each) or cuda:N")
    parser.add_argument("--workers", type=int, help="processes that make forgeries (default: CPU cores - 1, 1 to 8)")
    parser.add_argument("--save-every", type=positive_int, default=100, help="steps between checkpoints (default: 100)")
    parser.add_argument(
        "--validate-every", type=positive_int, default=100, help="steps between validations (default: 100)"
    )
    parser.add_argument("--validation-samples", type=positive_int, default=64, help="samples of each (default: 64)")
    parser.add_argument("--tensorboard", action="store_true", help="also write event files into --out/tensorboard")
    parser.add_argument("--licence", default="unknown", help="licence of the photos, for the model card")
    parser.add_argument("--json", action="store_true", help="print the files as JSON on standard output")


def main(args: argparse.Namespace) -> int:
    """Train as the options say. Returns 0, or 128 + the signal's number when stopped by one, everything saved.

    Raises:
        RecipeError, PhotoError, PairError, DataError, DeviceError, WeightsError, LogError, TrainingError: with a
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
            training.log_beginning(stages)
        with stop_signals() as stop:
            for stage in stages:
                if not training.run(stage, stop):
                    if processes.first:
                        log.warning("stopped and saved; continue with --resume (%s)", training.out)
                    return 128 + (stop.signal or signal.SIGTERM)
        if stages[-1] != "contrast" and processes.first:
            network = training.export(stages[-1])
            card = write_card(training, stages[-1], args.licence)
            if args.json:
                print(json.dumps({"network": str(network), "card": str(card)}))
            else:
                print(f"trained network: {network}\nmodel card: {card}")
    return 0
