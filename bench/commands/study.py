"""Train the variants of a study, evaluate them on the same images, and say what the numbers say.

    python -m bench study mpc-ablation --photos PHOTOS

A study is a TOML file (`bench/training/study/`): the variants of one training, their seeds, the recipe they share, and
what they are evaluated on. The folder --out holds `trainings/` (one resumable folder of `bench train` each),
`evaluation/` (an ordinary run folder: `bench report` reads it) and `report/` (the page, its tables and the study's
card). Nothing is trained or measured twice: the same command resumes, and adds what a changed study lacks.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from bench.usage import UsageError, positive_int

log = logging.getLogger(__name__)

DEFAULT_ROOT = Path("runs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench study`."""
    parser.add_argument("study", help="name of a shipped study (mpc-ablation) or a TOML file")
    parser.add_argument("--photos", type=Path, help="folder of authentic photos; needed while something is untrained")
    parser.add_argument("--out", type=Path, help=f"folder of the study (default: {DEFAULT_ROOT}/NAME)")
    parser.add_argument("--recipe", help="TOML file or name of a shipped recipe instead of the study's own")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="checkpoint that every encoder starts from (not trained on validation photos)",
    )
    parser.add_argument(
        "--data", help="validation, and what `bench run` knows, joined by commas (default: the study's)"
    )
    parser.add_argument("--perturbations", help="grid or specs (default: the study's)")
    parser.add_argument("--limit", type=positive_int, help="at most this many tampered images of each test set")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--workers", type=positive_int, help="processes that forge or measure (default: CPU cores)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when the page is written, 1 when it is but some cells failed, 130 or 143 when a signal stopped it.

    The same command continues after a stop.

    Raises:
        StudyError, and what training, data and perturbations raise: with a message for the user.
    """
    from bench.request import without_paths
    from bench.training.study import evaluation, page
    from bench.training.study.design import read_study
    from bench.training.study.trainings import plan_trainings, train
    from reports.study import Embedding, StudyView, write

    study = read_study(args.study)
    recipe = Path(args.recipe).name if args.recipe else "the study's"
    out = args.out or DEFAULT_ROOT / study.name
    trainings = plan_trainings(study, out / "trainings", args.recipe, args.start)
    missing = [training for training in trainings if not training.finished()]
    log.info("%s: %d of %d networks are trained", study.name, len(trainings) - len(missing), len(trainings))
    if missing and args.photos is None:
        first = ", ".join(training.name for training in missing[:3])
        raise UsageError(f"{len(missing)} networks are to be trained ({first} ...); name a photo folder with --photos")
    for number, training in enumerate(missing, start=1):
        log.info("training %s (%d of %d)", training.name, number, len(missing))
        stopped = train(training, args.photos, args.device, args.workers)
        if stopped:
            return stopped
    data = args.data or study.data
    perturbations = args.perturbations or study.perturbations
    test_sets = evaluation.open_sets(data, out / evaluation.VALIDATION, trainings, args.photos, args.limit)
    about, failures = evaluation.evaluate(
        trainings,
        test_sets,
        perturbations,
        out / "evaluation",
        device=args.device,
        workers=args.workers,
        request={"data": without_paths(data), "limit": args.limit, "recipe": recipe},
    )
    view = page.describe(study, trainings, test_sets, out / "evaluation", args.device)
    embeddings = [Embedding(**embedding) for embedding in view["embeddings"]]
    files = write(out / "report", StudyView(**view | {"embeddings": embeddings}))
    if args.json:
        print(
            json.dumps(
                {**page.outcome(view), "files": [str(file) for file in files], "cells": about["cells"]}, indent=1
            )
        )
    else:
        print("\n".join([view["headline"], "", *view["paragraphs"], "", *failures, f"page: {files[0]}"]))
    return 1 if about["cells"].get("failed") else 0
