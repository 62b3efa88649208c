"""All protocols and metrics: those of the files of two folders."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable

from bench.metrics import common, extra, protocols
from bench.metrics.metric import Metric
from bench.metrics.protocol import Protocol
from bench.usage import suggest

FIRST = ("native", "mpc")


class UnknownProtocol(ValueError):
    """No protocol of that name; the message names the nearest and all."""


class UnknownMetric(ValueError):
    """No metric of that name; the message names the nearest."""


def _modules(package) -> list:
    return [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]


def _metrics() -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for module in (common, *_modules(protocols), *_modules(extra)):
        for metric in getattr(module, "METRICS", ()):
            if metric.name in found:
                raise ValueError(f"two metrics have the name {metric.name!r}; rename the one in {module.__name__}")
            found[metric.name] = metric
    return found


def _protocols(metrics: Iterable[Metric]) -> dict[str, Protocol]:
    found: dict[str, Protocol] = {}
    for module in _modules(protocols):
        for protocol in module.PROTOCOLS:
            if protocol.name in found:
                raise ValueError(f"two protocols have the name {protocol.name!r}; rename the one in {module.__name__}")
            added = tuple(m.part for m in metrics if m.part and protocol.name in m.adds_to)
            found[protocol.name] = dataclasses.replace(protocol, parts=protocol.parts + added)
    order = sorted(found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return {name: found[name] for name in order}


METRICS: dict[str, Metric] = _metrics()
PROTOCOLS: dict[str, Protocol] = _protocols(METRICS.values())


def find(protocol: str | Protocol) -> Protocol:
    """The protocol of that name, or the one given. Raises UnknownProtocol."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise UnknownProtocol(f"unknown protocol {protocol!r}; {suggest(protocol, PROTOCOLS)}")
    return PROTOCOLS[protocol]


def find_all(names: str) -> list[Protocol]:
    """The protocols of a list like "native,trufor", or "all", without repetition. Raises UnknownProtocol."""
    wanted = list(PROTOCOLS) if names.strip() == "all" else [name.strip() for name in names.split(",") if name.strip()]
    return [find(name) for name in dict.fromkeys(wanted)]


def find_metric(name: str) -> Metric:
    """The metric of that name. Raises UnknownMetric."""
    if name not in METRICS:
        raise UnknownMetric(f"unknown metric {name!r}; {suggest(name, METRICS)}")
    return METRICS[name]
