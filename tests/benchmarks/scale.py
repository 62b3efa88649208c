"""Seconds and megabytes of a large request: planning it, and asking a finished run of that size again.

    python tests/benchmarks/scale.py [--cells N] [--folder DIR]

The set is synthetic, without files: 20 localizers, 15 perturbations, as many images as make N cells. Nothing is
localized: the evidence of a map of 60 pixels, with the statistics of `native`, is committed for 100 images and copied
for the others. Printed for each step: seconds of wall time and CPU, the process' resident memory after it and its
largest so far (MB; that of the copying included).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bench import plan as plans
from bench.data import Sample, TestSet
from bench.evidence import Evidence
from bench.perturb import parse
from bench.plan import Plan, PlannedModel
from bench.runner import _ranges
from bench.store import Store
from bench.truth import Truth
from models.device import Device
from models.image import ScoreMap


class Made(TestSet):
    """A set whose samples have no files behind them."""

    def fingerprint(self, sample: Sample) -> str:
        """Stands for the digest of the files."""
        return sample.id


def main() -> None:
    """Take the steps and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the run is made (default: a temporary folder)")
    args = parser.parse_args()
    plans.file_digest = str  # of no file
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        steps(Path(folder), args.cells)


def steps(folder: Path, cells: int) -> None:
    """Plan, fill, ask again; the same in the order of a user's calls."""
    load = "/".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    print(f"{cells} cells; load of the machine {load} on {os.cpu_count()} cores")
    print(f"{'step':<34}{'wall s':>9}{'CPU s':>9}{'resident MB':>13}{'peak MB':>9}")
    step("imports", lambda: None)
    request = step("plan", lambda: made(folder, cells))
    with Store(folder, writing=True) as store:
        step("ask", lambda: store.ask(request))
        missing = step("missing", store.missing)
        step("jobs", lambda: _ranges(request, missing))
        step("commit 100 images (300 cells each)", lambda: commit(store, request, missing))
        step("the rest, copied", lambda: copy(store))
    print(f"{'size of the folder, MB':<34}{sum(f.stat().st_size for f in folder.iterdir()) / 1e6:>9.0f}")
    again = made(folder, cells)
    start = time.process_time()
    with Store(folder, writing=True) as store:
        step("again: ask", lambda: store.ask(again))
        left = step("again: missing", store.missing)
        step(
            "again: groups twice, asked, counts",
            lambda: (store.groups(), store.groups(), store.asked(), store.counts()),
        )
        print(f"{'again, together':<34}{'':>9}{time.process_time() - start:>9.2f}")
        step("of an unfinished run: seconds", store.seconds)
        step("of a run with failures: failures", store.failures)
    assert not len(left)


def step(name: str, action):
    """Do it and print what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:<34}{wall:>9.2f}{cpu:>9.2f}{memory('VmRSS'):>13.0f}{memory('VmHWM'):>9.0f}", flush=True)
    return value


def memory(line: str) -> float:
    """MB of this process (Linux, else NaN): "VmRSS" now, "VmHWM" at most so far."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(text.split()[1]) / 1024 for text in lines if text.startswith(line)), float("nan"))


def made(folder: Path, cells: int) -> Plan:
    """The request."""
    names, grid = [f"localizer{n}" for n in range(20)], parse("standard")
    images = -(-cells // (len(names) * len(grid)))
    samples = [Sample(f"image{n}", folder / f"{n}.png", None, "made") for n in range(images)]
    localizers = [PlannedModel(n, n, n.encode().hex(), None, False, environment={"numpy": "2"}) for n in names]
    return Plan(localizers, [Made("made", "Made", samples)], grid, 0, Device("cpu"))


def copy(store: Store) -> None:
    """Give every other cell what the first one has (checksums do not fit then; nothing here reads them)."""
    columns = [row[1] for row in store.connection.execute("pragma table_info(evidence)")][1:]
    names = ", ".join(f"one.{name}" for name in columns)
    first = store.connection.execute("select key from evidence limit 1").fetchone()
    with store.connection:
        store.connection.execute(
            f"insert or ignore into evidence select asked.key, {names} from asked"
            f" join (select {', '.join(columns)} from evidence where key = ?) as one",
            first,
        )
        store.connection.execute(
            "insert or ignore into statistic select asked.key, kept, image.truth, crc, data from asked"
            " join image on image.id = asked.image join (select kept, crc, data from statistic where cell = ?)",
            first,
        )


def commit(store: Store, request: Plan, missing: np.ndarray) -> None:
    """Commit the same evidence for every cell of 100 images."""
    score = ScoreMap(np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10), "probability")
    evidence = Evidence.measure(score, Truth.pristine((6, 10)), tampered=False, protocols=["native"])
    for place in list(_ranges(request, missing))[:100]:
        cells = [
            (key, request.models[model].name, request.perturbations[level].spec, evidence)
            for model, level, key in request.keys(place.image)
        ]
        store.commit(place, cells)


if __name__ == "__main__":
    main()
