"""Measure a row of a printed table again and set it beside what was printed.

The files in bench/reproductions state the rows; a path to a file of your own (NAME.toml) works as well. Weights are
looked for where `bench weights` says. The run folder is continued, so that an interrupted command resumes.
"""

from __future__ import annotations

import argparse
import json

from bench.reproduce import known, lines, load, reproduce
from bench.usage import UsageError, path, positive_int, stdout_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench reproduce`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name of --list, or a file NAME.toml")
    parser.add_argument("--list", action="store_true", help="show the rows that are stated, and measure nothing")
    parser.add_argument("--root", metavar="DIR", help="folder of the set, in its official layout")
    parser.add_argument("--out", type=path, metavar="DIR", help="run folder (default runs/reproduce-NAME)")
    parser.add_argument("--weights", action="append", default=[], metavar="MODEL=FILE", help="as in `bench run`")
    parser.add_argument("--workers", type=positive_int, help="worker processes (default: cores)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 where all numbers agree or the difference has a stated cause, 1 otherwise, 2 if not measurable."""
    if args.list:
        _show(args.json)
        return 0
    if not args.name:
        raise UsageError("name a row (bench reproduce --list shows them), or a file NAME.toml")
    stated = load(args.name)
    with stdout_to_stderr():
        outcome = reproduce(stated, args.root, args.out, weights=args.weights, device=args.device, workers=args.workers)
    print(json.dumps(outcome.record(), indent=1) if args.json else "\n".join(lines(outcome)))
    return outcome.exit_code


def _show(as_json: bool) -> None:
    rows = [load(name) for name in known()]
    if as_json:
        print(json.dumps([row.record() for row in rows], indent=1))
        return
    width = max(map(len, known()), default=0)
    for row in rows:
        printed = ", ".join(f"{number.metric} {number.printed:g}" for number in row.number)
        print(f"{row.name:{width}}  {row.title}; {row.protocol}: {printed}; {row.source}")
