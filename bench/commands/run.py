"""Run localizers over test sets and perturbations.

A run folder can be continued: a cell that is already measured with the same weights, settings, data, seed and
code is never measured again, so the same command resumes after a crash and adds what is missing after a change.

Networks that see photos at their own size take tiles where a photo does not fit into a worker's share of the free
memory, or fail on it where tiles would give something else; BENCH_MEMORY_GB sets another share. How each photo was
seen is kept with its result.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from bench import plan
from bench.commands._views import closing_leaderboard
from bench.config import read_config, with_named
from bench.data import open_test_sets
from bench.engines import BACKENDS
from bench.export import stated_request
from bench.gallery import ALL_UP_TO, EACH_END, PICTURES
from bench.metrics import find_all
from bench.perturb import parse
from bench.request import in_precision, model_record, plan_models, requested_models, without_paths
from bench.run import DEFAULT_OUT, carry_out, closing_lines, limited, profile_lines
from bench.usage import UsageError, path, positive_int, stdout_to_stderr
from models.device import PRECISIONS, parse_devices

DEFAULTS = {"data": "builtin", "perturbations": "standard", "protocols": "native", "seed": 0}
__all__ = ["add_arguments", "main", "read_config"]
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench run`."""
    parser.add_argument(
        "--models",
        default="mpc,baselines",
        help="groups and [LABEL=]NAME[@WEIGHTS][?SETTING=VALUE&...], joined by commas; NAME may also be maps:DIR, "
        "onnx:FILE, torchscript:FILE, exec:FILE.toml or package.module:Class (default mpc,baselines)",
    )
    parser.add_argument("--data", help="builtin (the default), NAME:ROOT, folder:IMAGES,MASKS; joined by commas")
    parser.add_argument("--perturbations", help="a grid's name (default standard), or e.g. 'jpeg:90,70;blur:3+noise:5'")
    parser.add_argument(
        "--weights", action="append", default=[], metavar="MODEL=FILE", help="checkpoint of a localizer"
    )
    parser.add_argument("--out", type=path, default=DEFAULT_OUT, help=f"run folder (default {DEFAULT_OUT})")
    parser.add_argument(
        "--workers", type=positive_int, help="worker processes (default: cores, or what the cards have memory for)"
    )
    parser.add_argument("--backend", choices=BACKENDS, default="loky", help="joblib engine (default loky)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda (all cards) or cuda:0,1, for networks (default cpu)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="in which networks compute (default float32)"
    )
    parser.add_argument(
        "--pictures",
        choices=PICTURES,
        default="auto",
        help=f"small pictures of all cells, of extremes (the {EACH_END} best and {EACH_END} worst images of each "
        f"localizer, set and level) or of none (default auto: all up to {ALL_UP_TO} cells, else extremes)",
    )
    parser.add_argument("--limit", type=positive_int, help="at most this many images of each test set, evenly spread")
    parser.add_argument("--seed", type=int, help="seed of random perturbations (default 0)")
    parser.add_argument("--config", type=path, metavar="FILE", help="a TOML file of these options, sets and grids")
    parser.add_argument(
        "--protocols", help="names joined by commas, or all (default native): what is kept and reported"
    )
    parser.add_argument("--only", action="store_true", help="the folder is to hold the cells of this request alone")
    parser.add_argument("--fresh", action="store_true", help="measure everything anew, whatever is stored")
    parser.add_argument("--accept", default="", metavar="NAMES", help="take results of other versions of these")
    parser.add_argument("--explain", action="store_true", help="say why the first missing cell is measured")
    parser.add_argument("--profile", action="store_true", help="say where the time went, by stage and localizer")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")
    parser.set_defaults(sets={}, grids={})


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when every cell was measured or is not applicable, 1 when some failed, 2 when nothing can run."""
    with stdout_to_stderr():
        about, failures = _carried_out(args)
    if args.json:
        print(json.dumps({"out": str(args.out), **about}, indent=1))
    else:
        if about["cells"].get("ok"):
            print(closing_leaderboard(args.out))
        print(closing_lines(about, failures, args.out))
        if args.profile:
            print(profile_lines(about))
    failed = any(record["status"] == "failed" for record in about["models"])
    return 1 if failed or about["cells"].get("failed") else 0


def _carried_out(args: argparse.Namespace) -> tuple[dict, list[str]]:
    devices = parse_devices(args.device)
    device = devices[0]
    wanted = [in_precision(each, args.precision) for each in requested_models(args.models, args.weights)]
    # What is not said is what the export was of whose maps are to be scored, else the default.
    exported = stated_request(Path(each.name.partition(":")[2]) for each in wanted if each.name.startswith("maps:"))
    for name, value in {**DEFAULTS, **exported}.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    data, grid = with_named(args.data, args.sets, ","), with_named(args.perturbations, args.grids, ";")
    perturbations = parse(grid)
    test_sets = [limited(t, args.limit) for t in open_test_sets(data)]
    planned, unusable = plan_models(wanted, device, args.fresh)
    for label, refused in unusable.items():
        _log.warning("%s %s: %s", refused.status, label, refused.reason)
    if not planned:
        raise UsageError("none of the requested models can run (see above)")
    request = {
        "models": ",".join(each.label for each in wanted),
        "data": without_paths(data),
        "perturbations": grid,
        "limit": args.limit,
    }
    records = [model_record(each, planned, unusable) for each in wanted]
    protocols = tuple(protocol.name for protocol in find_all(args.protocols))
    cells = plan.Plan(
        planned,
        test_sets,
        perturbations,
        args.seed,
        device,
        protocols,
        args.limit,
        worker_devices=tuple(devices),
        pictures=args.pictures,
    )
    return carry_out(
        cells,
        args.out,
        request,
        records,
        workers=args.workers,
        backend=args.backend,
        only=args.only,
        fresh=args.fresh,
        accept=[name for name in args.accept.split(",") if name],
        explain=args.explain,
    )
