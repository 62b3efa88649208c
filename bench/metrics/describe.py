"""Protocols and metrics as plain records, for lists, runs and pages."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict
from importlib import resources
from typing import Any

from bench.metrics.protocol import Protocol
from bench.metrics.registry import METRICS, PROTOCOLS

WORDS = (
    *("name", "version", "title", "description", "mask_rule", "view", "threshold", "polarity", "images", "empty"),
    *("average", "image_rule", "headline", "metrics", "set_metrics", "sources", "twin", "original", "paper"),
)


def describe(protocol: Protocol) -> dict[str, Any]:
    """One protocol: its fields in words, its quirks, names of what is kept, and the measured cost where it is known.

    seconds, bytes: of one map of 1 megapixel, the protocol alone, on one core (see `measured_on` in costs.json).
    """
    record: dict[str, Any] = {}
    for name in WORDS:
        value = getattr(protocol, name)
        record[name] = list(value) if isinstance(value, tuple) else value
    record["quirks"] = [asdict(quirk) for quirk in protocol.quirks]
    record["kept"] = [kept.name for kept in protocol.kept.values()]
    return record | costs()["protocols"].get(protocol.name, {})


def protocol_records() -> list[dict[str, Any]]:
    """All protocols, as `describe`."""
    return [describe(protocol) for protocol in PROTOCOLS.values()]


def metric_records() -> list[dict[str, Any]]:
    """All metrics as records.

    Keys: name, title, definition, direction, scope, low and high (None: no bound), empty cases, pitfall, protocols.
    """
    records = []
    for metric in METRICS.values():
        record = {name: value for name, value in vars(metric).items() if name not in ("adds_to", "part")}
        record |= {end: None if math.isinf(record[end]) else record[end] for end in ("low", "high")}
        record["protocols"] = [
            protocol.name
            for protocol in PROTOCOLS.values()
            if metric.name in (*protocol.metrics, *protocol.set_metrics)
        ]
        records.append(record)
    return records


@functools.cache
def costs() -> dict:
    """What tests/benchmarks/protocols.py measured: `measured_on`, `protocols` (name -> seconds, bytes), `together`."""
    return json.loads(resources.files("bench.metrics").joinpath("costs.json").read_text(encoding="utf-8"))
