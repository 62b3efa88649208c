"""What can be said of every image of a set by decoding it once: container, tables, sizes, masks, likeness."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import joblib
import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin
from tqdm import tqdm

from bench.data.sets import Sample, TestSet
from models.image import ImageError, decode_rgb, opened, read_bytes, stored_orientation

GRID = 32  # squares a side into which the forged area is counted
CHUNK = 16  # images a task
FEW = 64  # images that are not worth starting processes for
CHROMA = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
# The luminance table of the JPEG standard (ITU-T T.81, Table K.1), sorted: order does not matter for its scale.
STANDARD = np.sort(np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
]))  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """Of one image. problem: why it cannot be used, "" where it can; the rest is then meaningful.

    tables: digest of the JPEG's quantization tables, quality: the nearest of libjpeg (both empty for other formats).
    likeness: perceptual hash of 64 bits. pixels: digest of the decoded photo. share: forged part of the pixels, None
    where the set does not say. area: the forged part of each square of a GRID x GRID raster, uint8. levels: the three
    most frequent values of the ground truth.
    """

    id: str
    tampered: bool
    kind: str
    source: str
    problem: str = ""
    fingerprint: str = ""
    format: str = ""
    mode: str = ""
    height: int = 0
    width: int = 0
    tables: str = ""
    quality: int | None = None
    chroma: str = ""
    progressive: bool = False
    exif: bool = False
    software: str = ""
    orientation: int = 1
    pixels: str = ""
    likeness: int = 0
    share: float | None = None
    levels: tuple[int, ...] = ()
    area: np.ndarray | None = field(default=None, repr=False, compare=False)


def gather(test_set: TestSet, what: str, workers: int | None = None) -> list[Facts]:
    """The facts of every usable image of a set, in order, on all cores, with a progress bar called `what`."""
    workers = min(workers or os.cpu_count() or 1, 1 + len(test_set.samples) // FEW)
    plain = dataclasses.replace(test_set, samples=[], defects=[], remarks=[])
    chunks = [test_set.samples[start : start + CHUNK] for start in range(0, len(test_set.samples), CHUNK)]
    tasks = (joblib.delayed(_facts_of)(plain, chunk) for chunk in chunks)
    found: list[Facts] = []
    with tqdm(total=len(test_set.samples), desc=f"{what} {test_set.name}", unit="image", disable=None) as bar:
        for part in joblib.Parallel(n_jobs=workers, return_as="generator")(tasks):
            found += part
            bar.update(len(part))
    return found


def _facts_of(test_set: TestSet, samples: Sequence[Sample]) -> list[Facts]:
    cv2.setNumThreads(1)
    return [facts(test_set, sample) for sample in samples]


def facts(test_set: TestSet, sample: Sample) -> Facts:
    """Decode one image and its ground truth. Never raises for a bad file: its problem is one of the facts."""
    about = Facts(sample.id, sample.tampered, sample.kind, sample.source or sample.id)
    try:
        fingerprint = test_set.fingerprint(sample)
        data = read_bytes(sample.image)
        with opened(data) as image:
            container = _container(image)
        rgb = decode_rgb(data)
        return dataclasses.replace(
            about, **container, **_truth(test_set, sample),
            fingerprint=fingerprint, height=rgb.shape[0], width=rgb.shape[1],
            pixels=hashlib.sha256(np.ascontiguousarray(rgb).data).hexdigest(), likeness=perceptual_hash(rgb),
        )  # fmt: skip
    except ImageError as error:
        return dataclasses.replace(about, problem=str(error).removeprefix(f"{sample.id}: "))


def _container(image: Image.Image) -> dict:
    found: dict[str, object] = {"format": "JPEG" if image.format == "MPO" else image.format, "mode": image.mode}
    exif = image.getexif()
    has_exif = ExifTags.IFD.Exif in exif if image.format == "TIFF" else bool(exif)  # a TIFF's own tags are no EXIF
    found |= {"exif": has_exif, "software": str(exif.get(ExifTags.Base.Software, ""))[:40]}
    found["orientation"] = stored_orientation(image)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        tables = {number: list(values) for number, values in sorted(image.quantization.items())}
        found["tables"] = hashlib.sha256(repr(tables).encode()).hexdigest()[:12]
        found["quality"] = jpeg_quality(next(iter(tables.values()))) if tables else None
        sampling = JpegImagePlugin.get_sampling(image)
        found["chroma"] = CHROMA.get(sampling, "grey" if image.mode == "L" else "other")
        found["progressive"] = bool(image.info.get("progressive"))
    return found


def jpeg_quality(table: Sequence[int]) -> int:
    """The quality of libjpeg whose luminance table is nearest to this one of 64 steps, in any order."""
    steps = np.sort(np.asarray(table))
    return int(np.argmin([np.abs(steps - scaled).sum() for scaled in _scaled_tables()])) + 1


@functools.cache
def _scaled_tables() -> list[np.ndarray]:
    scales = [5000 // q if q < 50 else 200 - 2 * q for q in range(1, 101)]
    return [np.clip((STANDARD * scale + 50) // 100, 1, 255) for scale in scales]


def perceptual_hash(rgb: np.ndarray) -> int:
    """64 bits that are alike for photos that look alike (pHash).

    The signs of the lowest DCT terms of a 32 x 32 thumbnail about their median.

    Source: Zauner, Implementation and benchmarking of perceptual image hash functions, 2010.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def _truth(test_set: TestSet, sample: Sample) -> dict:
    if not sample.located:
        return {}
    truth = test_set.read_truth(sample)
    forged = truth.forged
    levels = np.bincount(truth.values.ravel(), minlength=256)
    frequent = [int(level) for level in np.argsort(-levels, kind="stable")[:3] if levels[level]]
    area = cv2.resize(forged.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    return {"share": float(forged.mean()), "levels": tuple(frequent), "area": np.rint(area * 255).astype(np.uint8)}


def same(found: Sequence[Facts], key: str) -> list[list[str]]:
    """Ids of the usable images that share a digest, in groups of two and more."""
    groups: dict[str, list[str]] = {}
    for one in found:
        if not one.problem:
            groups.setdefault(getattr(one, key), []).append(one.id)
    return [ids for ids in groups.values() if len(ids) > 1]


def centre_auc(found: Sequence[Facts]) -> float | None:
    """Mean over images of the AUC of the distance from the image's middle, nearer = forged; None without masks.

    On a raster of GRID x GRID squares, ties at half: what a localizer that never looks at the photo reaches.
    """
    values = [_raster_auc(one.area / 255.0) for one in found if one.area is not None]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _raster_auc(area: np.ndarray) -> float | None:
    """AUC of nearness to the middle, each square counted as its forged and its pristine part."""
    order, ends = _rings()
    forged = np.add.reduceat(area.ravel()[order], ends)
    pristine = np.add.reduceat(1 - area.ravel()[order], ends)
    if not forged.sum() or not pristine.sum():
        return None
    farther = pristine.sum() - np.cumsum(pristine)
    return float((forged * (farther + pristine / 2)).sum() / (forged.sum() * pristine.sum()))


@functools.cache
def _rings() -> tuple[np.ndarray, np.ndarray]:
    """Order of the squares from the middle outwards, and where each distance begins."""
    place = np.arange(GRID) - (GRID - 1) / 2
    distance = np.round(place[:, None] ** 2 + place[None] ** 2, 6).ravel()
    order = np.argsort(distance, kind="stable")
    return order, np.flatnonzero(np.diff(distance[order], prepend=-1))


def near_pairs(hashes: Sequence[int], distance: int = 3) -> Iterator[tuple[int, int]]:
    """Places (i, j), i < j, of hashes that differ in at most `distance` of 64 bits.

    Of `distance` + 1 bands of bits at least one is then equal, so that only images that share a band are compared.
    """
    bands, width = distance + 1, 64 // (distance + 1)
    seen: set[tuple[int, int]] = set()
    for band in range(bands):
        groups: dict[int, list[int]] = {}
        for place, value in enumerate(hashes):
            groups.setdefault(value >> (band * width) & ((1 << width) - 1), []).append(place)
        for places in groups.values():
            values = np.array([hashes[place] for place in places], np.uint64)
            for first in range(len(places) - 1):
                differing = np.bitwise_count(values[first + 1 :] ^ values[first])
                for other in np.flatnonzero(differing <= distance) + first + 1:
                    pair = places[first], places[other]
                    if pair not in seen:
                        seen.add(pair)
                        yield pair
