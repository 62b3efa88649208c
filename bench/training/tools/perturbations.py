"""Write docs/perturbations.md, the calibration, and pictures of the levels.

Run it with

    python -m bench.training.tools.perturbations [--pictures DIR]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from bench import calibration
from bench.perturb import GRIDS, STEPS, Perturbation, Step, level_text, parse
from bench.truth import Truth
from models.image import ForensicImage, read_image

PAGE = Path("docs/perturbations.md")
AXIS = (40, 34, 30, 26)  # dB
TITLES = {  # files of `families` in the order of the page
    "jpeg": "JPEG", "jpeg_variants": "JPEG as others write it", "double_jpeg": "Double JPEG", "codecs": "Other codecs",
    "heic": "HEIC", "jxl": "JPEG XL", "resize": "Size", "sampling": "Sampling", "blur": "Gaussian blur",
    "filters": "Filters", "noise": "Gaussian noise", "sensor_noise": "Other noise", "photometric": "Tone and colour",
    "histogram": "Histogram", "optics": "Optics", "geometry": "Geometry in whole pixels",
    "warps": "Geometry that resamples", "networks": "Social networks and messengers", "imdlbenco": "IMDL-BenCo's",
    "safire": "SAFIRE's", "hifi": "HiFi-Net's", "mpc": "MPC's",
}  # fmt: skip
# ruff: noqa: E501 (rows of tables)
INTRODUCTION = """\
# Perturbations

Made by `python -m bench.training.tools.perturbations` from the code, do not edit. `python -m bench list perturbations` prints the same
facts, and those of perturbations that other packages add (entry-point group `bench.perturbations`).

A spec is `NAME:LEVEL[,LEVEL...]`, or `NAME` where there is no level; `+` makes a chain, `;` separates specs:
`--perturbations "standard;webp:80;crop:0.9+jpeg:70"`. Random ones are seeded by test set, image, spec, place in the
chain and `--seed`. **Geometric** ones move the ground truth with the image; pixels that come from outside of it are not
scored. `resize` and its like are not geometric: they are scored at the size of the ground truth.

PSNR: median over the authentic photos of the built-in set, against the original (of geometric ones against the original
moved likewise, so that a move alone has none). A run measures and reports that of its own images.
Pictures of the levels: `python -m bench.training.tools.perturbations --pictures DIR` (made in CI as well).

## The same label means different things

| label | IMDL-BenCo, Mesorch, SparseViT, IML-ViT | SAFIRE | HiFi-Net | tables of SPAN and PSCC-Net | MPC | here |
|---|---|---|---|---|---|---|
| noise | **variance** in squared grey levels: 23 is std 4.8; truncated | **std** in grey levels; truncated | "15" is a variance of 15/255 on 0..1: std **61.8** | "sigma", no code | "intensity" .002 to .01, undefined | std in grey levels, rounded |
| blur | kernel k, sigma 0.3((k-1)/2-1)+0.8, OpenCV's fixed kernels up to 7 | the same | Pillow's radius 7 for "k = 15": sigma 7, not 2.6 | k, no code | k, no code | kernel k, the rule for sigma at every k |
| JPEG | quality drawn from q-1, q; red and blue swapped | the same | Pillow's 50 | no code | no code | quality q, 4:2:0, as Pillow |
| gamma | none | reciprocal of the exponent: 0.7 darkens | none | none | none | the exponent: 0.7 brightens |

Theirs are reproduced under their names (`imdlbenco_noise`, `safire_gamma`, ...), never under ours.
"""


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calibrate", action="store_true", help="measure calibration.csv anew (minutes)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write a picture of each perturbation's levels")
    args = parser.parse_args()
    if args.calibrate:
        calibration.calibrate(_photos(), calibration.examples()).to_csv(calibration.TABLE, index=False)
    if args.pictures:
        pictures(args.pictures)
    PAGE.write_text(markdown(), encoding="utf-8")


def markdown() -> str:
    """The page."""
    table = calibration.read()
    parts = [INTRODUCTION, "\n## The perturbations\n"]
    families: dict[str, list[Step]] = {}
    for s in own():
        families.setdefault(s.function.__module__.rpartition(".")[2], []).append(s)
    for family in sorted(families, key=lambda f: list(TITLES).index(f) if f in TITLES else len(TITLES)):
        parts.append(f"\n### {TITLES.get(family, family)}\n")
        parts += [_entry(s, table) for s in families[family]]
    parts += ["\n## Levels that leave the same PSNR\n", _axis(table), "\n## Named grids\n", *map(_grid, GRIDS)]
    return "\n".join(parts).rstrip() + "\n"


def own() -> list[Step]:
    """The perturbations of this suite, without those of other packages."""
    return [s for s in STEPS.values() if s.function.__module__.startswith("bench.perturb.families.")]


def _entry(s: Step, table) -> str:
    facts = [
        f"level: {s.range}" if s.values != "none" else "no level",
        "" if s.identity is None else f"`{s.name}:{level_text(s.identity)}` changes no pixel",
        "" if s.deterministic else "random",
        "**geometric**" if s.geometric else "",
        f"also called {', '.join(f'`{a}`' for a in s.aliases)}" if s.aliases else "",
        f"evidence: **{s.evidence}**" if s.evidence else "",
        f"needs `pip install 'forgery-bench[{s.extra}]'`" if s.extra else "",
        f"source: {s.source}",
    ]
    rows = table[table["spec"].str.partition(":")[0] == s.name]
    measured = ", ".join(
        (f"{row.level}: " if s.values != "none" else "")
        + _psnr(row.psnr)
        + (f" ({row.scorable:.0%} scorable)" if row.scorable < 1 else "")
        for row in rows.itertuples()
    )
    return f"**`{s.name}`** {s.law}\n{'; '.join(filter(None, facts))}." + (
        f"\nPSNR {measured}.\n" if measured else "\n"
    )


def _psnr(value: float) -> str:
    return "no change" if np.isinf(value) else "not measured" if np.isnan(value) else f"{value:.1f} dB"


def _axis(table) -> str:
    lines = [f"| perturbation | {' | '.join(f'{p} dB' for p in AXIS)} |", "|---|" + "---|" * len(AXIS)]
    for s in own():
        if s.values in ("integer", "odd", "real"):
            levels = [calibration.level_at(table, s.name, psnr) for psnr in AXIS]
            if any(level is not None for level in levels):
                shown = " | ".join("" if level is None else f"{level:.3g}" for level in levels)
                lines.append(f"| `{s.name}` | {shown} |")
    return "Interpolated between the measured levels.\n\n" + "\n".join(lines)


def _grid(name: str) -> str:
    grid = GRIDS[name]
    count = len(parse(grid.text)) - 1
    source = f" Source: {grid.source}." if grid.source else ""
    return f"**`{name}`**, {count} levels: {grid.about}.{source}\n`{grid.text}`\n"


def pictures(folder: Path) -> None:
    """One PNG a perturbation: the original and its levels, side by side, with what cannot be scored in red."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = next(iter(_photos().values()))
    detail = ForensicImage(np.ascontiguousarray(photo.rgb[40:232, 150:374]))
    for s in STEPS.values():
        if not s.installed:
            continue
        tiles = [_tile(detail.rgb, None, "original")]
        for level in s.examples:
            made = Perturbation(((s.name, level),)).apply_pair(detail, Truth.pristine(detail.shape), ("docs", "photo"))
            tiles.append(_tile(made.image.rgb, made.truth.scorable, level_text(level) or s.name))
        Image.fromarray(np.concatenate(tiles, axis=1)).save(folder / f"{s.name}.png")


def _tile(rgb: np.ndarray, scorable: np.ndarray | None, caption: str, size: tuple[int, int] = (224, 192)) -> np.ndarray:
    if scorable is not None:
        rgb = np.where(scorable[..., None], rgb, np.array([200, 40, 40], np.uint8))
    factor = min(size[0] / rgb.shape[1], size[1] / rgb.shape[0])
    fitted = cv2.resize(
        rgb, (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)), interpolation=cv2.INTER_NEAREST
    )
    tile = Image.new("RGB", (size[0] + 4, size[1] + 20), "white")
    tile.paste(Image.fromarray(fitted), (2, 18))
    ImageDraw.Draw(tile).text((4, 3), caption, fill="black")
    return np.asarray(tile)


def _photos() -> dict[str, ForensicImage]:
    from bench.data import open_test_sets

    (built_in,) = open_test_sets(calibration.TEST_SET)
    return {sample.id: read_image(sample.image) for sample in built_in.samples if not sample.tampered}


if __name__ == "__main__":
    main()
