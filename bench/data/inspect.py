"""`bench data verify`, `stats` and `subset`: is a set intact, what is in it, which files are its members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.data.cards import Card
from bench.data.facts import Facts, gather, same
from bench.data.files import IMAGE_SUFFIXES, list_files
from bench.data.sets import Defect, TestSet

NAMED = 5  # images that a remark names, of many


def verify(test_set: TestSet, workers: int | None = None) -> dict:
    """Decode every image and mask of a set.

    Returns name, title, subset, fingerprint, expected and found counts, usable counts, `missing` and the `archives`
    that hold it, `defects` (file, problem, known), `remarks` (suspicious, but scored), `levels` of the masks, and
    `intact`: no defect beyond those that the card knows, and nothing missing.
    """
    found = gather(test_set, "verify", workers)
    bad = [one for one in found if one.problem]
    known = test_set.card.known_defects if test_set.card else {}
    defects = [*test_set.defects, *(Defect(test_set.name, one.id, one.problem, one.id in known) for one in bad)]
    usable = Counter("tampered" if one.tampered else "authentic" for one in found if not one.problem)
    expected = _expected(test_set)
    missing = {kind: number - test_set.found.get(kind, 0) for kind, number in expected.items()}
    remarks = [*test_set.remarks, *_remarks(test_set, found)]
    remarks += [f"{-n} more {kind} images than the official set has" for kind, n in missing.items() if n < 0]
    missing = {kind: n for kind, n in missing.items() if n > 0}
    levels = Counter(level for one in found for level in one.levels)
    return {
        "name": test_set.name,
        "title": test_set.title,
        "subset": test_set.subset,
        "fingerprint": test_set.digest,
        "expected": expected,
        "found": test_set.found,
        "usable": {kind: usable[kind] for kind in ("tampered", "authentic")},
        "missing": missing,
        "archives": _archives(test_set.card, missing, defects),
        "levels": {str(level): number for level, number in levels.most_common(3)},
        "defects": [asdict(defect) for defect in defects],
        "remarks": remarks,
        "intact": not missing and all(defect.known for defect in defects),
    }


def _expected(test_set: TestSet) -> dict[str, int]:
    if test_set.card is None:
        return {}
    return dict(test_set.card.find_subset(test_set.subset).count if test_set.subset else test_set.card.counts)


def _remarks(test_set: TestSet, found: Sequence[Facts]) -> list[str]:
    remarks = [f"{', '.join(ids)} are the same file" for ids in same(found, "fingerprint")]
    files = {tuple(ids) for ids in same(found, "fingerprint")}
    remarks += [f"{', '.join(ids)} have the same pixels" for ids in same(found, "pixels") if tuple(ids) not in files]
    if turned := [one.id for one in found if one.orientation != 1]:
        remarks.append(
            f"{_some(turned)} would be shown turned (orientation tag): pixels and masks are taken as they are stored"
        )
    shares = [one.share for one in found if one.share is not None]
    if full := [one.id for one in found if one.share == 1]:
        remarks.append(f"every pixel is forged by the masks of {_some(full)}")
    if shares and np.median(shares) > 0.5:
        remarks.append(f"half of the masks mark more than {np.median(shares):.0%} as forged: are they inverted?")
    unlocated = sum(sample.tampered and not sample.located for sample in test_set.samples)
    if unlocated:
        remarks.append(f"{unlocated} tampered images have no mask: only their image-level decision can be judged")
    return remarks


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")


def _archives(card: Card | None, missing: dict[str, int], defects: Sequence[Defect]) -> list[dict]:
    """The archives that hold what is missing."""
    if card is None:
        return []
    wanted = {*missing, *(["masks"] if any(defect.problem == "no mask" for defect in defects) else [])}
    return [asdict(archive) for archive in card.archive if wanted and (not archive.holds or archive.holds in wanted)]


def stats(test_set: TestSet, found: Sequence[Facts] | None = None, workers: int | None = None) -> dict:
    """Counts by kind, format and JPEG quality, megapixels and forged share (minimum, median, maximum)."""
    found = gather(test_set, "stats", workers) if found is None else found
    good = [one for one in found if not one.problem]
    return {
        "name": test_set.name,
        "title": test_set.title,
        "tampered": len(test_set.tampered),
        "authentic": len(test_set.authentic),
        "defects": len(test_set.defects) + len(found) - len(good),
        "sources": len({one.source for one in good}),
        "kinds": dict(Counter(one.kind or "not stated" for one in good)),
        "formats": dict(Counter(one.format for one in good)),
        "qualities": {str(q): n for q, n in sorted(Counter(one.quality for one in good if one.quality).items())},
        "megapixels": _spread([one.height * one.width / 1e6 for one in good]),
        "forged_share": _spread([one.share for one in good if one.share is not None]),
        "licence": test_set.licence,
        "note": test_set.note,
    }


def _spread(values: list[float]) -> list[float]:
    return [round(float(f(values)), 4) for f in (np.min, np.median, np.max)] if values else []


def members(folder: Path) -> list[str]:
    """The images of a folder as a member list names them: paths below it without their endings, sorted.

    Whoever holds a set whose members are public nowhere can publish this list; it holds names alone. Raises DataError.
    """
    return sorted({name.rpartition(".")[0] for name in list_files(folder, IMAGE_SUFFIXES)})


def verify_text(report: dict) -> str:
    """The words of a `verify` report."""
    lines = [f"{report['title']} ({report['name']}), fingerprint {report['fingerprint'][:12]}"]
    for kind in ("tampered", "authentic"):
        of = f" of {report['expected'][kind]}" if kind in report["expected"] else ""
        lines.append(f"  {kind}: {report['found'].get(kind, 0)}{of} found, {report['usable'][kind]} usable")
    if report["levels"]:
        lines.append(f"  most frequent mask values: {', '.join(report['levels'])}")
    for defect in report["defects"]:
        lines.append(f"  {'known defect' if defect['known'] else 'DEFECT'}: {defect['file']}: {defect['problem']}")
    lines += [f"  remark: {remark}" for remark in report["remarks"]]
    lines += [f"  MISSING: {number} {kind} images" for kind, number in report["missing"].items()]
    for archive in report["archives"]:
        checksum = f", SHA-256 {archive['sha256']}" if archive["sha256"] else ""
        lines.append(f"  look into {archive['name']}{checksum}")
    lines.append("  intact" if report["intact"] else "  not intact")
    return "\n".join(lines)


def stats_text(report: dict) -> str:
    """The words of a `stats` report."""

    def counts(name: str) -> str:
        return ", ".join(f"{number} {key}" for key, number in sorted(report[name].items()))

    def spread(name: str) -> str:
        return " / ".join(f"{value:g}" for value in report[name]) or "none"

    lines = [
        f"{report['title']} ({report['name']})",
        f"  images: {report['tampered']} tampered, {report['authentic']} authentic, from {report['sources']} "
        f"photos; {report['defects']} defects",
        f"  kinds: {counts('kinds')}",
        f"  formats: {counts('formats')}",
        *([f"  JPEG qualities: {counts('qualities')}"] if report["qualities"] else []),
        f"  megapixels (min / median / max): {spread('megapixels')}",
        f"  forged share (min / median / max): {spread('forged_share')}",
        *([f"  licence: {report['licence']}"] if report["licence"] else []),
        *([f"  note: {report['note']}"] if report["note"] else []),
    ]
    return "\n".join(lines)


def how_to_get(card: Card, root: str) -> str:
    """What to download for a set, and how it must lie."""
    counts = ", ".join(f"{number} {kind}" for kind, number in card.counts.items()) or "numbers not exactly known"
    lines = [
        f"{card.title}: {counts}",
        f"licence: {card.licence}",
        f"cite: {card.citation}",
        f"get it from {card.page} and unpack it below one folder, so that it holds:",
        *(f"  {line}" for line in card.layout.strip().splitlines()),
    ]
    for archive in card.archive:
        checksum = f", SHA-256 {archive.sha256}" if archive.sha256 else ", no checksum known"
        lines.append(f"archive: {archive.name}{checksum}")
    for subset in card.subset:
        used = f", used by {', '.join(subset.used_by)}" if subset.used_by else ""
        unknown = "; its members are public nowhere" if subset.unknown else ""
        lines.append(f"subset: {card.name}:{root}@{subset.name}{used}{unknown}")
    if card.verified:
        lines.append(f"verified from: {card.verified}")
    if card.note:
        lines.append(card.note)
    lines.append(f"then: python -m bench data verify {card.name} --root {root}")
    return "\n".join(lines)
