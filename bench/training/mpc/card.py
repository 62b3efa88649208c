"""The model card that a training writes next to its network: data, command, results."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import provenance
from bench.files import write_atomic
from bench.metrics import PROTOCOLS, evaluate
from bench.statistics import bootstrap_mean
from bench.training.mpc.forgeries import Photos, forged_photo
from bench.training.mpc.log import read_rows
from bench.training.mpc.pairs import Pairs
from bench.training.mpc.recipe import Stage, Teaching
from bench.training.mpc.streams import Stream
from bench.training.mpc.training import Outcome, Training
from models import Localizer, build
from models.image import ForensicImage, ImageError
from models.mpc.localizer import MPCLocalizer

log = logging.getLogger(__name__)

METRICS = {"auc": "pixel AUC", "f1": "F1 (p > .5)", "best_f1": "best F1"}
PROTOCOL = "native"


def write_card(training: Training, stage: str, licence: str) -> Path:
    """Measure the exported networks of a finished training on its validation photos and write the card, `mpc.md`.

    Args:
        training: finished and exported.
        stage: the one that `training.run` finished last.
        licence: of the photos, in the user's words.

    Returns:
        The file.
    """
    files = sorted(training.out.glob("mpc*.safetensors"))
    localizers: dict[Path, Any] = {file: build("mpc", weights=file, device=training.device) for file in files}
    lines = [*_facts(training, stage, localizers, licence), "", *_numbers(training, localizers), ""]
    card = training.out / "mpc.md"
    write_atomic(card, "\n".join(lines))
    return card


def _facts(training: Training, stage: str, localizers: dict[Path, MPCLocalizer], licence: str) -> list[str]:
    recipe, outcome = training.recipe, training.outcomes[stage]
    first, localizer = next(iter(localizers.items()))
    millions = sum(value.numel() for value in localizer.network.parameters()) / 1e6
    size, windows = localizer.input_size, localizer.windows
    seen = f", the photo and four windows of {windows:g} of its sides" if windows else ""
    contaminated = f"trained on {', '.join(training.data.trained_on)}: results on these sets mean nothing"
    stages = ("contrast", "head") if stage == "head" else (stage,)
    rows = {
        "Network": f'HRFormer-{recipe.network.backbone} encoder, "{recipe.network.head}" head, {millions:.1f} M '
        f"parameters; input {size} x {size}{seen}, "
        "probability of forgery at stride 4",
        **{f"`{file.name}`": _file(file, outcome) for file in localizers},
        "Start": f"{outcome.start['file']}, SHA-256 `{outcome.start['sha256']}`"
        if outcome.start
        else f"{recipe.network.initial} weights",
        "Seed": str(recipe.seed),
        "Data": "; ".join(_data(training)),
        "Licence of the data": "; ".join(_licences(training, licence)),
        "Contamination": f"{contaminated}; the network's file says so itself, and reports mark such results"
        if training.data.trained_on
        else "trained on no published set",
        **{f"Stage {name}": _stage(recipe.stage(name)) for name in stages},
        **({"Teacher": _stage(recipe.teacher)} if recipe.teacher.samples else {}),
        "Hardware": _hardware(training),
        "Time": _times(training.out / "metrics.csv"),
        "Code": f"revision {provenance.revision() or 'unknown'}, torch {torch.__version__}; recipe: recipe.json",
    }
    table = [f"| {key} | {value} |" for key, value in rows.items()]
    return [f"# Model card: `{first.name}`", "", "| | |", "|---|---|", *table, "", f"    {_command()}"]


def _file(file: Path, outcome: Outcome) -> str:
    which = f"the network of the last step, {outcome.step}"
    if outcome.best and file.stem.endswith("best"):
        which = f"that of step {outcome.best[0]}, the best by validation (AUC {outcome.best[1]:.3f})"
    return f"{which}; {file.stat().st_size / 1e6:.1f} MB, SHA-256 `{hashlib.sha256(file.read_bytes()).hexdigest()}`"


def _data(training: Training) -> Iterator[str]:
    data = training.data
    if data.training.photos and data.validation.photos:
        count, other = len(data.training.photos), len(data.validation.photos)
        yield f"{count + other} photos, {other} of them for validation, forged on the fly"
    if data.training.pairs and data.validation.pairs:
        for owner, test_set in enumerate(data.training.pairs.sets):
            count, other = (
                int((pairs.owners == owner).sum()) for pairs in (data.training.pairs, data.validation.pairs)
            )
            repeat = data.training.pairs.repeats[owner]
            yield f"{test_set.name}: {count + other} pairs, {other} of them for validation, {repeat} times per epoch"
    if data.training.photos and data.training.pairs:
        yield f"{training.recipe.data.photos:.0%} of the samples are from the photos"


def _licences(training: Training, licence: str) -> Iterator[str]:
    if training.data.training.photos:
        yield f"photos: {licence}"
    for test_set in training.data.training.pairs.sets if training.data.training.pairs else ():
        yield f"{test_set.name}: {test_set.licence or 'unknown'}"


def _stage(stage: Stage | Teaching) -> str:
    return "; ".join(f"{key} {_plain(value)}" for key, value in dataclasses.asdict(stage).items())


def _plain(value) -> str:
    return " + ".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def _hardware(training: Training) -> str:
    if training.device.type == "cuda":
        return f"{training.processes.count} x {torch.cuda.get_device_name(training.device)}"
    machine, count = provenance.machine(), training.processes.count
    processes = "" if count == 1 else f"{count} processes, "
    return f"{processes}{torch.get_num_threads()} threads of {machine['cores']} cores, {machine['processor']}"


def _times(file: Path) -> str:
    seconds: dict[str, float] = {}
    for row in read_rows(file):
        seconds[row["stage"]] = max(seconds.get(row["stage"], 0.0), float(row["seconds"]))
    return ", ".join(f"{stage} {value:,.0f} s" for stage, value in seconds.items())


def _command() -> str:
    """The command line of this process, without --resume: a resumed training gives the same result."""
    return "python -m bench " + shlex.join(word for word in sys.argv[1:] if word != "--resume")


def _numbers(training: Training, localizers: dict[Path, MPCLocalizer]) -> list[str]:
    protocol = PROTOCOLS[PROTOCOL]
    lines = [
        "## Validation results",
        "",
        f"Protocol `{protocol.name}` (version {protocol.version}): {protocol.description} In brackets 95 % bootstrap "
        "intervals of the mean, resampled by source photo. The best network and, where the recipe says so, the "
        "learning rate were chosen on other forgeries of the same photos, so these values are somewhat optimistic. "
        "They do not replace a test set.",
        "",
        f"| network | images | n | {' | '.join(METRICS.values())} |",
        "|---|---|---|" + "---|" * len(METRICS),
    ]
    for label, images in _validation_images(training).items():
        found: dict[Path, list[dict]] = {file: [] for file in localizers}
        sources = []
        for source, rgb, mask in images:
            sources.append(source)
            for file, localizer in localizers.items():
                found[file].append(_scores(localizer, rgb, mask))
        for file, scores in found.items():
            cells = [_interval([row[metric] for row in scores], sources) for metric in METRICS]
            lines.append(f"| `{file.name}` | {label} | {len(sources)} | {' | '.join(cells)} |")
    return lines


def _scores(localizer: Localizer, rgb: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    return evaluate(localizer.localize(ForensicImage(rgb)), mask, protocol=PROTOCOL)


def _interval(values: list[float], sources: list) -> str:
    if not values:
        return "none"
    mean, low, high = bootstrap_mean(np.array(values), clusters=np.array(sources))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]" if np.isfinite(low) else f"{mean:.3f} (one source, no interval)"


def _validation_images(training: Training) -> dict[str, Iterator[tuple[int, np.ndarray, np.ndarray]]]:
    """Name -> (source, image, mask) of whole validation images, at most `validation_samples` of each kind."""
    found = {}
    if training.data.validation.photos:
        found["forgeries of validation photos"] = _forgeries(training, training.data.validation.photos)
    if training.data.validation.pairs:
        for owner, test_set in enumerate(training.data.validation.pairs.sets):
            found[f"validation pairs of {test_set.name}"] = _pairs(training, training.data.validation.pairs, owner)
    return found


def _forgeries(training: Training, photos: Photos) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    for k in range(training.validation_samples):
        host = k % len(photos)
        rgb, mask = forged_photo(photos, np.random.default_rng([training.recipe.seed, Stream.CARD, k]), host)
        if mask.any():
            yield host, rgb, mask


def _pairs(training: Training, pairs: Pairs, owner: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    own = np.flatnonzero(pairs.owners == owner)
    number = min(training.validation_samples, len(own))
    for k in range(number):
        index = int(own[k * len(own) // number])
        try:
            yield int(pairs.sources[index]), *pairs.read(index)
        except ImageError as error:
            log.warning("left out: %s", error)
