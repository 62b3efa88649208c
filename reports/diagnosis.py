"""What looks broken: numbers of a localizer that more likely tell of a fault in its use than of its merit."""

from __future__ import annotations

import pandas as pd

from reports.comparison import WHOLE_SET, Comparison
from reports.words import score

ENOUGH = 3  # images before anything is said
FEW_PIXELS = 64  # of a forged region: one pixel at its edge changes F1 by more than most localizers differ


def diagnose(comparison: Comparison) -> dict[tuple[int, str], list[str]]:
    """(line, test set) -> sentences about the values on the unperturbed images (of any level where there are none)."""
    found: dict[tuple[int, str], list[str]] = {}
    for number, run in enumerate(comparison.runs):
        table = run.results[run.results["image"] != WHOLE_SET]
        constant = _constant_levels(table)
        clean = table["perturbation"] == "identity"
        table = table[clean] if clean.any() else table
        forged = _forged_pixels(run.cells)
        for (model, test_set, _), rows in table.groupby(["model", "test_set", "protocol"], observed=True):
            line = comparison.line_of.get((number, str(model)))
            values = {str(metric): group["value"].dropna() for metric, group in rows.groupby("metric", observed=True)}
            if line is not None:
                said = found.setdefault((line, str(test_set)), [])
                said += [text for text in _of_values(values) if text not in said]
                if not any(text.startswith("Every map is constant") for text in said):
                    specs = constant.get((model, test_set), ())
                    said += _at_levels([c.name for c in comparison.conditions if c.spec in specs and not c.identity])
        for test_set, pixels in forged.items():
            for line in (i for (r, _), i in comparison.line_of.items() if r == number):
                if (line, test_set) in found and pixels < FEW_PIXELS:
                    found[line, test_set].append(f"The median forged region has {pixels:.0f} pixels: too few to judge.")
    return {key: said for key, said in found.items() if said}


def _at_levels(names: list[str]) -> list[str]:
    if not names:
        return []
    listed = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more levels"]
    return [f"Every map is constant (AUC exactly .500 on every image) at: {', '.join(listed)}."]


def _constant_levels(table: pd.DataFrame) -> dict[tuple[str, str], set[str]]:
    """(model, test set) -> specs at which the AUC is exactly .5 on every image that has one."""
    auc = table.loc[(table["metric"] == "auc") & table["value"].notna(), ["model", "test_set", "spec", "value"]]
    groups = (auc["value"] == 0.5).groupby([auc[name] for name in ("model", "test_set", "spec")], observed=True)
    counted = groups.agg(["all", "size"])
    found: dict[tuple[str, str], set[str]] = {}
    for model, test_set, spec in counted.index[counted["all"] & (counted["size"] >= ENOUGH)]:
        found.setdefault((str(model), str(test_set)), set()).add(str(spec))
    return found


def _of_values(values: dict[str, pd.Series]) -> list[str]:
    said = []
    auc, best_f1, f1 = (values.get(name, pd.Series(dtype=float)) for name in ("auc", "best_f1", "f1"))
    precision, recall = (values.get(name, pd.Series(dtype=float)) for name in ("precision", "recall"))
    if len(auc) >= ENOUGH:
        constant = (auc == 0.5).mean()
        if constant == 1:
            said.append("Every map is constant (AUC exactly .500 on every image): the localizer says nothing.")
        elif constant > 0.5:
            said.append(f"{constant:.0%} of the maps are constant (AUC exactly .500).")
        elif auc.mean() < 0.4 and auc.quantile(0.75) < 0.5:
            said.append(
                f"Its maps look inverted: the AUC is {score(auc.mean())}, "
                f"that of the inverted maps {score(1 - auc.mean())}."
            )
    if len(f1) >= ENOUGH and len(best_f1) >= ENOUGH and (f1 == 0).mean() > 0.9 and best_f1.median() > 0.2:
        said.append(
            f"Nothing is called forged on {(f1 == 0).mean():.0%} of the images although the best threshold would give "
            f"an F1 of {score(best_f1.median())}: the maps lie below the fixed threshold."
        )
    if (
        len(recall) >= ENOUGH
        and len(precision) >= ENOUGH
        and (recall > 0.995).mean() > 0.9
        and precision.median() < 0.5
    ):
        said.append("Nearly every pixel is called forged on most images: the maps lie above the fixed threshold.")
    return said


def _forged_pixels(cells: pd.DataFrame) -> dict[str, float]:
    """Test set -> median number of forged pixels, where the run recorded it."""
    if "forged_pixels" not in cells or not len(cells):
        return {}
    rows = cells[cells["tampered"].astype(bool)]
    clean = rows["perturbation"] == "identity"  # others may crop or enlarge the region
    rows = (rows[clean] if clean.any() else rows).drop_duplicates(["test_set", "image"])
    return rows.groupby("test_set")["forged_pixels"].median().dropna().to_dict()
