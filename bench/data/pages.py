"""The documentation of the test sets, `docs/datasets/`: a page a set, made from its card, and their list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.data.cards import Card, Group, Listed, Subset

RELEASES = {
    "official": "the official release",
    "copy": "a copy: files or names differ from the official release",
    "extraction": "made from the official release by a stated rule",
}
HEAD = "<!-- Made from datasets/{name}.toml by `python -m bench data page --out docs/datasets`; edit the card. -->"


def record(card: Card) -> dict:
    """A card as plain values, for listings."""
    return {
        "name": card.name, "title": card.title, "licence": card.licence, "citation": card.citation, "page": card.page,
        "verified": card.verified, "release": card.release, "copy_of": card.copy_of, "role": card.role,
        "counts": dict(card.counts), "layout": card.layout.strip(), "note": card.note, "audit": card.audit,
        "subsets": [
            {"name": s.name, "used_by": list(s.used_by), "count": dict(s.count), "unknown": s.unknown, "note": s.note}
            for s in card.subset
        ],
        "archives": [{"name": a.name, "sha256": a.sha256} for a in card.archive],
        "known_defects": dict(card.known_defects),
    }  # fmt: skip


def page(card: Card) -> str:
    """The Markdown page of one set."""
    counts = ", ".join(f"{number:,} {kind}" for kind, number in card.counts.items()) or "not exactly known"
    facts = [
        ("Images", counts),
        (
            "Release",
            RELEASES[card.release] + (f"; the photos of [{card.copy_of}]({card.copy_of}.md)" if card.copy_of else ""),
        ),
        ("Use", {"test": "to test", "train": "to train on", "both": "to test or to train on"}[card.role]),
        ("Licence", card.licence),
        ("Where to get it", f"<{card.page}>"),
        ("Cite", card.citation),
        ("Layout verified from", card.verified or "not stated"),
    ]
    lines = [HEAD.format(name=card.name), f"# {card.title}", ""]
    lines += [card.note, ""] if card.note else []
    lines += ["| | |", "|---|---|", *(f"| {key} | {_cell(text)} |" for key, text in facts), ""]
    lines += ["## Files", "", "```", *card.layout.strip().splitlines(), "```", ""]
    lines += ["## Pairing and masks", "", *_pairing(card), "", _mask_rule(card), ""]
    if card.subset:
        lines += ["## Subsets", "", "| `--data` | images | used by | |", "|---|---|---|---|"]
        lines += [_subset_row(card, subset) for subset in card.subset]
        lines.append("")
    if card.known_defects:
        lines += ["## Known defects", "", *_defects(card), ""]
    if card.archive:
        lines += ["## Archives", "", "| file | SHA-256 |", "|---|---|"]
        lines += [f"| {archive.name} | {archive.sha256 or 'not known'} |" for archive in card.archive]
        lines.append("")
    audited = (
        card.audit or "Not audited: no sample was at hand. `python -m bench data audit` asks whoever holds the files."
    )
    lines += ["## Audit", "", audited, "", "## Use", "", "```"]
    lines += [
        f"python -m bench data verify {card.name} --root ROOT",
        f"python -m bench run --data {card.name}:ROOT ...",
    ]
    return "\n".join([*lines, "```", ""])


def index(cards: Sequence[Card]) -> str:
    """The list of all sets."""
    lines = [
        "<!-- Made from the cards by `python -m bench data page --out docs/datasets`. -->",
        "# Test sets",
        "",
        f"{len(cards)} cards, {sum(not card.copy_of for card in cards)} of them of sets of their own; the others are "
        "copies and other qualities.",
        "",
        "| set | tampered | authentic | release | subsets |",
        "|---|---:|---:|---|---|",
    ]
    for card in cards:
        numbers = [f"{card.counts[kind]:,}" if kind in card.counts else "" for kind in ("tampered", "authentic")]
        subsets = ", ".join(subset.name for subset in card.subset)
        release = f"copy of {card.copy_of}" if card.copy_of else card.release
        row = (f"[{card.title}]({card.name}.md) `{card.name}`", *numbers, release, subsets)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def write(cards: Sequence[Card], folder: Path) -> None:
    """All pages and their list below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for card in cards:
        (folder / f"{card.name}.md").write_text(page(card), encoding="utf-8")
    (folder / "README.md").write_text(index(cards), encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _pairing(card: Card) -> list[str]:
    lines = []
    for kind, groups in (("tampered", card.tampered), ("authentic", card.authentic)):
        for group in groups:
            label = group.kind if isinstance(group, Group) and group.kind else kind
            if isinstance(group, Listed):
                beside = f" with `{group.mask}`" if group.mask else ""
                lines.append(f"* {kind}: `{group.image}`{beside}, by the list `{group.list.name}`")
                continue
            beside = f" with `{group.beside.pattern}`" if group.beside else ""
            beside += ", all masks of an image united" if group.union else ""
            beside += f" with the polygons of `{group.polygons.pattern}`" if group.polygons else ""
            if kind == "tampered" and not beside:
                beside = " without a mask: image-level decisions only"
            only = f", those that `{group.only.name}` names" if group.only else ""
            lines.append(f"* {label}: `{group.image.pattern}`{beside}{only}")
    return lines


def _mask_rule(card: Card) -> str:
    rule = card.mask
    if rule.colours:
        return "Masks have classes: " + ", ".join(f"{colour} is {what}" for colour, what in rule.colours) + "."
    if rule.label_step:
        return f"Mask values divided by {rule.label_step} are the number of the source; every source but 0 is forged."
    channel = "the largest channel" if rule.channel == "max" else f"the {rule.channel} channel"
    if rule.threshold is None:
        side = "bright" if rule.forged == "above" else "dark"
        text = f"Forged is what is {side} in {channel}; soft values are kept, the protocol says which count."
    else:
        side = "above" if rule.forged == "above" else "at or below"
        text = f"Forged is what is {side} {rule.threshold} in {channel}."
    if rule.no_score:
        text += f" Values from {rule.no_score[0]} to {rule.no_score[1]} are not scored."
    return text + (" A mask of another size is resized to nearest." if rule.size == "resize" else "")


def _subset_row(card: Card, subset: Subset) -> str:
    counts = ", ".join(f"{number:,} {kind}" for kind, number in subset.count.items())
    note = ("**The list of its members is public nowhere.** " if subset.unknown else "") + subset.note
    return f"| `{card.name}:ROOT@{subset.name}` | {counts} | {', '.join(subset.used_by)} | {_cell(note)} |"


def _defects(card: Card) -> list[str]:
    problems: dict[str, list[str]] = {}
    for file, problem in card.known_defects.items():
        problems.setdefault(problem, []).append(f"`{file}`")
    return [f"* {problem}: {', '.join(files)}" for problem, files in problems.items()]
