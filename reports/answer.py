"""The answer first: which localizer is best, how robust, how sure, in a few sentences made from the leaderboard."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from reports.comparison import Comparison
from reports.view import EVERY_SET, Metric
from reports.words import FEW, count, listed, percent, score, span

ALPHA = 0.05


def answer(
    comparison: Comparison, test_set: str, metric: str, protocol: str, strong: Callable[[str], str] = str
) -> list[str]:
    """The sentences of each run about one leaderboard; `strong` marks the names of localizers."""
    board = comparison.board(test_set, metric, protocol)
    found: list[str] = []
    for number, run in enumerate(comparison.runs):
        lines = [line.index for line in comparison.lines if line.run == number]
        rows = board[board["line"].isin(lines)]
        names = {line.index: line.model for line in comparison.lines}
        sentences = _of_run(rows, comparison.metric(metric), test_set, lambda row: strong(names[row.line]))  # noqa: B023
        if sentences:
            found += [f"{strong(run.label)}: {sentences[0]}", *sentences[1:]] if comparison.several else sentences
    return found


def _of_run(board: pd.DataFrame, metric: Metric, test_set: str, name: Callable) -> list[str]:
    rows = list(board.itertuples(index=False))
    sign = metric.sign
    key = "clean" if board["clean"].notna().any() else "perturbed"
    scored = [row for row in rows if not pd.isna(getattr(row, key))]
    if not scored:
        return [f"No localizer has a value of {metric.title} here; the sections below say why."]
    if not metric.ranked:
        return [f"{metric.title} is a setting of the localizers, not a merit: nothing is ranked by it."]
    scored.sort(key=lambda row: -sign * getattr(row, key))
    ranked = [row for row in scored if row.placed == "ranked"]
    where = "on the unperturbed images" if key == "clean" else "over the perturbations"
    if test_set == EVERY_SET:
        where += ", mean over the test sets"
    if metric.whole:
        if not ranked:
            return []
        best = ranked[0]
        return [f"Highest {where}: {name(best)} ({score(getattr(best, key))}). One value of the whole set: not tested."]
    sentences = [*_best(ranked, key, where, name), *_robust(ranked, metric, name)]
    sentences += _controls(scored, ranked, key, sign, name)
    sentences += _apart(scored, ranked, key, sign, name)
    n = max(row.n_of for row in scored)
    if 1 < n < FEW:
        sentences.append(f"Only {count(int(n), 'image')}: the intervals are rough and a tie says little.")
    return sentences


def _value(row, key: str) -> str:
    return " ".join(
        filter(None, [score(getattr(row, key)), span(getattr(row, f"{key}_low"), getattr(row, f"{key}_high"))])
    )


def _best(ranked: list, key: str, where: str, name: Callable) -> list[str]:
    if not ranked:
        return ["No localizer can be ranked here."]
    best, rank = ranked[0], "rank" if key == "clean" else "rank_perturbed"
    ranks = [getattr(row, rank) for row in ranked]
    if pd.isna(ranks[0]):
        n = int(best.n_of)
        why = "One image" if n == 1 else f"{count(n, 'image')} of a single photo"
        return [
            f"{why}: {name(best)} has the highest value ({score(getattr(best, key))}), which says nothing of others."
        ]
    if len(ranked) == 1:
        return [f"{name(best)} has {_value(best, key)} {where}; there is no other localizer to rank it against."]
    ties = best.ties if key == "clean" else best.ties_perturbed
    others = [row for row in ranked if row.model in ties and row is not best]
    if len(others) == len(ranked) - 1:
        rest = "any other" if len(others) > 1 else listed([name(row) for row in others])
        return [f"No localizer is shown to be best {where}: {name(best)} has the highest mean "
                f"({_value(best, key)}) and is not distinguishable from {rest}."]  # fmt: skip
    tail = f"; not distinguishable from {listed([name(row) for row in others])}" if others else ", ahead of all others"
    return [f"Best {where}: {name(best)} ({_value(best, key)}){tail}."]


def _robust(ranked: list, metric: Metric, name: Callable) -> list[str]:
    """Among localizers whose interval lies above chance: others have nothing to keep."""
    chance = metric.chance or 0.0
    able = [row for row in ranked if not pd.isna(row.retained) and metric.sign * (row.clean_low - chance) > 0]
    if not able or able[0].levels == 0:
        return []
    best = max(able, key=lambda row: row.retained)
    of = "its excess over chance" if chance else "its unperturbed value"
    kept = "all of" if best.retained >= 0.995 else f"{percent(best.retained)} of"
    return [f"Most robust: {name(best)} keeps {kept} {of} under perturbation."]


def _controls(scored: list, ranked: list, key: str, sign: int, name: Callable) -> list[str]:
    """Who of the ranked localizers beats the control; of one trained on the images it would say nothing."""
    controls = [row for row in scored if row.placed == "control"]
    if not controls or not ranked:
        return []
    best = controls[0]
    over = "over_control" if key == "clean" else "over_control_perturbed"
    said = f"The control ({name(best)}) has {score(getattr(best, key))}"
    if all(sign * (getattr(row, key) - getattr(best, key)) <= 0 for row in ranked):
        return [f"{said}, no less than every ranked localizer: none is shown to see a trace of forgery."]
    short = [row for row in ranked if not getattr(row, over) < ALPHA]
    if not short:
        return [f"{said}: every ranked localizer beats it."]
    if len(short) == len(ranked):
        return [f"{said}: no ranked localizer is shown to beat it."]
    verb = "is" if len(short) == 1 else "are"
    return [f"{said}: {listed([name(row) for row in short])} {verb} not shown to beat it."]


def _apart(scored: list, ranked: list, key: str, sign: int, name: Callable) -> list[str]:
    found = []
    trained = [row for row in scored if row.placed == "trained"]
    if trained:
        value = listed([f"{name(row)} ({score(getattr(row, key))})" for row in trained])
        verb = "was" if len(trained) == 1 else "were"
        found.append(f"{value} {verb} trained on these images and not ranked.")
    others = [row for row in scored if row.placed == "other images"]
    if others:
        value = listed([f"{name(row)} ({int(row.n)} of {int(row.n_of)})" for row in others])
        found.append(f"Not ranked, as measured on fewer images: {value}.")
    return found
