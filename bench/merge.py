"""Join run folders that were measured apart: several machines, one folder each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench import provenance
from bench.files import write_atomic
from bench.metrics import PROTOCOLS, kept
from bench.results import read_about, write_results
from bench.store import FILE, Store
from bench.usage import UsageError

SHARED = ("format", "suite")  # what run.json must agree in
LISTS = ("models", "test_sets", "perturbations", "metrics")


def merge(folders: Sequence[Path], out: Path) -> dict:
    """Write the cells of all run folders into a new one, `out`; the folders stay as they are.

    A cell that several of them measured is taken from the first that did not fail on it.

    Returns:
        The content of the new run.json.

    Raises:
        UsageError: `out` holds a run, or the folders do not fit together (seed, limit, version of a protocol, or
            different weights or images under one name); the message says which and why. Nothing is written then.
    """
    if (out / FILE).exists():
        raise UsageError(f"{out} holds a run already; give another --out")
    abouts = [read_about(folder) for folder in folders]
    _check(folders, abouts)
    with Store(out, writing=True) as target:
        for folder in folders:
            with Store(folder) as source:
                target.take_in(source)
        about = _joined(abouts)
        stored = set(target.kept())
        names = [p["name"] for p in about["protocols"] if p["name"] in PROTOCOLS and set(kept([p["name"]])) <= stored]
        about["protocols"] = [p for p in about["protocols"] if p["name"] in names]
        about["cells"] = {"asked": target.asked(), "reused": target.asked(), "computed": 0, **target.counts()}
        about["results"] = write_results(target, out, names, about["request"]["seed"])
        about["finished"] = provenance.now()
        write_atomic(out / "run.json", json.dumps(about, indent=1) + "\n")
    return about


def _check(folders: Sequence[Path], abouts: Sequence[dict]) -> None:
    first, rest = abouts[0], list(zip(folders[1:], abouts[1:], strict=True))
    for folder, about in rest:
        for name in SHARED:
            if about.get(name) != first.get(name):
                raise UsageError(f"{folders[0]} has {name} {first.get(name)}, {folder} {about.get(name)}")
        for name in ("seed", "limit"):
            mine, other = first["request"].get(name), about["request"].get(name)
            if mine != other:
                raise UsageError(f"{folders[0]} was measured with {name} {mine}, {folder} with {other}")
        versions = {p["name"]: p["version"] for p in first["protocols"]}
        for protocol in about["protocols"]:
            mine = versions.get(protocol["name"], protocol["version"])
            if mine != protocol["version"]:
                raise UsageError(
                    f"{folders[0]} has version {mine} of protocol {protocol['name']}, {folder} {protocol['version']}"
                )
        for kind, digest in (("models", "identity"), ("test_sets", "digest")):
            known = {record["name"]: record.get(digest) for record in first[kind]}
            for record in about[kind]:
                mine = known.get(record["name"])
                if mine and record.get(digest) and mine != record[digest]:
                    what = "weights, settings or code" if kind == "models" else "images"
                    raise UsageError(
                        f"{record['name']} of {folders[0]} and of {folder} differ in {what}; run one under another name"
                    )


def _joined(abouts: Sequence[dict]) -> dict:
    joined = dict(abouts[0])
    for name in (*LISTS, "protocols"):
        records: dict[str, dict] = {}
        for about in abouts:
            for record in about.get(name, ()):
                records.setdefault(record["name"], record)
        joined[name] = list(records.values())
    joined["request"] = {**abouts[0]["request"]}
    for name in ("models", "data", "perturbations"):
        texts = dict.fromkeys(str(about["request"].get(name, "")) for about in abouts)
        joined["request"][name] = (";" if name == "perturbations" else ",").join(texts)
    joined["merged"] = len(abouts)
    return joined
