"""The reference file of a check: per-image values of a run that is trusted, small enough to commit.

JSON: `format`, `made` (with which versions), `protocols` (name -> version), `seed`, and `values` nested as localizer >
test set > perturbation > "protocol.metric" > image, six digits each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.files import write_atomic
from bench.metrics import METRICS, PROTOCOLS
from bench.metrics.metric import NEITHER
from bench.usage import UsageError, suggest

FORMAT = 1
KEPT = (("native", "auc"), ("native", "best_f1"), ("native", "f1"))  # kept where no others are asked for
CELL = ["model", "test_set", "spec", "protocol", "metric"]
_DEPTH = ("localizer", "test set", "perturbation", "metric", "image")


def parse_metrics(text: str) -> tuple[tuple[str, str], ...]:
    """("native", "auc"), ("mpc", "f1") of "native.auc,mpc.f1". Raises UsageError for what has no value an image."""
    found = []
    for name in (part.strip() for part in text.split(",")):
        protocol, _, metric = name.partition(".")
        if protocol not in PROTOCOLS:
            raise UsageError(f"--metrics {name}: unknown protocol {protocol!r}; {suggest(protocol, PROTOCOLS)}")
        if metric in PROTOCOLS[protocol].set_metrics:
            raise UsageError(f"--metrics {name}: one value a test set, so that images cannot be compared")
        if metric not in PROTOCOLS[protocol].metrics:
            raise UsageError(
                f"--metrics {name}: {protocol} has no such metric; {suggest(metric, PROTOCOLS[protocol].metrics)}"
            )
        if METRICS[metric].direction == NEITHER:
            raise UsageError(f"--metrics {name}: neither a larger nor a smaller value is better, so none is worse")
        found.append((protocol, metric))
    return tuple(dict.fromkeys(found))


def write_reference(path: Path, values: pd.DataFrame, about: Mapping) -> None:
    """Write a reference file of values (columns CELL, image, value); undefined ones are left out."""
    nested: dict = {}
    for row in values.itertuples(index=False):
        if math.isfinite(row.value):
            place = nested.setdefault(row.model, {}).setdefault(row.test_set, {}).setdefault(row.spec, {})
            place.setdefault(f"{row.protocol}.{row.metric}", {})[row.image] = round(row.value, 6)
    content = {
        "format": FORMAT,
        "made": {"with": about.get("versions"), "revision": about.get("revision"), "at": about.get("started")},
        "protocols": {name: PROTOCOLS[name].version for name in sorted(values["protocol"].unique())},
        "seed": about["request"]["seed"],
        "values": nested,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _compact(content))


def read_reference(path: Path, seed: int, metrics: Sequence[tuple[str, str]] | None = None) -> pd.DataFrame:
    """The reference's values as rows (columns CELL, image, value), of these metrics where they are named.

    Raises UsageError where it cannot be compared with a run of this seed, is damaged or holds nothing of the kind.
    """
    content = _read(path)
    if content["seed"] != seed:
        raise UsageError(f"{path} was made with --seed {content['seed']}, the run with --seed {seed}")
    rows = []
    for model, test_set, spec, measure, images in _cells(content["values"], path):
        protocol, _, metric = measure.partition(".")
        if metrics is not None and (protocol, metric) not in metrics:
            continue
        if protocol not in content["protocols"] or metric not in PROTOCOLS[protocol].metrics:
            raise _damaged(path, f"unknown metric {measure!r} under {model} / {test_set} / {spec}")
        low, high = METRICS[metric].low - 1e-6, METRICS[metric].high + 1e-6
        if wrong := [image for image, value in images.items() if not low <= value <= high]:
            place = " / ".join((model, test_set, spec, measure, wrong[0]))
            raise _damaged(path, f"{place} is {images[wrong[0]]:g}, outside the metric's range")
        rows += [(model, test_set, spec, protocol, metric, image, value) for image, value in images.items()]
    if not rows:
        what = "no value" if metrics is None else f"no value of {', '.join('.'.join(m) for m in metrics)}"
        raise UsageError(f"{path} holds {what}, so nothing can be compared; write it with `--update`")
    return pd.DataFrame(rows, columns=[*CELL, "image", "value"])


def changes(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """What replacing the old reference by the new changes: a line for each kind of change and localizer."""
    both = old.merge(new, on=[*CELL, "image"], how="outer", suffixes=("_old", "_new"), indicator=True)
    lines = []
    for model, rows in both.groupby("model", sort=False):
        paired = rows[rows["_merge"] == "both"]
        moved = (paired["value_new"] - paired["value_old"]).round(6)
        parts = [
            f"{count} values {what}"
            for count, what in (
                ((rows["_merge"] == "left_only").sum(), "gone"),
                ((rows["_merge"] == "right_only").sum(), "new"),
                ((moved < 0).sum(), "lower"),
                ((moved > 0).sum(), "higher"),
            )
            if count
        ]
        if parts:
            largest = f"; largest change {moved.loc[moved.abs().idxmax()]:+.4f}" if moved.any() else ""
            lines.append(f"{model}: {', '.join(parts)}{largest}")
    return lines


def _read(path: Path) -> dict:
    """The file's content with everything but the values checked."""
    try:
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=_once)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; write it with `--update` from a run that you trust") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    if not isinstance(content, dict):
        raise _damaged(path, f"a {type(content).__name__} where an object is due")
    if absent := [name for name in ("format", "protocols", "seed") if name not in content]:
        raise _damaged(path, f"no {absent[0]!r}")
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        raise UsageError(
            f"{path} has format {content['format']!r:.20}, this version compares {FORMAT}; write it anew with --update"
        )
    if not isinstance(content.get("values"), dict) or not isinstance(content["protocols"], dict):
        raise _damaged(path, "'values' and 'protocols' are no objects")
    if isinstance(content["seed"], bool) or not isinstance(content["seed"], int):
        raise _damaged(path, f"seed {content['seed']!r:.40} is no whole number")
    for name, version in content["protocols"].items():
        known = PROTOCOLS[name].version if name in PROTOCOLS else None
        if known is None or isinstance(version, bool) or known != version:
            raise UsageError(f"{path} was made under protocol {name} v{version}, which this version does not have")
    return content


def _once(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object, in which no name may occur twice (the parser would keep the last in silence)."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} occurs twice")
    return found


def _cells(values: Mapping, path: Path, above: tuple[str, ...] = ()):
    """(localizer, test set, perturbation, metric, {image: value}) of each cell; raises UsageError for another form."""
    for name, inner in values.items():
        place = (*above, name)
        if not isinstance(inner, dict):
            raise _damaged(path, f"{' / '.join(place)} is no object")
        if len(place) < len(_DEPTH) - 1:
            yield from _cells(inner, path, place)
            continue
        for image, value in inner.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
                raise _damaged(path, f"{' / '.join((*place, image))} is {value!r:.40} and no finite number")
        yield *place, inner


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(f"{path} is not a reference file, or damaged ({reason}); restore it, or write it with --update")


def _compact(content: dict) -> str:
    """JSON with one line for each metric of a cell: small enough to commit, and diffs stay readable."""
    values = content.pop("values")

    def block(items: Mapping, depth: int) -> str:
        if depth == len(_DEPTH) - 1:
            return json.dumps(items, separators=(",", ":"))
        pad = " " * (depth + 2)
        inner = ",\n".join(f"{pad}{json.dumps(name)}: {block(item, depth + 1)}" for name, item in items.items())
        return f"{{\n{inner}\n{pad[:-1]}}}"

    head = json.dumps(content, indent=1).rstrip("}\n")
    return f'{head},\n "values": {block(values, 0)}\n}}\n'
