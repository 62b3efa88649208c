"""Score maps of a tool that runs elsewhere, scored like any localizer: `--models maps:DIR`.

`python -m bench export` writes the images and DIR/manifest.json; the tool writes its maps into DIR/maps/ (or DIR).
An image is recognised by its content, pixels and JPEG bytes, so that a map made from other bytes is never used.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import tomllib
import zipfile
from pathlib import Path

import cv2
import numpy as np

from models import Localizer, WeightsMissing, register
from models.image import ForensicImage, ScoreMap

SUFFIXES = (".npy", ".npz", ".png", ".tiff", ".tif")
KINDS = ("probability", "score", "logit")
ADVICE = "export the images with: python -m bench export --data ... --perturbations ... --out DIR"


class MapsError(ValueError):
    """A folder of maps, or a map in it, that cannot be used; the message names the file and the fix."""


@register(
    "maps",
    title="Precomputed score maps",
    paper="none: the maps of a tool that runs elsewhere",
    summary="Reads the score maps that another tool wrote for exported images. Name the folder: maps:DIR",
    argument="folder",
)
class PrecomputedMaps(Localizer):
    """Looks up the map of each image in a folder.

    folder: holds manifest.json, as `bench export` wrote it, and the maps, in it or in maps/ below it. A map is named
        like the exported file: image.jpg -> image.npy (or image.jpg.npy), .npz, .png, .tiff, .tif; the first
        that exists is taken. It has the exported image's height and width, larger values = more likely forged:
        .npy: a 2-D array; .npz: the array `map`, or the only one, and optionally the number `score`, the tool's
        image-level score; .png, .tiff: one channel or equal ones. Unsigned integers of 8 and 16 bits are
        scaled to 0..1. An optional maps.toml states `kind = "probability"` (the default; 0..1), `"score"` or
        `"logit"`, as in ScoreMap.

    Raises MapsError for a folder without manifest, WeightsMissing when no folder is named.
    """

    def __init__(self, folder: str = ""):
        if not folder:
            raise WeightsMissing("maps scores the maps of a folder; name it: --models maps:DIR")
        self.folder = folder
        self._kind = _read_kind(Path(folder))
        self._files = _read_manifest(Path(folder))

    def localize(self, image: ForensicImage) -> ScoreMap:
        """The map made from this very image. Raises MapsError when there is none or it does not fit."""
        files = self._files.get(image.digest)
        if files is None:
            raise MapsError(
                f"{self.folder}/manifest.json does not list this image: its maps were made from other bytes "
                f"(other test set, perturbation or seed); {ADVICE}"
            )
        path = next(filter(None, (self._map_of(file) for file in files)), None)
        if path is None:
            stem = Path(files[0]).stem
            raise MapsError(f"{self.folder}: no map for {files[0]}; expected maps/{stem}.npy, .npz, .png or .tiff")
        values, image_score = _read_map(path, self._kind)
        if values.shape != image.shape:
            raise MapsError(
                f"{path}: the map is {_size(values.shape)}, its image {_size(image.shape)} (height x width); "
                "write it at the size of the exported image"
            )
        if not np.isfinite(values).all():
            raise MapsError(f"{path}: NaN or infinity in {int((~np.isfinite(values)).sum())} of {values.size} pixels")
        if self._kind == "probability" and not (values.min() >= 0 and values.max() <= 1):
            raise MapsError(
                f"{path}: values from {values.min():g} to {values.max():g} are no probabilities; "
                f'write kind = "score" or "logit" into {self.folder}/maps.toml'
            )
        return ScoreMap(values, self._kind, image_score)

    def identity(self) -> str:
        """SHA-256 that changes with every map, besides what `Localizer.identity` covers."""
        whole = hashlib.sha256(super().identity().encode() + self._kind.encode())
        for content, files in sorted(self._files.items()):
            whole.update(content.encode())
            for file in files:
                path = self._map_of(file)
                whole.update(b"-" if path is None else _file_digest(path).encode())
        return whole.hexdigest()

    def _map_of(self, file: str) -> Path | None:
        names = [name + suffix for suffix in SUFFIXES for name in (Path(file).stem, Path(file).name)]
        candidates = (Path(self.folder, place, name) for place in ("maps", "") for name in names)
        return next((path for path in candidates if path.is_file()), None)


def _read_manifest(folder: Path) -> dict[str, list[str]]:
    """Image digest -> the exported files with that content."""
    path = folder / "manifest.json"
    try:
        entries = json.loads(path.read_bytes())["images"]
        files: dict[str, list[str]] = {}
        for entry in entries:
            files.setdefault(entry["content"], []).append(entry["file"])
    except FileNotFoundError as error:
        raise MapsError(f"{path} is missing; {ADVICE}, or copy its manifest.json beside the maps") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MapsError(f"{path}: not the manifest of an export ({error!r}); {ADVICE}") from error
    return files


def _read_kind(folder: Path) -> str:
    path = folder / "maps.toml"
    try:
        stated = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return KINDS[0]
    except ValueError as error:
        raise MapsError(f"{path}: not TOML ({error})") from error
    if set(stated) != {"kind"} or stated["kind"] not in KINDS:
        allowed = ", ".join(f'kind = "{kind}"' for kind in KINDS)
        raise MapsError(f"{path}: holds {stated}; expected one of {allowed}")
    return stated["kind"]


def _read_map(path: Path, kind: str) -> tuple[np.ndarray, float | None]:
    """Float32 values of a map file, of whatever shape, and the tool's image score where it stores one."""
    image_score = None
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                name = "map" if "map" in arrays.files or len(arrays.files) != 1 else arrays.files[0]
                values = arrays[name]
                image_score = float(arrays["score"].item()) if "score" in arrays.files and name != "score" else None
        else:
            values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            if values is None:
                raise ValueError("not an image that can be decoded")
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, cv2.error) as error:
        raise MapsError(f"{path}: not a readable map ({error}); write it again") from error
    if values.ndim == 3 and path.suffix not in (".npy", ".npz"):
        values = _single_channel(values, path)
    if image_score is not None and not math.isfinite(image_score):
        raise MapsError(f"{path}: its image-level score is {image_score}; leave it out where there is none")
    if values.dtype in (np.uint8, np.uint16) and kind != "logit":
        values = values / np.float32(np.iinfo(values.dtype).max)
    elif values.dtype != bool and not np.issubdtype(values.dtype, np.floating):
        raise MapsError(f"{path}: holds {values.dtype}, which is no {kind}; write float32")
    with np.errstate(over="ignore"):  # beyond float32: infinite, which the caller refuses
        return values.astype(np.float32), image_score


def _single_channel(values: np.ndarray, path: Path) -> np.ndarray:
    grey = values[:, :, 0]
    if not (values[:, :, :3] == grey[:, :, None]).all():
        raise MapsError(f"{path}: a colour image is no score map; write one channel")
    return grey


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@functools.cache
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
