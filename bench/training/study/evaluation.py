"""The evaluation of a study: its test sets, among them forgeries of validation photos, and its networks on them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.data import Sample, TestSet, open_test_sets
from bench.files import write_atomic
from bench.perturb import parse
from bench.plan import Plan, limited
from bench.request import Requested, model_record, plan_models
from bench.run import carry_out
from bench.training.mpc.forgeries import Photos, forged_photo
from bench.training.mpc.streams import STUDY_SEED
from bench.training.study.design import StudyError
from bench.training.study.trainings import Training, photo_digest, split_photos
from bench.usage import UsageError
from models.device import Device, compute_device

VALIDATION = "validation"
OLD_NAME = "held-back"  # of VALIDATION; still understood
FORGED_SHARE = (0.005, 0.5)  # of a forgery that is kept, as in the test sets of the field
ATTEMPTS = 20


def open_sets(
    data: str, folder: Path, trainings: list[Training], photos: Path | None, limit: int | None
) -> list[TestSet]:
    """The tampered images of a study's test sets.

    Authentic images are left out: a study compares metrics of pixels, which authentic images do not have.

    Args:
        data: a `--data` text, in which "validation" may stand for forgeries of validation photos.
        folder: of these forgeries; they are made on first use.
        trainings: of the study.
        photos: the folder of photos; not needed once the forgeries are made.
        limit: at most this many images per set.

    Raises:
        DataError, UsageError: a set cannot be opened.
        StudyError: the forgeries are of other photos.
    """
    parts = [VALIDATION if part.strip() == OLD_NAME else part.strip() for part in data.split(",")]
    others = ",".join(part for part in parts if part and part != VALIDATION)
    sets = [validation_set(folder, trainings, photos)] if VALIDATION in parts else []
    sets += open_test_sets(others) if others or not sets else []
    return [dataclasses.replace(t, samples=limited(t.tampered, limit)) for t in sets]


def validation_set(folder: Path, trainings: list[Training], photos: Path | None) -> TestSet:
    """One forgery of each photo that no training of the study has seen, as a test set; made on first use.

    Host and donor are both validation photos. Forgeries are drawn as in training, but with random numbers that no
    training uses, and are not augmented.

    Raises:
        UsageError: photos are needed and not given.
        StudyError: the trainings, or the forgeries that are there, belong to other photos.
    """
    digests = {record["photo_digest"] for training in trainings if (record := training.record()) is not None}
    if len(digests) > 1:
        raise StudyError(f"the trainings below {trainings[0].folder.parent} used different photos; give another --out")
    listing = folder / "forgeries.json"
    if not listing.exists():
        if photos is None:
            raise UsageError("the validation forgeries are still to be made; name the folder of photos with --photos")
        training, validation = split_photos(photos, trainings[0])
        if {photo_digest(training)} != digests:
            raise StudyError(f"{photos} is not what the networks were trained on; give that folder")
        _forge(validation, folder, listing, digests.pop())
    content = json.loads(listing.read_text(encoding="utf-8"))
    if {content["trained_on"]} != digests and digests:
        raise StudyError(f"{folder} was forged for other training photos; remove it, it is made again")
    samples = [
        Sample(name, folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png", VALIDATION, kind, name)
        for name, kind in content["forgeries"].items()
    ]
    note = "Forged by the program that makes the training forgeries, from photos that no network was trained on."
    return TestSet(VALIDATION, "Forgeries of validation photos", samples, note=note, licence="that of the photos")


def _forge(photos: Photos, folder: Path, listing: Path, trained_on: str) -> None:
    made = {}
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, file in enumerate(photos.files):
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([STUDY_SEED, index, attempt])
            rgb, mask = forged_photo(photos, rng, index)
            if FORGED_SHARE[0] <= mask.mean() <= FORGED_SHARE[1]:
                cv2.imwrite(str(folder / "images" / f"{file.stem}.png"), rgb[:, :, ::-1])
                cv2.imwrite(str(folder / "masks" / f"{file.stem}.png"), mask.astype(np.uint8) * 255)
                made[file.stem] = "forged"
                break
    write_atomic(listing, json.dumps({"trained_on": trained_on, "forgeries": made}, indent=1) + "\n")


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

    Args:
        trainings: of the study, finished.
        test_sets: what they are measured on.
        perturbations: grid or specs.
        out: the run folder.
        device: where the networks compute.
        workers: processes that measure.
        request: what was asked for, in words, for run.json.

    Returns:
        The content of run.json, and the failures, one line each.
    """
    wanted = [Requested(t.name, "mpc", str(t.weights.resolve())) for t in trainings]
    found = compute_device(device)
    target = Device(found.type, found.index)
    planned, refused = plan_models(wanted, target)
    if refused:
        name, why = next(iter(refused.items()))
        raise StudyError(f"{name}: {why.reason}")
    records: list[dict[str, Any]] = []
    for each, training, ready in zip(wanted, trainings, planned, strict=True):
        titles = {"title": f"{training.variant.label}, seed {training.seed}", "summary": training.variant.label}
        records.append({**model_record(each, [ready], {}), **titles, "licence": "", "groups": [], "trained_on": []})
    grid = Plan(planned, test_sets, parse(perturbations), seed=0, device=target)
    request = {"models": ",".join(p.name for p in planned), "perturbations": perturbations, **request}
    return carry_out(grid, out, request, records, workers=workers, backend="loky")
