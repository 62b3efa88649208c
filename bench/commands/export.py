"""Write perturbed images for a tool that lives elsewhere.

DIR/images/ receives one file an image and perturbation: JPEG results as their very bytes, all others as PNG.
DIR/manifest.json says what each file is. Let the tool, which must ignore an EXIF rotation as masks do, write
one score map a file into DIR/maps/, named like the file (image.jpg -> image.npy, .npz, .png or .tiff). Then
score them: python -m bench run --models maps:DIR, which takes data, perturbations, seed and limit from the manifest.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from bench.data import open_test_sets
from bench.export import ExportError, export
from bench.perturb import parse
from bench.plan import limited
from bench.usage import path, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench export`."""
    parser.add_argument("--data", default="builtin", help="builtin, NAME:ROOT, folder:IMAGES,MASKS; joined by commas")
    parser.add_argument(
        "--perturbations", default="standard", help="a grid's name, or e.g. 'jpeg:90,70;blur:3+noise:5'"
    )
    parser.add_argument(
        "--out", type=path, required=True, metavar="DIR", help="folder to write; an export there is extended"
    )
    parser.add_argument("--limit", type=positive_int, help="at most this many images of each test set, evenly spread")
    parser.add_argument("--seed", type=int, default=0, help="seed of random perturbations (default 0)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when every image was written, 1 when some could not be read or perturbed."""
    perturbations = parse(args.perturbations)
    test_sets = open_test_sets(args.data)
    jobs = [(t, sample) for t in test_sets for sample in limited(t.samples, args.limit)]
    if not jobs:
        raise ExportError(f"nothing to export: --data {args.data} with this --limit holds no usable image")
    request = {name: getattr(args, name) for name in ("data", "perturbations", "seed", "limit")}
    entries, failures = export(jobs, perturbations, args.out, args.seed, request)
    command = f"python -m bench run --models {shlex.quote(f'maps:{args.out}')}"
    if args.json:
        about = {"out": str(args.out), "images": len(entries), "photos": len(jobs), "failures": failures}
        print(json.dumps({**about, "then": command}, indent=1))
        return 1 if failures else 0
    for failure in failures:
        print(f"not exported: {failure}", file=sys.stderr)
    print(f"{len(entries)} images of {len(jobs)} photos in {args.out / 'images'}")
    print(f"put one score map a file into {args.out / 'maps'}; then: {command}")
    return 1 if failures else 0
