"""Show which checkpoints the localizers need, where each comes from and goes, and whether it is intact."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
from pathlib import Path

import models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench weights`."""
    parser.add_argument("name", nargs="?", help="one localizer (default: all)")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit code 0 when every listed file is present and intact, 1 when one is absent or damaged."""
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
            print(f"    from {row['page']}\n    to   {row['target']}\n    sha256 {row['sha256'] or 'not known'}")
    return 0 if all(row["state"].startswith("present") for row in rows) else 1


def _row(model: str, file: models.WeightFile) -> dict:
    target = file.path
    return {
        "model": model, "file": file.name, "size": file.size, "licence": file.licence, "page": file.page,
        "target": str(target), "sha256": file.sha256, "state": state(target, file),
    }  # fmt: skip


def state(target: Path, file: models.WeightFile) -> str:
    """ "absent", "damaged" (size or digest differ from what is known) or "present"."""
    if not target.exists():
        return "absent"
    if file.size is not None and target.stat().st_size != file.size:
        return f"damaged: {target.stat().st_size} bytes instead of {file.size}"
    if file.sha256 is None:
        return "present (digest not known)"
    with open(target, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return "present" if found == file.sha256 else f"damaged: sha256 {found}"
