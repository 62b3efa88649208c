"""Seconds and megabytes of `bench report` of a large run.

    python tests/benchmarks/report.py [--rows N] [--folder DIR]

The run is synthetic: 20 localizers, 10 sets without files, 10 perturbations, as many images as make N cells, and one
value of one metric for each (random, so that localizers differ, tie, and are less accurate under perturbation). Its
cells lie in a store and its values in a results table, as `bench run` writes both; no pictures. Then the command runs
in a process of its own. Printed: seconds of wall time and CPU, and that process' largest memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from bench import plan as plans
from bench import provenance
from bench.data import Sample
from bench.metrics import find
from bench.metrics.describe import describe as describe_protocol
from bench.metrics.describe import metric_records
from bench.perturb import parse
from bench.plan import Plan, PlannedModel
from bench.results import COLUMNS, PARQUET
from bench.store import Store
from models.device import Device
from tests.benchmarks.scale import Made, commit, copy

GRID = "clean;jpeg:90;jpeg:70;jpeg:50;resize:0.75;resize:0.5;blur:3;blur:5;noise:3;noise:10"
LOCALIZERS, SETS = 20, 10


def main() -> None:
    """Make the run, report it, print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the run is made (default: a temporary folder)")
    args = parser.parse_args()
    plans.file_digest = str  # of no file
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = make(Path(folder), args.rows)
        command = [sys.executable, "-m", "bench", "report", folder, "--out", f"{folder}/report"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
        wall = time.perf_counter() - start
        page = (Path(folder) / "report" / "report.html").stat().st_size
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = "/".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    print(f"{rows} rows; load of the machine {load} on {os.cpu_count()} cores")
    print(f"wall {wall:.1f} s, user {used.ru_utime:.1f} s, system {used.ru_stime:.1f} s, page {page / 1e6:.2f} MB")
    print(f"largest memory {used.ru_maxrss / 1e6:.2f} GB")


def make(folder: Path, rows: int) -> int:
    """Write the run folder; returns its number of rows."""
    grid = parse(GRID)
    count = -(-rows // (LOCALIZERS * SETS * len(grid)))
    names = [f"localizer{n:02d}" for n in range(LOCALIZERS)]
    sets = [Made(f"set{s}", f"Set {s}", samples(folder, f"set{s}", count)) for s in range(SETS)]
    models = [PlannedModel(n, n, n.encode().hex(), None, False, environment={"numpy": "2"}) for n in names]
    request = Plan(models, sets, grid, 0, Device("cpu"))
    with Store(folder, writing=True) as store:
        store.ask(request)
        commit(store, request, store.missing())
        copy(store)
        store.connection.execute("update evidence set psnr = 30 + abs(random() % 100) / 10.0")
        store.connection.commit()
        cells = store.cells()
        counts = store.counts()
    table = values(cells, names, [p.spec for p in grid])
    table.to_parquet(folder / PARQUET, compression="zstd", index=False)
    about = {
        **{"format": 2, "suite": "synthetic", "started": provenance.now(), "finished": provenance.now()},
        "request": {
            **{"models": ",".join(names), "data": "made", "perturbations": GRID, "seed": 0},
            **{"device": "cpu", "backend": "loky", "workers": 2, "pictures": "none"},
        },
        **{"revision": "", "versions": {}, "machine": provenance.machine(), "metrics": metric_records()},
        "models": [record(name) for name in names],
        "test_sets": [{**s.record(), "n_tampered": count, "n_authentic": 0} for s in sets],
        "perturbations": [],
        "protocols": [describe_protocol(find("native"))],
        "cells": {"asked": len(cells), "reused": 0, "computed": len(cells), **counts},
        "seconds": {"wall": 1.0, "localizers": 1.0, "harness": 1.0, "overhead": 1.0},
        "results": {
            **{"file": PARQUET, "rows": len(table)},
            "sha256": hashlib.sha256((folder / PARQUET).read_bytes()).hexdigest(),
        },
    }
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return len(table)


def samples(folder: Path, test_set: str, count: int) -> list[Sample]:
    """Tampered images of a set, without files."""
    return [
        Sample(f"image{n:04d}", folder / f"{test_set}-{n}.png", folder / "mask.png", test_set) for n in range(count)
    ]


def values(cells: pd.DataFrame, names: list[str], specs: list[str]) -> pd.DataFrame:
    """One AUC of every cell: by localizer, by image, less under perturbation."""
    rng = np.random.default_rng(0)
    skill = pd.Series(np.linspace(0.55, 0.85, len(names)), index=names)
    damage = pd.Series(np.linspace(0, 0.2, len(specs)), index=specs)
    mean = cells["model"].map(skill).astype(float) - cells["spec"].map(damage).astype(float)
    table = pd.DataFrame({name: cells[name] for name in COLUMNS if name in cells})
    value = np.clip(mean + rng.normal(0, 0.12, len(cells)), 0, 1)
    table = table.assign(seed=0, protocol="native", metric="auc", value=value, tampered=True)
    return table[COLUMNS]


def record(name: str) -> dict:
    """A localizer as run.json describes it."""
    texts = dict.fromkeys(("paper", "summary", "licence", "reason"), "")
    return {**texts, "name": name, "title": name, "groups": [], "trained_on": [], "settings": {}, "status": "run"}


if __name__ == "__main__":
    main()
