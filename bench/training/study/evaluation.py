"""The test sets of a study, among them forgeries of photos that no network has seen, and what its networks find."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np

from bench.data import Sample, TestSet, open_test_sets
from bench.perturb import parse
from bench.plan import Plan, limited
from bench.request import Requested, model_record, plan_models
from bench.run import carry_out
from bench.training.mpc.forgeries import Photos, forged_photo
from bench.training.study.design import StudyError
from bench.training.study.trainings import Training, photo_digest, split_photos, write_whole
from bench.usage import UsageError
from models.device import compute_device

HELD_BACK = "held-back"
FORGED_SHARE = (0.005, 0.5)  # of a held-back forgery that is kept, as in the test sets of the field
EVALUATION_STREAM = 20_240_613  # of random numbers: no training draws from it, so these forgeries are new
ATTEMPTS = 20


def open_sets(
    data: str, held_back: Path, trainings: list[Training], photos: Path | None, limit: int | None
) -> list[TestSet]:
    """The tampered images, at most `limit` a set, of the test sets of a `--data` text in which "held-back" may stand
    for the forgeries in that folder, which are made on first use.

    Authentic images are left out: the metrics of a study are those of pixels, which they have none of. Raises
    DataError, UsageError, and StudyError where the held-back forgeries are of other photos.
    """
    parts = [part.strip() for part in data.split(",")]
    others = ",".join(part for part in parts if part and part != HELD_BACK)
    sets = [held_back_set(held_back, trainings, photos)] if HELD_BACK in parts else []
    sets += open_test_sets(others) if others or not sets else []
    return [dataclasses.replace(t, samples=limited(t.tampered, limit)) for t in sets]


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
        kept, held = split_photos(photos, trainings[0])
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


def _forge(held: Photos, folder: Path, listing: Path, trained_on: str) -> None:
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
    trainings: list[Training],
    test_sets: list[TestSet],
    perturbations: str,
    out: Path,
    *,
    device: str,
    workers: int | None,
    request: dict,
) -> tuple[dict, list[str]]:
    """Measure every network on every image and perturbation with the ordinary runner; what is measured is reused.

    request: what was asked for, in words, for run.json. Returns the content of run.json, and the failures, a line
    each.
    """
    wanted = [Requested(t.name, "mpc", str(t.weights.resolve())) for t in trainings]
    target = compute_device(device)
    planned, refused = plan_models(wanted, target)
    if refused:
        name, why = next(iter(refused.items()))
        raise StudyError(f"{name}: {why.reason}")
    records = []
    for each, training, ready in zip(wanted, trainings, planned, strict=True):
        titles = {"title": f"{training.variant.label}, seed {training.seed}", "summary": training.variant.label}
        records.append({**model_record(each, [ready], {}), **titles, "licence": "", "groups": [], "trained_on": []})
    grid = Plan(planned, test_sets, parse(perturbations), seed=0, device=target)
    request = {"models": ",".join(p.name for p in planned), "perturbations": perturbations, **request}
    return carry_out(grid, out, request, records, workers=workers, backend="loky")
