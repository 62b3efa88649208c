"""Run localizers over test sets and perturbations.

A run folder can be continued: a cell that is already measured with the same weights, settings, data, seed and
code is never measured again, so the same command resumes after a crash and adds what is missing after a change.

Networks that see photos at their own size take tiles where a photo does not fit into a worker's share of the free
memory, or fail on it where tiles would give something else; BENCH_MEMORY_GB sets another share. How each photo was
seen is kept with its result.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

import models
from bench import __version__, plan, provenance
from bench.cli import UsageError
from bench.data import TestSet, open_test_sets
from bench.metrics import PROTOCOLS
from bench.perturb import parse
from bench.results import write_results
from bench.runner import BACKENDS, Tally, run_plan
from bench.store import Store
from models.device import compute_device
from models.memory import shared_among

DEFAULT_OUT = Path("runs/default")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench run`."""
    parser.add_argument(
        "--models",
        default="mpc,baselines",
        help="names and groups, maps:DIR, onnx:FILE, torchscript:FILE, package.module:Class",
    )
    parser.add_argument("--data", default="builtin", help="builtin, NAME:ROOT, folder:IMAGES,MASKS; joined by commas")
    parser.add_argument(
        "--perturbations", default="standard", help="a grid's name, or e.g. 'jpeg:90,70;blur:3+noise:5'"
    )
    parser.add_argument(
        "--weights", action="append", default=[], metavar="MODEL=FILE", help="checkpoint of a localizer"
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"run folder (default {DEFAULT_OUT})")
    parser.add_argument("--workers", type=_positive, help="worker processes (default: cores; 1 with --device cuda)")
    parser.add_argument("--backend", choices=BACKENDS, default="loky", help="joblib engine (default loky)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N, for networks (default cpu)")
    parser.add_argument("--limit", type=_positive, help="at most this many images of each test set, evenly spread")
    parser.add_argument("--seed", type=int, default=0, help="seed of random perturbations (default 0)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when every cell was measured or is not applicable, 1 when some failed, 2 when nothing can run."""
    names = models.expand(args.models)
    if len({_label(name) for name in names}) < len(names):
        raise UsageError(
            "two of the paths after maps:, onnx: or torchscript: have the same last name; rename one, "
            "tables tell them apart by it"
        )
    perturbations = parse(args.perturbations)
    test_sets = [_limited(t, args.limit) for t in open_test_sets(args.data)]
    planned, skipped = _plan_models(names, _weights_option(args.weights, names), args.device)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if not planned:
        raise UsageError("none of the requested models can run (see above)")
    request = {
        "models": ",".join(map(_label, names)),
        "data": without_paths(args.data),
        "perturbations": args.perturbations,
        "limit": args.limit,
    }
    grid = plan.Plan(planned, test_sets, perturbations, args.seed, args.device)
    records = [_model_record(name, planned, skipped) for name in names]
    about, failures = carry_out(grid, args.out, request, records, workers=args.workers, backend=args.backend)
    if args.json:
        print(json.dumps({"out": str(args.out), **about}, indent=1))
    else:
        print(_closing_lines(about, failures, args.out))
    return 1 if about["cells"].get("failed") else 0


def carry_out(
    grid: plan.Plan, out: Path, request: dict, records: list[dict], *, workers: int | None, backend: str
) -> tuple[dict, list[str]]:
    """Measure what the run folder `out` lacks of a grid; write its run.json and results.csv.

    request: what was asked for, in words. records: one a localizer that was asked for, as in `_model_record`.
    workers: None takes the cores, or 1 on a GPU. Returns the content of run.json, and the failures, a line each.
    """
    started, clock = provenance.now(), time.perf_counter()
    workers = workers or (1 if grid.device.startswith("cuda") else os.cpu_count() or 1)
    with Store(out, writing=True) as store, _shared_memory(grid, workers) as memory_gb:
        store.ask(grid.cells())
        reused = sum(n for status, n in store.counts().items() if status != "failed")
        about = {
            "format": 1,
            "suite": __version__,
            "request": {
                **request, "seed": grid.seed, "device": grid.device, "backend": backend, "workers": workers,
                "memory_gb": memory_gb,
            },
            "started": started,
            "revision": provenance.revision(),
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "models": records,
            "test_sets": [_test_set_record(t) for t in grid.test_sets],
            "protocols": [_protocol_record(p) for p in PROTOCOLS.values()],
        }  # fmt: skip
        measured = _measured_seconds(out / "run.json")
        _write_json(out / "run.json", {**about, "finished": None, "seconds": measured})
        tally = _measure(grid, store, store.asked() - reused, workers, backend)
        about["finished"] = provenance.now()
        about["cells"] = {"asked": store.asked(), "reused": reused, **store.counts()}
        about["seconds"] = {"wall": round(time.perf_counter() - clock, 2), **_timing(tally)}
        write_results(store, out / "results.csv")
        kept = {"seconds": measured} if measured and not tally.localizers else {}  # what measuring took, not reusing
        _write_json(out / "run.json", {**about, **kept})
        failures = [f"  {count} x {model}: {reason}" for count, model, reason in store.failures()]
    return about, failures


def _shared_memory(grid: plan.Plan, workers: int):
    """While it is open, networks plan with a worker's share of the memory, whose GB it yields (None: no network)."""
    if not any(planned.network for planned in grid.models):
        return contextlib.nullcontext()
    return shared_among(workers, compute_device(grid.device))


def _measure(grid: plan.Plan, store: Store, missing: int, workers: int, backend: str) -> Tally:
    from tqdm import tqdm

    if not missing:
        return Tally()
    with tqdm(total=missing, unit="cell", smoothing=0.05, dynamic_ncols=True, file=sys.stderr) as bar:
        return run_plan(grid, store, workers=workers, backend=backend, progress=bar.update)


def _plan_models(names: list[str], weights: dict[str, str], device: str):
    """Build each localizer once to learn what its results depend on; those without weights are skipped by name."""
    planned, skipped = [], {}
    for name in names:
        try:
            built = models.build(name, weights=weights.get(name), device=device)
        except models.WeightsError as error:
            skipped[_label(name)] = str(error)
            continue
        network = hasattr(built, "network")
        seen = built.card.trained_on if built.trained_on is None else built.trained_on
        planned.append(plan.PlannedModel(_label(name), name, built.identity(), weights.get(name), network, seen))
    return planned, skipped


def _label(name: str) -> str:
    """How a requested model is called in tables: NAME:PATH by the path's last part, because a run may be published."""
    model, path = models.split(name)
    return name if path is None else f"{model}:{Path(path).resolve().name}"


def _weights_option(pairs: list[str], names: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, separator, file = pair.partition("=")
        if not separator or name not in names:
            raise UsageError(f"--weights {pair}: expected MODEL=FILE with a MODEL of --models ({', '.join(names)})")
        found[name] = str(Path(file).resolve())
    return found


def _limited(test_set: TestSet, limit: int | None) -> TestSet:
    import dataclasses

    return dataclasses.replace(test_set, samples=plan.limited(test_set.samples, limit))


def _model_record(name: str, planned, skipped: dict[str, str]) -> dict:
    card = models.find(name).card
    ready, name = {p.name: p for p in planned}, _label(name)
    return {
        "name": name, "title": card.title, "paper": card.paper, "year": card.year, "summary": card.summary,
        "licence": card.licence, "groups": list(card.groups),
        "trained_on": list(ready[name].trained_on if name in ready else card.trained_on),
        "status": "run" if name in ready else "skipped", "reason": skipped.get(name, ""),
        "identity": ready[name].identity if name in ready else "",
        "own_weights": name in ready and ready[name].weights is not None,
    }  # fmt: skip


def _test_set_record(test_set: TestSet) -> dict:
    tampered = sum(s.mask is not None for s in test_set.samples)
    return {
        "name": test_set.name, "title": test_set.title, "card": test_set.card.name if test_set.card else "",
        "n_tampered": tampered, "n_authentic": len(test_set.samples) - tampered,
        "demonstration": test_set.demonstration,
        "note": test_set.note, "licence": test_set.licence, "citation": test_set.citation,
        "defects": [{"file": d.file, "problem": d.problem} for d in test_set.defects],
    }  # fmt: skip


def _protocol_record(protocol) -> dict:
    return {key: getattr(protocol, key) for key in ("name", "version", "title", "description")}


def without_paths(data: str) -> str:
    """The --data text with folders reduced to their last name: a run folder may be published."""
    parts = []
    for item in data.split(","):
        name, separator, root = item.partition(":")
        parts.append(f"{name}:{Path(root).name}" if separator else Path(name).name)
    return ",".join(parts)


def _timing(tally: Tally) -> dict:
    return {
        "localizers": round(tally.localizers, 2),
        "harness": round(tally.harness + tally.commits, 2),
        "overhead": round(tally.overhead, 4) if round(tally.localizers, 2) else None,
    }


def _closing_lines(about: dict, failures: list[str], out: Path) -> str:
    cells, seconds = about["cells"], about["seconds"]
    fresh = cells["asked"] - cells["reused"]
    lines = [
        f"{cells['asked']} cells: {cells['reused']} reused, {fresh} computed; {cells.get('ok', 0)} ok, "
        f"{cells.get('not_applicable', 0)} not applicable, {cells.get('failed', 0)} failed",
        f"wall {seconds['wall']:.1f} s; localizers {seconds['localizers']:.1f} s, harness {seconds['harness']:.1f} s"
        + (f" ({seconds['overhead']:.1%} of the localizers' time)" if seconds["overhead"] is not None else ""),
    ]
    defects = sum(len(t["defects"]) for t in about["test_sets"])
    if defects:
        lines.append(f"{defects} files of the test sets were left out as defective: see run.json or the report")
    lines += [f"skipped {m['name']}: {m['reason']}" for m in about["models"] if m["status"] == "skipped"]
    if failures:
        lines += [f"{cells['failed']} cells FAILED (they are tried again by the same command):", *failures]
    lines.append(f"results in {out}; next: python -m bench report {out}")
    return "\n".join(lines)


def _measured_seconds(path: Path) -> dict | None:
    """The timing of the earlier run in this folder, None where there is none."""
    try:
        return json.loads(path.read_text()).get("seconds")
    except (OSError, ValueError):
        return None


def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
