"""A made-up run with all that a report has to show: failures, gaps, skipped and contaminated models."""

import dataclasses
import io

import numpy as np
import pandas as pd
from PIL import Image

from bench import leaderboard
from bench.summary import summarize
from reports import RunView

PSNR = {
    **{"identity": np.inf, "jpeg:90": 41, "jpeg:70": 36, "jpeg:50": 33.5, "resize:0.75": 34, "resize:0.5": 29},
    **{"blur:3": 35, "blur:5": 31, "blur:7": 28.5, "noise:3": 38.6, "noise:5": 34.1, "noise:10": 28.1},
    **{"jpeg:70+resize:0.5": 28, "resize:0.5+jpeg:70": 28.4, "gamma:1.4": 24},
}
SPECS = list(PSNR)
SKILL = {
    "mpc": (0.82, 0.25, "probability"),
    "ela": (0.35, 0.9, "score"),
    "ghost": (0.45, 0.8, "score"),
    "zero": (0.55, 1.0, "probability"),
    "noise-median": (0.4, 0.7, "score"),
    "copy-move-dense": (0.5, 0.35, "probability"),
    "deep-rival": (0.75, 0.5, "probability"),
}
NETWORKS = {"mpc-catnet": (0.84, 0.3, "probability"), "trufor": (0.7, 0.6, "probability")}  # with published numbers
PROTOCOLS = [
    {
        "name": "native",
        "version": "1",
        "title": "Per image, the localizer's own threshold",
        "description": "Each metric is computed on every tampered image at the localizer's own threshold and "
        "averaged over images; authentic images are not counted.",
    },
    {
        "name": "polarity-free",
        "version": "2",
        "title": "Better of the map and the inverted map",
        "description": "As native, but every image takes the better of the score map and the inverted score map.",
    },
]
FIXED = ("f1", "iou")
METRICS = ("f1", "iou", "auc", "best_threshold")
METRIC_RECORDS = [
    {"name": "f1", "title": "Pixel F1", "definition": "Harmonic mean of precision and recall."},
    {"name": "iou", "title": "Pixel IoU", "definition": "Intersection over union."},
    {"name": "auc", "title": "Pixel AUC", "definition": "Area under the ROC curve; .5 is chance.", "chance": 0.5},
    {"name": "image_auc", "title": "Image AUC", "definition": "Tampered against authentic.", "scope": "set"},
    {"name": "best_threshold", "title": "Best threshold", "definition": "A setting.", "direction": "neither"},
]
FAMILIES = [
    {"name": "jpeg", "title": "JPEG", "parameter": "quality factor", "unit": ""},
    {"name": "blur", "title": "Gaussian blur", "parameter": "kernel size", "unit": "pixels"},
    {"name": "noise", "title": "Gaussian noise", "parameter": "standard deviation", "unit": "grey levels"},
]
SETS = {"builtin": (9, 3), "field": (16, 0)}


def family_and_level(spec):
    parts = [part.partition(":") for part in spec.split("+")]
    return "+".join(p[0] for p in parts), "+".join(p[2] for p in parts)


def encoded(array, form):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, quality=70)
    return buffer.getvalue()


class Thumbnails:
    """Draws what is asked for, always the same for the same key."""

    size = (48, 72)

    def blob(self, image, shift=0.0):
        rng = np.random.default_rng(sum(map(ord, image)))
        y, x = np.mgrid[: self.size[0], : self.size[1]]
        cy, cx = rng.uniform(15, 33), rng.uniform(20, 52)
        radius = np.hypot((y - cy) / rng.uniform(6, 13), (x - cx - 10 * shift) / rng.uniform(8, 17))
        return np.clip(1.6 - radius, 0, 1)

    def __call__(self, what, key):
        key = key if isinstance(key, str) else "|".join(key)
        if what in ("confidence", "sources") and "|mpc|" not in key:
            return None
        image = key.split("|")[1 if what in ("photo", "truth") else 2]
        if what == "photo":
            rng = np.random.default_rng(len(key) + sum(map(ord, image)))
            y, x = np.mgrid[: self.size[0], : self.size[1]]
            base = np.stack([120 + 90 * np.sin((x * a + y * b) / 15) for a, b in rng.uniform(-1, 1, (3, 2))], axis=2)
            base += 45 * (self.blob(image) > 0.6)[:, :, None]
            return encoded(np.clip(base + rng.normal(0, 8, base.shape), 0, 255).astype(np.uint8), "JPEG")
        if what == "truth":
            return None if "authentic" in image else encoded(np.uint8(255 * (self.blob(image) > 0.6)), "PNG")
        score = self.blob(image, shift=(sum(map(ord, key)) % 10) / 10)
        if what == "prediction":
            return encoded(np.uint8(255 * (score > 0.5)), "PNG")
        return encoded(np.uint8(255 * score), "PNG")


def interval(values, rng):
    if len(values) == 0:
        return np.nan, np.nan, np.nan
    means = rng.choice(values, (300, len(values))).mean(axis=1)
    return float(np.mean(values)), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def make_run(label="default run", *, models=tuple(SKILL), sets=None, specs=SPECS, seed=0, lift=0.0):
    """A RunView of random but plausible numbers; `sets` maps a name to its count of tampered and authentic images."""
    rng = np.random.default_rng(seed)
    sets = SETS if sets is None else sets
    cells, rows = [], []
    for test_set, (tampered, authentic) in sets.items():
        images = [f"forged_{i:02d}" for i in range(tampered)] + [f"authentic_{i:02d}" for i in range(authentic)]
        difficulty = dict(zip(images, rng.normal(0, 0.13, len(images)), strict=True))
        for model in models:
            skill, fragile, kind = (SKILL | NETWORKS)[model]
            for spec in specs:
                family, level = family_and_level(spec)
                damage = fragile * min(max(44 - PSNR[spec], 0) / 30, 1)
                for image in images:
                    status, reason = "ok", ""
                    if model == "ghost" and family != "identity" and "jpeg" not in family:
                        status, reason = "not_applicable", "no JPEG history"
                    if model == "zero" and spec == "blur:7" and image.endswith(("03", "05")):
                        status, reason = "failed", "MemoryError: 3.1 GB asked for <grid> & not available"
                    cell = {
                        "key": f"{label}|{test_set}|{image}|{model}|{spec}",
                        "model": model,
                        "test_set": test_set,
                        "image": image,
                        "source": image,
                        "tampered": image.startswith("forged"),
                        "perturbation": family,
                        "level": level,
                        "spec": spec,
                        "status": status,
                        "reason": reason,
                        "seconds": 0.05 + 0.4 * skill * rng.uniform(0.9, 1.2),
                        "peak_mb": 200 * skill + 40 * rng.uniform(),
                        "psnr": PSNR[spec] + rng.normal(0, 0.5),
                        "ssim": 0.9,
                        "bytes": 30000 if "jpeg" in family else np.nan,
                        "kind": kind,
                        "image_score": 0.875 if model == "mpc" and status == "ok" else np.nan,
                        "seen": "tiles 64x64, overlap 32" if model == "mpc" else None,
                    }
                    cells.append(cell)
                    if status != "ok" or not cell["tampered"]:
                        continue
                    base = float(
                        np.clip(skill + lift - damage * 0.6 + difficulty[image] + rng.normal(0, 0.08), 0.02, 0.98)
                    )
                    for protocol in PROTOCOLS:
                        bonus = 0.04 if protocol["name"] == "polarity-free" else 0.0
                        f1 = min(base + bonus, 1.0)
                        numbers = {
                            "f1": f1,
                            "iou": f1 / (2 - f1),
                            "auc": min(0.45 + 0.55 * f1, 1.0),
                            "best_threshold": rng.uniform(),
                        }
                        common = {
                            c: cell[c] for c in ("model", "test_set", "image", "source", "tampered", "perturbation")
                        }
                        common |= {"level": level, "spec": spec, "seed": 0, "protocol": protocol["name"]}
                        for metric in METRICS:
                            undefined = kind == "score" and metric in FIXED
                            rows.append(common | {"metric": metric, "value": np.nan if undefined else numbers[metric]})
                if authentic:
                    whole = {"image": "*", "source": "*", "protocol": "native", "metric": "image_auc"}
                    rows.append(
                        rows[-1] | whole | {"model": model, "spec": spec, "value": 0.5 + 0.4 * skill - 0.2 * damage}
                    )
    cells, results = pd.DataFrame(cells), pd.DataFrame(rows)
    return view(label, about(models), cells, results, summarise(cells, results, rng, sets), cards(models), sets)


def view(label, about, cells, results, summary, cards, sets, **more):
    """The RunView of made-up tables; `about` gets the records."""
    trained = {(c["name"], t) for c in cards for t in c["trained_on"]}
    controls = frozenset(c["name"] for c in cards if "controls" in c["groups"])
    field = leaderboard.Field(tuple(dict.fromkeys(cells["model"])), controls, frozenset(trained))
    records = {
        "models": cards,
        "test_sets": [card_of_set(name, *counts) for name, counts in sets.items()],
        "protocols": PROTOCOLS,
        "metrics": METRIC_RECORDS,
        "perturbations": FAMILIES,
    }
    tables = {
        "summary": summary,
        "standings": leaderboard.standings(results, field, METRIC_RECORDS, resamples=300),
        "results": results,
        "cells": cells,
    }
    return RunView.of(label, about | records, tables, **({"picture": Thumbnails()} | more))


def outcome(values, *, groups=None, trained=(), specs=("identity", "jpeg:70"), drop=0.1, failed=()):
    """A run of one set "field" and protocol "native" from the AUC of each localizer's images, for tests of the answer.

    values: localizer -> per-image values of the unperturbed images; the other level has `drop` less. groups: localizer
    -> its groups. trained: localizers trained on the set. failed: (localizer, image number) without a value.
    """
    cells, rows = [], []
    for model, column in values.items():
        for spec in specs:
            family, level = family_and_level(spec)
            for i, value in enumerate(column):
                lost = (model, i) in failed
                place = {"model": model, "test_set": "field", "image": f"i{i:03d}", "source": f"i{i:03d}"}
                place |= {"tampered": True, "perturbation": family, "level": level, "spec": spec}
                status = {"status": "failed" if lost else "ok", "reason": "broke" if lost else ""}
                measured = {
                    "seconds": 0.5,
                    "peak_mb": 10.0,
                    "psnr": PSNR[spec],
                    "ssim": 0.9,
                    "bytes": 1000,
                    "kind": "score",
                }
                cells.append(place | status | measured | {"key": f"{model}|{spec}|{i}"})
                if not lost:
                    found = value - (drop if spec != "identity" else 0)
                    rows.append(place | {"seed": 0, "protocol": "native", "metric": "auc", "value": found})
    columns = [*list(cells[0])[:8], "seed", "protocol", "metric", "value"]
    results = pd.DataFrame(rows, columns=columns).astype({"value": float})
    cells = pd.DataFrame(cells)
    flagged = {(model, "field") for model in trained}
    known = [
        {"name": m, "title": m.title(), "groups": (groups or {}).get(m, ()), "trained_on": ["field"] * (m in trained)}
        for m in values
    ]
    summary = summarize(results, cells, flagged, resamples=300)
    if not len(summary):
        summary = unscored(cells)
    count = len(next(iter(values.values())))
    return view("run", {}, cells, results, summary, known, {"field": (count, 0)}, picture=lambda what, key: None)


def unscored(cells):
    """The summary of cells none of which has a value."""
    rows = cells[["model", "test_set", "perturbation", "level", "spec"]].drop_duplicates()
    nothing = {"mean": np.nan, "low": np.nan, "high": np.nan, "n": 0, "rank": np.nan, "contaminated": False}
    counts = {"n_failed": len(cells), "n_not_applicable": 0, "n_skipped": 0}
    return rows.assign(protocol="native", metric="auc", **nothing, **counts)


def rows_of(table, model, test_set, spec):
    return (table["model"] == model) & (table["test_set"] == test_set) & (table["spec"] == spec)


def summarise(cells, results, rng, sets):
    """The summary table as the harness makes it, one row per model, set, perturbation, protocol and metric."""
    per_metric = {key: group["value"].dropna().to_numpy() for key, group in
                  results.groupby(["model", "test_set", "spec", "protocol", "metric"])}  # fmt: skip
    summary = []
    for (model, test_set, family, level, spec), group in cells.groupby(
        ["model", "test_set", "perturbation", "level", "spec"], sort=False
    ):
        tampered = group[group["tampered"]]
        failed, absent = (int((tampered["status"] == s).sum()) for s in ("failed", "not_applicable"))
        for protocol in PROTOCOLS:
            for metric in METRICS:
                values = per_metric.get((model, test_set, spec, protocol["name"], metric), np.empty(0))
                mean, low, high = interval(values, rng)
                summary.append(
                    {
                        "model": model,
                        "test_set": test_set,
                        "perturbation": family,
                        "level": level,
                        "spec": spec,
                        "protocol": protocol["name"],
                        "metric": metric,
                        "mean": mean,
                        "low": low,
                        "high": high,
                        "n": len(values),
                        "n_failed": failed,
                        "n_not_applicable": len(tampered) - failed - len(values) if len(tampered) else absent,
                        "n_skipped": 1 if test_set == "field" else 0,
                        "contaminated": model == "deep-rival" and test_set == "field",
                    }
                )
        if sets[test_set][1]:  # a metric of the whole set needs authentic images
            whole = {"metric": "image_auc", "low": np.nan, "high": np.nan, "contaminated": False}
            mean = results.loc[rows_of(results, model, test_set, spec) & (results["image"] == "*"), "value"].mean()
            summary.append(
                summary[-1] | whole | {"protocol": "native", "mean": mean, "n": int((group["status"] == "ok").sum())}
            )
    summary = pd.DataFrame(summary)
    groups = summary.groupby(["test_set", "spec", "protocol", "metric"])["mean"]
    return summary.assign(rank=groups.rank(ascending=False, method="min"))


def about(models):
    return {
        "format": 1,
        "suite": "0.1.0",
        "request": {
            "models": ",".join(models),
            "data": "builtin,field:photos",
            "perturbations": "standard",
            "limit": None,
            "seed": 0,
            "device": "cpu",
            "backend": "loky",
            "workers": 2,
        },
        "started": "2026-11-21T04:05:06+00:00",
        "finished": "2026-11-21T04:09:10+00:00",
        "revision": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        "versions": {"python": "3.11.7", "torch": "2.13.0+cpu", "numpy": "2.4.6", "opencv-python": "5.0.0.93"},
        "machine": {"system": "Linux", "processor": "Xeon", "cores": 2},
        "cells": {"asked": 2940, "reused": 12, "ok": 2600, "failed": 2},
        "seconds": {"wall": 243.7, "localizers": 421.4, "harness": 27.1, "overhead": 0.0643},
        "models": [],
    }


def cards(models):
    found = [
        {
            "name": name,
            "title": {"mpc": "MPC (HRFormer-Small, shipped)", "ela": "Error level analysis"}.get(name, name.title()),
            "paper": "Krawetz, Black Hat 2007" if name == "ela" else "https://doi.org/10.1000/made.up",
            "year": 2020,
            "summary": f"What {name} looks for, in one sentence with <angle> & ampersand.",
            "licence": "MIT",
            "groups": ("baselines",),
            "trained_on": ("field",) if name == "deep-rival" else (),
            "status": "run",
            "reason": "",
        }
        for name in models
    ]
    skipped = {
        "name": "mpc-catnet",
        "title": "MPC (authors' CAT-Net protocol weights)",
        "paper": "Lou et al., TIFS 2025",
        "year": 2025,
        "summary": "The authors' checkpoint.",
        "licence": "not stated",
        "groups": (),
        "trained_on": ("casia2",),
        "status": "skipped",
        "reason": "MPC_CATNet_stage2_weights.pth is missing: get it from https://example.org/weights",
    }
    return found if "mpc-catnet" in models else [*found, skipped]


def published_number(**changes):
    """MPC's F1 on CASIA v1 as its Table 4 prints it, in the keys of `RunView.published`, or as changed."""
    number = {
        "model": "mpc-catnet",
        "method": "MPC",
        "weights": "released",
        "train_set": "CAT-Net dataset (>800k)",
        "test_set": "casia1",
        "printed_set": "CASIAv1",
        "spec": "identity",
        "perturbation": "",
        "metric": "f1",
        "printed_metric": "pixel F1",
        "protocol": "native",
        "value": 0.745,
        "rule": "threshold .5",
        "scoring": "authors' script",
        "images": 20,
        "obstacles": [],
        "source": "MPC arXiv:2406.13565v1 Table 4",
    }
    number["featured"] = changes.get("method", "MPC") == "MPC"
    assert changes.keys() <= number.keys()
    return number | changes


def beside_published():
    """A run of a card's set and a folder of a known name, with published numbers of every fate."""
    run = make_run(
        models=("ela", "trufor", "mpc-catnet"), sets={"casia1": (20, 0), "columbia": (5, 0)}, specs=SPECS[:3]
    )
    sets = tuple(dataclasses.replace(t, card="casia1" if t.name == "casia1" else "") for t in run.test_sets)
    featured = tuple(dataclasses.replace(c, featured=c.name == "mpc-catnet") for c in run.localizers)
    fine_tuned = "other weights, trained on: <NIST> & CASIA"
    numbers = [
        published_number(value=0.824, weights="retrained", obstacles=[fine_tuned], source="MPC Table 5"),
        published_number(),
        published_number(printed_metric="pixel IoU", metric="iou", value=0.686),
        published_number(spec="jpeg:70", perturbation="JPEG q=70", value=0.7, obstacles=["encoder not stated"]),
        published_number(model="trufor", method="TruFor", value=0.696, images=920),
        published_number(model="trufor", method="TruFor", value=0.737, images=None, source="TruFor Table 1"),
        published_number(model="catnet-v2", method="CAT-Net", value=0.71),
        published_number(model="", method="PIM", value=0.566, source="MPC Table 2"),
        published_number(perturbation="OSN Facebook", spec="", value=0.709, source="MPC Table 6"),
        published_number(test_set="columbia", printed_set="Columbia", value=0.945, images=5),
    ]
    return dataclasses.replace(run, test_sets=sets, localizers=featured, published=tuple(numbers))


def card_of_set(name, tampered, authentic):
    return {
        "name": name,
        "title": {"builtin": "Built-in demonstration set"}.get(name, f"{name.title()} photographs"),
        "n_tampered": tampered,
        "n_authentic": authentic,
        "defects": []
        if name == "builtin"
        else [{"file": "a&b_17.png", "problem": "mask is 511x512, image is 512x512"}],
        "demonstration": name == "builtin",
        "note": "Forged by this program from ten sample photos." if name == "builtin" else "",
        "licence": "CC BY 2.0" if name == "builtin" else "research only",
        "citation": "" if name == "builtin" else "Doe & Roe, 100% forged photographs, https://doi.org/10.1000/field",
    }
