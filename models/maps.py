"""Score maps of a tool that runs elsewhere, scored like any localizer: `--models maps:DIR`.

`python -m bench export` writes the images and DIR/manifest.json; the tool writes its maps into DIR/maps/ (or DIR).
An image is recognised by its content, pixels and JPEG bytes, so that a map made from other bytes is never used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from models import Localizer, WeightsMissing, register
from models.image import ForensicImage, ScoreMap
from models.mapfile import INTERPOLATIONS, KINDS, SUFFIXES, MapFileError, read_score_map
from models.toml import OneOf, Table, read_toml

ADVICE = "export the images with: python -m bench export --data ... --perturbations ... --out DIR"


class MapsError(MapFileError):
    """A folder of maps, or a map in it, that cannot be used; the message names the file and the fix."""


@dataclass(frozen=True)
class Statement(Table):
    """The content of maps.toml."""

    kind: Annotated[str, OneOf(*KINDS)] = "probability"
    resize: Annotated[str, OneOf(*INTERPOLATIONS)] | None = None


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
        like the exported file: image.jpg -> image.npy (or image.jpg.npy), .npz, .png, .tiff, .tif, .mat; the first
        that exists is taken. Larger values = more likely forged; see `models.mapfile` for what each format holds.
        An optional maps.toml states `kind = "probability"` (the default; 0..1), `"score"` or `"logit"`, as in
        ScoreMap, and `resize = "bilinear"` or `"nearest"` where maps have another size than their image (maps of
        blocks, or of a network's input).

    Raises MapsError for a folder without manifest, WeightsMissing when no folder is named.
    """

    def __init__(self, folder: str = ""):
        if not folder:
            raise WeightsMissing("maps scores the maps of a folder; name it: --models maps:DIR")
        self.folder = folder
        self._stated = Path(folder, "maps.toml")
        self._statement = read_toml(self._stated, Statement, MapsError) if self._stated.exists() else Statement()
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
        statement = self._statement
        return read_score_map(path, image.shape, statement.kind, statement.resize, stated_in=str(self._stated))

    def identity_parts(self) -> Iterator[bytes | Path]:
        """What maps.toml states, and for each image its digest and its maps' bytes."""
        yield repr(self._statement).encode()
        for content, files in sorted(self._files.items()):
            yield content.encode()
            for path in map(self._map_of, files):
                yield b"no map" if path is None else path

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
