"""Compare two or more runs: per localizer the paired difference to the first run on the images that both have.

▲ and ▼ mark differences that the paired bootstrap (Holm over the levels, 5 %) tells from zero.
"""

from __future__ import annotations

import argparse
import json

from bench.commands._views import views
from bench.report import named_runs
from bench.usage import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench compare`."""
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="two or more run folders, each RUN or NAME=RUN; the first is the base")
    add(
        "--metric", default="", metavar="PROTOCOL.METRIC", help="what is compared (default: the headline of the report)"
    )
    add("--markdown", action="store_true", help="a table for a pull request")
    add("--json", action="store_true", help="print the differences as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when the runs share something to compare, 2 when they do not."""
    from reports.compared import as_records, as_text
    from reports.comparison import compare

    if len(args.runs) < 2:
        raise UsageError("compare needs two run folders; one alone is shown by `python -m bench report`")
    with views(named_runs(args.runs)) as (found, contrasts):
        comparison = compare(found, contrasts)
        if not len(comparison.contrasts):
            raise UsageError("the runs share no localizer on the same images, so there is nothing to compare")
        if args.json:
            print(json.dumps(as_records(comparison), indent=1))
        else:
            print(as_text(comparison, args.metric, markdown=args.markdown))
    return 0
