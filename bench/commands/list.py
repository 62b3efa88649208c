"""List what the suite knows: models, data, perturbations, protocols, metrics, or numbers published of its methods."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from bench.usage import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench list`."""
    parser.add_argument("what", choices=("models", "data", "perturbations", "protocols", "metrics", "published"))
    parser.add_argument("--model", help="published: of this localizer only")
    parser.add_argument("--data", help="published: on this test set only, by the name of its card or as papers call it")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0, 2 for a filter that fits nothing known."""
    if args.what == "published":
        return _print_published(_published(args.model, args.data), args.json)
    if args.model or args.data:
        raise UsageError(f"--model and --data choose among published numbers; `list {args.what}` has no such filter")
    kinds = {"models": _models, "data": _data, "perturbations": _perturbations}
    rows = (kinds | {"protocols": _protocols, "metrics": _metrics})[args.what]()
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        state = f"{row['state']:16} " if "state" in row else ""
        print(f"{row['name']:20} {state}{row['title']}")
        for name in ("spec", "description", "summary"):
            if row.get(name) and args.what != "models":
                print(f"{'':20}   {row[name]}")
    return 0


def _models() -> list[dict]:
    import models
    from bench.weights import readiness

    rows = [
        {**asdict(card), "weights": [file.name for file in card.weights], "state": readiness(card)}
        for card in models.cards()
    ]
    for name, members in models.groups().items():
        title = "every localizer that needs no path" if name == "all" else ", ".join(members)
        rows.append({"name": name, "state": f"group of {len(members)}", "title": title, "members": members})
    return rows


def _data() -> list[dict]:
    from bench.data import describe

    return describe()


def _perturbations() -> list[dict]:
    from bench.perturb import describe

    return describe()


def _protocols() -> list[dict]:
    from bench.metrics.describe import protocol_records

    cost = "{seconds:.3f} s and {bytes:,} bytes per map of 1 megapixel"
    return [{**r, "summary": cost.format(**r) if "seconds" in r else "cost not measured"} for r in protocol_records()]


def _metrics() -> list[dict]:
    from bench.metrics.describe import metric_records

    return [{**r, "description": r["definition"], "summary": ", ".join(r["protocols"])} for r in metric_records()]


def _published(model: str | None, data: str | None) -> list[dict]:
    import models
    from bench.data.cards import load_all
    from bench.published import known_test_sets, load_published, of_test_set, published, records

    numbers = list(load_published())
    if model:
        of_model = set(published(models.find(model).card.name))
        numbers = [number for number in numbers if number in of_model]
    if data:
        on_set = set(of_test_set(data))
        if not on_set and data not in {card.name for card in load_all()}:
            raise UsageError(f"no test set {data!r} in the published tables; they have {', '.join(known_test_sets())}")
        numbers = [number for number in numbers if number in on_set]
    return records(numbers)


def _print_published(rows: list[dict], as_json: bool) -> int:
    if as_json:
        print(json.dumps([{k: v for k, v in row.items() if k != "test_set"} for row in rows], indent=1))
        return 0
    if not rows:
        print("nothing of that is published in the tables this suite has collected")
    source = None
    for row in rows:
        if row["source"] != source:
            source = row["source"]
            print(f"{source}{': ' if row['scoring'] else ''}{row['scoring']}")
        what = f"{row['printed_metric']}, {row['rule']}; {row['weights']} weights"
        print(
            f"  {row['method'][:24]:24} {row['model']:14} {row['printed_set'][:14]:14} {row['perturbation']:16} "
            f"{row['value']:.3f}  {what}"
        )
    return 0
