"""Compare a run with a committed reference; fail when a localizer got worse.

A cell (localizer, test set, perturbation, metric) counts as worse only when both hold: the mean loss over the images
exceeds what chance brings in all cells together (randomization by source photo, max-T), and it reaches the minimum
effect. An image that was scored in the reference and is not scored now counts as worse, whatever the rest says. What
was not run, or comes from a single photo, cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import check, junit, verdicts
from bench.reference import KEPT, changes, parse_metrics, read_reference, write_reference
from bench.report import latest_run, read_about
from bench.usage import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench check`."""
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="run folder (default: the latest in runs/)")
    parser.add_argument("--against", type=Path, required=True, metavar="REFERENCE", help="reference file (JSON)")
    parser.add_argument("--metrics", metavar="NAMES", help="e.g. native.auc,mpc.f1 (default: what the reference holds)")
    parser.add_argument("--update", action="store_true", help="write the run's values as the new reference")
    parser.add_argument("--allow-failures", action="store_true", help="--update although cells of the run failed")
    parser.add_argument("--min-effect", type=float, default=0.01, help="smallest mean loss that counts (default .01)")
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.99,
        help="that an unchanged localizer passes, all cells together (default .99)",
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also write the verdicts as JUnit XML")
    parser.add_argument("--markdown", action="store_true", help="print the verdicts as Markdown, for a pull request")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 nothing got worse, 1 something did, 2 cannot compare."""
    if not 0 < args.confidence < 1 or not 0 <= args.min_effect < float("inf"):
        raise UsageError("--confidence must lie between 0 and 1, --min-effect must not be negative")
    folder = args.run or latest_run()
    about = read_about(folder)
    metrics = parse_metrics(args.metrics) if args.metrics else None
    if args.update:
        return _update(args, folder, about, metrics)
    reference = read_reference(args.against, check.seed(folder, about), metrics)
    kept = tuple(reference[["protocol", "metric"]].drop_duplicates().itertuples(index=False, name=None))
    values, cells = check.scored(folder, about, kept), check.asked(folder)
    found = check.compare(reference, values, cells, min_effect=args.min_effect, confidence=args.confidence)
    if args.junit:
        junit.write(args.junit, "bench check", verdicts.junit_cases(found))
    if args.json:
        print(json.dumps(verdicts.as_json(found), indent=1))
    elif args.markdown:
        print(verdicts.markdown(found, str(args.against)), end="")
    else:
        print("\n".join(verdicts.lines(found, str(args.against), verbose=args.verbose)))
    if hindrance := verdicts.hindrance(found, check.skipped(about)):
        print(f"error: {verdicts.printable(hindrance)}", file=sys.stderr)
    return found.exit_code


def _update(args: argparse.Namespace, folder: Path, about: dict, metrics: tuple | None) -> int:
    failed = check.failures(folder, about)
    if failed and not args.allow_failures:
        raise UsageError(
            f"{folder} has failures, and a reference without them would never miss them: {failed[0]}; mend them and "
            "run again, or pass --allow-failures"
        )
    seed = check.seed(folder, about)
    try:
        old = read_reference(args.against, seed)
    except UsageError:  # none yet, or one that this reference is to replace
        old = None
    if metrics is None and old is not None:
        metrics = tuple(old[["protocol", "metric"]].drop_duplicates().itertuples(index=False, name=None))
    values = check.scored(folder, about, metrics or KEPT)
    if not values["value"].notna().any():
        raise UsageError(f"{folder} holds no value of {', '.join(map('.'.join, metrics or KEPT))}; see --metrics")
    write_reference(args.against, values, about)
    said = [f"{args.against}: {values['value'].notna().sum()} values of {values['model'].nunique()} models written"]
    if old is not None:
        said += changes(old, values.dropna(subset="value")) or ["nothing changed"]
    if args.json:
        print(json.dumps({"reference": str(args.against), "values": len(values), "changes": said[1:]}, indent=1))
    else:
        print("\n".join(said))
    return 0
