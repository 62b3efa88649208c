"""What the page of a finished study shows: results, verdict, feature space, and how it was made."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w
import torch

import models
from bench.data import TestSet
from bench.metrics import evaluate
from bench.plan import limited
from bench.results import read, read_about
from bench.training.mpc.recipe import STAGES, Recipe
from bench.training.mpc.start import read_start
from bench.training.study.design import Study
from bench.training.study.evaluation import VALIDATION
from bench.training.study.feature_space import arrangement, embedding, sample_pixels, settle_statistics
from bench.training.study.findings import EVERY_SET, comparisons, curves
from bench.training.study.trainings import Training
from bench.training.study.verdict import judge
from models.image import ForensicImage, read_image
from models.mpc.network import MPC

FEATURE_PHOTOS = 40


def describe(
    study: Study, trainings: list[Training], test_sets: list[TestSet], run: Path, device: str
) -> dict[str, Any]:
    """Everything that the page shows, by the names of `reports.study.StudyView`.

    Args:
        study: what was compared.
        trainings: its networks, finished.
        test_sets: what they were measured on.
        run: the run folder of the evaluation.
        device: where the networks compute.
    """
    results, about = read(run), read_about(run)
    compared = comparisons(study, results)
    verdict = judge(study, compared, centre_auc(test_sets))
    features, embeddings = feature_space(study, trainings, test_sets, device)
    printed = study.published.rows
    return {
        "name": study.name,
        "title": study.title,
        "claim": study.claim,
        "reference": study.reference,
        "protocol": study.protocol,
        "metrics": study.metrics,
        "variants": [
            {"name": v.name, "label": v.label, "seeds": len(v.seeds), "published": printed.get(v.published, [])}
            for v in study.variants
        ],
        "outcome": verdict.outcome,
        "headline": verdict.headline,
        "paragraphs": verdict.paragraphs,
        "curves": curves(study, results),
        "comparisons": compared,
        "features": features,
        "trainings": pd.DataFrame([_trained(training) for training in trainings]),
        "embeddings": embeddings,
        "facts": _facts(study, trainings, compared, about),
        "limits": _limits(study, about, trainings[0]),
        "recipe": tomli_w.dumps({k: v for k, v in trainings[0].table.items() if k not in ("seed", "supervised")}),
        "command": _command(study, trainings[0], about),
        "published": {"source": study.published.source, "columns": study.published.columns} if printed else {},
    }


def centre_auc(test_sets: list[TestSet]) -> float:
    """Mean pixel AUC over all images of the localizer `centre`, which uses nothing but their size."""
    centre, areas = models.build("centre"), []
    for test_set in test_sets:
        for sample in test_set.samples:
            mask = test_set.read_mask(sample)
            blank = ForensicImage(np.zeros((*mask.shape, 3), np.uint8))
            areas.append(evaluate(centre.localize(blank), mask)["auc"])
    return float(np.nanmean(areas))


def outcome(view: dict[str, Any]) -> dict[str, Any]:
    """The verdict and the pooled comparisons, as JSON can hold them; view: from `describe`."""
    compared = view["comparisons"]
    pooled = compared[compared["test_set"] == EVERY_SET]
    rows = pooled.astype(object).where(pooled.notna(), None).to_dict("records")
    return {
        "study": view["name"],
        "outcome": view["outcome"],
        "headline": view["headline"],
        "paragraphs": list(view["paragraphs"]),
        "comparisons": rows,
    }


def feature_space(
    study: Study, trainings: list[Training], test_sets: list[TestSet], device: str
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """How the networks arrange pixels of forgeries that none has seen.

    Shown are the validation forgeries or, where the study has none, the first test set. Compared are the network that
    all begin with (random weights, or those of --start) and every trained one.

    Returns:
        One row per network, and the pictures of three: label, points (n, 2), forged bool (n,).
    """
    shown = next((t for t in test_sets if t.name == VALIDATION), test_sets[0])
    photos = [(read_image(s.image).rgb, shown.read_mask(s)) for s in limited(shown.samples, FEATURE_PHOTOS)]
    first = trainings[0].recipe
    side = first.network.input_size
    torch.manual_seed(first.seed)
    untrained = MPC(first.network.backbone, first.network.head, first.network.drop_path)
    if trainings[0].start:
        read_start(trainings[0].start, first.network.backbone).apply(untrained.encoder)
    else:
        settle_statistics(untrained, photos, side)
    pictured = {trainings[0].name: f"after contrast, {study.variant(study.reference).label}"}
    for variant in study.variants:
        if not variant.views:
            pictured[f"{variant.name}.seed{variant.seeds[0]}"] = f"after cross-entropy, {variant.label}"
    rows, embeddings = [], []

    def look(name: str, network: MPC, picture: str | None) -> None:
        pixels = sample_pixels(network, photos, side)
        rows.append({"network": name, **dataclasses.asdict(arrangement(pixels))})
        if picture:
            points, forged = embedding(pixels)
            embeddings.append({"label": picture, "points": points, "forged": forged})

    name = "start" if trainings[0].start else "untrained"
    look(name, untrained, name)
    for training in trainings:
        localizer: Any = models.build("mpc", weights=training.weights, device=device)
        look(training.name, localizer.network.cpu(), pictured.get(training.name))
    return pd.DataFrame(rows), embeddings


def _record(training: Training) -> dict[str, Any]:
    record = training.record()
    assert record is not None, f"{training.folder} is not finished"
    return record


def _trained(training: Training) -> dict[str, Any]:
    record = _record(training)
    with (training.folder / "metrics.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    return {
        "network": training.name,
        "variant": training.variant.name,
        "seed": training.seed,
        "steps": _steps(training.recipe),
        "seconds": sum(record["seconds"].values()),
        "loss": float(last["loss"]),
        "weights": record["weights"],
    }


def _steps(recipe: Recipe) -> int:
    return recipe.contrast.steps + recipe.head.steps


def _facts(study: Study, trainings: list[Training], compared: pd.DataFrame, about: dict) -> dict[str, str]:
    recipe, records = trainings[0].recipe, [_record(training) for training in trainings]
    first = records[0]
    contrast, head = recipe.contrast, recipe.head
    every = compared[compared["test_set"] == EVERY_SET].iloc[0]
    machine = first["machine"]
    sets = [f"{t['title']} ({t['n_tampered']})" for t in about["test_sets"]]
    hours = sum(sum(record["seconds"].values()) for record in records) / 3600
    return {
        "Network": f"MPC with HRFormer-{recipe.network.backbone.capitalize()}, head {recipe.network.head}, applied at "
        f"{recipe.network.input_size} x {recipe.network.input_size}; {_start(trainings[0])}",
        "Photos": f"{first['photos'][0]} for training, {first['photos'][1]} for validation; forgeries made on the fly",
        "Steps, every variant": f"{contrast.steps} of contrast and {head.steps} of the head, or {_steps(recipe)} of "
        "cross-entropy",
        "Samples per step": f"{contrast.batch} crops of {contrast.crop} px, then {head.batch} of {head.crop} px",
        "Seeds": "; ".join(f"{v.label.split(' ')[0]} {', '.join(map(str, v.seeds))}" for v in study.variants),
        "Choice of checkpoint": "none: the moving average after the last step of every network",
        "Test images": f"{every['n']} of {every['photos']} photos, tampered only: {', '.join(sets)}",
        "Perturbations": f"{about['request']['perturbations']} (seed {about['request']['seed']})",
        "Hardware": f"{machine['processor']}, {machine['cores']} cores, no GPU"
        if about["request"]["device"] == "cpu"
        else f"{machine['processor']}, {about['request']['device']}",
        "Time": f"{hours:.1f} h of training (wall time), summed over the networks",
        "Versions": f"Python {first['versions']['python']}, torch {first['versions']['torch']}; trained at revision "
        f"{first['revision'][:12]}, evaluated at {about['revision'][:12]}",
        "Licence": "the terms of the photos; the networks were made for this comparison and are not shipped",
    }


def _start(training: Training) -> str:
    if training.origin:
        return f"every encoder starts from {training.origin['file']} (SHA-256 {training.origin['sha256'][:12]})"
    return f"{training.recipe.network.initial} start, no ImageNet weights"


def _limits(study: Study, about: dict, training: Training) -> tuple[str, ...]:
    """What a reader must not conclude."""
    recipe = training.recipe
    single = [v.label for v in study.variants if len(v.seeds) < 2]
    demonstrations = [t["title"] for t in about["test_sets"] if t["demonstration"]]
    limits = [
        "Training and validation forgeries come from one program and one pool of photos; variants may differ otherwise "
        "on forgeries made by people.",
        "Steps are matched, not computation: a step of contrast with the cross-modality view passes every crop through "
        "the encoder twice, and the steps of the head do not train the encoder.",
        "Learning rates and schedule are the same for all variants and were not tuned for any of them.",
    ]
    largest = max(recipe.stage(stage).crop for stage in STAGES)
    if largest < recipe.network.input_size:
        limits.append(
            f"Trained on crops of {largest} px and applied to photos of {recipe.network.input_size} px, whose "
            "middle is further from the edge than any pixel seen in training: predictions depend on the position."
        )
    if training.start:
        limits.append(
            "All seeds start from one checkpoint, so no interval includes the effect of another one. Which photos it "
            "was trained on is not known here: they must not be among the validation photos."
        )
    if single:
        limits.append(f"One seed only: {', '.join(single)}. Their variance between seeds is estimated from the others.")
    if demonstrations:
        limits.append(f"A demonstration, not a scientific test set: {', '.join(demonstrations)}.")
    return tuple(limits)


def _command(study: Study, training: Training, about: dict) -> str:
    words = ["python -m bench study", study.name, "--photos PHOTOS"]
    if about["request"]["recipe"] != "the study's":
        words.append(f"--recipe {about['request']['recipe']}")
    if training.start:
        words.append(f"--start {training.start.name}")
    if about["request"]["data"] != study.data:
        words.append(f"--data {about['request']['data']}")
    if about["request"]["perturbations"] != study.perturbations:
        words.append(f"--perturbations {about['request']['perturbations']!r}")
    if about["request"].get("limit"):
        words.append(f"--limit {about['request']['limit']}")
    return " ".join(words)
