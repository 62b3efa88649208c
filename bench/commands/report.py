"""Turn one or several runs into an HTML page, tables (CSV, LaTeX) and, where asked for, figures (PDF, PNG, SVG).

The page answers first: which localizer is best, how robust, how sure. Its pictures lie in a folder beside it and it
works from a disk; --single-file puts all into one file. Several runs are laid side by side with paired differences.
Figures for a paper take longer than all the rest: --figures draws them, as does any option that says how.
"""

from __future__ import annotations

import argparse
import json
import webbrowser
from pathlib import Path

from bench.commands._views import views
from bench.report import latest_run, named_runs, place_of
from bench.usage import UsageError, positive_int

WIDTHS = {"column": 3.4, "text": 7.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench report`."""
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="run folders, each RUN or NAME=RUN (default: the latest in runs/)")
    add("--out", type=Path, help="where to write (default: RUN/report; of several runs a folder beside the first)")
    add("--label", action="append", default=[], help="name of a run on the page, in the order of the runs")
    add("--open", action="store_true", help="open the page in a browser")
    add("--single-file", action="store_true", help="one file with the pictures that fit --budget-mb")
    add("--budget-mb", type=float, default=4.0, metavar="MB", help="pictures in a single file (default 4)")
    add("--pictures", type=positive_int, default=20_000, metavar="N", help="most picture files (default 20000)")
    add("--all", action="store_true", help="figures and tables of all metrics, not the headline ones alone")
    add("--models", default="", metavar="A,B", help="localizers in figures and LaTeX tables (default: all)")
    add("--metrics", default="", metavar="A,B", help="metrics in figures and tables (default: the headline ones)")
    add("--figures", action="store_true", help="draw figures; implied by --all and the options of figures that follow")
    add("--width", help="width of figures: column, text or inches (default text, 7 inches)")
    add("--serif", action="store_true", help="figures with a serif font")
    add("--per-family", action="store_true", help="one figure per family of perturbations instead of panels")
    add("--formats", help="of figures: pdf, png, svg (default pdf,png)")
    add("--json", action="store_true", help="print the written files as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when the report is written, 2 when there is no readable run."""
    import reports

    texts = args.runs or [str(latest_run())]
    if len(args.label) > len(texts):
        raise UsageError(f"{len(args.label)} labels for {len(texts)} runs")
    runs = named_runs(
        [f"{label}={text}" for label, text in zip(args.label, texts, strict=False)] + texts[len(args.label) :]
    )
    out = args.out or place_of(runs)
    with views(runs) as (found, contrasts):
        options = reports.Options(
            pictures=args.pictures, single_mb=args.budget_mb if args.single_file else None,
            width=_width(args.width or "text"), serif=args.serif, families=args.per_family, everything=args.all,
            figures=bool(args.figures or args.all or args.width or args.serif or args.per_family or args.formats),
            models=_chosen(args.models, {card.name for view in found for card in view.localizers}, "localizer"),
            metrics=_chosen(args.metrics, {metric for view in found for metric in view.summary["metric"]}, "metric"),
            formats=_chosen(args.formats or "pdf,png", {"pdf", "png", "svg"}, "format"),
        )  # fmt: skip
        try:
            written = reports.write(out, found, contrasts=contrasts, options=options)
        except PermissionError as error:
            raise UsageError(f"{out.parent} cannot be written; name another folder with --out") from error
    if args.json:
        print(json.dumps([str(path) for path in written], indent=1))
    else:
        print(f"{len(written)} files in {out}, listed in index.txt; open {written[0]}")
    if args.open:
        webbrowser.open(written[0].resolve().as_uri())
    return 0


def _chosen(text: str, known: set[str], noun: str) -> tuple[str, ...]:
    from bench.usage import suggest

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise UsageError(f"unknown {noun} {name!r}; {suggest(name, sorted(known))}")
    return names


def _width(text: str) -> float:
    try:
        inches = WIDTHS.get(text) or float(text)
    except ValueError:
        inches = 0.0
    if not 1.5 <= inches <= 30:
        raise UsageError(f"--width {text}: write column, text or inches from 1.5 to 30")
    return inches
