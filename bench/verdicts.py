"""What a check found, in words: lines for a terminal, Markdown for a pull request, JSON, and JUnit cases."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict

import numpy as np

from bench import junit
from bench.check import BETTER, NOISE, POWER, UNDECIDED, WORSE, Comparison, Verdict, signed

_MOST = 10  # lines on what could not be compared


def lines(found: Comparison, against: str, *, verbose: bool) -> list[str]:
    """What got worse, one line a cell, then the summary; verbose: every cell."""
    shown = {WORSE: "WORSE", UNDECIDED: "UNDECIDED"} | ({BETTER: "better", NOISE: "noise"} if verbose else {})
    listed = [f"{shown[v.outcome]} {v.text}" for outcome in shown for v in found.of(outcome)]
    if verbose:
        listed += [f"NOT COMPARED {_slashed(cell)}: {reason}" for cell, reason in found.absent]
        return [printable(line) for line in [*listed, *summary(found, against)]]
    by_place = Counter((*cell[:2], reason) for cell, reason in found.absent)
    listed += [
        f"NOT COMPARED {model} on {test_set}: {_cells(count)} {reason}"
        for (model, test_set, reason), count in by_place.most_common(_MOST)
    ]
    return [printable(line) for line in [*listed, *summary(found, against)]]


def summary(found: Comparison, against: str) -> list[str]:
    """How many cells were compared with which outcome, how sure that is, and the smallest loss that it would find."""
    counts = [(len(found.of(outcome)), outcome) for outcome in (WORSE, BETTER, NOISE, UNDECIDED)]
    counts += [(len(found.absent), "not compared"), (found.new, "new (the reference lacks them)")]
    said = ", ".join(f"{count} {name}" for count, name in counts if count or name in (WORSE, BETTER, NOISE))
    text = [f"{_cells(len(found.verdicts))} compared with {against}: {said}"]
    measured = [v for v in found.verdicts if v.n]
    if measured:
        loss = min(measured, key=lambda v: v.gain)
        if loss.gain < -5e-5:
            text[0] += f"; largest loss {-loss.gain:.4f} ({loss.place})"
    known = [v for v in found.verdicts if math.isfinite(v.detectable)]
    if known:
        worst = max(known, key=lambda v: v.detectable)
        photos = sorted({v.photos for v in known})
        span = f"{photos[0]}" if len(photos) == 1 else f"{photos[0]} to {photos[-1]}"
        if worst.detectable > found.min_effect:
            least = (
                f"from {np.median([v.detectable for v in known]):.4f} (median cell) or {worst.detectable:.4f} "
                f"(worst: {worst.place})"
            )
        else:
            least = f"from the minimum effect, {found.min_effect:g}, as this run shows hardly any noise"
        text.append(
            f"false alarms in at most {1 - found.confidence:.2g} of checks of an unchanged localizer (max-T over all "
            f"cells, {span} source photos, minimum effect {found.min_effect:g}); a loss is found with probability "
            f"{POWER:g} {least}"
        )
    return text


def hindrance(found: Comparison, skipped: dict[str, str]) -> str:
    """Why the check cannot pass although nothing got worse; "" where it can. skipped: localizers that did not run."""
    if found.absent:
        first = found.absent[0][0]
        model = first[0]
        why = f" ({model} was skipped: {skipped[model]})" if model in skipped else ""
        return (
            f"the run lacks {_cells(len(found.absent))} of the reference, the first is {_slashed(first)}{why}; "
            "run the same models, data and perturbations, or, if they are meant to go, write the reference anew "
            "with --update"
        )
    if not found.judged:
        return "a single source photo cannot tell a loss from chance; check with images of at least two photos"
    if found.of(UNDECIDED):
        return f"{found.of(UNDECIDED)[0].place} lost on a single source photo, which cannot tell a loss from chance"
    return ""


def markdown(found: Comparison, against: str) -> str:
    """A verdict for a pull request: a headline, a table of what changed, the summary."""
    worse = len(found.of(WORSE))
    head = {0: "nothing got worse", 1: f"{_cells(worse)} got worse", 2: "cannot compare"}[found.exit_code]
    text = [f"### bench check: {head}", ""]
    changed = [v for outcome in (WORSE, UNDECIDED, BETTER) for v in found.of(outcome)]
    if changed:
        text += [
            "| | localizer | test set | perturbation | metric | reference | run | change | n | remark |",
            "|---|---|---|---|---|---:|---:|---:|---:|---|",
        ]
        text += [_row(v) for v in changed] + [""]
    text += [
        f"* not compared: {_escaped(_slashed(cell))} ({_escaped(reason)})" for cell, reason in found.absent[:_MOST]
    ]
    return "\n".join(text + [_escaped(line) + "  " for line in summary(found, against)]) + "\n"


def as_json(found: Comparison) -> dict:
    """The whole comparison; undefined numbers are null."""
    return {
        "exit_code": found.exit_code,
        "confidence": found.confidence,
        "min_effect": found.min_effect,
        "power": POWER,
        "worse": len(found.of(WORSE)),
        "better": len(found.of(BETTER)),
        "within_noise": len(found.of(NOISE)),
        "undecided": len(found.of(UNDECIDED)),
        "new": found.new,
        "not_compared": [{"cell": list(cell), "reason": reason} for cell, reason in found.absent],
        "verdicts": [_finite(v) | {"worse": v.worse} for v in found.verdicts],
    }


def junit_cases(found: Comparison) -> list[junit.Case]:
    """One case a cell, with its numbers as properties."""
    cases = [
        junit.Case(
            f"{v.model}.{v.test_set}",
            f"{v.spec} {v.protocol} {v.metric}",
            failure=v.text if v.worse else None,
            error=v.text if v.outcome == UNDECIDED else None,
            text=v.text,
            numbers={
                name: value
                for name, value in _finite(v).items()
                if isinstance(value, (int, float)) or name == "outcome"
            },
        )
        for v in found.verdicts
    ]
    return cases + [junit.Case(".".join(cell[:2]), " ".join(cell[2:]), error=reason) for cell, reason in found.absent]


def _finite(v: Verdict) -> dict:
    return {k: None if isinstance(x, float) and not math.isfinite(x) else x for k, x in asdict(v).items()}


def _row(v: Verdict) -> str:
    remark = f"{v.lost} no longer scored: {v.reason}" if v.lost else ""
    value, change = (f"{v.value:.4f}", signed(v.change)) if v.n else ("-", "-")
    columns = [
        "**worse**" if v.worse else v.outcome,
        *map(_escaped, (v.model, v.test_set, v.spec, f"{v.protocol} {v.metric}")),
        f"{v.reference:.4f}", value, change, str(v.n), _escaped(remark),
    ]  # fmt: skip
    return f"| {' | '.join(columns)} |"


def _slashed(cell: tuple[str, ...]) -> str:
    return " / ".join(cell)


def _escaped(text: str) -> str:
    """Text that stays one cell of a Markdown table."""
    return "".join(f"\\{c}" if c in "|*_`<[\\" else c for c in printable(" ".join(text.split())))


def printable(text: str) -> str:
    """Names may hold what moves a terminal's cursor, or what no encoding can print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"
