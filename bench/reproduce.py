"""Rows of printed tables, measured again: what a file of `bench/reproductions/` states, beside what the suite gives.

A file holds the numbers that one source prints of one method on one set:

    title = "Splicebuster on Columbia"
    source = "Guillaro et al., TruFor, CVPR 2023, Table 1"    # paper and table
    model = "splicebuster"         # an item of --models
    weights = "none"               # which weights the source used, in words
    data = "columbia"              # a card, "folder" or "builtin"; --root says where it lies
    subset = ""                    # of the card (default none)
    protocol = "trufor@1"          # with the version that the row was stated for
    n_printed = 160                # images behind the printed numbers, where the source says (default: not stated)
    least = 180                    # images that must be usable, fewer are not the set (default 1)
    note = ""                      # what is known to differ from the source's own doing (default none)

    [[number]]
    metric = "best_f1"
    printed = 0.811
    tolerance = 0.01               # a difference up to it, and half a unit of the last printed digit, agrees
    cause = ""                     # why it does not agree or has no value, shown or by definition (default not known)
    tried = ""                     # what was tried, where no cause is known (default nothing)

The number is the mean over images of a run of the localizer on the unperturbed images; where the protocol counts
tampered images alone, the others are left out. Whoever holds a set or a checkpoint adds a file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from annotated_types import Ge, Gt, Len

from bench import plan
from bench.data import TestSet, open_test_sets
from bench.metrics import Protocol, find
from bench.perturb import parse
from bench.request import model_record, plan_models, requested_models, without_paths
from bench.results import read, read_about
from bench.run import carry_out
from bench.store import Store
from bench.summary import summarize
from bench.usage import UsageError, suggest
from models.device import Device, compute_device
from models.toml import Table, read_toml

FOLDER = Path(__file__).with_name("reproductions")
AGREES, EXPLAINED, DIFFERS = "agrees", "differs, cause stated", "differs"
UNDEFINED, UNDEFINED_EXPLAINED = "undefined", "undefined, cause stated"


class ReproductionError(UsageError):
    """A file that states no row that can be measured; the message names it, the key and the fix."""


@dataclass(frozen=True)
class Number(Table):
    """One printed number; see the text of this module."""

    metric: str
    printed: float
    tolerance: Annotated[float, Gt(0)] = 0.01
    cause: str = ""
    tried: str = ""

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        return 0.5 * 10.0 ** -len(f"{self.printed:.12g}".partition(".")[2])


@dataclass(frozen=True)
class Reproduction(Table):
    """The numbers of one method on one set in one table; see the text of this module."""

    title: str
    source: str
    model: str
    weights: str
    data: str
    protocol: str
    number: Annotated[tuple[Number, ...], Len(1)]
    subset: str = ""
    n_printed: Annotated[int, Ge(1)] | None = None
    least: Annotated[int, Ge(1)] = 1
    note: str = ""
    name: str = ""

    def rule(self) -> Protocol:
        """Its protocol. Raises ReproductionError where this suite has another version of it, or a metric is none."""
        name, _, version = self.protocol.partition("@")
        protocol = find(name)
        if version != str(protocol.version):
            raise ReproductionError(
                f"{self.name}: the row is stated for {self.protocol}, this suite has {name}@{protocol.version}; "
                "measure it anew and state that version"
            )
        for number in self.number:
            if number.metric not in protocol.metrics:
                raise ReproductionError(
                    f"{self.name}: {name} has no metric {number.metric!r} of an image; "
                    f"{suggest(number.metric, protocol.metrics)}"
                )
        return protocol

    def record(self) -> dict:
        """As plain values, for JSON."""
        return {**{name: getattr(self, name) for name in _STATED}, "numbers": [vars(n) for n in self.number]}

    def item(self, root: Path | str | None) -> str:
        """The item of --data. Raises ReproductionError where the set's folder is needed and not named."""
        if self.data == "builtin":
            return self.data
        if root is None:
            raise ReproductionError(f"{self.name}: name the folder of {self.data}: --root DIR")
        return f"{self.data}:{root}" + (f"@{self.subset}" if self.subset else "")


@dataclass(frozen=True)
class Measured:
    """A printed number beside the measured one: mean over n images of the set and its 95% interval.

    n_asked: images that the set has; the others failed, are not applicable or undefined.
    """

    number: Number
    mean: float
    low: float
    high: float
    n: int
    n_asked: int

    @property
    def difference(self) -> float:
        """Measured - printed."""
        return self.mean - self.number.printed

    @property
    def outcome(self) -> str:
        """AGREES, EXPLAINED or DIFFERS; UNDEFINED or UNDEFINED_EXPLAINED where no image has a value."""
        if not self.n:
            return UNDEFINED_EXPLAINED if self.number.cause else UNDEFINED
        if abs(self.difference) <= self.number.tolerance + self.number.rounding + 1e-12:
            return AGREES
        return EXPLAINED if self.number.cause else DIFFERS


@dataclass(frozen=True)
class Outcome:
    """What a reproduction gave. folder: the run. model, test_set: their records in run.json."""

    reproduction: Reproduction
    folder: Path
    model: Mapping
    test_set: Mapping
    measured: tuple[Measured, ...]

    @property
    def exit_code(self) -> int:
        """0 where every number agrees or has a stated cause for why it does not, else 1."""
        return int(any(number.outcome in (DIFFERS, UNDEFINED) for number in self.measured))

    def record(self) -> dict:
        """As plain values, for JSON; NaN bounds are None."""
        rows = []
        for each in self.measured:
            values = {name: getattr(each, name) for name in ("mean", "low", "high", "difference")}
            values = {name: None if math.isnan(value) else value for name, value in values.items()}
            rows.append(
                dataclasses.asdict(each.number)
                | values
                | {"n": each.n, "n_asked": each.n_asked, "outcome": each.outcome}
            )
        found = {
            "identity": self.model["identity"], "weights_digest": self.model.get("weights_digest") or "",
            "test_set": self.test_set["name"], "fingerprint": self.test_set["digest"],
        }  # fmt: skip
        return {**self.reproduction.record(), **found, "run": str(self.folder), "numbers": rows}


_STATED = ("name", "title", "source", "model", "weights", "data", "subset", "protocol", "n_printed", "note")


def known() -> list[str]:
    """The names of the files in `bench/reproductions/`."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Reproduction:
    """A reproduction by name, or from a path ending in .toml. Raises ReproductionError."""
    path = Path(name).expanduser() if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not name.endswith(".toml") and name not in known():
        raise ReproductionError(f"no reproduction {name!r}; {suggest(name, known())} (bench reproduce --list)")
    found = read_toml(path, Reproduction, ReproductionError)
    return dataclasses.replace(found, name=path.stem)


def reproduce(
    stated: Reproduction,
    root: Path | str | None = None,
    out: Path | None = None,
    *,
    weights: Sequence[str] = (),
    device: str = "cpu",
    workers: int | None = None,
) -> Outcome:
    """Run the localizer on the set and set what is measured beside what is printed.

    Args:
        stated: the row.
        root: the folder of the set; for `folder`, images and masks parted by a comma.
        out: the run folder, which is continued where it holds a part (default runs/reproduce-NAME).
        weights: as in `bench.request.requested_models`.
        device: as `--device` of `bench run`.
        workers: None takes the cores.

    Raises:
        UsageError: the localizer or the set is not there, or fewer images than the row needs gave a number.
    """
    protocol = stated.rule()
    data = stated.item(root)
    out = out or Path("runs") / f"reproduce-{stated.name}"
    wanted = requested_models(stated.model, weights)
    if len(wanted) != 1:
        raise ReproductionError(f"{stated.name}: {stated.model} are {len(wanted)} localizers; a row is of one")
    test_set = _counted(open_test_sets(data)[0], protocol)
    if len(test_set.samples) < stated.least:
        raise ReproductionError(
            f"{stated.name}: {len(test_set.samples)} images of {test_set.name} are usable and the row is of "
            f"{stated.least}; see: python -m bench data verify {stated.data} --root DIR"
        )
    found = compute_device(device)
    place = Device(found.type, found.index)
    planned, unusable = plan_models(wanted, place)
    for refused in unusable.values():
        raise ReproductionError(f"{stated.name}: {refused.reason}")
    cells = plan.Plan(planned, [test_set], parse("clean"), 0, place, (protocol.name,))
    request = {"models": wanted[0].label, "data": without_paths(data), "perturbations": "clean", "limit": None}
    records = [model_record(wanted[0], planned, unusable)]
    _, failures = carry_out(cells, out, request, records, workers=workers, backend="loky")
    outcome = look_up(stated, out, wanted[0].label, test_set.name)
    scored = max(each.n for each in outcome.measured)
    if scored < stated.least:
        why = failures[0].strip() if failures else "to the others it is not applicable"
        raise ReproductionError(f"{stated.name}: {wanted[0].label} has a number on {scored} images only: {why}")
    return outcome


def look_up(stated: Reproduction, folder: Path, label: str, test_set: str) -> Outcome:
    """The outcome of a finished run folder that holds the localizer, set and protocol of a row."""
    about = read_about(folder)
    with Store(folder) as store:
        cells = store.cells()
    table = summarize(read(folder), cells)
    protocol = stated.protocol.partition("@")[0]
    own = (table["model"] == label) & (table["test_set"] == test_set) & (table["spec"] == "identity")
    rows = table[own & (table["protocol"] == protocol)].set_index("metric")
    return Outcome(
        stated,
        folder,
        next(record for record in about["models"] if record["name"] == label),
        next(record for record in about["test_sets"] if record["name"] == test_set),
        tuple(_measured(number, rows) for number in stated.number),
    )


def _measured(number: Number, rows: pd.DataFrame) -> Measured:
    if number.metric not in rows.index:
        return Measured(number, math.nan, math.nan, math.nan, 0, 0)
    row = rows.loc[number.metric]
    asked = sum(int(row[name]) for name in ("n", "n_failed", "n_not_applicable", "n_skipped"))
    return Measured(number, float(row["mean"]), float(row["low"]), float(row["high"]), int(row["n"]), asked)


def _counted(test_set: TestSet, protocol: Protocol) -> TestSet:
    """The images that the protocol's metrics of an image count."""
    samples = test_set.tampered if protocol.images == "tampered" else test_set.samples
    return dataclasses.replace(test_set, samples=samples)


def lines(outcome: Outcome) -> list[str]:
    """What `bench reproduce` prints of an outcome."""
    stated, test_set, model = outcome.reproduction, outcome.test_set, outcome.model
    weights = f"weights {model['weights_digest'][:12]}, " if model.get("weights_digest") else ""
    defects = len(test_set["defects"])
    found = [
        f"{stated.title}: {stated.source}",
        f"localizer  {model['name']} ({weights}identity {model['identity'][:12]}); the source's weights: "
        f"{stated.weights}",
        f"set        {test_set['name']} (fingerprint {test_set['digest'][:12]}), n = {test_set['n']}"
        + (f", {defects} unusable" if defects else "")
        + (f"; the source counts {stated.n_printed}" if stated.n_printed else ""),
        f"protocol   {stated.protocol}, unperturbed images",
        f"{'metric':12} {'printed':>8} {'measured':>9}  {'95% interval':16} {'n':>4} {'difference':>10}  outcome",
    ]
    for each in outcome.measured:
        interval = f"[{each.low:.4f}, {each.high:.4f}]" if each.n else ""
        mean, difference = (f"{each.mean:.4f}", f"{each.difference:+.4f}") if each.n else ("", "")
        found.append(
            f"{each.number.metric:12} {each.number.printed:8g} {mean:>9}  {interval:16} {each.n:4d} {difference:>10}"
            f"  {each.outcome} (tolerance {each.number.tolerance:g})"
        )
        if each.outcome != AGREES:
            found.append(f"             cause: {each.number.cause or 'not known'}")
            if each.number.tried:
                found.append(f"             tried: {each.number.tried}")
    if stated.note:
        found.append(f"note       {stated.note}")
    found.append(f"run        {outcome.folder}")
    return found
