"""Run localizers over test sets and perturbations.

A run folder can be continued: a cell that is already measured with the same weights, settings, data, seed and
code is never measured again, so the same command resumes after a crash and adds what is missing after a change.

Networks that see photos at their own size take tiles where a photo does not fit into a worker's share of the free
memory, or fail on it where tiles would give something else; BENCH_MEMORY_GB sets another share. How each photo was
seen is kept with its result.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from bench import __version__, plan, provenance
from bench.data import TestSet
from bench.metrics.transition_protocols import PROTOCOLS
from bench.results import write_results
from bench.runner import Tally, run_plan
from bench.store import Store
from models.memory import shared_among

DEFAULT_OUT = Path("runs/default")


def carry_out(
    grid: plan.Plan, out: Path, request: dict, records: list[dict], *, workers: int | None, backend: str
) -> tuple[dict, list[str]]:
    """Measure what the run folder `out` lacks of a grid; write its run.json and results.csv.

    request: what was asked for, in words. records: one a localizer that was asked for, as in `model_record`.
    workers: None takes the cores, or 1 on a GPU. Returns the content of run.json, and the failures, a line each.
    """
    started, clock = provenance.now(), time.perf_counter()
    workers = workers or (1 if grid.device.type == "cuda" else os.cpu_count() or 1)
    with Store(out, writing=True) as store, _shared_memory(grid, workers) as memory_gb:
        store.ask(grid.cells())
        reused = sum(n for status, n in store.counts().items() if status != "failed")
        about = {
            "format": 1,
            "suite": __version__,
            "request": {
                **request, "seed": grid.seed, "device": str(grid.device), "backend": backend, "workers": workers,
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
    return shared_among(workers, grid.device)


def _measure(grid: plan.Plan, store: Store, missing: int, workers: int, backend: str) -> Tally:
    from tqdm import tqdm

    if not missing:
        return Tally()
    with tqdm(total=missing, unit="cell", smoothing=0.05, dynamic_ncols=True, file=sys.stderr) as bar:
        return run_plan(grid, store, workers=workers, backend=backend, progress=bar.update)


def limited(test_set: TestSet, limit: int | None) -> TestSet:
    import dataclasses

    return dataclasses.replace(test_set, samples=plan.limited(test_set.samples, limit))


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


def _timing(tally: Tally) -> dict:
    return {
        "localizers": round(tally.localizers, 2),
        "harness": round(tally.harness + tally.commits, 2),
        "overhead": round(tally.overhead, 4) if round(tally.localizers, 2) else None,
    }


def closing_lines(about: dict, failures: list[str], out: Path) -> str:
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
    lines += [f"FAILED {m['name']}: {m['reason']}" for m in about["models"] if m["status"] == "failed"]
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
