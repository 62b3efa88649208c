"""How the run was made, last: it is for who doubts or repeats, not for who reads the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.comparison import Comparison
from reports.words import duration

ORDER = 120
TITLE = "How the run was made"
SHORT = "Run"
FACTS = {
    ("finished",): "Finished",
    ("seconds", "wall"): "Wall time",
    ("seconds", "localizers"): "Localizers' own time",
    ("seconds", "overhead"): "Harness overhead",
    ("revision",): "Revision",
    ("machine",): "Machine",
    ("request", "models"): "Localizers asked for",
    ("request", "data"): "Data asked for",
    ("request", "perturbations"): "Perturbations asked for",
    ("request", "limit"): "Limit of images",
    ("request", "seed"): "Seed",
    ("request", "workers"): "Workers",
    ("request", "backend"): "Backend",
    ("request", "device"): "Device",
    ("request", "memory_gb"): "Memory of a worker's networks",
    ("started",): "Started",
    ("cells", "asked"): "Cells (image, condition, localizer)",
    ("cells", "reused"): "Cells reused from earlier calls",
    ("seconds", "harness"): "Harness time, all workers",
    ("suite",): "Version of this suite",
    ("versions",): "Versions",
}


def context(comparison: Comparison) -> dict:
    """(name, text) of what is known of how each run was made."""
    return {"facts": [(run.label, facts(run.about)) for run in comparison.runs]}


def facts(about: Mapping) -> list[tuple[str, str]]:
    """The known facts in the order of FACTS, then other plain values by their key."""
    found = [(title, _text(path, v)) for path, title in FACTS.items() if (v := _at(about, path)) not in (None, "", {})]
    named = {path[0] for path in FACTS} | {"format"}
    return found + [
        (key.replace("_", " ").capitalize(), _text((key,), value))
        for key, value in about.items()
        if key not in named and isinstance(value, str | int | float) and value != ""
    ]


def _at(about: Mapping, path: tuple[str, ...]) -> Any:
    value: Any = about
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(path: tuple[str, ...], value: Any) -> str:
    if path == ("seconds", "overhead"):
        return f"{100 * value:.1f} % of the localizers' time"
    if path == ("seconds", "localizers"):
        return f"{duration(value)}, all workers together"
    if path[0] == "seconds":
        return duration(value)
    if path == ("request", "memory_gb"):
        return f"{value:g} GB"
    if path == ("revision",):
        commit, changed, _ = str(value).partition("+changes")
        return f"{commit[:12]}{' with uncommitted changes' if changed else ''}"
    if path[-1] in ("started", "finished"):
        return str(value).replace("T", " ").replace("+00:00", " UTC")
    if path == ("machine",) and isinstance(value, Mapping) and "processor" in value:
        cores = f", {value['cores']} cores" if value.get("cores") else ""
        return f"{value['processor']}{cores}, {value.get('system', '')}".rstrip(", ")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items() if inner not in (None, ""))
    return str(value).replace(",", ", ")
