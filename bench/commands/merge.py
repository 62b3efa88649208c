"""Join run folders that were measured apart, on several machines say, into a new one.

Keys make it safe: a cell is the same only where localizer, image, perturbation and code are. Nothing is measured.
"""

from __future__ import annotations

import argparse
import json

from bench.merge import merge
from bench.usage import path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench merge`."""
    parser.add_argument("runs", nargs="+", type=path, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=path, required=True, metavar="DIR", help="the new run folder")
    parser.add_argument("--json", action="store_true", help="print the new run.json")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when the new folder is written, 2 when the runs do not fit together."""
    about = merge(args.runs, args.out)
    if args.json:
        print(json.dumps({"out": str(args.out), **about}, indent=1))
    else:
        print(f"{about['cells']['asked']} cells of {len(args.runs)} runs in {args.out}")
    return 0
