"""Carrying out a request: measure what a run folder lacks, and write its run.json and results table."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from bench import __version__, gallery, plan, provenance
from bench.data import TestSet
from bench.files import write_atomic
from bench.metrics import PROTOCOLS, find
from bench.metrics.describe import describe as describe_protocol
from bench.metrics.describe import metric_records
from bench.perturb import describe
from bench.results import is_whole, why_protocols_differ, write_results
from bench.runner import Tally, run_plan
from bench.store import Store
from models.device import assign_workers
from models.memory import available, share_gb

DEFAULT_OUT = Path("runs/default")
WORKER_ON_A_CARD = 3e9  # bytes: the CUDA context and the tensors of a pass
IN_PROCESS_BELOW = 64  # cells: starting worker processes would take longer than measuring these
log = logging.getLogger(__name__)


def carry_out(
    grid: plan.Plan,
    out: Path,
    request: dict,
    records: list[dict],
    *,
    workers: int | None,
    backend: str,
    only: bool = False,
    fresh: bool = False,
    accept: Collection[str] = (),
    explain: bool = False,
) -> tuple[dict, list[str]]:
    """Measure what the run folder `out` lacks of a grid; write its run.json and results table.

    Args:
        grid: the request.
        out: the run folder; the cells are added to what it holds.
        request: what was asked for, in words.
        records: one per localizer that was asked for, as in `bench.request.model_record`.
        workers: None takes the cores, or 1 on a GPU.
        backend: see `bench.engines.BACKENDS`.
        only: hold the cells of this request alone.
        fresh: measure all of them, whatever is stored.
        accept: distributions (or "device") in whose version a stored result may differ.
        explain: say why the first missing cell is not taken from the store.

    Returns:
        The content of run.json, and the failures, a line each.
    """
    out = out.resolve()  # a localizer may change the working folder
    started, clock = provenance.now(), time.perf_counter()
    with Store(out, writing=True) as store:
        before = _read_json(out / "run.json")
        if not only:
            earlier = [p["name"] for p in before.get("protocols", ()) if p.get("name") in PROTOCOLS]
            grid = dataclasses.replace(grid, protocols=tuple(dict.fromkeys([*earlier, *grid.protocols])))
        for remark in store.ask(grid, only=only):
            log.warning(remark)
        pictures = gallery.chosen(grid.pictures, store.asked())
        grid = dataclasses.replace(grid, pictures=pictures)
        missing = store.whole_request() if fresh else store.missing(accept)
        if explain:
            log.warning(store.explain(missing))
        grid, workers = _placed(grid, workers, len(missing))
        about = {
            "format": 2,
            "suite": __version__,
            "request": {
                **request, "seed": grid.seed, "device": str(grid.device), "backend": backend, "workers": workers,
                "memory_gb": grid.memory_gb, "pictures": pictures,
            },
            "started": started,
            "revision": provenance.revision(),
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            **_held(store, grid, records, {} if only else before),
            "metrics": metric_records(),
            "protocols": [describe_protocol(find(name)) for name in grid.protocols],
        }  # fmt: skip
        measured = before.get("seconds") if isinstance(before.get("seconds"), dict) else None
        _write_json(out / "run.json", {**about, "finished": None, "seconds": measured})
        tally = _measure(grid, store, missing, workers, backend)
        while damaged := store.drop_damaged() if _to_be_written(out, before, len(missing)) else 0:
            log.warning("%d stored cells were damaged and are measured again", damaged)
            missing = store.missing(accept)
            tally = _measure(grid, store, missing, workers, backend)
        about["cells"] = {
            "asked": store.asked(), "reused": store.asked() - len(missing), "computed": len(missing), **store.counts(),
        }  # fmt: skip
        about["finished"] = provenance.now()
        about["seconds"] = {"wall": round(time.perf_counter() - clock, 2), **_timing(tally)}
        kept = {"seconds": measured} if measured and not len(missing) else {}  # what measuring took, not reusing
        if len(missing) or not _unchanged(out, before, about):
            extremes = gallery.Extremes() if pictures == "extremes" else None
            about["results"] = write_results(store, out, grid.protocols, grid.seed, extremes)
            if extremes is not None:
                store.keep_pictures(extremes)
            about["differences"] = why_protocols_differ(store, grid.protocols)
        else:
            about |= {name: before[name] for name in ("results", "differences") if name in before}
        _write_json(out / "run.json", {**about, **kept})
        failed = store.failures() if about["cells"].get("failed") else []
        failures = [f"  {count} x {model}: {reason}" for count, model, reason in failed]
    return about, failures


def _to_be_written(out: Path, before: Mapping, computed: int) -> bool:
    return bool(computed) or not is_whole(out, before.get("results"))


def _unchanged(out: Path, before: Mapping, about: Mapping) -> bool:
    """Whether the table on disk is that of these very cells and protocols."""
    names = ("asked", "ok", "failed", "not_applicable")
    same = all(before.get("cells", {}).get(n) == about["cells"].get(n) for n in names)
    same = same and before.get("request", {}).get("pictures") == about["request"]["pictures"]
    same = same and all(_listed(before, n) == _listed(about, n) for n in ("models", "test_sets", "protocols"))
    return same and bool(before.get("finished")) and is_whole(out, before.get("results"))


def _listed(about: Mapping, name: str) -> list:
    keys = ("name", "identity", "digest", "version", "status")
    return [{k: entry.get(k) for k in keys} for entry in about.get(name, ()) if isinstance(entry, Mapping)]


def _held(store: Store, grid: plan.Plan, records: list[dict], before: Mapping) -> dict:
    """Records of all localizers and test sets that the folder holds, those of earlier requests among them."""
    models, sets = {g[0] for g in store.groups()}, {g[1] for g in store.groups()}
    sets_now = [t.record() for t in grid.test_sets]
    return {
        "models": _merged(before.get("models", ()), records, models),
        "test_sets": _merged(before.get("test_sets", ()), sets_now, sets),
        "perturbations": _families(store.specs()),
    }


def _merged(before: Collection[Mapping], now: list[dict], held: Collection[str]) -> list[dict]:
    names = {record["name"] for record in now}
    return [dict(r) for r in before if r.get("name") in held and r["name"] not in names] + now


def _families(specs: Collection[str]) -> list[dict]:
    """What is known of each perturbation that a spec is made of."""
    used = {part.partition(":")[0] for spec in specs for part in spec.split("+")}
    return [record for record in describe() if record["type"] == "perturbation" and record["name"] in used]


def _placed(grid: plan.Plan, workers: int | None, missing: int) -> tuple[plan.Plan, int]:
    """The plan with the devices and the memory of its workers, and how many workers there are."""
    networks = [model for model in grid.models if model.network]
    cores = os.cpu_count() or 1
    if grid.device.type == "cuda" and networks:
        cards = grid.worker_devices or (grid.device,)
        needed = WORKER_ON_A_CARD + 4 * max(model.parameters or 0 for model in networks)
        placed = assign_workers(cards, workers or cores, needed, [available(card) for card in cards])
        placed = placed if workers is None else [cards[i % len(cards)] for i in range(workers)]
        share = share_gb(-(-len(placed) // len(cards)), cards[0])
        return dataclasses.replace(grid, worker_devices=tuple(placed), memory_gb=share), len(placed)
    workers = workers or (1 if missing < IN_PROCESS_BELOW else cores)
    memory_gb = share_gb(workers, grid.device) if networks else None
    return dataclasses.replace(grid, worker_devices=(), memory_gb=memory_gb), workers


def _measure(grid: plan.Plan, store: Store, missing: np.ndarray, workers: int, backend: str) -> Tally:
    if not len(missing):
        return Tally()
    with _progress(grid, store, missing, workers) as progress:
        return run_plan(grid, store, missing, workers=workers, backend=backend, progress=progress)


@contextlib.contextmanager
def _progress(grid: plan.Plan, store: Store, missing: np.ndarray, workers: int) -> Iterator:
    """A bar over cells, with an estimate from the pace of each localizer: fast ones say nothing of slow ones."""
    from tqdm import tqdm

    numbers, counts = np.unique(missing[:, 0], return_counts=True)
    left = {grid.models[n].name: int(count) for n, count in zip(numbers, counts, strict=True)}
    pace = {name: [seconds * 5, 5.0] for name, seconds in store.seconds().items()}
    with tqdm(total=len(missing), unit=" cells", dynamic_ncols=True, file=sys.stderr, bar_format=_BAR) as bar:
        clock = time.perf_counter()

        def progress(done: Mapping[str, int]) -> None:
            nonlocal clock
            now = time.perf_counter()
            for name, count in done.items():
                left[name] -= count
                seconds = pace.setdefault(name, [0.0, 0.0])
                seconds[0] += (now - clock) * workers * count / sum(done.values())
                seconds[1] += count
            clock = now
            if all(name in pace for name, count in left.items() if count):
                rest = sum(count * pace[name][0] / pace[name][1] for name, count in left.items() if count) / workers
                bar.set_postfix_str(f"about {_words(rest)} left", refresh=False)
            bar.update(sum(done.values()))

        yield progress


_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} cells, {elapsed}{postfix}"


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def limited(test_set: TestSet, limit: int | None) -> TestSet:
    """The set with at most this many images, spread evenly."""
    return dataclasses.replace(test_set, samples=plan.limited(test_set.samples, limit))


def _timing(tally: Tally) -> dict:
    return {
        "localizers": round(tally.localizing, 2),
        "harness": round(tally.harness, 2),
        "overhead": round(tally.overhead, 4) if round(tally.localizing, 2) else None,
        "stages": {stage: round(seconds, 2) for stage, seconds in tally.seconds.items()},
        "per_localizer": {name: round(seconds, 2) for name, seconds in tally.localizers.items()},
    }


def closing_lines(about: dict, failures: list[str], out: Path) -> str:
    """What `bench run` says at its end."""
    cells, seconds = about["cells"], about["seconds"]
    lines = [
        f"{_count(cells['asked'], 'cell')}: {cells['reused']} reused, {cells['computed']} computed; "
        f"{cells.get('ok', 0)} ok, {cells.get('not_applicable', 0)} not applicable, {cells.get('failed', 0)} failed",
        f"wall {seconds['wall']:.1f} s; localizers {seconds['localizers']:.1f} s, harness {seconds['harness']:.1f} s"
        + (f" ({seconds['overhead']:.1%} of the localizers' time)" if seconds["overhead"] is not None else ""),
    ]
    defects = sum(len(t["defects"]) for t in about["test_sets"])
    if defects:
        lines.append(f"{_count(defects, 'file')} of the test sets left out as defective: see run.json or the report")
    lines += [f"skipped {m['name']}: {m['reason']}" for m in about["models"] if m["status"] == "skipped"]
    lines += [f"FAILED {m['name']}: {m['reason']}" for m in about["models"] if m["status"] == "failed"]
    if failures:
        lines += [f"{_count(cells['failed'], 'cell')} FAILED (tried again by the same command):", *failures]
    lines.append(f"results in {out}; next: python -m bench report {out}")
    return "\n".join(lines)


def profile_lines(about: dict) -> str:
    """Where the time of all workers went, by stage and by localizer."""
    seconds = about["seconds"]
    total = sum(seconds["stages"].values()) or 1.0
    lines = ["stage           s   share"]
    lines += [f"{stage:10} {value:8.2f}  {value / total:5.1%}" for stage, value in seconds["stages"].items()]
    slowest = sorted(seconds["per_localizer"].items(), key=lambda item: -item[1])
    return "\n".join([*lines, "localizer       s", *(f"{name:10} {value:8.2f}" for name, value in slowest)])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _read_json(path: Path) -> dict:
    """An earlier run.json; {} where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: dict) -> None:
    write_atomic(path, json.dumps(content, indent=1) + "\n")
