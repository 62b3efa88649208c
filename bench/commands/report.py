"""Turn one or several runs into a self-contained HTML page, figures (PDF, PNG) and tables (CSV, LaTeX)."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from bench.report import latest_run, run_view
from bench.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench report`."""
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders (default: the latest in runs/)")
    parser.add_argument("--out", type=Path, help="where to write (default: RUN/report)")
    parser.add_argument("--json", action="store_true", help="print the written files as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when the report is written, 2 when there is no readable run."""
    import reports

    folders = args.runs or [latest_run()]
    out = args.out or folders[0] / "report"
    with contextlib.ExitStack() as stack:
        views = [run_view(folder, stack.enter_context(Store(folder))) for folder in folders]
        written = reports.write(out, views)
    if args.json:
        print(json.dumps([str(path) for path in written], indent=1))
    else:
        page = next(path for path in written if path.suffix == ".html")
        print(f"{len(written)} files in {out}; open {page}")
    return 0
