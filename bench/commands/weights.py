"""Show which checkpoints the localizers need, where each comes from and goes, and whether it is intact.

`python -m bench weights convert FILE` turns a checkpoint that holds more than tensors (a training script's options,
its optimizer, ...), and is therefore refused, into FILE.safetensors. Nothing in the file is executed. Kept is every
dict with text keys that holds more tensors than other things; several are all kept, under their keys, unless --key
names one. The rest is dropped and listed.
"""

from __future__ import annotations

import argparse
import difflib
import json
from pathlib import Path

import models
from bench.usage import UsageError
from bench.weights import row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench weights`."""
    parser.add_argument("name", nargs="?", help="one localizer (default: all), or the word convert")
    parser.add_argument("file", nargs="?", type=Path, help="after convert: the checkpoint")
    parser.add_argument("--out", type=Path, help="after convert: the file to write (default: FILE.safetensors)")
    parser.add_argument("--key", help="after convert: the only state dict to keep, e.g. model or model.ema")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when every listed file is present and intact, or converted; 1 when one is absent or damaged."""
    if args.name == "convert":
        return _convert(args)
    if args.file or args.out or args.key:
        raise UsageError("a file, --out and --key go with: python -m bench weights convert FILE")
    cards = {card.name: card for card in models.cards() if card.weights}
    if args.name is not None and args.name not in cards:
        near = difflib.get_close_matches(args.name, cards, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise models.UnknownModel(
            f"{args.name!r} needs no weights or is unknown; {hint}with weights: {', '.join(cards)}"
        )
    chosen = cards.values() if args.name is None else [cards[args.name]]
    rows = [row(card.name, file) for card in chosen for file in card.weights]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        for entry in rows:
            size = f"{entry['size'] / 1e6:.1f} MB" if entry["size"] else "size unknown"
            print(f"{entry['model']}: {entry['file']} ({size}; {entry['licence']}): {entry['state'].upper()}")
            git = f"not known; id in git {entry['git_sha1']}" if entry["git_sha1"] else "not known"
            print(f"    from {entry['page']}\n    to   {entry['target']}\n    sha256 {entry['sha256'] or git}")
    return 0 if all(entry["state"].startswith("present") for entry in rows) else 1


def _convert(args: argparse.Namespace) -> int:
    from models.checkpoint import CONVERTED, convert

    source = args.file
    if source is None:
        raise UsageError("name the file: python -m bench weights convert FILE")
    target = args.out or source.with_name(source.name + CONVERTED)
    if target.suffix != ".safetensors":
        raise UsageError(f"--out {target}: what is written is a .safetensors file; name it so")
    kept = convert(source, target, args.key)
    summary = {
        "source": str(source), "target": str(target), "tensors": len(kept.tensors),
        "bytes": sum(tensor.nbytes for tensor in kept.tensors.values()),
        "kept": kept.containers, "dropped": kept.dropped, "not_executed": kept.names,
    }  # fmt: skip
    if args.json:
        print(json.dumps(summary, indent=1))
        return 0
    print(f"{source} ({source.stat().st_size:,} bytes)")
    for key, count in kept.containers.items():
        print(f"  kept     {key or 'top level'}: {count} tensors")
    for key, words in kept.dropped.items():
        print(f"  dropped  {key}: {words}")
    for name, count in kept.names.items():
        print(f"  not executed: {name}" + (f" ({count} times)" if count > 1 else ""))
    print(f"{target}: {summary['tensors']} tensors, {summary['bytes']:,} bytes")
    return 0
