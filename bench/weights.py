"""Show which checkpoints the localizers need, where each comes from and goes, and whether it is intact.

`python -m bench weights convert FILE` turns a checkpoint that holds more than tensors (a training script's options,
its optimizer, ...), and is therefore refused, into FILE.safetensors. Nothing in the file is executed. Kept is every
dict with text keys that holds more tensors than other things; several are all kept, under their keys, unless --key
names one. The rest is dropped and listed.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
from pathlib import Path

import models
from bench.cli import UsageError


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
    rows = [_row(card.name, file) for card in chosen for file in card.weights]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            size = f"{row['size'] / 1e6:.1f} MB" if row["size"] else "size unknown"
            print(f"{row['model']}: {row['file']} ({size}; {row['licence']}): {row['state'].upper()}")
            git = f"not known; id in git {row['git_sha1']}" if row["git_sha1"] else "not known"
            print(f"    from {row['page']}\n    to   {row['target']}\n    sha256 {row['sha256'] or git}")
    return 0 if all(row["state"].startswith("present") for row in rows) else 1


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


def _row(model: str, file: models.WeightFile) -> dict:
    target = file.path
    return {
        "model": model, "file": file.name, "size": file.size, "licence": file.licence, "page": file.page,
        "target": str(target), "sha256": file.sha256, "git_sha1": file.git_sha1, "state": state(target, file),
    }  # fmt: skip


def state(target: Path, file: models.WeightFile) -> str:
    """ "absent", "damaged" (size or digest differ from what is known) or "present"."""
    from models.checkpoint import CONVERTED

    if not target.exists():
        return "present (converted)" if target.with_name(target.name + CONVERTED).is_file() else "absent"
    if file.size is not None and target.stat().st_size != file.size:
        return f"damaged: {target.stat().st_size} bytes instead of {file.size}"
    if file.sha256 is None and file.git_sha1 is None:
        return "present (digest not known)"
    if file.sha256 is None:
        content = hashlib.sha1(b"blob %d\0" % target.stat().st_size)
        content.update(target.read_bytes())
        return "present" if content.hexdigest() == file.git_sha1 else f"damaged: id in git {content.hexdigest()}"
    with open(target, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return "present" if found == file.sha256 else f"damaged: sha256 {found}"
