"""Show which checkpoints the localizers need, where each comes from and goes, and whether it is intact.

`python -m bench weights convert FILE` turns a checkpoint that holds more than tensors (a training script's options,
its optimizer, ...), and is therefore refused, into FILE.safetensors. Nothing in the file is executed. Kept is every
dict with text keys that holds more tensors than other things; several are all kept, under their keys, unless --key
names one. The rest is dropped and listed.
"""

from __future__ import annotations

import argparse
import json

import models
from bench.usage import UsageError, path
from bench.weights import row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench weights`."""
    parser.add_argument("name", nargs="?", help="one localizer (default: all), or the word convert")
    parser.add_argument("file", nargs="?", type=path, help="after convert: the checkpoint")
    parser.add_argument("--require", metavar="NAMES", help="localizers or groups whose files must be here and intact")
    parser.add_argument("--out", type=path, help="after convert: the file to write (default: FILE.safetensors)")
    parser.add_argument("--key", help="after convert: the only state dict to keep, e.g. model or model.ema")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0, or 1 when a file is damaged or one of a localizer that was named or required is absent."""
    if args.name == "convert":
        return _convert(args)
    if args.file or args.out or args.key:
        raise UsageError("a file, --out and --key go with: python -m bench weights convert FILE")
    named = args.require if args.require is not None else args.name
    required = _cards(named) if named is not None else []
    shown = [card for card in models.cards() if card.weights] if args.name is None else _cards(args.name)
    rows = [row(card.name, file) for card in dict.fromkeys([*shown, *required]) for file in card.weights]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        for card in shown:
            if not card.weights:
                print(f"{card.name}: needs no checkpoint from elsewhere; what it uses is part of the suite")
        for entry in rows:
            size = f"{entry['size'] / 1e6:.1f} MB" if entry["size"] else "size unknown"
            print(f"{entry['model']}: {entry['file']} ({size}; {entry['licence']}): {entry['state'].upper()}")
            git = f"not known; id in git {entry['git_sha1']}" if entry["git_sha1"] else "not known"
            print(f"    from {entry['page']}\n    to   {entry['target']}\n    sha256 {entry['sha256'] or git}")
    must = {card.name for card in required}
    bad = [
        entry for entry in rows
        if entry["state"].startswith("damaged") or (entry["model"] in must and entry["state"] == "absent")
    ]  # fmt: skip
    return 1 if bad else 0


def _cards(names: str) -> list[models.ModelCard]:
    """The cards of localizers and groups, joined by commas. Raises UnknownModel with the nearest name."""
    groups = models.groups()
    listed = filter(None, (name.strip() for name in names.split(",")))
    members = [member for name in listed for member in groups.get(name, [name])]
    return [models.find(name).card for name in dict.fromkeys(members)]


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
