"""Compare a run with a reference: which cells of (localizer, test set, perturbation, metric) got worse.

A cell counts as worse when its mean change over the shared images is a loss of at least the minimum effect and is
more than chance would bring: it exceeds the max-T threshold of bench.max_t, so that a localizer that did not change
fails a whole check at most at the stated family-wise rate. An image that was scored in the reference and is not
scored now counts as worse, whatever the rest says. What was not run, or cannot be judged, is never passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.max_t import paired_changes
from bench.metrics import METRICS
from bench.metrics.metric import DOWN
from bench.reference import CELL, KEPT
from bench.results import OWN_MEAN, WHOLE_SET, from_evidence, is_whole, read_results, require_versions
from bench.store import Store
from bench.usage import UsageError

POWER = 0.9  # at which the smallest detectable loss is stated
WORSE, BETTER, NOISE, UNDECIDED = "worse", "better", "within noise", "undecided"


@dataclass(frozen=True)
class Verdict:
    """One cell compared: mean of the reference and of the run over the same n images of `photos` source photos.

    low, high: simultaneous interval of the change (all cells' together at the check's confidence). detectable: the
    loss that would be found with probability POWER, at this noise. lost: images that are no longer scored, and why.
    outcome: WORSE, BETTER, NOISE, or UNDECIDED where one source photo, from which no noise can be told, changed.
    """

    model: str
    test_set: str
    spec: str
    protocol: str
    metric: str
    n: int
    photos: int
    reference: float
    value: float
    change: float
    low: float
    high: float
    detectable: float
    lost: int
    reason: str
    outcome: str

    @property
    def worse(self) -> bool:
        """Whether the localizer got worse here."""
        return self.outcome == WORSE

    @property
    def gain(self) -> float:
        """The change for the better: `change`, or its negative where a smaller value is better."""
        return _sign(self.metric) * self.change

    @property
    def place(self) -> str:
        """The cell in words."""
        return f"{self.model} on {self.test_set}, {self.spec}: {self.protocol} {self.metric}"

    @property
    def text(self) -> str:
        """The cell and its change in one line."""
        line = f"{self.place} {self.reference:.4f} -> "
        if self.n:
            interval = f" [{signed(self.low)}, {signed(self.high)}]" if math.isfinite(self.low) else ""
            line += f"{self.value:.4f} ({signed(self.change)}{interval}, n={self.n})"
        else:
            line += "nothing"
        if self.lost:
            line += f"; {self.lost} image{'s are' if self.lost > 1 else ' is'} no longer scored"
            line += f" ({self.reason})" if self.reason else ""
        return line


@dataclass(frozen=True)
class Comparison:
    """All verdicts of a check, what could not be compared, and what the reference does not know.

    absent: (CELL's values, why it was not compared). new: number of the run's cells that the reference lacks.
    """

    verdicts: list[Verdict]
    absent: list[tuple[tuple[str, ...], str]]
    new: int
    confidence: float
    min_effect: float

    def of(self, outcome: str) -> list[Verdict]:
        """The verdicts of one outcome."""
        return [v for v in self.verdicts if v.outcome == outcome]

    @property
    def judged(self) -> bool:
        """Whether any cell has two source photos, without which a check could never fail."""
        return any(v.photos > 1 for v in self.verdicts)

    @property
    def exit_code(self) -> int:
        """0 nothing got worse, 1 something did, 2 something could not be judged."""
        if self.of(WORSE):
            return 1
        return 2 if self.absent or self.of(UNDECIDED) or not self.judged else 0


def signed(value: float) -> str:
    """Four digits with a sign; what rounds to nothing is +0.0000."""
    return f"{round(value, 4) + 0.0:+.4f}"


def scored(folder: Path, about: Mapping, metrics: tuple[tuple[str, str], ...] = KEPT) -> pd.DataFrame:
    """The per-image values (columns CELL, image, source, value) of a finished run; NaN where a metric is undefined."""
    table = _results(folder, about)
    chosen = pd.MultiIndex.from_frame(table[["protocol", "metric"]]).isin(pd.MultiIndex.from_tuples(metrics))
    table = table.loc[
        chosen & ~table["image"].isin((WHOLE_SET, OWN_MEAN)), [*CELL, "image", "source", "value"]
    ].reset_index(drop=True)
    if (twice := table.duplicated([*CELL, "image"])).any():
        row = table[twice].iloc[0]
        raise UsageError(f"{folder / 'results.csv'} is damaged: two values of {row['image']} under {row['spec']}")
    return table


def asked(folder: Path) -> pd.DataFrame | None:
    """The cells that the run was asked for, with status and reason; None for a folder with results alone."""
    if not (folder / "evidence.sqlite").exists():
        return None
    with Store(folder) as store:
        return store.cells()[["model", "test_set", "spec", "image", "status", "reason"]]


def seed(folder: Path, about: Mapping) -> int:
    """The run's seed. Raises UsageError where run.json does not hold one."""
    request = about.get("request") if isinstance(about, Mapping) else None
    found = request.get("seed") if isinstance(request, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int):
        raise UsageError(f"{folder / 'run.json'} is damaged (no seed); run the same `bench run` command again")
    return found


def skipped(about: Mapping) -> dict[str, str]:
    """Localizer -> why it did not run."""
    return {m["name"]: m.get("reason", "") for m in about.get("models", []) if m.get("status") == "skipped"}


def failures(folder: Path, about: Mapping) -> list[str]:
    """What failed in a run, a line each: localizers that did not run, and failed cells by localizer and reason."""
    found = [f"{name} was skipped: {reason}" for name, reason in skipped(about).items()]
    if (folder / "evidence.sqlite").exists():
        with Store(folder) as store:
            found += [
                f"{_many(count, 'cell')} of {model} failed: {reason}" for count, model, reason in store.failures()
            ]
    return found


def compare(
    reference: pd.DataFrame,
    values: pd.DataFrame,
    cells: pd.DataFrame | None = None,
    *,
    min_effect: float = 0.01,
    confidence: float = 0.99,
) -> Comparison:
    """Compare the reference's values (columns CELL, image, value) with a run's.

    cells: what the run was asked for (`asked`). It tells an image on which a localizer failed, which is a loss, from
    one that was not run, which cannot be compared. Without it every image without a value counts as lost.
    """
    both = reference.merge(values, on=[*CELL, "image"], how="left", suffixes=("_reference", ""), validate="1:1")
    both["status"], both["reason"] = _status(both, values, cells)
    not_run = both["status"] == "not run"
    images = both.groupby(CELL, sort=False).size()
    absent = [
        (cell, "not run" if count == images[cell] else f"{count} of {images[cell]} images not run")
        for cell, count in both[not_run].groupby(CELL, sort=False).size().items()
    ]
    both = both[~not_run]
    sets = [rows for _, rows in both.groupby("test_set", sort=False)]
    verdicts = [v for rows in sets for v in _judge(rows, min_effect, (1 - confidence) / len(sets))]
    known = reference[CELL].drop_duplicates()
    present = values.dropna(subset="value")[CELL].drop_duplicates()
    new = int((~pd.MultiIndex.from_frame(present).isin(pd.MultiIndex.from_frame(known))).sum())
    return Comparison(verdicts, absent, new, confidence, min_effect)


def _judge(rows: pd.DataFrame, min_effect: float, rate: float) -> list[Verdict]:
    """The verdicts on the cells of one test set, at this family-wise rate for all of them."""
    cell, keys = pd.factorize(pd.MultiIndex.from_frame(rows[CELL]))
    image, images = pd.factorize(rows["image"])
    old, new = (np.full((len(images), len(keys)), np.nan) for _ in range(2))
    old[image, cell], new[image, cell] = rows["value_reference"], rows["value"]
    source = rows.dropna(subset="source").drop_duplicates("image").set_index("image")["source"]
    photo = pd.factorize(source.reindex(images).fillna(pd.Series(images, images)))[0]
    sign = np.array([_sign(metric) for *_, metric in keys])
    found = paired_changes((new - old) * sign, clusters=photo, rate=rate)
    differs, reach, detectable = found.differs, found.critical * found.se, found.detectable(POWER)
    shared = np.isfinite(new)
    verdicts = []
    for at, (key, cell_rows) in enumerate(rows.groupby(cell, sort=False)):
        both, gain = shared[:, at], float(found.mean[at])
        lost = cell_rows[cell_rows["value"].isna()]
        if len(lost) or (differs[at] and -gain >= min_effect):
            outcome = WORSE
        elif differs[at] and gain >= min_effect:
            outcome = BETTER
        else:
            outcome = UNDECIDED if found.photos[at] < 2 and gain <= -min_effect else NOISE
        change = gain * sign[at]
        verdicts.append(
            Verdict(
                **dict(zip(CELL, keys[key], strict=True)),
                n=int(found.images[at]),
                photos=int(found.photos[at]),
                reference=float(np.mean(old[both, at] if both.any() else cell_rows["value_reference"])),
                value=float(np.mean(new[both, at])) if both.any() else math.nan,
                change=change,
                low=float(change - reach[at]),
                high=float(change + reach[at]),
                detectable=float(max(detectable[at], min_effect)),
                lost=len(lost),
                reason=_commonest(lost["reason"]),
                outcome=outcome,
            )
        )
    return verdicts


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _sign(metric: str) -> int:
    """1 where a larger value is better, -1 where a smaller one is."""
    return -1 if METRICS[metric].direction == DOWN else 1


def _status(both: pd.DataFrame, values: pd.DataFrame, cells: pd.DataFrame | None) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the status of its cell ("ok", "failed", "not_applicable" or "not run") and the reason."""
    if cells is None:
        known = pd.MultiIndex.from_frame(values[CELL].drop_duplicates())
        run = pd.MultiIndex.from_frame(both[CELL]).isin(known)
        return np.where(run, "ok", "not run"), np.full(len(both), "")
    merged = both[["model", "test_set", "spec", "image", "protocol", "metric"]].merge(
        cells, on=["model", "test_set", "spec", "image"], how="left", validate="m:1"
    )
    status = merged["status"].replace("skipped", "not run").fillna("not run").to_numpy()
    # a protocol or metric that the run did not compute at all is nothing that a localizer lost
    kept = pd.MultiIndex.from_frame(values[["protocol", "metric"]].drop_duplicates())
    computed = pd.MultiIndex.from_frame(both[["protocol", "metric"]]).isin(kept)
    status = np.where(~computed & (status == "ok"), "not run", status)
    undefined = (status == "ok") & both["value"].isna().to_numpy()
    return status, np.where(undefined, "the metric is undefined", merged["reason"].fillna("").to_numpy())


def _commonest(reasons: pd.Series) -> str:
    reasons = reasons[reasons != ""]
    return str(reasons.mode().iloc[0]).splitlines()[0][:200] if len(reasons) else ""


def _results(folder: Path, about: Mapping) -> pd.DataFrame:
    """The run's results table, made again from the evidence where it is not the one that the run wrote.

    Raises UsageError for an unfinished run, whose results.csv would be an older run's, for a damaged one, and for one
    under another version of a protocol.
    """
    require_versions(folder, about)
    record = about.get("results")
    file = folder / (record or {}).get("file", "results.csv")
    if about.get("finished", True) is None:
        raise UsageError(f"{folder} holds an unfinished run; run the same `bench run` command again, it resumes")
    if not file.exists():
        raise UsageError(f"{folder} holds no finished run (no results.csv); run `python -m bench run` first")
    if record is not None and not is_whole(folder, record):
        if not (folder / "evidence.sqlite").exists():
            raise UsageError(f"{file} is not the file that the run wrote; run the same `bench run` command again")
        return from_evidence(folder, about)
    try:
        table = read_results(file)
        missing = {*CELL, "image", "source", "value"} - set(table.columns)
        table["value"] = table["value"].astype(float)
    except (ValueError, KeyError, pd.errors.ParserError) as error:
        raise UsageError(f"{file} is damaged ({error}); run the same `bench run` command again") from error
    if missing:
        raise UsageError(f"{file} is damaged: no column {sorted(missing)[0]!r}; run the same `bench run` command again")
    return table
