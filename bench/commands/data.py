"""`python -m bench data verify | stats | prepare`: is a test set intact, what is in it, where does it come from."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import asdict

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.data import DataError, Defect, TestSet, find_card, open_builtin, open_test_sets
from bench.data.cards import Card, CardError
from models.image import ImageError

FINE, DEFECTIVE, UNREADABLE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put the sub-commands of `bench data` into a parser."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    for name, text in (
        ("verify", "decode every file; exit 0 intact, 1 defects beyond the known ones, 2 cannot be read"),
        ("stats", "numbers of a set: images, kinds, formats, sizes, forged share"),
        ("prepare", "make the built-in set, or say where a published set comes from and how its files must lie"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("set", metavar="NAME", help="builtin, a card's name, or any --data text")
        if name != "prepare":
            command.add_argument("--root", metavar="DIR", help="folder of the set (or write NAME:DIR)")
            command.add_argument("--json", action="store_true", help="machine-readable output")


def main(args: argparse.Namespace) -> int:
    """Run the sub-command; returns the exit code."""
    try:
        if args.data_command == "prepare":
            return _prepare(args.set)
        spec = args.set if args.root is None else f"{args.set}:{args.root}"
        reports = [{"verify": verify, "stats": stats}[args.data_command](one) for one in open_test_sets(spec)]
    except (DataError, CardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE
    if args.json:
        print(json.dumps(reports, indent=1))
    else:
        for report in reports:
            print({"verify": _verify_text, "stats": _stats_text}[args.data_command](report))
    return DEFECTIVE if args.data_command == "verify" and not all(r["intact"] for r in reports) else FINE


def verify(test_set: TestSet) -> dict:
    """Decode every image and mask of a set.

    Returns name, title, expected and found counts, usable counts, `defects` (file, problem, known), `remarks`
    (suspicious, but scored) and `intact`: no defect beyond those that the card knows, and nothing missing.
    """
    defects = list(test_set.defects)
    usable = {"tampered": 0, "authentic": 0}
    same, shares = defaultdict(list), []
    for sample in tqdm(test_set.samples, desc=f"verify {test_set.name}", unit="image", disable=None):
        try:
            test_set.read_image(sample)
            if sample.mask is not None:
                shares.append(test_set.read_mask(sample).mean())
            same[test_set.fingerprint(sample)].append(sample.id)
            usable["authentic" if sample.mask is None else "tampered"] += 1
        except ImageError as error:
            defects.append(Defect(test_set.name, sample.id, str(error)))
    expected = test_set.card.counts if test_set.card else {}
    missing = {kind: number - test_set.found.get(kind, 0) for kind, number in expected.items()}
    remarks = [f"{', '.join(ids)} are the same file" for ids in same.values() if len(ids) > 1]
    remarks += [f"{-n} more {kind} images than the official set has" for kind, n in missing.items() if n < 0]
    missing = {kind: n for kind, n in missing.items() if n > 0}
    if shares and np.median(shares) > 0.5:
        remarks.append(f"half of the masks mark more than {np.median(shares):.0%} as forged: are they inverted?")
    return {
        "name": test_set.name,
        "title": test_set.title,
        "expected": expected,
        "found": test_set.found,
        "usable": usable,
        "missing": missing,
        "defects": [asdict(defect) for defect in defects],
        "remarks": remarks,
        "intact": not missing and all(defect.known for defect in defects),
    }


def stats(test_set: TestSet) -> dict:
    """Counts by kind and format, megapixels and forged share (minimum, median, maximum) of the readable images."""
    kinds, formats, sources = Counter(), Counter(), set()
    megapixels, shares, unreadable = [], [], 0
    for sample in tqdm(test_set.samples, desc=f"stats {test_set.name}", unit="image", disable=None):
        try:
            with Image.open(sample.image) as image:
                size, file_format = image.width * image.height, image.format
            if sample.mask is not None:
                shares.append(float(test_set.read_mask(sample).mean()))
        except (ImageError, OSError):
            unreadable += 1
            continue
        megapixels.append(size / 1e6)
        formats[file_format] += 1
        kinds[sample.kind or "not stated"] += 1
        sources.add(sample.source)
    return {
        "name": test_set.name,
        "title": test_set.title,
        "tampered": len(test_set.tampered),
        "authentic": len(test_set.authentic),
        "defects": len(test_set.defects) + unreadable,
        "sources": len(sources),
        "kinds": dict(kinds),
        "formats": dict(formats),
        "megapixels": _spread(megapixels),
        "forged_share": _spread(shares),
        "licence": test_set.licence,
        "note": test_set.note,
    }


def _spread(values: list[float]) -> list[float]:
    return [round(float(f(values)), 4) for f in (np.min, np.median, np.max)] if values else []


def _verify_text(report: dict) -> str:
    lines = [f"{report['title']} ({report['name']})"]
    for kind in ("tampered", "authentic"):
        of = f" of {report['expected'][kind]}" if kind in report["expected"] else ""
        lines.append(f"  {kind}: {report['found'].get(kind, 0)}{of} found, {report['usable'][kind]} usable")
    for defect in report["defects"]:
        lines.append(f"  {'known defect' if defect['known'] else 'DEFECT'}: {defect['file']}: {defect['problem']}")
    lines += [f"  remark: {remark}" for remark in report["remarks"]]
    lines += [f"  MISSING: {number} {kind} images" for kind, number in report["missing"].items()]
    lines.append("  intact" if report["intact"] else "  not intact")
    return "\n".join(lines)


def _stats_text(report: dict) -> str:
    def counts(name: str) -> str:
        return ", ".join(f"{number} {key}" for key, number in sorted(report[name].items()))

    def spread(name: str) -> str:
        return " / ".join(f"{value:g}" for value in report[name]) or "none"

    return "\n".join(
        [
            f"{report['title']} ({report['name']})",
            f"  images: {report['tampered']} tampered, {report['authentic']} authentic, from {report['sources']} "
            f"photos; {report['defects']} defects",
            f"  kinds: {counts('kinds')}",
            f"  formats: {counts('formats')}",
            f"  megapixels (min / median / max): {spread('megapixels')}",
            f"  forged share (min / median / max): {spread('forged_share')}",
            *([f"  licence: {report['licence']}"] if report["licence"] else []),
            *([f"  note: {report['note']}"] if report["note"] else []),
        ]
    )


def _prepare(name: str) -> int:
    if name == "builtin":
        test_set = open_builtin()
        folder = test_set.samples[0].image.parents[1]
        print(f"{len(test_set.samples)} images in {folder}\n{test_set.note}")
        return FINE
    name, _, root = name.partition(":")
    print(_how_to_get(find_card(name), root or "ROOT"))
    return FINE


def _how_to_get(card: Card, root: str) -> str:
    counts = ", ".join(f"{number} {kind}" for kind, number in card.counts.items())
    lines = [
        f"{card.title}: {counts}",
        f"licence: {card.licence}",
        f"cite: {card.citation}",
        f"get it from {card.page} and unpack it below one folder, so that it holds:",
        *(f"  {line}" for line in card.layout.strip().splitlines()),
    ]
    if card.note:
        lines.append(card.note)
    lines.append(f"then: python -m bench data verify {card.name} --root {root}")
    return "\n".join(lines)
