"""What has no number: localizers that did not run, cells that failed or to which a localizer does not apply."""

from __future__ import annotations

from reports.comparison import Comparison

ORDER = 90
TITLE = "Failed, not applicable and skipped"
SHORT = "Missing"
MOST = 40


def context(comparison: Comparison) -> dict:
    """Localizers and reasons, the commonest first."""
    return {"skipped": skipped(comparison), "failures": failures(comparison), "most": MOST}


def skipped(comparison: Comparison) -> list[dict]:
    """The localizers that did not run, with their run."""
    return [{"run": run.label, "card": c} for run in comparison.runs for c in run.localizers if c.status != "run"]


def failures(comparison: Comparison) -> list[dict]:
    """Failed and not applicable cells, those of one reason together: run, model, set, status, reason, count, where."""
    found = []
    for run in comparison.runs:
        missing = run.cells[run.cells["status"] != "ok"]
        keys = ["model", "test_set", "status", "reason"]
        for (model, test_set, status, reason), group in missing.groupby(keys, sort=False, dropna=False, observed=True):
            specs = list(dict.fromkeys(group["spec"]))
            images = list(dict.fromkeys(group["image"]))
            found.append(
                {
                    **{"run": run.label, "model": model, "test_set": test_set, "reason": reason, "count": len(group)},
                    "status": status.replace("_", " "),
                    "specs": ", ".join(specs[:6]) + (f" and {len(specs) - 6} more" if len(specs) > 6 else ""),
                    "images": ", ".join(images[:4]) + (f" and {len(images) - 4} more" if len(images) > 4 else ""),
                }
            )
    return sorted(found, key=lambda f: (f["status"] != "failed", -f["count"]))
