"""The pages of docs/ that are made from the code: protocols, metrics, and why your number differs.

    python -m bench.metrics.pages docs

writes protocols.md, metrics.md and why-your-number-differs.md there; a test checks that they are current.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.files import write_atomic
from bench.metrics.describe import costs, metric_records, protocol_records
from bench.metrics.evaluate import evaluate, evaluate_set

COLUMNS = (
    ("protocol", lambda r: f"[{r['name']}](#{r['name']})"),
    ("forged where the mask is", lambda r: r["mask_rule"]),
    ("map", lambda r: r["view"]),
    ("threshold", lambda r: r["threshold"]),
    ("polarity", lambda r: r["polarity"]),
    ("images", lambda r: r["images"]),
    ("empty cases", lambda r: r["empty"]),
    ("undefined values", lambda r: "left out" if r["average"] == "nanmean" else "make the mean NaN"),
)


def protocols_page() -> str:
    """docs/protocols.md."""
    records = protocol_records()
    parts = [
        "# Protocols, side by side",
        "A protocol is how score maps become numbers: which mask values are forged, what is done to the map, where "
        "the threshold lies, which images count, what an empty case gives, how the mean is taken. The published ones "
        "give what the original code gives, its mistakes included; a mistake has a name, and there is a `-corrected` "
        "twin without it. A number never travels without its protocol.",
        "Made from the code by `python -m bench.metrics.pages docs`; do not edit.",
        _table([name for name, _ in COLUMNS], [[str(of(r)) for _, of in COLUMNS] for r in records]),
        "Pixels that cannot be scored (no-score zones of a set, pixels that a geometric perturbation made up) count "
        "nowhere; where a protocol resizes, a result that depends on one of them does not count either. On maps "
        "of kind `score`, which have no scale, metrics at a fixed threshold are NaN.",
        "## What they cost",
        f"Measured on {costs()['measured_on']}; each protocol alone, and all together, where they share what they can.",
        _table(
            ["protocol", "seconds", "bytes per map"],
            [[r["name"], f"{r['seconds']:.3f}", str(r["bytes"])] for r in records if "seconds" in r]
            + [[f"**{name}**", f"{c['seconds']:.3f}", str(c["bytes"])] for name, c in costs()["together"].items()],
        ),
    ]
    return "\n\n".join([*parts, *map(_protocol, records)]) + "\n"


def _protocol(record: dict) -> str:
    lines = [f"## {record['name']}", f"**{record['title']}**, version {record['version']}. {record['description']}"]
    about = [f"* Image level: {record['image_rule']}."]
    about.append(f"* Per image: {_codes(record['metrics'])}.")
    if record["set_metrics"]:
        about.append(f"* Of the whole set: {_codes(record['set_metrics'])}.")
    for quirk in record["quirks"]:
        kind = "Mistake" if quirk["defect"] else "Choice"
        about.append(f"* {kind} `{quirk['name']}`: {quirk['description']}")
    if record["twin"]:
        corrected = record["name"].endswith("-corrected")
        about.append(
            f"* {'With its mistakes' if corrected else 'Without its mistakes'}: [{record['twin']}](#{record['twin']})."
        )
    if record["original"]:
        about.append(f"* Original: {record['original']}. {record['paper']}.")
    return "\n\n".join([*lines, "\n".join(about)])


def metrics_page() -> str:
    """docs/metrics.md."""
    parts = [
        "# Metrics",
        "Counts are of pixels: TP forged and called forged, FP pristine and called forged, FN forged and missed, TN "
        "the rest. What is called forged, and what 0/0 gives, is the [protocol's](protocols.md) rule. *image*: one "
        "value per image, of which the protocol takes the mean; *set*: one value per test set.",
        "Made from the code by `python -m bench.metrics.pages docs`; do not edit.",
    ]
    rows = []
    for r in metric_records():
        arrow = {"up": "larger is better", "down": "smaller is better", "neither": "neither"}[r["direction"]]
        said = r["definition"] + (f" **Pitfall:** {r['pitfall']}" if r["pitfall"] else "")
        bounds = " to ".join("any" if r[end] is None else f"{r[end]:g}" for end in ("low", "high"))
        rows.append(
            [f"`{r['name']}`", r["title"], said, r["scope"], bounds, arrow, r["empty"], ", ".join(r["protocols"])]
        )
    head = ["name", "title", "definition", "scope", "range", "direction", "0/0", "protocols"]
    return "\n\n".join([*parts, _table(head, rows)]) + "\n"


@dataclass(frozen=True)
class Trap:
    """A cause of differing numbers, with the smallest map that shows it.

    numbers: (protocol, metric) to show of this map.
    """

    title: str
    text: str
    score: np.ndarray
    mask: np.ndarray
    numbers: tuple[tuple[str, str], ...]
    of_set: Callable[[str], dict[str, float]] | None = None  # where they are of a set: protocol -> its numbers

    def text_of_numbers(self) -> str:
        """A table of what the protocols say."""
        rows = []
        for protocol, metric in self.numbers:
            got = self.of_set(protocol) if self.of_set else evaluate(self.score, self.mask, protocol)
            rows.append([protocol, f"`{metric}`", f"{got[metric]:.3f}"])
        return _table(["protocol", "metric", "value"], rows)


def traps() -> list[Trap]:
    """The traps, each on a map as small as it can be."""
    mask = np.array([[255, 0, 0, 0]], np.uint8)
    good, empty = np.array([[0.9, 0.1, 0.1, 0.1]], np.float32), np.array([[0.1, 0.1, 0.1, 0.1]], np.float32)
    nothing = np.zeros_like(mask)

    def with_authentic(protocol: str) -> dict[str, float]:
        items = [(good, "probability", mask, True, None), (empty, "probability", nothing, False, None)]
        return evaluate_set(items, protocol)

    wide = np.zeros((20, 40), np.uint8)
    wide[:, :20] = 255
    thin = np.zeros((20, 40), np.uint8)
    thin[:, 10:16] = 255
    line = np.zeros((20, 256), bool)
    line[:, 100:103] = True  # of which 64 x 64 sees columns 101 and 102
    return [
        Trap(
            "Which mask values are forged",
            "Soft edges, and masks of 0 and 1, are forged for some and pristine for others.",
            *(np.array([[0.9, 0.9, 0.1, 0.1]], np.float32), np.array([[255, 100, 0, 0]], np.uint8)),
            (("mpc", "f1"), ("mvss", "f1"), ("ifosn", "f1"), ("ifosn", "auc")),
        ),
        Trap(
            "The threshold is not always one half",
            "127/255 is .498: a map of exactly one half is empty or full.",
            *(np.array([[0.5, 0.5, 0.5, 0.5]], np.float32), mask),
            (("native", "f1"), ("mpc", "f1"), ("mvss", "f1"), ("ifosn", "f1"), ("catnet", "iou")),
        ),
        Trap(
            "An empty map on a forged image",
            "F1 of the forged class is 0, the mean of both classes far from it.",
            *(empty, mask),
            (("native", "f1"), ("focal", "macro_f1"), ("hifi", "macro_f1"), ("catnet", "mean_iou")),
        ),
        Trap(
            "An inverted map",
            "Who takes the better of map and inverted map forgives any map that is wrong throughout.",
            *(1 - good, mask),
            (
                *(("native", "f1"), ("imdlbenco", "f1"), ("imdlbenco", "double_f1"), ("safire", "permuted_f1")),
                *(("hifi", "macro_f1"), ("hifi-corrected", "macro_f1")),
            ),
        ),
        Trap(
            "Authentic images in the mean",
            "A perfect map and a perfect authentic image: half of the F1, if the latter counts with 0.",
            *(good, mask),
            (("native", "f1"), ("imdlbenco", "f1"), ("catnet", "mean_iou"), ("catnet-corrected", "mean_iou")),
            with_authentic,
        ),
        Trap(
            "Ground truth and map both empty",
            "1, 0, both at once, or not defined.",
            *(empty, nothing),
            (
                ("native", "f1"),
                ("mpc", "f1"),
                ("mpc", "iou"),
                ("mvss", "f1"),
                ("imdlbenco", "f1"),
                ("focal", "macro_f1"),
            ),
        ),
        Trap(
            "Margins around the edge",
            "A map that is 4 pixels too wide: the errors lie in the margin that is not scored.",
            *((np.roll(wide, 4, axis=1) | wide).astype(np.float32) / np.float32(255), wide),
            (("native", "f1"), ("trufor", "f1"), ("nist-maskscorer", "actual_mcc")),
        ),
        Trap(
            "A forged region that the margins swallow",
            "6 pixels wide, missed by the map: left out, 0, or undefined.",
            *(np.zeros((20, 40), np.float32), thin),
            (("trufor", "f1"), ("trufor", "best_f1"), ("trufor-corrected", "f1"), ("safire", "f1")),
        ),
        Trap(
            "A map of ones",
            "No threshold lies above 1: the curve of PhotoHolmes begins there, and its area is 0.",
            *(np.ones((1, 4), np.float32), mask),
            (("native", "auc"), ("photoholmes", "auc"), ("photoholmes-corrected", "auc"), ("imdlbenco", "auc")),
        ),
        Trap(
            "Scored at another size",
            "A forged line 3 pixels wide of 256, of which the map finds 2; at 64 x 64 only these are seen.",
            *((line & (np.arange(256) > 100)).astype(np.float32), line.astype(np.uint8) * np.uint8(255)),
            (("native", "iou"), ("focal", "iou"), ("focal-hrnet", "iou")),
        ),
        Trap(
            "The best threshold of each image",
            "Chosen with the ground truth of the image itself; no user has it.",
            *(np.array([[0.4, 0.3, 0.1, 0.1]], np.float32), mask),
            (("native", "f1"), ("native", "best_f1"), ("trufor", "f1"), ("trufor", "best_f1")),
        ),
        Trap(
            "Soft scores instead of a threshold",
            "A map that is right at one half is far from perfect where its scores are taken for shares.",
            *(np.array([[0.6, 0.4, 0.4, 0.4]], np.float32), mask),
            (("photoholmes", "f1"), ("photoholmes", "soft_f1")),
        ),
    ]


def traps_page() -> str:
    """docs/why-your-number-differs.md."""
    parts = [
        "# Why your number differs",
        "The traps between two numbers for the same maps, each with the smallest map that shows it. For a run of your "
        "own, the report computes which of them matter on your maps (`bench.metrics.differences`).",
        "Made from the code by `python -m bench.metrics.pages docs`; do not edit.",
    ]
    for trap in traps():
        parts.append(f"## {trap.title}\n\n{trap.text}\n\n{_picture(trap)}\n\n{trap.text_of_numbers()}")
    return "\n\n".join(parts) + "\n"


def _picture(trap: Trap) -> str:
    if trap.score.size > 40:  # equal rows: one of them, what differs and 20 pixels around
        differs = np.flatnonzero(np.diff(trap.mask[0].astype(int)))
        start = max(0, min(differs[0] - 20, trap.mask.shape[1] - 40))
        window = slice(start, start + 40)
        score = "".join("#" if value > 0.5 else "." for value in trap.score[0, window])
        mask = "".join("#" if value else "." for value in trap.mask[0, window])
        where = f"columns {start} to {start + 39} of {trap.mask.shape[1]}, {len(trap.mask)} equal rows"
        return f"```\nmap   {score}\nmask  {mask}\n      {where}\n```"
    lines = [
        f"map   {'  '.join(f'{v:.2f}' for v in score)}\nmask  {'  '.join(f'{v:>4}' for v in mask)}"
        for score, mask in zip(trap.score, trap.mask, strict=True)
    ]
    return "```\n{}\n```".format("\n".join(lines))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


PAGES = {
    "protocols.md": protocols_page,
    "metrics.md": metrics_page,
    "why-your-number-differs.md": traps_page,
}


def main(folder: str) -> None:
    """Write all pages into a folder."""
    for name, page in PAGES.items():
        write_atomic(Path(folder, name), page())


if __name__ == "__main__":
    main(*sys.argv[1:])
