"""Draw one image of a run with the maps of its localizers: the qualitative figure of a paper, as PNG and PDF.

Columns are levels of the perturbations, rows are localizers; the contour is the ground truth, the number the metric.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.commands._views import views


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench show`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="run folder")
    add("image", metavar="IMAGE", help="id of the image, as in the report; SET/IMAGE where several sets have it")
    add("--models", default="", metavar="A,B", help="localizers, in this order (default: all)")
    add(
        "--perturbations", default="", metavar="SPECS", help="levels, joined by ; (default: all, the unperturbed first)"
    )
    add("--metric", default="native.auc", help="PROTOCOL.METRIC below each map (default native.auc)")
    add("--width", type=float, metavar="INCHES", help="width of the figure (default 0.95 inches per level)")
    add("--serif", action="store_true", help="serif font")
    add("--out", type=Path, metavar="STEM", help="file name without extension (default: ./IMAGE)")
    add("--json", action="store_true", help="print the written files as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when the figure is written, 2 when there is no such image."""
    from bench.perturb import parse
    from reports.qualitative import of_image, write

    names = [name.strip() for name in args.models.split(",") if name.strip()]
    specs = [p.spec for p in parse(args.perturbations)] if args.perturbations else []
    with views({"run": Path(args.run)}) as ((view,), _):
        stem, grid = of_image(view, args.image, names, specs, args.metric)
        files = write(args.out or Path(stem), grid, width=args.width, serif=args.serif)
    print(json.dumps([str(file) for file in files]) if args.json else f"{files[0]} and {files[1]}")
    return 0
