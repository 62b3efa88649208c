"""Write perturbed images for a tool that lives elsewhere.

DIR/images/ receives one file an image and perturbation: JPEG results as their very bytes, all others as PNG.
DIR/manifest.json says what each file is. Let the tool, which must ignore an EXIF rotation as masks do, write
one score map a file into DIR/maps/, named like the file (image.jpg -> image.npy, .npz, .png or .tiff). Then
score them: python -m bench run --models maps:DIR, which takes data, perturbations, seed and limit from the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from bench import __version__
from bench.data import Sample, TestSet
from bench.files import write_atomic
from bench.perturb import Perturbation, PerturbationError
from models.image import ForensicImage, ImageError, read_image

PNG_MAGIC = b"\x89PNG"
PNG_RGB8 = b"\x08\x02"  # bit depth and colour type, bytes 24 and 25 of the file
NOT_PORTABLE = re.compile(r"[^A-Za-z0-9]+")


class ExportError(RuntimeError):
    """An export that cannot be written; the message names the file."""


def export(
    jobs: list[tuple[TestSet, Sample]],
    perturbations: list[Perturbation],
    out: Path,
    seed: int = 0,
    request: dict[str, object] | None = None,
) -> tuple[list[dict], list[str]]:
    """Write every image of `jobs` under every perturbation, and the manifest last.

    request: what was asked for, in the options' words, for `stated_request`. Returns the manifest's entries of this
    export, and a line on each photo that could not be read or perturbed. Entries of an earlier export into the same
    folder stay in its manifest. Raises ExportError for a foreign manifest.json.
    """
    from tqdm import tqdm

    known, requests = _read_manifest(out / "manifest.json")
    (out / "images").mkdir(parents=True, exist_ok=True)
    entries, failures = [], []
    for test_set, sample in tqdm(jobs, unit="photo", file=sys.stderr, dynamic_ncols=True):
        try:
            photo = read_image(sample.image)
        except ImageError as error:
            failures.append(str(error))
            continue
        original = Path(sample.image).read_bytes()
        for perturbation in perturbations:
            try:
                image = perturbation.apply(photo, (test_set.name, sample.id), seed)
            except PerturbationError as error:
                failures.append(f"{sample.image} under {perturbation.spec}: {error}")
                continue
            suffix, data = _encode(image, original)
            file = f"images/{_stem(test_set.name, sample.id, perturbation.spec, image)}{suffix}"
            write_atomic(out / file, data)
            entries.append(
                {
                    "test_set": test_set.name,
                    "image": sample.id,
                    "spec": perturbation.spec,
                    "seed": seed,
                    "file": file,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "content": image.digest,
                    "height": image.shape[0],
                    "width": image.shape[1],
                }
            )
    merged = {_coordinates(entry): entry for entry in [*known, *entries]}
    if request is not None and request not in requests:
        requests.append(request)
    manifest = {"format": 1, "suite": __version__, "requests": requests, "images": list(merged.values())}
    write_atomic(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return entries, failures


def stated_request(folders: Iterable[Path]) -> dict[str, object]:
    """What the exports in these folders were of: data, perturbations, seed and limit, in the words of `run`'s options.

    Perturbations of several exports are joined; {} where no manifest says (of an older version; a damaged one is the
    business of who reads the maps). Raises ExportError where they differ in anything else.
    """
    paths, requests = [folder / "manifest.json" for folder in folders], []
    for path in paths:
        with contextlib.suppress(ExportError):
            requests += _read_manifest(path)[1]
    if not requests:
        return {}
    common = {name: requests[0].get(name) for name in ("data", "seed", "limit")}
    for name, value in common.items():
        if any(request.get(name) != value for request in requests):
            raise ExportError(f"{paths[0]}: its exports differ in --{name}; say which one is meant")
    grids = dict.fromkeys(str(request.get("perturbations")) for request in requests)
    return {**common, "perturbations": ";".join(grids)}


def _encode(image: ForensicImage, original: bytes) -> tuple[str, bytes]:
    """File suffix and bytes: the JPEG's own, the original PNG's where any reader sees these pixels in it, or a PNG."""
    if image.jpeg is not None:
        return ".jpg", image.jpeg
    bgr = cv2.cvtColor(image.rgb, cv2.COLOR_RGB2BGR)
    if original.startswith(PNG_MAGIC) and original[24:26] == PNG_RGB8:
        stored = cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_UNCHANGED)
        if stored is not None and np.array_equal(stored, bgr):
            return ".png", original
    return ".png", cv2.imencode(".png", bgr)[1].tobytes()


def _stem(test_set: str, image: str, spec: str, content: ForensicImage) -> str:
    """A file name for every file system and tool: ASCII, no dots, short, distinct even where case is ignored.

    The start of the content's digest makes it distinct, and keeps an old map from passing for one of new content.
    """
    readable = [NOT_PORTABLE.sub("-", part).strip("-") for part in (test_set, image, spec)]
    return "_".join([readable[0][:24], readable[1][-60:], readable[2][:40], content.digest[:12]])


def _coordinates(entry: dict) -> tuple:
    return entry["test_set"], entry["image"], entry["spec"], entry["seed"]


def _read_manifest(path: Path) -> tuple[list[dict], list[dict]]:
    """The entries and the requests of earlier exports; none where there was no export."""
    if not path.exists():
        return [], []
    try:
        manifest = json.loads(path.read_bytes())
        entries, requests = manifest["images"], manifest.get("requests", [])
        for entry in entries:
            _coordinates(entry)
        for request in requests:
            request.get("data")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{path}: not the manifest of an export; choose another --out or remove it") from error
    return entries, requests
