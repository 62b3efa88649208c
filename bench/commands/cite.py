"""Print what a paper has to say of a run: a citable line for each number, and BibTeX of all that was used."""

from __future__ import annotations

import argparse
import json

from bench.cite import cite
from bench.files import write_atomic
from bench.report import latest_run
from bench.usage import path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench cite`."""
    parser.add_argument("run", nargs="?", type=path, metavar="RUN", help="run folder (default: the latest in runs/)")
    parser.add_argument(
        "--metrics", default="", help="NAME or PROTOCOL.NAME, joined by commas (default: each protocol's headline)"
    )
    parser.add_argument("--bibtex", type=path, metavar="FILE", help="write the BibTeX there instead of printing it")
    parser.add_argument("--json", action="store_true", help="print lines, references and BibTeX as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0, or 2 where the folder holds no finished run."""
    found = cite(args.run or latest_run(), [name.strip() for name in args.metrics.split(",") if name.strip()])
    if args.bibtex:
        write_atomic(args.bibtex, found.bibtex())
    if args.json:
        print(json.dumps(found.record(), indent=1))
        return 0
    print("\n".join(found.lines))
    if not args.bibtex:
        print("\n" + found.bibtex(), end="")
    return 0
