"""`bench data audit`: does a set tell forged from authentic images by something else than the forgery?

A localizer or detector that knows the file format, the quantization table or the size may score well without looking
at a trace. The audit fits a classifier on these facts alone: the AUC that it reaches on images that it has not seen
is what a detector gets for free. It also looks for images that occur twice, in a set and in two, for masks that mark
nothing or everything, and for the score of guessing the middle.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from bench.data import verdicts
from bench.data.facts import Facts, centre_auc, gather, near_pairs, same
from bench.data.inspect import stats
from bench.data.sets import TestSet

NAMED = ("format", "mode", "tables", "chroma", "progressive", "exif", "software")  # facts that are names
MEASURED = ("quality", "height", "width")  # facts that are numbers
WORDS = {
    "format": "container", "mode": "colour mode", "tables": "quantization tables", "chroma": "chroma subsampling",
    "progressive": "progressive or not", "exif": "EXIF or none", "software": "software tag", "quality": "JPEG quality",
    "height": "height", "width": "width",
}  # fmt: skip
FOLDS = 5
LEAK = 0.6  # an AUC of the file's facts above this, and beyond chance, is a leak
PRIOR = 0.7  # an AUC of guessing the middle above this is worth a word
SHOWN = 5  # pairs that the words name
TOO_FEW = "too few tampered or authentic images to ask how well the file tells them apart"


def audit(test_sets: Sequence[TestSet], workers: int | None = None) -> list[dict]:
    """What each set leaks, and which images it shares with the others; kept for reports by the set's fingerprint.

    Returns a report a set: `verdict` (one sentence), `leaks` (sentences; empty for a clean set), `remarks`, `auc` of
    all file facts together with its standard error, `facts` (AUC of each alone, the commonest values of both classes),
    `doubled`, `near`, `shared`, `centre_auc`, `forged_share`, and what `stats` says; `area` is the raster of forged
    area.
    """
    found = [gather(test_set, "audit", workers) for test_set in test_sets]
    reports = [_report(test_set, one) for test_set, one in zip(test_sets, found, strict=True)]
    for place, (test_set, report) in enumerate(zip(test_sets, reports, strict=True)):
        others = {other.name: f for other, f in zip(test_sets, found, strict=True) if other is not test_set}
        report["shared"] = {name: _shared(found[place], other) for name, other in others.items()}
        for name, pairs in report["shared"].items():
            if pairs["same"] or pairs["near"]:
                report["leaks"].append(
                    f"{pairs['same']} images are the same as in {name}, {pairs['near']} look nearly the same: one of "
                    "them must not be trained on where the other is tested"
                )
        report["verdict"] = _verdict(report)
        verdicts.keep(report["fingerprint"], report["verdict"], report["leaks"])
    return reports


def _report(test_set: TestSet, found: Sequence[Facts]) -> dict:
    good = [one for one in found if not one.problem]
    table = pd.DataFrame(
        [{key: getattr(one, key) for key in (*NAMED, *MEASURED, "tampered", "source")} for one in good]
    )
    leaks, remarks = [], list(test_set.remarks)
    auc, error = facts_auc(table)
    every = () if auc is None else (*NAMED, *MEASURED)
    alone = {key: own for key in every if (own := facts_auc(table, [key])[0]) is not None}
    if auc is None or error is None:
        remarks.append(TOO_FEW)
        leaks += _constant(table)
    elif auc > LEAK and auc - 1.96 * error > 0.5:
        telling = sorted((key for key in alone if alone[key] > LEAK), key=lambda key: -alone[key])
        which = ", ".join(f"{WORDS[key]} {alone[key]:.2f}" for key in telling[:4])
        leaks.append(
            f"the file alone tells tampered from authentic images: AUC {auc:.2f} without looking at a pixel"
            + (f" ({which})" if which else "")
        )
    doubled = same(good, "pixels")
    if doubled:
        some = "; ".join(" = ".join(ids) for ids in doubled[:SHOWN])
        leaks.append(f"{sum(map(len, doubled))} images occur more than once ({some})")
    near = _near(good)
    if near:
        some = "; ".join(f"{a} ~ {b}" for a, b in near[:SHOWN])
        remarks.append(
            f"{len(near)} pairs look nearly the same although they are said to be of different photos ({some}): "
            "intervals take them for independent"
        )
    shares = [one.share for one in good if one.share is not None]
    full = sum(share == 1 for share in shares)
    if full:
        remarks.append(f"{full} masks mark every pixel")
    unreadable = [one for one in found if one.problem]
    empty = sum("marks no forged pixel" in one.problem for one in unreadable)
    if empty:
        remarks.append(f"{empty} masks mark nothing")
    if len(unreadable) > empty:
        remarks.append(f"{len(unreadable) - empty} images cannot be read; `bench data verify` names them")
    if shares and np.median(shares) > 0.5:
        leaks.append(f"half of the masks mark more than {np.median(shares):.0%}: are they inverted?")
    prior = centre_auc(good)
    if prior is not None and prior > PRIOR:
        remarks.append(f"forged regions lie in the middle: guessing it reaches a pixel AUC of {prior:.2f}")
    return {
        **stats(test_set, found),
        "fingerprint": test_set.digest,
        "n": len(test_set.samples),
        "auc": auc,
        "auc_error": error,
        "facts": {key: _values(table, key, alone.get(key)) for key in (*NAMED, *MEASURED)} if len(table) else {},
        "doubled": doubled,
        "near": [list(pair) for pair in near],
        "centre_auc": prior,
        "area": _area(good),
        "leaks": leaks,
        "remarks": remarks,
    }


def facts_auc(table: pd.DataFrame, keys: Sequence[str] = (*NAMED, *MEASURED)) -> tuple[float | None, float | None]:
    """AUC, and its standard error (Hanley and McNeil 1982), of a classifier that sees these facts of files alone.

    A random forest, of one fact a tree; every image is judged by one that saw no image of the same photo. (None, None)
    where a class has fewer than six photos.
    """
    if not len(table):
        return None, None
    tampered, source = table["tampered"].to_numpy(bool), table["source"]
    photos = min(source[tampered].nunique(), source[~tampered].nunique())
    folds = min(FOLDS, photos // 2)
    if folds < 3:
        return None, None
    names, numbers = [k for k in keys if k in NAMED], [k for k in keys if k in MEASURED]
    x = table[[*names, *numbers]].copy()
    x[names] = x[names].astype(str)
    x[numbers] = x[numbers].astype(float).fillna(-1)
    seen = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", max_categories=50), names), remainder="passthrough"
    )
    if len(keys) == 1:
        classifier = DecisionTreeClassifier(min_samples_leaf=3, random_state=0)
    else:
        classifier = RandomForestClassifier(50, min_samples_leaf=3, random_state=0)
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    scores = cross_val_predict(
        make_pipeline(seen, classifier), x, tampered, groups=source, cv=split, method="predict_proba"
    )[:, 1]
    auc = float(roc_auc_score(tampered, scores))
    m, n = int(tampered.sum()), int((~tampered).sum())
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (m - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / (m * n)
    return auc, math.sqrt(max(variance, 0.0))


def _constant(table: pd.DataFrame) -> list[str]:
    """The facts that split a small set: one value in all tampered images, another in all authentic ones.

    Only where chance does that in fewer than one case of twenty.
    """
    if not len(table) or table["tampered"].nunique() < 2:
        return []
    tampered = int(table["tampered"].sum())
    if 1 / math.comb(len(table), tampered) > 0.05:
        return []
    found = []
    for key in NAMED:
        sides = [set(rows[key].astype(str)) for _, rows in table.groupby("tampered")]
        if all(len(side) == 1 for side in sides) and sides[0] != sides[1]:
            authentic, forged = (next(iter(side)) or "none" for side in sides)
            found.append(f"every tampered image has the {WORDS[key]} {forged}, every authentic one {authentic}")
    return found


def _values(table: pd.DataFrame, key: str, auc: float | None) -> dict:
    """The commonest values of a fact among tampered and authentic images, as shares, and its own AUC."""
    found: dict[str, object] = {"auc": auc}
    for kind, rows in (("tampered", table[table["tampered"]]), ("authentic", table[~table["tampered"]])):
        counts = Counter(str(value) for value in rows[key] if value is not None and value == value)
        found[kind] = {value: round(number / len(rows), 3) for value, number in counts.most_common(4)}
    return found


def _near(good: Sequence[Facts]) -> list[tuple[str, str]]:
    pairs = near_pairs([one.likeness for one in good])
    return [
        (good[a].id, good[b].id)
        for a, b in pairs
        if good[a].source != good[b].source and good[a].pixels != good[b].pixels
    ]


def _shared(mine: Sequence[Facts], other: Sequence[Facts]) -> dict[str, int]:
    mine, other = ([one for one in found if not one.problem] for found in (mine, other))
    pixels = {one.pixels for one in other}
    common = {one.id for one in mine if one.pixels in pixels}
    hashes = [one.likeness for one in (*mine, *other)]
    near = {mine[a].id for a, b in near_pairs(hashes) if a < len(mine) <= b}
    return {"same": len(common), "near": len(near - common)}


def _area(good: Sequence[Facts]) -> list[list[float]]:
    """Mean forged area of each square of the raster, 0..1; [] without masks."""
    areas = [one.area for one in good if one.area is not None]
    return np.round(np.mean(areas, axis=0) / 255, 4).tolist() if areas else []


def _verdict(report: Mapping) -> str:
    if report["leaks"]:
        return "LEAKS: " + "; ".join(report["leaks"])
    if report["auc"] is None:
        return f"no leak found, but {TOO_FEW}"
    return f"no leak found (AUC of the file's facts {report['auc']:.2f})"


def text(report: Mapping) -> str:
    """The words and the table of a report."""
    lines = [f"{report['title']} ({report['name']}), {report['n']} images", f"  {report['verdict']}"]
    lines += [f"  remark: {remark}" for remark in report["remarks"]]
    if report["centre_auc"] is not None:
        lines.append(f"  guessing the middle: pixel AUC {report['centre_auc']:.2f}")
    for name, values in report["facts"].items():
        alone = "" if values["auc"] is None else f"  AUC {values['auc']:.2f}"
        sides = [
            "; ".join(f"{v or '-'} {share:.0%}" for v, share in values[kind].items())
            for kind in ("tampered", "authentic")
        ]
        lines.append(f"  {WORDS[name]:<20} tampered: {sides[0] or '-':<40} authentic: {sides[1] or '-':<40}{alone}")
    return "\n".join(lines)


def write(reports: Sequence[Mapping], found: Path) -> list[Path]:
    """The reports as JSON, words and one figure a set, below a folder; returns the files."""
    from bench.data.plots import figure  # plotting libraries load slowly

    found.mkdir(parents=True, exist_ok=True)
    written = [found / "audit.json", found / "audit.txt"]
    written[0].write_text(json.dumps(reports, indent=1), encoding="utf-8")
    written[1].write_text("\n\n".join(text(report) for report in reports) + "\n", encoding="utf-8")
    for number, report in enumerate(reports):
        written.append(found / f"set{number + 1}.png")
        figure(report, written[-1])
    return written
