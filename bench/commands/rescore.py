"""Compute further protocols of a run from what it kept, without running a localizer.

A protocol can be computed where the run kept its statistics: those of the protocols that it was run with, and every
other one that needs no more. The results table then holds these protocols besides those that it held.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.metrics import find_all
from bench.report import latest_run
from bench.rescore import rescore
from bench.usage import path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench rescore`."""
    parser.add_argument("run", nargs="?", type=path, metavar="RUN", help="run folder (default: the latest in runs/)")
    parser.add_argument("--protocols", required=True, help="names joined by commas, or all: all that can be computed")
    parser.add_argument("--json", action="store_true", help="print what was computed as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when every protocol was computed, 2 when one cannot be."""
    folder: Path = args.run or latest_run()
    wanted = [protocol.name for protocol in find_all(args.protocols)]
    outcome = rescore(folder, wanted, strict=args.protocols.strip() != "all")
    if args.json:
        print(json.dumps({"run": str(folder), **outcome}, indent=1))
        return 0
    print(f"{folder}: results hold {', '.join(outcome['protocols'])}")
    for name, why in outcome["left_out"].items():
        print(f"not computed: {name}: {why}")
    return 0
