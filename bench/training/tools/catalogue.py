"""What the suite has, from the code and the cards: the table of README.md and docs/localizers.md.

    python -m bench.training.tools.catalogue

writes both anew; a test checks that they are current.
"""

from __future__ import annotations

import re
from pathlib import Path

import models
from bench.data.cards import load_all
from bench.files import write_atomic
from bench.metrics.describe import metric_records, protocol_records
from bench.perturb import describe
from bench.usage import UsageError
from models import ModelCard

README, PAGE = Path("README.md"), Path("docs/localizers.md")
BLOCK = re.compile(r"(<!-- Made by `python -m bench\.training\.tools\.catalogue`.*? -->\n).*?(<!-- end -->)", re.DOTALL)
KINDS = {
    "deep": "Published networks",
    "classical": "Classical methods",
    "controls": "Controls",
    "": "Everything else",
}
ABOUT = {
    "deep": "Weights are the authors' and are not shipped: `python -m bench weights NAME` says where each file comes "
    "from, where it goes, and its licence.",
    "classical": "Only `adaptive-cfa` needs weights. How well they do: "
    "[classical localizers on real images](results/classical.md).",
    "controls": "They look at no trace of a forgery; a localizer that does not beat them has shown nothing.",
    "": "`mpc` is this repository's own small checkpoint; the others take a file or a folder of yours.",
}


def kind(card: ModelCard) -> str:
    """The key of KINDS under which a localizer is listed."""
    return next((group for group in KINDS if group in card.groups), "")


def table() -> str:
    """The table of README.md: how many of each there are, the best known ones, and the page that lists all."""
    cards, sets, perturbations = models.cards(), load_all(), describe()
    protocols, metrics = protocol_records(), metric_records()
    grids = [record["name"] for record in perturbations if record["type"] == "grid"]
    networks = [card.name for card in cards if kind(card) == "deep"]
    classical = [card.name for card in cards if kind(card) == "classical"]
    corrected = sum(record["name"].endswith("-corrected") for record in protocols)
    own = sum(not card.copy_of for card in sets)
    shown = [record["name"] for record in protocols if not record["name"].endswith("-corrected")]
    rows = [
        ("Published networks", len(networks), _codes(networks), "localizers.md#published-networks"),
        ("Classical methods", len(classical), _codes(classical), "localizers.md#classical-methods"),
        (
            "Test sets",
            len(sets),
            f"{own} of them of sets of their own, the others of copies and other qualities: CASIA, NIST16, Columbia, "
            "COVERAGE, DSO-1, IMD2020, Korus, CocoGlide, OpenForensics, ...",
            "datasets/README.md",
        ),
        (
            "Perturbations",
            len(perturbations) - len(grids),
            f"and {len(grids)} named grids: {_codes(grids)}",
            "perturbations.md",
        ),
        ("Protocols", len(protocols), f"{_codes(shown)}; {corrected} `-corrected` twins", "protocols.md"),
        (
            "Metrics",
            len(metrics),
            "pixel F1 (fixed and best threshold), IoU, MCC, AUC, AP, image-level ones, ...",
            "metrics.md",
        ),
    ]
    lines = [f"| [{title}](docs/{page}) | {count} | {text} |" for title, count, text, page in rows]
    return "\n".join(["| | number | which |", "|---|--:|---|", *lines, ""])


def page() -> str:
    """docs/localizers.md."""
    parts = [
        "# Localizers",
        "`--models` takes these names, the groups `deep`, `classical`, `baselines`, `controls` and `all`, and "
        "`package.module:Class`. `python -m bench list models` says which are ready.",
        "Made by `python -m bench.training.tools.catalogue`; do not edit.",
    ]
    for name, title in KINDS.items():
        rows = [_row(card) for card in models.cards() if kind(card) == name]
        parts += [f"## {title}", ABOUT[name], "\n".join([HEAD, *rows])]
    return "\n\n".join(parts) + "\n"


HEAD = "| name | title | paper | trained on | licence | remarks |\n|---|---|---|---|---|---|"


def _row(card: ModelCard) -> str:
    remarks = [f"in `{group}`" for group in card.groups if group not in KINDS]
    remarks += ["JPEG files only"] * card.needs_jpeg
    remarks += [f"{card.parameters / 1e6:.1f} M parameters"] if card.parameters else []
    texts = [card.title, card.paper, ", ".join(card.trained_on), card.licence, ", ".join(remarks)]
    return " | ".join([f"| `{card.name}`", *(text.replace("|", "\\|") for text in texts)]) + " |"


def _codes(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def readme(text: str) -> str:
    """README.md with the table of today."""
    if not BLOCK.search(text):
        raise UsageError(f"{README}: the comments around the table are gone")
    return BLOCK.sub(lambda match: match[1] + table() + match[2], text)


if __name__ == "__main__":
    write_atomic(README, readme(README.read_text(encoding="utf-8")))
    write_atomic(PAGE, page())
