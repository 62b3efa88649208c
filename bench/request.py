"""What a request names: localizers with their labels and weights, and how each is recorded in a run folder."""

from __future__ import annotations

from pathlib import Path

import models
from bench import plan
from bench.usage import UsageError


def label(name: str) -> str:
    """How a requested model is called in tables: NAME:PATH by the path's last part, because a run may be published."""
    model, path = models.split(name)
    return name if path is None else f"{model}:{Path(path).resolve().name}"


def plan_models(names: list[str], weights: dict[str, str], device: str):
    """Build each localizer once to learn what its results depend on; those without weights are skipped by name."""
    planned, skipped = [], {}
    for name in names:
        try:
            built = models.build(name, weights=weights.get(name), device=device)
        except models.WeightsError as error:
            skipped[label(name)] = str(error)
            continue
        network = hasattr(built, "network")
        seen = built.card.trained_on if built.trained_on is None else built.trained_on
        planned.append(plan.PlannedModel(label(name), name, built.identity(), weights.get(name), network, seen))
    return planned, skipped


def weights_option(pairs: list[str], names: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, separator, file = pair.partition("=")
        if not separator or name not in names:
            raise UsageError(f"--weights {pair}: expected MODEL=FILE with a MODEL of --models ({', '.join(names)})")
        found[name] = str(Path(file).resolve())
    return found


def model_record(name: str, planned, skipped: dict[str, str]) -> dict:
    card = models.find(name).card
    ready, name = {p.name: p for p in planned}, label(name)
    return {
        "name": name, "title": card.title, "paper": card.paper, "year": card.year, "summary": card.summary,
        "licence": card.licence, "groups": list(card.groups),
        "trained_on": list(ready[name].trained_on if name in ready else card.trained_on),
        "status": "run" if name in ready else "skipped", "reason": skipped.get(name, ""),
        "identity": ready[name].identity if name in ready else "",
        "own_weights": name in ready and ready[name].weights is not None,
    }  # fmt: skip


def without_paths(data: str) -> str:
    """The --data text with folders reduced to their last name: a run folder may be published."""
    parts = []
    for item in data.split(","):
        name, separator, root = item.partition(":")
        parts.append(f"{name}:{Path(root).name}" if separator else Path(name).name)
    return ",".join(parts)
