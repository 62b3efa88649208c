"""Compare a run with a committed reference; fail when a localizer got worse.

A cell (localizer, test set, perturbation, metric) counts as worse only when both hold: the paired bootstrap
interval of the change over the images lies wholly below zero, and the mean loss reaches the minimum effect.
An image that was scored in the reference and is not scored now counts as worse, whatever the rest says.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.metrics import PROTOCOLS
from bench.results import read_results
from bench.statistics import paired_bootstrap
from bench.usage import UsageError

FORMAT = 1
METRICS = (("native", "auc"), ("native", "best_f1"), ("native", "f1"))
CELL = ["model", "test_set", "spec", "protocol", "metric"]


@dataclass(frozen=True)
class Verdict:
    """One cell compared: mean of the reference and of the run over the same n images, and the change."""

    model: str
    test_set: str
    spec: str
    protocol: str
    metric: str
    n: int
    reference: float
    value: float
    change: float
    low: float
    high: float
    lost: int
    worse: bool

    @property
    def text(self) -> str:
        """The cell and its change in one line."""
        line = (
            f"{self.model} on {self.test_set}, {self.spec}: {self.protocol} {self.metric} "
            f"{self.reference:.4f} -> {self.value:.4f} "
            f"({self.change:+.4f} [{self.low:+.4f}, {self.high:+.4f}], n={self.n})"
        )
        return line + (f"; {self.lost} images are no longer scored" if self.lost else "")


def scored(folder: Path) -> pd.DataFrame:
    """The per-image values of a run that a check compares, one row each; NaN where a metric is undefined."""
    results = folder / "results.csv"
    if not results.exists():
        raise UsageError(f"{folder} holds no finished run (no results.csv); run `python -m bench run` first")
    table = read_results(results)
    wanted = pd.MultiIndex.from_tuples(METRICS)
    chosen = pd.MultiIndex.from_frame(table[["protocol", "metric"]]).isin(wanted) & (table["image"] != "*")
    return table.loc[chosen, [*CELL, "image", "source", "value"]].reset_index(drop=True)


def write_reference(path: Path, values: pd.DataFrame, about: dict) -> None:
    """Write a reference file: values nested as model > test set > perturbation > metric > image."""
    nested: dict = {}
    for row in values.itertuples(index=False):
        if math.isfinite(row.value):
            place = nested.setdefault(row.model, {}).setdefault(row.test_set, {}).setdefault(row.spec, {})
            place.setdefault(f"{row.protocol}.{row.metric}", {})[row.image] = round(row.value, 6)
    content = {
        "format": FORMAT,
        "made": {"with": about["versions"], "revision": about["revision"], "at": about["started"]},
        "protocols": {name: PROTOCOLS[name].version for name in sorted({p for p, _ in METRICS})},
        "seed": about["request"]["seed"],
        "values": nested,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(_compact(content))
    os.replace(temporary, path)


def read_reference(path: Path, about: dict) -> pd.DataFrame:
    """The reference's values as rows. Raises UsageError when it cannot be compared with this run."""
    try:
        content = json.loads(path.read_text())
        found, versions, seed = content["format"], content["protocols"], content["seed"]
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; write it with `--update` from a run that you trust") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a reference file ({error!r}); write it anew with --update") from error
    if found != FORMAT:
        raise UsageError(f"{path} has format {found}, this version compares {FORMAT}; write it anew with --update")
    for name, version in versions.items():
        if name not in PROTOCOLS or PROTOCOLS[name].version != version:
            raise UsageError(f"{path} was made under protocol {name} v{version}, which this version does not have")
    if seed != about["request"]["seed"]:
        raise UsageError(f"{path} was made with --seed {seed}, the run with --seed {about['request']['seed']}")
    rows = [
        (model, test_set, spec, *measure.split("."), image, value)
        for model, sets in content["values"].items()
        for test_set, specs in sets.items()
        for spec, measures in specs.items()
        for measure, images in measures.items()
        for image, value in images.items()
    ]
    return pd.DataFrame(rows, columns=[*CELL, "image", "value"])


def compare(reference: pd.DataFrame, values: pd.DataFrame, min_effect: float, confidence: float) -> list[Verdict]:
    """One verdict for each of the reference's cells.

    Raises UsageError when the run lacks one of them altogether: nothing is passed by not being run.
    """
    both = reference.merge(values, on=[*CELL, "image"], how="left", suffixes=("_reference", ""), validate="1:1")
    present = set(values[CELL].itertuples(index=False, name=None))
    absent = [
        cell for cell in reference[CELL].drop_duplicates().itertuples(index=False, name=None) if cell not in present
    ]
    if absent:
        first = " / ".join(absent[0])
        raise UsageError(
            f"the run lacks {len(absent)} cells of the reference, the first is {first}; "
            "run the same models, data and perturbations, or write the reference anew with --update"
        )
    verdicts = []
    for cell, group in both.groupby(CELL, sort=False):
        old, new = group["value_reference"].to_numpy(), group["value"].to_numpy()
        shared = np.isfinite(new)
        lost = int((~shared).sum())
        if not shared.any():
            verdicts.append(Verdict(*cell, 0, float(old.mean()), *[math.nan] * 4, lost, True))
            continue
        clusters = group["source"].to_numpy()[shared]
        change = paired_bootstrap(old[shared], new[shared], clusters=clusters, confidence=confidence)
        worse = (change.high < 0 and -change.mean >= min_effect) or lost > 0
        means = float(old[shared].mean()), float(new[shared].mean())
        verdicts.append(Verdict(*cell, change.n, *means, change.mean, change.low, change.high, lost, worse))
    return verdicts


def _compact(content: dict) -> str:
    """JSON with one line for each metric of a cell: small enough to commit, and diffs stay readable."""
    values = content.pop("values")
    lines = []
    for model, sets in values.items():
        for test_set, specs in sets.items():
            for spec, measures in specs.items():
                rows = [f"     {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in measures.items()]
                lines.append((model, test_set, f"    {json.dumps(spec)}: {{\n" + ",\n".join(rows) + "\n    }"))
    out = []
    for model in values:
        sets = []
        for test_set in values[model]:
            body = ",\n".join(text for m, t, text in lines if (m, t) == (model, test_set))
            sets.append(f"   {json.dumps(test_set)}: {{\n{body}\n   }}")
        out.append(f"  {json.dumps(model)}: {{\n" + ",\n".join(sets) + "\n  }")
    head = json.dumps(content, indent=1).rstrip("}\n")
    return f'{head},\n "values": {{\n' + ",\n".join(out) + "\n }\n}\n"
