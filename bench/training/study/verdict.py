"""A study's outcome in plain words, from its numbers alone."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bench.training.study.design import Study, Variant
from bench.training.study.findings import ALPHA, EVERY_SET, POWER

NEAR_CHANCE = 0.65  # pixel AUC: below it a localizer is of no use, and how two of them differ says little
CLAIMS = {"clean": "on unperturbed images", "perturbed": "after post-processing"}
NAMES = {"auc": "pixel AUC", "f1": "pixel F1", "iou": "IoU"}
HEADLINES = {
    "confirmed": "At this scale the claim is confirmed.",
    "contradicted": "At this scale the claim is contradicted.",
    "inconclusive": "At this scale the result is inconclusive: no significant difference.",
    "mixed": "At this scale the claim is partly confirmed.",
}


@dataclass(frozen=True)
class Verdict:
    """A study's outcome.

    Attributes:
        outcome: "confirmed", "contradicted", "inconclusive" or "mixed", of the reference against training without
            contrast.
        headline: one sentence.
        paragraphs: what it is based on.
    """

    outcome: str
    headline: str
    paragraphs: tuple[str, ...]


def judge(study: Study, comparisons: pd.DataFrame, centre: float) -> Verdict:
    """The verdict of a study on its first metric, all test sets pooled.

    Args:
        study: what was compared.
        comparisons: the table of `findings.py`.
        centre: pixel AUC on the unperturbed images of the localizer of that name, a map of positions alone.
    """
    metric = study.metrics[0]
    pooled = comparisons[comparisons["test_set"] == EVERY_SET]
    rows = pooled[pooled["metric"] == metric].set_index(["variant", "endpoint"])
    others = [v for v in study.variants if v.name != study.reference]
    plain = [v for v in others if not v.views]
    outcomes = [rows.loc[(v.name, endpoint), "verdict"] for v in plain or others for endpoint in CLAIMS]
    outcome = outcomes[0] if len(set(outcomes)) == 1 else "mixed"
    if outcome == "mixed" and "confirmed" not in outcomes:
        outcome = "contradicted"  # worse on one endpoint, better on none
    paragraphs = [_against(study, v, rows, metric) for v in plain]
    paragraphs += [_ablation(study, [v for v in others if v.views], rows, metric)] if len(plain) < len(others) else []
    paragraphs.append(_power(study, others, rows, pooled, metric))
    headline = HEADLINES[outcome]
    if metric == "auc":
        best, reached = _best(study, others, rows)
        if reached < NEAR_CHANCE:
            headline = f"{headline[:-1]}, with all networks close to chance."
        paragraphs.append(_scale(study.variant(best).label, reached, centre))
    return Verdict(outcome, headline, tuple(paragraphs))


def signed(value: float, digits: int = 3) -> str:
    """`+0.012`, with a true minus sign."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")  # no negative zero


def chance(p: float) -> str:
    """`p = .03`, or `p < .001`."""
    return "p < .001" if p < 0.001 else f"p = {f'{p:.3f}'.removeprefix('0') if p < 1 else '1'}"


def _against(study: Study, variant: Variant, rows: pd.DataFrame, metric: str) -> str:
    """The reference compared with a variant, one clause per endpoint."""
    reference = study.variant(study.reference)
    clauses = []
    for endpoint, where in CLAIMS.items():
        row = rows.loc[(variant.name, endpoint)]
        words = {"confirmed": "better", "contradicted": "worse", "inconclusive": "not significantly different"}[
            row["verdict"]
        ]
        clauses.append(f"{words} {where} ({_numbers(row)})")
    kept = rows.loc[(variant.name, "kept")]
    lost = {
        "confirmed": "loses less",
        "contradicted": "loses more",
        "inconclusive": "does not lose significantly more or less",
    }[kept["verdict"]]
    row = rows.loc[(variant.name, "clean")]
    return (
        f"{reference.label} compared with {variant.label}: {clauses[0]}, and {clauses[1]}. The perturbations change "
        f"their {NAMES[metric]} by {signed(_shift(rows, variant, 'reference_mean'))} and "
        f"{signed(_shift(rows, variant, 'mean'))}: the first {lost} ({_numbers(kept)}). Differences of mean "
        f"{NAMES[metric]} with 95 % intervals over {row['n']:.0f} images of {row['photos']:.0f} photos and over seeds "
        f"({row['seeds_reference']:.0f} against {row['seeds']:.0f}); p adjusted for the number of comparisons (Holm)."
    )


def _shift(rows: pd.DataFrame, variant: Variant, column: str) -> float:
    return rows.loc[(variant.name, "perturbed"), column] - rows.loc[(variant.name, "clean"), column]


def _ablation(study: Study, variants: list[Variant], rows: pd.DataFrame, metric: str) -> str:
    """What each view contributes, after post-processing and before."""
    found: dict[str, list[str]] = {outcome: [] for outcome in ("confirmed", "contradicted", "inconclusive")}
    for variant in variants:
        for endpoint, where in CLAIMS.items():
            row = rows.loc[(variant.name, endpoint)]
            found[row["verdict"]].append(f"{variant.label} {where} ({_numbers(row)})")
    sentences = [
        f"{opening}: {'; '.join(found[outcome])}."
        for outcome, opening in (
            ("confirmed", "Removing a view hurts"),
            ("contradicted", "Removing a view helps"),
            ("inconclusive", "No significant difference"),
        )
        if found[outcome]
    ]
    if any(row["seeds"] < 2 for _, row in rows.loc[[v.name for v in variants]].iterrows()):
        sentences.append(
            "For variants with a single seed, the variance between seeds is estimated from those with several; their "
            "intervals assume that all variants vary alike."
        )
    return " ".join(sentences)


def _power(study: Study, others: list[Variant], rows: pd.DataFrame, pooled: pd.DataFrame, metric: str) -> str:
    """The differences that the study could have detected, next to those that the paper reports."""
    least = {v.name: rows.loc[(v.name, "perturbed"), "detectable"] for v in others}
    listed = ", ".join(f"{v.label}: {least[v.name]:.3f}" for v in others)
    text = (
        f"Statistical power: with these images and seeds a true difference in {NAMES[metric]} after post-processing is "
        f"detected in {POWER * 100:.0f} % of repetitions if it is at least: {listed} (level {ALPHA:g} / {len(others)})."
    )
    published = study.published.rows
    full = study.variant(study.reference).published
    if full and "f1" in study.metrics and "mean F1" in study.published.columns:
        column = study.published.columns.index("mean F1")
        f1 = pooled[(pooled["metric"] == "f1") & (pooled["endpoint"] == "clean")].set_index("variant")
        drops = [
            f"{v.label}: {(published[full][column] - published[v.published][column]) / 100:.3f} in the paper, "
            f"{f1.loc[v.name, 'detectable']:.3f} detectable here"
            for v in others
            if v.published
        ]
        text += (
            f" The paper's differences in pixel F1, unperturbed, and the smallest detectable here: {'; '.join(drops)}."
        )
    return text


def _best(study: Study, others: list[Variant], rows: pd.DataFrame) -> tuple[str, float]:
    """The variant with the highest mean on unperturbed images, and that mean."""
    reached = {study.reference: rows.loc[(others[0].name, "clean"), "reference_mean"]}
    reached |= {v.name: rows.loc[(v.name, "clean"), "mean"] for v in others}
    best = max(reached, key=lambda name: reached[name])
    return best, reached[best]


def _scale(best: str, reached: float, centre: float) -> str:
    """How good the best of the networks is in absolute terms."""
    positions = (
        "A fixed map that falls off from the middle of every photo to its corners reaches "
        f"{centre:.3f}: below that, networks may differ in where they expect forgeries rather than in what they see of "
        "them."
    )
    if reached >= NEAR_CHANCE:
        return f"For scale: the best, {best}, reaches a pixel AUC of {reached:.3f} on unperturbed images. {positions}"
    return (
        f"All of these networks are close to chance (pixel AUC .5): the best, {best}, reaches {reached:.3f} on "
        f"unperturbed images. {positions} The study tests what a very short training learns; its findings need not "
        "hold for networks trained as long as the paper's."
    )


def _numbers(row: pd.Series) -> str:
    return f"{signed(row['difference'])} [{signed(row['low'])}, {signed(row['high'])}], {chance(row['p_holm'])}"
