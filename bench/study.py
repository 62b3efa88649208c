"""Train the variants of a study, evaluate them on the same images, and say what the numbers say.

    python -m bench study mpc-ablation --photos PHOTOS

A study is a TOML file (`bench/studies/`): the variants of one training, their seeds, the recipe they share, and what
they are evaluated on. Below --out lie `trainings/` (a resumable folder of `bench train` each), `evaluation/` (an
ordinary run folder: `bench report` reads it) and `report/` (the page, its tables and the study's card). What is there
already is neither trained nor measured again, so the same command resumes, and adds what a changed study lacks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import cv2
import numpy as np

import models
from bench.cli import UsageError
from bench.data import Sample, TestSet, open_test_sets
from bench.perturb import parse
from bench.plan import Plan, PlannedModel, limited
from bench.run import carry_out
from bench.study_plan import StudyError, Training, photo_digest, plan_trainings, read_study, write_whole

DEFAULT_OUT = Path("runs")
HELD_BACK = "held-back"
FORGED_SHARE = (0.005, 0.5)  # of a held-back forgery that is kept, as in the test sets of the field
EVALUATION_STREAM = 20_240_613  # of random numbers: no training draws from it, so these forgeries are new
ATTEMPTS = 20
NEVER = 10**9  # steps between validations: no choice depends on one, so the one after the last step will do


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench study`."""
    parser.add_argument("study", help="name of a shipped study (mpc-ablation) or a TOML file")
    parser.add_argument("--photos", type=Path, help="folder of authentic photos; needed while something is untrained")
    parser.add_argument("--out", type=Path, help="folder of the study (default: runs/NAME)")
    parser.add_argument("--recipe", help="TOML file or name of a shipped recipe instead of the study's own")
    parser.add_argument("--data", help="held-back and what `bench run` knows, joined by commas (default: the study's)")
    parser.add_argument("--perturbations", help="grid or specs (default: the study's)")
    parser.add_argument("--limit", type=int, help="at most this many tampered images of each test set")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--workers", type=int, help="processes that forge or measure (default: CPU cores)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when the page is written, 1 when some cells failed, 2 when something cannot be done, 130 or 143 when
    stopped by a signal; the same command goes on from there.

    Raises StudyError, RecipeError, PhotoError, DataError and what training and running raise, with a message for the
    user.
    """
    study = read_study(args.study)
    out = args.out or DEFAULT_OUT / study.name
    trainings = plan_trainings(study, out / "trainings", args.recipe)
    missing = [training for training in trainings if not training.finished()]
    print(f"{study.name}: {len(trainings) - len(missing)} of {len(trainings)} trainings are there", file=sys.stderr)
    if missing and args.photos is None:
        first = ", ".join(training.name for training in missing[:3])
        raise UsageError(f"{len(missing)} trainings are missing ({first} ...); name a folder of photos with --photos")
    for number, training in enumerate(missing, start=1):
        print(f"training {training.name} ({number} of {len(missing)})", file=sys.stderr)
        stopped = train(training, args.photos, args.device, args.workers)
        if stopped:
            return stopped
    test_sets = open_sets(args.data or study.data, out / HELD_BACK, trainings, args.photos)
    test_sets = [_tampered(t, args.limit) for t in test_sets]
    about, failures = evaluate(
        trainings, test_sets, args.perturbations or study.perturbations, out / "evaluation", args.device, args.workers
    )
    print("\n".join([f"{about['cells']['asked']} cells in {out / 'evaluation'}", *failures]))
    return 1 if about["cells"].get("failed") else 0


def train(training: Training, photos: Path, device: str, workers: int | None) -> int:
    """Train one network, from its last checkpoint if there is one. 0, or 128 + the signal that stopped it."""
    from models.mpc import train as mpc

    words = ["--photos", photos, "--out", training.folder, "--recipe", training.write_recipe()]
    words += ["--stage", training.stage, "--device", device, "--resume"]
    words += ["--save-every", 50, "--validate-every", NEVER]
    if workers is not None:
        words += ["--workers", workers]
    parser = argparse.ArgumentParser()
    mpc.add_arguments(parser)
    stopped = mpc.main(parser.parse_args([str(word) for word in words]))
    if not stopped:
        training.finish(_split(photos, training))
    return stopped


def open_sets(data: str, held_back: Path, trainings: list[Training], photos: Path | None) -> list[TestSet]:
    """The test sets of a `--data` text in which "held-back" may stand for the forgeries in that folder, which are made
    on first use. Raises DataError, UsageError, and StudyError where they are of other photos."""
    parts = [part.strip() for part in data.split(",")]
    others = ",".join(part for part in parts if part and part != HELD_BACK)
    sets = [held_back_set(held_back, trainings, photos)] if HELD_BACK in parts else []
    return sets + (open_test_sets(others) if others or not sets else [])


def held_back_set(folder: Path, trainings: list[Training], photos: Path | None) -> TestSet:
    """One forgery of each photo that no training of the study has seen, as a test set; made on first use.

    Host and donor are held-back photos both; what is forged is drawn as in training, but from random numbers that no
    training uses, and not augmented. Raises UsageError where photos are needed and not given, StudyError where the
    trainings, or the forgeries that are there, belong to other photos.
    """
    digests = {training.record()["photo_digest"] for training in trainings}
    if len(digests) > 1:
        raise StudyError(f"the trainings below {trainings[0].folder.parent} used different photos; give another --out")
    listing = folder / "forgeries.json"
    if not listing.exists():
        if photos is None:
            raise UsageError("the held-back forgeries are still to be made; name the folder of photos with --photos")
        kept, held = _split(photos, trainings[0])
        if {photo_digest(kept)} != digests:
            raise StudyError(f"{photos} is not what the networks were trained on; give that folder")
        _forge(held, folder, listing, digests.pop())
    content = json.loads(listing.read_text())
    if {content["trained_on"]} != digests and digests:
        raise StudyError(f"{folder} was forged beside other training photos; remove it, it is made again")
    samples = [
        Sample(name, folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png", HELD_BACK, kind, name)
        for name, kind in content["forgeries"].items()
    ]
    note = "Forged by the program that makes the training forgeries, from photos that no network was trained on."
    return TestSet(HELD_BACK, "Held-back forgeries", samples, note=note, licence="that of the photos")


def _forge(held, folder: Path, listing: Path, trained_on: str) -> None:
    from models.mpc.forgeries import forged_photo

    made = {}
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, file in enumerate(held.files):
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([EVALUATION_STREAM, index, attempt])
            rgb, mask = forged_photo(held, rng, index)
            if FORGED_SHARE[0] <= mask.mean() <= FORGED_SHARE[1]:
                cv2.imwrite(str(folder / "images" / f"{file.stem}.png"), rgb[:, :, ::-1])
                cv2.imwrite(str(folder / "masks" / f"{file.stem}.png"), mask.astype(np.uint8) * 255)
                made[file.stem] = "forged"
                break
    write_whole(listing, json.dumps({"trained_on": trained_on, "forgeries": made}, indent=1) + "\n")


def evaluate(
    trainings: list[Training], test_sets: list[TestSet], perturbations: str, out: Path, device: str, workers: int | None
) -> tuple[dict, list[str]]:
    """Measure every network on every image and perturbation with the ordinary runner; what is measured is reused.
    Returns the content of run.json, and the failures, a line each."""
    planned, records = [], []
    for training in trainings:
        built = models.build("mpc", weights=training.weights, device=device)
        identity = built.identity()
        planned.append(PlannedModel(training.name, "mpc", identity, str(training.weights.resolve()), True))
        records.append(
            {
                "name": training.name, "title": f"{training.variant.label}, seed {training.seed}",
                "paper": built.card.paper, "year": built.card.year, "summary": training.variant.label,
                "licence": "", "groups": [], "trained_on": [], "status": "run", "reason": "", "identity": identity,
            }
        )  # fmt: skip
    grid = Plan(planned, test_sets, parse(perturbations), seed=0, device=device)
    request = {
        "models": ",".join(p.name for p in planned),
        "data": ",".join(t.name for t in test_sets),
        "perturbations": perturbations,
    }
    return carry_out(grid, out, request, records, workers=workers, backend="loky")


def _tampered(test_set: TestSet, limit: int | None) -> TestSet:
    """The tampered images alone: the study's metrics are those of pixels, which authentic images have none of."""
    return dataclasses.replace(test_set, samples=limited(test_set.tampered, limit))


def _split(photos: Path, training: Training):
    """(trained on, held back) of a folder of photos."""
    from models.mpc.forgeries import find_photos

    return find_photos(photos).split(training.recipe.data.held_back)
