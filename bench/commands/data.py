"""`python -m bench data`: is a test set intact, what is in it, what does it leak, where does it come from."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.data import DataError, find_card, inspect, open_builtin, open_test_sets, pages
from bench.data.cards import CardError, load_all
from bench.data.facts import gather
from bench.usage import positive_int

FINE, DEFECTIVE, UNREADABLE = 0, 1, 2
COMMANDS = {
    "verify": "decode every file; exit 0 intact, 1 defects beyond the known ones, 2 cannot be read",
    "stats": "numbers of a set: images, kinds, formats, sizes, forged share",
    "audit": "what tells tampered from authentic images besides the forgery; exit 1 where the set leaks",
    "prepare": "make the built-in set, or say where a published set comes from and how its files must lie",
    "subset": "print the list of a folder's images, so that it can be published as a subset",
    "page": "the documentation page of a set, from its card",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put the sub-commands of `bench data` into a parser."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="machine-readable output")
        if name == "subset":
            command.add_argument("set", metavar="FOLDER", help="the folder that holds the images")
        elif name == "page":
            command.add_argument("set", metavar="NAME", nargs="?", help="a card's name (default: all)")
            command.add_argument("--out", type=Path, metavar="DIR", help="write a file a set there")
        else:
            command.add_argument("set", metavar="NAME", help="builtin, a card's name, or any --data text")
        if name in ("verify", "stats", "audit"):
            command.add_argument("--root", metavar="DIR", help="folder of the set (or write NAME:DIR)")
            command.add_argument("--workers", type=positive_int, metavar="N", help="processes (default: all cores)")
        if name in ("stats", "audit"):
            command.add_argument("--out", type=Path, metavar="DIR", help="write figures and tables there")


def main(args: argparse.Namespace) -> int:
    """Run the sub-command; returns the exit code."""
    try:
        return {"prepare": _prepare, "subset": _subset, "page": _page}.get(args.data_command, _look)(args)
    except (DataError, CardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE


def _look(args: argparse.Namespace) -> int:
    sets = open_test_sets(args.set if args.root is None else f"{args.set}:{args.root}")
    if args.data_command == "verify":
        reports, words = [inspect.verify(one, args.workers) for one in sets], inspect.verify_text
    elif args.data_command == "stats":
        found = [gather(one, "stats", args.workers) for one in sets]
        reports, words = [inspect.stats(one, facts) for one, facts in zip(sets, found, strict=True)], inspect.stats_text
        if args.out:
            from bench.data.plots import stats_figure

            args.out.mkdir(parents=True, exist_ok=True)
            for number, (one, facts) in enumerate(zip(sets, found, strict=True)):
                stats_figure(facts, one.title, args.out / f"stats{number + 1}.png")
    else:
        from bench.data import audit

        reports, words = audit.audit(sets, args.workers), audit.text
        if args.out:
            audit.write(reports, args.out)
    if args.json:
        print(json.dumps(reports, indent=1))
    else:
        print("\n".join(words(report) for report in reports))
    bad = {"verify": lambda r: not r["intact"], "audit": lambda r: bool(r["leaks"])}.get(args.data_command)
    return DEFECTIVE if bad and any(map(bad, reports)) else FINE


def _prepare(args: argparse.Namespace) -> int:
    if args.set == "builtin":
        test_set = open_builtin()
        folder = test_set.samples[0].image.parents[1]
        print(f"{len(test_set.samples)} images in {folder}\n{test_set.note}")
        return FINE
    name, _, root = args.set.partition(":")
    card = find_card(name)
    print(json.dumps(pages.record(card), indent=1) if args.json else inspect.how_to_get(card, root or "ROOT"))
    return FINE


def _subset(args: argparse.Namespace) -> int:
    names = inspect.members(Path(args.set).expanduser())
    print(json.dumps(names, indent=1) if args.json else "\n".join(names))
    return FINE


def _page(args: argparse.Namespace) -> int:
    cards = [find_card(args.set)] if args.set else load_all()
    if args.out:
        pages.write(cards, args.out)
    elif args.json:
        print(json.dumps([pages.record(card) for card in cards], indent=1))
    else:
        print("\n\n".join(pages.page(card) for card in cards))
    return FINE
