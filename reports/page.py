"""The HTML page: one file with its style, its script, its numbers and its thumbnails; it never asks the network."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from reports.comparison import WHOLE_SET, Comparison, condition_name
from reports.figures import COLOURS
from reports.published import beside, elsewhere, is_folder, known_sets
from reports.tables import cost

PICTURED = 6  # best and worst images of a cell in the drill-down
PICTURED_OVER_BUDGET = 3
EVERY_IMAGE_BELOW = 60_000  # cells; larger runs carry the values of the extremes only
FAILURES_LISTED = 40
MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp"}
STATUS = ("ok", "failed", "not_applicable")  # any other: not run
KINDS = ("photo", "truth", "score", "prediction", "confidence", "sources")  # the last two where a localizer has them
HOW = ("source", "printed_metric", "rule", "images", "scoring", "train_set")  # what a note on a published number says


@dataclass
class Album:
    """Thumbnails as data URIs, each content embedded once. `size` counts the characters they take in the page."""

    comparison: Comparison
    uris: list[str] = field(default_factory=list)
    size: int = 0
    _asked: dict[tuple[int, str, str], int] = field(default_factory=dict)
    _known: dict[bytes, int] = field(default_factory=dict)

    def add(self, run: int, what: str, key: str) -> int:
        """Number of the thumbnail, -1 where the run has none."""
        if (run, what, key) not in self._asked:
            data = self.comparison.runs[run].thumbnail(what, key)
            self._asked[run, what, key] = -1 if data is None else self._embed(data)
        return self._asked[run, what, key]

    def _embed(self, data: bytes) -> int:
        digest = hashlib.sha256(data).digest()
        if digest not in self._known:
            mime = next((m for magic, m in MAGIC.items() if data.startswith(magic)), None)
            if mime is None:
                raise ValueError("a thumbnail is neither PNG, JPEG nor WebP")
            self._known[digest] = len(self.uris)
            self.uris.append(f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}")
            self.size += len(self.uris[-1])
        return self._known[digest]


@dataclass
class Drill:
    """What stands behind one table cell: its images, in the order of the run, with their values.

    pictures: image position -> numbers of the pictures of KINDS in the album.
    order: positions with a value of the headline metric, best first.
    """

    run: int
    frame: pd.DataFrame
    values: dict[str, list[float | None]]
    order: list[int]
    hidden: int = 0
    pictures: dict[int, list[int]] = field(default_factory=dict)


def build(comparison: Comparison, budget: int) -> str:
    """The page as text. budget: characters that the embedded thumbnails may take."""
    drills = _drills(comparison)
    album, complete = _illustrate(comparison, drills, budget)
    script = _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        duration=duration, number=number, score=score, linked=linked, joined=lambda items: ", ".join(map(str, items))
    )
    template = environment.from_string(_resource("report.html.j2"))
    return template.render(
        comparison=comparison,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=Markup(_resource("report.css")),
        script=Markup(script),
        data=_json(_data(comparison, drills)),
        thumbnails=_json(album.uris),
        complete=complete,
        pictured=sum(len(d.pictures) for d in drills.values()),
        lead=_lead(comparison),
        demonstration=_demonstration(comparison),
        facts=[_facts(run.about) for run in comparison.runs],
        models=_models(comparison),
        skipped=_skipped(comparison),
        cost=cost(comparison).to_dict("records"),
        published={name: _published(comparison, name) for name in known_sets(comparison)},
        failures=_failures(comparison),
        failures_listed=FAILURES_LISTED,
        condition_name=condition_name,
    )


def _resource(name: str) -> str:
    return files("reports").joinpath(name).read_text(encoding="utf-8")


def _json(value: object) -> Markup:
    """JSON that may stand inside a script element; NaN and infinity are refused."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _finite(value: object, digits: int = 4) -> float | None:
    if value is None or value is pd.NA or not math.isfinite(value):
        return None
    return round(float(value), digits)


# ---------------------------------------------------------------------------------------------- behind the cells


def _drills(comparison: Comparison) -> dict[str, Drill]:
    """Drill-downs by "line|test set|spec", the last two as numbers."""
    sets = {s["name"]: i for i, s in enumerate(comparison.test_sets)}
    specs = {c.spec: i for i, c in enumerate(comparison.conditions)}
    headline = _headline(comparison)
    sparse = sum(len(run.cells) for run in comparison.runs) > EVERY_IMAGE_BELOW
    drills = {}
    for number, run in enumerate(comparison.runs):
        values = _values(comparison, run.results)
        if not len(run.cells):
            continue
        for (model, test_set, spec), frame in run.cells.groupby(["model", "test_set", "spec"], sort=False):
            line = comparison.line_of.get((number, model))
            if line is None or spec not in specs:
                continue
            images = frame["image"].tolist()
            found = {
                name: [_finite(by_image.get(image)) for image in images]
                for name, by_image in values.get((model, test_set, spec), {}).items()
            }
            drill = Drill(number, frame, found, _best_first(found, headline))
            if sparse:
                drill = _extremes(drill, headline)
            drills[f"{line}|{sets[test_set]}|{specs[spec]}"] = drill
    return drills


def _headline(comparison: Comparison) -> str:
    if comparison.headline is None:
        return ""
    metric, protocol = comparison.headline
    return _value_key(comparison, protocol["name"], metric.name)


def _value_key(comparison: Comparison, protocol: str, metric: str) -> str:
    """ "protocol|metric" as numbers; "" for what the summary does not know."""
    protocols = [p["name"] for p in comparison.protocols]
    metrics = [m.name for m in comparison.metrics]
    if protocol not in protocols or metric not in metrics:
        return ""
    return f"{protocols.index(protocol)}|{metrics.index(metric)}"


def _values(comparison: Comparison, results: pd.DataFrame) -> dict[tuple, dict[str, dict[str, float]]]:
    """(model, test set, spec) -> "protocol|metric" -> image -> value; several seeds of an image are averaged."""
    found: dict[tuple, dict[str, dict[str, float]]] = {}
    if not len(results):
        return found
    table = results[results["image"] != WHOLE_SET].dropna(subset=["value"])
    keys = ["model", "test_set", "spec", "protocol", "metric"]
    table = table.groupby([*keys, "image"], sort=False, observed=True)["value"].mean().reset_index()
    for (model, test_set, spec, protocol, metric), group in table.groupby(keys, sort=False, observed=True):
        key = _value_key(comparison, protocol, metric)
        if key:
            by_image = dict(zip(group["image"].tolist(), group["value"].tolist(), strict=True))
            found.setdefault((model, test_set, spec), {})[key] = by_image
    return found


def _best_first(values: dict[str, list[float | None]], key: str) -> list[int]:
    column = values.get(key) or next(iter(values.values()), [])
    scored = [i for i, value in enumerate(column) if value is not None]
    return sorted(scored, key=lambda i: -column[i])


def _extremes(drill: Drill, key: str) -> Drill:
    """The drill-down with its best, worst and (up to as many) unscored images alone."""
    scored = set(drill.order)
    unscored = [i for i, status in enumerate(drill.frame["status"]) if status != "ok" and i not in scored]
    keep = sorted({*drill.order[:PICTURED], *drill.order[-PICTURED:], *unscored[:PICTURED]})
    values = {name: [column[i] for i in keep] for name, column in drill.values.items()}
    hidden = len(drill.frame) - len(keep)
    return Drill(drill.run, drill.frame.iloc[keep], values, _best_first(values, key), hidden)


def _illustrate(comparison: Comparison, drills: dict[str, Drill], budget: int) -> tuple[Album, bool]:
    """Fill `pictures` of all images if the budget allows, else of the extremes as far as it goes."""
    for wishes in (_everything(drills), _by_rank(drills)):
        album, complete = Album(comparison), True
        for drill in drills.values():
            drill.pictures.clear()
        for drill, position in wishes:
            if album.size > budget:
                complete = False
                break
            row = drill.frame.iloc[position]
            photo = f"{row['test_set']}|{row['image']}|{row['spec']}"
            of_image = {"photo": photo, "truth": f"{row['test_set']}|{row['image']}"}
            wanted = KINDS if row["status"] == "ok" else tuple(of_image)
            drill.pictures[position] = [
                album.add(drill.run, what, of_image.get(what, row["key"])) if what in wanted else -1 for what in KINDS
            ]
        if complete and album.size <= budget:
            break
    everywhere = all(len(d.pictures) == len(d.frame) and not d.hidden for d in drills.values())
    return album, everywhere


def _everything(drills: dict[str, Drill]) -> Iterator[tuple[Drill, int]]:
    for drill in drills.values():
        for position in range(len(drill.frame)):
            yield drill, position


def _by_rank(drills: dict[str, Drill]) -> Iterator[tuple[Drill, int]]:
    """The best and the worst of every cell, then the second best and second worst, ..."""
    for rank in range(PICTURED_OVER_BUDGET):
        for drill in drills.values():
            if rank < len(drill.order):
                yield drill, drill.order[rank]
                yield drill, drill.order[-1 - rank]


def _data(comparison: Comparison, drills: dict[str, Drill]) -> dict:
    """Everything the script draws from. Names are given once, elsewhere their numbers stand for them."""
    sets = {s["name"]: i for i, s in enumerate(comparison.test_sets)}
    specs = {c.spec: i for i, c in enumerate(comparison.conditions)}
    protocols = {p["name"]: i for i, p in enumerate(comparison.protocols)}
    metrics = {m.name: i for i, m in enumerate(comparison.metrics)}
    images: dict[str, int] = {}
    cells = {name: _drill_data(drill, images) for name, drill in drills.items()}
    rows = [
        [
            row.line,
            sets[row.test_set],
            specs[row.spec],
            protocols[row.protocol],
            metrics[row.metric],
            *(_finite(v, 6) for v in (row.mean, row.low, row.high)),
            *(int(v) for v in (row.n, row.n_failed, row.n_not_applicable, row.n_skipped)),
            _finite(row.rank, 1),
            int(bool(row.contaminated)),
        ]
        for row in comparison.summary.itertuples(index=False)
    ]
    return {
        "runs": [run.label for run in comparison.runs],
        "lines": [vars(line) for line in comparison.lines],
        "sets": [{"name": s["name"], "title": s.get("title") or s["name"]} for s in comparison.test_sets],
        "conditions": [
            {
                "spec": c.spec,
                "family": c.family,
                "level": c.level,
                "name": condition_name(c),
                "psnr": _finite(c.psnr, 1),
            }
            for c in comparison.conditions
        ],
        "protocols": [
            {k: str(p.get(k, "")) for k in ("name", "version", "title", "description")} for p in comparison.protocols
        ],
        "metrics": [vars(metric) for metric in comparison.metrics],
        "summary": rows,
        "images": list(images),
        "cells": cells,
        "headline": [int(number) for number in reversed(_headline(comparison).split("|")) if number],
        "pictured": PICTURED,
        "colours": len(COLOURS),
    }


def _drill_data(drill: Drill, images: dict[str, int]) -> dict:
    frame = drill.frame
    reasons = {
        str(i): str(reason)
        for i, (status, reason) in enumerate(zip(frame["status"], frame["reason"], strict=True))
        if status != "ok"
    }
    return {
        "image": [images.setdefault(image, len(images)) for image in frame["image"]],
        "status": [STATUS.index(status) if status in STATUS else len(STATUS) for status in frame["status"]],
        "oracle": [int(kind == "score") for kind in frame["kind"]],
        "tampered": [int(bool(t)) for t in frame["tampered"]],
        "seconds": [_finite(s, 3) for s in frame["seconds"]],
        "psnr": [_finite(p, 1) for p in frame["psnr"]],
        "reason": reasons,
        "notes": _notes(frame),
        "values": drill.values,
        "pictures": {str(position): numbers for position, numbers in drill.pictures.items()},
        "hidden": drill.hidden,
    }


def _notes(frame: pd.DataFrame) -> dict[str, str]:
    """Position -> what a localizer says of the image as a whole, and whether it saw it in parts for lack of memory."""
    notes: dict[str, list[str]] = {}
    if "image_score" in frame:
        for i, score in enumerate(frame["image_score"]):
            if not pd.isna(score):
                notes.setdefault(str(i), []).append(f"image-level score {score:.3f}")
    if "seen" in frame:
        for i, seen in enumerate(frame["seen"]):
            if isinstance(seen, str) and seen != "whole":
                notes.setdefault(str(i), []).append(f"seen in {seen}")
    return {position: ", ".join(words) for position, words in notes.items()}


# ------------------------------------------------------------------------------------------------ words about the run


def _lead(comparison: Comparison) -> str:
    """The first paragraph: what was compared, and over what the numbers are means."""
    models = len({line.model for line in comparison.lines})
    skipped = len({m["name"] for m in _skipped(comparison)})
    sets = [
        f"{s.get('title') or s['name']} ({s.get('n_tampered', '?')} tampered, {s.get('n_authentic', '?')} authentic)"
        for s in comparison.test_sets
    ]
    perturbed = sum(not c.identity for c in comparison.conditions)
    text = (
        f"{_count(models, 'localizer')} on {_count(len(sets), 'test set')}: {'; '.join(sets)}. Each was localized "
        + (f"as it is and under {_count(perturbed, 'perturbation')}. " if perturbed else "as it is only. ")
        + "Every number below is a mean under a named protocol, with a 95 % bootstrap interval over images, "
        "the number of images n behind it, and the images that failed or that a method does not apply to counted apart."
    )
    if skipped:
        text += f" {_count(skipped, 'localizer')} could not run and {'is' if skipped == 1 else 'are'} listed below."
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _demonstration(comparison: Comparison) -> list[dict]:
    return [s for s in comparison.test_sets if s.get("demonstration")]


FACTS = {
    ("finished",): "Finished",
    ("seconds", "wall"): "Wall time",
    ("seconds", "localizers"): "Localizers' own time",
    ("seconds", "overhead"): "Harness overhead",
    ("revision",): "Revision",
    ("machine",): "Machine",
}
DETAILS = {
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
TOLD_ELSEWHERE = ("models", "test_sets", "protocols", "format")  # and the counts of cells by status


def _facts(about: dict) -> dict[str, list[tuple[str, str]]]:
    """(name, text) of what is known of how a run was made, first the `main` things, then all `others`."""
    main, others = (
        [(title, _fact(path, v)) for path, title in names.items() if (v := _at(about, path)) not in (None, "", {})]
        for names in (FACTS, DETAILS)
    )
    named = {path[0] for path in (*FACTS, *DETAILS)}
    others += [
        (key.replace("_", " ").capitalize(), _fact((key,), value))
        for key, value in about.items()
        if key not in named and key not in TOLD_ELSEWHERE and isinstance(value, str | int | float) and value != ""
    ]
    return {"main": main, "others": others}


def _at(about: dict, path: tuple[str, ...]) -> object:
    value: object = about
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _fact(path: tuple[str, ...], value: object) -> str:
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
    if path == ("machine",) and isinstance(value, dict) and "processor" in value:
        cores = f", {value['cores']} cores" if value.get("cores") else ""
        return f"{value['processor']}{cores}, {value.get('system', '')}".rstrip(", ")
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items() if inner not in (None, ""))
    return str(value).replace(",", ", ")


def _models(comparison: Comparison) -> list[dict]:
    cards = {m["name"]: m for run in comparison.runs for m in run.models if m.get("status", "run") == "run"}
    return [cards.get(name, {"name": name}) for name in dict.fromkeys(line.model for line in comparison.lines)]


def _published(comparison: Comparison, test_set: str) -> dict:
    """What the page says of the published numbers on a test set: measured numbers, each with those published beside
    it (reasons that hold for all of them apart, sources as numbered notes), and by source and training set those that
    stand beside nothing measured."""
    pairs = beside(comparison, test_set)
    everywhere = [r for r in (pairs[0]["why_not"] if pairs else []) if all(r in pair["why_not"] for pair in pairs)]
    notes: dict[tuple, int] = {}
    measured: dict[tuple, dict] = {}
    for pair in pairs:
        how = tuple(pair[name] for name in HOW)
        note = notes.setdefault(how, len(notes) + 1)
        number = {**pair, "note": note, "reasons": [reason for reason in pair["why_not"] if reason not in everywhere]}
        key = (pair["line"].index, pair["spec"], pair["metric"], pair["protocol"])
        measured.setdefault(key, {**pair, "numbers": []})["numbers"].append(number)
    sources: dict[tuple[str, str], list[dict]] = {}
    for record in elsewhere(comparison, test_set):
        sources.setdefault((record["source"], record["train_set"]), []).append(record)
    shown = {pair["line"].index for pair in pairs}
    return {
        "folder": is_folder(comparison, test_set),
        "measured": list(measured.values()),
        "pairs": len(pairs),
        "comparable": sum(pair["comparable"] for pair in pairs),
        "everywhere": everywhere,
        "without": [line.label for line in comparison.lines if line.index not in shown],
        "flagged": comparison.contaminated(test_set),
        "notes": [dict(zip(HOW, how, strict=True)) for how in notes],
        "sources": sources,
        "elsewhere": sum(map(len, sources.values())),
    }


def _skipped(comparison: Comparison) -> list[dict]:
    return [
        {**m, "run": run.label} for run in comparison.runs for m in run.models if m.get("status", "run") == "skipped"
    ]


def _failures(comparison: Comparison) -> list[dict]:
    """Failed and not applicable cells, those of one reason together: run, model, set, status, reason, count, where."""
    found = []
    for run in comparison.runs:
        if not len(run.cells):
            continue
        missing = run.cells[run.cells["status"] != "ok"]
        for (model, test_set, status, reason), group in missing.groupby(
            ["model", "test_set", "status", "reason"], sort=False, dropna=False
        ):
            specs = list(dict.fromkeys(group["spec"]))
            images = list(dict.fromkeys(group["image"]))
            found.append(
                {
                    "run": run.label,
                    "model": model,
                    "test_set": test_set,
                    "status": status.replace("_", " "),
                    "reason": reason,
                    "count": len(group),
                    "specs": ", ".join(specs[:6]) + (f" and {len(specs) - 6} more" if len(specs) > 6 else ""),
                    "images": ", ".join(images[:4]) + (f" and {len(images) - 4} more" if len(images) > 4 else ""),
                }
            )
    return sorted(found, key=lambda f: (f["status"] != "failed", -f["count"]))


def duration(seconds: float) -> str:
    """ "4 min 3 s", "2 h 5 min", "0.42 s" """
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def number(value: float, digits: int = 2, missing: str = "–") -> str:
    """Fixed-point text, `missing` for NaN."""
    return missing if value is None or pd.isna(value) else f"{value:.{digits}f}"


def score(value: float | None, missing: str = "–") -> str:
    """ ".713", "−.020", "1.000": as the script writes values; `missing` for None."""
    return missing if value is None else re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}").replace("-", "−")


def linked(text: str) -> Markup:
    """Escaped text in which web addresses can be followed; nothing is fetched from them."""
    parts = re.split(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:)])", str(text))
    return Markup("").join(
        Markup('<a href="{0}" rel="noopener noreferrer external">{0}</a>').format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )
