"""Compare a run with a committed reference; fail when a localizer got worse.

A cell (localizer, test set, perturbation, metric) counts as worse only when both hold: the paired bootstrap
interval of the change over the images lies wholly below zero, and the mean loss reaches the minimum effect.
An image that was scored in the reference and is not scored now counts as worse, whatever the rest says.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from bench import junit
from bench.check import compare, read_reference, scored, write_reference
from bench.report import latest_run, read_about
from bench.usage import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench check`."""
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="run folder (default: the latest in runs/)")
    parser.add_argument("--against", type=Path, required=True, metavar="REFERENCE", help="reference file (JSON)")
    parser.add_argument("--update", action="store_true", help="write the run's values as the new reference")
    parser.add_argument("--min-effect", type=float, default=0.01, help="smallest mean loss that counts (default .01)")
    parser.add_argument("--confidence", type=float, default=0.99, help="of the bootstrap interval (default .99)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also write the verdicts as JUnit XML")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 nothing got worse, 1 something did, 2 cannot compare."""
    if not 0 < args.confidence < 1 or args.min_effect < 0:
        raise UsageError("--confidence must lie between 0 and 1, --min-effect must not be negative")
    folder = args.run or latest_run()
    values, about = scored(folder), read_about(folder)
    if args.update:
        write_reference(args.against, values, about)
        print(f"{args.against}: {len(values)} values of {values['model'].nunique()} models written as reference")
        return 0
    reference = read_reference(args.against, about)
    verdicts = compare(reference, values, args.min_effect, args.confidence)
    worse = [v for v in verdicts if v.worse]
    if args.junit:
        cases = [
            junit.Case(f"{v.model}.{v.test_set}", f"{v.spec} {v.protocol} {v.metric}", v.text if v.worse else None)
            for v in verdicts
        ]
        junit.write(args.junit, "bench check", cases)
    if args.json:
        print(json.dumps({"worse": len(worse), "verdicts": [asdict(v) for v in verdicts]}, indent=1))
    else:
        for v in worse:
            print(f"WORSE {v.text}")
        print(
            f"{len(verdicts)} cells compared with {args.against}: {len(worse)} worse "
            f"(paired bootstrap over images, {args.confidence:.0%} interval, minimum effect {args.min_effect:g})"
        )
    return 1 if worse else 0
