"""Protocols computed from what a run kept, without running a localizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.files import write_atomic
from bench.metrics import PROTOCOLS, find, kept
from bench.metrics.describe import describe
from bench.results import ResultsError, read_about, why_protocols_differ, write_results
from bench.store import Store
from bench.usage import UsageError


def rescore(folder: Path, protocols: Sequence[str], *, strict: bool = True) -> dict:
    """Make the results table of a finished run anew, with these protocols besides those that it holds.

    Args:
        folder: the run folder.
        protocols: names of protocols.
        strict: refuse a protocol whose statistics were not kept; otherwise leave it out.

    Returns:
        `protocols`, the names that the table now holds, and `left_out`, name -> why.

    Raises:
        UsageError: a protocol's statistics were not kept; the message says what to run.
    """
    about = read_about(folder)
    if not about.get("finished"):
        raise ResultsError(f"{folder} was never finished; run the same `bench run` command again, it resumes")
    with Store(folder, writing=True) as store:
        stored = set(store.kept())
        left_out = {}
        for name in protocols:
            lacking = sorted(set(kept([name])) - stored)
            if lacking:
                left_out[name] = f"{lacking[0]} was not kept; run again with --protocols {name}"
        if left_out and strict:
            name, why = next(iter(left_out.items()))
            raise UsageError(f"{folder}: {name} cannot be computed: {why}")
        held = [entry["name"] for entry in about["protocols"] if entry["name"] in PROTOCOLS]
        names = list(dict.fromkeys([*held, *(name for name in protocols if name not in left_out)]))
        about["results"] = write_results(store, folder, names, about["request"]["seed"])
        about["protocols"] = [describe(find(name)) for name in names]
        about["differences"] = why_protocols_differ(store, names)
        write_atomic(folder / "run.json", json.dumps(about, indent=1) + "\n")
    return {"protocols": names, "left_out": left_out}
