"""List what the suite knows: models, data, perturbations or protocols."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench list`."""
    parser.add_argument("what", choices=("models", "data", "perturbations", "protocols"))
    parser.add_argument("--json", action="store_true", help="print as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0."""
    rows = {"models": _models, "data": _data, "perturbations": _perturbations, "protocols": _protocols}[args.what]()
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        print(f"{row['name']:20} {row['title']}")
        for name in ("groups", "spec", "description", "summary", "weights"):
            if row.get(name):
                value = row[name]
                print(f"{'':20}   {value if isinstance(value, str) else ', '.join(map(str, value))}")
    return 0


def _models() -> list[dict]:
    import models

    rows = [{**asdict(card), "weights": [w.name for w in card.weights]} for card in models.cards()]
    groups = [
        {"name": name, "title": f"group of {len(m)}", "summary": ", ".join(m)} for name, m in models.groups().items()
    ]
    return rows + groups


def _data() -> list[dict]:
    from bench.data import describe

    return describe()


def _perturbations() -> list[dict]:
    from bench.perturb import describe

    return describe()


def _protocols() -> list[dict]:
    from bench.metrics import PROTOCOLS

    return [{k: getattr(p, k) for k in ("name", "version", "title", "description")} for p in PROTOCOLS.values()]
